/* SPDX-License-Identifier: Apache-2.0 */
/* Tables by libsmartcols, as those of util-linux. */
#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "commands.h"
#include "terminal.h"

#define CELL_MAX 600

bool hs_table_for_script(const struct hs_table_choice *c)
{
	return c->columns || c->no_headings || c->bytes || c->raw;
}

/* ---- which columns ---- */

static const struct hs_column *find(const struct hs_table *t, const char *name, size_t len)
{
	for (size_t i = 0; i < t->nr; i++)
		if (strlen(t->columns[i].name) == len && strncasecmp(t->columns[i].name, name, len) == 0)
			return &t->columns[i];
	return NULL;
}

/* The list's next column, and *list behind it; NULL at its end, or with *bad where it names none. A comma at the end
 * has nothing behind it: that is no name either. */
static const struct hs_column *next(const struct hs_table *t, const char **list, bool *bad)
{
	const size_t len = strcspn(*list, ",");
	const struct hs_column *c;

	*bad = false;
	if (!**list)
		return NULL;
	c = find(t, *list, len);
	*bad = !c;
	if (c)
		*list += len + ((*list)[len] == ',' && (*list)[len + 1]);
	return c;
}

static void print_names(const struct hs_table *t)
{
	for (size_t i = 0; i < t->nr; i++)
		(void)printf("%-14s %s\n", t->columns[i].name, t->columns[i].what);
}

/* What is no column of the list, NULL: all are. */
static const char *first_bad(const struct hs_table *t, const char *list)
{
	bool bad = !*list;

	while (!bad && next(t, &list, &bad))
		;
	return bad ? list : NULL;
}

bool hs_table_check_list(const struct hs_table *t, const char *list)
{
	return !first_bad(t, list);
}

static void check(struct argp_state *state, const struct hs_table *t, const char *list)
{
	char names[CELL_MAX] = "", safe[64];
	const char *at = first_bad(t, list);
	size_t len = 0;

	if (!at)
		return;
	for (size_t i = 0; i < t->nr && len < sizeof(names); i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "", t->columns[i].name);
	(void)snprintf(safe, sizeof(safe), "%.*s", (int)strcspn(at, ","), at);
	argp_error(state, "--columns: there is no column \"%s\"; the columns are %s", safe, names);
}

bool hs_table_parse(int key, char *arg, struct argp_state *state, const struct hs_table *t, struct hs_table_choice *c)
{
	switch (key) {
	case HS_ARGP_COLUMNS:
		if (strcmp(arg, "help") == 0) {
			print_names(t);
			exit(fflush(stdout) ? HS_EXIT_FAILED : 0);
		}
		check(state, t, arg);
		c->columns = arg;
		return true;
	case HS_ARGP_NO_HEADINGS:
		c->no_headings = true;
		return true;
	case HS_ARGP_BYTES:
		c->bytes = true;
		return true;
	case HS_ARGP_RAW:
		c->raw = true;
		return true;
	default:
		return false;
	}
}

/* ---- cells ---- */

static const json_t *value_at(const json_t *row, const char *key)
{
	char part[64];

	for (size_t len; row && *key; key += len + (key[len] == '.')) {
		len = strcspn(key, ".");
		(void)snprintf(part, sizeof(part), "%.*s", (int)len, key);
		row = json_object_get(row, part);
	}
	return row;
}

static void time_text(char buf[CELL_MAX], json_int_t at)
{
	const time_t t = (time_t)at;
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(buf, CELL_MAX, "%Y-%m-%d %H:%M:%S", &tm))
		buf[0] = '\0';
}

/* The text of a cell; what others gave is made safe for a terminal. */
static const char *cell(char buf[CELL_MAX], const struct hs_column *c, const json_t *row, bool bytes)
{
	const json_t *v = c->key ? value_at(row, c->key) : NULL;
	const char *text = c->kind == HS_CELL_COMPUTED ? c->text(row) : json_string_value(v);
	char human[32];

	switch (c->kind) {
	case HS_CELL_SIZE:
	case HS_CELL_TIME:
	case HS_CELL_NUMBER:
		if (!json_is_integer(v))
			return "";
		if (c->kind == HS_CELL_SIZE && !bytes)
			(void)snprintf(buf, CELL_MAX, "%s", hs_human_bytes(human, json_integer_value(v)));
		else if (c->kind == HS_CELL_TIME && !bytes)
			time_text(buf, json_integer_value(v));
		else
			(void)snprintf(buf, CELL_MAX, "%" PRId64, (int64_t)json_integer_value(v));
		return buf;
	default:
		return hs_terminal_safe(buf, CELL_MAX, text ? text : "", CELL_MAX - 1);
	}
}

static const char *colour_of(const char *state)
{
	return strcmp(state, "sharing") == 0   ? "green"
	       : strcmp(state, "refused") == 0 ? "red"
	       : strcmp(state, "leaving") == 0 ? "yellow"
					       : NULL;
}

static bool at_the_right(const struct hs_column *c)
{
	return c->kind == HS_CELL_NUMBER || c->kind == HS_CELL_SIZE;
}

/* ---- the table ---- */

static int fill(struct libscols_table *tb, const struct hs_table *t, const char *list, const json_t *row,
		const struct hs_table_choice *c)
{
	struct libscols_line *line = scols_table_new_line(tb, NULL);
	const struct hs_column *col;
	char buf[CELL_MAX];
	size_t n = 0;
	bool bad;

	if (!line)
		return -ENOMEM;
	for (const char *at = list; (col = next(t, &at, &bad)) != NULL; n++) {
		const char *text = cell(buf, col, row, c->bytes);
		int rc = scols_line_set_data(line, n, c->raw && !*text ? "-" : text);

		if (!rc && col->kind == HS_CELL_STATE && colour_of(text))
			rc = scols_cell_set_color(scols_line_get_cell(line, n), colour_of(text));
		if (rc)
			return rc;
	}
	return 0;
}

static int build(struct libscols_table *tb, const struct hs_table *t, const char *list, const json_t *rows,
		 const struct hs_table_choice *c)
{
	const struct hs_column *col;
	const json_t *row;
	bool bad;
	size_t i;

	for (const char *at = list; (col = next(t, &at, &bad)) != NULL;) {
		if (!scols_table_new_column(tb, col->name, 0,
					    (at_the_right(col) ? SCOLS_FL_RIGHT : 0) | (col->cut ? SCOLS_FL_TRUNC : 0)))
			return -ENOMEM;
	}
	json_array_foreach(rows, i, row)
	{
		int rc = fill(tb, t, list, row, c);

		if (rc)
			return rc;
	}
	return 0;
}

int hs_table_print(FILE *f, const struct hs_table *t, const struct hs_table_choice *c, const json_t *rows, int width)
{
	const char *usual = t->on_wide && width > HS_TABLE_WIDE ? t->on_wide : t->usual;
	struct libscols_table *tb = scols_new_table();
	int rc = tb ? 0 : -ENOMEM;

	if (!rc)
		rc = build(tb, t, c->columns ? c->columns : usual, rows, c);
	if (!rc) {
		(void)scols_table_set_stream(tb, f);
		(void)scols_table_enable_noheadings(tb, c->no_headings);
		(void)scols_table_enable_raw(tb, c->raw);
		(void)scols_table_enable_colors(tb, hs_terminal_colour());
		/* Nothing is cut where nobody looks. */
		(void)scols_table_set_termforce(tb, width ? SCOLS_TERMFORCE_ALWAYS : SCOLS_TERMFORCE_NEVER);
		if (width)
			(void)scols_table_set_termwidth(tb, (size_t)width);
		rc = json_array_size(rows) ? scols_print_table(tb) : 0;
	}
	scols_unref_table(tb);
	if (rc)
		hs_complain("cannot print the table: %s", strerror(-rc));
	else if (!json_array_size(rows) && t->if_empty && !hs_table_for_script(c))
		(void)fprintf(f, "%s\n", t->if_empty);
	return rc || fflush(f) ? HS_EXIT_FAILED : 0;
}
