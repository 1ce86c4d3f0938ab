/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flat sets of pending fences, for the sync_file ioctls on a dma-buf.
 *
 * A set owns one reference to each of its fences. It belongs to one thread;
 * nothing here takes a lock, everything that allocates may sleep.
 */

#ifndef _DMA_FENCE_LEAVES_H
#define _DMA_FENCE_LEAVES_H

#include <linux/export.h>
#include <linux/types.h>

struct dma_fence;

/* For the KUnit modules and for nobody else. */
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
 * All zero is an empty set. After dma_fence_leaves_flatten() it holds pending
 * fences only, none of them a container, sorted by context.
 */
struct dma_fence_leaves {
	struct dma_fence **fences;
	unsigned int count;
	unsigned int max;
};

int dma_fence_leaves_add(struct dma_fence_leaves *leaves,
			 struct dma_fence *fence);
int dma_fence_leaves_flatten(struct dma_fence_leaves *leaves);
struct dma_fence *dma_fence_leaves_to_array(struct dma_fence_leaves *leaves);
struct dma_fence *dma_fence_leaves_to_fence(struct dma_fence_leaves *leaves);
void dma_fence_leaves_fini(struct dma_fence_leaves *leaves);

#endif /* _DMA_FENCE_LEAVES_H */
