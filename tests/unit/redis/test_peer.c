/* SPDX-License-Identifier: MIT */
/* The client against a scripted peer: what a real Redis never says, and when it says it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"
#include "firebreak/redis.h"

#define TIMEOUT_MS 200
#define PATIENT_MS 20000
#define GREETING   "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$9\r\nfirebreak\r\n*1\r\n$4\r\nPING\r\n"
#define PING       "*1\r\n$4\r\nPING\r\n"

static struct net_loop *loop;
static struct rds_client *client;
static struct tm_worker tm;
static char dir[64], address[128];
static int listener = -1, peer = -1;

struct got {
	int calls;
	enum fault fault;
	bool reply;
	char text[64];
};

static void on_reply(void *user, const struct rds_reply *reply, enum fault fault)
{
	struct got *g = user;

	g->calls++;
	g->fault = fault;
	g->reply = reply != NULL;
	if (reply && reply->text)
		snprintf(g->text, sizeof(g->text), "%.*s", (int)reply->len, reply->text);
}

static void on_turn(void *arg)
{
	(void)arg;
	if (client)
		rds_pump(client);
}

#define UNTIL(cond) do { \
	int64_t end_ = clock_tick() + 10 * CLOCK_SEC; \
	while (!(cond)) { \
		if (clock_now() > end_) \
			fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #cond); \
		net_loop_turn(loop, 5); \
	} \
} while (0)

static bool accepted(void)
{
	peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return peer >= 0;
}

static void hang_up(void)
{
	if (peer >= 0)
		close(peer);
	peer = -1;
}

/* The peer reads exactly this much, and it is this. */
static void hears(const char *text)
{
	char in[1024] = "";
	size_t len = 0;
	ssize_t n = 0;

	UNTIL((n = recv(peer, in + len, strlen(text) - len, 0)) > 0 ? (len += (size_t)n) == strlen(text) : n == 0);
	in[len] = '\0';
	assert_string_equal(in, text);
}

static void says(const char *text)
{
	assert_int_equal(send(peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void greet(void)
{
	hears(GREETING);
	says("+OK\r\n+PONG\r\n");
	UNTIL(rds_usable(client));
}

static void greeted(void)
{
	UNTIL(accepted());
	greet();
}

/* On a clock of our own, from here to the end of the program. */
static void pass_time(int64_t ms)
{
	static int64_t now;
	int i;

	now = (now ? now : clock_tick()) + ms * CLOCK_MS;
	clock_fake(now, now);
	for (i = 0; i < 3; i++)
		net_loop_turn(loop, 0);
}

static bool ping(struct got *g)
{
	const char *argv[] = { "PING" };
	const size_t lens[] = { 4 };

	*g = (struct got){ 0 };
	return rds_command(client, 1, argv, lens, on_reply, g);
}

static int setup_with(uint32_t timeout_ms)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct conf_redis conf = { .enabled = true, .address = address, .connect_timeout_ms = 500, .command_timeout_ms = timeout_ms, .max_pending = 16 };

	snprintf(dir, sizeof(dir), "/tmp/fb-peer-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/s", dir);
	snprintf(address, sizeof(address), "unix:%s", sa.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 8), 0);
	memset(&tm, 0, sizeof(tm));
	client = rds_create(loop, &conf, &tm);
	assert_non_null(client);
	return 0;
}

static int setup(void **state) { return setup_with(TIMEOUT_MS); }
static int setup_patient(void **state) { return setup_with(PATIENT_MS); }

static int teardown(void **state)
{
	rds_destroy(client);
	client = NULL;
	net_loop_turn(loop, 0);
	hang_up();
	close(listener);
	unlink(address + 5);
	rmdir(dir);
	return 0;
}

/* Everything a turn queued is in the peer's socket when the turn is over. */
static void a_turn_leaves_at_its_end(void **state)
{
	struct got g[3];
	char in[256];

	greeted();
	assert_true(ping(&g[0]) && ping(&g[1]) && ping(&g[2]));
	assert_int_equal(recv(peer, in, sizeof(in), 0), -1);
	net_loop_turn(loop, 0);
	assert_int_equal(recv(peer, in, sizeof(in), 0), 3 * strlen(PING));
	says("+1\r\n+2\r\n+3\r\n");
	UNTIL(g[2].calls);
	assert_string_equal(g[0].text, "1");
	assert_string_equal(g[2].text, "3");
}

/* Issued when this turn's write is over: the next turn does not wait for something to happen. */
static void a_late_command_is_not_kept_waiting(void **state)
{
	struct got g;
	char in[256];
	int64_t start;

	greeted();
	start = clock_tick();
	UNTIL(clock_now() > start + CLOCK_SEC); /* no alarm of the loop is left over */
	start = clock_now();
	assert_true(ping(&g));
	net_loop_turn(loop, PATIENT_MS / 2);
	assert_int_equal(recv(peer, in, sizeof(in), 0), strlen(PING));
	assert_true(clock_now() - start < PATIENT_MS / 4 * CLOCK_MS);
}

static void a_reply_may_come_in_bytes(void **state)
{
	static const char reply[] = "$5\r\nhello\r\n";
	struct got g;
	size_t i;

	greeted();
	assert_true(ping(&g));
	for (i = 0; i + 1 < sizeof(reply); i++) {
		assert_int_equal(g.calls, 0);
		assert_int_equal(send(peer, reply + i, 1, MSG_NOSIGNAL), 1);
		net_loop_turn(loop, 5);
	}
	UNTIL(g.calls);
	assert_string_equal(g.text, "hello");
}

static void garbage_closes(void **state)
{
	struct got g[3];
	char in[8];

	greeted();
	assert_true(ping(&g[0]) && ping(&g[1]) && ping(&g[2]));
	hears(PING PING PING);
	says("+1\r\n<html>\r\n+3\r\n");
	UNTIL(g[2].calls);
	assert_string_equal(g[0].text, "1");
	assert_int_equal(g[1].fault, FAULT_REDIS_PROTOCOL);
	assert_false(g[1].reply);
	assert_int_equal(g[2].fault, FAULT_REDIS_PROTOCOL);
	assert_int_equal(tm.fault[FAULT_REDIS_PROTOCOL], 1);
	assert_false(rds_usable(client));
	UNTIL(recv(peer, in, sizeof(in), 0) == 0);
	hang_up();
	greeted();
}

static void an_answer_to_nothing_closes(void **state)
{
	greeted();
	says("+surprise\r\n");
	UNTIL(!rds_usable(client));
	assert_int_equal(tm.fault[FAULT_REDIS_PROTOCOL], 1);
}

static void an_endless_reply_closes(void **state)
{
	static char zeros[65536];
	struct got g;
	size_t sent = 0;
	ssize_t n;

	greeted();
	assert_true(ping(&g));
	hears(PING);
	says("$500000000\r\n");
	while (!g.calls && sent < 64 << 20) {
		n = send(peer, zeros, sizeof(zeros), MSG_NOSIGNAL);
		if (n > 0)
			sent += (size_t)n;
		else if (n < 0 && errno != EAGAIN)
			break;
		net_loop_turn(loop, 0);
	}
	assert_int_equal(g.calls, 1);
	assert_int_equal(g.fault, FAULT_REDIS_PROTOCOL);
	assert_true(sent < 10 << 20);
}

static void an_end_in_mid_reply(void **state)
{
	struct got g[2];

	greeted();
	assert_true(ping(&g[0]) && ping(&g[1]));
	hears(PING PING);
	says("+1\r\n$10\r\nabc");
	hang_up();
	UNTIL(g[1].calls);
	assert_string_equal(g[0].text, "1");
	assert_int_equal(g[1].fault, FAULT_REDIS_DOWN);
	assert_false(g[1].reply);
}

/* It becomes unavailable in the middle: the one hears why, the rest that it is down. */
static void loading_in_mid_pipeline(void **state)
{
	struct got g[3];

	greeted();
	assert_true(ping(&g[0]) && ping(&g[1]) && ping(&g[2]));
	hears(PING PING PING);
	says("+1\r\n-LOADING Redis is loading the dataset in memory\r\n+3\r\n");
	UNTIL(g[2].calls);
	assert_int_equal(g[1].fault, FAULT_REDIS_ERROR);
	assert_true(g[1].reply);
	assert_int_equal(g[2].fault, FAULT_REDIS_DOWN);
	assert_false(g[2].reply);
	assert_false(rds_usable(client));
}

static void too_many_clients(void **state)
{
	UNTIL(accepted());
	says("-ERR max number of clients reached\r\n");
	hang_up();
	UNTIL(tm.fault[FAULT_REDIS_DOWN] + tm.fault[FAULT_REDIS_PROTOCOL] >= 1);
	assert_false(rds_usable(client));
	greeted();
}

/* Accepts and says nothing: each probe costs its deadline, the pauses grow. */
static void probes_back_off(void **state)
{
	int64_t last = 0, now, gap;
	int i;

	for (i = 0; i < 4; i++) {
		UNTIL(accepted());
		now = clock_now();
		hears(GREETING);
		if (last) {
			gap = (now - last) / CLOCK_MS;
			assert_in_range(gap, 80 << (i - 1), (120 << (i - 1)) + TIMEOUT_MS + 3000);
		}
		last = now;
		UNTIL(tm.fault[FAULT_REDIS_TIMEOUT] == (uint64_t)i + 1);
		hang_up();
	}
}

/* A late answer must never be taken for the next command's. */
static void a_late_answer_reaches_nobody(void **state)
{
	struct got g[2];

	greeted();
	assert_true(ping(&g[0]));
	hears(PING);
	UNTIL(g[0].calls);
	assert_int_equal(g[0].fault, FAULT_REDIS_TIMEOUT);
	(void)!send(peer, "+late\r\n", 7, MSG_NOSIGNAL);
	hang_up();
	greeted();
	assert_true(ping(&g[1]));
	hears(PING);
	says("+right\r\n");
	UNTIL(g[1].calls);
	assert_string_equal(g[1].text, "right");
	assert_int_equal(g[0].calls, 1);
}

/* The oldest governs: the second has time left, but its connection has not. */
static void the_oldest_deadline_governs(void **state)
{
	struct got g[2];

	greeted();
	pass_time(0);
	assert_true(ping(&g[0]));
	pass_time(TIMEOUT_MS / 2);
	assert_true(ping(&g[1]));
	pass_time(TIMEOUT_MS / 2 - 10);
	assert_int_equal(g[0].calls + g[1].calls, 0);
	pass_time(20);
	assert_int_equal(g[0].calls + g[1].calls, 2);
	assert_int_equal(g[1].fault, FAULT_REDIS_TIMEOUT);

	/* Answered in time, the first one's deadline does not count for the next. */
	hang_up();
	while (!accepted())
		pass_time(10);
	greet();
	assert_true(ping(&g[0]));
	pass_time(TIMEOUT_MS / 2);
	assert_true(ping(&g[1]));
	says("+1\r\n");
	UNTIL(g[0].calls);
	assert_string_equal(g[0].text, "1");
	pass_time(TIMEOUT_MS - 10);
	assert_int_equal(g[1].calls, 0);
	pass_time(20);
	assert_int_equal(g[1].fault, FAULT_REDIS_TIMEOUT);
}

static struct got forgotten;

static void on_forget(void *user, const struct rds_reply *reply, enum fault fault)
{
	on_reply(user, reply, fault);
	rds_forget(client, &forgotten);
	assert_false(ping(&(struct got){ 0 })); /* down already for who is told */
}

static void forgetting_while_being_told(void **state)
{
	const char *argv[] = { "PING" };
	const size_t lens[] = { 4 };
	struct got first = { 0 };

	greeted();
	assert_true(rds_command(client, 1, argv, lens, on_forget, &first));
	assert_true(ping(&forgotten));
	hang_up();
	UNTIL(first.calls);
	net_loop_turn(loop, 5);
	assert_int_equal(first.fault, FAULT_REDIS_DOWN);
	assert_int_equal(forgotten.calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_turn_leaves_at_its_end),
		cmocka_unit_test_setup_teardown(a_late_command_is_not_kept_waiting, setup_patient, teardown),
		T(a_reply_may_come_in_bytes),
		T(garbage_closes),
		T(an_answer_to_nothing_closes),
		T(an_endless_reply_closes),
		T(an_end_in_mid_reply),
		T(loading_in_mid_pipeline),
		T(too_many_clients),
		T(probes_back_off),
		T(a_late_answer_reaches_nobody),
		T(forgetting_while_being_told),
		T(the_oldest_deadline_governs), /* last: fakes the clock */
	};
	int failed;

	log_open(LOG_EVENTS, "off");
	signal(SIGPIPE, SIG_IGN);
	crypt_init();
	loop = net_loop_create();
	net_loop_hook(loop, on_turn, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	net_loop_destroy(loop);
	return failed;
}
