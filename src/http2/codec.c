/* SPDX-License-Identifier: MIT */
/*
 * nghttp2 callbacks. They run inside mem_recv and mem_send, so they only fill
 * streams and mark them ready; handlers run afterwards (session_dispatch).
 */
#include <string.h>

#include "firebreak/clock.h"
#include "firebreak/log.h"
#include "h2_private.h"

#define SEND_HEAD_MOST (2 << 20) /* header_list is at most 1 MiB */

#define FIELDS 16 /* of a head at first */

/* Frames of one stream come in rows (a field is a callback), so the last stream found
 * is mostly the one wanted, and a look-up in the codec is saved. */
static struct h2_stream *find(struct h2_session *s, int32_t id)
{
	if (!s->current || s->current->id != id)
		s->current = nghttp2_session_get_stream_user_data(s->ng, id);
	return s->current;
}

/* SETTINGS are about to change every stream's window. */
static void windows_before(struct h2_session *s)
{
	struct list *node;
	int32_t window;

	s->widest = 0;
	s->first_window = (int32_t)nghttp2_session_get_remote_settings(s->ng, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
	for (node = s->streams.next; node != &s->streams; node = node->next) {
		window = nghttp2_session_get_stream_remote_window_size(s->ng, list_entry(node, struct h2_stream, node)->id);
		if (window > s->widest)
			s->widest = window;
	}
}

/* One beyond 2^31-1 is an error of the connection (RFC 9113 6.9.2); the codec resets the
 * streams. */
static void windows_after(struct h2_session *s, const nghttp2_settings *settings)
{
	size_t i;

	for (i = 0; i < settings->niv; i++) {
		if (settings->iv[i].settings_id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE &&
		    (int64_t)s->widest + settings->iv[i].value - s->first_window > INT32_MAX) {
			nghttp2_session_terminate_session(s->ng, NGHTTP2_FLOW_CONTROL_ERROR);
			return;
		}
	}
}

/* The guard has looked at the whole segment before the codec began with it, and could
 * not know of streams opened in the same one. */
static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user)
{
	if (hd->type == NGHTTP2_HEADERS)
		guard_open(user, hd->stream_id);
	else if (hd->type == NGHTTP2_SETTINGS)
		windows_before(user);
	return 0;
}

static struct h2_head *head_create(struct h2_stream *st)
{
	struct h2_head *h = arena_alloc(&st->arena, sizeof(*h));

	if (!h)
		return NULL;
	*h = (struct h2_head){ .size = FIELDS };
	h->field = arena_alloc(&st->arena, h->size * sizeof(*h->field));
	return h->field ? h : NULL;
}

static bool head_grow(struct h2_stream *st, struct h2_head *h)
{
	struct h2_field *f = arena_alloc(&st->arena, 2 * h->size * sizeof(*f));

	if (!f)
		return false;
	memcpy(f, h->field, h->size * sizeof(*f));
	h->field = f;
	h->size *= 2;
	return true;
}

/* A copy of the field in the stream's arena; a name we know is not copied. */
static bool head_add(struct h2_stream *st, struct h2_head *h, const uint8_t *name, size_t name_len, const uint8_t *value,
		     size_t value_len, bool sensitive)
{
	enum h2_token token = h2_token((const char *)name, name_len);
	struct h2_field *f;
	uint8_t *copy;

	if (h->count == h->size && !head_grow(st, h))
		return false;
	copy = arena_alloc(&st->arena, value_len + (token ? 0 : name_len));
	if (!copy)
		return false;
	memcpy(copy, value, value_len);
	f = &h->field[h->count++];
	*f = h2_field(token, (char *)copy, value_len);
	if (sensitive)
		f->flags |= H2_FIELD_SENSITIVE;
	if (!token) {
		memcpy(copy + value_len, name, name_len);
		f->name = copy + value_len;
		f->name_len = name_len;
	}
	return true;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *st;

	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
		st = find(s, frame->hd.stream_id);
	} else {
		st = stream_create(s, frame->hd.stream_id);
		if (!st)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id, st);
		s->current = st;
	}
	if (!st)
		return 0;
	st->filling = head_create(st);
	return st->filling ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* Header octets a session may hold. An endpoint answers many clients on one: each stream
 * adds a good head. */
static uint32_t held_most(const struct h2_session *s)
{
	const struct conf_limits *l = s->ctx->limits;

	return l->held_head_bytes + (s->ctx->server ? 0 : (uint32_t)s->count * (l->header_list_bytes / 8));
}

/* What a head beyond the limits is: the client's to hear (431), or the endpoint's to be
 * refused for, even if its stream is over with it. */
static enum fault too_large(const struct h2_session *s)
{
	return s->ctx->server ? FAULT_HEAD_TOO_LARGE : FAULT_UPSTREAM_BAD_RESPONSE;
}

/* Beyond the limits the block is still decoded (HPACK state is the connection's)
 * but no longer kept; the handler hears of it (too_large). A block
 * four times too large, or too much held in all, costs the connection. */
static int on_header_beyond(struct h2_session *s, struct h2_stream *st)
{
	const struct conf_limits *l = s->ctx->limits;

	if (s->held > held_most(s) || st->held > 4 * l->header_list_bytes) {
		h2_close(s, FAULT_FLOOD_HEADS);
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	st->fault = too_large(s);
	return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
		     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
	struct h2_session *s = user;
	const struct conf_limits *l = s->ctx->limits;
	struct h2_stream *st = find(s, frame->hd.stream_id);
	uint32_t octets = (uint32_t)(name_len + value_len + 32);
	int rv;

	if (!st || !st->filling)
		return 0;
	st->held += octets;
	s->held += octets;
	if (st->held > l->header_list_bytes || (s->held > l->held_head_bytes && s->held > held_most(s)) || st->filling->count >= l->header_count ||
	    st->fault == too_large(s)) {
		rv = on_header_beyond(s, st);
		/* The first field goes on being kept: it tells an interim response from the final one. */
		if (rv || st->filling->count)
			return rv;
	}
	/* The codec takes any three digits; a status begins at 100 (RFC 9110 15). */
	if (value_len == 3 && value[0] == '0' && !s->ctx->server && !st->filling->count && name_len == 7 && !memcmp(name, ":status", 7))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (!head_add(st, st->filling, name, name_len, value, value_len, flags & NGHTTP2_NV_FLAG_NO_INDEX))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	return 0;
}

static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
			     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
	/* Without this the codec would drop the field and go on. */
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* A reset we owe to what the client sent. */
static void charge_reset(struct h2_session *s)
{
	if (s->ctx->server && guard_charge(s, GUARD_RESETS, 1) != FAULT_NONE)
		h2_close(s, FAULT_FLOOD_RESETS);
}

/* False: what is complete is not to be used. */
static bool head_complete(struct h2_session *s, struct h2_stream *st)
{
	struct h2_head *h = st->filling, **tail;

	st->filling = NULL;
	if (st->head && st->fault == too_large(s)) {
		/* Trailers that would arrive shortened. The peer makes us reset, and pays for it. */
		h2_reset(st, NGHTTP2_ENHANCE_YOUR_CALM, s->ctx->server ? FAULT_BAD_REQUEST : FAULT_UPSTREAM_BAD_RESPONSE);
		charge_reset(s);
		return false;
	}
	if (!s->ctx->server && h->count && h->field[0].token == H2_STATUS && h->field[0].value_len == 3) {
		const uint8_t *v = h->field[0].value;

		h->status = (uint16_t)((v[0] - '0') * 100 + (v[1] - '0') * 10 + (v[2] - '0'));
	}
	if (h->status >= 100 && h->status < 200) {
		if (st->fault == too_large(s)) /* the final one will be refused for it */
			return true;
		for (tail = &st->interim; *tail; tail = &(*tail)->next)
			;
		*tail = h;
		stream_ready(st, H2_INTERIM);
	} else if (!st->head) {
		st->head = h;
		st->stood += s->stood;
		s->answered = clock_now();
		stream_ready(st, H2_HEAD);
	} else {
		st->trailers = h;
		stream_ready(st, H2_TRAILERS);
	}
	return true;
}

static void on_ping_ack(struct h2_session *s)
{
	int64_t took;

	if (!s->ping_sent)
		return;
	took = clock_now() - s->ping_sent;
	/* The least: a PONG that waited for a stopped peer does not make it farther away. */
	if (!s->rtt || took < s->rtt)
		s->rtt = took;
	s->ping_sent = 0;
	if (s->ctx->owner.on_pong)
		s->ctx->owner.on_pong(s->owner, took);
}

static void on_settings(struct h2_session *s)
{
	struct list *node, *next;

	if (!s->settings_seen && !s->ctx->server) {
		for (node = s->streams.next; node != &s->streams; node = next) {
			next = node->next;
			stream_settled(list_entry(node, struct h2_stream, node));
		}
	}
	s->settings_seen = true;
	if (s->ctx->owner.on_room)
		s->ctx->owner.on_room(s->owner);
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *st;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		st = find(s, frame->hd.stream_id);
		if (!st)
			return 0;
		if (st->filling && !head_complete(s, st))
			return 0;
		break;
	case NGHTTP2_DATA:
		st = find(s, frame->hd.stream_id);
		/* Nothing but padding: the guard sees the length, only the codec how much of it is padding. */
		if (frame->data.padlen && frame->hd.length <= frame->data.padlen && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
		    guard_charge(s, GUARD_EMPTY, 1) != FAULT_NONE) {
			h2_close(s, FAULT_FLOOD_EMPTY);
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		}
		break;
	case NGHTTP2_PING:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK)
			on_ping_ack(s);
		return 0;
	case NGHTTP2_GOAWAY:
		s->goaway_received = true;
		if (s->ctx->owner.on_goaway)
			s->ctx->owner.on_goaway(s->owner, frame->goaway.error_code);
		return 0;
	case NGHTTP2_SETTINGS:
		if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
			windows_after(s, &frame->settings);
			on_settings(s);
		}
		return 0;
	default:
		return 0;
	}
	if (st && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
		st->remote_end = true;
		stream_ready(st, H2_END);
	}
	return 0;
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *st = find(s, id);

	/* The connection's window is given back at once: one slow stream must not stop
	 * the others. What a stream may have under way is its own window. */
	nghttp2_session_consume_connection(ng, len);
	if (!st || st->closed)
		return 0;
	st->active = clock_now();
	st->received += len;
	if (s->ctx->server && st->responded && st->out_end && !st->tunnel) {
		h2_consume(st, len); /* answered without needing the body */
		return 0;
	}
	if (buf_exhausted() || !buf_append(&st->in, data, len)) {
		h2_reset(st, NGHTTP2_ENHANCE_YOUR_CALM, FAULT_NO_MEMORY);
		return 0;
	}
	stream_ready(st, H2_BODY);
	return 0;
}

static enum fault closing_fault(const struct h2_session *s, const struct h2_stream *st, uint32_t code)
{
	if (st->fault != FAULT_NONE && st->fault != FAULT_HEAD_TOO_LARGE)
		return st->fault;
	if (s->ctx->server)
		return code == NGHTTP2_NO_ERROR ? FAULT_NONE : FAULT_CLIENT_RESET;
	if (st->remote_end && code == NGHTTP2_NO_ERROR)
		return FAULT_NONE;
	if (st->id > s->sent_id && s->goaway_received) /* the codec held it back */
		return FAULT_UPSTREAM_GOAWAY;
	/* Unprocessed, it says. That is no word to repeat a POST on when an answer has begun. */
	if (code == NGHTTP2_REFUSED_STREAM && !st->held)
		return s->goaway_received ? FAULT_UPSTREAM_GOAWAY : FAULT_UPSTREAM_REFUSED;
	return FAULT_UPSTREAM_RESET;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *st = find(s, id);

	if (!st)
		return 0;
	st->error_code = code;
	stream_closed(st, closing_fault(s, st, code));
	return 0;
}

/* Server: a final head has left, and the reset that waited for it follows. */
static bool answer_begun(struct h2_session *s, const nghttp2_frame *frame)
{
	struct h2_stream *st = find(s, frame->hd.stream_id);

	if (!st || st->begun || !st->responded || !frame->headers.nvlen || frame->headers.nva[0].value[0] == '1')
		return false;
	st->begun = true;
	if (!st->reset_sent)
		return false;
	nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, st->id, st->error_code);
	return true;
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *st;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		if (s->ctx->server && answer_begun(s, frame))
			return 0;
		/* fall through */
	case NGHTTP2_DATA:
		if (frame->hd.stream_id > s->sent_id)
			s->sent_id = frame->hd.stream_id;
		if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) || !s->ctx->server)
			return 0;
		guard_credit_answer(s);
		st = find(s, frame->hd.stream_id);
		/* The answer is complete and the request is not: stop it (RFC 9113 8.1).
		 * Only now: a reset queued earlier would overtake the answer. */
		if (st && !st->remote_end && !st->tunnel) {
			st->reset_sent = true;
			guard_remember_reset(s, st->id);
			nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_NO_ERROR);
		}
		return 0;
	case NGHTTP2_RST_STREAM:
		st = find(s, frame->hd.stream_id);
		if (s->ctx->server)
			guard_remember_reset(s, frame->hd.stream_id);
		else
			guard_credit_answer(s); /* the endpoint's own may be under way */
		if (st && st->reset_sent)
			return 0;
		/* The codec's own verdict on what the peer sent: each is work the peer made
		 * us do (CVE-2025-8671), paid from the same budget as resets received. */
		if (st && st->fault == FAULT_NONE)
			st->fault = s->ctx->server ? FAULT_BAD_REQUEST : FAULT_UPSTREAM_BAD_RESPONSE;
		charge_reset(s);
		return 0;
	default:
		return 0;
	}
}

ssize_t codec_read_body(nghttp2_session *ng, int32_t id, uint8_t *out, size_t length, uint32_t *flags,
			nghttp2_data_source *source, void *user)
{
	struct h2_stream *st = source->ptr;
	size_t n = st->out.len < length ? st->out.len : length;

	if (!n && !st->out_end) {
		st->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == st->out.len && st->out_end) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (st->out_trailers) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			if (nghttp2_submit_trailer(ng, id, (const nghttp2_nv *)st->out_trailers->field, st->out_trailers->count))
				return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
	}
	return (ssize_t)n;
}

/* Each octet buys the time that body_rate gives it: who takes one now and then is as
 * good as gone. */
static void took(struct h2_stream *st, size_t n)
{
	uint32_t rate = st->session->ctx->limits->body_rate;

	st->taken += rate ? (int64_t)n * CLOCK_SEC / rate : CLOCK_SEC * 3600;
	if (st->taken > clock_now())
		st->taken = clock_now();
}

static int send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *header, size_t length,
		     nghttp2_data_source *source, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *st = source->ptr;
	struct iovec iov[32];
	size_t left = length, piece;
	int i, n;

	if (net_pending(s->conn) >= s->ctx->limits->output_bytes)
		return NGHTTP2_ERR_WOULDBLOCK;
	s->current = st;
	if (!net_write(s->conn, header, 9))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	while (left) {
		n = buf_iov(&st->out, iov, 32);
		for (i = 0; i < n && left; i++) {
			piece = iov[i].iov_len < left ? iov[i].iov_len : left;
			if (!net_write(s->conn, iov[i].iov_base, piece))
				return NGHTTP2_ERR_CALLBACK_FAILURE;
			left -= piece;
			buf_drain(&st->out, piece);
		}
	}
	st->active = clock_now();
	took(st, length);
	st->sent += length;
	guard_credit_data(s, length, st->out.len > 0);
	stream_ready(st, H2_SENT);
	return 0;
}

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *option[2]; /* client, server */

static bool prepare(void)
{
	int i;

	if (callbacks)
		return true;
	if (nghttp2_session_callbacks_new(&callbacks))
		return false;
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
	for (i = 0; i < 2; i++) {
		if (nghttp2_option_new(&option[i]))
			return false;
		nghttp2_option_set_no_auto_window_update(option[i], 1);
		nghttp2_option_set_no_closed_streams(option[i], 1); /* 55 -> 25 KiB; guard.c keeps the ids */
		nghttp2_option_set_max_outbound_ack(option[i], 200);
		nghttp2_option_set_max_settings(option[i], 32);
		nghttp2_option_set_peer_max_concurrent_streams(option[i], 100);
		/* The guard counts both, with configured limits; these stand behind it. */
		nghttp2_option_set_stream_reset_rate_limit(option[i], 10000, 1000);
		nghttp2_option_set_max_continuations(option[i], 1000);
		/* What was taken within header_list is sent on, with a few fields of ours. The
		 * codec's own limit is 64 KiB, and an answer beyond it would be dropped silently. */
		nghttp2_option_set_max_send_header_block_length(option[i], SEND_HEAD_MOST);
	}
	return true;
}

bool codec_create(struct h2_session *s)
{
	const struct conf_limits *l = s->ctx->limits;
	bool server = s->ctx->server;
	uint32_t window = server ? l->stream_window : l->upstream_stream_window;
	uint32_t connection = server ? l->connection_window : l->upstream_connection_window;
	nghttp2_settings_entry iv[6] = {
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, l->header_list_bytes },
	};
	size_t n = 2;
	int rv;

	if (!prepare())
		return false;
	if (server) {
		iv[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, l->max_streams };
		iv[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 };
		if (s->ctx->connect_protocol)
			iv[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 };
		rv = nghttp2_session_server_new3(&s->ng, callbacks, s, option[1], &h2_memory);
	} else {
		iv[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
		iv[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 };
		rv = nghttp2_session_client_new3(&s->ng, callbacks, s, option[0], &h2_memory);
	}
	if (rv) {
		s->ng = NULL;
		return false;
	}
	s->frame = frame_buffer_taken();
	if (nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, iv, n))
		return false;
	if (connection > 65535)
		nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0, (int32_t)connection);
	return true;
}
