/* SPDX-License-Identifier: MIT */
/*
 * A worker process: one loop, its own listening sockets, sessions, pools, Redis
 * connection. It listens to the supervisor on command_fd and reads the board once
 * per turn; it never waits for either.
 *
 * A new configuration is prepared at once but put in force only when control has
 * published the live part made for it (or two seconds are over), so that indices and
 * overrides always belong together.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"
#include "firebreak/proc.h"
#include "xchg_private.h"

#define PENDING_MAX  (2 * CLOCK_SEC)
#define PENDING_PACE CLOCK_SEC /* between two tries, when memory is short */
#define LATE_PERCENT 3 /* of a worker's requests may be asked twice for lateness alone */

uint64_t worker_random(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

/* ---- retries ---- */

/* What every worker of the node has counted. */
static void look_at_budget(struct worker *w)
{
	const struct conf_retry *r = &w->snap->conf->retry;
	uint64_t requests = 0, retries = 0;
	unsigned i;

	for (i = 0; i < board_workers(w->board); i++) {
		struct board_worker *part = board_worker(w->board, i);

		requests += __atomic_load_n(&part->requests, __ATOMIC_RELAXED);
		retries += __atomic_load_n(&part->retries, __ATOMIC_RELAXED);
	}
	budget_look(&w->hedges, LATE_PERCENT, 0, w->part->requests, w->hedges.retries, clock_now());
	budget_look(&w->budget, r->budget_percent, r->budget_minimum, requests, retries, clock_now());
}

bool worker_retry(struct worker *w, bool provoked)
{
	if (w->budget.at != clock_now())
		look_at_budget(w);
	if ((provoked && !budget_spare(&w->budget)) || !budget_take(&w->budget)) {
		tm_add(&w->part->tm, TM_RETRY_BUDGET_EMPTY, 1);
		return false;
	}
	w->part->retries++;
	return true;
}

/* ---- configuration ---- */

/* What may fail for want of memory comes first: all of the new configuration is in force or none. */
static bool move_over(struct worker *w, const struct conf *conf, struct rds_client **rds)
{
	net_loop_resolver(w->loop, conf->resolver);
	*rds = conf->redis.enabled ? rds_create(w->loop, &conf->redis, &w->part->tm) : NULL;
	if ((*rds || !conf->redis.enabled) && dc_pool_reconfigure(w->pool, conf, w->part))
		return true;
	net_loop_resolver(w->loop, w->snap->conf->resolver);
	rds_destroy(*rds);
	return false;
}

/* Who waits for an answer of the old one asks elsewhere, by the new configuration. */
static void replace_redis(struct worker *w, struct rds_client *rds)
{
	struct rds_client *old = w->rds;

	w->rds = rds;
	cache_configure(w->cache, w->snap->conf, rds);
	rds_destroy(old);
}

/* Counts per feature and datacenter move to the places these names have in `to`; `from`
 * is what they are laid out by, NULL when nobody knows any more. */
static void lay_out(struct board_worker *part, const struct conf *from, const struct conf *to)
{
	struct tm_worker *next = from ? malloc(sizeof(*next)) : NULL;

	/* Made beside it: who is killed or put off while the generation is none loses the names, or its reader does. */
	if (next) {
		memcpy(next, &part->tm, sizeof(*next));
		tm_remap(next, from, to);
	}
	board_worker_renumber(part);
	if (next)
		memcpy(&part->tm, next, sizeof(*next));
	else
		tm_forget_names(&part->tm);
	part->generation = to->generation;
	free(next);
}

/* The one before us may have died with an older configuration in force. */
static void take_counts(struct board_worker *part, const struct conf *before, const struct conf *now)
{
	uint64_t generation = part->generation;

	tm_restart(&part->tm);
	if (generation != now->generation)
		lay_out(part, before && generation == before->generation ? before : NULL, now);
}

/* False: no memory; the old configuration stays, and a later turn tries again. */
static bool put_in_force(struct worker *w, const struct board_live *live)
{
	struct snapshot *old = w->snap;
	const struct conf_log *log = &w->pending->conf->log;
	struct rds_client *rds;
	const char *failed;

	if (clock_now() < w->pending_from)
		return false;
	if (!move_over(w, w->pending->conf, &rds)) {
		w->pending_from = clock_now() + PENDING_PACE;
		log_event(LOG_LEVEL_ERROR, "config.delayed", "why", "out of memory", NULL);
		return false;
	}
	log_configure(log->events, log->access, (enum log_level)log->level, &failed);
	w->snap = w->pending;
	w->pending = NULL;
	lay_out(w->part, old->conf, w->snap->conf);
	w->live = *live;
	w->down.limits = &w->snap->conf->limits;
	w->down.connect_protocol = w->snap->connect_protocol;
	downstream_limit(w);
	buf_memory_limit(w->snap->conf->limits.memory_bytes);
	memset(w->expect, 0, sizeof(w->expect));
	load_forget(w);
	replace_redis(w, rds);
	snapshot_put(old);
	log_event(LOG_LEVEL_INFO, "config.applied", NULL);
	return true;
}

/* The configuration in force, or the one about to be. */
static uint64_t newest(const struct worker *w)
{
	return (w->pending ? w->pending : w->snap)->conf->generation;
}

static void take_config(struct worker *w, struct proc_message m)
{
	struct conf_errors *errors = conf_errors_create();
	unsigned long len;
	char why[256], *text = m.fd >= 0 ? proc_bytes_from_fd(m.fd, &len) : NULL;
	struct conf *conf = text && errors ? (struct conf *)(uintptr_t)conf_load(w->snap->conf->path, text, len, errors) : NULL;
	struct snapshot *s = NULL;

	if (m.fd >= 0)
		close(m.fd);
	free(text);
	if (conf) {
		conf->generation = m.number;
		s = snapshot_create(conf, w->ticket_key, why);
	}
	conf_errors_destroy(errors);
	if (!s) {
		log_event(LOG_LEVEL_ERROR, "config.rejected", "why", conf ? why : "it no longer loads", NULL);
		return;
	}
	snapshot_put(w->pending);
	w->pending = s;
	w->pending_until = clock_now() + PENDING_MAX;
	net_loop_again(w->loop);
}

static void read_board(struct worker *w)
{
	struct board_live live = { .version = w->live.version };
	bool newer = board_read(w->board, &live);

	if (newer && live.generation == w->snap->conf->generation && !w->pending) {
		w->live = live;
		w->part->live_version = live.version;
	} else if (w->pending) {
		if (newer && live.generation == w->pending->conf->generation) {
			if (put_in_force(w, &live))
				w->part->live_version = live.version;
		} else if (clock_now() > w->pending_until) {
			snapshot_default_live(w->pending, &live);
			live.version = w->live.version;
			put_in_force(w, &live);
		}
	}
}

/* ---- the turn ---- */

void worker_pump(struct worker *w)
{
	h2_pump_all(&w->down);
	dc_pool_pump(w->pool);
	if (!list_empty(&w->down.woken)) /* what left upstream earned a client its window */
		net_loop_again(w->loop);
}

static void on_turn(void *arg)
{
	struct worker *w = arg;
	struct tm_worker *tm = &w->part->tm;
	uint64_t turns;
	int64_t busy;

	read_board(w);
	load_turn(w);
	worker_pump(w);
	downstream_shed(w);
	w->evicted = 0;
	if (w->rds)
		rds_pump(w->rds);
	/* Every turn: what comes and goes between two ticks leaves its mark in the heap as well. */
	w->peak = w->down.count > w->peak ? w->down.count : w->peak;
	w->peak_bytes = buf_memory() > w->peak_bytes ? buf_memory() : w->peak_bytes;
	w->part->heartbeat++;
	net_loop_stats(w->loop, &turns, &busy);
	tm_add(tm, TM_TURNS, 1);
	tm_add(tm, TM_BUSY_NS, (uint64_t)(busy - w->busy_before));
	w->busy_before = busy;
	tm_set(tm, TM_DOWNSTREAM_OPEN, w->down.count);
	tm_set(tm, TM_DOWNSTREAM_STREAMS, w->exchanges);
	tm_set(tm, TM_BUFFER_BYTES, buf_memory());
	tm_add(tm, TM_LOG_DROPPED, log_dropped());
	if (w->draining && !w->down.count)
		net_loop_stop(w->loop);
}

/* A turn at least this often: the board must be read and the heartbeat seen also
 * when no client does anything. */
#define TICK (50 * CLOCK_MS)

/* Half of many connections, or of many bytes, have left: what they used goes back to
 * the system, which free() alone does not see to. Rare, since it walks the heap. */
#define CROWD 500
#define PILE  (32u << 20)

static void trim(struct worker *w)
{
	bool crowd = w->peak >= CROWD && w->down.count <= w->peak / 2;
	bool pile = w->peak_bytes >= PILE && buf_memory() <= w->peak_bytes / 2;

	if (!crowd && !pile)
		return;
	w->peak = w->down.count;
	w->peak_bytes = buf_memory();
	buf_memory_trim(0);
	arena_trim();
	h2_trim();
	malloc_trim(0);
}

static void on_tick(struct net_timer *t)
{
	struct worker *w = list_entry(t, struct worker, tick);

	trim(w);
	look_at_budget(w);
	net_timer_arm(w->loop, t, clock_now() + TICK);
}

/* ---- ending ---- */

static void on_drain_over(struct net_timer *t)
{
	struct worker *w = list_entry(t, struct worker, drain_timer);

	log_event(LOG_LEVEL_WARN, "drain.cut", NULL);
	net_loop_stop(w->loop);
}

static void drain(struct worker *w)
{
	struct list *node, *next;
	size_t i;

	if (w->draining)
		return;
	w->draining = true;
	for (i = 0; i < CONF_MAX_LISTENERS; i++) {
		if (!w->listener[i])
			continue;
		net_listener_take(w->listener[i]);
		net_listener_destroy(w->listener[i]);
		close(w->listen_fd[i]);
		w->listener[i] = NULL;
	}
	downstream_finish(w);
	for (node = w->down.sessions.next; node != &w->down.sessions; node = next) {
		next = node->next;
		h2_shutdown(h2_session_from_node(node));
	}
	net_timer_arm(w->loop, &w->drain_timer, clock_now() + w->snap->conf->drain_timeout_ms * CLOCK_MS);
}

static void on_command(void *arg)
{
	struct worker *w = arg;
	struct proc_message m;

	for (;;) {
		m = proc_receive(w->command_fd);
		switch (m.command) {
		case PROC_NONE:
			return;
		case PROC_CONFIG:
			if (m.number > newest(w)) /* or sent again while it was late */
				take_config(w, m);
			else if (m.fd >= 0)
				close(m.fd);
			break;
		case PROC_REOPEN:
			log_reopen();
			break;
		case PROC_STOP:
			net_loop_stop(w->loop);
			return;
		case PROC_GONE:
			net_unwatch(w->commands); /* nothing more will come from there */
			w->commands = NULL;
			drain(w);
			return;
		case PROC_DRAIN:
			drain(w);
			break;
		}
	}
}

/* ---- start ---- */

static bool seed(struct worker *w)
{
	uint32_t own;

	if (!crypt_init() || !crypt_random(&w->random, sizeof(w->random)) || !crypt_random(&w->hash_seed, sizeof(w->hash_seed)) ||
	    !crypt_random(&own, sizeof(own)))
		return false;
	w->random |= 1;
	snprintf(w->id, sizeof(w->id), "%08x00000000", own);
	return true;
}

static bool start(struct worker *w, const struct xchg_worker_args *args)
{
	const struct conf *conf = w->snap->conf;
	int lowest;
	size_t i;

	w->loop = net_loop_create();
	if (!w->loop || !downstream_init(w))
		return false;
	net_loop_resolver(w->loop, conf->resolver);
	h2_context_init(&w->down, w->loop, &conf->limits, true);
	w->down.connect_protocol = w->snap->connect_protocol;
	w->down.faults = w->part->tm.fault;
	w->down.handler = (struct h2_handler){ xchg_on_stream, xchg_on_down };
	w->down.owner.on_closed = downstream_closed;
	w->pool = dc_pool_create(w->loop, conf, &w->live, w->part, xchg_on_up);
	if (conf->redis.enabled)
		w->rds = rds_create(w->loop, &conf->redis, &w->part->tm);
	w->cache = cache_create(conf, args->secret, w->rds, &w->part->tm);
	if (!w->pool || !w->cache || (conf->redis.enabled && !w->rds))
		return false;
	for (i = 0; i < conf->listeners; i++) {
		w->listener_user[i].w = w;
		w->listener_user[i].index = (unsigned)i;
		w->listener[i] = net_listener_create(w->loop, args->listen_fd[i], downstream_accept, &w->listener_user[i]);
		if (!w->listener[i])
			return false;
	}
	lowest = fcntl(w->command_fd, F_DUPFD_CLOEXEC, 0);
	if (lowest < 0)
		return false;
	w->own_descriptors = (size_t)lowest;
	close(lowest);
	downstream_limit(w);
	w->commands = net_watch(w->loop, w->command_fd, on_command, w);
	net_timer_init(&w->drain_timer, on_drain_over);
	net_timer_init(&w->tick, on_tick);
	on_tick(&w->tick);
	net_loop_hook(w->loop, on_turn, w);
	return w->commands != NULL;
}

static void finish(struct worker *w)
{
	struct list *node;
	size_t i;

	/* Nobody may still ask for what is taken down below: no new clients, and who is here
	 * is told so and closed. */
	for (i = 0; i < CONF_MAX_LISTENERS; i++) {
		net_listener_destroy(w->listener[i]);
		w->listener[i] = NULL;
	}
	downstream_finish(w);
	for (node = w->down.sessions.next; node != &w->down.sessions; node = node->next)
		h2_close(h2_session_from_node(node), FAULT_SHUTTING_DOWN);
	net_loop_turn(w->loop, 0);
	dc_pool_shutdown(w->pool);
	net_loop_turn(w->loop, 0);
	net_loop_hook(w->loop, NULL, NULL);
	dc_pool_destroy(w->pool);
	cache_destroy(w->cache);
	rds_destroy(w->rds);
	net_unwatch(w->commands);
	net_loop_turn(w->loop, 0);
	net_loop_destroy(w->loop);
	snapshot_put(w->pending);
	snapshot_put(w->snap);
	log_flush();
}

/* What is half made goes with the process. */
static _Noreturn void fail(const char *why)
{
	log_event(LOG_LEVEL_ERROR, "worker.failed", "why", why, NULL);
	log_flush();
	_exit(1);
}

int xchg_worker_run(const struct xchg_worker_args *args)
{
	struct worker *w = calloc(1, sizeof(*w));
	char why[256];

	if (!w)
		return 1;
	w->index = args->index;
	w->board = args->board;
	w->part = board_worker(args->board, args->index);
	w->secret = args->secret;
	w->ticket_key = args->ticket_key;
	w->command_fd = args->command_fd;
	w->listen_fd = args->listen_fd;
	w->snap = snapshot_create(args->conf, args->ticket_key, why);
	if (!w->snap || !seed(w))
		fail(w->snap ? "no random bytes" : why);
	snapshot_default_live(w->snap, &w->live);
	buf_memory_limit(w->snap->conf->limits.memory_bytes);
	memset(w->part->endpoint, 0, sizeof(w->part->endpoint));
	memset(w->part->reached, 0, sizeof(w->part->reached));
	load_forget(w);
	take_counts(w->part, args->before, w->snap->conf);
	if (!start(w, args))
		fail("out of memory or descriptors, or a file is gone");
	log_event(LOG_LEVEL_INFO, "worker.started", NULL);
	net_loop_run(w->loop);
	finish(w);
	free(w);
	return 0;
}
