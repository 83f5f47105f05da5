/* SPDX-License-Identifier: MIT */
/*
 * Values with a shape of their own: tiers, ways to answer, routes, endpoints,
 * identities, networks. Tiers are read before modes and both before features (the
 * order of the table), so that the words of one can be looked up in another.
 */
#include "conf_private.h"

#include <stdlib.h>
#include <string.h>

static bool want_list(struct loader *l, const struct conf_key *k, const struct node *n)
{
	char expected[256];

	conf_key_expected(k, expected, sizeof(expected));
	if (!node_want(l->errors, n, NODE_LIST, k->name, expected))
		return false;
	if (n->count >= k->min && n->count <= k->max)
		return true;
	conf_errors_add(l->errors, n->mark, "\"%s\" has %u items; expected %u to %u", k->name, n->count, (unsigned)k->min,
			(unsigned)k->max);
	return false;
}

/* ---- words of this file ---- */

static int tier_index(const struct conf *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->tiers; i++)
		if (c->tier[i] && strcmp(c->tier[i], name) == 0)
			return (int)i;
	return -1;
}

static int tier_find(struct loader *l, const char *name, struct conf_mark at)
{
	int found = tier_index(l->c, name);
	struct suggest s;
	char near[96];
	size_t i;

	if (found >= 0)
		return found;
	suggest_init(&s, name);
	for (i = 0; i < l->c->tiers; i++)
		suggest_try(&s, l->c->tier[i]);
	conf_errors_add(l->errors, at, "unknown tier \"%.80s\"; expected one of \"tiers\"%s", name, suggest_text(&s, near, sizeof(near)));
	return -1;
}

static int mode_find(struct loader *l, const char *name, struct conf_mark at)
{
	struct suggest s;
	char near[96];
	size_t i;

	suggest_init(&s, name);
	for (i = 0; i < l->c->modes; i++) {
		if (!l->c->mode[i].name)
			continue;
		if (strcmp(l->c->mode[i].name, name) == 0)
			return (int)i;
		suggest_try(&s, l->c->mode[i].name);
	}
	conf_errors_add(l->errors, at, "unknown mode \"%.80s\"; expected one of \"modes\"%s", name, suggest_text(&s, near, sizeof(near)));
	return -1;
}

static void load_tiers(struct loader *l, const struct conf_key *k, const struct node *n)
{
	const struct node *item;

	if (!want_list(l, k, n))
		return;
	l->c->tiers = 0;
	l->c->tier = load_alloc(l, n->count * sizeof(*l->c->tier));
	for (item = n->child; item && l->c->tier; item = item->next) {
		if (!node_want(l->errors, item, NODE_SCALAR, "tiers", "names"))
			continue;
		if (!value_name_ok(item->text, 1, 32))
			conf_errors_add(l->errors, item->mark, "\"%.80s\" is no name for a tier; expected letters, digits, \"-\", \"_\", \".\"",
					item->text);
		else if (tier_index(l->c, item->text) >= 0)
			conf_errors_add(l->errors, item->mark, "tier \"%.80s\" is given twice; expected once", item->text);
		else
			l->c->tier[l->c->tiers++] = load_strdup(l, item->text);
	}
}

static void load_tier(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	int tier = node_want(l->errors, n, NODE_SCALAR, k->name, "one of the tiers") ? tier_find(l, n->text, n->mark) : -1;

	if (tier >= 0)
		((struct conf_feature *)base)->tier = (uint8_t)tier;
}

/* ---- ways ---- */

static int way_find(struct loader *l, const struct node *n)
{
	struct suggest s;
	char near[96];
	int i;

	suggest_init(&s, n->text);
	for (i = 0; i < CONF_WAYS; i++) {
		if (strcmp(conf_way_words[i], n->text) == 0)
			return i;
		suggest_try(&s, conf_way_words[i]);
	}
	conf_errors_add(l->errors, n->mark, "\"%.80s\" is no way to answer; expected forward, stale, accept-later or refuse%s", n->text,
			suggest_text(&s, near, sizeof(near)));
	return -1;
}

static void load_ways(struct loader *l, const struct node *n, struct conf_ways *ways)
{
	const struct node *item;
	int way;

	*ways = (struct conf_ways){ 0 };
	if (!node_want(l->errors, n, NODE_LIST, n->name, "a list of ways: forward, stale, accept-later, refuse"))
		return;
	if (!n->count || n->count > CONF_WAYS) {
		conf_errors_add(l->errors, n->mark, "\"%.80s\" has %u ways; expected 1 to %d of forward, stale, accept-later, refuse", n->name,
				n->count, CONF_WAYS);
		return;
	}
	for (item = n->child; item; item = item->next) {
		way = node_want(l->errors, item, NODE_SCALAR, n->name, "ways: forward, stale, accept-later, refuse") ? way_find(l, item) : -1;
		if (way >= 0)
			ways->way[ways->count++] = (uint8_t)way;
	}
}

/* A mapping of words of this file to ways; duplicates are refused. */
static bool ways_entry_ok(struct loader *l, const struct node *map, const struct node *n)
{
	const struct node *first = node_get(map, n->name);

	if (first == n)
		return true;
	conf_errors_add(l->errors, n->name_mark, "\"%.80s\" is given twice; expected once (line %d has it)", n->name, first->name_mark.line);
	return false;
}

static void load_mode_ways(struct loader *l, const struct conf_key *k, const struct node *n, struct conf_mode *mode)
{
	const struct node *entry;
	unsigned seen = 0;
	size_t i;
	int tier;

	if (!node_want(l->errors, n, NODE_MAP, k->name, "a list of ways for each tier"))
		return;
	for (entry = n->child; entry; entry = entry->next) {
		tier = ways_entry_ok(l, n, entry) ? tier_find(l, entry->name, entry->name_mark) : -1;
		if (tier < 0)
			continue;
		seen |= 1u << tier;
		load_ways(l, entry, &mode->ways[tier]);
	}
	for (i = 0; i < l->c->tiers; i++)
		if (!(seen & (1u << i)))
			conf_errors_add(l->errors, n->mark, "no ways for tier \"%s\"; expected a list of ways for each tier", l->c->tier[i]);
}

static void load_feature_ways(struct loader *l, const struct conf_key *k, const struct node *n, struct conf_feature *f)
{
	const struct node *entry;
	int mode;

	if (!node_want(l->errors, n, NODE_MAP, k->name, "a list of ways for some modes"))
		return;
	for (entry = n->child; entry; entry = entry->next) {
		mode = ways_entry_ok(l, n, entry) ? mode_find(l, entry->name, entry->name_mark) : -1;
		if (mode < 0)
			continue;
		f->set[mode] = true;
		load_ways(l, entry, &f->ways[mode]);
	}
}

/* ---- routes ---- */

static struct conf_route *route_add(struct loader *l, const struct node *n)
{
	struct conf *c = l->c;
	struct conf_route *grown;

	if (c->routes == CONF_LIST_MAX) {
		conf_errors_add(l->errors, n->mark, "too many routes; expected at most %d", CONF_LIST_MAX);
		return NULL;
	}
	if (c->routes == l->routes_room) {
		l->routes_room = l->routes_room ? l->routes_room * 2 : 32;
		grown = load_alloc(l, l->routes_room * sizeof(*grown));
		if (!grown)
			return NULL;
		if (c->routes)
			memcpy(grown, c->route, c->routes * sizeof(*grown));
		c->route = grown;
	}
	return &c->route[c->routes++];
}

static const char *slice(struct loader *l, const char *text, size_t len)
{
	const char *copy = arena_strndup(l->keep, text, len);

	if (!copy)
		l->no_memory = true;
	return copy;
}

/* One route for each method of "GET|PUT" (none: any method). */
static void routes_add(struct loader *l, const struct node *n, uint8_t feature, const char *methods, size_t len, const char *host,
		       const char *pattern)
{
	const char *end = methods + len;
	struct conf_route *r;
	size_t part;

	do {
		part = len ? strcspn(methods, "| ") : 0;
		r = route_add(l, n);
		if (!r)
			return;
		*r = (struct conf_route){ .mark = n->mark, .host = host, .pattern = pattern, .feature = feature };
		if (len)
			r->method = slice(l, methods, part);
		methods += part + 1;
	} while (methods < end);
}

/* "METHOD|METHOD host/path", "METHOD /path", "/path", "grpc Service/Method". What the
 * words themselves may be is route_check()'s to say. */
static void load_route(struct loader *l, const struct node *n, uint8_t feature)
{
	const char *text = n->text, *blank = strchr(text, ' '), *target = blank ? blank + 1 : text, *slash;
	size_t methods = blank ? (size_t)(blank - text) : 0;
	const char *host = NULL;

	if (strncmp(text, "grpc ", 5) == 0 && text[5] && !strchr(text + 5, ' ')) {
		routes_add(l, n, feature, text, 0, NULL, load_strdup(l, text));
		return;
	}
	slash = strchr(target, '/');
	if (!slash || strchr(target, ' ') || (blank && !methods) || (methods && text[methods - 1] == '|')) {
		conf_errors_add(l->errors, n->mark,
				"\"%.80s\" is no route; expected \"METHOD /path\", \"METHOD host/path\", \"/path\" or \"grpc package.Service/Method\"",
				text);
		return;
	}
	if (methods == 1 && *text == '*')
		methods = 0; /* any, said aloud */
	if (slash > target)
		host = slice(l, target, (size_t)(slash - target));
	routes_add(l, n, feature, text, methods, host, load_strdup(l, slash));
}

static void load_routes(struct loader *l, const struct conf_key *k, const struct node *n, const void *base)
{
	size_t feature = (size_t)((const struct conf_feature *)base - l->c->feature);
	const struct node *item;

	if (!want_list(l, k, n))
		return;
	for (item = n->child; item; item = item->next)
		if (node_want(l->errors, item, NODE_SCALAR, k->name, "routes, like \"GET /v1/rooms\""))
			load_route(l, item, (uint8_t)feature);
}

/* ---- endpoints ---- */

static void load_endpoint(struct loader *l, const struct node *n, struct conf_endpoint *e)
{
	const struct conf_key *k = NULL;

	if (n->kind != NODE_SCALAR) {
		load_map(l, CONF_B_ENDPOINT, n, e);
		return;
	}
	while ((k = conf_key_next(CONF_B_ENDPOINT, k)))
		load_fallback(l, k, e);
	load_scalar(l, conf_key_find(CONF_B_ENDPOINT, "address"), n, e);
}

static void load_endpoints(struct loader *l, const struct conf_key *k, const struct node *n, struct conf_datacenter *dc)
{
	struct conf *c = l->c;
	const struct node *item;

	if (!want_list(l, k, n))
		return;
	if (!c->endpoint)
		c->endpoint = load_alloc(l, CONF_MAX_ENDPOINTS * sizeof(*c->endpoint));
	dc->first_endpoint = (uint16_t)c->endpoints;
	for (item = n->child; item && c->endpoint; item = item->next) {
		if (c->endpoints == CONF_MAX_ENDPOINTS) {
			conf_errors_add(l->errors, item->mark, "too many endpoints; expected at most %d over all datacenters", CONF_MAX_ENDPOINTS);
			return;
		}
		c->endpoint[c->endpoints].mark = item->mark;
		c->endpoint[c->endpoints].datacenter = (uint16_t)(dc - c->datacenter);
		load_endpoint(l, item, &c->endpoint[c->endpoints++]);
		dc->endpoints++;
	}
}

/* ---- the rest ---- */

static void load_identity(struct loader *l, const struct node *n, struct conf_feature *f)
{
	static const char expected[] = "bearer, header:NAME, certificate or none";
	struct suggest s;
	char near[96];
	int kind;

	if (!node_want(l->errors, n, NODE_SCALAR, "identity", expected))
		return;
	kind = value_choice("none|bearer|header|certificate", n->text);
	if (strncmp(n->text, "header:", 7) == 0 && value_field_ok(n->text + 7)) {
		f->identity = CONF_IDENTITY_HEADER;
		f->identity_header = load_strdup(l, n->text + 7);
	} else if (kind >= 0 && kind != CONF_IDENTITY_HEADER) {
		f->identity = (enum conf_identity)kind;
	} else {
		suggest_init(&s, n->text);
		suggest_try(&s, "bearer");
		suggest_try(&s, "certificate");
		suggest_try(&s, "none");
		conf_errors_add(l->errors, n->mark, "\"%.80s\" is no identity; expected %s%s", n->text,
				strncmp(n->text, "header", 6) == 0 ? "header: and the name of a field in lower case" : expected,
				suggest_text(&s, near, sizeof(near)));
	}
}

static void load_networks(struct loader *l, const struct conf_key *k, const struct node *n)
{
	struct conf_headers *h = &l->c->headers;
	const struct node *item;
	const char *wrong;

	if (!want_list(l, k, n))
		return;
	h->trusted = load_alloc(l, (n->count + 1) * sizeof(*h->trusted));
	for (item = n->child; item && h->trusted; item = item->next) {
		if (!node_want(l->errors, item, NODE_SCALAR, k->name, "networks, like \"10.0.0.0/8\""))
			continue;
		wrong = value_network_check(item->text);
		if (wrong)
			conf_errors_add(l->errors, item->mark, "\"%.80s\" %s; expected a network like \"10.0.0.0/8\"", item->text, wrong);
		else
			h->trusted[h->trusted_count++] = load_strdup(l, item->text);
	}
}

void load_shape(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	switch (k->type) {
	case CONF_T_IDENTITY:
		load_identity(l, n, base);
		break;
	case CONF_T_TIER:
		load_tier(l, k, n, base);
		break;
	case CONF_T_TIERS:
		load_tiers(l, k, n);
		break;
	case CONF_T_WAYS_BY_TIER:
		load_mode_ways(l, k, n, base);
		break;
	case CONF_T_WAYS_BY_MODE:
		load_feature_ways(l, k, n, base);
		break;
	case CONF_T_ROUTES:
		load_routes(l, k, n, base);
		break;
	case CONF_T_ENDPOINTS:
		load_endpoints(l, k, n, base);
		break;
	default:
		load_networks(l, k, n);
	}
}
