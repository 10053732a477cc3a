/* SPDX-License-Identifier: Apache-2.0 */
/* Printing for people: colour where it is wanted, and nothing from a guest's name that a terminal would act on. */
#ifndef HS_SERVICE_CLI_TERMINAL_H
#define HS_SERVICE_CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* Standard output is a terminal, and NO_COLOR is not set. */
bool hs_terminal_colour(void);

/* Columns of the terminal that standard output is; 0 when it is none. */
int hs_terminal_width(void);

/*
 * The text as UTF-8 with everything that a terminal would act on, that has no width of its own in its place (marks that
 * turn the direction of writing) or that is no UTF-8 replaced by '?', cut to `width` columns with "..." where it is
 * longer, and to `size` bytes. Returns out.
 */
const char *hs_terminal_safe(char *out, size_t size, const char *text, size_t width);

/* The same, filled up with spaces to `width` columns: printf's own width counts bytes. */
const char *hs_terminal_column(char *out, size_t size, const char *text, size_t width);

#endif
