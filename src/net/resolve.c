/* SPDX-License-Identifier: MIT */
/*
 * Names to addresses by evdns, without blocking: numeric ones at once, /etc/hosts,
 * then the servers of /etc/resolv.conf. Both files are looked at again for each
 * request, so that a changed resolver is used without a restart. Answers are not
 * kept: whoever asks refreshes at its own pace.
 */
#include "net_private.h"

#include <event2/dns.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ADDRS_MAX 16
#define RESOLVE_MAGIC 0x7265736f

const char *resolve_conf_path = "/etc/resolv.conf", *resolve_hosts_path = "/etc/hosts";

/*
 * owned by: this file; the caller may cancel until `done` was called
 * freed by: the reaper once evdns has let go
 */
struct net_resolve {
	struct net_reap reap;
	struct list node; /* on loop->resolving while evdns holds it */
	uint32_t magic;
	struct net_loop *loop;
	struct evdns_getaddrinfo_request *request; /* NULL: evdns has let go */
	void (*done)(void *user, const struct net_addr *addrs, size_t n);
	void *user;
	struct net_timer deadline;
	bool silent, starting;
};

static int64_t changed(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : (int64_t)st.st_mtim.tv_sec * CLOCK_SEC + st.st_mtim.tv_nsec;
}

/* The resolver, set up anew when its files have changed and nothing is under way. */
static struct evdns_base *dns_of(struct net_loop *loop)
{
	int64_t now = changed(resolve_conf_path) ^ changed(resolve_hosts_path) << 1;

	if (loop->dns && loop->dns_changed != now && list_empty(&loop->resolving)) {
		evdns_base_free(loop->dns, 0);
		loop->dns = NULL;
	}
	if (loop->dns)
		return loop->dns;
	loop->dns = evdns_base_new(loop->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!loop->dns)
		return NULL;
	loop->dns_changed = now;
	/* Its result only says that there are no servers; /etc/hosts works without. */
	evdns_base_resolv_conf_parse(loop->dns, DNS_OPTIONS_ALL, resolve_conf_path);
	evdns_base_load_hosts(loop->dns, resolve_hosts_path);
	return loop->dns;
}

static void resolve_free(struct net_reap *item)
{
	free(list_entry(item, struct net_resolve, reap));
}

/* Tells the caller, once. */
static void tell(struct net_resolve *r, const struct net_addr *addrs, size_t n)
{
	if (r->silent)
		return;
	r->silent = true;
	net_timer_disarm(&r->deadline);
	r->done(r->user, addrs, n);
}

static size_t take(const struct evutil_addrinfo *info, struct net_addr *addrs)
{
	size_t n = 0;

	for (; info && n < ADDRS_MAX; info = info->ai_next) {
		if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
			continue;
		memset(&addrs[n], 0, sizeof(addrs[n]));
		memcpy(&addrs[n].sa, info->ai_addr, info->ai_addrlen);
		addrs[n++].len = (socklen_t)info->ai_addrlen;
	}
	return n;
}

static void on_resolved(int error, struct evutil_addrinfo *info, void *arg)
{
	struct net_resolve *r = arg;
	struct net_addr addrs[ADDRS_MAX];
	size_t n;

	if (!CHECK(r->magic == RESOLVE_MAGIC))
		return;
	loop_tick(r->loop);
	n = error ? 0 : take(info, addrs);
	if (info)
		evutil_freeaddrinfo(info);
	list_remove(&r->node);
	r->request = NULL;
	tell(r, addrs, n);
	if (!r->starting)
		net_reap(r->loop, &r->reap);
}

static void give_up(struct net_resolve *r)
{
	/* evdns reports the cancelling with a callback of its own, later: until then
	 * the request stays ours to keep. */
	if (r->request)
		evdns_getaddrinfo_cancel(r->request);
}

static void on_deadline(struct net_timer *t)
{
	struct net_resolve *r = list_entry(t, struct net_resolve, deadline);

	tell(r, NULL, 0);
	give_up(r);
}

void net_resolve_cancel(struct net_resolve *r)
{
	if (!r || r->silent)
		return;
	r->silent = true;
	net_timer_disarm(&r->deadline);
	give_up(r);
}

void resolve_loop_finish(struct net_loop *loop)
{
	struct list *node;
	int i;

	for (node = loop->resolving.next; node != &loop->resolving; node = node->next)
		net_resolve_cancel(list_entry(node, struct net_resolve, node));
	/* evdns lets go in callbacks of its own. */
	for (i = 0; i < 10 && !list_empty(&loop->resolving); i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	if (loop->dns)
		evdns_base_free(loop->dns, 0);
	loop->dns = NULL;
}

/* "name:port" into its parts. */
static bool split(const char *text, char host[256], char port[6])
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
	snprintf(port, 6, "%lu", v);
	return true;
}

struct net_resolve *net_resolve(struct net_loop *loop, const char *name_port, uint32_t timeout_ms,
				void (*done)(void *user, const struct net_addr *addrs, size_t n), void *user)
{
	struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP };
	struct evdns_base *dns;
	struct net_resolve *r;
	struct net_addr numeric;
	char host[256], port[6];

	if (net_addr_parse(&numeric, name_port)) {
		done(user, &numeric, 1);
		return NULL;
	}
	r = split(name_port, host, port) ? calloc(1, sizeof(*r)) : NULL;
	dns = r ? dns_of(loop) : NULL;
	if (!dns) {
		free(r);
		done(user, NULL, 0);
		return NULL;
	}
	*r = (struct net_resolve){ .magic = RESOLVE_MAGIC, .loop = loop, .done = done, .user = user, .starting = true };
	r->reap.free = resolve_free;
	net_timer_init(&r->deadline, on_deadline);
	list_append(&loop->resolving, &r->node);
	r->request = evdns_getaddrinfo(dns, host, port, &hints, on_resolved, r);
	r->starting = false;
	if (!r->request) { /* called back from inside */
		free(r);
		return NULL;
	}
	net_timer_arm(loop, &r->deadline, clock_now() + timeout_ms * CLOCK_MS);
	return r;
}
