/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for libvirt's domains: by name, and by what an XPath expression finds in their XML. */
#include <errno.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>
#include <string.h>

#include "rules_internal.h"

#define MAX_METADATA 256

/* OpenStack's element, as Nova has written it since its API 2.90 (Xena). */
static const struct {
	const char *prefix, *uri;
} namespaces[] = {
	{ "nova", "http://openstack.org/xmlns/libvirt/nova/1.1" },
	{ "nova10", "http://openstack.org/xmlns/libvirt/nova/1.0" },
};

static void quiet(void *user, xmlErrorPtr error)
{
	if (user)
		*(int *)user = error->int1 + 1; /* where in the expression */
}

static xmlXPathContext *new_context(xmlDoc *doc)
{
	xmlXPathContext *ctx = xmlXPathNewContext(doc);

	for (size_t i = 0; ctx && i < sizeof(namespaces) / sizeof(namespaces[0]); i++)
		if (xmlXPathRegisterNs(ctx, (const xmlChar *)namespaces[i].prefix,
				       (const xmlChar *)namespaces[i].uri)) {
			xmlXPathFreeContext(ctx);
			return NULL;
		}
	if (ctx)
		ctx->error = quiet;
	return ctx;
}

/* It is tried as well: a function or a namespace that there is not shows only then. */
int hs_rule_xpath_check(const struct hs_rule_text *text, struct hs_error *err)
{
	static const char sample[] = "<domain><name>x</name><metadata/></domain>";
	const xmlChar *expression = (const xmlChar *)text->value[HS_RULE_METADATA];
	xmlDoc *doc = xmlReadMemory(sample, sizeof(sample) - 1, NULL, NULL, XML_PARSE_NONET);
	xmlXPathContext *ctx = doc ? new_context(doc) : NULL;
	xmlXPathCompExpr *comp = NULL;
	xmlXPathObject *o = NULL;
	int at = 0, rc = ctx ? 0 : hs_error_set(err, -ENOMEM, "out of memory");

	if (ctx) {
		ctx->userData = &at;
		comp = xmlXPathCtxtCompile(ctx, expression);
		o = comp ? xmlXPathCompiledEval(comp, ctx) : NULL;
	}
	if (ctx && !comp)
		rc = hs_error_set(err, -EINVAL,
				  "at character %d: no XPath expression; it takes one such as "
				  "/domain/metadata/nova:instance/nova:owner/nova:project/@uuid",
				  at);
	else if (ctx && !o)
		rc = hs_error_set(
		    err, -EINVAL,
		    "it cannot be evaluated: it names a function or a namespace that there is not; the namespaces "
		    "are nova and nova10, others are named by local-name()");
	xmlXPathFreeObject(o);
	xmlXPathFreeCompExpr(comp);
	xmlXPathFreeContext(ctx);
	xmlFreeDoc(doc);
	return rc;
}

/* Number of texts found: the first in out, which is "" when it has no room. */
static int find_text(xmlXPathContext *ctx, const char *expression, char out[MAX_METADATA])
{
	xmlXPathObject *o = xmlXPathEvalExpression((const xmlChar *)expression, ctx);
	xmlChar *text = NULL;
	int nr = 0;

	out[0] = '\0';
	if (o && o->type == XPATH_NODESET)
		nr = o->nodesetval ? o->nodesetval->nodeNr : 0;
	else if (o)
		nr = 1;
	if (nr)
		text = xmlXPathCastToString(o);
	if (text && strlen((const char *)text) < MAX_METADATA)
		memcpy(out, text, strlen((const char *)text) + 1);
	xmlFree(text);
	xmlXPathFreeObject(o);
	return nr;
}

static void match_one(const struct hs_rule *r, const char *name, xmlXPathContext *ctx, struct hs_rule_result *out)
{
	struct hs_rule_captures c = { 0 };
	char metadata[MAX_METADATA];
	int nr;

	if (r->has[HS_RULE_DOMAIN] && !hs_rule_pattern_match(r, HS_RULE_DOMAIN, name, true, &c))
		return;
	if (r->text->value[HS_RULE_METADATA][0]) {
		nr = ctx ? find_text(ctx, r->text->value[HS_RULE_METADATA], metadata) : 0;
		if (nr == 1 && !metadata[0])
			return; /* the expression gives a text in any case, and here an empty one */
		if (!nr)
			return;
		c.metadata = metadata;
		if (nr > 1) {
			out->found = true;
			memcpy(out->rule, r->text->name, sizeof(out->rule));
			(void)snprintf(out->refused, sizeof(out->refused),
				       "its XML has %d texts where the rule's metadata looks: it cannot be told which "
				       "is its owner",
				       nr);
			return;
		}
	}
	hs_rule_template_fill(r, &c, out);
}

void hs_rules_match_domain(const struct hs_rules *rules, const char *name, const char *xml, struct hs_rule_result *out)
{
	xmlDoc *doc = NULL;
	xmlXPathContext *ctx;

	memset(out, 0, sizeof(*out));
	if (!hs_rules_of_domains(rules))
		return;
	doc =
	    xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	ctx = doc ? new_context(doc) : NULL;
	for (size_t i = 0; i < rules->nr && !out->found; i++)
		if (rules->rule[i].of_domains)
			match_one(&rules->rule[i], name, ctx, out);
	xmlXPathFreeContext(ctx);
	xmlFreeDoc(doc);
}
