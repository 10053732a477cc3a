/* SPDX-License-Identifier: Apache-2.0 */
/* Rules as the configuration has them: their keys, and reading and writing them. */
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

#define SECTION "discover "
#define BOM     "\xef\xbb\xbf" /* a mark that some editors put first */

const struct hs_rule_key_doc hs_rule_key_docs[HS_RULE_NR_KEYS] = {
	[HS_RULE_SOURCE] = { "source", "process", "process or libvirt",
			     "what it looks for: processes, or libvirt's domains" },
	[HS_RULE_EXECUTABLE] = { "executable", "", "a pattern",
				 "the file that the process runs, as the kernel says, from its first to its last "
				 "character" },
	[HS_RULE_OWNER] = { "owner", "root", "users, user ids, ranges of them, or any",
			    "who runs it: all four of its user ids have to be among these" },
	[HS_RULE_MOUNT_NAMESPACE] = { "mount_namespace", "host", "host or any",
				      "host: in a container, anybody may have a file of that path" },
	[HS_RULE_COMMAND_LINE] = { "command_line", "", "a pattern",
				   "anywhere in its arguments, with a space between two; a space inside one counts as "
				   "_" },
	[HS_RULE_CGROUP] = { "cgroup", "", "a pattern", "anywhere in the path of its cgroup" },
	[HS_RULE_PID_FILE] = { "pid_file", "", "a folder, and a pattern for the file",
			       "a file of root's that holds its process id" },
	[HS_RULE_MIN_MEMORY] = { "min_memory", "64M", "a size", "it has a mapping of at least so much" },
	[HS_RULE_DOMAIN] = { "domain", "", "a pattern", "the domain's name, from its first to its last character" },
	[HS_RULE_METADATA] = { "metadata", "", "an XPath expression",
			       "what the domain's XML has there: exactly one text that is not empty" },
	[HS_RULE_NAME] = { "name", "", "text with placeholders",
			   "what the guest is called; empty, or taken already: pid-N, a domain by its own name" },
	[HS_RULE_GROUP] = { "group", "", "text with placeholders", "its trust group; there is no default" },
	[HS_RULE_MAX_SHARED] = { "max_shared", "none", "a size, none, or a placeholder",
				 "share at most so much of it" },
};

const char *hs_rule_section(const char *section)
{
	if (strcmp(section, "discover") == 0)
		return "";
	return strncmp(section, SECTION, strlen(SECTION)) == 0 ? section + strlen(SECTION) : NULL;
}

static struct hs_rule_text *find(struct hs_rule_texts *texts, const char *name)
{
	for (size_t i = 0; i < texts->nr; i++)
		if (strcmp(texts->rule[i].name, name) == 0)
			return &texts->rule[i];
	return NULL;
}

int hs_rule_begin(struct hs_rule_texts *texts, const char *name, int line, struct hs_error *err)
{
	const size_t len = strlen(name);
	const struct hs_rule_text *other = find(texts, name);
	struct hs_rule_text *r = &texts->rule[texts->nr];

	if (!len || len >= HS_RULE_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		return hs_error_set(err, -EINVAL,
				    "[discover %.60s]: a rule's name has 1 to %d letters, digits, dots, dashes or "
				    "underscores",
				    name, HS_RULE_NAME_MAX - 1);
	if (other)
		return hs_error_set(err, -EINVAL, "[discover %s] is there a second time; the first is in line %d", name,
				    other->line);
	if (texts->nr == HS_RULES_MAX)
		return hs_error_set(err, -EINVAL,
				    "[discover %s]: there are no more than %d rules; two may be made one "
				    "by a|b in their patterns",
				    name, HS_RULES_MAX);
	memset(r, 0, sizeof(*r));
	memcpy(r->name, name, len + 1);
	r->line = line;
	texts->nr++;
	return 0;
}

int hs_rule_set(struct hs_rule_texts *texts, const char *name, const char *key, const char *value, int line,
		struct hs_error *err)
{
	struct hs_rule_text *r = find(texts, name);
	char keys[300] = "";

	if (!r)
		return hs_error_set(err, -EINVAL, "there is no section [discover %.60s]", name);
	for (int i = 0; i < HS_RULE_NR_KEYS; i++) {
		const size_t len = strlen(keys);

		if (strcmp(hs_rule_key_docs[i].name, key) != 0) {
			(void)snprintf(keys + len, sizeof(keys) - len, "%s%s", i ? ", " : "", hs_rule_key_docs[i].name);
			continue;
		}
		if (r->line_of[i])
			return hs_error_set(err, -EINVAL,
					    "%s is set a second time in [discover %s]; the first is in line %d", key,
					    name, r->line_of[i]);
		if (strlen(value) >= HS_RULE_VALUE_MAX)
			return hs_error_set(err, -EINVAL, "[discover %s] %s: it takes at most %d characters", name, key,
					    HS_RULE_VALUE_MAX - 1);
		memcpy(r->value[i], value, strlen(value) + 1);
		r->line_of[i] = line;
		return 0;
	}
	return hs_error_set(err, -EINVAL, "there is no key %.40s in [discover %s]; there are %s", key, name, keys);
}

void hs_rules_print(FILE *f, const struct hs_rule_texts *texts)
{
	for (size_t i = 0; i < texts->nr; i++) {
		(void)fprintf(f, "\n[discover %s]\n", texts->rule[i].name);
		for (int k = 0; k < HS_RULE_NR_KEYS; k++)
			if (texts->rule[i].line_of[k])
				(void)fprintf(f, "%s = %s\n", hs_rule_key_docs[k].name, texts->rule[i].value[k]);
	}
}

/* ---- the rules of a file alone ---- */

struct reader {
	FILE *f;
	struct hs_rule_texts *texts;
	struct hs_error *err;
	const char *path;
	int line, rc;
};

static void keep_first(struct reader *r, int rc, const struct hs_error *why)
{
	if (rc && !r->rc)
		r->rc = hs_error_set(r->err, rc, "%.80s:%d: %.400s", r->path, r->line, why->text);
}

/* Lines as the service takes them: one that is indented stands for itself, and a section may have no key. */
static char *next_line(char *buf, int size, void *stream)
{
	struct reader *r = stream;
	const char *name;
	struct hs_error why = { "" };
	char *close;

	if (r->rc || !fgets(buf, size, r->f))
		return NULL;
	r->line++;
	if (!strchr(buf, '\n') && !feof(r->f)) {
		keep_first(r, hs_error_set(&why, -EINVAL, "the line is longer than %d characters", size - 1), &why);
		return NULL;
	}
	if (r->line == 1 && strncmp(buf, BOM, strlen(BOM)) == 0)
		memmove(buf, buf + strlen(BOM), strlen(buf + strlen(BOM)) + 1);
	memmove(buf, buf + strspn(buf, " \t"), strlen(buf + strspn(buf, " \t")) + 1);
	close = buf[0] == '[' ? strchr(buf, ']') : NULL;
	if (!close)
		return buf;
	*close = '\0';
	name = hs_rule_section(buf + 1);
	if (name)
		keep_first(r, hs_rule_begin(r->texts, name, r->line, &why), &why);
	*close = ']';
	return r->rc ? NULL : buf;
}

static int on_key(void *user, const char *section, const char *name, const char *value)
{
	struct reader *r = user;
	const char *rule = hs_rule_section(section);
	struct hs_error why = { "" };

	if (rule && !r->rc)
		keep_first(r, hs_rule_set(r->texts, rule, name, value, r->line, &why), &why);
	return 1;
}

int hs_rules_load(struct hs_rule_texts *out, const char *path, struct hs_error *err)
{
	struct reader r = { .f = fopen(path, "re"), .texts = out, .err = err, .path = path };
	struct hs_rules *rules = NULL;
	int line = 0;

	memset(out, 0, sizeof(*out));
	if (!r.f)
		return hs_error_set(err, -errno, "cannot read the configuration %.200s: %s", path, strerror(errno));
	(void)ini_parse_stream(next_line, &r, on_key, &r);
	(void)fclose(r.f);
	if (!r.rc) {
		struct hs_error why = { "" };

		r.rc = hs_rules_compile(&rules, out, &line, &why);
		hs_rules_unref(rules);
		if (r.rc)
			r.rc = hs_error_set(err, r.rc, "%.80s:%d: %.400s", path, line, why.text);
	}
	return r.rc;
}
