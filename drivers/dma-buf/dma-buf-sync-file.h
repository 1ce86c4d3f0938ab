/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sync_file ioctls of a dma-buf file descriptor, internal interface.
 */

#ifndef _DMA_BUF_SYNC_FILE_H
#define _DMA_BUF_SYNC_FILE_H

#include <linux/errno.h>
#include <linux/types.h>

struct dma_buf;
struct dma_fence;
struct dma_resv;

#if IS_ENABLED(CONFIG_DMABUF_SYNC_FILE_IOCTLS)
struct dma_fence *dma_buf_snapshot(struct dma_buf *dmabuf, u32 flags);
struct dma_fence *dma_resv_snapshot(struct dma_resv *resv, bool write);
int dma_resv_import(struct dma_resv *resv, struct dma_fence *fence, bool write);
long dma_buf_export_sync_file(struct dma_buf *dmabuf, void __user *user_data);
long dma_buf_import_sync_file(struct dma_buf *dmabuf,
			      const void __user *user_data);
#else
static inline long dma_buf_export_sync_file(struct dma_buf *dmabuf,
					    void __user *user_data)
{
	return -ENOTTY;
}

static inline long dma_buf_import_sync_file(struct dma_buf *dmabuf,
					    const void __user *user_data)
{
	return -ENOTTY;
}
#endif

#endif /* _DMA_BUF_SYNC_FILE_H */
