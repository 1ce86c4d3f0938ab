// SPDX-License-Identifier: GPL-2.0
/*
 * The part of `make bench` that has to be in the kernel. The module has these parameters:
 *
 *	notifiers	takes "FD COUNT": registers so many release notifiers on that buffer
 *	names		returns the instructions of a call of a fence's own get_driver_name(), and of the helper
 */

#include <linux/dma-buf.h>
#include <linux/dma-buf-release.h>
#include <linux/dma-fence.h>
#include <linux/module.h>

static struct dma_buf_release_notifier notifiers[16];

static void release(struct dma_buf_release_notifier *notifier, struct dma_buf *dmabuf)
{
	dma_buf_resume_release(notifier);
}

static int set_notifiers(const char *text, const struct kernel_param *param)
{
	unsigned int count, i;
	struct dma_buf *dmabuf;
	int fd, ret = 0;

	if (sscanf(text, "%d %u", &fd, &count) != 2 || count > ARRAY_SIZE(notifiers))
		return -EINVAL;
	dmabuf = dma_buf_get(fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	for (i = 0; !ret && i < count; i++) {
		notifiers[i].release = release;
		notifiers[i].owner = THIS_MODULE;
		ret = dma_buf_register_release_notifier(dmabuf, &notifiers[i]);
	}
	dma_buf_put(dmabuf);
	return ret;
}

static const char *name(struct dma_fence *fence)
{
	return "queue_bench";
}

static const struct dma_fence_ops ops = {
	.get_driver_name = name,
	.get_timeline_name = name,
};

static noinline const char *direct(struct dma_fence *fence)
{
	return rcu_dereference_raw(fence->ops)->get_driver_name(fence);
}

static noinline const char *helper(struct dma_fence *fence)
{
	const char __rcu *found;
	const char *name;

	rcu_read_lock();
	found = dma_fence_driver_name(fence);
	name = rcu_dereference(found);
	rcu_read_unlock();
	return name;
}

static noinline const char *nothing(struct dma_fence *fence)
{
	return NULL;
}

/* The minimum of several repetitions, because a timer may interrupt one. */
static u64 cost(const char *(*call)(struct dma_fence *fence), struct dma_fence *fence)
{
	u64 least = U64_MAX;
	int i;

	for (i = 0; i < 100; i++) {
		u64 start, end;
		u32 low, high;

		asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
		start = (u64)high << 32 | low;
		call(fence);
		asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
		end = (u64)high << 32 | low;
		least = min(least, end - start);
	}
	return least;
}

static int get_names(char *text, const struct kernel_param *param)
{
	static DEFINE_SPINLOCK(lock);
	struct dma_fence fence;
	u64 floor;
	int ret;

	dma_fence_init(&fence, &ops, &lock, dma_fence_context_alloc(1), 1);
	floor = cost(nothing, &fence);
	ret = scnprintf(text, PAGE_SIZE, "%llu %llu\n", cost(direct, &fence) - floor, cost(helper, &fence) - floor);
	dma_fence_signal(&fence);
	return ret;
}

static const struct kernel_param_ops notifiers_ops = { .set = set_notifiers };
static const struct kernel_param_ops names_ops = { .get = get_names };

module_param_cb(notifiers, &notifiers_ops, NULL, 0200);
module_param_cb(names, &names_ops, NULL, 0400);

MODULE_DESCRIPTION("Measurements inside the kernel, for the benchmark of the dma-buf queue");
MODULE_LICENSE("GPL");
/* Instead of MODULE_IMPORT_NS(), whose argument has changed. Older kernels lack this namespace. */
MODULE_INFO(import_ns, "DMA_BUF");
