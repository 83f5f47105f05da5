/* SPDX-License-Identifier: MIT */
/*
 * The client and its breaker. A command is taken only while UP; in every other state
 * the answer is "no" at once, so a dead, hung or loading Redis costs its users
 * nothing but the one deadline that found out.
 *
 *           retry timer               addresses              TLS done
 *   DOWN ----------------> RESOLVING ------------> CONNECTING --------> GREETING
 *    ^                         |                       |                   |  AUTH, SELECT, PING
 *    |     nothing found       |   refused, too late   |  refused, error   |  all answered well
 *    +-------------------------+-----------------------+-------------------+
 *    |                                                                     v
 *    +--------------- timeout, EOF, garbage, LOADING ... ------------------ UP
 *
 * The wait in DOWN doubles from 100 ms to 5 s, jittered, so that many workers do not
 * return in step; it starts over once a connection has been good for a while.
 * The PING in the greeting is the half-open probe: one, by us, never a user's command.
 *
 * Address choice is choose() alone; connection is link.c.
 */
#include "redis_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"

#define RETRY_MIN_MS  100
#define RETRY_MAX_MS  5000
#define GOOD_FOR      (10 * CLOCK_SEC) /* a connection that lasted this long was no mistake */
#define ADDRESSES_MAX 8

#define RDS_STATES(X) X(DOWN) X(RESOLVING) X(CONNECTING) X(GREETING) X(UP)
enum state {
#define X(name) STATE_##name,
	RDS_STATES(X)
#undef X
};

/* owned by: the worker (or control process); freed by: rds_destroy */
struct rds_client {
	struct net_loop *loop;
	struct tm_worker *tm;
	struct conf_redis conf; /* strings are ours */
	char *sni;
	struct net_tls *tls;
	enum state state;
	struct rds_link *link;       /* CONNECTING, GREETING, UP */
	struct net_resolve *resolve; /* RESOLVING */
	struct net_timer retry;      /* DOWN */
	unsigned attempts, failures;
	uint64_t random;
	int64_t up_since;
	int64_t pumped; /* the turn rds_pump ran in last */
	bool told;      /* the log knows that it is down ... */
	bool told_why;  /* ... and what it answered to the greeting */
	uint32_t told_errors; /* bits of enum rds_error: said of this connection */
	bool closing;   /* in rds_destroy */
};

/* What net says about a connection is evidence about datacenters elsewhere; here all
 * of it means that Redis is down. */
static void count(struct rds_client *r, enum fault fault)
{
	switch (fault) {
	case FAULT_REDIS_TIMEOUT: case FAULT_REDIS_ERROR: case FAULT_REDIS_PROTOCOL: case FAULT_REDIS_FULL: case FAULT_NO_MEMORY:
		break;
	default:
		fault = FAULT_REDIS_DOWN;
	}
	if (r->tm)
		r->tm->fault[fault]++;
}

static void set_state(struct rds_client *r, enum state to)
{
	static const unsigned from[] = {
		[STATE_DOWN] = 1 << STATE_DOWN | 1 << STATE_RESOLVING | 1 << STATE_CONNECTING | 1 << STATE_GREETING | 1 << STATE_UP,
		[STATE_RESOLVING] = 1 << STATE_DOWN,
		[STATE_CONNECTING] = 1 << STATE_RESOLVING,
		[STATE_GREETING] = 1 << STATE_CONNECTING,
		[STATE_UP] = 1 << STATE_GREETING,
	};

	(void)CHECK(from[to] & 1u << r->state);
	r->state = to;
	if (r->tm)
		tm_set(r->tm, TM_REDIS_UP, to == STATE_UP);
}

/* ---- down, and when to try again ---- */

static int64_t retry_delay(struct rds_client *r)
{
	int64_t ms = RETRY_MIN_MS << (r->failures < 6 ? r->failures : 6);

	if (ms > RETRY_MAX_MS)
		ms = RETRY_MAX_MS;
	r->random ^= r->random << 13; /* xorshift64 (Marsaglia 2003) */
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return (ms * 4 / 5 + (int64_t)(r->random % (uint64_t)(ms * 2 / 5))) * CLOCK_MS; /* +-20 % */
}

static void go_down(struct rds_client *r, enum fault fault, const char *why)
{
	bool was_up = r->state == STATE_UP;

	if (was_up && clock_now() - r->up_since > GOOD_FOR)
		r->failures = 0;
	set_state(r, STATE_DOWN);
	if (r->closing)
		return;
	count(r, fault);
	if (!r->told || was_up)
		log_event(LOG_LEVEL_WARN, "redis.down", "address", r->conf.address, "fault", fault_info(fault)->word,
			  why ? "why" : NULL, why, NULL);
	r->told = true;
	net_timer_arm(r->loop, &r->retry, clock_now() + retry_delay(r));
	r->failures++;
}

/* READONLY, OOM, MOVED and the like are an operator's to mend: each is told once for a
 * connection, however many commands it costs. */
static void on_error(void *owner, const struct rds_reply *reply)
{
	struct rds_client *r = owner;
	uint32_t bit = UINT32_C(1) << reply->error;

	count(r, FAULT_REDIS_ERROR);
	if (r->state != STATE_UP || r->told_errors & bit)
		return;
	r->told_errors |= bit;
	log_event(LOG_LEVEL_WARN, "redis.error", "address", r->conf.address, "why", reply->text, NULL);
}

static void on_down(void *owner, enum fault fault)
{
	go_down(owner, fault, NULL);
}

static void on_gone(void *owner)
{
	struct rds_client *r = owner;

	r->link = NULL;
}

/* ---- greeting ---- */

static void greeting_failed(struct rds_client *r, const struct rds_reply *reply)
{
	struct rds_link *l = r->link;

	if (!r->told_why)
		log_event(LOG_LEVEL_WARN, "redis.refused", "address", r->conf.address, "why", reply->text ? reply->text : "unexpected reply", NULL);
	r->told = r->told_why = true;
	rds_link_close(l, FAULT_REDIS_ERROR);
}

static void on_must_succeed(void *user, const struct rds_reply *reply, enum fault fault)
{
	if (reply && fault != FAULT_NONE)
		greeting_failed(user, reply);
}

static void on_any(void *user, const struct rds_reply *reply, enum fault fault)
{
	(void)fault; /* a user without CLIENT rights is served all the same */
	if (reply && rds_error_unavailable(reply->error)) /* NOAUTH, LOADING: heard here first */
		greeting_failed(user, reply);
}

/* MISCONF (writes are off) and NOPERM (no right to PING) still serve reads. */
static void on_ping(void *user, const struct rds_reply *reply, enum fault fault)
{
	struct rds_client *r = user;

	(void)fault;
	if (!reply)
		return;
	if (reply->type != RDS_STATUS && reply->error != RDS_ERROR_MISCONF && reply->error != RDS_ERROR_NOPERM) {
		greeting_failed(r, reply);
		return;
	}
	set_state(r, STATE_UP);
	r->up_since = clock_now();
	r->told = r->told_why = false;
	r->told_errors = 0;
	log_event(LOG_LEVEL_INFO, "redis.up", "address", r->conf.address, NULL);
}

static bool greet(struct rds_client *r, rds_done done, const char *a, const char *b, const char *c)
{
	const char *argv[3] = { a, b, c };
	size_t lens[3] = { strlen(a), b ? strlen(b) : 0, c ? strlen(c) : 0 };

	return rds_link_command(r->link, 1 + (b != NULL) + (c != NULL), argv, lens, done, r) == FAULT_NONE;
}

static void on_open(void *owner)
{
	struct rds_client *r = owner;
	char number[16];
	bool ok = true;

	set_state(r, STATE_GREETING);
	if (r->conf.password && r->conf.username)
		ok = greet(r, on_must_succeed, "AUTH", r->conf.username, r->conf.password);
	else if (r->conf.password)
		ok = greet(r, on_must_succeed, "AUTH", r->conf.password, NULL);
	if (r->conf.database) {
		snprintf(number, sizeof(number), "%u", r->conf.database);
		ok = ok && greet(r, on_must_succeed, "SELECT", number, NULL);
	}
	ok = ok && greet(r, on_any, "CLIENT", "SETNAME", "firebreak") && greet(r, on_ping, "PING", NULL, NULL);
	if (!ok)
		rds_link_close(r->link, FAULT_NO_MEMORY);
	else
		rds_link_pump(r->link);
}

/* ---- connecting ---- */

static const struct rds_link_owner link_owner = { on_open, on_error, on_down, on_gone };

/* Which of the resolved addresses: one after the other, attempt by attempt. */
static const struct net_addr *choose(struct rds_client *r, const struct net_addr *addrs, size_t n)
{
	return &addrs[r->attempts++ % (n < ADDRESSES_MAX ? n : ADDRESSES_MAX)];
}

static void on_resolved(void *user, const struct net_addr *addrs, size_t n, uint32_t ttl_s)
{
	struct rds_client *r = user;

	(void)ttl_s; /* asked again for every connection */
	r->resolve = NULL;
	if (!n) {
		go_down(r, FAULT_REDIS_DOWN, "its name does not resolve");
		return;
	}
	set_state(r, STATE_CONNECTING);
	r->link = rds_link_connect(&(struct rds_link_params){
		.loop = r->loop, .to = choose(r, addrs, n), .tls = r->tls, .sni = r->sni,
		.connect_timeout_ms = r->conf.connect_timeout_ms, .command_timeout_ms = r->conf.command_timeout_ms,
		.max_pending = r->conf.max_pending }, &link_owner, r);
	if (!r->link)
		go_down(r, FAULT_NO_MEMORY, NULL);
}

static void on_retry(struct net_timer *t)
{
	struct rds_client *r = list_entry(t, struct rds_client, retry);
	struct net_resolve *under_way;

	set_state(r, STATE_RESOLVING);
	under_way = net_resolve(r->loop, r->conf.address, r->conf.connect_timeout_ms, on_resolved, r);
	if (r->state != STATE_RESOLVING) /* it was called back inside */
		return;
	r->resolve = under_way;
	if (!under_way)
		go_down(r, FAULT_NO_MEMORY, NULL);
}

/* ---- life ---- */

static char *copy(const char *text, bool *ok)
{
	char *p = text ? strdup(text) : NULL;

	if (text && !p)
		*ok = false;
	return p;
}

/* "host:port" -> host, "[v6]:port" -> v6; nothing for a Unix socket. */
static char *host_of(const char *address)
{
	const char *end = strrchr(address, ':');

	if (!end || !strncmp(address, "unix:", 5))
		return NULL;
	if (*address == '[' && end > address + 1 && end[-1] == ']') {
		address++;
		end--;
	}
	return strndup(address, (size_t)(end - address));
}

static bool prepare(struct rds_client *r, const struct conf_redis *c)
{
	char why[256] = "out of memory";
	bool ok = true;

	r->conf = *c;
	r->conf.address = copy(c->address, &ok);
	r->conf.username = copy(c->username, &ok);
	r->conf.password = copy(c->password, &ok);
	r->conf.ca = r->conf.server_name = NULL;
	if (r->conf.max_pending < 8)
		r->conf.max_pending = 8; /* the greeting needs four */
	if (ok && c->tls) {
		r->sni = c->server_name ? strdup(c->server_name) : host_of(c->address);
		r->tls = net_tls_client(c->ca, c->verify, false, why);
		ok = r->tls != NULL;
	}
	if (!ok)
		log_event(LOG_LEVEL_ERROR, "redis.unusable", "address", c->address, "why", why, NULL);
	return ok;
}

struct rds_client *rds_create(struct net_loop *loop, const struct conf_redis *c, struct tm_worker *tm)
{
	struct rds_client *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = loop;
	r->tm = tm;
	net_timer_init(&r->retry, on_retry);
	if (!crypt_random(&r->random, sizeof(r->random)) || !r->random)
		r->random = (uint64_t)clock_now() | 1;
	if (!prepare(r, c)) {
		rds_destroy(r);
		return NULL;
	}
	on_retry(&r->retry);
	return r;
}

void rds_destroy(struct rds_client *r)
{
	if (!r)
		return;
	r->closing = true;
	if (r->link)
		rds_link_close(r->link, FAULT_REDIS_DOWN);
	if (r->resolve)
		net_resolve_cancel(r->resolve);
	net_timer_disarm(&r->retry);
	if (r->tls)
		net_tls_put(r->tls);
	free(r->sni);
	free((char *)(uintptr_t)r->conf.address);
	free((char *)(uintptr_t)r->conf.username);
	free((char *)(uintptr_t)r->conf.password);
	if (r->tm)
		tm_set(r->tm, TM_REDIS_UP, 0);
	free(r);
}

/* ---- commands ---- */

bool rds_command(struct rds_client *r, int argc, const char *const *argv, const size_t *lens, rds_done done, void *user)
{
	enum fault fault;

	fault = r->state == STATE_UP ? rds_link_command(r->link, argc, argv, lens, done, user) : FAULT_REDIS_DOWN;
	if (fault != FAULT_NONE) {
		count(r, fault);
		return false;
	}
	if (r->tm)
		tm_add(r->tm, TM_REDIS_COMMANDS, 1);
	if (r->pumped == clock_now()) /* this turn's write is over */
		net_loop_again(r->loop);
	return true;
}

void rds_pump(struct rds_client *r)
{
	r->pumped = clock_now();
	if (r->link)
		rds_link_pump(r->link);
}

bool rds_usable(const struct rds_client *r)
{
	return r->state == STATE_UP;
}

void rds_forget(struct rds_client *r, void *user)
{
	if (r->link)
		rds_link_forget(r->link, user);
}
