/* SPDX-License-Identifier: MIT */
/*
 * A session's life between its connection and the codec. The pump is the only
 * caller of the codec's send, on_bytes the only one of its receive.
 *
 *   accepted/connecting ──first byte/open──▶ open ──h2_shutdown──▶ draining ──no stream left──▶ closed
 *                                             └────h2_close / fault / peer gone────────────────▶ closed
 *
 * Closing never frees: net reaps the connection at the end of the turn and calls
 * on_closed, which tells every stream and then the owner.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/log.h"
#include "h2_private.h"

#define SHUTDOWN_NOTICE (CLOCK_SEC / 2) /* between the two GOAWAY: a few round trips */

static const char http1_answer[] = "HTTP/1.1 505 HTTP Version Not Supported\r\n"
				   "Proxy-Status: firebreak; error=http_request_error; details=\"client-http1\"\r\n"
				   "Content-Type: text/plain\r\nContent-Length: 51\r\nConnection: close\r\n\r\n"
				   "This port speaks HTTP/2 only (client-http1 fault).\n";

void h2_context_init(struct h2_context *ctx, struct net_loop *loop, const struct conf_limits *limits, bool server)
{
	memset(ctx, 0, sizeof(*ctx));
	ctx->loop = loop;
	ctx->limits = limits;
	ctx->server = server;
	list_init(&ctx->woken);
	list_init(&ctx->sessions);
}

void h2_wake(struct h2_session *s)
{
	if (list_empty(&s->woken_node) && !s->closing)
		list_append(&s->ctx->woken, &s->woken_node);
}

/* Hands over what gathered. Handlers may submit, reset and close, and may make this
 * very list longer; each stream is called once per gathering. */
void session_dispatch(struct h2_session *s)
{
	struct list *node;

	if (s->dispatching)
		return;
	s->dispatching = true;
	while ((node = list_pop(&s->ready))) {
		struct h2_stream *st = list_entry(node, struct h2_stream, ready_node);
		uint32_t what = st->ready;

		st->ready = 0;
		if (what & H2_CLOSED)
			st->session = NULL;
		if (s->ctx->server && !st->announced) {
			if ((what & H2_CLOSED) || !(what & H2_HEAD)) {
				if (what & H2_CLOSED)
					h2_release(&st); /* malformed before anybody saw it */
				continue;
			}
			st->announced = true;
			s->ctx->handler.on_stream(s->owner, st);
		}
		s->ctx->handler.on_ready(st, what);
		if ((what & H2_CLOSED) && !s->closing && s->ctx->owner.on_room)
			s->ctx->owner.on_room(s->owner);
	}
	s->dispatching = false;
}

static void pump(struct h2_session *s)
{
	const uint8_t *data;
	bool full;
	ssize_t n;

	if (!s->ng || s->closing)
		return;
	if (!s->open) { /* streams may have ended unsaid */
		session_dispatch(s);
		return;
	}
	s->frame_used = true;
	while (net_pending(s->conn) < s->ctx->limits->output_bytes) {
		n = nghttp2_session_mem_send(s->ng, &data);
		if (n <= 0) {
			if (n < 0) /* our callback's failures (it could not write) are of memory, too */
				h2_close(s, n == NGHTTP2_ERR_NOMEM || n == NGHTTP2_ERR_CALLBACK_FAILURE ? FAULT_NO_MEMORY : FAULT_INTERNAL);
			break;
		}
		if (!net_write(s->conn, data, (size_t)n)) {
			h2_close(s, FAULT_NO_MEMORY);
			break;
		}
	}
	if (s->closing)
		return;
	full = net_pending(s->conn) >= s->ctx->limits->output_bytes;
	net_flush(s->conn);
	if (full && net_pending(s->conn) < s->ctx->limits->output_bytes)
		h2_wake(s); /* the socket took it: the rest goes in the next turn */
	session_dispatch(s);
	if (s->closing)
		return;
	if ((s->last_goaway || s->goaway_received) && !s->count) {
		if (!net_pending(s->conn))
			h2_close(s, FAULT_NONE);
	} else if (!nghttp2_session_want_read(s->ng) && !nghttp2_session_want_write(s->ng)) {
		if (!net_pending(s->conn))
			h2_close(s, s->ctx->server ? FAULT_CLIENT_PROTOCOL : FAULT_UPSTREAM_PROTOCOL);
	} else if (s->ctx->server && net_pending(s->conn) >= s->ctx->limits->output_bytes && !s->read_paused) {
		/* Who does not take what is there gets nothing new done (RELIABILITY: windows).
		 * Clients only: an endpoint may do the same, and two that wait for each other to
		 * read first wait for ever. */
		s->read_paused = true;
		net_read_pause(s->conn, true);
	}
}

void h2_pump_all(struct h2_context *ctx)
{
	struct list now, *node;

	list_init(&now);
	list_splice(&now, &ctx->woken);
	while ((node = list_pop(&now)))
		pump(list_entry(node, struct h2_session, woken_node));
	if (!list_empty(&ctx->woken))
		net_loop_again(ctx->loop);
}

/* ---- connection events ---- */

static void on_open(void *user)
{
	struct h2_session *s = user;

	s->open = true;
	s->heard = clock_now();
	if (s->ctx->server)
		return;
	h2_wake(s);
	if (s->ctx->owner.on_open)
		s->ctx->owner.on_open(s->owner);
}

static void answer_http1(struct h2_session *s)
{
	if (net_write(s->conn, http1_answer, sizeof(http1_answer) - 1))
		net_flush(s->conn);
}

/* A peer that says nothing for so long beyond the round trip, not even to a PING, stood still. Twice a
 * second at the most: one that does so all the time has too much to do. */
#define STANDSTILL (50 * CLOCK_MS)

static void hear(struct h2_session *s)
{
	int64_t now = clock_now(), still = now - (s->heard > s->ping_sent ? s->heard : s->ping_sent) - s->rtt;

	if (s->ping_sent && still >= STANDSTILL && now - s->stood_at >= CLOCK_SEC / 2) {
		s->stood += still;
		s->stood_at = now;
	}
	s->heard = now;
}

static void on_bytes(void *user, const uint8_t *data, size_t len)
{
	struct h2_session *s = user;
	enum fault f;
	ssize_t n;

	if (s->closing)
		return;
	f = guard_scan(s, data, len);
	/* A client that never ends a frame has not said anything. */
	if (!s->ctx->server || (!s->guard.payload && !s->guard.have))
		hear(s);
	if (f != FAULT_NONE) {
		if (f == FAULT_CLIENT_HTTP1)
			answer_http1(s);
		h2_close(s, f);
		return;
	}
	if (!s->ng) {
		if (!codec_create(s)) {
			h2_close(s, FAULT_NO_MEMORY);
			return;
		}
		if (s->draining) /* it came while the service was told to end */
			nghttp2_submit_shutdown_notice(s->ng);
	}
	n = nghttp2_session_mem_recv(s->ng, data, len);
	h2_wake(s);
	if (n < 0) {
		/* FLOODED and TOO_MANY_CONTINUATIONS come without GOAWAY; h2_close sends one. */
		if (n == NGHTTP2_ERR_NOMEM)
			f = FAULT_NO_MEMORY;
		else if (n == NGHTTP2_ERR_FLOODED)
			f = FAULT_FLOOD_FRAMES;
		else
			f = s->ctx->server ? FAULT_CLIENT_PROTOCOL : FAULT_UPSTREAM_PROTOCOL;
		session_dispatch(s);
		h2_close(s, f);
		return;
	}
	if (nghttp2_session_get_outbound_queue_size(s->ng) > 1000 + 4 * s->ctx->limits->max_streams) {
		h2_close(s, FAULT_OUTPUT_FULL);
		return;
	}
	session_dispatch(s);
}

static void on_eof(void *user)
{
	struct h2_session *s = user;

	h2_close(s, s->ctx->server ? FAULT_CLIENT_GONE : FAULT_UPSTREAM_CLOSED);
}

static void on_drained(void *user)
{
	struct h2_session *s = user;

	if (s->read_paused) {
		s->read_paused = false;
		net_read_pause(s->conn, false);
	}
	h2_wake(s);
}

/* Net knows only bytes: a lost connection is the client's going or the endpoint's. */
static enum fault translate(const struct h2_session *s, enum fault f)
{
	if (s->ctx->server)
		return f == FAULT_UPSTREAM_CLOSED ? FAULT_CLIENT_GONE : f;
	switch (f) {
	case FAULT_CLIENT_GONE:
		return FAULT_UPSTREAM_CLOSED;
	case FAULT_TLS_HANDSHAKE:
		return FAULT_UPSTREAM_TLS;
	case FAULT_FLOOD_RESETS:
	case FAULT_FLOOD_PINGS:
	case FAULT_FLOOD_SETTINGS:
	case FAULT_FLOOD_EMPTY:
	case FAULT_FLOOD_FRAMES:
	case FAULT_FLOOD_CONTINUATIONS:
	case FAULT_FLOOD_HEADS:
	case FAULT_OUTPUT_FULL:
		return FAULT_UPSTREAM_PROTOCOL; /* what is a client's fault there is the endpoint's here */
	default:
		return f;
	}
}

static void on_closed(void *user, enum fault fault)
{
	struct h2_session *s = user;
	struct h2_context *ctx = s->ctx; /* the owner may end it with its last session */

	fault = translate(s, fault);
	s->closing = true;
	net_timer_disarm(&s->timer);
	list_remove(&s->woken_node);
	while (!list_empty(&s->streams)) {
		struct h2_stream *st = list_entry(s->streams.next, struct h2_stream, node);
		enum fault f = fault != FAULT_NONE ? fault : s->ctx->server ? FAULT_CLIENT_GONE : FAULT_UPSTREAM_CLOSED;

		if (st->reset_sent && st->fault != FAULT_NONE)
			f = st->fault;
		else if (fault_info(f)->retry == FAULT_RETRY_IDEMPOTENT && !s->ctx->server && (!st->id || st->id > s->sent_id))
			f = FAULT_UPSTREAM_GOAWAY; /* never said, so never processed */
		stream_closed(st, f);
	}
	session_dispatch(s);
	if (ctx->faults && fault != FAULT_NONE)
		ctx->faults[fault]++;
	list_remove(&s->node);
	ctx->count--;
	if (ctx->owner.on_closed)
		ctx->owner.on_closed(s->owner, fault);
	if (s->ng)
		nghttp2_session_del(s->ng);
	free(s->guard.reset_id);
	s->magic = 0;
	free(s);
}

static const struct net_handler handler = { on_open, on_bytes, on_eof, on_drained, on_closed };

/* ---- deadlines ---- */

void session_arm(struct h2_session *s, int64_t in_ns)
{
	int64_t at = clock_now() + in_ns;

	if (!s->timer.deadline || s->timer.deadline > at)
		net_timer_arm(s->ctx->loop, &s->timer, at);
}

/* How long output may wait. When memory is scarce, who does not take what is there is
 * the first to go: shut windows must not starve the others. */
static int64_t write_patience(const struct conf_limits *l)
{
	int64_t patience = l->write_timeout_ms * CLOCK_MS;

	return buf_scarce() && patience > CLOCK_SEC ? CLOCK_SEC : patience;
}

/* A stream whose client does not send its body, or does not take its answer. What came since the
 * last look may still be on its way; older than that, it is the backend that does not take it. */
static void check_streams(struct h2_session *s, int64_t now)
{
	const struct conf_limits *l = s->ctx->limits;
	int64_t patience = write_patience(l);
	struct list *node, *next;
	uint64_t looked;

	for (node = s->streams.next; node != &s->streams; node = next) {
		struct h2_stream *st = list_entry(node, struct h2_stream, node);

		next = node->next;
		looked = st->looked;
		st->looked = st->received;
		if (st->out.len && now - st->taken > patience)
			h2_reset(st, NGHTTP2_CANCEL, FAULT_SLOW_CLIENT);
		else if (st->announced && st->body_expected && !st->remote_end && st->consumed >= looked &&
			 now - st->opened > l->body_timeout_ms * CLOCK_MS &&
			 st->received * 1000 < l->body_rate * (uint64_t)((now - st->opened) / CLOCK_MS))
			stream_ready(st, H2_STALLED);
	}
	session_dispatch(s);
}

/* An idle session keeps no page for its frame buffer. */
static void give_back(struct h2_session *s)
{
	if (!s->frame_used || nghttp2_session_want_write(s->ng))
		return;
	frame_buffer_idle(s->frame);
	s->frame_used = false;
}

static void on_timer(struct net_timer *t)
{
	struct h2_session *s = list_entry(t, struct h2_session, timer);
	const struct conf_limits *l = s->ctx->limits;
	int64_t now = clock_now(), stuck, idle;

	if (s->closing || !s->ctx->server)
		return;
	if (s->draining && !s->ng) {
		h2_close(s, FAULT_SHUTTING_DOWN);
		return;
	}
	if (s->draining && !s->last_goaway) {
		s->last_goaway = true;
		nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(s->ng), NGHTTP2_NO_ERROR,
				      NULL, 0);
		h2_wake(s);
	}
	stuck = net_stuck_since(s->conn);
	if (!s->settings_seen && now - s->since >= l->handshake_timeout_ms * CLOCK_MS) {
		h2_close(s, FAULT_HANDSHAKE_TIMEOUT);
	} else if (s->guard.head_since && now - s->guard.head_since >= l->header_timeout_ms * CLOCK_MS) {
		h2_close(s, FAULT_HEAD_TIMEOUT);
	} else if (stuck && now - stuck >= write_patience(l)) {
		h2_close(s, FAULT_SLOW_CLIENT);
	} else if (!s->settings_seen || s->guard.head_since || stuck || s->count) {
		check_streams(s, now);
		if (!s->closing)
			session_arm(s, CLOCK_SEC);
	} else {
		give_back(s);
		idle = l->idle_timeout_ms * CLOCK_MS - (now - (s->idle_since > s->heard ? s->idle_since : s->heard));
		if (idle <= 0)
			h2_close(s, FAULT_IDLE_TIMEOUT);
		else
			session_arm(s, idle > 5 * CLOCK_SEC ? 5 * CLOCK_SEC : idle);
	}
}

/* ---- making and ending ---- */

static struct h2_session *create(struct h2_context *ctx, void *owner)
{
	struct h2_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->magic = H2_SESSION_MAGIC;
	s->ctx = ctx;
	s->owner = owner;
	s->since = s->idle_since = s->heard = clock_now();
	list_init(&s->woken_node);
	list_init(&s->streams);
	list_init(&s->ready);
	net_timer_init(&s->timer, on_timer);
	return s;
}

static struct h2_session *enlist(struct h2_session *s)
{
	if (!s->conn) {
		if (s->ng)
			nghttp2_session_del(s->ng);
		free(s);
		return NULL;
	}
	list_append(&s->ctx->sessions, &s->node);
	s->ctx->count++;
	return s;
}

struct h2_session *h2_accept(struct h2_context *ctx, int fd, const struct net_addr *peer, struct net_tls *tls, void *owner)
{
	struct h2_session *s = create(ctx, owner);

	if (!s) {
		close(fd);
		return NULL;
	}
	s->conn = net_conn_adopt(ctx->loop, fd, peer, tls, true, &handler, s);
	if (!enlist(s))
		return NULL;
	session_arm(s, CLOCK_SEC);
	return s;
}

struct h2_session *h2_connect(struct h2_context *ctx, const struct net_addr *to, struct net_tls *tls, const char *sni,
			      uint32_t timeout_ms, void *owner)
{
	struct h2_session *s = create(ctx, owner);

	if (!s)
		return NULL;
	if (codec_create(s))
		s->conn = net_conn_connect(ctx->loop, to, tls, sni, timeout_ms, &handler, s);
	return enlist(s);
}

struct h2_session *h2_adopt(struct h2_context *ctx, int fd, void *owner)
{
	struct net_addr peer = { .len = 0 };
	struct h2_session *s = create(ctx, owner);

	if (!s)
		return NULL;
	if (ctx->server || codec_create(s))
		s->conn = net_conn_adopt(ctx->loop, fd, &peer, NULL, ctx->server, &handler, s);
	if (!enlist(s))
		return NULL;
	session_arm(s, CLOCK_SEC);
	return s;
}

void h2_shutdown(struct h2_session *s)
{
	if (s->closing || s->draining)
		return;
	s->draining = true;
	if (s->ctx->server) {
		/* The first of two (RFC 9113 6.8): streams the client opens before it hears
		 * still count. The second, with the true last id, goes a little later; who is
		 * still in the handshake has until then to begin. */
		if (s->ng)
			nghttp2_submit_shutdown_notice(s->ng);
		session_arm(s, SHUTDOWN_NOTICE);
	} else if (!s->ng) {
		h2_close(s, FAULT_SHUTTING_DOWN);
	} else {
		s->last_goaway = true; /* no new streams; the pump closes after the last one */
	}
	h2_wake(s);
}

static uint32_t code_for(enum fault f)
{
	switch (f) {
	case FAULT_NONE:
	case FAULT_IDLE_TIMEOUT:
	case FAULT_CONNECTIONS_FULL: /* it was idle, and makes room */
	case FAULT_UPSTREAM_IDLE:
	case FAULT_UPSTREAM_GONE:
	case FAULT_UPSTREAM_TIMEOUT:
	case FAULT_SHUTTING_DOWN:
		return NGHTTP2_NO_ERROR;
	case FAULT_CLIENT_PROTOCOL:
	case FAULT_UPSTREAM_PROTOCOL:
		return NGHTTP2_PROTOCOL_ERROR;
	case FAULT_NO_MEMORY:
	case FAULT_INTERNAL:
		return NGHTTP2_INTERNAL_ERROR;
	default:
		return NGHTTP2_ENHANCE_YOUR_CALM;
	}
}

/* GOAWAY, best effort: only what fits into the socket now. Inside a codec callback
 * the codec must not be entered again; the bytes are built by hand. */
static void send_goaway(struct h2_session *s, enum fault fault)
{
	uint32_t id = (uint32_t)s->last_id, code = code_for(fault);
	uint8_t frame[17] = { 0, 0, 8, NGHTTP2_GOAWAY, 0, 0, 0, 0, 0, (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
			      (uint8_t)id, (uint8_t)(code >> 24), (uint8_t)(code >> 16), (uint8_t)(code >> 8), (uint8_t)code };

	if (!s->ng || !s->open || !nghttp2_session_want_read(s->ng)) /* the codec's own GOAWAY has gone out */
		return;
	if (net_write(s->conn, frame, sizeof(frame)))
		net_flush(s->conn);
}

void h2_close(struct h2_session *s, enum fault fault)
{
	if (s->closing)
		return;
	s->closing = true;
	list_remove(&s->woken_node);
	if (fault != FAULT_CLIENT_GONE && fault != FAULT_UPSTREAM_CLOSED && fault != FAULT_CLIENT_HTTP1)
		send_goaway(s, fault);
	net_close(s->conn, fault);
}

/* ---- questions ---- */

struct h2_session *h2_session_from_node(struct list *node) { return list_entry(node, struct h2_session, node); }
void *h2_session_owner(const struct h2_session *s) { return s->owner; }
struct net_conn *h2_session_conn(const struct h2_session *s) { return s->conn; }
const struct net_addr *h2_session_peer(const struct h2_session *s) { return net_conn_peer(s->conn); }
bool h2_session_open(const struct h2_session *s) { return s->open && !s->closing; }
size_t h2_session_streams(const struct h2_session *s) { return s->count; }
int64_t h2_session_heard(const struct h2_session *s) { return s->heard; }
int64_t h2_session_rtt(const struct h2_session *s) { return s->rtt; }
int64_t h2_ping_pending(const struct h2_session *s) { return s->ping_sent; }

int64_t h2_session_idle(const struct h2_session *s)
{
	int64_t now = clock_now();

	return s->closing || s->count || now - s->since < 2 * CLOCK_SEC ? 0 : now - s->idle_since;
}

size_t h2_session_held(const struct h2_session *s, size_t (*more)(const struct h2_stream *))
{
	size_t held = s->held;
	struct list *node;

	if (s->closing || !s->count)
		return 0;
	for (node = s->streams.next; node != &s->streams; node = node->next) {
		struct h2_stream *st = list_entry(node, struct h2_stream, node);

		held += st->in.len + st->out.len + more(st);
	}
	return held + net_pending(s->conn);
}

size_t h2_session_room(const struct h2_session *s)
{
	uint32_t most = s->ctx->limits->upstream_streams, theirs;

	if (s->closing || s->draining || s->goaway_received || !s->ng || !nghttp2_session_check_request_allowed(s->ng))
		return 0;
	theirs = nghttp2_session_get_remote_settings(s->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	if (theirs < most)
		most = theirs;
	return s->count < most ? most - s->count : 0;
}

bool h2_session_peer_connect(const struct h2_session *s)
{
	return s->ng && nghttp2_session_get_remote_settings(s->ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

int64_t h2_session_answered(const struct h2_session *s) { return s->answered; }
int64_t h2_session_head_since(const struct h2_session *s) { return s->guard.head_since; }
bool h2_session_settled(const struct h2_session *s) { return s->settings_seen; }

bool h2_session_spent(const struct h2_session *s)
{
	return s->ng && nghttp2_session_get_next_stream_id(s->ng) > INT32_MAX;
}

void h2_tell(struct h2_session *s, uint32_t what)
{
	struct list *node;

	for (node = s->streams.next; node != &s->streams; node = node->next)
		stream_ready(list_entry(node, struct h2_stream, node), what);
	session_dispatch(s);
}

int64_t h2_ping(struct h2_session *s)
{
	if (s->closing || !s->ng || s->ping_sent)
		return s->ping_sent;
	if (nghttp2_submit_ping(s->ng, NGHTTP2_FLAG_NONE, NULL) == 0) {
		s->ping_sent = clock_now();
		h2_wake(s);
	}
	return s->ping_sent;
}
