// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the rules that every user of a reservation object relies on,
 * and that the sync_file ioctls on a dma-buf make reachable from user space:
 *
 * - an access that is going to write waits for readers and writers, whichever of
 *   them there are; testing the fences and waiting for them agree on that;
 * - within one context a fence is never displaced by an older one.
 *
 * On kernels without usages of fences "a writer" is the exclusive fence and "a
 * reader" a shared one. The tests use only interfaces that the kernel has without
 * the queue, so that they show the faults of the unpatched kernel.
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

#define MAX_READERS 64

struct resv_test {
	struct dma_resv resv;
	struct dma_fence *writer;
	struct dma_fence *readers[MAX_READERS];
	unsigned int num_readers;
	struct delayed_work signal_writer;
};

/* Signals the writer's fence soon after a waiter has enabled signaling. */
static void signal_writer_work(struct work_struct *work)
{
	struct resv_test *t = container_of(to_delayed_work(work),
					   struct resv_test, signal_writer);

	if (test_bit(DMA_FENCE_FLAG_ENABLE_SIGNAL_BIT, &t->writer->flags))
		dma_fence_signal(t->writer);
	else
		schedule_delayed_work(&t->signal_writer, 1);
}

static int resv_test_init(struct kunit *test)
{
	struct resv_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	dma_resv_init(&t->resv);
	INIT_DELAYED_WORK(&t->signal_writer, signal_writer_work);
	test->priv = t;
	return 0;
}

static void resv_test_exit(struct kunit *test)
{
	struct resv_test *t = test->priv;
	unsigned int i;

	cancel_delayed_work_sync(&t->signal_writer);
	if (t->writer)
		dma_fence_signal(t->writer);
	dma_fence_put(t->writer);
	for (i = 0; i < t->num_readers; i++) {
		dma_fence_signal(t->readers[i]);
		dma_fence_put(t->readers[i]);
	}
	dma_resv_fini(&t->resv);
}

/* The test keeps the reference of mock_fence(), the reservation takes its own. */
static void add(struct kunit *test, struct dma_fence *fence, bool write)
{
	struct resv_test *t = test->priv;

	dma_resv_lock(&t->resv, NULL);
	KUNIT_EXPECT_EQ(test, dma_resv_reserve_fences(&t->resv, 1), 0);
	dma_resv_add_fence(&t->resv, fence,
			   write ? DMA_RESV_USAGE_WRITE : DMA_RESV_USAGE_READ);
	dma_resv_unlock(&t->resv);
}

static void add_writer(struct kunit *test)
{
	struct resv_test *t = test->priv;

	t->writer = mock_fence(test, dma_fence_context_alloc(1), 1);
	add(test, t->writer, true);
}

static struct dma_fence *add_reader(struct kunit *test, u64 context, u64 seqno)
{
	struct resv_test *t = test->priv;
	struct dma_fence *fence = mock_fence(test, context, seqno);

	KUNIT_ASSERT_LT(test, t->num_readers, (unsigned int)MAX_READERS);
	t->readers[t->num_readers++] = fence;
	add(test, fence, false);
	return fence;
}

static unsigned int count_readers(struct dma_resv *resv, struct dma_fence *wanted,
				  bool *found)
{
	struct dma_resv_iter cursor;
	struct dma_fence *fence;
	unsigned int count = 0;

	*found = false;
	dma_resv_lock(resv, NULL);
	dma_resv_for_each_fence(&cursor, resv, DMA_RESV_USAGE_READ, fence) {
		if (dma_resv_iter_usage(&cursor) != DMA_RESV_USAGE_READ)
			continue;
		*found |= fence == wanted;
		count++;
	}
	dma_resv_unlock(resv);
	return count;
}

/* Whether an access has nothing to wait for. */
static bool idle(struct kunit *test, bool write)
{
	struct resv_test *t = test->priv;

	return dma_resv_test_signaled(&t->resv, dma_resv_usage_rw(write));
}

static long wait(struct kunit *test, bool write, unsigned int ms)
{
	struct resv_test *t = test->priv;

	return dma_resv_wait_timeout(&t->resv, dma_resv_usage_rw(write), false,
				     msecs_to_jiffies(ms));
}

static void test_all_sees_writer_beside_signaled_reader(struct kunit *test)
{
	struct resv_test *t = test->priv;

	add_writer(test);
	dma_fence_signal(add_reader(test, dma_fence_context_alloc(1), 1));
	KUNIT_EXPECT_FALSE(test, idle(test, true));
	KUNIT_EXPECT_FALSE(test, idle(test, false));
	dma_fence_signal(t->writer);
	KUNIT_EXPECT_TRUE(test, idle(test, true));
}

static void test_all_sees_reader_beside_signaled_writer(struct kunit *test)
{
	struct resv_test *t = test->priv;
	struct dma_fence *reader;

	add_writer(test);
	dma_fence_signal(t->writer);
	reader = add_reader(test, dma_fence_context_alloc(1), 1);
	KUNIT_EXPECT_FALSE(test, idle(test, true));
	KUNIT_EXPECT_TRUE(test, idle(test, false));
	dma_fence_signal(reader);
	KUNIT_EXPECT_TRUE(test, idle(test, true));
}

static void test_all_without_fences(struct kunit *test)
{
	KUNIT_EXPECT_TRUE(test, idle(test, true));
	KUNIT_EXPECT_TRUE(test, idle(test, false));
}

/*
 * The writer's fence signals during the wait, the readers' fences never do. So a
 * wait for all has to end by its timeout, not by success. If the timeout comes
 * before the signal, the machine is slow: retry with a longer timeout.
 */
static void wait_all(struct kunit *test, unsigned int num_readers)
{
	struct resv_test *t = test->priv;
	unsigned int ms;
	long left;

	add_writer(test);
	while (t->num_readers < num_readers)
		add_reader(test, dma_fence_context_alloc(1), 1);
	schedule_delayed_work(&t->signal_writer, 1);
	for (ms = 500; ms <= 32000; ms *= 2) {
		left = wait(test, true, ms);
		if (left || dma_fence_is_signaled(t->writer))
			break;
	}
	KUNIT_EXPECT_EQ(test, left, 0L);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(t->writer));
	KUNIT_EXPECT_FALSE(test, idle(test, true));
}

static void wait_all_one_reader(struct kunit *test)
{
	wait_all(test, 1);
}

static void wait_all_two_readers(struct kunit *test)
{
	wait_all(test, 2);
}

static void wait_writer_ignores_readers(struct kunit *test)
{
	struct resv_test *t = test->priv;

	add_writer(test);
	add_reader(test, dma_fence_context_alloc(1), 1);
	schedule_delayed_work(&t->signal_writer, 1);
	KUNIT_EXPECT_GT(test, wait(test, false, 60000), 0L);
}

static void wait_all_ends_when_all_signal(struct kunit *test)
{
	struct resv_test *t = test->priv;

	add_writer(test);
	dma_fence_signal(add_reader(test, dma_fence_context_alloc(1), 1));
	schedule_delayed_work(&t->signal_writer, 1);
	KUNIT_EXPECT_GT(test, wait(test, true, 60000), 0L);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(t->writer));
}

static void newer_displaces_older(struct kunit *test)
{
	struct resv_test *t = test->priv;
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *newer;
	bool found;

	add_reader(test, context, 1);
	newer = add_reader(test, context, 2);
	KUNIT_EXPECT_EQ(test, count_readers(&t->resv, newer, &found), 1U);
	KUNIT_EXPECT_TRUE(test, found);
}

static void older_keeps_newer(struct kunit *test)
{
	struct resv_test *t = test->priv;
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *newer;
	bool found;

	newer = add_reader(test, context, 2);
	add_reader(test, context, 1);
	count_readers(&t->resv, newer, &found);
	KUNIT_EXPECT_TRUE(test, found);
}

/* A seqno of 32 bits wraps: 1 is later than U32_MAX. */
static void older_keeps_newer_across_wrap(struct kunit *test)
{
	struct resv_test *t = test->priv;
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *newer;
	bool found;

	newer = add_reader(test, context, 1);
	add_reader(test, context, U32_MAX);
	count_readers(&t->resv, newer, &found);
	KUNIT_EXPECT_TRUE(test, found);
}

static void same_does_not_grow(struct kunit *test)
{
	struct resv_test *t = test->priv;
	struct dma_fence *fence;
	bool found;
	int i;

	fence = add_reader(test, dma_fence_context_alloc(1), 7);
	for (i = 0; i < 10; i++)
		add(test, fence, false);
	KUNIT_EXPECT_EQ(test, count_readers(&t->resv, fence, &found), 1U);
	KUNIT_EXPECT_TRUE(test, found);
}

static void older_does_not_grow(struct kunit *test)
{
	struct resv_test *t = test->priv;
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *newer;
	bool found;
	int i;

	newer = add_reader(test, context, 9);
	for (i = 0; i < 3; i++)
		add_reader(test, context, 1 + i);
	for (i = 0; i < 30; i++)
		add(test, t->readers[1 + i % 3], false);
	/* There are four different fences; only the newest has to be kept. */
	KUNIT_EXPECT_LE(test, count_readers(&t->resv, newer, &found), 4U);
	KUNIT_EXPECT_TRUE(test, found);
}

/* Leaves one fence, in a list of its own, as after the first reservation. */
static void drop_all(struct resv_test *t)
{
	struct dma_resv one;

	dma_resv_init(&one);
	dma_resv_lock(&one, NULL);
	if (!dma_resv_reserve_fences(&one, 1))
		dma_resv_add_fence(&one, t->readers[0], DMA_RESV_USAGE_READ);
	dma_resv_unlock(&one);

	dma_resv_lock(&t->resv, NULL);
	dma_resv_copy_fences(&t->resv, &one);
	dma_resv_unlock(&t->resv);
	dma_resv_fini(&one);
}

static int keep_adding(void *data)
{
	struct resv_test *t = data;
	unsigned int i = 0;

	while (!kthread_should_stop()) {
		/* Start over with one fence, so that the list keeps growing. */
		if (++i >= t->num_readers) {
			drop_all(t);
			i = 0;
		} else {
			dma_resv_lock(&t->resv, NULL);
			if (!dma_resv_reserve_fences(&t->resv, 1))
				dma_resv_add_fence(&t->resv, t->readers[i], DMA_RESV_USAGE_READ);
			dma_resv_unlock(&t->resv);
		}
		cond_resched();
	}
	return 0;
}

/* The copy does not lock the object that it copies from. */
static void copy_while_list_grows(struct kunit *test)
{
	struct resv_test *t = test->priv;
	unsigned long end = jiffies + HZ;
	struct task_struct *task;
	unsigned int most = 0;

	while (t->num_readers < 20)
		add_reader(test, dma_fence_context_alloc(1), 1);
	task = kthread_run(keep_adding, t, "add");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	while (time_before(jiffies, end)) {
		struct dma_resv copy;
		unsigned int count;
		bool found;

		dma_resv_init(&copy);
		dma_resv_lock(&copy, NULL);
		KUNIT_EXPECT_EQ(test, dma_resv_copy_fences(&copy, &t->resv), 0);
		dma_resv_unlock(&copy);
		count = count_readers(&copy, NULL, &found);
		KUNIT_EXPECT_LE(test, count, t->num_readers);
		most = max(most, count);
		dma_resv_fini(&copy);
		cond_resched();
	}
	kthread_stop(task);
	KUNIT_EXPECT_GT(test, most, 0U);
}

static struct kunit_case dma_resv_cases[] = {
	KUNIT_CASE(test_all_without_fences),
	KUNIT_CASE(test_all_sees_writer_beside_signaled_reader),
	KUNIT_CASE(test_all_sees_reader_beside_signaled_writer),
	KUNIT_CASE(wait_all_one_reader),
	KUNIT_CASE(wait_all_two_readers),
	KUNIT_CASE(wait_writer_ignores_readers),
	KUNIT_CASE(wait_all_ends_when_all_signal),
	KUNIT_CASE(newer_displaces_older),
	KUNIT_CASE(older_keeps_newer),
	KUNIT_CASE(older_keeps_newer_across_wrap),
	KUNIT_CASE(same_does_not_grow),
	KUNIT_CASE(older_does_not_grow),
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

MODULE_DESCRIPTION("KUnit tests of the fences of a reservation object");
MODULE_LICENSE("GPL");
