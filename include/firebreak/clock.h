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
/* The last sample: monotonic ns, for durations and deadlines. */
int64_t clock_now(void);
/* The last sample: wall clock ns since 1970, for logs, HTTP dates and end times only. */
int64_t clock_wall(void);
/* Tests: from now on clock_tick() returns what was set here. */
void clock_fake(int64_t mono_ns, int64_t wall_ns);

#endif
