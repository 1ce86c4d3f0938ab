// SPDX-License-Identifier: GPL-2.0-only
/*
 * Grant references as a new dma-buf, IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS: faults of stock kernels.
 * This program has the tests that may crash an unpatched kernel, so that a crash does not lose the
 * results of other tests. gntdev_dmabuf has the rest. Both need only one domain.
 */

#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

#include "../../kselftest_harness.h"
#include "../dma-buf/dmabuf_util.h"
#include "grant_pool.h"
#include "xen_util.h"

#define SECONDS 120		/* for one test: debug kernels in an emulator are slow */
#define SOON 15.0		/* timeout for an event that has to happen, in seconds */
#define POOL 64
#define PAGES 2

static __attribute__((constructor)) void make_pool(void)
{
	pool_make(POOL);
}

FIXTURE(exported)
{
	int gntdev;
	int domid;
	const __u32 *refs;
	struct witness witness;		/* keeps the pages where the granter loses them */
	struct xen_usage before;
	struct xen_usage witnessed;
	int usage;			/* 0 if the hypervisor's counts are available */
};

FIXTURE_SETUP(exported)
{
	self->domid = pool->domid;
	self->refs = take_refs(PAGES);
	ASSERT_NE(NULL, self->refs);
	self->usage = xen_usage(self->domid, &self->before);
	ASSERT_EQ(0, witness_open(&self->witness, self->domid, self->refs, PAGES));
	pattern_fill(self->witness.view, 0, PAGES, 1);
	if (!self->usage)
		ASSERT_EQ(0, xen_usage(self->domid, &self->witnessed));
	self->gntdev = gntdev_open();
	ASSERT_LE(0, self->gntdev);
}

FIXTURE_TEARDOWN(exported)
{
	close(self->gntdev);
	if (!self->usage)
		EXPECT_EQ(0, xen_left(self->domid, &self->witnessed, SOON));
	EXPECT_EQ(0, pattern_wrong(self->witness.view, 0, PAGES, 1));
	witness_close(&self->witness);
	if (!self->usage)
		EXPECT_EQ(0, xen_left(self->domid, &self->before, SOON));
}

/* A process without a free file descriptor gets no buffer, and no grant stays mapped. */
TEST_F_TIMEOUT(exported, no_free_descriptor, SECONDS)
{
	struct rlimit limit;
	int fd, i;

	ASSERT_EQ(0, no_more_fds(&limit));
	for (i = 0; i < 50; i++)
		ASSERT_EQ(EMFILE, export(self->gntdev, self->domid, self->refs, PAGES, &fd));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	if (!self->usage)
		EXPECT_EQ(0, xen_left(self->domid, &self->witnessed, SOON));

	ASSERT_EQ(0, export(self->gntdev, self->domid, self->refs, PAGES, &fd));
	EXPECT_EQ((off_t)(PAGES * PAGE), lseek(fd, 0, SEEK_END));
	EXPECT_EQ(ETIMEDOUT, export_wait(self->gntdev, fd, 0));
	close(fd);
}

/* Without the patch, a process that waits cannot be killed before its timeout. */
TEST_F_TIMEOUT(exported, killed_waiter, SECONDS)
{
	double start;
	pid_t child;
	int fd;

	ASSERT_EQ(0, export(self->gntdev, self->domid, self->refs, PAGES, &fd));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(export_wait(self->gntdev, fd, 10000));
	usleep(500000);
	start = now();
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, NULL, 0));
	EXPECT_GT(5.0, now() - start);
	/* The buffer is unchanged. */
	EXPECT_EQ(ETIMEDOUT, export_wait(self->gntdev, fd, 0));
	close(fd);
}

/* The first map of a file has the index 0. Without the patch the grants are unmapped. */
TEST_F_TIMEOUT(exported, not_unmapped_by_an_index, SECONDS)
{
	struct ioctl_gntdev_unmap_grant_ref unmap = { .count = PAGES };
	struct xen_usage exported;
	int fd;

	ASSERT_EQ(0, export(self->gntdev, self->domid, self->refs, PAGES, &fd));
	if (!self->usage)
		ASSERT_EQ(0, xen_usage(self->domid, &exported));
	EXPECT_EQ(-1, ioctl(self->gntdev, IOCTL_GNTDEV_UNMAP_GRANT_REF, &unmap));
	EXPECT_EQ(ENOENT, errno);
	if (!self->usage)
		EXPECT_EQ(0, xen_left(self->domid, &exported, SOON));
	EXPECT_EQ(ETIMEDOUT, export_wait(self->gntdev, fd, 0));
	close(fd);
}

TEST_HARNESS_MAIN
