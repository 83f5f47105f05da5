/* SPDX-License-Identifier: MIT */
#include "doubles.h"

#include <stdlib.h>
#include <string.h>

int test_confs;

struct whole {
	struct conf conf; /* first: conf_free gets this address */
	struct conf_datacenter datacenter[2];
	struct conf_endpoint endpoint[4];
	struct conf_mode mode[4];
	struct conf_feature feature[5];
	const char *tier[3];
};

static struct conf_ways ways(const char *letters)
{
	struct conf_ways w = { 0 };

	for (; *letters; letters++)
		w.way[w.count++] = *letters == 'f' ? CONF_FORWARD : *letters == 's' ? CONF_STALE : CONF_REFUSE;
	return w;
}

static void mode(struct conf_mode *m, const char *name, uint16_t below, const char *core, const char *standard, const char *optional)
{
	m->name = name;
	m->enter_below = below;
	m->ways[0] = ways(core);
	m->ways[1] = ways(standard);
	m->ways[2] = ways(optional);
}

static void feature(struct conf_feature *f, const char *name, uint8_t tier, bool keep)
{
	f->name = name;
	f->tier = tier;
	f->keep_state = keep;
	f->identity = keep ? CONF_IDENTITY_BEARER : CONF_IDENTITY_NONE;
}

static void datacenter(struct whole *w, unsigned d, const char *name, const char *first, const char *second)
{
	const char *address[] = { first, second };
	unsigned i;

	w->datacenter[d] = (struct conf_datacenter){
		.name = name, .capacity = 100, .weight = 100, .first_endpoint = (uint16_t)(2 * d), .endpoints = 2,
		.check_path = "/healthz", .check_interval_ms = 200, .check_timeout_ms = 100, .rise = 2, .fall = 3,
	};
	for (i = 0; i < 2; i++)
		w->endpoint[2 * d + i] = (struct conf_endpoint){ .address = address[i], .datacenter = (uint16_t)d, .weight = 1 };
}

static struct whole *make(const char *state_dir)
{
	struct whole *w = calloc(1, sizeof(*w));
	struct conf *c = &w->conf;

	test_confs++;
	c->path = "test.yaml";
	c->node = "node-1";
	c->generation = 1;
	c->drain_timeout_ms = 1000;
	c->datacenter = w->datacenter;
	c->datacenters = 2;
	c->endpoint = w->endpoint;
	c->endpoints = 4;
	c->mode = w->mode;
	c->modes = 4;
	c->feature = w->feature;
	c->tier = w->tier;
	c->tiers = 3;
	c->control.hold_ms = 1000;
	c->outliers.most = 5000;
	c->control.override_max_s = 72 * 3600;
	c->control.state_dir = state_dir;
	c->admin.address = "127.0.0.1:9901";
	c->log.events = c->log.access = "off";
	c->log.level = 3;
	w->tier[0] = "core";
	w->tier[1] = "standard";
	w->tier[2] = "optional";
	mode(&w->mode[0], "normal", 0, "fs", "f", "f");
	mode(&w->mode[1], "reduced", 7500, "fs", "f", "r");
	mode(&w->mode[2], "core-only", 4000, "fs", "r", "r");
	mode(&w->mode[3], "island", 1, "s", "r", "r");
	return w;
}

struct conf *test_conf(const char *state_dir)
{
	struct whole *w = make(state_dir);

	datacenter(w, 0, "a", "10.0.0.1:80", "10.0.0.2:80");
	datacenter(w, 1, "b", "10.0.1.1:80", "10.0.1.2:80");
	feature(&w->feature[0], "send", 0, false);
	feature(&w->feature[1], "rooms", 0, true);
	feature(&w->feature[2], "backup", 1, false);
	feature(&w->feature[3], "shop", 2, false);
	feature(&w->feature[4], "unnamed", 2, false);
	w->conf.features = 5;
	return &w->conf;
}

struct conf *test_conf_reordered(const char *state_dir)
{
	struct whole *w = make(state_dir);

	datacenter(w, 0, "b", "10.0.1.1:80", "10.0.1.2:80");
	datacenter(w, 1, "a", "10.0.0.1:80", "10.0.0.2:80");
	feature(&w->feature[0], "backup", 1, false);
	feature(&w->feature[1], "rooms", 0, true);
	feature(&w->feature[2], "send", 0, false);
	feature(&w->feature[3], "unnamed", 2, false);
	w->conf.features = 4;
	return &w->conf;
}

/* ---- config/ ---- */
static struct conf *next_conf;

struct conf_errors {
	char nothing;
};

void test_conf_next(struct conf *next)
{
	next_conf = next;
}

const struct conf *conf_load(const char *path, const char *text, size_t len, struct conf_errors *errors)
{
	struct conf *c = next_conf;

	next_conf = NULL;
	return c;
}

void conf_free(const struct conf *c)
{
	if (c)
		test_confs--;
	free((void *)(uintptr_t)c);
}

void conf_dump(const struct conf *c, FILE *out)
{
	fprintf(out, "node: %s\n", c->node);
}

struct conf_errors *conf_errors_create(void)
{
	return calloc(1, sizeof(struct conf_errors));
}

void conf_errors_destroy(struct conf_errors *e)
{
	free(e);
}

/* ---- datacenter/probe.c ---- */
struct dc_probe {
	void (*on_change)(void *user, unsigned endpoint, const struct dc_health *h);
	void *user;
};

static struct dc_health health[CONF_MAX_ENDPOINTS];
static struct dc_traffic traffic[CONF_MAX_ENDPOINTS];
static uint64_t works;
static struct dc_probe *the_probe;
static struct test_redis the_redis;

struct dc_traffic *test_traffic(unsigned endpoint)
{
	return &traffic[endpoint];
}

void test_works(uint64_t endpoints)
{
	works = endpoints;
}

struct dc_health *test_probe(unsigned endpoint)
{
	return &health[endpoint];
}

void test_probe_reset(void)
{
	memset(health, 0, sizeof(health));
	memset(traffic, 0, sizeof(traffic));
	works = 0;
	memset(&the_redis, 0, sizeof(the_redis));
}

void test_probe_change(unsigned endpoint, enum dc_state state, enum fault why)
{
	health[endpoint].state = state;
	health[endpoint].why = why;
	if (the_probe)
		the_probe->on_change(the_probe->user, endpoint, &health[endpoint]);
}

struct dc_probe *dc_probe_create(struct net_loop *loop, const struct conf *conf, struct board *board,
				 void (*on_change)(void *user, unsigned endpoint, const struct dc_health *h), void *user)
{
	struct dc_probe *p = calloc(1, sizeof(*p));

	p->on_change = on_change;
	p->user = user;
	the_probe = p;
	return p;
}

void dc_probe_destroy(struct dc_probe *p)
{
	if (p == the_probe)
		the_probe = NULL;
	free(p);
}

void dc_probe_states(const struct dc_probe *p, struct dc_live *live)
{
	unsigned i;

	for (i = 0; i < CONF_MAX_ENDPOINTS; i++)
		live->endpoint_state[i] = (uint8_t)health[i].state;
}

const struct dc_health *dc_probe_health(const struct dc_probe *p, unsigned endpoint)
{
	return &health[endpoint];
}

void dc_probe_traffic(struct dc_probe *p, struct dc_traffic out[CONF_MAX_ENDPOINTS])
{
	memcpy(out, traffic, sizeof(traffic));
}

bool dc_probe_works(const struct dc_probe *p, unsigned endpoint)
{
	return works >> endpoint & 1;
}

void dc_probe_hurry(struct dc_probe *p, unsigned endpoint)
{
}

void dc_probe_pump(struct dc_probe *p)
{
}

/* ---- redis/: one hash; what is asked is answered by rds_pump ---- */
#define ASKED 16
struct rds_client {
	struct {
		const char *command;
		rds_done done;
		void *user;
	} asked[ASKED];
	unsigned count;
};

static struct rds_client *the_client;

struct test_redis *test_redis(void)
{
	return &the_redis;
}

struct rds_client *rds_create(struct net_loop *loop, const struct conf_redis *c, struct tm_worker *tm)
{
	return the_client = calloc(1, sizeof(*the_client));
}

void rds_destroy(struct rds_client *r)
{
	if (r && r == the_client)
		the_client = NULL;
	free(r);
}

static struct test_entry *entry(const char *field)
{
	struct test_entry *e = the_redis.entry;

	while (*e->field && strcmp(e->field, field) != 0)
		e++;
	return e;
}

/* Written as it is asked, like by a Redis that is fast. */
static void execute(int argc, const char *const *argv)
{
	struct test_entry *e;
	int i;

	snprintf(the_redis.key, sizeof(the_redis.key), "%s", argv[1]);
	if (!strcmp(argv[0], "HSET")) {
		e = entry(argv[2]);
		snprintf(e->field, sizeof(e->field), "%s", argv[2]);
		snprintf(e->value, sizeof(e->value), "%s", argv[3]);
	}
	for (i = 2; i < argc && !strcmp(argv[0], "HDEL"); i++)
		snprintf(entry(argv[i])->value, sizeof(e->value), "%s", "");
	if (!strcmp(argv[0], "UNLINK")) {
		memset(the_redis.entry, 0, sizeof(the_redis.entry));
		the_redis.dropped++;
		the_redis.more = false;
		the_redis.fault = FAULT_NONE;
		the_redis.error = RDS_ERROR_NONE;
	}
}

bool rds_command(struct rds_client *r, int argc, const char *const *argv, const size_t *lens, rds_done done, void *user)
{
	if (the_redis.down || r->count == ASKED)
		return false;
	r->asked[r->count].command = !strcmp(argv[0], "HSCAN") ? "HSCAN" : "";
	r->asked[r->count].done = done;
	r->asked[r->count++].user = user;
	execute(argc, argv);
	return true;
}

static const struct rds_reply *listing(struct rds_reply reply[3 + 2 * TEST_ENTRIES], const struct rds_reply **at)
{
	const struct rds_reply **list = at + 2;
	struct rds_reply *r = reply + 3;
	struct test_entry *e;

	reply[0] = (struct rds_reply){ .type = RDS_ARRAY, .element = at, .elements = 2 };
	reply[1] = (struct rds_reply){ .type = RDS_STRING, .text = the_redis.more ? "17" : "0", .len = the_redis.more ? 2 : 1 };
	reply[2] = (struct rds_reply){ .type = RDS_ARRAY, .element = list };
	at[0] = &reply[1];
	at[1] = &reply[2];
	for (e = the_redis.entry; *e->field; e++) {
		if (!*e->value)
			continue;
		*r = (struct rds_reply){ .type = RDS_STRING, .text = e->field, .len = strlen(e->field) };
		list[reply[2].elements++] = r++;
		*r = (struct rds_reply){ .type = RDS_STRING, .text = e->value, .len = strlen(e->value) };
		list[reply[2].elements++] = r++;
	}
	return reply;
}

void rds_pump(struct rds_client *r)
{
	struct rds_reply reply[3 + 2 * TEST_ENTRIES];
	const struct rds_reply *at[2 + 2 * TEST_ENTRIES];
	unsigned i, n = r->count;

	r->count = 0;
	for (i = 0; i < n; i++) {
		const struct rds_reply error = { .type = RDS_ERROR, .error = the_redis.error, .text = "ERR" };
		bool fails = the_redis.error != RDS_ERROR_NONE;

		if (!r->asked[i].done)
			continue;
		if (the_redis.fault != FAULT_NONE)
			r->asked[i].done(r->asked[i].user, NULL, the_redis.fault);
		else
			r->asked[i].done(r->asked[i].user, fails ? &error : listing(reply, at), fails ? FAULT_REDIS_ERROR : FAULT_NONE);
	}
}
