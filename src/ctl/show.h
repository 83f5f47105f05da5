/* SPDX-License-Identifier: MIT */
/* The status as a table of 80 columns, for people. */
#ifndef CTL_SHOW_H
#define CTL_SHOW_H

#include <jansson.h>

void show_status(const json_t *status);
/* One line about a datacenter of the status; returns out. */
const char *show_progress(const json_t *datacenter, char *out, size_t size);

#endif
