/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what is reported. Rows stand as the JSON has them. */
#include "hs/report_fields.h"

#define OF(its_record, type, its_kind, member)                                                                         \
	.record = its_record, .kind = its_kind, .offset = offsetof(struct type, member)
#define KIND(type, member)                                                                                             \
	_Generic(((struct type *)NULL)->member, uint32_t                                                               \
		 : HS_FIELD_U32, uint64_t                                                                              \
		 : HS_FIELD_U64, int64_t                                                                               \
		 : HS_FIELD_S64)
#define GUEST(member)  OF(HS_FIELD_OF_GUEST, hs_guest_report, KIND(hs_guest_report, member), member)
#define TOTAL(member)  OF(HS_FIELD_OF_TOTALS, hs_pipeline_totals, KIND(hs_pipeline_totals, member), member)
#define LEDGER(member) OF(HS_FIELD_OF_LEDGER, hs_ledger, KIND(hs_ledger, member), member)

#define COUNTED  .counter = true, .scale = 1
#define IN_BYTES .unit = "bytes", .scale = 1
#define IN_PAGES .unit = "bytes", .scale = HS_BASE_SIZE /* counted in base pages, reported in bytes */
#define AS_IT_IS .scale = 1
#define IN_US    .unit = "seconds", .scale = 1e-6
#define IN_MS    .unit = "seconds", .scale = 1e-3

const struct hs_report_field hs_report_fields[] = {
	/* ---- of a guest ---- */
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_PID, pid), .json = "pid" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_BOOL, gone), .json = "gone" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_TEXT, view_name), .json = "view" },
	{ GUEST(bytes), .json = "memory_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_memory_bytes", "Memory of the guest that is looked at.", 1 },
	  .group = { "hs_share_group_memory_bytes", "Memory of the group's guests that is looked at.", 1 } },
	{ GUEST(left_out.too_small_bytes), .json = "left_out.too_small_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_left_out_too_small_bytes",
		     "Address space of it that is not looked at: pieces below min_memory.", 0 } },
	{ GUEST(left_out.borders_bytes), .json = "left_out.borders_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_left_out_borders_bytes",
		     "The same: parts of a huge page at the borders of pieces that are looked at.", 0 } },
	{ GUEST(left_out.heap_bytes), .json = "left_out.heap_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_left_out_heap_bytes", "The same: the process's own heap and stack.", 0 } },
	{ GUEST(left_out.executable_bytes), .json = "left_out.executable_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_left_out_executable_bytes", "The same: code that it makes.", 0 } },
	{ GUEST(left_out.other_kind_bytes), .json = "left_out.other_kind_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_left_out_other_kind_bytes",
		     "The same: writable memory of files, shared, or of hugetlbfs, which KSM cannot merge.", 0 } },
	{ GUEST(could_save_bytes), .json = "saving.sure_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_could_save_bytes",
		     "What sharing saves of it, or would save, by what was looked at.", 2 },
	  .group = { "hs_share_group_could_save_bytes",
		     "What sharing inside the group saves, or would save, by what was looked at.", 2 } },
	{ GUEST(sure.zero_bytes), .json = "saving.sure_zero_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_could_save_zero_bytes", "Of it, pages of zeros.", 0 },
	  .group = { "hs_share_group_could_save_zero_bytes", "Of it, pages of zeros.", 0 } },
	{ GUEST(sure.within_bytes), .json = "saving.sure_within_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_could_save_within_bytes", "Of it, what the guest holds several times by itself.",
		     0 },
	  .group = { "hs_share_group_could_save_within_bytes", "Of it, what each guest holds several times by itself.",
		     0 } },
	{ GUEST(sure.across_bytes), .json = "saving.sure_across_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_could_save_across_bytes", "Of it, what others of its group hold as well.", 0 },
	  .group = { "hs_share_group_could_save_across_bytes", "Of it, what several guests hold.", 0 } },
	{ GUEST(could_save_at_most_bytes), .json = "saving.at_most_bytes", IN_BYTES,
	  .guest = { "hs_share_guest_could_save_at_most_bytes",
		     "The same, were all that hot huge pages promise cold, which the fine phase finds out.", 0 },
	  .group = { "hs_share_group_could_save_at_most_bytes",
		     "The same, were all that hot huge pages promise cold, which the fine phase finds out.", 0 } },
	{ GUEST(at_most.zero_bytes), .json = "saving.at_most_zero_bytes" },
	{ GUEST(at_most.within_bytes), .json = "saving.at_most_within_bytes" },
	{ GUEST(at_most.across_bytes), .json = "saving.at_most_across_bytes" },
	{ GUEST(nr_promising), .json = "saving.promising_huge_pages" },
	{ GUEST(looked_save_bytes), .json = "saving.looked_bytes" },
	{ GUEST(looked.zero_bytes), .json = "saving.looked_zero_bytes" },
	{ GUEST(looked.within_bytes), .json = "saving.looked_within_bytes" },
	{ GUEST(looked.across_bytes), .json = "saving.looked_across_bytes" },
	{ GUEST(looked_cycle), .json = "saving.looked_cycle" },
	{ GUEST(nr_huge), .json = "huge_pages.total" },
	{ GUEST(mapped_huge), .json = "huge_pages.mapped_huge", AS_IT_IS,
	  .guest = { "hs_share_guest_mapped_huge_pages", "Its huge pages that are mapped huge.", 10 } },
	{ GUEST(mapped_split), .json = "huge_pages.mapped_split" },
	{ GUEST(absent), .json = "huge_pages.absent" },
	{ GUEST(unknown), .json = "huge_pages.unknown" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_TEXT, unknown_reason), .json = "huge_pages.unknown_reason" },
	{ GUEST(hot), .json = "heat.hot", AS_IT_IS,
	  .guest = { "hs_share_guest_hot_huge_pages", "Its hot huge pages.", 11 } },
	{ GUEST(hot_still_huge), .json = "heat.hot_still_huge", AS_IT_IS,
	  .guest = { "hs_share_guest_hot_huge_pages_still_huge", "Of them still mapped huge.", 12 } },
	{ GUEST(hot_bloat), .json = "heat.hot_bloat", AS_IT_IS,
	  .guest = { "hs_share_guest_hot_bloat_huge_pages", "Hot ones that are cold inside for the most part.", 14 } },
	{ GUEST(evenly_hot), .json = "heat.evenly_hot" },
	{ GUEST(warm), .json = "heat.warm" },
	{ GUEST(cold), .json = "heat.cold", AS_IT_IS,
	  .guest = { "hs_share_guest_cold_huge_pages", "Its cold huge pages.", 13 } },
	{ GUEST(undecided), .json = "heat.undecided" },
	{ GUEST(hashed_pages), .json = "content.known_pages" },
	{ GUEST(zero_pages), .json = "content.zero_pages" },
	{ GUEST(duplicate_pages), .json = "content.duplicate_pages" },
	{ GUEST(cold_identical), .json = "content.cold_identical_pages" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_REASONS, by_reason), .json = "reasons" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_SKEW, skew), .json = "hot_base_pages_histogram" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_SKEW, skew_hot), .json = "hot_base_pages_by_heat.hot" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_SKEW, skew_warm), .json = "hot_base_pages_by_heat.warm" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_SKEW, skew_cold), .json = "hot_base_pages_by_heat.cold" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_SKEW, skew_undecided),
	  .json = "hot_base_pages_by_heat.undecided" },
	{ GUEST(nr_vmas_dropped), .json = "pages_without_vma", AS_IT_IS,
	  .guest = { "hs_share_guest_pages_without_vma", "Base pages left unshared to keep the number of mappings low.",
		     15 } },
	{ GUEST(nr_pending), .json = "pages_pending", IN_PAGES,
	  .guest = { "hs_share_guest_pending_bytes",
		     "Its memory that is to be shared no more, and stays so for want of memory.", 21 } },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_CHARS, pending_reason), .json = "pending_reason" },
	{ OF(HS_FIELD_OF_GUEST, hs_guest_report, HS_FIELD_LEDGER, ledger), .json = "ledger" },
	{ GUEST(remote.nr_sessions), .json = "calls_in_guest.sessions", COUNTED,
	  .guest = { "hs_share_guest_call_sessions", "Times that a thread of it was held for calls.", 17 } },
	{ GUEST(remote.nr_calls), .json = "calls_in_guest.system_calls", COUNTED,
	  .guest = { "hs_share_guest_calls", "System calls made inside its process.", 16 } },
	{ GUEST(remote.nr_ops), .json = "calls_in_guest.operations" },
	{ GUEST(remote.nr_retries), .json = "calls_in_guest.retries", COUNTED,
	  .guest = { "hs_share_guest_call_retries", "Of them given up and tried again.", 18 } },
	{ GUEST(remote.stopped_us), .json = "calls_in_guest.stopped_us", .counter = true, IN_US,
	  .guest = { "hs_share_guest_stopped_seconds", "Time for which a thread of it was held for calls.", 19 } },
	{ GUEST(remote.longest_stop_us), .json = "calls_in_guest.longest_stop_us", IN_US,
	  .guest = { "hs_share_guest_longest_stop_seconds", "The longest of them.", 20 } },

	/* ---- of the whole ---- */
	{ TOTAL(cycles), .json = "cycles" },
	{ TOTAL(rounds), .json = "rounds", COUNTED, .whole = { "hs_share_rounds", "Rounds of the coarse phase.", 4 } },
	{ TOTAL(pages_hashed), .json = "pages_hashed", COUNTED,
	  .whole = { "hs_share_pages_digested", "Base pages read and digested.", 5 } },
	{ TOTAL(pages_compared), .json = "pages_compared", COUNTED,
	  .whole = { "hs_share_pages_compared", "Base pages compared byte by byte.", 6 } },
	{ TOTAL(compare_failed), .json = "compares_failed", COUNTED,
	  .whole = { "hs_share_compares_failed", "Of them with an equal digest and other bytes.", 7 } },
	{ TOTAL(ksmd_cpu_us), .json = "ksmd_cpu_seconds", .json_per = 1e6, .counter = true, IN_US,
	  .whole = { "hs_share_ksmd_cpu_seconds", "Processor time of ksmd while this service let it run.", 1 } },
	{ TOTAL(burst_ms), .json = "merging_seconds", .json_per = 1e3, .counter = true, IN_MS,
	  .whole = { "hs_share_merging_seconds", "Time for which ksmd was let run.", 2 } },
	{ TOTAL(index_bytes), .json = "index_bytes", IN_BYTES,
	  .whole = { "hs_share_index_bytes", "Memory of the service for the index of cold pages.", 3 } },
	{ TOTAL(own_bytes), .json = "own_bytes" },
	{ TOTAL(fine.nr_windows), .json = "fine.windows", COUNTED,
	  .whole = { "hs_share_fine_windows", "Windows of the fine phase.", 8 } },
	{ TOTAL(fine.nr_split), .json = "fine.split", COUNTED,
	  .whole = { "hs_share_mappings_split", "Mappings of huge pages split for a look.", 12 } },
	{ TOTAL(fine.nr_split_failed), .json = "fine.split_failed", COUNTED,
	  .whole = { "hs_share_mappings_split_failed", "Mappings that could not be split.", 13 } },
	{ TOTAL(fine.nr_restored), .json = "fine.restored", COUNTED,
	  .whole = { "hs_share_mappings_restored", "Split ones brought back.", 14 } },
	{ TOTAL(fine.nr_restore_failed), .json = "fine.restore_failed", COUNTED,
	  .whole = { "hs_share_mappings_restore_failed", "Times that one could not be brought back at once.", 15 } },
	{ TOTAL(fine.nr_gave_up), .json = "fine.gave_up", COUNTED,
	  .whole = { "hs_share_fine_gave_up", "Huge pages that a window gave up early: evenly hot.", 9 } },
	{ TOTAL(fine.nr_no_time), .json = "fine.no_time", COUNTED,
	  .whole = { "hs_share_fine_no_time",
		     "Huge pages not looked into: clearing their guest's accessed bits takes longer than a window has.",
		     10 } },
	{ TOTAL(fine.nr_out_of_time), .json = "fine.out_of_time", COUNTED,
	  .whole = { "hs_share_fine_out_of_time", "Huge pages split for nothing: their window ended too early.", 11 } },
	{ TOTAL(fine.split_ms), .json = "fine.split_huge_page_ms" },
	/* Known with the engine alone: the metrics of these stand with what is (service/endpoint/metrics.c). */
	{ TOTAL(overcommit_bytes), .json = "overcommit_bytes" },
	{ TOTAL(max_overcommit_bytes), .json = "max_overcommit_bytes" },
	{ TOTAL(overcommit_full), .json = "overcommit_full" },
	{ OF(HS_FIELD_OF_TOTALS, hs_pipeline_totals, HS_FIELD_LEDGER, ledger), .json = "ledger" },

	/* ---- what is shared, of a guest or of the whole ---- */
	{ LEDGER(wanted), .json = "wanted_pages", IN_PAGES,
	  .whole = { "hs_share_wanted_bytes", "Memory that is to be shared.", 16 },
	  .guest = { "hs_share_guest_wanted_bytes", "Its memory that is to be shared.", 5 } },
	{ LEDGER(marked), .json = "mergeable_pages", IN_PAGES,
	  .whole = { "hs_share_mergeable_bytes", "Memory that ksmd may merge for it.", 17 } },
	{ LEDGER(shared), .json = "shared_pages", IN_PAGES,
	  .whole = { "hs_share_shared_bytes", "Memory that shares frames.", 18 },
	  .guest = { "hs_share_guest_shared_bytes", "Its memory that shares frames with others.", 6 },
	  .group = { "hs_share_group_shared_bytes", "Memory of the group that shares frames.", 4 } },
	{ LEDGER(zero), .json = "zero_pages", IN_PAGES,
	  .whole = { "hs_share_zero_bytes", "Memory on the zero page because of sharing.", 20 },
	  .guest = { "hs_share_guest_zero_bytes", "Its memory on the zero page because of sharing.", 8 },
	  .group = { "hs_share_group_zero_bytes", "Memory of the group on the zero page because of sharing.", 6 } },
	{ LEDGER(frames), .json = "frames", IN_PAGES,
	  .whole = { "hs_share_frames_bytes", "Page frames behind it.", 19 },
	  .guest = { "hs_share_guest_frames_bytes",
		     "Page frames behind it; those that guests have in common are divided among them.", 7 },
	  .group = { "hs_share_group_frames_bytes", "Page frames behind it.", 5 } },
	{ LEDGER(single), .json = "single_pages", IN_PAGES,
	  .whole = { "hs_share_single_bytes", "Merged memory whose partners are gone: nothing is saved by it.", 21 } },
	{ LEDGER(broken), .json = "broken_pages", COUNTED,
	  .whole = { "hs_share_broken_pages", "Shared base pages that were written to.", 22 },
	  .guest = { "hs_share_guest_broken_pages", "Shared base pages that it wrote to.", 9 } },
	{ LEDGER(saved_bytes), .json = "saved_bytes", IN_BYTES,
	  .whole = { "hs_share_saved_bytes", "Page frames free because of sharing, gross, as the page tables say.",
		     23 },
	  .guest = { "hs_share_guest_saved_bytes", "Its share of what is saved, gross.", 3 },
	  .group = { "hs_share_group_saved_bytes", "What is saved inside the group, gross.", 3 } },
	{ LEDGER(metadata_bytes), .json = "metadata_bytes", IN_BYTES,
	  .whole = { "hs_share_metadata_bytes", "What the kernel and the service hold for it.", 24 } },
	{ LEDGER(net_saved_bytes), .json = "net_saved_bytes", IN_BYTES,
	  .whole = { "hs_share_net_saved_bytes", "Saved, less that; may be negative.", 25 },
	  .guest = { "hs_share_guest_net_saved_bytes", "The same, less what is held for it; may be negative.", 4 } },
	{ LEDGER(group_conflicts), .json = "group_conflicts", COUNTED,
	  .whole = { "hs_share_group_conflicts",
		     "Base pages that ksmd merged across trust groups, and that were parted again.", 26 } },
};
const size_t hs_nr_report_fields = sizeof(hs_report_fields) / sizeof(hs_report_fields[0]);

double hs_report_field_number(const struct hs_report_field *f, const void *record)
{
	const char *at = (const char *)record + f->offset;

	switch (f->kind) {
	case HS_FIELD_U32:
		return *(const uint32_t *)at;
	case HS_FIELD_U64:
		return (double)*(const uint64_t *)at;
	case HS_FIELD_S64:
		return (double)*(const int64_t *)at;
	default:
		return 0;
	}
}
