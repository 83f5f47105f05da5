/* SPDX-License-Identifier: MIT */
/*
 * Private to config/. The file becomes a tree of nodes (yaml.c, the only place that
 * sees libfyaml), the tree becomes a snapshot by walking the key table of
 * include/firebreak/config.def (schema.c holds it as data, load.c walks it), and
 * every text about keys (errors, reference, man page, dump) prints from that table.
 */
#ifndef FIREBREAK_CONFIG_PRIVATE_H
#define FIREBREAK_CONFIG_PRIVATE_H

#include "firebreak/yaml.h"

#define CONF_OPEN_MAX  1000 /* brackets not closed yet, in text and comments as well */
#define CONF_DEPTH_MAX 12   /* nested lists and mappings; the schema needs 6 */
#define CONF_NODES_MAX 100000
#define CONF_KEYS_MAX  1000 /* of one mapping: looking for one is linear */
#define CONF_LIST_MAX  4096 /* routes over all features; CIDRs of headers.trusted */

/* ---- the key table ---- */

enum conf_type {
	CONF_T_MAP,    /* keys of its own, in the same struct */
	CONF_T_LIST,   /* list of mappings, an array of structs */
	CONF_T_BOOL,
	CONF_T_NUMBER,
	CONF_T_DURATION, /* milliseconds */
	CONF_T_SECONDS,  /* a duration kept in seconds */
	CONF_T_SIZE,
	CONF_T_SHARE,   /* "12.5%" as basis points */
	CONF_T_PERCENT, /* "20%" as whole percent */
	CONF_T_CHOICE,  /* one of a fixed set of words, kept as its position */
	CONF_T_NAME,
	CONF_T_TEXT,
	CONF_T_SECRET,
	CONF_T_SECRET_FILE, /* first line of a file, kept like CONF_T_SECRET */
	CONF_T_FILE,    /* has to be readable */
	CONF_T_PATH,    /* need not exist */
	CONF_T_LOG,     /* path, stderr, stdout */
	CONF_T_LISTEN,  /* numeric address and port, or unix: */
	CONF_T_ADDRESS, /* name or number and port, or unix: */
	CONF_T_TARGET,  /* path of a request */
	CONF_T_FIELD,   /* name of a header field */
	CONF_T_IDENTITY,
	CONF_T_TIER,
	CONF_T_TIERS,
	CONF_T_WAYS_BY_TIER,
	CONF_T_WAYS_BY_MODE,
	CONF_T_ROUTES,
	CONF_T_ENDPOINTS,
	CONF_T_NETWORKS,
	CONF_TYPES
};

enum conf_block {
#define BLOCK(id, title) CONF_B_##id,
#define KEY(block, name, type, where, field, fallback, min, max, word, flags, prose)
#define MAP(block, name, child, flag, prose)
#define LIST(block, name, child, where, array, number, item, min, max, fallback, flags, prose)
#include "firebreak/config.def"
	CONF_BLOCKS
};

#define CONF_RELOAD   0u /* SIGHUP takes a new value over */
#define CONF_RESTART  1u /* only a restart does */
#define CONF_EXAMPLE  2u /* `fallback` is no default, only what the reference shows */
#define CONF_REQUIRED 6u /* has to be written, and has an example */

#define CONF_NOWHERE ((size_t)-1)

struct conf_key {
	enum conf_block block, child;
	const char *name;
	enum conf_type type;
	size_t offset, size;   /* of the field; of the array pointer for a list; of the presence flag for a map */
	size_t count, item;    /* list: offset of the count, size of one element */
	const char *fallback;  /* as it would be written; NULL: none */
	uint64_t min, max;     /* of the value in its unit; of the length of text and lists */
	const char *word;      /* stands for 0 or NULL ("auto", "none"); the words of a choice, with '|' between */
	unsigned flags;
	const char *prose;
};

extern const struct conf_key conf_keys[];
extern const size_t conf_keys_count;
const char *conf_block_title(enum conf_block b);
/* The key of a block by name, or NULL. */
const struct conf_key *conf_key_find(enum conf_block b, const char *name);
/* "A duration from 0s to 1h; default 30s. A change needs a restart." */
void conf_key_facts(const struct conf_key *k, char *out, size_t size);
/* Walks the keys of a block in the order of the table: start with NULL. */
const struct conf_key *conf_key_next(enum conf_block b, const struct conf_key *k);
/* "a duration from 1s to 1h, or auto": what a value of this key has to be. */
void conf_key_expected(const struct conf_key *k, char *out, size_t size);

extern const char *const conf_way_words[CONF_WAYS];

/* ---- values ---- */

enum value_result { VALUE_OK, VALUE_BAD, VALUE_RANGE };

/* Text to number in the key's unit, and back to what a person would write. */
enum value_result value_parse(enum conf_type type, const char *text, uint64_t *out);
void value_print(enum conf_type type, uint64_t value, char *out, size_t size);
/* Position of `text` in "a|b|c", -1 when it is not there. */
int value_choice(const char *words, const char *text);
/* Copies the n-th word of "a|b|c"; false: there is none. */
bool value_choice_word(const char *words, unsigned n, char *out, size_t size);
bool value_field_ok(const char *text);
/* "host:port", "[v6]:port", "unix:/path"; NULL or what is wrong. */
const char *value_address_check(const char *text, bool numeric);
/* "10.0.0.0/8"; NULL or what is wrong. */
const char *value_network_check(const char *text);

/* What `text`, which is no value of a type with units, was probably meant to be. */
bool value_meant(enum conf_type type, const char *text, char *out, size_t size);

/* ---- loading ---- */

struct loader {
	struct conf *c;
	struct arena *keep; /* the snapshot's memory */
	struct arena tree;  /* gone when loading is over */
	struct conf_errors *errors;
	const char *folder; /* of the file; relative paths start here */
	size_t routes_room;
	bool no_memory;
};

/* owned by: the caller of conf_load(); freed by conf_free() */
struct snapshot {
	struct conf c; /* first: conf_free() gets its address */
	struct arena arena;
};

/* Zeroed memory of the snapshot; NULL sets no_memory. */
void *load_alloc(struct loader *l, size_t size);
const char *load_strdup(struct loader *l, const char *text);
const char *load_join(struct loader *l, const char *a, const char *b, const char *c);
/* Fills the struct at `base` from a mapping (NULL: from fallbacks alone). */
void load_map(struct loader *l, enum conf_block b, const struct node *map, void *base);
void load_scalar(struct loader *l, const struct conf_key *k, const struct node *n, void *base);
void load_fallback(struct loader *l, const struct conf_key *k, void *base);
/* Must the key be written? */
static inline bool conf_key_required(const struct conf_key *k)
{
	return (k->flags & CONF_REQUIRED) == CONF_REQUIRED;
}
/* The types that have a shape of their own (load_shape.c); `n` is never NULL. */
void load_shape(struct loader *l, const struct conf_key *k, const struct node *n, void *base);
/* What concerns more than one key, and the files named (check.c). */
void load_check(struct loader *l, const struct node *root);
/* NULL, or a copy that is relative to nothing. */
const char *load_path(struct loader *l, const char *text);

#endif
