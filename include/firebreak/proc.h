/* SPDX-License-Identifier: MIT */
/*
 * What the supervisor says to its children: small messages with at most one file
 * descriptor over a SOCK_SEQPACKET pair. A child whose supervisor is gone reads
 * PROC_GONE and drains.
 */
#ifndef FIREBREAK_PROC_H
#define FIREBREAK_PROC_H

#include <stdbool.h>
#include <stdint.h>

enum proc_command {
	PROC_NONE,    /* nothing waits */
	PROC_CONFIG,  /* fd: the new configuration's bytes; number: its generation */
	PROC_REOPEN,  /* reopen logs */
	PROC_DRAIN,   /* finish what is open, then exit 0 */
	PROC_STOP,    /* exit now */
	PROC_GONE,    /* the supervisor died */
};

struct proc_message {
	enum proc_command command;
	uint64_t number;
	int fd; /* -1: none; the receiver's to close */
};

/* What ps and top show for this process. The first call says where argv lies. */
void proc_title_init(int argc, char **argv);
void proc_title(const char *role);

/* Two connected ends, close-on-exec, non-blocking. */
bool proc_pair(int fds[2]);
bool proc_send(int socket, enum proc_command command, uint64_t number, int fd);
struct proc_message proc_receive(int socket);
/* A sealed anonymous file with these bytes; and its whole content (malloc'ed, NUL
 * after the last byte). -1 / NULL on error. */
int proc_bytes_to_fd(const void *data, unsigned long len);
char *proc_bytes_from_fd(int fd, unsigned long *len);

#endif
