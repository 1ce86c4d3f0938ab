// SPDX-License-Identifier: GPL-2.0-only
/*
 * An exporter and an importer of a dma-buf for the test of forwarded mappings.
 *
 * The exporter fails where it is told to, and the importer forwards to it. The test runs
 * in user space, because it forks and it moves and splits mappings. It reads how many
 * references each file has. The header describes the requests of the test.
 *
 * The device holds spare references on all files: a double put shows as a wrong number,
 * and the kernel does not use freed memory.
 *
 * What keeps what alive: the device's file keeps all three files, the importer's file
 * keeps the buffer, the buffer keeps the backing one, and each of them struct mock. A vma
 * keeps the one file that it refers to.
 */

#include <linux/anon_inodes.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pgtable.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dma-buf-mmap-mock.h"

#define SPARE 64	/* references that the device holds on each file */

struct mock {
	struct kref ref;
	struct mutex lock;	/* for making the buffer */
	unsigned int num_pages;	/* 0: there is no buffer */
	struct page *pages[MOCK_MAX_PAGES];
	struct dma_buf *buffer;
	struct dma_buf *backing;
	struct file *files[MOCK_FILES];
	u32 fail;
	u32 flags;
	atomic_t faults;
	atomic_t failed;
	atomic_t unrestored_file;
	atomic_t unrestored_pgoff;
	atomic_t unlike_own;
	atomic_t closed;
};

static const unsigned long first_pgoff[MOCK_FILES] = {
	[MOCK_IMPORTER] = MOCK_IMPORTER_PGOFF,
	[MOCK_BUFFER] = MOCK_BUFFER_PGOFF,
	[MOCK_BACKING] = MOCK_BACKING_PGOFF,
};

/* References on the files that belong neither to the device nor to descriptors and vmas. */
static const long held_by_others[MOCK_FILES] = {
	[MOCK_BUFFER] = 1,
	[MOCK_BACKING] = 1,
};

static void mock_free(struct kref *ref)
{
	struct mock *m = container_of(ref, struct mock, ref);
	unsigned int i;

	for (i = 0; i < m->num_pages; i++)
		put_page(m->pages[i]);
	mutex_destroy(&m->lock);
	kfree(m);
}

static void mock_put(struct mock *m)
{
	kref_put(&m->ref, mock_free);
}

static const struct file_operations importer_fops;

/* Page faults: the file that the vma refers to tells where the buffer begins. */
static vm_fault_t mock_fault(struct vm_fault *vmf)
{
	struct mock *m = vmf->vma->vm_private_data;
	unsigned int i;

	/* Only a vma of the importer has no private data. */
	if (!m) {
		if (vmf->vma->vm_file->f_op != &importer_fops)
			return VM_FAULT_SIGBUS;
		m = vmf->vma->vm_file->private_data;
	}
	for (i = 0; i < MOCK_FILES; i++)
		if (vmf->vma->vm_file == m->files[i])
			break;
	if (i == MOCK_FILES || vmf->pgoff < first_pgoff[i] ||
	    vmf->pgoff - first_pgoff[i] >= m->num_pages)
		return VM_FAULT_SIGBUS;
	atomic_inc(&m->faults);
	vmf->page = m->pages[vmf->pgoff - first_pgoff[i]];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct mock_vm_ops = {
	.fault = mock_fault,
};

static void add_flags(struct vm_area_struct *vma, unsigned long flags)
{
	vm_flags_set(vma, flags);
}

/* The exporter. */
static bool unlike_own(const struct vm_area_struct *vma)
{
	return !vma->vm_ops || vma->vm_ops->close || vma->vm_private_data ||
	       vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP) ||
	       pgprot_val(vma->vm_page_prot) != pgprot_val(vm_get_page_prot(vma->vm_flags));
}

static int buffer_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	struct mock *m = dmabuf->priv;
	u32 fail = READ_ONCE(m->fail), flags = READ_ONCE(m->flags);
	unsigned long page = vma->vm_pgoff, inserted, i;
	int ret;

	if (unlike_own(vma))
		atomic_inc(&m->unlike_own);
	if (fail == MOCK_FAIL_FIRST)
		return -ENXIO;
	if (!(flags & MOCK_NO_OPS)) {
		vma->vm_ops = &mock_vm_ops;
		vma->vm_private_data = m;
	}
	if (flags & MOCK_FLAGS)
		add_flags(vma, VM_DONTDUMP);
	if (flags & MOCK_SWAP) {
		vma_set_file(vma, m->backing->file);
		vma->vm_pgoff += MOCK_BACKING_PGOFF;
	}
	inserted = flags & MOCK_NO_OPS ? vma_pages(vma) : fail == MOCK_FAIL_INSERTED;
	for (i = 0; i < inserted; i++) {
		ret = vm_insert_page(vma, vma->vm_start + i * PAGE_SIZE, m->pages[page + i]);
		if (ret)
			return ret;
	}
	return fail == MOCK_FAIL_NEVER ? 0 : -ENXIO;
}

static struct sg_table *buffer_map(struct dma_buf_attachment *attachment,
				   enum dma_data_direction direction)
{
	struct mock *m = attachment->dmabuf->priv;
	struct sg_table *table = kzalloc(sizeof(*table), GFP_KERNEL);
	int ret;

	if (!table)
		return ERR_PTR(-ENOMEM);
	ret = sg_alloc_table_from_pages(table, m->pages, m->num_pages, 0,
					m->num_pages * PAGE_SIZE, GFP_KERNEL);
	if (ret)
		goto free_table;
	ret = dma_map_sgtable(attachment->dev, table, direction, 0);
	if (!ret)
		return table;

	sg_free_table(table);
free_table:
	kfree(table);
	return ERR_PTR(ret);
}

static void buffer_unmap(struct dma_buf_attachment *attachment, struct sg_table *table,
			 enum dma_data_direction direction)
{
	dma_unmap_sgtable(attachment->dev, table, direction, 0);
	sg_free_table(table);
	kfree(table);
}

static void backing_release(struct dma_buf *dmabuf)
{
	mock_put(dmabuf->priv);
}

static void buffer_release(struct dma_buf *dmabuf)
{
	struct mock *m = dmabuf->priv;

	dma_buf_put(m->backing);
	mock_put(m);
}

static const struct dma_buf_ops buffer_ops = {
	.map_dma_buf = buffer_map,
	.unmap_dma_buf = buffer_unmap,
	.mmap = buffer_mmap,
	.release = buffer_release,
};

/* Only its file, with an address space of its own, is used. User space gets no descriptor. */
static const struct dma_buf_ops backing_ops = {
	.map_dma_buf = buffer_map,
	.unmap_dma_buf = buffer_unmap,
	.release = backing_release,
};

static struct dma_buf *mock_export(struct mock *m, const struct dma_buf_ops *ops,
				   unsigned int pages)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *dmabuf;

	info.ops = ops;
	info.size = pages * PAGE_SIZE;
	info.flags = O_RDWR | O_CLOEXEC;
	info.priv = m;
	dmabuf = dma_buf_export(&info);
	if (!IS_ERR(dmabuf))
		kref_get(&m->ref);
	return dmabuf;
}

/* The importer. */
static void importer_close(struct vm_area_struct *vma)
{
	struct mock *m = vma->vm_private_data;

	atomic_inc(&m->closed);
}

static const struct vm_operations_struct importer_vm_ops = {
	.close = importer_close,
	.fault = mock_fault,
};

static int importer_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mock *m = file->private_data;
	unsigned long pgoff = vma->vm_pgoff;
	u32 flags = READ_ONCE(m->flags);
	int ret;

	if (pgoff < MOCK_IMPORTER_PGOFF)
		return -EINVAL;
	if (!(flags & MOCK_CLEARS)) {
		vma->vm_ops = &importer_vm_ops;
		vma->vm_private_data = m;
	} else {
		vma->vm_ops = NULL;
	}
	if (flags & MOCK_FRAMES) {
		/* As drm_gem_mmap_obj() of 5.10 does. */
		add_flags(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
		vma->vm_page_prot = pgprot_writecombine(vm_get_page_prot(vma->vm_flags));
	}
	ret = dma_buf_mmap(m->buffer, vma, pgoff - MOCK_IMPORTER_PGOFF);
	if (!ret)
		return 0;
	atomic_inc(&m->failed);
	if (vma->vm_file != file)
		atomic_inc(&m->unrestored_file);
	if (vma->vm_pgoff != pgoff)
		atomic_inc(&m->unrestored_pgoff);
	if (!(flags & MOCK_FALLBACK))
		return ret;
	vma->vm_ops = &mock_vm_ops;
	vma->vm_private_data = m;
	return 0;
}

static int importer_release(struct inode *inode, struct file *file)
{
	struct mock *m = file->private_data;

	dma_buf_put(m->buffer);
	mock_put(m);
	return 0;
}

static const struct file_operations importer_fops = {
	.owner = THIS_MODULE,
	.mmap = importer_mmap,
	.release = importer_release,
};

/* The device. */
static int mock_pages(struct page **pages, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!pages[i])
			goto free_pages;
		*(u32 *)page_address(pages[i]) = i;
	}
	return 0;

free_pages:
	while (i--)
		put_page(pages[i]);
	return -ENOMEM;
}

static int mock_files(struct mock *m, unsigned int pages)
{
	struct file *importer;
	int ret;

	m->backing = mock_export(m, &backing_ops, pages);
	if (IS_ERR(m->backing))
		return PTR_ERR(m->backing);
	m->buffer = mock_export(m, &buffer_ops, pages);
	if (IS_ERR(m->buffer)) {
		ret = PTR_ERR(m->buffer);
		goto put_backing;
	}
	/* For the buffer, whose release puts it. */
	get_dma_buf(m->backing);
	importer = anon_inode_getfile("[dmabuf-mmap-mock]", &importer_fops, m,
				      O_RDWR | O_CLOEXEC);
	if (IS_ERR(importer)) {
		ret = PTR_ERR(importer);
		goto put_buffer;
	}
	/* For the importer's file, likewise. */
	get_dma_buf(m->buffer);
	kref_get(&m->ref);
	m->files[MOCK_IMPORTER] = importer;
	m->files[MOCK_BUFFER] = m->buffer->file;
	m->files[MOCK_BACKING] = m->backing->file;
	return 0;

put_buffer:
	dma_buf_put(m->buffer);
put_backing:
	dma_buf_put(m->backing);
	return ret;
}

static int mock_create(struct mock *m, struct mock_create __user *user)
{
	struct mock_create create;
	int ret, i, importer, buffer;

	if (copy_from_user(&create, user, sizeof(create)))
		return -EFAULT;
	if (!create.pages || create.pages > MOCK_MAX_PAGES)
		return -EINVAL;
	importer = get_unused_fd_flags(O_CLOEXEC);
	if (importer < 0)
		return importer;
	buffer = get_unused_fd_flags(O_CLOEXEC);
	if (buffer < 0) {
		ret = buffer;
		goto put_importer;
	}
	create.importer = importer;
	create.buffer = buffer;
	if (copy_to_user(user, &create, sizeof(create))) {
		ret = -EFAULT;
		goto put_fds;
	}

	mutex_lock(&m->lock);
	if (m->num_pages) {
		ret = -EBUSY;
		goto unlock;
	}
	ret = mock_pages(m->pages, create.pages);
	if (ret)
		goto unlock;
	ret = mock_files(m, create.pages);
	if (ret) {
		for (i = 0; i < create.pages; i++)
			put_page(m->pages[i]);
		goto unlock;
	}
	for (i = 0; i < MOCK_FILES * SPARE; i++)
		get_file(m->files[i / SPARE]);
	/* Pairs with mock_ioctl(): a reader of num_pages sees the whole buffer. */
	smp_store_release(&m->num_pages, create.pages);
	mutex_unlock(&m->lock);

	fd_install(importer, get_file(m->files[MOCK_IMPORTER]));
	fd_install(buffer, get_file(m->files[MOCK_BUFFER]));
	return 0;

unlock:
	mutex_unlock(&m->lock);
put_fds:
	put_unused_fd(buffer);
put_importer:
	put_unused_fd(importer);
	return ret;
}

static int mock_set(struct mock *m, const void __user *user)
{
	struct mock_set set;

	if (copy_from_user(&set, user, sizeof(set)))
		return -EFAULT;
	if (set.fail > MOCK_FAIL_INSERTED || set.flags & ~MOCK_ALL_FLAGS)
		return -EINVAL;
	WRITE_ONCE(m->fail, set.fail);
	WRITE_ONCE(m->flags, set.flags);
	return 0;
}

static int mock_get(struct mock *m, void __user *user)
{
	struct mock_get get = {
		.faults = atomic_read(&m->faults),
		.failed = atomic_read(&m->failed),
		.unrestored_file = atomic_read(&m->unrestored_file),
		.unrestored_pgoff = atomic_read(&m->unrestored_pgoff),
		.unlike_own = atomic_read(&m->unlike_own),
		.closed = atomic_read(&m->closed),
	};
	unsigned int i;

	for (i = 0; i < MOCK_FILES; i++) {
		struct file *file = m->files[i];

		get.refs[i] = (long)file_count(file) - held_by_others[i] - 1 - SPARE;
		get.writable[i] = atomic_read(&file->f_mapping->i_mmap_writable);
	}
	return copy_to_user(user, &get, sizeof(get)) ? -EFAULT : 0;
}

static int mock_zap(struct mock *m, const void __user *user)
{
	struct mock_zap zap;

	if (copy_from_user(&zap, user, sizeof(zap)))
		return -EFAULT;
	if (zap.file >= MOCK_FILES || !zap.pages || zap.page >= m->num_pages ||
	    zap.pages > m->num_pages - zap.page)
		return -EINVAL;
	unmap_mapping_range(m->files[zap.file]->f_mapping,
			    (loff_t)(first_pgoff[zap.file] + zap.page) << PAGE_SHIFT,
			    (loff_t)zap.pages << PAGE_SHIFT, 1);
	return 0;
}

static long mock_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mock *m = file->private_data;
	void __user *user = (void __user *)arg;

	if (cmd == MOCK_IOC_CREATE)
		return mock_create(m, user);
	/* Pairs with mock_create(). */
	if (!smp_load_acquire(&m->num_pages))
		return -ENODEV;
	switch (cmd) {
	case MOCK_IOC_SET:
		return mock_set(m, user);
	case MOCK_IOC_GET:
		return mock_get(m, user);
	case MOCK_IOC_ZAP:
		return mock_zap(m, user);
	default:
		return -ENOTTY;
	}
}

static int mock_open(struct inode *inode, struct file *file)
{
	struct mock *m = kzalloc(sizeof(*m), GFP_KERNEL);

	if (!m)
		return -ENOMEM;
	kref_init(&m->ref);
	mutex_init(&m->lock);
	file->private_data = m;
	return 0;
}

static int mock_release(struct inode *inode, struct file *file)
{
	struct mock *m = file->private_data;
	unsigned int i;

	for (i = 0; i < MOCK_FILES && m->num_pages; i++) {
		/* After a double put there is one reference less to drop. */
		long refs = (long)file_count(m->files[i]) - held_by_others[i];

		for (refs = min(refs, 1L + SPARE); refs > 0; refs--)
			fput(m->files[i]);
	}
	mock_put(m);
	return 0;
}

static const struct file_operations mock_fops = {
	.owner = THIS_MODULE,
	.open = mock_open,
	.release = mock_release,
	.unlocked_ioctl = mock_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice mock_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = MOCK_DEVICE,
	.fops = &mock_fops,
	.mode = 0600,
};
module_misc_device(mock_device);

MODULE_DESCRIPTION("Exporter and importer for the test of forwarded dma-buf mappings");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
