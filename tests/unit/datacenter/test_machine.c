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
			in->peers = (struct dc_peers){ (uint8_t)a, (uint8_t)b, false };
		} else if (!strcmp(w, "unheard")) {
			in->peers.unheard = true;
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

/* ---- a day of random evidence ---- */

#define DCS  3
#define EPS  4
#define HOLD (5 * CLOCK_SEC)
#define OVER (20 * CLOCK_SEC)
#define FIRST 1000
#define MOVES_MOST 3  /* of its traffic, in a hold */
#define STEPS_MOST 5  /* transitions of any kind */

static struct day {
	struct world w;
	struct dc_machine m[DCS];
	struct dc_input in[DCS];
	int64_t now, step_ns, drain_from[DCS], drain_over[DCS];
	int64_t moved[DCS][MOVES_MOST + 1]; /* when its traffic was moved last */
	int64_t stepped[DCS][STEPS_MOST + 1];
	int64_t well_since[DCS];
	enum { CALM, FLAPPING, DYING, MOODS } mood[DCS];
	unsigned transitions, restored, drains, alone, home_checks;
} day;

static uint64_t seed;

static unsigned below(unsigned n)
{
	return cases_below(&seed, n);
}

/* What is true changes now and then; what is seen of it, at any step. */
static void evidence(unsigned d)
{
	static const uint8_t usual[MOODS] = { DC_UP, DC_SUSPECT, DC_DOWN };
	unsigned i, first = day.w.dc[d].first_endpoint;
	enum dc_state s;

	if (!below(600))
		day.mood[d] = below(3) ? CALM : below(MOODS);
	for (i = first; i < first + EPS; i++) {
		if (below(day.mood[d] == FLAPPING ? 15 : 60))
			continue;
		s = below(8) ? (enum dc_state)usual[day.mood[d]] : (enum dc_state)(DC_UP + below(4));
		day.w.live.endpoint_state[i] = (uint8_t)(day.mood[d] == FLAPPING && below(2) ? DC_UP : s);
	}
	if (day.mood[d] == DYING && !below(50)) /* all at once */
		memset(day.w.live.endpoint_state + first, below(2) ? DC_DOWN : DC_UP, EPS);
}

static void wishes(unsigned d)
{
	struct dc_input *in = &day.in[d];
	int64_t passed = day.now - day.drain_from[d];

	*in = DC_INPUT_NONE;
	in->verdict = below(200) ? DC_SOUND : DC_WORSE;
	in->cap = (uint16_t)(below(400) ? 10000 : 5000);
	in->peers = (struct dc_peers){ (uint8_t)below(3), (uint8_t)below(3), !below(8) };
	if (day.drain_from[d] && !below(400)) {
		day.drain_from[d] = 0;
	} else if (!day.drain_from[d] && !below(6000)) {
		day.drain_from[d] = day.now;
		day.drain_over[d] = below(2) ? 0 : (int64_t)below(30) * CLOCK_SEC;
		day.drains++;
	}
	if (!day.drain_from[d])
		return;
	passed = day.now - day.drain_from[d];
	in->drain = true;
	in->left = (uint16_t)(passed >= day.drain_over[d] ? 0 : 10000 - passed * 10000 / day.drain_over[d]);
}

static void see(unsigned d)
{
	struct dc_input *in = &day.in[d];
	unsigned o;

	dc_weigh(&day.w.conf, &day.w.live, d, in);
	in->others = false;
	for (o = 0; o < DCS; o++)
		in->others |= o != d && dc_takes(&day.w.conf, &day.w.live, o);
}

static bool drawn(enum dc_state from, enum dc_state to)
{
	static const char *const arrows[] = {
		"up suspect", "up down", "up draining", "suspect up", "suspect down", "suspect probing", "suspect draining",
		"down probing", "down suspect", "down drained", "probing restoring", "probing up", "probing down", "probing drained",
		"restoring up", "restoring suspect", "restoring down", "restoring probing", "restoring draining",
		"draining drained", "draining restoring", "draining down", "drained restoring", "drained down",
	};
	char arrow[32];
	size_t i;

	snprintf(arrow, sizeof(arrow), "%s %s", dc_state_word(from), dc_state_word(to));
	for (i = 0; i < sizeof(arrows) / sizeof(*arrows); i++)
		if (!strcmp(arrows[i], arrow))
			return true;
	return false;
}

static bool serves(enum dc_state s)
{
	return s == DC_UP || s == DC_RESTORING;
}

/* Within a hold no more than `most` of these. */
static void not_too_often(int64_t *at, unsigned most)
{
	memmove(at + 1, at, most * sizeof(*at));
	at[0] = day.now;
	assert_true(!at[most] || day.now - at[most] > HOLD);
}

/* Operators, and the want of another, may ask for more. */
static void moved(unsigned d, enum dc_state from, enum dc_state to)
{
	if (day.m[d].why == DC_WHY_ALONE || day.m[d].why == DC_WHY_OPERATOR || day.in[d].drain) {
		memset(day.moved[d], 0, sizeof(day.moved[d]));
		memset(day.stepped[d], 0, sizeof(day.stepped[d]));
		return;
	}
	not_too_often(day.stepped[d], STEPS_MOST);
	if (serves(from) != serves(to))
		not_too_often(day.moved[d], MOVES_MOST);
}

static void check_transition(unsigned d, enum dc_state from)
{
	enum dc_state to = (enum dc_state)day.m[d].state;

	if (from == to)
		return;
	day.transitions++;
	day.restored += from == DC_RESTORING && to == DC_UP;
	day.alone += day.m[d].why == DC_WHY_ALONE;
	assert_true(drawn(from, to));
	assert_int_equal(day.m[d].since, day.now);
	if (from == DC_DRAINED)
		assert_false(day.in[d].drain); /* stays drained */
	if (from == DC_PROBING && to == DC_RESTORING) /* was well for the whole hold */
		assert_true(day.well_since[d] && day.now - day.well_since[d] >= HOLD);
	moved(d, from, to);
}

static void check_share(unsigned d, unsigned before)
{
	const uint16_t *tier = day.w.live.tier_share[d];
	unsigned share = day.w.live.share[d], t, most;

	assert_true(share <= 10000);
	assert_int_equal(tier[0], share);
	for (t = 1; t < CONF_MAX_TIERS; t++)
		assert_true(tier[t] <= tier[t - 1]);
	if (day.in[d].drain)
		assert_true(share <= day.in[d].left);
	if (day.m[d].state == DC_DRAINED || day.m[d].state == DC_DOWN || day.m[d].state == DC_PROBING)
		assert_int_equal(share, 0);
	if (!day.in[d].others)
		return;
	/* Never above the ramp, also after a step that was late. */
	most = before + 1 + (unsigned)((day.step_ns < CLOCK_SEC / 2 ? day.step_ns : CLOCK_SEC / 2) * 10000 / OVER);
	if (day.m[d].state == DC_RESTORING && most < FIRST)
		most = FIRST;
	assert_true(share <= most);
}

static void step_datacenter(unsigned d)
{
	unsigned before = day.w.live.share[d], i;
	bool changed = true;

	for (i = 0; i < 4 && changed; i++) {
		enum dc_state from = (enum dc_state)day.m[d].state;

		see(d);
		if (day.in[d].good < 3000)
			day.well_since[d] = 0;
		else if (!day.well_since[d])
			day.well_since[d] = day.now;
		changed = dc_machine_step(&day.m[d], &day.w.dc[d], &day.in[d], day.now, i ? 0 : day.step_ns);
		dc_machine_show(&day.m[d], 3, d, &day.w.live);
		assert_int_equal(changed, from != (enum dc_state)day.m[d].state);
		check_transition(d, from);
	}
	check_share(d, before);
}

static int ask(uint64_t hash, const struct dc_live *live, unsigned tier, uint64_t tried)
{
	struct dc_want want = { .hash = hash, .random = hash * 77, .tried = tried, .tier = (uint8_t)tier };
	int e = dc_pick(&day.w.conf, live, &day.w.local, &want, day.now);

	return e < 0 ? -1 : day.w.ep[e].datacenter;
}

/* Somebody takes every request while anything serves; nobody strange gets into one that is
 * being restored while a sound one is there, not with his retry either. */
static void check_traffic(uint64_t hash)
{
	static struct dc_live all_up;
	bool any = false, sound = false;
	unsigned i, d, tier = below(3);
	uint64_t tried = 0;
	int got, home;

	if (!all_up.share[0])
		dc_assume(&day.w.conf, &all_up);
	for (i = 0; i < DCS * EPS; i++) {
		d = day.w.ep[i].datacenter;
		any = any || (day.w.live.datacenter_state[d] != DC_DRAINED && day.w.live.endpoint_state[i] != DC_DOWN);
	}
	got = ask(hash, &day.w.live, tier, 0);
	assert_int_equal(got >= 0, any);
	if (got < 0)
		return;
	assert_true(day.w.live.datacenter_state[got] != DC_DRAINED && day.w.live.datacenter_state[got] != DC_DOWN);
	for (d = 0; d < DCS; d++)
		sound = sound || (day.w.live.datacenter_state[d] == DC_UP && day.in[d].good > 5000);
	home = ask(hash, &all_up, tier, 0);
	if (sound && day.w.live.datacenter_state[got] == DC_RESTORING) {
		assert_int_equal(got, home);
		day.home_checks++;
	}
	for (i = 0; i < EPS; i++) /* it failed at home */
		tried |= UINT64_C(1) << (day.w.dc[home].first_endpoint + i);
	got = ask(hash, &day.w.live, tier, tried);
	for (d = 0, sound = false; d < DCS; d++)
		sound = sound || ((int)d != home && day.w.live.datacenter_state[d] == DC_UP && day.in[d].good > 5000);
	if (sound)
		assert_true(day.w.live.datacenter_state[got] == DC_UP);
}

static void begin_day(void)
{
	unsigned d, i;

	seed = 20221015;
	memset(&day, 0, sizeof(day));
	for (d = 0; d < DCS; d++) {
		world_datacenter(&day.w, (const char *[]){ "pangyo", "anyang", "ansan" }[d], 100, (uint16_t)(100 * (d + 1)));
		day.w.dc[d].restore_hold_ms = HOLD / CLOCK_MS;
		day.w.dc[d].restore_over_ms = OVER / CLOCK_MS;
		day.w.dc[d].restore_first = FIRST;
		for (i = 0; i < EPS; i++)
			world_endpoint(&day.w, (uint16_t)(1 + i));
		dc_machine_init(&day.m[d], day.w.name[d], 0);
		dc_machine_show(&day.m[d], 3, d, &day.w.live);
	}
	day.w.conf.datacenter = day.w.dc;
	day.w.conf.endpoint = day.w.ep;
	day.w.conf.tiers = 3;
}

static void a_day_of_anything(void **state)
{
	unsigned d, n = 0;

	begin_day();
	for (day.now = TICK; day.now < 24 * 3600 * CLOCK_SEC; day.now += day.step_ns) {
		/* Sometimes late, sometimes a new process that knows no time before. */
		day.step_ns = below(500) ? TICK : (int64_t)below(60) * 100 * CLOCK_MS + 1;
		for (d = 0; d < DCS; d++)
			evidence(d);
		for (d = 0; d < DCS; d++) {
			wishes(d);
			step_datacenter(d);
		}
		if (++n % 4 == 0)
			check_traffic(cases_random(&seed));
	}
	print_message("%u transitions, %u restored, %u drains, %u alone, %u at home\n", day.transitions, day.restored, day.drains, day.alone,
		      day.home_checks);
	assert_true(day.transitions > 1000 && day.restored > 100 && day.drains > 50 && day.alone > 20 && day.home_checks > 500);
}

/* Half as long again each time, an hour at most, unless a longer one is configured. */
static void holds(void **state)
{
	static const struct {
		uint32_t configured_ms;
		uint16_t flaps;
		int64_t hold_ms;
	} c[] = {
		{ 10000, 0, 10000 }, { 10000, 1, 10000 }, { 10000, 2, 15000 }, { 10000, 3, 22500 }, { 10000, 4, 33750 },
		{ 10000, 15, 2919292 }, { 10000, 16, 3600000 }, { 10000, 65535, 3600000 }, { 7200000, 9, 7200000 }, { 0, 9, 0 },
	};
	unsigned i;

	for (i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		struct conf_datacenter dc = { .restore_hold_ms = c[i].configured_ms };
		struct dc_machine m = { .flaps = c[i].flaps };

		assert_int_equal(dc_machine_hold(&m, &dc) / CLOCK_MS, c[i].hold_ms);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(summaries), cmocka_unit_test(nothing_configured), cmocka_unit_test(usable_while_moved),
		cmocka_unit_test(holds), cmocka_unit_test(histories), cmocka_unit_test(a_day_of_anything),
	};

	if (argc < 3)
		return 64;
	summary_path = argv[1];
	machine_path = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
