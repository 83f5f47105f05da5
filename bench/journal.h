/* SPDX-License-Identifier: MIT */
/*
 * What an endpoint has accepted, one JSON line per acknowledged message, each
 * appended by one write() before the answer: loss, duplication and reordering are
 * checked from outside by comparing journals with what clients were told. A repeated
 * key is journaled again, marked: its first receiver may have died before it wrote.
 */
#ifndef BENCH_JOURNAL_H
#define BENCH_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"

struct journal {
	int fd; /* -1: none is kept */
	char path[4096];
};

/* Appends to DIR/ENDPOINT.journal. dir NULL: no journal. False with a sentence. */
bool journal_open(struct journal *j, const char *dir, const char *endpoint, char *why, size_t why_size);
void journal_close(struct journal *j);
/* False: it could not be written whole; the message must not be acknowledged. */
bool journal_append(struct journal *j, const struct store *s, const struct store_message *m, const char *datacenter,
		    const char *endpoint, bool replayed, int64_t wall_ns);

#endif
