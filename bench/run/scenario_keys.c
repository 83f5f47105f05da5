/* SPDX-License-Identifier: MIT */
/*
 * The keys of scenario.def as data, and the walk over one mapping: an unknown key, a
 * key given twice, a value of the wrong form or out of range are errors with their
 * place; what could not be read keeps its fallback and the walk goes on.
 */
#include "scenario_keys.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/net.h"

#define MS  CLOCK_MS
#define SEC CLOCK_SEC

#define X(name, word, ...) word "|"
#define VERB_WORDS  VERBS(X)
#define FAULT_WORDS SCENARIO_FAULTS(X)
const char scenario_verb_words[] = VERB_WORDS;
const char scenario_fault_words[] = FAULT_WORDS;

struct key {
	enum block block;
	const char *name;
	enum form form;
	size_t offset, size;
	const char *fallback;
	double least, most;
	const char *words; /* of a SHAPE: what is expected */
	const char *prose;
};

static const struct key keys[] = {
#define BLOCK(id, title)
#define KEY(block, name, form, where, field, fallback, least, most, words, prose) \
	{ BLOCK_##block, name, FORM_##form, offsetof(struct where, field), sizeof(((struct where *)0)->field), fallback, \
	  (double)(least), (double)(most), words, prose },
#define SHAPE(block, name, title, prose) { BLOCK_##block, name, FORM_SHAPE, 0, 0, "", 0, 0, title, prose },
#include "scenario.def"
};
#undef X
#define KEYS (sizeof(keys) / sizeof(*keys))

static const char *const titles[] = {
#define BLOCK(id, title) title,
#define KEY(block, name, form, where, field, fallback, least, most, words, prose)
#define SHAPE(block, name, title, prose)
#include "scenario.def"
};

/* ---- numbers and their units ---- */

struct unit {
	const char *name;
	double factor;
};

static const struct unit time_units[] = { { "ms", 1e6 }, { "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 }, { 0 } };
static const struct unit size_units[] = { { "", 1 }, { "B", 1 }, { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 }, { 0 } };
static const struct unit ratio_units[] = { { "", 1 }, { "%", 0.01 }, { 0 } };
static const struct unit no_units[] = { { "", 1 }, { 0 } };

static const struct unit *units_of(enum form form)
{
	if (form == FORM_TIME || form == FORM_MILLIS)
		return time_units;
	if (form == FORM_SIZE)
		return size_units;
	return form == FORM_RATIO ? ratio_units : no_units;
}

static bool whole(enum form form)
{
	return form == FORM_COUNT || form == FORM_SEED || form == FORM_SIZE;
}

static bool parse_number(enum form form, const char *text, double *out)
{
	const struct unit *u;
	char *end;
	double v;

	/* strtod knows more than people write: signs, exponents, hexadecimal, infinity. */
	if (!*text || strspn(text, "0123456789.") == 0 || strpbrk(text, "eExX"))
		return false;
	v = strtod(text, &end);
	for (u = units_of(form); u->name; u++) {
		if (strcmp(end, u->name) != 0)
			continue;
		*out = v * u->factor;
		return !whole(form) || *out == (double)(uint64_t)*out;
	}
	return false;
}

static void print_number(enum form form, double v, char *out, size_t size)
{
	const struct unit *u = units_of(form), *fit = u;

	for (; v > 0 && u->name; u++) {
		if (v >= u->factor && v / u->factor == (double)(uint64_t)(v / u->factor) && *u->name != '%')
			fit = u;
	}
	if (v == 0 && fit == time_units)
		fit = &time_units[1];
	snprintf(out, size, "%.15g%s", v / fit->factor, fit->name);
}

const char *time_text(int64_t ns, char *out, size_t size)
{
	snprintf(out, size, "%.6gs", (double)ns / 1e9);
	return out;
}

static const char *form_word(enum form form)
{
	switch (form) {
	case FORM_NAME: return "a name of letters, digits, - _ .";
	case FORM_LINE:
	case FORM_TEXT: return "text";
	case FORM_PATHNAME: return "a path that begins with /";
	case FORM_ADDRESS: return "a numeric address and port such as 127.0.0.1:8443";
	case FORM_PATH:
	case FORM_FILE: return "a path";
	case FORM_BOOL: return "true or false";
	case FORM_COUNT:
	case FORM_SEED: return "a whole number";
	case FORM_SIZE: return "a size such as 64KiB";
	case FORM_NUMBER: return "a number";
	case FORM_RATIO: return "a share such as 0.5 or 50%";
	case FORM_TIME:
	case FORM_MILLIS: return "a duration such as 250ms";
	default: return "one of";
	}
}

static bool has_range(enum form form)
{
	return form >= FORM_COUNT && form <= FORM_MILLIS;
}

/* "a, b, c" of "a|b|c|" */
static void list_words(const char *words, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (; *words && used < size; words += strspn(words, "|")) {
		int n = (int)strcspn(words, "|");

		used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? ", " : "", n, words);
		words += n;
	}
}

static void print_expected(enum form form, double least, double most, const char *words, char *out, size_t size)
{
	char a[32], b[32], list[400];

	if (form == FORM_SHAPE) {
		snprintf(out, size, "%s", words);
	} else if (form == FORM_CHOICE || form == FORM_WORD) {
		list_words(words, list, sizeof(list));
		snprintf(out, size, "one of %s", list);
	} else if (has_range(form)) {
		print_number(form, least, a, sizeof(a));
		print_number(form, most, b, sizeof(b));
		snprintf(out, size, "%s, from %s to %s", form_word(form), a, b);
	} else if (form == FORM_BOOL || form == FORM_ADDRESS) {
		snprintf(out, size, "%s", form_word(form));
	} else {
		snprintf(out, size, "%s, at most %g octets", form_word(form), most);
	}
}

static void wrong(struct reader *r, const struct node *n, const char *name, enum form form, double least, double most, const char *words)
{
	char expected[512], near[96] = "", word[64];
	struct suggest s;

	print_expected(form, least, most, words, expected, sizeof(expected));
	if (form == FORM_CHOICE || form == FORM_WORD) {
		suggest_init(&s, n->text);
		for (; *words; words += strspn(words, "|")) {
			const char *best = s.best;
			size_t len = strcspn(words, "|");

			snprintf(word, sizeof(word), "%.*s", (int)len, words);
			suggest_try(&s, word);
			if (s.best != best) { /* the suggestion outlives the loop's word */
				s.best = arena_strndup(&r->tree, word, len);
			}
			words += len;
		}
		suggest_text(&s, near, sizeof(near));
	}
	conf_errors_add(r->errors, n->mark, "\"%s\" is \"%.80s\"; expected %s%s", name, n->text, expected, near);
}

bool read_number(struct reader *r, const struct node *n, const char *name, enum form form, double least, double most, double *out)
{
	char expected[256];

	print_expected(form, least, most, "", expected, sizeof(expected));
	if (!node_want(r->errors, n, NODE_SCALAR, name, expected))
		return false;
	if (parse_number(form, n->text, out) && *out >= least && *out <= most)
		return true;
	wrong(r, n, name, form, least, most, "");
	return false;
}

const struct node *read_list(struct reader *r, const struct node *n, const char *name, const char *expected)
{
	return n && node_want(r->errors, n, NODE_LIST, name, expected) ? n : NULL;
}

static int choice_of(const char *words, const char *text)
{
	size_t len = strlen(text);
	int i;

	for (i = 0; *words; i++, words += strspn(words, "|")) {
		size_t n = strcspn(words, "|");

		if (n == len && !memcmp(words, text, n))
			return i;
		words += n;
	}
	return -1;
}

int read_choice(struct reader *r, const struct node *n, const char *name, const char *words)
{
	int at;

	if (!node_want(r->errors, n, NODE_SCALAR, name, "a word"))
		return -1;
	at = choice_of(words, n->text);
	if (at < 0)
		wrong(r, n, name, FORM_CHOICE, 0, 0, words);
	return at;
}

/* ---- one value ---- */

const char *read_keep(struct reader *r, const char *text)
{
	const char *copy = arena_strndup(r->keep, text, strlen(text));

	if (!copy)
		r->no_memory = true;
	return copy;
}

static const char *keep_path(struct reader *r, const char *text)
{
	char joined[8300];

	if (text[0] == '/')
		return read_keep(r, text);
	snprintf(joined, sizeof(joined), "%.4096s%.4096s", r->folder, text);
	return read_keep(r, joined);
}

static bool put_text(struct reader *r, const struct key *k, const char *text, void *to)
{
	struct net_addr addr;
	const char *kept;
	size_t len = strlen(text);

	if ((double)len < k->least || (double)len > k->most)
		return false;
	switch (k->form) {
	case FORM_NAME:
	case FORM_LINE:
	case FORM_WORD:
	case FORM_PATHNAME:
		if ((k->form == FORM_NAME && !value_name_ok(text, 1, k->size - 1)) ||
		    (k->form == FORM_WORD && choice_of(k->words, text) < 0) || (k->form == FORM_PATHNAME && text[0] != '/'))
			return false;
		memcpy(to, text, len + 1);
		return true;
	default:
		if (k->form == FORM_ADDRESS && !net_addr_parse(&addr, text))
			return false;
		kept = k->form == FORM_PATH || k->form == FORM_FILE ? keep_path(r, text) : read_keep(r, text);
		memcpy(to, &kept, sizeof(kept));
		return true;
	}
}

static void put_number(const struct key *k, double v, void *to)
{
	switch (k->form) {
	case FORM_COUNT: *(unsigned *)to = (unsigned)v; break;
	case FORM_TIME: *(int64_t *)to = (int64_t)v; break;
	case FORM_MILLIS: *(double *)to = v / (double)MS; break;
	case FORM_NUMBER:
	case FORM_RATIO: *(double *)to = v; break;
	default: *(uint64_t *)to = (uint64_t)v;
	}
}

static bool put_value(struct reader *r, const struct key *k, const char *text, void *to)
{
	double v;
	int at;

	if (k->form == FORM_BOOL || k->form == FORM_CHOICE) {
		at = choice_of(k->form == FORM_BOOL ? "false|true" : k->words, text);
		if (at >= 0 && k->size == sizeof(bool))
			*(bool *)to = at;
		else if (at >= 0)
			*(unsigned *)to = (unsigned)at;
		return at >= 0;
	}
	if (!has_range(k->form))
		return put_text(r, k, text, to);
	if (!parse_number(k->form, text, &v) || v < k->least || v > k->most)
		return false;
	put_number(k, v, to);
	return true;
}

static void read_value(struct reader *r, const struct key *k, const struct node *n, void *base)
{
	char expected[512];
	void *to = (char *)base + k->offset;

	print_expected(k->form, k->least, k->most, k->words, expected, sizeof(expected));
	if (!node_want(r->errors, n, NODE_SCALAR, k->name, expected))
		return;
	if (!put_value(r, k, n->text, to))
		wrong(r, n, k->name, k->form, k->least, k->most, k->words);
	else if (k->form == FORM_FILE && access(*(const char *const *)to, R_OK))
		conf_errors_add(r->errors, n->mark, "\"%s\" is \"%.80s\"; expected a file that can be read", k->name, n->text);
}

/* ---- one mapping ---- */

static const struct key *key_find(enum block b, const char *name)
{
	size_t i;

	for (i = 0; i < KEYS; i++) {
		if (keys[i].block == b && !strcmp(keys[i].name, name))
			return &keys[i];
	}
	return NULL;
}

static void unknown_key(struct reader *r, enum block b, const struct node *n)
{
	char near[96], known[512] = "";
	struct suggest s;
	size_t i, used;

	suggest_init(&s, n->name);
	for (i = 0; i < KEYS; i++) {
		if (keys[i].block != b)
			continue;
		suggest_try(&s, keys[i].name);
		used = strlen(known);
		snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", keys[i].name);
	}
	conf_errors_add(r->errors, n->name_mark, "unknown key \"%.80s\" in %s; expected one of %s%s", n->name, titles[b], known,
			suggest_text(&s, near, sizeof(near)));
}

static void check_keys(struct reader *r, enum block b, const struct node *map)
{
	const struct node *n, *first;

	for (n = map->child; n; n = n->next) {
		first = node_get(map, n->name);
		if (!key_find(b, n->name))
			unknown_key(r, b, n);
		else if (first != n)
			conf_errors_add(r->errors, n->name_mark, "\"%s\" is given twice; expected once (line %d has it)", n->name,
					first->name_mark.line);
	}
}

bool read_block(struct reader *r, enum block b, const struct node *map, void *base)
{
	size_t before = conf_errors_count(r->errors);
	const struct node *n;
	const struct key *k;
	char expected[512];

	if (map && map->kind != NODE_MAP) {
		conf_errors_add(r->errors, map->mark, "%s is %s; expected a mapping (key: value)", titles[b], node_kind_word(map));
		return false;
	}
	if (map)
		check_keys(r, b, map);
	for (k = keys; k < keys + KEYS; k++) {
		if (k->block != b || k->form == FORM_SHAPE)
			continue;
		n = node_get(map, k->name);
		if (k->fallback && *k->fallback)
			put_value(r, k, k->fallback, (char *)base + k->offset);
		if (n) {
			read_value(r, k, n, base);
		} else if (map && !k->fallback) {
			print_expected(k->form, k->least, k->most, k->words, expected, sizeof(expected));
			conf_errors_add(r->errors, map->mark, "\"%s\" is missing in %s; expected %s", k->name, titles[b], expected);
		}
	}
	return conf_errors_count(r->errors) == before;
}

/* ---- the reference ---- */

void scenario_document(FILE *out)
{
	char expected[512];
	size_t i, b, f;

	for (b = 0; b < BLOCKS; b++) {
		fprintf(out, "%s%s\n", b ? "\n" : "", titles[b]);
		for (i = 0; i < KEYS; i++) {
			if (keys[i].block != b)
				continue;
			print_expected(keys[i].form, keys[i].least, keys[i].most, keys[i].words, expected, sizeof(expected));
			fprintf(out, "  %-14s %s\n  %-14s   %s", keys[i].name, keys[i].prose, "", expected);
			if (!keys[i].fallback)
				fprintf(out, "; has to be written\n");
			else
				fprintf(out, "%s%s\n", *keys[i].fallback ? "; default " : "", keys[i].fallback);
		}
	}
	fprintf(out, "\nthe faults\n");
	for (f = 0; f < SFAULTS; f++)
		fprintf(out, "  %-14s %s%s%s%s\n", scenario_faults[f].word, scenario_faults[f].help, scenario_faults[f].valued ? " (value: " : "",
			scenario_faults[f].unit, scenario_faults[f].valued ? ")" : "");
}
