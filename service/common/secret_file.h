/* SPDX-License-Identifier: Apache-2.0 */
/* Files that hold a key or say whom to trust: taken only where nobody but root, or who runs us, may change them. */
#ifndef HS_SERVICE_COMMON_SECRET_FILE_H
#define HS_SERVICE_COMMON_SECRET_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "hs/error.h"

#define HS_SECRET_FILE_MAX 262144 /* bytes; a chain of certificates has some KiB */

struct hs_secret_file {
	const char *what; /* for errors: "[tls] key" */
	const char *path; /* NULL or "": there is none, and nothing is read */
	bool secret;      /* nobody but its owner may read it */
	char *text;       /* what it holds, and a zero byte behind it; NULL: nothing was read */
	size_t len;
};

/*
 * -EPERM: others may read it, or change it; -EINVAL: it is no regular file, empty or too large; -errno of reading. The
 * text names the file and the way out.
 */
HS_MUST_USE int hs_secret_file_read(struct hs_secret_file *f, struct hs_error *err);

/* Without the white space at its end. */
void hs_secret_file_trim(struct hs_secret_file *f);

/* Wipes what was read, and frees it. */
void hs_secret_file_forget(struct hs_secret_file *f);

#endif
