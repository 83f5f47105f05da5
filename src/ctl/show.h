/* SPDX-License-Identifier: MIT */
/* The status as a table of 80 columns, for people. */
#ifndef CTL_SHOW_H
#define CTL_SHOW_H

#include <jansson.h>

void show_status(const json_t *status);

#endif
