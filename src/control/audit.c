/* SPDX-License-Identifier: MIT */
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"

#define FILE_NAME "audit.jsonl"
#define LINE_MAX_BYTES 4096 /* every text in an override at its longest, escaped */

static void hex(const uint8_t in[32], char out[65])
{
	int i;

	for (i = 0; i < 32; i++)
		snprintf(out + i * 2, 3, "%02x", in[i]);
}

static void rfc3339(int64_t wall, char out[32])
{
	time_t t = (time_t)(wall / CLOCK_SEC);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* Finds the last line (the chain goes on from it). A crash may have left half a line:
 * it is closed, never removed, and is a link of the chain like any other. */
static bool find_last(struct audit *a, off_t end)
{
	char tail[2 * LINE_MAX_BYTES];
	off_t from = end > (off_t)sizeof(tail) ? end - (off_t)sizeof(tail) : 0;
	size_t len = (size_t)(end - from);
	char *line;

	if (!len)
		return true;
	if (pread(a->fd, tail, len, from) != (ssize_t)len)
		return false;
	if (tail[len - 1] == '\n') {
		len--;
	} else {
		log_event(LOG_LEVEL_WARN, "audit.torn", "file", FILE_NAME, NULL);
		if (write(a->fd, "\n", 1) != 1)
			return false;
	}
	line = memrchr(tail, '\n', len);
	line = line ? line + 1 : tail;
	return crypt_sha256(line, len - (size_t)(line - tail), a->last);
}

bool audit_open(struct audit *a, const char *dir)
{
	char path[1024];
	off_t end;

	memset(a->last, 0, sizeof(a->last));
	a->fd = -1;
	if (snprintf(path, sizeof(path), "%s/" FILE_NAME, dir) < (int)sizeof(path))
		a->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	if (a->fd >= 0) {
		end = lseek(a->fd, 0, SEEK_END);
		if (end >= 0 && find_last(a, end))
			return true;
		close(a->fd);
		a->fd = -1;
	}
	log_event(LOG_LEVEL_ERROR, "audit.unavailable", "directory", dir, "why", strerror(errno), NULL);
	return false;
}

void audit_close(struct audit *a)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

static char *make_line(const struct audit *a, const char *action, const struct ctl_override *o, const char *author, bool forced,
		       int64_t wall)
{
	char time[32], until[32], previous[65];
	json_t *line;
	char *text;

	rfc3339(wall, time);
	rfc3339(o->until, until);
	hex(a->last, previous);
	line = json_pack("{ss ss ss ss ss sf ss ss ss sb ss}", "time", time, "action", action, "kind", override_kind_word(o->kind),
			 "subject", o->subject, "value", o->value, "share", o->share / 10000.0, "author", author, "reason",
			 o->reason, "until", until, "forced", forced, "previous", previous);
	text = line ? json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6)) : NULL;
	json_decref(line);
	return text;
}

/* One write, so that a line is never mixed with another's. */
static bool append(struct audit *a, char *text)
{
	size_t len = strlen(text);
	uint8_t next[32];
	ssize_t n;

	if (!crypt_sha256(text, len, next))
		return false;
	text[len] = '\n';
	n = write(a->fd, text, len + 1);
	text[len] = '\0';
	if (n != (ssize_t)len + 1) {
		/* A full disk can take half a line; the next start closes it. */
		if (n > 0 && ftruncate(a->fd, lseek(a->fd, 0, SEEK_END) - n))
			audit_close(a);
		return false;
	}
	memcpy(a->last, next, sizeof(next));
	return fdatasync(a->fd) == 0;
}

bool audit_write(struct audit *a, const char *action, const struct ctl_override *o, const char *author, bool forced, int64_t wall)
{
	char *text = make_line(a, action, o, author, forced, wall);
	bool done = text && a->fd >= 0 && append(a, text);

	if (!done)
		log_event(LOG_LEVEL_ERROR, "audit.not_written", "line", text ? text : "", NULL);
	free(text);
	return done;
}

/* Half a line is no JSON and says nothing about what was before it, but its hash is
 * in the chain: the line after it must fit. */
static bool follows(const char *line, const uint8_t last[32])
{
	json_t *root = json_loads(line, 0, NULL);
	const char *previous;
	char want[65];
	bool ok;

	hex(last, want);
	ok = !root || (!json_unpack(root, "{ss}", "previous", &previous) && !strcmp(previous, want));
	json_decref(root);
	return ok;
}

long audit_verify(const char *dir)
{
	char path[1024], *line = NULL;
	uint8_t last[32] = { 0 };
	size_t size = 0;
	long n = 0;
	bool ok = true;
	ssize_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/" FILE_NAME, dir);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (ok && (len = getline(&line, &size, f)) > 0) {
		n++;
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		ok = follows(line, last) && crypt_sha256(line, (size_t)len, last);
	}
	free(line);
	fclose(f);
	return ok ? n : -n;
}
