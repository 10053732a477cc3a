/* SPDX-License-Identifier: Apache-2.0 */
/* The model as text for Prometheus. */
#ifndef HS_SERVICE_ENDPOINT_METRICS_H
#define HS_SERVICE_ENDPOINT_METRICS_H

#include "service/common/model.h"

/* malloc'ed, *len bytes; openmetrics: OpenMetrics 1.0 instead of Prometheus' older text format. NULL: out of memory. */
char *hs_metrics_text(const struct hs_model *m, bool openmetrics, size_t *len);

/* The same of the guests' sketches. */
char *hs_metrics_sketch_text(const struct hs_model *m, bool openmetrics, size_t *len);

#endif
