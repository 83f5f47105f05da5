/* SPDX-License-Identifier: MIT */
/* The words of a scenario, as tables. */
#include "scenario.h"

const char *const scenario_places[PLACES] = {
#define X(name, word) word,
	SCENARIO_PLACES(X)
#undef X
};

const struct scenario_verb scenario_verbs[VERB_COUNT] = {
#define X(name, word, private, write) { word, private, write },
	VERBS(X)
#undef X
};

const struct scenario_fault_info scenario_faults[SFAULTS] = {
#define X(name, word, who, valued, unit, help) { word, WHO_##who, valued, unit, help },
	SCENARIO_FAULTS(X)
#undef X
};

const char *scenario_place(const struct scenario *s, int datacenter)
{
	return datacenter < 0 ? scenario_places[-1 - datacenter] : s->datacenter[datacenter].name;
}

bool scenario_momentary(enum scenario_fault fault, int datacenter)
{
	return fault == SFAULT_CUT || (fault == SFAULT_KILL && datacenter < PLACE_REDIS);
}
