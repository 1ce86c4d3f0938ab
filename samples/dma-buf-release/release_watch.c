// SPDX-License-Identifier: GPL-2.0-only
/*
 * Show when the last user of a dma-buf is gone: load release_notifier.ko, then run it.
 *
 * A buffer of udmabuf is given to the module, which registers a release notifier. Two
 * users are left, a file descriptor and a mapping. The module may notice the end only
 * after both: status 0 says that it did.
 *
 * The one rule: nobody has to tell the module. Programs use the buffer as always, and
 * one that is killed counts like one that closes the buffer.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/udmabuf.h>

#define DEVICE "/dev/release_notifier"
#define RELEASED "/sys/module/release_notifier/parameters/released"
#define PAGES 4
#define MAX_MS 10000	/* for a worker to run */

static void die(const char *what)
{
	fprintf(stderr, "%s: %s (%d)\n", what, strerror(errno), errno);
	exit(1);
}

/* Buffers whose end the module has noticed, whoever had them. */
static unsigned int released(void)
{
	FILE *file = fopen(RELEASED, "re");
	unsigned int count;

	if (!file || fscanf(file, "%u", &count) != 1)
		die(RELEASED);
	fclose(file);
	return count;
}

static int create_buffer(size_t size)
{
	struct udmabuf_create create = { .size = size };
	int udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	int buffer;

	if (udmabuf < 0)
		die("/dev/udmabuf");
	create.memfd = memfd_create("buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if ((int)create.memfd < 0 || ftruncate(create.memfd, size) ||
	    fcntl(create.memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		die("memfd_create");
	buffer = ioctl(udmabuf, UDMABUF_CREATE, &create);
	if (buffer < 0)
		die("UDMABUF_CREATE");
	close(create.memfd);
	close(udmabuf);
	return buffer;
}

/* Writes "FD" to the module's device, which need not stay open. */
static void watch(int buffer)
{
	int device = open(DEVICE, O_WRONLY | O_CLOEXEC);

	if (device < 0)
		die(DEVICE ", is the module loaded?");
	if (dprintf(device, "%d", buffer) < 0)
		die("registering a release notifier");
	close(device);
}

static void show(const char *what, unsigned int count, unsigned int expected)
{
	printf("%-40s %s\n", what, count ? "released" : "in use");
	if (count != expected) {
		fprintf(stderr, "%s is expected\n", expected ? "released" : "in use");
		exit(1);
	}
}

int main(void)
{
	size_t size = PAGES * sysconf(_SC_PAGESIZE);
	int buffer = create_buffer(size), ms;
	unsigned int before;
	void *map;

	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0);
	if (map == MAP_FAILED)
		die("mmap");
	watch(buffer);
	before = released();

	close(buffer);
	usleep(100000);
	show("closed, but mapped: the buffer is", released() - before, 0);

	munmap(map, size);
	for (ms = 0; released() == before && ms < MAX_MS; ms += 10)
		usleep(10000);
	show("unmapped as well: the buffer is", released() - before, 1);
	return 0;
}
