/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recorded traces. The first byte says how the others are taken: as a file; or as the content of blocks, put into a
 * file whose head, header and checksums are right, so that the records' own reading is reached. Whatever they are: what
 * is read keeps to the contract, can be written again and is the same then; what is refused tells the place.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "trace/trace_internal.h"

/* Where the second of two blocks begins: bytes of the content. */
#define FIRST_BLOCK 200

static size_t put_block(uint8_t *out, size_t room, const uint8_t *raw, size_t nr)
{
	const size_t n = ZSTD_compress(out + HS_TRACE_BLOCK_HEAD, room - HS_TRACE_BLOCK_HEAD, raw, nr, 1);

	FUZZ_CHECK(!ZSTD_isError(n), "%s", ZSTD_getErrorName(n));
	hs_trace_put_le(out, HS_TRACE_BLOCK_MAGIC, 4);
	hs_trace_put_le(out + 4, n, 4);
	hs_trace_put_le(out + 8, nr, 4);
	hs_trace_put_le(out + 12, hs_trace_checksum((uint32_t)n, (uint32_t)nr, out + HS_TRACE_BLOCK_HEAD), 8);
	return HS_TRACE_BLOCK_HEAD + n;
}

/* A head and a good header, then the bytes in one block or two. */
static size_t put_file(uint8_t *out, size_t room, const uint8_t *raw, size_t nr)
{
	const struct hs_trace_header header = { .base_bytes = HS_BASE_SIZE, .huge_bytes = HS_HUGE_SIZE };
	const size_t first = nr < FIRST_BLOCK ? nr : FIRST_BLOCK;
	static uint8_t text[8192];
	struct hs_put p = { .buf = text, .cap = sizeof(text) };
	size_t len = HS_TRACE_FILE_HEAD;

	memcpy(out, HS_TRACE_MAGIC, HS_TRACE_MAGIC_SIZE);
	hs_trace_put_le(out + HS_TRACE_MAGIC_SIZE, HS_TRACE_VERSION, 4);
	hs_trace_encode_header(&p, &header);
	len += put_block(out + len, room - len, text, p.len);
	if (first)
		len += put_block(out + len, room - len, raw, first);
	if (nr > first)
		len += put_block(out + len, room - len, raw + first, nr - first);
	return len;
}

/* Reads a file; with `w` writes again what was read. The number of records; *rc: how it ended. */
static size_t read_file(void *bytes, size_t nr, struct hs_trace_writer *w, int *rc)
{
	FILE *f = nr ? fmemopen(bytes, nr, "r") : fopen("/dev/null", "r");
	const struct hs_trace_record *r;
	struct hs_trace_reader *reader;
	struct hs_error err = { "" };
	size_t n = 0;

	FUZZ_CHECK(f, "out of memory");
	*rc = hs_trace_reader_create(&reader, f, "fuzzed", &err);
	if (!*rc) {
		while ((*rc = hs_trace_next(reader, &r, &err)) == 1) {
			n++;
			FUZZ_CHECK(!w || hs_trace_write(w, r, &err) == 0, "%s", err.text);
		}
		hs_trace_reader_destroy(reader);
	}
	if (*rc) {
		FUZZ_CHECK(*rc == -EINVAL || *rc == -EPROTONOSUPPORT || *rc == -ENODATA || *rc == -EBADMSG, "%d", *rc);
		FUZZ_CHECK(strncmp(err.text, "fuzzed: ", 8) == 0 && strstr(err.text, "at byte "), "%s", err.text);
	}
	return n;
}

/* What was read of a file is written, and what is read of that is written as well: the same bytes. */
static void write_again(void *bytes, size_t nr, size_t records)
{
	const struct hs_trace_header header = { .base_bytes = HS_BASE_SIZE, .huge_bytes = HS_HUGE_SIZE };
	char *out[2];
	size_t len[2];

	for (int i = 0; i < 2; i++) {
		struct hs_trace_writer *w;
		struct hs_error err = { "" };
		FILE *f = open_memstream(&out[i], &len[i]);
		size_t n;
		int rc;

		FUZZ_CHECK(f && hs_trace_writer_create(&w, f, "again", &header, &err) == 0, "%s", err.text);
		n = read_file(i ? out[0] : bytes, i ? len[0] : nr, w, &rc);
		FUZZ_CHECK(n == records && (!i || rc == 0), "%zu records, then %zu, %d", records, n, rc);
		FUZZ_CHECK(hs_trace_writer_close(w, &err) == 0, "%s", err.text);
	}
	FUZZ_CHECK(len[0] == len[1] && memcmp(out[0], out[1], len[0]) == 0, "%zu and %zu bytes", len[0], len[1]);
	free(out[0]);
	free(out[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[1U << 20];
	size_t nr, records;
	int rc;

	if (!size || size > sizeof(file) / 2)
		return 0;
	if (data[0] & 1) {
		nr = put_file(file, sizeof(file), data + 1, size - 1);
	} else {
		nr = size - 1;
		memcpy(file, data + 1, nr);
	}
	records = read_file(file, nr, NULL, &rc);
	if (records)
		write_again(file, nr, records);
	return 0;
}
