/* SPDX-License-Identifier: MIT */
/*
 * The table of the read fence, and its use.
 *
 * A slot is three words. Its writer takes `stands` away before it gives the slot to another
 * user, and gives it back last; a reader looks at both before and after. So what it reads is
 * its user's, unless the slot changed hands twice within the same millisecond and between two
 * instructions of the reader. A worker killed in between loses one fence.
 *
 * The steady state: nobody's fence is away from home, and every datacenter takes its own
 * users. Then each read goes where its fence is anyway, and no table is looked at.
 */
#include "fence.h"

#include <string.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "xchg_private.h"

#define PLACE_BITS 24

/* ---- the table ---- */

static uint64_t get(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static void set(_Atomic uint64_t *word, uint64_t v)
{
	atomic_store_explicit(word, v, memory_order_release);
}

uint32_t fence_place(const char *datacenter)
{
	return (uint32_t)crypt_hash64(datacenter, strlen(datacenter), 0) & ((1u << PLACE_BITS) - 1);
}

static struct board_fence *slots_of(struct board_worker *part, uint64_t user)
{
	return part->fence[user % BOARD_FENCE_SETS];
}

bool fence_put(struct board_worker *part, uint64_t user, const struct fence *f, bool away, uint64_t now_ms)
{
	struct board_fence *slot = slots_of(part, user), *s = slot;
	bool evicted = false;
	unsigned i;

	/* His own, else the one that ends, or ended, first. */
	for (i = 0; i < BOARD_FENCE_WAYS && get(&s->user) != user; i++) {
		if (get(&slot[i].user) == user || get(&slot[i].stands) < get(&s->stands))
			s = &slot[i];
	}
	if (get(&s->user) != user) {
		evicted = get(&s->stands) >> PLACE_BITS > now_ms;
		set(&s->stands, 0);
		set(&s->user, user);
	}
	set(&s->version, f->version);
	set(&s->stands, f->until << PLACE_BITS | f->place);
	if (away && f->until > get(&part->away_until))
		set(&part->away_until, f->until);
	return evicted;
}

static bool find_in(struct board_worker *part, uint64_t user, struct fence *f)
{
	const struct board_fence *s = slots_of(part, user);
	uint64_t stands;
	unsigned i;

	for (i = 0; i < BOARD_FENCE_WAYS && get(&s->user) != user; i++)
		s++;
	if (i == BOARD_FENCE_WAYS)
		return false;
	stands = get(&s->stands);
	*f = (struct fence){ stands >> PLACE_BITS, get(&s->version), (uint32_t)stands & ((1u << PLACE_BITS) - 1) };
	return get(&s->user) == user && get(&s->stands) == stands;
}

bool fence_find(struct board *b, uint64_t user, uint64_t now_ms, struct fence *f)
{
	struct fence one;
	unsigned w;

	f->until = now_ms;
	for (w = 0; w < board_workers(b); w++) {
		if (find_in(board_worker(b, w), user, &one) && one.until > f->until)
			*f = one;
	}
	return f->until > now_ms;
}

bool fence_any_away(struct board *b, uint64_t now_ms)
{
	unsigned w;

	for (w = 0; w < board_workers(b); w++) {
		if (get(&board_worker(b, w)->away_until) > now_ms)
			return true;
	}
	return false;
}

bool fence_reached(struct board *b, uint64_t generation, unsigned datacenter, uint64_t version)
{
	unsigned w;

	for (w = 0; w < board_workers(b); w++) {
		struct board_worker *part = board_worker(b, w);

		if (atomic_load(&part->generation) == generation && get(&part->reached[datacenter]) >= version)
			return true;
	}
	return false;
}

/* ---- its use ---- */

/* Keyed: nobody can tell whose fences share a set with another's, and push those out. */
static uint64_t user_of(const struct xchg *x)
{
	uint64_t seed, user;

	memcpy(&seed, x->w->secret, sizeof(seed));
	user = crypt_hash64(&x->want.hash, sizeof(x->want.hash), seed);
	return user ? user : 1;
}

static uint64_t now_ms(void)
{
	return (uint64_t)(clock_now() / CLOCK_MS);
}

/* Every gRPC call is a POST: those of features that keep recent state count as reads. */
static bool reads(const struct xchg *x)
{
	return x->ask.readable || (x->grpc && x->feature->keep_state);
}

/* Anything but reads, the other safe methods (RFC 9110 9.2.1), and tunnels. */
static bool writes(const struct xchg *x)
{
	return !reads(x) && !x->connect && !(x->method_len == 7 && !memcmp(x->method, "OPTIONS", 7)) &&
	       !(x->method_len == 5 && !memcmp(x->method, "TRACE", 5));
}

static bool in_use(const struct conf *c)
{
	return c->fence.time_ms && c->datacenters > 1;
}

static int datacenter_at(const struct snapshot *s, uint32_t place)
{
	unsigned d;

	for (d = 0; d < s->conf->datacenters; d++) {
		if (s->place[d] == place)
			return (int)d;
	}
	return -1;
}

void fence_follow(struct xchg *x, uint64_t full)
{
	struct worker *w = x->w;
	const struct conf *c = w->snap->conf;
	struct dc_want want;
	int there, otherwise;
	struct fence f;

	x->want.fence = 0;
	if (!in_use(c) || !reads(x) || (dc_pool_plain(w->pool) && !fence_any_away(w->board, now_ms())))
		return;
	if (!fence_find(w->board, user_of(x), now_ms(), &f) || (there = datacenter_at(w->snap, f.place)) < 0)
		return;
	want = x->want;
	want.tried |= full;
	otherwise = dc_pool_where(w->pool, &want);
	if (otherwise == there || otherwise < 0 || (f.version && fence_reached(w->board, c->generation, (unsigned)otherwise, f.version)))
		return;
	want.fence = x->want.fence = (uint8_t)(there + 1);
	if (dc_pool_where(w->pool, &want) != there)
		return; /* nobody is there */
	x->decision.why = DEGRADE_WHY_FENCED;
	tm_add(&w->part->tm, TM_FENCE_READS, 1);
}

bool fence_binds(const struct xchg *x)
{
	const struct conf *c = x->via->conf;
	struct fence f;

	return in_use(c) && reads(x) && x->endpoint >= 0 && fence_find(x->w->board, user_of(x), now_ms(), &f) &&
	       f.place == x->via->place[c->endpoint[x->endpoint].datacenter];
}

/* The backend's number in its answer: up to 19 digits; anything else is none. */
static uint64_t version_of(const struct xchg *x, const char *name)
{
	size_t len = name ? strlen(name) : 0, k;
	const struct h2_head *h = x->up ? x->up->head : NULL;
	int i;

	for (i = 0; name && h && i < h->count; i++) {
		const struct h2_field *f = &h->field[i];

		if (f->name_len != len || memcmp(f->name, name, len))
			continue;
		for (k = 0; k < f->value_len && f->value[k] >= '0' && f->value[k] <= '9'; k++)
			;
		return k == f->value_len && k <= 19 ? decimal(f) : 0;
	}
	return 0;
}

/* A client error is a refusal; any other answer, and none, may have written. */
static bool may_have_written(const struct xchg *x, enum fault fault)
{
	if (x->head_at)
		return x->status < 400 || x->status >= 500;
	return fault_info(fault)->retry != FAULT_RETRY_SAFE;
}

static void wrote(struct xchg *x)
{
	const struct conf *c = x->via->conf;
	unsigned d = c->endpoint[x->endpoint].datacenter;
	struct fence f = { now_ms() + c->fence.time_ms, version_of(x, c->fence.version_header), x->via->place[d] };

	if (fence_put(x->w->part, user_of(x), &f, dc_home(c, x->want.hash) != (int)d, now_ms()))
		tm_add(&x->w->part->tm, TM_FENCE_EVICTIONS, 1);
}

void fence_heard(struct xchg *x, enum fault fault)
{
	const struct conf *c = x->via->conf;
	_Atomic uint64_t *reached;
	uint64_t version;

	if (!in_use(c) || x->endpoint < 0)
		return;
	if (writes(x)) {
		if (may_have_written(x, fault))
			wrote(x);
	} else if (c->fence.version_header && x->head_at && x->status < 400 && x->via == x->w->snap) {
		reached = &x->w->part->reached[c->endpoint[x->endpoint].datacenter];
		version = version_of(x, c->fence.version_header);
		if (version > get(reached))
			set(reached, version);
	}
}
