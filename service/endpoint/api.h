/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoint's content: /metrics in OpenMetrics and JSON below /v1/, as docs/openapi.yaml describes it. Routes,
 * checks of what was sent, and the shapes of what is answered; what is done is the daemon's (struct hs_control).
 */
#ifndef HS_SERVICE_ENDPOINT_API_H
#define HS_SERVICE_ENDPOINT_API_H

#include "http.h"
#include "service/common/model.h"

/* What /v1/report answers. A new reference; NULL: out of memory. */
json_t *hs_api_report(const struct hs_model *m);

/* The http handler; ctx is a `const struct hs_control *`. */
void hs_api_handle(void *ctx, struct hs_http_exchange *x);

#endif
