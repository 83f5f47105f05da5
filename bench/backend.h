/* SPDX-License-Identifier: MIT */
/*
 * Inside the simulated messenger: one process is one endpoint.
 *
 *   backend.c  options, start, stop
 *   call.c     one request's life: body, faults, answer with back-pressure
 *   api.c      the messenger over HTTP         grpc.c  the same calls over gRPC
 *   files.c    media and backup                events.c  event streams
 *   probe.c    paths for tests: echo, bytes, status, ...  pattern.c  made-up bodies
 *   store.c    what all endpoints share        journal.c  what this one accepted
 */
#ifndef BENCH_BACKEND_H
#define BENCH_BACKEND_H

#include "fault_set.h"
#include "firebreak/h2.h"
#include "journal.h"
#include "json.h"
#include "store.h"

#define CALL_BODY_MAX STORE_BODY_MAX /* of requests that are collected */
#define CALL_FIELDS   24

struct backend {
	struct net_loop *loop;
	struct h2_context h2;
	struct conf_limits limits;
	struct net_tls *tls;
	struct store *store;
	struct journal journal;
	const char *dir;
	char datacenter[16], endpoint[24];
	struct fault_set fault;
	int control; /* faults are told here; -1: by PUT only */
	int64_t busy_until;
	uint64_t requests, dice;
	struct list followers; /* event streams */
	struct net_timer follow_timer;
	uint64_t changes;
	int64_t looked;
};

struct slice {
	const char *p;
	size_t len;
};

struct call;

/* Produces up to `want` more bytes of an answer. False: there are no more. */
typedef bool (*call_source)(struct call *c, struct buf *out, size_t want);

struct call_route {
	const char *method, *pattern;
	unsigned flags;
	void (*run)(struct call *c);
};
#define ROUTE_USER 1 /* 401 without an identity */
#define ROUTE_RAW  2 /* run at the head; the body goes to c->on_body as it comes */
#define ROUTE_FREE 4 /* works under every fault */
#define ROUTE_GRPC 8

/* owned by: the arena of its stream
 * freed by: h2_release, after H2_CLOSED and c->on_gone */
struct call {
	struct h2_stream *st;
	struct backend *b;
	const struct call_route *route;
	struct net_timer timer;
	struct slice method, path, query, type, key, protocol, user, param[2];
	struct buf body; /* collected request body */
	bool ended;      /* the request is complete */
	bool waiting;    /* for the delay a fault made */
	bool running;    /* route->run was called */
	bool silent;     /* never to be answered */
	bool failing;    /* the body is to be cut in the middle */
	struct h2_field *field;
	size_t fields;
	struct buf out;  /* produced, not yet the session's */
	bool finished;   /* nothing will be added to out, except by source */
	bool done;       /* END_STREAM was handed over */
	int64_t sent_at; /* slow_bytes: when the budget was spent last */
	struct h2_field *trailer;
	size_t trailers;
	call_source source;
	uint64_t at, total, seed; /* for sources */
	void (*on_body)(struct call *c, uint32_t what);
	void (*on_gone)(struct call *c);
	void (*later)(struct call *c); /* called once when the timer fires */
	void *extra;
};

/* call.c */
extern const struct h2_handler call_handler;
const struct h2_field *call_request_field(const struct call *c, const char *name);
/* A query parameter as it stands (not decoded); p NULL: not there. */
struct slice call_query(const struct call *c, const char *name);
uint64_t call_query_number(const struct call *c, const char *name, uint64_t otherwise);
/* The answer: a head begun with call_head, fields, then one of the four. */
void call_head(struct call *c, int status);
void call_field(struct call *c, const char *name, const char *value, size_t len);
void call_field_number(struct call *c, const char *name, uint64_t value);
void call_answer(struct call *c, struct buf *body); /* whole, with content-length */
void call_answer_source(struct call *c, call_source source, uint64_t total);
void call_begin(struct call *c);                    /* an open-ended body follows */
void call_answer_bare(struct call *c);              /* no body */
/* After call_begin. */
void call_write(struct call *c, struct buf *body);
void call_trailer(struct call *c, const char *name, const char *value, size_t len);
void call_end(struct call *c);
void call_error(struct call *c, int status, const char *why);
/* Begins the JSON object of a private answer: {"user":"alice" */
bool call_private(struct call *c, struct buf *out);
char *call_copy(struct call *c, const char *text, size_t len);
bool call_is(struct slice s, const char *text);

/* What a send over either protocol does: store, journal. NULL with an HTTP status in
 * *status: it was not accepted. */
const struct store_message *call_send(struct call *c, struct slice room, struct slice key, const void *body, size_t len,
				      bool *replayed, int *status);

/* The routes; NULL-terminated tables. */
extern const struct call_route api_routes[], grpc_routes[], probe_routes[];
bool call_match(const char *pattern, struct slice path, struct slice param[2]);

/* files.c */
void files_upload_media(struct call *c);
void files_upload_backup(struct call *c);
void files_get_media(struct call *c);
void files_get_backup(struct call *c);
/* Made-up octets (pattern.h) from c->at to c->total. */
bool files_pattern(struct call *c, struct buf *out, size_t want);

/* events.c */
void events_start(struct backend *b);
/* Follows one room, or with room.p NULL all rooms of the caller, from after `after`. */
void events_follow(struct call *c, struct slice room, uint64_t after, bool from_now, bool grpc);

/* grpc.c, api.c: one message as an event */
void grpc_error(struct call *c, int code, const char *why);
bool grpc_message(struct buf *out, const struct store *s, const struct store_message *m);
bool api_message(struct buf *out, const struct store *s, const struct store_message *m);

#endif
