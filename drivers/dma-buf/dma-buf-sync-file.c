// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA_BUF_IOCTL_EXPORT_SYNC_FILE and DMA_BUF_IOCTL_IMPORT_SYNC_FILE, for a
 * reservation object that has one exclusive fence and a list of shared ones.
 *
 * The one rule: an import removes only fences that an import added. Read "What an
 * import keeps" below before you change anything here.
 */

#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-resv.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <linux/uaccess.h>
#include <uapi/linux/dma-buf.h>

#include "dma-buf-sync-file.h"
#include "dma-fence-leaves.h"

/**
 * DOC: sync_file export and import
 *
 * Implicit synchronisation keeps the fences of all work on a buffer in the
 * reservation object of the buffer: the last writer in the exclusive slot,
 * readers in the list of shared fences. Explicit APIs pass fences around
 * themselves, as &sync_file. Two ioctls on the file descriptor of a dma-buf
 * pass fences from one kind of synchronisation to the other, see
 * &struct dma_buf_export_sync_file and &struct dma_buf_import_sync_file.
 *
 * An export is a snapshot: it holds the fences that were pending when it was
 * taken, without their containers; some that had just signaled may be among them.
 * Fences that are added later do not enter it, nor do fences that are not the end
 * of any work (%DMA_FENCE_FLAG_BOOKKEEPING_BIT).
 *
 * An import takes the pending fences of the sync_file out of their containers,
 * too, and adds them to the reservation object:
 *
 * ====== =============================== =======================================
 * access exclusive slot                  shared list
 * ====== =============================== =======================================
 * READ   unchanged                       each fence in a slot, no containers
 * WRITE  the only pending fence, or an   unchanged
 *        array: first the driver's, then
 *        those of imports
 * ====== =============================== =======================================
 *
 * The reservation object remembers which of its fences were imported
 * (&dma_resv_list.imported, &dma_resv.excl_imported). A later imported fence
 * replaces an imported fence of its context; a driver's fence stays until it has
 * signaled.
 */

/**
 * DOC: What an import keeps
 *
 * When a driver lets the device move a buffer, or clear the memory that the buffer
 * is going to be in, it puts the fence of that work into the exclusive slot
 * and returns. (TTM puts the fence of the move that made room for the buffer
 * into the list of shared fences; its own users look for it there.) Until this
 * fence signals, the memory holds what its last owner left there: pages of other
 * processes, page tables, keys. Nothing keeps a client from reading them except
 * that its jobs and its CPU accesses wait for the fence. So for every change to
 * this file ask: is there an access that had to wait for one of these fences
 * before an import and does not have to wait for it afterwards? There is none if
 * the following holds. Each step names the case of the KUnit suite dma_buf_sync_file
 * that fails if the step does not hold:
 *
 * 1. A pending fence that a driver put into the exclusive slot is still in it,
 *    alone or in its array (import_write_into_every_mix), also if a later fence of
 *    its context is imported (later_import_keeps_drivers_fence) and if the driver
 *    had put it there in a container of its own (drivers_container_is_kept).
 * 2. A pending shared fence that a driver put there is still in its slot
 *    (import_read_into_every_mix, later_import_keeps_drivers_fence,
 *    nothing_that_is_pending_moves), also when the list is rebuilt to grow
 *    (rebuilt_list_knows_whose_fences_it_has). So readers that hold no lock and
 *    check no sequence count do not miss it (copies_have_the_drivers_fence).
 * 3. An import to read does not change the exclusive slot, and an import to write
 *    does not change the shared list (each_import_has_its_place). A waiter that
 *    skips the exclusive fence because there are shared ones is therefore wrong.
 *    The core, nouveau and msm did that and were fixed; scripts/coccinelle has a
 *    rule that finds it.
 * 4. A driver that adds a shared fence after an import replaces only what it would
 *    have replaced without the import: a signaled fence, or an earlier one of its
 *    context (drivers_fence_of_imported_context).
 * 5. Everything that can fail comes before the first change
 *    (failed_import_changes_nothing).
 *
 * These steps are about the contents of the reservation object. How a driver uses
 * them is up to the driver.
 */

/* Marks an array made here of exportable leaves only. An export may share it. */
#define FLAT_BIT DMA_FENCE_FLAG_USER_BITS

static bool is_bookkeeping(const struct dma_fence *fence)
{
	return test_bit(DMA_FENCE_FLAG_BOOKKEEPING_BIT, &fence->flags);
}

/* Exports must not contain fences that only make a driver give up the buffer. */
static void leaves_drop_bookkeeping(struct dma_fence_leaves *leaves)
{
	unsigned int i, count = 0;

	for (i = 0; i < leaves->count; i++) {
		struct dma_fence *fence = leaves->fences[i];

		if (is_bookkeeping(fence))
			dma_fence_put(fence);
		else
			leaves->fences[count++] = fence;
	}
	leaves->count = count;
}

/* Whether an export may hand out @fence as it is. */
static bool is_exportable(struct dma_fence *fence)
{
	if (dma_fence_is_array(fence))
		return test_bit(FLAT_BIT, &fence->flags);
	return !to_dma_fence_chain(fence) && !is_bookkeeping(fence);
}

/**
 * dma_resv_snapshot - all fences that an access has to wait for, as one fence
 * @resv: the reservation object, need not be locked
 * @write: true for a write, which waits for readers and writers; false for a
 *	read, which waits for writers
 *
 * Context: Process context, may sleep.
 * Return: the only pending fence, or an array of all pending fences without
 * containers in it, or a signaled fence if none is pending, with a reference for
 * the caller; ERR_PTR(-ENOMEM) if memory ran out.
 */
struct dma_fence *dma_resv_snapshot(struct dma_resv *resv, bool write)
{
	struct dma_fence_leaves leaves = {};
	struct dma_fence *fence;
	int ret = 0;

	if (write) {
		ret = dma_resv_get_fences_rcu(resv, NULL, &leaves.count,
					      &leaves.fences);
		leaves.max = leaves.count;
	} else {
		fence = dma_resv_get_excl_rcu(resv);
		if (fence && is_exportable(fence) && !dma_fence_is_signaled(fence))
			return fence;
		if (fence) {
			ret = dma_fence_leaves_add(&leaves, fence);
			dma_fence_put(fence);
		}
	}
	if (!ret)
		ret = dma_fence_leaves_flatten(&leaves);
	if (ret) {
		dma_fence_leaves_fini(&leaves);
		return ERR_PTR(ret);
	}

	leaves_drop_bookkeeping(&leaves);
	fence = dma_fence_leaves_to_fence(&leaves);
	return fence ?: ERR_PTR(-ENOMEM);
}
EXPORT_SYMBOL_FOR_DMABUF_KUNIT(dma_resv_snapshot);

/*
 * Whether @fence may replace @old, if both were imported. Nothing orders the
 * fences of context 0.
 */
static __always_inline bool replaces(struct dma_fence *fence,
				     struct dma_fence *old)
{
	return fence->context == old->context && fence->context &&
	       fence->ops == old->ops && dma_fence_is_later(fence, old);
}

/*
 * The slot for @fence: its own, that of a fence that it replaces, that of a
 * signaled fence, or the next one. Only the first @count slots are checked.
 */
static unsigned int import_slot(struct dma_resv *resv, struct dma_resv_list *list,
				struct dma_fence *fence, unsigned int count)
{
	unsigned int i, slot = list->shared_count;

	for (i = 0; i < count; i++) {
		struct dma_fence *f = rcu_dereference_protected(list->shared[i],
								dma_resv_held(resv));

		if (f == fence || (list->imported[i] && replaces(fence, f)))
			return i;
		if (slot >= count && test_bit(DMA_FENCE_FLAG_SIGNALED_BIT, &f->flags))
			slot = i;
	}
	return slot;
}

/*
 * Puts @fence into the list, which has room. No pending fence moves, because some
 * readers hold no lock and check no sequence count.
 */
static void import_shared(struct dma_resv *resv, struct dma_resv_list *list,
			  struct dma_fence *fence, unsigned int count)
{
	unsigned int slot = import_slot(resv, list, fence, count);
	struct dma_fence *old = NULL;

	if (slot < list->shared_count) {
		old = rcu_dereference_protected(list->shared[slot],
						dma_resv_held(resv));
		if (old == fence)
			return;
	}

	write_seqcount_begin(&resv->seq);
	list->imported[slot] = true;
	rcu_assign_pointer(list->shared[slot], dma_fence_get(fence));
	if (!old) {
		/* fence update must be visible before we extend the shared_count */
		smp_wmb();
		list->shared_count = slot + 1;
	}
	write_seqcount_end(&resv->seq);
	dma_fence_put(old);
}

/*
 * Makes room for @fences. Only if the list would have to grow, this asks drivers
 * whether their fences have signaled.
 */
static int import_reserve(struct dma_resv *resv, struct dma_fence **fences,
			  unsigned int num)
{
	struct dma_resv_list *list = dma_resv_get_list(resv);
	unsigned int i, count, free = 0;

	if (!list || list->shared_count + num <= list->shared_max)
		return dma_resv_reserve_shared(resv, num);

	count = list->shared_count;
	if (num == 1 && import_slot(resv, list, fences[0], count) < count)
		return 0;
	for (i = 0; i < count; i++)
		free += dma_fence_is_signaled(rcu_dereference_protected(list->shared[i],
							dma_resv_held(resv)));
	return free < num ? dma_resv_reserve_shared(resv, num) : 0;
}

static int import_read(struct dma_resv *resv, struct dma_fence **fences,
		       unsigned int num)
{
	struct dma_resv_list *list;
	unsigned int i, count;
	int ret;

	ret = import_reserve(resv, fences, num);
	if (ret)
		return ret;

	list = dma_resv_get_list(resv);
	count = list->shared_count;
	for (i = 0; i < num; i++) {
		if (num == 1 || !dma_fence_is_signaled(fences[i]))
			import_shared(resv, list, fences[i], count);
		cond_resched();
	}
	return 0;
}

static bool contains(struct dma_fence **fences, unsigned int num,
		     struct dma_fence *fence)
{
	unsigned int i;

	for (i = 0; i < num; i++)
		if (fences[i] == fence)
			return true;
	return false;
}

/* Whether one of @fences may replace @old, which was imported. */
static bool has_successor(struct dma_fence *old, struct dma_fence **fences,
			  unsigned int num)
{
	unsigned int i;

	for (i = 0; i < num; i++)
		if (replaces(fences[i], old))
			return true;
	return false;
}

/* Takes over the reference to @excl. */
static void import_excl(struct dma_resv *resv, struct dma_fence *excl,
			unsigned int imported)
{
	struct dma_fence *old = dma_resv_get_excl(resv);

	write_seqcount_begin(&resv->seq);
	rcu_assign_pointer(resv->fence_excl, excl);
	resv->excl_imported = imported;
	write_seqcount_end(&resv->seq);
	dma_fence_put(old);
}

/*
 * An array that replaces an earlier one of ours contains the pending fences of
 * that one, so it is a later fence of the same context. Drivers may copy it into
 * the list of shared fences (amdgpu does), where it displaces the earlier array.
 *
 * Drivers that gather the fences of a buffer in an array of their own (amdgpu
 * does) take the lock of our array under the lock of theirs, so our lock has a
 * class of its own. Our array contains no array, so the locks nest no deeper.
 */
static struct dma_fence *import_array(struct dma_fence_leaves *leaves,
				      struct dma_fence *before, bool exportable)
{
	u64 context = before ? before->context : dma_fence_context_alloc(1);
	static struct lock_class_key key;
	struct dma_fence_array *array;

	array = dma_fence_array_create(leaves->count, leaves->fences, context,
				       before ? before->seqno + 1 : 1, false);
	if (!array) {
		dma_fence_leaves_fini(leaves);
		return NULL;
	}
	lockdep_set_class(array->base.lock, &key);
	if (exportable)
		__set_bit(FLAT_BIT, &array->base.flags);
	return &array->base;
}

/*
 * Puts @fences beside the @num_old fences of the exclusive slot, of which the
 * first @drivers are a driver's.
 */
static int import_beside(struct dma_resv *resv, struct dma_fence **old,
			 unsigned int num_old, unsigned int drivers,
			 struct dma_fence **fences, unsigned int num)
{
	struct dma_fence *excl = dma_resv_get_excl(resv);
	struct dma_fence_leaves all = { .max = num_old + num };
	bool ours = excl && dma_fence_is_array(excl) && resv->excl_imported;
	unsigned int i, kept, imported = 0;
	bool exportable = true;

	all.fences = kmalloc_array(all.max, sizeof(*all.fences),
				   GFP_KERNEL | __GFP_NOWARN);
	if (!all.fences)
		return -ENOMEM;

	for (i = 0; i < num_old; i++) {
		cond_resched();
		if (dma_fence_is_signaled(old[i]) ||
		    (i >= drivers && has_successor(old[i], fences, num)))
			continue;
		exportable &= !is_bookkeeping(old[i]);
		imported += i >= drivers;
		all.fences[all.count++] = dma_fence_get(old[i]);
	}
	kept = all.count;
	for (i = 0; i < num; i++) {
		if (!dma_fence_is_signaled(fences[i]) &&
		    !contains(all.fences, kept, fences[i]))
			all.fences[all.count++] = dma_fence_get(fences[i]);
		cond_resched();
	}
	if (all.count == kept) {
		/* Nothing new: the exclusive fence, an array or not, stays. */
		dma_fence_leaves_fini(&all);
		return 0;
	}

	imported += all.count - kept;
	if (all.count == 1) {
		excl = dma_fence_leaves_to_fence(&all);
	} else {
		excl = import_array(&all, ours ? excl : NULL, exportable);
		if (!excl)
			return -ENOMEM;
	}
	import_excl(resv, excl, imported);
	return 0;
}

static int import_write(struct dma_resv *resv, struct dma_fence **fences,
			unsigned int num)
{
	struct dma_fence *excl = dma_resv_get_excl(resv);
	unsigned int imported = resv->excl_imported;
	struct dma_fence_leaves unfolded = {};
	struct dma_fence_array *array;
	int ret;

	if (!excl || !dma_fence_is_container(excl)) {
		/* One fence replaces another: this common case allocates nothing. */
		if (num == 1 && excl == fences[0])
			return 0;
		if (num == 1 && (!excl || dma_fence_is_signaled(excl) ||
				 (imported && replaces(fences[0], excl)))) {
			import_excl(resv, dma_fence_get(fences[0]), 1);
			return 0;
		}
		return import_beside(resv, &excl, !!excl, !imported, fences, num);
	}

	array = to_dma_fence_array(excl);
	if (array && imported)
		return import_beside(resv, array->fences, array->num_fences,
				     array->num_fences - imported, fences, num);

	ret = dma_fence_leaves_add(&unfolded, excl);
	if (!ret)
		ret = dma_fence_leaves_flatten(&unfolded);
	if (!ret)
		ret = import_beside(resv, unfolded.fences, unfolded.count,
				    unfolded.count, fences, num);
	dma_fence_leaves_fini(&unfolded);
	return ret;
}

/* Whether an array has no containers and no duplicates, like most merged sync_files. */
static bool is_flat(struct dma_fence_array *array)
{
	unsigned int i;

	if (array->num_fences < 2)
		return false;
	for (i = 0; i < array->num_fences; i++)
		if (dma_fence_is_container(array->fences[i]))
			return false;
	return dma_fence_leaves_in_order(array->fences, array->num_fences);
}

/**
 * dma_resv_import - make later accesses wait for a fence as well
 * @resv: the reservation object, must not be locked by the caller
 * @fence: the fence, may be a container; one that has signaled changes nothing
 * @write: if true, reads and writes will wait for it, otherwise only writes
 *
 * The fences of drivers stay, see "What an import keeps".
 *
 * Context: Process context, takes the lock of @resv, may sleep.
 * Return: 0, or -ENOMEM with all fences as they were.
 */
int dma_resv_import(struct dma_resv *resv, struct dma_fence *fence, bool write)
{
	struct dma_fence_array *array = to_dma_fence_array(fence);
	struct dma_fence_leaves leaves = {};
	struct dma_fence **fences = &fence;
	unsigned int num = 1;
	int ret;

	if (array && is_flat(array)) {
		fences = array->fences;
		num = array->num_fences;
	} else if (dma_fence_is_container(fence)) {
		ret = dma_fence_leaves_add(&leaves, fence);
		if (!ret)
			ret = dma_fence_leaves_flatten(&leaves);
		if (ret || !leaves.count)
			goto out;
		fences = leaves.fences;
		num = leaves.count;
	} else if (dma_fence_is_signaled(fence)) {
		return 0;
	}

	dma_resv_lock(resv, NULL);
	if (write)
		ret = import_write(resv, fences, num);
	else
		ret = import_read(resv, fences, num);
	dma_resv_unlock(resv);
out:
	dma_fence_leaves_fini(&leaves);
	return ret;
}
EXPORT_SYMBOL_FOR_DMABUF_KUNIT(dma_resv_import);

/**
 * dma_buf_snapshot - all fences that an access has to wait for, as one fence
 * @dmabuf: the buffer
 * @flags: DMA_BUF_SYNC_READ for an access that waits for writers; with
 *	DMA_BUF_SYNC_WRITE the access waits for readers, too
 *
 * If the exporter keeps writers among the shared fences, a read waits for all.
 *
 * Context: Process context, may sleep.
 * Return: as dma_resv_snapshot().
 */
struct dma_fence *dma_buf_snapshot(struct dma_buf *dmabuf, u32 flags)
{
	return dma_resv_snapshot(dmabuf->resv, flags & DMA_BUF_SYNC_WRITE ||
					       dmabuf->ops->shared_fences_write);
}
EXPORT_SYMBOL_FOR_DMABUF_KUNIT(dma_buf_snapshot);

static bool flags_valid(u32 flags)
{
	return (flags & DMA_BUF_SYNC_RW) && !(flags & ~DMA_BUF_SYNC_RW);
}

/**
 * dma_buf_export_sync_file - DMA_BUF_IOCTL_EXPORT_SYNC_FILE
 * @dmabuf: the buffer
 * @user_data: &struct dma_buf_export_sync_file
 *
 * The checks are in the order of the errors below, which user space relies on. The
 * file descriptor is published after the last step that can fail.
 *
 * Context: Process context, may sleep, no lock held.
 * Return: 0; -EFAULT if @user_data cannot be read; -EINVAL if the flags are not
 * DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE or both; -EMFILE if no file descriptor is
 * free; -ENOMEM; -EFAULT if @user_data cannot be written.
 */
long dma_buf_export_sync_file(struct dma_buf *dmabuf, void __user *user_data)
{
	struct dma_buf_export_sync_file arg;
	struct sync_file *sync_file;
	struct dma_fence *fence;
	int fd, ret;

	if (copy_from_user(&arg, user_data, sizeof(arg)))
		return -EFAULT;
	if (!flags_valid(arg.flags))
		return -EINVAL;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;

	fence = dma_buf_snapshot(dmabuf, arg.flags);
	if (IS_ERR(fence)) {
		ret = PTR_ERR(fence);
		goto err_put_fd;
	}

	sync_file = sync_file_create(fence);
	dma_fence_put(fence);
	if (!sync_file) {
		ret = -ENOMEM;
		goto err_put_fd;
	}

	arg.fd = fd;
	if (copy_to_user(user_data, &arg, sizeof(arg))) {
		ret = -EFAULT;
		goto err_put_file;
	}

	fd_install(fd, sync_file->file);
	return 0;

err_put_file:
	fput(sync_file->file);
err_put_fd:
	put_unused_fd(fd);
	return ret;
}

/**
 * dma_buf_import_sync_file - DMA_BUF_IOCTL_IMPORT_SYNC_FILE
 * @dmabuf: the buffer
 * @user_data: &struct dma_buf_import_sync_file
 *
 * Context: Process context, takes the lock of the reservation object, may sleep.
 * Return: 0; -EFAULT if @user_data cannot be read; -EINVAL if the flags are not
 * DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE or both, or if the file descriptor is not
 * that of a sync_file; -ENOMEM. On error the fences of the buffer are unchanged.
 */
long dma_buf_import_sync_file(struct dma_buf *dmabuf,
			      const void __user *user_data)
{
	struct dma_buf_import_sync_file arg;
	struct dma_fence *fence;
	int ret;

	if (copy_from_user(&arg, user_data, sizeof(arg)))
		return -EFAULT;
	if (!flags_valid(arg.flags))
		return -EINVAL;

	fence = sync_file_get_fence(arg.fd);
	if (!fence)
		return -EINVAL;

	ret = dma_resv_import(dmabuf->resv, fence,
			      arg.flags & DMA_BUF_SYNC_WRITE);
	dma_fence_put(fence);
	return ret;
}
