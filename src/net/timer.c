/* SPDX-License-Identifier: MIT */
/*
 * A hierarchical timing wheel (Varghese and Lauck, 1987): six levels of 64 slots,
 * the lowest of 2 ms, each next one 64 times coarser. A timer lies on the level of
 * the highest digit (base 64) in which its tick differs from now, and moves down
 * when the wheel reaches that slot; so arming is a shift and two pointers, and a
 * process with only far timers wakes seldom: one bit per slot tells where to look.
 *
 * Disarming leaves the bit set: the slot is visited once for nothing.
 */
#include "net_private.h"

#define SLOT_NS (2 * CLOCK_MS)
#define FAR     ((int64_t)1 << 34) /* ticks; about four years */
#define BITS    6

void wheel_init(struct wheel *w, int64_t now)
{
	int i, k;

	w->tick = now / SLOT_NS;
	w->next = INT64_MAX;
	for (i = 0; i < WHEEL_LEVELS; i++) {
		w->occupied[i] = 0;
		for (k = 0; k < WHEEL_SLOTS; k++)
			list_init(&w->slot[i][k]);
	}
}

static void place(struct wheel *w, struct net_timer *t)
{
	int64_t tick = t->deadline / SLOT_NS + (t->deadline % SLOT_NS > 0);
	int level, slot;

	if (tick <= w->tick)
		tick = w->tick + 1;
	if (tick > w->tick + FAR)
		tick = w->tick + FAR; /* looked at again then: never early */
	level = (63 - __builtin_clzll((uint64_t)(tick ^ w->tick))) / BITS;
	if (level >= WHEEL_LEVELS)
		level = WHEEL_LEVELS - 1;
	slot = (int)(tick >> (level * BITS)) & (WHEEL_SLOTS - 1);
	w->occupied[level] |= UINT64_C(1) << slot;
	list_append(&w->slot[level][slot], &t->node);
	tick = tick >> (level * BITS) << (level * BITS);
	if (tick < w->next)
		w->next = tick;
}

/* The next tick at which some slot is to be visited: its lower digits are zero, and
 * on its level it lies ahead of now. */
static int64_t next_tick(const struct wheel *w)
{
	int64_t best = INT64_MAX, at;
	uint64_t ahead;
	int i, here;

	for (i = 0; i < WHEEL_LEVELS; i++) {
		here = (int)(w->tick >> (i * BITS)) & (WHEEL_SLOTS - 1);
		ahead = here == WHEEL_SLOTS - 1 ? 0 : w->occupied[i] & (~UINT64_C(0) << (here + 1));
		if (!ahead)
			continue;
		at = w->tick >> ((i + 1) * BITS) << BITS | __builtin_ctzll(ahead);
		at <<= i * BITS;
		if (at < best)
			best = at;
	}
	return best;
}

int64_t wheel_next(const struct wheel *w)
{
	return w->next == INT64_MAX ? INT64_MAX : w->next * SLOT_NS;
}

/* Takes what lies in one slot: due timers are gathered, the others move closer. */
static void visit(struct wheel *w, int level, int slot, int64_t now, struct list *due)
{
	struct list taken, *node;
	struct net_timer *t;

	if (!(w->occupied[level] & UINT64_C(1) << slot))
		return;
	w->occupied[level] &= ~(UINT64_C(1) << slot);
	list_init(&taken);
	list_splice(&taken, &w->slot[level][slot]);
	while ((node = list_pop(&taken))) {
		t = list_entry(node, struct net_timer, node);
		if (t->deadline > now)
			place(w, t);
		else
			list_append(due, node);
	}
}

void wheel_run(struct wheel *w, int64_t now)
{
	int64_t last = now / SLOT_NS, tick;
	struct list due, *node;
	struct net_timer *t;
	int i;

	if (last <= w->tick)
		return;
	if (last < w->next) {
		w->tick = last;
		return;
	}
	list_init(&due);
	while ((tick = next_tick(w)) <= last) {
		w->tick = tick;
		for (i = WHEEL_LEVELS - 1; i >= 0; i--) {
			if (!(tick & ((INT64_C(1) << (i * BITS)) - 1)))
				visit(w, i, (int)(tick >> (i * BITS)) & (WHEEL_SLOTS - 1), now, &due);
		}
	}
	w->tick = last;
	w->next = tick;
	/* Only now: whatever is armed from here on waits for a later turn. A timer
	 * that disarms another due one takes it off this list. */
	while ((node = list_pop(&due))) {
		t = list_entry(node, struct net_timer, node);
		t->deadline = 0;
		t->fire(t);
	}
}

void net_timer_init(struct net_timer *t, void (*fire)(struct net_timer *))
{
	list_init(&t->node);
	t->deadline = 0;
	t->fire = fire;
}

void net_timer_arm(struct net_loop *loop, struct net_timer *t, int64_t deadline)
{
	list_remove(&t->node);
	t->deadline = deadline > 0 ? deadline : 1;
	place(&loop->wheel, t);
}

void net_timer_disarm(struct net_timer *t)
{
	list_remove(&t->node);
	t->deadline = 0;
}
