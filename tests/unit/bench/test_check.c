/* SPDX-License-Identifier: MIT */
/* Foreign octets in an answer are found wherever they are and however the answer is cut; the shared log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../../bench/pattern.h"
#include "../../../bench/run/check.h"
#include "../../../bench/run/sample.h"

/* The verdict has to be the same for every way of cutting the text in two. */
static bool text_ok(const char *own, const char *other, const char *text)
{
	size_t len = strlen(text), cut;
	struct check c;
	bool ok, first = false;

	for (cut = 0; cut <= len; cut++) {
		check_text(&c, own, other);
		check_take(&c, text, cut);
		check_take(&c, text + cut, len - cut);
		ok = check_end(&c);
		if (cut && ok != first)
			fail_msg("\"%s\" cut at %zu: %d, else %d", text, cut, ok, first);
		first = ok;
	}
	return first;
}

static void test_text(void **state)
{
	static const struct {
		const char *other, *text;
		bool ok;
	} cases[] = {
		{ NULL, "{\"user\":\"u~7-12\",\"messages\":[{\"from\":\"u~7-12\",\"body\":\"~7-12 ~7-12 ~7-12 ~7\"}]}", false }, /* cut */
		{ NULL, "{\"user\":\"u~7-12\",\"messages\":[{\"from\":\"u~7-12\",\"body\":\"~7-12 ~7-12 ~7-12\"}]}", true },
		{ NULL, "", true },
		{ NULL, "nothing of anybody", true },
		{ NULL, "u~7-12", true },
		{ NULL, "~7-12~7-12", true },
		{ NULL, "u~7-13", false },
		{ NULL, "u~7-1", false },
		{ NULL, "u~7-123", false }, /* another one whose number begins like ours */
		{ NULL, "~7-12 ~7-123 ~7-12", false },
		{ NULL, "~8-12", false },
		{ NULL, "~", false },
		{ NULL, "~~7-12", false },
		{ NULL, "~7-12 ~x", false },
		{ "~7-3", "~7-12 ~7-3 ~7-12", true },
		{ "~7-3", "~7-12 ~7-31", false },
		{ "~7-123", "~7-12 ~7-123 ~7-12", true }, /* one begins like the other */
		{ "~7-123", "~7-124", false },
		{ "~7-12", "~7-12 ~7-12", true },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (text_ok("~7-12", cases[i].other, cases[i].text) != cases[i].ok)
			fail_msg("case %zu: %s", i, cases[i].text);
	}
}

static void test_pattern(void **state)
{
	static unsigned char body[200000];
	const char *name = "u~7-12";
	struct check c;
	size_t at, n, cut, i;

	for (at = 0; at < sizeof(body); at += n) {
		const unsigned char *p = pattern_at(at, pattern_seed(name, strlen(name)), &n);

		n = n < sizeof(body) - at ? n : sizeof(body) - at;
		memcpy(body + at, p, n);
	}
	for (cut = 0; cut < sizeof(body); cut += 9973) {
		check_pattern(&c, name, sizeof(body));
		check_take(&c, body, cut);
		check_take(&c, body + cut, sizeof(body) - cut);
		assert_true(check_end(&c));
	}
	/* one octet too few, one wrong anywhere, somebody else's */
	check_pattern(&c, name, sizeof(body));
	check_take(&c, body, sizeof(body) - 1);
	assert_false(check_end(&c));
	for (i = 0; i < sizeof(body); i += 7919) {
		body[i] ^= 1;
		check_pattern(&c, name, sizeof(body));
		check_take(&c, body, sizeof(body));
		assert_false(check_end(&c));
		body[i] ^= 1;
	}
	check_pattern(&c, "u~7-13", sizeof(body));
	check_take(&c, body, sizeof(body));
	assert_false(check_end(&c));
}

static void test_log(void **state)
{
	struct sample_log *l[2] = { sample_log_create(3, 1), sample_log_create(3, 1) };
	struct sample_ack ack = { .key = "k" };
	struct sample *all;
	size_t n = 0;
	int64_t i;

	for (i = 0; i < 3; i++) {
		assert_true(sample_add(l[0], &(struct sample){ .intended = 10 - i }));
		assert_true(sample_add(l[1], &(struct sample){ .intended = i * 10 }));
	}
	/* full: said, and counted */
	assert_false(sample_add(l[0], &(struct sample){ .intended = 1 }));
	assert_true(sample_ack_add(l[0], &ack));
	assert_false(sample_ack_add(l[0], &ack));
	assert_int_equal(l[0]->dropped, 2);
	all = sample_merge(l, 2, &n);
	assert_int_equal(n, 6);
	for (i = 1; i < 6; i++)
		assert_true(all[i - 1].intended <= all[i].intended);
	assert_true(all[0].intended == 0 && all[5].intended == 20);
	free(all);
	sample_log_destroy(l[0]);
	sample_log_destroy(l[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_pattern),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
