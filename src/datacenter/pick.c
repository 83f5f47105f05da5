/* SPDX-License-Identifier: MIT */
/*
 * Where a request goes. Pure, without libm: scores are fixed-point integers, so that
 * every node makes the same choice.
 *
 *   datacenters ranked:  sound  >  sound, but this user is beyond its share
 *                        >  has an endpoint worth trying
 *                        >  beyond the share while users are moved to or from it, or held
 *                        >  only doubted endpoints  >  only avoided ones
 *   within a rank:       weighted rendezvous hash of want->hash
 *   within it:           of the endpoints that do not have too much under way already two
 *                        drawn by weight, the less loaded one
 */
#include "firebreak/clock.h"
#include "firebreak/dc_machine.h"
#include "firebreak/degrade.h"

__extension__ typedef unsigned __int128 uint128;

#define AVOID_LEAST (250 * CLOCK_MS)
#define AVOID_MOST  (2 * CLOCK_SEC)
#define ERROR_LIKE  CLOCK_SEC /* an error answer counts as one that took this long */
#define TIMES_MOST  4         /* latency makes an endpoint no more than so many times as loaded */

enum rank { SOUND, CROWDED, WORTH_TRYING, HELD, DOUBTED, AVOIDED, UNUSABLE };

/* ---- what a worker remembers ---- */

void dc_local_failed(struct dc_local *l, unsigned endpoint, int64_t now)
{
	unsigned n = l->failures[endpoint];

	/* Thirty streams of one lost connection are one failure. */
	if (n && now < l->avoid_until[endpoint])
		return;
	l->failures[endpoint] = (uint16_t)(n < 16 ? n + 1 : n);
	l->avoid_until[endpoint] = now + (n < 3 ? AVOID_LEAST << n : AVOID_MOST);
}

/* What was learned is worth half a second later (half-life 1 s; between whole seconds a
 * straight line): who was slow once is asked again. */
static double latency(const struct dc_local *l, unsigned endpoint, int64_t now)
{
	int64_t age = now - l->learned[endpoint];
	unsigned seconds = age > 0 ? (unsigned)(age / CLOCK_SEC) : 0;

	if (seconds > 40)
		seconds = 40;
	return l->latency[endpoint] / (double)(UINT64_C(1) << seconds) * (1 - (double)(age > 0 ? age % CLOCK_SEC : 0) / (2 * CLOCK_SEC));
}

void dc_local_slow(struct dc_local *l, unsigned endpoint, int64_t latency_ns, int64_t now)
{
	double before = latency(l, endpoint, now);

	l->latency[endpoint] = before > 0 ? before + ((double)latency_ns - before) / 8 : (double)latency_ns;
	l->learned[endpoint] = now;
}

void dc_local_answered(struct dc_local *l, unsigned endpoint, int64_t latency_ns, int64_t now, bool well)
{
	l->failures[endpoint] = 0;
	/* Who is over its capacity is quick to say so, and must not draw more for it. */
	if (latency_ns > 0)
		dc_local_slow(l, endpoint, !well && latency_ns < ERROR_LIKE ? ERROR_LIKE : latency_ns, now);
}

void dc_local_avoid(struct dc_local *l, unsigned endpoint, int64_t until)
{
	if (l->avoid_until[endpoint] < until)
		l->avoid_until[endpoint] = until;
}

void dc_local_doubt(struct dc_local *l, unsigned endpoint, int64_t until)
{
	l->doubt_until[endpoint] = until;
}

void dc_local_trust(struct dc_local *l, unsigned endpoint)
{
	l->failures[endpoint] = 0;
	l->avoid_until[endpoint] = 0;
	l->doubt_until[endpoint] = 0;
}

/* ---- ranks ---- */

static enum rank opinion(const struct dc_local *local, unsigned i, int64_t now, enum rank otherwise)
{
	return local->avoid_until[i] > now ? AVOIDED : local->doubt_until[i] > now ? DOUBTED : otherwise;
}

static enum rank rank_endpoint(const struct dc_live *live, const struct dc_local *local, uint64_t tried, unsigned i,
			       int64_t now)
{
	if (tried >> i & 1)
		return UNUSABLE;
	switch (live->endpoint_state[i]) {
	case DC_UP:
	case DC_RESTORING:
		return opinion(local, i, now, SOUND);
	case DC_SUSPECT:
	case DC_PROBING:
		return opinion(local, i, now, WORTH_TRYING);
	default:
		return UNUSABLE;
	}
}

static bool takes_traffic(const struct dc_live *live, unsigned d)
{
	return live->datacenter_state[d] != DC_DOWN && live->datacenter_state[d] != DC_DRAINED;
}

/* It serves as it should, if perhaps not everybody. */
static bool sound(enum dc_state s)
{
	return s == DC_UP || s == DC_RESTORING || s == DC_DRAINING;
}

/* The rank of its best endpoint. A datacenter that is not sound itself, or in which half
 * of what should work failed a moment ago, is not: go elsewhere first. */
static enum rank rank_datacenter(const struct conf *c, const struct dc_live *live, const struct dc_local *local,
				 uint64_t tried, unsigned d, int64_t now)
{
	const struct conf_datacenter *dc = &c->datacenter[d];
	unsigned i, usable = 0, failing = 0;
	enum rank best = UNUSABLE, r;

	if (!takes_traffic(live, d))
		return UNUSABLE;
	for (i = dc->first_endpoint; i < (unsigned)dc->first_endpoint + dc->endpoints; i++) {
		r = rank_endpoint(live, local, 0, i, now);
		if (r == UNUSABLE)
			continue;
		usable++;
		failing += opinion(local, i, now, SOUND) != SOUND;
		if (!(tried >> i & 1) && r < best)
			best = r;
	}
	if (best == SOUND && (2 * failing >= usable || !sound((enum dc_state)live->datacenter_state[d])))
		return WORTH_TRYING;
	return best;
}

/* ---- weighted rendezvous ---- */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* -log2(u / 2^64) with 24 fractional bits, one bit per squaring; never 0. */
static uint64_t minus_log2(uint64_t u)
{
	unsigned zeros, i;
	uint64_t fraction = 0;

	u |= 1;
	zeros = (unsigned)__builtin_clzll(u);
	u <<= zeros;
	for (i = 0; i < 24; i++) {
		u = (uint64_t)((uint128)u * u >> 64);
		fraction <<= 1;
		if (u >> 63)
			fraction |= 1;
		else
			u <<= 1;
	}
	return ((uint64_t)(zeros + 1) << 24) - fraction;
}

/* Weighted rendezvous (Thaler and Ravishankar; the logarithm makes shares
 * proportional to weights, and a change of one weight moves only its own users): the
 * least of -log(hash) / weight wins. Weight 0 loses to any other. */
struct score {
	uint64_t distance, weight;
};

static bool nearer(struct score a, struct score b)
{
	if (!a.weight || !b.weight)
		return a.weight ? true : b.weight ? false : a.distance < b.distance;
	return a.distance * b.weight < b.distance * a.weight;
}

/* By name, so that the order in the configuration does not matter. */
static struct score score(const struct conf_datacenter *dc, uint64_t user)
{
	return (struct score){ minus_log2(mix(user ^ mix(dc_name_hash(dc->name)))), dc->weight };
}

/* It takes its own users only, or not even them: unless nothing else is left. */
static bool reserved(enum dc_state s)
{
	return s == DC_RESTORING || s == DC_DRAINING || s == DC_PROBING;
}

/* Whether its share has room for this user: its own by a hash that has nothing to do with the
 * one of his order, others by the same, but none while its own are moved. */
static bool admits(const struct conf *c, const struct dc_live *live, const struct dc_want *want, unsigned d, bool home)
{
	uint16_t share = live->tier_share[d][want->tier % CONF_MAX_TIERS];

	if (!home && reserved((enum dc_state)live->datacenter_state[d]))
		return false;
	return share >= DEGRADE_FULL || mix(mix(want->hash) + dc_name_hash(c->datacenter[d].name)) % DEGRADE_FULL < share;
}

static int nearest(const struct conf *c, const struct score *s, const enum rank *rank, enum rank of)
{
	int found = -1;
	unsigned d;

	for (d = 0; d < c->datacenters; d++)
		if ((!rank || rank[d] == of) && (found < 0 || nearer(s[d], s[found])))
			found = (int)d;
	return found;
}

uint64_t dc_endpoints(const struct conf_datacenter *dc)
{
	return (dc->endpoints < 64 ? (UINT64_C(1) << dc->endpoints) - 1 : UINT64_MAX) << dc->first_endpoint;
}

/* What was written there is not to be asked for elsewhere while anybody there may answer; after
 * a try there in vain, anybody of whom there is no doubt: they may all be silent. */
static bool fence_stands(const struct conf *c, const struct dc_live *live, const struct dc_local *local, const struct dc_want *want,
			 int64_t now)
{
	unsigned d = want->fence - 1u;

	return want->fence && d < c->datacenters && live->datacenter_state[d] != DC_PROBING &&
	       rank_datacenter(c, live, local, want->tried, d, now) < (want->tried & dc_endpoints(&c->datacenter[d]) ? DOUBTED : AVOIDED);
}

static int pick_datacenter(const struct conf *c, const struct dc_live *live, const struct dc_local *local,
			   const struct dc_want *want, int64_t now)
{
	enum rank rank[CONF_MAX_DATACENTERS], best = UNUSABLE, beyond;
	struct score s[CONF_MAX_DATACENTERS] = { { 0, 0 } };
	unsigned d;
	int home;

	if (fence_stands(c, live, local, want, now))
		return want->fence - 1;
	if (c->datacenters == 1)
		return rank_datacenter(c, live, local, want->tried, 0, now) == UNUSABLE ? -1 : 0;
	for (d = 0; d < c->datacenters; d++)
		s[d] = score(&c->datacenter[d], want->hash);
	home = nearest(c, s, NULL, SOUND);
	if (want->tier && live->dissent >> home & 1)
		return rank_datacenter(c, live, local, want->tried, (unsigned)home, now) == UNUSABLE ? -1 : home;
	for (d = 0; d < c->datacenters; d++) {
		rank[d] = rank_datacenter(c, live, local, want->tried, d, now);
		beyond = live->datacenter_state[d] == DC_UP ? CROWDED : HELD;
		if (want->crowded && want->tier && reserved((enum dc_state)live->datacenter_state[d]))
			beyond = UNUSABLE;
		if (rank[d] < beyond && !admits(c, live, want, d, (int)d == home))
			rank[d] = beyond;
		if (rank[d] < best)
			best = rank[d];
	}
	return best == UNUSABLE ? -1 : nearest(c, s, rank, best);
}

/* ---- endpoint ---- */

/* What the outliers' judge has left of it. */
static uint64_t weight_of(const struct conf *c, const struct dc_live *live, int i)
{
	return (uint64_t)c->endpoint[i].weight * (DEGRADE_FULL - (unsigned)live->endpoint_away[i]);
}

/* Draws one of the candidates by weight. */
static int draw(const struct conf *c, const struct dc_live *live, uint64_t candidates, uint32_t random)
{
	uint64_t left, sum = 0;
	uint64_t at;

	for (left = candidates; left; left &= left - 1)
		sum += weight_of(c, live, __builtin_ctzll(left));
	at = sum * random >> 32;
	for (left = candidates; left; left &= left - 1) {
		int i = __builtin_ctzll(left);

		if (at < weight_of(c, live, i))
			return i;
		at -= weight_of(c, live, i);
	}
	return -1;
}

/* Bounded loads (Mirrokni, Thorup and Zadimoghaddam): nobody gets more than half again its
 * part, by weight, of what is under way, this request included. Whoever is slow has it for
 * long, so it is not sent more however the dice fall. Some candidate is always left. */
static uint64_t not_full(const struct conf *c, const struct dc_live *live, const struct dc_local *local, uint64_t candidates)
{
	uint64_t left, weight = 0, under_way = 1;

	for (left = candidates; left; left &= left - 1) {
		weight += weight_of(c, live, __builtin_ctzll(left));
		under_way += local->in_flight[__builtin_ctzll(left)];
	}
	for (left = candidates; left; left &= left - 1) {
		int i = __builtin_ctzll(left);

		if (local->in_flight[i] && 2 * weight * local->in_flight[i] >= 3 * under_way * weight_of(c, live, i))
			candidates &= ~(UINT64_C(1) << i);
	}
	return candidates;
}

/* How long a request would take there: latency grown by what is under way, for its
 * part of the pair's weight. */
static double load(const struct conf *c, const struct dc_live *live, const struct dc_local *local, int i, int other, double latency)
{
	double own = (double)weight_of(c, live, i), part = own / (own + (double)weight_of(c, live, other));

	return latency * (1 + local->in_flight[i] / (2 * part));
}

/* Power of two choices. What is under way is known; latency is of the past, so it only
 * counts up to a bound: else all would run to the one that was quick a moment ago, long
 * after it is not. Loads within a quarter of each other are equal: then the first, drawn by
 * weight, has it. */
static int less_loaded(const struct conf *c, const struct dc_live *live, const struct dc_local *local, int a, int b, int64_t now)
{
	double la = latency(local, (unsigned)a, now), lb = latency(local, (unsigned)b, now);

	if (la <= 0 || lb <= 0)
		la = lb = 1;
	if (la > TIMES_MOST * lb)
		la = TIMES_MOST * lb;
	if (lb > TIMES_MOST * la)
		lb = TIMES_MOST * la;
	return load(c, live, local, b, a, lb) * 1.25 < load(c, live, local, a, b, la) ? b : a;
}

static int pick_endpoint(const struct conf *c, const struct dc_live *live, const struct dc_local *local,
			 const struct dc_want *want, unsigned d, int64_t now)
{
	const struct conf_datacenter *dc = &c->datacenter[d];
	uint64_t candidates[UNUSABLE] = { 0 }, from;
	enum rank r, best = UNUSABLE;
	unsigned i;
	int a, b;

	for (i = dc->first_endpoint; i < (unsigned)dc->first_endpoint + dc->endpoints; i++) {
		r = rank_endpoint(live, local, want->tried, i, now);
		if (r == UNUSABLE)
			continue;
		candidates[r] |= UINT64_C(1) << i;
		if (r < best)
			best = r;
	}
	if (best == UNUSABLE)
		return -1;
	from = not_full(c, live, local, candidates[best]);
	a = draw(c, live, from, (uint32_t)want->random);
	if (a < 0)
		return a;
	from &= ~(UINT64_C(1) << a);
	if (!from)
		return a;
	b = draw(c, live, from, (uint32_t)(want->random >> 32));
	return b < 0 ? a : less_loaded(c, live, local, a, b, now);
}

int dc_pick(const struct conf *c, const struct dc_live *live, const struct dc_local *local,
	    const struct dc_want *want, int64_t now)
{
	int d = pick_datacenter(c, live, local, want, now);

	return d < 0 ? -1 : pick_endpoint(c, live, local, want, (unsigned)d, now);
}

int dc_home(const struct conf *c, uint64_t hash)
{
	struct score s[CONF_MAX_DATACENTERS] = { { 0, 0 } };
	unsigned d;

	for (d = 0; d < c->datacenters; d++)
		s[d] = score(&c->datacenter[d], hash);
	return nearest(c, s, NULL, SOUND);
}

bool dc_stays(const struct conf *c, const struct dc_live *live, const struct dc_want *want)
{
	return want->tier && live->dissent && c->datacenters > 1 && live->dissent >> dc_home(c, want->hash) & 1;
}

bool dc_plain(const struct conf *c, const struct dc_live *live, const struct dc_local *local, int64_t now)
{
	unsigned d, i;

	for (d = 0; d < c->datacenters; d++)
		if (live->datacenter_state[d] != DC_UP || live->share[d] < DEGRADE_FULL)
			return false;
	for (i = 0; i < c->endpoints; i++)
		if (opinion(local, i, now, SOUND) != SOUND)
			return false;
	return true;
}

bool dc_any(const struct conf *c, const struct dc_live *live, uint64_t tried)
{
	static const struct dc_local nothing_known;
	unsigned d;

	for (d = 0; d < c->datacenters; d++)
		if (rank_datacenter(c, live, &nothing_known, tried, d, 0) != UNUSABLE)
			return true;
	return false;
}
