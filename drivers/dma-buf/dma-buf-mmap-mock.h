/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The requests of the test of forwarded mappings to its exporter and importer,
 * /dev/dmabuf_mmap_mock. It is no ABI: the test is built from the same tree.
 *
 * An open file of the device represents one buffer with three files:
 *
 * - the importer's, whose mmap handler forwards to the buffer,
 * - the buffer's own, that of the dma-buf,
 * - a backing file of the exporter, which can be told to let a mapping refer to that
 *   instead, as graphics drivers do with the shmem file that has the pages.
 *
 * A page has a different offset in each file, as it has in drivers. Page N of the buffer
 * begins with the number N.
 */

#ifndef DMA_BUF_MMAP_MOCK_H
#define DMA_BUF_MMAP_MOCK_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MOCK_DEVICE "dmabuf_mmap_mock"
#define MOCK_MAX_PAGES 64

enum mock_file {
	MOCK_IMPORTER,
	MOCK_BUFFER,
	MOCK_BACKING,
	MOCK_FILES,
};

/* The offset of the buffer's first page in each of them, in pages. */
#define MOCK_IMPORTER_PGOFF 0x100000
#define MOCK_BUFFER_PGOFF 0
#define MOCK_BACKING_PGOFF 0x200

/* When the exporter's mmap handler fails, with ENXIO. */
enum mock_fail {
	MOCK_FAIL_NEVER,
	MOCK_FAIL_FIRST,	/* before it changes anything */
	MOCK_FAIL_SWAPPED,	/* after it has swapped the file and the offset */
	MOCK_FAIL_INSERTED,	/* after it has also put a page into the page table */
};

#define MOCK_SWAP	0x1	/* the exporter lets mappings refer to the backing file */
#define MOCK_FALLBACK	0x2	/* the importer maps by itself if forwarding fails */
#define MOCK_FLAGS	0x4	/* the exporter changes the flags of the vma */
#define MOCK_NO_OPS	0x10	/* the exporter maps all pages at once, without operations */
#define MOCK_FRAMES	0x20	/* the importer sets the vma up for page frames first */
#define MOCK_CLEARS	0x40	/* the importer removes its vm_operations first */
#define MOCK_ALL_FLAGS	0x7f

/* Makes the buffer. EBUSY: it exists already. EINVAL: no pages, or too many. */
struct mock_create {
	__u32 pages;
	__s32 importer;		/* out: file descriptors */
	__s32 buffer;
};

struct mock_set {
	__u32 fail;		/* enum mock_fail; out of range: EINVAL, nothing changes */
	__u32 flags;
};

struct mock_get {
	/* References on the files without the device's own: those of descriptors and vmas. */
	__s64 refs[MOCK_FILES];
	/* Shared mappings that may write, as the files' address spaces count them. */
	__s32 writable[MOCK_FILES];
	__u32 faults;		/* how many page faults were served */
	__u32 failed;		/* how often dma_buf_mmap() failed */
	__u32 unrestored_file;	/* how often the vma had another file after that */
	__u32 unrestored_pgoff;	/* how often it had another offset */
	__u32 unlike_own;	/* vmas that differed from those of mmap() of the buffer's file */
	__u32 closed;		/* calls of close() of the importer's vm_operations */
	__u32 pad;		/* the same size for 32-bit programs */
};

/* unmap_mapping_range() on the address space of a file. */
struct mock_zap {
	__u32 file;		/* enum mock_file */
	__u32 page;		/* of the buffer */
	__u32 pages;
};

#define MOCK_IOC_CREATE	_IOWR('~', 0, struct mock_create)
#define MOCK_IOC_SET	_IOW('~', 1, struct mock_set)
#define MOCK_IOC_GET	_IOR('~', 2, struct mock_get)
#define MOCK_IOC_ZAP	_IOW('~', 3, struct mock_zap)

#endif /* DMA_BUF_MMAP_MOCK_H */
