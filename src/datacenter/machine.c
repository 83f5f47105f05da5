/* SPDX-License-Identifier: MIT */
/*
 * The state of a datacenter made of its endpoints, and the share of its users that it
 * takes. Pure: what is known and `now` in, state and share out.
 *
 *              weak                 all lost              some answer
 *      up ───────────────▶ suspect ──────────▶ down ───────────────────▶ probing
 *      ▲ ▲ all lost ──────────┼─────────────▶ │ ▲ ◀────── all lost ────────┤ │
 *      │ └── good, 1st time ──┤               │ │                          │ │ held
 *      │                      └── good, again ┼─┼────────────────────────▶ │ ▼
 *      │◀─────────── nobody else takes traffic┼─┼──────────────────────────┘ │
 *      └──────────── ramp over ─── restoring ◀┼─┼────────────────────────────┘
 *                                   │ all lost│ │ weak: suspect; worse: probing
 *                                   └─────────┼─┘
 *      operator: up, suspect, restoring ──▶ draining ──▶ drained ◀── down, probing
 *      and back: draining, drained ──▶ restoring, or down when it is not well
 *
 *      down, held too long against what most other nodes see ──▶ suspect (dissent)
 *
 * All endpoints lost together are one event here, not n. Thresholds lie apart: it is weak
 * below a fifth of good weight, well again from three tenths. What all are lost for us
 * alone is not called down, only suspect, while most other nodes see it up, or cannot have been
 * heard yet. A few answers
 * that come and go do not make it go to and fro: probing is left for down only after a hold
 * with none.
 *
 * The share (`ramp`) falls at once with what is left of the endpoints, with the cap its
 * traffic's evidence sets, and with an operator's drain. It grows only after the hold, and
 * then evenly over restore.over: in restoring, and in up after a part was lost. Worse than
 * the others while restoring: half of it, a hold, and on; worse at the first step already:
 * back to probing. Each failure with users on it (a flap) makes the hold half as long
 * again; six holds without one, and one is forgotten. Whatever is held is passed over only
 * while somebody else takes traffic: see dc_pick for the moments before this is said here.
 */
#include "firebreak/clock.h"
#include "firebreak/dc_machine.h"

#define ALL         1000000000u /* of ramp */
#define POINT       100000u     /* a basis point of it */
#define FULL        10000u      /* basis points */
#define WEAK_BELOW  2000
#define WELL_FROM   3000
#define HOLD_MOST   (3600 * CLOCK_SEC)
#define FORGET      6 /* holds */
#define ELAPSED_MOST (500 * CLOCK_MS)

const char *dc_why_word(enum dc_why why)
{
	static const char *const word[] = {
#define X(name, text) text,
		DC_WHYS(X)
#undef X
	};

	return (unsigned)why < DC_WHY_COUNT ? word[why] : "?";
}

/* FNV-1a. */
uint64_t dc_name_hash(const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	while (*name)
		h = (h ^ (uint8_t)*name++) * UINT64_C(0x100000001b3);
	return h;
}

void dc_machine_init(struct dc_machine *m, const char *name, int64_t now)
{
	*m = (struct dc_machine){ .name = dc_name_hash(name), .since = now, .ramp = ALL, .goal = ALL, .state = DC_UP };
}

/* ---- transitions ---- */

static void fail(struct dc_machine *m, int64_t now)
{
	m->flaps += m->flaps < UINT16_MAX;
	m->failed_at = now;
}

/* The one setter. An arrow that is not drawn above is our bug. */
static void set_state(struct dc_machine *m, enum dc_state to, enum dc_why why, int64_t now)
{
	static const uint8_t drawn[DC_STATE_COUNT] = {
		[DC_UP] = 1 << DC_SUSPECT | 1 << DC_DOWN | 1 << DC_DRAINING,
		[DC_SUSPECT] = 1 << DC_UP | 1 << DC_DOWN | 1 << DC_PROBING | 1 << DC_DRAINING,
		[DC_DOWN] = 1 << DC_PROBING | 1 << DC_SUSPECT | 1 << DC_DRAINED,
		[DC_PROBING] = 1 << DC_RESTORING | 1 << DC_UP | 1 << DC_DOWN | 1 << DC_DRAINED,
		[DC_RESTORING] = 1 << DC_UP | 1 << DC_SUSPECT | 1 << DC_DOWN | 1 << DC_PROBING | 1 << DC_DRAINING,
		[DC_DRAINING] = 1 << DC_DRAINED | 1 << DC_RESTORING | 1 << DC_DOWN,
		[DC_DRAINED] = 1 << DC_RESTORING | 1 << DC_DOWN,
	};
	/* Failures with users on it: whoever leaves these states this way. */
	static const uint8_t failure[DC_STATE_COUNT] = {
		[DC_UP] = 1 << DC_SUSPECT | 1 << DC_DOWN,
		[DC_RESTORING] = 1 << DC_SUSPECT | 1 << DC_DOWN | 1 << DC_PROBING,
	};

	if (!(drawn[m->state] & 1 << to))
		__builtin_trap();
	if (failure[m->state] & 1 << to)
		fail(m, now);
	m->state = (uint8_t)to;
	m->why = (uint8_t)why;
	m->since = now;
	m->better_since = m->paused_until = 0;
	m->trusted = false;
}

/* ---- what comes next ---- */

struct next {
	enum dc_state state;
	enum dc_why why;
};

static bool lost(const struct dc_input *in)
{
	return !in->good && !in->suspect && !in->probing;
}

static bool dissent(const struct dc_input *in)
{
	return in->peers.up > in->peers.down;
}

static struct next stay(const struct dc_machine *m)
{
	return (struct next){ (enum dc_state)m->state, (enum dc_why)m->why };
}

/* With users on it. Before others could be heard what was known about them stands. */
static struct next judge_lost(const struct dc_machine *m, const struct dc_input *in)
{
	if (dissent(in))
		return (struct next){ DC_SUSPECT, DC_WHY_DISSENT };
	if (in->peers.unheard)
		return m->state == DC_SUSPECT ? stay(m) : (struct next){ DC_SUSPECT, DC_WHY_UNHEARD };
	return (struct next){ DC_DOWN, DC_WHY_ALL_LOST };
}

static struct next judge_serving(const struct dc_machine *m, const struct conf_datacenter *dc, const struct dc_input *in, int64_t now)
{
	if (lost(in))
		return judge_lost(m, in);
	if (in->good < WEAK_BELOW)
		return (struct next){ DC_SUSPECT, DC_WHY_WEAK };
	if (m->state == DC_UP)
		return stay(m);
	if (!in->others)
		return (struct next){ DC_UP, DC_WHY_ALONE };
	if (in->verdict == DC_WORSE && now >= m->paused_until && m->ramp / 2 < dc->restore_first * POINT)
		return (struct next){ DC_PROBING, DC_WHY_WORSE };
	return m->ramp >= m->goal ? (struct next){ DC_UP, DC_WHY_RESTORED } : stay(m);
}

/* Back at once only from a suspicion that was short, the first for long, and lost nothing. */
static struct next judge_suspect(const struct dc_machine *m, const struct conf_datacenter *dc, const struct dc_input *in, int64_t now)
{
	bool brief = now - m->since < dc->restore_hold_ms * CLOCK_MS;

	if (lost(in))
		return judge_lost(m, in);
	if (in->good < WELL_FROM)
		return stay(m);
	return m->flaps <= 1 && brief && m->ramp && m->ramp >= m->goal ? (struct next){ DC_UP, DC_WHY_RECOVERED } :
							      (struct next){ DC_PROBING, DC_WHY_FLAPPING };
}

static struct next judge_held(const struct dc_machine *m, const struct conf_datacenter *dc, const struct dc_input *in, int64_t now)
{
	int64_t hold = dc_machine_hold(m, dc);

	if (m->state == DC_DOWN) {
		if (!lost(in))
			return (struct next){ DC_PROBING, DC_WHY_ANSWERS };
		return dissent(in) && now - m->since >= hold ? (struct next){ DC_SUSPECT, DC_WHY_DISSENT } : stay(m);
	}
	if (lost(in) && m->paused_until && now >= m->paused_until)
		return (struct next){ DC_DOWN, DC_WHY_ALL_LOST };
	if (in->good < WELL_FROM)
		return stay(m);
	if (!in->others)
		return (struct next){ DC_UP, DC_WHY_ALONE };
	if (m->trusted)
		return (struct next){ DC_RESTORING, DC_WHY_OPERATOR };
	return now - m->better_since >= hold && m->better_since ? (struct next){ DC_RESTORING, DC_WHY_HELD } : stay(m);
}

static struct next judge_drain(const struct dc_machine *m, const struct dc_input *in)
{
	switch (m->state) {
	case DC_DOWN:
	case DC_PROBING:
		return (struct next){ DC_DRAINED, DC_WHY_OPERATOR };
	case DC_DRAINING:
		return !m->ramp || lost(in) ? (struct next){ DC_DRAINED, DC_WHY_DRAINED } : stay(m);
	case DC_DRAINED:
		return stay(m);
	default:
		return (struct next){ DC_DRAINING, DC_WHY_OPERATOR };
	}
}

static struct next judge(const struct dc_machine *m, const struct conf_datacenter *dc, const struct dc_input *in, int64_t now)
{
	if (in->drain)
		return judge_drain(m, in);
	switch (m->state) {
	case DC_UP:
	case DC_RESTORING:
		return judge_serving(m, dc, in, now);
	case DC_SUSPECT:
		return judge_suspect(m, dc, in, now);
	case DC_DOWN:
	case DC_PROBING:
		return judge_held(m, dc, in, now);
	default:
		return (struct next){ in->good >= WELL_FROM ? DC_RESTORING : DC_DOWN, DC_WHY_OPERATOR };
	}
}

/* ---- the share ---- */

/* Datacenters are built with room to spare, and moving users costs them their warm
 * caches: what is left is counted 1.4 times (the overprovisioning factor of Envoy's
 * locality weighting) before the share shrinks. */
static uint32_t share_left(const struct dc_input *in)
{
	uint32_t share = (uint32_t)(in->good + in->suspect + in->probing) * 14 / 10;

	share = share < in->cap ? share : in->cap;
	return (share < FULL ? share : FULL) * POINT;
}

static void grow(struct dc_machine *m, const struct conf_datacenter *dc, int64_t elapsed)
{
	int64_t over = dc->restore_over_ms * CLOCK_MS, more;

	elapsed = elapsed > ELAPSED_MOST ? ELAPSED_MOST : elapsed;
	more = elapsed < over ? elapsed * ALL / over : ALL;
	if (!over || more >= (int64_t)m->goal - m->ramp)
		m->ramp = m->goal;
	else
		m->ramp += (uint32_t)more;
}

/* Since when it has what it waits for: to be well, or (up) to be able to take more. */
static bool waited(struct dc_machine *m, bool better, int64_t hold, int64_t now)
{
	if (!better)
		m->better_since = 0;
	else if (!m->better_since)
		m->better_since = now ? now : 1;
	return better && now - m->better_since >= hold;
}

static void ramp_restoring(struct dc_machine *m, const struct conf_datacenter *dc, const struct dc_input *in, int64_t now,
			   int64_t elapsed)
{
	uint32_t first = dc->restore_first * POINT;

	if (m->ramp < first && !m->paused_until)
		m->ramp = first;
	if (now < m->paused_until)
		return;
	if (in->verdict == DC_WORSE) {
		m->ramp /= 2;
		m->paused_until = now + dc_machine_hold(m, dc);
	} else {
		grow(m, dc, elapsed);
	}
}

static void ramp_move(struct dc_machine *m, const struct conf_datacenter *dc, const struct dc_input *in, int64_t now, int64_t elapsed)
{
	uint32_t left = share_left(in);

	if (m->state != DC_DRAINING) /* that one's is where it came from */
		m->goal = left;
	switch (m->state) {
	case DC_UP:
		if (waited(m, m->ramp < m->goal, dc_machine_hold(m, dc), now))
			grow(m, dc, elapsed);
		if (!in->others)
			m->ramp = m->goal;
		break;
	case DC_SUSPECT:
		break;
	case DC_RESTORING:
		ramp_restoring(m, dc, in, now, elapsed);
		break;
	case DC_DRAINING:
		left = left < in->left * POINT ? left : in->left * POINT;
		break;
	case DC_PROBING:
		waited(m, in->good >= WELL_FROM, 0, now);
		if (!lost(in))
			m->paused_until = 0;
		else if (!m->paused_until)
			m->paused_until = now + dc->restore_hold_ms * CLOCK_MS;
		/* fall through */
	default:
		m->ramp = 0;
		break;
	}
	if (m->ramp > left)
		m->ramp = left;
}

bool dc_machine_step(struct dc_machine *m, const struct conf_datacenter *dc, const struct dc_input *in, int64_t now,
		     int64_t elapsed)
{
	struct next next = judge(m, dc, in, now);
	bool changed = next.state != (enum dc_state)m->state;

	if (m->state == DC_UP && m->flaps && now - m->failed_at >= FORGET * dc->restore_hold_ms * CLOCK_MS) {
		m->flaps--;
		m->failed_at = now;
	}
	if (changed)
		set_state(m, next.state, next.why, now);
	else
		m->why = (uint8_t)next.why; /* a suspicion that has become dissent */
	ramp_move(m, dc, in, now, changed ? 0 : elapsed);
	return changed;
}

void dc_machine_trust(struct dc_machine *m)
{
	m->flaps = 0;
	m->trusted = true;
}

int64_t dc_machine_hold(const struct dc_machine *m, const struct conf_datacenter *dc)
{
	int64_t hold = dc->restore_hold_ms * CLOCK_MS;
	unsigned i;

	for (i = 1; i < m->flaps && hold < HOLD_MOST; i++)
		hold = hold * 3 / 2 < HOLD_MOST ? hold * 3 / 2 : HOLD_MOST;
	return hold;
}

enum dc_state dc_machine_next(const struct dc_machine *m, const struct conf_datacenter *dc, int64_t now, int64_t *in)
{
	int64_t until;

	*in = -1;
	switch (m->state) {
	case DC_SUSPECT:
		return DC_UP;
	case DC_DOWN:
		return DC_PROBING;
	case DC_PROBING:
		if (m->better_since) {
			until = m->better_since + dc_machine_hold(m, dc);
			*in = until > now ? until - now : 0;
		}
		return DC_RESTORING;
	case DC_RESTORING:
		*in = (int64_t)(m->goal - m->ramp) * dc->restore_over_ms / 1000 + (m->paused_until > now ? m->paused_until - now : 0);
		return DC_UP;
	case DC_DRAINING:
		return DC_DRAINED;
	default:
		return (enum dc_state)m->state;
	}
}

/* While the ramp moves, of n tiers number t begins t/(n-1) halves of the way behind the
 * first, and all arrive together: (x - a) / (1 - a) is nowhere above x. */
static uint16_t tier_share(const struct dc_machine *m, unsigned t, unsigned tiers)
{
	uint64_t begins = tiers > 1 ? (uint64_t)t * 5000 / (tiers - 1) : 0, at;

	if (!t || !m->goal || m->ramp >= m->goal || (m->state != DC_RESTORING && m->state != DC_DRAINING))
		return (uint16_t)(m->ramp / POINT);
	at = (uint64_t)m->ramp * FULL / m->goal;
	return at <= begins ? 0 : (uint16_t)((at - begins) * (m->goal / POINT) / (FULL - begins));
}

void dc_machine_show(const struct dc_machine *m, unsigned tiers, unsigned datacenter, struct dc_live *live)
{
	unsigned t;

	live->datacenter_state[datacenter] = m->state;
	live->share[datacenter] = (uint16_t)(m->ramp / POINT);
	for (t = 0; t < CONF_MAX_TIERS; t++)
		live->tier_share[datacenter][t] = tier_share(m, t < tiers ? t : tiers ? tiers - 1 : 0, tiers);
}

/* ---- made of endpoints ---- */

static uint16_t part(uint64_t sum, uint64_t all)
{
	return (uint16_t)(all ? sum * FULL / all : 0);
}

void dc_weigh(const struct conf *c, const struct dc_live *live, unsigned datacenter, struct dc_input *in)
{
	const struct conf_datacenter *dc = &c->datacenter[datacenter];
	uint64_t sum[DC_STATE_COUNT] = { 0 }, all = 0;
	unsigned i;

	for (i = dc->first_endpoint; i < (unsigned)dc->first_endpoint + dc->endpoints; i++) {
		sum[live->endpoint_state[i]] += c->endpoint[i].weight;
		all += c->endpoint[i].weight;
	}
	in->good = part(sum[DC_UP] + sum[DC_RESTORING], all);
	in->suspect = part(sum[DC_SUSPECT], all);
	in->probing = part(sum[DC_PROBING], all);
}

static unsigned serving(const struct conf *c, const struct dc_live *live, unsigned d)
{
	struct dc_input in = DC_INPUT_NONE;

	dc_weigh(c, live, d, &in);
	return in.good + in.suspect;
}

bool dc_takes(const struct conf *c, const struct dc_live *live, unsigned datacenter)
{
	static const unsigned taking = 1u << DC_UP | 1u << DC_SUSPECT | 1u << DC_RESTORING | 1u << DC_DRAINING;

	return 1u << live->datacenter_state[datacenter] & taking && serving(c, live, datacenter);
}

uint16_t dc_usable(const struct conf *c, const struct dc_live *live)
{
	uint64_t usable = 0, configured = 0, part;
	bool any = false;
	unsigned d;

	for (d = 0; d < c->datacenters; d++)
		any = any || dc_takes(c, live, d);
	for (d = 0; d < c->datacenters; d++) {
		bool moved = live->datacenter_state[d] == DC_RESTORING || live->datacenter_state[d] == DC_DRAINING;

		configured += c->datacenter[d].capacity;
		if (!dc_takes(c, live, d) && (any || live->datacenter_state[d] != DC_PROBING))
			continue;
		part = serving(c, live, d);
		usable += (moved && live->share[d] < part ? live->share[d] : part) * c->datacenter[d].capacity;
	}
	return (uint16_t)(configured ? usable / configured : 0);
}

void dc_assume(const struct conf *c, struct dc_live *live)
{
	struct dc_machine m;
	struct dc_input in;
	unsigned d;

	for (d = 0; d < c->datacenters; d++) {
		in = DC_INPUT_NONE;
		in.others = true;
		dc_weigh(c, live, d, &in);
		dc_machine_init(&m, c->datacenter[d].name, 0);
		dc_machine_step(&m, &c->datacenter[d], &in, 0, 0);
		dc_machine_show(&m, (unsigned)c->tiers, d, live);
	}
}
