/* SPDX-License-Identifier: MIT */
/* Acknowledgements against journals, with planted losses, duplicates and reorderings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../bench/run/run.h"

static struct sample_ack ack(unsigned user, uint64_t order, unsigned status, const char *key, uint64_t seq)
{
	struct sample_ack a = { .user = user, .order = order, .status = (uint16_t)status, .seq = seq };

	snprintf(a.key, sizeof(a.key), "%s", key);
	return a;
}

#define LINE(key, seq, replayed) "{\"time\":1.5,\"endpoint\":\"a1\",\"room\":\"r\",\"seq\":" #seq ",\"key\":\"" key "\",\"user\":\"u\",\"replayed\":" replayed "}\n"

static bool check(const char *a, const char *b, struct sample_ack *acks, size_t n, struct ledger *l, char why[200])
{
	const char *const text[2] = { a, b };
	struct sample_log log = { .acks = n, .ack = acks }, *logs[] = { &log };
	char dir[] = "/tmp/firebreak-ledger-XXXXXX", path[2][64];
	bool ok;
	FILE *f;
	int i;

	assert_non_null(mkdtemp(dir));
	for (i = 0; i < 2; i++) {
		snprintf(path[i], sizeof(path[i]), "%s/e%d.journal", dir, i);
		if (!text[i])
			continue;
		f = fopen(path[i], "we");
		assert_non_null(f);
		fputs(text[i], f);
		fclose(f);
	}
	ok = ledger_check(l, dir, logs, 1, why);
	for (i = 0; i < 2; i++)
		if (text[i])
			unlink(path[i]);
	rmdir(dir);
	return ok;
}

static void test_well(void **state)
{
	struct sample_ack acks[] = { ack(1, 1, 201, "k1", 1), ack(1, 2, 202, "k2", 0), ack(2, 1, 201, "k3", 7), ack(2, 2, 0, "k4", 0), ack(2, 3, 503, "k5", 0) };
	struct ledger l;
	char why[200];

	/* k4 reached the messenger and was repeated elsewhere; k5 never did */
	assert_true(check(LINE("k1", 1, "false") LINE("k4", 8, "false"), LINE("k2", 2, "false") LINE("k4", 8, "true") LINE("k3", 7, "false"), acks, 5, &l, why));
	assert_int_equal(l.acknowledged, 3);
	assert_int_equal(l.lost + l.duplicated + l.reordered, 0);
	assert_int_equal(l.unknown, 2);
	assert_int_equal(l.unknown_kept, 1);
}

static void test_planted(void **state)
{
	static const struct {
		const char *what, *a, *b;
		uint64_t lost, duplicated, reordered;
	} cases[] = {
		{ "a loss", LINE("k1", 1, "false") LINE("k3", 3, "false"), NULL, 1, 0, 0 },
		{ "the last one cut by a kill", LINE("k1", 1, "false") LINE("k2", 2, "false") "{\"seq\":3,\"key\":\"k3\"", NULL, 1, 0, 0 },
		{ "a duplicate here", LINE("k1", 1, "false") LINE("k2", 2, "false") LINE("k2", 4, "false") LINE("k3", 3, "false"), NULL, 0, 1, 0 },
		{ "a duplicate elsewhere", LINE("k1", 1, "false") LINE("k2", 2, "false") LINE("k3", 3, "false"), LINE("k1", 9, "false"), 0, 1, 0 },
		{ "another number than told", LINE("k1", 1, "false") LINE("k2", 5, "false") LINE("k3", 6, "false"), NULL, 0, 2, 0 },
		{ "a reordering", LINE("k1", 2, "false") LINE("k2", 1, "false") LINE("k3", 3, "false"), NULL, 0, 0, 1 },
	};
	/* told no numbers, so that order alone is judged, but for the case of numbers */
	struct sample_ack acks[] = { ack(1, 3, 201, "k3", 0), ack(1, 1, 202, "k1", 0), ack(1, 2, 201, "k2", 0) };
	struct ledger l;
	char why[200];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		acks[0].seq = acks[2].seq = 0;
		if (strstr(cases[i].what, "number")) {
			acks[0].seq = 3;
			acks[2].seq = 2;
		}
		assert_true(check(cases[i].a, cases[i].b, acks, 3, &l, why));
		if (l.lost != cases[i].lost || l.duplicated != cases[i].duplicated || l.reordered != cases[i].reordered)
			fail_msg("%s: %llu lost, %llu duplicated, %llu reordered", cases[i].what, (unsigned long long)l.lost,
				 (unsigned long long)l.duplicated, (unsigned long long)l.reordered);
		assert_true(l.examples > 0);
	}
}

static void test_bad_journals(void **state)
{
	struct ledger l;
	char why[200];

	assert_false(check(NULL, NULL, NULL, 0, &l, why));
	assert_non_null(strstr(why, "no journal"));
	assert_false(l.checked);
	assert_false(check("not a journal\n", NULL, NULL, 0, &l, why));
	assert_non_null(strstr(why, ":1: not a line"));
	assert_false(l.checked);
	assert_true(check("", NULL, NULL, 0, &l, why));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_well), cmocka_unit_test(test_planted), cmocka_unit_test(test_bad_journals) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
