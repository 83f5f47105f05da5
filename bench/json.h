/* SPDX-License-Identifier: MIT */
/*
 * JSON as far as the simulated messenger needs it: writing into a byte chain, and
 * finding one member of a flat object.
 */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include "firebreak/buf.h"

/* Plain text (keys, punctuation, numbers). False: out of memory. */
bool json_put(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A quoted string; bytes that are not UTF-8 are written as \u00XX each. */
bool json_text(struct buf *b, const void *text, size_t len);

/*
 * The value of a member of a flat object. A string is unescaped into out, a number,
 * true or false copied as it stands; NUL-terminated. Returns the length, -1: not
 * there, not flat, not JSON, or too long for out.
 */
long json_member(const char *object, size_t len, const char *name, char *out, size_t size);

#endif
