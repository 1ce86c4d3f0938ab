/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For the KUnit tests in this directory: a fence whose exporter frees its names and
 * its lock as early as the contract allows, an RCU grace period after
 * dma_fence_signal(). Code that takes the lock of a signaled fence, asks the exporter
 * for its names, or reads a name outside of the RCU section in which it asked for the
 * name, uses freed memory, which KASAN reports. Also a race between these fences and
 * their users.
 */

#ifndef _DMA_FENCE_NAMES_MOCK_H
#define _DMA_FENCE_NAMES_MOCK_H

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/dma-fence.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <uapi/linux/sync_file.h>

#define DETACHED_DRIVER "detached-driver"
#define SIGNALED_TIMELINE "signaled-timeline"

#define RACE_ENOUGH	10	/* reads before a signal, and after: a race needs more */
#define MAX_RACE_SECONDS	60
#define MAX_UNDER_WAY	16	/* fences that have signaled, and whose names still exist */

struct named_fence_names {
	struct rcu_head rcu;
	struct named_fence *fence;
	spinlock_t lock;	/* the lock of @fence */
	bool passed;		/* the work is done; @fence may not have signaled yet */
	ktime_t deadline;
	const char *driver;
	const char *timeline;
	char text[];
};

struct named_fence {
	struct dma_fence base;
	struct named_fence_names *names;
	bool gone;		/* @names were freed */
};

static inline struct named_fence *to_named_fence(struct dma_fence *fence)
{
	return container_of(fence, struct named_fence, base);
}

static const char *named_fence_driver(struct dma_fence *fence)
{
	return to_named_fence(fence)->names->driver;
}

static const char *named_fence_timeline(struct dma_fence *fence)
{
	return to_named_fence(fence)->names->timeline;
}

static bool named_fence_enable_signaling(struct dma_fence *fence)
{
	return true;
}

static bool named_fence_signaled(struct dma_fence *fence)
{
	return READ_ONCE(to_named_fence(fence)->names->passed);
}

/* The kernels that have this ioctl are those that have the operation. */
#ifdef SYNC_IOC_SET_DEADLINE
static void named_fence_set_deadline(struct dma_fence *fence, ktime_t deadline)
{
	WRITE_ONCE(to_named_fence(fence)->names->deadline, deadline);
}
#endif

static const struct dma_fence_ops named_fence_ops = {
	.get_driver_name = named_fence_driver,
	.get_timeline_name = named_fence_timeline,
	.enable_signaling = named_fence_enable_signaling,
	.signaled = named_fence_signaled,
#ifdef SYNC_IOC_SET_DEADLINE
	.set_deadline = named_fence_set_deadline,
#endif
};

/*
 * Returns a new fence, or NULL. The caller gets a reference. It must also call
 * named_fence_signal(), because the names hold the other reference.
 */
static struct dma_fence *named_fence(u64 context, u64 seqno, const char *driver,
				     const char *timeline)
{
	size_t driver_size = strlen(driver) + 1;
	size_t size = driver_size + strlen(timeline) + 1;
	struct named_fence_names *names;
	struct named_fence *f;

	f = kzalloc(sizeof(*f), GFP_KERNEL);
	if (!f)
		return NULL;
	names = kzalloc(sizeof(*names) + size, GFP_KERNEL);
	if (!names) {
		kfree(f);
		return NULL;
	}
	names->driver = names->text;
	names->timeline = names->text + driver_size;
	memcpy(names->text, driver, driver_size);
	memcpy(names->text + driver_size, timeline, size - driver_size);
	names->fence = f;
	f->names = names;
	spin_lock_init(&names->lock);
	dma_fence_init(&f->base, &named_fence_ops, &names->lock, context, seqno);
	return dma_fence_get(&f->base);
}

static void named_fence_free_names(struct rcu_head *rcu)
{
	struct named_fence_names *names =
		container_of(rcu, struct named_fence_names, rcu);
	struct named_fence *f = names->fence;

	/* Lets the tests detect a late reader without KASAN, too. */
	names->driver = "freed";
	names->timeline = "freed";
	kfree(names);
	/* A reader that sees this set finds the names freed. */
	smp_store_release(&f->gone, true);
	dma_fence_put(&f->base);
}

/*
 * Signal @fence, unless a user that tested it did so first, and free its names and
 * its lock when the contract allows. To be called once.
 */
static void named_fence_signal(struct dma_fence *fence)
{
	struct named_fence_names *names = to_named_fence(fence)->names;

	WRITE_ONCE(names->passed, true);
	dma_fence_signal(fence);
	call_rcu(&names->rcu, named_fence_free_names);
}

/* Whether @fence has signaled and its names and its lock have been freed. */
static bool named_fence_is_gone(struct dma_fence *fence)
{
	/* Pairs with named_fence_free_names(). */
	return smp_load_acquire(&to_named_fence(fence)->gone);
}

/* Fences that signal one after the other, while threads read their names. */
struct named_fence_race {
	u64 context;
	const char *driver;
	const char *timeline;
	unsigned int seconds;	/* duration; longer until @enough returns true */
	int (*read)(void *race);	/* a thread that runs until it is stopped */
	bool (*enough)(struct named_fence_race *race);	/* readers and signals have met */
	atomic_t wrong;		/* wrong names or answers that readers found */

	spinlock_t lock;	/* protects @fence */
	struct dma_fence *fence;	/* the one that signals next */
	unsigned int signals;
};

/* Returns the fence that is about to signal, or NULL; the caller gets a reference. */
static struct dma_fence *named_fence_race_get(struct named_fence_race *race)
{
	struct dma_fence *fence;

	spin_lock(&race->lock);
	fence = dma_fence_get(race->fence);
	spin_unlock(&race->lock);
	return fence;
}

static void named_fence_race_set(struct named_fence_race *race, struct dma_fence *fence)
{
	spin_lock(&race->lock);
	swap(race->fence, fence);
	spin_unlock(&race->lock);
	dma_fence_put(fence);
}

/* On a slow machine it takes longer until readers and signals have met. */
static bool named_fence_race_goes_on(struct named_fence_race *race, unsigned long start)
{
	if (atomic_read(&race->wrong))
		return false;
	if (time_before(jiffies, start + race->seconds * HZ))
		return true;
	return time_before(jiffies, start + MAX_RACE_SECONDS * HZ) && !race->enough(race);
}

/* The caller sets the members above the lock, and checks what the readers found. */
static void named_fence_race_run(struct kunit *test, struct named_fence_race *race)
{
	unsigned long start = jiffies;
	struct dma_fence *last[MAX_UNDER_WAY] = {};
	struct task_struct *task[4] = {};
	unsigned int i, readers;

	spin_lock_init(&race->lock);
	race->fence = NULL;
	race->signals = 0;
	readers = clamp_t(unsigned int, num_online_cpus() - 1, 1, ARRAY_SIZE(task));
	for (i = 0; i < readers; i++) {
		task[i] = kthread_run(race->read, race, "read/%u", i);
		KUNIT_EXPECT_FALSE(test, IS_ERR(task[i]));
	}
	while (named_fence_race_goes_on(race, start)) {
		struct dma_fence **fence = &last[race->signals % MAX_UNDER_WAY];

		while (*fence && !named_fence_is_gone(*fence))
			usleep_range(50, 100);
		dma_fence_put(*fence);
		*fence = named_fence(race->context, ++race->signals, race->driver,
				     race->timeline);
		if (!*fence)
			break;
		named_fence_race_set(race, dma_fence_get(*fence));
		/*
		 * Give a reader time to find it, each time a different amount. Sleep
		 * from time to time, in case the reader has no other CPU.
		 */
		if (race->signals % 8)
			udelay(20 + race->signals % 61);
		else
			usleep_range(50, 100);
		named_fence_signal(*fence);
		cond_resched();
	}
	for (i = 0; i < readers; i++)
		if (!IS_ERR(task[i]))
			kthread_stop(task[i]);
	named_fence_race_set(race, NULL);
	for (i = 0; i < MAX_UNDER_WAY; i++)
		dma_fence_put(last[i]);
	/* Readers and signals did race. */
	KUNIT_EXPECT_TRUE(test, race->enough(race));
}

#endif /* _DMA_FENCE_NAMES_MOCK_H */
