/* SPDX-License-Identifier: MIT */
/*
 * A kept answer as a Redis value. What is read back is somebody else's bytes until
 * everything below has been checked: Redis may have been restored from elsewhere,
 * written by hand, or hold the value of another key.
 *
 *   0 "FBS1"   4 u16 status   6 u16 fields   8 u32 flags (1: body deflated)
 *  12 u32 fields' bytes  16 u32 body bytes  20 u32 body bytes as stored
 *  24 i64 stored at (wall s)  32 key[32]  64 u64 digest of the content
 *  72 date[32]  104 u64 checksum of bytes 0..103  112 fields, body
 *
 * Little endian. A change of layout changes the key prefix too, so that old and new
 * nodes do not delete each other's values.
 */
#include "cache_private.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL /* the streaming state lives on the stack */
#include <xxhash.h>
#include <zlib.h>

#define HEAD           112
#define FLAG_DEFLATED  1u
#define STORED_MAX     (UINT64_C(1) << 40) /* s */
#define DEFLATE_MIN    512
#define DEFLATE_MAX    (64u << 10) /* about a millisecond; larger bodies go as they are */

static const uint8_t magic[4] = { 'F', 'B', 'S', '1' };

struct cache_packer {
	z_stream deflate, inflate; /* raw: the digest is our checksum */
};

struct cache_packer *cache_packer_create(void)
{
	struct cache_packer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	if (deflateInit2(&p->deflate, 1, Z_DEFLATED, -13, 7, Z_DEFAULT_STRATEGY) != Z_OK ||
	    inflateInit2(&p->inflate, -15) != Z_OK) {
		cache_packer_destroy(p);
		return NULL;
	}
	return p;
}

void cache_packer_destroy(struct cache_packer *p)
{
	if (!p)
		return;
	deflateEnd(&p->deflate);
	inflateEnd(&p->inflate);
	free(p);
}

/* Bytes written, 0 when it does not get smaller by at least an eighth. */
static size_t deflated(struct cache_packer *p, const uint8_t *in, size_t len, uint8_t *out)
{
	z_stream *z = &p->deflate;

	if (len < DEFLATE_MIN || len > DEFLATE_MAX || deflateReset(z) != Z_OK)
		return 0;
	z->next_in = (uint8_t *)(uintptr_t)in;
	z->avail_in = (unsigned)len;
	z->next_out = out;
	z->avail_out = (unsigned)(len - len / 8);
	return deflate(z, Z_FINISH) == Z_STREAM_END ? z->total_out : 0;
}

/* Exactly from_len bytes in, exactly to_len out, never one more. */
static bool inflated(struct cache_packer *p, const uint8_t *from, size_t from_len, uint8_t *to, size_t to_len)
{
	z_stream *z = &p->inflate;

	if (inflateReset(z) != Z_OK)
		return false;
	z->next_in = (uint8_t *)(uintptr_t)from;
	z->avail_in = (unsigned)from_len;
	z->next_out = to;
	z->avail_out = (unsigned)to_len;
	return inflate(z, Z_FINISH) == Z_STREAM_END && !z->avail_in && !z->avail_out;
}

static void put16(uint8_t *p, uint16_t v) { v = htole16(v); memcpy(p, &v, 2); }
static void put32(uint8_t *p, uint32_t v) { v = htole32(v); memcpy(p, &v, 4); }
static void put64(uint8_t *p, uint64_t v) { v = htole64(v); memcpy(p, &v, 8); }
static uint16_t get16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return le16toh(v); }
static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return le32toh(v); }
static uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return le64toh(v); }

uint8_t *cache_pack(struct cache_packer *p, const struct cache_entry *e, size_t *len)
{
	const uint8_t *body = e->data + e->fields_len;
	uint8_t *v = malloc((size_t)HEAD + e->fields_len + e->body_len);
	size_t packed;

	if (!v)
		return NULL;
	memcpy(v + HEAD, e->data, e->fields_len);
	packed = deflated(p, body, e->body_len, v + HEAD + e->fields_len);
	memcpy(v, magic, sizeof(magic));
	put16(v + 4, e->status);
	put16(v + 6, e->fields);
	put32(v + 8, packed ? FLAG_DEFLATED : 0);
	put32(v + 12, e->fields_len);
	put32(v + 16, e->body_len);
	put32(v + 20, packed ? (uint32_t)packed : e->body_len);
	put64(v + 24, (uint64_t)e->stored_s);
	memcpy(v + 32, e->key.bytes, 32);
	put64(v + 64, e->digest);
	memcpy(v + 72, e->date, 32);
	put64(v + 104, XXH64(v, 104, 0));
	if (!packed) {
		packed = e->body_len;
		memcpy(v + HEAD + e->fields_len, body, packed);
	}
	*len = HEAD + e->fields_len + packed;
	return v;
}

/* The head alone, without believing any length in it. */
static bool head_valid(const uint8_t *v, size_t len, const struct cache_key *key, size_t max)
{
	uint32_t fields, body, stored;

	if (len < HEAD || memcmp(v, magic, sizeof(magic)) != 0 || get64(v + 104) != XXH64(v, 104, 0) || memcmp(v + 32, key->bytes, 32) != 0)
		return false;
	fields = get32(v + 12);
	body = get32(v + 16);
	stored = get32(v + 20);
	if (get32(v + 8) & ~FLAG_DEFLATED || get64(v + 24) > STORED_MAX || (uint64_t)fields + body > max || (uint64_t)HEAD + fields + stored != len)
		return false;
	return get32(v + 8) & FLAG_DEFLATED || stored == body;
}

struct cache_entry *cache_unpack(struct cache_packer *p, const void *value, size_t len, const struct cache_key *key, size_t max, bool *junk)
{
	const uint8_t *v = value;
	struct cache_entry *e;
	uint32_t fields_len, body_len;
	bool ok = true;

	*junk = true;
	if (!head_valid(v, len, key, max))
		return NULL;
	fields_len = get32(v + 12);
	body_len = get32(v + 16);
	e = malloc(sizeof(*e) + fields_len + body_len);
	if (!e) {
		*junk = false;
		return NULL;
	}
	*e = (struct cache_entry){ .key = *key, .digest = get64(v + 64), .stored_s = (int64_t)get64(v + 24),
				   .fields_len = fields_len, .body_len = body_len, .status = get16(v + 4), .fields = get16(v + 6) };
	list_init(&e->lru);
	memcpy(e->date, v + 72, sizeof(e->date));
	memcpy(e->data, v + HEAD, fields_len);
	if (get32(v + 8) & FLAG_DEFLATED)
		ok = inflated(p, v + HEAD + fields_len, get32(v + 20), e->data + fields_len, body_len);
	else
		memcpy(e->data + fields_len, v + HEAD + fields_len, body_len);
	if (!ok || e->digest != cache_entry_digest(e) || !cache_entry_valid(e)) {
		free(e);
		return NULL;
	}
	*junk = false;
	return e;
}
