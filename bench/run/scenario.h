/* SPDX-License-Identifier: MIT */
/*
 * A rehearsal as written in a scenario file (YAML): what to run against, which load,
 * what goes wrong when, and what has to hold. Read once, checked whole (all errors at
 * once, with file:line:col), then never changed. Times are nanoseconds from the start
 * of the run unless said otherwise.
 *
 * The keys, their ranges and prose are in scenario.def; bench/scenarios/ has examples.
 */
#ifndef BENCH_SCENARIO_H
#define BENCH_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SCENARIO_FEATURES    48
#define SCENARIO_STEPS       64  /* of the load */
#define SCENARIO_EVENTS      256 /* of the timeline, waves unfolded */
#define SCENARIO_WINDOWS     32
#define SCENARIO_ASSERTIONS  64
#define SCENARIO_DATACENTERS 8
#define SCENARIO_ENDPOINTS   64  /* of all datacenters together */
#define SCENARIO_THREADS     16
#define SCENARIO_SAMPLES_MAX (64u << 20) /* a run that could make more is refused */

/* What a feature's requests do at the messenger. X(NAME, "word", private, write) */
#define VERBS(X) \
	X(SEND, "send", true, true)          /* POST a message with a key into the user's room */ \
	X(RECENT, "recent", true, false)     /* GET the room's newest messages */ \
	X(ROOMS, "rooms", true, false) \
	X(SYNC, "sync", true, false) \
	X(PRESENCE, "presence", true, false) \
	X(LOGIN, "login", true, true)        /* POST login/refresh */ \
	X(PROFILE, "profile", true, false) \
	X(UPLOAD, "upload", true, true)      /* POST media of `body` octets */ \
	X(DOWNLOAD, "download", false, false) /* GET media of `answer` octets, every octet checked */ \
	X(BACKUP, "backup", true, true)      /* PUT a backup of `body` octets */ \
	X(RESTORE, "restore", true, false)   /* GET it, every octet checked */ \
	X(SHOP, "shop", false, false) \
	X(EVENTS, "events", true, false)     /* a stream held open; see load.event_streams */ \
	X(GET, "get", false, false)          /* GET `path` */
enum verb {
#define X(name, word, private, write) VERB_##name,
	VERBS(X)
#undef X
	VERB_COUNT
};

struct scenario_feature {
	char name[33];
	char tier[33];
	enum verb does;
	double share;      /* of the arrivals; any unit */
	uint64_t body, answer; /* octets of the request and of the answer, where the verb has a choice */
	char path[128];    /* VERB_GET */
	uint32_t success;  /* outcomes that count as success, bits of enum outcome */
	double was_hours;  /* how long it was away in the outage that is replayed; 0: not told */
	char was[80];      /* the same in words */
};

/* Rate over time: from `from` to `until` it goes from `rate` to `end_rate` in a line. */
struct scenario_step {
	int64_t from, until;
	double rate, end_rate; /* requests per second */
};

struct scenario_datacenter {
	char name[33];
	unsigned endpoints;
	double latency_ms;  /* what its messenger takes for an answer */
	double capacity;    /* requests per second of each endpoint; 0: no limit */
};

/* Where a fault acts decides who carries it out.
 * X(NAME, "word", who, takes a value, "unit", "help") */
#define SCENARIO_FAULTS(X) \
	X(KILL, "kill", PROCESS, false, "", "SIGKILL") \
	X(STOP, "stop", PROCESS, false, "", "SIGSTOP: accepts, never answers") \
	X(LATENCY, "latency", MESSENGER, true, "duration", "before each answer") \
	X(ERRORS, "errors", MESSENGER, true, "ratio", "share of requests answered 503") \
	X(MUTE, "mute", MESSENGER, false, "", "requests are taken and never answered; connections live") \
	X(REFUSE_STREAMS, "refuse-streams", MESSENGER, true, "ratio", "REFUSED_STREAM") \
	X(RESET, "reset", MESSENGER, true, "ratio", "RST_STREAM in the middle of the body") \
	X(SLOW_BYTES, "slow-bytes", MESSENGER, true, "rate", "octets per second of each answer") \
	X(CAPACITY, "capacity", MESSENGER, true, "rate", "requests per second it can carry") \
	X(GOAWAY, "goaway", MESSENGER, true, "count", "GOAWAY after every so many requests") \
	X(UNHEALTHY, "unhealthy", MESSENGER, false, "", "the health check answers 503; requests are served") \
	X(DEAF, "deaf", MESSENGER, false, "", "the health check is never answered; requests are served") \
	X(BLACKHOLE, "blackhole", WIRE, false, "", "no octet passes, nothing is closed or refused") \
	X(REFUSE, "refuse", WIRE, false, "", "connections are refused, open ones reset") \
	X(DELAY, "delay", WIRE, true, "duration", "one way, each way; with `jitter`") \
	X(BANDWIDTH, "bandwidth", WIRE, true, "rate", "octets per second, each way") \
	X(CUT, "cut", WIRE, false, "", "open connections are reset once, new ones pass")
enum scenario_fault {
#define X(name, word, who, valued, unit, help) SFAULT_##name,
	SCENARIO_FAULTS(X)
#undef X
	SFAULTS
};
enum scenario_who { WHO_PROCESS, WHO_MESSENGER, WHO_WIRE };

/* Where a fault acts beside the datacenters; their names are taken. X(NAME, "word") */
#define SCENARIO_PLACES(X) \
	X(REDIS, "redis") \
	X(CONTROL, "control") /* the proxy's control process: its supervisor starts another */ \
	X(WORKER, "worker")   /* its first worker */
enum {
#define X(name, word) PLACE_OF_##name,
	SCENARIO_PLACES(X)
#undef X
	PLACES
};
/* As the `datacenter` of an event. */
enum { PLACE_REDIS = -1 - PLACE_OF_REDIS, PLACE_CONTROL = -1 - PLACE_OF_CONTROL, PLACE_WORKER = -1 - PLACE_OF_WORKER };

enum scenario_action { ACTION_FAULT, ACTION_HEAL, ACTION_OPERATOR };

/* One line of the timeline. A `flap` or `waves` shorthand is unfolded by the loader into
 * faults and heals, each with its time. */
struct scenario_event {
	int64_t at;
	enum scenario_action action;
	enum scenario_fault fault;
	int datacenter;      /* or PLACE_REDIS, ... */
	uint64_t endpoints;  /* bits of the endpoints of that datacenter it concerns; all bits for another place */
	double value, jitter; /* ns, ratio, octets or requests per second, count */
	const char *operator; /* arguments of firebreakctl */
	char label[96];      /* as a person reads it: "pangyo: kill" */
	int line;
};

struct scenario_window {
	char name[33];
	int64_t from, until;
};

struct scenario {
	const char *path;
	char name[65], about[256];
	int64_t duration;
	double scale;      /* a second of the run stands for so many of the outage it replays; 1: itself */
	uint64_t seed;
	unsigned threads;

	/* What to run against: a target that is there, or a cast that `run` starts. */
	bool own_cast;
	struct {
		const char *address, *authority, *ca, *admin, *token_file, *journal;
		bool tls, insecure;
	} target;
	struct scenario_datacenter datacenter[SCENARIO_DATACENTERS];
	unsigned datacenters;
	struct {
		bool redis, wire; /* wire: relays stand between the proxy and all it talks to */
		unsigned workers;
		bool tls;          /* clients to proxy */
		int64_t restore_hold, restore_over; /* as its configuration has them; ns */
		const char *extra; /* lines "key: value in flow style\n" of firebreak.yaml; NULL: none */
	} proxy;

	struct scenario_step step[SCENARIO_STEPS];
	unsigned steps;
	bool poisson;
	unsigned closed;      /* > 0: closed loop with so many requests under way, instead of steps */
	unsigned connections, streams, users, event_streams;
	double handshakes;    /* connections closed and opened again, per second */
	int64_t timeout;      /* an answer later than this has failed */

	struct scenario_feature feature[SCENARIO_FEATURES];
	unsigned features;
	struct scenario_event event[SCENARIO_EVENTS]; /* by time */
	unsigned events;
	struct scenario_window window[SCENARIO_WINDOWS];
	unsigned windows;
	const char *assertion[SCENARIO_ASSERTIONS]; /* checked by judge_parse at loading */
	int assertion_line[SCENARIO_ASSERTIONS];
	unsigned assertions;
};

/* NULL, with all errors printed to `errors` as file:line:col: error: ..., when it does not hold. */
struct scenario *scenario_load(const char *path, FILE *errors);
void scenario_free(struct scenario *s);
/* Divides all times by `factor` (what the messenger does and timeouts stay): a rehearsal
 * of the rehearsal. */
void scenario_quicken(struct scenario *s, double factor);
/* What a fault's place is called. */
const char *scenario_place(const struct scenario *s, int datacenter);
/* Whether the fault is over as soon as it has happened. */
bool scenario_momentary(enum scenario_fault fault, int datacenter);
/* The reference: every key with what is expected and its default. */
void scenario_document(FILE *out);

extern const char *const scenario_places[PLACES];
extern const struct scenario_verb { const char *word; bool private, write; } scenario_verbs[VERB_COUNT];
extern const struct scenario_fault_info {
	const char *word;
	enum scenario_who who;
	bool valued;
	const char *unit, *help;
} scenario_faults[SFAULTS];

#endif
