/* SPDX-License-Identifier: MIT */
/*
 * Field names we act on, found by a small hash: mostly one comparison.
 */
#include <string.h>

#include "firebreak/h2.h"

#define LONGEST 22 /* grpc-retry-pushback-ms */

const struct h2_name h2_names[H2_TOKEN_COUNT] = {
	[H2_OTHER] = { "", 0 },
#define X(name, text) [H2_##name] = { text, sizeof(text) - 1 },
	H2_TOKENS(X)
#undef X
};

/* Length, first and last octet tell nearly all of them apart; where two names meet in
 * a slot the later one goes to the next. */
#define SLOTS 256
static uint8_t slot[SLOTS];

static unsigned hash(const char *name, size_t len)
{
	return ((unsigned)len * 28 + (uint8_t)name[0] * 61u + (uint8_t)name[len - 1] * 8u + (uint8_t)name[len / 2] * 6u) % SLOTS;
}

__attribute__((constructor)) static void fill_slots(void)
{
	unsigned t, h;

	for (t = 1; t < H2_TOKEN_COUNT; t++) {
		for (h = hash(h2_names[t].text, h2_names[t].len); slot[h]; h = (h + 1) % SLOTS)
			;
		slot[h] = (uint8_t)t;
	}
}

static uint64_t word(const char *p, size_t octets)
{
	uint64_t w = 0;

	memcpy(&w, p, octets);
	return w;
}

/* memcmp() for so few octets is mostly its call. Words overlap where they have to;
 * 2 <= n <= 24. */
static bool same(const char *a, const char *b, size_t n)
{
	if (n >= 8)
		return word(a, 8) == word(b, 8) && word(a + n - 8, 8) == word(b + n - 8, 8) && (n <= 16 || word(a + 8, 8) == word(b + 8, 8));
	if (n >= 4)
		return word(a, 4) == word(b, 4) && word(a + n - 4, 4) == word(b + n - 4, 4);
	return word(a, 2) == word(b, 2) && word(a + n - 2, 2) == word(b + n - 2, 2);
}

enum h2_token h2_token(const char *name, size_t len)
{
	unsigned h;

	if (len > LONGEST || !len)
		return H2_OTHER;
	for (h = hash(name, len); slot[h]; h = (h + 1) % SLOTS) {
		if (h2_names[slot[h]].len == len && same(h2_names[slot[h]].text, name, len))
			return slot[h];
	}
	return H2_OTHER;
}
