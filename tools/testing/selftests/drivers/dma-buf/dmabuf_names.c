// SPDX-License-Identifier: GPL-2.0-only
/*
 * The names of fences that user space sees: in SYNC_IOC_FILE_INFO, in debugfs and in
 * trace events. A pending fence has the names of its exporter. A signaled fence has the
 * names "detached-driver" and "signaled-timeline", or none at all, because the exporter
 * may have freed its own names. Each name must be whole, also while another thread
 * signals.
 *
 * Other programs on the machine have fences, too, and the same files list them. Only
 * the test's own fences count: its timelines have its pid in their names, its buffer is
 * known by the inode, and its fences in trace events by the context of dma_fence_init.
 */

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "../../kselftest_harness.h"
#include "dmabuf_util.h"
#include "sync_file_util.h"

/* If it has shown enough by then. For 32-bit programs the kernel runs the same code. */
#define STORM_SECONDS (sizeof(long) == 8 ? 3 : 1)
#define MAX_STORM_SECONDS 12	/* a test has at most two storms, and 30 seconds */
#define ENOUGH 10		/* a storm must show more events than that */
#define MAX_PAUSE_SECONDS 8	/* for a thing expected soon; vgem's fences time out after 10 */
#define DETACHED_DRIVER "detached-driver"
#define SIGNALED_TIMELINE "signaled-timeline"
#define SYNC_INFO "/sys/kernel/debug/sync/info"
#define BUFINFO "/sys/kernel/debug/dma_buf/bufinfo"
#define INSTANCES "/sys/kernel/tracing/instances"
#define INSTANCE INSTANCES "/dmabuf_names"

/*
 * A timeline has the name of the thread that opens it: here a short one and one of the
 * maximal length. Both begin with the pid, so no other process uses them.
 */
static char timeline_names[2][16];

static __attribute__((constructor)) void make_timeline_names(void)
{
	unsigned int pid = getpid() % 10000000;

	snprintf(timeline_names[0], sizeof(timeline_names[0]), "%ut", pid);
	snprintf(timeline_names[1], sizeof(timeline_names[1]), "%07u-letters", pid);
}

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

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* On a slow machine a storm runs longer until it has shown @enough. */
static bool storm_goes_on(time_t start, bool enough)
{
	return seconds() - start < (enough ? STORM_SECONDS : MAX_STORM_SECONDS);
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

/* An unnamed file is called driver-timelineCONTEXT-SEQNO, cut to 31 characters. */
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

/* A timeline may be closed while it has a pending fence. */
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
 * A storm creates a fence and signals it, again and again. Meanwhile a reader duplicates
 * the fence and reads it.
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
		time_t start = seconds();
		struct storm s;

		pending = 0;
		signaled = 0;
		ASSERT_EQ(0, storm_start(&s, i));
		while (storm_goes_on(start, signaled > ENOUGH && pending > ENOUGH)) {
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
			/* The kernel reads the names before the status, so read again. */
			ASSERT_EQ(0, fence_names(fence, &names));
			ASSERT_STREQ(DETACHED_DRIVER, names.driver);
			ASSERT_STREQ(SIGNALED_TIMELINE, names.timeline);
			signaled++;
			close(fence);
		}
		storm_stop(&s);
		TH_LOG("%u signals, read pending %u times, signaled %u times", s.signals,
		       pending, signaled);
		EXPECT_LT(ENOUGH, signaled);
		EXPECT_LT(ENOUGH, pending);
	}
}

/*
 * sync/info lists "NAME: value" for each timeline and "  fence STATUS..." for each of
 * its fences, where older kernels may put a name before "fence". Adds the number of
 * timelines called @name to @timelines, and stores in @bad a line that has another form.
 */
static void read_sync_info(const char *name, unsigned int *timelines, char *bad, size_t size)
{
	FILE *file = fopen(SYNC_INFO, "re");
	size_t room = 0, len = strlen(name);
	bool own = false;
	char *line = NULL;

	*bad = 0;
	while (file && getline(&line, &room, file) > 0) {
		const char *rest = line;
		unsigned int value;
		char after;

		if (strncmp(line, "  ", 2)) {
			own = !strncmp(line, name, len);
			if (!own)
				continue;
			if (sscanf(line + len, ": %u%c", &value, &after) == 2 && after == '\n')
				++*timelines;
			else
				snprintf(bad, size, "%s", line);
		} else if (own) {
			rest += 2;
			if (!strncmp(rest, name, len) && rest[len] == '_')
				rest += len + 1;
			if (strncmp(rest, "fence active", 12) &&
			    strncmp(rest, "fence signaled", 14))
				snprintf(bad, size, "%s", line);
		}
	}
	free(line);
	if (file)
		fclose(file);
}

TEST(sync_info_in_a_storm)
{
	unsigned int i, timelines;
	char bad[128];

	for (i = 0; i < 2; i++) {
		time_t start = seconds();
		struct storm s;

		timelines = 0;
		ASSERT_EQ(0, storm_start(&s, i));
		while (storm_goes_on(start, timelines > ENOUGH)) {
			read_sync_info(s.timeline_name, &timelines, bad, sizeof(bad));
			ASSERT_STREQ("", bad);
		}
		storm_stop(&s);
		EXPECT_LT(ENOUGH, timelines)
			TH_LOG("no timeline %s in " SYNC_INFO, s.timeline_name);
	}
}

/* What bufinfo lists for the fences on one buffer. */
struct bufinfo {
	bool found;
	unsigned int pending;	/* "unsignalled" */
	unsigned int signaled;
	unsigned int own;	/* the exporter's names, in all lines */
	unsigned int own_signaled;	/* the exporter's names, in lines of signaled fences */
	unsigned int fixed;
	char bad[128];		/* a line with any other name */
};

static bool is_number(const char *word)
{
	return *word && strspn(word, "0123456789") == strlen(word);
}

/* The words of a fence's line that are not names. Their order depends on the kernel. */
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

/* A buffer's lines begin with one of the form "size flags mode count exporter inode". */
static bool is_buffer_line(const char *line, unsigned long long *ino)
{
	unsigned long long size;
	unsigned int flags, mode;
	long count;

	return *line != '\t' && sscanf(line, "%llu %x %x %ld %*s %llu", &size, &flags, &mode,
				       &count, ino) == 5;
}

static void read_fence_line(struct bufinfo *info, char *line)
{
	bool pending = strstr(line, "unsignalled");
	char *word, *words, copy[128];

	snprintf(copy, sizeof(copy), "%s", line);
	*(pending ? &info->pending : &info->signaled) += 1;
	for (word = strtok_r(line, " \t\n:", &words); word;
	     word = strtok_r(NULL, " \t\n:", &words)) {
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

static void read_bufinfo(struct bufinfo *info, int buf)
{
	FILE *file = fopen(BUFINFO, "re");
	unsigned long long ino;
	size_t room = 0;
	bool own = false;
	char *line = NULL;
	struct stat st;

	memset(info, 0, sizeof(*info));
	if (fstat(buf, &st))
		st.st_ino = 0;
	while (file && getline(&line, &room, file) > 0) {
		if (is_buffer_line(line, &ino)) {
			own = ino == st.st_ino;
			info->found |= own;
		} else if (own && strstr(line, "fence:") && strstr(line, "signalled")) {
			read_fence_line(info, line);
		}
	}
	free(line);
	if (file)
		fclose(file);
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
		read_bufinfo(&info, self->buf);
		ASSERT_TRUE(info.found)
			TH_LOG("the test's own buffer is not in " BUFINFO);
		EXPECT_EQ(1, info.pending);
		EXPECT_EQ(2, info.own);
		EXPECT_EQ(0, info.own_signaled);
		EXPECT_STREQ("", info.bad);
		ASSERT_EQ(0, vgem_signal(self->vgem, fence));
		read_bufinfo(&info, self->buf);
		EXPECT_EQ(0, info.pending);
		EXPECT_LE(1, info.signaled);
		EXPECT_EQ(0, info.own);
		EXPECT_STREQ("", info.bad);
	}
}

/* A thread attaches and signals fences of vgem on one buffer until @stop is set. */
struct vgem_storm {
	pthread_t thread;
	int vgem;
	__u32 handle;
	unsigned int signals;	/* read by another thread */
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
		__atomic_fetch_add(&s->signals, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

TEST_F(vgem, bufinfo_in_a_storm)
{
	struct vgem_storm s = { .vgem = self->vgem, .handle = self->handle };
	unsigned int pending = 0, signaled = 0, signals = 0;
	time_t start = seconds();
	struct bufinfo info;

	ASSERT_EQ(0, pthread_create(&s.thread, NULL, vgem_storm_thread, &s));
	while (storm_goes_on(start, signals > ENOUGH && signaled)) {
		read_bufinfo(&info, self->buf);
		ASSERT_TRUE(info.found);
		ASSERT_STREQ("", info.bad);
		pending += info.pending;
		signaled += info.signaled;
		signals = __atomic_load_n(&s.signals, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	pthread_join(s.thread, NULL);
	TH_LOG("%u signals, read pending %u times, signaled %u times", s.signals, pending,
	       signaled);
	EXPECT_LT(ENOUGH, s.signals);
	EXPECT_LT(0, signaled);
}

/* Records the events of this thread, too, in the instance that the test reads. */
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

/*
 * The contexts of the test's own fences, indexed by their last bits. The kernel numbers
 * contexts one after the other, so only a far newer context overwrites an entry.
 */
static unsigned int contexts[1 << 16];

static unsigned int *context_entry(unsigned int context)
{
	return &contexts[context % (sizeof(contexts) / sizeof(*contexts))];
}

/*
 * The traced threads do not cause all of their events: an interrupt or an RCU callback
 * may record another process's fence. No thread of the test has created a fence with
 * the context of that record.
 */
static bool is_own_record(const char *event, const char *driver, unsigned int context)
{
	/* The test's threads create no other fences of these two drivers. */
	if (!strncmp(event, "dma_fence_init:", 15) && is_one_of(driver, "vgem", "sw_sync"))
		*context_entry(context) = context;
	return context && *context_entry(context) == context;
}

static void read_trace_line(struct trace *t, const char *line)
{
	const char *event = strstr(line, "dma_fence_"), *tail = strstr(line, " context=");
	char driver[64], timeline[64], name[32];
	unsigned int context, seqno;
	struct recorded *r;
	bool own, fixed;

	if (line[0] == '#' || !event || !tail || sscanf(tail, " context=%u", &context) != 1)
		return;
	if (sscanf(event, "dma_fence_%31[a-z_]: driver=%63s timeline=%63s context=%u seqno=%u",
		   name, driver, timeline, &context, &seqno) != 5) {
		/* A name with a space in it, or an empty name. */
		if (is_own_record(event, "", context))
			snprintf(t->bad, sizeof(t->bad), "%s", line);
		return;
	}
	if (!is_own_record(event, driver, context))
		return;
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

/*
 * Reads into @t what has been recorded. With @consume adds that to @t, and deletes the
 * records, including any made meanwhile. Bounded, because events may be recorded all the
 * time. The file trace_pipe consumes records, but 5.10 leaks memory whenever it is closed.
 */
static void read_trace(struct trace *t, bool consume)
{
	int fd = open(INSTANCE "/trace", O_RDONLY | O_CLOEXEC);
	static char text[1 << 16];
	size_t used = 0, total = 0;
	char *line, *rest;
	ssize_t got;

	if (!consume)
		memset(t, 0, sizeof(*t));
	while (fd >= 0 && total < 4 * sizeof(text) &&
	       (got = read(fd, text + used, sizeof(text) - 1 - used)) > 0) {
		text[used + got] = 0;
		total += got;
		for (line = text; (rest = strchr(line, '\n')); line = rest + 1) {
			*rest = 0;
			read_trace_line(t, line);
		}
		used = strlen(line);
		memmove(text, line, used + 1);
	}
	if (fd >= 0)
		close(fd);
	/* Opening the file for writing empties it. */
	if (consume)
		put(INSTANCE "/trace", "");
}

/*
 * Waits come from DMA_BUF_IOCTL_SYNC on a buffer of vgem. Without a GPU user space has
 * no other means to make the kernel wait for a fence.
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

/*
 * The format on which programs that parse the records rely. Whether a char is signed
 * depends on how the kernel was compiled, so the test ignores that field.
 */
#define NAMES_IN_RECORD "__get_str(driver), __get_str(timeline)"

static const char *record_format =
	"\tfield:__data_loc char[] driver;\toffset:8;\tsize:4;\n"
	"\tfield:__data_loc char[] timeline;\toffset:12;\tsize:4;\n"
	"\tfield:unsigned int context;\toffset:16;\tsize:4;\n"
	"\tfield:unsigned int seqno;\toffset:20;\tsize:4;\n"
	"\n"
	"print fmt: \"driver=%s timeline=%s context=%u seqno=%u\", " NAMES_IN_RECORD
	", REC->context, REC->seqno\n";

TEST_F(trace, format_is_that_of_upstream)
{
	static const char * const events[] = { "init", "emit", "enable_signal", "signaled",
					       "wait_start", "wait_end", "destroy" };
	char path[128], text[4096], *from, *tail;
	unsigned int i;
	ssize_t got;
	int fd;

	for (i = 0; i < sizeof(events) / sizeof(*events); i++) {
		snprintf(path, sizeof(path), INSTANCE "/events/dma_fence/dma_fence_%s/format",
			 events[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ASSERT_LE(0, fd);
		got = read(fd, text, sizeof(text) - 1);
		close(fd);
		ASSERT_LT(0, got);
		text[got] = 0;
		while ((from = strstr(text, "\tsigned:")) && (tail = strchr(from, '\n')))
			memmove(from, tail, strlen(tail) + 1);
		/* An empty line follows the fields that every event has. */
		from = strstr(text, "\n\n");
		ASSERT_TRUE(!!from);
		EXPECT_STREQ(record_format, from + 2);
	}
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
	struct trace trace;
};

/* Signals when the wait has begun, or after a while, so that the test ends anyway. */
static void *signal_thread(void *data)
{
	time_t start = seconds();
	struct signaler *s = data;

	trace_me();
	while (!s->trace.wait_start.own && seconds() - start < MAX_PAUSE_SECONDS) {
		usleep(1000);
		read_trace(&s->trace, false);
	}
	vgem_signal(s->vgem, s->fence);
	return NULL;
}

TEST_F(trace, wait_ends_with_the_fixed_names)
{
	struct signaler s = { .vgem = self->vgem };
	struct trace *t = &s.trace;

	ASSERT_EQ(0, vgem_attach(self->vgem, self->handle, true, &s.fence));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, signal_thread, &s));
	EXPECT_EQ(0, buf_wait(self->buf));
	pthread_join(s.thread, NULL);
	read_trace(t, false);
	EXPECT_STREQ("", t->bad);
	EXPECT_EQ(1, t->wait_start.own);
	EXPECT_EQ(0, t->wait_start.fixed);
	EXPECT_EQ(0, t->wait_end.own);
	EXPECT_EQ(1, t->wait_end.fixed);
}

TEST_F(trace, end_of_signaled_fence_has_the_fixed_names)
{
	int timeline = named_timeline(0), fence = timeline_fence(timeline, 1);
	time_t start = seconds();
	struct trace t = {};

	ASSERT_LE(0, fence);
	ASSERT_EQ(0, timeline_advance(timeline, 1));
	close(fence);
	close(timeline);
	for (;;) {
		read_trace(&t, false);
		if (t.destroy.own || t.destroy.fixed || seconds() - start > MAX_PAUSE_SECONDS)
			break;
		usleep(1000);
	}
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
	struct storm s = { .fence = -1 };
	time_t start = seconds();
	struct trace t = {};
	unsigned int i;

	pthread_mutex_init(&s.lock, NULL);
	s.timeline = named_timeline(1);
	ASSERT_LE(0, s.timeline);
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, traced_storm_thread, &s));
	ASSERT_EQ(0, pthread_create(&v.thread, NULL, traced_vgem_storm_thread, &v));
	while (storm_goes_on(start, t.destroy.fixed > ENOUGH && t.signaled.own > ENOUGH)) {
		/* Reading takes far longer than a fence is pending, so wait often per read. */
		for (i = 0; i < 50; i++)
			EXPECT_EQ(0, buf_wait(self->buf));
		read_trace(&t, true);
		ASSERT_STREQ("", t.bad);
	}
	__atomic_store_n(&v.stop, true, __ATOMIC_RELAXED);
	pthread_join(v.thread, NULL);
	storm_stop(&s);
	read_trace(&t, true);
	ASSERT_STREQ("", t.bad);
	TH_LOG("%u and %u signals", s.signals, v.signals);
	TH_LOG("own names: %u waits began, %u ended, %u fences ended", t.wait_start.own,
	       t.wait_end.own, t.destroy.own);
	TH_LOG("fixed names: %u waits began, %u ended, %u fences ended", t.wait_start.fixed,
	       t.wait_end.fixed, t.destroy.fixed);
	/* A signaled fence does not have its exporter's names any more. */
	EXPECT_EQ(0, t.wait_end.own);
	EXPECT_EQ(0, t.destroy.own);
	EXPECT_LT(ENOUGH, t.destroy.fixed);
	EXPECT_LT(ENOUGH, t.signaled.own);
}

TEST_HARNESS_MAIN
