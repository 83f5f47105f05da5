/* SPDX-License-Identifier: MIT */
/*
 * Media and backup: what was uploaded is kept in files beside the shared state, so
 * the other datacenter has it too; and bytes made up on the fly for downloads of any
 * size. Objects over OBJECT_MAX, and all beyond the run's budget, are counted and
 * hashed but not kept ("stored":false).
 */
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pattern.h"

#define OBJECT_MAX  (UINT64_C(16) << 20)

struct upload {
	int fd; /* -1: not kept */
	bool backup;
	char part[4200], final[4200], id[64];
	uint64_t bytes, hash;
};

bool files_pattern(struct call *c, struct buf *out, size_t want)
{
	const unsigned char *from;
	size_t n, room;
	void *to;

	while (want && c->at < c->total) {
		from = pattern_at(c->at, c->seed, &n);
		n = n < want ? n : want;
		if (n > c->total - c->at)
			n = (size_t)(c->total - c->at);
		to = buf_reserve(out, n, &room);
		if (!to)
			return true;
		n = n < room ? n : room;
		memcpy(to, from, n);
		buf_commit(out, n);
		c->at += n;
		want -= n;
	}
	return c->at < c->total;
}

static uint64_t hash_more(uint64_t h, const unsigned char *p, size_t n)
{
	while (n--)
		h = (h ^ *p++) * UINT64_C(1099511628211);
	return h;
}

/* User and object names become file names: anything else than these is spelled out. */
static bool file_path(char *out, size_t size, const char *dir, const char *kind, struct slice name)
{
	size_t n = (size_t)snprintf(out, size, "%s/%s-", dir, kind), i;

	for (i = 0; i < name.len && n + 4 < size; i++) {
		unsigned char ch = (unsigned char)name.p[i];

		if ((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z'))
			out[n++] = (char)ch;
		else
			n += (size_t)snprintf(out + n, 4, "_%02x", ch);
	}
	out[n < size ? n : size - 1] = '\0';
	return i == name.len && strlen(out) + 24 < size;
}

/* ---- upload ---- */

static void upload_drop(struct upload *u)
{
	if (u->fd < 0)
		return;
	close(u->fd);
	unlink(u->part);
	u->fd = -1;
}

static void upload_gone(struct call *c)
{
	upload_drop(c->extra);
}

static void upload_done(struct call *c)
{
	struct upload *u = c->extra;
	bool stored = u->fd >= 0 && !rename(u->part, u->final), ok;
	struct buf b = { 0 };

	if (stored) {
		close(u->fd);
		u->fd = -1;
	}
	ok = call_private(c, &b) && json_put(&b, ",\"%s\":", u->backup ? "backup" : "id") && json_text(&b, u->id, strlen(u->id)) &&
	     json_put(&b, ",\"bytes\":%llu,\"fnv1a\":\"%016llx\",\"stored\":%s}", (unsigned long long)u->bytes,
		      (unsigned long long)u->hash, stored ? "true" : "false");
	if (!ok) {
		buf_clear(&b);
		h2_reset(c->st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
		return;
	}
	call_head(c, u->backup ? 200 : 201);
	call_field(c, "content-type", "application/json", 16);
	call_answer(c, &b);
}

static void upload_body(struct call *c, uint32_t what)
{
	struct upload *u = c->extra;
	struct iovec v;

	while (buf_iov(&c->st->in, &v, 1)) {
		u->hash = hash_more(u->hash, v.iov_base, v.iov_len);
		u->bytes += v.iov_len;
		if (u->fd >= 0 && (u->bytes > OBJECT_MAX || !store_budget(c->b->store, v.iov_len) ||
				   write(u->fd, v.iov_base, v.iov_len) != (ssize_t)v.iov_len))
			upload_drop(u);
		h2_consume(c->st, v.iov_len);
		buf_drain(&c->st->in, v.iov_len);
	}
	if ((what & H2_END) && !c->st->responded)
		upload_done(c);
}

static void upload(struct call *c, bool backup, struct slice name, const char *kind)
{
	struct upload *u = arena_alloc(&c->st->arena, sizeof(*u));

	if (!u) {
		call_error(c, 500, "out of memory");
		return;
	}
	*u = (struct upload){ .fd = -1, .backup = backup, .hash = UINT64_C(14695981039346656037) };
	snprintf(u->id, sizeof(u->id), "%.*s", (int)name.len, name.p);
	if (file_path(u->final, sizeof(u->final), c->b->dir, kind, name)) {
		snprintf(u->part, sizeof(u->part), "%.4170s.%llu", u->final, (unsigned long long)store_ticket(c->b->store));
		u->fd = open(u->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	c->extra = u;
	c->on_gone = upload_gone;
	c->on_body = upload_body;
}

void files_upload_media(struct call *c)
{
	char id[32];
	int n = snprintf(id, sizeof(id), "m%llu", (unsigned long long)store_ticket(c->b->store));

	upload(c, false, (struct slice){ id, (size_t)n }, "media");
}

void files_upload_backup(struct call *c)
{
	upload(c, true, c->user, "backup");
}

/* ---- download ---- */

static void close_file(struct call *c)
{
	close((int)(intptr_t)c->extra);
}

static bool read_file(struct call *c, struct buf *out, size_t want)
{
	size_t room;
	ssize_t n;
	void *to;

	while (want && c->at < c->total) {
		to = buf_reserve(out, want, &room);
		if (!to)
			return true;
		n = pread((int)(intptr_t)c->extra, to, room, (off_t)c->at);
		if (n <= 0) {
			buf_commit(out, 0);
			return false;
		}
		buf_commit(out, (size_t)n);
		c->at += (uint64_t)n;
		want -= (size_t)n;
	}
	return c->at < c->total;
}

static void get_file(struct call *c, const char *kind, struct slice name)
{
	char path[4200];
	struct stat st;
	int fd = -1;

	if (file_path(path, sizeof(path), c->b->dir, kind, name))
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		if (fd >= 0)
			close(fd);
		call_error(c, 404, "nothing is kept under this name");
		return;
	}
	c->extra = (void *)(intptr_t)fd;
	c->on_gone = close_file;
	call_head(c, 200);
	call_field(c, "content-type", "application/octet-stream", 24);
	call_answer_source(c, read_file, (uint64_t)st.st_size);
}

/* ?bytes=N: made up, the same for the same id. */
void files_get_media(struct call *c)
{
	if (!call_query(c, "bytes").p) {
		get_file(c, "media", c->param[0]);
		return;
	}
	c->seed = pattern_seed(c->param[0].p, c->param[0].len);
	call_head(c, 200);
	call_field(c, "content-type", "application/octet-stream", 24);
	call_answer_source(c, files_pattern, call_query_number(c, "bytes", 0));
}

/* The same for the same user: whose octets they are can be told from them. */
void files_get_backup(struct call *c)
{
	if (!call_query(c, "bytes").p) {
		get_file(c, "backup", c->user);
		return;
	}
	c->seed = pattern_seed(c->user.p, c->user.len);
	call_head(c, 200);
	call_field(c, "content-type", "application/octet-stream", 24);
	call_answer_source(c, files_pattern, call_query_number(c, "bytes", 0));
}
