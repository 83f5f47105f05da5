/* SPDX-License-Identifier: MIT */
/*
 * The board: shared memory mapped before the fork, plain fixed-size data, one
 * writer for every word. Control publishes the live part; each worker has a part of
 * its own that control only reads. Either may be killed at any instruction: there is
 * always one complete publication to read, and whoever replaces the dead one goes on
 * from there. Readers give up after a bounded number of tries and keep their copy.
 */
#ifndef FIREBREAK_BOARD_H
#define FIREBREAK_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conf.h"
#include "dc.h"
#include "dc_machine.h"
#include "degrade.h"
#include "telemetry.h"

/* What control tells the workers. Plain data. */
struct board_live {
	uint64_t version;    /* grows with every publication */
	uint64_t generation; /* configuration this was made for: workers on another
	                        generation keep their last matching copy */
	struct degrade_live degrade;
	struct dc_live dc;
	struct dc_machine machine[CONF_MAX_DATACENTERS]; /* behind dc; for control's successor, not for workers */
};

/* Evidence a worker writes about an endpoint: running totals, control takes
 * differences. Index = endpoint of generation `generation`. */
struct board_evidence {
	uint64_t answers, faults, silences;
	uint64_t last_fault; /* enum fault */
	struct dc_traffic traffic;
};

/* Where a user's last write went, as one worker saw it: 8,192 users, four to a set; the one
 * that ends first makes room. No names: hashes. Used by src/exchange/fence.c. */
#define BOARD_FENCE_SETS 2048
#define BOARD_FENCE_WAYS 4
struct board_fence {
	_Atomic uint64_t user;    /* hash; 0: none yet */
	_Atomic uint64_t stands;  /* until then (monotonic ms, 40 bits), at that datacenter (24 bits of its name's hash) */
	_Atomic uint64_t version; /* the backend's number for the write; 0: none */
};

/* What a worker sees of overload: running totals like the evidence, and how many requests
 * it has under way now. Indices are of generation `generation`. */
struct board_load {
	_Atomic uint32_t in_flight[CONF_MAX_DATACENTERS];
	_Atomic uint32_t under_way[CONF_MAX_DATACENTERS][CONF_MAX_FEATURES]; /* the same, by feature */
	_Atomic uint32_t streams[CONF_MAX_DATACENTERS]; /* all that are open, answers under way and what lasts included */
	uint64_t full[CONF_MAX_DATACENTERS][DEGRADE_BOUNDS]; /* requests that found it full */
	uint64_t asked[CONF_MAX_TIERS], cut[CONF_MAX_TIERS], turned[CONF_MAX_TIERS]; /* struct degrade_demand */
	struct board_answers {
		uint64_t answers, heads, rejects, waited; /* struct degrade_traffic */
	} of[CONF_MAX_DATACENTERS][CONF_MAX_FEATURES];
};

struct board_worker {
	_Atomic int32_t pid;          /* written by the supervisor; 0: none */
	_Atomic uint64_t heartbeat;   /* loop turns; written by the worker */
	_Atomic uint64_t generation;  /* configuration in use, by which tm is laid out; 0: just
	                                 being laid out anew */
	_Atomic uint64_t live_version;/* last board_live applied */
	uint64_t requests, retries;   /* running totals for the retry budget, which workers share:
	                                 each reads the others' */
	struct board_evidence endpoint[CONF_MAX_ENDPOINTS];
	_Atomic uint64_t away_until;  /* monotonic ms: until then a fence stands that is not at its user's home */
	_Atomic uint64_t reached[CONF_MAX_DATACENTERS]; /* greatest version in a datacenter's answers to reads */
	struct board_fence fence[BOARD_FENCE_SETS][BOARD_FENCE_WAYS];
	struct board_load load;
	struct tm_worker tm;
};

struct board;

/* Maps a board for n workers (1..CONF_MAX_WORKERS). NULL: no memory. */
struct board *board_create(unsigned workers);
void board_destroy(struct board *b);
unsigned board_workers(const struct board *b);
struct board_worker *board_worker(struct board *b, unsigned index);
/* By the worker itself, when its endpoints and datacenters get other numbers: what it counted by
 * the old ones is cleared, and nobody believes its part until it sets `generation`. */
void board_worker_renumber(struct board_worker *w);
/* The control process' own metrics block. */
struct tm_worker *board_control_tm(struct board *b);
_Atomic int32_t *board_control_pid(struct board *b);

/* Control only. The board gives the publication its version (board_version() after
 * it); live->version is not looked at. */
void board_publish(struct board *b, const struct board_live *live);
/* True when *live was replaced by something newer than live->version. Otherwise
 * *live is as it was. Reads one word when there is nothing new. */
bool board_read(const struct board *b, struct board_live *live);
/* Of the last complete publication; 0: none yet. */
uint64_t board_version(const struct board *b);

#endif
