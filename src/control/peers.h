/* SPDX-License-Identifier: MIT */
/*
 * What the other nodes say about the datacenters, as one node sees it. Pure: texts and `now`
 * in, counts out. Whatever is in Redis may be junk, of another version, or an attacker's: it is
 * read strictly, and carries a MAC over the process it comes from and all it says, under a key
 * that the nodes share (fleet.h). Who has not the key can hold words back, or repeat the words of
 * a process that is gone; of one that lives only what is newer than the last is heard.
 *
 * A node is fresh while its sequence number was seen to grow within PEERS_FRESH by our own
 * clock; nobody's wall clock matters. The first sight of a node is no growth: what a dead one
 * left behind counts for nothing.
 */
#ifndef CONTROL_PEERS_H
#define CONTROL_PEERS_H

#include "firebreak/clock.h"
#include "firebreak/conf.h"
#include "firebreak/dc_machine.h"

#define PEERS_MAX   64               /* nodes; more are not heard */
#define PEERS_FRESH (4 * CLOCK_SEC)  /* four rounds */
#define PEERS_GONE  (60 * CLOCK_SEC) /* its word is taken away */
#define PEER_VALUE  768              /* octets of a word as text, NUL included */
#define PEER_KEY    32               /* octets; all zero: no secret is shared, and a MAC a checksum only */
#define PEER_BOOT   16               /* octets of a process' random name, hexadecimal */

enum peer_verdict { PEER_UNSURE, PEER_UP, PEER_DOWN };

/* What one process says. */
struct peer_word {
	char node[64];
	uint64_t sequence;
	bool dissent; /* it is alone with its view of some datacenter */
	unsigned datacenters;
	struct peer_view {
		char name[33];
		uint8_t verdict; /* enum peer_verdict */
	} datacenter[CONF_MAX_DATACENTERS];
};

/* "2 NODE SEQUENCE DISSENT NAME=v ... #MAC", said by process `boot`; returns its length. 0: no MAC
 * could be had. */
size_t peer_print(const struct peer_word *w, const char *boot, const uint8_t key[PEER_KEY], char out[PEER_VALUE]);
enum peer_read { PEER_GOOD, PEER_OTHER_VERSION, PEER_JUNK };
enum peer_read peer_parse(const char *text, size_t len, const char *boot, const uint8_t key[PEER_KEY], struct peer_word *w);

struct peer {
	char boot[PEER_BOOT + 1];
	struct peer_word word;
	int64_t changed; /* monotonic ns; 0: never seen to grow */
	int64_t since;   /* first sight, or the last growth */
};

/* owned by: whoever declares it; begins with zeroes. */
struct peers {
	uint8_t key[PEER_KEY];
	char self[PEER_BOOT + 1]; /* our own process */
	struct peer peer[PEERS_MAX];
	unsigned count;
	uint64_t junk; /* entries that did not validate, so far */
	bool full;     /* some node was not heard */
};

/* One entry as Redis has it. False: it is to be taken away there (junk, or of a process long
 * gone, forgotten here as well). */
bool peers_hear(struct peers *p, const char *boot, size_t boot_len, const char *value, size_t len, int64_t now);
bool peer_fresh(const struct peer *p, int64_t now);
unsigned peers_fresh(const struct peers *p, int64_t now);
/* Another living process goes by this node's name. */
bool peers_same_name(const struct peers *p, const char *node, int64_t now);

/* Fresh peers that see a datacenter up, and down, as they say. */
struct dc_peers peers_count(const struct peers *p, const char *datacenter, int64_t now);
/* The same for the machine, whose rule is up > down: `up` only when more than half of all fresh
 * peers say so, and there are two of them at least. With one other node nobody knows who is right. */
struct dc_peers peers_quorum(const struct peers *p, const char *datacenter, int64_t now);
/* Most of the others are not in dissent themselves: clients sent away find somebody. */
bool peers_may_leave(const struct peers *p, int64_t now);

#endif
