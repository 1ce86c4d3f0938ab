// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the sync_file ioctls of a dma-buf, through the ioctls alone.
 *
 * The buffer is a real one, of an exporter that has no memory. The tests add fences
 * to its reservation object as drivers do, or by an import, and look at its fences
 * by exports and as drivers do. So the tests are valid for every kernel that has
 * the ioctls, however it implements them.
 *
 * The tests cover what user space cannot do, and what the kselftests therefore do
 * not test: fences of the kernel itself, fences that are not the end of any work,
 * fences that signal in any order, and references that must be dropped at the end.
 */

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/dma-buf.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>
#include <linux/dma-resv.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/jiffies.h>
#include <linux/limits.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <uapi/linux/dma-buf.h>
#include <uapi/linux/sync_file.h>

#include "dma-fence-mock.h"
#include "kunit-user.h"

#define MAX_FENCES 32
#define MAX_RELEASE_SECONDS 20	/* until the last reference is dropped */

struct api_test {
	struct dma_buf *dmabuf;	/* NULL while there is no buffer */
	unsigned long user;	/* a page */
	struct {
		struct dma_fence *fence;
		enum dma_resv_usage usage;
	} f[MAX_FENCES];
	unsigned int count;
};

/* An exporter without memory. */
static struct sg_table *no_map(struct dma_buf_attachment *attachment,
			       enum dma_data_direction direction)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void no_unmap(struct dma_buf_attachment *attachment, struct sg_table *table,
		     enum dma_data_direction direction)
{
}

static void no_release(struct dma_buf *dmabuf)
{
}

static const struct dma_buf_ops no_memory_ops = {
	.map_dma_buf = no_map,
	.unmap_dma_buf = no_unmap,
	.release = no_release,
};

static struct dma_buf *new_buffer(struct api_test *t)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);

	info.ops = &no_memory_ops;
	info.size = PAGE_SIZE;
	info.flags = O_RDWR;
	info.priv = t;
	return dma_buf_export(&info);
}

static int api_test_init(struct kunit *test)
{
	struct api_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	t->user = kunit_user_page(test);
	if (IS_ERR_VALUE(t->user))
		return t->user;
	t->dmabuf = new_buffer(t);
	if (IS_ERR(t->dmabuf))
		return PTR_ERR(t->dmabuf);
	test->priv = t;
	return 0;
}

static void drop_buffer(struct api_test *t)
{
	if (t->dmabuf)
		dma_buf_put(t->dmabuf);
	t->dmabuf = NULL;
}

/* Makes another buffer after drop_buffer(). */
static void replace_buffer(struct kunit *test)
{
	struct api_test *t = test->priv;
	struct dma_buf *dmabuf = new_buffer(t);

	KUNIT_ASSERT_FALSE(test, IS_ERR(dmabuf));
	t->dmabuf = dmabuf;
}

/* Signals all fences; after the buffer is freed nothing may hold one of them. */
static void drop_all(struct kunit *test)
{
	struct api_test *t = test->priv;
	unsigned long end;
	unsigned int i;

	drop_buffer(t);
	for (i = 0; i < t->count; i++)
		dma_fence_signal(t->f[i].fence);
	/* A kernel thread's last reference to a file is dropped by a work item. */
	flush_delayed_fput();
	end = jiffies + MAX_RELEASE_SECONDS * HZ;
	for (i = 0; i < t->count; i++) {
		struct dma_fence *fence = t->f[i].fence;

		while (kref_read(&fence->refcount) > 1 && time_before(jiffies, end))
			usleep_range(1000, 2000);
		KUNIT_EXPECT_EQ(test, kref_read(&fence->refcount), 1U);
		dma_fence_put(fence);
	}
	t->count = 0;
}

static void api_test_exit(struct kunit *test)
{
	if (test->priv)
		drop_all(test);
}

/* Ready for another round, with another buffer. */
static void reset(struct kunit *test)
{
	drop_all(test);
	replace_buffer(test);
}

/* A fence that is going to be in the buffer with @usage. */
static struct dma_fence *fence_of(struct kunit *test, u64 context, u64 seqno,
				  enum dma_resv_usage usage)
{
	struct api_test *t = test->priv;

	KUNIT_ASSERT_LT(test, t->count, (unsigned int)MAX_FENCES);
	t->f[t->count].fence = mock_fence(test, context, seqno);
	t->f[t->count].usage = usage;
	return t->f[t->count++].fence;
}

static struct dma_fence *new_fence(struct kunit *test, enum dma_resv_usage usage)
{
	return fence_of(test, dma_fence_context_alloc(1), 1, usage);
}

static void driver_adds(struct kunit *test, struct dma_fence *fence,
			enum dma_resv_usage usage)
{
	struct api_test *t = test->priv;

	dma_resv_lock(t->dmabuf->resv, NULL);
	KUNIT_EXPECT_EQ(test, dma_resv_reserve_fences(t->dmabuf->resv, 1), 0);
	dma_resv_add_fence(t->dmabuf->resv, fence, usage);
	dma_resv_unlock(t->dmabuf->resv);
}

/* Whether a driver finds nothing to wait for. */
static bool idle(struct kunit *test, enum dma_resv_usage usage)
{
	struct api_test *t = test->priv;
	bool waited = dma_resv_wait_timeout(t->dmabuf->resv, usage, false, 0);
	bool signaled = dma_resv_test_signaled(t->dmabuf->resv, usage);

	KUNIT_EXPECT_EQ(test, waited, signaled);
	return signaled;
}

/* The number of fences that a driver finds. */
static unsigned int fences_in(struct kunit *test)
{
	struct api_test *t = test->priv;
	struct dma_resv_iter cursor;
	struct dma_fence *fence;
	unsigned int count = 0;

	dma_resv_lock(t->dmabuf->resv, NULL);
	dma_resv_for_each_fence(&cursor, t->dmabuf->resv, DMA_RESV_USAGE_BOOKKEEP, fence)
		count++;
	dma_resv_unlock(t->dmabuf->resv);
	return count;
}

static int call(struct kunit *test, struct file *file, unsigned int cmd, void *arg)
{
	struct api_test *t = test->priv;

	return kunit_user_ioctl(test, t->user, file, cmd, arg, _IOC_SIZE(cmd));
}

static int call_export(struct kunit *test, u32 flags, s32 *fd)
{
	struct api_test *t = test->priv;
	struct dma_buf_export_sync_file arg = { .flags = flags, .fd = -1 };
	int ret = call(test, t->dmabuf->file, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &arg);

	*fd = arg.fd;
	return ret;
}

static int call_import(struct kunit *test, u32 flags, s32 fd)
{
	struct api_test *t = test->priv;
	struct dma_buf_import_sync_file arg = { .flags = flags, .fd = fd };

	return call(test, t->dmabuf->file, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &arg);
}

/* Returns the fence of an export with a reference for the caller. */
static struct dma_fence *snapshot(struct kunit *test, u32 flags)
{
	struct dma_fence *fence;
	s32 fd;

	KUNIT_ASSERT_EQ(test, call_export(test, flags, &fd), 0);
	fence = sync_file_get_fence(fd);
	KUNIT_ASSERT_TRUE(test, !!fence);
	KUNIT_EXPECT_EQ(test, close_fd(fd), 0);
	return fence;
}

static int sync_file_fd(struct kunit *test, struct dma_fence *fence)
{
	struct sync_file *sync_file = sync_file_create(fence);
	int fd = get_unused_fd_flags(O_CLOEXEC);

	KUNIT_ASSERT_TRUE(test, !!sync_file);
	KUNIT_ASSERT_GE(test, fd, 0);
	fd_install(fd, sync_file->file);
	return fd;
}

static void import(struct kunit *test, struct dma_fence *fence, u32 flags)
{
	int fd = sync_file_fd(test, fence);

	KUNIT_EXPECT_EQ(test, call_import(test, flags, fd), 0);
	KUNIT_EXPECT_EQ(test, close_fd(fd), 0);
}

static enum dma_resv_usage usage_of(u32 flags)
{
	return flags & DMA_BUF_SYNC_WRITE ? DMA_RESV_USAGE_WRITE : DMA_RESV_USAGE_READ;
}

/* A fence of its own timeline, imported. */
static struct dma_fence *import_new(struct kunit *test, u32 flags)
{
	struct dma_fence *fence = new_fence(test, usage_of(flags));

	import(test, fence, flags);
	return fence;
}

static bool is_container(struct dma_fence *fence)
{
	return dma_fence_is_array(fence) || to_dma_fence_chain(fence);
}

/* Returns the number of pending fences in an export, and checks that it is flat. */
static unsigned int count_exported(struct kunit *test, u32 flags)
{
	struct dma_fence *fence = snapshot(test, flags);
	struct dma_fence_array *array = to_dma_fence_array(fence);
	unsigned int i, count = 0;
	bool busy;

	KUNIT_EXPECT_FALSE(test, !!to_dma_fence_chain(fence));
	for (i = 0; array && i < array->num_fences; i++) {
		KUNIT_EXPECT_FALSE(test, is_container(array->fences[i]));
		count += !dma_fence_is_signaled(array->fences[i]);
	}
	if (!array)
		count = !dma_fence_is_signaled(fence);
	busy = count;
	KUNIT_EXPECT_NE(test, dma_fence_is_signaled(fence), busy);
	dma_fence_put(fence);
	return count;
}

/* The number of fences that an access has to wait for, as the test knows. */
static unsigned int count_pending(struct kunit *test, enum dma_resv_usage usage)
{
	struct api_test *t = test->priv;
	unsigned int i, count = 0;

	for (i = 0; i < t->count; i++)
		count += t->f[i].usage <= usage && !dma_fence_is_signaled(t->f[i].fence);
	return count;
}

/* Drivers and exports see exactly the fences that are pending. */
static void check(struct kunit *test)
{
	unsigned int writers = count_pending(test, DMA_RESV_USAGE_WRITE);
	unsigned int all = count_pending(test, DMA_RESV_USAGE_READ);
	bool written = writers, used = all;

	KUNIT_EXPECT_NE(test, idle(test, DMA_RESV_USAGE_WRITE), written);
	KUNIT_EXPECT_NE(test, idle(test, DMA_RESV_USAGE_READ), used);
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_READ), writers);
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_WRITE), all);
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_RW), all);
}

/* Signals all fences, starting with number @from, and checks after each. */
static void signal_all(struct kunit *test, unsigned int from)
{
	struct api_test *t = test->priv;
	unsigned int i;

	check(test);
	for (i = 0; i < t->count; i++) {
		dma_fence_signal(t->f[(from + i) % t->count].fence);
		check(test);
	}
}

static void idle_is_the_stub(struct kunit *test)
{
	struct dma_fence *stub = dma_fence_get_stub(), *fence;
	u32 flags;

	for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++) {
		fence = snapshot(test, flags);
		KUNIT_EXPECT_PTR_EQ(test, fence, stub);
		KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(fence));
		/* This is how Mesa finds out whether the import ioctl exists. */
		import(test, fence, flags);
		dma_fence_put(fence);
		check(test);
	}
	dma_fence_put(stub);
}

static void signaled_is_idle(struct kunit *test)
{
	struct dma_fence *stub = dma_fence_get_stub(), *fence;
	u32 flags;

	driver_adds(test, new_fence(test, DMA_RESV_USAGE_KERNEL), DMA_RESV_USAGE_KERNEL);
	driver_adds(test, new_fence(test, DMA_RESV_USAGE_READ), DMA_RESV_USAGE_READ);
	import_new(test, DMA_BUF_SYNC_READ);
	import_new(test, DMA_BUF_SYNC_WRITE);
	signal_all(test, 0);
	for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++) {
		fence = snapshot(test, flags);
		KUNIT_EXPECT_PTR_EQ(test, fence, stub);
		dma_fence_put(fence);
	}
	dma_fence_put(stub);
}

static void one_fence_is_bare(struct kunit *test)
{
	struct dma_fence *writer, *fence;

	import_new(test, DMA_BUF_SYNC_READ);
	writer = import_new(test, DMA_BUF_SYNC_WRITE);
	fence = snapshot(test, DMA_BUF_SYNC_READ);
	KUNIT_EXPECT_PTR_EQ(test, fence, writer);
	dma_fence_put(fence);
}

static void several_are_a_flat_array(struct kunit *test)
{
	struct dma_fence_array *array;
	struct dma_fence *fence;

	driver_adds(test, new_fence(test, DMA_RESV_USAGE_KERNEL), DMA_RESV_USAGE_KERNEL);
	driver_adds(test, new_fence(test, DMA_RESV_USAGE_READ), DMA_RESV_USAGE_READ);
	import_new(test, DMA_BUF_SYNC_READ);
	import_new(test, DMA_BUF_SYNC_WRITE);
	/* An import of an exported array adds the fences in the array. */
	fence = snapshot(test, DMA_BUF_SYNC_RW);
	import(test, fence, DMA_BUF_SYNC_READ);
	dma_fence_put(fence);

	fence = snapshot(test, DMA_BUF_SYNC_READ);
	array = to_dma_fence_array(fence);
	KUNIT_EXPECT_TRUE(test, array && array->num_fences == 2);
	dma_fence_put(fence);
	KUNIT_EXPECT_GE(test, count_exported(test, DMA_BUF_SYNC_WRITE), 4U);
}

static void snapshot_ignores_later_fences(struct kunit *test)
{
	static const u32 access[] = { DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE, DMA_BUF_SYNC_RW };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(access); i++) {
		struct dma_fence *first = import_new(test, DMA_BUF_SYNC_WRITE);
		struct dma_fence *second = import_new(test, DMA_BUF_SYNC_WRITE);
		struct dma_fence *fence = snapshot(test, access[i]), *later;

		import_new(test, DMA_BUF_SYNC_READ);
		import_new(test, DMA_BUF_SYNC_WRITE);
		dma_fence_signal(first);
		KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(fence));
		dma_fence_signal(second);
		KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(fence));
		dma_fence_put(fence);
		later = snapshot(test, access[i]);
		KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(later));
		dma_fence_put(later);
		reset(test);
	}
}

static void snapshot_outlives_the_buffer(struct kunit *test)
{
	struct api_test *t = test->priv;
	struct dma_fence *first = import_new(test, DMA_BUF_SYNC_WRITE);
	struct dma_fence *second = import_new(test, DMA_BUF_SYNC_READ);
	struct dma_fence *fence = snapshot(test, DMA_BUF_SYNC_RW);

	drop_buffer(t);
	flush_delayed_fput();
	dma_fence_signal(first);
	KUNIT_EXPECT_FALSE(test, dma_fence_is_signaled(fence));
	dma_fence_signal(second);
	KUNIT_EXPECT_TRUE(test, dma_fence_is_signaled(fence));
	dma_fence_put(fence);
	replace_buffer(test);
}

/* Imported or a driver's, reader or writer: the right accesses wait for each fence. */
static void everybody_waits_for_whom_they_must(struct kunit *test)
{
	unsigned int mix, from, i;

	for (mix = 0; mix < 32; mix++) {
		for (from = 0; from < 3; from++) {
			enum dma_resv_usage usage =
				mix & 1 ? DMA_RESV_USAGE_KERNEL : DMA_RESV_USAGE_WRITE;

			if (mix & 2)
				driver_adds(test, new_fence(test, usage), usage);
			if (mix & 4)
				driver_adds(test, new_fence(test, DMA_RESV_USAGE_READ),
					    DMA_RESV_USAGE_READ);
			for (i = 0; i < 3; i++)
				import_new(test, (mix >> 3) & BIT(i & 1) ?
						 DMA_BUF_SYNC_WRITE : DMA_BUF_SYNC_READ);
			signal_all(test, from);
			reset(test);
		}
	}
}

static void rw_means_write(struct kunit *test)
{
	struct dma_fence *write = import_new(test, DMA_BUF_SYNC_WRITE), *fence;

	check(test);
	dma_fence_signal(write);
	/* A writer, so readers wait for it. */
	write = import_new(test, DMA_BUF_SYNC_RW);
	fence = snapshot(test, DMA_BUF_SYNC_READ);
	KUNIT_EXPECT_PTR_EQ(test, fence, write);
	dma_fence_put(fence);
	/* A reader does not wait for another reader, and RW does not count as a reader. */
	import_new(test, DMA_BUF_SYNC_READ);
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_READ), 1U);
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_RW), 2U);
	signal_all(test, 0);
}

/* For example the fence that signals when the memory has been cleared. */
static void import_keeps_kernel_fence(struct kunit *test)
{
	u32 flags;

	for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++) {
		struct dma_fence *kernel = new_fence(test, DMA_RESV_USAGE_KERNEL);
		struct dma_fence *imported;
		unsigned int i;

		driver_adds(test, kernel, DMA_RESV_USAGE_KERNEL);
		for (i = 0; i < 10; i++) {
			imported = import_new(test, flags);
			dma_fence_signal(imported);
		}
		KUNIT_EXPECT_FALSE(test, idle(test, DMA_RESV_USAGE_KERNEL));
		check(test);
		dma_fence_signal(kernel);
		KUNIT_EXPECT_TRUE(test, idle(test, DMA_RESV_USAGE_KERNEL));
		check(test);
		reset(test);
	}
}

/* User space that has a fence of the kernel's timeline may import that, too. */
static void import_of_kernel_timeline_keeps_kernel_fence(struct kunit *test)
{
	u32 flags;

	for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++) {
		u64 context = dma_fence_context_alloc(1);
		struct dma_fence *kernel =
			fence_of(test, context, 5, DMA_RESV_USAGE_KERNEL);
		struct dma_fence *fence;
		unsigned int i;

		driver_adds(test, kernel, DMA_RESV_USAGE_KERNEL);
		import(test, kernel, flags);
		/* On one timeline an earlier fence does not replace a later one. */
		for (i = 0; i < 4; i++) {
			fence = fence_of(test, context, 1 + i, usage_of(flags));
			dma_fence_signal(fence);
			import(test, fence, flags);
			KUNIT_EXPECT_FALSE(test, idle(test, DMA_RESV_USAGE_KERNEL));
			KUNIT_EXPECT_GE(test, count_exported(test, DMA_BUF_SYNC_READ), 1U);
		}
		dma_fence_signal(kernel);
		KUNIT_EXPECT_TRUE(test, idle(test, DMA_RESV_USAGE_KERNEL));
		check(test);
		reset(test);
	}
}

/* Even users that ignore implicit fences wait for kernel fences. */
static void import_makes_no_kernel_fence(struct kunit *test)
{
	import_new(test, DMA_BUF_SYNC_READ);
	import_new(test, DMA_BUF_SYNC_WRITE);
	import_new(test, DMA_BUF_SYNC_RW);
	KUNIT_EXPECT_TRUE(test, idle(test, DMA_RESV_USAGE_KERNEL));
	check(test);
}

/* An eviction fence signals when the memory is evicted; waiting for it evicts. */
static void bookkeeping_is_not_exported(struct kunit *test)
{
	struct dma_fence *reader, *writer, *fence;

	driver_adds(test, new_fence(test, DMA_RESV_USAGE_BOOKKEEP),
		    DMA_RESV_USAGE_BOOKKEEP);
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_READ), 0U);
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_RW), 0U);
	reader = import_new(test, DMA_BUF_SYNC_READ);
	writer = import_new(test, DMA_BUF_SYNC_WRITE);
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_RW), 2U);
	fence = snapshot(test, DMA_BUF_SYNC_READ);
	KUNIT_EXPECT_PTR_EQ(test, fence, writer);
	dma_fence_put(fence);

	/* The import has not removed it either. */
	dma_fence_signal(writer);
	dma_fence_signal(reader);
	KUNIT_EXPECT_FALSE(test, idle(test, DMA_RESV_USAGE_BOOKKEEP));
}

static void older_keeps_newer(struct kunit *test)
{
	u32 flags;

	for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++) {
		u64 context = dma_fence_context_alloc(1);
		enum dma_resv_usage usage = usage_of(flags);
		struct dma_fence *newer = fence_of(test, context, 9, usage);
		struct dma_fence *older = fence_of(test, context, 3, usage);

		import(test, newer, flags);
		import(test, older, flags);
		dma_fence_signal(older);
		check(test);
		dma_fence_signal(newer);
		check(test);
		reset(test);
	}
}

/* Imported as a writer, then as a reader: readers still wait for the writer. */
static void reader_keeps_writer_of_its_timeline(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	struct dma_fence *writer = fence_of(test, context, 1, DMA_RESV_USAGE_WRITE);
	struct dma_fence *reader = fence_of(test, context, 2, DMA_RESV_USAGE_READ);

	import(test, writer, DMA_BUF_SYNC_WRITE);
	import(test, reader, DMA_BUF_SYNC_READ);
	KUNIT_EXPECT_FALSE(test, idle(test, DMA_RESV_USAGE_WRITE));
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_READ), 1U);
	dma_fence_signal(writer);
	check(test);
	dma_fence_signal(reader);
	check(test);
}

/* Merges two sync_files by the ioctl, and closes both. */
static int merge(struct kunit *test, int fd1, int fd2)
{
	struct sync_merge_data arg = { .name = "api-test", .fd2 = fd2 };
	struct file *file = fget(fd1);

	KUNIT_ASSERT_TRUE(test, !!file);
	KUNIT_ASSERT_EQ(test, call(test, file, SYNC_IOC_MERGE, &arg), 0);
	fput(file);
	KUNIT_EXPECT_EQ(test, close_fd(fd1), 0);
	KUNIT_EXPECT_EQ(test, close_fd(fd2), 0);
	return arg.fence;
}

static void merged_is_taken_apart(struct kunit *test)
{
	unsigned int from, i;
	u32 flags;
	int fd;

	for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++) {
		for (from = 0; from < 4; from++) {
			driver_adds(test, new_fence(test, DMA_RESV_USAGE_KERNEL),
				    DMA_RESV_USAGE_KERNEL);
			fd = sync_file_fd(test, new_fence(test, usage_of(flags)));
			for (i = 0; i < 2; i++) {
				struct dma_fence *next = new_fence(test, usage_of(flags));

				fd = merge(test, fd, sync_file_fd(test, next));
			}
			KUNIT_EXPECT_EQ(test, call_import(test, flags, fd), 0);
			KUNIT_EXPECT_EQ(test, close_fd(fd), 0);
			signal_all(test, from);
			reset(test);
		}
	}
}

static void chain_is_taken_apart(struct kunit *test)
{
	unsigned int from, i;
	u32 flags;

	for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++) {
		for (from = 0; from < 4; from++) {
			struct dma_fence *last = NULL;

			for (i = 0; i < 4; i++) {
				struct dma_fence *next = new_fence(test, usage_of(flags));
				struct dma_fence_chain *node =
					kzalloc(sizeof(*node), GFP_KERNEL);

				KUNIT_ASSERT_TRUE(test, !!node);
				dma_fence_chain_init(node, last, dma_fence_get(next), 1 + i);
				last = &node->base;
			}
			import(test, last, flags);
			dma_fence_put(last);
			signal_all(test, from);
			reset(test);
		}
	}
}

static void import_of_signaled_changes_nothing(struct kunit *test)
{
	struct dma_fence *signaled = new_fence(test, DMA_RESV_USAGE_WRITE);
	unsigned int i;
	u32 flags;

	import_new(test, DMA_BUF_SYNC_READ);
	dma_fence_signal(signaled);
	for (i = 0; i < 100; i++)
		for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++)
			import(test, signaled, flags);
	check(test);
	KUNIT_EXPECT_LE(test, fences_in(test), 3U);
}

/* A client may import what it has exported, frame by frame. */
static void again_and_again_does_not_grow(struct kunit *test)
{
	struct dma_fence *fence;
	unsigned int i, in = 0, out = 0;
	u32 flags;

	driver_adds(test, new_fence(test, DMA_RESV_USAGE_KERNEL), DMA_RESV_USAGE_KERNEL);
	driver_adds(test, new_fence(test, DMA_RESV_USAGE_READ), DMA_RESV_USAGE_READ);
	import_new(test, DMA_BUF_SYNC_READ);
	import_new(test, DMA_BUF_SYNC_WRITE);
	for (i = 0; i < 60; i++) {
		for (flags = DMA_BUF_SYNC_READ; flags <= DMA_BUF_SYNC_RW; flags++) {
			fence = snapshot(test, flags);
			import(test, fence, DMA_BUF_SYNC_RW);
			import(test, fence, DMA_BUF_SYNC_READ);
			dma_fence_put(fence);
		}
		/* By now each fence has been imported in each role. */
		if (i == 5) {
			in = fences_in(test);
			out = count_exported(test, DMA_BUF_SYNC_RW);
		}
	}
	KUNIT_EXPECT_EQ(test, fences_in(test), in);
	KUNIT_EXPECT_EQ(test, count_exported(test, DMA_BUF_SYNC_RW), out);
}

static void timeline_does_not_grow(struct kunit *test)
{
	u64 context = dma_fence_context_alloc(1);
	unsigned int i;

	import_new(test, DMA_BUF_SYNC_WRITE);
	for (i = 1; i <= 300; i++) {
		struct dma_fence *fence = mock_fence(test, context, i);

		import(test, fence, i & 1 ? DMA_BUF_SYNC_READ : DMA_BUF_SYNC_RW);
		/* The first fence stays pending, so the buffer is never idle. */
		KUNIT_EXPECT_LE(test, fences_in(test), 4U);
		dma_fence_signal(fence);
		dma_fence_put(fence);
	}
	check(test);
}

#define ERRNO_ROUNDS 200

static void errnos(struct kunit *test)
{
	static const u32 bad_flags[] = { 0, 4, 8, DMA_BUF_SYNC_RW | 4, ~0U };
	struct api_test *t = test->priv;
	struct file *file = t->dmabuf->file;
	int fd = sync_file_fd(test, new_fence(test, DMA_RESV_USAGE_WRITE));
	int other, ret, round, i;
	s32 exported;

	get_dma_buf(t->dmabuf);
	other = dma_buf_fd(t->dmabuf, O_CLOEXEC);
	KUNIT_ASSERT_GE(test, other, 0);
	for (round = 0; round < ERRNO_ROUNDS; round++) {
		for (i = 0; i < ARRAY_SIZE(bad_flags); i++) {
			KUNIT_EXPECT_EQ(test, call_export(test, bad_flags[i], &exported), -EINVAL);
			KUNIT_EXPECT_EQ(test, exported, -1);
			KUNIT_EXPECT_EQ(test, call_import(test, bad_flags[i], fd), -EINVAL);
			KUNIT_EXPECT_EQ(test, call_import(test, bad_flags[i], -1), -EINVAL);
		}
		/* Nothing is mapped at 0. */
		ret = file->f_op->unlocked_ioctl(file, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, 0);
		KUNIT_EXPECT_EQ(test, ret, -EFAULT);
		ret = file->f_op->unlocked_ioctl(file, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, 0);
		KUNIT_EXPECT_EQ(test, ret, -EFAULT);

		/* Invalid: no file, a number that is never in use, a file that is no sync_file. */
		KUNIT_EXPECT_EQ(test, call_import(test, DMA_BUF_SYNC_RW, -1), -EINVAL);
		KUNIT_EXPECT_EQ(test, call_import(test, DMA_BUF_SYNC_RW, INT_MAX), -EINVAL);
		KUNIT_EXPECT_EQ(test, call_import(test, DMA_BUF_SYNC_RW, other), -EINVAL);
	}
	close_fd(other);

	/*
	 * No call has changed the buffer, and the calls have not used up file descriptors.
	 * Other kernel threads share the file table, so a few numbers more mean nothing.
	 */
	KUNIT_EXPECT_EQ(test, fences_in(test), 0U);
	KUNIT_EXPECT_EQ(test, call_export(test, DMA_BUF_SYNC_RW, &exported), 0);
	KUNIT_EXPECT_LT(test, exported, fd + ERRNO_ROUNDS / 2);
	close_fd(exported);
	KUNIT_EXPECT_EQ(test, call_import(test, DMA_BUF_SYNC_RW, fd), 0);
	check(test);
	close_fd(fd);
}

static struct kunit_case api_cases[] = {
	KUNIT_CASE(errnos),
	KUNIT_CASE(idle_is_the_stub),
	KUNIT_CASE(signaled_is_idle),
	KUNIT_CASE(one_fence_is_bare),
	KUNIT_CASE(several_are_a_flat_array),
	KUNIT_CASE(snapshot_ignores_later_fences),
	KUNIT_CASE(snapshot_outlives_the_buffer),
	KUNIT_CASE(everybody_waits_for_whom_they_must),
	KUNIT_CASE(rw_means_write),
	KUNIT_CASE(import_keeps_kernel_fence),
	KUNIT_CASE(import_of_kernel_timeline_keeps_kernel_fence),
	KUNIT_CASE(import_makes_no_kernel_fence),
	KUNIT_CASE(bookkeeping_is_not_exported),
	KUNIT_CASE(older_keeps_newer),
	KUNIT_CASE(reader_keeps_writer_of_its_timeline),
	KUNIT_CASE(merged_is_taken_apart),
	KUNIT_CASE(chain_is_taken_apart),
	KUNIT_CASE(import_of_signaled_changes_nothing),
	KUNIT_CASE(again_and_again_does_not_grow),
	KUNIT_CASE(timeline_does_not_grow),
	{}
};

static struct kunit_suite api_suite = {
	.name = "dma_buf_sync_file_api",
	.init = api_test_init,
	.exit = api_test_exit,
	.test_cases = api_cases,
};

kunit_user_test_suite(api_suite);

MODULE_DESCRIPTION("KUnit tests of the sync_file ioctls of a dma-buf");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
