// SPDX-License-Identifier: GPL-2.0-only
/*
 * poll() and epoll on a dma-buf that is in use, and closing it while a callback is
 * pending. The fences come from vgem, not from an import, so that the test runs on
 * any kernel. If the buffer does not outlive the callback of its poll, the close_*
 * cases crash the machine.
 */

#include <pthread.h>
#include <sys/epoll.h>
#include <time.h>

#include "../../kselftest_harness.h"
#include "dmabuf_util.h"

FIXTURE(poll)
{
	int vgem;
	int buf;
	__u32 handle;
};

FIXTURE_SETUP(poll)
{
	self->vgem = drm_open("vgem");
	ASSERT_LE(0, self->vgem)
		TH_LOG("no vgem device: is CONFIG_DRM_VGEM on?");
	self->buf = buf_vgem_handle(self->vgem, &self->handle);
	ASSERT_LE(0, self->buf);
}

FIXTURE_TEARDOWN(poll)
{
	close(self->buf);
	close(self->vgem);
}

TEST_F(poll, idle)
{
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

TEST_F(poll, writer_keeps_everybody_out)
{
	__u32 fence;

	ASSERT_EQ(0, vgem_attach(self->vgem, self->handle, true, &fence));
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN));
	EXPECT_EQ(0, buf_poll(self->buf, POLLOUT));
	EXPECT_EQ(0, buf_poll(self->buf, POLLIN | POLLOUT));
	ASSERT_EQ(0, vgem_signal(self->vgem, fence));
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

TEST_F(poll, reader_keeps_writers_out)
{
	__u32 fence;

	ASSERT_EQ(0, vgem_attach(self->vgem, self->handle, false, &fence));
	EXPECT_EQ(POLLIN, buf_poll(self->buf, POLLIN | POLLOUT));
	EXPECT_EQ(0, buf_poll(self->buf, POLLOUT));
	ASSERT_EQ(0, vgem_signal(self->vgem, fence));
	EXPECT_EQ(POLLIN | POLLOUT, buf_poll(self->buf, POLLIN | POLLOUT));
}

struct waiter {
	pthread_t thread;
	int buf;
	int events;
	int revents;
};

static void *wait_thread(void *data)
{
	struct waiter *w = data;
	struct pollfd pfd = { .fd = w->buf, .events = w->events };

	w->revents = poll(&pfd, 1, 8000) == 1 ? pfd.revents : 0;
	return NULL;
}

TEST_F(poll, signal_wakes_all_waiters)
{
	struct waiter w[4];
	__u32 fence;
	int i;

	ASSERT_EQ(0, vgem_attach(self->vgem, self->handle, true, &fence));
	for (i = 0; i < 4; i++) {
		w[i].buf = self->buf;
		w[i].events = i & 1 ? POLLIN : POLLOUT;
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, wait_thread, &w[i]));
	}
	usleep(200000);
	ASSERT_EQ(0, vgem_signal(self->vgem, fence));
	for (i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_EQ(w[i].events, w[i].revents);
	}
}

static void drop_buffer(int vgem, int buf, __u32 handle)
{
	/* The handle also holds the dma-buf. */
	gem_close(vgem, handle);
	close(buf);
	/* A work item or the return to user space drops the last reference. */
	usleep(100000);
}

TEST_F(poll, close_with_callback_out)
{
	__u32 fence;
	int i;

	for (i = 0; i < 2; i++) {
		__u32 handle;
		int buf = buf_vgem_handle(self->vgem, &handle);

		ASSERT_LE(0, buf);
		ASSERT_EQ(0, vgem_attach(self->vgem, handle, i, &fence));
		EXPECT_EQ(i ? 0 : POLLIN, buf_poll(buf, POLLIN | POLLOUT));
		drop_buffer(self->vgem, buf, handle);
		EXPECT_EQ(0, vgem_signal(self->vgem, fence));
		usleep(100000);
	}
}

TEST_F(poll, close_with_epoll_callback_out)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
	int ep = epoll_create1(EPOLL_CLOEXEC), buf;
	__u32 fence, handle;

	ASSERT_LE(0, ep);
	buf = buf_vgem_handle(self->vgem, &handle);
	ASSERT_LE(0, buf);
	ASSERT_EQ(0, vgem_attach(self->vgem, handle, true, &fence));
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, buf, &event));
	EXPECT_EQ(0, epoll_wait(ep, &event, 1, 0));
	drop_buffer(self->vgem, buf, handle);
	EXPECT_EQ(0, vgem_signal(self->vgem, fence));
	usleep(100000);
	/* After the callback has run, nothing holds the file any more. */
	EXPECT_EQ(0, epoll_wait(ep, &event, 1, 100));
	close(ep);
}

static void *epoll_thread(void *data)
{
	struct epoll_event event;
	int *ep = data, ret;

	/* Ends when the test closes the pipe in the set. */
	do {
		ret = epoll_wait(*ep, &event, 1, 10);
	} while (!ret || (ret > 0 && !(event.events & EPOLLHUP)));
	return NULL;
}

/* epoll_wait() in one thread races with the last close and the signal in another. */
TEST_F(poll, close_races_with_epoll)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
	struct epoll_event quit = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC), pipefd[2];
	time_t end = time(NULL) + 3;
	pthread_t thread;
	unsigned int i = 0;

	ASSERT_LE(0, ep);
	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, pipefd[0], &quit));
	ASSERT_EQ(0, pthread_create(&thread, NULL, epoll_thread, &ep));
	while (time(NULL) < end) {
		__u32 fence, handle;
		int buf = buf_vgem_handle(self->vgem, &handle);

		ASSERT_LE(0, buf);
		ASSERT_EQ(0, vgem_attach(self->vgem, handle, i & 1, &fence));
		ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, buf, &event));
		gem_close(self->vgem, handle);
		if (i & 2) {
			close(buf);
			vgem_signal(self->vgem, fence);
		} else {
			vgem_signal(self->vgem, fence);
			close(buf);
		}
		i++;
	}
	close(pipefd[1]);
	pthread_join(thread, NULL);
	close(pipefd[0]);
	close(ep);
}

TEST_HARNESS_MAIN
