/* SPDX-License-Identifier: MIT */
/*
 * Counters and histograms as plain memory: one block per worker, on the board, one
 * writer each. Names, kinds and help come from metrics.def; the admin side sums the
 * blocks and prints them (Prometheus text 0.0.4).
 */
#ifndef FIREBREAK_TELEMETRY_H
#define FIREBREAK_TELEMETRY_H

#include <stdint.h>
#include <stdio.h>

#include "conf.h"
#include "fault.h"

/* X(NAME, "metric_name", kind, "help"): scalars of a worker. */
enum tm_scalar {
#define X(name, metric, kind, help) TM_##name,
#include "metrics.def"
#undef X
	TM_SCALARS
};

/* How an exchange ended for the client. */
#define TM_OUTCOMES(X) \
	X(SERVED, "served") X(FAILED_OVER, "failed-over") X(STALE, "stale") X(ACCEPTED, "accepted") \
	X(REFUSED, "refused") X(FAILED, "failed") X(CLIENT, "client")
enum tm_outcome {
#define X(name, word) TM_##name,
	TM_OUTCOMES(X)
#undef X
	TM_OUTCOMES_COUNT
};
const char *tm_outcome_word(enum tm_outcome o);

/* Log-linear histogram of nanoseconds: 16 linear steps per power of two, from about
 * 1 µs to 68 s, so a value is known within 6.25 %. The first 16 buckets are 64 ns
 * wide; what is longer than the last bucket counts there. */
#define TM_HIST_STEPS   16
#define TM_HIST_BUCKETS (27 * TM_HIST_STEPS)
struct tm_hist {
	uint64_t count, sum;
	uint64_t bucket[TM_HIST_BUCKETS];
};
void tm_hist_record(struct tm_hist *h, int64_t ns);
void tm_hist_merge(struct tm_hist *into, const struct tm_hist *from);
/* Upper bound of the value at quantile q (0..1), ns; 0 when empty. */
int64_t tm_hist_quantile(const struct tm_hist *h, double q);
unsigned tm_hist_bucket(int64_t ns);
int64_t tm_hist_bucket_limit(unsigned bucket); /* exclusive upper bound, ns */

/* Datacenter index CONF_MAX_DATACENTERS stands for "none" (we answered). */
struct tm_worker {
	uint64_t scalar[TM_SCALARS];
	uint64_t fault[FAULT_COUNT];
	uint64_t exchange[CONF_MAX_FEATURES][TM_OUTCOMES_COUNT][CONF_MAX_DATACENTERS + 1];
	uint64_t shed[CONF_MAX_TIERS]; /* requests not forwarded because of overload */
	struct tm_hist latency[CONF_MAX_FEATURES]; /* request head to last byte of the answer */
};
static inline void tm_add(struct tm_worker *t, enum tm_scalar s, uint64_t n) { t->scalar[s] += n; }
static inline void tm_set(struct tm_worker *t, enum tm_scalar s, uint64_t n) { t->scalar[s] = n; }
/* One finished exchange; latency_ns < 0: not measured. */
void tm_exchange(struct tm_worker *t, unsigned feature, enum tm_outcome o, unsigned datacenter, int64_t latency_ns);
void tm_merge(struct tm_worker *into, const struct tm_worker *from);
/* A new process takes over the block of one that died: counters go on (a counter
 * that falls looks like a restart of the service), gauges begin at 0. */
void tm_restart(struct tm_worker *t);
/* Nobody knows any more whose counts per feature, tier and datacenter these are: they go,
 * since counts under a wrong name would be worse than none. */
void tm_forget_names(struct tm_worker *t);
/* The configuration was swapped: moves what is counted per feature, tier and
 * datacenter to the places these names have now; what has no place any more is dropped. */
void tm_remap(struct tm_worker *t, const struct conf *from, const struct conf *to);

/* Prometheus text exposition format 0.0.4: HELP and TYPE for all, no user ids in
 * labels. The label writer is shared with the admin side's own metrics. */
void tm_render(FILE *out, const struct tm_worker *sum, const struct conf *c);
/* A label value with backslash, quote and newline escaped. */
void tm_render_label(FILE *out, const char *value);

#endif
