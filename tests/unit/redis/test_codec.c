/* SPDX-License-Identifier: MIT */
/* Replies whole, in pieces, and hostile: table of inputs and what the codec says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../src/redis/redis_private.h"

/* A reply as text: "[+OK :1 $abc nil !OTHER]" */
static void print(const struct rds_reply *r, char *out, size_t size)
{
	size_t i, n = strlen(out);

	switch (r->type) {
	case RDS_NIL: snprintf(out + n, size - n, "nil"); break;
	case RDS_STRING: snprintf(out + n, size - n, "$%.*s", (int)r->len, r->text); break;
	case RDS_STATUS: snprintf(out + n, size - n, "+%.*s", (int)r->len, r->text); break;
	case RDS_ERROR: snprintf(out + n, size - n, "!%d", (int)r->error); break;
	case RDS_INTEGER: snprintf(out + n, size - n, ":%lld", (long long)r->integer); break;
	case RDS_ARRAY:
		snprintf(out + n, size - n, "[");
		for (i = 0; i < r->elements; i++) {
			if (i)
				strcat(out, " ");
			print(r->element[i], out, size);
		}
		strcat(out, "]");
		break;
	}
}

/* Feeds in pieces of `step`, gathers all replies, "x" when it gives up. */
static void run(const char *in, size_t len, size_t step, char *out, size_t size)
{
	struct rds_codec *c = rds_codec_create();
	const struct rds_reply *reply;
	size_t at, n;
	int got = 0;

	*out = '\0';
	for (at = 0; at < len && got >= 0; at += n) {
		n = len - at < step ? len - at : step;
		assert_true(rds_codec_feed(c, in + at, n));
		while ((got = rds_codec_next(c, &reply)) > 0) {
			print(reply, out, size);
			strcat(out, ";");
		}
	}
	if (got < 0)
		strcat(out, "x");
	rds_codec_destroy(c);
}

static void replies(void **state)
{
	static const struct { const char *in, *out; } cases[] = {
		{ "+OK\r\n", "+OK;" },
		{ "$5\r\nhello\r\n:42\r\n", "$hello;:42;" },
		{ "$0\r\n\r\n$-1\r\n", "$;nil;" },
		{ ":-9223372036854775807\r\n", ":-9223372036854775807;" },
		{ "*0\r\n*-1\r\n", "[];nil;" },
		{ "*3\r\n+a\r\n*2\r\n:1\r\n$-1\r\n$1\r\nb\r\n+z\r\n", "[+a [:1 nil] $b];+z;" },
		{ "-ERR no\r\n", "!1;" },
		{ "-LOADING Redis is loading\r\n", "!2;" },
		{ "-LOADINGX\r\n", "!1;" },
		{ "-OOM\r\n", "!9;" },
		{ "HTTP/1.1 400 Bad Request\r\n\r\n", "x" },
		{ "+OK\r\nrubbish\r\n", "+OK;x" },
		{ "$-2\r\n", "x" },
		{ "*65537\r\n", "x" },
		{ "*2147483647\r\n", "x" },
		{ "*-7\r\n", "x" },
		{ "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "x" },
		{ "*2\r\n*65536\r\n", "x" },
	};
	char out[512];
	size_t i, step;

	assert_int_equal(RDS_ERROR_LOADING, 2);
	assert_int_equal(RDS_ERROR_OOM, 9);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (step = 1; step < 64; step += 5) {
			run(cases[i].in, strlen(cases[i].in), step, out, sizeof(out));
			if (strcmp(out, cases[i].out))
				fail_msg("case %zu, step %zu: \"%s\", not \"%s\"", i, step, out, cases[i].out);
		}
	}
}

/* A reply may be as large as the bound, and not larger, whatever it announces. */
static void reply_bytes(void **state)
{
	const size_t piece = 65536, big = RDS_REPLY_BYTES - 4096;
	struct rds_codec *c = rds_codec_create();
	const struct rds_reply *reply;
	char *zeros = calloc(1, piece), head[32];
	size_t fed;
	int got = 0;

	snprintf(head, sizeof(head), "$%zu\r\n", big);
	assert_true(rds_codec_feed(c, head, strlen(head)));
	for (fed = 0; fed < big; fed += piece)
		assert_true(rds_codec_feed(c, zeros, big - fed < piece ? big - fed : piece));
	assert_int_equal(rds_codec_next(c, &reply), 0);
	assert_true(rds_codec_feed(c, "\r\n:7\r\n", 6));
	assert_int_equal(rds_codec_next(c, &reply), 1);
	assert_int_equal(reply->len, big);
	assert_int_equal(rds_codec_next(c, &reply), 1);
	assert_int_equal(reply->integer, 7);
	assert_int_equal(rds_codec_next(c, &reply), 0);

	assert_true(rds_codec_feed(c, "$2000000000\r\n", 13));
	for (fed = 0; fed <= RDS_REPLY_BYTES + piece && !got; fed += piece) {
		assert_true(rds_codec_feed(c, zeros, piece));
		got = rds_codec_next(c, &reply);
	}
	assert_int_equal(got, -1);
	assert_true(fed <= RDS_REPLY_BYTES + piece);
	rds_codec_destroy(c);
	free(zeros);
}

/* The element bound is per reply, not per connection. */
static void element_bound_starts_over(void **state)
{
	struct rds_codec *c = rds_codec_create();
	const struct rds_reply *reply;
	size_t i;
	int round;

	for (round = 0; round < 2; round++) {
		assert_true(rds_codec_feed(c, "*65536\r\n", 8));
		for (i = 0; i < 65536; i++)
			assert_true(rds_codec_feed(c, ":1\r\n", 4));
		assert_int_equal(rds_codec_next(c, &reply), 1);
		assert_int_equal(reply->elements, 65536);
		assert_int_equal(reply->element[65535]->integer, 1);
	}
	rds_codec_destroy(c);
}

static void commands(void **state)
{
	const char *argv[] = { "SET", "k", "a\r\nb\0c" };
	const size_t lens[] = { 3, 1, 6 };
	static const char wanted[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\na\r\nb\0c\r\n";
	struct buf out = { 0 };
	char text[64];

	assert_true(rds_codec_format(&out, 3, argv, lens));
	assert_int_equal(out.len, sizeof(wanted) - 1);
	buf_peek(&out, text, sizeof(text));
	assert_memory_equal(text, wanted, sizeof(wanted) - 1);
	buf_clear(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies),
		cmocka_unit_test(reply_bytes),
		cmocka_unit_test(element_bound_starts_over),
		cmocka_unit_test(commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
