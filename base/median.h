/* SPDX-License-Identifier: Apache-2.0 */
/* The middle of some measurements. */
#ifndef HS_BASE_MEDIAN_H
#define HS_BASE_MEDIAN_H

#include <stddef.h>

/* Sorts v[n], ascending. Of an even number the mean of the two in the middle; NAN when there is none. */
double hs_median(double *v, size_t n);

#endif
