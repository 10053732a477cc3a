/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hs-guest: a guest's workload. As a plain process it is a guest itself, commanded over stdin and stdout; as process 1
 * of a virtual machine it prepares the machine first (vm.c) and is commanded over the second serial line.
 *
 * Commands, one a line; each answer is one line: the command's name and an object of JSON, or "error" and a text.
 *   stats          what was accessed and how fast since the last time
 *   verify         reads and compares all of the memory, cold pages included
 *   layout         where the huge pages are: runs of [address, how many]; in a machine: guest-physical addresses
 *   write N SEED   overwrites N cold identical pages with contents of this guest alone
 *   heat N, cool   turns N more cold huge pages hot; turns all those cold again
 *   pause, resume  the accesses
 *   quit
 * The end of the input ends the program: a guest never outlives who started it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm.h"
#include "work.h"

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)putchar('\n');
	(void)fflush(stdout);
}

static void say_stats(struct hs_work *w)
{
	struct hs_work_stats s;

	hs_work_stats(w, &s);
	say("stats {\"accesses\":%" PRIu64 ",\"writes\":%" PRIu64 ",\"elapsed_ns\":%" PRIu64 ",\"batches\":%" PRIu64
	    ",\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64 ",\"p999_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64
	    ",\"sweep_ns\":%" PRIu64 ",\"hot_errors\":%" PRIu64 "}",
	    s.accesses, s.writes, s.elapsed_ns, s.batches, s.p50_ns, s.p99_ns, s.p999_ns, s.max_ns, s.sweep_ns,
	    s.hot_errors);
}

static void say_verified(struct hs_work *w)
{
	struct hs_work_verified v;

	hs_work_verify(w, &v);
	say("verify {\"bad_pages\":%" PRIu64 ",\"checked_pages\":%" PRIu64 ",\"first_bad\":%" PRId64 "}", v.bad_pages,
	    v.checked_pages, (int64_t)v.first_bad);
}

/* Runs of huge pages that follow one another in the addresses that the host can use. */
static int say_layout(struct hs_work *w, bool in_vm)
{
	uint32_t nr = hs_work_layout(w)->nr_huge;
	uint64_t *at = calloc(nr, sizeof(*at));
	int ret = 0;

	if (!at)
		return -ENOMEM;
	if (in_vm) {
		ret = hs_vm_physical(hs_work_base(w), nr, at);
	} else {
		for (uint32_t h = 0; h < nr; h++)
			at[h] = (uintptr_t)hs_work_base(w) + h * HS_HUGE_SIZE;
	}
	if (!ret) {
		(void)printf("layout {\"huge\":[");
		for (uint32_t h = 0, run; h < nr; h += run) {
			for (run = 1; h + run < nr && at[h + run] == at[h] + run * HS_HUGE_SIZE; run++)
				;
			(void)printf("%s[%" PRIu64 ",%u]", h ? "," : "", at[h], run);
		}
		say("]}");
	}
	free(at);
	return ret;
}

/* false: it was the last command. */
static bool obey(struct hs_work *w, char *line, bool in_vm)
{
	char name[16] = "";
	uint64_t a = 0, b = 0;
	int nr = sscanf(line, "%15s %" SCNu64 " %" SCNu64, name, &a, &b);

	if (nr == 1 && !strcmp(name, "stats")) {
		say_stats(w);
	} else if (nr == 1 && !strcmp(name, "verify")) {
		say_verified(w);
	} else if (nr == 1 && !strcmp(name, "layout")) {
		int ret = say_layout(w, in_vm);

		if (ret)
			say("error layout: %s",
			    ret == -ENXIO ? "a huge page of the guest is in pieces" : strerror(-ret));
	} else if (nr == 3 && !strcmp(name, "write") && a <= UINT32_MAX) {
		say("write {\"written\":%u}", hs_work_write(w, (uint32_t)a, b));
	} else if (nr == 2 && !strcmp(name, "heat") && a <= UINT32_MAX) {
		say("heat {\"heated\":%u}", hs_work_heat(w, (uint32_t)a));
	} else if (nr == 1 && !strcmp(name, "cool")) {
		hs_work_cool(w);
		say("cool {}");
	} else if (nr == 1 && !strcmp(name, "pause")) {
		hs_work_pause(w);
		say("pause {}");
	} else if (nr == 1 && !strcmp(name, "resume")) {
		hs_work_resume(w);
		say("resume {}");
	} else if (nr == 1 && !strcmp(name, "quit")) {
		say("quit {}");
		return false;
	} else if (nr > 0) {
		say("error '%s' is no command with these arguments", name);
	}
	return true;
}

static void usage(void)
{
	(void)printf(
	    "usage: hs-guest [--name=value]...\n"
	    "Fills memory, accesses its hot part for ever, and takes commands on standard input (see main.c):\n"
	    "stats, verify, layout, write N SEED, heat N, cool, pause, resume, quit.\n");
	hs_guest_params_help(stdout);
}

int main(int argc, char **argv)
{
	struct hs_guest_params p = hs_guest_params_default;
	struct hs_error err = { "" };
	struct hs_work *w = NULL;
	bool in_vm = getpid() == 1;
	char *line = NULL;
	size_t size = 0;
	int ret;

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		usage();
		return EXIT_SUCCESS;
	}
	ret = in_vm ? hs_vm_prepare(&err) : 0;
	/* A kernel also hands on what it does not know of its own command line: ours stand at the end. */
	while (in_vm && argc > 1 && strncmp(argv[1], "--", 2) != 0) {
		argc--;
		argv++;
	}
	if (!ret)
		ret = hs_guest_params_parse(&p, argc - 1, argv + 1, &err);
	if (!ret)
		ret = hs_work_create(&w, &p, &err);
	if (!ret)
		ret = hs_work_start(w, &err);
	if (ret) {
		(void)fprintf(stderr, "hs-guest: %s\n", err.text);
	} else {
		say("ready {\"fill_ns\":%" PRIu64 "}", hs_work_fill_ns(w));
		while (getline(&line, &size, stdin) > 0 && obey(w, line, in_vm))
			;
	}
	if (in_vm)
		hs_vm_power_off();
	/* The threads run on until the process ends: nothing of theirs is taken away before. */
	(void)fflush(stdout);
	_exit(ret ? EXIT_FAILURE : EXIT_SUCCESS);
}
