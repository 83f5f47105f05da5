/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool json_put(struct buf *b, const char *format, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return n >= 0 && (size_t)n < sizeof(text) && buf_append(b, text, (size_t)n);
}

/* Length of the UTF-8 sequence at p, 0: not one (RFC 3629 4). */
static size_t utf8(const unsigned char *p, size_t left)
{
	if (p[0] < 0x80)
		return 1;
	if (left >= 2 && p[0] >= 0xc2 && p[0] <= 0xdf && (p[1] & 0xc0) == 0x80)
		return 2;
	if (left >= 3 && (p[0] & 0xf0) == 0xe0 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80 &&
	    !(p[0] == 0xe0 && p[1] < 0xa0) && !(p[0] == 0xed && p[1] > 0x9f))
		return 3;
	if (left >= 4 && p[0] >= 0xf0 && p[0] <= 0xf4 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80 &&
	    (p[3] & 0xc0) == 0x80 && !(p[0] == 0xf0 && p[1] < 0x90) && !(p[0] == 0xf4 && p[1] > 0x8f))
		return 4;
	return 0;
}

bool json_text(struct buf *b, const void *text, size_t len)
{
	const unsigned char *p = text;
	size_t i = 0, from = 0, n;

	if (!buf_append(b, "\"", 1))
		return false;
	while (i < len) {
		n = utf8(p + i, len - i);
		if (n && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\') {
			i += n;
			continue;
		}
		if (!buf_append(b, p + from, i - from) || !json_put(b, "\\u%04x", p[i]))
			return false;
		from = ++i;
	}
	return buf_append(b, p + from, len - from) && buf_append(b, "\"", 1);
}

struct reader {
	const char *p, *end;
};

static void blanks(struct reader *r)
{
	while (r->p < r->end && strchr(" \t\r\n", *r->p))
		r->p++;
}

static int hex4(const char *p)
{
	int v = 0, i;

	for (i = 0; i < 4; i++) {
		const char *digits = "0123456789abcdef", *d = p[i] ? strchr(digits, p[i] | 0x20) : NULL;

		if (!d || (p[i] < '0'))
			return -1;
		v = v * 16 + (int)(d - digits);
	}
	return v;
}

static size_t put_utf8(char *out, int c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	out[0] = (char)(0xe0 | c >> 12);
	out[1] = (char)(0x80 | (c >> 6 & 0x3f));
	out[2] = (char)(0x80 | (c & 0x3f));
	return 3;
}

/* A string at the reader, which stands behind its opening quote. */
static long string(struct reader *r, char *out, size_t size)
{
	static const char from[] = "bfnrt\"\\/", to[] = "\b\f\n\r\t\"\\/";
	const char *e;
	size_t n = 0;
	int c;

	while (r->p < r->end && *r->p != '"') {
		if (n + 4 > size)
			return -1;
		if (*r->p != '\\') {
			out[n++] = *r->p++;
			continue;
		}
		if (++r->p >= r->end)
			return -1;
		if (*r->p == 'u') {
			if (r->end - r->p < 5 || (c = hex4(r->p + 1)) < 0)
				return -1;
			n += put_utf8(out + n, c);
			r->p += 5;
		} else {
			e = *r->p ? strchr(from, *r->p) : NULL;
			if (!e)
				return -1;
			out[n++] = to[e - from];
			r->p++;
		}
	}
	if (r->p >= r->end)
		return -1;
	r->p++;
	out[n] = '\0';
	return (long)n;
}

static long scalar(struct reader *r, char *out, size_t size)
{
	size_t n = 0;

	while (r->p < r->end && !strchr(",} \t\r\n", *r->p)) {
		if (strchr("[{", *r->p) || n + 1 >= size)
			return -1;
		out[n++] = *r->p++;
	}
	out[n] = '\0';
	return n ? (long)n : -1;
}

long json_member(const char *object, size_t len, const char *name, char *out, size_t size)
{
	struct reader r = { object, object + len };
	char key[64];
	long n;

	blanks(&r);
	if (r.p >= r.end || *r.p++ != '{')
		return -1;
	for (;;) {
		blanks(&r);
		if (r.p >= r.end || *r.p++ != '"' || string(&r, key, sizeof(key)) < 0)
			return -1;
		blanks(&r);
		if (r.p >= r.end || *r.p++ != ':')
			return -1;
		blanks(&r);
		if (r.p < r.end && *r.p == '"') {
			r.p++;
			n = string(&r, out, size);
		} else {
			n = scalar(&r, out, size);
		}
		if (n < 0 || !strcmp(key, name))
			return n;
		blanks(&r);
		if (r.p >= r.end || *r.p++ != ',')
			return -1;
	}
}
