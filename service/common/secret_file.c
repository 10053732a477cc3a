/* SPDX-License-Identifier: Apache-2.0 */
#include "secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Who can write a file decides whom a client trusts, or who a client is. */
static int check(const struct hs_secret_file *f, const struct stat *st, struct hs_error *err)
{
	if (!S_ISREG(st->st_mode))
		return hs_error_set(err, -EINVAL, "%s: %.200s is no regular file", f->what, f->path);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return hs_error_set(err, -EPERM, "%s: %.200s is user %u's: give it to root (chown root)", f->what,
				    f->path, (unsigned int)st->st_uid);
	if (f->secret && (st->st_mode & 0077))
		return hs_error_set(err, -EPERM,
				    "%s: %.200s has permissions %04o, so others than its owner may use it: chmod "
				    "600, and make a new one if somebody may have read it",
				    f->what, f->path, (unsigned int)st->st_mode & 07777);
	if (st->st_mode & 0022)
		return hs_error_set(err, -EPERM,
				    "%s: %.200s has permissions %04o, so others than its owner may change it: "
				    "chmod go-w",
				    f->what, f->path, (unsigned int)st->st_mode & 07777);
	if (st->st_size <= 0 || st->st_size > HS_SECRET_FILE_MAX)
		return hs_error_set(err, -EINVAL, "%s: %.200s is empty, or larger than %d KiB", f->what, f->path,
				    HS_SECRET_FILE_MAX >> 10);
	return 0;
}

static int read_text(struct hs_secret_file *f, int fd, size_t size, struct hs_error *err)
{
	ssize_t n = 1;

	f->text = malloc(size + 1);
	if (!f->text)
		return hs_error_set(err, -ENOMEM, "out of memory");
	while (f->len < size && n) {
		n = read(fd, f->text + f->len, size - f->len);
		if (n < 0 && errno != EINTR)
			return hs_error_set(err, -errno, "%s: cannot read %.200s: %s", f->what, f->path,
					    strerror(errno));
		f->len += n > 0 ? (size_t)n : 0;
	}
	f->text[f->len] = '\0';
	return 0;
}

int hs_secret_file_read(struct hs_secret_file *f, struct hs_error *err)
{
	struct stat st;
	int fd, rc;

	f->text = NULL;
	f->len = 0;
	if (!f->path || !f->path[0])
		return 0;
	fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st))
		rc = hs_error_set(err, -errno, "%s: cannot read %.200s: %s", f->what, f->path, strerror(errno));
	else
		rc = check(f, &st, err);
	if (!rc)
		rc = read_text(f, fd, (size_t)st.st_size, err);
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

void hs_secret_file_trim(struct hs_secret_file *f)
{
	while (f->len && strchr(" \t\r\n", f->text[f->len - 1]))
		f->text[--f->len] = '\0';
}

void hs_secret_file_forget(struct hs_secret_file *f)
{
	if (f->text)
		explicit_bzero(f->text, f->len);
	free(f->text);
	f->text = NULL;
	f->len = 0;
}
