/*
 * A note of which mappings are split for a look, one file a guest in the state folder. A fine window lasts a second or
 * two; when we are killed in it, the guest is unharmed but walks one more level of page table for those huge pages. The
 * next run finds the note and brings them back. The note names the process by pid and start time, so that a reused pid
 * is never mistaken for the guest.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/procstat.h"

static void journal_path(const struct hs_host *host, pid_t pid, char out[4096])
{
	(void)snprintf(out, 4096, "%s/split-%d", host->state_dir, pid);
}

int hs_split_journal_write(const struct hs_host *host, struct hs_view *view, const hs_huge_nr *huge, size_t nr,
			   struct hs_error *err)
{
	char path[4096];
	FILE *f;
	int rc = 0;

	if (!view->pid)
		return 0;
	if (mkdir(host->state_dir, 0700) && errno != EEXIST)
		return hs_error_set(err, -errno, "cannot make the state folder %s: %s", host->state_dir,
				    strerror(errno));
	journal_path(host, view->pid, path);
	f = fopen(path, "we");
	if (!f)
		return hs_error_set(err, -errno, "cannot write %s: %s", path, strerror(errno));
	(void)fprintf(f, "hs-share split 1\npid %d started %" PRIu64 "\n", view->pid, hs_start_time(host, view->pid));
	for (size_t i = 0; i < nr; i++)
		(void)fprintf(f, "%" PRIx64 "\n", hs_view_hva(view, huge[i]).v);
	if (fflush(f) || ferror(f))
		rc = hs_error_set(err, -EIO, "cannot write %s: %s", path, strerror(errno));
	(void)fclose(f);
	return rc;
}

void hs_split_journal_remove(const struct hs_host *host, pid_t pid)
{
	char path[4096];

	if (!pid)
		return;
	journal_path(host, pid, path);
	(void)unlink(path);
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

/* What is noted of this very process, into huge[nr_huge]; *nr. */
static void read_note(const struct hs_host *host, const struct hs_view *view, hs_huge_nr *huge, size_t *nr)
{
	char path[4096], line[128];
	uint64_t started = 0, hva;
	int pid = 0;
	FILE *f;

	*nr = 0;
	journal_path(host, view->pid, path);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(line, sizeof(line), f) && strcmp(line, "hs-share split 1\n") == 0 && fgets(line, sizeof(line), f) &&
	    sscanf(line, "pid %d started %" SCNu64, &pid, &started) == 2 && pid == view->pid &&
	    started == hs_start_time(host, view->pid)) {
		hs_huge_nr h;

		while (*nr < view->nr_huge && fgets(line, sizeof(line), f))
			if (sscanf(line, "%" SCNx64, &hva) == 1 && find_huge(view, hva, &h))
				huge[(*nr)++] = h;
	}
	(void)fclose(f);
}

size_t hs_split_journal_recover(const struct hs_host *host, struct hs_view *view, struct hs_fine *fine)
{
	hs_huge_nr *huge;
	size_t nr, left = 0;

	if (!view->pid)
		return 0;
	huge = calloc(view->nr_huge ? view->nr_huge : 1, sizeof(*huge));
	if (!huge)
		return 0; /* the note stays, for the next one */
	read_note(host, view, huge, &nr);
	if (nr && hs_fine_give_back(fine, view, huge, nr, NULL) == -ENOMEM)
		left = nr;
	else
		left = hs_fine_owed(fine, view, NULL, 0);
	free(huge);
	if (!left)
		hs_split_journal_remove(host, view->pid);
	return left;
}
