/* SPDX-License-Identifier: MIT */
/*
 * Event streams: server-sent events (WHATWG HTML 9.2) and gRPC server streaming.
 * Every backend looks at the shared state every LOOK ms and hands each follower what
 * is new in its rooms; a comment every BEAT keeps quiet streams alive.
 */
#include "backend.h"

#include <stdio.h>
#include <string.h>

#include "firebreak/clock.h"

#define LOOK      (24 * CLOCK_MS)
#define BEAT      (15 * CLOCK_SEC)
#define ROOMS_MAX 64
#define BEHIND    (1 << 20) /* bytes a follower may leave untaken */

struct follower {
	struct list node;
	struct call *c;
	bool grpc, all;
	int64_t wrote;
	size_t rooms;
	struct {
		struct store_room *room;
		uint64_t at;
	} room[ROOMS_MAX];
};

static bool put_event(struct follower *f, struct buf *out, const struct store_message *m)
{
	if (f->grpc)
		return grpc_message(out, f->c->b->store, m);
	return json_put(out, "event: message\nid: %llu\ndata: ", (unsigned long long)m->link.seq) &&
	       api_message(out, f->c->b->store, m) && json_put(out, "\n\n");
}

/* Rooms joined since the last look, from their first message after joining on. */
static void find_rooms(struct follower *f, bool from_now)
{
	struct store *s = f->c->b->store;
	struct store_user *u = store_user(s, f->c->user.p, f->c->user.len, false);
	struct store_room *r;
	uint64_t cursor = 0;
	size_t i;

	while (u && f->rooms < ROOMS_MAX && (r = store_rooms(s, u, &cursor))) {
		for (i = 0; i < f->rooms && f->room[i].room != r; i++)
			;
		if (i < f->rooms)
			break; /* newest first: the rest is known */
		f->room[f->rooms].room = r;
		f->room[f->rooms++].at = from_now ? store_follow_end(s, r) : 0;
	}
}

static void look(struct follower *f, int64_t now)
{
	struct call *c = f->c;
	const struct store_message *m;
	struct buf out = { 0 };
	bool ok = true;
	size_t i;

	if (c->out.len + c->st->out.len > BEHIND) {
		h2_reset(c->st, H2_ERR_ENHANCE_YOUR_CALM, FAULT_SLOW_CLIENT);
		return;
	}
	if (f->all)
		find_rooms(f, false);
	for (i = 0; ok && i < f->rooms; i++) {
		while (ok && out.len < BEHIND / 4 && (m = store_follow(c->b->store, f->room[i].room, &f->room[i].at)))
			ok = put_event(f, &out, m);
	}
	if (ok && !out.len && !f->grpc && now - f->wrote > BEAT)
		ok = json_put(&out, ": still here\n\n");
	if (!ok) {
		buf_clear(&out);
		h2_reset(c->st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
	} else if (out.len) {
		f->wrote = now;
		call_write(c, &out);
		h2_wake(c->st->session);
	}
}

static void look_all(struct net_timer *t)
{
	struct backend *b = list_entry(t, struct backend, follow_timer);
	uint64_t changes = store_changes(b->store);
	int64_t now = clock_now();
	struct list *n, *next;

	/* The count is a hint: a sender killed between appending and counting left it. */
	if (changes != b->changes || now - b->looked > CLOCK_SEC) {
		b->changes = changes;
		b->looked = now;
		for (n = b->followers.next; n != &b->followers; n = next) {
			next = n->next;
			look(list_entry(n, struct follower, node), now);
		}
	}
	if (!list_empty(&b->followers))
		net_timer_arm(b->loop, &b->follow_timer, now + LOOK);
}

void events_start(struct backend *b)
{
	list_init(&b->followers);
	net_timer_init(&b->follow_timer, look_all);
}

static void unfollow(struct call *c)
{
	struct follower *f = c->extra;

	list_remove(&f->node);
}

static void state_full(struct call *c, bool grpc)
{
	if (grpc)
		grpc_error(c, 8, "the state is full");
	else
		call_error(c, 507, "the state is full");
}

void events_follow(struct call *c, struct slice room, uint64_t after, bool from_now, bool grpc)
{
	struct follower *f = arena_alloc(&c->st->arena, sizeof(*f));
	const struct store_message *m;
	struct store_room *r = NULL;
	struct buf hello = { 0 };

	if (room.p && room.len <= STORE_NAME_MAX)
		r = store_room(c->b->store, room.p, room.len, true);
	if (!f || (room.p && !r)) {
		state_full(c, grpc);
		return;
	}
	*f = (struct follower){ .c = c, .grpc = grpc, .all = !r, .wrote = clock_now() };
	if (r) {
		f->rooms = 1;
		f->room[0].room = r;
		f->room[0].at = from_now ? store_follow_end(c->b->store, r) : 0;
		while (!from_now && after) {
			uint64_t at = f->room[0].at;

			m = store_follow(c->b->store, r, &at);
			if (!m || m->link.seq > after)
				break;
			f->room[0].at = at;
		}
	} else {
		find_rooms(f, from_now);
	}
	c->extra = f;
	c->on_gone = unfollow;
	list_append(&c->b->followers, &f->node);
	call_head(c, 200);
	call_field(c, "content-type", grpc ? "application/grpc" : "text/event-stream", grpc ? 16 : 17);
	if (!grpc)
		call_field(c, "cache-control", "no-store", 8);
	call_begin(c);
	if (!grpc && call_private(c, &hello) && json_put(&hello, "}\n\n")) {
		struct buf first = { 0 };

		if (json_put(&first, "event: hello\ndata: ") && buf_move(&first, &hello, hello.len))
			call_write(c, &first);
	}
	buf_clear(&hello);
	net_timer_arm(c->b->loop, &c->b->follow_timer, clock_now() + LOOK);
}
