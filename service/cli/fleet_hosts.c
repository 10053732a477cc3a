/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hosts of a fleet. A host is what one value of the label `instance` stands for: its figures and its sketches come
 * by two scrape jobs, and `job` tells these apart, not hosts. What a host does not say (what is saved while nothing is
 * shared, for instance) is not in its object: a 0 would be a claim.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "fleet.h"
#include "terminal.h"

#define GONE_AFTER "1h" /* one that had figures so long ago, and has none now, is shown as gone */
#define NEXT_MAX   5
#define NEXT_LEAST 0.01 /* of a host's memory: below it nothing is gained by turning it on there */

/* Metrics that are a key of a host's object, one to one. */
static const struct figure {
	const char *metric, *key;
} figures[] = {
	{ "hs_share_host_memory_bytes", "memory_bytes" },
	{ "hs_share_host_memory_available_bytes", "available_bytes" },
	{ "hs_share_saved_bytes", "saved_bytes" },
	{ "hs_share_net_saved_bytes", "net_saved_bytes" },
	{ "hs_share_overcommit_bytes", "overcommit_bytes" },
	{ "hs_share_kept_bytes", "kept_bytes" },
};
#define NR_FIGURES (sizeof(figures) / sizeof(figures[0]))

int hs_hosts_query(struct hs_prometheus *p, const char *format, const char *match, json_t **out, struct hs_error *err)
{
	char query[2048];
	size_t len = 0;
	int rc;

	for (const char *s = format; *s && len < sizeof(query) - 1; s++) {
		const bool put = s[0] == '%' && s[1] == 's';

		len += (size_t)snprintf(query + len, sizeof(query) - len, "%.*s", put ? (int)strlen(match) : 1,
					put ? match : s);
		s += put;
	}
	if (len >= sizeof(query) - 1)
		return hs_error_set(err, -EINVAL, "--match is too long");
	rc = hs_prometheus_query(p, query, out, err);
	/* Matchers are the caller's own words: what is wrong with the query, is with them. */
	if (rc == -EREMOTEIO && *match) {
		const struct hs_error why = *err;

		(void)hs_error_set(err, rc, "%.380s; --match takes matchers such as cluster=\"east\"", why.text);
	}
	return rc;
}

static json_t *host_of(json_t *hosts, const json_t *sample)
{
	return json_object_get(hosts, hs_prometheus_label(sample, "instance"));
}

static void set_bytes(json_t *o, const char *key, double bytes)
{
	(void)json_object_set_new(o, key, json_integer((json_int_t)bytes));
}

/* ---- asking ---- */

static int ask_hosts(struct hs_prometheus *p, const char *match, json_t *hosts, struct hs_error *err)
{
	json_t *list, *sample;
	size_t i;
	int rc = hs_hosts_query(p, "last_over_time(hs_share_build_info{%s}[" GONE_AFTER "])", match, &list, err);

	if (rc)
		return rc;
	json_array_foreach(list, i, sample)
	{
		/* One that was upgraded within the hour has both; the figures of now, below, put that right. */
		(void)json_object_set_new(hosts, hs_prometheus_label(sample, "instance"),
					  json_pack("{s:s,s:s,s:b,s:s}", "instance",
						    hs_prometheus_label(sample, "instance"), "version",
						    hs_prometheus_label(sample, "version"), "gone", 1, "trouble", ""));
	}
	json_decref(list);
	if (json_object_size(hosts))
		return 0;
	return hs_error_set(err, -ENODATA,
			    "it answers, and has no hs_share_build_info%s of the last hour: no hs-shared is scraped%s. "
			    "Let it scrape /metrics of the hosts, or node_exporter's textfiles (docs/fleet.md)",
			    *match ? " that --match fits" : "", *match ? ", or it has other labels" : "");
}

static void take_figure(json_t *host, const char *name, const json_t *sample)
{
	const double v = hs_prometheus_value(sample);

	for (size_t i = 0; i < NR_FIGURES; i++)
		if (strcmp(figures[i].metric, name) == 0)
			set_bytes(host, figures[i].key, v);
	if (strcmp(name, "hs_share_build_info") == 0) {
		(void)json_object_set_new(host, "gone", json_false());
		(void)json_object_set_new(host, "version", json_string(hs_prometheus_label(sample, "version")));
	} else if (strcmp(name, "hs_share_mode") == 0 && v > 0) {
		(void)json_object_set_new(host, "mode", json_string(hs_prometheus_label(sample, "hs_share_mode")));
	} else if (strcmp(name, "hs_share_mode_auto") == 0) {
		(void)json_object_set_new(host, "auto", json_boolean(v > 0));
	} else if (strcmp(name, "hs_share_trouble_reason") == 0 && v > 0) {
		(void)json_object_set_new(host, "trouble", json_string(hs_prometheus_label(sample, "reason")));
	} else if (strcmp(name, "hs_share_undo_pending") == 0) {
		(void)json_object_set_new(host, "undo_pending", json_boolean(v > 0));
	}
}

static int ask_figures(struct hs_prometheus *p, const char *match, json_t *hosts, struct hs_error *err)
{
	json_t *list, *sample, *host;
	size_t i;
	int rc = hs_hosts_query(
	    p,
	    "{__name__=~\"hs_share_(build_info|mode|mode_auto|trouble_reason|undo_pending|host_memory_bytes|"
	    "host_memory_available_bytes|saved_bytes|net_saved_bytes|overcommit_bytes|kept_bytes)\",%s}",
	    match, &list, err);

	if (rc)
		return rc;
	json_array_foreach(list, i, sample)
	{
		host = host_of(hosts, sample);
		if (host)
			take_figure(host, hs_prometheus_label(sample, "__name__"), sample);
	}
	json_decref(list);
	return 0;
}

/* A sum over each host's guests as a key of it. */
static int ask_sum(struct hs_prometheus *p, const char *format, const char *match, const char *key, json_t *hosts,
		   struct hs_error *err)
{
	json_t *list, *sample, *host;
	size_t i;
	int rc = hs_hosts_query(p, format, match, &list, err);

	if (rc)
		return rc;
	json_array_foreach(list, i, sample)
	{
		host = host_of(hosts, sample);
		if (host)
			set_bytes(host, key, hs_prometheus_value(sample));
	}
	json_decref(list);
	return 0;
}

/* ---- what comes of it ---- */

/* What it would take to end all sharing: of the engine while there is one, else what stays shared without. */
static void settle(json_t *host)
{
	const bool engaged = json_object_get(host, "overcommit_bytes") != NULL;

	if (!engaged && json_object_get(host, "kept_bytes"))
		set_bytes(host, "overcommit_bytes", hs_json_double(host, "kept_bytes"));
	(void)json_object_del(host, "kept_bytes");
	if (json_is_true(json_object_get(host, "gone")))
		(void)json_object_set_new(host, "trouble", json_string("no-figures"));
	else if (!*hs_json_text(host, "trouble") && json_is_true(json_object_get(host, "undo_pending")))
		(void)json_object_set_new(host, "trouble", json_string("undo-pending"));
	else if (!*hs_json_text(host, "trouble") && json_object_get(host, "available_bytes") &&
		 hs_json_double(host, "overcommit_bytes") > hs_json_double(host, "available_bytes"))
		(void)json_object_set_new(host, "trouble", json_string("overcommit-above-available"));
}

static void add_up(const json_t *host, json_t *total, json_t *versions)
{
	static const char *const keys[] = { "memory_bytes",     "available_bytes",         "saved_bytes",
					    "net_saved_bytes",  "overcommit_bytes",        "guests",
					    "could_save_bytes", "could_save_at_most_bytes" };
	const char *version = hs_json_text(host, "version");

	(void)json_object_set_new(versions, version,
				  json_integer(json_integer_value(json_object_get(versions, version)) + 1));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (json_object_get(host, keys[i]))
			set_bytes(total, keys[i], hs_json_double(total, keys[i]) + hs_json_double(host, keys[i]));
}

static bool worth(const json_t *host)
{
	const char *mode = hs_json_text(host, "mode");

	return !*hs_json_text(host, "trouble") && *mode && strcmp(mode, "save") != 0 &&
	       hs_json_double(host, "memory_bytes") > 0 &&
	       hs_json_double(host, "could_save_bytes") >= NEXT_LEAST * hs_json_double(host, "memory_bytes");
}

static int by_share(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	const double sx = hs_json_double(x, "could_save_bytes") / hs_json_double(x, "memory_bytes"),
		     sy = hs_json_double(y, "could_save_bytes") / hs_json_double(y, "memory_bytes");

	return sx != sy ? (sx < sy ? 1 : -1) : strcmp(hs_json_text(x, "instance"), hs_json_text(y, "instance"));
}

/* Hosts that look and do not share, first where the largest part of the host's memory would come free. */
static json_t *next_ones(json_t *hosts)
{
	json_t **list = calloc(json_array_size(hosts) + 1, sizeof(json_t *)), *out = json_array(), *host;
	size_t i, nr = 0;

	json_array_foreach(hosts, i, host)
	{
		if (list && worth(host))
			list[nr++] = host;
	}
	if (nr)
		qsort(list, nr, sizeof(json_t *), by_share);
	for (i = 0; i < nr && i < NEXT_MAX; i++)
		(void)json_array_append_new(
		    out, json_pack("{s:s,s:s,s:I,s:f}", "instance", hs_json_text(list[i], "instance"), "mode",
				   hs_json_text(list[i], "mode"), "could_save_bytes",
				   (json_int_t)hs_json_double(list[i], "could_save_bytes"), "of_memory_percent",
				   100 * hs_json_double(list[i], "could_save_bytes") /
				       hs_json_double(list[i], "memory_bytes")));
	free(list);
	return out;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(hs_json_text(*(json_t *const *)a, "instance"), hs_json_text(*(json_t *const *)b, "instance"));
}

static json_t *as_list(json_t *hosts)
{
	json_t **list = calloc(json_object_size(hosts) + 1, sizeof(json_t *)), *out = json_array(), *host;
	const char *key;
	size_t nr = 0;

	json_object_foreach(hosts, key, host)
	{
		if (list)
			list[nr++] = host;
	}
	if (nr)
		qsort(list, nr, sizeof(json_t *), by_name);
	for (size_t i = 0; i < nr; i++)
		(void)json_array_append(out, list[i]);
	free(list);
	return out;
}

int hs_hosts_ask(struct hs_prometheus *p, const char *match, json_t **out, struct hs_error *err)
{
	json_t *hosts = json_object(), *total = json_object(), *versions = json_object(), *list, *host;
	size_t i;
	int rc = ask_hosts(p, match, hosts, err);

	if (!rc)
		rc = ask_figures(p, match, hosts, err);
	if (!rc)
		rc = ask_sum(p, "sum by (instance) (hs_share_guests{%s})", match, "guests", hosts, err);
	if (!rc)
		rc = ask_sum(p, "sum by (instance) (hs_share_guest_could_save_bytes{%s})", match, "could_save_bytes",
			     hosts, err);
	if (!rc)
		rc = ask_sum(p, "sum by (instance) (hs_share_guest_could_save_at_most_bytes{%s})", match,
			     "could_save_at_most_bytes", hosts, err);
	if (!rc) {
		list = as_list(hosts);
		json_array_foreach(list, i, host)
		{
			settle(host);
			add_up(host, total, versions);
		}
		*out = json_pack("{s:o,s:o,s:o,s:o}", "hosts", list, "total", total, "versions", versions, "next",
				 next_ones(list));
	} else {
		json_decref(total);
		json_decref(versions);
	}
	json_decref(hosts);
	return rc ? rc : *out ? 0 : hs_error_set(err, -ENOMEM, "out of memory");
}

/* ---- showing ---- */

static void bytes(const json_t *host, const char *key)
{
	char a[32];

	(void)printf(" %10s", json_object_get(host, key) ? hs_human_bytes(a, (int64_t)hs_json_double(host, key)) : "-");
}

static void row(const json_t *host, const char *name, const char *mode)
{
	char a[600], b[600];

	(void)printf("%s %s", hs_terminal_column(a, sizeof(a), name, 28), hs_terminal_column(b, sizeof(b), mode, 12));
	(void)printf(" %6.0f", hs_json_double(host, "guests"));
	bytes(host, "memory_bytes");
	bytes(host, "available_bytes");
	bytes(host, "saved_bytes");
	bytes(host, "overcommit_bytes");
	bytes(host, "could_save_bytes");
	bytes(host, "could_save_at_most_bytes");
}

static void show_versions(const json_t *versions)
{
	const char *key, *before = "versions  ";
	json_t *nr;
	char a[600];

	json_object_foreach((json_t *)(uintptr_t)versions, key, nr)
	{
		(void)printf("%s%s on %d", before, hs_terminal_safe(a, sizeof(a), key, 60),
			     (int)json_integer_value(nr));
		before = ", ";
	}
	(void)putchar('\n');
}

static void show_next(const json_t *fleet)
{
	const json_t *next = json_object_get(fleet, "next"), *host;
	size_t i, nr_off = 0;
	char a[600], b[32];

	json_array_foreach(json_object_get(fleet, "hosts"), i, host)
	{
		nr_off += strcmp(hs_json_text(host, "mode"), "off") == 0;
	}
	if (!json_array_size(next))
		(void)printf("next      nowhere: no host that looks and does not share would free a hundredth of its "
			     "memory by it\n");
	json_array_foreach(next, i, host)
	{
		(void)printf("%s%s: %s, %.1f %% of its memory (`hs-share mode save` there)\n",
			     i ? "          " : "next      ",
			     hs_terminal_safe(a, sizeof(a), hs_json_text(host, "instance"), 60),
			     hs_human_bytes(b, (int64_t)hs_json_double(host, "could_save_bytes")),
			     hs_json_double(host, "of_memory_percent"));
	}
	if (nr_off)
		(void)printf(
		    "          of %zu host%s with mode off nothing is known: `hs-share mode observe` there looks, "
		    "and changes nothing\n",
		    nr_off, nr_off == 1 ? "" : "s");
}

void hs_hosts_show(const json_t *fleet)
{
	const json_t *hosts = json_object_get(fleet, "hosts"), *host;
	char mode[64], a[600];
	size_t i;

	(void)printf("%-28s %-12s %6s %10s %10s %10s %10s %10s %10s  %s\n", "HOST", "MODE", "GUESTS", "MEMORY",
		     "AVAILABLE", "SAVED", "OVERCOMMIT", "COULD SAVE", "UP TO", "TROUBLE");
	json_array_foreach(hosts, i, host)
	{
		(void)snprintf(mode, sizeof(mode), "%s%s", hs_json_text(host, "mode"),
			       json_is_true(json_object_get(host, "auto")) ? " (auto)" : "");
		row(host, hs_json_text(host, "instance"), mode);
		(void)printf("  %s\n", hs_terminal_safe(a, sizeof(a), hs_json_text(host, "trouble"), 60));
	}
	(void)snprintf(a, sizeof(a), "%zu hosts", json_array_size(hosts));
	row(json_object_get(fleet, "total"), a, "");
	(void)printf("\n\n");
	show_versions(json_object_get(fleet, "versions"));
	show_next(fleet);
}
