/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS 10000

static void die(const char *what)
{
	fprintf(stderr, "redis-server: %s: %s\n", what, strerror(errno));
	abort();
}

void test_redis_init(struct test_redis *t)
{
	*t = (struct test_redis){ .out = -1 };
	snprintf(t->dir, sizeof(t->dir), "/tmp/fb-redis-XXXXXX");
	if (!mkdtemp(t->dir))
		die("mkdtemp");
	snprintf(t->socket, sizeof(t->socket), "%s/redis.sock", t->dir);
	snprintf(t->address, sizeof(t->address), "unix:%s", t->socket);
}

static void run(struct test_redis *t, int out, const char *const *extra)
{
	const char *argv[64] = { "redis-server", "--port", "0", "--unixsocket", t->socket, "--dir", t->dir, "--save", "",
				 "--appendonly", "no", "--daemonize", "no", "--loglevel", "notice" };
	int n = 15;

	while (extra && *extra && n < 63)
		argv[n++] = *extra++;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

static void wait_for(struct test_redis *t, const char *until)
{
	char text[65536];
	struct pollfd p = { .fd = t->out, .events = POLLIN };
	size_t len = 0;
	ssize_t n;

	text[0] = '\0';
	while (!strstr(text, until)) {
		if (poll(&p, 1, READY_MS) != 1 || len + 1 >= sizeof(text))
			die("it does not say it is ready");
		n = read(t->out, text + len, sizeof(text) - 1 - len);
		if (n <= 0) {
			fputs(text, stderr);
			die("it ended");
		}
		len += (size_t)n;
		text[len] = '\0';
	}
}

void test_redis_start_until(struct test_redis *t, const char *until, const char *const *extra)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		die("pipe");
	t->pid = fork();
	if (t->pid < 0)
		die("fork");
	if (!t->pid)
		run(t, fds[1], extra);
	close(fds[1]);
	t->out = fds[0];
	wait_for(t, until);
}

void test_redis_start(struct test_redis *t, const char *const *extra)
{
	test_redis_start_until(t, "eady to accept connections", extra);
}

static void make_certificate(const struct test_redis *t)
{
	const char *const argv[] = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
				     "-days", "2", "-subj", "/CN=redis.test", "-addext", "subjectAltName=DNS:redis.test",
				     "-keyout", t->key, "-out", t->cert, NULL };
	int status, null;
	pid_t pid = fork();

	if (!pid) {
		null = open("/dev/null", O_RDWR);
		dup2(null, STDERR_FILENO);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("openssl req");
}

static int free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) || getsockname(fd, (struct sockaddr *)&sa, &len))
		die("no port");
	close(fd);
	return ntohs(sa.sin_port);
}

int test_redis_start_tls(struct test_redis *t)
{
	int port = free_port();
	char text[8];
	const char *const extra[] = { "--tls-port", text, "--bind", "127.0.0.1", "--tls-cert-file", t->cert, "--tls-key-file", t->key,
				      "--tls-auth-clients", "no", NULL };

	snprintf(text, sizeof(text), "%d", port);
	snprintf(t->cert, sizeof(t->cert), "%s/cert.pem", t->dir);
	snprintf(t->key, sizeof(t->key), "%s/key.pem", t->dir);
	make_certificate(t);
	test_redis_start(t, extra);
	return port;
}

void test_redis_signal(struct test_redis *t, int sig)
{
	kill(t->pid, sig);
	if (sig == SIGSTOP)
		waitpid(t->pid, NULL, WUNTRACED); /* stopped, not about to stop */
}

void test_redis_kill(struct test_redis *t)
{
	if (!t->pid)
		return;
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
	close(t->out);
	t->pid = 0;
	t->out = -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

void test_redis_finish(struct test_redis *t)
{
	test_redis_kill(t);
	nftw(t->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
