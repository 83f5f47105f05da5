/* SPDX-License-Identifier: MIT */
/* Figures and assertions over samples made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../../bench/run/summary.h"

#define MS  INT64_C(1000000)
#define SEC INT64_C(1000000000)

enum { SEND, ROOMS, SHOP };

static struct scenario *scenario(void)
{
	static struct scenario s;

	s = (struct scenario){ .name = "made by hand", .duration = 20 * SEC, .features = 3, .windows = 2, .scale = 1, .threads = 1, .path = "hand.yaml" };
	s.feature[SEND] = (struct scenario_feature){ .name = "send", .tier = "core", .does = VERB_SEND, .share = 1,
						     .success = 1 << OUTCOME_SERVED | 1 << OUTCOME_FAILED_OVER | 1 << OUTCOME_ACCEPTED };
	s.feature[ROOMS] = (struct scenario_feature){ .name = "room-list", .tier = "core", .does = VERB_ROOMS, .share = 1,
						      .success = 1 << OUTCOME_SERVED | 1 << OUTCOME_FAILED_OVER | 1 << OUTCOME_STALE };
	s.feature[SHOP] = (struct scenario_feature){ .name = "shopping.v2", .tier = "optional", .does = VERB_SHOP, .share = 1, .success = 1 << OUTCOME_SERVED };
	s.datacenter[0] = (struct scenario_datacenter){ .name = "pangyo", .endpoints = 4 };
	s.datacenters = 1;
	s.event[0] = (struct scenario_event){ .at = 10 * SEC, .action = ACTION_FAULT, .fault = SFAULT_KILL, .endpoints = ~UINT64_C(0) };
	s.event[1] = (struct scenario_event){ .at = 15 * SEC, .action = ACTION_HEAL, .fault = SFAULT_KILL, .endpoints = 3 };
	s.event[2] = (struct scenario_event){ .at = 17 * SEC, .action = ACTION_HEAL, .fault = SFAULT_KILL, .endpoints = 12 };
	s.event[3] = (struct scenario_event){ .at = 19 * SEC, .action = ACTION_FAULT, .fault = SFAULT_LATENCY, .datacenter = -1, .endpoints = ~UINT64_C(0) };
	s.event[4] = (struct scenario_event){ .at = 5 * SEC, .action = ACTION_FAULT, .fault = SFAULT_KILL, .datacenter = PLACE_CONTROL, .endpoints = ~UINT64_C(0) };
	s.events = 5;
	s.window[0] = (struct scenario_window){ "calm", 0, 10 * SEC };
	s.window[1] = (struct scenario_window){ "outage", 10 * SEC, 20 * SEC };
	return &s;
}

/* Ten of each feature a second, 1..10 ms; from second 10 on core fails for 500 ms, then 200 ms each;
 * shopping is refused from there on. */
static void fill(struct result *r)
{
	static struct sample sample[600];
	static struct mark mark[2] = { { 10 * SEC, 'f', "pangyo: kill" }, { 15 * SEC, 'h', "pangyo: kill" } };
	int64_t at;
	unsigned f, n = 0, i;

	for (i = 0; i < 200; i++) {
		for (f = 0; f < 3; f++) {
			struct sample *s = &sample[n++];

			at = i * 100 * MS;
			*s = (struct sample){ .intended = at, .feature = (uint16_t)f, .outcome = OUTCOME_SERVED, .latency_us = 1000 * (1 + i % 10), .late_us = 100 };
			if (at < 10 * SEC)
				continue;
			if (f == SHOP) {
				s->outcome = OUTCOME_REFUSED;
				s->latency_us = 100;
			} else if (at < 10 * SEC + 500 * MS) {
				s->outcome = OUTCOME_FAILED;
				s->latency_us = 400000;
			} else {
				s->outcome = f == SEND ? OUTCOME_FAILED_OVER : OUTCOME_STALE;
				s->latency_us = 200000;
				s->age_s = f == SEND ? 0 : i / 10;
			}
		}
	}
	*r = (struct result){ .s = scenario(), .sample = sample, .samples = n, .mark = mark, .marks = 2, .sent = n, .lasted = 20 * SEC };
	r->ledger = (struct ledger){ .checked = true, .acknowledged = 100, .lost = 2 };
}

static void test_assertions(void **state)
{
	static const struct {
		const char *text;
		double found;
		bool held;
	} cases[] = {
		{ "send.success_ratio >= 0.999 during calm", 1, true },
		{ "send.success_ratio >= 95% during outage", 0.95, true },
		{ "send.success_ratio > 95% during outage", 0.95, false },
		{ "shopping.v2.refused == 100", 100, true },
		{ "shopping.v2.refused_ratio == 1 during outage", 1, true },
		{ "optional.served == 0 during outage", 0, true },
		{ "core.failed == 10", 10, true },
		{ "core-reads.stale > 90", 95, true },
		{ "count == 600", 600, true },
		{ "all.count == 300 during outage", 300, true },
		{ "send.p50 <= 5ms during calm", 5, true },
		{ "send.p99 < 10ms during calm", 10, false },
		{ "send.max == 0.4s", 400, true },
		{ "send.service_p50 <= 4900us during calm", 4.9, true },
		{ "shopping.v2.max <= 10ms", 10, true }, /* refusals are not in it */
		{ "room-list.age_max <= 19s", 19, true },
		{ "core.goodput >= 19.0/s during outage", 19, true },
		{ "time_to_failover <= 1s during outage", 700, true },
		{ "time_to_failover <= 600ms during outage", 700, false },
		{ "time_to_recover <= 500ms during outage", 500, true },
		{ "time_to_recover < 500ms", 500, false },
		{ "core.gap < 1s during outage", 700, true },
		{ "lost == 0", 2, false },
		{ "duplicated == 0", 0, true },
		{ "wrong_user == 0", 0, true },
		{ "dropped == 0", 0, true },
	};
	struct result r;
	char why[JUDGE_WHY];
	size_t i, n = sizeof(cases) / sizeof(*cases);

	fill(&r);
	for (i = 0; i < n; i++) {
		((struct scenario *)r.s)->assertion[i] = cases[i].text;
		((struct scenario *)r.s)->assertions++;
		if (!judge_parse(r.s, cases[i].text, why))
			fail_msg("%s: %s", cases[i].text, why);
	}
	judge_all(&r);
	assert_int_equal(r.code, RUN_FAILED);
	for (i = 0; i < n; i++) {
		if (r.judged[i].held != cases[i].held || r.judged[i].found - cases[i].found > 1e-9 || cases[i].found - r.judged[i].found > 1e-9)
			print_error("%s: found %g\n", cases[i].text, r.judged[i].found);
		assert_true(r.judged[i].known);
		assert_int_equal(r.judged[i].held, cases[i].held);
		assert_float_equal(r.judged[i].found, cases[i].found, 1e-9);
	}
}

/* What cannot be told has not held. */
static void test_unknown(void **state)
{
	struct result r;
	struct scenario *s;

	fill(&r);
	s = (struct scenario *)r.s;
	r.ledger.checked = false;
	r.samples = 0;
	s->assertion[0] = "lost == 0";
	s->assertion[1] = "send.failed == 0";
	s->assertion[2] = "time_to_failover <= 1s during calm";
	s->assertions = 3;
	judge_all(&r);
	assert_int_equal(r.code, RUN_FAILED);
	assert_false(r.judged[0].held || r.judged[1].held || r.judged[2].held);
	assert_false(r.judged[0].known || r.judged[1].known || r.judged[2].known);
	fill(&r);
	r.lasted = 15 * SEC; /* ended early */
	s->assertions = 1;
	s->assertion[0] = "send.success_ratio >= 0.5 during outage";
	judge_all(&r);
	assert_false(r.judged[0].held || r.judged[0].known);
	fill(&r);
	r.invalid = "the generator was late";
	judge_all(&r);
	assert_int_equal(r.code, RUN_INVALID);
}

static void test_not_assertions(void **state)
{
	static const char *const cases[] = {
		"", "send", "send.success_ratio", "send.success_ratio >=", "send.success_ratio => 1", "sent.failed == 0", "send.faild == 0",
		"send.failed == 0 while outage", "send.failed == 0 during", "send.failed == 0 during outages", "send.failed == 0 during outage now",
		"send.p99 < 100", "send.p99 < 100kg", "send.failed == 1s", "send.failed == many", "send.success_ratio >= 99s", "send.lost == 0",
		"lost == 0 during outage", "send.failed == 0x", "send.failed == inf", "send.age_max < 3",
		"dc.pangyo.failed == 0", "dc.pangyo == 0", "dc.anyang.share > 0", "share > 0", "send.transitions == 0", "dc.pangyo.share > 1s",
	};
	struct scenario *s = scenario();
	char why[JUDGE_WHY];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		why[0] = '\0';
		if (judge_parse(s, cases[i], why))
			fail_msg("\"%s\" was taken", cases[i]);
		assert_true(why[0]);
	}
}

/* Every octet of a name goes into the page escaped, and the page asks for nothing. */
static void test_page(void **state)
{
	struct result r;
	struct summary *s;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	const char *path = getenv("PAGE"); /* to look at it */

	fill(&r);
	snprintf(((struct scenario *)r.s)->name, 65, "<script>\"&'");
	((struct scenario *)r.s)->assertion[0] = "send.failed < 1";
	((struct scenario *)r.s)->assertions = 1;
	judge_all(&r);
	s = summary_create(&r);
	assert_non_null(s);
	assert_true(result_page(s, out));
	fclose(out);
	assert_null(strstr(text, "<script"));
	assert_non_null(strstr(text, "&lt;script&gt;&quot;&amp;'"));
	assert_null(strstr(text, "http"));
	assert_null(strstr(text, "nan"));
	assert_non_null(strstr(text, "1 of 1 assertions did not hold."));
	if (path && (out = fopen(path, "we"))) {
		fputs(text, out);
		fclose(out);
	}
	free(text);
	summary_free(s);
}

static void test_summary(void **state)
{
	struct result r;
	struct summary *s;
	uint64_t n = 0, h = 0;
	unsigned i, o;

	fill(&r);
	s = summary_create(&r);
	assert_non_null(s);
	assert_true(s->bins <= SUMMARY_BINS + 1);
	for (i = 0; i < s->bins; i++)
		for (o = 0; o < OUTCOME_COUNT; o++)
			n += s->bin[i].outcome[SEND][o];
	assert_int_equal(n, 200);
	for (i = 0; i < SUMMARY_BUCKETS; i++)
		h += s->histogram[0][i];
	assert_int_equal(h, 400); /* core; nothing of it was refused */
	assert_int_equal(s->faults, 4); /* by datacenter, other places first */
	assert_string_equal(s->fault[0].text, "control: kill"); /* over at once: nothing would heal it */
	assert_true(s->fault[0].from == 5 * SEC && s->fault[0].until == 5 * SEC + s->width);
	assert_string_equal(s->fault[1].text, "redis: latency");
	assert_true(s->fault[1].from == 19 * SEC && s->fault[1].until == 20 * SEC && s->fault[1].part == 1);
	assert_string_equal(s->fault[2].text, "pangyo: kill");
	assert_true(s->fault[2].from == 10 * SEC && s->fault[2].until == 15 * SEC && s->fault[2].part == 1);
	assert_true(s->fault[3].from == 15 * SEC && s->fault[3].until == 17 * SEC && s->fault[3].part == 0.5);
	assert_true(judge_away(&r, SEND) == 500 * MS);
	assert_true(judge_away(&r, SHOP) == 10 * SEC);
	summary_free(s);
}

/* A hundred answers a second: pangyo has half of them until second 10, then none, a tenth for two
 * seconds from 12, all from 14, for a second of which it answers nothing. */
static void test_shares(void **state)
{
	static const struct {
		const char *text;
		double found;
		bool known, held;
	} cases[] = {
		{ "dc.pangyo.share == 50% during calm", 0.5, true, true },
		{ "dc.pangyo.share <= 0.52 during outage", 0.52, true, true },
		{ "dc.anyang.share >= 0.48 during outage", 0.48, true, true },
		{ "dc.pangyo.share_max <= 50% during calm", 0.5, true, true },
		{ "dc.pangyo.share_max < 1 during outage", 1, true, false },
		{ "dc.pangyo.transitions == 4", 4, true, true },
		{ "dc.pangyo.transitions <= 3 during outage", 3, true, true },
		{ "dc.anyang.transitions == 3 during outage", 3, true, true },
	};
	static struct sample sample[2000];
	static struct mark mark = { 10 * SEC, 'f', "pangyo: kill" };
	struct result r = { .s = scenario(), .sample = sample, .samples = 2000, .mark = &mark, .marks = 1, .lasted = 20 * SEC };
	struct scenario *s = (struct scenario *)r.s;
	struct shares out;
	char why[JUDGE_WHY];
	unsigned i;

	s->datacenter[1] = (struct scenario_datacenter){ .name = "anyang" };
	s->datacenters = 2;
	for (i = 0; i < 2000; i++) {
		unsigned second = i / 100;
		bool pangyo = second < 10 ? i % 2 : second < 12 ? false : second < 14 ? i % 10 == 0 : second != 16;

		sample[i] = (struct sample){ .intended = i * 10 * MS, .feature = SEND, .outcome = OUTCOME_SERVED, .datacenter = !pangyo };
	}
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (!judge_parse(s, cases[i].text, why))
			fail_msg("%s: %s", cases[i].text, why);
		s->assertion[s->assertions++] = cases[i].text;
	}
	judge_all(&r);
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (r.judged[i].known != cases[i].known || r.judged[i].held != cases[i].held || r.judged[i].found - cases[i].found > 1e-9)
			fail_msg("%s: found %g", cases[i].text, r.judged[i].found);
	}
	/* Nobody said who answered; before the first fault there was nothing. */
	r.marks = 0;
	assert_true(shares_of(&r, 0, 0, 20 * SEC, &out) && out.transitions == 4);
	mark.at = 0;
	r.marks = 1;
	assert_true(shares_of(&r, 0, 0, 20 * SEC, &out) && out.transitions == -1);
	assert_true(shares_of(&r, 0, 0, 100 * MS, &out) && out.most == -1);
	for (i = 0; i < 2000; i++)
		sample[i].datacenter = SAMPLE_NOWHERE;
	assert_false(shares_of(&r, 0, 0, 20 * SEC, &out));
}

/* Success or not of one feature, so many requests a second; a dash: no request. */
static int64_t away_of(const char *series, int64_t width)
{
	static struct sample sample[400];
	static struct mark mark = { 0, 'f', "pangyo: kill" };
	struct result r = { .s = scenario(), .sample = sample, .mark = &mark, .marks = 1 };
	const char *p;

	for (p = series; *p; p++) {
		if (*p != '-')
			sample[r.samples++] = (struct sample){ .intended = (p - series) * width, .feature = SEND, .outcome = *p == '+' ? OUTCOME_SERVED : OUTCOME_FAILED };
	}
	r.lasted = (int64_t)strlen(series) * width;
	return judge_away(&r, SEND) / MS;
}

static void test_away(void **state)
{
	static const struct {
		const char *series;
		int64_t width, away;
	} cases[] = {
		{ "++++++++", 250 * MS, 0 },
		{ "..++++++", 250 * MS, 500 },
		{ "..+++++.", 250 * MS, 750 },            /* the last one costs its own step */
		{ "..++++++.+++++++", 250 * MS, 750 },
		{ "........", 250 * MS, 2000 },
		{ "+.+.+.+.", 125 * MS, 1000 },           /* half of it fails: away all the time */
		{ "+.+.+.+.", 250 * MS, 1000 },           /* as seen by a request a step: half of the time */
		{ ".---.---+---+---", 250 * MS, 2000 },   /* one request a second */
		{ "+---+---.---", 250 * MS, 1000 },       /* until the end of the run */
		{ "----....", 250 * MS, 1000 },
		{ "--------", 250 * MS, 0 },
	};
	struct result r;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (away_of(cases[i].series, cases[i].width) != cases[i].away)
			fail_msg("%s: away for %lld ms", cases[i].series, (long long)away_of(cases[i].series, cases[i].width));
	}
	fill(&r);
	r.marks = 0;
	assert_true(!judge_away(&r, SHOP)); /* refused for ten seconds, but nothing was broken */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_assertions), cmocka_unit_test(test_unknown), cmocka_unit_test(test_not_assertions),
		cmocka_unit_test(test_page),       cmocka_unit_test(test_summary), cmocka_unit_test(test_away),
		cmocka_unit_test(test_shares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
