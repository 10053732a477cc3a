/* The list of policies. */
#include "policy.h"

#include <string.h>

const struct hs_lab_policy *const hs_lab_policies[] = { &hs_lab_none,     &hs_lab_ksm,       &hs_lab_ksm_huge,
							&hs_lab_ingens,   &hs_lab_zero_scan, &hs_lab_hugescope,
							&hs_lab_hs_share, &hs_lab_oracle,    NULL };

const struct hs_lab_policy *hs_lab_policy_named(const char *name)
{
	for (size_t i = 0; hs_lab_policies[i]; i++)
		if (strcmp(hs_lab_policies[i]->name, name) == 0)
			return hs_lab_policies[i];
	return NULL;
}

struct hs_lab_options hs_lab_options_default(const struct hs_lab_costs *costs)
{
	struct hs_lab_options o = {
		.scan_rate = HS_LAB_SCAN_RATE,
		.pipeline = hs_pipeline_config_default,
		.costs = costs,
	};

	o.pipeline.share = hs_share_config_default;
	o.pipeline.observe = true; /* no engine: what stands in for it is the lab's */
	return o;
}
