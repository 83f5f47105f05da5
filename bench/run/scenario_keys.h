/* SPDX-License-Identifier: MIT */
/*
 * Private to the scenario loader: the key table as data, and the walk that fills a
 * struct from a mapping.
 *
 *   scenario_keys.c    one mapping: known keys, values in their range, the reference
 *   scenario.c         the whole: blocks, lists, what concerns more than one key
 *   scenario_events.c  the timeline, unfolded
 */
#ifndef BENCH_SCENARIO_KEYS_H
#define BENCH_SCENARIO_KEYS_H

#include "firebreak/yaml.h"
#include "scenario.h"

enum form {
	FORM_NAME,     /* char[]; letters, digits, "-_." */
	FORM_LINE,     /* char[]; any text */
	FORM_WORD,     /* char[]; one of `words` */
	FORM_PATHNAME, /* char[]; begins with "/" */
	FORM_TEXT,     /* const char * */
	FORM_ADDRESS,  /* const char *; numeric */
	FORM_PATH,     /* const char *; relative to the scenario's folder */
	FORM_FILE,     /* the same, has to be readable */
	FORM_BOOL,
	FORM_CHOICE,   /* position in `words`; bool or enum */
	FORM_COUNT,    /* unsigned */
	FORM_SEED,     /* uint64_t */
	FORM_SIZE,     /* uint64_t octets */
	FORM_NUMBER,   /* double */
	FORM_RATIO,    /* double; "0.5" or "50%" */
	FORM_TIME,     /* int64_t ns */
	FORM_MILLIS,   /* double ms, written as a time */
	FORM_SHAPE,    /* kept nowhere: code of its own */
};

enum block {
#define BLOCK(id, title) BLOCK_##id,
#define KEY(block, name, form, where, field, fallback, least, most, words, prose)
#define SHAPE(block, name, title, prose)
#include "scenario.def"
	BLOCKS
};

struct event_form {
	int64_t at;
	const char *operator;
};

struct flap_form {
	int64_t down, up;
	unsigned times;
};

struct fault_form {
	char dc[33];
	unsigned kind;
	int64_t jitter, lasts, every;
	/* found out from the shapes */
	int datacenter;
	unsigned count;     /* endpoints the datacenter has; 1 for Redis */
	uint64_t endpoints;
	double value;
};

/* owned by: scenario_load(), on its stack */
struct reader {
	struct scenario *s;
	struct arena *keep;  /* the scenario's memory */
	struct arena tree;   /* gone when loading is over */
	struct conf_errors *errors;
	const char *folder;  /* with '/' at its end, or "" */
	bool no_memory;
};

/* Fills the struct at `base` from a mapping; fallbacks where it says nothing (map NULL:
 * everywhere). False: there were errors in it. */
bool read_block(struct reader *r, enum block b, const struct node *map, void *base);
/* One number of this form in its range, or an error. The expected range is said as for a key. */
bool read_number(struct reader *r, const struct node *n, const char *name, enum form form, double least, double most, double *out);
/* A list, or an error; NULL stays NULL. */
const struct node *read_list(struct reader *r, const struct node *n, const char *name, const char *expected);
/* Position in "a|b|c"; -1 and an error with what was near. */
int read_choice(struct reader *r, const struct node *n, const char *name, const char *words);
const char *read_keep(struct reader *r, const char *text);
/* "12.5s", for errors and labels. */
const char *time_text(int64_t ns, char *out, size_t size);

/* scenario_events.c */
void read_timeline(struct reader *r, const struct node *list);

extern const char scenario_fault_words[], scenario_verb_words[];

#endif
