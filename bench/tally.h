/* SPDX-License-Identifier: MIT */
/*
 * What happened, by phase and feature, and assertions on it. A phase begins when the
 * driver is told (SIGUSR1); a request belongs to the phase it was intended in.
 *
 * An assertion is PHASE.WHAT.COUNT OP NUMBER:
 *   PHASE  a phase's name, or all
 *   WHAT   a feature's name, or core, core-reads, other, all
 *   COUNT  an outcome's word (served, stale, ...), reordered, total, ok (everything
 *          but failed and wrong), p50_ms, p99_ms, max_ms, over_250_ms, over_400_ms
 *          (how many took longer), gap_ms (longest time without a served, failed-over
 *          or stale answer of the phase)
 *   OP     == != <= >= < >
 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <stdint.h>

#include "firebreak/telemetry.h"
#include "outcome.h"

/* X(NAME, "word", "column", core, read, default share) */
#define FEATURES(X) \
	X(SEND, "send", "send", true, false, 25) X(RECENT, "recent-messages", "recent", true, true, 20) \
	X(ROOMS, "room-list", "rooms", true, true, 10) X(SYNC, "sync", "sync", true, true, 10) \
	X(PRESENCE, "presence", "presence", true, true, 12) X(MEDIA, "media", "media", false, false, 10) \
	X(BACKUP, "backup", "backup", false, false, 5) X(SHOPPING, "shopping", "shopping", false, true, 8)
enum tally_feature {
#define X(name, word, column, core, read, share) FEATURE_##name,
	FEATURES(X)
#undef X
	TALLY_FEATURES
};
struct tally_feature_info {
	const char *word, *column;
	bool core, read;
	double share;
};
extern const struct tally_feature_info tally_features[TALLY_FEATURES];

#define TALLY_PHASES 16

struct tally_cell {
	uint64_t outcome[OUTCOME_COUNT];
	uint64_t reordered, over_250_ms, over_400_ms;
	int64_t max_ns;
	struct tm_hist latency;
};

struct tally_phase {
	char name[32];
	struct tally_cell cell[TALLY_FEATURES];
	int64_t last_good, gap; /* core answers, ns */
};

struct tally {
	unsigned phases, phase; /* named; current */
	struct tally_phase at[TALLY_PHASES];
	uint64_t second[TALLY_FEATURES][OUTCOME_COUNT]; /* since the last live row */
};

/* names: "normal,one-lost,..."; NULL: one phase called "run". False: too many, or
 * too long. */
bool tally_init(struct tally *t, const char *names);
void tally_next_phase(struct tally *t, int64_t now);
void tally_record(struct tally *t, unsigned phase, unsigned feature, enum outcome o, bool reordered, int64_t now, int64_t latency_ns);

/* So many of the feature's served answers of the current second had failed over: the
 * proxy knows, the answer does not say. */
void tally_failed_over(struct tally *t, unsigned feature, uint64_t n);

enum expect_result { EXPECT_HELD, EXPECT_FAILED, EXPECT_INVALID };
/* *value is what was found. */
enum expect_result tally_expect(const struct tally *t, const char *assertion, double *value);

#endif
