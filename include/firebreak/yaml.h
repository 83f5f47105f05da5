/* SPDX-License-Identifier: MIT */
/*
 * A YAML file as a tree of nodes with their places, for the configuration and for the
 * bench's scenarios: bounded, no aliases, tags or second documents, one line of text a
 * value. Errors are collected (conf.h), so that a reader goes on after the first.
 */
#ifndef FIREBREAK_YAML_H
#define FIREBREAK_YAML_H

#include "arena.h"
#include "conf.h"
#include "suggest.h"

#define YAML_FILE_MAX (1u << 20) /* octets of a file */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

/* owned by: the arena given to yaml_parse(); freed with it */
struct node {
	enum node_kind kind;
	struct conf_mark mark;
	const char *text; /* scalar; NUL-terminated, no controls inside; NULL: no value was written */
	const char *name; /* this node is the value of this key, or NULL */
	struct conf_mark name_mark;
	struct node *next, *child, *last;
	unsigned count; /* children */
};

/* The bytes of a regular file, or NULL with the reason in `e`. free() it. */
char *yaml_read(const char *path, size_t *len, struct conf_errors *e);
/* The root, or NULL with the reasons in `e` (also when memory is gone). An empty file is an error. */
struct node *yaml_parse(const char *text, size_t len, struct arena *tree, struct conf_errors *e);
/* The value of a key, the n-th item of a list; NULL when there is none (node may be NULL). */
struct node *node_get(const struct node *map, const char *name);
struct node *node_item(const struct node *list, size_t n);
/* "a mapping", "a list", "a single value", "nothing" */
const char *node_kind_word(const struct node *n);
/* False, and an error, when the node is not of this kind or has no value. */
bool node_want(struct conf_errors *e, const struct node *n, enum node_kind kind, const char *what, const char *expected);

/* A name: letters, digits, and "-_." after the first. */
bool value_name_ok(const char *text, size_t min, size_t max);

#endif
