/* SPDX-License-Identifier: MIT */
/*
 * The policy of degradation, pure: values in, values out; no I/O, allocation,
 * logging, globals, clock or random. It links with nothing.
 *
 *   plan       compiled from the configuration: mode x feature -> ways to answer
 *   live       what control publishes on the board: mode, overrides, shares, limits
 *   decision   the way for one request, with its why
 *   limit      how many requests a datacenter may have under way, learned from its answers
 *   admission  who is let in when all of it together is less than what is asked for
 */
#ifndef FIREBREAK_DEGRADE_H
#define FIREBREAK_DEGRADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"
#include "fault.h"

#define DEGRADE_FULL 10000 /* shares are basis points */

/* owned by: whoever declares it; plain data, copyable, no pointers. */
struct degrade_plan {
	uint8_t modes, features, tiers;
	uint8_t tier[CONF_MAX_FEATURES];
	uint8_t identity_needed[CONF_MAX_FEATURES]; /* private recent state: needs an identity */
	/* Ends with CONF_REFUSE; CONF_STALE only where recent state can exist. */
	struct conf_ways cell[CONF_MAX_MODES][CONF_MAX_FEATURES];
};

/* An operator's word over one feature. */
enum degrade_word { DEGRADE_AUTO, DEGRADE_ON, DEGRADE_STALE_ONLY, DEGRADE_OFF, DEGRADE_SHARE };

/* A datacenter is full for the lesser tiers long before it is for the first one. */
enum degrade_bound { DEGRADE_LESSER, DEGRADE_CORE, DEGRADE_BOUNDS };

/* The live part, as it lies on the board. Plain data. */
struct degrade_live {
	uint8_t mode;
	bool mode_forced;      /* by an operator */
	bool any_datacenter;   /* at least one can take requests */
	uint8_t word[CONF_MAX_FEATURES];      /* enum degrade_word */
	uint16_t word_share[CONF_MAX_FEATURES]; /* for DEGRADE_SHARE */
	uint16_t share[CONF_MAX_FEATURES];    /* admission share, DEGRADE_FULL normally */
	uint16_t overload;     /* of what is asked for, what is not let in; basis points */
	/* Requests that may be under way there, of all workers; 0: open (degrade_room) */
	uint32_t limit[CONF_MAX_DATACENTERS][DEGRADE_BOUNDS];
	uint32_t hanging[CONF_MAX_DATACENTERS]; /* of those under way, they take no room from others */
	uint64_t hangs[CONF_MAX_DATACENTERS];   /* their features, a bit each: more of them find the room as it is */
};
/* Healthy, no overrides, all shares full: what holds before control has spoken. (All
 * zeroes would admit nobody.) */
void degrade_live_init(struct degrade_live *live);

/* X(NAME, word): why a decision came out as it did. */
#define DEGRADE_WHYS(X) \
	X(PLAN, "plan")                  /* first way of the plan */ \
	X(FAILED_OVER, "failed-over")    /* another datacenter after a failed try */ \
	X(FENCED, "fenced")              /* where the user's last write went */ \
	X(NO_DATACENTER, "no-datacenter") /* no datacenter can take it */ \
	X(FORWARD_FAILED, "forward-failed") /* tries are used up */ \
	X(STALE_MISSED, "stale-missed")  /* there was no recent state */ \
	X(OUTBOX_FAILED, "outbox-failed") /* the outbox could not keep it */ \
	X(NO_IDENTITY, "no-identity") \
	X(MODE, "mode")                  /* the mode's plan has only this left */ \
	X(OPERATOR, "operator")          /* an override on the feature */ \
	X(SHARE, "share")                /* outside the share an operator admits */ \
	X(OVERLOADED, "overloaded")      /* outside the share that is admitted under overload, or no datacenter has room */

enum degrade_why {
#define X(name, word) DEGRADE_WHY_##name,
	DEGRADE_WHYS(X)
#undef X
	DEGRADE_WHY_COUNT
};

struct degrade_request {
	uint8_t feature;
	uint8_t tried;         /* bit (1 << enum conf_way): ways that are used up for this request; a
	                          forward that failed counts in `attempts`, with can_forward to say
	                          whether another may follow */
	uint8_t attempts;      /* forwards already tried */
	bool can_forward;      /* a datacenter is left to try and a retry is allowed; true on the first attempt */
	bool has_identity;
	bool readable;         /* GET or HEAD: recent state can answer it */
	uint16_t cohort;       /* 0..9999, stable for a user within the hour */
	enum fault last_fault; /* of the last failed try; FAULT_NONE at first */
};

struct degrade_decision {
	enum conf_way way;
	enum degrade_why why;
	enum fault fault; /* for CONF_REFUSE: the reason word of the answer; else FAULT_NONE */
};

const char *degrade_why_word(enum degrade_why why);
const char *degrade_way_word(enum conf_way way);

typedef void (*degrade_report)(struct conf_errors *, struct conf_mark, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Compiles mode x feature (a feature's own ways win over its tier's); checks P3 (core
 * last: in no mode may a feature be forwarded while one of a more important tier is
 * not), that every cell has a way, that the ladder only gets stricter and is entered
 * at falling capacities. Problems go to `report` with their place (report may be
 * NULL; conf_errors_add fits). Returns the number of problems; the plan is usable
 * (total) even then, but keeps no promise. */
int degrade_compile(const struct conf *c, struct degrade_plan *plan, struct conf_errors *errors, degrade_report report);

/*
 * Walks the ways of the cell until one may work. Total: always returns a decision;
 * the last resort is CONF_REFUSE, whose fault has an HTTP status. An operator's OFF
 * refuses at once, STALE_ONLY and a missed share take away the forward only, ON uses
 * the first mode's cell. Reads never go to the outbox, writes never to recent state.
 */
struct degrade_decision degrade_decide(const struct degrade_plan *plan, const struct degrade_live *live,
				       const struct degrade_request *request);

/* The mode controller: up the ladder at once, down one rung at a time after hold. */
struct degrade_controller {
	uint8_t mode;
	int64_t since; /* monotonic ns of the last change */
	int64_t better_since; /* when the evidence first asked for a lower rung; 0: it does not */
};
/* Begins with zeroes. `reachable`: capacity that can be used now, in basis points of
 * all that is configured. Returns the mode to publish. Thresholds are
 * conf_mode.enter_below; on the way down 5 % of it more, 100 % at most. */
uint8_t degrade_control(struct degrade_controller *c, const struct conf *conf, uint16_t reachable, int64_t now);

/* ---- how much a datacenter takes: limit.c ---- */

#define DEGRADE_LIMIT_LEAST 16 /* requests under way: fewer are never refused to the first tier */

/* What the workers saw of one datacenter since the last look, requests with an answer of
 * their own time only: no event streams, no tunnels. */
struct degrade_traffic {
	uint32_t answers[CONF_MAX_FEATURES]; /* heads of answers, and requests given up without one */
	uint32_t heads[CONF_MAX_FEATURES];   /* of them, the heads */
	uint32_t rejects[CONF_MAX_FEATURES]; /* the datacenter said that it is overloaded */
	uint64_t waited[CONF_MAX_FEATURES];  /* ns, sum over the answers: request sent to head received */
	uint32_t in_flight;                  /* now */
	uint32_t under_way[CONF_MAX_FEATURES]; /* of them, by feature */
	uint32_t full[DEGRADE_BOUNDS];       /* requests that found it full */
};

struct degrade_bounded {
	double limit;   /* 0: open */
	int64_t late;   /* ns: so long it has been too slow, while open */
	int64_t used;   /* monotonic ns: when it last kept somebody out */
	int64_t cut;    /* monotonic ns: no other cut before */
};

/* Do answers come later when more requests are under way? */
struct degrade_trial {
	unsigned stage; /* 0: none */
	int64_t began, next, pause;
	double limit[DEGRADE_BOUNDS]; /* in force meanwhile */
	/* What is measured, now and before the trial. */
	int64_t from;
	double answers, fit, waited, fit_before, flight_before, rate_before;
	bool used;
};

/* One datacenter. Begins with zeroes. owned by: whoever declares it; plain data. */
struct degrade_limiter {
	struct degrade_bounded bound[DEGRADE_BOUNDS];
	double usual[CONF_MAX_FEATURES];    /* ns: mean wait of a feature's answers while nothing is amiss */
	uint32_t known[CONF_MAX_FEATURES];  /* answers this was learned from */
	bool rejecting;                     /* the datacenter says itself that it is overloaded */
	/* Of each feature, what is under way and not answered. */
	int64_t heard;                       /* monotonic ns: the last answer of any */
	int64_t silent[CONF_MAX_FEATURES];   /* monotonic ns: since then some is, and nothing of it was answered; 0: not known */
	uint32_t vouched[CONF_MAX_FEATURES]; /* answers of other features since */
	uint32_t hangs[CONF_MAX_FEATURES];   /* so many take no room from others */
	/* The window under way. */
	struct degrade_traffic seen;
	uint32_t peak;                      /* most in flight */
	double lately;                      /* the same, of the last windows */
	double carries;                     /* under way in time, as far as the last windows have shown while open */
	int64_t rush;                       /* monotonic ns: since then more than that is under way; 0: it is not */
	int64_t from;
	struct degrade_trial trial;
};

/* Feeds what was seen since the last call; call every 100 ms or so. `hold`: some of those
 * it would keep out are kept out by admission, so that an unused limit proves nothing and stays. Results:
 * degrade_limit_of(). How it works and where it comes from: limit.c. */
void degrade_limit(struct degrade_limiter *l, const struct conf_overload *c, const struct degrade_traffic *t, const bool hold[DEGRADE_BOUNDS],
		   int64_t now);
/* What to publish; 0: open. */
uint32_t degrade_limit_of(const struct degrade_limiter *l, enum degrade_bound b);
/* So many of those under way hang, and take none of that room from other features than theirs
 * (a bit each, by index). */
uint32_t degrade_hanging(const struct degrade_limiter *l, uint64_t *features);
/* What a limiter begins with that follows another, whose words these were. */
void degrade_hanging_was(struct degrade_limiter *l, uint32_t hanging, uint64_t features, int64_t now);
/* Has the datacenter room for one more request of this tier while so many are in flight
 * (of all tiers and workers)? A lesser tier's room ends before a more important one's (P3);
 * core_floor (basis points) of the limit is never the lesser tiers'. */
bool degrade_room(const uint32_t limit[DEGRADE_BOUNDS], unsigned tier, uint16_t core_floor, uint32_t in_flight);

/* ---- who is let in when that is too little: admit.c ---- */

/* By tier, since the last look: requests that would be forwarded. */
struct degrade_demand {
	uint32_t asked[CONF_MAX_TIERS];
	uint32_t cut[CONF_MAX_TIERS];    /* of them, outside the admitted share */
	uint32_t turned[CONF_MAX_TIERS]; /* of them, inside it, but no datacenter had room, or one that rejects them */
	uint32_t answered;               /* requests of all tiers that the datacenters were done with */
};

/* Begins with zeroes. owned by: whoever declares it; plain data. */
struct degrade_admission {
	double admitted;               /* requests per second let in; 0: all */
	double demand[CONF_MAX_TIERS]; /* requests per second, smoothed */
	unsigned calm;                 /* windows in a row in which hardly anybody was turned away */
	bool fell;                     /* in the last window */
	struct degrade_demand seen;    /* the window under way */
	int64_t from;
	uint16_t share[CONF_MAX_TIERS]; /* the result, basis points; valid once fed */
	uint16_t level;                 /* of what is asked for, what is not let in */
};

/* Feeds demand since the last call. Shares are filled from the first tier on, so at most
 * one is neither 0 nor full, and no tier is cut while one that matters less is served.
 * A tier that was not turned away is not cut on behalf of lesser ones. */
void degrade_admit(struct degrade_admission *a, const struct degrade_demand *d, unsigned tiers, int64_t now);

/* Is it safe to go from `now` to `then` (mode, words, any_datacenter)? Unsafe: a lesser
 * feature would be forwarded to more users than a more important one (P3), more so than
 * now; or a feature of the first tier that is answered now would be refused. */
bool degrade_override_safe(const struct degrade_plan *plan, const struct degrade_live *now, const struct degrade_live *then);

#endif
