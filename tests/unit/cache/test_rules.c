/* SPDX-License-Identifier: MIT */
/* usage: test_rules rules.cases */
#include "firebreak/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../cases.h"

static const char *cases_path;

/* A field as the cases write it; each line in memory of its exact size. */
static struct cache_directives parse(const char *word)
{
	struct cache_directives d;
	char *copy = strdup(word), *line, *save, *p, *tight;
	size_t len;

	cache_directives_init(&d);
	for (p = copy; *p; p++)
		if (*p == '+')
			*p = ' ';
	for (line = strtok_r(copy, "|", &save); line && strcmp(word, "-") != 0; line = strtok_r(NULL, "|", &save)) {
		len = cases_unescape(line);
		tight = malloc(len ? len : 1);
		memcpy(tight, line, len);
		cache_directives_parse(&d, tight, len);
		free(tight);
	}
	free(copy);
	return d;
}

static void print(const struct cache_directives *d, char *out, size_t size)
{
	snprintf(out, size, "%s%s%s%s%s", d->no_store ? "no-store " : "", d->no_cache ? "no-cache " : "",
		 d->is_private ? "private " : "", d->is_public ? "public " : "", d->must_revalidate ? "must-revalidate " : "");
	if (d->max_age >= 0)
		snprintf(out + strlen(out), size - strlen(out), "max-age=%lld ", (long long)d->max_age);
	if (d->s_maxage >= 0)
		snprintf(out + strlen(out), size - strlen(out), "s-maxage=%lld ", (long long)d->s_maxage);
	if (d->stale_if_error >= 0)
		snprintf(out + strlen(out), size - strlen(out), "stale-if-error=%lld ", (long long)d->stale_if_error);
}

static void parse_line(struct cases *c)
{
	struct cache_directives d = parse(c->word[1]);
	char got[256], want[256] = "";
	int i;

	print(&d, got, sizeof(got));
	for (i = 3; i < c->words; i++)
		snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s ", c->word[i]);
	if (strcmp(got, want) != 0)
		cases_fail(c, "got %s", got);
}

static bool flag(const struct cases *c, const char *name)
{
	int i;

	for (i = 2; i < c->words; i++)
		if (strcmp(c->word[i], name) == 0)
			return true;
	return false;
}

static bool verdict(struct cases *c)
{
	struct cache_directives a, b;

	if (strcmp(c->word[0], "share") == 0) {
		a = parse(c->word[1]);
		return cache_shareable(&a, flag(c, "authorization"));
	}
	b = parse(c->word[3]);
	if (strcmp(c->word[0], "serve") == 0)
		return cache_servable(atoi(c->word[1]), atoi(c->word[2]), &b);
	a = parse(c->word[2]);
	return cache_storable(atoi(c->word[1]), &a, &b, flag(c, "set-cookie"), flag(c, "vary-star"), flag(c, "range"));
}

static void each_line_rules(void **state)
{
	struct cases c;
	bool yes;

	assert_true(cases_open(&c, cases_path));
	while (cases_next(&c)) {
		c.run++;
		if (strcmp(c.word[0], "parse") == 0) {
			parse_line(&c);
			continue;
		}
		if (strcmp(c.word[0], "age") == 0) {
			if (cache_age(c.word[1], strlen(c.word[1])) != atoll(c.word[c.words - 1]))
				cases_fail(&c, "got %lld", (long long)cache_age(c.word[1], strlen(c.word[1])));
			continue;
		}
		yes = verdict(&c);
		if (strcmp(c.word[c.words - 1], yes ? "yes" : "no") != 0)
			cases_fail(&c, "got %s", yes ? "yes" : "no");
	}
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 80);
}

/* Octets of any kind end, stay within their memory, and never loosen what was said. */
static void any_octets(void **state)
{
	static const char alphabet[] = "mno-stre=\",\\ \t;ax0129cgep";
	struct cache_directives d;
	uint64_t seed = 17;
	unsigned n, k, len;
	char *text;

	for (n = 0; n < 100000; n++) {
		len = cases_below(&seed, 24);
		text = malloc(len + 1);
		for (k = 0; k < len; k++)
			text[k] = alphabet[cases_below(&seed, sizeof(alphabet))];
		cache_directives_init(&d);
		cache_directives_parse(&d, "no-store, max-age=5", 19);
		cache_directives_parse(&d, text, len);
		assert_true(d.no_store && d.max_age >= 0 && d.max_age <= 5);
		free(text);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(each_line_rules), cmocka_unit_test(any_octets) };

	if (argc < 2)
		return 64;
	cases_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
