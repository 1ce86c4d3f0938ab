// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the rules that every user of a reservation object relies on,
 * and that the sync_file ioctls on a dma-buf make reachable from user space:
 *
 * - "all fences" means the exclusive one too, whether or not there are shared
 *   ones, for those who test and for those who wait;
 * - within one context a fence is never displaced by an older one.
 *
 * Only interfaces are used that the kernel has without the queue, so that the
 * same tests show the faults on it.
 */

#include <kunit/test.h>
#include <linux/dma-fence.h>
#include <linux/dma-resv.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "dma-fence-mock.h"

#define MAX_SHARED 64

struct resv_test {
	struct dma_resv resv;
	struct dma_fence *excl;
	struct dma_fence *shared[MAX_SHARED];
	unsigned int num_shared;
	struct delayed_work signal_excl;
};

static void signal_excl_work(struct work_struct *work)
{
	struct resv_test *t = container_of(to_delayed_work(work),
					   struct resv_test, signal_excl);

	dma_fence_signal(t->excl);
}

static int resv_test_init(struct kunit *test)
{
	struct resv_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	dma_resv_init(&t->resv);
	INIT_DELAYED_WORK(&t->signal_excl, signal_excl_work);
	test->priv = t;
	return 0;
}

static void resv_test_exit(struct kunit *test)
{
	struct resv_test *t = test->priv;
	unsigned int i;

	cancel_delayed_work_sync(&t->signal_excl);
	if (t->excl)
		dma_fence_signal(t->excl);
	dma_fence_put(t->excl);
	for (i = 0; i < t->num_shared; i++) {
		dma_fence_signal(t->shared[i]);
		dma_fence_put(t->shared[i]);
	}
	dma_resv_fini(&t->resv);
}

static void add_excl(struct kunit *test)
{
	struct resv_test *t = test->priv;

	t->excl = mock_fence(test, dma_fence_context_alloc(1), 1);
	dma_resv_lock(&t->resv, NULL);
	dma_resv_add_excl_fence(&t->resv, t->excl);
	dma_resv_unlock(&t->resv);
}

/* The test keeps the reference of mock_fence(), the reservation takes its own. */
static struct dma_fence *add_shared(struct kunit *test, u64 context, u64 seqno)
{
	struct resv_test *t = test->priv;
	struct dma_fence *fence = mock_fence(test, context, seqno);

	t->shared[t->num_shared++] = fence;
	dma_resv_lock(&t->resv, NULL);
	KUNIT_EXPECT_EQ(test, dma_resv_reserve_shared(&t->resv, 1), 0);
	dma_resv_add_shared_fence(&t->resv, fence);
	dma_resv_unlock(&t->resv);
	return fence;
}

static unsigned int count_shared(struct kunit *test, struct dma_fence *wanted,
				 bool *found)
{
	struct resv_test *t = test->priv;
	struct dma_resv_list *list;
	unsigned int i, count;

	*found = false;
	dma_resv_lock(&t->resv, NULL);
	list = dma_resv_get_list(&t->resv);
	count = list ? list->shared_count : 0;
	for (i = 0; i < count; i++)
		*found |= rcu_access_pointer(list->shared[i]) == wanted;
	dma_resv_unlock(&t->resv);
	return count;
}

static void test_all_sees_exclusive_beside_signaled_shared(struct kunit *test)
{
	struct resv_test *t = test->priv;

	add_excl(test);
	dma_fence_signal(add_shared(test, dma_fence_context_alloc(1), 1));
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled_rcu(&t->resv, true));
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled_rcu(&t->resv, false));
	dma_fence_signal(t->excl);
	KUNIT_EXPECT_TRUE(test, dma_resv_test_signaled_rcu(&t->resv, true));
}

static void test_all_sees_shared_beside_signaled_exclusive(struct kunit *test)
{
	struct resv_test *t = test->priv;
	struct dma_fence *shared;

	add_excl(test);
	dma_fence_signal(t->excl);
	shared = add_shared(test, dma_fence_context_alloc(1), 1);
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled_rcu(&t->resv, true));
	KUNIT_EXPECT_TRUE(test, dma_resv_test_signaled_rcu(&t->resv, false));
	dma_fence_signal(shared);
	KUNIT_EXPECT_TRUE(test, dma_resv_test_signaled_rcu(&t->resv, true));
}

static void test_all_without_fences(struct kunit *test)
{
	struct resv_test *t = test->priv;

	KUNIT_EXPECT_TRUE(test, dma_resv_test_signaled_rcu(&t->resv, true));
	KUNIT_EXPECT_TRUE(test, dma_resv_test_signaled_rcu(&t->resv, false));
}

/*
 * The exclusive fence signals while the wait is on, the shared ones never do:
 * a wait for all has to end by its timeout, not by success.
 */
static void wait_all(struct kunit *test, unsigned int num_shared)
{
	struct resv_test *t = test->priv;

	add_excl(test);
	while (t->num_shared < num_shared)
		add_shared(test, dma_fence_context_alloc(1), 1);
	schedule_delayed_work(&t->signal_excl, msecs_to_jiffies(50));
	KUNIT_EXPECT_EQ(test, 0L,
			dma_resv_wait_timeout_rcu(&t->resv, true, false,
						  msecs_to_jiffies(500)));
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(t->excl));
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled_rcu(&t->resv, true));
}

static void wait_all_one_shared(struct kunit *test)
{
	wait_all(test, 1);
}

static void wait_all_two_shared(struct kunit *test)
{
	wait_all(test, 2);
}

static void wait_exclusive_ignores_shared(struct kunit *test)
{
	struct resv_test *t = test->priv;

	add_excl(test);
	add_shared(test, dma_fence_context_alloc(1), 1);
	schedule_delayed_work(&t->signal_excl, msecs_to_jiffies(50));
	KUNIT_EXPECT_GT(test,
			dma_resv_wait_timeout_rcu(&t->resv, false, false, 60 * HZ),
			0L);
}

static void wait_all_ends_when_all_signal(struct kunit *test)
{
	struct resv_test *t = test->priv;

	add_excl(test);
	dma_fence_signal(add_shared(test, dma_fence_context_alloc(1), 1));
	schedule_delayed_work(&t->signal_excl, msecs_to_jiffies(50));
	KUNIT_EXPECT_GT(test,
			dma_resv_wait_timeout_rcu(&t->resv, true, false, 60 * HZ),
			0L);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(t->excl));
}

static void shared_newer_displaces_older(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *newer;
	bool found;

	add_shared(test, context, 1);
	newer = add_shared(test, context, 2);
	KUNIT_EXPECT_EQ(test, count_shared(test, newer, &found), 1U);
	KUNIT_EXPECT_TRUE(test, found);
}

static void shared_older_keeps_newer(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *newer;
	bool found;

	newer = add_shared(test, context, 2);
	add_shared(test, context, 1);
	count_shared(test, newer, &found);
	KUNIT_EXPECT_TRUE(test, found);
}

/* A seqno of 32 bits wraps: 1 is later than U32_MAX. */
static void shared_older_keeps_newer_across_wrap(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *newer;
	bool found;

	newer = add_shared(test, context, 1);
	add_shared(test, context, U32_MAX);
	count_shared(test, newer, &found);
	KUNIT_EXPECT_TRUE(test, found);
}

static void shared_same_seqno_does_not_grow(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *last = NULL;
	bool found;
	int i;

	for (i = 0; i < 10; i++)
		last = add_shared(test, context, 7);
	KUNIT_EXPECT_EQ(test, count_shared(test, last, &found), 1U);
	KUNIT_EXPECT_TRUE(test, found);
}

static void shared_older_does_not_grow(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *newer;
	bool found;
	int i;

	newer = add_shared(test, context, 9);
	for (i = 0; i < 10; i++)
		add_shared(test, context, 1 + i % 3);
	KUNIT_EXPECT_LE(test, count_shared(test, newer, &found), 2U);
	KUNIT_EXPECT_TRUE(test, found);
}

static int keep_adding(void *data)
{
	struct resv_test *t = data;
	unsigned int i = 0;

	while (!kthread_should_stop()) {
		dma_resv_lock(&t->resv, NULL);
		if (!dma_resv_reserve_shared(&t->resv, 1))
			dma_resv_add_shared_fence(&t->resv, t->shared[i]);
		/* From 1, 4 and 16 on the list just fits its memory. */
		if (++i == t->num_shared) {
			i = 0;
			dma_resv_add_excl_fence(&t->resv, NULL);
		}
		dma_resv_unlock(&t->resv);
		cond_resched();
	}
	return 0;
}

/* The copy takes no lock on what it copies from. */
static void copy_while_list_grows(struct kunit *test)
{
	struct resv_test *t = test->priv;
	unsigned long end = jiffies + HZ;
	struct task_struct *task;
	unsigned int most = 0;

	while (t->num_shared < 20)
		add_shared(test, dma_fence_context_alloc(1), 1);
	task = kthread_run(keep_adding, t, "add");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	while (time_before(jiffies, end)) {
		struct dma_resv_list *list;
		struct dma_resv copy;

		dma_resv_init(&copy);
		dma_resv_lock(&copy, NULL);
		KUNIT_EXPECT_EQ(test, dma_resv_copy_fences(&copy, &t->resv), 0);
		list = dma_resv_get_list(&copy);
		if (list) {
			KUNIT_EXPECT_LE(test, list->shared_count, list->shared_max);
			most = max(most, list->shared_count);
		}
		dma_resv_unlock(&copy);
		dma_resv_fini(&copy);
		cond_resched();
	}
	kthread_stop(task);
	KUNIT_EXPECT_GT(test, most, 0U);
}

static struct kunit_case dma_resv_cases[] = {
	KUNIT_CASE(test_all_without_fences),
	KUNIT_CASE(test_all_sees_exclusive_beside_signaled_shared),
	KUNIT_CASE(test_all_sees_shared_beside_signaled_exclusive),
	KUNIT_CASE(wait_all_one_shared),
	KUNIT_CASE(wait_all_two_shared),
	KUNIT_CASE(wait_exclusive_ignores_shared),
	KUNIT_CASE(wait_all_ends_when_all_signal),
	KUNIT_CASE(shared_newer_displaces_older),
	KUNIT_CASE(shared_older_keeps_newer),
	KUNIT_CASE(shared_older_keeps_newer_across_wrap),
	KUNIT_CASE(shared_same_seqno_does_not_grow),
	KUNIT_CASE(shared_older_does_not_grow),
	KUNIT_CASE(copy_while_list_grows),
	{}
};

static struct kunit_suite dma_resv_suite = {
	.name = "dma_resv",
	.init = resv_test_init,
	.exit = resv_test_exit,
	.test_cases = dma_resv_cases,
};

kunit_test_suite(dma_resv_suite);

MODULE_LICENSE("GPL");
