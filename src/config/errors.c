/* SPDX-License-Identifier: MIT */
/*
 * Everything that is wrong with a file, collected so that a person sees it at once,
 * in the order of the file. Bounded: past ERRORS_MAX only the number grows.
 */
#include "firebreak/conf.h"

#include <stdlib.h>
#include <string.h>

#define ERRORS_MAX  200
#define ERROR_BYTES 1024

struct error {
	struct conf_mark at;
	size_t order; /* of arrival: decides between errors of one place */
	char *text;
};

/* owned by: the caller of conf_errors_create(); freed by: conf_errors_destroy() */
struct conf_errors {
	struct error error[ERRORS_MAX];
	size_t kept, count;
};

struct conf_errors *conf_errors_create(void)
{
	return calloc(1, sizeof(struct conf_errors));
}

void conf_errors_destroy(struct conf_errors *e)
{
	size_t i;

	for (i = 0; e && i < e->kept; i++)
		free(e->error[i].text);
	free(e);
}

size_t conf_errors_count(const struct conf_errors *e)
{
	return e->count;
}

void conf_errors_add(struct conf_errors *e, struct conf_mark at, const char *format, ...)
{
	char text[ERROR_BYTES];
	struct error *slot;
	va_list ap;

	e->count++;
	if (e->kept == ERRORS_MAX)
		return;
	slot = &e->error[e->kept];
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	slot->at = at;
	slot->order = e->kept;
	slot->text = strdup(text);
	if (slot->text)
		e->kept++;
}

static int by_place(const void *a, const void *b)
{
	const struct error *x = a, *y = b;

	if (x->at.line != y->at.line)
		return x->at.line < y->at.line ? -1 : 1;
	if (x->at.column != y->at.column)
		return x->at.column < y->at.column ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void conf_errors_print(const struct conf_errors *e, const char *path, FILE *out)
{
	struct error sorted[ERRORS_MAX];
	size_t i;

	memcpy(sorted, e->error, e->kept * sizeof(*sorted));
	qsort(sorted, e->kept, sizeof(*sorted), by_place);
	for (i = 0; i < e->kept; i++) {
		if (sorted[i].at.line)
			fprintf(out, "%s:%d:%d: error: %s\n", path, sorted[i].at.line, sorted[i].at.column, sorted[i].text);
		else
			fprintf(out, "%s: error: %s\n", path, sorted[i].text);
	}
	if (e->count > e->kept)
		fprintf(out, "%s: error: %zu more errors are not shown\n", path, e->count - e->kept);
}
