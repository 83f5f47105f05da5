/* SPDX-License-Identifier: MIT */
/*
 * Events and access records as JSON lines (RFC 3339 UTC, stable event ids,
 * OpenTelemetry keys). A log never blocks a loop: lines gather in memory and
 * leave in one non-blocking write per turn; what cannot be written is counted
 * (log_dropped) and gone.
 *
 * Also the three grades of assertion: REQUIRE dies (our bug at start-up), CHECK
 * logs and hands back false (our bug in live traffic); network input is never
 * asserted.
 */
#ifndef FIREBREAK_LOG_H
#define FIREBREAK_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
/* Two streams: what happened to the service, and one line for each request. */
enum log_stream { LOG_EVENTS, LOG_ACCESS, LOG_STREAMS };

/* Opens (path) or reopens a stream: a file path, "stderr", "stdout", or "off".
 * Files are opened O_APPEND, created 0640. Returns 0 or an errno; on error the
 * stream stays what it was. */
int log_open(enum log_stream stream, const char *path);
/* Opens what has another name than before. An errno, with the name in *failed, when
 * one cannot be opened: that one stays what it was. */
int log_configure(const char *events, const char *access, enum log_level least, const char **failed);
/* Reopens files under the same names (rotation). */
void log_reopen(void);
void log_level(enum log_level least);
/* The process' role in each line: "supervisor", "control", "worker 0". */
void log_role(const char *role);
/* False when the stream is off: do not build lines for it. */
bool log_wants(enum log_stream stream);
/* Writes what has gathered. Call once per turn and before exit. */
void log_flush(void);
/* Lines lost since the last call, or since the role was given: who takes a role does not
 * count what was lost before the fork. */
uint64_t log_dropped(void);

/* One line being built, on the stack; bounded, a value that does not fit is cut. */
struct log_line {
	size_t len;
	char text[2048];
};
/* Starts a line with timestamp, role, level and event id. */
void log_begin(struct log_line *l, enum log_level level, const char *event);
void log_str(struct log_line *l, const char *key, const char *value);
void log_strn(struct log_line *l, const char *key, const void *value, size_t len);
void log_int(struct log_line *l, const char *key, int64_t value);
void log_end(struct log_line *l, enum log_stream stream);

/* The common case: an event with string pairs, closed by NULL:
 * log_event(LOG_LEVEL_WARN, "config.rejected", "file", path, "why", text, NULL) */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));

void log_check_failed(const char *file, int line, const char *what);
void log_require_failed(const char *file, int line, const char *what) __attribute__((noreturn));
#define CHECK(cond) ((cond) ? true : (log_check_failed(__FILE__, __LINE__, #cond), false))
#define REQUIRE(cond) ((cond) ? (void)0 : log_require_failed(__FILE__, __LINE__, #cond))

#endif
