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

/* Groups as rows of a table: an object has them by their names. */
static json_t *rows_of(json_t *groups)
{
	json_t *rows = json_array(), *group;
	const char *name;

	json_object_foreach(groups, name, group)
	{
		(void)json_object_set_new(group, "group", json_string(name));
		(void)json_array_append(rows, group);
	}
	return rows;
}

static int show_report(const struct hs_ctl_options *o, const json_t *r)
{
	static const struct hs_table_choice usual = { 0 };
	/* What no figure of the first table knows of. */
	static const struct hs_table_choice left_out = { .columns =
							     "GUEST,TOO-SMALL,BORDERS,HEAP,EXECUTABLE,OTHER-KIND" };
	const json_t *list = json_object_get(r, "guests"), *saving = json_object_get(r, "saving");
	const int width = hs_terminal_width();
	char a[32], b[32];
	json_t *groups;
	int rc;

	if (hs_table_for_script(&o->table))
		return hs_table_print(stdout, &hs_table_report, &o->table, list, width);
	if (!hs_json_int(r, "cycles"))
		(void)printf("nothing is known yet: a first cycle takes some ten seconds, with a guest opted in and "
			     "the mode not off\n");
	rc = hs_table_print(stdout, &hs_table_report, &usual, list, width);
	groups = rows_of(json_object_get(r, "groups"));
	if (!rc && json_array_size(list)) {
		(void)putchar('\n');
		rc = hs_table_print(stdout, &hs_table_report_groups, &usual, groups, width);
		(void)printf("\nnot looked at:\n");
		rc |= hs_table_print(stdout, &hs_table_report, &left_out, list, width);
		(void)putchar('\n');
	}
	json_decref(groups);
	hs_show_obstacles(r);
	(void)printf("by what was looked at, sharing saves %s of %s",
		     hs_human_bytes(a, hs_json_int(r, "could_save_bytes")),
		     hs_human_bytes(b, hs_json_int(r, "memory_bytes")));
	(void)printf("; %s are saved now\n", hs_human_bytes(a, hs_json_int(r, "saved_bytes")));
	if (hs_json_int(saving, "promising_huge_pages"))
		(void)printf("it is up to %s if %" PRId64
			     " hot huge pages prove cold inside: `hs-share report --look` looks "
			     "into them, and shares nothing\n",
			     hs_human_bytes(a, hs_json_int(r, "could_save_at_most_bytes")),
			     hs_json_int(saving, "promising_huge_pages"));
	return rc || fflush(stdout) ? HS_EXIT_FAILED : 0;
}

/* Prints the answer, in which the report stands under this key (NULL: it is it), and drops it. */
static int show(const struct hs_ctl_options *o, json_t *answer, const int *status, const char *key)
{
	int rc;

	if (!answer)
		return *status;
	if (o->json)
		return hs_json_print(answer);
	rc = show_report(o, key ? json_object_get(answer, key) : answer);
	json_decref(answer);
	return rc;
}

/* ---- the look ---- */

static const char *state_of(const json_t *answer)
{
	return hs_json_text(answer, "state");
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
		hs_complain("%s", hs_json_text(answer, "message"));
		json_decref(answer);
		return HS_EXIT_FAILED;
	}
	if (answer && strcmp(state_of(answer), "under way") == 0) {
		hs_complain("it looks, and goes on by itself: the same command says what comes of it");
		json_decref(answer);
		return HS_EXIT_UNDER_WAY;
	}
	return show(o, answer, &status, "report");
}

int hs_ctl_report(const struct hs_ctl_options *o)
{
	const struct hs_client_call call = { .method = "GET", .path = "/v1/report", .timeout_s = ANSWER_S };
	int status = 0;

	return o->look ? look(o) : show(o, hs_ctl_ask(o, &call, &status), &status, NULL);
}
