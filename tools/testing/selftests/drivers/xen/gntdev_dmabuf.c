// SPDX-License-Identifier: GPL-2.0-only
/*
 * Grant references on an existing dma-buf: IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF and the related
 * ioctls, on buffers of exporters that consent. The domain grants its own pages to itself
 * (gntalloc), so the tests need one domain, no toolstack and no network. Every granted page has a
 * witness, which is an ordinary map of the same reference: through it the test reads and changes
 * the content of the buffer without using the buffer. After each test the program asks the
 * hypervisor which grants are still mapped. If the hypervisor does not answer (it answers only to
 * the first domain), these checks are left out, and only the test "hypervisor_answers" skips.
 *
 * Environment variables:
 * GNTDEV_DMABUF_CYCLES: cycles of map and release in the test that looks for leaks (10000)
 * GNTDEV_DMABUF_CARD: the display, a DRM driver with the DMA helper of GEM (arcpgu)
 */

#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>

#include "../../kselftest_harness.h"
#include "../dma-buf/dmabuf_util.h"
#include "../dma-buf/sync_file_util.h"
#include "grant_pool.h"
#include "xen_util.h"

#define SMALL 16		/* pages of a buffer, 64 KiB */
#define LARGE 272		/* more than 1 MiB, and compound pages of two sizes */
#define SOON 15000		/* timeout for an event that has to happen, in ms */
#define SECONDS 120		/* for one test: debug kernels in an emulator are slow */

/*
 * The number of pages that all tests map, granted before the first test. Where a granter loses a
 * page that it maps, each test takes new pages.
 */
#define POOL 512
#define POOL_IF_LOST 8192

static __attribute__((constructor)) void make_pool(void)
{
	pool_make(own_grant_loses_page() ? POOL_IF_LOST : POOL);
}

enum exporter { VGEM, CARD, HEAP, CMA };

/* Only Arm boards have such a display. */
#if defined(__aarch64__) || defined(__arm__)
#define WITH_CARD
#endif

static const char *card_name(void)
{
	return getenv("GNTDEV_DMABUF_CARD") ?: "arcpgu";
}

/* A buffer, and everything that is needed to free it. */
struct buf {
	enum exporter exporter;
	unsigned int pages;
	int fd;
	int card;		/* the DRM device, or -1 */
	__u32 handle;		/* its handle in @card */
};

static int dumb_new(struct buf *b)
{
	struct drm_mode_create_dumb create = {
		.width = PAGE / 4, .height = b->pages, .bpp = 32,
	};
	struct drm_prime_handle prime = { .flags = O_RDWR | O_CLOEXEC };

	b->card = drm_open(b->exporter == VGEM ? "vgem" : card_name());
	if (b->card < 0 || ioctl(b->card, DRM_IOCTL_MODE_CREATE_DUMB, &create))
		return -errno;
	b->handle = create.handle;
	prime.handle = create.handle;
	if (ioctl(b->card, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime))
		return -errno;
	b->fd = prime.fd;
	return 0;
}

/* The name of the CMA heap depends on the kernel and the device tree. */
static int cma_heap_open(void)
{
	DIR *dir = opendir("/dev/dma_heap");
	struct dirent *entry;
	int heap = -1;

	while (dir && heap < 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strncmp(entry->d_name, "system", 6))
			heap = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC);
	if (dir)
		closedir(dir);
	if (heap < 0)
		errno = ENODEV;
	return heap;
}

static int buf_new(struct buf *b, enum exporter kind, unsigned int pages)
{
	struct dma_heap_allocation_data data = {
		.len = pages * PAGE, .fd_flags = O_RDWR | O_CLOEXEC,
	};
	int heap, ret;

	*b = (struct buf) { .exporter = kind, .pages = pages, .fd = -1, .card = -1 };
	if (kind == VGEM || kind == CARD)
		return dumb_new(b);
	heap = kind == CMA ? cma_heap_open() : open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
	if (heap < 0)
		return -errno;
	ret = ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data) ? -errno : 0;
	if (!ret)
		b->fd = data.fd;
	close(heap);
	return ret;
}

static void close_once(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Drop all references of @b to the dma-buf. */
static void buf_free(struct buf *b)
{
	close_once(&b->fd);
	if (b->handle)
		gem_close(b->card, b->handle);
	b->handle = 0;
	close_once(&b->card);
}

static int cpu_access(int fd, __u64 what)
{
	struct dma_buf_sync sync = { .flags = what | DMA_BUF_SYNC_RW };

	return ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync) ? -errno : 0;
}

static void *buf_view(struct buf *b)
{
	void *view = mmap(NULL, b->pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);

	if (view == MAP_FAILED)
		return NULL;
	cpu_access(b->fd, DMA_BUF_SYNC_START);
	return view;
}

static void buf_unview(struct buf *b, void *view)
{
	cpu_access(b->fd, DMA_BUF_SYNC_END);
	munmap(view, b->pages * PAGE);
}

/* buf_fill() and buf_wrong() leave no map behind. The latter returns a count or -errno. */
static int buf_fill(struct buf *b, __u32 seed)
{
	void *view = buf_view(b);

	if (!view)
		return -errno;
	pattern_fill(view, 0, b->pages, seed);
	buf_unview(b, view);
	return 0;
}

#define ZERO 0			/* the seed that stands for zeroed content */

static int buf_wrong(struct buf *b, unsigned int first, unsigned int count, __u32 seed)
{
	void *view = buf_view(b);
	int wrong;

	if (!view)
		return -errno;
	wrong = seed == ZERO ? not_zero(view, first, count) :
			       pattern_wrong(view, first, count, seed);
	buf_unview(b, view);
	return wrong;
}

/* A gntdev, a buffer without granted pages, and pages for it with their witness. */
struct setting {
	int gntdev;
	int domid;
	struct buf buf;
	const __u32 *refs;
	struct witness witness;
	struct xen_usage before;	/* before the witness was opened */
	struct xen_usage witnessed;
	int usage;		/* 0 if the hypervisor's counts are available */
	int fds;
};

static int setting_make(struct setting *s, enum exporter kind, unsigned int pages)
{
	int ret;

	s->domid = pool->domid;
	s->usage = xen_usage(s->domid, &s->before);
	s->fds = count_fds();
	s->gntdev = gntdev_open();
	if (s->gntdev < 0)
		return s->gntdev;
	s->refs = take_refs(pages);
	if (!s->refs)
		return -ENOSPC;
	ret = witness_open(&s->witness, s->domid, s->refs, pages);
	if (ret)
		return ret;
	ret = buf_new(&s->buf, kind, pages);
	if (ret)
		return ret;
	pattern_fill(s->witness.view, 0, pages, 1);
	return s->usage ? 0 : xen_usage(s->domid, &s->witnessed);
}

/* The difference to the hypervisor's counts @before, if they are available. */
static long left(struct setting *s, const struct xen_usage *before)
{
	return s->usage ? 0 : xen_left(s->domid, before, SOON / 1000);
}

/* Free everything, in the order in which a user would. */
static void setting_end(struct setting *s)
{
	map_release(s->gntdev, s->buf.fd);
	buf_free(&s->buf);
	close_once(&s->gntdev);
	witness_close(&s->witness);
}

static void make(struct __test_metadata *_metadata, struct setting *s, enum exporter kind,
		 unsigned int pages)
{
	static const char * const needs[] = {
		"a vgem device (CONFIG_DRM_VGEM)",
		"a display (GNTDEV_DMABUF_CARD=driver)",
		"/dev/dma_heap/system (CONFIG_DMABUF_HEAPS_SYSTEM)",
		"a CMA heap (CONFIG_DMABUF_HEAPS_CMA, and cma=32M on the command line)",
	};

	ASSERT_EQ(0, setting_make(s, kind, pages))
		TH_LOG("this needs " GNTDEV ", grants, and %s", needs[kind]);
}

static void end(struct __test_metadata *_metadata, struct setting *s)
{
	setting_end(s);
	/* No grant is still mapped, and no page is missing. */
	EXPECT_EQ(0, left(s, &s->before));
	EXPECT_EQ(s->fds, count_fds());
}

static int map_all(struct setting *s)
{
	return map_refs(s->gntdev, s->buf.fd, s->domid, s->refs, s->buf.pages);
}

/* Checks that buffer and witness are the same memory: each reads what the other wrote. */
static int not_coherent(struct setting *s, unsigned int pages)
{
	void *view = buf_view(&s->buf);
	int wrong;

	if (!view)
		return -errno;
	pattern_fill(s->witness.view, 0, pages, 0x1001);
	wrong = pattern_wrong(view, 0, pages, 0x1001);
	pattern_fill(view, 0, pages, 0x2002);
	wrong += pattern_wrong(s->witness.view, 0, pages, 0x2002);
	buf_unview(&s->buf, view);
	return wrong;
}

/* The other tests rely on the hypervisor's counts. */
TEST(hypervisor_answers)
{
	struct xen_usage one, two;
	struct witness w;
	const __u32 *refs = take_refs(3);
	int ret = xen_usage(pool->domid, &one);

	if (ret == -EPERM || ret == -ENOENT || ret == -EACCES)
		SKIP(return, "the hypervisor does not count for this domain: %s", strerror(-ret));
	ASSERT_EQ(0, ret);
	ASSERT_NE(NULL, refs);
	EXPECT_LE(0, xen_own_domid());
	ASSERT_EQ(0, witness_open(&w, pool->domid, refs, 3));
	pattern_fill(w.view, 0, 3, 3);
	ASSERT_EQ(0, xen_usage(pool->domid, &two));
	EXPECT_EQ(one.active + 3, two.active);
	TH_LOG("d%d: %ld pages, %ld grants mapped, %ld frames of maptrack", pool->domid,
	       two.pages, two.active, two.maptrack);
	witness_close(&w);
}

/*
 * Tests on every exporter.
 */
FIXTURE(map)
{
	struct setting s;
};

FIXTURE_VARIANT(map)
{
	enum exporter exporter;
	unsigned int pages;
};

FIXTURE_VARIANT_ADD(map, vgem) { .exporter = VGEM, .pages = SMALL };
FIXTURE_VARIANT_ADD(map, heap) { .exporter = HEAP, .pages = SMALL };
FIXTURE_VARIANT_ADD(map, heap_large) { .exporter = HEAP, .pages = LARGE };
FIXTURE_VARIANT_ADD(map, cma) { .exporter = CMA, .pages = SMALL };
#ifdef WITH_CARD
FIXTURE_VARIANT_ADD(map, card) { .exporter = CARD, .pages = SMALL };
#endif

FIXTURE_SETUP(map)
{
	make(_metadata, &self->s, variant->exporter, variant->pages);
}

FIXTURE_TEARDOWN(map)
{
	end(_metadata, &self->s);
}

/* The steps of a backend for each buffer of a guest, in order. */
TEST_F_TIMEOUT(map, seven_steps, SECONDS)
{
	struct setting *s = &self->s;
	int fd = s->buf.fd;

	/* The fixture has done steps 1 and 2: get references, allocate a buffer. */
	ASSERT_EQ(0, map_all(s));			/* 3 */
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, s->buf.pages, 1));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));	/* 4 */
	EXPECT_EQ(EBUSY, map_wait(s->gntdev, fd, 0));
	EXPECT_EQ(0, map_release(s->gntdev, fd));	/* 5 */
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, fd, 0));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
	buf_free(&s->buf);				/* 6 */
	EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));	/* 7 */
	/* The other domain has its pages back, with their last content. */
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, s->buf.pages, 0x2002));
}

TEST_F_TIMEOUT(map, again_with_the_same_references, SECONDS)
{
	struct setting *s = &self->s;
	int i, fd;

	for (i = 0; i < 3; i++) {
		fd = s->buf.fd;
		ASSERT_EQ(0, map_all(s));
		EXPECT_EQ(0, not_coherent(s, s->buf.pages));
		EXPECT_EQ(0, map_release(s->gntdev, fd));
		buf_free(&s->buf);
		EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
		ASSERT_EQ(0, buf_new(&s->buf, variant->exporter, variant->pages));
		EXPECT_EQ(0, buf_wrong(&s->buf, 0, s->buf.pages, ZERO));
	}
}

TEST_F_TIMEOUT(map, first_pages_only, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int counts[] = { 1, 3, s->buf.pages - 1 };
	unsigned int i;
	int fd;

	for (i = 0; i < 3; i++) {
		fd = s->buf.fd;
		ASSERT_EQ(0, buf_fill(&s->buf, 5));
		ASSERT_EQ(0, map_refs(s->gntdev, fd, s->domid, s->refs, counts[i]));
		EXPECT_EQ(0, not_coherent(s, counts[i]));
		EXPECT_EQ(0, buf_wrong(&s->buf, counts[i], s->buf.pages - counts[i], 5))
			TH_LOG("after %u pages the buffer is not its own", counts[i]);
		EXPECT_EQ(0, map_release(s->gntdev, fd));
		buf_free(&s->buf);
		EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
		ASSERT_EQ(0, buf_new(&s->buf, variant->exporter, variant->pages));
	}
}

/* If a reference cannot be mapped, the buffer gets its own pages back, zeroed, and works. */
TEST_F_TIMEOUT(map, bad_reference, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int bad[] = { 0, s->buf.pages / 2, s->buf.pages - 1 };
	__u32 refs[LARGE];
	unsigned int i;

	for (i = 0; i < 3; i++) {
		memcpy(refs, s->refs, s->buf.pages * sizeof(*refs));
		refs[bad[i]] = 0x7ffffff0;
		ASSERT_EQ(0, buf_fill(&s->buf, 5));
		EXPECT_EQ(EINVAL, map_refs(s->gntdev, s->buf.fd, s->domid, refs, s->buf.pages));
		EXPECT_EQ(0, buf_wrong(&s->buf, 0, s->buf.pages, ZERO))
			TH_LOG("reference %u was bad, the buffer is not zero", bad[i]);
		EXPECT_EQ(0, buf_fill(&s->buf, 6));
		EXPECT_EQ(0, buf_wrong(&s->buf, 0, s->buf.pages, 6));
		/* There is no mapping to release. */
		EXPECT_EQ(ENOENT, map_release(s->gntdev, s->buf.fd));
		EXPECT_EQ(ENOENT, map_wait(s->gntdev, s->buf.fd, 0));
	}
	/* The other domain's pages are unchanged. */
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, s->buf.pages, 1));
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
}

TEST_F_TIMEOUT(map, bad_domain, SECONDS)
{
	struct setting *s = &self->s;

	ASSERT_EQ(0, buf_fill(&s->buf, 5));
	EXPECT_EQ(EINVAL, map_refs(s->gntdev, s->buf.fd, 0x7000, s->refs, s->buf.pages));
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, s->buf.pages, ZERO));
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
}

/* A process has mapped the buffer, and has touched the mapping or not. */
TEST_F_TIMEOUT(map, busy_with_a_map, SECONDS)
{
	struct setting *s = &self->s;
	void *view;
	int touch;

	ASSERT_EQ(0, buf_fill(&s->buf, 5));
	for (touch = 0; touch < 2; touch++) {
		view = mmap(NULL, s->buf.pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			    s->buf.fd, 0);
		ASSERT_NE(MAP_FAILED, view);
		if (touch)
			EXPECT_EQ(0, pattern_wrong(view, 0, s->buf.pages, 5));
		EXPECT_EQ(EBUSY, map_all(s))
			TH_LOG("a map that was %stouched", touch ? "" : "not ");
		EXPECT_EQ(0, pattern_wrong(view, 0, s->buf.pages, 5));
		munmap(view, s->buf.pages * PAGE);
	}
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, s->buf.pages, 5));
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
}

/* Forks a process that inherits all maps and keeps them until it is killed. */
static pid_t fork_idle(void)
{
	pid_t child = fork();

	if (!child) {
		/* Do not keep the buffer if the test ends early. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return child;
}

static void kill_child(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/*
 * @view, a map of the whole buffer, is partly unmapped and moved, and inherited by another process.
 * As long as any part of it exists in any process, the buffer is in use.
 */
static void busy_with_parts(struct __test_metadata *_metadata, struct setting *s, char *view)
{
	size_t size = s->buf.pages * PAGE, rest = size - 4 * PAGE;
	char *room, *moved;
	pid_t child;

	ASSERT_NE(NULL, view);
	pattern_fill(view, 0, s->buf.pages, 5);
	EXPECT_EQ(0, mprotect(view, PAGE, PROT_READ));
	EXPECT_EQ(EBUSY, map_all(s));
	EXPECT_EQ(0, munmap(view + 3 * PAGE, PAGE));
	EXPECT_EQ(EBUSY, map_all(s));
	room = mmap(NULL, rest, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)room);
	moved = mremap(view + 4 * PAGE, rest, rest, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ASSERT_EQ(room, moved);
	EXPECT_EQ(EBUSY, map_all(s));
	EXPECT_EQ(0, munmap(view, 3 * PAGE));
	EXPECT_EQ(EBUSY, map_all(s))
		TH_LOG("the moved part");
	child = fork_idle();
	ASSERT_LT(0, child);
	EXPECT_EQ(0, munmap(moved, rest));
	EXPECT_EQ(EBUSY, map_all(s))
		TH_LOG("a map of the child's");
	kill_child(child);
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, s->buf.pages, 5));
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
}

TEST_F_TIMEOUT(map, busy_with_parts_of_a_map, SECONDS)
{
	void *view = buf_view(&self->s.buf);

	ASSERT_NE(NULL, view);
	cpu_access(self->s.buf.fd, DMA_BUF_SYNC_END);
	busy_with_parts(_metadata, &self->s, view);
}

/* An importer that does not consent: gntdev, which grants the buffer to another domain. */
static int import(int gntdev, int buf, unsigned int domid, __u32 *refs, unsigned int count)
{
	struct ioctl_gntdev_dmabuf_imp_to_refs *arg;
	int ret;

	arg = calloc(1, sizeof(*arg) + count * sizeof(__u32));
	arg->fd = buf;
	arg->count = count;
	arg->domid = domid;
	ret = ioctl(gntdev, IOCTL_GNTDEV_DMABUF_IMP_TO_REFS, arg) ? errno : 0;
	memcpy(refs, arg->refs, count * sizeof(__u32));
	free(arg);
	return ret;
}

static int import_release(int gntdev, int buf)
{
	struct ioctl_gntdev_dmabuf_imp_release arg = { .fd = buf };

	return ioctl(gntdev, IOCTL_GNTDEV_DMABUF_IMP_RELEASE, &arg) ? errno : 0;
}

/* IMP_TO_REFS grants the pages, so it cannot consent. */
TEST_F_TIMEOUT(map, busy_with_an_attachment, SECONDS)
{
	struct setting *s = &self->s;
	__u32 refs[LARGE];

	ASSERT_EQ(0, buf_fill(&s->buf, 5));
	ASSERT_EQ(0, import(s->gntdev, s->buf.fd, s->domid, refs, s->buf.pages));
	EXPECT_EQ(EBUSY, map_all(s));
	ASSERT_EQ(0, import_release(s->gntdev, s->buf.fd));
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, s->buf.pages, 5));
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
}

TEST_F_TIMEOUT(map, busy_with_a_fence, SECONDS)
{
	struct setting *s = &self->s;
	int timeline, fence, i;
	const unsigned int flags[] = { DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE };

	if (!has_sync_file_ioctls(s->buf.fd))
		SKIP(return, NO_SYNC_FILE_IOCTLS);
	timeline = timeline_new();
	ASSERT_LE(0, timeline)
		TH_LOG("no sw_sync: is CONFIG_SW_SYNC on and debugfs mounted?");
	ASSERT_EQ(0, buf_fill(&s->buf, 5));
	for (i = 0; i < 2; i++) {
		fence = timeline_fence(timeline, i + 1);
		ASSERT_LE(0, fence);
		ASSERT_EQ(0, buf_import(s->buf.fd, flags[i], fence));
		EXPECT_EQ(EBUSY, map_all(s));
		timeline_advance(timeline, 1);
		close(fence);
	}
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, s->buf.pages, 5));
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
	close(timeline);
}

/* A fence is added while the pages are foreign: they stay foreign until it signals. */
TEST_F_TIMEOUT(map, release_waits_for_a_fence, SECONDS)
{
	struct setting *s = &self->s;
	int timeline = timeline_new(), fence = timeline_fence(timeline, 1), fd = s->buf.fd;
	pid_t child;

	if (!has_sync_file_ioctls(fd))
		SKIP(return, NO_SYNC_FILE_IOCTLS);
	ASSERT_LE(0, fence);
	ASSERT_EQ(0, map_all(s));
	ASSERT_EQ(0, buf_import(fd, DMA_BUF_SYNC_WRITE, fence));
	ASSERT_EQ(0, map_release(s->gntdev, fd));
	child = fork();
	if (!child) {
		/* The child must not keep the buffer. */
		close_once(&s->buf.fd);
		close_once(&s->buf.card);
		usleep(300000);
		timeline_advance(timeline, 1);
		_exit(0);
	}
	buf_free(&s->buf);
	EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
	EXPECT_EQ(1, sync_status(fence));
	EXPECT_EQ(child, waitpid(child, NULL, 0));
	close(fence);
	close(timeline);
}

TEST_F_TIMEOUT(map, busy_with_our_own_map, SECONDS)
{
	struct setting *s = &self->s;
	int other = gntdev_open(), dupped = dup(s->buf.fd);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(EBUSY, map_all(s));
	EXPECT_EQ(EBUSY, map_refs(other, s->buf.fd, s->domid, s->refs, s->buf.pages));
	EXPECT_EQ(EBUSY, map_refs(s->gntdev, dupped, s->domid, s->refs, s->buf.pages));
	/* The same after RELEASE, as long as the buffer exists. */
	EXPECT_EQ(0, map_release(s->gntdev, s->buf.fd));
	EXPECT_EQ(EBUSY, map_all(s));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
	close(dupped);
	close(other);
}

/*
 * Every order in which a user can end a mapping: RELEASE (r), closing gntdev (g), freeing the
 * buffer (b), unmapping it from the process (m). The pages stay the other domain's until the last
 * of these steps, and then they are given back.
 */
TEST_F_TIMEOUT(map, every_order_of_closing, 2 * SECONDS)
{
	struct setting *s = &self->s;
	static const char * const orders[] = {
		"rgbm", "rgmb", "rbgm", "rbmg", "rmgb", "rmbg", "gbm", "gmb", "bgm", "bmg", "mgb",
		"mbg", "brgm", "bmrg", "mrbg", "mrgb", "brmg", "mbrg",
	};
	unsigned int i;
	const char *c;
	void *view;
	int fd;

	for (i = 0; i < sizeof(orders) / sizeof(*orders); i++) {
		fd = s->buf.fd;
		ASSERT_EQ(0, map_all(s));
		view = mmap(NULL, s->buf.pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, view);
		pattern_fill(view, 0, s->buf.pages, i + 10);
		for (c = orders[i]; *c; c++) {
			if (*c == 'r')
				EXPECT_EQ(0, map_release(s->gntdev, fd));
			if (*c == 'g')
				close_once(&s->gntdev);
			if (*c == 'b')
				buf_free(&s->buf);
			if (*c != 'm')
				continue;
			EXPECT_EQ(0, pattern_wrong(view, 0, s->buf.pages, i + 10));
			munmap(view, s->buf.pages * PAGE);
		}
		EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, s->buf.pages, i + 10))
			TH_LOG("order %s", orders[i]);
		close_once(&s->gntdev);
		s->gntdev = gntdev_open();
		ASSERT_LE(0, s->gntdev);
		ASSERT_EQ(0, buf_new(&s->buf, variant->exporter, variant->pages));
	}
	/* Only the witness is left. */
	EXPECT_EQ(0, left(s, &s->witnessed));
}

/* The steps of a process that is killed after one of them. */
enum step { MAPPED, WRITTEN, RELEASED, WAITING, DESTROYED, WAITED, STEPS };

static void child_steps(struct setting *s, enum exporter kind, enum step last, int ready)
{
	struct buf b;
	int gntdev, fd;
	char c = 1;
	void *view;

	gntdev = gntdev_open();
	if (buf_new(&b, kind, s->buf.pages) ||
	    map_refs(gntdev, b.fd, s->domid, s->refs, b.pages)) {
		c = 0;
		goto out;
	}
	fd = b.fd;
	if (last >= WRITTEN) {
		view = buf_view(&b);
		pattern_fill(view, 0, b.pages, 77);
		/* It stays mapped if this is the last step. */
		if (last > WRITTEN)
			buf_unview(&b, view);
	}
	if (last >= RELEASED && map_release(gntdev, fd))
		c = 0;
	if (last == WAITING) {
		if (write(ready, &c, 1) != 1)
			_exit(1);
		map_wait(gntdev, fd, FOREVER);
		_exit(1);
	}
	if (last >= DESTROYED)
		buf_free(&b);
	if (last >= WAITED && map_wait(gntdev, fd, SOON))
		c = 0;
out:
	if (write(ready, &c, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

TEST_F_TIMEOUT(map, killed_at_each_step, SECONDS)
{
	struct setting *s = &self->s;
	int step, ready[2];
	pid_t child;
	char c;

	for (step = 0; step < STEPS; step++) {
		ASSERT_EQ(0, pipe(ready));
		child = fork();
		if (!child)
			child_steps(s, variant->exporter, step, ready[1]);
		ASSERT_LT(0, child);
		ASSERT_EQ(1, read(ready[0], &c, 1));
		EXPECT_EQ(1, c)
			TH_LOG("the child failed before step %d", step);
		if (step == WAITING)
			usleep(50000);
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, NULL, 0));
		close(ready[0]);
		close(ready[1]);
		if (step >= WRITTEN)
			EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, s->buf.pages, 77));
	}
	EXPECT_EQ(0, left(s, &s->witnessed));
	/* Once more by hand, with the same references. */
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
}

/* The process is killed at a random time. */
TEST_F_TIMEOUT(map, killed_at_any_time, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int *maps, seed = 1;
	pid_t child;
	int i;

	maps = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)maps);
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, map_release(s->gntdev, s->buf.fd));
	buf_free(&s->buf);
	for (i = 0; i < 40 || (!*maps && i < 400); i++) {
		child = fork();
		if (!child) {
			int gntdev = gntdev_open();

			for (;;) {
				struct buf b;
				int fd;

				if (buf_new(&b, variant->exporter, variant->pages))
					_exit(1);
				fd = b.fd;
				if (!map_refs(gntdev, fd, s->domid, s->refs, b.pages))
					++*maps;
				buf_wrong(&b, 0, 1, 1);
				map_release(gntdev, fd);
				buf_free(&b);
				map_wait(gntdev, fd, SOON);
			}
		}
		ASSERT_LT(0, child);
		/* Longer in later rounds, if no process has mapped yet. */
		usleep(rand_r(&seed) % 40000 * (1 + i / 40));
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, NULL, 0));
	}
	TH_LOG("%u maps", *maps);
	EXPECT_LT(0, *maps);
	EXPECT_EQ(0, left(s, &s->witnessed));
}

/*
 * Only the exit of the process signals a fence, so the process must be able to exit. Its files are
 * closed one after the other, and the buffer may come before the timeline.
 */
TEST_F_TIMEOUT(map, killed_with_a_pending_fence, SECONDS)
{
	struct setting *s = &self->s;
	double limit = now() + SOON / 1000;
	int ready[2], destroy;
	pid_t child, gone = 0;
	char c;

	if (!has_sync_file_ioctls(s->buf.fd))
		SKIP(return, NO_SYNC_FILE_IOCTLS);
	for (destroy = 0; destroy < 2; destroy++) {
		ASSERT_EQ(0, pipe(ready));
		child = fork();
		if (!child) {
			int gntdev, timeline;
			struct buf b;

			gntdev = gntdev_open();
			c = !buf_new(&b, variant->exporter, variant->pages) &&
			    !map_refs(gntdev, b.fd, s->domid, s->refs, b.pages);
			timeline = timeline_new();
			c &= !buf_import(b.fd, DMA_BUF_SYNC_WRITE, timeline_fence(timeline, 1)) &&
			     !map_release(gntdev, b.fd);
			if (write(ready[1], &c, 1) != 1)
				_exit(1);
			if (destroy)
				buf_free(&b);
			for (;;)
				pause();
		}
		ASSERT_EQ(1, read(ready[0], &c, 1));
		EXPECT_EQ(1, c);
		close(ready[0]);
		close(ready[1]);
		usleep(200000);
		kill(child, SIGKILL);
		while (!gone && now() < limit) {
			usleep(20000);
			gone = waitpid(child, NULL, WNOHANG);
		}
		ASSERT_EQ(child, gone)
			TH_LOG("it waits in the kernel for what it alone could end");
		gone = 0;
	}
	EXPECT_EQ(0, left(s, &s->witnessed));
}

/* A process that has the buffer keeps the pages when the process that mapped them is dead. */
TEST_F_TIMEOUT(map, survivor_keeps_the_pages, SECONDS)
{
	struct setting *s = &self->s;
	pid_t child;
	int status;

	child = fork();
	if (!child) {
		int gntdev = gntdev_open();

		_exit(map_refs(gntdev, s->buf.fd, s->domid, s->refs, s->buf.pages) ? 1 : 0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(0, not_coherent(s, s->buf.pages));
	/* The mapping was made through another gntdev file, so it is unknown here. */
	EXPECT_EQ(ENOENT, map_release(s->gntdev, s->buf.fd));
	EXPECT_EQ(ENOENT, map_wait(s->gntdev, s->buf.fd, 0));
}

/* A thread that maps the buffer, reads it and unmaps it, in a loop. */
struct toucher {
	pthread_t thread;
	unsigned int pages;
	int fd;			/* of the buffer, or -1; set by another thread */
	int file;		/* the file to which the kernel copies the content */
	bool stop;
	unsigned long touches;
};

static void *toucher_thread(void *data)
{
	struct toucher *t = data;
	unsigned int page = 0;
	ssize_t ret;
	void *view;
	int fd;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
		fd = __atomic_load_n(&t->fd, __ATOMIC_RELAXED);
		view = mmap(NULL, t->pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		/* mmap() fails while the pages are replaced. */
		if (view == MAP_FAILED)
			continue;
		/* Let the kernel read it: it gets EFAULT where a process would get a signal. */
		ret = pwrite(t->file, (char *)view + page++ % t->pages * PAGE, PAGE, 0);
		t->touches += ret == (ssize_t)PAGE;
		munmap(view, t->pages * PAGE);
		usleep(page * 7919 % 1000);
	}
	return NULL;
}

/* mmap() races with MAP_REFS_TO_BUF: one of them fails, and no access finds a hole. */
TEST_F_TIMEOUT(map, touched_meanwhile, SECONDS)
{
	struct setting *s = &self->s;
	struct toucher t = {
		.pages = s->buf.pages, .fd = s->buf.fd,
		.file = syscall(__NR_memfd_create, "copy", 0),
	};
	unsigned int done = 0, busy = 0;
	double limit = now() + 5;
	int fd, ret;

	ASSERT_LE(0, t.file);
	ASSERT_EQ(0, pthread_create(&t.thread, NULL, toucher_thread, &t));
	while (now() < limit) {
		fd = s->buf.fd;
		ret = map_all(s);
		if (ret == EBUSY) {
			busy++;
			continue;
		}
		EXPECT_EQ(0, ret);
		if (ret)
			break;
		done++;
		EXPECT_EQ(0, map_release(s->gntdev, fd));
		/* The thread may keep the buffer for a moment. */
		buf_free(&s->buf);
		EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
		ASSERT_EQ(0, buf_new(&s->buf, variant->exporter, variant->pages));
		__atomic_store_n(&t.fd, s->buf.fd, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	pthread_join(t.thread, NULL);
	close(t.file);
	TH_LOG("%u maps, %u times busy, %lu times touched", done, busy, t.touches);
	EXPECT_LT(0, done);
	EXPECT_LT(0, t.touches);
}

/*
 * Tests of arguments.
 */
FIXTURE(args)
{
	struct setting s;
	struct map_args good;
	unsigned long limit;
};

FIXTURE_SETUP(args)
{
	make(_metadata, &self->s, VGEM, SMALL);
	ASSERT_EQ(0, buf_fill(&self->s.buf, 5));
	self->good = (struct map_args) {
		.count = SMALL,
		.fd = self->s.buf.fd,
		.domid = self->s.domid,
		.refs = self->s.refs,
	};
	if (file_number(GNTDEV_LIMIT, &self->limit))
		self->limit = 0;
}

FIXTURE_TEARDOWN(args)
{
	if (self->limit)
		file_put(GNTDEV_LIMIT, self->limit);
	end(_metadata, &self->s);
}

/* A refused call has changed nothing, and a valid call works. */
#define EXPECT_UNTOUCHED()							\
	do {									\
		EXPECT_EQ(0, buf_wrong(&self->s.buf, 0, SMALL, 5));		\
		EXPECT_EQ(ENOENT, map_release(self->s.gntdev, self->s.buf.fd));	\
		EXPECT_EQ(0, map_call(self->s.gntdev, &self->good));		\
		EXPECT_EQ(0, not_coherent(&self->s, SMALL));			\
	} while (0)

TEST_F_TIMEOUT(args, efault, SECONDS)
{
	struct ioctl_gntdev_dmabuf_map_refs_to_buf *map;
	char *page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	const unsigned int ioctls[] = {
		IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF, IOCTL_GNTDEV_DMABUF_MAP_RELEASE,
		IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED, IOCTL_GNTDEV_DMABUF_MAP_EVENTFD,
	};
	unsigned int i;

	ASSERT_NE(MAP_FAILED, (void *)page);
	munmap(page + PAGE, PAGE);
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(-1, ioctl(self->s.gntdev, ioctls[i], NULL));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, ioctl(self->s.gntdev, ioctls[i], page + PAGE - 4));
		EXPECT_EQ(EFAULT, errno);
	}
	/* The struct can be read, but not all references. */
	map = (void *)(page + PAGE - sizeof(*map));
	map->count = self->good.count;
	map->fd = self->good.fd;
	map->domid = self->good.domid;
	map->refs[0] = self->good.refs[0];
	EXPECT_EQ(-1, ioctl(self->s.gntdev, IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF, map));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_UNTOUCHED();
}

TEST_F_TIMEOUT(args, flags, SECONDS)
{
	struct map_args args = self->good;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		args.flags = 1u << bit;
		EXPECT_EQ(EINVAL, map_call(self->s.gntdev, &args));
	}
	EXPECT_UNTOUCHED();
}

TEST_F_TIMEOUT(args, count, SECONDS)
{
	const unsigned int counts[] = {
		0, SMALL + 1, 64 * 1024 + 1, 0x40000000, 0x40000001, 0x7fffffff, 0x80000000,
		0xffffffff,
	};
	struct map_args args = self->good;
	unsigned int i;

	args.given = SMALL;
	for (i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		args.count = counts[i];
		EXPECT_EQ(EINVAL, map_call(self->s.gntdev, &args))
			TH_LOG("count %u", counts[i]);
	}
	EXPECT_UNTOUCHED();
}

TEST_F_TIMEOUT(args, limit, SECONDS)
{
	struct map_args args = self->good;
	int fd = self->s.buf.fd;

	if (!self->limit)
		SKIP(return, "no " GNTDEV_LIMIT);
	ASSERT_EQ(0, file_put(GNTDEV_LIMIT, 8));
	args.count = 9;
	EXPECT_EQ(EINVAL, map_call(self->s.gntdev, &args));
	args.count = SMALL;
	EXPECT_EQ(EINVAL, map_call(self->s.gntdev, &args));
	EXPECT_EQ(0, buf_wrong(&self->s.buf, 0, SMALL, 5));
	args.count = 8;
	EXPECT_EQ(0, map_call(self->s.gntdev, &args));
	EXPECT_EQ(0, map_release(self->s.gntdev, fd));
	buf_free(&self->s.buf);
	EXPECT_EQ(0, map_wait(self->s.gntdev, fd, SOON));
}

TEST_F_TIMEOUT(args, data_ofs, SECONDS)
{
	const unsigned int offsets[] = { 1, 64, PAGE - 1, PAGE, 0x7fffffff, 0xffffffff };
	struct map_args args = self->good;
	unsigned int i;

	for (i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
		args.data_ofs = offsets[i];
		EXPECT_EQ(EINVAL, map_call(self->s.gntdev, &args))
			TH_LOG("data_ofs %u", offsets[i]);
	}
	EXPECT_UNTOUCHED();
}

TEST_F_TIMEOUT(args, fd, SECONDS)
{
	struct map_args args = self->good;
	int others[] = {
		open("/dev/null", O_RDWR), open("/proc/self/maps", O_RDONLY), eventfd(0, 0),
		dup(self->s.gntdev), syscall(__NR_memfd_create, "other", 0),
		open(GNTALLOC, O_RDWR),
	};
	unsigned int i;

	for (i = 0; i < sizeof(others) / sizeof(*others); i++) {
		ASSERT_LE(0, others[i]);
		args.fd = others[i];
		EXPECT_EQ(EINVAL, map_call(self->s.gntdev, &args));
		close(others[i]);
		EXPECT_EQ(EBADF, map_call(self->s.gntdev, &args));
	}
	args.fd = 0xffffffff;
	EXPECT_EQ(EBADF, map_call(self->s.gntdev, &args));
	args.fd = 0x7fffffff;
	EXPECT_EQ(EBADF, map_call(self->s.gntdev, &args));
	EXPECT_UNTOUCHED();
}

TEST_F_TIMEOUT(args, domid, SECONDS)
{
	struct map_args args = self->good;
	const unsigned int domids[] = {
		0x10000 + args.domid, 0x8000, 0xffff, 0xffffffff, XEN_DOMID_SELF,
		0x7ff1, 0x7ff2, 0x7fff, 0x6543,
	};
	unsigned int i;

	for (i = 0; i < sizeof(domids) / sizeof(*domids); i++) {
		args.domid = domids[i];
		EXPECT_EQ(EINVAL, map_call(self->s.gntdev, &args))
			TH_LOG("domid %#x", domids[i]);
	}
	EXPECT_EQ(0, map_call(self->s.gntdev, &self->good));
	EXPECT_EQ(0, not_coherent(&self->s, SMALL));
}

TEST_F_TIMEOUT(args, references, SECONDS)
{
	const __u32 beyond[] = { 0x10000000, 0x7fffffff, 0x80000000, 0xffffffff };
	struct map_args args = self->good;
	__u32 refs[SMALL], other[2];
	unsigned int i;
	int gntalloc = open(GNTALLOC, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, gntalloc);
	args.refs = refs;
	memcpy(refs, self->s.refs, sizeof(refs));
	for (i = 0; i < 4; i++) {
		refs[3] = beyond[i];
		EXPECT_EQ(EINVAL, map_call(self->s.gntdev, &args))
			TH_LOG("reference %#x", beyond[i]);
	}
	/* A reference for another domain, and one that is read-only. */
	ASSERT_EQ(0, gntalloc_new(gntalloc, 0x6543, GNTALLOC_FLAG_WRITABLE, 1, other, NULL));
	ASSERT_EQ(0, gntalloc_new(gntalloc, args.domid, 0, 1, other + 1, NULL));
	for (i = 0; i < 2; i++) {
		refs[3] = other[i];
		EXPECT_EQ(EIO, map_call(self->s.gntdev, &args))
			TH_LOG("%s", i ? "read-only" : "granted to another domain");
	}
	EXPECT_EQ(0, buf_wrong(&self->s.buf, 0, SMALL, ZERO));
	EXPECT_EQ(0, map_call(self->s.gntdev, &self->good));
	EXPECT_EQ(0, not_coherent(&self->s, SMALL));
	close(gntalloc);
}

TEST_F_TIMEOUT(args, release, SECONDS)
{
	struct ioctl_gntdev_dmabuf_map_release arg = { .fd = self->s.buf.fd, .reserved = 1 };
	int other = gntdev_open();

	ASSERT_LE(0, other);
	EXPECT_EQ(ENOENT, map_release(self->s.gntdev, self->s.buf.fd));
	EXPECT_EQ(ENOENT, map_release(self->s.gntdev, -1));
	EXPECT_EQ(0, map_call(self->s.gntdev, &self->good));
	EXPECT_EQ(ENOENT, map_release(other, self->s.buf.fd));
	EXPECT_EQ(ENOENT, map_release(self->s.gntdev, self->s.gntdev));
	EXPECT_EQ(-1, ioctl(self->s.gntdev, IOCTL_GNTDEV_DMABUF_MAP_RELEASE, &arg));
	EXPECT_EQ(EINVAL, errno);
	arg.reserved = 0x80000000;
	EXPECT_EQ(-1, ioctl(self->s.gntdev, IOCTL_GNTDEV_DMABUF_MAP_RELEASE, &arg));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, map_release(self->s.gntdev, self->s.buf.fd));
	EXPECT_EQ(ENOENT, map_release(self->s.gntdev, self->s.buf.fd));
	close(other);
}

/* The number of devices attached to a buffer, from its paragraph in debugfs, or -errno. */
static int attachments(int buf)
{
	FILE *file = fopen("/sys/kernel/debug/dma_buf/bufinfo", "re");
	char line[256], ino[32];
	int found = -ENOENT;
	bool ours = false;
	struct stat st;

	if (!file || fstat(buf, &st)) {
		if (file)
			fclose(file);
		return -EIO;
	}
	snprintf(ino, sizeof(ino), "\t%08lu\t", (unsigned long)st.st_ino);
	while (fgets(line, sizeof(line), file)) {
		ours |= !!strstr(line, ino);
		if (ours && sscanf(line, "Total %d devices attached", &found) == 1)
			break;
	}
	fclose(file);
	return found;
}

/* Buffers of exporters that do not consent are left untouched. */
TEST_F_TIMEOUT(args, udmabuf, SECONDS)
{
	int memfd, buf = udmabuf_new(SMALL * PAGE, &memfd);
	struct map_args args = self->good;
	char *view, *file;

	ASSERT_LE(0, buf)
		TH_LOG("no udmabuf: is CONFIG_UDMABUF on?");
	view = mmap(NULL, SMALL * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	ASSERT_NE(MAP_FAILED, (void *)view);
	pattern_fill(view, 0, SMALL, 5);
	munmap(view, SMALL * PAGE);
	args.fd = buf;
	EXPECT_EQ(EOPNOTSUPP, map_call(self->s.gntdev, &args));
	args.count = 1;
	EXPECT_EQ(EOPNOTSUPP, map_call(self->s.gntdev, &args));
	EXPECT_EQ(ENOENT, map_release(self->s.gntdev, buf));
	EXPECT_EQ(ENOENT, map_wait(self->s.gntdev, buf, 0));
	EXPECT_EQ(0, attachments(buf));
	view = mmap(NULL, SMALL * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	file = mmap(NULL, SMALL * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	ASSERT_NE(MAP_FAILED, (void *)view);
	ASSERT_NE(MAP_FAILED, (void *)file);
	EXPECT_EQ(0, pattern_wrong(view, 0, SMALL, 5));
	EXPECT_EQ(0, pattern_wrong(file, 0, SMALL, 5));
	munmap(view, SMALL * PAGE);
	munmap(file, SMALL * PAGE);
	close(buf);
	close(memfd);
	EXPECT_UNTOUCHED();
}

TEST_F_TIMEOUT(args, export_of_gntdev, SECONDS)
{
	const __u32 *refs = take_refs(1);
	int fd;

	ASSERT_NE(NULL, refs);
	ASSERT_EQ(0, export(self->s.gntdev, self->s.domid, refs, 1, &fd));
	EXPECT_EQ(EOPNOTSUPP, map_refs(self->s.gntdev, fd, self->s.domid, self->s.refs, 1));
	EXPECT_EQ(ENOENT, map_release(self->s.gntdev, fd));
	EXPECT_EQ(ENOENT, map_wait(self->s.gntdev, fd, 0));
	EXPECT_EQ(0, attachments(fd));
	close(fd);
	EXPECT_UNTOUCHED();
}

/*
 * Tests of waiting.
 */
FIXTURE(wait)
{
	struct setting s;
	int fd;
};

FIXTURE_SETUP(wait)
{
	make(_metadata, &self->s, VGEM, SMALL);
	self->fd = self->s.buf.fd;
	ASSERT_EQ(0, map_all(&self->s));
}

FIXTURE_TEARDOWN(wait)
{
	end(_metadata, &self->s);
}

TEST_F_TIMEOUT(wait, errors, SECONDS)
{
	struct setting *s = &self->s;
	int other = gntdev_open();

	EXPECT_EQ(EBUSY, map_wait(s->gntdev, self->fd, 0));
	EXPECT_EQ(EBUSY, map_wait(s->gntdev, self->fd, FOREVER));
	EXPECT_EQ(ENOENT, map_wait(s->gntdev, -1, 0));
	EXPECT_EQ(ENOENT, map_wait(s->gntdev, s->gntdev, FOREVER));
	EXPECT_EQ(ENOENT, map_wait(other, self->fd, 0));
	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	EXPECT_EQ(ENOENT, map_wait(other, self->fd, 0));
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, self->fd, 0));
	close(other);
}

TEST_F_TIMEOUT(wait, times_out, SECONDS)
{
	struct setting *s = &self->s;
	const unsigned int ms[] = { 1, 50, 400 };
	unsigned int i;
	double start;

	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	for (i = 0; i < 3; i++) {
		start = now();
		EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, self->fd, ms[i]));
		/* The kernel counts in ticks, so the wait may be up to a tick shorter. */
		EXPECT_LE(ms[i], (unsigned int)((now() - start) * 1000) + 11);
		EXPECT_GT(ms[i] + 5000, (unsigned int)((now() - start) * 1000));
	}
	/* With 0 the ioctl does not wait. */
	start = now();
	for (i = 0; i < 100; i++)
		EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, self->fd, 0));
	EXPECT_GT(2.0, now() - start);
}

TEST_F_TIMEOUT(wait, after_the_end, SECONDS)
{
	struct setting *s = &self->s;

	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	buf_free(&s->buf);
	usleep(100000);
	EXPECT_EQ(0, map_wait(s->gntdev, self->fd, 0));
	/* The kernel forgets a mapping whose end was reported. */
	EXPECT_EQ(ENOENT, map_wait(s->gntdev, self->fd, 0));
	EXPECT_EQ(ENOENT, map_release(s->gntdev, self->fd));
}

struct waiter {
	pthread_t thread;
	int gntdev;
	int fd;
	unsigned int ms;
	int ret;
	double end;
};

static void *waiter_thread(void *data)
{
	struct waiter *w = data;

	w->ret = map_wait(w->gntdev, w->fd, w->ms);
	w->end = now();
	return NULL;
}

TEST_F_TIMEOUT(wait, many_waiters, SECONDS)
{
	struct setting *s = &self->s;
	struct waiter w[8];
	double start;
	int i;

	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	for (i = 0; i < 8; i++) {
		w[i] = (struct waiter) {
			.gntdev = s->gntdev, .fd = self->fd, .ms = i & 1 ? FOREVER : 60000,
		};
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, waiter_thread, &w[i]));
	}
	sleep(1);
	start = now();
	buf_free(&s->buf);
	for (i = 0; i < 8; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_EQ(0, w[i].ret);
		EXPECT_GT(SOON / 1000, w[i].end - start);
		/* No waiter returned before the buffer was freed. */
		EXPECT_LE(start, w[i].end);
	}
}

static void nothing(int sig)
{
	(void)sig;
}

/* Sends signals to this process periodically: one of them arrives while it waits. */
static pid_t begin_signals(void)
{
	struct sigaction action = { .sa_handler = nothing };
	pid_t child;

	sigaction(SIGUSR1, &action, NULL);
	child = fork();
	while (!child) {
		usleep(300000);
		kill(getppid(), SIGUSR1);
	}
	return child;
}

static void end_signals(pid_t child)
{
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

TEST_F_TIMEOUT(wait, interrupted, SECONDS)
{
	struct setting *s = &self->s;
	const unsigned int ms[] = { FOREVER, 60000 };
	double start;
	pid_t child;
	int i;

	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	for (i = 0; i < 2; i++) {
		child = begin_signals();
		start = now();
		EXPECT_EQ(EINTR, map_wait(s->gntdev, self->fd, ms[i]));
		EXPECT_GT(SOON / 1000, now() - start);
		end_signals(child);
		/* An interrupted wait does not undo the mapping. */
		EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, self->fd, 0));
	}
	buf_free(&s->buf);
	EXPECT_EQ(0, map_wait(s->gntdev, self->fd, SOON));
}

TEST_F_TIMEOUT(wait, killed_waiter, SECONDS)
{
	struct setting *s = &self->s;
	double start;
	pid_t child;

	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	child = fork();
	if (!child)
		_exit(map_wait(s->gntdev, self->fd, FOREVER) ? 1 : 0);
	usleep(200000);
	start = now();
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, NULL, 0));
	EXPECT_GT(SOON / 1000, now() - start);
	buf_free(&s->buf);
	EXPECT_EQ(0, map_wait(s->gntdev, self->fd, SOON));
}

/* WAIT_RELEASED waits for all buffers that were released under a number. */
TEST_F_TIMEOUT(wait, reused_number, SECONDS)
{
	struct setting *s = &self->s;
	int kept = dup(self->fd), again;
	struct buf second;

	/* vgem's device and handle also keep the first buffer. */
	ASSERT_EQ(0, buf_new(&second, HEAP, SMALL));
	again = dup2(second.fd, self->fd);
	ASSERT_EQ(self->fd, again);
	close_once(&second.fd);
	EXPECT_EQ(EBUSY, map_refs(s->gntdev, again, s->domid, s->refs, SMALL))
		TH_LOG("the first is not released");
	EXPECT_EQ(0, map_release(s->gntdev, again));
	EXPECT_EQ(ENOENT, map_release(s->gntdev, again));
	EXPECT_EQ(0, map_refs(s->gntdev, again, s->domid, s->refs, SMALL));
	/* One mapping is live. */
	EXPECT_EQ(EBUSY, map_wait(s->gntdev, again, 0));
	EXPECT_EQ(0, map_release(s->gntdev, again));
	EXPECT_EQ(ENOENT, map_release(s->gntdev, again));
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, again, 0));
	/* The second buffer is freed, the first is not. */
	close(again);
	s->buf.fd = -1;
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, again, 500));
	close(kept);
	buf_free(&s->buf);
	EXPECT_EQ(0, map_wait(s->gntdev, again, SOON));
}

static bool is_signaled(int fd, int ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, ms) == 1;
}

static long count_of(int fd)
{
	__u64 value = 0;

	return read(fd, &value, sizeof(value)) == sizeof(value) ? (long)value : -errno;
}

TEST_F_TIMEOUT(wait, eventfd_errors, SECONDS)
{
	struct setting *s = &self->s;
	struct ioctl_gntdev_dmabuf_map_eventfd arg = { .fd = self->fd };
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), null = open("/dev/null", O_RDWR);

	ASSERT_LE(0, event);
	EXPECT_EQ(ENOENT, map_eventfd(s->gntdev, s->gntdev, event));
	EXPECT_EQ(EINVAL, map_eventfd(s->gntdev, self->fd, null));
	EXPECT_EQ(EINVAL, map_eventfd(s->gntdev, self->fd, self->fd));
	close(null);
	EXPECT_EQ(EBADF, map_eventfd(s->gntdev, self->fd, null));
	EXPECT_EQ(EBADF, map_eventfd(s->gntdev, self->fd, -1));
	arg.eventfd = event;
	arg.flags = 1;
	EXPECT_EQ(-1, ioctl(s->gntdev, IOCTL_GNTDEV_DMABUF_MAP_EVENTFD, &arg));
	EXPECT_EQ(EINVAL, errno);
	arg.flags = 0;
	arg.reserved = 1;
	EXPECT_EQ(-1, ioctl(s->gntdev, IOCTL_GNTDEV_DMABUF_MAP_EVENTFD, &arg));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_FALSE(is_signaled(event, 0));
	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	buf_free(&s->buf);
	EXPECT_EQ(0, map_wait(s->gntdev, self->fd, SOON));
	EXPECT_FALSE(is_signaled(event, 100))
		TH_LOG("signaled, though it was refused");
	close(event);
}

TEST_F_TIMEOUT(wait, eventfd_of_a_live_map, SECONDS)
{
	struct setting *s = &self->s;
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	ASSERT_LE(0, event);
	ASSERT_EQ(0, map_eventfd(s->gntdev, self->fd, event));
	EXPECT_FALSE(is_signaled(event, 100));
	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	EXPECT_FALSE(is_signaled(event, 300));
	buf_free(&s->buf);
	EXPECT_TRUE(is_signaled(event, SOON));
	EXPECT_EQ(1, count_of(event));
	/* It is signaled only once. */
	EXPECT_FALSE(is_signaled(event, 200));
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, SMALL, 1));
	close(event);
}

TEST_F_TIMEOUT(wait, eventfd_of_a_released_map, SECONDS)
{
	struct setting *s = &self->s;
	int event[2] = {
		eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	int i;

	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, map_eventfd(s->gntdev, self->fd, event[i]));
	EXPECT_FALSE(is_signaled(event[0], 200));
	buf_free(&s->buf);
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(is_signaled(event[i], SOON));
		EXPECT_EQ(1, count_of(event[i]));
		close(event[i]);
	}
}

TEST_F_TIMEOUT(wait, eventfd_after_the_end, SECONDS)
{
	struct setting *s = &self->s;
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	double limit = now() + SOON / 1000;

	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	buf_free(&s->buf);
	/* Registering an eventfd does not report the end. */
	do {
		ASSERT_EQ(0, map_eventfd(s->gntdev, self->fd, event));
	} while (!is_signaled(event, 200) && now() < limit);
	EXPECT_LE(1, count_of(event));
	EXPECT_EQ(0, map_wait(s->gntdev, self->fd, 0));
	EXPECT_EQ(ENOENT, map_eventfd(s->gntdev, self->fd, event));
	close(event);
}

/* A mapping takes at most 16 eventfds, because each costs kernel memory. */
TEST_F_TIMEOUT(wait, eventfd_limit, SECONDS)
{
	struct setting *s = &self->s;
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), i;
	long count;

	for (i = 0; i < 16; i++)
		EXPECT_EQ(0, map_eventfd(s->gntdev, self->fd, event));
	EXPECT_EQ(ENOSPC, map_eventfd(s->gntdev, self->fd, event));
	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	buf_free(&s->buf);
	EXPECT_EQ(0, map_wait(s->gntdev, self->fd, SOON));
	/* The signals may arrive one after the other. */
	for (count = 0; count < 16 && is_signaled(event, SOON); )
		count += count_of(event);
	EXPECT_EQ(16, count);
	EXPECT_FALSE(is_signaled(event, 100));
	close(event);
}

/* The eventfd may be closed before it is signaled. */
TEST_F_TIMEOUT(wait, eventfd_closed_before_the_end, SECONDS)
{
	struct setting *s = &self->s;
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	ASSERT_EQ(0, map_eventfd(s->gntdev, self->fd, event));
	close(event);
	EXPECT_EQ(0, map_release(s->gntdev, self->fd));
	buf_free(&s->buf);
	EXPECT_EQ(0, map_wait(s->gntdev, self->fd, SOON));
}

TEST_F_TIMEOUT(wait, eventfd_outlives_gntdev, SECONDS)
{
	struct setting *s = &self->s;
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	ASSERT_EQ(0, map_eventfd(s->gntdev, self->fd, event));
	close_once(&s->gntdev);
	EXPECT_FALSE(is_signaled(event, 200));
	buf_free(&s->buf);
	EXPECT_TRUE(is_signaled(event, SOON));
	EXPECT_EQ(1, count_of(event));
	close(event);
}

/*
 * Buffers that a second driver imports before the mapping and keeps, as with gbm.
 */
FIXTURE(beside)
{
	struct setting s;
	int card;		/* the importer's device */
	__u32 handle;
};

FIXTURE_VARIANT(beside)
{
	enum exporter exporter;
	enum exporter importer;
	unsigned int pages;
};

FIXTURE_VARIANT_ADD(beside, heap_vgem) { .exporter = HEAP, .importer = VGEM, .pages = SMALL };
FIXTURE_VARIANT_ADD(beside, cma_vgem) { .exporter = CMA, .importer = VGEM, .pages = SMALL };
#ifdef WITH_CARD
FIXTURE_VARIANT_ADD(beside, card_vgem) { .exporter = CARD, .importer = VGEM, .pages = SMALL };
/*
 * The display imports only contiguous buffers, so these have one page: the frames of several pages
 * that were granted are not contiguous. The first domain on Arm would give the display a copy, and
 * write it back when a heap's buffer is unmapped: see xen-gntdev-dmabuf.rst in driver-api.
 */
FIXTURE_VARIANT_ADD(beside, vgem_card) { .exporter = VGEM, .importer = CARD, .pages = 1 };
FIXTURE_VARIANT_ADD(beside, heap_card) { .exporter = HEAP, .importer = CARD, .pages = 1 };
FIXTURE_VARIANT_ADD(beside, cma_card) { .exporter = CMA, .importer = CARD, .pages = 1 };
#endif

/* Imports the buffer and returns the importer's handle. */
static int import_buf(struct buf *b, int card, __u32 *handle)
{
	struct drm_prime_handle prime = { .fd = b->fd };
	int ret = ioctl(card, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime) ? errno : 0;

	*handle = prime.handle;
	return ret;
}

FIXTURE_SETUP(beside)
{
	make(_metadata, &self->s, variant->exporter, variant->pages);
	ASSERT_EQ(0, buf_fill(&self->s.buf, 5));
	self->card = drm_open(variant->importer == VGEM ? "vgem" : card_name());
	ASSERT_LE(0, self->card);
	ASSERT_EQ(0, import_buf(&self->s.buf, self->card, &self->handle));
	ASSERT_EQ(1, attachments(self->s.buf.fd));
}

FIXTURE_TEARDOWN(beside)
{
	close(self->card);
	end(_metadata, &self->s);
}

/* Maps the object @handle of the DRM device @card through the device file. */
static void *device_view(int card, __u32 handle, unsigned int pages)
{
	struct drm_mode_map_dumb arg = { .handle = handle };
	void *view;

	if (ioctl(card, DRM_IOCTL_MODE_MAP_DUMB, &arg))
		return NULL;
	view = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, card, arg.offset);
	return view == MAP_FAILED ? NULL : view;
}

/* Maps an import. Most importers do not map it themselves: map the dma-buf then. */
static void *import_view(int card, __u32 handle, unsigned int pages)
{
	struct drm_prime_handle prime = { .handle = handle, .flags = O_RDWR | O_CLOEXEC };
	void *view = device_view(card, handle, pages);

	if (view)
		return view;
	if (ioctl(card, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime))
		return NULL;
	view = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, prime.fd, 0);
	close(prime.fd);
	return view == MAP_FAILED ? NULL : view;
}

static int import_wrong(int card, __u32 handle, unsigned int pages, __u32 seed)
{
	void *view = import_view(card, handle, pages);
	int wrong;

	if (!view)
		return -errno;
	wrong = seed == ZERO ? not_zero(view, 0, pages) : pattern_wrong(view, 0, pages, seed);
	munmap(view, pages * PAGE);
	return wrong;
}

/* Heaps do cache maintenance for importers without a lock, so no importer may have mapped. */
static bool importer_in_the_way(enum exporter exporter)
{
	return exporter == HEAP || exporter == CMA;
}

TEST_F_TIMEOUT(beside, seven_steps, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int pages = variant->pages;
	int fd = s->buf.fd, ret = map_all(s);

	/* vgem of later kernels does not map the attachment of an import. */
	if (importer_in_the_way(variant->exporter) && (variant->importer != VGEM || ret)) {
		ASSERT_EQ(EBUSY, ret);
		EXPECT_EQ(1, attachments(fd));
		EXPECT_EQ(0, buf_wrong(&s->buf, 0, pages, 5));
		EXPECT_EQ(0, import_wrong(self->card, self->handle, pages, 5));
		ASSERT_EQ(0, gem_close(self->card, self->handle));
		ASSERT_EQ(0, map_all(s));
		/* After the exchange any driver may import the buffer. */
		ASSERT_EQ(0, import_buf(&s->buf, self->card, &self->handle));
	} else {
		ASSERT_EQ(0, ret);
	}
	EXPECT_EQ(2, attachments(fd));
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, pages, 1));
	EXPECT_EQ(0, import_wrong(self->card, self->handle, pages, 1));
	EXPECT_EQ(0, not_coherent(s, pages));
	EXPECT_EQ(0, import_wrong(self->card, self->handle, pages, 0x2002));
	EXPECT_EQ(0, map_release(s->gntdev, fd));
	buf_free(&s->buf);
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, fd, 300))
		TH_LOG("an import keeps the buffer, and so the pages");
	pattern_fill(s->witness.view, 0, pages, 6);
	EXPECT_EQ(0, import_wrong(self->card, self->handle, pages, 6));
	ASSERT_EQ(0, gem_close(self->card, self->handle));
	EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, pages, 6));
}

/* A map of the import is a map of the buffer. */
TEST_F_TIMEOUT(beside, busy_with_a_map_of_the_import, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int pages = variant->pages;
	void *view = import_view(self->card, self->handle, pages);

	ASSERT_NE(NULL, view);
	EXPECT_EQ(EBUSY, map_all(s));
	EXPECT_EQ(0, pattern_wrong(view, 0, pages, 5));
	EXPECT_EQ(EBUSY, map_all(s));
	munmap(view, pages * PAGE);
	if (importer_in_the_way(variant->exporter))
		gem_close(self->card, self->handle);
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, pages));
}

/* The exporter and one importer consent, another importer does not. */
TEST_F_TIMEOUT(beside, busy_with_one_that_does_not_consent, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int pages = variant->pages;
	__u32 refs[SMALL];

	ASSERT_EQ(0, import(s->gntdev, s->buf.fd, s->domid, refs, pages));
	EXPECT_EQ(EBUSY, map_all(s));
	EXPECT_EQ(2, attachments(s->buf.fd));
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, pages, 5));
	EXPECT_EQ(0, import_wrong(self->card, self->handle, pages, 5));
	ASSERT_EQ(0, import_release(s->gntdev, s->buf.fd));
	if (importer_in_the_way(variant->exporter))
		gem_close(self->card, self->handle);
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, pages));
}

TEST_F_TIMEOUT(beside, bad_reference, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int pages = variant->pages;
	__u32 refs[SMALL];
	bool refused;
	int ret;

	memcpy(refs, s->refs, pages * sizeof(*refs));
	refs[pages - 1] = 0x7ffffff0;
	ret = map_refs(s->gntdev, s->buf.fd, s->domid, refs, pages);
	refused = importer_in_the_way(variant->exporter) &&
		  (variant->importer != VGEM || ret == EBUSY);
	EXPECT_EQ(refused ? EBUSY : EINVAL, ret);
	EXPECT_EQ(1, attachments(s->buf.fd));
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, pages, refused ? 5 : ZERO));
	EXPECT_EQ(0, import_wrong(self->card, self->handle, pages, refused ? 5 : ZERO));
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, pages, 1));
	EXPECT_EQ(0, buf_fill(&s->buf, 6));
	EXPECT_EQ(0, import_wrong(self->card, self->handle, pages, 6));
	if (refused)
		gem_close(self->card, self->handle);
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, pages));
}

/* A fence of the importer's device is pending. */
TEST_F_TIMEOUT(beside, busy_with_a_fence_of_the_importer, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int pages = variant->pages;
	int vgem = self->card, write;
	__u32 handle = self->handle, fence;

	/* The test can signal fences of vgem. If vgem is not the importer, import it there, too. */
	if (variant->importer != VGEM) {
		vgem = drm_open("vgem");
		ASSERT_LE(0, vgem);
		ASSERT_EQ(0, import_buf(&s->buf, vgem, &handle));
	}
	for (write = 0; write < 2; write++) {
		ASSERT_EQ(0, vgem_attach(vgem, handle, write, &fence));
		EXPECT_EQ(EBUSY, map_all(s));
		ASSERT_EQ(0, vgem_signal(vgem, fence));
	}
	/* buf_wrong() waits for the fences. */
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, pages, 5));
	if (importer_in_the_way(variant->exporter)) {
		gem_close(vgem, handle);
		gem_close(self->card, self->handle);
	}
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, pages));
	if (vgem != self->card)
		close(vgem);
}

/*
 * Maps of the memory through the file of its DRM driver.
 */
FIXTURE(dumb)
{
	struct setting s;
};

FIXTURE_VARIANT(dumb)
{
	enum exporter exporter;
};

FIXTURE_VARIANT_ADD(dumb, vgem) { .exporter = VGEM };
#ifdef WITH_CARD
FIXTURE_VARIANT_ADD(dumb, card) { .exporter = CARD };
#endif

FIXTURE_SETUP(dumb)
{
	make(_metadata, &self->s, variant->exporter, SMALL);
	ASSERT_EQ(0, buf_fill(&self->s.buf, 5));
}

FIXTURE_TEARDOWN(dumb)
{
	end(_metadata, &self->s);
}

static void *dumb_view(struct buf *b)
{
	return device_view(b->card, b->handle, b->pages);
}

/* A map through the DRM device's file, not through the dma-buf, also keeps it busy. */
TEST_F_TIMEOUT(dumb, map_before, SECONDS)
{
	struct setting *s = &self->s;
	void *view = dumb_view(&s->buf);

	ASSERT_NE(NULL, view);
	EXPECT_EQ(EBUSY, map_all(s))
		TH_LOG("it was not touched yet");
	pattern_fill(view, 0, SMALL, 6);
	EXPECT_EQ(EBUSY, map_all(s));
	EXPECT_EQ(0, pattern_wrong(view, 0, SMALL, 6));
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, SMALL, 6));
	munmap(view, SMALL * PAGE);
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, SMALL));
}

TEST_F_TIMEOUT(dumb, parts_of_a_map_before, SECONDS)
{
	busy_with_parts(_metadata, &self->s, dumb_view(&self->s.buf));
}

/* Maps of other buffers of the same device do not count. */
TEST_F_TIMEOUT(dumb, other_buffers_are_mapped, SECONDS)
{
	struct setting *s = &self->s;
	int fd = s->buf.fd;
	void *view, *behind;
	struct buf other;

	ASSERT_EQ(0, buf_new(&other, variant->exporter, SMALL));
	behind = dumb_view(&other);
	ASSERT_NE(NULL, behind);
	view = buf_view(&other);
	ASSERT_NE(NULL, view);
	pattern_fill(behind, 0, SMALL, 5);
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, SMALL));
	EXPECT_EQ(0, pattern_wrong(view, 0, SMALL, 5));
	EXPECT_EQ(0, map_release(s->gntdev, fd));
	buf_free(&s->buf);
	EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
	EXPECT_EQ(0, pattern_wrong(behind, 0, SMALL, 5));
	munmap(behind, SMALL * PAGE);
	buf_unview(&other, view);
	buf_free(&other);
}

/* A map outlives the dma-buf. The pages stay foreign while any process has it. */
TEST_F_TIMEOUT(dumb, map_after, SECONDS)
{
	struct setting *s = &self->s;
	int fd = s->buf.fd;
	char *view;
	pid_t pid;

	ASSERT_EQ(0, map_all(s));
	view = dumb_view(&s->buf);
	ASSERT_NE(NULL, view);
	EXPECT_EQ(0, pattern_wrong(view, 0, SMALL, 1));
	EXPECT_EQ(0, map_release(s->gntdev, fd));
	buf_free(&s->buf);
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, fd, 300));
	pattern_fill(view, 0, SMALL, 6);
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, SMALL, 6));
	pid = fork_idle();
	ASSERT_LT(0, pid);
	munmap(view, SMALL * PAGE - PAGE);
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, fd, 1500));
	EXPECT_EQ(0, memcmp(view + SMALL * PAGE - PAGE,
			    (char *)s->witness.view + SMALL * PAGE - PAGE, PAGE));
	munmap(view + SMALL * PAGE - PAGE, PAGE);
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, fd, 1500))
		TH_LOG("the child still has it");
	kill_child(pid);
	EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, SMALL, 6));
}

#ifdef WITH_CARD
/*
 * A framebuffer may be scanned out at any time, and no fence shows it.
 */
FIXTURE(shown)
{
	struct setting s;
};

FIXTURE_SETUP(shown)
{
	make(_metadata, &self->s, CARD, SMALL);
	ASSERT_EQ(0, buf_fill(&self->s.buf, 5));
}

FIXTURE_TEARDOWN(shown)
{
	end(_metadata, &self->s);
}

/* Returns the ID of a new framebuffer, or 0. */
static __u32 framebuffer_new(int card, __u32 handle, unsigned int pages)
{
	struct drm_mode_fb_cmd arg = {
		.width = PAGE / 4, .height = pages, .pitch = PAGE, .bpp = 32, .depth = 24,
		.handle = handle,
	};

	return ioctl(card, DRM_IOCTL_MODE_ADDFB, &arg) ? 0 : arg.fb_id;
}

static int framebuffer_remove(int card, __u32 framebuffer)
{
	return ioctl(card, DRM_IOCTL_MODE_RMFB, &framebuffer) ? errno : 0;
}

TEST_F_TIMEOUT(shown, before, SECONDS)
{
	struct setting *s = &self->s;
	__u32 framebuffer[2];
	int i;

	for (i = 0; i < 2; i++) {
		framebuffer[i] = framebuffer_new(s->buf.card, s->buf.handle, SMALL);
		ASSERT_NE(0, framebuffer[i]);
		EXPECT_EQ(EBUSY, map_all(s));
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(EBUSY, map_all(s));
		EXPECT_EQ(0, framebuffer_remove(s->buf.card, framebuffer[i]));
	}
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, SMALL, 5));
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, SMALL));
}

/* A framebuffer keeps the memory, but not the dma-buf. */
TEST_F_TIMEOUT(shown, after, SECONDS)
{
	struct setting *s = &self->s;
	int fd = s->buf.fd, card = dup(s->buf.card);
	__u32 framebuffer;

	ASSERT_LE(0, card);
	ASSERT_EQ(0, map_all(s));
	framebuffer = framebuffer_new(card, s->buf.handle, SMALL);
	ASSERT_NE(0, framebuffer);
	EXPECT_EQ(0, map_release(s->gntdev, fd));
	buf_free(&s->buf);
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, fd, 1500));
	EXPECT_EQ(0, framebuffer_remove(card, framebuffer));
	EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, SMALL, 1));
	close(card);
}

/* The same for buffers that the display has imported. */
FIXTURE(shown_import)
{
	struct setting s;
	int card;
	__u32 handle;
};

FIXTURE_VARIANT(shown_import)
{
	enum exporter exporter;
	unsigned int pages;
};

FIXTURE_VARIANT_ADD(shown_import, vgem) { .exporter = VGEM, .pages = 1 };
FIXTURE_VARIANT_ADD(shown_import, cma) { .exporter = CMA, .pages = 1 };

FIXTURE_SETUP(shown_import)
{
	make(_metadata, &self->s, variant->exporter, variant->pages);
	ASSERT_EQ(0, buf_fill(&self->s.buf, 5));
	self->card = drm_open(card_name());
	ASSERT_LE(0, self->card);
	ASSERT_EQ(0, import_buf(&self->s.buf, self->card, &self->handle));
}

FIXTURE_TEARDOWN(shown_import)
{
	close(self->card);
	end(_metadata, &self->s);
}

/* After the first framebuffer of an import its driver does not consent any more. */
TEST_F_TIMEOUT(shown_import, before, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int pages = variant->pages;
	__u32 framebuffer;

	framebuffer = framebuffer_new(self->card, self->handle, pages);
	ASSERT_NE(0, framebuffer);
	EXPECT_EQ(EBUSY, map_all(s));
	EXPECT_EQ(0, framebuffer_remove(self->card, framebuffer));
	EXPECT_EQ(EBUSY, map_all(s));
	EXPECT_EQ(0, buf_wrong(&s->buf, 0, pages, 5));
	ASSERT_EQ(0, gem_close(self->card, self->handle));
	ASSERT_EQ(0, map_all(s));
	EXPECT_EQ(0, not_coherent(s, pages));
}

/* A framebuffer of an import keeps the buffer. */
TEST_F_TIMEOUT(shown_import, after, SECONDS)
{
	struct setting *s = &self->s;
	unsigned int pages = variant->pages;
	__u32 framebuffer;
	int fd = s->buf.fd;

	if (importer_in_the_way(variant->exporter))
		gem_close(self->card, self->handle);
	ASSERT_EQ(0, map_all(s));
	if (importer_in_the_way(variant->exporter))
		ASSERT_EQ(0, import_buf(&s->buf, self->card, &self->handle));
	framebuffer = framebuffer_new(self->card, self->handle, pages);
	ASSERT_NE(0, framebuffer);
	EXPECT_EQ(0, gem_close(self->card, self->handle));
	EXPECT_EQ(0, map_release(s->gntdev, fd));
	buf_free(&s->buf);
	EXPECT_EQ(ETIMEDOUT, map_wait(s->gntdev, fd, 1500));
	EXPECT_EQ(0, framebuffer_remove(self->card, framebuffer));
	EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, pages, 1));
}
#endif

/*
 * Threads and leaks.
 */
FIXTURE(many)
{
	struct setting s;
};

FIXTURE_SETUP(many)
{
	make(_metadata, &self->s, VGEM, SMALL);
}

FIXTURE_TEARDOWN(many)
{
	end(_metadata, &self->s);
}

#define THREADS 4

/* The exporters in turn. */
static enum exporter kind(unsigned int turn)
{
#ifdef WITH_CARD
	const enum exporter kinds[] = { VGEM, HEAP, CMA, CARD };
#else
	const enum exporter kinds[] = { VGEM, HEAP, CMA };
#endif

	return kinds[turn % (sizeof(kinds) / sizeof(*kinds))];
}

struct worker {
	pthread_t thread;
	int gntdev;
	int domid;
	int number;		/* the buffer's fd, which no other thread uses */
	enum exporter exporter;
	const __u32 *refs;
	double end;
	unsigned int done;
	int failed;
};

static void *worker_thread(void *data)
{
	struct worker *w = data;

	while (!w->failed && now() < w->end) {
		struct buf b;
		int fd;

		w->failed = buf_new(&b, w->exporter, SMALL / THREADS);
		fd = dup2(b.fd, w->number);
		close_once(&b.fd);
		if (!w->failed)
			w->failed = map_refs(w->gntdev, fd, w->domid, w->refs, SMALL / THREADS);
		if (!w->failed)
			w->failed = map_release(w->gntdev, fd);
		close(fd);
		buf_free(&b);
		if (!w->failed)
			w->failed = map_wait(w->gntdev, fd, SOON);
		w->done++;
	}
	return NULL;
}

/* Threads use one gntdev, each with its own buffers. */
TEST_F_TIMEOUT(many, threads_on_one_gntdev, SECONDS)
{
	struct worker w[THREADS] = {};
	struct setting *s = &self->s;
	int i;

	for (i = 0; i < THREADS; i++) {
		w[i] = (struct worker) {
			.gntdev = s->gntdev, .domid = s->domid, .number = 500 + i, .end = now() + 5,
			.exporter = kind(i),
			.refs = s->refs + i * SMALL / THREADS,
		};
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, worker_thread, &w[i]));
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_EQ(0, w[i].failed);
		EXPECT_LT(3, w[i].done);
	}
	TH_LOG("%u, %u, %u, %u maps", w[0].done, w[1].done, w[2].done, w[3].done);
}

/* Threads use the same number: whatever each call returns, nothing is left in the end. */
static void *rival_thread(void *data)
{
	struct worker *w = data;

	while (now() < w->end) {
		map_refs(w->gntdev, w->number, w->domid, w->refs, SMALL);
		map_release(w->gntdev, w->number);
		map_wait(w->gntdev, w->number, 1);
		w->done++;
	}
	return NULL;
}

TEST_F_TIMEOUT(many, threads_on_one_number, SECONDS)
{
	struct worker w[THREADS] = {};
	struct setting *s = &self->s;
	int i, fd = s->buf.fd;

	EXPECT_EQ(0, map_all(s));
	for (i = 0; i < THREADS; i++) {
		w[i] = (struct worker) {
			.gntdev = s->gntdev, .domid = s->domid, .number = fd, .end = now() + 4,
			.refs = s->refs,
		};
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, rival_thread, &w[i]));
	}
	for (i = 0; i < 20; i++) {
		struct buf b;

		/* Replace the buffer under the number while they run. */
		usleep(100000);
		ASSERT_EQ(0, buf_new(&b, i & 1 ? VGEM : HEAP, SMALL));
		ASSERT_EQ(fd, dup2(b.fd, fd));
		buf_free(&b);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_LT(3, w[i].done);
	}
	/* Each buffer that had the number may have one live mapping. */
	for (i = 0; i < 100 && !map_release(s->gntdev, fd); i++)
		;
	EXPECT_GT(30, i);
	close(fd);
	s->buf.fd = -1;
	buf_free(&s->buf);
	i = map_wait(s->gntdev, fd, SOON);
	EXPECT_TRUE(i == 0 || i == ENOENT)
		TH_LOG("%d", i);
}

struct memory {
	unsigned long total;
	unsigned long free;
};

static struct memory memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	struct memory m = {};
	char line[128];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "MemTotal: %lu kB", &m.total) == 1)
			continue;
		if (sscanf(line, "MemFree: %lu kB", &m.free) == 1)
			break;
	}
	if (file)
		fclose(file);
	return m;
}

/* Whether the kernel has KASAN, according to its symbols. */
static bool kasan(void)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	bool found = false;
	char line[512];

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, " kasan_quarantine_reduce\n") ||
			strstr(line, " __asan_load8\n");
	if (file)
		fclose(file);
	return found;
}

static int cycles(struct setting *s, unsigned int count)
{
	unsigned int i;
	int ret;

	for (i = 0; i < count; i++) {
		struct buf b;
		int fd;

		ret = buf_new(&b, kind(i), 4);
		fd = b.fd;
		if (!ret)
			ret = map_refs(s->gntdev, fd, s->domid, s->refs + i % 4 * 4, 4);
		if (!ret)
			ret = map_release(s->gntdev, fd);
		buf_free(&b);
		if (!ret)
			ret = map_wait(s->gntdev, fd, SOON);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * Compares the counts of the kernel and the hypervisor before and after. A cycle maps four pages.
 * The test notices a loss of one page in ten cycles, unless KASAN holds back a 32nd of the memory.
 * The hypervisor's count does not show it in a directly mapped domain, which keeps its frames.
 */
TEST_F_TIMEOUT(many, cycles_leave_nothing, 1800)
{
	struct setting *s = &self->s;
	const char *wanted = getenv("GNTDEV_DMABUF_CYCLES");
	unsigned int count = wanted ? atoi(wanted) : 10000;
	struct xen_usage before, after;
	unsigned long tolerated = 4096;
	struct memory m, n;
	double start;
	int fds;

	ASSERT_LT(0, count);
	ASSERT_EQ(0, cycles(s, 100));
	fds = count_fds();
	if (!s->usage)
		ASSERT_EQ(0, xen_usage(s->domid, &before));
	m = memory();
	if (kasan())
		tolerated += m.total / 32;
	start = now();
	ASSERT_EQ(0, cycles(s, count));
	TH_LOG("%u cycles in %.1f s", count, now() - start);
	/* Some memory is freed after a grace period or a delay of debugging options. */
	for (start = now(); ; usleep(100000)) {
		n = memory();
		if (m.free <= n.free + tolerated || now() - start > SOON / 1000)
			break;
	}
	EXPECT_EQ(fds, count_fds());
	EXPECT_EQ(m.total, n.total);
	TH_LOG("free memory: %lu kB before, %lu kB after", m.free, n.free);
	EXPECT_LE(m.free, n.free + tolerated);
	if (!s->usage) {
		ASSERT_EQ(0, xen_usage(s->domid, &after));
		TH_LOG("pages %ld and %ld, mapped grants %ld and %ld, maptrack frames %ld and %ld",
		       before.pages, after.pages, before.active, after.active, before.maptrack,
		       after.maptrack);
		EXPECT_EQ(before.pages, after.pages);
		EXPECT_EQ(before.active, after.active);
		/* Each CPU keeps its own frames of that table. 256 maps fill one frame. */
		EXPECT_GE(before.maptrack + sysconf(_SC_NPROCESSORS_ONLN), after.maptrack);
	}
	EXPECT_EQ(0, pattern_wrong(s->witness.view, 0, SMALL, 1));
}

/*
 * Tests of the older ioctls.
 */
FIXTURE(stock)
{
	int gntdev;
	int domid;
	struct setting s;	/* only the counts are used */
};

FIXTURE_SETUP(stock)
{
	self->domid = pool->domid;
	self->s.domid = pool->domid;
	self->s.usage = xen_usage(self->domid, &self->s.before);
	self->gntdev = gntdev_open();
	ASSERT_LE(0, self->gntdev);
}

FIXTURE_TEARDOWN(stock)
{
	close(self->gntdev);
	EXPECT_EQ(0, left(&self->s, &self->s.before));
}

TEST_F_TIMEOUT(stock, export_and_wait, SECONDS)
{
	const __u32 *refs = take_refs(SMALL);
	double start;
	int fd;

	ASSERT_NE(NULL, refs);
	EXPECT_EQ(EINVAL, export(self->gntdev, self->domid, refs, 0, &fd));
	ASSERT_EQ(0, export(self->gntdev, self->domid, refs, SMALL, &fd));
	EXPECT_EQ((off_t)(SMALL * PAGE), lseek(fd, 0, SEEK_END));
	EXPECT_EQ(ETIMEDOUT, export_wait(self->gntdev, fd, 0));
	start = now();
	EXPECT_EQ(ETIMEDOUT, export_wait(self->gntdev, fd, 100));
	EXPECT_LE(0.1, now() - start);
	EXPECT_EQ(ENOENT, export_wait(self->gntdev, self->gntdev, 100));
	close(fd);
	usleep(100000);
	EXPECT_EQ(ENOENT, export_wait(self->gntdev, fd, 100));
}

static void *export_waiter_thread(void *data)
{
	struct waiter *w = data;

	w->ret = export_wait(w->gntdev, w->fd, w->ms);
	w->end = now();
	return NULL;
}

/* Without the patch only one waiter is woken, and the others time out. */
TEST_F_TIMEOUT(stock, export_two_waiters, SECONDS)
{
	const __u32 *refs = take_refs(2);
	struct waiter w[3];
	int fd, i;

	ASSERT_NE(NULL, refs);
	ASSERT_EQ(0, export(self->gntdev, self->domid, refs, 2, &fd));
	for (i = 0; i < 3; i++) {
		w[i] = (struct waiter) { .gntdev = self->gntdev, .fd = fd, .ms = 5000 };
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, export_waiter_thread, &w[i]));
	}
	usleep(500000);
	close(fd);
	for (i = 0; i < 3; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_EQ(0, w[i].ret);
	}
}

/* A waiter never gets EINTR: it continues to wait after the signal handler. */
TEST_F_TIMEOUT(stock, export_waiter_with_signals, SECONDS)
{
	const __u32 *refs = take_refs(2);
	double start;
	pid_t child;
	int fd;

	ASSERT_NE(NULL, refs);
	ASSERT_EQ(0, export(self->gntdev, self->domid, refs, 2, &fd));
	child = begin_signals();
	start = now();
	EXPECT_EQ(ETIMEDOUT, export_wait(self->gntdev, fd, 2000));
	EXPECT_LE(2.0, now() - start);
	end_signals(child);
	close(fd);
}

TEST_F_TIMEOUT(stock, import, SECONDS)
{
	struct witness w = { .gntdev = -1 };
	__u32 refs[SMALL];
	struct buf b;

	ASSERT_EQ(0, buf_new(&b, VGEM, SMALL));
	ASSERT_EQ(0, buf_fill(&b, 9));
	EXPECT_EQ(EINVAL, import(self->gntdev, b.fd, self->domid, refs, SMALL - 1));
	EXPECT_EQ(EBADF, import(self->gntdev, -1, self->domid, refs, SMALL));
	EXPECT_EQ(ENOENT, import_release(self->gntdev, b.fd));
	ASSERT_EQ(0, import(self->gntdev, b.fd, self->domid, refs, SMALL));
	/* The pages are vgem's: do not map them where the granter would lose them. */
	if (!own_grant_loses_page()) {
		void *view = buf_view(&b);

		ASSERT_NE(NULL, view);
		ASSERT_EQ(0, witness_open(&w, self->domid, refs, SMALL));
		EXPECT_EQ(0, pattern_wrong(w.view, 0, SMALL, 9));
		pattern_fill(w.view, 0, SMALL, 10);
		EXPECT_EQ(0, pattern_wrong(view, 0, SMALL, 10));
		witness_close(&w);
		EXPECT_EQ(0, left(&self->s, &self->s.before));
		buf_unview(&b, view);
	}
	EXPECT_EQ(0, import_release(self->gntdev, b.fd));
	EXPECT_EQ(ENOENT, import_release(self->gntdev, b.fd));
	buf_free(&b);
}

struct mapper {
	pthread_t thread;
	int domid;
	int gntdev;
	const __u32 *refs;
	double end;
	unsigned int done;
};

static void *mapper_thread(void *data)
{
	struct mapper *m = data;

	while (now() < m->end) {
		struct ioctl_gntdev_map_grant_ref map = { .count = 1 };
		struct ioctl_gntdev_unmap_grant_ref unmap = { .count = 1 };
		void *view;

		map.refs[0].domid = m->domid;
		map.refs[0].ref = *m->refs;
		if (ioctl(m->gntdev, IOCTL_GNTDEV_MAP_GRANT_REF, &map))
			break;
		view = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, m->gntdev, map.index);
		if (view == MAP_FAILED)
			break;
		__atomic_store_n((__u32 *)view, m->done++, __ATOMIC_RELAXED);
		munmap(view, PAGE);
		unmap.index = map.index;
		ioctl(m->gntdev, IOCTL_GNTDEV_UNMAP_GRANT_REF, &unmap);
	}
	return NULL;
}

/* On stock gntdev lockdep reports the lock order after one call of each. */
TEST_F_TIMEOUT(stock, map_while_mapping, SECONDS)
{
	struct witness w;
	const __u32 *refs = take_refs(4);
	struct mapper m[4];
	int i;

	ASSERT_NE(NULL, refs);
	/* A second map of each page, which keeps the content where the granter loses pages. */
	ASSERT_EQ(0, witness_open(&w, self->domid, refs, 4));
	for (i = 0; i < 4; i++) {
		m[i] = (struct mapper) {
			.domid = self->domid, .gntdev = self->gntdev, .refs = refs + i,
			.end = now() + 3,
		};
		ASSERT_EQ(0, pthread_create(&m[i].thread, NULL, mapper_thread, &m[i]));
	}
	for (i = 0; i < 4; i++) {
		pthread_join(m[i].thread, NULL);
		EXPECT_LE(m[i].end, now());
		EXPECT_LT(3, m[i].done);
		EXPECT_EQ(m[i].done - 1, *(__u32 *)((char *)w.view + i * PAGE));
	}
	witness_close(&w);
}

TEST_HARNESS_MAIN
