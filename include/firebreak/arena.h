/* SPDX-License-Identifier: MIT */
/*
 * Memory that lives exactly as long as one request: allocate, never free, give
 * everything back at once. Chunks come from a per-process free list.
 *
 * owned by: the stream or exchange it is embedded in
 * freed by: arena_finish() when that is reaped
 */
#ifndef FIREBREAK_ARENA_H
#define FIREBREAK_ARENA_H

#include <stddef.h>

#define ARENA_CHUNK 2016 /* usable bytes of an ordinary chunk */

struct arena_chunk;
struct arena {
	struct arena_chunk *chunks;
	char *next, *end;
};

static inline void arena_init(struct arena *a) { *a = (struct arena){ 0 }; }
void *arena_more(struct arena *a, size_t size); /* of arena_alloc: a new chunk */
/* 8-byte aligned, uninitialised. NULL when malloc fails. */
static inline void *arena_alloc(struct arena *a, size_t size)
{
	char *p = a->next;

	size = (size + 7) & ~(size_t)7;
	if (__builtin_expect(size > (size_t)(a->end - p) || !p, 0))
		return arena_more(a, size);
	a->next = p + size;
	return p;
}
/* A NUL-terminated copy of len bytes. NULL when malloc fails. */
char *arena_strndup(struct arena *a, const void *text, size_t len);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arena_finish(struct arena *a);
/* Octets of chunks in use, spare ones not counted. */
size_t arena_memory(void);
/* Gives all spare chunks back to malloc. */
void arena_trim(void);

#endif
