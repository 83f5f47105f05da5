/* SPDX-License-Identifier: MIT */
/*
 * firebreak-bench backend: options, start, stop.
 */
#include "backend.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"

#define STATE_BYTES (UINT64_C(4) << 30) /* sparse */

struct options {
	const char *listen, *certificate, *key, *datacenter, *endpoint, *state, *journal;
	struct fault_set fault;
	int control; /* -1: none */
};

enum { OPT_CERT = 256, OPT_KEY, OPT_FAULT, OPT_CAPACITY, OPT_JOURNAL, OPT_CONTROL };

static const struct argp_option option_table[] = {
	{ "listen", 'l', "ADDRESS", 0, "where to listen (default 127.0.0.1:9101; unix:/path too)", 0 },
	{ "tls-cert", OPT_CERT, "FILE", 0, "certificate chain; without it: cleartext HTTP/2", 0 },
	{ "tls-key", OPT_KEY, "FILE", 0, "its key", 0 },
	{ "datacenter", 'd', "NAME", 0, "the datacenter's name (default pangyo)", 0 },
	{ "endpoint", 'e', "NAME", 0, "this endpoint's name (default NAME-1)", 0 },
	{ "state", 's', "DIR", 0, "state shared by all endpoints of a run (required)", 0 },
	{ "journal", OPT_JOURNAL, "DIR", 0, "append what is accepted to DIR/ENDPOINT.journal", 0 },
	{ "fault", OPT_FAULT, "NAME=VALUE,...", 0, "faults from the start; at runtime: PUT /_fault?NAME=VALUE", 0 },
	{ "control", OPT_CONTROL, "FD", 0, "an inherited SOCK_SEQPACKET socket on which faults are told (NAME=VALUE,...); ends with it", 0 },
	{ "capacity", OPT_CAPACITY, "N", 0, "the same as --fault capacity=N", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	char bad[32], text[64], *end;

	switch (key) {
	case 'l':
		o->listen = arg;
		break;
	case OPT_CERT:
		o->certificate = arg;
		break;
	case OPT_KEY:
		o->key = arg;
		break;
	case 'd':
		o->datacenter = arg;
		break;
	case 'e':
		o->endpoint = arg;
		break;
	case 's':
		o->state = arg;
		break;
	case OPT_JOURNAL:
		o->journal = arg;
		break;
	case OPT_CONTROL:
		o->control = (int)strtol(arg, &end, 10);
		if (*end || end == arg || o->control < 0)
			argp_error(state, "--control: expected a descriptor's number");
		break;
	case OPT_CAPACITY:
		snprintf(text, sizeof(text), "capacity=%s", arg);
		arg = text;
		/* fall through */
	case OPT_FAULT:
		if (!fault_set_query(&o->fault, arg, strlen(arg), bad))
			argp_error(state, "no such fault, or not in its range: %s", bad);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument %s", arg);
		break;
	case ARGP_KEY_END:
		if (!o->state)
			argp_error(state, "--state DIR is required: the endpoints of a run share it");
		if (!o->certificate != !o->key)
			argp_error(state, "--tls-cert and --tls-key belong together");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void on_accept(void *user, struct net_accepted a)
{
	struct backend *b = user;

	h2_accept(&b->h2, a.fd, &a.peer, b->tls, b);
}

static void on_session_closed(void *owner, enum fault fault)
{
}

static void hook(void *arg)
{
	struct backend *b = arg;

	h2_pump_all(&b->h2);
}

static void stop(void *arg)
{
	struct backend *b = arg;

	net_loop_stop(b->loop);
}

/* Who started us says which faults to show; that works however busy the service is. */
static void on_control(void *arg)
{
	struct backend *b = arg;
	char text[512], bad[32];
	ssize_t n = recv(b->control, text, sizeof(text), MSG_DONTWAIT);

	if (n > 0) {
		if (!fault_set_query(&b->fault, text, (size_t)n, bad))
			fprintf(stderr, "firebreak-bench backend: --control: no such fault, or not in its range: %s\n", bad);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		net_loop_stop(b->loop);
	}
}

static bool prepare(struct backend *b, const struct options *o, char *why, size_t why_size)
{
	struct conf_tls_server tls = { .certificate = o->certificate, .key = o->key };
	unsigned char ticket_key[80];

	snprintf(b->datacenter, sizeof(b->datacenter), "%s", o->datacenter);
	if (o->endpoint)
		snprintf(b->endpoint, sizeof(b->endpoint), "%s", o->endpoint);
	else
		snprintf(b->endpoint, sizeof(b->endpoint), "%s-1", b->datacenter);
	b->fault = o->fault;
	b->control = o->control;
	b->dir = o->state;
	bench_limits(&b->limits);
	if (!crypt_init() || !crypt_random(&b->dice, sizeof(b->dice)) || !crypt_random(ticket_key, sizeof(ticket_key))) {
		snprintf(why, why_size, "no random bytes");
		return false;
	}
	b->dice |= 1;
	b->store = store_open(o->state, STATE_BYTES, why, why_size);
	if (!b->store || !journal_open(&b->journal, o->journal, b->endpoint, why, why_size))
		return false;
	return !o->certificate || (b->tls = net_tls_server(&tls, ticket_key, why));
}

static int serve(struct backend *b, int fd, const char *address)
{
	struct net_listener *l;

	h2_context_init(&b->h2, b->loop, &b->limits, true);
	b->h2.handler = call_handler;
	b->h2.owner.on_closed = on_session_closed;
	b->h2.connect_protocol = true;
	events_start(b);
	net_loop_hook(b->loop, hook, b);
	l = net_listener_create(b->loop, fd, on_accept, b);
	if (!l || !bench_stop_on_signal(b->loop, stop, b) || (b->control >= 0 && !net_watch(b->loop, b->control, on_control, b))) {
		fprintf(stderr, "firebreak-bench backend: out of memory\n");
		return 1;
	}
	printf("%s %s listens on %s%s\n", b->datacenter, b->endpoint, address, b->tls ? " (TLS)" : "");
	fflush(stdout);
	net_loop_run(b->loop);
	net_listener_destroy(l);
	return 0;
}

int backend_main(int argc, char **argv)
{
	static const struct argp argp = { option_table, parse, NULL, "One endpoint of the simulated messenger.", NULL, NULL, NULL };
	struct options o = { .listen = "127.0.0.1:9101", .datacenter = "pangyo", .control = -1 };
	static struct backend b; /* as long as the process */
	char why[512] = "";
	int fd, code;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	bench_prepare();
	b.loop = net_loop_create();
	if (!b.loop || !prepare(&b, &o, why, sizeof(why)) || (fd = net_listen_open(o.listen, why, sizeof(why))) < 0) {
		fprintf(stderr, "firebreak-bench backend: %s\n", *why ? why : "out of memory");
		return 1;
	}
	code = serve(&b, fd, o.listen);
	close(fd);
	/* Connections die with the process: an endpoint may be killed at any time, and
	 * stopping is no different. */
	journal_close(&b.journal);
	store_close(b.store);
	return code;
}
