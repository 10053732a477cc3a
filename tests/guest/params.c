/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

/* The shape that skewed guests have in the literature: a quarter evenly hot, a quarter bloat, half cold. */
const struct hs_guest_params hs_guest_params_default = {
	.seed = 1,
	.common_seed = 7,
	.nr_huge = 160,
	.hot_percent = 25,
	.bloat_percent = 25,
	.bloat_hot = 16,
	.hot_identical_percent = 30,
	.cold_identical_percent = 60,
	.cold_zero_percent = 10,
	.cold_dup_percent = 0,
	.shuffle = 0,
	.scatter = 0,
	.threads = 1,
	.write_percent = 5,
	.sweep_percent = 25,
	.batch = 1000,
	.rate = 0,
};

static const struct param {
	const char *name;
	size_t offset;
	uint64_t min, max;
	const char *help;
} params[] = {
#define P(name, field, min, max, help)                                                                                 \
	{                                                                                                              \
		name, offsetof(struct hs_guest_params, field), min, max, help                                          \
	}
	P("seed", seed, 0, UINT64_MAX, "of this guest"),
	P("common-seed", common_seed, 0, UINT64_MAX, "of all guests that have pages in common"),
	P("huge", nr_huge, 1, 1U << 16, "huge pages (2 MiB) of memory"),
	P("hot", hot_percent, 0, 100, "percent of the huge pages that are evenly hot"),
	P("bloat", bloat_percent, 0, 100, "percent of the huge pages that are hot bloat"),
	P("bloat-hot", bloat_hot, 1, 511, "hot base pages of a hot-bloat huge page"),
	P("hot-identical", hot_identical_percent, 0, 100, "percent of the hot base pages that all guests have"),
	P("cold-identical", cold_identical_percent, 0, 100, "percent of the cold base pages that all guests have"),
	P("cold-zero", cold_zero_percent, 0, 100, "percent of the cold base pages that are zero"),
	P("cold-dup", cold_dup_percent, 0, 100, "percent of the cold base pages that only this guest has, four times"),
	P("shuffle", shuffle, 0, 1, "1: identical pages lie elsewhere in each guest"),
	P("scatter", scatter, 0, 1, "1: mix the huge pages of the classes"),
	P("threads", threads, 1, 64, "threads that access the hot pages"),
	P("write", write_percent, 0, 100, "percent of the accesses to a page of this guest alone that write"),
	P("sweep", sweep_percent, 1, 99, "percent of the accesses that pass over all hot pages in turn"),
	P("batch", batch, 100, 1000000, "accesses timed together"),
	P("rate", rate, 0, UINT32_MAX, "most accesses per second and thread; 0: no limit"),
#undef P
};
#define NR_PARAMS (sizeof(params) / sizeof(params[0]))

static uint64_t *value_of(struct hs_guest_params *p, const struct param *d)
{
	return (uint64_t *)(void *)((char *)p + d->offset);
}

static uint64_t value_get(const struct hs_guest_params *p, const struct param *d)
{
	uint64_t v;

	memcpy(&v, (const char *)p + d->offset, sizeof(v));
	return v;
}

static int parse_one(struct hs_guest_params *p, const char *arg, struct hs_error *err)
{
	const char *eq = strchr(arg, '=');

	if (strncmp(arg, "--", 2) != 0 || !eq)
		return hs_error_set(err, -EINVAL, "argument '%s' is not of the form --name=value", arg);
	for (size_t i = 0; i < NR_PARAMS; i++) {
		size_t len = strlen(params[i].name);
		char *end;
		uint64_t v;

		if ((size_t)(eq - arg - 2) != len || strncmp(arg + 2, params[i].name, len) != 0)
			continue;
		errno = 0;
		v = strtoull(eq + 1, &end, 0);
		if (errno || end == eq + 1 || *end || eq[1] == '-')
			return hs_error_set(err, -EINVAL, "argument '%s': not a number", arg);
		*value_of(p, &params[i]) = v;
		return 0;
	}
	return hs_error_set(err, -EINVAL, "argument '%s' is unknown: --help lists them", arg);
}

int hs_guest_params_parse(struct hs_guest_params *p, int argc, char *const *argv, struct hs_error *err)
{
	for (int i = 0; i < argc; i++) {
		int ret = parse_one(p, argv[i], err);

		if (ret)
			return ret;
	}
	return 0;
}

int hs_guest_params_check(const struct hs_guest_params *p, struct hs_error *err)
{
	for (size_t i = 0; i < NR_PARAMS; i++) {
		uint64_t v = value_get(p, &params[i]);

		if (v < params[i].min || v > params[i].max)
			return hs_error_set(err, -EINVAL, "--%s=%" PRIu64 ": must be from %" PRIu64 " to %" PRIu64,
					    params[i].name, v, params[i].min, params[i].max);
	}
	if (p->hot_percent + p->bloat_percent > 100)
		return hs_error_set(err, -EINVAL, "--hot and --bloat together are above 100 percent");
	if (p->cold_identical_percent + p->cold_zero_percent + p->cold_dup_percent > 100)
		return hs_error_set(err, -EINVAL, "--cold-identical, --cold-zero and --cold-dup are above 100 percent");
	return 0;
}

bool hs_guest_params_format(const struct hs_guest_params *p, unsigned int i, char *buf, size_t size)
{
	if (i >= NR_PARAMS)
		return false;
	(void)snprintf(buf, size, "--%s=%" PRIu64, params[i].name, value_get(p, &params[i]));
	return true;
}

void hs_guest_params_help(FILE *f)
{
	for (size_t i = 0; i < NR_PARAMS; i++)
		fprintf(f, "  --%-16s %s (%" PRIu64 ")\n", params[i].name, params[i].help,
			value_get(&hs_guest_params_default, &params[i]));
}
