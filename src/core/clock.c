/* SPDX-License-Identifier: MIT */
#include "firebreak/clock.h"

#include <stdbool.h>
#include <time.h>

static int64_t mono, wall;
static bool faked;

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * CLOCK_SEC + ts.tv_nsec;
}

int64_t clock_tick(void)
{
	if (!faked) {
		mono = read_clock(CLOCK_MONOTONIC);
		wall = read_clock(CLOCK_REALTIME);
	}
	return mono;
}

int64_t clock_now(void)
{
	return mono ? mono : clock_tick();
}

int64_t clock_wall(void)
{
	return wall ? wall : (clock_tick(), wall);
}

void clock_fake(int64_t mono_ns, int64_t wall_ns)
{
	faked = true;
	mono = mono_ns;
	wall = wall_ns;
}
