/* SPDX-License-Identifier: MIT */
/*
 * The n-th allocation fails, for every n: an answer that cannot be kept or given out
 * is a miss, never a crash and never half an answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../src/cache/cache_private.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"

#define FIELD(n, v) { .name = (const uint8_t *)(n), .name_len = sizeof(n) - 1, .value = (const uint8_t *)(v), .value_len = sizeof(v) - 1 }
#define WALL  (INT64_C(1700000000) * CLOCK_SEC)
#define BYTES 3000

/* glibc's own, behind ours. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
static long fail_at = -1, seen;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(SANITIZED)
#define CAN_FAIL 1

static int fails(void)
{
	return fail_at >= 0 && seen++ == fail_at;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { return fails() ? NULL : __libc_realloc(p, size); }
#else
#define CAN_FAIL 0
#endif

static const struct h2_field head[] = { FIELD("content-type", "text/plain"), FIELD("date", "Sat, 15 Oct 2022 06:30:00 GMT") };
static const struct conf_feature feature = { .name = "rooms", .identity = CONF_IDENTITY_BEARER };
static const uint8_t secret[32] = "s";
static struct conf conf = { .cache = { .memory_bytes = 1 << 20, .max_entry_bytes = 1 << 16 } };
static char text[BYTES];
static int called, answered;

static void on_answer(void *user, struct cache_answer *a)
{
	char got[BYTES];

	(void)user;
	called++;
	if (!a)
		return;
	answered++;
	if (a->fields != 2 || a->body.len != BYTES || buf_peek(&a->body, got, BYTES) != BYTES || memcmp(got, text, BYTES) != 0)
		abort();
	buf_clear(&a->body);
}

/* True when nothing failed any more. */
static int life_of_an_answer(void)
{
	char target[4000];
	struct cache_key key;
	struct buf body = { 0 };
	struct arena arena;
	struct cache *k;

	memset(target, 't', sizeof(target));
	arena_init(&arena);
	if (!buf_append(&body, text, sizeof(text)))
		return 0;
	k = cache_create(&conf, secret, NULL, NULL);
	if (k && cache_key(k, &feature, "GET", 3, target, sizeof(target), NULL, 0, "alice", 5, &key)) {
		cache_put(k, &key, 200, head, 2, &body, 60, WALL);
		cache_put(k, &key, 200, head, 2, &body, 60, WALL);
		called = answered = 0;
		cache_get(k, &key, 60, WALL, &arena, on_answer, NULL);
		if (called != 1)
			abort();
	}
	cache_destroy(k);
	buf_clear(&body);
	arena_finish(&arena);
	buf_memory_trim(0);
	return seen <= fail_at;
}

static int way_through_redis(void)
{
	static const struct cache_key key = { { 1 } };
	struct cache_packer *p = cache_packer_create();
	struct cache_entry *e = NULL, *back = NULL;
	struct buf body = { 0 };
	struct cache_draft d;
	uint8_t *value = NULL;
	bool junk = false;
	size_t n;

	if (p && buf_append(&body, text, sizeof(text)) && cache_draft(&d, 200, head, 2, &body, 1 << 16))
		e = cache_entry_create(&d, &key, 1);
	if (e)
		value = cache_pack(p, e, &n);
	if (value)
		back = cache_unpack(p, value, n, &key, 1 << 16, &junk);
	if (back && back->digest != e->digest)
		abort();
	free(back);
	free(value);
	free(e);
	cache_packer_destroy(p);
	buf_clear(&body);
	buf_memory_trim(0);
	return seen <= fail_at;
}

static void every_allocation_may_fail(int (*story)(void))
{
	int done = 0;

	if (!CAN_FAIL)
		return;
	story(); /* what libraries allocate once is there from now on */
	while (!done) {
		assert_true(fail_at < 1000);
		fail_at++;
		seen = 0;
		done = story();
	}
	assert_true(fail_at > 2);
	fail_at = -1;
}

static void in_memory(void **state)
{
	every_allocation_may_fail(life_of_an_answer);
	fail_at = -1;
	life_of_an_answer();
	assert_int_equal(answered, 1);
}

static void through_redis(void **state)
{
	every_allocation_may_fail(way_through_redis);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_memory),
		cmocka_unit_test(through_redis),
	};

	log_open(LOG_EVENTS, "off");
	crypt_init();
	memset(text, 'a', sizeof(text));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
