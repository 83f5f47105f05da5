/* SPDX-License-Identifier: MIT */
/*
 * What a client got, judged from the answer alone. Pure.
 */
#ifndef BENCH_OUTCOME_H
#define BENCH_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>

#define OUTCOMES(X) \
	X(SERVED, "served", "")      /* by a datacenter */ \
	X(FAILED_OVER, "failed_over", "f") /* the same, after another one had failed */ \
	X(STALE, "stale", "s")       /* recent state: Cache-Status says hit */ \
	X(ACCEPTED, "accepted", "a") /* 202, for later */ \
	X(REFUSED, "refused", "r")   /* a polite 503 */ \
	X(FAILED, "failed", "!")     /* an error, a cut answer, no answer in time */ \
	X(WRONG, "wrong", "W")       /* somebody else's bytes */

enum outcome {
#define X(name, word, mark) OUTCOME_##name,
	OUTCOMES(X)
#undef X
	OUTCOME_COUNT
};
const char *outcome_word(enum outcome o);
const char *outcome_mark(enum outcome o);

struct outcome_answer {
	int status;    /* 0: none came */
	bool complete; /* the body too */
	const char *content_type, *cache_status, *proxy_status; /* NULL: not there */
	const char *body; /* its beginning */
	size_t body_len;
	const char *user; /* who asked, for a private answer; NULL: not private */
};
enum outcome outcome_of(const struct outcome_answer *a);

#endif
