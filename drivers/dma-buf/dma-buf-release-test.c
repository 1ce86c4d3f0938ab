// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the notifiers that run before a dma-buf is released: when they are
 * called and in which order, what a callback may do, how long the memory stays, and
 * that either the callback runs or the notifier is unregistered.
 *
 * Callbacks may run in other tasks than the test, so they only record what they see. The
 * test checks the records after the exporter has released the buffer.
 */

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-buf.h>
#include <linux/dma-buf-release.h>
#include <linux/dma-resv.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/slab.h>
#include <linux/umh.h>
#include <linux/workqueue.h>

#define MAX_SECONDS	60	/* timeout for an event that has to happen */
#define RACE_SECONDS	3	/* of a race, or longer if one outcome is rare */
#define RACE_ENOUGH	10U

/* The most that a buffer without notifiers may pay for them. */
static_assert(sizeof(((struct dma_buf *)0)->release_notifiers) == sizeof(void *));

/* A buffer as its exporter sees it. */
struct buffer {
	struct dma_buf *dmabuf;
	struct file *file;	/* the original file, to compare with */
	char log[16];		/* the calls: names of callbacks, '.' for the exporter */
	unsigned int logged;
	struct completion released;
};

struct probe {
	struct dma_buf_release_notifier notifier;
	struct buffer *buffer;
	char name;
	bool keeps;			/* the callback does not resume the release */
	void (*act)(struct probe *probe);	/* what else the callback does, or NULL */
	struct probe *other;
	struct dma_buf_attachment *attach;
	struct work_struct work;	/* started by the callback */
	struct completion called, go_on;

	/* The callback records these. */
	unsigned int calls;
	bool kept;		/* the exporter had not released the buffer */
	bool stand_in;		/* the buffer had another file, which was valid */
	bool atomic;
	int locks;		/* held, by lockdep's count */
	unsigned int flags;	/* of the task */
	int ret;
};

static struct buffer the_buffer;
static struct device *dev;		/* the importer's */
static struct workqueue_struct *wq;	/* for workers that resume, on any CPU */

static void log_call(struct buffer *buffer, char name)
{
	buffer->log[buffer->logged++ % (sizeof(buffer->log) - 1)] = name;
}

static struct sg_table *no_map(struct dma_buf_attachment *attachment,
			       enum dma_data_direction direction)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void no_unmap(struct dma_buf_attachment *attachment, struct sg_table *table,
		     enum dma_data_direction direction)
{
}

static void exporter_release(struct dma_buf *dmabuf)
{
	struct buffer *buffer = dmabuf->priv;

	log_call(buffer, '.');
	complete(&buffer->released);
}

static const struct dma_buf_ops exporter_ops = {
	.map_dma_buf = no_map,
	.unmap_dma_buf = no_unmap,
	.release = exporter_release,
};

static bool comes(struct completion *completion)
{
	return wait_for_completion_timeout(completion, MAX_SECONDS * HZ);
}

static bool is_kept(struct buffer *buffer)
{
	return !completion_done(&buffer->released);
}

/* Whether a valid file of the same inode has replaced the buffer's own. */
static bool has_stand_in(const struct buffer *buffer)
{
	struct file *file = buffer->dmabuf->file;

	return file != buffer->file && file_count(file) > 0 &&
	       file_inode(file) == file->f_path.dentry->d_inode &&
	       file->f_path.dentry->d_fsdata == buffer->dmabuf;
}

static void probe_release(struct dma_buf_release_notifier *notifier, struct dma_buf *dmabuf)
{
	struct probe *probe = container_of(notifier, struct probe, notifier);

	probe->calls++;
	probe->atomic = preempt_count() || irqs_disabled();
	probe->locks = lockdep_depth(current);
	probe->flags = current->flags;
	probe->kept = is_kept(probe->buffer);
	probe->stand_in = has_stand_in(probe->buffer);
	log_call(probe->buffer, probe->name);
	if (probe->act)
		probe->act(probe);
	if (!probe->keeps)
		dma_buf_resume_release(notifier);
	complete(&probe->called);
}

static int export_buffer(struct buffer *buffer)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);

	memset(buffer, 0, sizeof(*buffer));
	init_completion(&buffer->released);
	info.ops = &exporter_ops;
	info.size = PAGE_SIZE;
	info.flags = O_RDWR;
	info.priv = buffer;
	buffer->dmabuf = dma_buf_export(&info);
	if (IS_ERR(buffer->dmabuf))
		return PTR_ERR(buffer->dmabuf);
	buffer->file = buffer->dmabuf->file;
	return 0;
}

static int release_test_init(struct kunit *test)
{
	/* No owner: 6.1 runs tests before this module is in sysfs. */
	dev = __root_device_register("dma-buf-release-test", NULL);
	wq = alloc_workqueue("dma-buf-release-test", WQ_UNBOUND, 0);
	KUNIT_ASSERT_TRUE(test, !IS_ERR(dev) && wq);
	return export_buffer(&the_buffer);
}

static void release_test_exit(struct kunit *test)
{
	if (wq)
		destroy_workqueue(wq);
	if (!IS_ERR(dev))
		root_device_unregister(dev);
}

static void init_probe(struct probe *probe, struct buffer *buffer, char name)
{
	probe->buffer = buffer;
	probe->name = name;
	probe->notifier.release = probe_release;
	probe->notifier.owner = THIS_MODULE;
	init_completion(&probe->called);
	init_completion(&probe->go_on);
}

/* A notifier that is not registered yet. KUnit frees it after the test. */
static struct probe *new_probe(struct kunit *test, char name, void (*act)(struct probe *))
{
	struct probe *probe = kunit_kzalloc(test, sizeof(*probe), GFP_KERNEL);

	KUNIT_ASSERT_TRUE(test, !!probe);
	init_probe(probe, &the_buffer, name);
	probe->act = act;
	return probe;
}

static int register_probe(struct probe *probe)
{
	return dma_buf_register_release_notifier(probe->buffer->dmabuf, &probe->notifier);
}

static bool unregister_probe(struct probe *probe)
{
	return dma_buf_unregister_release_notifier(&probe->notifier);
}

static struct probe *registered(struct kunit *test, char name, void (*act)(struct probe *))
{
	struct probe *probe = new_probe(test, name, act);

	KUNIT_ASSERT_EQ(test, register_probe(probe), 0);
	return probe;
}

static void expect_released(struct kunit *test, struct buffer *buffer, const char *log)
{
	flush_delayed_fput();
	KUNIT_ASSERT_TRUE(test, comes(&buffer->released));
	KUNIT_ASSERT_STREQ(test, (const char *)buffer->log, log);
}

/* Drops the test's reference. The callbacks run in this thread or in a worker. */
static void drop_and_expect(struct kunit *test, const char *log)
{
	dma_buf_put(the_buffer.dmabuf);
	expect_released(test, &the_buffer, log);
}

/* Waits for a release that must not happen. @log has the calls until then. */
static void expect_kept(struct kunit *test, const char *log)
{
	flush_delayed_fput();
	msleep(50);
	KUNIT_EXPECT_TRUE(test, is_kept(&the_buffer));
	KUNIT_EXPECT_STREQ(test, (const char *)the_buffer.log, log);
}

/* The callback ran once, before the exporter's release, with a stand-in, able to sleep. */
static void expect_good_call(struct kunit *test, struct probe *probe)
{
	KUNIT_EXPECT_EQ(test, probe->calls, 1U);
	KUNIT_EXPECT_TRUE(test, probe->kept);
	KUNIT_EXPECT_TRUE(test, probe->stand_in);
	KUNIT_EXPECT_FALSE(test, probe->atomic);
}

static void last_registered_is_called_first(struct kunit *test)
{
	struct path path = the_buffer.file->f_path;
	struct probe *probes[5];
	int i;

	for (i = 0; i < 5; i++)
		probes[i] = registered(test, 'a' + i, NULL);
	/* Dropping a reference that is not the last calls nothing and changes no file. */
	get_dma_buf(the_buffer.dmabuf);
	dma_buf_put(the_buffer.dmabuf);
	expect_kept(test, "");
	KUNIT_EXPECT_PTR_EQ(test, the_buffer.dmabuf->file, the_buffer.file);

	/* A reader of /proc/PID/fd holds the path for a while, but not the file. */
	path_get(&path);
	dma_buf_put(the_buffer.dmabuf);
	expect_kept(test, "edcba");
	path_put(&path);
	expect_released(test, &the_buffer, "edcba.");
	for (i = 0; i < 5; i++)
		expect_good_call(test, probes[i]);
}

static void taken_back(struct kunit *test)
{
	struct probe *a = registered(test, 'a', NULL);
	struct probe *b = registered(test, 'b', NULL);

	registered(test, 'c', NULL);
	KUNIT_EXPECT_TRUE(test, unregister_probe(b));
	KUNIT_EXPECT_FALSE(test, unregister_probe(b));
	/* A notifier that is registered again is the last one. */
	KUNIT_EXPECT_TRUE(test, unregister_probe(a));
	KUNIT_EXPECT_EQ(test, register_probe(a), 0);
	drop_and_expect(test, "ac.");
	expect_good_call(test, a);
	KUNIT_EXPECT_FALSE(test, unregister_probe(a));
	KUNIT_EXPECT_FALSE(test, unregister_probe(b));

	/* Without notifiers nothing delays the release. */
	KUNIT_ASSERT_EQ(test, export_buffer(&the_buffer), 0);
	KUNIT_EXPECT_EQ(test, register_probe(b), 0);
	KUNIT_EXPECT_TRUE(test, unregister_probe(b));
	drop_and_expect(test, ".");
}

static void take_back(struct probe *probe)
{
	probe->ret = unregister_probe(probe->other) && !unregister_probe(probe);
}

/* A callback unregisters a notifier whose callback has not started, but not its own. */
static void taken_back_during_the_release(struct kunit *test)
{
	struct probe *a = registered(test, 'a', NULL);
	struct probe *b = registered(test, 'b', take_back);

	b->other = a;
	drop_and_expect(test, "b.");
	KUNIT_EXPECT_EQ(test, b->ret, 1);
	KUNIT_EXPECT_EQ(test, a->calls, 0U);
	expect_good_call(test, b);
}

static void register_again(struct probe *probe)
{
	probe->ret = register_probe(probe);
}

/* A notifier is on one buffer at a time, whose last reference has not been dropped. */
static void refused(struct kunit *test)
{
	struct buffer *second = kunit_kzalloc(test, sizeof(*second), GFP_KERNEL);
	struct probe *a = new_probe(test, 'a', NULL);
	struct probe *b = registered(test, 'b', register_again);

	KUNIT_ASSERT_TRUE(test, !!second);
	KUNIT_ASSERT_EQ(test, export_buffer(second), 0);
	a->notifier.release = NULL;
	KUNIT_EXPECT_EQ(test, register_probe(a), -EINVAL);
	KUNIT_EXPECT_EQ(test, register_probe(b), -EBUSY);
	b->keeps = true;
	dma_buf_put(the_buffer.dmabuf);
	expect_kept(test, "b");
	KUNIT_EXPECT_EQ(test, b->ret, -ENOENT);
	expect_good_call(test, b);

	b->buffer = second;
	KUNIT_EXPECT_EQ(test, register_probe(b), -EBUSY);
	dma_buf_resume_release(&b->notifier);
	expect_released(test, &the_buffer, "b.");
	KUNIT_EXPECT_EQ(test, register_probe(b), 0);
	b->keeps = false;
	dma_buf_put(second->dmabuf);
	expect_released(test, second, "b.");
}

/* Sleeps, locks the reservation object and detaches. */
static void detach(struct probe *probe)
{
	struct dma_buf *dmabuf = probe->buffer->dmabuf;

	msleep(100);
	probe->kept &= is_kept(probe->buffer);
	probe->stand_in &= has_stand_in(probe->buffer);
	probe->ret = dma_resv_lock(dmabuf->resv, NULL);
	if (!probe->ret)
		dma_resv_unlock(dmabuf->resv);
	dma_buf_detach(dmabuf, probe->attach);
}

/* Registers while it holds the lock that the callback takes. */
static struct probe *attached(struct kunit *test, void (*act)(struct probe *probe))
{
	struct probe *probe = new_probe(test, 'a', act);
	struct dma_buf *dmabuf = the_buffer.dmabuf;
	bool good;

	probe->attach = dma_buf_attach(dmabuf, dev);
	KUNIT_ASSERT_FALSE(test, IS_ERR(probe->attach));
	dma_resv_lock(dmabuf->resv, NULL);
	good = !register_probe(probe) && unregister_probe(probe) && !register_probe(probe);
	dma_resv_unlock(dmabuf->resv);
	KUNIT_ASSERT_TRUE(test, good);
	return probe;
}

static void resume_work(struct work_struct *work)
{
	struct probe *probe = container_of(work, struct probe, work);

	comes(&probe->go_on);
	detach(probe);
	dma_buf_resume_release(&probe->notifier);
}

static void start_work(struct probe *probe)
{
	queue_work(wq, &probe->work);
}

/* Memory and attachment stay, and registering and unregistering fail. */
static void resumed_by_a_worker(struct kunit *test)
{
	struct probe *probe = attached(test, start_work);

	INIT_WORK(&probe->work, resume_work);
	probe->keeps = true;
	/* A kernel thread drops the last reference: without a flush a worker releases the file. */
	dma_buf_put(the_buffer.dmabuf);
	KUNIT_ASSERT_TRUE(test, comes(&probe->called));
	KUNIT_EXPECT_TRUE(test, !!(probe->flags & PF_KTHREAD));
	expect_kept(test, "a");
	KUNIT_EXPECT_FALSE(test, unregister_probe(probe));
	KUNIT_EXPECT_EQ(test, register_probe(new_probe(test, 'b', NULL)), -ENOENT);
	complete(&probe->go_on);
	expect_released(test, &the_buffer, "a.");
	flush_work(&probe->work);
	KUNIT_EXPECT_EQ(test, probe->ret, 0);
	expect_good_call(test, probe);
}

static void resume_meanwhile(struct probe *probe)
{
	start_work(probe);
	flush_work(&probe->work);
	flush_delayed_fput();
	probe->kept &= is_kept(probe->buffer);
	probe->stand_in &= has_stand_in(probe->buffer);
}

/* If a worker resumes first, memory and stand-in stay until the callback has returned. */
static void resumed_before_the_callback_returns(struct kunit *test)
{
	struct probe *probe = attached(test, resume_meanwhile);

	INIT_WORK(&probe->work, resume_work);
	probe->keeps = true;
	complete(&probe->go_on);
	drop_and_expect(test, "a.");
	expect_good_call(test, probe);
	KUNIT_EXPECT_EQ(test, probe->ret, 0);
}

/* The exporter's release follows when the last user has resumed, in either order. */
static void resumed_in_either_order(struct kunit *test)
{
	struct probe *probes[2];
	int first, i;

	for (first = 0; first < 2; first++) {
		if (first)
			KUNIT_ASSERT_EQ(test, export_buffer(&the_buffer), 0);
		for (i = 0; i < 2; i++) {
			probes[i] = registered(test, 'a' + i, NULL);
			probes[i]->keeps = true;
		}
		dma_buf_put(the_buffer.dmabuf);
		expect_kept(test, "ba");
		dma_buf_resume_release(&probes[first]->notifier);
		expect_kept(test, "ba");
		KUNIT_EXPECT_TRUE(test, has_stand_in(&the_buffer));
		dma_buf_resume_release(&probes[!first]->notifier);
		expect_released(test, &the_buffer, "ba.");
		for (i = 0; i < 2; i++)
			expect_good_call(test, probes[i]);
	}
}

/* Runs in the process that becomes the shell: the buffer is its only file, number 0. */
static int give_buffer(struct subprocess_info *info, struct cred *new)
{
	struct buffer *buffer = info->data;
	int fd = dma_buf_fd(buffer->dmabuf, 0);

	if (fd < 0)
		return fd;
	buffer->file = NULL;
	return fd ? -EBADF : 0;
}

/* A process that runs a script holds the last reference to the buffer. */
static void released_by_process(struct kunit *test)
{
	static const char * const scripts[] = { "exec 0<&-; exit 7", "exit 7", "kill -KILL $$" };
	int i;

	for (i = 0; i < ARRAY_SIZE(scripts); i++) {
		char *argv[4] = { "/bin/sh", "-c", (char *)scripts[i], NULL };
		char *envp[2] = { "PATH=/bin:/usr/bin", NULL };
		struct subprocess_info *info;
		struct probe *probe;

		if (i)
			KUNIT_ASSERT_EQ(test, export_buffer(&the_buffer), 0);
		probe = attached(test, detach);
		info = call_usermodehelper_setup(argv[0], argv, envp, GFP_KERNEL,
						 give_buffer, NULL, &the_buffer);
		KUNIT_ASSERT_TRUE(test, !!info);
		KUNIT_EXPECT_EQ(test, call_usermodehelper_exec(info, UMH_WAIT_PROC),
				i < 2 ? 7 << 8 : SIGKILL);
		if (the_buffer.file)
			dma_buf_put(the_buffer.dmabuf);
		expect_released(test, &the_buffer, "a.");
		expect_good_call(test, probe);
		KUNIT_EXPECT_EQ(test, probe->ret, 0);
		KUNIT_EXPECT_EQ(test, probe->locks, 0);
		KUNIT_EXPECT_FALSE(test, probe->flags & PF_KTHREAD);
		KUNIT_EXPECT_TRUE(test, !(probe->flags & PF_EXITING) == !i);
	}
}

/* Frees its notifier. Even without KASAN, a later access finds other values. */
static void free_itself(struct dma_buf_release_notifier *notifier, struct dma_buf *dmabuf)
{
	struct probe *probe = container_of(notifier, struct probe, notifier);

	log_call(dmabuf->priv, probe->name);
	dma_buf_resume_release(notifier);
	memset(probe, 0xff, sizeof(*probe));
	kfree(probe);
}

/* A second user of the buffer, with a reference, that unregisters the first's notifier. */
struct race {
	struct work_struct work;
	struct probe *first, *own;
	unsigned int round, taken, errors;
};

/*
 * Registers a notifier, whose callback always runs, and drops the reference. Unregisters the
 * first notifier, or waits until its worker has resumed the release, and frees it.
 */
static void race_work(struct work_struct *work)
{
	struct race *race = container_of(work, struct race, work);
	struct probe *first = race->first;
	struct dma_buf *dmabuf = first->buffer->dmabuf;

	udelay(race->round * 5 % 50);
	race->errors += !!register_probe(race->own);
	dma_buf_put(dmabuf);
	udelay(race->round * 7 % 150);
	if (unregister_probe(first))
		race->taken++;
	else
		wait_for_completion(&first->go_on);
	memset(first, 0xff, sizeof(*first));
	kfree(first);
}

/* May run before the callback that queued it has returned. */
static void resume_in_race(struct work_struct *work)
{
	struct probe *probe = container_of(work, struct probe, work);

	WARN_ON(!is_kept(probe->buffer));
	dma_buf_resume_release(&probe->notifier);
	wait_for_completion(&probe->called);
	complete(&probe->go_on);
}

static void race_once(struct kunit *test, struct race *race)
{
	struct probe *first = kzalloc(sizeof(*first), GFP_KERNEL);
	struct probe *own = kzalloc(sizeof(*own), GFP_KERNEL);
	unsigned int taken = race->taken;

	KUNIT_ASSERT_TRUE(test, first && own);
	KUNIT_ASSERT_EQ(test, export_buffer(&the_buffer), 0);
	init_probe(first, &the_buffer, 'a');
	INIT_WORK(&first->work, resume_in_race);
	first->act = start_work;
	first->keeps = true;
	KUNIT_ASSERT_EQ(test, register_probe(first), 0);
	init_probe(own, &the_buffer, 'b');
	own->notifier.release = free_itself;
	race->first = first;
	race->own = own;
	race->round++;
	get_dma_buf(the_buffer.dmabuf);
	queue_work(wq, &race->work);
	udelay(race->round * 3 % 100);
	dma_buf_put(the_buffer.dmabuf);
	/* Run the callbacks here, immediately, whichever thread dropped the last reference. */
	for (; work_busy(&race->work); cond_resched())
		flush_delayed_fput();
	flush_work(&race->work);
	KUNIT_ASSERT_EQ(test, race->errors, 0U);
	expect_released(test, &the_buffer, race->taken == taken ? "ba." : "b.");
}

static void called_or_taken_back(struct kunit *test)
{
	struct race *race = kunit_kzalloc(test, sizeof(*race), GFP_KERNEL);
	unsigned long start = jiffies;
	unsigned int seldom = 0;	/* occurrences of the rarer outcome */

	KUNIT_ASSERT_TRUE(test, !!race);
	drop_and_expect(test, ".");
	INIT_WORK(&race->work, race_work);
	while (time_before(jiffies, start + RACE_SECONDS * HZ) ||
	       (seldom < RACE_ENOUGH && time_before(jiffies, start + MAX_SECONDS * HZ))) {
		race_once(test, race);
		seldom = min(race->taken, race->round - race->taken);
	}
	kunit_info(test, "%u rounds: %u taken back\n", race->round, race->taken);
	KUNIT_EXPECT_GE(test, seldom, RACE_ENOUGH);
}

#ifdef CONFIG_MODULE_UNLOAD
static struct module *new_module(struct kunit *test)
{
	struct module *module = kunit_kzalloc(test, sizeof(*module), GFP_KERNEL);

	KUNIT_ASSERT_TRUE(test, !!module);
	module->state = MODULE_STATE_LIVE;
	atomic_set(&module->refcnt, 1);
	strscpy(module->name, "owner", sizeof(module->name));
	return module;
}

static void resume_and_count(struct probe *probe)
{
	dma_buf_resume_release(&probe->notifier);
	probe->ret = atomic_read(&probe->notifier.owner->refcnt);
}

static void owner_is_pinned(struct kunit *test)
{
	struct module *module = new_module(test);
	struct probe *probe = new_probe(test, 'a', NULL);

	probe->notifier.owner = module;
	probe->keeps = true;
	KUNIT_EXPECT_EQ(test, register_probe(probe), 0);
	KUNIT_EXPECT_EQ(test, register_probe(probe), -EBUSY);
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 2);
	KUNIT_EXPECT_TRUE(test, unregister_probe(probe));
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);

	/* The module is pinned until the release is resumed, */
	KUNIT_EXPECT_EQ(test, register_probe(probe), 0);
	dma_buf_put(the_buffer.dmabuf);
	expect_kept(test, "a");
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 2);
	dma_buf_resume_release(&probe->notifier);
	expect_released(test, &the_buffer, "a.");
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);

	/* and until the callback has returned. */
	KUNIT_ASSERT_EQ(test, export_buffer(&the_buffer), 0);
	probe->act = resume_and_count;
	KUNIT_EXPECT_EQ(test, register_probe(probe), 0);
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, probe->ret, 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);

	KUNIT_ASSERT_EQ(test, export_buffer(&the_buffer), 0);
	module->state = MODULE_STATE_GOING;
	KUNIT_EXPECT_EQ(test, register_probe(probe), -ENODEV);
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);
	drop_and_expect(test, ".");
}

/* A second copy of the code under test, whose allocation of the stand-in fails. */
static int failing_register(struct dma_buf *dmabuf,
			    struct dma_buf_release_notifier *notifier);
static bool __maybe_unused failing_unregister(struct dma_buf_release_notifier *notifier);
static void failing_resume(struct dma_buf_release_notifier *notifier);
static void __maybe_unused failing_notify(struct dma_buf *dmabuf);
static long allocation_errno;

static struct file *failing_clone(struct file *base, int flags,
				  const struct file_operations *fops)
{
	return ERR_PTR(allocation_errno);
}

#undef EXPORT_SYMBOL_GPL
#define EXPORT_SYMBOL_GPL(symbol)
#undef EXPORT_SYMBOL_NS_GPL
#define EXPORT_SYMBOL_NS_GPL(symbol, ns)
#define alloc_file_clone failing_clone
#define dma_buf_register_release_notifier failing_register
#define dma_buf_unregister_release_notifier failing_unregister
#define dma_buf_resume_release failing_resume
#define dma_buf_notify_release failing_notify
#include "dma-buf-release.c"

/* A failed allocation changes nothing: registering can be tried again. */
static void refused_without_stand_in(struct kunit *test)
{
	struct module *module = new_module(test);
	struct probe *probe = new_probe(test, 'a', NULL);
	struct dma_buf *dmabuf = the_buffer.dmabuf;

	probe->notifier.owner = module;
	allocation_errno = -ENFILE;
	KUNIT_EXPECT_EQ(test, failing_register(dmabuf, &probe->notifier), -ENFILE);
	allocation_errno = -EACCES;
	KUNIT_EXPECT_EQ(test, failing_register(dmabuf, &probe->notifier), -EACCES);
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);
	KUNIT_EXPECT_FALSE(test, unregister_probe(probe));
	KUNIT_EXPECT_EQ(test, register_probe(probe), 0);
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);
}
#endif

static struct kunit_case release_cases[] = {
	KUNIT_CASE(last_registered_is_called_first),
	KUNIT_CASE(taken_back),
	KUNIT_CASE(taken_back_during_the_release),
	KUNIT_CASE(refused),
	KUNIT_CASE(resumed_by_a_worker),
	KUNIT_CASE(resumed_before_the_callback_returns),
	KUNIT_CASE(resumed_in_either_order),
	KUNIT_CASE(released_by_process),
	KUNIT_CASE(called_or_taken_back),
#ifdef CONFIG_MODULE_UNLOAD
	KUNIT_CASE(owner_is_pinned),
	KUNIT_CASE(refused_without_stand_in),
#endif
	{}
};

static struct kunit_suite release_suite = {
	.name = "dma_buf_release",
	.init = release_test_init,
	.exit = release_test_exit,
	.test_cases = release_cases,
};

kunit_test_suite(release_suite);

MODULE_DESCRIPTION("KUnit tests for the release notifiers of dma-bufs");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
