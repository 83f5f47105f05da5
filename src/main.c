/* SPDX-License-Identifier: MIT */
/*
 * firebreak: the command line. Exit codes: 0, 1 could not run, 64 usage, 78 bad
 * configuration (sysexits). The service itself is supervisor.c.
 */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "firebreak/degrade.h"
#include "firebreak/net.h"
#include "firebreak/proc.h"
#include "firebreak/route.h"
#include "supervisor.h"

const char *argp_program_version = "firebreak " FIREBREAK_VERSION;

struct options {
	const char *config;
	enum { RUN, CHECK_ONLY, DUMP, DOCUMENT } what;
};

static const struct argp_option options[] = {
	{ "config", 'c', "FILE", 0, "configuration (default /etc/firebreak/firebreak.yaml)", 0 },
	{ "check", 't', NULL, 0, "check the configuration, print every error, exit", 0 },
	{ "dump-config", 'T', NULL, 0, "print the configuration in force, defaults filled in, and exit", 0 },
	{ "document-config", 'D', NULL, 0, "print every key with its default, range and meaning as runnable YAML, and exit", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'c': o->config = arg; return 0;
	case 't': o->what = CHECK_ONLY; return 0;
	case 'T': o->what = DUMP; return 0;
	case 'D': o->what = DOCUMENT; return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static char *read_file(const char *path, unsigned long *len)
{
	FILE *f = fopen(path, "re");
	char *text = NULL, *more;
	size_t size = 0, n;

	*len = 0;
	if (!f)
		return NULL;
	do {
		more = realloc(text, size + 65536 + 1);
		if (!more)
			break;
		text = more;
		n = fread(text + size, 1, 65536, f);
		size += n;
	} while (n == 65536 && size < (8 << 20));
	if (ferror(f) || !text) {
		free(text);
		text = NULL;
	} else {
		text[size] = '\0';
	}
	fclose(f);
	*len = size;
	return text;
}

static void check_trust(const char *ca, bool verify, struct conf_mark at, bool alpn, struct conf_errors *errors)
{
	char why[256];
	struct net_tls *t = net_tls_client(ca, verify, alpn, why);

	if (!t)
		conf_errors_add(errors, at, "%s", why);
	net_tls_put(t);
}

/* Certificates, keys and trust stores that can be read may still be none, or not fit. */
static void check_tls(const struct conf *conf, struct conf_errors *errors)
{
	static const unsigned char ticket_key[80];
	struct net_tls *t;
	char why[256];
	size_t i;

	for (i = 0; i < conf->listeners; i++) {
		if (!conf->listener[i].tls.certificate)
			continue;
		t = net_tls_server(&conf->listener[i].tls, ticket_key, why);
		if (!t)
			conf_errors_add(errors, conf->listener[i].mark, "%s", why);
		net_tls_put(t);
	}
	for (i = 0; i < conf->datacenters; i++) {
		if (conf->datacenter[i].tls)
			check_trust(conf->datacenter[i].ca, conf->datacenter[i].verify, conf->datacenter[i].mark, true, errors);
	}
	if (conf->redis.enabled && conf->redis.tls)
		check_trust(conf->redis.ca, conf->redis.verify, conf->redis.mark, false, errors);
}

/* A plan of tiers and modes that could not be read would only repeat their errors. */
static void check_more(const struct conf *c, struct conf_errors *errors, bool whole)
{
	struct degrade_plan plan;

	route_check(c, errors, conf_errors_add);
	if (!whole)
		return;
	degrade_compile(c, &plan, errors, conf_errors_add);
	check_tls(c, errors);
}

const struct conf *load_checked(const char *path, FILE *out, char **text, unsigned long *len)
{
	struct conf_errors *errors = conf_errors_create();
	const struct conf *conf = NULL;
	unsigned long n;
	char *bytes = read_file(path, &n);

	if (!bytes || !errors) {
		fprintf(out, "%s: error: cannot be read: %s; name another with --config FILE\n", path, strerror(errno));
		free(bytes);
		conf_errors_destroy(errors);
		return NULL;
	}
	conf = conf_load_with(path, bytes, n, errors, check_more);
	if (!conf)
		conf_errors_print(errors, path, out);
	conf_errors_destroy(errors);
	if (conf && text) {
		*text = bytes;
		*len = n;
	} else {
		free(bytes);
	}
	return conf;
}

static const char about[] =
	"An HTTP/2 reverse proxy that keeps core messaging going.\v"
	"Signals: HUP reads the configuration again, TERM drains and ends (a second one: now), USR1 reopens the logs.\n\n"
	"Exit status: 0 ended as told, or the file is right; 1 could not run; 64 wrong usage; 78 wrong configuration.";

int main(int argc, char **argv)
{
	static const struct argp argp = { options, parse, NULL, about, NULL, NULL, NULL };
	struct options o = { .config = "/etc/firebreak/firebreak.yaml" };
	const struct conf *conf;

	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (o.what == DOCUMENT) {
		conf_document(stdout);
		return 0;
	}
	conf = load_checked(o.config, stderr, NULL, NULL);
	if (!conf)
		return EX_CONFIG;
	if (o.what == RUN) {
		proc_title_init(argc, argv);
		return supervise(conf);
	}
	if (o.what == DUMP)
		conf_dump(conf, stdout);
	else
		printf("%s: ok\n", o.config);
	conf_free(conf);
	return 0;
}
