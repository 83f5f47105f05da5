/* SPDX-License-Identifier: MIT */
/*
 * Active checks, in the control process: one HTTP/2 connection per endpoint, a GET on
 * the check path (or a call of grpc.health.v1) every interval with jitter; also folds the
 * workers' evidence from the board into the health machines. Names are resolved again on
 * failure and every 30 s; the last good addresses stay when DNS is gone.
 *
 * Checks against traffic: a check that is answered, and badly, is the operator's word, and
 * counts whatever requests say. One that runs out of time while the endpoint's requests are
 * answered well is a sign of load, and does not count.
 */
#ifndef FIREBREAK_DC_PROBE_H
#define FIREBREAK_DC_PROBE_H

#include "board.h"
#include "dc.h"
#include "net.h"

struct dc_probe;

/* on_change: some endpoint's state changed (called from the loop). */
struct dc_probe *dc_probe_create(struct net_loop *loop, const struct conf *conf, struct board *board,
				 void (*on_change)(void *user, unsigned endpoint, const struct dc_health *h), void *user);
void dc_probe_destroy(struct dc_probe *p);
/* Endpoint states into live->endpoint_state. */
void dc_probe_states(const struct dc_probe *p, struct dc_live *live);
const struct dc_health *dc_probe_health(const struct dc_probe *p, unsigned endpoint);
/* What requests told about each endpoint since the last call. */
void dc_probe_traffic(struct dc_probe *p, struct dc_traffic out[CONF_MAX_ENDPOINTS]);
/* Its requests were answered well when last heard of, whatever its checks say. */
bool dc_probe_works(const struct dc_probe *p, unsigned endpoint);
/* A check now, unless one is under way or was a moment ago. */
void dc_probe_hurry(struct dc_probe *p, unsigned endpoint);
/* End of turn: pumps its sessions. */
void dc_probe_pump(struct dc_probe *p);

#endif
