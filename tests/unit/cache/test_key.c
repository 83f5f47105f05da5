/* SPDX-License-Identifier: MIT */
/* P2 begins here: whose answer it is, is part of what it is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "firebreak/cache.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"

static struct conf conf = { .cache = { .memory_bytes = 1 << 20, .max_entry_bytes = 1 << 16 } };
static const uint8_t secret[32] = "one", other_secret[32] = "two";
static struct cache *cache;

struct request {
	struct conf_feature feature;
	const char *method, *target, *vary, *identity;
};

static bool key_of(const struct cache *k, const struct request *r, struct cache_key *out)
{
	return cache_key(k, &r->feature, r->method, strlen(r->method), r->target, strlen(r->target),
			 r->vary, r->vary ? strlen(r->vary) : 0, r->identity, r->identity ? strlen(r->identity) : 0, out);
}

#define BEARER(n) { .name = n, .identity = CONF_IDENTITY_BEARER }

/* No two of these may ever meet. */
static void no_two_meet(void **state)
{
	static const struct request all[] = {
		{ BEARER("rooms"), "GET", "/v1/rooms", NULL, "alice" },
		{ BEARER("rooms"), "GET", "/v1/rooms", NULL, "bob" },
		{ BEARER("rooms"), "GET", "/v1/rooms", NULL, "alice " },
		{ BEARER("rooms"), "GET", "/v1/rooms", NULL, "alic" },
		{ BEARER("rooms"), "GET", "/v1/rooms", "e", "alic" },
		{ BEARER("rooms"), "GET", "/v1/rooms", "alice", "alice" },
		{ BEARER("rooms"), "GET", "/v1/roomsa", NULL, "lice" },
		{ BEARER("rooms"), "GET", "/v1/room", "s", "alice" },
		{ BEARER("rooms"), "GET/v1", "/rooms", NULL, "alice" },
		{ BEARER("roomsGET"), "", "/v1/rooms", NULL, "alice" },
		{ BEARER("room"), "sGET", "/v1/rooms", NULL, "alice" },
		{ BEARER("rooms"), "HEAD", "/v1/rooms", NULL, "alice" },
		{ BEARER("rooms"), "GET", "/v1/rooms?x", NULL, "alice" },
		{ BEARER("messages"), "GET", "/v1/rooms", NULL, "alice" },
		{ { .name = "rooms", .identity = CONF_IDENTITY_HEADER, .identity_header = "x-user" }, "GET", "/v1/rooms", NULL, "alice" },
		{ { .name = "rooms", .identity = CONF_IDENTITY_HEADER, .identity_header = "x-other" }, "GET", "/v1/rooms", NULL, "alice" },
		{ { .name = "rooms", .identity = CONF_IDENTITY_CERTIFICATE }, "GET", "/v1/rooms", NULL, "alice" },
		{ { .name = "rooms", .shared_state = true }, "GET", "/v1/rooms", NULL, NULL },
	};
	const size_t n = sizeof(all) / sizeof(all[0]);
	struct cache_key key[32], again;
	size_t i, j;

	for (i = 0; i < n; i++) {
		assert_true(key_of(cache, &all[i], &key[i]));
		assert_true(key_of(cache, &all[i], &again));
		assert_memory_equal(&key[i], &again, sizeof(again));
		for (j = 0; j < i; j++) {
			if (!memcmp(&key[i], &key[j], sizeof(key[i])))
				fail_msg("%zu meets %zu", i, j);
		}
	}
}

/* ("ab", "c") is not ("a", "bc"), wherever the boundary lies and whatever the bytes. */
static void boundaries_do_not_move(void **state)
{
	static const char text[] = "ab\0c\0\0\0\0\0\0\0\001d";
	const size_t len = sizeof(text) - 1;
	const struct conf_feature f = BEARER("f");
	struct cache_key key[16 * 16 * 2];
	size_t n = 0, a, b, i;

	for (a = 1; a < len; a++) {
		for (b = a; b < len; b++) {
			assert_true(cache_key(cache, &f, "GET", 3, text, a, text + a, b - a, text + b, len - b, &key[n]));
			for (i = 0; i < n; i++)
				assert_memory_not_equal(&key[i], &key[n], sizeof(key[n]));
			n++;
		}
	}
	assert_true(n > 50);
}

static void private_state_needs_an_identity(void **state)
{
	struct request r = { BEARER("rooms"), "GET", "/", NULL, NULL };
	struct cache_key key;

	assert_false(key_of(cache, &r, &key));
	r.identity = "";
	assert_false(key_of(cache, &r, &key));
	r.identity = "alice";
	assert_true(key_of(cache, &r, &key));
	r.feature.identity = CONF_IDENTITY_NONE; /* private, but it does not say whose */
	assert_false(key_of(cache, &r, &key));
}

static void shared_state_is_everybodys(void **state)
{
	struct request r = { { .name = "notices", .shared_state = true }, "GET", "/", NULL, NULL };
	struct cache_key a, b;

	assert_true(key_of(cache, &r, &a));
	r.identity = "alice";
	assert_true(key_of(cache, &r, &b));
	assert_memory_equal(&a, &b, sizeof(a));
}

static void long_targets(void **state)
{
	static char target[60001];
	struct request r = { BEARER("rooms"), "GET", target, NULL, "alice" };
	struct cache_key a, b;

	memset(target, 'x', sizeof(target) - 1);
	assert_true(key_of(cache, &r, &a));
	target[59999] = 'y';
	assert_true(key_of(cache, &r, &b));
	assert_memory_not_equal(&a, &b, sizeof(a));
}

static void the_secret_decides(void **state)
{
	char path[] = "/tmp/fb-secret-XXXXXX";
	struct conf with_file = conf;
	struct request r = { BEARER("rooms"), "GET", "/", NULL, "alice" };
	struct cache *two = cache_create(&conf, other_secret, NULL, NULL), *three, *four;
	struct cache_key a, b, c, d;
	int fd = mkstemp(path);

	assert_true(key_of(cache, &r, &a));
	assert_true(key_of(two, &r, &b));
	assert_memory_not_equal(&a, &b, sizeof(a));

	with_file.cache.secret_file = path;
	assert_null(cache_create(&with_file, secret, NULL, NULL)); /* empty */
	assert_int_equal(write(fd, "a secret of some length\n", 24), 24);
	three = cache_create(&with_file, secret, NULL, NULL);
	four = cache_create(&with_file, other_secret, NULL, NULL);
	assert_true(key_of(three, &r, &c));
	assert_true(key_of(four, &r, &d));
	assert_memory_equal(&c, &d, sizeof(c)); /* every node with the file agrees */
	assert_memory_not_equal(&a, &c, sizeof(a));
	unlink(path);
	assert_null(cache_create(&with_file, secret, NULL, NULL));
	close(fd);
	cache_destroy(two);
	cache_destroy(three);
	cache_destroy(four);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_two_meet),
		cmocka_unit_test(boundaries_do_not_move),
		cmocka_unit_test(private_state_needs_an_identity),
		cmocka_unit_test(shared_state_is_everybodys),
		cmocka_unit_test(long_targets),
		cmocka_unit_test(the_secret_decides),
	};
	int failed;

	log_open(LOG_EVENTS, "off");
	crypt_init();
	cache = cache_create(&conf, secret, NULL, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	cache_destroy(cache);
	return failed;
}
