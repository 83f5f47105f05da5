/* SPDX-License-Identifier: MIT */
/* Route tables for tests, and a matcher too simple to be wrong to compare with. */
#ifndef FIREBREAK_TESTS_ROUTES_H
#define FIREBREAK_TESTS_ROUTES_H

#include "firebreak/route.h"

#include "../cases.h"

#define ROUTES   128
#define FEATURES 62

struct routes {
	struct conf conf;
	struct conf_route route[ROUTES];
	struct conf_feature feature[FEATURES + 2];
	struct route_table *table;
	void *memory;
};

static inline void routes_clear(struct routes *r)
{
	size_t i;

	for (i = 0; i < r->conf.routes; i++) {
		free((char *)r->route[i].method);
		free((char *)r->route[i].host);
		free((char *)r->route[i].pattern);
	}
	for (i = 0; i < r->conf.features; i++)
		free((char *)r->feature[i].name);
	free(r->memory);
	memset(r, 0, sizeof(*r));
	r->conf.route = r->route;
	r->conf.feature = r->feature;
}

static inline char *routes_text(const char *word)
{
	return strcmp(word, "*") == 0 ? NULL : strdup(word);
}

static inline bool routes_add(struct routes *r, const char *method, const char *host, const char *pattern, const char *feature, int line)
{
	struct conf_route *n = &r->route[r->conf.routes];
	char *colon;
	size_t f;

	for (f = 0; f < r->conf.features && strcmp(r->feature[f].name, feature) != 0; f++)
		;
	if (r->conf.routes == ROUTES || f == FEATURES)
		return false;
	if (f == r->conf.features)
		r->feature[r->conf.features++].name = strdup(feature);
	*n = (struct conf_route){ { line, 1 }, routes_text(method), routes_text(host), strdup(pattern), (uint8_t)f };
	if (strncmp(pattern, "grpc:", 5) == 0 && (colon = strchr(n->pattern, ':')))
		*colon = ' ';
	r->conf.routes++;
	return true;
}

/* Compiles into memory of exactly the size asked for. */
static inline bool routes_compile(struct routes *r)
{
	size_t size = route_table_size(&r->conf);

	r->feature[r->conf.features++].name = strdup("unnamed");
	size = route_table_size(&r->conf);
	r->memory = malloc(size);
	r->table = r->memory ? route_compile(&r->conf, r->memory, size) : NULL;
	return r->table;
}

static inline struct route_hit routes_match(const struct routes *r, const char *method, const char *host, const char *path)
{
	size_t len = strlen(path), host_len = strcmp(host, "-") == 0 ? 0 : strlen(host);
	char *tight = malloc(len ? len : 1), *tight_host = calloc(1, host_len ? host_len : 1), *tight_method = malloc(strlen(method));
	struct route_hit hit;

	memcpy(tight, path, len);
	memcpy(tight_host, host, host_len);
	memcpy(tight_method, method, strlen(method));
	hit = route_match(r->table, tight_method, strlen(method), tight_host, host_len, tight, len);
	free(tight);
	free(tight_host);
	free(tight_method);
	return hit;
}

/* How a pattern fits a path, as digits to compare: 0 literal, 1 part, 2 rest; then the
 * terms of method and host. False: it does not. */
static inline bool routes_fit(const struct conf_route *r, const char *method, const char *host, const char *path, char *fit)
{
	const char *p = r->pattern, *s = path;
	size_t pl, sl;

	while (*p == '/' && p[1]) {
		p++;
		pl = strcspn(p, "/");
		if (pl == 2 && memcmp(p, "**", 2) == 0) {
			*fit++ = '2';
			s = "";
			p = "";
			break;
		}
		if (*s != '/' || !s[1])
			return false;
		s++;
		sl = strcspn(s, "/");
		if (*p != '{' && (pl != sl || memcmp(p, s, sl) != 0))
			return false;
		*fit++ = *p == '{' ? '1' : '0';
		p += pl;
		s += sl;
	}
	if (strcmp(s, "/") != 0 && *s)
		return false;
	if (r->host && strcmp(r->host, host) != 0)
		return false;
	*fit++ = '1'; /* the end is better than a rest */
	if (!r->method)
		*fit++ = '2';
	else if (strcmp(r->method, method) == 0)
		*fit++ = strcmp(method, "HEAD") == 0 ? '0' : '1';
	else if (strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0)
		*fit++ = '1';
	else
		return false;
	*fit++ = r->host ? '0' : '1';
	*fit = '\0';
	return true;
}

/* The route a request belongs to by trying every one, -1: none. */
static inline int routes_reference(const struct routes *r, const char *method, const char *host, const char *path)
{
	char fit[256], best[256] = "9";
	int found = -1;
	size_t i;

	for (i = 0; i < r->conf.routes; i++)
		if (routes_fit(&r->route[i], method, host, path, fit) && strcmp(fit, best) < 0) {
			strcpy(best, fit);
			found = (int)i;
		}
	return found;
}

#endif
