/* SPDX-License-Identifier: MIT */
/*
 * Inside the control side of the room.
 *
 *   probe.c     the door, and the schedule of checks
 *   check.c     one check: connect, ask, the verdict
 *   grpc_health.c  pure: what a gRPC check asks, what its answer means
 *   evidence.c  what the workers saw, from the board
 */
#ifndef DATACENTER_PROBE_H
#define DATACENTER_PROBE_H

#include "firebreak/clock.h"
#include "firebreak/dc_probe.h"
#include "firebreak/h2.h"
#include "grpc_health.h"

#define CHECK_ADDRS  8
#define CHECK_FIELDS 7 /* at most */

/* owned by: the probe's table
 * freed by: check_finish; its memory with the probe, after the last session */
struct check {
	struct dc_probe *probe;
	unsigned index;
	struct dc_health health;
	struct net_timer timer;   /* the next check, or the limit of this one */
	struct h2_session *h2;    /* NULL: not connected */
	struct h2_stream *stream; /* of the last check, while it lasts */
	struct net_tls *tls;
	struct net_resolve *resolving;
	struct net_addr addr[CHECK_ADDRS];
	unsigned addrs, at;
	int64_t resolve_at;
	char *address, *sni, *authority, *path;
	struct h2_field field[CHECK_FIELDS];
	unsigned fields;
	bool grpc;                /* it calls grpc.health.v1 */
	int64_t started;          /* the check under way, or the last one */
	size_t body;              /* octets of its answer */
	uint8_t answer[GRPC_HEALTH_ANSWER]; /* the first of them, of a gRPC check */
	bool waiting;             /* for the verdict */
	struct dc_traffic traffic; /* since dc_probe_traffic */
	int64_t well_at;          /* a request was answered well, as far as we know */
	bool works;               /* the last that was heard of its requests was good */
};

/* What a worker had counted when we looked last. */
struct seen {
	uint64_t generation;
	int32_t pid;
	struct board_evidence endpoint[CONF_MAX_ENDPOINTS];
};

/* owned by: the control process
 * freed by: dc_probe_destroy, or with the last session if any is still closing */
struct dc_probe {
	struct net_loop *loop;
	const struct conf *conf;
	struct conf_limits limits;
	struct board *board;
	void (*on_change)(void *user, unsigned endpoint, const struct dc_health *h);
	void *user;
	struct h2_context ctx;
	struct net_timer poll;
	uint64_t seed;
	unsigned sessions;
	bool dying;
	struct check check[CONF_MAX_ENDPOINTS];
	struct seen seen[CONF_MAX_WORKERS];
};

/* ---- probe.c ---- */
/* Feeds the health machine and tells of a change. */
void probe_record(struct check *k, const struct dc_evidence *e);
/* The next check of this endpoint comes when its health says. */
void probe_schedule(struct check *k);
/* A check now, unless one is under way or was a moment ago. */
void probe_hurry(struct check *k);
bool probe_reap(struct dc_probe *p);

/* ---- check.c ---- */
extern const struct h2_owner check_owner;
bool check_init(struct check *k, struct dc_probe *p, unsigned index);
void check_finish(struct check *k);
void check_start(struct check *k);
/* The limit of the check under way has come. */
void check_limit(struct check *k);
void check_on_ready(struct h2_stream *st, uint32_t what);

/* ---- evidence.c ---- */
/* Adds up what the workers of our generation have seen since the last call, for each
 * endpoint. */
void evidence_collect(struct dc_probe *p, struct dc_evidence out[CONF_MAX_ENDPOINTS], struct dc_traffic traffic[CONF_MAX_ENDPOINTS]);

#endif
