// SPDX-License-Identifier: GPL-2.0
/*
 * Planted: readers of a fence's names, of whom two forget rcu_dereference(). lint appends this to a
 * source of each woven kernel; a sparse that does not report just these two lines is blind to what
 * the __rcu of the helpers is for.
 */
void planted_forgets(struct dma_fence *fence, char *buf, int len);
void planted_forgets(struct dma_fence *fence, char *buf, int len)
{
	const char *driver, *timeline;

	rcu_read_lock();
	driver = dma_fence_driver_name(fence);		/* forgets */
	timeline = dma_fence_timeline_name(fence);	/* forgets */
	snprintf(buf, len, "%s %s", driver, timeline);
	rcu_read_unlock();
}

void planted_dereferences(struct dma_fence *fence, char *buf, int len);
void planted_dereferences(struct dma_fence *fence, char *buf, int len)
{
	const char __rcu *timeline;
	const char __rcu *driver;

	rcu_read_lock();
	driver = dma_fence_driver_name(fence);
	timeline = dma_fence_timeline_name(fence);
	snprintf(buf, len, "%s %s", rcu_dereference(driver), rcu_dereference(timeline));
	rcu_read_unlock();
}
