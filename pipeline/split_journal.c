/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A note of which mappings are split for a look, one file a guest and an owner, who looks at it, in the state folder. A
 * fine window lasts a second or two; when we are killed in it, the guest is unharmed but walks one more level of page
 * table for those huge pages. The next run finds the note and brings them back. The note names both processes
 * (base/state_file.h), so that a reused pid is never mistaken for the guest, or for the owner.
 *
 * The service and a command may look at one guest at the same time: each has a note of its own, and what an owner who
 * lives has split is left to it.
 */
#include "pipeline_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/state_file.h"

#define HEADER "hs-share split 1\n"
#define PREFIX "split-"

/* What is written, and whose it is. */
struct text {
	struct hs_view *view;
	const hs_huge_nr *huge;
	size_t nr;
	struct hs_state_owner guest, owner;
};

static void print(FILE *f, const void *ctx)
{
	const struct text *t = ctx;

	(void)fprintf(f, HEADER);
	hs_state_owner_print(f, t->view->pid, &t->guest);
	(void)fprintf(f, "owner ");
	hs_state_owner_print(f, getpid(), &t->owner);
	for (size_t i = 0; i < t->nr; i++)
		(void)fprintf(f, "%" PRIx64 "\n", hs_view_hva(t->view, t->huge[i]).v);
}

static void note_name(pid_t pid, char out[NAME_MAX])
{
	(void)snprintf(out, NAME_MAX, PREFIX "%d.%d", (int)pid, (int)getpid());
}

int hs_split_journal_write(const struct hs_host *host, struct hs_view *view, const hs_huge_nr *huge, size_t nr,
			   struct hs_error *err)
{
	struct text t = { .view = view, .huge = huge, .nr = nr };
	char name[NAME_MAX];
	int rc;

	if (!view->pid)
		return 0;
	rc = hs_state_owner_now(host, view->pid, &t.guest);
	if (!rc)
		rc = hs_state_owner_now(host, getpid(), &t.owner);
	if (rc)
		return hs_error_set(err, rc, "which process has the number %d cannot be told: %s", (int)view->pid,
				    strerror(-rc));
	note_name(view->pid, name);
	rc = hs_state_file_put(host, name, print, &t);
	return rc ? hs_error_set(err, rc, "cannot write %s/%s: %s", host->state_dir, name, strerror(-rc)) : 0;
}

void hs_split_journal_remove(const struct hs_host *host, pid_t pid)
{
	char name[NAME_MAX];

	if (!pid)
		return;
	note_name(pid, name);
	(void)!hs_state_file_remove(host, name);
}

static bool find_huge(const struct hs_view *v, uint64_t hva, hs_huge_nr *out)
{
	for (size_t i = 0; i < v->nr_regions; i++) {
		const struct hs_region *r = &v->regions[i];

		if (hva >= r->hva.v && hva < r->hva.v + r->nr_huge * HS_HUGE_SIZE && !(hva & (HS_HUGE_SIZE - 1))) {
			*out = r->first_huge + (hs_huge_nr)((hva - r->hva.v) >> HS_HUGE_SHIFT);
			return true;
		}
	}
	return false;
}

/* Whether the owner that the line names is another process than this one, and lives. What cannot be told counts so. */
static bool other_lives(const struct hs_host *host, const char *line)
{
	struct hs_state_owner was, now;
	int pid = 0, rc;

	if (sscanf(line, "owner pid %d", &pid) != 1 || pid == (int)getpid())
		return false;
	rc = hs_state_owner_now(host, pid, &now);
	if (rc)
		return rc != -ESRCH;
	return !hs_state_owner_parse(line + strlen("owner "), pid, &was) && hs_state_owner_same(&was, &now);
}

/*
 * What one note has of this very process, added to huge[nr_huge]. 0: the note is to go when that is brought back;
 * -EBUSY: its owner lives; -errno: it cannot be read now.
 */
static int read_note(const struct hs_host *host, const struct hs_view *view, const char *path, hs_huge_nr *huge,
		     size_t *nr)
{
	struct hs_state_owner now, guest;
	char line[256];
	uint64_t hva;
	bool lives = false;
	FILE *f = fopen(path, "re");
	int rc;

	if (!f)
		return errno == ENOENT ? 0 : -errno;
	rc = hs_state_owner_now(host, view->pid, &now);
	if (!rc && fgets(line, sizeof(line), f) && strcmp(line, HEADER) == 0 && fgets(line, sizeof(line), f) &&
	    !hs_state_owner_parse(line, view->pid, &guest) && hs_state_owner_same(&guest, &now)) {
		hs_huge_nr h;

		while (!lives && *nr < view->nr_huge && fgets(line, sizeof(line), f)) {
			lives = other_lives(host, line);
			if (!lives && sscanf(line, "%" SCNx64, &hva) == 1 && find_huge(view, hva, &h))
				huge[(*nr)++] = h;
		}
	}
	if (!rc && ferror(f))
		rc = -EIO;
	(void)fclose(f);
	if (lives)
		return -EBUSY;
	return rc == -ESRCH ? 0 : rc;
}

/* Whether the name is a note's about this guest: "split-PID", as older versions have it, or "split-PID.OWNER". */
static bool is_note(const char *name, pid_t pid)
{
	char *end;

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || strtol(name + strlen(PREFIX), &end, 10) != pid)
		return false;
	return *end == '\0' || (*end == '.' && end[1 + strspn(end + 1, "0123456789")] == '\0');
}

size_t hs_split_journal_recover(const struct hs_host *host, struct hs_view *view, struct hs_fine *fine)
{
	DIR *d = view->pid ? opendir(host->state_dir) : NULL;
	hs_huge_nr *huge = NULL;
	size_t pending = 0, unread = 0;
	char own[NAME_MAX];
	struct dirent *e;

	if (!d)
		return 0;
	note_name(view->pid, own);
	huge = calloc(view->nr_huge ? view->nr_huge : 1, sizeof(*huge));
	while (huge && (e = readdir(d))) { /* without memory the notes stay, for the next one */
		char path[PATH_MAX];
		size_t nr = 0;

		(void)snprintf(path, sizeof(path), "%s/%s", host->state_dir, e->d_name);
		if (!is_note(e->d_name, view->pid) || read_note(host, view, path, huge, &nr))
			continue;
		if (nr && hs_fine_give_back(fine, view, huge, nr, NULL) == -ENOMEM) {
			unread += nr;
			continue;
		}
		/* What cannot be brought back now is noted as ours before the old note goes. */
		pending = hs_fine_pending(fine, view, huge, view->nr_huge);
		if ((!pending || !hs_split_journal_write(host, view, huge, pending, NULL)) &&
		    (!pending || strcmp(e->d_name, own) != 0))
			(void)unlink(path);
	}
	(void)closedir(d);
	free(huge);
	return unread + pending;
}
