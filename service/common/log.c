/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "model.h"

static _Atomic int level_now = HS_LOG_INFO;

void hs_log_level(enum hs_log_level level)
{
	atomic_store(&level_now, (int)level);
}

void hs_log(enum hs_log_level level, const char *fmt, ...)
{
	static const char *const journal[] = { "<3>", "<4>", "<6>", "<7>" }; /* syslog's err, warning, info, debug */
	static const char *const person[] = { "error: ", "warning: ", "", "debug: " };
	const int errno_before = errno;
	char text[1024];
	va_list ap;

	if ((int)level > atomic_load(&level_now))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* A line is one line, whatever names are in it. */
	hs_text_mend(text);
	/* One call a line: lines of several threads do not mix. */
	(void)fprintf(stderr, "%s%s\n", isatty(STDERR_FILENO) == 1 ? person[level] : journal[level], text);
	errno = errno_before;
}
