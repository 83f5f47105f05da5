/* SPDX-License-Identifier: MIT */
/* usage: test_machine summary.cases machine.cases */
#include "dc_test.h"

static const char *summary_path, *machine_path;

/* ---- at one moment ---- */

static void add_datacenter(struct cases *c, struct world *w)
{
	uint32_t capacity = 0, weight = 0;
	int i;

	for (i = 2; i < c->words; i++) {
		if (!strncmp(c->word[i], "capacity=", 9))
			capacity = (uint32_t)atoi(c->word[i] + 9);
		else if (!strncmp(c->word[i], "weight=", 7))
			weight = (uint32_t)atoi(c->word[i] + 7);
	}
	world_datacenter(w, c->word[1], capacity, (uint16_t)weight);
	for (i = 2; i < c->words; i++)
		if (atoi(c->word[i]))
			world_endpoint(w, (uint16_t)atoi(c->word[i]));
}

static enum dc_state state_letter(char l)
{
	return l == 'u' ? DC_UP : l == 's' ? DC_SUSPECT : l == 'p' ? DC_PROBING : DC_DOWN;
}

static void drain(struct world *w, unsigned d)
{
	struct dc_input in = DC_INPUT_NONE;
	struct dc_machine m;

	in.drain = true;
	in.left = 0;
	dc_weigh(&w->conf, &w->live, d, &in);
	dc_machine_init(&m, w->name[d], 0);
	while (dc_machine_step(&m, &w->dc[d], &in, 0, 0))
		;
	dc_machine_show(&m, 3, d, &w->live);
}

static void summary(struct cases *c, struct world *w)
{
	unsigned d, i, n = (unsigned)w->conf.datacenters;
	uint16_t usable;
	char got[64];

	for (d = 0; d < n; d++)
		for (i = 0; i < w->dc[d].endpoints; i++)
			w->live.endpoint_state[w->dc[d].first_endpoint + i] = (uint8_t)state_letter(c->word[d][i]);
	dc_assume(&w->conf, &w->live);
	for (d = 0; d < n; d++)
		if (strchr(c->word[d], '!'))
			drain(w, d);
	usable = dc_usable(&w->conf, &w->live);
	c->run++;
	for (d = 0; d < n; d++) {
		snprintf(got, sizeof(got), "%s=%s:%g%%", w->name[d], dc_state_word((enum dc_state)w->live.datacenter_state[d]),
			 w->live.share[d] / 100.0);
		if (strcmp(got, c->word[n + 1 + d]))
			cases_fail(c, "got %s", got);
	}
	snprintf(got, sizeof(got), "usable=%g%%", usable / 100.0);
	if (strcmp(got, c->word[2 * n + 1]))
		cases_fail(c, "got %s", got);
}

static void summaries(void **state)
{
	static struct world w;
	struct cases c;

	assert_true(cases_open(&c, summary_path));
	while (cases_next(&c)) {
		if (!strcmp(c.word[0], "new"))
			world_clear(&w);
		else if (!strcmp(c.word[0], "dc"))
			add_datacenter(&c, &w);
		else if (c.words == 2 + 2 * (int)w.conf.datacenters)
			summary(&c, &w);
		else
			cases_fail(&c, "the line cannot be read");
	}
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 14);
}

static void nothing_configured(void **state)
{
	static struct world w;

	world_clear(&w);
	assert_int_equal(dc_usable(&w.conf, &w.live), 0);
	assert_string_equal(dc_state_word((enum dc_state)99), "?");
	assert_string_equal(dc_why_word((enum dc_why)99), "?");
}

/* What is moved counts as much as may be used of it; what is held counts when it is all
 * there is. */
static void usable_while_moved(void **state)
{
	static struct world w;

	world_clear(&w);
	world_datacenter(&w, "a", 100, 100);
	world_endpoint(&w, 1);
	world_datacenter(&w, "b", 100, 100);
	world_endpoint(&w, 1);
	world_state(&w, DC_UP);
	w.live.datacenter_state[0] = DC_RESTORING;
	w.live.share[0] = 3000;
	assert_int_equal(dc_usable(&w.conf, &w.live), 6500);
	w.live.datacenter_state[0] = DC_DRAINING;
	assert_int_equal(dc_usable(&w.conf, &w.live), 6500);
	w.live.datacenter_state[0] = DC_PROBING;
	assert_int_equal(dc_usable(&w.conf, &w.live), 5000);
	assert_false(dc_takes(&w.conf, &w.live, 0));
	w.live.endpoint_state[1] = w.live.datacenter_state[1] = DC_DOWN;
	assert_int_equal(dc_usable(&w.conf, &w.live), 5000);
	w.live.datacenter_state[0] = DC_DRAINED;
	assert_int_equal(dc_usable(&w.conf, &w.live), 0);
}

/* ---- histories ---- */

#define TICK (100 * CLOCK_MS)

struct history {
	struct dc_machine m;
	struct conf_datacenter dc;
	struct dc_input in;
	int64_t now;
};

static void begin(struct cases *c, struct history *h)
{
	int i;

	h->dc = (struct conf_datacenter){ .name = "a", .restore_first = 1000 };
	for (i = 1; i < c->words; i++) {
		if (!strncmp(c->word[i], "hold=", 5))
			h->dc.restore_hold_ms = (uint32_t)(atof(c->word[i] + 5) * 1000);
		else if (!strncmp(c->word[i], "over=", 5))
			h->dc.restore_over_ms = (uint32_t)(atof(c->word[i] + 5) * 1000);
		else if (!strncmp(c->word[i], "first=", 6))
			h->dc.restore_first = (uint16_t)(atoi(c->word[i] + 6) * 100);
		else
			cases_fail(c, "%s?", c->word[i]);
	}
	h->now = 0;
	h->in = DC_INPUT_NONE;
	h->in.good = 10000;
	h->in.others = true;
	dc_machine_init(&h->m, "a", 0);
}

/* Every state passed through at this moment. */
static void step(struct history *h, int64_t elapsed)
{
	unsigned i;

	for (i = 0; i < 4 && dc_machine_step(&h->m, &h->dc, &h->in, h->now, i ? 0 : elapsed); i++)
		;
}

static void pass(struct history *h, int64_t until)
{
	while (h->now + TICK < until) {
		h->now += TICK;
		step(h, TICK);
	}
}

static int read_input(struct cases *c, struct dc_input *in)
{
	unsigned a, b, k;
	int i;

	*in = DC_INPUT_NONE;
	in->others = true;
	for (i = 1; i < c->words && strcmp(c->word[i], "->"); i++) {
		const char *w = c->word[i];

		if (sscanf(w, "%u/%u/%u", &a, &b, &k) == 3) {
			in->good = (uint16_t)(a * 100);
			in->suspect = (uint16_t)(b * 100);
			in->probing = (uint16_t)(k * 100);
		} else if (!strcmp(w, "worse")) {
			in->verdict = DC_WORSE;
		} else if (!strcmp(w, "alone")) {
			in->others = false;
		} else if (sscanf(w, "cap=%u", &a) == 1) {
			in->cap = (uint16_t)(a * 100);
		} else if (sscanf(w, "peers=%u/%u", &a, &b) == 2) {
			in->peers = (struct dc_peers){ (uint8_t)a, (uint8_t)b };
		} else if (sscanf(w, "drain=%u", &a) == 1) {
			in->drain = true;
			in->left = (uint16_t)(a * 100);
		} else {
			cases_fail(c, "%s?", w);
		}
	}
	return i + 1;
}

/* Percent, to a tenth. */
static double percent(uint16_t share)
{
	return (share + 5) / 10 / 10.0;
}

static void expect(struct cases *c, const char *want, const char *got)
{
	if (strcmp(want, got))
		cases_fail(c, "got %s, not %s", got, want);
}

static void look(struct cases *c, struct history *h, int i)
{
	struct dc_live live = { 0 };
	enum dc_state next;
	char got[96];
	int64_t in;

	dc_machine_show(&h->m, 3, 0, &live);
	snprintf(got, sizeof(got), "%s:%g%%", dc_state_word((enum dc_state)live.datacenter_state[0]), percent(live.share[0]));
	expect(c, i < c->words ? c->word[i] : "", got);
	for (i++; i < c->words; i++) {
		if (!strncmp(c->word[i], "why=", 4)) {
			expect(c, c->word[i] + 4, dc_why_word((enum dc_why)h->m.why));
		} else if (!strncmp(c->word[i], "tiers=", 6)) {
			snprintf(got, sizeof(got), "%g/%g/%g", percent(live.tier_share[0][0]), percent(live.tier_share[0][1]),
				 percent(live.tier_share[0][2]));
			expect(c, c->word[i] + 6, got);
		} else if (!strncmp(c->word[i], "next=", 5)) {
			next = dc_machine_next(&h->m, &h->dc, h->now, &in);
			if (in < 0)
				snprintf(got, sizeof(got), "%s", dc_state_word(next));
			else
				snprintf(got, sizeof(got), "%s@%g", dc_state_word(next), (double)(in / CLOCK_MS) / 1000);
			expect(c, c->word[i] + 5, got);
		} else {
			cases_fail(c, "%s?", c->word[i]);
		}
	}
}

static void histories(void **state)
{
	static struct history h;
	int64_t at, before;
	struct cases c;
	int i;

	assert_true(cases_open(&c, machine_path));
	while (cases_next(&c)) {
		if (!strcmp(c.word[0], "datacenter")) {
			begin(&c, &h);
			continue;
		}
		at = (int64_t)(atof(c.word[0]) * 1000) * CLOCK_MS;
		pass(&h, at);
		i = read_input(&c, &h.in);
		before = h.now;
		h.now = at;
		step(&h, at - before);
		c.run++;
		look(&c, &h, i);
	}
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 100);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(summaries), cmocka_unit_test(nothing_configured), cmocka_unit_test(usable_while_moved),
		cmocka_unit_test(histories),
	};

	if (argc < 3)
		return 64;
	summary_path = argv[1];
	machine_path = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
