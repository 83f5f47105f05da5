/* SPDX-License-Identifier: MIT */
/*
 * Which feature a request belongs to. Pure: no I/O, no clock, no allocation after
 * compile; compile works in memory the caller hands over.
 *
 * Patterns: "/a/b", a named part "{room}" for one segment, "**" at the end for
 * any rest (also none). Longest match wins, segment by segment: literal before
 * named part before "**"; then a route with the method before one without, a
 * route with the host before one without. gRPC "grpc pkg.Service/Method" and
 * "grpc pkg.Service/ *" (no blank) are POST routes on "/pkg.Service/Method".
 */
#ifndef FIREBREAK_ROUTE_H
#define FIREBREAK_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"

enum { ROUTE_PATH_OK, ROUTE_PATH_BAD };

/*
 * Normalises the path part of a :path value (RFC 3986 6.2.2, RFC 9110 4.2.3) into
 * `out` (capacity >= len + 1): percent-escapes of unreserved characters decoded,
 * the others kept in upper case, dot segments removed, empty segments merged, the
 * query ("?...") copied untouched. Encoded slash, backslash, dot segments made of
 * escapes, NUL, controls, bytes >= 0x80, "#", bad escapes: ROUTE_PATH_BAD.
 * *out_len is the whole length, *path_len that before "?". When the input is
 * already normal *same is true, so the caller can keep using the original bytes.
 */
int route_normalise(const char *in, size_t len, char *out, size_t *out_len, size_t *path_len, bool *same);

struct route_table;

/* Bytes route_compile() needs for this configuration. */
size_t route_table_size(const struct conf *c);
/* Builds the trie in `memory` (8-byte aligned). Never fails on a conf that
 * route_check() found good. */
struct route_table *route_compile(const struct conf *c, void *memory, size_t size);
/* Reports bad patterns and routes that can never match (same pattern twice). */
void route_check(const struct conf *c, struct conf_errors *errors,
		 void (*report)(struct conf_errors *, struct conf_mark, const char *format, ...));

/* A segment captured by "{name}", as a slice of the path given to route_match. */
struct route_part {
	uint16_t offset, length;
};

struct route_hit {
	uint8_t feature; /* conf->features - 1 ("unnamed") when nothing matched */
	int16_t route;   /* index in conf->route, -1 when nothing matched */
	uint8_t parts;
	struct route_part part[4];
};

/* `path` is normalised, without the query; `host` lower case without port, or empty. */
struct route_hit route_match(const struct route_table *t, const char *method, size_t method_len,
			     const char *host, size_t host_len, const char *path, size_t path_len);

#endif
