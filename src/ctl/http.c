/* SPDX-License-Identifier: MIT */
#include "http.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define WHY_SIZE    256
#define ANSWER_MAX  (16u << 20)
#define TIMEOUT_S   5

static int open_socket(int family)
{
	struct timeval limit = { .tv_sec = TIMEOUT_S };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0) { /* Linux applies the send timeout to connect() too */
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	}
	return fd;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sun.sun_path, path, strlen(path));
	fd = open_socket(AF_UNIX);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sun, sizeof(sun))) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static void no_connection(char *why, const char *address, int error)
{
	snprintf(why, WHY_SIZE, "no connection to %.110s: %s%s", address, strerror(error),
		 error == ECONNREFUSED || error == ENOENT ? "; does firebreak run, and is this its admin.address?" : "");
}

/* "[::1]:99" or "host:99" into its two parts. */
static int split(const char *address, char host[256], char port[16])
{
	const char *colon = strrchr(address, ':'), *end = colon;

	if (!colon || strlen(colon + 1) >= 16 || !colon[1])
		return -1;
	if (*address == '[') {
		if (colon == address || colon[-1] != ']')
			return -1;
		address++;
		end = colon - 1;
	}
	if (end <= address || end - address >= 256)
		return -1;
	memcpy(host, address, (size_t)(end - address));
	host[end - address] = '\0';
	snprintf(port, 16, "%s", colon + 1);
	return 0;
}

static int connect_tcp(const char *address, char *why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all, *a;
	char host[256], port[16];
	int fd = -1, error;

	if (split(address, host, port) || strspn(port, "0123456789") != strlen(port) || strtoul(port, NULL, 10) > 65535) {
		snprintf(why, WHY_SIZE, "%.150s is no address; expected host:port or unix:/path", address);
		return -1;
	}
	error = getaddrinfo(host, port, &hints, &all);
	if (error) {
		snprintf(why, WHY_SIZE, "%.150s: %s", address, gai_strerror(error));
		return -1;
	}
	for (a = all; a && fd < 0; a = a->ai_next) {
		fd = open_socket(a->ai_family);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen)) {
			no_connection(why, address, errno);
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(all);
	return fd;
}

static int connect_to(const char *address, char *why)
{
	int fd;

	if (strncmp(address, "unix:", 5))
		return connect_tcp(address, why);
	fd = connect_unix(address + 5);
	if (fd < 0)
		no_connection(why, address, errno);
	return fd;
}

static int send_all(int fd, const char *p, size_t len)
{
	ssize_t n;

	while (len) {
		n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_request(int fd, const char *address, const char *token, const char *method, const char *path, const char *body)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	int error;

	if (!out)
		return -1;
	fprintf(out, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: firebreakctl/" FIREBREAK_VERSION "\r\nConnection: close\r\n", method, path,
		strncmp(address, "unix:", 5) ? address : "localhost");
	if (token)
		fprintf(out, "Authorization: Bearer %s\r\n", token);
	if (body)
		fprintf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
	fprintf(out, "\r\n%s", body ? body : "");
	error = fclose(out) ? -1 : send_all(fd, text, len);
	free(text);
	return error;
}

/* Until the server closes; NULL on a timeout, an error, or too much. */
static char *read_all(int fd, size_t *len)
{
	size_t size = 65536;
	char *text = malloc(size + 1), *more;
	ssize_t n;

	*len = 0;
	while (text && (n = recv(fd, text + *len, size - *len, 0)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		*len += (size_t)n;
		if (*len < size)
			continue;
		more = size < ANSWER_MAX ? realloc(text, size * 2 + 1) : NULL;
		if (!more) {
			n = -1;
			break;
		}
		text = more;
		size *= 2;
	}
	if (text && n < 0) {
		free(text);
		return NULL;
	}
	if (text)
		text[*len] = '\0';
	return text;
}

/* Status and body; -1 when it is not a whole answer. */
static int parse(char *text, size_t len, struct http_answer *answer)
{
	char *head_end = strstr(text, "\r\n\r\n"), *line;
	size_t body_len, said;

	if (!head_end || strncmp(text, "HTTP/1.", 7) || strlen(text) < 12)
		return -1;
	answer->status = (int)strtol(text + 9, NULL, 10);
	body_len = len - (size_t)(head_end + 4 - text);
	for (line = strstr(text, "\r\n"); line && line < head_end; line = strstr(line + 2, "\r\n")) {
		if (strncasecmp(line + 2, "Content-Length:", 15))
			continue;
		said = strtoul(line + 2 + 15, NULL, 10);
		if (said > body_len)
			return -1;
		body_len = said;
	}
	memmove(text, head_end + 4, body_len);
	text[body_len] = '\0';
	answer->body = text;
	answer->len = body_len;
	return 0;
}

int http_call(const char *address, const char *token, const char *method, const char *path, const char *body,
	      struct http_answer *answer, char *why)
{
	int fd = connect_to(address, why);
	char *text = NULL;
	size_t len;

	if (fd < 0)
		return -1;
	if (!send_request(fd, address, token, method, path, body))
		text = read_all(fd, &len);
	close(fd);
	if (!text || parse(text, len, answer)) {
		free(text);
		snprintf(why, WHY_SIZE, "%.150s did not give a whole answer within %d s", address, TIMEOUT_S);
		return -1;
	}
	return 0;
}
