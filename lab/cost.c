/* SPDX-License-Identifier: Apache-2.0 */
/* The constants' names, and their file. */
#include "cost.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *name, *what;
} costs[HS_LAB_NR_COSTS] = {
#define WALK(i, pages)                                                                                                 \
	[HS_LAB_COST_WALK + (i)] = { "walk_" #pages "_ns",                                                             \
				     "read through a base mapping instead of a huge one, " #pages                      \
				     " base pages in use" }
	WALK(0, 256),
	WALK(1, 512),
	WALK(2, 1024),
	WALK(3, 2048),
	WALK(4, 4096),
	WALK(5, 8192),
	WALK(6, 16384),
	WALK(7, 32768),
	WALK(8, 65536),
	WALK(9, 131072),
	WALK(10, 262144),
	[HS_LAB_COST_BREAK] = { "break_ns", "write to a shared base page" },
	[HS_LAB_COST_COPY_HUGE] = { "copy_huge_ns", "copy of a huge page" },
	[HS_LAB_COST_SPLIT] = { "split_ns", "split of a huge page's mapping" },
	[HS_LAB_COST_RESTORE] = { "restore_ns", "collapse of a huge page" },
	[HS_LAB_COST_READ] = { "read_ns", "read of a guest's base page" },
	[HS_LAB_COST_HASH] = { "hash_ns", "digest of a base page" },
	[HS_LAB_COST_COMPARE] = { "compare_ns", "compare of two equal base pages" },
	[HS_LAB_COST_AGE] = { "age_ns", "clearing a huge page's accessed bit" },
	[HS_LAB_COST_SAMPLE] = { "sample_ns", "reading a huge page's state" },
	[HS_LAB_COST_KSM_SCAN] = { "ksm_scan_ns", "ksmd goes over a base page" },
	[HS_LAB_COST_KSM_MERGE] = { "ksm_merge_ns", "ksmd merges a base page, above that" },
};

const char *hs_lab_cost_name(enum hs_lab_cost c)
{
	return costs[c].name;
}

const char *hs_lab_cost_what(enum hs_lab_cost c)
{
	return costs[c].what;
}

void hs_lab_costs_none(struct hs_lab_costs *out)
{
	memset(out, 0, sizeof(*out));
	for (int i = 0; i < HS_LAB_NR_COSTS; i++) {
		out->ns[i] = NAN;
		(void)snprintf(out->reason[i], sizeof(out->reason[i]), "not calibrated");
	}
}

static void find_path(char *out, size_t size, bool machine)
{
	const char *path = getenv("HS_LAB_CALIBRATION"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (path && path[0])
		(void)snprintf(out, size, "%s", path);
	else if (machine)
		(void)snprintf(out, size, "%s", HS_LAB_COSTS_OF_MACHINE);
	else if (cache && cache[0])
		(void)snprintf(out, size, "%s/hs-lab/calibration.json", cache);
	else
		(void)snprintf(out, size, "%s/.cache/hs-lab/calibration.json", home ? home : "");
}

void hs_lab_costs_path_to_write(char *out, size_t size)
{
	find_path(out, size, geteuid() == 0);
}

void hs_lab_costs_path_to_read(char *out, size_t size)
{
	find_path(out, size, access(HS_LAB_COSTS_OF_MACHINE, F_OK) == 0);
}

json_t *hs_lab_costs_json(const struct hs_lab_costs *c)
{
	json_t *out = json_object(), *why = json_object();

	if (!out || !why)
		goto nomem;
	if (json_object_set_new(out, "format", json_string("hs-lab calibration 1")) ||
	    json_object_set_new(out, "machine", json_string(c->machine)) ||
	    json_object_set_new(out, "measured", json_string(c->measured)))
		goto nomem;
	for (int i = 0; i < HS_LAB_NR_COSTS; i++) {
		if (json_object_set_new(out, costs[i].name, isnan(c->ns[i]) ? json_null() : json_real(c->ns[i])))
			goto nomem;
		if (isnan(c->ns[i]) && json_object_set_new(why, costs[i].name, json_string(c->reason[i])))
			goto nomem;
	}
	if (json_object_set_new(out, "unknown", why)) {
		json_decref(out);
		return NULL;
	}
	return out;
nomem:
	json_decref(out);
	json_decref(why);
	return NULL;
}

static const char *text_of(const json_t *in, const char *key)
{
	const char *s = json_string_value(json_object_get(in, key));

	return s ? s : "";
}

int hs_lab_costs_read(struct hs_lab_costs *out, const char *path, struct hs_error *err)
{
	json_error_t why;
	json_t *in;

	hs_lab_costs_none(out);
	errno = 0;
	in = json_load_file(path, 0, &why);
	if (!in && errno == ENOENT)
		return hs_error_set(err, -ENOENT, "there is no calibration at %s; make one with: sudo hs-lab calibrate",
				    path);
	if (!in)
		return hs_error_set(err, -EINVAL, "cannot read the calibration %s, line %d: %s", path, why.line,
				    why.text);
	if (strcmp(text_of(in, "format"), "hs-lab calibration 1") != 0) {
		json_decref(in);
		return hs_error_set(err, -EINVAL,
				    "%s is no calibration of this version; make a new one with: sudo "
				    "hs-lab calibrate",
				    path);
	}
	(void)snprintf(out->machine, sizeof(out->machine), "%s", text_of(in, "machine"));
	(void)snprintf(out->measured, sizeof(out->measured), "%s", text_of(in, "measured"));
	for (int i = 0; i < HS_LAB_NR_COSTS; i++) {
		const json_t *v = json_object_get(in, costs[i].name);

		if (json_is_number(v) && isfinite(json_number_value(v)))
			out->ns[i] = json_number_value(v);
		else
			(void)snprintf(out->reason[i], sizeof(out->reason[i]), "%s",
				       text_of(json_object_get(in, "unknown"), costs[i].name));
	}
	json_decref(in);
	return 0;
}

/* Makes the folders of a path. */
static int make_folders(const char *path)
{
	char part[4096];

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
		return -ENAMETOOLONG;
	for (char *s = strchr(part + 1, '/'); s; s = strchr(s + 1, '/')) {
		*s = '\0';
		if (mkdir(part, 0777) && errno != EEXIST)
			return -errno;
		*s = '/';
	}
	return 0;
}

/* At once or not at all: others read it. */
static int write_whole(const json_t *out, const char *path)
{
	char fresh[PATH_MAX];
	struct stat st;
	int rc = 0;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* a pipe, a device */
		(void)snprintf(fresh, sizeof(fresh), "%s", path);
	else if (snprintf(fresh, sizeof(fresh), "%s.%d", path, (int)getpid()) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	errno = 0;
	if (json_dump_file(out, fresh, JSON_INDENT(2)))
		rc = errno ? -errno : -EIO;
	else if (strcmp(fresh, path) != 0 && rename(fresh, path))
		rc = -errno;
	if (rc && strcmp(fresh, path) != 0)
		(void)unlink(fresh);
	return rc;
}

int hs_lab_costs_write(const struct hs_lab_costs *c, const char *path, struct hs_error *err)
{
	json_t *out = hs_lab_costs_json(c);
	mode_t mask;
	int rc;

	if (!out)
		return hs_error_set(err, -ENOMEM, "out of memory");
	mask = umask(S_IWGRP | S_IWOTH);
	rc = make_folders(path);
	if (!rc)
		rc = write_whole(out, path);
	(void)umask(mask);
	json_decref(out);
	return rc ? hs_error_set(err, rc, "cannot write the calibration %s: %s", path, strerror(-rc)) : 0;
}
