/* SPDX-License-Identifier: MIT */
/*
 * One Redis client: pipelined commands over our own connection, hiredis as codec
 * only. Nothing here blocks; a hung Redis costs a deadline, then the breaker
 * answers at once until a probe gets through. Error replies are errors (never
 * mistaken for success); LOADING, READONLY, MISCONF, OOM, NOAUTH ... are told apart.
 *
 * Commands of one turn leave together: the owner of the loop calls rds_pump() in its
 * turn hook, after everything that may issue commands. Without it nothing is sent.
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

/* First word of an error reply: X(NAME, "WORD", unavailable). An unavailable Redis
 * can do nothing for us: the connection is closed and the breaker opens. The others
 * concern one command (or all writes): reads go on. */
#define RDS_ERRORS(X) \
	X(LOADING, "LOADING", true) X(MASTERDOWN, "MASTERDOWN", true) X(NOAUTH, "NOAUTH", true) \
	X(WRONGPASS, "WRONGPASS", true) X(CLUSTERDOWN, "CLUSTERDOWN", true) X(READONLY, "READONLY", false) \
	X(MISCONF, "MISCONF", false) X(OOM, "OOM", false) X(BUSY, "BUSY", false) X(NOREPLICAS, "NOREPLICAS", false) \
	X(NOPERM, "NOPERM", false) X(WRONGTYPE, "WRONGTYPE", false) X(MOVED, "MOVED", false) X(ASK, "ASK", false)
enum rds_error {
	RDS_ERROR_NONE, /* not an error reply */
	RDS_ERROR_OTHER,
#define X(name, word, unavailable) RDS_ERROR_##name,
	RDS_ERRORS(X)
#undef X
};

enum rds_type { RDS_NIL, RDS_STRING, RDS_INTEGER, RDS_STATUS, RDS_ERROR, RDS_ARRAY };
struct rds_reply {
	enum rds_type type;
	enum rds_error error; /* which, for RDS_ERROR */
	const char *text; /* RDS_STRING, RDS_STATUS, RDS_ERROR */
	size_t len;
	int64_t integer;
	const struct rds_reply *const *element; /* RDS_ARRAY */
	size_t elements;
};

/* NULL for who does not care; errors are counted all the same. Called exactly once for
 * every command that was taken, never from inside
 * rds_command: with a reply (an error reply also has FAULT_REDIS_ERROR), or NULL and
 * a fault (then a write's effect is unknown). The reply dies when it returns. Must
 * not destroy the client; may issue and forget commands. */
typedef void (*rds_done)(void *user, const struct rds_reply *reply, enum fault fault);

/* Begins to connect. Copies what it needs of *c. NULL (and a log line): out of
 * memory, or its TLS files are unusable. tm may be NULL. */
struct rds_client *rds_create(struct net_loop *loop, const struct conf_redis *c, struct tm_worker *tm);
/* Calls back everything outstanding with REDIS_DOWN. Not from a callback of its own. */
void rds_destroy(struct rds_client *r);
/* False when not taken (not connected yet, breaker open, queue full): `done` is not
 * called. Arguments are copied. Answered within the configured command timeout; a
 * late answer closes the connection, since what follows it would be late too. */
bool rds_command(struct rds_client *r, int argc, const char *const *argv, const size_t *lens, rds_done done, void *user);
/* Sends what this turn queued, in one write. Cheap when there is nothing. */
void rds_pump(struct rds_client *r);
/* True while commands have a good chance: connected and breaker closed. */
bool rds_usable(const struct rds_client *r);
/* Detaches `user`: its outstanding callbacks become no-ops. Looks at every pending
 * command. */
void rds_forget(struct rds_client *r, void *user);

#endif
