/* SPDX-License-Identifier: MIT */
/*
 * Inside the cast: what cast.c (who plays; start, end), cast_play.c (what befalls them),
 * cast_child.c (processes, ports, the folder) and cast_config.c (the proxy's configuration) share.
 */
#ifndef BENCH_CAST_H
#define BENCH_CAST_H

#include <stdint.h>
#include <sys/types.h>

#include "run.h"

#define CHILD_ARGS    112
#define COMMANDS_MAX  16 /* operators' commands under way */
#define CHILDREN_MAX  (SCENARIO_ENDPOINTS + COMMANDS_MAX + 3)
#define PORTS_MAX     (2 * SCENARIO_ENDPOINTS + 4)

/* One process; also one that will be started again.
 * owned by: struct cast */
struct child {
	struct cast *c;
	char name[48];
	const char *about;           /* an operator's words */
	struct endpoint *place;      /* whose faults these are; NULL: of nobody */
	const char *arg[CHILD_ARGS]; /* NULL-terminated; arg[0] the program */
	char *arena;                 /* where its made-up arguments lie; freed with it */
	unsigned args;
	bool wants_control;
	int control;                 /* our end, -1: none */
	pid_t pid;                   /* 0: does not run */
	int pidfd;
	struct net_watch *watch;
	bool meant_to_end;           /* killed by the scenario, or a command */
	void (*ended)(struct child *ch, int status);
};

/* An endpoint of the messenger, and the faults in force on it. */
struct endpoint {
	struct child child;
	int datacenter;
	char address[32];   /* where it listens */
	char front[32];     /* where the proxy goes: the relay, or the same */
	unsigned wire;      /* port of the relay */
	bool killed, again; /* again: to be started as soon as it has ended */
	bool on[SFAULTS];
	double value[SFAULTS], jitter[SFAULTS];
};

struct cast {
	const struct scenario *s;
	char folder[96];    /* with the names of sockets in it, within the 108 octets of their addresses */
	int janitor;        /* our end of its pipe */
	pid_t janitor_pid;
	struct child relay, redis, proxy;
	struct endpoint endpoint[SCENARIO_ENDPOINTS];
	unsigned endpoints;
	struct endpoint store; /* Redis as a place of faults; its child is `redis` */
	pid_t struck[SCENARIO_EVENTS]; /* processes of the proxy that faults have hit */
	unsigned strikes;
	struct child command[COMMANDS_MAX];
	int reserved[PORTS_MAX];
	unsigned ports;
	char target[32], admin[32], token[112], ca[112], journal[112], words[160];
	char firebreak[512], ctl[512], bench[512];
	struct net_loop *loop;
	struct net_watch *relay_watch;
	void (*say)(void *user, char kind, bool bad, const char *text);
	void *user;
};

/* ---- cast.c ---- */
/* All processes, whether they run or not. */
unsigned cast_children(struct cast *c, struct child *list[CHILDREN_MAX]);

/* ---- cast_child.c ---- */
/* A new folder, and a process that removes it when we are gone. */
bool cast_folder_create(struct cast *c, char *why, size_t size);
/* A TCP port of loopback below the kernel's own range, kept for us until the cast ends:
 * whoever we start can listen there, nobody else. 0: none is free. */
uint16_t cast_port(struct cast *c);
void cast_ports_give_back(struct cast *c);
void child_init(struct child *ch, struct cast *c, const char *name);
/* Adds an argument, printf-like. */
void child_arg(struct child *ch, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool child_start(struct child *ch, char *why, size_t size);
/* Whether it has ended; reaps it. */
bool child_gone(struct child *ch, int *status);
void child_watch(struct child *ch); /* once there is a loop */
void child_close(struct child *ch); /* forgets it: descriptors, memory */
/* Waits until all have ended, after the signal; kills what has not after `ms`. */
void child_end_all(struct child **list, unsigned n, int number, int ms);
/* Runs to its end, at most ms. False: it failed. */
bool child_run(struct child *ch, int ms, char *why, size_t size);
/* The last line that it said, for people; "" none. */
void child_last_words(const struct child *ch, char *out, size_t size);

/* ---- cast_config.c ---- */
bool cast_config_write(const struct cast *c, const char *path, char *why, size_t size);

#endif
