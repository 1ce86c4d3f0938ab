// SPDX-License-Identifier: GPL-2.0
/*
 * Grant references mapped into a dma-buf that another driver exported.
 *
 * The pages of a buffer change their owner twice, and never while somebody can
 * look:
 *
 *   own -> hole -> foreign   when MAP_REFS_TO_BUF has found the buffer idle,
 *                            under the locks that keep it so: all or none
 *   foreign -> hole -> own   when the last reference to the buffer is gone, in
 *                            the dma-buf's release notifier, or at once if the
 *                            first way fails in its middle: each page that
 *                            nobody uses
 *
 * If the second way cannot be gone at once, because a fence is pending that
 * perhaps only the task can signal that runs the notifier, or because somebody
 * still holds a page or has mapped it behind the dma-buf, a worker goes it, however
 * long that takes: the exporter's release is put off, and the user who is late pays
 * with the page. A page that the hypervisor does not unmap or restore is lost: it
 * gets a reference that nobody drops, and its buffer is never released, so that
 * neither its exporter, who may have a pool of his own, nor the page allocator use
 * it again.
 *
 * A mapping is a struct gntdev_map. It is found by the file descriptor number
 * of its buffer in the list of the gntdev file that made it, and is owned by
 * that list and by the release notifier, so that it outlives the file. What it
 * holds of the buffer:
 *
 *   a reference to the file     until RELEASE, or the gntdev file is closed
 *   an attachment, mapped       until all is restored: the exporter may not move
 *                               or free the pages
 *   its release, put off        until all is restored
 *
 * The one rule: nobody may touch a hole. On arm64 that is an abort. Hence the
 * memory is cleared before it is given back and after it has come back, and
 * pages that are in the page cache, which have users that no dma-buf knows of,
 * are locked and unmapped from user space from before they are a hole until
 * after.
 *
 * Locks, outer to inner: priv->mapping, the buffer's reservation object, i_mmap of
 * the buffer's file, locks of pages (trylock only). priv->lock guards the list
 * of a file and is never held together with these but the first; gntdev_map.lock and
 * claims_lock are innermost.
 */

#define pr_fmt(fmt) "xen:" KBUILD_MODNAME ": " fmt

#include <linux/backing-dev.h>
#include <linux/completion.h>
#include <linux/dma-buf.h>
#include <linux/dma-buf-mapped.h>
#include <linux/dma-buf-release.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-resv.h>
#include <linux/eventfd.h>
#include <linux/highmem.h>
#include <linux/kref.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include <xen/features.h>
#include <xen/grant_table.h>
#include <xen/gntdev.h>
#include <xen/mem-reservation.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "gntdev-common.h"
#include "gntdev-dmabuf-map.h"

/* Eventfds that one mapping may have. */
#define GNTDEV_MAP_EVENTS	16
/* How long the page locks are held for other users of the pages to go. */
#define GNTDEV_MAP_SETTLE_MS	20
/* No grant handle is this one: INVALID_GRANT_HANDLE, which 5.10 has not. */
#define GNTDEV_MAP_NO_HANDLE	(~(grant_handle_t)0)

/* Who owns what is behind a page of the buffer. */
enum gntdev_map_owner {
	GNTDEV_MAP_OWN,		/* memory of this domain */
	GNTDEV_MAP_HOLE,	/* nothing is there */
	GNTDEV_MAP_FOREIGN,	/* memory of the other domain */
	GNTDEV_MAP_LOST,	/* one of the latter two, for ever */
};

/**
 * struct gntdev_map_priv - the mappings of an open gntdev file
 * @mapping: serialises the attempts to map, so that of two for one number of a
 *	file descriptor one succeeds
 * @lock: guards @maps and the released flag of what is in it
 * @maps: &struct gntdev_map whose end was not reported yet
 * @backend: the hypervisor
 * @dev: what buffers are attached to
 */
struct gntdev_map_priv {
	struct mutex mapping;	/* of what is not in @maps yet */
	struct mutex lock;	/* of @maps */
	struct list_head maps;
	const struct gntdev_map_backend *backend;
	struct device *dev;
};

/**
 * struct gntdev_map_event - an eventfd that waits for mappings to be undone
 * @pending: how many of them are not, and one for whoever sets it up
 * @ctx: signaled when there are none
 */
struct gntdev_map_event {
	refcount_t pending;
	struct eventfd_ctx *ctx;
};

struct gntdev_map_event_link {
	struct list_head next;
	struct gntdev_map_event *event;
};

/**
 * struct gntdev_map - grants mapped into a dma-buf
 * @kref: one reference for the list that it is in, one for @notifier
 * @next: in &gntdev_map_priv.maps
 * @fd: what the buffer's file descriptor was
 * @released: the reference to the buffer is dropped
 * @done: the buffer has its memory back; @result is valid
 * @result: zero, or -EIO if a page was lost
 * @lock: guards @events against @done
 * @events: &struct gntdev_map_event_link to signal when @done
 * @nr_events: how many there are
 * @backend: the hypervisor
 * @dmabuf: the buffer
 * @file: its file, to be compared with
 * @mapping: what its file, and perhaps others, map through
 * @attach: keeps the exporter from moving the pages
 * @sgt: mapping of @attach
 * @notifier: called when the last reference to the buffer is gone
 * @work: restores the pages, if that is to be waited for
 * @attempts: how often it has tried
 * @claim: in the list of all that are not undone
 * @domid: the domain that granted
 * @count: number of pages, and size of the arrays, which go with the pages
 * @no_trade: nothing comes back for a page that the hypervisor is given
 * @traded: how many pages it has for others of the buffer
 * @pfns: the frame numbers of all @nr_pfns pages of the buffer, sorted
 * @nr_pfns: how many pages the buffer has
 * @pages: the first pages of the buffer
 * @owner: &enum gntdev_map_owner of each
 * @cached: whether each is in the page cache
 * @base: page_count() of each that only the page cache and the exporter use
 * @map_ops: for the mapping only
 * @handles: what the hypervisor calls each mapping
 * @batch: the pages of a batch of operations, by their index in @pages
 * @batch_pages: the same as pages
 * @batch_base: their base counts
 * @frames: their frame numbers
 * @unmap_ops: their operations
 */
struct gntdev_map {
	struct kref kref;
	struct list_head next;
	u32 fd;
	bool released;
	struct completion done;
	int result;
	spinlock_t lock;	/* of @events */
	struct list_head events;
	unsigned int nr_events;

	const struct gntdev_map_backend *backend;
	struct dma_buf *dmabuf;
	const struct file *file;
	struct address_space *mapping;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	struct dma_buf_release_notifier notifier;

	struct delayed_work work;
	unsigned int attempts;
	struct list_head claim;

	domid_t domid;
	unsigned int count;
	bool no_trade;
	unsigned int traded;
	unsigned long *pfns;
	size_t nr_pfns;
	struct page **pages;
	u8 *owner;
	bool *cached;
	unsigned int *base;
	struct gnttab_map_grant_ref *map_ops;
	grant_handle_t *handles;
	unsigned int *batch;
	struct page **batch_pages;
	unsigned int *batch_base;
	xen_pfn_t *frames;
	struct gnttab_unmap_grant_ref *unmap_ops;
};

/*
 * Mappings from the attempt on until all pages are restored or lost. A buffer that
 * gives its pages away twice, like a GEM object that was exported again, can be
 * found here.
 */
static DEFINE_SPINLOCK(claims_lock);
static LIST_HEAD(claims);

/* Where pages are restored that could not be in the notifier. */
static struct workqueue_struct *gntdev_map_wq;

/* ------------------------------------------------------------------ */
/* The hypervisor. */

/* Does Xen map the memory of this domain to frames of the same numbers? */
static bool gntdev_map_direct_mapped(void)
{
	if (!IS_ENABLED(CONFIG_ARM) && !IS_ENABLED(CONFIG_ARM64))
		return false;
	return xen_feature(XENFEAT_direct_mapped) ||
	       (!xen_feature(XENFEAT_not_direct_mapped) && xen_initial_domain());
}

static int gntdev_map_xen_decrease(unsigned int nr, xen_pfn_t *frames)
{
	return xenmem_reservation_decrease(nr, frames);
}

static int gntdev_map_xen_populate(unsigned int nr, xen_pfn_t *frames)
{
	return xenmem_reservation_increase(nr, frames);
}

static const struct gntdev_map_backend gntdev_map_xen = {
	.keeps_frames = gntdev_map_direct_mapped,
	.decrease = gntdev_map_xen_decrease,
	.populate = gntdev_map_xen_populate,
	.map = gnttab_map_refs_held,
	.unmap = gnttab_unmap_refs_held,
};

/* ------------------------------------------------------------------ */
/*
 * The device that buffers are attached to. It is no device: its "bus addresses"
 * are the physical addresses of the pages that an exporter maps for it. That is
 * how the pages become known without looking into a scatterlist that is the
 * exporter's, and why nothing is bounced, no cache is touched when the mapping
 * goes, and memory without pages is refused.
 */

static dma_addr_t gntdev_map_dma_map_phys(struct device *dev, phys_addr_t phys,
					  size_t size, enum dma_data_direction dir,
					  unsigned long attrs)
{
	if (attrs & DMA_ATTR_MMIO)
		return DMA_MAPPING_ERROR;
	return phys;
}

static int gntdev_map_dma_map_sg(struct device *dev, struct scatterlist *sgl,
				 int nents, enum dma_data_direction dir,
				 unsigned long attrs)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		sg_dma_address(sg) = sg_phys(sg);
		sg_dma_len(sg) = sg->length;
	}
	return nents;
}

static const struct dma_map_ops gntdev_map_dma_ops = {
	.map_phys = gntdev_map_dma_map_phys,
	.map_sg = gntdev_map_dma_map_sg,
};

static struct platform_device *gntdev_map_device_create(const char *name)
{
	struct platform_device *pdev;

	pdev = platform_device_register_simple(name, PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(pdev))
		return pdev;
	set_dma_ops(&pdev->dev, &gntdev_map_dma_ops);
	dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	return pdev;
}

/* ------------------------------------------------------------------ */
/* A mapping and its memory. */

static void gntdev_map_free_arrays(struct gntdev_map *map)
{
	kvfree(map->pfns);
	kvfree(map->pages);
	kvfree(map->owner);
	kvfree(map->cached);
	kvfree(map->base);
	kvfree(map->map_ops);
	kvfree(map->handles);
	kvfree(map->batch);
	kvfree(map->batch_pages);
	kvfree(map->batch_base);
	kvfree(map->frames);
	kvfree(map->unmap_ops);
	map->pfns = NULL;
	map->pages = NULL;
	map->owner = NULL;
	map->cached = NULL;
	map->base = NULL;
	map->map_ops = NULL;
	map->handles = NULL;
	map->batch = NULL;
	map->batch_pages = NULL;
	map->batch_base = NULL;
	map->frames = NULL;
	map->unmap_ops = NULL;
}

static void gntdev_map_free(struct kref *kref)
{
	struct gntdev_map *map = container_of(kref, struct gntdev_map, kref);

	gntdev_map_free_arrays(map);
	kfree(map);
}

static void gntdev_map_put(struct gntdev_map *map)
{
	kref_put(&map->kref, gntdev_map_free);
}

/* Charged to who maps; that there are limits is no reason for a warning. */
#define GNTDEV_MAP_GFP	(GFP_KERNEL_ACCOUNT | __GFP_NOWARN)

static void *gntdev_map_array(unsigned int count, size_t size)
{
	return kvcalloc(count, size, GNTDEV_MAP_GFP);
}

static struct gntdev_map *gntdev_map_alloc(const struct gntdev_map_priv *priv,
					   u32 fd, domid_t domid,
					   unsigned int count)
{
	struct gntdev_map *map;

	map = kzalloc(sizeof(*map), GFP_KERNEL_ACCOUNT);
	if (!map)
		return NULL;
	kref_init(&map->kref);
	init_completion(&map->done);
	spin_lock_init(&map->lock);
	INIT_LIST_HEAD(&map->events);
	INIT_LIST_HEAD(&map->claim);
	map->fd = fd;
	map->domid = domid;
	map->backend = priv->backend;
	map->count = count;
	map->pages = gntdev_map_array(count, sizeof(*map->pages));
	map->owner = gntdev_map_array(count, sizeof(*map->owner));
	map->cached = gntdev_map_array(count, sizeof(*map->cached));
	map->base = gntdev_map_array(count, sizeof(*map->base));
	map->map_ops = gntdev_map_array(count, sizeof(*map->map_ops));
	map->handles = gntdev_map_array(count, sizeof(*map->handles));
	map->batch = gntdev_map_array(count, sizeof(*map->batch));
	map->batch_pages = gntdev_map_array(count, sizeof(*map->batch_pages));
	map->batch_base = gntdev_map_array(count, sizeof(*map->batch_base));
	map->frames = gntdev_map_array(count, sizeof(*map->frames));
	map->unmap_ops = gntdev_map_array(count, sizeof(*map->unmap_ops));
	if (!map->pages || !map->owner || !map->cached || !map->base ||
	    !map->map_ops || !map->handles || !map->batch ||
	    !map->batch_pages || !map->batch_base || !map->frames ||
	    !map->unmap_ops) {
		gntdev_map_put(map);
		return NULL;
	}
	return map;
}

/* ------------------------------------------------------------------ */
/* Which pages a buffer has, and whether they may be replaced. */

static struct address_space *gntdev_map_page_cache(struct page *page)
{
	return folio_mapping(page_folio(page));
}

static bool gntdev_map_page_mapped(struct page *page)
{
	return folio_mapped(page_folio(page));
}

/* Take a page of the page cache away from whoever has mapped its file. */
static void gntdev_map_zap(struct page *page)
{
	struct folio *folio = page_folio(page);
	struct address_space *mapping = folio_mapping(folio);

	if (mapping && folio_mapped(folio))
		unmap_mapping_range(mapping, (loff_t)folio->index << PAGE_SHIFT,
				    PAGE_SIZE, 0);
}

/* Whoever has its file finds memory of this domain there instead, zeroed. */
static void gntdev_map_uncache(struct page *page)
{
	struct address_space *mapping = gntdev_map_page_cache(page);

	if (mapping && mapping->host)
		generic_error_remove_folio(mapping, page_folio(page));
}

/* Ordinary memory of this domain, of which it can be told who uses it. */
static struct page *gntdev_map_usable_page(unsigned long pfn)
{
	struct address_space *mapping;
	struct page *page;
	bool usable;

	if (!pfn_valid(pfn))
		return NULL;
	page = pfn_to_online_page(pfn);
	if (!page || is_zone_device_page(page) || PageReserved(page) ||
	    PageHighMem(page) || PageSlab(page) || PageOffline(page) ||
	    PageHWPoison(page) || PageAnon(page) || PagePrivate(page))
		return NULL;
	/* Granted by another domain: on arm64 that is on record. */
	if (pfn_to_bfn(pfn) != pfn)
		return NULL;
	/* Nothing keeps the file here: its inode goes after a grace period. */
	rcu_read_lock();
	mapping = gntdev_map_page_cache(page);
	if (mapping)
		/* Else it is of another file, or the field is a driver's (TTM's). */
		usable = folio_test_swapbacked(page_folio(page)) &&
			 !PageCompound(page) && !mapping_can_writeback(mapping);
	else
		usable = PageCompound(page) || !PageForeign(page);
	rcu_read_unlock();
	return usable ? page : NULL;
}

/*
 * The page_count() of a page that only the exporter holds, and the page cache if
 * it is in there. An exporter holds pages that it allocated by the one reference
 * that they came with, and pages of the page cache by one more, or pins them as
 * memfd_pin_folios() does.
 */
static unsigned int gntdev_map_idle_count(struct gntdev_map *map, struct page *page)
{
	/* Of what came in one piece, not compound, the first has it (TTM's pools). */
	if (!gntdev_map_page_cache(page))
		return !!page_count(page);
	/* Not by the count: any user can make as many references as a pin is. */
	return strcmp(map->dmabuf->exp_name, "udmabuf") ?
	       2 : 1 + GUP_PIN_COUNTING_BIAS;
}

static int gntdev_map_cmp_pfn(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a;
	unsigned long y = *(const unsigned long *)b;

	return x < y ? -1 : x > y;
}

/* All pages of a buffer, also those that are not replaced: none comes twice. */
static int gntdev_map_collect(struct gntdev_map *map, u32 data_ofs)
{
	size_t size = map->dmabuf->size;
	unsigned long total, n = 0, *pfns;
	struct scatterlist *sg;
	bool ended = false;
	struct page *page;
	int i, ret = -EOPNOTSUPP;

	if (data_ofs >= PAGE_SIZE || size > SIZE_MAX - PAGE_SIZE - data_ofs)
		return -EINVAL;
	total = PAGE_ALIGN(data_ofs + size) >> PAGE_SHIFT;
	if (map->count > total)
		return -EINVAL;
	pfns = kvmalloc_array(total, sizeof(*pfns), GNTDEV_MAP_GFP);
	if (!pfns)
		return -ENOMEM;

	for_each_sgtable_dma_sg(map->sgt, sg, i) {
		dma_addr_t addr = sg_dma_address(sg);
		dma_addr_t end = addr + sg_dma_len(sg);

		if (!i && offset_in_page(addr) != data_ofs) {
			ret = -EINVAL;
			goto out;
		}
		/* Entries meet at the borders of pages, or pages come twice. */
		if (ended || (i && offset_in_page(addr)))
			goto out;
		ended = offset_in_page(end);
		for (addr -= offset_in_page(addr); addr < end && n < total;
		     addr += PAGE_SIZE)
			pfns[n++] = PHYS_PFN(addr);
		if (n == total)
			break;
	}
	if (n < total)
		goto out;

	for (n = 0; n < total; n++) {
		page = gntdev_map_usable_page(pfns[n]);
		if (!page)
			goto out;
		if (n < map->count) {
			map->pages[n] = page;
			map->cached[n] = gntdev_map_page_cache(page);
			map->base[n] = gntdev_map_idle_count(map, page);
		}
		cond_resched();
	}
	sort(pfns, total, sizeof(*pfns), gntdev_map_cmp_pfn, NULL);
	for (n = 1; n < total; n++)
		if (pfns[n] == pfns[n - 1])
			goto out;
	map->pfns = pfns;
	map->nr_pfns = total;
	return 0;
out:
	kvfree(pfns);
	return ret;
}

/*
 * Pages of the page cache have users that no dma-buf knows of: readers and
 * mappers of the file. Before they look into a page they take a reference to it
 * and its lock.
 */
static void gntdev_map_unlock_pages(struct gntdev_map *map, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		if (map->cached[i])
			unlock_page(map->pages[i]);
}

static bool gntdev_map_trylock_pages(struct gntdev_map *map)
{
	unsigned int i;

	for (i = 0; i < map->count; i++) {
		if (map->cached[i] && !trylock_page(map->pages[i])) {
			gntdev_map_unlock_pages(map, i);
			return false;
		}
	}
	return true;
}

/* The caller has locked the pages. */
static bool gntdev_map_pages_idle(struct gntdev_map *map)
{
	unsigned int i;

	for (i = 0; i < map->count; i++) {
		struct page *page = map->pages[i];
		struct address_space *mapping = gntdev_map_page_cache(page);

		/* Also of what is mapped and was not touched: it waits for the lock. */
		if (map->cached[i] != !!mapping ||
		    (mapping && mapping_mapped(mapping)) ||
		    page_count(page) != map->base[i] ||
		    gntdev_map_page_mapped(page))
			return false;
	}
	return true;
}

/* The caller holds the locks that keep it so: see gntdev_map_lock_buf(). */
static bool gntdev_map_buf_idle(struct gntdev_map *map)
{
	struct dma_buf *dmabuf = map->dmabuf;

	return list_is_singular(&dmabuf->attachments) &&
	       !dmabuf->vmapping_counter &&
	       !dma_buf_frames_mapped(dmabuf, map->mapping, map->pfns, map->nr_pfns) &&
	       dma_resv_test_signaled(dmabuf->resv, DMA_RESV_USAGE_BOOKKEEP);
}

/*
 * Keep everybody from attaching to the buffer, mapping it into the kernel or
 * adding fences, and from completing an mmap() of it: that makes entries of page
 * tables before the range is on record.
 */
static int gntdev_map_lock_buf(struct gntdev_map *map)
{
	struct dma_buf *dmabuf = map->dmabuf;
	int ret;

	ret = dma_resv_lock_interruptible(dmabuf->resv, NULL);
	if (ret)
		return ret;
	i_mmap_lock_write(map->mapping);
	return 0;
}

static void gntdev_map_unlock_buf(struct gntdev_map *map)
{
	struct dma_buf *dmabuf = map->dmabuf;

	i_mmap_unlock_write(map->mapping);
	dma_resv_unlock(dmabuf->resv);
}

/* ------------------------------------------------------------------ */
/* Changes of owner. */

static void gntdev_map_clear(struct page *page)
{
	clear_highpage(page);
	cond_resched();
}

/* The caller has locked the page if it came from the page cache. */
static void gntdev_map_lose(struct gntdev_map *map, unsigned int i)
{
	struct page *head = compound_head(map->pages[i]);
	unsigned int k;

	/* Nobody drops this reference. A compound page counts those of all its parts. */
	page_ref_inc(head);
	for (k = 0; PageCompound(head) && k < map->count; k++)
		map->base[k] += compound_head(map->pages[k]) == head;
	map->owner[i] = GNTDEV_MAP_LOST;
	map->result = -EIO;
	if (map->cached[i])
		gntdev_map_uncache(map->pages[i]);
}

static void gntdev_map_report_lost(struct gntdev_map *map)
{
	unsigned int i, lost = 0;

	if (map->traded)
		pr_warn("%u pages of memory are lost: the hypervisor had none for the holes in a dma-buf\n",
			map->traded);

	for (i = 0; i < map->count; i++)
		lost += map->owner[i] == GNTDEV_MAP_LOST;
	if (lost)
		pr_err("%u of %u pages of a dma-buf, granted by domain %u, could not be restored and are lost\n",
		       lost, map->count, map->domid);
}

/*
 * The hypervisor has no memory for this domain any more: give it a page that nobody
 * uses for one that somebody may look at. Called with locks held that the
 * reclaiming of memory takes.
 */
static bool gntdev_map_trade(struct gntdev_map *map, xen_pfn_t *frame)
{
	struct page *page;
	xen_pfn_t given;
	bool filled;

	if (map->no_trade || map->backend->keeps_frames())
		return false;
	page = alloc_page(GFP_NOWAIT | __GFP_NOWARN);
	if (!page)
		return false;
	clear_highpage(page);
	given = xen_page_to_gfn(page);
	if (map->backend->decrease(1, &given) != 1) {
		__free_page(page);
		return false;
	}
	filled = map->backend->populate(1, frame) == 1;
	map->no_trade = !filled;
	given = page_to_xen_pfn(page);
	if (!filled && map->backend->populate(1, &given) == 1) {
		clear_highpage(page);
		__free_page(page);
	} else {
		/* A hole for ever: who saves or dumps memory leaves it out. */
		__SetPageOffline(page);
		map->traded++;
	}
	return filled;
}

/* Put own memory, zeroed, into all holes. */
static void gntdev_map_fill(struct gntdev_map *map)
{
	unsigned int i, n = 0, done = 0;
	int filled;

	for (i = 0; i < map->count; i++) {
		if (map->owner[i] != GNTDEV_MAP_HOLE)
			continue;
		map->batch[n] = i;
		map->frames[n++] = page_to_xen_pfn(map->pages[i]);
	}
	while (done < n) {
		filled = max(map->backend->populate(n - done, map->frames + done), 0);
		/* It stopped at a frame that fails: go on behind it. */
		if (done + filled < n) {
			if (gntdev_map_trade(map, map->frames + done + filled))
				filled++;
			else
				gntdev_map_lose(map, map->batch[done + filled]);
		}
		for (i = done, done += filled; i < done; i++) {
			gntdev_map_clear(map->pages[map->batch[i]]);
			map->owner[map->batch[i]] = GNTDEV_MAP_OWN;
		}
		if (done < n && map->owner[map->batch[done]] == GNTDEV_MAP_LOST)
			done++;
		cond_resched();
	}
}

/* Give the memory of all pages back, leaving holes. */
static int gntdev_map_empty(struct gntdev_map *map)
{
	unsigned int i;
	int emptied;

	for (i = 0; i < map->count; i++) {
		/* Whoever gets the memory next need not know what was in it. */
		gntdev_map_clear(map->pages[i]);
		map->frames[i] = xen_page_to_gfn(map->pages[i]);
	}
	/*
	 * Frames of a domain that is mapped directly stay its own whatever happens,
	 * and populating puts them back: let the grants replace them, with no hole
	 * in between.
	 */
	if (map->backend->keeps_frames())
		return 0;
	emptied = map->backend->decrease(map->count, map->frames);
	for (i = 0; (int)i < emptied; i++)
		map->owner[i] = GNTDEV_MAP_HOLE;
	return emptied == (int)map->count ? 0 : -EIO;
}

static int gntdev_map_errno(const struct gnttab_map_grant_ref *op)
{
	switch (op->status) {
	case GNTST_okay:
		return 0;
	case GNTST_bad_domain:
	case GNTST_bad_gntref:
		return -EINVAL;
	case GNTST_no_device_space:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

/* Map the grants over the holes. The error is that of the first that fails. */
static int gntdev_map_grants(struct gntdev_map *map, const u32 *refs)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < map->count; i++) {
		struct gnttab_map_grant_ref *op = &map->map_ops[i];

		gnttab_set_map_op(op, (unsigned long)page_address(map->pages[i]),
				  GNTMAP_host_map, refs[i], map->domid);
		op->handle = GNTDEV_MAP_NO_HANDLE;
		op->status = GNTST_general_error;
	}
	map->backend->map(map->map_ops, map->pages, map->count);
	for (i = 0; i < map->count; i++) {
		struct gnttab_map_grant_ref *op = &map->map_ops[i];

		if (op->status == GNTST_okay) {
			map->handles[i] = op->handle;
			map->owner[i] = GNTDEV_MAP_FOREIGN;
			continue;
		}
		/*
		 * A grant that the kernel has no memory to note down is unmapped
		 * again at once: see set_foreign_p2m_mapping(). Where it replaced
		 * a frame, that is a hole. To fill what is none changes nothing.
		 */
		if (map->backend->keeps_frames())
			map->owner[i] = GNTDEV_MAP_HOLE;
		if (!ret)
			ret = gntdev_map_errno(op);
	}
	return ret;
}

static void gntdev_map_add_to_batch(struct gntdev_map *map, unsigned int n,
				    unsigned int i)
{
	map->batch[n] = i;
	map->batch_pages[n] = map->pages[i];
	map->batch_base[n] = UINT_MAX;
	gnttab_set_unmap_op(&map->unmap_ops[n],
			    (unsigned long)page_address(map->pages[i]),
			    GNTMAP_host_map, map->handles[i]);
	map->unmap_ops[n].status = GNTST_general_error;
}

/* Unmap a batch, without waiting for users of its pages, and restore them. */
static void gntdev_map_restore_batch(struct gntdev_map *map, unsigned int n)
{
	unsigned int k;

	if (n && map->backend->unmap(map->unmap_ops, map->batch_pages, map->batch_base, n, 0))
		return;
	for (k = 0; k < n; k++) {
		if (map->unmap_ops[k].status == GNTST_okay)
			map->owner[map->batch[k]] = GNTDEV_MAP_HOLE;
		else
			gntdev_map_lose(map, map->batch[k]);
	}
	gntdev_map_fill(map);
}

/* Back to own memory in the middle of MAP: nobody sees the pages, do not wait. */
static void gntdev_map_roll_back(struct gntdev_map *map)
{
	unsigned int i, n = 0;

	for (i = 0; i < map->count; i++)
		if (map->owner[i] == GNTDEV_MAP_FOREIGN)
			gntdev_map_add_to_batch(map, n++, i);
	gntdev_map_restore_batch(map, n);
	gntdev_map_report_lost(map);
}

/*
 * The page_count() of a page that nobody uses who might look into it. One that was
 * in the page cache may have been thrown out of it by now, and has no reference
 * of it then; the caller has locked it, so that this stays as it is.
 */
static unsigned int gntdev_map_base(struct gntdev_map *map, unsigned int i)
{
	bool gone = map->cached[i] && !gntdev_map_page_cache(map->pages[i]);

	return map->base[i] - gone;
}

/*
 * One attempt to unmap and restore the pages that are the other domain's: those
 * that nobody uses. Somebody who touches a page of a file all the time holds a
 * reference whenever he waits for its lock, but not whenever we have just got it
 * and unmapped the page from him; so each page is judged by itself, and what was
 * found unused under its lock remains so.
 *
 * The caller holds the buffer's reservation lock. It keeps off those who are about to
 * do something to the memory, or to have it done: an ioctl of the exporter's
 * that is under way has no reference but one to his object. Returns whether no page
 * is left.
 */
static bool gntdev_map_try_restore(struct gntdev_map *map)
{
	unsigned int i, k, n = 0, left = 0;

	if (!dma_resv_test_signaled(map->dmabuf->resv, DMA_RESV_USAGE_BOOKKEEP))
		return false;
	for (i = 0; i < map->count; i++) {
		struct page *page = map->pages[i];

		if (map->owner[i] != GNTDEV_MAP_FOREIGN)
			continue;
		if (map->cached[i] && !trylock_page(page)) {
			left++;
			continue;
		}
		if (map->cached[i])
			gntdev_map_zap(page);
		if (page_count(page) <= gntdev_map_base(map, i)) {
			gntdev_map_add_to_batch(map, n++, i);
		} else {
			left++;
			if (map->cached[i])
				unlock_page(page);
		}
		cond_resched();
	}
	/*
	 * A process may have mapped the buffer through a driver's own device file,
	 * which takes no reference to the dma-buf or to pages. One that is doing so
	 * now waits for the lock before it can touch what it maps.
	 */
	i_mmap_lock_read(map->mapping);
	if (dma_buf_frames_mapped(map->dmabuf, map->mapping, map->pfns, map->nr_pfns))
		left += n;
	else
		gntdev_map_restore_batch(map, n);
	i_mmap_unlock_read(map->mapping);
	/* The order is the same, but the indices of the batch are used up. */
	for (i = 0, k = 0; k < n; i++) {
		if (map->pages[i] != map->batch_pages[k])
			continue;
		if (map->cached[i])
			unlock_page(map->pages[i]);
		k++;
	}
	return !left;
}

/*
 * Until the users of what is left are gone, or for a moment. If there are any, this
 * empties the lists of pages of all CPUs, where any of them may be again each time.
 */
static void gntdev_map_wait_left(struct gntdev_map *map)
{
	unsigned int i, n = 0;

	for (i = 0; i < map->count; i++) {
		if (map->owner[i] != GNTDEV_MAP_FOREIGN)
			continue;
		map->batch_pages[n] = map->pages[i];
		map->batch_base[n++] = gntdev_map_base(map, i);
	}
	gnttab_wait_pages_held(map->batch_pages, map->batch_base, n,
			       msecs_to_jiffies(GNTDEV_MAP_SETTLE_MS));
}

/* ------------------------------------------------------------------ */
/* The end of a mapping. */

static void gntdev_map_event_put(struct gntdev_map_event *event)
{
	if (!refcount_dec_and_test(&event->pending))
		return;
	eventfd_signal(event->ctx);
	eventfd_ctx_put(event->ctx);
	kfree(event);
}

static void gntdev_map_detach(struct gntdev_map *map)
{
	if (map->sgt)
		dma_buf_unmap_attachment_unlocked(map->attach, map->sgt,
						  DMA_TO_DEVICE);
	dma_buf_detach(map->dmabuf, map->attach);
}

/*
 * With a page that must not be used again the buffer stays for ever, and so does the
 * attachment, for an exporter may swap out or move what is not attached; the
 * device that it names goes with the module.
 */
static void gntdev_map_let_go(struct gntdev_map *map)
{
	if (map->result)
		__module_get(THIS_MODULE);
	else
		gntdev_map_detach(map);
}

/*
 * Fails if something is mapped into the same memory, or about to be, by this dma-buf or
 * another one of it. What is lost there has no claim any more, but each such page
 * has a reference too many.
 */
static int gntdev_map_claim(struct gntdev_map *map)
{
	struct gntdev_map *other;
	int ret = 0;

	spin_lock(&claims_lock);
	list_for_each_entry(other, &claims, claim)
		if (other->dmabuf->ops == map->dmabuf->ops &&
		    other->dmabuf->priv == map->dmabuf->priv)
			ret = -EBUSY;
	if (!ret)
		list_add(&map->claim, &claims);
	spin_unlock(&claims_lock);
	return ret;
}

static void gntdev_map_unclaim(struct gntdev_map *map)
{
	spin_lock(&claims_lock);
	list_del_init(&map->claim);
	spin_unlock(&claims_lock);
}

/* Every page is its own again, or lost. */
static void gntdev_map_finish(struct gntdev_map *map)
{
	struct gntdev_map_event_link *link, *next;
	LIST_HEAD(events);

	gntdev_map_let_go(map);
	gntdev_map_unclaim(map);
	if (!map->result)
		dma_buf_resume_release(map->dmabuf);
	gntdev_map_report_lost(map);
	gntdev_map_free_arrays(map);

	spin_lock(&map->lock);
	list_splice_init(&map->events, &events);
	complete_all(&map->done);
	spin_unlock(&map->lock);

	list_for_each_entry_safe(link, next, &events, next) {
		gntdev_map_event_put(link->event);
		kfree(link);
	}
	gntdev_map_put(map);
}

/* What there is to wait for here takes no longer than a second, then it is tried again. */
static void gntdev_map_work(struct work_struct *work)
{
	struct gntdev_map *map = container_of(to_delayed_work(work), struct gntdev_map, work);
	struct dma_resv *resv = map->dmabuf->resv;
	unsigned long delay;
	bool done = false;

	/* Its file is going, and not replaced yet: nobody may look into it. */
	if (READ_ONCE(map->dmabuf->file) == map->file) {
		queue_delayed_work(gntdev_map_wq, &map->work, 1);
		return;
	}
	if (dma_resv_wait_timeout(resv, DMA_RESV_USAGE_BOOKKEEP, false, HZ) > 0) {
		gntdev_map_wait_left(map);
		dma_resv_lock(resv, NULL);
		done = gntdev_map_try_restore(map);
		dma_resv_unlock(resv);
	}
	if (done) {
		gntdev_map_finish(map);
		module_put(THIS_MODULE);
		return;
	}
	delay = msecs_to_jiffies(GNTDEV_MAP_SETTLE_MS) << min(map->attempts++, 10U);
	queue_delayed_work(gntdev_map_wq, &map->work, min_t(unsigned long, delay, HZ));
}

/*
 * The last reference to the buffer is gone: nobody can import it any more. What
 * devices were told to do with it may take a while, and this may be a task on its way
 * out whose next step, closing the file behind a fence, signals it. So nothing is
 * waited for here.
 */
static void gntdev_map_notify(struct dma_buf_release_notifier *notifier,
			      struct dma_buf *dmabuf)
{
	struct gntdev_map *map = container_of(notifier, struct gntdev_map, notifier);
	bool done = false;

	if (dma_resv_trylock(dmabuf->resv)) {
		done = gntdev_map_try_restore(map);
		dma_resv_unlock(dmabuf->resv);
	}
	if (done) {
		gntdev_map_finish(map);
		return;
	}
	/* The notifier's reference ends with it. */
	__module_get(THIS_MODULE);
	queue_delayed_work(gntdev_map_wq, &map->work, 0);
}

/* ------------------------------------------------------------------ */
/* The ioctls. */

/* The errors of an exporter that mean something to the caller of MAP. */
static int gntdev_map_exporter_errno(long err)
{
	switch (err) {
	case -ENOMEM:
	case -EBUSY:
	case -EINTR:
		return err;
	case -ERESTARTSYS:
		return -EINTR;
	default:
		return -EOPNOTSUPP;
	}
}

static int gntdev_map_attach(struct gntdev_map_priv *priv,
			     struct gntdev_map *map, u32 data_ofs)
{
	struct sg_table *sgt;
	int ret;

	map->attach = dma_buf_attach(map->dmabuf, priv->dev);
	if (IS_ERR(map->attach))
		return gntdev_map_exporter_errno(PTR_ERR(map->attach));
	/* If it is in use, and by us perhaps, its pages are nobody's business. */
	ret = gntdev_map_lock_buf(map);
	if (ret)
		goto detach;
	if (!gntdev_map_buf_idle(map))
		ret = -EBUSY;
	gntdev_map_unlock_buf(map);
	if (ret)
		goto detach;

	/* To the device only: nothing is done to the CPU's caches at the end. */
	sgt = dma_buf_map_attachment_unlocked(map->attach, DMA_TO_DEVICE);
	if (IS_ERR(sgt)) {
		ret = gntdev_map_exporter_errno(PTR_ERR(sgt));
		goto detach;
	}
	map->sgt = sgt;
	ret = gntdev_map_collect(map, data_ofs);
	if (!ret)
		return 0;
detach:
	gntdev_map_detach(map);
	return ret;
}

/* From own memory to the other domain's, or nothing. */
static int gntdev_map_replace(struct gntdev_map *map, const u32 *refs)
{
	int ret;

	/* Pages that were touched a moment ago are held by lists of CPUs. */
	gnttab_wait_pages_held(map->pages, map->base, map->count,
			       msecs_to_jiffies(GNTDEV_MAP_SETTLE_MS));
	ret = gntdev_map_lock_buf(map);
	if (ret)
		return ret;
	ret = -EBUSY;
	if (!gntdev_map_buf_idle(map) || !gntdev_map_trylock_pages(map))
		goto unlock_buf;
	if (!gntdev_map_pages_idle(map))
		goto unlock_pages;

	ret = gntdev_map_empty(map);
	if (!ret)
		ret = gntdev_map_grants(map, refs);
	if (ret)
		gntdev_map_roll_back(map);
	if (map->result)
		ret = map->result;
unlock_pages:
	gntdev_map_unlock_pages(map, map->count);
unlock_buf:
	gntdev_map_unlock_buf(map);
	return ret;
}

static struct gntdev_map *gntdev_map_find_live(struct gntdev_map_priv *priv, u32 fd)
{
	struct gntdev_map *map;

	list_for_each_entry(map, &priv->maps, next)
		if (map->fd == fd && !map->released)
			return map;
	return NULL;
}

/* From now on it is found. Successes under its number that nobody asked for go. */
static void gntdev_map_publish(struct gntdev_map_priv *priv, struct gntdev_map *new)
{
	struct gntdev_map *map, *next;
	LIST_HEAD(old);

	mutex_lock(&priv->lock);
	list_for_each_entry_safe(map, next, &priv->maps, next)
		if (map->fd == new->fd && completion_done(&map->done) &&
		    !map->result)
			list_move(&map->next, &old);
	list_add_tail(&new->next, &priv->maps);
	mutex_unlock(&priv->lock);

	list_for_each_entry_safe(map, next, &old, next)
		gntdev_map_put(map);
}

/* On success @priv has the caller's reference to @dmabuf. */
static int gntdev_map_refs_to_buf(struct gntdev_map_priv *priv,
				  struct dma_buf *dmabuf,
				  const struct ioctl_gntdev_dmabuf_map_refs_to_buf *op,
				  const u32 *refs)
{
	struct gntdev_map *map;
	bool taken;
	int ret;

	map = gntdev_map_alloc(priv, op->fd, op->domid, op->count);
	if (!map)
		return -ENOMEM;
	map->dmabuf = dmabuf;
	map->file = dmabuf->file;
	map->mapping = dmabuf->file->f_mapping;

	ret = mutex_lock_interruptible(&priv->mapping);
	if (ret)
		goto put;
	mutex_lock(&priv->lock);
	taken = gntdev_map_find_live(priv, op->fd);
	mutex_unlock(&priv->lock);
	ret = taken ? -EBUSY : gntdev_map_claim(map);
	if (ret)
		goto unlock;
	ret = gntdev_map_attach(priv, map, op->data_ofs);
	if (ret)
		goto unclaim;
	ret = dma_buf_defer_release(dmabuf);
	if (ret)
		goto detach;
	INIT_DELAYED_WORK(&map->work, gntdev_map_work);
	map->notifier.release = gntdev_map_notify;
	map->notifier.owner = THIS_MODULE;
	ret = dma_buf_register_release_notifier(dmabuf, &map->notifier);
	if (ret)
		goto resume;
	ret = gntdev_map_replace(map, refs);
	if (ret)
		goto unregister;

	kvfree(map->map_ops);
	map->map_ops = NULL;
	kref_get(&map->kref);
	gntdev_map_publish(priv, map);
	mutex_unlock(&priv->mapping);
	return 0;

unregister:
	dma_buf_unregister_release_notifier(&map->notifier);
resume:
	/* As in gntdev_map_finish(). */
	if (!map->result)
		dma_buf_resume_release(dmabuf);
detach:
	gntdev_map_let_go(map);
unclaim:
	gntdev_map_unclaim(map);
unlock:
	mutex_unlock(&priv->mapping);
put:
	gntdev_map_put(map);
	return ret;
}

static long gntdev_map_ioctl_refs_to_buf(struct gntdev_map_priv *priv,
					 struct ioctl_gntdev_dmabuf_map_refs_to_buf __user *u)
{
	struct ioctl_gntdev_dmabuf_map_refs_to_buf op;
	struct dma_buf *dmabuf;
	u32 *refs;
	long ret;

	/* A PV domain's page tables hold machine frames: nothing can be replaced. */
	if (xen_pv_domain() || PAGE_SIZE != XEN_PAGE_SIZE)
		return -EOPNOTSUPP;
	if (copy_from_user(&op, u, sizeof(op)))
		return -EFAULT;
	if (op.flags || op.domid >= DOMID_FIRST_RESERVED ||
	    gntdev_test_page_count(op.count))
		return -EINVAL;

	refs = kvmalloc_array(op.count, sizeof(*refs), GNTDEV_MAP_GFP);
	if (!refs)
		return -ENOMEM;
	if (copy_from_user(refs, u->refs, array_size(op.count, sizeof(*refs)))) {
		ret = -EFAULT;
		goto free;
	}
	dmabuf = dma_buf_get(op.fd);
	if (IS_ERR(dmabuf)) {
		ret = PTR_ERR(dmabuf);
		goto free;
	}
	ret = gntdev_map_refs_to_buf(priv, dmabuf, &op, refs);
	if (ret)
		dma_buf_put(dmabuf);
free:
	kvfree(refs);
	return ret;
}

static int gntdev_map_release(struct gntdev_map_priv *priv, u32 fd)
{
	struct dma_buf *dmabuf = NULL;
	struct gntdev_map *map;

	mutex_lock(&priv->lock);
	map = gntdev_map_find_live(priv, fd);
	if (map) {
		map->released = true;
		dmabuf = map->dmabuf;
	}
	mutex_unlock(&priv->lock);
	if (!dmabuf)
		return -ENOENT;
	dma_buf_put(dmabuf);
	return 0;
}

static long gntdev_map_ioctl_release(struct gntdev_map_priv *priv,
				     struct ioctl_gntdev_dmabuf_map_release __user *u)
{
	struct ioctl_gntdev_dmabuf_map_release op;

	if (copy_from_user(&op, u, sizeof(op)))
		return -EFAULT;
	if (op.reserved)
		return -EINVAL;
	return gntdev_map_release(priv, op.fd);
}

/*
 * A released mapping under @fd that is not undone yet, with a reference; NULL if
 * there is none. Then all that are undone go into @ended.
 */
static struct gntdev_map *gntdev_map_next_pending(struct gntdev_map_priv *priv, u32 fd,
						  struct list_head *ended)
{
	struct gntdev_map *map, *next;

	lockdep_assert_held(&priv->lock);
	list_for_each_entry(map, &priv->maps, next) {
		if (map->fd == fd && map->released && !completion_done(&map->done)) {
			kref_get(&map->kref);
			return map;
		}
	}
	list_for_each_entry_safe(map, next, &priv->maps, next)
		if (map->fd == fd && map->released)
			list_move_tail(&map->next, ended);
	return NULL;
}

static int gntdev_map_wait_released(struct gntdev_map_priv *priv, u32 fd, u32 ms)
{
	long left = ms == U32_MAX ? MAX_SCHEDULE_TIMEOUT : msecs_to_jiffies(ms);
	struct gntdev_map *map, *next;
	int result = -ENOENT;
	LIST_HEAD(ended);

	mutex_lock(&priv->lock);
	if (gntdev_map_find_live(priv, fd)) {
		mutex_unlock(&priv->lock);
		return -EBUSY;
	}
	while ((map = gntdev_map_next_pending(priv, fd, &ended))) {
		mutex_unlock(&priv->lock);
		/* Even with no time it would wait for a tick. */
		left = left ? wait_for_completion_interruptible_timeout(&map->done, left) :
			      completion_done(&map->done);
		/* Another waiter may take it off the list: remember it here. */
		if (left > 0 && result != -EIO)
			result = map->result;
		gntdev_map_put(map);
		if (left <= 0)
			return left ? -EINTR : -ETIMEDOUT;
		mutex_lock(&priv->lock);
	}
	mutex_unlock(&priv->lock);

	list_for_each_entry_safe(map, next, &ended, next) {
		if (result != -EIO)
			result = map->result;
		gntdev_map_put(map);
	}
	return result;
}

static long gntdev_map_ioctl_wait_released(struct gntdev_map_priv *priv,
					   struct ioctl_gntdev_dmabuf_map_wait_released __user *u)
{
	struct ioctl_gntdev_dmabuf_map_wait_released op;

	if (copy_from_user(&op, u, sizeof(op)))
		return -EFAULT;
	return gntdev_map_wait_released(priv, op.fd, op.wait_to_ms);
}

/*
 * Allocate a link for each mapping under @fd, then add them: all or none. The
 * number of eventfds of a mapping grows here only, under @priv->lock.
 */
static int gntdev_map_add_event(struct gntdev_map_priv *priv, u32 fd,
				struct gntdev_map_event *event)
{
	struct gntdev_map_event_link *link, *next;
	struct gntdev_map *map;
	LIST_HEAD(links);
	int ret = -ENOENT;

	mutex_lock(&priv->lock);
	list_for_each_entry(map, &priv->maps, next) {
		if (map->fd != fd)
			continue;
		ret = -ENOSPC;
		if (map->nr_events == GNTDEV_MAP_EVENTS)
			goto out;
		ret = -ENOMEM;
		link = kmalloc(sizeof(*link), GFP_KERNEL_ACCOUNT);
		if (!link)
			goto out;
		list_add(&link->next, &links);
		ret = 0;
	}
	list_for_each_entry(map, &priv->maps, next) {
		if (map->fd != fd)
			continue;
		spin_lock(&map->lock);
		if (!completion_done(&map->done)) {
			link = list_first_entry(&links, typeof(*link), next);
			link->event = event;
			refcount_inc(&event->pending);
			list_move(&link->next, &map->events);
			map->nr_events++;
		}
		spin_unlock(&map->lock);
	}
out:
	mutex_unlock(&priv->lock);
	list_for_each_entry_safe(link, next, &links, next)
		kfree(link);
	return ret;
}

static int gntdev_map_eventfd(struct gntdev_map_priv *priv, u32 fd,
			      struct eventfd_ctx *ctx)
{
	struct gntdev_map_event *event;
	int ret;

	event = kmalloc(sizeof(*event), GFP_KERNEL_ACCOUNT);
	if (!event) {
		eventfd_ctx_put(ctx);
		return -ENOMEM;
	}
	event->ctx = ctx;
	refcount_set(&event->pending, 1);
	ret = gntdev_map_add_event(priv, fd, event);
	if (ret) {
		eventfd_ctx_put(ctx);
		kfree(event);
		return ret;
	}
	gntdev_map_event_put(event);
	return 0;
}

static long gntdev_map_ioctl_eventfd(struct gntdev_map_priv *priv,
				     struct ioctl_gntdev_dmabuf_map_eventfd __user *u)
{
	struct ioctl_gntdev_dmabuf_map_eventfd op;
	struct eventfd_ctx *ctx;

	if (copy_from_user(&op, u, sizeof(op)))
		return -EFAULT;
	if (op.flags || op.reserved)
		return -EINVAL;
	ctx = eventfd_ctx_fdget(op.eventfd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	return gntdev_map_eventfd(priv, op.fd, ctx);
}

long gntdev_map_ioctl(struct gntdev_map_priv *priv, unsigned int cmd,
		      void __user *arg)
{
	switch (cmd) {
	case IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF:
		return gntdev_map_ioctl_refs_to_buf(priv, arg);
	case IOCTL_GNTDEV_DMABUF_MAP_RELEASE:
		return gntdev_map_ioctl_release(priv, arg);
	case IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED:
		return gntdev_map_ioctl_wait_released(priv, arg);
	case IOCTL_GNTDEV_DMABUF_MAP_EVENTFD:
		return gntdev_map_ioctl_eventfd(priv, arg);
	default:
		return -ENOIOCTLCMD;
	}
}

/* ------------------------------------------------------------------ */
/* The gntdev file and the module. */

static struct gntdev_map_priv *
gntdev_map_priv_create(const struct gntdev_map_backend *backend, struct device *dev)
{
	struct gntdev_map_priv *priv;

	priv = kzalloc(sizeof(*priv), GFP_KERNEL_ACCOUNT);
	if (!priv)
		return NULL;
	mutex_init(&priv->mapping);
	mutex_init(&priv->lock);
	INIT_LIST_HEAD(&priv->maps);
	priv->backend = backend;
	priv->dev = dev;
	return priv;
}

/* Nobody uses @priv any more. */
void gntdev_map_close(struct gntdev_map_priv *priv)
{
	struct gntdev_map *map, *next;

	list_for_each_entry_safe(map, next, &priv->maps, next) {
		list_del(&map->next);
		if (!map->released) {
			map->released = true;
			dma_buf_put(map->dmabuf);
		}
		gntdev_map_put(map);
	}
	kfree(priv);
}

static struct platform_device *gntdev_map_pdev;

struct gntdev_map_priv *gntdev_map_open(void)
{
	return gntdev_map_priv_create(&gntdev_map_xen, &gntdev_map_pdev->dev);
}

int gntdev_map_init(void)
{
	gntdev_map_wq = alloc_workqueue("xen-gntdev-map", WQ_UNBOUND, 0);
	if (!gntdev_map_wq)
		return -ENOMEM;
	gntdev_map_pdev = gntdev_map_device_create("xen-gntdev-map");
	if (IS_ERR(gntdev_map_pdev)) {
		destroy_workqueue(gntdev_map_wq);
		return PTR_ERR(gntdev_map_pdev);
	}
	return 0;
}

/* Buffers with a notifier hold the module; what they left to do is waited for. */
void gntdev_map_exit(void)
{
	destroy_workqueue(gntdev_map_wq);
	platform_device_unregister(gntdev_map_pdev);
}
