/* SPDX-License-Identifier: MIT */
/*
 * What the answers mean:
 *
 *   SERVING                                good
 *   NOT_SERVING, UNKNOWN, SERVICE_UNKNOWN  check-failed: it says so itself
 *   NOT_FOUND (5), UNIMPLEMENTED (12)      check-unknown: there is no such service, or no
 *                                          health service; nobody can say that it serves
 *   any other status                       check-failed
 *   no status, or octets that are no       upstream-bad-response
 *   answer to this
 *
 * Protobuf: a field is a varint of number << 3 | wire type, then its value. Unknown fields
 * are passed over; the last of a repeated one counts.
 */
#include "grpc_health.h"

#include <stdbool.h>
#include <string.h>

enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };
enum { GRPC_OK = 0, GRPC_NOT_FOUND = 5, GRPC_UNIMPLEMENTED = 12, SERVING = 1, SERVICE_UNKNOWN = 3 };

#define TAG(number, type) ((number) << 3 | (type))

size_t grpc_health_request(uint8_t out[GRPC_HEALTH_REQUEST], const char *service)
{
	size_t len = service ? strlen(service) : 0, n = 5, i;

	if (len > GRPC_HEALTH_SERVICE)
		len = GRPC_HEALTH_SERVICE;
	if (len) { /* the default of a string is not written */
		out[n++] = TAG(1, BYTES);
		out[n++] = (uint8_t)(len < 128 ? len : (len & 127) | 128);
		if (len >= 128)
			out[n++] = (uint8_t)(len >> 7);
		for (i = 0; i < len; i++)
			out[n++] = (uint8_t)service[i];
	}
	memset(out, 0, 5); /* not compressed; the length in four octets */
	out[3] = (uint8_t)((n - 5) >> 8);
	out[4] = (uint8_t)(n - 5);
	return n;
}

static bool varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
	unsigned shift;

	*value = 0;
	for (shift = 0; shift < 64 && *at < end; shift += 7) {
		*value |= (uint64_t)(**at & 127) << shift;
		if (!(*(*at)++ & 128))
			return true;
	}
	return false;
}

static bool pass(const uint8_t **at, const uint8_t *end, uint64_t n)
{
	if (n > (uint64_t)(end - *at))
		return false;
	*at += n;
	return true;
}

/* HealthCheckResponse.status; -1: this is none. */
static int serving_status(const uint8_t *at, const uint8_t *end)
{
	uint64_t tag, value, status = 0;
	bool well = true;

	while (well && at < end) {
		well = varint(&at, end, &tag) && tag >> 3;
		if (!well)
			break;
		switch (tag & 7) {
		case VARINT:
			well = varint(&at, end, &value);
			if (tag == TAG(1, VARINT))
				status = value;
			break;
		case FIXED64:
			well = pass(&at, end, 8);
			break;
		case BYTES:
			well = varint(&at, end, &value) && pass(&at, end, value);
			break;
		case FIXED32:
			well = pass(&at, end, 4);
			break;
		default:
			well = false;
		}
	}
	return !well ? -1 : status <= SERVICE_UNKNOWN ? (int)status : 0;
}

enum fault grpc_health_answer(int http_status, int status, const uint8_t *octets, size_t n)
{
	int serving;

	if (http_status != 200)
		return http_status == 404 ? FAULT_CHECK_UNKNOWN : FAULT_CHECK_FAILED;
	if (status == GRPC_NOT_FOUND || status == GRPC_UNIMPLEMENTED)
		return FAULT_CHECK_UNKNOWN;
	if (status > GRPC_OK)
		return FAULT_CHECK_FAILED;
	/* One message, not compressed, of the length it says. */
	if (status < 0 || n < 5 || n > GRPC_HEALTH_ANSWER || octets[0] || octets[1] || octets[2] ||
	    ((size_t)octets[3] << 8 | octets[4]) != n - 5)
		return FAULT_UPSTREAM_BAD_RESPONSE;
	serving = serving_status(octets + 5, octets + n);
	return serving < 0 ? FAULT_UPSTREAM_BAD_RESPONSE : serving == SERVING ? FAULT_NONE : FAULT_CHECK_FAILED;
}
