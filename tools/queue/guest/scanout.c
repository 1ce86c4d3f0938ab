// SPDX-License-Identifier: GPL-2.0
/*
 * A display whose picture is not drawn yet: scanout SECONDS TRACE PROGRAM...
 *
 * Puts a red buffer of virtio-gpu's on the screen and attaches a pending fence of vgem's to it, as a GPU does that
 * draws. Runs PROGRAM, which writes one picture of the screen to its output. SECONDS after the kernel's TRACE tells
 * of an EXPORT_SYNC_FILE to read, paints the buffer green and signals the fence. Prints what came when.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/drm_mode.h>
#include <drm/vgem_drm.h>

#define RED	0xc00000
#define GREEN	0x00c000
#define RENEW	5.0	/* seconds; vgem's fences expire after ten */

static double begin;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9 - begin;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void do_ioctl(int fd, unsigned long cmd, void *arg, const char *what)
{
	if (ioctl(fd, cmd, arg))
		die(what);
}

/* The card of the driver @name. */
static int card(const char *name)
{
	for (int i = 0; i < 8; i++) {
		char path[32], found[32] = "";
		struct drm_version version = { .name = found, .name_len = sizeof(found) - 1 };
		int fd;

		snprintf(path, sizeof(path), "/dev/dri/card%d", i);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && !ioctl(fd, DRM_IOCTL_VERSION, &version) && !strcmp(found, name))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	die(name);
	return -1;
}

struct screen {
	struct drm_mode_create_dumb dumb;
	unsigned int *pixels;
	int dmabuf;
};

static void paint(struct screen *screen, unsigned int colour)
{
	for (size_t i = 0; i < screen->dumb.size / sizeof(colour); i++)
		screen->pixels[i] = colour;
}

static void show(int fd, struct screen *screen)
{
	static struct drm_mode_modeinfo modes[64];
	unsigned int crtcs[8], connectors[8], encoders[8];
	struct drm_mode_card_res res = {
		.crtc_id_ptr = (unsigned long)crtcs, .count_crtcs = 8,
		.connector_id_ptr = (unsigned long)connectors, .count_connectors = 8,
		.encoder_id_ptr = (unsigned long)encoders, .count_encoders = 8,
	};
	struct drm_mode_get_connector connector = { .modes_ptr = (unsigned long)modes };
	struct drm_mode_fb_cmd fb = { .bpp = 32, .depth = 24 };
	struct drm_mode_map_dumb map = { 0 };
	struct drm_mode_crtc crtc = { 0 };
	struct drm_prime_handle prime = { .flags = DRM_CLOEXEC | DRM_RDWR };

	do_ioctl(fd, DRM_IOCTL_MODE_GETRESOURCES, &res, "GETRESOURCES");
	connector.connector_id = connectors[0];
	do_ioctl(fd, DRM_IOCTL_MODE_GETCONNECTOR, &connector, "GETCONNECTOR");
	connector = (struct drm_mode_get_connector) { .connector_id = connectors[0], .modes_ptr = (unsigned long)modes,
						      .count_modes = connector.count_modes < 64 ? connector.count_modes : 64 };
	do_ioctl(fd, DRM_IOCTL_MODE_GETCONNECTOR, &connector, "GETCONNECTOR");
	screen->dumb = (struct drm_mode_create_dumb) { .width = modes[0].hdisplay, .height = modes[0].vdisplay, .bpp = 32 };
	do_ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &screen->dumb, "CREATE_DUMB");
	map.handle = fb.handle = prime.handle = screen->dumb.handle;
	do_ioctl(fd, DRM_IOCTL_MODE_MAP_DUMB, &map, "MAP_DUMB");
	screen->pixels = mmap(NULL, screen->dumb.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, map.offset);
	if (screen->pixels == MAP_FAILED)
		die("mmap");
	paint(screen, RED);
	fb.width = screen->dumb.width;
	fb.height = screen->dumb.height;
	fb.pitch = screen->dumb.pitch;
	do_ioctl(fd, DRM_IOCTL_MODE_ADDFB, &fb, "ADDFB");
	crtc = (struct drm_mode_crtc) { .crtc_id = crtcs[0], .fb_id = fb.fb_id, .mode = modes[0], .mode_valid = 1,
					.set_connectors_ptr = (unsigned long)connectors, .count_connectors = 1 };
	do_ioctl(fd, DRM_IOCTL_MODE_SETCRTC, &crtc, "SETCRTC");
	/* Whoever exports it later gets this one, and may write, too: lavapipe maps it so. */
	do_ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime, "PRIME_HANDLE_TO_FD");
	screen->dmabuf = prime.fd;
}

static unsigned int attach(int vgem, unsigned int handle)
{
	struct drm_vgem_fence_attach fence = { .handle = handle, .flags = VGEM_FENCE_WRITE };

	do_ioctl(vgem, DRM_IOCTL_VGEM_FENCE_ATTACH, &fence, "VGEM_FENCE_ATTACH");
	return fence.out_fence;
}

static void signal_fence(int vgem, unsigned int fence)
{
	struct drm_vgem_fence_signal signaled = { .fence = fence };

	do_ioctl(vgem, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signaled, "VGEM_FENCE_SIGNAL");
}

static int exported(const char *trace)
{
	static char text[1 << 20];
	int fd = open(trace, O_RDONLY);
	size_t size = 0;
	ssize_t n;

	if (fd < 0)
		die(trace);
	while (size < sizeof(text) - 1 && (n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
		size += n;
	close(fd);
	text[size] = 0;
	/* DMA_BUF_SYNC_READ: Mesa's driver asks for both, of a buffer of its own. */
	return !!strstr(text, "cmd=0xc0086202 flags=0x1\n");
}

int main(int argc, char **argv)
{
	struct screen screen;
	struct drm_prime_handle prime = { 0 };
	double hold, attached, export = 0, done = 0;
	unsigned int fence, first = 0;
	size_t got = 0;
	int fd, vgem, out[2], status;
	pid_t pid;

	if (argc < 4)
		return 2;
	setlinebuf(stdout);
	hold = atof(argv[1]);
	fd = card("virtio_gpu");
	vgem = card("vgem");
	show(fd, &screen);
	prime.fd = screen.dmabuf;
	do_ioctl(vgem, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime, "PRIME_FD_TO_HANDLE");
	if (pipe(out))
		die("pipe");
	begin = now();
	fence = attach(vgem, prime.handle);
	attached = now();
	printf("%ux%u on the screen, red, with a pending fence\n", screen.dumb.width, screen.dumb.height);
	pid = fork();
	if (!pid) {
		dup2(out[1], 1);
		close(out[0]);
		close(out[1]);
		execvp(argv[3], argv + 3);
		_exit(127);
	}
	close(out[1]);
	for (;;) {
		struct pollfd fds = { .fd = out[0], .events = POLLIN };
		static char buf[65536];
		ssize_t n;

		if (poll(&fds, 1, 20) > 0) {
			n = read(out[0], buf, sizeof(buf));
			if (n <= 0)
				break;
			if (!got) {
				memcpy(&first, buf, sizeof(first));
				printf("%.2f: a picture begins with %06x%s\n", now(), first & 0xffffff,
				       done ? "" : ", the fence is pending");
			}
			got += n;
		}
		if (!export && exported(argv[2])) {
			export = now();
			printf("%.2f: EXPORT_SYNC_FILE\n", export);
		}
		if (export && !done && now() - export >= hold) {
			paint(&screen, GREEN);
			done = now();
			signal_fence(vgem, fence);
			printf("%.2f: the fence signals, the buffer is green\n", done);
		}
		if (!export && !got && now() - attached > RENEW) {
			signal_fence(vgem, fence);
			fence = attach(vgem, prime.handle);
			attached = now();
		}
	}
	waitpid(pid, &status, 0);
	printf("%.2f: %zu bytes, status %d\n", now(), got, WEXITSTATUS(status));
	return !got;
}
