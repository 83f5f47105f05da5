/* SPDX-License-Identifier: MIT */
/*
 * The segment trie. One piece of memory without a pointer in it:
 *
 *   route_table | edge[] | node[] | term[] | text
 *
 *   node   edges to literal children, sorted; at most one child for "{part}"; the
 *          routes that end here, and those that end with "**" here
 *   edge   first eight octets and length of the literal, so that a step is a search
 *          by an integer; the text is looked at only beyond eight octets
 *   term   method, host and feature of a route; the more particular first
 *
 * A walk tries literal, part, rest in this order and comes back when nothing under a
 * choice fits. Every node has one way from the root, so a walk visits each at most
 * once: its cost is bounded by the configuration, never by the request.
 */
#include "pattern.h"

#include <string.h>

#define NONE (-1)

struct edge {
	uint64_t key;
	uint32_t text;
	uint32_t len;
	int32_t node;
	int32_t next; /* while building: the sibling after this one */
};

struct node {
	int32_t first; /* edges of this node: [first, first + edges) */
	uint32_t edges;
	int32_t part;
	int32_t here, rest; /* lists of terms */
};

struct term {
	uint64_t method_key;
	uint32_t method, host; /* in text */
	uint16_t method_len, host_len; /* 0: any */
	int32_t next;
	int16_t route;
	uint8_t feature;
	uint8_t rank; /* smaller: more particular */
};

struct route_table {
	uint32_t edges, nodes, terms, text; /* used */
	uint32_t node_at, term_at, text_at; /* octets from the table's start */
	uint8_t unnamed;
};

static struct edge *edges_of(const struct route_table *t)
{
	return (struct edge *)(t + 1);
}

static struct node *nodes_of(const struct route_table *t)
{
	return (struct node *)((char *)t + t->node_at);
}

static struct term *terms_of(const struct route_table *t)
{
	return (struct term *)((char *)t + t->term_at);
}

static char *text_of(const struct route_table *t)
{
	return (char *)t + t->text_at;
}

/* ---- keys ---- */

static uint64_t load8(const char *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

/* The first eight octets, zeroes behind the end; reads no octet outside [p, p + len). */
static uint64_t key_of(const char *p, size_t len)
{
	const unsigned char *u = (const unsigned char *)p;
	uint32_t low, high;

	if (len >= 8)
		return load8(p);
	if (len >= 4) { /* two overlapping halves */
		low = u[0] | u[1] << 8 | u[2] << 16 | (uint32_t)u[3] << 24;
		u += len - 4;
		high = u[0] | u[1] << 8 | u[2] << 16 | (uint32_t)u[3] << 24;
		return low | (uint64_t)high << (8 * (len - 4));
	}
	if (!len)
		return 0;
	return u[0] | (uint64_t)u[len / 2] << (8 * (len / 2)) | (uint64_t)u[len - 1] << (8 * (len - 1));
}

static bool edge_is(const struct edge *e, const char *text, uint64_t key, const char *s, size_t len)
{
	return e->key == key && e->len == len && (len <= 8 || memcmp(text + e->text + 8, s + 8, len - 8) == 0);
}

/* ---- compile ---- */

struct size {
	size_t segments, text, routes;
};

static bool usable(const struct conf_route *r)
{
	struct route_pattern p;
	struct route_segment s;
	unsigned segments = 0, parts = 0;

	route_pattern_open(&p, r);
	if (!p.rooted || (r->method && strlen(r->method) > 64) || (r->host && strlen(r->host) > 255))
		return false;
	for (s = route_pattern_next(&p); s.kind != ROUTE_END; s = route_pattern_next(&p)) {
		if (s.kind == ROUTE_BROKEN || (s.kind == ROUTE_REST && p.next))
			return false;
		parts += s.kind == ROUTE_PART;
		segments++;
	}
	return segments <= ROUTE_MAX_SEGMENTS && parts <= ROUTE_MAX_PARTS;
}

static struct size measure(const struct conf *c)
{
	struct size n = { 0, 0, 0 };
	struct route_pattern p;
	size_t i;

	for (i = 0; i < c->routes && n.routes < INT16_MAX; i++, n.routes++) {
		route_pattern_open(&p, &c->route[i]);
		n.text += strlen(c->route[i].pattern);
		n.text += p.method ? strlen(p.method) : 0;
		n.text += p.host ? strlen(p.host) : 0;
		while (route_pattern_next(&p).kind != ROUTE_END)
			n.segments++;
	}
	return n;
}

static size_t align8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/* Edges are counted twice: in the order they came, and sorted. */
static size_t size_of(const struct size *n)
{
	return sizeof(struct route_table) + 2 * n->segments * sizeof(struct edge) +
	       align8((n->segments + 1) * sizeof(struct node)) + n->routes * sizeof(struct term) + align8(n->text);
}

size_t route_table_size(const struct conf *c)
{
	struct size n = measure(c);

	return size_of(&n);
}

static uint32_t text_add(struct route_table *t, const char *s, size_t len)
{
	uint32_t at = t->text;

	memcpy(text_of(t) + at, s, len);
	t->text += (uint32_t)len;
	return at;
}

static int32_t node_add(struct route_table *t)
{
	nodes_of(t)[t->nodes] = (struct node){ .first = NONE, .part = NONE, .here = NONE, .rest = NONE };
	return (int32_t)t->nodes++;
}

static int32_t part_step(struct route_table *t, int32_t at)
{
	if (nodes_of(t)[at].part == NONE) {
		int32_t added = node_add(t);

		nodes_of(t)[at].part = added;
	}
	return nodes_of(t)[at].part;
}

/* While building, a node's edges are a sorted list in `e`. */
static int32_t literal_step(struct route_table *t, struct edge *e, int32_t at, const struct route_segment *s)
{
	int32_t *link = &nodes_of(t)[at].first;
	uint64_t key = key_of(s->text, s->len);

	for (; *link != NONE && e[*link].key <= key; link = &e[*link].next)
		if (edge_is(&e[*link], text_of(t), key, s->text, s->len))
			return e[*link].node;
	e[t->edges] = (struct edge){ key, text_add(t, s->text, s->len), (uint32_t)s->len, node_add(t), *link };
	*link = (int32_t)t->edges++;
	nodes_of(t)[at].edges++;
	return e[*link].node;
}

static uint8_t rank_of(const struct route_pattern *p)
{
	int method = !p->method ? 2 : strcmp(p->method, "HEAD") != 0; /* HEAD goes before the GET it may use */

	return (uint8_t)(method * 2 + !p->host);
}

static void term_add(struct route_table *t, int32_t *link, const struct conf_route *r, const struct route_pattern *p, int16_t route)
{
	struct term *terms = terms_of(t), *n = &terms[t->terms];

	*n = (struct term){ .route = route, .feature = r->feature, .rank = rank_of(p) };
	if (p->method) {
		n->method_len = (uint16_t)strlen(p->method);
		n->method_key = key_of(p->method, n->method_len);
		n->method = text_add(t, p->method, n->method_len);
	}
	if (p->host) {
		n->host_len = (uint16_t)strlen(p->host);
		n->host = text_add(t, p->host, n->host_len);
	}
	while (*link != NONE && terms[*link].rank <= n->rank)
		link = &terms[*link].next;
	n->next = *link;
	*link = (int32_t)t->terms++;
}

static void route_add(struct route_table *t, struct edge *e, const struct conf_route *r, int16_t route)
{
	struct route_pattern p;
	struct route_segment s;
	int32_t at = 0;

	route_pattern_open(&p, r);
	for (s = route_pattern_next(&p); s.kind == ROUTE_LITERAL || s.kind == ROUTE_PART; s = route_pattern_next(&p))
		if (s.kind == ROUTE_PART)
			at = part_step(t, at);
		else if (s.len) /* "/a/" is "/a" */
			at = literal_step(t, e, at, &s);
	term_add(t, s.kind == ROUTE_REST ? &nodes_of(t)[at].rest : &nodes_of(t)[at].here, r, &p, route);
}

/* The lists of siblings become slices, for the search. */
static void edges_settle(struct route_table *t, const struct edge *listed)
{
	struct edge *settled = edges_of(t);
	uint32_t n, used = 0;
	int32_t i;

	for (n = 0; n < t->nodes; n++) {
		i = nodes_of(t)[n].first;
		nodes_of(t)[n].first = (int32_t)used;
		for (; i != NONE; i = listed[i].next)
			settled[used++] = listed[i];
	}
}

struct route_table *route_compile(const struct conf *c, void *memory, size_t size)
{
	struct size n = measure(c);
	struct route_table *t = memory;
	struct edge *listed;
	size_t i;

	if (!memory || size < size_of(&n) || size > UINT32_MAX)
		return NULL;
	*t = (struct route_table){ .unnamed = (uint8_t)(c->features ? c->features - 1 : 0) };
	t->node_at = (uint32_t)(sizeof(*t) + 2 * n.segments * sizeof(struct edge));
	t->term_at = (uint32_t)(t->node_at + align8((n.segments + 1) * sizeof(struct node)));
	t->text_at = (uint32_t)(t->term_at + n.routes * sizeof(struct term));
	listed = edges_of(t) + n.segments;
	node_add(t);
	for (i = 0; i < n.routes; i++)
		if (usable(&c->route[i]))
			route_add(t, listed, &c->route[i], (int16_t)i);
	edges_settle(t, listed);
	return t;
}

/* ---- match ---- */

struct walk {
	const struct edge *edge;
	const struct node *node;
	const struct term *term;
	const char *text;
	const char *path, *end;
	const char *method, *host;
	size_t method_len, host_len;
	uint64_t method_key;
	bool head; /* HEAD is answered by what answers GET (RFC 9110 9.3.2) */
	struct route_hit hit;
};

static bool method_fits(const struct walk *w, const struct term *t)
{
	if (!t->method_len)
		return true;
	if (w->head && t->method_len == 3 && t->method_key == key_of("GET", 3))
		return true;
	return t->method_len == w->method_len && t->method_key == w->method_key &&
	       (t->method_len <= 8 || memcmp(w->text + t->method + 8, w->method + 8, t->method_len - 8u) == 0);
}

/* Takes the first term of the list that fits. */
static bool settle(struct walk *w, int32_t list, unsigned parts)
{
	const struct term *t;

	for (; list != NONE; list = t->next) {
		t = &w->term[list];
		if (!method_fits(w, t))
			continue;
		if (t->host_len && (t->host_len != w->host_len || memcmp(w->text + t->host, w->host, t->host_len) != 0))
			continue;
		w->hit.feature = t->feature;
		w->hit.route = t->route;
		w->hit.parts = (uint8_t)parts;
		return true;
	}
	return false;
}

struct segment {
	const char *end;
	uint64_t key;
};

/* A flag at the top of the first octet that is a slash (and maybe later ones). */
static uint64_t slashes(uint64_t v)
{
	const uint64_t ones = 0x0101010101010101u;

	v ^= ones * '/';
	return (v - ones) & ~v & ones * 0x80;
}

/* Where the segment at s ends, and its key. Eight octets at a time; the last few of a
 * path are read as part of its last eight. */
static struct segment segment_read(const char *path, const char *s, const char *end)
{
	size_t left = (size_t)(end - s);
	uint64_t v, found;
	const char *e;

	if (left >= 8)
		v = load8(s);
	else if (end - path >= 8 && left)
		v = load8(end - 8) >> (64 - 8 * left);
	else
		v = key_of(s, left);
	found = slashes(v);
	if (found)
		return (struct segment){ s + (__builtin_ctzll(found) >> 3), v & (((found & -found) >> 7) - 1) };
	if (left <= 8)
		return (struct segment){ end, v };
	for (e = s + 8; end - e >= 8; e += 8) {
		found = slashes(load8(e));
		if (found)
			return (struct segment){ e + (__builtin_ctzll(found) >> 3), v };
	}
	while (e < end && *e != '/')
		e++;
	return (struct segment){ e, v };
}

static int32_t literal_find(const struct edge *e, uint32_t edges, const char *text, const char *s, size_t len, uint64_t key)
{
	uint32_t low = 0, high = edges, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (e[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < edges && e[low].key == key; low++) /* alike in their first eight octets */
		if (edge_is(&e[low], text, key, s, len))
			return e[low].node;
	return NONE;
}

/* A node left by its literal or its part, with choices still open. */
struct turn {
	const struct node *node;
	const char *s, *end;
	unsigned parts;
	bool part_left; /* the part was not tried yet, only then the rest */
};

/* The last turn with a part to try; NULL: none, but a rest may have been taken. */
static struct turn *turn_back(struct walk *w, struct turn *first, struct turn *last)
{
	for (; last > first; last--) {
		if (last[-1].part_left && last[-1].node->part != NONE)
			return last - 1;
		if (settle(w, last[-1].node->rest, last[-1].parts))
			break;
	}
	return NULL;
}

static void descend(struct walk *w)
{
	struct turn turn[ROUTE_MAX_SEGMENTS + 1], *t = turn; /* t: behind the last one */
	const char *path = w->path, *end = w->end, *s = path + 1;
	const struct node *nodes = w->node, *n = nodes;
	unsigned parts = 0;
	struct segment g;
	int32_t child;

	for (;;) {
		if (s == end) { /* nothing, or nothing behind a trailing slash */
			if (settle(w, n->here, parts) || settle(w, n->rest, parts))
				return;
		} else {
			g = segment_read(path, s, end);
			child = literal_find(w->edge + n->first, n->edges, w->text, s, (size_t)(g.end - s), g.key);
			if (n->part != NONE || (child != NONE && n->rest != NONE)) /* another choice may be needed */
				*t++ = (struct turn){ n, s, g.end, parts, true };
			if (child != NONE) {
				n = nodes + child;
				s = g.end + (g.end < end);
				continue;
			}
			if (n->part == NONE && settle(w, n->rest, parts))
				return;
		}
		t = turn_back(w, turn, t);
		if (!t)
			return;
		t->part_left = false;
		parts = t->parts;
		w->hit.part[parts++] = (struct route_part){ (uint16_t)(t->s - path), (uint16_t)(t->end - t->s) };
		n = nodes + t->node->part;
		s = t->end + (t->end < end);
		t++;
	}
}

struct route_hit route_match(const struct route_table *t, const char *method, size_t method_len,
			     const char *host, size_t host_len, const char *path, size_t path_len)
{
	struct walk w = {
		.edge = edges_of(t), .node = nodes_of(t), .term = terms_of(t), .text = text_of(t),
		.path = path, .end = path + path_len,
		.method = method, .method_len = method_len, .method_key = key_of(method, method_len),
		.host = host, .host_len = host_len,
		.hit = { .feature = t->unnamed, .route = -1 },
	};

	w.head = method_len == 4 && w.method_key == key_of("HEAD", 4);
	if (path_len && path_len <= ROUTE_PATH_MAX && path[0] == '/')
		descend(&w);
	return w.hit;
}
