/* SPDX-License-Identifier: MIT */
/*
 * Field names we act on, found by length and last octet: at most a few comparisons.
 */
#include <string.h>

#include "firebreak/h2.h"

#define LONGEST 19 /* proxy-authorization */

static const struct {
	const char *text;
	uint8_t len;
} names[H2_TOKEN_COUNT] = {
	[H2_OTHER] = { "", 0 },
#define X(name, text) [H2_##name] = { text, sizeof(text) - 1 },
	H2_TOKENS(X)
#undef X
};

/* Tokens by length: first[len] .. first[len + 1] in `order`. Filled once. */
static uint8_t order[H2_TOKEN_COUNT], first[LONGEST + 2];

__attribute__((constructor)) static void sort_by_length(void)
{
	unsigned len, t, n = 0;

	for (len = 0; len <= LONGEST; len++) {
		first[len] = (uint8_t)n;
		for (t = 1; t < H2_TOKEN_COUNT; t++) {
			if (names[t].len == len)
				order[n++] = (uint8_t)t;
		}
	}
	first[LONGEST + 1] = (uint8_t)n;
}

enum h2_token h2_token(const char *name, size_t len)
{
	unsigned i;

	if (len > LONGEST || !len)
		return H2_OTHER;
	for (i = first[len]; i < first[len + 1]; i++) {
		const char *text = names[order[i]].text;

		if (text[len - 1] == name[len - 1] && !memcmp(text, name, len))
			return order[i];
	}
	return H2_OTHER;
}

const char *h2_token_name(enum h2_token t)
{
	return names[t].text;
}
