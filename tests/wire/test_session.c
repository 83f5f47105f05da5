/* SPDX-License-Identifier: MIT */
/* Two real sessions joined: what a proxy's two sides rely on. */
#include <stdlib.h>

#include "wire.h"

static void get_is_answered(void **state)
{
	struct wire w;
	struct seen s;

	wire_join(&w);
	wire_get(&w, &s, "GET", "/a?b", true);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_string_equal(w.served[0].path, "/a?b");
	WIRE_UNTIL(&w, w.served[0].what & H2_CLOSED);
	assert_int_equal(w.served[0].fault, FAULT_NONE);
	wire_end(&w);
}

static void write_some(struct seen *s, size_t len, bool end)
{
	struct buf b = { 0 };
	char *data = malloc(len);

	memset(data, 'x', len);
	assert_true(buf_append(&b, data, len));
	assert_true(h2_write(s->stream, &b));
	if (end)
		assert_true(h2_finish(s->stream, NULL, 0));
	free(data);
}

static void body_is_echoed(void **state)
{
	struct wire w;
	struct seen s;

	wire_join(&w);
	w.echo = true;
	wire_get(&w, &s, "POST", "/echo", false);
	write_some(&s, 3000000, true);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.body, 3000000);
	assert_int_equal(s.text[4000], 'x');
	assert_int_equal(s.fault, FAULT_NONE);
	wire_end(&w);
	assert_int_equal(buf_memory(), 0);
}

/* A receiver that takes nothing stops the sender at its window. */
static void window_holds_back(void **state)
{
	struct wire w;
	struct seen s;

	wire_join(&w);
	w.silent = w.keep = true;
	wire_get(&w, &s, "POST", "/", false);
	write_some(&s, 1000000, true);
	wire_turn(&w, 50);
	assert_int_equal(w.served[0].stream->in.len, 65535);
	assert_int_equal(s.stream->out.len, 1000000 - 65535);
	w.served[0].keep = false;
	h2_consume(w.served[0].stream, w.served[0].stream->in.len);
	w.served[0].body = w.served[0].stream->in.len;
	buf_clear(&w.served[0].stream->in);
	WIRE_UNTIL(&w, w.served[0].what & H2_END);
	assert_int_equal(w.served[0].body, 1000000);
	wire_end(&w);
	assert_int_equal(buf_memory(), 0);
}

/* More than one turn's output, into a socket that takes it all and a window that needs no
 * update: the next turn goes on by itself. */
static void output_goes_on(void **state)
{
	struct wire w;
	struct seen s;

	wire_join(&w);
	w.limits.output_bytes = 16384;
	w.silent = true;
	wire_get(&w, &s, "GET", "/", true);
	WIRE_UNTIL(&w, w.count == 1);
	assert_true(h2_respond(w.served[0].stream, (struct h2_field[]){ wire_field(":status", "200") }, 1, false));
	write_some(&w.served[0], 65000, true);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.body, 65000);
	wire_end(&w);
}

/* Both sides have more to say than the sockets take: neither may wait for the other to
 * read first. */
static void both_ways_at_once(void **state)
{
	struct wire w;
	struct seen s[8];
	int i;

	wire_join(&w);
	w.limits.upstream_streams = 100;
	w.echo = true;
	for (i = 0; i < 8; i++) {
		wire_get(&w, &s[i], "POST", "/echo", false);
		write_some(&s[i], 1000000, true);
	}
	for (i = 0; i < 8; i++)
		WIRE_UNTIL(&w, s[i].what & H2_CLOSED);
	for (i = 0; i < 8; i++)
		assert_int_equal(s[i].body, 1000000);
	wire_end(&w);
	assert_int_equal(buf_memory(), 0);
}

/* One stream that nobody reads does not stop its neighbours. */
static void neighbours_go_on(void **state)
{
	struct wire w;
	struct seen stuck[20], s;
	int i;

	wire_join(&w);
	w.silent = w.keep = true;
	for (i = 0; i < 20; i++) {
		wire_get(&w, &stuck[i], "POST", "/stuck", false);
		write_some(&stuck[i], 100000, true);
	}
	wire_turn(&w, 50);
	w.silent = w.keep = false;
	w.echo = true;
	wire_get(&w, &s, "POST", "/echo", false);
	write_some(&s, 100000, true);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.body, 100000);
	wire_end(&w);
	assert_int_equal(buf_memory(), 0);
}

static void trailers_arrive(void **state)
{
	struct wire w;
	struct seen s;
	struct h2_field t[2] = { wire_field("x-check", "1"), wire_field("x-more", "2") };

	wire_join(&w);
	wire_get(&w, &s, "POST", "/", false);
	write_some(&s, 10, false);
	assert_true(h2_finish(s.stream, t, 2));
	WIRE_UNTIL(&w, w.served[0].what & (H2_TRAILERS | H2_CLOSED));
	wire_end(&w);
}

/* An answer that does not need the body stops it, after the answer has arrived. */
static void early_answer_stops_the_body(void **state)
{
	struct wire w;
	struct seen s;

	wire_join(&w);
	wire_get(&w, &s, "POST", "/", false);
	write_some(&s, 2000000, false);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	assert_true(s.what & H2_END);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_int_equal(s.error_code, H2_ERR_NO_ERROR);
	assert_non_null(w.down);
	/* The connection goes on. */
	wire_get(&w, &s, "GET", "/next", true);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	wire_end(&w);
}

static void reset_reaches_the_other_side(void **state)
{
	struct wire w;
	struct seen s;

	wire_join(&w);
	w.silent = true;
	wire_get(&w, &s, "GET", "/", true);
	WIRE_UNTIL(&w, w.count == 1);
	h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
	WIRE_UNTIL(&w, (s.what & H2_CLOSED) && (w.served[0].what & H2_CLOSED));
	assert_int_equal(s.fault, FAULT_CLIENT_GONE);
	assert_int_equal(w.served[0].fault, FAULT_CLIENT_RESET);
	assert_int_equal(w.served[0].error_code, H2_ERR_CANCEL);
	wire_end(&w);
}

/* A reset before the request has left: it never does, and the stream still closes. */
static void reset_before_sending(void **state)
{
	struct wire w;
	struct seen s = { 0 };
	struct h2_field f[4] = { wire_field(":method", "GET"), wire_field(":scheme", "http"), wire_field(":authority", "t"),
				 wire_field(":path", "/") };
	enum fault why;

	wire_join(&w);
	wire_turn(&w, 5);
	s.stream = h2_request(w.up, f, 4, true, &s, &why);
	h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	wire_turn(&w, 5);
	assert_int_equal(w.count, 0);
	wire_end(&w);
}

static void refusal_is_told_apart(void **state)
{
	struct wire w;
	struct seen s;

	wire_join(&w);
	w.silent = true;
	wire_get(&w, &s, "GET", "/", true);
	WIRE_UNTIL(&w, w.count == 1);
	h2_reset(w.served[0].stream, H2_ERR_REFUSED_STREAM, FAULT_OVERLOADED);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.fault, FAULT_UPSTREAM_REFUSED);
	wire_end(&w);
}

/* The connection dies: every stream is told, with the reason, before the owner. */
static void death_reaches_every_stream(void **state)
{
	struct wire w;
	struct seen s[10];
	int i;

	wire_join(&w);
	w.silent = true;
	for (i = 0; i < 10; i++)
		wire_get(&w, &s[i], "GET", "/", true);
	WIRE_UNTIL(&w, w.count == 10);
	h2_close(w.down, FAULT_INTERNAL);
	WIRE_UNTIL(&w, !w.up && !w.down);
	for (i = 0; i < 10; i++) {
		assert_true(s[i].what & H2_CLOSED);
		assert_int_not_equal(s[i].fault, FAULT_NONE);
		assert_true(w.served[i].what & H2_CLOSED);
	}
	wire_end(&w);
}

static void shutdown_is_graceful(void **state)
{
	struct wire w;
	struct seen a, b;

	wire_join(&w);
	w.silent = true;
	wire_get(&w, &a, "GET", "/", true);
	WIRE_UNTIL(&w, w.count == 1);
	h2_shutdown(w.down);
	WIRE_UNTIL(&w, w.goaways == 1);
	assert_true(a.stream != NULL);
	assert_int_equal(h2_session_room(w.up), 0);
	(void)b;
	h2_respond(w.served[0].stream, (struct h2_field[]){ wire_field(":status", "200") }, 1, true);
	WIRE_UNTIL(&w, a.what & H2_CLOSED);
	assert_int_equal(a.status, 200);
	WIRE_UNTIL(&w, !w.up && !w.down);
	wire_end(&w);
}

static void ping_measures(void **state)
{
	struct wire w;

	wire_join(&w);
	wire_turn(&w, 3);
	assert_true(h2_ping(w.up) != 0);
	assert_int_equal(h2_ping(w.up), h2_ping_pending(w.up)); /* one at a time */
	WIRE_UNTIL(&w, w.pongs == 1);
	assert_int_equal(h2_ping_pending(w.up), 0);
	assert_true(h2_session_rtt(w.up) > 0);
	wire_end(&w);
}

static void interims_come_first(void **state)
{
	struct wire w;
	struct seen s;
	struct h2_field early[2] = { wire_field(":status", "103"), wire_field("link", "</a>") };

	wire_join(&w);
	w.silent = true;
	wire_get(&w, &s, "GET", "/", true);
	WIRE_UNTIL(&w, w.count == 1);
	assert_true(h2_interim(w.served[0].stream, early, 2));
	assert_true(h2_respond(w.served[0].stream, (struct h2_field[]){ wire_field(":status", "204") }, 1, true));
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_true(s.what & H2_INTERIM);
	assert_int_equal(s.status, 204);
	wire_end(&w);
}

/* Memory is exhausted when a body arrives: that stream is reset, the session lives. */
static void memory_limit_costs_the_stream(void **state)
{
	static char data[200000];
	struct buf held = { 0 };
	struct wire w;

	wire_raw_client(&w, false);
	w.silent = true;
	raw_request(&w, 1, false);
	WIRE_UNTIL(&w, w.count == 1);
	assert_true(buf_append(&held, data, sizeof(data)));
	buf_memory_limit(buf_memory() + 8224);
	assert_true(buf_scarce() && buf_exhausted());
	raw_frame(&w, 0, 0, 1, "too much", 8);
	WIRE_UNTIL(&w, w.served[0].what & H2_CLOSED);
	assert_int_equal(w.served[0].fault, FAULT_NO_MEMORY);
	buf_clear(&held);
	buf_memory_limit(0);
	w.silent = false;
	raw_request(&w, 3, true);
	WIRE_UNTIL(&w, w.count == 2);
	assert_non_null(w.down);
	wire_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(get_is_answered), cmocka_unit_test(body_is_echoed), cmocka_unit_test(window_holds_back),
		cmocka_unit_test(output_goes_on), cmocka_unit_test(both_ways_at_once),
		cmocka_unit_test(neighbours_go_on), cmocka_unit_test(trailers_arrive),
		cmocka_unit_test(early_answer_stops_the_body), cmocka_unit_test(reset_reaches_the_other_side),
		cmocka_unit_test(reset_before_sending), cmocka_unit_test(refusal_is_told_apart),
		cmocka_unit_test(death_reaches_every_stream), cmocka_unit_test(shutdown_is_graceful),
		cmocka_unit_test(ping_measures), cmocka_unit_test(interims_come_first),
		cmocka_unit_test(memory_limit_costs_the_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
