/* SPDX-License-Identifier: MIT */
/*
 * Write: temporary file, fsync, rename, fsync of the folder; whoever loses power in
 * between finds the old file or the new one. Read: the file is input like any other;
 * a hand-edited or half-restored one must not keep the service from starting.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "firebreak/log.h"

#define FILE_NAME "overrides.json"
#define FORMAT    1
#define SIZE_MAX_READ (1 << 20) /* 128 entries are below 100 KiB */

static json_t *to_json(const struct ctl_override *o)
{
	return json_pack("{ss ss ss si ss ss sI sI sI}", "kind", override_kind_word(o->kind), "subject", o->subject, "value", o->value,
			 "share", (int)o->share, "author", o->author, "reason", o->reason, "from", (json_int_t)o->from, "until",
			 (json_int_t)o->until, "over", (json_int_t)o->over);
}

static char *serialise(const struct overrides *all)
{
	json_t *list = json_array(), *root = json_pack("{si so}", "format", FORMAT, "overrides", list), *item;
	char *text = NULL;
	size_t i;

	for (i = 0; root && i < all->n; i++) {
		item = to_json(&all->item[i]);
		if (!item || json_array_append_new(list, item)) {
			json_decref(root);
			return NULL;
		}
	}
	if (root)
		text = json_dumps(root, JSON_INDENT(2));
	json_decref(root);
	return text;
}

static int write_all(int fd, const char *p, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Writes, syncs and names the file; the temporary one never stays behind. */
static int replace(int dir, const char *text)
{
	static const char temporary[] = FILE_NAME ".new";
	int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	int error;

	if (fd < 0)
		return errno;
	error = write_all(fd, text, strlen(text));
	if (!error && fsync(fd))
		error = errno;
	if (close(fd) && !error)
		error = errno;
	if (!error && renameat(dir, temporary, dir, FILE_NAME))
		error = errno;
	if (error) {
		unlinkat(dir, temporary, 0);
		return error;
	}
	return fsync(dir) ? errno : 0;
}

int store_save(const char *path, const struct overrides *all)
{
	char *text = serialise(all);
	int dir, error;

	if (!text)
		return ENOMEM;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		error = errno;
	} else {
		error = replace(dir, text);
		close(dir);
	}
	free(text);
	return error;
}

static bool copy_text(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	if (n >= size)
		return false;
	memcpy(to, from, n + 1);
	return true;
}

static bool from_json(json_t *item, struct ctl_override *o)
{
	const char *kind, *subject, *value, *author, *reason;
	json_int_t from, until, over = 0;
	int share;

	memset(o, 0, sizeof(*o));
	if (json_unpack(item, "{ss ss ss si ss ss sI sI s?I}", "kind", &kind, "subject", &subject, "value", &value, "share", &share,
			"author", &author, "reason", &reason, "from", &from, "until", &until, "over", &over))
		return false;
	if (share < 0 || share > DEGRADE_FULL || !override_kind_parse(kind, &o->kind))
		return false;
	o->share = (uint16_t)share;
	o->from = from;
	o->until = until;
	o->over = over;
	return copy_text(o->subject, sizeof(o->subject), subject) && copy_text(o->value, sizeof(o->value), value) &&
	       copy_text(o->author, sizeof(o->author), author) && copy_text(o->reason, sizeof(o->reason), reason);
}

/* Returns how many entries were bad; -1: the whole is not what we write. */
static int parse(const char *text, size_t len, struct overrides *all, int64_t wall)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *list, *item;
	struct ctl_override o;
	int format, bad = 0;
	size_t i;

	if (!root || json_unpack(root, "{si so}", "format", &format, "overrides", &list) || format != FORMAT || !json_is_array(list)) {
		json_decref(root);
		return -1;
	}
	json_array_foreach(list, i, item) {
		if (!from_json(item, &o))
			bad++;
		else if (o.until <= wall)
			continue;
		else if (override_check_form(&o, wall, UINT32_MAX) || !overrides_put(all, &o))
			bad++;
	}
	json_decref(root);
	return bad;
}

static char *read_file(int dir, size_t *len)
{
	int fd = openat(dir, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text = NULL;
	struct stat st;
	ssize_t n = 0;

	*len = 0;
	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= SIZE_MAX_READ)
		text = malloc((size_t)st.st_size + 1);
	while (text && (n = read(fd, text + *len, (size_t)st.st_size - *len)) > 0)
		*len += (size_t)n;
	if (text && n < 0) {
		free(text);
		text = NULL;
	}
	close(fd);
	return text;
}

static void set_aside(int dir, const char *path, int64_t wall)
{
	char name[64];

	snprintf(name, sizeof(name), FILE_NAME ".damaged-%lld", (long long)(wall / CLOCK_SEC));
	if (renameat(dir, FILE_NAME, dir, name))
		snprintf(name, sizeof(name), "(not renamed: %s)", strerror(errno));
	log_event(LOG_LEVEL_ERROR, "overrides.damaged", "directory", path, "kept_as", name, NULL);
}

void store_load(const char *path, struct overrides *all, int64_t wall)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), bad;
	char *text;
	size_t len;

	if (dir < 0)
		return;
	if (faccessat(dir, FILE_NAME, F_OK, 0)) {
		close(dir);
		return;
	}
	text = read_file(dir, &len);
	bad = text ? parse(text, len, all, wall) : -1;
	free(text);
	if (bad)
		set_aside(dir, path, wall);
	close(dir);
}
