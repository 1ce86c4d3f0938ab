/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Notifiers that run after the last reference to a dma-buf is dropped, before its release:
 * see "Release notifiers" in drivers/dma-buf/dma-buf-release.c.
 */

#ifndef _LINUX_DMA_BUF_RELEASE_H
#define _LINUX_DMA_BUF_RELEASE_H

#include <linux/types.h>

struct dma_buf;
struct file;
struct module;

/**
 * struct dma_buf_release_notifier - a callback that runs before a dma-buf is released
 *
 * Embed it into a structure of the driver and zero it before it is registered for the
 * first time. It must stay valid until it has been unregistered, or until the driver has
 * called dma_buf_resume_release(). Then it may be freed or registered again. A driver that
 * never resumes the release may free the notifier once its callback has started.
 */
struct dma_buf_release_notifier {
	/**
	 * @release:
	 *
	 * Called once, after the last reference to @dmabuf is dropped. Nobody can get a
	 * reference any more. Attachments and memory stay until the driver calls
	 * dma_buf_resume_release(), here or later.
	 *
	 * Context: process context, no lock held. May sleep, allocate memory, lock
	 * &dma_buf.resv, unmap and detach an attachment of its own. Must return in
	 * bounded time: see "Release notifiers" for what it must not wait for.
	 */
	void (*release)(struct dma_buf_release_notifier *notifier,
			struct dma_buf *dmabuf);

	/**
	 * @owner:
	 *
	 * The module that @release is in, or NULL. It cannot be unloaded while the
	 * notifier is registered, nor before the release is resumed and @release has
	 * returned.
	 */
	struct module *owner;

	/* private: until the callback starts, protected by the lock of dma-buf-release.c */
	struct hlist_node node;
	struct file *file;	/* set from registering until the release is resumed */
};

int dma_buf_register_release_notifier(struct dma_buf *dmabuf,
				      struct dma_buf_release_notifier *notifier);
bool dma_buf_unregister_release_notifier(struct dma_buf_release_notifier *notifier);
void dma_buf_resume_release(struct dma_buf_release_notifier *notifier);

/* For dma-buf.c. */
#if IS_ENABLED(CONFIG_DMABUF_RELEASE_NOTIFIER)
void dma_buf_notify_release(struct dma_buf *dmabuf);
#else
static inline void dma_buf_notify_release(struct dma_buf *dmabuf)
{
}
#endif

#endif /* _LINUX_DMA_BUF_RELEASE_H */
