/* SPDX-License-Identifier: MIT */
/*
 * The n-th allocation fails, for every n, while two ends connect over TLS and talk.
 * Allocations of OpenSSL and libevent go through their own hooks, so this works under
 * sanitizers as well. Either the bytes arrive, or both ends are told that it is over.
 */
#include "net_test.h"

#include <event2/event.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static long countdown; /* 0: off */
static bool failed;

static bool fails(void)
{
	if (!countdown || --countdown)
		return false;
	failed = true;
	return true;
}

static void *ssl_malloc(size_t n, const char *file, int line) { return fails() ? NULL : malloc(n); }
static void *ssl_realloc(void *p, size_t n, const char *file, int line) { return fails() ? NULL : realloc(p, n); }
static void ssl_free(void *p, const char *file, int line) { free(p); }
static void *event_malloc(size_t n) { return fails() ? NULL : malloc(n); }
static void *event_realloc(void *p, size_t n) { return fails() ? NULL : realloc(p, n); }

static const unsigned char ticket_key[80] = "k";
static struct net_tls *server_tls, *client_tls;

/* One connection's life. False: an end could not even be made. */
static void talk(struct net_loop *loop, long n)
{
	struct test_end s = { .echo = true }, c = { 0 };
	int fds[2], turns;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	countdown = n;
	s.conn = net_conn_adopt(loop, fds[0], NULL, server_tls, true, &test_handler, &s);
	c.conn = net_conn_adopt(loop, fds[1], NULL, client_tls, false, &test_handler, &c);
	for (turns = 0; turns < 50 && s.conn && c.conn && !(s.eofs || c.eofs) && !(c.opens && s.opens); turns++)
		net_loop_turn(loop, 1);
	if (c.conn && c.opens && !s.eofs && net_write(c.conn, "hello", 5))
		net_flush(c.conn);
	for (turns = 0; turns < 50 && s.conn && c.conn && !(s.eofs || c.eofs) && c.received < 5; turns++)
		net_loop_turn(loop, 1);
	countdown = 0;
	/* It worked, or somebody noticed. */
	assert_true(c.received == 5 || !s.conn || !c.conn || s.eofs || c.eofs);
	if (s.conn)
		net_close(s.conn, FAULT_CLIENT_GONE);
	if (c.conn)
		net_close(c.conn, FAULT_CLIENT_GONE);
	net_loop_turn(loop, 0);
	assert_null(s.conn);
	assert_null(c.conn);
	buf_clear(&s.got);
	buf_clear(&c.got);
	ERR_clear_error();
}

static void any_allocation_may_fail(void **state)
{
	struct net_loop *loop = net_loop_create();
	long n;

	talk(loop, 0); /* what is made once is made */
	for (n = 1; n < 20000; n += n < 400 ? 1 : 7) {
		failed = false;
		talk(loop, n);
		if (!failed)
			break; /* n is more than a connection needs */
	}
	assert_true(n > 100 && n < 20000);
	talk(loop, 0);
	net_loop_destroy(loop);
	assert_int_equal(buf_memory(), 0);
}

static void making_a_loop_may_fail(void **state)
{
	struct net_loop *loop;
	long n;

	for (n = 1; n < 1000; n++) {
		failed = false;
		countdown = n;
		loop = net_loop_create();
		countdown = 0;
		net_loop_destroy(loop);
		if (!failed)
			break;
	}
	assert_true(n > 3 && n < 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_allocation_may_fail),
		cmocka_unit_test(making_a_loop_may_fail),
	};
	int r;

	if (!CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free))
		return 1;
	event_set_mem_functions(event_malloc, event_realloc, free);
	test_certificate("alloc", TEST_ECDSA, "alloc.test", "30");
	server_tls = test_server("alloc", NULL, ticket_key);
	client_tls = test_client("alloc");
	r = cmocka_run_group_tests(tests, NULL, NULL);
	net_tls_put(server_tls);
	net_tls_put(client_tls);
	return r;
}
