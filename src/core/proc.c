/* SPDX-License-Identifier: MIT */
#include "firebreak/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct wire {
	uint32_t command;
	uint64_t number;
};

static char *title;
static size_t title_size;

void proc_title_init(int argc, char **argv)
{
	int i;

	/* The arguments lie one after the other; ps reads what is there. */
	title = argv[0];
	for (i = 0; i < argc && argv[i] == title + title_size; i++)
		title_size += strlen(argv[i]) + 1;
}

void proc_title(const char *role)
{
	char name[16];

	snprintf(name, sizeof(name), "fb %s", role); /* the kernel keeps 15 octets */
	prctl(PR_SET_NAME, name);
	if (!title_size)
		return;
	memset(title, 0, title_size);
	snprintf(title, title_size, "firebreak: %s", role);
}

bool proc_pair(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0;
}

bool proc_send(int socket, enum proc_command command, uint64_t number, int fd)
{
	struct wire w = { .command = command, .number = number };
	struct iovec iov = { &w, sizeof(w) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(socket, &m, MSG_NOSIGNAL) == (ssize_t)sizeof(w);
}

struct proc_message proc_receive(int socket)
{
	struct proc_message out = { PROC_NONE, 0, -1 };
	struct wire w = { 0 };
	struct iovec iov = { &w, sizeof(w) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c;
	ssize_t n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);

	if (n < 0)
		return (errno == EAGAIN || errno == EINTR) ? out : (out.command = PROC_GONE, out);
	if (n != (ssize_t)sizeof(w)) {
		out.command = PROC_GONE;
		return out;
	}
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(&out.fd, CMSG_DATA(c), sizeof(out.fd));
	out.command = w.command;
	out.number = w.number;
	return out;
}

int proc_bytes_to_fd(const void *data, unsigned long len)
{
	const char *p = data;
	ssize_t n;
	int fd = memfd_create("firebreak", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -1;
	while (len) {
		n = write(fd, p, len);
		if (n <= 0) {
			close(fd);
			return -1;
		}
		p += n;
		len -= (unsigned long)n;
	}
	fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
	return fd;
}

char *proc_bytes_from_fd(int fd, unsigned long *len)
{
	struct stat st;
	char *data;
	size_t done = 0;
	ssize_t n;

	if (fstat(fd, &st) || !(data = malloc((size_t)st.st_size + 1)))
		return NULL;
	while (done < (size_t)st.st_size) {
		n = pread(fd, data + done, (size_t)st.st_size - done, (off_t)done);
		if (n <= 0) {
			free(data);
			return NULL;
		}
		done += (size_t)n;
	}
	data[done] = '\0';
	*len = done;
	return data;
}
