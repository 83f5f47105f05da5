/* SPDX-License-Identifier: MIT */
/*
 * The cast of a rehearsal: endpoints of the messenger, the relay, Redis and the proxy,
 * as processes of ours, from nothing until all are well, and back.
 *
 *   generators ══▶ proxy ══▶ [relay] ══▶ endpoints
 *                    ╚═════▶ [relay] ══▶ Redis
 */
#include "cast.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/crypt.h"
#include "firebreak/net.h"
#include "relay.h"

#define READY_NS   (20 * CLOCK_SEC)
#define START_NS   (10 * CLOCK_SEC) /* of Redis, of the relay */
#define STATUS_MAX (1 << 20)

/* ---- programs ---- */

static void find(const char *folder, const char *name, const char *const places[], char *out, size_t size)
{
	for (; *places; places++) {
		snprintf(out, size, "%s/%s/%s", folder, *places, name);
		if (!access(out, X_OK))
			return;
	}
	snprintf(out, size, "%s", name); /* along PATH */
}

static void find_programs(struct cast *c, const char *firebreak)
{
	static const char *const proxy_places[] = { "../src", ".", "../sbin", NULL }, *const ctl_places[] = { "../src/ctl", ".", NULL },
				 *const bench_places[] = { ".", "../bench", NULL };
	char folder[400];
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

	folder[n > 0 ? n : 0] = '\0';
	*(strrchr(folder, '/') ? strrchr(folder, '/') : folder) = '\0';
	find(folder, "firebreak-bench", bench_places, c->bench, sizeof(c->bench));
	find(folder, "firebreakctl", ctl_places, c->ctl, sizeof(c->ctl));
	if (firebreak)
		snprintf(c->firebreak, sizeof(c->firebreak), "%s", firebreak);
	else
		find(folder, "firebreak", proxy_places, c->firebreak, sizeof(c->firebreak));
}

/* ---- what lies in the folder ---- */

static bool write_file(const struct cast *c, const char *name, const void *data, size_t len)
{
	char path[160];
	bool ok;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", c->folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ok = fd >= 0 && write(fd, data, len) == (ssize_t)len;
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool make_secrets(struct cast *c, char *why, size_t size)
{
	uint8_t random[48];
	char token[34], path[160];
	int i;

	if (!crypt_init() || !crypt_random(random, sizeof(random))) {
		snprintf(why, size, "no random bytes");
		return false;
	}
	for (i = 0; i < 16; i++)
		snprintf(token + 2 * i, 3, "%02x", random[i]);
	snprintf(c->token, sizeof(c->token), "%s/token", c->folder);
	snprintf(c->journal, sizeof(c->journal), "%s/journal", c->folder);
	snprintf(path, sizeof(path), "%s/state", c->folder);
	if (write_file(c, "token", token, 32) && write_file(c, "secret", random + 16, 32) && !mkdir(path, 0700) && !mkdir(c->journal, 0700) &&
	    snprintf(path, sizeof(path), "%s/overrides", c->folder) > 0 && !mkdir(path, 0700))
		return true;
	snprintf(why, size, "%s: %s", c->folder, strerror(errno));
	return false;
}

static bool make_certificate(struct cast *c, char *why, size_t size)
{
	static const char *const words[] = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
					     "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1" };
	struct child openssl;
	size_t i;
	bool ok;

	if (!c->s->proxy.tls)
		return true;
	snprintf(c->ca, sizeof(c->ca), "%s/cert.pem", c->folder);
	child_init(&openssl, c, "openssl");
	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		child_arg(&openssl, "%s", words[i]);
	child_arg(&openssl, "-keyout");
	child_arg(&openssl, "%s/key.pem", c->folder);
	child_arg(&openssl, "-out");
	child_arg(&openssl, "%s", c->ca);
	ok = child_run(&openssl, 20000, why, size);
	child_close(&openssl);
	return ok;
}

/* ---- the players ---- */

static bool give_addresses(struct cast *c, char *why, size_t size)
{
	unsigned i, port, bad = 0;

	for (i = 0; i < c->endpoints; i++) {
		struct endpoint *e = &c->endpoint[i];

		bad |= !(port = cast_port(c));
		snprintf(e->address, sizeof(e->address), "127.0.0.1:%u", port);
		if (c->s->proxy.wire)
			bad |= !(port = cast_port(c));
		snprintf(e->front, sizeof(e->front), "127.0.0.1:%u", port);
		e->wire = i;
	}
	c->store.wire = c->endpoints;
	bad |= !(port = cast_port(c));
	snprintf(c->target, sizeof(c->target), "127.0.0.1:%u", port);
	bad |= !(port = cast_port(c));
	snprintf(c->admin, sizeof(c->admin), "127.0.0.1:%u", port);
	if (bad)
		snprintf(why, size, "no free port on 127.0.0.1");
	return !bad;
}

static void cast_endpoints(struct cast *c)
{
	const struct scenario *s = c->s;
	unsigned d, e;
	char name[48];

	for (d = 0; d < s->datacenters; d++) {
		for (e = 0; e < s->datacenter[d].endpoints && c->endpoints < SCENARIO_ENDPOINTS; e++) {
			snprintf(name, sizeof(name), "%s-%u", s->datacenter[d].name, e + 1);
			child_init(&c->endpoint[c->endpoints].child, c, name);
			c->endpoint[c->endpoints].child.place = &c->endpoint[c->endpoints];
			c->endpoint[c->endpoints++].datacenter = (int)d;
		}
	}
}

static void prepare_endpoint(struct cast *c, struct endpoint *e)
{
	const struct scenario_datacenter *d = &c->s->datacenter[e->datacenter];
	struct child *ch = &e->child;

	child_arg(ch, "%s", c->bench);
	child_arg(ch, "backend");
	child_arg(ch, "--listen=%s", e->address);
	child_arg(ch, "--datacenter=%s", d->name);
	child_arg(ch, "--endpoint=%s", ch->name);
	child_arg(ch, "--state=%s/state", c->folder);
	child_arg(ch, "--journal=%s", c->journal);
	child_arg(ch, "--fault=latency=%.6f,capacity=%.6f", d->latency_ms, d->capacity);
	ch->wants_control = true;
}

static void prepare_others(struct cast *c)
{
	static const char *const redis[] = { "redis-server", "--port", "0", "--unixsocketperm", "700", "--save", "", "--appendonly", "no",
					     "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru" };
	unsigned i;

	child_init(&c->redis, c, "redis");
	c->redis.place = &c->store;
	for (i = 0; i < sizeof(redis) / sizeof(*redis); i++)
		child_arg(&c->redis, "%s", redis[i]);
	child_arg(&c->redis, "--dir");
	child_arg(&c->redis, "%s", c->folder);
	child_arg(&c->redis, "--unixsocket");
	child_arg(&c->redis, "%s/redis.sock", c->folder);
	child_init(&c->relay, c, "relay");
	child_arg(&c->relay, "%s", c->bench);
	child_arg(&c->relay, "relay");
	for (i = 0; i < c->endpoints; i++)
		child_arg(&c->relay, "%s=%s", c->endpoint[i].front, c->endpoint[i].address);
	if (c->s->proxy.redis)
		child_arg(&c->relay, "unix:%s/wire.sock=unix:%s/redis.sock", c->folder, c->folder);
	c->relay.wants_control = true;
	child_init(&c->proxy, c, "firebreak");
	child_arg(&c->proxy, "%s", c->firebreak);
	child_arg(&c->proxy, "-c");
	child_arg(&c->proxy, "%s/firebreak.yaml", c->folder);
}

/* ---- waiting for them ---- */

/* Asks once and takes what comes until the other side closes or `until` is in it; half a second at most. -1: nobody. */
static ssize_t ask(const char *address, const char *question, const char *until, char *out, size_t size)
{
	struct timeval most = { .tv_usec = 500000 };
	struct net_addr a;
	size_t used = 0;
	ssize_t n = -1;
	int fd;

	if (!net_addr_parse(&a, address))
		return -1;
	fd = socket(a.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	if (!connect(fd, (struct sockaddr *)&a.sa, a.len) && send(fd, question, strlen(question), MSG_NOSIGNAL) > 0) {
		while (used + 1 < size && (n = recv(fd, out + used, size - 1 - used, 0)) > 0) {
			used += (size_t)n;
			out[used] = '\0';
			if (until && strstr(out, until))
				break;
		}
		out[used] = '\0';
		n = (ssize_t)used;
	}
	close(fd);
	return n;
}

/* One of ours that ended meanwhile; NULL: none. */
static struct child *somebody_gone(struct cast *c)
{
	struct child *all[] = { &c->proxy, &c->redis, &c->relay };
	unsigned i;

	for (i = 0; i < c->endpoints + 3; i++) {
		struct child *ch = i < 3 ? all[i] : &c->endpoint[i - 3].child;

		if (ch->pid && child_gone(ch, NULL))
			return ch;
	}
	return NULL;
}

static bool still_there(struct cast *c, int64_t until, const char *what, char *why, size_t size)
{
	struct child *gone = somebody_gone(c);
	char words[160];

	poll(NULL, 0, 10);
	if (!gone && clock_tick() < until)
		return true;
	child_last_words(gone ? gone : &c->proxy, words, sizeof(words));
	if (gone)
		snprintf(why, size, "%s did not start: %s", gone->name, words);
	else
		snprintf(why, size, "%s is not ready in time%s%s", what, *words ? "; the proxy's last words: " : "", words);
	return false;
}

static bool wait_redis(struct cast *c, char *why, size_t size)
{
	int64_t until = clock_tick() + START_NS;
	char at[120], got[64];

	snprintf(at, sizeof(at), "unix:%s/redis.sock", c->folder);
	while (ask(at, "PING\r\n", "\n", got, sizeof(got)) <= 0 || strncmp(got, "+PONG", 5) != 0) {
		if (!still_there(c, until, "Redis", why, size))
			return false;
	}
	return true;
}

static bool wait_relay(struct cast *c, char *why, size_t size)
{
	int64_t until = clock_tick() + START_NS;
	struct relay_word w;

	while (recv(c->relay.control, &w, sizeof(w), MSG_DONTWAIT) != (ssize_t)sizeof(w)) {
		if (!still_there(c, until, "the relay", why, size))
			return false;
	}
	return true;
}

/* All datacenters up, the mode normal, every worker there. */
static bool all_well(const struct cast *c)
{
	static char answer[STATUS_MAX];
	const char *body;
	json_t *status, *part;
	bool well;
	size_t i;

	if (ask(c->admin, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", NULL, answer, sizeof(answer)) <= 0 ||
	    !(body = strstr(answer, "\r\n\r\n")) || !(status = json_loads(body + 4, 0, NULL)))
		return false;
	part = json_object_get(status, "mode");
	well = json_is_string(part) && !strcmp(json_string_value(part), "normal");
	well = well && json_array_size(json_object_get(status, "datacenters")) == c->s->datacenters;
	json_array_foreach(json_object_get(status, "datacenters"), i, part)
		well = well && json_is_string(json_object_get(part, "state")) && !strcmp(json_string_value(json_object_get(part, "state")), "up");
	json_array_foreach(json_object_get(status, "workers"), i, part)
		well = well && json_integer_value(json_object_get(part, "pid")) > 0;
	json_decref(status);
	return well;
}

static bool wait_proxy(struct cast *c, char *why, size_t size)
{
	int64_t until = clock_tick() + READY_NS;

	while (!all_well(c)) {
		if (!still_there(c, until, "the proxy", why, size))
			return false;
	}
	return true;
}

/* ---- start ---- */

static bool start_players(struct cast *c, char *why, size_t size)
{
	char path[160];
	unsigned i;

	for (i = 0; i < c->endpoints; i++) {
		prepare_endpoint(c, &c->endpoint[i]);
		if (!child_start(&c->endpoint[i].child, why, size))
			return false;
	}
	prepare_others(c);
	snprintf(path, sizeof(path), "%s/firebreak.yaml", c->folder);
	if (c->s->proxy.redis && (!child_start(&c->redis, why, size) || !wait_redis(c, why, size)))
		return false;
	if (c->s->proxy.wire && (!child_start(&c->relay, why, size) || !wait_relay(c, why, size)))
		return false;
	return cast_config_write(c, path, why, size) && child_start(&c->proxy, why, size) && wait_proxy(c, why, size);
}

static void describe(struct cast *c)
{
	unsigned workers = c->s->proxy.workers;

	snprintf(c->words, sizeof(c->words), "firebreak with %u worker%s, %u endpoints of the simulated messenger in %u datacenters%s%s", workers,
		 workers == 1 ? "" : "s", c->endpoints, c->s->datacenters, c->s->proxy.redis ? ", Redis" : "", c->s->proxy.wire ? ", a relay" : "");
}

struct cast *cast_start(const struct scenario *s, const char *firebreak, char why[300])
{
	struct cast *c = calloc(1, sizeof(*c));
	bool ok;

	if (!c) {
		snprintf(why, 300, "out of memory");
		return NULL;
	}
	c->s = s;
	c->janitor = -1;
	c->store.datacenter = PLACE_REDIS;
	find_programs(c, firebreak);
	ok = cast_folder_create(c, why, 300);
	if (ok && s->own_cast) {
		cast_endpoints(c);
		describe(c);
		ok = give_addresses(c, why, 300) && make_secrets(c, why, 300) && make_certificate(c, why, 300) && start_players(c, why, 300);
	} else {
		snprintf(c->words, sizeof(c->words), "a target that was there");
	}
	if (ok)
		return c;
	cast_stop(c);
	return NULL;
}

/* ---- the end ---- */

unsigned cast_children(struct cast *c, struct child *list[CHILDREN_MAX])
{
	unsigned n = 0, i;

	for (i = 0; i < c->endpoints; i++)
		list[n++] = &c->endpoint[i].child;
	for (i = 0; i < COMMANDS_MAX; i++)
		list[n++] = &c->command[i];
	list[n++] = &c->redis;
	list[n++] = &c->relay;
	list[n++] = &c->proxy;
	return n;
}

void cast_forget(struct cast *c)
{
	struct child *list[CHILDREN_MAX];
	unsigned n = cast_children(c, list), i;

	for (i = 0; i < n; i++) {
		if (list[i]->pidfd > 0)
			close(list[i]->pidfd);
		if (list[i]->control > 0)
			close(list[i]->control);
	}
	cast_ports_give_back(c);
	close(c->janitor);
}

void cast_stop(struct cast *c)
{
	struct child *list[CHILDREN_MAX], *proxy;
	unsigned n, i, tries;

	if (!c)
		return;
	proxy = &c->proxy;
	child_end_all(&proxy, 1, SIGTERM, 3000);
	n = cast_children(c, list);
	child_end_all(list, n, SIGKILL, 0);
	if (c->relay_watch)
		net_unwatch(c->relay_watch);
	for (i = 0; i < n; i++)
		child_close(list[i]);
	cast_ports_give_back(c);
	if (c->janitor >= 0)
		close(c->janitor);
	for (tries = 0; c->janitor_pid > 0 && tries < 200 && !waitpid(c->janitor_pid, NULL, WNOHANG); tries++)
		poll(NULL, 0, 10);
	free(c);
}

/* ---- where things are ---- */

void cast_print(const struct cast *c, FILE *out)
{
	const char *port = strrchr(c->target, ':') + 1;
	unsigned i;

	fprintf(out, "  messenger    %s://%s", c->s->proxy.tls ? "https" : "http", c->target);
	if (c->s->proxy.tls)
		fprintf(out, "   (curl --cacert %s -H 'Authorization: Bearer alice.x' https://localhost:%s/v1/rooms)", c->ca, port);
	fprintf(out, "\n  admin        http://%s   (%s --address %s --token-file %s status)\n", c->admin, c->ctl, c->admin, c->token);
	for (i = 0; i < c->endpoints; i++)
		fprintf(out, "  %-12s %s\n", c->endpoint[i].child.name, c->endpoint[i].address);
	fprintf(out, "               (curl --http2-prior-knowledge -X PUT 'http://%s/_fault?latency=200&error=0.5')\n", c->endpoint[0].address);
	fprintf(out, "  files        %s\n", c->folder);
}

const char *cast_target(const struct cast *c)
{
	return c->s->own_cast ? c->target : c->s->target.address;
}

const char *cast_authority(const struct cast *c)
{
	return c->s->own_cast ? "localhost" : c->s->target.authority;
}

const char *cast_ca(const struct cast *c)
{
	if (c->s->own_cast)
		return c->s->proxy.tls ? c->ca : NULL;
	return c->s->target.insecure ? NULL : c->s->target.ca;
}

const char *cast_admin(const struct cast *c)
{
	return c->s->own_cast ? c->admin : c->s->target.admin;
}

const char *cast_token(const struct cast *c)
{
	return c->s->own_cast ? c->token : c->s->target.token_file;
}

const char *cast_journal(const struct cast *c)
{
	return c->s->own_cast ? c->journal : c->s->target.journal;
}

const char *cast_folder(const struct cast *c)
{
	return c->folder;
}

const char *cast_words(const struct cast *c)
{
	return c->words;
}
