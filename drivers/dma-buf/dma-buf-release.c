// SPDX-License-Identifier: GPL-2.0-only
/*
 * Notifiers that run when a dma-buf dies, before its exporter releases it.
 *
 * The one rule: a notifier is touched under notifiers_lock only, and not at all
 * once its callback has been called, for the callback may free it. Whoever waits
 * for a call to return waits for its number.
 */

#include <linux/dma-buf.h>
#include <linux/dma-buf-release.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

/**
 * DOC: Release notifiers
 *
 * Some users of a buffer have something to undo when the buffer dies, and not
 * before: one that has put other memory into the place of the buffer's own, for
 * example, has to put the buffer's own back before the exporter frees it, but
 * only when nobody can use the buffer any more. None of the usual means can
 * do that:
 *
 * - A reference, like that of an importer, keeps the buffer alive. Whoever waits
 *   for the last reference to go must not hold one.
 * - &dma_buf_ops.release is the exporter's. It knows nothing of those who use
 *   the buffer, and its table is constant and shared by all buffers.
 * - User space, if it is to tell when it is done with the buffer, can be killed,
 *   can err and can lie, and does not see the references that are held by the
 *   kernel: by importers, by mappings, by files in flight.
 *
 * A &struct dma_buf_release_notifier is that means. Its user, who holds a
 * reference, registers it on the buffer, keeps an attachment if the memory is
 * needed at the end, and drops the reference::
 *
 *	static void foo_release(struct dma_buf_release_notifier *notifier,
 *				struct dma_buf *dmabuf)
 *	{
 *		struct foo *foo = container_of(notifier, struct foo, notifier);
 *
 *		foo_undo(foo);
 *		dma_buf_detach(dmabuf, foo->attach);
 *		foo_put(foo);
 *	}
 *
 *	foo->notifier.release = foo_release;
 *	foo->notifier.owner = THIS_MODULE;
 *	ret = dma_buf_register_release_notifier(dmabuf, &foo->notifier);
 *	if (ret)
 *		goto err_detach;
 *	dma_buf_put(dmabuf);
 *
 * Notifiers of one buffer are called one after the other, the last registered
 * first, so that each finds what it found when it was registered. They are
 * called when the file of the buffer is released, not its dentry: then there is
 * no file descriptor, mapping or reference any more, no lock is held, and the
 * exporter's release comes after it for certain. (The dentry may live longer,
 * for a reader of /proc/PID/fd, and who drops it last may hold locks.)
 *
 * Which task that is depends on who drops the last reference:
 *
 * - a process that closes or unmaps the buffer, on its way back to user space;
 *
 * - a process that exits, when it has no memory map and no open files any more.
 *   It may have been killed, and interruptible waits end at once;
 *
 * - else (a kernel thread, an interrupt) a worker that releases such files one
 *   after the other for the whole system. A callback that sleeps holds up the
 *   rest of them, and one that waits for another file to be released may wait
 *   for ever.
 *
 * So a callback must end in bounded time. It must not wait for user space, nor
 * for the release of a file. It may wait for fences, which end by contract, though
 * perhaps only when this very task goes on: who may have something to wait for does
 * better to call dma_buf_defer_release() when it registers, to leave the waiting to
 * a worker, and to have that call dma_buf_resume_release(). Meanwhile the exporter
 * keeps the memory. And the credentials, files and memory of the task are none of
 * a callback's business.
 *
 * A buffer without notifiers costs one pointer in &struct dma_buf and a look at it
 * when it is released.
 */

/* Protects all lists of notifiers, the calls, the number of the last, the deferrals. */
static DEFINE_SPINLOCK(notifiers_lock);
static LIST_HEAD(calls);
static LIST_HEAD(deferrals);
static u64 last_call;
static DECLARE_WAIT_QUEUE_HEAD(call_returned);

/* Lets lockdep see that who unregisters may wait for the callback. */
#ifdef CONFIG_LOCKDEP
static struct lockdep_map callback_map =
	STATIC_LOCKDEP_MAP_INIT("dma_buf_release_notifier", &callback_map);
#endif

/* Of the file that stands for a buffer's own when that is gone. */
static const struct file_operations deferral_fops = {
};

/* A callback that runs, on the stack of the task that runs it. */
struct release_call {
	struct list_head node;
	struct task_struct *task;
	u64 number;
};

static struct release_call *find_call(u64 number)
{
	struct release_call *call;

	lockdep_assert_held(&notifiers_lock);

	list_for_each_entry(call, &calls, node)
		if (call->number == number)
			return call;
	return NULL;
}

static bool call_is_over(u64 number)
{
	bool over;

	spin_lock(&notifiers_lock);
	over = !find_call(number);
	spin_unlock(&notifiers_lock);

	return over;
}

/* Whether the task runs a callback, be it another one than is asked for. */
static bool in_callback(void)
{
	struct release_call *call;
	bool found = false;

	spin_lock(&notifiers_lock);
	list_for_each_entry(call, &calls, node)
		found |= call->task == current;
	spin_unlock(&notifiers_lock);

	return found;
}

/**
 * dma_buf_register_release_notifier - have a callback run before a dma-buf is released
 * @dmabuf: the buffer, of which the caller holds a reference
 * @notifier: the notifier, zeroed before its first use but for
 *	&dma_buf_release_notifier.release and &dma_buf_release_notifier.owner
 *
 * The callback runs once, when the last reference of the buffer is gone, and
 * before those of the notifiers that were registered on it earlier. From then on
 * the caller may drop its reference; the notifier holds none.
 *
 * Context: Process context, does not sleep. The caller may hold &dma_buf.resv.
 *
 * Return:
 * * 0 - the notifier is registered.
 * * -EINVAL - it has no callback.
 * * -ENODEV - its owner is being unloaded.
 * * -EBUSY - it is registered already, on this buffer or another, or its
 *   callback is running.
 * * -ENOENT - the last reference of the buffer is gone: the caller is a callback
 *   of this very buffer, or has put off its release.
 */
int dma_buf_register_release_notifier(struct dma_buf *dmabuf,
				      struct dma_buf_release_notifier *notifier)
{
	int ret = 0;

	if (!notifier->release)
		return -EINVAL;
	if (!try_module_get(notifier->owner))
		return -ENODEV;

	spin_lock(&notifiers_lock);
	if (!hlist_unhashed(&notifier->node) || find_call(notifier->call))
		ret = -EBUSY;
	else if (!file_count(dmabuf->file) || dmabuf->file->f_op == &deferral_fops)
		ret = -ENOENT;
	else
		hlist_add_head(&notifier->node, &dmabuf->release_notifiers);
	spin_unlock(&notifiers_lock);

	if (ret)
		module_put(notifier->owner);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_register_release_notifier, "DMA_BUF");

/**
 * dma_buf_unregister_release_notifier - take a notifier back
 * @notifier: the notifier, which may have been called, be running or never have
 *	been registered, but must still be there
 *
 * Unlike who registers, the caller needs no reference of the buffer, which may
 * be gone. After the return the callback is not running, and the module that it
 * is in is no longer pinned. If the caller is that callback itself, it returns
 * at once.
 *
 * If the notifier was there to be taken back that does not mean that the buffer
 * is alive: its release may go on, only without this callback. That it is alive
 * only those know who hold a reference, and for them there is always something
 * to take back.
 *
 * Context: Process context, may sleep for as long as the callback runs. Unless
 *	the caller holds a reference of the buffer it must not hold a lock that the
 *	callback takes, such as &dma_buf.resv, and two callbacks must not
 *	unregister each other.
 *
 * Return: true if the callback has not run since the notifier was registered,
 * and never will; false if the release of the buffer was first and the callback
 * has run, or if the notifier was not registered.
 */
bool dma_buf_unregister_release_notifier(struct dma_buf_release_notifier *notifier)
{
	struct module *owner = NULL;
	struct release_call *call;
	bool registered, own;
	u64 number;

	might_sleep();

	spin_lock(&notifiers_lock);
	registered = !hlist_unhashed(&notifier->node);
	if (registered) {
		hlist_del_init(&notifier->node);
		owner = notifier->owner;
	}
	number = notifier->call;
	call = find_call(number);
	own = call && call->task == current;
	spin_unlock(&notifiers_lock);

	if (registered) {
		module_put(owner);
		return true;
	}

	if (!in_callback()) {
		lock_map_acquire(&callback_map);
		lock_map_release(&callback_map);
	}
	if (!own)
		wait_event(call_returned, call_is_over(number));
	return false;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_unregister_release_notifier, "DMA_BUF");

/* Takes the notifier that was registered last, or NULL, and opens its call. */
static struct dma_buf_release_notifier *begin_call(struct dma_buf *dmabuf,
						   struct release_call *call)
{
	struct dma_buf_release_notifier *notifier;

	spin_lock(&notifiers_lock);
	notifier = hlist_entry_safe(dmabuf->release_notifiers.first,
				    struct dma_buf_release_notifier, node);
	if (notifier) {
		hlist_del_init(&notifier->node);
		call->task = current;
		call->number = ++last_call;
		notifier->call = call->number;
		list_add(&call->node, &calls);
	}
	spin_unlock(&notifiers_lock);

	return notifier;
}

static void end_call(struct release_call *call)
{
	spin_lock(&notifiers_lock);
	list_del(&call->node);
	spin_unlock(&notifiers_lock);

	wake_up_all(&call_returned);
}

/*
 * A release that is put off. The exporter's release comes with that of the dentry,
 * which @file shares with the buffer's file. Nobody can open it.
 */
struct deferral {
	struct list_head node;
	struct dma_buf *dmabuf;
	struct file *file;
};

static struct deferral *find_deferral(struct dma_buf *dmabuf)
{
	struct deferral *deferral;

	lockdep_assert_held(&notifiers_lock);

	list_for_each_entry(deferral, &deferrals, node)
		if (deferral->dmabuf == dmabuf)
			return deferral;
	return NULL;
}

/*
 * The buffer's own file goes. Trace points, for one, look into it when somebody
 * detaches: let them find one that stays as long as the buffer, if it does.
 */
static void replace_file(struct dma_buf *dmabuf)
{
	struct deferral *deferral = find_deferral(dmabuf);

	if (deferral)
		dmabuf->file = deferral->file;
}

/**
 * dma_buf_defer_release - keep a buffer's memory beyond its last reference
 * @dmabuf: the buffer, of which the caller holds a reference, or whose notifier's
 *	callback it is
 *
 * Puts off the exporter's &dma_buf_ops.release until dma_buf_resume_release() was
 * called as often as this was. It is no reference: when the last of these goes,
 * the notifiers are called as ever. From then on nobody can get a reference or
 * attach, but attachments, mappings of them, fences and the memory stay as they
 * are, for whoever has called this.
 *
 * &dma_buf.file is another one after the last callback. A worker that is started by
 * a callback must not look into the file before it has seen that.
 *
 * Call it where a failure can be told, not where it is too late. Who never resumes
 * the release takes the memory out of use for good, and pins the exporter's
 * module. That is meant for memory that must not be used again.
 *
 * An exporter may keep a pointer to the buffer, no reference, and take one from it
 * until it has released the buffer. vmwgfx does. It would give away a buffer whose
 * notifiers have run. But it lets nobody attach, so a caller that is attached does
 * not meet that.
 *
 * Context: Process context, may sleep. The caller may hold &dma_buf.resv.
 *
 * Return:
 * * 0 - the release is put off.
 * * -ENOMEM - there is no memory for it.
 * * -ENFILE - there are too many files in the system.
 */
int dma_buf_defer_release(struct dma_buf *dmabuf)
{
	struct deferral *deferral;

	deferral = kmalloc(sizeof(*deferral), GFP_KERNEL_ACCOUNT);
	if (!deferral)
		return -ENOMEM;
	deferral->dmabuf = dmabuf;
	deferral->file = alloc_file_clone(dmabuf->file, O_RDWR, &deferral_fops);
	if (IS_ERR(deferral->file)) {
		int ret = PTR_ERR(deferral->file) == -ENFILE ? -ENFILE : -ENOMEM;

		kfree(deferral);
		return ret;
	}

	spin_lock(&notifiers_lock);
	list_add(&deferral->node, &deferrals);
	spin_unlock(&notifiers_lock);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_defer_release, "DMA_BUF");

/**
 * dma_buf_resume_release - let go of what dma_buf_defer_release() kept
 * @dmabuf: the buffer, which may be gone afterwards
 *
 * The caller has detached what was its own. If there is no reference to the
 * buffer any more, and nobody else has put it off, the exporter's release
 * follows, in this task on its way to user space, or in a worker.
 *
 * Context: Process context, does not sleep. The caller may hold &dma_buf.resv.
 */
void dma_buf_resume_release(struct dma_buf *dmabuf)
{
	struct deferral *deferral;

	spin_lock(&notifiers_lock);
	deferral = find_deferral(dmabuf);
	if (!WARN_ON(!deferral)) {
		list_del(&deferral->node);
		if (dmabuf->file == deferral->file)
			replace_file(dmabuf);
	}
	spin_unlock(&notifiers_lock);

	if (deferral) {
		fput(deferral->file);
		kfree(deferral);
	}
}
EXPORT_SYMBOL_NS_GPL(dma_buf_resume_release, "DMA_BUF");

/*
 * Calls the notifiers of a buffer that has no reference any more, so that none
 * are added. @dmabuf is NULL if its file never became that of a buffer.
 */
void dma_buf_notify_release(struct dma_buf *dmabuf)
{
	struct dma_buf_release_notifier *notifier;
	struct release_call call;

	if (!dmabuf || (hlist_empty(&dmabuf->release_notifiers) &&
			list_empty(&deferrals)))
		return;

	might_sleep();
	while ((notifier = begin_call(dmabuf, &call))) {
		struct module *owner = notifier->owner;

		lock_map_acquire(&callback_map);
		notifier->release(notifier, dmabuf);
		lock_map_release(&callback_map);

		module_put(owner);
		end_call(&call);
	}

	spin_lock(&notifiers_lock);
	replace_file(dmabuf);
	spin_unlock(&notifiers_lock);
}
