/* SPDX-License-Identifier: MIT */
#include "outcome.h"

#include <string.h>
#include <strings.h>

static const char *const words[] = {
#define X(name, word, mark) word,
	OUTCOMES(X)
#undef X
};
static const char *const marks[] = {
#define X(name, word, mark) mark,
	OUTCOMES(X)
#undef X
};

const char *outcome_word(enum outcome o)
{
	return words[o];
}

const char *outcome_mark(enum outcome o)
{
	return marks[o];
}

/* A parameter without value in an RFC 9211 list member: "; hit". */
static bool has_hit(const char *cache_status)
{
	const char *p;

	for (p = cache_status; (p = strchr(p, ';'));) {
		p += 1 + strspn(p + 1, " \t");
		if (!strncmp(p, "hit", 3) && (!p[3] || strchr(" ;,", p[3])))
			return true;
	}
	return false;
}

/* Every private answer of the simulated messenger begins {"user":"<name>" . */
static bool belongs(const struct outcome_answer *a)
{
	static const char begin[] = "{\"user\":\"";
	size_t n = strlen(a->user), b = sizeof(begin) - 1;

	return a->body_len > b + n && !memcmp(a->body, begin, b) && !memcmp(a->body + b, a->user, n) && a->body[b + n] == '"';
}

enum outcome outcome_of(const struct outcome_answer *a)
{
	bool problem = a->content_type && !strncasecmp(a->content_type, "application/problem+json", 24);

	if (!a->status || !a->complete)
		return OUTCOME_FAILED;
	if (a->status == 503 && (problem || a->proxy_status))
		return OUTCOME_REFUSED;
	if (a->status == 202)
		return OUTCOME_ACCEPTED;
	if (a->status >= 400)
		return OUTCOME_FAILED;
	if (a->user && !belongs(a))
		return OUTCOME_WRONG;
	if (a->cache_status && has_hit(a->cache_status))
		return OUTCOME_STALE;
	return a->proxy_status ? OUTCOME_FAILED_OVER : OUTCOME_SERVED;
}
