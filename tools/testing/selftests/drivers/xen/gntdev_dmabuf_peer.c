// SPDX-License-Identifier: GPL-2.0-only
/*
 * The only program of a second domain: it grants pages to the first domain and fills them.
 *
 * gntdev_dmabuf_peer serve	answers the commands of gntdev_dmabuf_domains
 * gntdev_dmabuf_peer victim	the same, in a domain that the test destroys
 * gntdev_dmabuf_peer silent	never answers
 */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "xen_util.h"
#include "peer.h"

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "serve";
	__u32 refs[1 + PEER_PAGES];
	struct peer_control *control;
	unsigned int i;
	__u64 index;
	char *view;
	int fd, ret;

	setvbuf(stdout, NULL, _IOLBF, 0);
	/* As the first process, it has to mount /dev itself. */
	if (getpid() == 1)
		mount("dev", "/dev", "devtmpfs", 0, NULL);
	fd = open(GNTALLOC, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		perror(GNTALLOC);
		return 1;
	}
	ret = gntalloc_new(fd, 0, GNTALLOC_FLAG_WRITABLE, 1 + PEER_PAGES, refs, &index);
	if (ret) {
		printf("peer: no grants: %s\n", strerror(-ret));
		return 1;
	}
	view = mmap(NULL, (1 + PEER_PAGES) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, index);
	if (view == MAP_FAILED) {
		perror("peer: mmap");
		return 1;
	}
	pattern_fill(view + PAGE, 0, PEER_PAGES, PEER_SEED);
	control = (void *)view;
	control->mode = *mode;
	control->count = PEER_PAGES;
	for (i = 0; i < PEER_PAGES; i++)
		control->refs[i] = refs[1 + i];
	peer_set(&control->magic, PEER_MAGIC);
	printf("peer: mode %s, %u pages for domain 0, references %u, %u to %u\n", mode, PEER_PAGES,
	       refs[0], refs[1], refs[PEER_PAGES]);
	if (refs[0] != PEER_FIRST_REF)
		printf("peer: the first reference has to be %u\n", PEER_FIRST_REF);
	for (;;) {
		usleep(10000);
		if (*mode == 's' && mode[1] == 'i')
			continue;
		peer_set(&control->beat, control->beat + 1);
		if (control->answered == peer_get(&control->asked))
			continue;
		if (control->command == PEER_FILL)
			pattern_fill(view + PAGE, 0, PEER_PAGES, control->seed);
		else
			control->wrong = pattern_wrong(view + PAGE, 0, PEER_PAGES, control->seed);
		peer_set(&control->answered, control->asked);
	}
}
