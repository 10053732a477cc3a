/*
 * A note of which mappings are split for a look, one file a guest in the state folder. A fine window lasts a second or
 * two; when we are killed in it, the guest is unharmed but walks one more level of page table for those huge pages. The
 * next run finds the note and brings them back. The note names the process (base/state_file.h), so that a reused pid is
 * never mistaken for the guest.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/state_file.h"

#define HEADER "hs-share split 1\n"
#define PREFIX "split-"

static void journal_path(const struct hs_host *host, pid_t pid, char out[PATH_MAX])
{
	(void)snprintf(out, PATH_MAX, "%s/" PREFIX "%d", host->state_dir, pid);
}

/* What is written, and whose it is. */
struct text {
	struct hs_view *view;
	const hs_huge_nr *huge;
	size_t nr;
	struct hs_state_owner owner;
};

static void print(FILE *f, const void *ctx)
{
	const struct text *t = ctx;

	(void)fprintf(f, HEADER);
	hs_state_owner_print(f, t->view->pid, &t->owner);
	for (size_t i = 0; i < t->nr; i++)
		(void)fprintf(f, "%" PRIx64 "\n", hs_view_hva(t->view, t->huge[i]).v);
}

int hs_split_journal_write(const struct hs_host *host, struct hs_view *view, const hs_huge_nr *huge, size_t nr,
			   struct hs_error *err)
{
	struct text t = { .view = view, .huge = huge, .nr = nr };
	char name[NAME_MAX];
	int rc;

	if (!view->pid)
		return 0;
	rc = hs_state_owner_now(host, view->pid, &t.owner);
	if (rc)
		return hs_error_set(err, rc, "which process has the number %d cannot be told: %s", (int)view->pid,
				    strerror(-rc));
	(void)snprintf(name, sizeof(name), PREFIX "%d", view->pid);
	rc = hs_state_file_put(host, name, print, &t);
	return rc ? hs_error_set(err, rc, "cannot write %s/%s: %s", host->state_dir, name, strerror(-rc)) : 0;
}

void hs_split_journal_remove(const struct hs_host *host, pid_t pid)
{
	char name[NAME_MAX];

	if (!pid)
		return;
	(void)snprintf(name, sizeof(name), PREFIX "%d", pid);
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

/* What is noted of this very process, into huge[nr_huge]; *nr. -errno: it cannot be read now. */
static int read_note(const struct hs_host *host, const struct hs_view *view, hs_huge_nr *huge, size_t *nr)
{
	char path[PATH_MAX], line[256];
	struct hs_state_owner now, owner;
	uint64_t hva;
	FILE *f;
	int rc;

	*nr = 0;
	journal_path(host, view->pid, path);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? 0 : -errno;
	rc = hs_state_owner_now(host, view->pid, &now);
	if (!rc && fgets(line, sizeof(line), f) && strcmp(line, HEADER) == 0 && fgets(line, sizeof(line), f) &&
	    !hs_state_owner_parse(line, view->pid, &owner) && hs_state_owner_same(&owner, &now)) {
		hs_huge_nr h;

		while (*nr < view->nr_huge && fgets(line, sizeof(line), f))
			if (sscanf(line, "%" SCNx64, &hva) == 1 && find_huge(view, hva, &h))
				huge[(*nr)++] = h;
	}
	if (!rc && ferror(f))
		rc = -EIO;
	(void)fclose(f);
	return rc == -ESRCH ? 0 : rc;
}

size_t hs_split_journal_recover(const struct hs_host *host, struct hs_view *view, struct hs_fine *fine)
{
	hs_huge_nr *huge;
	size_t nr, left = 0;
	int rc;

	if (!view->pid)
		return 0;
	huge = calloc(view->nr_huge ? view->nr_huge : 1, sizeof(*huge));
	if (!huge)
		return 0; /* the note stays, for the next one */
	rc = read_note(host, view, huge, &nr);
	if (nr && hs_fine_give_back(fine, view, huge, nr, NULL) == -ENOMEM)
		left = nr;
	else
		left = hs_fine_pending(fine, view, NULL, 0);
	free(huge);
	if (!left && !rc)
		hs_split_journal_remove(host, view->pid);
	return left;
}
