// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for dma_fence_driver_name() and dma_fence_timeline_name(): which names
 * a fence has before and after it signals, and that they stay valid until the end of
 * the RCU section in which they were asked for, while another CPU signals the fence
 * and its exporter frees them.
 */

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>

#include "dma-fence-names-mock.h"

#define RACE_SECONDS	10

struct names_test {
	u64 context;
	struct named_fence_race race;	/* wrong: sections with another or a changing name */

	atomic_t own;		/* sections that began with the exporter's name */
	atomic_t outlived;	/* those of them in which the fence signaled */
	atomic_t fixed;		/* sections with a fixed name */
};

static int names_test_init(struct kunit *test)
{
	struct names_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	t->context = dma_fence_context_alloc(1);
	test->priv = t;
	return 0;
}

static void names_test_exit(struct kunit *test)
{
	/* The code that frees the last names is in this module. */
	rcu_barrier();
}

static struct dma_fence *new_fence(struct kunit *test)
{
	struct names_test *t = test->priv;
	struct dma_fence *fence = named_fence(t->context, 1, "mock-driver",
					      "mock-timeline");

	KUNIT_ASSERT_TRUE(test, !!fence);
	return fence;
}

struct names {
	char driver[32];
	char timeline[32];
};

/* Makes copies, because an expectation that fails may sleep. */
static void read_names(struct dma_fence *fence, struct names *names)
{
	const char __rcu *timeline;
	const char __rcu *driver;

	rcu_read_lock();
	driver = dma_fence_driver_name(fence);
	timeline = dma_fence_timeline_name(fence);
	strscpy(names->driver, rcu_dereference(driver), sizeof(names->driver));
	strscpy(names->timeline, rcu_dereference(timeline), sizeof(names->timeline));
	rcu_read_unlock();
}

static void expect_names(struct kunit *test, struct dma_fence *fence,
			 const char *driver, const char *timeline)
{
	struct names names;

	read_names(fence, &names);
	KUNIT_EXPECT_STREQ(test, (const char *)names.driver, driver);
	KUNIT_EXPECT_STREQ(test, (const char *)names.timeline, timeline);
}

static void pending_fence_has_its_own_names(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test);

	expect_names(test, fence, "mock-driver", "mock-timeline");
	KUNIT_EXPECT_EQ(test, dma_fence_wait_timeout(fence, false, 1), 0L);
	expect_names(test, fence, "mock-driver", "mock-timeline");
	named_fence_signal(fence);
	dma_fence_put(fence);
}

static void signaled_fence_has_fixed_names(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test);

	named_fence_signal(fence);
	expect_names(test, fence, DETACHED_DRIVER, SIGNALED_TIMELINE);
	rcu_barrier();
	KUNIT_EXPECT_TRUE(test, named_fence_is_gone(fence));
	expect_names(test, fence, DETACHED_DRIVER, SIGNALED_TIMELINE);
	dma_fence_put(fence);
}

static void failed_fence_has_fixed_names(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test);

	dma_fence_set_error(fence, -EIO);
	expect_names(test, fence, "mock-driver", "mock-timeline");
	named_fence_signal(fence);
	expect_names(test, fence, DETACHED_DRIVER, SIGNALED_TIMELINE);
	dma_fence_put(fence);
}

/* One helper must not return the name of the other: that bug was shipped twice. */
static void driver_and_timeline_differ(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test);
	struct names names;

	read_names(fence, &names);
	KUNIT_EXPECT_NE(test, strcmp(names.driver, names.timeline), 0);
	named_fence_signal(fence);
	read_names(fence, &names);
	KUNIT_EXPECT_NE(test, strcmp(names.driver, names.timeline), 0);
	dma_fence_put(fence);
}

static void stub_is_signaled(struct kunit *test)
{
	struct dma_fence *fence = dma_fence_get_stub();

	expect_names(test, fence, DETACHED_DRIVER, SIGNALED_TIMELINE);
	dma_fence_put(fence);
}

/* A container is a fence with its own names: it does not return those of its members. */
static void array_has_names_of_its_own(struct kunit *test)
{
	struct dma_fence **fences = kcalloc(2, sizeof(*fences), GFP_KERNEL);
	struct dma_fence *member[2];
	struct dma_fence_array *array;
	int i;

	KUNIT_ASSERT_TRUE(test, !!fences);
	for (i = 0; i < 2; i++) {
		member[i] = new_fence(test);
		fences[i] = dma_fence_get(member[i]);
	}
	array = dma_fence_array_create(2, fences, dma_fence_context_alloc(1), 1);
	KUNIT_ASSERT_TRUE(test, !!array);
	expect_names(test, &array->base, "dma_fence_array", "unbound");
	/* The array adds callbacks to its members only when somebody waits. */
	KUNIT_EXPECT_EQ(test, dma_fence_wait_timeout(&array->base, false, 1), 0L);
	named_fence_signal(member[0]);
	expect_names(test, &array->base, "dma_fence_array", "unbound");
	expect_names(test, member[0], DETACHED_DRIVER, SIGNALED_TIMELINE);
	expect_names(test, member[1], "mock-driver", "mock-timeline");
	named_fence_signal(member[1]);
	/* The array signals from an irq_work. */
	KUNIT_EXPECT_GT(test, dma_fence_wait_timeout(&array->base, false, 60 * HZ), 0L);
	expect_names(test, &array->base, DETACHED_DRIVER, SIGNALED_TIMELINE);
	for (i = 0; i < 2; i++)
		dma_fence_put(member[i]);
	dma_fence_put(&array->base);
}

static void chain_has_names_of_its_own(struct kunit *test)
{
	struct dma_fence_chain *chain = kzalloc(sizeof(*chain), GFP_KERNEL);
	struct dma_fence *member;

	KUNIT_ASSERT_TRUE(test, !!chain);
	member = new_fence(test);
	dma_fence_chain_init(chain, NULL, dma_fence_get(member), 1);
	expect_names(test, &chain->base, "dma_fence_chain", "unbound");
	KUNIT_EXPECT_EQ(test, dma_fence_wait_timeout(&chain->base, false, 1), 0L);
	named_fence_signal(member);
	expect_names(test, member, DETACHED_DRIVER, SIGNALED_TIMELINE);
	KUNIT_EXPECT_GT(test, dma_fence_wait_timeout(&chain->base, false, 60 * HZ), 0L);
	expect_names(test, &chain->base, DETACHED_DRIVER, SIGNALED_TIMELINE);
	dma_fence_put(member);
	dma_fence_put(&chain->base);
}

/*
 * Read a name until the fence has signaled, and some times more, in one section. The
 * exporter may not free the name before the section ends.
 */
static void read_in_one_section(struct names_test *t, struct dma_fence *fence,
				const char __rcu *(*helper)(struct dma_fence *),
				const char *own, const char *fixed)
{
	unsigned int reads, signaled = 0;
	const char __rcu *result;
	const char *name;

	rcu_read_lock();
	result = helper(fence);
	name = rcu_dereference(result);
	if (strcmp(name, own)) {
		atomic_inc(strcmp(name, fixed) ? &t->race.wrong : &t->fixed);
	} else {
		for (reads = 0; reads < 50 && signaled < 5; reads++) {
			signaled += dma_fence_is_signaled(fence);
			udelay(2);
			if (strcmp(name, own)) {
				atomic_inc(&t->race.wrong);
				break;
			}
		}
		atomic_inc(&t->own);
		if (signaled)
			atomic_inc(&t->outlived);
	}
	rcu_read_unlock();
}

static int keep_reading(void *race)
{
	struct names_test *t = container_of(race, struct names_test, race);
	unsigned int count = 0;

	while (!kthread_should_stop()) {
		struct dma_fence *fence = named_fence_race_get(race);

		if (fence) {
			if (count++ & 1)
				read_in_one_section(t, fence, dma_fence_driver_name,
						    "mock-driver", DETACHED_DRIVER);
			else
				read_in_one_section(t, fence, dma_fence_timeline_name,
						    "mock-timeline", SIGNALED_TIMELINE);
			dma_fence_put(fence);
		}
		cond_resched();
	}
	return 0;
}

/*
 * Readers met fences before, while and after they signaled. With one CPU it may happen
 * that no fence signals during a section.
 */
static bool raced_enough(struct named_fence_race *race)
{
	struct names_test *t = container_of(race, struct names_test, race);

	return atomic_read(&t->fixed) > RACE_ENOUGH &&
	       (atomic_read(&t->outlived) > RACE_ENOUGH || num_online_cpus() == 1);
}

static void names_outlast_the_section(struct kunit *test)
{
	struct names_test *t = test->priv;

	t->race.context = t->context;
	t->race.driver = "mock-driver";
	t->race.timeline = "mock-timeline";
	t->race.seconds = RACE_SECONDS;
	t->race.read = keep_reading;
	t->race.enough = raced_enough;
	named_fence_race_run(test, &t->race);

	kunit_info(test, "%u fences; %d names of the exporter, %d still read when the fence had signaled; %d fixed names\n",
		   t->race.signals, atomic_read(&t->own), atomic_read(&t->outlived),
		   atomic_read(&t->fixed));
	KUNIT_EXPECT_EQ(test, atomic_read(&t->race.wrong), 0);
}

static struct kunit_case names_cases[] = {
	KUNIT_CASE(pending_fence_has_its_own_names),
	KUNIT_CASE(signaled_fence_has_fixed_names),
	KUNIT_CASE(failed_fence_has_fixed_names),
	KUNIT_CASE(driver_and_timeline_differ),
	KUNIT_CASE(stub_is_signaled),
	KUNIT_CASE(array_has_names_of_its_own),
	KUNIT_CASE(chain_has_names_of_its_own),
	KUNIT_CASE(names_outlast_the_section),
	{}
};

static struct kunit_suite names_suite = {
	.name = "dma_fence_names",
	.init = names_test_init,
	.exit = names_test_exit,
	.test_cases = names_cases,
};

kunit_test_suite(names_suite);

MODULE_DESCRIPTION("KUnit tests for the helpers that name a fence");
MODULE_LICENSE("GPL");
