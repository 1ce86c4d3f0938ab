// SPDX-License-Identifier: GPL-2.0

#include <linux/dma-fence.h>

#include "sched_tests.h"

/*
 * A fence that user space holds may outlive the scheduler. It must still return the
 * scheduler's name. KASAN reports a read of the freed scheduler.
 */
static void name_outlives_the_scheduler(struct kunit *test)
{
	struct drm_mock_scheduler *sched = drm_mock_sched_new(test, MAX_SCHEDULE_TIMEOUT);
	struct drm_mock_sched_entity *entity =
		drm_mock_sched_entity_new(test, DRM_SCHED_PRIORITY_NORMAL, sched);
	struct drm_mock_sched_job *job = drm_mock_sched_job_new(test, entity);
	const char __rcu *timeline;
	struct dma_fence *fence;
	char name[64];

	/* A job that is not pushed leaves its fence pending. */
	drm_sched_job_arm(&job->base);
	fence = dma_fence_get(&job->base.s_fence->finished);
	drm_sched_job_cleanup(&job->base);
	drm_mock_sched_entity_free(entity);
	drm_mock_sched_fini(sched);
	kunit_kfree(test, sched);

	rcu_read_lock();
	timeline = dma_fence_timeline_name(fence);
	strscpy(name, rcu_dereference(timeline), sizeof(name));
	rcu_read_unlock();
	KUNIT_EXPECT_STREQ(test, (const char *)name, "drm-mock-scheduler");

	dma_fence_signal(fence);
	dma_fence_put(fence);
}

static struct kunit_case names_cases[] = {
	KUNIT_CASE(name_outlives_the_scheduler),
	{}
};

static struct kunit_suite names_suite = {
	.name = "drm_sched_names",
	.test_cases = names_cases,
};

kunit_test_suite(names_suite);
