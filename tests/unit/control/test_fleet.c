/* SPDX-License-Identifier: MIT */
/* One node among others that speak through a Redis made up here: what it believes of them, when, and over a restart. */
#include "../../../src/control/ctl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "doubles.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"

#define OTHERS 3

static int64_t tenths;
static struct net_loop *loop;
static struct board *board;
static struct ctl *ctl;
static uint8_t key[PEER_KEY];       /* the others' */
static enum peer_verdict others;    /* how they see datacenter a */
static bool others_speak;

static struct conf *conf(bool reordered)
{
	struct conf *c = reordered ? test_conf_reordered(NULL) : test_conf(NULL);

	c->redis.enabled = true;
	return c;
}

static void say(unsigned other)
{
	struct peer_word w = { .sequence = (uint64_t)(tenths + 1000), .datacenters = 2, .datacenter = { { "a", (uint8_t)others }, { "b", PEER_UP } } };
	struct test_entry *e = test_redis()->entry;
	char boot[PEER_BOOT + 1], text[PEER_VALUE];

	snprintf(boot, sizeof(boot), "%016x", other + 1);
	snprintf(w.node, sizeof(w.node), "node-%u", other + 2);
	assert_true(peer_print(&w, boot, key, text) > 0);
	while (*e->field && strcmp(e->field, boot) != 0)
		e++;
	snprintf(e->field, sizeof(e->field), "%s", boot);
	snprintf(e->value, sizeof(e->value), "%s", text);
}

/* Each of the others speaks once a second, at a time of its own. */
static void pass(int n)
{
	for (; n > 0; n--) {
		tenths++;
		clock_fake((1000 + tenths) * 100 * CLOCK_MS, (1000 + tenths) * 100 * CLOCK_MS);
		if (others_speak && tenths % 10 < OTHERS)
			say((unsigned)(tenths % 10));
		net_loop_turn(loop, 0);
		net_loop_turn(loop, 0);
	}
}

static void start(struct conf *c)
{
	struct ctl_args args = { .board = board, .conf = c, .admin_fd = -1, .command_fd = -1 };

	ctl = ctl_create(&args, loop);
	assert_non_null(ctl);
}

static void stop(void)
{
	ctl_destroy(ctl);
	net_loop_turn(loop, 0);
	ctl = NULL;
}

/* SIGKILL, and another one in its place that has checked nothing yet. */
static void replaced(bool reordered)
{
	struct test_redis r = *test_redis();

	stop();
	test_probe_reset();
	*test_redis() = r;
	start(conf(reordered));
}

static int setup(void **state)
{
	log_open(LOG_EVENTS, "off");
	tenths = 0;
	clock_fake(1000 * 100 * CLOCK_MS, 1000 * 100 * CLOCK_MS);
	test_probe_reset();
	memset(key, 0, sizeof(key));
	others = PEER_UP;
	others_speak = true;
	loop = net_loop_create();
	board = board_create(1);
	start(conf(false));
	return 0;
}

static int teardown(void **state)
{
	if (ctl)
		stop();
	net_loop_destroy(loop);
	board_destroy(board);
	assert_int_equal(test_confs, 0);
	return 0;
}

static struct board_live live(void)
{
	struct board_live l = { 0 };

	assert_true(board_read(board, &l));
	return l;
}

static void lose(char datacenter)
{
	unsigned first = datacenter == 'a' ? 0 : 2;

	test_probe_change(first, DC_DOWN, FAULT_CONNECT_REFUSED);
	test_probe_change(first + 1, DC_DOWN, FAULT_CONNECT_REFUSED);
}

#define assert_machine(d, s, w) \
	do { \
		struct dc_machine m_ = live().machine[d]; \
		if (m_.state != (s) || m_.why != (w)) \
			fail_msg("at %d: %s, %s", (int)tenths, dc_state_word(m_.state), dc_why_word(m_.why)); \
	} while (0)

/* The verdict waits for the others; that nobody is sent there does not. */
static void lost_before_anybody_was_heard(void **state)
{
	lose('a');
	assert_machine(0, DC_SUSPECT, DC_WHY_UNHEARD);
	assert_int_equal(live().dc.endpoint_state[0], DC_DOWN);
	assert_int_equal(live().dc.share[0], 0);
	assert_int_equal(ctl_reachable(ctl), 5000);
	pass(25);
	assert_machine(0, DC_SUSPECT, DC_WHY_DISSENT);
	assert_int_equal(live().dc.dissent, 0);
	pass(30);
	assert_int_equal(live().dc.dissent, 1);
	others = PEER_DOWN; /* it is lost to them, too */
	pass(20);
	assert_machine(0, DC_DOWN, DC_WHY_ALL_LOST);
	assert_int_equal(live().dc.dissent, 0);
}

static void nobody_to_wait_for(void **state)
{
	test_redis()->down = true;
	lose('a');
	assert_machine(0, DC_SUSPECT, DC_WHY_UNHEARD);
	pass(20);
	assert_machine(0, DC_DOWN, DC_WHY_ALL_LOST); /* after two seconds, whatever Redis does */
	stop();
	test_redis()->down = false;
	others_speak = false;
	start(test_conf(NULL)); /* no Redis: at once */
	lose('b');
	assert_machine(1, DC_DOWN, DC_WHY_ALL_LOST);
}

static void in_dissent(void)
{
	pass(25);
	lose('a');
	assert_machine(0, DC_SUSPECT, DC_WHY_DISSENT);
	pass(35);
	assert_int_equal(live().dc.dissent, 1);
}

static void a_new_process_stays_in_dissent(void **state)
{
	int i;

	in_dissent();
	replaced(false);
	for (i = 0; i < 60; i++) {
		assert_machine(0, DC_SUSPECT, DC_WHY_DISSENT);
		assert_int_equal(live().dc.dissent, 1);
		if (i == 3)
			lose('a'); /* by its own checks */
		pass(1);
	}
	others_speak = false; /* and not for longer than it hears them */
	pass(60);
	assert_machine(0, DC_DOWN, DC_WHY_ALL_LOST);
	assert_int_equal(live().dc.dissent, 0);
}

static void a_reload_keeps_dissent_by_name(void **state)
{
	struct conf *next = conf(true);

	in_dissent();
	next->generation = 2;
	test_probe_reset();
	ctl_configure(ctl, next);
	lose('b'); /* where a is now */
	assert_machine(1, DC_SUSPECT, DC_WHY_DISSENT);
	assert_int_equal(live().dc.dissent, 2);
}

static unsigned heard(void)
{
	return peers_fresh(fleet_peers(ctl->fleet), clock_now());
}

/* What stands between the nodes' words is dropped whole, once; they go on. */
static void a_hash_that_is_no_fleets_is_dropped(void **state)
{
	static const struct {
		bool more;
		enum fault fault;
		enum rds_error error;
		bool dropped;
	} table[] = {
		{ true, FAULT_NONE, RDS_ERROR_NONE, true },           /* thousands of fields */
		{ false, FAULT_REDIS_PROTOCOL, RDS_ERROR_NONE, true },/* a value too large to be read */
		{ false, FAULT_NONE, RDS_ERROR_WRONGTYPE, true },     /* no hash */
		{ false, FAULT_REDIS_TIMEOUT, RDS_ERROR_NONE, false },
		{ false, FAULT_REDIS_DOWN, RDS_ERROR_NONE, false },
		{ false, FAULT_NONE, RDS_ERROR_NOPERM, false },
		{ false, FAULT_NONE, RDS_ERROR_LOADING, false },
		{ false, FAULT_NONE, RDS_ERROR_READONLY, false },
	};
	struct test_redis *r = test_redis();
	size_t i;

	pass(30);
	for (i = 0; i < sizeof(table) / sizeof(*table); i++) {
		unsigned before = r->dropped, round;

		assert_int_equal(heard(), OTHERS);
		r->more = table[i].more;
		r->fault = table[i].fault;
		r->error = table[i].error;
		for (round = 0; round < 40 && r->dropped == before; round++)
			pass(1);
		r->more = false;
		r->fault = FAULT_NONE;
		r->error = RDS_ERROR_NONE;
		if ((r->dropped != before) != table[i].dropped)
			fail_msg("row %zu: dropped %u", i, r->dropped - before);
		pass(30);
		assert_int_equal(r->dropped, before + table[i].dropped);
	}
}

static void secret(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* The others' words are signed by no secret, or by another. */
static void with_a_secret_only_its_own_are_heard(void **state)
{
	char path[] = "/tmp/fb-fleet-XXXXXX", first[64];
	struct conf *c = conf(false);

	assert_string_equal(test_redis()->key, "");
	pass(2);
	assert_string_equal(test_redis()->key, "fb:1:fleet");
	stop();
	close(mkstemp(path));
	secret(path, "sixteen octets and more");
	c->cache.secret_file = path;
	start(c);
	pass(40);
	assert_int_equal(heard(), 0);
	assert_true(fleet_peers(ctl->fleet)->junk > OTHERS);
	lose('a');
	assert_machine(0, DC_DOWN, DC_WHY_ALL_LOST);
	memcpy(key, fleet_peers(ctl->fleet)->key, sizeof(key));
	pass(40);
	assert_int_equal(heard(), OTHERS);
	snprintf(first, sizeof(first), "%s", test_redis()->key);
	assert_int_equal(strlen(first), strlen("fb:1:fleet:12345678")); /* they meet elsewhere */
	stop();
	secret(path, "another sixteen octets");
	c = conf(false);
	c->cache.secret_file = path;
	start(c);
	pass(2);
	assert_string_not_equal(test_redis()->key, first);
	stop();
	secret(path, "short"); /* no key, no words: it goes on alone */
	c = conf(false);
	c->cache.secret_file = path;
	start(c);
	test_redis()->key[0] = '\0';
	pass(30);
	assert_string_equal(test_redis()->key, "");
	lose('a');
	assert_machine(0, DC_DOWN, DC_WHY_ALL_LOST);
	unlink(path);
}

/* Whoever writes there, and however many he pretends to be: what we see up stays up, and ready. */
static void words_alone_turn_nothing_away(void **state)
{
	static const enum peer_verdict say_of_a[] = { PEER_DOWN, PEER_UNSURE, PEER_UP };
	unsigned i;

	for (i = 0; i < 3; i++) {
		others = say_of_a[i];
		pass(60);
		assert_int_equal(heard(), OTHERS);
		assert_int_equal(live().dc.dissent, 0);
		assert_machine(0, DC_UP, DC_WHY_START);
		assert_int_equal(live().dc.share[0], DEGRADE_FULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(lost_before_anybody_was_heard), T(nobody_to_wait_for), T(a_new_process_stays_in_dissent), T(a_reload_keeps_dissent_by_name),
		T(a_hash_that_is_no_fleets_is_dropped), T(with_a_secret_only_its_own_are_heard), T(words_alone_turn_nothing_away),
	};

	return !crypt_init() || cmocka_run_group_tests(tests, NULL, NULL);
}
