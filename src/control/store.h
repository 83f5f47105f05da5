/* SPDX-License-Identifier: MIT */
/*
 * Overrides on disk: state_dir/overrides.json, replaced atomically.
 */
#ifndef CONTROL_STORE_H
#define CONTROL_STORE_H

#include "override.h"

/* Reads what was saved; entries that ended at `wall` or make no sense are left out.
 * A file that is damaged is renamed aside and logged, what can be read of it is
 * taken. No file: none were set. */
void store_load(const char *dir, struct overrides *all, int64_t wall);
/* 0, or an errno. On error the file is what it was before. */
int store_save(const char *dir, const struct overrides *all);

#endif
