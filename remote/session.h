/*
 * The parts of a session: how it begins is in remote_attach.c, calls and end in remote_session.c.
 */
#ifndef HS_REMOTE_SESSION_H
#define HS_REMOTE_SESSION_H

#include <signal.h>
#include <sys/ptrace.h>

#include "remote_internal.h"

#define REMOTE_STOP_US      5000000U /* an interruptible thread stops within microseconds; this is for a swamped host */
#define REMOTE_FLAG_TRAP    0x100ULL
#define REMOTE_SYSCALL_STOP (SIGTRAP | 0x80)
#define REMOTE_TRAP_STOP    (SIGTRAP | (PTRACE_EVENT_STOP << 8))

/*
 * Waits for the next stop. *code: the signal, with the event in the second byte. -ESRCH: the thread has ended (its
 * status is left for whoever is its parent). -ETIMEDOUT.
 */
HS_MUST_USE int hs_remote_wait_stop(struct hs_remote_session *s, uint64_t limit_us, int *code);
/* Copies between us and the guest, whole or not at all as far as the caller may care: 0 or -errno. */
int hs_remote_move(const struct hs_remote_session *s, bool write, void *buf, uint64_t addr, size_t size);
/* At a stop inside the kernel's signal code: own registers, own bytes, and go on with that signal (0: none). */
void hs_remote_release(struct hs_remote_session *s, int sig);
/* Lets go a thread of which nothing has been changed. */
void hs_remote_detach(struct hs_remote_session *s, int sig);
/* Neither stopped nor ended: only the end of the tracing thread lets it go now. */
void hs_remote_abandon(struct hs_remote_session *s);

#endif
