/* SPDX-License-Identifier: MIT */
/* What is wrong with the routes of a configuration, in words. */
#include "pattern.h"

#include <string.h>

typedef void (*reporter)(struct conf_errors *, struct conf_mark, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

struct check {
	const struct conf_route *r;
	struct conf_errors *errors;
	reporter report;
};

#define REPORT(k, ...) (k)->report((k)->errors, (k)->r->mark, __VA_ARGS__)

static bool name_ok(const char *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') ||
		      s[i] == '_' || s[i] == '-'))
			return false;
	return len > 0;
}

/* A request path is matched in its normal form, so a literal has to be written in it. */
static void check_literal(const struct check *k, const struct route_segment *s)
{
	char in[256] = "/", out[257];
	size_t len, path;
	bool same;

	if (s->len > 254) {
		REPORT(k, "a segment of the pattern is %zu octets long; expected at most 254", s->len);
		return;
	}
	memcpy(in + 1, s->text, s->len);
	if (route_normalise(in, s->len + 1, out, &len, &path, &same) == ROUTE_PATH_BAD || path != len)
		REPORT(k, "no request path can have the segment \"%.*s\"", (int)s->len, s->text);
	else if (!same)
		REPORT(k, "the segment \"%.*s\" never matches: paths are normalised first; expected \"%.*s\"", (int)s->len, s->text,
		       (int)len - 1, out + 1);
}

static void check_part(const struct check *k, const struct route_segment *s, const struct route_segment *seen, unsigned parts)
{
	unsigned i;

	if (!s->len) /* "*" of gRPC */
		return;
	if (!name_ok(s->text, s->len))
		REPORT(k, "\"{%.*s}\" is no name; expected letters, digits, \"_\" or \"-\"", (int)s->len, s->text);
	for (i = 0; i < parts; i++)
		if (seen[i].len == s->len && memcmp(seen[i].text, s->text, s->len) == 0)
			REPORT(k, "the pattern names \"{%.*s}\" twice", (int)s->len, s->text);
}

static void check_segments(const struct check *k, struct route_pattern *p)
{
	struct route_segment s, seen[ROUTE_MAX_PARTS];
	unsigned segments = 0, parts = 0;

	for (s = route_pattern_next(p); s.kind != ROUTE_END; s = route_pattern_next(p)) {
		segments++;
		if (s.kind == ROUTE_BROKEN)
			REPORT(k, "\"%.*s\" is no segment; expected text, \"{name}\" for a whole segment, or \"**\" at the end", (int)s.len,
			       s.text);
		else if (s.kind == ROUTE_REST && p->next)
			REPORT(k, "\"**\" takes all the rest; expected at the end only");
		else if (s.kind == ROUTE_LITERAL && !s.len)
			REPORT(k, p->next ? "the pattern has an empty segment; requests never have one" :
				"the pattern ends with a slash; expected none: a trailing slash of a request is ignored");
		else if (s.kind == ROUTE_LITERAL && s.text[0] == ':')
			REPORT(k, "\"%.*s\" is the text of a segment; expected \"{%.*s}\" for a part", (int)s.len, s.text, (int)s.len - 1, s.text + 1);
		else if (s.kind == ROUTE_LITERAL)
			check_literal(k, &s);
		if (s.kind != ROUTE_PART)
			continue;
		check_part(k, &s, seen, parts < ROUTE_MAX_PARTS ? parts : ROUTE_MAX_PARTS);
		if (parts < ROUTE_MAX_PARTS)
			seen[parts] = s;
		parts++;
	}
	if (segments > ROUTE_MAX_SEGMENTS)
		REPORT(k, "the pattern has %u segments; expected at most %d", segments, ROUTE_MAX_SEGMENTS);
	if (parts > ROUTE_MAX_PARTS)
		REPORT(k, "the pattern has %u parts; expected at most %d", parts, ROUTE_MAX_PARTS);
}

static void check_method(const struct check *k, const char *method)
{
	size_t i;

	for (i = 0; method[i]; i++)
		if (!((method[i] >= 'A' && method[i] <= 'Z') || method[i] == '-' || method[i] == '_'))
			break;
	if (!i || method[i] || i > 64)
		REPORT(k, "\"%s\" is no method; expected upper case, like GET", method);
}

static void check_host(const struct check *k, const char *host)
{
	const char *colon = strrchr(host, ':');
	size_t i, len = strlen(host);

	for (i = 0; i < len && host[i] > ' ' && host[i] < 0x7f && host[i] != '/' && !(host[i] >= 'A' && host[i] <= 'Z'); i++)
		;
	if (!len || i < len || len > 255)
		REPORT(k, "\"%s\" is no host; expected a name in lower case", host);
	else if (colon && host[len - 1] != ']')
		REPORT(k, "\"%s\" has a port; expected the host alone", host);
	else if (!strchr(host, '.') && host[0] != '[' && strcmp(host, "localhost") != 0)
		REPORT(k, "\"%s\" has no dot, so it is no host; expected \"/%s%s\" for a path", host, host, k->r->pattern ? k->r->pattern : "");
}

static bool text_same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* The same but for the names of parts. */
static bool route_same(const struct conf_route *a, const struct conf_route *b)
{
	struct route_pattern p, q;
	struct route_segment s, t;

	route_pattern_open(&p, a);
	route_pattern_open(&q, b);
	if (!text_same(p.method, q.method) || !text_same(p.host, q.host))
		return false;
	do {
		s = route_pattern_next(&p);
		t = route_pattern_next(&q);
		if (s.kind != t.kind)
			return false;
		if (s.kind != ROUTE_PART && s.kind != ROUTE_END && (s.len != t.len || memcmp(s.text, t.text, s.len) != 0))
			return false;
	} while (s.kind != ROUTE_END);
	return true;
}

static void check_route(const struct check *k)
{
	struct route_pattern p;

	if (!k->r->pattern) {
		REPORT(k, "the route has no pattern");
		return;
	}
	route_pattern_open(&p, k->r);
	if (!p.rooted)
		REPORT(k, "\"%s\" is no path pattern; expected \"/...\", or \"grpc package.Service/Method\"", k->r->pattern);
	else
		check_segments(k, &p);
	if (k->r->method)
		check_method(k, k->r->method);
	if (k->r->host)
		check_host(k, k->r->host);
}

void route_check(const struct conf *c, struct conf_errors *errors, reporter report)
{
	struct check k = { NULL, errors, report };
	size_t i, j;

	for (i = 0; i < c->routes; i++) {
		k.r = &c->route[i];
		check_route(&k);
		for (j = 0; k.r->pattern && j < i; j++) {
			if (!c->route[j].pattern || !route_same(&c->route[j], k.r))
				continue;
			REPORT(&k, "the route \"%s\" never matches: line %d has the same one", k.r->pattern, c->route[j].mark.line);
			break;
		}
	}
	if (c->routes > INT16_MAX)
		REPORT(&k, "there are %zu routes; expected at most %d", c->routes, INT16_MAX);
}
