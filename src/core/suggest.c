/* SPDX-License-Identifier: MIT */
/*
 * Did you mean: the nearest known word by edit distance (insert, delete, replace,
 * swap of neighbours; R. A. Wagner and R. Lowrance 1975, the restricted form).
 */
#include "firebreak/suggest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define WORD_MAX 40

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static char folded(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return c == '-' ? '_' : c; /* "max-age" is meant as "max_age" */
}

static bool begins(const char *word, const char *with)
{
	size_t n = strlen(with);

	return n >= 3 && strncmp(word, with, n) == 0;
}

static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2], *spare;
	size_t m = strlen(a), n = strlen(b), i, j;

	for (j = 0; j <= n; j++)
		last[j] = (unsigned)j;
	memset(before, 0, sizeof(rows[0]));
	for (i = 1; i <= m; i++) {
		row[0] = (unsigned)i;
		for (j = 1; j <= n; j++) {
			row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (folded(a[i - 1]) != folded(b[j - 1])));
			if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1]))
				row[j] = least(row[j], before[j - 2] + 1);
		}
		spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[n];
}

void suggest_init(struct suggest *s, const char *word)
{
	size_t len = strlen(word);

	/* Up to a third of the letters may be wrong, at least one. */
	*s = (struct suggest){ .word = word, .distance = len < 6 ? 2 : (unsigned)(len / 3) + 1 };
}

void suggest_try(struct suggest *s, const char *candidate)
{
	unsigned d;

	if (!candidate || strlen(s->word) > WORD_MAX || strlen(candidate) > WORD_MAX || strlen(s->word) < 2)
		return;
	d = distance(s->word, candidate);
	if (d > 1 && (begins(s->word, candidate) || begins(candidate, s->word)))
		d = 1; /* a word cut short, or with an ending */
	if (d < s->distance) {
		s->distance = d;
		s->best = candidate;
	}
}

const char *suggest_text(const struct suggest *s, char *out, size_t size)
{
	out[0] = '\0';
	if (s->best)
		snprintf(out, size, "; did you mean \"%s\"?", s->best);
	return out;
}
