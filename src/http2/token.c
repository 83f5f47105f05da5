/* SPDX-License-Identifier: MIT */
/*
 * Field names we act on, found by a small hash: mostly one comparison.
 */
#include <string.h>

#include "firebreak/h2.h"

#define LONGEST 22 /* grpc-retry-pushback-ms */

static const struct {
	const char *text;
	uint8_t len;
} names[H2_TOKEN_COUNT] = {
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
		for (h = hash(names[t].text, names[t].len); slot[h]; h = (h + 1) % SLOTS)
			;
		slot[h] = (uint8_t)t;
	}
}

enum h2_token h2_token(const char *name, size_t len)
{
	unsigned h;

	if (len > LONGEST || !len)
		return H2_OTHER;
	for (h = hash(name, len); slot[h]; h = (h + 1) % SLOTS) {
		if (names[slot[h]].len == len && !memcmp(names[slot[h]].text, name, len))
			return slot[h];
	}
	return H2_OTHER;
}

struct h2_field h2_field(enum h2_token t, const char *value, size_t len)
{
	return (struct h2_field){ .name = (const uint8_t *)names[t].text, .name_len = names[t].len,
				  .value = (const uint8_t *)value, .value_len = len, .flags = H2_FIELD_KEEP,
				  .token = (uint8_t)t };
}

const char *h2_token_name(enum h2_token t)
{
	return names[t].text;
}
