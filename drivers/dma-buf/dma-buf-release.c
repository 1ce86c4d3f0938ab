// SPDX-License-Identifier: GPL-2.0-only
/*
 * Notifiers that run after the last reference to a dma-buf is dropped, before its release.
 *
 * The one rule: until its callback starts, a registered notifier is accessed only under
 * notifiers_lock; from then on only its user accesses it.
 */

#include <linux/dma-buf.h>
#include <linux/dma-buf-release.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/spinlock.h>

/**
 * DOC: Release notifiers
 *
 * A driver that has changed a buffer, for example by replacing its pages, has to undo
 * the change after the last reference is dropped and before the exporter frees the memory.
 * Nothing else tells the driver when that is: a reference keeps the buffer alive, the
 * exporter's &dma_buf_ops.release does not know about other drivers, and user space can
 * be killed and does not see references of importers, mappings and files in flight.
 *
 * The driver registers a &struct dma_buf_release_notifier while it holds a reference to the
 * buffer, keeps an attachment if it needs the memory at the end, and drops the reference::
 *
 *	static void foo_work(struct work_struct *work)
 *	{
 *		struct foo *foo = container_of(work, struct foo, work);
 *
 *		foo_undo(foo);
 *		dma_buf_detach(foo->dmabuf, foo->attach);
 *		dma_buf_resume_release(&foo->notifier);
 *		kfree(foo);
 *	}
 *
 *	static void foo_release(struct dma_buf_release_notifier *notifier,
 *				struct dma_buf *dmabuf)
 *	{
 *		queue_work(foo_wq, &container_of(notifier, struct foo, notifier)->work);
 *	}
 *
 *	foo->notifier.release = foo_release;
 *	foo->notifier.owner = THIS_MODULE;
 *	ret = dma_buf_register_release_notifier(dmabuf, &foo->notifier);
 *	if (ret)
 *		goto err_detach;
 *	dma_buf_put(dmabuf);
 *
 * When the buffer's file is released, the callbacks run one after the other, the last
 * registered first. Nobody can get a reference or attach any more. Attachments, fences
 * and memory stay until each user has called dma_buf_resume_release(), in the callback
 * or later. Then the exporter's release follows.
 *
 * The release of the dentry of the buffer's file calls the exporter's release. To delay it,
 * the notifiers of a buffer share a second file of that dentry, the stand-in, and each
 * holds a reference to it. The stand-in becomes &dma_buf.file before the first callback,
 * for trace points and dma_buf_detach(). Registering allocates it and reports a failure.
 *
 * The release of the file, not of the dentry, calls the callbacks, because it holds no lock:
 * a reader of /proc/PID/fd may drop the dentry under locks. The task is one of these:
 *
 * - a process that closes or unmaps the buffer, on its way back to user space;
 * - a process that exits or was killed; its interruptible waits may end immediately;
 * - if a kernel thread or an interrupt drops the last reference, a worker that releases
 *   the files of the whole system one after the other.
 *
 * So a callback must return in bounded time. It must not wait for user space, for the
 * release of another file, or for a fence, which may be one that only this task signals
 * after the callback has returned. A worker has to do any such waiting.
 */

/* Protects the lists of all buffers, and the notifiers in them. */
static DEFINE_SPINLOCK(notifiers_lock);

/* Also identifies a file as a stand-in. Nobody can open a stand-in. */
static const struct file_operations stand_in_fops = { };

/* The notifier that was registered last, or NULL. */
static struct dma_buf_release_notifier *last_notifier(struct dma_buf *dmabuf)
{
	lockdep_assert_held(&notifiers_lock);

	return hlist_entry_safe(dmabuf->release_notifiers.first,
				struct dma_buf_release_notifier, node);
}

/**
 * dma_buf_register_release_notifier - have a callback run before a dma-buf is released
 * @dmabuf: the buffer, to which the caller holds a reference
 * @notifier: the notifier, zeroed before its first use except for
 *	&dma_buf_release_notifier.release and &dma_buf_release_notifier.owner
 *
 * The callback runs once, after the last reference is dropped. A notifier holds no reference.
 *
 * An exporter that keeps a pointer without a reference can get a reference to the stand-in.
 * vfio-pci does it to revoke mappings, until the release is resumed. vmwgfx would hand out
 * a buffer whose callbacks have run: do not register on a buffer of vmwgfx. It refuses
 * attachments, so a caller that is attached never does that.
 *
 * Context: Process context, may sleep. The caller may hold &dma_buf.resv.
 *
 * Return:
 * * 0 - the notifier is registered.
 * * -EINVAL - it has no callback.
 * * -ENOENT - the last reference was dropped, and the caller has not resumed the release.
 * * -ENODEV - the owner is being unloaded.
 * * -ENOMEM, -ENFILE, or the errno of a security module - the stand-in was not allocated.
 * * -EBUSY - the notifier is in use: it is registered, on this buffer or another, or it was
 *   called and the release has not been resumed yet.
 */
int dma_buf_register_release_notifier(struct dma_buf *dmabuf,
				      struct dma_buf_release_notifier *notifier)
{
	struct dma_buf_release_notifier *other;
	struct file *file;
	int ret = 0;

	if (!notifier->release)
		return -EINVAL;
	if (dmabuf->file->f_op == &stand_in_fops)
		return -ENOENT;
	if (!try_module_get(notifier->owner))
		return -ENODEV;
	file = alloc_file_clone(dmabuf->file, O_RDWR, &stand_in_fops);
	if (IS_ERR(file)) {
		module_put(notifier->owner);
		return PTR_ERR(file);
	}

	spin_lock(&notifiers_lock);
	if (notifier->file) {
		ret = -EBUSY;
	} else {
		other = last_notifier(dmabuf);
		notifier->file = get_file(other ? other->file : file);
		hlist_add_head(&notifier->node, &dmabuf->release_notifiers);
	}
	spin_unlock(&notifiers_lock);

	fput(file);
	if (ret)
		module_put(notifier->owner);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_register_release_notifier, "DMA_BUF");

/**
 * dma_buf_unregister_release_notifier - remove a notifier before it is called
 * @notifier: the notifier, which must not have been freed
 *
 * Always succeeds for a registered notifier if the caller holds a reference. Otherwise
 * the caller must not access the buffer afterwards: even on success the buffer may be being
 * released. On failure the callback may be running: the caller has to wait for it, for
 * example with a completion, before it frees anything that the callback uses.
 *
 * Context: Any context but interrupts, does not sleep.
 *
 * Return: true if the notifier was registered: its callback never runs. Otherwise false.
 */
bool dma_buf_unregister_release_notifier(struct dma_buf_release_notifier *notifier)
{
	bool taken;

	spin_lock(&notifiers_lock);
	taken = !hlist_unhashed(&notifier->node);
	if (taken) {
		hlist_del_init(&notifier->node);
		dma_buf_resume_release(notifier);
	}
	spin_unlock(&notifiers_lock);

	return taken;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_unregister_release_notifier, "DMA_BUF");

/**
 * dma_buf_resume_release - let the exporter release a dma-buf
 * @notifier: the notifier, whose callback has started
 *
 * The user of @notifier calls this exactly once, in the callback or later, when it has
 * detached and does not access the buffer any more. After the last notifier's call the
 * exporter's release follows, in this task on its way back to user space, or in a
 * worker. After the call, @notifier may be freed, or registered on another buffer.
 *
 * The call also drops the reference to &dma_buf_release_notifier.owner. A callback may make
 * it: the module is pinned until the callback has returned. A worker that makes it has to
 * be flushed when the module is unloaded.
 *
 * If memory must not be used again, its user never makes the call. Then the exporter never
 * frees the memory and both modules stay loaded. The user may still free @notifier.
 *
 * Context: Any context but interrupts, does not sleep. The caller may hold
 *	&dma_buf.resv unless it is part of the buffer.
 */
void dma_buf_resume_release(struct dma_buf_release_notifier *notifier)
{
	struct module *owner = notifier->owner;
	struct file *file = notifier->file;

	if (WARN_ON(!file || !hlist_unhashed(&notifier->node)))
		return;
	notifier->file = NULL;
	fput(file);
	module_put(owner);
}
EXPORT_SYMBOL_NS_GPL(dma_buf_resume_release, "DMA_BUF");

/*
 * Called by the release of the buffer's file, with NULL if dma_buf_export() failed. Holds a
 * reference to the stand-in until the callbacks have returned: even if all users have
 * resumed by then, the exporter's release must not find a freed &dma_buf.file.
 */
void dma_buf_notify_release(struct dma_buf *dmabuf)
{
	struct dma_buf_release_notifier *notifier;
	struct file *file = NULL;
	struct module *owner;

	if (!dmabuf || hlist_empty(&dmabuf->release_notifiers))
		return;

	spin_lock(&notifiers_lock);
	while ((notifier = last_notifier(dmabuf))) {
		if (!file) {
			file = get_file(notifier->file);
			WRITE_ONCE(dmabuf->file, file);
		}
		hlist_del_init(&notifier->node);
		owner = notifier->owner;
		spin_unlock(&notifiers_lock);

		/* The user's reference may be dropped before the callback returns. */
		__module_get(owner);
		notifier->release(notifier, dmabuf);
		module_put(owner);

		spin_lock(&notifiers_lock);
	}
	spin_unlock(&notifiers_lock);

	if (file)
		fput(file);
}
