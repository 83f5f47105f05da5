/* SPDX-License-Identifier: MIT */
/*
 * The response on its way down: its fields, and the copy that becomes recent state.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "firebreak/clock.h"
#include "xchg_private.h"

/* One field more, in the attempt's memory. False: no memory. */
static bool add(struct xchg *x, struct h2_head *h, enum h2_token token, const char *value, size_t len)
{
	const char *text = arena_strndup(&x->up->arena, value, len);
	struct h2_field *more;

	if (!text)
		return false;
	if (h->count == h->size) {
		more = arena_alloc(&x->up->arena, (h->size + 1u) * sizeof(*more));
		if (!more)
			return false;
		memcpy(more, h->field, h->count * sizeof(*more));
		h->field = more;
		h->size++;
	}
	h->field[h->count++] = h2_field(token, text, len);
	return true;
}

/* What comes without Date gets the time it came (RFC 9110 6.6.1). Everything else goes on as
 * it is: the codec has refused what is malformed, and that is what connection-specific fields
 * make of a response (RFC 9113 8.2.2). */
bool response_complete(struct xchg *x, struct h2_head *h)
{
	uint16_t i;

	for (i = 0; i < h->count; i++) {
		if (h->field[i].token == H2_DATE)
			return true;
	}
	return add(x, h, H2_DATE, http_date(), 29);
}

/* An answer that took more than one try says where it came from in the end, and why not from
 * elsewhere (RFC 9209 2.1.2, 2.1.5): a drill and a client's trace can tell it from the others.
 * Not kept in recent state. */
bool response_failed_over(struct xchg *x, struct h2_head *h)
{
	const struct conf *conf = x->via->conf;
	char text[128];
	int n = snprintf(text, sizeof(text), "firebreak; next-hop=\"%.32s\"; details=\"%.40s\"",
			 conf->datacenter[conf->endpoint[x->endpoint].datacenter].name, fault_info(x->ask.last_fault)->word);

	return add(x, h, H2_PROXY_STATUS, text, (size_t)n);
}

/* Only what our key covers: accept, accept-encoding, accept-language. */
static bool vary_covered(const struct h2_field *f)
{
	static const char *const covered[] = { "accept", "accept-encoding", "accept-language" };
	const char *p = (const char *)f->value, *end = p + f->value_len;
	size_t n, i;

	while (p < end) {
		while (p < end && (*p == ' ' || *p == '\t' || *p == ','))
			p++;
		for (n = 0; p + n < end && p[n] != ',' && p[n] != ' ' && p[n] != '\t'; n++)
			;
		for (i = 0; n && i < 3; i++) {
			if (strlen(covered[i]) == n && !strncasecmp(p, covered[i], n))
				break;
		}
		if (n && i == 3)
			return false;
		p += n;
	}
	return true;
}

void response_capture_begin(struct xchg *x, const struct h2_head *h)
{
	struct cache_directives asked, told;
	bool cookie = false, vary_bad = false;
	uint64_t length = 0;
	int i;

	/* The key does not cover a body, and some backends read that of a GET. */
	if (!x->feature->keep_state || x->is_head || h->status != 200 || x->down->received || !x->down->remote_end)
		return;
	cache_directives_init(&asked);
	cache_directives_init(&told);
	asked.no_store = x->request_no_store;
	for (i = 0; i < h->count; i++) {
		const struct h2_field *f = &h->field[i];

		if (f->token == H2_CACHE_CONTROL)
			cache_directives_parse(&told, (const char *)f->value, f->value_len);
		else if (f->token == H2_SET_COOKIE)
			cookie = true;
		else if (f->token == H2_VARY)
			vary_bad |= !vary_covered(f);
		else if (f->token == H2_CONTENT_LENGTH)
			length = decimal(f);
	}
	if (length > x->snap->conf->cache.max_entry_bytes ||
	    !cache_storable(h->status, &asked, &told, cookie, vary_bad, x->request_range) ||
	    (x->feature->shared_state && !cache_shareable(&told, x->authorized)) || !request_key(x, &x->key))
		return;
	x->capture = true;
	x->kept = h->field;
	x->kept_count = h->count;
}

/* The body has arrived whole. */
void response_capture_end(struct xchg *x)
{
	if (!x->capture)
		return;
	x->capture = false;
	cache_put(x->w->cache, &x->key, 200, x->kept, x->kept_count, &x->captured, x->feature->stale_fresh_s, clock_wall());
	buf_clear(&x->captured);
}
