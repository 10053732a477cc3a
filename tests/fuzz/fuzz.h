/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets share. A target is one file fuzz_NAME.c with LLVMFuzzerTestOneInput, seeds in seeds/NAME and
 * one line in CMakeLists.txt. Besides the sanitizers' own findings a target states what must hold, with FUZZ_CHECK.
 */
#ifndef HS_TESTS_FUZZ_FUZZ_H
#define HS_TESTS_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the run as a finding. */
#define FUZZ_CHECK(condition, ...)                                                                                     \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			(void)fprintf(stderr, "%s:%d: does not hold: %s: ", __FILE__, __LINE__, #condition);           \
			(void)fprintf(stderr, __VA_ARGS__);                                                            \
			(void)fputc('\n', stderr);                                                                     \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

#endif
