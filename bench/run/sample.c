/* SPDX-License-Identifier: MIT */
/*
 * The log of one generator lies in memory shared with the conductor: pages are taken as
 * they are written, so room for the worst case costs nothing.
 */
#include "sample.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static size_t log_size(uint64_t records, uint64_t acks)
{
	return sizeof(struct sample_log) + records * sizeof(struct sample) + acks * sizeof(struct sample_ack);
}

struct sample_log *sample_log_create(uint64_t records, uint64_t acks)
{
	struct sample_log *l = mmap(NULL, log_size(records, acks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (l == MAP_FAILED)
		return NULL;
	l->room = records;
	l->ack_room = acks;
	l->record = (struct sample *)(l + 1);
	l->ack = (struct sample_ack *)(l->record + records);
	return l;
}

void sample_log_destroy(struct sample_log *l)
{
	if (l)
		munmap(l, log_size(l->room, l->ack_room));
}

bool sample_add(struct sample_log *l, const struct sample *s)
{
	uint64_t n = atomic_load_explicit(&l->count, memory_order_relaxed);

	if (n == l->room) {
		atomic_fetch_add_explicit(&l->dropped, 1, memory_order_relaxed);
		return false;
	}
	l->record[n] = *s;
	atomic_store_explicit(&l->count, n + 1, memory_order_release);
	return true;
}

bool sample_ack_add(struct sample_log *l, const struct sample_ack *a)
{
	uint64_t n = atomic_load_explicit(&l->acks, memory_order_relaxed);

	if (n == l->ack_room) {
		atomic_fetch_add_explicit(&l->dropped, 1, memory_order_relaxed);
		return false;
	}
	l->ack[n] = *a;
	atomic_store_explicit(&l->acks, n + 1, memory_order_release);
	return true;
}

static int by_intended(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return x->intended < y->intended ? -1 : x->intended > y->intended;
}

struct sample *sample_merge(struct sample_log *const *logs, unsigned n, size_t *count)
{
	struct sample *all;
	size_t total = 0, have;
	unsigned i;

	for (i = 0; i < n; i++)
		total += atomic_load_explicit(&logs[i]->count, memory_order_acquire);
	all = malloc((total ? total : 1) * sizeof(*all));
	if (!all)
		return NULL;
	*count = 0;
	for (i = 0; i < n; i++) {
		/* Not more than was counted above, should one still be writing. */
		have = atomic_load_explicit(&logs[i]->count, memory_order_acquire);
		have = have < total - *count ? have : total - *count;
		memcpy(all + *count, logs[i]->record, have * sizeof(*all));
		*count += have;
	}
	qsort(all, *count, sizeof(*all), by_intended);
	return all;
}
