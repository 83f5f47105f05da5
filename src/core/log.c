/* SPDX-License-Identifier: MIT */
/*
 * Lines gather in one buffer per stream and leave with one write per turn. A
 * regular file takes everything or fails (disk full); a pipe may be stuck: both
 * cost lines, never time. The standard streams are not ours to make non-blocking
 * (others have the same open file), so they are asked first and written in pieces
 * that a pipe with room takes whole.
 */
#include "firebreak/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "firebreak/clock.h"

#define GATHER (64 * 1024)

static struct stream {
	int fd; /* -1: off */
	bool own;
	bool torn; /* the last line went out in part */
	char path[512];
	size_t len;
	char gathered[GATHER];
} streams[LOG_STREAMS] = { { .fd = STDERR_FILENO, .path = "stderr" }, { .fd = -1, .path = "off" } };

static enum log_level least = LOG_LEVEL_INFO;
static char role[32] = "firebreak";
static uint64_t dropped;

int log_open(enum log_stream which, const char *path)
{
	struct stream *s = &streams[which];
	bool own = false;
	int fd;

	if (!strcmp(path, "off")) {
		fd = -1;
	} else if (!strcmp(path, "stderr") || !strcmp(path, "stdout")) {
		fd = path[3] == 'e' ? STDERR_FILENO : STDOUT_FILENO;
	} else {
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
		if (fd < 0)
			return errno;
		own = true;
	}
	log_flush();
	if (s->own)
		close(s->fd);
	s->fd = fd;
	s->own = own;
	s->torn = false;
	if (s->path != path)
		snprintf(s->path, sizeof(s->path), "%s", path);
	return 0;
}

int log_configure(const char *events, const char *access, enum log_level level, const char **failed)
{
	const char *path[LOG_STREAMS] = { [LOG_EVENTS] = events, [LOG_ACCESS] = access };
	int i, e, first = 0;

	least = level;
	for (i = 0; i < LOG_STREAMS; i++) {
		e = strcmp(path[i], streams[i].path) ? log_open(i, path[i]) : 0;
		if (e && !first) {
			first = e;
			*failed = path[i];
		}
	}
	return first;
}

void log_reopen(void)
{
	int i;

	for (i = 0; i < LOG_STREAMS; i++) {
		if (streams[i].own)
			log_open(i, streams[i].path);
	}
}

bool log_wants(enum log_stream which)
{
	return streams[which].fd >= 0;
}

void log_level(enum log_level level)
{
	least = level;
}

void log_role(const char *name)
{
	snprintf(role, sizeof(role), "%s", name);
	dropped = 0;
}

uint64_t log_dropped(void)
{
	uint64_t n = dropped;

	dropped = 0;
	return n;
}

static uint64_t count_lines(const char *p, size_t n)
{
	uint64_t lines = 0;

	for (; n; n--)
		lines += *p++ == '\n';
	return lines;
}

static size_t write_some(const struct stream *s, const char *p, size_t len)
{
	struct pollfd room = { .fd = s->fd, .events = POLLOUT };
	ssize_t n;

	if (!s->own) {
		if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT))
			return 0;
		len = len < PIPE_BUF ? len : PIPE_BUF;
	}
	n = write(s->fd, p, len);
	return n < 0 ? 0 : (size_t)n;
}

static void flush_stream(struct stream *s)
{
	size_t done = 0, n;

	if (!s->len || s->fd < 0) {
		s->len = 0;
		return;
	}
	if (s->torn && write_some(s, "\n", 1) == 1)
		s->torn = false;
	while (!s->torn && done < s->len && (n = write_some(s, s->gathered + done, s->len - done)))
		done += n;
	dropped += count_lines(s->gathered + done, s->len - done);
	if (done && done < s->len)
		s->torn = s->gathered[done - 1] != '\n';
	s->len = 0;
}

void log_flush(void)
{
	int i;

	for (i = 0; i < LOG_STREAMS; i++)
		flush_stream(&streams[i]);
}

static void put(struct log_line *l, const char *text, size_t n)
{
	/* Room for the closing quote, brace and newline is always kept. */
	if (n > sizeof(l->text) - 4 - l->len)
		n = sizeof(l->text) - 4 - l->len;
	memcpy(l->text + l->len, text, n);
	l->len += n;
}

static void put_escaped(struct log_line *l, const unsigned char *p, size_t n)
{
	char esc[8];

	for (; n; n--, p++) {
		if (l->len + 8 > sizeof(l->text) - 4)
			return; /* never half an escape */
		if (*p == '"' || *p == '\\') {
			esc[0] = '\\';
			esc[1] = (char)*p;
			put(l, esc, 2);
		} else if (*p < 0x20 || *p >= 0x7f) {
			put(l, esc, (size_t)snprintf(esc, sizeof(esc), "\\u%04x", *p));
		} else {
			put(l, (const char *)p, 1);
		}
	}
}

static void put_key(struct log_line *l, const char *key)
{
	put(l, ",\"", 2);
	put(l, key, strlen(key));
	put(l, "\":", 2);
}

void log_begin(struct log_line *l, enum log_level level, const char *event)
{
	static const char *const words[] = { "DEBUG", "INFO", "WARN", "ERROR" };
	static char second[32];
	static int64_t second_of = -1;
	int64_t wall = clock_wall();
	struct tm tm;
	time_t t = (time_t)(wall / CLOCK_SEC);
	char head[160];
	int n;

	l->len = 0;
	if (t != second_of) {
		gmtime_r(&t, &tm);
		strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &tm);
		second_of = t;
	}
	n = snprintf(head, sizeof(head), "{\"timestamp\":\"%s.%06dZ\",\"severity\":\"%s\",\"event\":\"%s\",\"role\":\"%s\"", second,
		     (int)(wall % CLOCK_SEC / 1000), words[level], event, role);
	put(l, head, (size_t)n);
}

void log_strn(struct log_line *l, const char *key, const void *value, size_t len)
{
	put_key(l, key);
	put(l, "\"", 1);
	put_escaped(l, value, len);
	put(l, "\"", 1);
}

void log_str(struct log_line *l, const char *key, const char *value)
{
	log_strn(l, key, value ? value : "", value ? strlen(value) : 0);
}

void log_int(struct log_line *l, const char *key, int64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%lld", (long long)value);

	put_key(l, key);
	put(l, text, (size_t)n);
}

void log_end(struct log_line *l, enum log_stream which)
{
	struct stream *s = &streams[which];

	if (s->fd < 0)
		return;
	memcpy(l->text + l->len, "}\n", 2);
	l->len += 2;
	if (s->len + l->len > sizeof(s->gathered))
		flush_stream(s);
	memcpy(s->gathered + s->len, l->text, l->len);
	s->len += l->len;
}

void log_event(enum log_level level, const char *event, ...)
{
	struct log_line l;
	const char *key;
	va_list ap;

	if (level < least)
		return;
	log_begin(&l, level, event);
	va_start(ap, event);
	while ((key = va_arg(ap, const char *)))
		log_str(&l, key, va_arg(ap, const char *));
	va_end(ap);
	log_end(&l, LOG_EVENTS);
}

void log_check_failed(const char *file, int line, const char *what)
{
	char at[160];

	snprintf(at, sizeof(at), "%s:%d", file, line);
	log_event(LOG_LEVEL_ERROR, "check.failed", "code.filepath", at, "condition", what, NULL);
}

void log_require_failed(const char *file, int line, const char *what)
{
	log_check_failed(file, line, what);
	log_flush();
	abort();
}
