/* SPDX-License-Identifier: MIT */
/*
 * One connection to one Redis address: commands queue up, leave in one write when
 * pumped, and are answered in order. All have the same time to be answered in, so the
 * oldest one's deadline governs; when it passes the connection is closed, because
 * what comes later on it would be late too, and every unanswered command is told
 * that its effect is unknown.
 *
 *   connecting --open--> open --timeout, EOF, garbage, unavailable, owner--> closed --net on_closed--> freed
 *
 * Not here: which address, when to try again (client.c).
 */
#include "redis_private.h"

#include <stdlib.h>

#include "firebreak/clock.h"
#include "firebreak/log.h"

struct pending {
	rds_done done; /* NULL: forgotten */
	void *user;
	int64_t deadline;
};

/* owned by: its client until closed, then by the connection
 * freed by: on_closed, at the end of the turn */
struct rds_link {
	struct net_loop *loop;
	struct net_conn *conn;
	const struct rds_link_owner *handler;
	void *owner;
	struct rds_codec *codec;
	struct buf out;
	struct net_timer timer; /* connect deadline, then the oldest command's */
	int64_t timeout;        /* of a command, ns */
	bool open, closed;
	uint32_t head, count, size;
	struct pending ring[];
};

static void link_free(struct rds_link *l)
{
	net_timer_disarm(&l->timer);
	buf_clear(&l->out);
	rds_codec_destroy(l->codec);
	free(l);
}

/* ---- deadlines ---- */

static void on_timer(struct net_timer *t)
{
	struct rds_link *l = list_entry(t, struct rds_link, timer);

	if (!l->open) {
		rds_link_close(l, FAULT_CONNECT_TIMEOUT);
		return;
	}
	if (!l->count)
		return;
	if (clock_now() < l->ring[l->head].deadline)
		net_timer_arm(l->loop, t, l->ring[l->head].deadline);
	else
		rds_link_close(l, FAULT_REDIS_TIMEOUT);
}

/* ---- what the connection says ---- */

static void on_open(void *user)
{
	struct rds_link *l = user;

	if (l->closed)
		return;
	l->open = true;
	net_timer_disarm(&l->timer);
	l->handler->on_open(l->owner);
}

static struct pending take(struct rds_link *l)
{
	struct pending p = l->ring[l->head];

	l->head = (l->head + 1) % l->size;
	l->count--;
	return p;
}

static void answer(struct rds_link *l, const struct rds_reply *reply)
{
	struct pending p = take(l);

	if (reply->type == RDS_ERROR)
		l->handler->on_error(l->owner, reply);
	if (p.done)
		p.done(p.user, reply, reply->type == RDS_ERROR ? FAULT_REDIS_ERROR : FAULT_NONE);
	if (reply->type == RDS_ERROR && rds_error_unavailable(reply->error))
		rds_link_close(l, FAULT_REDIS_DOWN);
}

static void on_bytes(void *user, const uint8_t *data, size_t len)
{
	struct rds_link *l = user;
	const struct rds_reply *reply;
	int got = 0;

	if (l->closed)
		return;
	if (!rds_codec_feed(l->codec, data, len)) {
		rds_link_close(l, FAULT_NO_MEMORY);
		return;
	}
	while (!l->closed && (got = rds_codec_next(l->codec, &reply)) > 0) {
		if (!l->count) { /* an answer to nothing */
			rds_link_close(l, FAULT_REDIS_PROTOCOL);
			return;
		}
		answer(l, reply);
	}
	if (got < 0)
		rds_link_close(l, FAULT_REDIS_PROTOCOL);
}

static void on_eof(void *user)
{
	rds_link_close(user, FAULT_REDIS_DOWN);
}

static void on_drained(void *user)
{
	(void)user; /* output is bounded, and its deadline is the commands' */
}

static void on_closed(void *user, enum fault fault)
{
	struct rds_link *l = user;

	rds_link_close(l, fault);
	link_free(l);
}

static const struct net_handler conn_handler = { on_open, on_bytes, on_eof, on_drained, on_closed };

/* ---- for the client ---- */

struct rds_link *rds_link_connect(const struct rds_link_params *p, const struct rds_link_owner *handler, void *owner)
{
	struct rds_link *l = calloc(1, sizeof(*l) + p->max_pending * sizeof(l->ring[0]));

	if (!l)
		return NULL;
	l->loop = p->loop;
	l->handler = handler;
	l->owner = owner;
	l->size = p->max_pending;
	l->timeout = p->command_timeout_ms * CLOCK_MS;
	net_timer_init(&l->timer, on_timer);
	l->codec = rds_codec_create();
	if (l->codec)
		l->conn = net_conn_connect(p->loop, p->to, p->tls, p->sni, p->connect_timeout_ms, &conn_handler, l);
	if (!l->conn) {
		link_free(l);
		return NULL;
	}
	/* The whole way to a usable connection, TLS included. */
	net_timer_arm(l->loop, &l->timer, clock_now() + p->connect_timeout_ms * CLOCK_MS);
	return l;
}

static size_t sum(int argc, const size_t *lens)
{
	size_t total = 0;
	int i;

	for (i = 0; i < argc && total <= RDS_OUTPUT_BYTES; i++)
		total += lens[i] <= RDS_OUTPUT_BYTES ? lens[i] : RDS_OUTPUT_BYTES + 1;
	return total;
}

enum fault rds_link_command(struct rds_link *l, int argc, const char *const *argv, const size_t *lens, rds_done done, void *user)
{
	struct pending *p;

	if (l->closed || !l->open)
		return FAULT_REDIS_DOWN;
	if (l->count == l->size || l->out.len + net_pending(l->conn) + sum(argc, lens) > RDS_OUTPUT_BYTES)
		return FAULT_REDIS_FULL;
	if (!rds_codec_format(&l->out, argc, argv, lens))
		return FAULT_NO_MEMORY;
	p = &l->ring[(l->head + l->count) % l->size];
	*p = (struct pending){ done, user, clock_now() + l->timeout };
	if (!l->count++ && !l->timer.deadline)
		net_timer_arm(l->loop, &l->timer, p->deadline);
	return FAULT_NONE;
}

void rds_link_pump(struct rds_link *l)
{
	if (l->closed || !l->out.len || !net_conn_open(l->conn)) /* gone by itself: on_closed is coming */
		return;
	if (net_write_buf(l->conn, &l->out, l->out.len))
		net_flush(l->conn);
	else
		rds_link_close(l, FAULT_NO_MEMORY);
}

void rds_link_forget(struct rds_link *l, void *user)
{
	uint32_t i;

	for (i = 0; i < l->count; i++) {
		struct pending *p = &l->ring[(l->head + i) % l->size];

		if (p->user == user)
			p->done = NULL;
	}
}

void rds_link_close(struct rds_link *l, enum fault fault)
{
	enum fault why = fault == FAULT_REDIS_TIMEOUT || fault == FAULT_REDIS_PROTOCOL || fault == FAULT_NO_MEMORY ? fault : FAULT_REDIS_DOWN;
	struct pending p;

	if (l->closed)
		return;
	l->closed = true;
	net_timer_disarm(&l->timer);
	buf_clear(&l->out);
	net_close(l->conn, fault);
	l->handler->on_down(l->owner, fault);
	while (l->count) {
		p = take(l);
		if (p.done)
			p.done(p.user, NULL, why);
	}
	l->handler->on_gone(l->owner);
}
