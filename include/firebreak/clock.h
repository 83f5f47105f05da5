/* SPDX-License-Identifier: MIT */
/*
 * One clock per process, sampled once per loop turn. Everybody who needs "now"
 * is handed it or reads the sample; policy code only ever takes it as an argument.
 */
#ifndef FIREBREAK_CLOCK_H
#define FIREBREAK_CLOCK_H

#include <stdint.h>

#define CLOCK_MS  INT64_C(1000000)
#define CLOCK_SEC INT64_C(1000000000)

/* Samples both clocks (CLOCK_MONOTONIC, CLOCK_REALTIME). Returns the monotonic one, in ns. */
int64_t clock_tick(void);
/* The last sample, taken first before main(). Read it through the two functions below. */
extern struct clock_sample {
	int64_t mono, wall;
} clock_sample;
/* Monotonic ns, for durations and deadlines. */
static inline int64_t clock_now(void) { return clock_sample.mono; }
/* Wall clock ns since 1970, for logs, HTTP dates and end times only. */
static inline int64_t clock_wall(void) { return clock_sample.wall; }
/* Tests: from now on clock_tick() returns what was set here. */
void clock_fake(int64_t mono_ns, int64_t wall_ns);

#endif
