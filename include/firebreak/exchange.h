/* SPDX-License-Identifier: MIT */
/*
 * One request's life, and the worker it lives in: the only room that knows the
 * others. States are drawn in src/exchange/exchange.c.
 *
 * The read fence (conf.fence; src/exchange/fence.c). Writes are requests with any method that
 * is not safe; of gRPC calls, those of features that keep no recent state.
 *   - A write that a datacenter answered with anything but a 4xx, or that may have reached it
 *     and was not answered, raises a fence for its user at that datacenter, for conf.fence.time_ms
 *     and with the version of the answer, if there is one. His last write counts.
 *   - His reads go there, through whichever worker of this node, instead of where they would
 *     go otherwise: while the fence stands, somebody there may answer (up, suspect, restoring,
 *     draining), and the other datacenter has not shown the version to anybody's read.
 *   - A read that is late where its fence stands is not asked elsewhere as well (hedging); one
 *     whose connection leaves a PING unanswered for half of its time is.
 *   - Availability wins: with nobody there, or after a try that failed there, a read goes
 *     where it can. A fence pushed out of the full table is over.
 * A user is the Authorization, else the identity, else the connection (request_user).
 */
#ifndef FIREBREAK_EXCHANGE_H
#define FIREBREAK_EXCHANGE_H

#include "board.h"
#include "conf.h"
#include "net.h"

struct xchg_worker_args {
	unsigned index;
	struct board *board;
	const struct conf *conf;         /* the worker takes it and frees it when replaced */
	const struct conf *before;       /* in force until the last reload; NULL: none. Only looked at */
	const int *listen_fd;            /* one per conf->listener, this worker's own */
	const unsigned char *ticket_key; /* 80 bytes */
	const unsigned char *secret;     /* 32 bytes: identity hash, cohort */
	int command_fd;                  /* socket from the supervisor: see main.c */
};

/* Runs a worker until it is drained or told to stop; returns the exit code. One that cannot start
 * says why in the log and ends the process with 1. */
int xchg_worker_run(const struct xchg_worker_args *args);

#endif
