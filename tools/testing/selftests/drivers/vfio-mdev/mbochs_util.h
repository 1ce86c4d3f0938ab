/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A display of samples/vfio-mdev/mbochs.c: created and removed in sysfs, opened
 * through its VFIO group, driven as a guest would drive it. Functions that return
 * int return 0, or -1 with errno, unless their comment says otherwise.
 */

#ifndef MBOCHS_UTIL_H
#define MBOCHS_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/types.h>
#include <linux/vfio.h>

#define MBOCHS_TYPE "/sys/class/mdev_bus/mbochs/mdev_supported_types/mbochs-small"
#define MBOCHS_UUID "5cf2a3ee-8b5e-4c43-a36b-6e1d0b2c7f01"
#define MBOCHS_DEVICE "/sys/bus/mdev/devices/" MBOCHS_UUID

/* Registers of the bochs display interface, in BAR 2. */
enum { VBE_XRES = 1, VBE_YRES, VBE_BPP, VBE_ENABLE, VBE_X_OFFSET = 8, VBE_Y_OFFSET };

#define VBE_ON 0x41	/* enabled, linear framebuffer */

/* As in include/drm/drm_plane.h, which user space cannot include. */
enum { PLANE_OVERLAY, PLANE_PRIMARY, PLANE_CURSOR };

#define FORMAT_XRGB8888 0x34325258	/* XR24 */

struct mbochs {
	int container;
	int group;
	int dev;
	uint64_t bar0, bar0_size, bar2;	/* offsets in dev */
	uint32_t *map;			/* of all of BAR 0, or NULL */
};

static inline int sysfs_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -1;
	ret = write(fd, text, strlen(text)) < 0 ? -1 : 0;
	close(fd);
	return ret;
}

/* If the device is open, this waits until it is closed. */
static inline int mbochs_remove(void)
{
	return sysfs_write(MBOCHS_DEVICE "/remove", "1");
}

/* Find or load the driver: loaded already, installed, or beside the program. */
static inline int mbochs_load(void)
{
	char exe[256], command[300];
	ssize_t len;

	if (!access(MBOCHS_TYPE, F_OK) || !system("modprobe -q mbochs 2>/dev/null"))
		return 0;
	len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (len < 0)
		return -1;
	exe[len] = '\0';
	*strrchr(exe, '/') = '\0';
	snprintf(command, sizeof(command), "insmod %s/mbochs.ko", exe);
	return system(command) ? -1 : 0;
}

static inline int mbochs_create(void)
{
	/* Left over from a test that was killed. */
	if (!access(MBOCHS_DEVICE, F_OK) && mbochs_remove())
		return -1;
	if (mbochs_load()) {
		errno = ENODEV;
		return -1;
	}
	return sysfs_write(MBOCHS_TYPE "/create", MBOCHS_UUID);
}

/* Returns for how many more displays of this type there is memory, or -1. */
static inline int mbochs_available(void)
{
	FILE *file = fopen(MBOCHS_TYPE "/available_instances", "r");
	int count = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &count) != 1)
		count = -1;
	fclose(file);
	return count;
}

static inline int mbochs_region(int dev, unsigned int index, uint64_t *offset,
				uint64_t *size)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	if (ioctl(dev, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -1;
	*offset = info.offset;
	*size = info.size;
	return 0;
}

/* A mapping holds the device like its file descriptor: mbochs_close() ends both. */
static inline uint32_t *mbochs_bar0(struct mbochs *mb)
{
	void *map;

	if (!mb->map) {
		map = mmap(NULL, mb->bar0_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   mb->dev, mb->bar0);
		mb->map = map == MAP_FAILED ? NULL : map;
	}
	return mb->map;
}

static inline void mbochs_close(struct mbochs *mb)
{
	if (mb->map)
		munmap(mb->map, mb->bar0_size);
	mb->map = NULL;
	close(mb->dev);
	close(mb->group);
	close(mb->container);
	mb->dev = -1;
	mb->group = -1;
	mb->container = -1;
}

static inline int mbochs_open(struct mbochs *mb)
{
	char link[256], path[64];
	uint64_t ignored;
	ssize_t len;

	mb->map = NULL;
	mb->dev = -1;
	mb->group = -1;
	mb->container = -1;
	len = readlink(MBOCHS_DEVICE "/iommu_group", link, sizeof(link) - 1);
	if (len < 0)
		return -1;
	link[len] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	mb->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	mb->group = open(path, O_RDWR | O_CLOEXEC);
	if (mb->container < 0 || mb->group < 0 ||
	    ioctl(mb->group, VFIO_GROUP_SET_CONTAINER, &mb->container) ||
	    ioctl(mb->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		goto err;
	mb->dev = ioctl(mb->group, VFIO_GROUP_GET_DEVICE_FD, MBOCHS_UUID);
	if (mb->dev < 0 ||
	    mbochs_region(mb->dev, VFIO_PCI_BAR0_REGION_INDEX, &mb->bar0,
			  &mb->bar0_size) ||
	    mbochs_region(mb->dev, VFIO_PCI_BAR2_REGION_INDEX, &mb->bar2,
			  &ignored))
		goto err;
	return 0;
err:
	mbochs_close(mb);
	return -1;
}

static inline int mbochs_set(const struct mbochs *mb, unsigned int index,
			     uint16_t value)
{
	return pwrite(mb->dev, &value, sizeof(value),
		      mb->bar2 + 0x500 + 2 * index) == sizeof(value) ? 0 : -1;
}

static inline int mbochs_mode(const struct mbochs *mb, unsigned int width,
			      unsigned int height)
{
	return mbochs_set(mb, VBE_XRES, width) ||
	       mbochs_set(mb, VBE_YRES, height) ||
	       mbochs_set(mb, VBE_BPP, 32) ||
	       mbochs_set(mb, VBE_ENABLE, VBE_ON) ? -1 : 0;
}

/* Returns 0, or the errno of the query. */
static inline int plane_query(const struct mbochs *mb, unsigned int flags,
			      unsigned int type,
			      struct vfio_device_gfx_plane_info *info)
{
	info->argsz = sizeof(*info);
	info->flags = flags;
	info->drm_plane_type = type;
	return ioctl(mb->dev, VFIO_DEVICE_QUERY_GFX_PLANE, info) ? errno : 0;
}

/* The same for the primary plane, as a dma-buf. */
static inline int plane_primary(const struct mbochs *mb,
				struct vfio_device_gfx_plane_info *info)
{
	return plane_query(mb, VFIO_GFX_PLANE_TYPE_DMABUF, PLANE_PRIMARY, info);
}

/* Returns a file descriptor, or the negative errno. */
static inline int plane_get(const struct mbochs *mb, __u32 id)
{
	int fd = ioctl(mb->dev, VFIO_DEVICE_GET_GFX_DMABUF, &id);

	return fd < 0 ? -errno : fd;
}

#endif /* MBOCHS_UTIL_H */
