// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for what the sync_file ioctls do to a reservation object.
 *
 * Each test knows which fences are pending and which of them each kind of access
 * has to wait for. It signals the fences one by one, and after each compares all
 * ways to look at the object with what it knows. Drivers of 5.10 do not run without
 * their hardware, so waiters that behave as they do stand in for them. File
 * descriptors are tested from user space, in
 * tools/testing/selftests/drivers/dma-buf.
 */

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/dma-buf.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/dma-resv.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <uapi/linux/dma-buf.h>

#include "dma-buf-sync-file.h"
#include "dma-fence-leaves.h"
#include "dma-fence-mock.h"

#define MAX_FENCES 80
/* Growth of a list shows early; only one test uses ten times this number. */
#define MANY 1000

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

/* Prepares for another round. */
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

/* A fence that writes, and with @write also reads, will have to wait for. */
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

/* As amdgpu makes of the fences of a buffer, and as a merge of two sync_files makes. */
static struct dma_fence *array_of_two(struct kunit *test, struct dma_fence *a,
				      struct dma_fence *b)
{
	struct dma_fence **fences = kmalloc_array(2, sizeof(*fences), GFP_KERNEL);
	struct dma_fence_array *array;

	KUNIT_ASSERT_TRUE(test, !!fences);
	fences[0] = dma_fence_get(a);
	fences[1] = dma_fence_get(b);
	array = dma_fence_array_create(2, fences, dma_fence_context_alloc(1), 1, false);
	KUNIT_ASSERT_TRUE(test, !!array);
	return &array->base;
}

/* A fence to import, by itself or in an array of two that is not in order. */
static struct dma_fence *fence_to_import(struct kunit *test, bool write, bool merged)
{
	struct dma_fence *fence = new_fence(test, write);

	if (!merged)
		return dma_fence_get(fence);
	return array_of_two(test, new_fence(test, write), fence);
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

/* The slot of the fence in the list of shared ones, or -1. */
static int shared_slot(struct kunit *test, struct dma_fence *fence)
{
	struct import_test *t = test->priv;
	struct dma_resv_list *list;
	int i, slot = -1;

	dma_resv_lock(&t->resv, NULL);
	list = dma_resv_get_list(&t->resv);
	for (i = 0; list && i < list->shared_count && slot < 0; i++)
		if (rcu_access_pointer(list->shared[i]) == fence)
			slot = i;
	dma_resv_unlock(&t->resv);
	return slot;
}

/* Whether the fence is in the exclusive slot, by itself or in an array. */
static bool in_excl(struct kunit *test, struct dma_fence *fence)
{
	struct import_test *t = test->priv;
	struct dma_fence *excl = dma_resv_get_excl_rcu(&t->resv);
	struct dma_fence_array *array = excl ? to_dma_fence_array(excl) : NULL;
	bool found = excl == fence;
	unsigned int i;

	for (i = 0; array && i < array->num_fences; i++)
		found |= array->fences[i] == fence;
	dma_fence_put(excl);
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

/* The number of fences that a writer would have to wait for. */
static unsigned int pending_count(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *fence = dma_resv_snapshot(&t->resv, true);
	struct dma_fence_array *array = to_dma_fence_array(fence);
	unsigned int count = array ? array->num_fences : !dma_fence_is_signaled(fence);

	dma_fence_put(fence);
	return count;
}

/* Whether a snapshot is pending. Checks that it is flat in any case. */
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

/* Signals all fences, starting with number @from, and checks after each. */
static void signal_all(struct kunit *test, unsigned int from)
{
	struct import_test *t = test->priv;
	unsigned int i;

	check(test);
	for (i = 0; i < t->count; i++) {
		dma_fence_signal(t->f[(from + i) % t->count].fence);
		check(test);
	}
}

/* Each state of the exclusive fence with each number of shared ones. */
static void import_into_every_mix(struct kunit *test, bool write)
{
	enum { NONE, SIGNALED, PENDING, STATES };
	static const unsigned int numbers[] = { 0, 1, 4, 64 };
	struct import_test *t = test->priv;
	unsigned int state, n, i, from;

	for (state = NONE; state < STATES; state++) {
		for (n = 0; n < ARRAY_SIZE(numbers); n++) {
			for (from = 0; from < 3; from++) {
				unsigned int first, count = numbers[n] + !write;

				if (state != NONE)
					driver_adds_excl(test, new_fence(test, true));
				if (state == SIGNALED)
					dma_fence_signal(t->f[0].fence);
				first = t->count;
				for (i = 0; i < numbers[n]; i++)
					driver_adds_shared(test, new_fence(test, false));
				import(test, new_fence(test, write), write);

				/* The fences of drivers are still there. */
				if (state == PENDING)
					KUNIT_EXPECT_TRUE(test, in_excl(test, t->f[0].fence));
				for (i = 0; i < numbers[n]; i++) {
					int slot = shared_slot(test, t->f[first + i].fence);

					KUNIT_EXPECT_EQ(test, slot, (int)i);
				}
				KUNIT_EXPECT_EQ(test, shared_count(test), count);

				/* Signal the first, the middle or the last fence first. */
				signal_all(test, from * (t->count - 1) / 2);
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
	unsigned int round, i, shared;

	for (round = 0; round < 64; round++) {
		driver_adds_excl(test, new_fence(test, true));
		for (i = shared = 0; i < 6; i++) {
			bool write = round & BIT(i);
			struct dma_fence *fence = new_fence(test, write);

			if (i == 3) {
				driver_adds_shared(test, new_fence(test, false));
				shared++;
			}
			import(test, fence, write);
			shared += !write;
			check(test);
		}
		KUNIT_EXPECT_EQ(test, shared_count(test), shared);
		signal_all(test, round % t->count);
		reset(test);
	}
}

static void each_import_has_its_place(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *excl = new_fence(test, true), *fence;

	driver_adds_excl(test, excl);
	driver_adds_shared(test, new_fence(test, false));
	fence = new_fence(test, false);
	import(test, fence, false);
	KUNIT_EXPECT_TRUE(test, rcu_access_pointer(t->resv.fence_excl) == excl);
	KUNIT_EXPECT_EQ(test, shared_slot(test, fence), 1);

	fence = new_fence(test, true);
	import(test, fence, true);
	KUNIT_EXPECT_TRUE(test, in_excl(test, fence));
	KUNIT_EXPECT_EQ(test, shared_slot(test, fence), -1);
	KUNIT_EXPECT_EQ(test, shared_count(test), 2U);
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
		signal_all(test, 1);
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

/*
 * Drivers do not all number and start their jobs under one lock: a later fence of
 * a context may signal while the work of an earlier one goes on (amdgpu).
 */
static void later_import_keeps_drivers_fence(struct kunit *test)
{
	unsigned int write;

	for (write = 0; write < 2; write++) {
		u64 context = dma_fence_context_alloc(1);
		struct dma_fence *drivers = fence_of(test, context, 5, write);
		struct dma_fence *later = fence_of(test, context, 6, write);

		if (write)
			driver_adds_excl(test, drivers);
		else
			driver_adds_shared(test, drivers);
		import(test, later, write);
		import(test, fence_of(test, context, 3, write), write);
		import(test, fence_of(test, context, 7, write), write);
		/* (C, 7) replaced (C, 6), which says nothing about (C, 5). */
		dma_fence_signal(later);
		check(test);
		if (write)
			KUNIT_EXPECT_TRUE(test, in_excl(test, drivers));
		else
			KUNIT_EXPECT_EQ(test, shared_slot(test, drivers), 0);
		signal_all(test, 1);
		reset(test);
	}
}

/* amdgpu puts all fences of a buffer into one array when a device attaches. */
static void drivers_container_is_kept(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *a = fence_of(test, context, 5, true);
	struct dma_fence *b = new_fence(test, true);
	struct dma_fence *array = array_of_two(test, a, b);

	driver_adds_excl(test, array);
	dma_fence_put(array);

	import(test, fence_of(test, context, 6, true), true);
	import(test, new_fence(test, true), true);
	KUNIT_EXPECT_TRUE(test, in_excl(test, a) && in_excl(test, b));
	KUNIT_EXPECT_EQ(test, 4U, pending_count(test));
	signal_all(test, 2);
}

/* Only the latest imported fence of each context is kept. */
static void later_import_replaces_import(struct kunit *test)
{
	unsigned int write;

	for (write = 0; write < 2; write++) {
		u64 context = dma_fence_context_alloc(1);
		struct dma_fence *first = fence_of(test, context, 1, write);
		struct dma_fence *second = fence_of(test, context, 2, write);

		import(test, first, write);
		import(test, new_fence(test, write), write);
		import(test, second, write);
		KUNIT_EXPECT_EQ(test, 2U, pending_count(test));
		KUNIT_EXPECT_EQ(test, shared_slot(test, first), -1);
		KUNIT_EXPECT_FALSE(test, in_excl(test, first));
		dma_fence_signal(first);
		signal_all(test, 1);
		reset(test);
	}
}

/* i915 has fences that nothing orders, all of context 0 and with number 0. */
static void fences_of_context_0_all_stay(struct kunit *test)
{
	unsigned int write, from;

	for (write = 0; write < 2; write++) {
		for (from = 0; from < 3; from++) {
			import(test, fence_of(test, 0, 0, write), write);
			import(test, fence_of(test, 0, 0, write), write);
			import(test, fence_of(test, 0, 1, write), write);
			KUNIT_EXPECT_EQ(test, 3U, pending_count(test));
			signal_all(test, from);
			reset(test);
		}
	}
}

/* A fence that a driver adds is the driver's, even in the slot of an imported one. */
static void drivers_fence_of_imported_context(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *imported = fence_of(test, context, 5, false);
	struct dma_fence *drivers = fence_of(test, context, 6, false);
	struct dma_fence *later = fence_of(test, context, 9, false);
	struct dma_fence *earlier;

	import(test, imported, false);
	driver_adds_shared(test, drivers);
	KUNIT_EXPECT_EQ(test, shared_count(test), 1U);
	import(test, later, false);
	KUNIT_EXPECT_EQ(test, shared_slot(test, drivers), 0);
	KUNIT_EXPECT_EQ(test, shared_slot(test, later), 1);

	/* A driver's fence between the two displaces the driver's, despite the import. */
	earlier = fence_of(test, context, 8, false);
	driver_adds_shared(test, earlier);
	KUNIT_EXPECT_EQ(test, shared_slot(test, earlier), 0);
	KUNIT_EXPECT_EQ(test, shared_slot(test, later), 1);
	dma_fence_signal(imported);
	signal_all(test, 1);
}

/* Imported fences are known by slot, and the slots change in a new list. */
static void rebuilt_list_knows_whose_fences_it_has(struct kunit *test)
{
	u64 first = dma_fence_context_alloc(2), second = first + 1;
	struct import_test *t = test->priv;
	struct dma_fence *signaled, *imported, *drivers;
	struct dma_resv_list *list;

	/* Growing the list drops the first fence, so that the others move. */
	signaled = new_fence(test, false);
	import(test, signaled, false);
	drivers = fence_of(test, first, 5, false);
	driver_adds_shared(test, drivers);
	imported = fence_of(test, second, 5, false);
	import(test, imported, false);
	list = rcu_access_pointer(t->resv.fence);
	while (rcu_access_pointer(t->resv.fence) == list) {
		/* Signal it only now: otherwise an added fence would take its slot. */
		if (shared_count(test) == list->shared_max)
			dma_fence_signal(signaled);
		driver_adds_shared(test, new_fence(test, false));
	}
	KUNIT_EXPECT_EQ(test, shared_slot(test, drivers), 0);

	import(test, fence_of(test, first, 6, false), false);
	import(test, fence_of(test, second, 6, false), false);
	KUNIT_EXPECT_EQ(test, shared_slot(test, drivers), 0);
	KUNIT_EXPECT_EQ(test, shared_slot(test, imported), -1);
	dma_fence_signal(imported);
	check(test);
}

/* As TTM copies: the copy knows nothing of imports, so all fences are a driver's. */
static void copy_has_drivers_fences_only(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *copied = fence_of(test, context, 5, true);
	struct import_test *t = test->priv;
	struct dma_resv source;

	import(test, new_fence(test, true), true);
	dma_fence_signal(t->f[1].fence);
	dma_resv_init(&source);
	dma_resv_lock(&source, NULL);
	dma_resv_add_excl_fence(&source, copied);
	dma_resv_unlock(&source);
	dma_resv_lock(&t->resv, NULL);
	KUNIT_EXPECT_EQ(test, dma_resv_copy_fences(&t->resv, &source), 0);
	dma_resv_unlock(&t->resv);
	dma_resv_fini(&source);

	import(test, fence_of(test, context, 6, true), true);
	KUNIT_EXPECT_TRUE(test, in_excl(test, copied));
	signal_all(test, 2);
}

static int keep_importing_more(void *data)
{
	struct import_test *t = data;
	unsigned int i = 0;

	while (!kthread_should_stop()) {
		/* Fences of new timelines, so that the list grows, and later fences of one. */
		dma_resv_import(&t->resv, t->f[1 + i % (t->count - 1)].fence, i & 1);
		i++;
		cond_resched();
	}
	return 0;
}

/* TTM copies the fences of a freed buffer without the lock and the sequence count. */
static void copies_have_the_drivers_fence(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned long end = jiffies + HZ;
	u64 context = dma_fence_context_alloc(1);
	struct task_struct *task;
	unsigned int i, idle = 0;

	driver_adds_shared(test, new_fence(test, false));
	for (i = 0; i < 30; i++) {
		fence_of(test, context, i + 1, false);
		new_fence(test, false);
	}
	task = kthread_run(keep_importing_more, t, "import");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	while (time_before(jiffies, end)) {
		struct dma_resv copy;
		struct dma_resv_list *list;
		bool found = false;

		dma_resv_init(&copy);
		dma_resv_lock(&copy, NULL);
		KUNIT_EXPECT_EQ(test, dma_resv_copy_fences(&copy, &t->resv), 0);
		list = dma_resv_get_list(&copy);
		for (i = 0; list && i < list->shared_count; i++)
			found |= rcu_access_pointer(list->shared[i]) == t->f[0].fence;
		dma_resv_unlock(&copy);
		dma_resv_fini(&copy);
		idle += !found;
		cond_resched();
	}
	kthread_stop(task);
	KUNIT_EXPECT_EQ(test, idle, 0U);
}

/* Copies miss no fence because no import moves a pending fence. */
static void nothing_that_is_pending_moves(struct kunit *test)
{
	struct dma_fence *drivers[4], *excl;
	struct import_test *t = test->priv;
	unsigned int i, round;

	import(test, new_fence(test, false), false);
	for (i = 0; i < ARRAY_SIZE(drivers); i++) {
		import(test, new_fence(test, true), true);
		/* amdgpu does that when a handle is closed. */
		excl = dma_resv_get_excl_rcu(&t->resv);
		driver_adds_shared(test, excl);
		dma_fence_put(excl);
		drivers[i] = new_fence(test, false);
		driver_adds_shared(test, drivers[i]);
	}
	for (round = 0; round < 10; round++) {
		int before[ARRAY_SIZE(drivers)], after;

		for (i = 0; i < ARRAY_SIZE(drivers); i++)
			before[i] = shared_slot(test, drivers[i]);
		import(test, new_fence(test, round & 1), round & 1);
		for (i = 0; i < ARRAY_SIZE(drivers); i++) {
			after = shared_slot(test, drivers[i]);
			KUNIT_EXPECT_GE(test, after, 0);
			KUNIT_EXPECT_EQ(test, after, before[i]);
		}
	}
	signal_all(test, 0);
}

/*
 * msm waits under a lock that it needs to signal its own fences, and recognises
 * these by their context.
 */
static bool waits_under_its_lock(struct kunit *test, u64 context)
{
	struct import_test *t = test->priv;
	struct dma_resv_list *list;
	struct dma_fence *fence;
	unsigned int i;
	bool waits = false;

	dma_resv_lock(&t->resv, NULL);
	fence = dma_resv_get_excl(&t->resv);
	if (fence)
		waits = !dma_fence_match_context(fence, context);
	list = dma_resv_get_list(&t->resv);
	for (i = 0; list && i < list->shared_count; i++) {
		fence = rcu_dereference_protected(list->shared[i], true);
		waits |= fence->context != context && !dma_fence_is_signaled(fence);
	}
	dma_resv_unlock(&t->resv);
	return waits;
}

static void waiter_finds_its_own_fences(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	unsigned int i;

	driver_adds_excl(test, fence_of(test, context, 1, true));
	driver_adds_shared(test, fence_of(test, context, 2, false));
	/* The compositor imports the fences of the client's work, frame by frame. */
	for (i = 3; i < 10; i++) {
		import(test, fence_of(test, context, i, i & 1), i & 1);
		KUNIT_EXPECT_FALSE(test, waits_under_its_lock(test, context));
	}
}

/* On nouveau before NV84 and on qxl a fence signals only if .wait is called. */
static long signal_by_wait(struct dma_fence *fence, bool intr, long timeout)
{
	dma_fence_signal(fence);
	return timeout;
}

static bool arm_nothing(struct dma_fence *fence)
{
	return true;
}

static const struct dma_fence_ops wait_only_ops = {
	.get_driver_name = mock_fence_name,
	.get_timeline_name = mock_fence_name,
	.enable_signaling = arm_nothing,
	.wait = signal_by_wait,
};

static void fence_with_wait_stays_bare(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned int write;
	long left;

	for (write = 0; write < 2; write++) {
		struct mock_fence *f = kzalloc(sizeof(*f), GFP_KERNEL);

		KUNIT_ASSERT_TRUE(test, !!f);
		spin_lock_init(&f->lock);
		dma_fence_init(&f->base, &wait_only_ops, &f->lock,
			       dma_fence_context_alloc(1), 1);
		driver_adds_shared(test, new_fence(test, false));
		dma_fence_signal(t->f[t->count - 1].fence);
		import(test, &f->base, write);
		left = dma_resv_wait_timeout_rcu(&t->resv, true, false, HZ);
		KUNIT_EXPECT_GT(test, left, 0L);
		dma_fence_put(&f->base);
		check(test);
	}
}

/* The same context twice: first as a writer, later as a reader. */
static void reader_does_not_delay_readers(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *writer = fence_of(test, context, 1, true);

	import(test, writer, true);
	import(test, fence_of(test, context, 2, false), false);
	import(test, new_fence(test, false), false);
	import(test, new_fence(test, true), true);
	signal_all(test, 0);
}

/* When another device attaches, amdgpu makes an array around ours. */
static void drivers_may_wrap_what_an_import_made(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence_array *array;
	struct dma_fence **fences;
	unsigned int i, count;

	driver_adds_excl(test, new_fence(test, true));
	import(test, new_fence(test, true), true);
	import(test, new_fence(test, false), false);

	KUNIT_ASSERT_EQ(test, 0, dma_resv_get_fences_rcu(&t->resv, NULL, &count, &fences));
	KUNIT_ASSERT_EQ(test, count, 2U);
	array = dma_fence_array_create(count, fences, dma_fence_context_alloc(1), 1,
				       false);
	KUNIT_ASSERT_TRUE(test, !!array);
	dma_fence_enable_sw_signaling(&array->base);

	/* The next import takes it apart, so arrays do not nest deeper. */
	driver_adds_excl(test, &array->base);
	import(test, new_fence(test, true), true);
	check(test);
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_TRUE(test, in_excl(test, t->f[i].fence));
		KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(&array->base));
		dma_fence_signal(t->f[i].fence);
	}
	KUNIT_EXPECT_GT(test, dma_fence_wait_timeout(&array->base, false, 10 * HZ), 0L);
	dma_fence_put(&array->base);
}

static void snapshot_leaves_bookkeeping_fences_out(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *eviction = new_fence(test, false), *snapshot;

	__set_bit(DMA_FENCE_FLAG_BOOKKEEPING_BIT, &eviction->flags);
	driver_adds_shared(test, eviction);
	KUNIT_EXPECT_FALSE(test, snapshot_busy(test, true));
	/* Drivers still wait for it, as before. */
	KUNIT_EXPECT_FALSE(test, dma_resv_test_signaled_rcu(&t->resv, true));

	import(test, new_fence(test, true), true);
	KUNIT_EXPECT_EQ(test, shared_slot(test, eviction), 0);
	snapshot = dma_resv_snapshot(&t->resv, true);
	KUNIT_EXPECT_PTR_EQ(test, snapshot, t->f[1].fence);
	dma_fence_put(snapshot);
}

/* amdgpu keeps the fences of writers among the shared ones. */
static void shared_writers_are_exported_to_readers(struct kunit *test)
{
	static const struct dma_buf_ops ops[] = { {}, { .shared_fences_write = true } };
	struct import_test *t = test->priv;
	struct dma_fence *writer = new_fence(test, false), *fence;
	unsigned int i;

	driver_adds_shared(test, writer);
	for (i = 0; i < 2; i++) {
		struct dma_buf dmabuf = { .ops = &ops[i], .resv = &t->resv };

		fence = dma_buf_snapshot(&dmabuf, DMA_BUF_SYNC_READ);
		KUNIT_EXPECT_NE(test, fence == writer, i == 0);
		dma_fence_put(fence);
		fence = dma_buf_snapshot(&dmabuf, DMA_BUF_SYNC_WRITE);
		KUNIT_EXPECT_PTR_EQ(test, fence, writer);
		dma_fence_put(fence);
	}
}

/* An array that an import made is exported as it is, so arrays do not nest. */
static void snapshot_of_imported_array_is_the_array(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *a, *b;

	import(test, new_fence(test, true), true);
	import(test, new_fence(test, true), true);
	a = dma_resv_snapshot(&t->resv, false);
	b = dma_resv_snapshot(&t->resv, false);
	KUNIT_EXPECT_PTR_EQ(test, a, b);
	import(test, a, true);
	KUNIT_EXPECT_EQ(test, 2U, pending_count(test));
	dma_fence_put(a);
	dma_fence_put(b);
}

/* The array of amdgpu also contains the eviction fence. */
static void bookkeeping_in_drivers_container(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_fence *fence = fence_to_import(test, true, true), *snapshot;
	struct dma_fence *eviction = t->f[0].fence;

	__set_bit(DMA_FENCE_FLAG_BOOKKEEPING_BIT, &eviction->flags);
	driver_adds_excl(test, fence);
	dma_fence_put(fence);
	import(test, new_fence(test, true), true);
	KUNIT_EXPECT_TRUE(test, in_excl(test, eviction));

	/* A client gets two of these three fences. */
	snapshot = dma_resv_snapshot(&t->resv, false);
	dma_fence_signal(t->f[1].fence);
	KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(snapshot));
	dma_fence_signal(t->f[2].fence);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(snapshot));
	dma_fence_put(snapshot);
}

/* i915 finds out that a request is done only when asked. */
static bool done_when_asked(struct dma_fence *fence)
{
	return true;
}

static const struct dma_fence_ops polled_ops = {
	.get_driver_name = mock_fence_name,
	.get_timeline_name = mock_fence_name,
	.signaled = done_when_asked,
};

static void imports_of_polled_fences_do_not_grow(struct kunit *test)
{
	struct import_test *t = test->priv;
	struct dma_resv_list *list = NULL;
	unsigned int i, lists = 0;

	driver_adds_shared(test, new_fence(test, false));
	for (i = 0; i < MANY; i++) {
		struct dma_fence *fence = mock_fence(test, dma_fence_context_alloc(1), 1);

		/* It is done only after the import. */
		import(test, fence, false);
		fence->ops = &polled_ops;
		dma_fence_put(fence);
		lists += rcu_access_pointer(t->resv.fence) != list;
		list = rcu_access_pointer(t->resv.fence);
	}
	/* Each growth allocates another list. */
	KUNIT_EXPECT_LE(test, lists, 4U);
	check(test);
}

/* Importing the same fence again does not replace the array. */
static void reimport_keeps_the_array(struct kunit *test)
{
	struct dma_fence *writer = new_fence(test, true);
	struct import_test *t = test->priv;
	void *array;

	driver_adds_excl(test, new_fence(test, true));
	import(test, writer, true);
	array = rcu_access_pointer(t->resv.fence_excl);
	import(test, writer, true);
	import(test, t->f[1].fence, true);
	KUNIT_EXPECT_PTR_EQ(test, array, (void *)rcu_access_pointer(t->resv.fence_excl));
}

/* When a handle is closed, amdgpu adds the exclusive fence as a shared one. */
static void copies_of_arrays_do_not_grow(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned int i;

	driver_adds_excl(test, new_fence(test, true));
	for (i = 0; i < 20; i++) {
		struct dma_fence *excl;

		import(test, new_fence(test, true), true);
		excl = dma_resv_get_excl_rcu(&t->resv);
		driver_adds_shared(test, excl);
		dma_fence_put(excl);
		KUNIT_EXPECT_EQ(test, shared_count(test), 1U);
	}
	signal_all(test, 5);
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

static void reimport_does_not_grow(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test, true);
	unsigned int i;

	driver_adds_excl(test, new_fence(test, true));
	driver_adds_shared(test, new_fence(test, false));
	for (i = 0; i < 10 * MANY; i++)
		import(test, fence, true);
	KUNIT_EXPECT_EQ(test, shared_count(test), 1U);
	/* Our fence, the driver's writer and its reader. */
	KUNIT_EXPECT_EQ(test, 3U, pending_count(test));
	signal_all(test, 0);
}

/* Signals fences to which the test has no pointer any more. */
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

/* A timeline that advances without waiting for the fences that it imported. */
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
	/* The driver's fence, the last writer and the last reader. */
	KUNIT_EXPECT_EQ(test, 3U, pending_count(test));
	signal_snapshot(test);
	check(test);
}

/* Fences that signal after their import: their slots are used again. */
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

/* Mesa's loop: export all fences, import them again. */
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
	KUNIT_EXPECT_EQ(test, shared_count(test), 1U);
	KUNIT_EXPECT_EQ(test, 2U, pending_count(test));
	signal_all(test, 1);
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

/* A pending exclusive fence is visible at any time, also without the lock. */
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
/* The addresses of the fences in the reservation object. */
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

/* Lets the nth allocation of an import fail; returns what the import returned. */
static int import_with_nth_failing(struct kunit *test, unsigned int nth,
				   unsigned int kind, bool *failed)
{
	bool write = kind & 1, merged = kind & 2, earlier = kind & 4;
	struct dma_fence *before[8], *after[8], *fence;
	struct import_test *t = test->priv;
	unsigned int count, first, imported;
	int ret, differ;

	driver_adds_excl(test, new_fence(test, true));
	driver_adds_shared(test, new_fence(test, false));
	driver_adds_shared(test, new_fence(test, false));
	if (earlier) {
		import(test, new_fence(test, false), false);
		import(test, new_fence(test, true), true);
	}
	first = t->count;
	fence = fence_to_import(test, write, merged);
	count = contents(t, before);
	imported = t->resv.excl_imported;

	current->fail_nth = nth;
	ret = dma_resv_import(&t->resv, fence, write);
	/* If the count is not used up, there are fewer allocations. */
	*failed = !current->fail_nth;
	current->fail_nth = 0;
	dma_fence_put(fence);

	if (ret) {
		KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
		KUNIT_EXPECT_EQ(test, contents(t, after), count);
		differ = memcmp(before, after, count * sizeof(*before));
		KUNIT_EXPECT_EQ(test, differ, 0);
		KUNIT_EXPECT_EQ(test, t->resv.excl_imported, imported);
		while (first < t->count)
			dma_fence_signal(t->f[first++].fence);
	}
	signal_all(test, 0);
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

/* The 1st, 2nd, 3rd ... allocation fails, until there is no further one. */
static void failed_import_changes_nothing(struct kunit *test)
{
	unsigned int kind, nth, enomem[8] = {}, all = 0;
	bool failed;

	for (kind = 0; kind < 8; kind++) {
		for (nth = 1, failed = true; failed && nth < 100; nth++)
			enomem[kind] += !!import_with_nth_failing(test, nth, kind, &failed);
		KUNIT_EXPECT_FALSE(test, failed);
		all += enomem[kind];
	}
	if (!allocations_fail(test, all))
		return;
	/* A READ import may need a longer list, a WRITE import beside a writer an array. */
	for (kind = 1; kind < 8; kind++)
		if (kind & 3)
			KUNIT_EXPECT_GE(test, enomem[kind], 2U);
}

static void failed_snapshot_is_enomem(struct kunit *test)
{
	struct import_test *t = test->priv;
	unsigned int nth, write, failed = 0;
	struct dma_fence *fence;

	fence = fence_to_import(test, true, true);
	driver_adds_excl(test, fence);
	dma_fence_put(fence);
	driver_adds_shared(test, new_fence(test, false));
	/* Two writers, so that a read has to build an array, too. */
	for (write = 0; write < 2; write++) {
		for (nth = 1; nth < 100; nth++) {
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
	/* The set of a read, the array of a write; the allocation of the list is retried. */
	if (allocations_fail(test, failed))
		KUNIT_EXPECT_GE(test, failed, 2U);
	signal_all(test, 0);
}
#endif

static struct kunit_case dma_buf_sync_file_cases[] = {
	KUNIT_CASE(import_read_into_every_mix),
	KUNIT_CASE(import_write_into_every_mix),
	KUNIT_CASE(import_after_import),
	KUNIT_CASE(each_import_has_its_place),
	KUNIT_CASE(import_of_signaled_changes_nothing),
	KUNIT_CASE(import_takes_containers_apart),
	KUNIT_CASE(import_older_keeps_newer),
	KUNIT_CASE(later_import_keeps_drivers_fence),
	KUNIT_CASE(drivers_container_is_kept),
	KUNIT_CASE(later_import_replaces_import),
	KUNIT_CASE(fences_of_context_0_all_stay),
	KUNIT_CASE(drivers_fence_of_imported_context),
	KUNIT_CASE(nothing_that_is_pending_moves),
	KUNIT_CASE(rebuilt_list_knows_whose_fences_it_has),
	KUNIT_CASE(copy_has_drivers_fences_only),
	KUNIT_CASE(copies_have_the_drivers_fence),
	KUNIT_CASE(waiter_finds_its_own_fences),
	KUNIT_CASE(fence_with_wait_stays_bare),
	KUNIT_CASE(reader_does_not_delay_readers),
	KUNIT_CASE(drivers_may_wrap_what_an_import_made),
	KUNIT_CASE(snapshot_leaves_bookkeeping_fences_out),
	KUNIT_CASE(shared_writers_are_exported_to_readers),
	KUNIT_CASE(snapshot_of_imported_array_is_the_array),
	KUNIT_CASE(bookkeeping_in_drivers_container),
	KUNIT_CASE(imports_of_polled_fences_do_not_grow),
	KUNIT_CASE(reimport_keeps_the_array),
	KUNIT_CASE(copies_of_arrays_do_not_grow),
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
