// SPDX-License-Identifier: GPL-2.0-only
/*
 * Forwarded mappings of a dma-buf. Each vma of a buffer that is mapped through an
 * importer, or from an exporter that lets mappings refer to another file, holds exactly
 * one reference on exactly one file: when mapping works, when it fails before or after
 * the file was swapped, and when the mapping is forked, moved, split, merged or replaced.
 * The exporter gets each vma as from mmap() of the buffer's own file. When it takes pages
 * away from all mappings of the buffer, forwarded mappings are included.
 *
 * CONFIG_DMABUF_MMAP_MOCK builds the importer and the exporter. Its header,
 * dma-buf-mmap-mock.h, describes the requests.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dmabuf_util.h"
#include "../../kselftest_harness.h"
#include "../../../../../drivers/dma-buf/dma-buf-mmap-mock.h"

#define PAGES 8
#define STORM_SECONDS 3

static const unsigned long long first_pgoff[MOCK_FILES] = {
	[MOCK_IMPORTER] = MOCK_IMPORTER_PGOFF,
	[MOCK_BUFFER] = MOCK_BUFFER_PGOFF,
};

FIXTURE(mmap)
{
	int device;
	int fds[MOCK_FILES];
	struct mock_get before;
	size_t page;
};

FIXTURE_SETUP(mmap)
{
	struct mock_create create = { .pages = PAGES };
	int device = open("/dev/" MOCK_DEVICE, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, device)
		TH_LOG("no /dev/" MOCK_DEVICE ": is CONFIG_DMABUF_MMAP_MOCK on?");
	/* Closed last when the process ends, so that the device can correct the references. */
	self->device = fcntl(device, F_DUPFD_CLOEXEC, 200);
	ASSERT_LE(0, self->device);
	close(device);
	ASSERT_EQ(0, ioctl(self->device, MOCK_IOC_CREATE, &create));
	self->fds[MOCK_IMPORTER] = create.importer;
	self->fds[MOCK_BUFFER] = create.buffer;
	self->fds[MOCK_BACKING] = -1;
	self->page = sysconf(_SC_PAGESIZE);
	ASSERT_EQ(0, ioctl(self->device, MOCK_IOC_GET, &self->before));
	/* The references of the file descriptors; the backing file has none. */
	ASSERT_EQ(1, self->before.refs[MOCK_IMPORTER]);
	ASSERT_EQ(1, self->before.refs[MOCK_BUFFER]);
	ASSERT_EQ(0, self->before.refs[MOCK_BACKING]);
}

FIXTURE_TEARDOWN(mmap)
{
	close(self->fds[MOCK_IMPORTER]);
	close(self->fds[MOCK_BUFFER]);
	close(self->device);
}

static struct mock_get mock(struct _test_data_mmap *self)
{
	struct mock_get get;

	memset(&get, 0xff, sizeof(get));
	ioctl(self->device, MOCK_IOC_GET, &get);
	return get;
}

static int tell(struct _test_data_mmap *self, unsigned int fail, unsigned int flags)
{
	struct mock_set set = { .fail = fail, .flags = flags };

	return ioctl(self->device, MOCK_IOC_SET, &set);
}

static int zap(struct _test_data_mmap *self, unsigned int file, unsigned int page,
	       unsigned int pages)
{
	struct mock_zap zap = { .file = file, .page = page, .pages = pages };

	return ioctl(self->device, MOCK_IOC_ZAP, &zap);
}

static bool mapped(const void *addr)
{
	return addr != MAP_FAILED;
}

/* The address of page @page of a mapping. */
static void *at(struct _test_data_mmap *self, void *addr, unsigned int page)
{
	return (char *)addr + page * self->page;
}

/* Maps pages of the buffer through a file, at @addr or anywhere. */
static uint32_t *map_at(struct _test_data_mmap *self, void *addr, unsigned int file,
			unsigned int page, unsigned int pages)
{
	/* mmap64() because the offset may not fit into off_t. */
	return mmap64(addr, pages * self->page, PROT_READ | PROT_WRITE,
		      MAP_SHARED | (addr ? MAP_FIXED : 0), self->fds[file],
		      (off64_t)((first_pgoff[file] + page) * self->page));
}

static uint32_t *map(struct _test_data_mmap *self, unsigned int file, unsigned int page,
		     unsigned int pages)
{
	return map_at(self, NULL, file, page, pages);
}

/* The number of the buffer's page that is mapped there. */
static unsigned int seen(struct _test_data_mmap *self, uint32_t *map, unsigned int page)
{
	return __atomic_load_n((uint32_t *)at(self, map, page), __ATOMIC_RELAXED);
}

static int unmap(struct _test_data_mmap *self, uint32_t *map, unsigned int page, unsigned int pages)
{
	return munmap(at(self, map, page), pages * self->page);
}

/* How many vmas lie in the range of @pages pages from @map on. */
static int vmas(struct _test_data_mmap *self, uint32_t *map, unsigned int pages)
{
	uintptr_t start = (uintptr_t)map, end = start + pages * self->page;
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	char line[512];
	int count = 0;

	if (!maps)
		return -1;
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from < end && to > start)
			count++;
	fclose(maps);
	return count;
}

/* The files have that many more references than when the test began. */
static void expect_refs(struct __test_metadata *_metadata, struct _test_data_mmap *self,
			int line, long importer, long buffer, long backing)
{
	const long wanted[MOCK_FILES] = { importer, buffer, backing };
	struct mock_get now = mock(self);
	unsigned int i;

	for (i = 0; i < MOCK_FILES; i++) {
		EXPECT_EQ(wanted[i], now.refs[i] - self->before.refs[i])
			TH_LOG("file %u, from line %d", i, line);
		/* Without a vma there is no writable mapping. */
		if (wanted[i] > 0)
			continue;
		EXPECT_EQ(self->before.writable[i], now.writable[i])
			TH_LOG("file %u, from line %d", i, line);
	}
}

#define EXPECT_REFS(importer, buffer, backing)					\
	expect_refs(_metadata, self, __LINE__, importer, buffer, backing)

/* That file has the references, and no other file has any. */
static void expect_refs_on(struct __test_metadata *_metadata, struct _test_data_mmap *self,
			   int line, unsigned int file, long count)
{
	expect_refs(_metadata, self, line, file == MOCK_IMPORTER ? count : 0,
		    file == MOCK_BUFFER ? count : 0, file == MOCK_BACKING ? count : 0);
}

#define EXPECT_REFS_ON(file, count)						\
	expect_refs_on(_metadata, self, __LINE__, file, count)

/* The file that a mapping refers to. */
static unsigned int holder(unsigned int flags)
{
	return flags & MOCK_SWAP ? MOCK_BACKING : MOCK_BUFFER;
}

/* Each way of mapping: through the importer's file or the buffer's, swapped or not. */
static bool a_way(unsigned int way, unsigned int *file, unsigned int *flags)
{
	*file = way & 1 ? MOCK_BUFFER : MOCK_IMPORTER;
	*flags = way & 2 ? MOCK_SWAP : 0;
	return way < 4;
}

TEST_F(mmap, a_vma_holds_one_file)
{
	unsigned int way, file, flags;
	uint32_t *addr;

	for (way = 0; a_way(way, &file, &flags); way++) {
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags));
		addr = map(self, file, 2, 3);
		ASSERT_TRUE(mapped(addr));
		EXPECT_REFS_ON(holder(flags), 1);
		EXPECT_EQ(1, mock(self).writable[holder(flags)]);
		EXPECT_EQ(2, seen(self, addr, 0));
		EXPECT_EQ(4, seen(self, addr, 2));
		EXPECT_EQ(0, unmap(self, addr, 0, 3));
		EXPECT_REFS(0, 0, 0);
	}
}

TEST_F(mmap, the_mapping_outlasts_the_file_descriptors)
{
	unsigned int way, file, flags, i;
	uint32_t *addr[4];

	for (way = 0; a_way(way, &file, &flags); way++) {
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags));
		addr[way] = map(self, file, way, 2);
		ASSERT_TRUE(mapped(addr[way]));
	}
	EXPECT_EQ(0, close(self->fds[MOCK_IMPORTER]));
	EXPECT_EQ(0, close(self->fds[MOCK_BUFFER]));
	EXPECT_REFS(-1, 2 - 1, 2);
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(i, seen(self, addr[i], 0));
		EXPECT_EQ(i + 1, seen(self, addr[i], 1));
	}
	/* Close the device as well, which holds all the files. */
	EXPECT_EQ(0, close(self->device));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, madvise(addr[i], 2 * self->page, MADV_DONTNEED));
		EXPECT_EQ(i, seen(self, addr[i], 0));
		EXPECT_EQ(i + 1, seen(self, addr[i], 1));
		EXPECT_EQ(0, unmap(self, addr[i], 0, 2));
	}
}

/* Five failures in a row neither add nor drop a reference, in each way of mapping. */
static void failing(struct __test_metadata *_metadata, struct _test_data_mmap *self,
		    unsigned int fail)
{
	unsigned int way, file, flags, i;
	uint32_t *addr;

	for (way = 0; a_way(way, &file, &flags); way++) {
		ASSERT_EQ(0, tell(self, fail, flags));
		for (i = 0; i < 5; i++) {
			errno = 0;
			ASSERT_FALSE(mapped(map(self, file, i, 2)));
			EXPECT_EQ(ENXIO, errno);
		}
		EXPECT_REFS(0, 0, 0);
		/* The next mapping is not affected. */
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags));
		addr = map(self, file, 1, 2);
		ASSERT_TRUE(mapped(addr));
		EXPECT_EQ(1, seen(self, addr, 0));
		EXPECT_EQ(0, unmap(self, addr, 0, 2));
		EXPECT_REFS(0, 0, 0);
	}
}

TEST_F(mmap, exporter_fails_before_it_swaps)
{
	failing(_metadata, self, MOCK_FAIL_FIRST);
}

TEST_F(mmap, exporter_fails_after_it_swapped)
{
	failing(_metadata, self, MOCK_FAIL_SWAPPED);
}

TEST_F(mmap, exporter_fails_with_a_page_inserted)
{
	failing(_metadata, self, MOCK_FAIL_INSERTED);
}

TEST_F(mmap, failed_forwarding_restores_file_and_offset)
{
	unsigned int fail, flags, count = 0;
	struct mock_get get;

	for (flags = 0; flags <= MOCK_SWAP; flags += MOCK_SWAP) {
		for (fail = MOCK_FAIL_FIRST; fail <= MOCK_FAIL_INSERTED; fail++) {
			ASSERT_EQ(0, tell(self, fail, flags));
			ASSERT_FALSE(mapped(map(self, MOCK_IMPORTER, 3, 2)));
			count++;
		}
	}
	get = mock(self);
	EXPECT_EQ(count, get.failed);
	EXPECT_EQ(0, get.unrestored_file);
	EXPECT_EQ(0, get.unrestored_pgoff);
	EXPECT_REFS(0, 0, 0);
}

/* If the exporter fails, an importer may map by itself. The mapping is then the importer's. */
TEST_F(mmap, importer_falls_back_to_its_own_mapping)
{
	unsigned int fail, flags, faults;
	uint32_t *addr;

	for (flags = 0; flags <= MOCK_SWAP; flags += MOCK_SWAP) {
		for (fail = MOCK_FAIL_FIRST; fail <= MOCK_FAIL_SWAPPED; fail++) {
			ASSERT_EQ(0, tell(self, fail, flags | MOCK_FALLBACK));
			addr = map(self, MOCK_IMPORTER, 3, 2);
			ASSERT_TRUE(mapped(addr));
			EXPECT_REFS(1, 0, 0);
			ASSERT_EQ(0, mock(self).unrestored_file);
			ASSERT_EQ(0, mock(self).unrestored_pgoff);
			EXPECT_EQ(3, seen(self, addr, 0));
			EXPECT_EQ(4, seen(self, addr, 1));
			faults = mock(self).faults;
			ASSERT_EQ(0, zap(self, MOCK_BUFFER, 0, PAGES));
			ASSERT_EQ(0, zap(self, MOCK_BACKING, 0, PAGES));
			EXPECT_EQ(3, seen(self, addr, 0));
			EXPECT_EQ(faults, mock(self).faults);
			ASSERT_EQ(0, zap(self, MOCK_IMPORTER, 3, 1));
			EXPECT_EQ(3, seen(self, addr, 0));
			EXPECT_EQ(4, seen(self, addr, 1));
			EXPECT_EQ(faults + 1, mock(self).faults);
			EXPECT_EQ(0, unmap(self, addr, 0, 2));
			EXPECT_REFS(0, 0, 0);
		}
	}
}

TEST_F(mmap, too_much_is_refused_and_nothing_changed)
{
	struct mock_get get;

	errno = 0;
	EXPECT_FALSE(mapped(map(self, MOCK_IMPORTER, 0, PAGES + 1)));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_FALSE(mapped(map(self, MOCK_IMPORTER, PAGES - 1, 2)));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_FALSE(mapped(map(self, MOCK_IMPORTER, PAGES, 1)));
	EXPECT_EQ(EINVAL, errno);
	errno = 0;
	EXPECT_FALSE(mapped(map(self, MOCK_BUFFER, PAGES - 1, 2)));
	EXPECT_EQ(EINVAL, errno);
	get = mock(self);
	EXPECT_EQ(3, get.failed);
	EXPECT_EQ(0, get.unrestored_file);
	EXPECT_EQ(0, get.unrestored_pgoff);
	EXPECT_REFS(0, 0, 0);
}

TEST_F(mmap, fork_holds_the_file_once_more)
{
	unsigned int way, file, flags;
	uint32_t *addr;
	int status;
	pid_t pid;

	for (way = 0; a_way(way, &file, &flags); way++) {
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags));
		addr = map(self, file, 1, 2);
		ASSERT_TRUE(mapped(addr));
		EXPECT_EQ(1, seen(self, addr, 0));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct mock_get get = mock(self);

			/* fork() has copied the table of file descriptors: they count twice. */
			_exit(get.refs[holder(flags)] -
			      self->before.refs[holder(flags)] * 2 != 2 ||
			      seen(self, addr, 1) != 2);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_REFS_ON(holder(flags), 1);
		EXPECT_EQ(0, unmap(self, addr, 0, 2));
		EXPECT_REFS(0, 0, 0);
	}
}

TEST_F(mmap, mremap_moves_grows_and_shrinks)
{
	unsigned int way, file, flags;
	uint32_t *addr, *place;

	for (way = 0; a_way(way, &file, &flags); way++) {
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags));
		addr = map(self, file, 1, 2);
		ASSERT_TRUE(mapped(addr));
		place = mmap(NULL, 4 * self->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_TRUE(mapped(place));
		addr = mremap(addr, 2 * self->page, 2 * self->page,
			      MREMAP_MAYMOVE | MREMAP_FIXED, place);
		ASSERT_TRUE(addr == place);
		EXPECT_REFS_ON(holder(flags), 1);
		EXPECT_EQ(1, seen(self, addr, 0));
		EXPECT_EQ(2, seen(self, addr, 1));
		addr = mremap(addr, 2 * self->page, 4 * self->page, MREMAP_MAYMOVE);
		ASSERT_TRUE(mapped(addr));
		EXPECT_REFS_ON(holder(flags), 1);
		EXPECT_EQ(4, seen(self, addr, 3));
		addr = mremap(addr, 4 * self->page, self->page, 0);
		ASSERT_TRUE(mapped(addr));
		EXPECT_REFS_ON(holder(flags), 1);
		EXPECT_EQ(1, seen(self, addr, 0));
		EXPECT_EQ(0, unmap(self, addr, 0, 1));
		EXPECT_REFS(0, 0, 0);
		/* Unmap what is left of the place; the mapping may have moved on. */
		munmap(place, 4 * self->page);
	}
}

TEST_F(mmap, each_part_of_a_split_holds_the_file)
{
	unsigned int way, file, flags;
	uint32_t *addr;

	for (way = 0; a_way(way, &file, &flags); way++) {
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags));
		addr = map(self, file, 0, 5);
		ASSERT_TRUE(mapped(addr));
		/* Make a hole in the middle. */
		ASSERT_EQ(0, unmap(self, addr, 2, 1));
		EXPECT_REFS_ON(holder(flags), 2);
		EXPECT_EQ(1, seen(self, addr, 1));
		EXPECT_EQ(3, seen(self, addr, 3));
		/* Change the permissions of the first page, */
		ASSERT_EQ(0, mprotect(addr, self->page, PROT_READ));
		EXPECT_REFS_ON(holder(flags), 3);
		EXPECT_EQ(3, vmas(self, addr, 5));
		/* and restore them. */
		ASSERT_EQ(0, mprotect(addr, self->page, PROT_READ | PROT_WRITE));
		EXPECT_REFS_ON(holder(flags), vmas(self, addr, 5));
		EXPECT_EQ(0, unmap(self, addr, 0, 2));
		EXPECT_REFS_ON(holder(flags), 1);
		EXPECT_EQ(0, unmap(self, addr, 3, 2));
		EXPECT_REFS(0, 0, 0);
	}
}

TEST_F(mmap, a_mapping_over_another_takes_its_place)
{
	unsigned int way, file, flags;
	uint32_t *addr;

	for (way = 0; a_way(way, &file, &flags); way++) {
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags));
		addr = map(self, file, 0, 4);
		ASSERT_TRUE(mapped(addr));
		ASSERT_TRUE(map_at(self, addr, MOCK_IMPORTER, 4, 4) == addr);
		EXPECT_REFS_ON(holder(flags), 1);
		EXPECT_EQ(5, seen(self, addr, 1));
		/* A failing one may leave the old mapping; each vma holds one reference. */
		ASSERT_EQ(0, tell(self, MOCK_FAIL_SWAPPED, flags));
		ASSERT_FALSE(mapped(map_at(self, addr, MOCK_IMPORTER, 0, 4)));
		EXPECT_REFS_ON(holder(flags), vmas(self, addr, 4));
		unmap(self, addr, 0, 4);
		EXPECT_REFS(0, 0, 0);
	}
}

TEST_F(mmap, merged_mappings_hold_what_they_show)
{
	unsigned int way, file, other, flags;
	uint32_t *addr;

	for (way = 0; a_way(way, &file, &flags); way++) {
		other = file == MOCK_BUFFER ? MOCK_IMPORTER : MOCK_BUFFER;
		/* If the flags change, older kernels try another merge after the handler. */
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags | MOCK_FLAGS));
		addr = mmap(NULL, 6 * self->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_TRUE(mapped(addr));
		ASSERT_TRUE(map_at(self, addr, file, 0, 2) == addr);
		ASSERT_TRUE(mapped(map_at(self, at(self, addr, 2), file, 2, 2)));
		ASSERT_TRUE(mapped(map_at(self, at(self, addr, 4), other, 4, 2)));
		EXPECT_REFS_ON(holder(flags), vmas(self, addr, 6));
		EXPECT_EQ(0, seen(self, addr, 0));
		EXPECT_EQ(3, seen(self, addr, 3));
		EXPECT_EQ(5, seen(self, addr, 5));
		EXPECT_EQ(0, unmap(self, addr, 0, 6));
		EXPECT_REFS(0, 0, 0);
	}
}

/* Aliases of page 3: @pages[i] of addr[i]. All have been touched. */
struct alias {
	uint32_t *addr;
	unsigned int page;
};

static bool all_are_page_3(struct _test_data_mmap *self, const struct alias *aliases,
			   unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		if (seen(self, aliases[i].addr, aliases[i].page) != 3)
			return false;
	return true;
}

TEST_F(mmap, unmap_mapping_range_finds_every_alias)
{
	unsigned int flags, faults;
	struct alias aliases[5];
	uint32_t *addr, *place;
	int status;
	pid_t pid;

	for (flags = 0; flags <= MOCK_SWAP; flags += MOCK_SWAP) {
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags));
		/* Through the buffer's file, the whole buffer; */
		addr = map(self, MOCK_BUFFER, 0, PAGES);
		ASSERT_TRUE(mapped(addr));
		aliases[0] = (struct alias){ addr, 3 };
		/* through the importer's file, the whole buffer; */
		addr = map(self, MOCK_IMPORTER, 0, PAGES);
		ASSERT_TRUE(mapped(addr));
		aliases[1] = (struct alias){ addr, 3 };
		/* through the importer's file, from another page on; */
		addr = map(self, MOCK_IMPORTER, 2, 4);
		ASSERT_TRUE(mapped(addr));
		aliases[2] = (struct alias){ addr, 1 };
		/* moved; */
		addr = map(self, MOCK_IMPORTER, 3, 2);
		ASSERT_TRUE(mapped(addr));
		place = mmap(NULL, 2 * self->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_TRUE(mapped(place));
		addr = mremap(addr, 2 * self->page, 2 * self->page,
			      MREMAP_MAYMOVE | MREMAP_FIXED, place);
		ASSERT_TRUE(addr == place);
		aliases[3] = (struct alias){ addr, 0 };
		/* split, the second part. */
		addr = map(self, MOCK_IMPORTER, 1, 4);
		ASSERT_TRUE(mapped(addr));
		ASSERT_EQ(0, unmap(self, addr, 1, 1));
		aliases[4] = (struct alias){ addr, 2 };

		EXPECT_TRUE(all_are_page_3(self, aliases, 5));
		EXPECT_EQ(4, seen(self, aliases[1].addr, 4));
		faults = mock(self).faults;
		EXPECT_TRUE(all_are_page_3(self, aliases, 5));
		EXPECT_EQ(faults, mock(self).faults);

		/* Zap the importer's file, which has none of them, and the pages beside page 3. */
		ASSERT_EQ(0, zap(self, MOCK_IMPORTER, 0, PAGES));
		ASSERT_EQ(0, zap(self, holder(flags), 2, 1));
		ASSERT_EQ(0, zap(self, holder(flags), 4, PAGES - 4));
		EXPECT_TRUE(all_are_page_3(self, aliases, 5));
		EXPECT_EQ(faults, mock(self).faults);

		ASSERT_EQ(0, zap(self, holder(flags), 3, 1));
		EXPECT_TRUE(all_are_page_3(self, aliases, 5));
		EXPECT_EQ(faults + 5, mock(self).faults);

		/* A child has its own page tables. */
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			bool right = all_are_page_3(self, aliases, 5);

			faults = mock(self).faults;
			right &= !zap(self, holder(flags), 3, 1);
			right &= all_are_page_3(self, aliases, 5);
			right &= mock(self).faults == faults + 5;
			_exit(!right);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		faults = mock(self).faults;
		EXPECT_TRUE(all_are_page_3(self, aliases, 5));
		EXPECT_EQ(faults + 5, mock(self).faults);

		EXPECT_EQ(0, unmap(self, aliases[0].addr, 0, PAGES));
		EXPECT_EQ(0, unmap(self, aliases[1].addr, 0, PAGES));
		EXPECT_EQ(0, unmap(self, aliases[2].addr, 0, 4));
		EXPECT_EQ(0, unmap(self, aliases[3].addr, 0, 2));
		EXPECT_EQ(0, unmap(self, aliases[4].addr, 0, 4));
		EXPECT_REFS(0, 0, 0);
	}
}

/* The exporter need not know that a mapping is forwarded. */
TEST_F(mmap, exporter_gets_a_vma_as_from_its_own_file)
{
	unsigned int way, file, swap, flags;
	uint32_t *addr;

	for (flags = 0; flags <= (MOCK_FRAMES | MOCK_CLEARS); flags += MOCK_FRAMES) {
		for (way = 0; a_way(way, &file, &swap); way++) {
			ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, swap | flags));
			addr = map(self, file, 1, 2);
			ASSERT_TRUE(mapped(addr));
			EXPECT_EQ(0, unmap(self, addr, 0, 2));
		}
	}
	EXPECT_EQ(0, mock(self).unlike_own);
	EXPECT_EQ(0, mock(self).closed);
	EXPECT_REFS(0, 0, 0);
}

/* The signal that kills a process which reads there, or 0. */
static int signal_of(struct _test_data_mmap *self, uint32_t *map, unsigned int page)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		seen(self, map, page);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* An exporter may set no vm_ops: the mapping is still found where mremap() moved it. */
TEST_F(mmap, exporter_without_operations)
{
	unsigned int way, file, swap, flags;
	uint32_t *addr, *place;

	for (flags = 0; flags <= MOCK_CLEARS; flags += MOCK_CLEARS) {
		for (way = 0; a_way(way, &file, &swap); way++) {
			ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, swap | flags | MOCK_NO_OPS));
			addr = map(self, file, 2, 3);
			ASSERT_TRUE(mapped(addr));
			place = mmap(NULL, 3 * self->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
				     -1, 0);
			ASSERT_TRUE(mapped(place));
			addr = mremap(addr, 3 * self->page, 3 * self->page,
				      MREMAP_MAYMOVE | MREMAP_FIXED, place);
			ASSERT_TRUE(addr == place);
			EXPECT_EQ(3, seen(self, addr, 1));
			ASSERT_EQ(0, zap(self, holder(swap), 3, 1));
			EXPECT_EQ(2, seen(self, addr, 0));
			EXPECT_EQ(SIGBUS, signal_of(self, addr, 1));
			EXPECT_EQ(4, seen(self, addr, 2));
			EXPECT_EQ(0, unmap(self, addr, 0, 3));
			EXPECT_REFS(0, 0, 0);
		}
	}
	EXPECT_EQ(0, mock(self).closed);
}

/*
 * A real importer of the buffer: the mapping does not grow, and its handle may be closed at any
 * time. vgem does not tell the offset of an import, but it is the offset of the last buffer.
 */
struct closer {
	int vgem;
	int buffer;
	bool stop;
};

static int vgem_offset(int vgem, size_t size, uint64_t *offset)
{
	struct drm_mode_create_dumb create = { .width = size / 4, .height = 1, .bpp = 32 };
	struct drm_mode_map_dumb dumb = { 0 };
	int ret;

	if (ioctl(vgem, DRM_IOCTL_MODE_CREATE_DUMB, &create))
		return -1;
	dumb.handle = create.handle;
	ret = ioctl(vgem, DRM_IOCTL_MODE_MAP_DUMB, &dumb);
	*offset = dumb.offset;
	return gem_close(vgem, create.handle) || ret ? -1 : 0;
}

static int vgem_import(const struct closer *c, uint32_t *handle)
{
	struct drm_prime_handle prime = { .fd = c->buffer };
	int ret = ioctl(c->vgem, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime);

	*handle = prime.handle;
	return ret;
}

static void *close_and_import(void *arg)
{
	struct closer *c = arg;
	uint32_t handle;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		if (vgem_import(c, &handle))
			return (void *)1;
		gem_close(c->vgem, handle);
	}
	return NULL;
}

TEST_F(mmap, through_vgem)
{
	struct closer c = { .vgem = drm_open("vgem"), .buffer = self->fds[MOCK_BUFFER] };
	unsigned int i, worked = 0, failed = 0;
	size_t size = PAGES * self->page;
	long refs;
	uint32_t *addr, handle;
	uint64_t offset;
	pthread_t thread;
	void *ret;

	ASSERT_LE(0, c.vgem)
		TH_LOG("no device of vgem: is CONFIG_DRM_VGEM on?");
	ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, 0));
	ASSERT_EQ(0, vgem_offset(c.vgem, size, &offset));
	ASSERT_EQ(0, vgem_import(&c, &handle));
	refs = mock(self).refs[MOCK_BUFFER];
	addr = mmap64(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, c.vgem, offset);
	if (!mapped(addr) && errno == EINVAL)
		SKIP(return, "vgem does not map imports");
	ASSERT_TRUE(mapped(addr));
	EXPECT_EQ(refs + 1, mock(self).refs[MOCK_BUFFER]);
	EXPECT_EQ(3, seen(self, addr, 3));
	EXPECT_FALSE(mapped(mremap(addr, size, size + self->page, MREMAP_MAYMOVE)));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, unmap(self, addr, 0, PAGES));
	EXPECT_EQ(0, gem_close(c.vgem, handle));
	EXPECT_REFS(0, 0, 0);

	ASSERT_EQ(0, pthread_create(&thread, NULL, close_and_import, &c));
	for (i = 0; i < 100000 && (i < 2000 || !worked || !failed); i++) {
		addr = mmap64(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, c.vgem, offset);
		if (mapped(addr)) {
			worked++;
			unmap(self, addr, 0, PAGES);
		} else {
			failed++;
		}
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_TRUE(!ret);
	EXPECT_LT(0, worked);
	EXPECT_LT(0, failed);
	close(c.vgem);
	EXPECT_REFS(0, 0, 0);
}

struct storm {
	struct _test_data_mmap *self;
	bool stop;
	unsigned long mapped;
	unsigned long failed;
};

static bool stopped(struct storm *storm)
{
	return __atomic_load_n(&storm->stop, __ATOMIC_RELAXED);
}

static void *storm_maps(void *arg)
{
	struct storm *storm = arg;
	struct _test_data_mmap *self = storm->self;
	unsigned long mapped = 0, failed = 0;
	unsigned int i, file;
	uint32_t *addr;

	for (i = 0; !stopped(storm); i++) {
		file = i & 1 ? MOCK_IMPORTER : MOCK_BUFFER;
		addr = map(self, file, i % 4, 4);
		if (addr == MAP_FAILED) {
			failed++;
			continue;
		}
		mapped++;
		if (seen(self, addr, 1) != i % 4 + 1)
			abort();
		unmap(self, addr, 1, 2);
		unmap(self, addr, 0, 4);
	}
	__atomic_fetch_add(&storm->mapped, mapped, __ATOMIC_RELAXED);
	__atomic_fetch_add(&storm->failed, failed, __ATOMIC_RELAXED);
	return NULL;
}

static void *storm_tells(void *arg)
{
	struct storm *storm = arg;
	unsigned int i;

	for (i = 0; !stopped(storm); i++) {
		tell(storm->self, i % (MOCK_FAIL_INSERTED + 1), i / 5 & 1 ? MOCK_SWAP : 0);
		zap(storm->self, i % MOCK_FILES, 0, PAGES);
		sched_yield();
	}
	return NULL;
}

TEST_F(mmap, many_at_once_leave_nothing)
{
	struct storm storm = { .self = self };
	pthread_t threads[4];
	int status, forks = 0;
	unsigned int i;
	time_t end;
	pid_t pid;

	/* On a kernel that fails here, the storm would only do damage. */
	ASSERT_EQ(0, tell(self, MOCK_FAIL_SWAPPED, MOCK_SWAP));
	ASSERT_FALSE(mapped(map(self, MOCK_IMPORTER, 0, 1)));
	ASSERT_FALSE(mapped(map(self, MOCK_BUFFER, 0, 1)));
	ASSERT_EQ(self->before.refs[MOCK_BUFFER], mock(self).refs[MOCK_BUFFER]);
	ASSERT_EQ(self->before.refs[MOCK_BACKING], mock(self).refs[MOCK_BACKING]);

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, i ? storm_maps : storm_tells,
					    &storm));
	end = time(NULL) + STORM_SECONDS;
	while (time(NULL) < end) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(0);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		forks++;
	}
	__atomic_store_n(&storm.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_LT(0, forks);
	EXPECT_LT(0, storm.mapped);
	EXPECT_LT(0, storm.failed);
	EXPECT_EQ(0, mock(self).unrestored_file);
	EXPECT_EQ(0, mock(self).unrestored_pgoff);
	EXPECT_REFS(0, 0, 0);
}

/* Without the patch this is a kernel BUG, so it comes after the other tests of the device. */
TEST_F(mmap, importer_that_maps_frames_forwards_to_one_that_maps_pages)
{
	unsigned int flags, page;
	uint32_t *addr;

	for (flags = 0; flags <= MOCK_CLEARS; flags += MOCK_CLEARS) {
		ASSERT_EQ(0, tell(self, MOCK_FAIL_NEVER, flags | MOCK_NO_OPS | MOCK_FRAMES));
		addr = map(self, MOCK_IMPORTER, 0, PAGES);
		ASSERT_TRUE(mapped(addr));
		for (page = 0; page < PAGES; page++)
			EXPECT_EQ(page, seen(self, addr, page));
		EXPECT_REFS(0, 1, 0);
		EXPECT_EQ(0, unmap(self, addr, 0, PAGES));
		EXPECT_REFS(0, 0, 0);
	}
}

TEST_HARNESS_MAIN
