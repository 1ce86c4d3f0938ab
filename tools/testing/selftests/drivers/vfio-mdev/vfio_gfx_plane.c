// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO_DEVICE_QUERY_GFX_PLANE and VFIO_DEVICE_GET_GFX_DMABUF as include/uapi/linux/vfio.h
 * describes them, on the display of samples/vfio-mdev/mbochs.c: what each ioctl accepts
 * and returns; how long an id is valid; how long a file descriptor and its memory last;
 * and fences on the dma-buf. Needs root, but no hardware and no IOMMU.
 */

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "../../kselftest_harness.h"
#include "../dma-buf/dmabuf_util.h"
#include "../dma-buf/sync_file_util.h"
#include "mbochs_util.h"

#define WIDTH 640
#define HEIGHT 480
#define SIZE (WIDTH * HEIGHT * 4)
#define WORDS (SIZE / 4)

#define QUERY VFIO_GFX_PLANE_TYPE_DMABUF
#define PROBE VFIO_GFX_PLANE_TYPE_PROBE
#define REGION VFIO_GFX_PLANE_TYPE_REGION

/* Everything that a query returns is zero. */
static bool plane_is_zero(const struct vfio_device_gfx_plane_info *info)
{
	return !(info->drm_format || info->drm_format_mod || info->width ||
		 info->height || info->stride || info->size || info->x_pos ||
		 info->y_pos || info->x_hot || info->y_hot || info->dmabuf_id);
}

static uint32_t *map_buf(int fd, size_t size, int prot)
{
	void *map = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

	return map == MAP_FAILED ? NULL : map;
}

/* Pixels of a picture: they differ for each seed and each offset. */
static uint32_t pixel(uint32_t seed, size_t index)
{
	return (seed + index) * 2654435761u;
}

static void draw(uint32_t *words, uint32_t seed)
{
	size_t i;

	for (i = 0; i < WORDS; i++)
		words[i] = pixel(seed, i);
}

/* The index of the first word that differs from the picture, or -1. */
static long differs(const uint32_t *words, uint32_t seed)
{
	size_t i;

	for (i = 0; i < WORDS; i++)
		if (words[i] != pixel(seed, i))
			return i;
	return -1;
}

static long buf_differs(int fd, uint32_t seed)
{
	uint32_t *map = map_buf(fd, SIZE, PROT_READ);
	long where;

	if (!map)
		return 0;
	where = differs(map, seed);
	munmap(map, SIZE);
	return where;
}

FIXTURE(gfx_plane)
{
	struct mbochs mb;
	struct vfio_device_gfx_plane_info plane;
	int available;
	int fds;
};

FIXTURE_SETUP(gfx_plane)
{
	self->fds = count_fds();
	ASSERT_EQ(0, mbochs_create())
		TH_LOG("no mbochs: is CONFIG_SAMPLE_VFIO_MDEV_MBOCHS on? (%s)",
		       strerror(errno));
	self->available = mbochs_available();
	ASSERT_EQ(0, mbochs_open(&self->mb))
		TH_LOG("cannot open it: is CONFIG_VFIO on? (%s)", strerror(errno));
	memset(&self->plane, 0, sizeof(self->plane));
}

FIXTURE_TEARDOWN(gfx_plane)
{
	mbochs_close(&self->mb);
	/* Some tests have removed it. */
	if (!access(MBOCHS_DEVICE, F_OK))
		EXPECT_EQ(0, mbochs_remove());
	EXPECT_EQ(self->available + 1, mbochs_available());
	EXPECT_EQ(self->fds, count_fds());
}

/*
 * Let the guest show something, and query it into self->plane. The macro repeats a
 * failed first query: only the test first_query covers that fault.
 */
#define SHOW()								\
	do {								\
		ASSERT_EQ(0, mbochs_mode(&self->mb, WIDTH, HEIGHT));	\
		if (plane_primary(&self->mb, &self->plane))		\
			ASSERT_EQ(0, plane_primary(&self->mb, &self->plane)); \
	} while (0)

TEST_F(gfx_plane, not_initialized)
{
	unsigned int type;
	int round;

	for (round = 0; round < 2; round++) {
		for (type = PLANE_OVERLAY; type <= PLANE_CURSOR; type++) {
			memset(&self->plane, 0xa5, sizeof(self->plane));
			EXPECT_EQ(ENODEV, plane_query(&self->mb, QUERY, type,
						      &self->plane));
			EXPECT_TRUE(plane_is_zero(&self->plane));
			EXPECT_EQ(QUERY, self->plane.flags);
		}
		EXPECT_EQ(0, plane_query(&self->mb, PROBE | QUERY, PLANE_PRIMARY,
					 &self->plane));
		/* The second time after a reset. */
		SHOW();
		EXPECT_NE(0, self->plane.drm_format);
		ASSERT_EQ(0, ioctl(self->mb.dev, VFIO_DEVICE_RESET));
	}
}

TEST_F(gfx_plane, first_query)
{
	struct vfio_device_gfx_plane_info again;

	ASSERT_EQ(0, mbochs_mode(&self->mb, WIDTH, HEIGHT));
	ASSERT_EQ(0, plane_primary(&self->mb, &self->plane));
	EXPECT_EQ(FORMAT_XRGB8888, self->plane.drm_format);
	EXPECT_EQ(0, self->plane.drm_format_mod);
	EXPECT_EQ(WIDTH, self->plane.width);
	EXPECT_EQ(HEIGHT, self->plane.height);
	EXPECT_EQ(WIDTH * 4, self->plane.stride);
	EXPECT_EQ(SIZE, self->plane.size);
	EXPECT_NE(0, self->plane.dmabuf_id);
	EXPECT_EQ(QUERY, self->plane.flags);
	EXPECT_EQ(PLANE_PRIMARY, self->plane.drm_plane_type);

	memset(&again, 0xa5, sizeof(again));
	ASSERT_EQ(0, plane_primary(&self->mb, &again));
	EXPECT_EQ(self->plane.dmabuf_id, again.dmabuf_id);
	EXPECT_EQ(self->plane.size, again.size);
}

TEST_F(gfx_plane, flags)
{
	const struct vfio_device_gfx_plane_info untouched = {
		.width = 1, .drm_format = 2, .dmabuf_id = 3, .size = 4,
	};
	unsigned int flags, bit;

	SHOW();
	for (flags = 0; flags < 16; flags++) {
		self->plane = untouched;
		EXPECT_EQ(flags == QUERY || flags == (PROBE | QUERY) ? 0 : EINVAL,
			  plane_query(&self->mb, flags, PLANE_PRIMARY,
				      &self->plane))
			TH_LOG("flags %#x", flags);
		if (flags == QUERY)
			continue;
		EXPECT_EQ(untouched.width, self->plane.width);
		EXPECT_EQ(untouched.drm_format, self->plane.drm_format);
		EXPECT_EQ(untouched.dmabuf_id, self->plane.dmabuf_id);
		EXPECT_EQ(untouched.size, self->plane.size);
	}
	for (bit = 3; bit < 32; bit++) {
		EXPECT_EQ(EINVAL, plane_query(&self->mb, 1u << bit | QUERY,
					      PLANE_PRIMARY, &self->plane));
		EXPECT_EQ(EINVAL, plane_query(&self->mb, 1u << bit | PROBE | QUERY,
					      PLANE_PRIMARY, &self->plane));
	}
	EXPECT_EQ(EINVAL, plane_query(&self->mb, QUERY, PLANE_CURSOR + 1,
				      &self->plane));
	EXPECT_EQ(EINVAL, plane_query(&self->mb, QUERY, ~0u, &self->plane));
}

TEST_F(gfx_plane, bad_arguments)
{
	struct vfio_device_gfx_plane_info *nowhere;
	size_t end = offsetof(struct vfio_device_gfx_plane_info, dmabuf_id) +
		     sizeof(self->plane.dmabuf_id);
	int fds;

	SHOW();
	nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(nowhere != MAP_FAILED);
	fds = count_fds();
	EXPECT_EQ(-1, ioctl(self->mb.dev, VFIO_DEVICE_QUERY_GFX_PLANE, nowhere));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, ioctl(self->mb.dev, VFIO_DEVICE_GET_GFX_DMABUF, nowhere));
	EXPECT_EQ(EFAULT, errno);

	/* The argument can be read but not written. */
	ASSERT_EQ(0, mprotect(nowhere, 4096, PROT_READ | PROT_WRITE));
	*nowhere = self->plane;
	ASSERT_EQ(0, mprotect(nowhere, 4096, PROT_READ));
	EXPECT_EQ(-1, ioctl(self->mb.dev, VFIO_DEVICE_QUERY_GFX_PLANE, nowhere));
	EXPECT_EQ(EFAULT, errno);
	munmap(nowhere, 4096);

	self->plane.argsz = end - 1;
	EXPECT_EQ(-1, ioctl(self->mb.dev, VFIO_DEVICE_QUERY_GFX_PLANE, &self->plane));
	EXPECT_EQ(EINVAL, errno);
	self->plane.argsz = end;
	EXPECT_EQ(0, ioctl(self->mb.dev, VFIO_DEVICE_QUERY_GFX_PLANE, &self->plane));
	EXPECT_EQ(fds, count_fds());
}

/* Zeroes and success: the plane is disabled, absent, or cannot be described. */
TEST_F(gfx_plane, nothing_to_show)
{
	static const struct {
		unsigned int reg, bad, good;
	} setting[] = {
		{ VBE_ENABLE, 0, VBE_ON },
		{ VBE_BPP, 16, 32 },
		{ VBE_XRES, 8, WIDTH },
		{ VBE_YRES, 4000, HEIGHT },
		{ VBE_X_OFFSET, 1, 0 },		/* not page-aligned */
		{ VBE_Y_OFFSET, 4000, 0 },	/* ends after the memory */
	};
	unsigned int i;
	__u32 id;

	SHOW();
	id = self->plane.dmabuf_id;
	for (i = 0; i < sizeof(setting) / sizeof(*setting); i++) {
		ASSERT_EQ(0, mbochs_set(&self->mb, setting[i].reg, setting[i].bad));
		memset(&self->plane, 0xa5, sizeof(self->plane));
		EXPECT_EQ(0, plane_primary(&self->mb, &self->plane));
		EXPECT_TRUE(plane_is_zero(&self->plane))
			TH_LOG("register %u", setting[i].reg);
		ASSERT_EQ(0, mbochs_set(&self->mb, setting[i].reg, setting[i].good));
	}
	memset(&self->plane, 0xa5, sizeof(self->plane));
	EXPECT_EQ(0, plane_query(&self->mb, QUERY, PLANE_CURSOR, &self->plane));
	EXPECT_TRUE(plane_is_zero(&self->plane));
	ASSERT_EQ(0, plane_primary(&self->mb, &self->plane));
	EXPECT_EQ(id, self->plane.dmabuf_id);
}

/* 800x600 ends in the middle of a page, and the dma-buf has to have the whole page. */
TEST_F(gfx_plane, whole_pages)
{
	size_t size = (800 * 600 * 4 + 4095) & ~4095ul;
	uint32_t *map, *bar0;
	int fd;

	SHOW();
	ASSERT_EQ(0, mbochs_mode(&self->mb, 800, 600));
	plane_primary(&self->mb, &self->plane);
	ASSERT_EQ(0, plane_primary(&self->mb, &self->plane));
	EXPECT_EQ(size, self->plane.size);
	fd = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, fd);
	EXPECT_EQ(size, lseek(fd, 0, SEEK_END));
	map = map_buf(fd, size, PROT_READ);
	ASSERT_TRUE(!!map);
	bar0 = mbochs_bar0(&self->mb);
	ASSERT_TRUE(!!bar0);
	bar0[800 * 600 - 1] = 0x600df00d;
	EXPECT_EQ(0x600df00d, map[800 * 600 - 1]);
	munmap(map, size);
	EXPECT_TRUE(!map_buf(fd, size + 4096, PROT_READ));
	close(fd);
}

TEST_F(gfx_plane, same_memory_as_bar0)
{
	uint32_t *bar0, *map, *offset_map, words[2];
	int fd, moved;

	SHOW();
	fd = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, fd);
	bar0 = mbochs_bar0(&self->mb);
	ASSERT_TRUE(!!bar0);
	map = map_buf(fd, SIZE, PROT_READ | PROT_WRITE);
	ASSERT_TRUE(!!map);

	draw(bar0, 1);
	EXPECT_EQ(-1, differs(map, 1));
	draw(map, 2);
	EXPECT_EQ(-1, differs(bar0, 2));

	/* The first and the last words of BAR 0 by read() and write(). */
	ASSERT_EQ(8, pread(self->mb.dev, words, 8, self->mb.bar0));
	EXPECT_EQ(pixel(2, 0), words[0]);
	EXPECT_EQ(pixel(2, 1), words[1]);
	words[0] = 0xdecade;
	ASSERT_EQ(4, pwrite(self->mb.dev, words, 4, self->mb.bar0 + 4096));
	EXPECT_EQ(0xdecade, map[1024]);
	ASSERT_EQ(4, pwrite(self->mb.dev, words, 4,
			    self->mb.bar0 + self->mb.bar0_size - 4));
	EXPECT_EQ(0xdecade, bar0[self->mb.bar0_size / 4 - 1]);
	EXPECT_EQ(-1, pread(self->mb.dev, words, 4,
			    self->mb.bar0 + self->mb.bar0_size));

	/* Scrolled by as many lines as fill whole pages: another framebuffer. */
	ASSERT_EQ(0, mbochs_set(&self->mb, VBE_Y_OFFSET, 8));
	draw(bar0 + 8 * WIDTH, 3);
	SHOW();
	moved = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, moved);
	offset_map = map_buf(moved, SIZE, PROT_READ);
	ASSERT_TRUE(!!offset_map);
	EXPECT_EQ(-1, differs(offset_map, 3));
	EXPECT_EQ(-1, buf_differs(moved, 3));
	EXPECT_EQ(offset_map[0], map[8 * WIDTH]);

	munmap(offset_map, SIZE);
	munmap(map, SIZE);
	close(moved);
	close(fd);
}

/* Each call returns another file descriptor, and closing one leaves the others usable. */
TEST_F(gfx_plane, closed_in_every_order)
{
	static const int orders[6][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
		{ 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};
	uint32_t *bar0;
	int order, i, j, fd[3];
	__u32 id;

	bar0 = mbochs_bar0(&self->mb);
	ASSERT_TRUE(!!bar0);
	for (order = 0; order < 6; order++) {
		draw(bar0, order);
		SHOW();
		id = self->plane.dmabuf_id;
		for (i = 0; i < 3; i++) {
			fd[i] = plane_get(&self->mb, id);
			ASSERT_LE(0, fd[i]);
			for (j = 0; j < i; j++)
				EXPECT_NE(fd[j], fd[i]);
			EXPECT_EQ(FD_CLOEXEC, fcntl(fd[i], F_GETFD));
		}
		for (i = 0; i < 3; i++) {
			ASSERT_EQ(0, close(fd[orders[order][i]]));
			for (j = i + 1; j < 3; j++)
				EXPECT_EQ(-1, buf_differs(fd[orders[order][j]], order));
			if (i == 2)
				break;
			/* The id is still valid: get and close one more. */
			j = plane_get(&self->mb, id);
			ASSERT_LE(0, j);
			close(j);
		}
		EXPECT_EQ(-EINVAL, plane_get(&self->mb, id));
		SHOW();
		EXPECT_NE(id, self->plane.dmabuf_id);
	}
}

TEST_F(gfx_plane, ids)
{
	uint32_t *map;
	int fd, other, copy;
	__u32 id;

	EXPECT_EQ(-EINVAL, plane_get(&self->mb, 0));
	EXPECT_EQ(-EINVAL, plane_get(&self->mb, 1));
	SHOW();
	id = self->plane.dmabuf_id;
	EXPECT_EQ(-EINVAL, plane_get(&self->mb, 0));
	EXPECT_EQ(-EINVAL, plane_get(&self->mb, id + 1));
	EXPECT_EQ(-EINVAL, plane_get(&self->mb, id ^ 0x80000000));
	EXPECT_EQ(-EINVAL, plane_get(&self->mb, ~0u));

	/* Valid before the first file descriptor, even if the display changes meanwhile. */
	ASSERT_EQ(0, mbochs_mode(&self->mb, 320, 240));
	ASSERT_EQ(0, plane_primary(&self->mb, &self->plane));
	EXPECT_NE(id, self->plane.dmabuf_id);
	other = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, other);
	fd = plane_get(&self->mb, id);
	ASSERT_LE(0, fd);

	/* Valid as long as a duplicate or a mapping is left. */
	copy = dup(fd);
	close(fd);
	fd = plane_get(&self->mb, id);
	ASSERT_LE(0, fd);
	map = map_buf(copy, SIZE, PROT_READ | PROT_WRITE);
	ASSERT_TRUE(!!map);
	close(copy);
	close(fd);
	draw(map, 4);
	fd = plane_get(&self->mb, id);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, buf_differs(fd, 4));
	munmap(map, SIZE);
	close(fd);
	EXPECT_EQ(-EINVAL, plane_get(&self->mb, id));

	/* The other id is not affected. */
	fd = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, fd);
	close(fd);
	close(other);
	EXPECT_EQ(-EINVAL, plane_get(&self->mb, self->plane.dmabuf_id));
}

/* A failing call leaves no file descriptor behind and the id valid. */
TEST_F(gfx_plane, too_many_files)
{
	struct rlimit old, none;
	int fd, fds, count;

	SHOW();
	fds = count_fds();
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	none = old;
	none.rlim_cur = 3;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	for (count = 0; count < 10; count++)
		EXPECT_EQ(-EMFILE, plane_get(&self->mb, self->plane.dmabuf_id));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(fds, count_fds());
	fd = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	for (count = 0; count < 10; count++)
		EXPECT_EQ(-EMFILE, plane_get(&self->mb, self->plane.dmabuf_id));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(0, buf_poll(fd, 0));
	close(fd);
	EXPECT_EQ(-EINVAL, plane_get(&self->mb, self->plane.dmabuf_id));
}

/* A mapping still shows the same pages after a split; beyond the end an extended one faults. */
TEST_F(gfx_plane, mappings_split_and_extended)
{
	uint32_t word = 0x5eed, *bar0, *map;
	int fd, status;
	pid_t child;

	ASSERT_EQ(4, pwrite(self->mb.dev, &word, 4, self->mb.bar0 + 2 * 4096));
	bar0 = mmap(NULL, 4 * 4096, PROT_READ, MAP_SHARED, self->mb.dev, self->mb.bar0);
	ASSERT_TRUE(bar0 != MAP_FAILED);
	ASSERT_EQ(0, munmap(bar0, 4096));
	EXPECT_EQ(word, bar0[2 * 1024]);
	munmap(bar0 + 1024, 3 * 4096);

	SHOW();
	fd = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, fd);
	map = map_buf(fd, SIZE, PROT_READ);
	ASSERT_TRUE(!!map);
	EXPECT_EQ(word, map[2 * 1024]);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		uint32_t *longer = mremap(map, SIZE, SIZE + 4096, MREMAP_MAYMOVE);

		/* If mremap() refuses, that is right, too. */
		if (longer == MAP_FAILED)
			raise(SIGBUS);
		signal(SIGBUS, SIG_DFL);
		_exit(__atomic_load_n(longer + WORDS, __ATOMIC_RELAXED));
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGBUS, WTERMSIG(status));
	munmap(map, SIZE);
	close(fd);
}

/* The picture stays when the device is closed and removed, until the last user closes it. */
TEST_F(gfx_plane, outlives_the_device)
{
	uint32_t *map, *bar0;
	int fd[3], order, i;

	for (order = 0; order < 3; order++) {
		bar0 = mbochs_bar0(&self->mb);
		ASSERT_TRUE(!!bar0);
		draw(bar0, 5);
		SHOW();
		for (i = 0; i < 3; i++) {
			fd[i] = plane_get(&self->mb, self->plane.dmabuf_id);
			ASSERT_LE(0, fd[i]);
		}
		map = map_buf(fd[0], SIZE, PROT_READ | PROT_WRITE);
		ASSERT_TRUE(!!map);
		if (order == 0)
			close(fd[0]);
		mbochs_close(&self->mb);
		EXPECT_EQ(-1, buf_differs(fd[1], 5));
		if (order == 1)
			close(fd[0]);
		ASSERT_EQ(0, mbochs_remove());
		EXPECT_EQ(self->available + 1, mbochs_available());
		if (order == 2)
			close(fd[0]);
		EXPECT_EQ(-1, differs(map, 5));
		draw(map, 6);
		close(fd[1]);
		EXPECT_EQ(-1, buf_differs(fd[2], 6));
		ASSERT_EQ(0, mbochs_create());
		ASSERT_EQ(0, mbochs_open(&self->mb));
		/* A new device has new memory. */
		bar0 = mbochs_bar0(&self->mb);
		ASSERT_TRUE(!!bar0);
		EXPECT_EQ(0, bar0[0]);
		draw(bar0, 7);
		EXPECT_EQ(-1, differs(map, 6));
		EXPECT_EQ(-EINVAL, plane_get(&self->mb, self->plane.dmabuf_id));
		munmap(map, SIZE);
		EXPECT_EQ(-1, buf_differs(fd[2], 6));
		close(fd[2]);
	}
}

TEST_F(gfx_plane, closed_and_opened_again)
{
	uint32_t *bar0;
	int old, new;
	__u32 id;

	SHOW();
	id = self->plane.dmabuf_id;
	old = plane_get(&self->mb, id);
	ASSERT_LE(0, old);
	bar0 = mbochs_bar0(&self->mb);
	ASSERT_TRUE(!!bar0);
	draw(bar0, 8);
	mbochs_close(&self->mb);
	ASSERT_EQ(0, mbochs_open(&self->mb));

	EXPECT_EQ(-EINVAL, plane_get(&self->mb, id));
	SHOW();
	EXPECT_NE(id, self->plane.dmabuf_id);
	new = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, new);
	bar0 = mbochs_bar0(&self->mb);
	ASSERT_TRUE(!!bar0);
	draw(bar0, 9);
	EXPECT_EQ(-1, buf_differs(old, 8));
	EXPECT_EQ(-1, buf_differs(new, 9));

	/* Closing the old one does not affect the new one. */
	close(old);
	close(plane_get(&self->mb, self->plane.dmabuf_id));
	EXPECT_EQ(-1, buf_differs(new, 9));
	close(new);
}

static void *remove_thread(void *arg)
{
	*(int *)arg = mbochs_remove();
	return NULL;
}

/* Removal waits for the file descriptor of the device, not for those of dma-bufs. */
TEST_F(gfx_plane, removed_while_open)
{
	struct timespec moment = { .tv_nsec = 50000000 };
	pthread_t thread;
	int ret = 1, fd[2];

	SHOW();
	fd[0] = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, fd[0]);
	ASSERT_EQ(0, pthread_create(&thread, NULL, remove_thread, &ret));
	nanosleep(&moment, NULL);
	/* The call may succeed or fail, but must return. */
	fd[1] = plane_get(&self->mb, self->plane.dmabuf_id);
	EXPECT_EQ(1, __atomic_load_n(&ret, __ATOMIC_ACQUIRE));
	mbochs_close(&self->mb);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, ret);
	EXPECT_EQ(-1, access(MBOCHS_DEVICE, F_OK));
	EXPECT_TRUE(!!map_buf(fd[0], SIZE, PROT_READ));
	close(fd[0]);
	if (fd[1] >= 0)
		close(fd[1]);
}

/* Another driver has the buffer mapped while the device is removed. */
TEST_F(gfx_plane, imported_by_a_driver)
{
	struct drm_prime_handle prime[2];
	int vgem, fd, i;

	vgem = drm_open("vgem");
	ASSERT_LE(0, vgem)
		TH_LOG("no vgem device: is CONFIG_DRM_VGEM on?");
	SHOW();
	for (i = 0; i < 2; i++) {
		fd = plane_get(&self->mb, self->plane.dmabuf_id);
		ASSERT_LE(0, fd);
		prime[i] = (struct drm_prime_handle){ .fd = fd };
		ASSERT_EQ(0, ioctl(vgem, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime[i]));
		close(fd);
	}
	/* The attachments hold it. */
	fd = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, gem_close(vgem, prime[0].handle));
	mbochs_close(&self->mb);
	ASSERT_EQ(0, mbochs_remove());
	prime[0].fd = fd;
	ASSERT_EQ(0, ioctl(vgem, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime[0]));
	EXPECT_EQ(0, gem_close(vgem, prime[1].handle));
	close(fd);
	EXPECT_EQ(0, gem_close(vgem, prime[0].handle));
	close(vgem);
}

/* Fences on one file descriptor are fences of the framebuffer. */
TEST_F(gfx_plane, sync_files)
{
	int timeline, fence, out, fd[2];

	timeline = timeline_new();
	ASSERT_LE(0, timeline)
		TH_LOG("no sw_sync: is CONFIG_SW_SYNC on and debugfs mounted?");
	SHOW();
	fd[0] = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, fd[0]);
	fd[1] = plane_get(&self->mb, self->plane.dmabuf_id);
	ASSERT_LE(0, fd[1]);
	if (!has_sync_file_ioctls(fd[0]))
		SKIP(return, NO_SYNC_FILE_IOCTLS);

	out = buf_export(fd[0], DMA_BUF_SYNC_RW);
	ASSERT_LE(0, out)
		TH_LOG("no export: is CONFIG_DMABUF_SYNC_FILE_IOCTLS on?");
	EXPECT_EQ(1, sync_status(out));
	close(out);

	fence = timeline_fence(timeline, 1);
	ASSERT_LE(0, fence);
	ASSERT_EQ(0, buf_import(fd[0], DMA_BUF_SYNC_WRITE, fence));
	close(fence);
	EXPECT_EQ(0, buf_poll(fd[0], POLLIN | POLLOUT));
	EXPECT_EQ(0, buf_poll(fd[1], POLLIN | POLLOUT));
	close(fd[0]);
	out = buf_export(fd[1], DMA_BUF_SYNC_READ);
	ASSERT_LE(0, out);
	EXPECT_EQ(0, sync_status(out));

	/* The fences stay when the device is removed. */
	mbochs_close(&self->mb);
	ASSERT_EQ(0, mbochs_remove());
	EXPECT_EQ(0, buf_poll(fd[1], POLLIN | POLLOUT));
	ASSERT_EQ(0, timeline_advance(timeline, 1));
	EXPECT_EQ(1, sync_status(out));
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(fd[1], POLLIN | POLLOUT));
	close(out);

	/* Close it while a fence is pending on which an earlier poll has left a callback. */
	fence = timeline_fence(timeline, 2);
	ASSERT_LE(0, fence);
	ASSERT_EQ(0, buf_import(fd[1], DMA_BUF_SYNC_READ, fence));
	EXPECT_EQ(POLLIN, buf_poll(fd[1], POLLIN | POLLOUT));
	close(fd[1]);
	EXPECT_EQ(0, sync_status(fence));
	ASSERT_EQ(0, timeline_advance(timeline, 1));
	EXPECT_EQ(1, sync_status(fence));
	close(fence);
	close(timeline);
}

struct race {
	struct mbochs *mb;
	bool stop;
	unsigned int got, dead;
	int wrong;		/* the first unexpected errno */
};

/* Keep the first unexpected errno: later results do not overwrite it. */
static void race_check(struct race *race, int err)
{
	if (err)
		__sync_bool_compare_and_swap(&race->wrong, 0, err);
}

static void *race_thread(void *arg)
{
	struct race *race = arg;
	uint32_t *map, value = 0;
	struct vfio_device_gfx_plane_info info = {};
	int fd[2], i;

	while (!__atomic_load_n(&race->stop, __ATOMIC_ACQUIRE) &&
	       !__atomic_load_n(&race->wrong, __ATOMIC_ACQUIRE)) {
		race_check(race, plane_primary(race->mb, &info));
		for (i = 0; i < 2; i++) {
			fd[i] = plane_get(race->mb, info.dmabuf_id);
			if (fd[i] == -EINVAL)
				__sync_fetch_and_add(&race->dead, 1);
			else if (fd[i] < 0)
				race_check(race, -fd[i]);
			else
				__sync_fetch_and_add(&race->got, 1);
		}
		for (i = 0; i < 2; i++) {
			if (fd[i] < 0)
				continue;
			map = map_buf(fd[i], SIZE, PROT_READ | PROT_WRITE);
			if (map) {
				map[i] = value++;
				munmap(map, SIZE);
			} else {
				race_check(race, ENOMEM);
			}
			close(fd[i]);
		}
	}
	return NULL;
}

/* Some threads close the buffers that others ask for; then the device is closed. */
TEST_F(gfx_plane, race)
{
	struct race race = { .mb = &self->mb };
	struct timespec time = { .tv_sec = 3 };
	pthread_t threads[4];
	int i;

	SHOW();
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, race_thread, &race));
	nanosleep(&time, NULL);
	__atomic_store_n(&race.stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, race.wrong);
	EXPECT_LT(10, race.got);
	TH_LOG("%u file descriptors, %u ids that were gone", race.got, race.dead);
}

static long free_kib(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128];
	long kib = -1;

	if (!file)
		return -1;
	while (kib < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemFree: %ld", &kib) != 1)
			kib = -1;
	fclose(file);
	return kib;
}

/* A framebuffer has 1.2 MB of pages. The teardown counts the file descriptors. */
TEST_F_TIMEOUT(gfx_plane, no_leak, 120)
{
	long before = 0, after;
	uint32_t *map;
	int round, i, fd[3];

	mbochs_close(&self->mb);
	for (round = 0; round < 90; round++) {
		if (round == 30)
			before = free_kib();
		ASSERT_EQ(0, mbochs_open(&self->mb));
		/* One framebuffer without a GET, then one with several. */
		ASSERT_EQ(0, mbochs_mode(&self->mb, 800, 600));
		ASSERT_EQ(0, plane_primary(&self->mb, &self->plane));
		SHOW();
		for (i = 0; i < 3; i++) {
			fd[i] = plane_get(&self->mb, self->plane.dmabuf_id);
			ASSERT_LE(0, fd[i]);
		}
		map = map_buf(fd[0], SIZE, PROT_READ | PROT_WRITE);
		ASSERT_TRUE(!!map);
		draw(map, round);
		munmap(map, SIZE);
		if (round % 3 == 0)
			mbochs_close(&self->mb);
		for (i = 0; i < 3; i++)
			close(fd[i]);
		if (round % 3 == 1) {
			SHOW();
			fd[0] = plane_get(&self->mb, self->plane.dmabuf_id);
			ASSERT_LE(0, fd[0]);
			close(fd[0]);
		}
		if (round % 3)
			mbochs_close(&self->mb);
		if (round % 5 == 0) {
			ASSERT_EQ(0, mbochs_remove());
			ASSERT_EQ(0, mbochs_create());
		}
	}
	after = free_kib();
	/* 60 rounds that lost one framebuffer each would be 70 MB. */
	EXPECT_GT(40 * 1024, before - after)
		TH_LOG("%ld KiB were free, now %ld", before, after);
}

TEST_HARNESS_MAIN
