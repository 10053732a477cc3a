/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the host's files are. Every path below /proc, /sys and the state folder comes from here, never from a literal,
 * so that a test can point a stage at a tree of its own.
 */
#ifndef HS_HOST_H
#define HS_HOST_H

struct hs_host {
	const char *proc_dir;  /* "/proc" */
	const char *ksm_dir;   /* "/sys/kernel/mm/ksm" */
	const char *thp_dir;   /* "/sys/kernel/mm/transparent_hugepage" */
	const char *sys_dir;   /* "/sys": what has no name of its own above; NULL where nobody asks for it */
	const char *state_dir; /* "/run/hs-share": what must survive a crash; made with mode 0700 when first needed */
	/* "/run/hs-share" whatever the state folder is: the lock of who has KSM, of which there is one a host. Made
	 * with mode 0700 when first needed. NULL: the state folder, for a host that is a test's own */
	const char *lock_dir;
};

/* The real host. */
#define HS_HOST_DEFAULT                                                                                                \
	((struct hs_host){                                                                                             \
	    .proc_dir = "/proc",                                                                                       \
	    .ksm_dir = "/sys/kernel/mm/ksm",                                                                           \
	    .thp_dir = "/sys/kernel/mm/transparent_hugepage",                                                          \
	    .sys_dir = "/sys",                                                                                         \
	    .state_dir = "/run/hs-share",                                                                              \
	    .lock_dir = "/run/hs-share",                                                                               \
	})

#endif
