/* SPDX-License-Identifier: MIT */
/*
 * Both tiers together. Writing: every good answer passes through cache_put, so the
 * common case is "nothing changed": one hash over the answer, one comparison, a new
 * date. Reading happens when datacenters fail: memory first, and Redis when memory
 * has nothing or might be behind another worker.
 *
 * Not here: whether an answer may be kept or served (rules.c), whose it is (key.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache_tiers.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"

#define RECHECK_S     5  /* so long memory answers without asking Redis for something newer */
#define REWRITE_MAX_S 60 /* an unchanged answer is written to Redis again after cap/10, at most this */

/* ---- life ---- */

static bool read_secret(const char *path, uint8_t out[32])
{
	const char *why = crypt_key_file(path, out);

	if (why)
		log_event(LOG_LEVEL_ERROR, "cache.secret_unusable", "file", path, "why", why, NULL);
	return !why;
}

struct cache *cache_create(const struct conf *c, const uint8_t secret[32], struct rds_client *rds, struct tm_worker *tm)
{
	struct cache *k = calloc(1, sizeof(*k));
	unsigned i;

	if (!k)
		return NULL;
	k->rds = rds;
	k->tm = tm;
	k->max_entry = c->cache.max_entry_bytes;
	for (i = 0; i < CACHE_SLOTS; i++) {
		list_init(&k->flight[i]);
		list_init(&k->waiter[i]);
	}
	memcpy(k->secret, secret, sizeof(k->secret));
	k->packer = cache_packer_create();
	if (!cache_memory_init(&k->memory, c->cache.memory_bytes) || !k->packer ||
	    (c->cache.secret_file && !read_secret(c->cache.secret_file, k->secret))) {
		cache_destroy(k);
		return NULL;
	}
	cache_gauge(k);
	return k;
}

static void leave_redis(struct cache *k)
{
	struct rds_client *rds = k->rds;

	k->rds = NULL; /* who is told of a miss now may ask again at once */
	if (!rds)
		return;
	cache_flight_abandon(k, rds);
	rds_forget(rds, k);
}

void cache_configure(struct cache *k, const struct conf *c, struct rds_client *rds)
{
	if (rds != k->rds) {
		leave_redis(k);
		k->rds = rds;
	}
	k->max_entry = c->cache.max_entry_bytes;
	if (!cache_memory_resize(&k->memory, c->cache.memory_bytes))
		log_event(LOG_LEVEL_WARN, "cache.not_resized", NULL);
	cache_gauge(k);
}

void cache_destroy(struct cache *k)
{
	if (!k)
		return;
	leave_redis(k);
	cache_memory_finish(&k->memory);
	cache_packer_destroy(k->packer);
	free(k);
}

void cache_gauge(struct cache *k)
{
	if (!k->tm)
		return;
	tm_set(k->tm, TM_CACHE_BYTES, k->memory.bytes);
	tm_add(k->tm, TM_CACHE_EVICTIONS, k->memory.evictions);
	k->memory.evictions = 0;
}

void cache_redis_key(const struct cache_key *key, char out[CACHE_REDIS_KEY + 1])
{
	static const char digit[] = "0123456789abcdef";
	char *p = out + sizeof("fb:1:s:") - 1;
	size_t i;

	memcpy(out, "fb:1:s:", sizeof("fb:1:s:") - 1);
	for (i = 0; i < sizeof(key->bytes); i++) {
		*p++ = digit[key->bytes[i] >> 4];
		*p++ = digit[key->bytes[i] & 15];
	}
	*p = '\0';
}

/* ---- keeping ---- */

/* Behind the answer, best effort: a write that is lost is made again with the next
 * change or after the rewrite interval. */
static void write_redis(struct cache *k, struct cache_entry *e, uint32_t cap_s, int64_t now_s)
{
	char name[CACHE_REDIS_KEY + 1], seconds[16];
	const char *argv[] = { "SET", name, NULL, "EX", seconds };
	size_t lens[] = { 3, CACHE_REDIS_KEY, 0, 2, 0 };
	uint8_t *value;

	if (!k->rds || !rds_usable(k->rds))
		return;
	value = cache_pack(k->packer, e, &lens[2]);
	if (!value)
		return;
	argv[2] = (const char *)value;
	cache_redis_key(&e->key, name);
	lens[4] = (size_t)snprintf(seconds, sizeof(seconds), "%u", cap_s);
	if (rds_command(k->rds, 5, argv, lens, NULL, k))
		e->written_s = now_s;
	free(value);
}

static bool rewrite_due(const struct cache_entry *e, uint32_t cap_s, int64_t now_s)
{
	int64_t every = cap_s / 10 < REWRITE_MAX_S ? cap_s / 10 : REWRITE_MAX_S;
	int64_t since = now_s - e->written_s;

	return since >= (every ? every : 1) || since < 0;
}

void cache_put(struct cache *k, const struct cache_key *key, int status, const struct h2_field *field, size_t fields,
	       const struct buf *body, uint32_t cap_s, int64_t wall_ns)
{
	int64_t now_s = wall_ns / CLOCK_SEC;
	struct cache_draft d;
	struct cache_entry *e;

	if (!cap_s || !cache_draft(&d, status, field, fields, body, k->max_entry) || d.age_s > cap_s)
		return;
	e = cache_memory_find(&k->memory, key);
	if (e && e->digest == d.digest && e->fields_len == d.fields_len && e->body_len == body->len) {
		cache_entry_refresh(e, &d, now_s);
		cache_memory_touch(&k->memory, e);
		cache_count(k, TM_CACHE_SKIPS);
		if (rewrite_due(e, cap_s, now_s))
			write_redis(k, e, cap_s, now_s);
		return;
	}
	e = cache_entry_create(&d, key, now_s);
	if (!e) {
		if (k->tm)
			k->tm->fault[FAULT_NO_MEMORY]++;
		return;
	}
	write_redis(k, e, cap_s, now_s);
	if (!cache_memory_insert(&k->memory, e))
		free(e);
	cache_count(k, TM_CACHE_STORES);
	cache_gauge(k);
}

/* ---- giving out ---- */

void cache_reply(struct cache *k, const struct cache_entry *e, const struct cache_ask *ask, bool from_redis)
{
	struct cache_answer answer;

	if (!e || !cache_entry_servable(e, ask->cap_s, ask->now_s)) {
		cache_count(k, TM_CACHE_MISSES);
		ask->done(ask->user, NULL);
		return;
	}
	if (!cache_entry_answer(e, ask->now_s, ask->arena, &answer)) {
		if (k->tm)
			k->tm->fault[FAULT_NO_MEMORY]++;
		cache_count(k, TM_CACHE_MISSES);
		ask->done(ask->user, NULL);
		return;
	}
	answer.tier = from_redis ? "redis" : "memory";
	cache_count(k, from_redis ? TM_CACHE_HITS_REDIS : TM_CACHE_HITS_MEMORY);
	ask->done(ask->user, &answer);
}

void cache_get(struct cache *k, const struct cache_key *key, uint32_t cap_s, int64_t wall_ns, struct arena *arena,
	       cache_done done, void *user)
{
	const struct cache_ask ask = { .cap_s = cap_s, .now_s = wall_ns / CLOCK_SEC, .arena = arena, .done = done, .user = user };
	struct cache_entry *e = cache_memory_find(&k->memory, key);
	bool fresh = false;

	if (e) {
		cache_memory_touch(&k->memory, e);
		fresh = ask.now_s >= e->checked_s && ask.now_s - e->checked_s < RECHECK_S && cache_entry_servable(e, cap_s, ask.now_s);
	}
	if (fresh || !cache_flight_join(k, key, &ask))
		cache_reply(k, e, &ask, false);
}

void cache_forget(struct cache *k, void *user)
{
	cache_flight_forget(k, user);
}
