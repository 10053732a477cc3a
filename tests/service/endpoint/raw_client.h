/* SPDX-License-Identifier: Apache-2.0 */
/* A client that says exactly what it is told, as slowly or as wrongly as a test wants. All waits end. */
#ifndef HS_TESTS_SERVICE_ENDPOINT_RAW_CLIENT_H
#define HS_TESTS_SERVICE_ENDPOINT_RAW_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connected socket, or -1 with errno. */
int hs_raw_unix(const char *path);
int hs_raw_tcp(const char *address, uint16_t port);

/* False: the other side has closed. */
bool hs_raw_send(int fd, const void *data, size_t len);
bool hs_raw_say(int fd, const char *text);

/*
 * Reads until the other side closes, an answer with a Content-Length is whole, or the time is over; out is ended with
 * zero. The bytes; *closed: the other side closed, or cut the line.
 */
size_t hs_raw_read(int fd, char *out, size_t size, int timeout_ms, bool *closed);

/* Says `request`, and reads the answer for at most 10 s: its status; 0: none. The answer is in out. */
int hs_raw_status(int fd, const char *request, char *out, size_t size);

uint64_t hs_raw_now_us(void);

#endif
