/* SPDX-License-Identifier: MIT */
/*
 * Changes: a JSON body into an override, and its sentence of refusal into a status.
 * Unknown keys are refused: a misspelt "for" must not become another duration.
 */
#include <event2/buffer.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "reply.h"

#define AUTHOR_UNKNOWN "anonymous"

/* What a body may say; strings are the body's. */
struct order {
	const char *mode, *state, *period, *over, *reason, *author;
	json_t *share;
	int force;
};

/* "90s", "30m", "1h30m", "2d" > ns; 0: not a duration. */
static int64_t parse_period(const char *text)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 } };
	int64_t total = 0;
	unsigned next = 0, i;
	char *end;
	long n;

	if (!*text)
		return 0;
	while (*text) {
		if (*text < '0' || *text > '9')
			return 0;
		n = strtol(text, &end, 10);
		for (i = next; i < 4 && *end != units[i].unit; i++)
			;
		if (i == 4 || n > 1000000)
			return 0;
		total += n * units[i].seconds;
		next = i + 1;
		text = end + 1;
	}
	return total * CLOCK_SEC;
}

/* "25%" or 0.25 > basis points; -1: neither. */
static int parse_share(const json_t *share)
{
	double percent;
	char *end;

	if (json_is_number(share)) {
		percent = json_number_value(share) * 100;
	} else if (json_is_string(share)) {
		percent = strtod(json_string_value(share), &end);
		if (end == json_string_value(share) || strcmp(end, "%"))
			return -1;
	} else {
		return -1;
	}
	return percent >= 0 && percent <= 100 ? (int)(percent * 100 + 0.5) : -1;
}

/* False: too long for its place. Nothing is cut: half a reason is a wrong one. */
static bool put(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	if (n >= size)
		return false;
	memcpy(to, from, n + 1);
	return true;
}

static const char *fill(const struct admin *a, struct ctl_override *o, const struct order *order, enum ctl_kind kind, const char *name)
{
	const char *value = kind == CTL_MODE ? order->mode : kind == CTL_FEATURE ? order->state : "drain";
	int64_t period = 0, over = 0;
	int share = 0;

	if (!value)
		return kind == CTL_MODE ? "\"mode\" is missing" : "\"state\" is missing";
	if (kind == CTL_DRAIN && !order->period) /* until it is restored; and never for ever */
		period = ctl_conf(a->ctl)->control.override_max_s * CLOCK_SEC;
	else if (!order->period || !(period = parse_period(order->period)))
		return "\"for\" says how long, like \"30m\" or \"1h30m\"";
	if (order->over && (kind != CTL_DRAIN || !(over = parse_period(order->over))))
		return "\"over\" says in what time a datacenter is drained, like \"10m\"";
	if (!order->reason || !order->author)
		return "\"reason\" and \"author\" are needed";
	if (kind == CTL_FEATURE && !strcmp(value, "share") && (share = parse_share(order->share)) < 0)
		return "\"share\" is needed, like \"25%\"";
	memset(o, 0, sizeof(*o));
	o->kind = kind;
	o->share = (uint16_t)share;
	o->from = clock_wall();
	o->until = o->from + period;
	o->over = over;
	if (!put(o->author, sizeof(o->author), order->author))
		return "the author is longer than 63 bytes";
	if (!put(o->reason, sizeof(o->reason), order->reason))
		return "the reason is longer than 255 bytes";
	if (!put(o->value, sizeof(o->value), value) || !put(o->subject, sizeof(o->subject), name))
		return "there is nothing of so long a name";
	return NULL;
}

static int status_of(enum ctl_refusal refusal)
{
	switch (refusal) {
	case CTL_INVALID: return 400;
	case CTL_UNKNOWN: return 404;
	case CTL_UNSAFE: return 409;
	case CTL_NOT_KEPT: return 507;
	default: return 503;
	}
}

/* The publication to wait for: workers report it as their live_version. */
static void done(struct admin *a, struct evhttp_request *req, json_t *override)
{
	reply_json(req, 200, json_pack("{sI so*}", "live_version", (json_int_t)ctl_live(a->ctl)->version, "override", override));
}

static void clear(struct admin *a, struct evhttp_request *req, enum ctl_kind kind, const char *name, const char *author)
{
	bool was_set;
	const char *why = ctl_override_clear(a->ctl, kind, name, author, &was_set);

	if (why)
		reply_problem(req, status_of(ctl_refusal(a->ctl)), why);
	else
		reply_json(req, 200, json_pack("{sI sb}", "live_version", (json_int_t)ctl_live(a->ctl)->version, "was_set", was_set));
}

static json_t *read_body(struct evhttp_request *req)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	size_t len = evbuffer_get_length(in);
	unsigned char *bytes = evbuffer_pullup(in, -1);

	return bytes ? json_loadb((const char *)bytes, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

static void obey(struct admin *a, struct evhttp_request *req, enum ctl_kind kind, const char *name, const struct order *order)
{
	const char *value = kind == CTL_MODE ? order->mode : kind == CTL_FEATURE ? order->state : NULL, *why;
	struct ctl_override o;

	if (value && !strcmp(value, "auto")) {
		clear(a, req, kind, name, order->author ? order->author : AUTHOR_UNKNOWN);
		return;
	}
	why = fill(a, &o, order, kind, name);
	if (why) {
		reply_problem(req, 400, why);
		return;
	}
	why = ctl_override_set(a->ctl, &o, order->force);
	if (why)
		reply_problem(req, status_of(ctl_refusal(a->ctl)), why);
	else
		done(a, req, status_override(&o));
}

void operate_put(struct admin *a, struct evhttp_request *req, enum ctl_kind kind, const char *name)
{
	json_t *body = read_body(req);
	struct order order = { 0 };
	json_error_t error;
	char detail[256];

	if (!json_is_object(body)) {
		reply_problem(req, 400, "the body is not a JSON object");
	} else if (json_unpack_ex(body, &error, JSON_STRICT, "{s?s s?s s?s s?s s?s s?s s?o s?b}", "mode", &order.mode, "state", &order.state,
				  "for", &order.period, "over", &order.over, "reason", &order.reason, "author", &order.author, "share", &order.share,
				  "force", &order.force)) {
		snprintf(detail, sizeof(detail), "the body does not fit: %s", error.text);
		reply_problem(req, 400, detail);
	} else {
		obey(a, req, kind, name, &order);
	}
	json_decref(body);
}

/* RFC 9110 9.3.5 gives a body to DELETE no meaning: the author comes as ?author=. */
void operate_delete(struct admin *a, struct evhttp_request *req, enum ctl_kind kind, const char *name)
{
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req)), *author = NULL;
	struct evkeyvalq pairs = { 0 };

	if (query && !evhttp_parse_query_str(query, &pairs))
		author = evhttp_find_header(&pairs, "author");
	clear(a, req, kind, name, author ? author : AUTHOR_UNKNOWN);
	if (query)
		evhttp_clear_headers(&pairs);
}
