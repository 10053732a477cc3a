/* SPDX-License-Identifier: Apache-2.0 */
/* The columns of each table, by the names that the answers of the daemon have. Where an older daemon has no such value,
 * the cell is empty. */
#include <string.h>

#include "commands.h"
#include "table.h"

#define TABLE(list) .columns = (list), .nr = sizeof(list) / sizeof((list)[0])

/* "not-opted-in" and "not opted in". */
static bool says_the_same(const char *reason, const char *state)
{
	size_t i = 0;

	while (state[i] && (reason[i] == state[i] || (reason[i] == '-' && state[i] == ' ')))
		i++;
	return !state[i] && !reason[i];
}

/* The reason, where it is one and says more than the state. */
static const char *reason_of(const json_t *g)
{
	const char *reason = hs_json_text(g, "reason");

	return says_the_same(reason, hs_json_text(g, "state")) || strcmp(reason, "none") == 0 ? "" : reason;
}

static const char *why_of(const json_t *g)
{
	const char *reason = reason_of(g), *why = hs_json_text(g, "reason_text");

	return *reason && *why ? why : reason;
}

/* A group is what a guest may share in; one that has not opted in has none. */
static const char *group_of(const json_t *g)
{
	return json_is_true(json_object_get(g, "opted_in")) ? hs_json_text(g, "group") : "-";
}

static const char *trouble_of(const json_t *g)
{
	const char *reason = hs_json_text(g, "reason");

	return strcmp(reason, "none") == 0 || strcmp(reason, "observe-only") == 0 ? "" : reason;
}

static const char *ended_of(const json_t *g)
{
	return json_is_true(json_object_get(g, "gone")) ? "(ended)" : "";
}

#define ROW(its_name, its_what, its_kind, ...)                                                                         \
	{                                                                                                              \
		.name = (its_name), .what = (its_what), .kind = (its_kind), __VA_ARGS__                                \
	}
#define TEXT(name, what, its_key)      ROW(name, what, HS_CELL_TEXT, .key = (its_key))
#define LONG_TEXT(name, what, its_key) ROW(name, what, HS_CELL_TEXT, .key = (its_key), .cut = true)
#define STATE(name, what, its_key)     ROW(name, what, HS_CELL_STATE, .key = (its_key))
#define NUMBER(name, what, its_key)    ROW(name, what, HS_CELL_NUMBER, .key = (its_key))
#define SIZE(name, what, its_key)      ROW(name, what, HS_CELL_SIZE, .key = (its_key))
#define TIME(name, what, its_key)      ROW(name, what, HS_CELL_TIME, .key = (its_key))
#define COMPUTED(name, what, by)       ROW(name, what, HS_CELL_COMPUTED, .text = (by))
#define LONG_COMPUTED(name, what, by)  ROW(name, what, HS_CELL_COMPUTED, .text = (by), .cut = true)

static const struct hs_column guests[] = {
	LONG_TEXT("GUEST", "name of the domain, or pid-N", "id"),
	TEXT("UUID", "of the domain", "uuid"),
	NUMBER("PID", "process that holds its memory", "pid"),
	TEXT("SOURCE", "libvirt or process", "source"),
	TEXT("RULE", "rule that has opted it in", "rule"),
	LONG_COMPUTED("GROUP", "its trust group; - where it has not opted in", group_of),
	TEXT("SHARE", "with whom it may share: group, guest, zero", "share"),
	SIZE("MAX-SHARED", "limit of what may be shared of it; 0: none", "max_shared_bytes"),
	STATE("STATE", "what is done with it", "state"),
	SIZE("MEMORY", "what is looked at of it", "memory_bytes"),
	SIZE("SAVED", "what is saved of it now", "saved_bytes"),
	SIZE("NET", "the same, less metadata", "net_saved_bytes"),
	SIZE("COULD", "what sharing saves, or would, by what was looked at", "could_save_bytes"),
	SIZE("AT-MOST", "the same, if hot huge pages prove cold inside", "could_save_at_most_bytes"),
	NUMBER("SHARED", "its shared base pages", "shared_pages"),
	NUMBER("ZERO", "its base pages on the zero page", "zero_pages"),
	NUMBER("HUGE", "its huge pages", "huge_pages"),
	NUMBER("HOT", "its hot huge pages", "hot_huge_pages"),
	NUMBER("HOT-WHOLE", "of them mapped huge", "hot_huge_pages_still_huge"),
	NUMBER("COLD", "its cold huge pages", "cold_huge_pages"),
	COMPUTED("REASON", "why nothing is saved, as a word", reason_of),
	LONG_COMPUTED("WHY", "the same as a sentence, with the way out", why_of),
};
const struct hs_table hs_table_guests = {
	TABLE(guests),
	.usual = "GUEST,GROUP,STATE,MEMORY,SAVED,COULD,REASON",
	.on_wide = "GUEST,GROUP,STATE,MEMORY,SAVED,COULD,WHY",
	.if_empty = "(no guest is known: domains come from libvirt, processes by `hs-share opt-in --pid PID`)",
};

static const struct hs_column history[] = {
	TIME("TIME", "when", "at"),
	TEXT("MODE", "what was in effect", "mode"),
	NUMBER("GUESTS", "that were known", "guests"),
	NUMBER("SHARING", "of them", "sharing"),
	SIZE("SAVED", "by sharing", "saved_bytes"),
	SIZE("COULD", "be saved, by what was looked at", "could_save_bytes"),
	SIZE("AVAILABLE", "memory of the host", "memory_available_bytes"),
};
const struct hs_table hs_table_history = {
	TABLE(history),
	.usual = "TIME,MODE,GUESTS,SHARING,SAVED,COULD,AVAILABLE",
	.if_empty = "(nothing yet: a point is taken every few seconds)",
};

static const struct hs_column report[] = {
	LONG_TEXT("GUEST", "name of the domain, or pid-N", "id"),
	LONG_TEXT("GROUP", "its trust group", "group"),
	SIZE("MEMORY", "what is looked at of it", "memory_bytes"),
	SIZE("SURE", "what sharing saves, or would, by what was looked at", "could_save_bytes"),
	SIZE("ZERO", "of it, pages of zeros", "saving.sure_zero_bytes"),
	SIZE("WITHIN", "of it, what the guest holds several times", "saving.sure_within_bytes"),
	SIZE("ACROSS", "of it, what others of its group hold", "saving.sure_across_bytes"),
	SIZE("UP-TO", "if hot huge pages prove cold inside", "could_save_at_most_bytes"),
	SIZE("SAVED", "now", "saved_bytes"),
	SIZE("TOO-SMALL", "not looked at: pieces below min_memory", "left_out.too_small_bytes"),
	SIZE("BORDERS", "not looked at: no whole huge page", "left_out.borders_bytes"),
	SIZE("HEAP", "not looked at: the process's own", "left_out.heap_bytes"),
	SIZE("EXECUTABLE", "not looked at: code that it makes", "left_out.executable_bytes"),
	SIZE("OTHER-KIND", "not looked at: KSM cannot merge it", "left_out.other_kind_bytes"),
	COMPUTED("REASON", "why nothing is saved, as a word", trouble_of),
	LONG_TEXT("WHY", "the same as a sentence, with the way out", "reason_text"),
};
const struct hs_table hs_table_report = {
	TABLE(report),
	.usual = "GUEST,GROUP,MEMORY,SURE,ZERO,WITHIN,ACROSS,UP-TO,SAVED,REASON",
};

static const struct hs_column groups[] = {
	LONG_TEXT("GROUP", "trust group", "group"),
	NUMBER("GUESTS", "in it", "guests"),
	SIZE("MEMORY", "what is looked at of them", "memory_bytes"),
	SIZE("SURE", "what sharing saves, or would", "could_save_bytes"),
	SIZE("ZERO", "of it, pages of zeros", "saving.sure_zero_bytes"),
	SIZE("WITHIN", "of it, what a guest holds several times", "saving.sure_within_bytes"),
	SIZE("ACROSS", "of it, what several guests hold", "saving.sure_across_bytes"),
	SIZE("UP-TO", "if hot huge pages prove cold inside", "could_save_at_most_bytes"),
	SIZE("SAVED", "now", "saved_bytes"),
};
const struct hs_table hs_table_report_groups = {
	TABLE(groups),
	.usual = "GROUP,GUESTS,MEMORY,SURE,ZERO,WITHIN,ACROSS,UP-TO,SAVED",
};

static const struct hs_column run[] = {
	NUMBER("PID", "process that holds the guest's memory", "pid"),
	SIZE("MEMORY", "what is looked at of it", "memory_bytes"),
	NUMBER("HUGE", "huge pages that are mapped huge", "huge_pages.mapped_huge"),
	NUMBER("SPLIT", "huge pages whose mapping is split", "huge_pages.mapped_split"),
	NUMBER("HOT", "hot huge pages", "heat.hot"),
	NUMBER("BLOAT", "of them cold inside for the most part", "heat.hot_bloat"),
	NUMBER("WARM", "warm huge pages", "heat.warm"),
	NUMBER("COLD", "cold huge pages", "heat.cold"),
	NUMBER("COLD-IDENT", "base pages that are cold and identical", "content.cold_identical_pages"),
	NUMBER("SHARED", "base pages that are shared", "ledger.shared_pages"),
	NUMBER("ZERO", "base pages on the zero page", "ledger.zero_pages"),
	SIZE("SAVED", "what is saved", "ledger.saved_bytes"),
	SIZE("NET", "the same, less metadata", "ledger.net_saved_bytes"),
	SIZE("SURE", "what sharing saves, or would", "saving.sure_bytes"),
	SIZE("UP-TO", "if hot huge pages prove cold inside", "saving.at_most_bytes"),
	COMPUTED("ENDED", "says so of a process that has", ended_of),
};
const struct hs_table hs_table_run = {
	TABLE(run),
	.usual = "PID,MEMORY,HUGE,SPLIT,HOT,BLOAT,WARM,COLD,COLD-IDENT,SHARED,ZERO,SAVED,ENDED",
};

/* One row: the status as a script wants it. */
static const struct hs_column status[] = {
	TEXT("VERSION", "of the service", "version"),
	TIME("STARTED", "when it did", "started_at"),
	TEXT("MODE", "that was asked for", "mode"),
	TEXT("EFFECTIVE", "mode that holds now", "effective"),
	TEXT("STAGE", "of the scan", "scan.stage"),
	NUMBER("CYCLES", "so far", "scan.cycles"),
	NUMBER("GUESTS", "that are known", "guests.known"),
	NUMBER("OPTED-IN", "of them", "guests.opted_in"),
	NUMBER("SHARING", "of them", "guests.sharing"),
	SIZE("SAVED", "in mode save: what is saved", "saving.saved_bytes"),
	SIZE("NET", "the same, less metadata", "saving.net_saved_bytes"),
	SIZE("COULD", "what sharing saves, or would", "saving.could_save_bytes"),
	SIZE("OVERCOMMIT", "what the end of all sharing would take", "overcommit.bytes"),
	SIZE("KEPT", "what stays shared though the mode does not share", "kept.bytes"),
	SIZE("AVAILABLE", "memory of the host", "memory.available_bytes"),
	SIZE("TOTAL", "memory of the host", "memory.total_bytes"),
	LONG_TEXT("TROUBLE", "what keeps the whole host from sharing", "trouble"),
	LONG_TEXT("PENDING", "what is still to be undone", "undo_pending"),
};
const struct hs_table hs_table_status = {
	TABLE(status),
	.usual = "MODE,EFFECTIVE,GUESTS,OPTED-IN,SHARING,SAVED,NET,COULD,OVERCOMMIT,KEPT,AVAILABLE",
};
