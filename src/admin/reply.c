/* SPDX-License-Identifier: MIT */
#include "reply.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "firebreak/clock.h"

static const char *title(int status)
{
	switch (status) {
	case 200: return "OK";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 409: return "Conflict";
	case 413: return "Content Too Large";
	case 421: return "Misdirected Request";
	case 503: return "Service Unavailable";
	case 507: return "Insufficient Storage";
	default: return "Internal Server Error";
	}
}

static void header(struct evhttp_request *req, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(req), name, value);
}

static void send_bytes(struct evhttp_request *req, int status, const char *type, const char *bytes, size_t len)
{
	char length[24];

	header(req, "Content-Type", type);
	header(req, "Cache-Control", "no-store");
	header(req, "X-Content-Type-Options", "nosniff");
	/* evhttp would send the body of an answer to HEAD as well (RFC 9110 9.3.2). */
	if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD) {
		snprintf(length, sizeof(length), "%zu", len);
		header(req, "Content-Length", length);
	} else if (evbuffer_add(evhttp_request_get_output_buffer(req), bytes, len)) {
		status = 500;
	}
	evhttp_send_reply(req, status, title(status), NULL);
}

void reply_text(struct evhttp_request *req, int status, const char *type, const char *text)
{
	send_bytes(req, status, type, text, strlen(text));
}

static void send_json(struct evhttp_request *req, int status, const char *type, json_t *body)
{
	char *text = body ? json_dumps(body, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;

	json_decref(body);
	if (text) {
		send_bytes(req, status, type, text, strlen(text));
	} else {
		static const char none[] = "{\"title\":\"Internal Server Error\",\"status\":500,\"detail\":\"out of memory\"}";

		send_bytes(req, 500, "application/problem+json", none, sizeof(none) - 1);
	}
	free(text);
}

void reply_json(struct evhttp_request *req, int status, json_t *body)
{
	send_json(req, status, "application/json", body);
}

void reply_problem(struct evhttp_request *req, int status, const char *detail)
{
	send_json(req, status, "application/problem+json",
		  json_pack("{ss ss si ss}", "type", "about:blank", "title", title(status), "status", status, "detail", detail));
}

void reply_printed(struct evhttp_request *req, const char *type, void (*print)(FILE *, const struct admin *), const struct admin *a)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out) {
		print(out, a);
		if (fclose(out)) {
			free(text);
			text = NULL;
		}
	}
	if (text)
		send_bytes(req, 200, type, text, len);
	else
		reply_problem(req, 500, "out of memory");
	free(text);
}

json_t *json_time(int64_t wall)
{
	time_t t = (time_t)(wall / CLOCK_SEC);
	char text[32];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

json_t *json_share(unsigned basis_points)
{
	return json_real(basis_points / (double)DEGRADE_FULL);
}
