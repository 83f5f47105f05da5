/* SPDX-License-Identifier: MIT */
/*
 * The retry budget: retries may be a percentage of the requests of about the last ten
 * seconds, and a minimum a second whatever the traffic, so that a failing datacenter
 * cannot multiply the load on what is left. Pure; whose requests and retries these are,
 * the caller says: the node's are the sums of its workers' (worker.c).
 */
#include "firebreak/clock.h"
#include "xchg_private.h"

#define WINDOW 10 /* seconds */

void budget_look(struct budget *b, unsigned percent, unsigned minimum, uint64_t requests, uint64_t retries, int64_t now)
{
	double seconds = (double)(now - b->at) / CLOCK_SEC, earned = percent / 100.0 * (double)(requests - b->requests);

	if (!b->at) {
		b->tokens = b->full = WINDOW * minimum;
	} else {
		if (seconds > WINDOW) {
			earned *= WINDOW / seconds;
			seconds = WINDOW;
		}
		if (b->tokens > 0) /* a debt does not fade */
			b->tokens *= 1 - seconds / WINDOW;
		b->tokens += seconds * minimum + earned - (double)(retries - b->retries);
		b->full += seconds * minimum + earned - b->full * seconds / WINDOW;
	}
	b->at = now;
	b->requests = requests;
	b->retries = retries;
}

bool budget_take(struct budget *b)
{
	if (b->tokens < 1)
		return false;
	b->tokens -= 1;
	b->retries++;
	return true;
}

bool budget_spare(const struct budget *b)
{
	return b->tokens >= 1 + b->full / 8;
}
