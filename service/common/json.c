#include "json.h"

const char *const hs_skew_names[HS_NR_SKEW] = { "0",     "1",      "2-3",     "4-7",     "8-15", "16-31",
						"32-63", "64-127", "128-255", "256-511", "512" };

static json_int_t num(uint64_t v)
{
	return (json_int_t)v;
}

json_t *hs_json_ledger(const struct hs_ledger *l)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "wanted_pages", num(l->wanted),
			 "mergeable_pages", num(l->marked), "shared_pages", num(l->shared), "zero_pages", num(l->zero),
			 "frames", num(l->frames), "single_pages", num(l->single), "broken_pages", num(l->broken),
			 "saved_bytes", num(l->saved_bytes), "metadata_bytes", num(l->metadata_bytes),
			 "net_saved_bytes", (json_int_t)l->net_saved_bytes, "group_conflicts", num(l->group_conflicts));
}

json_t *hs_json_totals(const struct hs_pipeline_totals *t)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:I,s:I,s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I},s:o}", "cycles",
			 num(t->cycles), "rounds", num(t->rounds), "pages_hashed", num(t->pages_hashed),
			 "pages_compared", num(t->pages_compared), "compares_failed", num(t->compare_failed),
			 "ksmd_cpu_seconds", (double)t->ksmd_cpu_us / 1e6, "merging_seconds", (double)t->burst_ms / 1e3,
			 "index_bytes", num(t->index_bytes), "own_bytes", num(t->own_bytes), "fine", "windows",
			 num(t->fine.nr_windows), "split", num(t->fine.nr_split), "split_failed",
			 num(t->fine.nr_split_failed), "restored", num(t->fine.nr_restored), "restore_failed",
			 num(t->fine.nr_restore_failed), "gave_up", num(t->fine.nr_gave_up), "no_time",
			 num(t->fine.nr_no_time), "out_of_time", num(t->fine.nr_out_of_time), "split_huge_page_ms",
			 num(t->fine.split_ms), "ledger", hs_json_ledger(&t->ledger));
}

json_t *hs_json_guest(const struct hs_guest_report *r)
{
	json_t *reasons = json_object(), *skew = json_object();

	for (int i = 0; i < HS_NR_REASONS; i++)
		json_object_set_new(reasons, hs_policy_reason_name((enum hs_policy_reason)i),
				    json_integer(r->by_reason[i]));
	for (int i = 0; i < 11; i++)
		json_object_set_new(skew, hs_skew_names[i], json_integer(r->skew[i]));
	return json_pack(
	    "{s:i,s:b,s:s,s:I,s:{s:I,s:I,s:I,s:I,s:I},s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I},s:{s:I,s:I,s:I,s:I},"
	    "s:o,s:o,s:I,s:o,s:{s:I,s:I,s:I,s:I,s:I,s:I}}",
	    "pid", (int)r->pid, "gone", r->gone, "view", r->view_name ? r->view_name : "none", "memory_bytes",
	    num(r->bytes), "huge_pages", "total", num(r->nr_huge), "mapped_huge", num(r->mapped_huge), "mapped_split",
	    num(r->mapped_split), "absent", num(r->absent), "unknown", num(r->unknown), "heat", "hot", num(r->hot),
	    "hot_still_huge", num(r->hot_still_huge), "hot_bloat", num(r->hot_bloat), "evenly_hot", num(r->evenly_hot),
	    "warm", num(r->warm), "cold", num(r->cold), "undecided", num(r->undecided), "content", "known_pages",
	    num(r->hashed_pages), "zero_pages", num(r->zero_pages), "duplicate_pages", num(r->duplicate_pages),
	    "cold_identical_pages", num(r->cold_identical), "reasons", reasons, "hot_base_pages_histogram", skew,
	    "pages_without_vma", num(r->nr_vmas_dropped), "ledger", hs_json_ledger(&r->ledger), "calls_in_guest",
	    "sessions", num(r->remote.nr_sessions), "system_calls", num(r->remote.nr_calls), "operations",
	    num(r->remote.nr_ops), "retries", num(r->remote.nr_retries), "stopped_us", num(r->remote.stopped_us),
	    "longest_stop_us", num(r->remote.longest_stop_us));
}
