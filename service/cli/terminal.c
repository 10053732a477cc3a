/* SPDX-License-Identifier: Apache-2.0 */
#include "terminal.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

bool hs_terminal_colour(void)
{
	const char *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) == 1 && !(no && *no);
}

int hs_terminal_width(void)
{
	struct winsize w;

	if (isatty(STDOUT_FILENO) != 1)
		return 0;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 100;
}

/* One character: its bytes in *bytes and its columns; -1: not to be printed. */
static int look_at(const char *text, size_t *bytes)
{
	mbstate_t state = { 0 };
	wchar_t c;
	size_t n = mbrtowc(&c, text, strlen(text), &state);
	int columns;

	*bytes = n == (size_t)-1 || n == (size_t)-2 || !n ? 1 : n;
	if (n != *bytes)
		return -1;
	columns = wcwidth(c);
	/* Marks that join to the character before have no column and are printed; formatting marks are not. */
	if (columns < 0 || !iswprint((wint_t)c) || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c == 0xad)
		return -1;
	return columns;
}

/* Columns that were used. */
static size_t put_safe(char *out, size_t size, const char *text, size_t width)
{
	static bool chosen;
	size_t n = 0, columns = 0;
	size_t cut = 0, cut_columns = 0; /* where "..." would still fit */

	/* The terminal's own locale may be another: what we print is UTF-8, as libvirt's names are. */
	if (!chosen)
		chosen = setlocale(LC_CTYPE, "C.UTF-8") != NULL;
	while (*text) {
		size_t bytes;
		int w = look_at(text, &bytes);
		const bool plain = w >= 0;
		const size_t w1 = plain ? (size_t)w : 1, b1 = plain ? bytes : 1;

		if (columns + w1 > width || n + b1 >= size) {
			if (width < 3 || size < 4)
				break;
			memcpy(out + cut, "...", 4);
			return cut_columns + 3;
		}
		memcpy(out + n, plain ? text : "?", b1);
		n += b1;
		columns += w1;
		text += bytes;
		if (columns + 3 <= width && n + 3 < size) {
			cut = n;
			cut_columns = columns;
		}
	}
	out[n] = '\0';
	return columns;
}

const char *hs_terminal_safe(char *out, size_t size, const char *text, size_t width)
{
	(void)put_safe(out, size, text, width);
	return out;
}

const char *hs_terminal_column(char *out, size_t size, const char *text, size_t width)
{
	size_t columns = put_safe(out, size, text, width), n = strlen(out);

	for (; columns < width && n + 1 < size; columns++)
		out[n++] = ' ';
	out[n] = '\0';
	return out;
}
