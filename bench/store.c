/* SPDX-License-Identifier: MIT */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC      UINT64_C(0x31657473656d6266) /* with the layout's version */
#define BUCKETS    (1u << 18)
#define FILES_MAX  (UINT64_C(1) << 30)
#define HEAD_SIZE  (sizeof(struct head))

enum kind { KIND_ROOM = 1, KIND_USER, KIND_KEY };

struct head {
	_Atomic uint64_t magic;
	_Atomic uint64_t top; /* bytes allocated behind the head */
	_Atomic uint64_t messages, changes, tickets, files;
	uint64_t spare[10];
	_Atomic uint64_t bucket[BUCKETS];
};

/* What hangs in a chain. */
struct node {
	_Atomic uint64_t chain;
	uint64_t hash;
	uint32_t kind;
	uint32_t len; /* of the name */
};

struct store_room {
	struct node node;
	struct store_link link; /* the log's beginning */
	_Atomic uint64_t tail;  /* offset of a link: the last, or the one before it */
	char name[];
};

struct store_user {
	struct node node;
	_Atomic uint64_t rooms; /* chain of struct member */
	_Atomic int64_t seen;
	char name[];
};

struct member {
	_Atomic uint64_t chain;
	uint64_t room;
};

/* user offset + key > message; the name is the two. */
struct key {
	struct node node;
	uint64_t message;
	uint64_t user;
	char name[];
};

struct store {
	struct head *head;
	uint64_t size;
};

static unsigned break_at;
static int break_signal;

void store_test_break(unsigned n, int signal)
{
	break_at = n;
	break_signal = signal;
}

/* Between any two steps that others can see, a test may end or stop this process. */
static inline void step(void)
{
	if (break_at && !--break_at)
		raise(break_signal);
}

static inline void *at(const struct store *s, uint64_t offset)
{
	return (char *)s->head + offset;
}

static inline uint64_t offset_of(const struct store *s, const void *p)
{
	return (uint64_t)((const char *)p - (const char *)s->head);
}

static uint64_t hash_bytes(uint64_t h, const void *data, size_t len)
{
	const unsigned char *p = data;

	h ^= UINT64_C(14695981039346656037); /* FNV-1a */
	while (len--)
		h = (h ^ *p++) * UINT64_C(1099511628211);
	return h ^ h >> 29;
}

/* Zeroed, 16-byte aligned. NULL: full. What a killed process allocated stays lost. */
static void *allocate(struct store *s, size_t size)
{
	uint64_t offset;

	size = (size + 15) & ~(size_t)15;
	if (atomic_load(&s->head->top) + size > s->size - HEAD_SIZE)
		return NULL;
	offset = atomic_fetch_add(&s->head->top, size);
	if (offset + size > s->size - HEAD_SIZE)
		return NULL;
	return at(s, HEAD_SIZE + offset);
}

struct store *store_open(const char *dir, uint64_t bytes, char *why, size_t why_size)
{
	struct store *s = calloc(1, sizeof(*s));
	uint64_t none = 0;
	char path[4096];
	struct stat st;
	int fd = -1;

	snprintf(path, sizeof(path), "%s/state", dir);
	bytes += HEAD_SIZE;
	if (!s || (mkdir(dir, 0700) && errno != EEXIST) || (fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0 ||
	    fstat(fd, &st) || (!st.st_size && ftruncate(fd, (off_t)bytes))) {
		snprintf(why, why_size, "%s: %s", path, strerror(errno));
		goto failed;
	}
	s->size = st.st_size ? (uint64_t)st.st_size : bytes; /* whoever came first decided */
	if (s->size < HEAD_SIZE) {
		snprintf(why, why_size, "%s is too small to be a state file", path);
		goto failed;
	}
	s->head = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (s->head == MAP_FAILED) {
		snprintf(why, why_size, "%s: %s", path, strerror(errno));
		goto failed;
	}
	/* All zero is a valid empty state, so there is no race about who initialises. */
	if (!atomic_compare_exchange_strong(&s->head->magic, &none, MAGIC) && none != MAGIC) {
		snprintf(why, why_size, "%s is not a state file of this version", path);
		munmap(s->head, s->size);
		goto failed;
	}
	close(fd);
	return s;
failed:
	if (fd >= 0)
		close(fd);
	free(s);
	return NULL;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	munmap(s->head, s->size);
	free(s);
}

static bool node_is(const struct node *n, uint32_t kind, uint64_t hash, const char *name, const void *want, size_t len)
{
	return n->hash == hash && n->kind == kind && n->len == len && !memcmp(name, want, len);
}

/* The name stands behind structs of three sizes. */
static const char *node_name(const struct node *n)
{
	switch (n->kind) {
	case KIND_ROOM:
		return ((const struct store_room *)n)->name;
	case KIND_USER:
		return ((const struct store_user *)n)->name;
	default:
		return ((const struct key *)n)->name;
	}
}

static uint64_t name_hash(uint32_t kind, uint64_t scope, const void *name, size_t len)
{
	return hash_bytes(kind * UINT64_C(0x9e3779b97f4a7c15) + scope, name, len);
}

/* Walks from `from` up to (not including) `until`. */
static struct node *chain_find(const struct store *s, uint64_t from, uint64_t until, uint32_t kind, uint64_t scope,
			       uint64_t hash, const void *name, size_t len)
{
	struct node *n;

	for (; from && from != until; from = atomic_load(&n->chain)) {
		n = at(s, from);
		if (node_is(n, kind, hash, node_name(n), name, len) && (kind != KIND_KEY || ((struct key *)n)->user == scope))
			return n;
	}
	return NULL;
}

static struct node *find(const struct store *s, uint32_t kind, uint64_t scope, const void *name, size_t len)
{
	uint64_t hash = name_hash(kind, scope, name, len);

	return chain_find(s, atomic_load(&s->head->bucket[hash % BUCKETS]), 0, kind, scope, hash, name, len);
}

/* Makes `fresh` visible unless its like is there already; returns the one that is. */
static struct node *find_or_add(struct store *s, struct node *fresh, uint64_t scope)
{
	_Atomic uint64_t *bucket = &s->head->bucket[fresh->hash % BUCKETS];
	const char *name = node_name(fresh);
	uint64_t first, seen = 0;
	struct node *n;

	for (;;) {
		first = atomic_load(bucket);
		n = chain_find(s, first, seen, fresh->kind, scope, fresh->hash, name, fresh->len);
		if (n)
			return n;
		atomic_store(&fresh->chain, first);
		step();
		if (atomic_compare_exchange_strong(bucket, &first, offset_of(s, fresh)))
			return fresh;
		seen = atomic_load(&fresh->chain);
	}
}

static void node_fill(struct node *n, uint32_t kind, uint64_t scope, char *name, const void *from, size_t len)
{
	memcpy(name, from, len);
	*n = (struct node){ .hash = name_hash(kind, scope, from, len), .kind = kind, .len = (uint32_t)len };
}

struct store_room *store_room(struct store *s, const char *name, size_t len, bool create)
{
	struct store_room *r = (struct store_room *)find(s, KIND_ROOM, 0, name, len);

	if (r || !create)
		return r;
	r = allocate(s, sizeof(*r) + len);
	if (!r)
		return NULL;
	node_fill(&r->node, KIND_ROOM, 0, r->name, name, len);
	atomic_store(&r->tail, offset_of(s, &r->link));
	return (struct store_room *)find_or_add(s, &r->node, 0);
}

struct store_user *store_user(struct store *s, const char *name, size_t len, bool create)
{
	struct store_user *u = (struct store_user *)find(s, KIND_USER, 0, name, len);

	if (u || !create)
		return u;
	u = allocate(s, sizeof(*u) + len);
	if (!u)
		return NULL;
	node_fill(&u->node, KIND_USER, 0, u->name, name, len);
	return (struct store_user *)find_or_add(s, &u->node, 0);
}

bool store_join(struct store *s, struct store_room *r, struct store_user *u)
{
	uint64_t room = offset_of(s, r), first, seen = 0, o;
	struct member *fresh = NULL, *m;

	for (;;) {
		first = atomic_load(&u->rooms);
		for (o = first; o && o != seen; o = atomic_load(&m->chain)) {
			m = at(s, o);
			if (m->room == room)
				return true;
		}
		if (!fresh && !(fresh = allocate(s, sizeof(*fresh))))
			return false;
		fresh->room = room;
		atomic_store(&fresh->chain, first);
		step();
		if (atomic_compare_exchange_strong(&u->rooms, &first, offset_of(s, fresh)))
			return true;
		seen = atomic_load(&fresh->chain);
	}
}

struct store_room *store_rooms(const struct store *s, const struct store_user *u, uint64_t *cursor)
{
	struct member *m;

	if (*cursor == UINT64_MAX)
		return NULL;
	if (!*cursor)
		*cursor = atomic_load(&u->rooms);
	if (!*cursor)
		return NULL;
	m = at(s, *cursor);
	*cursor = atomic_load(&m->chain);
	if (!*cursor)
		*cursor = UINT64_MAX;
	return at(s, m->room);
}

/* The last link of the room; finishes what another process began. */
static struct store_link *settle(struct store *s, struct store_room *r)
{
	struct store_link *last, *next;
	uint64_t tail, follower, unset;

	for (;;) {
		tail = atomic_load(&r->tail);
		last = at(s, tail);
		follower = atomic_load(&last->next);
		if (!follower)
			return last;
		next = at(s, follower);
		unset = 0;
		step();
		atomic_compare_exchange_strong(&next->prev, &unset, tail);
		unset = 0;
		step();
		/* Before `tail` moves on: append() relies on that order. */
		atomic_compare_exchange_strong(&next->seq, &unset, atomic_load(&last->seq) + 1);
		step();
		atomic_compare_exchange_strong(&r->tail, &tail, follower);
	}
}

/*
 * Puts the message at the end of its room's log, exactly once, whoever else is
 * doing the same. If it had been in the log before `last` was read as the last, its
 * number would be set by now; and if somebody appends it (or another) after that,
 * our CAS on last->next fails.
 */
static void append(struct store *s, struct store_room *r, struct store_message *m)
{
	struct store_link *last;
	uint64_t none;

	for (;;) {
		last = settle(s, r);
		if (atomic_load(&m->link.seq))
			return;
		none = 0;
		step();
		if (atomic_compare_exchange_strong(&last->next, &none, offset_of(s, &m->link))) {
			step();
			atomic_fetch_add(&s->head->messages, 1);
		}
	}
}

static struct store_message *message_create(struct store *s, const struct store_post *p, struct store_room *r,
					    struct store_user *u)
{
	struct store_message *m = allocate(s, sizeof(*m) + p->key_len + p->body_len);

	if (!m)
		return NULL;
	m->room = offset_of(s, r);
	m->user = offset_of(s, u);
	m->time_ms = p->time_ms;
	snprintf(m->datacenter, sizeof(m->datacenter), "%s", p->datacenter);
	snprintf(m->endpoint, sizeof(m->endpoint), "%s", p->endpoint);
	m->key_len = (uint16_t)p->key_len;
	m->body_len = (uint32_t)p->body_len;
	if (p->key_len)
		memcpy(m->data, p->key, p->key_len);
	if (p->body_len)
		memcpy(m->data + p->key_len, p->body, p->body_len);
	return m;
}

static bool message_matches(const struct store *s, const struct store_message *m, const struct store_post *p,
			    const struct store_room *r)
{
	return m->room == offset_of(s, r) && m->body_len == p->body_len &&
	       (!p->body_len || !memcmp(m->data + m->key_len, p->body, p->body_len));
}

/* The message this key stands for; *mine when it is the one made here. */
static struct store_message *message_keyed(struct store *s, const struct store_post *p, struct store_room *r,
					   struct store_user *u, bool *mine)
{
	uint64_t user = offset_of(s, u);
	struct key *k = (struct key *)find(s, KIND_KEY, user, p->key, p->key_len), *found;
	struct store_message *m;

	*mine = false;
	if (k)
		return at(s, k->message);
	m = message_create(s, p, r, u);
	k = m ? allocate(s, sizeof(*k) + p->key_len) : NULL;
	if (!k)
		return NULL;
	k->message = offset_of(s, m);
	k->user = user;
	node_fill(&k->node, KIND_KEY, user, k->name, p->key, p->key_len);
	found = (struct key *)find_or_add(s, &k->node, user);
	*mine = found == k;
	return at(s, found->message);
}

enum store_result store_send(struct store *s, const struct store_post *p, const struct store_message **out)
{
	struct store_room *r = store_room(s, p->room, p->room_len, true);
	struct store_user *u = store_user(s, p->user, p->user_len, true);
	struct store_message *m;
	bool mine = true;

	if (!r || !u || !store_join(s, r, u))
		return STORE_FULL;
	m = p->key_len ? message_keyed(s, p, r, u, &mine) : message_create(s, p, r, u);
	if (!m)
		return STORE_FULL;
	if (!mine && !message_matches(s, m, p, r))
		return STORE_MISMATCH;
	step();
	append(s, r, m);
	step();
	atomic_fetch_add(&s->head->changes, 1);
	*out = m;
	return mine ? STORE_OK : STORE_REPLAYED;
}

const char *store_room_name(const struct store_room *r, size_t *len)
{
	*len = r->node.len;
	return r->name;
}

const char *store_user_name(const struct store_user *u, size_t *len)
{
	*len = u->node.len;
	return u->name;
}

const struct store_user *store_sender(const struct store *s, const struct store_message *m)
{
	return at(s, m->user);
}

const struct store_room *store_message_room(const struct store *s, const struct store_message *m)
{
	return at(s, m->room);
}

void store_user_seen(struct store_user *u, int64_t wall_ms)
{
	atomic_store(&u->seen, wall_ms);
}

int64_t store_user_last(const struct store_user *u)
{
	return atomic_load(&u->seen);
}

uint64_t store_room_seq(struct store *s, struct store_room *r)
{
	return atomic_load(&settle(s, r)->seq);
}

size_t store_recent(struct store *s, struct store_room *r, uint64_t after, const struct store_message **out, size_t limit)
{
	struct store_link *l = settle(s, r);
	const struct store_message *swap;
	size_t n = 0, i;

	/* The room's own link has number 0 and ends the walk. */
	for (; n < limit && atomic_load(&l->seq) > after; l = at(s, atomic_load(&l->prev)))
		out[n++] = (const struct store_message *)l;
	for (i = 0; i < n / 2; i++) {
		swap = out[i];
		out[i] = out[n - 1 - i];
		out[n - 1 - i] = swap;
	}
	return n;
}

uint64_t store_follow_end(struct store *s, struct store_room *r)
{
	return offset_of(s, settle(s, r));
}

const struct store_message *store_follow(struct store *s, struct store_room *r, uint64_t *at_link)
{
	struct store_link *l = at(s, *at_link ? *at_link : offset_of(s, &r->link));
	uint64_t next;

	settle(s, r); /* so that what follows has its number */
	next = atomic_load(&l->next);
	if (!next || !atomic_load(&((struct store_link *)at(s, next))->seq))
		return NULL;
	*at_link = next;
	return at(s, next);
}

uint64_t store_changes(const struct store *s)
{
	return atomic_load(&s->head->changes);
}

uint64_t store_messages(const struct store *s)
{
	return atomic_load(&s->head->messages);
}

uint64_t store_ticket(struct store *s)
{
	return atomic_fetch_add(&s->head->tickets, 1) + 1;
}

bool store_budget(struct store *s, uint64_t n)
{
	if (atomic_fetch_add(&s->head->files, n) + n <= FILES_MAX)
		return true;
	atomic_fetch_sub(&s->head->files, n);
	return false;
}
