/* SPDX-License-Identifier: Apache-2.0 */
/* The shapes in which the pipeline's records are written as JSON, by the commands and by the endpoint alike. */
#ifndef HS_SERVICE_COMMON_JSON_H
#define HS_SERVICE_COMMON_JSON_H

#include <jansson.h>

#include "hs/pipeline.h"

/* New references. */
json_t *hs_json_guest(const struct hs_guest_report *r);
/* Of it, the fields of one of its objects: "saving". */
json_t *hs_json_guest_part(const struct hs_guest_report *r, const char *object);
json_t *hs_json_ledger(const struct hs_ledger *l);
json_t *hs_json_totals(const struct hs_pipeline_totals *t);

#define HS_NR_SKEW 11
extern const char *const hs_skew_names[HS_NR_SKEW]; /* "0", "1", "2-3", ... hot base pages */

#endif
