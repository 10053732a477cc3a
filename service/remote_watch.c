/* hs-share watch: a live table. On a terminal it has the screen to itself, and gives it back however it ends. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "remote_commands.h"
#include "terminal.h"

static volatile sig_atomic_t ended;
static struct termios before;
static bool raw;

static void on_signal(int sig)
{
	if (sig != SIGWINCH)
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

/* Until the time is over, a key or a signal. */
static void rest(uint32_t seconds, bool screen)
{
	struct pollfd p = { .fd = raw ? STDIN_FILENO : -1, .events = POLLIN };
	char key;

	if (poll(&p, 1, (int)seconds * 1000) > 0 && screen && read(STDIN_FILENO, &key, 1) == 1 &&
	    (key == 'q' || key == 'Q'))
		ended = 1;
}

int hs_remote_watch(const struct hs_remote_options *o)
{
	const struct sigaction sa = { .sa_handler = on_signal };
	const bool screen = isatty(STDOUT_FILENO) == 1 && !o->json;
	int status = 0;

	(void)sigaction(SIGINT, &sa, NULL);
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGHUP, &sa, NULL);
	(void)sigaction(SIGWINCH, &sa, NULL);
	if (screen)
		screen_on();
	for (uint32_t n = 0; !ended && (!o->count || n < o->count); n++) {
		json_t *s, *g;

		if (n)
			rest(o->interval_s, screen);
		if (ended)
			break;
		s = hs_remote_ask(o, "GET", "/v1/status", NULL, 10, &status);
		g = s ? hs_remote_ask(o, "GET", "/v1/guests", NULL, 10, &status) : NULL;
		if (!g) {
			json_decref(s);
			break;
		}
		if (o->json) {
			json_t *both =
			    json_pack("{s:o,s:o}", "status", s, "guests", json_incref(json_object_get(g, "guests")));

			(void)json_dumpf(both, stdout, JSON_COMPACT);
			(void)putchar('\n');
			json_decref(both);
		} else {
			if (screen)
				(void)printf("\033[H\033[2J");
			hs_show_status(s);
			(void)putchar('\n');
			hs_show_guests(g, hs_terminal_width());
			if (screen)
				(void)printf("\nq ends\n");
			json_decref(s);
		}
		json_decref(g);
		if (fflush(stdout)) {
			status = HS_EXIT_FAILED;
			break;
		}
	}
	if (screen)
		screen_off();
	return status;
}
