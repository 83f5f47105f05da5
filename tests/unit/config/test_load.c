/* SPDX-License-Identifier: MIT */
/*
 * bad.cases: the exact errors of small wrong files. good.cases: lines the dump of small
 * right files has, in their order; each dump is loaded again and has to dump the same.
 */
#include "conf_cases.h"

static int failed, run;

static char *errors_text(const struct conf_errors *e)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	conf_errors_print(e, "x", out);
	fclose(out);
	return text;
}

/* "x:1:2: error: what" becomes "1:2: what", "x: error: what" becomes "what". */
static void shorten(char *text)
{
	char *out = text, *in = text, *end, *error;

	while (*in) {
		end = strchr(in, '\n');
		error = strstr(in, " error: ");
		in += in[1] == ':' && in[2] != ' ' ? 2 : 3;
		if (in < error) {
			memmove(out, in, (size_t)(error - in));
			out += error - in;
			*out++ = ' ';
		}
		in = error + 8;
		memmove(out, in, (size_t)(end + 1 - in));
		out += end + 1 - in;
		in = end + 1;
	}
	*out = '\0';
}

static void bad_case(const struct conf_case *c, const char *path)
{
	struct conf_errors *errors = conf_errors_create();
	const struct conf *conf = conf_load("x", c->text, c->len, errors);
	char *got = errors_text(errors);

	shorten(got);
	run++;
	if (conf || strcmp(got, c->expected) != 0) {
		failed++;
		fprintf(stderr, "%s:%d: %s\n-- expected\n%s-- got%s\n%s", path, c->line, c->title, c->expected, conf ? " a configuration" : "", got);
	}
	conf_free(conf);
	free(got);
	conf_errors_destroy(errors);
}

static char *dump_text(const struct conf *c)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	conf_dump(c, out);
	fclose(out);
	return text;
}

/* Each expected line stands in the dump, in order; blanks at its start do not count. */
static bool lines_in_order(const char *dump, const char *expected, char *missing, size_t size)
{
	const char *at = dump, *line, *end;
	size_t len, n;

	for (; *expected; expected += len + 1) {
		len = strcspn(expected, "\n");
		for (line = at; *line; line = *end ? end + 1 : end) {
			end = line + strcspn(line, "\n");
			n = strspn(line, " ");
			if ((size_t)(end - line) - n == len && memcmp(line + n, expected, len) == 0)
				break;
		}
		if (!*line) {
			snprintf(missing, size, "%.*s", (int)len, expected);
			return false;
		}
		at = line + len;
	}
	return true;
}

static void reload_same(const struct conf_case *c, const char *path, const char *dump)
{
	struct conf_errors *errors = conf_errors_create();
	const struct conf *conf = conf_load("x", dump, strlen(dump), errors);
	char *again = conf ? dump_text(conf) : NULL;

	if (!again || strcmp(again, dump) != 0) {
		failed++;
		fprintf(stderr, "%s:%d: %s: its dump loads as something else\n%s\n", path, c->line, c->title, again ? again : dump);
		conf_errors_print(errors, "dump", stderr);
	}
	free(again);
	conf_free(conf);
	conf_errors_destroy(errors);
}

static void good_case(const struct conf_case *c, const char *path)
{
	struct conf_errors *errors = conf_errors_create();
	const struct conf *conf = conf_load("x", c->text, c->len, errors);
	char *dump = conf ? dump_text(conf) : NULL, missing[1024] = "";

	run++;
	if (!dump) {
		failed++;
		fprintf(stderr, "%s:%d: %s: does not load\n", path, c->line, c->title);
		conf_errors_print(errors, "x", stderr);
	} else if (!lines_in_order(dump, c->expected, missing, sizeof(missing))) {
		failed++;
		fprintf(stderr, "%s:%d: %s: no line \"%s\" (in its place) in\n%s", path, c->line, c->title, missing, dump);
	} else {
		reload_same(c, path, dump);
	}
	free(dump);
	conf_free(conf);
	conf_errors_destroy(errors);
}

int main(int argc, char **argv)
{
	struct conf_case *c = malloc(sizeof(*c));
	struct conf_case_reader r = { 0 };
	int i;

	for (i = 1; i < argc; i++) {
		r = (struct conf_case_reader){ .file = fopen(argv[i], "r"), .path = argv[i] };
		if (!r.file) {
			perror(argv[i]);
			return 1;
		}
		while (conf_case_next(&r, c))
			(strstr(argv[i], "bad") ? bad_case : good_case)(c, argv[i]);
		fclose(r.file);
	}
	free(c);
	fprintf(stderr, "%d cases, %d failed\n", run, failed);
	return failed || !run;
}
