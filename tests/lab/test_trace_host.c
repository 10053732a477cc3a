/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recorded guests in the lab. A made-up host is recorded through the pipeline, without anything being merged; its trace
 * has to show the same contents and the same heat, and the policies on it have to save what they save on the host
 * itself.
 */
#include "lab_help.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace/pipeline_trace.h"
#include "lab/trace_host.h"

/* Nothing is written, so contents are at the end what they were when they were read. */
static const char scene[] =
    "[host]\nseconds = 60\n[guests a]\ncount = 2\nmemory = 64M\neven = 25\nskewed = 25\nhot_min = 16\n"
    "hot_max = 16\nwrite = 0\naccesses = 60000\nzero = 10\nsame_group = 50\n";
static char path[] = "/tmp/hs-lab-trace-XXXXXX";

/* Two cycles of the pipeline over the host. */
static void record(struct hs_lab_host *h, bool merging, uint64_t cancel_at_us)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_trace_header header;
	struct hs_trace_writer *w;
	struct hs_recorder *rec;
	struct hs_pipeline *p;
	struct hs_error err = { "" };
	uint64_t news;
	int rc = 0;

	cfg.share = hs_share_config_default;
	cfg.observe = true;
	cfg.fine_all = true;
	hs_record_header(&header, &host, &cfg);
	header.merging = merging;
	ck_assert_int_eq(hs_trace_writer_create(&w, fopen(path, "we"), path, &header, &err), 0);
	ck_assert_int_eq(hs_recorder_create(&rec, w, &h->clock, &err), 0);
	ck_assert_int_eq(hs_pipeline_create(&p, &host, &cfg, hs_recorder_clock(rec), &err), 0);
	hs_record_pipeline(p, rec);
	for (uint32_t i = 0; i < h->nr_guests; i++) {
		h->guests[i].lent = true;
		ck_assert_msg(hs_pipeline_add_view(p, h->guests[i].name, h->guests[i].view, &err) == 0, "%s", err.text);
	}
	h->sim.cancel_at_us = cancel_at_us;
	for (int i = 0; i < 2 && !rc; i++)
		rc = hs_pipeline_cycle(p, &news, &err);
	ck_assert_int_eq(rc, cancel_at_us ? -ECANCELED : 0);
	hs_pipeline_destroy(p);
	hs_recorder_destroy(rec);
	ck_assert_msg(hs_trace_writer_close(w, &err) == 0, "%s", err.text);
}

static void setup(void)
{
	int fd;

	(void)strcpy(path, "/tmp/hs-lab-trace-XXXXXX");
	fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	(void)close(fd);
}

static void teardown(void)
{
	(void)unlink(path);
}

START_TEST(test_sim_trace_host_is_the_recorded_one)
{
	struct hs_lab_host *h = lab_host(scene), *again;
	struct hs_lab_scenario s;
	struct hs_lab_trace *t;
	struct hs_error err = { "" };

	record(h, false, 0);
	ck_assert_msg(hs_lab_trace_read(&t, path, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(t->nr_guests, 2);
	ck_assert(!t->cut_off);
	hs_lab_trace_scenario(t, path, &s);
	ck_assert_msg(hs_lab_host_create(&again, &s, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(again->possible, h->possible);
	for (uint32_t i = 0; i < 2; i++) {
		ck_assert_str_eq(again->guests[i].name, h->guests[i].name);
		for (hs_huge_nr huge = 0; huge < 32; huge++) {
			const struct hs_bits512 was = hs_lab_hot_pages(&h->guests[i], huge);
			const struct hs_bits512 is = hs_lab_hot_pages(&again->guests[i], huge);

			ck_assert_int_eq(hs_lab_class_of(&again->guests[i], huge),
					 hs_lab_class_of(&h->guests[i], huge));
			/* Evenly hot ones are given up by the fine phase before all of their base pages were met. */
			if (hs_lab_class_of(&h->guests[i], huge) != HS_LAB_EVEN)
				ck_assert_mem_eq(&is, &was, sizeof(is));
		}
	}
	lab_check(again);
	hs_lab_host_destroy(again);
	hs_lab_host_destroy(h);
	hs_lab_trace_destroy(t);
}
END_TEST

START_TEST(test_sim_trace_host_saves_the_same)
{
	static struct hs_lab_costs none;
	struct hs_lab_options o = hs_lab_options_default(&none);
	struct hs_lab_host *h = lab_host(scene);
	struct hs_lab_scenario s;
	struct hs_lab_trace *t;
	struct hs_error err = { "" };

	hs_lab_costs_none(&none);
	record(h, false, 0);
	hs_lab_host_destroy(h);
	ck_assert_msg(hs_lab_trace_read(&t, path, &err) == 0, "%s", err.text);
	hs_lab_trace_scenario(t, path, &s);
	for (size_t k = 0; hs_lab_policies[k]; k++) {
		const struct hs_lab_result was = lab_run(scene, hs_lab_policies[k], NULL);
		const struct hs_lab_task task = { .scenario = &s, .policy = hs_lab_policies[k], .options = &o };
		struct hs_lab_result is;

		ck_assert_msg(hs_lab_run(&is, &task, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(is.memory_bytes, was.memory_bytes);
		ck_assert_uint_eq(is.possible_bytes, was.possible_bytes);
		/* The trace is shorter than the run, and hugescope takes more than a cycle. */
		if (hs_lab_policies[k] == &hs_lab_hugescope)
			continue;
		ck_assert_msg(is.saved_bytes == was.saved_bytes, "%s saves %llu and not %llu", is.policy->name,
			      (unsigned long long)is.saved_bytes, (unsigned long long)was.saved_bytes);
		ck_assert_uint_eq(is.wrong_splits, was.wrong_splits);
	}
	hs_lab_trace_destroy(t);
}
END_TEST

START_TEST(test_sim_trace_host_refuses)
{
	struct hs_lab_host *h = lab_host(scene);
	struct hs_lab_trace *t;
	struct hs_error err = { "" };
	FILE *f;

	record(h, true, 0);
	hs_lab_host_destroy(h);
	ck_assert_int_eq(hs_lab_trace_read(&t, path, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, "merged while this trace was recorded"));
	ck_assert_int_eq(hs_lab_trace_read(&t, "/nonexistent/t", &err), -ENOENT);
	f = fopen(path, "we");
	ck_assert_int_ge(fputs("this is no trace", f), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_lt(hs_lab_trace_read(&t, path, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, path));
}
END_TEST

/* Ended in its first round: there is nothing to replay. Later: what came before is taken. */
START_TEST(test_sim_trace_host_short)
{
	struct hs_lab_host *h = lab_host(scene);
	struct hs_lab_trace *t;
	struct hs_error err = { "" };

	record(h, false, 300000);
	hs_lab_host_destroy(h);
	ck_assert_int_eq(hs_lab_trace_read(&t, path, &err), -ENODATA);
	h = lab_host(scene);
	record(h, false, 3000000);
	hs_lab_host_destroy(h);
	ck_assert_msg(hs_lab_trace_read(&t, path, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(t->guests[0].nr_rounds, 4);
	hs_lab_trace_destroy(t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab/trace host");
	TCase *c = tcase_create("trace");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_sim_trace_host_is_the_recorded_one);
	tcase_add_test(c, test_sim_trace_host_saves_the_same);
	tcase_add_test(c, test_sim_trace_host_refuses);
	tcase_add_test(c, test_sim_trace_host_short);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
