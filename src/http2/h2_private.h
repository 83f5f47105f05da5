/* SPDX-License-Identifier: MIT */
/*
 * Inside http2/: the session, the guard in front of the codec, and who calls what.
 *
 *   session.c  connection events, the pump, deadlines, closing
 *   codec.c    nghttp2 callbacks: they only fill streams and mark them ready
 *   stream.c   what handlers submit; the data source
 *   guard.c    counts frames before the codec sees them, cuts floods off
 *   memory.c   free lists for the codec's small allocations
 */
#ifndef H2_PRIVATE_H
#define H2_PRIVATE_H

#include <nghttp2/nghttp2.h>

#include "firebreak/h2.h"

#define H2_STREAM_MAGIC  0x68327374u
#define H2_SESSION_MAGIC 0x68327373u

/* A token bucket as one number (GCRA): the time at which it would be full again. */
struct guard_bucket {
	int64_t until;
};

enum guard_kind { GUARD_RESETS, GUARD_PINGS, GUARD_SETTINGS, GUARD_EMPTY, GUARD_FRAMES, GUARD_KINDS };

struct guard {
	struct guard_bucket bucket[GUARD_KINDS];
	uint8_t header[9];    /* frame header being received */
	uint8_t have;         /* octets of it */
	uint8_t preface;      /* octets of the client preface seen, 24: done */
	uint8_t same;         /* octets of a PRIORITY's dependency that are its own stream's */
	uint32_t payload;     /* octets of the current frame still to come */
	uint32_t continuations;
	int64_t head_since;   /* a header block is being received since; 0: none */
	int32_t client_reset; /* the stream the client reset last */
	uint32_t resets, reset_ids;
	int32_t *reset_id;    /* ring of the ids we reset last, reset_ids of them, or NULL */
};

/* owned by: its context's list
 * freed by: on_closed of its connection, at the end of the turn that closed it */
struct h2_session {
	uint32_t magic;
	struct h2_context *ctx;
	struct list node;       /* on ctx->sessions */
	struct list woken_node; /* on ctx->woken */
	struct list streams, ready;
	size_t count;           /* streams */
	struct h2_stream *current; /* the one the codec spoke of last; NULL: unknown */
	struct net_conn *conn;
	nghttp2_session *ng;    /* NULL until the first byte (server) or the start (client) */
	void *owner;
	struct net_timer timer;
	struct guard guard;
	void *frame;            /* the codec's frame buffer */
	bool frame_used;        /* and whether it may hold a page */
	int32_t last_id;        /* highest stream the peer opened (server) */
	int32_t sent_id;        /* client: highest stream whose HEADERS have left the codec */
	uint32_t opened;        /* how many it opened; all up to last_id, if it left none out */
	uint32_t held;          /* header octets held by streams */
	int32_t first_window, widest; /* the peer's, before the SETTINGS that are being read: initial, of any stream */
	int64_t since;          /* connection accepted or begun */
	int64_t idle_since;     /* no streams since; 0: there are */
	int64_t heard;
	int64_t ping_sent, rtt;
	int64_t stood, stood_at; /* client: the peer's standstills so far (ns), when the last one ended */
	int64_t answered;       /* client: the last response head */
	bool open, closing, draining, goaway_received, read_paused, dispatching;
	bool settings_seen, last_goaway;
};

/* guard.c: looks at bytes before the codec does. FAULT_NONE, or why to cut off. */
enum fault guard_scan(struct h2_session *s, const uint8_t *data, size_t len);
/* HEADERS on this stream are about to be read: ids only rise (RFC 9113 5.1.1). */
void guard_open(struct h2_session *s, int32_t id);
enum fault guard_charge(struct h2_session *s, enum guard_kind kind, uint32_t cost);
/* DATA of this length left: WINDOW_UPDATEs and a PING in answer to it are legitimate.
 * held_back: more was there, but not the window for it. */
void guard_credit_data(struct h2_session *s, size_t len, bool held_back);
/* An answer has left (server), or a reset (client): what the peer says to it is paid for. */
void guard_credit_answer(struct h2_session *s);
void guard_remember_reset(struct h2_session *s, int32_t id);

/* codec.c */
bool codec_create(struct h2_session *s);
ssize_t codec_read_body(nghttp2_session *ng, int32_t id, uint8_t *out, size_t length, uint32_t *flags,
			nghttp2_data_source *source, void *user);

/* stream.c */
struct h2_stream *stream_create(struct h2_session *s, int32_t id);
void stream_ready(struct h2_stream *st, uint32_t what);
void stream_closed(struct h2_stream *st, enum fault fault);
/* Client: the peer's first SETTINGS are here. What waited for them goes, or ends. */
void stream_settled(struct h2_stream *st);

/* session.c */
void session_arm(struct h2_session *s, int64_t in_ns);
void session_dispatch(struct h2_session *s);

/* memory.c */
extern nghttp2_mem h2_memory;
void memory_trim(void);
/* The frame buffer handed out last: that of the session just made. */
void *frame_buffer_taken(void);
/* Its contents are not needed any more: gives its pages back. */
void frame_buffer_idle(void *frame);

#endif
