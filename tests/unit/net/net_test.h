/* SPDX-License-Identifier: MIT */
/* Shared by the tests of net/: a loop, certificates made on the spot, and a user of
 * a connection that writes down what happened to it. */
#ifndef NET_TEST_H
#define NET_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "firebreak/buf.h"
#include "firebreak/net.h"

struct test_end {
	struct net_conn *conn;
	struct buf got;
	int opens, eofs, drains, closes;
	enum fault fault;
	bool pause_on_bytes, close_on_bytes, close_on_open, close_on_eof, echo, discard;
	size_t received, calls;
};
extern const struct net_handler test_handler;

/* Turns until cond holds; fails after about ten seconds. */
#define TURN_UNTIL(loop, cond) \
	do { \
		int turn_ = 0; \
		while (!(cond) && turn_++ < 10000) \
			net_loop_turn(loop, 1); \
		assert_true(cond); \
	} while (0)

/* A directory for this test program, removed with its files at exit. */
const char *test_dir(void);
enum test_key { TEST_ECDSA, TEST_RSA };
/* Writes NAME.crt and NAME.key, self-signed, for this DNS name or address. */
void test_certificate(const char *name, enum test_key kind, const char *host, const char *days);
/* "<dir>/name" in one of a few static buffers. */
const char *test_path(const char *name);
/* Contexts over a certificate made before; fail the test when they cannot be made. */
struct net_tls *test_server(const char *name, const char *name2, const unsigned char key[80]);
struct net_tls *test_client(const char *ca);

#endif
