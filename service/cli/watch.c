/* SPDX-License-Identifier: Apache-2.0 */
/* hs-share watch: a live table. On a terminal it has the screen to itself, and gives it back however it ends. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "service_commands.h"
#include "terminal.h"

static volatile sig_atomic_t ended, suspended;
static struct termios before;
static bool raw;

static void on_signal(int sig)
{
	if (sig == SIGTSTP)
		suspended = 1;
	else if (sig != SIGWINCH)
		ended = 1;
}

static void screen_on(void)
{
	struct termios t;

	(void)printf("\033[?1049h\033[?25l");
	if (isatty(STDIN_FILENO) != 1 || tcgetattr(STDIN_FILENO, &before))
		return;
	t = before;
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

static void screen_off(void)
{
	if (raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
	(void)printf("\033[?25h\033[?1049l");
	(void)fflush(stdout);
}

/* Gives the terminal back, stops as Ctrl-Z asks for, and takes the screen again when it goes on. */
static void suspend(bool screen)
{
	suspended = 0;
	if (screen)
		screen_off();
	(void)raise(SIGSTOP);
	if (screen)
		screen_on();
}

enum rested { TIME_IS_OVER, DRAW_AGAIN };

/* Until the time is over, or something asks for a drawing earlier (another size of the window). */
static enum rested rest(uint32_t seconds, bool screen)
{
	struct pollfd p = { .fd = raw ? STDIN_FILENO : -1, .events = POLLIN };
	int rc = poll(&p, 1, (int)seconds * 1000);
	char key;

	/* The end of the input ends it, too. */
	if (rc > 0 && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'))
		ended = 1;
	if (suspended)
		suspend(screen);
	return rc ? DRAW_AGAIN : TIME_IS_OVER;
}

static void draw(const json_t *s, const json_t *g, bool screen)
{
	if (screen)
		(void)printf("\033[H\033[2J");
	hs_show_status(s);
	(void)putchar('\n');
	(void)hs_table_print(stdout, &hs_table_guests, &(struct hs_table_choice){ 0 }, json_object_get(g, "guests"),
			     hs_terminal_width());
	if (screen)
		(void)printf("\nq ends\n");
}

/* One line of JSON. */
static void print_both(json_t *s, const json_t *g)
{
	json_t *both = json_pack("{s:O,s:O}", "status", s, "guests", json_object_get(g, "guests"));

	(void)json_dumpf(both, stdout, JSON_COMPACT);
	(void)putchar('\n');
	json_decref(both);
}

/* One refresh. False: it failed, and err says why (empty: nothing can be written any more). */
static bool refresh(const struct hs_ctl_options *o, bool screen, int *status, struct hs_error *err)
{
	static const struct hs_client_call for_status = { .method = "GET", .path = "/v1/status", .timeout_s = 10 };
	static const struct hs_client_call for_guests = { .method = "GET", .path = "/v1/guests", .timeout_s = 10 };
	json_t *s = hs_ctl_try(o, &for_status, status, err), *g;

	g = s ? hs_ctl_try(o, &for_guests, status, err) : NULL;
	if (g && o->json)
		print_both(s, g);
	else if (g)
		draw(s, g, screen);
	json_decref(s);
	json_decref(g);
	if (g && fflush(stdout)) {
		*status = HS_EXIT_FAILED;
		return false;
	}
	return g != NULL;
}

int hs_ctl_watch(const struct hs_ctl_options *o)
{
	const struct sigaction sa = { .sa_handler = on_signal };
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP };
	const bool screen = isatty(STDOUT_FILENO) == 1 && !o->json;
	struct hs_error err = { "" };
	int status = 0;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		(void)sigaction(signals[i], &sa, NULL);
	if (screen)
		screen_on();
	for (uint32_t n = 0; !ended && refresh(o, screen, &status, &err);) {
		n++;
		if (o->count && n >= o->count)
			break;
		while (!ended && rest(o->interval_s, screen) == DRAW_AGAIN && !ended)
			if (!refresh(o, screen, &status, &err))
				ended = 1;
	}
	if (screen)
		screen_off();
	if (err.text[0])
		hs_complain("%s", err.text);
	return status;
}
