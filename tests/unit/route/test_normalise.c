/* SPDX-License-Identifier: MIT */
/* usage: test_normalise normalise.cases */
#include "firebreak/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../cases.h"

static const char *cases_path;

struct spelling {
	bool bad, same;
	size_t len, path_len;
	char text[4097];
};

/* In memory of exactly the promised size, so that a sanitiser sees any octet beyond. */
static struct spelling normalise(const char *in, size_t len)
{
	struct spelling s = { 0 };
	char *tight = malloc(len ? len : 1), *out = malloc(len + 1);

	assert_non_null(tight);
	assert_non_null(out);
	memcpy(tight, in, len);
	s.bad = route_normalise(tight, len, out, &s.len, &s.path_len, &s.same) == ROUTE_PATH_BAD;
	if (!s.bad) {
		assert_true(s.len <= len && s.len <= sizeof(s.text) - 1 && s.path_len <= s.len);
		memcpy(s.text, s.same ? tight : out, s.len);
		assert_true(s.path_len == s.len || s.text[s.path_len] == '?');
	}
	free(tight);
	free(out);
	return s;
}

static void each_line_is_spelt(void **state)
{
	struct cases c;
	struct spelling s, again;
	const char *want;
	size_t len;

	assert_true(cases_open(&c, cases_path));
	while (cases_next(&c)) {
		if (c.words != 3 || strcmp(c.word[1], "->") != 0) {
			cases_fail(&c, "the line cannot be read");
			continue;
		}
		len = cases_unescape(c.word[0]);
		want = c.word[2];
		c.run++;
		s = normalise(c.word[0], len);
		if (s.bad || strcmp(want, "bad") == 0) {
			if (!s.bad || strcmp(want, "bad") != 0)
				cases_fail(&c, "got %s", s.bad ? "bad" : s.text);
			continue;
		}
		if (strcmp(want, "same") == 0 ? !s.same : s.same || strcmp(want, s.text) != 0)
			cases_fail(&c, "got %s (%s)", s.text, s.same ? "same" : "changed");
		again = normalise(s.text, s.len);
		if (again.bad || !again.same || again.path_len != s.path_len)
			cases_fail(&c, "not the same when done twice");
	}
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 100);
}

static void empty_is_bad(void **state)
{
	assert_true(normalise("", 0).bad);
}

/* Every octet, raw and escaped, alone in a segment and within one. */
static void every_octet(void **state)
{
	static const char hex[] = "0123456789abcdef";
	int v;

	for (v = 0; v < 256; v++) {
		char raw[] = { '/', 'a', (char)v, 'b' }, escaped[] = { '/', 'a', '%', hex[v >> 4], hex[v & 15], 'b' };
		bool alnum = (v >= '0' && v <= '9') || ((v | 32) >= 'a' && (v | 32) <= 'z');
		bool free_of_meaning = alnum || (v && strchr("-._~", v));
		struct spelling s = normalise(raw, sizeof(raw)), e = normalise(escaped, sizeof(escaped));

		assert_int_equal(s.bad, v <= 0x20 || v >= 0x7f || v == '#' || v == '\\' || v == '%');
		assert_int_equal(e.bad, v < 0x20 || v == 0x7f || v == '/' || v == '\\');
		if (!e.bad)
			assert_int_equal(e.len, free_of_meaning ? 4 : 6);
		if (!s.bad)
			assert_true(s.same);
	}
}

static void too_long(void **state)
{
	size_t len = ROUTE_PATH_MAX + 1, out_len, path_len;
	char *in = malloc(len + 1), *out = malloc(len + 2);
	bool same;

	assert_non_null(in);
	assert_non_null(out);
	memset(in, 'a', len);
	in[0] = '/';
	assert_int_equal(route_normalise(in, len, out, &out_len, &path_len, &same), ROUTE_PATH_BAD);
	assert_int_equal(route_normalise(in, len - 1, out, &out_len, &path_len, &same), ROUTE_PATH_OK);
	in[1] = '.';
	in[2] = '/';
	assert_int_equal(route_normalise(in, len, out, &out_len, &path_len, &same), ROUTE_PATH_BAD);
	in[len - 1] = '?';
	in[len] = 'x';
	assert_int_equal(route_normalise(in, len + 1, out, &out_len, &path_len, &same), ROUTE_PATH_OK);
	free(in);
	free(out);
}

/* Paths made of the pieces that matter. What comes out is a fixed point and has
 * nothing left in it that a backend could read in another way. */
static void random_paths(void **state)
{
	static const char *const pieces[] = { "/", "/", "//", ".", "..", "/.", "/..", "%2e", "%2E", "%2f", "%5C", "\\", ";", "%3b", "a",
		"b", "%61", "%ed", "%", "%4", "?", "#", "..;", "%00", "%25", "%252e", "x.y", "/a/../b", "/./" };
	uint64_t seed = 11;
	struct spelling s, again;
	char in[512];
	unsigned n, k, good = 0;
	const char *p;

	for (n = 0; n < 200000; n++) {
		strcpy(in, cases_below(&seed, 20) ? "/" : "");
		for (k = cases_below(&seed, 9); k; k--)
			strcat(in, pieces[cases_below(&seed, sizeof(pieces) / sizeof(*pieces))]);
		s = normalise(in, strlen(in));
		if (s.bad)
			continue;
		good++;
		again = normalise(s.text, s.len);
		assert_true(!again.bad && again.same && again.len == s.len && again.path_len == s.path_len);
		assert_int_equal(s.same, s.len == strlen(in) && memcmp(s.text, in, s.len) == 0);
		s.text[s.path_len] = '\0';
		assert_int_equal(s.text[0], '/');
		assert_null(strstr(s.text, "//"));
		assert_null(strchr(s.text, '\\'));
		assert_null(strchr(s.text, '#'));
		assert_null(strcasestr(s.text, "%2f"));
		assert_null(strcasestr(s.text, "%5c"));
		assert_null(strcasestr(s.text, "%2e"));
		for (p = s.text; (p = strstr(p, "/.")); p++)
			assert_false(p[2] == '\0' || p[2] == '/' || p[2] == ';' ||
				     (p[2] == '.' && (p[3] == '\0' || p[3] == '/' || p[3] == ';')));
	}
	assert_true(good > 20000);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_line_is_spelt), cmocka_unit_test(empty_is_bad), cmocka_unit_test(every_octet),
		cmocka_unit_test(too_long), cmocka_unit_test(random_paths),
	};

	if (argc < 2)
		return 64;
	cases_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
