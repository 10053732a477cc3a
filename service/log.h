/*
 * Logging of the daemon: to standard error, one line each, with the priority prefix (<6>) that the journal understands;
 * on a terminal a word for what needs attention instead.
 */
#ifndef SERVICE_LOG_H
#define SERVICE_LOG_H

#include "config.h"

/* Threads may log at once. */
void hs_log_level(enum hs_log_level level);
__attribute__((format(printf, 2, 3))) void hs_log(enum hs_log_level level, const char *fmt, ...);

#endif
