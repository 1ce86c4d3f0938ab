// SPDX-License-Identifier: GPL-2.0
/*
 * Planted: two names of a fence that are read without rcu_dereference(), and two that are read with it.
 * lint appends this to a source file of each woven kernel. If sparse does not report exactly the two
 * lines of the first function, it does not check the __rcu of the helpers.
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
