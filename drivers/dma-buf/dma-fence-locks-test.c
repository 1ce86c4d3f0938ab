// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the lock of a fence. An exporter may free the lock an RCU grace
 * period after dma_fence_signal(), while a user still has the fence. The tests call
 * the core functions that take the lock or call the exporter, on fences whose lock is
 * freed and on fences that signal meanwhile. KASAN reports a use of the freed lock.
 *
 * The tests use only interfaces that the kernel has without the queue, so the same
 * tests show the faults on an unpatched kernel.
 */

#include <kunit/test.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/fcntl.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sync_file.h>
#include <linux/workqueue.h>
#include <uapi/linux/sync_file.h>

#include "dma-fence-names-mock.h"
#include "kunit-user.h"

#define RACE_SECONDS	5	/* of each race */

struct locks_test {
	u64 context;
	struct named_fence_race race;	/* wrong: answers that no fence may give */
	atomic_t pending;	/* fences that a thread met before they signaled */
	atomic_t signaled;	/* fences that had signaled when the thread dropped them */
};

struct counting_cb {
	struct dma_fence_cb base;
	atomic_t count;
};

static void count_call(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	atomic_inc(&container_of(cb, struct counting_cb, base)->count);
}

static int locks_test_init(struct kunit *test)
{
	struct locks_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	t->context = dma_fence_context_alloc(1);
	test->priv = t;
	return 0;
}

static void locks_test_exit(struct kunit *test)
{
	/* The code that frees the last fences, names and locks is in this module. */
	flush_delayed_fput();
	rcu_barrier();
}

static struct dma_fence *new_fence(struct kunit *test)
{
	struct locks_test *t = test->priv;
	struct dma_fence *fence = named_fence(t->context, 1, "mock-driver",
					      "mock-timeline");

	KUNIT_ASSERT_TRUE(test, !!fence);
	return fence;
}

/* Signals @fence; its names and its lock have been freed on return. */
static void end(struct kunit *test, struct dma_fence *fence)
{
	named_fence_signal(fence);
	rcu_barrier();
	KUNIT_EXPECT_TRUE(test, named_fence_is_gone(fence));
}

static struct dma_fence *gone_fence(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test);

	end(test, fence);
	return fence;
}

static void status(struct kunit *test)
{
	struct dma_fence *fence = gone_fence(test);

	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), 1);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(fence));
	dma_fence_put(fence);
}

static void status_of_failed_fence(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test);

	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), 0);
	dma_fence_set_error(fence, -EIO);
	end(test, fence);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(fence), -EIO);
	dma_fence_put(fence);
}

static void callback_is_not_added(struct kunit *test)
{
	struct dma_fence *fence = gone_fence(test);
	struct counting_cb cb = {};

	KUNIT_EXPECT_EQ(test, dma_fence_add_callback(fence, &cb.base, count_call),
			-ENOENT);
	KUNIT_EXPECT_FALSE(test, dma_fence_remove_callback(fence, &cb.base));
	KUNIT_EXPECT_EQ(test, atomic_read(&cb.count), 0);
	dma_fence_put(fence);
}

static void callback_has_run(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test);
	struct counting_cb kept = {}, removed = {};

	KUNIT_EXPECT_EQ(test, dma_fence_add_callback(fence, &kept.base, count_call), 0);
	KUNIT_EXPECT_EQ(test, dma_fence_add_callback(fence, &removed.base, count_call),
			0);
	KUNIT_EXPECT_TRUE(test, dma_fence_remove_callback(fence, &removed.base));
	end(test, fence);
	KUNIT_EXPECT_FALSE(test, dma_fence_remove_callback(fence, &kept.base));
	KUNIT_EXPECT_EQ(test, atomic_read(&kept.count), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&removed.count), 0);
	dma_fence_put(fence);
}

static void signaling_is_enabled(struct kunit *test)
{
	struct dma_fence *fence = gone_fence(test);

	dma_fence_enable_signaling(fence);
	dma_fence_put(fence);
}

static void waits(struct kunit *test)
{
	struct dma_fence *fence = gone_fence(test);
	u32 index = 7;

	KUNIT_EXPECT_EQ(test, dma_fence_wait(fence, true), 0L);
	KUNIT_EXPECT_EQ(test, dma_fence_wait_timeout(fence, false, 0), 1L);
	KUNIT_EXPECT_EQ(test, dma_fence_wait_timeout(fence, true, 5), 5L);
	KUNIT_EXPECT_EQ(test, dma_fence_default_wait(fence, false, 0), 1L);
	KUNIT_EXPECT_GT(test, dma_fence_wait_any_timeout(&fence, 1, false, 5, &index),
			0L);
	KUNIT_EXPECT_EQ(test, index, 0U);
	dma_fence_put(fence);
}

/* The wait for two fences removes its callback from the fence that did not signal. */
static void wait_for_any(struct kunit *test)
{
	struct dma_fence *fences[2] = { new_fence(test), gone_fence(test) };
	u32 index = 7;

	KUNIT_EXPECT_GT(test, dma_fence_wait_any_timeout(fences, 2, false, 5, &index),
			0L);
	KUNIT_EXPECT_EQ(test, index, 1U);
	KUNIT_EXPECT_EQ(test, dma_fence_wait_any_timeout(fences, 1, false, 1, &index),
			0L);
	end(test, fences[0]);
	dma_fence_put(fences[0]);
	dma_fence_put(fences[1]);
}

#ifdef SYNC_IOC_SET_DEADLINE
static void deadline(struct kunit *test)
{
	struct dma_fence *fence = gone_fence(test);

	dma_fence_set_deadline(fence, ktime_get());
	dma_fence_put(fence);
}
#endif

/* Containers call their members when they are created and when they are waited for. */
static void array_of_gone_fences(struct kunit *test)
{
	struct dma_fence **fences = kcalloc(2, sizeof(*fences), GFP_KERNEL);
	struct dma_fence_array *array;

	KUNIT_ASSERT_TRUE(test, !!fences);
	fences[0] = gone_fence(test);
	fences[1] = gone_fence(test);
	array = dma_fence_array_create(2, fences, dma_fence_context_alloc(1), 1);
	KUNIT_ASSERT_TRUE(test, !!array);
	KUNIT_EXPECT_EQ(test, dma_fence_wait(&array->base, false), 0L);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&array->base), 1);
	dma_fence_put(&array->base);
}

static void chain_of_gone_fences(struct kunit *test)
{
	struct dma_fence_chain *chain[2];
	struct dma_fence *member;
	int i;

	for (i = 0; i < 2; i++) {
		chain[i] = kzalloc(sizeof(*chain[i]), GFP_KERNEL);
		KUNIT_ASSERT_TRUE(test, !!chain[i]);
		member = gone_fence(test);
		dma_fence_chain_init(chain[i], i ? &chain[0]->base : NULL, member, i + 1);
	}
	KUNIT_EXPECT_EQ(test, dma_fence_wait(&chain[1]->base, false), 0L);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&chain[1]->base), 1);
	dma_fence_put(&chain[1]->base);
}

static void sync_file_polls(struct kunit *test)
{
	struct dma_fence *fence = gone_fence(test);
	struct sync_file *sync_file = sync_file_create(fence);

	KUNIT_ASSERT_TRUE(test, !!sync_file);
	KUNIT_EXPECT_TRUE(test, vfs_poll(sync_file->file, NULL) & EPOLLIN);
	fput(sync_file->file);
	dma_fence_put(fence);
}

static void sync_file_tells(struct kunit *test, struct file *file, unsigned long user)
{
	struct {
		struct sync_file_info info;
		struct sync_fence_info fence;
	} arg = {
		.info.num_fences = 1,
		.info.sync_fence_info = user + offsetof(typeof(arg), fence),
	};

	KUNIT_EXPECT_EQ(test, kunit_user_ioctl(test, user, file, SYNC_IOC_FILE_INFO, &arg,
					       sizeof(arg)), 0L);
	KUNIT_EXPECT_EQ(test, arg.info.status, 1);
	KUNIT_EXPECT_EQ(test, arg.fence.status, 1);
	KUNIT_EXPECT_EQ(test, strcmp(arg.fence.driver_name, DETACHED_DRIVER), 0);
	KUNIT_EXPECT_EQ(test, strcmp(arg.fence.obj_name, SIGNALED_TIMELINE), 0);
}

static void sync_file_ioctls(struct kunit *test)
{
	unsigned long user = kunit_user_page(test);
	struct sync_merge_data merge = {};
	struct sync_file *sync_file;
	struct dma_fence *fence;
	struct file *merged;

	if (user == (unsigned long)-EOPNOTSUPP) {
		kunit_info(test, "no user memory: not loaded as a module\n");
		return;
	}
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(user));
	fence = gone_fence(test);
	sync_file = sync_file_create(fence);
	KUNIT_ASSERT_TRUE(test, !!sync_file);
	sync_file_tells(test, sync_file->file, user);

	merge.fd2 = get_unused_fd_flags(O_CLOEXEC);
	KUNIT_ASSERT_GE(test, merge.fd2, 0);
	fd_install(merge.fd2, get_file(sync_file->file));
	KUNIT_ASSERT_EQ(test, kunit_user_ioctl(test, user, sync_file->file, SYNC_IOC_MERGE,
					       &merge, sizeof(merge)), 0L);
	KUNIT_EXPECT_EQ(test, close_fd(merge.fd2), 0);
	merged = fget(merge.fence);
	KUNIT_ASSERT_TRUE(test, !!merged);
	sync_file_tells(test, merged, user);
	fput(merged);
	KUNIT_EXPECT_EQ(test, close_fd(merge.fence), 0);

	fput(sync_file->file);
	dma_fence_put(fence);
}

/* What a user does with a fence that may signal at any moment. */
static int keep_using(void *race)
{
	struct locks_test *t = container_of(race, struct locks_test, race);
	unsigned int count = 0;

	while (!kthread_should_stop()) {
		struct dma_fence *fence = named_fence_race_get(race);
		struct counting_cb cb = {};
		bool added, removed;

		if (!fence) {
			cond_resched();
			continue;
		}
		if (!dma_fence_get_status(fence))
			atomic_inc(&t->pending);
#ifdef SYNC_IOC_SET_DEADLINE
		dma_fence_set_deadline(fence, ktime_get());
#endif
		added = !dma_fence_add_callback(fence, &cb.base, count_call);
		/* Alternate between sleeping until it signals and polling. */
		if (count++ & 1)
			dma_fence_wait_timeout(fence, false, 1);
		else
			while (!dma_fence_is_signaled(fence))
				cond_resched();
		removed = dma_fence_remove_callback(fence, &cb.base);
		/* The callback ran, or it was removed, or it was never added. */
		if (atomic_read(&cb.count) + removed != added)
			atomic_inc(&t->race.wrong);
		if (dma_fence_is_signaled(fence)) {
			atomic_inc(&t->signaled);
			if (dma_fence_get_status(fence) != 1)
				atomic_inc(&t->race.wrong);
		}
		dma_fence_enable_signaling(fence);
		dma_fence_put(fence);
		cond_resched();
	}
	return 0;
}

static bool raced_enough(struct named_fence_race *race)
{
	struct locks_test *t = container_of(race, struct locks_test, race);

	return atomic_read(&t->pending) > RACE_ENOUGH &&
	       atomic_read(&t->signaled) > RACE_ENOUGH;
}

static void users_race_with_the_exporter(struct kunit *test)
{
	struct locks_test *t = test->priv;

	t->race.context = t->context;
	t->race.driver = "mock-driver";
	t->race.timeline = "mock-timeline";
	t->race.seconds = RACE_SECONDS;
	t->race.read = keep_using;
	t->race.enough = raced_enough;
	named_fence_race_run(test, &t->race);

	kunit_info(test, "%u fences; %d met pending, %d had signaled in the end\n",
		   t->race.signals, atomic_read(&t->pending), atomic_read(&t->signaled));
	KUNIT_EXPECT_EQ(test, atomic_read(&t->race.wrong), 0);
}

/* A fence that its waiter frees right after the wait, like xe's fences on the stack. */
struct short_fence {
	struct dma_fence base;
	struct work_struct signal;
};

static DEFINE_SPINLOCK(short_fence_lock);

static const char *short_fence_name(struct dma_fence *fence)
{
	return "short";
}

static const struct dma_fence_ops short_fence_ops = {
	.get_driver_name = short_fence_name,
	.get_timeline_name = short_fence_name,
};

static void signal_short_fence(struct work_struct *work)
{
	dma_fence_signal(&container_of(work, struct short_fence, signal)->base);
}

/* Guards the last steps of dma_fence_signal(), which follow the waiter's wakeup. */
static void signaling_is_over_when_the_wait_is(struct kunit *test)
{
	struct locks_test *t = test->priv;
	unsigned long stop = jiffies + RACE_SECONDS * HZ;
	unsigned int count;
	long ret = 0;

	if (num_online_cpus() < 2) {
		kunit_info(test, "one CPU: nobody signals while this waits\n");
		return;
	}
	for (count = 0; !ret && time_before(jiffies, stop); count++) {
		struct short_fence *f = kzalloc(sizeof(*f), GFP_KERNEL);

		KUNIT_ASSERT_TRUE(test, !!f);
		INIT_WORK(&f->signal, signal_short_fence);
		dma_fence_init(&f->base, &short_fence_ops, &short_fence_lock, t->context,
			       count);
		schedule_work_on(cpumask_any_but(cpu_online_mask, raw_smp_processor_id()),
				 &f->signal);
		/* The waiter is asleep, or just testing, or late when it signals. */
		udelay(count % 64);
		ret = dma_fence_wait(&f->base, false);
		kfree(f);
	}
	kunit_info(test, "%u fences\n", count);
	KUNIT_EXPECT_EQ(test, ret, 0L);
	KUNIT_EXPECT_GT(test, count, (unsigned int)RACE_ENOUGH);
}

static struct kunit_case locks_cases[] = {
	KUNIT_CASE(status),
	KUNIT_CASE(status_of_failed_fence),
	KUNIT_CASE(callback_is_not_added),
	KUNIT_CASE(callback_has_run),
	KUNIT_CASE(signaling_is_enabled),
	KUNIT_CASE(waits),
	KUNIT_CASE(wait_for_any),
#ifdef SYNC_IOC_SET_DEADLINE
	KUNIT_CASE(deadline),
#endif
	KUNIT_CASE(array_of_gone_fences),
	KUNIT_CASE(chain_of_gone_fences),
	KUNIT_CASE(sync_file_polls),
	KUNIT_CASE(sync_file_ioctls),
	KUNIT_CASE(users_race_with_the_exporter),
	KUNIT_CASE(signaling_is_over_when_the_wait_is),
	{}
};

static struct kunit_suite locks_suite = {
	.name = "dma_fence_locks",
	.init = locks_test_init,
	.exit = locks_test_exit,
	.test_cases = locks_cases,
};

kunit_user_test_suite(locks_suite);

MODULE_DESCRIPTION("KUnit tests of who takes the lock of a fence");
MODULE_LICENSE("GPL");
