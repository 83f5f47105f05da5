/* SPDX-License-Identifier: MIT */
/* Scenario files: what is read from a good one, what is said about a bad one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../bench/outcome.h"
#include "../../../bench/run/run.h"
#include "firebreak/clock.h"

#define S CLOCK_SEC

/* Parts of a scenario; a case replaces one. */
#define TOP   "name: t\nduration: 60s\n"
#define DCS   "datacenters: [{ name: pangyo, endpoints: 4 }, { name: anyang }]\n"
#define LOAD  "load: { steps: [{ rate: 100 }] }\n"
#define FEATS "features: [{ name: send, tier: core, does: send, share: 1 }]\n"

static char *errors;

static struct scenario *load(const char *text)
{
	char path[] = "/tmp/scenario-test-XXXXXX";
	int fd = mkstemp(path);
	struct scenario *s;
	size_t len = 0;
	FILE *out;

	free(errors);
	errors = NULL;
	out = open_memstream(&errors, &len);
	assert_true(fd >= 0 && out);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	s = scenario_load(path, out);
	fclose(out);
	unlink(path);
	return s;
}

static void test_whole(void **state)
{
	struct scenario *s = load("name: whole\nabout: all of it\nduration: 2m\nscale: 2400\nseed: 7\nthreads: 2\n"
				  "datacenters:\n  - { name: pangyo, endpoints: 8, latency: 15ms, capacity: 500 }\n  - { name: anyang, endpoints: 2 }\n"
				  "proxy: { workers: 2, tls: false, extra: { control: { hold: 2s }, tiers: [core, \"a\\\"b\"] } }\n"
				  "load:\n  arrivals: poisson\n  connections: 16\n  users: 1000\n  event_streams: 50\n  timeout: 3s\n"
				  "  steps: [{ until: 20s, rate: 100, to: 300 }, { rate: 300, until: 60s }, { from: 70s, rate: 10.5 }]\n"
				  "features:\n  - { name: send, tier: core, does: send, share: 30%, body: 1KiB, success: [served, failed_over] }\n"
				  "  - { name: media, tier: standard, does: download, share: 70%, was_hours: 28, was: slow }\n  - { name: events, tier: core, does: events }\n"
				  "timeline:\n  - { at: 20s, fault: { dc: pangyo, kind: blackhole, for: 10s } }\n"
				  "  - { at: 15s, operator: mode set core-only }\n"
				  "  - { at: 40s, fault: { dc: pangyo, kind: kill, waves: [37.5%, 50%, 100%], every: 5s } }\n"
				  "  - { at: 60s, fault: { dc: anyang, kind: delay, value: 200ms, jitter: 50ms, endpoints: [2] } }\n"
				  "  - { at: 70s, fault: { dc: redis, kind: stop, flap: { down: 2s, up: 3s, times: 2 } } }\n"
				  "windows: { dc_down: { from: 20s, until: 30s } }\nassert: [\"lost == 0\"]\n");

	if (!s)
		fail_msg("%s", errors);
	assert_true(s->duration == 120 * S && s->seed == 7 && s->threads == 2 && s->own_cast && s->proxy.wire && s->proxy.redis);
	assert_int_equal(s->datacenters, 2);
	assert_true(s->datacenter[0].latency_ms == 15 && s->datacenter[0].capacity == 500 && s->datacenter[0].endpoints == 8);
	assert_string_equal(s->proxy.extra, "control: {\"hold\": \"2s\"}\ntiers: [\"core\", \"a\\\"b\"]\n");
	assert_true(s->poisson && s->connections == 16 && s->users == 1000 && s->event_streams == 50 && s->timeout == 3 * S && s->streams == 100);
	assert_int_equal(s->steps, 3);
	assert_true(s->step[0].end_rate == 300 && s->step[1].from == 20 * S && s->step[1].end_rate == 300);
	assert_true(s->step[2].from == 70 * S && s->step[2].until == 120 * S && s->step[2].rate == 10.5);
	assert_true(s->feature[0].body == 1024 && s->feature[1].answer == 16384 && s->feature[1].does == VERB_DOWNLOAD);
	assert_int_equal(s->feature[0].success, (1u << OUTCOME_SERVED) | (1u << OUTCOME_FAILED_OVER));
	assert_int_equal(s->events, 11);
	assert_true(s->event[0].action == ACTION_OPERATOR && !strcmp(s->event[0].operator, "mode set core-only"));
	assert_true(s->event[1].at == 20 * S && s->event[1].endpoints == 0xff && !strcmp(s->event[1].label, "pangyo: blackhole"));
	assert_true(s->event[2].at == 30 * S && s->event[2].action == ACTION_HEAL && !strcmp(s->event[2].label, "pangyo: blackhole healed"));
	assert_true(s->event[3].endpoints == 0x7 && s->event[4].endpoints == 0x8 && s->event[5].endpoints == 0xf0 && s->event[5].at == 50 * S);
	assert_true(s->event[6].value == 200e6 && s->event[6].jitter == 50e6 && !strcmp(s->event[6].label, "anyang-2: delay 200ms"));
	assert_true(s->event[7].datacenter == -1 && s->event[7].endpoints == UINT64_MAX && s->event[8].at == 72 * S && s->event[9].at == 75 * S);
	assert_int_equal(s->windows, 1);
	assert_true(s->scale == 2400 && s->feature[1].was_hours == 28 && !strcmp(s->feature[1].was, "slow"));
	assert_true(s->proxy.restore_hold == 1 * S && s->proxy.restore_over == 3 * S);
	scenario_quicken(s, 10);
	assert_true(s->proxy.restore_hold == S / 10 && s->proxy.restore_over == 3 * S / 10);
	assert_true(s->scale == 24000);
	assert_true(s->duration == 12 * S && s->step[2].from == 7 * S && s->event[1].at == 2 * S && s->window[0].until == 3 * S);
	scenario_free(s);
}

static void test_target(void **state)
{
	struct scenario *s = load(TOP "target: { address: \"127.0.0.1:8443\", journal: there, datacenters: [here, there] }\n" LOAD FEATS);

	if (!s)
		fail_msg("%s", errors);
	assert_true(!s->own_cast && s->target.tls && !strcmp(s->target.authority, "localhost") && !s->target.ca);
	assert_string_equal(s->target.journal, "/tmp/there"); /* beside the scenario */
	assert_true(s->datacenters == 2 && !strcmp(s->datacenter[1].name, "there"));
	scenario_free(s);
}

/* A text and what is said, in part, line for line. */
static const struct {
	const char *text, *said;
} bad[] = {
	{ "", "the file is empty" },
	{ "[]", "1:1: error: the scenario is a list; expected a mapping" },
	{ "durations: 3s\n" DCS LOAD FEATS,
	  "1:1: error: unknown key \"durations\" in the scenario; expected one of name, about,|; did you mean \"duration\"?|"
	  "\"name\" is missing|\"duration\" is missing in the scenario; expected a duration such as 250ms, from 100ms to 24h" },
	{ "name: a b\nduration: 1 hour\n" DCS LOAD FEATS,
	  "1:7: error: \"name\" is \"a b\"; expected a name|2:11: error: \"duration\" is \"1 hour\"; expected a duration" },
	{ TOP "name: u\n" DCS LOAD FEATS, "3:1: error: \"name\" is given twice; expected once (line 1 has it)" },
	{ TOP LOAD FEATS, "neither \"target\" nor \"datacenters\"" },
	{ TOP DCS, "\"load\" is missing|\"features\" is missing" },
	{ TOP DCS "target: { address: \"localhost:1\" }\n" LOAD FEATS, "\"address\" is \"localhost:1\"; expected a numeric address|both \"target\" and \"datacenters\"" },
	{ TOP "target: { address: \"127.0.0.1:1\", datacenters: [a, b, a, redis, \"x y\", [c]] }\n" LOAD FEATS,
	  "a second datacenter \"a\"|a datacenter called \"redis\"|a datacenter \"x y\"; expected a name|\"datacenters\" is a list; expected a datacenter's name" },
	{ TOP "target: { address: \"127.0.0.1:1\", datacenters: a }\n" LOAD FEATS, "\"datacenters\" is a single value; expected a list of names" },
	{ TOP "target: { address: \"127.0.0.1:1\", ca: no/such }\n" LOAD FEATS, "\"ca\" is \"no/such\"; expected a file that can be read" },
	{ TOP "datacenters: [{ name: a, endpoints: 60 }, { name: a, endpoints: 5 }, { name: redis }, { name: worker }]\n" LOAD FEATS,
	  "69 endpoints over all datacenters; expected at most 64|a second datacenter \"a\"|a datacenter called \"redis\"|a datacenter called \"worker\"" },
	{ TOP DCS "proxy: 3\n" LOAD FEATS, "\"proxy\" is a single value; expected a mapping" },
	/* load */
	{ TOP DCS "load: { connections: 0, streams: -1, users: 1e3, rate: 3 }\n" FEATS,
	  "\"connections\" is \"0\"; expected a whole number, from 1 to 50000|\"streams\" is \"-1\"|\"users\" is \"1e3\"|unknown key \"rate\" in \"load\"" },
	{ TOP DCS "load: { users: 10 }\n" FEATS, "neither \"steps\" nor \"closed\"" },
	{ TOP DCS "load: { closed: 3, steps: [{ rate: 1 }] }\n" FEATS, "both \"steps\" and \"closed\"" },
	{ TOP DCS "load: { steps: [{ until: 20s, rate: 5 }, { from: 10s, rate: 6 }] }\n" FEATS,
	  "4:42: error: the step begins at 10s, before the one before it ends (20s)" },
	{ TOP DCS "load: { steps: [{ from: 20s, until: 20s, rate: 5 }] }\n" FEATS, "the step ends at 20s, not after its beginning (20s)" },
	{ TOP DCS "load: { steps: [{ until: 61s, rate: 5 }] }\n" FEATS, "the step ends at 61s, after the run (60s)" },
	{ TOP DCS "load: { steps: [{ rate: fast }] }\n" FEATS, "\"rate\" is \"fast\"; expected a number, from 0 to 1000000" },
	{ "name: t\nduration: 24h\n" DCS "load: { steps: [{ rate: 100000 }] }\n" FEATS, "the steps make 8640000000 requests; expected at most 67108864" },
	{ TOP "threads: 4\n" DCS "load: { connections: 3, steps: [{ rate: 1 }] }\n" FEATS, "3 connections for 4 threads" },
	{ TOP DCS "load: { event_streams: 3, steps: [{ rate: 1 }] }\n" FEATS, "\"event_streams\" without a feature" },
	{ TOP DCS "load: { event_streams: 9, connections: 2, streams: 5, steps: [{ rate: 1 }] }\n" FEATS, "9 event streams on 2 connections of 5 streams" },
	/* features */
	{ TOP DCS LOAD "features: [{ name: s, tier: cor, does: sned, share: 1 }]\n",
	  "\"tier\" is \"cor\"; expected one of core, standard, optional; did you mean \"core\"?|"
	  "\"does\" is \"sned\"; expected one of send, recent, |; did you mean \"send\"?" },
	{ TOP DCS LOAD "features: [{ name: s, tier: core, does: send, share: -3 }]\n", "\"share\" is \"-3\"; expected a share" },
	{ TOP DCS LOAD "features: [{ name: s, tier: core, does: send, share: 120% }]\n", "\"share\" is \"120%\"; expected at most 100%" },
	{ TOP DCS LOAD "features: [{ name: s, tier: core, does: send, share: 70% }, { name: t, tier: core, does: sync, share: 50% }]\n",
	  "the shares make 120%; expected 100%" },
	{ TOP DCS LOAD "features: [{ name: s, tier: core, does: send, share: 70% }, { name: t, tier: core, does: sync, share: 50 }]\n",
	  "some shares in %, some not" },
	{ TOP DCS LOAD "features: [{ name: s, tier: core, does: send }]\n", "no feature has a share" },
	{ TOP DCS LOAD "features: [{ name: s, tier: core, does: send, share: 1 }, { name: s, tier: core, does: sync, share: 1 }]\n",
	  "a second feature \"s\"" },
	{ TOP DCS LOAD "features: [{ name: s, tier: core, does: sync, body: 3, share: 1, path: /x }, { name: g, tier: core, does: get, share: 1 }]\n",
	  "\"body\" has no meaning for \"sync\"|\"path\" has no meaning for \"sync\"|\"path\" is missing; expected what \"get\" asks for" },
	{ TOP DCS LOAD "features: [{ name: s, tier: core, does: send, body: 20KiB, share: 1, success: [srved] }]\n",
	  "\"body\" of \"send\" is 20480 octets; expected from 1 to 16384|\"success\" is \"srved\"; expected one of served, failed_over|; did you mean \"served\"?" },
	/* timeline */
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: pangio, kind: kil } }]\n",
	  "\"kind\" is \"kil\"; expected one of kill, stop, |; did you mean \"kill\"?" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: pangio, kind: kill } }]\n",
	  "6:35: error: unknown datacenter \"pangio\"; expected one of pangyo, anyang, redis, control, worker; did you mean \"pangyo\"?" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: contrl, kind: kill } }]\n", "6:35: error: unknown datacenter \"contrl\"|did you mean \"control\"?" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: control, kind: latency, value: 1s } }, { at: 5s, fault: { dc: worker, kind: cut } }]\n",
	  "6:35: error: \"latency\" is no fault of a process; expected kill or stop for control|\"cut\" is no fault of a process; expected kill or stop for worker" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: control, kind: kill, for: 1s } }, { at: 7s, heal: { dc: worker, kind: kill } }]\n",
	  "6:22: error: \"kill\" of control is over at once|6:79: error: \"kill\" of worker is over at once" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: worker, kind: stop, endpoints: [1], waves: [50%], every: 1s } }]\n",
	  "\"endpoints\" of worker|\"waves\" of worker; expected a datacenter" },
	{ TOP "target: { address: \"10.1.2.3:1\" }\n" LOAD FEATS "timeline: [{ at: 5s, fault: { dc: control, kind: kill } }]\n",
	  "6:22: error: a fault of a target that is there already" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 61s, fault: { dc: pangyo, kind: kill } }]\n", "an event at 61s, after the end of the run (60s)" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 50s, fault: { dc: pangyo, kind: kill, for: 20s } }]\n", "an event at 70s, after the end of the run (60s)" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, heal: { dc: pangyo, kind: kill } }]\n", "\"pangyo: kill healed\": nothing to heal" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s }, { at: 5s, operator: a, heal: { dc: pangyo, kind: kill } }]\n",
	  "6:12: error: an event has to be one thing|6:24: error: an event has to be one thing" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: pangyo, kind: latency } }, { at: 6s, fault: { dc: pangyo, kind: mute, value: 3 } }]\n",
	  "\"value\" is missing; expected a duration for \"latency\"|\"mute\" takes no value" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: pangyo, kind: errors, value: 1.5, endpoints: [5] } }]\n",
	  "\"endpoints\" is \"5\"; expected a whole number, from 1 to 4|\"value\" is \"1.5\"; expected a share such as 0.5 or 50%, from 0.0001 to 1" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: redis, kind: errors, value: 1 } }]\n", "\"errors\" is a fault of the messenger" },
	{ TOP DCS "proxy: { redis: false, wire: false }\n" LOAD FEATS "timeline: [{ at: 5s, fault: { dc: redis, kind: kill } }, { at: 6s, fault: { dc: pangyo, kind: cut } }]\n",
	  "a fault of Redis; expected \"redis: true\"|\"cut\" is a fault of the wire; expected \"wire: true\"" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: pangyo, kind: kill, waves: [50%, 25%], every: 1s } }]\n", "\"waves\" goes from 50% to 25%" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: pangyo, kind: kill, waves: [50%] } }]\n", "\"waves\" without \"every\"" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 5s, fault: { dc: pangyo, kind: kill, for: 3s, flap: { down: 1s, up: 1s, times: 2 } } }]\n", "more than one of \"for\"" },
	{ TOP DCS LOAD FEATS "timeline: [{ at: 1s, fault: { dc: pangyo, kind: kill, flap: { down: 100ms, up: 100ms, times: 100 } } },"
			     " { at: 1s, fault: { dc: anyang, kind: kill, flap: { down: 100ms, up: 100ms, times: 100 } } }]\n", "too many events; expected at most 256" },
	{ TOP "target: { address: \"127.0.0.1:1\" }\n" LOAD FEATS "timeline: [{ at: 5s, fault: { dc: pangyo, kind: kill } }, { at: 5s, operator: x }]\n",
	  "a fault of a target that is there already|words of the operator without an admin side" },
	/* windows, assertions */
	{ TOP DCS LOAD FEATS "assert: [\"lots == 0\"]\n", "6:10: error: \"lots == 0\": no figure \"lots\"; expected an outcome, success_ratio, |, dropped, stream_cuts" },
	{ TOP DCS LOAD FEATS "windows: { a: { from: 5s, until: 5s }, b: { from: 1s, until: 61s }, \"c d\": { from: 1s, until: 2s } }\n",
	  "the window ends at 5s|the window ends at 61s|a window \"c d\"" },
};

static void test_bad(void **state)
{
	char want[512];
	struct scenario *s;
	const char *p;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		s = load(bad[i].text);
		if (s)
			fail_msg("accepted:\n%s", bad[i].text);
		for (p = bad[i].said; *p; p += strcspn(p, "|"), p += *p == '|') {
			snprintf(want, sizeof(want), "%.*s", (int)strcspn(p, "|"), p);
			if (!strstr(errors, want))
				fail_msg("case %zu, expected:\n%s\nsaid:\n%s", i, want, errors);
		}
	}
}

static void test_no_file(void **state)
{
	size_t len = 0;
	FILE *out;

	free(errors);
	errors = NULL;
	out = open_memstream(&errors, &len);
	assert_null(scenario_load("/no/such/scenario.yaml", out));
	fclose(out);
	assert_string_equal(errors, "/no/such/scenario.yaml: error: the file cannot be read (No such file or directory)\n");
}

static int teardown(void **state)
{
	free(errors);
	errors = NULL;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_target),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
