/* SPDX-License-Identifier: MIT */
/*
 * The messenger over HTTP: rooms, messages, sync, presence, login, profile, shop;
 * health and faults. Every private answer begins {"user":"<the asking user>".
 */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"

#define MESSAGES_MAX 200 /* of one answer */
#define ROOMS_MAX    500

static void answer_json(struct call *c, int status, struct buf *b, bool ok)
{
	if (!ok) {
		buf_clear(b);
		h2_reset(c->st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
		return;
	}
	call_head(c, status);
	call_field(c, "content-type", "application/json", 16);
	call_answer(c, b);
}

bool api_message(struct buf *b, const struct store *s, const struct store_message *m)
{
	const char *room, *user;
	size_t room_len, user_len;

	room = store_room_name(store_message_room(s, m), &room_len);
	user = store_user_name(store_sender(s, m), &user_len);
	return json_put(b, "{\"room\":") && json_text(b, room, room_len) &&
	       json_put(b, ",\"seq\":%llu,\"from\":", (unsigned long long)m->link.seq) && json_text(b, user, user_len) &&
	       json_put(b, ",\"key\":") && json_text(b, m->data, m->key_len) && json_put(b, ",\"body\":") &&
	       json_text(b, m->data + m->key_len, m->body_len) &&
	       json_put(b, ",\"time_ms\":%lld}", (long long)m->time_ms);
}

const struct store_message *call_send(struct call *c, struct slice room, struct slice key, const void *body, size_t len,
				      bool *replayed, int *status)
{
	struct backend *b = c->b;
	struct store_post p = { .room = room.p, .room_len = room.len, .user = c->user.p, .user_len = c->user.len,
				.key = key.p, .key_len = key.len, .body = body, .body_len = len,
				.time_ms = clock_wall() / CLOCK_MS, .datacenter = b->datacenter, .endpoint = b->endpoint };
	const struct store_message *m = NULL;
	enum store_result r;

	if (!room.len || room.len > STORE_NAME_MAX || key.len > STORE_NAME_MAX || len > STORE_BODY_MAX) {
		*status = 400;
		return NULL;
	}
	r = store_send(b->store, &p, &m);
	*replayed = r == STORE_REPLAYED;
	*status = r == STORE_MISMATCH ? 422 : 507;
	if (r > STORE_REPLAYED)
		return NULL;
	*status = 500;
	return journal_append(&b->journal, b->store, m, b->datacenter, b->endpoint, *replayed, clock_wall()) ? m : NULL;
}

static void send_message(struct call *c)
{
	static char body[CALL_BODY_MAX];
	size_t len = buf_peek(&c->body, body, sizeof(body));
	const struct store_message *m;
	struct buf b = { 0 };
	bool replayed, ok;
	int status;

	buf_clear(&c->body);
	m = call_send(c, c->param[0], c->key, body, len, &replayed, &status);
	if (!m) {
		call_error(c, status, status == 422   ? "this idempotency-key was used for another message"
					     : status == 507 ? "the state is full"
					     : status == 500 ? "the journal cannot be written"
							     : "room and key: 1 to 128 bytes");
		return;
	}
	ok = call_private(c, &b) && json_put(&b, ",\"room\":") && json_text(&b, c->param[0].p, c->param[0].len) &&
	     json_put(&b, ",\"seq\":%llu,\"key\":", (unsigned long long)m->link.seq) && json_text(&b, m->data, m->key_len) &&
	     json_put(&b, ",\"accepted_by\":\"%s\",\"time_ms\":%lld}", m->endpoint, (long long)m->time_ms);
	if (!ok) {
		buf_clear(&b);
		h2_reset(c->st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
		return;
	}
	call_head(c, 201);
	call_field(c, "content-type", "application/json", 16);
	if (replayed)
		call_field(c, "idempotent-replayed", "true", 4);
	call_answer(c, &b);
}

/* ,"messages":[...] of one room */
static bool put_messages(struct call *c, struct buf *b, struct store_room *r, uint64_t after, size_t limit)
{
	const struct store_message *m[MESSAGES_MAX];
	size_t n, i;
	bool ok = true;

	n = r ? store_recent(c->b->store, r, after, m, limit < MESSAGES_MAX ? limit : MESSAGES_MAX) : 0;
	for (i = 0; ok && i < n; i++)
		ok = (!i || json_put(b, ",")) && api_message(b, c->b->store, m[i]);
	return ok;
}

static void recent(struct call *c)
{
	struct store_room *r = store_room(c->b->store, c->param[0].p, c->param[0].len, false);
	struct buf b = { 0 };
	bool ok = call_private(c, &b) && json_put(&b, ",\"room\":") && json_text(&b, c->param[0].p, c->param[0].len) &&
		  json_put(&b, ",\"messages\":[") &&
		  put_messages(c, &b, r, call_query_number(c, "after", 0), (size_t)call_query_number(c, "limit", 50)) &&
		  json_put(&b, "]}");

	answer_json(c, 200, &b, ok);
}

/* The caller's rooms; sync adds the newest messages of each. */
static bool put_rooms(struct call *c, struct buf *b, size_t messages)
{
	struct store *s = c->b->store;
	struct store_user *u = store_user(s, c->user.p, c->user.len, false);
	uint64_t cursor = 0;
	struct store_room *r;
	const char *name;
	size_t len, n;
	bool ok = true;

	for (n = 0; ok && u && n < ROOMS_MAX && (r = store_rooms(s, u, &cursor)); n++) {
		name = store_room_name(r, &len);
		ok = json_put(b, "%s{\"room\":", n ? "," : "") && json_text(b, name, len) &&
		     json_put(b, ",\"seq\":%llu", (unsigned long long)store_room_seq(s, r));
		if (ok && messages)
			ok = json_put(b, ",\"messages\":[") && put_messages(c, b, r, 0, messages) && json_put(b, "]");
		ok = ok && json_put(b, "}");
	}
	return ok;
}

static void rooms(struct call *c)
{
	struct buf b = { 0 };
	bool ok = call_private(c, &b) && json_put(&b, ",\"rooms\":[") && put_rooms(c, &b, 0) && json_put(&b, "]}");

	answer_json(c, 200, &b, ok);
}

static void sync_all(struct call *c)
{
	struct buf b = { 0 };
	size_t each = (size_t)call_query_number(c, "limit", 3);
	bool ok = call_private(c, &b) && json_put(&b, ",\"rooms\":[") && put_rooms(c, &b, each ? each : 1) && json_put(&b, "]}");

	answer_json(c, 200, &b, ok);
}

/* A room is there from its first member on. */
static void join(struct call *c)
{
	struct store *s = c->b->store;
	struct store_user *u = store_user(s, c->user.p, c->user.len, true);
	struct store_room *r = c->param[0].len <= STORE_NAME_MAX ? store_room(s, c->param[0].p, c->param[0].len, true) : NULL;
	struct buf b = { 0 };
	bool ok;

	if (!u || !r || !store_join(s, r, u)) {
		call_error(c, 507, "the state is full");
		return;
	}
	ok = call_private(c, &b) && json_put(&b, ",\"room\":") && json_text(&b, c->param[0].p, c->param[0].len) && json_put(&b, "}");
	answer_json(c, 200, &b, ok);
}

/* /{user}, or ?of=bob,carol: who was seen in the last minute. */
static void presence(struct call *c)
{
	struct slice of = c->param[0].p ? c->param[0] : call_query(c, "of");
	const char *p = of.p, *end = p ? p + of.len : NULL, *stop;
	int64_t now = clock_wall() / CLOCK_MS, last;
	struct buf b = { 0 };
	struct store_user *u;
	bool ok = call_private(c, &b) && json_put(&b, ",\"state\":\"online\",\"seen\":{");

	for (; ok && p && p < end; p = stop + 1) {
		stop = memchr(p, ',', (size_t)(end - p));
		if (!stop)
			stop = end;
		u = store_user(c->b->store, p, (size_t)(stop - p), false);
		last = u ? store_user_last(u) : 0;
		ok = (p == of.p || json_put(&b, ",")) && json_text(&b, p, (size_t)(stop - p)) &&
		     json_put(&b, ":%s", last && now - last < 60000 ? "true" : "false");
	}
	answer_json(c, 200, &b, ok && json_put(&b, "}}"));
}

static void login_refresh(struct call *c)
{
	struct buf b = { 0 };
	bool ok = call_private(c, &b) && json_put(&b, ",\"token\":\"%.*s.%llu\",\"expires_in\":3600}", (int)c->user.len, c->user.p,
						  (unsigned long long)store_ticket(c->b->store));

	answer_json(c, 200, &b, ok);
}

static void profile(struct call *c)
{
	struct buf b = { 0 };
	bool ok = call_private(c, &b) && json_put(&b, ",\"name\":") && json_text(&b, c->user.p, c->user.len) && json_put(&b, "}");

	answer_json(c, 200, &b, ok);
}

/* The same for everybody. */
static void answer_public(struct call *c, struct buf *b, bool ok)
{
	if (!ok) {
		answer_json(c, 200, b, false);
		return;
	}
	call_head(c, 200);
	call_field(c, "content-type", "application/json", 16);
	call_field(c, "cache-control", "public, max-age=5", 17);
	call_answer(c, b);
}

static void shopping(struct call *c)
{
	struct buf b = { 0 };
	bool ok = json_put(&b, "{\"page\":") && json_text(&b, c->path.p, c->path.len) && json_put(&b, ",\"items\":[");
	int i;

	for (i = 0; ok && i < 20; i++)
		ok = json_put(&b, "%s{\"item\":%d,\"name\":\"thing number %d\",\"price\":%d}", i ? "," : "", i, i, 100 + 37 * i);
	answer_public(c, &b, ok && json_put(&b, "]}"));
}

/* A public page of one of the many services beside the messenger: the portal, maps, mail. */
static void app(struct call *c)
{
	struct buf b = { 0 };

	answer_public(c, &b, json_put(&b, "{\"app\":") && json_text(&b, c->param[0].p, c->param[0].len) && json_put(&b, "}"));
}

static void healthz(struct call *c)
{
	struct buf b = { 0 };
	bool well = c->b->fault.unhealthy <= 0;

	if (c->b->fault.deaf > 0) {
		c->silent = true;
		return;
	}
	answer_json(c, well ? 200 : 503, &b, json_put(&b, "{\"healthy\":%s}", well ? "true" : "false"));
}

static void faults_show(struct call *c)
{
	struct buf b = { 0 };

	answer_json(c, 200, &b, fault_set_print(&c->b->fault, &b));
}

static void faults_set(struct call *c)
{
	char body[4096], bad[32], why[80];
	size_t len = buf_peek(&c->body, body, sizeof(body));
	bool ok;

	buf_clear(&c->body);
	ok = fault_set_query(&c->b->fault, c->query.p, c->query.len, bad) &&
	     (!len || fault_set_json(&c->b->fault, body, len, bad));
	if (ok) {
		faults_show(c);
		return;
	}
	snprintf(why, sizeof(why), "no such fault, or not in its range: %s", bad);
	call_error(c, 400, why);
}

static void events(struct call *c)
{
	const struct h2_field *last = call_request_field(c, "last-event-id");
	struct slice room = call_query(c, "room");
	uint64_t after = call_query_number(c, "after", 0);

	char text[24];

	if (last && room.p) {
		snprintf(text, sizeof(text), "%.*s", (int)last->value_len, (const char *)last->value);
		after = strtoull(text, NULL, 10);
	}
	events_follow(c, room, after, !last && !call_query(c, "after").p, false);
}

const struct call_route api_routes[] = {
	{ "POST", "/v1/rooms/{room}/messages", ROUTE_USER, send_message },
	{ "GET", "/v1/rooms/{room}/messages", ROUTE_USER, recent },
	{ "GET", "/v1/rooms", ROUTE_USER, rooms },
	{ "GET", "/v1/sync", ROUTE_USER, sync_all },
	{ "GET", "/v1/presence", ROUTE_USER, presence },
	{ "PUT", "/v1/presence", ROUTE_USER, presence },
	{ "GET", "/v1/presence/{user}", ROUTE_USER, presence },
	{ "PUT", "/v1/presence/{user}", ROUTE_USER, presence },
	{ "PUT", "/v1/rooms/{room}", ROUTE_USER, join },
	{ "GET", "/v1/events", ROUTE_USER, events },
	{ "POST", "/v1/media", ROUTE_USER | ROUTE_RAW, files_upload_media },
	{ "GET", "/v1/media/{id}", 0, files_get_media },
	{ "PUT", "/v1/backup", ROUTE_USER | ROUTE_RAW, files_upload_backup },
	{ "POST", "/v1/backup", ROUTE_USER | ROUTE_RAW, files_upload_backup },
	{ "GET", "/v1/backup", ROUTE_USER, files_get_backup },
	{ "GET", "/v1/shopping", 0, shopping },
	{ "GET", "/v1/shopping/{page}", 0, shopping },
	{ "GET", "/v1/app/{name}", 0, app },
	{ "POST", "/v1/login/refresh", ROUTE_USER, login_refresh },
	{ "GET", "/v1/profile", ROUTE_USER, profile },
	{ "PUT", "/v1/profile", ROUTE_USER, profile },
	{ "GET", "/healthz", 0, healthz },
	{ "GET", "/_fault", ROUTE_FREE, faults_show },
	{ "PUT", "/_fault", ROUTE_FREE, faults_set },
	{ 0 },
};
