/* SPDX-License-Identifier: MIT */
/* The words of a scenario, as tables. */
#include "scenario.h"

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
