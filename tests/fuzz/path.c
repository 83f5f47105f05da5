/* SPDX-License-Identifier: MIT */
/*
 * A request path, normalised and matched: stays in its memory, is a fixed point when
 * done twice, and no spelling gives the matcher a path of another feature than the one
 * that is forwarded.
 */
#include "firebreak/route.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct conf_route routes[] = {
	{ .method = "GET", .pattern = "/v1/rooms/{room}/messages", .feature = 0 },
	{ .pattern = "/v1/rooms/{room}/{part}", .feature = 1 },
	{ .pattern = "/v1/backup/**", .feature = 2 },
	{ .pattern = "/v1/{a}/backup/{b}", .feature = 3 },
	{ .host = "h", .pattern = "/a/{x}", .feature = 4 },
	{ .pattern = "grpc chat.Rooms/*", .feature = 5 },
};
static const struct conf conf = { .route = routes, .routes = sizeof(routes) / sizeof(*routes), .features = 7 };

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void match(const char *path, size_t len)
{
	static uint64_t memory[1024];
	static struct route_table *table;
	struct route_hit hit;
	unsigned i;

	if (!table) {
		require(route_table_size(&conf) <= sizeof(memory));
		table = route_compile(&conf, memory, sizeof(memory));
		require(table);
	}
	hit = route_match(table, "GET", 3, "h", 1, path, len);
	require(hit.feature < conf.features && hit.parts <= ROUTE_MAX_PARTS);
	require((hit.route < 0) == (hit.feature == 6));
	for (i = 0; i < hit.parts; i++) {
		require(hit.part[i].length > 0 && (size_t)hit.part[i].offset + hit.part[i].length <= len);
		require(!memchr(path + hit.part[i].offset, '/', hit.part[i].length));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *in = malloc(size + 1), *out = malloc(size + 1), *again = malloc(size + 1), *path, *plain;
	size_t len, path_len, len2, path_len2;
	bool same, same2;

	require(in && out && again);
	memcpy(in, data, size);
	if (route_normalise(in, size, out, &len, &path_len, &same) != ROUTE_PATH_BAD) {
		const char *normal = same ? in : out;

		require(len <= size && path_len <= len && (same || out[len] == '\0'));
		require(!same || len == size);
		require(route_normalise(normal, len, again, &len2, &path_len2, &same2) != ROUTE_PATH_BAD);
		require(same2 && len2 == len && path_len2 == path_len);
		path = malloc(path_len ? path_len : 1); /* of its exact size */
		require(path);
		memcpy(path, normal, path_len);
		match(path, path_len);
		if (path[0] == '/') {
			plain = malloc(path_len);
			require(plain);
			len2 = route_without_parameters(path, path_len, plain);
			require(len2 > 0 && len2 <= path_len && plain[0] == '/' && !memchr(plain, ';', len2));
			match(plain, len2);
			free(plain);
		}
		free(path);
	}
	free(in);
	free(out);
	free(again);
	return 0;
}
