/* SPDX-License-Identifier: MIT */
/*
 * The admin side as it runs: a control process in a child (doubles of the probe and the
 * loader), another child in a worker's place that follows the board, and here a client
 * over real sockets. argv[1]: firebreakctl.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../../src/admin/guard.h"
#include "../control/doubles.h"
#include "firebreak/admin.h"
#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"
#include "firebreak/proc.h"

#define TOKEN "correct horse battery staple"

static const char *ctl_program;
static char dir[64], token_file[128], unix_path[128];
static struct board *board;
static pid_t control_pid, worker_pid;
static int command, port;

/* ---- the processes ---- */
static int listen_tcp(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 128), 0);
	getsockname(fd, (struct sockaddr *)&sin, &len);
	port = ntohs(sin.sin_port);
	return fd;
}

static int listen_unix(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(sun.sun_path, unix_path, strlen(unix_path));
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 128), 0);
	return fd;
}

static void follow_board(void)
{
	struct board_worker *w = board_worker(board, 0);
	struct board_live live = { 0 };

	for (;;) {
		if (board_read(board, &live))
			atomic_store(&w->live_version, live.version);
		atomic_store(&w->generation, live.generation);
		atomic_fetch_add(&w->heartbeat, 1);
		poll(NULL, 0, 2);
	}
}

static void start_worker(void)
{
	worker_pid = fork();
	if (!worker_pid)
		follow_board();
	atomic_store(&board_worker(board, 0)->pid, worker_pid);
}

static void stop_worker(void)
{
	if (worker_pid > 0) {
		kill(worker_pid, SIGKILL);
		waitpid(worker_pid, NULL, 0);
		atomic_store(&board_worker(board, 0)->pid, 0);
	}
	worker_pid = 0;
}

static void start(bool over_unix, bool with_token)
{
	struct conf *c;
	struct ctl_args args = { .admin = &admin_server };
	FILE *f;
	int pair[2];

	snprintf(dir, sizeof(dir), "/tmp/fb-admin-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(token_file, sizeof(token_file), "%s/token", dir);
	snprintf(unix_path, sizeof(unix_path), "%s/admin.sock", dir);
	f = fopen(token_file, "w");
	fputs(TOKEN "\n", f);
	fclose(f);
	board = board_create(1);
	args.board = board;
	args.admin_fd = over_unix ? listen_unix() : listen_tcp();
	c = test_conf(NULL);
	c->admin.token_file = with_token ? token_file : NULL;
	args.conf = c;
	assert_true(proc_pair(pair));
	args.command_fd = pair[1];
	command = pair[0];
	start_worker();
	control_pid = fork();
	if (!control_pid) {
		close(pair[0]);
		exit(ctl_run(&args)); /* with its own leak check under ASan */
	}
	close(pair[1]);
	close(args.admin_fd);
	conf_free(c);
}

static int start_tcp(void **state)
{
	start(false, true);
	return 0;
}

/* One endpoint with the longest words. */
static int start_troubled(void **state)
{
	*test_probe(1) = (struct dc_health){ .state = DC_DOWN, .why = FAULT_UPSTREAM_UNRESOLVED };
	start(false, true);
	test_probe_reset();
	return 0;
}

static int start_unix(void **state)
{
	start(true, true);
	return 0;
}

static int start_without_token(void **state)
{
	start(false, false);
	return 0;
}

static int stop(void **state)
{
	int status;

	proc_send(command, PROC_STOP, 0, -1);
	waitpid(control_pid, &status, 0);
	stop_worker();
	close(command);
	board_destroy(board);
	unlink(token_file);
	unlink(unix_path);
	return rmdir(dir) || status;
}

/* ---- the client ---- */
static int dial(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { .tv_sec = 5 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

static char answer[1 << 20];

/* Sends the text, reads to the end, returns the status (0: no answer). */
static int raw(const char *request, size_t len)
{
	int fd = dial();
	size_t got = 0;
	ssize_t n;

	send(fd, request, len, MSG_NOSIGNAL);
	while ((n = recv(fd, answer + got, sizeof(answer) - 1 - got, 0)) > 0)
		got += (size_t)n;
	close(fd);
	answer[got] = '\0';
	return got > 12 ? atoi(answer + 9) : 0;
}

/* fields: further header lines, each with CRLF. */
static int ask(const char *method, const char *path, const char *host, const char *fields, const char *body)
{
	char request[65536];
	int n = snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s", method,
			 path, host, fields, strlen(body), body);

	return raw(request, (size_t)n);
}

static int get(const char *path)
{
	return ask("GET", path, "localhost", "", "");
}

#define BEARER "Authorization: Bearer " TOKEN "\r\n"
static int put(const char *path, const char *body)
{
	return ask("PUT", path, "localhost", BEARER, body);
}

static json_t *body_json(void)
{
	char *body = strstr(answer, "\r\n\r\n");
	json_t *j = body ? json_loads(body + 4, 0, NULL) : NULL;

	if (!j)
		fail_msg("no JSON in: %s", answer);
	return j;
}

static long long live_version(void)
{
	json_t *j;
	long long v;

	assert_int_equal(get("/api/v1/status"), 200);
	j = body_json();
	v = json_integer_value(json_object_get(j, "live_version"));
	json_decref(j);
	return v;
}

static bool mode_is(const char *name)
{
	json_t *j;
	bool is;

	assert_int_equal(get("/api/v1/mode"), 200);
	j = body_json();
	is = !strcmp(json_string_value(json_object_get(j, "mode")), name);
	json_decref(j);
	return is;
}

#define ORDER(what) "{" what ",\"for\":\"30m\",\"reason\":\"drill\",\"author\":\"kim\"}"

/* ---- tests ---- */
static void reading(void **state)
{
	static const char *const paths[] = { "/livez",		"/readyz",	       "/metrics",	     "/api/v1/status", "/api/v1/mode",
					     "/api/v1/features", "/api/v1/datacenters", "/api/v1/overrides", "/api/v1/config" };
	static const char *const keys[] = { "version",	"node",	  "generation",	  "live_version", "uptime_s", "ready",	   "draining", "mode",
					    "mode_since", "mode_forced", "reachable", "datacenters",  "features", "workers", "overrides" };
	long long version = live_version();
	json_t *j, *w;
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		assert_int_equal(get(paths[i]), 200);
		assert_int_equal(ask("HEAD", paths[i], "localhost", "", ""), 200);
		assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
	}
	assert_int_equal(get("/api/v1/status?x=1"), 200);
	j = body_json();
	for (i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (!json_object_get(j, keys[i]))
			fail_msg("status lacks %s", keys[i]);
	}
	assert_int_equal(json_array_size(json_object_get(j, "features")), 5);
	assert_int_equal(json_array_size(json_object_get(json_array_get(json_object_get(j, "datacenters"), 1), "endpoints")), 2);
	w = json_array_get(json_object_get(j, "workers"), 0);
	assert_int_equal(json_integer_value(json_object_get(w, "pid")), worker_pid);
	assert_true(json_is_true(json_object_get(w, "alive")));
	json_decref(j);
	assert_int_equal(live_version(), version);
}

static void metrics_pass_promtool(void **state)
{
	FILE *out;

	assert_int_equal(get("/metrics"), 200);
	assert_non_null(strstr(answer, "\nfirebreak_mode{mode=\"normal\"} 1\n"));
	assert_non_null(strstr(answer, "\nfirebreak_endpoint_state{datacenter=\"b\",endpoint=\"10.0.1.1:80\",state=\"up\"} 1\n"));
	assert_non_null(strstr(answer, "\nfirebreak_workers 1\n"));
	assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
	if (system("command -v promtool >/dev/null 2>&1"))
		skip();
	out = popen("promtool check metrics", "w");
	fputs(strstr(answer, "\r\n\r\n") + 4, out);
	assert_int_equal(pclose(out), 0);
}

static void unknown_paths_and_wrong_methods(void **state)
{
	static const char *const nowhere[] = { "/", "/api/v1", "/api/v1/status/", "/api/v1/features/", "/api/v1/features/a/b",
					       "/api/v1/datacenters/a", "/api/v1/datacenters//drain", "/api/v1/../v1/status",
					       "/api/v1/features/%00", "/api/v1/features/a%2", "//livez" };
	size_t i;

	for (i = 0; i < sizeof(nowhere) / sizeof(*nowhere); i++) {
		int status = ask("PUT", nowhere[i], "localhost", BEARER, ORDER("\"state\":\"off\""));

		if (status != 404)
			fail_msg("%s gave %d", nowhere[i], status);
		assert_non_null(strstr(answer, "application/problem+json"));
	}
	assert_int_equal(ask("PUT", "/livez", "localhost", BEARER, "{}"), 405);
	assert_non_null(strstr(answer, "Allow: GET, HEAD\r\n"));
	assert_int_equal(ask("POST", "/api/v1/mode", "localhost", BEARER, "{}"), 405);
	assert_non_null(strstr(answer, "Allow: DELETE, GET, HEAD, PUT\r\n"));
	assert_int_equal(get("/api/v1/features/shop"), 405);
	assert_non_null(strstr(answer, "Allow: DELETE, PUT\r\n"));
	assert_int_equal(ask("OPTIONS", "/api/v1/mode", "localhost", "", ""), 405);
	assert_int_equal(ask("DELETE", "/metrics", "localhost", BEARER, ""), 405);
}

static void other_sites_are_refused(void **state)
{
	assert_int_equal(ask("GET", "/api/v1/status", "evil.example", "", ""), 421);
	assert_int_equal(ask("GET", "/api/v1/status", "evil.example:9901", "", ""), 421);
	assert_int_equal(ask("GET", "/api/v1/status", "", "", ""), 421);
	assert_int_equal(ask("PUT", "/api/v1/mode", "evil.example", BEARER, ORDER("\"mode\":\"island\"")), 421);
	assert_int_equal(ask("GET", "/api/v1/status", "localhost", "Origin: http://evil.example\r\n", ""), 403);
	assert_int_equal(ask("PUT", "/api/v1/mode", "localhost", BEARER "Origin: http://evil.example\r\n", ORDER("\"mode\":\"island\"")), 403);
	assert_int_equal(ask("GET", "/api/v1/status", "localhost", "Origin: null\r\n", ""), 403);
	assert_int_equal(ask("GET", "/api/v1/status", "localhost:9", "Origin: http://localhost:9\r\n", ""), 200);
	assert_int_equal(ask("GET", "/api/v1/status", "[::1]:9", "", ""), 200);
	assert_int_equal(ask("GET", "/api/v1/status", "127.0.0.1:9901", "", ""), 200);
	assert_int_equal(ask("GET", "/metrics", "proxy-7.internal:9901", "", ""), 200); /* scrapers */
	assert_true(mode_is("normal"));
}

static void changes_need_the_token(void **state)
{
	static const char *const wrong[] = { "", "Authorization: Bearer\r\n", "Authorization: Bearer \r\n", "Authorization: Bearer wrong\r\n",
					     "Authorization: Basic " TOKEN "\r\n", "Authorization: Bearer " TOKEN "x\r\n" };
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_int_equal(ask("PUT", "/api/v1/mode", "localhost", wrong[i], ORDER("\"mode\":\"island\"")), 401);
		assert_non_null(strstr(answer, "WWW-Authenticate: Bearer\r\n"));
		assert_int_equal(ask("DELETE", "/api/v1/mode", "localhost", wrong[i], ""), 401);
	}
	assert_true(mode_is("normal"));
	assert_int_equal(put("/api/v1/mode", ORDER("\"mode\":\"core-only\"")), 200);
	assert_true(mode_is("core-only"));
	/* A rotated token counts at once, an empty file opens nothing. */
	assert_int_equal(truncate(token_file, 0), 0);
	assert_int_equal(put("/api/v1/mode", ORDER("\"mode\":\"normal\"")), 401);
	assert_int_equal(ask("PUT", "/api/v1/mode", "localhost", "Authorization: Bearer \r\n", ORDER("\"mode\":\"normal\"")), 401);
	assert_true(mode_is("core-only"));
}

static void without_a_token_file_tcp_cannot_change(void **state)
{
	assert_int_equal(put("/api/v1/mode", ORDER("\"mode\":\"island\"")), 403);
	assert_true(mode_is("normal"));
}

static void setting_and_clearing(void **state)
{
	json_t *j, *o;

	assert_int_equal(put("/api/v1/mode", "{\"mode\":\"core-only\",\"for\":\"1h30m\",\"reason\":\"fire \\u2014 drill\",\"author\":\"kim\",\"force\":false}"), 200);
	j = body_json();
	assert_true(json_integer_value(json_object_get(j, "live_version")) > 1);
	json_decref(j);
	assert_true(mode_is("core-only"));
	assert_int_equal(put("/api/v1/features/shop", ORDER("\"state\":\"share\",\"share\":\"25%\"")), 200);
	assert_int_equal(put("/api/v1/datacenters/%61/drain", "{\"for\":\"90s\",\"reason\":\"r\",\"author\":\"a\"}"), 200);
	assert_int_equal(get("/api/v1/overrides"), 200);
	j = body_json();
	assert_int_equal(json_array_size(j), 3);
	o = json_array_get(j, 0);
	assert_string_equal(json_string_value(json_object_get(o, "author")), "kim");
	assert_true(json_number_value(json_object_get(o, "left_s")) > 5300);
	assert_true(json_number_value(json_object_get(json_array_get(j, 1), "share")) == 0.25);
	json_decref(j);
	assert_int_equal(ask("DELETE", "/api/v1/mode?author=l%65e", "localhost", BEARER, ""), 200);
	assert_non_null(strstr(answer, "\"was_set\": true"));
	assert_int_equal(ask("DELETE", "/api/v1/mode", "localhost", BEARER, ""), 200);
	assert_non_null(strstr(answer, "\"was_set\": false"));
	assert_int_equal(ask("DELETE", "/api/v1/features/moon", "localhost", BEARER, ""), 404);
	assert_int_equal(put("/api/v1/features/shop", "{\"state\":\"auto\"}"), 200);
	assert_int_equal(ask("DELETE", "/api/v1/datacenters/a/drain", "localhost", BEARER, ""), 200);
	assert_int_equal(get("/api/v1/overrides"), 200);
	j = body_json();
	assert_int_equal(json_array_size(j), 0);
	json_decref(j);
}

static void wrong_orders_say_what_is_wrong(void **state)
{
	static const struct {
		const char *path, *body;
		int status;
		const char *says;
	} wrong[] = {
		{ "/api/v1/mode", "", 400, "JSON" },
		{ "/api/v1/mode", "[]", 400, "JSON" },
		{ "/api/v1/mode", "{\"mode\":", 400, "JSON" },
		{ "/api/v1/mode", ORDER("\"fro\":\"x\",\"mode\":\"island\""), 400, "fro" },
		{ "/api/v1/mode", ORDER("\"mode\":7"), 400, "fit" },
		{ "/api/v1/mode", ORDER("\"mode\":\"island\",\"force\":\"yes\""), 400, "fit" },
		{ "/api/v1/mode", ORDER("\"mode\":\"island\",\"mode\":\"normal\""), 400, "JSON" },
		{ "/api/v1/mode", ORDER("\"force\":false"), 400, "mode" },
		{ "/api/v1/mode", ORDER("\"mode\":\"moon\""), 404, "no mode" },
		{ "/api/v1/mode", "{\"mode\":\"island\",\"reason\":\"r\",\"author\":\"a\"}", 400, "for" },
		{ "/api/v1/mode", "{\"mode\":\"island\",\"for\":\"soon\",\"reason\":\"r\",\"author\":\"a\"}", 400, "for" },
		{ "/api/v1/mode", "{\"mode\":\"island\",\"for\":\"30m1h\",\"reason\":\"r\",\"author\":\"a\"}", 400, "for" },
		{ "/api/v1/mode", "{\"mode\":\"island\",\"for\":\"73h\",\"reason\":\"r\",\"author\":\"a\"}", 400, "further" },
		{ "/api/v1/mode", "{\"mode\":\"island\",\"for\":\"1h\",\"author\":\"a\"}", 400, "reason" },
		{ "/api/v1/mode", "{\"mode\":\"island\",\"for\":\"1h\",\"reason\":\"r\\n\",\"author\":\"a\"}", 400, "control char" },
		{ "/api/v1/features/moon", ORDER("\"state\":\"off\""), 404, "no feature" },
		{ "/api/v1/features/shop", ORDER("\"state\":\"share\""), 400, "share" },
		{ "/api/v1/features/shop", ORDER("\"state\":\"share\",\"share\":\"101%\""), 400, "share" },
		{ "/api/v1/features/shop", ORDER("\"state\":\"share\",\"share\":\"lots\""), 400, "share" },
		{ "/api/v1/datacenters/moon/drain", ORDER("\"force\":true"), 404, "no datacenter" },
		{ "/api/v1/features/send", ORDER("\"state\":\"off\""), 409, "core" },
	};
	long long version = live_version();
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		int status = put(wrong[i].path, wrong[i].body);

		if (status != wrong[i].status || !strstr(answer, wrong[i].says) || !strstr(answer, "application/problem+json"))
			fail_msg("%s %s: %s", wrong[i].path, wrong[i].body, answer);
	}
	assert_int_equal(live_version(), version);
	assert_int_equal(put("/api/v1/features/send", ORDER("\"state\":\"off\",\"force\":true")), 200);
}

static void large_and_malformed_requests(void **state)
{
	static char big[40000];
	static const char *const malformed[] = { "\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00",
						 "GET /livez HTTP/1.1\r\nHost localhost\r\n\r\n",
						 "PUT /api/v1/mode HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
						 "PUT /api/v1/mode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n" };
	size_t i;
	int status, fd;

	memset(big, 'a', sizeof(big) - 1);
	status = put("/api/v1/mode", big);
	assert_true(status == 413 || status == 400);
	memcpy(big, "GET /livez HTTP/1.1\r\nX: ", 24);
	status = raw(big, sizeof(big) - 1);
	assert_true(status == 0 || status >= 400);
	for (i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
		fd = dial();
		send(fd, malformed[i], strlen(malformed[i]), MSG_NOSIGNAL);
		close(fd);
		assert_int_equal(get("/livez"), 200);
	}
}

/* A body behind a DELETE is not read as a request of its own. */
static void nothing_hides_behind_a_delete(void **state)
{
	static const char hidden[] = "PUT /api/v1/mode HTTP/1.1\r\nHost: localhost\r\n" BEARER "Content-Length: 70\r\n\r\n" ORDER("\"mode\":\"island\"");
	char request[4096];
	int n = snprintf(request, sizeof(request), "DELETE /api/v1/mode HTTP/1.1\r\nHost: localhost\r\n" BEARER "Content-Length: %zu\r\n\r\n%s",
			 sizeof(hidden) - 1, hidden);

	assert_int_equal(raw(request, (size_t)n), 200);
	assert_null(strstr(answer + 9, "HTTP/1.1 200"));
	assert_true(mode_is("normal"));
}

/* Whoever holds all connections, each with half a request, does not keep others out; who
 * was there longest goes, the newest stay. */
static void connections_are_capped_and_come_back(void **state)
{
	enum { CAP = 64, MANY = 4 * CAP };
	struct pollfd p = { .events = POLLIN };
	int fd[MANY], i, late;
	char byte;

	for (i = 0; i < MANY; i++) {
		fd[i] = dial();
		assert_true(send(fd[i], "GET /livez HTTP/1.1\r\nX", 22, 0) == 22);
	}
	late = dial();
	assert_true(send(late, "GET /livez HTTP/1.0\r\n\r\n", 23, 0) == 23);
	p.fd = late;
	assert_int_equal(poll(&p, 1, 3000), 1);
	assert_int_equal(recv(late, &byte, 1, 0), 1);
	close(late);
	for (i = 0; i <= MANY - CAP; i++)
		assert_true(recv(fd[i], &byte, 1, 0) == 0 || errno == ECONNRESET);
	assert_true(send(fd[MANY - 1], ": y\r\n\r\n", 8, 0) == 8);
	assert_int_equal(recv(fd[MANY - 1], &byte, 1, 0), 1);
	for (i = 0; i < MANY; i++)
		close(fd[i]);
	for (i = 0; i < 3 * CAP; i++)
		assert_int_equal(get("/livez"), 200);
}

static void readiness(void **state)
{
	assert_int_equal(get("/readyz"), 200);
	assert_int_equal(put("/api/v1/mode", ORDER("\"mode\":\"island\"")), 409); /* send would be refused */
	assert_int_equal(put("/api/v1/mode", ORDER("\"mode\":\"island\",\"force\":true")), 200);
	assert_int_equal(get("/readyz"), 200); /* rooms are still read from recent state */
	assert_int_equal(put("/api/v1/features/rooms", ORDER("\"state\":\"off\",\"force\":true")), 200);
	assert_int_equal(get("/readyz"), 503);
	assert_non_null(strstr(answer, "no core feature"));
	assert_int_equal(ask("DELETE", "/api/v1/features/rooms", "localhost", BEARER, ""), 200);
	stop_worker();
	assert_int_equal(get("/readyz"), 503);
	assert_non_null(strstr(answer, "no worker"));
	assert_int_equal(get("/livez"), 200);
	start_worker();
	assert_int_equal(get("/readyz"), 200);
	proc_send(command, PROC_DRAIN, 0, -1);
	do
		assert_int_not_equal(get("/livez"), 0);
	while (get("/readyz") == 200);
	assert_non_null(strstr(answer, "draining"));
}

/* ---- firebreakctl ---- */
static int run(const char *arguments, char *out, size_t size)
{
	char line[1024];
	FILE *p;
	size_t n;
	int status;

	snprintf(line, sizeof(line), "%s %s 2>&1", ctl_program, arguments);
	p = popen(line, "r");
	n = fread(out, 1, size - 1, p);
	out[n] = '\0';
	status = pclose(p);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void run_expect(const char *arguments, int code, const char *says)
{
	char out[65536];
	int got = run(arguments, out, sizeof(out));

	if (got != code || !strstr(out, says))
		fail_msg("firebreakctl %s: exit %d, said: %s", arguments, got, out);
}

static void address_env(void)
{
	char text[160];

	snprintf(text, sizeof(text), "127.0.0.1:%d", port);
	setenv("FIREBREAK_ADMIN", text, 1);
	setenv("FIREBREAK_TOKEN_FILE", token_file, 1);
}

static void command_changes_and_confirms(void **state)
{
	char out[65536];
	char *line;

	address_env();
	run_expect("mode set core-only --for 30m --reason 'a drill' --author kim", 0, "in force on 1 of 1 workers");
	assert_true(mode_is("core-only"));
	run_expect("feature shop share 25 --for 30m --reason r", 0, "in force on 1 of 1 workers");
	run_expect("feature shop off --for 30m --reason r", 0, "in force");
	run_expect("dc drain a --for 30m --reason r", 0, "in force");
	run_expect("status", 0, "kim: a drill");
	run_expect("status", 0, "upstream-unreso");
	assert_int_equal(run("status", out, sizeof(out)), 0);
	for (line = strtok(out, "\n"); line; line = strtok(NULL, "\n")) {
		if (strlen(line) > 80)
			fail_msg("wider than 80: %s", line);
	}
	run_expect("dc restore a", 0, "in force");
	run_expect("feature shop auto", 0, "in force");
	run_expect("mode auto", 0, "in force");
	run_expect("status --json", 0, "\"mode_forced\": false");
	run_expect("metrics", 0, "firebreak_build_info");
}

static void command_says_why_not(void **state)
{
	address_env();
	run_expect("mode set moon --for 30m --reason r", 1, "no mode \"moon\"; there are normal, ");
	run_expect("mode set core-onyl --for 30m --reason r", 1, "no mode \"core-onyl\"; did you mean \"core-only\"?");
	run_expect("feature shpo off --for 30m --reason r", 1, "no feature \"shpo\"; did you mean \"shop\"?");
	run_expect("dc drain aa --for 30m --reason r", 1, "no datacenter \"aa\"; did you mean \"a\"?");
	run_expect("stauts", 64, "did you mean \"status\"?");
	run_expect("feature shop stale --for 30m --reason r", 64, "did you mean \"stale-only\"?");
	run_expect("feature send off --for 30m --reason r", 1, "use force");
	run_expect("feature send off --for 30m --reason r --force", 0, "in force");
	run_expect("mode auto", 0, "nothing was set: it is automatic");
	run_expect("feature shop auto", 0, "nothing was set");
	run_expect("dc restore a", 0, "nothing was set");
	run_expect("feature shpo auto", 1, "no feature \"shpo\"; did you mean \"shop\"?");
	run_expect("dc restore aa", 1, "no datacenter \"aa\"; did you mean \"a\"?");
	run_expect("mode set island --for 30m", 64, "--reason");
	run_expect("mode set", 64, "expected");
	run_expect("feature shop loud --for 1m --reason r", 64, "a feature can be");
	run_expect("", 64, "what is to be done");
	run_expect("fly", 64, "expected");
	run_expect("status --no-such-option", 64, "unrecognized");
	run_expect("-a 127.0.0.1:1 status", 1, "does firebreak run");
	run_expect("-a unix:/nonexistent status", 1, "does firebreak run");
	run_expect("-a nonsense status", 1, "no address");
	run_expect("-a 127.0.0.1:65536 status", 1, "no address");
	setenv("FIREBREAK_TOKEN_FILE", "/nonexistent", 1);
	run_expect("mode auto", 1, "No such file");
	run_expect("status", 0, "mode"); /* who looks needs none */
	setenv("FIREBREAK_TOKEN_FILE", "/dev/null", 1);
	run_expect("mode auto", 1, "not this node's");
	unsetenv("FIREBREAK_TOKEN_FILE");
	run_expect("mode auto", 1, "--token-file");
}

static void command_tells_of_a_worker_that_does_not_follow(void **state)
{
	address_env();
	kill(worker_pid, SIGSTOP);
	run_expect("mode set reduced --for 30m --reason r", 1, "in force on 0 of 1 workers");
	kill(worker_pid, SIGCONT);
}

static void command_over_a_unix_socket_needs_no_token(void **state)
{
	char text[160];

	snprintf(text, sizeof(text), "unix:%s", unix_path);
	setenv("FIREBREAK_ADMIN", text, 1);
	unsetenv("FIREBREAK_TOKEN_FILE");
	run_expect("mode set reduced --for 30m --reason r", 0, "in force on 1 of 1 workers");
	run_expect("status", 0, "reduced (set by an operator)");
}

/* ---- guard ---- */
static void hosts(void **state)
{
	assert_true(guard_host("127.0.0.1", NULL));
	assert_true(guard_host("127.8.8.8:1", "10.0.0.1:9901"));
	assert_true(guard_host("LOCALHOST:80", NULL));
	assert_true(guard_host("[::1]", NULL));
	assert_true(guard_host("10.0.0.1:9901", "10.0.0.1:9901"));
	assert_true(guard_host("10.0.0.7:9901", "0.0.0.0:9901"));
	assert_true(guard_host("[fd00::1]:9901", "[::]:9901"));
	assert_false(guard_host("10.0.0.7:9901", "10.0.0.1:9901"));
	assert_false(guard_host("evil.example", "0.0.0.0:9901"));
	assert_false(guard_host("127.0.0.1.evil.example", "0.0.0.0:9901"));
	assert_false(guard_host("localhost.evil.example", NULL));
	assert_false(guard_host("localhost:80@evil.example", NULL));
	assert_false(guard_host("localhost:x", NULL));
	assert_false(guard_host("[::1", NULL));
	assert_false(guard_host("", NULL));
	assert_false(guard_host(NULL, NULL));
	assert_true(guard_origin(NULL, "h"));
	assert_true(guard_origin("http://h:1", "h:1"));
	assert_false(guard_origin("http://h:2", "h:1"));
	assert_false(guard_origin("https://h:1", "h:1"));
	assert_false(guard_origin("null", "h:1"));
	assert_false(guard_origin("http://h:1", NULL));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(name, start) cmocka_unit_test_setup_teardown(name, start, stop)
		cmocka_unit_test(hosts),
		T(reading, start_tcp),
		T(metrics_pass_promtool, start_tcp),
		T(unknown_paths_and_wrong_methods, start_tcp),
		T(other_sites_are_refused, start_tcp),
		T(changes_need_the_token, start_tcp),
		T(without_a_token_file_tcp_cannot_change, start_without_token),
		T(setting_and_clearing, start_tcp),
		T(wrong_orders_say_what_is_wrong, start_tcp),
		T(large_and_malformed_requests, start_tcp),
		T(nothing_hides_behind_a_delete, start_tcp),
		T(connections_are_capped_and_come_back, start_tcp),
		T(readiness, start_tcp),
		T(command_changes_and_confirms, start_troubled),
		T(command_says_why_not, start_tcp),
		T(command_tells_of_a_worker_that_does_not_follow, start_tcp),
		T(command_over_a_unix_socket_needs_no_token, start_unix),
	};

	if (argc < 2 || !crypt_init())
		return 2;
	ctl_program = argv[1];
	log_open(LOG_EVENTS, "off");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
