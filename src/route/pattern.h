/* SPDX-License-Identifier: MIT */
/* Private to route/: the written form of a route, read segment by segment. */
#ifndef FIREBREAK_ROUTE_PATTERN_H
#define FIREBREAK_ROUTE_PATTERN_H

#include "firebreak/route.h"

enum route_kind {
	ROUTE_LITERAL,
	ROUTE_PART, /* "{name}", and "*" at the end of a gRPC pattern (no name, not captured) */
	ROUTE_REST, /* "**" */
	ROUTE_END,
	ROUTE_BROKEN, /* a segment with braces or stars in the wrong place */
};

struct route_segment {
	enum route_kind kind;
	const char *text; /* the literal, or the part's name */
	size_t len;
};

struct route_pattern {
	const char *method, *host; /* NULL: any */
	const char *next, *end;    /* what is left of the pattern */
	bool grpc;
	bool rooted;               /* begins where a path begins */
};

/* Opens the pattern of a route: "/..." or "grpc package.Service/Method". */
void route_pattern_open(struct route_pattern *p, const struct conf_route *r);
/* The next segment; ROUTE_END when there is none, for ever. An empty segment is a
 * literal of length 0. */
struct route_segment route_pattern_next(struct route_pattern *p);

#endif
