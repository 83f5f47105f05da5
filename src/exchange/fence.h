/* SPDX-License-Identifier: MIT */
/*
 * The read fence: who has just written is shown what he wrote. See exchange.h for what is
 * promised; the table lies on the board, in each worker's part, so that all workers (and
 * the one that replaces a killed one) know of it.
 */
#ifndef EXCHANGE_FENCE_H
#define EXCHANGE_FENCE_H

#include "firebreak/board.h"

struct xchg;

struct fence {
	uint64_t until;   /* monotonic ms */
	uint64_t version; /* the backend's number for the write; 0: none */
	uint32_t place;   /* fence_place() of the datacenter */
};

/* Names a datacenter over reloads: 24 bits of its name's hash. */
uint32_t fence_place(const char *datacenter);
/* Keeps a fence of this user, replacing his last one; away: it is not at his home. True when
 * another user's fence was pushed out before its time. The part's own worker only. */
bool fence_put(struct board_worker *part, uint64_t user, const struct fence *f, bool away, uint64_t now_ms);
/* The user's latest fence that stands, of all workers'. */
bool fence_find(struct board *b, uint64_t user, uint64_t now_ms, struct fence *f);
/* Some fence stands that is not at its user's home. */
bool fence_any_away(struct board *b, uint64_t now_ms);
/* Is this datacenter known to have what has this version? By answers to reads that came
 * from it, to any worker of this configuration. */
bool fence_reached(struct board *b, uint64_t generation, unsigned datacenter, uint64_t version);

/* Before a try that may use none of the endpoints `full`: a request that reads goes where its
 * user's last write went (x->want.fence). */
void fence_follow(struct xchg *x, uint64_t full);
/* The present try, a read, is where its user's last write went: another datacenter may not have
 * it, so that being late, or a moment's doubt, is no reason to ask there as well. */
bool fence_binds(const struct xchg *x);
/* The try has an answer, or ended without one for this reason: what it says about writes. */
void fence_heard(struct xchg *x, enum fault fault);

#endif
