/* SPDX-License-Identifier: MIT */
/* What the datacenter tests share: configurations made by hand. */
#ifndef DC_TEST_H
#define DC_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../cases.h"
#include "firebreak/clock.h"
#include "firebreak/dc_machine.h"

struct world {
	struct conf conf;
	struct conf_datacenter dc[CONF_MAX_DATACENTERS];
	struct conf_endpoint ep[CONF_MAX_ENDPOINTS];
	char name[CONF_MAX_DATACENTERS][32];
	char address[CONF_MAX_ENDPOINTS][64];
	struct dc_live live;
	struct dc_local local;
};

static inline void world_clear(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->conf.datacenter = w->dc;
	w->conf.endpoint = w->ep;
	w->conf.tiers = 3;
}

static inline void world_datacenter(struct world *w, const char *name, uint32_t capacity, uint16_t weight)
{
	unsigned d = (unsigned)w->conf.datacenters++;

	snprintf(w->name[d], sizeof(w->name[d]), "%s", name);
	w->dc[d] = (struct conf_datacenter){ .name = w->name[d], .capacity = capacity, .weight = weight,
					     .first_endpoint = (uint16_t)w->conf.endpoints, .check_path = "/healthz",
					     .check_interval_ms = 2000, .check_timeout_ms = 1000, .rise = 2, .fall = 3 };
}

static inline unsigned world_endpoint(struct world *w, uint16_t weight)
{
	unsigned i = (unsigned)w->conf.endpoints++, d = (unsigned)w->conf.datacenters - 1;

	snprintf(w->address[i], sizeof(w->address[i]), "127.0.0.1:%u", 1 + i);
	w->ep[i] = (struct conf_endpoint){ .address = w->address[i], .datacenter = (uint16_t)d, .weight = weight };
	w->dc[d].endpoints++;
	return i;
}

/* All endpoints in this state. */
static inline void world_state(struct world *w, enum dc_state s)
{
	unsigned i;

	for (i = 0; i < w->conf.endpoints; i++)
		w->live.endpoint_state[i] = (uint8_t)s;
	dc_assume(&w->conf, &w->live);
}

#endif
