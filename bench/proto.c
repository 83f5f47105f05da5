/* SPDX-License-Identifier: MIT */
#include "proto.h"

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static bool put_varint(struct buf *b, uint64_t v)
{
	uint8_t out[10];
	size_t n = 0;

	do {
		out[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
	} while (v >>= 7);
	return buf_append(b, out, n);
}

bool proto_put_number(struct buf *b, unsigned field, uint64_t value)
{
	return !value || (put_varint(b, field << 3 | WIRE_VARINT) && put_varint(b, value));
}

bool proto_put_bytes(struct buf *b, unsigned field, const void *data, size_t len)
{
	return !len || (put_varint(b, field << 3 | WIRE_BYTES) && put_varint(b, len) && buf_append(b, data, len));
}

bool proto_put_message(struct buf *b, unsigned field, struct buf *message)
{
	return put_varint(b, field << 3 | WIRE_BYTES) && put_varint(b, message->len) && buf_move(b, message, message->len);
}

static bool get_varint(const uint8_t **p, const uint8_t *end, uint64_t *v)
{
	unsigned shift;

	*v = 0;
	for (shift = 0; *p < end && shift < 64; shift += 7) {
		*v |= (uint64_t)(**p & 0x7f) << shift;
		if (!(*(*p)++ & 0x80))
			return true;
	}
	return false;
}

int proto_next(const uint8_t **p, const uint8_t *end, struct proto_field *f)
{
	uint64_t tag;

	if (*p >= end)
		return 0;
	if (!get_varint(p, end, &tag) || !(tag >> 3) || tag >> 3 > 0x1fffffff)
		return -1;
	*f = (struct proto_field){ .number = (unsigned)(tag >> 3) };
	switch (tag & 7) {
	case WIRE_VARINT:
		return get_varint(p, end, &f->value) ? 1 : -1;
	case WIRE_BYTES:
		if (!get_varint(p, end, &f->value) || f->value > (uint64_t)(end - *p))
			return -1;
		f->data = *p;
		*p += f->value;
		return 1;
	case WIRE_64:
	case WIRE_32:
		if (end - *p < ((tag & 7) == WIRE_64 ? 8 : 4))
			return -1;
		*p += (tag & 7) == WIRE_64 ? 8 : 4;
		return 1;
	default:
		return -1;
	}
}
