/* SPDX-License-Identifier: MIT */
/* The whole request path with scripted ends: what goes wrong between two sessions. */
#include "proxy.h"

#include "../../src/net/net_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void get_passes(void **state)
{
	struct proxy p;
	struct seen s;

	proxy_start(&p, "", false);
	wire_get(&p.w, &s, "GET", "/a", true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	assert_string_equal(p.w.served[0].path, "/a");
	proxy_end(&p);
}

#define ALL "  - name: all\n    tier: core\n    routes: [\"/**\"]\n    body_limit: unlimited\n"

/* The second attempt gets all of a body that was kept, however many pieces it has. */
static void replay_is_whole(void **state)
{
	struct proxy p;
	struct seen s;

	proxy_start(&p, ALL, false);
	p.w.silent = true;
	wire_get(&p.w, &s, "PUT", "/a", false);
	proxy_write(s.stream, 3000000, true);
	WIRE_UNTIL(&p.w, p.w.served[0].what & H2_END);
	h2_reset(p.w.served[0].stream, H2_ERR_REFUSED_STREAM, FAULT_OVERLOADED);
	WIRE_UNTIL(&p.w, p.w.served[1].what & H2_END);
	assert_int_equal(p.w.served[1].body, 3000000);
	h2_respond(p.w.served[1].stream, proxy_ok, 1, true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	assert_non_null(strstr(s.head, "proxy-status: firebreak; next-hop=\"a\"; details=\"upstream-refused\"\n"));
	proxy_end(&p);
}

/* An interim answer, and its attempt ends in the same segment: what the client reads are
 * its octets, not those of whoever got the memory next. */
static void interim_outlives_its_attempt(void **state)
{
	static const uint8_t interim[] = { 8, 3, '1', '0', '3', 0, 4, 'l', 'i', 'n', 'k', 9, 't', 'h', 'e', ' ', 'v', 'a', 'l', 'u', 'e' };
	static char padding[2100];
	uint8_t both[9 + sizeof(interim) + 13] = { 0, 0, sizeof(interim), 1, 4, 0, 0, 0, 1 };
	static const uint8_t reset[13] = { 0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2 };
	struct proxy p;
	struct seen s;
	size_t pad;
	uint32_t id, len;

	memcpy(both + 9, interim, sizeof(interim));
	memcpy(both + 9 + sizeof(interim), reset, sizeof(reset));
	memset(padding, 'p', sizeof(padding) - 1);
	for (pad = 0; pad < 2000; pad += 100) {
		struct h2_field f[5] = { wire_field(":method", "POST"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
					 wire_field(":path", "/"), wire_field("x-padding", padding + sizeof(padding) - 1 - pad) };

		proxy_start(&p, "", true);
		proxy_ask(&p, &s, f, 5, true);
		WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
		raw_send(&p.w, both, sizeof(both));
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, 502);
		assert_string_equal(s.hint, "the value");
		proxy_end(&p);
	}
}

static void open_tunnel(struct proxy *p, struct seen *s)
{
	static const char connect[] = "  - name: all\n    tier: core\n    routes: [\"/**\"]\n    connect: true\n";
	struct h2_field f[5] = { wire_field(":method", "CONNECT"), wire_field(":protocol", "websocket"), wire_field(":scheme", "http"),
				 wire_field(":path", "/"), wire_field(":authority", "test") };

	proxy_start(p, connect, false);
	p->w.server.connect_protocol = true;
	p->w.silent = true;
	proxy_ask(p, s, f, 5, false);
	WIRE_UNTIL(&p->w, p->w.count == 1);
	h2_respond(p->w.served[0].stream, proxy_ok, 1, false);
	p->w.served[0].stream->tunnel = true;
	WIRE_UNTIL(&p->w, s->status == 200);
}

/* A tunnel's ends close one by one (RFC 8441, RFC 9113 8.5). */
static void tunnel_closes_half(void **state)
{
	struct proxy p;
	struct seen s;

	open_tunnel(&p, &s);
	proxy_write(p.w.served[0].stream, 100, true);
	WIRE_UNTIL(&p.w, s.what & H2_END);
	wire_turn(&p.w, 5);
	assert_false(s.what & H2_CLOSED);
	proxy_write(s.stream, 5000, true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.fault, FAULT_NONE);
	WIRE_UNTIL(&p.w, p.w.served[0].what & H2_CLOSED);
	assert_int_equal(p.w.served[0].body, 5000);
	proxy_end(&p);
}

/* A client that takes back its request for a tunnel, saying nothing was wrong, has not ended
 * its side: nothing of the tunnel stays with the backend. */
static void tunnel_taken_back(void **state)
{
	struct proxy p;
	struct seen s;

	open_tunnel(&p, &s);
	h2_reset(s.stream, H2_ERR_NO_ERROR, FAULT_NONE);
	WIRE_UNTIL(&p.w, p.w.served[0].what & H2_CLOSED);
	WIRE_UNTIL(&p.w, !p.worker.exchanges);
	proxy_end(&p);
}

/* The next turn does not wait for an event while somebody on either side wants to write. */
static void nobody_is_left_waiting(void *arg)
{
	struct proxy *p = arg;

	p->hook(p);
	if (!list_empty(&p->worker.down.woken))
		assert_true(p->w.loop->again);
}

/* What the backend's side sends gives the client its window back at once, also when the
 * backend, whose own window is large, has nothing to say to it. */
static void upload_does_not_wait(void **state)
{
	struct proxy p;
	struct seen s;

	proxy_start(&p, "", false);
	p.w.limits.stream_window = p.w.limits.connection_window = 16 << 20;
	p.w.silent = true;
	net_loop_hook(p.w.loop, nobody_is_left_waiting, &p);
	wire_get(&p.w, &s, "POST", "/", false);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	proxy_write(s.stream, 1 << 20, true);
	WIRE_UNTIL(&p.w, p.w.served[0].body == 1 << 20);
	h2_respond(p.w.served[0].stream, proxy_ok, 1, true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	proxy_end(&p);
}

static void fields_reach_backend(struct proxy *p, const struct h2_field *field, size_t n, enum h2_token token, char *out, size_t size)
{
	struct h2_stream *st;
	struct seen s;
	int i, before = p->w.count;

	p->w.silent = true;
	proxy_ask(p, &s, field, n, true);
	WIRE_UNTIL(&p->w, p->w.count == before + 1);
	st = p->w.served[before].stream;
	*out = '\0';
	for (i = 0; i < st->head->count; i++) {
		if (st->head->field[i].token == token)
			snprintf(out + strlen(out), size - strlen(out), "%.*s|", (int)st->head->field[i].value_len, st->head->field[i].value);
	}
	h2_respond(st, proxy_ok, 1, true);
	WIRE_UNTIL(&p->w, s.what & H2_CLOSED);
}

/* The trusted end of the list is what counts: it is never cut off, and a list in several
 * lines stays one. */
static void forwarded_for_is_kept_whole(void **state)
{
	static char longest[3000], got[8192], expected[8192];
	struct h2_field f[6] = { wire_field(":method", "GET"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/") };
	struct proxy p;

	memset(longest, '1', sizeof(longest) - 1);
	proxy_start(&p, "", false);
	p.client->trusted = true;
	f[4] = wire_field("x-forwarded-for", longest);
	f[5] = wire_field("x-forwarded-for", "192.0.2.1");
	fields_reach_backend(&p, f, 6, H2_X_FORWARDED_FOR, got, sizeof(got));
	snprintf(expected, sizeof(expected), "%s, 192.0.2.1, unknown|", longest);
	assert_string_equal(got, expected);
	proxy_end(&p);
}

/* A HEAD has no body in its answer, not even when it is refused unread. */
static void refused_head_has_no_body(void **state)
{
	struct h2_field f[300] = { wire_field(":method", "HEAD"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/") };
	struct proxy p;
	struct seen s;
	int i;

	proxy_start(&p, "", false);
	for (i = 4; i < 300; i++)
		f[i] = wire_field("x-many", "1");
	proxy_ask(&p, &s, f, 300, true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 431);
	assert_int_equal(s.body, 0);
	assert_int_equal(s.fault, FAULT_NONE);
	proxy_end(&p);
}

static size_t accepted_from(struct proxy *p, const char *address)
{
	struct listener_user user = { .w = &p->worker };
	struct net_accepted a;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	a.fd = fd[0];
	assert_true(net_addr_parse(&a.peer, address));
	downstream_accept(&user, a);
	close(fd[1]);
	return p->worker.down.count;
}

/* IPv4 clients seen through a load balancer that writes them as IPv6 are not one /64. */
static void mapped_addresses_are_many(void **state)
{
	struct proxy p;

	proxy_start(&p, "", false);
	p.worker.most_clients = 100;
	((struct conf *)(uintptr_t)p.worker.snap->conf)->limits.connections_per_address = 1;
	assert_int_equal(accepted_from(&p, "[::ffff:192.0.2.1]:1"), 2);
	assert_int_equal(accepted_from(&p, "[::ffff:192.0.2.1]:2"), 2);
	assert_int_equal(accepted_from(&p, "[::ffff:192.0.2.2]:1"), 3);
	assert_int_equal(accepted_from(&p, "[2001:db8::1]:1"), 4);
	assert_int_equal(accepted_from(&p, "[2001:db8::2]:1"), 4);
	wire_turn(&p.w, 3);
	proxy_end(&p);
}

/* Who holds memory goes while it is scarce, but looking for him takes a part of the time only. */
static void looking_for_hoarders_is_bounded(void **state)
{
	struct h2_field f[4] = { wire_field(":method", "POST"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/") };
	struct seen s[2];
	struct proxy p;
	int i;

	clock_fake(proxy_now, proxy_now);
	proxy_start(&p, "", false);
	p.w.silent = true;
	for (i = 0; i < 2; i++) {
		if (i)
			proxy_client(&p);
		proxy_ask(&p, &s[i], f, 4, false);
		proxy_write(s[i].stream, 100000, false);
		WIRE_UNTIL(&p.w, h2_session_held(p.client->session, xchg_held) >= 100000);
	}
	downstream_shed(&p.worker);
	wire_turn(&p.w, 3);
	assert_int_equal(p.worker.down.count, 2);
	buf_memory_limit(buf_memory());
	downstream_shed(&p.worker);
	downstream_shed(&p.worker);
	wire_turn(&p.w, 3);
	assert_int_equal(p.worker.down.count, 1);
	buf_memory_limit(buf_memory());
	proxy_pass_time(&p, CLOCK_MS);
	downstream_shed(&p.worker);
	wire_turn(&p.w, 3);
	assert_int_equal(p.worker.down.count, 0);
	buf_memory_limit(0);
	proxy_end(&p);
}

/* Who was the gateway when it connected is one as long as the configuration says so. */
static void trust_follows_the_configuration(void **state)
{
	struct h2_field f[5] = { wire_field(":method", "GET"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/"), wire_field("x-forwarded-for", "192.0.2.1") };
	struct proxy p;
	char got[256];

	proxy_start(&p, "", false);
	p.client->trusted = true;
	fields_reach_backend(&p, f, 5, H2_X_FORWARDED_FOR, got, sizeof(got));
	assert_string_equal(got, "192.0.2.1, unknown|");
	proxy_reload(&p, "");
	fields_reach_backend(&p, f, 5, H2_X_FORWARDED_FOR, got, sizeof(got));
	assert_string_equal(got, "unknown|");
	proxy_end(&p);
}

/* The configuration changes under an exchange that has still to be tried again. */
static void reload_between_attempts(void **state)
{
	struct proxy p;
	struct seen s;

	proxy_start(&p, "", false);
	p.w.silent = true;
	wire_get(&p.w, &s, "GET", "/", true);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	proxy_reload(&p, "  - name: other\n    tier: core\n    routes: [\"/none\"]\n");
	h2_reset(p.w.served[0].stream, H2_ERR_REFUSED_STREAM, FAULT_OVERLOADED);
	WIRE_UNTIL(&p.w, p.w.count == 2);
	h2_respond(p.w.served[1].stream, proxy_ok, 1, true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	proxy_end(&p);
}

/* ---- recent state (P2) ---- */

#define KEPT "  - name: all\n    tier: core\n    routes: [\"/**\"]\n    state: { keep: true, shared: true }\n"

static void lose_backend(struct proxy *p)
{
	struct list *node;

	net_listener_destroy(p->listener);
	p->listener = NULL;
	close(p->listen_fd);
	p->listen_fd = -1;
	unlink(p->path);
	while ((node = list_first(&p->w.server.sessions))) {
		h2_close(h2_session_from_node(node), FAULT_SHUTTING_DOWN);
		wire_turn(&p->w, 1);
	}
	p->w.down = NULL;
	wire_turn(&p->w, 5);
}

/* What one client fetched with `first` is given to another who asks with `second`? */
static bool given_out(const struct h2_field *first, size_t n, const char *body, const struct h2_field *second, size_t m)
{
	struct proxy p;
	struct seen s;
	bool given;

	proxy_start(&p, KEPT, false);
	p.w.silent = true;
	proxy_ask(&p, &s, first, n, !body);
	if (body)
		proxy_write(s.stream, strlen(body), true);
	WIRE_UNTIL(&p.w, p.w.count == 1 && (p.w.served[0].what & H2_END));
	h2_respond(p.w.served[0].stream, proxy_ok, 1, false);
	proxy_write(p.w.served[0].stream, 10, true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.body, 10);
	lose_backend(&p);
	proxy_ask(&p, &s, second, m, true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	given = s.status == 200;
	proxy_end(&p);
	return given;
}

static void shared_state_is_what_all_would_get(void **state)
{
	struct h2_field plain[6] = { wire_field(":method", "GET"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				     wire_field(":path", "/") }, other[6];

	memcpy(other, plain, sizeof(other));
	assert_true(given_out(plain, 4, NULL, plain, 4));
	/* Two lines of a field the key covers. */
	plain[4] = wire_field("accept-language", "ko");
	plain[5] = wire_field("accept-language", "en");
	other[4] = wire_field("accept-language", "en");
	assert_false(given_out(plain, 6, NULL, other, 5));
	/* A session. */
	plain[4] = wire_field("cookie", "session=1");
	assert_false(given_out(plain, 5, NULL, other, 4));
	/* A question in the body. */
	assert_false(given_out(plain, 4, "q=1", other, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(get_passes), cmocka_unit_test(replay_is_whole), cmocka_unit_test(interim_outlives_its_attempt),
		cmocka_unit_test(tunnel_closes_half), cmocka_unit_test(tunnel_taken_back), cmocka_unit_test(upload_does_not_wait), cmocka_unit_test(forwarded_for_is_kept_whole),
		cmocka_unit_test(refused_head_has_no_body), cmocka_unit_test(mapped_addresses_are_many),
		cmocka_unit_test(trust_follows_the_configuration),
		cmocka_unit_test(reload_between_attempts), cmocka_unit_test(shared_state_is_what_all_would_get),
		cmocka_unit_test(looking_for_hoarders_is_bounded), /* last: it stops the clock */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
