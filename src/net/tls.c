/* SPDX-License-Identifier: MIT */
/*
 * TLS: the contexts (who we are, whom we trust) and the engine of one connection.
 * OpenSSL never touches a socket here. Its BIO takes ciphertext from what conn.c
 * received with one recv, and puts records on the connection's output chain, which
 * leaves with one writev however many records it holds. So every OpenSSL call either
 * finishes or wants more input; output never blocks.
 *
 * TLS 1.2 and 1.3, AEAD suites with ephemeral keys only (RFC 9113 9.2.2), no
 * renegotiation (9.2.1), no early data (a replayed POST is a second message), no
 * session cache: tickets under a key all workers share.
 */
#include "net_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/crypt.h"

#define WHY 256
#define UNASKED_MAX (16 * 1024) /* octets; some 200 key updates in a connection's life */
#define HELLO_MAX   (16 * 1024) /* octets of a ClientHello */
#define MESSAGE     64          /* what reading a handshake message costs, in octets of the above */

static const unsigned char alpn_h2[] = { 2, 'h', '2' };

/* ---- the BIO ---- */

/* OpenSSL takes memory for a whole ClientHello as soon as its head says how long it is, up
 * to 128 KiB. None has to be that long: 16 KiB are enough, and the head has to be in the
 * first record (RFC 8446 4, 5.1). True: not too long as far as is known. */
static bool hello_fits(struct net_conn *c, const uint8_t *data, size_t n)
{
	uint8_t most[9] = { 255, 255, 255, 255, 255, 255, 0, HELLO_MAX >> 8, 255 }, least = 0;
	size_t i;

	for (i = 0; i < n && c->hello < sizeof(most); i++, c->hello++) {
		if (c->hello == 4 && !c->hello_high)
			least = 4;
		if (data[i] > most[c->hello] || data[i] < least)
			return false;
		least = 0;
		c->hello_high = data[i];
	}
	return true;
}

static int bio_read(BIO *bio, char *out, size_t size, size_t *done)
{
	struct net_conn *c = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!c->in_len) {
		BIO_set_retry_read(bio);
		return 0;
	}
	*done = size < c->in_len ? size : c->in_len;
	if (c->server && c->hello < 9 && !hello_fits(c, c->in, *done))
		return 0;
	memcpy(out, c->in, *done);
	c->in += *done;
	c->in_len -= *done;
	return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *done)
{
	struct net_conn *c = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!buf_append(&c->out, data, len)) {
		c->full = true;
		return 0;
	}
	*done = len;
	return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method(void)
{
	static BIO_METHOD *method;

	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "net_conn");
		if (!method)
			return NULL;
		BIO_meth_set_read_ex(method, bio_read);
		BIO_meth_set_write_ex(method, bio_write);
		BIO_meth_set_ctrl(method, bio_ctrl);
	}
	return method;
}

/* ---- contexts ---- */

static void why_openssl(char *why, const char *what, const char *file)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);

	snprintf(why, WHY, "%s%s%s: %s", what, file ? " " : "", file ? file : "", reason ? reason : "unknown error");
	ERR_clear_error();
}

/* Of a file that is no PEM, or one of something else, OpenSSL says no more than "PEM lib". */
static void why_pem(char *why, const char *what, const char *file, const char *expected)
{
	int reason = ERR_GET_REASON(ERR_peek_last_error());

	if (reason == ERR_R_PEM_LIB || reason == X509_R_NO_CERTIFICATE_OR_CRL_FOUND) {
		snprintf(why, WHY, "%s %s: expected PEM, with -----BEGIN %s", what, file, expected);
		ERR_clear_error();
	} else {
		why_openssl(why, what, file);
	}
}

/* OpenSSL reports a missing file as the last but one of its errors; ask the system. */
static bool readable(const char *file, const char *what, char *why)
{
	FILE *f = fopen(file, "re");

	if (!f) {
		snprintf(why, WHY, "%s %s: %s", what, file, strerror(errno));
		return false;
	}
	fclose(f);
	return true;
}

/* Refuses to ask a terminal for a pass phrase. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
	return 0;
}

static bool use_pair(SSL_CTX *ctx, const char *certificate, const char *key, char *why)
{
	if (!key) {
		snprintf(why, WHY, "certificate %s has no key", certificate);
		return false;
	}
	if (!readable(certificate, "certificate", why) || !readable(key, "key", why))
		return false;
	if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1) {
		why_pem(why, "certificate", certificate, "CERTIFICATE-----");
		return false;
	}
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 && ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH) {
		why_pem(why, "key", key, "PRIVATE KEY----- and no pass phrase");
		return false;
	}
	if (SSL_CTX_check_private_key(ctx) != 1) {
		snprintf(why, WHY, "key %s does not belong to certificate %s", key, certificate);
		ERR_clear_error();
		return false;
	}
	if (X509_cmp_current_time(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx))) < 0)
		log_event(LOG_LEVEL_WARN, "tls.certificate.expired", "file", certificate, NULL);
	return true;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned i;

	for (i = 0; i < in_len; i += 1u + in[i]) {
		if (in[i] == 2 && i + 2 < in_len && in[i + 1] == 'h' && in[i + 2] == '2') {
			*out = in + i + 1;
			*out_len = 2;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol, RFC 7301 3.2 */
}

/* OpenSSL tells each handshake message it is about to read. After the handshake they are
 * key updates, which need no answer, so that nothing else of ours sees them. */
static void on_info(const SSL *ssl, int where, int value)
{
	struct net_conn *c = BIO_get_data(SSL_get_rbio(ssl));

	if ((where & SSL_CB_LOOP) && c->state == CONN_OPEN)
		c->unasked += MESSAGE;
}

static struct net_tls *tls_create(bool server, char *why)
{
	/* ECDHE and AEAD only; AES-128-GCM first because it is the fastest, except
	 * for clients that put ChaCha20 first for want of AES instructions. */
	static const char suites12[] =
		"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
		"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
		"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
	static const char suites13[] = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";
	struct net_tls *t = calloc(1, sizeof(*t));

	if (!t || !bio_method() || !(t->ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()))) {
		free(t);
		snprintf(why, WHY, "out of memory");
		return NULL;
	}
	t->refs = 1;
	t->server = server;
	SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(t->ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF |
				    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_default_passwd_cb(t->ctx, no_passphrase);
	SSL_CTX_set_info_callback(t->ctx, on_info);
	if (SSL_CTX_set_cipher_list(t->ctx, suites12) != 1 || SSL_CTX_set_ciphersuites(t->ctx, suites13) != 1 ||
	    SSL_CTX_set1_groups_list(t->ctx, "X25519:P-256:P-384") != 1) {
		why_openssl(why, "cipher suites", NULL);
		net_tls_put(t);
		return NULL;
	}
	return t;
}

struct net_tls *net_tls_server(const struct conf_tls_server *conf, const unsigned char ticket_key[80], char *why)
{
	unsigned char key[80];
	struct net_tls *t = tls_create(true, why);

	if (!t)
		return NULL;
	memcpy(key, ticket_key, sizeof(key));
	SSL_CTX_set_alpn_select_cb(t->ctx, on_alpn, NULL);
	SSL_CTX_set_num_tickets(t->ctx, 1);
	if (!use_pair(t->ctx, conf->certificate, conf->key, why) ||
	    (conf->certificate2 && !use_pair(t->ctx, conf->certificate2, conf->key2, why))) {
		net_tls_put(t);
		return NULL;
	}
	if (SSL_CTX_set_tlsext_ticket_keys(t->ctx, key, sizeof(key)) != 1 ||
	    SSL_CTX_set_session_id_context(t->ctx, (const unsigned char *)"firebreak", 9) != 1) {
		why_openssl(why, "ticket key", NULL);
		net_tls_put(t);
		return NULL;
	}
	return t;
}

struct net_tls *net_tls_client(const char *ca, bool verify, bool alpn, char *why)
{
	struct net_tls *t = tls_create(false, why);

	if (!t)
		return NULL;
	t->verify = verify;
	t->alpn = alpn;
	if (alpn)
		SSL_CTX_set_alpn_protos(t->ctx, alpn_h2, sizeof(alpn_h2));
	if (!verify)
		return t;
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
	if (ca && !readable(ca, "CA file", why)) {
		net_tls_put(t);
		return NULL;
	}
	if ((ca ? SSL_CTX_load_verify_file(t->ctx, ca) : SSL_CTX_set_default_verify_paths(t->ctx)) != 1) {
		why_pem(why, "CA file", ca ? ca : "of the system", "CERTIFICATE-----");
		net_tls_put(t);
		return NULL;
	}
	return t;
}

struct net_tls *net_tls_get(struct net_tls *t)
{
	if (t)
		t->refs++;
	return t;
}

void net_tls_put(struct net_tls *t)
{
	if (!t || --t->refs)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

/* ---- one connection ---- */

static bool is_ip(const char *name)
{
	unsigned char bytes[16];

	return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* The name to send and to verify; RFC 6066 3 forbids addresses in SNI. */
static bool expect_name(SSL *ssl, const struct net_tls *tls, const char *name)
{
	if (!is_ip(name)) {
		SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		return SSL_set_tlsext_host_name(ssl, name) == 1 && (!tls->verify || SSL_set1_host(ssl, name) == 1);
	}
	return !tls->verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
}

bool tls_attach(struct net_conn *c, struct net_tls *tls, const char *name)
{
	SSL *ssl = SSL_new(tls->ctx);
	BIO *bio = ssl ? BIO_new(bio_method()) : NULL;

	if (!bio || (name && !expect_name(ssl, tls, name))) {
		BIO_free(bio);
		SSL_free(ssl);
		ERR_clear_error();
		return false;
	}
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	if (tls->server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	c->ssl = ssl;
	c->tls = net_tls_get(tls);
	return true;
}

void tls_detach(struct net_conn *c)
{
	SSL_free(c->ssl);
	net_tls_put(c->tls);
	c->ssl = NULL;
	c->tls = NULL;
}

/* Why an upstream cannot be trusted is what its operator needs to know; once a
 * second is enough. */
static void log_failure(struct net_conn *c)
{
	static int64_t last;
	long verdict = SSL_get_verify_result(c->ssl);
	const char *reason = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : ERR_reason_error_string(ERR_peek_error());
	char peer[128];

	if (c->server || (last && clock_now() - last < CLOCK_SEC))
		return;
	last = clock_now();
	net_addr_print(&c->peer, false, peer, sizeof(peer));
	log_event(LOG_LEVEL_WARN, "tls.upstream.failed", "server.address", peer, "reason", reason ? reason : "connection closed", NULL);
}

static enum tls_result failed(struct net_conn *c)
{
	log_failure(c);
	ERR_clear_error();
	c->broken = true;
	return TLS_FAILED;
}

/* SSL_get_error looks at the queue, so it has to be empty before a call; looking
 * whether it is costs a tenth of clearing it. */
static void no_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

enum tls_result tls_handshake(struct net_conn *c)
{
	int r;

	no_errors();
	r = SSL_do_handshake(c->ssl);
	if (r != 1)
		return SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ ? TLS_AGAIN : failed(c);
	if (c->tls->alpn && !net_conn_alpn_h2(c))
		return failed(c);
	return TLS_DONE;
}

size_t tls_open(struct net_conn *c, uint8_t *out, size_t size, enum tls_result *end)
{
	size_t len = 0, n, before = c->out.len;
	int r = 1;

	*end = TLS_AGAIN;
	no_errors();
	/* Asking once more than there is input would cost a buffer made and freed. */
	while (len < size && (c->in_len || SSL_pending(c->ssl)) && (r = SSL_read_ex(c->ssl, out + len, size - len, &n)) == 1)
		len += n;
	/* What OpenSSL said and read by itself: key updates, warnings. Without end, they are
	 * work and memory for nothing. */
	c->unasked += (uint32_t)(c->out.len - before);
	if (c->unasked > UNASKED_MAX) {
		*end = failed(c);
		return len;
	}
	if (r == 1)
		return len;
	switch (SSL_get_error(c->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		break;
	case SSL_ERROR_ZERO_RETURN:
		*end = TLS_DONE;
		break;
	default:
		*end = failed(c);
	}
	return len;
}

bool tls_seal(struct net_conn *c, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t n;

	if (c->broken)
		return false;
	no_errors();
	while (len) {
		if (SSL_write_ex(c->ssl, p, len, &n) != 1) {
			ERR_clear_error();
			c->broken = true; /* a record is cut: nothing may follow it */
			return false;
		}
		p += n;
		len -= n;
	}
	return true;
}

void tls_close_notify(struct net_conn *c)
{
	if (c->broken || !SSL_is_init_finished(c->ssl))
		return;
	SSL_shutdown(c->ssl);
	ERR_clear_error();
}

bool net_conn_alpn_h2(const struct net_conn *c)
{
	const unsigned char *name = NULL;
	unsigned len = 0;

	if (c->ssl)
		SSL_get0_alpn_selected(c->ssl, &name, &len);
	return len == 2 && !memcmp(name, "h2", 2);
}

const char *net_conn_tls_version(const struct net_conn *c)
{
	return c->ssl ? SSL_get_version(c->ssl) : NULL;
}

const char *net_conn_sni(const struct net_conn *c)
{
	return c->ssl ? SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
}

/* The host in "host", "host:port", "[v6]:port". */
static bool host_of(const char *text, size_t len, char out[256])
{
	const char *end = memchr(text, ':', len);

	if (len && text[0] == '[') {
		text++;
		len--;
		end = memchr(text, ']', len);
		if (!end)
			return false;
	}
	if (end && (*end == ']' || !memchr(end + 1, ':', len - (size_t)(end + 1 - text))))
		len = (size_t)(end - text);
	if (!len || len > 255 || memchr(text, 0, len))
		return false;
	memcpy(out, text, len);
	out[len] = 0;
	return true;
}

bool net_conn_covers(const struct net_conn *conn, const char *text, size_t len)
{
	struct net_conn *c = (struct net_conn *)conn; /* remembers the answer */
	static uint64_t seed;
	uint64_t hash;
	char host[256];
	X509 *certificate;
	bool covers;

	if (!c->ssl || !c->server)
		return true;
	if (!seed && !crypt_random(&seed, sizeof(seed)))
		return false;
	hash = crypt_hash64(text, len, seed);
	if (hash == c->covered)
		return true;
	certificate = SSL_get_certificate(c->ssl);
	if (!certificate || !host_of(text, len, host))
		return false;
	covers = is_ip(host) ? X509_check_ip_asc(certificate, host, 0) == 1 : X509_check_host(certificate, host, strlen(host), 0, NULL) == 1;
	ERR_clear_error();
	if (covers)
		c->covered = hash;
	return covers;
}
