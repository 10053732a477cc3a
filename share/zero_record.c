/* SPDX-License-Identifier: Apache-2.0 */
#include "zero_record.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/state_file.h"

#define HEAD "hs-share zeros 1\n"
#define TAIL "end\n" /* what was cut has none */

static void record_name(pid_t pid, char out[NAME_MAX])
{
	(void)snprintf(out, NAME_MAX, "zeros-%d", (int)pid);
}

/* What is written, and whose it is. */
struct text {
	const uint64_t *addr;
	size_t nr;
	pid_t pid;
	struct hs_state_owner owner;
};

static void print(FILE *f, const void *ctx)
{
	const struct text *t = ctx;

	(void)fputs(HEAD, f);
	hs_state_owner_print(f, t->pid, &t->owner);
	for (size_t i = 0; i < t->nr; i++)
		(void)fprintf(f, "%" PRIx64 "\n", t->addr[i]);
	(void)fputs(TAIL, f);
}

int hs_zero_record_write(const struct hs_host *host, pid_t pid, const uint64_t *addr, size_t nr, struct hs_error *err)
{
	struct text t = { .addr = addr, .nr = nr, .pid = pid };
	char name[NAME_MAX];
	int rc;

	record_name(pid, name);
	if (!nr) {
		rc = hs_state_file_remove(host, name);
		return rc ? hs_error_set(err, rc, "cannot remove %s/%s: %s", host->state_dir, name, strerror(-rc)) : 0;
	}
	rc = hs_state_owner_now(host, pid, &t.owner);
	if (rc)
		return hs_error_set(err, rc, "which process has the number %d cannot be told: %s", (int)pid,
				    strerror(-rc));
	rc = hs_state_file_put(host, name, print, &t);
	return rc ? hs_error_set(err, rc, "cannot write %s/%s: %s", host->state_dir, name, strerror(-rc)) : 0;
}

static int read_addresses(FILE *f, uint64_t **addr, size_t *nr)
{
	char line[64];
	size_t room = 0;

	while (fgets(line, sizeof(line), f)) {
		char *end;
		uint64_t at;

		if (strcmp(line, TAIL) == 0)
			return fgets(line, sizeof(line), f) ? -EBADMSG : 0;
		at = strtoull(line, &end, 16);
		if (end == line || strcmp(end, "\n") != 0 || !at || at % HS_HUGE_SIZE)
			return -EBADMSG;
		if (*nr == room) {
			uint64_t *grown = reallocarray(*addr, room = room ? room * 2 : 256, sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			*addr = grown;
		}
		(*addr)[(*nr)++] = at;
	}
	return -EBADMSG;
}

int hs_zero_record_read(const struct hs_host *host, pid_t pid, uint64_t **addr, size_t *nr, struct hs_error *err)
{
	char path[PATH_MAX], name[NAME_MAX], line[256];
	struct hs_state_owner now, owner;
	int rc = hs_state_owner_now(host, pid, &now);
	FILE *f;

	*addr = NULL;
	*nr = 0;
	if (rc)
		return hs_error_set(err, rc, "which process has the number %d cannot be told: %s", (int)pid,
				    strerror(-rc));
	record_name(pid, name);
	(void)snprintf(path, sizeof(path), "%s/%s", host->state_dir, name);
	rc = -EBADMSG;
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT
			   ? 0
			   : hs_error_set(err, -EBADMSG, "the record %s cannot be read: %s", path, strerror(errno));
	if (fgets(line, sizeof(line), f) && strcmp(line, HEAD) == 0 && fgets(line, sizeof(line), f) &&
	    strchr(line, '\n') && !hs_state_owner_parse(line, pid, &owner) && owner.boot[0])
		rc = hs_state_owner_same(&owner, &now) ? read_addresses(f, addr, nr) : 0;
	(void)fclose(f);
	if (!rc)
		return 0;
	free(*addr);
	*addr = NULL;
	*nr = 0;
	return rc == -ENOMEM ? hs_error_set(err, rc, "out of memory for the record %s", path)
			     : hs_error_set(err, rc, "the record %s cannot be believed: it is damaged", path);
}
