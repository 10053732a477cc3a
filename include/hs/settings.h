/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline's settings: their record, and the one table that all who take or show them read. From it come the keys
 * of the configuration and their documents, the options of the command line, the settings in a trace's header, and what
 * the lab's sweep tries. A new setting is a member below (or in a stage's own part), its default, and a row.
 */
#ifndef HS_SETTINGS_H
#define HS_SETTINGS_H

#include "hs/policy.h"
#include "hs/scan.h"
#include "hs/share.h"
#include "hs/tier.h"

/* With whom a guest may share; the larger, the stricter. */
enum hs_scope {
	HS_SCOPE_GROUP = 0, /* its trust group */
	HS_SCOPE_GUEST,     /* itself: what is identical within it */
	HS_SCOPE_ZERO,      /* nobody: its zero pages are freed, without KSM; no content is compared with another */
	HS_SCOPE_COUNT
};

struct hs_pipeline_config {
	struct hs_coarse_config coarse;
	struct hs_fine_config fine;
	struct hs_policy_config policy;
	struct hs_share_config share;
	struct hs_tier_config tier; /* where policy.demote has cold pages go; its min_free_percent is its own */
	uint64_t min_bytes;         /* smallest piece of memory that counts as guest memory; 0: the view's default */
	uint32_t cpu_percent;       /* of one core, for our thread and, apart, for ksmd; 0: no cap */
	uint32_t hash_cold_rounds;  /* contents are read once a huge page was cold for so many rounds */
	uint32_t early_rounds; /* rounds after which a new guest's cold memory is merged, while the rest is looked at;
				  0, or as many as a window has: after the window */
	uint32_t look_again;   /* cycles until an evenly hot huge page is looked at finely again */
	uint8_t scope;         /* enum hs_scope, of all guests; one of them may have a stricter one */
	uint32_t max_overcommit_percent; /* see hs_pipeline_totals.max_overcommit_bytes; 0: no such limit */
	uint64_t max_overcommit_bytes;   /* the same */
	bool observe;                    /* begin without an engine: scan and hash, merge nothing */
	bool fine_all;    /* the fine phase looks at every hot huge page, whatever its content, engine or not
			     (inspect, record); otherwise mappings are split only where they could be shared */
	bool allow_empty; /* a cycle without any guest is none, not an error (the service) */
	bool no_fine;     /* mappings are never split (--no-fine, --dry-run) */
};
extern const struct hs_pipeline_config hs_pipeline_config_default;

/*
 * The settings that others hang on, with these. A coarse window of so many rounds (1 to 64): the thresholds keep their
 * share of it, 6 of 10 rounds hot, all of them cold, and contents are read after no more than these. At most so many of
 * 512 base pages hot (0 to 511): the fine phase gives up above it, and what is unshared as hot stays above it.
 */
void hs_pipeline_config_set_rounds(struct hs_pipeline_config *cfg, uint32_t rounds);
void hs_pipeline_config_set_max_hot(struct hs_pipeline_config *cfg, uint32_t max_hot);

/* "group", "guest", "zero"; [HS_SCOPE_COUNT] is NULL. */
extern const char *const hs_scope_names[];
/* -EINVAL: it is none. */
HS_MUST_USE int hs_scope_parse(const char *name, uint8_t *out);

/* ---- the table ---- */

enum hs_setting_type {
	HS_SETTING_U32 = 0, /* uint32_t, from min to max */
	HS_SETTING_SIZE,    /* uint64_t, bytes */
	HS_SETTING_BOOL,    /* bool */
	HS_SETTING_NAME,    /* uint8_t, a number in `names` */
};

/* Which of the commands that look at processes by themselves take the option: inspect, record and run; the last two;
 * the last. */
enum hs_setting_commands {
	HS_SETTING_NO_COMMAND = 0,
	HS_SETTING_ALL_COMMANDS,
	HS_SETTING_RECORD_AND_RUN,
	HS_SETTING_RUN_ALONE
};

#define HS_SETTING_SWEEP_MAX 8 /* values, with the 0 that ends them */

struct hs_setting {
	uint8_t type; /* enum hs_setting_type */
	size_t offset;
	uint32_t min, max;
	/* The configuration: [section] key, with one line that says what it is and why the default. NULL: it has none.
	 */
	const char *section, *key, *what;
	const char *const *names; /* of HS_SETTING_NAME; NULL ends them */
	const char *allowed;      /* the same, for people */
	/* The value with what hangs on it, where a single setting is given. NULL: nothing does. */
	void (*set)(struct hs_pipeline_config *cfg, uint32_t v);
	/* Its name in a trace's header; NULL: decisions do not hang on it. Traces of the format's first days have all
	 * but those that came later: these are taken at their default where they are missing. */
	const char *trace;
	bool later;
	struct {
		const char *name, *arg, *help; /* "rounds", "N"; NULL: there is no such option */
		uint8_t commands;              /* enum hs_setting_commands */
		uint8_t group;                 /* of the help: 1 limits, 2 policy, 3 how it looks */
		uint32_t min;                  /* where it is more than the configuration's */
	} option;
	struct {
		const char *name;
		uint32_t min, max;                     /* where they are narrower than the configuration's; 0: not */
		uint32_t values[HS_SETTING_SWEEP_MAX]; /* that are tried when none are named; 0 ends them */
	} sweep;
};
extern const struct hs_setting hs_settings[];
extern const size_t hs_nr_settings;

/* As a number: a bool is 0 or 1, a name its number. */
uint64_t hs_setting_get(const struct hs_setting *s, const struct hs_pipeline_config *cfg);

/* The member alone. Has to be in its range. */
void hs_setting_put(const struct hs_setting *s, struct hs_pipeline_config *cfg, uint64_t v);

/* Copies what a trace's header has. */
void hs_settings_copy_traced(struct hs_pipeline_config *to, const struct hs_pipeline_config *from);

#endif
