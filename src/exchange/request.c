/* SPDX-License-Identifier: MIT */
/*
 * Reads a request head once: what feature it is, who asks, whether it may be tried
 * twice, and the fields that go upstream (RFC 9110 7.6, RFC 9113 8). The codec has
 * checked the syntax; here are the rules that need more than one field.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "xchg_private.h"

#define OURS 9 /* fields we may add */

struct pseudo {
	const struct h2_field *method, *scheme, *authority, *path, *protocol, *host;
};

static bool same(const struct h2_field *f, const char *text)
{
	return f && f->value_len == strlen(text) && !memcmp(f->value, text, f->value_len);
}

static void collect(const struct h2_head *h, struct pseudo *p)
{
	int i;

	for (i = 0; i < h->count; i++) {
		const struct h2_field *f = &h->field[i];

		switch (f->token) {
		case H2_METHOD: p->method = f; break;
		case H2_SCHEME: p->scheme = f; break;
		case H2_AUTHORITY: p->authority = f; break;
		case H2_PATH: p->path = f; break;
		case H2_PROTOCOL: p->protocol = f; break;
		case H2_HOST: p->host = f; break;
		default: break;
		}
	}
}

/* Is this connection the place to ask for `host` (RFC 9110 7.4)? The name the client
 * asked TLS for, any name of the certificate, and, for a client that gave no name
 * because it knows only an address, that address. */
static bool authoritative(struct xchg *x, const char *host, size_t len)
{
	struct net_conn *c = h2_session_conn(x->client->session);
	const char *sni = net_conn_sni(c);

	if (sni ? strlen(sni) == len && !strncasecmp(sni, host, len) : host[0] == '[' || strspn(host, "0123456789.") == len)
		return true;
	return net_conn_covers(c, host, len);
}

/* What follows the host: nothing, or ":" and up to five digits (RFC 3986 3.2.3). */
static bool is_port(const uint8_t *text, size_t len)
{
	size_t i;

	if (!len)
		return true;
	if (text[0] != ':' || len > 6)
		return false;
	for (i = 1; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
	}
	return true;
}

/* What a host may be made of, in lower case. Stricter than RFC 3986 3.2.2: escapes and
 * sub-delims are in nobody's name, and a backend may read them otherwise. */
static char host_octet(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c + 32);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~' ? (char)c : '\0';
}

/* "[::1]", in lower case; nothing else has brackets. */
static bool is_ip6(const uint8_t *text, size_t len, char *host)
{
	struct in6_addr ip;
	size_t i;

	for (i = 0; i < len; i++)
		host[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i]);
	host[len - 1] = '\0';
	if (len < 4 || text[len - 1] != ']' || inet_pton(AF_INET6, host + 1, &ip) != 1)
		return false;
	host[len - 1] = ']';
	return true;
}

static bool is_name(const uint8_t *text, size_t len, char *host)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (!(host[i] = host_octet(text[i])))
			return false;
	}
	return true;
}

/* Host and :authority must agree (RFC 9113 8.3.1); userinfo is not for http (RFC
 * 9110 4.2.4), and no name needs escapes, which routes would not see through. *host gets
 * the name in lower case without the port and the dot of the root. */
static enum fault read_host(struct xchg *x, struct pseudo *p, char *host, size_t size, size_t *len)
{
	const struct h2_field *a = p->authority ? p->authority : p->host;
	const uint8_t *colon;
	size_t n;

	*len = 0;
	if (!a)
		return FAULT_BAD_REQUEST;
	if (p->authority && p->host &&
	    (p->host->value_len != a->value_len || strncasecmp((const char *)p->host->value, (const char *)a->value, a->value_len)))
		return FAULT_BAD_REQUEST;
	if (!a->value_len)
		return FAULT_BAD_REQUEST;
	n = a->value_len;
	if (a->value[0] != '[' && (colon = memchr(a->value, ':', n)))
		n = (size_t)(colon - a->value);
	else if (a->value[0] == '[' && (colon = memchr(a->value, ']', n)))
		n = (size_t)(colon - a->value) + 1;
	if (!n || n >= size || !is_port(a->value + n, a->value_len - n))
		return FAULT_BAD_REQUEST;
	if (!(a->value[0] == '[' ? is_ip6(a->value, n, host) : is_name(a->value, n, host)))
		return FAULT_BAD_REQUEST;
	host[n] = '\0';
	*len = n;
	if (x->client->tls) {
		uint64_t h = crypt_hash64(host, n, x->w->hash_seed) | 1;

		if (h != x->client->covered) {
			if (!authoritative(x, host, n))
				return FAULT_MISDIRECTED;
			x->client->covered = h;
		}
	}
	*len -= n > 1 && host[n - 1] == '.';
	return FAULT_NONE;
}

/* A backend that cuts parameters off must find the request in the same feature. */
static bool one_feature(struct xchg *x, uint8_t feature, const char *host, size_t host_len)
{
	char *plain = arena_alloc(&x->down->arena, x->path_len);
	size_t len = plain ? route_without_parameters(x->target, x->path_len, plain) : 0;

	return len && route_match(x->snap->routes, x->method, x->method_len, host, host_len, plain, len).feature == feature;
}

static enum fault read_target(struct xchg *x, struct pseudo *p, const char *host, size_t host_len)
{
	struct route_hit hit;
	size_t len, path_len;
	bool unchanged;
	char *out;
	int how;

	out = arena_alloc(&x->down->arena, p->path->value_len + 1);
	if (!out)
		return FAULT_NO_MEMORY;
	how = route_normalise((const char *)p->path->value, p->path->value_len, out, &len, &path_len, &unchanged);
	if (how == ROUTE_PATH_BAD)
		return FAULT_BAD_PATH;
	x->target = unchanged ? (const char *)p->path->value : out;
	x->target_len = (uint32_t)len;
	if (path_len > UINT16_MAX) /* a part of a path must not choose the feature */
		return FAULT_BAD_PATH;
	x->path_len = (uint16_t)path_len;
	hit = route_match(x->snap->routes, x->method, x->method_len, host, host_len, x->target, path_len);
	if (how == ROUTE_PATH_PARAMETERS && !one_feature(x, hit.feature, host, host_len))
		return FAULT_BAD_PATH;
	x->ask.feature = hit.feature;
	x->feature = &x->snap->conf->feature[hit.feature];
	return FAULT_NONE;
}

static bool method_is(const struct xchg *x, const char *text)
{
	return x->method_len == strlen(text) && !memcmp(x->method, text, x->method_len);
}

/* RFC 9110 9.2.2; PATCH, POST, CONNECT only with a key the backend honours. */
static bool method_idempotent(const struct xchg *x)
{
	static const char *const safe[] = { "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE" };
	size_t i;

	for (i = 0; i < sizeof(safe) / sizeof(*safe); i++) {
		if (method_is(x, safe[i]))
			return true;
	}
	return false;
}

static bool named(const struct h2_field *f, const char *name)
{
	return name && f->name_len == strlen(name) && !memcmp(f->name, name, f->name_len);
}

/* The field the feature names, once: with two of them nobody knows whose request it
 * is, and state must not be filed under either (P2). A token is a secret, whoever sends
 * it; a name in a field is one only where none but the gateway can write it. */
static void read_identity(struct xchg *x, const struct h2_field *f)
{
	const char *value = (const char *)f->value;
	size_t len = f->value_len;

	if (x->feature->identity == CONF_IDENTITY_BEARER) {
		if (f->token != H2_AUTHORIZATION)
			return;
		len = len > 7 && !strncasecmp(value, "bearer ", 7) ? len - 7 : 0;
		value += len ? 7 : 0;
	} else if (x->feature->identity != CONF_IDENTITY_HEADER || !x->client->trusted || !named(f, x->feature->identity_header)) {
		return;
	}
	for (; len && *value == ' '; value++) /* 1*SP (RFC 9110 11.4); the codec lets none end a value */
		len--;
	x->identity_len = x->identity ? 0 : (uint32_t)len;
	x->identity = value;
}

uint64_t request_user(const struct xchg *x, uint64_t seed, uint64_t otherwise)
{
	if (x->authorization)
		return crypt_hash64(x->authorization->value, x->authorization->value_len, seed);
	return x->identity_len ? crypt_hash64(x->identity, x->identity_len, seed) : otherwise;
}

static void read_other(struct xchg *x, const struct h2_field *f)
{
	static const char *const vary[3] = { "accept", "accept-encoding", "accept-language" };
	struct cache_directives d;
	int i;

	if (f->token == H2_CACHE_CONTROL) {
		cache_directives_init(&d);
		cache_directives_parse(&d, (const char *)f->value, f->value_len);
		x->request_no_store |= d.no_store;
	}
	if (f->token == H2_RANGE)
		x->request_range = true;
	if (f->token == H2_AUTHORIZATION || f->token == H2_COOKIE)
		x->authorized = true; /* a cookie is most often a session */
	if (f->name[0] != 'a')
		return;
	for (i = 0; i < 3; i++) {
		if (!named(f, vary[i]))
			continue;
		x->unkeyed |= x->vary[i] != NULL; /* said twice: which one the backend heard nobody knows */
		x->vary[i] = f;
	}
}

/* version-traceid-parentid-flags, and more in versions to come (W3C Trace Context 3.2). */
static bool traceparent_valid(const struct h2_field *f)
{
	size_t i;

	if (f->value_len < 55 || f->value[2] != '-' || f->value[35] != '-' || f->value[52] != '-' ||
	    (f->value[0] == 'f' && f->value[1] == 'f') ||
	    (f->value_len > 55 && ((f->value[0] == '0' && f->value[1] == '0') || f->value[55] != '-')))
		return false;
	for (i = 0; i < 55; i++) {
		uint8_t c = f->value[i];

		if (i == 2 || i == 35 || i == 52)
			continue;
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
	}
	return memcmp(f->value + 3, "00000000000000000000000000000000", 32) && memcmp(f->value + 36, "0000000000000000", 16);
}

struct text {
	const char *at;
	size_t len, room; /* 0: the octets are somebody else's */
};

struct forwarded {
	struct text xff, forwarded;
	unsigned traces;  /* traceparent fields */
	bool proto, id, traced, state, failed, timed;
	bool limited;     /* Max-Forwards counts for this method, and was sent */
	uint64_t forwards;
};

/* A list goes on in the next line of its field (RFC 9110 5.3), and with our own element.
 * Never shortened: a client decides how long it is, and its end is what is trusted. */
static bool list_add(struct xchg *x, struct text *list, const char *text, size_t len)
{
	size_t whole = list->len + 2 + len;
	char *all;

	if (!list->len) {
		*list = (struct text){ text, len, 0 };
		return true;
	}
	all = (char *)(uintptr_t)list->at;
	if (whole > list->room) {
		all = arena_alloc(&x->down->arena, 2 * whole); /* twice: hundreds of lines cost no more than a few */
		if (!all)
			return false;
		memcpy(all, list->at, list->len);
		list->room = 2 * whole;
	}
	all[list->len] = ',';
	all[list->len + 1] = ' ';
	memcpy(all + list->len + 2, text, len);
	list->at = all;
	list->len = whole;
	return true;
}

/* How many more may forward an OPTIONS or TRACE (RFC 9110 7.6.2); of two values the less.
 * One that is no number limits nothing, and goes on as other fields do. True: not ours. */
static bool read_max_forwards(struct xchg *x, const struct h2_field *f, struct forwarded *fw)
{
	size_t i;

	if (!f->value_len || (!method_is(x, "OPTIONS") && !method_is(x, "TRACE")))
		return true;
	for (i = 0; i < f->value_len; i++) {
		if (f->value[i] < '0' || f->value[i] > '9')
			return true;
	}
	if (!fw->limited || decimal(f) < fw->forwards)
		fw->forwards = decimal(f);
	fw->limited = true;
	return false;
}

/* True when the field goes on as it is. */
static bool pass(struct xchg *x, const struct h2_field *f, struct forwarded *fw)
{
	bool trusted = x->client->trusted;

	switch (f->token) {
	case H2_METHOD:
	case H2_SCHEME:
	case H2_AUTHORITY:
	case H2_PATH:
	case H2_PROTOCOL:
	case H2_HOST: /* became :authority */
	case H2_CONNECTION:
	case H2_KEEP_ALIVE:
	case H2_PROXY_CONNECTION:
	case H2_PROXY_AUTHORIZATION: /* meant for us (RFC 9110 11.7.2), and we ask for none */
	case H2_UPGRADE:
	case H2_TRANSFER_ENCODING:
	case H2_HTTP2_SETTINGS: /* of an upgrade (RFC 7540 3.2.1) */
		return false;
	case H2_AUTHORIZATION:
		x->authorization = f;
		return true;
	case H2_TE:
		return f->value_len == 8 && !memcmp(f->value, "trailers", 8); /* as everybody writes it */
	case H2_X_FORWARDED_FOR:
		if (trusted)
			fw->failed |= !list_add(x, &fw->xff, (const char *)f->value, f->value_len);
		return false;
	case H2_FORWARDED:
		if (trusted)
			fw->failed |= !list_add(x, &fw->forwarded, (const char *)f->value, f->value_len);
		return false;
	case H2_X_FORWARDED_PROTO:
		fw->proto |= trusted;
		return trusted;
	case H2_X_FORWARDED_HOST:
	case H2_X_FORWARDED_PORT:
		return trusted;
	case H2_X_REQUEST_ID:
		fw->id |= trusted;
		return trusted;
	case H2_MAX_FORWARDS:
		return read_max_forwards(x, f, fw);
	case H2_TRACEPARENT:
		fw->traces++;
		fw->traced = traceparent_valid(f);
		return true;
	case H2_TRACESTATE:
		fw->state = true;
		return true;
	default:
		return true;
	}
}

static struct h2_field *add(struct xchg *x, enum h2_token token, const char *value, size_t len)
{
	struct h2_field *f = &x->field[x->fields++];

	*f = h2_field(token, value, len);
	return f;
}

/* One traceparent, and it is valid; or none of the trace goes on (W3C Trace Context 2.3,
 * 3.3): the backend begins a new one. */
static void drop_trace(struct xchg *x)
{
	uint16_t i, kept = 0;

	for (i = 0; i < x->fields; i++) {
		if (x->field[i].token != H2_TRACEPARENT && x->field[i].token != H2_TRACESTATE)
			x->field[kept++] = x->field[i];
	}
	x->fields = kept;
}

static enum fault add_ours(struct xchg *x, struct forwarded *fw)
{
	const struct conf_headers *h = &x->snap->conf->headers;
	const char *text;

	if ((fw->state || fw->traces) && !(fw->traced && fw->traces == 1))
		drop_trace(x);
	if (fw->limited && !fw->forwards)
		return FAULT_MAX_FORWARDS;
	if (fw->limited) {
		text = arena_printf(&x->down->arena, "%" PRIu64, fw->forwards - 1);
		if (!text)
			return FAULT_NO_MEMORY;
		add(x, H2_MAX_FORWARDS, text, strlen(text));
	}
	if (h->via)
		add(x, H2_VIA, "2 firebreak", 11);
	if (h->x_forwarded) {
		if (!list_add(x, &fw->xff, x->client->text, strlen(x->client->text)))
			return FAULT_NO_MEMORY;
		if (!fw->proto)
			add(x, H2_X_FORWARDED_PROTO, x->client->tls ? "https" : "http", x->client->tls ? 5 : 4);
	}
	if (fw->xff.len)
		add(x, H2_X_FORWARDED_FOR, fw->xff.at, fw->xff.len);
	if (h->forwarded) { /* RFC 7239: an IPv6 address is bracketed and quoted */
		text = arena_printf(&x->down->arena, strchr(x->client->text, ':') ? "for=\"[%s]\";proto=%s" : "for=%s;proto=%s",
				    x->client->text, x->client->tls ? "https" : "http");
		if (!text || !list_add(x, &fw->forwarded, text, strlen(text)))
			return FAULT_NO_MEMORY;
	}
	if (fw->forwarded.len)
		add(x, H2_FORWARDED, fw->forwarded.at, fw->forwarded.len);
	if (h->request_id && !fw->id)
		add(x, H2_X_REQUEST_ID, x->id, 16)->flags |= H2_FIELD_SENSITIVE; /* unique: not for the HPACK table */
	return FAULT_NONE;
}

static enum fault read_fields(struct xchg *x, struct pseudo *p)
{
	const struct h2_head *h = x->down->head;
	const struct h2_field *a = p->authority ? p->authority : p->host;
	struct forwarded fw = { 0 };
	const char *deadline = x->snap->conf->retry.deadline_header;
	uint64_t limit = x->feature->body_limit;
	enum fault f;
	int i;

	x->field = arena_alloc(&x->down->arena, (h->count + OURS) * sizeof(*x->field));
	if (!x->field)
		return FAULT_NO_MEMORY;
	x->field[x->fields++] = *p->method;
	if (p->protocol)
		x->field[x->fields++] = *p->protocol;
	x->field[x->fields++] = *p->scheme;
	x->scheme = p->scheme;
	/* An empty port is none (RFC 9110 4.2.3). */
	x->authority = add(x, H2_AUTHORITY, (const char *)a->value, a->value_len - (a->value[a->value_len - 1] == ':'));
	add(x, H2_PATH, x->target, x->target_len);
	for (i = 0; i < h->count; i++) {
		const struct h2_field *in = &h->field[i];

		if (in->name[0] != ':') {
			if (x->feature->identity != CONF_IDENTITY_NONE)
				read_identity(x, in);
			if (in->token == H2_CONTENT_TYPE && in->value_len >= 16 && !memcmp(in->value, "application/grpc", 16))
				x->grpc = true;
			if (named(in, x->feature->idempotency_header) && in->value_len)
				x->idempotent = true;
			fw.timed |= in->token == H2_GRPC_TIMEOUT || named(in, deadline);
			if (x->ask.readable && x->feature->keep_state)
				read_other(x, in);
			if (in->token == H2_CONTENT_LENGTH && limit && decimal(in) > limit)
				return FAULT_BODY_TOO_LARGE;
		}
		if (pass(x, in, &fw))
			x->field[x->fields++] = *in;
	}
	f = fw.failed ? FAULT_NO_MEMORY : add_ours(x, &fw);
	if (fw.timed && f == FAULT_NONE)
		deadline_read(x);
	return f;
}

/* The worker's next id; then that one more, in hexadecimal and within its last eight
 * digits: the first eight are the worker's own. */
static void make_id(struct xchg *x)
{
	char *next = x->w->id;
	int i;

	memcpy(x->id, next, sizeof(x->id));
	for (i = 15; i >= 8; i--) {
		next[i] = (char)(next[i] == '9' ? 'a' : next[i] == 'f' ? '0' : next[i] + 1);
		if (next[i] != '0')
			break;
	}
}

enum fault request_read(struct xchg *x)
{
	struct pseudo p = { 0 };
	char host[256];
	size_t host_len;
	enum fault f;

	make_id(x);
	downstream_judge(x->client);
	/* A request that cannot be read is still accounted for: as one nobody named. */
	x->feature = &x->snap->conf->feature[x->snap->conf->features - 1];
	x->ask.feature = (uint8_t)(x->snap->conf->features - 1);
	collect(x->down->head, &p);
	x->is_head = same(p.method, "HEAD"); /* so is the answer's shape, whatever else is wrong */
	if (x->down->fault == FAULT_HEAD_TOO_LARGE)
		return FAULT_HEAD_TOO_LARGE;
	if (buf_crowded())
		return FAULT_NO_MEMORY;
	if (!p.method)
		return FAULT_BAD_REQUEST;
	x->method = (const char *)p.method->value;
	x->method_len = (uint32_t)p.method->value_len;
	x->connect = same(p.method, "CONNECT");
	if (x->connect && !p.protocol)
		return FAULT_CONNECT_UNWANTED;
	if (!p.path || !p.scheme || (!same(p.scheme, "http") && !same(p.scheme, "https")))
		return FAULT_BAD_REQUEST;
	x->ask.readable = x->is_head || same(p.method, "GET");
	x->idempotent = method_idempotent(x);
	f = read_host(x, &p, host, sizeof(host), &host_len);
	if (f == FAULT_NONE)
		f = read_target(x, &p, host, host_len);
	if (f == FAULT_NONE && x->connect && !x->feature->connect)
		f = FAULT_CONNECT_UNWANTED;
	if (f == FAULT_NONE)
		f = read_fields(x, &p);
	x->ask.has_identity = x->identity_len > 0;
	return f;
}

/* The key of this request's recent state; false when it may have none. */
bool request_key(struct xchg *x, struct cache_key *key)
{
	char vary[1024];
	size_t n;
	int i;

	if (!x->feature->keep_state || !x->ask.readable || x->unkeyed || (!x->feature->shared_state && !x->identity_len))
		return false;
	if (x->authority->value_len + 2 > sizeof(vary))
		return false;
	/* Two hosts may share a feature, a path and a user, never their answers; nor http and
	 * https, whose answers may be redirections to each other (RFC 9111 2). */
	for (n = 0; n < x->authority->value_len; n++)
		vary[n] = (char)tolower(x->authority->value[n]);
	vary[n++] = '\n';
	vary[n++] = x->scheme->value_len == 5 ? 's' : '-';
	for (i = 0; i < 3; i++) {
		size_t len = x->vary[i] ? x->vary[i]->value_len : 0;

		if (n + len + 1 > sizeof(vary))
			return false;
		if (len)
			memcpy(vary + n, x->vary[i]->value, len);
		n += len;
		vary[n++] = '\n';
	}
	return cache_key(x->w->cache, x->feature, "GET", 3, x->target, x->target_len, vary, n, x->identity, x->identity_len, key);
}

bool finish_alike(struct h2_stream *to, struct h2_stream *from)
{
	const struct h2_head *h = from->trailers;
	struct h2_field *out;
	size_t n = 0;
	int i;

	if (!h)
		return h2_finish(to, NULL, 0);
	out = arena_alloc(&from->arena, h->count * sizeof(*out) + 1);
	if (!out)
		return false;
	for (i = 0; i < h->count; i++) {
		/* Framing, routing and connection fields have no place in trailers (RFC 9110 6.5.1),
		 * nor has what says who asks: some servers add trailers to the fields. */
		switch (h->field[i].token) {
		case H2_CONTENT_LENGTH:
		case H2_TE:
		case H2_HOST:
		case H2_CONNECTION:
		case H2_KEEP_ALIVE:
		case H2_PROXY_CONNECTION:
		case H2_TRANSFER_ENCODING:
		case H2_UPGRADE:
		case H2_TRAILER:
		case H2_AUTHORIZATION:
		case H2_COOKIE:
		case H2_SET_COOKIE:
		case H2_FORWARDED:
		case H2_X_FORWARDED_FOR:
		case H2_X_FORWARDED_PROTO:
		case H2_X_FORWARDED_HOST:
		case H2_X_FORWARDED_PORT:
		case H2_X_REQUEST_ID:
		case H2_CONTENT_TYPE:
		case H2_RANGE:
		case H2_MAX_FORWARDS:
			continue;
		default:
			out[n++] = h->field[i];
		}
	}
	return h2_finish(to, out, n);
}
