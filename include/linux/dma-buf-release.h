/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Notifiers that run when a dma-buf dies, before its exporter releases it.
 *
 * The one rule: a registered notifier holds no reference of the buffer. See
 * "Release notifiers" in drivers/dma-buf/dma-buf-release.c.
 */

#ifndef _LINUX_DMA_BUF_RELEASE_H
#define _LINUX_DMA_BUF_RELEASE_H

#include <linux/types.h>

struct dma_buf;
struct module;

/**
 * struct dma_buf_release_notifier - what runs before a dma-buf is released
 *
 * Embed it into a structure of yours and zero it before it is registered for
 * the first time. It has to stay where it is until it has been unregistered or
 * its callback has begun; the callback may free it. What was unregistered, or
 * whose callback has returned, can be registered again.
 */
struct dma_buf_release_notifier {
	/**
	 * @release:
	 *
	 * Called once, when the last reference of @dmabuf is gone, before the
	 * exporter's &dma_buf_ops.release. The attachments and the memory still
	 * stand. No one can get a reference any more, and the callback must not
	 * try.
	 *
	 * Context: process context, no lock held. May sleep, allocate memory,
	 * lock &dma_buf.resv, unmap and detach an attachment of its own. Must
	 * end: see "Release notifiers" for what it must not wait for.
	 */
	void (*release)(struct dma_buf_release_notifier *notifier,
			struct dma_buf *dmabuf);

	/**
	 * @owner:
	 *
	 * The module that @release is in, or NULL. It can't be unloaded while
	 * the notifier is registered, nor before @release has returned.
	 */
	struct module *owner;

	/* private: under the lock of dma-buf-release.c */
	struct hlist_node node;
	u64 call;
};

int dma_buf_register_release_notifier(struct dma_buf *dmabuf,
				      struct dma_buf_release_notifier *notifier);
bool dma_buf_unregister_release_notifier(struct dma_buf_release_notifier *notifier);
int dma_buf_defer_release(struct dma_buf *dmabuf);
void dma_buf_resume_release(struct dma_buf *dmabuf);

/* For dma-buf.c. */
#if IS_ENABLED(CONFIG_DMABUF_RELEASE_NOTIFIER)
void dma_buf_notify_release(struct dma_buf *dmabuf);
#else
static inline void dma_buf_notify_release(struct dma_buf *dmabuf)
{
}
#endif

#endif /* _LINUX_DMA_BUF_RELEASE_H */
