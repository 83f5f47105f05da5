/* SPDX-License-Identifier: MIT */
/*
 * Who changed what, when and why: state_dir/audit.jsonl, append-only, one JSON
 * object a line. Each line carries the SHA-256 of the line before it (without its
 * newline; 64 zeros before the first), so that a line changed or removed later breaks
 * the chain. It tells of tampering; it does not prevent it.
 */
#ifndef CONTROL_AUDIT_H
#define CONTROL_AUDIT_H

#include "override.h"

struct audit {
	int fd; /* -1: no state_dir, or it cannot be written */
	uint8_t last[32];
};

/* False (and logged) when the file cannot be opened; audit_write() then fails. */
bool audit_open(struct audit *a, const char *dir);
void audit_close(struct audit *a);
/* action: "set", "clear", "expire". False (and logged): the line is not on disk. */
bool audit_write(struct audit *a, const char *action, const struct ctl_override *o, const char *author, bool forced, int64_t wall);
/* Checks the chain. Lines, or -n: line n does not follow from the one before; 0 also
 * when there is no file. */
long audit_verify(const char *dir);

#endif
