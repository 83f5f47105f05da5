/* SPDX-License-Identifier: MIT */
/*
 * Who is worse than the others, and what of its share it keeps. Pure; control looks
 * some four times a second.
 *
 *                 worse: half is taken away (far worse: seven eighths)
 *      full ───────────────────────────────────────────────────────▶ less ... FLOOR
 *       ▲                                                              │
 *       └── a hold without a verdict or a doubt: twice as much ────────┘
 *           (a relapse on the way makes the hold half as long again)
 *
 * Worse than the others is who differs from their upper median, that is, from the worst
 * of the better half: when half of a group or more is bad alike, nobody differs. It must
 * differ by a margin that matters and by four standard errors, so that few requests prove
 * nothing; a verdict uses evidence up, so that the next step needs new. For a doubt, which
 * only delays the way back, the margin is enough: few get there. The windows end
 * now and are the same for all that are compared: a common cause is in all of them.
 *
 * Errors are compared with the others at once. Latency too, among the endpoints of one
 * datacenter; a datacenter may always have been farther away, so its slowness is what
 * goes beyond its own usual (of about the last minutes), against the same of the others.
 *
 * Endpoints are judged first, a datacenter after a second at the least, by the better half
 * of those of its endpoints nothing is taken from: what ails the worse half is judged within.
 */
#include "firebreak/clock.h"
#include "firebreak/dc.h"
#include "firebreak/dc_outlier.h"
#include "firebreak/degrade.h"

/* ---- what a request tells ---- */

#define QUICK      (4 * CLOCK_MS) /* differences below this are of no interest */
#define OCTAVE     65536
#define STEEP      (16 * OCTAVE)  /* one request says no more than so much */
#define LEARN      64             /* a feature's usual: mean of about so many requests */

/* log2 in 1/65536, a straight line between powers of two (never 9 % off). */
static int32_t log2_of(uint64_t x)
{
	unsigned whole = 63 - (unsigned)__builtin_clzll(x | 1);
	uint64_t rest = whole >= 16 ? x >> (whole - 16) : x << (16 - whole);

	return (int32_t)(whole << 16 | (rest & 0xffff));
}

void dc_usual_note(struct dc_usual *u, unsigned feature, int64_t latency_ns, bool bad, struct dc_traffic *t)
{
	int32_t *usual = &u->latency[feature], took, more;

	u->errors[feature] += bad ? (OCTAVE - u->errors[feature]) / LEARN : 0;
	u->errors[feature] -= bad ? 0 : u->errors[feature] / LEARN;
	t->errors_usual += u->errors[feature];
	if (bad) {
		t->errors++;
		return;
	}
	took = log2_of((uint64_t)(latency_ns > QUICK ? latency_ns : QUICK));
	if (!*usual)
		*usual = took;
	more = took - *usual;
	*usual += more / LEARN;
	more = (more > STEEP ? STEEP : more < -STEEP ? -STEEP : more) / 256;
	t->well++;
	t->slow += more;
	t->slow_squared += (uint64_t)((int64_t)more * more);
}

/* ---- comparing ---- */

#define REQUESTS     16   /* fewer prove nothing */
#define ERRORS       3
#define MARGIN       0.10 /* part of the requests that fails, more than of the others' */
#define FAR_MARGIN   0.25
#define SLOWER       1.5  /* octaves: 2.8 times as slow */
#define FAR_SLOWER   3.0
#define SIGMA2       16.0 /* four standard errors, squared */
#define LEAST_SPREAD 0.25 /* variance of latency, octaves squared, however alike a few are */
#define LOOKS_BAD    0.5  /* part of the requests that fails, of something that looks bad by itself */

/* One member over one window. */
struct sum {
	double n, errors, excess, well, slow, variance; /* excess: part of n beyond the usual; slow: mean, octaves */
};

static void add(struct dc_traffic *sum, const struct dc_traffic *t)
{
	sum->well += t->well;
	sum->errors += t->errors;
	sum->errors_usual += t->errors_usual;
	sum->slow += t->slow;
	sum->slow_squared += t->slow_squared;
}

static struct sum summed(const struct dc_traffic *t, double usual)
{
	struct sum s = { .n = (double)t->well + (double)t->errors, .errors = (double)t->errors, .well = (double)t->well };

	if (s.n > 0)
		s.excess = (s.errors - (double)t->errors_usual / OCTAVE) / s.n;
	if (s.well > 0) {
		double mean = (double)t->slow / 256 / s.well;

		s.variance = (double)t->slow_squared / 65536 / s.well - mean * mean;
		s.slow = mean - usual;
	}
	if (s.variance < LEAST_SPREAD)
		s.variance = LEAST_SPREAD;
	return s;
}

static double by_errors(const struct sum *s) { return s->excess; }
static double by_slowness(const struct sum *s) { return s->slow; }
static double requests(const struct sum *s) { return s->n; }
static double timed(const struct sum *s) { return s->well; }

struct group {
	unsigned n;
	struct dc_member *member[CONF_MAX_ENDPOINTS];
	double weight[CONF_MAX_ENDPOINTS], least[CONF_MAX_ENDPOINTS]; /* least: requests that say something */
	bool usable[CONF_MAX_ENDPOINTS];
	struct sum sum[CONF_MAX_ENDPOINTS];
	double score[CONF_MAX_ENDPOINTS]; /* how much worse, beyond doubt; 0: not */
	double size[CONF_MAX_ENDPOINTS];  /* the same as it looks, most recently or over all; 1: far */
	bool doubt[CONF_MAX_ENDPOINTS];
};

/* The upper median of the others with enough to say; NULL unless these are half of the
 * others that are heard of and have their share: it is most of them one has to be worse than. */
static const struct sum *median(const struct group *g, unsigned own, double (*value)(const struct sum *), double (*count)(const struct sum *))
{
	unsigned i, k, others = 0, heard = 0;

	for (i = 0; i < g->n; i++) {
		bool enough = i != own && count(&g->sum[i]) >= g->least[i];

		others += enough;
		heard += enough || (i != own && g->sum[i].n > 0 && g->member[i]->share == DEGRADE_FULL);
	}
	if (2 * others < heard)
		return NULL;
	for (i = 0; i < g->n; i++) {
		unsigned below = 0;

		if (i == own || count(&g->sum[i]) < g->least[i])
			continue;
		for (k = 0; k < g->n; k++)
			if (k != own && k != i && count(&g->sum[k]) >= g->least[k])
				below += value(&g->sum[k]) < value(&g->sum[i]) || (k < i && value(&g->sum[k]) == value(&g->sum[i]));
		if (below == others / 2)
			return &g->sum[i];
	}
	return NULL;
}

/* Two parts of the requests, pooled (the two-proportion z test). */
static double failing(const struct sum *s, const struct sum *other)
{
	double more = s->excess - other->excess, part = (s->errors + other->errors) / (s->n + other->n);

	if (s->errors < ERRORS || more < MARGIN || more * more < SIGMA2 * part * (1 - part) * (1 / s->n + 1 / other->n))
		return 0;
	return more / FAR_MARGIN;
}

/* Two means of logarithms (Welch's test). */
static double slower(const struct sum *s, const struct sum *other)
{
	double more = s->slow - other->slow;

	if (more < SLOWER || more * more < SIGMA2 * (s->variance / s->well + other->variance / other->well))
		return 0;
	return more / FAR_SLOWER;
}

static double larger(double a, double b) { return a > b ? a : b; }

/* Over a window of so many looks. */
static void compare(struct group *g, unsigned looks)
{
	const struct sum *other;
	double errors, slow;
	unsigned i;

	for (i = 0; i < g->n; i++) {
		errors = slow = 0;
		if (looks > g->member[i]->fresh)
			continue; /* its last verdict has used that up */
		if (g->sum[i].n >= g->least[i] / 2 && (other = median(g, i, by_errors, requests))) {
			g->size[i] = larger(g->size[i], (g->sum[i].excess - other->excess) / FAR_MARGIN);
			errors = g->sum[i].n >= g->least[i] ? failing(&g->sum[i], other) : 0;
		}
		if (g->sum[i].well >= g->least[i] / 2 && (other = median(g, i, by_slowness, timed))) {
			g->size[i] = larger(g->size[i], (g->sum[i].slow - other->slow) / FAR_SLOWER);
			slow = g->sum[i].well >= g->least[i] ? slower(&g->sum[i], other) : 0;
		}
		if (errors <= g->score[i] && slow <= g->score[i])
			continue;
		g->score[i] = errors > slow ? errors : slow;
		g->member[i]->slow = slow > errors;
	}
}

/* ---- shares ---- */

#define FLOOR      200 /* basis points that stay: without requests nobody could be seen to be well again */
#define HOLD_LEAST (2 * CLOCK_SEC)
#define HOLD_MOST  (60 * CLOCK_SEC)

/* The least share member `own` may have, with what the others have lost. */
static uint16_t bound(const struct group *g, const struct conf *c, unsigned own)
{
	double all = 0, away = 0, may;
	unsigned i, share;

	for (i = 0; i < g->n; i++) {
		all += g->weight[i];
		if (i != own)
			away += g->weight[i] * (g->usable[i] ? 1 - g->member[i]->share / (double)DEGRADE_FULL : 1);
	}
	if (g->weight[own] <= 0)
		return DEGRADE_FULL;
	may = (all * c->outliers.most / DEGRADE_FULL - away) / g->weight[own] * DEGRADE_FULL;
	if (may <= 0)
		return DEGRADE_FULL;
	share = may >= DEGRADE_FULL ? 0 : DEGRADE_FULL - (unsigned)may;
	return (uint16_t)(share > FLOOR ? share : FLOOR);
}

static int64_t longer(int64_t hold)
{
	return hold + hold / 2 < HOLD_MOST ? hold + hold / 2 : HOLD_MOST;
}

static void step_down(const struct group *g, const struct conf *c, unsigned i, int64_t now)
{
	struct dc_member *m = g->member[i];
	uint16_t least = bound(g, c, i), next = m->share / (g->size[i] >= 1 ? 8 : 2);

	if (m->rising)
		m->hold = longer(m->hold);
	m->rising = false;
	m->verdict = DC_WORSE;
	m->fresh = 0;
	m->until = now + m->hold;
	if (next < FLOOR)
		next = FLOOR;
	if (least < m->share)
		m->share = next > least ? next : least;
	m->bounded = next < least;
}

static void step_up(struct dc_member *m, int64_t now)
{
	if (now < m->until)
		return;
	m->bounded = false;
	if (m->share < DEGRADE_FULL) {
		m->share = (uint16_t)(m->share < DEGRADE_FULL / 2 ? 2 * m->share : DEGRADE_FULL);
		m->rising = true;
	} else {
		/* Well for long: the next lapse is a first one again. */
		m->rising = false;
		m->hold = m->hold * 2 / 3 > HOLD_LEAST ? m->hold * 2 / 3 : HOLD_LEAST;
	}
	m->until = now + (m->share < DEGRADE_FULL ? 1 : 5) * m->hold;
}

/* The worst first: what may be taken away is taken where it is worth most. */
static int worst(const struct group *g)
{
	int found = -1;
	unsigned i;

	for (i = 0; i < g->n; i++)
		if (g->score[i] > 0 && (found < 0 || g->score[i] > g->score[found]))
			found = (int)i;
	return found;
}

/* Returns what became of the group. */
static enum dc_spread settle(struct group *g, const struct conf *c, bool panic, int64_t now)
{
	bool bounded = false, moved = false;
	uint16_t least;
	unsigned i;
	int w;

	for (i = 0; i < g->n; i++) {
		struct dc_member *m = g->member[i];

		m->verdict = DC_SOUND;
		if (g->doubt[i] && m->until < now + m->hold)
			m->until = now + m->hold;
		else if (g->score[i] <= 0 && !panic)
			step_up(m, now);
	}
	while ((w = worst(g)) >= 0) {
		step_down(g, c, (unsigned)w, now);
		g->score[w] = 0;
	}
	for (i = 0; i < g->n; i++) {
		bounded |= g->member[i]->bounded;
		if (g->member[i]->share == DEGRADE_FULL)
			continue;
		least = bound(g, c, i); /* others have gone down since */
		if (g->member[i]->share < least)
			g->member[i]->share = least;
		moved |= g->member[i]->share < DEGRADE_FULL;
	}
	return bounded ? DC_SPREAD_BOUNDED : moved ? DC_SPREAD_MOVED : DC_SPREAD_EVEN;
}

/* ---- the two levels ---- */

static bool takes(const struct dc_live *live, unsigned d, unsigned i)
{
	return live->endpoint_state[i] != DC_DOWN && live->datacenter_state[d] != DC_DRAINED;
}

/* What endpoint i brought in the last `looks` looks. */
static void window(const struct dc_outliers *o, unsigned i, unsigned looks, struct dc_traffic *sum)
{
	unsigned k;

	for (k = 1; k <= looks && k <= o->looks; k++)
		add(sum, &o->look[(o->at + DC_LOOKS - k) % DC_LOOKS][i]);
}

static struct sum of_endpoint(const struct dc_outliers *o, const struct conf *c, unsigned i, unsigned looks)
{
	struct dc_traffic t = { 0 };

	window(o, i, looks, &t);
	return summed(&t, 0);
}

/* The better half of them, added up. Sorts. */
static struct sum better_half(struct dc_traffic *t, unsigned n, double (*value)(const struct sum *))
{
	struct dc_traffic all = { 0 };
	unsigned i, k;

	for (i = 0; i < (n + 1) / 2; i++) {
		for (k = i + 1; k < n; k++) {
			struct sum a = summed(&t[i], 0), b = summed(&t[k], 0);
			struct dc_traffic swap = t[i];

			if (value(&b) >= value(&a))
				continue;
			t[i] = t[k];
			t[k] = swap;
		}
		add(&all, &t[i]);
	}
	return summed(&all, 0);
}

/* When half of its endpoints do well, what ails the others is not the datacenter's. */
static struct sum of_datacenter(const struct dc_outliers *o, const struct conf *c, unsigned d, unsigned looks)
{
	const struct conf_datacenter *dc = &c->datacenter[d];
	struct dc_traffic t[CONF_MAX_ENDPOINTS];
	struct sum errors, slow;
	unsigned i, n = 0;

	for (i = dc->first_endpoint; i < (unsigned)dc->first_endpoint + dc->endpoints; i++) {
		t[n] = (struct dc_traffic){ 0 };
		if (o->endpoint[i].share == DEGRADE_FULL)
			window(o, i, looks, &t[n]);
		n += t[n].well + t[n].errors > 0;
	}
	errors = better_half(t, n, by_errors);
	slow = better_half(t, n, by_slowness);
	errors.well = slow.well;
	errors.slow = slow.slow - o->usual[d];
	errors.variance = slow.variance;
	return errors;
}

/* Longer and longer windows, all of them ending now. */
static void judge(struct group *g, const struct dc_outliers *o, const struct conf *c, unsigned first, unsigned shortest,
		  struct sum (*of)(const struct dc_outliers *, const struct conf *, unsigned, unsigned))
{
	unsigned looks, i;

	for (looks = shortest; looks <= o->looks; looks = looks < o->looks && looks * 2 > o->looks ? o->looks : looks * 2) {
		for (i = 0; i < g->n; i++)
			g->sum[i] = of(o, c, first + i, looks);
		compare(g, looks);
	}
}

#define RECENT 40 /* looks: ten seconds */

/* Of who is on the way back: what came since the last verdict, if that is recent, looks like more of
 * the same. */
static void doubt(struct group *g, const struct dc_outliers *o, const struct conf *c, unsigned first,
		  struct sum (*of)(const struct dc_outliers *, const struct conf *, unsigned, unsigned))
{
	const struct sum *other;
	unsigned i, k, looks;

	for (i = 0; i < g->n; i++) {
		looks = g->member[i]->fresh < o->looks ? g->member[i]->fresh : o->looks;
		looks = looks < RECENT ? looks : RECENT;
		if (g->member[i]->share == DEGRADE_FULL || g->score[i] > 0)
			continue;
		for (k = 0; k < g->n; k++)
			g->sum[k] = of(o, c, first + k, looks);
		other = median(g, i, by_errors, requests);
		g->doubt[i] = other && g->sum[i].errors > 0 && g->sum[i].excess - other->excess >= MARGIN;
		other = median(g, i, by_slowness, timed);
		g->doubt[i] |= other && g->sum[i].well > 0 && g->sum[i].slow - other->slow >= SLOWER;
	}
}

static enum dc_spread judge_endpoints(struct dc_outliers *o, const struct conf *c, const struct dc_live *live, unsigned d, bool panic,
				      int64_t now)
{
	const struct conf_datacenter *dc = &c->datacenter[d];
	struct group g = { .n = dc->endpoints };
	unsigned i;

	for (i = 0; i < g.n; i++) {
		g.member[i] = &o->endpoint[dc->first_endpoint + i];
		g.weight[i] = c->endpoint[dc->first_endpoint + i].weight;
		g.usable[i] = takes(live, d, dc->first_endpoint + i);
		g.least[i] = REQUESTS;
	}
	judge(&g, o, c, dc->first_endpoint, 1, of_endpoint);
	doubt(&g, o, c, dc->first_endpoint, of_endpoint);
	return settle(&g, c, panic, now);
}

#define SECOND      4   /* looks */
#define USUAL_LOOKS 480 /* a datacenter's usual: the mean of about two minutes */

/* While something is taken from it, it is learned slowly: what lasts becomes the usual. */
static void learn(struct dc_outliers *o, const struct conf *c, unsigned d)
{
	struct sum s = of_datacenter(o, c, d, SECOND);
	double part;

	if (s.well <= 0)
		return;
	if (o->usual_looks[d] < USUAL_LOOKS)
		o->usual_looks[d]++;
	part = o->datacenter[d].share < DEGRADE_FULL ? 1.0 / USUAL_LOOKS : 1.0 / o->usual_looks[d];
	o->usual[d] += s.slow * part;
}

/* By itself, over the shortest window that says something. */
static double part_failing(const struct dc_outliers *o, const struct conf *c, unsigned d)
{
	struct sum s;
	unsigned looks;

	for (looks = 1; looks <= o->looks; looks *= 2) {
		s = of_datacenter(o, c, d, looks);
		if (s.n >= REQUESTS)
			return s.errors / s.n;
	}
	return -1;
}

/* More than half of what is heard of. */
static bool most_look_bad(const struct dc_outliers *o, const struct conf *c)
{
	uint64_t bad = 0, heard = 0;
	unsigned d;

	for (d = 0; d < c->datacenters; d++) {
		double part = part_failing(o, c, d);

		heard += part >= 0 ? c->datacenter[d].capacity : 0;
		bad += part >= LOOKS_BAD ? c->datacenter[d].capacity : 0;
	}
	return bad * 2 > heard;
}

static enum dc_spread judge_datacenters(struct dc_outliers *o, const struct conf *c, const struct dc_live *live, bool panic, int64_t now)
{
	struct group g = { .n = (unsigned)c->datacenters };
	unsigned d, i;

	for (d = 0; d < g.n; d++) {
		const struct conf_datacenter *dc = &c->datacenter[d];

		g.member[d] = &o->datacenter[d];
		g.weight[d] = dc->capacity;
		g.least[d] = REQUESTS * ((dc->endpoints + 1) / 2);
		for (i = dc->first_endpoint; i < (unsigned)dc->first_endpoint + dc->endpoints; i++)
			g.usable[d] |= takes(live, d, i);
	}
	if (!panic) {
		judge(&g, o, c, 0, SECOND, of_datacenter);
		doubt(&g, o, c, 0, of_datacenter);
	}
	for (d = 0; d < g.n; d++)
		learn(o, c, d);
	return settle(&g, c, panic, now);
}

const char *dc_spread_word(enum dc_spread s)
{
	static const char *const word[] = {
#define X(name, text) text,
		DC_SPREADS(X)
#undef X
	};

	return (unsigned)s < DC_SPREAD_COUNT ? word[s] : "?";
}

static void age(struct dc_member *m, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (m[i].fresh < DC_LOOKS)
			m[i].fresh++;
}

static void member_init(struct dc_member *m)
{
	*m = (struct dc_member){ .share = DEGRADE_FULL, .hold = HOLD_LEAST };
}

void dc_outliers_init(struct dc_outliers *o)
{
	unsigned i;

	*o = (struct dc_outliers){ 0 };
	for (i = 0; i < CONF_MAX_ENDPOINTS; i++)
		member_init(&o->endpoint[i]);
	for (i = 0; i < CONF_MAX_DATACENTERS; i++)
		member_init(&o->datacenter[i]);
}

void dc_outliers_look(struct dc_outliers *o, const struct conf *c, const struct dc_live *live,
		      const struct dc_traffic t[CONF_MAX_ENDPOINTS], int64_t now)
{
	enum dc_spread spread = DC_SPREAD_EVEN, s;
	bool panic;
	unsigned i, d;

	for (i = 0; i < CONF_MAX_ENDPOINTS; i++)
		o->look[o->at][i] = t[i];
	o->at = (o->at + 1) % DC_LOOKS;
	if (o->looks < DC_LOOKS)
		o->looks++;
	age(o->endpoint, CONF_MAX_ENDPOINTS);
	age(o->datacenter, CONF_MAX_DATACENTERS);
	panic = most_look_bad(o, c);
	for (d = 0; d < c->datacenters; d++) {
		s = judge_endpoints(o, c, live, d, panic, now);
		spread = s > spread ? s : spread;
	}
	s = judge_datacenters(o, c, live, panic, now);
	o->spread = (uint8_t)(panic ? DC_SPREAD_PANIC : s > spread ? s : spread);
}

/* ---- checks of everything ---- */

/* Part of the capacity of what is not drained that is up by its checks. */
static double up_by_checks(const struct conf *c, const struct dc_live *live, const bool *drained)
{
	double all = 0, up = 0;
	unsigned d, i;

	for (d = 0; d < c->datacenters; d++) {
		const struct conf_datacenter *dc = &c->datacenter[d];
		double weight = 0, good = 0;

		for (i = dc->first_endpoint; i < (unsigned)dc->first_endpoint + dc->endpoints; i++) {
			weight += c->endpoint[i].weight;
			good += live->endpoint_state[i] == DC_UP || live->endpoint_state[i] == DC_SUSPECT ? c->endpoint[i].weight : 0;
		}
		if ((drained && drained[d]) || weight <= 0)
			continue;
		all += dc->capacity;
		up += dc->capacity * good / weight;
	}
	return all > 0 ? up / all : 0;
}

bool dc_panic(const struct conf *c, struct dc_live *live, const bool drained[CONF_MAX_DATACENTERS], uint64_t works, bool before)
{
	double up = up_by_checks(c, live, drained);
	unsigned i;

	if (!works || (before ? up >= 0.5 : up > 0))
		return false;
	for (i = 0; i < c->endpoints; i++)
		if (works >> i & 1 || live->endpoint_state[i] == DC_UP)
			live->endpoint_state[i] = DC_SUSPECT;
	return true;
}
