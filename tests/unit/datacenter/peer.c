/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <arpa/inet.h>
#include <unistd.h>

struct net_loop *test_loop;
void (*test_pump)(void);

static struct peer *peers[16];

void test_limits(struct conf_limits *l)
{
	*l = (struct conf_limits){
		.max_streams = 100, .header_list_bytes = 65536, .header_count = 100, .handshake_timeout_ms = 60000,
		.header_timeout_ms = 60000, .body_rate = 1, .body_timeout_ms = 60000, .idle_timeout_ms = 60000,
		.upstream_idle_timeout_ms = 60000, .write_timeout_ms = 60000, .output_bytes = 65536,
		.stream_window = 65535, .connection_window = 65535, .upstream_stream_window = 65535,
		.upstream_connection_window = 1 << 20, .upstream_streams = 100, .upstream_connections = 4,
		.upstream_spares = 0, .resets_burst = 1000, .resets_rate = 1000, .pings_burst = 1000, .pings_rate = 1000,
		.settings_burst = 100, .settings_rate = 100, .empty_burst = 100, .empty_rate = 100, .frames_burst = 1000,
		.frames_rate = 1000, .continuations = 16, .held_head_bytes = 1 << 20, .connections = 100,
	};
}

void test_retry(struct conf_retry *r)
{
	*r = (struct conf_retry){
		.tries = 3, .connect_timeout_ms = 250, .ping_after_ms = 60, .ping_timeout_ms = 80, .ping_idle_ms = 400,
		.ping_idle_timeout_ms = 300, .ping_stream_timeout_ms = 500,
	};
}

static void on_turn(void *arg)
{
	unsigned i;

	if (test_pump)
		test_pump();
	for (i = 0; i < 16; i++)
		if (peers[i])
			h2_pump_all(&peers[i]->ctx);
}

int test_loop_begin(void **state)
{
	test_loop = net_loop_create();
	assert_non_null(test_loop);
	net_loop_hook(test_loop, on_turn, NULL);
	return 0;
}

int test_loop_end(void **state)
{
	test_pump = NULL;
	net_loop_turn(test_loop, 0);
	net_loop_turn(test_loop, 0);
	net_loop_destroy(test_loop);
	test_loop = NULL;
	return 0;
}

void test_turns(int64_t ns)
{
	int64_t end = clock_tick() + ns;

	while (clock_now() < end)
		net_loop_turn(test_loop, 5);
}

/* ---- answering ---- */

static struct h2_field field(enum h2_token t, const char *value)
{
	return h2_field(t, value, strlen(value));
}

static void answer(struct peer *p, struct h2_stream *st)
{
	static const char *const text[] = { "200", "204", "302", "404", "503" };
	struct h2_field f;
	int i;

	for (i = 0; i < 4 && atoi(text[i]) != p->status; i++)
		;
	f = field(H2_STATUS, text[i]);
	h2_respond(st, &f, 1, true);
}

static void on_stream(void *owner, struct h2_stream *st)
{
	struct peer *p = ((struct { struct peer *peer; } *)owner)->peer;
	unsigned i;

	st->user = p;
	p->requests++;
	for (i = 0; i < st->head->count; i++) {
		struct h2_field *f = &st->head->field[i];

		if (f->token == H2_PATH)
			snprintf(p->path, sizeof(p->path), "%.*s", (int)f->value_len, f->value);
		if (f->token == H2_AUTHORITY)
			snprintf(p->authority, sizeof(p->authority), "%.*s", (int)f->value_len, f->value);
	}
	if (p->mode == PEER_ANSWER)
		answer(p, st);
	else
		p->held[p->holding++] = st;
}

static void on_ready(struct h2_stream *st, uint32_t what)
{
	struct peer *p = st->user;
	unsigned i;

	if (!(what & H2_CLOSED))
		return;
	for (i = 0; i < p->holding; i++)
		if (p->held[i] == st)
			p->held[i--] = p->held[--p->holding];
	h2_release(&st);
}

void peer_answer_held(struct peer *p)
{
	unsigned i;

	for (i = 0; i < p->holding; i++)
		answer(p, p->held[i]);
	p->mode = PEER_ANSWER;
}

static void on_session_closed(void *owner, enum fault fault)
{
	struct { struct peer *peer; struct h2_session *h2; } *s = owner;

	s->h2 = NULL;
}

unsigned peer_sessions(const struct peer *p)
{
	unsigned i, n = 0;

	for (i = 0; i < PEER_SESSIONS; i++)
		n += p->session[i].h2 != NULL;
	return n;
}

static void on_accept(void *user, struct net_accepted a)
{
	static const char nonsense[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nno such thing here";
	struct peer *p = user;
	unsigned i;

	p->accepted++;
	if (p->mode == PEER_GARBAGE) {
		if (write(a.fd, nonsense, sizeof(nonsense) - 1) < 0)
			perror("write");
		shutdown(a.fd, SHUT_WR);
		close(a.fd);
		return;
	}
	for (i = 0; i < PEER_SESSIONS && p->session[i].h2; i++)
		;
	assert_in_range(i, 0, PEER_SESSIONS - 1);
	p->session[i].peer = p;
	p->session[i].h2 = h2_accept(&p->ctx, a.fd, &a.peer, NULL, &p->session[i]);
	assert_non_null(p->session[i].h2);
}

/* ---- life ---- */

static void open_port(struct peer *p)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	char why[256];

	p->fd = net_listen_open(p->address[0] ? p->address : "127.0.0.1:0", why, sizeof(why));
	if (p->fd < 0)
		fail_msg("%s", why);
	getsockname(p->fd, (struct sockaddr *)&in, &len);
	snprintf(p->address, sizeof(p->address), "127.0.0.1:%u", ntohs(in.sin_port));
	p->listener = net_listener_create(p->loop, p->fd, on_accept, p);
	assert_non_null(p->listener);
}

void peer_begin(struct peer *p)
{
	unsigned i;

	memset(p, 0, sizeof(*p));
	p->loop = test_loop;
	p->status = 200;
	test_limits(&p->limits);
	h2_context_init(&p->ctx, p->loop, &p->limits, true);
	p->ctx.handler.on_stream = on_stream;
	p->ctx.handler.on_ready = on_ready;
	p->ctx.owner.on_closed = on_session_closed;
	open_port(p);
	for (i = 0; i < 16 && peers[i]; i++)
		;
	peers[i] = p;
}

void peer_freeze(struct peer *p)
{
	unsigned i;

	p->frozen = true;
	net_listener_destroy(p->listener);
	p->listener = NULL;
	for (i = 0; i < PEER_SESSIONS; i++)
		if (p->session[i].h2)
			net_read_pause(h2_session_conn(p->session[i].h2), true);
}

void peer_thaw(struct peer *p)
{
	unsigned i;

	p->frozen = false;
	p->listener = net_listener_create(p->loop, p->fd, on_accept, p);
	for (i = 0; i < PEER_SESSIONS; i++)
		if (p->session[i].h2)
			net_read_pause(h2_session_conn(p->session[i].h2), false);
}

void peer_kill(struct peer *p)
{
	unsigned i;

	net_listener_destroy(p->listener);
	p->listener = NULL;
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	for (i = 0; i < PEER_SESSIONS; i++)
		if (p->session[i].h2) /* this fault sends no GOAWAY */
			h2_close(p->session[i].h2, FAULT_CLIENT_GONE);
}

void peer_revive(struct peer *p)
{
	open_port(p);
}

void peer_end(struct peer *p)
{
	unsigned i;

	if (!p->loop)
		return;
	peer_kill(p);
	net_loop_turn(test_loop, 0);
	net_loop_turn(test_loop, 0);
	for (i = 0; i < 16; i++)
		if (peers[i] == p)
			peers[i] = NULL;
	p->loop = NULL;
}
