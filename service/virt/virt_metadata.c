/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our element in a domain's metadata:
 *
 *     <hs:share xmlns:hs="urn:hs-share:domain:1" mode="on" group="web" max-shared="512M" share="guest"/>
 *
 * libvirt keeps it for us and hands it out with or without its namespace. Anybody who may edit domains may have written
 * it, so it is read strictly: no document type, no entities, no network, a size that no honest element needs.
 */
#include <errno.h>
#include <inttypes.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdlib.h>
#include <string.h>

#include "virt_internal.h"

#define MAX_ELEMENT 4096

static int set_attribute(struct hs_opt_in *w, const char *name, const char *value, struct hs_error *err)
{
	if (strcmp(name, "mode") == 0) {
		if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
			return hs_error_set(err, -EINVAL, "mode=\"%.40s\": it takes on or off", value);
		w->on = strcmp(value, "on") == 0;
	} else if (strcmp(name, "group") == 0) {
		if (!hs_group_valid(value))
			return hs_error_set(
			    err, -EINVAL,
			    "group=\"%.40s\": it takes 1 to 63 letters, digits, dots, dashes or underscores", value);
		(void)snprintf(w->group, sizeof(w->group), "%s", value);
	} else if (strcmp(name, "max-shared") == 0) {
		if (hs_size_parse(&w->max_shared_bytes, value))
			return hs_error_set(
			    err, -EINVAL, "max-shared=\"%.40s\": it takes bytes, or a number with K, M, G or T", value);
	} else if (strcmp(name, "share") == 0) {
		if (hs_opt_in_scope_parse(value, &w->scope))
			return hs_error_set(err, -EINVAL, "share=\"%.40s\": it takes group, guest or zero", value);
	} else {
		return hs_error_set(err, -EINVAL,
				    "there is no attribute %.40s; there are mode, group, max-shared and share", name);
	}
	return 0;
}

static int read_element(const xmlNode *node, struct hs_opt_in *w, struct hs_error *err)
{
	if (strcmp((const char *)node->name, "share") != 0)
		return hs_error_set(err, -EINVAL, "the element is <%.40s>, not <share>", (const char *)node->name);
	if (node->ns && node->ns->href && strcmp((const char *)node->ns->href, HS_VIRT_NAMESPACE) != 0)
		return hs_error_set(err, -EINVAL, "the element is of another namespace: %.80s",
				    (const char *)node->ns->href);
	for (const xmlNode *c = node->children; c; c = c->next)
		if (c->type != XML_COMMENT_NODE && !(c->type == XML_TEXT_NODE && xmlIsBlankNode(c)))
			return hs_error_set(err, -EINVAL, "the element has to be empty");
	for (const xmlAttr *a = node->properties; a; a = a->next) {
		xmlChar *value = xmlNodeListGetString(node->doc, a->children, 1);
		int rc;

		rc = set_attribute(w, (const char *)a->name, value ? (const char *)value : "", err);
		xmlFree(value);
		if (rc)
			return rc;
	}
	return 0;
}

int hs_virt_parse_metadata(const char *xml, size_t len, struct hs_opt_in *out, struct hs_error *err)
{
	struct hs_opt_in w = { .on = true, .group = HS_DEFAULT_GROUP };
	xmlNode *root;
	xmlDoc *doc;
	int rc;

	if (len > MAX_ELEMENT)
		return hs_error_set(err, -EINVAL, "the element has more than %d bytes", MAX_ELEMENT);
	doc = xmlReadMemory(xml, (int)len, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (!doc)
		return hs_error_set(err, -EINVAL, "it is no well-formed XML");
	root = xmlDocGetRootElement(doc);
	if (doc->intSubset || doc->extSubset)
		rc = hs_error_set(err, -EINVAL, "a document type is not allowed");
	else
		rc = root ? read_element(root, &w, err) : hs_error_set(err, -EINVAL, "it holds no element");
	xmlFreeDoc(doc);
	if (!rc)
		*out = w;
	return rc;
}

int hs_virt_format_metadata(const struct hs_opt_in *opt_in, char *out, size_t size)
{
	char max[48] = "", share[24] = "";
	int n;

	if (opt_in->max_shared_bytes)
		(void)snprintf(max, sizeof(max), " max-shared=\"%" PRIu64 "\"", opt_in->max_shared_bytes);
	if (opt_in->scope != HS_SCOPE_GROUP)
		(void)snprintf(share, sizeof(share), " share=\"%s\"", hs_opt_in_scope_name(opt_in->scope));
	/* A group's name holds nothing that XML would take for its own. */
	n = snprintf(out, size, "<share mode=\"%s\" group=\"%s\"%s%s/>", opt_in->on ? "on" : "off", opt_in->group, max,
		     share);
	return n < 0 || (size_t)n >= size ? -ENOBUFS : 0;
}
