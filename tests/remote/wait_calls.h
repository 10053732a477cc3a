/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that nothing ends, for test_waits.c: each returns only when something interrupts it. */
#ifndef HS_TESTS_REMOTE_WAIT_CALLS_H
#define HS_TESTS_REMOTE_WAIT_CALLS_H

#include <stdbool.h>
#include <stddef.h>

#define WAIT_HOUR 3600 /* seconds: a time limit that no test sees the end of */

/* A socket of a connected pair, with one of its time limits (SO_RCVTIMEO, SO_SNDTIMEO; 0: none) set to an hour. */
int wait_pair(int type, int option);

long wait_read_socket(void);
long wait_read_socket_limit(void);
long wait_read_socket_send_limit(void);
long wait_readv_socket_limit(void);
long wait_recv_plain(void);
long wait_recv_limit(void);
long wait_recv_whole(void);
long wait_recvmsg_plain(void);
long wait_recvmsg_limit(void);
long wait_recvmmsg_limit(void);
long wait_accept_plain(void);
long wait_accept_limit(void);
long wait_connect_plain(void);
long wait_connect_limit(void);

struct wait_call {
	const char *name;
	long (*call)(void); /* -2: this machine has no such thing */
	bool served;        /* also by a process that has no other thread */
};
extern const struct wait_call wait_calls[];
extern const size_t wait_nr_calls;

#endif
