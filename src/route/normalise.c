/* SPDX-License-Identifier: MIT */
/*
 * One spelling per path, made before anything is matched, and forwarded: what was
 * matched is what the backend sees. A path that has the spelling already costs one
 * scan. Decoding and the removal of dot segments are a single pass, so doing it twice
 * changes nothing.
 *
 * Stricter than RFC 3986, on purpose, wherever two readings exist of which a backend
 * may take the other one: ".." above the root (5.2.4 would drop it), encoded slashes
 * and backslashes, dot segments spelt with escapes or followed by parameters ("..;a"),
 * encoded controls, ASCII spelt in two octets and more. Other escapes of octets >= 0x80 are
 * kept as they are, whatever their charset. ";" is an ordinary character here; the caller
 * is told, and can ask for the reading of those who cut off what follows it.
 */
#include "firebreak/route.h"

#include <string.h>

/* What the scan must look at closer. 0: ordinary. */
enum { SPECIAL = 1, BAD };

#define B4  BAD, BAD, BAD, BAD
#define B16 B4, B4, B4, B4
static const uint8_t class[256] = {
	B16, B16,                                     /* controls */
	[' '] = BAD, ['#'] = BAD, ['\\'] = BAD, [0x7f] = BAD,
	['%'] = SPECIAL, ['.'] = SPECIAL, ['/'] = SPECIAL, [';'] = SPECIAL, ['?'] = SPECIAL,
	[0x80] = B16, B16, B16, B16, B16, B16, B16, B16, /* not ASCII: must be escaped */
};

static uint8_t class_of(char c)
{
	return class[(unsigned char)c];
}

/* Not followed by a character that makes "/." an ordinary name (".well-known"). */
static bool dot_segment_likely(const char *in, size_t i, size_t len)
{
	return i + 1 == len || class_of(in[i + 1]);
}

/* Length of the path when it is normal already, else 0. */
static size_t scan(const char *in, size_t len, bool *parameters)
{
	size_t i = 1;

	for (*parameters = false;; i++) {
		while (i < len && !class_of(in[i]))
			i++;
		if (i == len || in[i] == '?')
			return i;
		if (in[i] == ';')
			*parameters = true;
		else if (in[i] == '/' ? in[i - 1] == '/' : in[i] != '.' || (in[i - 1] == '/' && dot_segment_likely(in, i, len)))
			return 0;
	}
}

/* Copied untouched, so it only has to be harmless in a header field (RFC 3986 3.4 has
 * no fragment, controls or spaces in it either). */
static bool query_ok(const char *in, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (class_of(in[i]) == BAD && in[i] != '\\')
			return false;
	return true;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unreserved(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
	       c == '_' || c == '~';
}

/* The octet of the escape at in[0..3), or -1. */
static int octet(const char *in, size_t left)
{
	int high = left < 3 || in[0] != '%' ? -1 : hex(in[1]), low = left < 3 ? -1 : hex(in[2]);

	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A character of ASCII in the longer forms that UTF-8 forbids and careless decoders take
 * (RFC 3629 3 and 10): "%C0%AF" for a slash. */
static bool overlong(int first, const char *in, size_t left)
{
	unsigned octets = (unsigned)__builtin_clz(~((unsigned)first << 24)), value, i;
	int next;

	if (octets < 2 || octets > 6)
		return false;
	value = (unsigned)first & 0x7fu >> octets;
	for (i = 1; i < octets; i++) {
		next = 3 * i < left ? octet(in + 3 * i, left - 3 * i) : -1;
		if (next < 0x80 || next > 0xbf)
			return false;
		value = value << 6 | ((unsigned)next & 0x3f);
	}
	return value < 0x80;
}

/* Writes the escape at in[0..3) as 1 or 3 characters; the count, or 0: refused. */
static size_t escape(const char *in, size_t left, char *out)
{
	static const char digits[] = "0123456789ABCDEF";
	int v = octet(in, left);

	if (v < 0x20 || v == 0x7f || v == '/' || v == '\\' || (v >= 0xc0 && overlong(v, in, left)))
		return 0;
	if (unreserved(v)) {
		out[0] = (char)v;
		return 1;
	}
	out[0] = '%';
	out[1] = digits[v >> 4];
	out[2] = digits[v & 15];
	return 3;
}

/* Dots at the start of a segment that is nothing but them (1 or 2), or them with
 * parameters (3); 0: a name. */
static unsigned dots(const char *s, size_t len)
{
	unsigned n = 0;

	while (n < len && n < 3 && s[n] == '.')
		n++;
	if (!n || n == 3)
		return 0;
	if (len == n)
		return n;
	return s[n] == ';' || (len - n >= 3 && memcmp(s + n, "%3B", 3) == 0) ? 3 : 0;
}

/* in[0..len) is the path without the query and begins with "/". Returns the length of
 * `out`, 0: refused. `out` never gets ahead of `in`. */
static size_t rewrite(const char *in, size_t len, char *out)
{
	size_t i = 0, o = 0, start, n;
	bool escaped_dot, last;

	while (i < len) { /* in[i] is the slash before a segment */
		start = o;
		escaped_dot = false;
		out[o++] = '/';
		for (i++; i < len && in[i] != '/'; i += in[i] == '%' ? 3 : 1) {
			if (class_of(in[i]) == BAD)
				return 0;
			if (in[i] != '%') {
				out[o++] = in[i];
				continue;
			}
			n = escape(in + i, len - i, out + o);
			if (!n)
				return 0;
			escaped_dot |= out[o] == '.';
			o += n;
		}
		last = i == len;
		n = dots(out + start + 1, o - start - 1);
		if (n == 3 || (n && escaped_dot) || (n == 2 && start == 0))
			return 0;
		if (n == 2) /* give up the segment before as well */
			while (out[--start] != '/')
				;
		if (n || (o - start == 1 && !last)) /* merge "//"; a trailing slash stays */
			o = start;
		if (n && last)
			out[o++] = '/';
	}
	return o;
}

int route_normalise(const char *in, size_t len, char *out, size_t *out_len, size_t *path_len, bool *same)
{
	const char *query;
	bool parameters;
	size_t path, o;

	*same = true;
	*out_len = *path_len = len;
	if (len == 1 && in[0] == '*') /* OPTIONS * (RFC 9110 7.1) */
		return ROUTE_PATH_OK;
	if (!len || in[0] != '/')
		return ROUTE_PATH_BAD;
	path = scan(in, len, &parameters);
	if (path) {
		*path_len = path;
		if (path > ROUTE_PATH_MAX || !query_ok(in + path, len - path))
			return ROUTE_PATH_BAD;
		return parameters ? ROUTE_PATH_PARAMETERS : ROUTE_PATH_OK;
	}
	query = memchr(in, '?', len);
	path = query ? (size_t)(query - in) : len;
	if (path > ROUTE_PATH_MAX || !query_ok(in + path, len - path))
		return ROUTE_PATH_BAD;
	o = rewrite(in, path, out);
	if (!o)
		return ROUTE_PATH_BAD;
	*same = o == path && memcmp(in, out, path) == 0;
	*path_len = o;
	memcpy(out + o, in + path, len - path);
	*out_len = o + len - path;
	out[*out_len] = '\0';
	return memchr(out, ';', o) || memmem(out, o, "%3B", 3) ? ROUTE_PATH_PARAMETERS : ROUTE_PATH_OK;
}

static bool parameter(const char *s, size_t left)
{
	return s[0] == ';' || (left >= 3 && memcmp(s, "%3B", 3) == 0);
}

size_t route_without_parameters(const char *path, size_t len, char *out)
{
	size_t i = 0, o = 0, start;

	while (i < len) { /* path[i] is the slash before a segment */
		start = o;
		out[o++] = '/';
		for (i++; i < len && path[i] != '/' && !parameter(path + i, len - i); i++)
			out[o++] = path[i];
		while (i < len && path[i] != '/')
			i++;
		if (o - start == 1 && i < len) /* nothing else was in it: an empty segment */
			o = start;
	}
	return o;
}
