/* SPDX-License-Identifier: MIT */
/*
 * The reference and the examples: config/firebreak.yaml is what conf_document() prints,
 * names every key, and loads with a plan and routes nobody complains about; so do the
 * examples (their certificates and secrets made up here). Dumps of all load as the same.
 *
 * usage: test_document FOLDER   (config/ of the tree)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../src/config/conf_private.h"
#include "firebreak/degrade.h"
#include "firebreak/route.h"

static const char *folder;

__attribute__((noinline)) static char *document_text(void)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	conf_document(out);
	fclose(out);
	return text;
}

static char *dump_text(const struct conf *c)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	conf_dump(c, out);
	fclose(out);
	return text;
}

static char *file_text(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	assert_non_null(f);
	assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
	fclose(f);
	return text;
}

/* Loads and asks the rooms that understand routes and the plan, as --check does. */
static const struct conf *load_whole(const char *path, const char *text)
{
	struct conf_errors *e = conf_errors_create();
	const struct conf *c = conf_load(path, text, strlen(text), e);
	struct degrade_plan plan;

	if (c) {
		route_check(c, e, conf_errors_add);
		degrade_compile(c, &plan, e, conf_errors_add);
	}
	conf_errors_print(e, path, stderr);
	assert_int_equal(conf_errors_count(e), 0);
	conf_errors_destroy(e);
	return c;
}

static void round_trip(const struct conf *c)
{
	char *dump = dump_text(c), *again;
	const struct conf *d = load_whole(c->path, dump);

	again = dump_text(d);
	assert_string_equal(dump, again);
	free(dump);
	free(again);
	conf_free(d);
}

static void reference_is_current(void **state)
{
	char *text = document_text(), path[4096], *file;

	snprintf(path, sizeof(path), "%s/firebreak.yaml", folder);
	file = file_text(path);
	if (strcmp(text, file) != 0)
		fprintf(stderr, "%s is stale: conf_print document > %s\n", path, path);
	assert_string_equal(text, file);
	free(text);
	free(file);
}

static void reference_loads(void **state)
{
	char *text = document_text();
	const struct conf *c = load_whole("firebreak.yaml", text);

	assert_int_equal(c->listeners, 1);
	assert_null(c->listener[0].tls.certificate);
	assert_int_equal(c->datacenters, 2);
	assert_int_equal(c->endpoints, 4);
	assert_string_equal(c->endpoint[3].address, "127.0.0.1:9202");
	assert_int_equal(c->endpoint[3].datacenter, 1);
	assert_int_equal(c->datacenter[1].first_endpoint, 2);
	assert_int_equal(c->features, 12);
	assert_string_equal(c->feature[11].name, "unnamed");
	assert_int_equal(c->feature[11].tier, 2);
	assert_int_equal(c->modes, 4);
	assert_false(c->redis.enabled);
	assert_string_equal(c->admin.address, "127.0.0.1:9901");
	round_trip(c);
	conf_free(c);
	free(text);
}

/* What is commented out is right too: without the comment signs it loads, or is refused
 * only for a file that does not exist here. */
static void reference_redis_loads(void **state)
{
	char *text = document_text(), *line = strstr(text, "# redis:\n"), *end;
	const struct conf *c;

	assert_non_null(line);
	for (; *line == '#'; line = end) {
		end = strchr(line, '\n') - 1; /* where it will be */
		memmove(line, line + 2, strlen(line + 2) + 1);
	}
	c = load_whole("firebreak.yaml", text);
	assert_true(c->redis.enabled);
	assert_true(c->redis.tls);
	assert_true(c->redis.verify);
	assert_string_equal(c->redis.address, "127.0.0.1:6379");
	assert_int_equal(c->redis.command_timeout_ms, 100);
	conf_free(c);
	free(text);
}

static void every_key_is_told(void **state)
{
	char *text = document_text(), want[128];
	const struct conf_key *k;
	size_t i, n;

	for (i = 0; i < conf_keys_count; i++) {
		k = &conf_keys[i];
		n = strlen(k->prose);
		assert_true(n > 8 && k->prose[n - 1] == '.');
		assert_true(k->min <= k->max);
		snprintf(want, sizeof(want), "%s:", k->name);
		if (!strstr(text, want))
			fail_msg("%s is not in the reference", k->name);
		snprintf(want, sizeof(want), "%.40s", k->prose);
		if (!strstr(text, want))
			fail_msg("%s is in the reference without its prose", k->name);
		/* A limit is there for a reason, and the reason is told. */
		if (k->block == CONF_B_LIMITS && k->type >= CONF_T_NUMBER && k->type <= CONF_T_PERCENT)
			assert_true(k->fallback != NULL);
	}
	free(text);
}

/* One entry for each key of the table. */
static void manual_has_every_key(void **state)
{
	char *text = NULL, *line;
	size_t size, entries = 0;
	FILE *out = open_memstream(&text, &size);

	conf_manual(out);
	fclose(out);
	for (line = text; line; line = strchr(line, '\n'))
		entries += *(*line == '\n' ? ++line : line) == '*';
	assert_int_equal(entries, conf_keys_count);
	assert_non_null(strstr(text, "\n*datacenters\\[\\].tls.server\\_name*\n"));
	free(text);
}

/* No key is left out of the snapshot: each field of the table is another one. */
static void fields_are_distinct(void **state)
{
	const struct conf_key *a, *b;
	size_t i, j;

	for (i = 0; i < conf_keys_count; i++) {
		for (j = 0; j < i; j++) {
			a = &conf_keys[i];
			b = &conf_keys[j];
			if (a->block != b->block)
				continue;
			assert_string_not_equal(a->name, b->name);
			if (a->offset == CONF_NOWHERE || a->type == CONF_T_SECRET_FILE || a->type == CONF_T_ENDPOINTS ||
			    a->type == CONF_T_ROUTES || b->type == CONF_T_ENDPOINTS || b->type == CONF_T_ROUTES)
				continue;
			if (a->offset == b->offset)
				fail_msg("%s and %s share a field", a->name, b->name);
		}
	}
}

static void make_file(const char *root, const char *name)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/tls/%s", root, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("0123456789abcdef0123456789abcdef\n", f);
	fclose(f);
}

static void drop_files(const char *root, const char *const *names)
{
	char path[256];

	for (; *names; names++) {
		snprintf(path, sizeof(path), "%s/tls/%s", root, *names);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/tls", root);
	rmdir(path);
	rmdir(root);
}

static const struct conf *load_example(const char *name, const char *root)
{
	char path[4096], as[4096], *text;
	const struct conf *c;

	snprintf(path, sizeof(path), "%s/examples/%s", folder, name);
	snprintf(as, sizeof(as), "%s/%s", root, name); /* relative paths start there */
	text = file_text(path);
	c = load_whole(as, text);
	free(text);
	return c;
}

static void examples_load(void **state)
{
	static const char *const names[] = { "ecdsa.pem", "ecdsa.key", "rsa.pem", "rsa.key", "internal-ca.pem",
					     "redis-password", "identity-secret", NULL };
	char root[] = "/tmp/firebreak-conf-XXXXXX", path[256];
	const struct conf *c;
	size_t i;

	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/tls", root);
	assert_int_equal(mkdir(path, 0700), 0);
	for (i = 0; names[i]; i++)
		make_file(root, names[i]);

	c = load_example("minimal.yaml", root);
	round_trip(c);
	conf_free(c);
	c = load_example("grpc.yaml", root);
	assert_string_equal(c->feature[c->features - 1].name, "unnamed");
	assert_int_equal(c->feature[c->features - 1].body_limit, 65536);
	round_trip(c);
	conf_free(c);
	c = load_example("two-datacenters-tls.yaml", root);
	snprintf(path, sizeof(path), "%s/tls/rsa.key", root);
	assert_string_equal(c->listener[0].tls.key2, path);
	assert_string_equal(c->redis.password, "0123456789abcdef0123456789abcdef");
	assert_true(c->datacenter[0].tls);
	assert_int_equal(c->endpoint[4].weight, 2);
	round_trip(c);
	conf_free(c);
	drop_files(root, names);
}

/* A password never leaves by the dump, however it came in. */
static void secrets_are_masked(void **state)
{
	static const char text[] =
		"listen: [{ address: \"127.0.0.1:1\" }]\n"
		"datacenters: [{ name: a, endpoints: [\"a:1\"] }]\n"
		"features: [{ name: f, tier: core, routes: [\"/\"] }]\n"
		"redis: { address: \"r:1\", password: hunter2 }\n";
	const struct conf *c = load_whole("x", text);
	char *dump = dump_text(c);

	assert_string_equal(c->redis.password, "hunter2");
	assert_null(strstr(dump, "hunter2"));
	free(dump);
	conf_free(c);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(reference_is_current), cmocka_unit_test(reference_loads), cmocka_unit_test(reference_redis_loads),
		cmocka_unit_test(every_key_is_told),    cmocka_unit_test(manual_has_every_key), cmocka_unit_test(fields_are_distinct), cmocka_unit_test(examples_load),
		cmocka_unit_test(secrets_are_masked),
	};

	folder = argc > 1 ? argv[1] : "config";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
