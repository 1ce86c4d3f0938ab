// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the notifiers that run before a dma-buf is released: in which
 * order and context they are called, what a callback may do, and who wins if one
 * takes a notifier back while the buffer dies.
 *
 * The buffer is a real one, of an exporter that keeps a log of its own release and
 * of the callbacks. A callback runs in a task that is not the test's, so it only
 * notes what it sees; the test judges when the exporter has released the buffer.
 */

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-buf.h>
#include <linux/dma-buf-release.h>
#include <linux/dma-resv.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/path.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/umh.h>

#define MAX_SECONDS	20	/* until what has to happen has happened */
#define RACE_SECONDS	3	/* of a race, if by then */
#define RACE_ENOUGH	10	/* more rounds than that went either way */
#define MAX_RACE_SECONDS	60
#define MEMORY		"the memory of the buffer"

/* What the notifiers may cost a buffer that has none. */
static_assert(sizeof(((struct dma_buf *)0)->release_notifiers) == sizeof(void *));

/* A buffer as its exporter sees it. */
struct buffer {
	struct dma_buf *dmabuf;
	char *memory;		/* freed by the release */
	bool attached;		/* there were attachments at the release */
	char log[16];		/* who was called: names of callbacks, '.' the exporter */
	unsigned int logged;
	struct completion released;
};

struct probe {
	struct dma_buf_release_notifier notifier;
	struct buffer *buffer;
	char name;
	void (*act)(struct probe *probe);	/* more that the callback does, or NULL */
	struct probe *other;
	struct buffer *other_buffer;
	struct dma_buf_attachment *attach;
	struct completion begun, go_on;

	/* Noted by the callback. */
	unsigned int calls;
	bool running;
	bool released;		/* the exporter was first */
	bool memory;		/* it was whole */
	bool atomic;
	int locks;		/* held, by lockdep's count */
	unsigned int flags;	/* of the task */
	int ret;
};

struct release_test {
	struct buffer buffer;
	struct buffer second;
	struct device *dev;
};

static void note_call(struct buffer *buffer, char name)
{
	if (buffer->logged < sizeof(buffer->log) - 1)
		buffer->log[buffer->logged++] = name;
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

	note_call(buffer, '.');
	buffer->attached = !list_empty(&dmabuf->attachments);
	kfree(buffer->memory);
	buffer->memory = NULL;
	complete(&buffer->released);
}

static const struct dma_buf_ops exporter_ops = {
	.map_dma_buf = no_map,
	.unmap_dma_buf = no_unmap,
	.release = exporter_release,
};

static void probe_release(struct dma_buf_release_notifier *notifier,
			  struct dma_buf *dmabuf)
{
	struct probe *probe = container_of(notifier, struct probe, notifier);
	struct buffer *buffer = dmabuf->priv;

	WRITE_ONCE(probe->running, true);
	probe->calls++;
	probe->atomic = preempt_count() || irqs_disabled();
	probe->locks = lockdep_depth(current);
	probe->flags = current->flags;
	probe->released = completion_done(&buffer->released);
	probe->memory = buffer->memory && !strcmp(buffer->memory, MEMORY);
	note_call(buffer, probe->name);
	if (probe->act)
		probe->act(probe);
	WRITE_ONCE(probe->running, false);
}

static int export_buffer(struct buffer *buffer)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);

	memset(buffer, 0, sizeof(*buffer));
	init_completion(&buffer->released);
	buffer->memory = kstrdup(MEMORY, GFP_KERNEL);
	if (!buffer->memory)
		return -ENOMEM;
	info.ops = &exporter_ops;
	info.size = PAGE_SIZE;
	info.flags = O_RDWR;
	info.priv = buffer;
	buffer->dmabuf = dma_buf_export(&info);
	if (IS_ERR(buffer->dmabuf)) {
		kfree(buffer->memory);
		buffer->memory = NULL;
		return PTR_ERR(buffer->dmabuf);
	}
	return 0;
}

static bool wait_for_release(struct buffer *buffer)
{
	return wait_for_completion_timeout(&buffer->released, MAX_SECONDS * HZ);
}

/* Drops the last reference; the callbacks run in this thread, or in a worker. */
static bool drop(struct buffer *buffer)
{
	dma_buf_put(buffer->dmabuf);
	flush_delayed_fput();
	return wait_for_release(buffer);
}

static int release_test_init(struct kunit *test)
{
	struct release_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	test->priv = t;
	/* Not of this module, which sysfs may not know yet: 6.1 runs tests before. */
	t->dev = __root_device_register("dma-buf-release-test", NULL);
	if (IS_ERR(t->dev))
		return PTR_ERR(t->dev);
	return export_buffer(&t->buffer);
}

static void release_test_exit(struct kunit *test)
{
	struct release_test *t = test->priv;

	if (t && !IS_ERR(t->dev))
		root_device_unregister(t->dev);
}

/* A notifier that is not registered yet; the test frees it at its end. */
static struct probe *new_probe(struct kunit *test, char name,
			       void (*act)(struct probe *probe))
{
	struct probe *probe = kunit_kzalloc(test, sizeof(*probe), GFP_KERNEL);

	KUNIT_ASSERT_TRUE(test, !!probe);
	probe->name = name;
	probe->act = act;
	probe->notifier.release = probe_release;
	probe->notifier.owner = THIS_MODULE;
	init_completion(&probe->begun);
	init_completion(&probe->go_on);
	return probe;
}

static struct probe *registered(struct kunit *test, char name,
				void (*act)(struct probe *probe))
{
	struct release_test *t = test->priv;
	struct probe *probe = new_probe(test, name, act);

	KUNIT_ASSERT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&probe->notifier), 0);
	return probe;
}

static void expect_log(struct kunit *test, const char *log)
{
	struct release_test *t = test->priv;

	KUNIT_EXPECT_STREQ(test, (const char *)t->buffer.log, log);
	KUNIT_EXPECT_FALSE(test, t->buffer.attached);
}

/* Drops the buffer, and @log is who was called. */
static void drop_and_expect(struct kunit *test, const char *log)
{
	struct release_test *t = test->priv;

	KUNIT_ASSERT_TRUE(test, drop(&t->buffer));
	expect_log(test, log);
}

/* It was called once, before the exporter, where it may sleep. */
static void expect_good_call(struct kunit *test, struct probe *probe)
{
	KUNIT_EXPECT_EQ(test, probe->calls, 1U);
	KUNIT_EXPECT_FALSE(test, probe->released);
	KUNIT_EXPECT_TRUE(test, probe->memory);
	KUNIT_EXPECT_FALSE(test, probe->atomic);
}

static void none_registered(struct kunit *test)
{
	struct probe *probe = new_probe(test, 'a', NULL);

	KUNIT_EXPECT_FALSE(test, dma_buf_unregister_release_notifier(&probe->notifier));
	drop_and_expect(test, ".");
	KUNIT_EXPECT_EQ(test, probe->calls, 0U);
}

static void called_before_the_exporter(struct kunit *test)
{
	struct probe *probe = registered(test, 'a', NULL);

	drop_and_expect(test, "a.");
	expect_good_call(test, probe);
}

static void last_registered_is_called_first(struct kunit *test)
{
	struct probe *probes[5];
	int i;

	for (i = 0; i < 5; i++)
		probes[i] = registered(test, 'a' + i, NULL);
	drop_and_expect(test, "edcba.");
	for (i = 0; i < 5; i++)
		expect_good_call(test, probes[i]);
}

/* A reference that another holds is as good as the first one. */
static void called_after_the_last_reference_only(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = registered(test, 'a', NULL);

	get_dma_buf(t->buffer.dmabuf);
	dma_buf_put(t->buffer.dmabuf);
	flush_delayed_fput();
	msleep(50);
	KUNIT_EXPECT_EQ(test, probe->calls, 0U);
	drop_and_expect(test, "a.");
}

/* Whoever reads /proc/PID/fd holds the path for a while, and not the file. */
static void file_counts_and_not_its_path(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = registered(test, 'a', NULL);
	struct path path = t->buffer.dmabuf->file->f_path;
	unsigned long end = jiffies + MAX_SECONDS * HZ;

	path_get(&path);
	dma_buf_put(t->buffer.dmabuf);
	flush_delayed_fput();
	while (!READ_ONCE(probe->calls) && time_before(jiffies, end))
		msleep(20);
	msleep(50);
	expect_log(test, "a");
	path_put(&path);
	KUNIT_ASSERT_TRUE(test, wait_for_release(&t->buffer));
	expect_log(test, "a.");
	expect_good_call(test, probe);
}

static void put_off(struct kunit *test)
{
	struct release_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, dma_buf_defer_release(t->buffer.dmabuf), 0);
}

/* Time for a release that must not come, after which @log is who was called. */
static void expect_kept(struct kunit *test, const char *log)
{
	struct release_test *t = test->priv;

	flush_delayed_fput();
	msleep(100);
	KUNIT_EXPECT_FALSE(test, completion_done(&t->buffer.released));
	KUNIT_EXPECT_STREQ(test, (const char *)t->buffer.log, log);
	KUNIT_EXPECT_STREQ(test, (const char *)t->buffer.memory, MEMORY);
}

static void resume_and_expect(struct kunit *test, const char *log)
{
	struct release_test *t = test->priv;

	dma_buf_resume_release(t->buffer.dmabuf);
	flush_delayed_fput();
	KUNIT_ASSERT_TRUE(test, wait_for_release(&t->buffer));
	expect_log(test, log);
}

/*
 * The notifiers are called as ever; attachments and memory stay, and a file, which
 * is a live one, of the inode that the buffer's file had.
 */
static void release_is_put_off(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = registered(test, 'a', NULL);
	struct probe *late = new_probe(test, 'b', NULL);
	struct dma_buf *dmabuf = t->buffer.dmabuf;
	struct inode *inode = file_inode(dmabuf->file);
	struct dma_buf_attachment *attach = dma_buf_attach(dmabuf, t->dev);

	KUNIT_ASSERT_FALSE(test, IS_ERR(attach));
	put_off(test);
	dma_buf_put(dmabuf);
	expect_kept(test, "a");
	expect_good_call(test, probe);
	KUNIT_EXPECT_FALSE(test, dma_buf_unregister_release_notifier(&probe->notifier));
	KUNIT_EXPECT_EQ(test, (int)file_count(dmabuf->file), 1);
	KUNIT_EXPECT_PTR_EQ(test, file_inode(dmabuf->file), inode);
	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(dmabuf, &late->notifier),
			-ENOENT);
	dma_resv_lock(dmabuf->resv, NULL);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&dmabuf->attachments));
	dma_resv_unlock(dmabuf->resv);
	dma_buf_detach(dmabuf, attach);
	resume_and_expect(test, "a.");
}

static void all_have_to_resume(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct dma_buf *dmabuf = t->buffer.dmabuf;
	int i;

	registered(test, 'a', NULL);
	for (i = 0; i < 3; i++)
		put_off(test);
	dma_buf_resume_release(dmabuf);
	expect_kept(test, "");
	dma_buf_put(dmabuf);
	expect_kept(test, "a");
	dma_buf_resume_release(dmabuf);
	expect_kept(test, "a");
	KUNIT_EXPECT_EQ(test, (int)file_count(dmabuf->file), 1);
	resume_and_expect(test, "a.");
}

/* Nobody is there to be called: it is put off nevertheless. */
static void put_off_without_a_notifier(struct kunit *test)
{
	struct release_test *t = test->priv;

	put_off(test);
	dma_buf_put(t->buffer.dmabuf);
	expect_kept(test, "");
	KUNIT_EXPECT_EQ(test, (int)file_count(t->buffer.dmabuf->file), 1);
	resume_and_expect(test, ".");
}

/* What was resumed before the last reference goes is as if it had not been. */
static void resumed_before_the_release(struct kunit *test)
{
	struct release_test *t = test->priv;

	registered(test, 'a', NULL);
	put_off(test);
	dma_buf_resume_release(t->buffer.dmabuf);
	expect_kept(test, "");
	drop_and_expect(test, "a.");
}

static void act_put_off(struct probe *probe)
{
	probe->ret = dma_buf_defer_release(probe->buffer->dmabuf);
}

static void act_resume(struct probe *probe)
{
	dma_buf_resume_release(probe->buffer->dmabuf);
}

static void put_off_by_a_callback(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = registered(test, 'a', act_put_off);

	registered(test, 'b', NULL);
	probe->buffer = &t->buffer;
	probe->ret = -EINVAL;
	dma_buf_put(t->buffer.dmabuf);
	expect_kept(test, "ba");
	KUNIT_ASSERT_EQ(test, probe->ret, 0);
	resume_and_expect(test, "ba.");
}

/* It is one of two that are called: the release comes after both. */
static void resumed_by_a_callback(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe;

	registered(test, 'a', NULL);
	probe = registered(test, 'b', act_resume);
	probe->buffer = &t->buffer;
	put_off(test);
	drop_and_expect(test, "ba.");
}

static void taken_back_before(struct kunit *test)
{
	struct probe *a = registered(test, 'a', NULL);
	struct probe *b = registered(test, 'b', NULL);
	struct probe *c = registered(test, 'c', NULL);

	KUNIT_EXPECT_TRUE(test, dma_buf_unregister_release_notifier(&b->notifier));
	KUNIT_EXPECT_FALSE(test, dma_buf_unregister_release_notifier(&b->notifier));
	drop_and_expect(test, "ca.");
	expect_good_call(test, a);
	expect_good_call(test, c);
	KUNIT_EXPECT_EQ(test, b->calls, 0U);
	KUNIT_EXPECT_FALSE(test, dma_buf_unregister_release_notifier(&b->notifier));
}

static void all_taken_back_before(struct kunit *test)
{
	struct probe *a = registered(test, 'a', NULL);
	struct probe *b = registered(test, 'b', NULL);

	KUNIT_EXPECT_TRUE(test, dma_buf_unregister_release_notifier(&a->notifier));
	KUNIT_EXPECT_TRUE(test, dma_buf_unregister_release_notifier(&b->notifier));
	drop_and_expect(test, ".");
}

static void taken_back_after(struct kunit *test)
{
	struct probe *probe = registered(test, 'a', NULL);

	drop_and_expect(test, "a.");
	KUNIT_EXPECT_FALSE(test, dma_buf_unregister_release_notifier(&probe->notifier));
	KUNIT_EXPECT_EQ(test, probe->calls, 1U);
}

static void registered_again(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *a = registered(test, 'a', NULL);
	struct probe *b = registered(test, 'b', NULL);

	/* Taken back, it has lost its place. */
	KUNIT_EXPECT_TRUE(test, dma_buf_unregister_release_notifier(&a->notifier));
	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&a->notifier), 0);
	drop_and_expect(test, "ab.");
	expect_good_call(test, a);
	expect_good_call(test, b);

	/* Called, it can be used for another buffer. */
	KUNIT_ASSERT_EQ(test, export_buffer(&t->buffer), 0);
	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&a->notifier), 0);
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, a->calls, 2U);
}

static void refused_without_callback(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = new_probe(test, 'a', NULL);

	probe->notifier.release = NULL;
	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&probe->notifier), -EINVAL);
	KUNIT_EXPECT_FALSE(test, dma_buf_unregister_release_notifier(&probe->notifier));
	drop_and_expect(test, ".");
}

static void refused_if_registered(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *a = registered(test, 'a', NULL);

	registered(test, 'b', NULL);
	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&a->notifier), -EBUSY);
	KUNIT_ASSERT_EQ(test, export_buffer(&t->second), 0);
	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(t->second.dmabuf,
								&a->notifier), -EBUSY);
	KUNIT_ASSERT_TRUE(test, drop(&t->second));
	KUNIT_EXPECT_EQ(test, a->calls, 0U);
	drop_and_expect(test, "ba.");
	expect_good_call(test, a);
}

static void register_other(struct probe *probe)
{
	probe->ret = dma_buf_register_release_notifier(probe->buffer->dmabuf,
						       &probe->other->notifier);
}

static void refused_if_buffer_dies(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *a = registered(test, 'a', register_other);

	a->buffer = &t->buffer;
	a->other = new_probe(test, 'b', NULL);
	drop_and_expect(test, "a.");
	expect_good_call(test, a);
	KUNIT_EXPECT_EQ(test, a->ret, -ENOENT);
	KUNIT_EXPECT_EQ(test, a->other->calls, 0U);
}

static void refused_while_called(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = registered(test, 'a', register_other);

	KUNIT_ASSERT_EQ(test, export_buffer(&t->second), 0);
	probe->buffer = &t->second;
	probe->other = probe;
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, probe->ret, -EBUSY);
	KUNIT_ASSERT_TRUE(test, drop(&t->second));
	expect_good_call(test, probe);
}

/* Another buffer is no business of this one's. */
static void callback_registers_elsewhere(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = registered(test, 'a', register_other);

	KUNIT_ASSERT_EQ(test, export_buffer(&t->second), 0);
	probe->buffer = &t->second;
	probe->other = new_probe(test, 'b', NULL);
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, probe->ret, 0);
	KUNIT_EXPECT_EQ(test, probe->other->calls, 0U);
	KUNIT_ASSERT_TRUE(test, drop(&t->second));
	KUNIT_EXPECT_STREQ(test, (const char *)t->second.log, "b.");
	expect_good_call(test, probe->other);
}

#ifdef CONFIG_MODULE_UNLOAD
static struct module *new_module(struct kunit *test, enum module_state state)
{
	struct module *module = kunit_kzalloc(test, sizeof(*module), GFP_KERNEL);

	KUNIT_ASSERT_TRUE(test, !!module);
	module->state = state;
	atomic_set(&module->refcnt, 1);
	strscpy(module->name, "owner", sizeof(module->name));
	return module;
}

static void note_references(struct probe *probe)
{
	probe->ret = atomic_read(&probe->notifier.owner->refcnt);
}

static void owner_is_pinned(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct module *module = new_module(test, MODULE_STATE_LIVE);
	struct probe *a = new_probe(test, 'a', note_references);

	a->notifier.owner = module;
	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&a->notifier), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 2);
	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&a->notifier), -EBUSY);
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 2);
	KUNIT_EXPECT_TRUE(test, dma_buf_unregister_release_notifier(&a->notifier));
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);
	KUNIT_EXPECT_FALSE(test, dma_buf_unregister_release_notifier(&a->notifier));
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);

	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&a->notifier), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 2);
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, a->ret, 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);
	KUNIT_EXPECT_FALSE(test, dma_buf_unregister_release_notifier(&a->notifier));
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);
}

static void refused_if_owner_goes(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct module *module = new_module(test, MODULE_STATE_GOING);
	struct probe *probe = new_probe(test, 'a', NULL);

	probe->notifier.owner = module;
	KUNIT_EXPECT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&probe->notifier), -ENODEV);
	KUNIT_EXPECT_EQ(test, atomic_read(&module->refcnt), 1);
	drop_and_expect(test, ".");
	KUNIT_EXPECT_EQ(test, probe->calls, 0U);
}
#endif

static void sleep_long(struct probe *probe)
{
	msleep(200);
	/* The exporter waits for that, and so does the next callback. */
	probe->ret = probe->buffer->logged;
	probe->memory &= probe->buffer->memory && !strcmp(probe->buffer->memory, MEMORY);
}

static void callback_sleeps(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *a = registered(test, 'a', NULL);
	struct probe *b = registered(test, 'b', sleep_long);

	b->buffer = &t->buffer;
	drop_and_expect(test, "ba.");
	KUNIT_EXPECT_EQ(test, b->ret, 1);
	expect_good_call(test, a);
	expect_good_call(test, b);
}

static void lock_resv(struct probe *probe)
{
	struct dma_buf *dmabuf = probe->buffer->dmabuf;

	probe->ret = dma_resv_lock(dmabuf->resv, NULL);
	if (!probe->ret)
		dma_resv_unlock(dmabuf->resv);
}

static void callback_locks_resv(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = registered(test, 'a', lock_resv);

	probe->buffer = &t->buffer;
	probe->ret = -EBUSY;
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, probe->ret, 0);
	expect_good_call(test, probe);
}

/* With a reference nothing has to wait for the callback, whatever locks that takes. */
static void resv_is_locked_around(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = new_probe(test, 'a', lock_resv);
	int ret, again;
	bool taken;

	probe->buffer = &t->buffer;
	probe->ret = -EBUSY;
	dma_resv_lock(t->buffer.dmabuf->resv, NULL);
	ret = dma_buf_register_release_notifier(t->buffer.dmabuf, &probe->notifier);
	taken = dma_buf_unregister_release_notifier(&probe->notifier);
	again = dma_buf_register_release_notifier(t->buffer.dmabuf, &probe->notifier);
	dma_resv_unlock(t->buffer.dmabuf->resv);
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_TRUE(test, taken);
	KUNIT_EXPECT_EQ(test, again, 0);
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, probe->ret, 0);
}

static void detach_own(struct probe *probe)
{
	struct dma_buf *dmabuf = probe->buffer->dmabuf;

	probe->ret = list_is_singular(&dmabuf->attachments) &&
		     dmabuf->attachments.next == &probe->attach->node;
	dma_buf_detach(dmabuf, probe->attach);
}

static void callback_detaches(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = registered(test, 'a', detach_own);

	probe->buffer = &t->buffer;
	probe->attach = dma_buf_attach(t->buffer.dmabuf, t->dev);
	KUNIT_ASSERT_FALSE(test, IS_ERR(probe->attach));
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, probe->ret, 1);
	expect_good_call(test, probe);
}

/* Frees its notifier, with all that was noted. */
static void freeing_release(struct dma_buf_release_notifier *notifier,
			    struct dma_buf *dmabuf)
{
	struct probe *probe = container_of(notifier, struct probe, notifier);

	probe_release(notifier, dmabuf);
	/* What is looked at behind that is not what was there. */
	memset(probe, 0xff, sizeof(*probe));
	kfree(probe);
}

static void callback_frees_its_notifier(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *a = registered(test, 'a', NULL);
	struct probe *b = kzalloc(sizeof(*b), GFP_KERNEL);

	KUNIT_ASSERT_TRUE(test, !!b);
	b->name = 'b';
	b->notifier.release = freeing_release;
	b->notifier.owner = THIS_MODULE;
	KUNIT_ASSERT_EQ(test, dma_buf_register_release_notifier(t->buffer.dmabuf,
								&b->notifier), 0);
	drop_and_expect(test, "ba.");
	expect_good_call(test, a);
}

static void take_back_own(struct probe *probe)
{
	probe->ret = dma_buf_unregister_release_notifier(&probe->notifier);
}

static void callback_takes_itself_back(struct kunit *test)
{
	struct probe *probe = registered(test, 'a', take_back_own);

	probe->ret = -EBUSY;
	drop_and_expect(test, "a.");
	KUNIT_EXPECT_EQ(test, probe->ret, (int)false);
	expect_good_call(test, probe);
}

static void take_back_other(struct probe *probe)
{
	probe->ret = dma_buf_unregister_release_notifier(&probe->other->notifier);
}

static void callback_takes_others_back(struct kunit *test)
{
	struct probe *a = registered(test, 'a', take_back_other);
	struct probe *b = registered(test, 'b', NULL);
	struct probe *c = registered(test, 'c', take_back_other);

	a->other = c;
	a->ret = -EBUSY;
	c->other = b;
	c->ret = -EBUSY;
	drop_and_expect(test, "ca.");
	KUNIT_EXPECT_EQ(test, c->ret, (int)true);
	KUNIT_EXPECT_EQ(test, b->calls, 0U);
	/* That one had its turn. */
	KUNIT_EXPECT_EQ(test, a->ret, (int)false);
}

/* A thread that takes a notifier back. */
struct taker {
	struct probe *probe;
	struct completion returned;
	bool taken;
	bool running;		/* the callback, when that returned */
	unsigned int calls;
};

static int take_back(void *data)
{
	struct taker *taker = data;

	taker->taken = dma_buf_unregister_release_notifier(&taker->probe->notifier);
	taker->running = READ_ONCE(taker->probe->running);
	taker->calls = taker->probe->calls;
	complete(&taker->returned);
	return 0;
}

static void wait_to_go_on(struct probe *probe)
{
	complete(&probe->begun);
	wait_for_completion_timeout(&probe->go_on, MAX_SECONDS * HZ);
}

static void taken_back_while_called(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *a = registered(test, 'a', NULL);
	struct probe *b = registered(test, 'b', wait_to_go_on);
	struct taker takers[3];
	unsigned int i, began = 0;

	/* Without a flush: a worker runs the callback. */
	dma_buf_put(t->buffer.dmabuf);
	KUNIT_ASSERT_TRUE(test, !!wait_for_completion_timeout(&b->begun, MAX_SECONDS * HZ));
	for (i = 0; i < ARRAY_SIZE(takers); i++) {
		struct task_struct *task;

		memset(&takers[i], 0, sizeof(takers[i]));
		takers[i].probe = b;
		init_completion(&takers[i].returned);
		task = kthread_run(take_back, &takers[i], "take/%u", i);
		KUNIT_EXPECT_FALSE(test, IS_ERR(task));
		if (IS_ERR(task))
			break;
		began++;
	}
	msleep(200);
	for (i = 0; i < began; i++)
		KUNIT_EXPECT_FALSE(test, completion_done(&takers[i].returned));
	/* Another one, that was not called yet, is there to be taken. */
	KUNIT_EXPECT_TRUE(test, dma_buf_unregister_release_notifier(&a->notifier));
	complete(&b->go_on);
	for (i = 0; i < began; i++) {
		wait_for_completion(&takers[i].returned);
		KUNIT_EXPECT_FALSE(test, takers[i].taken);
		KUNIT_EXPECT_FALSE(test, takers[i].running);
		KUNIT_EXPECT_EQ(test, takers[i].calls, 1U);
	}
	KUNIT_ASSERT_TRUE(test, wait_for_release(&t->buffer));
	expect_log(test, "b.");
	KUNIT_EXPECT_EQ(test, a->calls, 0U);
}

static void released_by_a_kernel_thread(struct kunit *test)
{
	struct release_test *t = test->priv;
	struct probe *probe = registered(test, 'a', sleep_long);

	probe->buffer = &t->buffer;
	dma_buf_put(t->buffer.dmabuf);
	KUNIT_ASSERT_TRUE(test, wait_for_release(&t->buffer));
	expect_log(test, "a.");
	expect_good_call(test, probe);
	KUNIT_EXPECT_TRUE(test, !!(probe->flags & PF_KTHREAD));
}

/* In the process that is going to be the shell: the buffer is its only file, 0. */
static int give_buffer(struct subprocess_info *info, struct cred *new)
{
	struct buffer *buffer = info->data;
	int fd = dma_buf_fd(buffer->dmabuf, 0);

	if (fd < 0)
		return fd;
	buffer->dmabuf = NULL;
	return fd ? -EBADF : 0;
}

/* A process that runs @script has the last reference of the buffer. */
static void released_by_process(struct kunit *test, char *script, int status,
				struct probe *probe)
{
	struct release_test *t = test->priv;
	char *argv[4] = { "/bin/sh", "-c", script, NULL };
	char *envp[2] = { "PATH=/bin:/usr/bin", NULL };
	struct subprocess_info *info;

	probe->buffer = &t->buffer;
	info = call_usermodehelper_setup(argv[0], argv, envp, GFP_KERNEL, give_buffer,
					 NULL, &t->buffer);
	KUNIT_ASSERT_TRUE(test, !!info);
	KUNIT_EXPECT_EQ(test, call_usermodehelper_exec(info, UMH_WAIT_PROC), status);
	if (t->buffer.dmabuf)
		dma_buf_put(t->buffer.dmabuf);
	KUNIT_ASSERT_TRUE(test, wait_for_release(&t->buffer));
	expect_log(test, "a.");
	expect_good_call(test, probe);
	KUNIT_EXPECT_FALSE(test, !!(probe->flags & PF_KTHREAD));
	/* Lockdep counts the callback itself. */
	KUNIT_EXPECT_LE(test, probe->locks, 1);
}

static void released_by_close(struct kunit *test)
{
	struct probe *probe = registered(test, 'a', sleep_long);

	released_by_process(test, "exec 0<&-; exit 7", 7 << 8, probe);
	KUNIT_EXPECT_FALSE(test, !!(probe->flags & PF_EXITING));
}

static void released_by_exit(struct kunit *test)
{
	struct probe *probe = registered(test, 'a', sleep_long);

	released_by_process(test, "exit 7", 7 << 8, probe);
	KUNIT_EXPECT_TRUE(test, !!(probe->flags & PF_EXITING));
}

static void released_by_kill(struct kunit *test)
{
	struct probe *probe = registered(test, 'a', sleep_long);

	released_by_process(test, "kill -KILL $$", SIGKILL, probe);
	KUNIT_EXPECT_TRUE(test, !!(probe->flags & PF_EXITING));
}

/* Threads that take the notifier of each round back while the buffer is dropped. */
struct race {
	struct probe *probe;	/* of this round */
	bool free;		/* the only taker frees it at once */
	atomic_t round;
	atomic_t done;		/* takers that are through with this round */
	atomic_t taken;
	atomic_t met;		/* rounds in which a taker came while it was called */
	atomic_t wrong;		/* it ran, or ran again, after a taker returned */
};

static int keep_taking_back(void *data)
{
	struct race *race = data;
	int round = 0;

	while (!kthread_should_stop()) {
		struct probe *probe;
		unsigned int calls;

		if (atomic_read_acquire(&race->round) == round) {
			cond_resched();
			continue;
		}
		round++;
		probe = READ_ONCE(race->probe);
		udelay(round * 7 % 150);
		if (READ_ONCE(probe->running))
			atomic_inc(&race->met);
		if (dma_buf_unregister_release_notifier(&probe->notifier))
			atomic_inc(&race->taken);
		if (READ_ONCE(probe->running))
			atomic_inc(&race->wrong);
		calls = READ_ONCE(probe->calls);
		if (race->free) {
			memset(probe, 0xff, sizeof(*probe));
			kfree(probe);
		} else {
			usleep_range(20, 40);
			if (READ_ONCE(probe->calls) != calls)
				atomic_inc(&race->wrong);
		}
		/* The last look at @probe, which the test may free now. */
		atomic_fetch_inc_release(&race->done);
	}
	return 0;
}

static void linger(struct probe *probe)
{
	usleep_range(50, 100);
}

static bool race_goes_on(unsigned long start, int won, int lost, int met)
{
	if (time_before(jiffies, start + RACE_SECONDS * HZ))
		return true;
	return time_before(jiffies, start + MAX_RACE_SECONDS * HZ) &&
	       (won <= RACE_ENOUGH || lost <= RACE_ENOUGH || met <= RACE_ENOUGH);
}

static void run_race(struct kunit *test, unsigned int takers, bool free)
{
	struct race *race = kunit_kzalloc(test, sizeof(*race), GFP_KERNEL);
	struct release_test *t = test->priv;
	struct task_struct *task[4] = {};
	int won = 0, lost = 0, wrong = 0, rounds = 0;
	unsigned long start = jiffies;
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, !!race);
	KUNIT_ASSERT_TRUE(test, drop(&t->buffer));
	race->free = free;
	takers = min_t(unsigned int, takers, ARRAY_SIZE(task));
	for (i = 0; i < takers; i++) {
		task[i] = kthread_run(keep_taking_back, race, "take/%u", i);
		if (IS_ERR(task[i])) {
			KUNIT_EXPECT_FALSE(test, IS_ERR(task[i]));
			takers = i;
		}
	}
	while (takers && !wrong &&
	       race_goes_on(start, won, lost, atomic_read(&race->met))) {
		struct probe *probe = kzalloc(sizeof(*probe), GFP_KERNEL);
		unsigned int calls, taken;

		if (!probe || export_buffer(&t->buffer)) {
			kfree(probe);
			break;
		}
		probe->name = 'a';
		probe->act = linger;
		probe->notifier.release = probe_release;
		probe->notifier.owner = THIS_MODULE;
		wrong += !!dma_buf_register_release_notifier(t->buffer.dmabuf,
							     &probe->notifier);
		WRITE_ONCE(race->probe, probe);
		atomic_set(&race->taken, 0);
		atomic_set(&race->done, 0);
		atomic_set_release(&race->round, ++rounds);
		udelay(rounds * 3 % 100);
		/* It is this thread that calls, while the takers are about. */
		dma_buf_put(t->buffer.dmabuf);
		flush_delayed_fput();
		while (atomic_read_acquire(&race->done) != takers)
			usleep_range(10, 20);
		wrong += !wait_for_release(&t->buffer);
		calls = t->buffer.log[0] == 'a';
		taken = atomic_read(&race->taken);
		wrong += calls + taken != 1;
		wrong += t->buffer.logged != calls + 1;
		wrong += atomic_read(&race->wrong);
		won += taken;
		lost += calls;
		if (!free)
			kfree(probe);
	}
	for (i = 0; i < takers; i++)
		kthread_stop(task[i]);

	kunit_info(test, "%d rounds: %d taken back, %d called, %d takers came in between\n",
		   rounds, won, lost, atomic_read(&race->met));
	KUNIT_EXPECT_EQ(test, wrong, 0);
	/* It was a race: it went either way, and both met. */
	KUNIT_EXPECT_GT(test, won, RACE_ENOUGH);
	KUNIT_EXPECT_GT(test, lost, RACE_ENOUGH);
	KUNIT_EXPECT_GT(test, atomic_read(&race->met), RACE_ENOUGH);
}

static void one_takes_it_back_and_frees_it(struct kunit *test)
{
	run_race(test, 1, true);
}

static void many_take_it_back(struct kunit *test)
{
	run_race(test, 4, false);
}

static struct kunit_case release_cases[] = {
	KUNIT_CASE(none_registered),
	KUNIT_CASE(called_before_the_exporter),
	KUNIT_CASE(last_registered_is_called_first),
	KUNIT_CASE(called_after_the_last_reference_only),
	KUNIT_CASE(file_counts_and_not_its_path),
	KUNIT_CASE(release_is_put_off),
	KUNIT_CASE(all_have_to_resume),
	KUNIT_CASE(put_off_without_a_notifier),
	KUNIT_CASE(resumed_before_the_release),
	KUNIT_CASE(put_off_by_a_callback),
	KUNIT_CASE(resumed_by_a_callback),
	KUNIT_CASE(taken_back_before),
	KUNIT_CASE(all_taken_back_before),
	KUNIT_CASE(taken_back_after),
	KUNIT_CASE(taken_back_while_called),
	KUNIT_CASE(registered_again),
	KUNIT_CASE(refused_without_callback),
	KUNIT_CASE(refused_if_registered),
	KUNIT_CASE(refused_if_buffer_dies),
	KUNIT_CASE(refused_while_called),
#ifdef CONFIG_MODULE_UNLOAD
	KUNIT_CASE(refused_if_owner_goes),
	KUNIT_CASE(owner_is_pinned),
#endif
	KUNIT_CASE(callback_sleeps),
	KUNIT_CASE(callback_locks_resv),
	KUNIT_CASE(resv_is_locked_around),
	KUNIT_CASE(callback_detaches),
	KUNIT_CASE(callback_frees_its_notifier),
	KUNIT_CASE(callback_takes_itself_back),
	KUNIT_CASE(callback_takes_others_back),
	KUNIT_CASE(callback_registers_elsewhere),
	KUNIT_CASE(released_by_a_kernel_thread),
	KUNIT_CASE(released_by_close),
	KUNIT_CASE(released_by_exit),
	KUNIT_CASE(released_by_kill),
	KUNIT_CASE(one_takes_it_back_and_frees_it),
	KUNIT_CASE(many_take_it_back),
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
