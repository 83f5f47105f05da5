/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server: connections, who may speak, which path means what. Handlers are in
 * status.c (reading), metrics.c and operate.c (changing).
 *
 * evhttp has no limit on connections and tells nobody when one ends. The gate keeps a
 * reference to each connection's bufferevent and looks through them every 50 ms: one
 * that has no callbacks any more has been let go by evhttp. At the limit the listener
 * rests until the next look, and the older half is cut off: clients that hold on to
 * connections, or send an octet now and then, must not keep the operator out.
 */
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/log.h"
#include "guard.h"
#include "reply.h"

#define TIMEOUT_S   10
#define HEADERS_MAX 8192
#define BODY_MAX    16384
#define SWEEP_MS    50

static bool let_go(struct bufferevent *b)
{
	bufferevent_data_cb read, write;
	bufferevent_event_cb event;

	bufferevent_getcb(b, &read, &write, &event, NULL);
	return !read && !write && !event;
}

/* Our reference is the last one: this closes the descriptor. */
static void sweep(struct admin *a)
{
	unsigned i, kept = 0;

	for (i = 0; i < a->connections; i++) {
		if (let_go(a->connection[i]))
			bufferevent_decref(a->connection[i]);
		else
			a->connection[kept++] = a->connection[i];
	}
	a->connections = kept;
	if (kept < ADMIN_CONNECTIONS)
		evconnlistener_enable(a->listener);
}

/* They stand in the order they came in. evhttp sees the end and lets go of them. */
static void make_room(struct admin *a)
{
	unsigned i;

	for (i = 0; i < ADMIN_CONNECTIONS / 2; i++)
		shutdown(bufferevent_getfd(a->connection[i]), SHUT_RDWR);
}

static void on_sweep(struct net_timer *t)
{
	struct admin *a = list_entry(t, struct admin, sweep);

	sweep(a);
	if (a->connections == ADMIN_CONNECTIONS)
		make_room(a);
	if (a->connections)
		net_timer_arm(a->loop, t, clock_now() + SWEEP_MS * CLOCK_MS);
}

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
	struct admin *a = arg;
	struct bufferevent *b = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

	if (!b) /* evhttp makes one itself: uncounted, but out of memory has other worries */
		return NULL;
	bufferevent_incref(b);
	a->connection[a->connections++] = b;
	if (a->connections == ADMIN_CONNECTIONS)
		evconnlistener_disable(a->listener);
	if (!a->sweep.deadline)
		net_timer_arm(a->loop, &a->sweep, clock_now() + SWEEP_MS * CLOCK_MS);
	return b;
}

/* ---- what a path means ---- */
enum access { OPEN, API }; /* OPEN: for probes and scrapers, under whatever name they know us */

struct path {
	const char *path; /* with '*' for one segment, the name */
	enum access access;
	void (*get)(struct admin *, struct evhttp_request *);
	bool changes; /* PUT and DELETE set and clear this kind */
	enum ctl_kind kind;
};

static void get_livez(struct admin *a, struct evhttp_request *req)
{
	reply_text(req, 200, "text/plain; charset=utf-8", "alive\n");
}

static void get_readyz(struct admin *a, struct evhttp_request *req)
{
	const char *why;
	bool ready = status_ready(a, &why);

	if (ready)
		reply_text(req, 200, "text/plain; charset=utf-8", "ready\n");
	else
		reply_problem(req, 503, why);
}

static void get_metrics(struct admin *a, struct evhttp_request *req)
{
	reply_printed(req, "text/plain; version=0.0.4; charset=utf-8", metrics_print, a);
}

static void print_config(FILE *out, const struct admin *a)
{
	conf_dump(ctl_conf(a->ctl), out);
}

static void get_config(struct admin *a, struct evhttp_request *req)
{
	reply_printed(req, "application/yaml", print_config, a);
}

static void get_status(struct admin *a, struct evhttp_request *req) { reply_json(req, 200, status_all(a)); }
static void get_mode(struct admin *a, struct evhttp_request *req) { reply_json(req, 200, status_mode(a)); }
static void get_features(struct admin *a, struct evhttp_request *req) { reply_json(req, 200, status_features(a)); }
static void get_datacenters(struct admin *a, struct evhttp_request *req) { reply_json(req, 200, status_datacenters(a)); }
static void get_overrides(struct admin *a, struct evhttp_request *req) { reply_json(req, 200, status_overrides(a)); }

static const struct path paths[] = {
	{ "/livez", OPEN, get_livez, false, 0 },
	{ "/readyz", OPEN, get_readyz, false, 0 },
	{ "/metrics", OPEN, get_metrics, false, 0 },
	{ "/api/v1/status", API, get_status, false, 0 },
	{ "/api/v1/mode", API, get_mode, true, CTL_MODE },
	{ "/api/v1/features", API, get_features, false, 0 },
	{ "/api/v1/features/*", API, NULL, true, CTL_FEATURE },
	{ "/api/v1/datacenters", API, get_datacenters, false, 0 },
	{ "/api/v1/datacenters/*/drain", API, NULL, true, CTL_DRAIN },
	{ "/api/v1/overrides", API, get_overrides, false, 0 },
	{ "/api/v1/config", API, get_config, false, 0 },
};

/* Fills name with the decoded segment. False: another path, or a name that cannot be
 * one of ours. */
static bool match(const char *pattern, const char *path, char *name, size_t size)
{
	const char *star = strchr(pattern, '*');
	size_t before = star ? (size_t)(star - pattern) : strlen(pattern), len, decoded_len;
	char *segment, *decoded;

	name[0] = '\0';
	if (!star)
		return !strcmp(pattern, path);
	if (strncmp(pattern, path, before))
		return false;
	len = strcspn(path + before, "/");
	if (!len || strcmp(path + before + len, star + 1))
		return false;
	segment = strndup(path + before, len);
	decoded = segment ? evhttp_uridecode(segment, 0, &decoded_len) : NULL;
	free(segment);
	if (decoded && decoded_len < size && decoded_len == strlen(decoded))
		memcpy(name, decoded, decoded_len + 1);
	free(decoded);
	return name[0];
}

static const struct path *find(const char *path, char *name, size_t size)
{
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (match(paths[i].path, path, name, size))
			return &paths[i];
	}
	return NULL;
}

/* ---- who may do what ---- */
static const char *field(struct evhttp_request *req, const char *name)
{
	return evhttp_find_header(evhttp_request_get_input_headers(req), name);
}

static void answer_header(struct evhttp_request *req, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(req), name, value);
}

/* True when the request may go on; else it has been answered. */
static bool may_speak(struct admin *a, struct evhttp_request *req, const struct path *p)
{
	const char *host = field(req, "Host"), *origin = field(req, "Origin");

	if (p->access == API && !a->unix_socket && !guard_host(host, ctl_conf(a->ctl)->admin.address)) {
		reply_problem(req, 421, "Host is not an address of this server; use the address it listens on, or localhost");
		return false;
	}
	if (!guard_origin(origin, host)) {
		reply_problem(req, 403, "requests from another site's page are not accepted");
		return false;
	}
	return true;
}

static bool may_change(struct admin *a, struct evhttp_request *req)
{
	const char *token_file = ctl_conf(a->ctl)->admin.token_file;

	if (a->unix_socket) /* its file mode says who */
		return true;
	if (!token_file) {
		reply_problem(req, 403, "changes are possible only over a Unix socket unless admin.token_file is configured");
		return false;
	}
	if (!guard_token(field(req, "Authorization"), token_file)) {
		answer_header(req, "WWW-Authenticate", "Bearer");
		reply_problem(req, 401, "changes need Authorization: Bearer with the content of admin.token_file");
		log_event(LOG_LEVEL_WARN, "admin.unauthorized", "path", evhttp_request_get_uri(req), NULL);
		return false;
	}
	return true;
}

static void refuse_method(struct evhttp_request *req, const struct path *p)
{
	answer_header(req, "Allow", !p->changes ? "GET, HEAD" : p->get ? "DELETE, GET, HEAD, PUT" : "DELETE, PUT");
	reply_problem(req, 405, "this path does not take this method");
}

static void dispatch(struct admin *a, struct evhttp_request *req, const struct path *p, const char *name)
{
	enum evhttp_cmd_type method = evhttp_request_get_command(req);

	if ((method == EVHTTP_REQ_GET || method == EVHTTP_REQ_HEAD) && p->get) {
		p->get(a, req);
	} else if ((method == EVHTTP_REQ_PUT || method == EVHTTP_REQ_DELETE) && p->changes) {
		/* One change a connection: what a client may have sent behind it (a body
		 * with DELETE) is not read as another request. */
		answer_header(req, "Connection", "close");
		if (!may_change(a, req))
			return;
		if (method == EVHTTP_REQ_PUT)
			operate_put(a, req, p->kind, name);
		else
			operate_delete(a, req, p->kind, name);
	} else {
		refuse_method(req, p);
	}
}

static void on_request(struct evhttp_request *req, void *arg)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	struct admin *a = arg;
	const struct path *p;
	char name[64];

	p = path ? find(path, name, sizeof(name)) : NULL;
	if (!p)
		reply_problem(req, 404, "there is nothing at this path");
	else if (may_speak(a, req, p))
		dispatch(a, req, p, name);
}

/* ---- life ---- */
static bool is_unix(int fd)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);

	return !getsockname(fd, (struct sockaddr *)&sa, &len) && sa.ss_family == AF_UNIX;
}

static bool listen_on(struct admin *a, int fd)
{
	struct evhttp_bound_socket *bound;

	evutil_make_socket_nonblocking(fd);
	bound = evhttp_accept_socket_with_handle(a->http, fd);
	if (!bound)
		return false;
	a->listener = evhttp_bound_socket_get_listener(bound);
	return true;
}

struct admin *admin_create(struct ctl *ctl, struct net_loop *loop, int listen_fd)
{
	struct admin *a = calloc(1, sizeof(*a));

	if (!a)
		goto no_fd;
	a->ctl = ctl;
	a->loop = loop;
	net_timer_init(&a->sweep, on_sweep);
	a->unix_socket = is_unix(listen_fd);
	a->http = evhttp_new(net_loop_base(loop));
	if (!a->http || !listen_on(a, listen_fd)) {
		admin_destroy(a);
		goto no_fd;
	}
	evhttp_set_timeout(a->http, TIMEOUT_S);
	evhttp_set_max_headers_size(a->http, HEADERS_MAX);
	evhttp_set_max_body_size(a->http, BODY_MAX);
	/* All it knows: a wrong one gets our 405 with Allow, not its bare 501. */
	evhttp_set_allowed_methods(a->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE | EVHTTP_REQ_POST |
						    EVHTTP_REQ_PATCH | EVHTTP_REQ_OPTIONS);
	evhttp_set_bevcb(a->http, on_connection, a);
	evhttp_set_gencb(a->http, on_request, a);
	return a;
no_fd:
	close(listen_fd);
	return NULL;
}

void admin_destroy(struct admin *a)
{
	unsigned i;

	if (!a)
		return;
	net_timer_disarm(&a->sweep);
	if (a->http)
		evhttp_free(a->http);
	for (i = 0; i < a->connections; i++)
		bufferevent_decref(a->connection[i]);
	free(a);
}

static void *server_start(struct ctl *ctl, struct net_loop *loop, int listen_fd)
{
	return admin_create(ctl, loop, listen_fd);
}

static void server_stop(void *server)
{
	admin_destroy(server);
}

const struct ctl_server admin_server = { server_start, server_stop };
