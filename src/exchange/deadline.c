/* SPDX-License-Identifier: MIT */
/*
 * The time a client gives: gRPC's grpc-timeout, or the request header named by
 * retry.deadline_header. What is left of it goes on with every attempt, and when it is over
 * the client has its answer. It never lengthens a feature's own timeout.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "firebreak/clock.h"
#include "xchg_private.h"

static const struct unit {
	char name;
	int64_t ns;
} units[] = { /* finest first */
	{ 'n', 1 }, { 'u', 1000 }, { 'm', CLOCK_MS }, { 'S', CLOCK_SEC }, { 'M', 60 * CLOCK_SEC }, { 'H', 3600 * CLOCK_SEC },
};
#define UNITS (sizeof(units) / sizeof(*units))
#define DIGITS_MOST 99999999
#define FOR_EVER    (INT64_MAX / 4) /* some seventy years; a clock can be added to it */

bool deadline_parse(const char *text, size_t len, bool plain, int64_t *ns)
{
	int64_t n = 0, unit;
	size_t i, u;

	for (i = 0; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
		if (i == 8)
			return false;
		n = n * 10 + (text[i] - '0');
	}
	if (!i || len > i + 1)
		return false;
	for (u = 0; u < UNITS && (len == i || units[u].name != text[i]); u++)
		;
	if (u == UNITS && !(plain && len == i))
		return false;
	unit = u == UNITS ? CLOCK_MS : units[u].ns;
	*ns = n > FOR_EVER / unit ? FOR_EVER : n * unit;
	return true;
}

size_t deadline_format(int64_t ns, bool plain, char text[16])
{
	size_t u = 1; /* who counts nanoseconds? */

	ns = ns > 0 ? ns : 0;
	if (plain)
		return (size_t)snprintf(text, 16, "%" PRId64, ns / CLOCK_MS);
	while (u < UNITS - 1 && ns / units[u].ns > DIGITS_MOST)
		u++;
	return (size_t)snprintf(text, 16, "%" PRId64 "%c", ns / units[u].ns % (DIGITS_MOST + 1), units[u].name);
}

/* Of several that can be read the shortest counts; one field goes on. What cannot be read
 * limits nothing, and is the backend's to judge. */
void deadline_read(struct xchg *x)
{
	const char *header = x->snap->conf->retry.deadline_header;
	size_t len = header ? strlen(header) : 0;
	uint16_t i, kept = 0;

	for (i = 0; i < x->fields; i++) {
		struct h2_field *f = &x->field[i];
		bool plain = len && f->name_len == len && !memcmp(f->name, header, len);
		int64_t ns;

		if ((plain || (x->grpc && f->token == H2_GRPC_TIMEOUT)) && deadline_parse((const char *)f->value, f->value_len, plain, &ns)) {
			x->deadline = deadline_or(x, x->started + (ns ? ns : 1));
			if (x->left[plain])
				continue;
			x->left[plain] = &x->field[kept];
		}
		x->field[kept++] = *f;
	}
	x->fields = kept;
}

bool deadline_pass_on(struct xchg *x)
{
	unsigned plain;

	for (plain = 0; plain < 2; plain++) {
		char *text;

		if (!x->left[plain])
			continue;
		text = arena_alloc(&x->down->arena, 16); /* what an earlier attempt said may be on its way */
		if (!text)
			return false;
		x->left[plain]->value_len = deadline_format(x->deadline - clock_now(), plain, text);
		x->left[plain]->value = (const uint8_t *)text;
	}
	return true;
}

int64_t deadline_or(const struct xchg *x, int64_t at)
{
	return x->deadline && x->deadline < at ? x->deadline : at;
}
