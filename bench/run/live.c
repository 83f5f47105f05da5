/* SPDX-License-Identifier: MIT */
#include "live.h"

#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "firebreak/clock.h"

void live_init(struct live *l, const struct scenario *s, struct sample_log *const *log, unsigned logs, bool terminal)
{
	struct winsize w;

	*l = (struct live){ .s = s, .log = log, .logs = logs, .columns = LIVE_COLUMNS, .terminal = terminal };
	/* A line that wraps cannot be written over. */
	if (terminal && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_col > LIVE_LEAST && w.ws_col <= LIVE_COLUMNS)
		l->columns = w.ws_col - 1u;
}

void live_count(struct live *l)
{
	unsigned i;

	memset(l->count, 0, sizeof(l->count));
	for (i = 0; i < l->logs; i++) {
		uint64_t have = atomic_load_explicit(&l->log[i]->count, memory_order_acquire);

		for (; l->read[i] < have; l->read[i]++) {
			const struct sample *r = &l->log[i]->record[l->read[i]];

			l->count[r->feature][r->outcome]++;
		}
	}
}

struct text {
	char *out;
	size_t used, room; /* room: octets without the end */
	bool full;
};

static void put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->out + t->used, t->room + 1 - t->used, format, args);
	va_end(args);
	t->full = t->full || (size_t)n > t->room - t->used;
	t->used += (size_t)n > t->room - t->used ? t->room - t->used : (size_t)n;
}

/* As a whole or not at all. */
static void put_counts(struct text *t, const char *name, int cut, const uint64_t count[OUTCOME_COUNT])
{
	size_t begun = t->used;
	bool any = false;
	int o;

	put(t, "  %.*s", cut, name);
	for (o = 0; o < OUTCOME_COUNT; o++) {
		if (count[o])
			put(t, " %llu%s", (unsigned long long)count[o], outcome_mark((enum outcome)o));
		any = any || count[o];
	}
	if (!any)
		put(t, " 0");
	if (t->full)
		t->used = begun;
}

/* Features of one tier added up, or (tier NULL) of the one. */
static void add_up(const struct live *l, const char *tier, unsigned feature, uint64_t sum[OUTCOME_COUNT])
{
	unsigned f, o;

	memset(sum, 0, OUTCOME_COUNT * sizeof(*sum));
	for (f = 0; f < l->s->features; f++) {
		for (o = 0; o < OUTCOME_COUNT && (tier ? !strcmp(l->s->feature[f].tier, tier) : f == feature); o++)
			sum[o] += l->count[f][o];
	}
}

/* Names cut to so many letters. */
static void put_features(const struct live *l, struct text *t, int cut)
{
	uint64_t sum[OUTCOME_COUNT];
	unsigned f;

	for (f = 0; f < l->s->features; f++) {
		add_up(l, NULL, f, sum);
		if (l->s->feature[f].share > 0)
			put_counts(t, l->s->feature[f].name, cut, sum);
	}
}

static void put_tiers(const struct live *l, struct text *t)
{
	uint64_t sum[OUTCOME_COUNT];
	unsigned f, g;

	for (f = 0; f < l->s->features; f++) {
		const char *tier = l->s->feature[f].tier;

		for (g = 0; strcmp(l->s->feature[g].tier, tier) != 0; g++)
			;
		add_up(l, tier, 0, sum);
		if (g == f) /* the first of its tier */
			put_counts(t, tier, 16, sum);
	}
}

void live_text(const struct live *l, int64_t at, double seconds, const char *mode, const char *faults, char out[LIVE_COLUMNS + 1])
{
	static const int cuts[] = { 32, 4, 0 }; /* 0: by tier */
	char words[200], left[32];
	int64_t rest = l->s->duration > at ? l->s->duration - at : 0;
	struct text t = { .out = out };
	uint64_t done = 0;
	unsigned f, o, i;
	size_t begun;

	for (f = 0; f < l->s->features; f++)
		for (o = 0; o < OUTCOME_COUNT; o++)
			done += l->count[f][o];
	snprintf(left, sizeof(left), "  %llds left", (long long)((rest + CLOCK_SEC / 2) / CLOCK_SEC));
	snprintf(words, sizeof(words), "%s%.16s%s%.*s", *mode ? "  " : "", mode, *faults ? "  " : "", l->columns < LIVE_COLUMNS ? 14 : 34, faults);
	t.room = l->columns - strlen(words) - strlen(left);
	put(&t, "%4llds %6.0f/s", (long long)(at / CLOCK_SEC), seconds > 0 ? (double)done / seconds : 0);
	begun = t.used;
	for (i = 0; i < sizeof(cuts) / sizeof(*cuts) && (!i || t.full); i++) {
		t.used = begun;
		t.full = false;
		if (cuts[i])
			put_features(l, &t, cuts[i]);
		else
			put_tiers(l, &t);
	}
	t.room = l->columns;
	put(&t, "%s%s", words, left);
	out[t.used] = '\0';
}

/* ---- rows ---- */

#define CELLS      8
#define CELL       8
#define HEAD_EVERY 15

static void cell_text(const uint32_t count[OUTCOME_COUNT], char out[CELL])
{
	size_t n, o;
	int blank;

	/* With blanks between where they fit; what does not fit at all is cut, the many first. */
	for (blank = 1; blank >= 0; blank--) {
		for (n = 0, o = 0; o < OUTCOME_COUNT && n < CELL; o++) {
			if (count[o])
				n += (size_t)snprintf(out + n, CELL - n, "%s%u%s", n && blank ? " " : "", count[o], outcome_mark((enum outcome)o));
		}
		if (n < CELL)
			break;
	}
	if (!n)
		snprintf(out, CELL, "-");
}

void live_row(struct live *l, int64_t at, const char *mode, char head[LIVE_COLUMNS + 1], char out[LIVE_COLUMNS + 1])
{
	struct text h = { .out = head, .room = LIVE_COLUMNS }, t = { .out = out, .room = LIVE_COLUMNS };
	bool due = l->row++ % HEAD_EVERY == 0;
	unsigned f, shown = 0;
	char cell[CELL];

	head[0] = '\0';
	if (due)
		put(&h, "%5s %-9s", "", "mode");
	put(&t, "%4llds %-9.9s", (long long)(at / CLOCK_SEC), mode);
	for (f = 0; f < l->s->features && shown < CELLS; f++) {
		if (l->s->feature[f].share <= 0)
			continue;
		shown++;
		cell_text(l->count[f], cell);
		put(&t, " %-*s", CELL - 1, cell);
		if (due)
			put(&h, " %-*.*s", CELL - 1, CELL - 1, l->s->feature[f].name);
	}
}

void live_print(const struct live *l, const char *line, FILE *out)
{
	if (l->terminal && !l->row)
		fprintf(out, "\r\033[K%s", line);
	else
		fprintf(out, "%s\n", line);
	fflush(out);
}

void live_say(const struct live *l, const char *text, FILE *out)
{
	fprintf(out, "%s== %s\n", l->terminal ? "\r\033[K" : "", text);
	fflush(out);
}

void live_end(const struct live *l, FILE *out)
{
	if (l->terminal)
		fprintf(out, "\r\033[K");
}
