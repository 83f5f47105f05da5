/* SPDX-License-Identifier: MIT */
/*
 * The control process' one object, shared by the files of this room (and its tests).
 *
 *   control.c    life: start, commands from the supervisor, reload, end
 *   operate.c    overrides set, cleared, ended; kept and audited
 *   publish.c    every tick: health > capacity > mode > board
 *   quorum.c     what other nodes see; fleet.c tells them, peers.c counts
 *   spread.c     outliers, and checks that nobody believes
 *   overload.c   every tick: how much the datacenters take, who is let in
 */
#ifndef CONTROL_CTL_H
#define CONTROL_CTL_H

#include "audit.h"
#include "firebreak/control.h"
#include "firebreak/dc_outlier.h"
#include "firebreak/dc_probe.h"
#include "fleet.h"
#include "override.h"

#define CTL_TICK_MS 100

/* What was known about an endpoint before its present probe began (a restart, a
 * reload): stands until the probe has seen enough of its own, or until `until`. */
struct ctl_prior {
	bool stands;
	uint8_t state;
	bool works;    /* its checks were not believed: its requests were answered */
	int64_t until; /* monotonic ns */
};

struct ctl_pulse {
	uint64_t heartbeat;
	int64_t moved; /* monotonic ns */
};

/* A worker's totals at the last look. */
struct overload_seen {
	uint64_t generation;
	int32_t pid;
	struct board_load load;
};

struct overload {
	struct degrade_limiter limiter[CONF_MAX_DATACENTERS];
	struct degrade_admission admission;
	struct degrade_traffic traffic[CONF_MAX_DATACENTERS]; /* of the last tick */
	struct degrade_demand demand;
	struct overload_seen seen[CONF_MAX_WORKERS];
	bool limited[CONF_MAX_DATACENTERS], shedding; /* as last logged */
};

/* owned by: ctl_run (or a test); freed by ctl_destroy. */
struct ctl {
	struct board *board;
	const struct conf *conf; /* owned */
	const struct conf *before; /* owned; the one it replaced, NULL at first */
	struct net_loop *loop;   /* not owned */
	struct dc_probe *probe;
	struct net_timer tick;
	struct net_watch *commands;
	int command_fd;
	const struct ctl_server *admin;
	void *server;

	struct degrade_plan plan;
	struct degrade_controller controller;
	struct board_live live; /* as last published; the datacenters' machines live here */
	int64_t stepped;        /* monotonic ns: when they were stepped last */
	uint16_t reachable;
	int64_t started, mode_since; /* wall ns */
	char mode_name[64]; /* as last logged */
	bool mode_forced;
	struct ctl_prior prior[CONF_MAX_ENDPOINTS];
	struct ctl_pulse pulse[CONF_MAX_WORKERS];
	struct overload overload;
	bool draining;
	int64_t drain_until; /* monotonic ns */

	struct dc_outliers outliers;
	int64_t look_at;     /* monotonic ns: its next look */

	struct fleet *fleet;
	uint8_t heard_down[CONF_MAX_DATACENTERS]; /* peers that said so at the last tick */
	int64_t dissent_since[CONF_MAX_DATACENTERS]; /* monotonic ns; 0: it is not */

	struct overrides overrides;
	bool unsaved;       /* the file is behind the table: tried again by the tick */
	int64_t save_next;  /* monotonic ns */
	struct audit audit;
	enum ctl_refusal refusal;
	char why[320];
};

/* NULL: out of memory. args->conf is taken either way. Publishes before it returns. */
struct ctl *ctl_create(const struct ctl_args *args, struct net_loop *loop);
void ctl_destroy(struct ctl *c);
/* One tick at the clock's present sample. */
void ctl_tick(struct ctl *c);
/* Swaps the configuration (taken). */
void ctl_configure(struct ctl *c, const struct conf *next);

/* publish.c */
/* Live as it would be under these overrides with all drains done; returns usable capacity. */
uint16_t ctl_foresee(const struct ctl *c, const struct overrides *all, struct board_live *live);
/* The machines of the datacenters in force, by name: those known go on, others begin. */
void ctl_machines(struct ctl *c, const struct dc_machine known[CONF_MAX_DATACENTERS]);
void ctl_publish(struct ctl *c, bool always);
void ctl_prior_from(struct ctl *c, unsigned endpoint, enum dc_state state, bool works);
void ctl_pulse(struct ctl *c);

/* quorum.c */
/* Other nodes' word for the machine of a datacenter. */
struct dc_peers ctl_quorum(const struct ctl *c, unsigned datacenter);
/* After the machines' step: what we say, and whether we are alone with it. */
void ctl_quorum_apply(struct ctl *c, struct board_live *live);
void ctl_quorum_tick(struct ctl *c);
/* Dissent by name. */
void ctl_quorum_carry_over(struct ctl *c, const struct conf *old, const struct conf *next);
/* What the one that died was alone with: bit per datacenter. */
void ctl_quorum_take_over(struct ctl *c, uint8_t dissent);

/* spread.c */
void ctl_spread_tick(struct ctl *c);
/* From endpoint states by their checks to what is to be believed, and what each may have. */
void ctl_spread_apply(const struct ctl *c, struct dc_live *live, const bool drained[CONF_MAX_DATACENTERS]);
/* What the one that died had taken away. */
void ctl_spread_from(struct ctl *c, unsigned endpoint, uint16_t away);

/* overload.c */
void ctl_overload_tick(struct ctl *c);
/* Limits and shares into live. */
void ctl_overload_apply(const struct ctl *c, struct degrade_live *live);
void ctl_overload_take_over(struct ctl *c, const struct degrade_live *last);
void ctl_overload_carry_over(struct ctl *c, const struct conf *old, const struct conf *next);

/* operate.c */
void ctl_overrides_open(struct ctl *c);
void ctl_overrides_tick(struct ctl *c);

#endif
