/* SPDX-License-Identifier: MIT */
/*
 * The retry budget: retries may be budget_percent of the requests of about the last
 * ten seconds, and budget_minimum a second whatever the traffic, so that a failing
 * datacenter cannot multiply the load on what is left.
 */
#include "firebreak/clock.h"
#include "xchg_private.h"

static void fade(struct budget *b, const struct conf_retry *c, int64_t now)
{
	double seconds = (double)(now - b->at) / CLOCK_SEC, floor = 10.0 * c->budget_minimum;

	if (!b->at) {
		b->tokens = floor;
	} else if (seconds > 0) {
		b->tokens *= seconds >= 10 ? 0 : 1 - seconds / 10;
		b->tokens += seconds * c->budget_minimum;
		if (seconds >= 10)
			b->tokens = floor;
	}
	b->at = now;
}

void budget_request(struct budget *b, const struct conf_retry *c, int64_t now)
{
	if (now != b->at)
		fade(b, c, now);
	b->tokens += c->budget_percent / 100.0;
}

bool budget_take(struct budget *b, const struct conf_retry *c, int64_t now)
{
	if (now != b->at)
		fade(b, c, now);
	if (b->tokens < 1)
		return false;
	b->tokens -= 1;
	return true;
}
