/* SPDX-License-Identifier: MIT */
#include "firebreak/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fence.h"
#include "xchg_private.h"

struct snapshot *snapshot_get(struct snapshot *s)
{
	s->refs++;
	return s;
}

void snapshot_put(struct snapshot *s)
{
	size_t i;

	if (!s || --s->refs)
		return;
	for (i = 0; i < CONF_MAX_LISTENERS; i++)
		net_tls_put(s->tls[i]);
	free(s->routes);
	free(s->trusted);
	conf_free(s->conf);
	free(s);
}

static bool make_tls(struct snapshot *s, const unsigned char *ticket_key, char *why)
{
	size_t i;

	for (i = 0; i < s->conf->listeners; i++) {
		if (!s->conf->listener[i].tls.certificate)
			continue;
		s->tls[i] = net_tls_server(&s->conf->listener[i].tls, ticket_key, why);
		if (!s->tls[i])
			return false;
	}
	return true;
}

/* Takes conf, also when it fails. */
struct snapshot *snapshot_create(const struct conf *conf, const unsigned char *ticket_key, char *why)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	size_t size = route_table_size(conf), i;

	snprintf(why, 256, "out of memory");
	if (!s) {
		conf_free(conf);
		return NULL;
	}
	s->refs = 1;
	s->conf = conf;
	s->routes = malloc(size);
	s->trusted = calloc(conf->headers.trusted_count + 1, sizeof(*s->trusted));
	if (!s->routes || !s->trusted || !make_tls(s, ticket_key, why)) {
		snapshot_put(s);
		return NULL;
	}
	route_compile(conf, s->routes, size);
	degrade_compile(conf, &s->plan, NULL, NULL);
	for (i = 0; i < conf->headers.trusted_count; i++)
		s->trusted_count += net_cidr_parse(&s->trusted[s->trusted_count], conf->headers.trusted[i]);
	for (i = 0; i < conf->datacenters; i++)
		s->place[i] = fence_place(conf->datacenter[i].name);
	for (i = 0; i < conf->features; i++)
		s->connect_protocol |= conf->feature[i].connect;
	return s;
}

bool snapshot_trusts(const struct snapshot *s, const struct net_addr *peer)
{
	size_t i;

	for (i = 0; i < s->trusted_count; i++) {
		if (net_cidr_match(&s->trusted[i], peer))
			return true;
	}
	return false;
}

uint8_t snapshot_feature(const struct snapshot *s, const char *name)
{
	size_t i;

	for (i = 0; i + 1 < s->conf->features && strcmp(s->conf->feature[i].name, name); i++)
		;
	return (uint8_t)i;
}

void snapshot_default_live(const struct snapshot *s, struct board_live *live)
{
	memset(live, 0, sizeof(*live));
	live->generation = s->conf->generation;
	degrade_live_init(&live->degrade);
	dc_assume(s->conf, &live->dc); /* every endpoint is up */
}
