/* SPDX-License-Identifier: MIT */
#include "peers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/crypt.h"

#define VERSION "2"
#define MAC     16             /* octets of HMAC-SHA-256 that are kept (RFC 2104 5: half of it) */
#define SEAL    (2 + 2 * MAC)  /* characters: " #" and those in hexadecimal */

static const char letters[] = "sud"; /* by enum peer_verdict */

/* ---- a word as text ---- */

/* Over the process' name and the text: a word cannot be said again as another's. */
static bool seal(const char *text, size_t len, const char *boot, const uint8_t key[PEER_KEY], char out[SEAL + 1])
{
	char whole[PEER_BOOT + PEER_VALUE];
	uint8_t mac[32];
	int i;

	memcpy(whole, boot, PEER_BOOT);
	memcpy(whole + PEER_BOOT, text, len);
	if (!crypt_hmac(key, PEER_KEY, whole, PEER_BOOT + len, mac))
		return false;
	memcpy(out, " #", 3);
	for (i = 0; i < MAC; i++)
		snprintf(out + 2 + 2 * i, 3, "%02x", mac[i]);
	return true;
}

size_t peer_print(const struct peer_word *w, const char *boot, const uint8_t key[PEER_KEY], char out[PEER_VALUE])
{
	int n = snprintf(out, PEER_VALUE, VERSION " %s %" PRIu64 " %d", w->node, w->sequence, w->dissent);
	unsigned d;

	for (d = 0; d < w->datacenters; d++)
		n += snprintf(out + n, (size_t)(PEER_VALUE - n), " %s=%c", w->datacenter[d].name, letters[w->datacenter[d].verdict]);
	return seal(out, (size_t)n, boot, key, out + n) ? (size_t)n + SEAL : 0;
}

/* A copy of the next word, and past its blank. False: none, or too long. */
static bool next_word(const char **p, char *out, size_t size)
{
	size_t n = strcspn(*p, " ");

	if (!n || n >= size)
		return false;
	memcpy(out, *p, n);
	out[n] = '\0';
	*p += n + ((*p)[n] == ' ');
	return true;
}

static bool parse_number(const char *text, uint64_t *v)
{
	size_t n = strspn(text, "0123456789");

	*v = strtoull(text, NULL, 10);
	return n && n < 20 && !text[n];
}

static bool parse_view(const char *text, struct peer_view *v)
{
	const char *equal = strrchr(text, '='), *letter;
	size_t n = equal ? (size_t)(equal - text) : 0;

	if (!n || n >= sizeof(v->name) || !equal[1] || equal[2] || !(letter = strchr(letters, equal[1])))
		return false;
	memcpy(v->name, text, n);
	v->name[n] = '\0';
	v->verdict = (uint8_t)(letter - letters);
	return true;
}

static bool sealed(const char *text, size_t len, const char *boot, const uint8_t key[PEER_KEY])
{
	char right[SEAL + 1];

	return len > SEAL && seal(text, len - SEAL, boot, key, right) && crypt_equal(text + len - SEAL, right, SEAL);
}

/* It is shown to people. */
static bool shows(const char *node)
{
	for (; *node > ' ' && *node <= '~'; node++)
		;
	return !*node;
}

enum peer_read peer_parse(const char *text, size_t len, const char *boot, const uint8_t key[PEER_KEY], struct peer_word *w)
{
	char copy[PEER_VALUE], word[64];
	const char *p = copy;
	uint64_t version, dissent;

	memset(w, 0, sizeof(*w));
	if (len >= sizeof(copy) || memchr(text, '\0', len))
		return PEER_JUNK;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!next_word(&p, word, sizeof(word)) || !parse_number(word, &version))
		return PEER_JUNK;
	if (strcmp(word, VERSION) != 0)
		return PEER_OTHER_VERSION;
	if (!sealed(copy, len, boot, key))
		return PEER_JUNK;
	copy[len - SEAL] = '\0';
	if (!next_word(&p, w->node, sizeof(w->node)) || !shows(w->node) || !next_word(&p, word, sizeof(word)) || !parse_number(word, &w->sequence) ||
	    !next_word(&p, word, sizeof(word)) || !parse_number(word, &dissent) || dissent > 1)
		return PEER_JUNK;
	w->dissent = dissent;
	for (; *p; w->datacenters++) {
		if (w->datacenters == CONF_MAX_DATACENTERS || !next_word(&p, word, sizeof(word)) || !parse_view(word, &w->datacenter[w->datacenters]))
			return PEER_JUNK;
	}
	return PEER_GOOD;
}

/* ---- who is heard ---- */

static struct peer *find(struct peers *p, const char *boot)
{
	unsigned i;

	for (i = 0; i < p->count; i++) {
		if (!strcmp(p->peer[i].boot, boot))
			return &p->peer[i];
	}
	return NULL;
}

/* A place for one more: of the oldest that is not fresh when all are taken. */
static struct peer *place(struct peers *p, int64_t now)
{
	struct peer *oldest = NULL;
	unsigned i;

	if (p->count < PEERS_MAX)
		return &p->peer[p->count++];
	for (i = 0; i < p->count; i++) {
		if (!peer_fresh(&p->peer[i], now) && now - p->peer[i].since > PEERS_FRESH && (!oldest || p->peer[i].since < oldest->since))
			oldest = &p->peer[i];
	}
	p->full = !oldest;
	return oldest;
}

static bool boot_ok(const char *boot, size_t len)
{
	return len == PEER_BOOT && strspn(boot, "0123456789abcdef") >= PEER_BOOT;
}

bool peers_hear(struct peers *p, const char *boot, size_t boot_len, const char *value, size_t len, int64_t now)
{
	char name[PEER_BOOT + 1] = "";
	struct peer_word w;
	enum peer_read how;
	struct peer *known;

	if (boot_len == PEER_BOOT)
		memcpy(name, boot, PEER_BOOT);
	how = boot_ok(name, boot_len) ? peer_parse(value, len, name, p->key, &w) : PEER_JUNK;
	if (how == PEER_JUNK) {
		p->junk++;
		return false;
	}
	if (how == PEER_OTHER_VERSION || !strcmp(name, p->self))
		return true;
	known = find(p, name);
	if (!known) {
		known = place(p, now);
		if (known) {
			*known = (struct peer){ .word = w, .since = now };
			memcpy(known->boot, name, sizeof(name));
		}
		return true;
	}
	if (w.sequence > known->word.sequence) { /* else it is said again: whoever says it */
		known->changed = known->since = now;
		known->word = w;
	}
	if (now - known->since <= PEERS_GONE)
		return true;
	*known = p->peer[--p->count];
	return false;
}

bool peer_fresh(const struct peer *p, int64_t now)
{
	return p->changed && now - p->changed < PEERS_FRESH;
}

unsigned peers_fresh(const struct peers *p, int64_t now)
{
	unsigned i, n = 0;

	for (i = 0; i < p->count; i++)
		n += peer_fresh(&p->peer[i], now);
	return n;
}

bool peers_same_name(const struct peers *p, const char *node, int64_t now)
{
	unsigned i;

	for (i = 0; i < p->count; i++) {
		if (peer_fresh(&p->peer[i], now) && !strcmp(p->peer[i].word.node, node))
			return true;
	}
	return false;
}

/* ---- counting ---- */

struct dc_peers peers_count(const struct peers *p, const char *datacenter, int64_t now)
{
	struct dc_peers n = { 0 };
	unsigned i, d;

	for (i = 0; i < p->count; i++) {
		const struct peer_word *w = &p->peer[i].word;

		for (d = 0; peer_fresh(&p->peer[i], now) && d < w->datacenters; d++) {
			if (strcmp(w->datacenter[d].name, datacenter) != 0)
				continue;
			n.up += w->datacenter[d].verdict == PEER_UP;
			n.down += w->datacenter[d].verdict == PEER_DOWN;
			break;
		}
	}
	return n;
}

struct dc_peers peers_quorum(const struct peers *p, const char *datacenter, int64_t now)
{
	struct dc_peers n = peers_count(p, datacenter, now);
	unsigned fresh = peers_fresh(p, now);

	if (fresh < 2)
		return (struct dc_peers){ 0 };
	if (2u * n.up <= fresh)
		n.up = 0;
	return n;
}

bool peers_may_leave(const struct peers *p, int64_t now)
{
	unsigned i, fresh = peers_fresh(p, now), well = 0;

	for (i = 0; i < p->count; i++)
		well += peer_fresh(&p->peer[i], now) && !p->peer[i].word.dissent;
	return 2 * well > fresh;
}
