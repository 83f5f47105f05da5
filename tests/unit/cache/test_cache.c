/* SPDX-License-Identifier: MIT */
/*
 * Both tiers with a real redis-server: two caches stand for two workers with the same
 * secret. Wall time is the test's own; only deadlines run on the real clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <signal.h>
#include <time.h>

#include "../redis/server.h"
#include "firebreak/arena.h"
#include "firebreak/cache.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"

#define TIMEOUT_MS 150
#define WORKERS    2
#define CAP        3600
#define FIELD(n, v) { .name = (const uint8_t *)(n), .name_len = sizeof(n) - 1, .value = (const uint8_t *)(v), .value_len = sizeof(v) - 1 }

static struct net_loop *loop;
static struct test_redis server;
static const uint8_t secret[32] = "shared by all workers";
static struct conf conf;
static const struct conf_feature feature = { .name = "rooms", .identity = CONF_IDENTITY_BEARER };
static int64_t wall = INT64_C(1700000000) * CLOCK_SEC;

static struct worker {
	struct rds_client *rds;
	struct cache *cache;
	struct tm_worker tm;
} w[WORKERS];

static void on_turn(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < WORKERS; i++) {
		if (w[i].rds)
			rds_pump(w[i].rds);
	}
}

#define UNTIL(cond) do { \
	int64_t end_ = clock_tick() + 10 * CLOCK_SEC; \
	while (!(cond)) { \
		if (clock_now() > end_) \
			fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #cond); \
		net_loop_turn(loop, 20); \
	} \
} while (0)

static int setup_memory(void **state)
{
	int i;

	memset(w, 0, sizeof(w));
	for (i = 0; i < WORKERS; i++) {
		w[i].cache = cache_create(&conf, secret, NULL, &w[i].tm);
		assert_non_null(w[i].cache);
	}
	return 0;
}

static int setup(void **state)
{
	int i;

	memset(w, 0, sizeof(w));
	test_redis_init(&server);
	test_redis_start(&server, NULL);
	conf.redis.address = server.address;
	for (i = 0; i < WORKERS; i++) {
		w[i].rds = rds_create(loop, &conf.redis, &w[i].tm);
		w[i].cache = cache_create(&conf, secret, w[i].rds, &w[i].tm);
		assert_non_null(w[i].cache);
		UNTIL(rds_usable(w[i].rds));
	}
	return 0;
}

static int teardown(void **state)
{
	int i;

	for (i = 0; i < WORKERS; i++) {
		cache_destroy(w[i].cache);
		rds_destroy(w[i].rds);
		w[i] = (struct worker){ 0 };
	}
	net_loop_turn(loop, 0);
	if (server.dir[0])
		test_redis_finish(&server);
	server.dir[0] = '\0';
	return 0;
}

static struct cache_key key_of(const char *user)
{
	struct cache_key key;

	assert_true(cache_key(w[0].cache, &feature, "GET", 3, "/v1/rooms", 9, NULL, 0, user, strlen(user), &key));
	return key;
}

static void put(struct worker *k, const char *user, const char *text, int64_t at)
{
	static const struct h2_field head[] = { FIELD("content-type", "text/plain"), FIELD("date", "Sat, 15 Oct 2022 06:30:00 GMT") };
	const struct cache_key key = key_of(user);
	struct buf body = { 0 };

	assert_true(buf_append(&body, text, strlen(text)));
	cache_put(k->cache, &key, 200, head, 2, &body, CAP, at);
	buf_clear(&body);
}

struct got {
	int calls;
	char text[8192], tier[8];
	int64_t age, at;
	struct arena arena;
};

static void on_answer(void *user, struct cache_answer *a)
{
	struct got *g = user;

	g->calls++;
	g->at = clock_now();
	if (!a) {
		strcpy(g->text, "(miss)");
		return;
	}
	assert_true(a->body.len < sizeof(g->text));
	g->text[buf_peek(&a->body, g->text, a->body.len)] = '\0';
	buf_clear(&a->body);
	strcpy(g->tier, a->tier);
	g->age = a->age_s;
	assert_int_equal(a->status, 200);
	assert_int_equal(a->fields, 2);
	assert_memory_equal(a->field[0].value, "text/plain", 10);
}

static void begin(struct worker *k, struct got *g, const char *user, int64_t at)
{
	const struct cache_key key = key_of(user);

	memset(g, 0, sizeof(*g));
	cache_get(k->cache, &key, CAP, at, &g->arena, on_answer, g);
}

static const char *get(struct worker *k, const char *user, int64_t at, const char *tier, int64_t age)
{
	static struct got g;

	begin(k, &g, user, at);
	UNTIL(g.calls);
	assert_int_equal(g.calls, 1);
	arena_finish(&g.arena);
	if (strcmp(g.text, "(miss)") != 0) {
		assert_string_equal(g.tier, tier);
		assert_int_equal(g.age, age);
	}
	return g.text;
}

/* A command of the test's own, with an integer or the first bytes of a string as answer. */
struct raw {
	int calls;
	int64_t integer;
	size_t len;
	char bytes[8192];
};

static void on_raw(void *user, const struct rds_reply *r, enum fault fault)
{
	struct raw *raw = user;

	assert_non_null(r);
	assert_int_not_equal(r->type, RDS_ERROR);
	raw->calls++;
	raw->integer = r->integer;
	raw->len = r->len < sizeof(raw->bytes) ? r->len : sizeof(raw->bytes);
	if (r->text)
		memcpy(raw->bytes, r->text, raw->len);
}

static struct raw *redis(const char *verb, const char *user, const void *value, size_t len)
{
	static struct raw raw;
	const struct cache_key key = key_of(user);
	const char *argv[3] = { verb, NULL, value };
	size_t lens[3] = { strlen(verb), 0, len }, i;
	char name[80] = "fb:1:s:";

	for (i = 0; i < 32; i++)
		snprintf(name + 7 + 2 * i, 3, "%02x", key.bytes[i]);
	argv[1] = name;
	lens[1] = strlen(name);
	memset(&raw, 0, sizeof(raw));
	assert_true(rds_command(w[0].rds, value ? 3 : 2, argv, lens, on_raw, &raw));
	UNTIL(raw.calls);
	return &raw;
}

static void memory_alone(void **state)
{
	assert_string_equal(get(&w[0], "alice", wall, "", 0), "(miss)");
	put(&w[0], "alice", "hers", wall);
	put(&w[0], "bob", "his", wall + CLOCK_SEC);
	assert_string_equal(get(&w[0], "alice", wall + 60 * CLOCK_SEC, "memory", 60), "hers");
	assert_string_equal(get(&w[0], "bob", wall + 60 * CLOCK_SEC, "memory", 59), "his");
	assert_string_equal(get(&w[0], "carol", wall, "", 0), "(miss)");
	assert_string_equal(get(&w[1], "alice", wall, "", 0), "(miss)"); /* another worker's */
	assert_string_equal(get(&w[0], "alice", wall + CAP * CLOCK_SEC, "memory", CAP), "hers");
	assert_string_equal(get(&w[0], "alice", wall + (CAP + 1) * CLOCK_SEC, "", 0), "(miss)");
	assert_int_equal(w[0].tm.scalar[TM_CACHE_STORES], 2);
	assert_int_equal(w[0].tm.scalar[TM_CACHE_HITS_MEMORY], 3);
	assert_int_equal(w[0].tm.scalar[TM_CACHE_MISSES], 3);
	assert_true(w[0].tm.scalar[TM_CACHE_BYTES] > 0);
}

static void unchanged_answers_refresh_the_date(void **state)
{
	put(&w[0], "alice", "hers", wall);
	put(&w[0], "alice", "hers", wall + 30 * CLOCK_SEC);
	assert_int_equal(w[0].tm.scalar[TM_CACHE_STORES], 1);
	assert_int_equal(w[0].tm.scalar[TM_CACHE_SKIPS], 1);
	assert_string_equal(get(&w[0], "alice", wall + 40 * CLOCK_SEC, "memory", 10), "hers");
	put(&w[0], "alice", "hers, newer", wall + 50 * CLOCK_SEC);
	assert_int_equal(w[0].tm.scalar[TM_CACHE_STORES], 2);
	assert_string_equal(get(&w[0], "alice", wall + 50 * CLOCK_SEC, "memory", 0), "hers, newer");
}

static void too_large_or_too_short_lived(void **state)
{
	static char text[70000];
	const struct cache_key key = key_of("alice");
	struct buf body = { 0 };

	memset(text, 'x', sizeof(text) - 1);
	put(&w[0], "alice", text, wall);
	cache_put(w[0].cache, &key, 200, NULL, 0, &body, 0, wall);
	assert_int_equal(w[0].tm.scalar[TM_CACHE_STORES], 0);
}

static void workers_share_through_redis(void **state)
{
	static char text[4000];

	memset(text, 'm', sizeof(text) - 1);
	put(&w[0], "alice", text, wall);
	assert_in_range(redis("TTL", "alice", NULL, 0)->integer, CAP - 2, CAP);
	assert_true(redis("STRLEN", "alice", NULL, 0)->integer < 1000); /* compressed */
	assert_string_equal(get(&w[1], "alice", wall + 7 * CLOCK_SEC, "redis", 7), text);
	assert_string_equal(get(&w[1], "alice", wall + 8 * CLOCK_SEC, "memory", 8), text);
	assert_string_equal(get(&w[1], "bob", wall, "", 0), "(miss)");
	assert_int_equal(w[1].tm.scalar[TM_CACHE_HITS_REDIS], 1);
	assert_int_equal(w[1].tm.scalar[TM_CACHE_HITS_MEMORY], 1);
	assert_int_equal(w[1].tm.scalar[TM_CACHE_MISSES], 1);
}

/* A worker that has not seen the user for a while asks whether another one has. */
static void the_newer_of_the_tiers(void **state)
{
	put(&w[1], "alice", "old", wall);
	UNTIL(redis("EXISTS", "alice", NULL, 0)->integer == 1);
	put(&w[0], "alice", "new", wall + 2 * CLOCK_SEC);
	(void)redis("TTL", "alice", NULL, 0);
	assert_string_equal(get(&w[1], "alice", wall + 3 * CLOCK_SEC, "memory", 3), "old");
	assert_string_equal(get(&w[1], "alice", wall + 30 * CLOCK_SEC, "redis", 28), "new");
	put(&w[1], "alice", "newest", wall + 40 * CLOCK_SEC);
	assert_int_equal(redis("DEL", "alice", NULL, 0)->integer, 1);
	assert_string_equal(get(&w[1], "alice", wall + 50 * CLOCK_SEC, "memory", 10), "newest");
}

/* A clock that was ahead when it was written: nobody knows how old it is, and what is
 * known to be good must not make room for it. */
static void a_value_from_the_future_is_passed_over(void **state)
{
	put(&w[1], "alice", "good", wall);
	UNTIL(redis("EXISTS", "alice", NULL, 0)->integer == 1);
	put(&w[0], "alice", "from the future", wall + 4000 * CLOCK_SEC);
	(void)redis("TTL", "alice", NULL, 0);
	assert_string_equal(get(&w[1], "alice", wall + 30 * CLOCK_SEC, "memory", 30), "good");
	put(&w[1], "alice", "better", wall + 40 * CLOCK_SEC);
	(void)redis("TTL", "alice", NULL, 0);
	assert_string_equal(get(&w[0], "alice", wall + 50 * CLOCK_SEC, "", 0), "(miss)");
}

/* What a cache behind us has kept already counts (RFC 9111 4.2.3). */
static void an_answer_may_be_old_when_it_comes(void **state)
{
	static const struct h2_field head[] = { FIELD("content-type", "text/plain"), FIELD("date", "Sat, 15 Oct 2022 06:30:00 GMT"),
						FIELD("age", "100") };
	const struct cache_key key = key_of("alice");
	struct buf body = { 0 };

	assert_true(buf_append(&body, "aged", 4));
	cache_put(w[0].cache, &key, 200, head, 3, &body, 99, wall); /* beyond the cap already */
	assert_string_equal(get(&w[0], "alice", wall, "", 0), "(miss)");
	cache_put(w[0].cache, &key, 200, head, 3, &body, CAP, wall);
	assert_string_equal(get(&w[0], "alice", wall + CLOCK_SEC, "memory", 101), "aged");
	cache_put(w[0].cache, &key, 200, head, 3, &body, CAP, wall + 10 * CLOCK_SEC); /* the same, said again */
	assert_string_equal(get(&w[0], "alice", wall + 11 * CLOCK_SEC, "memory", 101), "aged");
	buf_clear(&body);
	assert_string_equal(get(&w[1], "alice", wall + 11 * CLOCK_SEC, "redis", 111), "aged");
}

static void redis_is_not_rewritten_each_time(void **state)
{
	uint64_t before;
	int s;

	put(&w[0], "alice", "hers", wall);
	before = w[0].tm.scalar[TM_REDIS_COMMANDS];
	for (s = 0; s < 60; s++)
		put(&w[0], "alice", "hers", wall + s * CLOCK_SEC);
	assert_int_equal(w[0].tm.scalar[TM_REDIS_COMMANDS] - before, 0);
	for (s = 60; s < 600; s++)
		put(&w[0], "alice", "hers", wall + s * CLOCK_SEC);
	assert_int_equal(w[0].tm.scalar[TM_REDIS_COMMANDS] - before, 9);
	(void)redis("TTL", "alice", NULL, 0);
	assert_string_equal(get(&w[1], "alice", wall + 600 * CLOCK_SEC, "redis", 60), "hers");
}

/* P2 against a store that mixes things up. */
static void a_swapped_value_is_a_miss(void **state)
{
	struct raw *raw;

	put(&w[0], "alice", "for alice alone", wall);
	put(&w[0], "bob", "for bob", wall);
	raw = redis("GET", "alice", NULL, 0);
	assert_true(raw->len > 112);
	{
		char copy[1024];
		size_t len = raw->len;

		memcpy(copy, raw->bytes, len);
		(void)redis("SET", "bob", copy, len);
	}
	assert_string_equal(get(&w[1], "bob", wall, "", 0), "(miss)");
	assert_int_equal(w[1].tm.scalar[TM_CACHE_JUNK], 1);
	net_loop_turn(loop, 20);
	UNTIL(redis("EXISTS", "bob", NULL, 0)->integer == 0);
	assert_string_equal(get(&w[1], "alice", wall, "redis", 0), "for alice alone");
	assert_string_equal(get(&w[0], "bob", wall, "memory", 0), "for bob");
}

static void junk_is_a_miss(void **state)
{
	static const struct { const char *text; size_t len; } junk[] = {
		{ "", 0 }, { "x", 1 }, { "FBS1", 4 }, { "{\"json\": true}", 14 }, { "\x80\x04\x95", 3 },
	};
	static char zeros[5000];
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
		(void)redis("SET", "alice", junk[i].text, junk[i].len);
		assert_string_equal(get(&w[1], "alice", wall, "", 0), "(miss)");
		assert_int_equal(w[1].tm.scalar[TM_CACHE_JUNK], ++n);
		UNTIL(redis("EXISTS", "alice", NULL, 0)->integer == 0);
	}
	(void)redis("SET", "alice", zeros, sizeof(zeros));
	assert_string_equal(get(&w[1], "alice", wall, "", 0), "(miss)");
	UNTIL(redis("EXISTS", "alice", NULL, 0)->integer == 0);
	(void)redis("LPUSH", "alice", "not even a string", 17);
	assert_string_equal(get(&w[1], "alice", wall, "", 0), "(miss)");
	UNTIL(redis("EXISTS", "alice", NULL, 0)->integer == 0);
	assert_int_equal(w[1].tm.scalar[TM_CACHE_JUNK], n + 2);
}

static void identical_reads_share_one_command(void **state)
{
	static struct got g[100];
	uint64_t before;
	int i;

	put(&w[0], "alice", "hers", wall);
	(void)redis("TTL", "alice", NULL, 0);
	before = w[1].tm.scalar[TM_REDIS_COMMANDS];
	for (i = 0; i < 100; i++)
		begin(&w[1], &g[i], "alice", wall);
	cache_forget(w[1].cache, &g[17]);
	UNTIL(g[99].calls);
	assert_int_equal(w[1].tm.scalar[TM_REDIS_COMMANDS] - before, 1);
	for (i = 0; i < 100; i++) {
		assert_int_equal(g[i].calls, i != 17);
		if (i != 17)
			assert_string_equal(g[i].text, "hers");
		arena_finish(&g[i].arena);
	}
}

/* Reads under way of keys that begin alike: each user gets what is theirs. */
static void reads_of_like_keys_stay_apart(void **state)
{
	static struct got a, b;
	const uint8_t first = key_of("alice").bytes[0];
	char other[16];
	int i = 0;

	do
		snprintf(other, sizeof(other), "user %d", i++);
	while (key_of(other).bytes[0] != first);
	put(&w[0], "alice", "hers", wall);
	put(&w[0], other, "theirs", wall);
	(void)redis("TTL", "alice", NULL, 0);
	begin(&w[1], &a, "alice", wall);
	begin(&w[1], &b, other, wall);
	UNTIL(a.calls && b.calls);
	assert_string_equal(a.text, "hers");
	assert_string_equal(b.text, "theirs");
	arena_finish(&a.arena);
	arena_finish(&b.arena);
}

static void a_hung_redis_costs_one_deadline(void **state)
{
	static struct got g;
	int64_t start;

	put(&w[1], "alice", "hers", wall);
	put(&w[0], "bob", "his", wall);
	(void)redis("TTL", "bob", NULL, 0);
	test_redis_signal(&server, SIGSTOP);
	start = clock_tick();
	begin(&w[1], &g, "alice", wall + 30 * CLOCK_SEC); /* might be behind: asks, in vain */
	UNTIL(g.calls);
	arena_finish(&g.arena);
	assert_string_equal(g.text, "hers");
	assert_string_equal(g.tier, "memory");
	assert_true(g.at - start < (TIMEOUT_MS + 500) * CLOCK_MS);
	begin(&w[1], &g, "alice", wall + 31 * CLOCK_SEC);
	assert_int_equal(g.calls, 1);
	assert_string_equal(g.text, "hers");
	arena_finish(&g.arena);
	begin(&w[1], &g, "bob", wall);
	assert_int_equal(g.calls, 1);
	assert_string_equal(g.text, "(miss)");
	put(&w[1], "alice", "hers, newer", wall + 32 * CLOCK_SEC); /* waits for nobody */
	assert_string_equal(get(&w[1], "alice", wall + 40 * CLOCK_SEC, "memory", 8), "hers, newer");
	test_redis_signal(&server, SIGCONT);
	UNTIL(rds_usable(w[0].rds) && rds_usable(w[1].rds));
	/* What Redis missed is made good with the next answer, changed or not. */
	put(&w[1], "alice", "hers, newer", wall + 41 * CLOCK_SEC);
	UNTIL(redis("EXISTS", "alice", NULL, 0)->integer == 1);
	assert_string_equal(get(&w[0], "alice", wall + 42 * CLOCK_SEC, "redis", 1), "hers, newer");
}

static void a_full_redis_is_no_harm(void **state)
{
	static struct raw raw;
	const char *argv[] = { "CONFIG", "SET", "maxmemory", "1" };
	const size_t lens[] = { 6, 3, 9, 1 };

	assert_true(rds_command(w[0].rds, 4, argv, lens, on_raw, &raw));
	UNTIL(raw.calls);
	put(&w[0], "alice", "hers", wall);
	UNTIL(w[0].tm.fault[FAULT_REDIS_ERROR] == 1);
	assert_string_equal(get(&w[0], "alice", wall, "memory", 0), "hers");
	assert_string_equal(get(&w[1], "alice", wall, "", 0), "(miss)");
}

static void a_reload_takes_redis_away(void **state)
{
	static struct got g;

	put(&w[1], "alice", "hers", wall);
	begin(&w[1], &g, "bob", wall);
	assert_int_equal(g.calls, 0);
	cache_configure(w[1].cache, &conf, NULL);
	assert_int_equal(g.calls, 1);
	assert_string_equal(g.text, "(miss)");
	rds_destroy(w[1].rds);
	w[1].rds = NULL;
	assert_string_equal(get(&w[1], "alice", wall + 100 * CLOCK_SEC, "memory", 100), "hers");
}

static struct got again;

static void on_answer_put(void *user, struct cache_answer *a)
{
	put(&w[1], "alice", "changed meanwhile", wall + CLOCK_SEC);
	begin(&w[1], &again, "alice", wall + CLOCK_SEC);
	on_answer(user, a);
}

static void callbacks_may_use_the_cache(void **state)
{
	const struct cache_key key = key_of("alice");
	static struct got first, second;

	put(&w[0], "alice", "hers", wall);
	(void)redis("TTL", "alice", NULL, 0);
	cache_get(w[1].cache, &key, CAP, wall, &first.arena, on_answer_put, &first);
	begin(&w[1], &second, "alice", wall + CLOCK_SEC);
	UNTIL(second.calls && again.calls);
	assert_string_equal(first.text, "hers");
	assert_string_equal(second.text, "changed meanwhile");
	assert_string_equal(again.text, "changed meanwhile");
	arena_finish(&first.arena);
	arena_finish(&second.arena);
	arena_finish(&again.arena);
}

/* The price every forwarded read pays: measured, printed, and bounded generously. */
static void price_of_an_unchanged_put(void **state)
{
	static const struct h2_field head[] = {
		FIELD("content-type", "application/json"), FIELD("date", "Sat, 15 Oct 2022 06:30:00 GMT"),
		FIELD("etag", "\"0123456789abcdef\""), FIELD("cache-control", "private, max-age=0"),
		FIELD("x-content-type-options", "nosniff"), FIELD("vary", "accept-encoding"),
	};
	const struct cache_key key = key_of("alice");
	static char text[1024];
	struct buf body = { 0 };
	struct timespec a, b;
	const int rounds = 20000;
	double ns;
	int i;

	memset(text, 'x', sizeof(text));
	buf_append(&body, text, sizeof(text));
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (i = 0; i < rounds; i++)
		cache_put(w[0].cache, &key, 200, head, 6, &body, CAP, wall);
	clock_gettime(CLOCK_MONOTONIC, &b);
	buf_clear(&body);
	ns = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / rounds;
	print_message("unchanged 1 KiB put: %.0f ns\n", ns);
	assert_int_equal(w[0].tm.scalar[TM_CACHE_SKIPS], rounds - 1);
	assert_true(ns < 50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define M(name) cmocka_unit_test_setup_teardown(name, setup_memory, teardown)
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		M(memory_alone),
		M(unchanged_answers_refresh_the_date),
		M(too_large_or_too_short_lived),
		M(price_of_an_unchanged_put),
		T(workers_share_through_redis),
		T(the_newer_of_the_tiers), T(a_value_from_the_future_is_passed_over), T(an_answer_may_be_old_when_it_comes),
		T(redis_is_not_rewritten_each_time),
		T(a_swapped_value_is_a_miss),
		T(junk_is_a_miss),
		T(identical_reads_share_one_command), T(reads_of_like_keys_stay_apart),
		T(a_hung_redis_costs_one_deadline),
		T(a_full_redis_is_no_harm),
		T(a_reload_takes_redis_away),
		T(callbacks_may_use_the_cache),
	};
	int failed;

	conf = (struct conf){ .cache = { .memory_bytes = 1 << 20, .max_entry_bytes = 1 << 16 },
			      .redis = { .enabled = true, .connect_timeout_ms = 500, .command_timeout_ms = TIMEOUT_MS, .max_pending = 128 } };
	log_open(LOG_EVENTS, "off");
	signal(SIGPIPE, SIG_IGN);
	crypt_init();
	loop = net_loop_create();
	net_loop_hook(loop, on_turn, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	net_loop_destroy(loop);
	return failed;
}
