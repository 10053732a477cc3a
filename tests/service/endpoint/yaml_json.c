/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a YAML file as JSON, for jq: enough of YAML for our own documents. Plain scalars are booleans, whole numbers
 * or text; anchors are errors. usage: yaml-json FILE
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

static json_t *node_of(yaml_document_t *doc, const yaml_node_t *n);

static json_t *scalar_of(const yaml_node_t *n)
{
	const char *text = (const char *)n->data.scalar.value;
	char *end;
	long long v;

	if (n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
		if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
			return json_boolean(text[0] == 't');
		v = strtoll(text, &end, 10);
		if (*text && !*end)
			return json_integer(v);
	}
	return json_string(text);
}

static json_t *list_of(yaml_document_t *doc, const yaml_node_t *n)
{
	json_t *out = json_array();

	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++)
		(void)json_array_append_new(out, node_of(doc, yaml_document_get_node(doc, *i)));
	return out;
}

static json_t *map_of(yaml_document_t *doc, const yaml_node_t *n)
{
	json_t *out = json_object();

	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		const char *key = (const char *)yaml_document_get_node(doc, p->key)->data.scalar.value;

		if (json_object_get(out, key)) {
			(void)fprintf(stderr, "yaml-json: line %zu: %s stands there twice\n", n->start_mark.line + 1,
				      key);
			exit(1);
		}
		(void)json_object_set_new(out, key, node_of(doc, yaml_document_get_node(doc, p->value)));
	}
	return out;
}

static json_t *node_of(yaml_document_t *doc, const yaml_node_t *n)
{
	switch (n->type) {
	case YAML_SEQUENCE_NODE:
		return list_of(doc, n);
	case YAML_MAPPING_NODE:
		return map_of(doc, n);
	default:
		return scalar_of(n);
	}
}

int main(int argc, char **argv)
{
	FILE *f = argc == 2 ? fopen(argv[1], "re") : NULL;
	yaml_document_t doc;
	yaml_parser_t parser;
	json_t *out;

	if (!f) {
		(void)fprintf(stderr, "usage: yaml-json FILE\n");
		return 2;
	}
	if (!yaml_parser_initialize(&parser))
		return 1;
	yaml_parser_set_input_file(&parser, f);
	if (!yaml_parser_load(&parser, &doc)) {
		(void)fprintf(stderr, "%s:%zu: %s\n", argv[1], parser.problem_mark.line + 1, parser.problem);
		return 1;
	}
	out = node_of(&doc, yaml_document_get_root_node(&doc));
	(void)json_dumpf(out, stdout, JSON_INDENT(1));
	json_decref(out);
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	(void)fclose(f);
	return fflush(stdout) ? 1 : 0;
}
