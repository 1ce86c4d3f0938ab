/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flat sets of pending fences, for the sync_file ioctls on a dma-buf.
 *
 * A set owns one reference to each of its fences. It belongs to one thread;
 * nothing here takes a lock, everything that allocates may sleep.
 */

#ifndef _DMA_FENCE_LEAVES_H
#define _DMA_FENCE_LEAVES_H

#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/export.h>
#include <linux/types.h>

/* For the KUnit modules only. */
#if IS_MODULE(CONFIG_DMABUF_SYNC_FILE_KUNIT_TEST)
#define EXPORT_SYMBOL_FOR_DMABUF_KUNIT(sym) EXPORT_SYMBOL_GPL(sym)
#else
#define EXPORT_SYMBOL_FOR_DMABUF_KUNIT(sym)
#endif

/**
 * struct dma_fence_leaves - a set of fences
 * @fences: the fences, a kmalloc()ed array, NULL if @max is 0
 * @count: number of fences in the set
 * @max: number of fences that @fences has room for
 *
 * A zeroed struct is an empty set. dma_fence_leaves_flatten() leaves only fences
 * that were pending, and no containers.
 */
struct dma_fence_leaves {
	struct dma_fence **fences;
	unsigned int count;
	unsigned int max;
};

static inline bool dma_fence_is_container(struct dma_fence *fence)
{
	return dma_fence_is_array(fence) || to_dma_fence_chain(fence);
}

/* Most merged sync_files are in the order of contexts, which excludes duplicates. */
static inline bool dma_fence_leaves_in_order(struct dma_fence **fences,
					     unsigned int count)
{
	unsigned int i;

	for (i = 1; i < count; i++)
		if (fences[i - 1]->context >= fences[i]->context)
			return false;
	return true;
}

int dma_fence_leaves_add(struct dma_fence_leaves *leaves,
			 struct dma_fence *fence);
int dma_fence_leaves_flatten(struct dma_fence_leaves *leaves);
struct dma_fence *dma_fence_leaves_to_fence(struct dma_fence_leaves *leaves);
void dma_fence_leaves_fini(struct dma_fence_leaves *leaves);

#endif /* _DMA_FENCE_LEAVES_H */
