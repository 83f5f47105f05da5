/* SPDX-License-Identifier: MIT */
/*
 * The faults an endpoint shows on demand: PUT /_fault?error=0.5&latency=200, or the
 * same as a flat JSON object, or --fault error=0.5,latency=200 at start. What is not
 * named stays; ?clear=1 first takes all away. The table is bench_faults below.
 */
#ifndef BENCH_FAULT_SET_H
#define BENCH_FAULT_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firebreak/buf.h"

/* X(name, greatest, help) */
#define BENCH_FAULTS(X) \
	X(latency, 3600000, "milliseconds before a request is worked on") \
	X(error, 1, "share of requests answered 503") \
	X(silence, 1, "1: requests are taken and never answered") \
	X(refuse, 1, "share of streams reset with REFUSED_STREAM") \
	X(reset, 1, "share of answers cut by RST_STREAM in the middle of the body") \
	X(slow_bytes, 1e9, "bytes per second of each answer's body, 0: no limit") \
	X(capacity, 1e9, "requests per second; beyond it requests queue for up to 1 s, then 503; 0: no limit") \
	X(goaway, 1e9, "GOAWAY after every so many requests; 0: never") \
	X(unhealthy, 1, "1: /healthz answers 503") \
	X(deaf, 1, "1: /healthz is never answered; requests are")

struct fault_set {
#define X(name, most, help) double name;
	BENCH_FAULTS(X)
#undef X
};

/* "a=1&b=2" (or with commas). False, nothing changed: *bad is the name or value (cut at 31). */
bool fault_set_query(struct fault_set *f, const char *query, size_t len, char bad[32]);
bool fault_set_json(struct fault_set *f, const char *text, size_t len, char bad[32]);
bool fault_set_print(const struct fault_set *f, struct buf *out);

/*
 * The capacity limit as one number: when the queue would be empty. Returns how long
 * this request waits, ns; -1: too long, refuse it.
 */
int64_t fault_set_queue(const struct fault_set *f, int64_t *busy_until, int64_t now);

#endif
