/* SPDX-License-Identifier: MIT */
/*
 * Answers that do not come from a backend. Each says so in one word (P6): refusals
 * as problem+json (RFC 9457) with Proxy-Status (RFC 9209) and a jittered Retry-After,
 * for gRPC callers as trailers-only; recent state with Age and Cache-Status (RFC
 * 9211). None of them needs the rest of the request: http2/ stops it after the answer.
 */
#include <time.h>
#include <string.h>

#include "firebreak/clock.h"
#include "xchg_private.h"

#define MOST 10 /* fields of a refusal */

/* RFC 9209 2.3: the registered error type that comes nearest. */
static const char *proxy_error(enum fault f)
{
	switch (f) {
	case FAULT_CONNECT_REFUSED: return "connection_refused";
	case FAULT_CONNECT_TIMEOUT: return "connection_timeout";
	case FAULT_UPSTREAM_UNRESOLVED: return "dns_error";
	case FAULT_UPSTREAM_TLS: return "tls_protocol_error";
	case FAULT_UPSTREAM_CLOSED:
	case FAULT_UPSTREAM_RESET: return "connection_terminated";
	case FAULT_UPSTREAM_SILENT:
	case FAULT_DEADLINE:
	case FAULT_UPSTREAM_TIMEOUT:
	case FAULT_STREAM_IDLE: return "http_response_timeout";
	case FAULT_UPSTREAM_PROTOCOL:
	case FAULT_UPSTREAM_BAD_RESPONSE: return "http_protocol_error";
	case FAULT_OVERLOADED:
	case FAULT_UPSTREAM_FULL: return "connection_limit_reached";
	case FAULT_UPSTREAM_NO_CONNECT: return "http_upgrade_failed";
	case FAULT_NO_DATACENTER:
	case FAULT_CONNECT_FAILED:
	case FAULT_NO_RECENT_STATE:
	case FAULT_NO_IDENTITY: return "destination_unavailable";
	case FAULT_MODE_REFUSED:
	case FAULT_FEATURE_OFF:
	case FAULT_SHARE_REFUSED: return "http_request_denied";
	default:
		return fault_info(f)->status < 500 || fault_info(f)->status == 501 || fault_info(f)->status == 505 ? "http_request_error"
														     : "proxy_internal_error";
	}
}

/* 0.5 to 1.5 times the configured seconds, so that clients do not return in step. */
static unsigned retry_after(struct xchg *x)
{
	uint64_t centre = x->feature->retry_after_s * 1000ull;
	uint64_t ms = centre / 2 + (centre ? worker_random(x->w) % (centre + 1) : 0);

	return ms < 1000 ? 1 : (unsigned)((ms + 999) / 1000);
}

const char *http_date(void)
{
	static char text[32];
	static int64_t of = -1;
	int64_t second = clock_wall() / CLOCK_SEC;
	time_t t = (time_t)second;
	struct tm tm;

	if (second != of) {
		gmtime_r(&t, &tm);
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		of = second;
	}
	return text;
}

struct builder {
	struct h2_field *field;
	uint16_t n;
	bool failed;
};

static void put(struct builder *b, enum h2_token token, const char *value)
{
	if (!value || !b->field) {
		b->failed = true;
		return;
	}
	b->field[b->n++] = h2_field(token, value, strlen(value));
}

static bool send_body(struct h2_stream *st, const char *body, size_t len)
{
	struct buf b = { 0 };

	if (!buf_append(&b, body, len))
		return false;
	return h2_write(st, &b) && h2_finish(st, NULL, 0);
}

static void begin(struct xchg *x, struct builder *b, struct arena *a, uint16_t most)
{
	*b = (struct builder){ .field = arena_alloc(a, most * sizeof(*b->field)) };
	b->failed = !b->field;
	x->state = XCHG_ANSWERED;
	net_timer_disarm(&x->timer);
}

static void refuse_grpc(struct xchg *x, struct builder *b, struct arena *a, const struct fault_info *info, const char *status)
{
	put(b, H2_STATUS, "200");
	put(b, H2_CONTENT_TYPE, "application/grpc");
	put(b, H2_GRPC_STATUS, arena_printf(a, "%d", info->grpc));
	put(b, H2_GRPC_MESSAGE, info->word);
	if (info->grpc == 14 || info->grpc == 8)
		put(b, H2_GRPC_PUSHBACK, arena_printf(a, "%u", retry_after(x) * 1000));
	put(b, H2_DATE, http_date());
	put(b, H2_PROXY_STATUS, status);
	x->status = 200;
	if (b->failed || !h2_respond(x->down, b->field, b->n, true))
		h2_reset(x->down, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
}

/* RFC 9110 15: what "about:blank" calls for as title (RFC 9457 4.2.1). */
static const char *phrase(int status)
{
	switch (status) {
	case 400: return "Bad Request";
	case 408: return "Request Timeout";
	case 413: return "Content Too Large";
	case 421: return "Misdirected Request";
	case 431: return "Request Header Fields Too Large"; /* RFC 6585 5 */
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	default: return "Internal Server Error";
	}
}

static void refuse_http(struct xchg *x, struct builder *b, struct arena *a, const struct fault_info *info, const char *status)
{
	unsigned after = info->status == 503 || info->status == 504 ? retry_after(x) : 0;
	const struct conf *now = x->w->snap->conf;
	const char *mode = now->mode[x->w->live.degrade.mode % now->modes].name;
	const char *body;

	body = arena_printf(a,
			    "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\",\"reason\":\"%s\","
			    "\"feature\":\"%s\",\"mode\":\"%s\",\"retry_after\":%u,\"request_id\":\"%s\"}\n",
			    phrase(info->status), info->status, info->text, info->word, x->feature->name, mode, after, x->id);
	put(b, H2_STATUS, arena_printf(a, "%d", info->status));
	put(b, H2_CONTENT_TYPE, "application/problem+json");
	put(b, H2_CONTENT_LENGTH, body ? arena_printf(a, "%zu", strlen(body)) : NULL);
	put(b, H2_CACHE_CONTROL, "no-store");
	put(b, H2_DATE, http_date());
	put(b, H2_PROXY_STATUS, status);
	if (after)
		put(b, H2_RETRY_AFTER, arena_printf(a, "%u", after));
	x->status = info->status;
	if (b->failed || !h2_respond(x->down, b->field, b->n, x->is_head) || (!x->is_head && !send_body(x->down, body, strlen(body))))
		h2_reset(x->down, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
}

static enum tm_outcome outcome_of(enum fault f)
{
	int status = fault_info(f)->status;

	switch (f) {
	case FAULT_MODE_REFUSED:
	case FAULT_FEATURE_OFF:
	case FAULT_SHARE_REFUSED:
	case FAULT_NO_DATACENTER:
	case FAULT_NO_RECENT_STATE:
	case FAULT_NO_IDENTITY:
	case FAULT_OUTBOX_UNAVAILABLE:
	case FAULT_OVERLOADED:
	case FAULT_SHUTTING_DOWN:
		return TM_REFUSED;
	default:
		return (status >= 400 && status < 500) || status == 501 || status == 505 ? TM_CLIENT : TM_FAILED;
	}
}

/* What a server says of itself that takes whatever its backends take (RFC 9110 9.3.7). */
static void answer_options(struct xchg *x)
{
	struct builder b;

	x->fault = FAULT_MAX_FORWARDS;
	x->outcome = TM_CLIENT;
	x->status = 200;
	begin(x, &b, &x->down->arena, MOST);
	put(&b, H2_STATUS, "200");
	put(&b, H2_CONTENT_LENGTH, "0");
	put(&b, H2_DATE, http_date());
	put(&b, H2_PROXY_STATUS, "firebreak; details=\"max-forwards\"");
	if (b.failed || !h2_respond(x->down, b.field, b.n, true))
		h2_reset(x->down, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
}

void answer_refuse(struct xchg *x, enum fault fault)
{
	const struct fault_info *info = fault_info(fault);
	struct arena *a = &x->down->arena;
	struct builder b;
	const char *status;

	if (fault == FAULT_MAX_FORWARDS && *x->method == 'O') {
		answer_options(x);
		return;
	}
	if (!info->status)
		info = fault_info(fault = FAULT_INTERNAL);
	x->fault = fault;
	x->outcome = outcome_of(fault);
	begin(x, &b, a, MOST);
	status = arena_printf(a, "firebreak; error=%s; details=\"%s\"", proxy_error(fault), info->word);
	if (x->grpc)
		refuse_grpc(x, &b, a, info, status);
	else
		refuse_http(x, &b, a, info, status);
}

enum ending { RESET, EVENTS, GRPC };

/* What may end before its time without looking whole, if its length was not announced: a gRPC
 * answer, by its status; text/event-stream, whose readers take the end like any other loss as
 * the moment to reconnect, and drop an event that is not whole (HTML, 9.2). */
static enum ending ending_of(const struct xchg *x)
{
	const struct h2_head *h = x->up ? x->up->head : NULL;
	enum ending e = RESET;
	uint16_t i;

	for (i = 0; h && h->status == 200 && i < h->count; i++) {
		const struct h2_field *f = &h->field[i];

		if (f->token == H2_CONTENT_LENGTH)
			return RESET;
		if (f->token == H2_CONTENT_TYPE && f->value_len >= 17 && !memcmp(f->value, "text/event-stream", 17))
			e = EVENTS;
		if (f->token == H2_CONTENT_TYPE && f->value_len >= 16 && !memcmp(f->value, "application/grpc", 16) && x->grpc)
			e = GRPC;
	}
	return e;
}

bool answer_is_grpc(const struct xchg *x)
{
	return ending_of(x) == GRPC;
}

int64_t answer_spread(struct xchg *x)
{
	int64_t window = x->snap->conf->retry.stream_spread_ms * CLOCK_MS;
	enum ending e = ending_of(x);

	/* A call that has lived longer than it will wait is no short one. */
	if (!(x->feature->long_lived || x->connect || e == EVENTS || (e == GRPC && clock_now() - x->started > window)))
		return 0;
	return 1 + (int64_t)(worker_random(x->w) % (uint64_t)(window + 1));
}

void answer_break_off(struct xchg *x, enum fault fault)
{
	struct arena *a = &x->down->arena;
	struct builder b = { .field = arena_alloc(a, 2 * sizeof(*b.field)) };
	enum ending e = ending_of(x);

	b.failed = !b.field;
	if (e == GRPC) {
		put(&b, H2_GRPC_STATUS, arena_printf(a, "%d", fault_info(fault)->grpc));
		put(&b, H2_GRPC_MESSAGE, fault_info(fault)->word);
	}
	if (fault == FAULT_DEADLINE && e != GRPC)
		h2_reset(x->down, H2_ERR_CANCEL, fault);
	else if (e == RESET || b.failed || !h2_finish(x->down, b.field, b.n))
		h2_reset(x->down, H2_ERR_INTERNAL, fault);
}

void answer_stale(struct xchg *x, struct cache_answer *c)
{
	struct arena *a = &x->down->arena;
	const char *word = fault_info(x->fault)->word;
	struct builder b;
	bool bodyless = x->is_head || !c->body.len;
	size_t i;

	x->outcome = TM_STALE;
	x->status = c->status;
	begin(x, &b, a, (uint16_t)(c->fields + 6));
	if (!b.failed) {
		put(&b, H2_STATUS, arena_printf(a, "%d", c->status));
		for (i = 0; i < c->fields; i++) {
			int t = c->field[i].token;

			if (t != H2_STATUS && t != H2_AGE && t != H2_CACHE_STATUS && t != H2_CONTENT_LENGTH) {
				b.field[b.n] = c->field[i];
				b.field[b.n++].flags |= H2_FIELD_KEEP;
			}
		}
		put(&b, H2_CONTENT_LENGTH, arena_printf(a, "%zu", c->body.len));
		put(&b, H2_AGE, arena_printf(a, "%lld", (long long)c->age_s));
		put(&b, H2_CACHE_STATUS, arena_printf(a, "firebreak; hit; detail=%s", word));
		put(&b, H2_PROXY_STATUS, arena_printf(a, "firebreak; error=%s; details=\"%s\"", proxy_error(x->fault), word));
	}
	if (b.failed || !h2_respond(x->down, b.field, b.n, bodyless) ||
	    (!bodyless && !(h2_write(x->down, &c->body) && h2_finish(x->down, NULL, 0))))
		h2_reset(x->down, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
	buf_clear(&c->body);
}
