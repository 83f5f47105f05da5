/* SPDX-License-Identifier: MIT */
/*
 * firebreak-bench run: rehearses a scenario and says what held.
 *
 *   run.c        the command line; what can be said before anything starts
 *   reach.c      is the target there?
 *   conductor.c  the run, and its end
 *   scenario.c   the file: keys, checks, errors with places      (pure)
 *   pace.c       when each request is to be sent                 (pure)
 *   cast.c       the messenger, relays, Redis, the proxy as processes
 *   relay.c      one relay process: the faults of the wire
 *   generator.c  one generating process (generator.h): connections, requests, event streams
 *   timeline.c   carries out faults and the operator's words at their times; watch.c the proxy's own view
 *   sample.c     one record a request, shared with the generators
 *   ledger.c     acknowledged messages against the journals      (pure)
 *   judge.c      figures of a window; assertions                 (pure)
 *   shares.c     who answered: a datacenter's part               (pure)
 *   live.c       one line while it runs
 *   summary.c    what is drawn and printed; result_*.c the result: JSON, one HTML page, a table
 *
 *   conductor (this process): load scenario > start cast > fork generators > timeline
 *   and live line until the end > stop > merge samples > ledger > judge > result
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "firebreak/net.h"
#include "../outcome.h"
#include "sample.h"
#include "scenario.h"

/* Exit status: 0 all held, 99 an assertion failed, 2 usage or a scenario that is wrong,
 * 3 the run itself is not valid. */
enum { RUN_HELD = 0, RUN_USAGE = 2, RUN_INVALID = 3, RUN_FAILED = 99 };

/* ---- pace (pure) ---- */
/* The arrivals of one generator of `of`: i-th arrival of the whole run belongs to generator
 * i % of. Poisson: exponential gaps, seeded. */
struct pace {
	const struct scenario *s;
	unsigned self, of;
	uint64_t index;          /* of the next arrival, over all generators */
	uint64_t random;
	unsigned step;           /* the integral of the rate: `before` in the steps before this one, */
	double before, reached;  /* `reached` at the arrival before */
};
void pace_init(struct pace *p, const struct scenario *s, unsigned self, unsigned of);
/* The next arrival of this generator, ns from the start; INT64_MAX: none is left. */
int64_t pace_next(struct pace *p);
/* A pseudo-random number; the state is any seed. */
uint64_t pace_roll(uint64_t *state);
/* Arrivals of the whole run (expected, for poisson). */
double pace_total(const struct scenario *s);

/* ---- judge (pure) ---- */
/* The samples of a selection in a window, reduced. Latencies are exact (sorted). */
struct figures {
	uint64_t count, success, outcome[OUTCOME_COUNT];
	double p50, p90, p99, p999, max;                 /* ms, from the intended time; refusals left out */
	double service_p50, service_p99;                 /* ms, from when it was really sent */
	double gap;                                      /* ms: longest time without a success */
	uint32_t age_max;                                /* s */
};
struct judged {
	const char *text;
	bool held, known; /* known false: it could not be told (nothing was asked in the window) */
	double found;
};

/* What the checker found (ledger.c). */
struct ledger {
	bool checked;              /* there were journals */
	uint64_t acknowledged, lost, duplicated, reordered, unknown, unknown_kept;
	char example[4][160];      /* of what was found, for people */
	unsigned examples;
};

/* What happened while it ran, for the live line, the table and the page. */
struct mark {
	int64_t at;                /* ns from the start */
	char kind;                 /* 'f' fault, 'h' heal, 'o' operator, 'm' mode of the proxy, 'd' datacenter state, 'n' note */
	char text[120];
};

struct result {
	const struct scenario *s;
	struct sample *sample;     /* by intended time */
	size_t samples;
	struct mark *mark;         /* by time */
	size_t marks;
	struct ledger ledger;
	struct judged judged[SCENARIO_ASSERTIONS];
	uint64_t sent, dropped, stream_events, stream_cuts;
	double late_p99_ms, late_max_ms;
	int64_t started_wall;      /* ns since 1970 */
	int64_t lasted;            /* ns */
	bool partial;              /* ended by a signal */
	const char *invalid;       /* why the run is not valid; NULL: it is */
	const char *proxy_version; /* NULL: not known */
	int code;                  /* exit status */
};

/*
 * Is it an assertion? The sentence says what is wrong. A request belongs to the window it was
 * intended in.
 *
 *   [WHAT.]FIGURE OP NUMBER[UNIT] [during WINDOW]
 *   WHAT     a feature, a tier, core-reads (reads of tier core), all; default all. Or dc.NAME, of a datacenter
 *   FIGURE   an outcome's word (how many), OUTCOME_ratio, count, success_ratio, goodput (successes
 *            per second), p50 p90 p99 p999 max service_p50 service_p99 (latency), gap (longest time
 *            without a success), age_max (of stale answers),
 *            time_to_failover (from the window's first fault to the first success of the feature
 *            that waited longest for one; default core), time_to_recover (from there until the
 *            success ratio stays at 99 %, in steps of 250 ms; default core);
 *            of dc.NAME: share (its part of the answers), share_max (the same of the window's highest second),
 *            transitions (how often its share crossed half of its normal one, in steps of 500 ms);
 *            of the whole run: lost duplicated reordered wrong_user dropped stream_cuts
 *   OP       == != <= >= < >
 *   UNIT     us ms s of latencies and times, s m h of ages, % or none of ratios
 */
#define JUDGE_WHY 400 /* octets of a sentence, its end included */
bool judge_parse(const struct scenario *s, const char *text, char why[JUDGE_WHY]);
/* Fills r->judged and r->code. What cannot be told (nothing was asked, no journal, the run ended
 * before the window did) has not held. */
void judge_all(struct result *r);
/* Figures of a selection (feature index, or -1 with a tier's name, or -1 and NULL for all). */
void judge_figures(const struct result *r, int feature, const char *tier, int64_t from, int64_t until, struct figures *out);

/* How long the feature was away after the run's first fault, ns: the steps of 250 ms in which fewer
 * than 99 % of its requests succeeded, summed; a step without a request is as the one before it. So one
 * failure at the end costs one step, not the time until then. 0: there was no fault, or it never went. */
int64_t judge_away(const struct result *r, unsigned feature);

/* ---- shares (pure) ---- */
/* A datacenter's part of the answers of a window. */
struct shares {
	double share;       /* of all of them */
	double most;        /* of one second's (those from the window's begin); -1: no second had 20 answers */
	double transitions; /* how often its part of half a second's answers crossed half of its part before the
			     * run's first fault; -1: it had none then */
};
/* False: nothing was answered by a datacenter in the window. */
bool shares_of(const struct result *r, int datacenter, int64_t from, int64_t until, struct shares *out);

/* ---- results (summary.h reduces, these print) ---- */
struct summary;
void result_table(const struct summary *s, FILE *out);
/* Schema: bench/result.schema.json */
bool result_json(const struct summary *s, FILE *out);
/* One self-contained HTML page: no script, no network. */
bool result_page(const struct summary *s, FILE *out);

/* ---- ledger (pure over files) ---- */
/* Reads DIR/ *.journal (JSON lines, journal.h). False with a sentence: no journal, or unreadable. */
bool ledger_check(struct ledger *l, const char *dir, struct sample_log *const *logs, unsigned n, char why[200]);

/* ---- generator ---- */
struct generator_args {
	const struct scenario *s;
	const char *target, *authority; /* where, as the cast or the file says */
	const char *ca;                 /* NULL: the system's */
	bool tls, verify;
	unsigned self, of;
	int64_t start;                  /* monotonic ns; the same for all */
	struct sample_log *log;
	int stop_fd;                    /* readable: stop early */
};
/* The whole life of a generating process; returns its exit status. */
int generator_run(const struct generator_args *a);

/* ---- cast ---- */
struct cast;
struct net_loop;
/* Starts everything and waits until the proxy is ready (20 s at most). NULL with a sentence.
 * All processes die with this one (PR_SET_PDEATHSIG) and live in one temporary folder, which
 * is removed even if this process is killed. A scenario with a target of its own gets a cast
 * of nobody: addresses, a folder, operators. `firebreak`: the proxy; NULL: found beside this program. */
struct cast *cast_start(const struct scenario *s, const char *firebreak, char why[300]);
void cast_stop(struct cast *c); /* and removes the folder; 5 s at most */
/* The addresses of a cast of our own, for people to play with. */
void cast_print(const struct cast *c, FILE *out);
/* In a forked child that stays this program: closes what is the conductor's. */
void cast_forget(struct cast *c);
const char *cast_target(const struct cast *c);    /* "127.0.0.1:port" */
const char *cast_authority(const struct cast *c);
const char *cast_ca(const struct cast *c);        /* NULL: cleartext, or not to be verified */
const char *cast_admin(const struct cast *c);     /* NULL: not known */
const char *cast_token(const struct cast *c);     /* a file; NULL: none */
const char *cast_journal(const struct cast *c);   /* a folder; NULL: none */
const char *cast_folder(const struct cast *c);
/* The processes it started, for the environment block: "firebreak 2 workers, 4 endpoints, ..." */
const char *cast_words(const struct cast *c);
/* Puts a fault in force, or (heal) takes it away: kill > start again, stop > continue, the rest by
 * a word to the messenger or the relay. Never waits. False with a sentence. */
bool cast_fault(struct cast *c, const struct scenario_event *e, char why[200]);
/* Whether a fault was to hit this process of the proxy. */
bool cast_struck(const struct cast *c, pid_t pid);
/* Runs firebreakctl with these words in the background; what it said is told when it ends. */
bool cast_operator(struct cast *c, const char *words, char why[200]);
/* From now on `say` is called from the loop: 'o' an operator's command has ended, 'n' a process
 * ended that nobody killed (`bad`: the run is not valid). */
void cast_follow(struct cast *c, struct net_loop *loop, void (*say)(void *user, char kind, bool bad, const char *text), void *user);

/* ---- timeline ---- */
struct timeline;
/* Carries out s->event at start + at, from the loop. NULL: out of memory. */
struct timeline *timeline_start(struct net_loop *loop, const struct scenario *s, struct cast *c, int64_t start);
/* Nothing more happens; what was noted stays. The loop needs one more turn. */
void timeline_stop(struct timeline *t);
void timeline_destroy(struct timeline *t);
const struct mark *timeline_marks(const struct timeline *t, size_t *count);
const char *timeline_mode(const struct timeline *t);        /* of the proxy; "?" not known */
const char *timeline_datacenters(const struct timeline *t); /* "pangyo up, anyang down" */
const char *timeline_version(const struct timeline *t);     /* of the proxy; NULL: not known. Valid until the next turn */
/* Faults in force: "pangyo: kill, anyang: latency 200ms"; "" none. */
const char *timeline_in_force(const struct timeline *t);
/* Why the run is not valid: a fault could not be carried out, a process of the cast died. NULL: it is. */
const char *timeline_trouble(const struct timeline *t);

#endif
