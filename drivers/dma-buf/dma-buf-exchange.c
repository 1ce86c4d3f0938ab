// SPDX-License-Identifier: GPL-2.0-only
/*
 * Put other memory behind the pages of a dma-buf, with the consent of its drivers.
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
 * same, but their content is that of another machine's pages. During the exchange there
 * may be no memory at all behind a frame. A CPU that touches such a frame takes a fault,
 * which the kernel does not survive on every architecture.
 *
 * Neither page counts nor page tables show whether an exchange is safe for a buffer: an
 * importer may have an alias, or a driver may map the memory through its own device file.
 *
 * So the drivers, which know, have to consent:
 *
 * - The exporter implements &dma_buf_ops.begin_exchange and &dma_buf_ops.end_exchange. It
 *   promises three things. It does not move the memory while there is an attachment. It
 *   knows each mapping of the memory into a process, through any file, and each kernel
 *   mapping. Nothing else touches the memory, not even cache maintenance:
 *   &dma_buf_ops.begin_cpu_access syncs only attachments that are mapped, under a lock that
 *   the exchange takes. The exporter maps and unmaps attachments with
 *   DMA_ATTR_SKIP_CPU_SYNC, or counts each like a mapping into a process.
 * - An importer that is attached during an exchange sets &dma_buf_attachment.exchange_ok.
 *   It promises three things. Its device accesses the memory only until fences signal that
 *   it has added to &dma_buf.resv, under that lock. Its only kernel mapping is that of
 *   dma_buf_vmap(). It maps the memory into processes only with dma_buf_mmap(). A display
 *   that reads continuously, RDMA, and queues that user space submits to without the kernel
 *   break the first promise.
 *
 * An exporter counts the uses that rule out an exchange, as the GEM helpers do. Its mmap
 * handler calls atomic_inc_unless_negative() before it maps anything. If no use is counted,
 * &dma_buf_ops.begin_exchange sets the count to a negative number, which lets later uses fail.
 *
 * Importers that attach after the exchange need not consent: they see only the new memory.
 */

/* During an exchange an importer can only use a mapping that it made before. */
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
 * dma_buf_begin_exchange - keep all users away from the memory of a dma-buf
 * @attach: the caller's attachment, which keeps the exporter from moving the memory
 * @pages: the first @count pages of the buffer are returned here; NULL if the caller has
 *	got them before, and restores the memory
 * @count: number of pages, no more than the buffer has
 *
 * From success until dma_buf_end_exchange(), no fence is pending, no CPU mapping of the
 * memory exists, and nobody can attach, compute a DMA address, add a fence or map the
 * memory. If the last exchange has left the buffer unusable, this function locks it again
 * for a caller that restores the memory.
 *
 * Context: Process context, may sleep. Returns with &dma_buf.resv locked on success.
 *
 * Return:
 * * 0 - the memory may be changed.
 * * -EOPNOTSUPP - the exporter does not consent, for this buffer or for any.
 * * -EBUSY - the memory is in use, or an importer is attached that does not consent.
 *   Messages of pr_debug() tell which.
 * * -EINTR - a signal arrived while waiting for a lock.
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
 * dma_buf_end_exchange - let users access the memory of a dma-buf again
 * @attach: the attachment that was given to dma_buf_begin_exchange()
 * @usable: whether there is memory behind all pages. If not, attaching to the buffer and
 *	mapping it fail with -EBUSY until an exchange ends with true.
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
 * The zeros are written back to memory. If they stayed in the cache, their writeback could
 * overwrite data that was stored later without a cache.
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
