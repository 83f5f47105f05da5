/* SPDX-License-Identifier: MIT */
/*
 * Inside exchange/: the worker, the snapshot it serves by, and one exchange.
 *
 *   worker.c      the process: loop hook, commands from the supervisor, draining
 *   downstream.c  accepting clients: limits, PROXY header, sessions
 *   snapshot.c    an immutable configuration, compiled: plan, routes, trusted networks
 *   exchange.c    the state machine
 *   attempt.c     one try to forward: its beginning, its request body, its end
 *   deadline.c    the time the client gives: read, kept, passed on
 *   hedge.c       a second try beside the first: when, and whether it is worth it
 *   request.c     what was asked, and the fields that go upstream
 *   response.c    the fields that go downstream; what is kept as recent state
 *   answer.c      answers of our own: refusals, stale state
 *   fence.c       reads follow their user's last write for a while
 *   budget.c      how many retries are left
 *   load.c        which datacenters have no room; what their limits are made from
 *   record.c      the one telemetry record and access-log line of an exchange
 */
#ifndef XCHG_PRIVATE_H
#define XCHG_PRIVATE_H

#include "firebreak/board.h"
#include "firebreak/cache.h"
#include "firebreak/conf.h"
#include "firebreak/dc_pool.h"
#include "firebreak/degrade.h"
#include "firebreak/exchange.h"
#include "firebreak/h2.h"
#include "firebreak/net.h"
#include "firebreak/redis.h"
#include "firebreak/route.h"

#define XCHG_MAGIC 0x78636867u
#define INET6_TEXT 48

/* owned by: the worker and every exchange that began under it (counted)
 * freed by: the last snapshot_put */
struct snapshot {
	unsigned refs;
	const struct conf *conf;
	struct degrade_plan plan;
	struct route_table *routes;
	struct net_cidr *trusted;
	size_t trusted_count;
	struct net_tls *tls[CONF_MAX_LISTENERS];
	uint32_t place[CONF_MAX_DATACENTERS]; /* fence_place() of each */
	bool connect_protocol; /* some feature allows extended CONNECT */
};

struct snapshot *snapshot_create(const struct conf *conf, const unsigned char *ticket_key, char *why);
struct snapshot *snapshot_get(struct snapshot *s);
void snapshot_put(struct snapshot *s);
bool snapshot_trusts(const struct snapshot *s, const struct net_addr *peer);
/* The feature of this name, or the one nobody named. */
uint8_t snapshot_feature(const struct snapshot *s, const char *name);
/* What a worker assumes before control has spoken: everything up, nothing forced. */
void snapshot_default_live(const struct snapshot *s, struct board_live *live);

/* Tokens grow with traffic and fade over about ten seconds. Several hands may take from
 * one budget, each looking at the same totals; what two took of the last token is owed. */
struct budget {
	double tokens, full; /* full: what there were, had nobody taken any */
	int64_t at;
	uint64_t requests, retries; /* the totals when last looked at */
};
/* Accounts for what happened since the last look: totals of requests and of retries; `minimum`
 * retries a second whatever the traffic. Often enough that ten seconds never pass. */
void budget_look(struct budget *b, unsigned percent, unsigned minimum, uint64_t requests, uint64_t retries, int64_t now);
/* One retry; it has to be in the totals of the next look. */
bool budget_take(struct budget *b);
/* Is there enough for retries that a client can provoke, by asking for what always fails?
 * An eighth is kept for requests whose connection or endpoint is lost, or that were refused unprocessed. */
bool budget_spare(const struct budget *b);

/* How long a feature's heads take: smoothed time and deviation (RFC 6298 2), ns. */
struct expectation {
	double usual, deviation;
	unsigned seen;
};
void expectation_learn(struct expectation *e, int64_t took);
/* After how long an answer is so late that another endpoint is worth asking; 0: too
 * little is known. */
int64_t expectation_late(const struct expectation *e);

struct worker {
	unsigned index;
	struct board *board;
	struct board_worker *part;
	struct board_live live;
	struct net_loop *loop;
	struct snapshot *snap, *pending;
	int64_t pending_until, pending_from; /* by defaults then; not tried again before */
	struct h2_context down;
	struct dc_pool *pool;
	struct rds_client *rds;
	struct cache *cache;
	struct net_listener *listener[CONF_MAX_LISTENERS];
	struct listener_user {
		struct worker *w;
		unsigned index;
	} listener_user[CONF_MAX_LISTENERS];
	struct net_watch *commands;
	struct net_timer drain_timer, tick;
	bool draining;
	int exit_code;
	struct addresses *addresses;  /* connections by client address */
	struct list waiting;          /* connections whose PROXY header is on its way */
	size_t waiting_count;
	size_t most_clients;          /* limits.connections, or what the descriptors allow */
	size_t evicted;               /* idle ones closed in this turn to make room */
	int64_t shed_after;           /* when to look again for who holds the memory */
	size_t own_descriptors;       /* open before the first client */
	struct budget budget, hedges; /* of the node's retries; of hedges for lateness, which need both */
	struct expectation expect[CONF_MAX_FEATURES]; /* of the configuration in force */
	uint64_t random;              /* xorshift state: jitter and choice, not secrets */
	uint64_t hash_seed;
	char id[17];                  /* of the next request: 16 hexadecimal digits */
	const unsigned char *secret, *ticket_key;
	int command_fd;
	const int *listen_fd;
	size_t exchanges;             /* under way */
	uint32_t others[CONF_MAX_DATACENTERS]; /* in flight at other workers, as of this turn; where there is a limit */
	size_t peak, peak_bytes;      /* most connections, most bytes of bodies, since memory was trimmed */
	int64_t busy_before;          /* loop time already counted, ns */
};

uint64_t worker_random(struct worker *w);
/* Takes a retry from the node's budget, or counts that there was none. `provoked`: what an
 * endpoint made of the request is the reason, which a client can bring about; some are kept
 * for other reasons. */
bool worker_retry(struct worker *w, bool provoked);
/* What the turn gathered leaves, on both sides. */
void worker_pump(struct worker *w);

/* One client connection. owned by: its session (as owner); freed by: on_closed */
struct downstream {
	struct worker *w;
	struct h2_session *session;
	uint64_t address_key;
	uint64_t judged;  /* generation of the configuration by which it is trusted or not */
	bool trusted, tls;
	uint64_t covered; /* hash of the last host found covered by our certificate */
	uint64_t salt;    /* random: spreads those nobody can tell apart */
	char text[INET6_TEXT]; /* peer address for x-forwarded-for */
};

bool downstream_init(struct worker *w);
/* After every change of the configuration. */
void downstream_limit(struct worker *w);
void downstream_finish(struct worker *w);
/* Every turn: while memory is scarce the client that holds the most of it goes, one at a time. */
void downstream_shed(struct worker *w);
void downstream_accept(void *user, struct net_accepted a);
void downstream_closed(void *owner, enum fault fault);
/* Is it the gateway's, by the configuration in force? After a reload that may differ. */
void downstream_judge(struct downstream *d);

enum xchg_state {
	XCHG_ROUTING,   /* the head is being looked at */
	XCHG_WAITING,   /* forwarded, no response head yet */
	XCHG_STREAMING, /* the response is on its way */
	XCHG_LOOKING,   /* recent state is being fetched */
	XCHG_ANSWERED,  /* our own answer is on its way */
	XCHG_OVER,      /* recorded; waits for its streams to be closed */
};

/* One try under way. */
struct attempt {
	struct h2_stream *up;
	int64_t at;
	int endpoint;
	uint8_t number; /* 1: the first */
	bool owed;      /* dc_pool_result is */
	bool counted;   /* as under way */
	bool blamed;    /* its failure has been told */
};

/* owned by: the worker, reached through the user pointers of its streams
 * freed by: settle() in exchange.c once every stream has closed and no lookup is out */
struct xchg {
	uint32_t magic;
	enum xchg_state state;
	struct worker *w;
	struct downstream *client; /* NULL once the downstream stream has closed */
	struct snapshot *snap;
	const struct conf_feature *feature;
	struct h2_stream *down, *up;
	unsigned attempts_open; /* upstream streams, abandoned ones included */
	bool looking;           /* a cache_get is out */
	struct net_timer timer;
	/* the request */
	struct degrade_request ask;
	struct degrade_decision decision;
	struct h2_field *field; /* as sent upstream */
	uint16_t fields;
	const char *method, *target, *identity;
	const struct h2_field *authorization;
	uint32_t method_len, target_len, identity_len;
	uint16_t path_len;
	bool is_head, idempotent, grpc, connect, request_no_store, request_range, authorized;
	bool unkeyed;           /* the key of recent state would not cover what varies */
	const struct h2_field *scheme, *authority;
	const struct h2_field *vary[3]; /* accept, accept-encoding, accept-language */
	struct buf replay;      /* request body kept for another try */
	bool replay_lost;
	/* the attempts */
	struct dc_want want;
	bool attempting;        /* dc_pool_result is owed */
	bool counted;           /* as under way, by load_begin */
	bool blamed;            /* its failure has been told, though it still waits */
	uint8_t attempt_number; /* of the current one */
	struct attempt other;   /* asked beside the current one: whichever answers first is it */
	int64_t deadline;       /* the client's, 0: none */
	struct h2_field *left[2]; /* the fields that say upstream what is left of it: gRPC's, the configured one */
	enum fault breaking;    /* why the answer is cut, or is to be: its end is due later */
	bool outwait;           /* recent state is looked for only because of a silence */
	int64_t hedge_due;      /* when to ask another, 0: not for lateness alone */
	bool asked, shed;       /* counted as demand, as kept out by overload */
	unsigned interims;      /* of the current attempt, passed on */
	int endpoint;           /* of the last attempt, -1: none */
	struct snapshot *via;   /* the configuration the endpoint belongs to; NULL before the first attempt */
	int64_t started, attempt_at, head_at;
	/* the answer */
	int status;
	enum fault fault;
	enum tm_outcome outcome;
	bool capture;
	struct cache_key key;
	struct buf captured;
	struct h2_field *kept;
	uint16_t kept_count;
	char id[17];
};

/* request.c: reads the head of x->down. FAULT_NONE, or what to refuse it with. */
enum fault request_read(struct xchg *x);
bool request_key(struct xchg *x, struct cache_key *key);
/* Who asks, as far as it can be told: the same for all features that get the same Authorization,
 * else the identity; `otherwise` when there is neither. For affinity and cohorts: no state is ever
 * filed under it. */
uint64_t request_user(const struct xchg *x, uint64_t seed, uint64_t otherwise);
/* Ends `to` as `from` has ended: with its trailers, those that may go on. False: no memory,
 * and `to` must not look whole. */
bool finish_alike(struct h2_stream *to, struct h2_stream *from);

/* attempt.c */
/* Chooses an endpoint and sends it the request as far as it has come. FAULT_NONE, or why
 * nothing was sent. */
enum fault attempt_start(struct xchg *x);
/* May this request be tried once more after `fault`? Takes from the retry budget. */
bool attempt_again(struct xchg *x, enum fault fault);
/* Is there an endpoint, untried or the current one's, that is not known to have failed? */
bool attempt_well_left(const struct xchg *x);
/* Recent state was looked for, as the only endpoint was silent, and there is none: may that one be
 * asked after all? Only soon, since it is waited for then. Takes from the retry budget. */
bool attempt_the_same(struct xchg *x);
/* The current attempt, which still waits, tells this about its endpoint now and nothing later but an answer. */
void attempt_blame(struct xchg *x, enum fault fault);
/* Sends on what has arrived of the request body, keeping a copy for another try. */
void attempt_body(struct xchg *x);
/* The request has ended: with its trailers, if it has any. */
void attempt_finish(struct xchg *x);
/* No copy of the request body any more: a body that was begun is not tried again. */
void attempt_keep_nothing(struct xchg *x);
/* Says once per attempt what it tells about the endpoint. */
void attempt_over(struct xchg *x, enum fault fault);
/* ns from the beginning of the attempt to its head, without what the client took for its request;
 * 0: no head yet. */
int64_t attempt_head_after(const struct xchg *x, int64_t began);
/* The head was well and said so, but what followed was not: the answer broke off, or (once it has
 * ended) its trailers are those of a gRPC error of the server's. Says so about the endpoint, unless
 * the client may be the cause. */
void attempt_spoilt(struct xchg *x, enum fault fault);
void attempt_ended(struct xchg *x);
/* The head that came on the current attempt says that the endpoint cannot serve it now, and
 * another may: the attempt is over. Takes from the retry budget; not when one is under way. */
bool attempt_turned_away(struct xchg *x);
/* Lets go of the current attempt; its stream is released when it has closed. */
void attempt_abandon(struct xchg *x, enum fault fault);
/* The other attempt becomes the current one, and the reverse. */
void attempt_swap(struct xchg *x);
/* Lets go of the other attempt, the current one having answered. */
void attempt_drop_other(struct xchg *x);
/* The same once its head went down: what was submitted there is in its memory, which
 * stays until the client's stream is over. */
void attempt_cancel(struct xchg *x, enum fault fault);
/* How long a response head may take, ns. */
int64_t attempt_patience(const struct xchg *x);

/* deadline.c */
/* Reads a time to answer: 1 to 8 digits and a unit (gRPC over HTTP/2, "Timeout"); `plain`: or
 * digits alone, milliseconds. False: it is neither. */
bool deadline_parse(const char *text, size_t len, bool plain, int64_t *ns);
/* The same the other way, never more than `ns`. Returns the length. */
size_t deadline_format(int64_t ns, bool plain, char text[16]);
/* Takes the deadline from x->field. */
void deadline_read(struct xchg *x);
/* Writes what is left into the fields that go upstream. False: no memory. */
bool deadline_pass_on(struct xchg *x);
/* The earlier of `at` and the deadline. */
int64_t deadline_or(const struct xchg *x, int64_t at);
static inline bool deadline_over(const struct xchg *x, int64_t now) { return x->deadline && now >= x->deadline; }

/* hedge.c */
/* When to ask another endpoint if no answer has come; 0: never for lateness alone. */
int64_t hedge_moment(const struct xchg *x);
/* The connection of the current attempt may be dead, or (late) its answer is later than
 * usual: asks another endpoint as well, if that is safe and within the budgets. */
void hedge_start(struct xchg *x, bool late);
/* A head came on the current attempt. */
void hedge_learn(struct xchg *x);

/* load.c */
/* Every turn: what the other workers have under way. */
void load_turn(struct worker *w);
/* A new configuration numbers datacenters anew. What is under way is forgotten. */
void load_forget(struct worker *w);
/* Some datacenter is near what it takes: no time for requests that are not needed. */
bool load_limited(const struct worker *w);
/* The endpoints (a bit each) of datacenters without room for this request. */
uint64_t load_full(const struct xchg *x);
/* A decision was made: counts demand, and what overload keeps out. */
void load_decided(struct xchg *x);
/* An attempt at x->endpoint has been sent the whole request; it is over (once, as attempt_over). */
void load_begin(struct xchg *x);
void load_over(struct xchg *x, enum fault fault);

/* response.c */
/* Adds what a final response must have on its way down. False: no memory; it may go on
 * without, but not be kept. */
bool response_complete(struct xchg *x, struct h2_head *h);
bool response_failed_over(struct xchg *x, struct h2_head *h);
void response_capture_begin(struct xchg *x, const struct h2_head *h);
void response_capture_end(struct xchg *x);

/* answer.c: they end the exchange's work on the answer. */
void answer_refuse(struct xchg *x, enum fault fault);
/* The answer under way ends here, unfinished, with what makes its client ask again if
 * anything does: UNAVAILABLE for gRPC (or what the fault says there), for server-sent events
 * the end of the stream, else a reset. */
void answer_break_off(struct xchg *x, enum fault fault);
/* The head of the current attempt is that of a gRPC answer. */
bool answer_is_grpc(const struct xchg *x);
/* How long the end of a long-lived answer waits, ns: its clients must not all come back in
 * one instant. 0 for others. */
int64_t answer_spread(struct xchg *x);
void answer_stale(struct xchg *x, struct cache_answer *a);
/* IMF-fixdate (RFC 9110 5.6.7) of this second, 29 octets; the memory stays, its text moves on. */
const char *http_date(void);

/* record.c */
void record_exchange(struct xchg *x);

/* exchange.c */
void xchg_on_stream(void *owner, struct h2_stream *st);
void xchg_on_down(struct h2_stream *st, uint32_t what);
void xchg_on_up(struct h2_stream *st, uint32_t what);
/* Octets an exchange holds beside its client's stream. */
size_t xchg_held(const struct h2_stream *down);

/* The request's feature in the configuration in force, which may not be the one it began under. */
static inline uint8_t xchg_feature(const struct xchg *x)
{
	return x->snap == x->w->snap ? x->ask.feature : snapshot_feature(x->w->snap, x->feature->name);
}

/* The value of a content-length: digits only, the codec has checked. */
static inline uint64_t decimal(const struct h2_field *f)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < f->value_len && i < 19; i++)
		v = v * 10 + (uint64_t)(f->value[i] - '0');
	return v;
}

#endif
