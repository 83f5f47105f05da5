/* SPDX-License-Identifier: MIT */
/*
 * Inside the room: codec (bytes <> replies) < link (one connection, its pipeline and
 * deadlines) < client (which address, when, and whether at all). Sentinel and Cluster
 * change how a client chooses addresses and how many links it holds, nothing below.
 */
#ifndef FIREBREAK_REDIS_PRIVATE_H
#define FIREBREAK_REDIS_PRIVATE_H

#include "firebreak/buf.h"
#include "firebreak/redis.h"

/* Bounds on what a reply may cost us and on what may wait to be sent. */
#define RDS_REPLY_BYTES    (8u << 20) /* octets of one reply on the wire */
#define RDS_REPLY_ELEMENTS 65536u     /* array elements of one reply, all levels together */
#define RDS_OUTPUT_BYTES   (8u << 20) /* commands formatted but not taken by the socket */

/* ---- codec.c ---- */
struct rds_codec;
struct rds_codec *rds_codec_create(void);
void rds_codec_destroy(struct rds_codec *c);
/* False: out of memory. */
bool rds_codec_feed(struct rds_codec *c, const void *data, size_t len);
/* 1: *reply is the next one, valid until the next call; 0: more bytes are needed;
 * -1: not RESP2, or beyond a bound above: the connection is lost. */
int rds_codec_next(struct rds_codec *c, const struct rds_reply **reply);
/* Appends a command. False: nothing appended (memory). */
bool rds_codec_format(struct buf *out, int argc, const char *const *argv, const size_t *lens);
bool rds_error_unavailable(enum rds_error e);

/* ---- link.c ---- */
struct rds_link;
struct rds_link_owner {
	/* Connected: greet. */
	void (*on_open)(void *owner);
	/* Redis answered a command with an error. */
	void (*on_error)(void *owner, const struct rds_reply *reply);
	/* Said once: no more commands; outstanding ones are called back next, and may
	 * still be forgotten. */
	void (*on_down)(void *owner, enum fault fault);
	/* The last word; the link frees itself. */
	void (*on_gone)(void *owner);
};
struct rds_link_params {
	struct net_loop *loop;
	const struct net_addr *to;
	struct net_tls *tls; /* NULL: cleartext */
	const char *sni;
	uint32_t connect_timeout_ms, command_timeout_ms, max_pending;
};
/* NULL: out of memory or descriptors; nothing is called. */
struct rds_link *rds_link_connect(const struct rds_link_params *p, const struct rds_link_owner *handler, void *owner);
/* FAULT_NONE: taken. */
enum fault rds_link_command(struct rds_link *l, int argc, const char *const *argv, const size_t *lens, rds_done done, void *user);
void rds_link_pump(struct rds_link *l);
void rds_link_forget(struct rds_link *l, void *user);
/* Answers everything outstanding and detaches from the owner. Doing it twice is
 * harmless. */
void rds_link_close(struct rds_link *l, enum fault fault);

#endif
