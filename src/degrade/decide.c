/* SPDX-License-Identifier: MIT */
/*
 * The decision for one request: walk the ways of the plan's cell until one may work.
 *
 *            does not apply          is blocked (a note is taken)            else
 *   forward  -                       operator, share, no datacenter, tries   forward
 *   stale    the request writes      no identity, missed                     stale
 *   later    the request reads       the outbox failed                       accept-later
 *   refuse   -                       -                                       refuse, with the note
 *
 * The note is what the client, the log and the metric are told, so the last one
 * wins: each way that was reached was the better hope. Only a share, the operator's or
 * overload's, is never overwritten: whoever is outside of it, or found no room, should
 * hear that, whatever else failed.
 */
#include "firebreak/degrade.h"

static const char *const why_words[] = {
#define X(name, word) word,
	DEGRADE_WHYS(X)
#undef X
};

/* Faults a client can be told: those with an HTTP status. */
static const bool answerable[FAULT_COUNT] = {
#define X(name, word, status, grpc, retry, blames, text) [FAULT_##name] = (status) != 0,
#include "firebreak/faults.def"
#undef X
};

const char *degrade_why_word(enum degrade_why why)
{
	return (unsigned)why < DEGRADE_WHY_COUNT ? why_words[why] : "unknown";
}

const char *degrade_way_word(enum conf_way way)
{
	static const char *const words[CONF_WAYS] = {
		[CONF_FORWARD] = "forward",
		[CONF_STALE] = "stale",
		[CONF_ACCEPT_LATER] = "accept-later",
		[CONF_REFUSE] = "refuse",
	};

	return (unsigned)way < CONF_WAYS ? words[way] : "unknown";
}

void degrade_live_init(struct degrade_live *live)
{
	unsigned i;

	*live = (struct degrade_live){ .any_datacenter = true };
	for (i = 0; i < CONF_MAX_FEATURES; i++)
		live->share[i] = live->word_share[i] = DEGRADE_FULL;
}

struct note {
	enum degrade_why why;
	enum fault fault; /* FAULT_NONE: nothing was in the way so far */
};

static void note_take(struct note *note, enum degrade_why why, enum fault fault)
{
	if (note->fault != FAULT_SHARE_REFUSED && note->fault != FAULT_OVERLOADED)
		*note = (struct note){ why, fault };
}

static struct degrade_decision refuse(enum degrade_why why, enum fault fault)
{
	return (struct degrade_decision){ CONF_REFUSE, why, fault };
}

static bool tried(const struct degrade_request *r, enum conf_way way)
{
	return r->tried & (1u << way);
}

static bool within(uint16_t share, uint16_t cohort)
{
	return cohort < share || share >= DEGRADE_FULL;
}

static bool may_forward(const struct degrade_live *live, unsigned f, const struct degrade_request *r, struct note *note)
{
	if (live->word[f] == DEGRADE_STALE_ONLY) {
		note_take(note, DEGRADE_WHY_OPERATOR, FAULT_FEATURE_OFF);
	} else if (live->word[f] == DEGRADE_SHARE && !within(live->word_share[f], r->cohort)) {
		note_take(note, DEGRADE_WHY_SHARE, FAULT_SHARE_REFUSED);
	} else if (!within(live->share[f], r->cohort) || r->last_fault == FAULT_OVERLOADED) {
		note_take(note, DEGRADE_WHY_OVERLOADED, FAULT_OVERLOADED);
	} else if (r->can_forward && live->any_datacenter && !tried(r, CONF_FORWARD)) {
		return true;
	} else if (r->attempts || tried(r, CONF_FORWARD)) {
		bool told = (unsigned)r->last_fault < FAULT_COUNT && answerable[r->last_fault];

		note_take(note, DEGRADE_WHY_FORWARD_FAILED, told ? r->last_fault : FAULT_NO_DATACENTER);
	} else {
		note_take(note, DEGRADE_WHY_NO_DATACENTER, FAULT_NO_DATACENTER);
	}
	return false;
}

static bool may_stale(bool identity_needed, const struct degrade_request *r, struct note *note)
{
	if (!r->readable)
		return false;
	if (identity_needed && !r->has_identity)
		note_take(note, DEGRADE_WHY_NO_IDENTITY, FAULT_NO_IDENTITY);
	else if (tried(r, CONF_STALE))
		note_take(note, DEGRADE_WHY_STALE_MISSED, FAULT_NO_RECENT_STATE);
	else
		return true;
	return false;
}

static bool may_accept(const struct degrade_request *r, struct note *note)
{
	if (r->readable)
		return false;
	if (!tried(r, CONF_ACCEPT_LATER))
		return true;
	note_take(note, DEGRADE_WHY_OUTBOX_FAILED, FAULT_OUTBOX_UNAVAILABLE);
	return false;
}

/* Why a way that answers was taken: what kept the request from a better one, or the
 * mode when its plan no longer begins as the first mode's does. */
static enum degrade_why why_taken(const struct conf_ways *cell, const struct conf_ways *healthy, enum conf_way way,
				  const struct degrade_request *r, const struct note *note)
{
	if (way == CONF_FORWARD && r->attempts)
		return DEGRADE_WHY_FAILED_OVER;
	if (note->fault != FAULT_NONE)
		return note->why;
	return cell->way[0] == healthy->way[0] ? DEGRADE_WHY_PLAN : DEGRADE_WHY_MODE;
}

struct degrade_decision degrade_decide(const struct degrade_plan *plan, const struct degrade_live *live,
				       const struct degrade_request *r)
{
	struct note note = { DEGRADE_WHY_MODE, FAULT_NONE };
	const struct conf_ways *cell, *healthy;
	unsigned f = r->feature, mode = live->mode, i;

	if (!plan->features || plan->features > CONF_MAX_FEATURES || !plan->modes || plan->modes > CONF_MAX_MODES)
		return refuse(DEGRADE_WHY_PLAN, FAULT_INTERNAL);
	if (f >= plan->features)
		f = plan->features - 1; /* "unnamed" */
	if (mode >= plan->modes)
		mode = plan->modes - 1;
	if (live->word[f] == DEGRADE_OFF)
		return refuse(DEGRADE_WHY_OPERATOR, FAULT_FEATURE_OFF);
	healthy = &plan->cell[0][f];
	cell = live->word[f] == DEGRADE_ON ? healthy : &plan->cell[mode][f];

	for (i = 0; i < cell->count && i < CONF_WAYS; i++) {
		enum conf_way way = (enum conf_way)cell->way[i];

		if ((way == CONF_FORWARD && may_forward(live, f, r, &note)) ||
		    (way == CONF_STALE && may_stale(plan->identity_needed[f], r, &note)) ||
		    (way == CONF_ACCEPT_LATER && may_accept(r, &note)))
			return (struct degrade_decision){ way, why_taken(cell, healthy, way, r, &note), FAULT_NONE };
		if (way == CONF_REFUSE)
			break;
	}
	return refuse(note.why, note.fault == FAULT_NONE ? FAULT_MODE_REFUSED : note.fault);
}
