/* SPDX-License-Identifier: Apache-2.0 */
/* What the library's files know in common; nobody else's. */
#ifndef HS_TESTS_GUEST_GUEST_PRIVATE_H
#define HS_TESTS_GUEST_GUEST_PRIVATE_H

#include "guest.h"

struct hs_guest {
	enum hs_guest_kind kind;
	char name[32];
	pid_t pid;
	bool reaped;
	int wait_status; /* when reaped */
	int control_fd;  /* our end of the control line */
	int log_fd;      /* a memory file: standard error, QEMU's messages and the machine's console */
	uint64_t started_ns;
	uint64_t ram_bytes; /* QEMU: of the machine */
	uint64_t ram_hva;   /* QEMU: where guest-physical 0 is; 0 until found */
	struct hs_guest_layout layout;
	hs_hva *hva; /* [layout.nr_huge]; 0 until located */
	char *line;  /* what came from the guest and is no whole line yet */
	size_t line_len, line_size;
};

/*
 * Forks and runs argv, with the control line on standard input and output, the log on standard error, and extra_fd (-1:
 * none) under its own number.
 */
HS_MUST_USE int hs_guest_spawn(struct hs_guest *g, char *const *argv, int extra_fd, struct hs_error *err);

/* The end of the log into buf, on one line. */
void hs_guest_log_tail(const struct hs_guest *g, char *buf, size_t size);

HS_MUST_USE int hs_guest_start_process(struct hs_guest *g, const struct hs_guest_config *cfg, struct hs_error *err);
HS_MUST_USE int hs_guest_start_qemu(struct hs_guest *g, const struct hs_guest_config *cfg, struct hs_error *err);

/* Makes sure that the host maps every huge page of the workload as one. -EAGAIN. */
HS_MUST_USE int hs_guest_make_whole(struct hs_guest *g, struct hs_error *err);

/* A memory file with an initramfs whose /init is `program`. */
HS_MUST_USE int hs_guest_initramfs(int *fd, const char *program, struct hs_error *err);

/* What follows a machine's kernel: the kernel's own arguments and the workload's parameters. */
void hs_guest_command_line(const struct hs_guest_params *p, char *buf, size_t size);

uint64_t hs_guest_now_ns(void);

/* Sends a command; waits for its answer: a line that begins with the command's name, whose object goes to *json. */
HS_MUST_USE int hs_guest_send(struct hs_guest *g, const char *line, struct hs_error *err);
HS_MUST_USE int hs_guest_receive(struct hs_guest *g, const char *name, int timeout_ms, char **json,
				 struct hs_error *err);

/* The number after "key": in an object; -EPROTO when it is not there. */
HS_MUST_USE int hs_guest_field(const char *json, const char *key, uint64_t *out);

#endif
