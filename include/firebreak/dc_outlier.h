/* SPDX-License-Identifier: MIT */
/*
 * Gray failure: who is neither dead nor well. Pure. Endpoints of a datacenter, and
 * datacenters, are compared with each other; whoever is worse than most of the others
 * has a share of its traffic taken away, step by step, and gets it back step by step.
 *
 * There are no fixed limits for errors or latency: what all have in common moves
 * nobody. Nor does a handful of requests. Together no more than `outliers.most` of a
 * group is taken away, whatever the evidence says.
 *
 * Compared is what is left after the mix of features is taken out: each request is held
 * against what its feature usually takes and how often it usually fails, so that whoever
 * serves the slow features is not slow. Drawn and reasoned in src/datacenter/outlier.c.
 */
#ifndef FIREBREAK_DC_OUTLIER_H
#define FIREBREAK_DC_OUTLIER_H

#include <stdbool.h>
#include <stdint.h>

#include "conf.h"

/* What requests told about one endpoint. On the board running totals of one worker, in a
 * look what was added since the look before. */
struct dc_traffic {
	uint64_t well;         /* answered, and with no 5xx but 501 and 505 */
	uint64_t errors;       /* 5xx, gRPC errors of the server's, resets, timeouts, connections lost; also of an
	                       answer counted as well when its head came */
	uint64_t errors_usual; /* as many as their features usually bring, in 1/65536 */
	int64_t slow;          /* over `well`: log2(latency / the feature's usual), in 1/256 */
	uint64_t slow_squared; /* over `well`: its square, in 1/65536 */
};

/* What a worker has learned of each feature, over all endpoints. Begins with zeroes. */
struct dc_usual {
	int32_t latency[CONF_MAX_FEATURES]; /* log2 of ns, in 1/65536; 0: not known */
	uint32_t errors[CONF_MAX_FEATURES]; /* part of the requests, in 1/65536 */
};
/* Counts one request into *t: answered well after latency_ns, or (bad) failed. */
void dc_usual_note(struct dc_usual *u, unsigned feature, int64_t latency_ns, bool bad, struct dc_traffic *t);

/* What the last look said. */
enum dc_verdict { DC_SOUND, DC_WORSE };

/* X(NAME, word): where the traffic is, compared with the weights. */
#define DC_SPREADS(X) \
	X(EVEN, "even")       /* nothing is taken away */ \
	X(MOVED, "moved")     /* from whoever is worse */ \
	X(BOUNDED, "bounded") /* more would be, but it is as much as may be */ \
	X(PANIC, "panic")     /* most of everything looks bad: the last good spread stays */

enum dc_spread {
#define X(name, word) DC_SPREAD_##name,
	DC_SPREADS(X)
#undef X
	DC_SPREAD_COUNT
};
const char *dc_spread_word(enum dc_spread s);

/* One endpoint or datacenter. */
struct dc_member {
	uint16_t share;        /* of its weight it may have, basis points; 10000 normally */
	uint8_t verdict;       /* enum dc_verdict: of this look, on evidence of its own since the last one against it */
	bool slow;             /* what speaks against it most: latency, not errors */
	bool rising;           /* the last step was one back */
	bool bounded;          /* the last verdict against it asked for more than may be taken away */
	uint8_t fresh;         /* looks since the last verdict against it */
	int64_t hold;          /* ns from one step back to the next; grows with each relapse */
	int64_t until;         /* no step back before */
};

#define DC_LOOKS 160 /* kept: forty seconds of them: who is hardly asked says little in ten */

/* owned by: whoever declares it (the control process); plain data */
struct dc_outliers {
	struct dc_member endpoint[CONF_MAX_ENDPOINTS];
	struct dc_member datacenter[CONF_MAX_DATACENTERS];
	uint8_t spread;                             /* enum dc_spread */
	double usual[CONF_MAX_DATACENTERS];         /* mean of a datacenter's own slowness, octaves */
	uint16_t usual_looks[CONF_MAX_DATACENTERS]; /* it was learned from, up to a bound */
	struct dc_traffic look[DC_LOOKS][CONF_MAX_ENDPOINTS];
	unsigned at, looks;                         /* next to be written; how many there are */
};

struct dc_live;

/* Everybody at the full share, nothing known. */
void dc_outliers_init(struct dc_outliers *o);
/* Every quarter of a second or so: t is what came since the last call, live.endpoint_state and
 * live.datacenter_state say who takes traffic at all. Shares never fall by more than
 * conf.outliers.most of a group's weight (of all datacenters': of their capacity), counting
 * those that are down; 0 switches it off. */
void dc_outliers_look(struct dc_outliers *o, const struct conf *c, const struct dc_live *live,
		      const struct dc_traffic t[CONF_MAX_ENDPOINTS], int64_t now);

/* The checks of everything fail while requests are answered: then it is the checks that are
 * wrong (a path that is gone, a dependency all of them ask). No endpoint of a datacenter that
 * is not `drained` takes traffic any more, and some are in `works` (bit per endpoint: down for
 * what its checks answered, requests answered well): these, and who is up, are made suspect in
 * live.endpoint_state, which keeps the traffic spread as it was. True while it holds: `before`
 * says that it held, and then it does until half of the capacity is back by its checks. */
bool dc_panic(const struct conf *c, struct dc_live *live, const bool drained[CONF_MAX_DATACENTERS], uint64_t works, bool before);

#endif
