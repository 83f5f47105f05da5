/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "firebreak/crypt.h"

static void expect_hex(const uint8_t got[32], const char *hex)
{
	char text[65];
	int i;

	for (i = 0; i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", got[i]);
	assert_memory_equal(text, hex, strlen(hex));
}

/* RFC 4231 4.2 to 4.8 */
static void hmac_vectors(void **state)
{
	static const char big[] = "This is a test using a larger than block-size key and a larger than block-size data. "
				  "The key needs to be hashed before being used by the HMAC algorithm.";
	unsigned char ones[131], data[50], counting[25];
	uint8_t mac[32];
	int i;

	for (i = 0; i < 25; i++)
		counting[i] = (unsigned char)(i + 1);
	memset(ones, 0x0b, 20);
	assert_true(crypt_hmac(ones, 20, "Hi There", 8, mac));
	expect_hex(mac, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	assert_true(crypt_hmac("Jefe", 4, "what do ya want for nothing?", 28, mac));
	expect_hex(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(ones, 0xaa, sizeof(ones));
	memset(data, 0xdd, sizeof(data));
	assert_true(crypt_hmac(ones, 20, data, 50, mac));
	expect_hex(mac, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
	memset(data, 0xcd, sizeof(data));
	assert_true(crypt_hmac(counting, 25, data, 50, mac));
	expect_hex(mac, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
	memset(data, 0x0c, 20);
	assert_true(crypt_hmac(data, 20, "Test With Truncation", 20, mac));
	expect_hex(mac, "a3b6167473100ee06e0c796c2955552b");
	assert_true(crypt_hmac(ones, 131, "Test Using Larger Than Block-Size Key - Hash Key First", 54, mac));
	expect_hex(mac, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	assert_true(crypt_hmac(ones, 131, big, sizeof(big) - 1, mac));
	expect_hex(mac, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

/* The key of one call does not linger into the next, not even for an empty one. */
static void hmac_forgets(void **state)
{
	uint8_t a[32], b[32];

	assert_true(crypt_hmac("", 0, "", 0, a));
	expect_hex(a, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
	assert_true(crypt_hmac("key", 3, "", 0, b));
	assert_true(crypt_hmac(NULL, 0, NULL, 0, b));
	assert_memory_equal(a, b, 32);
}

/* FIPS 180-4 */
static void sha256_vectors(void **state)
{
	uint8_t out[32];

	assert_true(crypt_sha256("", 0, out));
	expect_hex(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_true(crypt_sha256("abc", 3, out));
	expect_hex(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void hashes_and_random(void **state)
{
	static uint8_t a[100000], b[100000];

	assert_true(crypt_hash64("room-1", 6, 1) == crypt_hash64("room-1", 6, 1));
	assert_true(crypt_hash64("room-1", 6, 1) != crypt_hash64("room-1", 6, 2));
	assert_true(crypt_hash64("room-1", 6, 1) != crypt_hash64("room-2", 6, 1));
	assert_true(crypt_hash64("", 0, 0) == UINT64_C(0x2d06800538d394c2)); /* XXH3's own value */
	assert_true(crypt_random(a, sizeof(a)));
	assert_true(crypt_random(b, sizeof(b)));
	assert_false(crypt_equal(a, b, sizeof(a)));
	memcpy(b, a, sizeof(a));
	assert_true(crypt_equal(a, b, sizeof(a)));
	b[sizeof(b) - 1] ^= 1;
	assert_false(crypt_equal(a, b, sizeof(a)));
	assert_true(crypt_equal(a, b, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hmac_vectors),
		cmocka_unit_test(hmac_forgets),
		cmocka_unit_test(sha256_vectors),
		cmocka_unit_test(hashes_and_random),
	};

	return crypt_init() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
