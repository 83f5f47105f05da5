/* SPDX-License-Identifier: MIT */
/*
 * PROXY protocol version 2 (haproxy proxy-protocol.txt 2.2): a fixed head of 16
 * octets, addresses by family, then TLVs, which are skipped. Version 1, the text
 * form, is malformed here.
 */
#include "firebreak/net.h"

#include <netinet/in.h>
#include <string.h>

#define HEAD 16
/* Addresses take at most 216 octets; what senders add in TLVs is a few hundred. */
#define LENGTH_MAX 4096

static const uint8_t signature[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

/* The source address. False: the block is shorter than its family needs. */
static bool take_address(uint8_t family, const uint8_t *p, size_t len, struct net_addr *peer)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&peer->sa;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&peer->sa;

	switch (family) {
	case 0x11: /* TCP over IPv4: source, destination, ports */
		if (len < 12)
			return false;
		memset(peer, 0, sizeof(*peer));
		peer->len = sizeof(*v4);
		v4->sin_family = AF_INET;
		memcpy(&v4->sin_addr, p, 4);
		memcpy(&v4->sin_port, p + 8, 2);
		return true;
	case 0x21: /* TCP over IPv6 */
		if (len < 36)
			return false;
		memset(peer, 0, sizeof(*peer));
		peer->len = sizeof(*v6);
		v6->sin6_family = AF_INET6;
		memcpy(&v6->sin6_addr, p, 16);
		memcpy(&v6->sin6_port, p + 32, 2);
		return true;
	case 0x31: /* Unix stream: nothing an address list could know */
		if (len < 216)
			return false;
		memset(peer, 0, sizeof(*peer));
		peer->sa.ss_family = AF_UNIX;
		peer->len = sizeof(sa_family_t);
		return true;
	case 0x00: /* unspecified: the receiver keeps what it has */
		return true;
	default: /* datagrams, and families nobody has defined */
		return false;
	}
}

int net_proxy_v2(const uint8_t *data, size_t len, struct net_addr *peer)
{
	size_t known = len < sizeof(signature) ? len : sizeof(signature), body;

	if (memcmp(data, signature, known))
		return -1;
	if (len < HEAD)
		return 0;
	if (data[12] != 0x20 && data[12] != 0x21) /* version 2, LOCAL or PROXY */
		return -1;
	body = (size_t)data[14] << 8 | data[15];
	if (body > LENGTH_MAX)
		return -1;
	if (len < HEAD + body)
		return 0;
	if (data[12] == 0x21 && !take_address(data[13], data + HEAD, body, peer))
		return -1;
	return (int)(HEAD + body);
}
