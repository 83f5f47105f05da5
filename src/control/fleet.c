/* SPDX-License-Identifier: MIT */
#include "fleet.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/board.h"
#include "firebreak/crypt.h"
#include "firebreak/log.h"
#include "firebreak/redis.h"

#define HASH       "fb:1:fleet"
#define KEY_LIVES  "60000"           /* ms: of a fleet that is gone nothing stays */
#define AT_ONCE    "256"             /* entries looked at: however many somebody has written */
#define ROUND_MS   1000
#define SOON       (100 * CLOCK_MS)  /* a change is told, but not every one of a burst */
#define SWEEP_MOST 32                /* entries taken away in one round */

/* owned by: the control process; freed by: fleet_destroy */
struct fleet {
	struct net_loop *loop;
	struct rds_client *rds; /* NULL: no Redis configured */
	struct net_timer timer;
	int64_t told;           /* monotonic ns of the last round */
	uint64_t random;
	int64_t began;          /* monotonic ns: to listen */
	char hash[sizeof(HASH) + 9]; /* the key in Redis */
	struct peer_word word;  /* our own */
	struct peers peers;     /* with our name and key */
	bool mute;              /* our key is not to be had */
	bool spoilt;            /* the hash is to be dropped */
	bool same_name, full;   /* as last logged */
};

static const char *node_of(const struct conf *c)
{
	return c->node && *c->node ? c->node : "-";
}

static bool command(struct fleet *f, int argc, const char *const *argv, rds_done done)
{
	size_t lens[3 + SWEEP_MOST];
	int i;

	for (i = 0; i < argc; i++)
		lens[i] = strlen(argv[i]);
	return rds_command(f->rds, argc, argv, lens, done, f); /* not taken: the next round is a second away */
}

/* ---- what is heard ---- */

static void take_away(struct fleet *f, const struct rds_reply *const *gone, unsigned n)
{
	const char *argv[2 + SWEEP_MOST] = { "HDEL", f->hash };
	size_t lens[2 + SWEEP_MOST] = { 4, strlen(f->hash) };
	unsigned i;

	for (i = 0; i < n; i++) { /* junk may hold any octet */
		argv[2 + i] = gone[i]->text;
		lens[2 + i] = gone[i]->len;
	}
	if (n)
		(void)rds_command(f->rds, (int)(2 + n), argv, lens, NULL, NULL);
}

static void note(struct fleet *f)
{
	bool same_name = peers_same_name(&f->peers, f->word.node, clock_now());

	if (same_name && !f->same_name)
		log_event(LOG_LEVEL_ERROR, "fleet.same_name", "node", f->word.node, "why", "another living node has this name; give each its own \"node\"", NULL);
	if (f->peers.full && !f->full)
		log_event(LOG_LEVEL_ERROR, "fleet.full", "why", "more nodes than are heard", NULL);
	f->same_name = same_name;
	f->full = f->peers.full;
}

/* More than is looked at, larger than is read, or no hash: nothing of a fleet's. */
static bool spoilt(const struct rds_reply *reply, enum fault fault)
{
	if (!reply)
		return fault == FAULT_REDIS_PROTOCOL;
	if (reply->type == RDS_ERROR)
		return reply->error == RDS_ERROR_WRONGTYPE;
	return reply->type == RDS_ARRAY && reply->elements == 2 && reply->element[0]->type == RDS_STRING && strcmp(reply->element[0]->text, "0") != 0;
}

/* [cursor, [field, value, field, value ...]] */
static void on_entries(void *user, const struct rds_reply *reply, enum fault fault)
{
	struct fleet *f = user;
	const struct rds_reply *gone[SWEEP_MOST], *list;
	unsigned n = 0;
	size_t i;

	if (spoilt(reply, fault)) {
		f->peers.junk++;
		f->spoilt = true;
	}
	if (fault != FAULT_NONE || reply->type != RDS_ARRAY || reply->elements != 2 || reply->element[1]->type != RDS_ARRAY)
		return;
	list = reply->element[1];
	for (i = 0; i + 1 < list->elements; i += 2) {
		const struct rds_reply *boot = list->element[i], *value = list->element[i + 1];

		if (boot->type == RDS_STRING && value->type == RDS_STRING && n < SWEEP_MOST &&
		    !peers_hear(&f->peers, boot->text, boot->len, value->text, value->len, clock_now()))
			gone[n++] = boot;
	}
	take_away(f, gone, n);
	note(f);
}

/* ---- what is said ---- */

static void round_of(struct fleet *f)
{
	char value[PEER_VALUE];

	f->told = clock_now();
	f->word.sequence++;
	if (f->spoilt && command(f, 2, (const char *const[]){ "UNLINK", f->hash }, NULL))
		f->spoilt = false;
	(void)command(f, 5, (const char *const[]){ "HSCAN", f->hash, "0", "COUNT", AT_ONCE }, on_entries);
	if (peer_print(&f->word, f->peers.self, f->peers.key, value))
		(void)command(f, 4, (const char *const[]){ "HSET", f->hash, f->peers.self, value }, NULL);
	(void)command(f, 3, (const char *const[]){ "PEXPIRE", f->hash, KEY_LIVES }, NULL);
}

/* Within 10 %, so that nodes do not march in step. Who listens asks more often than they speak. */
static int64_t pace(struct fleet *f)
{
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	f->random ^= f->random << 17;
	return (ROUND_MS * 9 / 10 + (int64_t)(f->random % (ROUND_MS / 5))) * CLOCK_MS / (fleet_listening(f) ? 4 : 1);
}

static void on_timer(struct net_timer *t)
{
	struct fleet *f = list_entry(t, struct fleet, timer);

	net_timer_arm(f->loop, t, clock_now() + pace(f));
	round_of(f);
}

void fleet_say(struct fleet *f, const uint8_t verdict[CONF_MAX_DATACENTERS], bool dissent)
{
	struct peer_word *w = &f->word;
	bool news = w->dissent != dissent;
	unsigned d;

	for (d = 0; d < w->datacenters; d++) {
		news |= w->datacenter[d].verdict != verdict[d];
		w->datacenter[d].verdict = verdict[d];
	}
	w->dissent = dissent;
	if (news && f->rds && f->timer.deadline > f->told + SOON)
		net_timer_arm(f->loop, &f->timer, f->told + SOON > clock_now() ? f->told + SOON : clock_now());
}

/* ---- life ---- */

void fleet_configure(struct fleet *f, const struct conf *conf)
{
	struct rds_client *old = f->rds;
	struct peer_word w = { .sequence = f->word.sequence };
	unsigned d;

	snprintf(w.node, sizeof(w.node), "%s", node_of(conf));
	for (d = 0; d < conf->datacenters; d++)
		snprintf(w.datacenter[w.datacenters++].name, sizeof(w.datacenter[0].name), "%s", conf->datacenter[d].name);
	f->word = w;
	f->rds = conf->redis.enabled && !f->mute ? rds_create(f->loop, &conf->redis, NULL) : NULL;
	rds_destroy(old);
	if (!old)
		f->began = clock_now();
	if (f->rds)
		net_timer_arm(f->loop, &f->timer, clock_now() + SOON);
	else
		net_timer_disarm(&f->timer);
}

/* The nodes' secret serves other ends, too: ours is made from it, and so is the hash's name. */
static bool take_key(struct fleet *f, const char *path)
{
	uint8_t secret[32], name[32];
	const char *why;

	memcpy(f->hash, HASH, sizeof(HASH));
	if (!path)
		return true;
	why = crypt_key_file(path, secret);
	if (!why && (!crypt_hmac(secret, sizeof(secret), HASH, strlen(HASH), f->peers.key) || !crypt_hmac(f->peers.key, PEER_KEY, HASH, strlen(HASH), name)))
		why = "HMAC failed";
	if (why)
		log_event(LOG_LEVEL_ERROR, "fleet.secret_unusable", "file", path, "why", why, NULL);
	else
		snprintf(f->hash, sizeof(f->hash), HASH ":%02x%02x%02x%02x", name[0], name[1], name[2], name[3]);
	return !why;
}

struct fleet *fleet_create(struct net_loop *loop, const struct conf *conf)
{
	struct fleet *f = calloc(1, sizeof(*f));
	uint64_t boot;

	if (!f || !crypt_random(&boot, sizeof(boot)) || !crypt_random(&f->random, sizeof(f->random))) {
		free(f);
		return NULL;
	}
	snprintf(f->peers.self, sizeof(f->peers.self), "%016" PRIx64, boot);
	f->mute = !take_key(f, conf->cache.secret_file);
	f->random |= 1;
	f->loop = loop;
	net_timer_init(&f->timer, on_timer);
	fleet_configure(f, conf);
	return f;
}

void fleet_destroy(struct fleet *f)
{
	if (!f)
		return;
	net_timer_disarm(&f->timer);
	rds_destroy(f->rds);
	free(f);
}

void fleet_pump(struct fleet *f)
{
	if (f->rds)
		rds_pump(f->rds);
}

const struct peers *fleet_peers(const struct fleet *f)
{
	return &f->peers;
}

bool fleet_listening(const struct fleet *f)
{
	return f->rds && clock_now() - f->began < FLEET_LISTEN;
}
