/* SPDX-License-Identifier: MIT */
/*
 * Prints what the key table says: conf_print document (config/firebreak.yaml is that),
 * conf_print manual (the man page's source). Not installed.
 */
#include "firebreak/conf.h"

#include <string.h>

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "document") == 0) {
		conf_document(stdout);
	} else if (argc == 2 && strcmp(argv[1], "manual") == 0) {
		conf_manual(stdout);
	} else {
		fprintf(stderr, "usage: conf_print document | manual\n");
		return 64;
	}
	return ferror(stdout) ? 1 : 0;
}
