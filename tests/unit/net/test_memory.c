/* SPDX-License-Identifier: MIT */
/*
 * What an idle connection costs in this room: N connections that have each answered
 * one request, their clients in another process. Heap in use is exact and asserted;
 * resident memory is printed. Usage: test [N]
 */
#include "net_test.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const unsigned char ticket_key[80] = "k";
static int count = 300;

static size_t heap(void)
{
	struct mallinfo2 m;

	buf_memory_trim(0);
	m = mallinfo2();
	return m.uordblks + m.hblkhd;
}

static long resident(void)
{
	long pages = 0, skip;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f && fscanf(f, "%ld %ld", &skip, &pages) != 2)
		pages = 0;
	if (f)
		fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

/* The clients: connect, send, wait for the echo of each, say so, stay until killed. */
static void clients(const int *fd, int ready, bool with_tls)
{
	struct net_loop *loop = net_loop_create();
	struct net_tls *tls = with_tls ? test_client("memory") : NULL;
	struct test_end *e = calloc((size_t)count, sizeof(*e));
	int i, done = 0;

	for (i = 0; i < count; i++) {
		e[i].conn = net_conn_adopt(loop, fd[i], NULL, tls, false, &test_handler, &e[i]);
		while (!e[i].opens)
			net_loop_turn(loop, 10);
		net_write(e[i].conn, "a request", 9);
		net_flush(e[i].conn);
	}
	for (i = 0; i < count; i++) {
		while (e[i].received < 9)
			net_loop_turn(loop, 10);
		done++;
	}
	if (write(ready, &done, sizeof(done)) == sizeof(done))
		pause();
	_exit(0);
}

static void on_ready(void *arg)
{
	*(bool *)arg = true;
}

static size_t cost_of_idle(bool with_tls)
{
	struct net_loop *loop = net_loop_create();
	struct net_tls *tls = with_tls ? test_server("memory", NULL, ticket_key) : NULL;
	struct test_end *e = calloc((size_t)count, sizeof(*e));
	int *fds = calloc((size_t)count * 2, sizeof(int)), ready[2], pair[2], i;
	struct net_watch *watch;
	bool done = false;
	size_t before, after;
	long rss;
	pid_t child;

	assert_int_equal(pipe(ready), 0);
	for (i = 0; i < count; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		fds[i] = pair[0];
		fds[count + i] = pair[1];
	}
	fflush(NULL);
	child = fork();
	if (!child)
		clients(fds + count, ready[1], with_tls);
	for (i = 0; i < count; i++)
		close(fds[count + i]);
	watch = net_watch(loop, ready[0], on_ready, &done);
	net_loop_turn(loop, 1);
	before = heap();
	rss = resident();
	for (i = 0; i < count; i++) {
		e[i].echo = e[i].discard = true;
		e[i].conn = net_conn_adopt(loop, fds[i], NULL, tls, true, &test_handler, &e[i]);
	}
	TURN_UNTIL(loop, done);
	net_loop_turn(loop, 1);
	after = heap();
	malloc_trim(0);
	printf("%s: %d idle connections, heap %zu octets each, resident %ld octets each\n", with_tls ? "TLS" : "cleartext", count,
	       (after - before) / (size_t)count, (resident() - rss) / count);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	for (i = 0; i < count; i++)
		net_close(e[i].conn, FAULT_IDLE_TIMEOUT);
	net_unwatch(watch);
	net_loop_turn(loop, 0);
	net_loop_destroy(loop);
	net_tls_put(tls);
	close(ready[0]);
	close(ready[1]);
	free(fds);
	free(e);
	return (after - before) / (size_t)count;
}

static void idle_connections_are_cheap(void **state)
{
#if defined(__SANITIZE_ADDRESS__)
	(void)cost_of_idle; /* the sanitizer's heap is not the one we ship */
#else
	assert_true(cost_of_idle(false) < 1024);
	assert_true(cost_of_idle(true) <= 16 * 1024);
#endif
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(idle_connections_are_cheap) };
	struct rlimit files;

	if (argc > 1)
		count = atoi(argv[1]);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	test_certificate("memory", TEST_ECDSA, "memory.test", "30");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
