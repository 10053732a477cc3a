/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KSM's knobs: read all, set back all, in the order that the kernel needs.
 *
 * ksmd is stopped first, so that it never runs with half of the settings. pages_to_scan can be written only while no
 * advisor steers it, so the advisor comes after it. max_page_sharing can be changed only while no page is shared: what
 * the kernel does not take back yet is kept in the state file for a later start. `run` is never set to 2: that would
 * unshare everything on the host.
 *
 * What somebody else has set meanwhile (ksmtuned, tuned, an operator) is not overwritten: a knob is set back only while
 * it holds a value that we set.
 */
#include "ksm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/hostfile.h"

const char *const hs_ksm_knob_name[HS_KSM_NR_KNOBS] = {
	[HS_KSM_RUN] = "run",
	[HS_KSM_PAGES_TO_SCAN] = "pages_to_scan",
	[HS_KSM_SLEEP_MS] = "sleep_millisecs",
	[HS_KSM_SMART_SCAN] = "smart_scan",
	[HS_KSM_USE_ZERO_PAGES] = "use_zero_pages",
	[HS_KSM_MAX_PAGE_SHARING] = "max_page_sharing",
};

/* "[none] scan-time": the word in brackets. */
static int read_advisor(const struct hs_host *host, char *out, size_t size)
{
	char buf[128], *open, *close;
	ssize_t n = hs_hostfile_read(host->ksm_dir, "advisor_mode", buf, sizeof(buf));

	out[0] = '\0';
	if (n == -ENOENT)
		return 0;
	if (n < 0)
		return (int)n;
	open = strchr(buf, '[');
	close = open ? strchr(open, ']') : NULL;
	if (!close || (size_t)(close - open) > size)
		return -EINVAL;
	*close = '\0';
	memcpy(out, open + 1, (size_t)(close - open));
	return 0;
}

int hs_ksm_knobs_read(const struct hs_host *host, struct hs_ksm_knobs *out, struct hs_error *err)
{
	int rc;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < HS_KSM_NR_KNOBS; i++) {
		rc = hs_hostfile_u64(host->ksm_dir, hs_ksm_knob_name[i], &out->value[i]);
		if (rc == -ENOENT && i != HS_KSM_RUN)
			continue;
		if (rc == -ENOENT)
			return hs_error_set(err, rc,
					    "this kernel has no KSM (%s/run is missing): it needs CONFIG_KSM=y",
					    host->ksm_dir);
		if (rc)
			return hs_error_set(err, rc, "cannot read %s/%s: %s", host->ksm_dir, hs_ksm_knob_name[i],
					    strerror(-rc));
		out->has[i] = true;
	}
	rc = read_advisor(host, out->advisor, sizeof(out->advisor));
	if (rc)
		return hs_error_set(err, rc, "cannot read %s/advisor_mode: %s", host->ksm_dir, strerror(-rc));
	return 0;
}

static void set(const struct hs_host *host, enum hs_ksm_knob knob, uint64_t value, int *first, struct hs_error *err)
{
	uint64_t now;
	int rc;

	if (!hs_hostfile_u64(host->ksm_dir, hs_ksm_knob_name[knob], &now) && now == value)
		return;
	rc = hs_hostfile_write_u64(host->ksm_dir, hs_ksm_knob_name[knob], value);
	if (rc && !*first)
		*first = hs_error_set(err, rc, "cannot set %s/%s back to %llu: %s", host->ksm_dir,
				      hs_ksm_knob_name[knob], (unsigned long long)value, strerror(-rc));
}

bool hs_ksm_knobs_note(struct hs_ksm_knobs *knobs, enum hs_ksm_knob knob, uint64_t least, uint64_t most)
{
	const bool had = knobs->has_set[knob];
	const bool wider = !had || least < knobs->least[knob] || most > knobs->most[knob];

	knobs->least[knob] = had && knobs->least[knob] < least ? knobs->least[knob] : least;
	knobs->most[knob] = had && knobs->most[knob] > most ? knobs->most[knob] : most;
	knobs->has_set[knob] = true;
	return wider;
}

/* ---- what somebody else has set meanwhile ---- */

/* Whether a knob holds neither what we set nor what it was. Said in out->theirs. */
static bool is_theirs(const struct hs_host *host, const struct hs_ksm_knobs *knobs, enum hs_ksm_knob knob,
		      struct hs_ksm_restored *out)
{
	const size_t len = strlen(out->theirs);
	uint64_t now;

	if (!knobs->has_set[knob] || hs_hostfile_u64(host->ksm_dir, hs_ksm_knob_name[knob], &now) ||
	    now == knobs->value[knob] || (now >= knobs->least[knob] && now <= knobs->most[knob]))
		return false;
	(void)snprintf(out->theirs + len, sizeof(out->theirs) - len, "%s%s (%llu)", len ? ", " : "",
		       hs_ksm_knob_name[knob], (unsigned long long)now);
	return true;
}

int hs_ksm_knobs_restore(const struct hs_host *host, const struct hs_ksm_knobs *knobs, struct hs_ksm_restored *out,
			 struct hs_error *err)
{
	static const enum hs_ksm_knob plain[] = { HS_KSM_PAGES_TO_SCAN, HS_KSM_SLEEP_MS, HS_KSM_SMART_SCAN,
						  HS_KSM_USE_ZERO_PAGES };
	const enum hs_ksm_knob sharing = HS_KSM_MAX_PAGE_SHARING;
	bool theirs[HS_KSM_NR_KNOBS] = { false }, run_is_theirs, pace_is_theirs;
	char advisor[sizeof(knobs->advisor)] = "";
	int first = 0, rc;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < HS_KSM_NR_KNOBS; i++)
		theirs[i] = knobs->has[i] && is_theirs(host, knobs, (enum hs_ksm_knob)i, out);
	pace_is_theirs = theirs[HS_KSM_PAGES_TO_SCAN] || theirs[HS_KSM_SLEEP_MS];
	run_is_theirs = theirs[HS_KSM_RUN];
	if (knobs->has[HS_KSM_RUN] && !run_is_theirs)
		set(host, HS_KSM_RUN, 0, &first, err);
	/* We set it to none; an advisor that somebody has turned on since steers pages_to_scan itself. */
	if (knobs->advisor[0] && !read_advisor(host, advisor, sizeof(advisor)) && strcmp(advisor, "none")) {
		if (knobs->has_set[HS_KSM_RUN])
			theirs[HS_KSM_PAGES_TO_SCAN] = true;
		else
			(void)!hs_hostfile_write(host->ksm_dir, "advisor_mode", "none\n");
	}
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (knobs->has[plain[i]] && !theirs[plain[i]])
			set(host, plain[i], knobs->value[plain[i]], &first, err);
	if (knobs->has[sharing] && !theirs[sharing]) {
		int busy = 0;

		set(host, sharing, knobs->value[sharing], &busy, NULL);
		if (busy == -EBUSY) {
			out->left.has[sharing] = true;
			out->left.value[sharing] = knobs->value[sharing];
			out->left.has_set[sharing] = knobs->has_set[sharing];
			out->left.least[sharing] = knobs->least[sharing];
			out->left.most[sharing] = knobs->most[sharing];
		} else if (busy && !first) {
			first = hs_error_set(err, busy, "cannot set %s/max_page_sharing back: %s", host->ksm_dir,
					     strerror(-busy));
		}
	}
	if (knobs->advisor[0] && !pace_is_theirs && !read_advisor(host, advisor, sizeof(advisor)) &&
	    !strcmp(advisor, "none") && strcmp(advisor, knobs->advisor)) {
		rc = hs_hostfile_write(host->ksm_dir, "advisor_mode", knobs->advisor);
		if (rc && !first)
			first = hs_error_set(err, rc, "cannot set %s/advisor_mode back to %s: %s", host->ksm_dir,
					     knobs->advisor, strerror(-rc));
	}
	if (knobs->has[HS_KSM_RUN] && knobs->value[HS_KSM_RUN] == 1 && !run_is_theirs)
		set(host, HS_KSM_RUN, 1, &first, err);
	return first;
}
