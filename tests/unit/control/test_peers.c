/* SPDX-License-Identifier: MIT */
/* What other nodes say: read strictly, counted while fresh, forgotten in time. */
#include "../../../src/control/peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SELF "ffffffffffffffff"
#define BOOT "0000000000000001"

static struct peers p;
static int64_t now;

static int setup(void **state)
{
	memset(&p, 0, sizeof(p));
	memcpy(p.self, SELF, sizeof(p.self));
	now = 100 * CLOCK_SEC;
	return 0;
}

static struct peer_word word(const char *node, uint64_t sequence, enum peer_verdict pangyo, enum peer_verdict anyang)
{
	struct peer_word w = { .sequence = sequence, .datacenters = 2, .datacenter = { { "pangyo", (uint8_t)pangyo }, { "anyang", (uint8_t)anyang } } };

	snprintf(w.node, sizeof(w.node), "%s", node);
	return w;
}

static bool hear(unsigned boot, const struct peer_word *w)
{
	char name[PEER_BOOT + 1], text[PEER_VALUE];

	snprintf(name, sizeof(name), "%016x", boot);
	return peers_hear(&p, name, PEER_BOOT, text, peer_print(w, name, p.key, text), now);
}

/* A node that lives: heard twice. */
static void living(unsigned boot, enum peer_verdict pangyo, bool dissent)
{
	char node[16];
	struct peer_word w;

	snprintf(node, sizeof(node), "node-%u", boot);
	w = word(node, (uint64_t)(now / CLOCK_MS), pangyo, PEER_UP);
	w.dissent = dissent;
	hear(boot, &w);
	w.sequence++;
	hear(boot, &w);
}

static void goes_and_comes_back(void **state)
{
	struct peer_word w = word("node-1", UINT64_C(9999999999999), PEER_UP, PEER_DOWN), r;
	char text[PEER_VALUE];
	size_t len;
	unsigned d;

	assert_int_equal(peer_parse(text, peer_print(&w, BOOT, p.key, text), BOOT, p.key, &r), PEER_GOOD);
	assert_memory_equal(&w, &r, sizeof(w));
	/* The longest there is. */
	memset(w.node, 'n', sizeof(w.node) - 1);
	w.sequence = UINT64_C(9999999999999999999);
	w.dissent = true;
	w.datacenters = CONF_MAX_DATACENTERS;
	for (d = 0; d < CONF_MAX_DATACENTERS; d++) {
		memset(w.datacenter[d].name, 'a' + (int)d, 32);
		w.datacenter[d].verdict = PEER_UNSURE;
	}
	len = peer_print(&w, BOOT, p.key, text);
	assert_true(len < PEER_VALUE - 1 && strlen(text) == len);
	assert_int_equal(peer_parse(text, len, BOOT, p.key, &r), PEER_GOOD);
	assert_memory_equal(&w, &r, sizeof(w));
}

/* Cut anywhere, any octet changed: never good, except as another version. */
static void damage_is_noticed(void **state)
{
	struct peer_word w = word("node-1", 77, PEER_UP, PEER_DOWN), r;
	char text[PEER_VALUE], bad[PEER_VALUE];
	size_t len = peer_print(&w, BOOT, p.key, text), i;
	int octet;

	for (i = 0; i < len; i++) {
		assert_int_not_equal(peer_parse(text, i, BOOT, p.key, &r), PEER_GOOD);
		for (octet = 0; octet < 256; octet++) {
			memcpy(bad, text, len);
			bad[i] = (char)octet;
			if (bad[i] != text[i])
				assert_int_not_equal(peer_parse(bad, len, BOOT, p.key, &r), PEER_GOOD);
		}
	}
	memcpy(bad, text, len);
	memset(bad + len, ' ', sizeof(bad) - len);
	assert_int_equal(peer_parse(bad, sizeof(bad), BOOT, p.key, &r), PEER_JUNK);
	assert_int_equal(peer_parse("", 0, BOOT, p.key, &r), PEER_JUNK);
	assert_int_equal(peer_parse("3 whatever comes", 16, BOOT, p.key, &r), PEER_OTHER_VERSION);
}

/* With a right sum, as somebody who knows it would write. */
static void nonsense_is_junk(void **state)
{
	struct peer_word w = word("node-1", 77, PEER_UP, PEER_DOWN), r;
	char text[PEER_VALUE];
	unsigned i;
	static const char *const names[] = { "with blank", "" };

	for (i = 0; i < 2; i++) {
		snprintf(w.datacenter[1].name, sizeof(w.datacenter[1].name), "%s", names[i]);
		assert_int_equal(peer_parse(text, peer_print(&w, BOOT, p.key, text), BOOT, p.key, &r), PEER_JUNK);
	}
	w = word("", 77, PEER_UP, PEER_DOWN);
	assert_int_equal(peer_parse(text, peer_print(&w, BOOT, p.key, text), BOOT, p.key, &r), PEER_JUNK);
	w = word("two words", 77, PEER_UP, PEER_DOWN);
	assert_int_equal(peer_parse(text, peer_print(&w, BOOT, p.key, text), BOOT, p.key, &r), PEER_JUNK);
	assert_false(peers_hear(&p, "short", 5, text, 3, now));
	w = word("\033[2Jmoon", 77, PEER_UP, PEER_DOWN); /* it is shown to people */
	assert_int_equal(peer_parse(text, peer_print(&w, BOOT, p.key, text), BOOT, p.key, &r), PEER_JUNK);
	w = word("\xff\xfe", 77, PEER_UP, PEER_DOWN);
	assert_int_equal(peer_parse(text, peer_print(&w, BOOT, p.key, text), BOOT, p.key, &r), PEER_JUNK);
	w = word("node-1", 77, PEER_UP, PEER_DOWN);
	assert_false(peers_hear(&p, "000000000000000G", PEER_BOOT, text, peer_print(&w, BOOT, p.key, text), now));
	assert_false(peers_hear(&p, "0000000000000001", PEER_BOOT, "2 junk", 6, now));
	assert_int_equal(p.junk, 3);
	assert_int_equal(p.count, 0);
	assert_true(peers_hear(&p, "0000000000000001", PEER_BOOT, "3 tomorrow's", 12, now)); /* not ours to take away */
	assert_int_equal(p.count, 0);
}

static void fresh_by_changes_seen(void **state)
{
	struct peer_word w = word("node-1", 5, PEER_UP, PEER_UP);
	char text[PEER_VALUE];

	hear(1, &w);
	assert_int_equal(peers_fresh(&p, now), 0); /* it may have died long ago */
	now += CLOCK_SEC;
	hear(1, &w);
	assert_int_equal(peers_fresh(&p, now), 0);
	w.sequence = 4; /* said again by somebody: its own counter only grows */
	hear(1, &w);
	assert_int_equal(peers_fresh(&p, now), 0);
	w.sequence = 6;
	hear(1, &w);
	assert_int_equal(peers_fresh(&p, now), 1);
	now += PEERS_FRESH - 1;
	assert_true(hear(1, &w));
	assert_int_equal(peers_fresh(&p, now), 1);
	now += 1;
	assert_int_equal(peers_fresh(&p, now), 0);
	now += PEERS_GONE;
	assert_false(hear(1, &w)); /* to be taken away */
	assert_int_equal(p.count, 0);
	/* Our own is no peer. */
	assert_true(peers_hear(&p, SELF, PEER_BOOT, text, peer_print(&w, SELF, p.key, text), now));
	assert_int_equal(p.count, 0);
}

/* Who has not the key says nothing, and nothing twice. */
static void words_are_signed(void **state)
{
	struct peer_word w = word("node-1", 5, PEER_UP, PEER_UP), later = word("node-1", 6, PEER_DOWN, PEER_UP);
	char text[PEER_VALUE], forged[PEER_VALUE];
	const uint8_t other[PEER_KEY] = { 0 };
	size_t len;

	memset(p.key, 'k', sizeof(p.key));
	len = peer_print(&w, BOOT, p.key, text);
	assert_false(peers_hear(&p, BOOT, PEER_BOOT, forged, peer_print(&w, BOOT, other, forged), now));
	assert_false(peers_hear(&p, "0000000000000002", PEER_BOOT, text, len, now)); /* another's */
	assert_int_equal(p.count, 0);
	assert_true(peers_hear(&p, BOOT, PEER_BOOT, text, len, now));
	hear(1, &later);
	assert_int_equal(peers_count(&p, "pangyo", now).down, 1);
	now += PEERS_FRESH;
	assert_true(peers_hear(&p, BOOT, PEER_BOOT, text, len, now)); /* an old one of its own */
	assert_int_equal(peers_fresh(&p, now), 0);
	assert_int_equal(p.peer[0].word.sequence, 6);
}

static void names(void **state)
{
	assert_false(peers_same_name(&p, "node-1", now));
	living(1, PEER_UP, false);
	assert_true(peers_same_name(&p, "node-1", now));
	assert_false(peers_same_name(&p, "node-2", now));
	assert_false(peers_same_name(&p, "node-1", now + PEERS_FRESH));
}

static void bounded(void **state)
{
	unsigned i;

	for (i = 1; i <= PEERS_MAX; i++)
		living(i, PEER_UP, false);
	assert_int_equal(peers_fresh(&p, now), PEERS_MAX);
	living(1000, PEER_UP, false);
	assert_true(p.full);
	assert_int_equal(p.count, PEERS_MAX);
	now += PEERS_FRESH + 1; /* those who fell silent make room */
	living(1001, PEER_UP, false);
	assert_int_equal(peers_fresh(&p, now), 1);
	assert_false(p.full);
}

/* others: what they say of pangyo, a letter each; upper case: in dissent. up and down: for the machine. */
static void quorum(void **state)
{
	static const struct {
		const char *others;
		unsigned up, down;
		bool may_leave;
	} table[] = {
		{ "", 0, 0, false },
		{ "u", 0, 0, true }, /* two nodes: nobody knows who is right */
		{ "d", 0, 0, true },
		{ "uu", 2, 0, true },
		{ "ud", 0, 1, true },
		{ "us", 0, 0, true },
		{ "dd", 0, 2, true },
		{ "uud", 2, 1, true },
		{ "uuss", 0, 0, true }, /* half is not most */
		{ "uuus", 3, 0, true },
		{ "uU", 2, 0, false }, /* the other one is alone as well */
		{ "uuU", 3, 0, true },
		{ "UUU", 3, 0, false },
	};
	const char *o;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct dc_peers n;

		setup(NULL);
		for (o = table[i].others; *o; o++)
			living((unsigned)(o - table[i].others + 1), *o == 'd' ? PEER_DOWN : *o == 's' ? PEER_UNSURE : PEER_UP, *o == 'U');
		n = peers_quorum(&p, "pangyo", now);
		if (n.up != table[i].up || n.down != table[i].down || peers_may_leave(&p, now) != table[i].may_leave)
			fail_msg("\"%s\": up %u, down %u, may leave %d", table[i].others, n.up, n.down, peers_may_leave(&p, now));
		n = peers_quorum(&p, "elsewhere", now);
		assert_int_equal(n.up + n.down, 0);
		n = peers_quorum(&p, "pangyo", now + PEERS_FRESH);
		assert_int_equal(n.up + n.down, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, setup)
		T(goes_and_comes_back), T(damage_is_noticed), T(nonsense_is_junk), T(fresh_by_changes_seen), T(words_are_signed), T(names), T(bounded), T(quorum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
