// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the names in the trace events of fences. Trace events read names on
 * every kernel. An exporter may free its names an RCU grace period after signaling,
 * and a fence may signal while an event reads its names.
 *
 * A record must contain each name whole: the exporter's, or the fixed name once the
 * fence has signaled, never a part of either and nothing beyond it. A perf event gets
 * the records as they were written, while another CPU signals.
 *
 * The tests use only interfaces that the kernel has without the queue, so the same
 * tests show the faults on an unpatched kernel.
 */

#include <kunit/test.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/trace_events.h>
#include <linux/workqueue.h>

#include <trace/events/dma_fence.h>

#include "dma-fence-names-mock.h"

#define RACE_SECONDS	5	/* of each of the two races */
#define MAX_SIGNAL_SECONDS	30	/* by then a waiter must be waiting */
#define SHORT_DRIVER	"mk"
#define SHORT_TIMELINE	"t"
/* Longer than both fixed names together, and than what may lie behind them in memory. */
#define LONG_DRIVER \
	"mock-driver-of-a-vendor-who-likes-to-have-the-whole-path-of-the-device-in-the-name-of-the-driver"
#define LONG_TIMELINE \
	"mock-timeline-of-the-process-that-submitted-the-work-with-its-engine-its-context-and-its-priority"

enum { INIT, EMIT, ENABLE_SIGNAL, SIGNALED, WAIT_START, WAIT_END, DESTROY, NUM_EVENTS };

static const char * const event_names[NUM_EVENTS] = {
	[INIT] = "dma_fence_init",
	[EMIT] = "dma_fence_emit",
	[ENABLE_SIGNAL] = "dma_fence_enable_signal",
	[SIGNALED] = "dma_fence_signaled",
	[WAIT_START] = "dma_fence_wait_start",
	[WAIT_END] = "dma_fence_wait_end",
	[DESTROY] = "dma_fence_destroy",
};

/* A record as the events' format files describe it. */
struct fence_record {
	struct trace_entry entry;
	u32 driver;		/* offset in the record, and size << 16 */
	u32 timeline;
	unsigned int context;
	unsigned int seqno;
};

/* What was recorded of one event. */
struct fence_event {
	struct names_test *test;
	const char *name;
	atomic_t own;		/* records with both names of the exporter */
	atomic_t fixed;		/* records with both of the fixed names */
	atomic_t mixed;		/* records with one of each: the fence signaled in between */
};

struct names_test {
	unsigned int context;
	const char *driver;
	const char *timeline;
	struct fence_event events[NUM_EVENTS];
	struct perf_event **counters;
	unsigned int num_counters;

	struct named_fence_race race;	/* wrong: records with any other name */
	char first_wrong[256];

	struct dma_fence *waited_for;
	struct delayed_work signal;
	unsigned long signal_by;	/* jiffies: signal then, even if nobody waits */
};

enum name_kind { NAME_WRONG, NAME_OWN, NAME_FIXED };

static enum name_kind kind_of_name(const struct fence_record *record, u32 size,
				   u32 loc, const char *own, const char *fixed)
{
	u32 offset = loc & 0xffff, len = loc >> 16;
	const char *name = (const char *)record + offset;

	if (offset < sizeof(*record) || !len || offset + len > size)
		return NAME_WRONG;
	if (len == strlen(own) + 1 && !memcmp(name, own, len))
		return NAME_OWN;
	if (len == strlen(fixed) + 1 && !memcmp(name, fixed, len))
		return NAME_FIXED;
	return NAME_WRONG;
}

/* Runs in the context that raises the event, so it may neither sleep nor fail a test. */
static void check_record(struct perf_event *counter, struct perf_sample_data *data,
			 struct pt_regs *regs)
{
	struct fence_event *event = counter->overflow_handler_context;
	struct names_test *t = event->test;
	const struct fence_record *record = data->raw->frag.data;
	u32 size = data->raw->frag.size;
	enum name_kind driver, timeline;

	if (size < sizeof(*record) || record->context != t->context)
		return;
	driver = kind_of_name(record, size, record->driver, t->driver,
			      DETACHED_DRIVER);
	timeline = kind_of_name(record, size, record->timeline, t->timeline,
				SIGNALED_TIMELINE);
	if (driver == NAME_OWN && timeline == NAME_OWN)
		atomic_inc(&event->own);
	else if (driver == NAME_FIXED && timeline == NAME_FIXED)
		atomic_inc(&event->fixed);
	else if (driver != NAME_WRONG && timeline != NAME_WRONG)
		atomic_inc(&event->mixed);
	else if (atomic_inc_return(&t->race.wrong) == 1)
		scnprintf(t->first_wrong, sizeof(t->first_wrong),
			  "%s: driver at %#x, timeline at %#x, in %u bytes: %*pE",
			  event->name, record->driver, record->timeline, size,
			  (int)min_t(u32, size - sizeof(*record), 64), record + 1);
}

static void expect_no_wrong_names(struct kunit *test)
{
	struct names_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, atomic_read(&t->race.wrong), 0);
	if (atomic_read(&t->race.wrong))
		kunit_info(test, "the first of %d: %s\n", atomic_read(&t->race.wrong),
			   t->first_wrong);
}

/* So far @event has @own records with own names, @fixed with fixed names and no others. */
static void expect_records(struct kunit *test, int event, int own, int fixed)
{
	struct names_test *t = test->priv;

	kunit_info(test, "%s\n", event_names[event]);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->events[event].own), own);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->events[event].fixed), fixed);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->events[event].mixed), 0);
	expect_no_wrong_names(test);
}

static int open_counters(struct names_test *t, int event)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.sample_type = PERF_SAMPLE_RAW,
		.sample_period = 1,
	};
	struct trace_event_file *file;
	struct perf_event *counter;
	int cpu;

	file = trace_get_event_file(NULL, "dma_fence", event_names[event]);
	if (IS_ERR(file))
		return PTR_ERR(file);
	attr.config = file->event_call->event.type;
	trace_put_event_file(file);

	for_each_online_cpu(cpu) {
		counter = perf_event_create_kernel_counter(&attr, cpu, NULL, check_record,
							   &t->events[event]);
		if (IS_ERR(counter))
			return PTR_ERR(counter);
		t->counters[t->num_counters++] = counter;
	}
	return 0;
}

static int names_test_init(struct kunit *test)
{
	struct names_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	int event, err;

	if (!t)
		return -ENOMEM;
	test->priv = t;
	t->counters = kunit_kzalloc(test, array3_size(NUM_EVENTS, nr_cpu_ids,
						      sizeof(*t->counters)),
				    GFP_KERNEL);
	if (!t->counters)
		return -ENOMEM;
	t->context = dma_fence_context_alloc(1);
	t->driver = SHORT_DRIVER;
	t->timeline = SHORT_TIMELINE;
	for (event = 0; event < NUM_EVENTS; event++) {
		t->events[event].test = t;
		t->events[event].name = event_names[event];
	}
	for (event = 0; event < NUM_EVENTS; event++) {
		err = open_counters(t, event);
		if (err) {
			kunit_err(test, "cannot count %s: %d\n", event_names[event], err);
			return err;
		}
	}
	return 0;
}

static void names_test_exit(struct kunit *test)
{
	struct names_test *t = test->priv;

	if (!t)
		return;
	/* Freeing the names raises the last events. */
	rcu_barrier();
	while (t->num_counters)
		perf_event_release_kernel(t->counters[--t->num_counters]);
}

static struct dma_fence *new_fence(struct kunit *test)
{
	struct names_test *t = test->priv;
	struct dma_fence *fence = named_fence(t->context, 1, t->driver, t->timeline);

	KUNIT_ASSERT_TRUE(test, !!fence);
	return fence;
}

/* A fence that signaled so long ago that its exporter has freed the names. */
static struct dma_fence *gone_fence(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test);

	named_fence_signal(fence);
	rcu_barrier();
	KUNIT_EXPECT_TRUE(test, named_fence_is_gone(fence));
	return fence;
}

static void pending_fence_has_its_own_names(struct kunit *test)
{
	struct dma_fence *fence = new_fence(test);

	/* Drivers raise this under their locks; some kernels require rcu_read_lock(). */
	rcu_read_lock();
	trace_dma_fence_emit(fence);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, dma_fence_wait_timeout(fence, false, 1), 0L);
	expect_records(test, INIT, 1, 0);
	expect_records(test, EMIT, 1, 0);
	expect_records(test, ENABLE_SIGNAL, 1, 0);
	expect_records(test, WAIT_START, 1, 0);
	expect_records(test, WAIT_END, 1, 0);
	named_fence_signal(fence);
	expect_records(test, SIGNALED, 1, 0);
	dma_fence_put(fence);
}

static void pending_fence_has_its_own_long_names(struct kunit *test)
{
	struct names_test *t = test->priv;

	t->driver = LONG_DRIVER;
	t->timeline = LONG_TIMELINE;
	pending_fence_has_its_own_names(test);
}

/* The exporter has freed the names, so no event may ask for them any more. */
static void wait_for_signaled_fence_has_fixed_names(struct kunit *test)
{
	struct dma_fence *fence = gone_fence(test);

	KUNIT_EXPECT_GT(test, dma_fence_wait_timeout(fence, false, 1), 0L);
	expect_records(test, WAIT_START, 0, 1);
	expect_records(test, WAIT_END, 0, 1);
	dma_fence_put(fence);
}

static void end_of_signaled_fence_has_fixed_names(struct kunit *test)
{
	dma_fence_put(gone_fence(test));
	expect_records(test, DESTROY, 0, 1);
}

/* Signals once the wait has begun, or when time is up. */
static void signal_waited_for(struct work_struct *work)
{
	struct names_test *t = container_of(to_delayed_work(work), struct names_test,
					    signal);

	if (atomic_read(&t->events[WAIT_START].own) || time_after(jiffies, t->signal_by))
		named_fence_signal(t->waited_for);
	else
		schedule_delayed_work(&t->signal, 1);
}

/* One event before the wait, one after it; the fence signals in between. */
static void wait_ends_with_fixed_names(struct kunit *test)
{
	struct names_test *t = test->priv;

	t->waited_for = new_fence(test);
	INIT_DELAYED_WORK(&t->signal, signal_waited_for);
	t->signal_by = jiffies + MAX_SIGNAL_SECONDS * HZ;
	schedule_delayed_work(&t->signal, 1);
	KUNIT_EXPECT_GT(test, dma_fence_wait_timeout(t->waited_for, false, 60 * HZ), 0L);
	flush_delayed_work(&t->signal);
	expect_records(test, ENABLE_SIGNAL, 1, 0);
	expect_records(test, WAIT_START, 1, 0);
	expect_records(test, WAIT_END, 0, 1);
	dma_fence_put(t->waited_for);
}

/*
 * Wait with a timeout of 0, again and again, for the fence that is about to signal.
 * From time to time continue until its names are freed, and beyond.
 */
static int keep_waiting(void *race)
{
	struct names_test *t = container_of(race, struct names_test, race);
	unsigned int count = 0, after;

	while (!kthread_should_stop()) {
		struct dma_fence *fence = named_fence_race_get(race);

		if (fence) {
			while (!dma_fence_wait_timeout(fence, false, 0))
				cond_resched();
			for (after = 0; count % 64 == 0 && after < 4;) {
				after += named_fence_is_gone(fence);
				dma_fence_wait_timeout(fence, false, 0);
				if (atomic_read(&t->race.wrong))
					break;
				cond_resched();
			}
			dma_fence_put(fence);
			count++;
		}
		cond_resched();
	}
	return 0;
}

/* Readers met fences before they signaled, and after. */
static bool raced_enough(struct named_fence_race *race)
{
	struct names_test *t = container_of(race, struct names_test, race);

	return race->signals > RACE_ENOUGH &&
	       atomic_read(&t->events[WAIT_START].own) > RACE_ENOUGH &&
	       atomic_read(&t->events[WAIT_END].fixed) > RACE_ENOUGH;
}

static void race(struct kunit *test, const char *driver, const char *timeline)
{
	struct names_test *t = test->priv;
	unsigned int i;

	t->driver = driver;
	t->timeline = timeline;
	t->race.context = t->context;
	t->race.driver = driver;
	t->race.timeline = timeline;
	t->race.seconds = RACE_SECONDS;
	t->race.read = keep_waiting;
	t->race.enough = raced_enough;
	named_fence_race_run(test, &t->race);

	expect_no_wrong_names(test);
	for (i = 0; i < NUM_EVENTS; i++)
		kunit_info(test, "%s: %d own, %d fixed, %d one of each\n", event_names[i],
			   atomic_read(&t->events[i].own),
			   atomic_read(&t->events[i].fixed),
			   atomic_read(&t->events[i].mixed));
}

static void race_of_short_names(struct kunit *test)
{
	race(test, SHORT_DRIVER, SHORT_TIMELINE);
}

static void race_of_long_names(struct kunit *test)
{
	race(test, LONG_DRIVER, LONG_TIMELINE);
}

static struct kunit_case names_race_cases[] = {
	KUNIT_CASE(pending_fence_has_its_own_names),
	KUNIT_CASE(pending_fence_has_its_own_long_names),
	KUNIT_CASE(wait_for_signaled_fence_has_fixed_names),
	KUNIT_CASE(end_of_signaled_fence_has_fixed_names),
	KUNIT_CASE(wait_ends_with_fixed_names),
	KUNIT_CASE(race_of_short_names),
	KUNIT_CASE(race_of_long_names),
	{}
};

static struct kunit_suite names_race_suite = {
	.name = "dma_fence_names_race",
	.init = names_test_init,
	.exit = names_test_exit,
	.test_cases = names_race_cases,
};

kunit_test_suite(names_race_suite);

MODULE_DESCRIPTION("KUnit tests for the names in the trace events of fences");
MODULE_LICENSE("GPL");
