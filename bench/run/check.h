/* SPDX-License-Identifier: MIT */
/*
 * Whose octets are these? Names of users (and their rooms, and the texts they send, which
 * are made of nothing else) hold a tag "~SEED-NUMBER"; made-up bodies follow a pattern of
 * their name. An answer is looked through as it comes, every octet of it. Pure.
 */
#ifndef BENCH_CHECK_H
#define BENCH_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECK_TAG_MAX 40

struct check {
	/* tags that may occur; "" none. Nothing but them may follow a '~'. */
	char tag[2][CHECK_TAG_MAX];
	uint8_t alive; /* bits of the tags that match so far; 0: not inside one */
	uint8_t at;
	bool foreign;
	/* a made-up body */
	bool pattern;
	uint64_t seed, length, seen;
};

/* Text: tags other than these are foreign (other: NULL or a second one). */
void check_text(struct check *c, const char *own, const char *other);
/* A made-up body of this length. */
void check_pattern(struct check *c, const char *name, uint64_t length);
void check_take(struct check *c, const void *data, size_t len);
/* The answer is complete: does it hold what it must, and nothing else? */
bool check_end(struct check *c);

#endif
