/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sharing saves, or would save, and the look into hot huge pages that makes it exact. Answers of the daemon as
 * tables, as show.c has the others.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "service_commands.h"
#include "terminal.h"

#define LOOK_S   900 /* a cycle of a large host under a cap of processor time; the look goes on by itself after that */
#define ANSWER_S 30

static int64_t num(const json_t *o, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(o, key));
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* The columns that guests and groups have alike: memory, what is sure and of what, up to, saved now. */
static void figures(const json_t *o)
{
	static const char *const of_saving[] = { "sure_zero_bytes", "sure_within_bytes", "sure_across_bytes" };
	const json_t *saving = json_object_get(o, "saving");
	char a[32];

	(void)printf(" %9s", hs_human_bytes(a, num(o, "memory_bytes")));
	(void)printf(" %9s", hs_human_bytes(a, num(o, "could_save_bytes")));
	for (size_t i = 0; i < 3; i++)
		(void)printf(" %9s", hs_human_bytes(a, num(saving, of_saving[i])));
	(void)printf(" %9s", hs_human_bytes(a, num(o, "could_save_at_most_bytes")));
	(void)printf(" %9s", hs_human_bytes(a, num(o, "saved_bytes")));
}

static void heading(const char *first, const char *second)
{
	(void)printf("%-20s %-8s %9s %9s %9s %9s %9s %9s %9s\n", first, second, "MEMORY", "SURE", "ZERO", "WITHIN",
		     "ACROSS", "UP TO", "SAVED");
}

/* What no figure above knows of. */
static void show_left_out(const json_t *list)
{
	static const char *const keys[] = { "too_small_bytes", "borders_bytes", "heap_bytes", "executable_bytes",
					    "other_kind_bytes" };
	char a[32], name[600];
	const json_t *g;
	size_t i;

	if (!json_array_size(list))
		return;
	(void)printf("\n%-20s %10s %10s %10s %10s %10s\n", "NOT LOOKED AT", "TOO SMALL", "BORDERS", "HEAP",
		     "EXECUTABLE", "OTHER KIND");
	json_array_foreach(list, i, g)
	{
		const json_t *left = json_object_get(g, "left_out");

		(void)printf("%s", hs_terminal_column(name, sizeof(name), text(g, "id"), 20));
		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			(void)printf(" %10s", hs_human_bytes(a, num(left, keys[k])));
		(void)putchar('\n');
	}
}

static void show_report(const json_t *r)
{
	json_t *groups = json_object_get(r, "groups"), *v;
	const json_t *list = json_object_get(r, "guests"), *g, *saving = json_object_get(r, "saving");
	char a[32], b[32], name[600], group[600], why[600];
	const char *key;
	size_t i;

	if (!num(r, "cycles"))
		(void)printf("nothing is known yet: a first cycle takes some ten seconds, with a guest opted in and "
			     "the mode not off\n");
	heading("GUEST", "GROUP");
	json_array_foreach(list, i, g)
	{
		const char *reason = text(g, "reason");
		const bool say_why = strcmp(reason, "none") && strcmp(reason, "observe-only");

		(void)printf("%s %s", hs_terminal_column(name, sizeof(name), text(g, "id"), 20),
			     hs_terminal_column(group, sizeof(group), text(g, "group"), 8));
		figures(g);
		(void)printf("%s%s\n", say_why ? "  " : "",
			     say_why ? hs_terminal_safe(why, sizeof(why), reason, sizeof(why) - 1) : "");
	}
	(void)putchar('\n');
	heading("GROUP", "GUESTS");
	json_object_foreach(groups, key, v)
	{
		(void)printf("%s %-8" PRId64, hs_terminal_column(name, sizeof(name), key, 20), num(v, "guests"));
		figures(v);
		(void)putchar('\n');
	}
	show_left_out(list);
	(void)putchar('\n');
	hs_show_obstacles(r);
	(void)printf("by what was looked at, sharing saves %s of %s", hs_human_bytes(a, num(r, "could_save_bytes")),
		     hs_human_bytes(b, num(r, "memory_bytes")));
	(void)printf("; %s are saved now\n", hs_human_bytes(a, num(r, "saved_bytes")));
	if (num(saving, "promising_huge_pages"))
		(void)printf(
		    "it is up to %s if %" PRId64 " hot huge pages prove cold inside: `hs-share report --look` looks "
		    "into them, and shares nothing\n",
		    hs_human_bytes(a, num(r, "could_save_at_most_bytes")), num(saving, "promising_huge_pages"));
}

/* ---- the look ---- */

static void show_look(const json_t *answer)
{
	show_report(json_object_get(answer, "report"));
}

static const char *state_of(const json_t *answer)
{
	return text(answer, "state");
}

/* The answer when it has ended, or the last one; NULL: *status. */
static json_t *wait_for_look(const struct hs_ctl_options *o, int *status)
{
	const struct hs_client_call ask = { .method = "GET", .path = "/v1/report/look", .timeout_s = ANSWER_S };
	const time_t end = time(NULL) + LOOK_S;

	for (;;) {
		const struct timespec nap = { .tv_nsec = 300000000 };
		json_t *answer = hs_ctl_ask(o, &ask, status);

		if (!answer || o->no_wait || strcmp(state_of(answer), "under way") != 0 || time(NULL) >= end)
			return answer;
		json_decref(answer);
		(void)nanosleep(&nap, NULL);
	}
}

static int look(const struct hs_ctl_options *o)
{
	const struct hs_client_call start = { .method = "POST", .path = "/v1/report/look", .timeout_s = ANSWER_S };
	int status = 0;
	json_t *answer = hs_ctl_ask(o, &start, &status);

	if (!answer)
		return status;
	json_decref(answer);
	answer = wait_for_look(o, &status);
	if (answer && strcmp(state_of(answer), "failed") == 0) {
		hs_complain("%s", text(answer, "message"));
		json_decref(answer);
		return HS_EXIT_FAILED;
	}
	if (answer && strcmp(state_of(answer), "under way") == 0) {
		hs_complain("it looks, and goes on by itself: the same command says what comes of it");
		json_decref(answer);
		return HS_EXIT_UNDER_WAY;
	}
	return hs_ctl_show(o, answer, &status, show_look);
}

int hs_ctl_report(const struct hs_ctl_options *o)
{
	return o->look ? look(o) : hs_ctl_get(o, "/v1/report", show_report);
}
