/* SPDX-License-Identifier: MIT */
/*
 * Servers differ in how they read a path. Whatever is accepted and forwarded belongs to one
 * feature for all of them: every path made of the pieces below is read as each of them does,
 * and has to be of the feature it was matched with.
 */
#include "firebreak/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "routes.h"

static const char *const pieces[] = {
	"/", "/.", "/..", "//", "/off", "/t", "/a", "a", "x", ";", ";v=1", "%3b", "%2e", "%2E.", "%2f", "%5C", "\\", "%c0%af", "%e0%80%ae",
	"%6ff", "%C1%AF", "%00", "%25",
};
#define PIECES (sizeof(pieces) / sizeof(*pieces))
#define LONGEST 64

/* ---- steps of reading: each rewrites `s` in place ---- */

static void decode(char *s)
{
	char *out = s;
	unsigned v;

	for (; *s; s++) {
		if (*s == '%' && sscanf(s + 1, "%2x", &v) == 1) {
			*out++ = (char)v;
			s += 2;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

/* As decoders do that put the bits together and ask nothing. */
static void decode_overlong(char *s)
{
	unsigned char *in = (unsigned char *)s, *out = in;
	unsigned octets, value, i;

	while (*in) {
		octets = *in < 0xc0 ? 1 : *in < 0xe0 ? 2 : *in < 0xf0 ? 3 : 4;
		value = octets == 1 ? *in : *in & (0x7fu >> octets);
		for (i = 1; i < octets && (in[i] & 0xc0) == 0x80; i++)
			value = value << 6 | (in[i] & 0x3fu);
		if (i == octets && octets > 1 && value < 0x80) {
			*out++ = (unsigned char)value;
			in += octets;
		} else {
			*out++ = *in++;
		}
	}
	*out = '\0';
}

static void turn_backslashes(char *s)
{
	while ((s = strchr(s, '\\')))
		*s++ = '/';
}

static void cut_parameters(char *s)
{
	char *out = s;

	while (*s) {
		if (*s == ';')
			s += strcspn(s, "/");
		else
			*out++ = *s++;
	}
	*out = '\0';
}

/* RFC 3986 5.2.4 as most do it, empty segments merged. */
static void resolve(char *s)
{
	char *out = s, *in = s;
	size_t n;

	while (*in) {
		while (*in == '/')
			in++;
		n = strcspn(in, "/");
		if (n == 2 && !memcmp(in, "..", 2)) {
			while (out > s && *--out != '/')
				;
		} else if (n && !(n == 1 && *in == '.')) {
			*out++ = '/';
			memmove(out, in, n);
			out += n;
		}
		in += n;
	}
	if (out == s)
		*out++ = '/';
	*out = '\0';
}

typedef void (*step)(char *);
static const struct {
	const char *who;
	step step[6];
} readers[] = {
	{ "resolves", { resolve } },
	{ "decodes, resolves", { decode, resolve } },
	{ "resolves, decodes", { resolve, decode } },
	{ "cuts, decodes, resolves", { cut_parameters, decode, resolve } },
	{ "decodes, cuts, resolves", { decode, cut_parameters, resolve } },
	{ "decodes, resolves, cuts", { decode, resolve, cut_parameters, resolve } },
	{ "takes backslashes", { decode, turn_backslashes, resolve } },
	{ "takes overlong forms", { decode, decode_overlong, turn_backslashes, cut_parameters, resolve } },
};

static struct routes table;

/* The feature of a path as it is forwarded, or -1: refused. */
static int accepted(const char *path, char *forwarded)
{
	char out[LONGEST + 1], plain[LONGEST + 1];
	size_t len, path_len;
	bool same;
	int how = route_normalise(path, strlen(path), out, &len, &path_len, &same), feature;

	if (how == ROUTE_PATH_BAD)
		return -1;
	strcpy(forwarded, same ? path : out);
	feature = routes_match(&table, "GET", "-", forwarded).feature;
	if (how == ROUTE_PATH_PARAMETERS) {
		plain[route_without_parameters(forwarded, strlen(forwarded), plain)] = '\0';
		if (routes_match(&table, "GET", "-", plain).feature != feature)
			return -1;
	}
	return feature;
}

static unsigned passed, refused;

static void check(const char *path)
{
	char forwarded[LONGEST + 1], read[LONGEST + 1];
	int feature = accepted(path, forwarded);
	size_t i, k;

	if (feature < 0) {
		refused++;
		return;
	}
	passed++;
	for (i = 0; i < sizeof(readers) / sizeof(*readers); i++) {
		strcpy(read, forwarded);
		for (k = 0; readers[i].step[k]; k++)
			readers[i].step[k](read);
		if (routes_match(&table, "GET", "-", read).feature != feature)
			fail_msg("\"%s\" is forwarded as \"%s\", and who %s reads \"%s\"", path, forwarded, readers[i].who, read);
	}
}

static void every_path(char *path, size_t len, unsigned left)
{
	size_t i, n;

	check(path);
	if (!left)
		return;
	for (i = 0; i < PIECES; i++) {
		n = strlen(pieces[i]);
		memcpy(path + len, pieces[i], n + 1);
		every_path(path, len + n, left - 1);
	}
	path[len] = '\0';
}

static void features_are_the_same_for_every_reader(void **state)
{
	static const char *const begin[] = { "/", "/t/", "/off", "/t/x/", "/a/b" };
	char path[LONGEST + 1];
	size_t i;

	routes_clear(&table);
	routes_add(&table, "*", "*", "/off/**", "off", 1);
	routes_add(&table, "*", "*", "/t/**", "test", 2);
	routes_add(&table, "GET", "*", "/a/{x}/off", "part", 3);
	routes_add(&table, "GET", "*", "/", "home", 4);
	assert_true(routes_compile(&table));
	for (i = 0; i < sizeof(begin) / sizeof(*begin); i++) {
		strcpy(path, begin[i]);
		every_path(path, strlen(path), 4);
	}
	routes_clear(&table);
	assert_true(passed > 10000 && refused > 10000);
}

static void parameters_are_cut_off(void **state)
{
	static const char *const cut[][2] = {
		{ "/a;x/b", "/a/b" }, { "/a/b;x=1;y", "/a/b" }, { "/a%3Bx/b", "/a/b" }, { "/;x/a", "/a" }, { "/a/;x/b", "/a/b" },
		{ "/a/;x", "/a/" }, { "/;", "/" }, { "/a", "/a" }, { "/a/", "/a/" }, { "/", "/" }, { "/a%3b", "/a%3b" },
	};
	char out[LONGEST];
	size_t i;

	for (i = 0; i < sizeof(cut) / sizeof(*cut); i++) {
		out[route_without_parameters(cut[i][0], strlen(cut[i][0]), out)] = '\0';
		assert_string_equal(out, cut[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(features_are_the_same_for_every_reader), cmocka_unit_test(parameters_are_cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
