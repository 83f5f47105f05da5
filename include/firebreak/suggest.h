/* SPDX-License-Identifier: MIT */
/*
 * Did you mean: for whoever reads what people type.
 */
#ifndef FIREBREAK_SUGGEST_H
#define FIREBREAK_SUGGEST_H

#include <stddef.h>

/* The nearest of the words tried, when it is near enough to have been meant. Words are
 * borrowed until suggest_text. */
struct suggest {
	const char *word;
	const char *best;
	unsigned distance;
};
void suggest_init(struct suggest *s, const char *word);
void suggest_try(struct suggest *s, const char *candidate); /* NULL: none */
/* `; did you mean "x"?`, or an empty text. Lives in the caller's buffer. */
const char *suggest_text(const struct suggest *s, char *out, size_t size);

#endif
