// SPDX-License-Identifier: GPL-2.0-only
/*
 * A udmabuf is a dma-buf of pages that belong to a memfd. It keeps the pages when the memfd
 * loses them. The memfd cannot be sealed against writing while a buffer has pages of it. A
 * buffer for which the process has no free descriptor is freed. CPU access makes one mapping
 * for DMA, once, which has to fit all later accesses.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

#include "../../kselftest_harness.h"
#include <linux/dma-buf.h>
#include "dmabuf_util.h"

#define PAGES 8
#define BUFINFO "/sys/kernel/debug/dma_buf/bufinfo"
#define DMA_DEBUG "/sys/kernel/debug/dma-api/"

/* A memfd with the seals that udmabuf requires. */
static int memfd_new(size_t size)
{
	int memfd = syscall(__NR_memfd_create, "dmabuf-udmabuf", MFD_ALLOW_SEALING);

	if (memfd >= 0 && (ftruncate(memfd, size) || fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK))) {
		close(memfd);
		memfd = -1;
	}
	return memfd;
}

/* A buffer of the first @size bytes of @memfd. */
static int create(int dev, int memfd, size_t size)
{
	struct udmabuf_create arg = {
		.memfd = memfd, .flags = UDMABUF_FLAGS_CLOEXEC, .size = size,
	};

	return ioctl(dev, UDMABUF_CREATE, &arg);
}

static int seal(int memfd)
{
	return fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE);
}

static int sync_buf(int buf, __u64 flags)
{
	struct dma_buf_sync sync = { .flags = flags };

	return ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync);
}

FIXTURE(udmabuf)
{
	int dev;
	int memfd;
	size_t page;
	size_t size;
};

FIXTURE_SETUP(udmabuf)
{
	self->page = sysconf(_SC_PAGESIZE);
	self->size = PAGES * self->page;
	self->dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->dev)
		TH_LOG("no /dev/udmabuf: is CONFIG_UDMABUF on?");
	self->memfd = memfd_new(self->size);
	ASSERT_LE(0, self->memfd);
}

FIXTURE_TEARDOWN(udmabuf)
{
	close(self->memfd);
	close(self->dev);
}

static long kernel_taints(void)
{
	FILE *file = fopen("/proc/sys/kernel/tainted", "r");
	long taints = -1;

	if (file) {
		if (fscanf(file, "%ld", &taints) != 1)
			taints = -1;
		fclose(file);
	}
	return taints;
}

/* The memfd can lose mapped pages: all when it is closed, some when a hole is punched. */
TEST_F(udmabuf, keeps_what_its_memfd_loses)
{
	long taints = kernel_taints();
	unsigned int *view;
	unsigned int i;
	int buf;

	buf = create(self->dev, self->memfd, self->size);
	ASSERT_LE(0, buf);
	view = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	ASSERT_TRUE(view != MAP_FAILED);
	for (i = 0; i < PAGES; i++)
		view[i * self->page / sizeof(*view)] = i + 1;
	EXPECT_EQ(0, fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, self->page,
			       self->page));
	close(self->memfd);
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(i + 1, view[i * self->page / sizeof(*view)]);
	munmap(view, self->size);
	close(buf);
	self->memfd = -1;
	EXPECT_LE(0, taints);
	/* Without CONFIG_DEBUG_VM the fault is reported as "Bad page cache", which taints. */
	EXPECT_EQ(taints, kernel_taints());
}

/* get_user_pages() fails on a mapping of a udmabuf, and works on a mapping of its memfd. */
TEST_F(udmabuf, pages_are_had_through_the_memfd)
{
	struct iovec iov = { .iov_len = self->page };
	int buf, pipes[2];
	void *view;

	buf = create(self->dev, self->memfd, self->page);
	ASSERT_LE(0, buf);
	ASSERT_EQ(0, pipe(pipes));
	view = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	ASSERT_TRUE(view != MAP_FAILED);
	memset(view, 7, self->page);
	iov.iov_base = view;
	EXPECT_EQ(-1, vmsplice(pipes[1], &iov, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	iov.iov_base = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED, self->memfd, 0);
	ASSERT_TRUE(iov.iov_base != MAP_FAILED);
	EXPECT_EQ((ssize_t)self->page, vmsplice(pipes[1], &iov, 1, 0));
	EXPECT_EQ((ssize_t)self->page, read(pipes[0], view, self->page));
	EXPECT_EQ(7, *(char *)view);
	munmap(iov.iov_base, self->page);
	munmap(view, self->page);
	close(pipes[0]);
	close(pipes[1]);
	close(buf);
}

/* The number of udmabufs in the kernel, or -1. */
static int count_udmabufs(void)
{
	FILE *file = fopen(BUFINFO, "re");
	int count = 0;
	char line[256];

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (strstr(line, "\tudmabuf\t"))
			count++;
	fclose(file);
	return count;
}

/* A process without a free file descriptor gets no buffer, and leaks none. */
TEST_F(udmabuf, no_free_descriptor)
{
	int before = count_udmabufs(), buf, i;
	struct rlimit limit;

	ASSERT_LE(0, before)
		TH_LOG("no " BUFINFO ": is CONFIG_DEBUG_FS on, and mounted?");
	ASSERT_EQ(0, no_more_fds(&limit));
	for (i = 0; i < 50; i++) {
		buf = create(self->dev, self->memfd, self->size);
		ASSERT_EQ(-1, buf);
		ASSERT_EQ(EMFILE, errno);
	}
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(before, count_udmabufs());

	buf = create(self->dev, self->memfd, self->size);
	ASSERT_LE(0, buf);
	EXPECT_EQ(before + 1, count_udmabufs());
	close(buf);
	EXPECT_EQ(before, count_udmabufs());
}

TEST_F(udmabuf, sealed_file_is_refused)
{
	ASSERT_EQ(0, seal(self->memfd));
	EXPECT_EQ(-1, create(self->dev, self->memfd, self->size));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(udmabuf, seal_is_refused_with_a_buffer)
{
	int buf = create(self->dev, self->memfd, self->size);

	ASSERT_LE(0, buf);
	EXPECT_EQ(-1, seal(self->memfd));
	EXPECT_EQ(EBUSY, errno);
	close(buf);
	EXPECT_EQ(0, seal(self->memfd));
}

static unsigned long long now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

/* Two threads that meet here continue at the same time. */
static void meet(unsigned int *ready)
{
	__atomic_add_fetch(ready, 1, __ATOMIC_RELAXED);
	while (__atomic_load_n(ready, __ATOMIC_RELAXED) < 2)
		sched_yield();
}

static void spin(long long ns)
{
	unsigned long long begin = now_ns();

	while (ns > 0 && now_ns() - begin < (unsigned long long)ns)
		;
}

struct sealer {
	pthread_t thread;
	int memfd;
	long long wait;
	unsigned int ready;
	int ret;
};

static void *seal_thread(void *data)
{
	struct sealer *s = data;

	meet(&s->ready);
	spin(s->wait);
	s->ret = seal(s->memfd);
	return NULL;
}

/* With this many pages, adding a seal takes longer than creating a buffer. */
#define MANY 2048
#define ROUNDS 60
#define RACE_NS 8000000000ULL
#define STEP_NS 2000

/*
 * After a seal was added nobody can write any more, so one of the two calls has to fail. The
 * buffer has the first page, which adding the seal checks first. Without a lock, adding the
 * seal misses a buffer that is created after that check and before the check of the last page.
 * The call that wins a round starts a little later in the next round.
 */
TEST_F_TIMEOUT(udmabuf, sealed_or_created, 90)
{
	unsigned int sealed = 0, created = 0, both = 0, neither = 0, round;
	unsigned long long begin = now_ns();
	long long lead = 0;		/* of the seal, in ns */

	for (round = 0; round < ROUNDS && !both && now_ns() - begin < RACE_NS; round++) {
		struct sealer s = { .memfd = memfd_new(MANY * self->page), .wait = -lead };
		int buf;

		ASSERT_LE(0, s.memfd);
		ASSERT_EQ(0, fallocate(s.memfd, 0, 0, MANY * self->page));
		ASSERT_EQ(0, pthread_create(&s.thread, NULL, seal_thread, &s));
		meet(&s.ready);
		spin(lead);
		buf = create(self->dev, s.memfd, self->page);
		/* Keep the buffer until the attempt to add the seal is over. */
		pthread_join(s.thread, NULL);
		if (buf >= 0 && !s.ret) {
			both++;
		} else if (buf >= 0) {
			created++;
			lead = lead < 0 ? lead / 2 : lead * 2 + STEP_NS;
		} else if (!s.ret) {
			sealed++;
			lead = lead > 0 ? lead / 2 : lead * 2 - STEP_NS;
		} else {
			neither++;
		}
		if (buf >= 0)
			close(buf);
		close(s.memfd);
	}
	EXPECT_EQ(0, both);
	EXPECT_EQ(0, neither);
	TH_LOG("sealed %u times, created %u times", sealed, created);
}

struct syncer {
	pthread_t thread;
	int buf;
	unsigned int *ready;
	int ret;
};

static void *sync_thread(void *data)
{
	struct syncer *s = data;

	meet(s->ready);
	s->ret = sync_buf(s->buf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	s->ret |= sync_buf(s->buf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
	return NULL;
}

/*
 * The first sync of a udmabuf makes a table of its pages. If two threads make the first sync at
 * the same time, there must be only one table. kmemleak reports a leaked one after all tests.
 */
TEST_F(udmabuf, synchronized_by_two_at_once)
{
	unsigned int buffer, i;

	for (buffer = 0; buffer < 100; buffer++) {
		int buf = create(self->dev, self->memfd, self->size);
		unsigned int ready = 0;
		struct syncer syncers[2];

		ASSERT_LE(0, buf);
		for (i = 0; i < 2; i++) {
			syncers[i] = (struct syncer){ .buf = buf, .ready = &ready };
			ASSERT_EQ(0, pthread_create(&syncers[i].thread, NULL, sync_thread,
						    &syncers[i]));
		}
		for (i = 0; i < 2; i++) {
			pthread_join(syncers[i].thread, NULL);
			EXPECT_EQ(0, syncers[i].ret);
		}
		close(buf);
	}
}

/* Errors that CONFIG_DMA_API_DEBUG has counted so far, printed or not; or -1 without it. */
static long dma_errors(void)
{
	FILE *file = fopen(DMA_DEBUG "disabled", "re");
	long count = -1;
	int disabled;

	if (!file)
		return -1;
	disabled = fgetc(file);
	fclose(file);
	file = disabled == 'N' ? fopen(DMA_DEBUG "error_count", "re") : NULL;
	if (!file)
		return -1;
	if (fscanf(file, "%ld", &count) != 1)
		count = -1;
	fclose(file);
	return count;
}

/* Whichever direction is synced first, syncs in the other directions are right, too. */
TEST_F(udmabuf, synchronized_in_any_direction)
{
	static const __u64 directions[] = {
		DMA_BUF_SYNC_WRITE, DMA_BUF_SYNC_READ, DMA_BUF_SYNC_RW,
	};
	long before = dma_errors();
	unsigned int first, i, value = 0;
	unsigned int *view;
	int buf;

	if (before < 0)
		SKIP(return, "the kernel does not look at directions: CONFIG_DMA_API_DEBUG is off");
	for (first = 0; first < 3; first++) {
		buf = create(self->dev, self->memfd, self->size);
		ASSERT_LE(0, buf);
		view = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
		ASSERT_TRUE(view != MAP_FAILED);
		for (i = 0; i < 6; i++) {
			__u64 direction = directions[(first + i) % 3];

			EXPECT_EQ(0, sync_buf(buf, DMA_BUF_SYNC_START | direction));
			if (direction & DMA_BUF_SYNC_READ)
				EXPECT_EQ(value, *view);
			if (direction & DMA_BUF_SYNC_WRITE)
				*view = ++value;
			EXPECT_EQ(0, sync_buf(buf, DMA_BUF_SYNC_END | direction));
			EXPECT_EQ(before, dma_errors())
				TH_LOG("%u after %u, of those in the list", (first + i) % 3, first);
		}
		munmap(view, self->size);
		close(buf);
	}
	/* The buffers were unmapped in the direction in which they were mapped. */
	EXPECT_EQ(before, dma_errors());
}

TEST_HARNESS_MAIN
