/* SPDX-License-Identifier: MIT */
/*
 * Upstream connections of one worker: per endpoint a few HTTP/2 sessions shared by
 * all clients, a warm spare, PING when an answer is late, backoff after failures.
 * Says which endpoint a request got and counts the evidence on the board.
 */
#ifndef FIREBREAK_DC_POOL_H
#define FIREBREAK_DC_POOL_H

#include "board.h"
#include "dc.h"
#include "h2.h"

struct dc_pool;

/* `on_ready` receives the events of upstream streams. `live` is the worker's copy of
 * the board, read at each pick. `conf` may be replaced (dc_pool_reconfigure). */
struct dc_pool *dc_pool_create(struct net_loop *loop, const struct conf *conf, const struct board_live *live,
			       struct board_worker *part, void (*on_ready)(struct h2_stream *, uint32_t));
/* Closes everything; streams still open are released unseen, at the end of the turn. */
void dc_pool_destroy(struct dc_pool *p);
/* New configuration: endpoints matched by datacenter name and address keep their
 * sessions, the rest shut down gracefully. False: no memory, and the old one stays. */
bool dc_pool_reconfigure(struct dc_pool *p, const struct conf *conf, struct board_worker *part);

/* Picks an endpoint and opens a stream there; an endpoint without room is passed over.
 * The session may still be connecting: the stream then ends with the connect fault.
 * NULL with *why: NO_DATACENTER when nothing usable is left outside want->tried, DISSENT when
 * it is not taken elsewhere (dc_stays), else
 * why the last one could not take it (asking again at once will not help). *endpoint:
 * the one used, or tried last; -1 when none was picked. connect: the peer must allow
 * RFC 8441; while that is not known yet, the request waits for its SETTINGS, and `field`
 * has to stay. */
struct h2_stream *dc_pool_request(struct dc_pool *p, const struct dc_want *want, bool connect,
				  const struct h2_field *field, size_t n, bool end, void *user,
				  int *endpoint, enum fault *why);
/* The attempt is over, once for each stream: what it says about the endpoint; and once more, with
 * a fault and no head, when what followed a head was not well. head_ns: time to the response head,
 * 0 when none came; status: of that head, or what it comes to; feature: of the request. No fault
 * and no head (the client left) says nothing. */
void dc_pool_result(struct dc_pool *p, int endpoint, unsigned feature, enum fault fault, int64_t head_ns, unsigned status);
/* A request that called itself gRPC was answered, as such or not. gRPC servers close connections
 * over PINGs: an endpoint gets few of them after such a request, and for good once it has answered
 * one as gRPC. What a client says alone does not last. */
void dc_pool_spoke_grpc(struct dc_pool *p, int endpoint, bool grpc);
/* An attempt was given up after so long (ns) for one begun later that was answered: it was
 * slow, whatever else it was. */
void dc_pool_outrun(struct dc_pool *p, int endpoint, int64_t after_ns);
/* This request got no answer in its time. A connection on which nothing at all was
 * answered meanwhile takes no new ones: PING may pass where requests do not. */
void dc_pool_unanswered(const struct h2_stream *st);
/* It failed, or has not answered PING for so long that it may have: others come first, always. */
bool dc_pool_avoids(const struct dc_pool *p, int endpoint);
/* The datacenter dc_pool_request would choose now; -1: none. */
int dc_pool_where(struct dc_pool *p, const struct dc_want *want);
/* Every user is sent to his own datacenter (dc_plain). */
bool dc_pool_plain(struct dc_pool *p);
/* Those that have failed and answered no PING since, as bits (endpoints of the configuration in force). */
uint64_t dc_pool_failed(const struct dc_pool *p);
/* True when some untried endpoint could take a request now. */
bool dc_pool_any(const struct dc_pool *p, uint64_t tried);
/* Of an endpoint's name, as known now: after a failure the next one is connected to. */
unsigned dc_pool_addresses(const struct dc_pool *p, int endpoint);
/* End of turn: pumps sessions. */
void dc_pool_pump(struct dc_pool *p);
/* Closes all sessions gracefully (worker drain). */
void dc_pool_shutdown(struct dc_pool *p);

#endif
