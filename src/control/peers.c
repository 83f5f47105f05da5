/* SPDX-License-Identifier: MIT */
#include "peers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/crypt.h"

#define VERSION  "1"
#define SUM_SEED 0x66626631u
#define SUM_LEN  16

static const char letters[] = "sud"; /* by enum peer_verdict */

/* ---- a word as text ---- */

size_t peer_print(const struct peer_word *w, char out[PEER_VALUE])
{
	int n = snprintf(out, PEER_VALUE, VERSION " %s %" PRIu64 " %d", w->node, w->sequence, w->dissent);
	unsigned d;

	for (d = 0; d < w->datacenters; d++)
		n += snprintf(out + n, (size_t)(PEER_VALUE - n), " %s=%c", w->datacenter[d].name, letters[w->datacenter[d].verdict]);
	n += snprintf(out + n, (size_t)(PEER_VALUE - n), " #%016" PRIx64, crypt_hash64(out, (size_t)n, SUM_SEED));
	return (size_t)n;
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

static bool sum_fits(const char *text, size_t len)
{
	char sum[SUM_LEN + 3];

	if (len < SUM_LEN + 2)
		return false;
	snprintf(sum, sizeof(sum), " #%016" PRIx64, crypt_hash64(text, len - SUM_LEN - 2, SUM_SEED));
	return !memcmp(text + len - SUM_LEN - 2, sum, SUM_LEN + 2);
}

enum peer_read peer_parse(const char *text, size_t len, struct peer_word *w)
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
	if (!sum_fits(copy, len))
		return PEER_JUNK;
	copy[len - SUM_LEN - 2] = '\0';
	if (!next_word(&p, w->node, sizeof(w->node)) || !next_word(&p, word, sizeof(word)) || !parse_number(word, &w->sequence) ||
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

bool peers_hear(struct peers *p, const char *boot, size_t boot_len, const char *value, size_t len, const char *self, int64_t now)
{
	char name[PEER_BOOT + 1] = "";
	struct peer_word w;
	enum peer_read how = peer_parse(value, len, &w);
	struct peer *known;

	if (boot_len == PEER_BOOT)
		memcpy(name, boot, PEER_BOOT);
	if (how == PEER_JUNK || !boot_ok(name, boot_len)) {
		p->junk++;
		return false;
	}
	if (how == PEER_OTHER_VERSION || !strcmp(name, self))
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
	if (w.sequence != known->word.sequence)
		known->changed = known->since = now;
	known->word = w;
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
	struct dc_peers n = { 0, 0 };
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
		return (struct dc_peers){ 0, 0 };
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
