/* SPDX-License-Identifier: Apache-2.0 */
#include "passthrough.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "hostfile.h"

/* What an open file's link begins with. */
static const struct {
	const char *link, *what;
} devices[] = {
	{ "/dev/vfio/", "VFIO" }, /* a group, the container, or devices/vfioN */
	{ "anon_inode:[vfio-device]", "VFIO" },
	{ "/dev/iommu", "VFIO through iommufd" },
	{ "/dev/vhost-vdpa-", "vDPA" },
};

static const char *device_of(const char *link)
{
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
		if (!strncmp(link, devices[i].link, strlen(devices[i].link)))
			return devices[i].what;
	return NULL;
}

/* *what: NULL: none. A file that was closed since it was listed is none; what another one is has to be known. */
static int find_device(const struct hs_host *host, pid_t pid, const char **what)
{
	char path[PATH_MAX], link[64];
	int rc, unknown = 0;
	struct dirent *e;
	DIR *dir;

	*what = NULL;
	(void)snprintf(path, sizeof(path), "%s/%d/fd", host->proc_dir, (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (!*what && (errno = 0, e = readdir(dir))) {
		ssize_t n;

		if (e->d_name[0] == '.')
			continue;
		n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
		if (n < 0 && errno != ENOENT)
			unknown = -errno;
		link[n > 0 ? n : 0] = '\0';
		*what = device_of(link);
	}
	rc = *what ? 0 : unknown ? unknown : -errno;
	(void)closedir(dir);
	return rc;
}

int hs_passthrough_look(const struct hs_host *host, pid_t pid, struct hs_error *err)
{
	uint64_t pinned = 0, resident = 0; /* KiB */
	char status[4096];
	const char *what;
	ssize_t n;
	int rc = find_device(host, pid, &what);

	if (what)
		return hs_error_set(
		    err, 1,
		    "a device is passed through to it (%s), which pins its memory: KSM cannot merge that; "
		    "without the device it could be shared",
		    what);
	n = rc ? 0 : hs_hostfile_read_pid(host, pid, "status", status, sizeof(status));
	if (n < 0)
		rc = (int)n;
	if (rc == -ENOENT || rc == -ESRCH)
		return 0;
	if (rc)
		return hs_error_set(err, rc, "whether a device is passed through to process %d cannot be told: %s",
				    (int)pid, strerror(-rc));
	if (!hs_hostfile_field(status, "VmPin:", &pinned) && !hs_hostfile_field(status, "VmRSS:", &resident) &&
	    pinned && pinned >= resident / 2)
		return hs_error_set(
		    err, 1,
		    "%llu of its %llu MiB are pinned for good, by a device, RDMA or io_uring: KSM cannot "
		    "merge pinned memory",
		    (unsigned long long)(pinned >> 10), (unsigned long long)(resident >> 10));
	return 0;
}
