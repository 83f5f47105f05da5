/* SPDX-License-Identifier: MIT */
/*
 * Endpoints in the test's own process, on real loopback sockets and the same loop:
 * one that answers, one that keeps streams waiting, one that stops reading like a
 * stopped process, one that talks nonsense.
 */
#ifndef DC_PEER_H
#define DC_PEER_H

#include "dc_test.h"
#include "firebreak/board.h"
#include "firebreak/h2.h"
#include "firebreak/net.h"

#define PEER_SESSIONS 64
#define PEER_STREAMS  256

enum peer_mode { PEER_ANSWER, PEER_HOLD, PEER_GARBAGE };

struct peer {
	struct net_loop *loop;
	int fd;
	char address[64];
	enum peer_mode mode;
	int status;
	bool frozen;
	struct net_listener *listener;
	struct h2_context ctx;
	struct conf_limits limits;
	struct { struct peer *peer; struct h2_session *h2; } session[PEER_SESSIONS];
	struct h2_stream *held[PEER_STREAMS];
	unsigned accepted, requests, holding;
	char path[64], authority[64];
};

/* Limits generous enough for both sides. */
void test_limits(struct conf_limits *l);
void test_retry(struct conf_retry *r);

/* The loop's hook pumps every peer and whatever is set here. */
extern struct net_loop *test_loop;
extern void (*test_pump)(void);
int test_loop_begin(void **state);
int test_loop_end(void **state);
/* Turns until *something holds; fails the test after five seconds. */
#define WAIT_FOR(cond) \
	do { \
		int64_t end_ = clock_tick() + 5 * CLOCK_SEC; \
		while (!(cond)) { \
			if (clock_now() > end_) \
				fail_msg("waited in vain: %s", #cond); \
			net_loop_turn(test_loop, 5); \
		} \
	} while (0)
/* Turns for this long; for what must not happen. */
void test_turns(int64_t ns);

void peer_begin(struct peer *p);
void peer_end(struct peer *p);
/* Stops reading and accepting, as SIGSTOP does; the kernel goes on accepting. */
void peer_freeze(struct peer *p);
void peer_thaw(struct peer *p);
/* Cuts every connection and refuses new ones (the port is kept), as SIGKILL does. */
void peer_kill(struct peer *p);
/* Back on the same port. */
void peer_revive(struct peer *p);
/* Answers what is held. */
void peer_answer_held(struct peer *p);
unsigned peer_sessions(const struct peer *p);

#endif
