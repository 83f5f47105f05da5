/* SPDX-License-Identifier: MIT */
/*
 * Recent state: answers to reads, kept behind the response, given out when no
 * datacenter can answer. An entry belongs to the identity that fetched it (P2): the
 * key is an HMAC over feature, method, target, Vary'd fields and identity, and the
 * entry repeats that key, a version, a length and a checksum, all verified before
 * use. Memory tier first (bounded, LRU), then Redis.
 */
#ifndef FIREBREAK_CACHE_H
#define FIREBREAK_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "conf.h"
#include "h2.h"
#include "redis.h"
#include "telemetry.h"

struct cache;
struct cache_key { uint8_t bytes[32]; };

/* ---- rules, pure (src/cache/rules.c, in the pure library) ---- */
struct cache_directives {
	bool no_store, no_cache, is_private, must_revalidate;
	int64_t max_age, s_maxage, stale_if_error; /* seconds; -1: absent */
};
void cache_directives_parse(struct cache_directives *d, const char *value, size_t len); /* RFC 9111 5.2; call per field line */
/* May this response be kept (RFC 9111 3, and ours)? complete: body whole. */
bool cache_storable(int status, const struct cache_directives *request, const struct cache_directives *response,
		    bool has_set_cookie, bool vary_star, bool range);
/* May an entry of this age (s) be given out instead of an error? cap: the feature's
 * hard cap; stale-if-error of the response limits it further when present. */
bool cache_servable(int64_t age, int64_t cap, const struct cache_directives *response);

/* ---- the store ---- */
/* rds may be NULL: memory tier alone. */
struct cache *cache_create(const struct conf *c, struct rds_client *rds, struct tm_worker *tm);
void cache_destroy(struct cache *c);

/* target: normalised path with query. identity_len 0 with shared: everybody's. vary:
 * canonical "name:value\n" lines of the request fields the feature varies on. */
bool cache_key(const struct cache *c, const char *feature, const char *method, size_t method_len,
	       const char *target, size_t target_len, const char *vary, size_t vary_len,
	       const void *identity, size_t identity_len, struct cache_key *out);

/* Keeps an answer. Takes a copy of fields and body; body <= max_entry_bytes. Never
 * waits: Redis is written behind. Unchanged answers refresh the date only. */
void cache_put(struct cache *c, const struct cache_key *key, int status, const struct h2_field *field, size_t fields,
	       const struct buf *body, uint32_t cap_s, int64_t wall_ns);

struct cache_answer {
	int status;
	int64_t age_s;
	const struct h2_field *field; /* in *arena of the call */
	size_t fields;
	struct buf body;              /* the receiver's to clear */
	const char *tier;             /* "memory" or "redis" */
};
/* Called exactly once, maybe from inside cache_get; NULL: nothing kept that may be
 * served. */
typedef void (*cache_done)(void *user, struct cache_answer *answer);
/* Looks in memory, then Redis (within its deadline). `arena` outlives the call back. */
void cache_get(struct cache *c, const struct cache_key *key, uint32_t cap_s, int64_t wall_ns, struct arena *arena,
	       cache_done done, void *user);
/* Detaches: done will not be called for this user any more. */
void cache_forget(struct cache *c, void *user);

#endif
