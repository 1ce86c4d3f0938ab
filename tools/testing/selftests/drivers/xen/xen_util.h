/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers for tests of gntdev in a Xen domain, without a toolstack or a network: hypercalls
 * through privcmd, the hypervisor's counts, grants of gntalloc, a second view of granted pages,
 * and the ioctls that put them behind a dma-buf. A function that can fail returns 0 or a value,
 * or -errno; the wrappers of ioctls below return a positive errno.
 */

#ifndef XEN_UTIL_H
#define XEN_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <linux/types.h>

/* The kernel's headers use these types without defining them. */
typedef __u32 grant_ref_t;
typedef __u16 domid_t;

#include <xen/gntalloc.h>
#include <xen/gntdev.h>

#define GNTDEV "/dev/xen/gntdev"
#define GNTALLOC "/dev/xen/gntalloc"
#define GNTDEV_LIMIT "/sys/module/xen_gntdev/parameters/limit"
#define GNTALLOC_LIMIT "/sys/module/xen_gntalloc/parameters/limit"
#define PAGE 4096UL		/* Xen's page size; gntdev refuses kernels with another */

/*
 * A domain of x86 that maps its own grant permanently loses the page from its address space. The
 * content is visible only through gntdev's maps, as long as there is one, and the page must not be
 * freed.
 */
static inline bool own_grant_loses_page(void)
{
	struct utsname name;

	return !uname(&name) && (!strcmp(name.machine, "x86_64") || name.machine[0] == 'i');
}

/* Monotonic time in seconds. */
static inline double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static inline int file_number(const char *path, unsigned long *value)
{
	FILE *file = fopen(path, "re");
	int got;

	if (!file)
		return -errno;
	got = fscanf(file, "%lu", value);
	fclose(file);
	return got == 1 ? 0 : -EIO;
}

static inline int file_put(const char *path, unsigned long value)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return -errno;
	fprintf(file, "%lu\n", value);
	return fclose(file) ? -errno : 0;
}

/* The type of this domain as Linux reports it ("PV", "HVM", "PVH"), or "" outside of Xen. */
static inline const char *xen_guest_type(void)
{
	static char type[16];
	FILE *file = fopen("/sys/hypervisor/guest_type", "re");

	*type = 0;
	if (file) {
		if (fscanf(file, "%15s", type) != 1)
			*type = 0;
		fclose(file);
	}
	return type;
}

/*
 * Hypercalls. Xen uses the page tables of the caller, so its arguments have to be in pages that
 * are present and writable: one shared area that is locked and populated.
 */
#define XEN_MEMORY_OP 12
#define XEN_EVENT_CHANNEL_OP 32
#define XEN_SYSCTL 35
#define XEN_DOMCTL 36
#define XEN_AREA_SIZE (32 * PAGE)
#define XEN_DOMID_SELF 0x7ff0

struct xen_hypercall {		/* struct privcmd_hypercall, whose header does not install */
	__u64 op;
	__u64 arg[5];
};

#define XEN_IOCTL_HYPERCALL _IOC(_IOC_NONE, 'P', 0, sizeof(struct xen_hypercall))

static inline void *xen_area(void)
{
	static void *area;

	if (!area) {
		area = mmap(NULL, XEN_AREA_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
		if (area == MAP_FAILED)
			area = NULL;
	}
	if (area)
		memset(area, 0, XEN_AREA_SIZE);
	return area;
}

static inline long xen_call(unsigned int op, __u64 arg0, __u64 arg1)
{
	struct xen_hypercall call = { .op = op, .arg = { arg0, arg1 } };
	int fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -errno;
	do {
		ret = ioctl(fd, XEN_IOCTL_HYPERCALL, &call);
	} while (ret < 0 && (errno == EAGAIN || errno == EINTR));
	if (ret < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/*
 * The ID of this domain. No hypercall returns it directly, but the status of an event channel
 * that is offered to DOMID_SELF contains it.
 */
static inline int xen_own_domid(void)
{
	struct {
		__u16 dom, remote;
		__u32 port;
	} *alloc;
	struct {
		__u16 dom, pad;
		__u32 port, status, vcpu;
		__u16 remote;
	} *status;
	__u32 port;
	int domid;
	long ret;

	alloc = xen_area();
	if (!alloc)
		return -ENOMEM;
	alloc->dom = XEN_DOMID_SELF;
	alloc->remote = XEN_DOMID_SELF;
	ret = xen_call(XEN_EVENT_CHANNEL_OP, 6, (uintptr_t)alloc);
	if (ret < 0)
		return ret;
	port = alloc->port;
	status = xen_area();
	status->dom = XEN_DOMID_SELF;
	status->port = port;
	ret = xen_call(XEN_EVENT_CHANNEL_OP, 5, (uintptr_t)status);
	domid = ret < 0 ? ret : status->status == 1 ? status->remote : -EIO;
	*(__u32 *)xen_area() = port;
	xen_call(XEN_EVENT_CHANNEL_OP, 3, (uintptr_t)xen_area());
	return domid;
}

/* The number of pages that this domain has, according to the hypervisor. */
static inline long xen_current_pages(void)
{
	__u16 *domid = xen_area();

	if (!domid)
		return -ENOMEM;
	*domid = XEN_DOMID_SELF;
	return xen_call(XEN_MEMORY_OP, 3, (uintptr_t)domid);
}

/* struct xen_sysctl and struct xen_domctl: only the used parts, which are stable. */
struct xen_sysctl {
	__u32 cmd, version;
	union {
		struct {
			__u8 clear, incremental;
			__u16 pad;
			__u32 index;
			__u64 buffer;
			__u32 count;
		} readconsole;
		struct {
			__u64 keys;
			__u32 count;
		} debug_keys;
		__u64 room[32];
	};
};

struct xen_domctl {
	__u32 cmd, version;
	__u16 domid, pad[3];
	union {
		struct {
			__u16 domid, pad;
			__u32 flags;
			__u64 pages;
		} info;
		__u64 room[32];
	};
};

#define XEN_SYSCTL_READCONSOLE 1
#define XEN_SYSCTL_DEBUG_KEYS 7
#define XEN_DOMCTL_DESTROYDOMAIN 2
#define XEN_DOMCTL_GETDOMAININFO 5
#define XEN_DOMINF_DYING 1

/* Xen 4.17 uses version 0x15 for both. Other versions are found by trying them. */
static inline long xen_versioned(unsigned int op, __u32 *version, void *arg)
{
	static __u32 known[64];
	long ret = -EACCES;
	__u32 v;

	if (known[op]) {
		*version = known[op];
		return xen_call(op, (uintptr_t)arg, 0);
	}
	for (v = 0x10; v < 0x20; v++) {
		*version = v;
		ret = xen_call(op, (uintptr_t)arg, 0);
		if (ret != -EACCES) {
			if (!ret)
				known[op] = v;
			break;
		}
	}
	return ret;
}

struct xen_dominfo {
	bool dying;
	unsigned long pages;
};

static inline int xen_domain_info(unsigned int domid, struct xen_dominfo *info)
{
	struct xen_domctl *domctl = xen_area();
	long ret;

	if (!domctl)
		return -ENOMEM;
	domctl->cmd = XEN_DOMCTL_GETDOMAININFO;
	domctl->domid = domid;
	ret = xen_versioned(XEN_DOMCTL, &domctl->version, domctl);
	if (ret)
		return ret;
	/* If this domain does not exist, Xen returns the next one. */
	if (domctl->info.domid != domid)
		return -ESRCH;
	info->dying = domctl->info.flags & XEN_DOMINF_DYING;
	info->pages = domctl->info.pages;
	return 0;
}

static inline int xen_domain_destroy(unsigned int domid)
{
	struct xen_domctl *domctl = xen_area();

	if (!domctl)
		return -ENOMEM;
	domctl->cmd = XEN_DOMCTL_DESTROYDOMAIN;
	domctl->domid = domid;
	return xen_versioned(XEN_DOMCTL, &domctl->version, domctl);
}

/* Reads the hypervisor's console from @index on and advances @index. Returns the length. */
static inline long xen_console(__u32 *index, char *text, size_t size)
{
	struct xen_sysctl *sysctl = xen_area();
	char *buffer = (char *)sysctl + PAGE;
	long ret;

	if (!sysctl)
		return -ENOMEM;
	if (size > XEN_AREA_SIZE - PAGE)
		size = XEN_AREA_SIZE - PAGE;
	sysctl->cmd = XEN_SYSCTL_READCONSOLE;
	sysctl->readconsole.incremental = 1;
	sysctl->readconsole.index = *index;
	sysctl->readconsole.buffer = (uintptr_t)buffer;
	sysctl->readconsole.count = size - 1;
	ret = xen_versioned(XEN_SYSCTL, &sysctl->version, sysctl);
	if (ret)
		return ret;
	*index = sysctl->readconsole.index;
	memcpy(text, buffer, sysctl->readconsole.count);
	text[sysctl->readconsole.count] = 0;
	return sysctl->readconsole.count;
}

static inline int xen_debug_key(char key)
{
	struct xen_sysctl *sysctl = xen_area();
	char *keys = (char *)sysctl + PAGE;

	if (!sysctl)
		return -ENOMEM;
	*keys = key;
	sysctl->cmd = XEN_SYSCTL_DEBUG_KEYS;
	sysctl->debug_keys.keys = (uintptr_t)keys;
	sysctl->debug_keys.count = 1;
	return xen_versioned(XEN_SYSCTL, &sysctl->version, sysctl);
}

#define XEN_BALLOON_KB "/sys/devices/system/xen_memory/xen_memory0/info/current_kb"

/* Counts that must be the same before and after a test. */
struct xen_usage {
	long pages;		/* pages of this domain */
	long kept;		/* those of them that the balloon driver does not hold back */
	long active;		/* grants of a domain that are mapped by any domain */
	long maptrack;		/* frames of the table of the grants that the domain maps */
};

/*
 * Pages gained or lost, except pages that the balloon driver took for stock mappings and keeps for
 * later ones (5.10 does that). A directly mapped domain still has those pages.
 */
static inline long xen_pages_lost(const struct xen_usage *before, const struct xen_usage *after)
{
	long lost = labs(before->pages - after->pages);
	long other = labs(before->pages - before->kept - after->pages + after->kept);

	return lost < other ? lost : other;
}

/*
 * Gets counts from the hypervisor; the counts of grants are those of @domid. Xen prints grants
 * only on its console, after the debug key 'g': a paragraph for each domain, with a line for each
 * of the domain's grants that is mapped.
 */
static inline int xen_usage(int domid, struct xen_usage *usage)
{
	static char text[XEN_AREA_SIZE], heading[64];
	char *line, *rest;
	unsigned long balloon;
	__u32 index = 0;
	size_t used = 0;
	bool ours = false;
	int tries;
	long got;

	memset(usage, 0xff, sizeof(*usage));
	usage->pages = xen_current_pages();
	if (usage->pages < 0)
		return usage->pages;
	usage->kept = file_number(XEN_BALLOON_KB, &balloon) ? 0 : balloon / 4;
	do {			/* skip earlier output */
		got = xen_console(&index, text, sizeof(text));
		if (got < 0)
			return got;
	} while (got);
	got = xen_debug_key('g');
	if (got < 0)
		return got;
	for (tries = 0; tries < 500; tries++) {
		got = xen_console(&index, text + used, sizeof(text) - used);
		if (got < 0)
			return got;
		used += got;
		if (strstr(text, "gnttab_usage_print_all ] done"))
			break;
		usleep(2000);
	}
	if (tries == 500)
		return -ETIMEDOUT;
	snprintf(heading, sizeof(heading), "grant-table for remote d%d ", domid);
	usage->active = 0;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *word;

		if (strstr(line, "grant-table for remote"))
			ours = strstr(line, heading);
		if (!ours)
			continue;
		word = strstr(line, "max), ");
		if (word && sscanf(word, "max), %ld maptrack", &usage->maptrack) == 1)
			continue;
		if (strstr(line, "[0x"))
			usage->active++;
	}
	return usage->maptrack < 0 ? -EIO : 0;
}

/*
 * The difference to the counts @before, in grants that are mapped and in pages of this domain.
 * Waits up to @seconds until it is 0.
 */
static inline long xen_left(int domid, const struct xen_usage *before, double seconds)
{
	double limit = now() + seconds;
	struct xen_usage after;
	long wrong;

	for (;;) {
		if (xen_usage(domid, &after))
			return -EIO;
		wrong = labs(after.active - before->active) + xen_pages_lost(before, &after);
		if (wrong && now() > limit)
			fprintf(stderr, "# mapped grants %ld, before %ld; pages %ld, before %ld\n",
				after.active, before->active, after.pages, before->pages);
		if (!wrong || now() > limit)
			return wrong;
		usleep(100000);
	}
}

static inline int gntdev_open(void)
{
	int fd = open(GNTDEV, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Grants new pages to @domid through gntalloc's @fd. @index is their offset for mmap(). */
static inline int gntalloc_new(int fd, unsigned int domid, unsigned int flags, unsigned int count,
			       __u32 *refs, __u64 *index)
{
	struct ioctl_gntalloc_alloc_gref *arg;
	int ret;

	arg = calloc(1, sizeof(*arg) + count * sizeof(__u32));
	if (!arg)
		return -ENOMEM;
	arg->domid = domid;
	arg->flags = flags;
	arg->count = count;
	ret = ioctl(fd, IOCTL_GNTALLOC_ALLOC_GREF, arg) ? -errno : 0;
	if (!ret) {
		memcpy(refs, arg->gref_ids, count * sizeof(__u32));
		if (index)
			*index = arg->index;
	}
	free(arg);
	return ret;
}

/* A second view of granted pages, through its own gntdev file, until it is closed. */
struct witness {
	int gntdev;
	unsigned int count;
	void *view;
};

static inline int witness_open(struct witness *w, unsigned int domid, const __u32 *refs,
			       unsigned int count)
{
	struct ioctl_gntdev_map_grant_ref *arg;
	unsigned int i;
	int ret;

	w->view = NULL;
	w->count = count;
	w->gntdev = gntdev_open();
	if (w->gntdev < 0)
		return w->gntdev;
	arg = calloc(1, sizeof(*arg) + count * sizeof(arg->refs[0]));
	if (!arg)
		return -ENOMEM;
	arg->count = count;
	for (i = 0; i < count; i++) {
		arg->refs[i].domid = domid;
		arg->refs[i].ref = refs[i];
	}
	ret = ioctl(w->gntdev, IOCTL_GNTDEV_MAP_GRANT_REF, arg) ? -errno : 0;
	if (!ret) {
		w->view = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, w->gntdev,
			       arg->index);
		if (w->view == MAP_FAILED) {
			w->view = NULL;
			ret = -errno;
		}
	}
	free(arg);
	return ret;
}

static inline void witness_close(struct witness *w)
{
	if (w->view)
		munmap(w->view, w->count * PAGE);
	if (w->gntdev >= 0)
		close(w->gntdev);
	w->view = NULL;
	w->gntdev = -1;
}

/* Content that differs in each word, in each page and for each @seed. */
static inline __u32 pattern_word(__u32 seed, unsigned int page, unsigned int word)
{
	return (seed * 2654435761u) ^ (page << 10 | word);
}

/*
 * Writes the pages back to memory and invalidates the cache: there are other views of the same
 * memory, some of them uncached, like mappings of a display's buffers on Arm.
 */
static inline void now_in_memory(const void *view, unsigned int first, unsigned int count)
{
	const char *start = (const char *)view + first * PAGE, *end = start + count * PAGE;

	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#ifdef __aarch64__
	unsigned long type, line;

	__asm__ volatile("mrs %0, ctr_el0" : "=r" (type));
	line = 4UL << (type >> 16 & 15);
	for (; start < end; start += line)
		__asm__ volatile("dc civac, %0" : : "r" (start) : "memory");
	__asm__ volatile("dsb sy" : : : "memory");
#else
	(void)start;
	(void)end;
#endif
}

static inline void pattern_fill(void *view, unsigned int first, unsigned int count, __u32 seed)
{
	unsigned int page, word;
	__u32 *words = view;

	for (page = first; page < first + count; page++)
		for (word = 0; word < PAGE / 4; word++)
			words[page * PAGE / 4 + word] = pattern_word(seed, page, word);
	now_in_memory(view, first, count);
}

/* The number of pages that do not have the expected content. */
static inline unsigned int pattern_wrong(const void *view, unsigned int first, unsigned int count,
					 __u32 seed)
{
	unsigned int page, word, wrong = 0;
	const __u32 *words = view;

	now_in_memory(view, first, count);
	for (page = first; page < first + count; page++) {
		for (word = 0; word < PAGE / 4; word++) {
			if (words[page * PAGE / 4 + word] != pattern_word(seed, page, word)) {
				wrong++;
				break;
			}
		}
	}
	return wrong;
}

static inline unsigned int not_zero(const void *view, unsigned int first, unsigned int count)
{
	unsigned int page, word, wrong = 0;
	const __u32 *words = view;

	now_in_memory(view, first, count);
	for (page = first; page < first + count; page++) {
		for (word = 0; word < PAGE / 4; word++) {
			if (words[page * PAGE / 4 + word]) {
				wrong++;
				break;
			}
		}
	}
	return wrong;
}

/* Numbers and sizes of the ioctls are ABI. */
_Static_assert(_IOC_NR(IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF) == 15, "ABI");
_Static_assert(_IOC_SIZE(IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF) == 24, "ABI");
_Static_assert(_IOC_NR(IOCTL_GNTDEV_DMABUF_MAP_RELEASE) == 16, "ABI");
_Static_assert(_IOC_SIZE(IOCTL_GNTDEV_DMABUF_MAP_RELEASE) == 8, "ABI");
_Static_assert(_IOC_NR(IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED) == 17, "ABI");
_Static_assert(_IOC_SIZE(IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED) == 8, "ABI");
_Static_assert(_IOC_NR(IOCTL_GNTDEV_DMABUF_MAP_EVENTFD) == 18, "ABI");
_Static_assert(_IOC_SIZE(IOCTL_GNTDEV_DMABUF_MAP_EVENTFD) == 16, "ABI");

/*
 * Wrappers of the ioctls. They return 0 or a positive errno, so that a failed expectation shows
 * the errno.
 */
struct map_args {
	__u32 flags, count, data_ofs, fd, domid;
	const __u32 *refs;
	__u32 given;		/* the number of @refs, if it is not @count */
};

static inline int map_call(int gntdev, const struct map_args *args)
{
	struct ioctl_gntdev_dmabuf_map_refs_to_buf *arg;
	unsigned int given = args->given ? args->given : args->count;
	int ret = ENOMEM;

	arg = calloc(1, sizeof(*arg) + given * sizeof(__u32));
	if (!arg)
		return ret;
	arg->flags = args->flags;
	arg->count = args->count;
	arg->data_ofs = args->data_ofs;
	arg->fd = args->fd;
	arg->domid = args->domid;
	memcpy(arg->refs, args->refs, given * sizeof(__u32));
	ret = ioctl(gntdev, IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF, arg) ? errno : 0;
	free(arg);
	return ret;
}

static inline int map_refs(int gntdev, int buf, unsigned int domid, const __u32 *refs,
			   unsigned int count)
{
	struct map_args args = { .count = count, .fd = buf, .domid = domid, .refs = refs };

	return map_call(gntdev, &args);
}

static inline int map_release(int gntdev, int buf)
{
	struct ioctl_gntdev_dmabuf_map_release arg = { .fd = buf };

	return ioctl(gntdev, IOCTL_GNTDEV_DMABUF_MAP_RELEASE, &arg) ? errno : 0;
}

#define FOREVER 0xffffffffu

static inline int map_wait(int gntdev, int buf, unsigned int ms)
{
	struct ioctl_gntdev_dmabuf_map_wait_released arg = { .fd = buf, .wait_to_ms = ms };

	return ioctl(gntdev, IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED, &arg) ? errno : 0;
}

static inline int map_eventfd(int gntdev, int buf, int eventfd)
{
	struct ioctl_gntdev_dmabuf_map_eventfd arg = { .fd = buf, .eventfd = eventfd };

	return ioctl(gntdev, IOCTL_GNTDEV_DMABUF_MAP_EVENTFD, &arg) ? errno : 0;
}

/* The older ioctls. */
static inline int export(int gntdev, unsigned int domid, const __u32 *refs, unsigned int count,
			 int *fd)
{
	struct ioctl_gntdev_dmabuf_exp_from_refs *arg;
	int ret;

	arg = calloc(1, sizeof(*arg) + count * sizeof(__u32));
	arg->count = count;
	arg->domid = domid;
	memcpy(arg->refs, refs, count * sizeof(__u32));
	ret = ioctl(gntdev, IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS, arg) ? errno : 0;
	*fd = ret ? -1 : (int)arg->fd;
	free(arg);
	return ret;
}

static inline int export_wait(int gntdev, int fd, unsigned int ms)
{
	struct ioctl_gntdev_dmabuf_exp_wait_released arg = { .fd = fd, .wait_to_ms = ms };

	return ioctl(gntdev, IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED, &arg) ? errno : 0;
}

#endif /* XEN_UTIL_H */
