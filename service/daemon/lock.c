/* The lock that keeps a second daemon away from a folder. */
#include "daemon_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/common/log.h"

int hs_daemon_lock(const char *dir, int *fd, struct hs_error *err)
{
	char path[4200], text[32] = "";
	ssize_t n;

	*fd = -1;
	if (mkdir(dir, 0700) && errno != EEXIST)
		return hs_error_set(err, -errno, "cannot make the folder %s: %s", dir, strerror(errno));
	(void)snprintf(path, sizeof(path), "%s/hs-shared.lock", dir);
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return hs_error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	if (flock(*fd, LOCK_EX | LOCK_NB)) {
		int rc = errno == EWOULDBLOCK ? -EBUSY : -errno;

		n = pread(*fd, text, sizeof(text) - 1, 0);
		text[n > 0 ? strcspn(text, "\n") : 0] = '\0';
		(void)close(*fd);
		*fd = -1;
		if (rc == -EBUSY)
			return hs_error_set(err, rc,
					    "hs-shared runs already (process %s holds %s): end it first, or give this "
					    "one a state_dir, persistent_dir and socket of its own",
					    text[0] ? text : "unknown", path);
		return hs_error_set(err, rc, "cannot lock %s: %s", path, strerror(-rc));
	}
	n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(*fd, 0) || pwrite(*fd, text, (size_t)n, 0) != n)
		hs_log(HS_LOG_WARNING, "cannot write the process id into %s: %s", path, strerror(errno));
	return 0;
}
