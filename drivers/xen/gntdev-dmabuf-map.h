/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Grant references mapped into a dma-buf that another driver exported: the
 * interface for gntdev.c, and the backend that KUnit tests replace.
 */

#ifndef _GNTDEV_DMABUF_MAP_H
#define _GNTDEV_DMABUF_MAP_H

#include <linux/types.h>
#include <xen/grant_table.h>
#include <xen/interface/xen.h>

struct device;
struct gntdev_map_priv;

/**
 * struct gntdev_map_backend - operations of the hypervisor
 * @keeps_frames: whether the domain keeps its frames while grants are mapped over
 *	them, so that it does not have to give them back first. If so, @decrease is
 *	not called.
 * @decrease: give @nr frames back; returns how many the hypervisor took, counted
 *	from the first, or a negative errno.
 * @populate: put memory behind @nr frame numbers; returns like @decrease.
 * @map: map @nr grants at the pages' addresses; on return the status of each
 *	operation is valid. Never waits.
 * @unmap: unmap @nr grants from pages that nobody uses; on return the status of
 *	each operation is valid.
 */
struct gntdev_map_backend {
	bool (*keeps_frames)(void);
	int (*decrease)(int nr, xen_pfn_t *frames);
	int (*populate)(int nr, xen_pfn_t *frames);
	void (*map)(struct gnttab_map_grant_ref *ops, struct page **pages,
		    unsigned int nr);
	void (*unmap)(struct gnttab_unmap_grant_ref *ops, struct page **pages,
		      unsigned int nr);
};

int gntdev_map_init(void);
void gntdev_map_exit(void);
struct gntdev_map_priv *gntdev_map_open(struct device *dev);
void gntdev_map_close(struct gntdev_map_priv *priv);
long gntdev_map_ioctl(struct gntdev_map_priv *priv, unsigned int cmd,
		      void __user *arg);

#endif
