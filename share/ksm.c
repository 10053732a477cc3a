/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KSM's owner: one process a host, and whatever it changes is given back, by itself or by the next one.
 *
 * Order, and what each step closes:
 * 1. The lock (ksm_lock.c, at one place of the host, held as long as the owner lives): two owners can neither run at
 *    once nor take one another's settings for the host's own.
 * 2. What a crashed owner left is given back, under the lock, from his state folder where that is another one: its file
 *    says what the host's settings were, and must not be overwritten with the settings that the crashed owner had made.
 * 3. Only then is looked who else drives KSM: a ksmd that runs because of a crash has been stopped by now.
 * 4. The knobs are read and saved when the first burst starts, not before: an owner that never ran a burst has nothing
 *    to give back, and an operator may set knobs up to that moment.
 *
 * A crash within a burst leaves ksmd running, on the planned ranges only, until the next start or hs_ksm_recover().
 */
#include "ksm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "foreign_claim.h"
#include "base/hostfile.h"
#include "base/procstat.h"

struct hs_ksm {
	struct hs_host host;
	bool dry_run;
	bool saved_on_disk; /* the state file is ours, and knobs may have been changed */
	struct hs_ksm_lock lock;
	struct hs_ksm_knobs saved;
	bool has_last[HS_KSM_NR_KNOBS];
	uint64_t last[HS_KSM_NR_KNOBS]; /* what we set last */
	struct hs_ksm_knobs pending;    /* an earlier owner's, that the kernel would not take back yet */
	pid_t ksmd;
};

static int make_state_dir(const struct hs_host *host, struct hs_error *err)
{
	if (mkdir(host->state_dir, 0700) && errno != EEXIST)
		return hs_error_set(err, -errno, "cannot make the state folder %s: %s", host->state_dir,
				    strerror(errno));
	return 0;
}

/* ---- what a crashed owner left ---- */

static void say_theirs(const struct hs_host *host, const struct hs_ksm_restored *r)
{
	if (r->theirs[0])
		(void)fprintf(stderr, "hs-share: in %s somebody else has set meanwhile, and it is left so: %s\n",
			      host->ksm_dir, r->theirs);
}

/* Under the lock. 1: something was given back. *left: what could not be yet. */
static int recover_locked(const struct hs_host *host, struct hs_ksm_knobs *left, struct hs_error *err)
{
	struct hs_ksm_restored restored;
	struct hs_ksm_knobs knobs;
	int rc = hs_ksm_state_read(host, &knobs, err);

	memset(left, 0, sizeof(*left));
	if (rc == -ENOENT)
		return hs_ksm_state_remove(host, err); /* one of another boot, or half of one, may lie there */
	if (rc)
		return rc;
	rc = hs_ksm_knobs_restore(host, &knobs, &restored, err);
	*left = restored.left;
	say_theirs(host, &restored);
	if (rc)
		return rc; /* the file stays, so that it can be tried again */
	if (left->has[HS_KSM_MAX_PAGE_SHARING]) {
		rc = hs_ksm_state_write(host, left, err);
		return rc ? rc : knobs.has[HS_KSM_RUN];
	}
	rc = hs_ksm_state_remove(host, err);
	return rc ? rc : 1;
}

/* The same, and before it of an owner who was killed and had another state folder. */
static int recover_all(const struct hs_host *host, const struct hs_ksm_lock *lock, struct hs_ksm_knobs *left,
		       struct hs_error *err)
{
	struct hs_ksm_knobs theirs = { 0 };
	struct hs_host other = *host;
	int first = 0, rc;

	other.state_dir = lock->left_dir;
	if (lock->left_dir[0] && strcmp(lock->left_dir, host->state_dir) != 0) {
		first = recover_locked(&other, &theirs, err);
		if (first >= 0 && hs_foreign_claim_give_back(&other))
			first = 1;
	}
	rc = first < 0 ? first : recover_locked(host, left, err);
	if (rc >= 0 && !left->has[HS_KSM_MAX_PAGE_SHARING])
		*left = theirs;
	return rc < 0 ? rc : first || rc;
}

int hs_ksm_recover(const struct hs_host *host, struct hs_error *err)
{
	const char *dir = host->lock_dir ? host->lock_dir : host->state_dir;
	struct hs_ksm_knobs left;
	struct hs_ksm_lock lock;
	struct stat st;
	int rc;

	if (stat(dir, &st))
		return errno == ENOENT ? 0 : hs_error_set(err, -errno, "cannot look at %s: %s", dir, strerror(errno));
	rc = hs_ksm_lock_take(host, &lock, err);
	if (rc)
		return rc;
	rc = recover_all(host, &lock, &left, err);
	/* Nobody shares now: memory of others that a killed one had claimed is theirs again. */
	if (rc >= 0 && hs_foreign_claim_give_back(host))
		rc = 1;
	hs_ksm_lock_drop(&lock);
	return rc;
}

/* ---- who else drives it ---- */

struct ksmtuned {
	const struct hs_host *host;
	pid_t pid;
};

static int is_ksmtuned(void *ctx, pid_t pid)
{
	struct ksmtuned *find = ctx;
	char comm[32];

	if (hs_hostfile_read_pid(find->host, pid, "comm", comm, sizeof(comm)) < 0 || strcmp(comm, "ksmtuned") ||
	    !hs_may_be_of_root(find->host, pid)) /* anybody may run something of that name */
		return 0;
	find->pid = pid;
	return 1;
}

static int refuse_running(const struct hs_host *host, struct hs_error *err)
{
	uint64_t run;
	int rc = hs_hostfile_u64(host->ksm_dir, "run", &run);

	if (rc)
		return hs_error_set(err, rc, "cannot read %s/run: %s", host->ksm_dir, strerror(-rc));
	if (run == 1)
		return hs_error_set(
		    err, -EBUSY,
		    "KSM runs already (%s/run is 1), for somebody else: stop it with 'echo 0 > %s/run', and what "
		    "starts it (ksm.service, ksmtuned.service)",
		    host->ksm_dir, host->ksm_dir);
	return 0;
}

static int refuse_drivers(const struct hs_host *host, struct hs_error *err)
{
	struct ksmtuned find = { .host = host };
	int rc = refuse_running(host, err);

	if (rc)
		return rc;
	rc = hs_hostfile_each_pid(host, is_ksmtuned, &find);
	if (rc < 0)
		return hs_error_set(err, rc, "cannot read %s: %s", host->proc_dir, strerror(-rc));
	if (rc)
		return hs_error_set(err, -EBUSY,
				    "ksmtuned (pid %d) drives KSM on this host: stop it with 'systemctl stop ksmtuned'",
				    (int)find.pid);
	return 0;
}

/* ---- the owner ---- */

int hs_ksm_acquire(struct hs_ksm **out, const struct hs_host *host, bool dry_run, struct hs_error *err)
{
	struct hs_ksm_knobs knobs;
	struct hs_ksm *k;
	int rc;

	*out = NULL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return hs_error_set(err, -ENOMEM, "out of memory");
	k->host = *host;
	k->dry_run = dry_run;
	k->lock.fd = -1;
	rc = hs_ksm_knobs_read(host, &knobs, err);
	if (!rc && !dry_run) {
		rc = make_state_dir(host, err);
		if (!rc)
			rc = hs_ksm_lock_take(host, &k->lock, err);
		if (!rc)
			rc = recover_all(host, &k->lock, &k->pending, err);
	}
	if (rc >= 0)
		rc = refuse_drivers(host, err);
	if (rc < 0) {
		hs_ksm_release(k);
		return rc;
	}
	*out = k;
	return 0;
}

void hs_ksm_release(struct hs_ksm *k)
{
	struct hs_error err = { "" };
	struct hs_ksm_restored r;
	int rc;

	if (!k)
		return;
	if (k->saved_on_disk) {
		/* Here it is known what each holds, if nobody else has set it. */
		for (int i = 0; i < HS_KSM_NR_KNOBS; i++)
			if (k->has_last[i])
				k->saved.least[i] = k->saved.most[i] = k->last[i];
		rc = hs_ksm_knobs_restore(&k->host, &k->saved, &r, &err);
		say_theirs(&k->host, &r);
		if (!rc)
			rc = r.left.has[HS_KSM_MAX_PAGE_SHARING] ? hs_ksm_state_write(&k->host, &r.left, &err)
								 : hs_ksm_state_remove(&k->host, &err);
		if (rc)
			(void)fprintf(stderr, "hs-share: %s; the settings to give back are in %s/ksm.state\n", err.text,
				      k->host.state_dir);
	}
	hs_ksm_lock_drop(&k->lock);
	free(k);
}

/* ---- bursts ---- */

/* What the setup is about to set. Whether the state file does not have it yet. */
static bool note_setup(struct hs_ksm *k, const struct hs_ksm_setup *setup)
{
	const uint32_t least = setup->least_pages ? setup->least_pages : setup->pages_to_scan;
	const uint32_t most = setup->most_pages ? setup->most_pages : setup->pages_to_scan;
	bool wider = hs_ksm_knobs_note(&k->saved, HS_KSM_RUN, 0, 1);

	wider |= hs_ksm_knobs_note(&k->saved, HS_KSM_PAGES_TO_SCAN, least, most);
	wider |= hs_ksm_knobs_note(&k->saved, HS_KSM_SLEEP_MS, setup->sleep_ms, setup->sleep_ms);
	wider |= hs_ksm_knobs_note(&k->saved, HS_KSM_SMART_SCAN, 0, 0);
	wider |= hs_ksm_knobs_note(&k->saved, HS_KSM_USE_ZERO_PAGES, setup->use_zero_pages, setup->use_zero_pages);
	if (setup->max_page_sharing)
		wider |= hs_ksm_knobs_note(&k->saved, HS_KSM_MAX_PAGE_SHARING, setup->max_page_sharing,
					   setup->max_page_sharing);
	return wider;
}

/* On the disk before anything is set: the knobs as they are, the first time, and what we are about to make of them. */
static int save(struct hs_ksm *k, const struct hs_ksm_setup *setup, struct hs_error *err)
{
	const enum hs_ksm_knob sharing = HS_KSM_MAX_PAGE_SHARING;
	int rc = k->saved_on_disk ? 0 : hs_ksm_knobs_read(&k->host, &k->saved, err);

	if (rc)
		return rc;
	if (!k->saved_on_disk && k->pending.has[sharing]) {
		/* An earlier owner of ours set what it holds now. */
		(void)hs_ksm_knobs_note(&k->saved, sharing, k->saved.value[sharing], k->saved.value[sharing]);
		k->last[sharing] = k->saved.value[sharing];
		k->has_last[sharing] = true;
		k->saved.value[sharing] = k->pending.value[sharing];
	}
	if (!note_setup(k, setup) && k->saved_on_disk)
		return 0;
	rc = hs_ksm_state_write(&k->host, &k->saved, err);
	if (!rc)
		k->saved_on_disk = true;
	return rc;
}

static int set_knob(struct hs_ksm *k, enum hs_ksm_knob knob, uint64_t value, struct hs_error *err)
{
	uint64_t now;
	int rc = hs_hostfile_u64(k->host.ksm_dir, hs_ksm_knob_name[knob], &now);

	if (!rc && now != value)
		rc = hs_hostfile_write_u64(k->host.ksm_dir, hs_ksm_knob_name[knob], value);
	if (rc)
		return hs_error_set(err, rc, "cannot set %s/%s to %llu: %s", k->host.ksm_dir, hs_ksm_knob_name[knob],
				    (unsigned long long)value, strerror(-rc));
	k->last[knob] = value;
	k->has_last[knob] = true;
	return 0;
}

int hs_ksm_start(struct hs_ksm *k, const struct hs_ksm_setup *setup, struct hs_error *err)
{
	int rc = refuse_running(&k->host, err);

	if (rc || k->dry_run)
		return rc;
	rc = save(k, setup, err);
	if (!rc && k->saved.advisor[0]) {
		rc = hs_hostfile_write(k->host.ksm_dir, "advisor_mode", "none\n");
		if (rc)
			return hs_error_set(err, rc, "cannot set %s/advisor_mode to none: %s", k->host.ksm_dir,
					    strerror(-rc));
	}
	if (!rc && k->saved.has[HS_KSM_SMART_SCAN])
		rc = set_knob(k, HS_KSM_SMART_SCAN, 0, err);
	if (!rc && k->saved.has[HS_KSM_USE_ZERO_PAGES])
		rc = set_knob(k, HS_KSM_USE_ZERO_PAGES, setup->use_zero_pages, err);
	if (!rc && k->saved.has[HS_KSM_MAX_PAGE_SHARING] && setup->max_page_sharing) {
		/* The kernel takes it only while nothing is shared: later bursts go on with what the first one set. */
		rc = set_knob(k, HS_KSM_MAX_PAGE_SHARING, setup->max_page_sharing, err);
		if (rc == -EBUSY)
			rc = 0;
	}
	if (!rc)
		rc = set_knob(k, HS_KSM_PAGES_TO_SCAN, setup->pages_to_scan, err);
	if (!rc)
		rc = set_knob(k, HS_KSM_SLEEP_MS, setup->sleep_ms, err);
	if (!rc)
		rc = set_knob(k, HS_KSM_RUN, 1, err);
	return rc;
}

int hs_ksm_pace(struct hs_ksm *k, uint32_t pages_to_scan)
{
	return k->dry_run ? 0 : set_knob(k, HS_KSM_PAGES_TO_SCAN, pages_to_scan, NULL);
}

int hs_ksm_stop(struct hs_ksm *k, struct hs_error *err)
{
	int rc = k->dry_run ? 0 : set_knob(k, HS_KSM_RUN, 0, err);

	if (rc || !k->saved_on_disk)
		return rc;
	/* Between bursts a ksmd that runs is somebody else's, whoever looks after a crash of ours. When this cannot be
	 * written it counts as ours, as in a burst. */
	k->saved.least[HS_KSM_RUN] = k->saved.most[HS_KSM_RUN] = 0;
	(void)!hs_ksm_state_write(&k->host, &k->saved, NULL);
	return 0;
}

int hs_ksm_sample(struct hs_ksm *k, struct hs_ksm_counters *out, struct hs_error *err)
{
	return hs_ksm_counters_of(&k->host, &k->ksmd, out, err);
}
