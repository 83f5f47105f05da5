/* SPDX-License-Identifier: MIT */
/*
 * Made-up bodies of any length: the octet at a position follows from the position and
 * a seed, so whoever knows the seed can check every octet of an answer. Pure.
 */
#ifndef BENCH_PATTERN_H
#define BENCH_PATTERN_H

#include <stddef.h>
#include <stdint.h>

/* The seed of a name: media by its id, a backup by its user. */
uint64_t pattern_seed(const char *name, size_t len);
/* Octets from this position on, in one piece; *len says how many. */
const unsigned char *pattern_at(uint64_t at, uint64_t seed, size_t *len);

#endif
