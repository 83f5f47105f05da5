/* SPDX-License-Identifier: MIT */
/* A connection over a socket pair, in cleartext and in TLS: the same table of
 * behaviours for both. */
#include "net_test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const unsigned char ticket_key[80] = "sixteen octets..";

struct pair {
	struct net_loop *loop;
	struct net_tls *server_tls, *client_tls;
	struct test_end server, client;
};

static int small_buffer = 8192;

/* Both ends of a socket pair in one loop; nothing has happened yet. */
static void pair_init(struct pair *p, bool tls)
{
	int fds[2];

	*p = (struct pair){ .loop = net_loop_create() };
	assert_non_null(p->loop);
	if (tls) {
		p->server_tls = test_server("pair", NULL, ticket_key);
		p->client_tls = test_client("pair");
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small_buffer, sizeof(small_buffer));
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small_buffer, sizeof(small_buffer));
	p->server.conn = net_conn_adopt(p->loop, fds[0], NULL, p->server_tls, true, &test_handler, &p->server);
	p->client.conn = net_conn_adopt(p->loop, fds[1], NULL, p->client_tls, false, &test_handler, &p->client);
	assert_non_null(p->server.conn);
	assert_non_null(p->client.conn);
	assert_int_equal(p->server.opens + p->client.opens, 0); /* never from inside */
}

static void pair_open(struct pair *p, bool tls)
{
	pair_init(p, tls);
	TURN_UNTIL(p->loop, p->server.opens && p->client.opens);
}

static void pair_finish(struct pair *p)
{
	if (p->server.conn)
		net_close(p->server.conn, FAULT_CLIENT_GONE);
	if (p->client.conn)
		net_close(p->client.conn, FAULT_CLIENT_GONE);
	net_loop_turn(p->loop, 0);
	assert_int_equal(p->server.closes, 1);
	assert_int_equal(p->client.closes, 1);
	buf_clear(&p->server.got);
	buf_clear(&p->client.got);
	net_loop_destroy(p->loop);
	net_tls_put(p->server_tls);
	net_tls_put(p->client_tls);
	assert_int_equal(buf_memory(), 0);
}

static void send_text(struct test_end *e, const char *text)
{
	assert_true(net_write(e->conn, text, strlen(text)));
	net_flush(e->conn);
}

static void expect_text(struct test_end *e, const char *text)
{
	char got[256] = "";

	assert_int_equal(e->got.len, strlen(text));
	buf_peek(&e->got, got, sizeof(got) - 1);
	assert_string_equal(got, text);
	buf_clear(&e->got);
}

#define TLS_OF(state) (*(const bool *)*(state))

static void exchanges_bytes(void **state)
{
	struct pair p;

	pair_open(&p, TLS_OF(state));
	send_text(&p.client, "hello");
	assert_int_equal(net_pending(p.client.conn), 0);
	assert_int_equal(net_stuck_since(p.client.conn), 0);
	TURN_UNTIL(p.loop, p.server.got.len == 5);
	expect_text(&p.server, "hello");
	send_text(&p.server, "to you, too");
	TURN_UNTIL(p.loop, p.client.got.len == 11);
	expect_text(&p.client, "to you, too");
	if (TLS_OF(state)) {
		assert_string_equal(net_conn_tls_version(p.server.conn), "TLSv1.3");
		assert_true(net_conn_alpn_h2(p.server.conn));
		assert_true(net_conn_alpn_h2(p.client.conn));
	} else {
		assert_null(net_conn_tls_version(p.server.conn));
	}
	pair_finish(&p);
}

static void nothing_leaves_before_flush(void **state)
{
	struct pair p;

	pair_open(&p, TLS_OF(state));
	while (p.client.calls) /* post-handshake tickets are not bytes */
		fail();
	assert_true(net_write(p.client.conn, "ab", 2));
	assert_true(net_write(p.client.conn, "cd", 2));
	assert_true(net_pending(p.client.conn) >= 4);
	net_loop_turn(p.loop, 0);
	net_loop_turn(p.loop, 0);
	assert_int_equal(p.server.got.len, 0);
	net_flush(p.client.conn);
	TURN_UNTIL(p.loop, p.server.got.len == 4);
	assert_int_equal(p.server.calls, 1); /* one record, one piece */
	expect_text(&p.server, "abcd");
	pair_finish(&p);
}

/* Two writers in one turn share the loop's scratch: neither gets the other's bytes. */
static void writers_do_not_mix(void **state)
{
	struct pair p;

	pair_open(&p, TLS_OF(state));
	assert_true(net_write(p.client.conn, "from client", 11));
	assert_true(net_write(p.server.conn, "from server", 11));
	assert_true(net_write(p.client.conn, "!", 1));
	net_flush(p.client.conn);
	net_flush(p.server.conn);
	TURN_UNTIL(p.loop, p.server.got.len == 12 && p.client.got.len == 11);
	expect_text(&p.server, "from client!");
	expect_text(&p.client, "from server");
	pair_finish(&p);
}

#define BIG (3 * 1024 * 1024 + 77)

static void carries_big_transfers(void **state)
{
	struct pair p;
	unsigned char *sent = malloc(BIG), *got = malloc(BIG);
	size_t i;

	for (i = 0; i < BIG; i++)
		sent[i] = (unsigned char)(i * 31 + i / 253);
	pair_open(&p, TLS_OF(state));
	for (i = 0; i < BIG; i += 50000)
		assert_true(net_write(p.server.conn, sent + i, BIG - i < 50000 ? BIG - i : 50000));
	net_flush(p.server.conn);
	assert_true(net_pending(p.server.conn) > BIG / 2);
	assert_true(net_stuck_since(p.server.conn) > 0);
	TURN_UNTIL(p.loop, p.client.received == BIG);
	assert_int_equal(buf_peek(&p.client.got, got, BIG), BIG);
	assert_memory_equal(sent, got, BIG);
	net_loop_turn(p.loop, 0);
	assert_int_equal(p.server.drains, 1);
	assert_int_equal(net_stuck_since(p.server.conn), 0);
	pair_finish(&p);
	free(sent);
	free(got);
}

static void moves_chains(void **state)
{
	struct pair p;
	struct buf chain = { 0 };
	unsigned char *sent = malloc(100000), *got = malloc(100000);
	size_t i;

	for (i = 0; i < 100000; i++)
		sent[i] = (unsigned char)(i * 7 + i / 251);
	pair_open(&p, TLS_OF(state));
	assert_true(buf_append(&chain, sent, 100000));
	assert_true(net_write_buf(p.client.conn, &chain, 99000));
	assert_int_equal(chain.len, 1000);
	assert_true(net_write_buf(p.client.conn, &chain, 1000));
	net_flush(p.client.conn);
	TURN_UNTIL(p.loop, p.server.received == 100000);
	buf_peek(&p.server.got, got, 100000);
	assert_memory_equal(sent, got, 100000);
	pair_finish(&p);
	free(sent);
	free(got);
}

static void pause_holds_bytes_back(void **state)
{
	struct pair p;
	char block[10000] = { 0 };
	size_t held;
	int i;

	pair_open(&p, TLS_OF(state));
	p.server.pause_on_bytes = true;
	for (i = 0; i < 100; i++)
		assert_true(net_write(p.client.conn, block, sizeof(block)));
	net_flush(p.client.conn);
	for (i = 0; i < 20; i++)
		net_loop_turn(p.loop, 1);
	assert_int_equal(p.server.calls, 1);
	held = net_pending(p.client.conn);
	assert_true(held > 500000); /* it waits at the sender */
	assert_true(net_stuck_since(p.client.conn) > 0);
	p.server.pause_on_bytes = false;
	net_read_pause(p.server.conn, false);
	TURN_UNTIL(p.loop, p.server.received == 1000000);
	pair_finish(&p);
}

static void eof_comes_once(void **state)
{
	struct pair p;

	pair_open(&p, TLS_OF(state));
	send_text(&p.client, "last words");
	net_close(p.client.conn, FAULT_CLIENT_GONE);
	assert_int_equal(p.client.closes, 0);
	TURN_UNTIL(p.loop, p.server.eofs);
	net_loop_turn(p.loop, 0);
	net_loop_turn(p.loop, 0);
	assert_int_equal(p.server.eofs, 1);
	assert_int_equal(p.client.closes, 1);
	expect_text(&p.server, "last words");
	pair_finish(&p);
}

static void unflushed_bytes_leave_with_close(void **state)
{
	struct pair p;

	pair_open(&p, TLS_OF(state));
	assert_true(net_write(p.client.conn, "goaway", 6));
	net_close(p.client.conn, FAULT_SHUTTING_DOWN);
	net_close(p.client.conn, FAULT_INTERNAL); /* the first word counts */
	assert_false(net_write(p.client.conn, "x", 1));
	TURN_UNTIL(p.loop, p.server.eofs);
	expect_text(&p.server, "goaway");
	assert_int_equal(p.client.fault, FAULT_SHUTTING_DOWN);
	pair_finish(&p);
}

static void closes_inside_callbacks(void **state)
{
	struct pair p;

	pair_open(&p, TLS_OF(state));
	p.server.close_on_bytes = true;
	send_text(&p.client, "x");
	TURN_UNTIL(p.loop, p.server.closes);
	assert_int_equal(p.server.fault, FAULT_INTERNAL);
	pair_finish(&p);

	pair_init(&p, TLS_OF(state));
	p.server.close_on_open = true;
	TURN_UNTIL(p.loop, p.server.closes && (p.client.eofs || p.client.closes));
	assert_int_equal(p.server.opens, 1);
	pair_finish(&p);

	pair_open(&p, TLS_OF(state));
	p.server.close_on_eof = true;
	net_close(p.client.conn, FAULT_CLIENT_GONE);
	TURN_UNTIL(p.loop, p.server.closes);
	assert_int_equal(p.server.eofs, 1);
	pair_finish(&p);
}

/* The peer vanishes without a word: in TLS as well this is an end, not an error;
 * HTTP/2 and RESP know by themselves whether something is missing. */
static void truncation_is_an_end(void **state)
{
	struct net_loop *loop = net_loop_create();
	struct test_end e = { 0 };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	e.conn = net_conn_adopt(loop, fds[0], NULL, NULL, true, &test_handler, &e);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	close(fds[1]);
	TURN_UNTIL(loop, e.eofs);
	assert_int_equal(e.opens, 1);
	assert_int_equal(e.received, 3);
	net_close(e.conn, FAULT_CLIENT_GONE);
	net_loop_turn(loop, 0);
	assert_int_equal(e.closes, 1);
	buf_clear(&e.got);
	net_loop_destroy(loop);
}

/* The peer is gone while we write: its last words are still delivered. */
static void last_words_survive_a_failed_write(void **state)
{
	struct net_loop *loop = net_loop_create();
	struct test_end e = { 0 };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	e.conn = net_conn_adopt(loop, fds[0], NULL, NULL, false, &test_handler, &e);
	TURN_UNTIL(loop, e.opens);
	assert_int_equal(write(fds[1], "bye", 3), 3);
	close(fds[1]);
	assert_true(net_write(e.conn, "too late", 8));
	net_flush(e.conn); /* EPIPE */
	assert_true(net_write(e.conn, "more", 4));
	net_flush(e.conn);
	TURN_UNTIL(loop, e.closes);
	expect_text(&e, "bye");
	assert_int_equal(e.fault, FAULT_UPSTREAM_CLOSED);
	net_loop_destroy(loop);
}

static void memory_limit_ends_the_connection(void **state)
{
	struct pair p;
	static char block[60000];
	int i;

	pair_open(&p, TLS_OF(state));
	p.client.discard = true;
	net_read_pause(p.client.conn, true);
	buf_memory_limit(200000);
	for (i = 0; i < 10 && net_write(p.server.conn, block, sizeof(block)); i++)
		;
	assert_true(i < 10);
	assert_true(buf_memory() <= 200000);
	net_flush(p.server.conn);
	buf_memory_limit(0);
	net_loop_turn(p.loop, 0);
	assert_int_equal(p.server.closes, 1);
	assert_int_equal(p.server.fault, FAULT_NO_MEMORY);
	pair_finish(&p);
}

int main(void)
{
	static bool clear = false, tls = true;
#define BOTH(f) { #f " (cleartext)", f, NULL, NULL, &clear }, { #f " (TLS)", f, NULL, NULL, &tls }
	const struct CMUnitTest tests[] = {
		BOTH(exchanges_bytes),
		BOTH(nothing_leaves_before_flush),
		BOTH(writers_do_not_mix),
		BOTH(carries_big_transfers),
		BOTH(moves_chains),
		BOTH(pause_holds_bytes_back),
		BOTH(eof_comes_once),
		BOTH(unflushed_bytes_leave_with_close),
		BOTH(closes_inside_callbacks),
		BOTH(memory_limit_ends_the_connection),
		cmocka_unit_test(truncation_is_an_end),
		cmocka_unit_test(last_words_survive_a_failed_write),
	};

	test_certificate("pair", TEST_ECDSA, "pair.test", "30");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
