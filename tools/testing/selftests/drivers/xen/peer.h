/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What gntdev_dmabuf_peer in a second domain and gntdev_dmabuf_domains in the first say to each
 * other: through one page, the first that the second domain grants. There is no other channel;
 * its reference is the first one that gntalloc has in a new domain.
 */

#ifndef XEN_PEER_H
#define XEN_PEER_H

#include <linux/types.h>

#define PEER_FIRST_REF 8
#define PEER_MAGIC 0x50454552
#define PEER_PAGES 272		/* granted beside the control page: more than 1 MiB */
#define PEER_SEED 0xd0d0

/* What the first domain asks for. */
enum peer_command {
	PEER_CHECK,		/* is PATTERN(seed) in all pages? */
	PEER_FILL,		/* put it there */
};

struct peer_control {
	__u32 magic;		/* last of what is written before the first command */
	__u32 mode;		/* the first letter of it */
	__u32 count;
	__u32 refs[PEER_PAGES];
	__u32 command, seed;
	__u32 asked;		/* counts the commands */
	__u32 answered;
	__u32 wrong;		/* pages, for PEER_CHECK */
	__u32 beat;		/* while the second domain is alive */
};

/* Both are in order with what else is read and written. */
static inline __u32 peer_get(const __u32 *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void peer_set(__u32 *word, __u32 value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

#endif /* XEN_PEER_H */
