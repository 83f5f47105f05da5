/* SPDX-License-Identifier: MIT */
#include "dc_test.h"

#define NOW (100 * CLOCK_SEC)
#define DRAWS 40000

static struct world w;

/* Three datacenters of two endpoints, weights 100 : 200 : 100, all up. */
static int set_up(void **state)
{
	int d;

	world_clear(&w);
	for (d = 0; d < 3; d++) {
		char name[2] = { (char)('a' + d), 0 };

		world_datacenter(&w, name, 100, d == 1 ? 200 : 100);
		world_endpoint(&w, 10);
		world_endpoint(&w, 10);
	}
	world_state(&w, DC_UP);
	return 0;
}

static int pick(uint64_t hash, uint64_t random, uint64_t tried)
{
	struct dc_want want = { hash, random, tried };

	return dc_pick(&w.conf, &w.live, &w.local, &want, NOW);
}

static unsigned datacenter_of(uint64_t hash)
{
	uint64_t random = hash ^ 0x5555;
	int e = pick(hash, cases_random(&random), 0);

	assert_true(e >= 0);
	return w.ep[e].datacenter;
}

static void spread(unsigned count[3])
{
	uint64_t seed = 5;
	unsigned i;

	memset(count, 0, 3 * sizeof(*count));
	for (i = 0; i < DRAWS; i++)
		count[datacenter_of(cases_random(&seed))]++;
}

/* Where the user wrote last: as long as somebody there may answer. */
static void a_fence_holds(void **state)
{
	static const struct {
		enum dc_state state;
		bool held;
	} table[] = { { DC_UP, true }, { DC_SUSPECT, true }, { DC_RESTORING, true }, { DC_PROBING, false }, { DC_DOWN, false }, { DC_DRAINED, false } };
	struct dc_want want = { .random = 1 };
	uint64_t seed = 9;
	unsigned i, home, first;
	int e;

	for (i = 0; i < 200; i++) {
		want.hash = cases_random(&seed);
		want.fence = 0;
		want.tried = 0;
		home = w.ep[dc_pick(&w.conf, &w.live, &w.local, &want, NOW)].datacenter;
		assert_int_equal(dc_home(&w.conf, want.hash), home);
		want.fence = (uint8_t)(1 + (home + 1) % 3);
		w.live.datacenter_state[want.fence - 1] = (uint8_t)table[i % 6].state;
		e = dc_pick(&w.conf, &w.live, &w.local, &want, NOW);
		assert_int_equal(w.ep[e].datacenter == want.fence - 1, table[i % 6].held);
		w.live.datacenter_state[want.fence - 1] = DC_UP;
		/* One endpoint there was tried: the other one. Both: elsewhere. */
		want.tried = UINT64_C(1) << w.dc[want.fence - 1].first_endpoint;
		e = dc_pick(&w.conf, &w.live, &w.local, &want, NOW);
		assert_int_equal(e, w.dc[want.fence - 1].first_endpoint + 1);
		want.tried |= want.tried << 1;
		e = dc_pick(&w.conf, &w.live, &w.local, &want, NOW);
		assert_int_equal(w.ep[e].datacenter, home);
	}
	/* A pause is waited for; but not by whom one of the two has kept waiting. */
	want.tried = 0;
	home = (unsigned)dc_home(&w.conf, want.hash);
	first = w.dc[want.fence - 1].first_endpoint;
	for (i = 0; i < 2; i++)
		dc_local_doubt(&w.local, first + i, NOW + 1);
	assert_int_equal(w.ep[dc_pick(&w.conf, &w.live, &w.local, &want, NOW)].datacenter, want.fence - 1);
	want.tried = UINT64_C(1) << first;
	assert_int_equal(w.ep[dc_pick(&w.conf, &w.live, &w.local, &want, NOW)].datacenter, home);
	dc_local_trust(&w.local, first + 1);
	assert_int_equal(dc_pick(&w.conf, &w.live, &w.local, &want, NOW), first + 1);
	/* One that fails us is as good as dead. */
	want.tried = 0;
	for (i = 0; i < 2; i++)
		dc_local_avoid(&w.local, first + i, NOW + 1);
	assert_int_equal(w.ep[dc_pick(&w.conf, &w.live, &w.local, &want, NOW)].datacenter, home);
}

static void plain_when_nobody_is_sent_away(void **state)
{
	assert_true(dc_plain(&w.conf, &w.live, &w.local, NOW));
	dc_local_doubt(&w.local, 3, NOW + 1);
	assert_false(dc_plain(&w.conf, &w.live, &w.local, NOW));
	assert_true(dc_plain(&w.conf, &w.live, &w.local, NOW + 1));
	w.live.share[1] = 9999;
	assert_false(dc_plain(&w.conf, &w.live, &w.local, NOW + 1));
	w.live.share[1] = 10000;
	w.live.datacenter_state[2] = DC_SUSPECT;
	assert_false(dc_plain(&w.conf, &w.live, &w.local, NOW + 1));
}

/* Within 4 % of the expected part (six sigma here). */
#define ASSERT_PART(n, of, part) assert_in_range((n), (uintmax_t)((of) * (part) * 0.96), (uintmax_t)((of) * (part) * 1.04))

static void weights_decide(void **state)
{
	unsigned n[3];

	spread(n);
	ASSERT_PART(n[0], DRAWS, 0.25);
	ASSERT_PART(n[1], DRAWS, 0.50);
	ASSERT_PART(n[2], DRAWS, 0.25);
	w.live.tier_share[1][0] = 5000; /* it keeps half of its own */
	spread(n);
	ASSERT_PART(n[1], DRAWS, 0.25);
	ASSERT_PART(n[0], DRAWS, 0.375);
}

/* Small differences are not lost in the fixed-point logarithm. */
static void weights_are_precise(void **state)
{
	unsigned n[3];

	w.dc[0].weight = 1;
	w.dc[1].weight = 999;
	w.dc[2].weight = 0;
	spread(n);
	assert_in_range(n[0], 10, 80); /* 40 expected */
	assert_int_equal(n[2], 0);
}

/* Consecutive numbers are users too. */
static void poor_hashes_spread(void **state)
{
	unsigned n[3] = { 0 }, i;

	for (i = 0; i < DRAWS; i++)
		n[datacenter_of(i)]++;
	ASSERT_PART(n[1], DRAWS, 0.5);
}

/* Losing one moves its own users only; halving a share moves a part of its own only. */
static void disruption_is_minimal(void **state)
{
	uint64_t seed = 7, hash;
	unsigned i, moved = 0;

	for (i = 0; i < DRAWS; i++) {
		unsigned before, after;

		hash = cases_random(&seed);
		world_state(&w, DC_UP);
		before = datacenter_of(hash);
		w.live.endpoint_state[2] = w.live.endpoint_state[3] = DC_DOWN;
		dc_assume(&w.conf, &w.live);
		after = datacenter_of(hash);
		assert_true(after != 1);
		if (before != 1)
			assert_int_equal(before, after);
		world_state(&w, DC_UP);
		w.live.tier_share[0][0] = 5000;
		after = datacenter_of(hash);
		if (before != 0)
			assert_int_equal(before, after);
		moved += before != after;
	}
	assert_true(moved > 0);
}

static bool crowded;

static int datacenter_for(uint64_t hash, unsigned tier, uint64_t tried)
{
	struct dc_want want = { .hash = hash, .random = hash * 77, .tried = tried, .crowded = crowded, .tier = (uint8_t)tier };
	int e = dc_pick(&w.conf, &w.live, &w.local, &want, NOW);

	return e < 0 ? -1 : w.ep[e].datacenter;
}

/* A share keeps so many of its own users and nobody else's; growing, it only adds to them. */
static void shares_are_exact(void **state)
{
	static uint8_t home[DRAWS], there[DRAWS];
	unsigned share, i, own = 0, n;
	int got;

	for (i = 0; i < DRAWS; i++)
		own += (home[i] = (uint8_t)datacenter_for(i, 0, 0)) == 0;
	w.live.datacenter_state[0] = DC_RESTORING;
	for (share = 0; share <= 10000; share += 1000) {
		w.live.tier_share[0][0] = (uint16_t)share;
		for (n = 0, i = 0; i < DRAWS; i++) {
			got = datacenter_for(i, 0, 0);
			if (got == 0) {
				assert_int_equal(home[i], 0);
				there[i] = 1;
				n++;
			} else {
				assert_false(there[i]);
				assert_true(got == home[i] || home[i] == 0);
			}
		}
		assert_in_range(n + 150, own * share / 10000, own * share / 10000 + 300); /* five sigma and more */
	}
	assert_int_equal(n, own);
}

/* What is brought back, or drained, gets nobody else's users: not by a loss elsewhere, not by a
 * retry, while something else can be tried. Then it gets them all. */
static void nobody_elses_users(void **state)
{
	uint64_t home_tried;
	unsigned hash;
	int home;

	for (hash = 0; hash < 2000; hash++) {
		world_state(&w, DC_UP);
		home = datacenter_for(hash, 0, 0);
		w.live.datacenter_state[0] = hash % 2 ? DC_RESTORING : DC_DRAINING;
		w.live.tier_share[0][0] = 5000;
		w.live.tier_share[0][1] = 0;
		assert_int_not_equal(datacenter_for(hash, 1, 0), 0); /* a lesser tier's turn has not come */
		if (home == 0)
			continue;
		assert_int_equal(datacenter_for(hash, 0, 0), home);
		home_tried = UINT64_C(3) << (2 * home);
		assert_int_equal(datacenter_for(hash, 0, home_tried), 3 - home);
		assert_int_equal(datacenter_for(hash, 0, 0x3c), 0);
		crowded = true; /* the others were not tried, but are full: for core only */
		assert_int_equal(datacenter_for(hash, 0, 0x3c), 0);
		assert_int_equal(datacenter_for(hash, 1, 0x3c), -1);
		crowded = false;
		w.live.datacenter_state[1] = w.live.datacenter_state[2] = DC_DOWN;
		assert_int_equal(datacenter_for(hash, 1, 0), 0);
		w.live.datacenter_state[0] = DC_PROBING; /* held */
		w.live.tier_share[0][0] = 0;
		assert_int_equal(datacenter_for(hash, 0, 0), 0);
		w.live.datacenter_state[home] = DC_SUSPECT;
		assert_int_equal(datacenter_for(hash, 0, 0), home); /* not on a mere suspicion */
		dc_local_failed(&w.local, 2, NOW);
		dc_local_failed(&w.local, 3, NOW);
		dc_local_failed(&w.local, 4, NOW);
		dc_local_failed(&w.local, 5, NOW);
		assert_int_equal(datacenter_for(hash, 0, 0), 0);
		memset(&w.local, 0, sizeof(w.local));
	}
}

static void order_does_not_matter(void **state)
{
	unsigned before[500], i;

	for (i = 0; i < 500; i++)
		before[i] = datacenter_of(i);
	strcpy(w.name[0], "c");
	strcpy(w.name[2], "a");
	for (i = 0; i < 500; i++)
		assert_int_equal(datacenter_of(i), before[i] == 1 ? 1 : 2 - before[i]);
}

static void endpoints_by_weight(void **state)
{
	unsigned i, n = 0;
	uint64_t seed = 3;

	w.ep[2].weight = 30;
	w.dc[0].weight = w.dc[2].weight = 0;
	for (i = 0; i < DRAWS; i++)
		n += pick(1, cases_random(&seed), 0) == 2;
	ASSERT_PART(n, DRAWS, 0.75);
}

/* The less loaded of two; equal load for its weight is no reason. */
static void load_decides(void **state)
{
	uint64_t seed = 3;
	unsigned i, n = 0;

	w.dc[0].weight = w.dc[2].weight = 0;
	w.local.in_flight[2] = 10;
	for (i = 0; i < 1000; i++)
		assert_int_equal(pick(1, cases_random(&seed), 0), 3);
	w.local.in_flight[2] = 0;
	w.local.latency[2] = 80e6;
	w.local.latency[3] = 10e6;
	w.local.learned[2] = w.local.learned[3] = NOW;
	for (i = 0; i < 1000; i++)
		assert_int_equal(pick(1, cases_random(&seed), 0), 3);
	/* ... but not for long: it may be quick by now. */
	w.local.learned[2] = NOW - 4 * CLOCK_SEC;
	for (i = 0; i < 1000; i++)
		n += pick(1, cases_random(&seed), 0) == 2;
	assert_int_equal(n, 1000);
	/* And never more than four times as loaded for it. */
	w.local.learned[2] = NOW;
	w.local.in_flight[3] = 10;
	for (i = 0; i < 1000; i++)
		assert_int_equal(pick(1, cases_random(&seed), 0), 2);
	w.local.learned[2] = w.local.learned[3] = NOW;
	w.ep[2].weight = 30;
	w.local.latency[2] = w.local.latency[3] = 10e6;
	w.local.in_flight[2] = 30;
	w.local.in_flight[3] = 10;
	for (n = 0, i = 0; i < DRAWS; i++)
		n += pick(1, cases_random(&seed), 0) == 2;
	ASSERT_PART(n, DRAWS, 0.75);
}

/* What the judge of outliers took away counts as if it had never had it. */
static void taken_away(void **state)
{
	uint64_t seed = 3;
	unsigned i, n = 0;

	w.dc[0].weight = w.dc[2].weight = 0;
	w.live.endpoint_away[2] = 9000;
	for (i = 0; i < DRAWS; i++)
		n += pick(1, cases_random(&seed), 0) == 2;
	ASSERT_PART(n, DRAWS, 1 / 11.0);
	assert_int_equal(pick(1, 1, UINT64_C(1) << 3), 2); /* better than nobody */
	/* Alike in load for what is left to it. */
	w.local.in_flight[2] = 1;
	w.local.in_flight[3] = 10;
	for (n = 0, i = 0; i < DRAWS; i++)
		n += pick(1, cases_random(&seed), 0) == 2;
	ASSERT_PART(n, DRAWS, 1 / 11.0);
	w.local.in_flight[2] = 5;
	for (i = 0; i < 1000; i++)
		assert_int_equal(pick(1, cases_random(&seed), 0), 3);
}

/* Who looks quick and has more than half again its part under way gets no more of it. */
static void loads_are_bounded(void **state)
{
	uint64_t seed = 3;
	unsigned i, n;
	int e;

	world_clear(&w);
	world_datacenter(&w, "a", 100, 100);
	for (i = 0; i < 4; i++) {
		world_endpoint(&w, 10);
		w.local.latency[i] = i ? 4e6 : 1e6;
		w.local.learned[i] = NOW;
		w.local.in_flight[i] = 2;
	}
	world_state(&w, DC_UP);
	for (n = 0, i = 0; i < 1000; i++)
		n += pick(1, cases_random(&seed), 0) == 0;
	assert_in_range(n, 400, 600); /* whenever it is drawn */
	w.local.in_flight[0] = 5;
	for (i = 0; i < 1000; i++)
		assert_true(pick(1, cases_random(&seed), 0) > 0);
	/* Somebody always has room. */
	for (n = 0; n < 20000; n++) {
		for (i = 0; i < 4; i++) {
			w.ep[i].weight = (uint16_t)(1 + cases_below(&seed, 1000));
			w.local.in_flight[i] = cases_below(&seed, 4) ? cases_below(&seed, 100) : 100000;
			w.live.endpoint_away[i] = cases_below(&seed, 2) ? 9800 : 0;
		}
		e = pick(1, cases_random(&seed), 0);
		assert_in_range(e, 0, 3);
	}
}

static void tried_ones_are_skipped(void **state)
{
	uint64_t hash;
	int first, second, third;

	for (hash = 0; hash < 200; hash++) {
		first = pick(hash, hash * 77, 0);
		second = pick(hash, hash * 77, UINT64_C(1) << first);
		assert_true(second >= 0 && second != first);
		/* Sound otherwise: the other endpoint of the same datacenter. */
		assert_int_equal(w.ep[first].datacenter, w.ep[second].datacenter);
		third = pick(hash, hash * 77, UINT64_C(1) << first | UINT64_C(1) << second);
		assert_true(third >= 0 && w.ep[third].datacenter != w.ep[first].datacenter);
		assert_int_equal(pick(hash, 0, 0x3f), -1);
	}
	assert_false(dc_any(&w.conf, &w.live, 0x3f));
	assert_true(dc_any(&w.conf, &w.live, 0x1f));
}

/* Half of what should work failed this worker: the whole datacenter looks bad. */
static void failing_datacenter_is_left(void **state)
{
	uint64_t hash;
	int first, second;

	for (hash = 0; hash < 200; hash++) {
		memset(&w.local, 0, sizeof(w.local));
		first = pick(hash, hash, 0);
		dc_local_failed(&w.local, (unsigned)first, NOW - 1);
		second = pick(hash, hash, UINT64_C(1) << first);
		assert_true(w.ep[second].datacenter != w.ep[first].datacenter);
		/* And so is the next request, which has tried nothing. */
		assert_true(w.ep[pick(hash, hash, 0)].datacenter != w.ep[first].datacenter);
	}
	/* What is known to be down does not count as failing now. */
	memset(&w.local, 0, sizeof(w.local));
	w.dc[0].weight = w.dc[2].weight = 1;
	w.dc[1].weight = 1000;
	w.live.endpoint_state[2] = DC_DOWN;
	dc_assume(&w.conf, &w.live);
	w.live.tier_share[1][0] = 10000;
	dc_local_failed(&w.local, 2, NOW);
	for (hash = 0, first = 0; hash < 100; hash++)
		first += pick(hash, 0, 0) == 3;
	assert_true(first > 90);
}

static void everything_bad_keeps_trying(void **state)
{
	unsigned i;
	uint64_t seed = 1;

	for (i = 0; i < 6; i++)
		dc_local_failed(&w.local, i, NOW);
	for (i = 0; i < 100; i++)
		assert_true(pick(cases_random(&seed), cases_random(&seed), 0) >= 0);
	world_state(&w, DC_SUSPECT);
	assert_true(pick(1, 1, 0) >= 0);
	world_state(&w, DC_PROBING);
	assert_true(pick(1, 1, 0) >= 0);
	/* Those the board calls down are not tried. */
	world_state(&w, DC_DOWN);
	assert_int_equal(pick(1, 1, 0), -1);
	assert_false(dc_any(&w.conf, &w.live, 0));
}

static void better_ones_first(void **state)
{
	uint64_t hash;

	for (hash = 0; hash < 100; hash++) {
		w.live.endpoint_state[0] = w.live.endpoint_state[1] = DC_SUSPECT;
		w.live.endpoint_state[2] = w.live.endpoint_state[3] = DC_PROBING;
		w.live.endpoint_state[4] = DC_DOWN;
		w.live.endpoint_state[5] = DC_UP;
		dc_assume(&w.conf, &w.live);
		memset(&w.local, 0, sizeof(w.local));
		assert_int_equal(pick(hash, hash, 0), 5);
		dc_local_failed(&w.local, 5, NOW);
		assert_true(pick(hash, hash, 0) < 4);
		dc_local_failed(&w.local, 0, NOW);
		dc_local_failed(&w.local, 2, NOW);
		assert_true(pick(hash, hash, 0) == 1 || pick(hash, hash, 0) == 3);
		assert_int_equal(pick(hash, hash, 0x0f), 5);
	}
}

static void standby_waits(void **state)
{
	unsigned n[3];

	w.dc[2].weight = 0;
	spread(n);
	assert_int_equal(n[2], 0);
	w.live.endpoint_state[0] = w.live.endpoint_state[1] = DC_DOWN;
	w.live.endpoint_state[2] = w.live.endpoint_state[3] = DC_SUSPECT;
	dc_assume(&w.conf, &w.live);
	spread(n);
	assert_int_equal(n[2], DRAWS);
}

static void drained_never(void **state)
{
	unsigned n[3];

	w.live.datacenter_state[1] = DC_DRAINED;
	spread(n);
	assert_int_equal(n[1], 0);
	w.live.endpoint_state[0] = w.live.endpoint_state[1] = DC_DOWN;
	w.live.endpoint_state[4] = w.live.endpoint_state[5] = DC_DOWN;
	dc_assume(&w.conf, &w.live);
	w.live.datacenter_state[1] = DC_DRAINED;
	assert_int_equal(pick(1, 1, 0), -1);
}

static void same_input_same_answer(void **state)
{
	uint64_t hash, random = 9;
	char text[25];

	for (hash = 0; hash < 1000; hash++) {
		uint64_t r = cases_random(&random);

		assert_int_equal(pick(hash, r, 0), pick(hash, r, 0));
	}
	/* As it was: nodes of different builds have to agree. */
	for (hash = 0; hash < 24; hash++)
		text[hash] = (char)('a' + datacenter_of(hash));
	text[24] = 0;
	assert_string_equal(text, "bbbbbabbabcabbbabcaccbbb");
}

static void waits_grow(void **state)
{
	struct dc_local *l = &w.local;
	int64_t now = NOW, wait, before = 0;
	int i;

	for (i = 0; i < 8; i++) {
		dc_local_failed(l, 0, now);
		wait = l->avoid_until[0] - now;
		assert_true(i < 4 ? wait > before : wait == before);
		before = wait;
		dc_local_failed(l, 0, now + 1); /* thirty streams of one connection */
		assert_int_equal(l->avoid_until[0] - now, wait);
		now = l->avoid_until[0];
	}
	assert_int_equal(before, 2 * CLOCK_SEC);
	dc_local_answered(l, 0, 8000, now, true);
	dc_local_failed(l, 0, now);
	assert_int_equal(l->avoid_until[0] - now, 250 * CLOCK_MS);
	dc_local_trust(l, 0);
	assert_int_equal(l->avoid_until[0], 0);
	dc_local_avoid(l, 0, now + 5);
	dc_local_avoid(l, 0, now + 4);
	assert_int_equal(l->avoid_until[0], now + 5);
	assert_int_equal(l->failures[0], 0);
	dc_local_answered(l, 0, 16000, now, true);
	assert_int_equal((int)l->latency[0], 9000);
	dc_local_answered(l, 0, 0, now, true);
	assert_int_equal((int)l->latency[0], 9000);
}

/* Five endpoints, each carrying 24 requests a second: what would wait for more than a second is
 * refused at once, and the first `broken` refuse everything. Returns the share of requests that
 * were refused, per mille; *worst: the longest wait. */
static unsigned simulate(unsigned rate, unsigned broken, int64_t *worst)
{
	enum { ENDPOINTS = 5, REQUESTS = 20000, PENDING = 1024 };
	struct { int64_t at, sent; int endpoint; bool well; } pending[PENDING] = { { 0 } }, *p;
	int64_t now = NOW, busy[ENDPOINTS] = { 0 }, wait;
	uint64_t seed = 11;
	unsigned i, k, refused = 0;

	*worst = 0;
	for (i = 0; i < REQUESTS; i++) {
		struct dc_want want = { .hash = 1, .random = cases_random(&seed) };

		now += (int64_t)(cases_random(&seed) % (2 * CLOCK_SEC / rate));
		for (k = 0; k < PENDING; k++) {
			p = &pending[k];
			if (!p->at || p->at > now)
				continue;
			w.local.in_flight[p->endpoint]--;
			dc_local_answered(&w.local, (unsigned)p->endpoint, p->at - p->sent, p->at, p->well);
			p->at = 0;
		}
		for (k = 0; k < PENDING && pending[k].at; k++)
			;
		assert_true(k < PENDING);
		p = &pending[k];
		p->endpoint = dc_pick(&w.conf, &w.live, &w.local, &want, now);
		assert_in_range(p->endpoint, 0, ENDPOINTS - 1);
		if (busy[p->endpoint] < now)
			busy[p->endpoint] = now;
		wait = busy[p->endpoint] - now + 5 * CLOCK_MS;
		p->well = (unsigned)p->endpoint >= broken && wait <= CLOCK_SEC;
		if (p->well) {
			busy[p->endpoint] += CLOCK_SEC / 24;
			*worst = wait > *worst ? wait : *worst;
		} else {
			refused++;
			wait = CLOCK_MS;
		}
		p->sent = now;
		p->at = now + wait;
		w.local.in_flight[p->endpoint]++;
	}
	return refused * 1000 / REQUESTS;
}

/* Random bursts do not send everybody to one endpoint; one that answers nothing but errors, and
 * that at once, is not the quick one to be preferred. */
static void no_herd(void **state)
{
	int64_t worst;

	world_clear(&w);
	world_datacenter(&w, "a", 100, 100);
	while (w.conf.endpoints < 5)
		world_endpoint(&w, 1);
	world_state(&w, DC_UP);
	assert_int_equal(simulate(50, 0, &worst), 0);
	assert_true(worst < 400 * CLOCK_MS);
	memset(&w.local, 0, sizeof(w.local));
	assert_true(simulate(50, 1, &worst) < 120); /* less than its part, 200 */
	assert_true(worst < 600 * CLOCK_MS);
}

/* Limits of everything: 64 endpoints, weights at their ends, no endpoint at all. */
static void edges(void **state)
{
	unsigned i;
	uint64_t seed = 2;

	world_clear(&w);
	assert_int_equal(pick(1, 1, 0), -1);
	world_datacenter(&w, "empty", 1, 1000);
	world_datacenter(&w, "full", 1, 1);
	for (i = 0; i < CONF_MAX_ENDPOINTS; i++)
		world_endpoint(&w, i % 2 ? 1 : 1000);
	world_state(&w, DC_UP);
	for (i = 0; i < 1000; i++)
		assert_in_range(pick(i, i == 0 ? 0 : i == 1 ? UINT64_MAX : cases_random(&seed), 0), 0, 63);
	assert_int_equal(pick(1, UINT64_MAX, ~(UINT64_C(1) << 63)), 63);
	assert_int_equal(pick(1, 0, ~UINT64_C(0)), -1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
		T(weights_decide), T(weights_are_precise), T(poor_hashes_spread), T(disruption_is_minimal), T(shares_are_exact), T(nobody_elses_users),
		T(order_does_not_matter), T(endpoints_by_weight), T(load_decides), T(taken_away), T(loads_are_bounded), T(tried_ones_are_skipped),
		T(failing_datacenter_is_left), T(everything_bad_keeps_trying), T(better_ones_first), T(standby_waits),
		T(drained_never), T(same_input_same_answer), T(waits_grow), T(no_herd), T(edges),
		T(a_fence_holds), T(plain_when_nobody_is_sent_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
