/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the state folder that say what we are about to change, and what was there before, for whoever comes after a
 * crash. What is common to them: how one takes the place of another, and how one names the process that it is about.
 *
 * A file is made anew beside the old one, flushed and renamed: at any instant there is a whole one, or none. The
 * process is named by its start time, its program (exec puts other memory in place of the old) and the boot.
 */
#ifndef HS_BASE_STATE_FILE_H
#define HS_BASE_STATE_FILE_H

#include <limits.h>
#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"
#include "procstat.h"

/* Writes the text of a file; what fails is asked of `f`. */
typedef void hs_state_file_print(FILE *f, const void *ctx);

/* Puts the file in place of the one before. Makes the state folder when it is not there. 0 or -errno. */
HS_MUST_USE int hs_state_file_put(const struct hs_host *host, const char *name, hs_state_file_print *print,
				  const void *ctx);

/* The same for what says nothing in another boot: it is whole after a crash of ours, and does not wait for the disk, so
 * that after the machine's it may be torn. */
HS_MUST_USE int hs_state_file_put_for_boot(const struct hs_host *host, const char *name, hs_state_file_print *print,
					   const void *ctx);

/* Removes the file, and what a killed one has written of the next. 0, also when there is none, or -errno. */
HS_MUST_USE int hs_state_file_remove(const struct hs_host *host, const char *name);

enum { HS_STATE_BOOT_MAX = 64 };

/* What names this boot, one word. -errno: it cannot be read now, which is not another boot. */
HS_MUST_USE int hs_state_file_boot(const struct hs_host *host, char out[HS_STATE_BOOT_MAX]);

struct hs_state_owner {
	struct hs_process_id process;
	char boot[HS_STATE_BOOT_MAX]; /* "": not said */
};

/* The process that has the number now, in this boot. Errors of hs_process_id_read. */
HS_MUST_USE int hs_state_owner_now(const struct hs_host *host, pid_t pid, struct hs_state_owner *out);

/* The file's second line, with and without its end. -EBADMSG: it is none, or names another number. */
void hs_state_owner_print(FILE *f, pid_t pid, const struct hs_state_owner *owner);
HS_MUST_USE int hs_state_owner_parse(const char *line, pid_t pid, struct hs_state_owner *out);

/* Whether both mean the same process, as far as they say its program; in the same boot, which both have to say. */
bool hs_state_owner_same(const struct hs_state_owner *a, const struct hs_state_owner *b);

/*
 * Calls `visit` for each file of the state folder that is called `prefix` and a number (of which it may be the record),
 * and removes those that were written half. 0, also where there is no folder. -errno: there may be more of them.
 */
HS_MUST_USE int hs_state_file_each(const struct hs_host *host, const char *prefix,
				   void (*visit)(void *ctx, const struct hs_host *host, pid_t pid, const char *path),
				   void *ctx);

#endif
