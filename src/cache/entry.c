/* SPDX-License-Identifier: MIT */
/*
 * One kept answer: what of it is kept, how it is laid out, and how it becomes an
 * answer again.
 *
 * data[] = for each field: u16 name length, u32 value length (little endian), name,
 * value; then the body. The digest runs over the status and data[], so the same bytes
 * are hashed whether they lie in the exchange or here; Date is kept apart because it
 * changes with every answer and would make none look unchanged.
 */
#include "cache_private.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL /* the streaming state lives on the stack */
#include <xxhash.h>

#define FIELD_HEAD 6 /* lengths before each field */
#define FIELDS_MAX 10000 /* what limits.header_count and ... */
#define FIELDS_OCTETS_MAX (1u << 20) /* ... limits.header_list let through at most */
#define CLOCK_SKEW 300 /* s; another node's clock may be ahead by this much */

enum fate { KEEP, DROP, REFUSE };

/* Connection-specific fields (RFC 9110 7.6.1, RFC 9113 8.2.2), those that describe one
 * exchange or one hop, and those we compute ourselves stay out. */
static enum fate fate_of(const uint8_t *name, size_t len, uint8_t token)
{
	if (!len || name[0] == ':')
		return DROP;
	switch (token ? token : h2_token((const char *)name, len)) {
	case H2_SET_COOKIE:
		return REFUSE;
	case H2_CONNECTION: case H2_KEEP_ALIVE: case H2_PROXY_CONNECTION: case H2_TRANSFER_ENCODING: case H2_UPGRADE:
	case H2_TE: case H2_TRAILER: case H2_PROXY_AUTHENTICATE: case H2_PROXY_AUTHORIZATION:
	case H2_VIA: case H2_AGE: case H2_CACHE_STATUS: case H2_PROXY_STATUS: case H2_CONTENT_LENGTH:
	case H2_X_REQUEST_ID: case H2_TRACEPARENT: case H2_TRACESTATE: case H2_DATE:
		return DROP;
	case H2_OTHER:
		return len == 13 && !memcmp(name, "server-timing", 13) ? DROP : KEEP;
	default:
		return KEEP;
	}
}

static void lengths(uint8_t out[FIELD_HEAD], size_t name, size_t value)
{
	uint16_t n = htole16((uint16_t)name);
	uint32_t v = htole32((uint32_t)value);

	memcpy(out, &n, 2);
	memcpy(out + 2, &v, 4);
}

/* ---- making one ---- */

bool cache_draft(struct cache_draft *d, int status, const struct h2_field *field, size_t count, const struct buf *body, size_t max)
{
	const uint16_t status_le = htole16((uint16_t)status);
	uint8_t head[FIELD_HEAD];
	const struct buf_block *b;
	const struct h2_field *f;
	size_t total = body->len;
	XXH64_state_t state;
	enum fate fate;

	*d = (struct cache_draft){ .field = field, .count = count, .body = body, .status = (uint16_t)status };
	XXH64_reset(&state, 0);
	XXH64_update(&state, &status_le, 2);
	for (f = field; f < field + count; f++) {
		fate = fate_of(f->name, f->name_len, f->token);
		if (fate == REFUSE)
			return false;
		if (f->name_len == 4 && f->value_len == CACHE_DATE && !memcmp(f->name, "date", 4))
			d->date = f;
		if (f->name_len == 3 && !memcmp(f->name, "age", 3))
			d->age_s = cache_age((const char *)f->value, f->value_len);
		if (fate == DROP)
			continue;
		total += FIELD_HEAD + f->name_len + f->value_len;
		if (f->name_len > UINT16_MAX || total > max || d->fields == UINT16_MAX)
			return false;
		d->fields++;
		lengths(head, f->name_len, f->value_len);
		XXH64_update(&state, head, sizeof(head));
		XXH64_update(&state, f->name, f->name_len);
		XXH64_update(&state, f->value, f->value_len);
	}
	if (total > max || total > UINT32_MAX)
		return false;
	for (b = body->head; b; b = b->next)
		XXH64_update(&state, b->data + b->start, b->end - b->start);
	d->fields_len = (uint32_t)(total - body->len);
	d->digest = XXH64_digest(&state);
	return true;
}

void cache_entry_refresh(struct cache_entry *e, const struct cache_draft *d, int64_t now_s)
{
	e->stored_s = now_s - d->age_s;
	e->checked_s = now_s;
	if (d->date)
		memcpy(e->date, d->date->value, CACHE_DATE);
	else
		e->date[0] = '\0';
}

struct cache_entry *cache_entry_create(const struct cache_draft *d, const struct cache_key *key, int64_t now_s)
{
	struct cache_entry *e = malloc(sizeof(*e) + d->fields_len + d->body->len);
	const struct h2_field *f;
	uint8_t *p;

	if (!e)
		return NULL;
	*e = (struct cache_entry){ .key = *key, .digest = d->digest, .fields_len = d->fields_len,
				   .body_len = (uint32_t)d->body->len, .status = d->status, .fields = d->fields };
	list_init(&e->lru);
	cache_entry_refresh(e, d, now_s);
	p = e->data;
	for (f = d->field; f < d->field + d->count; f++) {
		if (fate_of(f->name, f->name_len, f->token) != KEEP)
			continue;
		lengths(p, f->name_len, f->value_len);
		memcpy(p + FIELD_HEAD, f->name, f->name_len);
		memcpy(p + FIELD_HEAD + f->name_len, f->value, f->value_len);
		p += FIELD_HEAD + f->name_len + f->value_len;
	}
	buf_peek(d->body, p, d->body->len);
	return e;
}

size_t cache_entry_cost(const struct cache_entry *e)
{
	return sizeof(*e) + 16 /* malloc's own */ + e->fields_len + e->body_len;
}

/* ---- reading one ---- */

/* The next field at *at; false at the end or when what is there does not fit. */
static bool next_field(const struct cache_entry *e, size_t *at, struct h2_field *f)
{
	size_t left = e->fields_len - *at;
	const uint8_t *p = e->data + *at;
	uint16_t name;
	uint32_t value;

	if (left < FIELD_HEAD)
		return false;
	memcpy(&name, p, 2);
	memcpy(&value, p + 2, 4);
	*f = (struct h2_field){ .name = p + FIELD_HEAD, .name_len = le16toh(name), .value_len = le32toh(value), .flags = H2_FIELD_KEEP };
	if (f->name_len + f->value_len > left - FIELD_HEAD)
		return false;
	f->value = f->name + f->name_len;
	*at += FIELD_HEAD + f->name_len + f->value_len;
	return true;
}

uint64_t cache_entry_digest(const struct cache_entry *e)
{
	const uint16_t status = htole16(e->status);
	XXH64_state_t state;

	XXH64_reset(&state, 0);
	XXH64_update(&state, &status, 2);
	XXH64_update(&state, e->data, (size_t)e->fields_len + e->body_len);
	return XXH64_digest(&state);
}

/* RFC 9110 5.6.2 token in lower case; RFC 9110 5.5 value. */
static bool clean(const struct h2_field *f)
{
	size_t i;

	for (i = 0; i < f->name_len; i++) {
		uint8_t c = f->name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-.^_`|~", c))))
			return false;
	}
	for (i = 0; i < f->value_len; i++) {
		if ((f->value[i] < ' ' && f->value[i] != '\t') || f->value[i] == 0x7f)
			return false;
	}
	return true;
}

bool cache_entry_valid(const struct cache_entry *e)
{
	struct h2_field f;
	size_t at = 0, i;

	if (e->status < 200 || e->status > 599 || e->fields > FIELDS_MAX || e->fields_len > FIELDS_OCTETS_MAX)
		return false;
	for (i = 0; i < e->fields; i++) {
		if (!next_field(e, &at, &f) || fate_of(f.name, f.name_len, H2_OTHER) != KEEP || !clean(&f))
			return false;
	}
	for (i = 0; e->date[0] && i < CACHE_DATE; i++) {
		if (e->date[i] < ' ' || e->date[i] > '~')
			return false;
	}
	return at == e->fields_len;
}

/* Then its age is unknown, and so whether it is within bounds. */
bool cache_entry_future(const struct cache_entry *e, int64_t now_s)
{
	return e->stored_s - now_s > CLOCK_SKEW;
}

bool cache_entry_servable(const struct cache_entry *e, int64_t cap_s, int64_t now_s)
{
	struct cache_directives d = { .max_age = -1, .s_maxage = -1, .stale_if_error = -1 };
	int64_t age = now_s - e->stored_s;
	struct h2_field f;
	size_t at = 0;

	if (cache_entry_future(e, now_s))
		return false;
	while (next_field(e, &at, &f)) {
		if (f.name_len == 13 && !memcmp(f.name, "cache-control", 13))
			cache_directives_parse(&d, (const char *)f.value, f.value_len);
	}
	return cache_servable(age < 0 ? 0 : age, cap_s, &d);
}

bool cache_entry_answer(const struct cache_entry *e, int64_t now_s, struct arena *arena, struct cache_answer *out)
{
	struct h2_field *field = arena_alloc(arena, (e->fields + 1u) * sizeof(*field));
	uint8_t *text = arena_alloc(arena, e->fields_len + CACHE_DATE + 1u);
	struct h2_field *f = field;
	size_t at = 0;

	*out = (struct cache_answer){ .status = e->status, .age_s = now_s > e->stored_s ? now_s - e->stored_s : 0, .field = field };
	if (!field || !text || !buf_append(&out->body, e->data + e->fields_len, e->body_len))
		return false;
	memcpy(text, e->data, e->fields_len);
	for (; f < field + e->fields && next_field(e, &at, f); f++) {
		f->name = text + (f->name - e->data);
		f->value = f->name + f->name_len;
		f->token = (uint8_t)h2_token((const char *)f->name, f->name_len);
	}
	if (e->date[0]) {
		memcpy(text + e->fields_len, e->date, CACHE_DATE);
		*f++ = (struct h2_field){ .name = (const uint8_t *)"date", .name_len = 4, .value = text + e->fields_len,
					  .value_len = CACHE_DATE, .flags = H2_FIELD_KEEP, .token = H2_DATE };
	}
	out->fields = (size_t)(f - field);
	return true;
}
