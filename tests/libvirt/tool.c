/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the harness cannot do in a shell: the guests' initramfs and command line, their control line, and what the
 * kernel itself says of their page frames.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "guest_private.h"

#define PFN_MASK     ((UINT64_C(1) << 55) - 1)
#define PRESENT      (UINT64_C(1) << 63)
#define KPF_KSM      21
#define KPF_ZERO     24
#define PIECE        512U /* page-map entries read at once */
#define ANSWER_BYTES 65536

static int failed(const char *what)
{
	(void)fprintf(stderr, "hv-tool: %s: %s\n", what, strerror(errno));
	return EXIT_FAILURE;
}

static int initramfs(const char *path)
{
	const char *program = getenv("HS_GUEST_INIT");
	struct hs_error err = { "" };
	int from = -1, to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct stat st;
	off_t at = 0;

	if (to < 0)
		return failed(path);
	if (hs_guest_initramfs(&from, program ? program : HS_GUEST_INIT, &err)) {
		(void)fprintf(stderr, "hv-tool: %s\n", err.text);
		return EXIT_FAILURE;
	}
	if (fstat(from, &st))
		return failed("initramfs");
	while (at < st.st_size)
		if (sendfile(to, from, &at, (size_t)(st.st_size - at)) <= 0)
			return failed(path);
	return close(to) ? failed(path) : EXIT_SUCCESS;
}

/* The shape of every guest here: alike but for the seed, so that what is identical is known. */
static int append(const char *seed, const char *nr_huge)
{
	struct hs_guest_params p = hs_guest_config_default(HS_GUEST_QEMU).params;
	char line[1536];

	p.seed = strtoull(seed, NULL, 10);
	p.nr_huge = strtoull(nr_huge, NULL, 10);
	/* Three machines, libvirtd, the daemon and the test share the host's cores. */
	p.rate = 100000;
	hs_guest_command_line(&p, line, sizeof(line));
	return puts(line) < 0 ? failed("output") : EXIT_SUCCESS;
}

static int64_t now_ms(void)
{
	return (int64_t)(hs_guest_now_ns() / 1000000);
}

/* Prints the object that follows the command's name; lines of earlier commands that nobody waited for are passed by. */
static int ask(const char *path, const char *command, int seconds)
{
	const int64_t end = now_ms() + seconds * 1000;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const size_t name = strcspn(command, " ");
	static char buf[ANSWER_BYTES];
	size_t len = 0;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(a.sun_path))
		return errno = ENAMETOOLONG, failed(path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) || dprintf(fd, "%s\n", command) < 0)
		return failed(path);
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		const int64_t left = end - now_ms();
		char *line_end;
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			return errno = ETIMEDOUT, failed(command);
		n = read(fd, buf + len, sizeof(buf) - 1 - len);
		if (n <= 0)
			return errno = EPIPE, failed(command);
		len += (size_t)n;
		buf[len] = '\0';
		while ((line_end = strchr(buf, '\n'))) {
			*line_end = '\0';
			if (strncmp(buf, command, name) == 0 && buf[name] == ' ')
				return puts(buf + name + 1) < 0 ? failed("output") : EXIT_SUCCESS;
			len -= (size_t)(line_end + 1 - buf);
			memmove(buf, line_end + 1, len + 1);
		}
	}
}

struct frames {
	uint64_t *pfn;
	size_t nr, room;
};

static int add(struct frames *f, uint64_t pfn)
{
	if (f->nr == f->room) {
		f->room = f->room ? f->room * 2 : 65536;
		f->pfn = reallocarray(f->pfn, f->room, sizeof(*f->pfn));
		if (!f->pfn)
			return -ENOMEM;
	}
	f->pfn[f->nr++] = pfn;
	return 0;
}

/* The page frames of all private anonymous memory of a process: guest memory is part of it, however it is cut up. */
static int frames_of(const char *pid, struct frames *out)
{
	char path[64], line[512];
	uint64_t entries[PIECE];
	FILE *maps;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "/proc/%.20s/maps", pid);
	maps = fopen(path, "re");
	if (fd < 0 || !maps)
		return -errno;
	while (fgets(line, sizeof(line), maps)) {
		uint64_t start, end, inode;
		char flags[5];

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &start, &end, flags, &inode) != 4 ||
		    inode || flags[1] != 'w' || flags[3] != 'p')
			continue;
		for (uint64_t at = start; at < end; at += PIECE * HS_BASE_SIZE) {
			const uint64_t left = (end - at) / HS_BASE_SIZE, nr = left < PIECE ? left : PIECE;

			if (pread(fd, entries, nr * 8, (off_t)(at / HS_BASE_SIZE * 8)) != (ssize_t)(nr * 8))
				return errno ? -errno : -EIO;
			for (uint64_t i = 0; i < nr; i++)
				if (entries[i] & PRESENT && add(out, entries[i] & PFN_MASK))
					return -ENOMEM;
		}
	}
	(void)fclose(maps);
	(void)close(fd);
	return 0;
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool has_flag(int kpageflags, uint64_t pfn, int flag)
{
	uint64_t flags = 0;

	return pread(kpageflags, &flags, sizeof(flags), (off_t)(pfn * sizeof(flags))) == sizeof(flags) &&
	       flags >> flag & 1;
}

/*
 * For each process: its pages that are KSM's. And the frames that any two of them have in common, other than those of
 * the kernel's zero pages: what is shared between them, whoever says otherwise.
 */
static int frames(int nr, char **pids)
{
	struct frames *all = calloc((size_t)nr, sizeof(*all));
	int kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

	if (!all || kpageflags < 0)
		return failed("/proc/kpageflags");
	for (int i = 0; i < nr; i++) {
		size_t ksm = 0;

		errno = -frames_of(pids[i], &all[i]);
		if (errno)
			return failed(pids[i]);
		for (size_t p = 0; p < all[i].nr; p++)
			ksm += has_flag(kpageflags, all[i].pfn[p], KPF_KSM);
		qsort(all[i].pfn, all[i].nr, sizeof(uint64_t), compare);
		(void)printf("ksm %s %zu\n", pids[i], ksm);
	}
	for (int i = 0; i < nr; i++) {
		for (int j = i + 1; j < nr; j++) {
			size_t common = 0, y = 0;

			for (size_t x = 0; x < all[i].nr; x++) {
				if (x && all[i].pfn[x] == all[i].pfn[x - 1])
					continue;
				while (y < all[j].nr && all[j].pfn[y] < all[i].pfn[x])
					y++;
				common += y < all[j].nr && all[j].pfn[y] == all[i].pfn[x] &&
					  !has_flag(kpageflags, all[i].pfn[x], KPF_ZERO);
			}
			(void)printf("common %s %s %zu\n", pids[i], pids[j], common);
		}
	}
	for (int i = 0; i < nr; i++)
		free(all[i].pfn);
	free(all);
	(void)close(kpageflags);
	return fflush(stdout) ? failed("output") : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "initramfs"))
		return initramfs(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "append"))
		return append(argv[2], argv[3]);
	if (argc == 5 && !strcmp(argv[1], "ask"))
		return ask(argv[2], argv[3], atoi(argv[4]));
	if (argc > 2 && !strcmp(argv[1], "frames"))
		return frames(argc - 2, argv + 2);
	(void)fprintf(stderr, "usage: hv-tool initramfs FILE | append SEED HUGE_PAGES | ask SOCKET COMMAND SECONDS | "
			      "frames PID...\n");
	return 2;
}
