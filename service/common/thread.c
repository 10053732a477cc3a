/* SPDX-License-Identifier: Apache-2.0 */
#include "thread.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

int hs_thread_start(pthread_t *out, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(out, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

void hs_thread_poke(int event_fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so it was poked already. */
	if (write(event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		hs_log(HS_LOG_ERROR, "cannot wake a thread: %s", strerror(errno));
}
