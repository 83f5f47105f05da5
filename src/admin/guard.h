/* SPDX-License-Identifier: MIT */
/*
 * Who may speak to the admin side. A browser on an operator's machine is the danger:
 * any page it shows may send it to 127.0.0.1, under a name its author controls (DNS
 * rebinding), and forms need no permission. So Host must be an address of ours, Origin
 * (when a browser says one) must be the same place, and changes need the token.
 */
#ifndef ADMIN_GUARD_H
#define ADMIN_GUARD_H

#include <stdbool.h>

/* `host`: the Host field, may carry a port. `address`: where we listen ("0.0.0.0:9901"). */
bool guard_host(const char *host, const char *address);
/* `origin` NULL: not a browser's cross-site request. */
bool guard_origin(const char *origin, const char *host);
/* `authorization`: the field, may be NULL. Reads the file every time: a rotated token
 * needs no reload. False also when the file cannot be read or is empty. */
bool guard_token(const char *authorization, const char *token_file);

#endif
