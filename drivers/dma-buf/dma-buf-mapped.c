// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether a process has mapped the memory of a dma-buf.
 *
 * Mappings with VM_PFNMAP hold no pages: no count of a page tells of them, and
 * what they show has to be read from the page tables.
 */

#include <linux/dma-buf.h>
#include <linux/dma-buf-mapped.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagewalk.h>
#include <linux/sched.h>

struct mapped_walk {
	struct dma_buf *dmabuf;
	const unsigned long *pfns;
	size_t count;
};

/* Whether the buffer has one of @nr frames from @pfn on. */
static bool has_frame(const struct mapped_walk *mapped, unsigned long pfn, unsigned long nr)
{
	size_t first = 0, end = mapped->count;

	/* The first that is not below @pfn. */
	while (first < end) {
		size_t middle = first + (end - first) / 2;

		if (mapped->pfns[middle] < pfn)
			first = middle + 1;
		else
			end = middle;
	}
	return first < mapped->count && mapped->pfns[first] - pfn < nr;
}

static int walk_pud(pud_t *pud, unsigned long addr, unsigned long next, struct mm_walk *walk)
{
	const struct mapped_walk *mapped = walk->private;

	cond_resched();
	if (!mapped->count) {
		walk->action = ACTION_CONTINUE;
		return 0;
	}
	/* Nobody has buffers in entries that large yet: be on the safe side. */
	return pud_leaf(*pud) ? -EBUSY : 0;
}

static int walk_pmd(pmd_t *pmd, unsigned long addr, unsigned long next, struct mm_walk *walk)
{
	pmd_t entry = READ_ONCE(*pmd);

	if (!pmd_present(entry) || !pmd_leaf(entry))
		return 0;
	/* Else it is split. */
	walk->action = ACTION_CONTINUE;
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	if (!has_frame(walk->private, pmd_pfn(entry) + ((addr & ~PMD_MASK) >> PAGE_SHIFT),
		       (next - addr) >> PAGE_SHIFT))
		return 0;
#endif
	return -EBUSY;
}

static int walk_pte(pte_t *pte, unsigned long addr, unsigned long next, struct mm_walk *walk)
{
	pte_t entry = ptep_get(pte);

	return pte_present(entry) && has_frame(walk->private, pte_pfn(entry), 1) ? -EBUSY : 0;
}

/* That there is a callback for this has areas with VM_PFNMAP walked, too. */
static int walk_vma(unsigned long start, unsigned long end, struct mm_walk *walk)
{
	struct dma_buf *dmabuf = ((struct mapped_walk *)walk->private)->dmabuf;

	return walk->vma->vm_file == READ_ONCE(dmabuf->file) ||
	       (dmabuf->priv && walk->vma->vm_private_data == dmabuf->priv) ? -EBUSY : 0;
}

static const struct mm_walk_ops walk_ops = {
	.pud_entry = walk_pud,
	.pmd_entry = walk_pmd,
	.pte_entry = walk_pte,
	.test_walk = walk_vma,
};

/**
 * dma_buf_frames_mapped - tell whether a process has mapped a buffer
 * @dmabuf: the buffer, of which the caller holds a reference, or whose release he
 *	has put off
 * @mapping: the &file.f_mapping that the buffer's file has, or had. It is there as
 *	long as the exporter has not released the buffer.
 * @pfns: the numbers of the page frames of its memory, in ascending order
 * @count: how many there are; with none, only what areas name counts
 *
 * Most exporters leave a buffer's file the address space that it came with, in
 * which each area is one of the buffer. A DRM driver has one address space for all
 * buffers of a card, and for what is mapped through its device file. There an
 * area counts if it refers to the buffer's file, if its
 * &vm_area_struct.vm_private_data is the exporter's &dma_buf.priv, as in areas of
 * GEM objects, or if one of its page table entries has one of the frames.
 *
 * An area of which none of that is true, for its driver fills it when it is
 * touched and keeps something else in vm_private_data, is not seen before it is
 * touched. Areas of another address space are not looked at. Of those some hold
 * their pages, like mappings of the memfd below a udmabuf; others do not, like
 * those of a V4L2 or virtio-gpu device whose buffer was exported.
 *
 * Context: The caller holds &address_space.i_mmap_rwsem of @mapping, for reading at
 * least. Sleeps only to let others run. Takes time in proportion to what is mapped
 * of a card.
 *
 * Return: whether there is such an area.
 */
bool dma_buf_frames_mapped(struct dma_buf *dmabuf, struct address_space *mapping,
			   const unsigned long *pfns, size_t count)
{
	struct mapped_walk mapped = { .dmabuf = dmabuf, .pfns = pfns, .count = count };

	return walk_page_mapping(mapping, 0, ULONG_MAX, &walk_ops, &mapped);
}
EXPORT_SYMBOL_NS_GPL(dma_buf_frames_mapped, "DMA_BUF");
