/* SPDX-License-Identifier: MIT */
/*
 * What the files of this room share: the server object, answers, and the handlers.
 */
#ifndef ADMIN_REPLY_H
#define ADMIN_REPLY_H

#include <event2/http.h>
#include <jansson.h>

#include "firebreak/admin.h"

#define ADMIN_CONNECTIONS 64

struct bufferevent;
struct evconnlistener;

/* owned by: whoever created it; freed by admin_destroy. */
struct admin {
	struct ctl *ctl;
	struct net_loop *loop;
	struct evhttp *http;
	struct evconnlistener *listener; /* evhttp's */
	bool unix_socket;
	struct bufferevent *connection[ADMIN_CONNECTIONS]; /* a reference each */
	unsigned connections;
	struct net_timer sweep;
};

/* Each answers exactly once. Takes the body's reference; NULL: out of memory (500). */
void reply_json(struct evhttp_request *req, int status, json_t *body);
void reply_text(struct evhttp_request *req, int status, const char *type, const char *text);
/* application/problem+json (RFC 9457) with one sentence. */
void reply_problem(struct evhttp_request *req, int status, const char *detail);

/* Builds text by printing; NULL: out of memory. */
void reply_printed(struct evhttp_request *req, const char *type, void (*print)(FILE *, const struct admin *), const struct admin *a);

/* "2026-01-02T03:04:05Z" */
json_t *json_time(int64_t wall);
json_t *json_share(unsigned basis_points); /* 0..1 */

/* status.c; each NULL when out of memory */
json_t *status_all(const struct admin *a);
json_t *status_mode(const struct admin *a);
json_t *status_features(const struct admin *a);
json_t *status_datacenters(const struct admin *a);
json_t *status_overrides(const struct admin *a);
json_t *status_override(const struct ctl_override *o);
/* A core feature could be answered in some way right now, by somebody. */
bool status_ready(const struct admin *a, const char **why);

/* metrics.c */
void metrics_print(FILE *out, const struct admin *a);
/* All workers and control together; NULL: out of memory. Caller frees. */
struct tm_worker *metrics_sum(const struct admin *a);

/* operate.c: PUT and DELETE; `name` is "" for the mode. */
void operate_put(struct admin *a, struct evhttp_request *req, enum ctl_kind kind, const char *name);
void operate_delete(struct admin *a, struct evhttp_request *req, enum ctl_kind kind, const char *name);

#endif
