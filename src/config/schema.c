/* SPDX-License-Identifier: MIT */
/* config.def as data, and what a value of a key has to be, in words. */
#include "conf_private.h"

#include <ctype.h>
#include <string.h>

#include "sample.h"

const char *const conf_way_words[CONF_WAYS] = { "forward", "stale", "accept-later", "refuse" };

#define FIELD(where, field) offsetof(struct where, field), sizeof(((struct where *)0)->field)

const struct conf_key conf_keys[] = {
#define BLOCK(id, title)
#define KEY(b, name, type, where, field, fallback, min, max, word, flags, prose) \
	{ CONF_B_##b, CONF_BLOCKS, name, CONF_T_##type, FIELD(where, field), CONF_NOWHERE, 0, fallback, min, max, word, flags, prose },
#define MAP(b, name, child, flag, prose) \
	{ CONF_B_##b, CONF_B_##child, name, CONF_T_MAP, flag, 1, CONF_NOWHERE, 0, NULL, 0, 0, NULL, 0, prose },
#define LIST(b, name, child, where, array, number, item, min, max, fallback, flags, prose) \
	{ CONF_B_##b, CONF_B_##child, name, CONF_T_LIST, FIELD(where, array), offsetof(struct where, number), sizeof(struct item), \
	  fallback, min, max, NULL, flags, prose },
#define ALWAYS                   CONF_NOWHERE
#define WHEN_WRITTEN(where, field) offsetof(struct where, field)
#include "firebreak/config.def"
};
const size_t conf_keys_count = sizeof(conf_keys) / sizeof(conf_keys[0]);

static const char *const titles[] = {
#define BLOCK(id, title) title,
#define KEY(b, name, type, where, field, fallback, min, max, word, flags, prose)
#define MAP(b, name, child, flag, prose)
#define LIST(b, name, child, where, array, number, item, min, max, fallback, flags, prose)
#include "firebreak/config.def"
};

/* Each struct of a list begins with its place in the file. */
#define MARK_FIRST(item) _Static_assert(offsetof(struct item, mark) == 0, "the mark comes first")
MARK_FIRST(conf_listener);
MARK_FIRST(conf_datacenter);
MARK_FIRST(conf_endpoint);
MARK_FIRST(conf_mode);
MARK_FIRST(conf_feature);
MARK_FIRST(conf_route);

const char *conf_block_title(enum conf_block b)
{
	return titles[b];
}

const struct conf_key *conf_key_next(enum conf_block b, const struct conf_key *k)
{
	for (k = k ? k + 1 : conf_keys; k < conf_keys + conf_keys_count; k++)
		if (k->block == b)
			return k;
	return NULL;
}

const struct conf_key *conf_key_find(enum conf_block b, const char *name)
{
	const struct conf_key *k = NULL;

	while ((k = conf_key_next(b, k)))
		if (strcmp(k->name, name) == 0)
			return k;
	return NULL;
}

static void range(const struct conf_key *k, const char *what, char *out, size_t size)
{
	char min[32], max[32];

	value_print(k->type, k->min, min, sizeof(min));
	value_print(k->type, k->max, max, sizeof(max));
	snprintf(out, size, "%s from %s to %s", what, min, max);
}

static void choices(const char *words, char *out, size_t size)
{
	char word[64];
	size_t used;
	unsigned i;

	snprintf(out, size, "one of ");
	for (i = 0; value_choice_word(words, i, word, sizeof(word)); i++) {
		used = strlen(out);
		snprintf(out + used, size - used, "%s%s", i ? ", " : "", word);
	}
}

static const char *const nouns[CONF_TYPES] = {
	[CONF_T_MAP] = "a mapping (key: value)",
	[CONF_T_LIST] = "a list of mappings",
	[CONF_T_BOOL] = "true or false",
	[CONF_T_NUMBER] = "a number",
	[CONF_T_DURATION] = "a duration",
	[CONF_T_SECONDS] = "a duration in whole seconds",
	[CONF_T_SIZE] = "a size",
	[CONF_T_SHARE] = "a percentage",
	[CONF_T_PERCENT] = "a whole percentage",
	[CONF_T_NAME] = "a name (letters, digits, \"-\", \"_\", \".\")",
	[CONF_T_TEXT] = "text",
	[CONF_T_SECRET] = "text",
	[CONF_T_SECRET_FILE] = "a file that can be read",
	[CONF_T_FILE] = "a file that can be read",
	[CONF_T_PATH] = "a path",
	[CONF_T_LOG] = "a file, stderr, stdout or off",
	[CONF_T_LISTEN] = "\"IP:port\", \"[IPv6]:port\" or \"unix:/path\"",
	[CONF_T_ADDRESS] = "\"host:port\", \"[IPv6]:port\" or \"unix:/path\"",
	[CONF_T_TARGET] = "a request path (\"/...\")",
	[CONF_T_FIELD] = "the name of a header field, in lower case",
	[CONF_T_IDENTITY] = "bearer, header:NAME, certificate or none",
	[CONF_T_TIER] = "one of the tiers",
	[CONF_T_TIERS] = "a list of names",
	[CONF_T_WAYS_BY_TIER] = "a list of ways (forward, stale, accept-later, refuse) for each tier",
	[CONF_T_WAYS_BY_MODE] = "a list of ways (forward, stale, accept-later, refuse) for some modes",
	[CONF_T_ROUTES] = "a list of routes",
	[CONF_T_ENDPOINTS] = "a list of addresses",
	[CONF_T_NETWORKS] = "a list of IP networks",
};

void conf_key_expected(const struct conf_key *k, char *out, size_t size)
{
	size_t used;

	switch (k->type) {
	case CONF_T_NUMBER:
	case CONF_T_DURATION:
	case CONF_T_SECONDS:
	case CONF_T_SIZE:
	case CONF_T_SHARE:
	case CONF_T_PERCENT:
		range(k, nouns[k->type], out, size);
		break;
	case CONF_T_CHOICE:
		choices(k->word, out, size);
		return;
	default:
		snprintf(out, size, "%s", nouns[k->type]);
	}
	used = strlen(out);
	if (k->word && used < size && !strstr(out, k->word))
		snprintf(out + used, size - used, ", or %s", k->word);
}

void conf_key_facts(const struct conf_key *k, char *out, size_t size)
{
	bool fallback = k->fallback && !(k->flags & CONF_EXAMPLE) && k->type != CONF_T_LIST;
	char expected[256];

	conf_key_expected(k, expected, sizeof(expected));
	expected[0] = (char)toupper((unsigned char)expected[0]);
	snprintf(out, size, "%s%s%s.%s", expected, fallback ? "; default " : conf_key_required(k) ? "; required" : "",
		 fallback ? k->fallback : "", (k->flags & CONF_RESTART) ? " A change needs a restart." : "");
}
