/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct wire *current; /* handlers have no other way to the test */

struct h2_field wire_field(const char *name, const char *value)
{
	struct h2_field f = { .name = (const uint8_t *)name, .value = (const uint8_t *)value, .name_len = strlen(name),
			      .value_len = strlen(value), .flags = H2_FIELD_KEEP };

	f.token = (uint8_t)h2_token(name, f.name_len);
	return f;
}

size_t wire_fields(struct h2_field *field, size_t n, size_t size, char *text)
{
	char *line, *value, *rest = text;
	size_t i;

	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		value = strstr(line + 1, ": ");
		assert_non_null(value);
		*value = '\0';
		for (i = 0; i < n && (*line != ':' || strcmp((const char *)field[i].name, line)); i++)
			;
		assert_true(i < size);
		field[i] = wire_field(line, value + 2);
		n += i == n;
	}
	return n;
}

/* For a person's eyes and strstr: what does not fit is left out. */
static void copy_head(struct seen *s, const struct h2_head *h)
{
	size_t at = 0;
	int i, n;

	for (i = 0; i < h->count; i++) {
		n = snprintf(s->head + at, sizeof(s->head) - at, "%.*s: %.*s\n", (int)h->field[i].name_len, h->field[i].name,
			     (int)h->field[i].value_len, h->field[i].value);
		if (n < 0 || (size_t)n >= sizeof(s->head) - at)
			break;
		at += (size_t)n;
	}
	s->head[at] = '\0';
}

static void take_body(struct seen *s, struct h2_stream *st)
{
	size_t room = s->body < sizeof(s->text) ? sizeof(s->text) - s->body : 0, n = st->in.len;

	if (s->keep)
		return;
	if (room)
		buf_peek(&st->in, s->text + s->body, room);
	s->body += n;
	if (s->echo) {
		assert_true(h2_write(st, &st->in));
		return;
	}
	buf_clear(&st->in);
	h2_consume(st, n);
}

static void watch(struct seen *s, struct h2_stream *st, uint32_t what)
{
	s->what |= what;
	if (what & H2_HEAD) {
		s->status = st->head->status;
		s->fields = st->head->count;
		copy_head(s, st->head);
	}
	if ((what & H2_INTERIM) && st->interim) {
		const struct h2_field *f = &st->interim->field[st->interim->count - 1];

		snprintf(s->hint, sizeof(s->hint), "%.*s", (int)f->value_len, f->value);
	}
	if ((what & H2_BODY) && st->in.len)
		take_body(s, st);
	if (what & H2_TRAILERS)
		s->trailers = st->trailers->count;
	if (what & H2_CLOSED) {
		s->fault = st->fault;
		s->error_code = st->error_code;
		s->stream = NULL;
		h2_release(&st);
	}
}

static void on_stream(void *owner, struct h2_stream *st)
{
	struct wire *w = current;
	struct seen *s = &w->served[w->count++ % 64];
	static struct h2_field ok[1];
	int i;

	memset(s, 0, sizeof(*s));
	s->stream = st;
	s->echo = w->echo;
	s->keep = w->keep;
	st->user = s;
	for (i = 0; i < st->head->count; i++) {
		if (st->head->field[i].token == H2_PATH)
			snprintf(s->path, sizeof(s->path), "%.*s", (int)st->head->field[i].value_len, st->head->field[i].value);
	}
	ok[0] = wire_field(":status", "200");
	if (!w->silent)
		assert_true(h2_respond(st, ok, 1, !w->echo));
}

static void on_server(struct h2_stream *st, uint32_t what)
{
	struct seen *s = st->user;

	watch(s, st, what);
	if ((what & H2_END) && s->echo && !(what & H2_CLOSED))
		h2_finish(st, NULL, 0);
	if ((what & H2_SENT) && s->echo && !(what & H2_CLOSED))
		h2_consume(st, st->sent - st->consumed);
}

static void on_client(struct h2_stream *st, uint32_t what)
{
	watch(st->user, st, what);
}

static void server_closed(void *owner, enum fault f)
{
	current->down = NULL;
	current->down_fault = f;
}

static void client_closed(void *owner, enum fault f)
{
	current->up = NULL;
	current->up_fault = f;
}

static void on_pong(void *owner, int64_t rtt) { current->pongs++; }
static void on_goaway(void *owner, uint32_t error) { (void)error; current->goaways++; }

static void hook(void *arg)
{
	struct wire *w = arg;

	h2_pump_all(&w->client);
	h2_pump_all(&w->server);
}

void wire_init(struct wire *w)
{
	memset(w, 0, sizeof(*w));
	current = w;
	w->raw = -1;
	w->limits = (struct conf_limits){
		.max_streams = 100, .header_list_bytes = 32768, .header_count = 100, .handshake_timeout_ms = 5000,
		.header_timeout_ms = 5000, .body_rate = 100, .body_timeout_ms = 10000, .idle_timeout_ms = 60000,
		.upstream_idle_timeout_ms = 60000, .write_timeout_ms = 10000, .output_bytes = 65536, .stream_window = 65535,
		.connection_window = 1 << 20, .upstream_stream_window = 65535, .upstream_connection_window = 1 << 20,
		.upstream_streams = 100, .upstream_connections = 4, .resets_burst = 50, .resets_rate = 10, .pings_burst = 20,
		.pings_rate = 5, .settings_burst = 10, .settings_rate = 2, .empty_burst = 50, .empty_rate = 10,
		.frames_burst = 200, .frames_rate = 50, .continuations = 8, .held_head_bytes = 262144, .connections = 100,
	};
	w->loop = net_loop_create();
	assert_non_null(w->loop);
	h2_context_init(&w->server, w->loop, &w->limits, true);
	h2_context_init(&w->client, w->loop, &w->limits, false);
	w->server.handler = (struct h2_handler){ on_stream, on_server };
	w->client.handler = (struct h2_handler){ NULL, on_client };
	w->server.owner = (struct h2_owner){ .on_closed = server_closed };
	w->client.owner = (struct h2_owner){ .on_closed = client_closed, .on_pong = on_pong, .on_goaway = on_goaway };
	net_loop_hook(w->loop, hook, w);
}

static void pair(int fd[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

void wire_join(struct wire *w)
{
	int fd[2];

	wire_init(w);
	pair(fd);
	w->down = h2_adopt(&w->server, fd[0], w);
	w->up = h2_adopt(&w->client, fd[1], w);
	assert_true(w->down && w->up);
}

void wire_raw_client(struct wire *w, bool bare)
{
	int fd[2];

	wire_init(w);
	pair(fd);
	w->down = h2_adopt(&w->server, fd[0], w);
	w->raw = fd[1];
	assert_non_null(w->down);
	if (bare)
		return;
	raw_send(w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	raw_frame(w, 4, 0, 0, NULL, 0);
	wire_turn(w, 3);
}

void wire_raw_server(struct wire *w)
{
	int fd[2];

	wire_init(w);
	pair(fd);
	w->up = h2_adopt(&w->client, fd[0], w);
	w->raw = fd[1];
	assert_non_null(w->up);
	raw_frame(w, 4, 0, 0, NULL, 0);
	wire_turn(w, 3);
}

void wire_end(struct wire *w)
{
	if (w->down)
		h2_close(w->down, FAULT_SHUTTING_DOWN);
	if (w->up)
		h2_close(w->up, FAULT_UPSTREAM_GONE);
	wire_turn(w, 3);
	assert_null(w->down);
	assert_null(w->up);
	if (w->raw >= 0)
		close(w->raw);
	net_loop_destroy(w->loop);
}

void wire_turn(struct wire *w, int turns)
{
	while (turns--)
		net_loop_turn(w->loop, 1);
}

struct seen *wire_get(struct wire *w, struct seen *s, const char *method, const char *path, bool end)
{
	struct h2_field f[4] = { wire_field(":method", method), wire_field(":scheme", "http"),
				 wire_field(":authority", "test"), wire_field(":path", path) };
	enum fault why;

	memset(s, 0, sizeof(*s));
	s->stream = h2_request(w->up, f, 4, end, s, &why);
	assert_non_null(s->stream);
	wire_turn(w, 1);
	return s;
}

void raw_send(struct wire *w, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;
	int tries = 0;

	while (len) {
		n = send(w->raw, p, len, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno == EPIPE || errno == ECONNRESET)
				return; /* cut off: what a test of floods waits for */
			assert_int_equal(errno, EAGAIN);
			assert_true(tries++ < 1000);
			wire_turn(w, 1);
			continue;
		}
		p += n;
		len -= (size_t)n;
	}
}

void raw_frame(struct wire *w, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len)
{
	uint8_t frame[9 + 65536] = { (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, type, flags, (uint8_t)(id >> 24),
				     (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id };

	if (len)
		memcpy(frame + 9, payload, len);
	raw_send(w, frame, 9 + len);
}

void raw_request(struct wire *w, uint32_t id, bool end)
{
	/* :method GET, :scheme http, :path / are indexed; :authority is a literal. */
	static const uint8_t block[] = { 0x82, 0x86, 0x84, 0x01, 4, 't', 'e', 's', 't' };

	raw_frame(w, 1, (uint8_t)(4 | (end ? 1 : 0)), id, block, sizeof(block));
}

static void raw_read(struct wire *w)
{
	ssize_t n;

	while (w->have < sizeof(w->input) && (n = recv(w->raw, w->input + w->have, sizeof(w->input) - w->have, MSG_DONTWAIT)) > 0)
		w->have += (size_t)n;
}

const uint8_t *raw_find(struct wire *w, uint8_t type, uint32_t *id, uint32_t *len)
{
	size_t at = 0;
	uint32_t n;

	raw_read(w);
	/* A client's preface stands before its frames. */
	if (w->have >= 24 && !memcmp(w->input, "PRI", 3))
		at = 24;
	while (at + 9 <= w->have) {
		const uint8_t *h = w->input + at;

		n = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
		if (h[3] == type) {
			*id = (uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8];
			*len = n;
			return h + 9;
		}
		at += 9 + n;
	}
	return NULL;
}

bool raw_closed(struct wire *w)
{
	char c;

	raw_read(w);
	return recv(w->raw, &c, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}
