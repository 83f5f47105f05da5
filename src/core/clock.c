/* SPDX-License-Identifier: MIT */
#include "firebreak/clock.h"

#include <stdbool.h>
#include <time.h>

struct clock_sample clock_sample;
static bool faked;

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * CLOCK_SEC + ts.tv_nsec;
}

int64_t clock_tick(void)
{
	if (!faked)
		clock_sample = (struct clock_sample){ read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_REALTIME) };
	return clock_sample.mono;
}

__attribute__((constructor)) static void first_sample(void)
{
	clock_tick();
}

void clock_fake(int64_t mono_ns, int64_t wall_ns)
{
	faked = true;
	clock_sample = (struct clock_sample){ mono_ns, wall_ns };
}
