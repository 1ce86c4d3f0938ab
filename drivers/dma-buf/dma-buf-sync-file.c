// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA_BUF_IOCTL_EXPORT_SYNC_FILE and DMA_BUF_IOCTL_IMPORT_SYNC_FILE, for a
 * reservation object that has one exclusive fence and a list of shared ones.
 *
 * The one rule: an import adds, it never takes away. See "Why an import cannot
 * leak memory" below before you change anything here.
 */

#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-fence-array.h>
#include <linux/dma-resv.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/lockdep.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <linux/uaccess.h>
#include <uapi/linux/dma-buf.h>

#include "dma-buf-sync-file.h"
#include "dma-fence-leaves.h"

/**
 * DOC: sync_file export and import
 *
 * Implicit synchronisation hangs the fences of all work on a buffer into the
 * reservation object of the buffer: the last writer into the exclusive slot,
 * readers into the list of shared fences. Explicit APIs pass fences around
 * themselves, as &sync_file. Two ioctls on the file descriptor of a dma-buf
 * carry fences from the one world to the other, see
 * &struct dma_buf_export_sync_file and &struct dma_buf_import_sync_file.
 *
 * An export is a snapshot: it holds the fences that were pending when it was
 * taken, taken out of whatever containers they were in. Fences that come later do
 * not enter it, and neither do the containers in which an import stores fences,
 * nor fences that are the end of no work (%DMA_FENCE_FLAG_BOOKKEEPING_BIT).
 *
 * An import changes the reservation object as follows. "Pending fences" are
 * those not signaled, out of their containers, of each context the latest:
 *
 * ====== ======================================= ===============================
 * access exclusive slot                          shared list
 * ====== ======================================= ===============================
 * READ   unchanged                               adds one array: the pending
 *                                                fences of the exclusive slot,
 *                                                of earlier imports, and the new
 * WRITE  an array of the pending fences that it  the same array
 *        had and the new
 * ====== ======================================= ===============================
 *
 * The array of the previous import is replaced by the new one, which contains
 * what is pending of it, so that a buffer has one such array however often a
 * client imports. All other shared fences stay where they are, for drivers find
 * their own fences there.
 */

/**
 * DOC: Why an import cannot leak memory
 *
 * When a driver moves a buffer, or clears the memory that it is going to be in,
 * by means of the device, it puts the fence of that work into the exclusive slot
 * and returns. (TTM puts the fence of the move that made room for the buffer
 * into the list of shared fences; its own users look for it there.) Until this
 * fence signals, the memory holds what its last owner left there: pages of other
 * processes, page tables, keys. All that keeps a client from reading it is that
 * its work, and its CPU, wait for the fence. So the question to ask of every
 * change to this file is: could anybody who had to wait for such a fence before
 * an import not have to wait for it afterwards?
 *
 * 1. Who waits for the exclusive slot finds there what was pending in it before:
 *    an import to read does not touch the slot, an import to write replaces it by
 *    an array that contains it.
 * 2. Who waits for the exclusive slot and all shared fences finds the first
 *    because of 1, and every pending shared fence either in its place or, if it
 *    was the array of an earlier import, in the array that replaced it.
 * 3. Who waits for all shared fences and, finding any, skips the exclusive slot
 *    finds among the shared ones an array that contains all that is pending in
 *    the exclusive slot. That is why an import to write adds a shared fence as
 *    well. The core, nouveau and msm had such places, for shared fences were
 *    counted on to signal after the exclusive one; code outside this tree may
 *    still have them.
 * 4. Who looks without a lock sees the slots before or after an import: they
 *    change in one section of the sequence count. Nothing that can fail comes
 *    after the first change, so there is no state in between to be left in.
 * 5. A fence is left out only if it has signaled, or if one of the same context
 *    with a later number takes part: a driver that numbers fences of one context
 *    promises that they signal in that order. The array has a context of its
 *    own, so neither dma_resv_add_shared_fence() nor any other code that keeps
 *    the latest of a context mixes it up with another fence, nor can an import
 *    displace a driver's fence that way.
 *
 * An import can make others wait longer, never shorter. A client that may import
 * has the buffer and could submit work to it that takes as long.
 *
 * What an import cannot mend is a driver that does not wait for the exclusive
 * slot at all or overwrites it without having waited, and that loses fences of
 * the kernel in the same way with no import ever made: panfrost waits for the
 * exclusive fence and then replaces it, and drops the shared ones; virtio-gpu and
 * vc4 replace it without a wait; i915 does with EXEC_OBJECT_ASYNC and
 * EXEC_OBJECT_WRITE, msm and etnaviv with their NO_IMPLICIT flag, lima with
 * LIMA_SUBMIT_FLAG_EXPLICIT_FENCE; vgem looks before it takes the lock;
 * videobuf2 looks at no fences.
 *
 * And there are those who do not wait but look, for fences of their own driver
 * that stand in the slots bare: DRM_IOCTL_I915_GEM_BUSY does not see a request
 * that an import put into an array (DRM_IOCTL_I915_GEM_WAIT does), and radeon
 * waits for such a fence as for one of another device, without its detection of
 * hangs.
 */

/*
 * Marks the arrays that an import makes, so that the next one finds those in the
 * list of shared fences. The flags from here on belong to whoever makes the
 * fence; dma_fence_array does for its arrays, and uses none.
 */
#define IMPORTED_BIT DMA_FENCE_FLAG_USER_BITS

/* What only makes a driver give the buffer up is none of a client's business. */
static void leaves_drop_bookkeeping(struct dma_fence_leaves *leaves)
{
	unsigned int i, count = 0;

	for (i = 0; i < leaves->count; i++) {
		struct dma_fence *fence = leaves->fences[i];

		if (test_bit(DMA_FENCE_FLAG_BOOKKEEPING_BIT, &fence->flags))
			dma_fence_put(fence);
		else
			leaves->fences[count++] = fence;
	}
	leaves->count = count;
}

/**
 * dma_resv_snapshot - all fences that an access has to wait for, as one fence
 * @resv: the reservation object, need not be locked
 * @write: the access is a write: it waits for readers and writers, otherwise it
 *	waits for writers
 *
 * Context: Process context, may sleep.
 * Return: the only pending fence, or a flat array of all of them, or a signaled
 * fence if there are none, with a reference for the caller; ERR_PTR(-ENOMEM) if
 * memory ran out.
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

static int leaves_add_all(struct dma_fence_leaves *leaves,
			  const struct dma_fence_leaves *others)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < others->count; i++)
		ret = dma_fence_leaves_add(leaves, others->fences[i]);
	return ret;
}

static bool leaves_equal(const struct dma_fence_leaves *a,
			 const struct dma_fence_leaves *b)
{
	return a->count == b->count &&
	       !memcmp(a->fences, b->fences, a->count * sizeof(*a->fences));
}

static struct dma_fence *resv_shared(struct dma_resv *resv, unsigned int i)
{
	return rcu_dereference_protected(dma_resv_get_list(resv)->shared[i],
					 dma_resv_held(resv));
}

static unsigned int resv_shared_count(struct dma_resv *resv)
{
	struct dma_resv_list *list = dma_resv_get_list(resv);

	return list ? list->shared_count : 0;
}

static bool is_imported(struct dma_fence *fence)
{
	return dma_fence_is_array(fence) &&
	       test_bit(IMPORTED_BIT, &fence->flags);
}

/* Adds the pending fences of earlier imports. */
static int leaves_add_imported(struct dma_fence_leaves *leaves,
			       struct dma_resv *resv)
{
	unsigned int i, count = resv_shared_count(resv);
	int ret = 0;

	for (i = 0; !ret && i < count; i++)
		if (is_imported(resv_shared(resv, i)))
			ret = dma_fence_leaves_add(leaves, resv_shared(resv, i));
	return ret ?: dma_fence_leaves_flatten(leaves);
}

/*
 * Marks an array that was just made; a fence that is alone in its set is another's.
 *
 * Drivers that gather the fences of a buffer in an array of their own (amdgpu
 * does) take the lock of ours under the lock of theirs, so ours has a class of
 * its own. It never contains an array, so this is as deep as it goes.
 */
static void mark_imported(struct dma_fence *fence)
{
	static struct lock_class_key key;

	if (!dma_fence_is_array(fence))
		return;
	lockdep_set_class(fence->lock, &key);
	__set_bit(IMPORTED_BIT, &fence->flags);
}

/*
 * The slot for the array: the one of the import before, the one of a fence that
 * has signaled, or a new one at the end.
 */
static unsigned int import_slot(struct dma_resv *resv)
{
	unsigned int i, slot, count = resv_shared_count(resv);

	for (i = 0, slot = count; i < count; i++) {
		if (is_imported(resv_shared(resv, i)))
			return i;
		if (slot == count && dma_fence_is_signaled(resv_shared(resv, i)))
			slot = i;
	}
	return slot;
}

/* Makes the change. Takes over the references to @excl, if any, and @shared. */
static void import_commit(struct dma_resv *resv, struct dma_fence *excl,
			  struct dma_fence *shared)
{
	struct dma_resv_list *list = dma_resv_get_list(resv);
	struct dma_fence *old_excl = NULL, *old_shared = NULL;
	unsigned int i, end, slot = import_slot(resv);
	unsigned int count = list->shared_count;

	if (slot < count)
		old_shared = resv_shared(resv, slot);

	write_seqcount_begin(&resv->seq);
	if (excl) {
		old_excl = dma_resv_get_excl(resv);
		rcu_assign_pointer(resv->fence_excl, excl);
	}
	rcu_assign_pointer(list->shared[slot], shared);
	if (slot == count) {
		/* fence update must be visible before we extend the shared_count */
		smp_wmb();
		count++;
	}

	/*
	 * Drivers that copy the exclusive fence into the list (amdgpu does) leave
	 * more than one array of ours there. Those behind the first go behind the
	 * end.
	 */
	for (i = slot + 1, end = count; i < end; ) {
		struct dma_fence *fence = resv_shared(resv, i);

		if (is_imported(fence)) {
			end--;
			RCU_INIT_POINTER(list->shared[i], resv_shared(resv, end));
			RCU_INIT_POINTER(list->shared[end], fence);
		} else {
			i++;
		}
	}
	list->shared_count = end;
	write_seqcount_end(&resv->seq);

	while (count > end)
		dma_fence_put(resv_shared(resv, --count));
	dma_fence_put(old_excl);
	dma_fence_put(old_shared);
}

static int import_locked(struct dma_resv *resv,
			 const struct dma_fence_leaves *imported, bool write)
{
	struct dma_fence *old_excl = dma_resv_get_excl(resv);
	struct dma_fence_leaves exclusive = {}, all = {};
	struct dma_fence *excl = NULL, *shared = NULL;
	int ret;

	/* What the exclusive slot holds after an import to write. */
	ret = leaves_add_all(&exclusive, imported);
	if (!ret && old_excl)
		ret = dma_fence_leaves_add(&exclusive, old_excl);
	if (!ret)
		ret = dma_fence_leaves_flatten(&exclusive);
	if (ret || !exclusive.count)
		goto out;

	ret = leaves_add_all(&all, &exclusive);
	if (!ret)
		ret = leaves_add_imported(&all, resv);
	/* All may have signaled meanwhile. */
	if (ret || !all.count)
		goto out;

	/* Changes the room in the list, not what is in it. */
	if (import_slot(resv) == resv_shared_count(resv)) {
		ret = dma_resv_reserve_shared(resv, 1);
		if (ret)
			goto out;
	}

	ret = -ENOMEM;
	if (write && (exclusive.count == 1 || !leaves_equal(&exclusive, &all))) {
		excl = dma_fence_leaves_to_fence(&exclusive);
		if (!excl)
			goto out;
		mark_imported(excl);
	}
	shared = dma_fence_leaves_to_array(&all);
	if (!shared) {
		dma_fence_put(excl);
		goto out;
	}
	mark_imported(shared);
	if (write && !excl)
		excl = dma_fence_get(shared);

	/* Nothing fails from here on. */
	import_commit(resv, excl, shared);
	ret = 0;
out:
	dma_fence_leaves_fini(&exclusive);
	dma_fence_leaves_fini(&all);
	return ret;
}

/**
 * dma_resv_import - make later accesses wait for a fence as well
 * @resv: the reservation object, must not be locked by the caller
 * @fence: the fence, may be a container; one that has signaled changes nothing
 * @write: accesses of both kinds will wait for it, otherwise writes will
 *
 * All that had to be waited for before still has to be, see "Why an import
 * cannot leak memory".
 *
 * Context: Process context, takes the lock of @resv, may sleep.
 * Return: 0, or -ENOMEM with all fences as they were.
 */
int dma_resv_import(struct dma_resv *resv, struct dma_fence *fence, bool write)
{
	struct dma_fence_leaves imported = {};
	int ret;

	ret = dma_fence_leaves_add(&imported, fence);
	if (!ret)
		ret = dma_fence_leaves_flatten(&imported);
	if (!ret && imported.count) {
		dma_resv_lock(resv, NULL);
		ret = import_locked(resv, &imported, write);
		dma_resv_unlock(resv);
	}
	dma_fence_leaves_fini(&imported);
	return ret;
}
EXPORT_SYMBOL_FOR_DMABUF_KUNIT(dma_resv_import);

static bool flags_valid(u32 flags)
{
	return (flags & DMA_BUF_SYNC_RW) && !(flags & ~DMA_BUF_SYNC_RW);
}

/**
 * dma_buf_export_sync_file - DMA_BUF_IOCTL_EXPORT_SYNC_FILE
 * @dmabuf: the buffer
 * @user_data: &struct dma_buf_export_sync_file
 *
 * Checks in the order of the errors below, which user space relies on. The file
 * descriptor is published last, after all that can fail.
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

	fence = dma_resv_snapshot(dmabuf->resv, arg.flags & DMA_BUF_SYNC_WRITE);
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
 * that of a sync_file; -ENOMEM. On error the buffer has the fences that it had.
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
