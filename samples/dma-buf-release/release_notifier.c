// SPDX-License-Identifier: GPL-2.0-only
/*
 * Learn that the last user of a dma-buf is gone, before its memory is freed.
 *
 * Write the number of a file descriptor to /dev/release_notifier, as the program
 * release_watch does. As a driver that changes the buffer's memory would, the module
 * attaches to the buffer, registers a release notifier and drops its reference. When
 * the last user is gone, the callback queues a worker, which detaches and lets the
 * exporter release the buffer. The parameter "released" counts these buffers.
 *
 * The one rule: a callback must return in bounded time. What waits is for a worker,
 * which calls dma_buf_resume_release() exactly once, and last touches the buffer
 * before that. "Release notifiers" in drivers/dma-buf/dma-buf-release.c has the rest.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-buf.h>
#include <linux/dma-buf-release.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

/* A buffer, from registering the notifier until its release is resumed. */
struct watch {
	struct dma_buf_release_notifier notifier;
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	struct work_struct work;
};

static struct workqueue_struct *wq;	/* ordered: one worker counts at a time */

static unsigned int released;
module_param(released, uint, 0444);
MODULE_PARM_DESC(released, "Number of buffers whose last user was noticed");

/* May wait for fences and sleep as long as it takes: only the buffer's memory waits. */
static void watch_work(struct work_struct *work)
{
	struct watch *watch = container_of(work, struct watch, work);

	pr_info("the last user of %zu bytes is gone\n", watch->dmabuf->size);
	/* Here a driver undoes what it did to the memory. */
	dma_buf_detach(watch->dmabuf, watch->attach);
	dma_buf_resume_release(&watch->notifier);
	kfree(watch);
	WRITE_ONCE(released, released + 1);
}

static void watch_release(struct dma_buf_release_notifier *notifier, struct dma_buf *dmabuf)
{
	queue_work(wq, &container_of(notifier, struct watch, notifier)->work);
}

static int watch_dmabuf(struct dma_buf *dmabuf, struct device *dev)
{
	struct watch *watch;
	int ret;

	watch = kzalloc(sizeof(*watch), GFP_KERNEL);
	if (!watch)
		return -ENOMEM;
	watch->dmabuf = dmabuf;
	watch->attach = dma_buf_attach(dmabuf, dev);
	if (IS_ERR(watch->attach)) {
		ret = PTR_ERR(watch->attach);
		goto free;
	}
	INIT_WORK(&watch->work, watch_work);
	watch->notifier.release = watch_release;
	watch->notifier.owner = THIS_MODULE;
	ret = dma_buf_register_release_notifier(dmabuf, &watch->notifier);
	if (ret)
		goto detach;
	/* From here on @watch belongs to the callback. */
	return 0;

detach:
	dma_buf_detach(dmabuf, watch->attach);
free:
	kfree(watch);
	return ret;
}

static ssize_t watch_write(struct file *file, const char __user *text, size_t count, loff_t *pos)
{
	struct miscdevice *misc = file->private_data;
	struct dma_buf *dmabuf;
	int fd, ret;

	ret = kstrtoint_from_user(text, count, 0, &fd);
	if (ret)
		return ret;
	dmabuf = dma_buf_get(fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	ret = watch_dmabuf(dmabuf, misc->this_device);
	/* With a reference the last user would never be gone: the notifier needs none. */
	dma_buf_put(dmabuf);
	return ret ? ret : count;
}

static const struct file_operations watch_fops = {
	.owner = THIS_MODULE,
	.write = watch_write,
};

static struct miscdevice watch_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "release_notifier",
	.fops = &watch_fops,
};

static int __init watch_init(void)
{
	int ret;

	wq = alloc_ordered_workqueue("release_notifier", 0);
	if (!wq)
		return -ENOMEM;
	ret = misc_register(&watch_misc);
	if (ret)
		destroy_workqueue(wq);
	return ret;
}

/* Each notifier pins the module until its release is resumed: none is left. */
static void __exit watch_exit(void)
{
	misc_deregister(&watch_misc);
	/* The last worker may have resumed the release and not returned yet. */
	destroy_workqueue(wq);
}

module_init(watch_init);
module_exit(watch_exit);

MODULE_DESCRIPTION("Sample user of the release notifiers of dma-bufs");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
