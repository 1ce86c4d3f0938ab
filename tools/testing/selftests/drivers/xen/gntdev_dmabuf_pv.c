// SPDX-License-Identifier: GPL-2.0-only
/*
 * A PV domain of x86 maps grants into page tables, not into its physical address space, so grants
 * cannot be put behind an existing dma-buf there. MAP_REFS_TO_BUF fails with EOPNOTSUPP, whatever
 * the other arguments are, and leaves the buffer untouched although its exporter consents.
 */

#include "../../kselftest_harness.h"
#include "../dma-buf/dmabuf_util.h"
#include "xen_util.h"

static __attribute__((constructor)) void need_pv(void)
{
	const char *why = NULL;

	if (access(GNTDEV, R_OK | W_OK))
		why = "no " GNTDEV ": not in a Xen domain, or CONFIG_XEN_GNTDEV is off";
	else if (strcmp(xen_guest_type(), "PV"))
		why = "not a PV domain: see gntdev_dmabuf";
	if (why) {
		printf("TAP version 13\n1..0 # SKIP %s\n", why);
		exit(KSFT_SKIP);
	}
}

FIXTURE(pv)
{
	int gntdev;
	int buf;
};

FIXTURE_SETUP(pv)
{
	self->gntdev = gntdev_open();
	ASSERT_LE(0, self->gntdev);
	self->buf = buf_heap();
	ASSERT_LE(0, self->buf)
		TH_LOG("no system heap: is CONFIG_DMABUF_HEAPS_SYSTEM on?");
}

FIXTURE_TEARDOWN(pv)
{
	close(self->buf);
	close(self->gntdev);
}

TEST_F(pv, refused)
{
	const __u32 refs[BUF_SIZE / PAGE] = { 8 };
	void *view = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->buf, 0);
	int i;

	ASSERT_NE(MAP_FAILED, view);
	pattern_fill(view, 0, BUF_SIZE / PAGE, 5);
	munmap(view, BUF_SIZE);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(EOPNOTSUPP, map_refs(self->gntdev, self->buf, 0, refs, 1));
		EXPECT_EQ(EOPNOTSUPP, map_refs(self->gntdev, self->buf, 1, refs, BUF_SIZE / PAGE));
	}
	view = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->buf, 0);
	ASSERT_NE(MAP_FAILED, view);
	EXPECT_EQ(0, pattern_wrong(view, 0, BUF_SIZE / PAGE, 5));
	munmap(view, BUF_SIZE);
}

/* There is never a mapping, so the ioctls for mappings fail. */
TEST_F(pv, nothing_to_release)
{
	int ret = map_release(self->gntdev, self->buf);

	EXPECT_TRUE(ret == EOPNOTSUPP || ret == ENOENT)
		TH_LOG("%s (%d)", strerror(ret), ret);
	ret = map_wait(self->gntdev, self->buf, 0);
	EXPECT_TRUE(ret == EOPNOTSUPP || ret == ENOENT)
		TH_LOG("%s (%d)", strerror(ret), ret);
}

TEST_HARNESS_MAIN
