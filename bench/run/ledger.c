/* SPDX-License-Identifier: MIT */
/*
 * Acknowledged messages against the messenger's journals: what was promised has to be
 * there, once, and in the order its conversation sent it. Messages whose fate the client
 * does not know may be there or not, but once at most.
 *
 * A line marked "replayed" repeats an earlier acceptance (the same key, the same number)
 * and counts as a second one only if its number differs.
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "run.h"

#define LINE_MAX_BYTES 8192

/* owned by: the table; freed by: forget */
struct entry {
	UT_hash_handle hh;
	uint64_t seq, others; /* others: lines with another number */
	char key[sizeof(((struct sample_ack *)0)->key)];
};

struct reader {
	struct ledger *l;
	struct entry *table;
};

static void example(struct ledger *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void example(struct ledger *l, const char *format, ...)
{
	va_list args;

	if (l->examples == sizeof(l->example) / sizeof(*l->example))
		return;
	va_start(args, format);
	vsnprintf(l->example[l->examples++], sizeof(*l->example), format, args);
	va_end(args);
}

/* ---- reading ---- */

static bool take_line(struct reader *rd, const char *text)
{
	json_t *line = json_loads(text, 0, NULL);
	const char *key = json_string_value(json_object_get(line, "key"));
	uint64_t seq = (uint64_t)json_integer_value(json_object_get(line, "seq"));
	struct entry *e = NULL;
	bool ok = key && seq;

	if (ok && strlen(key) < sizeof(e->key)) { /* longer ones are not ours */
		HASH_FIND_STR(rd->table, key, e);
		if (!e && (e = calloc(1, sizeof(*e)))) {
			strcpy(e->key, key); /* NOLINT: measured above */
			e->seq = seq;
			HASH_ADD_STR(rd->table, key, e);
		}
		ok = e;
		if (e) {
			e->others += e->seq != seq;
			e->seq = seq < e->seq ? seq : e->seq; /* whatever the order of the files */
		}
	}
	json_decref(line);
	return ok;
}

static bool read_journal(struct reader *rd, const char *path, char why[200])
{
	FILE *f = fopen(path, "re");
	char line[LINE_MAX_BYTES];
	unsigned n = 0;
	bool ok = f;

	if (!f)
		snprintf(why, 200, "%.120s: %s", path, strerror(errno));
	while (ok && fgets(line, sizeof(line), f)) {
		n++;
		/* An endpoint killed in the middle of a line acknowledged nothing of it. */
		if (!strchr(line, '\n') && feof(f))
			break;
		ok = take_line(rd, line);
		if (!ok)
			snprintf(why, 200, "%.120s:%u: not a line of a journal", path, n);
	}
	if (f)
		fclose(f);
	return ok;
}

static bool read_all(struct reader *rd, const char *dir, char why[200])
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[4096];
	unsigned files = 0;
	bool ok = d;

	if (!d)
		snprintf(why, 200, "%.120s: %s", dir, strerror(errno));
	while (ok && (e = readdir(d))) {
		const char *dot = strrchr(e->d_name, '.');

		if (!dot || strcmp(dot, ".journal") != 0)
			continue;
		files++;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		ok = read_journal(rd, path, why);
	}
	if (d)
		closedir(d);
	if (ok && !files) {
		snprintf(why, 200, "%.120s: no journal here", dir);
		ok = false;
	}
	return ok;
}

static void forget(struct reader *rd)
{
	struct entry *e, *next;

	HASH_ITER(hh, rd->table, e, next) {
		HASH_DEL(rd->table, e);
		free(e);
	}
}

/* ---- comparing ---- */

static int by_sending(const void *a, const void *b)
{
	const struct sample_ack *x = *(struct sample_ack *const *)a, *y = *(struct sample_ack *const *)b;

	if (x->user != y->user)
		return x->user < y->user ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static bool promised(const struct sample_ack *a)
{
	return a->status >= 200 && a->status < 300;
}

static void check_one(struct reader *rd, const struct sample_ack *a, struct entry **found)
{
	struct ledger *l = rd->l;
	struct entry *e;

	HASH_FIND_STR(rd->table, a->key, e);
	*found = e;
	l->acknowledged += promised(a);
	l->unknown += !promised(a);
	if (!e) {
		if (promised(a)) {
			l->lost++;
			example(l, "lost: user %u, key %s, answered %u, is in no journal", a->user, a->key, a->status);
		}
		return;
	}
	l->unknown_kept += !promised(a);
	if (e->others) {
		l->duplicated++;
		example(l, "duplicated: user %u, key %s, has number %llu and another", a->user, a->key, (unsigned long long)e->seq);
	} else if (a->seq && a->seq != e->seq) {
		l->duplicated++;
		example(l, "duplicated: user %u, key %s, was told number %llu, journal has %llu", a->user, a->key,
			(unsigned long long)a->seq, (unsigned long long)e->seq);
	}
}

/* Sorted by user and order of sending: numbers of what was promised only grow. */
static void check_order(struct reader *rd, struct sample_ack **ack, size_t n)
{
	const struct sample_ack *before = NULL;
	uint64_t highest = 0;
	struct entry *e;
	size_t i;

	for (i = 0; i < n; i++) {
		check_one(rd, ack[i], &e);
		if (!before || before->user != ack[i]->user)
			highest = 0;
		before = ack[i];
		if (!e || !promised(ack[i]))
			continue;
		if (e->seq < highest) {
			rd->l->reordered++;
			example(rd->l, "reordered: user %u, key %s, has number %llu behind %llu", ack[i]->user, ack[i]->key,
				(unsigned long long)e->seq, (unsigned long long)highest);
		} else {
			highest = e->seq;
		}
	}
}

static bool compare(struct reader *rd, struct sample_log *const *logs, unsigned n)
{
	struct sample_ack **ack;
	size_t total = 0, at = 0, k;
	unsigned i;

	for (i = 0; i < n; i++)
		total += logs[i]->acks;
	ack = malloc((total + 1) * sizeof(struct sample_ack *));
	for (i = 0; ack && i < n; i++) {
		for (k = 0; k < logs[i]->acks && at < total; k++)
			ack[at++] = &logs[i]->ack[k];
	}
	if (ack) {
		qsort(ack, at, sizeof(struct sample_ack *), by_sending);
		check_order(rd, ack, at);
	}
	free(ack);
	return ack;
}

bool ledger_check(struct ledger *l, const char *dir, struct sample_log *const *logs, unsigned n, char why[200])
{
	struct reader rd = { .l = l };

	*l = (struct ledger){ 0 };
	l->checked = read_all(&rd, dir, why);
	if (l->checked && !compare(&rd, logs, n)) {
		snprintf(why, 200, "out of memory");
		l->checked = false;
	}
	forget(&rd);
	return l->checked;
}
