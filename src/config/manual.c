/* SPDX-License-Identifier: MIT */
/* The man page firebreak.yaml(5) from the key table, in scdoc's markup (scdoc(5)). */
#include "conf_private.h"

#include <string.h>

/* Text without markup: scdoc takes any character literally behind a backslash. */
static void plain(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (strchr("\\*_#`|[]~<>", *text))
			fputc('\\', out);
		fputc(*text, out);
	}
}

static void entry(FILE *out, const char *path, const struct conf_key *k)
{
	char facts[512];

	fputc('*', out);
	plain(out, path);
	fputs("*\n\t", out);
	plain(out, k->prose);
	if (k->type != CONF_T_MAP) {
		conf_key_facts(k, facts, sizeof(facts));
		fputs("\n\n\t", out);
		plain(out, facts);
	}
	fputs("\n\n", out);
}

static void block(FILE *out, enum conf_block b, const char *prefix)
{
	const struct conf_key *k = NULL;
	char path[128];

	while ((k = conf_key_next(b, k))) {
		snprintf(path, sizeof(path), "%s%s", prefix, k->name);
		entry(out, path, k);
		snprintf(path, sizeof(path), "%s%s%s.", prefix, k->name, k->type == CONF_T_MAP ? "" : "[]");
		if (k->type == CONF_T_MAP || k->type == CONF_T_LIST)
			block(out, k->child, path);
		else if (k->type == CONF_T_ENDPOINTS)
			block(out, CONF_B_ENDPOINT, path);
	}
}

void conf_manual(FILE *out)
{
	fputs("firebreak.yaml(5)\n\n"
	      "# NAME\n\n"
	      "firebreak.yaml - configuration of the reverse proxy firebreak\n\n"
	      "# DESCRIPTION\n\n"
	      "A YAML file with the keys below. Only _listen_, _datacenters_ and _features_ have to be written. Anchors, aliases "
	      "and tags are not used; a key that is not known is an error. *firebreak --check -c* FILE tells all that is wrong "
	      "with a file at once; *firebreak -T -c* FILE prints what is in force.\n\n"
	      "Durations are written 250ms, 2s, 15m, 1h, 3d; sizes 512B, 64KiB, 16MiB, 1GiB; shares 90%, 12.5%. Relative paths "
	      "start at the folder of the file. A list's items are written here as _name_\\[\\].\n\n"
	      "SIGHUP loads the file again; a wrong one is refused and the old one stays.\n\n"
	      "# KEYS\n\n", out);
	block(out, CONF_B_TOP, "");
}
