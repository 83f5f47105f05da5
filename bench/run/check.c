/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "../pattern.h"

void check_text(struct check *c, const char *own, const char *other)
{
	*c = (struct check){ .pattern = false };
	snprintf(c->tag[0], sizeof(c->tag[0]), "%s", own);
	snprintf(c->tag[1], sizeof(c->tag[1]), "%s", other ? other : "");
}

void check_pattern(struct check *c, const char *name, uint64_t length)
{
	*c = (struct check){ .pattern = true, .seed = pattern_seed(name, strlen(name)), .length = length };
}

static void take_pattern(struct check *c, const unsigned char *p, size_t len)
{
	size_t n;

	while (len) {
		const unsigned char *want = pattern_at(c->seen, c->seed, &n);

		n = n < len ? n : len;
		c->foreign = c->foreign || memcmp(p, want, n) != 0;
		c->seen += n;
		p += n;
		len -= n;
	}
}

/* One octet after a '~': which tags does it still fit? */
static void tag_more(struct check *c, unsigned char octet)
{
	bool digit = octet >= '0' && octet <= '9';
	uint8_t i, alive = 0;

	for (i = 0; i < 2; i++) {
		if (!(c->alive & 1u << i))
			continue;
		if (!c->tag[i][c->at] && !digit) { /* whole, and no longer number */
			c->alive = 0;
			return;
		}
		if (c->tag[i][c->at] && c->tag[i][c->at] == (char)octet)
			alive |= (uint8_t)(1u << i);
	}
	c->at++;
	c->alive = alive;
	c->foreign = c->foreign || !alive;
}

void check_take(struct check *c, const void *data, size_t len)
{
	const unsigned char *p = data, *end = p + len;

	if (c->pattern) {
		take_pattern(c, p, len);
		return;
	}
	while (p < end) {
		if (c->alive)
			tag_more(c, *p);
		if (!c->alive) { /* also where a tag has just ended */
			p = memchr(p, '~', (size_t)(end - p));
			if (!p)
				return;
			c->alive = c->tag[1][0] ? 3 : 1;
			c->at = 1;
		}
		p++;
	}
}

bool check_end(struct check *c)
{
	if (c->pattern)
		return !c->foreign && c->seen == c->length;
	if (c->alive)
		tag_more(c, ' '); /* a tag cut off by the end */
	return !c->foreign;
}
