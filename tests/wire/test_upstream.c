/* SPDX-License-Identifier: MIT */
/* What an endpoint may say, and when: its SETTINGS, its limits, its streams. */
#include "proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../src/datacenter/pool.h"
#include "../../src/http2/h2_private.h"

#define SOCKET "  - name: all\n    tier: core\n    routes: [\"/**\"]\n    connect: true\n"

static const uint8_t ok[] = { 0x88 }, early_hints[] = { 8, 3, '1', '0', '3' };
static const uint8_t connects[] = { 0, 8, 0, 0, 0, 1 };

static struct h2_stream *ask(struct proxy *p, struct seen *s, const struct h2_field *field, size_t n, bool end)
{
	enum fault why;

	memset(s, 0, sizeof(*s));
	s->stream = h2_request(p->w.up, field, n, end, s, &why);
	assert_non_null(s->stream);
	wire_turn(&p->w, 1);
	return s->stream;
}

static void ask_socket(struct proxy *p, struct seen *s)
{
	struct h2_field f[5] = { wire_field(":method", "CONNECT"), wire_field(":protocol", "websocket"), wire_field(":scheme", "http"),
				 wire_field(":path", "/"), wire_field(":authority", "test") };

	ask(p, s, f, 5, false);
}

static struct h2_session *link_of(struct proxy *p)
{
	struct list *node = list_first(&p->worker.pool->ctx.sessions);

	assert_non_null(node);
	return h2_session_from_node(node);
}

static void reset_with(struct proxy *p, uint32_t id, uint8_t code)
{
	const uint8_t payload[4] = { 0, 0, 0, code };

	raw_frame(&p->w, 3, 0, id, payload, sizeof(payload));
}

/* ---- extended CONNECT before the SETTINGS ---- */

static void connect_waits_for_settings(void **state)
{
	struct proxy p;
	struct seen s;
	uint32_t id, len;

	proxy_start(&p, SOCKET, true);
	p.mute = true;
	ask_socket(&p, &s);
	WIRE_UNTIL(&p.w, p.w.raw >= 0);
	wire_turn(&p.w, 20);
	assert_null(raw_find(&p.w, 1, &id, &len));
	assert_int_equal(s.what, 0);
	raw_frame(&p.w, 4, 0, 0, connects, sizeof(connects));
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	raw_frame(&p.w, 1, 4, id, ok, sizeof(ok));
	WIRE_UNTIL(&p.w, s.what & H2_HEAD);
	assert_int_equal(s.status, 200);
	h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	proxy_end(&p);
}

static void connect_is_refused_by_settings(void **state)
{
	struct proxy p;
	struct seen s;
	uint32_t id, len;

	proxy_start(&p, SOCKET, true);
	p.mute = true;
	ask_socket(&p, &s);
	WIRE_UNTIL(&p.w, p.w.raw >= 0);
	wire_turn(&p.w, 5);
	raw_frame(&p.w, 4, 0, 0, NULL, 0);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 502);
	assert_null(raw_find(&p.w, 1, &id, &len));
	proxy_end(&p);
}

/* The client leaves meanwhile: nothing is sent for it later, nothing is kept. */
static void connect_is_given_up(void **state)
{
	struct proxy p;
	struct seen s;
	uint32_t id, len;

	proxy_start(&p, SOCKET, true);
	p.mute = true;
	ask_socket(&p, &s);
	WIRE_UNTIL(&p.w, p.w.raw >= 0);
	h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
	WIRE_UNTIL(&p.w, (s.what & H2_CLOSED) && !p.worker.exchanges);
	raw_frame(&p.w, 4, 0, 0, connects, sizeof(connects));
	wire_turn(&p.w, 20);
	assert_null(raw_find(&p.w, 1, &id, &len));
	proxy_end(&p);
}

static void connect_outlives_no_connection(void **state)
{
	struct proxy p;
	struct seen s;

	proxy_start(&p, SOCKET, true);
	p.mute = true;
	ask_socket(&p, &s);
	WIRE_UNTIL(&p.w, p.w.raw >= 0);
	wire_turn(&p.w, 5);
	net_listener_destroy(p.listener);
	p.listener = NULL;
	unlink(p.path);
	close(p.w.raw);
	p.w.raw = -1;
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503);
	assert_int_equal(s.fault, FAULT_NONE);
	proxy_end(&p);
}

/* ---- stream ids ---- */

/* A connection's last stream id is used like any other; then it goes, with what it still
 * carries, and the next request opens another. */
static void last_id_retires_a_connection(void **state)
{
	struct proxy p;
	struct seen first, last, next;
	struct h2_session *old;

	proxy_start(&p, "", false);
	((struct conf *)(uintptr_t)p.worker.snap->conf)->limits.upstream_connections = 1;
	p.w.silent = true;
	wire_get(&p.w, &first, "GET", "/first", true);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	old = link_of(&p);
	assert_int_equal(nghttp2_session_set_next_stream_id(old->ng, INT32_MAX), 0);
	wire_get(&p.w, &last, "POST", "/last", true);
	WIRE_UNTIL(&p.w, p.w.count == 2);
	wire_get(&p.w, &next, "POST", "/next", true);
	WIRE_UNTIL(&p.w, p.w.count == 3);
	assert_int_equal(p.worker.pool->links, 2);
	while (p.w.count--) {
		static struct h2_field f;

		f = wire_field(":status", "200");
		h2_respond(p.w.served[p.w.count].stream, &f, 1, true);
	}
	WIRE_UNTIL(&p.w, (first.what & last.what & next.what & H2_CLOSED) && p.worker.pool->links == 1);
	assert_int_equal(first.status, 200);
	assert_int_equal(last.status, 200);
	assert_int_equal(next.status, 200);
	proxy_end(&p);
}

/* ---- unsaid requests ---- */

/* A session whose peer allows `streams`, said before anything was asked of it. */
static void tight_server(struct wire *w, uint8_t streams)
{
	const uint8_t limit[6] = { 0, 3, 0, 0, 0, streams };
	int fd[2];

	wire_init(w);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	w->raw = fd[1];
	raw_frame(w, 4, 0, 0, limit, sizeof(limit));
	w->up = h2_adopt(&w->client, fd[0], w);
	assert_non_null(w->up);
}

static void request(struct wire *w, struct seen *s)
{
	struct h2_field f[4] = { wire_field(":method", "POST"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/") };
	enum fault why;

	memset(s, 0, sizeof(*s));
	s->stream = h2_request(w->up, f, 4, false, s, &why);
	assert_non_null(s->stream);
}

/* The endpoint allows one stream; what waits behind it in the codec is over as soon as
 * it is given up, and never said. */
static void unsaid_request_is_forgotten(void **state)
{
	struct wire w;
	struct seen first, second;
	uint32_t id, len;

	tight_server(&w, 1);
	request(&w, &first);
	request(&w, &second);
	WIRE_UNTIL(&w, raw_find(&w, 1, &id, &len));
	wire_turn(&w, 5);
	h2_reset(second.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
	WIRE_UNTIL(&w, second.what & H2_CLOSED);
	assert_int_equal(second.fault, FAULT_CLIENT_GONE);
	assert_int_equal(h2_session_streams(w.up), 1);
	w.have = 0;
	raw_frame(&w, 1, 5, id, ok, sizeof(ok));
	WIRE_UNTIL(&w, first.what & H2_HEAD);
	h2_reset(first.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
	WIRE_UNTIL(&w, first.what & H2_CLOSED);
	wire_turn(&w, 5);
	assert_null(raw_find(&w, 1, &id, &len));
	wire_end(&w);
}

/* An endpoint that takes no stream at all is not waited for. */
static void no_streams_at_all(void **state)
{
	struct wire w;
	struct seen s;
	uint32_t id, len;

	tight_server(&w, 0);
	request(&w, &s);
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.fault, FAULT_UPSTREAM_FULL);
	assert_null(raw_find(&w, 1, &id, &len));
	wire_end(&w);
}

/* Never said, so never processed, whatever the connection ends of. */
static void unsaid_request_is_unprocessed(void **state)
{
	struct wire w;
	struct seen first, second;
	uint32_t id, len;

	tight_server(&w, 1);
	request(&w, &first);
	request(&w, &second);
	WIRE_UNTIL(&w, raw_find(&w, 1, &id, &len));
	wire_turn(&w, 5);
	h2_close(w.up, FAULT_UPSTREAM_SILENT);
	WIRE_UNTIL(&w, first.what & second.what & H2_CLOSED);
	assert_int_equal(first.fault, FAULT_UPSTREAM_SILENT);
	assert_int_equal(second.fault, FAULT_UPSTREAM_GOAWAY);
	wire_end(&w);
}

/* ---- what may be tried again ---- */

/* REFUSED_STREAM from an endpoint that has begun to answer is a lie, and a POST is not
 * sent again on its word (RFC 9113 8.7). */
static void refused_after_an_answer(void **state)
{
	static const uint8_t *const head[] = { early_hints, ok };
	static const size_t size[] = { sizeof(early_hints), sizeof(ok) };
	struct proxy p;
	struct seen s;
	uint32_t id, len;
	int i;

	for (i = 0; i < 2; i++) {
		uint8_t both[64] = { 0, 0, (uint8_t)size[i], 1, 4, 0, 0, 0, 1 };
		static const uint8_t reset[13] = { 0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7 };

		memcpy(both + 9, head[i], size[i]);
		memcpy(both + 9 + size[i], reset, sizeof(reset));
		proxy_start(&p, "", true);
		wire_get(&p.w, &s, "POST", "/", true);
		WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
		p.w.have = 0;
		raw_send(&p.w, both, 9 + size[i] + sizeof(reset));
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, 502);
		wire_turn(&p.w, 10);
		assert_null(raw_find(&p.w, 1, &id, &len));
		proxy_end(&p);
	}
}

/* Said before anything else it is believed. */
static void refused_unread(void **state)
{
	struct proxy p;
	struct seen s;
	uint32_t id, len;

	proxy_start(&p, "", true);
	wire_get(&p.w, &s, "POST", "/", true);
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	p.w.have = 0;
	reset_with(&p, id, 7);
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	raw_frame(&p.w, 1, 5, id, ok, sizeof(ok));
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	proxy_end(&p);
}

/* A session given up for our own want of memory may have had its requests processed. */
static void no_memory_is_no_refusal(void **state)
{
	struct proxy p;
	struct seen s;
	uint32_t id, len;

	proxy_start(&p, "", true);
	wire_get(&p.w, &s, "POST", "/", true);
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	h2_close(link_of(&p), FAULT_NO_MEMORY);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_int_equal(p.worker.pool->links, 0);
	proxy_end(&p);
}

/* So may those of one whose output the endpoint let pile up; the client hears of the endpoint. */
static void full_output_is_the_endpoints(void **state)
{
	struct proxy p;
	struct seen s;
	uint32_t id, len;

	proxy_start(&p, "", true);
	wire_get(&p.w, &s, "POST", "/", true);
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	h2_close(link_of(&p), FAULT_OUTPUT_FULL);
	close(p.w.raw);
	p.w.raw = -1; /* it may be connected to again, to see whether it is there */
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 502);
	proxy_end(&p);
}

/* A head that was not kept whole is never passed on, however quickly its stream is over. */
static void head_beyond_the_limit(void **state)
{
	uint8_t head[1 + 300 * 4] = { 0x88 };
	struct proxy p;
	struct seen s;
	uint32_t id, len, i, end;

	for (i = 0; i < 300; i++)
		memcpy(head + 1 + 4 * i, "\0\1x", 4); /* x: "" */
	for (end = 0; end < 2; end++) {
		proxy_start(&p, "", true);
		wire_get(&p.w, &s, "POST", "/", true);
		WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
		raw_frame(&p.w, 1, (uint8_t)(4 | end), id, head, sizeof(head));
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, 502);
		proxy_end(&p);
	}
}

/* Nor is a part of an interim one: no early hints are better than some of them. */
static void interim_beyond_the_limit(void **state)
{
	uint8_t head[5 + 300 * 4] = { 8, 3, '1', '0', '3' };
	struct proxy p;
	struct seen s;
	uint32_t id, len, i;

	for (i = 0; i < 300; i++)
		memcpy(head + 5 + 4 * i, "\0\1x", 4);
	proxy_start(&p, "", true);
	wire_get(&p.w, &s, "POST", "/", true);
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	raw_frame(&p.w, 1, 4, id, head, sizeof(head));
	raw_frame(&p.w, 1, 5, id, ok, sizeof(ok));
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_false(s.what & H2_INTERIM);
	assert_int_equal(s.status, 502);
	proxy_end(&p);
}

/* What is taken can also be sent on, where the limit was raised above the codec's own. */
static void head_within_the_limit(void **state)
{
	static uint8_t field[16000] = { 0x00, 1, 'x', 0x7f, 0xf6, 0x7b }; /* x: 127 + 0x76 + (0x7b << 7) = 15989 octets */
	struct proxy p;
	struct seen s;
	uint32_t id, len, i;

	memset(field + 6, 'y', sizeof(field) - 6);
	proxy_start(&p, "", true);
	p.w.limits.header_list_bytes = p.w.limits.held_head_bytes = 1 << 20;
	((struct conf *)(uintptr_t)p.worker.snap->conf)->limits.header_list_bytes = 1 << 20;
	wire_get(&p.w, &s, "POST", "/", true);
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	raw_frame(&p.w, 1, 1, id, ok, sizeof(ok));
	for (i = 0; i < 6; i++)
		raw_frame(&p.w, 9, i == 5 ? 4 : 0, id, field, 6 + 15989);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	assert_true(s.fields >= 7);
	proxy_end(&p);
}

/* ---- a client that is slow to take its answers ---- */

#define SLOW 11

/* The head of an answer waits for the client, and the answer breaks meanwhile: the client
 * still hears the status first, then that it was cut. */
static void cut_behind_a_waiting_head(void **state)
{
	static const uint8_t body[16000];
	static struct seen s[SLOW + 1];
	struct proxy p;
	uint32_t id, len, i, n;

	proxy_start(&p, "", true);
	for (i = 0; i <= SLOW; i++)
		wire_get(&p.w, &s[i], "POST", "/", true);
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	net_read_pause(h2_session_conn(p.w.up), true);
	for (i = 0; i < SLOW; i++) {
		raw_frame(&p.w, 1, 4, 2 * i + 1, ok, sizeof(ok));
		for (n = 0; n < 4; n++)
			raw_frame(&p.w, 0, 0, 2 * i + 1, body, sizeof(body));
		wire_turn(&p.w, 3);
	}
	assert_true(net_pending(h2_session_conn(p.client->session)) >= 65536);
	raw_frame(&p.w, 1, 4, 2 * SLOW + 1, ok, sizeof(ok));
	wire_turn(&p.w, 5);
	reset_with(&p, 2 * SLOW + 1, 2);
	wire_turn(&p.w, 5);
	net_read_pause(h2_session_conn(p.w.up), false);
	WIRE_UNTIL(&p.w, s[SLOW].what & H2_CLOSED);
	assert_int_equal(s[SLOW].status, 200);
	assert_int_equal(s[SLOW].error_code, H2_ERR_INTERNAL);
	assert_false(s[SLOW].what & H2_END);
	proxy_end(&p);
}

/* ---- limits of a connection that many clients share ---- */

#define MANY 100

static void open_many(struct wire *w, struct seen *s, int n)
{
	int i;

	wire_raw_server(w);
	for (i = 0; i < n; i++)
		request(w, &s[i]);
	wire_turn(w, 10);
}

/* The answers under way on one connection hold a head each. */
static void heads_of_many_streams(void **state)
{
	static uint8_t head[9 + 4004] = { 0x88, 0x00, 1, 'x', 0x7f, 0xa1, 0x1e }; /* x: 4000 octets */
	static struct seen s[MANY];
	struct wire w;
	int i;

	memset(head + 7, 'y', sizeof(head) - 7);
	open_many(&w, s, MANY);
	for (i = 0; i < MANY; i++)
		raw_frame(&w, 1, 4, (uint32_t)(2 * i + 1), head, 7 + 4000);
	for (i = 0; i < MANY; i++) {
		WIRE_UNTIL(&w, s[i].what & H2_HEAD);
		assert_int_equal(s[i].status, 200);
	}
	wire_end(&w);
	for (i = 0; i < MANY; i++)
		assert_true(s[i].what & H2_CLOSED);
}

/* Empty gRPC messages, a few on each of many streams, are no flood. */
static void tiny_messages_of_many_streams(void **state)
{
	static const uint8_t message[5];
	static struct seen s[MANY];
	struct wire w;
	int i, n;

	open_many(&w, s, MANY);
	for (i = 0; i < MANY; i++)
		raw_frame(&w, 1, 4, (uint32_t)(2 * i + 1), ok, sizeof(ok));
	for (n = 0; n < 20; n++) {
		for (i = 0; i < MANY; i++)
			raw_frame(&w, 0, 0, (uint32_t)(2 * i + 1), message, sizeof(message));
	}
	for (i = 0; i < MANY; i++)
		WIRE_UNTIL(&w, s[i].body == 20 * sizeof(message));
	wire_end(&w);
}

/* ... which they are on one. */
static void tiny_messages_of_one_stream(void **state)
{
	static const uint8_t message[5];
	struct seen s;
	struct wire w;
	int i;

	open_many(&w, &s, 1);
	raw_frame(&w, 1, 4, 1, ok, sizeof(ok));
	for (i = 0; i < 1000; i++)
		raw_frame(&w, 0, 0, 1, message, sizeof(message));
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	assert_int_equal(s.fault, FAULT_UPSTREAM_PROTOCOL);
	wire_end(&w);
}

/* Resets of a stream that is over. */
static void resets_of_what_is_over(void **state)
{
	static const uint8_t cancel[4] = { 0, 0, 0, 8 };
	struct seen s;
	struct wire w;
	int i;

	open_many(&w, &s, 1);
	raw_frame(&w, 3, 0, 1, cancel, sizeof(cancel));
	WIRE_UNTIL(&w, s.what & H2_CLOSED);
	for (i = 0; i < 1000; i++)
		raw_frame(&w, 3, 0, 1, cancel, sizeof(cancel));
	WIRE_UNTIL(&w, !w.up);
	assert_int_equal(w.up_fault, FAULT_UPSTREAM_PROTOCOL);
	wire_end(&w);
}

/* ... but not those that cross ours. */
static void resets_that_cross(void **state)
{
	static const uint8_t no_error[4];
	struct seen s;
	struct wire w;
	uint32_t i;

	open_many(&w, &s, 0);
	for (i = 0; i < 1000; i++) {
		request(&w, &s);
		wire_turn(&w, 1);
		h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
		WIRE_UNTIL(&w, s.what & H2_CLOSED);
		raw_frame(&w, 3, 0, 2 * i + 1, no_error, sizeof(no_error));
		wire_turn(&w, 1);
		assert_non_null(w.up);
	}
	wire_end(&w);
}

/* Gives back every DATA frame in `parts`, for the stream and for the connection. */
static size_t take_upload(struct wire *w, uint32_t parts)
{
	static uint8_t in[1 << 20];
	static size_t have;
	size_t at = 0, body = 0;
	ssize_t n;

	while (have < sizeof(in) && (n = recv(w->raw, in + have, sizeof(in) - have, MSG_DONTWAIT)) > 0)
		have += (size_t)n;
	if (have >= 24 && !memcmp(in, "PRI", 3))
		at = 24;
	while (at + 9 <= have) {
		uint32_t len = (uint32_t)in[at] << 16 | (uint32_t)in[at + 1] << 8 | in[at + 2], part = len / parts, i;
		const uint8_t update[4] = { 0, 0, (uint8_t)(part >> 8), (uint8_t)part };

		if (at + 9 + len > have)
			break;
		for (i = 0; in[at + 3] == 0 && len && i < parts; i++) {
			raw_frame(w, 8, 0, 1, update, sizeof(update));
			raw_frame(w, 8, 0, 0, update, sizeof(update));
		}
		body += in[at + 3] == 0 ? len : 0;
		at += 9 + len;
	}
	memmove(in, in + at, have -= at);
	return body;
}

/* Go's server gives windows back for every 4 KiB it has read. */
static void upload_given_back_in_parts(void **state)
{
	struct buf b = { 0 };
	struct seen s;
	struct wire w;
	size_t taken = 0, total = 4 << 20;
	char *data = calloc(1, total);

	open_many(&w, &s, 1);
	assert_true(buf_append(&b, data, total));
	free(data);
	assert_true(h2_write(s.stream, &b));
	while (taken < total) {
		size_t n = taken;

		WIRE_UNTIL(&w, (taken += take_upload(&w, 4)) > n);
		assert_non_null(w.up);
	}
	wire_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connect_waits_for_settings), cmocka_unit_test(connect_is_refused_by_settings),
		cmocka_unit_test(connect_is_given_up), cmocka_unit_test(connect_outlives_no_connection),
		cmocka_unit_test(last_id_retires_a_connection), cmocka_unit_test(unsaid_request_is_forgotten), cmocka_unit_test(no_streams_at_all),
		cmocka_unit_test(unsaid_request_is_unprocessed),
		cmocka_unit_test(refused_after_an_answer), cmocka_unit_test(refused_unread),
		cmocka_unit_test(no_memory_is_no_refusal), cmocka_unit_test(full_output_is_the_endpoints),
		cmocka_unit_test(head_beyond_the_limit), cmocka_unit_test(interim_beyond_the_limit), cmocka_unit_test(head_within_the_limit),
		cmocka_unit_test(cut_behind_a_waiting_head),
		cmocka_unit_test(heads_of_many_streams), cmocka_unit_test(tiny_messages_of_many_streams),
		cmocka_unit_test(tiny_messages_of_one_stream), cmocka_unit_test(resets_of_what_is_over),
		cmocka_unit_test(resets_that_cross), cmocka_unit_test(upload_given_back_in_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
