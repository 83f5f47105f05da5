/* SPDX-License-Identifier: MIT */
/*
 * As much of protocol buffers (encoding, protobuf.dev) as messenger.proto needs:
 * varints and length-delimited fields. Fields of other kinds are skipped.
 */
#ifndef BENCH_PROTO_H
#define BENCH_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firebreak/buf.h"

/* Writers leave out what is empty or 0, as proto3 does. False: out of memory. */
bool proto_put_number(struct buf *b, unsigned field, uint64_t value);
bool proto_put_bytes(struct buf *b, unsigned field, const void *data, size_t len);
/* A sub-message, moved; written even when it is empty. */
bool proto_put_message(struct buf *b, unsigned field, struct buf *message);

struct proto_field {
	unsigned number;
	uint64_t value;     /* varint, or the length */
	const uint8_t *data; /* length-delimited; NULL otherwise */
};
/* Reads the next field of [*p, end). 1: read, 0: the end, -1: malformed. */
int proto_next(const uint8_t **p, const uint8_t *end, struct proto_field *f);

#endif
