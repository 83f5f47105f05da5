/* SPDX-License-Identifier: MIT */
/* usage: test_match match.cases check.cases */
#include "routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const char *match_path, *check_path;

static bool hit_is(const struct routes *r, const struct route_hit *hit, const char *path, char **want)
{
	unsigned i;

	if (strcmp(r->feature[hit->feature].name, want[0]) != 0 || (hit->route < 0) != (strcmp(want[0], "unnamed") == 0))
		return false;
	for (i = 0; want[i + 1]; i++)
		if (i >= hit->parts || strlen(want[i + 1]) != hit->part[i].length ||
		    memcmp(want[i + 1], path + hit->part[i].offset, hit->part[i].length) != 0)
			return false;
	return i == hit->parts;
}

static void each_line_matches(void **state)
{
	static struct routes r;
	struct route_hit hit;
	struct cases c;

	assert_true(cases_open(&c, match_path));
	while (cases_next(&c)) {
		if (strcmp(c.word[0], "table") == 0) {
			routes_clear(&r);
		} else if (strcmp(c.word[0], "route") == 0 && c.words == 5) {
			if (!routes_add(&r, c.word[1], c.word[2], c.word[3], c.word[4], c.line))
				cases_fail(&c, "too many");
		} else if (c.words >= 5 && strcmp(c.word[3], "->") == 0) {
			if (!r.table)
				assert_true(routes_compile(&r));
			hit = routes_match(&r, c.word[0], c.word[1], c.word[2]);
			c.run++;
			if (!hit_is(&r, &hit, c.word[2], c.word + 4))
				cases_fail(&c, "got %s, %u parts", r.feature[hit.feature].name, hit.parts);
		} else {
			cases_fail(&c, "the line cannot be read");
		}
	}
	routes_clear(&r);
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 80);
}

/* ---- check ---- */

static struct {
	int line;
	bool expected;
	char text[512];
} told[128];
static int told_count;

__attribute__((format(printf, 3, 4)))
static void tell(struct conf_errors *errors, struct conf_mark at, const char *format, ...)
{
	va_list ap;

	if (told_count == 128)
		return;
	va_start(ap, format);
	vsnprintf(told[told_count].text, sizeof(told[0].text), format, ap);
	va_end(ap);
	told[told_count++].line = at.line;
}

static void check_line(struct cases *c, int line)
{
	char want[512] = "";
	int i;

	for (i = 1; i < c->words; i++)
		snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s%s", i > 1 ? " " : "", c->word[i]);
	for (i = 0; i < told_count; i++)
		if (!told[i].expected && told[i].line == line && strstr(told[i].text, want)) {
			told[i].expected = true;
			return;
		}
	cases_fail(c, "nobody told this");
}

static void each_route_is_judged(void **state)
{
	static struct routes r;
	struct cases c;
	int line = 0, i;

	routes_clear(&r);
	assert_true(cases_open(&c, check_path));
	while (cases_next(&c))
		if (strcmp(c.word[0], "route") == 0) {
			cases_unescape(c.word[3]);
			assert_true(routes_add(&r, c.word[1], c.word[2], c.word[3], "f", c.line));
		}
	route_check(&r.conf, NULL, tell);
	assert_true(cases_open(&c, check_path));
	while (cases_next(&c)) {
		if (strcmp(c.word[0], "route") == 0)
			line = c.line;
		else
			check_line(&c, line);
	}
	for (i = 0; i < told_count; i++)
		if (!told[i].expected) {
			c.line = told[i].line;
			cases_fail(&c, "not expected: %s", told[i].text);
		}
	/* What is bad is left out of the table, and does no harm there. */
	assert_true(routes_compile(&r));
	assert_int_equal(routes_match(&r, "GET", "-", "/b/1/2/3/4/5").route, routes_reference(&r, "GET", "", "/**"));
	routes_clear(&r);
	assert_int_equal(c.failed, 0);
}

static void size_is_kept(void **state)
{
	static struct routes r;
	size_t size;
	void *memory;

	routes_clear(&r);
	routes_add(&r, "GET", "h", "/a/{b}/c", "f", 1);
	size = route_table_size(&r.conf);
	memory = malloc(size);
	assert_null(route_compile(&r.conf, memory, size - 1));
	assert_null(route_compile(&r.conf, NULL, size));
	assert_non_null(route_compile(&r.conf, memory, size));
	free(memory);
	routes_clear(&r);
}

/* A table is found the same wherever it lies. */
static void table_can_be_moved(void **state)
{
	static struct routes r;
	size_t size;
	void *moved;

	routes_clear(&r);
	routes_add(&r, "GET", "*", "/a/{b}/a-long-literal", "f", 1);
	assert_true(routes_compile(&r));
	size = route_table_size(&r.conf);
	moved = malloc(size);
	assert_non_null(moved);
	memcpy(moved, r.memory, size);
	memset(r.memory, 0xff, size);
	assert_int_equal(route_match(moved, "GET", 3, "", 0, "/a/x/a-long-literal", 19).route, 0);
	free(moved);
	routes_clear(&r);
}

/* ---- against the simple matcher ---- */

static const char *const segments[] = { "a", "b", "rooms", "messages", "messages-of-today", "messages-of-monday" };
static const char *const methods[] = { "GET", "POST", "HEAD", "*" };
static const char *const hosts[] = { "one", "two", "*", "*", "*" };
#define PICK(seed, list) (list)[cases_below(seed, sizeof(list) / sizeof(*(list)))]

static void random_pattern(uint64_t *seed, char *out)
{
	unsigned k, n = cases_below(seed, 5);

	*out = '\0';
	for (k = 0; k < n; k++) {
		strcat(out, "/");
		strcat(out, cases_below(seed, 3) ? PICK(seed, segments) : "{x}");
	}
	if (!n || !cases_below(seed, 4))
		strcat(out, cases_below(seed, 2) || n ? "/**" : "/");
}

static void random_path(uint64_t *seed, char *out)
{
	unsigned k, n = cases_below(seed, 6);

	*out = '\0';
	for (k = 0; k < n; k++)
		strcat(strcat(out, "/"), PICK(seed, segments));
	if (!n || !cases_below(seed, 5))
		strcat(out, "/");
}

/* Another spelling of the same path. */
static void respell(uint64_t *seed, const char *path, char *out)
{
	for (; *path; path++) {
		if (*path == '/' && !cases_below(seed, 4)) {
			static const char *const noise[] = { "/", "/.", "/x/..", "/./", "//", "/x/y/../.." };

			out += sprintf(out, "%s", PICK(seed, noise));
		}
		if (*path != '/' && !cases_below(seed, 4))
			out += sprintf(out, cases_below(seed, 2) ? "%%%02x" : "%%%02X", *path);
		else
			*out++ = *path;
	}
	*out = '\0';
}

/* A spelling that some backend might read as the same path. */
static bool disguise(uint64_t *seed, const char *path, char *out)
{
	static const char *const slashes[] = { "%2f", "%2F", "\\", "%5c", "/%2e/", "/x/%2e%2e/", "/x/.%2E/", "/x/..;/", "/.;a/" };
	const char *at = strchr(path + 1, '/');

	if (!at)
		return false;
	sprintf(out, "%.*s%s%s", (int)(at - path), path, PICK(seed, slashes), at + 1);
	return true;
}

static void agrees_with_the_simple_matcher(void **state)
{
	static struct routes r;
	uint64_t seed = 5;
	char path[256], spelling[1024], out[1025];
	unsigned n, k, named = 0;

	for (n = 0; n < 3000; n++) {
		routes_clear(&r);
		for (k = 1 + cases_below(&seed, 20); k; k--) {
			char pattern[256], feature[8];
			const char *method = PICK(&seed, methods), *host = PICK(&seed, hosts);

			random_pattern(&seed, pattern);
			snprintf(feature, sizeof(feature), "f%u", cases_below(&seed, 8));
			routes_add(&r, method, host, pattern, feature, 1);
		}
		assert_true(routes_compile(&r));
		for (k = 0; k < 40; k++) {
			const char *method = methods[cases_below(&seed, 3)], *host = hosts[cases_below(&seed, 2)];
			size_t len, path_len;
			struct route_hit hit, again;
			bool same;
			int want;

			random_path(&seed, path);
			want = routes_reference(&r, method, host, path);
			hit = routes_match(&r, method, host, path);
			assert_int_equal(hit.route, want);
			assert_int_equal(hit.feature, want < 0 ? (int)r.conf.features - 1 : r.route[want].feature);
			named += want >= 0;

			respell(&seed, path, spelling);
			assert_int_not_equal(route_normalise(spelling, strlen(spelling), out, &len, &path_len, &same), ROUTE_PATH_BAD);
			again = routes_match(&r, method, host, same ? spelling : out);
			assert_memory_equal(&again.route, &hit.route, sizeof(hit.route));
			assert_int_equal(again.feature, hit.feature);
			if (disguise(&seed, path, spelling))
				assert_int_equal(route_normalise(spelling, strlen(spelling), out, &len, &path_len, &same),
						 ROUTE_PATH_BAD);
		}
	}
	routes_clear(&r);
	assert_true(named > 20000);
}

/* Deep patterns that invite coming back at every segment, and a path that matches none
 * of them. */
static void walk_is_bounded(void **state)
{
	static struct routes r;
	char pattern[256], path[256];
	unsigned i, k;

	routes_clear(&r);
	for (i = 0; i < 60; i++) {
		*pattern = '\0';
		for (k = 0; k < 31; k++)
			strcat(pattern, k % 8 == i % 8 ? "/{x}" : "/a");
		sprintf(pattern + strlen(pattern), "/end%u", i);
		routes_add(&r, "*", "*", pattern, "f", (int)i);
	}
	assert_true(routes_compile(&r));
	*path = '\0';
	for (k = 0; k < 32; k++)
		strcat(path, "/a");
	assert_int_equal(routes_match(&r, "GET", "-", path).route, -1);
	routes_clear(&r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_line_matches), cmocka_unit_test(each_route_is_judged), cmocka_unit_test(size_is_kept),
		cmocka_unit_test(table_can_be_moved), cmocka_unit_test(agrees_with_the_simple_matcher), cmocka_unit_test(walk_is_bounded),
	};

	if (argc < 3)
		return 64;
	match_path = argv[1];
	check_path = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
