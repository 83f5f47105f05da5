/* SPDX-License-Identifier: MIT */
/*
 * firebreak-bench relay: the wire, with faults. One process passes octets between
 * ports of its own and the places behind them, as the conductor says (relay.h):
 *
 *   blackhole  nothing passes, nothing is closed: a power cut, as far as the other side can tell
 *   refuse     new connections are refused by the kernel, open ones reset
 *   cut        open connections are reset once
 *   delay      each read waits its time, plus or minus jitter; order is kept each way
 *   bandwidth  octets per second of a port each way, all its connections together
 *
 *   client ══▶ end[0] ─▶ way[0]: ring, dues ─▶ end[1] ══▶ place        way[1] the same back
 *
 * A way reads only what its ring has room for, so a peer that stops reading stops the
 * other one (back-pressure), and memory is bounded. Sockets are watched edge-triggered: what
 * is known of them stays in `readable` and `writable` while a fault forbids to act on it.
 */
#include "relay.h"

#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../bench.h"
#include "firebreak/clock.h"
#include "scenario.h"

#define RING      (UINT32_C(1) << 20) /* octets of one way under way; a power of two */
#define DUES      1024                /* reads of one way that wait for their time */
#define PAIRS_MAX 20000
#define ROUNDS    16                  /* of one way before others have their turn */
#define BACKLOG   4096
#define TURN      256                 /* events of one turn */

/* What epoll hands back. */
struct source {
	void (*ready)(struct source *s, uint32_t events);
};

struct due {
	uint64_t upto; /* position in the ring's stream */
	int64_t at;
};

struct end {
	struct source source;
	struct pair *pair;
	int fd;
	bool readable, writable;
};

/* owned by: its pair */
struct way {
	struct end *from, *to;
	unsigned char *ring; /* NULL: nothing was read yet */
	uint64_t in, out;
	struct due due[DUES]; /* a ring, from `first` */
	unsigned first, dues;
	int64_t last_due;
	uint64_t moved;        /* octets, in and out: did a round do anything? */
	bool ended, passed_on; /* FIN: seen, sent on */
};

/* A connection and the one it is passed to.
 * owned by: its port's list
 * freed by: reap() at the end of the turn */
struct pair {
	struct list node;    /* of the port, or dead */
	struct list ready;   /* to be moved this turn */
	struct list waiting; /* for time, until `wake` */
	int64_t wake;
	struct port *port;
	struct end end[2];
	struct way way[2];
	bool connected, dead;
};

struct port {
	struct source source;
	const char *listen;
	struct net_addr at, to;
	int fd; /* -1: a Unix socket that refuses */
	struct list pairs;
	bool acceptable, blackhole, refuse;
	double delay, jitter, bandwidth, tokens[2];
	int64_t refilled[2];
};

static struct relay {
	struct source control;
	int epoll, control_fd;
	struct port port[RELAY_PORTS_MAX];
	unsigned ports, pairs;
	struct list ready, waiting, dead;
	uint64_t random;
	bool over;
} relay;

static bool watch(int fd, struct source *s)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s };

	return epoll_ctl(relay.epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

/* ---- the end of a pair ---- */

static void finish(struct pair *p, bool reset)
{
	static const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
	int i;

	if (p->dead)
		return;
	p->dead = true;
	for (i = 0; i < 2; i++) {
		if (p->end[i].fd < 0)
			continue;
		if (reset)
			setsockopt(p->end[i].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close(p->end[i].fd);
	}
	list_remove(&p->node);
	list_remove(&p->ready);
	list_remove(&p->waiting);
	list_append(&relay.dead, &p->node);
}

static void reap(void)
{
	struct list *n;

	while ((n = list_pop(&relay.dead))) {
		struct pair *p = list_entry(n, struct pair, node);

		free(p->way[0].ring);
		free(p->way[1].ring);
		free(p);
		relay.pairs--;
	}
}

/* ---- moving octets ---- */

static void again(struct pair *p)
{
	if (!p->dead && list_empty(&p->ready))
		list_append(&relay.ready, &p->ready);
}

static void wait_until(struct pair *p, int64_t at)
{
	if (list_empty(&p->waiting))
		list_append(&relay.waiting, &p->waiting);
	else if (p->wake <= at)
		return;
	p->wake = at;
}

/* When what is read now may leave: never before what was read earlier. */
static int64_t due_at(const struct port *port, const struct way *w, int64_t now)
{
	double off;
	int64_t at = now;

	if (port->delay > 0) {
		relay.random ^= relay.random << 13; /* xorshift64 */
		relay.random ^= relay.random >> 7;
		relay.random ^= relay.random << 17;
		off = ((double)(relay.random >> 11) / 4503599627370496.0 - 1) * port->jitter; /* -jitter .. jitter */
		at += (int64_t)(port->delay + off > 0 ? port->delay + off : 0);
	}
	return at > w->last_due ? at : w->last_due;
}

/* Octets that may wait in the ring: a slow link has no deep buffer. */
static uint64_t room(const struct port *port, const struct way *w)
{
	uint64_t most = RING;

	if (port->bandwidth > 0 && port->bandwidth / 10 < RING)
		most = port->bandwidth / 10 < 4096 ? 4096 : (uint64_t)(port->bandwidth / 10);
	return w->in - w->out < most ? most - (w->in - w->out) : 0;
}

/* False: the connection failed. */
static bool fill(struct pair *p, struct way *w, int64_t now)
{
	uint64_t want = room(p->port, w), at = w->in & (RING - 1);
	struct due *last = &w->due[(w->first + w->dues - 1) % DUES];
	struct iovec part[2];
	ssize_t n;

	if (!want || w->ended || !w->from->readable || w->dues == DUES)
		return true;
	if (!w->ring && !(w->ring = malloc(RING)))
		return false;
	part[0] = (struct iovec){ w->ring + at, want < RING - at ? want : RING - at };
	part[1] = (struct iovec){ w->ring, want - part[0].iov_len };
	n = readv(w->from->fd, part, part[1].iov_len ? 2 : 1);
	if (n < 0 && errno == EAGAIN)
		w->from->readable = false;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	w->last_due = due_at(p->port, w, now);
	w->ended = n == 0;
	w->in += (uint64_t)n;
	w->moved += (uint64_t)n;
	if (w->dues && last->at >= w->last_due)
		last->upto = w->in;
	else
		w->due[(w->first + w->dues++) % DUES] = (struct due){ w->in, w->last_due };
	return true;
}

/* Octets that this port may pass now; what is missing comes in a moment. */
static uint64_t allowance(struct pair *p, const struct way *w, int64_t now)
{
	struct port *port = p->port;
	int side = (int)(w - p->way);
	double burst = port->bandwidth / 50;

	if (port->bandwidth <= 0)
		return RING;
	if (burst < 1500)
		burst = 1500;
	port->tokens[side] += (double)(now - port->refilled[side]) / 1e9 * port->bandwidth;
	port->refilled[side] = now;
	if (port->tokens[side] > burst)
		port->tokens[side] = burst;
	if (port->tokens[side] >= burst / 4)
		return (uint64_t)port->tokens[side];
	wait_until(p, now + (int64_t)((burst / 2 - port->tokens[side]) / port->bandwidth * 1e9) + 1);
	return 0;
}

static bool drain(struct pair *p, struct way *w, int64_t now)
{
	uint64_t upto = w->out, at = w->out & (RING - 1), may;
	struct iovec part[2];
	unsigned i;
	ssize_t n;

	for (i = 0; i < w->dues && w->due[(w->first + i) % DUES].at <= now; i++)
		upto = w->due[(w->first + i) % DUES].upto;
	if (i < w->dues)
		wait_until(p, w->due[(w->first + i) % DUES].at);
	if (upto > w->out && w->to->writable && (may = allowance(p, w, now))) {
		if (may > upto - w->out)
			may = upto - w->out;
		part[0] = (struct iovec){ w->ring + at, may < RING - at ? may : RING - at };
		part[1] = (struct iovec){ w->ring, may - part[0].iov_len };
		n = writev(w->to->fd, part, part[1].iov_len ? 2 : 1);
		if (n < 0 && errno == EAGAIN)
			w->to->writable = false;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		w->out += (uint64_t)n;
		w->moved += (uint64_t)n;
		p->port->tokens[w - p->way] -= (double)n;
	}
	while (w->dues && w->due[w->first].at <= now && w->due[w->first].upto <= w->out) {
		w->first = (w->first + 1) % DUES;
		w->dues--;
	}
	if (w->in == w->out && !w->dues)
		w->in = w->out = 0; /* the ring's beginning is in the cache */
	return true;
}

/* 1: there may be more at once, 0: not before something happens, -1: it failed. */
static int move(struct pair *p, struct way *w, int64_t now)
{
	uint64_t before;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		before = w->moved;
		if (!fill(p, w, now) || !drain(p, w, now))
			return -1;
		if (w->ended && !w->dues && !w->passed_on) {
			w->passed_on = true;
			shutdown(w->to->fd, SHUT_WR);
		}
		if (w->moved == before)
			return 0;
	}
	return 1;
}

static bool connected(struct pair *p)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (p->connected || !p->end[1].writable)
		return p->connected;
	getsockopt(p->end[1].fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error)
		finish(p, true);
	else
		p->connected = true;
	return p->connected;
}

static void pump(struct pair *p, int64_t now)
{
	int a, b;

	list_remove(&p->waiting);
	if (p->port->blackhole || !connected(p))
		return;
	a = move(p, &p->way[0], now);
	b = move(p, &p->way[1], now);
	if (a < 0 || b < 0)
		finish(p, true);
	else if (p->way[0].passed_on && p->way[1].passed_on)
		finish(p, false);
	else if (a || b)
		again(p);
}

/* ---- new connections ---- */

static void on_end(struct source *s, uint32_t events)
{
	struct end *e = list_entry(s, struct end, source);

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		e->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		e->writable = true;
	again(e->pair);
}

static void begin(struct port *port, int fd)
{
	struct pair *p = relay.pairs < PAIRS_MAX ? calloc(1, sizeof(*p)) : NULL;
	int to = p ? socket(port->to.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1, on = 1, i;

	if (to < 0) {
		free(p);
		close(fd);
		return;
	}
	relay.pairs++;
	p->port = port;
	list_init(&p->ready);
	list_init(&p->waiting);
	list_append(&port->pairs, &p->node);
	for (i = 0; i < 2; i++) {
		p->end[i] = (struct end){ .source = { on_end }, .pair = p, .fd = i ? to : fd };
		p->way[i].from = &p->end[i];
		p->way[i].to = &p->end[!i];
		setsockopt(p->end[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	if ((connect(to, (const struct sockaddr *)&port->to.sa, port->to.len) && errno != EINPROGRESS) ||
	    !watch(fd, &p->end[0].source) || !watch(to, &p->end[1].source))
		finish(p, true);
}

static void on_port(struct source *s, uint32_t events)
{
	struct port *port = list_entry(s, struct port, source);
	int fd;

	port->acceptable = true;
	while (!port->blackhole && !port->refuse && port->acceptable) {
		fd = accept4(port->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			begin(port, fd);
		else if (errno != EINTR && errno != ECONNABORTED)
			port->acceptable = false;
	}
}

static bool port_open(struct port *port, char *why, size_t size)
{
	port->fd = net_listen_open(port->listen, why, size);
	return port->fd >= 0 && watch(port->fd, &port->source);
}

/* A TCP port is kept for us while it refuses: the socket stays bound. A Unix socket's file
 * stays, with nobody behind it. */
static void port_refuse(struct port *port, bool on)
{
	char why[256];

	if (on == port->refuse)
		return;
	port->refuse = on;
	if (port->at.sa.ss_family == AF_UNIX && on) {
		close(port->fd);
		port->fd = -1;
	} else if (on) {
		shutdown(port->fd, SHUT_RDWR);
	} else if (port->fd < 0 ? !port_open(port, why, sizeof(why)) : listen(port->fd, BACKLOG) != 0) {
		fprintf(stderr, "firebreak-bench relay: %s: %s\n", port->listen, strerror(errno));
		relay.over = true;
	}
}

/* ---- words of the conductor ---- */

static void reset_all(struct port *port)
{
	while (!list_empty(&port->pairs))
		finish(list_entry(port->pairs.next, struct pair, node), true);
}

static void go_on(struct port *port)
{
	struct list *n;

	for (n = port->pairs.next; n != &port->pairs; n = n->next)
		again(list_entry(n, struct pair, node));
	if (port->acceptable)
		on_port(&port->source, 0);
}

static void obey(struct port *port, const struct relay_word *w)
{
	switch (w->fault) {
	case SFAULT_BLACKHOLE:
		port->blackhole = w->on;
		break;
	case SFAULT_REFUSE:
		port_refuse(port, w->on);
		if (w->on)
			reset_all(port);
		break;
	case SFAULT_DELAY:
		port->delay = w->on ? w->value : 0;
		port->jitter = w->on ? w->jitter : 0;
		break;
	case SFAULT_BANDWIDTH:
		port->bandwidth = w->on ? w->value : 0;
		port->refilled[0] = port->refilled[1] = clock_now();
		port->tokens[0] = port->tokens[1] = 0;
		break;
	case SFAULT_CUT:
		if (w->on)
			reset_all(port);
		break;
	}
	go_on(port);
}

static void on_control(struct source *s, uint32_t events)
{
	struct relay_word w;
	ssize_t n;
	unsigned i;

	while ((n = recv(relay.control_fd, &w, sizeof(w), MSG_DONTWAIT)) == (ssize_t)sizeof(w)) {
		for (i = 0; i < relay.ports; i++) {
			if (w.port == i || w.port == RELAY_ALL)
				obey(&relay.port[i], &w);
		}
		send(relay.control_fd, &w, sizeof(w), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	if (n >= 0 || (errno != EAGAIN && errno != EINTR))
		relay.over = true;
}

/* ---- the loop ---- */

/* Puts those whose time has come on the ready list; returns when the next one's comes. */
static int64_t wake(int64_t now)
{
	int64_t next = now + CLOCK_SEC;
	struct list *n, *following;

	for (n = relay.waiting.next; n != &relay.waiting; n = following) {
		struct pair *p = list_entry(n, struct pair, waiting);

		following = n->next;
		if (p->wake <= now)
			again(p);
		else if (p->wake < next)
			next = p->wake;
	}
	return list_empty(&relay.ready) ? next : now;
}

static void turn(void)
{
	struct epoll_event event[TURN];
	struct pollfd any = { .fd = relay.epoll, .events = POLLIN };
	int64_t now = clock_tick(), wait = wake(now) - now;
	struct timespec for_this = { .tv_sec = wait / CLOCK_SEC, .tv_nsec = wait % CLOCK_SEC };
	struct list now_ready;
	struct list *node;
	int i, n;

	ppoll(&any, 1, &for_this, NULL); /* epoll_wait alone counts in milliseconds */
	n = epoll_wait(relay.epoll, event, TURN, 0);
	now = clock_tick();
	for (i = 0; i < n; i++) {
		struct source *s = event[i].data.ptr;

		s->ready(s, event[i].events);
	}
	wake(now);
	list_init(&now_ready);
	list_splice(&now_ready, &relay.ready);
	while ((node = list_pop(&now_ready)))
		pump(list_entry(node, struct pair, ready), now);
	reap();
}

static bool add_port(const char *text)
{
	struct port *port = &relay.port[relay.ports];
	const char *between = strchr(text, '=');
	char *at = between ? strndup(text, (size_t)(between - text)) : NULL;

	if (!at || relay.ports == RELAY_PORTS_MAX || !net_addr_parse(&port->at, at) || !net_addr_parse(&port->to, between + 1)) {
		free(at);
		return false;
	}
	port->listen = at; /* as long as the process */
	port->source.ready = on_port;
	list_init(&port->pairs);
	relay.ports++;
	return true;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	char *end;

	switch (key) {
	case 'c':
		relay.control_fd = (int)strtol(arg, &end, 10);
		if (*end || end == arg)
			argp_error(state, "--control: expected a descriptor's number");
		break;
	case ARGP_KEY_ARG:
		if (!add_port(arg))
			argp_error(state, "%s: expected LISTEN=PLACE, each like 127.0.0.1:9101 or unix:/path, %d at most", arg, RELAY_PORTS_MAX);
		break;
	case ARGP_KEY_END:
		if (relay.control_fd < 0 || !relay.ports)
			argp_error(state, "--control FD and at least one LISTEN=PLACE are required");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int relay_main(int argc, char **argv)
{
	static const struct argp_option option_table[] = {
		{ "control", 'c', "FD", 0, "an inherited SOCK_SEQPACKET socket on which faults are told", 0 },
		{ 0 },
	};
	static const struct argp argp = { option_table, parse, "LISTEN=PLACE...", "Passes octets on, with the faults of a wire.", NULL, NULL, NULL };
	const struct relay_word hello = { .port = RELAY_ALL, .fault = RELAY_READY };
	char why[256] = "out of descriptors";
	unsigned i;

	relay.control_fd = -1;
	argp_err_exit_status = 64;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	bench_prepare();
	list_init(&relay.ready);
	list_init(&relay.waiting);
	list_init(&relay.dead);
	relay.random = (uint64_t)clock_tick() | 1;
	relay.epoll = epoll_create1(EPOLL_CLOEXEC);
	relay.control.ready = on_control;
	for (i = 0; i < relay.ports; i++) {
		if (relay.epoll < 0 || !port_open(&relay.port[i], why, sizeof(why))) {
			fprintf(stderr, "firebreak-bench relay: %s\n", why);
			return 1;
		}
	}
	if (!watch(relay.control_fd, &relay.control) || send(relay.control_fd, &hello, sizeof(hello), MSG_NOSIGNAL) < 0) {
		fprintf(stderr, "firebreak-bench relay: --control: %s\n", strerror(errno));
		return 1;
	}
	while (!relay.over)
		turn();
	return 0;
}
