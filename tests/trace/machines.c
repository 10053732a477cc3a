/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual machines under software emulation for scripts: starts some, prints their process ids in one line when all are
 * ready, and ends them at the end of its standard input. usage: hs-machines NUMBER [--name=value]... (values as of
 * hs-guest). Exit status 77: QEMU or a kernel for it is not installed, standard error says which.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

#define MAX_MACHINES 16
#define READY_MS     180000

static int fail(const struct hs_error *err, int status)
{
	(void)fprintf(stderr, "hs-machines: %s\n", err->text);
	return status;
}

int main(int argc, char **argv)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_QEMU);
	const int nr = argc > 1 ? atoi(argv[1]) : 0;
	struct hs_guest *guests[MAX_MACHINES] = { NULL };
	struct hs_error err = { "" };
	int rc = 0;

	if (nr < 1 || nr > MAX_MACHINES) {
		(void)fprintf(stderr, "usage: hs-machines NUMBER [--name=value]...\n");
		return 2;
	}
	if (hs_guest_qemu_available(&cfg, &err))
		return fail(&err, 77);
	cfg.mem_merge_off = true;
	if (hs_guest_params_parse(&cfg.params, argc - 2, argv + 2, &err))
		return fail(&err, 2);
	for (int i = 0; i < nr && !rc; i++) {
		cfg.name = "machine";
		cfg.params.seed = (uint64_t)i + 1;
		rc = hs_guest_start(&guests[i], &cfg, &err);
	}
	for (int i = 0; i < nr && !rc; i++)
		rc = hs_guest_wait_ready(guests[i], READY_MS, NULL, &err);
	for (int i = 0; i < nr && !rc; i++)
		(void)printf("%d%c", hs_guest_pid(guests[i]), i + 1 < nr ? ' ' : '\n');
	(void)fflush(stdout);
	while (!rc && getchar() != EOF)
		;
	for (int i = 0; i < nr; i++)
		hs_guest_stop(guests[i]);
	return rc ? fail(&err, 1) : 0;
}
