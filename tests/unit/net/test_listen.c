/* SPDX-License-Identifier: MIT */
/* Listening sockets, accepting, and connecting: what goes wrong and what is said. */
#include "net_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "firebreak/clock.h"

static char why[256];

struct accepted {
	int count;
	int fd[256];
	struct net_addr peer;
	struct net_listener *destroy;
};

static void on_accept(void *user, struct net_accepted a)
{
	struct accepted *acc = user;

	acc->peer = a.peer;
	acc->fd[acc->count++ % 256] = a.fd;
	net_listener_destroy(acc->destroy);
}

static void close_all(struct accepted *acc)
{
	while (acc->count)
		close(acc->fd[--acc->count]);
}

static struct net_addr bound(int fd)
{
	struct net_addr a = { .len = sizeof(a.sa) };

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a.sa, &a.len), 0);
	return a;
}

static int dial(const struct net_addr *a)
{
	int fd = socket(a->sa.ss_family, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&a->sa, a->len), 0);
	return fd;
}

static void accepts_and_says_who(void **state)
{
	static const char *const addresses[] = { "127.0.0.1:0", "[::1]:0" };
	struct net_loop *loop = net_loop_create();
	struct accepted acc = { 0 };
	struct net_listener *l;
	struct net_addr a;
	char text[64];
	int fd, client, i, on = 0;
	socklen_t len = sizeof(on);

	for (i = 0; i < 2; i++) {
		fd = net_listen_open(addresses[i], why, sizeof(why));
		if (fd < 0)
			fail_msg("%s", why);
		a = bound(fd);
		l = net_listener_create(loop, fd, on_accept, &acc);
		client = dial(&a);
		TURN_UNTIL(loop, acc.count == 1);
		net_addr_print(&acc.peer, true, text, sizeof(text));
		assert_string_equal(text, i ? "::1" : "127.0.0.1");
		assert_int_equal(getsockopt(acc.fd[0], IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, &len), 0);
		assert_true(on);
		assert_true(fcntl(acc.fd[0], F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(acc.fd[0], F_GETFD) & FD_CLOEXEC);
		close(client);
		close_all(&acc);
		net_listener_destroy(l);
		net_loop_turn(loop, 0);
		close(fd);
	}
	net_loop_destroy(loop);
}

static void batches_are_bounded(void **state)
{
	struct net_loop *loop = net_loop_create();
	struct accepted acc = { 0 };
	int clients[100], i, fd = net_listen_open("127.0.0.1:0", why, sizeof(why));
	struct net_addr a = bound(fd);
	struct net_listener *l = net_listener_create(loop, fd, on_accept, &acc);

	for (i = 0; i < 100; i++)
		clients[i] = dial(&a);
	net_loop_turn(loop, 100);
	assert_int_equal(acc.count, 64);
	TURN_UNTIL(loop, acc.count == 100);
	for (i = 0; i < 100; i++)
		close(clients[i]);
	close_all(&acc);
	acc.destroy = l; /* from inside its own callback */
	clients[0] = dial(&a);
	clients[1] = dial(&a);
	TURN_UNTIL(loop, acc.count == 1);
	net_loop_turn(loop, 10);
	assert_int_equal(acc.count, 1); /* the second one waits in the socket */
	acc.destroy = NULL;
	l = net_listener_create(loop, fd, on_accept, &acc);
	TURN_UNTIL(loop, acc.count == 2);
	close(clients[0]);
	close(clients[1]);
	close_all(&acc);
	net_listener_destroy(l);
	close(fd);
	net_loop_destroy(loop);
}

/* Without descriptors nothing is lost and nothing spins: it rests and goes on. */
static void rests_without_descriptors(void **state)
{
	struct net_loop *loop = net_loop_create();
	struct accepted acc = { 0 };
	struct rlimit old, low;
	int client, i, fd = net_listen_open("127.0.0.1:0", why, sizeof(why));
	struct net_addr a = bound(fd);
	struct net_listener *l = net_listener_create(loop, fd, on_accept, &acc);
	uint64_t before, after;
	int64_t busy;

	client = dial(&a);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)client; /* every number below is taken */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	net_loop_turn(loop, 10);
	net_loop_stats(loop, &before, &busy);
	for (i = 0; i < 5; i++)
		net_loop_turn(loop, 10);
	net_loop_stats(loop, &after, &busy);
	assert_int_equal(acc.count, 0);
	assert_int_equal(after - before, 5);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	TURN_UNTIL(loop, acc.count == 1);
	close(client);
	close_all(&acc);
	net_listener_destroy(l);
	close(fd);
	net_loop_destroy(loop);
}

static void refuses_with_a_reason(void **state)
{
	static const struct {
		const char *address, *says;
	} table[] = {
		{ "localhost:80", "expected" },
		{ "unix:/nonexistent/dir/x.sock", "No such file" },
		{ "192.0.2.1:8080", "no interface" },
	};
	int fd, other;
	struct net_addr a;
	char text[64];
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		assert_int_equal(net_listen_open(table[i].address, why, sizeof(why)), -1);
		if (!strstr(why, table[i].says))
			fail_msg("%s", why);
	}
	/* A stranger's port, even one opened with SO_REUSEPORT by the same user. */
	other = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &(int){ 1 }, sizeof(int));
	assert_true(net_addr_parse(&a, "127.0.0.1:0"));
	assert_int_equal(bind(other, (struct sockaddr *)&a.sa, a.len), 0);
	assert_int_equal(listen(other, 1), 0);
	a = bound(other);
	net_addr_print(&a, false, text, sizeof(text));
	assert_int_equal(net_listen_open(text, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "another process"));
	close(other);
	/* Ours again and again: one socket for each worker. */
	fd = net_listen_open(text, why, sizeof(why));
	assert_true(fd >= 0);
	other = net_listen_open(text, why, sizeof(why));
	assert_true(other >= 0);
	close(fd);
	close(other);
}

static void unix_sockets(void **state)
{
	char text[128], path[100];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/listen.sock", test_dir());
	snprintf(text, sizeof(text), "unix:%s", path);
	fd = net_listen_open(text, why, sizeof(why));
	assert_true(fd >= 0);
	assert_int_equal(net_listen_open(text, why, sizeof(why)), -1); /* alive */
	assert_non_null(strstr(why, "another process"));
	close(fd);
	fd = net_listen_open(text, why, sizeof(why)); /* stale */
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600); /* no socket: not ours to remove */
	close(fd);
	assert_int_equal(net_listen_open(text, why, sizeof(why)), -1);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
}

static struct net_conn *connect_to(struct net_loop *loop, const char *text, const struct net_addr *to, uint32_t ms, struct test_end *e)
{
	struct net_addr a;

	memset(e, 0, sizeof(*e));
	if (text)
		assert_true(net_addr_parse(&a, text));
	else
		a = *to;
	e->conn = net_conn_connect(loop, &a, NULL, NULL, ms, &test_handler, e);
	assert_non_null(e->conn);
	assert_int_equal(e->closes + e->opens, 0); /* never from inside */
	return e->conn;
}

static void connects(void **state)
{
	static const char *const addresses[] = { "127.0.0.1:0", "[::1]:0", NULL };
	struct net_loop *loop = net_loop_create();
	struct test_end e;
	struct net_addr a;
	char text[128], got[8];
	int fd, server, i;

	for (i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "unix:%s/c.sock", test_dir());
		fd = net_listen_open(addresses[i] ? addresses[i] : text, why, sizeof(why));
		a = bound(fd);
		if (!addresses[i])
			assert_true(net_addr_parse(&a, text));
		connect_to(loop, NULL, &a, 1000, &e);
		TURN_UNTIL(loop, e.opens);
		assert_true(net_conn_open(e.conn));
		server = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
		assert_true(server >= 0);
		assert_true(net_write(e.conn, "hi", 2));
		net_flush(e.conn);
		assert_int_equal(read(server, got, 8), 2);
		close(server);
		TURN_UNTIL(loop, e.eofs);
		net_close(e.conn, FAULT_UPSTREAM_CLOSED);
		net_loop_turn(loop, 0);
		assert_int_equal(e.closes, 1);
		close(fd);
	}
	net_loop_destroy(loop);
}

static void failures_are_told_apart(void **state)
{
	struct net_loop *loop = net_loop_create();
	struct test_end e;
	struct net_addr a;
	int fd = net_listen_open("127.0.0.1:0", why, sizeof(why));
	char text[128];

	a = bound(fd);
	close(fd); /* nobody listens there now */
	connect_to(loop, NULL, &a, 5000, &e);
	TURN_UNTIL(loop, e.closes);
	assert_int_equal(e.fault, FAULT_CONNECT_REFUSED);
	snprintf(text, sizeof(text), "unix:%s/absent.sock", test_dir());
	connect_to(loop, text, NULL, 5000, &e);
	TURN_UNTIL(loop, e.closes);
	assert_int_equal(e.fault, FAULT_CONNECT_REFUSED);
	connect_to(loop, "255.255.255.255:9", NULL, 5000, &e); /* no route for a stream */
	TURN_UNTIL(loop, e.closes);
	assert_int_equal(e.fault, FAULT_CONNECT_FAILED);
	assert_int_equal(e.opens, 0);
	connect_to(loop, NULL, &a, 5000, &e); /* given up before it began */
	net_close(e.conn, FAULT_UPSTREAM_GONE);
	net_loop_turn(loop, 0);
	assert_int_equal(e.closes, 1);
	assert_int_equal(e.fault, FAULT_UPSTREAM_GONE);
	net_loop_destroy(loop);
}

/* A full accept queue drops SYNs: the connect hangs like one into a dead datacenter. */
static void silence_times_out(void **state)
{
	struct net_loop *loop = net_loop_create();
	struct test_end e, filler[8];
	struct net_addr a;
	int i, fd = socket(AF_INET, SOCK_STREAM, 0);
	int64_t began;

	assert_true(net_addr_parse(&a, "127.0.0.1:0"));
	assert_int_equal(bind(fd, (struct sockaddr *)&a.sa, a.len), 0);
	assert_int_equal(listen(fd, 0), 0);
	a = bound(fd);
	for (i = 0; i < 8; i++)
		connect_to(loop, NULL, &a, 0, &filler[i]);
	net_loop_turn(loop, 10);
	connect_to(loop, NULL, &a, 80, &e);
	began = clock_now();
	TURN_UNTIL(loop, e.closes);
	assert_int_equal(e.fault, FAULT_CONNECT_TIMEOUT);
	assert_true(clock_now() - began >= 79 * CLOCK_MS);
	assert_true(clock_now() - began < 1000 * CLOCK_MS);
	for (i = 0; i < 8; i++)
		net_close(filler[i].conn, FAULT_UPSTREAM_GONE);
	net_loop_turn(loop, 0);
	close(fd);
	net_loop_destroy(loop);
}

/* It takes the connection and never says a word: the deadline covers TLS, too. */
static void silent_handshake_times_out(void **state)
{
	struct net_loop *loop = net_loop_create();
	struct net_tls *tls = test_client(NULL);
	struct test_end e = { 0 };
	int fd = net_listen_open("127.0.0.1:0", why, sizeof(why));
	struct net_addr a = bound(fd);

	e.conn = net_conn_connect(loop, &a, tls, "x.test", 50, &test_handler, &e);
	TURN_UNTIL(loop, e.closes);
	assert_int_equal(e.opens, 0);
	assert_int_equal(e.fault, FAULT_CONNECT_TIMEOUT);
	close(fd);
	net_tls_put(tls);
	net_loop_destroy(loop);
}

/* A large request is still under way when we refuse it: the refusal arrives. */
static void last_words_are_not_reset_away(void **state)
{
	struct net_loop *loop = net_loop_create();
	struct test_end e = { .discard = true };
	int server, client, fd = net_listen_open("127.0.0.1:0", why, sizeof(why));
	struct net_addr a = bound(fd);
	char block[65536] = { 0 }, got[32] = "";
	ssize_t n;

	client = dial(&a);
	server = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
	e.conn = net_conn_adopt(loop, server, &a, NULL, true, &test_handler, &e);
	TURN_UNTIL(loop, e.opens);
	net_read_pause(e.conn, true);
	assert_int_equal(write(client, block, sizeof(block)), sizeof(block));
	assert_true(net_write(e.conn, "refused", 7));
	net_flush(e.conn);
	net_close(e.conn, FAULT_BODY_TOO_LARGE);
	net_loop_turn(loop, 0);
	assert_int_equal(e.closes, 1);
	n = read(client, got, sizeof(got));
	assert_int_equal(n, 7);
	assert_string_equal(got, "refused");
	close(client);
	close(fd);
	net_loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_and_says_who),
		cmocka_unit_test(batches_are_bounded),
		cmocka_unit_test(rests_without_descriptors),
		cmocka_unit_test(refuses_with_a_reason),
		cmocka_unit_test(unix_sockets),
		cmocka_unit_test(connects),
		cmocka_unit_test(failures_are_told_apart),
		cmocka_unit_test(silence_times_out),
		cmocka_unit_test(silent_handshake_times_out),
		cmocka_unit_test(last_words_are_not_reset_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
