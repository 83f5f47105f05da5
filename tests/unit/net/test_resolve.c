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
	uint32_t ttl;
	char first[64], last[64];
};

static void on_done(void *user, const struct net_addr *addrs, size_t n, uint32_t ttl_s)
{
	struct answer *a = user;

	a->calls++;
	a->n = n;
	a->ttl = ttl_s;
	a->first[0] = a->last[0] = 0;
	if (!n)
		return;
	net_addr_print(&addrs[0], false, a->first, sizeof(a->first));
	net_addr_print(&addrs[n - 1], false, a->last, sizeof(a->last));
}

/* What the name server does with a question of a family. */
enum manner { ANSWER, NOTHING_THERE, NO_SUCH_NAME, FAIL, SILENCE, LIE };
static enum manner v4, v6;
static unsigned ttl, many;
static int server;
static int queries;

/* Records of 10.1.2.3, 10.1.2.4 ... or fd00::1, fd00::2 ... */
static size_t add_records(unsigned char *to, bool is_a)
{
	static const unsigned char fd00[16] = { 0xfd };
	size_t n = 0;
	unsigned i;

	for (i = 0; i < many; i++) {
		const unsigned char head[12] = { 0xc0, 12, 0, is_a ? 1 : 28, 0, 1, 0, 0, (unsigned char)(ttl >> 8), (unsigned char)ttl, 0, is_a ? 4 : 16 };

		memcpy(to + n, head, sizeof(head));
		memcpy(to + n + 12, is_a ? (const unsigned char[16]){ 10, 1, 2, 3 } : fd00, 16);
		to[n + (is_a ? 15 : 27)] += (unsigned char)(is_a ? i : i + 1);
		n += is_a ? 16 : 28;
	}
	return n;
}

static void on_query(void *arg)
{
	unsigned char q[512];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(server, q, 256, 0, (struct sockaddr *)&from, &len);
	enum manner m;
	bool is_a;

	if (n < 17)
		return;
	queries++;
	is_a = q[n - 3] == 1;
	m = is_a ? v4 : v6;
	if (m == SILENCE)
		return;
	q[2] |= 0x80;
	q[3] = m == NO_SUCH_NAME ? 0x83 : m == FAIL ? 0x82 : 0x80;
	if (m == LIE) { /* an answer to another question */
		q[0] ^= 0x55;
		m = ANSWER;
	}
	if (m == ANSWER) {
		q[7] = (unsigned char)many;
		n += (ssize_t)add_records(q + n, is_a);
	}
	sendto(server, q, (size_t)n, 0, (struct sockaddr *)&from, len);
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
static char server_address[64];

/* Asks, and waits for the answer. */
static struct answer ask(const char *name, uint32_t timeout_ms)
{
	struct answer a = { 0 };

	net_resolve(loop, name, timeout_ms, on_done, &a);
	TURN_UNTIL(loop, a.calls);
	return a;
}

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
	snprintf(server_address, sizeof(server_address), "127.0.0.1:%u", ntohs(sin.sin_port));
	snprintf(text, sizeof(text), "nameserver %s\n", server_address);
	write_file(conf_file, text);
	write_file(hosts_file, "10.9.9.9 known.test\n");
	resolve_conf_path = conf_file;
	resolve_hosts_path = hosts_file;
	queries = 0;
	v4 = ANSWER;
	v6 = NOTHING_THERE;
	ttl = 20;
	many = 1;
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
	struct answer a = ask("known.test:8080", 1000);

	assert_string_equal(a.first, "10.9.9.9:8080");
	assert_int_equal(a.ttl, NET_TTL_HOSTS);
	assert_int_equal(queries, 0);
	a = (struct answer){ 0 };
	assert_non_null(net_resolve(loop, "elsewhere.test:9090", 1000, on_done, &a));
	assert_int_equal(a.calls, 0);
	TURN_UNTIL(loop, a.calls);
	assert_int_equal(a.n, 1);
	assert_string_equal(a.first, "10.1.2.3:9090");
	net_loop_turn(loop, 10);
	assert_int_equal(a.calls, 1);
	/* A changed file is read without a restart. */
	write_file(hosts_file, "10.9.9.9 known.test # elsewhere.test\n\n10.8.8.8\tother.test Elsewhere.TEST\nfd00::8 elsewhere.test\nnonsense elsewhere.test\n");
	a = ask("elsewhere.test:9090", 1000);
	assert_int_equal(a.n, 2);
	assert_string_equal(a.first, "10.8.8.8:9090");
	assert_string_equal(a.last, "[fd00::8]:9090");
	assert_string_equal(ask("localhost:7", 1000).first, "127.0.0.1:7");
}

static void both_families_and_their_time_to_live(void **state)
{
	static const struct {
		unsigned ttl, told;
	} table[] = { { 0, NET_TTL_LEAST }, { 1, 1 }, { 20, 20 }, { 3600, NET_TTL_MOST } };
	struct answer a;
	size_t i;

	v6 = ANSWER;
	many = 3;
	for (i = 0; i < sizeof(table) / sizeof(*table); i++) {
		ttl = table[i].ttl;
		a = ask("both.test:443", 1000);
		assert_int_equal(a.n, 6);
		assert_string_equal(a.first, "10.1.2.3:443");
		assert_string_equal(a.last, "[fd00::3]:443");
		assert_int_equal(a.ttl, table[i].told);
	}
	many = 12; /* more than anybody uses */
	v6 = NOTHING_THERE;
	assert_int_equal(ask("both.test:443", 1000).n, 8);
}

/* Whatever goes wrong with a name that was good: its last addresses, to be asked for again soon. */
static void the_last_good_answer_stays(void **state)
{
	static const struct {
		enum manner v4, v6;
	} wrong[] = { { SILENCE, SILENCE }, { FAIL, FAIL }, { NO_SUCH_NAME, NO_SUCH_NAME }, { NOTHING_THERE, NOTHING_THERE }, { LIE, LIE },
		      { FAIL, NOTHING_THERE }, { SILENCE, NO_SUCH_NAME } };
	struct answer a;
	size_t i;

	many = 2;
	ask("good.test:80", 1000);
	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		v4 = wrong[i].v4;
		v6 = wrong[i].v6;
		a = ask("good.test:81", 60); /* whatever the port */
		assert_int_equal(a.n, 2);
		assert_string_equal(a.last, "10.1.2.4:81");
		assert_int_equal(a.ttl, NET_TTL_LEAST);
		assert_int_equal(ask("never.test:80", 60).n, 0);
	}
}

/* A family that is not answered keeps what it had; one that is said to be empty goes. */
static void one_family_fails(void **state)
{
	struct answer a;

	v6 = ANSWER;
	assert_int_equal(ask("half.test:80", 1000).n, 2);
	v4 = SILENCE; /* not waited for as long as the caller would */
	a = ask("half.test:80", 60000);
	assert_int_equal(a.n, 2);
	assert_string_equal(a.first, "10.1.2.3:80");
	v4 = NOTHING_THERE;
	a = ask("half.test:80", 1000);
	assert_int_equal(a.n, 1);
	assert_string_equal(a.first, "[fd00::1]:80");
}

/* An answer that comes after the caller gave up is there for the next one. */
static void late_ones_are_kept(void **state)
{
	v4 = v6 = SILENCE;
	assert_int_equal(ask("late.test:80", 60).n, 0);
	v4 = ANSWER; /* to the question, repeated */
	v6 = NOTHING_THERE;
	TURN_UNTIL(loop, list_empty(&loop->resolving));
	v4 = v6 = SILENCE;
	assert_string_equal(ask("late.test:80", 60).first, "10.1.2.3:80");
}

static void a_name_that_moves(void **state)
{
	many = 1;
	assert_string_equal(ask("moves.test:80", 1000).last, "10.1.2.3:80");
	many = 2;
	assert_string_equal(ask("moves.test:80", 1000).last, "10.1.2.4:80");
}

/* The configured resolver instead of the file's; back to the file's, also while questions are
 * out that nobody answers. */
static void a_resolver_of_our_own(void **state)
{
	struct answer a = { 0 };

	write_file(conf_file, "nameserver 127.0.0.1:9\n"); /* nobody there */
	net_resolve(loop, "one.test:80", 60000, on_done, &a);
	net_loop_turn(loop, 5);
	assert_int_equal(a.calls, 0);
	net_loop_resolver(loop, server_address);
	assert_string_equal(ask("two.test:80", 2000).first, "10.1.2.3:80");
	TURN_UNTIL(loop, a.calls);
	assert_string_equal(a.first, "10.1.2.3:80");
	net_loop_resolver(loop, NULL);
	assert_int_equal(ask("three.test:80", 60).n, 0);
}

static void the_table_is_bounded(void **state)
{
	char name[32];
	int i;

	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "n%d.test:80", i);
		assert_int_equal(ask(name, 1000).n, 1);
	}
	assert_int_equal(loop->names_count, 128);
	v4 = v6 = FAIL;
	assert_int_equal(ask("n299.test:80", 1000).n, 1);
	assert_int_equal(ask("n0.test:80", 1000).n, 0);
}

static void silence_ends(void **state)
{
	struct answer a = { 0 };
	int64_t began = clock_tick();

	v4 = v6 = SILENCE;
	assert_non_null(net_resolve(loop, "slow.test:1", 60, on_done, &a));
	TURN_UNTIL(loop, a.calls);
	assert_int_equal(a.n, 0);
	assert_true(clock_now() - began >= 59 * CLOCK_MS && clock_now() - began < 2000 * CLOCK_MS);
	net_loop_turn(loop, 10);
	net_loop_turn(loop, 10);
	assert_int_equal(a.calls, 1);
}

static void cancelled_ones_stay_silent(void **state)
{
	struct answer a = { 0 };

	v4 = v6 = SILENCE;
	net_resolve_cancel(net_resolve(loop, "slow.test:1", 60, on_done, &a));
	net_loop_turn(loop, 30);
	net_loop_turn(loop, 70);
	assert_int_equal(a.calls, 0);
	net_resolve_cancel(NULL);
}

/* The loop goes while a name is still being asked for. */
static void unfinished_ones_die_with_the_loop(void **state)
{
	struct answer a = { 0 };
	struct net_resolve *r;

	v4 = v6 = SILENCE;
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
		cmocka_unit_test_setup_teardown(both_families_and_their_time_to_live, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_good_answer_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(one_family_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(late_ones_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(a_name_that_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(a_resolver_of_our_own, setup, teardown),
		cmocka_unit_test_setup_teardown(the_table_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(cancelled_ones_stay_silent, setup, teardown),
		cmocka_unit_test_setup_teardown(unfinished_ones_die_with_the_loop, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
