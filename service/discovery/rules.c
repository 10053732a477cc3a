/* SPDX-License-Identifier: Apache-2.0 */
/* Rules made ready: patterns compiled, owners looked up, and all that is wrong with them named. */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "rules_internal.h"

static int wrong(const struct hs_rule *r, enum hs_rule_key key, int *line, struct hs_error *err, const char *text)
{
	*line = r->text->line_of[key] ? r->text->line_of[key] : r->text->line;
	return hs_error_set(err, -EINVAL, "[discover %s] %s: %s", r->text->name, hs_rule_key_docs[key].name, text);
}

/* ---- patterns ---- */

/* The library does not say where a pattern goes wrong: behind the longest beginning of it that is one. From 1. */
static size_t wrong_at(const char *pattern)
{
	char part[HS_RULE_VALUE_MAX];
	size_t best = 0;

	for (size_t len = 1; len < strlen(pattern); len++) {
		regex_t re;

		memcpy(part, pattern, len);
		part[len] = '\0';
		if (regcomp(&re, part, REG_EXTENDED | REG_NOSUB))
			continue;
		regfree(&re);
		best = len;
	}
	return best + 1;
}

static int compile_pattern(struct hs_rule *r, enum hs_rule_key key, const char *pattern, size_t skipped, int *line,
			   struct hs_error *err)
{
	char text[256], why[80];
	int rc;

	for (const char *p = pattern; *p; p++) {
		if (*p != '\\' || !*++p)
			continue;
		if (*p >= '1' && *p <= '9') {
			(void)snprintf(
			    text, sizeof(text),
			    "at character %zu: \\%c, a reference back, can take for ever and is not allowed; "
			    "write out what it may be",
			    skipped + (size_t)(p - pattern), *p);
			return wrong(r, key, line, err, text);
		}
	}
	rc = regcomp(&r->re[key], pattern, REG_EXTENDED);
	if (rc) {
		(void)regerror(rc, &r->re[key], why, sizeof(why));
		(void)snprintf(text, sizeof(text),
			       "at character %zu: %s; it takes a POSIX extended regular expression (man 7 regex), in "
			       "which \\ makes a special character plain",
			       skipped + wrong_at(pattern), why);
		return wrong(r, key, line, err, text);
	}
	r->has[key] = true;
	return 0;
}

bool hs_rule_pattern_match(const struct hs_rule *rule, enum hs_rule_key key, const char *subject, bool whole,
			   struct hs_rule_captures *out)
{
	regmatch_t *m = out->match[key];

	if (!subject || regexec(&rule->re[key], subject, HS_RULE_MAX_CAPTURES, m, 0))
		return false;
	/* Of all matches the leftmost and longest is found: if one is the whole, it is that one. */
	if (whole && (m[0].rm_so != 0 || (size_t)m[0].rm_eo != strlen(subject)))
		return false;
	out->subject[key] = subject;
	return true;
}

/* The folder is taken as it stands, what follows its last slash is a pattern. */
static int compile_pid_file(struct hs_rule *r, int *line, struct hs_error *err)
{
	const char *value = r->text->value[HS_RULE_PID_FILE], *slash = strrchr(value, '/');

	if (value[0] != '/' || !slash || slash == value || !slash[1])
		return wrong(r, HS_RULE_PID_FILE, line, err,
			     "it takes an absolute path, the last part of which is a pattern, such as "
			     "/run/qemu-server/([0-9]+)\\.pid");
	(void)snprintf(r->pid_dir, sizeof(r->pid_dir), "%.*s", (int)(slash - value), value);
	return compile_pattern(r, HS_RULE_PID_FILE, slash + 1, (size_t)(slash + 1 - value), line, err);
}

/* ---- owners ---- */

static bool parse_uid(const char *text, uid_t *out)
{
	char *end;
	unsigned long v;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || *end || v >= UINT32_MAX)
		return false;
	*out = (uid_t)v;
	return true;
}

static bool parse_owner(struct hs_rule *r, char *word)
{
	char *dash = strchr(word, '-');
	const struct passwd *pw;
	uid_t first, last;

	if (parse_uid(word, &first)) {
		last = first;
	} else if (dash && dash != word && (*dash = '\0', parse_uid(word, &first)) && parse_uid(dash + 1, &last)) {
		if (last < first)
			return false;
	} else {
		if (dash)
			*dash = '-';
		pw = getpwnam(word);
		if (!pw)
			return false;
		first = last = pw->pw_uid;
	}
	r->owner[r->nr_owners].first = first;
	r->owner[r->nr_owners++].last = last;
	return true;
}

static int compile_owners(struct hs_rule *r, int *line, struct hs_error *err)
{
	char copy[HS_RULE_VALUE_MAX], text[256], *save = NULL;
	const char *value = r->text->value[HS_RULE_OWNER];

	(void)snprintf(copy, sizeof(copy), "%s", value[0] ? value : "0");
	r->any_owner = strcmp(copy, "any") == 0;
	for (char *w = strtok_r(copy, " ,", &save); w && !r->any_owner; w = strtok_r(NULL, " ,", &save)) {
		const size_t at = (size_t)(w - copy) + 1;

		if (r->nr_owners == HS_RULE_MAX_OWNERS)
			return wrong(r, HS_RULE_OWNER, line, err,
				     "it takes at most 8 users; a range such as 10000-10999 is one");
		if (parse_owner(r, w))
			continue;
		(void)snprintf(text, sizeof(text),
			       "at character %zu: \"%.40s\" is no user of this host, no user id, and no range of these "
			       "such as 10000-10999",
			       at, w);
		return wrong(r, HS_RULE_OWNER, line, err, text);
	}
	return 0;
}

/* ---- a rule ---- */

/* Keys that make no sense for what it looks for. */
static int check_kind(const struct hs_rule *r, int *line, struct hs_error *err)
{
	static const enum hs_rule_key of_processes[] = { HS_RULE_EXECUTABLE,   HS_RULE_OWNER,  HS_RULE_MOUNT_NAMESPACE,
							 HS_RULE_COMMAND_LINE, HS_RULE_CGROUP, HS_RULE_PID_FILE,
							 HS_RULE_MIN_MEMORY,   HS_RULE_NAME };
	static const enum hs_rule_key of_domains[] = { HS_RULE_DOMAIN, HS_RULE_METADATA };
	const enum hs_rule_key *others = r->of_domains ? of_processes : of_domains;
	const size_t nr =
	    r->of_domains ? sizeof(of_processes) / sizeof(of_processes[0]) : sizeof(of_domains) / sizeof(of_domains[0]);

	for (size_t i = 0; i < nr; i++)
		if (r->text->value[others[i]][0])
			return wrong(
			    r, others[i], line, err,
			    r->of_domains
				? "it is for processes, and this rule has source = libvirt: take one of the two away"
				: "it is for libvirt's domains: it needs source = libvirt");
	if (r->of_domains && !r->text->value[HS_RULE_DOMAIN][0] && !r->text->value[HS_RULE_METADATA][0])
		return wrong(
		    r, HS_RULE_DOMAIN, line, err,
		    "it is missing, and so is metadata: without either all domains would be opted in; domain = .* "
		    "says that it is meant");
	if (!r->of_domains && !r->text->value[HS_RULE_EXECUTABLE][0])
		return wrong(
		    r, HS_RULE_EXECUTABLE, line, err,
		    "it is missing; without it any process may pass for a guest. It takes the path of the VMM's "
		    "program, such as /usr/bin/qemu-system-x86_64");
	if (!r->text->value[HS_RULE_GROUP][0])
		return wrong(
		    r, HS_RULE_GROUP, line, err,
		    "it is missing: it says which guests may share with one another; one that holds a tenant's own "
		    "name, such as {command_line.1}, keeps tenants apart");
	return 0;
}

static int compile_words(struct hs_rule *r, int *line, struct hs_error *err)
{
	const char *source = r->text->value[HS_RULE_SOURCE], *ns = r->text->value[HS_RULE_MOUNT_NAMESPACE];
	const char *min = r->text->value[HS_RULE_MIN_MEMORY];

	if (source[0] && strcmp(source, "process") != 0 && strcmp(source, "libvirt") != 0)
		return wrong(r, HS_RULE_SOURCE, line, err, "it takes process or libvirt");
	r->of_domains = strcmp(source, "libvirt") == 0;
	if (ns[0] && strcmp(ns, "host") != 0 && strcmp(ns, "any") != 0)
		return wrong(r, HS_RULE_MOUNT_NAMESPACE, line, err, "it takes host or any");
	r->any_namespace = strcmp(ns, "any") == 0;
	if (hs_rule_size(&r->min_bytes, min[0] ? min : hs_rule_key_docs[HS_RULE_MIN_MEMORY].def) || !r->min_bytes)
		return wrong(r, HS_RULE_MIN_MEMORY, line, err,
			     "it takes bytes, or a number with K, M, G or T such as 64M");
	return 0;
}

static int compile_one(struct hs_rule *r, int *line, struct hs_error *err)
{
	static const enum hs_rule_key patterns[] = { HS_RULE_EXECUTABLE, HS_RULE_COMMAND_LINE, HS_RULE_CGROUP,
						     HS_RULE_DOMAIN };
	static const enum hs_rule_key templates[] = { HS_RULE_NAME, HS_RULE_GROUP, HS_RULE_MAX_SHARED };
	struct hs_error why = { "" };
	int rc = compile_words(r, line, err);

	if (!rc)
		rc = check_kind(r, line, err);
	if (!rc)
		rc = compile_owners(r, line, err);
	/* Any user can make a mount namespace in which a file of root's has whatever path. */
	if (!rc && r->any_owner && r->any_namespace)
		return wrong(
		    r, HS_RULE_OWNER, line, err,
		    "any, with mount_namespace = any, lets any user's process pass for a guest: name who runs the "
		    "VMM, or leave mount_namespace at host");
	for (size_t i = 0; !rc && i < sizeof(patterns) / sizeof(patterns[0]); i++)
		if (r->text->value[patterns[i]][0])
			rc = compile_pattern(r, patterns[i], r->text->value[patterns[i]], 0, line, err);
	if (!rc && r->text->value[HS_RULE_PID_FILE][0])
		rc = compile_pid_file(r, line, err);
	if (!rc && r->text->value[HS_RULE_METADATA][0] && hs_rule_xpath_check(r->text, &why))
		return wrong(r, HS_RULE_METADATA, line, err, why.text);
	for (size_t i = 0; !rc && i < sizeof(templates) / sizeof(templates[0]); i++)
		if (hs_rule_template_check(r, templates[i], &why))
			return wrong(r, templates[i], line, err, why.text);
	return rc;
}

/* ---- all of them ---- */

int hs_rules_compile(struct hs_rules **out, const struct hs_rule_texts *texts, int *line, struct hs_error *err)
{
	struct hs_rules *rules = calloc(1, sizeof(*rules));
	int rc = 0;

	*out = NULL;
	*line = 0;
	if (!rules)
		return hs_error_set(err, -ENOMEM, "out of memory");
	atomic_init(&rules->refs, 1);
	rules->texts = *texts;
	for (size_t i = 0; !rc && i < texts->nr; i++) {
		rules->nr++;
		rules->rule[i].text = &rules->texts.rule[i];
		rc = compile_one(&rules->rule[i], line, err);
	}
	if (rc)
		hs_rules_unref(rules);
	else
		*out = rules;
	return rc;
}

struct hs_rules *hs_rules_ref(struct hs_rules *rules)
{
	if (rules)
		atomic_fetch_add(&rules->refs, 1);
	return rules;
}

void hs_rules_unref(struct hs_rules *rules)
{
	if (!rules || atomic_fetch_sub(&rules->refs, 1) != 1)
		return;
	for (size_t i = 0; i < rules->nr; i++)
		for (int k = 0; k < HS_RULE_NR_KEYS; k++)
			if (rules->rule[i].has[k])
				regfree(&rules->rule[i].re[k]);
	free(rules);
}

static bool has_kind(const struct hs_rules *rules, bool of_domains)
{
	for (size_t i = 0; rules && i < rules->nr; i++)
		if (rules->rule[i].of_domains == of_domains)
			return true;
	return false;
}

bool hs_rules_of_processes(const struct hs_rules *rules)
{
	return has_kind(rules, false);
}

bool hs_rules_of_domains(const struct hs_rules *rules)
{
	return has_kind(rules, true);
}

size_t hs_rules_nr(const struct hs_rules *rules)
{
	return rules ? rules->nr : 0;
}

const char *hs_rules_name(const struct hs_rules *rules, size_t rule)
{
	return rules->rule[rule].text->name;
}

bool hs_rules_is_of_domains(const struct hs_rules *rules, size_t rule)
{
	return rules->rule[rule].of_domains;
}

void hs_rules_match_process(const struct hs_rules *rules, size_t rule, const struct hs_rule_process *process,
			    struct hs_rule_result *out)
{
	const struct hs_rule *r = &rules->rule[rule];
	const char *const subjects[HS_RULE_NR_KEYS] = { [HS_RULE_EXECUTABLE] = process->executable,
							[HS_RULE_COMMAND_LINE] = process->command_line,
							[HS_RULE_CGROUP] = process->cgroup,
							[HS_RULE_PID_FILE] = process->pid_file };
	struct hs_rule_captures c = { .pid = process->pid };

	memset(out, 0, sizeof(*out));
	for (int k = 0; k < HS_RULE_NR_KEYS; k++)
		if (r->has[k] && !hs_rule_pattern_match(r, (enum hs_rule_key)k, subjects[k],
							k == HS_RULE_EXECUTABLE || k == HS_RULE_PID_FILE, &c))
			return;
	hs_rule_template_fill(r, &c, out);
}
