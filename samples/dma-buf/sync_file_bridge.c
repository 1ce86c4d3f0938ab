// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pass fences between implicit and explicit synchronisation on a dma-buf.
 *
 * A program whose API passes fences as sync_files (Vulkan is one) shares a buffer
 * with drivers that wait for the fences that the kernel keeps in the buffer. Around
 * each submission it
 *
 *   1. exports a sync_file with the access that is going to happen, wait_for(),
 *   2. lets its work wait for that sync_file, and gets a sync_file of the work,
 *   3. imports the second sync_file with the access that happened, publish().
 *
 * The steps are not atomic: keep other programs from submitting work between 1 and 3.
 *
 * No GPU is needed here: the buffer comes from udmabuf, and the work is a fence of
 * sw_sync (debugfs, CONFIG_SW_SYNC), which this program signals itself. The structs
 * in linux/dma-buf.h have the full meaning and the errors of the two ioctls.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/sync_file.h>
#include <linux/types.h>
#include <linux/udmabuf.h>

#define PAGES 4
#define MAX_FENCES 8

/* No header has these; they are from drivers/dma-buf/sw_sync.c. */
struct sw_sync_create_fence_data {
	__u32 value;
	char name[32];
	__s32 fence;
};

#define SW_SYNC_IOC_CREATE_FENCE _IOWR('W', 0, struct sw_sync_create_fence_data)
#define SW_SYNC_IOC_INC _IOW('W', 1, __u32)

static void die(const char *what)
{
	fprintf(stderr, "%s: %s (%d)\n", what, strerror(errno), errno);
	exit(1);
}

/* Step 1: returns a sync_file that signals when an access of that kind may begin. */
static int wait_for(int buffer, __u32 access)
{
	struct dma_buf_export_sync_file arg = { .flags = access };

	if (ioctl(buffer, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &arg))
		die("DMA_BUF_IOCTL_EXPORT_SYNC_FILE");
	return arg.fd;
}

/* Step 3: makes later users of the buffer wait for @sync_file, which may then be closed. */
static void publish(int buffer, __u32 access, int sync_file)
{
	struct dma_buf_import_sync_file arg = { .flags = access, .fd = sync_file };

	if (ioctl(buffer, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &arg))
		die("DMA_BUF_IOCTL_IMPORT_SYNC_FILE");
}

static int has_signaled(int sync_file)
{
	struct pollfd pollfd = { .fd = sync_file, .events = POLLIN };

	if (poll(&pollfd, 1, 0) < 0)
		die("poll");
	return !!(pollfd.revents & POLLIN);
}

static void show(const char *what, int sync_file, int expected)
{
	int signaled = has_signaled(sync_file);

	printf("%-50s %s\n", what, signaled ? "signaled" : "pending");
	if (signaled != expected) {
		fprintf(stderr, "%s is expected\n", expected ? "signaled" : "pending");
		exit(1);
	}
}

/* Whose fences these are. Names of a fence that has signaled tell nothing. */
static void show_names(int sync_file)
{
	struct sync_fence_info fences[MAX_FENCES] = { 0 };
	struct sync_file_info info = {
		.num_fences = MAX_FENCES,
		.sync_fence_info = (unsigned long)fences,
	};
	unsigned int i;

	if (ioctl(sync_file, SYNC_IOC_FILE_INFO, &info))
		die("SYNC_IOC_FILE_INFO");
	for (i = 0; i < info.num_fences; i++)
		printf("  a fence of driver %s, timeline %s\n", fences[i].driver_name,
		       fences[i].obj_name);
}

static int create_buffer(void)
{
	struct udmabuf_create create = { .size = PAGES * sysconf(_SC_PAGESIZE) };
	int udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	int memfd = memfd_create("buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int buffer;

	if (udmabuf < 0)
		die("/dev/udmabuf");
	if (memfd < 0 || ftruncate(memfd, create.size) ||
	    fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		die("memfd_create");
	create.memfd = memfd;
	buffer = ioctl(udmabuf, UDMABUF_CREATE, &create);
	if (buffer < 0)
		die("UDMABUF_CREATE");
	close(memfd);
	close(udmabuf);
	return buffer;
}

static int create_device(void)
{
	int device = open("/sys/kernel/debug/sync/sw_sync", O_RDWR | O_CLOEXEC);

	if (device < 0)
		die("/sys/kernel/debug/sync/sw_sync");
	return device;
}

/* Step 2, for the API: a real one lets the work wait for @before. Returns its sync_file. */
static int submit(int device, int before)
{
	struct sw_sync_create_fence_data data = { .value = 1, .name = "work" };

	if (ioctl(device, SW_SYNC_IOC_CREATE_FENCE, &data))
		die("SW_SYNC_IOC_CREATE_FENCE");
	close(before);
	return data.fence;
}

static void finish(int device)
{
	__u32 by = 1;

	if (ioctl(device, SW_SYNC_IOC_INC, &by))
		die("SW_SYNC_IOC_INC");
}

int main(void)
{
	int buffer = create_buffer();
	int writer = create_device(), reader = create_device();
	int work, read, write;

	work = submit(writer, wait_for(buffer, DMA_BUF_SYNC_WRITE));
	publish(buffer, DMA_BUF_SYNC_WRITE, work);
	close(work);

	/* A reader waits for the writer. */
	read = wait_for(buffer, DMA_BUF_SYNC_READ);
	show("written to: a reader waits, its sync_file is", read, 0);
	show_names(read);
	work = submit(reader, dup(read));
	publish(buffer, DMA_BUF_SYNC_READ, work);
	close(work);

	/* The next writer waits for both, another reader does not wait for the first. */
	write = wait_for(buffer, DMA_BUF_SYNC_WRITE);
	finish(writer);
	show("the writer is done: the reader's sync_file is", read, 1);
	show("the next writer waits for the reader, its is", write, 0);
	close(read);
	read = wait_for(buffer, DMA_BUF_SYNC_READ);
	show("a second reader has nothing to wait for, its is", read, 1);

	finish(reader);
	show("the first reader is done: the next writer's is", write, 1);
	return 0;
}
