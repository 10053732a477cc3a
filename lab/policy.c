/* SPDX-License-Identifier: Apache-2.0 */
/* What a policy runs under when nothing else is said. */
#include "policy.h"

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
