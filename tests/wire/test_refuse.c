/* SPDX-License-Identifier: MIT */
/* Answers of our own (P6): every fault a client can be told is the same word in header,
 * body, log and metric; and nothing is ever accepted that is not kept (P1). */
#include "proxy.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../src/http2/h2_private.h"
#include "firebreak/log.h"

static char log_path[64];

static void start(struct proxy *p)
{
	proxy_start(p, "", false);
	p->w.silent = true;
}

/* The exchange of the client's only stream. */
static struct xchg *exchange(struct proxy *p)
{
	struct list *node = list_first(&p->client->session->streams);

	assert_non_null(node);
	return list_entry(node, struct h2_stream, node)->user;
}

static void ask(struct proxy *p, struct seen *s, const char *method, const char *type)
{
	struct h2_field f[5] = { wire_field(":method", method), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/"), wire_field("content-type", type ? type : "") };
	enum fault why;

	memset(s, 0, sizeof(*s));
	s->stream = h2_request(p->w.up, f, type ? 5 : 4, true, s, &why);
	assert_non_null(s->stream);
}

/* The last line of the access log. */
static const char *logged(void)
{
	static char text[65536];
	char *end, *line;
	ssize_t n;
	int fd;

	log_flush();
	fd = open(log_path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_int_equal(truncate(log_path, 0), 0);
	assert_true(n > 1);
	text[n] = '\0';
	end = text + n - 1;
	*end = '\0';
	line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

static void says(const char *text, const char *before, const char *word, const char *after)
{
	char wanted[128];

	snprintf(wanted, sizeof(wanted), "%s%s%s", before, word, after);
	if (!strstr(text, wanted))
		print_error("no %s in\n%s\n", wanted, text);
	assert_non_null(strstr(text, wanted));
}

static void told(struct proxy *p, enum fault f, const char *method, const char *type)
{
	const struct fault_info *info = fault_info(f);
	uint64_t before = p->worker.part->tm.fault[f];
	int count = p->w.count;
	struct xchg *x;
	struct seen s;

	ask(p, &s, method, type);
	WIRE_UNTIL(&p->w, p->w.count == count + 1);
	x = exchange(p);
	attempt_abandon(x, f);
	answer_refuse(x, f);
	WIRE_UNTIL(&p->w, s.what & H2_CLOSED);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_int_equal(s.status, type ? 200 : info->status);
	says(s.head, "proxy-status: firebreak; error=", "", "");
	says(s.head, "details=\"", info->word, "\"\n");
	if (type) {
		says(s.head, "grpc-message: ", info->word, "\n");
	} else if (strcmp(method, "HEAD") != 0) {
		says(s.text, "\"reason\":\"", info->word, "\"");
		says(s.head, "content-type: application/problem+json\n", "", "");
	} else {
		assert_int_equal(s.body, 0);
	}
	says(logged(), "\"reason\":\"", info->word, "\"");
	assert_int_equal(p->worker.part->tm.fault[f] - before, 1);
}

static void one_word_everywhere(void **state)
{
	struct proxy p;
	unsigned f, n = 0;

	start(&p);
	for (f = FAULT_NONE + 1; f < FAULT_COUNT; f++) {
		if (!fault_info((enum fault)f)->status)
			continue;
		told(&p, (enum fault)f, "GET", NULL);
		told(&p, (enum fault)f, "HEAD", NULL);
		told(&p, (enum fault)f, "POST", "application/grpc");
		n++;
	}
	assert_true(n > 30);
	proxy_end(&p);
}

/* The default ladder's sends are "forward, stale, accept-later": there is no outbox yet,
 * and until there is one nobody is told that a message was accepted. */
static void nothing_is_accepted_that_is_not_kept(void **state)
{
	static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH" };
	struct proxy p;
	struct seen s;
	uint64_t before;
	size_t i, mode;
	int grpc;

	start(&p);
	before = p.worker.part->tm.exchange[0][TM_ACCEPTED][CONF_MAX_DATACENTERS];
	p.worker.live.degrade.any_datacenter = false;
	for (mode = 0; mode < p.worker.snap->conf->modes; mode++) {
		p.worker.live.degrade.mode = (uint8_t)mode;
		for (i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
			for (grpc = 0; grpc < 2; grpc++) {
				ask(&p, &s, methods[i], grpc ? "application/grpc" : NULL);
				WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
				assert_int_equal(s.status, grpc ? 200 : 503);
				assert_null(strstr(s.head, "grpc-status: 0\n"));
				says(s.head, "proxy-status: firebreak; error=", "", "");
			}
		}
	}
	assert_int_equal(p.w.count, 0);
	assert_int_equal(p.worker.part->tm.exchange[0][TM_ACCEPTED][CONF_MAX_DATACENTERS], before);
	proxy_end(&p);
}

/* Heads that wait for their answers fill the memory: what more comes is refused, however
 * small each is (P7), until there is room again. */
static void heads_fill_the_memory(void **state)
{
	static char long_value[1500];
	static struct seen s[90];
	struct h2_field f[5] = { wire_field(":method", "GET"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/"), wire_field("x-long", long_value) };
	const size_t limit = 1 << 19;
	struct proxy p;
	int i, kept = 0;

	memset(long_value, 'v', sizeof(long_value) - 1);
	f[4] = wire_field("x-long", long_value);
	start(&p);
	buf_memory_limit(limit);
	for (i = 0; i < 90; i++) {
		proxy_ask(&p, &s[i], f, 5, true);
		wire_turn(&p.w, 3);
		assert_true(arena_memory() + buf_memory() < limit);
	}
	for (i = 0; i < 90; i++) {
		kept += !s[i].status;
		assert_true(!s[i].status || (s[i].status == 503 && strstr(s[i].head, "details=\"no-memory\"")));
	}
	assert_true(kept > 20 && kept < 90);
	p.w.silent = false;
	for (i = 0; i < 90; i++) {
		if (s[i].stream)
			h2_reset(s[i].stream, H2_ERR_CANCEL, FAULT_CLIENT_RESET);
	}
	WIRE_UNTIL(&p.w, !p.worker.exchanges);
	proxy_ask(&p, &s[0], f, 5, true);
	WIRE_UNTIL(&p.w, s[0].what & H2_CLOSED);
	assert_int_equal(s[0].status, 200);
	buf_memory_limit(0);
	proxy_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(one_word_everywhere), cmocka_unit_test(nothing_is_accepted_that_is_not_kept),
		cmocka_unit_test(heads_fill_the_memory) };
	int failed;

	snprintf(log_path, sizeof(log_path), "/tmp/firebreak-refuse-%d.log", (int)getpid());
	log_open(LOG_ACCESS, log_path);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(log_path);
	return failed;
}
