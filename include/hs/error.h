/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one shape of error: a function returns 0 or -errno; where a person will read the cause it also takes a
 * `struct hs_error *` (may be NULL) and writes one sentence that names the thing that failed and the way out.
 */
#ifndef HS_ERROR_H
#define HS_ERROR_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HS_MUST_USE __attribute__((warn_unused_result))

struct hs_error {
	char text[512]; /* always terminated; empty when nothing failed */
};

/* Writes the text and returns `code` (a negative errno), so that `return hs_error_set(err, -EINVAL, ...)` reads well.
 */
__attribute__((format(printf, 3, 4))) static inline int hs_error_set(struct hs_error *err, int code, const char *fmt,
								     ...)
{
	if (err) {
		va_list ap;

		va_start(ap, fmt);
		(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return code;
}

/* What stands in the way of something that is tried again later, kept for reports. All zero: nothing does. */
struct hs_obstacle {
	int error;           /* -errno; 0: there is none */
	unsigned int reason; /* a word for programs: the service's enum hs_reason; 0: there is none */
	char text[512];      /* one sentence that names it and the way out; empty when there is none */
};

/* `err` may be NULL, or without a text: then the error's name serves. */
static inline void hs_obstacle_set(struct hs_obstacle *o, int error, const struct hs_error *err)
{
	o->error = error;
	o->reason = 0;
	(void)snprintf(o->text, sizeof(o->text), "%s", err && err->text[0] ? err->text : strerror(-error));
}

static inline void hs_obstacle_clear(struct hs_obstacle *o)
{
	o->error = 0;
	o->reason = 0;
	o->text[0] = '\0';
}

#endif
