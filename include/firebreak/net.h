/* SPDX-License-Identifier: MIT */
/*
 * The network: a loop turn, timers, listening sockets, and byte connections in
 * cleartext or TLS. Nothing here knows HTTP. libevent and OpenSSL's SSL are seen
 * in this room only.
 *
 * One turn:  clock tick > ready sockets > expired timers > turn hook (sessions
 *            write, once per connection) > reap what was closed > log flush
 */
#ifndef FIREBREAK_NET_H
#define FIREBREAK_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "buf.h"
#include "conf.h"
#include "fault.h"
#include "list.h"

struct net_loop;
struct event_base;

/* ---- addresses ---- */
struct net_addr {
	struct sockaddr_storage sa;
	socklen_t len;
};
/* Numeric "1.2.3.4:80", "[::1]:80", "unix:/path". False: not numeric or malformed. */
bool net_addr_parse(struct net_addr *a, const char *text);
/* "1.2.3.4:80"; without_port: "1.2.3.4". A Unix socket prints as "unix:". */
void net_addr_print(const struct net_addr *a, bool without_port, char *out, size_t size);
struct net_cidr { uint8_t bytes[16]; uint8_t bits; bool v6; };
bool net_cidr_parse(struct net_cidr *c, const char *text);
bool net_cidr_match(const struct net_cidr *c, const struct net_addr *a);

/* ---- loop ---- */
/* NULL when out of memory. One per process that serves. */
struct net_loop *net_loop_create(void);
void net_loop_destroy(struct net_loop *loop);
/* Runs turns until net_loop_stop(). */
void net_loop_run(struct net_loop *loop);
/* One turn; waits at most wait_ms for something to happen (tests; -1: until something). */
void net_loop_turn(struct net_loop *loop, int wait_ms);
void net_loop_stop(struct net_loop *loop);
/* Called in every turn after sockets and timers. */
void net_loop_hook(struct net_loop *loop, void (*hook)(void *), void *arg);
/* The next turn will not wait: somebody woke during the hook. */
void net_loop_again(struct net_loop *loop);
/* Turns so far, and time spent in them, waiting excluded. */
void net_loop_stats(const struct net_loop *loop, uint64_t *turns, int64_t *busy_ns);
/* For evhttp in the control process. Callbacks that libevent makes directly call
 * clock_tick() first: the turn's own sample is taken by this room's callbacks. */
struct event_base *net_loop_base(struct net_loop *loop);
/* Calls back when fd is readable (signalfd, pipes). The watch is freed by net_unwatch. */
struct net_watch *net_watch(struct net_loop *loop, int fd, void (*on_ready)(void *), void *arg);
void net_unwatch(struct net_watch *w);

/* Things that die at the end of the turn: embed, then net_reap() once. */
struct net_reap {
	struct list node;
	void (*free)(struct net_reap *);
};
void net_reap(struct net_loop *loop, struct net_reap *item);

/* ---- timers: a hashed wheel of 2 ms slots; arming and disarming are two pointer
 * writes, no system call. A timer fires in the turn after its deadline, never
 * early, at most ~2 slots late. ---- */
struct net_timer {
	struct list node;
	int64_t deadline; /* monotonic ns; 0: not armed */
	void (*fire)(struct net_timer *);
};
void net_timer_init(struct net_timer *t, void (*fire)(struct net_timer *));
void net_timer_arm(struct net_loop *loop, struct net_timer *t, int64_t deadline);
void net_timer_disarm(struct net_timer *t);

/* ---- TLS contexts ---- */
struct net_tls; /* reference counted */
/* Server: certificates as configured, TLS 1.2 and 1.3, ALPN h2 only (else the
 * no_application_protocol alert), tickets under `ticket_key` (80 bytes, shared by
 * all workers). NULL with a sentence in `why` (>= 256 bytes). */
struct net_tls *net_tls_server(const struct conf_tls_server *t, const unsigned char ticket_key[80], char *why);
/* Client: ALPN h2 offered and required when `alpn`. */
struct net_tls *net_tls_client(const char *ca, bool verify, bool alpn, char *why);
struct net_tls *net_tls_get(struct net_tls *t);
void net_tls_put(struct net_tls *t);

/* ---- connections ---- */
struct net_conn;

/* Filled by the user of a connection. Callbacks may call any net_ function on the
 * connection, net_close included; the connection is freed at the end of the turn,
 * after on_closed, whoever closed it. */
struct net_handler {
	/* Established (TCP connect and TLS handshake done). May be NULL. */
	void (*on_open)(void *user);
	/* Plaintext arrived; all of it is consumed by the callee. */
	void (*on_bytes)(void *user, const uint8_t *data, size_t len);
	/* The peer sent FIN / close_notify: no more bytes come. Usually closes. */
	void (*on_eof)(void *user);
	/* Output that had to wait for the socket has gone down to 32 KiB or less:
	 * write again. May be NULL. */
	void (*on_drained)(void *user);
	/* Last call. `fault` is what net_close was given, or what happened. */
	void (*on_closed)(void *user, enum fault fault);
};

/* Takes over a connected or accepted fd. tls NULL: cleartext. `server` says which
 * side of the handshake we are. The handshake deadline is the caller's to keep
 * (a net_timer and net_close). NULL when out of memory (fd is closed). */
struct net_conn *net_conn_adopt(struct net_loop *loop, int fd, const struct net_addr *peer, struct net_tls *tls, bool server,
				const struct net_handler *handler, void *user);
/* Non-blocking connect with its own deadline. sni: name sent and verified (NULL:
 * none). Failure comes as on_closed(CONNECT_REFUSED / CONNECT_TIMEOUT /
 * CONNECT_FAILED / UPSTREAM_TLS), never from inside this call. NULL: out of
 * memory or descriptors. */
struct net_conn *net_conn_connect(struct net_loop *loop, const struct net_addr *to, struct net_tls *tls, const char *sni,
				  uint32_t timeout_ms, const struct net_handler *handler, void *user);
bool net_conn_open(const struct net_conn *c); /* on_open was called */
const struct net_addr *net_conn_peer(const struct net_conn *c);
/* What PROXY protocol said. */
void net_conn_set_peer(struct net_conn *c, const struct net_addr *peer);
bool net_conn_alpn_h2(const struct net_conn *c);          /* false: no ALPN, or no TLS */
const char *net_conn_tls_version(const struct net_conn *c); /* "TLSv1.3", or NULL */
const char *net_conn_sni(const struct net_conn *c);         /* NULL: none */
/* True when the server certificate chosen covers this host (421 otherwise); always
 * true in cleartext. */
bool net_conn_covers(const struct net_conn *c, const char *host, size_t len);

/* Queues bytes: gathered in the loop's scratch, sealed in records of up to 16 KiB,
 * nothing leaves before net_flush, which has to follow in the same turn. Cheapest
 * when one connection at a time is written and flushed. False when not open or at the
 * memory limit: close. */
bool net_write(struct net_conn *c, const void *data, size_t len);
/* The same for the front of a chain, whose blocks are moved when there is no TLS. */
bool net_write_buf(struct net_conn *c, struct buf *from, size_t len);
/* One writev. Bytes the kernel does not take wait for writability. */
void net_flush(struct net_conn *c);
/* Bytes that wait for the socket (ciphertext with TLS). */
size_t net_pending(const struct net_conn *c);
/* Since when the socket has taken nothing of what waits (monotonic ns), 0 when
 * nothing waits. */
int64_t net_stuck_since(const struct net_conn *c);
/* Stops and resumes reading (back-pressure). */
void net_read_pause(struct net_conn *c, bool paused);
/* Detaches at once: no more on_bytes; on_closed(fault) comes at the end of the
 * turn. Output already queued is still given to the socket once, best effort; with TLS close_notify goes with it. Calling it again does nothing. */
void net_close(struct net_conn *c, enum fault fault);

/* ---- listening ---- */
/* Opens a listening socket (SO_REUSEPORT for TCP). -1 with a sentence in `why`. */
int net_listen_open(const char *address, char *why, size_t why_size);

struct net_listener;
struct net_accepted {
	int fd;
	struct net_addr peer;
};
/* Accepts in batches of up to 64 per readiness. When descriptors run out it logs
 * once and rests for 100 ms at a time. `fd` stays the caller's. */
struct net_listener *net_listener_create(struct net_loop *loop, int fd, void (*on_accept)(void *user, struct net_accepted a), void *user);
/* Accepts what waits in the kernel's queue now: before the end, so that none is lost. */
void net_listener_take(struct net_listener *l);
/* Stops accepting; connections waiting in the kernel stay in the socket's queue. */
void net_listener_destroy(struct net_listener *l);

/* PROXY protocol v2 (haproxy proxy-protocol.txt 2.2), parsed from the first bytes.
 * Returns bytes used, 0: need more, -1: malformed. LOCAL leaves *peer alone. */
int net_proxy_v2(const uint8_t *data, size_t len, struct net_addr *peer);

/* ---- names ---- */
/* Seconds an answer may be used before it is asked for again: what DNS says, within these. */
#define NET_TTL_LEAST 1  /* also of an answer that is not fresh */
#define NET_TTL_MOST  60
#define NET_TTL_HOSTS 30 /* of /etc/hosts, which says nothing */

/* Resolves "name:port", "[v6]:port", "1.2.3.4:port", "unix:/path" without blocking;
 * calls back once with up to 16 addresses, IPv4 first (n = 0: it does not resolve and never
 * did on this loop), and for how long they are good. While DNS fails, or denies the name, it
 * gives the last good ones. Returns NULL when it has called back already, as for numeric
 * ones. Uses /etc/hosts, then the loop's resolver or /etc/resolv.conf. */
struct net_resolve *net_resolve(struct net_loop *loop, const char *name_port, uint32_t timeout_ms,
				void (*done)(void *user, const struct net_addr *addrs, size_t n, uint32_t ttl_s), void *user);
/* `done` is not called any more. */
void net_resolve_cancel(struct net_resolve *r);
/* A DNS server ("10.0.0.2:53") to ask instead of those of /etc/resolv.conf; NULL: those. */
void net_loop_resolver(struct net_loop *loop, const char *address);

#endif
