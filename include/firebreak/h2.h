/* SPDX-License-Identifier: MIT */
/*
 * HTTP/2 sessions in both roles over net connections; the only room that sees
 * nghttp2. A session reads when its connection has bytes, gathers what happened
 * per stream, hands it to the stream's handler after the read, and writes once at
 * the end of the turn (h2_pump). Nobody above ever causes a read or a write.
 *
 *   bytes > scan (guard) > codec > stream->in, stream->ready > handler > submit > wake
 *   end of turn: codec > net_write > net_flush, once
 *
 * Field checks of RFC 9113 8.2/8.3 are done here (codec's and ours): what reaches a
 * handler is well-formed.
 */
#ifndef FIREBREAK_H2_H
#define FIREBREAK_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "conf.h"
#include "fault.h"
#include "net.h"

/* Field names we act on; X(NAME, "name"). Everything else is H2_OTHER. */
#define H2_TOKENS(X) \
	X(METHOD, ":method") X(SCHEME, ":scheme") X(AUTHORITY, ":authority") X(PATH, ":path") \
	X(PROTOCOL, ":protocol") X(STATUS, ":status") X(HOST, "host") X(TE, "te") X(COOKIE, "cookie") \
	X(CONTENT_LENGTH, "content-length") X(CONTENT_TYPE, "content-type") X(AUTHORIZATION, "authorization") \
	X(VIA, "via") X(FORWARDED, "forwarded") X(X_FORWARDED_FOR, "x-forwarded-for") \
	X(X_FORWARDED_PROTO, "x-forwarded-proto") X(X_FORWARDED_HOST, "x-forwarded-host") \
	X(X_FORWARDED_PORT, "x-forwarded-port") X(X_REQUEST_ID, "x-request-id") X(TRACEPARENT, "traceparent") \
	X(TRACESTATE, "tracestate") X(EXPECT, "expect") X(TRAILER, "trailer") X(PRIORITY, "priority") \
	X(CACHE_CONTROL, "cache-control") X(VARY, "vary") X(DATE, "date") X(AGE, "age") X(SERVER, "server") \
	X(SET_COOKIE, "set-cookie") X(RANGE, "range") X(GRPC_STATUS, "grpc-status") X(GRPC_TIMEOUT, "grpc-timeout") \
	X(PROXY_STATUS, "proxy-status") X(CACHE_STATUS, "cache-status") X(MAX_FORWARDS, "max-forwards") \
	X(PROXY_AUTHORIZATION, "proxy-authorization") X(PROXY_AUTHENTICATE, "proxy-authenticate") \
	X(PROXY_CONNECTION, "proxy-connection") X(CONNECTION, "connection") X(KEEP_ALIVE, "keep-alive") \
	X(UPGRADE, "upgrade") X(TRANSFER_ENCODING, "transfer-encoding") X(HTTP2_SETTINGS, "http2-settings") X(RETRY_AFTER, "retry-after") \
	X(GRPC_MESSAGE, "grpc-message") X(GRPC_PUSHBACK, "grpc-retry-pushback-ms")

enum h2_token {
	H2_OTHER,
#define X(name, text) H2_##name,
	H2_TOKENS(X)
#undef X
	H2_TOKEN_COUNT
};
enum h2_token h2_token(const char *name, size_t len);
extern const struct h2_name {
	const char *text;
	size_t len;
} h2_names[H2_TOKEN_COUNT]; /* by token; H2_OTHER's is empty */

/* A header field. The layout is the codec's, so that arrays are submitted as they
 * are. Bytes stay where they are until the stream has closed: keep them in a
 * stream's arena or in static memory. */
struct h2_field {
	const uint8_t *name, *value;
	size_t name_len, value_len;
	uint8_t flags; /* H2_FIELD_... */
	uint8_t token; /* enum h2_token */
};
#define H2_FIELD_KEEP      6 /* name and value are not copied: set on every field */
#define H2_FIELD_SENSITIVE 1 /* never indexed by HPACK: unique or secret values */

/* A field of ours under a known name; the value must outlive the stream. */
static inline struct h2_field h2_field(enum h2_token t, const char *value, size_t len)
{
	return (struct h2_field){ .name = (const uint8_t *)h2_names[t].text, .name_len = h2_names[t].len,
				  .value = (const uint8_t *)value, .value_len = len, .flags = H2_FIELD_KEEP, .token = (uint8_t)t };
}

/* A complete header block or trailers. */
struct h2_head {
	struct h2_head *next; /* interim responses queue up */
	struct h2_field *field;
	uint16_t count, size;
	uint16_t status;      /* responses; 0 else */
};

/* What happened to a stream since its handler was called last. */
enum {
	H2_HEAD = 1,      /* stream->head is complete (the final one for a response) */
	H2_INTERIM = 2,   /* stream->interim holds 1xx heads: take them with h2_interim_take */
	H2_BODY = 4,      /* stream->in has bytes */
	H2_TRAILERS = 8,  /* stream->trailers is complete */
	H2_END = 16,      /* the peer's side is complete, after everything above */
	H2_SENT = 32,     /* stream->sent grew: queued output left for the connection */
	H2_SILENT = 256,  /* client: see h2_tell */
	H2_DOUBTED = 512,
	H2_DRAINED = 1024,
	H2_LOST = 2048,
	H2_STALLED = 128, /* server: the request body comes slower than limits.body_rate */
	H2_CLOSED = 64,   /* last call: the stream is gone, stream->fault says why (FAULT_NONE: complete) */
};

/* owned by: its session until H2_CLOSED, then by the one who holds it (stream->user)
 * freed by: h2_release, which must follow every H2_CLOSED */
struct h2_stream {
	uint32_t magic;
	int32_t id;                 /* 0 until the codec has numbered a request */
	struct h2_session *session; /* NULL after H2_CLOSED */
	struct list node;           /* on session->streams */
	struct list ready_node;     /* on session->ready */
	uint32_t ready;             /* H2_... gathered */
	void *user;                 /* the handler's; set by h2_request / in on_stream */
	struct arena arena;         /* heads live here */
	struct h2_head *head, *interim, *trailers;
	struct h2_head *filling;    /* being received */
	struct buf in, out;
	uint64_t received, sent;    /* body bytes, payload only */
	uint64_t consumed;          /* of received */
	uint64_t looked;            /* server: received when its rate was last looked at */
	enum fault fault;
	uint32_t error_code;        /* RFC 9113 7, when the peer reset */
	int64_t opened, active;     /* monotonic ns: created; last byte either way */
	int64_t taken;              /* the same for output, as far as it was taken at body_rate */
	int64_t stood;              /* client, with a head: so long (ns) of the wait for it the peer stood still: it answered no PING either */
	struct h2_head *out_trailers;
	struct h2_head *unsaid;     /* client: an extended CONNECT that waits for the peer's SETTINGS */
	uint32_t held;              /* header octets counted against the session */
	bool announced;             /* server: on_stream was called */
	bool responded;             /* server: the final head was submitted */
	bool begun;                 /* server: it has left */
	bool body_expected;         /* set by the handler: a stalled body is worth an H2_STALLED */
	bool tunnel;                /* set by the handler: either side may end alone (RFC 9113 8.5) */
	bool remote_end;            /* the peer has finished */
	bool out_end;               /* nothing will be added to out */
	bool deferred;              /* the codec waits for data */
	bool reset_sent;            /* by h2_reset, not by the codec's own judgement */
	bool empty_data;            /* the peer has sent DATA with nothing in it */
	bool closed;                /* H2_CLOSED is due or delivered */
};

struct h2_session;

struct h2_handler {
	/* Server: a request head is complete. Set stream->user; the same turn brings
	 * on_ready with the rest. */
	void (*on_stream)(void *owner, struct h2_stream *stream);
	/* Something happened: `what` is the gathered H2_ bits. */
	void (*on_ready)(struct h2_stream *stream, uint32_t what);
};

struct h2_owner {
	/* The session is usable (client: connected and preface queued). May be NULL. */
	void (*on_open)(void *owner);
	/* A PING of ours came back after rtt ns. May be NULL. */
	void (*on_pong)(void *owner, int64_t rtt);
	/* The peer sends GOAWAY with this error code (RFC 9113, 7): no new streams; the open
	 * ones up to its last id go on. May be NULL. */
	void (*on_goaway)(void *owner, uint32_t error);
	/* Capacity for new streams may have changed (a stream ended, SETTINGS came). May be NULL. */
	void (*on_room)(void *owner);
	/* The session is gone; all its streams have had H2_CLOSED. */
	void (*on_closed)(void *owner, enum fault fault);
};

/* A set of sessions that share a loop, limits, handlers: one for downstream, one
 * for upstream per worker. */
struct h2_context {
	struct net_loop *loop;
	const struct conf_limits *limits; /* replaced on reload; sessions read it through here */
	struct h2_handler handler;
	struct h2_owner owner;
	uint64_t *faults;                 /* counters by enum fault, or NULL */
	bool server;
	bool connect_protocol;            /* server: advertise RFC 8441 */
	struct list woken;                /* sessions to pump */
	struct list sessions;
	size_t count;
};
void h2_context_init(struct h2_context *ctx, struct net_loop *loop, const struct conf_limits *limits, bool server);

/* Server: takes an accepted fd; `peer` is the client's address (already taken from a
 * PROXY header where one is spoken). NULL: out of memory, fd is closed. */
struct h2_session *h2_accept(struct h2_context *ctx, int fd, const struct net_addr *peer, struct net_tls *tls, void *owner);
/* Client: connects. */
struct h2_session *h2_connect(struct h2_context *ctx, const struct net_addr *to, struct net_tls *tls, const char *sni, uint32_t timeout_ms, void *owner);
/* Tests: a session over any connected fd. */
struct h2_session *h2_adopt(struct h2_context *ctx, int fd, void *owner);

/* The session whose place on context.sessions this is. */
struct h2_session *h2_session_from_node(struct list *node);
void *h2_session_owner(const struct h2_session *s);
struct net_conn *h2_session_conn(const struct h2_session *s);
const struct net_addr *h2_session_peer(const struct h2_session *s);
bool h2_session_open(const struct h2_session *s);
size_t h2_session_streams(const struct h2_session *s);
/* Client: how many more streams may be opened now (peer's limit, ours, GOAWAY: 0). */
size_t h2_session_room(const struct h2_session *s);
bool h2_session_peer_connect(const struct h2_session *s); /* peer allows RFC 8441 */
/* Client: when a final response head came last; 0: none yet. */
int64_t h2_session_answered(const struct h2_session *s);
/* Since when a header block has been on its way from the peer (monotonic ns); 0: none is.
 * Nothing else can come on the connection before its end (RFC 9113 4.3). */
int64_t h2_session_head_since(const struct h2_session *s);
bool h2_session_settled(const struct h2_session *s);      /* the peer's SETTINGS have come */
/* Client: the last stream id (2^31-1) is taken; time to shut down (RFC 9113 5.1.1). */
bool h2_session_spent(const struct h2_session *s);
/* When the peer was last heard (monotonic ns), and the least PING round trip (0: none yet). */
int64_t h2_session_heard(const struct h2_session *s);
/* How long it has had no stream (ns); 0: it has one, or is too young to tell. */
int64_t h2_session_idle(const struct h2_session *s);
/* Octets held for its streams: heads, bodies, output; and what `more` finds for each. */
size_t h2_session_held(const struct h2_session *s, size_t (*more)(const struct h2_stream *));
int64_t h2_session_rtt(const struct h2_session *s);
/* Client: every open stream hears `what`, the oldest first. H2_SILENT: the peer answers
 * nothing; who can go elsewhere does, and ends the stream, the others may still be finished.
 * H2_LOST: who has heard nothing of an answer by now gives up as well, unless its request's body
 * is not kept.
 * H2_DOUBTED: it may be so; said again when that is grave. H2_DRAINED: it is well, but what
 * lasts is to end soon. */
void h2_tell(struct h2_session *s, uint32_t what);
/* Sends a PING unless one is under way. Returns when the pending one was sent (ns). */
int64_t h2_ping(struct h2_session *s);
int64_t h2_ping_pending(const struct h2_session *s); /* 0: none */

/* Client: opens a stream. NULL: no room or memory (*why). `end`: no body follows. An
 * extended CONNECT waits for the peer's SETTINGS (RFC 8441 3); `field` has to stay until
 * then. If they do not allow it, the stream ends with UPSTREAM_NO_CONNECT. */
struct h2_stream *h2_request(struct h2_session *s, const struct h2_field *field, size_t n, bool end, void *user, enum fault *why);
/* Server: the final head, once. `end`: nothing follows; if the request is still
 * coming, it is stopped with RST_STREAM(NO_ERROR) after the answer left (not a tunnel's). */
bool h2_respond(struct h2_stream *st, const struct h2_field *field, size_t n, bool end);
bool h2_interim(struct h2_stream *st, const struct h2_field *field, size_t n);
struct h2_head *h2_interim_take(struct h2_stream *st);
/* Both: appends the whole of `body` to the stream's output (moves it). */
bool h2_write(struct h2_stream *st, struct buf *body);
/* Both: finishes our side, with trailers when n > 0. */
bool h2_finish(struct h2_stream *st, const struct h2_field *trailer, size_t n);
/* Both: ends the stream now; code is RFC 9113 7 (H2_ERR_...). H2_CLOSED follows. A head
 * that was submitted leaves first. */
void h2_reset(struct h2_stream *st, uint32_t code, enum fault fault);
/* The receiver has disposed of n body bytes: the peer may send n more. */
void h2_consume(struct h2_stream *st, size_t n);
/* Frees a stream that had H2_CLOSED; nulls the pointer. */
void h2_release(struct h2_stream **st);

/* Gives what is kept for reuse (streams, the codec's pieces) back to malloc. */
void h2_trim(void);

/* Schedules the pump at the end of this turn. */
void h2_wake(struct h2_session *s);
/* The end-of-turn pump of a context: every woken session once. Call it from the
 * loop's hook. */
void h2_pump_all(struct h2_context *ctx);
/* Graceful: GOAWAY(2^31-1) now, GOAWAY(last) a little later, close when no stream
 * is left (RFC 9113 6.8). */
void h2_shutdown(struct h2_session *s);
/* At once: GOAWAY with the code that fits the fault, then close. */
void h2_close(struct h2_session *s, enum fault fault);

enum {
	H2_ERR_NO_ERROR, H2_ERR_PROTOCOL, H2_ERR_INTERNAL, H2_ERR_FLOW_CONTROL, H2_ERR_SETTINGS_TIMEOUT,
	H2_ERR_STREAM_CLOSED, H2_ERR_FRAME_SIZE, H2_ERR_REFUSED_STREAM, H2_ERR_CANCEL, H2_ERR_COMPRESSION,
	H2_ERR_CONNECT, H2_ERR_ENHANCE_YOUR_CALM, H2_ERR_INADEQUATE_SECURITY, H2_ERR_HTTP_1_1_REQUIRED
};

#endif
