/*
 * Answers of megabytes: sent a block at a time, so that a client who reads as fast as it is sent does not keep the loop
 * in one call; others are answered in between.
 */
#include <stdlib.h>
#include <string.h>

#include "http_internal.h"

#define BLOCK_BYTES 65536

struct body {
	char *text;
	size_t len;
};

static ssize_t read_block(void *arg, uint64_t pos, char *out, size_t max)
{
	const struct body *b = arg;
	size_t n = pos < b->len ? b->len - (size_t)pos : 0;

	if (!n)
		return MHD_CONTENT_READER_END_OF_STREAM;
	n = n < max ? n : max;
	memcpy(out, b->text + pos, n);
	return (ssize_t)n;
}

static void free_body(void *arg)
{
	struct body *b = arg;

	free(b->text);
	free(b);
}

struct MHD_Response *hs_http_in_blocks(char *text, size_t len)
{
	struct MHD_Response *r = NULL;
	struct body *b;

	if (len <= BLOCK_BYTES)
		return MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	b = malloc(sizeof(*b));
	if (b) {
		*b = (struct body){ text, len };
		r = MHD_create_response_from_callback(len, BLOCK_BYTES, read_block, b, free_body);
	}
	if (!r)
		free(b);
	return r;
}
