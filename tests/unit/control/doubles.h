/* SPDX-License-Identifier: MIT */
/*
 * A configuration made by hand and doubles for the neighbours control reaches the outside
 * through: the probe (what the checks would say is set here), the loader, and Redis.
 */
#ifndef TEST_DOUBLES_H
#define TEST_DOUBLES_H

#include "firebreak/conf.h"
#include "firebreak/dc.h"
#include "firebreak/dc_probe.h"
#include "firebreak/redis.h"

/* Two datacenters "a" and "b" with two endpoints each (0 and 1, 2 and 3); modes normal,
 * reduced, core-only, island; features send and rooms (core), backup (standard), shop
 * (optional), unnamed (optional). A copy each time; conf_free takes it. */
struct conf *test_conf(const char *state_dir);
/* The same with datacenter b first and without feature shop. */
struct conf *test_conf_reordered(const char *state_dir);

struct dc_health *test_probe(unsigned endpoint);
/* What requests tell in every look, and where they were answered well. */
struct dc_traffic *test_traffic(unsigned endpoint);
void test_works(uint64_t endpoints);
void test_probe_reset(void);
/* Tells the subscriber. */
void test_probe_change(unsigned endpoint, enum dc_state state, enum fault why);
/* What conf_load gives next (taken); NULL: it reports an error. */
void test_conf_next(struct conf *next);
extern int test_confs; /* configurations alive */

/* A Redis in which one hash may lie, and what it answers: to any client, at once. */
#define TEST_ENTRIES 80
struct test_redis {
	struct test_entry {
		char field[32], value[800]; /* value "": taken away */
	} entry[TEST_ENTRIES + 1];
	char key[64];          /* as named last */
	bool down;             /* takes no commands */
	bool more;             /* a listing says that it is not all */
	enum fault fault;      /* instead of a reply */
	enum rds_error error;  /* as a reply */
	unsigned dropped;      /* times the hash was unlinked */
};
struct test_redis *test_redis(void);

#endif
