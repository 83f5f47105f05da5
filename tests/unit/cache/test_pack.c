/* SPDX-License-Identifier: MIT */
/* One kept answer: what is kept of it, its form in Redis, and everything that is not that form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "../../../src/cache/cache_private.h"

#define MAX   (256u << 10)
#define NOW   INT64_C(1700000000)
#define FIELD(n, v) { .name = (const uint8_t *)(n), .name_len = sizeof(n) - 1, .value = (const uint8_t *)(v), .value_len = sizeof(v) - 1 }

static const struct cache_key key_a = { { 0xaa, 1 } }, key_b = { { 0xbb, 2 } };
static struct cache_packer *packer;

static const struct h2_field usual[] = {
	FIELD(":status", "200"),
	FIELD("content-type", "application/json"),
	FIELD("date", "Sat, 15 Oct 2022 06:30:00 GMT"),
	FIELD("etag", "\"17\""),
	FIELD("content-length", "12"),
	FIELD("connection", "keep-alive"),
	FIELD("transfer-encoding", "chunked"),
	FIELD("age", "3"),
	FIELD("via", "2 backend"),
	FIELD("x-request-id", "77aa"),
	FIELD("server-timing", "db;dur=3"),
	FIELD("empty", ""),
	FIELD("cache-control", "max-age=5, stale-if-error=600"),
};
#define USUAL (sizeof(usual) / sizeof(usual[0]))

static struct cache_entry *make(const struct h2_field *field, size_t n, const void *text, size_t len, const struct cache_key *key)
{
	struct cache_draft d;
	struct buf body = { 0 };
	struct cache_entry *e;

	assert_true(buf_append(&body, text, len));
	assert_true(cache_draft(&d, 200, field, n, &body, SIZE_MAX));
	e = cache_entry_create(&d, key, NOW);
	assert_non_null(e);
	assert_int_equal(e->digest, cache_entry_digest(e));
	buf_clear(&body);
	return e;
}

static void an_answer_is_what_was_kept(void **state)
{
	static const char *const wanted[][2] = {
		{ "content-type", "application/json" }, { "etag", "\"17\"" }, { "empty", "" },
		{ "cache-control", "max-age=5, stale-if-error=600" }, { "date", "Sat, 15 Oct 2022 06:30:00 GMT" },
	};
	struct cache_entry *e = make(usual, USUAL, "hello, world", 12, &key_a);
	struct cache_answer a;
	struct arena arena;
	char text[16];
	size_t i;

	arena_init(&arena);
	assert_true(cache_entry_valid(e));
	assert_true(cache_entry_answer(e, NOW + 42, &arena, &a));
	free(e); /* the answer does not lean on it */
	assert_int_equal(a.status, 200);
	assert_int_equal(a.age_s, 42 + 3);
	assert_int_equal(a.fields, 5);
	for (i = 0; i < 5; i++) {
		assert_int_equal(a.field[i].name_len, strlen(wanted[i][0]));
		assert_memory_equal(a.field[i].name, wanted[i][0], a.field[i].name_len);
		assert_int_equal(a.field[i].value_len, strlen(wanted[i][1]));
		assert_memory_equal(a.field[i].value, wanted[i][1], a.field[i].value_len);
		assert_int_equal(a.field[i].flags, H2_FIELD_KEEP);
		assert_int_equal(a.field[i].token, h2_token(wanted[i][0], strlen(wanted[i][0])));
	}
	assert_int_equal(a.body.len, 12);
	buf_peek(&a.body, text, 12);
	assert_memory_equal(text, "hello, world", 12);
	buf_clear(&a.body);
	arena_finish(&arena);
}

static void cookies_are_never_kept(void **state)
{
	const struct h2_field cookie[] = { FIELD("content-type", "text/plain"), FIELD("set-cookie", "session=alice") };
	struct buf body = { 0 };
	struct cache_draft d;

	assert_false(cache_draft(&d, 200, cookie, 2, &body, MAX));
	assert_true(cache_draft(&d, 200, cookie, 1, &body, MAX));
}

static void size_is_bounded(void **state)
{
	struct buf body = { 0 };
	struct cache_draft d;
	char text[100] = { 0 };

	assert_true(buf_append(&body, text, sizeof(text)));
	assert_true(cache_draft(&d, 200, NULL, 0, &body, 100));
	assert_false(cache_draft(&d, 200, NULL, 0, &body, 99));
	assert_true(cache_draft(&d, 200, usual + 1, 1, &body, 100 + 6 + 12 + 16));
	assert_false(cache_draft(&d, 200, usual + 1, 1, &body, 100 + 6 + 12 + 15));
	buf_clear(&body);
}

/* The digest sees content, not the date and not how the body lies in memory. */
static void the_digest_is_of_content(void **state)
{
	static char text[40000];
	const struct h2_field later[] = { usual[1], FIELD("date", "Sat, 15 Oct 2022 06:31:00 GMT") };
	const struct h2_field first[] = { usual[1], usual[2] };
	const struct h2_field moved[] = { FIELD("content-typ", "eapplication/json") };
	struct buf whole = { 0 }, pieces = { 0 }, drained = { 0 };
	struct cache_draft a, b;
	size_t i;

	for (i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7);
	buf_append(&whole, text, sizeof(text));
	for (i = 0; i < sizeof(text); i += 100)
		buf_append(&pieces, text + i, 100);
	buf_append(&drained, "xx", 2);
	buf_append(&drained, text, sizeof(text));
	buf_drain(&drained, 2);
	assert_true(cache_draft(&a, 200, first, 2, &whole, MAX));
	assert_true(cache_draft(&b, 200, later, 2, &pieces, MAX));
	assert_true(a.digest == b.digest);
	assert_true(cache_draft(&b, 200, later, 2, &drained, MAX));
	assert_true(a.digest == b.digest);
	assert_true(cache_draft(&b, 203, first, 2, &whole, MAX));
	assert_true(a.digest != b.digest);
	assert_true(cache_draft(&b, 200, moved, 1, &whole, MAX));
	assert_true(a.digest != b.digest);
	buf_drain(&whole, 1);
	assert_true(cache_draft(&b, 200, first, 2, &whole, MAX));
	assert_true(a.digest != b.digest);
	buf_clear(&whole);
	buf_clear(&pieces);
	buf_clear(&drained);
}

static void round_trip(const void *text, size_t len, bool smaller)
{
	struct cache_entry *e = make(usual, USUAL, text, len, &key_a), *back;
	bool junk = true;
	uint8_t *value;
	size_t n;

	e->stored_s = NOW - 5;
	value = cache_pack(packer, e, &n);
	assert_non_null(value);
	assert_int_equal(n < 112 + e->fields_len + len, smaller);
	back = cache_unpack(packer, value, n, &key_a, MAX, &junk);
	assert_non_null(back);
	assert_false(junk);
	assert_int_equal(back->stored_s, NOW - 5);
	assert_int_equal(back->status, 200);
	assert_int_equal(back->fields, e->fields);
	assert_int_equal(back->body_len, len);
	assert_string_equal(back->date, e->date);
	assert_memory_equal(back->data, e->data, (size_t)e->fields_len + len);
	free(back);
	free(value);
	free(e);
}

static void values_come_back(void **state)
{
	static char text[200000], noise[70000];
	uint64_t x = 1;
	size_t i;

	for (i = 0; i < sizeof(text); i++)
		text[i] = "the quick brown fox "[i % 20];
	for (i = 0; i < sizeof(noise); i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		noise[i] = (char)(x >> 56);
	}
	round_trip("", 0, false);
	round_trip(text, 511, false);
	round_trip(text, 512, true);
	round_trip(text, 60000, true);
	round_trip(text, sizeof(text), false); /* too long to spend the time */
	round_trip(noise, 4096, false);
	round_trip(noise, sizeof(noise), false);
}

static uint8_t *packed(const struct cache_key *key, size_t *n)
{
	static char text[2000];
	struct cache_entry *e;
	uint8_t *value;

	memset(text, 'a', sizeof(text));
	e = make(usual, USUAL, text, sizeof(text), key);
	value = cache_pack(packer, e, n);
	free(e);
	return value;
}

static void refused(const void *value, size_t n, const struct cache_key *key, const char *what)
{
	bool junk = false;

	if (cache_unpack(packer, value, n, key, MAX, &junk))
		fail_msg("taken: %s", what);
	if (!junk)
		fail_msg("not junk: %s", what);
}

static void same_or_refused(const void *value, size_t n, const char *what)
{
	uint8_t *good = packed(&key_a, &n);
	struct cache_entry *e, *original;
	bool junk;

	original = cache_unpack(packer, good, n, &key_a, MAX, &junk);
	e = cache_unpack(packer, value, n, &key_a, MAX, &junk);
	if (e && memcmp(e->data, original->data, (size_t)original->fields_len + original->body_len) != 0)
		fail_msg("other content: %s", what);
	free(original);
	free(good);
	free(e);
}

/* P2: A's answer found under B's key is nobody's answer. */
static void another_keys_value_is_junk(void **state)
{
	size_t n;
	uint8_t *value = packed(&key_a, &n);

	refused(value, n, &key_b, "value of another key");
	free(value);
}

/* Compressed it is small: what it becomes counts (a decompression bomb is small too). */
static void content_beyond_the_limit_is_junk(void **state)
{
	static char text[32768];
	struct cache_entry *e;
	uint8_t *value;
	size_t n, content;
	bool junk;

	memset(text, 'a', sizeof(text));
	e = make(NULL, 0, text, sizeof(text), &key_a);
	content = e->fields_len + e->body_len;
	value = cache_pack(packer, e, &n);
	free(e);
	assert_true(n < content / 2);
	e = cache_unpack(packer, value, n, &key_a, content, &junk);
	assert_non_null(e);
	free(e);
	assert_null(cache_unpack(packer, value, n, &key_a, content - 1, &junk));
	assert_true(junk);
	free(value);
}

static void every_flipped_bit_is_noticed(void **state)
{
	size_t n, i, body;
	uint8_t *value = packed(&key_a, &n);
	uint32_t fields_len;
	char what[64];
	int bit;

	memcpy(&fields_len, value + 12, 4);
	body = 112 + fields_len;
	assert_true(body < n);
	for (i = 0; i < n; i++) {
		for (bit = 0; bit < 8; bit++) {
			value[i] ^= (uint8_t)(1 << bit);
			snprintf(what, sizeof(what), "byte %zu bit %d", i, bit);
			if (i < body) /* there is more than one way to say "aaaa" in deflate */
				refused(value, n, &key_a, what);
			else
				same_or_refused(value, n, what);
			value[i] ^= (uint8_t)(1 << bit);
		}
	}
	for (i = 0; i < n; i++)
		refused(value, i, &key_a, "cut short");
	free(value);
}

/* Checksums are no defence against who can compute them: bounds and form hold alone. */
struct forged {
	const char *what;
	size_t at;
	uint32_t value;
	int width;
};

static void forged_heads(void **state)
{
	static const struct forged cases[] = {
		{ "huge body", 16, 0xffffffff, 4 }, { "body above the limit", 16, MAX, 4 }, { "huge fields", 12, 0xfffffff0, 4 },
		{ "body one longer", 16, 2001, 4 }, { "body one shorter", 16, 1999, 4 }, { "empty body", 16, 0, 4 },
		{ "no fields", 6, 0, 2 }, { "more fields", 6, 9, 2 }, { "status 0", 4, 0, 2 }, { "status 101", 4, 101, 2 },
		{ "status 999", 4, 999, 2 }, { "unknown flag", 8, 3, 4 }, { "not deflated after all", 8, 0, 4 },
		{ "another version", 3, '2', 1 }, { "stored far ahead", 28, 0x7fffffff, 4 }, { "stored before time", 28, 0x80000000, 4 },
		{ "stored bytes", 20, 0xffffffff, 4 }, { "date", 72, 0x0a0d0a0d, 4 },
	};
	size_t n, i;
	uint8_t *value = packed(&key_a, &n), copy[112];
	uint64_t sum;

	memcpy(copy, value, 112);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(value, copy, 112);
		memcpy(value + cases[i].at, &cases[i].value, (size_t)cases[i].width);
		sum = XXH64(value, 104, 0);
		memcpy(value + 104, &sum, 8);
		refused(value, n, &key_a, cases[i].what);
	}
	free(value);
}

/* Fields that would hurt whoever receives them. */
static void forged_fields(void **state)
{
	static const struct h2_field bad[] = {
		FIELD("Upper", "x"), FIELD("sp ace", "x"), FIELD("colon:", "x"), FIELD("x", "a\r\nb"), FIELD("x", "a\0b"),
		FIELD("nul\0", "x"),
	};
	struct cache_entry *e, *out;
	bool junk;
	uint8_t *value;
	size_t i, n;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e = make(&bad[i], 1, "", 0, &key_a);
		value = cache_pack(packer, e, &n);
		refused(value, n, &key_a, "bad field");
		free(value);
		free(e);
	}
	/* A cookie that somebody put there by hand. */
	e = make((const struct h2_field[]){ FIELD("xet-cookie", "a=b") }, 1, "", 0, &key_a);
	e->data[6] = 's';
	e->digest = cache_entry_digest(e);
	value = cache_pack(packer, e, &n);
	out = cache_unpack(packer, value, n, &key_a, MAX, &junk);
	assert_null(out);
	assert_true(junk);
	free(value);
	free(e);
}

/* More or longer fields than any limits can let through are none of ours, whatever else
 * is right. */
static void too_many_fields(void **state)
{
	enum { MOST = 10000, OCTETS = 1 << 20 };
	static uint8_t text[OCTETS];
	struct h2_field *many = calloc(MOST + 1, sizeof(*many)), *field;
	struct cache_entry *e, *out;
	size_t n, i, count;
	uint8_t *value;
	bool junk, more;

	assert_non_null(many);
	memset(text, 'v', sizeof(text));
	for (i = 0; i <= MOST; i++)
		many[i] = (struct h2_field)FIELD("x", "");
	for (i = 0; i < 4; i++) {
		struct h2_field one = { .name = (const uint8_t *)"x", .name_len = 1, .value = text, .value_len = OCTETS - 7 + i % 2 };

		more = i % 2;
		field = i < 2 ? many : &one;
		count = i < 2 ? MOST + i : 1;
		e = make(field, count, "", 0, &key_a);
		value = cache_pack(packer, e, &n);
		out = cache_unpack(packer, value, n, &key_a, SIZE_MAX, &junk);
		assert_int_equal(out == NULL, more);
		assert_int_equal(junk, more);
		free(out);
		free(value);
		free(e);
	}
	free(many);
}

static void age_decides(void **state)
{
	struct cache_entry *e = make(usual, USUAL, "x", 1, &key_a); /* max-age=5, stale-if-error=600, age: 3 */

	assert_true(cache_entry_servable(e, 3600, NOW));
	assert_true(cache_entry_servable(e, 3600, NOW + 602));
	assert_false(cache_entry_servable(e, 3600, NOW + 603));
	assert_false(cache_entry_servable(e, 100, NOW + 98));
	assert_true(cache_entry_servable(e, 3600, NOW - 303));  /* another node's clock */
	assert_false(cache_entry_servable(e, 3600, NOW - 304)); /* its age is anybody's guess */
	free(e);
}

static void memory_is_bounded_and_forgets_the_oldest(void **state)
{
	struct cache_memory m;
	struct cache_key key = { { 0 } };
	static char text[1000];
	struct cache_entry *e;
	unsigned i;

	assert_true(cache_memory_init(&m, 64 << 10));
	for (i = 0; i < 1000; i++) {
		memcpy(key.bytes, &i, sizeof(i));
		assert_true(cache_memory_insert(&m, make(NULL, 0, text, sizeof(text), &key)));
		assert_true(m.bytes <= m.limit);
		if (i > 10) { /* the first one is used all the time */
			memset(&key, 0, sizeof(key));
			e = cache_memory_find(&m, &key);
			assert_non_null(e);
			cache_memory_touch(&m, e);
		}
	}
	assert_true(m.count > 30 && m.count < 64);
	assert_int_equal(m.evictions, 1000 - m.count);
	for (i = 0; i < 1000; i++) {
		memcpy(key.bytes, &i, sizeof(i));
		assert_int_equal(cache_memory_find(&m, &key) != NULL, i == 0 || i > 1000 - m.count);
	}
	/* The same key replaces, something too large only removes. */
	i = 999;
	memcpy(key.bytes, &i, sizeof(i));
	assert_true(cache_memory_insert(&m, make(NULL, 0, "new", 3, &key)));
	assert_int_equal(cache_memory_find(&m, &key)->body_len, 3);
	e = calloc(1, sizeof(*e));
	e->key = key;
	e->body_len = 64 << 10;
	list_init(&e->lru);
	assert_false(cache_memory_insert(&m, e));
	free(e);
	assert_null(cache_memory_find(&m, &key));
	/* A reload shrinks and grows it. */
	assert_true(cache_memory_resize(&m, 1 << 20));
	memset(&key, 0, sizeof(key));
	assert_non_null(cache_memory_find(&m, &key));
	assert_true(cache_memory_resize(&m, 8 << 10));
	assert_true(m.bytes <= 8 << 10 && m.count > 0);
	assert_non_null(cache_memory_find(&m, &key));
	cache_memory_finish(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_what_was_kept),
		cmocka_unit_test(cookies_are_never_kept),
		cmocka_unit_test(size_is_bounded),
		cmocka_unit_test(the_digest_is_of_content),
		cmocka_unit_test(values_come_back),
		cmocka_unit_test(another_keys_value_is_junk), cmocka_unit_test(content_beyond_the_limit_is_junk),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(forged_heads),
		cmocka_unit_test(forged_fields), cmocka_unit_test(too_many_fields),
		cmocka_unit_test(age_decides),
		cmocka_unit_test(memory_is_bounded_and_forgets_the_oldest),
	};
	int failed;

	packer = cache_packer_create();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	cache_packer_destroy(packer);
	buf_memory_trim(0);
	return failed;
}
