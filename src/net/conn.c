/* SPDX-License-Identifier: MIT */
/*
 * One byte connection, cleartext or TLS, either side. It knows nothing of what the
 * bytes mean.
 *
 *   connecting --> handshake --> open --> closed --> (end of turn) on_closed, freed
 *                 (TLS only)
 *
 * Reading: one recv per readiness into the loop's buffer; what it brought is
 * decrypted completely and handed up in one piece, so nothing is held here while
 * reading is paused. Writing: net_write fills the loop's scratch (TLS) or the chain
 * (cleartext), net_flush empties the chain with one sendmsg; the write event is armed
 * only after the socket has refused bytes. An idle connection owns no buffer.
 */
#include "net_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_IOV    64
#define DRAINED      (32 * 1024) /* on_drained comes at or below this much output */
#define USER_TIMEOUT 15000       /* ms; sent bytes unacknowledged for so long end an upstream connection */
#define LAST_READS   8           /* recvs that empty the socket before it is closed */

static void flush_out(struct net_conn *c);

/* What a connection that failed by itself died of. */
static enum fault gone(const struct net_conn *c)
{
	if (c->state != CONN_OPEN)
		return c->server ? FAULT_TLS_HANDSHAKE : FAULT_UPSTREAM_TLS;
	return c->server ? FAULT_CLIENT_GONE : FAULT_UPSTREAM_CLOSED;
}

static void closed(struct net_reap *item)
{
	struct net_conn *c = list_entry(item, struct net_conn, reap);
	int i;

	c->handler->on_closed(c->user, c->fault);
	/* Closing a socket with unread bytes sends RST, and RST takes back what the
	 * peer has not read yet: the alert or GOAWAY that says why. */
	if (!c->eof && !c->cut) {
		shutdown(c->fd, SHUT_WR);
		for (i = 0; i < LAST_READS && recv(c->fd, c->loop->in, LOOP_IN, MSG_DONTWAIT) > 0; i++)
			;
	}
	close(c->fd);
	if (c->ssl)
		tls_detach(c);
	buf_clear(&c->out);
	c->magic = 0;
	free(c);
}

void net_close(struct net_conn *c, enum fault fault)
{
	struct net_loop *loop = c->loop;

	if (c->state == CONN_CLOSED || c->closing_now)
		return;
	c->closing_now = true;
	if (loop->scratch_owner == c) {
		if (c->state == CONN_OPEN)
			tls_seal(c, loop->scratch, loop->scratch_len);
		loop->scratch_owner = NULL;
		loop->scratch_len = 0;
	}
	if (c->state == CONN_OPEN && c->ssl)
		tls_close_notify(c);
	if (c->state != CONN_CONNECTING && !c->stuck)
		flush_out(c);
	c->state = CONN_CLOSED;
	c->fault = fault;
	event_del(&c->readable);
	event_del(&c->writable);
	net_timer_disarm(&c->deadline);
	list_remove(&c->starting);
	buf_clear(&c->out);
	net_reap(loop, &c->reap);
}

/* ---- writing ---- */

/* Waits for writability; on_drained will follow. */
static void wait_writable(struct net_conn *c)
{
	if (c->stuck)
		return;
	c->stuck = true;
	c->drain_due = true;
	c->stuck_since = clock_now();
	if (!c->closing_now && event_add(&c->writable, NULL))
		net_close(c, FAULT_NO_MEMORY);
}

static void not_stuck(struct net_conn *c)
{
	if (!c->stuck)
		return;
	c->stuck = false;
	c->stuck_since = 0;
	event_del(&c->writable);
}

/* The peer takes nothing any more. What it said before may still wait to be read:
 * the reading side will find the end. */
static void cut_output(struct net_conn *c)
{
	c->cut = true;
	buf_clear(&c->out);
	not_stuck(c);
	if (c->state != CONN_OPEN || c->paused || c->eof)
		net_close(c, gone(c));
}

static void flush_out(struct net_conn *c)
{
	struct iovec iov[FLUSH_IOV];
	struct msghdr m = { .msg_iov = iov };
	size_t asked;
	ssize_t n;
	int i;

	while (c->out.len) {
		m.msg_iovlen = (size_t)buf_iov(&c->out, iov, FLUSH_IOV);
		for (asked = 0, i = 0; i < (int)m.msg_iovlen; i++)
			asked += iov[i].iov_len;
		n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno == EAGAIN)
				wait_writable(c);
			else
				cut_output(c);
			return;
		}
		buf_drain(&c->out, (size_t)n);
		if ((size_t)n < asked) {
			/* Asking again now would only be told EAGAIN. */
			if (c->stuck && n)
				c->stuck_since = clock_now();
			wait_writable(c);
			return;
		}
	}
	not_stuck(c);
}

static bool seal_scratch(struct net_conn *c)
{
	struct net_loop *loop = c->loop;
	size_t len = loop->scratch_len;

	loop->scratch_owner = NULL;
	loop->scratch_len = 0;
	return tls_seal(c, loop->scratch, len);
}

static bool write_tls(struct net_conn *c, const uint8_t *p, size_t len)
{
	struct net_loop *loop = c->loop;
	size_t n;

	if (c->broken)
		return false;
	if (loop->scratch_owner && loop->scratch_owner != c)
		seal_scratch(loop->scratch_owner);
	while (len) {
		if (!loop->scratch_len && len >= LOOP_SCRATCH) { /* a whole record: no copy */
			if (!tls_seal(c, p, LOOP_SCRATCH))
				return false;
			n = LOOP_SCRATCH;
		} else {
			n = LOOP_SCRATCH - loop->scratch_len;
			if (n > len)
				n = len;
			memcpy(loop->scratch + loop->scratch_len, p, n);
			loop->scratch_len += n;
			loop->scratch_owner = c;
			if (loop->scratch_len == LOOP_SCRATCH && !seal_scratch(c))
				return false;
		}
		p += n;
		len -= n;
	}
	return true;
}

bool net_write(struct net_conn *c, const void *data, size_t len)
{
	if (c->state != CONN_OPEN || c->full)
		return false;
	if (c->cut)
		return true; /* into the void, until reading has found the end */
	if (c->ssl)
		return write_tls(c, data, len);
	if (!buf_append(&c->out, data, len))
		c->full = true;
	return !c->full;
}

bool net_write_buf(struct net_conn *c, struct buf *from, size_t len)
{
	struct iovec piece;

	if (c->state != CONN_OPEN || c->full)
		return false;
	if (c->cut) {
		buf_drain(from, len);
		return true;
	}
	if (!c->ssl) {
		c->full = !buf_move(&c->out, from, len);
		return !c->full;
	}
	while (len && buf_iov(from, &piece, 1)) {
		if (piece.iov_len > len)
			piece.iov_len = len;
		if (!write_tls(c, piece.iov_base, piece.iov_len))
			return false;
		buf_drain(from, piece.iov_len);
		len -= piece.iov_len;
	}
	return true;
}

void net_flush(struct net_conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	if (c->loop->scratch_owner == c)
		seal_scratch(c);
	if (c->full || c->broken)
		net_close(c, FAULT_NO_MEMORY);
	else if (c->stuck)
		c->drain_due = true;
	else
		flush_out(c);
}

size_t net_pending(const struct net_conn *c)
{
	return c->out.len + (c->loop->scratch_owner == c ? c->loop->scratch_len : 0);
}

int64_t net_stuck_since(const struct net_conn *c)
{
	return c->stuck_since;
}

/* ---- the beginning ---- */

static void set_open(struct net_conn *c)
{
	c->state = CONN_OPEN;
	net_timer_disarm(&c->deadline);
	if (c->handler->on_open)
		c->handler->on_open(c->user);
}

static void watch_readable(struct net_conn *c)
{
	if (event_add(&c->readable, NULL))
		net_close(c, FAULT_NO_MEMORY);
}

/* One step; true when the connection is open afterwards. */
static bool step_handshake(struct net_conn *c)
{
	enum tls_result r = tls_handshake(c);

	if (!c->stuck)
		flush_out(c); /* the flight, or the alert that says what is wrong */
	if (c->state == CONN_CLOSED)
		return false;
	if (r == TLS_FAILED)
		net_close(c, gone(c));
	else if (r == TLS_DONE)
		set_open(c);
	return c->state == CONN_OPEN;
}

void conn_start(struct net_conn *c)
{
	if (!CHECK(c->magic == CONN_MAGIC) || c->state == CONN_CLOSED)
		return;
	if (c->state == CONN_CONNECTING) {
		c->state = CONN_HANDSHAKE;
		watch_readable(c);
	}
	if (c->state != CONN_HANDSHAKE)
		return;
	if (!c->ssl)
		set_open(c);
	else if (!c->server)
		step_handshake(c);
}

static enum fault connect_fault(int error)
{
	switch (error) {
	case ECONNREFUSED:
	case ENOENT: /* a Unix socket nobody made, or that is gone */
		return FAULT_CONNECT_REFUSED;
	case ETIMEDOUT:
		return FAULT_CONNECT_TIMEOUT;
	default: /* EHOSTUNREACH, ENETUNREACH, ECONNRESET, EADDRNOTAVAIL, EACCES ... */
		return FAULT_CONNECT_FAILED;
	}
}

static void finish_connect(struct net_conn *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (error) {
		net_close(c, connect_fault(error));
		return;
	}
	event_del(&c->writable);
	conn_start(c);
}

static void on_deadline(struct net_timer *t)
{
	struct net_conn *c = list_entry(t, struct net_conn, deadline);

	net_close(c, FAULT_CONNECT_TIMEOUT);
}

/* ---- reading ---- */

static void got_eof(struct net_conn *c)
{
	if (c->state != CONN_OPEN || c->cut) {
		net_close(c, gone(c));
		return;
	}
	c->eof = true;
	event_del(&c->readable); /* it would be readable for ever */
	c->handler->on_eof(c->user);
}

static void got_ciphertext(struct net_conn *c, size_t len)
{
	struct net_loop *loop = c->loop;
	enum tls_result end = TLS_AGAIN;
	size_t n;

	c->in = loop->in;
	c->in_len = len;
	if (c->state == CONN_HANDSHAKE && !step_handshake(c))
		return;
	do {
		n = tls_open(c, loop->plain, sizeof(loop->plain), &end);
		if (c->out.len && !c->stuck && loop->scratch_owner != c)
			flush_out(c); /* a key update answered */
		if (n && c->state == CONN_OPEN)
			c->handler->on_bytes(c->user, loop->plain, n);
	} while (n == sizeof(loop->plain) && end == TLS_AGAIN && c->state == CONN_OPEN);
	c->in_len = 0;
	if (c->state != CONN_OPEN)
		return;
	if (end == TLS_FAILED)
		net_close(c, c->full ? FAULT_NO_MEMORY : c->server ? FAULT_CLIENT_PROTOCOL : FAULT_UPSTREAM_PROTOCOL);
	else if (end == TLS_DONE)
		got_eof(c);
}

static void read_once(struct net_conn *c)
{
	ssize_t n = recv(c->fd, c->loop->in, LOOP_IN, 0);

	/* The first event may come before the turn that opens a cleartext one. */
	if (c->state == CONN_HANDSHAKE && !c->ssl) {
		list_remove(&c->starting);
		set_open(c);
		if (c->state != CONN_OPEN)
			return;
	}
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			net_close(c, gone(c));
	} else if (n == 0) {
		got_eof(c);
	} else if (c->ssl) {
		got_ciphertext(c, (size_t)n);
	} else {
		c->handler->on_bytes(c->user, c->loop->in, (size_t)n);
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct net_conn *c = arg;

	if (!CHECK(c->magic == CONN_MAGIC))
		return;
	loop_tick(c->loop);
	read_once(c);
}

static void write_more(struct net_conn *c)
{
	if (c->state == CONN_CONNECTING) {
		finish_connect(c);
		return;
	}
	flush_out(c);
	if (c->state == CONN_OPEN && c->drain_due && c->out.len <= DRAINED) {
		c->drain_due = false;
		if (c->handler->on_drained)
			c->handler->on_drained(c->user);
	}
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct net_conn *c = arg;

	if (!CHECK(c->magic == CONN_MAGIC))
		return;
	loop_tick(c->loop);
	write_more(c);
}

void net_read_pause(struct net_conn *c, bool paused)
{
	if (c->state == CONN_CLOSED || c->eof || c->paused == paused)
		return;
	if (paused && c->cut) {
		net_close(c, gone(c)); /* nobody would find the end */
		return;
	}
	c->paused = paused;
	if (paused)
		event_del(&c->readable);
	else
		watch_readable(c);
}

/* ---- making one ---- */

static struct net_conn *conn_create(struct net_loop *loop, int fd, const struct net_addr *peer, struct net_tls *tls,
				    const char *name, bool server, const struct net_handler *handler, void *user)
{
	struct net_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->magic = CONN_MAGIC;
	c->fd = fd;
	c->loop = loop;
	c->server = server;
	c->handler = handler;
	c->user = user;
	if (peer)
		c->peer = *peer;
	c->reap.free = closed;
	list_init(&c->starting);
	net_timer_init(&c->deadline, on_deadline);
	event_assign(&c->readable, loop->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->writable, loop->base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
	if (tls && !tls_attach(c, tls, name)) {
		free(c);
		return NULL;
	}
	return c;
}

static void destroy_unborn(struct net_conn *c)
{
	event_del(&c->readable);
	event_del(&c->writable);
	if (c->ssl)
		tls_detach(c);
	free(c);
}

struct net_conn *net_conn_adopt(struct net_loop *loop, int fd, const struct net_addr *peer, struct net_tls *tls, bool server,
				const struct net_handler *handler, void *user)
{
	struct net_conn *c = conn_create(loop, fd, peer, tls, NULL, server, handler, user);

	if (!c) {
		close(fd);
		return NULL;
	}
	c->state = CONN_HANDSHAKE;
	if (event_add(&c->readable, NULL)) {
		destroy_unborn(c);
		close(fd);
		return NULL;
	}
	if (!tls || !server)
		list_append(&loop->starting, &c->starting);
	return c;
}

static int open_socket(const struct net_addr *to)
{
	int fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	unsigned ms = USER_TIMEOUT;

	if (fd >= 0 && to->sa.ss_family != AF_UNIX) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	}
	return fd;
}

/* A failure that is known at once is told at the end of the turn like any other. */
static void begin_connect(struct net_conn *c, const struct net_addr *to, uint32_t timeout_ms)
{
	c->state = CONN_CONNECTING;
	if (connect(c->fd, (const struct sockaddr *)&to->sa, to->len) == 0) {
		list_append(&c->loop->starting, &c->starting);
	} else if (errno != EINPROGRESS) {
		net_close(c, connect_fault(errno));
		return;
	} else if (event_add(&c->writable, NULL)) {
		net_close(c, FAULT_NO_MEMORY);
		return;
	}
	if (timeout_ms)
		net_timer_arm(c->loop, &c->deadline, clock_now() + timeout_ms * CLOCK_MS);
}

struct net_conn *net_conn_connect(struct net_loop *loop, const struct net_addr *to, struct net_tls *tls, const char *sni,
				  uint32_t timeout_ms, const struct net_handler *handler, void *user)
{
	int fd = open_socket(to);
	struct net_conn *c;

	if (fd < 0)
		return NULL;
	c = conn_create(loop, fd, to, tls, sni, false, handler, user);
	if (!c) {
		close(fd);
		return NULL;
	}
	begin_connect(c, to, timeout_ms);
	return c;
}

bool net_conn_open(const struct net_conn *c)
{
	return c->state == CONN_OPEN;
}

const struct net_addr *net_conn_peer(const struct net_conn *c)
{
	return &c->peer;
}

void net_conn_set_peer(struct net_conn *c, const struct net_addr *peer)
{
	c->peer = *peer;
}
