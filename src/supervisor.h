/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: holds the listening sockets, starts one control process and N
 * workers, replaces whichever dies, and passes on reloads and the end.
 */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include "firebreak/conf.h"

/* Loads and checks a configuration completely: syntax, routes, plan, certificates. Every error goes
 * to `out` as file:line:col. NULL when there was one. *text (if wanted) gets the bytes. */
const struct conf *load_checked(const char *path, FILE *out, char **text, unsigned long *len);

/* Runs the service; returns the exit code. Takes conf. */
int supervise(const struct conf *conf);

#endif
