/* SPDX-License-Identifier: Apache-2.0 */
/* Queries to whoever speaks Prometheus' HTTP API: Prometheus, VictoriaMetrics, Thanos. */
#ifndef HS_SERVICE_CLI_PROMETHEUS_H
#define HS_SERVICE_CLI_PROMETHEUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "hs/error.h"

struct hs_prometheus_config {
	const char *url; /* base, before /api/v1/query: "https://prometheus.example:9090" */
	const char *ca, *certificate, *key, *token_file; /* files; NULL: the system's CAs, none, none, none */
	uint32_t timeout_s;                              /* of one query */
};

struct hs_prometheus;

/* All queries ask for the same moment, now. -EINVAL: the URL is none; errors of hs_secret_file_read for the token. */
HS_MUST_USE int hs_prometheus_open(struct hs_prometheus **out, const struct hs_prometheus_config *cfg,
				   struct hs_error *err);
void hs_prometheus_close(struct hs_prometheus *p); /* takes NULL */

/*
 * *out: the vector, an array of {"metric": {label: text}, "value": [time, text]}, a new reference. The error's text
 * names what failed and the way out: -ENOTCONN: no answer; -EACCES: not let in, or its certificate is not trusted;
 * -EPROTO: what answers has no such API; -EREMOTEIO: it refuses the query.
 */
HS_MUST_USE int hs_prometheus_query(struct hs_prometheus *p, const char *query, json_t **out, struct hs_error *err);

/* Of an entry: a label ("" when it has none), and the value. */
const char *hs_prometheus_label(const json_t *sample, const char *label);
double hs_prometheus_value(const json_t *sample);

#endif
