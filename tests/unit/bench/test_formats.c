/* SPDX-License-Identifier: MIT */
/* Protobuf, JSON and the fault table of the simulated messenger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "../../../bench/fault_set.h"
#include "../../../bench/json.h"
#include "../../../bench/proto.h"

static size_t take(struct buf *b, char *out, size_t size)
{
	size_t n = buf_peek(b, out, size - 1);

	out[n] = '\0';
	buf_clear(b);
	return n;
}

static void test_proto_known_bytes(void **state)
{
	/* From the encoding guide: field 1 = 150; field 2 = "testing". */
	static const unsigned char want[] = { 0x08, 0x96, 0x01, 0x12, 0x07, 't', 'e', 's', 't', 'i', 'n', 'g' };
	struct buf b = { 0 }, sub = { 0 };
	char out[64];

	assert_true(proto_put_number(&b, 1, 150) && proto_put_bytes(&b, 2, "testing", 7));
	assert_true(proto_put_number(&b, 3, 0) && proto_put_bytes(&b, 4, "", 0)); /* left out */
	assert_int_equal(take(&b, out, sizeof(out)), sizeof(want));
	assert_memory_equal(out, want, sizeof(want));
	assert_true(proto_put_number(&sub, 1, 1) && proto_put_message(&b, 3, &sub));
	assert_int_equal(take(&b, out, sizeof(out)), 4);
	assert_memory_equal(out, "\x1a\x02\x08\x01", 4);
}

static void test_proto_read(void **state)
{
	/* 1: varint max, 2: fixed64 (skipped), 3: bytes, 5: fixed32 (skipped) */
	static const unsigned char in[] = { 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8,
					    0x1a, 0x02, 'h', 'i', 0x2d, 1, 2, 3, 4 };
	const uint8_t *p = in, *end = in + sizeof(in);
	struct proto_field f;

	assert_int_equal(proto_next(&p, end, &f), 1);
	assert_true(f.number == 1 && f.value == UINT64_MAX && !f.data);
	assert_int_equal(proto_next(&p, end, &f), 1);
	assert_true(f.number == 2 && !f.data);
	assert_int_equal(proto_next(&p, end, &f), 1);
	assert_true(f.number == 3 && f.value == 2 && f.data == in + 22);
	assert_int_equal(proto_next(&p, end, &f), 1);
	assert_int_equal(proto_next(&p, end, &f), 0);
}

static void test_proto_malformed(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{ "\x08", 1 },             /* no value */
		{ "\x08\x80", 2 },         /* varint cut */
		{ "\x12\x05hi", 4 },       /* longer than what is there */
		{ "\x00\x01", 2 },         /* field 0 */
		{ "\x0b", 1 },             /* group */
		{ "\x0d\x01\x02", 3 },     /* fixed32 cut */
		{ "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", 12 },
	};
	struct proto_field f;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const uint8_t *p = (const uint8_t *)bad[i].bytes;

		assert_int_equal(proto_next(&p, p + bad[i].len, &f), -1);
	}
}

static void test_json_text(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain", "\"plain\"" },
		{ "q\"b\\n\n", "\"q\\u0022b\\u005cn\\u000a\"" },
		{ "\xc3\xa9\xed\x95\x9c\xf0\x9f\x94\xa5", "\"\xc3\xa9\xed\x95\x9c\xf0\x9f\x94\xa5\"" },
		{ "\xff" "a\xc3", "\"\\u00ffa\\u00c3\"" },
		{ "\xed\xa0\x80", "\"\\u00ed\\u00a0\\u0080\"" }, /* a surrogate is not UTF-8 */
		{ "\xc0\xaf", "\"\\u00c0\\u00af\"" },            /* nor is an overlong slash */
	};
	struct buf b = { 0 };
	char out[128];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_true(json_text(&b, cases[i].in, strlen(cases[i].in)));
		take(&b, out, sizeof(out));
		assert_string_equal(out, cases[i].out);
	}
}

static void test_json_member(void **state)
{
	static const struct {
		const char *object, *name, *value; /* NULL: not there */
	} cases[] = {
		{ "{\"a\":1}", "a", "1" },
		{ " { \"x\" : \"y\\n\\u00e9\\\"\" , \"a\" : true } ", "a", "true" },
		{ "{\"x\":\"y\\u00e9\\\"\"}", "x", "y\xc3\xa9\"" },
		{ "{\"a\":1}", "b", NULL },
		{ "{}", "a", NULL },
		{ "{\"a\":[1]}", "a", NULL },
		{ "{\"a\":", "a", NULL },
		{ "{\"a\":\"cut", "a", NULL },
		{ "{\"a\":\"\\u12\"}", "a", NULL },
		{ "[]", "a", NULL },
		{ "", "a", NULL },
		{ "{\"a\":\"0123456789012345678901234567890123456789\"}", "a", NULL }, /* too long for out */
	};
	char out[32];
	size_t i;
	long n;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		n = json_member(cases[i].object, strlen(cases[i].object), cases[i].name, out, sizeof(out));
		if (cases[i].value)
			assert_string_equal(out, cases[i].value);
		else
			assert_int_equal(n, -1);
	}
}

static bool query(struct fault_set *f, const char *text, char bad[32])
{
	return fault_set_query(f, text, strlen(text), bad);
}

static void test_faults(void **state)
{
	struct fault_set f = { 0 };
	struct buf b = { 0 };
	char bad[32], out[512];

	assert_true(query(&f, "latency=200&error=0.5", bad));
	assert_true(f.latency == 200 && f.error == 0.5);
	assert_true(query(&f, "silence=1,refuse=0.25", bad));
	assert_true(f.latency == 200 && f.silence == 1 && f.refuse == 0.25);
	assert_false(query(&f, "latency=1&eror=1", bad));
	assert_string_equal(bad, "eror");
	assert_true(f.latency == 200); /* nothing of a wrong query counts */
	assert_false(query(&f, "error=1.5", bad));
	assert_false(query(&f, "latency=-1", bad));
	assert_false(query(&f, "latency=x", bad));
	assert_false(query(&f, "latency=nan", bad));
	assert_true(query(&f, "", bad));
	assert_true(query(&f, "clear=1&goaway=100", bad));
	assert_true(!f.latency && !f.silence && f.goaway == 100);
	assert_true(fault_set_json(&f, "{\"clear\":true,\"capacity\":50}", 28, bad));
	assert_true(f.capacity == 50 && !f.goaway);
	assert_false(fault_set_json(&f, "{\"error\":7}", 11, bad));
	assert_true(fault_set_print(&f, &b));
	take(&b, out, sizeof(out));
	assert_non_null(strstr(out, "\"capacity\":50,"));
}

static void test_capacity(void **state)
{
	struct fault_set f = { .capacity = 100 }; /* one takes 10 ms */
	int64_t busy = 0, now = 1000000000, ms = 1000000;
	unsigned i, refused = 0;

	assert_int_equal(fault_set_queue(&f, &busy, now), 0);
	assert_int_equal(fault_set_queue(&f, &busy, now), 10 * ms);
	assert_int_equal(fault_set_queue(&f, &busy, now + 15 * ms), 5 * ms);
	assert_int_equal(fault_set_queue(&f, &busy, now + 1000 * ms), 0);
	for (i = 0; i < 200; i++)
		refused += fault_set_queue(&f, &busy, now + 1000 * ms) < 0;
	assert_int_equal(refused, 100); /* a second's worth waits, the rest is refused */
	assert_int_equal(fault_set_queue(&f, &busy, now + 3000 * ms), 0);
	f.capacity = 0;
	assert_int_equal(fault_set_queue(&f, &busy, now), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proto_known_bytes), cmocka_unit_test(test_proto_read), cmocka_unit_test(test_proto_malformed),
		cmocka_unit_test(test_json_text), cmocka_unit_test(test_json_member), cmocka_unit_test(test_faults),
		cmocka_unit_test(test_capacity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
