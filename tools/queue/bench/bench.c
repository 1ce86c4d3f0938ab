// SPDX-License-Identifier: GPL-2.0
/*
 * The program of `make bench`: it measures what the queue's calls cost, in instructions.
 *
 * It runs under `qemu -icount shift=0`, where the time stamp counter counts one for each instruction, in user space
 * and in the kernel. Each figure is the minimum of several repetitions on new buffers: a repetition that a timer
 * interrupts costs more, and so does the first one, which fills caches. The program opens all file descriptors that it
 * needs before the first measurement, so that no figure depends on their number.
 *
 * A line of output is: row, key, figure. Without the ioctls, as with their toggle off, it prints the floors only.
 */

#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <linux/udmabuf.h>

#include "sync_file_util.h"	/* of the selftests */

#define MODULE "/sys/module/queue_bench/parameters/"
#define MOST 1024	/* fences */
#define REPEAT 4
#define SIZE 4096
#define NOTHING _IO(DMA_BUF_BASE, 127)	/* an ioctl that no buffer has */

static const unsigned int counts[] = { 0, 1, 4, 16, 64, 256, MOST };

static int device, memory;
static int timelines[MOST + 1], fences[MOST + 1];	/* a pending fence of each; the last ones are the new ones */
static int later;	/* the fence after the last of @fences, on its timeline */
static uint64_t overhead;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int check(int ret, const char *what)
{
	if (ret < 0)
		fail(what);
	return ret;
}

static inline uint64_t now(void)
{
	uint32_t low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline uint64_t since(uint64_t start)
{
	return now() - start - overhead;
}

static void keep_least(uint64_t *least, uint64_t figure)
{
	if (!*least || figure < *least)
		*least = figure;
}

static void print(const char *row, unsigned int key, long long figure)
{
	printf("%s %u %lld\n", row, key, figure);
	fflush(stdout);
}

static int buffer_new(void)
{
	struct udmabuf_create create = { .memfd = memory, .size = SIZE };

	return check(ioctl(device, UDMABUF_CREATE, &create), "UDMABUF_CREATE");
}

static void setup(void)
{
	struct rlimit files = { 4 * MOST, 4 * MOST };
	unsigned int i;

	overhead = -1;
	for (i = 0; i < 100; i++) {
		uint64_t start = now(), took = now() - start;

		if (took < overhead)
			overhead = took;
	}

	check(setrlimit(RLIMIT_NOFILE, &files), "RLIMIT_NOFILE");
	device = check(open("/dev/udmabuf", O_RDWR), "/dev/udmabuf");
	memory = check(memfd_create("bench", MFD_ALLOW_SEALING), "memfd_create");
	check(ftruncate(memory, SIZE), "ftruncate");
	check(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK), "F_SEAL_SHRINK");
	for (i = 0; i <= MOST; i++) {
		timelines[i] = check(timeline_new(), "sw_sync");
		fences[i] = check(timeline_fence(timelines[i], 1), "fence");
	}
	later = check(timeline_fence(timelines[MOST], 2), "fence");
}

/* The figures of successive imports, by their number. The result is the sum of the minima. */
static uint64_t import_costs[MOST];

/* A new buffer with the first @count fences, each of its own context. */
static int buffer_with(unsigned int count, unsigned int flags, uint64_t *costs)
{
	int buffer = buffer_new();
	unsigned int i;

	for (i = 0; i < count; i++) {
		uint64_t start = now();
		int ret = buf_import(buffer, flags, fences[i]);
		uint64_t took = since(start);

		check(ret, "import");
		if (costs)
			keep_least(&costs[i], took);
	}
	return buffer;
}

static void timed_import(uint64_t *least, int buffer, unsigned int flags, int fence)
{
	uint64_t start = now();
	int ret = buf_import(buffer, flags, fence);

	keep_least(least, since(start));
	check(ret, "import");
}

static void timed_export(uint64_t *least, int buffer, unsigned int flags)
{
	uint64_t start = now();
	int fd = buf_export(buffer, flags);

	keep_least(least, since(start));
	close(check(fd, "export"));
}

static void timed_poll(uint64_t *least, int buffer, unsigned int pending)
{
	struct pollfd pfd = { .fd = buffer, .events = POLLOUT };
	uint64_t start = now();
	int ret = poll(&pfd, 1, 0);

	keep_least(least, since(start));
	if (ret != !pending)
		fail("poll");
}

/* A sync_file with the first @count fences, or with a signaled fence if @count is 0. */
static int merged_new(unsigned int count)
{
	int file = check(timeline_fence(timelines[0], 0), "fence");
	unsigned int i;

	for (i = 0; i < count; i++) {
		int more = check(sync_merge(file, fences[i]), "merge");

		close(file);
		file = more;
	}
	return file;
}

static void merged(unsigned int count)
{
	uint64_t merge = 0, import = 0;
	int i, file = merged_new(count);

	for (i = 0; i < REPEAT; i++) {
		int buffer = buffer_new();
		uint64_t start = now();
		int both = sync_merge(file, fences[MOST]);

		keep_least(&merge, since(start));
		close(check(both, "merge"));
		timed_import(&import, buffer, DMA_BUF_SYNC_READ, file);
		close(buffer);
	}
	close(file);
	print("merge", count, merge);
	print("import-merged", count, import);
}

static void pending(unsigned int count)
{
	uint64_t export_rw = 0, export_read = 0, polled = 0, read = 0, write = 0, again = 0, sum = 0;
	unsigned int i;

	memset(import_costs, 0, sizeof(import_costs));
	for (i = 0; i < REPEAT; i++) {
		int buffer = buffer_with(count, DMA_BUF_SYNC_READ, import_costs);

		timed_export(&export_rw, buffer, DMA_BUF_SYNC_RW);
		timed_import(&read, buffer, DMA_BUF_SYNC_READ, fences[MOST]);
		timed_import(&again, buffer, DMA_BUF_SYNC_READ, later);
		close(buffer);

		buffer = buffer_with(count, DMA_BUF_SYNC_READ, NULL);
		timed_import(&write, buffer, DMA_BUF_SYNC_WRITE, fences[MOST]);
		close(buffer);

		buffer = buffer_with(count, DMA_BUF_SYNC_WRITE, NULL);
		timed_export(&export_read, buffer, DMA_BUF_SYNC_READ);
		close(buffer);

		/* This buffer is not freed, because the fences of its callback never signal. */
		buffer = buffer_with(count, DMA_BUF_SYNC_READ, NULL);
		timed_poll(&polled, buffer, count);
		close(buffer);
	}
	for (i = 0; i < count; i++)
		sum += import_costs[i];
	print("export-rw", count, export_rw);
	print("export-read", count, export_read);
	print("import-read", count, read);
	print("import-again", count, again);
	print("import-write", count, write);
	if (count)
		print("imports", count, sum);
	print("poll", count, polled);
}

static void floors(int on)
{
	uint64_t nothing = 0, event = 0, life = 0;
	struct pollfd pfd = { .events = POLLIN | POLLOUT };
	int i, fd = buffer_new();

	for (i = 0; i < 100; i++) {
		uint64_t start = now();

		ioctl(fd, NOTHING);
		keep_least(&nothing, since(start));
	}
	close(fd);

	for (i = 0; i < 100; i++) {
		uint64_t start = now();

		close(eventfd(0, 0));
		keep_least(&event, since(start));
	}

	for (i = 0; i < 100; i++) {
		uint64_t start = now();

		pfd.fd = buffer_new();
		poll(&pfd, 1, 0);
		close(pfd.fd);
		keep_least(&life, since(start));
	}
	print("ioctl", 0, nothing);
	print("eventfd", 0, event);
	print("life", on, life);
}

/* Bytes of unreclaimable slab, after all memory that waited for RCU has been freed. */
static long slab(void)
{
	FILE *file;
	char line[128];
	long kib = -1;

	sleep(3);
	file = fopen("/proc/meminfo", "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "SUnreclaim: %ld kB", &kib) == 1)
			break;
	if (kib < 0)
		fail("/proc/meminfo");
	fclose(file);
	return kib * 1024;
}

/* A client that repeatedly imports its next fence, which replaces the last. The mean of several buffers. */
static void slabs(void)
{
	enum { BUFFERS = 64 };
	static const unsigned int goals[] = { 1, 100, 10000 };
	int i, buffers[BUFFERS], own[BUFFERS];
	unsigned int done = 0, goal;
	long before;

	for (i = 0; i < BUFFERS; i++) {
		buffers[i] = buffer_new();
		own[i] = check(timeline_new(), "sw_sync");
	}
	before = slab();
	for (goal = 0; goal < sizeof(goals) / sizeof(*goals); goal++) {
		for (; done < goals[goal]; done++) {
			for (i = 0; i < BUFFERS; i++) {
				int fence = check(timeline_fence(own[i], done + 1), "fence");

				check(buf_import(buffers[i], DMA_BUF_SYNC_READ, fence), "import");
				close(fence);
			}
		}
		print("slab", done, (slab() - before) / BUFFERS);
	}
	for (i = 0; i < BUFFERS; i++) {
		close(buffers[i]);
		close(own[i]);
	}
}

/* Rows that queue_bench.c measures or prepares. */
static void module(void)
{
	static const unsigned int notifiers[] = { 0, 1, 16 };
	unsigned int i, repeat;
	unsigned long direct, helper;
	FILE *file;

	for (i = 0; i < sizeof(notifiers) / sizeof(*notifiers); i++) {
		uint64_t release = 0;

		for (repeat = 0; repeat < 100; repeat++) {
			int buffer = buffer_new();
			uint64_t start;

			file = fopen(MODULE "notifiers", "w");
			if (!file || fprintf(file, "%d %u", buffer, notifiers[i]) < 0 || fclose(file))
				fail("notifiers");
			start = now();
			close(buffer);
			keep_least(&release, since(start));
		}
		print("release", notifiers[i], release);
	}

	file = fopen(MODULE "names", "r");
	if (!file || fscanf(file, "%lu %lu", &direct, &helper) != 2)
		fail("names");
	fclose(file);
	print("name", 0, direct);
	print("name", 1, helper);
}

int main(void)
{
	unsigned int i;
	int buffer, on;

	setup();
	buffer = buffer_new();
	on = has_sync_file_ioctls(buffer);
	close(buffer);
	floors(on);
	if (!on)
		return 0;
	slabs();
	module();
	for (i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		merged(counts[i]);
		pending(counts[i]);
	}
	return 0;
}
