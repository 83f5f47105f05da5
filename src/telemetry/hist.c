/* SPDX-License-Identifier: MIT */
/*
 * The log-linear histogram (the idea of HdrHistogram): the exponent of a value picks
 * an octave, its next four bits one of 16 equal steps in it. Recording is a count of
 * leading zeros and one increment; no memory is touched but the bucket and two words.
 *
 *   octave 0        [0, 1024) ns                in steps of 64 ns
 *   octave k >= 1   [2^(9+k), 2^(10+k)) ns      in steps of 2^(5+k) ns
 */
#include "firebreak/telemetry.h"

#define FIRST_BITS 10 /* octave 0 ends at 2^10 ns */
#define STEP_BITS  4

unsigned tm_hist_bucket(int64_t ns)
{
	unsigned exponent, bucket;

	if (ns < 0)
		return 0;
	if (ns < (INT64_C(1) << FIRST_BITS))
		return (unsigned)(ns >> (FIRST_BITS - STEP_BITS));
	exponent = 63 - (unsigned)__builtin_clzll((unsigned long long)ns);
	bucket = (exponent - FIRST_BITS + 1) * TM_HIST_STEPS + ((unsigned)(ns >> (exponent - STEP_BITS)) & (TM_HIST_STEPS - 1));
	return bucket < TM_HIST_BUCKETS ? bucket : TM_HIST_BUCKETS - 1;
}

int64_t tm_hist_bucket_limit(unsigned bucket)
{
	unsigned octave = bucket / TM_HIST_STEPS, step = bucket % TM_HIST_STEPS;

	if (!octave)
		return (int64_t)(step + 1) << (FIRST_BITS - STEP_BITS);
	return (int64_t)(TM_HIST_STEPS + step + 1) << (octave - 1 + FIRST_BITS - STEP_BITS);
}

void tm_hist_record(struct tm_hist *h, int64_t ns)
{
	h->count++;
	h->sum += ns > 0 ? (uint64_t)ns : 0;
	h->bucket[tm_hist_bucket(ns)]++;
}

void tm_hist_merge(struct tm_hist *into, const struct tm_hist *from)
{
	unsigned i;

	into->count += from->count;
	into->sum += from->sum;
	for (i = 0; i < TM_HIST_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}

int64_t tm_hist_quantile(const struct tm_hist *h, double q)
{
	uint64_t total = 0, seen = 0, rank;
	unsigned i;

	/* Not h->count: its owner may be in the middle of a record. */
	for (i = 0; i < TM_HIST_BUCKETS; i++)
		total += h->bucket[i];
	if (!total)
		return 0;
	if (!(q > 0))
		q = 0;
	if (q > 1)
		q = 1;
	rank = (uint64_t)(q * (double)total);
	if ((double)rank < q * (double)total || !rank)
		rank++;
	if (rank > total)
		rank = total;
	for (i = 0; i < TM_HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank)
			break;
	}
	return tm_hist_bucket_limit(i);
}
