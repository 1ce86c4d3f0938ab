// SPDX-License-Identifier: GPL-2.0-only
/*
 * Measures the cost of putting granted pages behind a dma-buf, compared with two other ways to
 * access them: a dma-buf that gntdev exports itself, and a copy of each frame. This is not a test.
 *
 *	gntdev_dmabuf_bench [ROUNDS]
 *
 * The domain grants its own pages to itself. That is measured only on Arm, because an x86 domain
 * loses the pages. For several numbers of pages the program prints the median of ROUNDS rounds, by
 * default 9. The figures do not include making the grants, the buffer and the destination of the
 * copy. An extra round before the others fills caches. An extra round after them counts
 * hypercalls, if the kernel has kprobes.
 *
 *	map	IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF on a buffer of the system heap
 *	end	IOCTL_GNTDEV_DMABUF_MAP_RELEASE, close, IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED
 *	export	IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS
 *	close	close, IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED
 *	copy	IOCTL_GNTDEV_GRANT_COPY of all pages into memory of the process: one frame
 *
 * An export maps grants over pages whose frames the balloon driver gives back to Xen for that, if
 * it has none in stock, and gets again afterwards. By default it has none. "export-stocked" and
 * "close-stocked" are measured with enough pages in stock, by a lower target of the balloon. No
 * figure includes what the balloon driver does after the close: the program has real-time priority,
 * and waits between the steps.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC, which are instructions under `qemu -icount shift=0`.
 * For programs each figure is on a line of its own: "figure", row, pages, figure.
 */

#include <sched.h>

#include <linux/dma-heap.h>

#include "../../kselftest.h"
#include "grant_pool.h"
#include "xen_util.h"

#define HEAP "/dev/dma_heap/system"
#define BALLOON_TARGET_KB "/sys/devices/system/xen_memory/xen_memory0/target_kb"
#define GNTCOPY_source_gref 1	/* from a header that is not installed */
#define MOST 8160		/* pages: a frame of 3840 x 2176, 32 bits a pixel */
#define ROUNDS_MAX 99
#define NEVER 60000		/* ms; a buffer that nobody uses is released long before */

static const unsigned int counts[] = { 1, 64, 1024, MOST };

#define COUNTS (sizeof(counts) / sizeof(*counts))

enum row { MAP, END, EXPORT, CLOSE, COPY, STOCKED_EXPORT, STOCKED_CLOSE, ROWS };

static const char * const rows[ROWS] = {
	"map", "end", "export", "close", "copy", "export-stocked", "close-stocked",
};

static int gntdev, heap;
static unsigned char *frame;
static struct ioctl_gntdev_grant_copy frame_copy;

static void check(bool good, int error, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(KSFT_FAIL);
}

/*
 * Counts hypercalls with kprobes. A hypercall that Xen continues after an interrupt counts once.
 * Where the compiler inlines hypercalls, as on x86, there is nothing to probe.
 */
static const char *tracing;

static bool trace_put(const char *file, const char *text)
{
	char path[128];
	int fd;
	bool good;

	snprintf(path, sizeof(path), "%s/%s", tracing, file);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return false;
	good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good;
}

static void probes_remove(void)
{
	trace_put("events/gntdev_bench/enable", "0");
	trace_put("kprobe_events", "-:gntdev_bench/grant_table");
	trace_put("kprobe_events", "-:gntdev_bench/memory");
}

static bool probes_add(void)
{
	tracing = access("/sys/kernel/tracing/kprobe_events", W_OK) ?
		  "/sys/kernel/debug/tracing" : "/sys/kernel/tracing";
	if (trace_put("kprobe_events", "p:gntdev_bench/grant_table HYPERVISOR_grant_table_op") &&
	    trace_put("kprobe_events", "p:gntdev_bench/memory HYPERVISOR_memory_op") &&
	    trace_put("events/gntdev_bench/enable", "1"))
		return true;
	probes_remove();
	return false;
}

/* The number of hypercalls so far. */
static uint64_t hypercalls(void)
{
	unsigned long long hits, sum = 0;
	char line[256], name[64];
	FILE *file;

	snprintf(line, sizeof(line), "%s/kprobe_profile", tracing);
	file = fopen(line, "re");
	check(file, errno, line);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %llu", name, &hits) == 2 &&
		    (!strcmp(name, "grant_table") || !strcmp(name, "memory")))
			sum += hits;
	fclose(file);
	return sum;
}

/* Waits until the balloon driver has reached its target. */
static void settle(void)
{
	unsigned long before, after = 0;
	int tries;

	for (tries = 0; tries < 500; tries++) {
		before = after;
		if (file_number(XEN_BALLOON_KB, &after) || before == after)
			break;
		usleep(20000);
	}
}

static unsigned long balloon_target;	/* the original target, if it was changed */

static void unstock(void)
{
	if (balloon_target)
		file_put(BALLOON_TARGET_KB, balloon_target);
	balloon_target = 0;
}

/* Make the balloon driver keep pages in stock, to map grants over. */
static bool stock(void)
{
	unsigned long target, lower, has;

	if (file_number(BALLOON_TARGET_KB, &target))
		return false;
	lower = target - MOST * (PAGE / 1024);
	atexit(unstock);
	balloon_target = target;
	if (file_put(BALLOON_TARGET_KB, lower))
		return false;
	settle();
	return !file_number(XEN_BALLOON_KB, &has) && has <= lower;
}

static uint64_t nanoseconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

/* Each of these functions runs one round and returns what @clock counted in its steps. */
static void measure_map(unsigned int count, uint64_t (*clock)(void), uint64_t costs[2])
{
	struct dma_heap_allocation_data data = {
		.len = count * PAGE, .fd_flags = O_RDWR | O_CLOEXEC,
	};
	uint64_t start, end;
	int fd, ret;

	check(!ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data), errno, HEAP);
	fd = data.fd;
	settle();
	start = clock();
	ret = map_refs(gntdev, fd, pool->domid, pool->refs, count);
	end = clock();
	check(!ret, ret, "MAP_REFS_TO_BUF");
	costs[0] = end - start;

	start = clock();
	ret = map_release(gntdev, fd);
	close(fd);
	ret = ret ?: map_wait(gntdev, fd, NEVER);
	end = clock();
	check(!ret, ret, "MAP_WAIT_RELEASED");
	costs[1] = end - start;
}

static void measure_export(unsigned int count, uint64_t (*clock)(void), uint64_t costs[2])
{
	uint64_t start, end;
	int fd, ret;

	settle();
	start = clock();
	ret = export(gntdev, pool->domid, pool->refs, count, &fd);
	end = clock();
	check(!ret, ret, "EXP_FROM_REFS");
	costs[0] = end - start;

	start = clock();
	close(fd);
	ret = export_wait(gntdev, fd, NEVER);
	end = clock();
	/* ENOENT means that the buffer has been released already. */
	check(!ret || ret == ENOENT, ret, "EXP_WAIT_RELEASED");
	costs[1] = end - start;
}

static void measure_copy(unsigned int count, uint64_t (*clock)(void), uint64_t *cost)
{
	uint64_t start, end;
	unsigned int i;
	int ret;

	settle();
	frame_copy.count = count;
	start = clock();
	ret = ioctl(gntdev, IOCTL_GNTDEV_GRANT_COPY, &frame_copy) ? errno : 0;
	end = clock();
	check(!ret, ret, "GRANT_COPY");
	for (i = 0; i < count; i++)
		check(!frame_copy.segments[i].status, EIO, "GRANT_COPY");
	*cost = end - start;
}

/* Measures the rows with a stock of pages, or the others. Returns the first row. */
static unsigned int measure(unsigned int count, bool stocked, uint64_t (*clock)(void),
			    uint64_t costs[ROWS])
{
	if (stocked) {
		measure_export(count, clock, costs + STOCKED_EXPORT);
		return STOCKED_EXPORT;
	}
	measure_map(count, clock, costs + MAP);
	measure_export(count, clock, costs + EXPORT);
	measure_copy(count, clock, costs + COPY);
	return MAP;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *one = a, *two = b;

	return (*one > *two) - (*one < *two);
}

static void medians(unsigned int count, bool stocked, unsigned int rounds, uint64_t costs[ROWS])
{
	uint64_t sorted[ROWS][ROUNDS_MAX], found[ROWS];
	unsigned int round, row, first, last = stocked ? ROWS : STOCKED_EXPORT;

	first = measure(count, stocked, nanoseconds, found);
	for (round = 0; round < rounds; round++) {
		measure(count, stocked, nanoseconds, found);
		for (row = first; row < last; row++)
			sorted[row][round] = found[row];
	}
	for (row = first; row < last; row++) {
		qsort(sorted[row], rounds, sizeof(**sorted), by_size);
		costs[row] = sorted[row][rounds / 2];
	}
}

static void setup(void)
{
	struct gntdev_grant_copy_segment *segments = calloc(MOST, sizeof(*segments));
	unsigned long limit;
	unsigned int i;

	if (own_grant_loses_page())
		skip_all("on x86 a domain that maps its own grants loses the pages");
	heap = open(HEAP, O_RDWR | O_CLOEXEC);
	if (heap < 0)
		skip_all("no " HEAP ": is CONFIG_DMABUF_HEAPS_SYSTEM on?");
	pool_make(MOST);
	check(pool->count == MOST, ENOSPC, "granting pages");
	if (!file_number(GNTDEV_LIMIT, &limit) && limit < MOST)
		file_put(GNTDEV_LIMIT, MOST);
	gntdev = gntdev_open();
	check(gntdev >= 0, -gntdev, GNTDEV);

	frame = mmap(NULL, MOST * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	check(frame != MAP_FAILED && segments, ENOMEM, "memory for a frame");
	for (i = 0; i < MOST; i++) {
		segments[i].flags = GNTCOPY_source_gref;
		segments[i].source.foreign.ref = pool->refs[i];
		segments[i].source.foreign.domid = pool->domid;
		segments[i].dest.virt = frame + i * PAGE;
		segments[i].len = PAGE;
	}
	frame_copy.segments = segments;
}

static uint64_t costs[COUNTS][ROWS], calls[COUNTS][ROWS];

static void print_row(const char *text, uint64_t figures[COUNTS][ROWS], enum row row)
{
	unsigned int i;

	printf("%-34s", text);
	for (i = 0; i < COUNTS; i++)
		printf(" %12llu", (unsigned long long)figures[i][row]);
	printf("\n");
}

/* The sum of MAP and END, divided by that of @row and @more. */
static void print_ratio(const char *text, enum row row, enum row more)
{
	unsigned int i;

	printf("%-34s", text);
	for (i = 0; i < COUNTS; i++)
		printf(" %12.2f", (double)(costs[i][MAP] + costs[i][END]) /
				  (costs[i][row] + (more == row ? 0 : costs[i][more])));
	printf("\n");
}

static void print_figure(const char *more, uint64_t figures[COUNTS][ROWS], enum row row)
{
	unsigned int i;

	for (i = 0; i < COUNTS; i++)
		printf("figure %s%s %u %llu\n", rows[row], more, counts[i],
		       (unsigned long long)figures[i][row]);
}

int main(int argc, char *argv[])
{
	static const char * const texts[ROWS] = {
		"MAP_REFS_TO_BUF", "RELEASE, close, WAIT_RELEASED", "EXP_FROM_REFS",
		"close, EXP_WAIT_RELEASED", "GRANT_COPY, a frame",
		"EXP_FROM_REFS, pages in stock", "close, EXP_WAIT_RELEASED",
	};
	unsigned int rounds = argc > 1 ? atoi(argv[1]) : 9, i, row, last = STOCKED_EXPORT;
	struct sched_param realtime = { .sched_priority = 1 };
	bool probed;

	if (!rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: %s [ROUNDS], 1 to %d\n", argv[0], ROUNDS_MAX);
		return KSFT_FAIL;
	}
	setup();
	if (sched_setscheduler(0, SCHED_FIFO, &realtime))
		perror("real-time priority");
	for (i = 0; i < COUNTS; i++)
		medians(counts[i], false, rounds, costs[i]);
	probed = probes_add();
	for (i = 0; probed && i < COUNTS; i++)
		measure(counts[i], false, hypercalls, calls[i]);
	if (stock()) {
		last = ROWS;
		for (i = 0; probed && i < COUNTS; i++)
			measure(counts[i], true, hypercalls, calls[i]);
	}
	if (probed)
		probes_remove();
	for (i = 0; last == ROWS && i < COUNTS; i++)
		medians(counts[i], true, rounds, costs[i]);
	unstock();

	printf("%-34s", "nanoseconds, or instructions");
	for (i = 0; i < COUNTS; i++)
		printf(" %6u pages", counts[i]);
	printf("\n");
	for (row = 0; row < last; row++)
		print_row(texts[row], costs, row);
	print_ratio("MAP and its end / EXP and its end", EXPORT, CLOSE);
	if (last == ROWS)
		print_ratio("the same, pages in stock", STOCKED_EXPORT, STOCKED_CLOSE);
	print_ratio("MAP and its end / GRANT_COPY", COPY, COPY);
	printf("hypercalls%s\n", probed ? "" : ": not counted, no kprobes on them");
	for (row = 0; probed && row < last; row++)
		print_row(texts[row], calls, row);

	for (row = 0; row < last; row++) {
		print_figure("", costs, row);
		if (probed)
			print_figure("-calls", calls, row);
	}
	return 0;
}
