/* SPDX-License-Identifier: MIT */
/* Raw frames against a session: floods are cut off with the fault that names them,
 * protocol breaches end with the code RFC 9113 gives. */
#include <stdio.h>
#include <sys/socket.h>

#include "wire.h"

static uint32_t goaway_code(struct wire *w)
{
	uint32_t id, len;
	const uint8_t *p = raw_find(w, 7, &id, &len);

	return p ? (uint32_t)p[4] << 24 | (uint32_t)p[5] << 16 | (uint32_t)p[6] << 8 | p[7] : UINT32_MAX;
}

/* One useless frame after the other until the session has had enough. */
struct flood {
	const char *name;
	uint8_t type, flags;
	uint32_t id;
	const char *payload;
	size_t len;
	enum fault fault;
	bool open_stream;
};

static const struct flood floods[] = {
	{ "ping", 6, 0, 0, "12345678", 8, FAULT_FLOOD_PINGS, false },
	{ "ping ack", 6, 1, 0, "12345678", 8, FAULT_FLOOD_PINGS, false },
	{ "settings", 4, 0, 0, "", 0, FAULT_FLOOD_SETTINGS, false },
	{ "unknown type", 0xfa, 0, 0, "abc", 3, FAULT_FLOOD_FRAMES, false },
	{ "window update", 8, 0, 0, "\0\0\0\1", 4, FAULT_FLOOD_FRAMES, false },
	{ "priority", 2, 0, 3, "\0\0\0\0\1", 5, FAULT_FLOOD_FRAMES, false },
	{ "priority update", 0x10, 0, 0, "\0\0\0\1u=1", 7, FAULT_FLOOD_FRAMES, false },
	{ "empty data", 0, 0, 1, "", 0, FAULT_FLOOD_EMPTY, true },
	{ "padded empty data", 0, 8, 1, "\0", 1, FAULT_FLOOD_EMPTY, true },
};

static void floods_are_cut_off(void **state)
{
	struct wire w;
	size_t i;
	int n;

	for (i = 0; i < sizeof(floods) / sizeof(*floods); i++) {
		const struct flood *f = &floods[i];

		wire_raw_client(&w, false);
		w.silent = true;
		if (f->open_stream)
			raw_request(&w, 1, false);
		for (n = 0; n < 2000 && w.down; n++) {
			raw_frame(&w, f->type, f->flags, f->id, f->payload, f->len);
			if (n % 10 == 0)
				wire_turn(&w, 1);
		}
		WIRE_UNTIL(&w, !w.down);
		if (w.down_fault != f->fault)
			print_error("%s: %s\n", f->name, fault_info(w.down_fault)->word);
		assert_int_equal(w.down_fault, f->fault);
		assert_int_equal(goaway_code(&w), H2_ERR_ENHANCE_YOUR_CALM);
		assert_true(raw_closed(&w));
		wire_end(&w);
	}
}

static void rapid_reset_is_cut_off(void **state)
{
	struct wire w;
	uint32_t id;

	wire_raw_client(&w, false);
	w.silent = true;
	for (id = 1; id < 4000 && w.down; id += 2) {
		raw_request(&w, id, true);
		raw_frame(&w, 3, 0, id, "\0\0\0\10", 4);
		if (id % 16 == 1)
			wire_turn(&w, 1);
	}
	WIRE_UNTIL(&w, !w.down);
	assert_int_equal(w.down_fault, FAULT_FLOOD_RESETS);
	assert_true(w.count <= 60);
	wire_end(&w);
}

/* HEADERS and RST_STREAM in one segment: nobody is bothered with the request. */
static void reset_in_the_same_segment_costs_nothing(void **state)
{
	static const uint8_t both[] = { 0, 0, 9, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x01, 4, 't', 'e', 's', 't',
					0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8 };
	struct wire w;

	wire_raw_client(&w, false);
	raw_send(&w, both, sizeof(both));
	wire_turn(&w, 5);
	assert_int_equal(w.count, 0);
	assert_non_null(w.down);
	wire_end(&w);
}

/* The peer makes us reset (CVE-2025-8671): window overflow on stream after stream. */
static void made_you_reset_is_cut_off(void **state)
{
	struct wire w;
	uint32_t id;

	wire_raw_client(&w, false);
	w.silent = true;
	for (id = 1; id < 4000 && w.down; id += 2) {
		raw_request(&w, id, true);
		raw_frame(&w, 8, 0, id, "\x7f\xff\xff\xff", 4);
		if (id % 16 == 1)
			wire_turn(&w, 1);
	}
	WIRE_UNTIL(&w, !w.down);
	assert_true(w.down_fault == FAULT_FLOOD_RESETS || w.down_fault == FAULT_FLOOD_FRAMES);
	wire_end(&w);
}

static void continuation_flood(void **state)
{
	struct wire w;
	int n;

	wire_raw_client(&w, false);
	raw_frame(&w, 1, 0, 1, "\x82", 1);
	for (n = 0; n < 100 && w.down; n++) {
		raw_frame(&w, 9, 0, 1, "\x86", 1);
		wire_turn(&w, 1);
	}
	WIRE_UNTIL(&w, !w.down);
	assert_int_equal(w.down_fault, FAULT_FLOOD_CONTINUATIONS);
	assert_int_equal(w.count, 0);
	wire_end(&w);
}

/* Frames on a stream that is over are a connection error, except just after we reset it. */
static void closed_streams(void **state)
{
	struct wire w;

	wire_raw_client(&w, false);
	raw_request(&w, 1, true);
	wire_turn(&w, 5);
	raw_frame(&w, 0, 0, 1, "late", 4);
	WIRE_UNTIL(&w, !w.down);
	assert_int_equal(goaway_code(&w), H2_ERR_STREAM_CLOSED);
	wire_end(&w);

	wire_raw_client(&w, false);
	raw_request(&w, 5, true);
	wire_turn(&w, 5);
	raw_request(&w, 3, true);
	WIRE_UNTIL(&w, !w.down);
	assert_int_equal(goaway_code(&w), H2_ERR_PROTOCOL);
	assert_int_equal(w.count, 1);
	wire_end(&w);

	/* The server answers without the body and stops it: more body may be under way. */
	wire_raw_client(&w, false);
	raw_request(&w, 1, false);
	wire_turn(&w, 5);
	raw_frame(&w, 0, 0, 1, "under way", 9);
	raw_frame(&w, 0, 1, 1, "the end of it", 13);
	wire_turn(&w, 5);
	assert_non_null(w.down);
	wire_end(&w);
}

static void head_limits(void **state)
{
	static uint8_t block[60000];
	struct wire w;
	size_t n = 0;
	int i;

	memcpy(block, "\x82\x86\x84\x01\4test", 9);
	n = 9;
	for (i = 0; i < 150; i++) { /* literal without indexing, new name "a": "b" */
		memcpy(block + n, "\0\1a\1b", 5);
		n += 5;
	}
	wire_raw_client(&w, false);
	raw_frame(&w, 1, 5, 1, block, n);
	WIRE_UNTIL(&w, w.count == 1);
	/* More than header_count: the handler hears it and nothing of the rest is kept. */
	assert_non_null(w.down);
	assert_true(w.served[0].fields <= 100);
	wire_end(&w);
}

static void http1_is_told(void **state)
{
	struct wire w;

	wire_raw_client(&w, true);
	raw_send(&w, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
	WIRE_UNTIL(&w, !w.down);
	assert_int_equal(w.down_fault, FAULT_CLIENT_HTTP1);
	assert_true(raw_closed(&w));
	assert_memory_equal(w.input, "HTTP/1.1 505 ", 13);
	assert_non_null(strstr((const char *)w.input, "\r\nProxy-Status: firebreak; error=http_request_error; details=\"client-http1\"\r\n"));
	wire_end(&w);
}

static void preface_in_pieces(void **state)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	struct wire w;
	int i;

	wire_raw_client(&w, true);
	for (i = 0; i < 24; i++) {
		raw_send(&w, preface + i, 1);
		wire_turn(&w, 1);
	}
	raw_frame(&w, 4, 0, 0, NULL, 0);
	raw_request(&w, 1, true);
	WIRE_UNTIL(&w, w.count == 1);
	wire_end(&w);
}

/* A server that sends what no server may (client role). */
static void hostile_server(void **state)
{
	static const struct {
		const char *name;
		uint8_t type, flags;
		uint32_t id;
		const char *payload;
		size_t len;
	} cases[] = {
		{ "push", 5, 4, 1, "\0\0\0\2\x82", 5 },
		{ "data on stream 0", 0, 0, 0, "x", 1 },
		{ "settings of odd length", 4, 0, 0, "xyz", 3 },
		{ "window overflow", 8, 0, 0, "\x7f\xff\xff\xff", 4 },
		{ "bad header block", 1, 4, 1, "\xff\xff\xff\xff\xff", 5 },
	};
	struct wire w;
	struct seen s;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		wire_raw_server(&w);
		wire_get(&w, &s, "GET", "/", true);
		raw_frame(&w, cases[i].type, cases[i].flags, cases[i].id, cases[i].payload, cases[i].len);
		wire_turn(&w, 20);
		if (s.fault == FAULT_NONE)
			print_error("%s\n", cases[i].name);
		assert_int_not_equal(s.fault, FAULT_NONE);
		wire_end(&w);
	}
}

static void goaway_frees_unprocessed(void **state)
{
	struct wire w;
	struct seen a, b;

	wire_raw_server(&w);
	wire_get(&w, &a, "GET", "/", true);
	wire_get(&w, &b, "GET", "/", true);
	raw_frame(&w, 7, 0, 0, "\0\0\0\1\0\0\0\0", 8);
	WIRE_UNTIL(&w, b.what & H2_CLOSED);
	assert_int_equal(b.fault, FAULT_UPSTREAM_GOAWAY);
	assert_false(a.what & H2_CLOSED);
	assert_int_equal(h2_session_room(w.up), 0);
	raw_frame(&w, 1, 5, 1, "\x88", 1);
	WIRE_UNTIL(&w, a.what & H2_CLOSED);
	assert_int_equal(a.status, 200);
	WIRE_UNTIL(&w, !w.up);
	wire_end(&w);
}

/* What the codec never said was never processed: any request may be tried elsewhere. */
static void unsent_is_unprocessed(void **state)
{
	struct wire w;
	struct seen s;

	wire_raw_server(&w);
	raw_frame(&w, 7, 0, 0, "\0\0\0\0\0\0\0\0", 8);
	wire_get(&w, &s, "POST", "/", false);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.fault, FAULT_UPSTREAM_GOAWAY);
	wire_end(&w);
	wire_raw_server(&w);
	shutdown(w.raw, SHUT_WR);
	wire_get(&w, &s, "POST", "/", false);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.fault, FAULT_UPSTREAM_GOAWAY);
	wire_end(&w);
}

static void send_text(struct h2_stream *st, const char *text)
{
	struct buf b = { 0 };

	assert_true(buf_append(&b, text, strlen(text)));
	assert_true(h2_write(st, &b));
	assert_true(h2_finish(st, NULL, 0));
}

/* What a busy gRPC server says about each small request (updates for both windows, a
 * PING to measure the bandwidth, an empty DATA before the trailers) is no flood. */
static void busy_endpoint_is_no_flood(void **state)
{
	static const uint8_t status[] = { 0x88 }, trailer[] = { 0, 11, 'g', 'r', 'p', 'c', '-', 's', 't', 'a', 't', 'u', 's', 1, '0' };
	struct wire w;
	struct seen s;
	uint32_t i, id, len;

	wire_raw_server(&w);
	for (i = 1; i < 1200; i += 2) {
		wire_get(&w, &s, "POST", "/", false);
		send_text(s.stream, "small");
		wire_turn(&w, 1);
		raw_find(&w, 0, &id, &len);
		w.have = 0;
		raw_frame(&w, 8, 0, 0, "\0\0\0\5", 4);
		raw_frame(&w, 8, 0, i, "\0\0\0\5", 4);
		raw_frame(&w, 6, 0, 0, "12345678", 8);
		raw_frame(&w, 1, 4, i, status, sizeof(status));
		raw_frame(&w, 0, 0, i, NULL, 0);
		raw_frame(&w, 1, 5, i, trailer, sizeof(trailer));
		WIRE_UNTIL(&w, !w.up || (s.what & H2_CLOSED));
		if (!w.up)
			print_error("request %u: %s\n", i / 2, fault_info(w.up_fault)->word);
		assert_non_null(w.up);
		assert_int_equal(s.trailers, 1);
	}
	wire_end(&w);
}

/* Nor what a busy gRPC client says about each small answer. */
static void busy_client_is_no_flood(void **state)
{
	struct wire w;
	uint32_t i, id, len;

	wire_raw_client(&w, false);
	w.silent = true;
	for (i = 1; i < 1200; i += 2) {
		raw_request(&w, i, true);
		WIRE_UNTIL(&w, w.count == (int)(i + 1) / 2);
		assert_true(h2_respond(w.served[(w.count - 1) % 64].stream, (struct h2_field[]){ wire_field(":status", "200") }, 1, false));
		send_text(w.served[(w.count - 1) % 64].stream, "small");
		wire_turn(&w, 1);
		raw_find(&w, 0, &id, &len);
		w.have = 0;
		raw_frame(&w, 8, 0, 0, "\0\0\0\5", 4);
		raw_frame(&w, 6, 0, 0, "12345678", 8);
		wire_turn(&w, 1);
		if (!w.down)
			print_error("request %u: %s\n", i / 2, fault_info(w.down_fault)->word);
		assert_non_null(w.down);
	}
	wire_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(floods_are_cut_off), cmocka_unit_test(rapid_reset_is_cut_off),
		cmocka_unit_test(reset_in_the_same_segment_costs_nothing), cmocka_unit_test(made_you_reset_is_cut_off),
		cmocka_unit_test(continuation_flood), cmocka_unit_test(closed_streams), cmocka_unit_test(head_limits),
		cmocka_unit_test(http1_is_told), cmocka_unit_test(preface_in_pieces), cmocka_unit_test(hostile_server),
		cmocka_unit_test(goaway_frees_unprocessed), cmocka_unit_test(unsent_is_unprocessed),
		cmocka_unit_test(busy_endpoint_is_no_flood),
		cmocka_unit_test(busy_client_is_no_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
