/* SPDX-License-Identifier: MIT */
/*
 * Client connections: how many, how many from one address, and for listeners that
 * ask for it the PROXY header before anything else.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uthash.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"
#include "xchg_private.h"

struct addresses {
	uint64_t key;
	uint32_t count;
	UT_hash_handle hh;
};

/* A connection that owes us its PROXY header. Read exactly, so that the TLS or HTTP/2
 * bytes behind it stay in the socket. */
struct proxied {
	struct list node;
	struct worker *w;
	unsigned listener;
	int fd;
	struct net_addr peer;
	struct net_watch *watch;
	struct net_timer timer;
	size_t have;
	uint8_t bytes[16 + 536];
};

bool downstream_init(struct worker *w)
{
	list_init(&w->waiting);
	return true;
}

static uint64_t address_key(struct worker *w, const struct net_addr *a)
{
	const struct sockaddr *sa = (const struct sockaddr *)&a->sa;

	if (sa->sa_family == AF_INET)
		return crypt_hash64(&((const struct sockaddr_in *)sa)->sin_addr, 4, w->hash_seed);
	if (sa->sa_family == AF_INET6) {
		const struct in6_addr *six = &((const struct sockaddr_in6 *)sa)->sin6_addr;

		if (IN6_IS_ADDR_V4MAPPED(six)) /* as some PROXY headers have it */
			return crypt_hash64(six->s6_addr + 12, 4, w->hash_seed);
		return crypt_hash64(six, 8, w->hash_seed); /* one customer holds a /64 */
	}
	return 0; /* Unix sockets: the machine's own */
}

static bool address_take(struct worker *w, uint64_t key)
{
	uint32_t most = w->snap->conf->limits.connections_per_address;
	struct addresses *a;

	if (!key)
		return true;
	HASH_FIND(hh, w->addresses, &key, sizeof(key), a);
	if (!a) {
		a = calloc(1, sizeof(*a));
		if (!a)
			return false;
		a->key = key;
		HASH_ADD(hh, w->addresses, key, sizeof(key), a);
	}
	if (most && a->count >= most) /* counted also without a limit: a reload may bring one */
		return false;
	a->count++;
	return true;
}

static void address_give(struct worker *w, uint64_t key)
{
	struct addresses *a;

	HASH_FIND(hh, w->addresses, &key, sizeof(key), a);
	if (!a || --a->count)
		return;
	HASH_DEL(w->addresses, a);
	free(a);
}

void downstream_judge(struct downstream *d)
{
	const struct snapshot *snap = d->w->snap;

	if (d->judged == snap->conf->generation)
		return;
	d->judged = snap->conf->generation;
	d->trusted = snapshot_trusts(snap, h2_session_peer(d->session));
}

static void start(struct worker *w, unsigned listener, int fd, const struct net_addr *peer)
{
	struct downstream *d;
	uint64_t key = address_key(w, peer);

	if (!address_take(w, key)) {
		w->part->tm.fault[FAULT_ADDRESS_FULL]++;
		close(fd);
		return;
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		address_give(w, key);
		close(fd);
		return;
	}
	d->w = w;
	d->address_key = key;
	d->salt = worker_random(w);
	d->tls = w->snap->tls[listener] != NULL;
	if (key)
		net_addr_print(peer, true, d->text, sizeof(d->text));
	else
		memcpy(d->text, "unknown", 8); /* a Unix socket (RFC 7239 6.2) */
	d->session = h2_accept(&w->down, fd, peer, w->snap->tls[listener], d);
	if (!d->session) {
		address_give(w, key);
		free(d);
		return;
	}
	tm_add(&w->part->tm, TM_DOWNSTREAM_CONNECTIONS, 1);
}

void downstream_closed(void *owner, enum fault fault)
{
	struct downstream *d = owner;

	address_give(d->w, d->address_key);
	free(d);
}

static void proxied_end(struct proxied *p)
{
	net_unwatch(p->watch);
	net_timer_disarm(&p->timer);
	list_remove(&p->node);
	p->w->waiting_count--;
	free(p);
}

static void proxied_fail(struct proxied *p, enum fault f)
{
	p->w->part->tm.fault[f]++;
	close(p->fd);
	proxied_end(p);
}

static void on_proxied_timer(struct net_timer *t)
{
	proxied_fail(list_entry(t, struct proxied, timer), FAULT_HANDSHAKE_TIMEOUT);
}

static void on_proxied_bytes(void *arg)
{
	struct proxied *p = arg;
	size_t need = 16;
	ssize_t n;
	int used;

	if (p->have >= 16)
		need = 16 + ((size_t)p->bytes[14] << 8 | p->bytes[15]);
	if (need > sizeof(p->bytes)) {
		proxied_fail(p, FAULT_PROXY_PROTOCOL);
		return;
	}
	n = recv(p->fd, p->bytes + p->have, need - p->have, MSG_DONTWAIT);
	if (n <= 0 && need > p->have) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			proxied_fail(p, FAULT_PROXY_PROTOCOL);
		return;
	}
	p->have += (size_t)(n > 0 ? n : 0);
	used = net_proxy_v2(p->bytes, p->have, &p->peer);
	if (used < 0) {
		proxied_fail(p, FAULT_PROXY_PROTOCOL);
	} else if (used > 0) {
		int fd = p->fd;
		struct net_addr peer = p->peer;
		struct worker *w = p->w;
		unsigned listener = p->listener;

		proxied_end(p);
		start(w, listener, fd, &peer);
	}
}

static void await_proxy_header(struct worker *w, unsigned listener, const struct net_accepted *a)
{
	struct proxied *p = calloc(1, sizeof(*p));

	if (!p) {
		close(a->fd);
		return;
	}
	p->w = w;
	p->listener = listener;
	p->fd = a->fd;
	p->peer = a->peer;
	list_append(&w->waiting, &p->node);
	w->waiting_count++;
	net_timer_init(&p->timer, on_proxied_timer);
	net_timer_arm(w->loop, &p->timer, clock_now() + w->snap->conf->limits.handshake_timeout_ms * CLOCK_MS);
	p->watch = net_watch(w->loop, p->fd, on_proxied_bytes, p);
	if (!p->watch)
		proxied_fail(p, FAULT_NO_MEMORY);
}

/* Clients must not take the descriptors that answering them needs: some are left for
 * every endpoint. */
void downstream_limit(struct worker *w)
{
	const struct conf *conf = w->snap->conf;
	size_t kept = 8 + conf->endpoints * (1 + (conf->limits.upstream_spares < 3 ? conf->limits.upstream_spares : 3));
	struct rlimit most;

	w->most_clients = conf->limits.connections;
	if (getrlimit(RLIMIT_NOFILE, &most) || w->own_descriptors + kept + w->most_clients <= most.rlim_cur)
		return;
	w->most_clients = w->own_descriptors + kept < most.rlim_cur ? most.rlim_cur - w->own_descriptors - kept : 1;
	log_event(LOG_LEVEL_WARN, "connections.limited", "why", "limits.connections needs more descriptors than RLIMIT_NOFILE gives", NULL);
}

#define LOOKED_AT 64 /* connections, to find an idle one */
#define EVICTIONS 4  /* in a turn: what is closed keeps its descriptor until the turn's end */

/* Who asks now is worth more than who holds a connection and asks for nothing: the one
 * without streams for longest makes room. Who was looked at and stays goes behind the
 * others, so that the next look sees different ones. */
static bool make_room(struct worker *w)
{
	struct h2_session *s, *idlest = NULL;
	int64_t longest = 0;
	struct list *node;
	size_t i, n = w->down.count < LOOKED_AT ? w->down.count : LOOKED_AT;

	if (w->evicted >= EVICTIONS)
		return false;
	for (i = 0; i < n; i++) {
		node = list_pop(&w->down.sessions);
		list_append(&w->down.sessions, node);
		s = h2_session_from_node(node);
		if (h2_session_idle(s) > longest) {
			longest = h2_session_idle(s);
			idlest = s;
		}
	}
	if (!idlest)
		return false;
	h2_close(idlest, FAULT_CONNECTIONS_FULL);
	w->evicted++;
	return true;
}

void downstream_accept(void *user, struct net_accepted a)
{
	struct listener_user *u = user;
	struct worker *w = u->w;
	const struct conf_listener *l = &w->snap->conf->listener[u->index];

	if (w->down.count + w->waiting_count >= w->most_clients + w->evicted && !make_room(w)) {
		w->part->tm.fault[FAULT_CONNECTIONS_FULL]++;
		close(a.fd);
	} else if (!l->proxy_protocol) {
		start(w, u->index, a.fd, &a.peer);
	} else if (!snapshot_trusts(w->snap, &a.peer)) {
		w->part->tm.fault[FAULT_PROXY_PROTOCOL]++;
		close(a.fd);
	} else {
		await_proxy_header(w, u->index, &a);
	}
}

/* Less is not worth closing a connection for. */
#define MUCH (64 * 1024)
/* Ten times what it takes to look at a connection, or a stream of one: however many there
 * are, and however long memory stays scarce, looking costs a tenth of the time. */
#define LOOK_NS 500

/* One at a time: what it held is free before the next look. Others' requests must not
 * fail for want of what a few keep in shut windows. */
void downstream_shed(struct worker *w)
{
	struct h2_session *s, *worst = NULL;
	size_t held, most = MUCH;
	struct list *node;

	if (!buf_scarce() || clock_now() < w->shed_after)
		return;
	w->shed_after = clock_now() + (int64_t)(w->down.count + w->exchanges) * LOOK_NS;
	for (node = w->down.sessions.next; node != &w->down.sessions; node = node->next) {
		s = h2_session_from_node(node);
		held = h2_session_held(s, xchg_held);
		if (held > most) {
			most = held;
			worst = s;
		}
	}
	if (worst)
		h2_close(worst, FAULT_MEMORY_HELD);
}

void downstream_finish(struct worker *w)
{
	while (!list_empty(&w->waiting))
		proxied_fail(list_entry(w->waiting.next, struct proxied, node), FAULT_SHUTTING_DOWN);
}
