/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a trace: records are gathered into blocks, each compressed and checked by itself. */
#include "trace_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

/* zstd's default: higher ones cost many times the time for a few percent. */
#define LEVEL 3

struct hs_trace_writer {
	FILE *f;
	char name[256];
	ZSTD_CCtx *zstd;
	struct hs_trace_state state;
	struct hs_put raw; /* the block that is being filled */
	uint8_t *packed;   /* a block's head and what it holds */
	size_t packed_room;
	struct hs_trace_writer_stats stats;
	int error; /* the first */
	struct hs_error why;
};

static int fail(struct hs_trace_writer *w, int rc, const char *what)
{
	if (!w->error) {
		w->error = rc;
		(void)hs_error_set(&w->why, rc, "%s: %s", w->name, what);
	}
	return w->error;
}

/* The first error, or 0. */
static int error_of(const struct hs_trace_writer *w, struct hs_error *err)
{
	if (w->error)
		(void)hs_error_set(err, w->error, "%s", w->why.text);
	return w->error;
}

/* As errno says: the file did not take what was written. */
static int fail_errno(struct hs_trace_writer *w)
{
	const int rc = errno ? -errno : -EIO;
	char text[128];

	(void)snprintf(text, sizeof(text), "cannot write: %s", strerror(-rc));
	return fail(w, rc, text);
}

static int put_out(struct hs_trace_writer *w, const uint8_t *bytes, size_t nr)
{
	errno = 0;
	if (fwrite(bytes, 1, nr, w->f) != nr)
		return fail_errno(w);
	w->stats.file_bytes += nr;
	return 0;
}

static int write_block(struct hs_trace_writer *w)
{
	uint8_t *head = w->packed;
	size_t n;

	if (w->error || !w->raw.len)
		return w->error;
	n = ZSTD_compressCCtx(w->zstd, head + HS_TRACE_BLOCK_HEAD, w->packed_room - HS_TRACE_BLOCK_HEAD, w->raw.buf,
			      w->raw.len, LEVEL);
	if (ZSTD_isError(n))
		return fail(w, -EIO, ZSTD_getErrorName(n));
	hs_trace_put_le(head, HS_TRACE_BLOCK_MAGIC, 4);
	hs_trace_put_le(head + 4, n, 4);
	hs_trace_put_le(head + 8, w->raw.len, 4);
	hs_trace_put_le(head + 12, hs_trace_checksum((uint32_t)n, (uint32_t)w->raw.len, head + HS_TRACE_BLOCK_HEAD), 8);
	w->raw.len = 0;
	return put_out(w, head, HS_TRACE_BLOCK_HEAD + n);
}

/* Appends elements [from, from + nr) of a record; a full block is written first. */
static int append(struct hs_trace_writer *w, const struct hs_trace_record *r, size_t from, size_t nr)
{
	const size_t before = w->raw.len;
	const char *why = hs_trace_encode(&w->state, &w->raw, r, from, nr);

	if (why) {
		w->raw.len = before;
		return fail(w, -EINVAL, why);
	}
	w->stats.nr_records++;
	return w->raw.len >= HS_TRACE_FULL_BLOCK ? write_block(w) : 0;
}

int hs_trace_write(struct hs_trace_writer *w, const struct hs_trace_record *r, struct hs_error *err)
{
	const size_t bound = hs_trace_bound(r->type);
	size_t from = 0;

	if (!w->error && r->type == HS_TRACE_GUEST && r->nr > bound)
		(void)fail(w, -EINVAL, "a guest has more pieces of memory than a trace can hold");
	if (!w->error && r->type == HS_TRACE_END)
		(void)fail(w, -EINVAL, "the end is written by closing the trace");
	/* One at least: a record of no elements says something, too. */
	do {
		const size_t nr = bound && r->nr - from > bound ? bound : r->nr - from;

		if (w->error || append(w, r, from, nr))
			break;
		from += nr;
	} while (bound && from < r->nr);
	return error_of(w, err);
}

static int flush(struct hs_trace_writer *w)
{
	return write_block(w) || !fflush(w->f) ? w->error : fail_errno(w);
}

int hs_trace_flush(struct hs_trace_writer *w, struct hs_error *err)
{
	(void)flush(w);
	return error_of(w, err);
}

void hs_trace_writer_stats(const struct hs_trace_writer *w, struct hs_trace_writer_stats *out)
{
	*out = w->stats;
}

static void writer_free(struct hs_trace_writer *w)
{
	if (w->f)
		(void)fclose(w->f);
	ZSTD_freeCCtx(w->zstd);
	free(w->raw.buf);
	free(w->packed);
	free(w);
}

static int begin(struct hs_trace_writer *w, const struct hs_trace_header *header)
{
	uint8_t head[HS_TRACE_FILE_HEAD];

	memcpy(head, HS_TRACE_MAGIC, HS_TRACE_MAGIC_SIZE);
	hs_trace_put_le(head + HS_TRACE_MAGIC_SIZE, HS_TRACE_VERSION, 4);
	if (put_out(w, head, sizeof(head)))
		return w->error;
	/* In a block of its own: whoever wants to know what a trace is need not read the first records. */
	hs_trace_encode_header(&w->raw, header);
	return write_block(w);
}

int hs_trace_writer_create(struct hs_trace_writer **out, FILE *f, const char *name,
			   const struct hs_trace_header *header, struct hs_error *err)
{
	struct hs_trace_writer *w = calloc(1, sizeof(*w));
	int rc;

	*out = NULL;
	if (!w) {
		(void)fclose(f);
		return hs_error_set(err, -ENOMEM, "out of memory for a trace");
	}
	w->f = f;
	(void)snprintf(w->name, sizeof(w->name), "%s", name);
	w->zstd = ZSTD_createCCtx();
	w->raw.cap = HS_TRACE_MAX_RAW;
	w->raw.buf = malloc(w->raw.cap);
	w->packed_room = HS_TRACE_BLOCK_HEAD + ZSTD_compressBound(HS_TRACE_MAX_RAW);
	w->packed = malloc(w->packed_room);
	if (!w->zstd || !w->raw.buf || !w->packed)
		(void)fail(w, -ENOMEM, "out of memory for a trace");
	else
		(void)begin(w, header);
	rc = error_of(w, err);
	if (rc)
		writer_free(w);
	else
		*out = w;
	return rc;
}

int hs_trace_writer_close(struct hs_trace_writer *w, struct hs_error *err)
{
	const struct hs_trace_record end = { .type = HS_TRACE_END };
	int rc;

	if (!w)
		return 0;
	if (!w->error && !append(w, &end, 0, 0))
		(void)flush(w);
	if (fclose(w->f) && !w->error)
		(void)fail_errno(w);
	w->f = NULL;
	rc = error_of(w, err);
	writer_free(w);
	return rc;
}
