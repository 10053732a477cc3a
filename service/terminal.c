#include "terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool hs_terminal_colour(void)
{
	const char *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) == 1 && !(no && *no);
}

int hs_terminal_width(void)
{
	struct winsize w;

	return isatty(STDOUT_FILENO) == 1 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col
													: 100;
}

const char *hs_terminal_safe(char *out, size_t size, const char *text, size_t width)
{
	size_t n = 0;

	if (width >= size)
		width = size - 1;
	for (; text[n] && n < width; n++)
		/* C1 controls, which are C2 80 to C2 9F in UTF-8, as well. */
		out[n] = (unsigned char)text[n] < 0x20 || text[n] == 0x7f ||
				 ((unsigned char)text[n] == 0xc2 && (unsigned char)text[n + 1] < 0xa0)
			     ? '?'
			     : text[n];
	out[n] = '\0';
	if (text[n] && n >= 3) {
		/* Not in the middle of a character of several bytes. */
		n -= 3;
		while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
		memcpy(out + n, "...", 4);
	}
	return out;
}
