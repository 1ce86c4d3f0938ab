// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA_BUF_IOCTL_EXPORT_SYNC_FILE and DMA_BUF_IOCTL_IMPORT_SYNC_FILE: the ABI, errno
 * by errno, and what they mean for accesses that wait for a buffer. Mesa takes
 * ENOTTY, EBADF and ENOSYS as "not supported" and any other errno as a fatal error,
 * so each errno matters.
 */

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "../../kselftest_harness.h"
#include "dmabuf_util.h"
#include "sync_file_util.h"

#define CAPABILITY "/sys/kernel/dmabuf/caps/sync_file_import_export"

/* Return the errno of the ioctl, or 0 on success. */
static int export_errno(int buf, void *arg)
{
	return ioctl(buf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, arg) ? errno : 0;
}

static int import_errno(int buf, const void *arg)
{
	return ioctl(buf, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, arg) ? errno : 0;
}

static int import_fd_errno(int buf, int fd)
{
	return buf_import(buf, DMA_BUF_SYNC_RW, fd) ? errno : 0;
}

FIXTURE(sync_file)
{
	int buf;
	int timeline;
	int fence;
	int fds;
	/* Memory that is read-only, and an address without access. */
	struct dma_buf_export_sync_file *readonly;
	void *nowhere;
};

FIXTURE_SETUP(sync_file)
{
	self->buf = buf_udmabuf();
	ASSERT_LE(0, self->buf)
		TH_LOG("no udmabuf: is CONFIG_UDMABUF on?");
	self->timeline = timeline_new();
	ASSERT_LE(0, self->timeline)
		TH_LOG("no sw_sync: is CONFIG_SW_SYNC on and debugfs mounted?");
	self->fence = timeline_fence(self->timeline, 1);
	ASSERT_LE(0, self->fence);

	self->readonly = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->readonly != MAP_FAILED);
	self->readonly->flags = DMA_BUF_SYNC_RW;
	ASSERT_EQ(0, mprotect(self->readonly, 4096, PROT_READ));
	self->nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	ASSERT_TRUE(self->nowhere != MAP_FAILED);
	self->fds = count_fds();
}

FIXTURE_TEARDOWN(sync_file)
{
	close(self->fence);
	close(self->timeline);
	close(self->buf);
}

TEST_F(sync_file, capability_file_says_1)
{
	int fd = open(CAPABILITY, O_RDONLY);
	char buf[8] = {};

	ASSERT_LE(0, fd);
	EXPECT_EQ(2, read(fd, buf, sizeof(buf)));
	EXPECT_STREQ("1\n", buf);
	close(fd);
	EXPECT_NE(0, access(CAPABILITY, X_OK));
}

TEST_F(sync_file, ioctl_numbers)
{
	EXPECT_EQ(0xc0086202U, (unsigned int)DMA_BUF_IOCTL_EXPORT_SYNC_FILE);
	EXPECT_EQ(0x40086203U, (unsigned int)DMA_BUF_IOCTL_IMPORT_SYNC_FILE);
	EXPECT_EQ(8, sizeof(struct dma_buf_export_sync_file));
	EXPECT_EQ(8, sizeof(struct dma_buf_import_sync_file));
}

TEST_F(sync_file, errno_unknown_ioctl)
{
	__u32 arg[4] = {};
	int nr;

	for (nr = 4; nr < 8; nr++) {
		EXPECT_EQ(-1, ioctl(self->buf, _IOWR('b', nr, __u64), arg));
		EXPECT_EQ(ENOTTY, errno);
	}
	/* The same number with another direction or size is another ioctl. */
	EXPECT_EQ(-1, ioctl(self->buf, _IOW('b', 2, __u64), arg));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->buf, _IOWR('b', 3, __u64), arg));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->buf, _IOWR('b', 2, __u32), arg));
	EXPECT_EQ(ENOTTY, errno);
}

TEST_F(sync_file, errno_no_flags)
{
	struct dma_buf_export_sync_file export = { .flags = 0 };
	struct dma_buf_import_sync_file import = { .fd = self->fence };

	EXPECT_EQ(EINVAL, export_errno(self->buf, &export));
	EXPECT_EQ(EINVAL, import_errno(self->buf, &import));
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
	EXPECT_EQ(self->fds, count_fds());
}

TEST_F(sync_file, errno_bad_flags)
{
	unsigned int bit;

	for (bit = 2; bit < 32; bit++) {
		struct dma_buf_export_sync_file export = {
			.flags = DMA_BUF_SYNC_RW | 1U << bit,
		};
		struct dma_buf_import_sync_file import = {
			.flags = DMA_BUF_SYNC_RW | 1U << bit,
			.fd = self->fence,
		};

		EXPECT_EQ(EINVAL, export_errno(self->buf, &export));
		EXPECT_EQ(EINVAL, import_errno(self->buf, &import));
	}
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
	EXPECT_EQ(self->fds, count_fds());
}

TEST_F(sync_file, errno_efault)
{
	EXPECT_EQ(EFAULT, export_errno(self->buf, NULL));
	EXPECT_EQ(EFAULT, export_errno(self->buf, self->nowhere));
	EXPECT_EQ(EFAULT, import_errno(self->buf, NULL));
	EXPECT_EQ(EFAULT, import_errno(self->buf, self->nowhere));
	EXPECT_EQ(self->fds, count_fds());
}

TEST_F(sync_file, errno_efault_half_a_struct)
{
	char *end = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_TRUE(end != MAP_FAILED);
	ASSERT_EQ(0, munmap(end + 4096, 4096));
	EXPECT_EQ(EFAULT, export_errno(self->buf, end + 4092));
	EXPECT_EQ(EFAULT, import_errno(self->buf, end + 4092));
}

/* Copying the struct back fails after all other steps: they have to be undone. */
TEST_F(sync_file, errno_efault_on_the_way_back)
{
	int i;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_RW, self->fence));
	for (i = 0; i < 100; i++)
		EXPECT_EQ(EFAULT, export_errno(self->buf, self->readonly));
	EXPECT_EQ(self->fds, count_fds());
}

static int leave_no_fd(void)
{
	/* The next file would get the number in next. */
	struct rlimit limit;
	int next = dup(0);

	close(next);
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -1;
	limit.rlim_cur = next;
	return setrlimit(RLIMIT_NOFILE, &limit);
}

TEST_F(sync_file, errno_emfile)
{
	struct dma_buf_export_sync_file arg = { .flags = DMA_BUF_SYNC_RW };

	ASSERT_EQ(0, leave_no_fd());
	EXPECT_EQ(EMFILE, export_errno(self->buf, &arg));
	EXPECT_EQ(EMFILE, export_errno(self->buf, self->readonly));
	/* An import needs no new file descriptor. */
	EXPECT_EQ(0, import_fd_errno(self->buf, self->fence));
}

TEST_F(sync_file, errno_order_before_emfile)
{
	struct dma_buf_export_sync_file arg = { .flags = 4 };

	ASSERT_EQ(0, leave_no_fd());
	EXPECT_EQ(EFAULT, export_errno(self->buf, self->nowhere));
	EXPECT_EQ(EINVAL, export_errno(self->buf, &arg));
	arg.flags = 0;
	EXPECT_EQ(EINVAL, export_errno(self->buf, &arg));
}

TEST_F(sync_file, errno_import_closed_fd)
{
	int closed = dup(self->fence);

	close(closed);
	EXPECT_EQ(EINVAL, import_fd_errno(self->buf, closed));
	EXPECT_EQ(EINVAL, import_fd_errno(self->buf, -1));
	EXPECT_EQ(EINVAL, import_fd_errno(self->buf, 0x7fffffff));
}

TEST_F(sync_file, errno_import_not_a_sync_file)
{
	int null = open("/dev/null", O_RDWR);

	ASSERT_LE(0, null);
	EXPECT_EQ(EINVAL, import_fd_errno(self->buf, null));
	EXPECT_EQ(EINVAL, import_fd_errno(self->buf, self->timeline));
	close(null);
}

TEST_F(sync_file, errno_import_a_dma_buf)
{
	int other = buf_udmabuf();

	ASSERT_LE(0, other);
	EXPECT_EQ(EINVAL, import_fd_errno(self->buf, other));
	EXPECT_EQ(EINVAL, import_fd_errno(self->buf, self->buf));
	close(other);
}

TEST_F(sync_file, errno_on_other_files)
{
	struct dma_buf_export_sync_file arg = { .flags = DMA_BUF_SYNC_RW };

	EXPECT_EQ(ENOTTY, export_errno(self->fence, &arg));
	EXPECT_EQ(EBADF, export_errno(-1, &arg));
}

TEST_F(sync_file, export_is_close_on_exec)
{
	int fd = buf_export(self->buf, DMA_BUF_SYNC_RW);

	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	close(fd);
}

TEST_F(sync_file, export_ignores_fd_on_input)
{
	static const int values[] = { -1, 0, 12345, 0x7fffffff };
	int i;

	for (i = 0; i < 4; i++) {
		struct dma_buf_export_sync_file arg = {
			.flags = DMA_BUF_SYNC_READ, .fd = values[i],
		};

		ASSERT_EQ(0, export_errno(self->buf, &arg));
		EXPECT_EQ(DMA_BUF_SYNC_READ, arg.flags);
		EXPECT_EQ(1, sync_status(arg.fd));
		EXPECT_EQ(0, close(arg.fd));
	}
}

TEST_F(sync_file, import_writes_nothing_back)
{
	struct dma_buf_import_sync_file *arg = (void *)self->readonly;

	ASSERT_EQ(0, mprotect(arg, 4096, PROT_READ | PROT_WRITE));
	arg->flags = DMA_BUF_SYNC_RW;
	arg->fd = self->fence;
	ASSERT_EQ(0, mprotect(arg, 4096, PROT_READ));
	EXPECT_EQ(0, import_errno(self->buf, arg));
	EXPECT_EQ(self->fence, arg->fd);
}

TEST_F(sync_file, idle_buffer_gives_a_signaled_stub)
{
	unsigned int flags;

	for (flags = 1; flags <= 3; flags++) {
		int fd = buf_export(self->buf, flags);

		ASSERT_LE(0, fd);
		EXPECT_EQ(1, sync_status(fd));
		EXPECT_EQ(1, sync_count(fd));
		EXPECT_EQ(POLLIN, buf_poll(fd, POLLIN));
		close(fd);
	}
}

/* How Mesa finds out whether the kernel has the ioctls. */
TEST_F(sync_file, mesa_probe)
{
	int fd = buf_export(self->buf, DMA_BUF_SYNC_RW);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_RW, fd));
	close(fd);
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

/* A read waits for writers, a write waits for all, and READ|WRITE is a write. */
TEST_F(sync_file, export_rw_equals_write)
{
	int reader = timeline_fence(self->timeline, 2);
	int read, write, rw;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_READ, reader));
	read = buf_export(self->buf, DMA_BUF_SYNC_READ);
	write = buf_export(self->buf, DMA_BUF_SYNC_WRITE);
	rw = buf_export(self->buf, DMA_BUF_SYNC_RW);
	EXPECT_EQ(0, sync_status(read));
	EXPECT_EQ(0, sync_status(write));
	EXPECT_EQ(0, sync_status(rw));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(read));
	EXPECT_EQ(0, sync_status(write));
	EXPECT_EQ(0, sync_status(rw));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(write));
	EXPECT_EQ(1, sync_status(rw));
}

TEST_F(sync_file, import_rw_equals_write)
{
	int read;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_RW, self->fence));
	read = buf_export(self->buf, DMA_BUF_SYNC_READ);
	EXPECT_EQ(0, sync_status(read));
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN | POLLOUT));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(read));
}

TEST_F(sync_file, reader_does_not_keep_readers_out)
{
	int read;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_READ, self->fence));
	read = buf_export(self->buf, DMA_BUF_SYNC_READ);
	EXPECT_EQ(1, sync_status(read));
	EXPECT_EQ(POLLIN, buf_poll(self->buf, POLLIN | POLLOUT));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

/* A writer does not make later readers wait for the readers before it. */
TEST_F(sync_file, writer_takes_no_readers_along)
{
	int other = timeline_new(), reader = timeline_fence(other, 1), read;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_READ, reader));
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	read = buf_export(self->buf, DMA_BUF_SYNC_READ);
	EXPECT_EQ(0, sync_status(read));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(read));
	EXPECT_EQ(POLLIN, buf_poll(self->buf, POLLIN | POLLOUT));
	timeline_advance(other, 1);
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

/* A pending writer keeps the buffer busy beside a reader that has signaled. */
TEST_F(sync_file, exclusive_counts_beside_shared)
{
	int other = timeline_new(), reader = timeline_fence(other, 1);

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_READ, reader));
	timeline_advance(other, 1);
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN));
	EXPECT_EQ(0, buf_poll(self->buf, POLLOUT));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

TEST_F(sync_file, later_fences_do_not_enter_a_snapshot)
{
	int other = timeline_new(), later = timeline_fence(other, 1);
	int snapshot;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	snapshot = buf_export(self->buf, DMA_BUF_SYNC_RW);
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, later));
	EXPECT_EQ(0, sync_status(snapshot));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(snapshot));
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN));
	timeline_advance(other, 1);
	EXPECT_EQ(POLLIN, buf_poll(self->buf, POLLIN));
}

TEST_F(sync_file, an_import_sheds_no_fence)
{
	static const unsigned int flags[] = {
		DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE, DMA_BUF_SYNC_RW,
	};
	int i, timelines[8];

	for (i = 0; i < 8; i++) {
		timelines[i] = timeline_new();
		ASSERT_EQ(0, buf_import(self->buf, flags[i % 3],
					timeline_fence(timelines[i], 1)));
	}
	for (i = 0; i < 8; i++) {
		EXPECT_EQ(0, buf_poll(self->buf, POLLOUT));
		timeline_advance(timelines[i], 1);
	}
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

TEST_F(sync_file, older_fence_does_not_displace_newer)
{
	unsigned int flags;

	for (flags = 1; flags <= 2; flags++) {
		int timeline = timeline_new();

		ASSERT_EQ(0, buf_import(self->buf, flags, timeline_fence(timeline, 2)));
		ASSERT_EQ(0, buf_import(self->buf, flags, timeline_fence(timeline, 1)));
		timeline_advance(timeline, 1);
		EXPECT_EQ(0, buf_poll(self->buf, POLLOUT));
		timeline_advance(timeline, 1);
		EXPECT_EQ(POLLOUT, buf_poll(self->buf, POLLOUT));
	}
}

TEST_F(sync_file, import_of_a_signaled_fence)
{
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

TEST_F(sync_file, import_of_a_merged_fence)
{
	int other = timeline_new();
	int merged = sync_merge(self->fence, timeline_fence(other, 1));
	int snapshot;

	ASSERT_LE(0, merged);
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, merged));
	snapshot = buf_export(self->buf, DMA_BUF_SYNC_RW);
	EXPECT_EQ(2, sync_count(snapshot));
	timeline_advance(other, 1);
	EXPECT_EQ(0, sync_status(snapshot));
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(snapshot));
	EXPECT_EQ(POLLIN, buf_poll(self->buf, POLLIN));
}

/* Two snapshots can be merged like any other sync_files. */
TEST_F(sync_file, snapshots_merge)
{
	int other = buf_udmabuf(), timelines[4], i, a, b, merged;

	for (i = 0; i < 4; i++) {
		timelines[i] = timeline_new();
		ASSERT_EQ(0, buf_import(i & 1 ? other : self->buf, DMA_BUF_SYNC_READ,
					timeline_fence(timelines[i], 1)));
	}
	a = buf_export(self->buf, DMA_BUF_SYNC_RW);
	b = buf_export(other, DMA_BUF_SYNC_RW);
	merged = sync_merge(a, b);
	ASSERT_LE(0, merged);
	EXPECT_EQ(4, sync_count(merged));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, sync_status(merged));
		timeline_advance(timelines[i], 1);
	}
	EXPECT_EQ(1, sync_status(merged));
}

TEST_F(sync_file, closing_the_sync_file_keeps_the_fence)
{
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	close(self->fence);
	self->fence = -1;
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(POLLIN, buf_poll(self->buf, POLLIN));
}

TEST_F(sync_file, a_snapshot_outlives_its_buffer)
{
	int snapshot;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	snapshot = buf_export(self->buf, DMA_BUF_SYNC_RW);
	close(self->buf);
	self->buf = -1;
	EXPECT_EQ(0, sync_status(snapshot));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(snapshot));
	close(snapshot);
}

/* Polls an imported fence, closes buffer and sync_file, then signals. */
TEST_F(sync_file, close_with_poll_on_imported_fence)
{
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN | POLLOUT));
	close(self->buf);
	close(self->fence);
	self->buf = -1;
	self->fence = -1;
	usleep(50000);
	EXPECT_EQ(0, timeline_advance(self->timeline, 1));
	usleep(50000);
}

/*
 * The callback of poll() has the last reference to the first fence, which signals
 * under the lock of its timeline.
 */
TEST_F(sync_file, timeline_closed_under_poll)
{
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN | POLLOUT));
	close(self->fence);
	self->fence = timeline_fence(self->timeline, 2);
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	close(self->fence);
	close(self->timeline);
	self->fence = -1;
	self->timeline = -1;
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

TEST_F(sync_file, error_of_a_fence_ends_the_wait)
{
	int snapshot;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	snapshot = buf_export(self->buf, DMA_BUF_SYNC_RW);
	close(self->timeline);
	self->timeline = -1;
	EXPECT_EQ(-ENOENT, sync_status(snapshot));
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

TEST_F_TIMEOUT(sync_file, many_imports_do_not_grow, 120)
{
	/* The growth does not depend on the word size; 32-bit programs do fewer rounds. */
	const int count = sizeof(long) == 8 ? 10000 : 1000;
	int i, fence, snapshot;

	for (i = 0; i < count; i++) {
		fence = timeline_fence(self->timeline, 2 + i);
		ASSERT_EQ(0, buf_import(self->buf, 1 + i % 3, fence));
		close(fence);
	}
	snapshot = buf_export(self->buf, DMA_BUF_SYNC_RW);
	/* The latest reader and the latest writer, or one fence for both. */
	EXPECT_LE(1, sync_count(snapshot));
	EXPECT_GE(2, sync_count(snapshot));
	timeline_advance(self->timeline, count);
	EXPECT_EQ(0, sync_status(snapshot));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(snapshot));
}

/* A child process inherits a buffer like any other file. */
TEST_F(sync_file, import_in_another_process)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence) ? 1 : 0);
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(POLLIN, buf_poll(self->buf, POLLIN));
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Lets the nth operation that can fail do so; returns false if there are fewer. */
static bool fail_nth(unsigned int nth, int buf, bool export, unsigned int flags,
		     int fence, int *err)
{
	char text[16] = {};
	int fd = open("/proc/thread-self/fail-nth", O_RDWR), ret;

	if (fd < 0)
		return false;
	snprintf(text, sizeof(text), "%u", nth);
	if (write(fd, text, strlen(text)) < 0) {
		close(fd);
		return false;
	}
	ret = export ? buf_export(buf, flags) : buf_import(buf, flags, fence);
	*err = ret < 0 ? errno : 0;
	if (export && ret >= 0)
		close(ret);
	memset(text, 0, sizeof(text));
	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		text[0] = '0';
	/* If the count is not used up, switch it off. */
	ret = atoi(text) ? write(fd, "0", 1) : 0;
	close(fd);
	return atoi(text) == 0;
}

/* Lets each allocation and each access to user memory fail in turn. */
TEST_F(sync_file, errno_when_anything_fails)
{
	int other = timeline_new(), second = timeline_fence(other, 1);
	int lowest = dup(other), export, err, nomem, fault, fd[2];
	unsigned int nth, flags;

	ASSERT_EQ(0, access("/proc/thread-self/fail-nth", W_OK))
		TH_LOG("no fault injection: is CONFIG_FAULT_INJECTION on?");
	ASSERT_TRUE(write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "N"));
	write_file("/sys/kernel/debug/failslab/verbose", "0");
	write_file("/sys/kernel/debug/fail_usercopy/verbose", "0");

	close(lowest);
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, self->fence));
	for (export = 1; export >= 0; export--) {
		nomem = 0;
		for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++) {
			fault = 0;
			for (nth = 1; nth < 200; nth++) {
				err = 0;
				if (!fail_nth(nth, self->buf, export, flags, second, &err))
					break;
				nomem += err == ENOMEM;
				fault += err == EFAULT;
				EXPECT_TRUE(!err || err == ENOMEM || err == EFAULT)
					TH_LOG("errno %d", err);
				/* The fence that was there before still keeps the buffer busy. */
				EXPECT_EQ(0, buf_poll(self->buf, POLLIN | POLLOUT));
				/*
				 * A number may also leak without a file: the lowest
				 * was that of fail-nth, the next that of an export.
				 */
				fd[0] = dup(other);
				fd[1] = dup(other);
				EXPECT_EQ(lowest, fd[0]);
				EXPECT_EQ(lowest + 1, fd[1]);
				close(fd[0]);
				close(fd[1]);
			}
			EXPECT_EQ(0, err);
			EXPECT_GT(200, nth);
			EXPECT_LT(0, fault);
		}
		EXPECT_LT(0, nomem);
	}
	EXPECT_EQ(self->fds + 2, count_fds());
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN | POLLOUT));
	timeline_advance(other, 1);
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

/* The semantics with each exporter. */
FIXTURE(exporter)
{
	int buf;
	int timeline;
};

FIXTURE_VARIANT(exporter)
{
	int (*create)(void);
};

FIXTURE_VARIANT_ADD(exporter, udmabuf)
{
	.create = buf_udmabuf,
};

FIXTURE_VARIANT_ADD(exporter, heap)
{
	.create = buf_heap,
};

FIXTURE_VARIANT_ADD(exporter, vgem)
{
	.create = buf_vgem,
};

FIXTURE_SETUP(exporter)
{
	self->buf = variant->create();
	ASSERT_LE(0, self->buf)
		TH_LOG("this exporter is not there, see the config file");
	self->timeline = timeline_new();
	ASSERT_LE(0, self->timeline);
}

FIXTURE_TEARDOWN(exporter)
{
	close(self->timeline);
	close(self->buf);
}

TEST_F(exporter, writer)
{
	int fence = timeline_fence(self->timeline, 1), snapshot;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE, fence));
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN));
	EXPECT_EQ(0, buf_poll(self->buf, POLLOUT));
	snapshot = buf_export(self->buf, DMA_BUF_SYNC_READ);
	EXPECT_EQ(0, sync_status(snapshot));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(snapshot));
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

TEST_F(exporter, reader)
{
	int fence = timeline_fence(self->timeline, 1), snapshot;

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_READ, fence));
	EXPECT_EQ(POLLIN, buf_poll(self->buf, POLLIN | POLLOUT));
	snapshot = buf_export(self->buf, DMA_BUF_SYNC_WRITE);
	EXPECT_EQ(0, sync_status(snapshot));
	timeline_advance(self->timeline, 1);
	EXPECT_EQ(1, sync_status(snapshot));
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

struct signaler {
	pthread_t thread;
	int timeline;
	unsigned int ms;
};

static void *signal_thread(void *data)
{
	struct signaler *s = data;

	usleep(s->ms * 1000);
	timeline_advance(s->timeline, 1);
	return NULL;
}

static unsigned int elapsed_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since->tv_sec) * 1000 +
	       (now.tv_nsec - since->tv_nsec) / 1000000;
}

/* DMA_BUF_IOCTL_SYNC waits at START, for the fences that the access depends on. */
TEST_F(exporter, cpu_access_waits)
{
	struct dma_buf_sync start = { .flags = DMA_BUF_SYNC_START };
	struct dma_buf_sync end = { .flags = DMA_BUF_SYNC_END };
	struct signaler s = { .timeline = self->timeline, .ms = 300 };
	struct timespec since;
	unsigned int access;

	for (access = 1; access <= 3; access++) {
		int fence = timeline_fence(self->timeline, access);

		/* A read waits for a writer, a write for a reader. */
		ASSERT_EQ(0, buf_import(self->buf, access == DMA_BUF_SYNC_READ ?
					DMA_BUF_SYNC_WRITE : DMA_BUF_SYNC_READ, fence));
		clock_gettime(CLOCK_MONOTONIC, &since);
		ASSERT_EQ(0, pthread_create(&s.thread, NULL, signal_thread, &s));
		start.flags = DMA_BUF_SYNC_START | access;
		EXPECT_EQ(0, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &start));
		EXPECT_EQ(1, sync_status(fence));
		EXPECT_LE(200U, elapsed_ms(&since));
		pthread_join(s.thread, NULL);
		end.flags = DMA_BUF_SYNC_END | access;
		EXPECT_EQ(0, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &end));
		close(fence);
	}
}

/* One writer, then one reader: the wait for the writer does not skip the reader. */
TEST_F(exporter, cpu_access_waits_for_reader_after_writer)
{
	struct dma_buf_sync start = {
		.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_WRITE,
	};
	struct signaler first = { .timeline = self->timeline, .ms = 100 };
	struct signaler second = { .timeline = timeline_new(), .ms = 500 };
	int reader = timeline_fence(second.timeline, 1);

	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE,
				timeline_fence(self->timeline, 1)));
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_READ, reader));
	ASSERT_EQ(0, pthread_create(&first.thread, NULL, signal_thread, &first));
	ASSERT_EQ(0, pthread_create(&second.thread, NULL, signal_thread, &second));
	EXPECT_EQ(0, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &start));
	EXPECT_EQ(1, sync_status(reader));
	pthread_join(first.thread, NULL);
	pthread_join(second.thread, NULL);
}

static void nothing(int sig)
{
}

TEST_F(exporter, cpu_access_wait_is_interruptible)
{
	struct dma_buf_sync start = {
		.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ,
	};
	struct sigaction action = { .sa_handler = nothing };

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE,
				timeline_fence(self->timeline, 1)));
	alarm(1);
	EXPECT_EQ(-1, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &start));
	EXPECT_EQ(EINTR, errno);
}

TEST_F(exporter, cpu_access_end_does_not_wait)
{
	struct dma_buf_sync start = {
		.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW,
	};
	struct dma_buf_sync end = {
		.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW,
	};

	/* udmabuf requires a START before an END. */
	ASSERT_EQ(0, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &start));
	ASSERT_EQ(0, buf_import(self->buf, DMA_BUF_SYNC_WRITE,
				timeline_fence(self->timeline, 1)));
	EXPECT_EQ(0, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &end));
}

TEST_F(exporter, cpu_access_errno)
{
	struct dma_buf_sync arg;

	EXPECT_EQ(-1, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, NULL));
	EXPECT_EQ(EFAULT, errno);
	arg.flags = DMA_BUF_SYNC_START;
	EXPECT_EQ(-1, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &arg));
	EXPECT_EQ(EINVAL, errno);
	arg.flags = DMA_BUF_SYNC_RW | 8;
	EXPECT_EQ(-1, ioctl(self->buf, DMA_BUF_IOCTL_SYNC, &arg));
	EXPECT_EQ(EINVAL, errno);
}

TEST_HARNESS_MAIN
