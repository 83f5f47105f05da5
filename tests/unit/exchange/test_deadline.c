/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../../src/exchange/xchg_private.h"
#include "firebreak/clock.h"

#define BAD (-1)
#define FOR_EVER (INT64_MAX / 4) /* as far as a clock of ours can be added to it */

static void reads(void **state)
{
	static const struct {
		const char *text;
		int64_t ns, plain; /* with digits alone allowed */
	} cases[] = {
		{ "1n", 1, 1 }, { "20u", 20000, 20000 }, { "100m", 100 * CLOCK_MS, 100 * CLOCK_MS }, { "5S", 5 * CLOCK_SEC, 5 * CLOCK_SEC },
		{ "2M", 120 * CLOCK_SEC, 120 * CLOCK_SEC }, { "1H", 3600 * CLOCK_SEC, 3600 * CLOCK_SEC }, { "0m", 0, 0 },
		{ "00000007m", 7 * CLOCK_MS, 7 * CLOCK_MS }, { "99999999H", FOR_EVER, FOR_EVER }, { "99999999M", FOR_EVER, FOR_EVER },
		{ "250", BAD, 250 * CLOCK_MS }, { "0", BAD, 0 }, { "99999999", BAD, 99999999 * CLOCK_MS },
		{ "", BAD, BAD }, { "m", BAD, BAD }, { "100000000m", BAD, BAD }, { "100000000", BAD, BAD }, { "-1m", BAD, BAD },
		{ "+1m", BAD, BAD }, { "1.5S", BAD, BAD }, { "1 m", BAD, BAD }, { " 1m", BAD, BAD }, { "1m ", BAD, BAD }, { "1s", BAD, BAD },
		{ "1ms", BAD, BAD }, { "1h", BAD, BAD }, { "0x1m", BAD, BAD }, { "1e3", BAD, BAD }, { "m1", BAD, BAD }, { "1,2m", BAD, BAD },
	};
	size_t i;
	int plain;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		for (plain = 0; plain < 2; plain++) {
			int64_t expected = plain ? cases[i].plain : cases[i].ns, ns = BAD;
			bool read = deadline_parse(cases[i].text, strlen(cases[i].text), plain, &ns);

			if (read != (expected != BAD) || ns != expected)
				print_error("\"%s\" (%s digits alone): %lld\n", cases[i].text, plain ? "with" : "without", (long long)ns);
			assert_int_equal(read, expected != BAD);
			assert_true(ns == expected);
		}
	}
}

/* What is written can be read, is never more, and not much less. */
static void writes(void **state)
{
	static const struct {
		int64_t ns;
		const char *grpc, *plain;
	} cases[] = {
		{ 0, "0u", "0" }, { -5 * CLOCK_SEC, "0u", "0" }, { 999, "0u", "0" }, { 1500 * 1000, "1500u", "1" },
		{ 100 * CLOCK_MS - 1, "99999u", "99" }, { 99999999 * (int64_t)1000, "99999999u", "99999" },
		{ 100 * CLOCK_SEC, "100000m", "100000" }, { 99999999 * CLOCK_MS, "99999999m", "99999999" },
		{ 100000000 * CLOCK_MS, "100000S", "100000000" },
	};
	char text[16];
	int64_t ns, back;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(deadline_format(cases[i].ns, false, text), strlen(cases[i].grpc));
		assert_string_equal(text, cases[i].grpc);
		assert_int_equal(deadline_format(cases[i].ns, true, text), strlen(cases[i].plain));
		assert_string_equal(text, cases[i].plain);
	}
	for (ns = 1; ns < FOR_EVER; ns = ns * 3 / 2 + 1) {
		assert_true(deadline_parse(text, deadline_format(ns, false, text), false, &back));
		assert_true(back <= ns && (back >= ns - ns / 1000 || ns - back < 1000));
	}
}

static void expectations(void **state)
{
	struct expectation e = { 0 };
	int i;

	for (i = 0; i < 31; i++)
		expectation_learn(&e, 90 * CLOCK_MS);
	assert_int_equal(expectation_late(&e), 0); /* too little is known */
	for (i = 0; i < 200; i++)
		expectation_learn(&e, 90 * CLOCK_MS + (i % 3) * CLOCK_MS);
	assert_in_range(expectation_late(&e), 93 * CLOCK_MS, 100 * CLOCK_MS);
	for (i = 0; i < 200; i++) /* nothing is late within what a busy machine does to anybody */
		expectation_learn(&e, CLOCK_MS);
	assert_int_equal(expectation_late(&e), 25 * CLOCK_MS);
	for (i = 0; i < 64; i++) /* slower for everybody: soon normal */
		expectation_learn(&e, CLOCK_SEC);
	assert_in_range(expectation_late(&e), CLOCK_SEC, 2 * CLOCK_SEC);
	for (i = 0; i < 200; i++)
		expectation_learn(&e, 5 * CLOCK_SEC);
	assert_int_equal(expectation_late(&e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(reads), cmocka_unit_test(writes), cmocka_unit_test(expectations) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
