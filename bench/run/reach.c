/* SPDX-License-Identifier: MIT */
/*
 * Before the run: one connection to the target and one PING over it, in a process of its
 * own (the rooms keep state that a fork would share).
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bench.h"
#include "conductor.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/h2.h"

#define CONNECT_MS 2000
#define ANSWER     (4 * CLOCK_SEC)

struct asking {
	struct net_loop *loop;
	struct h2_context h2;
	struct h2_session *session;
	struct net_timer timer;
	enum fault fault;
	bool opened, answered;
};

static void on_open(void *owner)
{
	struct asking *a = owner;

	a->opened = true;
	h2_ping(a->session);
	h2_wake(a->session);
}

static void on_pong(void *owner, int64_t rtt)
{
	struct asking *a = owner;

	a->answered = true;
	net_loop_stop(a->loop);
}

static void on_closed(void *owner, enum fault fault)
{
	struct asking *a = owner;

	a->fault = fault;
	net_loop_stop(a->loop);
}

static void on_timer(struct net_timer *t)
{
	struct asking *a = list_entry(t, struct asking, timer);

	net_loop_stop(a->loop);
}

static void hook(void *arg)
{
	struct asking *a = arg;

	h2_pump_all(&a->h2);
}

static void explain(const struct asking *a, const struct place *p, char *why, size_t size)
{
	if (a->fault == FAULT_UPSTREAM_TLS && p->verify)
		snprintf(why, size, "target %.60s: no TLS with it: its certificate is not one of %.80s for \"%.60s\", or it speaks no HTTP/2",
			 p->target, p->ca ? p->ca : "the system's authorities", p->authority);
	else if (a->fault == FAULT_UPSTREAM_TLS)
		snprintf(why, size, "target %s: no TLS with it, or no HTTP/2 over TLS", p->target);
	else if (a->opened)
		snprintf(why, size, "target %s: it does not answer over HTTP/2%s", p->target, p->tls ? "" : " in cleartext");
	else
		snprintf(why, size, "target %s is down: %s", p->target, a->fault ? fault_info(a->fault)->text : "no answer");
}

static bool ask(const struct place *p, char *why, size_t size)
{
	static struct conf_limits limits;
	struct asking a = { .loop = net_loop_create() };
	struct net_tls *tls = NULL;
	struct net_addr addr;
	char host[256];

	bench_limits(&limits);
	clock_tick();
	if (!a.loop || !crypt_init() || !net_addr_parse(&addr, p->target) || (p->tls && !(tls = net_tls_client(p->ca, p->verify, true, why))))
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)strcspn(p->authority, ":"), p->authority);
	h2_context_init(&a.h2, a.loop, &limits, false);
	a.h2.owner = (struct h2_owner){ .on_open = on_open, .on_pong = on_pong, .on_closed = on_closed };
	net_loop_hook(a.loop, hook, &a);
	net_timer_init(&a.timer, on_timer);
	net_timer_arm(a.loop, &a.timer, clock_now() + ANSWER);
	a.session = h2_connect(&a.h2, &addr, tls, host, CONNECT_MS, &a);
	if (a.session)
		net_loop_run(a.loop);
	if (!a.answered)
		explain(&a, p, why, size);
	return a.answered;
}

bool reach(const struct place *p, char why[300])
{
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	snprintf(why, 300, "the target could not be asked: out of memory or descriptors");
	if (pipe2(fds, O_CLOEXEC))
		return false;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		close(fds[0]);
		if (!ask(p, why, 300) && write(fds[1], why, strlen(why) + 1) < 0)
			_exit(2);
		_exit(0);
	}
	close(fds[1]);
	n = pid > 0 ? read(fds[0], why, 299) : -1;
	close(fds[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return pid > 0 && n == 0 && WIFEXITED(status) && !WEXITSTATUS(status);
}
