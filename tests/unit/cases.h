/* SPDX-License-Identifier: MIT */
/*
 * Tests whose cases are lines of a file an operator can read and add to. A line is
 * cut into words at blanks; "#" at the start of a word begins a comment. Every failing
 * line is told with its place, and the count of them fails the test.
 */
#ifndef FIREBREAK_TESTS_CASES_H
#define FIREBREAK_TESTS_CASES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASE_WORDS 40

struct cases {
	const char *path;
	FILE *file;
	int line, run, failed;
	char text[4096];
	char *word[CASE_WORDS + 1];
	int words;
};

static inline bool cases_open(struct cases *c, const char *path)
{
	memset(c, 0, sizeof(*c));
	c->path = path;
	c->file = fopen(path, "r");
	if (!c->file)
		fprintf(stderr, "%s: cannot be read\n", path);
	return c->file;
}

/* The next line with a word in it; word[words] is NULL. */
static inline bool cases_next(struct cases *c)
{
	char *save, *w;

	while (fgets(c->text, sizeof(c->text), c->file)) {
		c->line++;
		c->words = 0;
		for (w = strtok_r(c->text, " \t\n", &save); w && *w != '#' && c->words < CASE_WORDS; w = strtok_r(NULL, " \t\n", &save))
			c->word[c->words++] = w;
		c->word[c->words] = NULL;
		if (c->words)
			return true;
	}
	fclose(c->file);
	return false;
}

__attribute__((format(printf, 2, 3))) static inline void cases_fail(struct cases *c, const char *format, ...)
{
	va_list ap;

	c->failed++;
	fprintf(stderr, "%s:%d: ", c->path, c->line);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* "\xNN" and "\\" of a word, in place; the length. */
static inline size_t cases_unescape(char *w)
{
	char *out = w, *start = w;
	unsigned v;

	while (*w) {
		if (w[0] == '\\' && w[1] == 'x' && sscanf(w + 2, "%2x", &v) == 1) {
			*out++ = (char)v;
			w += 4;
		} else {
			if (w[0] == '\\' && w[1] == '\\')
				w++;
			*out++ = *w++;
		}
	}
	*out = '\0';
	return (size_t)(out - start);
}

/* xorshift64*: the same numbers on every machine from the same seed. */
static inline uint64_t cases_random(uint64_t *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 0x2545f4914f6cdd1du;
}

static inline unsigned cases_below(uint64_t *s, unsigned n)
{
	return (unsigned)((cases_random(s) >> 33) % n);
}

#endif
