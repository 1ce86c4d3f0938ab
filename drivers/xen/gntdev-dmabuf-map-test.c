// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the mapping of grants into a dma-buf. They need no Xen: a mock
 * backend tracks who owns which page, and writes a pattern into each page that changes
 * its owner. So it notices if the driver touches a page while it is a hole, or clears a
 * page of the other domain.
 *
 * Each hypercall fails in turn. After each test, the exporter must have its own memory
 * back, cleared, before it releases the buffer, and a buffer with a page that was not
 * unmapped must never be released.
 */

#include <linux/dma-buf-release.h>

static int failing_register(struct dma_buf *dmabuf,
			    struct dma_buf_release_notifier *notifier);

#define dma_buf_register_release_notifier failing_register
#include "gntdev-dmabuf-map.c"
#undef dma_buf_register_release_notifier

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>

#include "../dma-buf/dma-fence-mock.h"

#define PAGES		8
#define MANY		(2 * GNTDEV_MAP_BATCH + 3)
#define FD		7

#define OWN_DATA	0x11	/* content of the buffer before the test */
#define HOLE		0xdd
#define FOREIGN		0xf0
#define FRESH		0x5a	/* content of memory from the hypervisor */

#define LONG_MS		10000	/* a timeout that no passing test reaches */

struct mock_xen {
	struct gntdev_map_backend backend;
	bool keeps_frames;
	struct page *pages[MANY];
	u8 state[MANY];
	int first;	/* index of the first page of the buffer that is mapped */
	/* Failures to inject. Each bit of a mask is one of the first pages. */
	int decrease_max;	/* frames that the hypervisor takes */
	int decrease_errno;
	int register_errno;
	int populate_errno;
	unsigned long populate_bad;	/* populating stops at such a page */
	unsigned long map_bad;
	s16 map_status;
	unsigned long map_torn;		/* mapped, then unmapped again by the kernel */
	unsigned long unmap_bad;
	/* Numbers of calls. */
	int decreases, populates, maps, unmaps;
	int confused;		/* violations that the mock has noticed */
};

struct mock_buf {
	struct page *pages[MANY];
	unsigned int nr;
	atomic_t users;		/* CPU mappings */
	int attach_errno, begin_errno;
	int attaches, begins, ends;
	struct completion released;
	struct dma_buf *dmabuf;
	u8 at_release;		/* OR of the first bytes of all pages */
};

struct map_test {
	struct mock_xen xen;
	struct device *dev;
	struct gntdev_map_priv *priv;
	struct mock_buf *bufs[2];
};

static struct mock_xen *the_xen;

static int failing_register(struct dma_buf *dmabuf,
			    struct dma_buf_release_notifier *notifier)
{
	return the_xen->register_errno ?: dma_buf_register_release_notifier(dmabuf, notifier);
}

/* ------------------------------------------------------------------ */
/* The hypervisor. */

static bool page_is(struct page *page, u8 pattern)
{
	return !memchr_inv(page_address(page), pattern, PAGE_SIZE);
}

static void page_fill(struct page *page, u8 pattern)
{
	memset(page_address(page), pattern, PAGE_SIZE);
}

static int mock_index(unsigned long pfn)
{
	int i;

	for (i = 0; i < MANY; i++)
		if (the_xen->pages[i] && page_to_pfn(the_xen->pages[i]) == pfn)
			return i;
	the_xen->confused++;
	return 0;
}

/* The index of an operation's page. Without Xen, 5.10 uses virtual addresses here. */
static int mock_index_addr(u64 host_addr)
{
	struct gnttab_map_grant_ref op;
	int i;

	for (i = 0; i < MANY; i++) {
		if (!the_xen->pages[i])
			continue;
		gnttab_set_map_op(&op, (unsigned long)page_address(the_xen->pages[i]),
				  GNTMAP_host_map, 0, 0);
		if (op.host_addr == host_addr)
			return i;
	}
	the_xen->confused++;
	return 0;
}

static bool mock_fails(unsigned long mask, int i)
{
	return i < PAGES && mask & BIT(i);
}

static void mock_change(int i, u8 from, u8 content, u8 to)
{
	if (the_xen->state[i] != from || !page_is(the_xen->pages[i], content))
		the_xen->confused++;
	the_xen->state[i] = to;
}

static bool mock_keeps_frames(void)
{
	return the_xen->keeps_frames;
}

static int mock_decrease(int nr, xen_pfn_t *frames)
{
	int i, n, k;

	the_xen->decreases++;
	if (the_xen->decrease_errno)
		return the_xen->decrease_errno;
	n = min(nr, the_xen->decrease_max);
	for (k = 0; k < n; k++) {
		i = mock_index(frames[k]);
		mock_change(i, GNTDEV_MAP_OWN, 0, GNTDEV_MAP_HOLE);
		page_fill(the_xen->pages[i], HOLE);
	}
	return n;
}

static int mock_populate(int nr, xen_pfn_t *frames)
{
	int i, k;

	the_xen->populates++;
	if (the_xen->populate_errno)
		return the_xen->populate_errno;
	for (k = 0; k < nr; k++) {
		i = mock_index(frames[k]);
		if (mock_fails(the_xen->populate_bad, i))
			return k;
		/* Xen has nothing to do for a frame that the domain has kept. */
		if (the_xen->keeps_frames && the_xen->state[i] == GNTDEV_MAP_OWN)
			continue;
		mock_change(i, GNTDEV_MAP_HOLE, HOLE, GNTDEV_MAP_OWN);
		page_fill(the_xen->pages[i], FRESH);
	}
	return nr;
}

static void mock_map(struct gnttab_map_grant_ref *ops, struct page **pages,
		     unsigned int nr)
{
	unsigned int k;
	int i;
	u8 own;

	the_xen->maps++;
	for (k = 0; k < nr; k++) {
		i = mock_index_addr(ops[k].host_addr);
		if (ops[k].dom != 3 || ops[k].ref != 100 + (i - the_xen->first) ||
		    ops[k].flags != GNTMAP_host_map)
			the_xen->confused++;
		ops[k].status = the_xen->map_status;
		if (mock_fails(the_xen->map_bad, i))
			continue;
		/* The content of a frame that the domain keeps does not matter. */
		own = *(u8 *)page_address(the_xen->pages[i]);
		if (mock_fails(the_xen->map_torn, i)) {
			mock_change(i, GNTDEV_MAP_OWN, own, GNTDEV_MAP_HOLE);
			page_fill(the_xen->pages[i], HOLE);
			ops[k].status = GNTST_general_error;
			continue;
		}
		if (the_xen->keeps_frames)
			mock_change(i, GNTDEV_MAP_OWN, own, GNTDEV_MAP_FOREIGN);
		else
			mock_change(i, GNTDEV_MAP_HOLE, HOLE, GNTDEV_MAP_FOREIGN);
		page_fill(the_xen->pages[i], FOREIGN);
		ops[k].handle = 1000 + i;
		ops[k].status = GNTST_okay;
	}
}

static void mock_unmap(struct gnttab_unmap_grant_ref *ops, struct page **pages,
		       unsigned int nr)
{
	unsigned int k;
	int i;

	the_xen->unmaps++;
	for (k = 0; k < nr; k++) {
		i = mock_index_addr(ops[k].host_addr);
		if (ops[k].handle != 1000 + i || the_xen->pages[i] != pages[k])
			the_xen->confused++;
		ops[k].status = GNTST_general_error;
		if (mock_fails(the_xen->unmap_bad, i))
			continue;
		mock_change(i, GNTDEV_MAP_FOREIGN, FOREIGN, GNTDEV_MAP_HOLE);
		page_fill(the_xen->pages[i], HOLE);
		ops[k].status = GNTST_okay;
	}
}

/* ------------------------------------------------------------------ */
/* The exporter. */

static int mock_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach)
{
	struct mock_buf *buf = dmabuf->priv;

	buf->attaches++;
	return buf->attach_errno;
}

/* No test uses DMA addresses, but dma_buf_export() requires this callback. */
static struct sg_table *mock_map_dma_buf(struct dma_buf_attachment *attach,
					 enum dma_data_direction dir)
{
	return ERR_PTR(-EIO);
}

static void mock_unmap_dma_buf(struct dma_buf_attachment *attach,
			       struct sg_table *sgt, enum dma_data_direction dir)
{
}

static int mock_vmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	return -EIO;
}

static int mock_begin_exchange(struct dma_buf *dmabuf, struct page **pages,
			       unsigned int count)
{
	struct mock_buf *buf = dmabuf->priv;

	buf->begins++;
	if (buf->begin_errno)
		return buf->begin_errno;
	if (atomic_cmpxchg(&buf->users, 0, -1))
		return -EBUSY;
	if (pages)
		memcpy(pages, buf->pages, count * sizeof(*pages));
	return 0;
}

static void mock_end_exchange(struct dma_buf *dmabuf)
{
	struct mock_buf *buf = dmabuf->priv;

	buf->ends++;
	atomic_set(&buf->users, 0);
}

/* Does not free the pages: the test checks them. */
static void mock_release(struct dma_buf *dmabuf)
{
	struct mock_buf *buf = dmabuf->priv;
	unsigned int i;

	for (i = 0; i < buf->nr; i++)
		buf->at_release |= *(u8 *)page_address(buf->pages[i]);
	complete(&buf->released);
}

static const struct dma_buf_ops mock_ops = {
	.attach = mock_attach,
	.map_dma_buf = mock_map_dma_buf,
	.unmap_dma_buf = mock_unmap_dma_buf,
	.vmap = mock_vmap,
	.begin_exchange = mock_begin_exchange,
	.end_exchange = mock_end_exchange,
	.release = mock_release,
};

static const struct dma_buf_ops mock_ops_without_consent = {
	.attach = mock_attach,
	.map_dma_buf = mock_map_dma_buf,
	.unmap_dma_buf = mock_unmap_dma_buf,
	.release = mock_release,
};

static struct dma_buf *export_pages(struct kunit *test, struct mock_buf *buf,
				    const struct dma_buf_ops *ops)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;

	info.ops = ops;
	info.size = buf->nr * PAGE_SIZE;
	info.flags = O_RDWR;
	info.priv = buf;
	dmabuf = dma_buf_export(&info);
	KUNIT_ASSERT_FALSE(test, IS_ERR(dmabuf));
	return dmabuf;
}

static struct dma_buf *mock_export(struct kunit *test, int index, unsigned int nr,
				   const struct dma_buf_ops *ops)
{
	struct map_test *t = test->priv;
	struct mock_buf *buf = kunit_kzalloc(test, sizeof(*buf), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, !!buf);
	init_completion(&buf->released);
	buf->nr = nr;
	for (i = 0; i < nr; i++) {
		buf->pages[i] = alloc_page(GFP_KERNEL);
		KUNIT_ASSERT_TRUE(test, !!buf->pages[i]);
		page_fill(buf->pages[i], OWN_DATA);
	}
	/* Add the pages to the mock hypervisor's, after those of an earlier buffer. */
	for (i = 0; t->xen.pages[i]; i++)
		continue;
	memcpy(&t->xen.pages[i], buf->pages, nr * sizeof(buf->pages[0]));
	buf->dmabuf = export_pages(test, buf, ops);
	t->bufs[index] = buf;
	return buf->dmabuf;
}

static struct dma_buf *mock_dma_buf(struct kunit *test, int index, unsigned int nr)
{
	return mock_export(test, index, nr, &mock_ops);
}

/* ------------------------------------------------------------------ */

static int map_test_init(struct kunit *test)
{
	struct map_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	t->xen.backend.keeps_frames = mock_keeps_frames;
	t->xen.backend.decrease = mock_decrease;
	t->xen.backend.populate = mock_populate;
	t->xen.backend.map = mock_map;
	t->xen.backend.unmap = mock_unmap;
	t->xen.decrease_max = INT_MAX;
	the_xen = &t->xen;
	if (gntdev_map_init())
		return -ENOMEM;
	t->dev = __root_device_register("gntdev-map-test", NULL);
	if (IS_ERR(t->dev)) {
		gntdev_map_exit();
		return PTR_ERR(t->dev);
	}
	t->priv = gntdev_map_priv_create(&t->xen.backend, t->dev);
	if (!t->priv) {
		root_device_unregister(t->dev);
		gntdev_map_exit();
		return -ENOMEM;
	}
	test->priv = t;
	return 0;
}

/* Each test has dropped its buffers. This waits until they are released. */
static void map_test_exit(struct kunit *test)
{
	struct map_test *t = test->priv;
	unsigned int i, k;

	if (!t)
		return;
	if (t->priv)
		gntdev_map_close(t->priv);
	for (k = 0; k < ARRAY_SIZE(t->bufs); k++) {
		struct mock_buf *buf = t->bufs[k];

		if (!buf)
			continue;
		KUNIT_EXPECT_GT(test, (long)wait_for_completion_timeout(&buf->released,
									5 * HZ), 0L);
		for (i = 0; i < buf->nr; i++)
			put_page(buf->pages[i]);
	}
	gntdev_map_exit();
	KUNIT_EXPECT_EQ(test, t->xen.confused, 0);
	root_device_unregister(t->dev);
}

static int map_fd(struct kunit *test, struct dma_buf *dmabuf, u32 fd, u32 count,
		  u32 data_ofs)
{
	struct ioctl_gntdev_dmabuf_map_refs_to_buf op = {
		.count = count, .data_ofs = data_ofs, .fd = fd, .domid = 3,
	};
	struct map_test *t = test->priv;
	static u32 refs[MANY];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(refs); i++)
		refs[i] = 100 + i;
	return gntdev_map_refs_to_buf(t->priv, dmabuf, &op, refs);
}

/* On success the test still has its own reference. */
static int map_buf(struct kunit *test, struct dma_buf *dmabuf)
{
	int ret;

	get_dma_buf(dmabuf);
	ret = map_fd(test, dmabuf, FD, dmabuf->size >> PAGE_SHIFT, 0);
	if (ret)
		dma_buf_put(dmabuf);
	return ret;
}

static int wait_ms(struct kunit *test, u32 ms)
{
	struct map_test *t = test->priv;

	return gntdev_map_wait_released(t->priv, FD, ms);
}

static int release_fd(struct kunit *test)
{
	struct map_test *t = test->priv;

	return gntdev_map_release(t->priv, FD);
}

static void expect_pages(struct kunit *test, struct mock_buf *buf, u8 content)
{
	unsigned int i;

	for (i = 0; i < buf->nr; i++) {
		KUNIT_EXPECT_TRUE(test, page_is(buf->pages[i], content));
		KUNIT_EXPECT_EQ(test, page_count(buf->pages[i]), 1);
	}
}

static void expect_forgotten(struct kunit *test)
{
	struct map_test *t = test->priv;

	KUNIT_EXPECT_TRUE(test, list_empty(&t->priv->maps));
	KUNIT_EXPECT_EQ(test, release_fd(test), -ENOENT);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -ENOENT);
}

/* A failed attempt has left nothing on the buffer. */
static void expect_unmapped(struct kunit *test, struct dma_buf *dmabuf)
{
	expect_forgotten(test);
	KUNIT_EXPECT_TRUE(test, list_empty(&dmabuf->attachments));
}

/* ------------------------------------------------------------------ */

/* The whole life of a mapping: who owns the pages when, and what each ioctl returns. */
static void life(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -ENOENT);
	KUNIT_EXPECT_EQ(test, release_fd(test), -ENOENT);

	KUNIT_ASSERT_EQ(test, map_buf(test, dmabuf), 0);
	expect_pages(test, t->bufs[0], FOREIGN);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -EBUSY);

	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, release_fd(test), -ENOENT);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -ETIMEDOUT);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 20), -ETIMEDOUT);
	expect_pages(test, t->bufs[0], FOREIGN);

	dma_buf_put(dmabuf);
	KUNIT_EXPECT_EQ(test, wait_ms(test, U32_MAX), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -ENOENT);
	expect_pages(test, t->bufs[0], 0);
	wait_for_completion(&t->bufs[0]->released);
	complete(&t->bufs[0]->released);
	KUNIT_EXPECT_EQ(test, (int)t->bufs[0]->at_release, 0);
	KUNIT_EXPECT_EQ(test, t->bufs[0]->begins, 2);
	KUNIT_EXPECT_EQ(test, t->bufs[0]->ends, 2);

	/* One hypercall for all pages at each step. */
	KUNIT_EXPECT_EQ(test, t->xen.decreases, 1);
	KUNIT_EXPECT_EQ(test, t->xen.maps, 1);
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 1);
	KUNIT_EXPECT_EQ(test, t->xen.populates, 1);
}

/* More pages than one hypercall handles. */
static void many_pages(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, MANY);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, MANY, 0), 0);
	expect_pages(test, t->bufs[0], FOREIGN);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_pages(test, t->bufs[0], 0);
	KUNIT_EXPECT_EQ(test, t->xen.decreases, 3);
	KUNIT_EXPECT_EQ(test, t->xen.maps, 3);
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 3);
	KUNIT_EXPECT_EQ(test, t->xen.populates, 3);
}

/* Only the requested pages change their owner. */
static void part_of_a_buffer(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	unsigned int i;

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES - 2, 0), 0);
	for (i = 0; i < PAGES; i++)
		KUNIT_EXPECT_TRUE(test, page_is(t->bufs[0]->pages[i],
						i < PAGES - 2 ? FOREIGN : OWN_DATA));
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	for (i = 0; i < PAGES; i++)
		KUNIT_EXPECT_TRUE(test, page_is(t->bufs[0]->pages[i],
						i < PAGES - 2 ? 0 : OWN_DATA));
}

/* A buffer that is refused is left untouched. */
static void refused(struct kunit *test, int expected, int got)
{
	struct map_test *t = test->priv;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, got, expected);
	KUNIT_EXPECT_EQ(test, t->xen.decreases, 0);
	for (i = 0; i < t->bufs[0]->nr; i++)
		KUNIT_EXPECT_TRUE(test, page_is(t->bufs[0]->pages[i], OWN_DATA));
	KUNIT_EXPECT_TRUE(test, list_empty(&t->priv->maps));
}

static void bad_arguments(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES - 1);

	refused(test, -EINVAL, map_fd(test, dmabuf, FD, PAGES, 0));
	refused(test, -EINVAL, map_fd(test, dmabuf, FD, 1, 4));
	refused(test, -EINVAL, map_fd(test, dmabuf, FD, 1, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, t->bufs[0]->attaches, 0);
	expect_unmapped(test, dmabuf);
	dma_buf_put(dmabuf);
}

/* How an exporter's errors are returned to the caller. */
static void exporter_fails(struct kunit *test)
{
	static const struct {
		int from, to;
	} errors[] = {
		{ -EINTR, -EINTR },
		{ -ENOMEM, -ENOMEM },
		{ -EBUSY, -EBUSY },
		{ -ENODEV, -EOPNOTSUPP },
		{ -EINVAL, -EOPNOTSUPP },
	};
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		t->bufs[0]->attach_errno = errors[i].from;
		refused(test, errors[i].to, map_fd(test, dmabuf, FD, PAGES, 0));
	}
	t->bufs[0]->attach_errno = 0;
	t->bufs[0]->begin_errno = -EOPNOTSUPP;
	refused(test, -EOPNOTSUPP, map_fd(test, dmabuf, FD, PAGES, 0));
	t->bufs[0]->begin_errno = -EBUSY;
	refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
	expect_unmapped(test, dmabuf);
	dma_buf_put(dmabuf);
}

static void bad_memory(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	struct page *page = t->bufs[0]->pages[PAGES / 2];

	/* A slab page, which an exporter that is right never returns. */
	t->bufs[0]->pages[PAGES / 2] = virt_to_page(t);
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), -EOPNOTSUPP);
	t->bufs[0]->pages[PAGES / 2] = page;
	refused(test, -EOPNOTSUPP, -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, t->bufs[0]->ends, 1);
	expect_unmapped(test, dmabuf);

	/* The failed attempt does not prevent a later mapping. */
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
}

static struct dma_fence *add_fence(struct kunit *test, struct dma_buf *dmabuf)
{
	struct dma_fence *fence = mock_fence(test, dma_fence_context_alloc(1), 1);
	int ret;

	dma_resv_lock(dmabuf->resv, NULL);
	ret = dma_resv_reserve_fences(dmabuf->resv, 1);
	KUNIT_EXPECT_EQ(test, ret, 0);
	if (!ret)
		dma_resv_add_fence(dmabuf->resv, fence, DMA_RESV_USAGE_BOOKKEEP);
	dma_resv_unlock(dmabuf->resv);
	return fence;
}

/* gntdev does not even attach to an exporter without begin_exchange. */
static void exporter_without_consent(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_export(test, 0, PAGES, &mock_ops_without_consent);

	refused(test, -EOPNOTSUPP, map_fd(test, dmabuf, FD, PAGES, 0));
	KUNIT_EXPECT_EQ(test, t->bufs[0]->attaches, 0);
	dma_buf_put(dmabuf);
}

static void busy_buffer(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	struct dma_buf_attachment *attach;
	struct dma_fence *fence;

	attach = dma_buf_attach(dmabuf, t->dev);
	KUNIT_ASSERT_FALSE(test, IS_ERR(attach));
	refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
	dma_buf_detach(dmabuf, attach);

	dmabuf->vmapping_counter++;
	refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
	dmabuf->vmapping_counter--;

	fence = add_fence(test, dmabuf);
	refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
	dma_fence_signal(fence);
	dma_fence_put(fence);
	/* The core has refused without a call of the exporter. */
	KUNIT_EXPECT_EQ(test, t->bufs[0]->begins, 0);

	atomic_inc(&t->bufs[0]->users);
	refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
	atomic_dec(&t->bufs[0]->users);

	expect_unmapped(test, dmabuf);
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
}

/* Up to 6.1 an importer must have a cached mapping: otherwise it may be just mapping. */
static void expect_without_mapping(struct kunit *test, struct dma_buf *dmabuf,
				   struct dma_buf_attachment *attach)
{
}

static void drop_mapping(struct dma_buf_attachment *attach)
{
}

/* An importer that consents stays attached and keeps its mapping. */
static void importer_with_consent(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	struct dma_buf_attachment *attach = dma_buf_attach(dmabuf, t->dev);

	KUNIT_ASSERT_FALSE(test, IS_ERR(attach));
	attach->exchange_ok = true;
	expect_without_mapping(test, dmabuf, attach);
	KUNIT_ASSERT_EQ(test, map_buf(test, dmabuf), 0);
	expect_pages(test, t->bufs[0], FOREIGN);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 20), -ETIMEDOUT);
	drop_mapping(attach);
	dma_buf_detach(dmabuf, attach);
	dma_buf_put(dmabuf);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_pages(test, t->bufs[0], 0);
}

/* After the exchange the buffer can be attached to and mapped like any other. */
static void used_afterwards(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	struct dma_buf_attachment *attach;

	KUNIT_ASSERT_EQ(test, map_buf(test, dmabuf), 0);
	KUNIT_EXPECT_FALSE(test, dmabuf->exchanging);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->bufs[0]->users), 0);
	attach = dma_buf_attach(dmabuf, t->dev);
	KUNIT_EXPECT_FALSE(test, IS_ERR(attach));
	if (!IS_ERR(attach))
		dma_buf_detach(dmabuf, attach);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	dma_buf_put(dmabuf);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
}

/* A buffer is mapped once, and a number has one live mapping at a time. */
static void mapped_already(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *a = mock_dma_buf(test, 0, PAGES / 2);
	struct dma_buf *b = mock_dma_buf(test, 1, PAGES / 2);

	get_dma_buf(a);
	KUNIT_ASSERT_EQ(test, map_fd(test, a, FD, PAGES / 2, 0), 0);
	KUNIT_EXPECT_EQ(test, map_fd(test, a, FD + 1, PAGES / 2, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, map_fd(test, b, FD, PAGES / 2, 0), -EBUSY);

	/* After RELEASE the number may be used again while the first mapping is pending. */
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	t->xen.first = PAGES / 2;
	KUNIT_EXPECT_EQ(test, map_fd(test, b, FD, PAGES / 2, 0), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	wait_for_completion(&t->bufs[1]->released);
	complete(&t->bufs[1]->released);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -ETIMEDOUT);
	dma_buf_put(a);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -ENOENT);
}

/* Mappings whose end nobody asks for do not accumulate. */
static void ends_are_forgotten(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *a = mock_dma_buf(test, 0, PAGES / 2);
	struct dma_buf *b = mock_dma_buf(test, 1, PAGES / 2);

	KUNIT_ASSERT_EQ(test, map_fd(test, a, FD, PAGES / 2, 0), 0);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	wait_for_completion(&t->bufs[0]->released);
	complete(&t->bufs[0]->released);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&t->priv->maps));
	t->xen.first = PAGES / 2;
	KUNIT_ASSERT_EQ(test, map_fd(test, b, FD, PAGES / 2, 0), 0);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&t->priv->maps));
}

/* ------------------------------------------------------------------ */
/* Each hypercall fails in turn. */

static void expect_rolled_back(struct kunit *test, struct dma_buf *dmabuf, int expected)
{
	struct map_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), expected);
	expect_pages(test, t->bufs[0], 0);
	expect_unmapped(test, dmabuf);
}

static void decrease_fails(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	t->xen.decrease_max = PAGES - 1;
	expect_rolled_back(test, dmabuf, -EIO);
	t->xen.decrease_max = 1;
	expect_rolled_back(test, dmabuf, -EIO);
	t->xen.decrease_max = 0;
	expect_rolled_back(test, dmabuf, -EIO);
	t->xen.decrease_errno = -EFAULT;
	expect_rolled_back(test, dmabuf, -EIO);
	KUNIT_EXPECT_EQ(test, t->xen.maps, 0);
	KUNIT_EXPECT_EQ(test, t->xen.populates, 2);

	t->xen.decrease_errno = 0;
	t->xen.decrease_max = INT_MAX;
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
}

static void map_fails(struct kunit *test)
{
	static const unsigned int bad[] = {
		BIT(0), BIT(PAGES / 2), BIT(PAGES - 1), BIT(0) | BIT(PAGES - 1),
		BIT(PAGES) - 1,
	};
	static const struct {
		s16 status;
		int err;
	} errors[] = {
		{ GNTST_bad_gntref, -EINVAL },
		{ GNTST_bad_domain, -EINVAL },
		{ GNTST_no_device_space, -ENOSPC },
		{ GNTST_general_error, -EIO },
		{ GNTST_permission_denied, -EIO },
		{ GNTST_eagain, -EIO },
	};
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		for (k = 0; k < ARRAY_SIZE(errors); k++) {
			t->xen.map_bad = bad[i];
			t->xen.map_status = errors[k].status;
			expect_rolled_back(test, dmabuf, errors[k].err);
		}
	}
	t->xen.map_bad = 0;
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
}

/* Up to 6.1 the only attachment that can ask for a DMA address is the driver's own. */
static void expect_no_dma_address(struct kunit *test, struct dma_buf_attachment *attach)
{
	struct sg_table *sgt;

	dma_resv_lock(attach->dmabuf->resv, NULL);
	sgt = dma_buf_map_attachment(attach, DMA_BIDIRECTIONAL);
	dma_resv_unlock(attach->dmabuf->resv);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(sgt), -EBUSY);
}

static void expect_no_vmap(struct kunit *test, struct dma_buf *dmabuf)
{
	struct iosys_map map;

	KUNIT_EXPECT_EQ(test, dma_buf_vmap_unlocked(dmabuf, &map), -EBUSY);
}

/*
 * The buffer cannot be used any more, only closed. When the hypervisor has memory, the
 * buffer's memory is restored, cleared, and the buffer is released.
 */
static void expect_unusable(struct kunit *test, struct dma_buf *dmabuf)
{
	struct map_test *t = test->priv;
	struct mock_buf *buf = t->bufs[0];

	expect_forgotten(test);
	KUNIT_EXPECT_EQ(test, atomic_read(&buf->users), -1);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(dma_buf_attach(dmabuf, t->dev)), -EBUSY);
	KUNIT_ASSERT_TRUE(test, list_is_singular(&dmabuf->attachments));
	expect_no_dma_address(test, list_first_entry(&dmabuf->attachments,
						     struct dma_buf_attachment, node));
	expect_no_vmap(test, dmabuf);
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, buf->ends, 0);
	dma_buf_put(dmabuf);
	msleep(50);
	KUNIT_EXPECT_FALSE(test, completion_done(&buf->released));
}

static void populate_fails_in_map(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	t->xen.map_bad = BIT(3);
	t->xen.map_status = GNTST_bad_gntref;
	t->xen.populate_bad = BIT(2);
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), -EIO);
	expect_unusable(test, dmabuf);
	t->xen.populate_bad = 0;
	KUNIT_EXPECT_GT(test, (long)wait_for_completion_timeout(&t->bufs[0]->released,
								5 * HZ), 0L);
	complete(&t->bufs[0]->released);
	KUNIT_EXPECT_EQ(test, t->bufs[0]->ends, 1);
	expect_pages(test, t->bufs[0], 0);
}

/*
 * A buffer with a page in @lost, which is still granted, is never released. To clean up,
 * the test drops the references that the driver has kept.
 */
static void expect_lost(struct kunit *test, unsigned long lost)
{
	struct map_test *t = test->priv;
	struct mock_buf *buf = t->bufs[0];
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		KUNIT_EXPECT_TRUE(test, page_is(buf->pages[i], lost & BIT(i) ? FOREIGN : 0));
	flush_delayed_fput();
	msleep(50);
	KUNIT_EXPECT_FALSE(test, completion_done(&buf->released));
	KUNIT_EXPECT_EQ(test, atomic_read(&buf->users), -1);
	KUNIT_ASSERT_TRUE(test, list_is_singular(&buf->dmabuf->attachments));
	dma_buf_detach(buf->dmabuf, list_first_entry(&buf->dmabuf->attachments,
						     struct dma_buf_attachment, node));
	/* The notifier's references to the file and the module. */
	fput(buf->dmabuf->file);
	module_put(THIS_MODULE);
}

/* If the notifier cannot be registered, there is no hypercall. */
static void notifier_cannot_be_registered(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	t->xen.register_errno = -ENFILE;
	refused(test, -ENFILE, map_fd(test, dmabuf, FD, PAGES, 0));
	expect_unmapped(test, dmabuf);
	dma_buf_put(dmabuf);
}

static void unmap_fails_in_map(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	t->xen.map_bad = BIT(3);
	t->xen.map_status = GNTST_bad_gntref;
	t->xen.unmap_bad = BIT(1);
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), -EIO);
	expect_unusable(test, dmabuf);
	expect_lost(test, BIT(1));
}

static void end_with_losses(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), -EIO);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -ENOENT);
}

/* The hypervisor has no memory for a while: the grants are unmapped, the exporter waits. */
static void populate_fails_at_release(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	t->xen.populate_bad = BIT(3) | BIT(PAGES - 1);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 200), -ETIMEDOUT);
	KUNIT_EXPECT_FALSE(test, completion_done(&t->bufs[0]->released));
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->bufs[0]->users), -1);
	t->xen.populate_bad = 0;
	t->xen.populate_errno = -EPERM;
	KUNIT_EXPECT_EQ(test, wait_ms(test, 200), -ETIMEDOUT);
	t->xen.populate_errno = 0;
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 1);
	expect_pages(test, t->bufs[0], 0);
}

/* A directly mapped domain: the grants replace the frames with no hole in between. */
static void frames_are_kept(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	t->xen.keeps_frames = true;
	t->xen.map_bad = BIT(3);
	t->xen.map_status = GNTST_bad_gntref;
	expect_rolled_back(test, dmabuf, -EINVAL);
	t->xen.map_bad = 0;
	t->xen.map_torn = BIT(0) | BIT(4) | BIT(PAGES - 1);
	expect_rolled_back(test, dmabuf, -EIO);
	t->xen.map_torn = 0;
	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, t->xen.decreases, 0);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_pages(test, t->bufs[0], 0);
}

/* Pages that were not mapped because an earlier batch failed are cleared, too. */
static void frames_are_kept_and_cleared(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, MANY);

	t->xen.keeps_frames = true;
	t->xen.map_bad = BIT(3);
	t->xen.map_status = GNTST_bad_gntref;
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, MANY, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, t->xen.maps, 1);
	expect_pages(test, t->bufs[0], 0);
	t->xen.map_bad = 0;
	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, MANY, 0), 0);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_pages(test, t->bufs[0], 0);
}

static void unmap_fails_at_release(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	t->xen.unmap_bad = BIT(0) | BIT(PAGES - 1);
	end_with_losses(test);
	expect_lost(test, BIT(0) | BIT(PAGES - 1));
}

/* ------------------------------------------------------------------ */
/* Uses that end after the last reference is dropped. */

/* A process keeps the memory mapped through the exporter's device file. */
static void mapped_at_release(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	atomic_inc(&t->bufs[0]->users);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 300), -ETIMEDOUT);
	KUNIT_EXPECT_FALSE(test, completion_done(&t->bufs[0]->released));
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 0);
	expect_pages(test, t->bufs[0], FOREIGN);
	atomic_dec(&t->bufs[0]->users);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_pages(test, t->bufs[0], 0);
}

struct late {
	struct delayed_work work;
	struct dma_fence *fence;
};

static void late_work(struct work_struct *work)
{
	struct late *late = container_of(to_delayed_work(work), struct late, work);

	dma_fence_signal(late->fence);
}

static void expect_owners(struct kunit *test, u8 owner)
{
	struct map_test *t = test->priv;
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		KUNIT_EXPECT_EQ(test, (int)t->xen.state[i], (int)owner);
}

/*
 * A device still accesses the buffer when the last reference is dropped. The task that
 * drops it does not wait, and the exporter's release follows after the fence has signaled.
 */
static void fence_pending_at_release(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	struct late late = { };

	INIT_DELAYED_WORK_ONSTACK(&late.work, late_work);
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	late.fence = add_fence(test, dmabuf);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 50), -ETIMEDOUT);
	KUNIT_EXPECT_FALSE(test, completion_done(&t->bufs[0]->released));
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 0);
	expect_owners(test, GNTDEV_MAP_FOREIGN);
	expect_pages(test, t->bufs[0], FOREIGN);

	schedule_delayed_work(&late.work, msecs_to_jiffies(100));
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	flush_delayed_work(&late.work);
	destroy_delayed_work_on_stack(&late.work);
	dma_fence_put(late.fence);
	expect_owners(test, GNTDEV_MAP_OWN);
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 1);
	KUNIT_EXPECT_EQ(test, t->xen.populates, 1);
	wait_for_completion(&t->bufs[0]->released);
	complete(&t->bufs[0]->released);
	expect_pages(test, t->bufs[0], 0);
}

/* The fence is pending for longer than one run of the worker waits. */
static void fence_pending_for_long(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	struct dma_fence *fence;

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	fence = add_fence(test, dmabuf);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 2500), -ETIMEDOUT);
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 0);
	expect_owners(test, GNTDEV_MAP_FOREIGN);
	dma_fence_signal(fence);
	dma_fence_put(fence);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_pages(test, t->bufs[0], 0);
}

/* A lock holder changes the memory, without a reference to the buffer. */
static void locked_at_release(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_buf(test, dmabuf), 0);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	dma_resv_lock(dmabuf->resv, NULL);
	dma_buf_put(dmabuf);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 300), -ETIMEDOUT);
	expect_pages(test, t->bufs[0], FOREIGN);
	dma_resv_unlock(dmabuf->resv);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_pages(test, t->bufs[0], 0);
}

/* The gntdev file is closed first: this releases the mapping and does not wait. */
static void closed_before_the_buffer(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_buf(test, dmabuf), 0);
	gntdev_map_close(t->priv);
	t->priv = NULL;
	expect_pages(test, t->bufs[0], FOREIGN);
	dma_buf_put(dmabuf);
	wait_for_completion(&t->bufs[0]->released);
	complete(&t->bufs[0]->released);
	expect_pages(test, t->bufs[0], 0);
}

/* ------------------------------------------------------------------ */
/* Several threads. */

struct waiter {
	struct kunit *test;
	struct task_struct *task;
	struct completion started;
	struct completion ended;
	u32 ms;
	int ret;
};

static int waiter_thread(void *data)
{
	struct waiter *w = data;

	allow_signal(SIGUSR1);
	complete(&w->started);
	w->ret = wait_ms(w->test, w->ms);
	flush_signals(current);
	complete(&w->ended);
	while (!kthread_should_stop())
		usleep_range(1000, 2000);
	return 0;
}

static void waiter_start(struct kunit *test, struct waiter *w, u32 ms)
{
	w->test = test;
	w->ms = ms;
	w->ret = 1;
	init_completion(&w->started);
	init_completion(&w->ended);
	w->task = kthread_run(waiter_thread, w, "gntdev-map-waiter");
	KUNIT_ASSERT_FALSE(test, IS_ERR(w->task));
	wait_for_completion(&w->started);
}

/* kthread_stop() would end the wait like a signal, so let the thread end it first. */
static int waiter_end(struct waiter *w)
{
	wait_for_completion(&w->ended);
	kthread_stop(w->task);
	return w->ret;
}

static void all_waiters_wake(struct kunit *test)
{
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	struct waiter w[4];
	unsigned int i;

	KUNIT_ASSERT_EQ(test, map_buf(test, dmabuf), 0);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	for (i = 0; i < ARRAY_SIZE(w); i++)
		waiter_start(test, &w[i], i ? U32_MAX : LONG_MS);
	msleep(100);
	for (i = 0; i < ARRAY_SIZE(w); i++)
		KUNIT_EXPECT_EQ(test, READ_ONCE(w[i].ret), 1);

	send_sig(SIGUSR1, w[1].task, 1);
	KUNIT_EXPECT_EQ(test, waiter_end(&w[1]), -EINTR);

	dma_buf_put(dmabuf);
	KUNIT_EXPECT_EQ(test, waiter_end(&w[0]), 0);
	KUNIT_EXPECT_EQ(test, waiter_end(&w[2]), 0);
	KUNIT_EXPECT_EQ(test, waiter_end(&w[3]), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -ENOENT);
}

struct mapper {
	struct kunit *test;
	struct task_struct *task;
	struct dma_buf *dmabuf;
	struct completion *go;
	struct completion ended;
	u32 fd;
	int ret;
};

static int mapper_thread(void *data)
{
	struct mapper *m = data;

	wait_for_completion(m->go);
	get_dma_buf(m->dmabuf);
	m->ret = map_fd(m->test, m->dmabuf, m->fd, PAGES, 0);
	if (m->ret)
		dma_buf_put(m->dmabuf);
	complete(&m->ended);
	while (!kthread_should_stop())
		usleep_range(1000, 2000);
	return 0;
}

/* If several threads map one buffer at the same time, one of them succeeds. */
static void one_mapper_wins(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	DECLARE_COMPLETION_ONSTACK(go);
	struct mapper m[8];
	unsigned int i, won = 0;

	for (i = 0; i < ARRAY_SIZE(m); i++) {
		m[i] = (struct mapper){ .test = test, .dmabuf = dmabuf, .go = &go,
					.fd = FD + i };
		init_completion(&m[i].ended);
		m[i].task = kthread_run(mapper_thread, &m[i], "gntdev-mapper");
		KUNIT_ASSERT_FALSE(test, IS_ERR(m[i].task));
	}
	complete_all(&go);
	for (i = 0; i < ARRAY_SIZE(m); i++) {
		wait_for_completion(&m[i].ended);
		kthread_stop(m[i].task);
		if (!m[i].ret)
			won++;
		else
			KUNIT_EXPECT_EQ(test, m[i].ret, -EBUSY);
	}
	KUNIT_EXPECT_EQ(test, won, 1U);
	KUNIT_EXPECT_EQ(test, t->xen.decreases, 1);
	dma_buf_put(dmabuf);
}

static struct kunit_case map_test_cases[] = {
	KUNIT_CASE(life),
	KUNIT_CASE(many_pages),
	KUNIT_CASE(part_of_a_buffer),
	KUNIT_CASE(bad_arguments),
	KUNIT_CASE(exporter_fails),
	KUNIT_CASE(bad_memory),
	KUNIT_CASE(exporter_without_consent),
	KUNIT_CASE(busy_buffer),
	KUNIT_CASE(importer_with_consent),
	KUNIT_CASE(used_afterwards),
	KUNIT_CASE(mapped_already),
	KUNIT_CASE(ends_are_forgotten),
	KUNIT_CASE(decrease_fails),
	KUNIT_CASE(map_fails),
	KUNIT_CASE(populate_fails_in_map),
	KUNIT_CASE(notifier_cannot_be_registered),
	KUNIT_CASE(unmap_fails_in_map),
	KUNIT_CASE(populate_fails_at_release),
	KUNIT_CASE(frames_are_kept),
	KUNIT_CASE(frames_are_kept_and_cleared),
	KUNIT_CASE(unmap_fails_at_release),
	KUNIT_CASE(mapped_at_release),
	KUNIT_CASE(fence_pending_at_release),
	KUNIT_CASE(fence_pending_for_long),
	KUNIT_CASE(locked_at_release),
	KUNIT_CASE(closed_before_the_buffer),
	KUNIT_CASE(all_waiters_wake),
	KUNIT_CASE(one_mapper_wins),
	{}
};

static struct kunit_suite map_test_suite = {
	.name = "gntdev_dmabuf_map",
	.init = map_test_init,
	.exit = map_test_exit,
	.test_cases = map_test_cases,
};

kunit_test_suite(map_test_suite);

/* The driver's version is in a module that needs Xen. */
bool gntdev_test_page_count(unsigned int count)
{
	return !count;
}

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("KUnit tests of grants mapped into a dma-buf");
MODULE_IMPORT_NS("DMA_BUF");
