/* SPDX-License-Identifier: MIT */
/*
 * One Redis client: pipelined commands over our own connection, hiredis as codec
 * only. Nothing here blocks; a hung Redis costs a deadline, then the breaker
 * answers at once until a probe gets through. Error replies are errors (never
 * mistaken for success); LOADING, READONLY, MISCONF, OOM, NOAUTH ... are told apart.
 */
#ifndef FIREBREAK_REDIS_H
#define FIREBREAK_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"
#include "fault.h"
#include "net.h"
#include "telemetry.h"

struct rds_client;

enum rds_type { RDS_NIL, RDS_STRING, RDS_INTEGER, RDS_STATUS, RDS_ERROR, RDS_ARRAY };
struct rds_reply {
	enum rds_type type;
	const char *text; /* RDS_STRING, RDS_STATUS, RDS_ERROR */
	size_t len;
	int64_t integer;
	const struct rds_reply *const *element; /* RDS_ARRAY */
	size_t elements;
};

/* Called exactly once for every command that was taken: with a reply, or NULL and a
 * fault (then a write's effect is unknown). The reply dies when it returns. Must not
 * destroy the client; may issue commands. */
typedef void (*rds_done)(void *user, const struct rds_reply *reply, enum fault fault);

struct rds_client *rds_create(struct net_loop *loop, const struct conf_redis *c, struct tm_worker *tm);
/* Calls back everything outstanding with REDIS_DOWN. */
void rds_destroy(struct rds_client *r);
/* False when not taken (breaker open, queue full): `done` is not called. Arguments
 * are copied. deadline 0: the configured command timeout. */
bool rds_command(struct rds_client *r, int argc, const char *const *argv, const size_t *lens, rds_done done, void *user);
/* True while commands have a good chance: connected and breaker closed. */
bool rds_usable(const struct rds_client *r);
/* Detaches `user`: its outstanding callbacks become no-ops. */
void rds_forget(struct rds_client *r, void *user);

#endif
