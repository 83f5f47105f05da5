/* SPDX-License-Identifier: MIT */
/*
 * What became of each request: one record a request, appended by the generator that sent
 * it to a shared file of its own; everything shown later (live line, percentiles, bands,
 * gaps, assertions) is computed from these, so that there is one truth and it is exact.
 * One writer a log; readers see a prefix of it at any time.
 */
#ifndef BENCH_SAMPLE_H
#define BENCH_SAMPLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAMPLE_NOWHERE 255

struct sample {
	int64_t intended;    /* ns from the start of the run; closed loop: when it was sent */
	uint32_t late_us;    /* sent so much after the intended time */
	uint32_t latency_us; /* from the intended time to the last octet; failed: to the failure */
	uint32_t age_s;      /* stale answers: Age */
	uint16_t feature;
	uint8_t outcome;     /* enum outcome */
	uint8_t datacenter;  /* who answered; SAMPLE_NOWHERE: no datacenter */
	uint8_t reason;      /* enum fault of a refusal or failure that named one; else 0 */
	uint8_t status;      /* HTTP status / 100 */
	uint8_t generator;
	uint8_t unused;
	uint32_t own_us;     /* of late_us, what the generator itself was late; the rest waited for its
			      * room's last message, a connection or a stream */
};

/* A message the proxy said was taken (201 or 202): to be found in a journal.
 * Also one whose fate is unknown (no answer, 5xx): may be there, but once at most. */
struct sample_ack {
	int64_t at;          /* ns from the start: when the answer came */
	uint64_t order;      /* of sending, in its room */
	uint64_t seq;        /* the messenger's number, 0: none told */
	uint32_t user;
	uint16_t status;     /* 0: no answer */
	uint8_t generator;
	char key[37];
};

/* The shared part of one generator: mapped before the fork. */
struct sample_log {
	_Atomic uint64_t count, acks; /* published after the record is whole */
	uint64_t room, ack_room;
	_Atomic uint64_t sent, dropped; /* arrivals issued; those that had no place to wait */
	_Atomic uint64_t under_way;
	_Atomic uint32_t open_connections, open_streams; /* event streams */
	_Atomic uint64_t stream_events, stream_cuts;     /* messages seen on them; streams that ended */
	struct sample *record;
	struct sample_ack *ack;
};

/* Shared memory, taken as it is written. NULL: no room. */
struct sample_log *sample_log_create(uint64_t records, uint64_t acks);
void sample_log_destroy(struct sample_log *l);
/* False: full (counted as dropped; the run is invalid then). */
bool sample_add(struct sample_log *l, const struct sample *s);
bool sample_ack_add(struct sample_log *l, const struct sample_ack *a);

/* All logs in order of the intended time; for the end of the run. NULL: out of memory. */
struct sample *sample_merge(struct sample_log *const *logs, unsigned n, size_t *count);

#endif
