/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios: one table of keys, which the file's reader and the command line have in common. */
#include "scenario.h"

#include <errno.h>
#include <ini.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hs/types.h"

enum type { T_NAME, T_U32, T_U64, T_SIZE, T_NUMBER, T_PERCENT, T_BOOL };

struct key {
	const char *name;
	uint8_t type;
	uint16_t offset;
	double min, max; /* of numbers */
};

#define KIND(field, t, lo, hi)                                                                                         \
	{                                                                                                              \
#field, t, offsetof(struct hs_lab_kind, field), lo, hi                                                 \
	}
#define HOST(field, t, lo, hi)                                                                                         \
	{                                                                                                              \
#field, t, offsetof(struct hs_lab_scenario, field), lo, hi                                             \
	}

static const struct key kind_keys[] = {
	KIND(group, T_NAME, 0, 0),
	KIND(count, T_U32, 1, 1024),
	KIND(memory, T_SIZE, 0, 0),
	KIND(cpus, T_NUMBER, 0.01, 4096),
	KIND(accesses, T_NUMBER, 0, 1e12),
	KIND(even, T_PERCENT, 0, 100),
	KIND(skewed, T_PERCENT, 0, 100),
	KIND(hot_min, T_U32, 1, 512),
	KIND(hot_max, T_U32, 1, 512),
	KIND(bimodal, T_BOOL, 0, 0),
	KIND(zipf, T_NUMBER, 0, 4),
	KIND(write, T_PERCENT, 0, 100),
	KIND(warm, T_PERCENT, 0, 100),
	KIND(warm_seconds, T_NUMBER, 0.01, 1e6),
	KIND(phase_seconds, T_NUMBER, 0, 1e9),
	KIND(phase_move, T_PERCENT, 0, 100),
	KIND(stream, T_PERCENT, 0, 100),
	KIND(stream_rate, T_NUMBER, 0, 1e6),
	KIND(stream_writes, T_BOOL, 0, 0),
	KIND(cold_writes, T_NUMBER, 0, 1e6),
	KIND(absent, T_PERCENT, 0, 100),
	KIND(zero, T_PERCENT, 0, 100),
	KIND(same_group, T_PERCENT, 0, 100),
	KIND(same_host, T_PERCENT, 0, 100),
	KIND(same_within, T_PERCENT, 0, 100),
	KIND(copies, T_NUMBER, 0, 1e6),
	KIND(popularity, T_NUMBER, 0, 4),
	KIND(run, T_U32, 1, 512),
	KIND(rewrite_same, T_PERCENT, 0, 100),
};

static const struct key host_keys[] = {
	HOST(seed, T_U64, 0, 0),
	HOST(seconds, T_NUMBER, 0.1, 1e7),
};

struct hs_lab_kind hs_lab_kind_default(void)
{
	return (struct hs_lab_kind){
		.name = "guest",
		.group = "default",
		.count = 1,
		.memory = UINT64_C(1) << 30,
		.cpus = 1,
		.accesses = 400000,
		.hot_min = 16,
		.hot_max = 16,
		.write = 10,
		.warm_seconds = 5,
		.phase_move = 50,
		.stream_rate = 100,
		.run = 8,
	};
}

static int bad_value(struct hs_error *err, const char *key, const char *value, const char *wanted)
{
	return hs_error_set(err, -EINVAL, "%s = %s: give %s", key, value, wanted);
}

static int set_size(const char *key, const char *value, uint64_t *out, struct hs_error *err)
{
	unsigned int shift = 0;
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(value, &end, 10);
	if (end == value || value[0] == '-' || errno)
		goto bad;
	switch (*end) {
	case 'T':
		shift = 40;
		end++;
		break;
	case 'G':
		shift = 30;
		end++;
		break;
	case 'M':
		shift = 20;
		end++;
		break;
	default:
		break;
	}
	if (*end || !v || v > (UINT64_MAX >> shift) || ((v << shift) & (HS_HUGE_SIZE - 1)))
		goto bad;
	*out = (uint64_t)v << shift;
	return 0;
bad:
	return bad_value(err, key, value, "a multiple of 2M, such as 512M, 4G or 1T");
}

static int set_number(const struct key *k, const char *value, double *out, struct hs_error *err)
{
	char wanted[96], *end;
	double v = strtod(value, &end);

	if (end == value || *end || !isfinite(v) || v < k->min || v > k->max || ((k->type == T_U32) && v != floor(v))) {
		(void)snprintf(wanted, sizeof(wanted), "a%s number from %g to %g", k->type == T_U32 ? " whole" : "",
			       k->min, k->max);
		return bad_value(err, k->name, value, wanted);
	}
	*out = v;
	return 0;
}

static int set_bool(const char *key, const char *value, bool *out, struct hs_error *err)
{
	if (strcmp(value, "yes") == 0 || strcmp(value, "no") == 0) {
		*out = value[0] == 'y';
		return 0;
	}
	return bad_value(err, key, value, "yes or no");
}

static int set_u64(const char *key, const char *value, uint64_t *out, struct hs_error *err)
{
	char *end;

	errno = 0;
	*out = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || *out > HS_LAB_MAX_SEED)
		return bad_value(err, key, value, "a whole number below 2^63");
	return 0;
}

static int set_key(const struct key *k, void *base, const char *value, struct hs_error *err)
{
	void *at = (char *)base + k->offset;
	double v = 0;
	int rc;

	switch ((enum type)k->type) {
	case T_NAME:
		if (!value[0] || strlen(value) >= HS_LAB_NAME_MAX)
			return bad_value(err, k->name, value, "a name of 1 to 47 characters");
		(void)snprintf(at, HS_LAB_NAME_MAX, "%s", value);
		return 0;
	case T_U64:
		return set_u64(k->name, value, at, err);
	case T_SIZE:
		return set_size(k->name, value, at, err);
	case T_BOOL:
		return set_bool(k->name, value, at, err);
	case T_U32:
	case T_NUMBER:
	case T_PERCENT:
		break;
	}
	rc = set_number(k, value, &v, err);
	if (rc)
		return rc;
	if (k->type == T_U32)
		*(uint32_t *)at = (uint32_t)v;
	else
		*(double *)at = v;
	return 0;
}

int hs_lab_scenario_set(struct hs_lab_scenario *s, struct hs_lab_kind *kind, const char *key, const char *value,
			struct hs_error *err)
{
	const struct key *keys = kind ? kind_keys : host_keys;
	const size_t nr = kind ? sizeof(kind_keys) / sizeof(kind_keys[0]) : sizeof(host_keys) / sizeof(host_keys[0]);

	for (size_t i = 0; i < nr; i++)
		if (strcmp(keys[i].name, key) == 0)
			return set_key(&keys[i], kind ? (void *)kind : (void *)s, value, err);
	return hs_error_set(err, -ENOENT, "there is no key \"%s\" in [%s]; docs/lab.md lists them", key,
			    kind ? "guests ..." : "host");
}

/* ---- the file ---- */

struct reading {
	struct hs_lab_scenario *s;
	struct hs_error *err;
	int rc;
};

static struct hs_lab_kind *kind_named(struct reading *r, const char *name)
{
	struct hs_lab_scenario *s = r->s;

	for (uint32_t i = 0; i < s->nr_kinds; i++)
		if (strcmp(s->kinds[i].name, name) == 0)
			return &s->kinds[i];
	if (s->nr_kinds == HS_LAB_MAX_KINDS || !name[0] || strlen(name) >= HS_LAB_NAME_MAX)
		return NULL;
	s->kinds[s->nr_kinds] = hs_lab_kind_default();
	(void)snprintf(s->kinds[s->nr_kinds].name, HS_LAB_NAME_MAX, "%s", name);
	return &s->kinds[s->nr_kinds++];
}

static int on_line(void *ctx, const char *section, const char *key, const char *value)
{
	struct reading *r = ctx;
	struct hs_lab_kind *kind = NULL;

	if (strncmp(section, "guests ", 7) == 0) {
		kind = kind_named(r, section + 7);
		if (!kind)
			r->rc = hs_error_set(r->err, -EINVAL, "[%s]: at most %d sections, names of 1 to 47 characters",
					     section, HS_LAB_MAX_KINDS);
	} else if (strcmp(section, "host") != 0) {
		r->rc = hs_error_set(r->err, -EINVAL, "there is no section [%s]; there are [host] and [guests NAME]",
				     section);
	}
	if (!r->rc)
		r->rc = hs_lab_scenario_set(r->s, kind, key, value, r->err);
	return r->rc == 0;
}

static void begin(struct hs_lab_scenario *out, const char *name)
{
	const char *base = strrchr(name, '/');

	*out = (struct hs_lab_scenario){ .seed = 1, .seconds = 60 };
	(void)snprintf(out->name, sizeof(out->name), "%s", base ? base + 1 : name);
	if (strrchr(out->name, '.'))
		*strrchr(out->name, '.') = '\0';
}

static int finish(struct reading *r, const char *name, int line)
{
	char why[sizeof(r->err->text)];

	if (line < 0)
		return hs_error_set(r->err, -ENOMEM, "%s: out of memory", name);
	if (line > 0) {
		(void)snprintf(why, sizeof(why), "%s", r->rc && r->err ? r->err->text : "this is no \"key = value\"");
		return hs_error_set(r->err, -EINVAL, "%s, line %d: %.400s", name, line, why);
	}
	return hs_lab_scenario_check(r->s, r->err);
}

int hs_lab_scenario_read(struct hs_lab_scenario *out, const char *path, struct hs_error *err)
{
	struct reading r = { .s = out, .err = err };
	FILE *f = fopen(path, "re");
	int line = 0, why = 0;

	if (f) {
		begin(out, path);
		errno = 0;
		line = ini_parse_file(f, on_line, &r);
		if (ferror(f)) /* a folder can be opened, but not read */
			why = errno ? errno : EIO;
		(void)fclose(f);
	} else {
		why = errno;
	}
	return why ? hs_error_set(err, -why, "cannot read the scenario %s: %s", path, strerror(why))
		   : finish(&r, path, line);
}

int hs_lab_scenario_parse(struct hs_lab_scenario *out, const char *name, const char *text, struct hs_error *err)
{
	struct reading r = { .s = out, .err = err };

	begin(out, name);
	return finish(&r, name, ini_parse_string(text, on_line, &r));
}

static int check_kind(const struct hs_lab_kind *k, struct hs_error *err)
{
	const double huge = k->even + k->skewed + k->warm + k->stream + k->absent;
	const double content = k->zero + k->same_group + k->same_host + k->same_within;

	if (huge > 100.0001)
		return hs_error_set(err, -EINVAL,
				    "guests %s: even, skewed, warm, stream and absent come to %g percent; they are "
				    "shares of the same memory, so at most 100",
				    k->name, huge);
	if (content > 100.0001)
		return hs_error_set(err, -EINVAL,
				    "guests %s: zero, same_group, same_host and same_within come to %g percent; at "
				    "most 100",
				    k->name, content);
	if (k->hot_min > k->hot_max)
		return hs_error_set(err, -EINVAL, "guests %s: hot_min %u is above hot_max %u", k->name, k->hot_min,
				    k->hot_max);
	if (k->memory > UINT64_C(8) << 40)
		return hs_error_set(err, -EINVAL, "guests %s: a guest has at most 8T of memory", k->name);
	return 0;
}

int hs_lab_scenario_check(const struct hs_lab_scenario *s, struct hs_error *err)
{
	uint64_t guests = 0;

	if (s->trace)
		return 0;
	if (!s->nr_kinds)
		return hs_error_set(err, -EINVAL, "%s: there are no guests; add a section [guests NAME]", s->name);
	for (uint32_t i = 0; i < s->nr_kinds; i++) {
		int rc = check_kind(&s->kinds[i], err);

		if (rc)
			return rc;
		guests += s->kinds[i].count;
	}
	if (guests > 1024)
		return hs_error_set(err, -EINVAL, "%s: %llu guests; at most 1024", s->name, (unsigned long long)guests);
	return 0;
}
