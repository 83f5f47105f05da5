/* SPDX-License-Identifier: MIT */
/*
 * Paths that exist for tests and measurements of what stands in front: what HTTP/2
 * can carry, in its shapes.
 */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"

static uint64_t parameter(struct call *c)
{
	char text[24];

	snprintf(text, sizeof(text), "%.*s", (int)c->param[0].len, c->param[0].p);
	return strtoull(text, NULL, 10);
}

/* ---- echo: both directions at once; a byte is consumed when its echo has left ---- */

static void echo_trailers(struct call *c)
{
	const struct h2_head *t = c->st->trailers;
	size_t i;

	for (i = 0; t && i < t->count && i < CALL_FIELDS; i++) {
		char *name = call_copy(c, (const char *)t->field[i].name, t->field[i].name_len);

		if (name)
			call_trailer(c, name, (const char *)t->field[i].value, t->field[i].value_len);
	}
}

static void echo_body(struct call *c, uint32_t what)
{
	struct buf part = { 0 };

	if ((what & H2_BODY) && c->st->in.len && buf_move(&part, &c->st->in, c->st->in.len))
		call_write(c, &part);
	if (c->st->sent > c->at) {
		h2_consume(c->st, (size_t)(c->st->sent - c->at));
		c->at = c->st->sent;
	}
	if ((what & H2_END) && !c->finished) {
		if (c->route->flags & ROUTE_GRPC)
			call_trailer(c, "grpc-status", "0", 1);
		else
			echo_trailers(c);
		call_end(c);
	}
}

static void echo(struct call *c)
{
	call_head(c, 200);
	if (c->route->flags & ROUTE_GRPC)
		call_field(c, "content-type", "application/grpc", 16);
	else if (c->type.p)
		call_field(c, "content-type", c->type.p, c->type.len);
	c->on_body = echo_body;
	call_begin(c);
}

/* RFC 8441: what the tunnel carries comes back. */
static void websocket(struct call *c)
{
	if (!call_is(c->protocol, "websocket")) {
		call_error(c, 501, "only :protocol websocket");
		return;
	}
	call_head(c, 200);
	c->on_body = echo_body;
	call_begin(c);
}

/* ---- answers of every shape ---- */

static void with_status(struct call *c)
{
	uint64_t code = parameter(c);

	if (code < 200 || code > 599) {
		call_error(c, 400, "a final status, 200 to 599");
		return;
	}
	if (code == 204 || code == 304) {
		call_head(c, (int)code);
		call_answer_bare(c);
		return;
	}
	call_error(c, (int)code, "as asked for");
}

static void text(struct call *c, const char *content)
{
	struct buf b = { 0 };

	if (!buf_append(&b, content, strlen(content))) {
		h2_reset(c->st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
		return;
	}
	call_head(c, 200);
	call_field(c, "content-type", "text/plain", 10);
	call_answer(c, &b);
}

static void slow_now(struct call *c)
{
	text(c, "slow but here\n");
}

static void slow(struct call *c)
{
	uint64_t ms = parameter(c);

	c->later = slow_now;
	net_timer_arm(c->b->loop, &c->timer, clock_now() + (int64_t)(ms < 3600000 ? ms : 3600000) * CLOCK_MS);
}

static void bytes(struct call *c)
{
	call_head(c, 200);
	call_field(c, "content-type", "application/octet-stream", 24);
	call_answer_source(c, files_pattern, parameter(c));
}

static void headers(struct call *c)
{
	const struct h2_head *h = c->st->head;
	struct buf b = { 0 };
	bool ok = json_put(&b, "[");
	size_t i;

	for (i = 0; ok && i < h->count; i++)
		ok = json_put(&b, "%s[", i ? "," : "") && json_text(&b, h->field[i].name, h->field[i].name_len) && json_put(&b, ",") &&
		     json_text(&b, h->field[i].value, h->field[i].value_len) && json_put(&b, "]");
	if (!ok || !json_put(&b, "]")) {
		buf_clear(&b);
		h2_reset(c->st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
		return;
	}
	call_head(c, 200);
	call_field(c, "content-type", "application/json", 16);
	call_answer(c, &b);
}

#define FIELD(n, v) \
	{ .name = (const uint8_t *)(n), .value = (const uint8_t *)(v), .name_len = sizeof(n) - 1, .value_len = sizeof(v) - 1, \
	  .flags = H2_FIELD_KEEP }

static void early_hints(struct call *c)
{
	static const struct h2_field hints[] = { FIELD(":status", "103"), FIELD("link", "</style.css>; rel=preload; as=style") };

	h2_interim(c->st, hints, 2);
	text(c, "after early hints\n");
}

static void trailers(struct call *c)
{
	struct buf b = { 0 };

	call_head(c, 200);
	call_field(c, "trailer", "x-checksum", 10);
	call_begin(c);
	if (buf_append(&b, "before the trailers\n", 20))
		call_write(c, &b);
	call_trailer(c, "x-checksum", "abc123", 6);
	call_end(c);
}

const struct call_route probe_routes[] = {
	{ NULL, "/echo", ROUTE_RAW, echo },
	{ "POST", "/messenger.v1.Messenger/Echo", ROUTE_RAW | ROUTE_GRPC, echo },
	{ "CONNECT", "/v1/ws", ROUTE_RAW, websocket },
	{ NULL, "/status/{code}", 0, with_status },
	{ NULL, "/slow/{ms}", 0, slow },
	{ "GET", "/bytes/{n}", 0, bytes },
	{ NULL, "/headers", 0, headers },
	{ "GET", "/early-hints", 0, early_hints },
	{ "GET", "/trailers", 0, trailers },
	{ 0 },
};
