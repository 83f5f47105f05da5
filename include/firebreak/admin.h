/* SPDX-License-Identifier: MIT */
/*
 * The admin side: HTTP API, metrics and health over evhttp, in the control process.
 * GET never changes anything; mutations need the token (or a Unix socket), and Origin
 * and Host are checked against DNS rebinding.
 */
#ifndef FIREBREAK_ADMIN_H
#define FIREBREAK_ADMIN_H

#include "control.h"

struct admin;
/* Serves on a listening socket (taken). NULL: out of memory. */
struct admin *admin_create(struct ctl *ctl, struct net_loop *loop, int listen_fd);
void admin_destroy(struct admin *a);
/* The two above, for ctl_args.admin. */
extern const struct ctl_server admin_server;

#endif
