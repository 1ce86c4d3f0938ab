// SPDX-License-Identifier: GPL-2.0-only
/*
 * Eight threads export, import, poll, close and signal on one buffer for
 * DMABUF_STRESS_SECONDS (30). No fence may be lost meanwhile: a writer that never
 * signals keeps the buffer busy at all times, and after all timelines have been
 * closed the buffer is idle.
 */

#include <pthread.h>
#include <sys/epoll.h>
#include <time.h>

#include "../../kselftest_harness.h"
#include "dmabuf_util.h"
#include "sync_file_util.h"

#define THREADS 8
#define TIMELINES 4
/* The largest number of steps that a fence is ahead of its timeline. */
#define AHEAD 8

struct shared {
	int buf;
	int timelines[TIMELINES];
	/* The value to which each has been advanced. */
	unsigned int values[TIMELINES];
	bool stop;
	/* The number of times that the buffer was idle although a writer was pending. */
	unsigned int lost;
	/* Calls that failed without a reason. */
	unsigned int failed;
	/* Imports after which the fence was still pending. */
	unsigned int pending;
};

struct worker {
	pthread_t thread;
	struct shared *shared;
	unsigned int nr;
	unsigned int seed;
	unsigned long done;
};

static void fail(struct shared *s)
{
	__sync_fetch_and_add(&s->failed, 1);
}

static void export_one(struct worker *w, unsigned int flags)
{
	int fd = buf_export(w->shared->buf, flags);

	if (fd < 0) {
		fail(w->shared);
		return;
	}
	if (sync_status(fd))
		__sync_fetch_and_add(&w->shared->lost, 1);
	close(fd);
}

/* A fence some steps ahead: it is pending for a while and then signals. */
static int new_fence(struct worker *w)
{
	unsigned int i = rand_r(&w->seed) % TIMELINES;
	unsigned int now = __atomic_load_n(&w->shared->values[i], __ATOMIC_RELAXED);

	return timeline_fence(w->shared->timelines[i], now + 1 + rand_r(&w->seed) % AHEAD);
}

static void advance_one(struct worker *w)
{
	unsigned int i = rand_r(&w->seed) % TIMELINES;

	__sync_fetch_and_add(&w->shared->values[i], 1);
	timeline_advance(w->shared->timelines[i], 1);
	usleep(rand_r(&w->seed) % 2000);
}

static void import_one(struct worker *w, unsigned int flags)
{
	int fence = new_fence(w);

	if (fence < 0 || buf_import(w->shared->buf, flags, fence))
		fail(w->shared);
	else if (!sync_status(fence))
		__sync_fetch_and_add(&w->shared->pending, 1);
	close(fence);
}

static void poll_one(struct worker *w)
{
	int events = buf_poll(w->shared->buf, POLLIN | POLLOUT);

	if (events < 0)
		fail(w->shared);
	else if (events)
		__sync_fetch_and_add(&w->shared->lost, 1);
}

/* Another file descriptor in an epoll set, closed while its callback is pending. */
static void epoll_one(struct worker *w)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
	int ep = epoll_create1(EPOLL_CLOEXEC), buf = dup(w->shared->buf);

	if (ep < 0 || buf < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, buf, &event))
		fail(w->shared);
	else if (epoll_wait(ep, &event, 1, 1) > 0)
		__sync_fetch_and_add(&w->shared->lost, 1);
	close(buf);
	close(ep);
}

/* Another buffer, closed while its fences are polled. */
static void close_one(struct worker *w)
{
	int buf = buf_udmabuf(), fence = new_fence(w);

	if (buf < 0 || fence < 0 || buf_import(buf, DMA_BUF_SYNC_WRITE, fence))
		fail(w->shared);
	buf_poll(buf, rand_r(&w->seed) & 1 ? POLLIN : POLLIN | POLLOUT);
	close(buf);
	close(fence);
}

/* Mesa's loop, without work of its own: export all fences, import them again. */
static void roundtrip_one(struct worker *w)
{
	int fd = buf_export(w->shared->buf, DMA_BUF_SYNC_RW);

	if (fd < 0 || buf_import(w->shared->buf, DMA_BUF_SYNC_RW, fd))
		fail(w->shared);
	close(fd);
}

static void *work(void *data)
{
	struct worker *w = data;

	while (!__atomic_load_n(&w->shared->stop, __ATOMIC_RELAXED)) {
		switch (w->nr) {
		case 0:
			export_one(w, DMA_BUF_SYNC_READ);
			break;
		case 1:
			export_one(w, DMA_BUF_SYNC_RW);
			break;
		case 2:
			import_one(w, DMA_BUF_SYNC_READ);
			break;
		case 3:
			import_one(w, DMA_BUF_SYNC_WRITE);
			break;
		case 4:
			poll_one(w);
			epoll_one(w);
			break;
		case 5:
			close_one(w);
			break;
		case 6:
			roundtrip_one(w);
			break;
		case 7:
			advance_one(w);
			break;
		}
		w->done++;
	}
	return NULL;
}

FIXTURE(stress)
{
	int unused;
};

FIXTURE_SETUP(stress)
{
}

FIXTURE_TEARDOWN(stress)
{
}

/* The longest time allowed, whatever DMABUF_STRESS_SECONDS is. */
TEST_F_TIMEOUT(stress, one_buffer_eight_threads, 600)
{
	const char *env = getenv("DMABUF_STRESS_SECONDS");
	unsigned int i, seconds = env ? atoi(env) : 30;
	struct worker workers[THREADS] = {};
	struct shared shared = {};
	int writer, snapshot;

	shared.buf = buf_udmabuf();
	ASSERT_LE(0, shared.buf);
	for (i = 0; i < TIMELINES; i++) {
		shared.timelines[i] = timeline_new();
		ASSERT_LE(0, shared.timelines[i]);
	}
	/* The writer that stays pending. */
	writer = timeline_new();
	ASSERT_EQ(0, buf_import(shared.buf, DMA_BUF_SYNC_WRITE,
				timeline_fence(writer, 1)));

	for (i = 0; i < THREADS; i++) {
		workers[i].shared = &shared;
		workers[i].nr = i;
		workers[i].seed = i;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, work,
					    &workers[i]));
	}
	sleep(seconds);
	__atomic_store_n(&shared.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		EXPECT_LT(0UL, workers[i].done);
		TH_LOG("thread %u: %lu rounds", i, workers[i].done);
	}
	EXPECT_EQ(0U, shared.lost);
	EXPECT_EQ(0U, shared.failed);
	TH_LOG("%u imports left their fence pending", shared.pending);
	EXPECT_LT(seconds, shared.pending);

	snapshot = buf_export(shared.buf, DMA_BUF_SYNC_RW);
	EXPECT_EQ(0, sync_status(snapshot));
	/* The writer, and all pending fences, once as a reader and once as a writer. */
	EXPECT_GE(2 * (TIMELINES * AHEAD + 1), sync_count(snapshot));
	for (i = 0; i < TIMELINES; i++)
		close(shared.timelines[i]);
	EXPECT_EQ(0, buf_poll(shared.buf, POLLIN));
	close(writer);
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(shared.buf, POLLIN | POLLOUT));
}

TEST_HARNESS_MAIN
