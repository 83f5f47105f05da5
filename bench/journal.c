/* SPDX-License-Identifier: MIT */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "firebreak/crypt.h"
#include "json.h"

bool journal_open(struct journal *j, const char *dir, const char *endpoint, char *why, size_t why_size)
{
	j->fd = -1;
	if (!dir)
		return true;
	snprintf(j->path, sizeof(j->path), "%s/%s.journal", dir, endpoint);
	if (!mkdir(dir, 0700) || errno == EEXIST)
		j->fd = open(j->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (j->fd < 0)
		snprintf(why, why_size, "%s: %s", j->path, strerror(errno));
	return j->fd >= 0;
}

void journal_close(struct journal *j)
{
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
}

bool journal_append(struct journal *j, const struct store *s, const struct store_message *m, const char *datacenter,
		    const char *endpoint, bool replayed, int64_t wall_ns)
{
	struct buf b = { 0 };
	char line[4096], sha[65];
	size_t room_len, user_len, n, i;
	const char *room = store_room_name(store_message_room(s, m), &room_len);
	const char *user = store_user_name(store_sender(s, m), &user_len);
	uint8_t sum[32];
	bool ok;

	if (j->fd < 0)
		return true;
	if (!crypt_sha256(m->data + m->key_len, m->body_len, sum))
		return false;
	for (i = 0; i < sizeof(sum); i++)
		snprintf(sha + 2 * i, 3, "%02x", sum[i]);
	ok = json_put(&b, "{\"time\":%.6f,\"datacenter\":\"%s\",\"endpoint\":\"%s\",\"room\":", (double)wall_ns / 1e9, datacenter,
		      endpoint) &&
	     json_text(&b, room, room_len) && json_put(&b, ",\"seq\":%llu,\"key\":", (unsigned long long)m->link.seq) &&
	     json_text(&b, m->data, m->key_len) && json_put(&b, ",\"user\":") && json_text(&b, user, user_len) &&
	     json_put(&b, ",\"sha256\":\"%s\",\"length\":%u,\"replayed\":%s}\n", sha, m->body_len, replayed ? "true" : "false");
	n = b.len;
	ok = ok && n <= sizeof(line) && buf_peek(&b, line, n) == n;
	buf_clear(&b);
	return ok && write(j->fd, line, n) == (ssize_t)n;
}
