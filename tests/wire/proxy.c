/* SPDX-License-Identifier: MIT */
#include "proxy.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const unsigned char secret[80] = "s";

static void hook(void *arg)
{
	struct proxy *p = arg;

	h2_pump_all(&p->w.client);
	h2_pump_all(&p->w.server);
	worker_pump(&p->worker);
}

static void on_accept(void *user, struct net_accepted a)
{
	struct proxy *p = user;

	if (!p->raw) {
		p->w.down = h2_accept(&p->w.server, a.fd, &a.peer, NULL, &p->w);
		return;
	}
	assert_int_equal(p->w.raw, -1);
	p->w.raw = a.fd;
	if (!p->mute)
		raw_frame(&p->w, 4, 0, 0, NULL, 0);
}

static const struct conf *load(struct proxy *p, const char *features)
{
	struct conf_errors *errors = conf_errors_create();
	const struct conf *conf;
	char text[4096], second[128] = "";
	int n;

	if (p->second)
		snprintf(second, sizeof(second), p->apart ? "]\n  - name: b\n    endpoints: [\"unix:%s.b\"" : ", \"unix:%s.b\"", p->path);
	n = snprintf(text, sizeof(text),
			 "listen:\n  - address: \"127.0.0.1:1\"\n"
			 "datacenters:\n  - name: a\n    endpoints: [%s\"unix:%s\"%s]\n"
			 "limits: { upstream_spares: 0 }\nheaders: { trusted: [\"192.0.2.0/24\"] }\n"
			 "retry: { connect_timeout: 60s, ping_after: 60s, ping_timeout: 60s, ping_idle: 600s, ping_idle_timeout: 60s, ping_stream_timeout: 60s, body: 4MiB }\n"
			 "features:\n%s",
			 p->first, p->path, second, *features ? features : "  - name: all\n    tier: core\n    routes: [\"/**\"]\n");

	conf = conf_load("proxy", text, (size_t)n, errors);
	if (!conf)
		conf_errors_print(errors, "proxy", stderr);
	assert_non_null(conf);
	conf_errors_destroy(errors);
	return conf;
}

static void start_worker(struct proxy *p, const struct conf *conf)
{
	static struct board *board;
	struct worker *w = &p->worker;
	char why[256];

	if (!board)
		board = board_create(2);
	w->board = board;
	w->part = board_worker(board, 0);
	w->loop = p->w.loop;
	w->secret = secret;
	w->random = 1;
	memcpy(w->id, "0123456700000000", sizeof(w->id));
	w->snap = snapshot_create(conf, secret, why);
	assert_non_null(w->snap);
	((struct conf *)(uintptr_t)conf)->generation = 1;
	snapshot_default_live(w->snap, &w->live);
	assert_true(downstream_init(w));
	h2_context_init(&w->down, w->loop, &conf->limits, true);
	w->down.connect_protocol = w->snap->connect_protocol;
	w->down.handler = (struct h2_handler){ xchg_on_stream, xchg_on_down };
	w->down.owner.on_closed = downstream_closed;
	w->pool = dc_pool_create(w->loop, conf, &w->live, w->part, xchg_on_up);
	w->cache = cache_create(conf, secret, NULL, &w->part->tm);
	assert_true(w->pool && w->cache);
}

static struct net_listener *start_endpoint(struct proxy *p, const char *more, int *fd)
{
	char address[80], why[256];

	snprintf(address, sizeof(address), "unix:%s%s", p->path, more);
	*fd = net_listen_open(address, why, sizeof(why));
	assert_true(*fd >= 0);
	return net_listener_create(p->w.loop, *fd, on_accept, p);
}

static void start(struct proxy *p, const char *features, bool raw, bool two, bool apart)
{
	static int number;

	memset(p, 0, sizeof(*p));
	wire_init(&p->w);
	p->raw = raw;
	p->first = "";
	p->second_fd = -1;
	p->apart = apart;
	snprintf(p->path, sizeof(p->path), "/tmp/firebreak-wire-%d-%d", (int)getpid(), number++);
	p->listener = start_endpoint(p, "", &p->listen_fd);
	if (two)
		p->second = start_endpoint(p, ".b", &p->second_fd);
	start_worker(p, load(p, features));
	p->hook = hook;
	net_loop_hook(p->w.loop, hook, p);
	proxy_client(p);
}

void proxy_start(struct proxy *p, const char *features, bool raw)
{
	start(p, features, raw, false, false);
}

void proxy_start_two(struct proxy *p, const char *features)
{
	start(p, features, false, true, false);
}

void proxy_start_apart(struct proxy *p, const char *features)
{
	start(p, features, false, true, true);
}

void proxy_client(struct proxy *p)
{
	struct net_addr peer = { .len = 0 };
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	p->client = calloc(1, sizeof(*p->client));
	p->client->w = &p->worker;
	memcpy(p->client->text, "unknown", 8);
	p->client->judged = p->worker.snap->conf->generation;
	p->client->session = h2_accept(&p->worker.down, fd[0], &peer, NULL, p->client);
	p->w.up = h2_adopt(&p->w.client, fd[1], &p->w);
	assert_true(p->client->session && p->w.up);
	wire_turn(&p->w, 3);
}

struct snapshot *proxy_next(struct proxy *p, const char *features)
{
	const struct conf *conf = load(p, features);
	struct snapshot *next;
	char why[256];

	((struct conf *)(uintptr_t)conf)->generation = p->worker.snap->conf->generation + 1;
	next = snapshot_create(conf, secret, why);
	assert_non_null(next);
	return next;
}

bool proxy_apply(struct proxy *p, struct snapshot *next)
{
	struct worker *w = &p->worker;
	struct snapshot *old = w->snap;

	if (!dc_pool_reconfigure(w->pool, next->conf, w->part))
		return false;
	w->snap = next;
	snapshot_default_live(w->snap, &w->live);
	w->down.limits = &next->conf->limits;
	cache_configure(w->cache, next->conf, NULL);
	snapshot_put(old);
	return true;
}

void proxy_reload(struct proxy *p, const char *features)
{
	assert_true(proxy_apply(p, proxy_next(p, features)));
}

void proxy_end(struct proxy *p)
{
	struct list *node;

	if (p->w.up)
		h2_close(p->w.up, FAULT_UPSTREAM_GONE);
	wire_turn(&p->w, 5);
	assert_true(list_empty(&p->worker.down.sessions));
	while ((node = list_first(&p->w.server.sessions))) {
		h2_close(h2_session_from_node(node), FAULT_SHUTTING_DOWN);
		wire_turn(&p->w, 1);
	}
	if (p->w.raw >= 0)
		close(p->w.raw);
	p->w.raw = -1;
	wire_turn(&p->w, 5);
	assert_int_equal(p->worker.exchanges, 0);
	net_loop_hook(p->w.loop, NULL, NULL);
	dc_pool_destroy(p->worker.pool);
	cache_destroy(p->worker.cache);
	net_listener_destroy(p->listener);
	net_listener_destroy(p->second);
	wire_turn(&p->w, 2);
	if (p->listen_fd >= 0)
		close(p->listen_fd);
	unlink(p->path);
	if (p->second_fd >= 0)
		close(p->second_fd);
	strcat(p->path, ".b");
	unlink(p->path);
	snapshot_put(p->worker.snap);
	net_loop_destroy(p->w.loop);
	assert_int_equal(buf_memory(), 0);
}

int64_t proxy_now = 1000 * CLOCK_SEC;

void proxy_pass_time(struct proxy *p, int64_t ns)
{
	int i;

	proxy_now += ns;
	clock_fake(proxy_now, proxy_now);
	for (i = 0; i < 6; i++)
		net_loop_turn(p->w.loop, 0);
}

const struct h2_field proxy_ok[1] = { { .name = (const uint8_t *)":status", .value = (const uint8_t *)"200", .name_len = 7,
					.value_len = 3, .flags = H2_FIELD_KEEP, .token = H2_STATUS } };

struct h2_stream *proxy_ask(struct proxy *p, struct seen *s, const struct h2_field *field, size_t n, bool end)
{
	enum fault why;

	memset(s, 0, sizeof(*s));
	s->stream = h2_request(p->w.up, field, n, end, s, &why);
	assert_non_null(s->stream);
	wire_turn(&p->w, 1);
	return s->stream;
}

void proxy_write(struct h2_stream *st, size_t len, bool end)
{
	struct buf b = { 0 };
	char *data = malloc(len);

	memset(data, 'x', len);
	assert_true(buf_append(&b, data, len));
	assert_true(h2_write(st, &b));
	if (end)
		assert_true(h2_finish(st, NULL, 0));
	free(data);
}
