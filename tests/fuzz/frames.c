/* SPDX-License-Identifier: MIT */
/*
 * Frames: the first byte picks the role (client or server session), the rest is what
 * the peer sends after its preface and SETTINGS. The handlers echo, so output, windows
 * and closing run too. Whatever comes, every stream gets exactly one H2_CLOSED and
 * every session one on_closed.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/h2.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define SETTINGS "\0\0\0\4\0\0\0\0\0"
#define FIELD(n, v) { .name = (const uint8_t *)(n), .value = (const uint8_t *)(v), .name_len = sizeof(n) - 1, \
		      .value_len = sizeof(v) - 1, .flags = H2_FIELD_KEEP }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct conf_limits limits = {
	.max_streams = 20, .header_list_bytes = 8192, .header_count = 50, .handshake_timeout_ms = 5000,
	.header_timeout_ms = 5000, .body_rate = 100, .body_timeout_ms = 10000, .idle_timeout_ms = 60000,
	.upstream_idle_timeout_ms = 60000, .write_timeout_ms = 10000, .output_bytes = 65536, .stream_window = 65535,
	.connection_window = 1 << 20, .upstream_stream_window = 65535, .upstream_connection_window = 1 << 20,
	.upstream_streams = 100, .upstream_connections = 4, .resets_burst = 10, .resets_rate = 10, .pings_burst = 10,
	.pings_rate = 5, .settings_burst = 10, .settings_rate = 2, .empty_burst = 10, .empty_rate = 10,
	.frames_burst = 50, .frames_rate = 50, .continuations = 8, .held_head_bytes = 65536, .connections = 100,
};
static int open_streams, open_sessions;

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static void on_stream(void *owner, struct h2_stream *st)
{
	struct h2_field status = FIELD(":status", "200");

	status.token = H2_STATUS;
	open_streams++;
	demand(st->head && st->head->count >= 3);
	st->user = st;
	h2_respond(st, &status, 1, st->id % 4 == 3);
}

static void on_ready(struct h2_stream *st, uint32_t what)
{
	struct h2_head *interim;

	if (what & H2_CLOSED) {
		open_streams--;
		h2_release(&st);
		return;
	}
	while ((interim = h2_interim_take(st)))
		demand(interim->status >= 100 && interim->status < 200);
	if ((what & H2_BODY) && st->in.len) {
		size_t n = st->in.len;

		if (!h2_write(st, &st->in))
			buf_clear(&st->in);
		h2_consume(st, n);
	}
	if (what & H2_END)
		h2_finish(st, NULL, 0);
}

static void on_closed(void *owner, enum fault f) { open_sessions--; }

static void hook(void *arg) { h2_pump_all(arg); }

static void ask(struct h2_session *s, bool end)
{
	struct h2_field field[] = { FIELD(":method", "POST"), FIELD(":scheme", "http"), FIELD(":authority", "x"), FIELD(":path", "/") };
	enum fault why;
	unsigned i;

	for (i = 0; i < 4; i++)
		field[i].token = (uint8_t)(H2_METHOD + i);
	if (h2_request(s, field, 4, end, &open_streams, &why))
		open_streams++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct net_loop *loop;
	struct h2_context ctx;
	struct h2_session *s;
	bool server;
	int fd[2], i;

	if (size < 1 || size > 60000)
		return 0;
	server = data[0] & 1;
	if (!loop) {
		loop = net_loop_create();
		demand(loop != NULL);
	}
	clock_tick();
	h2_context_init(&ctx, loop, &limits, server);
	ctx.connect_protocol = true;
	ctx.handler = (struct h2_handler){ on_stream, on_ready };
	ctx.owner = (struct h2_owner){ .on_closed = on_closed };
	net_loop_hook(loop, hook, &ctx);
	demand(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
	open_sessions = 1;
	open_streams = 0;
	s = h2_adopt(&ctx, fd[0], &ctx);
	demand(s != NULL);
	if (!server) {
		ask(s, true);
		ask(s, false);
	} else {
		demand(write(fd[1], PREFACE, sizeof(PREFACE) - 1) > 0);
	}
	demand(write(fd[1], SETTINGS, sizeof(SETTINGS) - 1) > 0);
	if (size > 1)
		demand(write(fd[1], data + 1, size - 1) > 0);
	for (i = 0; i < 4; i++)
		net_loop_turn(loop, 0);
	close(fd[1]);
	for (i = 0; i < 50 && open_sessions; i++)
		net_loop_turn(loop, 0);
	demand(open_sessions == 0);
	demand(open_streams == 0);
	net_loop_hook(loop, NULL, NULL);
	return 0;
}
