/* SPDX-License-Identifier: MIT */
/*
 * One request's life. Two streams feed it: `down` (the client's) and `up` (the
 * current attempt's); it moves bytes between them and decides what happens when an
 * attempt fails. While no head has come there may be two attempts at once (hedge.c):
 * the one an event is about is made the current one, the first head wins, and a failure
 * of either leaves the other to go on.
 *
 *             ┌────────────── retry: another endpoint ─────────────┐
 *             ▼                                                    │
 *   ROUTING ─decide─▶ WAITING ──head──▶ STREAMING ──end──▶ OVER    │
 *      │                 │ └──fault, timeout──▶ decide ────────────┘
 *      │                 ▼                        │
 *      ├──────────▶ LOOKING ──hit──▶ ANSWERED ──▶ OVER
 *      │                 └──miss──▶ decide        ▲
 *      └──refuse──────────────────────────────────┘
 *
 * The client leaves first: then the attempt is cancelled and the rest swallowed. Only a
 * tunnel that both sides have ended may deliver what is queued.
 * Nothing is freed while a stream that points here is open (settle).
 */
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"
#include "xchg_private.h"

#define SPARE_MAX    4096
#define INTERIMS_MAX 64 /* of one attempt: early hints, and a 102 now and then */

static struct xchg *spare;
static unsigned spares;

static void decide(struct xchg *x);
static void on_timer(struct net_timer *t);

static struct xchg *xchg_create(struct downstream *client, struct h2_stream *st)
{
	struct xchg *x = spare;

	if (x) {
		spare = *(struct xchg **)x;
		spares--;
	} else if (!(x = malloc(sizeof(*x)))) {
		return NULL;
	}
	memset(x, 0, sizeof(*x));
	x->magic = XCHG_MAGIC;
	x->w = client->w;
	x->client = client;
	x->snap = snapshot_get(x->w->snap);
	x->down = st;
	x->endpoint = -1;
	x->started = clock_now();
	x->outcome = TM_CLIENT;
	x->ask.can_forward = true;
	net_timer_init(&x->timer, on_timer);
	x->w->exchanges++;
	return x;
}

/* Frees what has nothing open any more. The last thing every entry point does. */
static void settle(struct xchg *x)
{
	if (x->client || x->attempts_open || x->looking)
		return;
	net_timer_disarm(&x->timer);
	h2_release(&x->down);
	h2_release(&x->up);
	buf_clear(&x->replay);
	buf_clear(&x->captured);
	snapshot_put(x->via);
	snapshot_put(x->snap);
	x->w->exchanges--;
	x->magic = 0;
	if (spares >= SPARE_MAX) {
		free(x);
		return;
	}
	*(struct xchg **)x = spare;
	spare = x;
	spares++;
}

/* ---- decisions ---- */

static void no_recent_state(struct xchg *x)
{
	x->ask.tried |= 1 << CONF_STALE;
	if (x->outwait)
		x->ask.can_forward = attempt_the_same(x);
	x->outwait = false;
}

static void on_cached(void *user, struct cache_answer *answer)
{
	struct xchg *x = user;

	x->looking = false;
	if (answer) {
		answer_stale(x, answer);
	} else {
		no_recent_state(x);
		decide(x);
	}
	if (x->state != XCHG_LOOKING)
		settle(x);
}

static bool look_up(struct xchg *x)
{
	struct cache_key key;

	if (!request_key(x, &key))
		return false;
	x->state = XCHG_LOOKING;
	x->looking = true;
	cache_get(x->w->cache, &key, x->feature->stale_fresh_s, clock_wall(), &x->down->arena, on_cached, x);
	return true;
}

static void stop_looking(struct xchg *x)
{
	if (!x->looking)
		return;
	cache_forget(x->w->cache, x);
	x->looking = false;
}

/* The same for a user within the hour, on any connection. */
static uint16_t cohort(struct xchg *x)
{
	uint64_t hour = (uint64_t)(clock_wall() / (3600 * CLOCK_SEC)), address = crypt_hash64(x->client->text, strlen(x->client->text), hour);

	return (uint16_t)(request_user(x, hour, address) % DEGRADE_FULL);
}

/* Why recent state is given although no attempt has failed. */
static enum fault stale_reason(const struct xchg *x, const struct degrade_live *live)
{
	if (x->decision.why == DEGRADE_WHY_OPERATOR)
		return FAULT_FEATURE_OFF;
	if (x->decision.why == DEGRADE_WHY_SHARE)
		return FAULT_SHARE_REFUSED;
	if (x->decision.why == DEGRADE_WHY_OVERLOADED)
		return FAULT_OVERLOADED;
	return live->any_datacenter ? FAULT_MODE_REFUSED : FAULT_NO_DATACENTER;
}

/* The live part was made for the configuration in force, so that one's plan decides, also
 * about a request that began under another. */
static void decide(struct xchg *x)
{
	const struct degrade_live *live = &x->w->live.degrade;
	enum fault f;

	x->ask.feature = xchg_feature(x);
	if (live->share[x->ask.feature] < DEGRADE_FULL || live->word[x->ask.feature] == DEGRADE_SHARE)
		x->ask.cohort = cohort(x);
	for (;;) {
		x->decision = degrade_decide(&x->w->snap->plan, live, &x->ask);
		load_decided(x);
		switch (x->decision.way) {
		case CONF_FORWARD:
			f = attempt_start(x);
			if (f == FAULT_NONE)
				return;
			x->fault = x->ask.last_fault = f;
			x->ask.can_forward = attempt_again(x, f);
			break;
		case CONF_STALE:
			if (x->fault == FAULT_NONE)
				x->fault = stale_reason(x, live);
			if (look_up(x))
				return;
			no_recent_state(x);
			break;
		case CONF_ACCEPT_LATER:
			x->ask.tried |= 1 << CONF_ACCEPT_LATER; /* no outbox in this build */
			break;
		default:
			answer_refuse(x, x->decision.fault);
			return;
		}
	}
}

/* The current attempt is over. True when there is another, which goes on alone. */
static bool other_goes_on(struct xchg *x, enum fault fault)
{
	x->fault = x->ask.last_fault = fault;
	if (!x->other.up)
		return false;
	attempt_swap(x);
	x->other = (struct attempt){ 0 };
	return true;
}

/* The current attempt failed before a response head came. */
static void attempt_failed(struct xchg *x, enum fault fault)
{
	attempt_over(x, fault);
	attempt_abandon(x, fault);
	if (other_goes_on(x, fault))
		return;
	x->ask.can_forward = attempt_again(x, fault);
	decide(x);
}

/* What the plan leaves if nothing more is forwarded. */
static bool recent_state_left(const struct xchg *x)
{
	struct degrade_request ask = x->ask;

	ask.feature = xchg_feature(x);
	ask.can_forward = false;
	return degrade_decide(&x->w->snap->plan, &x->w->live.degrade, &ask).way == CONF_STALE;
}

static bool other_is_well(const struct xchg *x)
{
	return x->other.up && (x->via != x->w->snap || !(dc_pool_failed(x->w->pool) >> x->other.endpoint & 1));
}

/* The endpoint has fallen silent, or (lost) has been for long. Who has another way takes it at once.
 * The others lose nothing by waiting a little longer: a write that may not be tried twice would
 * fail if it only paused, and perhaps be done there all the same. */
static void on_silent(struct xchg *x, bool lost)
{
	bool again = !x->other.up && attempt_well_left(x) && attempt_again(x, FAULT_UPSTREAM_SILENT);

	if (!lost && !again && !other_is_well(x)) {
		if (x->other.up || !recent_state_left(x)) {
			attempt_blame(x, FAULT_UPSTREAM_SILENT);
			return;
		}
		x->outwait = true;
	}
	attempt_over(x, FAULT_UPSTREAM_SILENT);
	attempt_abandon(x, FAULT_UPSTREAM_SILENT);
	if (other_goes_on(x, FAULT_UPSTREAM_SILENT))
		return;
	x->ask.can_forward = again;
	decide(x);
}

/* ---- time ---- */

static void break_now(struct xchg *x, enum fault fault)
{
	x->fault = fault;
	answer_break_off(x, fault);
	if (x->down->fault != FAULT_NONE) /* by a reset */
		x->outcome = TM_FAILED;
	attempt_cancel(x, fault);
}

static void stream_idle(struct xchg *x)
{
	int64_t last = x->down->active, limit = x->feature->stream_idle_ms * CLOCK_MS, now = clock_now();

	if (x->up && x->up->active > last)
		last = x->up->active;
	if (x->breaking && x->up && !x->up->remote_end) {
		break_now(x, x->breaking);
	} else if (deadline_over(x, now)) {
		x->fault = FAULT_DEADLINE;
		x->outcome = TM_FAILED;
		answer_break_off(x, FAULT_DEADLINE);
		attempt_cancel(x, FAULT_DEADLINE);
	} else if (now - last < limit) {
		net_timer_arm(x->w->loop, &x->timer, deadline_or(x, last + limit));
	} else {
		x->fault = FAULT_STREAM_IDLE;
		x->outcome = TM_FAILED;
		h2_reset(x->down, H2_ERR_CANCEL, FAULT_STREAM_IDLE);
		attempt_cancel(x, FAULT_STREAM_IDLE);
	}
}

/* The client's time is over before an answer began. No endpoint is to blame for that. */
static void deadline_passed(struct xchg *x)
{
	stop_looking(x);
	attempt_drop_other(x);
	attempt_abandon(x, FAULT_DEADLINE);
	answer_refuse(x, FAULT_DEADLINE);
}

/* No answer in the feature's time. No more tries, but recent state may do. */
static void timed_out(struct xchg *x)
{
	attempt_drop_other(x);
	if (x->up)
		dc_pool_unanswered(x->up);
	attempt_over(x, FAULT_UPSTREAM_TIMEOUT);
	attempt_abandon(x, FAULT_UPSTREAM_TIMEOUT);
	x->fault = x->ask.last_fault = FAULT_UPSTREAM_TIMEOUT;
	x->ask.can_forward = false;
	decide(x);
}

static void on_timer(struct net_timer *t)
{
	struct xchg *x = list_entry(t, struct xchg, timer);

	if (!CHECK(x->magic == XCHG_MAGIC))
		return;
	if ((x->state == XCHG_WAITING || x->state == XCHG_LOOKING) && deadline_over(x, clock_now())) {
		deadline_passed(x);
	} else if (x->state == XCHG_WAITING) {
		/* Counted from the last octet of the request: an upload may take its time. */
		int64_t until = x->down->active + attempt_patience(x);

		if (clock_now() < until) {
			net_timer_arm(x->w->loop, &x->timer, deadline_or(x, until));
			if (x->hedge_due)
				hedge_start(x, true);
			return;
		}
		timed_out(x);
	} else if (x->state == XCHG_STREAMING) {
		stream_idle(x);
	} else if (x->state == XCHG_OVER && x->up) { /* a tunnel whose last octets nobody takes */
		h2_reset(x->up, H2_ERR_CANCEL, FAULT_STREAM_IDLE);
	}
	settle(x);
}

/* The other side has sent this many octets of what `from` brought: it may bring more.
 * A repeated attempt sends the first ones again, which earns nothing. */
static void credit(struct h2_stream *from, uint64_t sent)
{
	if (sent > from->consumed)
		h2_consume(from, sent - from->consumed);
}

/* ---- the client's side ---- */

void xchg_on_stream(void *owner, struct h2_stream *st)
{
	struct downstream *client = owner;
	struct xchg *x = xchg_create(client, st);
	enum fault f;

	if (!x) {
		h2_reset(st, H2_ERR_REFUSED_STREAM, FAULT_NO_MEMORY);
		return;
	}
	st->user = x;
	f = request_read(x);
	if (f == FAULT_NONE && deadline_over(x, x->started + CLOCK_MS))
		f = FAULT_DEADLINE;
	if (f != FAULT_NONE) {
		answer_refuse(x, f);
		return;
	}
	st->body_expected = !x->feature->long_lived && !x->connect;
	x->w->part->requests++;
	x->hedge_due = hedge_moment(x);
	net_timer_arm(x->w->loop, &x->timer, deadline_or(x, x->hedge_due ? x->hedge_due : x->started + attempt_patience(x)));
	decide(x);
}

static void on_request_body(struct xchg *x)
{
	struct h2_stream *st = x->down;

	if (x->feature->body_limit && st->received > x->feature->body_limit && x->state <= XCHG_LOOKING) {
		if (x->state == XCHG_STREAMING) {
			h2_reset(st, H2_ERR_CANCEL, FAULT_BODY_TOO_LARGE);
			attempt_cancel(x, FAULT_BODY_TOO_LARGE);
		} else {
			stop_looking(x); /* or its answer would follow ours */
			attempt_abandon(x, FAULT_BODY_TOO_LARGE);
			answer_refuse(x, FAULT_BODY_TOO_LARGE);
		}
		return;
	}
	if (x->up && (x->state == XCHG_WAITING || x->state == XCHG_STREAMING)) {
		attempt_body(x);
	} else if (x->state >= XCHG_ANSWERED) {
		h2_consume(st, st->in.len);
		buf_clear(&st->in);
	}
}

static void on_client_closed(struct xchg *x)
{
	enum fault f = x->down->fault;

	if (x->state != XCHG_OVER) {
		if (f != FAULT_NONE && x->fault == FAULT_NONE)
			x->fault = f;
		if (f != FAULT_NONE && x->outcome != TM_FAILED && x->outcome != TM_REFUSED)
			x->outcome = TM_CLIENT;
		x->state = XCHG_OVER;
		net_timer_disarm(&x->timer);
		record_exchange(x);
	}
	attempt_over(x, FAULT_NONE);
	attempt_drop_other(x);
	if (x->up && !x->up->closed && f == FAULT_NONE && x->down->tunnel && x->down->remote_end)
		net_timer_arm(x->w->loop, &x->timer, clock_now() + x->feature->stream_idle_ms * CLOCK_MS);
	else
		attempt_cancel(x, FAULT_CLIENT_GONE);
	stop_looking(x);
	attempt_keep_nothing(x);
	x->client = NULL;
}

/* The request's body comes too slowly. An answer that has begun does not make it welcome. */
static void on_request_stalled(struct xchg *x)
{
	if (x->state == XCHG_WAITING) {
		attempt_abandon(x, FAULT_BODY_TIMEOUT);
		answer_refuse(x, FAULT_BODY_TIMEOUT);
	} else if (x->state == XCHG_STREAMING) {
		x->fault = FAULT_BODY_TIMEOUT;
		x->outcome = TM_CLIENT;
		h2_reset(x->down, H2_ERR_CANCEL, FAULT_BODY_TIMEOUT);
		attempt_cancel(x, FAULT_BODY_TIMEOUT);
	}
}

void xchg_on_down(struct h2_stream *st, uint32_t what)
{
	struct xchg *x = st->user;

	if (!x || !CHECK(x->magic == XCHG_MAGIC)) {
		if (what & H2_CLOSED)
			h2_release(&st);
		return;
	}
	if ((what & H2_BODY) && st->in.len)
		on_request_body(x);
	if ((what & H2_END) && x->up && (x->state == XCHG_WAITING || x->state == XCHG_STREAMING) && !x->up->out_end)
		attempt_finish(x);
	if ((what & H2_SENT) && x->up && x->state == XCHG_STREAMING)
		credit(x->up, st->sent);
	if ((what & H2_STALLED) && !(what & H2_CLOSED))
		on_request_stalled(x);
	if (what & H2_CLOSED)
		on_client_closed(x);
	settle(x);
}

size_t xchg_held(const struct h2_stream *down)
{
	const struct xchg *x = down->user;

	if (!x)
		return 0;
	return x->replay.len + x->captured.len + (x->up ? x->up->in.len + x->up->out.len : 0) +
	       (x->other.up ? x->other.up->out.len : 0);
}

/* ---- the attempt's side ---- */

/* False: more than any answer needs. They would fill the output of a client's connection,
 * and close it for its other streams too: the endpoint is to blame, not the client. */
static bool pass_interims(struct xchg *x)
{
	struct h2_head *h;
	uint16_t i;

	while ((h = h2_interim_take(x->up))) {
		if (++x->interims > INTERIMS_MAX)
			return false;
		/* The attempt may end, and its memory go to another, before these have left. */
		for (i = 0; i < h->count; i++)
			h->field[i].flags &= (uint8_t)~H2_FIELD_KEEP;
		h2_interim(x->down, h->field, h->count);
	}
	return true;
}

/* Anybody can call a request gRPC. Only a backend that answers so makes it a call whose
 * client may be silent between two messages. */
static void heard_grpc(struct xchg *x, bool spoken)
{
	x->down->body_expected &= !spoken;
	if (x->via == x->w->snap)
		dc_pool_spoke_grpc(x->w->pool, x->endpoint, spoken);
}

static void on_head(struct xchg *x, bool end)
{
	struct h2_head *h = x->up->head;

	x->head_at = clock_now();
	x->status = h->status;
	x->state = XCHG_STREAMING;
	x->outcome = x->attempt_number > 1 ? TM_FAILED_OVER : TM_SERVED;
	x->fault = FAULT_NONE;
	attempt_keep_nothing(x);
	hedge_learn(x);
	if (x->grpc)
		heard_grpc(x, answer_is_grpc(x));
	attempt_drop_other(x); /* before: what the answered one says stands */
	attempt_over(x, FAULT_NONE);
	x->down->tunnel = x->connect && x->status < 300;
	if (response_complete(x, h))
		response_capture_begin(x, h);
	if (x->outcome == TM_FAILED_OVER)
		response_failed_over(x, h);
	if (!h2_respond(x->down, h->field, h->count, end))
		h2_reset(x->down, H2_ERR_INTERNAL, FAULT_INTERNAL);
	else if (!end && x->timer.deadline > x->head_at + x->feature->stream_idle_ms * CLOCK_MS)
		net_timer_arm(x->w->loop, &x->timer, deadline_or(x, x->head_at + x->feature->stream_idle_ms * CLOCK_MS));
	/* Otherwise the timer that is set goes off early enough, and looks then. */
}

static void on_response_body(struct xchg *x)
{
	struct iovec iov[16];
	int i, n;

	if (x->capture) {
		n = buf_iov(&x->up->in, iov, 16);
		for (i = 0; i < n && x->capture; i++) {
			if (x->captured.len + iov[i].iov_len > x->snap->conf->cache.max_entry_bytes ||
			    !buf_append(&x->captured, iov[i].iov_base, iov[i].iov_len))
				x->capture = false;
		}
		if (n == 16 || !x->capture) { /* too long, or in too many pieces to be a small answer */
			x->capture = false;
			buf_clear(&x->captured);
		}
	}
	if (!h2_write(x->down, &x->up->in)) {
		h2_reset(x->down, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
		x->outcome = TM_FAILED;
	}
}

static void on_response_end(struct xchg *x)
{
	response_capture_end(x);
	attempt_ended(x);
	if (!finish_alike(x->down, x->up)) {
		h2_reset(x->down, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
		x->outcome = TM_FAILED;
	}
}

/* The end of what lasts comes a little later: false for all else. */
static bool break_later(struct xchg *x, enum fault fault)
{
	int64_t wait = answer_spread(x);

	if (wait <= 0)
		return false;
	x->breaking = fault;
	net_timer_arm(x->w->loop, &x->timer, deadline_or(x, clock_now() + wait));
	return true;
}

/* Ordinary requests have their feature's time to finish. */
static void on_drained(struct xchg *x)
{
	bool lasts = x->feature->long_lived || x->connect || clock_now() - x->started > x->feature->timeout_ms * CLOCK_MS;

	if (lasts && x->state == XCHG_STREAMING && !x->breaking && !x->up->remote_end && !break_later(x, FAULT_DRAINED))
		break_now(x, FAULT_DRAINED);
}

static void on_attempt_closed(struct xchg *x)
{
	enum fault f = x->up->fault;

	if (x->state == XCHG_WAITING) {
		attempt_failed(x, f == FAULT_NONE ? FAULT_UPSTREAM_RESET : f);
	} else if (x->state == XCHG_STREAMING && f != FAULT_NONE && !x->up->remote_end) {
		/* A cut body must never look whole. */
		attempt_spoilt(x, f);
		x->fault = f;
		x->outcome = TM_FAILED;
		if (x->breaking)
			x->breaking = f;
		else if (!break_later(x, f))
			answer_break_off(x, f);
	}
	x->down->tunnel = false; /* nobody is there for the rest */
}

/* The endpoint has fallen silent: nothing is lost by asking another. */
static bool movable(const struct xchg *x)
{
	return x->state == XCHG_WAITING && !(x->replay_lost && x->down->received);
}

void xchg_on_up(struct h2_stream *st, uint32_t what)
{
	struct xchg *x = st->user;

	if (!CHECK(x && x->magic == XCHG_MAGIC))
		return;
	if (what & H2_CLOSED)
		x->attempts_open--;
	if (st == x->other.up && (what & (H2_HEAD | H2_CLOSED | H2_SILENT | H2_LOST | H2_DOUBTED | H2_INTERIM)))
		attempt_swap(x);
	if (st != x->up || x->state == XCHG_OVER) { /* nobody waits for this one any more */
		if ((what & H2_BODY) && st->in.len) {
			h2_consume(st, st->in.len);
			buf_clear(&st->in);
		}
		if ((what & H2_CLOSED) && st != x->up)
			h2_release(&st);
		settle(x);
		return;
	}
	if ((what & (H2_SILENT | H2_LOST)) && !(what & (H2_HEAD | H2_CLOSED)) && movable(x)) {
		on_silent(x, what & H2_LOST);
		settle(x);
		return;
	}
	if ((what & H2_DOUBTED) && !(what & (H2_HEAD | H2_CLOSED)) && x->state == XCHG_WAITING)
		hedge_start(x, false);
	if ((what & H2_INTERIM) && x->state == XCHG_WAITING && !pass_interims(x)) {
		attempt_failed(x, FAULT_UPSTREAM_BAD_RESPONSE);
		settle(x);
		return;
	}
	if ((what & H2_HEAD) && (what & H2_CLOSED) && x->state == XCHG_WAITING && st->fault != FAULT_NONE && !st->remote_end) {
		/* Begun and broken within one turn: nothing has left for the client, so it can
		 * still have a whole answer, or a clean status. */
		attempt_failed(x, st->fault);
		settle(x);
		return;
	}
	if ((what & H2_HEAD) && x->state == XCHG_WAITING) {
		if (st->fault == FAULT_UPSTREAM_BAD_RESPONSE || st->reset_sent) { /* or a part of the head is missing */
			attempt_failed(x, st->fault == FAULT_NO_MEMORY ? FAULT_NO_MEMORY : FAULT_UPSTREAM_BAD_RESPONSE);
			settle(x);
			return;
		}
		if (attempt_turned_away(x)) {
			x->ask.can_forward = true;
			if (!other_goes_on(x, FAULT_UPSTREAM_UNAVAILABLE))
				decide(x);
			settle(x);
			return;
		}
		on_head(x, (what & H2_END) && !st->in.len && !st->trailers);
	}
	if ((what & H2_BODY) && st->in.len)
		on_response_body(x);
	if ((what & H2_END) && x->state == XCHG_STREAMING)
		on_response_end(x);
	if (what & H2_SENT)
		credit(x->down, st->sent);
	if ((what & H2_DRAINED) && !(what & H2_CLOSED))
		on_drained(x);
	if (what & H2_CLOSED)
		on_attempt_closed(x);
	settle(x);
}
