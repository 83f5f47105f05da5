/* SPDX-License-Identifier: MIT */
/*
 * What stands before the codec: a scanner of the 9-octet frame headers (RFC 9113
 * 4.1). The codec silently drops some frames (unknown types, DATA on streams it has
 * forgotten), so floods of those are visible only here; and here is the cheapest
 * place for every other count. A frame that is useful costs a few instructions and
 * no token; useless ones pay from a bucket, and an empty bucket closes the
 * connection with ENHANCE_YOUR_CALM.
 *
 * Client preface: bytes are compared as they come, so an HTTP/1 client is told
 * apart (505) from line noise.
 */
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "h2_private.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum fault guard_charge(struct h2_session *s, enum guard_kind kind, uint32_t cost)
{
	static const enum fault faults[GUARD_KINDS] = { FAULT_FLOOD_RESETS, FAULT_FLOOD_PINGS, FAULT_FLOOD_SETTINGS,
							FAULT_FLOOD_EMPTY, FAULT_FLOOD_FRAMES };
	const struct conf_limits *l = s->ctx->limits;
	const uint32_t burst[GUARD_KINDS] = { l->resets_burst, l->pings_burst, l->settings_burst, l->empty_burst, l->frames_burst };
	const uint32_t rate[GUARD_KINDS] = { l->resets_rate, l->pings_rate, l->settings_rate, l->empty_rate, l->frames_rate };
	int64_t now = clock_now(), interval = CLOCK_SEC / (rate[kind] ? rate[kind] : 1);
	struct guard_bucket *b = &s->guard.bucket[kind];

	if (b->until < now)
		b->until = now;
	/* Many clients share an endpoint's connection: there each stream has this for itself. */
	if (!s->ctx->server && s->count && (kind == GUARD_FRAMES || kind == GUARD_EMPTY))
		b->until += cost * interval / (int64_t)s->count;
	else
		b->until += cost * interval;
	return b->until - now > burst[kind] * interval ? faults[kind] : FAULT_NONE;
}

static void credit(struct h2_session *s, enum guard_kind kind, uint32_t rate, int frames)
{
	s->guard.bucket[kind].until -= frames * (CLOCK_SEC / (rate ? rate : 1));
}

void guard_credit_data(struct h2_session *s, size_t len, bool held_back)
{
	const struct conf_limits *l = s->ctx->limits;

	/* gRPC's peers measure the bandwidth with a PING for DATA that came. */
	credit(s, GUARD_PINGS, l->pings_rate, 1);
	/* A dribble of tiny frames earns nothing: it is what a peer asks for with updates
	 * of one octet. Of large ones some give back every 4 KiB, twice. */
	if (len >= 256)
		credit(s, GUARD_FRAMES, l->frames_rate, 3 + (int)(len / 2048));
	else if (!held_back)
		credit(s, GUARD_FRAMES, l->frames_rate, 2);
}

void guard_credit_answer(struct h2_session *s)
{
	/* However small an answer is, a client may give its octets back at once, for the
	 * stream and for the connection. */
	credit(s, GUARD_FRAMES, s->ctx->limits->frames_rate, 2);
}

void guard_remember_reset(struct h2_session *s, int32_t id)
{
	struct guard *g = &s->guard;

	if (!g->reset_id) {
		/* All streams may be refused at once, while their bodies are under way. */
		g->reset_ids = 2 * s->ctx->limits->max_streams;
		g->reset_id = calloc(g->reset_ids, sizeof(*g->reset_id));
		if (!g->reset_id)
			return;
	}
	g->reset_id[g->resets++ % g->reset_ids] = id;
}

static bool was_reset(const struct guard *g, int32_t id)
{
	uint32_t i;

	for (i = 0; g->reset_id && i < g->reset_ids; i++) {
		if (g->reset_id[i] == id)
			return true;
	}
	return false;
}

static void terminate(struct h2_session *s, uint32_t code)
{
	if (!s->ng && !codec_create(s)) /* a mistake in the first segment already */
		return;
	nghttp2_session_terminate_session(s->ng, code);
	h2_wake(s);
}

/* The client sends on a stream that is over (server role). We told the codec to
 * forget closed streams, so RFC 9113 5.1 is ours to enforce: frames may still be
 * under way on a stream we reset; on any other it is a connection error. */
static enum fault closed_stream(struct h2_session *s, int32_t id, uint32_t code)
{
	if (was_reset(&s->guard, id))
		return guard_charge(s, GUARD_FRAMES, 1);
	terminate(s, code);
	return FAULT_NONE;
}

static bool is_closed(struct h2_session *s, int32_t id)
{
	return s->ctx->server && s->ng && id <= s->last_id && (id & 1) && !nghttp2_session_get_stream_user_data(s->ng, id);
}

/* HEADERS on a stream that is over: a second use of its id, or, when the client has
 * left ids out, the first of one that is too low now (RFC 9113 5.1, 5.1.1). */
static uint32_t reuse_code(const struct h2_session *s)
{
	return s->opened == ((uint32_t)s->last_id + 1) / 2 ? NGHTTP2_STREAM_CLOSED : NGHTTP2_PROTOCOL_ERROR;
}

void guard_open(struct h2_session *s, int32_t id)
{
	if (is_closed(s, id)) {
		if (!was_reset(&s->guard, id))
			terminate(s, reuse_code(s));
	} else if (s->ctx->server && (id & 1) && id > s->last_id) {
		s->last_id = id;
		s->opened++;
	}
}

/* DATA that carries nothing. One per stream is free: it is how many send trailers. */
static enum fault empty_data(struct h2_session *s, int32_t id)
{
	struct h2_stream *st = s->ng ? nghttp2_session_get_stream_user_data(s->ng, id) : NULL;

	if (!st || st->empty_data)
		return guard_charge(s, GUARD_EMPTY, 1);
	st->empty_data = true;
	return FAULT_NONE;
}

static enum fault frame(struct h2_session *s, uint32_t len, uint8_t type, uint8_t flags, int32_t id)
{
	struct guard *g = &s->guard;

	if (len > 16384) /* more than we allow (RFC 9113 4.2): the codec ends it with FRAME_SIZE_ERROR */
		return FAULT_NONE;
	switch (type) {
	case NGHTTP2_DATA:
		/* The client's reset may have come in this segment: the codec knows nothing of it yet. */
		if (is_closed(s, id) || (id && id == g->client_reset))
			return closed_stream(s, id, NGHTTP2_STREAM_CLOSED);
		if (!(flags & NGHTTP2_FLAG_END_STREAM) && (!len || ((flags & NGHTTP2_FLAG_PADDED) && len < 2)))
			return empty_data(s, id);
		if (!(flags & NGHTTP2_FLAG_END_STREAM) && len < 8)
			return guard_charge(s, GUARD_FRAMES, 1);
		return FAULT_NONE;
	case NGHTTP2_HEADERS:
		if (is_closed(s, id))
			return closed_stream(s, id, reuse_code(s));
		g->continuations = 0;
		g->head_since = clock_now();
		return len || (flags & NGHTTP2_FLAG_END_HEADERS) ? FAULT_NONE : guard_charge(s, GUARD_EMPTY, 1);
	case NGHTTP2_CONTINUATION:
		if (++g->continuations > s->ctx->limits->continuations)
			return FAULT_FLOOD_CONTINUATIONS;
		return len ? FAULT_NONE : guard_charge(s, GUARD_EMPTY, 1);
	case NGHTTP2_RST_STREAM:
		if (!s->ctx->server) /* one per stream is an answer, however unwelcome */
			return s->ng && nghttp2_session_get_stream_user_data(s->ng, id) ? FAULT_NONE : guard_charge(s, GUARD_FRAMES, 1);
		g->client_reset = id;
		return guard_charge(s, GUARD_RESETS, 1);
	case NGHTTP2_SETTINGS:
		return flags & NGHTTP2_FLAG_ACK ? FAULT_NONE : guard_charge(s, GUARD_SETTINGS, 1 + len / 120);
	case NGHTTP2_PING:
		/* An answer nobody asked for is as useless as a question. */
		if ((flags & NGHTTP2_FLAG_ACK) && s->ping_sent)
			return FAULT_NONE;
		return guard_charge(s, GUARD_PINGS, 1);
	case NGHTTP2_GOAWAY:
		return guard_charge(s, GUARD_SETTINGS, 1);
	case NGHTTP2_PUSH_PROMISE:
		/* We said ENABLE_PUSH 0 before the first request; the codec would still
		 * allow pushes until the SETTINGS are acknowledged. */
		return s->ctx->server ? FAULT_NONE : FAULT_UPSTREAM_PROTOCOL;
	case NGHTTP2_PRIORITY:
		/* The codec was told to ignore the old priorities, and this with them (RFC 9113 6.3). */
		if (!id)
			terminate(s, NGHTTP2_PROTOCOL_ERROR);
		return guard_charge(s, GUARD_FRAMES, 1);
	default: /* WINDOW_UPDATE, PRIORITY_UPDATE, ALTSVC, ORIGIN, unknown */
		return guard_charge(s, GUARD_FRAMES, 1 + len / 1024);
	}
}

static enum fault scan_preface(struct guard *g, const uint8_t **data, size_t *len)
{
	while (*len && g->preface < sizeof(preface) - 1) {
		if (**data != (uint8_t)preface[g->preface]) {
			bool method = g->preface ? true : (**data >= 'A' && **data <= 'Z') || (**data >= 'a' && **data <= 'z');

			return method ? FAULT_CLIENT_HTTP1 : FAULT_CLIENT_PROTOCOL;
		}
		g->preface++;
		(*data)++;
		(*len)--;
	}
	return FAULT_NONE;
}

/* A stream may not depend on itself (RFC 7540 5.3.1). The codec drops the old priorities
 * unread, so their octets are compared with the frame's own stream id as they come. */
static bool depends_on_itself(struct guard *g, const uint8_t *data, size_t n)
{
	const uint8_t *h = g->header;
	unsigned i = 5 - g->payload;

	for (; n && i < 4; n--, i++, data++) {
		if (!i)
			g->same = 0;
		g->same += !((*data ^ h[5 + i]) & (i ? 0xff : 0x7f));
	}
	return i == 4 && g->same == 4;
}

static void scan_payload(struct h2_session *s, const uint8_t *data, size_t n)
{
	struct guard *g = &s->guard;
	const uint8_t *h = g->header;

	if (h[3] == NGHTTP2_PRIORITY && !h[0] && !h[1] && h[2] == 5 && depends_on_itself(g, data, n))
		terminate(s, NGHTTP2_PROTOCOL_ERROR);
	g->payload -= (uint32_t)n;
}

/* A header block is whole only with the last octet of its last frame. */
static void frame_over(struct guard *g)
{
	if ((g->header[3] == NGHTTP2_HEADERS || g->header[3] == NGHTTP2_CONTINUATION) && (g->header[4] & NGHTTP2_FLAG_END_HEADERS))
		g->head_since = 0;
}

enum fault guard_scan(struct h2_session *s, const uint8_t *data, size_t len)
{
	struct guard *g = &s->guard;
	enum fault f;
	size_t n;

	if (s->ctx->server && g->preface < sizeof(preface) - 1 && (f = scan_preface(g, &data, &len)) != FAULT_NONE)
		return f;
	while (len) {
		if (g->payload) {
			n = g->payload < len ? g->payload : len;
			scan_payload(s, data, n);
			data += n;
			len -= n;
			if (!g->payload)
				frame_over(g);
			continue;
		}
		if (g->have == 0 && len >= 9) {
			memcpy(g->header, data, 9);
			data += 9;
			len -= 9;
		} else {
			g->header[g->have++] = *data++;
			len--;
			if (g->have < 9)
				continue;
			g->have = 0;
		}
		const uint8_t *h = g->header;
		uint32_t id = ((uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8]) & 0x7fffffff;

		g->payload = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
		f = frame(s, g->payload, h[3], h[4], (int32_t)id);
		if (f != FAULT_NONE)
			return f;
		if (!g->payload)
			frame_over(g);
	}
	return FAULT_NONE;
}
