/* SPDX-License-Identifier: Apache-2.0 */
/* The table of settings. What each does stands with the members; docs/configuration.md has the reasons at length. */
#include "hs/settings.h"

#include <errno.h>
#include <string.h>

const struct hs_pipeline_config hs_pipeline_config_default = {
	.coarse = HS_COARSE_CONFIG_DEFAULT,
	.fine = HS_FINE_CONFIG_DEFAULT,
	.policy = HS_POLICY_CONFIG_DEFAULT,
	.tier = HS_TIER_CONFIG_DEFAULT,
	.min_bytes = 0,
	.cpu_percent = 0,
	.hash_cold_rounds = 2,
	.early_rounds = 3,
	.look_again = 8,
};

const char *const hs_scope_names[] = {
	[HS_SCOPE_GROUP] = "group", [HS_SCOPE_GUEST] = "guest", [HS_SCOPE_ZERO] = "zero", NULL
};

int hs_scope_parse(const char *name, uint8_t *out)
{
	for (uint8_t i = 0; i < HS_SCOPE_COUNT; i++)
		if (strcmp(name, hs_scope_names[i]) == 0) {
			*out = i;
			return 0;
		}
	return -EINVAL;
}

/* ---- what hangs on others ---- */

void hs_pipeline_config_set_rounds(struct hs_pipeline_config *cfg, uint32_t rounds)
{
	cfg->coarse.rounds = rounds;
	cfg->coarse.hot_rounds = (rounds * 6 + 9) / 10;
	cfg->policy.min_cold_rounds = rounds;
	cfg->policy.unshare_hot_rounds = cfg->coarse.hot_rounds;
	/* No more rounds than the window's are ever known: above that nothing cold would be read. */
	if (cfg->hash_cold_rounds > rounds)
		cfg->hash_cold_rounds = rounds;
}

void hs_pipeline_config_set_max_hot(struct hs_pipeline_config *cfg, uint32_t max_hot)
{
	cfg->policy.max_hot = max_hot;
	if (cfg->policy.unshare_hot_pages <= max_hot)
		cfg->policy.unshare_hot_pages = max_hot + 1;
	cfg->fine.give_up_hot = max_hot;
}

/* One figure for both of us. */
static void set_cpu_percent(struct hs_pipeline_config *cfg, uint32_t percent)
{
	cfg->cpu_percent = percent;
	cfg->share.cpu_percent = percent;
}

/* The window has to be long enough for its samples. */
static void set_fine_interval(struct hs_pipeline_config *cfg, uint32_t ms)
{
	cfg->fine.interval_ms = ms;
	if (cfg->fine.max_window_ms < cfg->fine.samples * ms * 3)
		cfg->fine.max_window_ms = cfg->fine.samples * ms * 3;
}

/* ---- the table ---- */

static const char *const foreign_names[] = {
	[HS_FOREIGN_REFUSE] = "refuse", [HS_FOREIGN_ALLOW] = "allow", [HS_FOREIGN_CLAIM] = "claim", NULL
};

#define AT(member)                  .offset = offsetof(struct hs_pipeline_config, member)
#define KEY(its_section, its_key)   .section = its_section, .key = its_key
#define NUMBER(member, least, most) .type = HS_SETTING_U32, AT(member), .min = least, .max = most
#define FOR_ALL(opt, argument, text)                                                                                   \
	.option = { .name = opt, .arg = argument, .help = text, .commands = HS_SETTING_ALL_COMMANDS, .group = 3 }
#define FOR_RUN(opt, least, in_group, text)                                                                            \
	.option = { .name = opt,                                                                                       \
		    .arg = "N",                                                                                        \
		    .help = text,                                                                                      \
		    .commands = HS_SETTING_RUN_ALONE,                                                                  \
		    .group = in_group,                                                                                 \
		    .min = least }
#define SWEEP(its_name, ...)                 .sweep = { .name = its_name, .values = { __VA_ARGS__ } }
#define SWEEP_IN(its_name, least, most, ...) .sweep = { its_name, least, most, { __VA_ARGS__ } }

/* Keys of one section stand together, in the order of the configuration. */
const struct hs_setting hs_settings[] = {
	{ KEY("scan", "rounds"), NUMBER(coarse.rounds, 1, 64), .trace = "coarse.rounds",
	  .what = "coarse rounds in a cycle (HugeScope's R)", .set = hs_pipeline_config_set_rounds,
	  FOR_ALL("rounds", "N", "Coarse rounds in a cycle, 1 to 64. Default: 10."),
	  SWEEP("rounds", 2, 5, 10, 20, 40) },
	{ KEY("scan", "interval_ms"), NUMBER(coarse.interval_ms, 10, 600000), .trace = "coarse.interval_ms",
	  .what = "length of a round (as in the paper)",
	  FOR_ALL("interval", "MS", "Milliseconds of a coarse round. Default: 600."),
	  SWEEP("interval_ms", 150, 300, 600, 1200, 2400) },
	{ KEY("scan", "hot_rounds"), NUMBER(coarse.hot_rounds, 1, 64), .trace = "coarse.hot_rounds",
	  .what = "a huge page accessed in so many rounds is hot", SWEEP_IN("hot_rounds", 1, 10, 2, 4, 6, 8, 10) },
	{ KEY("scan", "cpu_percent"), NUMBER(cpu_percent, 0, 100), .set = set_cpu_percent,
	  .what = "of one core, for looking and digesting; 0: no cap. A tenth reads some 1 GiB/s at most",
	  FOR_RUN("cpu-percent", 1, 1,
		  "Use at most N percent of one core ourselves, and let ksmd use no more. Default: no limit.") },
	{ KEY("scan", "min_memory"), .type = HS_SETTING_SIZE, AT(min_bytes),
	  .what = "smallest piece of a process's memory that counts as guest memory; 0: 64M of a VMM, 4M of any other",
	  FOR_ALL("min-memory", "SIZE",
		  "Smallest piece of a process's memory that counts as guest memory. Default: 64M of a VMM, 4M of any "
		  "other process.") },
	{ KEY("scan", "hash_cold_rounds"), NUMBER(hash_cold_rounds, 1, 64), .trace = "hash_cold_rounds",
	  .what = "contents are read once cold for so many rounds", SWEEP("hash_cold_rounds", 1, 2, 5, 10) },
	{ KEY("scan", "early_rounds"), NUMBER(early_rounds, 0, 64),
	  .what =
	      "a new guest's memory that is cold for so many rounds is merged while the rest is looked at; 0: never",
	  SWEEP_IN("early_rounds", 0, 10, 2, 3, 5, 10) },
	{ KEY("scan", "look_again"), NUMBER(look_again, 1, 1000), .trace = "look_again",
	  .what = "cycles until an evenly hot huge page is looked at finely again", SWEEP("look_again", 2, 8, 32) },

	{ KEY("fine", "samples"), NUMBER(fine.samples, 1, 255), .trace = "fine.samples",
	  .what = "base-page samples in a window", SWEEP_IN("fine_samples", 1, 10, 1, 2, 5, 10) },
	{ KEY("fine", "interval_ms"), NUMBER(fine.interval_ms, 1, 60000), .trace = "fine.interval_ms",
	  .what = "between two samples", .set = set_fine_interval,
	  SWEEP_IN("fine_interval_ms", 10, 60000, 50, 100, 200, 400) },
	{ KEY("fine", "max_split"), NUMBER(fine.max_split, 1, 1000000), .trace = "fine.max_split",
	  .what = "mappings split for a look at one time, over all guests", SWEEP("max_split", 64, 512, 4096) },
	{ KEY("fine", "max_window_ms"), NUMBER(fine.max_window_ms, 10, 600000), .trace = "fine.max_window_ms",
	  .what = "no mapping is split for a look for longer" },
	{ NUMBER(fine.give_up_hot, 0, UINT32_MAX), .trace = "fine.give_up_hot" }, /* follows max_hot */

	{ KEY("policy", "max_hot"), NUMBER(policy.max_hot, 0, 511), .trace = "policy.max_hot",
	  .what = "of 512 base pages, in a huge page that may be split (HugeScope's)",
	  .set = hs_pipeline_config_set_max_hot,
	  FOR_RUN("max-hot", 0, 2, "Split a hot huge page when at most N of its 512 base pages are hot. Default: 100."),
	  SWEEP("max_hot", 25, 50, 100, 200, 400) },
	{ KEY("policy", "hot_count"), NUMBER(policy.hot_count, 1, 255), .trace = "policy.hot_count",
	  .what = "a base page met in so many fine samples is hot", SWEEP("hot_count", 1, 2, 3) },
	{ KEY("policy", "min_gain_cold"), NUMBER(policy.min_gain_cold, 1, 512), .trace = "policy.min_gain_cold",
	  .what = "base pages to free in a cold huge page", SWEEP("min_gain_cold", 1, 2, 8, 32) },
	{ KEY("policy", "min_gain_hot"), NUMBER(policy.min_gain_hot, 1, 512), .trace = "policy.min_gain_hot",
	  .what = "the same where a huge mapping in use is lost", SWEEP("min_gain_hot", 1, 16, 64, 128, 256) },
	{ KEY("policy", "min_cold_rounds"), NUMBER(policy.min_cold_rounds, 1, 65535), .trace = "policy.min_cold_rounds",
	  .what = "rounds without access until it counts as cold", SWEEP("min_cold_rounds", 3, 5, 10, 20) },
	{ KEY("policy", "unshare_hot_rounds"), NUMBER(policy.unshare_hot_rounds, 1, 64),
	  .trace = "policy.unshare_hot_rounds",
	  .what = "a shared huge page is unshared when it is hot in so many rounds",
	  SWEEP("unshare_hot_rounds", 2, 4, 6, 8) },
	{ KEY("policy", "unshare_hot_pages"), NUMBER(policy.unshare_hot_pages, 1, 512),
	  .trace = "policy.unshare_hot_pages",
	  .what = "and has more than so many base pages accessed in the last round",
	  SWEEP("unshare_hot_pages", 110, 160, 256, 400) },
	{ KEY("policy", "ban_breaks"), NUMBER(policy.ban_breaks, 0, 512), .trace = "policy.ban_breaks",
	  .what = "so many shared base pages written: unshare and ban; 0: never",
	  SWEEP("ban_breaks", 16, 64, 256, 512) },
	{ KEY("policy", "ban_cycles"), NUMBER(policy.ban_cycles, 1, 1000), .trace = "policy.ban_cycles",
	  .what = "length of a first ban", SWEEP("ban_cycles", 1, 2, 4, 8, 16) },
	/* No keys of the service: it lacks what demoting needs beside the mechanism (docs/tier.md). */
	{ NUMBER(policy.demote, 0, 1), .trace = "policy.demote", .later = true },
	{ NUMBER(policy.demote_after_s, 0, 1000000), .trace = "policy.demote_after_s", .later = true },
	{ NUMBER(policy.max_compressed_percent, 0, 100), .trace = "policy.max_compressed_percent", .later = true },
	{ NUMBER(policy.pressed_gain_hot, 0, 512), .trace = "policy.pressed_gain_hot", .later = true },

	{ KEY("merge", "share"), .type = HS_SETTING_NAME, AT(scope), .names = hs_scope_names,
	  .allowed = "group, guest or zero",
	  .what = "with whom a guest may share: group (its trust group), guest (within itself), zero (its zero pages "
		  "are freed, no content is compared)",
	  .trace = "scope", .later = true,
	  .option = { .name = "share",
		      .arg = "SCOPE",
		      .commands = HS_SETTING_RECORD_AND_RUN,
		      .group = 2,
		      .help = "With whom a guest may share: group (all that are named here), guest (itself: what is "
			      "identical within it), zero (nobody: its zero pages are freed, and nothing is compared). "
			      "Default: group." } },
	{ KEY("merge", "max_overcommit"), .type = HS_SETTING_SIZE, AT(max_overcommit_bytes),
	  .what = "nothing further is shared once it would take so much memory to end all sharing; 0: no such limit" },
	{ KEY("merge", "max_overcommit_percent"), NUMBER(max_overcommit_percent, 0, 100000),
	  .what = "the same in percent of the memory available, of the host and below each limit of a guest's cgroups; "
		  "0: no such limit" },
	{ KEY("merge", "foreign"), .type = HS_SETTING_NAME, AT(share.foreign), .names = foreign_names,
	  .allowed = "refuse, claim or allow",
	  .what = "mergeable memory of others, which ksmd would merge blindly: refuse (share nothing), claim (take the "
		  "mark away, give it back at the end), allow" },
	{ KEY("merge", "vma_percent"), NUMBER(share.vma_percent, 1, 90),
	  .what = "of vm.max_map_count, that a guest's mappings may reach",
	  FOR_RUN("vma-percent", 1, 1,
		  "Let a guest have at most N percent of vm.max_map_count in VMAs. Default: 50.") },
	{ KEY("merge", "max_gap"), NUMBER(share.max_gap, 0, 511),
	  .what =
	      "cold base pages between two shared ones that are taken along, which is cheaper than two mappings more",
	  SWEEP("max_gap", 4, 16, 64, 511) },
	{ KEY("merge", "gap_vmas"), NUMBER(share.gap_vmas, 0, 1000000),
	  .what = "longer ones are taken along while a guest's marks are more mappings than this",
	  SWEEP_IN("gap_vmas", 0, 1000000, 512, 4096, 32768) },
	{ KEY("merge", "burst_deadline_ms"), NUMBER(share.burst_deadline_ms, 100, 3600000),
	  .what = "ksmd is stopped after so long, and goes on in a later cycle" },
	{ KEY("merge", "ksmd_cpu_percent"), NUMBER(share.cpu_percent, 0, 100),
	  .what = "of one core, for ksmd while it runs; 0: no cap" },
	{ KEY("merge", "max_page_sharing"), NUMBER(share.max_page_sharing, 0, 1000000),
	  .what = "KSM's cap of copies a frame; 0: as it is" },
	{ KEY("merge", "min_free_percent"), NUMBER(share.min_free_percent, 0, 100),
	  .what = "unsharing leaves so much of the host's memory available" },
	{ KEY("merge", "use_zero_pages"), .type = HS_SETTING_BOOL, AT(share.use_zero_pages),
	  .what = "zero pages go to the kernel's zero page" },

	{ .type = HS_SETTING_BOOL, AT(fine_all), .trace = "fine_all" },
	{ .type = HS_SETTING_BOOL, AT(no_fine), .trace = "no_fine" },
};
const size_t hs_nr_settings = sizeof(hs_settings) / sizeof(hs_settings[0]);

uint64_t hs_setting_get(const struct hs_setting *s, const struct hs_pipeline_config *cfg)
{
	const char *at = (const char *)cfg + s->offset;

	switch ((enum hs_setting_type)s->type) {
	case HS_SETTING_U32:
		return *(const uint32_t *)at;
	case HS_SETTING_SIZE:
		return *(const uint64_t *)at;
	case HS_SETTING_BOOL:
		return *(const bool *)at;
	case HS_SETTING_NAME:
		return *(const uint8_t *)at;
	}
	return 0;
}

void hs_setting_put(const struct hs_setting *s, struct hs_pipeline_config *cfg, uint64_t v)
{
	char *at = (char *)cfg + s->offset;

	switch ((enum hs_setting_type)s->type) {
	case HS_SETTING_U32:
		*(uint32_t *)at = (uint32_t)v;
		break;
	case HS_SETTING_SIZE:
		*(uint64_t *)at = v;
		break;
	case HS_SETTING_BOOL:
		*(bool *)at = v != 0;
		break;
	case HS_SETTING_NAME:
		*(uint8_t *)at = (uint8_t)v;
		break;
	}
}

void hs_settings_copy_traced(struct hs_pipeline_config *to, const struct hs_pipeline_config *from)
{
	for (size_t i = 0; i < hs_nr_settings; i++)
		if (hs_settings[i].trace)
			hs_setting_put(&hs_settings[i], to, hs_setting_get(&hs_settings[i], from));
}
