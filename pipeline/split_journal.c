/*
 * A note of which mappings are split for a look, one file a guest and an owner, who looks at it, in the state folder. A
 * fine window lasts a second or two; when we are killed in it, the guest is unharmed but walks one more level of page
 * table for those huge pages. The next run finds the note and brings them back. The note names both processes by pid
 * and start time, so that a reused pid is never mistaken for the guest.
 *
 * The service and a command may look at one guest at the same time: each has a note of its own, and what an owner who
 * lives has split is left to it.
 */
#include "pipeline_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/procstat.h"

#define HEADER "hs-share split 1\n"

static void journal_path(const struct hs_host *host, pid_t pid, char out[4096])
{
	(void)snprintf(out, 4096, "%s/split-%d.%d", host->state_dir, pid, (int)getpid());
}

int hs_split_journal_write(const struct hs_host *host, struct hs_view *view, const hs_huge_nr *huge, size_t nr,
			   struct hs_error *err)
{
	char path[4096], tmp[4200];
	FILE *f;
	int rc = 0;

	if (!view->pid)
		return 0;
	if (mkdir(host->state_dir, 0700) && errno != EEXIST)
		return hs_error_set(err, -errno, "cannot make the state folder %s: %s", host->state_dir,
				    strerror(errno));
	journal_path(host, view->pid, path);
	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	f = fopen(tmp, "we");
	if (!f)
		return hs_error_set(err, -errno, "cannot write %s: %s", tmp, strerror(errno));
	(void)fprintf(f, HEADER "pid %d started %" PRIu64 "\nowner %d started %" PRIu64 "\n", view->pid,
		      hs_start_time(host, view->pid), (int)getpid(), hs_start_time(host, getpid()));
	for (size_t i = 0; i < nr; i++)
		(void)fprintf(f, "%" PRIx64 "\n", hs_view_hva(view, huge[i]).v);
	if (fflush(f) || ferror(f))
		rc = hs_error_set(err, -EIO, "cannot write %s: %s", tmp, strerror(errno));
	(void)fclose(f);
	/* Another run never reads half of it. */
	if (!rc && rename(tmp, path))
		rc = hs_error_set(err, -errno, "cannot write %s: %s", path, strerror(errno));
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

/* What one note has, added to huge[nr_huge]; *nr. False: its owner lives, and it is left alone. */
static bool read_note(const struct hs_host *host, const struct hs_view *view, const char *path, hs_huge_nr *huge,
		      size_t *nr)
{
	char line[128];
	uint64_t started = 0, owner_started = 0, hva;
	int pid = 0, owner = 0;
	bool known = false, lives = false;
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	if (fgets(line, sizeof(line), f) && strcmp(line, HEADER) == 0 && fgets(line, sizeof(line), f))
		known = sscanf(line, "pid %d started %" SCNu64, &pid, &started) == 2 && pid == view->pid &&
			started == hs_start_time(host, view->pid);
	while (known && !lives && fgets(line, sizeof(line), f)) {
		hs_huge_nr h;

		if (sscanf(line, "owner %d started %" SCNu64, &owner, &owner_started) == 2)
			lives = owner != (int)getpid() && owner_started == hs_start_time(host, owner) && owner_started;
		else if (*nr < view->nr_huge && sscanf(line, "%" SCNx64, &hva) == 1 && find_huge(view, hva, &h))
			huge[(*nr)++] = h;
	}
	(void)fclose(f);
	return !lives;
}

/* Whether the name is a note's about this guest: "split-PID", as older versions have it, or "split-PID.OWNER". */
static bool is_note(const char *name, pid_t pid)
{
	char *end;

	if (strncmp(name, "split-", 6) != 0 || strtol(name + 6, &end, 10) != pid)
		return false;
	return *end == '\0' || (*end == '.' && end[1 + strspn(end + 1, "0123456789")] == '\0');
}

size_t hs_split_journal_recover(const struct hs_host *host, struct hs_view *view, struct hs_fine *fine)
{
	DIR *d = view->pid ? opendir(host->state_dir) : NULL;
	hs_huge_nr *huge = NULL;
	size_t left = 0;
	struct dirent *e;

	if (!d)
		return 0;
	huge = calloc(view->nr_huge ? view->nr_huge : 1, sizeof(*huge));
	while (huge && (e = readdir(d))) { /* without memory the notes stay, for the next one */
		char path[4096];
		size_t nr = 0;

		(void)snprintf(path, sizeof(path), "%s/%s", host->state_dir, e->d_name);
		if (!is_note(e->d_name, view->pid) || !read_note(host, view, path, huge, &nr))
			continue;
		if (nr && hs_fine_give_back(fine, view, huge, nr, NULL) == -ENOMEM)
			left += nr;
		else
			(void)unlink(path);
	}
	(void)closedir(d);
	/* What cannot be brought back now is noted as ours from here on. */
	if (huge) {
		const size_t pending = hs_fine_pending(fine, view, huge, view->nr_huge);

		if (pending && hs_split_journal_write(host, view, huge, pending, NULL))
			(void)fprintf(stderr,
				      "hs-share: %zu mappings of process %d are split still, and no note says so\n",
				      pending, (int)view->pid);
		left += pending;
	}
	free(huge);
	return left;
}
