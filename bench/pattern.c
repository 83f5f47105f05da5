/* SPDX-License-Identifier: MIT */
#include "pattern.h"

#include <stdbool.h>

#define PERIOD 64256 /* 251 * 256: no divisor of any block's size */

uint64_t pattern_seed(const char *name, size_t len)
{
	uint64_t seed = 0;
	size_t i;

	for (i = 0; i < len; i++)
		seed = seed * 31 + (unsigned char)name[i];
	return seed % PERIOD;
}

const unsigned char *pattern_at(uint64_t at, uint64_t seed, size_t *len)
{
	static unsigned char pattern[PERIOD];
	static bool made;
	size_t i;

	for (i = 0; !made && i < PERIOD; i++)
		pattern[i] = (unsigned char)(i * 7 + i / 251);
	made = true;
	i = (size_t)((at + seed) % PERIOD);
	*len = PERIOD - i;
	return pattern + i;
}
