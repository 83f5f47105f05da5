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

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

const char *load_path(struct loader *l, const char *text)
{
	size_t folder = strlen(l->folder), len = strlen(text);
	char *out;

	if (text[0] == '/' || !folder)
		return load_strdup(l, text);
	out = load_alloc(l, folder + 1 + len + 1);
	if (!out)
		return NULL;
	memcpy(out, l->folder, folder);
	out[folder] = '/';
	memcpy(out + folder + 1, text, len);
	return out;
}

/* ---- errors ---- */

static const char *kind_word(const struct node *n)
{
	if (n->kind == NODE_MAP)
		return "a mapping";
	if (n->kind == NODE_LIST)
		return "a list";
	return n->text ? "a single value" : "nothing";
}

bool load_want(struct loader *l, const struct node *n, enum node_kind kind, const char *what, const char *expected)
{
	if (n->kind == kind && (kind != NODE_SCALAR || n->text))
		return true;
	conf_errors_add(l->errors, n->mark, "\"%s\" is %s; expected %s", what, kind_word(n), expected);
	return false;
}

static void wrong_value(struct loader *l, const struct conf_key *k, const struct node *n, const char *why)
{
	char expected[256], near[96], words[4][64];
	struct suggest s;
	unsigned i;

	conf_key_expected(k, expected, sizeof(expected));
	suggest_init(&s, n->text);
	if (k->type == CONF_T_BOOL) {
		suggest_try(&s, "true");
		suggest_try(&s, "false");
	} else if (k->word) {
		for (i = 0; i < 4 && value_choice_word(k->word, i, words[i], sizeof(words[i])); i++)
			suggest_try(&s, words[i]);
	}
	conf_errors_add(l->errors, n->mark, "\"%s\" %s for \"%s\"; expected %s%s", n->text, why, k->name, expected,
			suggest_text(&s, near, sizeof(near)));
}

/* ---- scalars ---- */

static void store_number(const struct conf_key *k, void *base, uint64_t v)
{
	char *field = (char *)base + k->offset;

	switch (k->size) {
	case 1:
		*(uint8_t *)field = (uint8_t)v;
		break;
	case 2:
		*(uint16_t *)field = (uint16_t)v;
		break;
	case 4:
		*(uint32_t *)field = (uint32_t)v;
		break;
	default:
		*(uint64_t *)field = v;
	}
}

static void store_text(const struct conf_key *k, void *base, const char *text)
{
	*(const char **)((char *)base + k->offset) = text;
}

static void load_number(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	uint64_t v = 0;
	enum value_result r = value_parse(k->type, n->text, &v);

	if (r == VALUE_BAD)
		wrong_value(l, k, n, "is no value");
	else if (r == VALUE_RANGE || v < k->min || v > k->max)
		wrong_value(l, k, n, "is out of range");
	else
		store_number(k, base, v);
}

static void load_word(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	int v = k->type == CONF_T_BOOL ? value_choice("false|true", n->text) : value_choice(k->word, n->text);

	if (v < 0)
		wrong_value(l, k, n, "is no value");
	else
		store_number(k, base, (uint64_t)v);
}

/* First line of a small file; its place in memory is the snapshot's. */
static const char *read_secret(struct loader *l, const struct node *n, const char *path)
{
	char text[1026];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *copy = NULL;
	size_t len;

	if (got < 0) {
		conf_errors_add(l->errors, n->mark, "\"%s\" cannot be read (%s); expected a file that can be read", path, strerror(errno));
	} else {
		text[got] = '\0';
		len = strcspn(text, "\r\n");
		if (!len || len > 1024)
			conf_errors_add(l->errors, n->mark, "\"%s\" has no password; expected one line of 1 to 1024 octets", path);
		text[len] = '\0';
		copy = load_strdup(l, text);
	}
	if (fd >= 0)
		close(fd);
	explicit_bzero(text, sizeof(text));
	return copy;
}

static void load_file(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	const char *path = load_path(l, n->text);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	struct stat st;

	if (!path)
		return;
	if (fd < 0 || fstat(fd, &st) < 0)
		conf_errors_add(l->errors, n->mark, "\"%s\" cannot be read (%s); expected a file that can be read", path, strerror(errno));
	else if (S_ISDIR(st.st_mode))
		conf_errors_add(l->errors, n->mark, "\"%s\" is a folder; expected a file that can be read", path);
	else
		store_text(k, base, path);
	if (fd >= 0)
		close(fd);
}

/* A socket's path that starts at the file's folder. */
static void load_socket(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	const char *path = load_path(l, n->text + 5);
	size_t len = path ? strlen(path) : 0;
	char *out = load_alloc(l, 5 + len + 1);

	if (!path || !out)
		return;
	memcpy(out, "unix:", 5);
	memcpy(out + 5, path, len);
	if (value_address_check(out, false))
		wrong_value(l, k, n, value_address_check(out, false));
	else
		store_text(k, base, out);
}

static void load_text(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	const char *why = NULL, *text = n->text;
	size_t len = strlen(text);

	if (len < k->min || len > k->max)
		why = len ? "is too long" : "is empty";
	else if (k->type == CONF_T_NAME && !value_name_ok(text, k->min, k->max))
		why = "is no name";
	else if (k->type == CONF_T_FIELD && !value_field_ok(text))
		why = "is no field name";
	else if (k->type == CONF_T_TARGET && (text[0] != '/' || strpbrk(text, " #")))
		why = "is no request path";
	else if (k->type == CONF_T_LISTEN || k->type == CONF_T_ADDRESS)
		why = value_address_check(text, k->type == CONF_T_LISTEN);
	if (why)
		wrong_value(l, k, n, why);
	else if (k->type == CONF_T_FILE)
		load_file(l, k, n, base);
	else if (k->type == CONF_T_PATH)
		store_text(k, base, load_path(l, text));
	else if (strncmp(text, "unix:", 5) == 0 && text[5] != '/' && (k->type == CONF_T_LISTEN || k->type == CONF_T_ADDRESS))
		load_socket(l, k, n, base);
	else if (k->type == CONF_T_LOG && value_choice("stderr|stdout|off", text) < 0)
		store_text(k, base, load_path(l, text));
	else if (k->type == CONF_T_SECRET_FILE && (text = load_path(l, text)))
		store_text(k, base, read_secret(l, n, text));
	else if (text)
		store_text(k, base, load_strdup(l, text));
}

void load_scalar(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	char expected[256];

	conf_key_expected(k, expected, sizeof(expected));
	if (!load_want(l, n, NODE_SCALAR, k->name, expected))
		return;
	if (k->type == CONF_T_BOOL || k->type == CONF_T_CHOICE)
		load_word(l, k, n, base);
	else if (k->type == CONF_T_SECRET_FILE && strcmp(n->text, k->word) == 0)
		return; /* shares its field with the password, and leaves that alone */
	else if (k->word && strcmp(n->text, k->word) == 0)
		memset((char *)base + k->offset, 0, k->size);
	else if (k->type >= CONF_T_NUMBER && k->type <= CONF_T_PERCENT)
		load_number(l, k, n, base);
	else
		load_text(l, k, n, base);
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

	if (!load_want(l, n, NODE_LIST, k->name, "a list of mappings"))
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
	char near[96];

	suggest_init(&s, n->name);
	while ((k = conf_key_next(b, k)))
		suggest_try(&s, k->name);
	conf_errors_add(l->errors, n->name_mark, "unknown key \"%s\"; expected a key of %s%s", n->name, conf_block_title(b),
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
			conf_errors_add(l->errors, n->name_mark, "\"%s\" is given twice; expected once (line %d has it)", n->name,
					first->name_mark.line);
	}
}

void load_map(struct loader *l, enum conf_block b, const struct node *map, void *base)
{
	const struct conf_key *k = NULL;
	const struct node *n;
	char expected[256];

	if (map && !load_want(l, map, NODE_MAP, map->name ? map->name : conf_block_title(b), "a mapping (key: value)"))
		map = NULL;
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

/* The bytes of a file, or NULL with the reason. free() it. */
static char *read_file(const char *path, size_t *len, struct conf_errors *errors)
{
	struct conf_mark none = { 0, 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text = NULL;
	struct stat st;
	ssize_t got;

	*len = 0;
	if (fd < 0 || fstat(fd, &st) < 0) {
		conf_errors_add(errors, none, "the file cannot be read (%s)", strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		conf_errors_add(errors, none, "not a regular file");
	} else if (st.st_size > CONF_FILE_MAX) {
		conf_errors_add(errors, none, "the file is too large; expected at most 4MiB");
	} else if (!(text = malloc(CONF_FILE_MAX + 1))) {
		conf_errors_add(errors, none, "out of memory");
	} else {
		/* One octet more than allowed, so that one that grew meanwhile is noticed. */
		while (*len <= CONF_FILE_MAX && (got = read(fd, text + *len, CONF_FILE_MAX + 1 - *len)) > 0)
			*len += (size_t)got;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

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
	struct snapshot *s = calloc(1, sizeof(*s));
	struct loader l = { .errors = errors };
	size_t before = conf_errors_count(errors);
	char *own = text ? NULL : read_file(path, &len, errors);

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
