/* SPDX-License-Identifier: MIT */
/*
 * A wire without a network: HTTP/2 sessions over a socket pair in one loop, or a
 * session at one end and raw frames at the other.
 */
#ifndef WIRE_H
#define WIRE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "firebreak/clock.h"
#include "firebreak/h2.h"

/* What a test's handler saw on one stream. */
struct seen {
	struct h2_stream *stream; /* NULL after H2_CLOSED */
	uint32_t what;            /* all bits so far */
	int status;
	char path[256];
	size_t body;              /* octets received */
	char text[4096];          /* their beginning */
	char head[4096];          /* the final head's fields, "name: value\n" each */
	int fields, trailers;
	enum fault fault;
	uint32_t error_code;
	char hint[64];            /* the last field of an interim answer */
	bool keep;                /* do not take body: back-pressure */
	bool echo;                /* server: answer with what comes */
};

struct wire {
	struct net_loop *loop;
	struct conf_limits limits;
	struct h2_context server, client;
	struct h2_session *up, *down; /* client and server session; NULL once closed */
	enum fault up_fault, down_fault;
	int raw;                      /* the raw end, when there is one */
	struct seen served[64];       /* streams the server saw, in order */
	int count;
	int pongs, goaways;
	bool silent;                  /* server: never answer */
	bool echo, keep;
	uint8_t input[65536];         /* raw: what came back */
	size_t have;
};

/* A loop and two contexts, nothing joined yet. */
void wire_init(struct wire *w);
/* Two sessions joined. */
void wire_join(struct wire *w);
/* A server session with raw bytes at the other end (preface sent unless `bare`). */
void wire_raw_client(struct wire *w, bool bare);
/* A client session with a raw server (its SETTINGS sent). */
void wire_raw_server(struct wire *w);
void wire_end(struct wire *w);
/* Turns the loop until `done` or until nothing has happened for a while. */
void wire_turn(struct wire *w, int turns);
#define WIRE_UNTIL(w, cond) \
	do { \
		for (int turn_ = 0; turn_ < 2000 && !(cond); turn_++) \
			wire_turn(w, 1); \
		assert_true(cond); \
	} while (0)

struct seen *wire_get(struct wire *w, struct seen *s, const char *method, const char *path, bool end);
struct h2_field wire_field(const char *name, const char *value);
/* Fields from lines "name: value\n"; one named like an earlier pseudo-field takes its
 * place. `text` is cut up and stays in use. */
size_t wire_fields(struct h2_field *field, size_t n, size_t size, char *text);
/* Raw ends. */
void raw_send(struct wire *w, const void *data, size_t len);
void raw_frame(struct wire *w, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len);
/* HEADERS of a GET on "/", all from the static table or literal, no Huffman. */
void raw_request(struct wire *w, uint32_t id, bool end);
/* Finds a frame of this type in what came back; its payload and length. */
const uint8_t *raw_find(struct wire *w, uint8_t type, uint32_t *id, uint32_t *len);
bool raw_closed(struct wire *w);

#endif
