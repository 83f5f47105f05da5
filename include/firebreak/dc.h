/* SPDX-License-Identifier: MIT */
/*
 * Datacenters, the pure half: the health machine of an endpoint and the choice of where
 * a request goes (the state of a datacenter made of its endpoints is dc_machine.h). Values
 * in, values out; the same pure library as degrade and route.
 * The half that talks to the network is dc_pool.h (workers) and dc_probe.h (control).
 */
#ifndef FIREBREAK_DC_H
#define FIREBREAK_DC_H

#include <stdbool.h>
#include <stdint.h>

#include "conf.h"
#include "fault.h"

/* X(NAME, word), of endpoints (drawn in src/datacenter/health.c) and of datacenters
 * (machine.c). `suspect` and `probing` still take traffic when nothing better is left;
 * `down` and `drained` never do. */
#define DC_STATES(X) \
	X(UP, "up") X(SUSPECT, "suspect") X(DOWN, "down") X(PROBING, "probing") \
	X(RESTORING, "restoring") X(DRAINING, "draining") X(DRAINED, "drained")

enum dc_state {
#define X(name, word) DC_##name,
	DC_STATES(X)
#undef X
	DC_STATE_COUNT
};
const char *dc_state_word(enum dc_state s);

/* What is known about one endpoint since the last look. */
struct dc_evidence {
	uint32_t checks_ok, checks_failed;   /* active checks */
	uint32_t answers, faults;            /* responses, and faults that blame the endpoint */
	uint32_t silences;                   /* PINGs unanswered in time */
	enum fault fault;                    /* the latest fault or failed check, for dc_health.why */
};

struct dc_health {
	enum dc_state state;
	uint16_t ok_run, bad_run; /* checks in a row */
	uint16_t burst;           /* faults of the traffic with no answer in between */
	int64_t since;            /* monotonic ns of the last transition */
	enum fault why;           /* of the last transition downwards */
};

void dc_health_init(struct dc_health *h, int64_t now);
/* Feeds evidence; returns true when the state changed. */
bool dc_health_record(struct dc_health *h, const struct conf_datacenter *dc, const struct dc_evidence *e, int64_t now);
/* How long until the next active check (ns, before jitter): the configured interval
 * in quiet times, soon while a verdict is pending. */
int64_t dc_health_wait(const struct dc_health *h, const struct conf_datacenter *dc);

/* What workers read from the board. Plain data. */
struct dc_live {
	uint8_t endpoint_state[CONF_MAX_ENDPOINTS];    /* enum dc_state */
	uint8_t datacenter_state[CONF_MAX_DATACENTERS];
	uint16_t endpoint_away[CONF_MAX_ENDPOINTS];    /* basis points of its weight taken away (dc_outlier.h); 0 normally */
	uint8_t spread;     /* enum dc_spread */
	bool disbelieved;   /* the checks, all of them: see dc_panic */
	uint8_t dissent;    /* bit per datacenter that is lost to this node only (src/control/fleet.h) */
	/* Basis points of its own users (whose home it is, see dc_pick) a datacenter takes
	 * now, of the first tier; and of each tier, the first included. */
	uint16_t share[CONF_MAX_DATACENTERS];
	uint16_t tier_share[CONF_MAX_DATACENTERS][CONF_MAX_TIERS];
};

/* A worker's own short memory beside the board: endpoints that just failed it. */
struct dc_local {
	int64_t avoid_until[CONF_MAX_ENDPOINTS]; /* monotonic ns */
	int64_t doubt_until[CONF_MAX_ENDPOINTS];
	uint16_t failures[CONF_MAX_ENDPOINTS];   /* in a row, grows the wait */
	uint32_t in_flight[CONF_MAX_ENDPOINTS];
	double latency[CONF_MAX_ENDPOINTS];      /* EWMA, ns, as it was then: */
	int64_t learned[CONF_MAX_ENDPOINTS];     /* monotonic ns */
};
/* It failed: avoid it for a while that doubles with each failure after the wait. */
void dc_local_failed(struct dc_local *l, unsigned endpoint, int64_t now);
/* It answered after this long (ns to the response head; 0: nothing to learn from), well or with
 * an error of its own (5xx). */
void dc_local_answered(struct dc_local *l, unsigned endpoint, int64_t latency_ns, int64_t now, bool well);
/* It has taken this long (ns) without an answer, and may take longer: no failure. */
void dc_local_slow(struct dc_local *l, unsigned endpoint, int64_t latency_ns, int64_t now);
/* Go elsewhere until then, without counting a failure. */
void dc_local_avoid(struct dc_local *l, unsigned endpoint, int64_t until);
/* The same for one that may only have paused: all but those whom a fence sends there. */
void dc_local_doubt(struct dc_local *l, unsigned endpoint, int64_t until);
/* It was proven good (a PING answered, control calls it up): avoid it no longer. */
void dc_local_trust(struct dc_local *l, unsigned endpoint);

struct dc_want {
	uint64_t hash;           /* the user: same value, same datacenter while it lives */
	uint64_t random;         /* for the choice of endpoint */
	uint64_t tried;          /* bit per endpoint already tried by this request */
	bool crowded;            /* some of these are not tried but full: no reason to exceed another's ramp, but for core */
	bool grpc;               /* whoever takes it is a gRPC server, and asked sparingly with PING */
	uint8_t tier;            /* of the request's feature */
	uint8_t fence;           /* 1 + the datacenter to go to while it may answer, whatever else; 0: none */
};

/* The endpoint to use, or -1: every one is tried already, down or drained.
 * Datacenter: each user has an order of them by weighted rendezvous hash (weight 0: a
 * standby, behind all others), the first is his home. A datacenter at share s keeps the
 * fraction s of its own users, always the same ones: a growing share only adds to them. The
 * others go to the next in their order. One that is restoring takes nobody else's users,
 * also not from failovers and retries, while any other can be tried, and of lesser tiers not
 * because others are full; shares alone refuse nobody.
 * Endpoint: by power of two choices on in-flight and recent latency, among those that have
 * not half again their part of what is under way. Untried endpoints of the same datacenter
 * come before another datacenter unless the whole datacenter looks bad; avoided ones only
 * when nothing else is left. The same input gives the same answer, on every node. */
int dc_pick(const struct conf *c, const struct dc_live *live, const struct dc_local *local,
	    const struct dc_want *want, int64_t now);
/* The user's own datacenter is lost to this node only, and his request of a lesser tier is not
 * taken elsewhere: there is no room planned for it, and other nodes can serve it at home. */
bool dc_stays(const struct conf *c, const struct dc_live *live, const struct dc_want *want);
/* The datacenter that is this user's while all are healthy. */
int dc_home(const struct conf *c, uint64_t hash);
/* Everybody is sent home: all datacenters are up with all of their share, and no endpoint is avoided or
 * doubted. */
bool dc_plain(const struct conf *c, const struct dc_live *live, const struct dc_local *local, int64_t now);
/* A bit for each of its endpoints, as in dc_want's tried. */
uint64_t dc_endpoints(const struct conf_datacenter *dc);
/* True when dc_pick would find something. */
bool dc_any(const struct conf *c, const struct dc_live *live, uint64_t tried);

#endif
