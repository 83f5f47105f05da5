/* SPDX-License-Identifier: MIT */
/*
 * firebreak-bench: subcommands, and what they share.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "run/relay.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *text;
} commands[] = {
	{ "backend", backend_main, "one endpoint of the simulated messenger" },
	{ "run", run_main, "rehearse a scenario: load, faults, and what held" },
	{ "relay", relay_main, "a wire with faults, for `run`" },
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

void bench_limits(struct conf_limits *l)
{
	const uint32_t many = 10000000;

	*l = (struct conf_limits){
		.max_streams = 1000,
		.header_list_bytes = 65536,
		.header_count = 256,
		.handshake_timeout_ms = 10000,
		.header_timeout_ms = 10000,
		.body_rate = 0,
		.body_timeout_ms = 3600000,
		.idle_timeout_ms = 3600000,
		.upstream_idle_timeout_ms = 3600000,
		.write_timeout_ms = 3600000,
		.output_bytes = 256 << 10,
		.stream_window = 256 << 10,
		.connection_window = 4 << 20,
		.upstream_stream_window = 256 << 10,
		.upstream_connection_window = 4 << 20,
		.upstream_streams = 1000,
		.upstream_connections = 1000,
		.resets_burst = many, .resets_rate = many,
		.pings_burst = many, .pings_rate = many,
		.settings_burst = many, .settings_rate = many,
		.empty_burst = many, .empty_rate = many,
		.frames_burst = many, .frames_rate = many,
		.continuations = 64,
		.held_head_bytes = 16 << 20,
		.connections = 100000,
		.memory_bytes = 0,
	};
}

struct on_signal {
	int fd;
	void (*call)(void *arg);
	void *arg;
};

static void on_signal(void *arg)
{
	struct on_signal *s = arg;
	struct signalfd_siginfo info;

	if (read(s->fd, &info, sizeof(info)) == sizeof(info))
		s->call(s->arg);
}

void bench_prepare(void)
{
	struct rlimit files;

	/* As many descriptors as the system lets us have: many clients, many streams. */
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
}

bool bench_stop_on_signal(struct net_loop *loop, void (*call)(void *arg), void *arg)
{
	static struct on_signal watched; /* once a process */
	struct sigaction was;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	/* Who was started with SIGINT ignored (a script's background job) is not meant by ^C. */
	if (!sigaction(SIGINT, NULL, &was) && was.sa_handler != SIG_IGN)
		sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return false;
	watched = (struct on_signal){ signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), call, arg };
	return watched.fd >= 0 && net_watch(loop, watched.fd, on_signal, &watched);
}

static int usage(FILE *out, int code)
{
	size_t i;

	fprintf(out, "Usage: firebreak-bench COMMAND [OPTION...]\n\n");
	for (i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].text);
	fprintf(out, "\n`firebreak-bench COMMAND --help` lists a command's options.\n");
	return code;
}

int main(int argc, char **argv)
{
	char name[64];
	size_t i;

	if (argc < 2)
		return usage(stderr, 64);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return usage(stdout, 0);
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))
		return puts("firebreak-bench " FIREBREAK_VERSION) < 0;
	for (i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		snprintf(name, sizeof(name), "firebreak-bench %s", argv[1]);
		argv[1] = name; /* what argp calls itself in messages */
		return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "firebreak-bench: unknown command %s\n", argv[1]);
	return usage(stderr, 64);
}
