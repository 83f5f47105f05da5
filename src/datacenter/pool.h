/* SPDX-License-Identifier: MIT */
/*
 * Inside the worker's side of the room.
 *
 *   pool.c      the door: pick, request, result, reconfigure, shutdown
 *   endpoint.c  names and addresses, links made and lost, warm spares
 *   watch.c     the check timer: PING when an answer is late, silence, idle links
 */
#ifndef DATACENTER_POOL_H
#define DATACENTER_POOL_H

#include "firebreak/clock.h"
#include "firebreak/dc_pool.h"

#define ENDPOINT_ADDRS 8

struct endpoint;

/* Its PING is overdue; and half of the PING's time is over. */
enum doubt { DOUBT_NONE, DOUBT_LATE, DOUBT_GRAVE };
/* Its PING is out of time: takes no new streams, finishes what has begun and what cannot be asked
 * elsewhere; then only what has begun. */
enum silence { SILENCE_NONE, SILENCE_JUDGED, SILENCE_LOST };

/* One HTTP/2 session. owned by: its endpoint's list
 * freed by: link_on_closed, when its session is gone */
struct link {
	struct list node;
	struct endpoint *ep;
	struct h2_session *h2;
	int64_t asked;      /* the first request since the peer was last heard */
	int64_t pinged;     /* the last PING was sent */
	int64_t answered;   /* the last answer, as of then */
	unsigned pings;     /* sent since that answer */
	int64_t idle_since; /* 0: it has streams */
	uint8_t patience;   /* PINGs answered since the last new request: the next waits longer */
	uint8_t ticks;      /* checks that saw the pending PING: our own stalls are not the peer's */
	uint8_t obstructed; /* checks in a row that saw it so: what ends it may wait to be read */
	bool proven;        /* it has answered a PING */
	uint8_t doubted;    /* enum doubt */
	bool leaving;       /* takes no new streams */
	uint8_t judged;     /* enum silence */
};

/* owned by: the pool's table, or its list of the leaving
 * freed by: endpoint_destroy; when leaving, with its last link */
struct endpoint {
	struct list node;        /* on pool->leaving */
	struct dc_pool *pool;
	int index;               /* in the configuration; -1: leaving */
	char *datacenter, *address, *sni, *ca;
	bool secure, verify, numeric;
	struct net_tls *tls;
	struct list links;       /* oldest first */
	unsigned count;
	size_t streams;          /* one link of it takes, as seen last */
	struct net_resolve *resolving;
	struct net_addr addr[ENDPOINT_ADDRS];
	unsigned addrs, at;      /* how many are known, which is tried */
	int64_t resolve_at;
	int64_t failed_at;       /* a PING sent later can prove it good again */
	int64_t connect_at;      /* not before: pause after a failure, pace of spares */
	int64_t backoff;
	int64_t slow_pong;       /* what its slowest answer to a PING lately took */
	unsigned pongs;          /* answers it is known by */
	int64_t calm_until;      /* it said that it had enough (ENHANCE_YOUR_CALM) */
	bool calm;               /* perhaps a gRPC server, or another that counts PINGs */
	bool grpc;               /* it is one */
	bool proving;            /* it failed: avoided until a PING is answered */
};

struct dc_pool {
	struct net_loop *loop;
	const struct conf *conf;
	const struct board_live *live;
	struct board_worker *part;
	struct h2_context ctx;
	struct dc_live now;      /* the last board that fits our configuration */
	uint64_t version;
	struct dc_local local;
	struct dc_usual usual;
	struct endpoint *endpoint[CONF_MAX_ENDPOINTS];
	struct net_tls *tls[CONF_MAX_DATACENTERS];
	struct list leaving;
	struct net_timer check;
	int64_t tell_at;         /* what lasts at a drained datacenter, to end: not before */
	unsigned links;
	bool draining, dying;
};

#define NEVER INT64_MAX /* a moment (ns) that does not come */

/* ---- pool.c ---- */
void pool_sync(struct dc_pool *p);
/* Frees a dying pool that has no link left. True: it is gone. */
bool pool_reap(struct dc_pool *p);

/* ---- endpoint.c ---- */
extern const struct h2_owner link_owner;
struct endpoint *endpoint_create(struct dc_pool *p, const struct conf *c, unsigned index);
void endpoint_destroy(struct endpoint *ep);
/* Does this endpoint still mean what the configuration says at `index`? */
bool endpoint_matches(const struct endpoint *ep, const struct conf *c, unsigned index);
/* Takes no new streams; goes when the last one has ended. */
void endpoint_leave(struct endpoint *ep);
struct link *link_open(struct endpoint *ep, enum fault *why);
void link_leave(struct link *l);
/* A link with room, or a new one. NULL with *why. */
struct link *endpoint_link(struct endpoint *ep, bool connect, enum fault *why);
void endpoint_failed(struct endpoint *ep, enum fault fault);
void endpoint_trusted(struct endpoint *ep);
void endpoint_count(struct endpoint *ep);
/* Names, spares, idle links. */
void endpoint_keep(struct endpoint *ep, int64_t now);
void link_ping(struct link *l);

/* ---- watch.c ---- */
void watch_init(struct dc_pool *p);
/* The next check comes no later than that; at once. */
void watch_by(struct dc_pool *p, int64_t at);
void watch_soon(struct dc_pool *p);

#endif
