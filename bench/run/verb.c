/* SPDX-License-Identifier: MIT */
/*
 * What a feature asks of the messenger. Each user has one room, writes into it in order,
 * and reads their own state; the sequence of features, users and sizes follows from the
 * seed alone.
 */
#include "generator.h"

#include <stdio.h>
#include <string.h>

#include "../pattern.h"

#define OBJECTS 1000 /* media that are asked for */
#define PAGES   10   /* of the shop */

enum answer { ANSWER_ANY, ANSWER_JSON, ANSWER_PATTERN };

static const struct {
	const char *method, *path; /* path: as it stands, where nothing is filled in */
	enum answer answer;
} verbs[VERB_COUNT] = {
	[VERB_SEND] = { "POST", NULL, ANSWER_JSON },
	[VERB_RECENT] = { "GET", NULL, ANSWER_JSON },
	[VERB_ROOMS] = { "GET", "/v1/rooms", ANSWER_JSON },
	[VERB_SYNC] = { "GET", "/v1/sync", ANSWER_JSON },
	[VERB_PRESENCE] = { "GET", NULL, ANSWER_JSON },
	[VERB_LOGIN] = { "POST", "/v1/login/refresh", ANSWER_JSON },
	[VERB_PROFILE] = { "GET", "/v1/profile", ANSWER_JSON },
	[VERB_UPLOAD] = { "POST", "/v1/media", ANSWER_JSON },
	[VERB_DOWNLOAD] = { "GET", NULL, ANSWER_PATTERN },
	[VERB_BACKUP] = { "PUT", "/v1/backup", ANSWER_JSON },
	[VERB_RESTORE] = { "GET", NULL, ANSWER_PATTERN },
	[VERB_SHOP] = { "GET", NULL, ANSWER_ANY },
	[VERB_EVENTS] = { "GET", NULL, ANSWER_JSON },
	[VERB_GET] = { "GET", NULL, ANSWER_ANY },
};

void verb_user(const struct generator *g, unsigned user, char *name, size_t size)
{
	snprintf(name, size, "u~%llu-%u", (unsigned long long)g->s->seed, user);
}

void verb_room(const char *user, char *room, size_t size)
{
	snprintf(room, size, "r%s", user + 1);
}

static unsigned roll(struct generator *g, unsigned below)
{
	return (unsigned)(generator_random(g) * below);
}

static void fill_path(struct request *r, const struct scenario_feature *f, const char *other)
{
	char room[CHECK_TAG_MAX];

	switch (f->does) {
	case VERB_SEND:
	case VERB_RECENT:
		verb_room(r->name, room, sizeof(room));
		snprintf(r->path, sizeof(r->path), "/v1/rooms/%s/messages%s", room, f->does == VERB_RECENT ? "?limit=20" : "");
		break;
	case VERB_PRESENCE:
		snprintf(r->path, sizeof(r->path), "/v1/presence/%s", other);
		break;
	case VERB_DOWNLOAD:
		snprintf(r->path, sizeof(r->path), "/v1/media/picture%u?bytes=%llu", roll(r->g, OBJECTS), (unsigned long long)f->answer);
		break;
	case VERB_RESTORE:
		snprintf(r->path, sizeof(r->path), "/v1/backup?bytes=%llu", (unsigned long long)f->answer);
		break;
	case VERB_SHOP:
		snprintf(r->path, sizeof(r->path), "/v1/shopping/%u", roll(r->g, PAGES));
		break;
	case VERB_GET:
		snprintf(r->path, sizeof(r->path), "%s", f->path);
		break;
	default:
		snprintf(r->path, sizeof(r->path), "%s", verbs[f->does].path);
	}
}

static void fill_check(struct request *r, const struct scenario_feature *f, const char *other)
{
	char object[32];

	r->checked = verbs[f->does].answer != ANSWER_ANY;
	r->json_of_user = verbs[f->does].answer == ANSWER_JSON;
	if (r->json_of_user) {
		check_text(&r->check, r->name + 1, f->does == VERB_PRESENCE ? other + 1 : NULL);
	} else if (f->does == VERB_RESTORE) {
		check_pattern(&r->check, r->name, f->answer);
	} else if (f->does == VERB_DOWNLOAD) {
		snprintf(object, sizeof(object), "%.*s", (int)strcspn(r->path + 10, "?"), r->path + 10); /* after /v1/media/ */
		check_pattern(&r->check, object, f->answer);
	}
}

void verb_fill(struct request *r)
{
	struct generator *g = r->g;
	const struct scenario_feature *f = &g->s->feature[r->feature];
	unsigned mine = roll(g, g->users);
	char other[CHECK_TAG_MAX] = ""; /* of presence: whose */

	r->user = mine * g->a->of + g->a->self;
	verb_user(g, r->user, r->name, sizeof(r->name));
	if (f->does == VERB_PRESENCE)
		verb_user(g, roll(g, g->s->users), other, sizeof(other));
	snprintf(r->auth, sizeof(r->auth), "Bearer %s.load", r->name);
	r->method = verbs[f->does].method;
	r->body = f->body;
	fill_path(r, f, other);
	fill_check(r, f, other);
	if (f->does == VERB_SEND) {
		r->lane = &g->lane[mine];
		/* unique: the generator and how many it has made; the run by its time */
		snprintf(r->key, sizeof(r->key), "%llx-%x-%llx", (unsigned long long)g->run_id, g->a->self, (unsigned long long)++g->keys);
	}
}

/* A text is its writer's tag again and again; a file is made up by the name of its owner. */
bool verb_body(const struct request *r, struct buf *out)
{
	const struct scenario_feature *f = &r->g->s->feature[r->feature];
	uint64_t left = r->body, seed = pattern_seed(r->name, strlen(r->name)), at;
	char text[512];
	size_t n, piece;
	bool ok = true;

	if (f->does == VERB_SEND) {
		/* Whole tags only: a part of one would be another's. */
		piece = (size_t)snprintf(text, sizeof(text), "%s ", r->name + 1);
		for (; ok && left >= piece; left -= piece)
			ok = buf_append(out, text, piece);
		memset(text, '.', piece);
		return ok && buf_append(out, text, (size_t)left);
	}
	for (at = 0; ok && left; at += n, left -= n) {
		const unsigned char *p = pattern_at(at, seed, &n);

		n = left < n ? (size_t)left : n;
		ok = buf_append(out, p, n);
	}
	return ok;
}
