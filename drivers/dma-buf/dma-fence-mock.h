/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fence that does nothing but signal when it is told to, for the KUnit tests in
 * this directory.
 */

#ifndef _DMA_FENCE_MOCK_H
#define _DMA_FENCE_MOCK_H

#include <kunit/test.h>
#include <linux/dma-fence.h>
#include <linux/slab.h>

struct mock_fence {
	struct dma_fence base;
	spinlock_t lock;	/* the lock of @base */
};

static const char *mock_fence_name(struct dma_fence *fence)
{
	return "mock";
}

static const struct dma_fence_ops mock_fence_ops = {
	.get_driver_name = mock_fence_name,
	.get_timeline_name = mock_fence_name,
};

/* Returns a fence with one reference, which the caller owns. */
static struct dma_fence *mock_fence(struct kunit *test, u64 context, u64 seqno)
{
	struct mock_fence *f = kzalloc(sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_TRUE(test, !!f);
	spin_lock_init(&f->lock);
	dma_fence_init(&f->base, &mock_fence_ops, &f->lock, context, seqno);
	return &f->base;
}

#endif /* _DMA_FENCE_MOCK_H */
