/* SPDX-License-Identifier: MIT */
/*
 * OpenSSL's digests and MACs, fetched once, with one context each that is set up
 * again for every call: a process has one thread. What a forked child inherits is
 * as good as new, since every call starts from init.
 */
#include "firebreak/crypt.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static EVP_MD *sha256;
static EVP_MD_CTX *digest;
static EVP_MAC_CTX *hmac;

bool crypt_init(void)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac;

	if (hmac)
		return true;
	if (!sha256)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!digest)
		digest = EVP_MD_CTX_new();
	mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	if (!sha256 || !digest || !mac) {
		EVP_MAC_free(mac);
		return false;
	}
	hmac = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac); /* the context holds it */
	if (hmac && EVP_MAC_CTX_set_params(hmac, params) != 1) {
		EVP_MAC_CTX_free(hmac);
		hmac = NULL;
	}
	return hmac != NULL;
}

bool crypt_random(void *out, size_t len)
{
	unsigned char *p = out;
	size_t n;

	for (; len; len -= n, p += n) {
		n = len < 65536 ? len : 65536;
		if (RAND_bytes(p, (int)n) != 1)
			return false;
	}
	return true;
}

bool crypt_hmac(const void *key, size_t key_len, const void *data, size_t len, uint8_t out[32])
{
	size_t n;

	if (!crypt_init())
		return false;
	/* A NULL key would mean "the key of the last call". */
	return EVP_MAC_init(hmac, key_len ? key : (const void *)"", key_len, NULL) == 1 && EVP_MAC_update(hmac, data, len) == 1 &&
	       EVP_MAC_final(hmac, out, &n, 32) == 1 && n == 32;
}

bool crypt_sha256(const void *data, size_t len, uint8_t out[32])
{
	unsigned n;

	if (!crypt_init())
		return false;
	return EVP_DigestInit_ex2(digest, sha256, NULL) == 1 && EVP_DigestUpdate(digest, data, len) == 1 &&
	       EVP_DigestFinal_ex(digest, out, &n) == 1 && n == 32;
}

const char *crypt_key_file(const char *path, uint8_t out[32])
{
	uint8_t text[4096];
	const char *why = NULL;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (n < 0)
		why = strerror(errno);
	else if (n < 16)
		why = "shorter than 16 bytes";
	else if ((size_t)n == sizeof(text))
		why = "4096 bytes or longer";
	else if (!crypt_sha256(text, (size_t)n, out))
		why = "SHA-256 failed";
	if (fd >= 0)
		close(fd);
	return why;
}

uint64_t crypt_hash64(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

bool crypt_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
