/* SPDX-License-Identifier: MIT */
/*
 * Who asks what: each user has one room, writes into it in order, and reads their
 * own state. The sequence of features, users and keys depends on the seed alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "json.h"
#include "load.h"

#define SPLIT_MIX UINT64_C(0x9e3779b97f4a7c15)

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t roll(struct load *l)
{
	uint64_t z = (l->random += SPLIT_MIX);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

bool traffic_init(struct load *l)
{
	unsigned i;

	list_init(&l->waiting);
	list_init(&l->pending);
	list_init(&l->spare);
	l->random = l->o.seed;
	l->lane = calloc(l->o.users, sizeof(*l->lane));
	for (i = 0; l->lane && i < l->o.users; i++)
		list_init(&l->lane[i].waiting);
	return l->lane;
}

static struct request *request_get(struct load *l)
{
	struct list *n = list_pop(&l->spare);
	struct request *r = n ? list_entry(n, struct request, node) : malloc(sizeof(*r));

	if (!r)
		return NULL;
	memset(r, 0, offsetof(struct request, body));
	r->body_len = 0;
	r->content_type[0] = r->cache_status[0] = r->proxy_status[0] = '\0';
	list_init(&r->node);
	list_init(&r->time_node);
	r->l = l;
	return r;
}

static unsigned pick_feature(struct load *l)
{
	double sum = 0, at;
	unsigned f;

	for (f = 0; f < TALLY_FEATURES; f++)
		sum += l->o.share[f];
	at = (double)(roll(l) >> 11) / 9007199254740992.0 * sum;
	for (f = 0; f + 1 < TALLY_FEATURES && at >= l->o.share[f]; f++)
		at -= l->o.share[f];
	return f;
}

static void fill(struct request *r, unsigned user)
{
	struct load *l = r->l;
	unsigned long long seed = l->o.seed;
	bool upload = roll(l) % 4 == 0;

	snprintf(r->user, sizeof(r->user), "u%llu-%u", seed, user);
	snprintf(r->auth, sizeof(r->auth), "Bearer %s.load", r->user);
	r->method = "GET";
	r->private = true;
	switch (r->feature) {
	case FEATURE_SEND:
		r->method = "POST";
		r->keyed = true;
		r->upload = 40 + roll(l) % 200;
		r->lane = &l->lane[user];
		snprintf(r->key, sizeof(r->key), "k%llu-%llu", seed, (unsigned long long)l->issued);
		snprintf(r->path, sizeof(r->path), "/v1/rooms/room-%llu-%u/messages", seed, user);
		break;
	case FEATURE_RECENT:
		snprintf(r->path, sizeof(r->path), "/v1/rooms/room-%llu-%u/messages?limit=20", seed, user);
		break;
	case FEATURE_ROOMS:
		snprintf(r->path, sizeof(r->path), "/v1/rooms");
		break;
	case FEATURE_SYNC:
		snprintf(r->path, sizeof(r->path), "/v1/sync");
		break;
	case FEATURE_PRESENCE:
		snprintf(r->path, sizeof(r->path), "/v1/presence/u%llu-%u", seed, (user + 1) % l->o.users);
		break;
	case FEATURE_MEDIA:
		r->method = upload ? "POST" : "GET";
		r->upload = upload ? 8192 : 0;
		r->private = upload;
		snprintf(r->path, sizeof(r->path), upload ? "/v1/media" : "/v1/media/picture?bytes=16384");
		break;
	case FEATURE_BACKUP:
		r->method = upload ? "PUT" : "GET";
		r->upload = upload ? 16384 : 0;
		r->private = upload;
		snprintf(r->path, sizeof(r->path), upload ? "/v1/backup" : "/v1/backup?bytes=32768");
		break;
	default:
		r->private = false;
		snprintf(r->path, sizeof(r->path), "/v1/shopping");
	}
}

static void send_or_queue(struct request *r)
{
	if (r->lane && r->lane->busy) {
		r->in_lane = true;
		list_append(&r->lane->waiting, &r->node);
		return;
	}
	if (r->lane)
		r->lane->busy = true;
	client_send(r);
}

void traffic_issue(struct load *l, int64_t intended)
{
	struct request *r = request_get(l);

	l->issued++;
	if (!r) {
		l->dropped++;
		return;
	}
	r->intended = intended;
	r->phase = l->tally.phase;
	r->feature = pick_feature(l);
	fill(r, (unsigned)(roll(l) % l->o.users));
	list_append(&l->pending, &r->time_node);
	tm_hist_record(&l->lateness, clock_tick() - intended);
	send_or_queue(r);
}

/* The numbers of one conversation only grow. */
static bool out_of_order(struct request *r)
{
	uint64_t seq;
	const char *p;
	char text[REQUEST_BODY_SEEN + 1];

	if (!r->lane || r->status != 201)
		return false;
	memcpy(text, r->body, r->body_len);
	text[r->body_len] = '\0';
	p = strstr(text, "\"seq\":");
	seq = p ? strtoull(p + 6, NULL, 10) : 0;
	if (seq <= r->lane->last_seq)
		return true;
	r->lane->last_seq = seq;
	return false;
}

static const char *or_null(const char *text)
{
	return *text ? text : NULL;
}

void request_done(struct request *r, bool complete)
{
	struct load *l = r->l;
	struct lane *lane = r->lane;
	struct outcome_answer a = {
		.status = r->status, .complete = complete, .content_type = or_null(r->content_type),
		.cache_status = or_null(r->cache_status), .proxy_status = or_null(r->proxy_status),
		.body = r->body, .body_len = r->body_len, .user = r->private ? r->user : NULL,
	};
	int64_t now = clock_now();
	struct request *next;

	if (r->done || l->stopping) /* cut off by ourselves: nobody failed */
		return;
	r->done = true;
	list_remove(&r->time_node);
	tally_record(&l->tally, r->phase, r->feature, outcome_of(&a), complete && out_of_order(r), now,
		     now > r->intended ? now - r->intended : 0);
	if (!lane || r->in_lane)
		return;
	if (list_empty(&lane->waiting)) {
		lane->busy = false;
		return;
	}
	next = list_entry(list_pop(&lane->waiting), struct request, node);
	next->in_lane = false;
	client_send(next);
}

void request_put(struct request *r)
{
	list_append(&r->l->spare, &r->node);
}

/* Those whose time is over, oldest first. */
void traffic_expire(struct load *l, int64_t now)
{
	int64_t oldest = now - (int64_t)(l->o.timeout * 1e9);

	while (!list_empty(&l->pending)) {
		struct request *r = list_entry(l->pending.next, struct request, time_node);

		if (r->intended > oldest)
			return;
		request_done(r, false);
		if (r->st) {
			client_cancel(r); /* its H2_CLOSED puts it back */
			continue;
		}
		if (!r->in_lane)
			l->waits--;
		list_remove(&r->node);
		request_put(r);
	}
}
