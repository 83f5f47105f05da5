/* SPDX-License-Identifier: MIT */
/*
 * The codec's allocator: free lists by size class, so a request in steady state
 * reaches malloc not at all. A piece's class follows from what malloc says its size
 * is, so small pieces carry no header of ours.
 *
 * Each session has one 16 KiB frame buffer of which a small message touches a few
 * hundred octets. Those buffers lie on pages of their own: an idle session's page is
 * given back to the system (frame_buffer_idle), and comes back as zeroes when used.
 */
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "h2_private.h"

#define CLASSES   27     /* 40 .. 4096 octets, four to a doubling */
#define LARGEST   4096u
#define SPARE_MAX 4096   /* pieces kept per class at most ... */
#define SPARE_OCTETS (512u * 1024) /* ... and octets */

#define PAGE  4096u
#define FRAME (5 * PAGE) /* holds the codec's 9 + 1 + 16384 octets */
#define SLAB  64         /* frame buffers mapped at once */

struct spare {
	struct spare *next;
};

static struct {
	struct spare *first;
	unsigned count;
} classes[CLASSES];

static void **frames; /* spare ones, a stack */
static size_t frame_count, frame_room;
static uintptr_t frames_low = UINTPTR_MAX, frames_high;
static void *frame_last;

/* Classes 40, 56, 64, 80, 96, 112, 128, 160, ... (malloc's own smallest pieces are of 40
 * and 56 octets), and for every eight octets the class that holds them and the largest
 * class they hold. */
static uint16_t class_size[CLASSES];
static uint8_t class_up[LARGEST / 8 + 1], class_down[LARGEST / 8 + 1];

__attribute__((constructor)) static void fill_classes(void)
{
	unsigned c, i, up = 0, down = 0;

	class_size[0] = 40;
	class_size[1] = 56;
	for (c = 2; c < CLASSES; c++)
		class_size[c] = (uint16_t)((4 + (c + 2) % 4) << ((c + 2) / 4 + 3));
	for (i = 0; i <= LARGEST / 8; i++) {
		while (class_size[up] < i * 8)
			up++;
		while (down + 1 < CLASSES && class_size[down + 1] <= i * 8)
			down++;
		class_up[i] = (uint8_t)up;
		class_down[i] = (uint8_t)down;
	}
}

static bool is_frame(const void *p)
{
	return (uintptr_t)p >= frames_low && (uintptr_t)p < frames_high && (uintptr_t)p % PAGE == 0;
}

/* Slabs are never unmapped: as many as the most sessions there ever were. Addresses
 * between two slabs may belong to others, but nothing malloc hands out begins a page. */
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
	if ((uintptr_t)slab < frames_low)
		frames_low = (uintptr_t)slab;
	if ((uintptr_t)slab + SLAB * FRAME > frames_high)
		frames_high = (uintptr_t)slab + SLAB * FRAME;
	return true;
}

static void *frame_take(void)
{
	if (!frame_count && !frames_map())
		return NULL;
	return frame_last = frames[--frame_count];
}

void *frame_buffer_taken(void)
{
	return frame_last;
}

void frame_buffer_idle(void *frame)
{
	madvise(frame, FRAME, MADV_DONTNEED);
}

static void *take(size_t size, void *user)
{
	struct spare *p;
	unsigned c;

	if (size > LARGEST)
		return size > 4 * PAGE && size <= FRAME ? frame_take() : malloc(size);
	c = class_up[(size + 7) / 8];
	p = classes[c].first;
	if (!p)
		return malloc(class_size[c]);
	classes[c].first = p->next;
	classes[c].count--;
	return p;
}

static void give(void *ptr, void *user)
{
	struct spare *p = ptr;
	size_t size;
	unsigned c;

	if (!p)
		return;
	if (is_frame(p)) {
		frame_buffer_idle(p);
		frames[frame_count++] = p;
		return;
	}
	size = malloc_usable_size(p);
	c = class_down[size < LARGEST ? size / 8 : LARGEST / 8];
	if (size > LARGEST + 64 || classes[c].count >= SPARE_MAX || classes[c].count * class_size[c] >= SPARE_OCTETS) {
		free(p);
		return;
	}
	p->next = classes[c].first;
	classes[c].first = p;
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
	size_t old = !ptr ? 0 : is_frame(ptr) ? FRAME : malloc_usable_size(ptr);
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
	struct spare *p;
	unsigned c;

	for (c = 0; c < CLASSES; c++) {
		while ((p = classes[c].first)) {
			classes[c].first = p->next;
			free(p);
		}
		classes[c].count = 0;
	}
}

nghttp2_mem h2_memory = { NULL, take, give, take_zeroed, resize };
