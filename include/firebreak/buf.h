/* SPDX-License-Identifier: MIT */
/*
 * Byte chains: bodies and output on their way through. Blocks come from a
 * per-process free list in two sizes (2 KiB for small messages, 16 KiB for
 * streams), so steady state does no malloc; everything held is counted against
 * one limit for the process.
 *
 * A struct buf is plain data inside its owner; buf_clear() gives its blocks back.
 */
#ifndef FIREBREAK_BUF_H
#define FIREBREAK_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct buf_block {
	struct buf_block *next;
	uint32_t start, end, size; /* bytes are data[start..end) */
	unsigned char data[];
};

struct buf {
	struct buf_block *head, *tail;
	size_t len; /* bytes held */
};

/* Memory in blocks that hold data, and its limit (bytes; 0: none). Blocks kept
 * for reuse do not count. */
size_t buf_memory(void);
void buf_memory_limit(size_t bytes);
/* Less than an eighth of the limit is left, arenas counted too: who holds much has to
 * give it back, so that nobody else finds none. */
bool buf_scarce(void);
/* Less than a sixteenth, counted the same: no new request is begun. */
bool buf_crowded(void);
/* The last sixteenth is for output already promised: whoever takes in new bytes asks
 * first, and refuses them. */
bool buf_exhausted(void);
/* Gives spare blocks back to the allocator down to `keep` bytes. */
void buf_memory_trim(size_t keep);

/* Appends a copy. False (nothing appended) when the memory limit is reached. */
bool buf_append(struct buf *b, const void *data, size_t len);
/* Room for up to `want` bytes in one piece: at least 1 byte; *got says how many.
 * NULL at the memory limit. Follow with buf_commit(). */
void *buf_reserve(struct buf *b, size_t want, size_t *got);
void buf_commit(struct buf *b, size_t used);
/* Moves bytes from the front of one chain to the end of another; whole blocks are
 * relinked, a part of a block is copied. False at the memory limit (nothing lost:
 * what could not move stays in `from`). */
bool buf_move(struct buf *to, struct buf *from, size_t len);
/* Copies up to len bytes from the front without removing them. Returns how many. */
size_t buf_peek(const struct buf *b, void *out, size_t len);
/* Fills up to n iovecs with the front of the chain. Returns how many. */
int buf_iov(const struct buf *b, struct iovec *iov, int n);
/* Drops len (<= b->len) bytes from the front. */
void buf_drain(struct buf *b, size_t len);
void buf_clear(struct buf *b);

#endif
