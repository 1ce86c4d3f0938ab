// SPDX-License-Identifier: GPL-2.0
/*
 * Grant references mapped into a dma-buf that another driver exported.
 *
 * The pages of a buffer change their owner twice, each time between dma_buf_begin_exchange()
 * and dma_buf_end_exchange(), which keep all other users away:
 *
 *   own -> hole -> foreign   in MAP_REFS_TO_BUF: all pages or none
 *   foreign -> hole -> own   in a worker, after the last reference to the buffer has been
 *                            dropped; or in MAP_REFS_TO_BUF if the first change fails
 *
 * The worker retries until the memory is idle and the hypervisor has filled all holes.
 * Until then the exporter's release is delayed. If MAP_REFS_TO_BUF cannot fill the holes
 * that it has made, the buffer stays unusable, and the worker fills them after the last
 * reference has been dropped. A page whose grant the hypervisor does not unmap is lost: its
 * buffer is never released.
 *
 * A mapping is a struct gntdev_map. It is in a list of the gntdev file that made it, where
 * the ioctls look it up by the number that its buffer's file descriptor had. That list and
 * the release notifier each hold a reference to it. The mapping holds on the buffer:
 *
 *   a reference to the file   until RELEASE, or until the gntdev file is closed
 *   a release notifier        until the pages are restored: the exporter cannot free them
 *   an attachment             until the pages are restored: the exporter cannot move them
 *
 * Locks, outer to inner: priv->mapping, those of dma_buf_begin_exchange(). priv->lock
 * protects the list of a file. gntdev_map.lock is innermost.
 */

#define pr_fmt(fmt) "xen:" KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/dma-buf.h>
#include <linux/dma-buf-exchange.h>
#include <linux/dma-buf-release.h>
#include <linux/dma-resv.h>
#include <linux/eventfd.h>
#include <linux/kref.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
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

/* The most eventfds that one mapping may have. */
#define GNTDEV_MAP_EVENTS	16
/* The most pages of one hypercall. */
#define GNTDEV_MAP_BATCH	128
/* Delay before the worker's second attempt. It doubles each time, up to a second. */
#define GNTDEV_MAP_RETRY_MS	1

/* Who owns the memory behind a page of the buffer. */
enum gntdev_map_owner {
	GNTDEV_MAP_OWN,		/* memory of this domain */
	GNTDEV_MAP_HOLE,	/* there is no memory */
	GNTDEV_MAP_FOREIGN,	/* memory of the other domain */
	GNTDEV_MAP_LOST,	/* the same; the hypervisor did not unmap it */
};

/* The mappings of an open gntdev file. */
struct gntdev_map_priv {
	struct mutex mapping;		/* serialises MAP_REFS_TO_BUF */
	struct mutex lock;		/* protects @maps, and the released flag of each */
	struct list_head maps;		/* mappings whose end has not been reported yet */
	const struct gntdev_map_backend *backend;
	struct device *dev;		/* the device that is attached to the buffers */
};

/* An eventfd to be signaled when the mappings under a number are undone. */
struct gntdev_map_event {
	refcount_t pending;		/* mappings not undone yet, and one for the ioctl */
	struct eventfd_ctx *ctx;
};

struct gntdev_map_event_link {
	struct list_head next;
	struct gntdev_map_event *event;
};

struct gntdev_map_page {
	struct page *page;
	grant_handle_t handle;	/* identifies the grant mapping to the hypervisor */
	u8 owner;		/* enum gntdev_map_owner */
};

/* The operations of one hypercall. */
struct gntdev_map_batch {
	unsigned int count;
	struct gntdev_map_page *of[GNTDEV_MAP_BATCH];
	struct page *pages[GNTDEV_MAP_BATCH];
	union {
		xen_pfn_t frames[GNTDEV_MAP_BATCH];
		struct gnttab_map_grant_ref map[GNTDEV_MAP_BATCH];
		struct gnttab_unmap_grant_ref unmap[GNTDEV_MAP_BATCH];
	};
};

/* Grants mapped into a dma-buf. */
struct gntdev_map {
	struct kref kref;		/* one for &gntdev_map_priv.maps, one for @notifier */
	struct list_head next;		/* in &gntdev_map_priv.maps */
	u32 fd;				/* number that the buffer's file descriptor had */
	bool released;			/* the reference to the buffer has been dropped */
	struct completion done;		/* all pages are own or lost; @result is valid */
	int result;			/* zero, or -EIO if a page is lost */
	spinlock_t lock;		/* protects @events; none is added after @done */
	struct list_head events;	/* struct gntdev_map_event_link */
	unsigned int nr_events;

	const struct gntdev_map_backend *backend;
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	struct dma_buf_release_notifier notifier;
	struct delayed_work work;	/* restores the pages */
	unsigned int attempts;		/* failed attempts to restore the pages */
	bool unusable;			/* MAP_REFS_TO_BUF could not restore the pages */

	domid_t domid;			/* the domain that granted the pages */
	unsigned int count;
	struct gntdev_map_page *pages;
	struct gntdev_map_batch *batch;	/* allocated early: restoring needs no memory */
};

static struct workqueue_struct *gntdev_map_wq;

/* ------------------------------------------------------------------ */
/* The hypervisor. */

/* Whether Xen maps the memory of this domain to frames of the same numbers. */
static bool gntdev_map_direct_mapped(void)
{
	if (!IS_ENABLED(CONFIG_ARM) && !IS_ENABLED(CONFIG_ARM64))
		return false;
	return xen_feature(XENFEAT_direct_mapped) ||
	       (!xen_feature(XENFEAT_not_direct_mapped) && xen_initial_domain());
}

static const struct gntdev_map_backend gntdev_map_xen = {
	.keeps_frames = gntdev_map_direct_mapped,
	.decrease = xenmem_reservation_decrease,
	.populate = xenmem_reservation_increase,
	.map = gnttab_map_refs_held,
	.unmap = gnttab_unmap_refs_held,
};

/* ------------------------------------------------------------------ */
/* A mapping and its memory. */

/* Charged to the process that maps. A failure because of a limit needs no warning. */
#define GNTDEV_MAP_GFP	(GFP_KERNEL_ACCOUNT | __GFP_NOWARN)

static void gntdev_map_free_pages(struct gntdev_map *map)
{
	kvfree(map->pages);
	kfree(map->batch);
	map->pages = NULL;
	map->batch = NULL;
}

static void gntdev_map_free(struct kref *kref)
{
	struct gntdev_map *map = container_of(kref, struct gntdev_map, kref);

	gntdev_map_free_pages(map);
	kfree(map);
}

static void gntdev_map_put(struct gntdev_map *map)
{
	kref_put(&map->kref, gntdev_map_free);
}

static struct gntdev_map *gntdev_map_alloc(const struct gntdev_map_priv *priv,
					   struct dma_buf *dmabuf, u32 fd, domid_t domid,
					   unsigned int count)
{
	struct gntdev_map *map = kzalloc(sizeof(*map), GNTDEV_MAP_GFP);

	if (!map)
		return NULL;
	kref_init(&map->kref);
	init_completion(&map->done);
	spin_lock_init(&map->lock);
	INIT_LIST_HEAD(&map->events);
	map->dmabuf = dmabuf;
	map->fd = fd;
	map->domid = domid;
	map->backend = priv->backend;
	map->count = count;
	map->pages = kvcalloc(count, sizeof(*map->pages), GNTDEV_MAP_GFP);
	map->batch = kmalloc(sizeof(*map->batch), GNTDEV_MAP_GFP);
	if (!map->pages || !map->batch) {
		gntdev_map_put(map);
		return NULL;
	}
	return map;
}

/*
 * Whether @page is memory of this domain that the kernel can clear. The exporter has
 * already consented to give it away; this check finds exporters that are wrong.
 */
static bool gntdev_map_usable(struct page *page)
{
	unsigned long pfn = page_to_pfn(page);

	if (!pfn_valid(pfn) || !pfn_to_online_page(pfn) || is_zone_device_page(page) ||
	    PageHighMem(page) || PageSlab(compound_head(page)) || PageTable(page) ||
	    PageBuddy(page) || PageOffline(page) || PageHWPoison(page) || PageAnon(page))
		return false;
	/* False for a page that another domain granted: on Arm the kernel records those. */
	return pfn_to_bfn(pfn) == pfn;
}

/* ------------------------------------------------------------------ */
/* Changes of owner, between dma_buf_begin_exchange() and dma_buf_end_exchange(). */

/* Fills the batch with the next pages of @owner, from @first on. Returns where it ends. */
static unsigned int gntdev_map_batch(struct gntdev_map *map, unsigned int first, u8 owner)
{
	struct gntdev_map_batch *batch = map->batch;

	cond_resched();
	batch->count = 0;
	for (; first < map->count && batch->count < GNTDEV_MAP_BATCH; first++) {
		if (map->pages[first].owner != owner)
			continue;
		batch->of[batch->count] = &map->pages[first];
		batch->pages[batch->count++] = map->pages[first].page;
	}
	return first;
}

/* Fill all holes with zeroed own memory. Returns false if the hypervisor has too little. */
static bool gntdev_map_fill(struct gntdev_map *map)
{
	struct gntdev_map_batch *batch = map->batch;
	unsigned int i, k;
	int filled;

	for (i = gntdev_map_batch(map, 0, GNTDEV_MAP_HOLE); batch->count;
	     i = gntdev_map_batch(map, i, GNTDEV_MAP_HOLE)) {
		for (k = 0; k < batch->count; k++)
			batch->frames[k] = page_to_xen_pfn(batch->pages[k]);
		filled = map->backend->populate(batch->count, batch->frames);
		for (k = 0; (int)k < filled; k++) {
			dma_buf_clear_exchanged(batch->pages[k]);
			batch->of[k]->owner = GNTDEV_MAP_OWN;
		}
		if (filled != (int)batch->count)
			return false;
	}
	return true;
}

/* Give the memory of all pages back to the hypervisor, which leaves holes. */
static int gntdev_map_empty(struct gntdev_map *map)
{
	struct gntdev_map_batch *batch = map->batch;
	unsigned int i, k;
	int emptied;

	/*
	 * A directly mapped domain keeps its frames while grants are mapped over them, and
	 * populating restores them. So the grants replace them here with no hole in
	 * between. The frames are cleared when they are restored.
	 */
	if (map->backend->keeps_frames())
		return 0;
	for (i = gntdev_map_batch(map, 0, GNTDEV_MAP_OWN); batch->count;
	     i = gntdev_map_batch(map, i, GNTDEV_MAP_OWN)) {
		/* Do not leak the content to the next owner of the memory. */
		for (k = 0; k < batch->count; k++) {
			dma_buf_clear_exchanged(batch->pages[k]);
			batch->frames[k] = xen_page_to_gfn(batch->pages[k]);
		}
		emptied = map->backend->decrease(batch->count, batch->frames);
		for (k = 0; (int)k < emptied; k++)
			batch->of[k]->owner = GNTDEV_MAP_HOLE;
		if (emptied != (int)batch->count)
			return -EIO;
	}
	return 0;
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

/* Map the grants, up to the first batch in which one fails. Returns the first error. */
static int gntdev_map_grants(struct gntdev_map *map, const u32 *refs)
{
	struct gntdev_map_batch *batch = map->batch;
	u8 before = map->backend->keeps_frames() ? GNTDEV_MAP_OWN : GNTDEV_MAP_HOLE;
	unsigned int i, k;
	int ret = 0;

	for (i = gntdev_map_batch(map, 0, before); batch->count && !ret;
	     i = gntdev_map_batch(map, i, before)) {
		for (k = 0; k < batch->count; k++) {
			gnttab_set_map_op(&batch->map[k],
					  (unsigned long)page_address(batch->pages[k]),
					  GNTMAP_host_map, refs[batch->of[k] - map->pages],
					  map->domid);
		}
		map->backend->map(batch->map, batch->pages, batch->count);
		for (k = 0; k < batch->count; k++) {
			struct gnttab_map_grant_ref *op = &batch->map[k];

			if (op->status == GNTST_okay) {
				batch->of[k]->handle = op->handle;
				batch->of[k]->owner = GNTDEV_MAP_FOREIGN;
				continue;
			}
			if (!ret)
				ret = gntdev_map_errno(op);
		}
	}
	/*
	 * If set_foreign_p2m_mapping() has no memory to record a grant, it unmaps the grant
	 * again, which leaves a hole if the grant had replaced a frame. The status does not
	 * tell this hole from a frame that is still in place, so fill and clear all of them.
	 */
	for (i = 0; ret && i < map->count; i++)
		if (map->pages[i].owner == GNTDEV_MAP_OWN)
			map->pages[i].owner = GNTDEV_MAP_HOLE;
	return ret;
}

/* Try once to put own memory behind all pages. Returns whether no hole is left. */
static bool gntdev_map_restore(struct gntdev_map *map)
{
	struct gntdev_map_batch *batch = map->batch;
	unsigned int i, k;

	for (i = gntdev_map_batch(map, 0, GNTDEV_MAP_FOREIGN); batch->count;
	     i = gntdev_map_batch(map, i, GNTDEV_MAP_FOREIGN)) {
		for (k = 0; k < batch->count; k++)
			gnttab_set_unmap_op(&batch->unmap[k],
					    (unsigned long)page_address(batch->pages[k]),
					    GNTMAP_host_map, batch->of[k]->handle);
		map->backend->unmap(batch->unmap, batch->pages, batch->count);
		for (k = 0; k < batch->count; k++) {
			if (batch->unmap[k].status == GNTST_okay) {
				batch->of[k]->owner = GNTDEV_MAP_HOLE;
				continue;
			}
			batch->of[k]->owner = GNTDEV_MAP_LOST;
			map->result = -EIO;
		}
	}
	return gntdev_map_fill(map);
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

/*
 * Every page is own memory again, or lost. With a lost page the release of the buffer is
 * never resumed. The attachment stays, too, because an exporter may move a buffer without
 * attachments. The module stays loaded, because the attachment refers to its device.
 */
static void gntdev_map_finish(struct gntdev_map *map)
{
	struct gntdev_map_event_link *link, *next;
	LIST_HEAD(events);

	if (map->result) {
		pr_err("pages of a dma-buf, granted by domain %u, could not be unmapped and are lost\n",
		       map->domid);
	} else {
		dma_buf_detach(map->dmabuf, map->attach);
		dma_buf_resume_release(&map->notifier);
	}
	gntdev_map_free_pages(map);

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

/* One run waits no longer than a second for fences; then the worker is queued again. */
static void gntdev_map_work(struct work_struct *work)
{
	struct gntdev_map *map = container_of(to_delayed_work(work), struct gntdev_map, work);
	unsigned long delay;
	bool done = false;

	if (dma_resv_wait_timeout(map->dmabuf->resv, DMA_RESV_USAGE_BOOKKEEP, false, HZ) > 0 &&
	    !dma_buf_begin_exchange(map->attach, NULL, 0)) {
		done = gntdev_map_restore(map);
		dma_buf_end_exchange(map->attach, done && !map->result);
	}
	if (done) {
		gntdev_map_finish(map);
		return;
	}
	delay = msecs_to_jiffies(GNTDEV_MAP_RETRY_MS) << min(map->attempts++, 10U);
	queue_delayed_work(gntdev_map_wq, &map->work, min_t(unsigned long, delay, HZ));
}

/*
 * The last reference to the buffer has been dropped: nobody can import it any more. Devices
 * may still access it. This does not wait for their fences: the task may be an exiting one
 * that signals a fence only later, when it closes the file of that fence's exporter.
 */
static void gntdev_map_notify(struct dma_buf_release_notifier *notifier,
			      struct dma_buf *dmabuf)
{
	struct gntdev_map *map = container_of(notifier, struct gntdev_map, notifier);

	queue_delayed_work(gntdev_map_wq, &map->work, 0);
}

/* ------------------------------------------------------------------ */
/* The ioctls. */

/* Replace own memory with the other domain's. If that fails, restore or set @unusable. */
static int gntdev_map_exchange(struct gntdev_map *map, struct page **pages, const u32 *refs)
{
	unsigned int i;
	int ret;

	ret = dma_buf_begin_exchange(map->attach, pages, map->count);
	if (ret)
		return ret;
	for (i = 0; i < map->count; i++) {
		map->pages[i].page = pages[i];
		if (!gntdev_map_usable(pages[i]))
			ret = -EOPNOTSUPP;
	}
	if (!ret) {
		ret = gntdev_map_empty(map) ?: gntdev_map_grants(map, refs);
		if (ret)
			map->unusable = !gntdev_map_restore(map) || map->result;
	}
	dma_buf_end_exchange(map->attach, !map->unusable);
	return map->unusable ? -EIO : ret;
}

static int gntdev_map_attach(struct gntdev_map *map, struct device *dev)
{
	long ret;

	/* Many exporters that do not consent move a buffer when a driver attaches to it. */
	if (!map->dmabuf->ops->begin_exchange)
		return -EOPNOTSUPP;
	map->attach = dma_buf_attach(map->dmabuf, dev);
	if (IS_ERR(map->attach)) {
		/* MAP_REFS_TO_BUF returns these errors. All others mean: not supported. */
		ret = PTR_ERR(map->attach);
		return ret == -ENOMEM || ret == -EBUSY || ret == -EINTR ? ret : -EOPNOTSUPP;
	}
	INIT_DELAYED_WORK(&map->work, gntdev_map_work);
	map->notifier.release = gntdev_map_notify;
	map->notifier.owner = THIS_MODULE;
	ret = dma_buf_register_release_notifier(map->dmabuf, &map->notifier);
	if (ret)
		dma_buf_detach(map->dmabuf, map->attach);
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

/* Let lookups find @new. Drop mappings under its number that were undone without error. */
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

/* On success @priv takes over the caller's reference to @map's buffer. */
static int gntdev_map_try(struct gntdev_map_priv *priv, struct gntdev_map *map,
			  struct page **pages, const u32 *refs)
{
	bool taken;
	int ret;

	mutex_lock(&priv->lock);
	taken = gntdev_map_find_live(priv, map->fd);
	mutex_unlock(&priv->lock);
	if (taken)
		return -EBUSY;
	ret = gntdev_map_attach(map, priv->dev);
	if (ret)
		return ret;
	ret = gntdev_map_exchange(map, pages, refs);
	if (!ret) {
		kref_get(&map->kref);
		gntdev_map_publish(priv, map);
		return 0;
	}
	if (map->unusable) {
		/* As after RELEASE, but no lookup finds it: the notifier owns the reference. */
		kref_get(&map->kref);
		return ret;
	}
	/* This cannot fail, because the caller holds a reference to the buffer. */
	dma_buf_unregister_release_notifier(&map->notifier);
	dma_buf_detach(map->dmabuf, map->attach);
	return ret;
}

static int gntdev_map_refs_to_buf(struct gntdev_map_priv *priv, struct dma_buf *dmabuf,
				  const struct ioctl_gntdev_dmabuf_map_refs_to_buf *op,
				  const u32 *refs)
{
	struct gntdev_map *map;
	struct page **pages;
	int ret = -ENOMEM;

	/* The buffers of exporters that consent begin at a page boundary. */
	if (op->data_ofs || op->count > PAGE_ALIGN(dmabuf->size) >> PAGE_SHIFT)
		return -EINVAL;
	map = gntdev_map_alloc(priv, dmabuf, op->fd, op->domid, op->count);
	if (!map)
		return -ENOMEM;
	pages = kvcalloc(op->count, sizeof(*pages), GNTDEV_MAP_GFP);
	if (pages) {
		ret = mutex_lock_interruptible(&priv->mapping);
		if (!ret) {
			ret = gntdev_map_try(priv, map, pages, refs);
			mutex_unlock(&priv->mapping);
		}
	}
	kvfree(pages);
	/* The list and the notifier hold references of their own. */
	if (ret)
		gntdev_map_put(map);
	return ret;
}

static int gntdev_map_ioctl_refs_to_buf(struct gntdev_map_priv *priv,
					const struct ioctl_gntdev_dmabuf_map_refs_to_buf *op,
					const u32 __user *user_refs)
{
	struct dma_buf *dmabuf;
	u32 *refs;
	int ret;

	/* A PV domain's page tables hold machine frames, so frames cannot be replaced. */
	if (xen_pv_domain() || PAGE_SIZE != XEN_PAGE_SIZE)
		return -EOPNOTSUPP;
	if (op->flags || op->domid >= DOMID_FIRST_RESERVED || gntdev_test_page_count(op->count))
		return -EINVAL;

	refs = kvmalloc_array(op->count, sizeof(*refs), GNTDEV_MAP_GFP);
	if (!refs)
		return -ENOMEM;
	if (copy_from_user(refs, user_refs, array_size(op->count, sizeof(*refs)))) {
		ret = -EFAULT;
		goto free;
	}
	dmabuf = dma_buf_get(op->fd);
	if (IS_ERR(dmabuf)) {
		ret = PTR_ERR(dmabuf);
		goto free;
	}
	ret = gntdev_map_refs_to_buf(priv, dmabuf, op, refs);
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

/*
 * Returns a released mapping under @fd that is not undone yet, with a reference. If there
 * is none, moves all released mappings under @fd to @ended and returns NULL.
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
		/* With a timeout of 0 wait_for_completion_*() still waits for a tick. */
		left = left ? wait_for_completion_interruptible_timeout(&map->done, left) :
			      completion_done(&map->done);
		/* Another waiter may take @map off the list: remember its result here. */
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

/*
 * Allocate a link for each mapping under @fd first, so that a failure adds none. Only this
 * function adds eventfds to a mapping, under @priv->lock.
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

static int gntdev_map_eventfd(struct gntdev_map_priv *priv, u32 fd, int eventfd)
{
	struct eventfd_ctx *ctx = eventfd_ctx_fdget(eventfd);
	struct gntdev_map_event *event;
	int ret;

	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
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

long gntdev_map_ioctl(struct gntdev_map_priv *priv, unsigned int cmd, void __user *arg)
{
	struct ioctl_gntdev_dmabuf_map_refs_to_buf __user *refs_to_buf = arg;
	union {
		struct ioctl_gntdev_dmabuf_map_refs_to_buf refs_to_buf;
		struct ioctl_gntdev_dmabuf_map_release release;
		struct ioctl_gntdev_dmabuf_map_wait_released wait;
		struct ioctl_gntdev_dmabuf_map_eventfd eventfd;
	} op;

	if (_IOC_SIZE(cmd) > sizeof(op) || copy_from_user(&op, arg, _IOC_SIZE(cmd)))
		return -EFAULT;
	switch (cmd) {
	case IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF:
		return gntdev_map_ioctl_refs_to_buf(priv, &op.refs_to_buf, refs_to_buf->refs);
	case IOCTL_GNTDEV_DMABUF_MAP_RELEASE:
		return op.release.reserved ? -EINVAL :
					     gntdev_map_release(priv, op.release.fd);
	case IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED:
		return gntdev_map_wait_released(priv, op.wait.fd, op.wait.wait_to_ms);
	case IOCTL_GNTDEV_DMABUF_MAP_EVENTFD:
		return op.eventfd.flags || op.eventfd.reserved ? -EINVAL :
			gntdev_map_eventfd(priv, op.eventfd.fd, op.eventfd.eventfd);
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

/* The gntdev file is being released: nobody else uses @priv any more. */
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

struct gntdev_map_priv *gntdev_map_open(struct device *dev)
{
	return gntdev_map_priv_create(&gntdev_map_xen, dev);
}

int gntdev_map_init(void)
{
	gntdev_map_wq = alloc_workqueue("xen-gntdev-map", WQ_UNBOUND, 0);
	return gntdev_map_wq ? 0 : -ENOMEM;
}

/* Buffers with a notifier pin the module; this waits for workers that are still running. */
void gntdev_map_exit(void)
{
	destroy_workqueue(gntdev_map_wq);
}
