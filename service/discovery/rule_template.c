/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name, group and limit, with placeholders for what the patterns have matched: {cgroup.1} is what stands in the first
 * pair of parentheses of the pattern cgroup, {cgroup} all that it has matched, {metadata} the text that was found
 * there, {pid} the process id.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rules_internal.h"

/* One placeholder, at *text behind its brace. */
struct placeholder {
	int key; /* enum hs_rule_key; HS_RULE_NR_KEYS: pid */
	unsigned int capture;
};

static const enum hs_rule_key captured[] = { HS_RULE_EXECUTABLE, HS_RULE_COMMAND_LINE, HS_RULE_CGROUP,
					     HS_RULE_PID_FILE,   HS_RULE_DOMAIN,       HS_RULE_METADATA };

int hs_rule_size(uint64_t *out, const char *text)
{
	if (strcmp(text, "none"))
		return hs_size_parse(out, text);
	*out = 0;
	return 0;
}

/* Reads "cgroup.1}"; what follows it, or NULL: it is none. */
static const char *read_placeholder(const char *text, struct placeholder *out)
{
	const char *close = strchr(text, '}');

	*out = (struct placeholder){ .key = -1 };
	if (!close)
		return NULL;
	if (strncmp(text, "pid}", 4) == 0)
		out->key = HS_RULE_NR_KEYS;
	for (size_t i = 0; i < sizeof(captured) / sizeof(captured[0]); i++) {
		const char *name = hs_rule_key_docs[captured[i]].name;
		const char *rest = text + strlen(name);

		if (strncmp(text, name, strlen(name)) != 0)
			continue;
		if (rest == close)
			out->key = (int)captured[i];
		if (captured[i] != HS_RULE_METADATA && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9' &&
		    rest + 2 == close) {
			out->key = (int)captured[i];
			out->capture = (unsigned int)(rest[1] - '0');
		}
	}
	return out->key < 0 ? NULL : close + 1;
}

int hs_rule_template_check(const struct hs_rule *rule, enum hs_rule_key key, struct hs_error *err)
{
	const char *value = rule->text->value[key];
	bool plain = true;
	uint64_t size;

	for (const char *p = value; *p;) {
		const size_t at = (size_t)(p - value) + 1;
		struct placeholder h;
		const char *next;

		if (*p == '}')
			return hs_error_set(
			    err, -EINVAL, "at character %zu: } closes no placeholder; these are written as {cgroup.1}",
			    at);
		if (*p != '{') {
			p++;
			continue;
		}
		plain = false;
		next = read_placeholder(p + 1, &h);
		if (!next)
			return hs_error_set(
			    err, -EINVAL,
			    "at character %zu: no placeholder; there are {executable.N}, {command_line.N}, {cgroup.N}, "
			    "{pid_file.N}, {domain.N}, with N from 0 to 9, {metadata} and {pid}",
			    at);
		if (h.key == HS_RULE_NR_KEYS ? rule->of_domains : !rule->text->value[h.key][0])
			return hs_error_set(
			    err, -EINVAL,
			    "at character %zu: the rule has no %s: set that, or take the placeholder away", at,
			    h.key == HS_RULE_NR_KEYS ? "process" : hs_rule_key_docs[h.key].name);
		if (h.capture && h.capture > rule->re[h.key].re_nsub)
			return hs_error_set(
			    err, -EINVAL,
			    "at character %zu: the pattern %s has %zu pairs of parentheses, and this asks for the "
			    "%uth",
			    at, hs_rule_key_docs[h.key].name, rule->re[h.key].re_nsub, h.capture);
		p = next;
	}
	if (key == HS_RULE_GROUP && plain && !hs_group_valid(value))
		return hs_error_set(err, -EINVAL, "a group has 1 to 63 letters, digits, dots, dashes or underscores");
	if (key == HS_RULE_MAX_SHARED && plain && value[0] && hs_rule_size(&size, value))
		return hs_error_set(err, -EINVAL, "it takes none, bytes, or a number with K, M, G or T such as 2G");
	return 0;
}

/* What the placeholder stands for; *len 0: nothing. */
static const char *value_of(const struct placeholder *h, const struct hs_rule_captures *c, char pid[16], size_t *len)
{
	const regmatch_t *m;

	if (h->key == HS_RULE_NR_KEYS) {
		*len = (size_t)snprintf(pid, 16, "%d", (int)c->pid);
		return pid;
	}
	if (h->key == HS_RULE_METADATA) {
		*len = c->metadata ? strlen(c->metadata) : 0;
		return c->metadata;
	}
	m = &c->match[h->key][h->capture];
	*len = m->rm_so < 0 || !c->subject[h->key] ? 0 : (size_t)(m->rm_eo - m->rm_so);
	return c->subject[h->key] ? c->subject[h->key] + (m->rm_so < 0 ? 0 : m->rm_so) : NULL;
}

/* -ENODATA: a placeholder stands for nothing; -ENAMETOOLONG. */
static int expand(const char *value, const struct hs_rule_captures *c, char *out, size_t size)
{
	size_t at = 0;

	for (const char *p = value; *p;) {
		struct placeholder h;
		char pid[16];
		const char *text = p;
		size_t len = 1;

		if (*p == '{') {
			const char *next = read_placeholder(p + 1, &h);

			if (!next)
				return -EINVAL; /* checked before */
			text = value_of(&h, c, pid, &len);
			if (!len)
				return -ENODATA;
			p = next;
		} else {
			p++;
		}
		if (at + len >= size)
			return -ENAMETOOLONG;
		memcpy(out + at, text, len);
		at += len;
	}
	out[at] = '\0';
	return 0;
}

/* A name that can be asked for, and is nobody's process id. */
static bool name_is_good(const char *name)
{
	char mended[HS_NAME_MAX];

	(void)snprintf(mended, sizeof(mended), "%s", name);
	hs_text_mend(mended);
	return strcmp(mended, name) == 0 && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
	       strncmp(name, "pid-", 4) != 0;
}

void hs_rule_template_fill(const struct hs_rule *rule, const struct hs_rule_captures *c, struct hs_rule_result *out)
{
	const struct hs_rule_text *t = rule->text;
	char group[HS_RULE_VALUE_MAX * 4], max[64] = "none";
	int rc;

	out->found = true;
	memcpy(out->rule, t->name, sizeof(out->rule));
	if (expand(t->value[HS_RULE_NAME], c, out->name, sizeof(out->name)) || !name_is_good(out->name))
		out->name[0] = '\0';
	rc = expand(t->value[HS_RULE_GROUP], c, group, sizeof(group));
	if (rc || !hs_group_valid(group)) {
		(void)snprintf(
		    out->refused, sizeof(out->refused),
		    rc == -ENODATA ? "its trust group cannot be told: what the rule's group \"%.60s\" names is empty"
		    : rc           ? "its trust group by the rule's \"%.60s\" is longer than 63 characters"
			 : "its trust group by the rule's \"%.60s\" would be \"%.80s\": a group has 1 to 63 letters, "
			   "digits, dots, dashes or underscores",
		    t->value[HS_RULE_GROUP], group);
		hs_text_mend(out->refused);
		return;
	}
	(void)snprintf(out->opt_in.group, sizeof(out->opt_in.group), "%.*s", HS_GROUP_MAX - 1, group);
	if (t->value[HS_RULE_MAX_SHARED][0] && (expand(t->value[HS_RULE_MAX_SHARED], c, max, sizeof(max)) ||
						hs_rule_size(&out->opt_in.max_shared_bytes, max))) {
		(void)snprintf(out->refused, sizeof(out->refused),
			       "its limit by the rule's max_shared \"%.60s\" is no size: \"%.40s\"",
			       t->value[HS_RULE_MAX_SHARED], max);
		hs_text_mend(out->refused);
		return;
	}
	out->opt_in.on = true;
}
