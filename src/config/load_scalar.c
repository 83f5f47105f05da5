/* SPDX-License-Identifier: MIT */
/*
 * Single values of the file into their fields: numbers with units, words, texts, and
 * the files that are named, which have to be readable now rather than under load.
 */
#include "conf_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void wrong_value(struct loader *l, const struct conf_key *k, const struct node *n, const char *why)
{
	static const char *const spoken[] = { "no|off|0", "yes|on|1" };
	char expected[256], near[96], words[4][64], meant[64];
	struct suggest s;
	unsigned i;

	conf_key_expected(k, expected, sizeof(expected));
	suggest_init(&s, n->text);
	if (k->type == CONF_T_BOOL) {
		suggest_try(&s, "true");
		suggest_try(&s, "false");
		for (i = 0; i < 2; i++)
			if (value_choice(spoken[i], n->text) >= 0)
				s.best = i ? "true" : "false";
	} else if (k->word) {
		for (i = 0; i < 4 && value_choice_word(k->word, i, words[i], sizeof(words[i])); i++)
			suggest_try(&s, words[i]);
	}
	if (value_meant(k->type, n->text, meant, sizeof(meant)) && strcmp(meant, n->text) != 0)
		s.best = meant;
	conf_errors_add(l->errors, n->mark, "\"%.80s\" %s for \"%s\"; expected %s%s",
			k->type == CONF_T_SECRET ? "********" : n->text, why, k->name, expected,
			suggest_text(&s, near, sizeof(near)));
}

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

/* Opens a regular file to read; -1 with the reason told. Devices are not opened: that
 * alone may have effects. */
static int open_file(struct loader *l, const struct node *n, const char *path)
{
	struct stat st;
	int fd = -1, e = 0;

	if (stat(path, &st) < 0) {
		e = errno;
	} else if (!S_ISREG(st.st_mode)) {
		conf_errors_add(l->errors, n->mark, "\"%s\" is %s; expected a file that can be read", path,
				S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
		return -1;
	} else {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		e = errno;
	}
	if (fd < 0)
		conf_errors_add(l->errors, n->mark, "\"%s\" cannot be read (%s); expected a file that can be read", path, strerror(e));
	return fd;
}

/* First line of a small file. */
static const char *read_secret(struct loader *l, const struct node *n, const char *path)
{
	char text[1026];
	int fd = open_file(l, n, path);
	const char *copy = NULL;
	ssize_t got;
	size_t len;

	if (fd < 0)
		return NULL;
	got = read(fd, text, sizeof(text) - 1);
	text[got < 0 ? 0 : got] = '\0';
	len = strcspn(text, "\r\n");
	if (!len || len > 1024)
		conf_errors_add(l->errors, n->mark, "\"%s\" has no password; expected one line of 1 to 1024 octets", path);
	text[len] = '\0';
	copy = load_strdup(l, text);
	close(fd);
	explicit_bzero(text, sizeof(text));
	return copy;
}

static void load_file(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	const char *path = load_path(l, n->text);
	int fd = path ? open_file(l, n, path) : -1;

	if (fd < 0)
		return;
	store_text(k, base, path);
	close(fd);
}

/* A socket's path that starts at the file's folder. */
static void load_socket(struct loader *l, const struct conf_key *k, const struct node *n, void *base)
{
	const char *path = load_path(l, n->text + 5), *out = path ? load_join(l, "unix:", path, "") : NULL;

	if (!out)
		return;
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
	if (!node_want(l->errors, n, NODE_SCALAR, k->name, expected))
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

