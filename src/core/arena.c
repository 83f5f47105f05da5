/* SPDX-License-Identifier: MIT */
/*
 * Chunks of one usual size go back to a free list of at most FREE_MAX; a request
 * for more than a chunk gets one of its own, given back to malloc.
 */
#include "firebreak/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREE_MAX 4096 /* 8 MiB of spare chunks at most */

struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
	char data[];
};

static struct arena_chunk *spare;
static unsigned spares;
static size_t in_use;

size_t arena_memory(void)
{
	return in_use;
}

static struct arena_chunk *chunk_get(size_t size)
{
	struct arena_chunk *c = spare;

	if (size <= ARENA_CHUNK && c) {
		spare = c->next;
		spares--;
		in_use += ARENA_CHUNK;
		return c;
	}
	if (size < ARENA_CHUNK)
		size = ARENA_CHUNK;
	c = malloc(sizeof(*c) + size);
	if (c) {
		c->size = size;
		in_use += size;
	}
	return c;
}

void *arena_more(struct arena *a, size_t size)
{
	struct arena_chunk *c = chunk_get(size);

	if (!c)
		return NULL;
	c->next = a->chunks;
	a->chunks = c;
	if (c->size > ARENA_CHUNK && a->next) /* an oversized piece: the rest of the old chunk stays in use */
		return c->data;
	a->next = c->data + size;
	a->end = c->data + c->size;
	return c->data;
}

char *arena_strndup(struct arena *a, const void *text, size_t len)
{
	char *p = arena_alloc(a, len + 1);

	if (!p)
		return NULL;
	memcpy(p, text, len);
	p[len] = '\0';
	return p;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	char text[1024];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (n < 0)
		return NULL;
	return arena_strndup(a, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

void arena_finish(struct arena *a)
{
	struct arena_chunk *c, *next;

	for (c = a->chunks; c; c = next) {
		next = c->next;
		in_use -= c->size;
		if (c->size != ARENA_CHUNK || spares >= FREE_MAX) {
			free(c);
			continue;
		}
		c->next = spare;
		spare = c;
		spares++;
	}
	arena_init(a);
}

void arena_trim(void)
{
	struct arena_chunk *c;

	while ((c = spare)) {
		spare = c->next;
		free(c);
	}
	spares = 0;
}
