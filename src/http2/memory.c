/* SPDX-License-Identifier: MIT */
/*
 * The codec's allocator: free lists by size class, so a request in steady state
 * reaches malloc not at all. Eight octets before each piece say what it is; the codec
 * keeps nothing in pieces that wants more alignment than that.
 *
 * Each session has one 16 KiB frame buffer of which a small message touches a few
 * hundred octets. Those buffers lie on pages of their own: an idle session's page is
 * given back to the system (frame_buffer_idle), and comes back as zeroes when used.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "h2_private.h"

#define CLASSES   27     /* 32 .. 4096 octets, from 64 on four to a doubling */
#define LARGEST   4096u
#define STEP      16u    /* every class is a multiple of it */
#define SPARE_MAX 4096   /* pieces kept per class at most ... */
#define SPARE_OCTETS (512u * 1024) /* ... and octets */

#define PAGE  4096u
#define FRAME (5 * PAGE) /* holds the codec's 9 + 1 + 16384 octets */
#define SLAB  64         /* frame buffers mapped at once */

struct piece {
	uint32_t kind;      /* PIECE_FRAME, a size class, PIECE_LARGE */
	uint32_t size;      /* octets the codec may use; 0 for a frame buffer */
	struct piece *next; /* of a spare one; the codec's octets begin here */
};
#define HEADER offsetof(struct piece, next)

/* A frame buffer's page may be given back while it is in use: it then reads as zeroes. */
enum { PIECE_FRAME = 0, PIECE_SMALLEST = 1, PIECE_LARGE = PIECE_SMALLEST + CLASSES };

static struct {
	struct piece *first;
	uint32_t count, most, size;
} classes[PIECE_SMALLEST + CLASSES];

/* The class that holds so many STEPs. */
static uint8_t class_of[LARGEST / STEP + 1];

static void **frames; /* spare ones, a stack */
static size_t frame_count, frame_room;
static void *frame_last;

__attribute__((constructor)) static void fill_classes(void)
{
	unsigned c, k, i;

	for (c = PIECE_SMALLEST, k = 0; k < CLASSES; c++, k++) {
		classes[c].size = k < 2 ? 32 + k * 16 : (4 + (k - 2) % 4) << ((k - 2) / 4 + 4);
		classes[c].most = SPARE_OCTETS / classes[c].size;
		if (classes[c].most > SPARE_MAX)
			classes[c].most = SPARE_MAX;
	}
	for (c = PIECE_SMALLEST, i = 0; i <= LARGEST / STEP; i++) {
		while (classes[c].size < i * STEP)
			c++;
		class_of[i] = (uint8_t)c;
	}
}

static struct piece *piece_of(void *ptr)
{
	return (struct piece *)((char *)ptr - HEADER);
}

/* Slabs are never unmapped: as many as the most sessions there ever were. */
static bool frames_map(void)
{
	void **more = realloc(frames, (frame_room + SLAB) * sizeof(*more));
	char *slab;
	int i;

	if (!more)
		return false;
	frames = more;
	slab = mmap(NULL, SLAB * FRAME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slab == MAP_FAILED)
		return false;
	frame_room += SLAB;
	for (i = SLAB - 1; i >= 0; i--)
		frames[frame_count++] = slab + (size_t)i * FRAME;
	return true;
}

static void *frame_take(void)
{
	if (!frame_count && !frames_map())
		return NULL;
	return frame_last = (char *)frames[--frame_count] + HEADER;
}

void *frame_buffer_taken(void)
{
	return frame_last;
}

void frame_buffer_idle(void *frame)
{
	madvise(piece_of(frame), FRAME, MADV_DONTNEED);
}

static void *piece_new(uint32_t kind, size_t size)
{
	struct piece *p = size < UINT32_MAX ? malloc(HEADER + size) : NULL;

	if (!p)
		return NULL;
	p->kind = kind;
	p->size = (uint32_t)size;
	return &p->next;
}

static void *take(size_t size, void *user)
{
	struct piece *p;
	unsigned c;

	if (size > LARGEST)
		return size > 4 * PAGE && size <= FRAME - HEADER ? frame_take() : piece_new(PIECE_LARGE, size);
	c = class_of[(size + STEP - 1) / STEP];
	p = classes[c].first;
	if (!p)
		return piece_new(c, classes[c].size);
	classes[c].first = p->next;
	classes[c].count--;
	return &p->next;
}

static void give(void *ptr, void *user)
{
	struct piece *p;
	uint32_t c;

	if (!ptr)
		return;
	p = piece_of(ptr);
	c = p->kind;
	if (c == PIECE_FRAME) {
		frame_buffer_idle(ptr);
		frames[frame_count++] = p;
	} else if (c == PIECE_LARGE || classes[c].count >= classes[c].most) {
		free(p);
	} else {
		p->next = classes[c].first;
		classes[c].first = p;
		classes[c].count++;
	}
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
	size_t old = !ptr ? 0 : piece_of(ptr)->kind == PIECE_FRAME ? FRAME - HEADER : piece_of(ptr)->size;
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

void memory_trim(void)
{
	struct piece *p;
	unsigned c;

	for (c = PIECE_SMALLEST; c < PIECE_LARGE; c++) {
		while ((p = classes[c].first)) {
			classes[c].first = p->next;
			free(p);
		}
		classes[c].count = 0;
	}
}

nghttp2_mem h2_memory = { NULL, take, give, take_zeroed, resize };
