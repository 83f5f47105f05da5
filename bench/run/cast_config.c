/* SPDX-License-Identifier: MIT */
/*
 * The proxy's configuration, made from the scenario: what each verb needs of its feature,
 * the datacenters as the proxy reaches them, and what the scenario's `extra` says instead.
 */
#include <errno.h>
#include <string.h>

#include "cast.h"
#include "firebreak/clock.h"

/* Route and what a feature needs to be served as a messenger would have it. */
static const struct {
	const char *route, *more;
} verbs[VERB_COUNT] = {
#define KEPT "    state: { keep: true }\n"
#define OPEN "    state: { keep: true, shared: true }\n"
	[VERB_SEND] = { "POST /v1/rooms/{room}/messages", "    idempotency: idempotency-key\n" },
	[VERB_RECENT] = { "GET /v1/rooms/{room}/messages", KEPT },
	[VERB_ROOMS] = { "GET /v1/rooms", KEPT },
	[VERB_SYNC] = { "GET /v1/sync", KEPT },
	[VERB_PRESENCE] = { "GET|PUT /v1/presence/{user}", KEPT },
	[VERB_LOGIN] = { "POST /v1/login/refresh", "" },
	[VERB_PROFILE] = { "GET|PUT /v1/profile", KEPT },
	[VERB_UPLOAD] = { "POST /v1/media", "    body_limit: 1GiB\n    timeout: 30s\n" },
	[VERB_DOWNLOAD] = { "GET /v1/media/{id}", "    timeout: 30s\n" },
	[VERB_BACKUP] = { "PUT|POST /v1/backup", "    body_limit: unlimited\n    timeout: 30s\n" },
	[VERB_RESTORE] = { "GET /v1/backup", "    timeout: 30s\n" },
	[VERB_SHOP] = { "/v1/shopping/**", OPEN },
	[VERB_EVENTS] = { "GET /v1/events", "    long_lived: true\n    stream_idle: 1h\n" },
	[VERB_GET] = { NULL, OPEN },
};

/* A line of `extra` has this key: it takes the place of ours. */
static bool taken(const struct cast *c, const char *key)
{
	const char *p = c->s->proxy.extra;
	size_t n = strlen(key);

	while (p && *p) {
		if (!strncmp(p, key, n) && p[n] == ':')
			return true;
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	return false;
}

static void write_datacenters(const struct cast *c, FILE *f)
{
	const struct scenario *s = c->s;
	const char *comma = "";
	unsigned d, e;

	if (taken(c, "datacenters"))
		return;
	fprintf(f, "datacenters:\n");
	for (d = 0; d < s->datacenters; d++) {
		fprintf(f, "  - name: %s\n", s->datacenter[d].name);
		if (s->datacenter[d].capacity >= 1)
			fprintf(f, "    capacity: %.0f\n", s->datacenter[d].capacity * s->datacenter[d].endpoints);
		else
			fprintf(f, "    capacity: %u\n", 100 * s->datacenter[d].endpoints);
		fprintf(f, "    restore: { hold: %lldms, over: %lldms }\n    endpoints: [", (long long)(s->proxy.restore_hold / CLOCK_MS),
			(long long)(s->proxy.restore_over / CLOCK_MS));
		for (e = 0, comma = ""; e < c->endpoints; e++) {
			if (c->endpoint[e].datacenter != (int)d)
				continue;
			fprintf(f, "%s\"%s\"", comma, c->endpoint[e].front);
			comma = ", ";
		}
		fprintf(f, "]\n");
	}
}

static void write_features(const struct cast *c, FILE *f)
{
	const struct scenario *s = c->s;
	unsigned i;

	if (taken(c, "features"))
		return;
	fprintf(f, "features:\n");
	for (i = 0; i < s->features; i++) {
		const struct scenario_feature *t = &s->feature[i];
		const char *route = verbs[t->does].route;

		fprintf(f, "  - name: %s\n    tier: %s\n", t->name, t->tier);
		if (route)
			fprintf(f, "    routes: [\"%s\"]\n", route);
		else
			fprintf(f, "    routes: [\"GET %.*s\"]\n", (int)strcspn(t->path, "?"), t->path);
		/* Users keep to a datacenter: by their address they would all be one. */
		fprintf(f, "    identity: bearer\n%s", verbs[t->does].more);
	}
	/* Event streams are held beside the features' requests. */
	for (i = 0; i < s->features && s->feature[i].does != VERB_EVENTS; i++)
		;
	if (s->event_streams && i == s->features)
		fprintf(f, "  - name: events\n    tier: core\n    routes: [\"%s\"]\n    identity: bearer\n%s", verbs[VERB_EVENTS].route, verbs[VERB_EVENTS].more);
}

static void write_rest(const struct cast *c, FILE *f)
{
	const struct scenario *s = c->s;

	if (!taken(c, "node"))
		fprintf(f, "node: rehearsal\n");
	if (!taken(c, "workers"))
		fprintf(f, "workers: %u\n", s->proxy.workers ? s->proxy.workers : 1);
	if (!taken(c, "drain_timeout"))
		fprintf(f, "drain_timeout: 1s\n");
	if (!taken(c, "cache"))
		fprintf(f, "cache: { secret_file: secret }\n");
	if (!taken(c, "control"))
		fprintf(f, "control: { hold: 2s, state_dir: \"%s/overrides\" }\n", c->folder);
	fprintf(f, "listen:\n  - { address: \"%s\"%s }\n", c->target, s->proxy.tls ? ", certificate: cert.pem, key: key.pem" : "");
	if (s->proxy.redis)
		fprintf(f, "redis: { address: \"unix:%s/%s.sock\" }\n", c->folder, s->proxy.wire ? "wire" : "redis");
	fprintf(f, "admin: { address: \"%s\", token_file: token }\n", c->admin);
	fprintf(f, "log: { events: stderr, access: off }\n");
	if (s->proxy.extra)
		fprintf(f, "%s\n", s->proxy.extra);
}

bool cast_config_write(const struct cast *c, const char *path, char *why, size_t size)
{
	FILE *f = fopen(path, "we");
	bool ok = f;

	if (f) {
		fprintf(f, "# made for the rehearsal \"%s\"\n", c->s->name);
		write_rest(c, f);
		write_datacenters(c, f);
		write_features(c, f);
		ok = !ferror(f);
		ok = !fclose(f) && ok;
	}
	if (!ok)
		snprintf(why, size, "%s: %s", path, strerror(errno));
	return ok;
}
