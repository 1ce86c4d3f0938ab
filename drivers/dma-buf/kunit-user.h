/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User memory for KUnit tests, whose threads have none of their own, and ioctls called as
 * user space calls them. For the tests in this directory.
 */

#ifndef _DMABUF_KUNIT_USER_H
#define _DMABUF_KUNIT_USER_H

#include <kunit/test.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/uaccess.h>

/* A page that is mapped until the test ends, or a negative errno. */
static unsigned long kunit_user_page(struct kunit *test)
{
	unsigned long page = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
					   PROT_READ | PROT_WRITE,
					   MAP_ANONYMOUS | MAP_PRIVATE, 0);

	return page ?: -ENOMEM;
}

/* Copies the ioctl's argument of @size bytes to @page, calls it, and copies it back. */
static long kunit_user_ioctl(struct kunit *test, unsigned long page, struct file *file,
			     unsigned int cmd, void *arg, size_t size)
{
	size_t left;
	long ret;

	left = copy_to_user((void __user *)page, arg, size);
	ret = file->f_op->unlocked_ioctl(file, cmd, page);
	left += copy_from_user(arg, (void __user *)page, size);
	KUNIT_ASSERT_EQ(test, left, (size_t)0);
	return ret;
}

/* Use it instead of kunit_test_suite(). */
#define kunit_user_test_suite(suite) kunit_test_suite(suite)

#endif
