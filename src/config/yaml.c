/* SPDX-License-Identifier: MIT */
/*
 * YAML text to a tree of nodes: the only file that sees libfyaml, and only its event
 * parser. No document is built or resolved by the library, so an alias cannot make a
 * small file large, and what we never use (anchors, aliases, tags, directives, a second document)
 * is refused with its place.
 *
 * Bounded: octets, depth, number of nodes. Before the parser runs, the bytes are
 * looked through for what would confuse a person later: NUL, control characters, bad
 * UTF-8, tabs in the indentation.
 */
#include "conf_private.h"

#include <errno.h>
#include <fcntl.h>
#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOO_DEEP "nested too deeply; expected at most 12 levels"

struct reader {
	struct fy_parser *parser;
	struct arena *tree;
	struct conf_errors *errors;
	struct node *open[CONF_DEPTH_MAX]; /* lists and mappings not ended yet */
	struct node *root;
	struct node *key;                  /* a key whose value comes next */
	int depth;
	unsigned nodes;
	bool failed;
};

static void fail(struct reader *r, struct conf_mark at, const char *what)
{
	r->failed = true;
	conf_errors_add(r->errors, at, "%s", what);
}

/* ---- the bytes ---- */

char *yaml_read(const char *path, size_t *len, struct conf_errors *e)
{
	struct conf_mark none = { 0, 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text = NULL;
	struct stat st;
	ssize_t got;

	*len = 0;
	if (fd < 0 || fstat(fd, &st) < 0) {
		conf_errors_add(e, none, "the file cannot be read (%s)", strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		conf_errors_add(e, none, "not a regular file");
	} else if (st.st_size > YAML_FILE_MAX) {
		conf_errors_add(e, none, "the file is too large; expected at most 1MiB");
	} else if (!(text = malloc(YAML_FILE_MAX + 1))) {
		conf_errors_add(e, none, "out of memory");
	} else {
		/* One octet more than allowed, so that one that grew meanwhile is noticed. */
		while (*len <= YAML_FILE_MAX && (got = read(fd, text + *len, YAML_FILE_MAX + 1 - *len)) > 0)
			*len += (size_t)got;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

/* Length of a well-formed UTF-8 sequence (RFC 3629, section 4), 0 when it is not one. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
	size_t i;

	if (!n || n > left)
		return 0;
	for (i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static const char *octet_wrong(unsigned char c, size_t sequence, bool indenting)
{
	if (!c)
		return "a NUL octet; expected text";
	if (!sequence)
		return "not UTF-8; expected text in UTF-8";
	if (c == '\t' && indenting)
		return "a tab in the indentation; expected blanks";
	if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f)
		return "a control character; expected text";
	return NULL;
}

/* The library reads all of a flow collection before it tells of the first bracket: a second
 * and 350 MiB for 1 MiB of "[". True for the first bracket too many. */
static bool opens_too_many(unsigned *open, unsigned char c)
{
	if (c == '[' || c == '{')
		return ++*open == CONF_OPEN_MAX + 1;
	if ((c == ']' || c == '}') && *open)
		--*open;
	return false;
}

/* The library takes quadratic time for a long directive: seconds for 64 KiB of "%". */
static bool directive_ok(const char *line, size_t left)
{
	static const char yaml[] = "%YAML 1.";
	const char *end = memchr(line, '\n', left);

	return end && (size_t)(end - line) < sizeof(yaml) + 4 && strncmp(line, yaml, sizeof(yaml) - 1) == 0;
}

static bool octets_ok(struct reader *r, const char *text, size_t len)
{
	struct conf_mark at = { 1, 1 };
	bool indenting = true;
	const char *wrong;
	unsigned open = 0;
	size_t i, n;

	for (i = 0; i < len; i += n ? n : 1) {
		unsigned char c = (unsigned char)text[i];

		n = utf8_length((const unsigned char *)text + i, len - i);
		wrong = octet_wrong(c, n, indenting);
		if (c == '%' && at.column == 1 && !directive_ok(text + i, len - i))
			wrong = "a directive; expected plain values: none but %YAML is used here";
		if (opens_too_many(&open, c))
			wrong = TOO_DEEP;
		if (wrong) {
			fail(r, at, wrong);
			if (conf_errors_count(r->errors) > 20)
				return false;
		}
		indenting = c == '\n' || (indenting && (c == ' ' || c == '\t'));
		at.column++;
		if (c == '\n')
			at = (struct conf_mark){ at.line + 1, 1 };
	}
	return !r->failed;
}

/* ---- the tree ---- */

static struct conf_mark mark_of(const struct fy_mark *m)
{
	if (!m || m->line < 0)
		return (struct conf_mark){ 0, 0 };
	return (struct conf_mark){ m->line + 1, m->column + 1 };
}

/* Places of quoted scalars, anchors and aliases are those of the text behind the sign. */
static struct conf_mark before(struct conf_mark m)
{
	if (m.column > 1)
		m.column--;
	return m;
}

static struct node *node_create(struct reader *r, enum node_kind kind, struct conf_mark at)
{
	struct node *n;

	if (r->nodes++ >= CONF_NODES_MAX) {
		fail(r, at, "the file has too many values; expected at most 100000");
		return NULL;
	}
	n = arena_alloc(r->tree, sizeof(*n));
	if (!n) {
		fail(r, (struct conf_mark){ 0, 0 }, "out of memory");
		return NULL;
	}
	*n = (struct node){ .kind = kind, .mark = at };
	return n;
}

/* Hangs a node where the reader stands; false: it became a key, or did not fit. */
static bool node_attach(struct reader *r, struct node *n)
{
	struct node *parent = r->depth ? r->open[r->depth - 1] : NULL;

	if (!parent) {
		r->root = n;
		return true;
	}
	if (parent->kind == NODE_MAP && !r->key) {
		if (n->kind != NODE_SCALAR || !n->text)
			fail(r, n->mark.line ? n->mark : parent->mark, "a key that is not a word; expected \"key: value\"");
		r->key = n;
		return false;
	}
	if (r->key) {
		n->name = r->key->text;
		n->name_mark = r->key->mark;
		if (!n->mark.line)
			n->mark = r->key->mark; /* nothing was written: the key is all there is to point at */
		r->key = NULL;
	} else if (!n->mark.line) {
		n->mark = parent->last ? parent->last->mark : parent->mark;
	}
	if (parent->last)
		parent->last->next = n;
	else
		parent->child = n;
	parent->last = n;
	parent->count++;
	if (parent->kind == NODE_MAP && parent->count > CONF_KEYS_MAX)
		fail(r, n->name_mark, "the mapping has too many keys; expected at most 1000");
	return true;
}

static void scalar(struct reader *r, struct fy_event *e, struct conf_mark at)
{
	struct fy_token *token = fy_event_get_token(e);
	enum fy_scalar_style style = token ? fy_token_scalar_style(token) : FYSS_PLAIN;
	struct node *n;
	const char *text;
	size_t len = 0, i;

	if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED)
		at = before(at);
	n = node_create(r, NODE_SCALAR, at);
	if (!n)
		return;
	text = token ? fy_token_get_text(token, &len) : NULL;
	if (text && (len || style != FYSS_PLAIN)) {
		for (i = 0; i < len; i++)
			if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
				break;
		if (i < len)
			fail(r, at, "a control character in a value; expected one line of text");
		n->text = arena_strndup(r->tree, text, len);
		if (!n->text)
			fail(r, (struct conf_mark){ 0, 0 }, "out of memory");
	}
	node_attach(r, n);
}

static void collection(struct reader *r, enum node_kind kind, struct conf_mark at)
{
	struct node *n = node_create(r, kind, at);

	if (!n)
		return;
	if (r->depth == CONF_DEPTH_MAX) {
		fail(r, at, TOO_DEEP);
		return;
	}
	if (node_attach(r, n))
		r->open[r->depth++] = n;
}

static void refuse_marks(struct reader *r, struct fy_event *e)
{
	struct fy_token *anchor = fy_event_get_anchor_token(e), *tag = fy_event_get_tag_token(e);

	if (anchor)
		fail(r, before(mark_of(fy_token_start_mark(anchor))), "an anchor (&name); expected plain values: anchors are not used here");
	if (tag)
		fail(r, mark_of(fy_token_start_mark(tag)), "a tag (!type); expected plain values: tags are not used here");
}

/* False when there is no more to read. */
static bool event(struct reader *r, struct fy_event *e)
{
	struct conf_mark at = mark_of(fy_event_start_mark(e));

	switch (e->type) {
	case FYET_SCALAR:
		refuse_marks(r, e);
		scalar(r, e, at);
		break;
	case FYET_SEQUENCE_START:
	case FYET_MAPPING_START:
		refuse_marks(r, e);
		collection(r, e->type == FYET_MAPPING_START ? NODE_MAP : NODE_LIST, at);
		break;
	case FYET_SEQUENCE_END:
	case FYET_MAPPING_END:
		r->depth--;
		break;
	case FYET_ALIAS:
		fail(r, before(at), "an alias (*name); expected the value itself: aliases are not used here");
		break;
	case FYET_DOCUMENT_START:
		if (r->root)
			fail(r, at, "a second document; expected one per file");
		break;
	case FYET_STREAM_END:
		return false;
	default:
		break;
	}
	return !r->failed;
}

static void read_events(struct reader *r)
{
	struct fy_event *e;
	bool more = true;

	while (more && (e = fy_parser_parse(r->parser))) {
		more = event(r, e);
		fy_parser_event_free(r->parser, e);
	}
}

/* The library's own words about broken syntax. */
static void read_diagnostics(struct reader *r, struct fy_diag *diag)
{
	struct fy_diag_error *d;
	void *at = NULL;

	while ((d = fy_diag_errors_iterate(diag, &at))) {
		r->failed = true;
		conf_errors_add(r->errors, (struct conf_mark){ d->line > 0 ? d->line : 0, d->column > 0 ? d->column : 0 }, "%s", d->msg);
	}
	if (fy_parser_get_stream_error(r->parser) && !r->failed)
		fail(r, (struct conf_mark){ 0, 0 }, "the file is not YAML");
}

static void parse(struct reader *r, const char *text, size_t len)
{
	struct fy_diag_cfg dc = { .level = FYET_ERROR, .module_mask = ~0u };
	struct fy_parse_cfg pc = { .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DISABLE_MMAP_OPT |
					    FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE };

	pc.diag = fy_diag_create(&dc);
	if (!pc.diag) {
		fail(r, (struct conf_mark){ 0, 0 }, "out of memory");
		return;
	}
	fy_diag_set_collect_errors(pc.diag, true);
	r->parser = fy_parser_create(&pc);
	if (r->parser && fy_parser_set_string(r->parser, text, len) == 0) {
		read_events(r);
		read_diagnostics(r, pc.diag);
	} else {
		fail(r, (struct conf_mark){ 0, 0 }, "out of memory");
	}
	fy_parser_destroy(r->parser);
	fy_diag_destroy(pc.diag);
}

struct node *yaml_parse(const char *text, size_t len, struct arena *tree, struct conf_errors *e)
{
	struct reader r = { .tree = tree, .errors = e };

	if (len > YAML_FILE_MAX) {
		fail(&r, (struct conf_mark){ 0, 0 }, "the file is too large; expected at most 1MiB");
		return NULL;
	}
	if (!octets_ok(&r, text, len))
		return NULL;
	if (len)
		parse(&r, text, len);
	if (r.failed)
		return NULL;
	if (!r.root)
		fail(&r, (struct conf_mark){ 0, 0 }, "the file is empty");
	return r.root;
}

struct node *node_get(const struct node *map, const char *name)
{
	struct node *n;

	if (!map || map->kind != NODE_MAP)
		return NULL;
	for (n = map->child; n && strcmp(n->name, name) != 0; n = n->next)
		;
	return n;
}

struct node *node_item(const struct node *list, size_t n)
{
	struct node *item;

	if (!list || list->kind != NODE_LIST)
		return NULL;
	for (item = list->child; item && n; item = item->next)
		n--;
	return item;
}

const char *node_kind_word(const struct node *n)
{
	if (n->kind == NODE_MAP)
		return "a mapping";
	if (n->kind == NODE_LIST)
		return "a list";
	return n->text ? "a single value" : "nothing";
}

bool node_want(struct conf_errors *e, const struct node *n, enum node_kind kind, const char *what, const char *expected)
{
	if (n->kind == kind && (kind != NODE_SCALAR || n->text))
		return true;
	conf_errors_add(e, n->mark, "\"%.80s\" is %s; expected %s", what, node_kind_word(n), expected);
	return false;
}
