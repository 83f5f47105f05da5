/* SPDX-License-Identifier: MIT */
/*
 * Names to addresses without blocking: numeric ones and those of /etc/hosts at once, then
 * evdns asks the configured resolver, or the servers of /etc/resolv.conf. Both files are
 * looked at again for each request, so that a changed one is used without a restart.
 *
 *   asking A and AAAA ──both answered──────────────────────────▶ told, and kept
 *        │    └──one answered, the other not within 250 ms─────▶ told, and kept
 *        ├──────nothing that helps: refused, NXDOMAIN ─────────▶ told what was kept
 *        └──────time over ─────────────────────────────────────▶ told what was kept;
 *                                                               a late answer is still kept
 *
 * The last good answer of each name is kept here, for all who ask on this loop: who begins
 * to ask while DNS is gone (a reload, a reconnecting client) has it too. A name that is
 * said not to exist keeps it as well: a zone lost by mistake is commoner than a datacenter
 * removed by DNS alone, and checks find out what is at an address.
 *
 * Not here: when to ask again (the caller, by the time to live it is told).
 */
#include "net_private.h"

#include <event2/dns.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define FAMILY_MAX    8   /* addresses of one family */
#define NAMES_MAX     128 /* names whose answers are kept: 64 endpoints and Redis use half of it */
#define SKEW          (250 * CLOCK_MS)
#define RESOLVE_MAGIC 0x7265736f

const char *resolve_conf_path = "/etc/resolv.conf", *resolve_hosts_path = "/etc/hosts";

enum family { V4, V6, FAMILIES };

struct addresses {
	size_t n;
	uint8_t at[FAMILY_MAX][16];
};

/* owned by: loop->names, the last asked first; freed by: resolve_loop_finish, or when there are too many */
struct kept {
	struct list node;
	struct addresses family[FAMILIES];
	char host[];
};

struct question {
	struct net_resolve *r;
	struct evdns_request *request; /* NULL: evdns has let go */
	bool denied;                   /* answered: there is none */
	struct addresses answer;
};

/*
 * owned by: this file; the caller may cancel until `done` was called
 * freed by: the reaper once evdns has let go of both questions
 */
struct net_resolve {
	struct net_reap reap;
	struct list node; /* on loop->resolving while evdns holds it */
	uint32_t magic;
	struct net_loop *loop;
	struct question question[FAMILIES];
	void (*done)(void *user, const struct net_addr *addrs, size_t n, uint32_t ttl_s);
	void *user;
	struct net_timer deadline;
	uint32_t ttl_s;
	uint16_t port;
	bool silent;
	char host[256];
};

/* ---- whom to ask ---- */

static int64_t changed(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : (int64_t)st.st_mtim.tv_sec * CLOCK_SEC + st.st_mtim.tv_nsec;
}

void net_loop_resolver(struct net_loop *loop, const char *address)
{
	snprintf(loop->resolver, sizeof(loop->resolver), "%s", address ? address : "");
	loop->dns_changed = -1; /* whatever the file's time */
}

/* evdns, told anew whom to ask when that has changed; what is under way asks them, too. */
static struct evdns_base *dns_of(struct net_loop *loop)
{
	int64_t now = *loop->resolver ? 0 : changed(resolve_conf_path);

	if (loop->dns && loop->dns_changed == now)
		return loop->dns;
	if (!loop->dns)
		loop->dns = evdns_base_new(loop->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!loop->dns)
		return NULL;
	loop->dns_changed = now;
	evdns_base_clear_nameservers_and_suspend(loop->dns);
	evdns_base_search_clear(loop->dns);
	/* The results only say that there are no servers: then nothing is answered. */
	if (*loop->resolver)
		evdns_base_nameserver_ip_add(loop->dns, loop->resolver);
	else
		evdns_base_resolv_conf_parse(loop->dns, DNS_OPTIONS_ALL & ~DNS_OPTION_HOSTSFILE, resolve_conf_path);
	/* A lost packet is sent again well within the time a caller gives; what comes after that
	 * time is still taken, for whoever asks next. */
	evdns_base_set_option(loop->dns, "timeout:", "0.5");
	evdns_base_set_option(loop->dns, "attempts:", "10");
	evdns_base_set_option(loop->dns, "max-inflight:", "256");
	evdns_base_resume(loop->dns);
	return loop->dns;
}

/* ---- the last good answers ---- */

static struct kept *kept_find(struct net_loop *loop, const char *host)
{
	struct list *node;

	for (node = loop->names.next; node != &loop->names; node = node->next) {
		struct kept *k = list_entry(node, struct kept, node);

		if (!strcasecmp(k->host, host))
			return k;
	}
	return NULL;
}

static void kept_drop(struct net_loop *loop, struct kept *k)
{
	list_remove(&k->node);
	loop->names_count--;
	free(k);
}

/* NULL: out of memory. */
static struct kept *kept_open(struct net_loop *loop, const char *host)
{
	size_t len = strlen(host) + 1;
	struct kept *k = kept_find(loop, host);

	if (k) {
		list_remove(&k->node);
		list_append(loop->names.next, &k->node);
		return k;
	}
	k = calloc(1, sizeof(*k) + len);
	if (!k)
		return NULL;
	memcpy(k->host, host, len);
	list_append(loop->names.next, &k->node);
	if (++loop->names_count > NAMES_MAX)
		kept_drop(loop, list_entry(loop->names.prev, struct kept, node));
	return k;
}

/* Of a family that was not answered the last good addresses stay; those of one that has none
 * go, unless that would leave nothing. */
static void keep(struct kept *k, const struct net_resolve *r)
{
	enum family f;

	for (f = V4; f < FAMILIES; f++) {
		if (r->question[f].answer.n || r->question[f].denied)
			k->family[f] = r->question[f].answer;
	}
}

static struct net_addr address(enum family f, const uint8_t bytes[16], uint16_t port)
{
	struct net_addr a = { 0 };
	struct sockaddr_in *v4 = (void *)&a.sa;
	struct sockaddr_in6 *v6 = (void *)&a.sa;

	if (f == V4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, bytes, 4);
		a.len = sizeof(*v4);
	} else {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		memcpy(&v6->sin6_addr, bytes, 16);
		a.len = sizeof(*v6);
	}
	return a;
}

/* ---- one request ---- */

static void resolve_free(struct net_reap *item)
{
	free(list_entry(item, struct net_resolve, reap));
}

/* Keeps what was learned, and tells the caller, once: that, else what was known. */
static void tell(struct net_resolve *r)
{
	struct net_addr addrs[FAMILIES * FAMILY_MAX];
	bool good = r->question[V4].answer.n || r->question[V6].answer.n;
	struct kept *k = good ? kept_open(r->loop, r->host) : kept_find(r->loop, r->host);
	size_t n = 0, i;
	enum family f;

	if (k && good)
		keep(k, r);
	if (r->silent)
		return;
	r->silent = true;
	net_timer_disarm(&r->deadline);
	for (f = V4; k && f < FAMILIES; f++)
		for (i = 0; i < k->family[f].n; i++)
			addrs[n++] = address(f, k->family[f].at[i], r->port);
	r->done(r->user, addrs, n, good ? r->ttl_s : NET_TTL_LEAST);
}

static void on_answer(int error, char type, int count, int ttl, void *addresses, void *arg)
{
	struct question *q = arg;
	struct net_resolve *r = q->r;
	size_t size = q == &r->question[V4] ? 4 : 16, i;
	bool good = error == DNS_ERR_NONE && count > 0 && type == (size == 4 ? DNS_IPv4_A : DNS_IPv6_AAAA);

	if (!CHECK(r->magic == RESOLVE_MAGIC))
		return;
	loop_tick(r->loop);
	q->request = NULL;
	q->denied = error == DNS_ERR_NODATA || error == DNS_ERR_NOTEXIST;
	for (i = 0; good && i < (size_t)count && i < FAMILY_MAX; i++)
		memcpy(q->answer.at[q->answer.n++], (char *)addresses + i * size, size);
	if (good && ttl >= 0 && (uint32_t)ttl < r->ttl_s)
		r->ttl_s = (uint32_t)ttl < NET_TTL_LEAST ? NET_TTL_LEAST : (uint32_t)ttl;
	if (!r->question[V4].request && !r->question[V6].request) {
		tell(r);
		list_remove(&r->node);
		net_reap(r->loop, &r->reap);
	} else if (good && !r->silent && r->deadline.deadline > clock_now() + SKEW) {
		net_timer_arm(r->loop, &r->deadline, clock_now() + SKEW);
	}
}

static void on_deadline(struct net_timer *t)
{
	tell(list_entry(t, struct net_resolve, deadline));
}

/* The questions stay out, for at most as long as evdns repeats them. */
void net_resolve_cancel(struct net_resolve *r)
{
	if (!r || r->silent)
		return;
	r->silent = true;
	net_timer_disarm(&r->deadline);
}

void resolve_loop_finish(struct net_loop *loop)
{
	struct list *node;
	enum family f;
	int i;

	for (node = loop->resolving.next; node != &loop->resolving; node = node->next) {
		struct net_resolve *r = list_entry(node, struct net_resolve, node);

		net_resolve_cancel(r);
		for (f = V4; f < FAMILIES; f++)
			if (r->question[f].request)
				evdns_cancel_request(loop->dns, r->question[f].request);
	}
	/* evdns lets go in callbacks of its own. */
	for (i = 0; i < 10 && !list_empty(&loop->resolving); i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	if (loop->dns)
		evdns_base_free(loop->dns, 0);
	loop->dns = NULL;
	while (!list_empty(&loop->names))
		kept_drop(loop, list_entry(loop->names.next, struct kept, node));
}

/* ---- asking ---- */

/* "name:port" into its parts. */
static bool split(const char *text, char host[256], uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	char *end;
	unsigned long v;

	if (!len || len > 253 || memchr(text, ':', len) || colon[1] < '0' || colon[1] > '9')
		return false;
	v = strtoul(colon + 1, &end, 10);
	if (*end || v > 65535)
		return false;
	memcpy(host, text, len);
	host[len] = 0;
	*port = (uint16_t)v;
	return true;
}

/* Both questions. False: none could be asked. */
static bool ask(struct net_resolve *r)
{
	struct question *q = r->question;

	q[V4].request = evdns_base_resolve_ipv4(r->loop->dns, r->host, 0, on_answer, &q[V4]);
	q[V6].request = evdns_base_resolve_ipv6(r->loop->dns, r->host, 0, on_answer, &q[V6]);
	return q[V4].request || q[V6].request;
}

static bool at_once(const char *name_port, const char *host, uint16_t port,
		    void (*done)(void *user, const struct net_addr *addrs, size_t n, uint32_t ttl_s), void *user)
{
	struct net_addr addrs[FAMILIES * FAMILY_MAX];
	size_t n, i;

	if (net_addr_parse(&addrs[0], name_port)) {
		done(user, addrs, 1, NET_TTL_MOST);
		return true;
	}
	n = *host ? hosts_find(resolve_hosts_path, host, addrs, FAMILIES * FAMILY_MAX) : 0;
	for (i = 0; i < n; i++) {
		if (addrs[i].sa.ss_family == AF_INET)
			((struct sockaddr_in *)&addrs[i].sa)->sin_port = htons(port);
		else
			((struct sockaddr_in6 *)&addrs[i].sa)->sin6_port = htons(port);
	}
	if (n)
		done(user, addrs, n, NET_TTL_HOSTS);
	return n > 0;
}

struct net_resolve *net_resolve(struct net_loop *loop, const char *name_port, uint32_t timeout_ms,
				void (*done)(void *user, const struct net_addr *addrs, size_t n, uint32_t ttl_s), void *user)
{
	struct net_resolve *r;
	char host[256] = "";
	uint16_t port = 0;
	bool named = split(name_port, host, &port);

	if (at_once(name_port, host, port, done, user))
		return NULL;
	r = named ? calloc(1, sizeof(*r)) : NULL;
	if (!r || !dns_of(loop)) {
		free(r);
		done(user, NULL, 0, NET_TTL_LEAST);
		return NULL;
	}
	r->magic = RESOLVE_MAGIC;
	r->loop = loop;
	r->done = done;
	r->user = user;
	r->port = port;
	r->ttl_s = NET_TTL_MOST;
	memcpy(r->host, host, sizeof(host));
	r->question[V4].r = r->question[V6].r = r;
	r->reap.free = resolve_free;
	net_timer_init(&r->deadline, on_deadline);
	list_append(&loop->resolving, &r->node);
	if (!ask(r)) {
		tell(r);
		list_remove(&r->node);
		free(r);
		return NULL;
	}
	net_timer_arm(loop, &r->deadline, clock_now() + timeout_ms * CLOCK_MS);
	return r;
}
