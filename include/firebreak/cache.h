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
	bool no_store, no_cache, is_private, is_public, must_revalidate;
	int64_t max_age, s_maxage, stale_if_error; /* seconds; -1: absent */
};
void cache_directives_init(struct cache_directives *d); /* nothing said; call first */
void cache_directives_parse(struct cache_directives *d, const char *value, size_t len); /* RFC 9111 5.2; call per field line */
int64_t cache_age(const char *value, size_t len); /* Age, seconds; what is no number is 2^31 (RFC 9111 5.1) */
/* May this response be kept (RFC 9111 3, and ours)? Only a body that came whole. range:
 * the request asked for a range or the answer is one. */
bool cache_storable(int status, const struct cache_directives *request, const struct cache_directives *response,
		    bool has_set_cookie, bool vary_star, bool range);
/* For a feature whose state is the same for everybody (shared_state), also ask this:
 * may the answer be given to others than the one who fetched it (RFC 9111 3.5)? */
bool cache_shareable(const struct cache_directives *response, bool has_authorization);
/* May an entry of this age (s) be given out instead of an error? cap: the feature's
 * hard cap; stale-if-error of the response limits it further when present. */
bool cache_servable(int64_t age, int64_t cap, const struct cache_directives *response);

/* ---- the store ---- */
/* rds may be NULL: memory tier alone. The identity hash is keyed with the secret file
 * when there is one (all nodes then find each other's entries in Redis), else with
 * `secret`, which the supervisor makes once per service start for all workers. NULL
 * (and a log line): out of memory, or the file cannot be read. Nothing of *c is kept. */
struct cache *cache_create(const struct conf *c, const uint8_t secret[32], struct rds_client *rds, struct tm_worker *tm);
/* New limits and client after a reload; entries stay. Outstanding reads of the old
 * client end as misses; destroy it afterwards. */
void cache_configure(struct cache *k, const struct conf *c, struct rds_client *rds);
/* Outstanding reads end as misses. */
void cache_destroy(struct cache *k);

/* False: nothing may be kept or given out for this request: the feature's state is
 * private and the request has no identity, or out of memory. target: normalised path
 * with query. vary: canonical "name:value\n" lines of the request fields the feature
 * varies on. identity is ignored when feature->shared_state. */
bool cache_key(const struct cache *k, const struct conf_feature *feature, const char *method, size_t method_len,
	       const char *target, size_t target_len, const char *vary, size_t vary_len,
	       const void *identity, size_t identity_len, struct cache_key *out);

/* Keeps an answer for at most cap_s seconds. Copies fields and body; one larger than
 * max_entry_bytes, or whose Age is beyond the cap already, is not kept. Pseudo, connection-specific and per-exchange fields
 * (content-length, age, via, request ids ...) are left out, and an answer with
 * set-cookie is refused. Never waits: Redis is written behind. An unchanged answer
 * refreshes the date only, and Redis once per tenth of the cap (60 s at most). */
void cache_put(struct cache *k, const struct cache_key *key, int status, const struct h2_field *field, size_t fields,
	       const struct buf *body, uint32_t cap_s, int64_t wall_ns);

struct cache_answer {
	int status;
	int64_t age_s;
	const struct h2_field *field; /* in *arena of the call; no :status, no content-length */
	size_t fields;
	struct buf body;              /* the receiver's to clear */
	const char *tier;             /* "memory" or "redis" */
};
/* Called exactly once, maybe from inside cache_get; NULL: nothing kept that may be
 * served. */
typedef void (*cache_done)(void *user, struct cache_answer *answer);
/* Looks in memory, then Redis (within its deadline; at once when its breaker is open).
 * Reads of one key share one Redis command. `arena` lives until
 * the call back or cache_forget. */
void cache_get(struct cache *k, const struct cache_key *key, uint32_t cap_s, int64_t wall_ns, struct arena *arena,
	       cache_done done, void *user);
/* Detaches: done will not be called for this user any more. */
void cache_forget(struct cache *k, void *user);

#endif
