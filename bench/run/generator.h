/* SPDX-License-Identifier: MIT */
/*
 * Inside one generating process.
 *
 *   generator.c  its life, the pacer, closed loop      request.c  one request's life
 *   connect.c    connections to the target             follow.c   event streams held open
 *   verb.c       what a feature asks                   check.c    whose octets an answer holds (pure)
 *
 * A request:
 *
 *   due > [waits for its room's last send] > [waits for a connection] > sent > done > spare
 *
 * Its latency counts from when it was due, whatever it waited for.
 */
#ifndef BENCH_GENERATOR_H
#define BENCH_GENERATOR_H

#include "check.h"
#include "firebreak/clock.h"
#include "firebreak/h2.h"
#include "firebreak/list.h"
#include "run.h"

#define UNDER_WAY_MAX 200000 /* requests of one generator, those that wait included; more are dropped */
#define ANSWER_SEEN   256    /* octets kept of an answer's beginning */

struct generator;
struct slot;

/* What a stream's user pointer leads to begins with this. */
struct stream_user {
	void (*on_ready)(struct h2_stream *st, uint32_t what);
};

/* A conversation: its messages are sent one after the other.
 * owned by: generator->lane */
struct lane {
	struct list waiting; /* requests, by node */
	bool busy;
	uint64_t order;      /* messages sent so far */
};

/* One session with the target; a slot has a new one as soon as this one is leaving.
 * owned by: its session
 * freed by: on_closed */
struct connection {
	struct generator *g;
	struct slot *slot;
	struct h2_session *session;
	unsigned requests; /* under way */
	unsigned followers;
	bool leaving;      /* takes no new ones, closed after the last one */
	bool ours;         /* closed by ourselves: nobody cut anything */
};

/* owned by: generator->slot */
struct slot {
	struct generator *g;
	struct connection *now; /* NULL: to be opened when the timer fires */
	struct net_timer timer;
	struct list followers;  /* event streams that live here */
};

enum request_place { PLACE_NOWHERE, PLACE_LANE, PLACE_CONNECTION, PLACE_STREAM };

/* owned by: a list (lane, generator->waiting, spare) or its stream
 * freed by: request_put(), to generator->spare */
struct request {
	struct stream_user user_of_stream; /* first */
	struct list node;
	struct list time_node;  /* on generator->pending, by intended time; until done */
	struct list fresh_node; /* handed to a session in this turn */
	struct generator *g;
	struct connection *connection;
	struct h2_stream *st;
	struct lane *lane;
	int64_t intended, late; /* ns; late: sent so much after the intended time, -1: not sent */
	int64_t own;            /* of that, what the generator itself was late */
	uint64_t order;
	unsigned user, feature;
	enum request_place place;
	bool done, waited;
	/* what is asked */
	const char *method;
	char name[CHECK_TAG_MAX], auth[CHECK_TAG_MAX + 16], path[192], key[37];
	uint64_t body;          /* octets to send */
	/* what came */
	int status;
	uint32_t age;
	uint8_t datacenter;
	bool checked;           /* a good answer's octets are looked through */
	bool json_of_user;      /* it has to begin with the user's name */
	struct check check;
	size_t seen_len;
	char content_type[48], cache_status[96], proxy_status[96], seen[ANSWER_SEEN];
};

struct follower;

struct generator {
	const struct generator_args *a;
	const struct scenario *s;
	struct net_loop *loop;
	struct h2_context h2;
	struct conf_limits limits;
	struct net_tls *tls;
	struct net_addr target;
	char host[256];        /* name to verify */
	struct slot *slot;
	unsigned slots, turn;
	struct lane *lane;
	unsigned users;        /* of this generator; the i-th is user i * of + self of the whole */
	struct follower *follower;
	unsigned followers;
	struct list waiting, pending, fresh, spare;
	size_t under_way;
	struct pace pace;
	int64_t next;          /* arrival, ns from the start */
	int64_t start, end;    /* monotonic ns */
	uint64_t random, run_id, keys;
	unsigned closed;       /* requests to keep under way */
	struct connection *vacant; /* closed loop: where the next one goes; NULL: any */
	double handshakes_owed;
	int64_t handshakes_at;
	int timer_fd;
	struct net_watch *stop_watch;
	struct net_timer tick;
	bool ending, stopping; /* nothing new is sent; all is closed */
	int64_t grace;         /* when an early end stops waiting for answers */
};

/* generator.c */
int64_t generator_now(const struct generator *g); /* ns from the start, this moment */
/* Closed loop: a request of this connection is over, the next one goes there. */
void generator_go_on(struct generator *g, struct connection *c);
/* The datacenter of an answer, SAMPLE_NOWHERE when it says none we know. */
uint8_t generator_datacenter(const struct generator *g, const struct h2_head *h);
double generator_random(struct generator *g); /* [0, 1) */

/* connect.c */
bool connect_start(struct generator *g);
/* A connection that takes one more request; NULL: none now. */
struct connection *connect_usable(struct generator *g);
/* So many connections are closed and opened again, gracefully. */
void connect_renew(struct generator *g, unsigned n);
/* One stream of it is gone: a leaving connection is closed after the last one. */
void connect_ended(struct connection *c);
void connect_stop(struct generator *g);

/* request.c */
void request_issue(struct generator *g, int64_t intended);
void request_send_waiting(struct generator *g, struct connection *c);
/* Those handed out in this turn have just left. */
void request_stamp(struct generator *g);
/* Those whose time is over. */
void request_expire(struct generator *g, int64_t now);
void request_ready(struct h2_stream *st, uint32_t what);

/* verb.c */
/* Fills in what is asked and how its answer is looked at. */
void verb_fill(struct request *r);
/* Appends the request's body. */
bool verb_body(const struct request *r, struct buf *out);
void verb_user(const struct generator *g, unsigned user, char *name, size_t size);
void verb_room(const char *user, char *room, size_t size);

/* follow.c */
bool follow_start(struct generator *g);
void follow_connected(struct slot *slot);

#define FIELD(n, v, l, f) \
	{ .name = (const uint8_t *)(n), .value = (const uint8_t *)(v), .name_len = sizeof(n) - 1, .value_len = (l), .flags = H2_FIELD_KEEP | (f) }

#endif
