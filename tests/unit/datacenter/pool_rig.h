/* SPDX-License-Identifier: MIT */
/* A pool on the test's loop, before up to three peers: what tests of its parts share. */
#ifndef DC_POOL_RIG_H
#define DC_POOL_RIG_H

#include "peer.h"

#include "../../../src/datacenter/pool.h"

static struct world w;
static struct board_live live;
static struct board_worker part;
static struct peer peer[3];
static struct dc_pool *pool;

/* One attempt, as the exchange would make it. */
struct ask {
	struct h2_stream *stream;
	int endpoint, status;
	enum fault fault;
	bool done, stays; /* it cannot go elsewhere */
	unsigned doubted; /* so often was it told that its link may be silent */
	int64_t began, ended;
};

static inline void on_ready(struct h2_stream *st, uint32_t what)
{
	struct ask *a = st->user;

	if (what & H2_HEAD)
		a->status = st->head->status;
	a->doubted += !!(what & H2_DOUBTED);
	if ((what & (a->stays ? H2_LOST : H2_SILENT)) && !a->status && !(what & H2_CLOSED))
		h2_reset(st, H2_ERR_CANCEL, FAULT_UPSTREAM_SILENT);
	if (!(what & H2_CLOSED))
		return;
	a->done = true;
	a->ended = clock_now();
	a->fault = st->fault;
	a->stream = NULL;
	if (pool)
		dc_pool_result(pool, a->endpoint, 0, a->fault, a->status ? a->ended - a->began : 0, (unsigned)a->status);
	h2_release(&st);
}

static inline void pump(void)
{
	if (pool)
		dc_pool_pump(pool);
}

static struct h2_field request_fields[4];

static inline struct h2_field field(enum h2_token t, const char *value)
{
	return h2_field(t, value, strlen(value));
}

static inline enum fault ask_tried(struct ask *a, uint64_t hash, uint64_t tried)
{
	struct dc_want want = { .hash = hash, .random = hash * UINT64_C(0x9e3779b97f4a7c15), .tried = tried };
	enum fault why;

	*a = (struct ask){ .began = clock_now() };
	a->stream = dc_pool_request(pool, &want, false, request_fields, 4, true, a, &a->endpoint, &why);
	return a->stream ? FAULT_NONE : why;
}

static inline enum fault ask(struct ask *a, uint64_t hash) { return ask_tried(a, hash, 0); }

static inline int set_up(void **state)
{
	test_loop_begin(state);
	memset(&live, 0, sizeof(live));
	memset(&part, 0, sizeof(part));
	memset(peer, 0, sizeof(peer));
	world_clear(&w);
	test_limits(&w.conf.limits);
	test_retry(&w.conf.retry);
	w.conf.generation = live.generation = 1;
	request_fields[0] = field(H2_METHOD, "GET");
	request_fields[1] = field(H2_SCHEME, "http");
	request_fields[2] = field(H2_AUTHORITY, "messenger");
	request_fields[3] = field(H2_PATH, "/v1/rooms");
	test_pump = pump;
	return 0;
}

static inline int tear_down(void **state)
{
	int i;

	dc_pool_destroy(pool);
	pool = NULL;
	for (i = 0; i < 3; i++)
		peer_end(&peer[i]);
	return test_loop_end(state);
}

/* One datacenter per peer, one endpoint each, the first preferred by weight. */
static inline void begin(int peers)
{
	static const char *const name[] = { "a", "b", "c" };
	int i;

	for (i = 0; i < peers; i++) {
		world_datacenter(&w, name[i], 100, i ? 0 : 100);
		world_endpoint(&w, 1);
		if (!peer[i].loop)
			peer_begin(&peer[i]);
		w.ep[i].address = peer[i].address;
	}
}

static inline void start(void)
{
	pool = dc_pool_create(test_loop, &w.conf, &live, &part, on_ready);
	assert_non_null(pool);
}

/* Control says this. */
static inline void publish(enum dc_state a, enum dc_state b)
{
	live.version++;
	live.dc.endpoint_state[0] = (uint8_t)a;
	live.dc.endpoint_state[1] = (uint8_t)b;
	dc_assume(&w.conf, &live.dc);
}

static inline void one_answered(uint64_t hash, int by)
{
	struct ask a;

	assert_int_equal(ask(&a, hash), FAULT_NONE);
	WAIT_FOR(a.done);
	assert_int_equal(a.fault, FAULT_NONE);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.endpoint, by);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
