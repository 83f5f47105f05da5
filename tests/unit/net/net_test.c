/* SPDX-License-Identifier: MIT */
#include "net_test.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static void remove_dir(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (system(command))
		perror(dir);
}

const char *test_dir(void)
{
	if (!dir[0]) {
		strcpy(dir, "/tmp/firebreak-net-XXXXXX");
		if (!mkdtemp(dir))
			abort();
		atexit(remove_dir);
	}
	return dir;
}

const char *test_path(const char *name)
{
	static char paths[8][160];
	static unsigned next;
	char *p = paths[next++ % 8];

	snprintf(p, 160, "%s/%s", test_dir(), name);
	return p;
}

static void write_pem(const char *name, const char *suffix, X509 *certificate, EVP_PKEY *key)
{
	char file[80];
	FILE *f;

	snprintf(file, sizeof(file), "%s.%s", name, suffix);
	f = fopen(test_path(file), "w");
	assert_non_null(f);
	if (certificate)
		assert_int_equal(PEM_write_X509(f, certificate), 1);
	else
		assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
}

static void add_extension(X509 *x, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

void test_certificate(const char *name, enum test_key kind, const char *host, const char *days)
{
	EVP_PKEY *key = kind == TEST_RSA ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	X509 *x = X509_new();
	char alt[160];

	assert_non_null(key);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -86400);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400L * atoi(days) - 60);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	snprintf(alt, sizeof(alt), "%s:%s", strspn(host, "0123456789.:") == strlen(host) ? "IP" : "DNS", host);
	add_extension(x, NID_subject_alt_name, alt);
	add_extension(x, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	write_pem(name, "crt", x, NULL);
	write_pem(name, "key", NULL, key);
	X509_free(x);
	EVP_PKEY_free(key);
}

struct net_tls *test_server(const char *name, const char *name2, const unsigned char key[80])
{
	struct conf_tls_server conf = { 0 };
	char files[4][160], why[256] = "";
	struct net_tls *t;

	snprintf(files[0], 160, "%s/%s.crt", test_dir(), name);
	snprintf(files[1], 160, "%s/%s.key", test_dir(), name);
	conf.certificate = files[0];
	conf.key = files[1];
	if (name2) {
		snprintf(files[2], 160, "%s/%s.crt", test_dir(), name2);
		snprintf(files[3], 160, "%s/%s.key", test_dir(), name2);
		conf.certificate2 = files[2];
		conf.key2 = files[3];
	}
	t = net_tls_server(&conf, key, why);
	if (!t)
		fail_msg("%s", why);
	return t;
}

struct net_tls *test_client(const char *ca)
{
	char file[160], why[256] = "";
	struct net_tls *t;

	snprintf(file, sizeof(file), "%s/%s.crt", test_dir(), ca ? ca : "");
	t = net_tls_client(ca ? file : NULL, ca != NULL, true, why);
	if (!t)
		fail_msg("%s", why);
	return t;
}

static void on_open(void *user)
{
	struct test_end *e = user;

	assert_int_equal(e->closes, 0);
	e->opens++;
	if (e->close_on_open)
		net_close(e->conn, FAULT_INTERNAL);
}

static void on_bytes(void *user, const uint8_t *data, size_t len)
{
	struct test_end *e = user;

	assert_int_equal(e->opens, 1);
	assert_int_equal(e->closes, 0);
	e->received += len;
	e->calls++;
	if (!e->discard)
		assert_true(buf_append(&e->got, data, len));
	if (e->echo) {
		assert_true(net_write(e->conn, data, len));
		net_flush(e->conn);
	}
	if (e->pause_on_bytes)
		net_read_pause(e->conn, true);
	if (e->close_on_bytes)
		net_close(e->conn, FAULT_INTERNAL);
}

static void on_eof(void *user)
{
	struct test_end *e = user;

	e->eofs++;
	if (e->close_on_eof)
		net_close(e->conn, FAULT_CLIENT_GONE);
}

static void on_drained(void *user)
{
	struct test_end *e = user;

	e->drains++;
}

static void on_closed(void *user, enum fault fault)
{
	struct test_end *e = user;

	e->closes++;
	e->fault = fault;
	e->conn = NULL;
}

const struct net_handler test_handler = { on_open, on_bytes, on_eof, on_drained, on_closed };
