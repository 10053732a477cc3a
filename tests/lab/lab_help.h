/* SPDX-License-Identifier: Apache-2.0 */
/* What the lab's suites share: small hosts, made from text. */
#ifndef HS_TESTS_LAB_LAB_HELP_H
#define HS_TESTS_LAB_LAB_HELP_H

#include "hs_test.h"

#include "lab/run.h"

static inline struct hs_lab_scenario lab_scenario(const char *text)
{
	struct hs_error err = { "" };
	struct hs_lab_scenario s;

	ck_assert_msg(hs_lab_scenario_parse(&s, "test", text, &err) == 0, "%s", err.text);
	return s;
}

static inline struct hs_lab_host *lab_host(const char *text)
{
	const struct hs_lab_scenario s = lab_scenario(text);
	struct hs_error err = { "" };
	struct hs_lab_host *h;

	ck_assert_msg(hs_lab_host_create(&h, &s, &err) == 0, "%s", err.text);
	return h;
}

static inline void lab_check(const struct hs_lab_host *h)
{
	struct hs_error err = { "" };

	ck_assert_msg(hs_lab_consistent(h, &err), "%s", err.text);
}

/* Nothing is calibrated: work takes no simulated time, and what follows is the policy's alone. */
static inline struct hs_lab_result lab_run(const char *text, const struct hs_lab_policy *p,
					   const struct hs_lab_options *options)
{
	static struct hs_lab_costs none;
	const struct hs_lab_scenario s = lab_scenario(text);
	struct hs_lab_options o = options ? *options : hs_lab_options_default(&none);
	struct hs_error err = { "" };
	struct hs_lab_result r;

	hs_lab_costs_none(&none);
	if (!o.costs)
		o.costs = &none;
	ck_assert_msg(hs_lab_run(&r, &(struct hs_lab_task){ .scenario = &s, .policy = p, .options = &o }, &err) == 0,
		      "%s: %s", p->name, err.text);
	return r;
}

#endif
