/* SPDX-License-Identifier: MIT */
/*
 * The core calls as gRPC (messenger.proto): one message of 5 octets prefix and
 * protobuf each way for unary calls, grpc-status in trailers, errors as trailers only
 * (gRPC over HTTP/2, "Responses"). Compression is not spoken.
 */
#include "backend.h"

#include <stdio.h>
#include <string.h>

#include "firebreak/clock.h"
#include "proto.h"

enum { GRPC_OK = 0, GRPC_INVALID = 3, GRPC_EXHAUSTED = 8, GRPC_INTERNAL = 13, GRPC_UNAUTHENTICATED = 16 };

struct request {
	struct slice room, body, key;
	uint64_t after, limit;
};

void grpc_error(struct call *c, int code, const char *why)
{
	call_head(c, 200);
	call_field(c, "content-type", "application/grpc", 16);
	call_field_number(c, "grpc-status", (uint64_t)code);
	call_field(c, "grpc-message", why, strlen(why));
	call_answer_bare(c);
}

static bool frame(struct buf *out, struct buf *message)
{
	uint8_t prefix[5] = { 0, (uint8_t)(message->len >> 24), (uint8_t)(message->len >> 16), (uint8_t)(message->len >> 8),
			      (uint8_t)message->len };

	return buf_append(out, prefix, sizeof(prefix)) && buf_move(out, message, message->len);
}

static void reply(struct call *c, struct buf *message, bool ok)
{
	struct buf out = { 0 };

	if (!ok || !frame(&out, message)) {
		buf_clear(&out);
		buf_clear(message);
		grpc_error(c, GRPC_INTERNAL, "out of memory");
		return;
	}
	call_head(c, 200);
	call_field(c, "content-type", "application/grpc", 16);
	call_begin(c);
	call_write(c, &out);
	call_trailer(c, "grpc-status", "0", 1);
	call_end(c);
}

/* All requests together: the fields' numbers do not clash in what each call reads. */
static bool parse(struct call *c, struct request *r, bool body)
{
	static uint8_t text[CALL_BODY_MAX];
	size_t n = buf_peek(&c->body, text, sizeof(text));
	const uint8_t *p = text + 5, *end = text + n;
	struct proto_field f;
	int got = 0;

	buf_clear(&c->body);
	*r = (struct request){ .key = c->key, .limit = 50 };
	if (n < 5 || text[0] || ((size_t)text[1] << 24 | (size_t)text[2] << 16 | (size_t)text[3] << 8 | text[4]) != n - 5)
		return false;
	while ((got = proto_next(&p, end, &f)) > 0) {
		struct slice s = { (const char *)f.data, (size_t)f.value };

		if (f.number == 1 && f.data)
			r->room = s;
		else if (f.number == 2 && body && f.data)
			r->body = s;
		else if (f.number == 2 && !f.data)
			r->after = f.value;
		else if (f.number == 3 && body && f.data)
			r->key = s;
		else if (f.number == 3 && !f.data && f.value)
			r->limit = f.value;
	}
	return !got;
}

/* False: answered already. */
static bool begin(struct call *c, struct request *r, bool body)
{
	struct store_user *u;

	if (!c->user.len) {
		grpc_error(c, GRPC_UNAUTHENTICATED, "send authorization: Bearer <user>.<anything>");
		return false;
	}
	if (!parse(c, r, body)) {
		grpc_error(c, GRPC_INVALID, "not one uncompressed message of this method");
		return false;
	}
	u = store_user(c->b->store, c->user.p, c->user.len, true);
	if (u)
		store_user_seen(u, clock_wall() / CLOCK_MS);
	return true;
}

static bool put_message(struct buf *b, const struct store *s, const struct store_message *m)
{
	const char *room, *user;
	size_t room_len, user_len;

	room = store_room_name(store_message_room(s, m), &room_len);
	user = store_user_name(store_sender(s, m), &user_len);
	return proto_put_bytes(b, 1, room, room_len) && proto_put_number(b, 2, m->link.seq) && proto_put_bytes(b, 3, user, user_len) &&
	       proto_put_bytes(b, 4, m->data + m->key_len, m->body_len) && proto_put_bytes(b, 5, m->data, m->key_len) &&
	       proto_put_number(b, 6, (uint64_t)m->time_ms);
}

bool grpc_message(struct buf *out, const struct store *s, const struct store_message *m)
{
	struct buf b = { 0 };
	bool ok = put_message(&b, s, m) && frame(out, &b);

	buf_clear(&b);
	return ok;
}

static void send_message(struct call *c)
{
	const struct store_message *m;
	struct buf b = { 0 };
	struct request r;
	bool replayed;
	int status;

	if (!begin(c, &r, true))
		return;
	m = call_send(c, r.room, r.key, r.body.p, r.body.len, &replayed, &status);
	if (!m) {
		grpc_error(c, status == 507 ? GRPC_EXHAUSTED : status == 500 ? GRPC_INTERNAL : GRPC_INVALID,
				  status == 422 ? "this idempotency key was used for another message" : "not accepted");
		return;
	}
	reply(c, &b, proto_put_bytes(&b, 1, c->user.p, c->user.len) && proto_put_bytes(&b, 2, r.room.p, r.room.len) &&
			     proto_put_number(&b, 3, m->link.seq) && proto_put_number(&b, 4, replayed) &&
			     proto_put_bytes(&b, 5, m->endpoint, strlen(m->endpoint)));
}

static void recent(struct call *c)
{
	const struct store_message *m[100];
	struct store_room *room;
	struct buf b = { 0 }, one = { 0 };
	struct request r;
	size_t n, i;
	bool ok;

	if (!begin(c, &r, false))
		return;
	room = store_room(c->b->store, r.room.p, r.room.len, false);
	n = room ? store_recent(c->b->store, room, r.after, m, r.limit < 100 ? (size_t)r.limit : 100) : 0;
	ok = proto_put_bytes(&b, 1, c->user.p, c->user.len) && proto_put_bytes(&b, 2, r.room.p, r.room.len);
	for (i = 0; ok && i < n; i++)
		ok = put_message(&one, c->b->store, m[i]) && proto_put_message(&b, 3, &one);
	buf_clear(&one);
	reply(c, &b, ok);
}

static void rooms(struct call *c)
{
	struct store *s = c->b->store;
	struct store_user *u;
	struct store_room *room;
	struct buf b = { 0 }, one = { 0 };
	struct request r;
	uint64_t cursor = 0;
	const char *name;
	size_t len;
	bool ok;

	if (!begin(c, &r, false))
		return;
	u = store_user(s, c->user.p, c->user.len, false);
	ok = proto_put_bytes(&b, 1, c->user.p, c->user.len);
	while (ok && u && (room = store_rooms(s, u, &cursor))) {
		name = store_room_name(room, &len);
		ok = proto_put_bytes(&one, 1, name, len) && proto_put_number(&one, 2, store_room_seq(s, room)) &&
		     proto_put_message(&b, 2, &one);
	}
	buf_clear(&one);
	reply(c, &b, ok);
}

static void events(struct call *c)
{
	struct request r;
	struct slice room;

	if (!begin(c, &r, false))
		return;
	room = (struct slice){ r.room.len ? call_copy(c, r.room.p, r.room.len) : NULL, r.room.len };
	events_follow(c, room, r.after, !r.after, true);
}

const struct call_route grpc_routes[] = {
	{ "POST", "/messenger.v1.Messenger/Send", ROUTE_GRPC, send_message },
	{ "POST", "/messenger.v1.Messenger/Recent", ROUTE_GRPC, recent },
	{ "POST", "/messenger.v1.Messenger/Rooms", ROUTE_GRPC, rooms },
	{ "POST", "/messenger.v1.Messenger/Events", ROUTE_GRPC, events },
	{ 0 },
};
