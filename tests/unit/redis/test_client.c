/* SPDX-License-Identifier: MIT */
/* The client against a real redis-server: pipelines, deadlines, breaker, recovery, errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <signal.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"
#include "firebreak/redis.h"
#include "server.h"

#define TIMEOUT_MS 150

static struct net_loop *loop;
static struct test_redis server;
static struct rds_client *client;
static struct tm_worker tm;
static struct conf_redis conf;

/* What a command got. */
struct got {
	int calls;
	bool reply;
	struct rds_reply r; /* without pointers to text */
	char text[128];
	enum fault fault;
	int64_t at;
};

static void on_reply(void *user, const struct rds_reply *reply, enum fault fault)
{
	struct got *g = user;

	g->calls++;
	g->fault = fault;
	g->at = clock_now();
	g->reply = reply != NULL;
	if (!reply)
		return;
	g->r = *reply;
	snprintf(g->text, sizeof(g->text), "%.*s", reply->text ? (int)reply->len : 0, reply->text ? reply->text : "");
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
		net_loop_turn(loop, 20); \
	} \
} while (0)

static bool command(struct got *g, const char *a, const char *b, const char *c, const char *d)
{
	const char *argv[] = { a, b, c, d };
	size_t lens[4];
	int n = 0;

	*g = (struct got){ 0 };
	while (n < 4 && argv[n]) {
		lens[n] = strlen(argv[n]);
		n++;
	}
	return rds_command(client, n, argv, lens, on_reply, g);
}

static const char *ask(const char *a, const char *b, const char *c, const char *d)
{
	static struct got g;

	if (!command(&g, a, b, c, d))
		return "refused";
	UNTIL(g.calls);
	return g.reply ? g.text : fault_info(g.fault)->word;
}

static void create(void)
{
	memset(&tm, 0, sizeof(tm));
	client = rds_create(loop, &conf, &tm);
	assert_non_null(client);
}

static void destroy(void)
{
	rds_destroy(client);
	client = NULL;
	net_loop_turn(loop, 0);
}

static int setup(void **state)
{
	test_redis_init(&server);
	conf = (struct conf_redis){ .enabled = true, .address = server.address, .connect_timeout_ms = 500,
				    .command_timeout_ms = TIMEOUT_MS, .max_pending = 64 };
	return 0;
}

static int teardown(void **state)
{
	if (client)
		destroy();
	test_redis_finish(&server);
	return 0;
}

static void up(const char *const *extra)
{
	test_redis_start(&server, extra);
	create();
	UNTIL(rds_usable(client));
}

static void a_pipeline_is_answered_in_order(void **state)
{
	struct got g[32];
	char number[8], value[8];
	uint64_t before;
	int i;

	up(NULL);
	assert_int_equal(tm.scalar[TM_REDIS_UP], 1);
	before = tm.scalar[TM_REDIS_COMMANDS];
	for (i = 0; i < 16; i++) {
		snprintf(number, sizeof(number), "k%d", i);
		snprintf(value, sizeof(value), "v%d", i);
		assert_true(command(&g[2 * i], "SET", number, value, NULL));
		assert_true(command(&g[2 * i + 1], "GET", number, NULL, NULL));
		assert_int_equal(g[2 * i].calls, 0);
	}
	assert_int_equal(tm.scalar[TM_REDIS_COMMANDS] - before, 32);
	UNTIL(g[31].calls);
	for (i = 0; i < 16; i++) {
		snprintf(value, sizeof(value), "v%d", i);
		assert_int_equal(g[2 * i].calls, 1);
		assert_string_equal(g[2 * i].text, "OK");
		assert_string_equal(g[2 * i + 1].text, value);
		assert_int_equal(g[2 * i + 1].r.type, RDS_STRING);
		assert_int_equal(g[2 * i + 1].fault, FAULT_NONE);
	}
	assert_string_equal(ask("GET", "nothing", NULL, NULL), "");
	assert_string_equal(ask("CLIENT", "GETNAME", NULL, NULL), "firebreak");
}

static void the_queue_is_bounded(void **state)
{
	struct got g[65];
	int i;

	up(NULL);
	for (i = 0; i < 64; i++)
		assert_true(command(&g[i], "PING", NULL, NULL, NULL));
	assert_false(command(&g[64], "PING", NULL, NULL, NULL));
	assert_int_equal(tm.fault[FAULT_REDIS_FULL], 1);
	UNTIL(g[63].calls);
	for (i = 0; i < 64; i++)
		assert_int_equal(g[i].calls, 1);
	assert_int_equal(g[64].calls, 0);
	assert_true(command(&g[64], "PING", NULL, NULL, NULL));
	UNTIL(g[64].calls);
}

static void output_is_bounded(void **state)
{
	static char big[3 << 20];
	const char *argv[] = { "SET", "big", big };
	const size_t lens[] = { 3, 3, sizeof(big) };
	struct got g[3] = { { 0 } };

	conf.command_timeout_ms = 5000;
	up(NULL);
	memset(big, 'x', sizeof(big));
	assert_true(rds_command(client, 3, argv, lens, on_reply, &g[0]));
	assert_true(rds_command(client, 3, argv, lens, on_reply, &g[1]));
	assert_false(rds_command(client, 3, argv, lens, on_reply, &g[2]));
	UNTIL(g[1].calls);
	assert_string_equal(g[1].text, "OK");
	assert_string_equal(ask("STRLEN", "big", NULL, NULL), "");
}

static void forgotten_users_are_not_called(void **state)
{
	struct got g[3];

	up(NULL);
	assert_true(command(&g[0], "PING", NULL, NULL, NULL));
	assert_true(command(&g[1], "PING", NULL, NULL, NULL));
	assert_true(command(&g[2], "PING", NULL, NULL, NULL));
	rds_forget(client, &g[1]);
	UNTIL(g[2].calls);
	assert_int_equal(g[0].calls, 1);
	assert_int_equal(g[1].calls, 0);
}

/* A stopped Redis costs one deadline, then nothing; when it goes on, so do we. */
static void a_hung_redis_opens_the_breaker(void **state)
{
	struct got g[4], refused;
	int64_t start;
	int i;

	up(NULL);
	assert_string_equal(ask("SET", "k", "v", NULL), "OK");
	test_redis_signal(&server, SIGSTOP);
	start = clock_tick();
	for (i = 0; i < 4; i++)
		assert_true(command(&g[i], "INCR", "n", NULL, NULL));
	UNTIL(g[0].calls);
	for (i = 0; i < 4; i++) {
		assert_int_equal(g[i].calls, 1);
		assert_false(g[i].reply);
		assert_int_equal(g[i].fault, FAULT_REDIS_TIMEOUT);
		assert_true(g[i].at - start >= TIMEOUT_MS * CLOCK_MS);
		assert_true(g[i].at - start < TIMEOUT_MS * CLOCK_MS + 5 * CLOCK_SEC);
	}
	assert_false(rds_usable(client));
	assert_int_equal(tm.scalar[TM_REDIS_UP], 0);
	assert_int_equal(tm.fault[FAULT_REDIS_TIMEOUT], 1);
	/* The kernel still takes connections; the probe's PING is what finds out. */
	for (i = 0; i < 40; i++) {
		net_loop_turn(loop, 10);
		assert_false(rds_usable(client));
		assert_false(command(&refused, "GET", "k", NULL, NULL));
	}
	assert_true(tm.fault[FAULT_REDIS_TIMEOUT] >= 2);
	test_redis_signal(&server, SIGCONT);
	UNTIL(rds_usable(client));
	assert_string_equal(ask("GET", "k", NULL, NULL), "v");
	for (i = 0; i < 4; i++)
		assert_int_equal(g[i].calls, 1);
}

static void a_killed_redis_comes_back(void **state)
{
	struct got g;
	int round;

	up(NULL);
	for (round = 0; round < 3; round++) {
		test_redis_signal(&server, SIGSTOP);
		assert_true(command(&g, "PING", NULL, NULL, NULL));
		test_redis_kill(&server);
		UNTIL(g.calls);
		assert_false(g.reply);
		assert_int_equal(g.fault, FAULT_REDIS_DOWN);
		assert_false(command(&g, "PING", NULL, NULL, NULL));
		test_redis_start(&server, NULL);
		UNTIL(rds_usable(client));
		assert_string_equal(ask("PING", NULL, NULL, NULL), "PONG");
	}
}

static void nobody_listens(void **state)
{
	struct got g;

	create();
	assert_false(command(&g, "PING", NULL, NULL, NULL));
	UNTIL(tm.fault[FAULT_REDIS_DOWN] >= 4);
	assert_false(rds_usable(client));
	test_redis_start(&server, NULL);
	UNTIL(rds_usable(client));
}

static void error_replies_are_told_apart(void **state)
{
	struct got g;

	up(NULL);
	assert_string_equal(ask("CONFIG", "SET", "maxmemory", "1"), "OK");
	assert_true(command(&g, "SET", "k", "v", NULL));
	UNTIL(g.calls);
	assert_int_equal(g.r.type, RDS_ERROR);
	assert_int_equal(g.r.error, RDS_ERROR_OOM);
	assert_int_equal(g.fault, FAULT_REDIS_ERROR);
	assert_int_equal(tm.fault[FAULT_REDIS_ERROR], 1);
	assert_true(rds_usable(client)); /* reads go on */
	assert_string_equal(ask("CONFIG", "SET", "maxmemory", "0"), "OK");

	assert_string_equal(ask("LPUSH", "l", "1", NULL), "");
	assert_true(command(&g, "GET", "l", NULL, NULL));
	UNTIL(g.calls);
	assert_int_equal(g.r.error, RDS_ERROR_WRONGTYPE);

	assert_string_equal(ask("REPLICAOF", "127.0.0.1", "1", NULL), "OK");
	assert_true(command(&g, "SET", "k", "v", NULL));
	UNTIL(g.calls);
	assert_int_equal(g.r.error, RDS_ERROR_READONLY);
	assert_true(rds_usable(client));

	/* A replica that may not serve is as good as none. */
	assert_string_equal(ask("CONFIG", "SET", "replica-serve-stale-data", "no"), "OK");
	assert_true(command(&g, "GET", "k", NULL, NULL));
	UNTIL(g.calls);
	assert_int_equal(g.r.error, RDS_ERROR_MASTERDOWN);
	assert_false(rds_usable(client));
	UNTIL(tm.fault[FAULT_REDIS_ERROR] >= 6); /* probes are refused with the same word */
	assert_false(rds_usable(client));
}

/* Reading its dump back takes this server a while: that is no empty cache. */
static void loading_is_unavailable(void **state)
{
	const char *const slow[] = { "--key-load-delay", "40000", "--loading-process-events-interval-bytes", "1024", NULL };
	static char value[2048];
	char key[8];
	int i;

	up(NULL);
	memset(value, 'v', sizeof(value) - 1);
	assert_string_equal(ask("CONFIG", "SET", "rdbcompression", "no"), "OK");
	for (i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_string_equal(ask("SET", key, value, NULL), "OK");
	}
	assert_string_equal(ask("SAVE", NULL, NULL, NULL), "OK");
	test_redis_kill(&server);
	UNTIL(!rds_usable(client));
	test_redis_start_until(&server, "Server initialized", slow);
	UNTIL(tm.fault[FAULT_REDIS_ERROR] >= 1);
	assert_false(rds_usable(client));
	UNTIL(rds_usable(client));
	assert_string_equal(ask("STRLEN", "k19", NULL, NULL), "");
	assert_string_equal(ask("EXISTS", "k19", NULL, NULL), "");
}

static void passwords_and_databases(void **state)
{
	const char *const locked[] = { "--requirepass", "secret", "--user", "alice", "on", ">wonder", "~*", "+@all", NULL };

	test_redis_start(&server, locked);
	create();
	UNTIL(tm.fault[FAULT_REDIS_ERROR] >= 2); /* NOAUTH, again and again */
	assert_false(rds_usable(client));
	destroy();

	conf.password = "wrong";
	create();
	UNTIL(tm.fault[FAULT_REDIS_ERROR] >= 2);
	assert_false(rds_usable(client));
	destroy();

	conf.password = "secret";
	conf.database = 3;
	create();
	UNTIL(rds_usable(client));
	assert_string_equal(ask("SET", "where", "three", NULL), "OK");
	destroy();

	conf.username = "alice";
	conf.password = "wonder";
	create();
	UNTIL(rds_usable(client));
	assert_string_equal(ask("ACL", "WHOAMI", NULL, NULL), "alice");
	assert_string_equal(ask("GET", "where", NULL, NULL), "three");
	assert_string_equal(ask("SELECT", "0", NULL, NULL), "OK");
	assert_string_equal(ask("GET", "where", NULL, NULL), "");
}

static void over_tls(void **state)
{
	static char address[32], big[100000];
	const char *argv[] = { "SET", "big", big };
	const size_t lens[] = { 3, 3, sizeof(big) };
	struct got g = { 0 };

	snprintf(address, sizeof(address), "127.0.0.1:%d", test_redis_start_tls(&server));
	conf.address = address;
	conf.tls = conf.verify = true;
	conf.ca = server.cert;
	conf.server_name = "redis.test";
	create();
	UNTIL(rds_usable(client));
	assert_string_equal(ask("SET", "k", "v", NULL), "OK");
	assert_string_equal(ask("GET", "k", NULL, NULL), "v");
	memset(big, 'b', sizeof(big)); /* several records each way */
	assert_true(rds_command(client, 3, argv, lens, on_reply, &g));
	assert_int_equal(strspn(ask("GET", "big", NULL, NULL), "b"), 127); /* as much as `got` keeps */
	assert_string_equal(g.text, "OK");
	destroy();

	/* Somebody else's name, or nobody we know: no command is ever sent. */
	conf.server_name = "other.test";
	create();
	UNTIL(tm.fault[FAULT_REDIS_DOWN] >= 2);
	assert_false(rds_usable(client));
	destroy();
	conf.server_name = "redis.test";
	conf.ca = NULL;
	create();
	UNTIL(tm.fault[FAULT_REDIS_DOWN] >= 2);
	assert_false(rds_usable(client));
	destroy();

	conf.verify = false;
	create();
	UNTIL(rds_usable(client));
	destroy();

	conf.verify = true;
	conf.ca = "/nonexistent/ca.pem";
	assert_null(rds_create(loop, &conf, &tm));
}

static void destroying_answers_everything(void **state)
{
	struct got g[2];

	up(NULL);
	assert_true(command(&g[0], "PING", NULL, NULL, NULL));
	assert_true(command(&g[1], "PING", NULL, NULL, NULL));
	destroy();
	assert_int_equal(g[0].calls, 1);
	assert_int_equal(g[1].calls, 1);
	assert_int_equal(g[1].fault, FAULT_REDIS_DOWN);
	assert_int_equal(tm.scalar[TM_REDIS_UP], 0);
}

/* From inside a callback, when this turn's write may be over already. */
struct chain {
	struct got got;
	int left;
};

static void on_link_of_chain(void *user, const struct rds_reply *reply, enum fault fault)
{
	const char *argv[] = { "PING" };
	const size_t lens[] = { 4 };
	struct chain *c = user;

	on_reply(&c->got, reply, fault);
	if (--c->left)
		assert_true(rds_command(client, 1, argv, lens, on_link_of_chain, c));
}

static void callbacks_may_issue_commands(void **state)
{
	const char *argv[] = { "PING" };
	const size_t lens[] = { 4 };
	struct chain c = { .left = 50 };

	up(NULL);
	assert_true(rds_command(client, 1, argv, lens, on_link_of_chain, &c));
	UNTIL(!c.left);
	assert_int_equal(c.got.calls, 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_pipeline_is_answered_in_order),
		T(the_queue_is_bounded),
		T(output_is_bounded),
		T(forgotten_users_are_not_called),
		T(a_hung_redis_opens_the_breaker),
		T(a_killed_redis_comes_back),
		T(nobody_listens),
		T(error_replies_are_told_apart),
		T(loading_is_unavailable),
		T(passwords_and_databases),
		T(over_tls),
		T(destroying_answers_everything),
		T(callbacks_may_issue_commands),
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
