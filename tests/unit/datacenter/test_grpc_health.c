/* SPDX-License-Identifier: MIT */
/* What is asked of grpc.health.v1, octet by octet, and what its answers mean. */
#include "../../../src/datacenter/grpc_health.h"

#include "dc_test.h"

static void request(void **state)
{
	static const uint8_t named[] = { 0, 0, 0, 0, 6, 0x0a, 4, 'c', 'h', 'a', 't' };
	uint8_t out[GRPC_HEALTH_REQUEST];
	char name[300];
	size_t n;

	assert_int_equal(grpc_health_request(out, NULL), 5);
	assert_memory_equal(out, "\0\0\0\0\0", 5);
	assert_int_equal(grpc_health_request(out, ""), 5);
	assert_int_equal(grpc_health_request(out, "chat"), sizeof(named));
	assert_memory_equal(out, named, sizeof(named));
	memset(name, 'n', sizeof(name));
	name[200] = 0;
	n = grpc_health_request(out, name); /* its length takes two octets */
	assert_int_equal(n, 5 + 3 + 200);
	assert_memory_equal(out, "\0\0\0\0\xcb\x0a\xc8\x01n", 9);
	name[200] = 'n';
	name[GRPC_HEALTH_SERVICE] = 0;
	n = grpc_health_request(out, name);
	assert_int_equal(n, GRPC_HEALTH_REQUEST);
	assert_memory_equal(out, "\0\0\0\1\2\x0a\xff\x01n", 9);
}

static void answers(void **state)
{
	static const struct {
		int http, status;
		size_t n;
		const char *octets;
		enum fault fault;
	} says[] = {
		{ 200, 0, 7, "\0\0\0\0\2\x08\1", FAULT_NONE },                           /* SERVING */
		{ 200, 0, 7, "\0\0\0\0\2\x08\2", FAULT_CHECK_FAILED },                   /* NOT_SERVING */
		{ 200, 0, 7, "\0\0\0\0\2\x08\3", FAULT_CHECK_FAILED },                   /* SERVICE_UNKNOWN */
		{ 200, 0, 5, "\0\0\0\0\0", FAULT_CHECK_FAILED },                         /* UNKNOWN, the default */
		{ 200, 0, 8, "\0\0\0\0\3\x08\x81\1", FAULT_CHECK_FAILED },               /* 129: not known */
		{ 200, 0, 9, "\0\0\0\0\4\x08\2\x08\1", FAULT_NONE },                     /* the last one counts */
		{ 200, 0, 25, "\0\0\0\0\x14\x12\2hi\x08\1\x19........\x25....", FAULT_NONE }, /* among fields of later versions */
		{ 200, 5, 0, "", FAULT_CHECK_UNKNOWN },                                  /* NOT_FOUND */
		{ 200, 12, 0, "", FAULT_CHECK_UNKNOWN },                                 /* UNIMPLEMENTED */
		{ 404, -1, 0, "", FAULT_CHECK_UNKNOWN },                                 /* no gRPC at all */
		{ 503, -1, 0, "", FAULT_CHECK_FAILED },
		{ 200, 14, 7, "\0\0\0\0\2\x08\1", FAULT_CHECK_FAILED },                  /* the status is the answer */
		{ 200, -1, 7, "\0\0\0\0\2\x08\1", FAULT_UPSTREAM_BAD_RESPONSE },         /* none */
		{ 200, 0, 0, "", FAULT_UPSTREAM_BAD_RESPONSE },
		{ 200, 0, 4, "\0\0\0\0", FAULT_UPSTREAM_BAD_RESPONSE },
		{ 200, 0, 7, "\1\0\0\0\2\x08\1", FAULT_UPSTREAM_BAD_RESPONSE },          /* compressed */
		{ 200, 0, 7, "\0\0\0\0\1\x08\1", FAULT_UPSTREAM_BAD_RESPONSE },          /* longer than it says */
		{ 200, 0, 7, "\0\0\0\0\3\x08\1", FAULT_UPSTREAM_BAD_RESPONSE },          /* shorter */
		{ 200, 0, 7, "\0\1\0\0\2\x08\1", FAULT_UPSTREAM_BAD_RESPONSE },          /* far shorter */
		{ 200, 0, 6, "\0\0\0\0\1\x08", FAULT_UPSTREAM_BAD_RESPONSE },            /* cut */
		{ 200, 0, 7, "\0\0\0\0\2\x08\x81", FAULT_UPSTREAM_BAD_RESPONSE },        /* cut within a number */
		{ 200, 0, 7, "\0\0\0\0\2\x12\5", FAULT_UPSTREAM_BAD_RESPONSE },          /* a text longer than there is */
		{ 200, 0, 7, "\0\0\0\0\2\x0b\1", FAULT_UPSTREAM_BAD_RESPONSE },          /* a group */
		{ 200, 0, 7, "\0\0\0\0\2\0\1", FAULT_UPSTREAM_BAD_RESPONSE },            /* field 0 */
	};
	static uint8_t large[GRPC_HEALTH_ANSWER + 1];
	size_t i;

	for (i = 0; i < sizeof(says) / sizeof(*says); i++) {
		enum fault got = grpc_health_answer(says[i].http, says[i].status, (const uint8_t *)says[i].octets, says[i].n);

		if (got != says[i].fault)
			fail_msg("line %zu: %s, not %s", i, fault_info(got)->word, fault_info(says[i].fault)->word);
	}
	large[3] = 1;
	large[4] = 252;
	assert_int_equal(grpc_health_answer(200, 0, large, sizeof(large)), FAULT_UPSTREAM_BAD_RESPONSE);
}

/* Whatever comes is one of these, and nothing beyond it is read (under the sanitizers). */
static void nonsense(void **state)
{
	uint64_t seed = 3;
	unsigned round, i, good = 0;

	for (round = 0; round < 200000; round++) {
		size_t n = 5 + cases_below(&seed, 12);
		uint8_t *octets = malloc(n);
		enum fault got;

		for (i = 0; i < n; i++)
			octets[i] = (uint8_t)(cases_below(&seed, 2) ? cases_below(&seed, 20) : cases_random(&seed));
		memcpy(octets, "\0\0\0\0", 4);
		octets[4] = (uint8_t)(n - 5);
		got = grpc_health_answer(200, 0, octets, n);
		assert_true(got == FAULT_NONE || got == FAULT_CHECK_FAILED || got == FAULT_UPSTREAM_BAD_RESPONSE);
		good += got == FAULT_NONE;
		free(octets);
	}
	assert_true(good > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(request), cmocka_unit_test(answers), cmocka_unit_test(nonsense) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
