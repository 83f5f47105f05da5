/* SPDX-License-Identifier: MIT */
/*
 * Event streams held open: each is one user's, follows their room, and lives on one
 * slot's connections. One that is cut is asked for again after a pause that grows and is
 * jittered, from the last event it had (Last-Event-ID, WHATWG HTML 9.2.4).
 */
#include "generator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE      (100 * CLOCK_MS)
#define PAUSE_MOST (5 * CLOCK_SEC)
#define LINE_SEEN  40

/* owned by: generator->follower, for the process's life */
struct follower {
	struct stream_user user_of_stream; /* first */
	struct generator *g;
	struct slot *slot;
	struct list node;          /* on slot->followers */
	struct net_timer timer;
	struct h2_stream *st;      /* NULL: none, or not yet */
	struct connection *connection;
	bool opened, recorded;
	unsigned tries;            /* in vain, one after the other */
	int64_t asked;             /* ns from the start */
	uint64_t last_id;
	char name[CHECK_TAG_MAX], auth[CHECK_TAG_MAX + 16], path[96], last[24];
	struct check check;
	char line[LINE_SEEN + 1];  /* of the event stream, its beginning */
	size_t line_len;
};

static unsigned feature_of_streams(const struct scenario *s)
{
	unsigned f;

	for (f = 0; f + 1 < s->features && s->feature[f].does != VERB_EVENTS; f++)
		;
	return f;
}

/* One record for each time it was asked for: until it began, or failed. Those asked for
 * before the start count from it. */
static void record(struct follower *f, enum outcome o, int status, uint8_t datacenter)
{
	const struct generator_args *a = f->g->a;
	int64_t now = generator_now(f->g), took = now - f->asked;
	struct sample s = { .intended = f->asked > 0 ? f->asked : 0, .latency_us = took > 0 ? (uint32_t)(took / 1000) : 0, .feature = (uint16_t)feature_of_streams(f->g->s),
			    .outcome = (uint8_t)o, .datacenter = datacenter, .status = (uint8_t)(status / 100), .generator = (uint8_t)a->self };

	if (!f->recorded && !f->g->stopping)
		sample_add(a->log, &s);
	f->recorded = true;
}

/* ---- asking ---- */

static bool submit(struct follower *f, struct connection *c)
{
	const struct generator_args *a = f->g->a;
	const struct h2_field field[] = {
		FIELD(":method", "GET", 3, 0),
		FIELD(":scheme", a->tls ? "https" : "http", a->tls ? 5 : 4, 0),
		FIELD(":authority", a->authority, strlen(a->authority), 0),
		FIELD(":path", f->path, strlen(f->path), H2_FIELD_SENSITIVE),
		FIELD("authorization", f->auth, strlen(f->auth), H2_FIELD_SENSITIVE),
		FIELD("accept", "text/event-stream", 17, 0),
		FIELD("last-event-id", f->last, strlen(f->last), H2_FIELD_SENSITIVE),
	};
	enum fault why;

	f->st = h2_request(c->session, field, f->last_id ? 7 : 6, true, f, &why);
	return f->st;
}

static bool ask(struct follower *f)
{
	struct connection *c = f->slot->now;

	if (!c || c->leaving || !h2_session_open(c->session) || !h2_session_room(c->session))
		return false;
	snprintf(f->last, sizeof(f->last), "%llu", (unsigned long long)f->last_id);
	if (!submit(f, c))
		return false;
	f->connection = c;
	c->followers++;
	f->opened = f->recorded = false;
	f->asked = generator_now(f->g);
	f->line_len = 0;
	net_timer_arm(f->g->loop, &f->timer, clock_now() + f->g->s->timeout);
	check_text(&f->check, f->name + 1, NULL);
	h2_wake(c->session);
	return true;
}

static void ask_later(struct follower *f)
{
	int64_t pause = PAUSE << (f->tries < 6 ? f->tries : 6);

	if (pause > PAUSE_MOST)
		pause = PAUSE_MOST;
	net_timer_arm(f->g->loop, &f->timer, clock_now() + (int64_t)((double)pause * (0.5 + generator_random(f->g))));
}

static void on_timer(struct net_timer *t)
{
	struct follower *f = list_entry(t, struct follower, timer);

	if (f->st && !f->opened)
		h2_reset(f->st, H2_ERR_CANCEL, FAULT_UPSTREAM_TIMEOUT); /* not begun in time: take_end() asks again */
	else if (!f->st && !f->g->ending && !ask(f)) {
		f->tries++;
		ask_later(f);
	}
}

void follow_connected(struct slot *slot)
{
	struct list *n;

	for (n = slot->followers.next; n != &slot->followers; n = n->next) {
		struct follower *f = list_entry(n, struct follower, node);

		if (f->st)
			continue;
		f->tries = 0;
		ask_later(f);
	}
}

/* ---- what comes ---- */

static void take_line(struct follower *f)
{
	f->line[f->line_len] = '\0';
	if (!strcmp(f->line, "event: message"))
		atomic_fetch_add_explicit(&f->g->a->log->stream_events, 1, memory_order_relaxed);
	else if (!strncmp(f->line, "id: ", 4))
		f->last_id = strtoull(f->line + 4, NULL, 10);
	f->line_len = 0;
}

static void take_octets(struct follower *f, const char *p, size_t len)
{
	const char *end = p + len, *stop;

	check_take(&f->check, p, len);
	for (; p < end; p = stop) {
		size_t n, room = LINE_SEEN - f->line_len;

		stop = memchr(p, '\n', (size_t)(end - p));
		n = (size_t)((stop ? stop : end) - p);
		memcpy(f->line + f->line_len, p, n < room ? n : room);
		f->line_len += n < room ? n : room;
		if (!stop)
			return;
		take_line(f);
		stop++;
	}
}

static void take_body(struct follower *f, struct h2_stream *st)
{
	size_t n = st->in.len;
	struct iovec v;

	while (buf_iov(&st->in, &v, 1)) {
		if (f->opened)
			take_octets(f, v.iov_base, v.iov_len);
		buf_drain(&st->in, v.iov_len);
	}
	h2_consume(st, n);
	if (f->check.foreign && f->opened) {
		/* Seen once a stream: somebody else's text came over it. */
		f->check.foreign = f->recorded = false;
		record(f, OUTCOME_WRONG, 200, SAMPLE_NOWHERE);
	}
}

static void take_head(struct follower *f, const struct h2_head *h)
{
	struct sample_log *log = f->g->a->log;

	f->opened = h->status == 200;
	if (f->opened) {
		f->tries = 0;
		atomic_fetch_add_explicit(&log->open_streams, 1, memory_order_relaxed);
	}
	record(f, f->opened ? OUTCOME_SERVED : h->status == 503 ? OUTCOME_REFUSED : OUTCOME_FAILED, h->status, generator_datacenter(f->g, h));
}

static void take_end(struct follower *f, struct h2_stream *st)
{
	struct sample_log *log = f->g->a->log;
	bool ours = f->connection->ours || f->g->stopping;

	if (!ours) /* a connection that we gave up ourselves has failed nobody */
		record(f, OUTCOME_FAILED, 0, SAMPLE_NOWHERE); /* where no head came */
	if (f->opened)
		atomic_fetch_sub_explicit(&log->open_streams, 1, memory_order_relaxed);
	if (f->opened && !ours)
		atomic_fetch_add_explicit(&log->stream_cuts, 1, memory_order_relaxed);
	if (!f->opened)
		f->tries++;
	f->opened = false;
	f->st = NULL;
	h2_release(&st);
	f->connection->followers--;
	connect_ended(f->connection);
	if (!f->g->ending && !f->g->stopping)
		ask_later(f);
}

static void follow_ready(struct h2_stream *st, uint32_t what)
{
	struct follower *f = st->user;

	if ((what & H2_HEAD) && st->head)
		take_head(f, st->head);
	if (what & H2_BODY)
		take_body(f, st);
	if (what & H2_CLOSED)
		take_end(f, st);
}

bool follow_start(struct generator *g)
{
	char room[CHECK_TAG_MAX];
	unsigned i;

	g->follower = calloc(g->followers ? g->followers : 1, sizeof(*g->follower));
	for (i = 0; g->follower && i < g->followers; i++) {
		struct follower *f = &g->follower[i];

		*f = (struct follower){ .user_of_stream = { follow_ready }, .g = g, .slot = &g->slot[i % g->slots] };
		verb_user(g, (i % g->users) * g->a->of + g->a->self, f->name, sizeof(f->name));
		verb_room(f->name, room, sizeof(room));
		snprintf(f->auth, sizeof(f->auth), "Bearer %s.load", f->name);
		snprintf(f->path, sizeof(f->path), "/v1/events?room=%s", room);
		net_timer_init(&f->timer, on_timer);
		list_append(&f->slot->followers, &f->node);
	}
	return g->follower;
}
