/* The sockets that the endpoint listens on. */
#include "http_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A group of its own may reach the socket only when it may pass the folder as well. */
static int give_to_group(const char *path, const char *group, struct hs_error *err)
{
	const struct group *g = getgrnam(group);
	char dir[PATH_MAX];
	struct stat st;
	char *slash;

	if (!g)
		return hs_error_set(err, -ENOENT, "there is no group \"%s\" for the socket (socket_group)", group);
	if (chown(path, (uid_t)-1, g->gr_gid))
		return hs_error_set(err, -errno, "cannot give %s to group %s: %s", path, group, strerror(errno));
	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (stat(dir, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 0011) &&
	    (chown(dir, (uid_t)-1, g->gr_gid) || chmod(dir, (st.st_mode & 07777) | 0010)))
		return hs_error_set(err, -errno, "cannot let group %s pass %s: %s", group, dir, strerror(errno));
	return 0;
}

/* Whether somebody listens there. */
static bool is_live(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	if (fd < 0)
		return true;
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? errno : 0;
	(void)close(fd);
	return rc != ECONNREFUSED && rc != ENOENT;
}

int hs_http_listen_unix(struct hs_http *h, struct hs_error *err)
{
	const char *path = h->cfg.socket_path;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[PATH_MAX], *slash;
	struct stat st;
	mode_t mask;
	int fd, rc;

	if (strlen(path) >= sizeof(addr.sun_path))
		return hs_error_set(err, -ENAMETOOLONG, "the socket's path has more than %zu characters: %s",
				    sizeof(addr.sun_path) - 1, path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = '\0';
		if (mkdir(dir, 0700) && errno != EEXIST)
			return hs_error_set(err, -errno, "cannot make the folder %s for the socket: %s", dir,
					    strerror(errno));
	}
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return hs_error_set(
			    err, -EEXIST, "%s is there and is no socket: remove it, or configure another socket", path);
		if (is_live(&addr))
			return hs_error_set(
			    err, -EADDRINUSE,
			    "somebody listens on %s already: end that hs-shared first, or configure another socket",
			    path);
		(void)unlink(path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return hs_error_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	/* Nobody gets in before its permissions are as configured: it listens only then. */
	mask = umask(0177);
	rc = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
	(void)umask(mask);
	if (rc) {
		(void)close(fd);
		return hs_error_set(err, rc, "cannot bind the socket %s: %s", path, strerror(-rc));
	}
	memcpy(h->socket_path, addr.sun_path, sizeof(h->socket_path));
	if (h->cfg.socket_group && h->cfg.socket_group[0])
		rc = give_to_group(path, h->cfg.socket_group, err);
	if (!rc && (chmod(path, h->cfg.socket_mode) || listen(fd, 64)))
		rc = hs_error_set(err, -errno, "cannot set the socket %s up: %s", path, strerror(errno));
	if (rc) {
		(void)close(fd);
		return rc;
	}
	return fd;
}

static int listen_port(const char *address, uint16_t port, struct hs_error *err)
{
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	const bool six = strchr(address, ':') != NULL;
	const int one = 1, no = 0;
	int fd, rc;

	if (inet_pton(six ? AF_INET6 : AF_INET, address, six ? (void *)&a6.sin6_addr : (void *)&a4.sin_addr) != 1)
		return hs_error_set(err, -EINVAL, "\"%s\" is no address in numbers", address);
	fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return hs_error_set(err, -errno, "cannot make a socket for the port: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* At boot the address may come later than we do. */
	(void)setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	if (six && IN6_IS_ADDR_UNSPECIFIED(&a6.sin6_addr))
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
	rc = bind(fd, six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4, six ? sizeof(a6) : sizeof(a4));
	if (rc || listen(fd, 64)) {
		rc = hs_error_set(err, -errno, "cannot listen on %s port %u: %s", address, port, strerror(errno));
		(void)close(fd);
		return rc;
	}
	return fd;
}

int hs_http_listen_tcp(struct hs_http *h, struct hs_error *err)
{
	const char *address = h->cfg.tcp_address;

	if (strcmp(address, "::1") != 0 && strcmp(address, "127.0.0.1") != 0)
		return hs_error_set(err, -EINVAL, "%s is no loopback address: the port is for 127.0.0.1 or ::1",
				    address);
	return listen_port(address, h->cfg.tcp_port, err);
}

int hs_http_listen_tls(struct hs_http *h, struct hs_error *err)
{
	return listen_port(h->cfg.tls.address, h->cfg.tls.port, err);
}
