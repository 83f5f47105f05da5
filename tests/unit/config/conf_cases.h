/* SPDX-License-Identifier: MIT */
/*
 * Cases of whole small files:
 *
 *   == title
 *   lines of YAML; \xNN is that octet
 *   --
 *   lines that are expected
 *
 * What a file must have and a case does not mention (listen, datacenters, features) is
 * appended to it, so that a case shows only its point; "%exact" as first line keeps that
 * from happening. Lines that begin with "###" are comments.
 */
#ifndef FIREBREAK_TESTS_CONF_CASES_H
#define FIREBREAK_TESTS_CONF_CASES_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/conf.h"

struct conf_case {
	char title[160];
	char text[16384];
	size_t len;
	char expected[16384];
	int line;
};

struct conf_case_reader {
	FILE *file;
	const char *path;
	int line;
	char pending[160]; /* the title that ended the last case */
	int pending_line;
};

static inline void conf_case_append(struct conf_case *c, const char *line)
{
	unsigned v;

	for (; *line && c->len < sizeof(c->text) - 1; line++) {
		if (line[0] == '\\' && line[1] == 'x' && sscanf(line + 2, "%2x", &v) == 1) {
			c->text[c->len++] = (char)v;
			line += 3;
		} else {
			c->text[c->len++] = *line;
		}
	}
}

static inline bool conf_case_mentions(const struct conf_case *c, const char *key)
{
	char at[64];

	snprintf(at, sizeof(at), "\n%s", key);
	return strncmp(c->text, key, strlen(key)) == 0 || memmem(c->text, c->len, at, strlen(at));
}

static inline void conf_case_complete(struct conf_case *c)
{
	static const char *const rest[][2] = {
		{ "listen:", "listen: [{ address: \"127.0.0.1:8080\" }]\n" },
		{ "datacenters:", "datacenters: [{ name: a, endpoints: [\"10.0.0.1:80\"] }]\n" },
		{ "features:", "features: [{ name: send, tier: core, routes: [\"/\"] }]\n" },
	};
	size_t i;

	for (i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
		if (!conf_case_mentions(c, rest[i][0]))
			conf_case_append(c, rest[i][1]);
}

/* The next case; false at the end. Start with the file open and the rest zero. */
static inline bool conf_case_next(struct conf_case_reader *r, struct conf_case *c)
{
	bool exact = false, after = false, open = r->pending[0];
	char line[4096];

	memset(c, 0, sizeof(*c));
	memcpy(c->title, r->pending, sizeof(c->title));
	c->line = r->pending_line;
	r->pending[0] = '\0';
	while (fgets(line, sizeof(line), r->file)) {
		r->line++;
		if (strncmp(line, "###", 3) == 0)
			continue;
		if (strncmp(line, "== ", 3) == 0) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(open ? r->pending : c->title, sizeof(c->title), "%.150s", line + 3);
			if (open) {
				r->pending_line = r->line;
				break;
			}
			c->line = r->line;
			open = true;
		} else if (strcmp(line, "%exact\n") == 0) {
			exact = true;
		} else if (strcmp(line, "--\n") == 0) {
			after = true;
		} else if (after) {
			if (strlen(c->expected) + strlen(line) < sizeof(c->expected) && line[0] != '\n')
				memcpy(c->expected + strlen(c->expected), line, strlen(line) + 1);
		} else if (open) {
			conf_case_append(c, line);
		}
	}
	if (open && !exact)
		conf_case_complete(c);
	return open;
}

#endif
