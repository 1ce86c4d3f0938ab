// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shows step by step what the sync_file ioctls on a dma-buf do. Each line prints what
 * was seen. The program exits with status 1 at the first result that is wrong.
 */

#include "dmabuf_util.h"
#include "sync_file_util.h"

static int step;

static void say(const char *what)
{
	printf("\n%d. %s\n", ++step, what);
}

static void see(const char *what, const char *seen, bool right)
{
	printf("   %-46s %s\n", what, seen);
	if (!right) {
		printf("   ... and that is wrong: %s\n", strerror(errno));
		exit(1);
	}
}

static const char *status_name(int status)
{
	return status == 0 ? "pending" : status == 1 ? "signaled" : "error";
}

static void see_status(const char *what, int sync_file, int wanted)
{
	int status = sync_status(sync_file);

	see(what, status_name(status), status == wanted);
}

static void see_poll(const char *what, int buf, int wanted)
{
	static const char * const names[] = {
		"busy", "readable", "writable", "idle: readable and writable",
	};
	int events = buf_poll(buf, POLLIN | POLLOUT);

	see(what, names[(events & POLLIN ? 1 : 0) | (events & POLLOUT ? 2 : 0)],
	    events == wanted);
}

static void see_driver(const char *what, int sync_file, const char *wanted)
{
	struct sync_fence_info fence = {};
	struct sync_file_info info = {
		.num_fences = 1,
		.sync_fence_info = (uintptr_t)&fence,
	};
	int ret = ioctl(sync_file, SYNC_IOC_FILE_INFO, &info);

	see(what, fence.driver_name, !ret && !strcmp(fence.driver_name, wanted));
}

int main(void)
{
	int a, b, gpu, other, fence, later, snapshot, ret;
	char text[32] = "missing";
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("Explicit synchronisation on dma-buf file descriptors\n");

	say("Does this kernel have it?");
	fd = open("/sys/kernel/dmabuf/caps/sync_file_import_export", O_RDONLY);
	if (fd >= 0) {
		ret = read(fd, text, sizeof(text) - 1);
		text[ret > 0 ? ret - 1 : 0] = 0;
		close(fd);
	}
	see("/sys/kernel/dmabuf/caps/sync_file_import_export", text, !strcmp(text, "1"));

	say("Two buffers (udmabuf), two timelines (sw_sync) in the role of GPUs");
	a = buf_udmabuf();
	b = buf_udmabuf();
	gpu = timeline_new();
	other = timeline_new();
	see("buffers A and B, timelines 1 and 2", "made",
	    a >= 0 && b >= 0 && gpu >= 0 && other >= 0);
	see_poll("poll(A)", a, POLLIN | POLLOUT);
	snapshot = buf_export(a, DMA_BUF_SYNC_RW);
	see_status("sync_file exported from the idle A", snapshot, 1);

	say("Attach a fence to A: timeline 1 is going to write to it");
	fence = timeline_fence(gpu, 1);
	ret = buf_import(a, DMA_BUF_SYNC_WRITE, fence);
	see("DMA_BUF_IOCTL_IMPORT_SYNC_FILE, WRITE", ret ? "failed" : "done", !ret);
	see_poll("poll(A)", a, 0);

	say("Export what a writer of A has to wait for");
	snapshot = buf_export(a, DMA_BUF_SYNC_RW);
	see("DMA_BUF_IOCTL_EXPORT_SYNC_FILE, READ|WRITE",
	    snapshot < 0 ? "failed" : "a sync_file", snapshot >= 0);
	see_status("the sync_file", snapshot, 0);
	see_driver("SYNC_IOC_FILE_INFO: its driver", snapshot, "sw_sync");

	say("Add a later fence to A: timeline 2");
	later = timeline_fence(other, 1);
	ret = buf_import(a, DMA_BUF_SYNC_WRITE, later);
	see("DMA_BUF_IOCTL_IMPORT_SYNC_FILE, WRITE", ret ? "failed" : "done", !ret);
	see_status("the sync_file from before", snapshot, 0);

	say("Import the sync_file into B");
	ret = buf_import(b, DMA_BUF_SYNC_WRITE, snapshot);
	see("DMA_BUF_IOCTL_IMPORT_SYNC_FILE, WRITE", ret ? "failed" : "done", !ret);
	see_poll("poll(B)", b, 0);

	say("Timeline 1 finishes");
	timeline_advance(gpu, 1);
	see_status("the sync_file: a snapshot, without timeline 2", snapshot, 1);
	see_driver("its driver, which may be gone by now", snapshot, "detached-driver");
	see_poll("poll(B)", b, POLLIN | POLLOUT);
	see_poll("poll(A): timeline 2 still writes", a, 0);

	say("Timeline 2 finishes");
	timeline_advance(other, 1);
	see_poll("poll(A)", a, POLLIN | POLLOUT);

	printf("\nAll as it should be.\n");
	return 0;
}
