/* SPDX-License-Identifier: MIT */
/*
 * Values somebody put into Redis. Magic, key and checksums (of what is not deflated)
 * are made right, so that the input reaches what lies behind them.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/cache/cache_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct cache_key key = { { 1, 2, 3 } };
	static struct cache_packer *packer;
	struct cache_answer answer;
	struct cache_entry *e;
	XXH64_state_t state;
	struct arena arena;
	uint8_t *value;
	uint64_t sum;
	bool junk;

	if (!packer)
		packer = cache_packer_create();
	value = malloc(len + 1);
	if (!value || !packer)
		abort();
	memcpy(value, data, len);
	if (len >= 112) {
		memcpy(value, "FBS1", 4);
		memcpy(value + 32, key.bytes, sizeof(key.bytes));
		XXH64_reset(&state, 0);
		XXH64_update(&state, value + 4, 2);
		XXH64_update(&state, value + 112, len - 112);
		sum = XXH64_digest(&state);
		if (!value[8])
			memcpy(value + 64, &sum, sizeof(sum));
		sum = XXH64(value, 104, 0);
		memcpy(value + 104, &sum, sizeof(sum));
	}
	e = cache_unpack(packer, value, len, &key, 1 << 20, &junk);
	arena_init(&arena);
	if (e && cache_entry_servable(e, 1000, e->stored_s) && cache_entry_answer(e, e->stored_s, &arena, &answer))
		buf_clear(&answer.body);
	arena_finish(&arena);
	free(e);
	free(value);
	return 0;
}
