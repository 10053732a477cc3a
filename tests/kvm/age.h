/* SPDX-License-Identifier: Apache-2.0 */
/* Ageing in tests, where rounds follow on each other. */
#ifndef HS_TESTS_KVM_AGE_H
#define HS_TESTS_KVM_AGE_H

#include <string.h>

#include "ept/nested_internal.h"

/* Without the rest that a slow host's clear_refs is followed by (host_age.c): in it nothing is aged, and what was
 * accessed before counts as accessed still. */
static inline int age_now(struct hs_view *nested, struct hs_error *err)
{
	struct hs_host_view *inner = hs_nested_host(hs_nested_view(nested));

	memset(inner->next_clear_us, 0, sizeof(inner->next_clear_us));
	return hs_view_age(nested, err);
}

#endif
