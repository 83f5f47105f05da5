/* SPDX-License-Identifier: MIT */
/*
 * RESP2 through hiredis' reader and formatter; the only file that sees hiredis. Its
 * connections, its allocation of replies and its lack of bounds stay outside: replies
 * are built in one arena by our own object functions, which refuse what is too large.
 */
#include "redis_private.h"

#include <hiredis/hiredis.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/arena.h"

struct rds_codec {
	redisReader *reader;
	struct arena arena; /* the reply under construction, or the last one handed out */
	size_t held;        /* octets fed since the last complete reply ended */
	size_t elements;    /* of the reply under construction */
	bool handed;        /* the arena holds a reply the caller has seen */
};

static const struct {
	const char *word;
	bool unavailable;
} errors[] = {
	[RDS_ERROR_NONE] = { "", false },
	[RDS_ERROR_OTHER] = { "", false },
#define X(name, text, gone) [RDS_ERROR_##name] = { text, gone },
	RDS_ERRORS(X)
#undef X
};

bool rds_error_unavailable(enum rds_error e)
{
	return errors[e].unavailable;
}

static enum rds_error error_class(const char *text, size_t len)
{
	const char *space = memchr(text, ' ', len);
	size_t n = space ? (size_t)(space - text) : len;
	size_t i;

	for (i = RDS_ERROR_OTHER + 1; i < sizeof(errors) / sizeof(errors[0]); i++) {
		if (strlen(errors[i].word) == n && !memcmp(errors[i].word, text, n))
			return (enum rds_error)i;
	}
	return RDS_ERROR_OTHER;
}

/* ---- object functions: NULL makes the reader fail ---- */

static struct rds_reply *reply_new(const redisReadTask *task, enum rds_type type)
{
	struct rds_codec *c = task->privdata;
	struct rds_reply *r = arena_alloc(&c->arena, sizeof(*r));
	const struct rds_reply *parent;

	if (!r)
		return NULL;
	*r = (struct rds_reply){ .type = type };
	if (task->parent) {
		parent = task->parent->obj;
		((const struct rds_reply **)(uintptr_t)parent->element)[task->idx] = r;
	}
	return r;
}

static void *on_string(const redisReadTask *task, char *text, size_t len)
{
	struct rds_codec *c = task->privdata;
	struct rds_reply *r;

	r = reply_new(task, task->type == REDIS_REPLY_ERROR ? RDS_ERROR : task->type == REDIS_REPLY_STATUS ? RDS_STATUS : RDS_STRING);
	if (!r)
		return NULL;
	r->text = arena_strndup(&c->arena, text, len);
	r->len = len;
	if (!r->text)
		return NULL;
	if (r->type == RDS_ERROR)
		r->error = error_class(text, len);
	return r;
}

static void *on_array(const redisReadTask *task, int elements)
{
	struct rds_codec *c = task->privdata;
	struct rds_reply *r;

	if (elements < 0 || (size_t)elements > RDS_REPLY_ELEMENTS - c->elements)
		return NULL;
	c->elements += (size_t)elements;
	r = reply_new(task, RDS_ARRAY);
	if (!r)
		return NULL;
	r->elements = (size_t)elements;
	r->element = arena_alloc(&c->arena, ((size_t)elements + 1) * sizeof(struct rds_reply *));
	return r->element ? r : NULL;
}

static void *on_integer(const redisReadTask *task, long long value)
{
	struct rds_reply *r = reply_new(task, RDS_INTEGER);

	if (r)
		r->integer = value;
	return r;
}

static void *on_nil(const redisReadTask *task)
{
	return reply_new(task, RDS_NIL);
}

static void on_free(void *object)
{
	(void)object; /* the arena's */
}

static redisReplyObjectFunctions object_functions = { on_string, on_array, on_integer, on_nil, on_free };

/* ---- reader ---- */

struct rds_codec *rds_codec_create(void)
{
	struct rds_codec *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->reader = redisReaderCreateWithFunctions(&object_functions);
	if (!c->reader) {
		free(c);
		return NULL;
	}
	c->reader->privdata = c; /* the macro of that name casts a pointer to int */
	arena_init(&c->arena);
	return c;
}

void rds_codec_destroy(struct rds_codec *c)
{
	if (!c)
		return;
	redisReaderFree(c->reader);
	arena_finish(&c->arena);
	free(c);
}

bool rds_codec_feed(struct rds_codec *c, const void *data, size_t len)
{
	c->held += len;
	return redisReaderFeed(c->reader, data, len) == REDIS_OK;
}

int rds_codec_next(struct rds_codec *c, const struct rds_reply **reply)
{
	void *object = NULL;

	if (c->handed) {
		arena_finish(&c->arena);
		c->handed = false;
	}
	if (redisReaderGetReply(c->reader, &object) != REDIS_OK)
		return -1;
	if (!object) /* what is held belongs to one unfinished reply */
		return c->held > RDS_REPLY_BYTES ? -1 : 0;
	c->held = c->reader->len - c->reader->pos;
	c->elements = 0;
	c->handed = true;
	*reply = object;
	return 1;
}

/* ---- commands ---- */

bool rds_codec_format(struct buf *out, int argc, const char *const *argv, const size_t *lens)
{
	const char **args = (const char **)(uintptr_t)argv; /* the library forgot a const */
	char *text = NULL;
	bool taken;
	int n;

	n = redisFormatCommandArgv(&text, argc, args, lens);
	if (n < 0)
		return false;
	taken = buf_append(out, text, (size_t)n);
	redisFreeCommand(text);
	return taken;
}
