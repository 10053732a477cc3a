/* The metrics of a model made up here: what has a sample and what, not being known, has none; sums; labels; formats. */
#include "hs_test.h"

#include <errno.h>
#include <string.h>

#include "service/endpoint/metrics.h"

static struct hs_model_guest guests[4];
static struct hs_guest_report reports[4];
static struct hs_model m;

static void make(void)
{
	static const char *const groups[] = { "web", "db", "web", "web" };

	memset(guests, 0, sizeof(guests));
	memset(reports, 0, sizeof(reports));
	m = (struct hs_model){ .version = "9", .psi_some_avg10 = -1, .guests = guests, .nr_guests = 4 };
	for (size_t i = 0; i < 4; i++) {
		struct hs_guest_report *r = &reports[i];

		(void)snprintf(guests[i].id, sizeof(guests[i].id), "g%zu", i);
		(void)snprintf(guests[i].opt_in.group, sizeof(guests[i].opt_in.group), "%s", groups[i]);
		guests[i].opt_in.on = i != 3;
		guests[i].report = i != 3 ? r : NULL;
		r->bytes = (i + 1) << 30;
		r->ledger =
		    (struct hs_ledger){ .shared = 10, .frames = 3, .saved_bytes = 7 * 4096, .net_saved_bytes = -5 };
		r->remote = (struct hs_remote_stats){
			.nr_sessions = 4, .nr_retries = 1, .stopped_us = 1500000, .longest_stop_us = 250
		};
	}
}

static char *text(bool open)
{
	size_t len;
	char *out = hs_metrics_text(&m, open, &len);

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(strlen(out), len);
	return out;
}

/* The line itself, from its beginning to its end. */
static bool has(const char *line, bool open)
{
	char *all = text(open), *at = all;
	const size_t len = strlen(line);
	bool found = false;

	for (; at && !found; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
		found = strncmp(at, line, len) == 0 && at[len] == '\n';
	free(all);
	return found;
}

static bool has_sample(const char *name)
{
	char *all = text(false), *at = all;
	bool found = false;

	for (; at && !found; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
		found = strncmp(at, name, strlen(name)) == 0 && strchr(" {", at[strlen(name)]);
	free(all);
	return found;
}

/* What it would take to end all sharing is known with the engine, what is kept without it. */
START_TEST(test_service_metrics_overcommit_and_kept)
{
	make();
	m.has_totals = m.has_kept = true;
	m.kept = (struct hs_share_kept){ .nr_processes = 2, .bytes = 8192 };
	ck_assert(has("hs_share_kept_bytes 8192", false) && has("hs_share_kept_processes 2", false));
	ck_assert(!has_sample("hs_share_overcommit_bytes") && !has_sample("hs_share_overcommit_limit_reached"));
	m.engaged = true;
	m.has_kept = false;
	m.totals.overcommit_bytes = 4096;
	ck_assert(!has_sample("hs_share_kept_bytes") && !has_sample("hs_share_max_overcommit_bytes"));
	ck_assert(has("hs_share_overcommit_bytes 4096", true) && has("hs_share_overcommit_limit_reached 0", true));
	m.totals.max_overcommit_bytes = 12288;
	m.totals.overcommit_full = 1;
	ck_assert(has("hs_share_max_overcommit_bytes 12288", true) && has("hs_share_overcommit_limit_reached 1", true));
}
END_TEST

START_TEST(test_service_metrics_unknown_is_absent)
{
	static const char *const engine[] = { "hs_share_saved_bytes",       "hs_share_net_saved_bytes",
					      "hs_share_frames_bytes",      "hs_share_group_conflicts_total",
					      "hs_share_guest_saved_bytes", "hs_share_guest_frames_bytes",
					      "hs_share_group_saved_bytes", "hs_share_guest_broken_pages_total" };
	static const char *const scan[] = { "hs_share_rounds_total", "hs_share_mappings_split_failed_total",
					    "hs_share_fine_gave_up_total", "hs_share_ksmd_cpu_seconds_total" };
	static const char *const host[] = { "hs_share_host_memory_bytes", "hs_share_host_memory_available_bytes",
					    "hs_share_resident_memory_bytes", "hs_share_last_cycle_seconds",
					    "hs_share_libvirt_connected" };
	const struct {
		const char *const *names;
		size_t nr;
	} sets[] = { { engine, 8 }, { scan, 4 }, { host, 5 } };

	make();
	for (int known = 0; known < 2; known++) {
		for (size_t s = 0; s < 3; s++)
			for (size_t i = 0; i < sets[s].nr; i++)
				ck_assert_msg(has_sample(sets[s].names[i]) == known, "%s", sets[s].names[i]);
		m.has_totals = m.engaged = true;
		m.nr_links = 1;
		m.memory_total_bytes = m.rss_bytes = m.cycles = 1;
	}
	/* Without the engine the scan's own figures stay. */
	m.engaged = false;
	ck_assert(has_sample("hs_share_rounds_total"));
	ck_assert(!has_sample("hs_share_saved_bytes"));
	ck_assert(has_sample("hs_share_guest_memory_bytes"));
	ck_assert(!has_sample("hs_share_host_memory_pressure_ratio"));
	m.psi_some_avg10 = 0;
	ck_assert(has("hs_share_host_memory_pressure_ratio 0", false));
}
END_TEST

/* KSM's own counters go on standing where ksmd left them: stopped, they say nothing of now. */
START_TEST(test_service_metrics_stopped_ksmd)
{
	make();
	m.has_ksm = true;
	m.ksm.pages_shared = 3;
	m.ksm.pages_sharing = 5;
	m.ksm.full_scans = 7;
	ck_assert(!has_sample("hs_share_kernel_ksm_pages_shared"));
	ck_assert(!has_sample("hs_share_kernel_ksm_pages_sharing"));
	ck_assert(has("hs_share_kernel_ksm_full_scans_total 7", false));
	m.ksm.ksmd_runs = true;
	ck_assert(has("hs_share_kernel_ksm_pages_shared 3", false));
	ck_assert(has("hs_share_kernel_ksm_pages_sharing 5", false));
}
END_TEST

START_TEST(test_service_metrics_values)
{
	make();
	m.has_totals = m.engaged = true;
	m.totals.ledger.frames = 5;
	m.totals.ledger.net_saved_bytes = -4096;
	m.totals.fine.nr_split_failed = 11;
	m.totals.fine.nr_no_time = 12;
	m.totals.fine.nr_out_of_time = 13;
	m.totals.burst_ms = 2500;
	ck_assert(has("hs_share_frames_bytes 20480", false));
	ck_assert(has("hs_share_net_saved_bytes -4096", false));
	ck_assert(has("hs_share_mappings_split_failed_total 11", false));
	ck_assert(has("hs_share_fine_no_time_total 12", false));
	ck_assert(has("hs_share_fine_out_of_time_total 13", false));
	ck_assert(has("hs_share_merging_seconds_total 2.5", false));
	ck_assert(has("hs_share_guest_frames_bytes{guest=\"g0\",group=\"web\"} 12288", false));
	ck_assert(has("hs_share_guest_net_saved_bytes{guest=\"g0\",group=\"web\"} -5", false));
	ck_assert(has("hs_share_guest_call_sessions_total{guest=\"g1\",group=\"db\"} 4", false));
	ck_assert(has("hs_share_guest_call_retries_total{guest=\"g1\",group=\"db\"} 1", false));
	ck_assert(has("hs_share_guest_longest_stop_seconds{guest=\"g2\",group=\"web\"} 0.00025", false));
	ck_assert(has("hs_share_guest_stopped_seconds_total{guest=\"g2\",group=\"web\"} 1.5", false));
	/* g0 and g2; g3 is not opted in. */
	ck_assert(has("hs_share_group_guests{group=\"web\"} 2", false));
	ck_assert(has("hs_share_group_memory_bytes{group=\"web\"} 4294967296", false));
	ck_assert(has("hs_share_group_shared_bytes{group=\"web\"} 81920", false));
	ck_assert(has("hs_share_group_saved_bytes{group=\"db\"} 28672", false));
	/* One that the engine will not have has no part in what is shared. */
	hs_obstacle_set(&reports[2].merge_obstacle, -EBUSY, NULL);
	ck_assert(has("hs_share_group_shared_bytes{group=\"web\"} 40960", false));
	ck_assert(!has("hs_share_guest_frames_bytes{guest=\"g2\",group=\"web\"} 12288", false));
}
END_TEST

/* As many groups as there may be, each in pieces; they come in the order of their first guests. */
START_TEST(test_service_metrics_many_groups)
{
	const size_t nr = 5000;
	struct hs_model_guest *many = calloc(nr, sizeof(*many));
	char *all, *first, *second;

	ck_assert_ptr_nonnull(many);
	make();
	for (size_t i = 0; i < nr; i++) {
		many[i] = guests[0];
		(void)snprintf(many[i].opt_in.group, sizeof(many[i].opt_in.group), "n%zu", (i * 7) % (nr / 2));
		many[i].opt_in.on = i != nr - 1;
	}
	m.guests = many;
	m.nr_guests = nr;
	all = text(true);
	first = strstr(all, "\nhs_share_group_guests{group=\"n0\"} 2\n");
	second = strstr(all, "\nhs_share_group_guests{group=\"n7\"} 2\n");
	ck_assert(first && second && first < second);
	ck_assert_ptr_nonnull(strstr(all, "\nhs_share_group_guests{group=\"n2493\"} 1\n")); /* of the last guest */
	ck_assert_ptr_nonnull(strstr(all, "\nhs_share_group_memory_bytes{group=\"n1234\"} 2147483648\n"));
	free(all);
	free(many);
}
END_TEST

START_TEST(test_service_metrics_formats)
{
	char *all;

	make();
	(void)snprintf(guests[0].id, sizeof(guests[0].id), "a\"b\\c\nd");
	ck_assert(has("hs_share_guest_memory_bytes{guest=\"a\\\"b\\\\c\\nd\",group=\"web\"} 1073741824", false));
	ck_assert(has("# TYPE hs_share_cycles_total counter", false));
	ck_assert(has("# TYPE hs_share_cycles counter", true));
	ck_assert(has("# UNIT hs_share_guest_memory_bytes bytes", true));
	ck_assert(has("hs_share_cycles_total 0", true));
	all = text(true);
	ck_assert_str_eq(all + strlen(all) - 6, "# EOF\n");
	free(all);
	all = text(false);
	ck_assert_ptr_null(strstr(all, "# EOF"));
	free(all);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/metrics");
	TCase *c = tcase_create("all");

	tcase_add_test(c, test_service_metrics_overcommit_and_kept);
	tcase_add_test(c, test_service_metrics_unknown_is_absent);
	tcase_add_test(c, test_service_metrics_stopped_ksmd);
	tcase_add_test(c, test_service_metrics_values);
	tcase_add_test(c, test_service_metrics_many_groups);
	tcase_add_test(c, test_service_metrics_formats);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
