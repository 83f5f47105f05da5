/* SPDX-License-Identifier: MIT */
/* Our side of TLS against OpenSSL's own client and server over a socket pair:
 * versions, suites, ALPN, certificates, tickets, and peers that misbehave. */
#include "net_test.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const unsigned char key_a[80] = "the key all workers share", key_b[80] = "another one";

/* One connection of ours, and a raw peer of OpenSSL's. */
struct rig {
	struct net_loop *loop;
	struct net_tls *tls;
	struct test_end end;
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
	int result; /* of the peer's last SSL call */
	int error;
	int reason;
};

static void rig_init(struct rig *r, struct net_tls *tls, bool server)
{
	int fds[2];

	*r = (struct rig){ .loop = net_loop_create(), .tls = tls };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	r->end.conn = net_conn_adopt(r->loop, fds[0], NULL, tls, server, &test_handler, &r->end);
	assert_non_null(r->end.conn);
	r->fd = fds[1];
	r->ctx = SSL_CTX_new(server ? TLS_client_method() : TLS_server_method());
	SSL_CTX_set_security_level(r->ctx, 0);
}

static void rig_ssl(struct rig *r)
{
	r->ssl = SSL_new(r->ctx);
	SSL_set_fd(r->ssl, r->fd);
}

static void rig_finish(struct rig *r)
{
	SSL_free(r->ssl);
	SSL_CTX_free(r->ctx);
	close(r->fd);
	if (r->end.conn)
		net_close(r->end.conn, FAULT_CLIENT_GONE);
	net_loop_turn(r->loop, 0);
	assert_int_equal(r->end.closes, 1);
	buf_clear(&r->end.got);
	net_loop_destroy(r->loop);
	net_tls_put(r->tls);
	assert_int_equal(buf_memory(), 0);
	ERR_clear_error();
}

/* Runs both sides until the peer's call is over or our side is closed and read out. */
static void rig_run(struct rig *r, int (*call)(SSL *))
{
	int i;

	for (i = 0; i < 1000; i++) {
		ERR_clear_error();
		r->result = call(r->ssl);
		r->error = r->result > 0 ? 0 : SSL_get_error(r->ssl, r->result);
		r->reason = ERR_GET_REASON(ERR_peek_error());
		if (r->error != SSL_ERROR_WANT_READ && r->error != SSL_ERROR_WANT_WRITE)
			break;
		net_loop_turn(r->loop, 1);
	}
	assert_true(i < 1000);
	net_loop_turn(r->loop, 0);
	net_loop_turn(r->loop, 0);
}

static void offer(struct rig *r, const char *protocols)
{
	if (protocols)
		SSL_CTX_set_alpn_protos(r->ctx, (const unsigned char *)protocols, (unsigned)strlen(protocols));
}

static int read_one(SSL *ssl)
{
	char c;

	return SSL_read(ssl, &c, 1);
}

static void alpn_table(void **state)
{
	static const struct {
		const char *offered;
		bool opens, h2;
	} table[] = {
		{ "\x02h2", true, true },
		{ "\x08http/1.1\x02h2", true, true },
		{ "\x02h2\x08http/1.1", true, true },
		{ NULL, true, false },
		{ "\x08http/1.1", false, false },
		{ "\x02h3", false, false },
		{ "\x03h2c", false, false },
		{ "\x03h2c\x02h1", false, false },
	};
	struct rig r;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		rig_init(&r, test_server("ecdsa", NULL, key_a), true);
		offer(&r, table[i].offered);
		rig_ssl(&r);
		rig_run(&r, SSL_connect);
		assert_int_equal(r.end.opens, table[i].opens);
		if (table[i].opens) {
			assert_int_equal(r.result, 1);
			assert_int_equal(net_conn_alpn_h2(r.end.conn), table[i].h2);
		} else {
			assert_int_equal(r.reason, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
			assert_int_equal(r.end.fault, FAULT_TLS_HANDSHAKE);
		}
		rig_finish(&r);
	}
}

static void versions_and_suites(void **state)
{
	static const struct {
		int version;
		const char *suites;
		const char *chosen; /* NULL: refused */
	} table[] = {
		{ TLS1_3_VERSION, NULL, "TLS_AES_128_GCM_SHA256" },
		{ TLS1_2_VERSION, "ALL", "ECDHE-ECDSA-AES128-GCM-SHA256" },
		{ TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384" },
		{ TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305" },
		{ TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256" },
		{ TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", NULL },
		{ TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA384", NULL },
		{ TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256", NULL },
		{ TLS1_1_VERSION, "ALL", NULL },
		{ TLS1_VERSION, "ALL", NULL },
	};
	struct rig r;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		rig_init(&r, test_server("ecdsa", NULL, key_a), true);
		SSL_CTX_set_min_proto_version(r.ctx, table[i].version);
		SSL_CTX_set_max_proto_version(r.ctx, table[i].version);
		if (table[i].suites)
			assert_int_equal(SSL_CTX_set_cipher_list(r.ctx, table[i].suites), 1);
		rig_ssl(&r);
		rig_run(&r, SSL_connect);
		assert_int_equal(r.end.opens, table[i].chosen != NULL);
		if (table[i].chosen)
			assert_string_equal(SSL_get_cipher_name(r.ssl), table[i].chosen);
		else
			assert_int_equal(r.end.fault, FAULT_TLS_HANDSHAKE);
		rig_finish(&r);
	}
}

static void both_certificates_in_one_context(void **state)
{
	static const struct {
		const char *signatures;
		int type;
	} table[] = { { "ECDSA+SHA256:RSA-PSS+SHA256", EVP_PKEY_EC }, { "RSA-PSS+SHA256:RSA+SHA256", EVP_PKEY_RSA } };
	struct rig r;
	X509 *x;
	int i;

	for (i = 0; i < 2; i++) {
		rig_init(&r, test_server("rsa", "ecdsa", key_a), true);
		assert_int_equal(SSL_CTX_set1_sigalgs_list(r.ctx, table[i].signatures), 1);
		rig_ssl(&r);
		rig_run(&r, SSL_connect);
		assert_int_equal(r.result, 1);
		x = SSL_get1_peer_certificate(r.ssl);
		assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(x)), table[i].type);
		X509_free(x);
		rig_finish(&r);
	}
}

static SSL_SESSION *kept;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION_free(kept);
	kept = session;
	return 1;
}

/* Whether a second connection, to a context with this key, resumes the first one's session. */
static bool resumes(int version, const unsigned char *second_key)
{
	struct rig r;
	bool reused = false;
	int round;

	for (round = 0; round < 2; round++) {
		rig_init(&r, test_server("ecdsa", NULL, round ? second_key : key_a), true);
		SSL_CTX_set_max_proto_version(r.ctx, version);
		SSL_CTX_set_session_cache_mode(r.ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(r.ctx, keep_session);
		offer(&r, "\x02h2");
		rig_ssl(&r);
		if (round)
			SSL_set_session(r.ssl, kept);
		rig_run(&r, SSL_connect);
		assert_int_equal(r.result, 1);
		read_one(r.ssl); /* TLS 1.3 sends tickets after the handshake */
		reused = SSL_session_reused(r.ssl);
		SSL_set_shutdown(r.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		rig_finish(&r);
		assert_non_null(kept);
	}
	SSL_SESSION_free(kept);
	kept = NULL;
	return reused;
}

static void tickets_are_good_at_every_worker(void **state)
{
	assert_true(resumes(TLS1_3_VERSION, key_a));
	assert_true(resumes(TLS1_2_VERSION, key_a));
	assert_false(resumes(TLS1_3_VERSION, key_b));
	assert_false(resumes(TLS1_2_VERSION, key_b));
}

/* What the server certificate of an upstream must satisfy. */
static void verification_table(void **state)
{
	static const struct {
		const char *certificate, *ca, *sni; /* ca NULL: not verified */
		bool opens;
	} table[] = {
		{ "ecdsa", "ecdsa", "ecdsa.test", true },
		{ "ecdsa", "ecdsa", "other.test", false },
		{ "ecdsa", "rsa", "ecdsa.test", false },
		{ "ecdsa", NULL, "other.test", true },
		{ "expired", "expired", "expired.test", false },
		{ "address", "address", "127.0.0.1", true },
		{ "address", "address", "127.0.0.2", false },
		{ "ecdsa", "ecdsa", "127.0.0.1", false },
	};
	struct net_tls *server, *client;
	struct net_loop *loop;
	struct test_end s, c;
	struct net_addr to;
	char path[80], text[120], why[256];
	int listener, fd;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		loop = net_loop_create();
		memset(&s, 0, sizeof(s));
		memset(&c, 0, sizeof(c));
		snprintf(path, sizeof(path), "%s/tls.sock", test_dir());
		snprintf(text, sizeof(text), "unix:%s", path);
		listener = net_listen_open(text, why, sizeof(why));
		assert_true(listener >= 0);
		assert_true(net_addr_parse(&to, text));
		server = test_server(table[i].certificate, NULL, key_a);
		client = test_client(table[i].ca);
		c.conn = net_conn_connect(loop, &to, client, table[i].sni, 5000, &test_handler, &c);
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		assert_true(fd >= 0);
		s.conn = net_conn_adopt(loop, fd, NULL, server, true, &test_handler, &s);
		TURN_UNTIL(loop, c.opens || c.closes);
		assert_int_equal(c.opens, table[i].opens);
		if (c.opens) {
			TURN_UNTIL(loop, s.opens);
			if (table[i].sni[0] != '1')
				assert_string_equal(net_conn_sni(s.conn), table[i].sni);
			else
				assert_null(net_conn_sni(s.conn));
			net_close(c.conn, FAULT_UPSTREAM_IDLE);
		} else {
			assert_int_equal(c.fault, FAULT_UPSTREAM_TLS);
		}
		TURN_UNTIL(loop, s.eofs || s.closes);
		if (s.conn)
			net_close(s.conn, FAULT_CLIENT_GONE);
		net_loop_turn(loop, 0);
		net_loop_destroy(loop);
		net_tls_put(server);
		net_tls_put(client);
		close(listener);
		unlink(path);
	}
}

static int pick_http1(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in, unsigned in_len, void *arg)
{
	*out = (const unsigned char *)"http/1.1";
	*len = 8;
	return SSL_TLSEXT_ERR_OK;
}

/* An upstream without h2 is of no use, whether it says nothing or something else. */
static void upstream_must_choose_h2(void **state)
{
	struct rig r;
	int i;

	for (i = 0; i < 2; i++) {
		rig_init(&r, test_client(NULL), false);
		assert_int_equal(SSL_CTX_use_certificate_file(r.ctx, test_path("ecdsa.crt"), SSL_FILETYPE_PEM), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey_file(r.ctx, test_path("ecdsa.key"), SSL_FILETYPE_PEM), 1);
		if (i)
			SSL_CTX_set_alpn_select_cb(r.ctx, pick_http1, NULL);
		rig_ssl(&r);
		rig_run(&r, SSL_accept);
		TURN_UNTIL(r.loop, r.end.closes);
		assert_int_equal(r.end.opens, 0);
		assert_int_equal(r.end.fault, FAULT_UPSTREAM_TLS);
		rig_finish(&r);
	}
}

static void covers_its_names_only(void **state)
{
	static const struct {
		const char *host;
		bool covered;
	} table[] = {
		{ "ecdsa.test", true }, { "ecdsa.test", true }, { "ECDSA.test", true }, { "ecdsa.test:8443", true },
		{ "other.test", false }, { "ecdsa.test.evil", false }, { "x.ecdsa.test", false }, { "127.0.0.1", false },
		{ "[::1]:443", false }, { "[::1", false }, { "", false }, { ":443", false }, { "ecdsa.test:", true },
	};
	struct rig r;
	size_t i;

	rig_init(&r, test_server("ecdsa", NULL, key_a), true);
	offer(&r, "\x02h2");
	rig_ssl(&r);
	rig_run(&r, SSL_connect);
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (net_conn_covers(r.end.conn, table[i].host, strlen(table[i].host)) != table[i].covered)
			fail_msg("%s", table[i].host);
	}
	assert_false(net_conn_covers(r.end.conn, "ecdsa.test\0.evil", 16));
	rig_finish(&r);
	rig_init(&r, test_server("address", NULL, key_a), true);
	rig_ssl(&r);
	rig_run(&r, SSL_connect);
	assert_true(net_conn_covers(r.end.conn, "127.0.0.1:8443", 14));
	assert_false(net_conn_covers(r.end.conn, "127.0.0.2", 9));
	rig_finish(&r);
}

static void contexts_say_what_is_wrong(void **state)
{
	static const struct {
		const char *certificate, *key, *says;
	} table[] = {
		{ "absent.crt", "ecdsa.key", "No such file" },
		{ "ecdsa.crt", "absent.key", "No such file" },
		{ "ecdsa.crt", NULL, "has no key" },
		{ "ecdsa.crt", "rsa.key", "ecdsa" },
		{ "junk", "ecdsa.key", "junk: expected PEM, with -----BEGIN CERTIFICATE-----" },
		{ "ecdsa.crt", "junk", "junk: expected PEM, with -----BEGIN PRIVATE KEY-----" },
		{ "ecdsa.crt", "ecdsa.crt", "expected PEM, with -----BEGIN PRIVATE KEY----- and no pass phrase" },
		{ "ecdsa.key", "ecdsa.key", "expected PEM, with -----BEGIN CERTIFICATE-----" },
	};
	struct conf_tls_server conf = { 0 };
	char why[256];
	FILE *f = fopen(test_path("junk"), "w");
	size_t i;

	fputs("-----BEGIN CERTIFICATE-----\nnonsense\n", f);
	fclose(f);
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		conf.certificate = test_path(table[i].certificate);
		conf.key = table[i].key ? test_path(table[i].key) : NULL;
		why[0] = 0;
		assert_null(net_tls_server(&conf, key_a, why));
		if (!strstr(why, table[i].says))
			fail_msg("row %zu: %s", i, why);
		assert_int_equal(ERR_peek_error(), 0);
	}
	assert_null(net_tls_client(test_path("absent"), true, true, why));
	assert_non_null(strstr(why, "No such file"));
	assert_null(net_tls_client(test_path("junk"), true, true, why));
	assert_null(net_tls_client(test_path("ecdsa.key"), true, true, why));
	assert_non_null(strstr(why, "expected PEM, with -----BEGIN CERTIFICATE-----"));
	net_tls_put(NULL);
}

/* Bytes that are no TLS: an alert, the named fault, nothing else. */
static void noise_is_refused(void **state)
{
#define NOISE(bytes) { bytes, sizeof(bytes) - 1 }
	static const struct {
		const char *bytes;
		size_t len;
	} noise[] = {
		NOISE("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		NOISE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		NOISE("\x16\x03\x01\xff\xff\x01\x01\x01\x01"),
		NOISE("\x17\x03\x03\x00\x05hello"),
		NOISE("\x15\x03\x03\x00\x02\x02\x28"),
		NOISE("\0\0\0\0\0\0\0\0\0\0\0\0"),
	};
	struct rig r;
	size_t i;

	for (i = 0; i < sizeof(noise) / sizeof(noise[0]); i++) {
		rig_init(&r, test_server("ecdsa", NULL, key_a), true);
		assert_true(write(r.fd, noise[i].bytes, noise[i].len) > 0);
		TURN_UNTIL(r.loop, r.end.closes);
		assert_int_equal(r.end.opens, 0);
		assert_int_equal(r.end.fault, FAULT_TLS_HANDSHAKE);
		rig_finish(&r);
	}
	rig_init(&r, test_server("ecdsa", NULL, key_a), true); /* half a hello, then gone */
	assert_int_equal(write(r.fd, "\x16\x03\x01\x01\x00\x01", 6), 6);
	assert_int_equal(shutdown(r.fd, SHUT_WR), 0);
	TURN_UNTIL(r.loop, r.end.closes);
	assert_int_equal(r.end.fault, FAULT_TLS_HANDSHAKE);
	rig_finish(&r);
}

static BIO *slow_in, *slow_out;

/* The peer's side through memory, moved over the socket one byte at a time. */
static void move_bytes(struct rig *r)
{
	char c;

	while (BIO_read(slow_out, &c, 1) == 1) {
		assert_int_equal(write(r->fd, &c, 1), 1);
		net_loop_turn(r->loop, 0);
	}
	while (read(r->fd, &c, 1) == 1)
		BIO_write(slow_in, &c, 1);
}

static void records_may_come_in_single_bytes(void **state)
{
	struct rig r;
	int i, done = 0;

	rig_init(&r, test_server("rsa", NULL, key_a), true);
	offer(&r, "\x02h2");
	r.ssl = SSL_new(r.ctx);
	slow_in = BIO_new(BIO_s_mem());
	slow_out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(slow_in, -1);
	SSL_set_bio(r.ssl, slow_in, slow_out);
	for (i = 0; i < 100 && done != 1; i++) {
		done = SSL_connect(r.ssl);
		move_bytes(&r);
	}
	assert_int_equal(done, 1);
	assert_int_equal(SSL_write(r.ssl, "slowly", 6), 6);
	move_bytes(&r);
	assert_int_equal(r.end.opens, 1);
	assert_int_equal(r.end.received, 6);
	rig_finish(&r);
}

static void ends_and_cuts(void **state)
{
	struct rig r;

	rig_init(&r, test_server("ecdsa", NULL, key_a), true); /* close_notify while the socket stays */
	rig_ssl(&r);
	rig_run(&r, SSL_connect);
	SSL_shutdown(r.ssl);
	TURN_UNTIL(r.loop, r.end.eofs);
	net_loop_turn(r.loop, 0);
	assert_int_equal(r.end.eofs, 1);
	assert_int_equal(r.end.closes, 0);
	assert_true(net_write(r.end.conn, "still", 5)); /* the other direction is open */
	net_flush(r.end.conn);
	rig_finish(&r);

	rig_init(&r, test_server("ecdsa", NULL, key_a), true); /* gone in the middle of a record */
	rig_ssl(&r);
	rig_run(&r, SSL_connect);
	assert_int_equal(write(r.fd, "\x17\x03\x03\x01\x00half", 9), 9);
	shutdown(r.fd, SHUT_WR);
	TURN_UNTIL(r.loop, r.end.eofs);
	assert_int_equal(r.end.received, 0);
	assert_int_equal(r.end.closes, 0);
	rig_finish(&r);

	rig_init(&r, test_server("ecdsa", NULL, key_a), true); /* a record that does not decrypt */
	rig_ssl(&r);
	rig_run(&r, SSL_connect);
	assert_int_equal(write(r.fd, "\x17\x03\x03\x00\x20" "0123456789abcdef0123456789abcdef", 37), 37);
	TURN_UNTIL(r.loop, r.end.closes);
	assert_int_equal(r.end.fault, FAULT_CLIENT_PROTOCOL);
	assert_int_equal(r.end.received, 0);
	rig_finish(&r);
}

static void key_updates_are_answered_but_bounded(void **state)
{
	struct rig r;
	int i;

	rig_init(&r, test_server("ecdsa", NULL, key_a), true);
	rig_ssl(&r);
	rig_run(&r, SSL_connect);
	for (i = 0; i < 5; i++) {
		assert_int_equal(SSL_key_update(r.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_write(r.ssl, "x", 1), 1);
		net_loop_turn(r.loop, 10);
		read_one(r.ssl);
	}
	TURN_UNTIL(r.loop, r.end.received == 5);
	assert_true(net_write(r.end.conn, "y", 1));
	net_flush(r.end.conn);
	rig_run(&r, read_one);
	assert_int_equal(r.result, 1);
	for (i = 0; i < 5000 && !r.end.closes; i++) {
		SSL_key_update(r.ssl, SSL_KEY_UPDATE_REQUESTED);
		SSL_write(r.ssl, "x", 1);
		net_loop_turn(r.loop, 0);
		read_one(r.ssl);
	}
	assert_int_equal(r.end.closes, 1);
	assert_int_equal(r.end.fault, FAULT_CLIENT_PROTOCOL);
	rig_finish(&r);
}

/* Octet by octet, so that no read sees the head at once. */
static void hello_ends(const unsigned char head[9], bool closes)
{
	struct rig r;
	int i;

	rig_init(&r, test_server("ecdsa", NULL, key_a), true);
	for (i = 0; i < 9 && !r.end.closes; i++) {
		assert_int_equal(write(r.fd, head + i, 1), 1);
		net_loop_turn(r.loop, 5);
	}
	if (closes) {
		TURN_UNTIL(r.loop, r.end.closes);
		assert_int_equal(r.end.fault, FAULT_TLS_HANDSHAKE);
	} else {
		assert_int_equal(r.end.closes, 0);
	}
	rig_finish(&r);
}

static void long_hellos_end_with_their_head(void **state)
{
	hello_ends((const unsigned char[9]){ 0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb }, false);
	hello_ends((const unsigned char[9]){ 0x16, 3, 1, 0x40, 0x00, 1, 0, 0x41, 0x00 }, true);
	hello_ends((const unsigned char[9]){ 0x16, 3, 1, 0x40, 0x00, 1, 1, 0x00, 0x00 }, true);
	hello_ends((const unsigned char[9]){ 0x16, 3, 1, 0x00, 0x03, 1, 0, 0x00, 0x16 }, true); /* hides it in the next record */
}

/* Those that ask for no answer are work all the same, also between useful octets. */
static void unanswered_key_updates_are_bounded(void **state)
{
	struct rig r;
	int i;

	rig_init(&r, test_server("ecdsa", NULL, key_a), true);
	rig_ssl(&r);
	rig_run(&r, SSL_connect);
	for (i = 0; i < 5000 && !r.end.closes; i++) {
		SSL_key_update(r.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
		SSL_write(r.ssl, "x", 1);
		net_loop_turn(r.loop, 0);
		if (i == 49)
			TURN_UNTIL(r.loop, r.end.received == 50);
	}
	assert_int_equal(r.end.closes, 1);
	assert_int_equal(r.end.fault, FAULT_CLIENT_PROTOCOL);
	rig_finish(&r);
}

static void renegotiation_is_refused(void **state)
{
	struct rig r;

	rig_init(&r, test_server("ecdsa", NULL, key_a), true);
	SSL_CTX_set_max_proto_version(r.ctx, TLS1_2_VERSION);
	rig_ssl(&r);
	rig_run(&r, SSL_connect);
	assert_int_equal(r.result, 1);
	SSL_renegotiate(r.ssl);
	rig_run(&r, SSL_do_handshake);
	assert_int_not_equal(r.result, 1);
	assert_int_equal(r.end.received, 0);
	rig_finish(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alpn_table),
		cmocka_unit_test(versions_and_suites),
		cmocka_unit_test(both_certificates_in_one_context),
		cmocka_unit_test(tickets_are_good_at_every_worker),
		cmocka_unit_test(verification_table),
		cmocka_unit_test(upstream_must_choose_h2),
		cmocka_unit_test(covers_its_names_only),
		cmocka_unit_test(contexts_say_what_is_wrong),
		cmocka_unit_test(noise_is_refused),
		cmocka_unit_test(records_may_come_in_single_bytes),
		cmocka_unit_test(ends_and_cuts),
		cmocka_unit_test(key_updates_are_answered_but_bounded),
		cmocka_unit_test(unanswered_key_updates_are_bounded),
		cmocka_unit_test(long_hellos_end_with_their_head),
		cmocka_unit_test(renegotiation_is_refused),
	};

	signal(SIGPIPE, SIG_IGN); /* the peers write as they please */
	test_certificate("ecdsa", TEST_ECDSA, "ecdsa.test", "30");
	test_certificate("rsa", TEST_RSA, "rsa.test", "30");
	test_certificate("address", TEST_ECDSA, "127.0.0.1", "30");
	test_certificate("expired", TEST_ECDSA, "expired.test", "0");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
