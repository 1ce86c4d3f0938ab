// SPDX-License-Identifier: GPL-2.0-only
/*
 * Out fences of a display that was removed. A CRTC and a writeback connector of vkms give
 * a sync_file each, then the test closes the card and removes the module. The fences must
 * stay as they were: signaled, with the fixed names, wherever user space can use a fence.
 * If the kernel reads freed memory meanwhile, KASAN reports it on the console.
 *
 * No fence is pending here after its device was removed. The module is in use while the
 * card is open, and closing the card removes its framebuffers. For that the kernel waits
 * for all commits, and so for their in-fences.
 *
 * vkms cancels its timer while it holds a lock that the timer's callback takes (7.3 does
 * not). If the callback is just starting on another CPU, both wait forever. So the test
 * keeps the timer on one CPU: it starts and stops the display only from that CPU, and
 * tells DRM not to stop the timer by itself.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include <drm/drm_fourcc.h>

#include "../../kselftest_harness.h"
#include "dmabuf_util.h"
#include "sync_file_util.h"

#define MAX_PAUSE_SECONDS 8	/* for a thing that is expected soon */
#define ENOUGH 10		/* a race must have more reads than that */
#define ROUNDS 2		/* of a race; each loads and removes the module */
#define SIZE 64			/* of the display, so that drawing takes no time */
#define PLANE_TYPE_PRIMARY 1	/* in no header */
#define MODULE "vkms"
#define DETACHED_DRIVER "detached-driver"
#define SIGNALED_TIMELINE "signaled-timeline"
#define OFFDELAY "/sys/module/drm/parameters/vblankoffdelay"
#define DEBUG "/sys/kernel/debug"
#define BUFINFO DEBUG "/dma_buf/bufinfo"
#define INSTANCES "/sys/kernel/tracing/instances"
#define INSTANCE INSTANCES "/dmabuf_outfence"

#ifndef SYNC_IOC_SET_DEADLINE	/* since 6.6 */
struct sync_set_deadline {
	__u64 deadline_ns;
	__u64 pad;
};

#define SYNC_IOC_SET_DEADLINE _IOW(SYNC_IOC_MAGIC, 5, struct sync_set_deadline)
#endif

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Reads the whole file; returns whether any line contains @word. */
static bool file_has(const char *path, const char *word)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	bool found = false;
	size_t room = 0;

	while (file && getline(&line, &room, file) > 0)
		if (strstr(line, word))
			found = true;
	free(line);
	if (file)
		fclose(file);
	return found;
}

static bool fence_wait(int fence)
{
	struct pollfd pfd = { .fd = fence, .events = POLLIN };

	return poll(&pfd, 1, MAX_PAUSE_SECONDS * 1000) == 1 && pfd.revents == POLLIN;
}

/* Loads the installed module, or the one in the directory of this program. */
static int vkms_load(void)
{
	static const char * const names[] = { "drm_kms_helper", MODULE };
	char exe[256], path[300];
	unsigned int i;
	ssize_t len;
	int fd;

	if (!system("modprobe -q " MODULE " 2>/dev/null"))
		return 0;
	len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (len < 0)
		return -1;
	exe[len] = '\0';
	*strrchr(exe, '/') = '\0';
	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s.ko", exe, names[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;	/* built in, or its absence is noticed below */
		if (syscall(__NR_finit_module, fd, "", 0) && errno != EEXIST) {
			close(fd);
			return -1;
		}
		close(fd);
	}
	return access("/sys/module/" MODULE, F_OK);
}

/* Other programs may open the card for a moment, as udev does with each new card. */
static int vkms_unload(void)
{
	time_t start = seconds();

	while (syscall(__NR_delete_module, MODULE, O_NONBLOCK)) {
		if (seconds() - start > MAX_PAUSE_SECONDS)
			return -1;
		usleep(10000);
	}
	return 0;
}

/* A property of an object. */
struct prop {
	__u32 object;
	__u32 id;
	__u64 value;
	char name[DRM_PROP_NAME_LEN];
};

struct card {
	int fd;
	__u32 crtc;
	__u32 plane;
	__u32 connector;	/* the writeback connector, which is enough for a CRTC */
	__u32 mode;
	__u32 handles[2];
	__u32 fbs[2];		/* shown and written to */
	unsigned int refs;	/* to the latter when no job writes to it */
	struct prop props[128];
	unsigned int count;
};

static int card_add_props(struct card *c, __u32 object)
{
	__u32 ids[64];
	__u64 values[64];
	struct drm_mode_obj_get_properties arg = {
		.props_ptr = (uintptr_t)ids,
		.prop_values_ptr = (uintptr_t)values,
		.count_props = 64,
		.obj_id = object,
	};
	unsigned int i;

	if (ioctl(c->fd, DRM_IOCTL_MODE_OBJ_GETPROPERTIES, &arg))
		return -1;
	for (i = 0; i < arg.count_props && i < 64 && c->count < 128; i++) {
		struct drm_mode_get_property get = { .prop_id = ids[i] };
		struct prop *p = &c->props[c->count];

		if (ioctl(c->fd, DRM_IOCTL_MODE_GETPROPERTY, &get))
			return -1;
		p->object = object;
		p->id = ids[i];
		p->value = values[i];
		memcpy(p->name, get.name, sizeof(p->name));
		c->count++;
	}
	return 0;
}

static struct prop *card_prop(struct card *c, __u32 object, const char *name)
{
	unsigned int i;

	for (i = 0; i < c->count; i++)
		if (c->props[i].object == object && !strcmp(c->props[i].name, name))
			return &c->props[i];
	return NULL;
}

static int card_find_connector(struct card *c, const __u32 *ids, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		struct drm_mode_modeinfo mode;
		struct drm_mode_get_connector get = {
			.connector_id = ids[i],
			.modes_ptr = (uintptr_t)&mode,
			.count_modes = 1,	/* known modes only, without probing */
		};

		if (ioctl(c->fd, DRM_IOCTL_MODE_GETCONNECTOR, &get))
			return -1;
		if (get.connector_type == DRM_MODE_CONNECTOR_WRITEBACK) {
			c->connector = ids[i];
			return card_add_props(c, ids[i]);
		}
	}
	return -1;
}

static int card_find_plane(struct card *c)
{
	__u32 ids[16];
	struct drm_mode_get_plane_res res = {
		.plane_id_ptr = (uintptr_t)ids,
		.count_planes = 16,
	};
	unsigned int i;

	if (ioctl(c->fd, DRM_IOCTL_MODE_GETPLANERESOURCES, &res))
		return -1;
	for (i = 0; i < res.count_planes && i < 16; i++) {
		unsigned int before = c->count;
		struct prop *type;

		if (card_add_props(c, ids[i]))
			return -1;
		type = card_prop(c, ids[i], "type");
		if (type && type->value == PLANE_TYPE_PRIMARY) {
			c->plane = ids[i];
			return 0;
		}
		c->count = before;
	}
	return -1;
}

static int card_add_fb(struct card *c, int i)
{
	struct drm_mode_create_dumb create = { .width = SIZE, .height = SIZE, .bpp = 32 };
	struct drm_mode_fb_cmd2 fb = {
		.width = SIZE, .height = SIZE, .pixel_format = DRM_FORMAT_XRGB8888,
	};

	if (ioctl(c->fd, DRM_IOCTL_MODE_CREATE_DUMB, &create))
		return -1;
	c->handles[i] = create.handle;
	fb.handles[0] = create.handle;
	fb.pitches[0] = create.pitch;
	if (ioctl(c->fd, DRM_IOCTL_MODE_ADDFB2, &fb))
		return -1;
	c->fbs[i] = fb.fb_id;
	return 0;
}

static void debug_path(struct card *c, char *path, size_t size)
{
	struct stat st = {};

	fstat(c->fd, &st);
	snprintf(path, size, DEBUG "/dri/%u/framebuffer", minor(st.st_rdev));
}

/* How many references the kernel has to the framebuffer that is written to; 0 if unknown. */
static unsigned int card_refs(struct card *c)
{
	unsigned int id = 0, found = 0;
	char path[64], *line = NULL;
	size_t room = 0;
	FILE *file;

	debug_path(c, path, sizeof(path));
	file = fopen(path, "re");
	/* The framebuffer's own count comes first, those of its objects follow. */
	while (file && !found && getline(&line, &room, file) > 0)
		if (sscanf(line, "framebuffer[%u]", &id) != 1 && id == c->fbs[1])
			sscanf(line, " refcount=%u", &found);
	free(line);
	if (file)
		fclose(file);
	return found;
}

/*
 * The kernel cleans up the job of a frame some time after writing the frame back. The
 * cleanup turns vkms's composer off: a frame requested before that is never written.
 */
static bool card_wait_for_cleanup(struct card *c)
{
	time_t start = seconds();

	while (card_refs(c) > c->refs) {
		if (seconds() - start > MAX_PAUSE_SECONDS)
			return false;
		usleep(10000);
	}
	if (!c->refs)
		usleep(500000);
	return true;
}

static int card_setup(struct card *c)
{
	/* 30 frames a second: even a slow machine can draw all of them. */
	struct drm_mode_modeinfo mode = {
		.clock = 168, .vrefresh = 30,
		.hdisplay = SIZE, .hsync_start = 66, .hsync_end = 68, .htotal = 80,
		.vdisplay = SIZE, .vsync_start = 65, .vsync_end = 66, .vtotal = 70,
		.name = "64x64",
	};
	struct drm_mode_create_blob blob = { .data = (uintptr_t)&mode, .length = sizeof(mode) };
	struct drm_set_client_cap atomic = { DRM_CLIENT_CAP_ATOMIC, 1 };
	struct drm_set_client_cap writeback = { DRM_CLIENT_CAP_WRITEBACK_CONNECTORS, 1 };
	__u32 crtcs[8], connectors[8];
	struct drm_mode_card_res res = {
		.crtc_id_ptr = (uintptr_t)crtcs, .count_crtcs = 8,
		.connector_id_ptr = (uintptr_t)connectors, .count_connectors = 8,
	};

	if (ioctl(c->fd, DRM_IOCTL_SET_CLIENT_CAP, &atomic) ||
	    ioctl(c->fd, DRM_IOCTL_SET_CLIENT_CAP, &writeback) ||
	    ioctl(c->fd, DRM_IOCTL_MODE_GETRESOURCES, &res) ||
	    res.count_crtcs < 1 || res.count_connectors > 8)
		return -1;
	c->crtc = crtcs[0];
	if (card_add_props(c, c->crtc) || card_find_plane(c) ||
	    card_find_connector(c, connectors, res.count_connectors) ||
	    card_add_fb(c, 0) || card_add_fb(c, 1) ||
	    ioctl(c->fd, DRM_IOCTL_MODE_CREATEPROPBLOB, &blob))
		return -1;
	c->mode = blob.blob_id;
	c->refs = card_refs(c);
	return 0;
}

static int card_open(struct card *c)
{
	memset(c, 0, sizeof(*c));
	c->fd = drm_open(MODULE);
	if (c->fd < 0)
		return -1;
	if (card_setup(c)) {
		close(c->fd);
		c->fd = -1;
	}
	return c->fd < 0 ? -1 : 0;
}

/* A commit, object by object. */
struct commit {
	__u32 objects[3];
	__u32 counts[3];
	unsigned int object_count;
	__u32 props[32];
	__u64 values[32];
	unsigned int prop_count;
	bool bad;		/* an object lacks a property that was set */
};

static void commit_object(struct commit *m, __u32 object)
{
	m->objects[m->object_count++] = object;
}

static void commit_set(struct commit *m, struct card *c, const char *name, __u64 value)
{
	unsigned int current = m->object_count - 1;
	struct prop *p = card_prop(c, m->objects[current], name);

	if (!p) {
		m->bad = true;
		return;
	}
	m->counts[current]++;
	m->props[m->prop_count] = p->id;
	m->values[m->prop_count++] = value;
}

static int commit_send(struct commit *m, struct card *c, __u32 flags)
{
	struct drm_mode_atomic arg = {
		.flags = DRM_MODE_ATOMIC_ALLOW_MODESET | flags,
		.count_objs = m->object_count,
		.objs_ptr = (uintptr_t)m->objects,
		.count_props_ptr = (uintptr_t)m->counts,
		.props_ptr = (uintptr_t)m->props,
		.prop_values_ptr = (uintptr_t)m->values,
	};

	if (m->bad) {
		errno = ENOENT;
		return -1;
	}
	return ioctl(c->fd, DRM_IOCTL_MODE_ATOMIC, &arg);
}

/*
 * Shows a frame and writes it back, once @in_fence has signaled; -1 is none. Returns both
 * out fences in @fences, that of the CRTC first. Blocks only if there is no @in_fence.
 */
static int card_show(struct card *c, int in_fence, int fences[2])
{
	struct commit m = {};

	if (!card_wait_for_cleanup(c))
		return -1;
	commit_object(&m, c->connector);
	commit_set(&m, c, "CRTC_ID", c->crtc);
	commit_set(&m, c, "WRITEBACK_FB_ID", c->fbs[1]);
	commit_set(&m, c, "WRITEBACK_OUT_FENCE_PTR", (uintptr_t)&fences[1]);
	commit_object(&m, c->crtc);
	commit_set(&m, c, "MODE_ID", c->mode);
	commit_set(&m, c, "ACTIVE", 1);
	commit_set(&m, c, "OUT_FENCE_PTR", (uintptr_t)&fences[0]);
	commit_object(&m, c->plane);
	commit_set(&m, c, "CRTC_ID", c->crtc);
	commit_set(&m, c, "FB_ID", c->fbs[0]);
	commit_set(&m, c, "SRC_X", 0);
	commit_set(&m, c, "SRC_Y", 0);
	commit_set(&m, c, "SRC_W", SIZE << 16);
	commit_set(&m, c, "SRC_H", SIZE << 16);
	commit_set(&m, c, "CRTC_X", 0);
	commit_set(&m, c, "CRTC_Y", 0);
	commit_set(&m, c, "CRTC_W", SIZE);
	commit_set(&m, c, "CRTC_H", SIZE);
	commit_set(&m, c, "IN_FENCE_FD", (__s64)in_fence);
	return commit_send(&m, c, in_fence < 0 ? 0 : DRM_MODE_ATOMIC_NONBLOCK);
}

static int card_turn_off(struct card *c)
{
	struct commit m = {};

	commit_object(&m, c->connector);
	commit_set(&m, c, "CRTC_ID", 0);
	commit_object(&m, c->crtc);
	commit_set(&m, c, "MODE_ID", 0);
	commit_set(&m, c, "ACTIVE", 0);
	commit_object(&m, c->plane);
	commit_set(&m, c, "CRTC_ID", 0);
	commit_set(&m, c, "FB_ID", 0);
	return commit_send(&m, c, 0);
}

/*
 * Work that a commit leaves in the kernel's work queues holds a framebuffer until it
 * ends, and runs code of the module. Nothing in the kernel waits for this work.
 */
static void card_wait_for_work(struct card *c)
{
	time_t start = seconds();
	char path[64];

	debug_path(c, path, sizeof(path));
	while (file_has(path, "framebuffer[") && seconds() - start < MAX_PAUSE_SECONDS)
		usleep(10000);
	usleep(access(path, R_OK) ? 1000000 : 200000);
}

static int card_close(struct card *c)
{
	int i, ret = card_turn_off(c);

	for (i = 0; i < 2; i++) {
		ioctl(c->fd, DRM_IOCTL_MODE_RMFB, &c->fbs[i]);
		gem_close(c->fd, c->handles[i]);
	}
	card_wait_for_work(c);
	close(c->fd);
	c->fd = -1;
	return ret;
}

/* Closes the card and removes the module. */
static int card_remove(struct card *c)
{
	return card_close(c) || vkms_unload() ? -1 : 0;
}

/*
 * Opens a new card and turns it on with a blocking commit: a nonblocking one runs on any
 * CPU, and would start the timer there.
 */
static int card_load(struct card *c)
{
	int i, fences[2], ret = 0;
	time_t start = seconds();

	if (vkms_load())
		return -1;
	while (card_open(c)) {
		if (seconds() - start > MAX_PAUSE_SECONDS)
			return -1;
		usleep(10000);
	}
	if (card_show(c, -1, fences))
		return -1;
	for (i = 0; i < 2; i++) {
		if (!fence_wait(fences[i]))
			ret = -1;
		close(fences[i]);
	}
	return ret;
}

/* What SYNC_IOC_FILE_INFO reports for the first fence of a sync_file. */
static int fence_info(int sync_file, struct sync_fence_info *fence)
{
	struct sync_file_info info = {
		.num_fences = 1,
		.sync_fence_info = (uintptr_t)fence,
	};

	memset(fence, 0, sizeof(*fence));
	return ioctl(sync_file, SYNC_IOC_FILE_INFO, &info);
}

static bool has_fixed_names(const struct sync_fence_info *fence)
{
	return !strcmp(fence->driver_name, DETACHED_DRIVER) &&
	       !strcmp(fence->obj_name, SIGNALED_TIMELINE);
}

/* Whether the names are those of the CRTC or, if @i is 1, of the connector. */
static bool has_own_names(struct card *c, const struct sync_fence_info *fence, int i)
{
	char timeline[32];

	snprintf(timeline, sizeof(timeline), "%s:%u-", i ? "CONNECTOR" : "CRTC",
		 i ? c->connector : c->crtc);
	return !strcmp(fence->driver_name, MODULE) &&
	       !strncmp(fence->obj_name, timeline, strlen(timeline));
}

/* Returns what is wrong with a signaled fence, or "". */
static const char *wrong_with_signaled(int sync_file)
{
	struct sync_fence_info fence;
	static char text[128];

	if (buf_poll(sync_file, POLLIN) != POLLIN)
		return "poll() takes it for pending";
	if (fence_info(sync_file, &fence))
		return "SYNC_IOC_FILE_INFO fails";
	if (fence.status == 1 && has_fixed_names(&fence))
		return "";
	snprintf(text, sizeof(text), "status %d, driver %.32s, timeline %.32s", fence.status,
		 fence.driver_name, fence.obj_name);
	return text;
}

/* The same, using the fence in every possible way; merges it with the sync_file @other. */
static const char *wrong_with_kept(int sync_file, int other)
{
	struct sync_set_deadline deadline = { .deadline_ns = 1 };
	const char *wrong = wrong_with_signaled(sync_file);
	int i, merged;

	for (i = 0; i < 2 && !*wrong; i++) {
		merged = i ? sync_merge(other, sync_file) : sync_merge(sync_file, other);
		if (merged < 0)
			return "SYNC_IOC_MERGE fails";
		wrong = wrong_with_signaled(merged);
		close(merged);
	}
	if (!*wrong && ioctl(sync_file, SYNC_IOC_SET_DEADLINE, &deadline) && errno != ENOTTY)
		return "SYNC_IOC_SET_DEADLINE fails";
	return wrong;
}

FIXTURE(vkms)
{
	struct card card;
	int timeline;
	int fences[2];
	cpu_set_t cpus;
	char offdelay[16];
};

static void restore_offdelay(const char *before)
{
	if (*before)
		put(OFFDELAY, before);
}

FIXTURE_SETUP(vkms)
{
	cpu_set_t one;
	bool loaded;
	FILE *file;

	self->card.fd = -1;
	self->timeline = timeline_new();
	ASSERT_LE(0, self->timeline)
		TH_LOG("no sw_sync: is CONFIG_SW_SYNC on and debugfs mounted?");
	/* Loaded by a test that was killed, or used by another program. */
	if (!access("/sys/module/" MODULE, F_OK) && vkms_unload())
		SKIP(return, MODULE " is in use or built in");
	if (vkms_load())
		SKIP(return, "no module " MODULE ": is CONFIG_DRM_VKMS=m?");
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(self->cpus), &self->cpus));
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	file = fopen(OFFDELAY, "re");
	if (file) {
		if (fscanf(file, "%15s", self->offdelay) == 1)
			put(OFFDELAY, "0");
		fclose(file);
	}
	loaded = !card_load(&self->card);
	if (!loaded)	/* the teardown does not run after a failed setup */
		restore_offdelay(self->offdelay);
	ASSERT_TRUE(loaded)
		TH_LOG("cannot turn the display on: %s", strerror(errno));
}

FIXTURE_TEARDOWN(vkms)
{
	/* First, so that no commit waits for a fence of the timeline any more. */
	close(self->timeline);
	if (self->card.fd >= 0)
		EXPECT_EQ(0, card_close(&self->card));
	if (!access("/sys/module/" MODULE, F_OK))
		EXPECT_EQ(0, vkms_unload());
	restore_offdelay(self->offdelay);
}

/* Gets out fences that are pending until the timeline is advanced to @value. */
static int show_later(struct card *c, int timeline, unsigned int value, int fences[2])
{
	int in_fence = timeline_fence(timeline, value), ret;

	if (in_fence < 0)
		return -1;
	ret = card_show(c, in_fence, fences);
	close(in_fence);
	return ret;
}

TEST_F_TIMEOUT(vkms, names_before_and_after, 60)
{
	struct sync_fence_info fence;
	int i;

	ASSERT_EQ(0, show_later(&self->card, self->timeline, 1, self->fences));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, fence_info(self->fences[i], &fence));
		EXPECT_EQ(0, fence.status);
		EXPECT_TRUE(has_own_names(&self->card, &fence, i))
			TH_LOG("%.32s %.32s", fence.driver_name, fence.obj_name);
		EXPECT_EQ(0, buf_poll(self->fences[i], POLLIN));
	}
	ASSERT_EQ(0, timeline_advance(self->timeline, 1));
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(fence_wait(self->fences[i]));
		EXPECT_STREQ("", wrong_with_signaled(self->fences[i]));
		close(self->fences[i]);
	}
}

/* The names of one kind of event, as they were recorded. */
struct recorded {
	unsigned int own;
	unsigned int fixed;
};

/* The events of all contexts that have had a fence of vkms. */
struct trace {
	struct recorded signaled, wait_start, wait_end, destroy, other;
	unsigned int contexts[8];
	unsigned int count;
	char bad[256];		/* a line with any other name */
};

static bool trace_knows(struct trace *t, unsigned int context)
{
	unsigned int i;

	for (i = 0; i < t->count; i++)
		if (t->contexts[i] == context)
			return true;
	return false;
}

static void read_trace_line(struct trace *t, const char *line)
{
	const char *event = strstr(line, "dma_fence_");
	char driver[64], timeline[64], name[32];
	unsigned int context;
	struct recorded *r;
	bool own, fixed;

	if (line[0] == '#' || !event ||
	    sscanf(event, "dma_fence_%31[a-z_]: driver=%63s timeline=%63s context=%u",
		   name, driver, timeline, &context) != 4)
		return;
	if (!strcmp(driver, MODULE) && !trace_knows(t, context) && t->count < 8)
		t->contexts[t->count++] = context;
	if (!trace_knows(t, context))
		return;
	r = !strcmp(name, "signaled") ? &t->signaled :
	    !strcmp(name, "wait_start") ? &t->wait_start :
	    !strcmp(name, "wait_end") ? &t->wait_end :
	    !strcmp(name, "destroy") ? &t->destroy : &t->other;
	own = !strcmp(driver, MODULE) &&
	      (!strncmp(timeline, "CRTC:", 5) || !strncmp(timeline, "CONNECTOR:", 10));
	fixed = !strcmp(driver, DETACHED_DRIVER) && !strcmp(timeline, SIGNALED_TIMELINE);
	r->own += own;
	r->fixed += fixed;
	if (!own && !fixed)
		snprintf(t->bad, sizeof(t->bad), "%s", line);
}

static void read_trace(struct trace *t)
{
	FILE *file = fopen(INSTANCE "/trace", "re");
	char *line = NULL;
	size_t room = 0;

	memset(t, 0, sizeof(*t));
	while (file && getline(&line, &room, file) > 0)
		read_trace_line(t, line);
	free(line);
	if (file)
		fclose(file);
}

static bool trace_begin(void)
{
	rmdir(INSTANCE);
	return !access(INSTANCES, F_OK) && !mkdir(INSTANCE, 0700) &&
	       !put(INSTANCE "/events/dma_fence/enable", "1");
}

static void trace_end(void)
{
	put(INSTANCE "/events/dma_fence/enable", "0");
	rmdir(INSTANCE);
}

TEST_F_TIMEOUT(vkms, fences_outlive_the_module, 120)
{
	bool traced = trace_begin(), listed;
	int later[2], i, buf = buf_udmabuf();
	struct trace t;

	ASSERT_LE(0, buf)
		TH_LOG("no udmabuf: %s", strerror(errno));
	ASSERT_EQ(0, show_later(&self->card, self->timeline, 1, self->fences));
	/* debugfs lists the fence if it is imported into a buffer. */
	listed = !buf_import(buf, DMA_BUF_SYNC_WRITE, self->fences[0]);
	ASSERT_TRUE(listed || errno == ENOTTY);
	EXPECT_EQ(listed, file_has(BUFINFO, MODULE));
	if (!listed)
		TH_LOG(NO_SYNC_FILE_IOCTLS ", so debugfs shows no fence");
	ASSERT_EQ(0, timeline_advance(self->timeline, 1));
	ASSERT_TRUE(fence_wait(self->fences[0]));
	ASSERT_TRUE(fence_wait(self->fences[1]));
	ASSERT_EQ(0, card_remove(&self->card))
		TH_LOG("cannot remove " MODULE ": %s", strerror(errno));

	for (i = 0; i < 2; i++)
		EXPECT_STREQ("", wrong_with_kept(self->fences[i], self->fences[!i]));
	if (listed) {
		EXPECT_TRUE(file_has(BUFINFO, " signalled"));
		EXPECT_FALSE(file_has(BUFINFO, MODULE));
	}
	close(buf);

	/* A commit to the module's next instance lets the kernel wait for them. */
	ASSERT_EQ(0, card_load(&self->card));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, card_show(&self->card, self->fences[i], later));
		EXPECT_TRUE(fence_wait(later[0]));
		EXPECT_TRUE(fence_wait(later[1]));
		close(later[0]);
		close(later[1]);
	}
	ASSERT_EQ(0, card_remove(&self->card));

	for (i = 0; i < 2; i++)
		EXPECT_STREQ("", wrong_with_kept(self->fences[i], self->fences[!i]));
	for (i = 0; i < 2; i++)
		close(self->fences[i]);
	if (!traced) {
		TH_LOG("no tracefs, so trace events were not looked at");
		return;
	}
	read_trace(&t);
	trace_end();
	EXPECT_STREQ("", t.bad);
	/* The first card had one pair of fences, the second three. */
	EXPECT_EQ(4, t.count);
	EXPECT_EQ(8, t.signaled.own);
	EXPECT_EQ(0, t.signaled.fixed);
	/* One wait for each of the two kept fences, which have signaled. */
	EXPECT_EQ(0, t.wait_start.own);
	EXPECT_LE(2, t.wait_start.fixed);
	EXPECT_EQ(0, t.wait_end.own);
	EXPECT_LE(2, t.wait_end.fixed);
	EXPECT_EQ(0, t.destroy.own);
	EXPECT_EQ(8, t.destroy.fixed);
}

/* The fences that the thread reads: each round replaces them. */
struct race {
	pthread_mutex_t lock;
	int fences[2];
	bool stop;		/* set by another thread */
	unsigned int pending;
	unsigned int signaled;
	char bad[128];
};

static void race_read(struct race *r, int sync_file)
{
	struct sync_fence_info fence;
	int merged = sync_merge(sync_file, sync_file);

	buf_poll(sync_file, POLLIN);
	if (merged < 0 || fence_info(merged, &fence) || fence_info(sync_file, &fence))
		snprintf(r->bad, sizeof(r->bad), "cannot read a fence: %s", strerror(errno));
	/* The fence may signal after its names were read, or between the two reads. */
	else if ((strcmp(fence.driver_name, MODULE) &&
		  strcmp(fence.driver_name, DETACHED_DRIVER)) ||
		 (strncmp(fence.obj_name, "CRTC:", 5) &&
		  strncmp(fence.obj_name, "CONNECTOR:", 10) &&
		  strcmp(fence.obj_name, SIGNALED_TIMELINE)))
		snprintf(r->bad, sizeof(r->bad), "driver %.32s, timeline %.32s",
			 fence.driver_name, fence.obj_name);
	__atomic_fetch_add(fence.status ? &r->signaled : &r->pending, 1, __ATOMIC_RELAXED);
	if (merged >= 0)
		close(merged);
}

static void *race_thread(void *data)
{
	struct race *r = data;
	int i, fence;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < 2; i++) {
			pthread_mutex_lock(&r->lock);
			fence = r->fences[i] < 0 ? -1 : dup(r->fences[i]);
			pthread_mutex_unlock(&r->lock);
			if (fence < 0)
				continue;
			race_read(r, fence);
			close(fence);
		}
	}
	return NULL;
}

/* Waits until there have been some more reads of that kind. */
static bool race_goes_on(unsigned int *reads)
{
	unsigned int before = __atomic_load_n(reads, __ATOMIC_RELAXED);
	time_t start = seconds();

	while (__atomic_load_n(reads, __ATOMIC_RELAXED) - before <= ENOUGH) {
		if (seconds() - start > MAX_PAUSE_SECONDS)
			return false;
		usleep(1000);
	}
	return true;
}

static void race_give(struct race *r, const int fences[2])
{
	int i;

	pthread_mutex_lock(&r->lock);
	for (i = 0; i < 2; i++) {
		if (r->fences[i] >= 0)
			close(r->fences[i]);
		r->fences[i] = fences[i];
	}
	pthread_mutex_unlock(&r->lock);
}

TEST_F_TIMEOUT(vkms, readers_race_with_removal, 120)
{
	struct race r = { .lock = PTHREAD_MUTEX_INITIALIZER, .fences = { -1, -1 } };
	static const int none[2] = { -1, -1 };
	pthread_t thread;
	int round, i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, race_thread, &r));
	/* The reader may run on other CPUs than the code that it races with. */
	pthread_setaffinity_np(thread, sizeof(self->cpus), &self->cpus);
	for (round = 0; round < ROUNDS; round++) {
		if (round)
			ASSERT_EQ(0, card_load(&self->card));
		ASSERT_EQ(0, show_later(&self->card, self->timeline, round + 1,
					self->fences));
		race_give(&r, self->fences);
		EXPECT_TRUE(race_goes_on(&r.pending));
		ASSERT_EQ(0, timeline_advance(self->timeline, 1));
		for (i = 0; i < 2; i++)
			ASSERT_TRUE(fence_wait(self->fences[i]));
		ASSERT_EQ(0, card_remove(&self->card));
		EXPECT_TRUE(race_goes_on(&r.signaled));
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	race_give(&r, none);
	TH_LOG("read pending %u times, signaled %u times", r.pending, r.signaled);
	EXPECT_STREQ("", r.bad);
}

TEST_HARNESS_MAIN
