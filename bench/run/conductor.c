/* SPDX-License-Identifier: MIT */
/*
 * The run: cast, generators, timeline and live line; then the end in this order:
 *
 *   generators done > faults healed, what was accepted for later arrives > journals read
 *   > judged > printed > cast gone
 */
#include "conductor.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bench.h"
#include "firebreak/clock.h"
#include "live.h"
#include "summary.h"

#define BEGIN       (500 * CLOCK_MS) /* from the fork until the first request: connections open */
#define LATE_MS     10.0             /* p99 of the generator's own lateness in a valid run */
#define SETTLE      (10 * CLOCK_SEC) /* for what was accepted for later to arrive */
#define CLOSED_RATE 600000 /* requests per second and generator in closed loop that there is room for */
#define REASKED     200              /* event streams asked for again: records to keep, each */

struct conductor;

/* owned by: struct conductor */
struct player {
	struct conductor *c;
	pid_t pid; /* 0: ended */
	int pidfd;
	struct net_watch *watch;
};

struct conductor {
	const struct scenario *s;
	const struct run_options *o;
	struct place place;
	struct cast *cast;
	struct sample_log *log[SCENARIO_THREADS];
	struct player player[SCENARIO_THREADS];
	unsigned playing;
	int stop[2];            /* closing the second ends the generators early */
	struct net_loop *loop;
	struct timeline *timeline;
	struct net_timer second;
	struct live live;
	size_t said;            /* marks printed so far */
	int64_t start, counted; /* monotonic ns */
	bool interrupted, done;
	const char *trouble;
	char words[256], version[32];
	struct result result;
};

/* ---- generators ---- */

static uint64_t records_of_one(const struct scenario *s)
{
	double whole = s->closed ? fmin(SCENARIO_SAMPLES_MAX, (double)s->duration / 1e9 * CLOSED_RATE * s->threads) : pace_total(s);

	/* Poisson counts differ from what is expected: six deviations are never seen. */
	return (uint64_t)((whole + 6 * sqrt(whole)) / s->threads) + (uint64_t)s->event_streams * REASKED + 1000;
}

static bool make_logs(struct conductor *c)
{
	uint64_t n = records_of_one(c->s);
	unsigned i;

	for (i = 0; i < c->s->threads; i++) {
		if (!(c->log[i] = sample_log_create(n, n)))
			return false;
	}
	return !pipe2(c->stop, O_CLOEXEC); /* not for those the cast starts again */
}

static void play(struct conductor *c, unsigned self, pid_t conductor)
{
	struct generator_args a = {
		.s = c->s, .target = c->place.target, .authority = c->place.authority, .ca = c->place.ca, .tls = c->place.tls,
		.verify = c->place.verify, .self = self, .of = c->s->threads, .start = c->start, .log = c->log[self], .stop_fd = c->stop[0],
	};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != conductor)
		_exit(1);
	signal(SIGINT, SIG_IGN); /* the conductor says when it is over */
	signal(SIGTERM, SIG_IGN);
	close(c->stop[1]);
	cast_forget(c->cast);
	_exit(generator_run(&a));
}

static bool start_players(struct conductor *c)
{
	pid_t self = getpid();
	unsigned i;

	fflush(NULL);
	c->start = clock_tick() + BEGIN;
	for (i = 0; i < c->s->threads; i++) {
		struct player *p = &c->player[i];

		p->c = c;
		p->pidfd = -1;
		p->pid = fork();
		if (!p->pid)
			play(c, i, self);
		if (p->pid < 0)
			return false;
		c->playing++;
		p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
		if (p->pidfd < 0)
			return false;
	}
	close(c->stop[0]);
	c->stop[0] = -1;
	return true;
}

static void stop_players(struct conductor *c)
{
	if (c->stop[1] >= 0)
		close(c->stop[1]);
	c->stop[1] = -1;
}

static void kill_players(struct conductor *c)
{
	unsigned i;

	for (i = 0; i < c->s->threads; i++) {
		if (c->player[i].pid > 0)
			kill(c->player[i].pid, SIGKILL);
	}
}

static void on_ended(void *arg)
{
	struct player *p = arg;
	struct conductor *c = p->c;
	int status;

	if (waitpid(p->pid, &status, WNOHANG) != p->pid)
		return;
	net_unwatch(p->watch);
	p->watch = NULL;
	p->pid = 0;
	c->playing--;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		c->trouble = "a generator died";
	if (!c->playing || c->trouble) {
		if (c->trouble)
			kill_players(c);
		net_loop_stop(c->loop);
	}
}

/* ---- while it runs ---- */

static void say_marks(struct conductor *c)
{
	size_t n;
	const struct mark *m = timeline_marks(c->timeline, &n);
	char text[160];

	for (; c->said < n; c->said++) {
		snprintf(text, sizeof(text), "%.1fs %s", (double)m[c->said].at / 1e9, m[c->said].text);
		if (!c->o->quiet)
			live_say(&c->live, text, stdout);
	}
}

static void on_second(struct net_timer *t)
{
	struct conductor *c = list_entry(t, struct conductor, second);
	int64_t now = clock_now(), at = now - c->start;
	char line[LIVE_COLUMNS + 1], head[LIVE_COLUMNS + 1] = "";

	say_marks(c);
	if (at >= CLOCK_SEC) {
		live_count(&c->live);
		if (c->o->rows)
			live_row(&c->live, at, timeline_mode(c->timeline), head, line);
		else
			live_text(&c->live, at, (double)(now - c->counted) / 1e9, timeline_mode(c->timeline), timeline_in_force(c->timeline), line);
		if (*head && !c->o->quiet)
			live_print(&c->live, head, stdout);
		if (!c->o->quiet)
			live_print(&c->live, line, stdout);
		c->counted = now;
	}
	net_timer_arm(c->loop, t, now + CLOCK_SEC);
}

static void on_interrupt(void *arg)
{
	struct conductor *c = arg;

	if (c->done || c->interrupted) { /* the second time: at once */
		kill_players(c);
		net_loop_stop(c->loop);
	}
	c->interrupted = true;
	timeline_stop(c->timeline);
	stop_players(c);
}

static bool run(struct conductor *c)
{
	unsigned i;

	c->loop = net_loop_create();
	if (!c->loop || !bench_stop_on_signal(c->loop, on_interrupt, c) || !(c->timeline = timeline_start(c->loop, c->s, c->cast, c->start)))
		return false;
	for (i = 0; i < c->s->threads; i++) {
		if (!(c->player[i].watch = net_watch(c->loop, c->player[i].pidfd, on_ended, &c->player[i])))
			return false;
	}
	live_init(&c->live, c->s, c->log, c->s->threads, isatty(STDOUT_FILENO));
	c->counted = c->start;
	net_timer_init(&c->second, on_second);
	net_timer_arm(c->loop, &c->second, c->start + CLOCK_SEC);
	net_loop_run(c->loop);
	net_timer_disarm(&c->second);
	if (!c->o->quiet)
		live_end(&c->live, stdout);
	return true;
}

/* ---- what came of it ---- */

static void heal_all(struct conductor *c)
{
	struct scenario_event e;
	char why[200];
	unsigned i;

	for (i = 0; i < c->s->events; i++) {
		if (c->s->event[i].action != ACTION_FAULT)
			continue;
		e = c->s->event[i];
		e.action = ACTION_HEAL;
		cast_fault(c->cast, &e, why);
	}
}

/* Messages accepted for later are promised too: faults are taken away and they get their time. */
static bool read_journals(struct conductor *c)
{
	int64_t until = clock_tick() + SETTLE, now;
	struct ledger *l = &c->result.ledger;
	char why[200];

	if (!c->place.journal)
		return true;
	if (c->s->own_cast)
		heal_all(c);
	for (;;) {
		memset(l, 0, sizeof(*l));
		if (!ledger_check(l, c->place.journal, c->log, c->s->threads, why)) {
			snprintf(c->words, sizeof(c->words), "the journals: %s", why);
			return false;
		}
		now = clock_tick();
		if (!l->lost || now >= until)
			return true;
		net_loop_turn(c->loop, 250);
	}
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool measure_lateness(struct result *r)
{
	uint32_t *late = malloc((r->samples ? r->samples : 1) * sizeof(*late));
	size_t i;

	if (!late)
		return false;
	for (i = 0; i < r->samples; i++)
		late[i] = r->sample[i].own_us;
	qsort(late, r->samples, sizeof(*late), by_size);
	if (r->samples) {
		r->late_p99_ms = late[(r->samples - 1) * 99 / 100] / 1e3;
		r->late_max_ms = late[r->samples - 1] / 1e3;
	}
	free(late);
	return true;
}

static bool gather(struct conductor *c)
{
	struct result *r = &c->result;
	const struct mark *marks = timeline_marks(c->timeline, &r->marks);
	int64_t now = clock_tick();
	unsigned i;

	r->s = c->s;
	r->started_wall = clock_wall() - (now - c->start);
	r->lasted = now - c->start < c->s->duration ? now - c->start : c->s->duration;
	r->partial = c->interrupted;
	r->sample = sample_merge(c->log, c->s->threads, &r->samples);
	r->mark = malloc((r->marks ? r->marks : 1) * sizeof(*r->mark));
	if (!r->sample || !r->mark || !measure_lateness(r))
		return false;
	if (r->marks)
		memcpy(r->mark, marks, r->marks * sizeof(*marks));
	for (i = 0; i < c->s->threads; i++) {
		r->sent += c->log[i]->sent;
		r->dropped += c->log[i]->dropped;
		r->stream_events += c->log[i]->stream_events;
		r->stream_cuts += c->log[i]->stream_cuts;
	}
	return true;
}

static const char *invalid(struct conductor *c)
{
	const struct result *r = &c->result;

	if (c->trouble)
		return c->trouble;
	if (timeline_trouble(c->timeline))
		return timeline_trouble(c->timeline);
	if (r->partial)
		return "it was interrupted";
	if (!r->samples)
		return "nothing was sent";
	if (r->dropped) {
		snprintf(c->words, sizeof(c->words), "the generator dropped %llu requests", (unsigned long long)r->dropped);
		return c->words;
	}
	if (r->late_p99_ms > LATE_MS) {
		snprintf(c->words, sizeof(c->words), "the generator could not keep its schedule: late p99 %.1f ms, more than %g ms", r->late_p99_ms, LATE_MS);
		return c->words;
	}
	return NULL;
}

/* For other programs: a head line says what the columns are. */
static bool write_samples(const struct result *r, FILE *out)
{
	size_t i;

	fprintf(out, "intended_ns,late_us,own_us,latency_us,feature,outcome,datacenter,reason,status,age_s,generator\n");
	for (i = 0; i < r->samples; i++) {
		const struct sample *s = &r->sample[i];

		fprintf(out, "%lld,%u,%u,%u,%s,%s,%s,%s,%u,%u,%u\n", (long long)s->intended, s->late_us, s->own_us, s->latency_us,
			r->s->feature[s->feature].name, outcome_word((enum outcome)s->outcome),
			s->datacenter == SAMPLE_NOWHERE ? "" : r->s->datacenter[s->datacenter].name,
			s->reason ? fault_info((enum fault)s->reason)->word : "", s->status * 100u, s->age_s, s->generator);
	}
	return !ferror(out);
}

static bool to_file(const char *path, bool ok, FILE *out)
{
	ok = out && ok;
	if (out && fclose(out))
		ok = false;
	if (!ok)
		fprintf(stderr, "firebreak-bench run: %s: %s\n", path, strerror(errno));
	return ok;
}

static bool print(struct conductor *c)
{
	struct summary *sum = summary_create(&c->result);
	const struct run_options *o = c->o;
	FILE *out;
	bool ok = sum;

	if (sum && !o->quiet)
		result_table(sum, stdout);
	if (sum && o->json) {
		out = fopen(o->json, "we");
		ok = to_file(o->json, out && result_json(sum, out), out) && ok;
	}
	if (sum && o->report) {
		out = fopen(o->report, "we");
		ok = to_file(o->report, out && result_page(sum, out), out) && ok;
	}
	if (sum && o->samples) {
		out = fopen(o->samples, "we");
		ok = to_file(o->samples, out && write_samples(&c->result, out), out) && ok;
	}
	fflush(stdout);
	summary_free(sum);
	return ok;
}

static int finish(struct conductor *c)
{
	bool ok = read_journals(c);
	const char *version = timeline_version(c->timeline);

	if (version) {
		snprintf(c->version, sizeof(c->version), "%s", version);
		c->result.proxy_version = c->version;
	}
	timeline_stop(c->timeline);
	net_loop_turn(c->loop, 0);
	say_marks(c);
	if (!gather(c)) {
		fprintf(stderr, "firebreak-bench run: out of memory\n");
		return RUN_INVALID;
	}
	c->result.invalid = ok ? invalid(c) : c->words;
	judge_all(&c->result);
	return print(c) || c->result.code ? c->result.code : RUN_INVALID;
}

/* All stays as it is, for people to play with. */
static void stay(struct conductor *c)
{
	c->done = true;
	printf("\nleft running until Ctrl-C:\n");
	cast_print(c->cast, stdout);
	fflush(stdout);
	net_loop_run(c->loop);
}

/* ---- beginning and end ---- */

static void find_place(struct conductor *c)
{
	const struct scenario *s = c->s;

	c->place = (struct place){ .target = cast_target(c->cast), .authority = cast_authority(c->cast), .ca = cast_ca(c->cast),
				   .journal = cast_journal(c->cast) };
	c->place.tls = s->own_cast ? s->proxy.tls : s->target.tls;
	c->place.verify = s->own_cast || !s->target.insecure;
}

static void clear(struct conductor *c)
{
	unsigned i;

	kill_players(c);
	for (i = 0; i < c->s->threads; i++) {
		if (c->player[i].pid > 0)
			waitpid(c->player[i].pid, NULL, 0);
		if (c->player[i].pidfd > 0)
			close(c->player[i].pidfd);
		sample_log_destroy(c->log[i]);
	}
	timeline_destroy(c->timeline);
	cast_stop(c->cast);
	free(c->result.sample);
	free(c->result.mark);
}

int conduct(const struct scenario *s, const struct run_options *o)
{
	static struct conductor c; /* as long as the process */
	const char *error = NULL;
	char why[300] = "out of memory or descriptors";
	int code = RUN_INVALID;

	c = (struct conductor){ .s = s, .o = o, .stop = { -1, -1 } };
	bench_prepare();
	c.cast = cast_start(s, o->firebreak, why);
	if (!c.cast) {
		fprintf(stderr, "firebreak-bench run: %s\n", why);
		return RUN_INVALID;
	}
	find_place(&c);
	if (!reach(&c.place, why))
		error = why;
	else if (!make_logs(&c) || !start_players(&c) || !run(&c))
		error = "out of memory or descriptors";
	if (error)
		fprintf(stderr, "firebreak-bench run: %s\n", error);
	else
		code = finish(&c);
	if (!error && o->keep && !c.interrupted)
		stay(&c);
	clear(&c);
	return code;
}
