/* SPDX-License-Identifier: MIT */
/*
 * Prints what the key table says: conf_print document (config/firebreak.yaml is that),
 * conf_print dump FILE. Not installed; the proxy itself has --check and --dump-config.
 */
#include "firebreak/conf.h"

#include <string.h>

int main(int argc, char **argv)
{
	struct conf_errors *errors = conf_errors_create();
	const struct conf *c;

	if (!errors)
		return 1;
	if (argc == 2 && strcmp(argv[1], "document") == 0) {
		conf_document(stdout);
	} else if (argc == 3 && strcmp(argv[1], "dump") == 0) {
		c = conf_load(argv[2], NULL, 0, errors);
		conf_errors_print(errors, argv[2], stderr);
		if (c)
			conf_dump(c, stdout);
		conf_free(c);
		conf_errors_destroy(errors);
		return c ? 0 : 78;
	} else {
		fprintf(stderr, "usage: conf_print document | dump FILE\n");
		return 64;
	}
	conf_errors_destroy(errors);
	return 0;
}
