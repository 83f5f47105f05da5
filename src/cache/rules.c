/* SPDX-License-Identifier: MIT */
/*
 * What may be kept and what may be given out: RFC 9111 for a gateway that uses
 * kept answers only instead of an error (RFC 5861). Pure. The origin's word always
 * limits, the operator's cap limits further; neither widens the other.
 *
 * Where a field is malformed the reading that keeps or gives out less is taken.
 * Not here: keys, identities and Vary matching (cache.c).
 */
#include "firebreak/cache.h"

#include <string.h>

#define SECONDS_MAX ((int64_t)1 << 31) /* RFC 9111 1.2.2 */

void cache_directives_init(struct cache_directives *d)
{
	*d = (struct cache_directives){ .max_age = -1, .s_maxage = -1, .stale_if_error = -1 };
}

/* One "name" or "name=value" of the list; the value without its quotes. */
struct directive {
	const char *name, *value;
	size_t name_len, value_len;
	bool broken; /* a quote that is never closed may hide anything behind it */
};

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Cuts the next list element off [*p, end). False: no more. */
static bool directive_next(const char **p, const char *end, struct directive *d)
{
	const char *s = *p;

	*d = (struct directive){ 0 };
	while (s < end && (blank(*s) || *s == ','))
		s++;
	if (s == end)
		return false;
	d->name = s;
	while (s < end && *s != ',' && *s != '=' && !blank(*s))
		s++;
	d->name_len = (size_t)(s - d->name);
	while (s < end && blank(*s))
		s++;
	if (s < end && *s == '=') {
		for (s++; s < end && blank(*s); s++)
			;
		if (s < end && *s == '"') {
			d->value = ++s;
			while (s < end && *s != '"')
				s += *s == '\\' && end - s > 1 ? 2 : 1;
			d->broken = s >= end;
			d->value_len = (size_t)((s < end ? s : end) - d->value);
		} else {
			d->value = s;
			while (s < end && *s != ',' && !blank(*s))
				s++;
			d->value_len = (size_t)(s - d->value);
		}
	}
	while (s < end && *s != ',')
		s++;
	*p = s < end ? s : end;
	return true;
}

static bool is(const struct directive *d, const char *name)
{
	size_t i;

	if (d->name_len != strlen(name))
		return false;
	for (i = 0; i < d->name_len; i++)
		if ((d->name[i] >= 'A' && d->name[i] <= 'Z' ? d->name[i] + 32 : d->name[i]) != name[i])
			return false;
	return true;
}

/* delta-seconds; -1: no number. */
static int64_t number(const char *text, size_t len)
{
	int64_t v = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		v = v * 10 + (text[i] - '0');
		if (v > SECONDS_MAX)
			v = SECONDS_MAX;
	}
	return len ? v : -1;
}

int64_t cache_age(const char *value, size_t len)
{
	int64_t v = number(value, len);

	return v < 0 ? SECONDS_MAX : v;
}

/* No number reads as 0: at once stale (RFC 9111 4.2.1). Said twice, the smaller one counts. */
static void seconds(const struct directive *d, int64_t *out)
{
	int64_t v = number(d->value, d->value_len);

	if (v < 0)
		v = 0;
	if (*out < 0 || v < *out)
		*out = v;
}

void cache_directives_parse(struct cache_directives *d, const char *value, size_t len)
{
	const char *p = value, *end = value + len;
	struct directive e;

	while (directive_next(&p, end, &e)) {
		if (e.broken || is(&e, "no-store"))
			d->no_store = true;
		else if (is(&e, "no-cache")) /* also with a field list: the whole answer is held back */
			d->no_cache = true;
		else if (is(&e, "private"))
			d->is_private = true;
		else if (is(&e, "public"))
			d->is_public = true;
		else if (is(&e, "must-revalidate") || is(&e, "proxy-revalidate"))
			d->must_revalidate = true;
		else if (is(&e, "max-age"))
			seconds(&e, &d->max_age);
		else if (is(&e, "s-maxage"))
			seconds(&e, &d->s_maxage);
		else if (is(&e, "stale-if-error"))
			seconds(&e, &d->stale_if_error);
	}
}

/*
 * Final, and of use in an outage. Not 404 and 410, though RFC 9110 15.1 would let
 * them be kept: a backend deployed badly in the middle of a disaster would replace
 * the last good answer by its error.
 */
static bool status_kept(int status)
{
	return status == 200 || status == 203 || status == 204 || status == 300 || status == 301 || status == 308;
}

bool cache_storable(int status, const struct cache_directives *request, const struct cache_directives *response,
		    bool has_set_cookie, bool vary_star, bool range)
{
	if (!status_kept(status) || request->no_store || response->no_store)
		return false;
	/* no-cache forbids every use without asking the origin, and when this entry
	 * is wanted there is no origin to ask (RFC 9111 4.2.4). */
	if (response->no_cache)
		return false;
	return !has_set_cookie && !vary_star && !range;
}

bool cache_shareable(const struct cache_directives *response, bool has_authorization)
{
	if (response->is_private)
		return false;
	return !has_authorization || response->is_public || response->s_maxage >= 0 || response->must_revalidate;
}

bool cache_servable(int64_t age, int64_t cap, const struct cache_directives *response)
{
	int64_t fresh = response->s_maxage >= 0 ? response->s_maxage : response->max_age;

	if (age < 0 || age > cap || response->no_store || response->no_cache)
		return false;
	if (response->must_revalidate) /* RFC 9111 5.2.2.2: never stale, not even when disconnected */
		return age < fresh;
	if (response->stale_if_error >= 0) /* RFC 5861 4: so long after it has become stale */
		return age - (fresh > 0 ? fresh : 0) <= response->stale_if_error;
	return response->s_maxage < 0 || age < fresh; /* 5.2.2.10: s-maxage alone is proxy-revalidate too */
}
