/* SPDX-License-Identifier: MIT */
/*
 * The state of a datacenter, and the share of its users it takes: a pure machine, drawn
 * in src/datacenter/machine.c. Values and `now` in, state and share out; the control
 * process steps it, and publishes it whole, so that whoever replaces a control process
 * goes on where that one died.
 */
#ifndef FIREBREAK_DC_MACHINE_H
#define FIREBREAK_DC_MACHINE_H

#include "dc.h"
#include "dc_outlier.h"

/* X(NAME, word): the evidence of a transition; in status and log. */
#define DC_WHYS(X) \
	X(START, "start") \
	X(ALL_LOST, "all-endpoints")        /* every endpoint is down: one event */ \
	X(WEAK, "endpoints-failing")        /* hardly one is good */ \
	X(DISSENT, "dissent")               /* all are down for us, but not for most other nodes */ \
	X(UNHEARD, "unheard")              /* all are down for us, and other nodes had no time to speak yet */ \
	X(RECOVERED, "endpoints-recovered") /* enough are good again */ \
	X(FLAPPING, "flapping")             /* the same, but not for the first time, or not all of it */ \
	X(ANSWERS, "first-answers")         /* some endpoint is not down any more */ \
	X(HELD, "hold-over")                /* was well for the whole hold */ \
	X(ALONE, "no-other")                /* nobody else takes traffic: nothing can be waited for */ \
	X(RESTORED, "ramp-over")            /* all its users are back */ \
	X(WORSE, "worse-than-others")       /* errors or latency of the users that came back */ \
	X(OPERATOR, "operator")             /* a drain, or its end */ \
	X(DRAINED, "drain-over")

enum dc_why {
#define X(name, word) DC_WHY_##name,
	DC_WHYS(X)
#undef X
	DC_WHY_COUNT
};
const char *dc_why_word(enum dc_why why);

/* Other nodes whose word is fresh: how many see it up, and down. */
struct dc_peers {
	uint8_t up, down;
	bool unheard; /* they had no time to say anything yet */
};

/* What is known about a datacenter at one step. Shares are basis points. */
struct dc_input {
	uint16_t good, suspect, probing; /* of its endpoints' weight; the rest is down */
	enum dc_verdict verdict;
	uint16_t cap;      /* the most it may take, by its traffic's evidence; 10000 normally */
	struct dc_peers peers;
	bool others;       /* another datacenter takes traffic */
	bool drain;        /* an operator wants it empty: */
	uint16_t left;     /* what his wish leaves it by now */
};
/* No endpoint, no verdict, nobody else: what a caller begins with. */
#define DC_INPUT_NONE ((struct dc_input){ .cap = 10000 })

/* Plain data, no pointers; lies on the board. */
struct dc_machine {
	uint64_t name;        /* dc_name_hash() */
	int64_t since;        /* monotonic ns of the last transition */
	int64_t better_since; /* when what it waits for began; 0: it has not */
	int64_t paused_until; /* a ramp that stepped back goes on then; probing with no answer ends then */
	int64_t failed_at;    /* the last failure that counted, or the last time one was forgotten */
	uint32_t ramp;        /* the share it takes, 1e9 is all: falls at once, grows slowly */
	uint32_t goal;        /* what it grows to, or is drained from */
	uint16_t flaps;       /* failures not yet forgotten */
	uint8_t state;        /* enum dc_state */
	uint8_t why;          /* enum dc_why */
	uint8_t trusted;      /* by an operator, until its next transition */
	uint8_t spare[3];     /* it lies on the board, where padding is compared, too */
};

uint64_t dc_name_hash(const char *name);
void dc_machine_init(struct dc_machine *m, const char *name, int64_t now);
/* One step; true when the state changed: then it is worth another one with nothing
 * elapsed. elapsed: ns since the step before; more than half a second counts as that, so
 * that a control process that was late, or is new, does not jump up the ramp. */
bool dc_machine_step(struct dc_machine *m, const struct conf_datacenter *dc, const struct dc_input *in, int64_t now,
		     int64_t elapsed);
/* An operator says it is well: its failures are forgotten, and no hold is waited for. */
void dc_machine_trust(struct dc_machine *m);
/* State and shares into live. Of `tiers` the first has the ramp itself; while it moves a
 * lesser one lags behind, and never exceeds a more important one. */
void dc_machine_show(const struct dc_machine *m, unsigned tiers, unsigned datacenter, struct dc_live *live);
/* How long it has to be well before it comes back: grown by its flaps (ns). */
int64_t dc_machine_hold(const struct dc_machine *m, const struct conf_datacenter *dc);
/* The state that comes next if all goes well; *in: ns until then, -1: not a matter of
 * time. The present state: nothing is to come. */
enum dc_state dc_machine_next(const struct dc_machine *m, const struct conf_datacenter *dc, int64_t now, int64_t *in);

/* Endpoint states of a datacenter added up by weight, into good, suspect and probing. */
void dc_weigh(const struct conf *c, const struct dc_live *live, unsigned datacenter, struct dc_input *in);
/* It is not held or drained, and some endpoint of it serves: for the others' `others`. */
bool dc_takes(const struct conf *c, const struct dc_live *live, unsigned datacenter);

/* Usable capacity in basis points of the configured: of each datacenter what its good and
 * suspect endpoints carry, and no more than its share while that is moved. */
uint16_t dc_usable(const struct conf *c, const struct dc_live *live);
/* States and shares as of machines that know nothing but live->endpoint_state. */
void dc_assume(const struct conf *c, struct dc_live *live);

#endif
