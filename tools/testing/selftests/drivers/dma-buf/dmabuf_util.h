/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buffers from every exporter that needs no hardware, and vgem's fences on vgem's
 * buffers. Functions that return a file descriptor return -1 and set errno if they
 * fail. The config file beside this one lists the options that the kernel needs.
 */

#ifndef DMABUF_UTIL_H
#define DMABUF_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/drm_mode.h>
#include <drm/vgem_drm.h>
#include <linux/dma-heap.h>
#include <linux/types.h>
#include <linux/udmabuf.h>

#ifndef F_ADD_SEALS
#define F_ADD_SEALS (1024 + 9)
#endif
#ifndef F_SEAL_SHRINK
#define F_SEAL_SHRINK 0x0002
#endif
#ifndef F_SEAL_WRITE
#define F_SEAL_WRITE 0x0008
#endif
#ifndef MFD_ALLOW_SEALING
#define MFD_ALLOW_SEALING 0x0002U
#endif

#define BUF_SIZE 65536

/* Writes @value into a file of sysfs, procfs or debugfs. */
static inline int put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -1;
	ret = write(fd, value, strlen(value)) == (ssize_t)strlen(value) ? 0 : -1;
	close(fd);
	return ret;
}

/*
 * Makes every further attempt of this process to get a file descriptor fail with EMFILE.
 * setrlimit() with *@before ends that.
 */
static inline int no_more_fds(struct rlimit *before)
{
	struct rlimit limit;
	int next = dup(STDOUT_FILENO);

	if (next < 0 || getrlimit(RLIMIT_NOFILE, before))
		return -1;
	close(next);
	limit = *before;
	limit.rlim_cur = next;
	return setrlimit(RLIMIT_NOFILE, &limit);
}

/* Also returns its memfd in @memfd, or -1. The caller closes it, also on failure. */
static inline int udmabuf_new(size_t size, int *memfd)
{
	struct udmabuf_create create = { .size = size };
	int dev, buf = -1;

	*memfd = -1;
	dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -1;
	*memfd = syscall(__NR_memfd_create, "dmabuf-test", MFD_ALLOW_SEALING);
	if (*memfd >= 0) {
		create.memfd = *memfd;
		if (!ftruncate(*memfd, size) &&
		    !fcntl(*memfd, F_ADD_SEALS, F_SEAL_SHRINK))
			buf = ioctl(dev, UDMABUF_CREATE, &create);
	}
	close(dev);
	return buf;
}

static inline int buf_udmabuf(void)
{
	int memfd, buf = udmabuf_new(BUF_SIZE, &memfd);

	if (memfd >= 0)
		close(memfd);
	return buf;
}

static inline int buf_heap(void)
{
	struct dma_heap_allocation_data data = {
		.len = BUF_SIZE,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int dev, ret;

	dev = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -1;
	ret = ioctl(dev, DMA_HEAP_IOCTL_ALLOC, &data);
	close(dev);
	return ret ? -1 : (int)data.fd;
}

/* Opens the device of the DRM driver with that name. */
static inline int drm_open(const char *driver)
{
	char path[32], name[32];
	int i, fd;

	for (i = 0; i < 16; i++) {
		struct drm_version version = {
			.name = name,
			.name_len = sizeof(name) - 1,
		};

		snprintf(path, sizeof(path), "/dev/dri/card%d", i);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		memset(name, 0, sizeof(name));
		if (!ioctl(fd, DRM_IOCTL_VERSION, &version) &&
		    !strcmp(name, driver))
			return fd;
		close(fd);
	}
	errno = ENODEV;
	return -1;
}

/* A buffer of vgem; its handle on @vgem stays open, for vgem's own fences. */
static inline int buf_vgem_handle(int vgem, __u32 *handle)
{
	struct drm_mode_create_dumb create = {
		.width = 128, .height = 128, .bpp = 32,
	};
	struct drm_prime_handle prime = { .flags = O_RDWR | O_CLOEXEC };

	if (ioctl(vgem, DRM_IOCTL_MODE_CREATE_DUMB, &create))
		return -1;
	*handle = prime.handle = create.handle;
	return ioctl(vgem, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) ? -1 : prime.fd;
}

static inline int gem_close(int drm, __u32 handle)
{
	struct drm_gem_close arg = { .handle = handle };

	return ioctl(drm, DRM_IOCTL_GEM_CLOSE, &arg);
}

static inline int buf_vgem(void)
{
	int vgem = drm_open("vgem"), buf;
	__u32 handle;

	if (vgem < 0)
		return -1;
	buf = buf_vgem_handle(vgem, &handle);
	close(vgem);
	return buf;
}

/* A fence of vgem on a buffer of vgem; it signals by itself after ten seconds. */
static inline int vgem_attach(int vgem, __u32 handle, bool write, __u32 *fence)
{
	struct drm_vgem_fence_attach arg = {
		.handle = handle,
		.flags = write ? VGEM_FENCE_WRITE : 0,
	};
	int ret = ioctl(vgem, DRM_IOCTL_VGEM_FENCE_ATTACH, &arg);

	*fence = arg.out_fence;
	return ret;
}

static inline int vgem_signal(int vgem, __u32 fence)
{
	struct drm_vgem_fence_signal arg = { .fence = fence };

	return ioctl(vgem, DRM_IOCTL_VGEM_FENCE_SIGNAL, &arg);
}

/* Returns those of @events that are set now. */
static inline int buf_poll(int buf, int events)
{
	struct pollfd pfd = { .fd = buf, .events = events };

	return poll(&pfd, 1, 0) < 0 ? -1 : pfd.revents;
}

#endif /* DMABUF_UTIL_H */
