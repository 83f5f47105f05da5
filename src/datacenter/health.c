/* SPDX-License-Identifier: MIT */
/*
 * The health of an endpoint. Pure: evidence and `now` in, state out. The control process
 * feeds it.
 *
 *          burst of faults / silence          fall checks failed
 *     ┌──────────────────────────▶ suspect ──────────────┐
 *     │        answers, or rise checks │                 ▼
 *    up ◀──────────────────────────────┘  ┌──────────▶ down
 *     │ ▲         fall checks failed      │              │ first check passed
 *     │ └── rise checks ── probing ◀──────┼──────────────┘
 *     │                       └───────────┘ a check failed, or a burst
 *     └────────────────────▶ down
 *
 * restoring and draining are of the datacenter (machine.c), not of the endpoint; they are
 * read wherever states are read.
 */
#include "firebreak/clock.h"
#include "firebreak/dc.h"

#define BURST 3 /* faults with no answer in between that make an endpoint suspect */

/* While a verdict is pending checks come quickly: what decides is their number. */
#define WAIT_SUSPECT (100 * CLOCK_MS)
#define WAIT_DOUBT   (500 * CLOCK_MS)
#define WAIT_DOWN    CLOCK_SEC

const char *dc_state_word(enum dc_state s)
{
	static const char *const word[] = {
#define X(name, text) text,
		DC_STATES(X)
#undef X
	};

	return (unsigned)s < DC_STATE_COUNT ? word[s] : "?";
}

/* The one setter. An arrow that is not drawn above is our bug. */
static void set_state(struct dc_health *h, enum dc_state to, enum fault why, int64_t now)
{
	static const uint8_t drawn[DC_STATE_COUNT] = {
		[DC_UP] = 1 << DC_SUSPECT | 1 << DC_DOWN,
		[DC_SUSPECT] = 1 << DC_UP | 1 << DC_DOWN,
		[DC_DOWN] = 1 << DC_PROBING | 1 << DC_UP,
		[DC_PROBING] = 1 << DC_UP | 1 << DC_DOWN,
	};

	if (!(drawn[h->state] & 1 << to))
		__builtin_trap();
	if (to == DC_DOWN || to == DC_SUSPECT)
		h->why = why;
	if (to != DC_SUSPECT) /* there the pending count goes on */
		h->burst = 0;
	h->state = to;
	h->since = now;
}

void dc_health_init(struct dc_health *h, int64_t now)
{
	*h = (struct dc_health){ .state = DC_UP, .since = now };
}

static uint16_t add(uint16_t run, uint32_t more)
{
	return more > 1000u - run ? 1000 : (uint16_t)(run + more);
}

static void count_checks(struct dc_health *h, const struct dc_evidence *e)
{
	if (e->checks_failed) {
		h->bad_run = add(h->bad_run, e->checks_failed);
		h->ok_run = 0;
	} else if (e->checks_ok) {
		h->ok_run = add(h->ok_run, e->checks_ok);
		h->bad_run = 0;
	}
}

/* Answers and faults of one look have no order: such a look can be the moment of
 * death, so it leaves the count one short of a burst. */
static void count_traffic(struct dc_health *h, const struct dc_evidence *e)
{
	uint32_t bad = e->silences ? BURST : e->faults < BURST ? e->faults : BURST;

	if (h->state == DC_DOWN)
		return; /* late news of requests that were under way */
	if (!e->answers)
		h->burst = add(h->burst, bad);
	else
		h->burst = (uint16_t)(bad < BURST ? bad : BURST - 1);
}

static enum dc_state judge(const struct dc_health *h, const struct conf_datacenter *dc, const struct dc_evidence *e)
{
	bool fallen = h->bad_run && h->bad_run >= dc->fall;
	bool risen = h->ok_run && h->ok_run >= dc->rise;

	switch (h->state) {
	case DC_UP:
		if (fallen)
			return DC_DOWN;
		/* A failed check says as much as the rest of a burst. */
		return h->burst >= BURST || (h->burst && e->checks_failed) ? DC_SUSPECT : DC_UP;
	case DC_SUSPECT:
		if (fallen)
			return DC_DOWN;
		if (e->answers && !h->burst)
			return DC_UP;
		return risen && !e->faults && !e->silences ? DC_UP : DC_SUSPECT;
	case DC_DOWN:
		return risen ? DC_UP : h->ok_run ? DC_PROBING : DC_DOWN;
	case DC_PROBING:
		if (h->bad_run || h->burst >= BURST)
			return DC_DOWN;
		return risen ? DC_UP : DC_PROBING;
	default:
		return h->state;
	}
}

bool dc_health_record(struct dc_health *h, const struct conf_datacenter *dc, const struct dc_evidence *e, int64_t now)
{
	enum dc_state to;

	count_checks(h, e);
	count_traffic(h, e);
	to = judge(h, dc, e);
	if (to == h->state)
		return false;
	if (to == DC_SUSPECT || (to == DC_DOWN && h->state == DC_PROBING))
		h->ok_run = 0; /* checks passed before do not speak for it */
	set_state(h, to, e->fault, now);
	return true;
}

int64_t dc_health_wait(const struct dc_health *h, const struct conf_datacenter *dc)
{
	int64_t wait = dc->check_interval_ms * CLOCK_MS, most = wait;

	if (h->state == DC_SUSPECT || h->state == DC_PROBING)
		most = WAIT_SUSPECT;
	else if (h->state == DC_DOWN)
		most = WAIT_DOWN;
	else if (h->bad_run)
		most = WAIT_DOUBT;
	return wait < most ? wait : most;
}
