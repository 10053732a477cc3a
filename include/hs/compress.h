/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How well memory compresses, by a sample: what a tier that compresses (zram, zswap) would make of it. LZ4, which is at
 * hand everywhere and cheap; other compressors do as well or better, so that what LZ4 compresses they do, too.
 */
#ifndef HS_COMPRESS_H
#define HS_COMPRESS_H

#include "hs/types.h"

/*
 * `pages`: HS_HUGE_SIZE bytes, of which the base pages in `which` are read: four of them, spread evenly. What they
 * compress to, each by itself, in percent of their size: 1 to 100; 0: there is none in `which`.
 */
unsigned int hs_compress_percent(const void *pages, const struct hs_bits512 *which);

#endif
