/* SPDX-License-Identifier: MIT */
/*
 * The one call of grpc.health.v1 that checks make: Health/Check, unary (gRPC health
 * checking protocol). Pure: octets in, octets out; two messages with one field each do
 * not need a protobuf library.
 */
#ifndef DATACENTER_GRPC_HEALTH_H
#define DATACENTER_GRPC_HEALTH_H

#include <stddef.h>
#include <stdint.h>

#include "firebreak/fault.h"

#define GRPC_HEALTH_PATH    "/grpc.health.v1.Health/Check"
#define GRPC_HEALTH_SERVICE 255 /* the longest name of a service */
#define GRPC_HEALTH_REQUEST (5 + 3 + GRPC_HEALTH_SERVICE)
#define GRPC_HEALTH_ANSWER  256 /* more octets than any answer needs */

/* The request with its prefix of five octets. `service` may be NULL or "": the server as
 * a whole. Returns its length. */
size_t grpc_health_request(uint8_t out[GRPC_HEALTH_REQUEST], const char *service);
/* What the answer says: FAULT_NONE for SERVING. `status`: of grpc-status, -1 when there
 * was none; `octets`: of the body. See docs of check.type for what each means. */
enum fault grpc_health_answer(int http_status, int status, const uint8_t *octets, size_t n);

#endif
