// SPDX-License-Identifier: GPL-2.0-only
/*
 * A buffer of this domain with the pages of another domain: tests of gntdev_dmabuf with two
 * domains, and tests that need two. This is the first domain. Three others have to run
 * gntdev_dmabuf_peer (serve, victim, silent), with any domids below 16. They need no toolstack:
 * Xen can make them from the device tree.
 */

#include <pthread.h>

#include "../../kselftest_harness.h"
#include "../dma-buf/dmabuf_util.h"
#include "../dma-buf/sync_file_util.h"
#include "xen_util.h"
#include "peer.h"

#define SOON 20000		/* timeout for an event that has to happen, in ms */
#define BOOT 60			/* seconds until the other domains are up */
#define SECONDS 240

/* The control page of the domain that runs in @mode. */
struct peer {
	int domid;
	struct witness page;
	struct peer_control *control;
};

static bool peer_is(struct peer *p, int domid, char mode)
{
	__u32 ref = PEER_FIRST_REF;

	p->domid = domid;
	if (!witness_open(&p->page, domid, &ref, 1)) {
		p->control = p->page.view;
		if (peer_get(&p->control->magic) == PEER_MAGIC &&
		    p->control->mode == (__u32)mode)
			return true;
	}
	witness_close(&p->page);
	return false;
}

/* "silent" and "serve" have the same first letter: only the latter changes its beat. */
static bool is_alive(struct peer *p)
{
	__u32 beat = peer_get(&p->control->beat);
	double end = now() + 3;

	while (now() < end) {
		if (peer_get(&p->control->beat) != beat)
			return true;
		usleep(20000);
	}
	return false;
}

static int peer_find(struct peer *p, char mode, bool alive)
{
	double end = now() + BOOT;
	int domid;

	do {
		for (domid = 1; domid < 16; domid++) {
			if (!peer_is(p, domid, mode))
				continue;
			if (is_alive(p) == alive)
				return 0;
			witness_close(&p->page);
		}
		usleep(500000);
	} while (now() < end);
	return -ENOENT;
}

static int peer_ask(struct peer *p, enum peer_command command, __u32 seed)
{
	double end = now() + SOON / 1000;

	p->control->command = command;
	p->control->seed = seed;
	peer_set(&p->control->asked, p->control->asked + 1);
	while (peer_get(&p->control->answered) != p->control->asked) {
		if (now() > end)
			return -ETIMEDOUT;
		usleep(1000);
	}
	return command == PEER_CHECK ? p->control->wrong : 0;
}

/* Skip everything if there is no other domain. */
static __attribute__((constructor)) void need_peers(void)
{
	const char *why = NULL;
	struct xen_dominfo info;
	int domid, found = 0;

	if (access(GNTDEV, R_OK | W_OK)) {
		why = "no " GNTDEV ": not in a Xen domain, or CONFIG_XEN_GNTDEV is off";
	} else if (xen_domain_info(0, &info)) {
		why = "not a domain that may ask the hypervisor for others";
	} else {
		for (domid = 1; domid < 16; domid++)
			found += !xen_domain_info(domid, &info);
		if (!found)
			why = "no other domain: they have to run gntdev_dmabuf_peer";
	}
	if (why) {
		printf("TAP version 13\n1..0 # SKIP %s\n", why);
		exit(KSFT_SKIP);
	}
}

static int heap(unsigned int pages)
{
	struct dma_heap_allocation_data data = {
		.len = pages * PAGE, .fd_flags = O_RDWR | O_CLOEXEC,
	};
	int dev = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
	int ret = dev < 0 ? -errno : ioctl(dev, DMA_HEAP_IOCTL_ALLOC, &data) ? -errno :
								     (int)data.fd;

	if (dev >= 0)
		close(dev);
	return ret;
}

/* A buffer of a DRM driver whose only owner is the dma-buf. */
static int dumb(const char *driver, unsigned int pages)
{
	struct drm_mode_create_dumb create = { .width = PAGE / 4, .height = pages, .bpp = 32 };
	struct drm_prime_handle prime = { .flags = O_RDWR | O_CLOEXEC };
	int dev = drm_open(driver), ret;

	if (dev < 0)
		return -errno;
	ret = ioctl(dev, DRM_IOCTL_MODE_CREATE_DUMB, &create) ? -errno : 0;
	prime.handle = create.handle;
	if (!ret)
		ret = ioctl(dev, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) ? -errno : prime.fd;
	close(dev);
	return ret;
}

static int vgem(unsigned int pages)
{
	return dumb("vgem", pages);
}

/* The display: see gntdev_dmabuf.c. */
static int card(unsigned int pages)
{
	return dumb(getenv("GNTDEV_DMABUF_CARD") ?: "arcpgu", pages);
}

struct session {
	struct peer peer;
	int gntdev;
	int buf;
	struct xen_usage before, ours;
	bool counted;
	int fds;
	__u32 refs[PEER_PAGES];
};

static void make(struct __test_metadata *_metadata, struct session *self, char mode,
		 bool alive, int buf)
{
	unsigned int i;

	ASSERT_LE(0, buf);
	self->buf = buf;
	self->fds = count_fds() - 1;
	self->gntdev = gntdev_open();
	ASSERT_LE(0, self->gntdev);
	ASSERT_EQ(0, peer_find(&self->peer, mode, alive))
		TH_LOG("no domain that runs gntdev_dmabuf_peer %s",
		       mode == 'v' ? "victim" : alive ? "serve" : "silent");
	for (i = 0; i < PEER_PAGES; i++)
		self->refs[i] = self->peer.control->refs[i];
	ASSERT_EQ(0, xen_usage(self->peer.domid, &self->before));
	ASSERT_EQ(0, xen_usage(0, &self->ours));
	self->counted = true;
	/* Only the control page is mapped. */
	EXPECT_EQ(1, self->before.active);
}

/* The number of pages that this domain does not get back soon. */
static long lost_pages(const struct xen_usage *before)
{
	double end = now() + SOON / 1000;
	struct xen_usage after;
	long lost;

	do {
		if (xen_usage(0, &after))
			return -EIO;
		lost = xen_pages_lost(before, &after);
		if (!lost)
			break;
		usleep(100000);
	} while (now() < end);
	/* Each CPU keeps its own frames of that table, which is not a leak. */
	if (after.maptrack > before->maptrack + sysconf(_SC_NPROCESSORS_ONLN))
		return -ENOSPC;
	return lost;
}

FIXTURE(domains)
{
	struct session s;
};

FIXTURE_SETUP(domains)
{
	self->s.gntdev = -1;
	self->s.buf = -1;
	self->s.peer.page.gntdev = -1;
}

FIXTURE_TEARDOWN(domains)
{
	if (self->s.buf >= 0)
		close(self->s.buf);
	if (self->s.gntdev >= 0)
		close(self->s.gntdev);
	witness_close(&self->s.peer.page);
	if (!self->s.counted)
		return;
	/* Whatever the other domain did, this domain has lost nothing. */
	EXPECT_EQ(0, lost_pages(&self->s.ours));
	EXPECT_EQ(self->s.fds, count_fds());
}

static int map_peer(struct session *self)
{
	return map_refs(self->gntdev, self->buf, self->peer.domid, self->refs, PEER_PAGES);
}

static void *view_of(int buf)
{
	void *view = mmap(NULL, PEER_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);

	return view == MAP_FAILED ? NULL : view;
}

static void cpu_access(int buf, __u64 what)
{
	struct dma_buf_sync sync = { .flags = what | DMA_BUF_SYNC_RW };

	ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync);
}

/* The number of mapped grants of the other domain. Waits until it is as expected. */
static long active(int domid, long expected)
{
	double end = now() + SOON / 1000;
	struct xen_usage usage;

	do {
		if (xen_usage(domid, &usage))
			return -EIO;
		if (usage.active == expected)
			break;
		usleep(100000);
	} while (now() < end);
	return usage.active;
}

/* @importer: a driver that imports the buffer and keeps it until the end, or NULL. */
static void seven_steps(struct __test_metadata *_metadata, struct session *self,
			const char *importer)
{
	struct drm_prime_handle prime = { .fd = self->buf };
	int fd = self->buf, drm = -1;
	struct xen_usage after;
	void *view;

	ASSERT_EQ(0, peer_ask(&self->peer, PEER_FILL, 0x11));
	if (importer) {
		drm = drm_open(importer);
		ASSERT_LE(0, drm);
		ASSERT_EQ(0, ioctl(drm, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime));
	}
	ASSERT_EQ(0, map_peer(self));
	EXPECT_EQ(1 + PEER_PAGES, active(self->peer.domid, 1 + PEER_PAGES));
	view = view_of(fd);
	ASSERT_NE(NULL, view);
	cpu_access(fd, DMA_BUF_SYNC_START);
	EXPECT_EQ(0, pattern_wrong(view, 0, PEER_PAGES, 0x11));
	/* The other domain draws, and this one sees it. */
	ASSERT_EQ(0, peer_ask(&self->peer, PEER_FILL, 0x22));
	EXPECT_EQ(0, pattern_wrong(view, 0, PEER_PAGES, 0x22));
	/* This domain writes, and the other one sees it. */
	pattern_fill(view, 0, PEER_PAGES, 0x33);
	EXPECT_EQ(0, peer_ask(&self->peer, PEER_CHECK, 0x33));
	EXPECT_EQ(PEER_PAGES, peer_ask(&self->peer, PEER_CHECK, 0x34))
		TH_LOG("the other domain would find everything right");
	cpu_access(fd, DMA_BUF_SYNC_END);
	munmap(view, PEER_PAGES * PAGE);
	EXPECT_EQ(0, map_release(self->gntdev, fd));
	EXPECT_EQ(ETIMEDOUT, map_wait(self->gntdev, fd, 50));
	close(fd);
	self->buf = -1;
	if (importer) {
		EXPECT_EQ(ETIMEDOUT, map_wait(self->gntdev, fd, 300))
			TH_LOG("an import keeps the buffer, and so the pages");
		EXPECT_EQ(1 + PEER_PAGES, active(self->peer.domid, 1 + PEER_PAGES));
		close(drm);
	}
	EXPECT_EQ(0, map_wait(self->gntdev, fd, SOON));
	/* When WAIT_RELEASED returns, no grant is mapped: the other domain may reuse its pages. */
	ASSERT_EQ(0, xen_usage(self->peer.domid, &after));
	EXPECT_EQ(1, after.active);
	ASSERT_EQ(0, xen_usage(0, &after));
	EXPECT_EQ(self->ours.pages, after.pages);
	/* Each CPU keeps its own frames of that table, which is not a leak. */
	EXPECT_GE(self->ours.maptrack + sysconf(_SC_NPROCESSORS_ONLN), after.maptrack);
	EXPECT_EQ(0, peer_ask(&self->peer, PEER_CHECK, 0x33))
		TH_LOG("the other domain's pages were changed when they were given back");
}

TEST_F_TIMEOUT(domains, seven_steps_on_vgem, SECONDS)
{
	struct session *s = &self->s;

	make(_metadata, s, 's', true, vgem(PEER_PAGES));
	seven_steps(_metadata, s, NULL);
}

TEST_F_TIMEOUT(domains, seven_steps_on_the_heap, SECONDS)
{
	struct session *s = &self->s;

	make(_metadata, s, 's', true, heap(PEER_PAGES));
	seven_steps(_metadata, s, NULL);
}

/* As with gbm: the GPU's driver has imported the display's buffer before the mapping. */
TEST_F_TIMEOUT(domains, seven_steps_beside_an_importer, SECONDS)
{
	struct session *s = &self->s;

	make(_metadata, s, 's', true, card(PEER_PAGES));
	seven_steps(_metadata, s, "vgem");
}

TEST_F_TIMEOUT(domains, seven_steps_often, SECONDS)
{
	struct session *s = &self->s;
	int i;

	make(_metadata, s, 's', true, heap(PEER_PAGES));
	for (i = 0; i < 10; i++) {
		seven_steps(_metadata, s, NULL);
		s->buf = i % 3 == 0 ? vgem(PEER_PAGES) : i % 3 == 1 ? card(PEER_PAGES) :
								      heap(PEER_PAGES);
		ASSERT_LE(0, s->buf);
	}
}

TEST_F_TIMEOUT(domains, bad_reference, SECONDS)
{
	struct session *s = &self->s;

	make(_metadata, s, 's', true, heap(PEER_PAGES));
	s->refs[PEER_PAGES - 1] = 0x7ffffff0;
	EXPECT_EQ(EINVAL, map_peer(s));
	EXPECT_EQ(1, active(s->peer.domid, 1));
	/* A domain that does not exist. */
	EXPECT_EQ(EINVAL, map_refs(s->gntdev, s->buf, 0x7000, s->refs, 1));
}

/* Closing all files without RELEASE gives the other domain's pages back as well. */
TEST_F_TIMEOUT(domains, gntdev_closed, SECONDS)
{
	struct session *s = &self->s;

	make(_metadata, s, 's', true, vgem(PEER_PAGES));
	ASSERT_EQ(0, map_peer(s));
	close(s->gntdev);
	s->gntdev = -1;
	EXPECT_EQ(1 + PEER_PAGES, active(s->peer.domid, 1 + PEER_PAGES));
	close(s->buf);
	s->buf = -1;
	EXPECT_EQ(1, active(s->peer.domid, 1));
}

/* The other domain never answers: this domain loses nothing and does not have to wait. */
TEST_F_TIMEOUT(domains, never_answers, SECONDS)
{
	struct session *s = &self->s;
	void *view;
	double start;
	int fd;

	make(_metadata, s, 's', false, heap(PEER_PAGES));
	fd = s->buf;
	ASSERT_EQ(0, map_peer(s));
	view = view_of(fd);
	ASSERT_NE(NULL, view);
	EXPECT_EQ(0, pattern_wrong(view, 0, PEER_PAGES, PEER_SEED));
	peer_set(&s->peer.control->asked, 1);
	usleep(500000);
	EXPECT_EQ(0, peer_get(&s->peer.control->answered));
	munmap(view, PEER_PAGES * PAGE);
	start = now();
	EXPECT_EQ(0, map_release(s->gntdev, fd));
	close(fd);
	s->buf = -1;
	EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
	EXPECT_GT(SOON / 1000, now() - start);
	EXPECT_EQ(1, active(s->peer.domid, 1));
	/* Reset it for the next run. */
	peer_set(&s->peer.control->asked, 0);
}

/*
 * The other domain is destroyed while its pages are in a buffer here. The pages stay accessible.
 * Xen keeps the dying domain while they are mapped, and frees it after the buffer is released.
 */
TEST_F_TIMEOUT(domains, destroyed_while_mapped, SECONDS)
{
	struct session *s = &self->s;
	struct xen_dominfo info;
	struct xen_usage after;
	double end;
	void *view;
	int fd;

	make(_metadata, s, 'v', true, heap(PEER_PAGES));
	fd = s->buf;
	ASSERT_EQ(0, map_peer(s));
	view = view_of(fd);
	ASSERT_NE(NULL, view);
	ASSERT_EQ(0, xen_domain_info(s->peer.domid, &info));
	EXPECT_FALSE(info.dying);
	ASSERT_EQ(0, xen_domain_destroy(s->peer.domid));
	ASSERT_EQ(0, xen_domain_info(s->peer.domid, &info))
		TH_LOG("it is gone, though its pages are mapped");
	EXPECT_TRUE(info.dying);
	EXPECT_EQ(0, pattern_wrong(view, 0, PEER_PAGES, PEER_SEED));
	pattern_fill(view, 0, PEER_PAGES, 0x44);
	EXPECT_EQ(0, pattern_wrong(view, 0, PEER_PAGES, 0x44));
	munmap(view, PEER_PAGES * PAGE);
	EXPECT_EQ(0, map_release(s->gntdev, fd));
	close(fd);
	s->buf = -1;
	EXPECT_EQ(0, map_wait(s->gntdev, fd, SOON));
	witness_close(&s->peer.page);
	end = now() + SOON / 1000;
	while (!xen_domain_info(s->peer.domid, &info) && now() < end)
		usleep(100000);
	EXPECT_EQ(-ESRCH, xen_domain_info(s->peer.domid, &info));
	ASSERT_EQ(0, xen_usage(0, &after));
	EXPECT_EQ(s->ours.pages, after.pages);
	/* A domain that does not exist any more. */
	s->buf = heap(PEER_PAGES);
	ASSERT_LE(0, s->buf);
	EXPECT_EQ(EINVAL, map_peer(s));
}

TEST_HARNESS_MAIN
