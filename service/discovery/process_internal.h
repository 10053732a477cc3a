/* SPDX-License-Identifier: Apache-2.0 */
/* One process, as a walk looks at it: by an open folder of /proc, which stays that process's. */
#ifndef HS_SERVICE_DISCOVERY_PROCESS_INTERNAL_H
#define HS_SERVICE_DISCOVERY_PROCESS_INTERNAL_H

#include <limits.h>
#include <sys/stat.h>

#include "discovery.h"
#include "rules_internal.h"

/* A pid file that is to be believed: its name, and the process in it. */
struct hs_discovery_pid_file {
	pid_t pid;
	char name[NAME_MAX + 1];
};
struct hs_discovery_pid_files {
	struct hs_discovery_pid_file *file;
	size_t nr;
};

/* Reads those of a rule; what is no file of root's alone is passed over. -ENOMEM, -errno; no such folder: none. */
HS_MUST_USE int hs_discovery_pid_files_read(struct hs_discovery_pid_files *out, const struct hs_rule *rule);
const char *hs_discovery_pid_file_of(const struct hs_discovery_pid_files *files, pid_t pid);

/*
 * The file it runs, without what the kernel adds when that was deleted. exe: its link, from dir_fd. False: it has none,
 * or is gone.
 */
bool hs_discovery_executable(int dir_fd, const char *exe, char out[PATH_MAX]);

/* Why it is not safe to believe what this process says of itself; false: it is. */
bool hs_discovery_unsafe(int dir_fd, const struct hs_host *host, const struct hs_rule *rule, char why[256]);

/* Its arguments with a space between two; a space inside one is '_'. malloc'ed; NULL: unreadable, *rc says why. */
char *hs_discovery_command_line(int dir_fd, int *rc);
char *hs_discovery_cgroup(int dir_fd, int *rc);

/* 1: it has a mapping as a guest's RAM, of at least so many bytes; 0: it has not; -errno. */
HS_MUST_USE int hs_discovery_has_memory(int dir_fd, uint64_t min_bytes);

#endif
