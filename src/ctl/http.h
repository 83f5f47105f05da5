/* SPDX-License-Identifier: MIT */
/*
 * One HTTP/1.1 request to the admin side and its whole answer: blocking, with
 * timeouts, one connection each. Not a general client: no redirects, no chunks (the
 * admin side sends neither), 16 MiB at most.
 */
#ifndef CTL_HTTP_H
#define CTL_HTTP_H

#include <stddef.h>

struct http_answer {
	int status;
	char *body; /* NUL after the last byte; the caller's to free */
	size_t len;
};

/* address: "unix:/path" or "host:port". token and body may be NULL. 0, or -1 with a
 * sentence in why (256 bytes). */
int http_call(const char *address, const char *token, const char *method, const char *path, const char *body,
	      struct http_answer *answer, char *why);

#endif
