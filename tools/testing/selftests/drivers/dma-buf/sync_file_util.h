/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fences that a test can signal at any time (sw_sync, in debugfs), sync_files, and the
 * ioctls that import them into a dma-buf and export them from it.
 */

#ifndef SYNC_FILE_UTIL_H
#define SYNC_FILE_UTIL_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/dma-buf.h>
#include <linux/sync_file.h>
#include <linux/types.h>

/* Not in any header: drivers/dma-buf/sw_sync.c. */
struct sw_sync_create_fence_data {
	__u32 value;
	char name[32];
	__s32 fence;
};

#define SW_SYNC_IOC_CREATE_FENCE _IOWR('W', 0, struct sw_sync_create_fence_data)
#define SW_SYNC_IOC_INC _IOW('W', 1, __u32)

static inline int timeline_new(void)
{
	return open("/sys/kernel/debug/sync/sw_sync", O_RDWR | O_CLOEXEC);
}

/* A sync_file that signals when the timeline has been advanced to @value. */
static inline int timeline_fence(int timeline, unsigned int value)
{
	struct sw_sync_create_fence_data data = { .value = value };

	strcpy(data.name, "dmabuf-test");
	return ioctl(timeline, SW_SYNC_IOC_CREATE_FENCE, &data) ? -1 : data.fence;
}

static inline int timeline_advance(int timeline, unsigned int by)
{
	__u32 count = by;

	return ioctl(timeline, SW_SYNC_IOC_INC, &count);
}

static inline int sync_merge(int a, int b)
{
	struct sync_merge_data data = { .fd2 = b };

	strcpy(data.name, "merged");
	return ioctl(a, SYNC_IOC_MERGE, &data) ? -1 : data.fence;
}

/* 0 pending, 1 signaled, negative errno signaled with an error. */
static inline int sync_status(int sync_file)
{
	struct sync_file_info info = {};

	return ioctl(sync_file, SYNC_IOC_FILE_INFO, &info) ? -EBADF : info.status;
}

static inline int sync_count(int sync_file)
{
	struct sync_file_info info = {};

	return ioctl(sync_file, SYNC_IOC_FILE_INFO, &info) ? -1 :
							     (int)info.num_fences;
}

#ifndef DMA_BUF_IOCTL_EXPORT_SYNC_FILE	/* headers of 5.10 lack them */
struct dma_buf_export_sync_file {
	__u32 flags;
	__s32 fd;
};

struct dma_buf_import_sync_file {
	__u32 flags;
	__s32 fd;
};

#define DMA_BUF_IOCTL_EXPORT_SYNC_FILE _IOWR(DMA_BUF_BASE, 2, struct dma_buf_export_sync_file)
#define DMA_BUF_IOCTL_IMPORT_SYNC_FILE _IOW(DMA_BUF_BASE, 3, struct dma_buf_import_sync_file)
#endif

#define NO_SYNC_FILE_IOCTLS "the kernel has no sync_file ioctls for dma-bufs"

static inline int buf_export(int buf, unsigned int flags)
{
	struct dma_buf_export_sync_file arg = { .flags = flags, .fd = -1 };

	return ioctl(buf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &arg) ? -1 : arg.fd;
}

static inline int buf_import(int buf, unsigned int flags, int sync_file)
{
	struct dma_buf_import_sync_file arg = { .flags = flags, .fd = sync_file };

	return ioctl(buf, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &arg);
}

static inline bool has_sync_file_ioctls(int buf)
{
	struct dma_buf_export_sync_file arg = { .flags = 0 };

	return ioctl(buf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &arg) && errno != ENOTTY;
}

/* How many file descriptors this process has open. */
static inline int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

#endif /* SYNC_FILE_UTIL_H */
