/* SPDX-License-Identifier: MIT */
/*
 * firebreak-bench run: the command line, and all that can be said before anything starts.
 */
#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../bench.h"
#include "conductor.h"

enum { OPT_REPORT = 256, OPT_JSON, OPT_SAMPLES, OPT_SEED, OPT_THREADS, OPT_TARGET, OPT_AUTHORITY, OPT_CA, OPT_INSECURE, OPT_CLEARTEXT,
       OPT_ADMIN, OPT_TOKEN, OPT_JOURNAL, OPT_REMOTE, OPT_QUICK, OPT_FIREBREAK, OPT_KEEP, OPT_KEYS, OPT_ROWS };

static const struct argp_option option_table[] = {
	{ "report", OPT_REPORT, "FILE", 0, "write one self-contained HTML page", 0 },
	{ "json", OPT_JSON, "FILE", 0, "write the result (bench/result.schema.json)", 0 },
	{ "samples", OPT_SAMPLES, "FILE", 0, "write one line of CSV a request; its first line names the columns", 0 },
	{ "seed", OPT_SEED, "N", 0, "instead of the scenario's", 0 },
	{ "threads", OPT_THREADS, "N", 0, "generating processes, instead of the scenario's", 0 },
	{ "quick", OPT_QUICK, "FACTOR", 0, "divide all times by this: a rehearsal of the rehearsal", 0 },
	{ "firebreak", OPT_FIREBREAK, "PROGRAM", 0, "the proxy to start (default: the one beside this program)", 0 },
	{ "keep", OPT_KEEP, NULL, 0, "at the end leave the cast running until Ctrl-C, and print its addresses", 0 },
	{ "target", OPT_TARGET, "ADDRESS", 0, "run against what is there, instead of a cast of its own", 1 },
	{ "authority", OPT_AUTHORITY, "HOST", 0, ":authority to send the target, and the name its certificate has to have (default localhost)", 1 },
	{ "ca", OPT_CA, "FILE", 0, "PEM bundle to verify the target with", 1 },
	{ "insecure", OPT_INSECURE, NULL, 0, "do not verify the target's certificate", 1 },
	{ "cleartext", OPT_CLEARTEXT, NULL, 0, "HTTP/2 without TLS to the target", 1 },
	{ "admin", OPT_ADMIN, "ADDRESS", 0, "the target's admin side", 1 },
	{ "token-file", OPT_TOKEN, "FILE", 0, "its token", 1 },
	{ "journal", OPT_JOURNAL, "FOLDER", 0, "journals of the messenger behind the target", 1 },
	{ "allow-remote", OPT_REMOTE, NULL, 0, "let the target be another machine", 1 },
	{ "rows", OPT_ROWS, NULL, 0, "a row a second with a column for each of the first eight features, instead of one live line", 2 },
	{ "quiet", 'q', NULL, 0, "no live line, no table", 2 },
	{ "keys", OPT_KEYS, NULL, 0, "print every key of a scenario and end", 2 },
	{ 0 },
};

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
	struct run_options *o = state->input;

	switch (key) {
	case OPT_REPORT: o->report = arg; break;
	case OPT_JSON: o->json = arg; break;
	case OPT_SAMPLES: o->samples = arg; break;
	case OPT_SEED: o->seed = (uint64_t)number(state, arg, 0, 9e15); o->seeded = true; break;
	case OPT_THREADS: o->threads = (unsigned)number(state, arg, 1, SCENARIO_THREADS); break;
	case OPT_QUICK: o->quick = number(state, arg, 1, 1000); break;
	case OPT_FIREBREAK: o->firebreak = arg; break;
	case OPT_TARGET: o->target = arg; break;
	case OPT_AUTHORITY: o->authority = arg; break;
	case OPT_CA: o->ca = arg; break;
	case OPT_INSECURE: o->insecure = true; break;
	case OPT_CLEARTEXT: o->cleartext = true; break;
	case OPT_ADMIN: o->admin = arg; break;
	case OPT_TOKEN: o->token_file = arg; break;
	case OPT_JOURNAL: o->journal = arg; break;
	case OPT_REMOTE: o->allow_remote = true; break;
	case OPT_KEEP: o->keep = true; break;
	case OPT_KEYS: o->keys = true; break;
	case OPT_ROWS: o->rows = true; break;
	case 'q': o->quiet = true; break;
	case ARGP_KEY_ARG:
		if (o->scenario)
			argp_error(state, "one scenario, please: %s", arg);
		o->scenario = arg;
		break;
	case ARGP_KEY_END:
		if (!o->scenario && !o->keys)
			argp_error(state, "which scenario? (such as bench/scenarios/steady.yaml)");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* ---- the scenario, as the command line wants it ---- */

static void put(const char **to, const char *value)
{
	if (value)
		*to = value;
}

static const char *apply(struct scenario *s, const struct run_options *o)
{
	unsigned i;

	if (o->seeded)
		s->seed = o->seed;
	if (o->threads)
		s->threads = o->threads;
	if (o->quick > 1)
		scenario_quicken(s, o->quick);
	if (s->connections < s->threads)
		return "--threads: more than the scenario has connections";
	if (o->target && s->own_cast) {
		s->own_cast = false;
		s->target.tls = true;
		s->target.authority = "localhost";
	}
	if (!s->own_cast && o->keep)
		return "--keep is about the cast: with a target there is none";
	if (s->own_cast && (o->authority || o->ca || o->insecure || o->cleartext || o->admin || o->token_file || o->journal))
		return "--authority, --ca, --insecure, --cleartext, --admin, --token-file and --journal are about a target: there is none";
	put(&s->target.address, o->target);
	put(&s->target.authority, o->authority);
	put(&s->target.ca, o->ca);
	put(&s->target.admin, o->admin);
	put(&s->target.token_file, o->token_file);
	put(&s->target.journal, o->journal);
	s->target.insecure = s->target.insecure || o->insecure;
	s->target.tls = s->target.tls && !o->cleartext;
	for (i = 0; i < s->events && !s->own_cast; i++) {
		if (s->event[i].action != ACTION_OPERATOR)
			return "--target: the scenario has faults, which need a cast of the rehearsal's own";
		if (!s->target.admin)
			return "--target: the scenario has words of the operator; --admin says to whom";
	}
	return NULL;
}

static bool loopback(const char *address)
{
	struct net_cidr v4, v6;
	struct net_addr a;

	net_cidr_parse(&v4, "127.0.0.0/8");
	net_cidr_parse(&v6, "::1/128");
	return net_addr_parse(&a, address) && (a.sa.ss_family == AF_UNIX || net_cidr_match(&v4, &a) || net_cidr_match(&v6, &a));
}

static bool has_journal(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d))) {
		const char *dot = strrchr(e->d_name, '.');

		found = dot && !strcmp(dot, ".journal");
	}
	if (d)
		closedir(d);
	return found;
}

static bool asks_for_journal(const char *assertion)
{
	static const char *const figures[] = { "lost", "duplicated", "reordered" };
	size_t i;

	for (i = 0; i < sizeof(figures) / sizeof(*figures); i++) {
		if (!strncmp(assertion, figures[i], strlen(figures[i])))
			return true;
	}
	return false;
}

/* What a target has to be, as far as it can be told without asking it. */
static const char *check_target(const struct scenario *s, const struct run_options *o)
{
	struct net_addr a;
	unsigned i;

	if (s->own_cast)
		return NULL;
	if (!net_addr_parse(&a, s->target.address))
		return "--target: expected an address like 127.0.0.1:8443, [::1]:8443 or unix:/path";
	if (s->target.admin && !net_addr_parse(&a, s->target.admin))
		return "--admin: expected an address like 127.0.0.1:9901 or unix:/path";
	if (!o->allow_remote && (!loopback(s->target.address) || (s->target.admin && !loopback(s->target.admin))))
		return "the target is another machine; --allow-remote if that is meant";
	if (s->target.journal && !has_journal(s->target.journal))
		return "the target's folder of journals has none: start the messenger's endpoints with --journal";
	for (i = 0; i < s->assertions && !s->target.journal; i++) {
		if (asks_for_journal(s->assertion[i]))
			return "lost, duplicated and reordered are asserted, but the target has no journal; --journal says where it is";
	}
	return NULL;
}

/* Said now, not when the run is over. */
static bool writable(const char *path)
{
	FILE *f = path ? fopen(path, "ae") : NULL;

	if (path && !f)
		fprintf(stderr, "firebreak-bench run: %s: %s\n", path, strerror(errno));
	if (f)
		fclose(f);
	return !path || f;
}

int run_main(int argc, char **argv)
{
	static const struct argp argp = { option_table, parse, "SCENARIO",
					  "Rehearses a scenario: load, faults and the operator's words, and says what held."
					  "\vExit status: 0 all assertions held, 99 one did not, 2 wrong usage or scenario, 3 the run is not valid.",
					  NULL, NULL, NULL };
	struct run_options o = { .quick = 1 };
	struct scenario *s;
	const char *error;
	int code;

	argp_err_exit_status = RUN_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (o.keys) {
		scenario_document(stdout);
		return 0;
	}
	s = scenario_load(o.scenario, stderr);
	if (!s)
		return RUN_USAGE;
	error = apply(s, &o);
	if (!error)
		error = check_target(s, &o);
	if (error)
		fprintf(stderr, "firebreak-bench run: %s\n", error);
	else if (!writable(o.report) || !writable(o.json) || !writable(o.samples))
		error = "an output file";
	code = error ? RUN_USAGE : conduct(s, &o);
	scenario_free(s);
	return code;
}
