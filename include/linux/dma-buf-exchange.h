/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Put other memory behind the pages of a dma-buf, with the consent of its drivers:
 * see "Exchange of memory" in drivers/dma-buf/dma-buf-exchange.c.
 */

#ifndef _LINUX_DMA_BUF_EXCHANGE_H
#define _LINUX_DMA_BUF_EXCHANGE_H

#include <linux/dma-buf.h>

struct page;

int dma_buf_begin_exchange(struct dma_buf_attachment *attach, struct page **pages,
			   unsigned int count);
void dma_buf_end_exchange(struct dma_buf_attachment *attach, bool usable);
void dma_buf_clear_exchanged(struct page *page);

/* For dma-buf.c, under the lock that protects attachments and kernel mappings of @dmabuf. */
static inline bool dma_buf_exchanging(const struct dma_buf *dmabuf)
{
	return IS_ENABLED(CONFIG_DMABUF_EXCHANGE) && READ_ONCE(dmabuf->exchanging);
}

#endif /* _LINUX_DMA_BUF_EXCHANGE_H */
