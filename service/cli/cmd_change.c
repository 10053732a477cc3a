/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that ask the daemon to change something. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "service_commands.h"
#include "terminal.h"

#define ANSWER_S 660  /* the daemon says after 600 s at the latest that it is under way */
#define WAIT_S   3600 /* for an undoing to end; it goes on by itself if we do not wait */

static void show_done(const json_t *answer)
{
	const char *text = json_string_value(json_object_get(answer, "message"));
	char safe[600];

	(void)printf("%s\n", text && *text ? hs_terminal_safe(safe, sizeof(safe), text, sizeof(safe) - 1) : "done");
}

/* The answer to a request that changes something. */
static int show_change(const struct hs_ctl_options *o, json_t *answer, int *status)
{
	const bool under_way = json_is_false(json_object_get(answer, "done"));
	const int rc = hs_ctl_show(o, answer, status, show_done);

	return rc || !under_way ? rc : HS_EXIT_UNDER_WAY;
}

static void show_mode(const json_t *answer)
{
	const char *mode = json_string_value(json_object_get(answer, "mode"));
	const char *now = json_string_value(json_object_get(answer, "effective"));
	const char *why = json_string_value(json_object_get(answer, "reason"));
	char safe[300];

	(void)printf("%s", mode ? mode : "?");
	if (mode && now && strcmp(mode, now) != 0)
		(void)printf(", now %s", now);
	(void)printf(" (%s)\n", hs_terminal_safe(safe, sizeof(safe), why ? why : "", sizeof(safe) - 1));
}

int hs_ctl_mode(const struct hs_ctl_options *o)
{
	enum hs_mode mode;
	json_t *body;
	int status = 0;

	if (!o->word)
		return hs_ctl_get(o, "/v1/mode", show_mode);
	if (hs_mode_parse(o->word, &mode)) {
		(void)fprintf(stderr, "hs-share mode: \"%s\" is no mode; the modes are off, observe, save and auto\n",
			      o->word);
		return HS_EXIT_USAGE;
	}
	body = json_pack("{s:s}", "mode", o->word);
	if (o->keep || o->undo)
		(void)json_object_set_new(body, "sharing", json_string(o->keep ? "keep" : "undo"));
	status = show_change(
	    o,
	    hs_ctl_ask(
		o, &(struct hs_client_call){ .method = "PUT", .path = "/v1/mode", .body = body, .timeout_s = ANSWER_S },
		&status),
	    &status);
	json_decref(body);
	return status;
}

int hs_ctl_reload(const struct hs_ctl_options *o)
{
	int status = 0;

	return show_change(
	    o,
	    hs_ctl_ask(o, &(struct hs_client_call){ .method = "POST", .path = "/v1/reload", .timeout_s = ANSWER_S },
		       &status),
	    &status);
}

int hs_ctl_opt_in(const struct hs_ctl_options *o)
{
	char buf[64], *path = hs_client_path("/v1/guests/", hs_ctl_guest(o, buf), "/opt-in");
	json_t *body = json_object();
	int status = 0;

	if (o->group)
		(void)json_object_set_new(body, "group", json_string(o->group));
	if (o->has_max_shared)
		(void)json_object_set_new(body, "max_shared_bytes", json_integer((json_int_t)o->max_shared));
	if (o->share)
		(void)json_object_set_new(body, "share", json_string(o->share));
	status = show_change(
	    o,
	    hs_ctl_ask(o, &(struct hs_client_call){ .method = "PUT", .path = path, .body = body, .timeout_s = 30 },
		       &status),
	    &status);
	json_decref(body);
	free(path);
	return status;
}

/* Until nothing of the guest is shared any more, or it is gone. */
static int wait_until_left(const struct hs_ctl_options *o, const char *guest)
{
	const bool tty = isatty(STDERR_FILENO) == 1;
	char *path = hs_client_path("/v1/guests/", guest, "");
	int status = HS_EXIT_UNDER_WAY, last = -1; /* until it is seen to be done */

	for (int s = 0; path && s < WAIT_S * 5; s++) {
		const struct timespec fifth = { .tv_nsec = 200000000 };
		struct hs_error err = { "" };
		json_t *g = NULL;
		const char *state;
		const struct hs_client_call call = { .method = "GET", .path = path, .timeout_s = 30 };
		int rc = hs_client_request(o->socket, &call, &g, &err), left;

		if (rc) {
			json_decref(g);
			status = 0;
			if (rc != -ENOENT) { /* that one: it is gone, and with it its sharing */
				hs_complain("%s", err.text);
				status = rc == -EREMOTEIO ? HS_EXIT_FAILED : HS_EXIT_NO_DAEMON;
			}
			break;
		}
		state = json_string_value(json_object_get(g, "state"));
		left = (int)(json_integer_value(json_object_get(g, "saved_bytes")) >> 20);
		if (!state || (strcmp(state, "leaving") != 0 && strcmp(state, "sharing") != 0 &&
			       strcmp(state, "observed") != 0)) {
			json_decref(g);
			status = 0;
			break;
		}
		if (tty && left != last)
			(void)fprintf(stderr, "\r\033[Kundoing: %d MiB left", left);
		last = left;
		json_decref(g);
		(void)nanosleep(&fifth, NULL);
	}
	if (tty && last >= 0)
		(void)fprintf(stderr, "\r\033[K");
	if (status == HS_EXIT_UNDER_WAY)
		hs_complain(
		    "it is still being undone after %d s, and goes on by itself: `hs-share guests` shows how far "
		    "it is",
		    WAIT_S);
	free(path);
	return status;
}

int hs_ctl_opt_out(const struct hs_ctl_options *o)
{
	char buf[64];
	const char *guest = hs_ctl_guest(o, buf);
	char *path = hs_client_path("/v1/guests/", guest, "/opt-in");
	int status = 0;
	json_t *answer =
	    hs_ctl_ask(o, &(struct hs_client_call){ .method = "DELETE", .path = path, .timeout_s = 30 }, &status);

	free(path);
	if (answer && !o->no_wait)
		status = wait_until_left(o, guest);
	if (status) {
		json_decref(answer);
		return status;
	}
	return show_change(o, answer, &status);
}

int hs_ctl_unshare(const struct hs_ctl_options *o)
{
	char *path = o->all ? strdup("/v1/unshare") : hs_client_path("/v1/guests/", o->word, "/unshare");
	int status = 0;

	status = show_change(
	    o,
	    hs_ctl_ask(o, &(struct hs_client_call){ .method = "POST", .path = path, .timeout_s = ANSWER_S }, &status),
	    &status);
	free(path);
	return status;
}
