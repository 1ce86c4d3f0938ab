/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fence whose exporter does with its names what the contract allows and no more:
 * it frees them, but an RCU grace period after signaling. So whoever reads a name
 * of a signaled fence from the exporter, or outside of the RCU section in which it
 * was asked for, reads freed memory, which KASAN reports. For the KUnit tests in
 * this directory.
 */

#ifndef _DMA_FENCE_NAMES_MOCK_H
#define _DMA_FENCE_NAMES_MOCK_H

#include <linux/dma-fence.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#define DETACHED_DRIVER "detached-driver"
#define SIGNALED_TIMELINE "signaled-timeline"

struct named_fence_names {
	struct rcu_head rcu;
	struct named_fence *fence;
	const char *driver;
	const char *timeline;
	char text[];
};

struct named_fence {
	struct dma_fence base;
	spinlock_t lock;	/* the lock of @base */
	struct named_fence_names *names;
	bool gone;		/* @names were freed */
};

static inline struct named_fence *to_named_fence(struct dma_fence *fence)
{
	return container_of(fence, struct named_fence, base);
}

static const char *named_fence_driver(struct dma_fence *fence)
{
	return to_named_fence(fence)->names->driver;
}

static const char *named_fence_timeline(struct dma_fence *fence)
{
	return to_named_fence(fence)->names->timeline;
}

static bool named_fence_enable_signaling(struct dma_fence *fence)
{
	return true;
}

static const struct dma_fence_ops named_fence_ops = {
	.get_driver_name = named_fence_driver,
	.get_timeline_name = named_fence_timeline,
	.enable_signaling = named_fence_enable_signaling,
};

/*
 * A new fence, or NULL. The caller gets the only reference and has to end with
 * named_fence_signal(), because the names hold a reference of their own.
 */
static struct dma_fence *named_fence(u64 context, u64 seqno, const char *driver,
				     const char *timeline)
{
	size_t driver_size = strlen(driver) + 1;
	size_t size = driver_size + strlen(timeline) + 1;
	struct named_fence_names *names;
	struct named_fence *f;

	f = kzalloc(sizeof(*f), GFP_KERNEL);
	if (!f)
		return NULL;
	names = kzalloc(sizeof(*names) + size, GFP_KERNEL);
	if (!names) {
		kfree(f);
		return NULL;
	}
	names->driver = names->text;
	names->timeline = names->text + driver_size;
	memcpy(names->text, driver, driver_size);
	memcpy(names->text + driver_size, timeline, size - driver_size);
	names->fence = f;
	f->names = names;
	spin_lock_init(&f->lock);
	dma_fence_init(&f->base, &named_fence_ops, &f->lock, context, seqno);
	return dma_fence_get(&f->base);
}

static void named_fence_free_names(struct rcu_head *rcu)
{
	struct named_fence_names *names =
		container_of(rcu, struct named_fence_names, rcu);
	struct named_fence *f = names->fence;

	/* A late reader shall be found out without KASAN, too. */
	names->driver = "freed";
	names->timeline = "freed";
	kfree(names);
	/* Whoever sees this finds the names freed. */
	smp_store_release(&f->gone, true);
	dma_fence_put(&f->base);
}

/* Signal @fence, once, and free its names when the contract allows. */
static void named_fence_signal(struct dma_fence *fence)
{
	struct named_fence_names *names = to_named_fence(fence)->names;

	dma_fence_signal(fence);
	call_rcu(&names->rcu, named_fence_free_names);
}

/* Whether @fence has signaled, and its names are freed. */
static bool named_fence_is_gone(struct dma_fence *fence)
{
	/* Pairs with named_fence_free_names(). */
	return smp_load_acquire(&to_named_fence(fence)->gone);
}

#endif /* _DMA_FENCE_NAMES_MOCK_H */
