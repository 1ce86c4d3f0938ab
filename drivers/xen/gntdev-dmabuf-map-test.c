// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the mapping of grants into a dma-buf. No Xen is needed: behind
 * the seam is a hypervisor that keeps track of who owns which page, and that
 * writes a pattern into each page when it changes hands. Whoever touches a page
 * while it is a hole, or clears one that is the other domain's, is found out.
 *
 * Each hypercall is made to fail in turn. What has to hold after each test: the
 * exporter gets its own memory back, cleared, all but what was lost; and a lost
 * page is never given to anybody else.
 */

#include <linux/dma-buf-release.h>

static int failing_defer_release(struct dma_buf *dmabuf);

#define dma_buf_defer_release failing_defer_release
#include "gntdev-dmabuf-map.c"
#undef dma_buf_defer_release

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>

#include "../dma-buf/dma-fence-mock.h"

#define PAGES		8
#define FD		7

#define OWN_DATA	0x11	/* what the buffer holds before */
#define HOLE		0xdd
#define FOREIGN		0xf0
#define FRESH		0x5a	/* memory that comes from the hypervisor */

#define LONG_MS		10000	/* is not reached by a test that passes */

/* What the hypervisor does with a page that it is given for a hole that it cannot fill. */
enum mock_trade {
	REFUSES,
	FILLS,		/* a hole, whichever it is asked for next */
	GIVES_BACK,	/* only that page */
};

struct mock_xen {
	struct gntdev_map_backend backend;
	bool keeps_frames;
	enum mock_trade trade;
	xen_pfn_t given[PAGES];
	unsigned int nr_given, filled, taken;
	struct page *pages[PAGES];
	u8 state[PAGES];
	/* What fails: */
	int decrease_max;	/* frames that are taken */
	int decrease_errno;
	int defer_errno;
	int populate_errno;
	unsigned int populate_bad;	/* bit mask of frames: it stops at one */
	unsigned int map_bad;	/* bit mask of grants */
	s16 map_status;
	unsigned int map_torn;		/* mapped, but unmapped again by the kernel */
	unsigned int unmap_bad;
	/* Calls: */
	int decreases, populates, maps, unmaps;
	int confused;		/* the driver touched what it must not */
};

/* What an exporter has his memory in. */
enum mock_memory {
	PAGES_OF_RAM,
	MMIO,			/* mapped for the device as such */
	NOT_MAPPED,		/* as bus addresses that the exporter knows */
};

#define NO_RAM BIT_ULL(45)	/* a physical address beyond all memory */

struct mock_buf {
	struct page *pages[PAGES];
	unsigned int nr;
	unsigned int offset;
	bool twice;		/* the first page is also the last */
	bool in_one_piece;	/* pages but the first have no count of their own */
	enum mock_memory memory;
	int map_errno;
	struct file *file;	/* whose page cache they are in, or NULL */
	struct completion released;
	struct dma_buf *dmabuf;
	struct sg_table *sgt;	/* of the last attachment that was mapped */
	u8 at_release[PAGES];	/* owner of each page, by its content */
};

struct map_test {
	struct mock_xen xen;
	struct platform_device *pdev;
	struct gntdev_map_priv *priv;
	struct mock_buf *bufs[2];
};

static struct mock_xen *the_xen;
static int failing_defer_release(struct dma_buf *dmabuf)
{
	return the_xen->defer_errno ?: dma_buf_defer_release(dmabuf);
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

	for (i = 0; i < PAGES; i++)
		if (the_xen->pages[i] && page_to_pfn(the_xen->pages[i]) == pfn)
			return i;
	the_xen->confused++;
	return 0;
}

/* Which page an operation is about: without Xen 5.10 has virtual addresses there. */
static int mock_index_addr(u64 host_addr)
{
	struct gnttab_map_grant_ref op;
	int i;

	for (i = 0; i < PAGES; i++) {
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

static bool mock_is_of_buffer(xen_pfn_t frame)
{
	int i;

	for (i = 0; i < PAGES; i++)
		if (the_xen->pages[i] && page_to_pfn(the_xen->pages[i]) == frame)
			return true;
	return false;
}

static int mock_take(xen_pfn_t frame)
{
	struct page *page = pfn_to_page(frame);

	if (the_xen->trade == REFUSES || the_xen->nr_given == PAGES)
		return 0;
	if (!page_is(page, 0) || page_count(page) != 1)
		the_xen->confused++;
	page_fill(page, HOLE);
	the_xen->given[the_xen->nr_given++] = frame;
	the_xen->taken++;
	return 1;
}

/* Only the last that was given is ever wanted back, if it filled nothing. */
static int mock_give_back(xen_pfn_t frame)
{
	if (the_xen->populate_errno)
		return the_xen->populate_errno;
	if (!the_xen->nr_given || the_xen->given[the_xen->nr_given - 1] != frame)
		the_xen->confused++;
	the_xen->nr_given--;
	page_fill(pfn_to_page(frame), FRESH);
	return 1;
}

static int mock_decrease(unsigned int nr, xen_pfn_t *frames)
{
	int i, n, k;

	if (nr == 1 && !mock_is_of_buffer(frames[0]))
		return mock_take(frames[0]);
	the_xen->decreases++;
	if (the_xen->decrease_errno)
		return the_xen->decrease_errno;
	n = min_t(int, nr, the_xen->decrease_max);
	for (k = 0; k < n; k++) {
		i = mock_index(frames[k]);
		mock_change(i, GNTDEV_MAP_OWN, 0, GNTDEV_MAP_HOLE);
		page_fill(the_xen->pages[i], HOLE);
	}
	return n;
}

static int mock_populate(unsigned int nr, xen_pfn_t *frames)
{
	unsigned int k;
	int i;

	if (nr == 1 && !mock_is_of_buffer(frames[0]))
		return mock_give_back(frames[0]);
	the_xen->populates++;
	if (the_xen->populate_errno)
		return the_xen->populate_errno;
	for (k = 0; k < nr; k++) {
		i = mock_index(frames[k]);
		if (the_xen->populate_bad & BIT(i)) {
			if (the_xen->trade != FILLS || the_xen->filled == the_xen->nr_given)
				return k;
			the_xen->filled++;
		}
		/* Xen has nothing to do for a frame that is in its place. */
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

	the_xen->maps++;
	for (k = 0; k < nr; k++) {
		if (ops[k].dom != 3 || ops[k].ref != 100 + k ||
		    ops[k].flags != GNTMAP_host_map)
			the_xen->confused++;
		if (the_xen->map_bad & BIT(k)) {
			ops[k].status = the_xen->map_status;
			continue;
		}
		i = mock_index_addr(ops[k].host_addr);
		if (the_xen->map_torn & BIT(k)) {
			mock_change(i, GNTDEV_MAP_OWN, 0, GNTDEV_MAP_HOLE);
			page_fill(the_xen->pages[i], HOLE);
			ops[k].status = GNTST_general_error;
			continue;
		}
		if (the_xen->keeps_frames)
			mock_change(i, GNTDEV_MAP_OWN, 0, GNTDEV_MAP_FOREIGN);
		else
			mock_change(i, GNTDEV_MAP_HOLE, HOLE, GNTDEV_MAP_FOREIGN);
		page_fill(the_xen->pages[i], FOREIGN);
		ops[k].handle = 1000 + i;
		ops[k].status = GNTST_okay;
	}
}

static int mock_unmap(struct gnttab_unmap_grant_ref *ops, struct page **pages,
		      const unsigned int *base, unsigned int nr,
		      unsigned long timeout)
{
	unsigned int k;
	int i;

	if (gnttab_wait_pages_held(pages, base, nr, timeout))
		return -ETIMEDOUT;
	the_xen->unmaps++;
	for (k = 0; k < nr; k++) {
		i = mock_index_addr(ops[k].host_addr);
		if (ops[k].handle != 1000 + i || the_xen->pages[i] != pages[k])
			the_xen->confused++;
		if (the_xen->unmap_bad & BIT(i)) {
			ops[k].status = GNTST_general_error;
			continue;
		}
		mock_change(i, GNTDEV_MAP_FOREIGN, FOREIGN, GNTDEV_MAP_HOLE);
		page_fill(the_xen->pages[i], HOLE);
		ops[k].status = GNTST_okay;
	}
	return 0;
}

/* ------------------------------------------------------------------ */
/* The exporter. */

static struct sg_table *mock_map_dma_buf(struct dma_buf_attachment *attach,
					 enum dma_data_direction dir)
{
	struct mock_buf *buf = attach->dmabuf->priv;
	struct page *pages[PAGES];
	struct sg_table *sgt;
	int ret = -ENOMEM;

	if (buf->map_errno)
		return ERR_PTR(buf->map_errno);
	memcpy(pages, buf->pages, sizeof(pages));
	if (buf->twice)
		pages[buf->nr - 1] = pages[0];
	sgt = kzalloc(sizeof(*sgt), GFP_KERNEL);
	if (!sgt)
		return ERR_PTR(ret);
	ret = sg_alloc_table_from_pages(sgt, pages, buf->nr, buf->offset,
					buf->nr * PAGE_SIZE - buf->offset, GFP_KERNEL);
	if (ret)
		goto free;
	if (buf->memory == PAGES_OF_RAM) {
		ret = dma_map_sgtable(attach->dev, sgt, dir, 0);
	} else {
		sgt->nents = 1;
		sg_dma_len(sgt->sgl) = buf->nr * PAGE_SIZE;
		sg_dma_address(sgt->sgl) = NO_RAM;
		if (buf->memory == MMIO)
			sg_dma_address(sgt->sgl) = dma_map_resource(attach->dev, NO_RAM,
								    PAGE_SIZE, dir, 0);
		if (dma_mapping_error(attach->dev, sg_dma_address(sgt->sgl)))
			ret = -EIO;
	}
	buf->sgt = sgt;
	if (!ret)
		return sgt;
	sg_free_table(sgt);
free:
	kfree(sgt);
	return ERR_PTR(ret);
}

static void mock_unmap_dma_buf(struct dma_buf_attachment *attach,
			       struct sg_table *sgt, enum dma_data_direction dir)
{
	if (sg_dma_address(sgt->sgl) != NO_RAM)
		dma_unmap_sgtable(attach->dev, sgt, dir, 0);
	sg_free_table(sgt);
	kfree(sgt);
}

/* The pages stay for the test to look at. */
static void mock_release(struct dma_buf *dmabuf)
{
	struct mock_buf *buf = dmabuf->priv;
	unsigned int i;

	for (i = 0; i < buf->nr; i++)
		buf->at_release[i] = *(u8 *)page_address(buf->pages[i]);
	complete(&buf->released);
}

static const struct dma_buf_ops mock_ops = {
	.map_dma_buf = mock_map_dma_buf,
	.unmap_dma_buf = mock_unmap_dma_buf,
	.release = mock_release,
};

static struct dma_buf *export_pages(struct kunit *test, struct mock_buf *buf)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;

	info.ops = &mock_ops;
	info.size = buf->nr * PAGE_SIZE;
	info.flags = O_RDWR;
	info.priv = buf;
	dmabuf = dma_buf_export(&info);
	KUNIT_ASSERT_FALSE(test, IS_ERR(dmabuf));
	return dmabuf;
}

/* Of pages in the page cache of @file, which goes with the test, or of its own, or @block. */
static struct dma_buf *mock_export_pages(struct kunit *test, int index, unsigned int nr,
					 struct file *file, struct page *block)
{
	struct map_test *t = test->priv;
	struct mock_buf *buf = kunit_kzalloc(test, sizeof(*buf), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, !!buf);
	init_completion(&buf->released);
	buf->nr = nr;
	buf->file = file;
	buf->in_one_piece = block;
	for (i = 0; i < nr; i++) {
		buf->pages[i] = file ? shmem_read_mapping_page(file->f_mapping, i) :
			block ? block + i : alloc_page(GFP_KERNEL);
		KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(buf->pages[i]));
		page_fill(buf->pages[i], OWN_DATA);
	}
	/* The hypervisor knows the second buffer's pages behind the first one's. */
	for (i = 0; i < PAGES; i++)
		if (!t->xen.pages[i])
			break;
	memcpy(&t->xen.pages[i], buf->pages, min(nr, PAGES - i) * sizeof(buf->pages[0]));
	buf->dmabuf = export_pages(test, buf);
	t->bufs[index] = buf;
	return buf->dmabuf;
}

static struct dma_buf *mock_export(struct kunit *test, int index, unsigned int nr,
				   struct file *file)
{
	return mock_export_pages(test, index, nr, file, NULL);
}

static struct dma_buf *mock_dma_buf(struct kunit *test, int index, unsigned int nr)
{
	return mock_export(test, index, nr, NULL);
}

static struct dma_buf *mock_shmem_buf(struct kunit *test)
{
	struct file *file = shmem_file_setup("gntdev-map-test", PAGES * PAGE_SIZE,
					     EMPTY_VMA_FLAGS);

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	return mock_export(test, 0, PAGES, file);
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
	t->xen.decrease_max = PAGES;
	the_xen = &t->xen;
	gntdev_map_wq = alloc_workqueue("gntdev-map-test", WQ_UNBOUND, 0);
	if (!gntdev_map_wq)
		return -ENOMEM;
	t->pdev = gntdev_map_device_create("gntdev-map-test");
	if (IS_ERR(t->pdev)) {
		destroy_workqueue(gntdev_map_wq);
		return PTR_ERR(t->pdev);
	}
	t->priv = gntdev_map_priv_create(&t->xen.backend, &t->pdev->dev);
	if (!t->priv) {
		platform_device_unregister(t->pdev);
		destroy_workqueue(gntdev_map_wq);
		return -ENOMEM;
	}
	test->priv = t;
	return 0;
}

/* Each test has put its buffers; what it did not wait for is waited for here. */
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
		if (buf->in_one_piece)
			__free_pages(buf->pages[0], get_order(buf->nr * PAGE_SIZE));
		else
			for (i = 0; i < buf->nr; i++)
				put_page(buf->pages[i]);
		if (buf->file)
			fput(buf->file);
	}
	destroy_workqueue(gntdev_map_wq);
	KUNIT_EXPECT_EQ(test, t->xen.confused, 0);
	platform_device_unregister(t->pdev);
}

static int map_fd(struct kunit *test, struct dma_buf *dmabuf, u32 fd, u32 count,
		  u32 data_ofs)
{
	struct ioctl_gntdev_dmabuf_map_refs_to_buf op = {
		.count = count, .data_ofs = data_ofs, .fd = fd, .domid = 3,
	};
	struct map_test *t = test->priv;
	u32 refs[PAGES + 1];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(refs); i++)
		refs[i] = 100 + i;
	return gntdev_map_refs_to_buf(t->priv, dmabuf, &op, refs);
}

/* On success the test keeps a reference of its own. */
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

/* Nothing of a failed attempt is left on the buffer: it can be mapped. */
static void expect_unmapped(struct kunit *test, struct dma_buf *dmabuf)
{
	expect_forgotten(test);
	KUNIT_EXPECT_TRUE(test, list_empty(&dmabuf->attachments));
}

/* ------------------------------------------------------------------ */

/* The whole life: who owns the pages when, and what each ioctl says about it. */
static void life(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	unsigned int i;

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
	for (i = 0; i < PAGES; i++)
		KUNIT_EXPECT_EQ(test, (int)t->bufs[0]->at_release[i], 0);

	/* One hypercall for all pages at each step. */
	KUNIT_EXPECT_EQ(test, t->xen.decreases, 1);
	KUNIT_EXPECT_EQ(test, t->xen.maps, 1);
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 1);
	KUNIT_EXPECT_EQ(test, t->xen.populates, 1);
}

/* Only the pages that were asked for change hands. */
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

/* What is refused is not touched. */
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
	t->bufs[0]->offset = 64;
	refused(test, -EINVAL, map_fd(test, dmabuf, FD, 1, 0));
	t->bufs[0]->offset = 0;
	expect_unmapped(test, dmabuf);
	dma_buf_put(dmabuf);
}

/*
 * Pages that were allocated in one piece, as they are in TTM's pools: all but the first have no
 * reference of the exporter's.
 */
static void memory_in_one_piece(struct kunit *test)
{
	struct page *block = alloc_pages(GFP_KERNEL, get_order(PAGES * PAGE_SIZE));
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf;
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, !!block);
	dmabuf = mock_export_pages(test, 0, PAGES, NULL, block);
	for (i = 0; i < 2; i++) {
		page_ref_add(block + i, 1 + i);
		refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
		page_ref_sub(block + i, 1 + i);
	}
	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	for (i = 0; i < PAGES; i++)
		KUNIT_EXPECT_TRUE(test, page_is(block + i, FOREIGN));
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	for (i = 0; i < PAGES; i++) {
		KUNIT_EXPECT_TRUE(test, page_is(block + i, 0));
		KUNIT_EXPECT_EQ(test, page_count(block + i), i ? 0 : 1);
	}
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 1);
}

/* What an exporter says, for the caller. */
static void exporter_fails(struct kunit *test)
{
	static const struct {
		int from, to;
	} errors[] = {
		{ -ERESTARTSYS, -EINTR },
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
		t->bufs[0]->map_errno = errors[i].from;
		refused(test, errors[i].to, map_fd(test, dmabuf, FD, PAGES, 0));
	}
	t->bufs[0]->map_errno = 0;
	expect_unmapped(test, dmabuf);
	dma_buf_put(dmabuf);
}

static void bad_memory(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	struct page *page = t->bufs[0]->pages[PAGES / 2];

	t->bufs[0]->twice = true;
	refused(test, -EOPNOTSUPP, map_fd(test, dmabuf, FD, 1, 0));
	t->bufs[0]->twice = false;
	t->bufs[0]->memory = MMIO;
	refused(test, -EOPNOTSUPP, map_fd(test, dmabuf, FD, 1, 0));
	t->bufs[0]->memory = NOT_MAPPED;
	refused(test, -EOPNOTSUPP, map_fd(test, dmabuf, FD, 1, 0));
	t->bufs[0]->memory = PAGES_OF_RAM;
	SetPageForeign(page);
	refused(test, -EOPNOTSUPP, map_fd(test, dmabuf, FD, PAGES, 0));
	ClearPageForeign(page);
	t->bufs[0]->pages[PAGES / 2] = ZERO_PAGE(0);
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), -EOPNOTSUPP);
	t->bufs[0]->pages[PAGES / 2] = page;
	expect_unmapped(test, dmabuf);

	/* Nothing was left that would keep it from being mapped. */
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

static void busy_buffer(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);
	struct dma_buf_attachment *attach;
	struct dma_fence *fence;

	attach = dma_buf_attach(dmabuf, &t->pdev->dev);
	KUNIT_ASSERT_FALSE(test, IS_ERR(attach));
	refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
	dma_buf_detach(dmabuf, attach);

	dmabuf->vmapping_counter++;
	refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
	dmabuf->vmapping_counter--;

	get_page(t->bufs[0]->pages[PAGES - 1]);
	refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
	put_page(t->bufs[0]->pages[PAGES - 1]);

	fence = add_fence(test, dmabuf);
	refused(test, -EBUSY, map_fd(test, dmabuf, FD, PAGES, 0));
	dma_fence_signal(fence);
	dma_fence_put(fence);

	expect_unmapped(test, dmabuf);
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
}

/* A buffer is mapped once, and a number stands for one mapping at a time. */
static void mapped_already(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *a = mock_dma_buf(test, 0, PAGES / 2);
	struct dma_buf *b = mock_dma_buf(test, 1, PAGES / 2);

	get_dma_buf(a);
	KUNIT_ASSERT_EQ(test, map_fd(test, a, FD, PAGES / 2, 0), 0);
	KUNIT_EXPECT_EQ(test, map_fd(test, a, FD + 1, PAGES / 2, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, map_fd(test, b, FD, PAGES / 2, 0), -EBUSY);

	/* Released, the number may be used again while the first is pending. */
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
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

/* A GEM object can have a second dma-buf while the first, without a handle, lives on. */
static void exported_again(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *a = mock_dma_buf(test, 0, PAGES);
	struct dma_buf *b = export_pages(test, t->bufs[0]);

	KUNIT_ASSERT_EQ(test, map_fd(test, a, FD, PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, map_fd(test, b, FD + 1, PAGES, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, t->xen.decreases, 1);
	expect_pages(test, t->bufs[0], FOREIGN);

	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	wait_for_completion(&t->bufs[0]->released);
	KUNIT_EXPECT_EQ(test, map_fd(test, b, FD, PAGES, 0), 0);
	expect_pages(test, t->bufs[0], FOREIGN);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_pages(test, t->bufs[0], 0);
}

/* Mappings whose end nobody asks for do not pile up. */
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
	t->xen.decrease_max = PAGES;
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

/* The pages of @lost have one reference more and @content; the others are restored. */
static void expect_lost(struct kunit *test, unsigned int lost, u8 content)
{
	struct gntdev_map *kept = kunit_kzalloc(test, sizeof(*kept), GFP_KERNEL);
	struct map_test *t = test->priv;
	struct mock_buf *buf = t->bufs[0];
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, !!kept);
	for (i = 0; i < PAGES; i++) {
		bool gone = lost & BIT(i);

		/* Of the page cache's there is one less where it is gone. */
		KUNIT_EXPECT_EQ(test, page_count(buf->pages[i]), gone || buf->file ? 2 : 1);
		KUNIT_EXPECT_TRUE(test, page_is(buf->pages[i], gone ? content : 0));
		/* No hypervisor holds it: the test gives it back. */
		if (gone && page_count(buf->pages[i]) == 2)
			put_page(buf->pages[i]);
	}
	if (!lost)
		return;
	/* The buffer is kept for ever, and pinned, until the test lets go of it. */
	flush_delayed_fput();
	msleep(20);
	KUNIT_EXPECT_FALSE(test, completion_done(&buf->released));
	if (completion_done(&buf->released))
		return;
	KUNIT_EXPECT_TRUE(test, list_is_singular(&buf->dmabuf->attachments));
	if (list_is_singular(&buf->dmabuf->attachments)) {
		kept->dmabuf = buf->dmabuf;
		kept->attach = list_first_entry(&buf->dmabuf->attachments,
						struct dma_buf_attachment, node);
		kept->sgt = buf->sgt;
		gntdev_map_detach(kept);
		module_put(THIS_MODULE);
	}
	dma_buf_resume_release(buf->dmabuf);
}

static void expect_lost_in_map(struct kunit *test, struct dma_buf *dmabuf)
{
	struct map_test *t = test->priv;

	t->xen.map_bad = BIT(3);
	t->xen.map_status = GNTST_bad_gntref;
	t->xen.populate_bad = BIT(2);
	KUNIT_EXPECT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), -EIO);
	expect_forgotten(test);
	dma_buf_put(dmabuf);
	expect_lost(test, BIT(2), HOLE);
}

static void populate_fails_in_map(struct kunit *test)
{
	expect_lost_in_map(test, mock_dma_buf(test, 0, PAGES));
}

/* Where they leave the page cache, under the locks of MAP. */
static void populate_fails_in_map_of_a_file(struct kunit *test)
{
	expect_lost_in_map(test, mock_shmem_buf(test));
}

/* Nothing is asked of the hypervisor before all that can fail has not. */
static void release_cannot_be_put_off(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	t->xen.defer_errno = -ENFILE;
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
	expect_forgotten(test);
	dma_buf_put(dmabuf);
	expect_lost(test, BIT(1), FOREIGN);
}

static void end_with_losses(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), -EIO);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 0), -ENOENT);
}

static void populate_fails_at_release(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	t->xen.populate_bad = BIT(0) | BIT(3) | BIT(4) | BIT(PAGES - 1);
	end_with_losses(test);
	expect_lost(test, t->xen.populate_bad, HOLE);
}

static void populate_gives_nothing(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	t->xen.populate_errno = -EPERM;
	end_with_losses(test);
	expect_lost(test, BIT(PAGES) - 1, HOLE);
}

/* That many pages of the test's machine are the hypervisor's for good. */
static void expect_given(struct kunit *test, unsigned int nr)
{
	struct map_test *t = test->priv;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, t->xen.nr_given, nr);
	for (i = 0; i < t->xen.nr_given; i++) {
		struct page *page = pfn_to_page(t->xen.given[i]);

		KUNIT_EXPECT_TRUE(test, PageOffline(page));
		KUNIT_EXPECT_TRUE(test, page_is(page, HOLE));
		if (PageOffline(page))
			__ClearPageOffline(page);
		__free_page(page);
	}
}

static void page_for_a_hole_in_map(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	t->xen.trade = FILLS;
	t->xen.populate_bad = BIT(2) | BIT(PAGES - 1);
	t->xen.map_bad = BIT(3);
	t->xen.map_status = GNTST_bad_gntref;
	expect_rolled_back(test, dmabuf, -EINVAL);
	expect_given(test, 2);
	/* It is as good as before. */
	t->xen.map_bad = 0;
	t->xen.populate_bad = 0;
	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
}

static void page_for_a_hole_at_release(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	t->xen.trade = FILLS;
	t->xen.populate_bad = BIT(0) | BIT(3) | BIT(4) | BIT(PAGES - 1);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_given(test, 4);
	expect_lost(test, 0, 0);
}

static void page_in_vain(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	t->xen.trade = GIVES_BACK;
	t->xen.populate_bad = BIT(1) | BIT(2);
	end_with_losses(test);
	/* Not tried again for the second. */
	KUNIT_EXPECT_EQ(test, t->xen.taken, 1U);
	expect_given(test, 0);
	expect_lost(test, t->xen.populate_bad, HOLE);
}

static void page_for_nothing(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	t->xen.trade = FILLS;
	t->xen.populate_errno = -EPERM;
	end_with_losses(test);
	expect_given(test, 1);
	expect_lost(test, BIT(PAGES) - 1, HOLE);
}

/* Where the grants replace the frames at once, and no page is worth another. */
static void frames_are_kept(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	t->xen.keeps_frames = true;
	t->xen.trade = FILLS;
	t->xen.map_bad = BIT(3);
	t->xen.map_status = GNTST_bad_gntref;
	expect_rolled_back(test, dmabuf, -EINVAL);
	t->xen.map_bad = 0;
	t->xen.map_torn = BIT(0) | BIT(4) | BIT(PAGES - 1);
	expect_rolled_back(test, dmabuf, -EIO);
	t->xen.map_torn = 0;
	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, t->xen.decreases, 0);
	t->xen.populate_bad = BIT(5);
	end_with_losses(test);
	expect_given(test, 0);
	expect_lost(test, BIT(5), HOLE);
}

/* Who has the hypervisor asked at once waits for his time, and not longer. */
static void unmap_waits_for_its_time(struct kunit *test)
{
	struct page *pages[2] = { alloc_page(GFP_KERNEL), alloc_page(GFP_KERNEL) };
	unsigned int base[2] = { 1, 1 };
	unsigned long start = jiffies;

	if (pages[0] && pages[1]) {
		get_page(pages[1]);
		KUNIT_EXPECT_EQ(test, gnttab_unmap_refs_held(NULL, pages, base, 2, HZ / 5),
				-ETIMEDOUT);
		KUNIT_EXPECT_TRUE(test, time_after_eq(jiffies, start + HZ / 5));
		KUNIT_EXPECT_TRUE(test, time_before(jiffies, start + 5 * HZ));
		base[1] = 2;
		KUNIT_EXPECT_EQ(test, gnttab_wait_pages_held(pages, base, 2, 0), 0);
		base[0] = 0;
		KUNIT_EXPECT_EQ(test, gnttab_wait_pages_held(pages, base, 2, 0), -ETIMEDOUT);
		base[0] = UINT_MAX;
		KUNIT_EXPECT_EQ(test, gnttab_wait_pages_held(pages, base, 2, 0), 0);
		put_page(pages[1]);
	} else {
		KUNIT_FAIL(test, "no memory");
	}
	if (pages[0])
		__free_page(pages[0]);
	if (pages[1])
		__free_page(pages[1]);
}

static void unmap_fails_at_release(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_dma_buf(test, 0, PAGES);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	t->xen.unmap_bad = BIT(0) | BIT(PAGES - 1);
	end_with_losses(test);
	expect_lost(test, BIT(0) | BIT(PAGES - 1), FOREIGN);
}

/* Where the page cache had a page that is lost it has none, the others it keeps. */
static void expect_cached(struct kunit *test, unsigned int lost)
{
	struct map_test *t = test->priv;
	struct address_space *mapping = t->bufs[0]->file->f_mapping;
	unsigned int i;

	for (i = 0; i < PAGES; i++) {
		struct page *page = find_get_page(mapping, i);

		KUNIT_EXPECT_PTR_EQ(test, page, lost & BIT(i) ? NULL : t->bufs[0]->pages[i]);
		if (page)
			put_page(page);
		page = shmem_read_mapping_page(mapping, i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(page));
		KUNIT_EXPECT_TRUE(test, page_is(page, 0));
		put_page(page);
	}
}

static void memory_of_a_file(struct kunit *test)
{
	struct dma_buf *dmabuf = mock_shmem_buf(test);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	expect_lost(test, 0, 0);
	expect_cached(test, 0);
}

static void lost_pages_leave_the_file(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_shmem_buf(test);

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	t->xen.unmap_bad = BIT(0) | BIT(3);
	end_with_losses(test);
	expect_lost(test, BIT(0) | BIT(3), FOREIGN);
	expect_cached(test, BIT(0) | BIT(3));
}

/* ------------------------------------------------------------------ */
/* Others who are late. */

/*
 * Somebody keeps a page beyond the end: the others are restored, and that one when
 * he lets go of it. Until then the exporter does not release the buffer.
 */
static void expect_held_back(struct kunit *test, struct dma_buf *dmabuf)
{
	struct map_test *t = test->priv;
	struct page *page = t->bufs[0]->pages[2];
	unsigned int i;

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	get_page(page);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, 500), -ETIMEDOUT);
	KUNIT_EXPECT_FALSE(test, completion_done(&t->bufs[0]->released));
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 1);
	for (i = 0; i < PAGES; i++)
		KUNIT_EXPECT_TRUE(test, page_is(t->bufs[0]->pages[i], i == 2 ? FOREIGN : 0));
	put_page(page);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	KUNIT_EXPECT_EQ(test, t->xen.unmaps, 2);
	expect_lost(test, 0, 0);
}

static void page_held_back(struct kunit *test)
{
	expect_held_back(test, mock_dma_buf(test, 0, PAGES));
}

static void page_of_a_file_held_back(struct kunit *test)
{
	struct dma_buf *dmabuf = mock_shmem_buf(test);

	expect_held_back(test, dmabuf);
	expect_cached(test, 0);
}

/* The page cache has no reference any more to what was thrown out of it. */
static void thrown_out_of_the_file(struct kunit *test)
{
	struct map_test *t = test->priv;
	struct dma_buf *dmabuf = mock_shmem_buf(test);
	unsigned int i;

	KUNIT_ASSERT_EQ(test, map_fd(test, dmabuf, FD, PAGES, 0), 0);
	shmem_truncate_range(file_inode(t->bufs[0]->file), 0, 3 * PAGE_SIZE - 1);
	KUNIT_EXPECT_EQ(test, release_fd(test), 0);
	KUNIT_EXPECT_EQ(test, wait_ms(test, LONG_MS), 0);
	for (i = 0; i < PAGES; i++) {
		KUNIT_EXPECT_EQ(test, page_count(t->bufs[0]->pages[i]), i < 3 ? 1 : 2);
		KUNIT_EXPECT_TRUE(test, page_is(t->bufs[0]->pages[i], 0));
	}
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
 * A device is still at work when the last reference goes. Whoever dropped it is
 * not held up, and the exporter's release comes when the fence has signaled.
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

/* Longer than the worker waits in one go. */
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
	expect_lost(test, 0, 0);
}

/* The gntdev file is closed first: that is a release, and nobody waits. */
/* Somebody who does something to the memory under the lock, and has no reference to the buffer. */
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
/* Several at once. */

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

/* To be stopped looks like a signal to a thread: let it come to its end first. */
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

/* Of many who map one buffer at the same time one succeeds. */
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
	KUNIT_CASE(part_of_a_buffer),
	KUNIT_CASE(bad_arguments),
	KUNIT_CASE(memory_in_one_piece),
	KUNIT_CASE(exporter_fails),
	KUNIT_CASE(bad_memory),
	KUNIT_CASE(busy_buffer),
	KUNIT_CASE(mapped_already),
	KUNIT_CASE(exported_again),
	KUNIT_CASE(ends_are_forgotten),
	KUNIT_CASE(decrease_fails),
	KUNIT_CASE(map_fails),
	KUNIT_CASE(populate_fails_in_map),
	KUNIT_CASE(populate_fails_in_map_of_a_file),
	KUNIT_CASE(release_cannot_be_put_off),
	KUNIT_CASE(unmap_fails_in_map),
	KUNIT_CASE(populate_fails_at_release),
	KUNIT_CASE(populate_gives_nothing),
	KUNIT_CASE(page_for_a_hole_in_map),
	KUNIT_CASE(page_for_a_hole_at_release),
	KUNIT_CASE(page_in_vain),
	KUNIT_CASE(page_for_nothing),
	KUNIT_CASE(frames_are_kept),
	KUNIT_CASE(unmap_waits_for_its_time),
	KUNIT_CASE(unmap_fails_at_release),
	KUNIT_CASE(memory_of_a_file),
	KUNIT_CASE(lost_pages_leave_the_file),
	KUNIT_CASE(page_held_back),
	KUNIT_CASE(page_of_a_file_held_back),
	KUNIT_CASE(thrown_out_of_the_file),
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

/* The driver's own is in a module that needs Xen. */
bool gntdev_test_page_count(unsigned int count)
{
	return !count;
}

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("KUnit tests of grants mapped into a dma-buf");
MODULE_IMPORT_NS("DMA_BUF");
