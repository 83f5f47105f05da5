/* SPDX-License-Identifier: MIT */
/* Addresses, blocks of them, and the PROXY protocol, as tables. */
#include "net_test.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static void addresses(void **state)
{
	static const struct {
		const char *text, *printed, *host; /* printed NULL: refused */
	} table[] = {
		{ "1.2.3.4:80", "1.2.3.4:80", "1.2.3.4" },
		{ "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0" },
		{ "127.0.0.1:65535", "127.0.0.1:65535", "127.0.0.1" },
		{ "[::1]:443", "[::1]:443", "::1" },
		{ "[2001:db8::00ff]:8443", "[2001:db8::ff]:8443", "2001:db8::ff" },
		{ "[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1" },
		{ "unix:/run/x.sock", "unix:", "unix:" },
		{ "1.2.3.4:65536", NULL, NULL },
		{ "1.2.3.4:", NULL, NULL },
		{ "1.2.3.4:-1", NULL, NULL },
		{ "1.2.3.4: 1", NULL, NULL },
		{ "1.2.3.4:000001", NULL, NULL },
		{ "1.2.3.4", NULL, NULL },
		{ "1.2.3:80", NULL, NULL },
		{ "1.2.3.256:80", NULL, NULL },
		{ "::1:80", NULL, NULL },
		{ "[::1:80", NULL, NULL },
		{ "[]:80", NULL, NULL },
		{ "[:80", NULL, NULL },
		{ "[1.2.3.4]:80", NULL, NULL },
		{ "localhost:80", NULL, NULL },
		{ ":80", NULL, NULL },
		{ "", NULL, NULL },
		{ "unix:", NULL, NULL },
	};
	struct net_addr a;
	char text[128];
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (net_addr_parse(&a, table[i].text) != (table[i].printed != NULL))
			fail_msg("%s", table[i].text);
		if (!table[i].printed)
			continue;
		net_addr_print(&a, false, text, sizeof(text));
		assert_string_equal(text, table[i].printed);
		net_addr_print(&a, true, text, sizeof(text));
		assert_string_equal(text, table[i].host);
	}
	memset(text, 'a', sizeof(text));
	memcpy(text, "unix:/", 6);
	text[127] = 0;
	assert_false(net_addr_parse(&a, text)); /* longer than sun_path */
	memset(&a, 0, sizeof(a));
	net_addr_print(&a, true, text, sizeof(text));
	assert_string_equal(text, "unknown");
}

static void blocks(void **state)
{
	static const struct {
		const char *cidr, *address;
		bool match;
	} table[] = {
		{ "10.0.0.0/8", "10.255.0.1:1", true },
		{ "10.0.0.0/8", "11.0.0.1:1", false },
		{ "192.168.4.0/22", "192.168.7.255:1", true },
		{ "192.168.4.0/22", "192.168.8.0:1", false },
		{ "192.168.4.9", "192.168.4.9:1", true },
		{ "192.168.4.9/32", "192.168.4.8:1", false },
		{ "0.0.0.0/0", "8.8.8.8:1", true },
		{ "0.0.0.0/0", "[::1]:1", false },
		{ "10.0.0.0/8", "[::ffff:10.1.2.3]:1", true },
		{ "10.0.0.0/8", "[::ffff:11.1.2.3]:1", false },
		{ "10.0.0.0/8", "unix:/x", false },
		{ "::/0", "[2001:db8::1]:1", true },
		{ "::/0", "1.2.3.4:1", false },
		{ "2001:db8::/33", "[2001:db8:7fff::1]:1", true },
		{ "2001:db8::/33", "[2001:db8:8000::1]:1", false },
		{ "::1/128", "[::1]:1", true },
		{ "::1", "[::2]:1", false },
		{ "::ffff:0:0/96", "[::ffff:1.2.3.4]:1", true },
	};
	static const char *const bad[] = { "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/ 8", "10.0.0/8", "::/129", "x", "", "/8" };
	struct net_addr a;
	struct net_cidr c;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		assert_true(net_cidr_parse(&c, table[i].cidr));
		assert_true(net_addr_parse(&a, table[i].address));
		if (net_cidr_match(&c, &a) != table[i].match)
			fail_msg("%s %s", table[i].cidr, table[i].address);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (net_cidr_parse(&c, bad[i]))
			fail_msg("%s", bad[i]);
	}
	memset(&a, 0, sizeof(a));
	assert_false(net_cidr_match(&c, &a));
}

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\x00\x02\x07\x0a\x00\x00\x01\xd4\x31\x01\xbb"
#define V6 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01" "\x00\x50\x01\xbb"

static void proxy_headers(void **state)
{
#define ROW(bytes, used, peer) { bytes, sizeof(bytes) - 1, used, peer }
	static const struct {
		const char *bytes;
		size_t len;
		int used;
		const char *peer;
	} table[] = {
		ROW(SIG "\x21\x11\x00\x0c" V4, 28, "192.0.2.7:54321"),
		ROW(SIG "\x21\x11\x00\x0c" V4 "PRI * HTTP/2.0", 28, "192.0.2.7:54321"),
		ROW(SIG "\x21\x11\x00\x11" V4 "\x04\x00\x02xx", 33, "192.0.2.7:54321"), /* a TLV */
		ROW(SIG "\x21\x21\x00\x24" V6, 52, "[2001:db8::9]:80"),
		ROW(SIG "\x20\x00\x00\x00", 16, "9.9.9.9:9"),                          /* LOCAL */
		ROW(SIG "\x20\x11\x00\x0c" V4, 28, "9.9.9.9:9"),                       /* LOCAL: addresses ignored */
		ROW(SIG "\x21\x00\x00\x00", 16, "9.9.9.9:9"),                          /* unspecified */
		ROW(SIG "\x21\x11\x00\x0b" V4, -1, "9.9.9.9:9"),                       /* too short for IPv4 */
		ROW(SIG "\x21\x21\x00\x0c" V4, -1, "9.9.9.9:9"),                       /* too short for IPv6 */
		ROW(SIG "\x21\x12\x00\x0c" V4, -1, "9.9.9.9:9"),                       /* UDP */
		ROW(SIG "\x22\x11\x00\x0c" V4, -1, "9.9.9.9:9"),                       /* no such command */
		ROW(SIG "\x11\x11\x00\x0c" V4, -1, "9.9.9.9:9"),                       /* version 1 */
		ROW(SIG "\x21\x11\xff\xff" V4, -1, "9.9.9.9:9"),                       /* too long */
		ROW("PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n", -1, "9.9.9.9:9"),
		ROW("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", -1, "9.9.9.9:9"),
		ROW("\r\n\r\nx", -1, "9.9.9.9:9"),
		ROW("", 0, "9.9.9.9:9"),
	};
	struct net_addr peer;
	char text[64];
	size_t i, cut;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		assert_true(net_addr_parse(&peer, "9.9.9.9:9"));
		if (net_proxy_v2((const uint8_t *)table[i].bytes, table[i].len, &peer) != table[i].used)
			fail_msg("row %zu", i);
		net_addr_print(&peer, false, text, sizeof(text));
		assert_string_equal(text, table[i].peer);
		/* Every beginning of a good header asks for more. */
		for (cut = 0; table[i].used > 0 && cut < (size_t)table[i].used; cut++) {
			if (net_proxy_v2((const uint8_t *)table[i].bytes, cut, &peer) != 0)
				fail_msg("row %zu cut at %zu", i, cut);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(blocks),
		cmocka_unit_test(proxy_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
