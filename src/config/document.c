/* SPDX-License-Identifier: MIT */
/*
 * The reference: every key of the table with its prose, what it may be and its
 * default, as a file that can be run. config/firebreak.yaml is this output, and a test
 * fails when it is not.
 *
 * Keys stand there with their default. What has none is commented out; lists show the
 * keys of an item in a comment and then the sample of sample.h.
 */
#include "conf_private.h"

#include <ctype.h>
#include <string.h>

#define COLUMNS 110

static void wrapped(FILE *out, const char *prefix, const char *text)
{
	size_t width = COLUMNS - strlen(prefix), len, cut;

	while (*text) {
		len = strlen(text);
		cut = len;
		if (len > width) {
			for (cut = width; cut && text[cut] != ' '; cut--)
				;
			if (!cut)
				cut = strcspn(text, " ");
		}
		fprintf(out, "%s%.*s\n", prefix, (int)cut, text);
		text += cut;
		while (*text == ' ')
			text++;
	}
}

struct page {
	FILE *out;
	int indent;
	bool off; /* inside a block that is commented out */
};

static void about(const struct page *p, const struct conf_key *k)
{
	char prefix[64], text[512];

	snprintf(prefix, sizeof(prefix), "%s%*s# ", p->off ? "# " : "", p->indent, "");
	wrapped(p->out, prefix, k->prose);
	if (k->type == CONF_T_MAP)
		return;
	conf_key_facts(k, text, sizeof(text));
	wrapped(p->out, prefix, text);
}

/* The keys of a list's item, as a comment. */
static void item_reference(FILE *out, enum conf_block b, int indent)
{
	const struct conf_key *k = NULL;
	char prefix[64], text[512];

	while ((k = conf_key_next(b, k))) {
		conf_key_facts(k, text, sizeof(text));
		if (k->type == CONF_T_MAP)
			snprintf(text, sizeof(text), "a mapping");
		else
			text[0] = (char)tolower((unsigned char)text[0]);
		fprintf(out, "#%*s%s: %s\n", indent, "", k->name, text);
		snprintf(prefix, sizeof(prefix), "#%*s", indent + 4, "");
		wrapped(out, prefix, k->prose);
		if (k->type == CONF_T_MAP)
			item_reference(out, k->child, indent + 2);
		else if (k->type == CONF_T_ENDPOINTS)
			item_reference(out, CONF_B_ENDPOINT, indent + 2);
	}
}

static void sample(FILE *out, const char *text)
{
	size_t len;

	for (; *text; text += len + (text[len] == '\n')) {
		len = strcspn(text, "\n");
		fprintf(out, "  %.*s\n", (int)len, text);
	}
}

static void block(struct page *p, enum conf_block b);

static void list(struct page *p, const struct conf_key *k)
{
	about(p, k);
	fputs("# Keys of an item:\n", p->out);
	item_reference(p->out, k->child, 3);
	fprintf(p->out, "%s:\n", k->name);
	sample(p->out, k->fallback);
}

static void map(struct page *p, const struct conf_key *k)
{
	bool off = p->off;

	p->off = off || k->offset != CONF_NOWHERE;
	about(p, k);
	fprintf(p->out, "%s%*s%s:\n", p->off ? "# " : "", p->indent, "", k->name);
	p->indent += 2;
	block(p, k->child);
	p->indent -= 2;
	p->off = off;
}

static void block(struct page *p, enum conf_block b)
{
	const struct conf_key *k = NULL;
	bool shown;

	while ((k = conf_key_next(b, k))) {
		if (b == CONF_B_TOP)
			fputc('\n', p->out);
		if (k->type == CONF_T_MAP) {
			map(p, k);
		} else if (k->type == CONF_T_LIST) {
			list(p, k);
		} else {
			about(p, k);
			shown = p->off || !(k->flags & CONF_EXAMPLE); /* in force as it stands, once the block is */
			fprintf(p->out, "%s%*s%s%s: %s\n", p->off ? "# " : "", p->indent, "", shown ? "" : "# ", k->name, k->fallback);
		}
	}
}

void conf_document(FILE *out)
{
	struct page p = { .out = out };

	fputs("# SPDX-License-Identifier: MIT\n"
	      "#\n"
	      "# Every key of Firebreak's configuration with its default, generated from include/firebreak/config.def.\n"
	      "# It runs as it is: two datacenters on this machine, as `firebreak-bench backend` starts them.\n"
	      "# Only listen, datacenters and features have to be written; config/examples/ has short files.\n"
	      "#\n"
	      "# firebreak --check -c FILE   says what is wrong with a file, all at once\n"
	      "# firebreak -T -c FILE        prints what is in force, defaults filled in\n"
	      "#\n"
	      "# Durations: 250ms, 2s, 15m, 1h, 3d. Sizes: 512B, 64KiB, 16MiB, 1GiB. Shares: 90%, 12.5%.\n"
	      "# Relative paths start at this file's folder. Anchors, aliases and tags are not used.\n", out);
	block(&p, CONF_B_TOP);
}
