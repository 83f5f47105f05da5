/* SPDX-License-Identifier: MIT */
#include "fault_set.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define QUEUE_MAX INT64_C(1000000000) /* ns */

static const struct {
	const char *name;
	size_t offset;
	double most;
} table[] = {
#define X(n, most, help) { #n, offsetof(struct fault_set, n), most },
	BENCH_FAULTS(X)
#undef X
};
#define FAULTS (sizeof(table) / sizeof(*table))

static bool set_one(struct fault_set *f, const char *name, const char *value)
{
	char *end;
	double v;
	size_t i;

	if (!strcmp(value, "true"))
		value = "1";
	if (!strcmp(value, "false"))
		value = "0";
	v = strtod(value, &end);
	if (!*value || *end || !isfinite(v) || v < 0)
		return false;
	if (!strcmp(name, "clear")) {
		if (v > 0)
			*f = (struct fault_set){ 0 };
		return true;
	}
	for (i = 0; i < FAULTS; i++) {
		if (strcmp(name, table[i].name) != 0)
			continue;
		if (v > table[i].most)
			return false;
		*(double *)((char *)f + table[i].offset) = v;
		return true;
	}
	return false;
}

bool fault_set_query(struct fault_set *f, const char *query, size_t len, char bad[32])
{
	struct fault_set next = *f;
	const char *end = query + len, *p, *stop;
	char pair[64], *value;

	for (p = query; p < end; p = stop + 1) {
		for (stop = p; stop < end && *stop != '&' && *stop != ','; stop++)
			;
		snprintf(pair, sizeof(pair), "%.*s", (int)(stop - p), p);
		value = strchr(pair, '=');
		if (value)
			*value++ = '\0';
		if (!set_one(&next, pair, value ? value : "1")) {
			snprintf(bad, 32, "%.31s", pair);
			return false;
		}
	}
	*f = next;
	return true;
}

bool fault_set_json(struct fault_set *f, const char *text, size_t len, char bad[32])
{
	struct fault_set next = *f;
	char value[32];
	size_t i;

	if (json_member(text, len, "clear", value, sizeof(value)) > 0)
		set_one(&next, "clear", value);
	for (i = 0; i < FAULTS; i++) {
		if (json_member(text, len, table[i].name, value, sizeof(value)) > 0 && !set_one(&next, table[i].name, value)) {
			snprintf(bad, 32, "%s", table[i].name);
			return false;
		}
	}
	*f = next;
	return true;
}

bool fault_set_print(const struct fault_set *f, struct buf *out)
{
	size_t i;

	for (i = 0; i < FAULTS; i++) {
		if (!json_put(out, "%s\"%s\":%g", i ? "," : "{", table[i].name, *(const double *)((const char *)f + table[i].offset)))
			return false;
	}
	return json_put(out, "}");
}

int64_t fault_set_queue(const struct fault_set *f, int64_t *busy_until, int64_t now)
{
	int64_t wait;

	if (f->capacity <= 0)
		return 0;
	if (*busy_until < now)
		*busy_until = now;
	wait = *busy_until - now;
	if (wait > QUEUE_MAX)
		return -1;
	*busy_until += (int64_t)(1e9 / f->capacity);
	return wait;
}
