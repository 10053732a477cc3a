/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration. Whatever the bytes: what is refused leaves the result alone and says in which file; what is taken
 * reads back the same from what is printed of it.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "service/daemon/config.h"

static char *print(const struct hs_config *cfg, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	FUZZ_CHECK(f, "out of memory");
	hs_config_print(f, cfg, false);
	(void)fclose(f);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hs_config cfg, back, before;
	struct hs_error err = { "" };
	char *text;
	size_t len;
	int rc;

	hs_config_defaults(&cfg);
	before = cfg;
	rc = hs_config_parse(&cfg, (const char *)data, size, "file", &err);
	if (rc) {
		FUZZ_CHECK(rc == -EINVAL, "%d", rc);
		FUZZ_CHECK(memcmp(&cfg, &before, sizeof(cfg)) == 0, "%s", err.text);
		FUZZ_CHECK(strncmp(err.text, "file:", 5) == 0, "%s", err.text);
		return 0;
	}
	text = print(&cfg, &len);
	rc = hs_config_parse(&back, text, len, "printed", &err);
	FUZZ_CHECK(rc == 0, "%s\n%s", err.text, text);
	FUZZ_CHECK(hs_config_diff(&cfg, &back, NULL, NULL) == 0, "%s", text);
	free(text);
	return 0;
}
