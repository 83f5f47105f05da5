/* SPDX-License-Identifier: MIT */
#include "firebreak/fault.h"

#define NEVER      FAULT_RETRY_NEVER
#define IDEMPOTENT FAULT_RETRY_IDEMPOTENT
#define SAFE       FAULT_RETRY_SAFE
#define NOBODY     false
#define DC         true

static const struct fault_info table[FAULT_COUNT] = {
	[FAULT_NONE] = { "none", 0, 0, NEVER, NOBODY, "nothing failed" },
#define X(name, word, status, grpc, retry, blames, text) [FAULT_##name] = { word, status, grpc, retry, blames, text },
#include "firebreak/faults.def"
#undef X
};

const struct fault_info *fault_info(enum fault f)
{
	if ((unsigned)f >= FAULT_COUNT)
		f = FAULT_INTERNAL;
	return &table[f];
}
