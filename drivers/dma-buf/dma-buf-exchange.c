// SPDX-License-Identifier: GPL-2.0-only
/*
 * Other memory behind the pages of a dma-buf, by consent of its exporter and importers.
 */

#include <linux/dma-buf.h>
#include <linux/dma-buf-exchange.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-resv.h>
#include <linux/export.h>
#include <linux/highmem.h>
#include <linux/list.h>

/**
 * DOC: Exchange of memory
 *
 * A hypervisor can put other memory behind page frames of this machine. Then the
 * &struct page, the frame number and the DMA address of the buffer's pages stay the
 * same, but their content is that of another machine's pages. For a moment there may be
 * nothing at all behind a frame: a CPU that touches it takes a fault that the kernel
 * does not survive on every architecture.
 *
 * No count of a page and no page table tells whether that is harmless for a buffer: an
 * importer may have an alias, a driver may map memory through a device file of its own.
 * So those who know have to consent:
 *
 * - The exporter implements &dma_buf_ops.begin_exchange and &dma_buf_ops.end_exchange. It
 *   promises that the memory stays where it is while somebody is attached; that it knows
 *   of each mapping of the memory into a process, through whatever file, and of each
 *   kernel mapping; and that nothing else touches the memory, above all no maintenance of
 *   caches: &dma_buf_ops.begin_cpu_access syncs only what is mapped for a device, under a
 *   lock that the exchange takes, and attachments are mapped and unmapped with
 *   DMA_ATTR_SKIP_CPU_SYNC or counted like mappings of processes.
 * - An importer that is attached while memory is exchanged sets
 *   &dma_buf_attachment.exchange_ok. It promises that its device accesses the memory only
 *   before fences signal that it has added to &dma_buf.resv, under that lock; that it
 *   keeps no kernel mapping but that of dma_buf_vmap(); and that it maps the memory into
 *   processes by dma_buf_mmap() alone. A display that reads without end, RDMA, and
 *   queues that user space submits to without the kernel do not keep that promise.
 *
 * Both count what would break it, as the GEM helpers do: mappings into processes from the
 * mmap handler on, with an atomic that &dma_buf_ops.begin_exchange sets to a negative
 * number if it is what it should be, and that atomic_inc_unless_negative() increments.
 *
 * Importers that come after the exchange need not consent: to them the buffer has the
 * memory that it has.
 */

/* What an importer may still do is to use a mapping that was made before. */
static bool importer_consents(struct dma_buf_attachment *attach)
{
	return attach->exchange_ok;
}

static int exchange_lock(struct dma_buf *dmabuf)
{
	return dma_resv_lock_interruptible(dmabuf->resv, NULL);
}

static void exchange_unlock(struct dma_buf *dmabuf)
{
	dma_resv_unlock(dmabuf->resv);
}

static int exchange_allowed(struct dma_buf_attachment *attach)
{
	struct dma_buf *dmabuf = attach->dmabuf;
	struct dma_buf_attachment *other;

	if (dmabuf->vmapping_counter) {
		pr_debug("%s: mapped into the kernel\n", dmabuf->exp_name);
		return -EBUSY;
	}
	if (!dma_resv_test_signaled(dmabuf->resv, DMA_RESV_USAGE_BOOKKEEP)) {
		pr_debug("%s: a fence is pending\n", dmabuf->exp_name);
		return -EBUSY;
	}
	list_for_each_entry(other, &dmabuf->attachments, node) {
		if (other != attach && !importer_consents(other)) {
			pr_debug("%s: %s is attached and does not consent\n",
				 dmabuf->exp_name, dev_name(other->dev));
			return -EBUSY;
		}
	}
	return 0;
}

/**
 * dma_buf_begin_exchange - keep others from the memory of a dma-buf
 * @attach: the caller's attachment, which keeps the memory where it is
 * @pages: the first @count pages of the buffer are returned here; NULL if the caller has
 *	asked before, and changes the memory back
 * @count: how many, no more than the buffer has
 *
 * From success until dma_buf_end_exchange() no fence is pending, no CPU mapping of the
 * memory exists, nobody can attach, compute a DMA address, add a fence or map the memory.
 * If the last exchange has left the buffer unusable, this locks it again for a caller that
 * changes the memory back.
 *
 * Context: Process context, may sleep. Returns with &dma_buf.resv locked on success.
 *
 * Return:
 * * 0 - the memory may be changed.
 * * -EOPNOTSUPP - the exporter does not consent, for this buffer or for any.
 * * -EBUSY - the memory is in use, or an importer is attached that does not consent.
 *   Messages of pr_debug() tell who.
 * * -EINTR - a signal came while waiting for a lock.
 */
int dma_buf_begin_exchange(struct dma_buf_attachment *attach, struct page **pages,
			   unsigned int count)
{
	struct dma_buf *dmabuf = attach->dmabuf;
	int ret;

	if (!dmabuf->ops->begin_exchange)
		return -EOPNOTSUPP;
	ret = exchange_lock(dmabuf);
	if (ret)
		return ret;
	if (dmabuf->exchanging) {
		if (!pages)
			return 0;
		ret = -EBUSY;
		goto unlock;
	}
	ret = exchange_allowed(attach);
	if (ret)
		goto unlock;
	ret = dmabuf->ops->begin_exchange(dmabuf, pages, count);
	if (ret) {
		pr_debug("%s: the exporter refuses: %d\n", dmabuf->exp_name, ret);
		goto unlock;
	}
	WRITE_ONCE(dmabuf->exchanging, true);
	return 0;
unlock:
	exchange_unlock(dmabuf);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(dma_buf_begin_exchange, "DMA_BUF");

/**
 * dma_buf_end_exchange - let others have the memory of a dma-buf again
 * @attach: the attachment that the exchange began with
 * @usable: whether there is memory behind all pages. If not, whoever wants to attach to
 *	the buffer or to map it gets -EBUSY until an exchange ends with true.
 *
 * Context: Process context. Unlocks &dma_buf.resv.
 */
void dma_buf_end_exchange(struct dma_buf_attachment *attach, bool usable)
{
	struct dma_buf *dmabuf = attach->dmabuf;

	if (usable) {
		WRITE_ONCE(dmabuf->exchanging, false);
		dmabuf->ops->end_exchange(dmabuf);
	}
	exchange_unlock(dmabuf);
}
EXPORT_SYMBOL_NS_GPL(dma_buf_end_exchange, "DMA_BUF");

/**
 * dma_buf_clear_exchanged - clear a page of a dma-buf for its next owner
 * @page: a page that dma_buf_begin_exchange() returned
 *
 * The zeros reach the memory itself. Lines of the cache that were written back later
 * would overwrite what others store there without a cache.
 *
 * Context: between dma_buf_begin_exchange() and dma_buf_end_exchange().
 */
void dma_buf_clear_exchanged(struct page *page)
{
	clear_highpage(page);
	arch_sync_dma_for_device(page_to_phys(page), PAGE_SIZE, DMA_TO_DEVICE);
	arch_sync_dma_flush();
}
EXPORT_SYMBOL_NS_GPL(dma_buf_clear_exchanged, "DMA_BUF");
