/* SPDX-License-Identifier: MIT */
/*
 * Files that are too much: bombs, depth, length, thousands of errors; files that are no
 * files; and the n-th allocation failing for every n. All end in errors, none in a crash,
 * a leak (under ASan) or much memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "firebreak/conf.h"

/* ---- allocations of our own objects that fail on order (linked with --wrap) ---- */

static long allocations, fail_at = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_malloc(size_t size)
{
	return allocations++ == fail_at ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return allocations++ == fail_at ? NULL : __real_calloc(n, size);
}

/* ---- helpers ---- */

static char *printed(const struct conf_errors *e)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	conf_errors_print(e, "x", out);
	fclose(out);
	return text;
}

/* Loading fails, and one of the errors holds `what`. */
static void refused(const char *text, size_t len, const char *what)
{
	struct conf_errors *e = conf_errors_create();
	char *errors;

	assert_null(conf_load("x", text, len, e));
	errors = printed(e);
	if (!strstr(errors, what))
		fail_msg("\"%s\" is not in:\n%.2000s", what, errors);
	free(errors);
	conf_errors_destroy(e);
}

static long peak_kib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

/* `n` times `text`, between two others. free() it. */
static char *repeated(const char *begin, const char *text, size_t n, const char *end, size_t *len)
{
	size_t one = strlen(text), i;
	char *out = malloc(strlen(begin) + one * n + strlen(end) + 1), *at;

	assert_non_null(out);
	at = stpcpy(out, begin);
	for (i = 0; i < n; i++, at += one)
		memcpy(at, text, one);
	*len = (size_t)(stpcpy(at, end) - out);
	return out;
}

static void refused_repeated(const char *begin, const char *text, size_t n, const char *end, const char *what)
{
	size_t len;
	char *all = repeated(begin, text, n, end, &len);

	refused(all, len, what);
	free(all);
}

/* ---- tests ---- */

static void bombs(void **state)
{
	long before = peak_kib();

	refused_repeated("a: &a [x]\n", "b: [*a, *a, *a, *a]\n", 1000, "", "an anchor");
	refused_repeated("tiers: ", "[", 100000, "", "x:1:1008: error: nested too deeply"); /* before the library looks */
	refused_repeated("tiers: ", "{a: ", 100000, "", "x:1:4008: error: nested too deeply");
	refused_repeated("", "[\n", 1 << 19, "", "x:1001:1: error: nested too deeply");
	refused_repeated("", "- ", 100000, "", "nested too deeply");
	refused_repeated("", "%", 100000, "", "a directive");
	refused_repeated("", "%YAML 1.2\n", 50000, "", "");
	refused_repeated("tiers: [", "a,", 200000, "]", "too many values");
	refused_repeated("? ", "? ", 1000, "a", "");
	assert_true(peak_kib() - before < 96 * 1024);
}

static void too_large(void **state)
{
	refused_repeated("node: a\n", "# comment\n", (1u << 20) / 10 + 1, "", "too large");
	refused_repeated("node: ", "a", 1 << 19, "\n", "aaa\" is too long for \"node\"");
}

static void many_errors(void **state)
{
	refused_repeated("", "nonsense: 1\n", 900, "", "x: error: 703 more errors are not shown");
	refused_repeated("", "nonsense: 1\n", 20000, "", "too many keys");
	refused_repeated("features:\n", "  - { name: a }\n", 60, "", "feature \"a\" is given twice");
	refused_repeated("features:\n", "  - { name: a }\n", 64, "", "has 64 items; expected 1 to 63");
	refused_repeated("features: [{ name: a, tier: core, routes: [\"", "GET|", 5000, "GET /\"] }]\n", "too many routes");
	refused_repeated("a: ", "\xff", 100000, "\n", "not UTF-8");
}

static void no_files(void **state)
{
	char path[] = "/tmp/firebreak-conf-XXXXXX", fifo[64];
	struct conf_errors *e = conf_errors_create();
	char *errors;

	assert_non_null(mkdtemp(path));
	snprintf(fifo, sizeof(fifo), "%s/fifo", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_null(conf_load(path, NULL, 0, e));
	assert_null(conf_load(fifo, NULL, 0, e)); /* and does not wait for a writer */
	assert_null(conf_load("/nonexistent/x.yaml", NULL, 0, e));
	assert_int_equal(conf_errors_count(e), 3);
	errors = printed(e);
	assert_string_equal(errors, "x: error: not a regular file\nx: error: not a regular file\n"
				    "x: error: the file cannot be read (No such file or directory)\n");
	free(errors);
	conf_errors_destroy(e);
	unlink(fifo);
	rmdir(path);
}

static void from_a_file(void **state)
{
	char path[] = "/tmp/firebreak-conf-XXXXXX", want[128];
	struct conf_errors *e = conf_errors_create();
	const struct conf *c;
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	assert_non_null(f);
	fputs("listen: [{ address: \"unix:s\" }]\ndatacenters: [{ name: a, endpoints: [\"a:1\"] }]\n"
	      "features: [{ name: f, tier: core, routes: [\"/\"] }]\ncontrol: { state_dir: state }\n", f);
	fclose(f);
	c = conf_load(path, NULL, 0, e);
	assert_non_null(c);
	assert_string_equal(c->path, path);
	assert_string_equal(c->control.state_dir, "/tmp/state"); /* beside the file */
	assert_string_equal(c->listener[0].address, "unix:/tmp/s");
	snprintf(want, sizeof(want), "%s", c->node);
	assert_true(want[0]);
	conf_free(c);
	conf_errors_destroy(e);
	unlink(path);
}

/* Loads a file with one secret in it; the text of the errors. free() it. */
static char *with_secret(const char *key, const char *secret, bool *loaded)
{
	char path[] = "/tmp/firebreak-secret-XXXXXX", text[512];
	struct conf_errors *e = conf_errors_create();
	int fd = mkstemp(path), n;
	const struct conf *c;
	char *errors;

	assert_int_equal(write(fd, secret, strlen(secret)), strlen(secret));
	close(fd);
	n = snprintf(text, sizeof(text),
		     "listen: [{ address: \"unix:/s\" }]\ndatacenters: [{ name: a, endpoints: [\"a:1\"] }]\n"
		     "features: [{ name: f, tier: core, routes: [\"/\"] }]\n%s: \"%s\" }\n", key, path);
	c = conf_load("x", text, (size_t)n, e);
	*loaded = c && (!c->redis.enabled || strcmp(c->redis.password, "pass word") == 0);
	conf_free(c);
	errors = printed(e);
	conf_errors_destroy(e);
	unlink(path);
	return errors;
}

static void secret_files(void **state)
{
	static const struct {
		const char *key, *secret, *error;
	} cases[] = {
		{ "redis: { address: \"r:1\", password_file", "pass word\nsecond line\n", NULL },
		{ "redis: { address: \"r:1\", password_file", "pass word", NULL },
		{ "redis: { address: \"r:1\", password_file", "", "has no password; expected one line" },
		{ "redis: { address: \"r:1\", password_file", "\n", "has no password; expected one line" },
		{ "cache: { secret_file", "0123456789abcdef", NULL },
		{ "cache: { secret_file", "0123456789abcde", "has 15 octets; expected 16 to 4095" },
	};
	char *errors;
	bool loaded;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		errors = with_secret(cases[i].key, cases[i].secret, &loaded);
		if (loaded != !cases[i].error || !strstr(errors, cases[i].error ? cases[i].error : ""))
			fail_msg("case %zu: %s", i, errors);
		free(errors);
	}
}

/* Each allocation of loading the reference fails once. */
static void allocation_fails(void **state)
{
	struct conf_errors *e;
	const struct conf *c;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	long n, total;

	conf_document(out);
	fclose(out);
	e = conf_errors_create();
	allocations = 0;
	c = conf_load("x", text, size, e);
	total = allocations;
	assert_non_null(c);
	assert_true(total >= 3);
	conf_free(c);
	conf_errors_destroy(e);
	for (n = 0; n < total; n++) {
		e = conf_errors_create();
		allocations = 0;
		fail_at = n;
		c = conf_load("x", text, size, e);
		fail_at = -1;
		assert_true(!c == (conf_errors_count(e) > 0));
		conf_free(c);
		conf_errors_destroy(e);
	}
	free(text);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocation_fails), cmocka_unit_test(bombs),    cmocka_unit_test(too_large),
		cmocka_unit_test(many_errors),      cmocka_unit_test(no_files), cmocka_unit_test(from_a_file),
		cmocka_unit_test(secret_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
