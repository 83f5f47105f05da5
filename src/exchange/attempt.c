/* SPDX-License-Identifier: MIT */
/*
 * One try to have a request answered by an endpoint: where it goes, what of the request
 * body it is sent, what it tells about the endpoint, and whether another may follow.
 * When to try is not decided here, nor what the answer becomes: exchange.c.
 */
#include <string.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "fence.h"
#include "xchg_private.h"

void attempt_keep_nothing(struct xchg *x)
{
	x->replay_lost = true;
	buf_clear(&x->replay);
}

void attempt_body(struct xchg *x)
{
	struct h2_stream *from = x->down;
	struct iovec iov[16];
	size_t n = from->in.len, before = x->replay.len;
	int i, pieces;

	if (!n)
		return;
	if (!x->replay_lost && x->state == XCHG_WAITING) {
		if (x->replay.len + n > x->snap->conf->retry.body_bytes) {
			attempt_keep_nothing(x);
		} else {
			pieces = buf_iov(&from->in, iov, 16);
			for (i = 0; i < pieces && !x->replay_lost; i++) {
				if (!buf_append(&x->replay, iov[i].iov_base, iov[i].iov_len))
					attempt_keep_nothing(x);
			}
			if (x->replay.len != before + n)
				attempt_keep_nothing(x); /* more pieces than one look takes */
		}
	}
	if (!h2_write(x->up, &from->in))
		h2_reset(x->up, H2_ERR_CANCEL, FAULT_NO_MEMORY);
}

/* What an earlier attempt was sent of the request body, once more. */
static bool send_replay(struct xchg *x)
{
	const struct buf_block *b;
	struct buf copy = { 0 };

	for (b = x->replay.head; b; b = b->next) {
		if (!buf_append(&copy, b->data + b->start, b->end - b->start)) {
			buf_clear(&copy);
			return false;
		}
	}
	return h2_write(x->up, &copy);
}

void attempt_finish(struct xchg *x)
{
	load_begin(x);
	if (!finish_alike(x->up, x->down))
		h2_reset(x->up, H2_ERR_CANCEL, FAULT_NO_MEMORY);
}

int64_t attempt_patience(const struct xchg *x)
{
	return (x->feature->long_lived || x->connect ? x->feature->stream_idle_ms : x->feature->timeout_ms) * CLOCK_MS;
}

enum fault attempt_start(struct xchg *x)
{
	bool whole = x->down->remote_end && !x->down->trailers && !x->down->received;
	enum fault why = FAULT_NONE;
	struct dc_want want;
	uint64_t full, failed;
	int endpoint = -1;

	if (!x->want.hash) {
		x->want.hash = request_user(x, 0, x->client->salt);
		x->want.random = worker_random(x->w);
		x->want.grpc = x->grpc;
		x->want.tier = x->feature->tier;
	}
	if (x->via != x->w->snap) { /* endpoints are numbered anew by every configuration */
		snapshot_put(x->via);
		x->via = snapshot_get(x->w->snap);
		x->want.tried = 0;
		x->endpoint = -1;
	}
	if (!deadline_pass_on(x))
		return FAULT_NO_MEMORY;
	full = load_full(x);
	fence_follow(x, full);
	want = x->want;
	want.tried |= full;
	want.crowded = full;
	failed = x->ask.attempts ? dc_pool_failed(x->w->pool) : 0; /* a first one is chosen well anyway */
	if (failed && dc_pool_any(x->w->pool, want.tried | failed))
		want.tried |= failed;
	x->up = dc_pool_request(x->w->pool, &want, x->connect, x->field, x->fields, whole, x, &endpoint, &why);
	if (endpoint < 0 && full)
		return FAULT_OVERLOADED; /* no try was made */
	x->ask.attempts++;
	if (endpoint >= 0) {
		x->endpoint = endpoint;
		x->want.tried |= UINT64_C(1) << endpoint;
	}
	if (!x->up)
		return why;
	x->attempting = true;
	x->blamed = x->outwait = false;
	x->attempt_number = x->ask.attempts;
	x->attempts_open++;
	x->counted = false;
	if (whole)
		load_begin(x);
	x->attempt_at = clock_now();
	x->head_at = 0;
	x->interims = 0;
	x->state = XCHG_WAITING;
	tm_add(&x->w->part->tm, TM_UPSTREAM_ATTEMPTS, 1);
	if (x->ask.attempts > 1)
		tm_add(&x->w->part->tm, TM_UPSTREAM_RETRIES, 1);
	if (!x->timer.deadline) /* it ran out while recent state was looked for */
		net_timer_arm(x->w->loop, &x->timer, deadline_or(x, x->attempt_at + attempt_patience(x)));
	if (!send_replay(x)) {
		attempt_abandon(x, FAULT_NO_MEMORY);
		return FAULT_NO_MEMORY;
	}
	attempt_body(x);
	if (x->down->remote_end && !whole)
		attempt_finish(x);
	return FAULT_NONE;
}

/* The current endpoint's bit; 0: the configuration in force has no such endpoint, or numbers it otherwise. */
static uint64_t current(const struct xchg *x)
{
	return x->endpoint >= 0 && x->via == x->w->snap ? UINT64_C(1) << x->endpoint : 0;
}

static uint64_t tried(const struct xchg *x)
{
	return x->via == x->w->snap ? x->want.tried : 0;
}

bool attempt_well_left(const struct xchg *x)
{
	return dc_pool_any(x->w->pool, (tried(x) & ~current(x)) | load_full(x) | dc_pool_failed(x->w->pool));
}

/* Where there is no other endpoint, or only such as have failed themselves, the same one may be asked
 * again: what it refused unprocessed (by its next address if the fault is its own), and what was lost
 * with a connection if it answers on another. */
static bool same_again(const struct xchg *x, enum fault fault, bool failed)
{
	const struct fault_info *f = fault_info(fault);

	if (fault == FAULT_UPSTREAM_CLOSED || fault == FAULT_UPSTREAM_SILENT)
		return !failed;
	return f->retry == FAULT_RETRY_SAFE && (!f->blames_datacenter || dc_pool_addresses(x->w->pool, x->endpoint) > 1);
}

bool attempt_again(struct xchg *x, enum fault fault)
{
	const struct conf_retry *r = &x->snap->conf->retry;
	enum fault_retry kind = fault_info(fault)->retry;
	bool provoked = kind != FAULT_RETRY_SAFE && !fault_info(fault)->blames_datacenter, ill;
	uint64_t full, worse;

	if (kind == FAULT_RETRY_NEVER || (kind == FAULT_RETRY_IDEMPOTENT && !x->idempotent))
		return false;
	if (x->ask.attempts >= r->tries || (x->connect && kind != FAULT_RETRY_SAFE) || (x->replay_lost && x->down->received))
		return false;
	full = load_full(x); /* a retry adds nothing to what is overloaded */
	worse = dc_pool_failed(x->w->pool);
	ill = worse & current(x);
	if (ill)
		worse = 0;
	if (current(x) && same_again(x, fault, ill) && !dc_pool_any(x->w->pool, tried(x) | full | worse)) {
		x->want.tried &= ~current(x);
		provoked |= kind != FAULT_RETRY_SAFE;
	}
	return dc_pool_any(x->w->pool, tried(x) | full) && worker_retry(x->w, provoked);
}

bool attempt_the_same(struct xchg *x)
{
	const struct conf_retry *r = &x->snap->conf->retry;
	int64_t waited = clock_now() - x->started;

	if (!current(x) || x->ask.attempts >= r->tries || waited > r->ping_idle_timeout_ms * CLOCK_MS / 2 || waited >= attempt_patience(x) ||
	    !worker_retry(x->w, true))
		return false;
	x->want.tried &= ~current(x);
	return true;
}

/* The statuses with which servers in the middle say it (RFC 9110 15.6), and gRPC's in place
 * of an answer. A write that is under way twice may be told so by the second one. */
static bool unable(const struct xchg *x)
{
	const struct h2_head *h = x->up->head;
	uint16_t i;

	if ((h->status >= 502 && h->status <= 504) || (x->other.up && !x->ask.readable && (h->status == 409 || h->status == 425)))
		return true;
	for (i = 0; x->grpc && i < h->count; i++) {
		if (h->field[i].token == H2_GRPC_STATUS)
			return h->field[i].value_len == 2 && !memcmp(h->field[i].value, "14", 2);
	}
	return false;
}

bool attempt_turned_away(struct xchg *x)
{
	if (!unable(x) || (!x->other.up && !attempt_again(x, FAULT_UPSTREAM_UNAVAILABLE)))
		return false;
	x->head_at = clock_now();
	x->status = x->up->head->status;
	attempt_over(x, FAULT_NONE);
	attempt_abandon(x, FAULT_UPSTREAM_UNAVAILABLE);
	x->head_at = 0;
	x->status = 0;
	return true;
}

/* The gRPC statuses that servers answer with for what is theirs (UNKNOWN: a handler that threw),
 * as HTTP says it; 0: any other, which the request, its time or its sender may have brought about. */
static unsigned grpc_error(const struct h2_head *h)
{
	uint16_t i;

	for (i = 0; i < h->count; i++) {
		if (h->field[i].token != H2_GRPC_STATUS)
			continue;
		switch (decimal(&h->field[i])) {
		case 2: /* UNKNOWN */
		case 13: /* INTERNAL */
		case 15: /* DATA_LOSS */
			return 500;
		case 14: /* UNAVAILABLE */
			return 503;
		default:
			return 0;
		}
	}
	return 0;
}

/* It has had a second, and still owes a part of its request or has not taken all of the answer:
 * it may be the client the endpoint has lost its patience with. */
static bool client_late(const struct xchg *x)
{
	return clock_now() - x->attempt_at > CLOCK_SEC && (!x->down->remote_end || x->down->out.len);
}

int64_t attempt_head_after(const struct xchg *x, int64_t began)
{
	int64_t from = x->down->active > began ? x->down->active : began;

	return !x->head_at ? 0 : x->head_at > from ? x->head_at - from : 1;
}

void attempt_over(struct xchg *x, enum fault fault)
{
	unsigned grpc = x->grpc && x->head_at ? grpc_error(x->up->head) : 0;

	if (!x->attempting)
		return;
	x->attempting = false;
	fence_heard(x, fault);
	if (x->via != x->w->snap)
		return;
	load_over(x, fault);
	if (x->blamed || (!fault_info(fault)->blames_datacenter && client_late(x)))
		fault = FAULT_NONE;
	dc_pool_result(x->w->pool, x->endpoint, xchg_feature(x), fault, attempt_head_after(x, x->attempt_at), grpc ? grpc : (unsigned)x->status);
}

void attempt_blame(struct xchg *x, enum fault fault)
{
	if (x->via == x->w->snap)
		dc_pool_result(x->w->pool, x->endpoint, xchg_feature(x), fault, 0, 0);
	x->blamed = true;
}

void attempt_spoilt(struct xchg *x, enum fault fault)
{
	/* Streams that last are cut by every restart, long after they were counted. */
	if (x->via == x->w->snap && !x->feature->long_lived && !x->connect && !client_late(x))
		dc_pool_result(x->w->pool, x->endpoint, xchg_feature(x), fault, 0, 0);
}

void attempt_ended(struct xchg *x)
{
	if (x->grpc && x->up->trailers && grpc_error(x->up->trailers))
		attempt_spoilt(x, FAULT_UPSTREAM_UNAVAILABLE);
}

void attempt_abandon(struct xchg *x, enum fault fault)
{
	struct h2_stream *up = x->up;

	attempt_over(x, FAULT_NONE);
	x->up = NULL;
	if (!up)
		return;
	if (up->closed)
		h2_release(&up);
	else
		h2_reset(up, H2_ERR_CANCEL, fault);
}

void attempt_swap(struct xchg *x)
{
	struct attempt a = { x->up, x->attempt_at, x->endpoint, x->attempt_number, x->attempting, x->counted, x->blamed };

	x->up = x->other.up;
	x->attempt_at = x->other.at;
	x->endpoint = x->other.endpoint;
	x->attempt_number = x->other.number;
	x->attempting = x->other.owed;
	x->counted = x->other.counted;
	x->blamed = x->other.blamed;
	x->other = a;
}

void attempt_drop_other(struct xchg *x)
{
	int64_t head_at = x->head_at;

	if (!x->other.up)
		return;
	attempt_swap(x);
	x->head_at = 0; /* it was not this one's */
	attempt_abandon(x, FAULT_UPSTREAM_LATE);
	x->head_at = head_at;
	attempt_swap(x);
}

void attempt_cancel(struct xchg *x, enum fault fault)
{
	if (x->up && !x->up->closed)
		h2_reset(x->up, H2_ERR_CANCEL, fault);
}
