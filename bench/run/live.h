/* SPDX-License-Identifier: MIT */
/*
 * One line a second while it runs, 100 columns at most, or the terminal's:
 *
 *    12s   498/s  send 151  sync 90 12f  media 30 2!  normal  pangyo: kill  48s left
 *
 * A number alone: served; marks as in outcome.h. Features are told one by one, by
 * their first letters where there is little room, else by tier.
 *
 * Or, as rows: a column for each of the first eight features, in 80 columns.
 */
#ifndef BENCH_LIVE_H
#define BENCH_LIVE_H

#include "run.h"

#define LIVE_COLUMNS 100
#define LIVE_LEAST   72 /* a narrower terminal has to wrap */

/* owned by: the conductor */
struct live {
	const struct scenario *s;
	struct sample_log *const *log;
	unsigned logs;
	uint64_t read[SCENARIO_THREADS]; /* records of each log seen so far */
	uint32_t count[SCENARIO_FEATURES][OUTCOME_COUNT];
	unsigned columns;
	bool terminal;
	unsigned row; /* rows printed so far */
};

void live_init(struct live *l, const struct scenario *s, struct sample_log *const *log, unsigned logs, bool terminal);
/* Counts what has ended since the last time. */
void live_count(struct live *l);
/* The line, from the counts and these words ("" where there is nothing to say). */
void live_text(const struct live *l, int64_t at, double seconds, const char *mode, const char *faults, char out[LIVE_COLUMNS + 1]);
/* The same as a row of a table; `head` its heading, "" where one is not due. */
void live_row(struct live *l, int64_t at, const char *mode, char head[LIVE_COLUMNS + 1], char out[LIVE_COLUMNS + 1]);
void live_print(const struct live *l, const char *line, FILE *out);
/* A line of its own, for what happened just now. */
void live_say(const struct live *l, const char *text, FILE *out);
void live_end(const struct live *l, FILE *out);

#endif
