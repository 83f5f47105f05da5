/* SPDX-License-Identifier: MIT */
/*
 * The proxy's own view beside the clients': its admin side, asked again and again.
 */
#ifndef BENCH_WATCH_H
#define BENCH_WATCH_H

#include "firebreak/net.h"

struct watch;
/* Asks every `period` ns; `looked` (NULL: nobody) is called after each answer, or when none came.
 * NULL: not an address, or out of memory. */
struct watch *watch_create(struct net_loop *loop, const char *address, int64_t period, void (*looked)(void *arg), void *arg);
void watch_destroy(struct watch *w);
/* "normal", "?" when it does not answer. */
const char *watch_mode(const struct watch *w);
/* The proxy's version; NULL: not known. Valid until the next turn. */
const char *watch_version(const struct watch *w);
/* "pangyo up, anyang down" */
const char *watch_datacenters(const struct watch *w);
/* The i-th datacenter. False: there are not so many, or nothing is known yet. Valid until the next turn. */
bool watch_datacenter(const struct watch *w, size_t i, const char **name, const char **state);

#endif
