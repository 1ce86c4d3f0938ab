// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/dmabuf/caps: what user space can do with a dma-buf file descriptor.
 *
 * Each file stands for one capability and contains "1". It exists if and only if
 * this kernel has the capability. So a client need not compare the release of the
 * kernel, which is wrong for a backport, or try on a buffer, which it may not have
 * yet. Files are only ever added.
 */

#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/sysfs.h>

static ssize_t sync_file_import_export_show(struct kobject *kobj,
					    struct kobj_attribute *attr,
					    char *buf)
{
	return sysfs_emit(buf, "1\n");
}

static struct kobj_attribute sync_file_import_export =
	__ATTR_RO(sync_file_import_export);

static struct attribute *dma_buf_caps_attrs[] = {
	&sync_file_import_export.attr,
	NULL
};

static const struct attribute_group dma_buf_caps_group = {
	.name = "caps",
	.attrs = dma_buf_caps_attrs,
};

static int __init dma_buf_caps_init(void)
{
	struct kobject *kobj;
	int ret;

	kobj = kobject_create_and_add("dmabuf", kernel_kobj);
	if (!kobj)
		return -ENOMEM;

	ret = sysfs_create_group(kobj, &dma_buf_caps_group);
	if (ret)
		kobject_put(kobj);
	return ret;
}
fs_initcall(dma_buf_caps_init);
