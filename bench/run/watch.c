/* SPDX-License-Identifier: MIT */
/* GET /api/v1/status over a connection of its own (HTTP/1.1, closed after the answer). */
#include "watch.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"

#define ANSWER_MAX (1 << 20)

struct watch {
	struct net_loop *loop;
	int64_t period;
	void (*looked)(void *arg);
	void *arg;
	struct net_addr address;
	struct net_timer timer;
	struct net_conn *conn;
	struct buf answer;
	char mode[32], datacenters[128];
	json_t *status; /* the last good one */
	bool stopped;
};

static void on_open(void *user)
{
	static const char ask[] = "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	struct watch *w = user;

	if (net_write(w->conn, ask, sizeof(ask) - 1))
		net_flush(w->conn);
}

static void on_bytes(void *user, const uint8_t *data, size_t len)
{
	struct watch *w = user;

	if (w->answer.len + len > ANSWER_MAX || !buf_append(&w->answer, data, len))
		net_close(w->conn, FAULT_NO_MEMORY);
}

static void on_eof(void *user)
{
	struct watch *w = user;

	net_close(w->conn, FAULT_NONE);
}

static void on_drained(void *user)
{
}

static void understand(struct watch *w, json_t *status)
{
	const char *mode = json_string_value(json_object_get(status, "mode"));
	size_t i, n = 0;
	json_t *d;

	snprintf(w->mode, sizeof(w->mode), "%s", mode ? mode : "?");
	w->datacenters[0] = '\0';
	json_array_foreach(json_object_get(status, "datacenters"), i, d) {
		const char *name = json_string_value(json_object_get(d, "name")), *state = json_string_value(json_object_get(d, "state"));

		if (n < sizeof(w->datacenters))
			n += (size_t)snprintf(w->datacenters + n, sizeof(w->datacenters) - n, "%s%s %s", i ? ", " : "", name ? name : "?",
					      state ? state : "?");
	}
	json_decref(w->status);
	w->status = status;
}

static void on_closed(void *user, enum fault fault)
{
	struct watch *w = user;
	char *text = malloc(w->answer.len + 1);
	const char *body = NULL;
	json_t *status = NULL;
	size_t n;

	w->conn = NULL;
	if (text) {
		n = buf_peek(&w->answer, text, w->answer.len);
		text[n] = '\0';
		body = strstr(text, "\r\n\r\n");
	}
	if (body && !strncmp(text, "HTTP/1.1 200", 12))
		status = json_loads(body + 4, 0, NULL);
	if (status)
		understand(w, status);
	else
		snprintf(w->mode, sizeof(w->mode), "?");
	free(text);
	buf_clear(&w->answer);
	if (w->stopped) {
		watch_destroy(w);
		return;
	}
	net_timer_arm(w->loop, &w->timer, clock_now() + w->period);
	if (w->looked)
		w->looked(w->arg);
}

static const struct net_handler handler = { on_open, on_bytes, on_eof, on_drained, on_closed };

static void ask(struct net_timer *t)
{
	struct watch *w = list_entry(t, struct watch, timer);

	w->conn = net_conn_connect(w->loop, &w->address, NULL, NULL, 400, &handler, w);
	if (!w->conn)
		net_timer_arm(w->loop, &w->timer, clock_now() + w->period);
}

struct watch *watch_create(struct net_loop *loop, const char *address, int64_t period, void (*looked)(void *arg), void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w || !net_addr_parse(&w->address, address)) {
		free(w);
		return NULL;
	}
	w->loop = loop;
	w->period = period;
	w->looked = looked;
	w->arg = arg;
	snprintf(w->mode, sizeof(w->mode), "?");
	net_timer_init(&w->timer, ask);
	net_timer_arm(loop, &w->timer, clock_now());
	return w;
}

void watch_destroy(struct watch *w)
{
	if (!w)
		return;
	net_timer_disarm(&w->timer);
	w->stopped = true;
	if (w->conn) {
		net_close(w->conn, FAULT_NONE); /* on_closed comes back here */
		return;
	}
	json_decref(w->status);
	free(w);
}

const char *watch_mode(const struct watch *w)
{
	return w ? w->mode : "";
}

const char *watch_datacenters(const struct watch *w)
{
	return w ? w->datacenters : "";
}

const char *watch_version(const struct watch *w)
{
	return w ? json_string_value(json_object_get(w->status, "version")) : NULL;
}

bool watch_datacenter(const struct watch *w, size_t i, const char **name, const char **state)
{
	const json_t *d = json_array_get(json_object_get(w->status, "datacenters"), i);

	*name = json_string_value(json_object_get(d, "name"));
	*state = json_string_value(json_object_get(d, "state"));
	return *name && *state;
}
