/* SPDX-License-Identifier: MIT */
/*
 * The codec's allocator: free lists by size class, so a request in steady state
 * reaches malloc not at all. Each piece is preceded by its class; big ones (the
 * 16 KiB frame buffer, whose untouched pages cost nothing) go straight to malloc.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "h2_private.h"

#define CLASSES   7    /* 64 .. 4096 */
#define SPARE_MAX 4096u /* pieces kept per class at most, and at most 4 MiB of them */

struct piece {
	union {
		struct piece *next;
		size_t size;
	};
	size_t class;
};

static struct {
	struct piece *spare;
	unsigned count;
} classes[CLASSES];

static unsigned class_of(size_t size)
{
	unsigned c = 0;

	while (c < CLASSES && size > ((size_t)64 << c))
		c++;
	return c;
}

static void *take(size_t size, void *user)
{
	unsigned c = class_of(size);
	struct piece *p;

	if (c < CLASSES && classes[c].spare) {
		p = classes[c].spare;
		classes[c].spare = p->next;
		classes[c].count--;
	} else {
		p = malloc(sizeof(*p) + (c < CLASSES ? (size_t)64 << c : size));
		if (!p)
			return NULL;
	}
	p->class = c;
	p->size = c < CLASSES ? (size_t)64 << c : size;
	return p + 1;
}

static void give(void *ptr, void *user)
{
	struct piece *p;
	size_t c;

	if (!ptr)
		return;
	p = (struct piece *)ptr - 1;
	c = p->class;
	if (c >= CLASSES || classes[c].count >= SPARE_MAX >> c) {
		free(p);
		return;
	}
	p->next = classes[c].spare;
	classes[c].spare = p;
	classes[c].count++;
}

static void *take_zeroed(size_t n, size_t size, void *user)
{
	void *p;

	if (size && n > SIZE_MAX / size)
		return NULL;
	p = take(n * size, user);
	if (p)
		memset(p, 0, n * size);
	return p;
}

static void *resize(void *ptr, size_t size, void *user)
{
	size_t old = ptr ? ((struct piece *)ptr - 1)->size : 0;
	void *p;

	if (size <= old)
		return ptr;
	p = take(size, user);
	if (p && ptr) {
		memcpy(p, ptr, old);
		give(ptr, user);
	}
	return p;
}

nghttp2_mem h2_memory = { NULL, take, give, take_zeroed, resize };
