/* SPDX-License-Identifier: MIT */
#include "guard.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "firebreak/crypt.h"

#define TOKEN_MAX 4096

/* "[::1]:99" > "::1", "name:99" > "name". False: not a host with an optional port. */
static bool split_host(const char *text, char *host, size_t size)
{
	const char *end, *rest;
	size_t n;

	if (*text == '[') {
		text++;
		end = strchr(text, ']');
		rest = end ? end + 1 : NULL;
	} else {
		end = rest = text + strcspn(text, ":");
	}
	if (!end || end == text || (size_t)(end - text) >= size)
		return false;
	if (*rest == ':')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (*rest)
		return false;
	n = (size_t)(end - text);
	memcpy(host, text, n);
	host[n] = '\0';
	return true;
}

/* A number cannot be rebound: no name was resolved to get here. */
static bool numeric(const char *host)
{
	unsigned char bytes[16];

	return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static bool loopback(const char *host)
{
	struct in_addr v4;

	if (!strcasecmp(host, "localhost") || !strcmp(host, "::1"))
		return true;
	return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

bool guard_host(const char *host, const char *address)
{
	char asked[256], ours[256];

	if (!host || !split_host(host, asked, sizeof(asked)))
		return false;
	if (loopback(asked))
		return true;
	if (!address || !split_host(address, ours, sizeof(ours)))
		return false;
	if (!strcmp(ours, "0.0.0.0") || !strcmp(ours, "::") || !strcmp(ours, "*"))
		return numeric(asked);
	return !strcasecmp(asked, ours);
}

bool guard_origin(const char *origin, const char *host)
{
	static const char scheme[] = "http://";

	if (!origin)
		return true;
	return host && !strncasecmp(origin, scheme, sizeof(scheme) - 1) && !strcasecmp(origin + sizeof(scheme) - 1, host);
}

static size_t read_token(const char *path, char *token)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = 0;
	size_t len = 0;

	if (fd < 0)
		return 0;
	while (len < TOKEN_MAX && (n = read(fd, token + len, TOKEN_MAX - len)) > 0)
		len += (size_t)n;
	close(fd);
	if (n < 0)
		return 0;
	while (len && isspace((unsigned char)token[len - 1]))
		len--;
	return len;
}

bool guard_token(const char *authorization, const char *token_file)
{
	static const char scheme[] = "Bearer ";
	char token[TOKEN_MAX];
	uint8_t want[32], got[32];
	size_t len;

	if (!authorization || strncasecmp(authorization, scheme, sizeof(scheme) - 1))
		return false;
	authorization += sizeof(scheme) - 1;
	len = read_token(token_file, token);
	if (!len)
		return false;
	/* Hashes have one length: neither content nor length shows in the time taken. */
	return crypt_sha256(token, len, want) && crypt_sha256(authorization, strlen(authorization), got) &&
	       crypt_equal(want, got, sizeof(want));
}
