/* SPDX-License-Identifier: MIT */
/* Numeric addresses as text and back, and blocks of them. Never resolves. */
#include "firebreak/net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* Digits only, 0..max, at most as many as max has: no sign, no blank. */
static bool parse_number(const char *text, size_t digits, unsigned max, unsigned *out)
{
	unsigned v = 0;
	size_t n = 0;

	for (; text[n]; n++) {
		if (text[n] < '0' || text[n] > '9' || n == digits)
			return false;
		v = v * 10 + (unsigned)(text[n] - '0');
	}
	*out = v;
	return n && v <= max;
}

static bool parse_unix(struct net_addr *a, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&a->sa;
	size_t len = strlen(path);

	if (!len || len >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len + 1);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return true;
}

bool net_addr_parse(struct net_addr *a, const char *text)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->sa;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a->sa;
	const char *colon = strrchr(text, ':');
	char host[64];
	size_t len;
	unsigned port;

	memset(a, 0, sizeof(*a));
	if (!strncmp(text, "unix:", 5))
		return parse_unix(a, text + 5);
	if (!colon || !parse_number(colon + 1, 5, 65535, &port))
		return false;
	len = (size_t)(colon - text);
	if (len && text[0] == '[') {
		if (len < 2 || text[len - 1] != ']')
			return false;
		text++;
		len -= 2;
		v6->sin6_family = AF_INET6;
	}
	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = 0;
	if (v6->sin6_family == AF_INET6) {
		v6->sin6_port = htons((uint16_t)port);
		a->len = sizeof(*v6);
		return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)port);
	a->len = sizeof(*v4);
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

void net_addr_print(const struct net_addr *a, bool without_port, char *out, size_t size)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->sa;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->sa;
	char host[INET6_ADDRSTRLEN] = "";

	switch (a->len ? a->sa.ss_family : AF_UNSPEC) {
	case AF_INET:
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		if (without_port)
			snprintf(out, size, "%s", host);
		else
			snprintf(out, size, "%s:%u", host, ntohs(v4->sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		if (without_port)
			snprintf(out, size, "%s", host);
		else
			snprintf(out, size, "[%s]:%u", host, ntohs(v6->sin6_port));
		break;
	case AF_UNIX:
		snprintf(out, size, "unix:");
		break;
	default:
		snprintf(out, size, "unknown");
	}
}

bool net_cidr_parse(struct net_cidr *c, const char *text)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	char host[64];
	unsigned bits, i, max;

	memset(c, 0, sizeof(*c));
	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = 0;
	if (inet_pton(AF_INET, host, c->bytes) == 1)
		c->v6 = false;
	else if (inet_pton(AF_INET6, host, c->bytes) == 1)
		c->v6 = true;
	else
		return false;
	max = bits = c->v6 ? 128 : 32;
	if (slash && !parse_number(slash + 1, 3, max, &bits))
		return false;
	c->bits = (uint8_t)bits;
	/* "10.0.0.1/8" is more likely a slip than a wish. */
	for (i = bits; i < max; i++) {
		if (c->bytes[i / 8] & 0x80 >> i % 8)
			return false;
	}
	return true;
}

bool net_cidr_match(const struct net_cidr *c, const struct net_addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const uint8_t *bytes;
	unsigned whole = c->bits / 8, rest = c->bits % 8;
	bool v6 = a->sa.ss_family == AF_INET6;

	if (!a->len || (!v6 && a->sa.ss_family != AF_INET))
		return false;
	if (v6)
		bytes = ((const struct sockaddr_in6 *)&a->sa)->sin6_addr.s6_addr;
	else
		bytes = (const uint8_t *)&((const struct sockaddr_in *)&a->sa)->sin_addr;
	if (v6 && !c->v6 && !memcmp(bytes, mapped, 12)) { /* ::ffff:10.0.0.1 */
		bytes += 12;
		v6 = false;
	}
	if (v6 != c->v6 || memcmp(bytes, c->bytes, whole))
		return false;
	return !rest || !((bytes[whole] ^ c->bytes[whole]) & (0xff00 >> rest & 0xff));
}
