// SPDX-License-Identifier: GPL-2.0
/* Planted for fence_names.cocci: callers that call an exporter's operations directly, and correct callers. */

static void direct(struct seq_file *s, struct dma_fence *fence)
{
	seq_puts(s, fence->ops->get_driver_name(fence)); /* reported */
	seq_puts(s, fence->ops->get_timeline_name(fence)); /* reported */
}

static void unchecked(struct seq_file *s, struct dma_fence *fence)
{
	rcu_read_lock();
	seq_puts(s, dma_fence_driver_name(fence)); /* reported */
	rcu_read_unlock();
}

static void right(struct seq_file *s, struct dma_fence *fence)
{
	const char __rcu *timeline;

	rcu_read_lock();
	timeline = dma_fence_timeline_name(fence);
	seq_puts(s, rcu_dereference(timeline));
	rcu_read_unlock();
}

static const char *forward(struct dma_fence *fence)
{
	struct dma_fence *inner = to_inner(fence);

	return inner->ops->get_driver_name(inner);
}

static const struct dma_fence_ops ops = {
	.get_driver_name = forward,
};
