/* SPDX-License-Identifier: MIT */
/*
 * Inside the room: rules (pure) < entry (one kept answer) < pack (its form in Redis),
 * memory (the tier in this process) < cache (both tiers together).
 */
#ifndef FIREBREAK_CACHE_PRIVATE_H
#define FIREBREAK_CACHE_PRIVATE_H

#include "firebreak/arena.h"
#include "firebreak/cache.h"
#include "firebreak/list.h"

#define CACHE_DATE 29 /* an IMF-fixdate (RFC 9110 5.6.7) */

/* One kept answer: fields in our encoding, then the body.
 * owned by: the memory tier, or whoever made it; freed by: free() */
struct cache_entry {
	struct cache_entry *chain; /* in its bucket */
	struct list lru;
	struct cache_key key;
	uint64_t digest;           /* of status, fields and body; not of the date */
	int64_t stored_s;          /* wall clock: an origin last said so */
	int64_t checked_s;         /* no newer one was in Redis then */
	int64_t written_s;         /* handed to Redis; 0: not */
	uint32_t fields_len, body_len;
	uint16_t status, fields;
	char date[CACHE_DATE + 3]; /* empty: none */
	uint8_t data[];
};

/* ---- entry.c ---- */
/* What an answer will be when kept, found without copying anything. */
struct cache_draft {
	const struct h2_field *field;
	size_t count;
	const struct buf *body;
	const struct h2_field *date;
	int64_t age_s; /* it had already when it came: a cache behind us (RFC 9111 4.2.3) */
	uint64_t digest;
	uint32_t fields_len;
	uint16_t fields, status;
};
/* False: it must not be kept (set-cookie), or is larger than max. */
bool cache_draft(struct cache_draft *d, int status, const struct h2_field *field, size_t count, const struct buf *body, size_t max);
/* NULL: out of memory. */
struct cache_entry *cache_entry_create(const struct cache_draft *d, const struct cache_key *key, int64_t now_s);
/* Same content, said again now. */
void cache_entry_refresh(struct cache_entry *e, const struct cache_draft *d, int64_t now_s);
size_t cache_entry_cost(const struct cache_entry *e);
uint64_t cache_entry_digest(const struct cache_entry *e);
/* Is the encoding sound and harmless? For what came from outside. */
bool cache_entry_valid(const struct cache_entry *e);
/* Said later than any clock of ours can be ahead. */
bool cache_entry_future(const struct cache_entry *e, int64_t now_s);
bool cache_entry_servable(const struct cache_entry *e, int64_t cap_s, int64_t now_s);
/* False: out of memory; nothing to clear. */
bool cache_entry_answer(const struct cache_entry *e, int64_t now_s, struct arena *arena, struct cache_answer *out);

/* ---- pack.c ---- */
struct cache_packer; /* reusable zlib state */
struct cache_packer *cache_packer_create(void);
void cache_packer_destroy(struct cache_packer *p);
/* A malloc'ed value, *len bytes. NULL: out of memory. */
uint8_t *cache_pack(struct cache_packer *p, const struct cache_entry *e, size_t *len);
/* Everything is checked: form, version, bounds, key, checksums. NULL: not ours, or
 * out of memory (*junk tells which). Content is at most max bytes. */
struct cache_entry *cache_unpack(struct cache_packer *p, const void *value, size_t len, const struct cache_key *key, size_t max, bool *junk);

/* ---- memory.c ---- */
struct cache_memory {
	struct cache_entry **bucket;
	size_t buckets; /* a power of two, fixed: growing would stall the loop */
	struct list lru; /* oldest first */
	size_t bytes, limit, count;
	uint64_t evictions; /* not in the metrics yet */
};
bool cache_memory_init(struct cache_memory *m, size_t limit);
void cache_memory_finish(struct cache_memory *m);
/* False: no memory for the new table; the old one stays. */
bool cache_memory_resize(struct cache_memory *m, size_t limit);
/* Finding does not count as use. */
struct cache_entry *cache_memory_find(const struct cache_memory *m, const struct cache_key *key);
void cache_memory_touch(struct cache_memory *m, struct cache_entry *e);
/* Takes the entry in place of one with the same key. False: it is larger than the
 * whole tier, and stays the caller's; the old one is gone. */
bool cache_memory_insert(struct cache_memory *m, struct cache_entry *e);
void cache_memory_remove(struct cache_memory *m, struct cache_entry *e);

#endif
