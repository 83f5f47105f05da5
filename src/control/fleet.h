/* SPDX-License-Identifier: MIT */
/*
 * The fleet: nodes tell each other through Redis how they see the datacenters, about once a
 * second and at once when it changes. One hash, fb:1:fleet; its fields are processes, its
 * values their words (peers.h). Nodes with a cache.secret_file sign their words by it, and meet
 * in a hash named after it: who has another secret, or none, is another fleet.
 *
 * What others say is evidence of one thing only: whether a loss is the datacenter's or ours.
 *   - We see a datacenter lost, most of two or more fresh peers see it up: it is `suspect`, why
 *     `dissent` (dc_machine). When that has lasted FLEET_DISSENT, lesser tiers are no longer sent
 *     to another datacenter, which has no room planned for them, /readyz says 503 so that clients
 *     go to nodes that reach it, and core still fails over; unless half of the others are in
 *     dissent, too: then clients would find nobody.
 *   - We see it up and a peer sees it down: our checks are hurried. It stays up while they pass;
 *     our users are served, and nobody who writes into Redis can turn traffic away.
 *   - With one other node, or none, or no Redis, a node decides alone.
 *
 * A node that starts has heard nobody yet: for FLEET_LISTEN a datacenter lost to it is `suspect`
 * (why: `unheard`), and a dissent of the process before it stands. Requests fail over meanwhile;
 * only the verdict waits.
 *
 * Nothing here blocks; without Redis what was heard is over after four seconds. A hash with more
 * in it than a fleet, with values too large to be read, or that is none, is dropped whole: whoever
 * lives writes again within a second.
 */
#ifndef CONTROL_FLEET_H
#define CONTROL_FLEET_H

#include "firebreak/net.h"
#include "peers.h"

#define FLEET_DISSENT (3 * CLOCK_SEC) /* the others have heard of it as well by then, if it is lost */

#define FLEET_LISTEN  (2 * CLOCK_SEC) /* two words of every other node */

struct fleet;

/* NULL: out of memory. Without conf->redis, or with a secret that cannot be read (logged), it is there and says nothing. */
struct fleet *fleet_create(struct net_loop *loop, const struct conf *conf);
void fleet_destroy(struct fleet *f);
/* New configuration; nothing of it is kept. */
void fleet_configure(struct fleet *f, const struct conf *conf);
/* How this node sees the datacenters of its configuration, by itself alone. */
void fleet_say(struct fleet *f, const uint8_t verdict[CONF_MAX_DATACENTERS], bool dissent);
/* End of turn: sends. */
void fleet_pump(struct fleet *f);
const struct peers *fleet_peers(const struct fleet *f);
/* It may hear others but had no time to. */
bool fleet_listening(const struct fleet *f);

#endif
