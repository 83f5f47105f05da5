/* SPDX-License-Identifier: MIT */
/*
 * A private redis-server for tests: its own folder, a Unix socket, nothing on disk
 * unless asked. Started and killed by pid; ready means it said so on its output.
 */
#ifndef TEST_REDIS_SERVER_H
#define TEST_REDIS_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct test_redis {
	pid_t pid; /* 0: not running */
	int out;
	char dir[64], socket[96], address[104]; /* address: "unix:..." */
	char cert[80], key[80];
};

/* Makes the folder; does not start anything. */
void test_redis_init(struct test_redis *t);
/* Extra arguments end with NULL. Waits for `until` on its output. */
void test_redis_start_until(struct test_redis *t, const char *until, const char *const *extra);
void test_redis_start(struct test_redis *t, const char *const *extra);
/* Starts it with TLS too, on a loopback port, with a certificate for "redis.test"
 * that is its own authority (t->cert). Returns the port. */
int test_redis_start_tls(struct test_redis *t);
void test_redis_signal(struct test_redis *t, int sig);
void test_redis_kill(struct test_redis *t);
/* Kills it and removes the folder. */
void test_redis_finish(struct test_redis *t);

#endif
