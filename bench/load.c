/* SPDX-License-Identifier: MIT */
/*
 * firebreak-bench load: options, the pace, start and stop.
 *
 * Pace: arrival i has the time start + i / rate; a timerfd is set to the next one,
 * and whatever is due when it fires is issued. The loop's own timers are too coarse.
 */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bench.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "load.h"

#define RATE_MAX 1e6

enum { OPT_TLS = 256, OPT_CA, OPT_INSECURE, OPT_REMOTE, OPT_USERS, OPT_SEED, OPT_JSON, OPT_ADMIN, OPT_PHASES, OPT_EXPECT, OPT_TIMEOUT, OPT_AUTHORITY, OPT_MIX };

static const struct argp_option option_table[] = {
	{ "rate", 'r', "N", 0, "requests per second (default 200)", 0 },
	{ "duration", 'd', "SECONDS", 0, "how long (default 30)", 0 },
	{ "connections", 'c', "N", 0, "connections (default 8)", 0 },
	{ "users", OPT_USERS, "N", 0, "users, each with a room (default 100)", 0 },
	{ "mix", OPT_MIX, "FEATURE=SHARE,...", 0, "shares of the features; those not named get none", 0 },
	{ "seed", OPT_SEED, "N", 0, "the same seed sends the same requests (default: another one each time)", 0 },
	{ "timeout", OPT_TIMEOUT, "SECONDS", 0, "an answer later than this has failed (default 5)", 0 },
	{ "tls", OPT_TLS, NULL, 0, "speak TLS", 0 },
	{ "ca", OPT_CA, "FILE", 0, "PEM bundle to verify the target with (implies --tls)", 0 },
	{ "insecure", OPT_INSECURE, NULL, 0, "do not verify the certificate (implies --tls)", 0 },
	{ "authority", OPT_AUTHORITY, "HOST", 0, ":authority to send (default localhost)", 0 },
	{ "allow-remote", OPT_REMOTE, NULL, 0, "let the target be another machine", 0 },
	{ "admin", OPT_ADMIN, "ADDRESS", 0, "the proxy's admin side, for mode and datacenters in the live rows", 0 },
	{ "phases", OPT_PHASES, "NAME,...", 0, "phases of the run; SIGUSR1 begins the next one", 0 },
	{ "expect", OPT_EXPECT, "ASSERTION", 0, "such as all.core.failed==0; may be repeated; exit status 99 when one does not hold", 0 },
	{ "json", OPT_JSON, "FILE", 0, "write a summary", 0 },
	{ "quiet", 'q', NULL, 0, "no live rows, no table", 0 },
	{ 0 },
};

static bool parse_mix(struct load_options *o, const char *text)
{
	size_t n;
	unsigned f;
	char *end;

	memset(o->share, 0, sizeof(o->share));
	for (; *text; text = *end ? end + 1 : end) {
		n = strcspn(text, "=");
		for (f = 0; f < TALLY_FEATURES; f++) {
			if (strlen(tally_features[f].word) == n && !strncmp(text, tally_features[f].word, n))
				break;
		}
		if (f == TALLY_FEATURES || text[n] != '=')
			return false;
		o->share[f] = strtod(text + n + 1, &end);
		if (end == text + n + 1 || (*end && *end != ',') || !(o->share[f] >= 0))
			return false;
	}
	for (f = 0; f < TALLY_FEATURES; f++) {
		if (o->share[f] > 0)
			return true;
	}
	return false;
}

static double number(struct argp_state *state, const char *text, double least, double most)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= least && v <= most))
		argp_error(state, "%s: expected a number from %g to %g", text, least, most);
	return v;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct load_options *o = state->input;

	switch (key) {
	case 'r': o->rate = number(state, arg, 0.1, RATE_MAX); break;
	case 'd': o->seconds = number(state, arg, 0.1, 86400); break;
	case 'c': o->connections = (unsigned)number(state, arg, 1, LOAD_CONNECTIONS_MAX); break;
	case 'q': o->quiet = true; break;
	case OPT_USERS: o->users = (unsigned)number(state, arg, 1, 1000000); break;
	case OPT_SEED: o->seed = (uint64_t)number(state, arg, 0, 9e15); break;
	case OPT_TIMEOUT: o->timeout = number(state, arg, 0.01, 3600); break;
	case OPT_CA: o->ca = arg; o->tls = true; break;
	case OPT_INSECURE: o->insecure = o->tls = true; break;
	case OPT_TLS: o->tls = true; break;
	case OPT_REMOTE: o->allow_remote = true; break;
	case OPT_AUTHORITY: o->authority = arg; break;
	case OPT_ADMIN: o->admin = arg; break;
	case OPT_PHASES: o->phases = arg; break;
	case OPT_JSON: o->json = arg; break;
	case OPT_MIX:
		if (!parse_mix(o, arg))
			argp_error(state, "%s: expected FEATURE=SHARE,... with features like send, recent-messages, sync", arg);
		break;
	case OPT_EXPECT:
		if (o->expects == sizeof(o->expect) / sizeof(*o->expect))
			argp_error(state, "too many assertions");
		o->expect[o->expects++] = arg;
		break;
	case ARGP_KEY_ARG:
		if (o->target)
			argp_error(state, "one target, please: %s", arg);
		o->target = arg;
		break;
	case ARGP_KEY_END:
		if (!o->target)
			argp_error(state, "where to? (such as 127.0.0.1:8443)");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static bool loopback(const struct net_addr *a)
{
	struct net_cidr v4, v6;

	net_cidr_parse(&v4, "127.0.0.0/8");
	net_cidr_parse(&v6, "::1/128");
	return a->sa.ss_family == AF_UNIX || net_cidr_match(&v4, a) || net_cidr_match(&v6, a);
}

/* ---- the pace ---- */

static int64_t arrival(const struct load *l, uint64_t i)
{
	return l->start + (int64_t)((double)i * 1e9 / l->o.rate);
}

static void set_timer(struct load *l, int64_t at)
{
	struct itimerspec t = { .it_value = { .tv_sec = at / CLOCK_SEC, .tv_nsec = at % CLOCK_SEC } };

	timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void finish(struct load *l)
{
	if (!l->stopping)
		client_stop(l);
	net_loop_stop(l->loop);
}

static void on_due(void *arg)
{
	struct load *l = arg;
	uint64_t times;
	int64_t now = clock_tick();

	if (read(l->timer_fd, &times, sizeof(times)) < 0 && errno != EAGAIN)
		return;
	while (arrival(l, l->issued) <= now && arrival(l, l->issued) < l->stop_at)
		traffic_issue(l, arrival(l, l->issued));
	if (arrival(l, l->issued) < l->stop_at)
		set_timer(l, arrival(l, l->issued));
}

static void on_second(struct net_timer *t)
{
	struct load *l = list_entry(t, struct load, second);
	int64_t now = clock_now(), part = CLOCK_SEC / 4;

	traffic_expire(l, now);
	if (now >= l->start + (l->rows + 1) * CLOCK_SEC)
		report_second(l);
	if (now >= l->stop_at && list_empty(&l->pending))
		finish(l);
	else
		net_timer_arm(l->loop, t, now + part);
}

static void on_phase(void *arg)
{
	struct load *l = arg;

	tally_next_phase(&l->tally, clock_now());
}

/* The first time: nothing new is sent, answers under way still count. The second
 * time: at once. */
static void on_stop(void *arg)
{
	struct load *l = arg;
	int64_t now = clock_now();

	if (now >= l->stop_at)
		finish(l);
	else
		l->stop_at = now;
}

static void hook(void *arg)
{
	struct load *l = arg;

	h2_pump_all(&l->h2);
}

static int verdict(const struct load *l)
{
	enum expect_result r;
	int code = 0;
	unsigned i;
	double v;

	for (i = 0; i < l->o.expects; i++) {
		r = tally_expect(&l->tally, l->o.expect[i], &v);
		printf("%-7s %s (%g)\n", r == EXPECT_HELD ? "held" : "FAILED", l->o.expect[i], v);
		if (r != EXPECT_HELD)
			code = 99;
	}
	fflush(stdout);
	return code;
}

static const char *prepare(struct load *l, char *why)
{
	unsigned i;
	double v;

	if (!net_addr_parse(&l->target, l->o.target))
		return "the target is not an address like 127.0.0.1:8443, [::1]:8443 or unix:/path";
	if (!l->o.allow_remote && !loopback(&l->target))
		return "the target is another machine; --allow-remote if that is meant";
	if (!tally_init(&l->tally, l->o.phases))
		return "--phases: names separated by commas, 16 at most";
	for (i = 0; i < l->o.expects; i++) {
		if (tally_expect(&l->tally, l->o.expect[i], &v) == EXPECT_INVALID) {
			snprintf(why, 256, "--expect %.120s: not PHASE.WHAT.COUNT OP NUMBER, or no such phase, feature or count", l->o.expect[i]);
			return why;
		}
	}
	if (l->o.tls && !(l->tls = net_tls_client(l->o.ca, !l->o.insecure, true, why)))
		return why;
	l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->timer_fd < 0 || !traffic_init(l) || !net_watch(l->loop, l->timer_fd, on_due, l))
		return "out of memory or descriptors";
	if (l->o.admin && !(l->watch = watch_create(l->loop, l->o.admin, CLOCK_SEC / 2, NULL, NULL)))
		return "--admin: not an address";
	return NULL;
}

static int run(struct load *l)
{
	int code;

	net_loop_hook(l->loop, hook, l);
	client_start(l);
	l->start = clock_tick() + 300 * CLOCK_MS; /* connections open meanwhile */
	l->stop_at = l->start + (int64_t)(l->o.seconds * 1e9);
	set_timer(l, l->start);
	net_timer_init(&l->second, on_second);
	net_timer_arm(l->loop, &l->second, l->start);
	net_loop_run(l->loop);
	if (!l->stopping)
		client_stop(l);
	net_loop_turn(l->loop, 0); /* closes what is open */
	if (!l->o.quiet)
		report_table(l, stdout);
	code = verdict(l);
	if (l->o.json && !report_json(l, l->o.json)) {
		fprintf(stderr, "firebreak-bench load: %s: %s\n", l->o.json, strerror(errno));
		code = 1;
	}
	return code;
}

int load_main(int argc, char **argv)
{
	static const struct argp argp = { option_table, parse, "TARGET",
					  "Open-loop mixed messenger load on an HTTP/2 target.\vExit status: 0 done, 99 an --expect did not "
					  "hold, 64 wrong usage, 1 could not run.", NULL, NULL, NULL };
	static struct load *l; /* as long as the process */
	const char *error;
	char why[512];
	unsigned f;

	l = calloc(1, sizeof(*l));
	if (!l || !crypt_init() || !(l->loop = net_loop_create())) {
		fprintf(stderr, "firebreak-bench load: out of memory\n");
		return 1;
	}
	l->o = (struct load_options){ .authority = "localhost", .rate = 200, .seconds = 30, .timeout = 5, .connections = 8, .users = 100 };
	/* Keys are made of it: a seed used twice on one messenger sends repetitions. */
	crypt_random(&l->o.seed, 4);
	for (f = 0; f < TALLY_FEATURES; f++)
		l->o.share[f] = tally_features[f].share;
	argp_err_exit_status = 64;
	argp_parse(&argp, argc, argv, 0, NULL, &l->o);
	bench_prepare();
	bench_limits(&l->limits);
	error = prepare(l, why);
	if (!error && (!bench_on_signal(l->loop, SIGUSR1, on_phase, l) || !bench_stop_on_signal(l->loop, on_stop, l)))
		error = "out of descriptors";
	if (error) {
		fprintf(stderr, "firebreak-bench load: %s\n", error);
		return 1;
	}
	return run(l);
}
