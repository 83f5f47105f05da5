/* SPDX-License-Identifier: MIT */
/*
 * Which feature a request belongs to. Pure: no I/O, no clock, no allocation after
 * compile; compile works in memory the caller hands over.
 *
 * Patterns: "/a/b", a named part "{room}" for one whole segment, "**" at the end for
 * any rest (also none). The most particular route wins, segment by segment: literal
 * before named part before "**"; on the same pattern one with the method before one
 * without, then one with the host before one without. Where that one's method or host
 * does not fit, the next is tried. HEAD uses the routes of GET unless it has its own.
 * A trailing slash of the request is ignored: "/a/" is answered by the routes of "/a".
 * gRPC: "grpc pkg.Service/Method" and "grpc pkg.Service/ *" (no blank) are POST routes
 * on "/pkg.Service/Method".
 */
#ifndef FIREBREAK_ROUTE_H
#define FIREBREAK_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"

enum { ROUTE_PATH_OK, ROUTE_PATH_PARAMETERS, ROUTE_PATH_BAD };

#define ROUTE_PATH_MAX     65535 /* octets before "?"; longer is bad */
#define ROUTE_MAX_SEGMENTS 32    /* of a pattern */
#define ROUTE_MAX_PARTS    4

/*
 * Normalises the path part of a :path value (RFC 3986 6.2.2, RFC 9110 4.2.3) into
 * `out` (capacity >= len + 1, not overlapping `in`; NUL-terminated): percent-escapes of
 * unreserved characters decoded, the others kept in upper case, dot segments removed,
 * empty segments merged, the query ("?...") copied untouched. Doing it twice changes
 * nothing. ROUTE_PATH_BAD: not "/..." (nor exactly "*"), encoded slash, backslash in
 * any form, dot segments made of escapes or followed by parameters ("..;x"), ".." above
 * the root (stricter than RFC 3986 5.2.4), encoded or raw controls, overlong UTF-8 of ASCII,
 * blanks, raw octets >= 0x80, "#", bad escapes; controls, blanks, octets >= 0x80 and "#" in
 * the query. ROUTE_PATH_PARAMETERS: good, and some segment has ";" in it, plain or escaped.
 * *out_len is the whole length, *path_len that before "?". When the input is already
 * normal *same is true: use the original bytes, `out` may not have been written.
 */
int route_normalise(const char *in, size_t len, char *out, size_t *out_len, size_t *path_len, bool *same);

/* What servers read that cut parameters off the segments of a path (RFC 3986 3.3): of
 * "/a;x/b", "/a/b". `path` is normalised, without the query; `out` has room for len octets.
 * Returns the length of `out`. A request is ambiguous when this is another feature's. */
size_t route_without_parameters(const char *path, size_t len, char *out);

struct route_table;

/* Bytes route_compile() needs for this configuration. */
size_t route_table_size(const struct conf *c);
/* Builds the trie in `memory` (8-byte aligned), which may be moved or shared: the table
 * holds no pointer, and nothing of *c. Routes route_check() reports are left out. NULL
 * only when `size` is less than route_table_size() says. */
struct route_table *route_compile(const struct conf *c, void *memory, size_t size);
/* Reports bad patterns and routes that can never match (same pattern twice). */
void route_check(const struct conf *c, struct conf_errors *errors,
		 void (*report)(struct conf_errors *, struct conf_mark, const char *format, ...)
			 __attribute__((format(printf, 3, 4))));

/* A segment captured by "{name}" (or the "*" of gRPC), as a slice of the path given to route_match. */
struct route_part {
	uint16_t offset, length;
};

struct route_hit {
	uint8_t feature; /* conf->features - 1 ("unnamed") when nothing matched */
	int16_t route;   /* index in conf->route, -1 when nothing matched */
	uint8_t parts;
	struct route_part part[ROUTE_MAX_PARTS];
};

/* `path` is normalised, without the query; `host` lower case without port, or empty. */
struct route_hit route_match(const struct route_table *t, const char *method, size_t method_len,
			     const char *host, size_t host_len, const char *path, size_t path_len);

#endif
