/* SPDX-License-Identifier: Apache-2.0 */
/* Traces for tests: records of every kind with values at their bounds, files in memory, and comparison. */
#ifndef HS_TESTS_TRACE_TRACE_SAMPLES_H
#define HS_TESTS_TRACE_TRACE_SAMPLES_H

#include "hs/trace.h"

/* A file in memory. */
struct trace_bytes {
	char *bytes;
	size_t nr;
};

struct hs_trace_header trace_sample_header(void);

/* Records of every kind, in an order that a reader takes; those made by `trace_sample(i)`, i < TRACE_NR_SAMPLES. */
#define TRACE_NR_SAMPLES 24
#define TRACE_NR_HUGE    400 /* of the sample's guest 0; guest 1 has 3 */
const struct hs_trace_record *trace_sample(unsigned int i);

/* A whole trace of the samples; free(bytes). */
struct trace_bytes trace_sample_file(void);

/* A trace of these records; fails the test when it cannot be written. */
struct trace_bytes trace_file_of(const struct hs_trace_record *const *records, size_t nr);

/* One block that holds these bytes, with a checksum that is right; free(bytes). */
struct trace_bytes trace_block_of(const void *raw, size_t nr);

bool trace_same_header(const struct hs_trace_header *a, const struct hs_trace_header *b);
bool trace_same_record(const struct hs_trace_record *a, const struct hs_trace_record *b);

#endif
