/* SPDX-License-Identifier: MIT */
/*
 * firebreakctl: the operators' command over the admin API. A change is not reported
 * as done when the server took it but when every worker says it is in force.
 *
 * Exit codes: 0 done; 1 refused, not reachable or not confirmed; 64 usage.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "firebreak/suggest.h"
#include "http.h"
#include "show.h"

#define DEFAULT_ADDRESS "127.0.0.1:9901"
#define CONFIRM_MS      2000
#define CONFIRM_STEP_MS 50
#define FOLLOW_STEP_MS  250
#define WORDS_MAX       4

const char *argp_program_version = "firebreakctl " FIREBREAK_VERSION;

struct options {
	const char *address, *token_file, *period, *over, *reason, *author;
	bool force, json, wait;
	const char *word[WORDS_MAX];
	unsigned words;
};

enum { KEY_TOKEN = 256, KEY_FOR, KEY_OVER, KEY_WAIT, KEY_REASON, KEY_AUTHOR, KEY_FORCE, KEY_JSON };

static const struct argp_option option_table[] = {
	{ "address", 'a', "ADDRESS", 0, "Admin address, host:port or unix:/path (or FIREBREAK_ADMIN; default " DEFAULT_ADDRESS ")", 0 },
	{ "token-file", KEY_TOKEN, "FILE", 0, "File with the token changes need over TCP (or FIREBREAK_TOKEN_FILE)", 0 },
	{ "for", KEY_FOR, "TIME", 0, "How long: 90s, 30m, 1h30m, 2d; what you set ends by itself", 0 },
	{ "over", KEY_OVER, "TIME", 0, "dc drain: move its users away evenly in this time instead of at once", 0 },
	{ "wait", KEY_WAIT, NULL, 0, "dc drain, dc restore: show the progress until it is done", 0 },
	{ "reason", KEY_REASON, "TEXT", 0, "Why; it is shown and audited", 0 },
	{ "author", KEY_AUTHOR, "NAME", 0, "Who; default: your login name", 0 },
	{ "force", KEY_FORCE, NULL, 0, "Do it although it is unsafe", 0 },
	{ "json", KEY_JSON, NULL, 0, "Print the server's JSON as it is", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'a': o->address = arg; break;
	case KEY_TOKEN: o->token_file = arg; break;
	case KEY_FOR: o->period = arg; break;
	case KEY_OVER: o->over = arg; break;
	case KEY_WAIT: o->wait = true; break;
	case KEY_REASON: o->reason = arg; break;
	case KEY_AUTHOR: o->author = arg; break;
	case KEY_FORCE: o->force = true; break;
	case KEY_JSON: o->json = true; break;
	case ARGP_KEY_ARG:
		if (o->words == WORDS_MAX)
			argp_error(state, "too many arguments: %s", arg);
		o->word[o->words++] = arg;
		break;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "what is to be done?");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	option_table, parse_option,
	"status\nmode set NAME --for TIME --reason TEXT\nmode auto\n"
	"feature NAME on|off|stale-only --for TIME --reason TEXT\nfeature NAME share PERCENT --for TIME --reason TEXT\nfeature NAME auto\n"
	"dc drain NAME [--over TIME] [--for TIME] --reason TEXT\ndc restore NAME\nmetrics",
	"Shows what Firebreak is doing and changes it for a time.\v"
	"Exit status: 0 done, 1 refused or not reachable, 64 wrong usage.",
	NULL, NULL, NULL,
};

/* ---- talking ---- */
static char *read_token(const char *path)
{
	static char token[4096];
	ssize_t n;
	int fd;

	if (!path)
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, token, sizeof(token) - 1);
	if (n < 0) {
		fprintf(stderr, "firebreakctl: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	close(fd);
	token[n] = '\0';
	token[strcspn(token, "\r\n")] = '\0';
	return token;
}

/* Prints why not: the server's own sentence, and what that means for this command. */
static int explain(const struct options *o, const struct http_answer *answer)
{
	json_t *problem = json_loads(answer->body, 0, NULL);
	const char *detail = json_string_value(json_object_get(problem, "detail"));

	if (answer->status == 401)
		fprintf(stderr, "firebreakctl: %s; name the node's file (admin.token_file) with --token-file or FIREBREAK_TOKEN_FILE (401)\n",
			o->token_file ? "the token is not this node's" : "changes over TCP need a token");
	else if (detail)
		fprintf(stderr, "firebreakctl: %s (%d)\n", detail, answer->status);
	else
		fprintf(stderr, "firebreakctl: %s answers, but not like Firebreak's admin side (%d); compare with admin.address of the node\n",
			o->address, answer->status);
	json_decref(problem);
	return 1;
}

static int call(const struct options *o, const char *method, const char *path, const char *body, struct http_answer *answer)
{
	char why[256];

	/* Who only looks needs no token, and may not be allowed to read it. */
	if (!http_call(o->address, strcmp(method, "GET") ? read_token(o->token_file) : NULL, method, path, body, answer, why))
		return 0;
	fprintf(stderr, "firebreakctl: %s\n", why);
	return 1;
}

static int get(const struct options *o, const char *path, struct http_answer *answer)
{
	int error = call(o, "GET", path, NULL, answer);

	if (!error && answer->status != 200) {
		error = explain(o, answer);
		free(answer->body);
	}
	return error;
}

/* ---- reading ---- */
static int do_metrics(const struct options *o)
{
	struct http_answer answer;

	if (get(o, "/metrics", &answer))
		return 1;
	fputs(answer.body, stdout);
	free(answer.body);
	return 0;
}

static int do_status(const struct options *o)
{
	struct http_answer answer;
	json_t *status;

	if (get(o, "/api/v1/status", &answer))
		return 1;
	if (o->json) {
		puts(answer.body);
		free(answer.body);
		return 0;
	}
	status = json_loads(answer.body, 0, NULL);
	free(answer.body);
	if (!status) {
		fputs("firebreakctl: the status is not JSON\n", stderr);
		return 1;
	}
	show_status(status);
	json_decref(status);
	return 0;
}

/* ---- changing ---- */
/* Workers that run and those of them that report the publication. False: no answer. */
static bool count_workers(const struct options *o, json_int_t version, unsigned *there, unsigned *follow)
{
	struct http_answer answer;
	json_t *status, *w;
	size_t i;

	*there = *follow = 0;
	if (get(o, "/api/v1/status", &answer))
		return false;
	status = json_loads(answer.body, 0, NULL);
	free(answer.body);
	json_array_foreach(json_object_get(status, "workers"), i, w) {
		if (json_integer_value(json_object_get(w, "pid")) <= 0)
			continue;
		++*there;
		*follow += json_integer_value(json_object_get(w, "live_version")) >= version;
	}
	json_decref(status);
	return true;
}

static int confirm(const struct options *o, json_int_t version)
{
	unsigned there, follow;
	int waited;

	for (waited = 0;; waited += CONFIRM_STEP_MS) {
		if (!count_workers(o, version, &there, &follow))
			return 1;
		if ((there && follow == there) || waited >= CONFIRM_MS)
			break;
		poll(NULL, 0, CONFIRM_STEP_MS);
	}
	fprintf(o->json ? stderr : stdout, "in force on %u of %u workers\n", follow, there);
	if (there && follow == there)
		return 0;
	fprintf(stderr, "firebreakctl: set, but not every worker has confirmed it within %d s; see firebreakctl status\n",
		CONFIRM_MS / 1000);
	return 1;
}

static int change(const struct options *o, const char *method, const char *path, const char *body)
{
	struct http_answer answer;
	json_t *said;
	json_int_t version;

	if (call(o, method, path, body, &answer))
		return 1;
	if (answer.status != 200) {
		explain(o, &answer);
		free(answer.body);
		return 1;
	}
	said = json_loads(answer.body, 0, NULL);
	version = json_integer_value(json_object_get(said, "live_version"));
	if (json_is_false(json_object_get(said, "was_set")))
		fputs("nothing was set: it is automatic\n", o->json ? stderr : stdout);
	if (o->json)
		puts(answer.body);
	free(answer.body);
	json_decref(said);
	return confirm(o, version);
}

static int set(const struct options *o, const char *path, const char *key, const char *value, const char *share)
{
	json_t *body = json_pack("{ss* ss* ss ss sb}", "for", o->period, "over", o->over, "reason", o->reason, "author", o->author, "force",
				 o->force);
	char *text = NULL;
	int error;

	if (body && key)
		json_object_set_new(body, key, json_string(value));
	if (body && share)
		json_object_set_new(body, "share", json_string(share));
	if (body)
		text = json_dumps(body, 0);
	json_decref(body);
	if (!text) {
		fputs("firebreakctl: reason and author have to be UTF-8\n", stderr);
		return 1;
	}
	error = change(o, "PUT", path, text);
	free(text);
	return error;
}

/* Percent-encodes everything but RFC 3986 unreserved characters. */
static void encode(char *out, size_t size, const char *in)
{
	size_t n = 0;

	for (; *in && n + 4 < size; in++) {
		if ((*in >= '0' && *in <= '9') || (*in >= 'a' && *in <= 'z') || (*in >= 'A' && *in <= 'Z') || strchr("-._~", *in))
			out[n++] = *in;
		else
			n += (size_t)snprintf(out + n, size - n, "%%%02X", (unsigned char)*in);
	}
	out[n] = '\0';
}

static int clear(const struct options *o, const char *path)
{
	char full[1024], author[256];

	encode(author, sizeof(author), o->author);
	snprintf(full, sizeof(full), "%s?author=%s", path, author);
	return change(o, "DELETE", full, NULL);
}

static bool is(const struct options *o, unsigned word, const char *text)
{
	return word < o->words && !strcmp(o->word[word], text);
}

/* A word that is none of these (NULL at the end): `what`, and what was meant perhaps. */
static int unknown(const char *word, const char *what, const char *const *known)
{
	struct suggest s;
	char meant[64];

	suggest_init(&s, word ? word : "");
	while (*known)
		suggest_try(&s, *known++);
	fprintf(stderr, "firebreakctl: %s%s\nTry `firebreakctl --help'.\n", what, suggest_text(&s, meant, sizeof(meant)));
	return EX_USAGE;
}

static int usage(const char *why)
{
	fprintf(stderr, "firebreakctl: %s\nTry `firebreakctl --help'.\n", why);
	return EX_USAGE;
}

/* What every change for a time needs. */
static bool timed(const struct options *o)
{
	return o->period && o->reason;
}

static int do_mode(const struct options *o)
{
	if (is(o, 1, "auto") && o->words == 2)
		return clear(o, "/api/v1/mode");
	if (!is(o, 1, "set") || o->words != 3)
		return usage("expected: mode set NAME, or mode auto");
	if (!timed(o))
		return usage("mode set needs --for and --reason");
	return set(o, "/api/v1/mode", "mode", o->word[2], NULL);
}

/* "25" and "25%" are the same. */
static const char *percent(const char *text, char out[32])
{
	size_t n = strlen(text);

	snprintf(out, 32, "%s%s", text, n && text[n - 1] == '%' ? "" : "%");
	return out;
}

static int do_feature(const struct options *o)
{
	char path[512], name[256], share[32];
	static const char *const states[] = { "on", "off", "stale-only", "share", "auto", NULL };
	bool shared = is(o, 2, "share");

	if (o->words != (shared ? 4 : 3))
		return usage("expected: feature NAME on|off|stale-only|auto, or feature NAME share PERCENT");
	encode(name, sizeof(name), o->word[1]);
	snprintf(path, sizeof(path), "/api/v1/features/%s", name);
	if (is(o, 2, "auto"))
		return clear(o, path);
	if (!shared && !is(o, 2, "on") && !is(o, 2, "off") && !is(o, 2, "stale-only"))
		return unknown(o->word[2], "a feature can be on, off, stale-only, share or auto", states);
	if (!timed(o))
		return usage("feature needs --for and --reason");
	return set(o, path, "state", o->word[2], shared ? percent(o->word[3], share) : NULL);
}

static const char *or_default(const char *value, const char *fallback)
{
	return value && *value ? value : fallback;
}

/* ---- a datacenter on its way ---- */

/* One look at the named datacenter; NULL: no answer, or it is gone (said already). */
static json_t *one_datacenter(const struct options *o, const char *name)
{
	struct http_answer answer;
	json_t *status, *dc, *found = NULL;
	size_t i;

	if (get(o, "/api/v1/status", &answer))
		return NULL;
	status = json_loads(answer.body, 0, NULL);
	free(answer.body);
	json_array_foreach(json_object_get(status, "datacenters"), i, dc)
		if (!strcmp(json_string_value(json_object_get(dc, "name")), name))
			found = json_incref(dc);
	json_decref(status);
	if (!found)
		fprintf(stderr, "firebreakctl: the node knows no datacenter %s any more\n", name);
	return found;
}

/* A line that is written over on a terminal; elsewhere one for each change of state, and
 * every ten seconds. 0: it is where it was to go; 1: it no longer goes there. */
static int follow(const struct options *o, const char *name, bool drain)
{
	const char *target = drain ? "drained" : "up", *state;
	bool live = isatty(STDERR_FILENO), wanted, there;
	char line[160], before[32] = "";
	unsigned looks;
	json_t *dc;

	for (looks = 0;; looks++) {
		dc = one_datacenter(o, name);
		if (!dc)
			return 1;
		state = or_default(json_string_value(json_object_get(dc, "state")), "?");
		there = !strcmp(state, target) &&
			(drain ? !json_integer_value(json_object_get(json_object_get(dc, "load"), "streams")) :
				 json_number_value(json_object_get(dc, "share")) > 0.99);
		wanted = json_is_true(json_object_get(dc, "drain")) == drain;
		if (live || strcmp(state, before) != 0 || looks % (10000 / FOLLOW_STEP_MS) == 0 || there)
			fprintf(stderr, "%s%s%s", live ? "\r\033[K" : "", show_progress(dc, line, sizeof(line)), live ? "" : "\n");
		snprintf(before, sizeof(before), "%s", state);
		json_decref(dc);
		if (there || !wanted)
			break;
		poll(NULL, 0, FOLLOW_STEP_MS);
	}
	if (live)
		fputc('\n', stderr);
	if (!wanted)
		fprintf(stderr, "firebreakctl: somebody %s it meanwhile\n", drain ? "restored" : "drained");
	return !wanted;
}

static int do_dc(const struct options *o)
{
	static const char *const verbs[] = { "drain", "restore", NULL };
	char path[512], name[256];
	bool drain = is(o, 1, "drain");
	int error;

	if (o->words > 1 && !drain && !is(o, 1, "restore"))
		return unknown(o->word[1], "expected: dc drain NAME, or dc restore NAME", verbs);
	if (o->words != 3)
		return usage("expected: dc drain NAME, or dc restore NAME");
	encode(name, sizeof(name), o->word[2]);
	snprintf(path, sizeof(path), "/api/v1/datacenters/%s/drain", name);
	if (drain && !o->reason)
		return usage("dc drain needs --reason");
	error = drain ? set(o, path, NULL, NULL, NULL) : clear(o, path);
	return error || !o->wait ? error : follow(o, o->word[2], drain);
}

/* Under sudo, the person and not "root". */
static const char *login_name(void)
{
	const char *name = getenv("SUDO_USER");
	struct passwd *p;

	if (!name || !*name)
		name = getenv("USER");
	if (name && *name)
		return name;
	p = getpwuid(getuid());
	return p ? p->pw_name : "unknown";
}

int main(int argc, char **argv)
{
	static const char *const commands[] = { "status", "mode", "feature", "dc", "metrics", NULL };
	struct options o = { 0 };

	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	o.address = or_default(o.address, or_default(getenv("FIREBREAK_ADMIN"), DEFAULT_ADDRESS));
	o.token_file = or_default(o.token_file, or_default(getenv("FIREBREAK_TOKEN_FILE"), NULL));
	o.author = or_default(o.author, login_name());
	if (is(&o, 0, "status") && o.words == 1)
		return do_status(&o);
	if (is(&o, 0, "metrics") && o.words == 1)
		return do_metrics(&o);
	if (is(&o, 0, "mode"))
		return do_mode(&o);
	if (is(&o, 0, "feature"))
		return do_feature(&o);
	if (is(&o, 0, "dc"))
		return do_dc(&o);
	return unknown(o.word[0], "expected: status, mode, feature, dc or metrics", commands);
}
