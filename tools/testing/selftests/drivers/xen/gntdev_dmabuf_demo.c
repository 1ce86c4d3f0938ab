// SPDX-License-Identifier: GPL-2.0-only
/*
 * A picture that one domain draws appears in a buffer of another domain, without a copy.
 *
 *	gntdev_dmabuf_demo draw			in the second domain, which has the ID 1
 *	gntdev_dmabuf_demo show [FILE]		in the first; saves a picture to FILE
 *	gntdev_dmabuf_demo play PROGRAM...	in the first; PROGRAM displays moving pictures
 *
 * PROGRAM gets the dma-buf as descriptor 3. For each picture it writes a byte to descriptor
 * 4 and reads one back when the picture has been drawn.
 *
 * If there is a display (GNTDEV_DMABUF_CARD in the environment, or arcpgu), the buffer comes from
 * its driver, and a second driver imports it, as with gbm. Otherwise it is the system heap's.
 *
 * The programs find each other through the first page that the second domain grants, which has the
 * first reference that gntalloc allocates after boot. Each line reports what was seen; `show`
 * and `play` end with status 1 at the first wrong result.
 */

#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/dma-buf.h>

#include "../dma-buf/dmabuf_util.h"
#include "xen_util.h"

#define WIDTH 320
#define HEIGHT 240
#define FRAME_SIZE (WIDTH * HEIGHT * 4UL)
#define FRAME_PAGES (FRAME_SIZE / PAGE)
#define PEER_DOMID 1
#define FIRST_REF 8
#define MAGIC 0x6f6d6564u
#define PATIENCE 120		/* seconds for the other domain */

/* The page that the two programs share, apart from the picture. */
struct meeting {
	__u32 magic;		/* written last */
	__u32 wanted;		/* the picture that `show` asks for: 1, 2 ... */
	__u32 drawn;		/* the picture that has been drawn */
	__u32 sum;		/* of the picture, as `draw` sees it */
	__u64 gfn[2];		/* frames of its first and last page, as `draw` sees them */
	__u32 refs[FRAME_PAGES];
};

/* The other domain accesses the same words. Both are ordered with all other accesses. */
static __u32 get(const __u32 *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void set(__u32 *word, __u32 value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static int step;

static void say(const char *what)
{
	printf("\n%d. %s\n", ++step, what);
}

static void see(const char *what, const char *seen, bool right)
{
	printf("   %-52s %s\n", what, seen);
	if (!right) {
		printf("   ... and that is wrong\n");
		exit(1);
	}
}

static void see_ret(const char *what, int ret)
{
	see(what, ret < 0 ? strerror(-ret) : "done", ret >= 0);
}

/* @error is the result of an ioctl: 0 or its errno. */
static void see_errno(const char *what, int error)
{
	see_ret(what, -error);
}

/* FNV-1a, 32 bits at a time. */
static __u32 checksum(const __u32 *pixels)
{
	__u32 sum = 2166136261u;
	unsigned int i;

	for (i = 0; i < FRAME_SIZE / 4; i++)
		sum = (sum ^ pixels[i]) * 16777619u;
	return sum;
}

/* The frame number of an address of this process, as this domain counts frames. */
static __u64 frame_of(const void *address)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0;

	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)address / PAGE * 8) != 8)
		entry = 0;
	if (fd >= 0)
		close(fd);
	return entry & ((1ULL << 55) - 1);
}

/* A landscape with a sun, which moves from picture to picture. */
static void draw(__u32 *pixels, unsigned int picture)
{
	int sun_x = 30 + picture * 13 % (WIDTH - 60), sun_y = 70, x, y;

	for (y = 0; y < HEIGHT; y++) {
		for (x = 0; x < WIDTH; x++) {
			int dx = x - sun_x, dy = y - sun_y;
			int hill = 170 - (x - 110) * (x - 110) / 180;
			int other = 190 - (x - 240) * (x - 240) / 220;
			__u32 color;

			if (y > hill)
				color = 0x1e5a2f + ((y - hill) / 12 << 10);
			else if (y > other)
				color = 0x2f7d4a + ((y - other) / 12 << 10);
			else if (dx * dx + dy * dy < 34 * 34)
				color = 0xffd75e;
			else
				color = 0x3a78c8 + (y / 4 << 16) + (y / 4 << 8);
			pixels[y * WIDTH + x] = color;
		}
	}
}

static int play_draw(void)
{
	int fd = open(GNTALLOC, O_RDWR | O_CLOEXEC), ret;
	struct meeting *meeting;
	__u32 refs[FRAME_PAGES], ref, picture = 0;
	__u32 *pixels;
	__u64 index;
	unsigned int i;

	ret = fd < 0 ? -errno : gntalloc_new(fd, 0, GNTALLOC_FLAG_WRITABLE, 1, &ref, &index);
	if (ret) {
		printf("draw: no page to grant: %s\n", strerror(-ret));
		return 1;
	}
	meeting = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, index);
	ret = gntalloc_new(fd, 0, GNTALLOC_FLAG_WRITABLE, FRAME_PAGES, refs, &index);
	if (ret || meeting == MAP_FAILED || ref != FIRST_REF) {
		printf("draw: granted %u, then %s\n", ref, strerror(-ret));
		return 1;
	}
	pixels = mmap(NULL, FRAME_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, index);
	if (pixels == MAP_FAILED) {
		printf("draw: %s\n", strerror(errno));
		return 1;
	}
	printf("draw: %lu pages granted, references %u to %u\n", FRAME_PAGES, refs[0],
	       refs[FRAME_PAGES - 1]);
	for (i = 0; i < FRAME_PAGES; i++)
		meeting->refs[i] = refs[i];
	meeting->wanted = 1;
	set(&meeting->magic, MAGIC);

	for (;;) {
		__u32 sum = checksum(pixels);

		if (picture != get(&meeting->wanted)) {
			picture = get(&meeting->wanted);
			draw(pixels, picture);
			sum = checksum(pixels);
			printf("draw: picture %u at %p, frames %#llx to %#llx, checksum %08x\n",
			       picture, (void *)pixels, frame_of(pixels),
			       frame_of((char *)pixels + FRAME_SIZE - 1), sum);
		} else if (sum != meeting->sum) {
			printf("draw: somebody else has drawn, checksum %08x\n", sum);
		}
		meeting->gfn[0] = frame_of(pixels);
		meeting->gfn[1] = frame_of((char *)pixels + FRAME_SIZE - 1);
		set(&meeting->sum, sum);
		set(&meeting->drawn, picture);
		usleep(50000);
	}
}

static int heap_new(void)
{
	struct dma_heap_allocation_data data = {
		.len = FRAME_SIZE,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
	int ret;

	if (heap < 0)
		return -errno;
	ret = ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data) ? -errno : (int)data.fd;
	close(heap);
	return ret;
}

/* @display and @gpu are files that also keep the buffer, until they are closed. */
static int buffer_new(int *display, int *gpu)
{
	const char *card = getenv("GNTDEV_DMABUF_CARD") ?: "arcpgu";
	struct drm_mode_create_dumb create = { .width = WIDTH, .height = HEIGHT, .bpp = 32 };
	struct drm_prime_handle prime = { .flags = O_RDWR | O_CLOEXEC };
	int ret;

	*display = drm_open(card);
	*gpu = drm_open("vgem");
	if (*display < 0 || *gpu < 0) {
		ret = heap_new();
		see_ret("from the system heap", ret);
		return ret;
	}
	ret = ioctl(*display, DRM_IOCTL_MODE_CREATE_DUMB, &create) ? -errno : 0;
	prime.handle = create.handle;
	if (!ret)
		ret = ioctl(*display, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) ? -errno : 0;
	see_ret("from the display's driver", ret);
	ret = ioctl(*gpu, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime) ? -errno : 0;
	see_ret("imported by another driver, which keeps it", ret);
	return prime.fd;
}

static int buffer_sync(int buf, __u64 flags)
{
	struct dma_buf_sync sync = { .flags = flags | DMA_BUF_SYNC_RW };

	return ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync) ? -errno : 0;
}

static __u32 buffer_sum(int buf, const __u32 *view)
{
	__u32 sum;

	see_ret("DMA_BUF_IOCTL_SYNC", buffer_sync(buf, DMA_BUF_SYNC_START));
	sum = checksum(view);
	buffer_sync(buf, DMA_BUF_SYNC_END);
	return sum;
}

/* Wait until the other domain has drawn @picture and, if @sum is not 0, sees that @sum. */
static bool drawn(struct meeting *meeting, __u32 picture, __u32 sum)
{
	int tries;

	for (tries = 0; tries < PATIENCE * 20; tries++) {
		if (get(&meeting->drawn) == picture && (!sum || get(&meeting->sum) == sum))
			return true;
		usleep(50000);
	}
	return false;
}

static void compare(struct meeting *meeting, int buf, const __u32 *view)
{
	char text[64];
	__u32 sum;

	snprintf(text, sizeof(text), "%08x", meeting->sum);
	see("checksum, in the domain that draws", text, true);
	sum = buffer_sum(buf, view);
	snprintf(text, sizeof(text), "%08x", sum);
	see("checksum, in this domain's buffer", text, sum == meeting->sum);
}

static void save(const __u32 *pixels, const char *path)
{
	FILE *file = fopen(path, "we");
	unsigned int i;

	if (!file)
		see_ret(path, -errno);
	fprintf(file, "P6\n%u %u\n255\n", WIDTH, HEIGHT);
	for (i = 0; i < WIDTH * HEIGHT; i++) {
		fputc(pixels[i] >> 16 & 0xff, file);
		fputc(pixels[i] >> 8 & 0xff, file);
		fputc(pixels[i] & 0xff, file);
	}
	see_ret(path, fclose(file) ? -errno : 0);
}

/* Shows that there is no copy: Xen counts the mapped pages of the other domain. */
static long see_mapped(const char *what, long wanted)
{
	struct xen_usage usage;
	int ret = xen_usage(PEER_DOMID, &usage);
	char text[32];

	snprintf(text, sizeof(text), "%ld", usage.active);
	see(what, ret ? strerror(-ret) : text, !ret && (wanted < 0 || usage.active == wanted));
	return usage.active;
}

/* The first domain's side, once the pages of the second are mapped into its buffer. */
struct screen {
	struct witness shared;
	struct meeting *meeting;	/* the page that both domains access */
	long before;			/* pages of domain 1 that were mapped before */
	int gntdev, buf, display, gpu;
};

static void screen_open(struct screen *screen)
{
	__u32 refs[FRAME_PAGES], first = FIRST_REF;
	struct meeting *meeting = NULL;
	int tries, ret = -ENXIO;
	char text[64];
	unsigned int i;

	screen->shared = (struct witness){ .gntdev = -1 };

	say("References come from the domain that grants its pages");
	for (tries = 0; tries < PATIENCE * 10; tries++) {
		ret = witness_open(&screen->shared, PEER_DOMID, &first, 1);
		meeting = screen->shared.view;
		if (!ret && get(&meeting->magic) == MAGIC)
			break;
		witness_close(&screen->shared);
		meeting = NULL;
		usleep(100000);
	}
	see_ret("domain 1 is there", ret);
	see("its first page", meeting ? "in place" : "not in place", meeting);
	for (i = 0; i < FRAME_PAGES; i++)
		refs[i] = meeting->refs[i];
	see("picture 1", "drawn", drawn(meeting, 1, 0));
	snprintf(text, sizeof(text), "%u to %u", refs[0], refs[FRAME_PAGES - 1]);
	see("references of the picture", text, true);
	snprintf(text, sizeof(text), "%#llx to %#llx", (unsigned long long)meeting->gfn[0],
		 (unsigned long long)meeting->gfn[1]);
	see("frames of the picture, as that domain counts", text, meeting->gfn[0]);

	screen->before = see_mapped("mapped pages of domain 1: where the two meet", -1);

	say("A buffer of this domain's own allocator");
	screen->buf = buffer_new(&screen->display, &screen->gpu);

	say("IOCTL_GNTDEV_DMABUF_MAP_REFS_TO_BUF: the pages take the place of the buffer's");
	screen->gntdev = gntdev_open();
	see_ret(GNTDEV, screen->gntdev);
	see_errno("the ioctl",
		  map_refs(screen->gntdev, screen->buf, PEER_DOMID, refs, FRAME_PAGES));
	screen->meeting = meeting;
}

/* Ask for a picture, and wait until it is in the buffer. */
static bool ask(struct meeting *meeting, __u32 picture)
{
	set(&meeting->wanted, picture);
	return drawn(meeting, picture, 0);
}

/* Drop the buffer. Then only the second domain can access its pages. */
static void screen_close(struct screen *screen, __u32 picture)
{
	__u32 sum;
	int ret;

	say("IOCTL_GNTDEV_DMABUF_MAP_RELEASE, and the buffer is closed");
	see_errno("the ioctl", map_release(screen->gntdev, screen->buf));
	ret = map_wait(screen->gntdev, screen->buf, 0);
	see("WAIT_RELEASED while the buffer is open", strerror(ret), ret == ETIMEDOUT);
	close(screen->buf);
	close(screen->gpu);
	close(screen->display);

	say("IOCTL_GNTDEV_DMABUF_MAP_WAIT_RELEASED: the pages are the other domain's alone");
	see_errno("the ioctl", map_wait(screen->gntdev, screen->buf, 10000));
	see_mapped("mapped pages of domain 1", screen->before);
	sum = screen->meeting->sum;
	see("one more picture, which only that domain sees", "drawn",
	    ask(screen->meeting, picture) && screen->meeting->sum != sum);

	witness_close(&screen->shared);
	close(screen->gntdev);
	printf("\nAll as it should be.\n");
}

static int play_show(const char *path)
{
	struct screen screen;
	struct meeting *meeting;
	__u32 *view, sum;
	char text[64];
	unsigned int i;
	int buf;

	printf("Another domain's pages in a dma-buf of this one\n");
	screen_open(&screen);
	meeting = screen.meeting;
	buf = screen.buf;

	say("Use the buffer: here mmap(), elsewhere a GPU or a display");
	view = mmap(NULL, FRAME_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	see_ret("mmap() of the buffer", view == MAP_FAILED ? -errno : 0);
	compare(meeting, buf, view);
	/* For a VM_PFNMAP mapping /proc/self/pagemap does not show frames. */
	if (frame_of(view))
		snprintf(text, sizeof(text), "%p, frames %#llx to %#llx", (void *)view,
			 (unsigned long long)frame_of(view),
			 (unsigned long long)frame_of((char *)view + FRAME_SIZE - 1));
	else
		snprintf(text, sizeof(text), "%p", (void *)view);
	see("address of the buffer, as this domain counts", text, true);
	see_mapped("mapped pages of domain 1, says the hypervisor", screen.before + FRAME_PAGES);

	say("Picture 2: the other domain draws, this one does nothing");
	sum = meeting->sum;
	see("picture 2", "drawn", ask(meeting, 2) && meeting->sum != sum);
	compare(meeting, buf, view);
	if (path)
		save(view, path);

	say("The other way: this domain draws a frame around it");
	buffer_sync(buf, DMA_BUF_SYNC_START);
	for (i = 0; i < WIDTH; i++) {
		view[i] = 0xffffff;
		view[(HEIGHT - 1) * WIDTH + i] = 0xffffff;
	}
	sum = checksum(view);
	buffer_sync(buf, DMA_BUF_SYNC_END);
	snprintf(text, sizeof(text), "%08x", sum);
	see("checksum, in this domain's buffer", text, true);
	see("the other domain sees the same", text, drawn(meeting, 2, sum));

	munmap(view, FRAME_SIZE);
	screen_close(&screen, 3);
	return 0;
}

/* Run the program @argv with the buffer and one end of a socket, of which this is the other. */
static int run(char **argv, int buf, pid_t *pid)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	*pid = fork();
	if (*pid < 0)
		return -errno;
	if (!*pid) {
		/* Neither may have the number that the other is going to get. */
		buf = fcntl(buf, F_DUPFD_CLOEXEC, 10);
		ends[1] = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
		if (dup2(buf, 3) == 3 && dup2(ends[1], 4) == 4)
			execvp(argv[0], argv);
		_exit(127);
	}
	close(ends[1]);
	return ends[0];
}

static int play_moving(char **argv)
{
	__u32 picture = 1;
	struct screen screen;
	int requests, status;
	char byte, text[64];
	pid_t pid;

	printf("Another domain's pictures, displayed by a program of this one\n");
	screen_open(&screen);

	say("A program displays the buffer while the other domain draws");
	fflush(stdout);
	requests = run(argv, screen.buf, &pid);
	see_ret(argv[0], requests);
	while (read(requests, &byte, 1) == 1) {
		if (!ask(screen.meeting, ++picture))
			see("a picture", "not drawn", false);
		if (write(requests, &byte, 1) != 1)
			break;
	}
	close(requests);
	if (waitpid(pid, &status, 0) != pid)
		status = -1;
	snprintf(text, sizeof(text), "%u", picture - 1);
	see("pictures drawn at the program's request", text, picture > 1);
	see("the program has ended", status ? "with a failure" : "well", !status);
	see_mapped("mapped pages of domain 1, says the hypervisor", screen.before + FRAME_PAGES);

	screen_close(&screen, picture + 1);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && !strcmp(argv[1], "draw"))
		return play_draw();
	if (argc >= 2 && !strcmp(argv[1], "show"))
		return play_show(argv[2]);
	if (argc >= 3 && !strcmp(argv[1], "play"))
		return play_moving(argv + 2);
	fprintf(stderr, "usage: %s draw | show [FILE] | play PROGRAM...\n", argv[0]);
	return 2;
}
