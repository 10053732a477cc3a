/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging of the daemon: to standard error, one line each, with the priority prefix (<6>) that the journal understands;
 * on a terminal a word for what needs attention instead.
 */
#ifndef HS_SERVICE_COMMON_LOG_H
#define HS_SERVICE_COMMON_LOG_H

enum hs_log_level { HS_LOG_ERROR = 0, HS_LOG_WARNING, HS_LOG_INFO, HS_LOG_DEBUG };

/* Threads may log at once. The text is made fit to be one line (hs_text_mend). */
void hs_log_level(enum hs_log_level level);
__attribute__((format(printf, 2, 3))) void hs_log(enum hs_log_level level, const char *fmt, ...);

#endif
