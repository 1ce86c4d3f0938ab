// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kernel without the sync_file ioctls: what user space sees, and that the rest of a
 * dma-buf works as usual. For CONFIG_DMABUF_SYNC_FILE_IOCTLS=n; the test fails on a
 * kernel that has the ioctls.
 */

#include "../../kselftest_harness.h"
#include "dmabuf_util.h"
#include "sync_file_util.h"

FIXTURE(absent)
{
	int buf;
};

FIXTURE_SETUP(absent)
{
	self->buf = buf_udmabuf();
	ASSERT_LE(0, self->buf)
		TH_LOG("no udmabuf: is CONFIG_UDMABUF on?");
}

FIXTURE_TEARDOWN(absent)
{
	close(self->buf);
}

TEST_F(absent, export_is_enotty)
{
	int fds = count_fds();

	EXPECT_EQ(-1, buf_export(self->buf, DMA_BUF_SYNC_RW));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, buf_export(self->buf, 0));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->buf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, NULL));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(fds, count_fds());
}

TEST_F(absent, import_is_enotty)
{
	int timeline = timeline_new(), fence = timeline_fence(timeline, 1);

	ASSERT_LE(0, fence);
	EXPECT_EQ(-1, buf_import(self->buf, DMA_BUF_SYNC_RW, fence));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, buf_import(self->buf, DMA_BUF_SYNC_RW, -1));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

TEST_F(absent, no_capability_file)
{
	EXPECT_EQ(-1, access("/sys/kernel/dmabuf/caps/sync_file_import_export", F_OK));
	EXPECT_EQ(ENOENT, errno);
}

TEST_F(absent, cpu_access_as_usual)
{
	struct dma_buf_sync arg = {
		.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW,
	};

	EXPECT_EQ(0, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &arg));
	arg.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	EXPECT_EQ(0, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &arg));
}

TEST_HARNESS_MAIN
