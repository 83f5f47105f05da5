/* SPDX-License-Identifier: MIT */
#include "../../../src/control/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../../src/control/audit.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"

#define NOW (INT64_C(1700000000) * CLOCK_SEC)

static char dir[64];

static void empty_dir(void)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	while ((e = readdir(d))) {
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
}

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/fb-store-XXXXXX");
	log_open(LOG_EVENTS, "off");
	return !mkdtemp(dir) || !crypt_init();
}

static int teardown(void **state)
{
	empty_dir();
	return rmdir(dir);
}

static struct ctl_override override(enum ctl_kind kind, const char *subject, const char *value, int64_t until)
{
	struct ctl_override o = { .kind = kind, .author = "kim", .reason = "drill \"7\" \xe2\x80\x94 \\", .from = NOW, .until = until };

	snprintf(o.subject, sizeof(o.subject), "%s", subject);
	snprintf(o.value, sizeof(o.value), "%s", value);
	return o;
}

static char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void write_file(const char *name, const void *bytes, size_t len)
{
	FILE *f = fopen(path_of(name), "w");

	assert_int_equal(fwrite(bytes, 1, len, f), len);
	fclose(f);
}

static char *read_file(const char *name, size_t *len)
{
	static char bytes[65536];
	FILE *f = fopen(path_of(name), "r");

	assert_non_null(f);
	*len = fread(bytes, 1, sizeof(bytes) - 1, f);
	bytes[*len] = '\0';
	fclose(f);
	return bytes;
}

/* Files whose names begin with this. */
static int count_files(const char *prefix)
{
	struct dirent *e;
	DIR *d = opendir(dir);
	int n = 0;

	while ((e = readdir(d)))
		n += !strncmp(e->d_name, prefix, strlen(prefix));
	closedir(d);
	return n;
}

static void what_was_saved_is_loaded_unless_it_ended(void **state)
{
	struct overrides out = { 0 }, in = { 0 };
	struct ctl_override o;

	empty_dir();
	o = override(CTL_MODE, "", "core-only", NOW + CLOCK_SEC);
	assert_true(overrides_put(&out, &o));
	o = override(CTL_FEATURE, "shop", "share", NOW + 2 * CLOCK_SEC);
	o.share = 2500;
	assert_true(overrides_put(&out, &o));
	o = override(CTL_DRAIN, "a", "drain", NOW - 1);
	assert_true(overrides_put(&out, &o));
	assert_int_equal(store_save(dir, &out), 0);
	assert_int_equal(count_files("overrides.json"), 1);
	store_load(dir, &in, NOW);
	assert_int_equal(in.n, 2);
	assert_memory_equal(&in.item[0], &out.item[0], sizeof(in.item[0]));
	assert_memory_equal(&in.item[1], &out.item[1], sizeof(in.item[1]));
	assert_int_equal(count_files("overrides.json.damaged"), 0);
}

static void nothing_there_is_nothing_set(void **state)
{
	struct overrides in = { 0 };

	empty_dir();
	store_load(dir, &in, NOW);
	store_load("/nonexistent/firebreak", &in, NOW);
	assert_int_equal(in.n, 0);
	assert_int_equal(count_files("overrides"), 0);
	assert_int_equal(store_save("/nonexistent/firebreak", &in), ENOENT);
}

static void damaged_files_are_set_aside(void **state)
{
	static const char *const bad[] = {
		"", "{", "[]", "null", "{\"format\":2,\"overrides\":[]}", "{\"format\":1,\"overrides\":{}}",
		"{\"format\":1,\"overrides\":[{}]}",
		"{\"format\":1,\"overrides\":[7]}",
		"{\"format\":1,\"overrides\":[{\"kind\":\"moon\",\"subject\":\"\",\"value\":\"x\",\"share\":0,\"author\":\"a\",\"reason\":\"r\",\"from\":1,\"until\":1700000001000000000}]}",
		"{\"format\":1,\"overrides\":[{\"kind\":\"mode\",\"subject\":\"\",\"value\":\"x\",\"share\":70000,\"author\":\"a\",\"reason\":\"r\",\"from\":1,\"until\":1700000001000000000}]}",
		"{\"format\":1,\"overrides\":[{\"kind\":\"mode\",\"subject\":\"\",\"value\":\"x\",\"share\":0,\"author\":\"\",\"reason\":\"r\",\"from\":1,\"until\":1700000001000000000}]}",
		"\x00\xff\xfe garbage",
	};
	struct overrides in;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		empty_dir();
		memset(&in, 0, sizeof(in));
		write_file("overrides.json", bad[i], strlen(bad[i]));
		store_load(dir, &in, NOW);
		if (in.n || count_files("overrides.json.damaged") != 1)
			fail_msg("not set aside: %s", bad[i]);
		assert_int_equal(count_files("overrides.json"), 1); /* the one set aside */
		assert_int_equal(store_save(dir, &in), 0);
	}
}

/* Every shorter version of a good file: never a crash, never half an override. */
static void cut_files_give_whole_overrides_or_none(void **state)
{
	struct overrides out = { 0 }, in;
	struct ctl_override o = override(CTL_FEATURE, "shop", "off", NOW + CLOCK_SEC);
	char text[4096], *whole;
	size_t len, cut;

	empty_dir();
	overrides_put(&out, &o);
	assert_int_equal(store_save(dir, &out), 0);
	whole = read_file("overrides.json", &len);
	assert_true(len < sizeof(text));
	memcpy(text, whole, len);
	for (cut = 0; cut < len; cut++) {
		memset(&in, 0, sizeof(in));
		write_file("overrides.json", text, cut);
		store_load(dir, &in, NOW);
		assert_int_equal(in.n, 0);
		empty_dir();
	}
}

static void the_good_ones_of_a_damaged_file_count(void **state)
{
	static const char mixed[] =
		"{\"format\":1,\"overrides\":[{},{\"kind\":\"mode\",\"subject\":\"\",\"value\":\"island\",\"share\":0,\"author\":\"a\",\"reason\":\"r\",\"from\":1,\"until\":1700000001000000000}]}";
	struct overrides in = { 0 };

	empty_dir();
	write_file("overrides.json", mixed, sizeof(mixed) - 1);
	store_load(dir, &in, NOW);
	assert_int_equal(in.n, 1);
	assert_string_equal(in.item[0].value, "island");
	assert_int_equal(count_files("overrides.json.damaged"), 1);
}

static void a_full_disk_leaves_the_old_file(void **state)
{
	struct overrides out = { 0 }, in = { 0 };
	struct ctl_override o = override(CTL_MODE, "", "island", NOW + CLOCK_SEC);
	struct rlimit old, tiny;
	int error;

	empty_dir();
	overrides_put(&out, &o);
	assert_int_equal(store_save(dir, &out), 0);
	snprintf(out.item[0].value, sizeof(out.item[0].value), "normal");
	getrlimit(RLIMIT_FSIZE, &old);
	tiny = old;
	tiny.rlim_cur = 16;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &tiny);
	error = store_save(dir, &out);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(error, EFBIG);
	assert_int_equal(count_files("overrides.json"), 1); /* no temporary one stays */
	store_load(dir, &in, NOW);
	assert_string_equal(in.item[0].value, "island");
}

static void the_table_is_bounded(void **state)
{
	struct overrides all = { 0 };
	struct ctl_override o;
	char name[32];
	int i;

	for (i = 0; i <= CTL_OVERRIDES_MAX; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		o = override(CTL_FEATURE, name, "off", NOW + 1);
		assert_int_equal(overrides_put(&all, &o), i < CTL_OVERRIDES_MAX);
	}
	o = override(CTL_FEATURE, "f7", "on", NOW + 1); /* replacing needs no room */
	assert_true(overrides_put(&all, &o));
	assert_int_equal(all.n, CTL_OVERRIDES_MAX);
	overrides_remove(&all, overrides_find(&all, CTL_FEATURE, "f7"));
	assert_null(overrides_find(&all, CTL_FEATURE, "f7"));
	assert_non_null(overrides_find(&all, CTL_FEATURE, "f127"));
}

static void form_is_checked(void **state)
{
	struct ctl_override o = override(CTL_MODE, "", "island", NOW + CLOCK_SEC);

	assert_null(override_check_form(&o, NOW, 3600));
	o.until = NOW;
	assert_non_null(override_check_form(&o, NOW, 3600));
	o.until = NOW + 3600 * CLOCK_SEC + 1;
	assert_non_null(override_check_form(&o, NOW, 3600));
	o.until--;
	assert_null(override_check_form(&o, NOW, 3600));
	snprintf(o.reason, sizeof(o.reason), "a\nforged line");
	assert_non_null(override_check_form(&o, NOW, 3600));
	snprintf(o.reason, sizeof(o.reason), "  ");
	assert_non_null(override_check_form(&o, NOW, 3600));
	o = override(CTL_MODE, "", "island", NOW + CLOCK_SEC);
	o.author[0] = '\0';
	assert_non_null(override_check_form(&o, NOW, 3600));
}

/* ---- audit ---- */
static void write_lines(int n)
{
	struct ctl_override o = override(CTL_MODE, "", "island", NOW + CLOCK_SEC);
	struct audit a;
	int i;

	assert_true(audit_open(&a, dir));
	for (i = 0; i < n; i++)
		assert_true(audit_write(&a, i % 2 ? "clear" : "set", &o, "kim", false, NOW + i));
	audit_close(&a);
}

static void audit_lines_form_a_chain_over_restarts(void **state)
{
	char *text;
	size_t len;

	empty_dir();
	assert_int_equal(audit_verify(dir), 0);
	write_lines(3);
	write_lines(2);
	assert_int_equal(audit_verify(dir), 5);
	text = read_file("audit.jsonl", &len);
	assert_non_null(strstr(text, "\"previous\":\"0000000000000000000000000000000000000000000000000000000000000000\"}\n"));
	assert_non_null(strstr(text, "\"author\":\"kim\""));
	assert_non_null(strstr(text, "2023-11-14T22:13:20Z"));
}

/* Each line changed, and each line taken out, breaks the chain there. */
static void audit_tampering_shows(void **state)
{
	char text[8192], changed[8192], *line, *next;
	size_t len;
	long n;

	empty_dir();
	write_lines(4);
	memcpy(text, read_file("audit.jsonl", &len), 8191);
	text[len] = '\0';
	for (n = 1, line = text; n <= 3; n++, line = next + 1) {
		next = strchr(line, '\n');
		memcpy(changed, text, len + 1);
		changed[strstr(line, "kim") - text] = 'T';
		write_file("audit.jsonl", changed, len);
		assert_int_equal(audit_verify(dir), -(n + 1));
		memmove(changed + (line - text), next + 1, strlen(next + 1));
		write_file("audit.jsonl", changed, len - (size_t)(next + 1 - line));
		assert_int_equal(audit_verify(dir), -n);
	}
}

static void audit_goes_on_after_a_torn_line(void **state)
{
	size_t len;
	char *text;

	empty_dir();
	write_lines(2);
	text = read_file("audit.jsonl", &len);
	write_file("audit.jsonl", text, len - 40);
	write_lines(2);
	assert_int_equal(audit_verify(dir), 4);
}

static void audit_says_when_it_cannot_write(void **state)
{
	struct ctl_override o = override(CTL_MODE, "", "island", NOW);
	struct audit a;

	assert_false(audit_open(&a, "/nonexistent/firebreak"));
	assert_false(audit_write(&a, "set", &o, "kim", false, NOW));
	audit_close(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_is_loaded_unless_it_ended),
		cmocka_unit_test(nothing_there_is_nothing_set),
		cmocka_unit_test(damaged_files_are_set_aside),
		cmocka_unit_test(cut_files_give_whole_overrides_or_none),
		cmocka_unit_test(the_good_ones_of_a_damaged_file_count),
		cmocka_unit_test(a_full_disk_leaves_the_old_file),
		cmocka_unit_test(the_table_is_bounded),
		cmocka_unit_test(form_is_checked),
		cmocka_unit_test(audit_lines_form_a_chain_over_restarts),
		cmocka_unit_test(audit_tampering_shows),
		cmocka_unit_test(audit_goes_on_after_a_torn_line),
		cmocka_unit_test(audit_says_when_it_cannot_write),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
