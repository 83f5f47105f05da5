/* SPDX-License-Identifier: MIT */
/* The name an endpoint is asked for and verified by, unless server_name says another:
 * the worker's links and control's checks must mean the same one. */
#ifndef DATACENTER_NAME_H
#define DATACENTER_NAME_H

#include <string.h>

/* The host of "host:port" and "[v6]:port"; a Unix socket is this machine's. The caller's
 * to free; NULL: out of memory. */
static inline char *name_of_address(const char *address)
{
	const char *colon = strrchr(address, ':');

	if (!strncmp(address, "unix:", 5) || !colon)
		return strdup("localhost");
	if (*address == '[' && colon > address + 1 && colon[-1] == ']')
		return strndup(address + 1, (size_t)(colon - address) - 2);
	return strndup(address, (size_t)(colon - address));
}

#endif
