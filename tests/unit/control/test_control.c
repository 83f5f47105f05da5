/* SPDX-License-Identifier: MIT */
/* Control over a fake clock and doubles of the probe and the loader: what it publishes. */
#include "../../../src/control/ctl.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "doubles.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"
#include "firebreak/proc.h"

#define WALL (INT64_C(1700000000) * CLOCK_SEC)

static char dir[64];
static int64_t now_s; /* tenths of a second since the test began */
static struct net_loop *loop;
static struct board *board;
static struct ctl *ctl;
static bool was_set;
static int command[2];

/* Time passes in ticks. */
static void pass(int tenths)
{
	for (; tenths > 0; tenths--) {
		now_s++;
		clock_fake((1000 + now_s) * 100 * CLOCK_MS, WALL + now_s * 100 * CLOCK_MS);
		ctl_tick(ctl);
	}
}

static void start_with(struct conf *c)
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

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/fb-control-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	log_open(LOG_EVENTS, "off");
	now_s = 0;
	clock_fake(1000 * 100 * CLOCK_MS, WALL);
	test_probe_reset();
	loop = net_loop_create();
	board = board_create(2);
	start_with(test_conf(dir));
	return 0;
}

static int teardown(void **state)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	if (ctl)
		stop();
	net_loop_destroy(loop);
	board_destroy(board);
	while ((e = readdir(d))) {
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
	assert_int_equal(test_confs, 0);
	return rmdir(dir);
}

static struct board_live published(void)
{
	struct board_live live = { 0 };

	assert_true(board_read(board, &live));
	assert_memory_equal(&live, ctl_live(ctl), sizeof(live));
	return live;
}

static struct ctl_override override(enum ctl_kind kind, const char *subject, const char *value, int seconds)
{
	struct ctl_override o = { .kind = kind, .author = "kim", .reason = "drill", .until = clock_wall() + seconds * CLOCK_SEC };

	snprintf(o.subject, sizeof(o.subject), "%s", subject);
	snprintf(o.value, sizeof(o.value), "%s", value);
	return o;
}

static const char *set(enum ctl_kind kind, const char *subject, const char *value, int seconds, bool force)
{
	struct ctl_override o = override(kind, subject, value, seconds);

	return ctl_override_set(ctl, &o, force);
}

static void datacenter(char name, enum dc_state state)
{
	unsigned first = name == 'a' ? 0 : 2;

	test_probe_change(first, state, FAULT_CONNECT_REFUSED);
	test_probe_change(first + 1, state, FAULT_CONNECT_REFUSED);
}

static void publishes_at_start_and_then_on_change_only(void **state)
{
	uint64_t version = published().version;

	assert_int_equal(version, 1);
	assert_int_equal(published().degrade.mode, 0);
	assert_true(published().degrade.any_datacenter);
	assert_int_equal(published().degrade.share[0], DEGRADE_FULL);
	pass(20);
	assert_int_equal(published().version, version);
	test_probe_change(0, DC_DOWN, FAULT_CONNECT_REFUSED); /* at once, not at the tick */
	assert_int_equal(published().version, version + 1);
	assert_int_equal(published().dc.endpoint_state[0], DC_DOWN);
}

static void mode_follows_capacity(void **state)
{
	datacenter('a', DC_DOWN);
	assert_int_equal(ctl_reachable(ctl), 5000);
	assert_int_equal(published().degrade.mode, 1);
	datacenter('b', DC_DOWN);
	assert_int_equal(published().degrade.mode, 3);
	assert_false(published().degrade.any_datacenter);
	datacenter('b', DC_UP);
	assert_true(published().degrade.any_datacenter);
	assert_int_equal(published().degrade.mode, 3); /* down the ladder one rung at a time */
	pass(12);
	assert_int_equal(published().degrade.mode, 2);
	pass(12);
	assert_int_equal(published().degrade.mode, 1);
	pass(30);
	assert_int_equal(published().degrade.mode, 1);
	datacenter('a', DC_UP);
	pass(12);
	assert_int_equal(published().degrade.mode, 0);
}

static void a_forced_mode_wins_until_its_end(void **state)
{
	int64_t since;

	assert_null(set(CTL_MODE, "", "core-only", 3, false));
	assert_int_equal(published().degrade.mode, 2);
	assert_true(published().degrade.mode_forced);
	since = ctl_mode_since(ctl);
	assert_int_equal(since, clock_wall());
	datacenter('a', DC_DOWN);
	assert_int_equal(published().degrade.mode, 2);
	pass(29);
	assert_true(published().degrade.mode_forced);
	pass(1);
	assert_false(published().degrade.mode_forced);
	assert_int_equal(published().degrade.mode, 1); /* what capacity asks for */
	assert_int_equal(audit_verify(dir), 2);        /* set, expire */
}

static void words_shares_and_drains_reach_the_board(void **state)
{
	struct ctl_override o = override(CTL_FEATURE, "shop", "share", 60);
	size_t n;

	o.share = 2500;
	assert_null(ctl_override_set(ctl, &o, false));
	assert_int_equal(published().degrade.word[3], DEGRADE_SHARE);
	assert_int_equal(published().degrade.word_share[3], 2500);
	assert_null(set(CTL_FEATURE, "shop", "off", 60, false)); /* replaces */
	assert_int_equal(published().degrade.word[3], DEGRADE_OFF);
	ctl_overrides(ctl, &n);
	assert_int_equal(n, 1);
	assert_null(set(CTL_DRAIN, "a", "drain", 60, false));
	assert_true(published().dc.datacenter_state[0] == DC_DRAINING || published().dc.datacenter_state[0] == DC_DRAINED);
	assert_int_equal(published().dc.share[0], 0);
	assert_null(ctl_override_clear(ctl, CTL_DRAIN, "a", "lee", &was_set));
	assert_int_equal(published().dc.datacenter_state[0], DC_UP);
	assert_null(ctl_override_clear(ctl, CTL_FEATURE, "shop", "lee", &was_set));
	assert_int_equal(published().degrade.word[3], DEGRADE_AUTO);
	assert_int_equal(audit_verify(dir), 5);
}

static void wrong_ones_are_refused_with_their_kind(void **state)
{
	uint64_t version = published().version;

	assert_non_null(set(CTL_MODE, "", "moon", 60, true));
	assert_int_equal(ctl_refusal(ctl), CTL_UNKNOWN);
	assert_non_null(set(CTL_FEATURE, "moon", "off", 60, true));
	assert_int_equal(ctl_refusal(ctl), CTL_UNKNOWN);
	assert_non_null(set(CTL_FEATURE, "shop", "loud", 60, true));
	assert_int_equal(ctl_refusal(ctl), CTL_UNKNOWN);
	assert_non_null(set(CTL_DRAIN, "moon", "drain", 60, true));
	assert_int_equal(ctl_refusal(ctl), CTL_UNKNOWN);
	assert_non_null(set(CTL_MODE, "", "island", 72 * 3600 + 1, true));
	assert_int_equal(ctl_refusal(ctl), CTL_INVALID);
	assert_non_null(set(CTL_MODE, "", "island", 0, true));
	assert_int_equal(ctl_refusal(ctl), CTL_INVALID);
	assert_non_null(ctl_override_clear(ctl, CTL_FEATURE, "moon", "kim", &was_set));
	assert_int_equal(ctl_refusal(ctl), CTL_UNKNOWN);
	assert_non_null(ctl_override_clear(ctl, CTL_DRAIN, "moon", "kim", &was_set));
	assert_int_equal(ctl_refusal(ctl), CTL_UNKNOWN);
	/* As wanted already: no refusal, and nothing for the audit. */
	assert_null(ctl_override_clear(ctl, CTL_MODE, "", "kim", &was_set));
	assert_false(was_set);
	assert_null(ctl_override_clear(ctl, CTL_DRAIN, "a", "kim", &was_set));
	assert_null(ctl_override_clear(ctl, CTL_FEATURE, "shop", "kim", &was_set));
	assert_int_equal(ctl_refusal(ctl), CTL_OK);
	assert_int_equal(published().version, version);
	assert_int_equal(audit_verify(dir), 0);
}

static void unsafe_ones_need_force(void **state)
{
	static const struct {
		enum ctl_kind kind;
		const char *subject, *value;
	} unsafe[] = { { CTL_FEATURE, "send", "off" }, { CTL_FEATURE, "rooms", "stale-only" }, { CTL_FEATURE, "backup", "off" } };
	size_t i;

	for (i = 0; i < sizeof(unsafe) / sizeof(*unsafe); i++) {
		assert_non_null(set(unsafe[i].kind, unsafe[i].subject, unsafe[i].value, 60, false));
		assert_int_equal(ctl_refusal(ctl), CTL_UNSAFE);
		assert_null(set(unsafe[i].kind, unsafe[i].subject, unsafe[i].value, 60, true));
		assert_null(ctl_override_clear(ctl, unsafe[i].kind, unsafe[i].subject, "kim", &was_set));
	}
	/* Also while nobody could tell the difference: it would outlast the outage. */
	datacenter('a', DC_DOWN);
	datacenter('b', DC_DOWN);
	assert_non_null(set(CTL_FEATURE, "send", "off", 60, false));
	assert_int_equal(ctl_refusal(ctl), CTL_UNSAFE);
	datacenter('a', DC_UP);
	datacenter('b', DC_UP);
	assert_null(set(CTL_DRAIN, "a", "drain", 60, false));
	assert_non_null(set(CTL_DRAIN, "b", "drain", 60, false));
	assert_int_equal(ctl_refusal(ctl), CTL_UNSAFE);
	assert_null(set(CTL_DRAIN, "b", "drain", 60, true));
	assert_false(published().degrade.any_datacenter);
}

/* Half a minute of ramp after a hold of two seconds. */
static struct conf *slow_conf(const char *state_dir)
{
	struct conf *c = test_conf(state_dir);
	unsigned d;

	for (d = 0; d < 2; d++) {
		c->datacenter[d].restore_hold_ms = 2000;
		c->datacenter[d].restore_over_ms = 30000;
		c->datacenter[d].restore_first = 1000;
	}
	return c;
}

static void restart(struct conf *c)
{
	stop();
	start_with(c);
}

static void a_returning_datacenter_is_held_and_ramped(void **state)
{
	restart(slow_conf(dir));
	datacenter('a', DC_DOWN);
	assert_int_equal(published().dc.datacenter_state[0], DC_DOWN);
	datacenter('a', DC_UP);
	assert_int_equal(published().dc.datacenter_state[0], DC_PROBING);
	pass(19);
	assert_int_equal(published().dc.share[0], 0);
	assert_int_equal(ctl_reachable(ctl), 5000);
	pass(2);
	assert_int_equal(published().dc.datacenter_state[0], DC_RESTORING);
	assert_in_range(published().dc.share[0], 1000, 1050);
	pass(90);
	assert_in_range(published().dc.share[0], 3900, 4100);
	assert_true(published().dc.tier_share[0][1] < published().dc.share[0]);
	pass(200);
	assert_int_equal(published().dc.datacenter_state[0], DC_UP);
	assert_int_equal(published().dc.share[0], DEGRADE_FULL);
}

/* Neither from the beginning, nor as if nothing had been; and no jump for the time without it. */
static void a_new_process_goes_on_with_the_ramp(void **state)
{
	uint16_t share;

	restart(slow_conf(dir));
	datacenter('a', DC_DOWN);
	datacenter('a', DC_UP);
	pass(10); /* of the hold */
	now_s += 5;
	restart(slow_conf(dir));
	pass(4);
	assert_int_equal(published().dc.datacenter_state[0], DC_PROBING);
	pass(2);
	assert_int_equal(published().dc.datacenter_state[0], DC_RESTORING);
	pass(60);
	share = published().dc.share[0];
	now_s += 100;
	restart(slow_conf(dir));
	pass(1);
	assert_int_equal(published().dc.datacenter_state[0], DC_RESTORING);
	assert_in_range(published().dc.share[0], share, share + 200);
	datacenter('b', DC_DOWN);
	assert_int_equal(published().dc.share[0], DEGRADE_FULL); /* nobody else is left */
	pass(1);
	restart(slow_conf(dir));
	assert_int_equal(published().dc.datacenter_state[1], DC_DOWN);
}

static void a_reload_keeps_the_ramp_by_name(void **state)
{
	struct conf *next;
	uint16_t share;

	restart(slow_conf(dir));
	datacenter('a', DC_DOWN);
	datacenter('a', DC_UP);
	pass(60);
	share = published().dc.share[0];
	assert_in_range(share, 2000, 3000);
	test_probe_reset();
	next = test_conf_reordered(dir);
	next->generation = 2;
	next->datacenter[1].restore_hold_ms = 2000;
	next->datacenter[1].restore_over_ms = 30000;
	next->datacenter[1].restore_first = 1000;
	ctl_configure(ctl, next);
	assert_int_equal(published().dc.datacenter_state[0], DC_UP);
	assert_int_equal(published().dc.datacenter_state[1], DC_RESTORING);
	assert_in_range(published().dc.share[1], share, share + 100);
}

static void a_drain_takes_its_time(void **state)
{
	struct ctl_override o = override(CTL_DRAIN, "a", "drain", 60);

	restart(slow_conf(dir));
	o.over = 61 * CLOCK_SEC;
	assert_non_null(ctl_override_set(ctl, &o, true));
	assert_int_equal(ctl_refusal(ctl), CTL_INVALID);
	o.over = 20 * CLOCK_SEC;
	assert_null(ctl_override_set(ctl, &o, false));
	assert_int_equal(published().dc.datacenter_state[0], DC_DRAINING);
	pass(50);
	assert_in_range(published().dc.share[0], 7400, 7600);
	now_s += 50;
	restart(slow_conf(dir));
	pass(1);
	assert_in_range(published().dc.share[0], 4900, 5100);
	pass(100);
	assert_int_equal(published().dc.datacenter_state[0], DC_DRAINED);
	datacenter('a', DC_DOWN);
	datacenter('a', DC_UP);
	pass(50);
	assert_int_equal(published().dc.datacenter_state[0], DC_DRAINED);
	assert_null(ctl_override_clear(ctl, CTL_DRAIN, "a", "lee", &was_set));
	assert_int_equal(published().dc.datacenter_state[0], DC_RESTORING);
	assert_int_equal(published().dc.share[0], 1000);
}

static void a_hold_is_ended_by_hand(void **state)
{
	restart(slow_conf(dir));
	datacenter('a', DC_DOWN);
	assert_null(ctl_override_clear(ctl, CTL_DRAIN, "a", "lee", &was_set));
	assert_false(was_set);
	datacenter('a', DC_UP);
	pass(3);
	assert_null(ctl_override_clear(ctl, CTL_DRAIN, "a", "lee", &was_set));
	assert_true(was_set);
	assert_int_equal(published().dc.datacenter_state[0], DC_RESTORING);
	assert_int_equal(audit_verify(dir), 1);
}

/* What is left has to carry core. */
static void a_drain_leaves_core_its_capacity(void **state)
{
	struct conf *c = test_conf(dir);

	c->datacenter[0].capacity = 900;
	c->overload.core_floor = 2000;
	restart(c);
	assert_non_null(set(CTL_DRAIN, "a", "drain", 60, false));
	assert_int_equal(ctl_refusal(ctl), CTL_UNSAFE);
	assert_null(set(CTL_DRAIN, "b", "drain", 60, false));
	assert_null(set(CTL_DRAIN, "a", "drain", 60, true));
}

static void overrides_survive_the_process(void **state)
{
	assert_null(set(CTL_MODE, "", "core-only", 60, false));
	assert_null(set(CTL_FEATURE, "shop", "off", 1, false));
	stop();
	pass(0);
	now_s += 20;
	clock_fake((1000 + now_s) * 100 * CLOCK_MS, WALL + now_s * 100 * CLOCK_MS);
	start_with(test_conf(dir)); /* shop's ended meanwhile */
	assert_int_equal(published().degrade.mode, 2);
	assert_true(published().degrade.mode_forced);
	assert_int_equal(published().degrade.word[3], DEGRADE_AUTO);
	assert_null(ctl_override_clear(ctl, CTL_MODE, "", "kim", &was_set));
	stop();
	start_with(test_conf(dir));
	assert_false(published().degrade.mode_forced);
}

static void without_a_state_dir_they_live_in_memory(void **state)
{
	stop();
	start_with(test_conf(NULL));
	assert_null(set(CTL_MODE, "", "core-only", 60, false));
	assert_int_equal(published().degrade.mode, 2);
}

static void a_disk_that_fails_needs_force_and_is_tried_again(void **state)
{
	char path[128];

	/* A folder where the temporary file goes stands for any disk error (root may
	 * write everywhere). */
	snprintf(path, sizeof(path), "%s/overrides.json.new", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_non_null(set(CTL_MODE, "", "core-only", 60, false));
	assert_int_equal(ctl_refusal(ctl), CTL_NOT_KEPT);
	assert_false(published().degrade.mode_forced);
	assert_null(set(CTL_MODE, "", "core-only", 60, true));
	assert_true(published().degrade.mode_forced);
	/* That another one is refused does not make this one kept. */
	assert_non_null(set(CTL_FEATURE, "shop", "off", 60, false));
	assert_int_equal(ctl_refusal(ctl), CTL_NOT_KEPT);
	rmdir(path);
	pass(60);
	stop();
	start_with(test_conf(dir));
	assert_true(published().degrade.mode_forced);
}

static void a_new_process_trusts_the_board_until_it_knows(void **state)
{
	datacenter('a', DC_DOWN);
	assert_int_equal(published().degrade.mode, 1);
	stop();
	test_probe_reset(); /* a new probe knows nothing: up */
	start_with(test_conf(dir));
	assert_int_equal(published().dc.endpoint_state[0], DC_DOWN);
	assert_int_equal(published().dc.endpoint_state[2], DC_UP);
	assert_int_equal(published().degrade.mode, 1);
	test_probe(0)->ok_run = 1;
	test_probe(1)->state = DC_SUSPECT;
	pass(1);
	assert_int_equal(published().dc.endpoint_state[0], DC_DOWN);
	assert_int_equal(published().dc.endpoint_state[1], DC_DOWN);
	test_probe(0)->ok_run = 2; /* rise */
	pass(1);
	assert_int_equal(published().dc.endpoint_state[0], DC_UP);
	assert_int_equal(published().dc.endpoint_state[1], DC_DOWN);
	pass(30); /* and not for ever */
	assert_int_equal(published().dc.endpoint_state[1], DC_SUSPECT);
}

static void a_reload_keeps_overrides_and_states_by_name(void **state)
{
	uint64_t version;

	datacenter('a', DC_DOWN);
	assert_null(set(CTL_FEATURE, "backup", "stale-only", 60, true));
	assert_null(set(CTL_FEATURE, "shop", "off", 60, true));
	version = published().version;
	test_probe_reset();
	struct conf *next = test_conf_reordered(dir);

	next->generation = 2;
	ctl_configure(ctl, next);
	assert_true(published().version > version);
	assert_int_equal(published().generation, 2);
	assert_int_equal(published().degrade.word[0], DEGRADE_STALE_ONLY);
	assert_int_equal(published().degrade.word[3], DEGRADE_AUTO); /* unnamed, where shop was */
	assert_int_equal(published().dc.endpoint_state[0], DC_UP);
	assert_int_equal(published().dc.endpoint_state[2], DC_DOWN); /* datacenter a */
	assert_int_equal(published().degrade.mode, 1);
	net_loop_turn(loop, 0);
	assert_int_equal(test_confs, 2); /* in force, and the one before */
	assert_int_equal(ctl_conf_before(ctl)->generation, 1);
	ctl_configure(ctl, test_conf(dir));
	net_loop_turn(loop, 0);
	assert_int_equal(test_confs, 2);
	assert_int_equal(ctl_conf_before(ctl)->generation, 2);
	assert_int_equal(published().degrade.word[3], DEGRADE_OFF); /* shop's slept */
}

static void requests(unsigned endpoint, unsigned well, unsigned errors)
{
	*test_traffic(endpoint) = (struct dc_traffic){ .well = well, .errors = errors };
}

static unsigned away(unsigned endpoint)
{
	return published().dc.endpoint_away[endpoint];
}

/* It passes its checks and fails its requests; whoever takes over goes on from there. */
static void an_outlier_loses_its_share(void **state)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		requests(i, 20, 0);
	pass(20);
	assert_int_equal(published().dc.spread, DC_SPREAD_EVEN);
	assert_in_range(ctl_outliers(ctl)->looks, 6, 8); /* a few a second, not one a tick */
	requests(1, 0, 20);
	pass(4);
	assert_true(away(1) >= 8000);
	assert_int_equal(away(0) + away(2) + away(3), 0);
	assert_int_equal(published().dc.spread, DC_SPREAD_MOVED);
	assert_int_equal(published().dc.endpoint_state[1], DC_UP);
	test_probe_reset();
	ctl_configure(ctl, test_conf_reordered(dir));
	assert_true(away(3) >= 8000); /* the same one */
	assert_int_equal(away(1), 0);
	stop();
	start_with(test_conf_reordered(dir));
	assert_int_equal(away(3), 10000 - ctl_outliers(ctl)->endpoint[3].share);
	assert_true(away(3) >= 8000);
	for (i = 0; i < 4; i++)
		requests(i, 20, 0);
	pass(600);
	assert_int_equal(away(3), 0);
	assert_int_equal(published().dc.spread, DC_SPREAD_EVEN);
}

static void a_datacenter_worse_than_the_other(void **state)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		requests(i, i < 2 ? 10 : 20, i < 2 ? 10 : 0);
	pass(20);
	assert_true(published().dc.share[0] < DEGRADE_FULL);
	assert_int_equal(published().dc.share[1], DEGRADE_FULL);
	assert_int_equal(published().dc.spread, DC_SPREAD_MOVED);
}

/* The checks of everything fail. Whether that is believed is up to the requests. */
static void checks_nobody_believes(void **state)
{
	unsigned i;

	test_works(0xf);
	for (i = 0; i < 4; i++)
		test_probe_change(i, DC_DOWN, FAULT_CHECK_UNKNOWN);
	for (i = 0; i < 4; i++)
		assert_int_equal(published().dc.endpoint_state[i], DC_SUSPECT);
	assert_int_equal(published().dc.spread, DC_SPREAD_PANIC);
	assert_int_equal(ctl_reachable(ctl), DEGRADE_FULL);
	assert_true(published().degrade.any_datacenter);
	test_probe_change(0, DC_PROBING, FAULT_CHECK_UNKNOWN); /* their first steps are no reason to jump there */
	test_probe_change(0, DC_UP, FAULT_NONE);
	assert_int_equal(published().dc.endpoint_state[0], DC_SUSPECT);
	test_works(0xe); /* requests to this one fail by now: it is not kept */
	test_probe_change(0, DC_DOWN, FAULT_CONNECT_REFUSED);
	assert_int_equal(published().dc.endpoint_state[0], DC_DOWN);
	assert_int_equal(published().dc.endpoint_state[1], DC_SUSPECT);
	datacenter('a', DC_UP); /* half of it is back */
	assert_int_equal(published().dc.endpoint_state[0], DC_UP);
	assert_int_equal(published().dc.endpoint_state[2], DC_DOWN);
	assert_int_equal(published().dc.spread, DC_SPREAD_EVEN);
	test_works(0);
	for (i = 0; i < 4; i++)
		test_probe_change(i, DC_DOWN, FAULT_CHECK_FAILED);
	assert_false(published().degrade.any_datacenter);
	test_works(0xf);
	for (i = 0; i < 4; i++)
		test_probe_change(i, DC_DOWN, FAULT_CONNECT_REFUSED); /* no answer: nothing to disbelieve */
	assert_false(published().degrade.any_datacenter);
}

/* Whoever takes over knows nothing of the checks yet, and goes on not to believe them. */
static void checks_nobody_believes_over_a_restart(void **state)
{
	unsigned i, d;

	test_works(0xf);
	for (i = 0; i < 4; i++)
		test_probe_change(i, DC_DOWN, FAULT_CHECK_FAILED);
	assert_int_equal(published().dc.spread, DC_SPREAD_PANIC);
	stop();
	test_probe_reset();
	start_with(test_conf(dir));
	for (i = 0; i < 4; i++) { /* its own checks fail one after the other */
		pass(1);
		assert_int_equal(published().dc.spread, DC_SPREAD_PANIC);
		for (d = 0; d < 4; d++)
			assert_int_equal(published().dc.endpoint_state[d], DC_SUSPECT);
		for (d = 0; d < 2; d++)
			assert_int_equal(published().dc.datacenter_state[d], DC_UP);
		test_works(UINT64_C(1) << i | (i ? (UINT64_C(1) << i) - 1 : 0));
		test_probe_change(i, DC_DOWN, FAULT_CHECK_FAILED);
	}
	pass(50);
	assert_int_equal(published().dc.spread, DC_SPREAD_PANIC);
	stop();
	test_probe_reset();
	start_with(test_conf(dir));
	pass(1);
	datacenter('a', DC_DOWN); /* no answer, whatever was known before */
	assert_int_equal(published().dc.endpoint_state[0], DC_DOWN);
	assert_int_equal(published().dc.endpoint_state[2], DC_SUSPECT);
	for (i = 2; i < 4; i++) {
		test_probe(i)->ok_run = 2;
		test_probe(i)->state = DC_UP;
	}
	pass(1);
	assert_int_equal(published().dc.spread, DC_SPREAD_EVEN);
	assert_int_equal(published().dc.endpoint_state[2], DC_UP);
}

/* The real loop, commands from a supervisor, real time. */
static void *server_start(struct ctl *c, struct net_loop *l, int fd)
{
	close(fd);
	ctl = c;
	return c;
}

static void server_stop(void *server)
{
	ctl = NULL;
}

static void commands_are_obeyed(void **state)
{
	static const struct ctl_server server = { server_start, server_stop };
	struct ctl_args args = { .board = board, .conf = test_conf(NULL), .admin = &server };
	struct board_live live = { 0 };
	struct conf *next = test_conf(NULL);
	int pair[2], fd;

	stop();
	assert_true(proc_pair(command) && !pipe(pair));
	args.command_fd = command[1];
	args.admin_fd = pair[0];
	test_conf_next(next);
	fd = proc_bytes_to_fd("node: x", 7);
	assert_true(proc_send(command[0], PROC_CONFIG, 42, fd));
	assert_true(proc_send(command[0], PROC_CONFIG, 43, fd)); /* this one is wrong */
	assert_true(proc_send(command[0], PROC_CONFIG, 44, -1));
	assert_true(proc_send(command[0], PROC_STOP, 0, -1));
	assert_int_equal(ctl_run(&args), 0);
	assert_true(board_read(board, &live));
	assert_int_equal(live.generation, 42);
	close(fd);
	close(pair[1]);
	close(command[0]);
	close(command[1]);
	ctl = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(publishes_at_start_and_then_on_change_only),
		T(mode_follows_capacity),
		T(a_forced_mode_wins_until_its_end),
		T(words_shares_and_drains_reach_the_board),
		T(wrong_ones_are_refused_with_their_kind),
		T(unsafe_ones_need_force),
		T(a_returning_datacenter_is_held_and_ramped),
		T(a_new_process_goes_on_with_the_ramp),
		T(a_reload_keeps_the_ramp_by_name),
		T(a_drain_takes_its_time),
		T(a_hold_is_ended_by_hand),
		T(a_drain_leaves_core_its_capacity),
		T(overrides_survive_the_process),
		T(without_a_state_dir_they_live_in_memory),
		T(a_disk_that_fails_needs_force_and_is_tried_again),
		T(a_new_process_trusts_the_board_until_it_knows),
		T(a_reload_keeps_overrides_and_states_by_name),
		T(an_outlier_loses_its_share),
		T(a_datacenter_worse_than_the_other),
		T(checks_nobody_believes),
		T(checks_nobody_believes_over_a_restart),
		T(commands_are_obeyed),
	};

	return !crypt_init() || cmocka_run_group_tests(tests, NULL, NULL);
}
