/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of discovery share: a rule as it is used. */
#ifndef HS_SERVICE_DISCOVERY_RULES_INTERNAL_H
#define HS_SERVICE_DISCOVERY_RULES_INTERNAL_H

#include <regex.h>
#include <stdatomic.h>

#include "rules.h"

#define HS_RULE_MAX_OWNERS   8
#define HS_RULE_MAX_CAPTURES 10 /* {key.0} to {key.9} */

struct hs_rule {
	const struct hs_rule_text *text; /* of the copy in hs_rules */
	bool of_domains;
	bool has[HS_RULE_NR_KEYS]; /* patterns that are set, in re */
	regex_t re[HS_RULE_NR_KEYS];
	char pid_dir[HS_RULE_VALUE_MAX]; /* of pid_file, up to its last slash */
	struct {
		uid_t first, last;
	} owner[HS_RULE_MAX_OWNERS];
	size_t nr_owners;
	bool any_owner, any_namespace;
	uint64_t min_bytes;
};

struct hs_rules {
	atomic_uint refs;
	struct hs_rule_texts texts;
	size_t nr;
	struct hs_rule rule[HS_RULES_MAX];
};

/* Where each pattern has matched; `subject` NULL: it has not been asked for. */
struct hs_rule_captures {
	const char *subject[HS_RULE_NR_KEYS];
	regmatch_t match[HS_RULE_NR_KEYS][HS_RULE_MAX_CAPTURES];
	pid_t pid;
	const char *metadata;
};

/* False: no match. `whole`: all of the subject has to match. */
bool hs_rule_pattern_match(const struct hs_rule *rule, enum hs_rule_key key, const char *subject, bool whole,
			   struct hs_rule_captures *out);

/* ---- rule_template.c: name, group and limit ---- */

/* -EINVAL: not a template, or it names what the rule has not. */
HS_MUST_USE int hs_rule_template_check(const struct hs_rule *rule, enum hs_rule_key key, struct hs_error *err);
/* Fills in the result; out->refused says what is wrong with what came of it. */
void hs_rule_template_fill(const struct hs_rule *rule, const struct hs_rule_captures *captures,
			   struct hs_rule_result *out);

/* "512M", "none". -EINVAL. */
HS_MUST_USE int hs_rule_size(uint64_t *out, const char *text);

/* ---- rule_domain.c ---- */

/* -EINVAL: no XPath expression. */
HS_MUST_USE int hs_rule_xpath_check(const struct hs_rule_text *text, struct hs_error *err);

#endif
