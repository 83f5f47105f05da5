/* SPDX-License-Identifier: MIT */
/*
 * Fields: a request made of any fields at all goes through the whole request path to a
 * backend. What reaches the backend is one well-formed request of the form an
 * intermediary sends (RFC 9113 8.2, 8.3; RFC 9110 7.6): that is what smuggling would break.
 *
 * Input: a byte of options (1: the usual pseudo-fields come first; 2: no END_STREAM, four
 * octets of body and an end follow; 4: another stream with a plain request follows, which has
 * to be answered), then fields: a byte that names a known field (or 255: a length and a name),
 * a length, a value.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../wire/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct proxy proxy;
static int arrived;

static void demand(bool holds)
{
	if (!holds)
		abort();
}

/* ---- what a backend may see ---- */

static bool is(const struct h2_field *f, const char *name)
{
	return f->name_len == strlen(name) && !memcmp(f->name, name, f->name_len);
}

static void check_name(const struct h2_field *f)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";
	size_t i;

	demand(f->name_len > 0);
	for (i = f->name[0] == ':'; i < f->name_len; i++)
		demand(islower(f->name[i]) || isdigit(f->name[i]) || (f->name[i] && strchr(marks, f->name[i])));
}

static void check_value(const struct h2_field *f)
{
	size_t i;

	for (i = 0; i < f->value_len; i++)
		demand((f->value[i] >= 0x20 || f->value[i] == '\t') && f->value[i] != 0x7f);
	if (f->value_len)
		demand(!strchr(" \t", f->value[0]) && !strchr(" \t", f->value[f->value_len - 1]));
}

/* No segment that another reader would resolve away, plain or escaped. */
static void check_path(const struct h2_field *f)
{
	char path[1024];
	size_t n = f->value_len, i;
	const uint8_t *end = memchr(f->value, '?', n);

	if (end)
		n = (size_t)(end - f->value);
	demand(n > 0 && n < sizeof(path));
	memcpy(path, f->value, n);
	path[n] = '\0';
	if (!strcmp(path, "*"))
		return;
	demand(path[0] == '/');
	demand(!strstr(path, "//") && !strstr(path, "/./") && !strstr(path, "/../") && !strchr(path, '#') && !strchr(path, '\\'));
	demand(n < 2 || strcmp(path + n - 2, "/.") != 0);
	demand(n < 3 || strcmp(path + n - 3, "/..") != 0);
	for (i = 0; i < n; i++) {
		demand(path[i] > 0x20 && path[i] < 0x7f);
		if (path[i] == '%')
			demand(strncasecmp(path + i, "%2f", 3) && strncasecmp(path + i, "%2e", 3) && strncasecmp(path + i, "%00", 3) &&
			       strncasecmp(path + i, "%5c", 3));
	}
}

static void on_stream(void *owner, struct h2_stream *st)
{
	static const char *const never[] = { "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host" };
	static const char *const once[] = { ":method", ":scheme", ":authority", ":path", ":protocol", "content-length", "x-forwarded-for",
					    "x-forwarded-proto", "x-request-id", "traceparent" };
	static struct h2_field ok[1];
	unsigned count[10] = { 0 }, i, k;
	bool regular = false;

	arrived++;
	for (i = 0; i < st->head->count; i++) {
		const struct h2_field *f = &st->head->field[i];

		check_name(f);
		check_value(f);
		demand(!regular || f->name[0] != ':');
		regular = f->name[0] != ':';
		for (k = 0; k < 6; k++)
			demand(!is(f, never[k]));
		for (k = 0; k < 10; k++)
			count[k] += is(f, once[k]);
		if (is(f, ":path"))
			check_path(f);
		if (is(f, "te"))
			demand(f->value_len == 8 && !memcmp(f->value, "trailers", 8));
		if (is(f, "x-forwarded-for"))
			demand(f->value_len == 7 && !memcmp(f->value, "unknown", 7)); /* nobody is trusted here */
		if (is(f, "content-length"))
			for (k = 0; k < f->value_len; k++)
				demand(isdigit(f->value[k]));
	}
	for (k = 0; k < 10; k++)
		demand(count[k] <= 1);
	demand(count[0] == 1 && count[1] == 1 && count[2] == 1 && count[3] == 1);
	ok[0] = wire_field(":status", "200");
	demand(h2_respond(st, ok, 1, true));
}

static void on_ready(struct h2_stream *st, uint32_t what)
{
	buf_clear(&st->in);
	if (what & H2_CLOSED)
		h2_release(&st);
}

/* ---- what a client sends ---- */

struct block {
	uint8_t bytes[4096];
	size_t len;
};

static void put(struct block *b, const void *p, size_t n)
{
	demand(b->len + n <= sizeof(b->bytes));
	memcpy(b->bytes + b->len, p, n);
	b->len += n;
}

/* Literal, not indexed, no Huffman code (RFC 7541 6.2.2). */
static void put_field(struct block *b, const void *name, size_t n, const void *value, size_t v)
{
	uint8_t head[] = { 0, (uint8_t)n };

	put(b, head, 2);
	put(b, name, n);
	head[1] = (uint8_t)v;
	put(b, head + 1, 1);
	put(b, value, v);
}

static void put_usual(struct block *b)
{
	put_field(b, ":method", 7, "GET", 3);
	put_field(b, ":scheme", 7, "http", 4);
	put_field(b, ":authority", 10, "x", 1);
	put_field(b, ":path", 5, "/a", 2);
}

static void put_any(struct block *b, const uint8_t *p, const uint8_t *end)
{
	while (end - p >= 3 && b->len < 3000) {
		const void *name;
		size_t n, v;

		if (*p == 255) {
			n = p[1] % 64;
			if ((size_t)(end - p) < n + 3)
				return;
			name = p + 2;
			p += 2 + n;
		} else {
			name = h2_names[1 + *p % (H2_TOKEN_COUNT - 1)].text;
			n = strlen(name);
			p++;
		}
		v = *p++ % 127;
		if (v > (size_t)(end - p))
			v = (size_t)(end - p);
		put_field(b, name, n, p, v);
		p += v;
	}
}

static void send_frame(int fd, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len)
{
	uint8_t head[9] = { 0, (uint8_t)(len >> 8), (uint8_t)len, type, flags, 0, 0, 0, (uint8_t)id };

	demand(send(fd, head, 9, MSG_NOSIGNAL) == 9);
	demand(!len || send(fd, payload, len, MSG_NOSIGNAL) == (ssize_t)len);
}

static void turns(int n)
{
	while (n--)
		net_loop_turn(proxy.w.loop, 0);
}

static int connect_client(void)
{
	struct downstream *d = calloc(1, sizeof(*d));
	struct net_addr peer = { .len = 0 };
	int fd[2];

	demand(d && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd));
	d->w = &proxy.worker;
	memcpy(d->text, "unknown", 8);
	d->session = h2_accept(&proxy.worker.down, fd[0], &peer, NULL, d);
	demand(d->session != NULL);
	demand(send(fd[1], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, MSG_NOSIGNAL) == 24);
	send_frame(fd[1], 4, 0, 0, NULL, 0);
	return fd[1];
}

static void begin(void)
{
	proxy_start(&proxy, "  - name: all\n    tier: core\n    routes: [\"/**\"]\n    connect: true\n", false);
	h2_close(proxy.w.up, FAULT_UPSTREAM_GONE);
	wire_turn(&proxy.w, 3);
	proxy.w.server.handler = (struct h2_handler){ on_stream, on_ready };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct block any = { .len = 0 }, plain = { .len = 0 };
	int fd, i, before;

	if (size < 1 || size > 2000)
		return 0;
	if (!proxy.listener)
		begin();
	fd = connect_client();
	if (data[0] & 1)
		put_usual(&any);
	put_any(&any, data + 1, data + size);
	send_frame(fd, 1, data[0] & 2 ? 4 : 5, 1, any.bytes, any.len);
	if (data[0] & 2)
		send_frame(fd, 0, 1, 1, "body", 4);
	turns(12);
	before = arrived;
	demand(before <= 1);
	if (data[0] & 4) {
		/* Whatever the first was, the connection either ended or still serves. */
		put_usual(&plain);
		if (!list_empty(&proxy.worker.down.sessions)) {
			send_frame(fd, 1, 5, 3, plain.bytes, plain.len);
			turns(12);
			demand(arrived == before + 1 || list_empty(&proxy.worker.down.sessions));
		}
	}
	close(fd);
	for (i = 0; i < 50 && !list_empty(&proxy.worker.down.sessions); i++)
		turns(1);
	demand(list_empty(&proxy.worker.down.sessions) && proxy.worker.exchanges == 0);
	arrived = 0;
	return 0;
}
