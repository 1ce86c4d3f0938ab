/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The protocol between gntdev_dmabuf_peer in a second domain and gntdev_dmabuf_domains in the
 * first. Its only channel is one page, the first that the second domain grants. The reference of
 * that page is the first one that gntalloc allocates in a new domain.
 */

#ifndef XEN_PEER_H
#define XEN_PEER_H

#include <linux/types.h>

#define PEER_FIRST_REF 8
#define PEER_MAGIC 0x50454552
#define PEER_PAGES 272		/* granted in addition to the control page: more than 1 MiB */
#define PEER_SEED 0xd0d0

/* Commands of the first domain. */
enum peer_command {
	PEER_CHECK,		/* count the pages without the pattern of @seed */
	PEER_FILL,		/* fill all pages with the pattern of @seed */
};

struct peer_control {
	__u32 magic;		/* written last, before the first command */
	__u32 mode;		/* the first letter of the mode */
	__u32 count;
	__u32 refs[PEER_PAGES];
	__u32 command, seed;
	__u32 asked;		/* counts the commands */
	__u32 answered;
	__u32 wrong;		/* wrong pages, the answer to PEER_CHECK */
	__u32 beat;		/* counts while the second domain is alive */
};

/* Both are ordered with all other reads and writes. */
static inline __u32 peer_get(const __u32 *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void peer_set(__u32 *word, __u32 value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

#endif /* XEN_PEER_H */
