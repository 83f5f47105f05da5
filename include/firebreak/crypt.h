/* SPDX-License-Identifier: MIT */
/*
 * Keyed hashes and random bytes. Algorithms are fetched once at start (a fetch per
 * call is slow in OpenSSL 3.0).
 */
#ifndef FIREBREAK_CRYPT_H
#define FIREBREAK_CRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool crypt_init(void);
bool crypt_random(void *out, size_t len);
/* HMAC-SHA-256 (RFC 2104). */
bool crypt_hmac(const void *key, size_t key_len, const void *data, size_t len, uint8_t out[32]);
bool crypt_sha256(const void *data, size_t len, uint8_t out[32]);
/* A key from a file of 16 to 4095 octets of any shape: their digest. NULL, or why not. */
const char *crypt_key_file(const char *path, uint8_t out[32]);
/* 64-bit seeded hash for tables and affinity; not for secrets. */
uint64_t crypt_hash64(const void *data, size_t len, uint64_t seed);
/* Constant-time comparison. */
bool crypt_equal(const void *a, const void *b, size_t len);

#endif
