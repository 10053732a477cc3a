/* SPDX-License-Identifier: Apache-2.0 */
/* The service's threads, and how one wakes another. */
#ifndef HS_SERVICE_COMMON_THREAD_H
#define HS_SERVICE_COMMON_THREAD_H

#include <pthread.h>

/* A thread that is given no signal: those are the main thread's. 0 or -errno. */
int hs_thread_start(pthread_t *out, void *(*run)(void *), void *arg);

/* Wakes whoever watches this eventfd. One that was poked already and has not looked yet is no error. */
void hs_thread_poke(int event_fd);

#endif
