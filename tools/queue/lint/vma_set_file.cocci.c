// SPDX-License-Identifier: GPL-2.0
/* Planted for vma_set_file.cocci: mmap handlers that swap the file by hand, and correct code. */

static int shunt(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	fput(vma->vm_file);
	get_file(obj->filp);
	vma->vm_pgoff = 0;
	vma->vm_file  = obj->filp; /* reported */
	return 0;
}

static int forward(struct file *file, struct vm_area_struct *area)
{
	struct file *old = area->vm_file;
	int ret;

	area->vm_file = get_file(real_file(file)); /* reported */
	ret = call_mmap(area->vm_file, area);
	if (ret) {
		fput(area->vm_file);
		area->vm_file = old;	/* reported once for a function */
	} else {
		fput(old);
	}
	return ret;
}

static int right(struct file *file, struct vm_area_struct *vma)
{
	vma_set_file(vma, real_file(file));
	return call_mmap(vma->vm_file, vma);
}

static bool reads(struct file *file, struct vm_area_struct *vma)
{
	return vma->vm_file == file;
}

static void not_a_vma(struct record *record, struct file *file)
{
	record->vm_file = file;
}

int shmem_zero_setup(struct vm_area_struct *vma)
{
	struct file *file = shmem_kernel_file_setup("dev/zero", vma->vm_end - vma->vm_start, vma->vm_flags);

	if (vma->vm_file)
		fput(vma->vm_file);
	vma->vm_file = file;
	return 0;
}
