// SPDX-License-Identifier: GPL-2.0-only
/*
 * A Wayland client that shows a dma-buf which its parent fills with pictures.
 *
 *	window WIDTH HEIGHT PICTURES	descriptor 3 is the dma-buf, XRGB8888 without padding
 *					descriptor 4 asks the parent for pictures, see next()
 *
 * The compositor gets the dma-buf itself, by linux-dmabuf: no pixel is copied here. The
 * buffer is the only one, so the next picture is drawn after the compositor's frame callback
 * for the last one. A file "shown" appears in the working directory with the first picture.
 * The last line says how many pictures were shown, and in what time.
 */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <wayland-client.h>

#include "linux-dmabuf-unstable-v1-client-protocol.h"
#include "xdg-shell-client-protocol.h"

#define BUFFER_FD	3
#define PICTURES_FD	4
#define DRM_FORMAT_XRGB8888	0x34325258

static struct wl_compositor *compositor;
static struct xdg_wm_base *shell;
static struct zwp_linux_dmabuf_v1 *dmabuf;
static bool configured, created, shown;

static void fail(const char *what)
{
	printf("window: %s\n", what);
	exit(1);
}

static void on_global(void *data, struct wl_registry *registry, uint32_t name,
		      const char *interface, uint32_t version)
{
	if (!strcmp(interface, wl_compositor_interface.name))
		compositor = wl_registry_bind(registry, name, &wl_compositor_interface, 4);
	else if (!strcmp(interface, xdg_wm_base_interface.name))
		shell = wl_registry_bind(registry, name, &xdg_wm_base_interface, 1);
	else if (!strcmp(interface, zwp_linux_dmabuf_v1_interface.name) && version >= 3)
		dmabuf = wl_registry_bind(registry, name, &zwp_linux_dmabuf_v1_interface, 3);
}

static void on_global_remove(void *data, struct wl_registry *registry, uint32_t name)
{
}

static const struct wl_registry_listener registry_listener = {
	.global = on_global,
	.global_remove = on_global_remove,
};

static void on_ping(void *data, struct xdg_wm_base *base, uint32_t serial)
{
	xdg_wm_base_pong(base, serial);
}

static const struct xdg_wm_base_listener shell_listener = { .ping = on_ping };

static void on_configure(void *data, struct xdg_surface *surface, uint32_t serial)
{
	xdg_surface_ack_configure(surface, serial);
	configured = true;
}

static const struct xdg_surface_listener surface_listener = { .configure = on_configure };

static void on_size(void *data, struct xdg_toplevel *toplevel, int32_t width, int32_t height,
		    struct wl_array *states)
{
}

static void on_close(void *data, struct xdg_toplevel *toplevel)
{
	fail("the compositor closed it");
}

static const struct xdg_toplevel_listener toplevel_listener = {
	.configure = on_size,
	.close = on_close,
};

static void on_created(void *data, struct zwp_linux_buffer_params_v1 *params,
		       struct wl_buffer *buffer)
{
	*(struct wl_buffer **)data = buffer;
	created = true;
}

static void on_failed(void *data, struct zwp_linux_buffer_params_v1 *params)
{
	fail("the compositor cannot import the dma-buf");
}

static const struct zwp_linux_buffer_params_v1_listener params_listener = {
	.created = on_created,
	.failed = on_failed,
};

static void on_done(void *data, struct wl_callback *callback, uint32_t time)
{
	wl_callback_destroy(callback);
	shown = true;
}

static const struct wl_callback_listener frame_listener = { .done = on_done };

static void wait_for(struct wl_display *display, const bool *what)
{
	while (!*what)
		if (wl_display_dispatch(display) < 0)
			fail("the compositor is gone");
}

/* Asks for the next picture, and waits until it is in the buffer. */
static void next(void)
{
	char byte = 0;

	if (write(PICTURES_FD, &byte, 1) != 1 || read(PICTURES_FD, &byte, 1) != 1)
		fail("no picture");
}

static struct wl_buffer *buffer_new(struct wl_display *display, int width, int height)
{
	struct zwp_linux_buffer_params_v1 *params = zwp_linux_dmabuf_v1_create_params(dmabuf);
	struct wl_buffer *buffer = NULL;

	/* The modifier is DRM_FORMAT_MOD_LINEAR. */
	zwp_linux_buffer_params_v1_add(params, BUFFER_FD, 0, 0, width * 4, 0, 0);
	zwp_linux_buffer_params_v1_add_listener(params, &params_listener, &buffer);
	zwp_linux_buffer_params_v1_create(params, width, height, DRM_FORMAT_XRGB8888, 0);
	wait_for(display, &created);
	zwp_linux_buffer_params_v1_destroy(params);
	return buffer;
}

static void mark(const char *path)
{
	FILE *file = fopen(path, "w");

	if (!file || fputs("yes\n", file) < 0 || fclose(file))
		fail(path);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	int width, height, pictures, number;
	struct wl_display *display;
	struct wl_registry *registry;
	struct wl_surface *surface;
	struct xdg_surface *role;
	struct xdg_toplevel *toplevel;
	struct wl_buffer *buffer;
	double start;

	if (argc != 4) {
		fprintf(stderr, "usage: %s WIDTH HEIGHT PICTURES\n", argv[0]);
		return 2;
	}
	width = atoi(argv[1]);
	height = atoi(argv[2]);
	pictures = atoi(argv[3]);

	display = wl_display_connect(NULL);
	if (!display)
		fail("no compositor");
	registry = wl_display_get_registry(display);
	wl_registry_add_listener(registry, &registry_listener, NULL);
	wl_display_roundtrip(display);
	if (!compositor || !shell || !dmabuf)
		fail("the compositor lacks linux-dmabuf");
	xdg_wm_base_add_listener(shell, &shell_listener, NULL);

	surface = wl_compositor_create_surface(compositor);
	role = xdg_wm_base_get_xdg_surface(shell, surface);
	xdg_surface_add_listener(role, &surface_listener, NULL);
	toplevel = xdg_surface_get_toplevel(role);
	xdg_toplevel_add_listener(toplevel, &toplevel_listener, NULL);
	wl_surface_commit(surface);
	wait_for(display, &configured);
	buffer = buffer_new(display, width, height);

	start = now();
	for (number = 0; number < pictures; number++) {
		next();
		shown = false;
		wl_callback_add_listener(wl_surface_frame(surface), &frame_listener, NULL);
		wl_surface_attach(surface, buffer, 0, 0);
		wl_surface_damage(surface, 0, 0, width, height);
		wl_surface_commit(surface);
		wait_for(display, &shown);
		if (!number)
			mark("shown");
	}
	printf("window: %d pictures shown in %.1f s\n", pictures, now() - start);
	wl_display_disconnect(display);
	return 0;
}
