/* SPDX-License-Identifier: MIT */
/*
 * The life of the control process: start (taking over from one that died), commands
 * from the supervisor, reload, end. It serves nobody's requests; when it is late or
 * dead, workers go on with the last board.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "firebreak/clock.h"
#include "firebreak/log.h"
#include "firebreak/proc.h"

static void on_endpoint(void *user, unsigned endpoint, const struct dc_health *h)
{
	struct ctl *c = user;
	const struct conf_endpoint *e = &c->conf->endpoint[endpoint];

	log_event(LOG_LEVEL_WARN, "endpoint.state", "datacenter", c->conf->datacenter[e->datacenter].name, "endpoint", e->address,
		  "state", dc_state_word(h->state), "why", fault_info(h->why)->word, NULL);
	if (c->probe) /* not from inside dc_probe_create */
		ctl_publish(c, false);
}

/* Endpoint i was k there. While checks are not believed the suspected are those they call down. */
static void known(struct ctl *c, unsigned i, const struct dc_live *then, unsigned k)
{
	enum dc_state state = (enum dc_state)then->endpoint_state[k];
	bool works = then->disbelieved && state == DC_SUSPECT;

	ctl_prior_from(c, i, works ? DC_DOWN : state, works);
	ctl_spread_from(c, i, then->endpoint_away[k]);
}

/* The one that died told the workers this; see publish.c. */
static void take_over(struct ctl *c)
{
	struct board_live last = { 0 };
	unsigned i;

	board_read(c->board, &last);
	ctl_machines(c, last.machine);
	c->stepped = clock_now();
	if (!last.version || last.generation != c->conf->generation)
		return;
	for (i = 0; i < c->conf->endpoints; i++)
		known(c, i, &last.dc, i);
	c->live.dc.dissent = last.dc.dissent;
	ctl_quorum_take_over(c, last.dc.dissent);
	ctl_overload_take_over(c, &last.degrade);
	if (!last.degrade.mode_forced && last.degrade.mode < c->conf->modes)
		c->controller.mode = last.degrade.mode;
}

static void on_tick(struct net_timer *t)
{
	struct ctl *c = list_entry(t, struct ctl, tick);

	ctl_tick(c);
	net_timer_arm(c->loop, t, clock_now() + CTL_TICK_MS * CLOCK_MS);
}

static void on_turn(void *user)
{
	struct ctl *c = user;

	dc_probe_pump(c->probe);
	fleet_pump(c->fleet);
}

struct ctl *ctl_create(const struct ctl_args *args, struct net_loop *loop)
{
	struct ctl *c = calloc(1, sizeof(*c));

	if (!c) {
		conf_free(args->conf);
		return NULL;
	}
	clock_tick();
	c->board = args->board;
	c->conf = args->conf;
	c->loop = loop;
	c->command_fd = args->command_fd;
	c->admin = args->admin;
	c->started = c->mode_since = clock_wall();
	c->controller.since = clock_now();
	net_timer_init(&c->tick, on_tick);
	degrade_compile(c->conf, &c->plan, NULL, NULL);
	dc_outliers_init(&c->outliers);
	net_loop_resolver(loop, c->conf->resolver);
	take_over(c);
	ctl_overrides_open(c);
	c->fleet = fleet_create(loop, c->conf);
	c->probe = dc_probe_create(loop, c->conf, c->board, on_endpoint, c);
	if (!c->probe || !c->fleet) {
		ctl_destroy(c);
		return NULL;
	}
	ctl_pulse(c);
	ctl_publish(c, true);
	net_loop_hook(loop, on_turn, c);
	net_timer_arm(loop, &c->tick, clock_now() + CTL_TICK_MS * CLOCK_MS);
	return c;
}

void ctl_destroy(struct ctl *c)
{
	if (!c)
		return;
	net_timer_disarm(&c->tick);
	net_loop_hook(c->loop, NULL, NULL);
	fleet_destroy(c->fleet);
	dc_probe_destroy(c->probe);
	audit_close(&c->audit);
	conf_free(c->conf);
	conf_free(c->before);
	free(c);
}

static bool any_worker(const struct ctl *c)
{
	unsigned i;

	for (i = 0; i < board_workers(c->board); i++) {
		if (atomic_load(&board_worker(c->board, i)->pid) > 0)
			return true;
	}
	return false;
}

void ctl_tick(struct ctl *c)
{
	ctl_pulse(c);
	ctl_overrides_tick(c);
	ctl_spread_tick(c);
	ctl_overload_tick(c);
	ctl_quorum_tick(c);
	ctl_publish(c, false);
	tm_add(board_control_tm(c->board), TM_TURNS, 1);
	tm_add(board_control_tm(c->board), TM_LOG_DROPPED, log_dropped());
	/* The admin side stays for as long as there is something to see. */
	if (c->draining && (!any_worker(c) || clock_now() >= c->drain_until))
		net_loop_stop(c->loop);
}

/* The configuration before the last one dies at the end of the turn: this one may have
 * been asked about it. */
struct old_conf {
	struct net_reap reap;
	const struct conf *conf;
};

static void free_old(struct net_reap *r)
{
	struct old_conf *old = list_entry(r, struct old_conf, reap);

	conf_free(old->conf);
	free(old);
}

/* What is known about the endpoints that stay, by address within the datacenter. */
static void carry_over(struct ctl *c, const struct conf *old, const struct conf *next)
{
	unsigned i, k;

	memset(c->prior, 0, sizeof(c->prior));
	dc_outliers_init(&c->outliers);
	for (i = 0; i < next->endpoints; i++) {
		const struct conf_endpoint *n = &next->endpoint[i];

		for (k = 0; k < old->endpoints; k++) {
			const struct conf_endpoint *o = &old->endpoint[k];

			if (!strcmp(o->address, n->address) &&
			    !strcmp(old->datacenter[o->datacenter].name, next->datacenter[n->datacenter].name))
				known(c, i, &c->live.dc, k);
		}
	}
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

void ctl_configure(struct ctl *c, const struct conf *next)
{
	const struct conf *old = c->conf;
	struct old_conf *dying = malloc(sizeof(*dying));
	struct dc_probe *probe, *old_probe = c->probe;
	const char *failed;

	c->probe = NULL; /* no publishing from inside dc_probe_create */
	c->conf = next;
	net_loop_resolver(c->loop, next->resolver);
	probe = dying ? dc_probe_create(c->loop, next, c->board, on_endpoint, c) : NULL;
	if (!probe) {
		c->conf = old;
		net_loop_resolver(c->loop, old->resolver);
		c->probe = old_probe;
		log_event(LOG_LEVEL_ERROR, "config.not_applied", "why", "out of memory", NULL);
		free(dying);
		conf_free(next);
		return;
	}
	dc_probe_destroy(old_probe);
	c->probe = probe;
	fleet_configure(c->fleet, next);
	ctl_quorum_carry_over(c, old, next);
	carry_over(c, old, next);
	ctl_machines(c, c->live.machine);
	ctl_overload_carry_over(c, old, next);
	degrade_compile(next, &c->plan, NULL, NULL);
	if (c->controller.mode >= next->modes)
		c->controller.mode = (uint8_t)(next->modes - 1);
	if (!same(old->control.state_dir, next->control.state_dir)) {
		audit_close(&c->audit);
		c->unsaved = true; /* the table moves to the new place */
		c->save_next = 0;
		if (next->control.state_dir)
			audit_open(&c->audit, next->control.state_dir);
	}
	log_configure(next->log.events, next->log.access, (enum log_level)next->log.level, &failed);
	ctl_publish(c, true);
	dying->conf = c->before;
	c->before = old; /* some workers still count by it */
	dying->reap.free = free_old;
	net_reap(c->loop, &dying->reap);
	log_event(LOG_LEVEL_INFO, "config.applied", "file", next->path, NULL);
}

static void take_config(struct ctl *c, const struct proc_message *m)
{
	struct conf_errors *errors = conf_errors_create();
	unsigned long len = 0;
	char *text = errors && m->fd >= 0 ? proc_bytes_from_fd(m->fd, &len) : NULL;
	const struct conf *next = text ? conf_load(c->conf->path, text, len, errors) : NULL;

	if (next) {
		((struct conf *)next)->generation = m->number; /* ours until it is handed out */
		ctl_configure(c, next);
	} else {
		log_event(LOG_LEVEL_ERROR, "config.not_applied", "file", c->conf->path, NULL);
	}
	free(text);
	conf_errors_destroy(errors);
}

static void on_command(void *user)
{
	struct ctl *c = user;
	struct proc_message m;

	while ((m = proc_receive(c->command_fd)).command != PROC_NONE) {
		switch (m.command) {
		case PROC_CONFIG:
			if (m.number > c->conf->generation) /* or sent again while it was late */
				take_config(c, &m);
			break;
		case PROC_REOPEN:
			log_reopen();
			break;
		case PROC_GONE:
			net_unwatch(c->commands);
			c->commands = NULL;
			/* fall through */
		case PROC_DRAIN:
			if (!c->draining)
				c->drain_until = clock_now() + (int64_t)c->conf->drain_timeout_ms * CLOCK_MS;
			c->draining = true;
			break;
		default:
			net_loop_stop(c->loop);
			break;
		}
		if (m.fd >= 0)
			close(m.fd);
		if (m.command == PROC_GONE)
			return;
	}
}

static void serve(struct ctl *c, struct net_loop *loop, int listen_fd)
{
	if (listen_fd >= 0 && c->admin) {
		c->server = c->admin->start(c, loop, listen_fd);
		if (!c->server)
			log_event(LOG_LEVEL_ERROR, "admin.not_started", "why", "out of memory", NULL);
	}
	if (c->command_fd >= 0)
		c->commands = net_watch(loop, c->command_fd, on_command, c);
	log_event(LOG_LEVEL_INFO, "control.started", "file", c->conf->path, NULL);
	net_loop_run(loop);
	log_event(LOG_LEVEL_INFO, "control.stopped", NULL);
	if (c->server && c->admin)
		c->admin->stop(c->server);
	if (c->commands)
		net_unwatch(c->commands);
}

int ctl_run(const struct ctl_args *args)
{
	struct net_loop *loop = net_loop_create();
	struct ctl *c;

	if (!loop)
		return 1;
	tm_restart(board_control_tm(args->board));
	c = ctl_create(args, loop);
	if (!c) {
		net_loop_destroy(loop);
		return 1;
	}
	if (args->started_before)
		log_event(LOG_LEVEL_WARN, "control.replaced", NULL);
	serve(c, loop, args->admin_fd);
	ctl_destroy(c);
	net_loop_turn(loop, 0); /* what was closed is freed */
	net_loop_destroy(loop);
	log_flush();
	return 0;
}

const struct conf *ctl_conf(const struct ctl *c)
{
	return c->conf;
}

const struct conf *ctl_conf_before(const struct ctl *c)
{
	return c->before;
}

const struct degrade_plan *ctl_plan(const struct ctl *c)
{
	return &c->plan;
}

struct board *ctl_board(const struct ctl *c)
{
	return c->board;
}

const struct board_live *ctl_live(const struct ctl *c)
{
	return &c->live;
}

const struct dc_outliers *ctl_outliers(const struct ctl *c)
{
	return &c->outliers;
}

const struct dc_health *ctl_health(const struct ctl *c, unsigned endpoint)
{
	return dc_probe_health(c->probe, endpoint);
}

int64_t ctl_started(const struct ctl *c)
{
	return c->started;
}

int64_t ctl_mode_since(const struct ctl *c)
{
	return c->mode_since;
}

uint16_t ctl_reachable(const struct ctl *c)
{
	return c->reachable;
}

uint32_t ctl_in_flight(const struct ctl *c, unsigned datacenter)
{
	return c->overload.traffic[datacenter].in_flight;
}

uint32_t ctl_streams(const struct ctl *c, unsigned datacenter)
{
	uint32_t streams = 0;
	unsigned i;

	for (i = 0; i < board_workers(c->board); i++) {
		const struct board_worker *w = board_worker(c->board, i);

		if (ctl_worker_alive(c, i) && atomic_load(&w->generation) == c->conf->generation)
			streams += atomic_load_explicit(&w->load.streams[datacenter], memory_order_relaxed);
	}
	return streams;
}

bool ctl_draining(const struct ctl *c)
{
	return c->draining;
}
