/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state file: what KSM's knobs were, and what we set them to, for whoever comes after a crash.
 *
 * Order: it is put in place as a whole (base/state_file.h) before the first knob is changed. So at any instant there is
 * either no file, and no knob of ours, or a complete file. The last line says that it is complete; a file that does not
 * read so in every line is not ours, and nothing is set from it. One of another boot says nothing: what the knobs hold
 * now nobody of ours has set.
 */
#include "ksm.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/hostfile.h"
#include "base/state_file.h"

#define STATE_NAME "ksm.state"
#define HEADER     "hs-share ksm state 1"
#define FOOTER     "end"

/* Largest value that this kernel's knobs can have had. */
static const uint64_t knob_max[HS_KSM_NR_KNOBS] = {
	[HS_KSM_RUN] = 2,        [HS_KSM_PAGES_TO_SCAN] = UINT32_MAX, [HS_KSM_SLEEP_MS] = UINT32_MAX,
	[HS_KSM_SMART_SCAN] = 1, [HS_KSM_USE_ZERO_PAGES] = 1,         [HS_KSM_MAX_PAGE_SHARING] = INT32_MAX,
};

struct text {
	const struct hs_ksm_knobs *knobs;
	char boot[HS_STATE_BOOT_MAX];
};

static void print(FILE *f, const void *ctx)
{
	const struct text *t = ctx;
	const struct hs_ksm_knobs *knobs = t->knobs;

	(void)fprintf(f, HEADER "\nboot %s\n", t->boot);
	for (int i = 0; i < HS_KSM_NR_KNOBS; i++)
		if (knobs->has[i])
			(void)fprintf(f, "%s %" PRIu64 "\n", hs_ksm_knob_name[i], knobs->value[i]);
	if (knobs->advisor[0])
		(void)fprintf(f, "advisor_mode %s\n", knobs->advisor);
	for (int i = 0; i < HS_KSM_NR_KNOBS; i++)
		if (knobs->has_set[i])
			(void)fprintf(f, "set %s from %" PRIu64 " to %" PRIu64 "\n", hs_ksm_knob_name[i],
				      knobs->least[i], knobs->most[i]);
	(void)fprintf(f, FOOTER "\n");
}

int hs_ksm_state_write(const struct hs_host *host, const struct hs_ksm_knobs *knobs, struct hs_error *err)
{
	struct text t = { .knobs = knobs };
	int rc;

	rc = hs_state_file_boot(host, t.boot);
	if (!rc)
		rc = hs_state_file_put(host, STATE_NAME, print, &t);
	return rc ? hs_error_set(err, rc,
				 "cannot save KSM's settings in %s/%s (%s): they stay untouched; make room there",
				 host->state_dir, STATE_NAME, strerror(-rc))
		  : 0;
}

/* "set NAME from LEAST to MOST": what we set. */
static int parse_set(struct hs_ksm_knobs *knobs, const char *line)
{
	char name[32];
	uint64_t least, most;
	int end = 0;

	if (sscanf(line, "set %31s from %" SCNu64 " to %" SCNu64 "%n", name, &least, &most, &end) != 3 || line[end] ||
	    least > most)
		return -EINVAL;
	for (int i = 0; i < HS_KSM_NR_KNOBS; i++) {
		if (strcmp(name, hs_ksm_knob_name[i]) != 0)
			continue;
		if (knobs->has_set[i] || most > knob_max[i])
			return -EINVAL;
		(void)hs_ksm_knobs_note(knobs, (enum hs_ksm_knob)i, least, most);
		return 0;
	}
	return -EINVAL;
}

static int parse_line(struct hs_ksm_knobs *knobs, const char *line)
{
	const char *value = strchr(line, ' '), *end;
	size_t key = value ? (size_t)(value - line) : 0;

	if (!value)
		return -EINVAL;
	if (!strncmp(line, "set ", 4))
		return parse_set(knobs, line);
	value++;
	if (key == strlen("advisor_mode") && !strncmp(line, "advisor_mode", key)) {
		size_t len = strlen(value);

		if (knobs->advisor[0] || !len || len >= sizeof(knobs->advisor) ||
		    strspn(value, "abcdefghijklmnopqrstuvwxyz-") != len)
			return -EINVAL;
		memcpy(knobs->advisor, value, len + 1);
		return 0;
	}
	for (int i = 0; i < HS_KSM_NR_KNOBS; i++) {
		if (key != strlen(hs_ksm_knob_name[i]) || strncmp(line, hs_ksm_knob_name[i], key))
			continue;
		if (knobs->has[i] || hs_hostfile_parse_u64(value, &end, &knobs->value[i]) || *end ||
		    knobs->value[i] > knob_max[i])
			return -EINVAL;
		knobs->has[i] = true;
		return 0;
	}
	return -EINVAL;
}

int hs_ksm_state_read(const struct hs_host *host, struct hs_ksm_knobs *knobs, struct hs_error *err)
{
	char text[2048], *rest = text, *line, boot[HS_STATE_BOOT_MAX];
	bool header = false, footer = false, other_boot = false;
	ssize_t n = hs_hostfile_read(host->state_dir, STATE_NAME, text, sizeof(text));
	int rc = 0;

	memset(knobs, 0, sizeof(*knobs));
	if (n == -ENOENT)
		return -ENOENT;
	rc = hs_state_file_boot(host, boot);
	if (rc)
		return hs_error_set(err, rc, "which boot this is cannot be read: %s", strerror(-rc));
	if (n < 0)
		return hs_error_set(err, (int)n, "cannot read %s/%s: %s", host->state_dir, STATE_NAME,
				    strerror((int)-n));
	if (strlen(text) != (size_t)n)
		rc = -EINVAL;
	while (!rc && (line = strsep(&rest, "\n"))) {
		if (footer)
			rc = -EINVAL;
		else if (!header)
			rc = (header = !strcmp(line, HEADER)) ? 0 : -EINVAL;
		else if (!strncmp(line, "boot ", 5))
			other_boot = strcmp(line + 5, boot) != 0;
		else if (!(footer = !strcmp(line, FOOTER)))
			rc = parse_line(knobs, line);
	}
	if (rc || !footer)
		return hs_error_set(
		    err, -EINVAL,
		    "%s/%s is not a state file of hs-share: set KSM's knobs by hand as they should be, then "
		    "remove the file",
		    host->state_dir, STATE_NAME);
	if (other_boot) { /* the kernel has begun with its own since */
		memset(knobs, 0, sizeof(*knobs));
		return -ENOENT;
	}
	return 0;
}

int hs_ksm_state_remove(const struct hs_host *host, struct hs_error *err)
{
	int rc = hs_state_file_remove(host, STATE_NAME);

	return rc ? hs_error_set(err, rc, "cannot remove %s/%s: %s", host->state_dir, STATE_NAME, strerror(-rc)) : 0;
}
