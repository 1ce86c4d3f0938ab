/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether a process has mapped the memory of a dma-buf. */

#ifndef _LINUX_DMA_BUF_MAPPED_H
#define _LINUX_DMA_BUF_MAPPED_H

#include <linux/types.h>

struct address_space;
struct dma_buf;

bool dma_buf_frames_mapped(struct dma_buf *dmabuf, struct address_space *mapping,
			   const unsigned long *pfns, size_t count);

#endif /* _LINUX_DMA_BUF_MAPPED_H */
