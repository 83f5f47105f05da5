/* SPDX-License-Identifier: MIT */
/* Replies of a Redis that has lost its mind, in pieces whose size the input chooses. */
#include "../../src/redis/redis_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static size_t touch(const struct rds_reply *r)
{
	size_t i, sum = r->len + (r->text ? (unsigned char)r->text[r->len] : 0);

	for (i = 0; i < r->elements; i++)
		sum += touch(r->element[i]);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct rds_codec *c = rds_codec_create();
	size_t piece = len ? data[0] % 32 + 1u : 1, at, n, sum = 0;
	const struct rds_reply *reply;
	int got = 0;

	for (at = 1; c && at < len && got >= 0; at += n) {
		n = len - at < piece ? len - at : piece;
		if (!rds_codec_feed(c, data + at, n))
			break;
		while ((got = rds_codec_next(c, &reply)) > 0)
			sum += touch(reply);
	}
	rds_codec_destroy(c);
	return sum == (size_t)-1;
}
