/* SPDX-License-Identifier: MIT */
/*
 * The hosts file (hosts(5)): "address name name ... # comment". Read when it is asked: it
 * is small, in memory anyway, and may have changed.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "net_private.h"

static bool address_of(struct net_addr *a, const char *text)
{
	struct sockaddr_in *v4 = (void *)&a->sa;
	struct sockaddr_in6 *v6 = (void *)&a->sa;

	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		a->len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		a->len = sizeof(*v6);
	}
	return a->len > 0;
}

/* Does this line give `name`? Its address goes to *a. */
static bool line_gives(char *line, const char *name, struct net_addr *a)
{
	char *word, *rest;
	bool found = false;

	line[strcspn(line, "#\r\n")] = '\0';
	word = strtok_r(line, " \t", &rest);
	if (!word || !address_of(a, word))
		return false;
	while (!found && (word = strtok_r(NULL, " \t", &rest)))
		found = !strcasecmp(word, name);
	return found;
}

size_t hosts_find(const char *path, const char *name, struct net_addr *addrs, size_t most)
{
	char line[1024];
	FILE *f = fopen(path, "re");
	size_t n = 0;

	while (f && n < most && fgets(line, sizeof(line), f))
		n += line_gives(line, name, &addrs[n]);
	if (f)
		fclose(f);
	if (!n && !strcasecmp(name, "localhost")) /* RFC 6761 6.3: nobody else is to be asked */
		n = address_of(&addrs[0], "127.0.0.1");
	return n;
}
