/* SPDX-License-Identifier: MIT */
/* What an answer means, what is counted, and what is asserted of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../../bench/tally.h"

#define MS INT64_C(1000000)
#define PROBLEM "application/problem+json"
#define ALICE   "{\"user\":\"alice\",\"rooms\":[]}"

static void test_outcome(void **state)
{
	static const struct {
		int status;
		bool cut;
		const char *type, *cache, *proxy, *body, *user;
		enum outcome want;
	} cases[] = {
		{ 200, false, NULL, NULL, NULL, ALICE, "alice", OUTCOME_SERVED },
		{ 200, false, NULL, NULL, NULL, ALICE, NULL, OUTCOME_SERVED },
		{ 200, false, NULL, NULL, NULL, ALICE, "bob", OUTCOME_WRONG },
		{ 200, false, NULL, NULL, NULL, ALICE, "ali", OUTCOME_WRONG },
		{ 200, false, NULL, NULL, NULL, "", "alice", OUTCOME_WRONG },
		{ 200, true, NULL, NULL, NULL, ALICE, "alice", OUTCOME_FAILED },
		{ 0, false, NULL, NULL, NULL, "", NULL, OUTCOME_FAILED },
		{ 200, false, NULL, "firebreak; hit; ttl=-3", NULL, ALICE, "alice", OUTCOME_STALE },
		{ 200, false, NULL, "firebreak;hit", NULL, ALICE, "bob", OUTCOME_WRONG }, /* stale is no excuse */
		{ 200, false, NULL, "firebreak; fwd=miss; stored", NULL, ALICE, "alice", OUTCOME_SERVED },
		{ 200, false, NULL, "firebreak; hitch", NULL, ALICE, "alice", OUTCOME_SERVED },
		{ 200, false, NULL, NULL, "firebreak; next-hop=anyang", ALICE, "alice", OUTCOME_FAILED_OVER },
		{ 202, false, NULL, NULL, NULL, "", "alice", OUTCOME_ACCEPTED },
		{ 503, false, PROBLEM, NULL, NULL, "{}", "alice", OUTCOME_REFUSED },
		{ 503, false, NULL, NULL, "firebreak; error=destination_unavailable", "", "alice", OUTCOME_REFUSED },
		{ 503, false, "application/json", NULL, NULL, "{}", "alice", OUTCOME_FAILED }, /* a backend's own */
		{ 502, false, PROBLEM, NULL, "x", "{}", "alice", OUTCOME_FAILED },
		{ 404, false, NULL, NULL, NULL, "{}", "alice", OUTCOME_FAILED },
		{ 503, true, PROBLEM, NULL, NULL, "{}", "alice", OUTCOME_FAILED },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct outcome_answer a = {
			.status = cases[i].status, .complete = !cases[i].cut, .content_type = cases[i].type,
			.cache_status = cases[i].cache, .proxy_status = cases[i].proxy, .body = cases[i].body,
			.body_len = strlen(cases[i].body), .user = cases[i].user,
		};

		if (outcome_of(&a) != cases[i].want)
			print_error("case %zu\n", i);
		assert_int_equal(outcome_of(&a), cases[i].want);
	}
}

static void test_phases(void **state)
{
	struct tally *t = calloc(1, sizeof(*t));
	double v;

	assert_false(tally_init(t, "a,,b"));
	assert_false(tally_init(t, ""));
	assert_false(tally_init(t, "0123456789012345678901234567890123456789"));
	assert_true(tally_init(t, NULL));
	assert_string_equal(t->at[0].name, "run");

	assert_true(tally_init(t, "normal,lost"));
	tally_record(t, 0, FEATURE_SEND, OUTCOME_SERVED, false, 1000 * MS, 2 * MS);
	tally_record(t, 0, FEATURE_SYNC, OUTCOME_SERVED, false, 1200 * MS, 2 * MS);
	tally_record(t, 0, FEATURE_BACKUP, OUTCOME_SERVED, false, 1300 * MS, 2 * MS); /* not core: no end of the gap */
	tally_next_phase(t, 1500 * MS);
	tally_record(t, 0, FEATURE_SEND, OUTCOME_FAILED, false, 1510 * MS, 30 * MS); /* began before */
	tally_record(t, 1, FEATURE_RECENT, OUTCOME_STALE, false, 1580 * MS, 4 * MS);
	tally_record(t, 1, FEATURE_SEND, OUTCOME_REFUSED, true, 1590 * MS, 1 * MS);
	tally_next_phase(t, 1600 * MS); /* there is no next: stays */

	assert_int_equal(tally_expect(t, "normal.core.failed == 1", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "normal.core.failed==0", &v), EXPECT_FAILED);
	assert_true(v == 1);
	assert_int_equal(tally_expect(t, "normal.core.gap_ms == 300", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "lost.all.gap_ms == 80", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "lost.core-reads.stale>0", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "lost.core.ok==2", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "all.all.total==6", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "all.other.served==1", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "all.send.reordered==1", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "all.send.max_ms<=30", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "all.send.p50_ms<3", &v), EXPECT_HELD);
	tally_record(t, 1, FEATURE_SYNC, OUTCOME_SERVED, false, 2000 * MS, 250 * MS);
	tally_record(t, 1, FEATURE_SYNC, OUTCOME_SERVED, false, 2000 * MS, 251 * MS);
	tally_record(t, 1, FEATURE_SEND, OUTCOME_SERVED, false, 2000 * MS, 401 * MS);
	assert_int_equal(tally_expect(t, "all.core.over_250_ms==2", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "lost.core.over_400_ms==1", &v), EXPECT_HELD);
	free(t);
}

static void test_expect_invalid(void **state)
{
	static const char *const bad[] = {
		"", "core.failed==0", "nowhere.core.failed==0", "run.coer.failed==0", "run.core.faild==0",
		"run.core.failed=0", "run.core.failed==", "run.core.failed==0 x", "run.core.failed>>0",
	};
	struct tally *t = calloc(1, sizeof(*t));
	double v;
	size_t i;

	assert_true(tally_init(t, NULL));
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(tally_expect(t, bad[i], &v), EXPECT_INVALID);
	free(t);
}

static void test_failed_over(void **state)
{
	struct tally *t = calloc(1, sizeof(*t));
	unsigned i;
	double v;

	assert_true(tally_init(t, NULL));
	for (i = 0; i < 5; i++)
		tally_record(t, 0, FEATURE_SEND, OUTCOME_SERVED, false, i * MS, MS);
	tally_record(t, 0, FEATURE_SEND, OUTCOME_FAILED_OVER, false, 9 * MS, MS);
	tally_failed_over(t, FEATURE_SEND, 3); /* one of them is known from its answer */
	assert_int_equal(t->second[FEATURE_SEND][OUTCOME_SERVED], 3);
	assert_int_equal(tally_expect(t, "run.send.failed_over==3", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "run.send.served==3", &v), EXPECT_HELD);
	tally_failed_over(t, FEATURE_SEND, 100); /* never more than were served */
	assert_int_equal(tally_expect(t, "run.send.failed_over==6", &v), EXPECT_HELD);
	assert_int_equal(tally_expect(t, "run.send.total==6", &v), EXPECT_HELD);
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outcome), cmocka_unit_test(test_phases), cmocka_unit_test(test_expect_invalid),
		cmocka_unit_test(test_failed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
