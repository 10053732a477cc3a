/*
 * The one shape of error: a function returns 0 or -errno; where a person will read the cause it also takes a
 * `struct hs_error *` (may be NULL) and writes one sentence that names the thing that failed and the way out.
 */
#ifndef HS_ERROR_H
#define HS_ERROR_H

#include <stdarg.h>
#include <stdio.h>

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

#endif
