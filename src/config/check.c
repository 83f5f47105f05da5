/* SPDX-License-Identifier: MIT */
/*
 * What one key alone cannot say: pairs, duplicates, and values that only make sense
 * beside another. Patterns of routes and the plan (core last) are checked by the rooms
 * that understand them, into the same errors.
 */
#include "conf_private.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static bool same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

/* Where a key is written, else the mapping that should have it. */
static struct conf_mark place(const struct node *map, const char *key)
{
	const struct node *n = node_get(map, key);

	if (n)
		return n->mark;
	return map ? map->mark : (struct conf_mark){ 0, 0 };
}

/* Written, and not as "none". */
static bool given(const struct node *map, const char *key)
{
	const struct node *n = node_get(map, key);

	return n && n->text && strcmp(n->text, "none") != 0;
}

/* ---- duplicates ---- */

/* The n-th thing's name, or NULL where it could not be read. */
typedef const char *(*name_of)(const struct conf *c, size_t n);

static const char *listener_name(const struct conf *c, size_t n) { return c->listener[n].address; }
static const char *datacenter_name(const struct conf *c, size_t n) { return c->datacenter[n].name; }
static const char *endpoint_name(const struct conf *c, size_t n) { return c->endpoint[n].address; }
static const char *mode_name(const struct conf *c, size_t n) { return c->mode[n].name; }
static const char *feature_name(const struct conf *c, size_t n) { return c->feature[n].name; }

static void check_unique(struct loader *l, const char *what, size_t n, name_of name, const void *array, size_t size)
{
	const struct conf_mark *mark, *first;
	size_t i, j;

	for (i = 1; i < n; i++) {
		for (j = 0; j < i && !same(name(l->c, i), name(l->c, j)); j++)
			;
		if (j == i)
			continue;
		mark = (const void *)((const char *)array + i * size);
		first = (const void *)((const char *)array + j * size);
		/* "unnamed" stands last wherever it is written: tell the later line. */
		if (first->line > mark->line || (first->line == mark->line && first->column > mark->column))
			mark = first;
		conf_errors_add(l->errors, *mark, "%s \"%s\" is given twice; expected once", what, name(l->c, i));
	}
}

static void check_duplicates(struct loader *l)
{
	struct conf *c = l->c;

	check_unique(l, "listener", c->listeners, listener_name, c->listener, sizeof(*c->listener));
	check_unique(l, "datacenter", c->datacenters, datacenter_name, c->datacenter, sizeof(*c->datacenter));
	check_unique(l, "endpoint", c->endpoints, endpoint_name, c->endpoint, sizeof(*c->endpoint));
	check_unique(l, "mode", c->modes, mode_name, c->mode, sizeof(*c->mode));
	check_unique(l, "feature", c->features, feature_name, c->feature, sizeof(*c->feature));
}

/* ---- each thing ---- */

static void check_pair(struct loader *l, const struct node *n, const char *certificate, const char *key)
{
	bool has = given(n, certificate), has_key = given(n, key);

	if (has && !has_key)
		conf_errors_add(l->errors, place(n, certificate), "\"%s\" has no \"%s\"; expected both or neither", certificate, key);
	else if (has_key && !has)
		conf_errors_add(l->errors, place(n, key), "\"%s\" has no \"%s\"; expected both or neither", key, certificate);
}

static void check_listeners(struct loader *l, const struct node *root)
{
	const struct node *list = node_get(root, "listen"), *n;
	const struct conf *c = l->c;
	size_t i;

	for (i = 0; i < c->listeners; i++) {
		n = node_item(list, i);
		check_pair(l, n, "certificate", "key");
		check_pair(l, n, "certificate2", "key2");
		if (given(n, "certificate2") && !given(n, "certificate"))
			conf_errors_add(l->errors, place(n, "certificate2"), "a second certificate without a first; expected \"certificate\"");
		if (c->listener[i].proxy_protocol && !c->headers.trusted_count && strncmp(c->listener[i].address ? c->listener[i].address : "", "unix:", 5) != 0)
			conf_errors_add(l->errors, place(n, "proxy_protocol"), "PROXY headers are believed from nobody; expected networks in \"trusted\" of \"headers\"");
		if (same(c->listener[i].address, c->admin.address))
			conf_errors_add(l->errors, place(n, "address"), "\"%s\" is the address of \"admin\" too; expected another",
					c->admin.address);
	}
}

static void check_datacenters(struct loader *l, const struct node *root)
{
	const struct node *list = node_get(root, "datacenters");
	const struct conf_datacenter *dc;
	char interval[32];
	size_t i;

	for (i = 0; i < l->c->datacenters; i++) {
		dc = &l->c->datacenter[i];
		if (dc->check_timeout_ms <= dc->check_interval_ms)
			continue;
		value_print(CONF_T_DURATION, dc->check_interval_ms, interval, sizeof(interval));
		conf_errors_add(l->errors, place(node_get(node_item(list, i), "check"), "timeout"),
				"a check's timeout is longer than its interval; expected at most %s", interval);
	}
}

static void check_modes(struct loader *l, const struct node *root)
{
	const struct node *first = node_item(node_get(root, "modes"), 0);

	if (l->c->modes && l->c->mode[0].enter_below)
		conf_errors_add(l->errors, place(first, "enter_below"),
				"the first mode is the healthy one and is not entered by a lack of capacity; expected no \"enter_below\"");
}

/* Written, but not as a word that could be taken over: that has been told. */
static bool misspelt(const struct node *list, const struct conf_feature *f, const char *key)
{
	const struct node *n = list ? list->child : NULL;

	while (n && (n->mark.line != f->mark.line || n->mark.column != f->mark.column))
		n = n->next;
	return n && given(n, key);
}

static void check_features(struct loader *l, const struct node *root)
{
	const struct node *list = node_get(root, "features"), *n, *name;
	const struct conf_feature *f;
	size_t i;

	for (i = 0; i < l->c->features; i++) {
		f = &l->c->feature[i];
		if (f->keep_state && !f->shared_state && f->identity == CONF_IDENTITY_NONE && f->name && !misspelt(list, f, "identity"))
			conf_errors_add(l->errors, f->mark,
					"feature \"%s\" keeps private state and no \"identity\" to tell whose it is; expected one, or \"shared: true\"",
					f->name);
		if (f->keep_state && !f->shared_state && f->identity == CONF_IDENTITY_CERTIFICATE)
			conf_errors_add(l->errors, f->mark,
					"feature \"%s\" keeps state by client certificates, which are not yet asked for; expected bearer or header:NAME",
					f->name);
		if (f->identity == CONF_IDENTITY_HEADER && !l->c->headers.trusted_count)
			conf_errors_add(l->errors, f->mark,
					"feature \"%s\" takes its identity from \"%s\", which nobody is trusted to send; expected your gateway's "
					"networks in \"trusted\" of \"headers\"",
					f->name, f->identity_header);
	}
	for (n = list ? list->child : NULL; n; n = n->next) {
		name = node_get(n, "name");
		if (!node_get(n, "routes") && name && name->text && strcmp(name->text, "unnamed") != 0)
			conf_errors_add(l->errors, n->mark, "\"routes\" is missing; expected a list of routes");
	}
}

/* ---- values beside each other ---- */

static void check_at_least(struct loader *l, const struct node *map, const char *key, uint64_t value, const char *other, uint64_t least)
{
	char text[32];

	if (value >= least)
		return;
	value_print(CONF_T_SIZE, least, text, sizeof(text));
	conf_errors_add(l->errors, place(map, node_get(map, key) ? key : other), "\"%s\" is less than \"%s\"; expected at least %s", key, other, text);
}

static void check_limits(struct loader *l, const struct node *root)
{
	const struct node *limits = node_get(root, "limits"), *cache = node_get(root, "cache");
	const struct conf_limits *v = &l->c->limits;

	check_at_least(l, limits, "connection_window", v->connection_window, "stream_window", v->stream_window);
	check_at_least(l, limits, "upstream_connection_window", v->upstream_connection_window, "upstream_stream_window",
		       v->upstream_stream_window);
	check_at_least(l, limits, "held_heads", v->held_head_bytes, "header_list", v->header_list_bytes);
	if (l->c->cache.memory_bytes)
		check_at_least(l, cache, "memory", l->c->cache.memory_bytes, "max_entry", l->c->cache.max_entry_bytes);
}

/* As cache/ will want it when it starts: found now rather than by a worker. */
static void check_secret(struct loader *l, const struct node *root)
{
	struct stat st;

	if (l->c->cache.secret_file && stat(l->c->cache.secret_file, &st) == 0 && (st.st_size < 16 || st.st_size > 4095))
		conf_errors_add(l->errors, place(node_get(root, "cache"), "secret_file"), "\"%s\" has %lld octets; expected 16 to 4095",
				l->c->cache.secret_file, (long long)st.st_size);
}

static void check_resolver(struct loader *l, const struct node *root)
{
	if (l->c->resolver && strncmp(l->c->resolver, "unix:", 5) == 0)
		conf_errors_add(l->errors, place(root, "resolver"), "\"%.80s\" is a Unix socket; expected an IP address and a port", l->c->resolver);
}

static void check_redis(struct loader *l, const struct node *root)
{
	const struct node *redis = node_get(root, "redis");

	l->c->redis.mark = place(node_get(redis, "tls"), "ca");
	if (given(redis, "password") && given(redis, "password_file"))
		conf_errors_add(l->errors, place(redis, "password_file"), "\"password\" and \"password_file\" are both given; expected one");
	if (l->c->redis.username && !given(redis, "password") && !given(redis, "password_file"))
		conf_errors_add(l->errors, place(redis, "username"), "\"username\" has no password; expected \"password_file\" or \"password\"");
}

void load_check(struct loader *l, const struct node *root)
{
	check_duplicates(l);
	check_listeners(l, root);
	check_datacenters(l, root);
	check_modes(l, root);
	check_features(l, root);
	check_limits(l, root);
	check_secret(l, root);
	check_redis(l, root);
	check_resolver(l, root);
}
