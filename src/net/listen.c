/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets. Opening is the supervisor's (once, before anything serves);
 * accepting is a worker's. What an accepted connection means is the caller's.
 */
#include "net_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096
#define BATCH   64
#define REST_NS (100 * CLOCK_MS)
#define LISTENER_MAGIC 0x6c697374

/* ---- opening ---- */

/* SO_REUSEPORT lets our workers share a port, and would silently share it with a
 * stranger of the same user, too. So the first socket of an address is tried without.
 * Known addresses are those this process has opened. */
static struct net_addr known[2 * CONF_MAX_LISTENERS];
static size_t known_count;

static bool is_known(const struct net_addr *a)
{
	size_t i;

	for (i = 0; i < known_count; i++) {
		if (known[i].len == a->len && !memcmp(&known[i].sa, &a->sa, a->len))
			return true;
	}
	return false;
}

static bool port_taken(const struct net_addr *a)
{
	int on = 1, fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;

	if (fd < 0)
		return false; /* the real attempt will say why */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&a->sa, a->len))
		error = errno;
	close(fd);
	return error == EADDRINUSE;
}

static int refuse(int fd, const char *address, int error, char *why, size_t size)
{
	const char *hint = "";

	if (error == EADDRINUSE)
		hint = "; another process listens there";
	else if (error == EACCES || error == EPERM)
		hint = "; ports below 1024 need CAP_NET_BIND_SERVICE, a socket file a writable directory";
	else if (error == EADDRNOTAVAIL)
		hint = "; no interface of this machine has the address";
	snprintf(why, size, "cannot listen on %s: %s%s", address, strerror(error), hint);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* A socket file nobody listens on is in the way of a restart; one somebody does, or a
 * file of another kind, is left alone. */
static void remove_stale(const struct net_addr *a)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
	struct stat st;
	int fd;

	if (lstat(un->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)&a->sa, a->len) && errno == ECONNREFUSED)
		unlink(un->sun_path);
	close(fd);
}

/* Accepted sockets inherit these, so they cost nothing per connection. */
static void set_options(int fd, sa_family_t family)
{
	int on = 1;

	if (family == AF_UNIX)
		return;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
}

static bool port_zero(const struct net_addr *a)
{
	return ((const struct sockaddr_in *)&a->sa)->sin_port == 0; /* the same place in sockaddr_in6 */
}

int net_listen_open(const char *address, char *why, size_t why_size)
{
	struct net_addr a;
	bool local;
	int fd;

	if (!net_addr_parse(&a, address)) {
		snprintf(why, why_size, "cannot listen on %s: expected 1.2.3.4:port, [v6]:port or unix:/path", address);
		return -1;
	}
	local = a.sa.ss_family == AF_UNIX;
	if (local)
		remove_stale(&a);
	else if (!port_zero(&a) && !is_known(&a) && port_taken(&a))
		return refuse(-1, address, EADDRINUSE, why, why_size);
	fd = socket(a.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return refuse(-1, address, errno, why, why_size);
	set_options(fd, a.sa.ss_family);
	if (bind(fd, (const struct sockaddr *)&a.sa, a.len) || listen(fd, BACKLOG))
		return refuse(fd, address, errno, why, why_size);
	if (!local && !port_zero(&a) && !is_known(&a) && known_count < sizeof(known) / sizeof(known[0]))
		known[known_count++] = a;
	return fd;
}

/* ---- accepting ---- */

/*
 * owned by: the worker
 * freed by: net_listener_destroy
 */
struct net_listener {
	struct net_reap reap;
	uint32_t magic;
	int fd;
	bool gone;
	bool exhausted; /* said so in the log */
	struct net_loop *loop;
	void (*on_accept)(void *user, struct net_accepted a);
	void *user;
	struct event readable;
	struct net_timer rest;
};

static void accept_failed(struct net_listener *l, int error)
{
	if (error == EAGAIN || error == EINTR || error == ECONNABORTED)
		return;
	/* Descriptors or memory ran out. Connections wait in the kernel's queue; trying
	 * again at once would only burn the processor. */
	if (!l->exhausted)
		log_event(LOG_LEVEL_ERROR, "listener.exhausted", "why", strerror(error), NULL);
	l->exhausted = true;
	event_del(&l->readable);
	net_timer_arm(l->loop, &l->rest, clock_now() + REST_NS);
}

static void accept_batch(struct net_listener *l)
{
	struct net_accepted a;
	int i;

	for (i = 0; i < BATCH && !l->gone; i++) {
		memset(&a.peer, 0, sizeof(a.peer));
		a.peer.len = sizeof(a.peer.sa);
		a.fd = accept4(l->fd, (struct sockaddr *)&a.peer.sa, &a.peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (a.fd < 0) {
			accept_failed(l, errno);
			return;
		}
		l->exhausted = false;
		l->on_accept(l->user, a);
	}
}

void net_listener_take(struct net_listener *l)
{
	int i;

	for (i = 0; i < BACKLOG / BATCH && !l->exhausted; i++)
		accept_batch(l);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct net_listener *l = arg;

	if (!CHECK(l->magic == LISTENER_MAGIC))
		return;
	loop_tick(l->loop);
	accept_batch(l);
}

static void on_rested(struct net_timer *t)
{
	struct net_listener *l = list_entry(t, struct net_listener, rest);

	if (event_add(&l->readable, NULL))
		net_timer_arm(l->loop, &l->rest, clock_now() + REST_NS);
}

static void listener_free(struct net_reap *item)
{
	free(list_entry(item, struct net_listener, reap));
}

struct net_listener *net_listener_create(struct net_loop *loop, int fd, void (*on_accept)(void *user, struct net_accepted a), void *user)
{
	struct net_listener *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->magic = LISTENER_MAGIC;
	l->fd = fd;
	l->loop = loop;
	l->on_accept = on_accept;
	l->user = user;
	l->reap.free = listener_free;
	net_timer_init(&l->rest, on_rested);
	event_assign(&l->readable, loop->base, fd, EV_READ | EV_PERSIST, on_readable, l);
	if (event_add(&l->readable, NULL)) {
		free(l);
		return NULL;
	}
	return l;
}

void net_listener_destroy(struct net_listener *l)
{
	if (!l || l->gone)
		return;
	l->gone = true;
	event_del(&l->readable);
	net_timer_disarm(&l->rest);
	net_reap(l->loop, &l->reap); /* may be called from on_accept */
}
