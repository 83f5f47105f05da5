/* SPDX-License-Identifier: MIT */
/*
 * The live part lies in two slots. Publication n is written to slot n % 2 while
 * readers are sent to the other one, and takes effect by a single store:
 *
 *   version 6 ──▶ slot 0 (6)   slot 1 (5)       the writer fills slot 1 with 7 ...
 *   version 7 ──▶ slot 1 (7)   slot 0 (6)       ... and this store makes it so
 *
 * A writer killed anywhere leaves the version where it was and its slot complete:
 * readers go on and its successor writes the spare slot again. (A plain sequence
 * lock would stay odd for ever.) A reader's copy is good when the version did not
 * move while it copied; the slot it reads is written again only after that.
 *
 * Not here: what the words mean, who is told, when to publish.
 */
#include "firebreak/board.h"

#include <stdalign.h>
#include <string.h>
#include <sys/mman.h>

#define LINE       64 /* x86-64, most arm64; two writers never share one */
#define READ_TRIES 4

#define WORDS (sizeof(struct board_live) / sizeof(uint64_t))
_Static_assert(sizeof(struct board_live) % sizeof(uint64_t) == 0, "copied in words");

struct slot {
	alignas(LINE) _Atomic uint64_t word[WORDS];
};

/* owned by the supervisor, which maps it; children inherit it over fork. */
struct board {
	unsigned workers;
	size_t size; /* of the mapping */
	alignas(LINE) _Atomic int32_t control_pid;
	alignas(LINE) _Atomic uint64_t version;
	struct slot slot[2];
	alignas(LINE) struct tm_worker control_tm;
};

/* Each worker's part begins on a page of its own. */
#define PAGE           4096
#define ROUND(n)       (((n) + PAGE - 1) / PAGE * PAGE)
#define WORKERS_OFFSET ROUND(sizeof(struct board))
#define WORKER_SIZE    ROUND(sizeof(struct board_worker))

struct board *board_create(unsigned workers)
{
	struct board *b;
	size_t size;

	if (!workers || workers > CONF_MAX_WORKERS)
		return NULL;
	size = WORKERS_OFFSET + workers * WORKER_SIZE;
	b = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b == MAP_FAILED)
		return NULL;
	b->workers = workers;
	b->size = size;
	return b;
}

void board_destroy(struct board *b)
{
	if (b)
		munmap(b, b->size);
}

unsigned board_workers(const struct board *b)
{
	return b->workers;
}

struct board_worker *board_worker(struct board *b, unsigned index)
{
	if (index >= b->workers)
		return NULL;
	return (struct board_worker *)((char *)b + WORKERS_OFFSET + index * WORKER_SIZE);
}

void board_worker_renumber(struct board_worker *w)
{
	atomic_store(&w->generation, 0);
	memset(w->endpoint, 0, sizeof(w->endpoint));
	memset(w->reached, 0, sizeof(w->reached));
	memset(&w->load, 0, sizeof(w->load));
}

struct tm_worker *board_control_tm(struct board *b)
{
	return &b->control_tm;
}

_Atomic int32_t *board_control_pid(struct board *b)
{
	return &b->control_pid;
}

uint64_t board_version(const struct board *b)
{
	return atomic_load_explicit(&b->version, memory_order_acquire);
}

void board_publish(struct board *b, const struct board_live *live)
{
	uint64_t version = atomic_load_explicit(&b->version, memory_order_relaxed) + 1;
	struct slot *s = &b->slot[version % 2];
	uint64_t word[WORDS];
	struct board_live copy = *live;
	size_t i;

	copy.version = version;
	memcpy(word, &copy, sizeof(word));
	/* The version before this one is seen by whoever sees a word below: that is how
	 * a reader still copying this slot learns that it is too late. */
	atomic_thread_fence(memory_order_release);
	for (i = 0; i < WORDS; i++)
		atomic_store_explicit(&s->word[i], word[i], memory_order_relaxed);
	atomic_store_explicit(&b->version, version, memory_order_release);
}

bool board_read(const struct board *b, struct board_live *live)
{
	uint64_t word[WORDS], version;
	const struct slot *s;
	int tries;
	size_t i;

	for (tries = 0; tries < READ_TRIES; tries++) {
		version = atomic_load_explicit(&b->version, memory_order_acquire);
		if (version == live->version || !version)
			return false;
		s = &b->slot[version % 2];
		for (i = 0; i < WORDS; i++)
			word[i] = atomic_load_explicit(&s->word[i], memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&b->version, memory_order_relaxed) == version) {
			memcpy(live, word, sizeof(word));
			return true;
		}
	}
	return false;
}
