/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain's XML: our element in its metadata, and the obstacles in the whole. What is taken is a desired state that
 * can be written and reads back the same.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "service/virt/virt_internal.h"

static void element(const char *xml, size_t len)
{
	struct hs_opt_in opted = { .group = "untouched" }, back;
	struct hs_error err = { "" };
	char text[512];

	if (hs_virt_parse_metadata(xml, len, &opted, &err)) {
		FUZZ_CHECK(err.text[0], "refused without a reason");
		FUZZ_CHECK(strcmp(opted.group, "untouched") == 0, "%s", err.text);
		return;
	}
	FUZZ_CHECK(hs_group_valid(opted.group), "%s", opted.group);
	FUZZ_CHECK(hs_virt_format_metadata(&opted, text, sizeof(text)) == 0, "%s", opted.group);
	FUZZ_CHECK(hs_virt_parse_metadata(text, strlen(text), &back, &err) == 0, "%s: %s", err.text, text);
	FUZZ_CHECK(back.on == opted.on && back.max_shared_bytes == opted.max_shared_bytes &&
		       back.scope == opted.scope && strcmp(back.group, opted.group) == 0,
		   "%s", text);
}

static void domain(const char *bytes, size_t len)
{
	struct hs_obstacle found;
	char *xml = malloc(len + 1);

	FUZZ_CHECK(xml, "out of memory");
	memcpy(xml, bytes, len);
	xml[len] = '\0';
	hs_virt_obstacle(xml, &found);
	FUZZ_CHECK((found.reason != HS_REASON_NONE) == (found.text[0] != '\0'), "%s: %s",
		   hs_guest_reason_name(found.reason), found.text);
	free(xml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	element((const char *)data, size);
	domain((const char *)data, size);
	return 0;
}
