/* SPDX-License-Identifier: Apache-2.0 */
/* The list of policies. */
#include "lab/policy.h"

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
