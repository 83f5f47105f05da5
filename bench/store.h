/* SPDX-License-Identifier: MIT */
/*
 * The simulated messenger's state: rooms, users, messages, idempotency keys, in one
 * file that every backend of a run maps (MAP_SHARED), which is how "datacenter B
 * knows what A accepted" without a protocol between them.
 *
 * Any process may be killed or stopped between any two instructions, so nothing is
 * locked. Records are allocated by moving `top` and never freed or moved; a record
 * is complete before one compare-and-swap makes it visible:
 *
 *   bucket > node > node > ...          find-or-add: rooms, users, keys, memberships
 *   room.link > message > message > 0   the room's log; `tail` is at most one behind
 *
 * Appending to the log is Michael and Scott's queue (PODC 1996) with a number: the
 * one whose CAS sets last->next has decided the order, and everyone who finds `tail`
 * behind writes the sequence number (the same for all) and moves `tail` on. A message
 * with a key is in the index before it is in the log, and everyone who finds it there
 * helps to append it; so a retry elsewhere gets the same message and number, even if
 * the first receiver died half-way.
 *
 * Not for: deleting, durability beyond the file, hostile writers of the file.
 */
#ifndef BENCH_STORE_H
#define BENCH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_NAME_MAX 128   /* room, user, key */
#define STORE_BODY_MAX 65536

struct store;
struct store_room;
struct store_user;

/* Where a message sits in its room's log. All offsets are into the file, 0: none. */
struct store_link {
	_Atomic uint64_t next, prev;
	_Atomic uint64_t seq; /* 0: not in the log yet (or the room itself) */
};

struct store_message {
	struct store_link link;
	uint64_t room, user;
	int64_t time_ms; /* wall clock of acceptance */
	char datacenter[16], endpoint[24];
	uint16_t key_len;
	uint32_t body_len;
	char data[]; /* key, then body */
};

struct store_post {
	const char *room, *user, *key; /* key NULL: none */
	size_t room_len, user_len, key_len;
	const void *body;
	size_t body_len;
	int64_t time_ms;
	const char *datacenter, *endpoint;
};

enum store_result {
	STORE_OK,
	STORE_REPLAYED, /* this user sent this key before: *out is that message */
	STORE_MISMATCH, /* same key, other room or body */
	STORE_FULL,
};

/* Maps DIR/state, creating it (sparse) with `bytes` of room when it is not there.
 * NULL with a sentence in `why`. */
struct store *store_open(const char *dir, uint64_t bytes, char *why, size_t why_size);
void store_close(struct store *s);

enum store_result store_send(struct store *s, const struct store_post *post, const struct store_message **out);

struct store_room *store_room(struct store *s, const char *name, size_t len, bool create);
struct store_user *store_user(struct store *s, const char *name, size_t len, bool create);
const char *store_room_name(const struct store_room *r, size_t *len);
const char *store_user_name(const struct store_user *u, size_t *len);
const struct store_user *store_sender(const struct store *s, const struct store_message *m);
const struct store_room *store_message_room(const struct store *s, const struct store_message *m);
/* Makes the user a member. False: full. */
bool store_join(struct store *s, struct store_room *r, struct store_user *u);
/* The user's rooms, latest joined first: begin with *cursor = 0, NULL at the end. */
struct store_room *store_rooms(const struct store *s, const struct store_user *u, uint64_t *cursor);
/* The wall clock of the user's last sign of life, ms. */
void store_user_seen(struct store_user *u, int64_t wall_ms);
int64_t store_user_last(const struct store_user *u);

/* The last sequence number of the room. */
uint64_t store_room_seq(struct store *s, struct store_room *r);
/* The last `limit` messages with seq > after, ascending. Returns how many. */
size_t store_recent(struct store *s, struct store_room *r, uint64_t after, const struct store_message **out, size_t limit);
/* Follows a room: *at 0 begins at its start (store_follow_end: at its end); returns
 * the next message or NULL. */
const struct store_message *store_follow(struct store *s, struct store_room *r, uint64_t *at);
uint64_t store_follow_end(struct store *s, struct store_room *r);

/* Grows when anything was appended; a hint (a killed sender may not have counted). */
uint64_t store_changes(const struct store *s);
uint64_t store_messages(const struct store *s);
uint64_t store_ticket(struct store *s); /* a number nobody else gets */
/* Takes n bytes of the run's budget for files beside the state. False: none left. */
bool store_budget(struct store *s, uint64_t n);

/* Tests: die (raise SIGKILL) or stop (SIGSTOP) at the n-th step from now. 0: never. */
void store_test_break(unsigned n, int signal);

#endif
