/* SPDX-License-Identifier: MIT */
/*
 * A worker's request path on a wire: client session, exchange, upstream pool and a
 * backend in one process and one loop, joined by a socket pair and a Unix socket.
 */
#ifndef PROXY_H
#define PROXY_H

#include "wire.h"

#include "../../src/exchange/xchg_private.h"

struct proxy {
	struct wire w; /* w.up: the client's session; w.server: the backend's; w.raw: its raw end */
	struct worker worker;
	struct downstream *client;
	struct net_listener *listener, *second;
	char path[64];
	const char *first; /* what a reload lists before the backend in "endpoints: [...]" */
	void (*hook)(void *proxy); /* the loop's, for a test that sets its own before it */
	int listen_fd, second_fd; /* the second endpoint's: -1: there is none */
	bool apart;    /* it is another datacenter, "b" */
	bool raw;      /* the backend's end is left to the test; its SETTINGS are sent */
	bool mute;     /* ... or not even these */
};

/* `features`: their YAML, "" for one that takes everything. */
void proxy_start(struct proxy *p, const char *features, bool raw);
/* With two endpoints, so that another one can be tried. What both get is in p->w.served. */
void proxy_start_two(struct proxy *p, const char *features);
/* With two datacenters of an endpoint each. */
void proxy_start_apart(struct proxy *p, const char *features);
/* A client session to the proxy. */
void proxy_client(struct proxy *p);
/* The configuration is replaced by one with these features. */
void proxy_reload(struct proxy *p, const char *features);
/* The same in two steps; the second fails when memory is out, and takes `next` otherwise. */
struct snapshot *proxy_next(struct proxy *p, const char *features);
bool proxy_apply(struct proxy *p, struct snapshot *next);
void proxy_end(struct proxy *p);

/* A clock of the test's own: clock_fake(proxy_now, proxy_now) begins it; then it stands still
 * until time passes here, with a few turns for what is due. */
extern int64_t proxy_now;
void proxy_pass_time(struct proxy *p, int64_t ns);
/* A request of the client's, and octets of its body or of an answer. */
struct h2_stream *proxy_ask(struct proxy *p, struct seen *s, const struct h2_field *field, size_t n, bool end);
void proxy_write(struct h2_stream *st, size_t len, bool end);
extern const struct h2_field proxy_ok[1]; /* :status 200 */

#endif
