/* SPDX-License-Identifier: Apache-2.0 */
/* The scenarios that are built in. docs/lab.md says what each is for. */
#include "scenario.h"

#include <errno.h>
#include <string.h>

static const struct {
	const char *name, *text;
} built_in[] = {
	{ "demo", "# Three guests like those of the demo: a quarter evenly hot, a quarter skewed, half cold.\n"
		  "[host]\n"
		  "seconds = 60\n"
		  "[guests web]\n"
		  "count = 3\n"
		  "memory = 768M\n"
		  "accesses = 400000\n"
		  "even = 25\n"
		  "skewed = 25\n"
		  "hot_min = 16\n"
		  "hot_max = 16\n"
		  "zero = 10\n"
		  "same_group = 60\n" },
	{ "skewed", "# Guests whose hot huge pages are bimodal, as in the published log: half of them have fewer than\n"
		    "# 50 hot base pages, half nearly all. Most of the identical memory lies in hot huge pages.\n"
		    "[host]\n"
		    "seconds = 120\n"
		    "[guests vm]\n"
		    "count = 4\n"
		    "memory = 1G\n"
		    "accesses = 800000\n"
		    "skewed = 90\n"
		    "bimodal = yes\n"
		    "write = 5\n"
		    "zero = 5\n"
		    "same_group = 45\n" },
	{ "unskewed", "# The same amount of memory and the same contents, but hot huge pages are evenly hot.\n"
		      "[host]\n"
		      "seconds = 120\n"
		      "[guests vm]\n"
		      "count = 4\n"
		      "memory = 1G\n"
		      "accesses = 800000\n"
		      "even = 90\n"
		      "write = 5\n"
		      "zero = 5\n"
		      "same_group = 45\n" },
	{ "mixed",
	  "# A host with guests of three kinds in two trust groups, phases, a stream and writes to cold memory.\n"
	  "[host]\n"
	  "seconds = 180\n"
	  "[guests web]\n"
	  "count = 4\n"
	  "memory = 512M\n"
	  "group = a\n"
	  "accesses = 300000\n"
	  "even = 15\n"
	  "skewed = 30\n"
	  "hot_min = 1\n"
	  "hot_max = 200\n"
	  "zipf = 0.9\n"
	  "zero = 15\n"
	  "same_group = 40\n"
	  "same_host = 10\n"
	  "[guests batch]\n"
	  "count = 2\n"
	  "memory = 1G\n"
	  "group = b\n"
	  "accesses = 600000\n"
	  "even = 20\n"
	  "phase_seconds = 60\n"
	  "stream = 10\n"
	  "stream_writes = yes\n"
	  "same_group = 20\n"
	  "same_host = 10\n"
	  "[guests idle]\n"
	  "count = 2\n"
	  "memory = 512M\n"
	  "group = b\n"
	  "accesses = 1000\n"
	  "even = 2\n"
	  "warm = 5\n"
	  "absent = 20\n"
	  "cold_writes = 20\n"
	  "zero = 30\n"
	  "same_group = 30\n"
	  "same_host = 10\n"
	  "same_within = 5\n" },
	{ "sparse", "# Few identical pages, scattered: some three in each huge page.\n"
		    "[host]\n"
		    "seconds = 120\n"
		    "[guests vm]\n"
		    "count = 4\n"
		    "memory = 1G\n"
		    "even = 15\n"
		    "skewed = 15\n"
		    "run = 1\n"
		    "same_group = 0.6\n" },
	{ "churn", "# Hot memory moves each minute, and cold memory is written all the time, often with content that\n"
		   "# others have as well: sharing that does not last.\n"
		   "[host]\n"
		   "seconds = 450\n"
		   "[guests vm]\n"
		   "count = 4\n"
		   "memory = 512M\n"
		   "accesses = 200000\n"
		   "even = 20\n"
		   "skewed = 20\n"
		   "hot_min = 1\n"
		   "hot_max = 300\n"
		   "write = 20\n"
		   "rewrite_same = 60\n"
		   "cold_writes = 20\n"
		   "phase_seconds = 60\n"
		   "phase_move = 25\n"
		   "zero = 10\n"
		   "same_group = 60\n" },
	{ "large", "# 1 TiB: 64 guests of 16 GiB. To see that it can be run at all, and what it takes.\n"
		   "[host]\n"
		   "seconds = 3000\n"
		   "[guests vm]\n"
		   "count = 64\n"
		   "memory = 16G\n"
		   "cpus = 4\n"
		   "accesses = 2000000\n"
		   "even = 15\n"
		   "skewed = 10\n"
		   "zero = 10\n"
		   "same_group = 50\n" },
};

#define NR (sizeof(built_in) / sizeof(built_in[0]))

const char *hs_lab_scenario_name(size_t i)
{
	return i < NR ? built_in[i].name : NULL;
}

const char *hs_lab_scenario_text(size_t i)
{
	return i < NR ? built_in[i].text : NULL;
}

int hs_lab_scenario_built_in(struct hs_lab_scenario *out, const char *name, struct hs_error *err)
{
	char names[256] = "";

	for (size_t i = 0; i < NR; i++) {
		if (strcmp(built_in[i].name, name) == 0)
			return hs_lab_scenario_parse(out, name, built_in[i].text, err);
		(void)strncat(names, i ? ", " : "", sizeof(names) - strlen(names) - 1);
		(void)strncat(names, built_in[i].name, sizeof(names) - strlen(names) - 1);
	}
	return hs_error_set(err, -ENOENT, "there is no scenario \"%s\"; the built-in ones are %s, or give a file", name,
			    names);
}
