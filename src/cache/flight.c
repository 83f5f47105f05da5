/* SPDX-License-Identifier: MIT */
/*
 * Reads of Redis under way, one per key however many ask: when a datacenter dies, all
 * its users ask at the same moment, many of them twice. The command's deadline bounds
 * the wait; with the breaker open there is no flight at all.
 *
 *   join -> GET sent -> reply, error or deadline -> entry checked, kept in memory -> everybody answered
 */
#include <stdlib.h>
#include <string.h>

#include "cache_tiers.h"

/* owned by: k->flight until landed; freed by: land, abandon */
struct flight {
	struct list node;
	struct list waiters;
	struct cache *k;
	struct cache_key key;
	int64_t now_s; /* of the one who started it */
};

/* owned by: its flight until answered or forgotten; lives in the asker's arena */
struct waiter {
	struct list node;      /* on its flight */
	struct list user_node; /* on k->waiter[] */
	struct cache_ask ask;
};

static struct list *flight_slot(struct cache *k, const struct cache_key *key)
{
	return &k->flight[key->bytes[0] % CACHE_SLOTS];
}

static struct list *user_slot(struct cache *k, const void *user)
{
	return &k->waiter[((uintptr_t)user >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}

static struct flight *flight_find(struct cache *k, const struct cache_key *key)
{
	struct list *slot = flight_slot(k, key), *node;

	for (node = slot->next; node != slot; node = node->next) {
		struct flight *f = list_entry(node, struct flight, node);

		if (!memcmp(&f->key, key, sizeof(*key)))
			return f;
	}
	return NULL;
}

static void leave(struct cache *k, struct waiter *w)
{
	list_remove(&w->node);
	list_remove(&w->user_node);
	k->waiters--;
}

/* A value that is not ours goes, or it would be read and refused again and again. */
static void drop_junk(struct cache *k, const struct cache_key *key)
{
	char name[CACHE_REDIS_KEY + 1];
	const char *argv[] = { "DEL", name };
	const size_t lens[] = { 3, CACHE_REDIS_KEY };

	cache_count(k, TM_CACHE_JUNK);
	cache_redis_key(key, name);
	(void)rds_command(k->rds, 2, argv, lens, NULL, k);
}

static struct cache_entry *entry_from(struct flight *f, const struct rds_reply *reply)
{
	struct cache_entry *e = NULL;
	bool junk = false;

	if (!reply || reply->type == RDS_NIL)
		return NULL;
	if (reply->type == RDS_STRING)
		e = cache_unpack(f->k->packer, reply->text, reply->len, &f->key, f->k->max_entry, &junk);
	else
		junk = reply->type != RDS_ERROR || reply->error == RDS_ERROR_WRONGTYPE;
	if (junk)
		drop_junk(f->k, &f->key);
	return e;
}

/* The newer of the two stays in memory. Returns the one from Redis when memory did
 * not take it; *used says whether it is newer. */
static struct cache_entry *merge(struct flight *f, struct cache_entry *e, bool *used)
{
	struct cache_entry *mine = cache_memory_find(&f->k->memory, &f->key);

	*used = e && !cache_entry_future(e, f->now_s) && (!mine || mine->stored_s < e->stored_s);
	if (!*used) {
		free(e);
		return NULL;
	}
	e->checked_s = f->now_s;
	e->written_s = e->stored_s;
	return cache_memory_insert(&f->k->memory, e) ? NULL : e;
}

static void land(struct flight *f, const struct rds_reply *reply)
{
	struct cache_entry *mine, *loose;
	struct cache *k = f->k;
	struct waiter *w;
	bool from_redis;

	list_remove(&f->node);
	loose = merge(f, entry_from(f, reply), &from_redis);
	mine = cache_memory_find(&k->memory, &f->key);
	if (mine && reply && reply->type != RDS_ERROR)
		mine->checked_s = f->now_s;
	cache_gauge(k);
	while (!list_empty(&f->waiters)) {
		struct cache_ask ask; /* the arena may die in the callback */

		w = list_entry(f->waiters.next, struct waiter, node);
		ask = w->ask;
		leave(k, w);
		/* Looked up each time: whoever was just answered may have changed the tier. */
		cache_reply(k, loose ? loose : cache_memory_find(&k->memory, &f->key), &ask, from_redis);
	}
	free(loose);
	free(f);
}

static void on_reply(void *user, const struct rds_reply *reply, enum fault fault)
{
	(void)fault; /* without a reply it is a miss, whatever the reason; redis/ has counted it */
	land(user, reply);
}

static struct flight *flight_start(struct cache *k, const struct cache_key *key, int64_t now_s)
{
	struct flight *f = malloc(sizeof(*f));
	char name[CACHE_REDIS_KEY + 1];
	const char *argv[] = { "GET", name };
	const size_t lens[] = { 3, CACHE_REDIS_KEY };

	if (!f)
		return NULL;
	*f = (struct flight){ .k = k, .key = *key, .now_s = now_s };
	list_init(&f->waiters);
	cache_redis_key(key, name);
	if (!rds_command(k->rds, 2, argv, lens, on_reply, f)) {
		free(f);
		return NULL;
	}
	list_append(flight_slot(k, key), &f->node);
	return f;
}

bool cache_flight_join(struct cache *k, const struct cache_key *key, const struct cache_ask *ask)
{
	struct flight *f;
	struct waiter *w;

	if (!k->rds || !rds_usable(k->rds))
		return false;
	if (k->waiters >= CACHE_WAITERS_MAX) {
		if (k->tm)
			k->tm->fault[FAULT_REDIS_FULL]++;
		return false;
	}
	w = arena_alloc(ask->arena, sizeof(*w));
	if (!w)
		return false;
	f = flight_find(k, key);
	if (!f)
		f = flight_start(k, key, ask->now_s);
	if (!f)
		return false;
	w->ask = *ask;
	list_append(&f->waiters, &w->node);
	list_append(user_slot(k, ask->user), &w->user_node);
	k->waiters++;
	return true;
}

/* The flight goes on: what it brings is kept for the next one. */
void cache_flight_forget(struct cache *k, void *user)
{
	struct list *slot = user_slot(k, user), *node, *next;

	for (node = slot->next; node != slot; node = next) {
		struct waiter *w = list_entry(node, struct waiter, user_node);

		next = node->next;
		if (w->ask.user == user)
			leave(k, w);
	}
}

void cache_flight_abandon(struct cache *k, struct rds_client *rds)
{
	struct list all, *node;
	unsigned i;

	list_init(&all);
	for (i = 0; i < CACHE_SLOTS; i++)
		list_splice(&all, &k->flight[i]);
	for (node = all.next; node != &all; node = node->next)
		rds_forget(rds, list_entry(node, struct flight, node));
	while (!list_empty(&all))
		land(list_entry(all.next, struct flight, node), NULL);
}
