/* SPDX-License-Identifier: MIT */
/*
 * The control process: probes, the degradation controller, overrides, and
 * publishing on the board; the admin server runs in it. The data path never
 * notices its death: the last board stays in force, overrides are on disk.
 */
#ifndef FIREBREAK_CONTROL_H
#define FIREBREAK_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"
#include "conf.h"
#include "net.h"

struct ctl;

/* What runs on the control process' loop beside it. Filled by admin/ (admin_server);
 * control does not know what it serves. */
struct ctl_server {
	void *(*start)(struct ctl *c, struct net_loop *loop, int listen_fd); /* fd is taken; NULL: out of memory */
	void (*stop)(void *server);
};

struct ctl_args {
	struct board *board;
	const struct conf *conf; /* taken; freed when replaced */
	int admin_fd;            /* listening socket opened by the supervisor, -1: none */
	const struct ctl_server *admin; /* &admin_server; NULL: none */
	int command_fd;          /* socket from the supervisor: see main.c */
	bool started_before;     /* a control process ran before in this service's life */
};
/* Runs until told to stop; returns the exit code. */
int ctl_run(const struct ctl_args *args);

/* ---- what admin reads and asks ---- */
enum ctl_kind { CTL_MODE, CTL_FEATURE, CTL_DRAIN };
/* An operator's temporary word. It refers to names, so it outlives a reload; while
 * the configuration does not know its name it sleeps. */
struct ctl_override {
	enum ctl_kind kind;
	char subject[64];      /* feature or datacenter name; "" for CTL_MODE */
	char value[32];        /* mode name; "on" "stale-only" "off" "share"; "drain" */
	uint16_t share;        /* basis points, for "share" */
	char author[64], reason[256];
	int64_t from, until;   /* wall ns; `from` is filled in when it is set */
	int64_t over;          /* ns; "drain": its users leave evenly in this time */
};
#define CTL_OVERRIDES_MAX 128

const struct conf *ctl_conf(const struct ctl *c);
const struct conf *ctl_conf_before(const struct ctl *c); /* until the last reload; NULL: none */
const struct degrade_plan *ctl_plan(const struct ctl *c);
struct board *ctl_board(const struct ctl *c);
/* What was last published; its version is the one workers report back. */
const struct board_live *ctl_live(const struct ctl *c);
const struct dc_health *ctl_health(const struct ctl *c, unsigned endpoint);
int64_t ctl_started(const struct ctl *c);    /* wall ns */
int64_t ctl_mode_since(const struct ctl *c); /* wall ns */
uint16_t ctl_reachable(const struct ctl *c); /* usable capacity, basis points */
/* Requests that wait for this datacenter's answer, of all workers, as of the last tick. */
uint32_t ctl_in_flight(const struct ctl *c, unsigned datacenter);
/* Streams open to it, of all workers: these, answers under way, event streams, tunnels. */
uint32_t ctl_streams(const struct ctl *c, unsigned datacenter);
bool ctl_draining(const struct ctl *c);
/* Other nodes heard of within the last four seconds, and whether one of them has our name. */
#define CTL_NODES_MAX 64
struct ctl_node {
	const char *name; /* good until the next turn */
	int64_t age;      /* ns */
	bool dissent;     /* it is alone with its view of some datacenter */
};
unsigned ctl_fleet(const struct ctl *c, struct ctl_node node[CTL_NODES_MAX], bool *same_name);
/* How many of them see a datacenter up, and down. */
struct dc_peers ctl_peers(const struct ctl *c, unsigned datacenter);
/* Entries of the fleet in Redis that did not validate, so far. */
uint64_t ctl_fleet_junk(const struct ctl *c);
/* What the judge of outliers thinks. */
const struct dc_outliers *ctl_outliers(const struct ctl *c);
/* There is a process and its heartbeat moved within the last five seconds. */
bool ctl_worker_alive(const struct ctl *c, unsigned worker);

/* Overrides in force; *n entries. */
const struct ctl_override *ctl_overrides(const struct ctl *c, size_t *n);
/* Sets (replacing one of the same kind and subject). Needs author, reason and an end
 * within conf->control.override_max_s. NULL: published, on disk and audited; else why
 * not, a sentence good until the next call. An unsafe one (P3: core worse than a
 * lesser tier; core feature off; drained so far that what is left does not carry core) needs force; so does one
 * that cannot be kept on disk. */
const char *ctl_override_set(struct ctl *c, const struct ctl_override *o, bool force);
/* NULL: nothing is set for it any more, or (*was_set false) nothing was; else why not. A
 * name that is neither set nor in the configuration is an error. For CTL_DRAIN also ends the
 * hold of a datacenter that is well and waits to be restored. */
const char *ctl_override_clear(struct ctl *c, enum ctl_kind kind, const char *subject, const char *author, bool *was_set);

/* What kind of no the last sentence was. */
enum ctl_refusal { CTL_OK, CTL_INVALID, CTL_UNKNOWN, CTL_UNSAFE, CTL_FULL, CTL_NOT_KEPT };
enum ctl_refusal ctl_refusal(const struct ctl *c);

#endif
