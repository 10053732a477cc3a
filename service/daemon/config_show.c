/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as text: what differs between two, and all of one as it would stand in the file. */
#include "config.h"

#include <string.h>

bool hs_config_word(const char *list, size_t n, char *out, size_t size)
{
	static const char between[] = " \t,";
	bool found = false;

	for (size_t i = 0; i <= n; i++) {
		list += strspn(list, between);
		if (!*list)
			break;
		(void)snprintf(out, size, "%.*s", (int)strcspn(list, between), list);
		found = i == n;
		list += strcspn(list, between);
	}
	return found;
}

typedef void (*diff_fn)(void *ctx, const char *key, const char *from, const char *to, bool live);

static void list_names(const struct hs_rule_texts *t, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < t->nr && len < size; i++)
		len += (size_t)snprintf(out + len, size - len, "%s%s", i ? " " : "", t->rule[i].name);
}

/* Which there are, and in which order, as the first that fits counts; then what each says. */
static size_t diff_rules(const struct hs_rule_texts *a, const struct hs_rule_texts *b, diff_fn fn, void *ctx)
{
	char from[HS_RULES_MAX * HS_RULE_NAME_MAX], to[HS_RULES_MAX * HS_RULE_NAME_MAX], key[128];
	size_t n;

	list_names(a, from, sizeof(from));
	list_names(b, to, sizeof(to));
	n = strcmp(from, to) != 0;
	if (n && fn)
		fn(ctx, "rules [discover ...]", from, to, true);
	for (size_t i = 0; i < a->nr; i++)
		for (size_t j = 0; j < b->nr; j++)
			for (int k = 0; k < HS_RULE_NR_KEYS; k++) {
				const struct hs_rule_text *x = &a->rule[i], *y = &b->rule[j];

				if (strcmp(x->name, y->name) != 0 || strcmp(x->value[k], y->value[k]) == 0)
					continue;
				(void)snprintf(key, sizeof(key), "[discover %s] %s", x->name, hs_rule_key_docs[k].name);
				if (fn)
					fn(ctx, key, x->value[k], y->value[k], true);
				n++;
			}
	return n;
}

size_t hs_config_diff(const struct hs_config *a, const struct hs_config *b,
		      void (*fn)(void *ctx, const char *key, const char *from, const char *to, bool live), void *ctx)
{
	char from[4200], to[4200], key[128];
	size_t n = diff_rules(&a->rules, &b->rules, fn, ctx), nr;
	const struct hs_config_key *keys = hs_config_keys(&nr);

	for (size_t i = 0; i < nr; i++) {
		const struct hs_config_key *k = &keys[i];

		hs_config_key_text(k, a, from, sizeof(from));
		hs_config_key_text(k, b, to, sizeof(to));
		if (strcmp(from, to) == 0)
			continue;
		(void)snprintf(key, sizeof(key), "[%s] %s", k->section, k->name);
		if (fn)
			fn(ctx, key, from, to, k->live);
		n++;
	}
	return n;
}

void hs_config_keep_static(struct hs_config *fresh, const struct hs_config *old)
{
	char text[4200];
	size_t nr;
	const struct hs_config_key *keys = hs_config_keys(&nr);

	for (size_t i = 0; i < nr; i++) {
		if (keys[i].live)
			continue;
		hs_config_key_text(&keys[i], old, text, sizeof(text));
		(void)!hs_config_key_set(&keys[i], fresh, text);
	}
}

/* All of it as comments that no reader takes for keys. */
static void print_rule_help(FILE *f)
{
	(void)fprintf(f, "\n# Rules that find guests, each in a section [discover NAME] with these keys:\n");
	for (int k = 0; k < HS_RULE_NR_KEYS; k++) {
		const struct hs_rule_key_doc *d = &hs_rule_key_docs[k];

		(void)fprintf(f, "#   %s: %s (%s%s%s)\n", d->name, d->what, d->allowed, d->def[0] ? "; default " : "",
			      d->def);
	}
	(void)fprintf(
	    f, "# Ready ones, which hold when \"#  \" is taken away; docs/discovery.md says more of each:\n#\n%s",
	    hs_rules_examples);
}

void hs_config_print(FILE *f, const struct hs_config *cfg, bool example)
{
	const char *section = "";
	char text[4200], allowed[128];
	size_t nr;
	const struct hs_config_key *keys = hs_config_keys(&nr);

	for (size_t i = 0; i < nr; i++) {
		const struct hs_config_key *k = &keys[i];

		if (strcmp(section, k->section) != 0)
			(void)fprintf(f, "%s[%s]\n", i ? "\n" : "", k->section);
		section = k->section;
		hs_config_key_text(k, cfg, text, sizeof(text));
		if (example) {
			hs_config_key_allowed(k, allowed, sizeof(allowed));
			(void)fprintf(f, "\n# %s\n# %s%s\n#%s = %s\n", k->what, allowed,
				      k->live ? "" : "; a change needs a restart", k->name, text);
		} else {
			(void)fprintf(f, "%s = %s\n", k->name, text);
		}
	}
	if (example)
		print_rule_help(f);
	else
		hs_rules_print(f, &cfg->rules);
}
