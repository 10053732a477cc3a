/* SPDX-License-Identifier: Apache-2.0 */
/* Traces: what is written is read back, what is damaged is reported, and no byte of a file can do more than that. */
#include "hs_test.h"

#include <errno.h>
#include <string.h>

#include "trace/trace_internal.h"
#include "trace_samples.h"

static struct trace_bytes whole;

static void setup(void)
{
	whole = trace_sample_file();
}

static void teardown(void)
{
	free(whole.bytes);
}

static int open_bytes(struct hs_trace_reader **r, const void *bytes, size_t nr, struct hs_error *err)
{
	FILE *f = nr ? fmemopen((void *)(uintptr_t)bytes, nr, "r") : fopen("/dev/null", "r");

	ck_assert_ptr_nonnull(f);
	return hs_trace_reader_create(r, f, "memory", err);
}

/*
 * Reads all there is. What comes before an error has to be the samples in their order, when `same`. *nr: records. The
 * result of the last call.
 */
static int read_all(const void *bytes, size_t size, bool same, size_t *nr, struct hs_error *err)
{
	const struct hs_trace_record *got;
	struct hs_trace_reader *r;
	int rc = open_bytes(&r, bytes, size, err);

	*nr = 0;
	if (rc)
		return rc;
	while ((rc = hs_trace_next(r, &got, err)) == 1) {
		if (same)
			ck_assert_msg(trace_same_record(got, trace_sample((unsigned int)*nr)), "record %zu (%s)", *nr,
				      hs_trace_type_name(got->type));
		(*nr)++;
	}
	hs_trace_reader_destroy(r);
	return rc;
}

START_TEST(test_sim_trace_round_trip)
{
	const struct hs_trace_header header = trace_sample_header();
	const struct hs_trace_record *got;
	struct hs_trace_reader *r;
	struct hs_error err = { "" };

	ck_assert_msg(open_bytes(&r, whole.bytes, whole.nr, &err) == 0, "%s", err.text);
	ck_assert(trace_same_header(hs_trace_reader_header(r), &header));
	for (unsigned int i = 0; i < TRACE_NR_SAMPLES; i++) {
		ck_assert_msg(hs_trace_next(r, &got, &err) == 1, "record %u: %s", i, err.text);
		ck_assert_msg(trace_same_record(got, trace_sample(i)), "record %u (%s)", i,
			      hs_trace_type_name(got->type));
	}
	ck_assert_int_eq(hs_trace_next(r, &got, &err), 0);
	ck_assert_ptr_null(got);
	ck_assert_int_eq(hs_trace_next(r, &got, &err), 0);
	hs_trace_reader_destroy(r);
}
END_TEST

/* Cut off anywhere, a trace gives what it still has, and says that it was cut off, and where. */
START_TEST(test_sim_trace_truncated_anywhere)
{
	const size_t each = hs_test_each(3, 17);
	size_t nr, most = 0;

	for (size_t cut = 0; cut < whole.nr; cut += cut + each < whole.nr ? each : 1) {
		struct hs_error err = { "" };
		char place[64];
		int rc = read_all(whole.bytes, cut, true, &nr, &err);

		ck_assert_msg(rc == (cut < HS_TRACE_MAGIC_SIZE ? -EINVAL : -ENODATA), "cut at %zu: %d %s", cut, rc,
			      err.text);
		(void)snprintf(place, sizeof(place), "memory: at byte %zu: ", cut < HS_TRACE_MAGIC_SIZE ? 0 : cut);
		ck_assert_msg(strstr(err.text, place) == err.text, "cut at %zu: %s", cut, err.text);
		ck_assert_uint_ge(nr, most);
		most = nr;
	}
	/* The last block has the last records and the end: it counts whole or not at all. */
	ck_assert_uint_eq(most, 20);
}
END_TEST

/* No single bit can be wrong unnoticed; what came before its block is right. */
START_TEST(test_sim_trace_any_bit_flipped)
{
	size_t nr;

	for (size_t bit = 0; bit < whole.nr * 8; bit += hs_test_each(5, 53)) {
		struct hs_error err = { "" };
		int rc;

		whole.bytes[bit / 8] = (char)(whole.bytes[bit / 8] ^ 1 << bit % 8);
		rc = read_all(whole.bytes, whole.nr, true, &nr, &err);
		whole.bytes[bit / 8] = (char)(whole.bytes[bit / 8] ^ 1 << bit % 8);
		ck_assert_msg(rc == -EINVAL || rc == -EPROTONOSUPPORT || rc == -ENODATA || rc == -EBADMSG,
			      "bit %zu: %d %s", bit, rc, err.text);
		ck_assert_ptr_eq(strstr(err.text, "memory: "), err.text);
	}
}
END_TEST

/* The samples' records as bytes, without the file around them; the place of each record is returned. */
static size_t raw_samples(uint8_t *out, size_t room, size_t at[TRACE_NR_SAMPLES + 1])
{
	struct hs_put p = { .buf = out, .cap = room };
	static struct hs_trace_state s;
	const struct hs_trace_record end = { .type = HS_TRACE_END };

	memset(&s, 0, sizeof(s));
	for (unsigned int i = 0; i < TRACE_NR_SAMPLES; i++) {
		at[i] = p.len;
		ck_assert_ptr_null(hs_trace_encode(&s, &p, trace_sample(i), 0, trace_sample(i)->nr));
	}
	at[TRACE_NR_SAMPLES] = p.len;
	ck_assert_ptr_null(hs_trace_encode(&s, &p, &end, 0, 0));
	return p.len;
}

/* A file with a good header and one block of these bytes. */
static struct trace_bytes file_with(const void *raw, size_t nr)
{
	struct trace_bytes head = trace_file_of(NULL, 0), block = trace_block_of(raw, nr), all;
	size_t top = HS_TRACE_FILE_HEAD + HS_TRACE_BLOCK_HEAD + hs_trace_get_le((uint8_t *)head.bytes + 12 + 4, 4);

	all.nr = top + block.nr;
	all.bytes = malloc(all.nr);
	ck_assert_ptr_nonnull(all.bytes);
	memcpy(all.bytes, head.bytes, top);
	memcpy(all.bytes + top, block.bytes, block.nr);
	free(head.bytes);
	free(block.bytes);
	return all;
}

/*
 * Somebody means harm: checksums are right, and what is in the blocks is wrong. Each byte of each kind of record gets
 * values that go wrong easily; whatever is read then keeps to the contract, or is an error that names a place.
 */
START_TEST(test_sim_trace_wrong_inside)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x03, 0x7f, 0x80, 0xff };
	static uint8_t raw[HS_TRACE_MAX_RAW];
	size_t at[TRACE_NR_SAMPLES + 1], nr_raw = raw_samples(raw, sizeof(raw), at), refused = 0, taken = 0;

	for (unsigned int i = 0; i < TRACE_NR_SAMPLES; i++) {
		const size_t end = at[i + 1] - at[i] > 100 ? at[i] + 100 : at[i + 1];

		for (size_t k = at[i]; k < end; k += hs_test_each(3, 13)) {
			const uint8_t was = raw[k];

			for (size_t v = 0; v < sizeof(values); v++) {
				struct hs_error err = { "" };
				struct trace_bytes f;
				size_t nr;
				int rc;

				raw[k] = values[v];
				f = file_with(raw, nr_raw);
				rc = read_all(f.bytes, f.nr, false, &nr, &err);
				free(f.bytes);
				ck_assert_msg(rc == 0 || rc == -EBADMSG || rc == -ENODATA, "byte %zu: %d %s", k, rc,
					      err.text);
				ck_assert(rc == 0 || strstr(err.text, "at byte "));
				rc ? refused++ : taken++;
			}
			raw[k] = was;
		}
	}
	/* Most of a record is figures that may be anything; of the rest each wrong value is found. */
	ck_assert_uint_gt(refused, taken / 2);
	ck_assert_uint_gt(taken, 0);
}
END_TEST

/* Records of a kind that a later version may add are passed over. */
START_TEST(test_sim_trace_unknown_kind)
{
	/* type 200, 5 bytes: nobody's, no time, no error, two bytes of its own; then the end, after one record */
	static const uint8_t raw[] = { 200, 5, 0, 0, 0, 0, 0, 42, 43, HS_TRACE_END, 4, 0, 0, 0, 0, 0, 1 };
	struct trace_bytes f = file_with(raw, sizeof(raw));
	struct hs_error err = { "" };
	size_t nr;

	ck_assert_msg(read_all(f.bytes, f.nr, false, &nr, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(nr, 0);
	free(f.bytes);
}
END_TEST

/* A scope that there is none by that number would be taken for a name beyond the end of their list. */
START_TEST(test_sim_trace_no_such_scope)
{
	struct hs_trace_header header = trace_sample_header();
	struct trace_bytes b = { 0 };
	struct hs_trace_writer *w;
	struct hs_error err = { "" };
	size_t nr;

	header.settings.scope = HS_SCOPE_COUNT;
	ck_assert_int_eq(hs_trace_writer_create(&w, open_memstream(&b.bytes, &b.nr), "memory", &header, &err), 0);
	ck_assert_int_eq(hs_trace_writer_close(w, &err), 0);
	ck_assert_int_eq(read_all(b.bytes, b.nr, false, &nr, &err), -EBADMSG);
	ck_assert_msg(strstr(err.text, "none that its setting has"), "%s", err.text);
	free(b.bytes);
}
END_TEST

START_TEST(test_sim_trace_other_version)
{
	struct hs_error err = { "" };
	size_t nr;

	whole.bytes[HS_TRACE_MAGIC_SIZE] = 9;
	ck_assert_int_eq(read_all(whole.bytes, whole.nr, true, &nr, &err), -EPROTONOSUPPORT);
	ck_assert_str_eq(err.text,
			 "memory: at byte 8: the trace is of version 9 of the format; this program reads version 1");
}
END_TEST

START_TEST(test_sim_trace_not_a_trace)
{
	static const char text[] = "PID 1 is init\n";
	struct hs_error err = { "" };
	size_t nr;

	ck_assert_int_eq(read_all(text, sizeof(text), false, &nr, &err), -EINVAL);
	ck_assert_str_eq(err.text, "memory: at byte 0: this is no trace: it does not begin like one");
	ck_assert_int_eq(read_all(text, 0, false, &nr, &err), -EINVAL);
	ck_assert_str_eq(err.text, "memory: at byte 0: the file is empty");
}
END_TEST

START_TEST(test_sim_trace_more_after_the_end)
{
	struct trace_bytes more = { .nr = whole.nr + 1 };
	struct hs_error err = { "" };
	size_t nr;

	more.bytes = calloc(1, more.nr);
	ck_assert_ptr_nonnull(more.bytes);
	memcpy(more.bytes, whole.bytes, whole.nr);
	ck_assert_int_eq(read_all(more.bytes, more.nr, true, &nr, &err), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(err.text, "there is something after the end"));
	free(more.bytes);
}
END_TEST

/* Arrays beyond a record's bound become several records of one time. */
START_TEST(test_sim_trace_long_arrays_are_parted)
{
	enum { NR = HS_TRACE_MAX_HUGE * 2 + 5 };
	static struct hs_huge_sample samples[NR];
	const struct hs_trace_region region = { 0, NR };
	struct hs_trace_record guest = { .type = HS_TRACE_GUEST, .nr = 1 };
	struct hs_trace_record huge = { .type = HS_TRACE_HUGE, .time_us = 77, .nr = NR, .u.huge.samples = samples };
	const struct hs_trace_record *const records[] = { &guest, &huge }, *got;
	struct hs_trace_reader *r;
	struct hs_error err = { "" };
	struct trace_bytes f;
	size_t seen = 0;

	guest.u.guest.nr_huge = NR;
	guest.u.guest.regions = &region;
	/* No two neighbours alike: the longest that a record can come to. */
	for (size_t i = 0; i < NR; i++)
		samples[i] = (struct hs_huge_sample){ HS_MAP_PARTIAL, HS_YES, 384, (uint16_t)(200 + i % 180), 128 };
	f = trace_file_of(records, 2);
	ck_assert_int_eq(open_bytes(&r, f.bytes, f.nr, &err), 0);
	ck_assert_int_eq(hs_trace_next(r, &got, &err), 1);
	while (hs_trace_next(r, &got, &err) == 1) {
		ck_assert_uint_eq(got->time_us, 77);
		ck_assert_uint_eq(got->u.huge.first, seen);
		ck_assert_int_eq(memcmp(got->u.huge.samples, samples + seen, got->nr * sizeof(samples[0])), 0);
		seen += got->nr;
	}
	ck_assert_str_eq(err.text, "");
	ck_assert_uint_eq(seen, NR);
	hs_trace_reader_destroy(r);
	free(f.bytes);
}
END_TEST

/* What no reader would take is not written. */
static const struct {
	struct hs_trace_record r;
	const char *why;
} refused[] = {
	{ { .type = HS_TRACE_AGE, .guest = 2 }, "the guest has not come yet" },
	{ { .type = HS_TRACE_AGE, .error = 5 }, "the answer is no error number" },
	{ { .type = 99 }, "no such kind" },
	{ { .type = HS_TRACE_END }, "closing" },
	{ { .type = HS_TRACE_CYCLE }, "a cycle is malformed" },
	{ { .type = HS_TRACE_CONTENT, .u.content.huge = 3, .guest = 1 }, "that the guest has not" },
	{ { .type = HS_TRACE_CONTENT, .u.content.got.w = { 1 } }, "more was read than was asked for" },
	{ { .type = HS_TRACE_GUEST, .guest = 3 }, "not the number that is next" },
	{ { .type = HS_TRACE_GUEST, .guest = 2, .nr = HS_TRACE_MAX_REGIONS + 1 }, "more pieces of memory" },
};

START_TEST(test_sim_trace_writer_refuses)
{
	const struct hs_trace_header header = trace_sample_header();
	struct hs_error err = { "" };
	struct hs_trace_writer *w;
	struct trace_bytes b;

	ck_assert_int_eq(hs_trace_writer_create(&w, open_memstream(&b.bytes, &b.nr), "memory", &header, &err), 0);
	for (unsigned int i = 0; i < 2; i++)
		ck_assert_int_eq(hs_trace_write(w, trace_sample(i), &err), 0);
	ck_assert_int_eq(hs_trace_write(w, &refused[_i].r, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, refused[_i].why), "%s", err.text);
	/* and that lasts */
	ck_assert_int_eq(hs_trace_write(w, trace_sample(4), &err), -EINVAL);
	ck_assert_int_eq(hs_trace_writer_close(w, &err), -EINVAL);
	free(b.bytes);
}
END_TEST

START_TEST(test_sim_trace_disk_is_full)
{
	const struct hs_trace_header header = trace_sample_header();
	struct hs_error err = { "" };
	struct hs_trace_writer *w;
	FILE *f = fopen("/dev/full", "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(hs_trace_writer_create(&w, f, "/dev/full", &header, &err), 0);
	ck_assert_int_eq(hs_trace_write(w, trace_sample(0), &err), 0);
	ck_assert_int_eq(hs_trace_flush(w, &err), -ENOSPC);
	ck_assert_str_eq(err.text, "/dev/full: cannot write: No space left on device");
	ck_assert_int_eq(hs_trace_write(w, trace_sample(1), &err), -ENOSPC);
	ck_assert_int_eq(hs_trace_writer_close(w, &err), -ENOSPC);
}
END_TEST

/* Time that goes back counts as standing still. */
START_TEST(test_sim_trace_time_never_goes_back)
{
	const struct hs_trace_record late = { .type = HS_TRACE_CYCLE, .time_us = 100, .u.cycle = 1 };
	const struct hs_trace_record early = { .type = HS_TRACE_CYCLE, .time_us = 99, .u.cycle = 2 };
	const struct hs_trace_record *const records[] = { &late, &early }, *got;
	struct trace_bytes f = trace_file_of(records, 2);
	struct hs_trace_reader *r;

	ck_assert_int_eq(open_bytes(&r, f.bytes, f.nr, NULL), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(hs_trace_next(r, &got, NULL), 1);
		ck_assert_uint_eq(got->time_us, 100);
	}
	hs_trace_reader_destroy(r);
	free(f.bytes);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace/trace");
	TCase *c = tcase_create("whole"), *own = tcase_create("own");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_sim_trace_round_trip);
	tcase_add_test(c, test_sim_trace_truncated_anywhere);
	tcase_add_test(c, test_sim_trace_any_bit_flipped);
	tcase_add_test(c, test_sim_trace_no_such_scope);
	tcase_add_test(c, test_sim_trace_other_version);
	tcase_add_test(c, test_sim_trace_more_after_the_end);
	tcase_add_test(own, test_sim_trace_wrong_inside);
	tcase_add_test(own, test_sim_trace_unknown_kind);
	tcase_add_test(own, test_sim_trace_not_a_trace);
	tcase_add_test(own, test_sim_trace_long_arrays_are_parted);
	tcase_add_loop_test(own, test_sim_trace_writer_refuses, 0, (int)(sizeof(refused) / sizeof(refused[0])));
	tcase_add_test(own, test_sim_trace_disk_is_full);
	tcase_add_test(own, test_sim_trace_time_never_goes_back);
	tcase_set_timeout(c, 200);
	tcase_set_timeout(own, 200);
	suite_add_tcase(s, c);
	suite_add_tcase(s, own);
	return hs_test_run(s);
}
