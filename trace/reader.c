/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a trace. A block is checked as a whole before anything in it is looked at, so a damaged file is reported as
 * such, with the block's place; but a checksum is no proof of good will, so records are read as if anybody had written
 * them.
 */
#include "trace_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <zstd.h>

struct hs_trace_reader {
	FILE *f;
	char name[256];
	ZSTD_DCtx *zstd;
	struct hs_trace_header header;
	struct hs_trace_state state;
	struct hs_get block; /* what is left of the block that is being read */
	uint64_t block_at;   /* where in the file it begins, bytes */
	uint64_t file_at;
	uint8_t *packed, *raw; /* as large as the largest block so far */
	size_t packed_room, raw_room;
	struct hs_trace_record record;
	struct hs_trace_room *room;
	bool ended;
	int error; /* the first: nothing is read after it */
	struct hs_error why;
};

static int fail(struct hs_trace_reader *r, int rc, uint64_t at, const char *why)
{
	r->error = rc;
	return hs_error_set(&r->why, rc, "%s: at byte %" PRIu64 ": %s", r->name, at, why);
}

/* Inside a block, places are given as bytes of what was unpacked. */
static int fail_inside(struct hs_trace_reader *r)
{
	r->error = -EBADMSG;
	return hs_error_set(&r->why, -EBADMSG, "%s: in the block at byte %" PRIu64 ", byte %zu of it unpacked: %s",
			    r->name, r->block_at, (size_t)(r->block.at - r->block.start), r->block.why);
}

/* Reads nr bytes; *got: what there was. 0 or -errno with the error set. */
static int take(struct hs_trace_reader *r, uint8_t *out, size_t nr, size_t *got)
{
	char text[128];
	int rc;

	errno = 0;
	*got = fread(out, 1, nr, r->f);
	r->file_at += *got;
	if (*got == nr || !ferror(r->f))
		return 0;
	rc = errno ? -errno : -EIO;
	(void)snprintf(text, sizeof(text), "cannot read: %s", strerror(-rc));
	return fail(r, rc, r->file_at, text);
}

/* Reads nr bytes, all of them. */
static int take_all(struct hs_trace_reader *r, uint8_t *out, size_t nr, const char *what)
{
	size_t got;
	char text[128];
	int rc = take(r, out, nr, &got);

	if (rc || got == nr)
		return rc;
	(void)snprintf(text, sizeof(text), "the file ends inside %s: it was cut off", what);
	return fail(r, -ENODATA, r->file_at, text);
}

/* Room for a block; its size is in range. */
static int make_room(struct hs_trace_reader *r, uint8_t **buf, size_t *room, size_t nr)
{
	uint8_t *more;

	if (nr <= *room)
		return 0;
	more = realloc(*buf, nr);
	if (!more)
		return fail(r, -ENOMEM, r->file_at, "out of memory for a block");
	*buf = more;
	*room = nr;
	return 0;
}

static int next_block(struct hs_trace_reader *r)
{
	uint8_t head[HS_TRACE_BLOCK_HEAD];
	uint32_t packed, raw;
	size_t n;
	int rc;

	r->block_at = r->file_at;
	rc = take(r, head, 1, &n);
	if (rc)
		return rc;
	if (!n)
		return fail(r, -ENODATA, r->file_at, "the file ends without its end record: the recording was cut off");
	rc = take_all(r, head + 1, sizeof(head) - 1, "a block's head");
	if (rc)
		return rc;
	packed = (uint32_t)hs_trace_get_le(head + 4, 4);
	raw = (uint32_t)hs_trace_get_le(head + 8, 4);
	if (hs_trace_get_le(head, 4) != HS_TRACE_BLOCK_MAGIC)
		return fail(r, -EBADMSG, r->block_at, "a block should begin here, and does not");
	if (!raw || raw > HS_TRACE_MAX_RAW || packed > ZSTD_compressBound(HS_TRACE_MAX_RAW))
		return fail(r, -EBADMSG, r->block_at, "a block's size is out of its range");
	rc = make_room(r, &r->packed, &r->packed_room, packed);
	if (!rc)
		rc = make_room(r, &r->raw, &r->raw_room, raw);
	if (!rc)
		rc = take_all(r, r->packed, packed, "a block");
	if (rc)
		return rc;
	if (hs_trace_checksum(packed, raw, r->packed) != hs_trace_get_le(head + 12, 8))
		return fail(r, -EBADMSG, r->block_at, "the block's checksum is wrong");
	n = ZSTD_decompressDCtx(r->zstd, r->raw, raw, r->packed, packed);
	if (ZSTD_isError(n) || n != raw)
		return fail(r, -EBADMSG, r->block_at, "the block cannot be unpacked to the size that it claims");
	r->block = (struct hs_get){ .start = r->raw, .at = r->raw, .end = r->raw + raw };
	return 0;
}

static int begin(struct hs_trace_reader *r)
{
	uint8_t head[HS_TRACE_FILE_HEAD];
	char text[128];
	size_t got;
	int rc = take(r, head, sizeof(head), &got);
	uint64_t version;

	if (rc)
		return rc;
	if (got < HS_TRACE_MAGIC_SIZE || memcmp(head, HS_TRACE_MAGIC, HS_TRACE_MAGIC_SIZE) != 0)
		return fail(r, -EINVAL, 0, got ? "this is no trace: it does not begin like one" : "the file is empty");
	if (got < sizeof(head))
		return fail(r, -ENODATA, r->file_at, "the file ends inside its head: it was cut off");
	version = hs_trace_get_le(head + HS_TRACE_MAGIC_SIZE, 4);
	if (version != HS_TRACE_VERSION) {
		(void)snprintf(text, sizeof(text),
			       "the trace is of version %" PRIu64 " of the format; this program reads version %d",
			       version, HS_TRACE_VERSION);
		return fail(r, -EPROTONOSUPPORT, HS_TRACE_MAGIC_SIZE, text);
	}
	rc = next_block(r);
	if (rc)
		return rc;
	hs_trace_decode_header(&r->block, &r->header);
	return r->block.why ? fail_inside(r) : 0;
}

int hs_trace_reader_create(struct hs_trace_reader **out, FILE *f, const char *name, struct hs_error *err)
{
	struct hs_trace_reader *r = calloc(1, sizeof(*r));
	int rc = -ENOMEM;

	*out = NULL;
	if (!r) {
		(void)fclose(f);
		return hs_error_set(err, -ENOMEM, "out of memory for a trace");
	}
	r->f = f;
	(void)snprintf(r->name, sizeof(r->name), "%s", name);
	r->zstd = ZSTD_createDCtx();
	r->room = malloc(sizeof(*r->room));
	if (r->zstd && r->room)
		rc = begin(r);
	else
		(void)hs_error_set(&r->why, rc, "out of memory for a trace");
	if (!rc) {
		*out = r;
		return 0;
	}
	(void)hs_error_set(err, rc, "%s", r->why.text);
	hs_trace_reader_destroy(r);
	return rc;
}

int hs_trace_reader_open(struct hs_trace_reader **out, const char *path, struct hs_error *err)
{
	FILE *f = fopen(path, "re");

	*out = NULL;
	if (!f)
		return hs_error_set(err, -errno, "cannot open the trace %s: %s", path, strerror(errno));
	return hs_trace_reader_create(out, f, path, err);
}

const struct hs_trace_header *hs_trace_reader_header(const struct hs_trace_reader *r)
{
	return &r->header;
}

/* After the end there is nothing. */
static int finish(struct hs_trace_reader *r)
{
	uint8_t one;
	size_t got;
	int rc;

	r->ended = true;
	if (r->block.at != r->block.end) {
		r->block.why = "there is something after the end";
		return fail_inside(r);
	}
	rc = take(r, &one, 1, &got);
	if (!rc && got)
		rc = fail(r, -EBADMSG, r->file_at - 1, "there is something after the end");
	return rc;
}

static int next(struct hs_trace_reader *r)
{
	for (;;) {
		bool end;
		int rc;

		while (r->block.at == r->block.end) {
			rc = next_block(r);
			if (rc)
				return rc;
		}
		rc = hs_trace_decode(&r->state, &r->block, &r->record, r->room, &end);
		if (rc < 0)
			return fail_inside(r);
		if (end)
			return finish(r);
		if (rc)
			return 1;
	}
}

int hs_trace_next(struct hs_trace_reader *r, const struct hs_trace_record **out, struct hs_error *err)
{
	int rc = 0;

	*out = NULL;
	if (!r->error && !r->ended)
		rc = next(r);
	if (r->error)
		return hs_error_set(err, r->error, "%s", r->why.text);
	if (rc == 1)
		*out = &r->record;
	return rc;
}

void hs_trace_reader_destroy(struct hs_trace_reader *r)
{
	if (!r)
		return;
	(void)fclose(r->f);
	ZSTD_freeDCtx(r->zstd);
	free(r->packed);
	free(r->raw);
	free(r->room);
	free(r);
}
