/* SPDX-License-Identifier: MIT */
/*
 * Overrides in operation. One is in force when it is in the table, on disk, on the
 * board and in the audit file, in this order: disk before board, so that a control
 * process killed in between comes back with at least what workers were told; audit
 * last, so that it never tells of something that was refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl.h"
#include "firebreak/clock.h"
#include "firebreak/log.h"
#include "store.h"

#define SAVE_AGAIN_NS (5 * CLOCK_SEC)

void ctl_overrides_open(struct ctl *c)
{
	const char *dir = c->conf->control.state_dir;

	c->audit.fd = -1;
	if (!dir)
		return;
	if (mkdir(dir, 0750) && errno != EEXIST)
		log_event(LOG_LEVEL_ERROR, "state_dir.unavailable", "directory", dir, "why", strerror(errno), NULL);
	store_load(dir, &c->overrides, clock_wall());
	audit_open(&c->audit, dir);
}

static bool save(struct ctl *c, const struct overrides *all)
{
	const char *dir = c->conf->control.state_dir;
	int error = dir ? store_save(dir, all) : 0;

	if (!error)
		return true;
	log_event(LOG_LEVEL_ERROR, "overrides.not_saved", "directory", dir, "why", strerror(error), NULL);
	snprintf(c->why, sizeof(c->why), "the override cannot be kept in %.160s: %s; use force to set it in memory only", dir,
		 strerror(error));
	return false;
}

static void record(struct ctl *c, const char *action, const struct ctl_override *o, const char *author, bool forced)
{
	log_event(LOG_LEVEL_WARN, "override", "action", action, "kind", override_kind_word(o->kind), "subject", o->subject, "value",
		  o->value, "author", author, "reason", o->reason, "forced", forced ? "yes" : "no", NULL);
	if (c->conf->control.state_dir)
		audit_write(&c->audit, action, o, author, forced, clock_wall());
}

static const char *refuse(struct ctl *c, enum ctl_refusal kind, const char *why)
{
	c->refusal = kind;
	if (why != c->why)
		snprintf(c->why, sizeof(c->why), "%s", why);
	return c->why;
}

static bool core_switched_off(const struct conf *conf, const struct degrade_live *now, const struct degrade_live *then)
{
	size_t f;

	for (f = 0; f < conf->features; f++) {
		if (conf->feature[f].tier == 0 && then->word[f] == DEGRADE_OFF && now->word[f] != DEGRADE_OFF)
			return true;
	}
	return false;
}

/* P3, and the things an operator would regret most. NULL: safe. */
static const char *unsafe(const struct ctl *c, const struct overrides *then, enum ctl_kind kind)
{
	struct board_live now_live, then_live;
	uint16_t left = ctl_foresee(c, then, &then_live);

	ctl_foresee(c, &c->overrides, &now_live);
	if (kind == CTL_DRAIN && !left)
		return "no datacenter would be left to take requests; use force to drain it all the same";
	if (kind == CTL_DRAIN && left < c->conf->overload.core_floor)
		return "what would be left cannot carry the core features (less than overload.core_floor of all capacity); use force to "
		       "drain it all the same";
	if (core_switched_off(c->conf, &now_live.degrade, &then_live.degrade))
		return "this feature is core, and switching it off refuses what must survive; use force to do it all the same";
	if (!degrade_override_safe(&c->plan, &now_live.degrade, &then_live.degrade))
		return "a core feature would be refused, or served worse than a lesser one; use force to do it all the same";
	return NULL;
}

const char *ctl_override_set(struct ctl *c, const struct ctl_override *wanted, bool force)
{
	struct ctl_override o = *wanted;
	bool was_unsaved = c->unsaved;
	struct overrides *then;
	char text[OVERRIDE_WHY];
	const char *why;

	o.from = clock_wall();
	if ((why = override_check_form(&o, o.from, c->conf->control.override_max_s)))
		return refuse(c, CTL_INVALID, why);
	if ((why = override_check_names(&o, c->conf, text)))
		return refuse(c, CTL_UNKNOWN, why);
	then = malloc(sizeof(*then));
	if (!then)
		return refuse(c, CTL_FULL, "out of memory");
	*then = c->overrides;
	if (!overrides_put(then, &o)) {
		refuse(c, CTL_FULL, "there are too many overrides; clear one first");
		goto out;
	}
	if (!force && (why = unsafe(c, then, o.kind))) {
		refuse(c, CTL_UNSAFE, why);
		goto out;
	}
	c->unsaved = !save(c, then);
	if (c->unsaved && !force) {
		c->unsaved = was_unsaved;
		refuse(c, CTL_NOT_KEPT, c->why);
		goto out;
	}
	c->overrides = *then;
	ctl_publish(c, false);
	record(c, "set", &o, o.author, force);
	c->refusal = CTL_OK;
out:
	free(then);
	return c->refusal == CTL_OK ? NULL : c->why;
}

/* Memory goes first here: an override that is wanted gone must go even when the disk
 * is full; the file follows as soon as it can be written. */
static void drop(struct ctl *c, struct ctl_override *o, const char *action, const char *author)
{
	struct ctl_override gone = *o;

	overrides_remove(&c->overrides, o);
	c->unsaved = !save(c, &c->overrides);
	ctl_publish(c, false);
	record(c, action, &gone, author, false);
}

/* Restoring one that is not drained but held: its hold is over. */
static bool end_hold(struct ctl *c, const char *subject, const char *author)
{
	struct ctl_override o = { .kind = CTL_DRAIN, .value = "hold", .reason = "restored by hand" };
	unsigned d;

	for (d = 0; d < c->conf->datacenters && strcmp(c->conf->datacenter[d].name, subject) != 0; d++)
		;
	if (d == c->conf->datacenters || c->live.machine[d].state != DC_PROBING)
		return false;
	dc_machine_trust(&c->live.machine[d]);
	ctl_publish(c, true);
	snprintf(o.subject, sizeof(o.subject), "%s", subject);
	record(c, "clear", &o, author, false);
	return true;
}

const char *ctl_override_clear(struct ctl *c, enum ctl_kind kind, const char *subject, const char *author, bool *was_set)
{
	struct ctl_override *o = overrides_find(&c->overrides, kind, subject);
	char text[OVERRIDE_WHY];
	const char *why;

	*was_set = o != NULL;

	if (!author[strspn(author, " ")])
		return refuse(c, CTL_INVALID, "clearing an override needs an author");
	if (!o && (why = override_check_subject(kind, subject, c->conf, text)))
		return refuse(c, CTL_UNKNOWN, why);
	if (o)
		drop(c, o, "clear", author);
	else if (kind == CTL_DRAIN)
		*was_set = end_hold(c, subject, author);
	c->refusal = CTL_OK;
	return NULL;
}

void ctl_overrides_tick(struct ctl *c)
{
	struct ctl_override *o;

	while ((o = overrides_ended(&c->overrides, clock_wall())))
		drop(c, o, "expire", "firebreak");
	if (c->unsaved && clock_now() >= c->save_next) {
		c->save_next = clock_now() + SAVE_AGAIN_NS;
		c->unsaved = !save(c, &c->overrides);
		if (c->conf->control.state_dir && c->audit.fd < 0)
			audit_open(&c->audit, c->conf->control.state_dir);
	}
}

const struct ctl_override *ctl_overrides(const struct ctl *c, size_t *n)
{
	*n = c->overrides.n;
	return c->overrides.item;
}

enum ctl_refusal ctl_refusal(const struct ctl *c)
{
	return c->refusal;
}
