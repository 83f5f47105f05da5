/* SPDX-License-Identifier: MIT */
/*
 * One request's life, and the worker it lives in: the only room that knows the
 * others. States are drawn in src/exchange/exchange.c.
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

/* Runs a worker until it is drained or told to stop; returns the exit code. */
int xchg_worker_run(const struct xchg_worker_args *args);

#endif
