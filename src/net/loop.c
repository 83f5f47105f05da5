/* SPDX-License-Identifier: MIT */
/*
 * The turn of the loop. libevent says which sockets are ready; everything else,
 * timers included, happens once per turn in a fixed order:
 *
 *   wait > clock tick > ready sockets > connections that begin > timers of the wheel
 *        > hook (sessions write) > reap > log flush
 *
 * A process that stood still (stopped, moved to another machine, starved) finds everybody's
 * time over. What came meanwhile waits in the sockets, and is read before that is judged.
 *
 * libevent's own timers are used for one thing only: to end the wait. That alarm is
 * set again only when it has to go off earlier than it would, so a request costs no
 * timer work. The base is not "precise": that would cost a timerfd_settime per turn,
 * and the wheel's slots are 2 ms.
 */
#include "net_private.h"

#include <stdlib.h>
#include <time.h>

#include "firebreak/log.h"

#define STOOD_STILL   (100 * CLOCK_MS) /* timers are late by so much: this process was stopped, or very busy */
#define CATCH_UP      16 /* looks at the sockets: each tells of more of them than the one before */
#define CATCH_UP_TIME (50 * CLOCK_MS)

struct net_watch {
	struct net_loop *loop;
	struct event *event;
	void (*on_ready)(void *);
	void *arg;
};

static void on_alarm(evutil_socket_t fd, short what, void *arg)
{
	struct net_loop *loop = arg;

	loop_tick(loop);
	loop->alarm_at = INT64_MAX;
}

/* Above all that a name server has failed, or is back. */
static void on_library(int severity, const char *text)
{
	log_event(severity == EVENT_LOG_ERR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "libevent", "what", text, NULL);
}

struct net_loop *net_loop_create(void)
{
	struct event_config *config = event_config_new();
	struct net_loop *loop = calloc(1, sizeof(*loop));

	if (config && loop) {
		/* The change list merges what a turn asks of one descriptor into one
		 * epoll_ctl. Its one trap, dup()ed descriptors, does not occur here:
		 * sockets are closed only after their events are gone. */
		event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		loop->base = event_base_new_with_config(config);
		if (loop->base)
			loop->alarm = event_new(loop->base, -1, 0, on_alarm, loop);
	}
	if (config)
		event_config_free(config);
	if (!loop || !loop->alarm) {
		if (loop && loop->base)
			event_base_free(loop->base);
		free(loop);
		return NULL;
	}
	event_set_log_callback(on_library);
	loop->alarm_at = INT64_MAX;
	wheel_init(&loop->wheel, clock_tick());
	list_init(&loop->starting);
	list_init(&loop->dying);
	list_init(&loop->resolving);
	list_init(&loop->names);
	return loop;
}

static void reap(struct net_loop *loop)
{
	struct net_reap *item;
	struct list *node;

	/* What dies may close others: they die in the same sweep. It may also wake sessions,
	 * and the hook that would let them write is over. */
	while ((node = list_pop(&loop->dying))) {
		item = list_entry(node, struct net_reap, node);
		item->free(item);
		loop->again = true;
	}
}

void net_loop_destroy(struct net_loop *loop)
{
	if (!loop)
		return;
	resolve_loop_finish(loop);
	reap(loop);
	event_free(loop->alarm);
	event_base_free(loop->base);
	free(loop);
}

static int64_t read_monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * CLOCK_SEC + ts.tv_nsec;
}

/* Makes the wait end when the wheel has work, or after `wait_ms` (-1: no such limit). */
static void set_alarm(struct net_loop *loop, int wait_ms)
{
	int64_t now = clock_now(), at = wheel_next(&loop->wheel), in, stale;
	struct timeval tv;

	if (wait_ms >= 0 && at > now + wait_ms * CLOCK_MS)
		at = now + wait_ms * CLOCK_MS;
	if (at >= loop->alarm_at)
		return; /* goes off early enough; too early costs one idle turn */
	/* The sample is as old as the turn was long. (A faked clock is not corrected.) */
	stale = read_monotonic() - now;
	if (stale > 0 && stale < CLOCK_SEC)
		now += stale;
	in = at > now ? at - now : 0;
	if (in > 86400 * CLOCK_SEC)
		in = 86400 * CLOCK_SEC;
	tv.tv_sec = in / CLOCK_SEC;
	tv.tv_usec = (in % CLOCK_SEC + 999) / 1000;
	if (tv.tv_usec == 1000000) {
		tv.tv_sec++;
		tv.tv_usec = 0;
	}
	if (event_add(loop->alarm, &tv) == 0)
		loop->alarm_at = at;
}

static void start_connections(struct net_loop *loop)
{
	struct list batch, *node;

	list_init(&batch);
	list_splice(&batch, &loop->starting);
	while ((node = list_pop(&batch)))
		conn_start(list_entry(node, struct net_conn, starting));
}

static bool stood_still(const struct net_loop *loop) { return clock_now() - STOOD_STILL > wheel_next(&loop->wheel); }

/* Who was only busy looks no longer busy than a moment more. */
static void catch_up(struct net_loop *loop)
{
	int64_t until;
	int i;

	if (!stood_still(loop))
		return;
	until = read_monotonic() + CATCH_UP_TIME;
	for (i = 0; i < CATCH_UP && loop->ticked && stood_still(loop) && read_monotonic() < until; i++) {
		loop->ticked = false;
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	}
	loop_tick(loop);
	if (loop->hook)
		loop->hook(loop->hook_arg); /* what was read may be what is waited for: windows that open */
}

void net_loop_turn(struct net_loop *loop, int wait_ms)
{
	bool wait = wait_ms != 0 && !loop->again && list_empty(&loop->starting) && list_empty(&loop->dying);
	int64_t began;

	if (wait)
		set_alarm(loop, wait_ms);
	loop->again = false;
	loop->ticked = false;
	event_base_loop(loop->base, EVLOOP_ONCE | (wait ? EVLOOP_NO_EXIT_ON_EMPTY : EVLOOP_NONBLOCK));
	loop_tick(loop);
	catch_up(loop);
	began = clock_now();
	start_connections(loop);
	wheel_run(&loop->wheel, began);
	if (loop->hook)
		loop->hook(loop->hook_arg);
	reap(loop);
	log_flush();
	loop->turns++;
	loop->busy += read_monotonic() - began;
}

void net_loop_run(struct net_loop *loop)
{
	loop->stop = false;
	while (!loop->stop)
		net_loop_turn(loop, -1);
}

void net_loop_stop(struct net_loop *loop)
{
	loop->stop = true;
	loop->again = true;
}

void net_loop_hook(struct net_loop *loop, void (*hook)(void *), void *arg)
{
	loop->hook = hook;
	loop->hook_arg = arg;
}

void net_loop_again(struct net_loop *loop)
{
	loop->again = true;
}

struct event_base *net_loop_base(struct net_loop *loop)
{
	return loop->base;
}

void net_loop_stats(const struct net_loop *loop, uint64_t *turns, int64_t *busy_ns)
{
	*turns = loop->turns;
	*busy_ns = loop->busy;
}

void net_reap(struct net_loop *loop, struct net_reap *item)
{
	list_append(&loop->dying, &item->node);
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct net_watch *w = arg;

	loop_tick(w->loop);
	w->on_ready(w->arg); /* may free w */
}

struct net_watch *net_watch(struct net_loop *loop, int fd, void (*on_ready)(void *), void *arg)
{
	struct net_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct net_watch){ .loop = loop, .on_ready = on_ready, .arg = arg };
	w->event = event_new(loop->base, fd, EV_READ | EV_PERSIST, on_watch, w);
	if (!w->event || event_add(w->event, NULL)) {
		net_unwatch(w);
		return NULL;
	}
	return w;
}

void net_unwatch(struct net_watch *w)
{
	if (!w)
		return;
	if (w->event)
		event_free(w->event);
	free(w);
}
