/* SPDX-License-Identifier: MIT */
/*
 * The memory tier: a chained table and a list in order of use, bounded in bytes with
 * the entries' own overhead and the table counted. Keys are HMACs, so their bits are
 * as good as any hash of them and nobody outside can make them collide.
 */
#include "cache_private.h"

#include <stdlib.h>
#include <string.h>

#define EXPECTED_ENTRY 1024 /* bytes; decides the table's size only */
#define BUCKETS_MIN    64
#define BUCKETS_MAX    (1u << 20)

static struct cache_entry **slot(const struct cache_memory *m, const struct cache_key *key)
{
	uint64_t bits;

	memcpy(&bits, key->bytes, sizeof(bits));
	return &m->bucket[bits & (m->buckets - 1)];
}

static size_t buckets_for(size_t limit)
{
	size_t n = BUCKETS_MIN;

	while (n < BUCKETS_MAX && n * EXPECTED_ENTRY < limit)
		n *= 2;
	return n;
}

static void evict(struct cache_memory *m)
{
	while (m->bytes > m->limit && !list_empty(&m->lru)) {
		cache_memory_remove(m, list_entry(m->lru.next, struct cache_entry, lru));
		m->evictions++;
	}
}

bool cache_memory_init(struct cache_memory *m, size_t limit)
{
	*m = (struct cache_memory){ .buckets = buckets_for(limit), .limit = limit };
	list_init(&m->lru);
	m->bucket = calloc(m->buckets, sizeof(struct cache_entry *));
	m->bytes = m->buckets * sizeof(struct cache_entry *);
	return m->bucket != NULL;
}

void cache_memory_finish(struct cache_memory *m)
{
	struct list *node, *next;

	for (node = m->lru.next; m->bucket && node != &m->lru; node = next) {
		next = node->next;
		free(list_entry(node, struct cache_entry, lru));
	}
	free(m->bucket);
	*m = (struct cache_memory){ 0 };
}

bool cache_memory_resize(struct cache_memory *m, size_t limit)
{
	size_t n = buckets_for(limit);
	struct cache_entry **table, **at, *e;
	struct list *node;

	if (n != m->buckets) {
		table = calloc(n, sizeof(struct cache_entry *));
		if (!table)
			return false;
		free(m->bucket);
		m->bytes += n * sizeof(struct cache_entry *);
		m->bytes -= m->buckets * sizeof(struct cache_entry *);
		m->bucket = table;
		m->buckets = n;
		for (node = m->lru.next; node != &m->lru; node = node->next) {
			e = list_entry(node, struct cache_entry, lru);
			at = slot(m, &e->key);
			e->chain = *at;
			*at = e;
		}
	}
	m->limit = limit;
	evict(m);
	return true;
}

struct cache_entry *cache_memory_find(const struct cache_memory *m, const struct cache_key *key)
{
	struct cache_entry *e;

	for (e = *slot(m, key); e; e = e->chain) {
		if (!memcmp(&e->key, key, sizeof(*key)))
			return e;
	}
	return NULL;
}

void cache_memory_touch(struct cache_memory *m, struct cache_entry *e)
{
	list_remove(&e->lru);
	list_append(&m->lru, &e->lru);
}

bool cache_memory_insert(struct cache_memory *m, struct cache_entry *e)
{
	struct cache_entry *old = cache_memory_find(m, &e->key);
	struct cache_entry **at = slot(m, &e->key);

	if (old)
		cache_memory_remove(m, old);
	if (cache_entry_cost(e) + m->buckets * sizeof(struct cache_entry *) > m->limit)
		return false;
	e->chain = *at;
	*at = e;
	list_append(&m->lru, &e->lru);
	m->bytes += cache_entry_cost(e);
	m->count++;
	evict(m);
	return true;
}

void cache_memory_remove(struct cache_memory *m, struct cache_entry *e)
{
	struct cache_entry **at = slot(m, &e->key);

	while (*at != e)
		at = &(*at)->chain;
	/* The analyzer cannot see that list_remove takes e off m->lru, and finds it there again. */
	*at = e->chain; /* NOLINT(clang-analyzer-unix.Malloc) */
	list_remove(&e->lru);
	m->bytes -= cache_entry_cost(e);
	m->count--;
	free(e);
}
