/* SPDX-License-Identifier: MIT */
/*
 * Streams: their memory, and what handlers submit on them. Everything here only
 * queues in the codec and wakes the session; bytes leave in the pump.
 */
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "firebreak/log.h"
#include "h2_private.h"

_Static_assert(sizeof(struct h2_field) == sizeof(nghttp2_nv), "fields are submitted as they are");
_Static_assert(offsetof(struct h2_field, value) == offsetof(nghttp2_nv, value), "layout");
_Static_assert(offsetof(struct h2_field, name_len) == offsetof(nghttp2_nv, namelen), "layout");
_Static_assert(offsetof(struct h2_field, value_len) == offsetof(nghttp2_nv, valuelen), "layout");
_Static_assert(offsetof(struct h2_field, flags) == offsetof(nghttp2_nv, flags), "layout");
_Static_assert(H2_FIELD_KEEP == (NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE), "flags");
_Static_assert(H2_FIELD_SENSITIVE == NGHTTP2_NV_FLAG_NO_INDEX, "flags");
_Static_assert((int)H2_ERR_HTTP_1_1_REQUIRED == (int)NGHTTP2_HTTP_1_1_REQUIRED, "error codes");

#define SPARE_MAX 4096

static struct list spare = { &spare, &spare };
static unsigned spares;

struct h2_stream *stream_create(struct h2_session *s, int32_t id)
{
	struct list *node = list_pop(&spare);
	struct h2_stream *st;

	if (node) {
		st = list_entry(node, struct h2_stream, node);
		spares--;
	} else if (!(st = malloc(sizeof(*st)))) {
		return NULL;
	}
	memset(st, 0, sizeof(*st));
	st->magic = H2_STREAM_MAGIC;
	st->id = id;
	st->session = s;
	st->opened = st->active = st->taken = clock_now();
	st->stood = -s->stood;
	list_init(&st->ready_node);
	list_append(&s->streams, &st->node);
	if (!s->count++ && s->ctx->server)
		session_arm(s, CLOCK_SEC);
	s->idle_since = 0;
	return st;
}

void h2_release(struct h2_stream **pointer)
{
	struct h2_stream *st = *pointer;

	*pointer = NULL;
	if (!st || !CHECK(st->magic == H2_STREAM_MAGIC && !st->session))
		return;
	arena_finish(&st->arena);
	buf_clear(&st->in);
	buf_clear(&st->out);
	st->magic = 0;
	if (spares >= SPARE_MAX) {
		free(st);
		return;
	}
	list_append(&spare, &st->node);
	spares++;
}

void h2_trim(void)
{
	struct list *node;

	while ((node = list_pop(&spare)))
		free(list_entry(node, struct h2_stream, node));
	spares = 0;
	memory_trim();
}

void stream_ready(struct h2_stream *st, uint32_t what)
{
	st->ready |= what;
	if (list_empty(&st->ready_node))
		list_append(&st->session->ready, &st->ready_node);
}

void stream_closed(struct h2_stream *st, enum fault fault)
{
	struct h2_session *s = st->session;

	st->fault = fault;
	st->closed = true;
	if (s->current == st)
		s->current = NULL;
	list_remove(&st->node);
	buf_clear(&st->out);
	s->held -= st->held;
	if (!--s->count)
		s->idle_since = clock_now();
	stream_ready(st, H2_CLOSED);
}

static nghttp2_data_provider provider(struct h2_stream *st)
{
	return (nghttp2_data_provider){ .source = { .ptr = st }, .read_callback = codec_read_body };
}

static bool say(struct h2_stream *st, const struct h2_field *field, size_t n, bool end)
{
	nghttp2_data_provider body = provider(st);
	int32_t id = nghttp2_submit_request(st->session->ng, NULL, (const nghttp2_nv *)field, n, end ? NULL : &body, st);

	if (id < 0)
		return false;
	st->id = id;
	h2_wake(st->session);
	return true;
}

static bool extended_connect(const struct h2_field *field, size_t n)
{
	size_t i;

	for (i = 0; i < n && field[i].name[0] == ':'; i++) {
		if (field[i].token == H2_PROTOCOL)
			return true;
	}
	return false;
}

static bool keep_unsaid(struct h2_stream *st, const struct h2_field *field, size_t n)
{
	st->unsaid = arena_alloc(&st->arena, sizeof(*st->unsaid));
	if (st->unsaid)
		*st->unsaid = (struct h2_head){ .field = (struct h2_field *)(uintptr_t)field, .count = (uint16_t)n };
	return st->unsaid;
}

struct h2_stream *h2_request(struct h2_session *s, const struct h2_field *field, size_t n, bool end, void *user, enum fault *why)
{
	struct h2_stream *st;

	*why = FAULT_UPSTREAM_FULL;
	if (!h2_session_room(s))
		return NULL;
	*why = FAULT_NO_MEMORY;
	st = stream_create(s, 0);
	if (!st)
		return NULL;
	st->user = user;
	st->out_end = end;
	if (!s->settings_seen && extended_connect(field, n) ? !keep_unsaid(st, field, n) : !say(st, field, n, end)) {
		list_remove(&st->node);
		s->count--;
		st->session = NULL;
		h2_release(&st);
		return NULL;
	}
	*why = FAULT_NONE;
	return st;
}

bool h2_respond(struct h2_stream *st, const struct h2_field *field, size_t n, bool end)
{
	nghttp2_data_provider body = provider(st);

	if (st->closed || st->responded || !st->session->ng)
		return false;
	st->responded = true;
	st->out_end = end;
	if (end && st->in.len) {
		h2_consume(st, st->in.len);
		buf_clear(&st->in);
	}
	if (nghttp2_submit_response(st->session->ng, st->id, (const nghttp2_nv *)field, n, end ? NULL : &body)) {
		st->responded = false;
		return false;
	}
	h2_wake(st->session);
	return true;
}

bool h2_interim(struct h2_stream *st, const struct h2_field *field, size_t n)
{
	if (st->closed || st->responded)
		return false;
	if (nghttp2_submit_headers(st->session->ng, NGHTTP2_FLAG_NONE, st->id, NULL, (const nghttp2_nv *)field, n, NULL))
		return false;
	h2_wake(st->session);
	return true;
}

struct h2_head *h2_interim_take(struct h2_stream *st)
{
	struct h2_head *h = st->interim;

	if (h)
		st->interim = h->next;
	return h;
}

/* More to send, or the end of it: the codec asks again. */
static void resume(struct h2_stream *st)
{
	if (!st->deferred)
		return;
	st->deferred = false;
	if (nghttp2_session_resume_data(st->session->ng, st->id) == NGHTTP2_ERR_NOMEM)
		h2_close(st->session, FAULT_NO_MEMORY);
	h2_wake(st->session);
}

bool h2_write(struct h2_stream *st, struct buf *body)
{
	if (st->closed) {
		buf_clear(body);
		return true;
	}
	if (!st->out.len)
		st->active = st->taken = clock_now(); /* the stall clock starts with the first byte that waits */
	if (!buf_move(&st->out, body, body->len))
		return false;
	resume(st);
	return true;
}

bool h2_finish(struct h2_stream *st, const struct h2_field *trailer, size_t n)
{
	struct h2_head *h;

	if (st->closed || st->out_end)
		return true;
	st->out_end = true;
	if (n) {
		h = arena_alloc(&st->arena, sizeof(*h));
		if (!h)
			return false;
		*h = (struct h2_head){ .field = (struct h2_field *)(uintptr_t)trailer, .count = (uint16_t)n };
		st->out_trailers = h;
	}
	resume(st);
	return true;
}

/* Waits for SETTINGS, or in the codec's queue for its turn. */
static bool is_unsaid(const struct h2_stream *st)
{
	const struct h2_session *s = st->session;

	return !s->ctx->server && (st->unsaid || (st->id > s->sent_id && !nghttp2_session_find_stream(s->ng, st->id)));
}

/* What the peer has not heard of is over without it: it may be long until the peer lets
 * it be said. The codec has been told to drop it. */
static void unsay(struct h2_stream *st, enum fault fault)
{
	st->unsaid = NULL;
	if (st->id)
		nghttp2_session_set_stream_user_data(st->session->ng, st->id, NULL);
	stream_closed(st, fault);
}

void h2_reset(struct h2_stream *st, uint32_t code, enum fault fault)
{
	struct h2_session *s = st->session;

	if (st->closed || st->reset_sent)
		return;
	st->reset_sent = true;
	st->fault = fault;
	buf_clear(&st->out); /* the codec sends nothing more of it */
	h2_wake(s);
	/* It would overtake an answer's head that waits to be sent, and no status be heard. */
	if (st->responded && !st->begun) {
		st->error_code = code;
		return;
	}
	if (s->ng && st->id && nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, st->id, code))
		h2_close(s, FAULT_NO_MEMORY); /* or it would stay for ever */
	else if (is_unsaid(st))
		unsay(st, fault);
}

void stream_settled(struct h2_stream *st)
{
	struct h2_head *h = st->unsaid;
	nghttp2_session *ng = st->session->ng;

	if (is_unsaid(st) && !nghttp2_session_get_remote_settings(ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
		h2_reset(st, NGHTTP2_CANCEL, FAULT_UPSTREAM_FULL);
	else if (h && !h2_session_peer_connect(st->session))
		stream_closed(st, FAULT_UPSTREAM_NO_CONNECT);
	else if (h && !say(st, h->field, h->count, st->out_end && !st->out.len && !st->out_trailers))
		stream_closed(st, FAULT_NO_MEMORY);
	st->unsaid = NULL;
}

void h2_consume(struct h2_stream *st, size_t n)
{
	st->consumed += n;
	if (st->closed || st->remote_end || !st->session->ng)
		return;
	if (nghttp2_session_consume_stream(st->session->ng, st->id, n) == NGHTTP2_ERR_NOMEM)
		h2_close(st->session, FAULT_NO_MEMORY);
	h2_wake(st->session);
}
