/* SPDX-License-Identifier: MIT */
/*
 * Inside the load driver: open loop, every request has a time in advance and its
 * latency counts from there, so a stall of the target is seen by all requests that
 * fell into it (FACTS: generators that wait hide stalls).
 *
 *   load.c     options, pace, start, stop       client.c   connections, requests on them
 *   traffic.c  who asks what; lanes             report.c   live rows, table, JSON
 *   outcome.c  what an answer means (pure)      watch.c    the proxy's own status
 *   expect.c   assertions on the tallies (pure)
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdio.h>

#include "firebreak/h2.h"
#include "firebreak/telemetry.h"
#include "outcome.h"
#include "tally.h"
#include "watch.h"

#define LOAD_CONNECTIONS_MAX 1024
#define LOAD_WAITING_MAX     20000 /* requests without a connection to go to */
#define REQUEST_BODY_SEEN    256

struct load;

/* A conversation: its messages are sent one after the other.
 * owned by: load->lane */
struct lane {
	struct list waiting; /* requests, by node */
	bool busy;
	uint64_t last_seq;
};

/* owned by: one list (load->waiting, a lane, or its stream)
 * freed by: request_put, to load->spare */
struct request {
	struct list node;     /* waiting */
	struct list time_node; /* on load->pending, by intended time */
	struct load *l;
	struct h2_stream *st;
	struct lane *lane;
	unsigned feature, phase;
	int64_t intended;
	char user[48], auth[64], path[96], key[48];
	const char *method;
	bool private, keyed;
	bool done;     /* recorded */
	bool in_lane;  /* waits for the lane, not for a connection */
	size_t upload; /* body bytes */
	int status;
	char body[REQUEST_BODY_SEEN];
	size_t body_len;
	char content_type[48], cache_status[96], proxy_status[96];
};

/* owned by: load->connection, for its whole life */
struct connection {
	struct load *l;
	struct h2_session *session; /* NULL: to be opened at retry_at */
	struct net_timer timer;
	bool leaving;
};

struct load_options {
	const char *target, *admin, *json, *ca, *authority, *phases;
	double rate, seconds, timeout;
	uint64_t seed;
	unsigned connections, users;
	bool tls, insecure, allow_remote, quiet;
	double share[TALLY_FEATURES];
	const char *expect[32];
	unsigned expects;
};

struct load {
	struct load_options o;
	struct net_loop *loop;
	struct h2_context h2;
	struct conf_limits limits;
	struct net_tls *tls;
	struct net_addr target;
	struct connection connection[LOAD_CONNECTIONS_MAX];
	unsigned turn; /* round robin over connections */
	struct lane *lane;
	struct list waiting, pending, spare;
	size_t waits;
	uint64_t random;
	int timer_fd;
	int64_t start, stop_at;
	uint64_t issued;   /* arrivals so far */
	uint64_t dropped;  /* had no place to wait */
	bool stopping;
	struct net_timer second;
	unsigned rows;     /* seconds reported */
	struct tm_hist lateness;
	struct tally tally;
	struct watch *watch;
};

/* traffic.c */
bool traffic_init(struct load *l);
void traffic_issue(struct load *l, int64_t intended);
/* The request has its answer, or will never have one: recorded once, its lane goes on. */
void request_done(struct request *r, bool complete);
void request_put(struct request *r);
void traffic_expire(struct load *l, int64_t now);

/* client.c */
bool client_start(struct load *l);
/* Sends it, or lets it wait for a connection. */
void client_send(struct request *r);
void client_cancel(struct request *r); /* one that has a stream */
void client_stop(struct load *l);

/* report.c */
void report_second(struct load *l);
void report_table(const struct load *l, FILE *out);
bool report_json(const struct load *l, const char *path);

#endif
