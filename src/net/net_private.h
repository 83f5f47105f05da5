/* SPDX-License-Identifier: MIT */
/*
 * What the files of this room share: the loop with its wheel and its scratch
 * memory, and the connection.
 */
#ifndef FIREBREAK_NET_PRIVATE_H
#define FIREBREAK_NET_PRIVATE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>

#include "firebreak/clock.h"
#include "firebreak/log.h"
#include "firebreak/net.h"

#define WHEEL_LEVELS 6
#define WHEEL_SLOTS  64 /* per level: one bit each in a word */

struct wheel {
	int64_t tick; /* every slot up to this one has been visited */
	int64_t next; /* tick at which some slot is to be visited, or earlier; INT64_MAX: none */
	uint64_t occupied[WHEEL_LEVELS]; /* may say yes for a slot emptied by disarming */
	struct list slot[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, int64_t now);
/* Fires what is due. */
void wheel_run(struct wheel *w, int64_t now);
/* Monotonic ns at which wheel_run has something to look at; INT64_MAX: nothing armed. */
int64_t wheel_next(const struct wheel *w);

#define LOOP_IN      (64 * 1024) /* one recv */
#define LOOP_PLAIN   (96 * 1024) /* what one recv and a record begun earlier can decrypt to */
#define LOOP_SCRATCH (16 * 1024) /* one TLS record */

/*
 * owned by: the process that serves
 * freed by: net_loop_destroy
 */
struct net_loop {
	struct event_base *base;
	struct event *alarm;   /* ends the wait when the wheel has work or wait_ms is over */
	int64_t alarm_at;      /* when it is set to go off; INT64_MAX: not set */
	struct wheel wheel;
	struct list starting;  /* connections whose first step waits for the end of events */
	struct list dying;     /* net_reap */
	void (*hook)(void *);
	void *hook_arg;
	bool ticked;           /* the clock was sampled in this turn */
	bool again, stop;
	uint64_t turns;
	int64_t busy;          /* ns */
	struct evdns_base *dns;
	struct list resolving; /* requests evdns holds */
	int64_t dns_changed;   /* of /etc/resolv.conf, when dns was told whom to ask */
	char resolver[64];     /* instead of that file; "": none */
	struct list names;     /* their last good answers */
	unsigned names_count;
	struct net_conn *scratch_owner;
	size_t scratch_len;
	uint8_t in[LOOP_IN], plain[LOOP_PLAIN], scratch[LOOP_SCRATCH];
};

/* First thing in every callback from libevent: one clock sample per turn. */
static inline void loop_tick(struct net_loop *loop)
{
	if (!loop->ticked) {
		clock_tick();
		loop->ticked = true;
	}
}

/* Tests name their own. */
extern const char *resolve_conf_path, *resolve_hosts_path;
void resolve_loop_finish(struct net_loop *loop);
/* hosts.c: up to `most` addresses of a name, without port; 0: the file gives none. */
size_t hosts_find(const char *path, const char *name, struct net_addr *addrs, size_t most);
/* The first step of a connection that did not begin with an event. */
void conn_start(struct net_conn *c);

/*
 * owned by: contexts' holders, counted
 */
struct net_tls {
	unsigned refs;
	bool server, verify, alpn;
	SSL_CTX *ctx;
};

enum conn_state { CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN, CONN_CLOSED };
#define CONN_MAGIC 0x636f6e6e

/*
 * owned by: its handler's user until on_closed
 * freed by: the reaper, at the end of the turn in which net_close was called
 */
struct net_conn {
	struct net_reap reap;
	uint32_t magic;
	uint8_t state;    /* enum conn_state */
	bool server;
	bool eof;         /* the peer has finished */
	bool paused;      /* by net_read_pause */
	bool stuck;       /* waits for writability */
	bool drain_due;   /* on_drained is owed */
	bool cut;         /* the socket takes no more output */
	bool broken;      /* the TLS side failed: no more output through it */
	bool full;        /* output lost to the memory limit: the connection must end */
	bool closing_now; /* guards net_close against itself */
	uint8_t hello;    /* octets of the client's first record and message head seen, up to 9 */
	uint8_t hello_high; /* the last of them */
	uint16_t fault;   /* enum fault, once closed */
	int fd;
	uint32_t unasked; /* octets OpenSSL answered by itself (key updates, warnings), and read for nothing */
	struct net_loop *loop;
	const struct net_handler *handler;
	void *user;
	SSL *ssl;
	struct net_tls *tls;
	struct buf out;
	int64_t stuck_since;
	uint64_t covered; /* hash of the last host name the certificate covered */
	struct list starting;
	struct net_timer deadline;
	struct event readable, writable;
	const uint8_t *in; /* ciphertext OpenSSL may take, during one read */
	size_t in_len;
	struct net_addr peer;
};

/* ---- tls.c ---- */
/* Gives the connection its SSL. False: out of memory. */
bool tls_attach(struct net_conn *c, struct net_tls *tls, const char *name);
void tls_detach(struct net_conn *c);
enum tls_result { TLS_AGAIN, TLS_DONE, TLS_FAILED };
/* One step of the handshake over c->in; output goes to c->out. */
enum tls_result tls_handshake(struct net_conn *c);
/* Decrypts from c->in into `out`. Bytes written; *end says why it stopped short:
 * TLS_AGAIN wants more input, TLS_DONE is close_notify. */
size_t tls_open(struct net_conn *c, uint8_t *out, size_t size, enum tls_result *end);
/* Encrypts into c->out. */
bool tls_seal(struct net_conn *c, const void *data, size_t len);
void tls_close_notify(struct net_conn *c);

#endif
