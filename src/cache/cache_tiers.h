/* SPDX-License-Identifier: MIT */
/* The cache itself, for the files that share it: key.c, cache.c, flight.c. */
#ifndef FIREBREAK_CACHE_TIERS_H
#define FIREBREAK_CACHE_TIERS_H

#include "cache_private.h"

#define CACHE_SLOTS       256  /* hash slots of reads under way; bounds below keep chains short */
#define CACHE_WAITERS_MAX 4096
#define CACHE_REDIS_KEY   (sizeof("fb:1:s:") - 1 + 64)

/* owned by: the worker; freed by: cache_destroy */
struct cache {
	uint8_t secret[32];
	struct rds_client *rds; /* NULL: memory alone; not ours */
	struct tm_worker *tm;   /* may be NULL */
	size_t max_entry;
	struct cache_memory memory;
	struct cache_packer *packer;
	struct list flight[CACHE_SLOTS]; /* by key */
	struct list waiter[CACHE_SLOTS]; /* by user */
	unsigned waiters;
};

static inline void cache_count(struct cache *k, enum tm_scalar s)
{
	if (k->tm)
		tm_add(k->tm, s, 1);
}
void cache_gauge(struct cache *k);
void cache_redis_key(const struct cache_key *key, char out[CACHE_REDIS_KEY + 1]);

/* One who waits for an answer. Plain values until it has to wait. */
struct cache_ask {
	int64_t cap_s, now_s;
	struct arena *arena;
	cache_done done;
	void *user;
};
/* Answers from e (NULL: a miss) if it may be served. */
void cache_reply(struct cache *k, const struct cache_entry *e, const struct cache_ask *ask, bool from_redis);

/* ---- flight.c: reads of Redis under way ---- */
/* Joins or starts the read of a key. False: not possible now, nothing happened. */
bool cache_flight_join(struct cache *k, const struct cache_key *key, const struct cache_ask *ask);
void cache_flight_forget(struct cache *k, void *user);
/* Ends all of them as if Redis had not answered. */
void cache_flight_abandon(struct cache *k, struct rds_client *rds);

#endif
