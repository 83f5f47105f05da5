/* SPDX-License-Identifier: MIT */
/*
 * Whose answer to what: an HMAC over every part with its length before it, so that
 * bytes cannot move from one part into the next, under a secret, so that nobody who
 * reads Redis can test a guessed identity. The promise kept here is P2: an identity
 * that is missing is never a value of its own.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "cache_tiers.h"
#include "firebreak/crypt.h"

struct part {
	const void *data;
	size_t len;
};

#define ON_STACK 2048

static bool hash_parts(const uint8_t secret[32], const struct part *part, size_t n, struct cache_key *out)
{
	uint8_t small[ON_STACK], *text = small, *p;
	size_t total = 0, i;
	uint64_t len;
	bool ok;

	for (i = 0; i < n; i++)
		total += sizeof(len) + part[i].len;
	if (total > sizeof(small)) {
		text = malloc(total);
		if (!text)
			return false;
	}
	for (i = 0, p = text; i < n; i++) {
		len = htole64(part[i].len);
		memcpy(p, &len, sizeof(len));
		if (part[i].len)
			memcpy(p + sizeof(len), part[i].data, part[i].len);
		p += sizeof(len) + part[i].len;
	}
	ok = crypt_hmac(secret, 32, text, total, out->bytes);
	if (text != small)
		free(text);
	return ok;
}

static struct part text_part(const char *s)
{
	return (struct part){ s ? s : "", s ? strlen(s) : 0 };
}

bool cache_key(const struct cache *k, const struct conf_feature *feature, const char *method, size_t method_len,
	       const char *target, size_t target_len, const char *vary, size_t vary_len,
	       const void *identity, size_t identity_len, struct cache_key *out)
{
	static const char *const kinds[] = { [CONF_IDENTITY_NONE] = "none", [CONF_IDENTITY_BEARER] = "bearer",
					     [CONF_IDENTITY_HEADER] = "header", [CONF_IDENTITY_CERTIFICATE] = "certificate" };
	bool shared = feature->shared_state;

	if (!shared && (!identity || !identity_len || feature->identity == CONF_IDENTITY_NONE))
		return false;
	/* What kind of identity it is belongs to it: the header "alice" is not the token "alice". */
	const struct part parts[] = {
		text_part("firebreak recent state 1"),
		text_part(feature->name),
		{ method, method_len },
		{ target, target_len },
		{ vary, vary_len },
		text_part(shared ? "shared" : kinds[feature->identity]),
		text_part(!shared && feature->identity == CONF_IDENTITY_HEADER ? feature->identity_header : NULL),
		{ shared ? NULL : identity, shared ? 0 : identity_len },
	};
	return hash_parts(k->secret, parts, sizeof(parts) / sizeof(parts[0]), out);
}
