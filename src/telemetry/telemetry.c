/* SPDX-License-Identifier: MIT */
/*
 * A worker's block of counters: recording, summing, and carrying it over a restart
 * or a change of configuration. The block has one writer; whoever sums it reads
 * words that may be a moment apart, which a counter can bear.
 */
#include "firebreak/telemetry.h"

#include <stdlib.h>
#include <string.h>

const char *tm_outcome_word(enum tm_outcome o)
{
	static const char *const words[] = {
#define X(name, word) word,
		TM_OUTCOMES(X)
#undef X
	};

	return (unsigned)o < TM_OUTCOMES_COUNT ? words[o] : "failed";
}

void tm_exchange(struct tm_worker *t, unsigned feature, enum tm_outcome o, unsigned datacenter, int64_t latency_ns)
{
	if (feature >= CONF_MAX_FEATURES || (unsigned)o >= TM_OUTCOMES_COUNT)
		return;
	if (datacenter > CONF_MAX_DATACENTERS)
		datacenter = CONF_MAX_DATACENTERS;
	t->exchange[feature][o][datacenter]++;
	if (latency_ns >= 0)
		tm_hist_record(&t->latency[feature], latency_ns);
}

/* The block is words only, and every one of them is summed. */
_Static_assert(sizeof(struct tm_worker) % sizeof(uint64_t) == 0, "tm_worker holds uint64_t only");

void tm_merge(struct tm_worker *into, const struct tm_worker *from)
{
	uint64_t *to = (uint64_t *)into;
	const uint64_t *add = (const uint64_t *)from;
	size_t i;

	for (i = 0; i < sizeof(*into) / sizeof(*to); i++)
		to[i] += add[i];
}

void tm_restart(struct tm_worker *t)
{
	enum { counter, counter_ns, gauge };
	static const uint8_t kinds[TM_SCALARS] = {
#define X(name, metric, kind, help) [TM_##name] = kind,
#include "firebreak/metrics.def"
#undef X
	};
	unsigned i;

	for (i = 0; i < TM_SCALARS; i++) {
		if (kinds[i] == gauge)
			t->scalar[i] = 0;
	}
}

void tm_forget_names(struct tm_worker *t)
{
	memset(t->exchange, 0, sizeof(t->exchange));
	memset(t->shed, 0, sizeof(t->shed));
	memset(t->latency, 0, sizeof(t->latency));
}

static int find_feature(const struct conf *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->features; i++) {
		if (!strcmp(c->feature[i].name, name))
			return (int)i;
	}
	return -1;
}

/* Where the counts of datacenter `from_index` go: its new index, or "none". */
static unsigned find_datacenter(const struct conf *from, unsigned from_index, const struct conf *to)
{
	size_t i;

	for (i = 0; from_index < from->datacenters && i < to->datacenters; i++) {
		if (!strcmp(to->datacenter[i].name, from->datacenter[from_index].name))
			return (unsigned)i;
	}
	return CONF_MAX_DATACENTERS;
}

static void remap_tiers(struct tm_worker *t, const struct tm_worker *old, const struct conf *from, const struct conf *to)
{
	size_t i, k;

	for (i = 0; i < from->tiers; i++)
		for (k = 0; k < to->tiers; k++)
			if (!strcmp(from->tier[i], to->tier[k]))
				t->shed[k] = old->shed[i];
}

void tm_remap(struct tm_worker *t, const struct conf *from, const struct conf *to)
{
	struct tm_worker *old = malloc(sizeof(*old));
	unsigned f, o, d, to_dc[CONF_MAX_DATACENTERS + 1];
	int place;

	if (!old) {
		tm_forget_names(t);
		return;
	}
	memcpy(old, t, sizeof(*old));
	for (d = 0; d <= CONF_MAX_DATACENTERS; d++)
		to_dc[d] = find_datacenter(from, d, to);
	tm_forget_names(t);
	remap_tiers(t, old, from, to);
	for (f = 0; f < from->features; f++) {
		place = find_feature(to, from->feature[f].name);
		if (place < 0)
			continue;
		t->latency[place] = old->latency[f];
		for (o = 0; o < TM_OUTCOMES_COUNT; o++) {
			for (d = 0; d <= CONF_MAX_DATACENTERS; d++)
				t->exchange[place][o][to_dc[d]] += old->exchange[f][o][d];
		}
	}
	free(old);
}
