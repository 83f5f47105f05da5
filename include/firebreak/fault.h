/* SPDX-License-Identifier: MIT */
/*
 * Named faults: why something failed, in one word that is the same in header,
 * log, metric and page. The table is faults.def.
 */
#ifndef FIREBREAK_FAULT_H
#define FIREBREAK_FAULT_H

#include <stdbool.h>

enum fault {
	FAULT_NONE,
#define X(name, word, status, grpc, retry, blames, text) FAULT_##name,
#include "faults.def"
#undef X
	FAULT_COUNT
};

enum fault_retry { FAULT_RETRY_NEVER, FAULT_RETRY_IDEMPOTENT, FAULT_RETRY_SAFE };

struct fault_info {
	const char *word;       /* "connect-refused"; "none" for FAULT_NONE */
	int status;             /* HTTP status, 0 when there is nothing to answer */
	int grpc;               /* gRPC status code */
	enum fault_retry retry;
	bool blames_datacenter; /* evidence against the endpoint */
	const char *text;       /* one sentence for people */
};

/* Never NULL; an out-of-range value reads as FAULT_INTERNAL. */
const struct fault_info *fault_info(enum fault f);

#endif
