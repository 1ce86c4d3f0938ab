// SPDX-License-Identifier: GPL-2.0-only
/*
 * Take a picture of the display of a mediated device: gfx_plane_dump [FILE.ppm]
 *
 * A program that shows the display of a guest
 *
 *   1. asks what the guest shows at this moment, query_plane(),
 *   2. gets that plane as a dma-buf, get_dmabuf(),
 *   3. maps the dma-buf or passes it to a GPU, and closes it in the end, dump().
 *
 * The one rule: the dma-buf is of the plane that was asked for, and stays when the
 * guest shows another one. Ask before each picture; drm_format 0 means no plane.
 *
 * The display is one of mbochs.c (CONFIG_SAMPLE_VFIO_MDEV_MBOCHS, loaded), which this
 * program creates and removes, and the guest is guest(). Needs root, and no hardware.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/vfio.h>

#define TYPE "/sys/class/mdev_bus/mbochs/mdev_supported_types/mbochs-small"
#define UUID "0f0d3c0e-62a1-4f6b-9f64-8f5a3c1c7d02"
#define MDEV "/sys/bus/mdev/devices/" UUID

#define WIDTH 320
#define HEIGHT 200

/* Neither is in a header for user space: include/drm/drm_plane.h, drm_fourcc.h. */
#define DRM_PLANE_TYPE_PRIMARY 1
#define DRM_FORMAT_XRGB8888 0x34325258

static int dev = -1;	/* the display */

static void die(const char *what)
{
	fprintf(stderr, "%s: %s (%d)\n", what, strerror(errno), errno);
	exit(1);
}

static void write_sysfs(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

/* Waits until the device is closed. */
static void remove_display(void)
{
	if (dev >= 0)
		close(dev);
	write_sysfs(MDEV "/remove", "1");
}

static void open_display(void)
{
	int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	char link[256], path[64];
	ssize_t len = readlink(MDEV "/iommu_group", link, sizeof(link) - 1);
	int group;

	if (len < 0)
		die(MDEV);
	link[len] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	group = open(path, O_RDWR | O_CLOEXEC);
	if (container < 0 || group < 0)
		die(path);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die("VFIO_SET_IOMMU");
	dev = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, UUID);
	if (dev < 0)
		die("VFIO_GROUP_GET_DEVICE_FD");
	close(group);
	close(container);
}

static __u32 pixel(unsigned int x, unsigned int y)
{
	return x * 255 / (WIDTH - 1) << 16 | y * 255 / (HEIGHT - 1) << 8 | 0x80;
}

static void write_region(__u32 index, __u64 where, const void *data, size_t size)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	if (ioctl(dev, VFIO_DEVICE_GET_REGION_INFO, &info))
		die("VFIO_DEVICE_GET_REGION_INFO");
	if (pwrite(dev, data, size, info.offset + where) != (ssize_t)size)
		die("writing to the device");
}

/* Draws at the start of the memory, then sets x and y, 32 bits a pixel, and on. */
static void guest(void)
{
	static __u32 picture[HEIGHT][WIDTH];
	const __u16 mode[] = { WIDTH, HEIGHT, 32, 0x41 };
	unsigned int x, y;

	for (y = 0; y < HEIGHT; y++)
		for (x = 0; x < WIDTH; x++)
			picture[y][x] = pixel(x, y);
	write_region(VFIO_PCI_BAR0_REGION_INDEX, 0, picture, sizeof(picture));
	for (x = 0; x < 4; x++)
		write_region(VFIO_PCI_BAR2_REGION_INDEX, 0x502 + 2 * x, &mode[x], 2);
}

static struct vfio_device_gfx_plane_info query_plane(void)
{
	struct vfio_device_gfx_plane_info plane = {
		.argsz = sizeof(plane),
		.flags = VFIO_GFX_PLANE_TYPE_DMABUF,
		.drm_plane_type = DRM_PLANE_TYPE_PRIMARY,
	};

	if (ioctl(dev, VFIO_DEVICE_QUERY_GFX_PLANE, &plane))
		die("VFIO_DEVICE_QUERY_GFX_PLANE");
	return plane;
}

/* A new file descriptor each time. */
static int get_dmabuf(__u32 id)
{
	int buffer = ioctl(dev, VFIO_DEVICE_GET_GFX_DMABUF, &id);

	if (buffer < 0)
		die("VFIO_DEVICE_GET_GFX_DMABUF");
	return buffer;
}

static void sync_dmabuf(int buffer, __u64 flags)
{
	struct dma_buf_sync sync = { .flags = flags | DMA_BUF_SYNC_READ };

	if (ioctl(buffer, DMA_BUF_IOCTL_SYNC, &sync))
		die("DMA_BUF_IOCTL_SYNC");
}

/* Returns the number of pixels that are not the guest's. */
static int dump(int buffer, const struct vfio_device_gfx_plane_info *plane, const char *path)
{
	char *map = mmap(NULL, plane->size, PROT_READ, MAP_SHARED, buffer, 0);
	FILE *file = fopen(path, "we");
	unsigned int x, y;
	int shift, wrong = 0;
	const __u32 *line;

	if (map == MAP_FAILED || !file)
		die(path);
	fprintf(file, "P6 %u %u 255\n", plane->width, plane->height);
	sync_dmabuf(buffer, DMA_BUF_SYNC_START);
	for (y = 0; y < plane->height; y++) {
		line = (const __u32 *)(map + y * plane->stride);
		for (x = 0; x < plane->width; x++) {
			wrong += line[x] != pixel(x, y);
			for (shift = 16; shift >= 0; shift -= 8)
				fputc(line[x] >> shift & 0xff, file);
		}
	}
	sync_dmabuf(buffer, DMA_BUF_SYNC_END);
	if (fclose(file))
		die(path);
	munmap(map, plane->size);
	return wrong;
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "plane.ppm";
	struct vfio_device_gfx_plane_info plane;
	int buffer, wrong;

	write_sysfs(TYPE "/create", UUID);
	atexit(remove_display);
	open_display();
	guest();
	plane = query_plane();
	if (plane.drm_format != DRM_FORMAT_XRGB8888) {
		fprintf(stderr, "no plane, or of another format (%#x)\n", plane.drm_format);
		return 1;
	}
	buffer = get_dmabuf(plane.dmabuf_id);
	wrong = dump(buffer, &plane, path);
	close(buffer);
	printf("%s: %d pixels are not the guest's\n", path, wrong);
	return !!wrong;
}
