// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes fence containers apart.
 *
 * Fences come in arrays (a merged sync_file) and chains (a timeline of a DRM
 * syncobj), and user space can nest them to any depth: merge sync_files that hold
 * chains, make the result a point of another timeline, and so on. Code that waits
 * for a nested container recurses once per level, on the kernel's stack and under
 * one more lock each time. So nothing that this code builds contains a container:
 * containers are flattened to their leaves first.
 *
 * The one rule: a fence is dropped from a set only if it has signaled. A later
 * fence of its context does not replace it, because not every driver numbers and
 * starts its jobs under one lock.
 */

#include <linux/dma-fence.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "dma-fence-leaves.h"

/*
 * dma_fence_is_signaled() on a container asks the fences in it, and recurses if
 * these are containers again. Here the fences in it are asked one by one anyway.
 * (dma_fence_chain_walk() still asks the links of a chain in that way, as all code
 * that waits for a chain does.)
 */
static bool is_signaled(struct dma_fence *fence)
{
	if (dma_fence_is_container(fence))
		return test_bit(DMA_FENCE_FLAG_SIGNALED_BIT, &fence->flags);
	return dma_fence_is_signaled(fence);
}

/**
 * dma_fence_leaves_add - add a fence to a set
 * @leaves: the set
 * @fence: the fence, of which the set takes a reference of its own; a container
 *	is added as it is, see dma_fence_leaves_flatten()
 *
 * Context: Process context, may sleep, a dma_resv may be locked.
 * Return: 0, or -ENOMEM with the set as it was.
 */
int dma_fence_leaves_add(struct dma_fence_leaves *leaves,
			 struct dma_fence *fence)
{
	if (leaves->count == leaves->max) {
		unsigned int max = max(8U, leaves->max * 2);
		struct dma_fence **fences;

		/* User space decides how many there are, so fail without a warning. */
		fences = krealloc(leaves->fences, max * sizeof(*fences),
				  GFP_KERNEL | __GFP_NOWARN);
		if (!fences)
			return -ENOMEM;
		leaves->fences = fences;
		leaves->max = max;
	}

	leaves->fences[leaves->count++] = dma_fence_get(fence);
	return 0;
}
EXPORT_SYMBOL_FOR_DMABUF_KUNIT(dma_fence_leaves_add);

/**
 * dma_fence_leaves_fini - drop all fences of a set
 * @leaves: the set; empty and ready for use again afterwards
 */
void dma_fence_leaves_fini(struct dma_fence_leaves *leaves)
{
	while (leaves->count)
		dma_fence_put(leaves->fences[--leaves->count]);
	kfree(leaves->fences);
	*leaves = (struct dma_fence_leaves){};
}
EXPORT_SYMBOL_FOR_DMABUF_KUNIT(dma_fence_leaves_fini);

static int leaves_cmp(const void *_a, const void *_b)
{
	const struct dma_fence *a = *(struct dma_fence **)_a;
	const struct dma_fence *b = *(struct dma_fence **)_b;

	return a < b ? -1 : a > b;
}

/* Drops duplicates. */
static void leaves_unique(struct dma_fence_leaves *leaves)
{
	struct dma_fence **fences = leaves->fences;
	unsigned int i, count = leaves->count;

	if (dma_fence_leaves_in_order(fences, count))
		return;

	sort(fences, count, sizeof(*fences), leaves_cmp, NULL);
	for (i = leaves->count = 1; i < count; i++) {
		if (fences[i] == fences[i - 1])
			dma_fence_put(fences[i]);
		else
			fences[leaves->count++] = fences[i];
	}
}

/* Drops signaled fences, and returns whether a container is left. */
static bool leaves_compact(struct dma_fence_leaves *leaves)
{
	struct dma_fence **fences = leaves->fences;
	unsigned int i, count = 0;
	bool containers = false;

	for (i = 0; i < leaves->count; i++) {
		if (is_signaled(fences[i])) {
			dma_fence_put(fences[i]);
			continue;
		}
		containers |= dma_fence_is_container(fences[i]);
		fences[count++] = fences[i];
	}
	leaves->count = count;
	return containers;
}

/* Adds the fences in @fence, one level down, or @fence itself. */
static int leaves_add_contents(struct dma_fence_leaves *leaves,
			       struct dma_fence *fence)
{
	struct dma_fence_array *array = to_dma_fence_array(fence);
	struct dma_fence *iter;
	unsigned int i;
	int ret;

	if (array) {
		for (i = 0; i < array->num_fences; i++) {
			ret = dma_fence_leaves_add(leaves, array->fences[i]);
			if (ret)
				return ret;
		}
		return 0;
	}

	/* If @fence is no chain, the loop runs once, with @fence itself. */
	dma_fence_chain_for_each(iter, fence) {
		struct dma_fence_chain *chain = to_dma_fence_chain(iter);
		struct dma_fence *f = chain ? chain->fence : iter;

		/* A timeline grows long, and most of its fences have signaled. */
		ret = is_signaled(f) ? 0 : dma_fence_leaves_add(leaves, f);
		if (ret) {
			dma_fence_put(iter);
			return ret;
		}
		cond_resched();
	}
	return 0;
}

/**
 * dma_fence_leaves_flatten - take all containers of a set apart
 * @leaves: the set
 *
 * Drops the fences that have signaled and replaces arrays and chains by the
 * fences in them until no container is left. An array that signals when any of
 * its fences does is treated as one that waits for all: that can only wait longer,
 * and no driver exposes an array of that kind.
 *
 * It works level by level and drops duplicates before each level, because
 * containers may share what they contain: a few dozen containers that each contain
 * the next one twice have more paths through them than can be walked. A set
 * without containers is not searched for duplicates.
 *
 * Context: Process context, may sleep, a dma_resv may be locked.
 * Return: 0, or -ENOMEM with a set that is complete, but partly flattened.
 */
int dma_fence_leaves_flatten(struct dma_fence_leaves *leaves)
{
	while (leaves_compact(leaves)) {
		struct dma_fence_leaves next = {};
		unsigned int i;
		int ret;

		for (i = 0; i < leaves->count; i++) {
			ret = leaves_add_contents(&next, leaves->fences[i]);
			if (ret) {
				dma_fence_leaves_fini(&next);
				return ret;
			}
		}
		leaves_unique(&next);
		dma_fence_leaves_fini(leaves);
		*leaves = next;
		cond_resched();
	}
	return 0;
}
EXPORT_SYMBOL_FOR_DMABUF_KUNIT(dma_fence_leaves_flatten);

/**
 * dma_fence_leaves_to_fence - turn a flat set into one fence
 * @leaves: the set; empty afterwards, also on failure
 *
 * Context: Process context, may sleep, a dma_resv may be locked.
 * Return: a signaled fence for an empty set, the fence itself if it is the only
 * one, otherwise an array; with a reference for the caller. NULL if memory ran
 * out.
 */
struct dma_fence *dma_fence_leaves_to_fence(struct dma_fence_leaves *leaves)
{
	struct dma_fence_array *array;
	struct dma_fence *fence;

	if (leaves->count < 2) {
		fence = leaves->count ? dma_fence_get(leaves->fences[0]) :
					dma_fence_get_stub();
		dma_fence_leaves_fini(leaves);
		return fence;
	}

	array = dma_fence_array_create(leaves->count, leaves->fences,
				       dma_fence_context_alloc(1), 1, false);
	if (!array) {
		dma_fence_leaves_fini(leaves);
		return NULL;
	}
	/* The array now owns the references and the memory that holds them. */
	*leaves = (struct dma_fence_leaves){};
	return &array->base;
}
EXPORT_SYMBOL_FOR_DMABUF_KUNIT(dma_fence_leaves_to_fence);
