/* SPDX-License-Identifier: MIT */
/*
 * firebreak-bench: what its subcommands share. The bench uses Firebreak's own net/
 * and http2/ rooms, in the other role.
 */
#ifndef BENCH_H
#define BENCH_H

#include "firebreak/conf.h"
#include "firebreak/net.h"

int backend_main(int argc, char **argv);
int run_main(int argc, char **argv);

/* Limits for a trusted peer on loopback: generous, but nothing without a bound. */
void bench_limits(struct conf_limits *l);

/* Calls back at SIGTERM and SIGINT; once a process. False: out of descriptors. */
bool bench_stop_on_signal(struct net_loop *loop, void (*call)(void *arg), void *arg);
/* Descriptors as many as there may be, no SIGPIPE. */
void bench_prepare(void);

#endif
