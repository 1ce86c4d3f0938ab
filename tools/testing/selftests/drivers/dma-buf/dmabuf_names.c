// SPDX-License-Identifier: GPL-2.0-only
/*
 * The names of fences as user space gets to see them: in SYNC_IOC_FILE_INFO, in debugfs
 * and in trace events. While a fence is pending it has the names of its exporter; once
 * it has signaled, "detached-driver" and "signaled-timeline" or none at all, because
 * the exporter may have freed its own. Each name is there whole, also while another
 * thread signals.
 */

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "../../kselftest_harness.h"
#include "dmabuf_util.h"
#include "sync_file_util.h"

#define STORM_SECONDS 3
#define DETACHED_DRIVER "detached-driver"
#define SIGNALED_TIMELINE "signaled-timeline"
#define SYNC_INFO "/sys/kernel/debug/sync/info"
#define BUFINFO "/sys/kernel/debug/dma_buf/bufinfo"
#define INSTANCES "/sys/kernel/tracing/instances"
#define INSTANCE INSTANCES "/dmabuf_names"

/* A timeline has the name of the thread that opens it: one short, one as long as can be. */
static const char * const timeline_names[] = { "t", "fifteen-letters" };

static int named_timeline(int i)
{
	char name[16];
	int fd;

	prctl(PR_GET_NAME, name);
	prctl(PR_SET_NAME, timeline_names[i]);
	fd = timeline_new();
	prctl(PR_SET_NAME, name);
	return fd;
}

static bool is_one_of(const char *name, const char *a, const char *b)
{
	return !strcmp(name, a) || !strcmp(name, b);
}

/* The names of the first fence of @sync_file, and what the file is called. */
struct fence_names {
	char file[32];
	char driver[32];
	char timeline[32];
	int status;
};

static int fence_names(int sync_file, struct fence_names *names)
{
	struct sync_fence_info fence = {};
	struct sync_file_info info = {
		.num_fences = 1,
		.sync_fence_info = (uintptr_t)&fence,
	};

	if (ioctl(sync_file, SYNC_IOC_FILE_INFO, &info))
		return -1;
	memcpy(names->file, info.name, sizeof(names->file));
	memcpy(names->driver, fence.driver_name, sizeof(names->driver));
	memcpy(names->timeline, fence.obj_name, sizeof(names->timeline));
	names->status = fence.status;
	return 0;
}

/* A file without a name of its own is called driver-timelineCONTEXT-SEQNO, cut to 31. */
static bool file_name_is(const char *file, const char *driver, const char *timeline)
{
	char wanted[80];
	size_t len = snprintf(wanted, sizeof(wanted), "%s-%s", driver, timeline);

	if (len > 31)
		len = 31;
	return strnlen(file, 32) <= 31 && !strncmp(file, wanted, len) &&
	       strspn(file + len, "0123456789-") == strlen(file + len);
}

TEST(pending_sync_file_has_the_names_of_its_exporter)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct fence_names names;
		int timeline = named_timeline(i);
		int fence = timeline_fence(timeline, 1);

		ASSERT_LE(0, fence)
			TH_LOG("no sw_sync: is CONFIG_SW_SYNC on and debugfs mounted?");
		ASSERT_EQ(0, fence_names(fence, &names));
		EXPECT_EQ(0, names.status);
		EXPECT_STREQ("sw_sync", names.driver);
		EXPECT_STREQ(timeline_names[i], names.timeline);
		EXPECT_TRUE(file_name_is(names.file, "sw_sync", timeline_names[i]))
			TH_LOG("%s", names.file);
		close(fence);
		close(timeline);
	}
}

TEST(signaled_sync_file_has_the_fixed_names)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct fence_names names;
		int timeline = named_timeline(i);
		int fence = timeline_fence(timeline, 1);

		ASSERT_LE(0, fence);
		ASSERT_EQ(0, timeline_advance(timeline, 1));
		ASSERT_EQ(0, fence_names(fence, &names));
		EXPECT_EQ(1, names.status);
		EXPECT_STREQ(DETACHED_DRIVER, names.driver);
		EXPECT_STREQ(SIGNALED_TIMELINE, names.timeline);
		EXPECT_TRUE(file_name_is(names.file, DETACHED_DRIVER, SIGNALED_TIMELINE))
			TH_LOG("%s", names.file);
		close(fence);
		close(timeline);
	}
}

/* What is left of a timeline that was closed with a fence pending. */
TEST(sync_file_of_closed_timeline_has_whole_names)
{
	struct fence_names names;
	int timeline = named_timeline(1);
	int fence = timeline_fence(timeline, 1);

	ASSERT_LE(0, fence);
	close(timeline);
	ASSERT_EQ(0, fence_names(fence, &names));
	if (names.status) {
		EXPECT_STREQ(DETACHED_DRIVER, names.driver);
		EXPECT_STREQ(SIGNALED_TIMELINE, names.timeline);
	} else {
		EXPECT_STREQ("sw_sync", names.driver);
		EXPECT_STREQ(timeline_names[1], names.timeline);
	}
	close(fence);
}

/*
 * The fence that is signaled next: a storm makes one, a reader takes a duplicate, and
 * the storm signals it meanwhile.
 */
struct storm {
	pthread_t thread;
	pthread_mutex_t lock;
	const char *timeline_name;
	int timeline;
	int fence;
	unsigned int signals;
	bool stop;		/* set by another thread */
};

static void *storm_thread(void *data)
{
	struct storm *s = data;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		int fence = timeline_fence(s->timeline, s->signals + 1), old;

		pthread_mutex_lock(&s->lock);
		old = s->fence;
		s->fence = fence;
		pthread_mutex_unlock(&s->lock);
		if (old >= 0)
			close(old);
		if (s->signals % 8 == 0)
			usleep(s->signals % 64);
		timeline_advance(s->timeline, 1);
		s->signals++;
	}
	return NULL;
}

static int storm_start(struct storm *s, int i)
{
	memset(s, 0, sizeof(*s));
	s->timeline_name = timeline_names[i];
	s->timeline = named_timeline(i);
	s->fence = -1;
	pthread_mutex_init(&s->lock, NULL);
	return s->timeline < 0 ? -1 : pthread_create(&s->thread, NULL, storm_thread, s);
}

static void storm_stop(struct storm *s)
{
	__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
	pthread_join(s->thread, NULL);
	close(s->fence);
	close(s->timeline);
}

static int storm_fence(struct storm *s)
{
	int fence;

	pthread_mutex_lock(&s->lock);
	fence = s->fence < 0 ? -1 : dup(s->fence);
	pthread_mutex_unlock(&s->lock);
	return fence;
}

TEST(sync_file_in_a_storm)
{
	unsigned int i, pending, signaled;

	for (i = 0; i < 2; i++) {
		time_t end = time(NULL) + STORM_SECONDS;
		struct storm s;

		pending = 0;
		signaled = 0;
		ASSERT_EQ(0, storm_start(&s, i));
		while (time(NULL) < end) {
			struct fence_names names;
			int fence = storm_fence(&s);

			if (fence < 0)
				continue;
			do {
				ASSERT_EQ(0, fence_names(fence, &names));
				ASSERT_TRUE(is_one_of(names.driver, "sw_sync", DETACHED_DRIVER))
					TH_LOG("%.32s", names.driver);
				ASSERT_TRUE(is_one_of(names.timeline, s.timeline_name,
						      SIGNALED_TIMELINE))
					TH_LOG("%.32s", names.timeline);
				ASSERT_TRUE(file_name_is(names.file, "sw_sync",
							 s.timeline_name) ||
					    file_name_is(names.file, "sw_sync",
							 SIGNALED_TIMELINE) ||
					    file_name_is(names.file, DETACHED_DRIVER,
							 SIGNALED_TIMELINE))
					TH_LOG("%.32s", names.file);
				pending += !names.status;
			} while (!names.status);
			/* A fence may signal after its names were taken, not before. */
			ASSERT_EQ(0, fence_names(fence, &names));
			ASSERT_STREQ(DETACHED_DRIVER, names.driver);
			ASSERT_STREQ(SIGNALED_TIMELINE, names.timeline);
			signaled++;
			close(fence);
		}
		storm_stop(&s);
		TH_LOG("%u signals, read pending %u times, signaled %u times", s.signals,
		       pending, signaled);
		EXPECT_LT(10, signaled);
		EXPECT_LT(10, pending);
	}
}

/* The whole of a small file, or an empty string. */
static char *slurp(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t got;

	while (fd >= 0 && used < size - 1 &&
	       (got = read(fd, text + used, size - 1 - used)) > 0)
		used += got;
	if (fd >= 0)
		close(fd);
	text[used] = 0;
	return text;
}

static char text[1 << 20];

/*
 * sync/info lists "NAME: value" for each timeline and "  fence STATUS..." for each of
 * its fences, where older kernels put a name before "fence". Returns the line that is
 * neither, or an empty string.
 */
static const char *bad_sync_line(const char *name, unsigned int *timelines)
{
	char *line, *rest;
	unsigned int value;
	char after;

	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		size_t len = strlen(name);

		if (!strncmp(line, "  ", 2)) {
			const char *fence = strstr(line, "fence ");

			if (!fence || (strncmp(fence + 6, "active", 6) &&
				       strncmp(fence + 6, "signaled", 8)))
				return line;
			/* A name of an older kernel, "NAME_fence". */
			if (fence != line + 2 && (strncmp(line + 2, name, len) ||
						  fence != line + 2 + len + 1))
				return line;
		} else if (!strncmp(line, name, len) &&
			   sscanf(line + len, ": %u%c", &value, &after) == 1) {
			++*timelines;
		} else if (strcmp(line, "objs:") && strcmp(line, "fences:") &&
			   strspn(line, "-") != strlen(line)) {
			return line;
		}
	}
	return "";
}

TEST(sync_info_in_a_storm)
{
	unsigned int i, timelines = 0;

	for (i = 0; i < 2; i++) {
		time_t end = time(NULL) + STORM_SECONDS;
		struct storm s;

		ASSERT_EQ(0, storm_start(&s, i));
		while (time(NULL) < end) {
			const char *bad;

			slurp(SYNC_INFO, text, sizeof(text));
			bad = bad_sync_line(s.timeline_name, &timelines);
			ASSERT_STREQ("", bad);
		}
		storm_stop(&s);
	}
	EXPECT_LT(10, timelines)
		TH_LOG("no timeline in " SYNC_INFO);
}

/* What bufinfo says of the fences on all buffers. */
struct bufinfo {
	unsigned int pending;	/* "unsignalled" */
	unsigned int signaled;
	unsigned int own;	/* the exporter's names, in lines of either kind */
	unsigned int own_signaled;	/* and in lines of signaled fences */
	unsigned int fixed;
	char bad[128];		/* a line with any other name */
};

static bool is_number(const char *word)
{
	return *word && strspn(word, "0123456789") == strlen(word);
}

/* The kernels have the words of such a line in different order; names are all but these. */
static bool is_filler(const char *word)
{
	static const char * const fillers[] = {
		"Exclusive", "Shared", "kernel", "write", "read", "bookkeep", "fence",
		"seq", "signalled", "unsignalled",
	};
	unsigned int i;

	for (i = 0; i < sizeof(fillers) / sizeof(*fillers); i++)
		if (!strcmp(word, fillers[i]))
			return true;
	return is_number(word);
}

static void read_bufinfo(struct bufinfo *info)
{
	char *line, *rest, *word, *words;

	memset(info, 0, sizeof(*info));
	slurp(BUFINFO, text, sizeof(text));
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		bool pending = strstr(line, "unsignalled");
		char copy[128];

		if (!strstr(line, "fence:") || !strstr(line, "signalled"))
			continue;
		snprintf(copy, sizeof(copy), "%s", line);
		*(pending ? &info->pending : &info->signaled) += 1;
		for (word = strtok_r(line, " \t:", &words); word;
		     word = strtok_r(NULL, " \t:", &words)) {
			if (is_one_of(word, "vgem", "unbound")) {
				info->own++;
				info->own_signaled += !pending;
			} else if (is_one_of(word, DETACHED_DRIVER, SIGNALED_TIMELINE)) {
				info->fixed++;
			} else if (!is_filler(word)) {
				memcpy(info->bad, copy, sizeof(copy));
			}
		}
	}
}

FIXTURE(vgem)
{
	int vgem;
	int buf;
	__u32 handle;
};

FIXTURE_SETUP(vgem)
{
	self->vgem = drm_open("vgem");
	ASSERT_LE(0, self->vgem)
		TH_LOG("no vgem device: is CONFIG_DRM_VGEM on?");
	self->buf = buf_vgem_handle(self->vgem, &self->handle);
	ASSERT_LE(0, self->buf);
}

FIXTURE_TEARDOWN(vgem)
{
	close(self->buf);
	close(self->vgem);
}

TEST_F(vgem, bufinfo_before_and_after)
{
	struct bufinfo info;
	__u32 fence;
	int write;

	for (write = 0; write < 2; write++) {
		ASSERT_EQ(0, vgem_attach(self->vgem, self->handle, write, &fence));
		read_bufinfo(&info);
		EXPECT_EQ(1, info.pending);
		EXPECT_EQ(2, info.own);
		EXPECT_EQ(0, info.own_signaled);
		EXPECT_STREQ("", info.bad);
		ASSERT_EQ(0, vgem_signal(self->vgem, fence));
		read_bufinfo(&info);
		EXPECT_EQ(0, info.pending);
		EXPECT_LE(1, info.signaled);
		EXPECT_EQ(0, info.own);
		EXPECT_STREQ("", info.bad);
	}
}

/* vgem's fences on one buffer, one after the other, until told to stop. */
struct vgem_storm {
	pthread_t thread;
	int vgem;
	__u32 handle;
	unsigned int signals;
	bool stop;		/* set by another thread */
};

static void *vgem_storm_thread(void *data)
{
	struct vgem_storm *s = data;
	__u32 fence;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		if (vgem_attach(s->vgem, s->handle, s->signals & 1, &fence))
			break;
		if (s->signals % 8 == 0)
			usleep(s->signals % 64);
		vgem_signal(s->vgem, fence);
		s->signals++;
	}
	return NULL;
}

TEST_F(vgem, bufinfo_in_a_storm)
{
	struct vgem_storm s = { .vgem = self->vgem, .handle = self->handle };
	time_t end = time(NULL) + STORM_SECONDS;
	unsigned int pending = 0, signaled = 0;
	struct bufinfo info;

	ASSERT_EQ(0, pthread_create(&s.thread, NULL, vgem_storm_thread, &s));
	while (time(NULL) < end) {
		read_bufinfo(&info);
		ASSERT_STREQ("", info.bad);
		pending += info.pending;
		signaled += info.signaled;
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	pthread_join(s.thread, NULL);
	TH_LOG("%u signals, read pending %u times, signaled %u times", s.signals, pending,
	       signaled);
	EXPECT_LT(10, s.signals);
	EXPECT_LT(0, signaled);
}

static int put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -1;
	ret = write(fd, value, strlen(value)) == (ssize_t)strlen(value) ? 0 : -1;
	close(fd);
	return ret;
}

/* Events of this thread, too, in the instance that the test reads. */
static void trace_me(void)
{
	char pid[16];
	int fd = open(INSTANCE "/set_event_pid", O_WRONLY | O_APPEND | O_CLOEXEC);

	snprintf(pid, sizeof(pid), "%ld\n", (long)syscall(__NR_gettid));
	if (fd >= 0) {
		if (write(fd, pid, strlen(pid)) < 0)
			perror("set_event_pid");
		close(fd);
	}
}

/* The names of one kind of event, as they were recorded. */
struct recorded {
	unsigned int own;
	unsigned int fixed;
};

struct trace {
	struct recorded wait_start, wait_end, signaled, destroy, other;
	char bad[256];		/* a line with any other name */
};

static void read_trace_line(struct trace *t, const char *line)
{
	const char *event = strstr(line, "dma_fence_");
	char driver[64], timeline[64], name[32];
	unsigned int context, seqno;
	struct recorded *r;
	bool own, fixed;

	if (line[0] == '#' || !event)
		return;
	if (sscanf(event, "dma_fence_%31[a-z_]: driver=%63s timeline=%63s context=%u seqno=%u",
		   name, driver, timeline, &context, &seqno) != 5) {
		snprintf(t->bad, sizeof(t->bad), "%s", line);
		return;
	}
	if (!is_one_of(driver, "vgem", DETACHED_DRIVER) &&
	    !is_one_of(driver, "sw_sync", DETACHED_DRIVER))
		snprintf(t->bad, sizeof(t->bad), "%s", line);
	if (!is_one_of(timeline, "unbound", SIGNALED_TIMELINE) &&
	    !is_one_of(timeline, timeline_names[0], timeline_names[1]))
		snprintf(t->bad, sizeof(t->bad), "%s", line);
	r = !strcmp(name, "wait_start") ? &t->wait_start :
	    !strcmp(name, "wait_end") ? &t->wait_end :
	    !strcmp(name, "signaled") ? &t->signaled :
	    !strcmp(name, "destroy") ? &t->destroy : &t->other;
	own = is_one_of(driver, "vgem", "sw_sync");
	fixed = !strcmp(timeline, SIGNALED_TIMELINE);
	r->own += own && !fixed;
	r->fixed += !own && fixed;
}

/* What was recorded since the last time. */
static void read_trace(struct trace *t)
{
	int fd = open(INSTANCE "/trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char *line, *rest;
	size_t used = 0;
	ssize_t got;

	while (fd >= 0 && (got = read(fd, text + used, sizeof(text) - 1 - used)) > 0) {
		text[used + got] = 0;
		used = 0;
		for (line = text; (rest = strchr(line, '\n')); line = rest + 1) {
			*rest = 0;
			read_trace_line(t, line);
		}
		used = strlen(line);
		memmove(text, line, used + 1);
	}
	if (fd >= 0)
		close(fd);
}

/*
 * Waits come from DMA_BUF_IOCTL_SYNC on a buffer of vgem: there is no other way for
 * user space to have the kernel wait for a fence that does not need a GPU.
 */
FIXTURE(trace)
{
	int vgem;
	int buf;
	__u32 handle;
};

FIXTURE_SETUP(trace)
{
	self->vgem = drm_open("vgem");
	ASSERT_LE(0, self->vgem);
	self->buf = buf_vgem_handle(self->vgem, &self->handle);
	ASSERT_LE(0, self->buf);
	if (access(INSTANCES, F_OK))
		SKIP(return, "no tracefs with instances at /sys/kernel/tracing");
	rmdir(INSTANCE);
	ASSERT_EQ(0, mkdir(INSTANCE, 0700));
	trace_me();
	ASSERT_EQ(0, put(INSTANCE "/events/dma_fence/enable", "1"));
}

FIXTURE_TEARDOWN(trace)
{
	put(INSTANCE "/events/dma_fence/enable", "0");
	rmdir(INSTANCE);
	close(self->buf);
	close(self->vgem);
}

static int buf_wait(int buf)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW };

	if (ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync))
		return -1;
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	return ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync);
}

struct signaler {
	pthread_t thread;
	int vgem;
	__u32 fence;
};

static void *signal_thread(void *data)
{
	struct signaler *s = data;

	trace_me();
	usleep(100000);
	vgem_signal(s->vgem, s->fence);
	return NULL;
}

TEST_F(trace, wait_ends_with_the_fixed_names)
{
	struct signaler s = { .vgem = self->vgem };
	struct trace t = {};

	ASSERT_EQ(0, vgem_attach(self->vgem, self->handle, true, &s.fence));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, signal_thread, &s));
	EXPECT_EQ(0, buf_wait(self->buf));
	pthread_join(s.thread, NULL);
	read_trace(&t);
	EXPECT_STREQ("", t.bad);
	EXPECT_EQ(1, t.wait_start.own);
	EXPECT_EQ(0, t.wait_start.fixed);
	EXPECT_EQ(0, t.wait_end.own);
	EXPECT_EQ(1, t.wait_end.fixed);
}

TEST_F(trace, end_of_signaled_fence_has_the_fixed_names)
{
	int timeline = named_timeline(0), fence = timeline_fence(timeline, 1);
	struct trace t = {};

	ASSERT_LE(0, fence);
	ASSERT_EQ(0, timeline_advance(timeline, 1));
	close(fence);
	close(timeline);
	usleep(100000);
	read_trace(&t);
	EXPECT_STREQ("", t.bad);
	EXPECT_EQ(1, t.signaled.own);
	EXPECT_EQ(0, t.destroy.own);
	EXPECT_EQ(1, t.destroy.fixed);
}

static void *traced_vgem_storm_thread(void *data)
{
	trace_me();
	return vgem_storm_thread(data);
}

static void *traced_storm_thread(void *data)
{
	trace_me();
	return storm_thread(data);
}

TEST_F(trace, events_in_a_storm)
{
	struct vgem_storm v = { .vgem = self->vgem, .handle = self->handle };
	time_t end = time(NULL) + STORM_SECONDS;
	struct storm s = { .fence = -1 };
	struct trace t = {};

	pthread_mutex_init(&s.lock, NULL);
	s.timeline = named_timeline(1);
	ASSERT_LE(0, s.timeline);
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, traced_storm_thread, &s));
	ASSERT_EQ(0, pthread_create(&v.thread, NULL, traced_vgem_storm_thread, &v));
	while (time(NULL) < end) {
		EXPECT_EQ(0, buf_wait(self->buf));
		read_trace(&t);
		ASSERT_STREQ("", t.bad);
	}
	__atomic_store_n(&v.stop, true, __ATOMIC_RELAXED);
	pthread_join(v.thread, NULL);
	storm_stop(&s);
	read_trace(&t);
	ASSERT_STREQ("", t.bad);
	TH_LOG("%u and %u signals", s.signals, v.signals);
	TH_LOG("own names: %u waits began, %u ended, %u fences ended", t.wait_start.own,
	       t.wait_end.own, t.destroy.own);
	TH_LOG("fixed names: %u waits began, %u ended, %u fences ended", t.wait_start.fixed,
	       t.wait_end.fixed, t.destroy.fixed);
	/* What has signaled has no names of its own any more. */
	EXPECT_EQ(0, t.wait_end.own);
	EXPECT_EQ(0, t.destroy.own);
	EXPECT_LT(10, t.destroy.fixed);
	EXPECT_LT(10, t.signaled.own);
}

TEST_HARNESS_MAIN
