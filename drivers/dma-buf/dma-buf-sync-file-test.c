// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for what the sync_file ioctls do to a reservation object.
 *
 * A test knows which fences are pending and what each kind of waiter has to wait
 * for, signals them one by one, and after each compares every way to look at
 * the object with that. The file descriptors around it are tested from user
 * space, in tools/testing/selftests/drivers/dma-buf.
 */

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/dma-resv.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "dma-buf-sync-file.h"
#include "dma-fence-leaves.h"
#include "dma-fence-mock.h"

#define MAX_FENCES 80

struct import_test {
	struct dma_resv resv;
	struct {
		struct dma_fence *fence;
		bool write;
	} f[MAX_FENCES];
	unsigned int count;
};

static int import_test_init(struct kunit *test)
{
	struct import_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	dma_resv_init(&t->resv);
	test->priv = t;
	return 0;
}

/* Ready for another round. */
static void reset(struct kunit *test)
{
	struct import_test *t = test->priv;

	while (t->count) {
		t->count--;
		dma_fence_signal(t->f[t->count].fence);
		dma_fence_put(t->f[t->count].fence);
	}
	dma_resv_fini(&t->resv);
	dma_resv_init(&t->resv);
}

static void import_test_exit(struct kunit *test)
{
	struct import_test *t = test->priv;

	reset(test);
	dma_resv_fini(&t->resv);
}

/* A fence that writers, or with @write everybody, will have to wait for. */
static struct dma_fence *fence_of(struct kunit *test, u64 context, u64 seqno,
				  bool write)
{
	struct import_test *t = test->priv;

	KUNIT_ASSERT_LT(test, t->count, (unsigned int)MAX_FENCES);
	t->f[t->count].fence = mock_fence(test, context, seqno);
	t->f[t->count].write = write;
	return t->f[t->count++].fence;
}

static struct dma_fence *new_fence(struct kunit *test, bool write)
{
	return fence_of(test, dma_fence_context_alloc(1), 1, write);
}

static void driver_adds_excl(struct kunit *test, struct dma_fence *fence)
{
	struct import_test *t = test->priv;

	dma_resv_lock(&t->resv, NULL);
	dma_resv_add_excl_fence(&t->resv, fence);
	dma_resv_unlock(&t->resv);
}

static void driver_adds_shared(struct kunit *test, struct dma_fence *fence)
{
	struct import_test *t = test->priv;

	dma_resv_lock(&t->resv, NULL);
	KUNIT_EXPECT_EQ(test, dma_resv_reserve_shared(&t->resv, 1), 0);
	dma_resv_add_shared_fence(&t->resv, fence);
	dma_resv_unlock(&t->resv);
}

static void import(struct kunit *test, struct dma_fence *fence, bool write)
{
	struct import_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, dma_resv_import(&t->resv, fence, write), 0);
}

static unsigned int shared_count(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_resv_list *list;
	unsigned int count;

	dma_resv_lock(&t->resv, NULL);
	list = dma_resv_get_list(&t->resv);
	count = list ? list->shared_count : 0;
	dma_resv_unlock(&t->resv);
	return count;
}

static bool in_shared_list(struct kunit *test, struct dma_fence *fence)
{
	struct import_test *t = test->priv;
	struct dma_resv_list *list;
	bool found = false;
	unsigned int i;

	dma_resv_lock(&t->resv, NULL);
	list = dma_resv_get_list(&t->resv);
	for (i = 0; list && i < list->shared_count; i++)
		found |= rcu_access_pointer(list->shared[i]) == fence;
	dma_resv_unlock(&t->resv);
	return found;
}

static bool flat(struct dma_fence *fence)
{
	struct dma_fence_array *array = to_dma_fence_array(fence);
	unsigned int i;

	for (i = 0; array && i < array->num_fences; i++)
		if (dma_fence_is_array(array->fences[i]) ||
		    to_dma_fence_chain(array->fences[i]))
			return false;
	return !to_dma_fence_chain(fence);
}

/* How many fences a writer would have to wait for. */
static unsigned int pending_count(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *fence = dma_resv_snapshot(&t->resv, true);
	struct dma_fence_array *array = to_dma_fence_array(fence);
	unsigned int count = array ? array->num_fences : !dma_fence_is_signaled(fence);

	dma_fence_put(fence);
	return count;
}

/* Does a snapshot make its owner wait? It is flat in any case. */
static bool snapshot_busy(struct kunit *test, bool write)
{
	struct import_test *t = test->priv;
	struct dma_fence *fence = dma_resv_snapshot(&t->resv, write);
	bool busy;

	KUNIT_ASSERT_FALSE(test, IS_ERR(fence));
	KUNIT_EXPECT_TRUE(test, flat(fence));
	busy = !dma_fence_is_signaled(fence);
	dma_fence_put(fence);
	return busy;
}

/*
 * TTM and i915 wait for the shared fences and count on the exclusive one to have
 * signaled then.
 */
static void check_shared_retire_last(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_resv_list *list;
	struct dma_fence *excl;
	bool pending = false;
	unsigned int i;

	dma_resv_lock(&t->resv, NULL);
	list = dma_resv_get_list(&t->resv);
	excl = dma_resv_get_excl(&t->resv);
	for (i = 0; list && i < list->shared_count; i++) {
		struct dma_fence *f =
			rcu_dereference_protected(list->shared[i], true);

		pending |= !dma_fence_is_signaled(f);
		KUNIT_EXPECT_TRUE(test, flat(f));
	}
	if (i && excl && !pending)
		KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(excl));
	dma_resv_unlock(&t->resv);
}

static void check(struct kunit *test)
{
	struct import_test *t = test->priv;
	bool readers = false, writers = false, idle;
	unsigned int i;

	for (i = 0; i < t->count; i++) {
		if (dma_fence_is_signaled(t->f[i].fence))
			continue;
		writers = true;
		readers |= t->f[i].write;
	}

	KUNIT_EXPECT_NE(test, readers,
			dma_resv_test_signaled_rcu(&t->resv, false));
	KUNIT_EXPECT_NE(test, writers,
			dma_resv_test_signaled_rcu(&t->resv, true));
	idle = dma_resv_wait_timeout_rcu(&t->resv, false, false, 0);
	KUNIT_EXPECT_NE(test, readers, idle);
	idle = dma_resv_wait_timeout_rcu(&t->resv, true, false, 0);
	KUNIT_EXPECT_NE(test, writers, idle);
	KUNIT_EXPECT_EQ(test, readers, snapshot_busy(test, false));
	KUNIT_EXPECT_EQ(test, writers, snapshot_busy(test, true));
}

/* Signals everything, from some place on, and checks after each. */
static void signal_all(struct kunit *test, unsigned int from, bool imported)
{
	struct import_test *t = test->priv;
	unsigned int i;

	check(test);
	for (i = 0; i < t->count; i++) {
		dma_fence_signal(t->f[(from + i) % t->count].fence);
		check(test);
		if (imported)
			check_shared_retire_last(test);
	}
}

/* Every mix of an exclusive fence and a number of shared ones, from each end. */
static void import_into_every_mix(struct kunit *test, bool write)
{
	enum { NONE, SIGNALED, PENDING, STATES };
	static const unsigned int numbers[] = { 0, 1, 4, 64 };
	struct import_test *t = test->priv;
	unsigned int state, n, i, from;

	for (state = NONE; state < STATES; state++) {
		for (n = 0; n < ARRAY_SIZE(numbers); n++) {
			for (from = 0; from < 3; from++) {
				unsigned int first;

				if (state != NONE)
					driver_adds_excl(test, new_fence(test, true));
				if (state == SIGNALED)
					dma_fence_signal(t->f[0].fence);
				first = t->count;
				for (i = 0; i < numbers[n]; i++)
					driver_adds_shared(test, new_fence(test, false));
				import(test, new_fence(test, write), write);

				/* What drivers put there is still there. */
				for (i = 0; i < numbers[n]; i++) {
					struct dma_fence *f = t->f[first + i].fence;

					KUNIT_EXPECT_TRUE(test, in_shared_list(test, f));
				}
				KUNIT_EXPECT_EQ(test, shared_count(test), numbers[n] + 1);

				/* First, middle or last fence first. */
				signal_all(test, from * (t->count - 1) / 2, true);
				reset(test);
			}
		}
	}
}

static void import_read_into_every_mix(struct kunit *test)
{
	import_into_every_mix(test, false);
}

static void import_write_into_every_mix(struct kunit *test)
{
	import_into_every_mix(test, true);
}

/* Imports of both kinds, one after the other, between fences of drivers. */
static void import_after_import(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned int round, i;

	for (round = 0; round < 64; round++) {
		driver_adds_excl(test, new_fence(test, true));
		for (i = 0; i < 6; i++) {
			bool write = round & BIT(i);
			struct dma_fence *fence = new_fence(test, write);

			if (i == 3)
				driver_adds_shared(test, new_fence(test, false));
			import(test, fence, write);
			check(test);
		}
		KUNIT_EXPECT_EQ(test, shared_count(test), 2U);
		signal_all(test, round % t->count, true);
		reset(test);
	}
}

static void import_of_signaled_changes_nothing(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *fence = new_fence(test, true);

	dma_fence_signal(fence);
	import(test, fence, true);
	import(test, fence, false);
	KUNIT_EXPECT_EQ(test, shared_count(test), 0U);
	KUNIT_EXPECT_TRUE(test, !rcu_access_pointer(t->resv.fence_excl));
}

static void import_takes_containers_apart(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence_array *array;
	struct dma_fence_chain *node;
	struct dma_fence **fences;
	unsigned int write;

	for (write = 0; write < 2; write++) {
		fences = kcalloc(2, sizeof(*fences), GFP_KERNEL);
		node = kzalloc(sizeof(*node), GFP_KERNEL);
		KUNIT_ASSERT_TRUE(test, fences && node);
		dma_fence_chain_init(node, dma_fence_get(new_fence(test, write)),
				     dma_fence_get(new_fence(test, write)), 1);
		fences[0] = &node->base;
		fences[1] = dma_fence_get(new_fence(test, write));
		array = dma_fence_array_create(2, fences, dma_fence_context_alloc(1),
					       1, false);
		KUNIT_ASSERT_TRUE(test, !!array);
		import(test, &array->base, write);
		dma_fence_put(&array->base);
		KUNIT_EXPECT_EQ(test, t->count, 3U);
		signal_all(test, 1, true);
		reset(test);
	}
}

static void import_older_keeps_newer(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	unsigned int write;

	for (write = 0; write < 2; write++) {
		struct dma_fence *newer = fence_of(test, context, 9, write);
		struct dma_fence *older = fence_of(test, context, 3, write);

		import(test, newer, write);
		import(test, older, write);
		dma_fence_signal(older);
		check(test);
		dma_fence_signal(newer);
		check(test);
		reset(test);
	}
}

static void import_leaves_drivers_fence_of_same_context(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *drivers = fence_of(test, context, 5, false);

	driver_adds_shared(test, drivers);
	import(test, fence_of(test, context, 9, false), false);
	import(test, fence_of(test, context, 3, false), false);
	KUNIT_EXPECT_TRUE(test, in_shared_list(test, drivers));
}

/* The same context twice: once as writer, later as reader. */
static void reader_does_not_delay_readers(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *writer = fence_of(test, context, 1, true);

	import(test, writer, true);
	import(test, fence_of(test, context, 2, false), false);
	import(test, new_fence(test, false), false);
	import(test, new_fence(test, true), true);
	signal_all(test, 0, true);
}

/* What amdgpu does when another device attaches: an array around our arrays. */
static void drivers_may_wrap_what_an_import_made(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence_array *array;
	struct dma_fence **fences;
	unsigned int i, count;

	import(test, new_fence(test, false), false);
	driver_adds_excl(test, new_fence(test, true));
	import(test, new_fence(test, false), false);
	import(test, new_fence(test, true), true);
	/* Differs from the shared one: two arrays. */
	import(test, new_fence(test, false), false);

	KUNIT_ASSERT_EQ(test, 0, dma_resv_get_fences_rcu(&t->resv, NULL, &count, &fences));
	KUNIT_ASSERT_EQ(test, count, 2U);
	array = dma_fence_array_create(count, fences, dma_fence_context_alloc(1), 1,
				       false);
	KUNIT_ASSERT_TRUE(test, !!array);
	dma_fence_enable_sw_signaling(&array->base);
	for (i = 1; i < t->count; i++) {
		KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(&array->base));
		dma_fence_signal(t->f[i].fence);
	}
	KUNIT_EXPECT_GT(test, dma_fence_wait_timeout(&array->base, false, 10 * HZ), 0L);
	dma_fence_put(&array->base);
}

/* What amdgpu does when a handle is closed: the exclusive fence, shared as well. */
static void copies_of_the_array_do_not_grow(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned int i;

	driver_adds_shared(test, new_fence(test, false));
	for (i = 0; i < 20; i++) {
		struct dma_fence *excl;

		import(test, new_fence(test, true), true);
		/* The array in the slot and the one in the list part. */
		import(test, new_fence(test, false), false);
		excl = dma_resv_get_excl_rcu(&t->resv);
		driver_adds_shared(test, excl);
		dma_fence_put(excl);
		KUNIT_EXPECT_LE(test, shared_count(test), 4U);
	}
	import(test, new_fence(test, true), true);
	KUNIT_EXPECT_LE(test, shared_count(test), 3U);
	signal_all(test, 0, true);
}

static void snapshot_leaves_bookkeeping_fences_out(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *eviction = new_fence(test, false), *snapshot;

	__set_bit(DMA_FENCE_FLAG_BOOKKEEPING_BIT, &eviction->flags);
	driver_adds_shared(test, eviction);
	KUNIT_EXPECT_FALSE(test, snapshot_busy(test, true));
	/* It goes on to be what drivers wait for where they did. */
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled_rcu(&t->resv, true));

	import(test, new_fence(test, true), true);
	KUNIT_EXPECT_TRUE(test, in_shared_list(test, eviction));
	snapshot = dma_resv_snapshot(&t->resv, true);
	KUNIT_EXPECT_PTR_EQ(test, snapshot, t->f[1].fence);
	dma_fence_put(snapshot);
}

static void snapshot_of_idle_is_signaled(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, snapshot_busy(test, false));
	KUNIT_EXPECT_FALSE(test, snapshot_busy(test, true));
}

static void snapshot_of_one_fence_is_bare(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *fence = new_fence(test, true), *snapshot;
	unsigned int write;

	import(test, fence, true);
	for (write = 0; write < 2; write++) {
		snapshot = dma_resv_snapshot(&t->resv, write);
		KUNIT_EXPECT_PTR_EQ(test, snapshot, fence);
		dma_fence_put(snapshot);
	}
}

static void snapshot_ignores_later_fences(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *snapshot[2];
	unsigned int i;

	driver_adds_excl(test, new_fence(test, true));
	driver_adds_shared(test, new_fence(test, false));
	snapshot[0] = dma_resv_snapshot(&t->resv, false);
	snapshot[1] = dma_resv_snapshot(&t->resv, true);

	driver_adds_shared(test, new_fence(test, false));
	import(test, new_fence(test, true), true);
	driver_adds_excl(test, new_fence(test, true));

	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(snapshot[i]));
		dma_fence_signal(t->f[i].fence);
		KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(snapshot[i]));
	}
	for (i = 0; i < 2; i++)
		dma_fence_put(snapshot[i]);
}

/* A list that grows does so from the start; one test goes the whole way. */
#define MANY 1000

static void reimport_does_not_grow(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test, true);
	unsigned int i;

	driver_adds_excl(test, new_fence(test, true));
	driver_adds_shared(test, new_fence(test, false));
	for (i = 0; i < 10 * MANY; i++)
		import(test, fence, true);
	KUNIT_EXPECT_EQ(test, shared_count(test), 2U);
	/* Ours, the drivers' writer and their reader. */
	KUNIT_EXPECT_EQ(test, 3U, pending_count(test));
	signal_all(test, 0, true);
}

/* Signals what nobody else has a pointer to any more. */
static void signal_snapshot(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *snapshot = dma_resv_snapshot(&t->resv, true);
	struct dma_fence_array *array = to_dma_fence_array(snapshot);
	unsigned int i;

	for (i = 0; array && i < array->num_fences; i++)
		dma_fence_signal(array->fences[i]);
	dma_fence_put(snapshot);
}

/* A timeline that goes on without ever waiting for what it imported. */
static void imports_of_one_context_do_not_grow(struct kunit *test)
{
	struct import_test *t = test->priv;
	u64 context = dma_fence_context_alloc(1);
	unsigned int i;

	driver_adds_excl(test, new_fence(test, true));
	for (i = 0; i < MANY; i++) {
		struct dma_fence *fence = mock_fence(test, context, i + 1);

		import(test, fence, i & 1);
		dma_fence_put(fence);
	}
	KUNIT_EXPECT_EQ(test, shared_count(test), 1U);
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled_rcu(&t->resv, false));
	KUNIT_EXPECT_EQ(test, 2U, pending_count(test));
	signal_snapshot(test);
	check(test);
}

/* Fences that come and signal: what has signaled makes room. */
static void imports_of_signaling_fences_do_not_grow(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned int i;

	driver_adds_shared(test, new_fence(test, false));
	for (i = 0; i < MANY; i++) {
		struct dma_fence *fence =
			mock_fence(test, dma_fence_context_alloc(1), 1);

		import(test, fence, i & 1);
		dma_fence_signal(fence);
		dma_fence_put(fence);
	}
	KUNIT_EXPECT_LE(test, shared_count(test), 2U);
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled_rcu(&t->resv, true));
	KUNIT_EXPECT_TRUE(test, dma_resv_test_signaled_rcu(&t->resv, false));
}

/* Mesa's loop: take what is there, give it back. */
static void import_of_own_snapshot_does_not_grow(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned int i;

	driver_adds_excl(test, new_fence(test, true));
	driver_adds_shared(test, new_fence(test, true));
	for (i = 0; i < MANY; i++) {
		struct dma_fence *snapshot = dma_resv_snapshot(&t->resv, true);

		import(test, snapshot, true);
		dma_fence_put(snapshot);
	}
	KUNIT_EXPECT_EQ(test, shared_count(test), 2U);
	signal_all(test, 1, true);
}

static int keep_importing(void *data)
{
	struct import_test *t = data;
	unsigned int i = 0;

	while (!kthread_should_stop()) {
		dma_resv_import(&t->resv, t->f[1].fence, i++ & 1);
		cond_resched();
	}
	return 0;
}

/* A pending exclusive fence is seen at any time, also by those who hold no lock. */
static void no_moment_without_the_exclusive_fence(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned long end = jiffies + HZ;
	struct task_struct *task;
	unsigned int idle = 0;

	driver_adds_excl(test, new_fence(test, true));
	new_fence(test, true);
	task = kthread_run(keep_importing, t, "import");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	while (time_before(jiffies, end)) {
		struct dma_fence *snapshot = dma_resv_snapshot(&t->resv, false);

		idle += dma_fence_is_signaled(snapshot);
		dma_fence_put(snapshot);
		idle += dma_resv_test_signaled_rcu(&t->resv, true);
		idle += dma_resv_test_signaled_rcu(&t->resv, false);
		cond_resched();
	}
	kthread_stop(task);
	KUNIT_EXPECT_EQ(test, idle, 0U);
}

#ifdef CONFIG_FAILSLAB
/* What the reservation object holds, by address. */
static unsigned int contents(struct import_test *t, struct dma_fence **fences)
{
	struct dma_resv_list *list;
	unsigned int i;

	dma_resv_lock(&t->resv, NULL);
	list = dma_resv_get_list(&t->resv);
	fences[0] = dma_resv_get_excl(&t->resv);
	for (i = 0; list && i < list->shared_count; i++)
		fences[1 + i] = rcu_dereference_protected(list->shared[i], true);
	dma_resv_unlock(&t->resv);
	return 1 + i;
}

/* Whether an import failed when its nth allocation was made to. */
static int import_with_nth_failing(struct kunit *test, unsigned int nth,
				   bool write, bool earlier, bool *failed)
{
	struct dma_fence *before[8], *after[8], *fence;
	struct import_test *t = test->priv;
	unsigned int count;
	int ret, differ;

	driver_adds_excl(test, new_fence(test, true));
	driver_adds_shared(test, new_fence(test, false));
	driver_adds_shared(test, new_fence(test, false));
	if (earlier)
		import(test, new_fence(test, false), false);
	fence = new_fence(test, write);
	count = contents(t, before);

	current->fail_nth = nth;
	ret = dma_resv_import(&t->resv, fence, write);
	/* Not used up: there are not that many allocations. */
	*failed = !current->fail_nth;
	current->fail_nth = 0;

	if (ret) {
		KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
		KUNIT_EXPECT_EQ(test, contents(t, after), count);
		differ = memcmp(before, after, count * sizeof(*before));
		KUNIT_EXPECT_EQ(test, differ, 0);
		dma_fence_signal(fence);
	}
	signal_all(test, 0, !ret);
	reset(test);
	return ret;
}

/* Built in, the tests run before user space can let allocations fail. */
static bool allocations_fail(struct kunit *test, unsigned int failed)
{
	if (!failed)
		kunit_info(test, "write N to failslab/ignore-gfp-wait in debugfs first");
	return failed || IS_MODULE(CONFIG_DMABUF_SYNC_FILE_KUNIT_TEST);
}

/* The 1st, 2nd, 3rd ... allocation fails until there is none left to fail. */
static void failed_import_changes_nothing(struct kunit *test)
{
	unsigned int kind, nth, enomem = 0;
	bool failed;

	for (kind = 0; kind < 4; kind++) {
		for (nth = 1, failed = true; failed && nth < 100; nth++)
			enomem += !!import_with_nth_failing(test, nth, kind & 1,
							    kind & 2, &failed);
		KUNIT_EXPECT_FALSE(test, failed);
	}
	/* The sets and the array at the least, for each kind. */
	if (allocations_fail(test, enomem))
		KUNIT_EXPECT_GE(test, enomem, 3U * 4);
}

static void failed_snapshot_is_enomem(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned int nth, write, failed = 0;

	driver_adds_excl(test, new_fence(test, true));
	driver_adds_shared(test, new_fence(test, false));
	for (write = 0; write < 2; write++) {
		for (nth = 1; nth < 100; nth++) {
			struct dma_fence *fence;

			current->fail_nth = nth;
			fence = dma_resv_snapshot(&t->resv, write);
			if (current->fail_nth)
				nth = 100;
			current->fail_nth = 0;
			if (IS_ERR(fence)) {
				failed++;
				KUNIT_EXPECT_EQ(test, (long)-ENOMEM, PTR_ERR(fence));
			} else {
				dma_fence_put(fence);
			}
		}
	}
	/* The set of a read and the array of a write; the list is tried twice. */
	if (allocations_fail(test, failed))
		KUNIT_EXPECT_GE(test, failed, 2U);
	signal_all(test, 0, false);
}
#endif

static struct kunit_case dma_buf_sync_file_cases[] = {
	KUNIT_CASE(import_read_into_every_mix),
	KUNIT_CASE(import_write_into_every_mix),
	KUNIT_CASE(import_after_import),
	KUNIT_CASE(import_of_signaled_changes_nothing),
	KUNIT_CASE(import_takes_containers_apart),
	KUNIT_CASE(import_older_keeps_newer),
	KUNIT_CASE(import_leaves_drivers_fence_of_same_context),
	KUNIT_CASE(reader_does_not_delay_readers),
	KUNIT_CASE(drivers_may_wrap_what_an_import_made),
	KUNIT_CASE(copies_of_the_array_do_not_grow),
	KUNIT_CASE(snapshot_leaves_bookkeeping_fences_out),
	KUNIT_CASE(snapshot_of_idle_is_signaled),
	KUNIT_CASE(snapshot_of_one_fence_is_bare),
	KUNIT_CASE(snapshot_ignores_later_fences),
	KUNIT_CASE(reimport_does_not_grow),
	KUNIT_CASE(imports_of_one_context_do_not_grow),
	KUNIT_CASE(imports_of_signaling_fences_do_not_grow),
	KUNIT_CASE(import_of_own_snapshot_does_not_grow),
	KUNIT_CASE(no_moment_without_the_exclusive_fence),
#ifdef CONFIG_FAILSLAB
	KUNIT_CASE(failed_import_changes_nothing),
	KUNIT_CASE(failed_snapshot_is_enomem),
#endif
	{}
};

static struct kunit_suite dma_buf_sync_file_suite = {
	.name = "dma_buf_sync_file",
	.init = import_test_init,
	.exit = import_test_exit,
	.test_cases = dma_buf_sync_file_cases,
};

kunit_test_suite(dma_buf_sync_file_suite);

MODULE_LICENSE("GPL");
