/* SPDX-License-Identifier: MIT */
/*
 * The result reduced to what is drawn and printed: bins of equal width over the run, the
 * figures of each feature in each window, a histogram, the machine. Built once from the
 * samples; json.c, table.c and page.c only print it. Pure but for environment_read.
 */
#ifndef BENCH_SUMMARY_H
#define BENCH_SUMMARY_H

#include "run.h"

#define SUMMARY_BINS    300 /* at most; at least 100 ms wide */
#define SUMMARY_BUCKETS 56  /* of the histogram: 8 a decade from 10 us to 100 s */

struct environment {
	char machine[96], kernel[96], os[96], cpu[96];
	unsigned cpus;
	uint64_t memory; /* octets */
};
void environment_read(struct environment *e);

struct summary_bin {
	uint32_t outcome[SCENARIO_FEATURES][OUTCOME_COUNT];
	uint32_t count; /* of all features */
	/* Latency of core (of all where no tier is called core), ms; 0: no answer in it. */
	double p50, p99, max;
};

/* A stretch of time in which something was so: a fault in force, a mode of the proxy. */
struct summary_band {
	int64_t from, until;
	char text[sizeof(((struct mark *)0)->text)];
	double part; /* of the datacenter's endpoints; 1 for a mode */
};

/* owned by: the caller, who frees it with summary_free */
struct summary {
	const struct result *r;
	struct environment environment;
	int64_t width; /* of a bin, ns */
	unsigned bins;
	struct summary_bin *bin;
	const char *main_tier; /* "core", or NULL: all */
	struct summary_band *fault, *mode;
	size_t faults, modes;
	/* [0]: the whole run; then the scenario's windows */
	struct figures total[SCENARIO_WINDOWS + 1], *cell; /* cell[window * features + feature] */
	uint64_t histogram[2][SUMMARY_BUCKETS]; /* main tier, the others */
};
/* NULL: out of memory. */
struct summary *summary_create(const struct result *r);
void summary_free(struct summary *s);
unsigned summary_bucket(uint32_t latency_us);
double summary_bucket_limit_ms(unsigned bucket); /* exclusive upper bound */
const char *summary_window(const struct summary *s, unsigned window, int64_t *from, int64_t *until);
/* "held", "FAILED", "not told" */
const char *summary_verdict(const struct judged *j);
/* One sentence: what came of the run. */
void summary_sentence(const struct result *r, char *out, size_t size);

#endif
