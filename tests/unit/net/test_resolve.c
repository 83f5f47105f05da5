/* SPDX-License-Identifier: MIT */
/* Names against a name server of the test's own: answers, silence, and changes of
 * the files that say whom to ask. */
#include "net_test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "../../../src/net/net_private.h"

struct answer {
	int calls;
	size_t n;
	char first[64];
};

static void on_done(void *user, const struct net_addr *addrs, size_t n)
{
	struct answer *a = user;

	a->calls++;
	a->n = n;
	a->first[0] = 0;
	if (n)
		net_addr_print(&addrs[0], false, a->first, sizeof(a->first));
}

static int server;
static int queries;
static bool silent;

/* Answers A questions with 10.1.2.3, others with nothing. */
static void on_query(void *arg)
{
	unsigned char q[512];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(server, q, sizeof(q) - 16, 0, (struct sockaddr *)&from, &len);
	static const unsigned char record[16] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3 };
	bool is_a;

	if (n < 17)
		return;
	queries++;
	if (silent)
		return;
	is_a = q[n - 3] == 1;
	q[2] |= 0x80;
	q[3] = 0x80;
	q[7] = is_a;
	if (is_a)
		memcpy(q + n, record, 16);
	sendto(server, q, (size_t)n + (is_a ? 16 : 0), 0, (struct sockaddr *)&from, len);
}

static char conf_file[128], hosts_file[128];

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	fputs(text, f);
	fclose(f);
}

static struct net_loop *loop;
static struct net_watch *watch;

static int setup(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	char text[160];

	server = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (bind(server, (struct sockaddr *)&sin, len) || getsockname(server, (struct sockaddr *)&sin, &len))
		return -1;
	snprintf(conf_file, sizeof(conf_file), "%s/resolv.conf", test_dir());
	snprintf(hosts_file, sizeof(hosts_file), "%s/hosts", test_dir());
	snprintf(text, sizeof(text), "nameserver 127.0.0.1:%u\n", ntohs(sin.sin_port));
	write_file(conf_file, text);
	write_file(hosts_file, "10.9.9.9 known.test\n");
	resolve_conf_path = conf_file;
	resolve_hosts_path = hosts_file;
	queries = 0;
	silent = false;
	loop = net_loop_create();
	watch = net_watch(loop, server, on_query, NULL);
	return 0;
}

static int teardown(void **state)
{
	net_unwatch(watch);
	net_loop_destroy(loop);
	close(server);
	return 0;
}

static void numeric_ones_at_once(void **state)
{
	static const struct {
		const char *text, *first;
	} table[] = {
		{ "1.2.3.4:80", "1.2.3.4:80" }, { "[::1]:80", "[::1]:80" }, { "unix:/run/x", "unix:" },
		{ "", NULL }, { "name", NULL }, { "name:", NULL }, { "name:x", NULL }, { "name:70000", NULL }, { "a:b:1", NULL }, { ":80", NULL },
	};
	struct answer a;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		memset(&a, 0, sizeof(a));
		assert_null(net_resolve(loop, table[i].text, 1000, on_done, &a));
		assert_int_equal(a.calls, 1);
		assert_int_equal(a.n, table[i].first != NULL);
		if (table[i].first)
			assert_string_equal(a.first, table[i].first);
	}
	assert_int_equal(queries, 0);
}

static void asks_hosts_then_the_server(void **state)
{
	struct answer a = { 0 };

	net_resolve(loop, "known.test:8080", 1000, on_done, &a);
	TURN_UNTIL(loop, a.calls);
	assert_string_equal(a.first, "10.9.9.9:8080");
	assert_int_equal(queries, 0);
	memset(&a, 0, sizeof(a));
	assert_non_null(net_resolve(loop, "elsewhere.test:9090", 1000, on_done, &a));
	assert_int_equal(a.calls, 0);
	TURN_UNTIL(loop, a.calls);
	assert_int_equal(a.n, 1);
	assert_string_equal(a.first, "10.1.2.3:9090");
	net_loop_turn(loop, 10);
	assert_int_equal(a.calls, 1);
	/* A changed file is read without a restart. */
	write_file(hosts_file, "10.9.9.9 known.test\n10.8.8.8 elsewhere.test\n");
	memset(&a, 0, sizeof(a));
	net_resolve(loop, "elsewhere.test:9090", 1000, on_done, &a);
	TURN_UNTIL(loop, a.calls);
	assert_string_equal(a.first, "10.8.8.8:9090");
}

static void silence_ends(void **state)
{
	struct answer a = { 0 };
	int64_t began = clock_tick();

	silent = true;
	assert_non_null(net_resolve(loop, "slow.test:1", 60, on_done, &a));
	TURN_UNTIL(loop, a.calls);
	assert_int_equal(a.n, 0);
	assert_true(clock_now() - began >= 59 * CLOCK_MS && clock_now() - began < 2000 * CLOCK_MS);
	net_loop_turn(loop, 10);
	net_loop_turn(loop, 10);
	assert_int_equal(a.calls, 1);
	assert_true(list_empty(&loop->resolving));
}

static void cancelled_ones_stay_silent(void **state)
{
	struct answer a = { 0 };

	silent = true;
	net_resolve_cancel(net_resolve(loop, "slow.test:1", 60, on_done, &a));
	net_loop_turn(loop, 30);
	net_loop_turn(loop, 70);
	assert_int_equal(a.calls, 0);
	assert_true(list_empty(&loop->resolving));
	net_resolve_cancel(NULL);
}

/* The loop goes while a name is still being asked for. */
static void unfinished_ones_die_with_the_loop(void **state)
{
	struct answer a = { 0 };
	struct net_resolve *r;

	silent = true;
	r = net_resolve(loop, "slow.test:1", 60000, on_done, &a);
	net_loop_turn(loop, 5);
	net_resolve_cancel(r);
	r = net_resolve(loop, "slower.test:1", 60000, on_done, &a);
	assert_non_null(r);
	net_loop_turn(loop, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(numeric_ones_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(asks_hosts_then_the_server, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(cancelled_ones_stay_silent, setup, teardown),
		cmocka_unit_test_setup_teardown(unfinished_ones_die_with_the_loop, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
