/* SPDX-License-Identifier: MIT */
#include "pattern.h"

#include <string.h>

void route_pattern_open(struct route_pattern *p, const struct conf_route *r)
{
	*p = (struct route_pattern){ .method = r->method, .host = r->host, .next = r->pattern };
	p->grpc = strncmp(p->next, "grpc ", 5) == 0;
	if (p->grpc) {
		p->next += 5;
		p->method = "POST"; /* gRPC over HTTP/2 knows no other */
	}
	p->rooted = *p->next == '/' || (p->grpc && *p->next);
	if (*p->next == '/')
		p->next++;
	p->end = p->next + strlen(p->next);
	if (p->next == p->end)
		p->next = NULL; /* "/": the root has no segment */
}

static struct route_segment segment_of(const char *s, size_t len, bool grpc_last)
{
	if (len == 2 && memcmp(s, "**", 2) == 0)
		return (struct route_segment){ ROUTE_REST, s, len };
	if (grpc_last && len == 1 && *s == '*')
		return (struct route_segment){ ROUTE_PART, s, 0 };
	if (len > 2 && s[0] == '{' && s[len - 1] == '}' && !memchr(s + 1, '{', len - 2) && !memchr(s + 1, '}', len - 2))
		return (struct route_segment){ ROUTE_PART, s + 1, len - 2 };
	if (len && (memchr(s, '{', len) || memchr(s, '}', len) || memchr(s, '*', len)))
		return (struct route_segment){ ROUTE_BROKEN, s, len };
	return (struct route_segment){ ROUTE_LITERAL, s, len };
}

struct route_segment route_pattern_next(struct route_pattern *p)
{
	const char *s = p->next, *slash;

	if (!s)
		return (struct route_segment){ ROUTE_END, NULL, 0 };
	slash = s < p->end ? memchr(s, '/', (size_t)(p->end - s)) : NULL;
	p->next = slash ? slash + 1 : NULL;
	return segment_of(s, (size_t)((slash ? slash : p->end) - s), p->grpc && !slash);
}
