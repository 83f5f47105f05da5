/* SPDX-License-Identifier: MIT */
/*
 * The configuration as an immutable snapshot of plain data. conf_load() reads
 * YAML, checks it against config.def, collects every error with its place, and
 * returns the snapshot; nobody changes it afterwards. All strings and arrays
 * belong to the snapshot and die with it.
 *
 * Durations are milliseconds, sizes bytes, shares basis points (0..10000) unless
 * the name says otherwise. Indices (feature, datacenter, endpoint, mode, tier)
 * are positions in the arrays below; the order of modes is the ladder from
 * healthy to worst, the order of tiers from most to least important.
 */
#ifndef FIREBREAK_CONF_H
#define FIREBREAK_CONF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONF_MAX_FEATURES    64
#define CONF_MAX_DATACENTERS 8
#define CONF_MAX_ENDPOINTS   64 /* over all datacenters */
#define CONF_MAX_MODES       8
#define CONF_MAX_TIERS       8
#define CONF_MAX_LISTENERS   8
#define CONF_MAX_WORKERS     64

struct conf_mark {
	int line, column; /* 1-based; 0: not from the file */
};

struct conf_errors; /* collects; see below */

enum conf_way { CONF_FORWARD, CONF_STALE, CONF_ACCEPT_LATER, CONF_REFUSE, CONF_WAYS };

/* Ways to answer, in order of preference. */
struct conf_ways {
	uint8_t count;
	uint8_t way[CONF_WAYS];
};

struct conf_tls_server {
	const char *certificate; /* PEM chain; NULL: cleartext */
	const char *key;
	const char *certificate2; /* a second pair (ECDSA beside RSA), or NULL */
	const char *key2;
};

struct conf_listener {
	struct conf_mark mark;
	const char *address; /* "0.0.0.0:8443", "[::]:8443", "unix:/run/fb.sock" */
	struct conf_tls_server tls;
	bool proxy_protocol; /* PROXY v2 is required from `trusted` addresses */
};

struct conf_endpoint {
	struct conf_mark mark;
	const char *address; /* "10.0.0.1:8080", "name:8080", "unix:/path" */
	uint16_t datacenter;
	uint16_t weight; /* 1..1000 */
};

enum conf_check { CONF_CHECK_HTTP, CONF_CHECK_GRPC };

struct conf_datacenter {
	struct conf_mark mark;
	const char *name;
	uint32_t capacity;           /* relative carrying capacity, 1..1000000 */
	uint16_t weight;             /* share of traffic while healthy, 0..1000 */
	uint16_t first_endpoint, endpoints; /* slice of conf.endpoint */
	bool tls;
	const char *ca;              /* PEM bundle; NULL: the system's */
	const char *server_name;     /* verified name and SNI; NULL: the endpoint's host */
	bool verify;
	const char *authority;       /* :authority of checks; NULL: the endpoint's address */
	int check_type;              /* enum conf_check */
	const char *check_path;      /* "/healthz" */
	const char *check_service;   /* grpc: NULL is the server as a whole */
	uint32_t check_interval_ms, check_timeout_ms;
	uint16_t rise, fall;         /* checks in a row */
	uint32_t restore_hold_ms, restore_over_ms;
	uint16_t restore_first;      /* share of its users that comes back at once */
};

enum conf_identity { CONF_IDENTITY_NONE, CONF_IDENTITY_BEARER, CONF_IDENTITY_HEADER, CONF_IDENTITY_CERTIFICATE };

struct conf_feature {
	struct conf_mark mark;
	const char *name;
	uint8_t tier;
	bool set[CONF_MAX_MODES];             /* this feature names its own ways in the mode */
	struct conf_ways ways[CONF_MAX_MODES];
	enum conf_identity identity;          /* what recent state is bound to */
	const char *identity_header;          /* lower case, for CONF_IDENTITY_HEADER */
	bool shared_state;                    /* recent state is the same for everybody */
	const char *idempotency_header;       /* lower case; a request with it may be retried; NULL: none */
	bool connect;                         /* extended CONNECT (RFC 8441) is allowed */
	bool long_lived;                      /* event streams: stream_idle_ms instead of timeout_ms */
	uint32_t timeout_ms;                  /* until the response head */
	uint32_t stream_idle_ms;              /* silence allowed on a stream that has begun */
	uint64_t body_limit;                  /* request body bytes; 0: unlimited */
	uint32_t stale_fresh_s;               /* keep recent state this long at most (hard cap) */
	bool keep_state;                      /* recent state is kept for this feature's reads */
	uint32_t retry_after_s;               /* centre of the jittered Retry-After */
};

enum conf_route_kind { CONF_ROUTE_PATH, CONF_ROUTE_GRPC };

struct conf_route {
	struct conf_mark mark;
	const char *method;  /* "GET"; NULL: any */
	const char *host;    /* lower case; NULL: any */
	const char *pattern; /* "/v1/rooms/{room}/messages", "/v1/backup/ **" without the blank */
	uint8_t feature;
};

struct conf_mode {
	struct conf_mark mark;
	const char *name;
	struct conf_ways ways[CONF_MAX_TIERS]; /* by tier */
	uint16_t enter_below;  /* reachable capacity in basis points under which this mode is entered; 0 only for the first */
};

struct conf_redis {
	struct conf_mark mark; /* of its trust store, if one is named */
	bool enabled;
	const char *address; /* "127.0.0.1:6379", "unix:/path" */
	const char *username, *password; /* NULL: none */
	bool tls, verify;
	const char *ca, *server_name;
	uint32_t database;
	uint32_t connect_timeout_ms, command_timeout_ms;
	uint32_t max_pending; /* commands waiting, per worker */
};

struct conf_cache {
	uint64_t memory_bytes;     /* memory tier, per worker */
	uint64_t max_entry_bytes;
	const char *secret_file;   /* key of the identity hash; NULL: random per start (memory tier only shares per worker) */
};

/* Limits of HTTP/2 sessions; each has its fault in faults.def. */
struct conf_limits {
	uint32_t max_streams;              /* SETTINGS_MAX_CONCURRENT_STREAMS */
	uint32_t header_list_bytes;        /* octets + 32 per field, per header block */
	uint32_t header_count;             /* fields, cookie crumbs included */
	uint32_t handshake_timeout_ms;     /* TLS + preface */
	uint32_t header_timeout_ms;        /* one header block */
	uint32_t body_rate;                /* least octets per second of an unfinished body */
	uint32_t body_timeout_ms;          /* grace before body_rate counts */
	uint32_t idle_timeout_ms;          /* downstream connection without streams */
	uint32_t upstream_idle_timeout_ms;
	uint32_t write_timeout_ms;         /* output stuck */
	uint32_t output_bytes;             /* stop producing while this much waits for the socket */
	uint32_t stream_window, connection_window;             /* what a client may send ahead */
	uint32_t upstream_stream_window, upstream_connection_window;
	uint32_t upstream_streams;         /* per upstream connection */
	uint32_t upstream_connections;     /* per endpoint and worker */
	uint32_t upstream_spares;          /* warm spares per endpoint and worker */
	uint32_t resets_burst, resets_rate;       /* token bucket, both directions together; rate per second */
	uint32_t pings_burst, pings_rate;
	uint32_t settings_burst, settings_rate;
	uint32_t empty_burst, empty_rate;         /* empty DATA / HEADERS / CONTINUATION without END_STREAM */
	uint32_t frames_burst, frames_rate;       /* PRIORITY, WINDOW_UPDATE beyond need, unknown types */
	uint32_t continuations;                   /* per header block */
	uint32_t held_head_bytes;                 /* header octets held by all streams of one connection */
	uint32_t connections;                     /* per worker */
	uint32_t connections_per_address;         /* per worker; 0: none */
	uint64_t memory_bytes;                    /* body and output buffers per worker */
};

struct conf_retry {
	uint32_t budget_percent;  /* retries per 100 requests */
	uint32_t budget_minimum;  /* retries allowed per second whatever the traffic */
	uint32_t tries;           /* attempts per request, the first included */
	bool hedge;               /* ask a second endpoint before the first has failed */
	uint64_t body_bytes;      /* request body kept for a retry */
	const char *deadline_header; /* lower case; says how long the client waits; NULL: none */
	uint32_t stream_spread_ms;   /* the ends of long-lived answers of one lost connection lie apart by this at most */
	uint32_t connect_timeout_ms;
	uint32_t ping_after_ms;   /* nothing heard while requests wait: PING */
	uint32_t ping_timeout_ms; /* time for its answer once a round trip is known */
	uint32_t ping_idle_ms;    /* PING period of quiet connections */
	uint32_t ping_idle_timeout_ms;
	uint32_t ping_stream_timeout_ms; /* the same for what has begun and cannot go elsewhere */
};

struct conf_outliers {
	uint16_t most; /* of a group's weight that is taken away, basis points; 0: off */
};

struct conf_fence {
	uint32_t time_ms;            /* 0: off */
	const char *version_header;  /* lower case; NULL: none */
};

struct conf_overload {
	uint32_t wait_ms;      /* how much later than usual answers may come before lesser tiers are limited; 0: no limits at all */
	uint32_t core_wait_ms; /* the same for the first tier */
	uint16_t core_floor;   /* of a datacenter's limit, basis points that lesser tiers cannot have */
};

struct conf_control {
	uint32_t hold_ms;            /* minimum time on a rung before stepping down one */
	uint32_t override_max_s;     /* 72 h */
	const char *state_dir;       /* overrides survive here; NULL: memory only */
};

struct conf_admin {
	const char *address;    /* "127.0.0.1:9901" or "unix:/path"; NULL: off */
	const char *token_file; /* mutations need it; NULL: only a Unix socket may mutate */
};

struct conf_headers {
	bool via, x_forwarded, forwarded, request_id;
	const char **trusted;   /* CIDRs whose Forwarded/X-Forwarded-* and PROXY headers count */
	size_t trusted_count;
};

struct conf_log {
	const char *events, *access; /* path, "stderr", "stdout", "off" */
	int level;
};

struct conf {
	const char *path;         /* file name as given, for messages */
	uint64_t generation;      /* set by the supervisor: 1, 2, ... */
	uint32_t workers;         /* 0: one per CPU */
	uint32_t drain_timeout_ms;
	const char *node;         /* this node's name; default: host name */
	const char *resolver;     /* "10.0.0.2:53"; NULL: those of /etc/resolv.conf */
	struct conf_listener *listener;     size_t listeners;
	struct conf_datacenter *datacenter; size_t datacenters;
	struct conf_endpoint *endpoint;     size_t endpoints;
	const char **tier;                  size_t tiers;
	struct conf_mode *mode;             size_t modes;
	struct conf_feature *feature;       size_t features; /* the last one is "unnamed": routes nobody named */
	struct conf_route *route;           size_t routes;
	struct conf_redis redis;
	struct conf_cache cache;
	struct conf_limits limits;
	struct conf_retry retry;
	struct conf_outliers outliers;
	struct conf_fence fence;
	struct conf_overload overload;
	struct conf_control control;
	struct conf_admin admin;
	struct conf_headers headers;
	struct conf_log log;
};

/*
 * Loads a file (or, with text != NULL, these bytes under that name). NULL when
 * there was any error; all of them are in `errors`. Also checks what needs no
 * other room: names unique and known, ranges, files readable.
 */
const struct conf *conf_load(const char *path, const char *text, size_t len, struct conf_errors *errors);
/* The same for a person who wants to hear everything at once: `more` adds what other
 * rooms find, also when there are errors already; then what could not be read has its
 * default, or is missing. */
typedef void (*conf_more)(const struct conf *c, struct conf_errors *errors, bool whole);
const struct conf *conf_load_with(const char *path, const char *text, size_t len, struct conf_errors *errors, conf_more more);
void conf_free(const struct conf *c);

/* Writes every key with its type, default, range, unit and prose as a commented,
 * runnable YAML file (config/firebreak.yaml is this output). */
void conf_document(FILE *out);
/* The same as the man page firebreak.yaml(5), in scdoc's markup. */
void conf_manual(FILE *out);
/* Writes the snapshot in force, defaults filled in, secrets masked. */
void conf_dump(const struct conf *c, FILE *out);

struct conf_errors *conf_errors_create(void);
void conf_errors_destroy(struct conf_errors *e);
size_t conf_errors_count(const struct conf_errors *e);
/* "what; expected ...; did you mean ..." at a place of the file. */
void conf_errors_add(struct conf_errors *e, struct conf_mark at, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* One line each, sorted by place: "file:line:col: error: ..." */
void conf_errors_print(const struct conf_errors *e, const char *path, FILE *out);

#endif
