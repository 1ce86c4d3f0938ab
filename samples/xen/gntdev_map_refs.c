// SPDX-License-Identifier: GPL-2.0-only
/*
 * Show another domain's pages with a buffer of one's own: gntdev_map_refs DOMID REF...
 *
 * A frontend draws into pages that it grants to this domain, the backend. Where the
 * backend's display takes only buffers that its driver allocated, the backend
 *
 *   1. gets the references from the frontend, by xenstore or the like,
 *   2. allocates a buffer whose driver consents, allocate(),
 *   3. puts the pages behind the buffer before anybody maps it, map_refs(),
 *   4. uses the buffer, use(),
 *   5. releases the mapping, which does not wait, and
 *   6. closes the buffer wherever it is open, release(),
 *   7. waits until the pages are the frontend's alone, wait_released().
 *
 * The one rule: the frontend may use its pages for something else after step 7 has
 * succeeded, not before: a display may still read them.
 *
 * Without arguments the program is the frontend, too: it grants pages to itself, which
 * works in the first domain on Arm. The buffer is the system heap's (CONFIG_DMABUF_HEAPS_SYSTEM).
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/types.h>

/* The headers have Xen's names for these. */
typedef __u32 grant_ref_t;
typedef __u16 domid_t;
#include <xen/gntalloc.h>
#include <xen/gntdev.h>

#define PAGE 4096UL	/* Xen's; gntdev refuses kernels with others */
#define PAGES 4
#define MARK 0x12345678u
#define MAX_MS 10000

static void die(const char *what)
{
	fprintf(stderr, "%s: %s (%d)\n", what, strerror(errno), errno);
	exit(1);
}

static int open_device(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

static void *allocated(size_t size)
{
	void *data = calloc(1, size);

	if (!data)
		die("calloc");
	return data;
}

static __u32 *map_pages(int fd, __u64 offset, unsigned int count)
{
	void *map = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	if (map == MAP_FAILED)
		die("mmap");
	return map;
}

/* Step 1, in the frontend: PAGES pages for domain 0, of which each has a mark. */
static void grant(__u32 *refs)
{
	struct ioctl_gntalloc_alloc_gref *arg = allocated(sizeof(*arg) + PAGES * 4);
	int gntalloc = open_device("/dev/xen/gntalloc");
	unsigned int i;
	__u32 *view;

	arg->flags = GNTALLOC_FLAG_WRITABLE;
	arg->count = PAGES;
	if (ioctl(gntalloc, IOCTL_GNTALLOC_ALLOC_GREF, arg))
		die("IOCTL_GNTALLOC_ALLOC_GREF");
	memcpy(refs, arg->gref_ids, PAGES * 4);
	view = map_pages(gntalloc, arg->index, PAGES);
	for (i = 0; i < PAGES; i++)
		view[i * PAGE / 4] = MARK + i;
	free(arg);
}

static int allocate(unsigned int count)
{
	struct dma_heap_allocation_data data = {
		.len = count * PAGE,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int heap = open_device("/dev/dma_heap/system");

	if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data))
		die("DMA_HEAP_IOCTL_ALLOC");
	close(heap);
	return data.fd;
}

static void map_refs(int gntdev, int buffer, __u32 domid, const __u32 *refs, unsigned int count)
{
	struct ioctl_gntdev_dmabuf_map_refs_to_buf *arg = allocated(sizeof(*arg) + count * 4);

	arg->fd = buffer;
	arg->domid = domid;
	arg->count = count;
	memcpy(arg->refs, refs, count * 4);
	if (ioctl(gntdev, IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF, arg))
		die("IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF");
	free(arg);
}

/* Here a look at each page; elsewhere the buffer is imported and displayed. */
static void use(int buffer, unsigned int count, int marked)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ };
	__u32 *view = map_pages(buffer, 0, count);
	unsigned int i;

	if (ioctl(buffer, DMA_BUF_IOCTL_SYNC, &sync))
		die("DMA_BUF_IOCTL_SYNC");
	for (i = 0; i < count; i++) {
		printf("page %u begins with %#x\n", i, view[i * PAGE / 4]);
		if (marked && view[i * PAGE / 4] != MARK + i) {
			fprintf(stderr, "%#x is expected\n", MARK + i);
			exit(1);
		}
	}
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ;
	ioctl(buffer, DMA_BUF_IOCTL_SYNC, &sync);
	munmap(view, count * PAGE);
}

/* The number of the closed buffer still names the mapping. */
static void release(int gntdev, int buffer)
{
	struct ioctl_gntdev_dmabuf_map_release arg = { .fd = buffer };

	if (ioctl(gntdev, IOCTL_GNTDEV_DMABUF_MAP_RELEASE, &arg))
		die("IOCTL_GNTDEV_DMABUF_MAP_RELEASE");
	close(buffer);
}

/* The eventfd tells when, for the poll() of an event loop; the ioctl tells how it went. */
static void wait_released(int gntdev, int buffer)
{
	struct pollfd end = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
	struct ioctl_gntdev_dmabuf_map_eventfd event = { .fd = buffer, .eventfd = end.fd };
	struct ioctl_gntdev_dmabuf_map_wait_released wait = { .fd = buffer };

	if (end.fd < 0 || ioctl(gntdev, IOCTL_GNTDEV_DMABUF_MAP_EVENTFD, &event))
		die("IOCTL_GNTDEV_DMABUF_MAP_EVENTFD");
	if (poll(&end, 1, MAX_MS) < 0)
		die("poll");
	if (ioctl(gntdev, IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED, &wait))
		die("IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED");
	close(end.fd);
	printf("the pages are the frontend's alone\n");
}

int main(int argc, char **argv)
{
	unsigned int count = argc > 2 ? argc - 2 : PAGES, i;
	int gntdev = open_device("/dev/xen/gntdev"), buffer;
	__u32 *refs = allocated(count * 4), domid = 0;

	if (argc > 2) {
		domid = strtoul(argv[1], NULL, 0);
		for (i = 0; i < count; i++)
			refs[i] = strtoul(argv[2 + i], NULL, 0);
	} else {
		grant(refs);
	}
	buffer = allocate(count);
	map_refs(gntdev, buffer, domid, refs, count);
	use(buffer, count, argc <= 2);
	release(gntdev, buffer);
	wait_released(gntdev, buffer);
	return 0;
}
