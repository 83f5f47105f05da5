/* SPDX-License-Identifier: MIT */
/*
 * The n-th allocation fails, for every n, while a GET and a POST go through the proxy on
 * fresh connections, while a GET and a keyed POST are asked at two endpoints at once, while
 * recent state answers, and while a configuration is replaced. A request may fail; nothing crashes, is lost or waits for ever. The
 * linker gives us malloc (--wrap).
 */
#include "proxy.h"

#include "../../src/datacenter/pool.h"

#include <stdlib.h>
#include <unistd.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static long countdown; /* 0: off */
static bool failed;

static bool fails(void)
{
	if (!countdown || --countdown)
		return false;
	failed = true;
	return true;
}

void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }

#define FEATURE \
	"  - name: all\n    tier: core\n    routes: [\"/**\"]\n    timeout: 500ms\n    stream_idle: 500ms\n" \
	"    state: { keep: true, shared: true }\n    idempotency: idempotency-key\n"

#define TRAILERS 60 /* a copy of their array does not fit in a chunk */

static char text[40000];

/* The backend: echoes a body, answers the rest with one of its own, and trailers. */
static void on_stream(void *owner, struct h2_stream *st)
{
	static const struct h2_field ok = { .name = (const uint8_t *)":status", .value = (const uint8_t *)"200", .name_len = 7,
					    .value_len = 3, .flags = H2_FIELD_KEEP, .token = H2_STATUS };

	if (!h2_respond(st, &ok, 1, false))
		h2_reset(st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
}

static void on_served(struct h2_stream *st, uint32_t what)
{
	static struct h2_field trailer[TRAILERS];
	struct buf b = { 0 };
	size_t n = st->in.len, i;

	if (what & H2_CLOSED) {
		h2_release(&st);
		return;
	}
	for (i = 0; i < TRAILERS; i++)
		trailer[i] = wire_field("x-check", "1");
	if (n) {
		if (!h2_write(st, &st->in))
			h2_reset(st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
		h2_consume(st, n);
	}
	if (!(what & H2_END))
		return;
	if ((!st->received && (!buf_append(&b, text, 5000) || !h2_write(st, &b))) || !h2_finish(st, trailer, TRAILERS))
		h2_reset(st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
	buf_clear(&b);
}

static void on_answer(struct h2_stream *st, uint32_t what)
{
	struct seen *s = st->user;
	size_t n = st->in.len;
	int i;

	s->what |= what;
	s->body += n;
	if (what & H2_HEAD)
		s->status = st->head->status;
	for (i = 0; (what & H2_HEAD) && i < st->head->count; i++) {
		if (st->head->field[i].token == H2_AGE)
			strcpy(s->hint, "recent state");
	}
	if (what & H2_TRAILERS)
		s->trailers = st->trailers->count;
	buf_clear(&st->in);
	h2_consume(st, n);
	if (what & H2_CLOSED) {
		s->fault = st->fault;
		s->stream = NULL;
		h2_release(&st);
	}
}

static void ask(struct proxy *p, struct seen *s, const char *method, bool body)
{
	struct h2_field f[] = { wire_field(":method", method), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				wire_field(":path", "/a/b"), wire_field("idempotency-key", "1") };
	struct buf b = { 0 };
	enum fault why;

	memset(s, 0, sizeof(*s));
	s->stream = p->w.up ? h2_request(p->w.up, f, 5, !body, s, &why) : NULL;
	if (s->stream && body && (!buf_append(&b, text, sizeof(text)) || !h2_write(s->stream, &b) || !h2_finish(s->stream, NULL, 0)))
		h2_reset(s->stream, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
	buf_clear(&b);
}

static void close_all(struct proxy *p)
{
	struct list *node;

	if (p->w.up)
		h2_close(p->w.up, FAULT_UPSTREAM_GONE);
	wire_turn(&p->w, 3);
	while ((node = list_first(&p->w.server.sessions))) {
		h2_close(h2_session_from_node(node), FAULT_SHUTTING_DOWN);
		wire_turn(&p->w, 1);
	}
	wire_turn(&p->w, 3);
}

/* Whatever failed, nothing is left of it: neither memory nor a request that limits would count for ever. */
static void nothing_is_left(struct proxy *p)
{
	unsigned d;

	assert_int_equal(p->worker.exchanges, 0);
	assert_int_equal(buf_memory(), 0);
	for (d = 0; d < CONF_MAX_DATACENTERS; d++) {
		assert_int_equal(atomic_load(&p->worker.part->load.in_flight[d]), 0);
		assert_int_equal(atomic_load(&p->worker.part->load.under_way[d][0]), 0);
	}
}

/* ---- two attempts at once ---- */

/* These backends keep what they are asked until the test answers it. */
static struct h2_stream *held[16];
static int holding;

static void on_held(void *owner, struct h2_stream *st)
{
	assert_in_range(holding, 0, 15);
	held[holding++] = st;
}

static void on_held_served(struct h2_stream *st, uint32_t what)
{
	int i;

	h2_consume(st, st->in.len);
	buf_clear(&st->in);
	for (i = 0; (what & H2_CLOSED) && i < holding; i++)
		if (held[i] == st)
			held[i] = NULL;
	if (what & H2_CLOSED)
		h2_release(&st);
}

static void answer_held(void)
{
	int i;

	for (i = 0; i < holding; i++)
		if (held[i] && !h2_respond(held[i], proxy_ok, 1, true))
			h2_reset(held[i], H2_ERR_INTERNAL, FAULT_NO_MEMORY);
	holding = 0;
}

static void doubt_all(struct proxy *p)
{
	struct list *node;

	for (node = p->worker.pool->ctx.sessions.next; node != &p->worker.pool->ctx.sessions; node = node->next)
		h2_tell(h2_session_from_node(node), H2_DOUBTED);
}

/* Returns whether both were answered; *most: attempts under way at once. */
static bool hedge(struct proxy *p, long n, int *most)
{
	struct seen get, post;
	int turns;

	*most = 0;
	p->worker.budget = (struct budget){ .tokens = 100, .at = clock_now() };
	proxy_client(p);
	countdown = n;
	ask(p, &get, "GET", false);
	ask(p, &post, "POST", true);
	for (turns = 0; turns < 3000 && (get.stream || post.stream); turns++) {
		wire_turn(&p->w, 1);
		if (turns % 16 == 8)
			doubt_all(p);
		*most = holding > *most ? holding : *most;
		if (turns % 16 == 15)
			answer_held();
	}
	countdown = 0;
	assert_true(!get.stream && !post.stream);
	close_all(p);
	holding = 0;
	nothing_is_left(p);
	return get.status == 200 && post.status == 200 && !get.fault && !post.fault;
}

static void any_allocation_of_a_hedge_may_fail(void **state)
{
	struct proxy p;
	int most;
	long n;

	proxy_start_apart(&p, FEATURE);
	((struct conf *)(uintptr_t)p.worker.snap->conf)->fence.time_ms = 0; /* the read is to be asked at both */
	p.w.server.handler = (struct h2_handler){ on_held, on_held_served };
	p.w.client.handler.on_ready = on_answer;
	close_all(&p);
	assert_true(hedge(&p, 0, &most)); /* what is made once is made */
	assert_true(hedge(&p, 0, &most));
	assert_int_equal(most, 4);
	for (n = 1, failed = true; failed && n < 5000; n++) {
		failed = false;
		buf_memory_trim(0);
		arena_trim();
		h2_trim();
		hedge(&p, n, &most);
	}
	assert_in_range(n, 40, 4999);
	assert_true(hedge(&p, 0, &most));
	proxy_end(&p);
}

/* ---- one attempt ---- */

/* What looks complete is: the body and, from a backend, the trailers that follow it. */
static void check_complete(const struct seen *s, size_t body, long n)
{
	int trailers = *s->hint ? 0 : TRAILERS;

	if (s->status != 200 || !(s->what & H2_END) || s->fault)
		return;
	if (s->body != body || s->trailers != trailers)
		print_error("allocation %ld: %zu octets and %d trailers\n", n, s->body, s->trailers);
	assert_int_equal(s->body, body);
	assert_int_equal(s->trailers, trailers);
}

/* True when both were answered as if nothing had happened. */
static bool talk(struct proxy *p, long n, bool post)
{
	struct seen get, other = { 0 };
	int turns;

	buf_memory_trim(0);
	arena_trim();
	h2_trim();
	proxy_client(p);
	countdown = n;
	ask(p, &get, "GET", false);
	if (post)
		ask(p, &other, "POST", true);
	for (turns = 0; turns < 3000 && (get.stream || other.stream); turns++)
		wire_turn(&p->w, 1);
	countdown = 0;
	if (get.stream || other.stream)
		print_error("allocation %ld: a stream never ended (GET %x, POST %x)\n", n, get.what, other.what);
	assert_true(!get.stream && !other.stream);
	check_complete(&get, 5000, n);
	check_complete(&other, sizeof(text), n);
	close_all(p);
	nothing_is_left(p);
	return get.status == 200 && get.body == 5000 && !get.fault && (!post || (other.status == 200 && other.body == sizeof(text)));
}

static void every(struct proxy *p, bool post, long least)
{
	long n;

	assert_true(talk(p, 0, post)); /* what is made once is made */
	assert_true(talk(p, 0, post));
	for (n = 1, failed = true; failed && n < 5000; n++) {
		failed = false;
		talk(p, n, post);
	}
	assert_true(n > least && n < 5000);
	assert_true(talk(p, 0, post));
}

static void any_allocation_may_fail(void **state)
{
	struct proxy p;

	proxy_start(&p, FEATURE, false);
	p.w.server.handler = (struct h2_handler){ on_stream, on_served };
	p.w.client.handler.on_ready = on_answer;
	close_all(&p);
	every(&p, true, 40);
	/* No backend any more: recent state. */
	net_listener_destroy(p.listener);
	p.listener = NULL;
	close(p.listen_fd);
	p.listen_fd = -1;
	unlink(p.path);
	every(&p, false, 10);
	proxy_end(&p);
}

/* Every endpoint of the configuration in force is there. */
static void check_whole(const struct proxy *p)
{
	const struct dc_pool *pool = p->worker.pool;
	size_t i;

	assert_ptr_equal(pool->conf, p->worker.snap->conf);
	for (i = 0; i < CONF_MAX_ENDPOINTS; i++)
		assert_int_equal(!pool->endpoint[i], i >= pool->conf->endpoints);
	for (i = 0; i < pool->conf->endpoints; i++)
		assert_int_equal(pool->endpoint[i]->index, i);
}

/* A reload that adds two endpoints and moves one, and the reverse: whole, or not at all. */
static void any_allocation_of_a_reload_may_fail(void **state)
{
	static const char *const first[] = { "", "\"unix:/nonexistent/1\", \"unix:/nonexistent/2\", " };
	struct snapshot *next;
	struct proxy p;
	bool applied;
	long n = 1, refused = 0;
	int i;

	proxy_start(&p, FEATURE, false);
	p.w.server.handler = (struct h2_handler){ on_stream, on_served };
	p.w.client.handler.on_ready = on_answer;
	close_all(&p);
	for (i = 1; n < 100; n++) {
		p.first = first[i % 2];
		next = proxy_next(&p, FEATURE);
		failed = false;
		countdown = n;
		applied = proxy_apply(&p, next);
		countdown = 0;
		check_whole(&p);
		i += applied;
		refused += !applied;
		if (!applied)
			snapshot_put(next);
		if (!failed)
			break;
	}
	assert_true(refused >= 2 && n < 100); /* one for each that is new */
	assert_true(talk(&p, 0, true));
	proxy_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(any_allocation_may_fail), cmocka_unit_test(any_allocation_of_a_reload_may_fail),
					    cmocka_unit_test(any_allocation_of_a_hedge_may_fail) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
