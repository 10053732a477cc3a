/* The service's threads, and how one wakes another. */
#ifndef HS_SERVICE_COMMON_THREAD_H
#define HS_SERVICE_COMMON_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* A thread that is given no signal: those are the main thread's. 0 or -errno. */
int hs_thread_start(pthread_t *out, void *(*run)(void *), void *arg);

/*
 * A thread and what it works on, which two own: the thread and who started it. The last of them to let go frees it, so
 * that a thread that hangs can be left behind and still ends cleanly.
 */
struct hs_thread_owned {
	pthread_t thread;
	void *(*run)(void *);
	void (*release)(void *arg); /* by either thread: nothing that belongs to the starter's event loop */
	void *arg;
	atomic_uint owners;
	bool joined;
};

/* t lies within arg; run, release and arg are set. 0 or -errno: then arg is the caller's alone, not released. */
int hs_thread_start_owned(struct hs_thread_owned *t);

/* Waits for its end, for wait_s seconds at most. Whether it has ended: then all is the caller's alone. */
bool hs_thread_wait(struct hs_thread_owned *t, unsigned int wait_s);

/* The starter's share. t and arg are not touched after it. */
void hs_thread_let_go(struct hs_thread_owned *t);

/* Wakes whoever watches this eventfd. One that was poked already and has not looked yet is no error. */
void hs_thread_poke(int event_fd);

#endif
