/* SPDX-License-Identifier: MIT */
/*
 * What run.c (options, what can be said before) and conductor.c (the run) share.
 */
#ifndef BENCH_CONDUCTOR_H
#define BENCH_CONDUCTOR_H

#include "run.h"

struct run_options {
	const char *scenario, *report, *json, *samples, *target, *authority, *ca, *admin, *token_file, *journal, *firebreak;
	double quick;
	uint64_t seed;
	unsigned threads;
	bool seeded, cleartext, insecure, allow_remote, quiet, rows, keep, keys;
};

/* Where requests go, as the cast or the scenario says. */
struct place {
	const char *target, *authority, *ca, *journal;
	bool tls, verify;
};

/* Is somebody there who speaks HTTP/2, with a certificate that fits? False with a sentence. At most 4 s. */
bool reach(const struct place *p, char why[300]);

/* The run from its cast to its results; the exit status. */
int conduct(const struct scenario *s, const struct run_options *o);

#endif
