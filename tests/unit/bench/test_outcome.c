/* SPDX-License-Identifier: MIT */
/* What an answer means to the one who asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../../bench/outcome.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outcome),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
