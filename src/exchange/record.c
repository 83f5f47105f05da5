/* SPDX-License-Identifier: MIT */
/*
 * The one place where an exchange is accounted for: counters, histogram, log line.
 */
#include <string.h>

#include "firebreak/clock.h"
#include "firebreak/log.h"
#include "xchg_private.h"

static unsigned datacenter_of(const struct xchg *x)
{
	if (x->endpoint < 0 || x->outcome == TM_STALE || x->outcome == TM_REFUSED)
		return CONF_MAX_DATACENTERS;
	return x->via->conf->endpoint[x->endpoint].datacenter;
}

static void write_access_line(const struct xchg *x, int64_t took)
{
	struct log_line l;
	unsigned dc = datacenter_of(x);

	log_begin(&l, LOG_LEVEL_INFO, "exchange");
	log_str(&l, "request_id", x->id);
	log_str(&l, "client.address", x->client ? x->client->text : "");
	log_strn(&l, "http.request.method", x->method, x->method_len);
	log_strn(&l, "url.path", x->target, x->path_len); /* never the query: it may carry secrets */
	log_int(&l, "http.response.status_code", x->status);
	log_str(&l, "feature", x->feature->name);
	log_str(&l, "outcome", tm_outcome_word(x->outcome));
	log_str(&l, "reason", fault_info(x->fault)->word);
	log_str(&l, "why", degrade_why_word(x->decision.why));
	if (dc != CONF_MAX_DATACENTERS) {
		log_str(&l, "datacenter", x->via->conf->datacenter[dc].name);
		log_str(&l, "endpoint", x->via->conf->endpoint[x->endpoint].address);
	}
	log_int(&l, "attempts", x->ask.attempts);
	log_int(&l, "duration_us", took / 1000);
	log_int(&l, "request_bytes", (int64_t)x->down->received);
	log_int(&l, "response_bytes", (int64_t)x->down->sent);
	log_end(&l, LOG_ACCESS);
}

/* Counters are laid out by the configuration in force. */
static unsigned datacenter_now(const struct xchg *x)
{
	const struct conf *now = x->w->snap->conf;
	unsigned dc = datacenter_of(x), i;

	if (dc == CONF_MAX_DATACENTERS || x->via == x->w->snap)
		return dc;
	for (i = 0; i < now->datacenters; i++) {
		if (!strcmp(now->datacenter[i].name, x->via->conf->datacenter[dc].name))
			return i;
	}
	return CONF_MAX_DATACENTERS;
}

void record_exchange(struct xchg *x)
{
	struct tm_worker *tm = &x->w->part->tm;
	int64_t took = clock_now() - x->started;

	tm_exchange(tm, xchg_feature(x), x->outcome, datacenter_now(x), took);
	if (x->fault != FAULT_NONE)
		tm->fault[x->fault]++;
	tm_add(tm, TM_DOWNSTREAM_BYTES_IN, x->down->received);
	tm_add(tm, TM_DOWNSTREAM_BYTES_OUT, x->down->sent);
	if (log_wants(LOG_ACCESS))
		write_access_line(x, took);
}
