/* SPDX-License-Identifier: MIT */
/*
 * The table of overrides: rules for one entry, lookup, expiry, and what they do to
 * the live part. No file, no clock, no log.
 */
#ifndef CONTROL_OVERRIDE_H
#define CONTROL_OVERRIDE_H

#include "firebreak/control.h"

#define OVERRIDE_WHY 256

/* Plain data, copyable; bounded. */
struct overrides {
	size_t n;
	struct ctl_override item[CTL_OVERRIDES_MAX];
};

const char *override_kind_word(enum ctl_kind kind);
bool override_kind_parse(const char *word, enum ctl_kind *kind);
/* Author, reason, text and times that make sense at `wall`. NULL, or why not. */
const char *override_check_form(const struct ctl_override *o, int64_t wall, uint32_t max_s);
/* The subject alone; anything is one of CTL_MODE. */
const char *override_check_subject(enum ctl_kind kind, const char *subject, const struct conf *c, char why[OVERRIDE_WHY]);
/* Subject and value are names this configuration knows, a value that fits the kind.
 * NULL, or why not, perhaps in `why`. */
const char *override_check_names(const struct ctl_override *o, const struct conf *c, char why[OVERRIDE_WHY]);

struct ctl_override *overrides_find(struct overrides *all, enum ctl_kind kind, const char *subject);
/* Adds or replaces. False: the table is full. */
bool overrides_put(struct overrides *all, const struct ctl_override *o);
void overrides_remove(struct overrides *all, struct ctl_override *o);
/* One that has ended, or NULL. */
struct ctl_override *overrides_ended(struct overrides *all, int64_t wall);

/* Fills words, shares and forced mode (the automatic one otherwise), and for each datacenter
 * what a drain leaves it at `wall` (basis points; -1: there is none). Names the
 * configuration does not know change nothing. */
void overrides_apply(const struct overrides *all, const struct conf *c, uint8_t auto_mode, int64_t wall, struct degrade_live *live,
		     int drain_left[CONF_MAX_DATACENTERS]);

#endif
