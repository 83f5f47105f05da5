/* SPDX-License-Identifier: MIT */
/*
 * The snapshot in force as YAML: every key with its value, fallbacks filled in, in the
 * order of the table. Loading it gives the same snapshot, but for secrets, which are
 * masked, and paths, which are relative to nothing any more.
 */
#include "conf_private.h"

#include <string.h>

struct dump {
	const struct conf *c;
	FILE *out;
	int indent;
	bool dash; /* the next line begins a list's item */
};

static void line(struct dump *d, const char *key)
{
	int indent = d->indent - (d->dash ? 2 : 0);

	fprintf(d->out, "%*s%s%s:", indent, "", d->dash ? "- " : "", key);
	d->dash = false;
}

/* Inside of a double-quoted scalar; what was loaded holds no controls. */
static void escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
}

static void quoted(FILE *out, const char *text)
{
	fputc('"', out);
	escaped(out, text);
	fputc('"', out);
}

static uint64_t number_at(const struct conf_key *k, const char *field)
{
	switch (k->size) {
	case 1:
		return *(const uint8_t *)field;
	case 2:
		return *(const uint16_t *)field;
	case 4:
		return *(const uint32_t *)field;
	default:
		return *(const uint64_t *)field;
	}
}

static void scalar(struct dump *d, const struct conf_key *k, const char *field)
{
	uint64_t v = number_at(k, field);
	char text[64];

	if (k->type == CONF_T_BOOL)
		snprintf(text, sizeof(text), "%s", v ? "true" : "false");
	else if (k->type == CONF_T_CHOICE)
		value_choice_word(k->word, (unsigned)v, text, sizeof(text));
	else if (k->word && !v)
		snprintf(text, sizeof(text), "%s", k->word);
	else
		value_print(k->type, v, text, sizeof(text));
	fprintf(d->out, " %s\n", text);
}

static void text_value(struct dump *d, const struct conf_key *k, const char *text)
{
	fputc(' ', d->out);
	if (!text)
		fputs(k->word ? k->word : "\"\"", d->out);
	else if (k->type == CONF_T_SECRET)
		fputs("\"********\"", d->out);
	else
		quoted(d->out, text);
	fputc('\n', d->out);
}

static void ways(struct dump *d, const char *name, const struct conf_ways *w, bool *first)
{
	unsigned i;

	fprintf(d->out, "%s%s: [", *first ? " { " : ", ", name);
	for (i = 0; i < w->count; i++)
		fprintf(d->out, "%s%s", i ? ", " : "", conf_way_words[w->way[i]]);
	fputc(']', d->out);
	*first = false;
}

static void mode_ways(struct dump *d, const struct conf_mode *m)
{
	bool first = true;
	size_t i;

	for (i = 0; i < d->c->tiers; i++)
		ways(d, d->c->tier[i], &m->ways[i], &first);
	fputs(first ? " {}\n" : " }\n", d->out);
}

static void feature_ways(struct dump *d, const struct conf_feature *f)
{
	bool first = true;
	size_t i;

	for (i = 0; i < d->c->modes; i++)
		if (f->set[i])
			ways(d, d->c->mode[i].name, &f->ways[i], &first);
	fputs(first ? " {}\n" : " }\n", d->out);
}

static void routes(struct dump *d, const struct conf_feature *f)
{
	const struct conf_route *r;
	size_t i;

	fputc('\n', d->out);
	for (i = 0; i < d->c->routes; i++) {
		r = &d->c->route[i];
		if (&d->c->feature[r->feature] != f)
			continue;
		fprintf(d->out, "%*s- \"", d->indent + 2, "");
		escaped(d->out, r->method ? r->method : "");
		fputs(r->method ? " " : "", d->out);
		escaped(d->out, r->host ? r->host : "");
		escaped(d->out, r->pattern);
		fputs("\"\n", d->out);
	}
}

static void endpoints(struct dump *d, const struct conf_datacenter *dc)
{
	const struct conf_endpoint *e = &d->c->endpoint[dc->first_endpoint];
	size_t i;

	fputc('\n', d->out);
	for (i = 0; i < dc->endpoints; i++) {
		fprintf(d->out, "%*s- { address: ", d->indent + 2, "");
		quoted(d->out, e[i].address);
		fprintf(d->out, ", weight: %u }\n", e[i].weight);
	}
}

static void identity(struct dump *d, const struct conf_feature *f)
{
	static const char *const words[] = { "none", "bearer", "header", "certificate" };

	if (f->identity == CONF_IDENTITY_HEADER)
		fprintf(d->out, " \"header:%s\"\n", f->identity_header);
	else
		fprintf(d->out, " %s\n", words[f->identity]);
}

static void words(struct dump *d, const char *const *word, size_t n)
{
	size_t i;

	fputs(" [", d->out);
	for (i = 0; i < n; i++) {
		fputs(i ? ", " : "", d->out);
		quoted(d->out, word[i]);
	}
	fputs("]\n", d->out);
}

static void block(struct dump *d, enum conf_block b, const void *base);

static void list(struct dump *d, const struct conf_key *k, const char *base)
{
	const char *array = *(const char *const *)(const void *)(base + k->offset);
	size_t n = *(const size_t *)(const void *)(base + k->count), i;

	fputc('\n', d->out);
	d->indent += 4;
	for (i = 0; i < n; i++) {
		d->dash = true;
		block(d, k->child, array + i * k->item);
	}
	d->indent -= 4;
}

static void value(struct dump *d, const struct conf_key *k, const char *base)
{
	const char *field = base + k->offset;
	const void *element = base;

	switch (k->type) {
	case CONF_T_LIST:
		list(d, k, base);
		break;
	case CONF_T_TIER:
		fprintf(d->out, " %s\n", d->c->tier[*(const uint8_t *)field]);
		break;
	case CONF_T_TIERS:
		words(d, d->c->tier, d->c->tiers);
		break;
	case CONF_T_NETWORKS:
		words(d, d->c->headers.trusted, d->c->headers.trusted_count);
		break;
	case CONF_T_WAYS_BY_TIER:
		mode_ways(d, element);
		break;
	case CONF_T_WAYS_BY_MODE:
		feature_ways(d, element);
		break;
	case CONF_T_ROUTES:
		routes(d, element);
		break;
	case CONF_T_ENDPOINTS:
		endpoints(d, element);
		break;
	case CONF_T_IDENTITY:
		identity(d, element);
		break;
	default:
		if (k->type <= CONF_T_CHOICE)
			scalar(d, k, field);
		else
			text_value(d, k, *(const char *const *)(const void *)field);
	}
}

static bool unnamed(const struct dump *d, const struct conf_key *k, const void *base)
{
	size_t i;

	for (i = 0; k->type == CONF_T_ROUTES && i < d->c->routes; i++)
		if (&d->c->feature[d->c->route[i].feature] == base)
			return false;
	return k->type == CONF_T_ROUTES;
}

static void block(struct dump *d, enum conf_block b, const void *base)
{
	const struct conf_key *k = NULL;
	const char *at = base;

	while ((k = conf_key_next(b, k))) {
		if (k->type == CONF_T_SECRET_FILE || unnamed(d, k, base))
			continue;
		if (k->type != CONF_T_MAP) {
			line(d, k->name);
			value(d, k, at);
		} else if (k->offset == CONF_NOWHERE || *(const bool *)(at + k->offset)) {
			line(d, k->name);
			fputc('\n', d->out);
			d->indent += 2;
			block(d, k->child, base);
			d->indent -= 2;
		}
	}
}

void conf_dump(const struct conf *c, FILE *out)
{
	struct dump d = { .c = c, .out = out };

	fprintf(out, "# %s\n", c->path);
	block(&d, CONF_B_TOP, c);
}
