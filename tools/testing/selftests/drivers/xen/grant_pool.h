/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages that the domain grants to itself, for a whole program. A constructor makes them before the
 * first test, and skips the program if its tests cannot run. Where a granter loses a page that it
 * maps, each test has to take new pages, and a process that never ends has to hold them.
 */

#ifndef GRANT_POOL_H
#define GRANT_POOL_H

#include <sys/mman.h>

#include "xen_util.h"

#define POOL_MAX 8192
#define POOL_PIECE 256

static struct pool {
	int domid;
	unsigned int count;
	unsigned int used;	/* by finished tests */
	__u32 refs[POOL_MAX];
} *pool;

static inline void skip_all(const char *why)
{
	printf("TAP version 13\n1..0 # SKIP %s\n", why);
	exit(KSFT_SKIP);
}

static inline void keep_for_ever(int fd)
{
	int i;

	if (fork())
		return;
	setsid();
	for (i = 0; i < 1024; i++)
		if (i != fd)
			close(i);
	for (;;)
		pause();
}

static inline void pool_make(unsigned int size)
{
	unsigned long limit;
	int fd, ret;

	if (access(GNTDEV, R_OK | W_OK))
		skip_all("no " GNTDEV ": not in a Xen domain, or CONFIG_XEN_GNTDEV is off");
	if (access(GNTALLOC, R_OK | W_OK))
		skip_all("no " GNTALLOC ": is CONFIG_XEN_GRANT_DEV_ALLOC on?");
	if (!strcmp(xen_guest_type(), "PV"))
		skip_all("a PV domain: see gntdev_dmabuf_pv");
	if (sysconf(_SC_PAGESIZE) != PAGE)
		skip_all("Xen's pages are of another size than the kernel's");
	pool = mmap(NULL, sizeof(*pool), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fd = open(GNTALLOC, O_RDWR | O_CLOEXEC);
	if (pool == MAP_FAILED || fd < 0) {
		perror(GNTALLOC);
		exit(KSFT_FAIL);
	}
	/* Without hypercalls from user space the ID is unknown: assume 0. */
	pool->domid = xen_own_domid();
	if (pool->domid < 0)
		pool->domid = 0;
	if (!file_number(GNTALLOC_LIMIT, &limit) && limit < size + POOL_PIECE)
		file_put(GNTALLOC_LIMIT, size + POOL_PIECE);
	/* In pieces: the kernel allocates a contiguous array for each request. */
	while (pool->count < size) {
		unsigned int piece = size - pool->count < POOL_PIECE ? size - pool->count :
								       POOL_PIECE;

		ret = gntalloc_new(fd, pool->domid, GNTALLOC_FLAG_WRITABLE, piece,
				   pool->refs + pool->count, NULL);
		if (ret) {
			printf("# %u grants and no more: %s\n", pool->count, strerror(-ret));
			break;
		}
		pool->count += piece;
	}
	if (own_grant_loses_page())
		keep_for_ever(fd);
}

/* @count references, of pages that no test has mapped before if maps lose pages. */
static inline const __u32 *take_refs(unsigned int count)
{
	static unsigned int used_here;	/* each test runs in its own process */
	unsigned int *used = own_grant_loses_page() ? &pool->used : &used_here;
	const __u32 *refs = pool->refs + *used;

	if (*used + count > pool->count)
		return NULL;
	*used += count;
	return refs;
}

#endif /* GRANT_POOL_H */
