/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a guest's process. It dies with its starter in three ways that do not depend on one another: the kernel's
 * parent-death signal, the end of its standard input, and hs_guest_stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest_private.h"

#ifndef HS_GUEST_PROGRAM
#error "the build names the workload program"
#endif

/* In the child: only calls that are safe after fork in a program with threads. */
static _Noreturn void run(char *const *argv, int control_fd, int log_fd, int extra_fd, pid_t parent)
{
	static const char failed[] = "cannot run the program\n";
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(127);
	if (dup2(control_fd, STDIN_FILENO) < 0 || dup2(control_fd, STDOUT_FILENO) < 0 ||
	    dup2(log_fd, STDERR_FILENO) < 0 || (extra_fd >= 0 && fcntl(extra_fd, F_SETFD, 0)))
		_exit(127);
	(void)execvp(argv[0], argv);
	(void)!write(STDERR_FILENO, failed, sizeof(failed) - 1);
	_exit(127);
}

int hs_guest_spawn(struct hs_guest *g, char *const *argv, int extra_fd, struct hs_error *err)
{
	pid_t parent = getpid();
	int ends[2];
	pid_t pid;

	g->log_fd = memfd_create("hs-guest-log", MFD_CLOEXEC);
	if (g->log_fd < 0 || fcntl(g->log_fd, F_SETFL, O_APPEND))
		return hs_error_set(err, -errno, "no memory file for the guest's log: %s", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return hs_error_set(err, -errno, "no socket for the guest: %s", strerror(errno));
	g->control_fd = ends[0];
	g->started_ns = hs_guest_now_ns();
	pid = fork();
	if (pid == 0)
		run(argv, ends[1], g->log_fd, extra_fd, parent);
	(void)close(ends[1]);
	if (pid < 0)
		return hs_error_set(err, -errno, "cannot start a process: %s", strerror(errno));
	g->pid = pid;
	return 0;
}

int hs_guest_start_process(struct hs_guest *g, const struct hs_guest_config *cfg, struct hs_error *err)
{
	char args[32][64];
	char *argv[34];
	const char *program = cfg->program ? cfg->program : getenv("HS_GUEST_PROGRAM");
	char *path = strdup(program ? program : HS_GUEST_PROGRAM);
	unsigned int nr = 0;
	int ret;

	if (!path)
		return hs_error_set(err, -ENOMEM, "no memory");
	argv[0] = path;
	while (nr < 32 && hs_guest_params_format(&cfg->params, nr, args[nr], sizeof(args[nr]))) {
		argv[nr + 1] = args[nr];
		nr++;
	}
	argv[nr + 1] = NULL;
	if (access(path, X_OK))
		ret =
		    hs_error_set(err, -errno, "guest program %s: %s; build the target hs-guest", path, strerror(errno));
	else
		ret = hs_guest_spawn(g, argv, -1, err);
	free(path);
	return ret;
}
