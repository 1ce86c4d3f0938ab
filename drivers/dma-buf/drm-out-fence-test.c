// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for out fences whose device has been freed. A process can make a signaled
 * fence outlive its device. A pending fence outlives it only if the driver never signals
 * the fence. Here the device is a mock, of which only those members are set that
 * drm_writeback_get_out_fence() reads. The fences of CRTCs are made by the same code.
 */

#include <kunit/test.h>
#include <linux/dma-fence.h>
#include <linux/module.h>
#include <linux/slab.h>

#include <drm/drm_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_modeset_helper_vtables.h>
#include <drm/drm_writeback.h>

struct mock {
	struct drm_driver driver;
	struct drm_device dev;
	struct drm_writeback_connector wb;
	struct drm_connector_helper_funcs funcs;
	char name[16];
};

static struct mock *mock_alloc(struct kunit *test)
{
	struct mock *m = kzalloc(sizeof(*m), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, m);
	strscpy(m->name, "mock", sizeof(m->name));
	m->driver.name = m->name;
	m->dev.driver = &m->driver;
	m->wb.base.dev = &m->dev;
	m->wb.base.connector_type = DRM_MODE_CONNECTOR_WRITEBACK;
	m->wb.base.helper_private = &m->funcs;
	m->wb.fence_context = dma_fence_context_alloc(1);
	strscpy(m->wb.timeline_name, "CONNECTOR:1-mock", sizeof(m->wb.timeline_name));
	return m;
}

static void nothing(struct dma_fence *fence, struct dma_fence_cb *cb)
{
}

static void expect_names(struct kunit *test, struct dma_fence *fence, const char *driver,
			 const char *timeline)
{
	const char __rcu *names[2];
	char copies[2][32];

	/* Copied, because a failed expectation may sleep. */
	rcu_read_lock();
	names[0] = dma_fence_driver_name(fence);
	names[1] = dma_fence_timeline_name(fence);
	strscpy(copies[0], rcu_dereference(names[0]), sizeof(copies[0]));
	strscpy(copies[1], rcu_dereference(names[1]), sizeof(copies[1]));
	rcu_read_unlock();
	KUNIT_EXPECT_STREQ(test, (const char *)copies[0], driver);
	KUNIT_EXPECT_STREQ(test, (const char *)copies[1], timeline);
}

static void pending_outlives_device(struct kunit *test)
{
	struct mock *m = mock_alloc(test);
	struct dma_fence_cb cb;
	struct dma_fence *fence;

	fence = drm_writeback_get_out_fence(&m->wb);
	/* No grace period is needed: the fence refers to nothing in it. */
	kfree(m);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fence);

	expect_names(test, fence, "mock", "CONNECTOR:1-mock");
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), 0);
	KUNIT_EXPECT_EQ(test, dma_fence_wait_timeout(fence, false, 1), 0L);
	KUNIT_EXPECT_EQ(test, dma_fence_add_callback(fence, &cb, nothing), 0);
	KUNIT_EXPECT_TRUE(test, dma_fence_remove_callback(fence, &cb));

	dma_fence_signal(fence);
	expect_names(test, fence, "detached-driver", "signaled-timeline");
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), 1);
	KUNIT_EXPECT_LT(test, 0L, dma_fence_wait_timeout(fence, false, 1));
	dma_fence_put(fence);
}

static void dropped_job_signals(struct kunit *test)
{
	struct drm_writeback_job *job = kzalloc(sizeof(*job), GFP_KERNEL);
	struct mock *m = mock_alloc(test);
	struct dma_fence *fence;

	fence = drm_writeback_get_out_fence(&m->wb);
	if (job && fence) {
		job->connector = &m->wb;
		job->out_fence = dma_fence_get(fence);
		drm_writeback_cleanup_job(job);
	} else {
		kfree(job);
	}
	kfree(m);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fence);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), -ECANCELED);
	dma_fence_put(fence);
}

static struct kunit_case out_fence_cases[] = {
	KUNIT_CASE(pending_outlives_device),
	KUNIT_CASE(dropped_job_signals),
	{}
};

static struct kunit_suite out_fence_suite = {
	.name = "drm_out_fence",
	.test_cases = out_fence_cases,
};

kunit_test_suite(out_fence_suite);

MODULE_DESCRIPTION("KUnit tests of DRM out fences");
MODULE_LICENSE("GPL");
