/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables, for people and for scripts. A table is what its columns make of rows of JSON; which of them are shown, and
 * how, is the user's choice, by four options that every command with a table has.
 */
#ifndef HS_SERVICE_CLI_TABLE_H
#define HS_SERVICE_CLI_TABLE_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>

#include "hs/error.h"

enum hs_cell_kind {
	HS_CELL_TEXT,     /* a string */
	HS_CELL_NUMBER,   /* an integer */
	HS_CELL_SIZE,     /* bytes: "1.5 GiB" for people, the number with --bytes */
	HS_CELL_TIME,     /* seconds since 1970: local time for people; with --bytes the number */
	HS_CELL_STATE,    /* a string, in the colour of a guest's state */
	HS_CELL_COMPUTED, /* by a function */
};

struct hs_column {
	const char *name;                       /* heading, and what --columns names: capitals, digits and dashes */
	const char *what;                       /* for --columns=help */
	const char *key;                        /* in the row, with dots between the levels: "saving.sure_zero_bytes" */
	enum hs_cell_kind kind;                 /* numbers, sizes and times stand at the right */
	bool cut;                               /* is cut where a terminal is too narrow, before others are */
	const char *(*text)(const json_t *row); /* HS_CELL_COMPUTED: lives as long as the row */
};

struct hs_table {
	const struct hs_column *columns;
	size_t nr;
	const char *usual;    /* the columns that are shown without --columns, as that has them */
	const char *on_wide;  /* the same on a terminal of more than HS_TABLE_WIDE columns; NULL: the same ones */
	const char *if_empty; /* said to people when there is no row; NULL: nothing */
};
#define HS_TABLE_WIDE 118

/* What the options say. */
struct hs_table_choice {
	const char *columns; /* NULL: the usual ones */
	bool no_headings, bytes, raw;
};

/* A script reads it: only the table is printed, and no sentence beside it. */
bool hs_table_for_script(const struct hs_table_choice *c);

/* Keys and rows of the options, for a command's own list. */
enum { HS_ARGP_COLUMNS = 500, HS_ARGP_NO_HEADINGS, HS_ARGP_BYTES, HS_ARGP_RAW };
#define HS_TABLE_OPTIONS                                                                                               \
	{ "columns",                                                                                                   \
	  HS_ARGP_COLUMNS,                                                                                             \
	  "LIST",                                                                                                      \
	  0,                                                                                                           \
	  "Only these columns of the table, with commas between them, in this order; help: lists them.",               \
	  8 },                                                                                                         \
	    { "noheadings", HS_ARGP_NO_HEADINGS, NULL, 0, "Print no heading.", 8 },                                    \
	    { "bytes", HS_ARGP_BYTES, NULL, 0, "Sizes in bytes, and times in seconds since 1970.", 8 },                \
	{                                                                                                              \
		"raw", HS_ARGP_RAW, NULL, 0,                                                                           \
		    "One space between columns, none inside (\\x20 stands for it), and - for what is empty.", 8        \
	}

/* True: it was one of them. Ends the program for --columns=help, and with the columns' names where one is unknown. */
bool hs_table_parse(int key, char *arg, struct argp_state *state, const struct hs_table *t, struct hs_table_choice *c);

/* Whether a list, as of --columns, has names of columns alone, and one at least. */
bool hs_table_check_list(const struct hs_table *t, const char *list);

/* Prints an array of rows. 0 or an exit status, said. width: of the terminal, 0: it is none. */
int hs_table_print(FILE *f, const struct hs_table *t, const struct hs_table_choice *c, const json_t *rows, int width);

/* ---- the tables (tables.c) ---- */

extern const struct hs_table hs_table_guests, hs_table_history, hs_table_report, hs_table_report_groups, hs_table_run,
    hs_table_status;

#endif
