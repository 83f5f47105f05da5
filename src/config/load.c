/* SPDX-License-Identifier: MIT */
/*
 * The walk: for each key of the table, in the table's order, the value of the file or
 * else the key's fallback goes into its field. A fallback is text that takes the same
 * way as a written value, so it cannot be of another form. Nothing stops at the first
 * error; what could not be read keeps its fallback and the walk goes on.
 *
 * The tree is gone at the end; the snapshot owns copies of all it needs.
 */
#include "conf_private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNNAMED "unnamed"

/* ---- memory and text of the snapshot ---- */

void *load_alloc(struct loader *l, size_t size)
{
	void *p = arena_alloc(l->keep, size);

	if (p)
		memset(p, 0, size);
	else
		l->no_memory = true;
	return p;
}

const char *load_strdup(struct loader *l, const char *text)
{
	const char *copy = arena_strndup(l->keep, text, strlen(text));

	if (!copy)
		l->no_memory = true;
	return copy;
}

const char *load_join(struct loader *l, const char *a, const char *b, const char *c)
{
	size_t size = strlen(a) + strlen(b) + strlen(c) + 1;
	char *out = load_alloc(l, size);

	if (out)
		snprintf(out, size, "%s%s%s", a, b, c);
	return out;
}

const char *load_path(struct loader *l, const char *text)
{
	if (text[0] == '/' || !l->folder[0])
		return load_strdup(l, text);
	return load_join(l, l->folder, "/", text);
}

/* ---- lists and mappings ---- */

static void load_item(struct loader *l, const struct conf_key *k, const struct node *item, void *element)
{
	*(struct conf_mark *)element = item->mark;
	load_map(l, k->child, item, element);
}

/* The feature of requests no route is for. It is the last one, written or not. */
static const struct node *find_unnamed(const struct conf_key *k, const struct node *list)
{
	const struct node *item, *name;

	for (item = k->child == CONF_B_FEATURE ? list->child : NULL; item; item = item->next) {
		name = node_get(item, "name");
		if (name && name->text && strcmp(name->text, UNNAMED) == 0)
			return item;
	}
	return NULL;
}

static void add_unnamed(struct loader *l, struct conf_feature *f)
{
	load_map(l, CONF_B_FEATURE, NULL, f);
	f->name = UNNAMED;
	f->tier = (uint8_t)(l->c->tiers ? l->c->tiers - 1 : 0);
	l->c->features++;
}

static void load_list(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	const struct node *item, *last;
	char *array;
	size_t i = 0;

	if (!node_want(l->errors, n, NODE_LIST, k->name, "a list of mappings"))
		return;
	if (n->count < k->min || n->count > k->max - (k->child == CONF_B_FEATURE)) {
		conf_errors_add(l->errors, n->mark, "\"%s\" has %u items; expected %u to %u", k->name, n->count, (unsigned)k->min,
				(unsigned)k->max - (k->child == CONF_B_FEATURE));
		return;
	}
	last = find_unnamed(k, n);
	array = load_alloc(l, (n->count + 1) * k->item);
	if (!array)
		return;
	*(char **)((char *)base + k->offset) = array;
	*(size_t *)((char *)base + k->count) = n->count;
	for (item = n->child; item; item = item->next)
		if (item != last)
			load_item(l, k, item, array + i++ * k->item);
	if (last)
		load_item(l, k, last, array + i * k->item);
	else if (k->child == CONF_B_FEATURE)
		add_unnamed(l, (struct conf_feature *)(void *)array + n->count);
}

static void load_value(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	switch (k->type) {
	case CONF_T_MAP:
		if (k->offset != CONF_NOWHERE)
			*(bool *)((char *)base + k->offset) = true;
		load_map(l, k->child, n, base);
		break;
	case CONF_T_LIST:
		load_list(l, k, n, base);
		break;
	case CONF_T_IDENTITY:
	case CONF_T_TIER:
	case CONF_T_TIERS:
	case CONF_T_WAYS_BY_TIER:
	case CONF_T_WAYS_BY_MODE:
	case CONF_T_ROUTES:
	case CONF_T_ENDPOINTS:
	case CONF_T_NETWORKS:
		load_shape(l, k, n, base);
		break;
	default:
		load_scalar(l, k, n, base);
	}
}

/* A fallback is in no line of the file. */
static void clear_marks(struct node *n)
{
	for (; n; n = n->next) {
		n->mark = n->name_mark = (struct conf_mark){ 0, 0 };
		clear_marks(n->child);
	}
}

/* A list may refer to what the file says elsewhere (modes to tiers), and then not fit. */
static void fallback_list(struct loader *l, const struct conf_key *k, void *base)
{
	struct conf_errors *real = l->errors, *own = conf_errors_create();
	struct node *n;

	if (!own) {
		l->no_memory = true;
		return;
	}
	l->errors = own;
	n = yaml_parse(k->fallback, strlen(k->fallback), &l->tree, own);
	if (n) {
		clear_marks(n);
		load_value(l, k, n, base);
	}
	l->errors = real;
	if (conf_errors_count(own))
		conf_errors_add(real, (struct conf_mark){ 1, 1 }, "\"%s\" is missing; expected it, because its default does not fit the "
				"rest of the file", k->name);
	conf_errors_destroy(own);
}

void load_fallback(struct loader *l, const struct conf_key *k, void *base)
{
	struct node scalar = { .kind = NODE_SCALAR, .text = k->fallback }, *n = &scalar;

	if (k->type == CONF_T_MAP) {
		load_map(l, k->child, NULL, base);
		return;
	}
	if (!k->fallback || (k->flags & CONF_EXAMPLE))
		return;
	if (k->type == CONF_T_LIST) {
		fallback_list(l, k, base);
		return;
	}
	if (k->type >= CONF_T_TIERS)
		n = yaml_parse(k->fallback, strlen(k->fallback), &l->tree, l->errors);
	if (n)
		load_value(l, k, n, base);
}

static void unknown_key(struct loader *l, enum conf_block b, const struct node *n)
{
	const struct conf_key *k = NULL;
	struct suggest s;
	char near[96], known[512] = "";
	size_t used;

	suggest_init(&s, n->name);
	while ((k = conf_key_next(b, k))) {
		suggest_try(&s, k->name);
		used = strlen(known);
		snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "one of ", k->name);
	}
	if (b == CONF_B_LIMITS) /* too many to list */
		snprintf(known, sizeof(known), "a key of %s", conf_block_title(b));
	conf_errors_add(l->errors, n->name_mark, "unknown key \"%.80s\" in %s; expected %s%s", n->name, conf_block_title(b), known,
			suggest_text(&s, near, sizeof(near)));
}

static void check_keys(struct loader *l, enum conf_block b, const struct node *map)
{
	const struct node *n, *first;

	for (n = map->child; n; n = n->next) {
		if (!conf_key_find(b, n->name)) {
			unknown_key(l, b, n);
			continue;
		}
		first = node_get(map, n->name);
		if (first != n)
			conf_errors_add(l->errors, n->name_mark, "\"%.80s\" is given twice; expected once (line %d has it)", n->name,
					first->name_mark.line);
	}
}

void load_map(struct loader *l, enum conf_block b, const struct node *map, void *base)
{
	const struct conf_key *k = NULL;
	const struct node *n;
	char expected[256];

	if (map && map->kind != NODE_MAP) {
		conf_errors_add(l->errors, map->mark, "%s is %s; expected a mapping (key: value)", conf_block_title(b), node_kind_word(map));
		map = NULL;
	}
	if (map)
		check_keys(l, b, map);
	while ((k = conf_key_next(b, k))) {
		n = node_get(map, k->name);
		if (!n || (k->type != CONF_T_MAP && k->type != CONF_T_LIST))
			load_fallback(l, k, base); /* stays where the file says nothing, or nothing usable */
		if (n) {
			load_value(l, k, n, base);
		} else if (map && conf_key_required(k)) {
			conf_key_expected(k, expected, sizeof(expected));
			conf_errors_add(l->errors, map->mark, "\"%s\" is missing; expected %s", k->name, expected);
		}
	}
}

/* ---- the file ---- */

static const char *folder_of(struct arena *tree, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *copy = arena_strndup(tree, path, slash ? (size_t)(slash - path) + (slash == path) : 0);

	return copy ? copy : "";
}

static void load_tree(struct loader *l, const char *text, size_t len)
{
	struct conf_mark none = { 0, 0 };
	struct node *root = yaml_parse(text, len, &l->tree, l->errors);
	char host[64] = "";

	if (!root)
		return;
	load_map(l, CONF_B_TOP, root, l->c);
	load_check(l, root);
	if (!l->c->node) {
		if (gethostname(host, sizeof(host) - 1) < 0 || !value_name_ok(host, 1, sizeof(host)))
			memcpy(host, "firebreak", sizeof("firebreak"));
		l->c->node = load_strdup(l, host);
	}
	if (l->no_memory)
		conf_errors_add(l->errors, none, "out of memory");
}

const struct conf *conf_load(const char *path, const char *text, size_t len, struct conf_errors *errors)
{
	return conf_load_with(path, text, len, errors, NULL);
}

const struct conf *conf_load_with(const char *path, const char *text, size_t len, struct conf_errors *errors, conf_more more)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	struct loader l = { .errors = errors };
	size_t before = conf_errors_count(errors);
	char *own = text ? NULL : yaml_read(path, &len, errors);

	if (!s) {
		conf_errors_add(errors, (struct conf_mark){ 0, 0 }, "out of memory");
		free(own);
		return NULL;
	}
	l.c = &s->c;
	l.keep = &s->arena;
	l.folder = folder_of(&l.tree, path);
	s->c.path = load_strdup(&l, path);
	if (text || own)
		load_tree(&l, text ? text : own, len);
	arena_finish(&l.tree);
	free(own);
	if (more && !l.no_memory)
		more(&s->c, errors, conf_errors_count(errors) == before);
	if (conf_errors_count(errors) == before)
		return &s->c;
	conf_free(&s->c);
	return NULL;
}

void conf_free(const struct conf *c)
{
	struct snapshot *s = (struct snapshot *)c;

	if (!s)
		return;
	arena_finish(&s->arena);
	free(s);
}
