/* SPDX-License-Identifier: MIT */
/*
 * Two block sizes; a chain's first block is small when little is appended, so a
 * message of a few hundred bytes holds 2 KiB, a stream whole 16 KiB pages.
 */
#include "firebreak/buf.h"
#include "firebreak/arena.h"

#include <stdlib.h>
#include <string.h>

#define SMALL (2048 - sizeof(struct buf_block))
#define LARGE (16384 + 64) /* a full DATA frame of the default size fits in one block */

static struct {
	struct buf_block *spare;
	size_t size;
} pool[2] = { { NULL, SMALL }, { NULL, LARGE } };
static size_t in_use, spare_bytes, limit;

size_t buf_memory(void)
{
	return in_use;
}

void buf_memory_limit(size_t bytes)
{
	limit = bytes;
}

bool buf_scarce(void)
{
	return limit && in_use + arena_memory() > limit - limit / 8;
}

bool buf_crowded(void)
{
	return limit && in_use + arena_memory() > limit - limit / 16;
}

bool buf_exhausted(void)
{
	return limit && in_use > limit - limit / 16;
}

void buf_memory_trim(size_t keep)
{
	struct buf_block *b;
	int i;

	for (i = 1; i >= 0; i--) {
		while (spare_bytes > keep && (b = pool[i].spare)) {
			pool[i].spare = b->next;
			spare_bytes -= b->size;
			free(b);
		}
	}
}

static struct buf_block *block_get(int kind)
{
	struct buf_block *b = pool[kind].spare;

	if (limit && in_use + pool[kind].size > limit)
		return NULL;
	if (b) {
		pool[kind].spare = b->next;
		spare_bytes -= b->size;
	} else {
		b = malloc(sizeof(*b) + pool[kind].size);
		if (!b)
			return NULL;
		b->size = (uint32_t)pool[kind].size;
	}
	in_use += b->size;
	b->next = NULL;
	b->start = b->end = 0;
	return b;
}

static void block_put(struct buf_block *b)
{
	int kind = b->size == SMALL ? 0 : 1;

	in_use -= b->size;
	b->next = pool[kind].spare;
	pool[kind].spare = b;
	spare_bytes += b->size;
}

void *buf_reserve(struct buf *b, size_t want, size_t *got)
{
	struct buf_block *t = b->tail;

	if (!t || t->end == t->size) {
		t = block_get(b->tail || want > SMALL);
		if (!t)
			return NULL;
		if (b->tail)
			b->tail->next = t;
		else
			b->head = t;
		b->tail = t;
	}
	*got = t->size - t->end;
	if (*got > want)
		*got = want;
	return t->data + t->end;
}

void buf_commit(struct buf *b, size_t used)
{
	b->tail->end += (uint32_t)used;
	b->len += used;
}

/* Undoes a partly done append: everything behind `len` goes. */
static void truncate_to(struct buf *b, size_t len)
{
	struct buf_block *k, *next, *last = NULL;
	size_t seen = 0;

	for (k = b->head; k && seen + (k->end - k->start) <= len && seen < len; k = k->next) {
		seen += k->end - k->start;
		last = k;
	}
	if (k && seen < len) {
		k->end = k->start + (uint32_t)(len - seen);
		last = k;
		k = k->next;
	}
	for (; k; k = next) {
		next = k->next;
		block_put(k);
	}
	if (last)
		last->next = NULL;
	else
		b->head = NULL;
	b->tail = last;
	b->len = len;
}

/* Into blocks that are still to come. */
static bool append_further(struct buf *b, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t before = b->len, room;
	void *to;

	while (len) {
		to = buf_reserve(b, len, &room);
		if (!to) {
			truncate_to(b, before);
			return false;
		}
		memcpy(to, p, room);
		buf_commit(b, room);
		p += room;
		len -= room;
	}
	return true;
}

bool buf_append(struct buf *b, const void *data, size_t len)
{
	struct buf_block *t = b->tail;

	if (!t || t->size - t->end < len)
		return append_further(b, data, len);
	memcpy(t->data + t->end, data, len);
	t->end += (uint32_t)len;
	b->len += len;
	return true;
}

static void link_block(struct buf *b, struct buf_block *k)
{
	k->next = NULL;
	if (b->tail)
		b->tail->next = k;
	else
		b->head = k;
	b->tail = k;
	b->len += k->end - k->start;
}

bool buf_move(struct buf *to, struct buf *from, size_t len)
{
	struct buf_block *k;
	size_t n;

	while (len && (k = from->head)) {
		n = k->end - k->start;
		if (n > len) {
			if (!buf_append(to, k->data + k->start, len))
				return false;
			buf_drain(from, len);
			return true;
		}
		/* A piece that would leave most of its block empty is copied behind the last one. */
		if (to->tail && n <= k->size / 4 && to->tail->size - to->tail->end >= n) {
			memcpy(to->tail->data + to->tail->end, k->data + k->start, n);
			buf_commit(to, n);
			buf_drain(from, n);
		} else {
			from->head = k->next;
			if (!from->head)
				from->tail = NULL;
			from->len -= n;
			link_block(to, k);
		}
		len -= n;
	}
	return true;
}

size_t buf_peek(const struct buf *b, void *out, size_t len)
{
	const struct buf_block *k;
	size_t done = 0, n;

	for (k = b->head; k && done < len; k = k->next) {
		n = k->end - k->start;
		if (n > len - done)
			n = len - done;
		memcpy((char *)out + done, k->data + k->start, n);
		done += n;
	}
	return done;
}

int buf_iov(const struct buf *b, struct iovec *iov, int n)
{
	struct buf_block *k;
	int i = 0;

	for (k = b->head; k && i < n; k = k->next) {
		if (k->end == k->start)
			continue;
		iov[i].iov_base = k->data + k->start;
		iov[i++].iov_len = k->end - k->start;
	}
	return i;
}

void buf_drain(struct buf *b, size_t len)
{
	struct buf_block *k;
	size_t n;

	while ((k = b->head)) {
		n = k->end - k->start;
		if (n > len) {
			k->start += (uint32_t)len;
			b->len -= len;
			return;
		}
		len -= n;
		b->len -= n;
		b->head = k->next;
		if (!b->head)
			b->tail = NULL;
		block_put(k);
		if (!len && (!b->head || b->head->end != b->head->start))
			return;
	}
}

void buf_clear(struct buf *b)
{
	struct buf_block *k, *next;

	for (k = b->head; k; k = next) {
		next = k->next;
		block_put(k);
	}
	*b = (struct buf){ 0 };
}
