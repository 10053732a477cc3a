/* SPDX-License-Identifier: Apache-2.0 */
/* The Accept header (RFC 9110, 12.5.1). Pure. */
#ifndef HS_SERVICE_ENDPOINT_ACCEPT_HEADER_H
#define HS_SERVICE_ENDPOINT_ACCEPT_HEADER_H

#include <stdbool.h>

/* How a type was named; the more precise range decides. */
enum hs_accept_header_how { HS_ACCEPT_NOT = 0, HS_ACCEPT_ANY, HS_ACCEPT_FAMILY, HS_ACCEPT_TYPE, HS_ACCEPT_VERSION };

/*
 * The quality, in thousandths, that `accept` gives to `type` ("text/plain") in our `version` ("0.0.4"); 0: not wanted.
 * A range that names another version is none of ours; further parameters are not looked at. A range that is malformed
 * is left out. accept NULL or empty: 1000, named by HS_ACCEPT_ANY.
 */
unsigned int hs_accept_header_quality(const char *accept, const char *type, const char *version,
				      enum hs_accept_header_how *how);

/* Whether OpenMetrics is to be answered rather than the older text: its quality is higher, or equal and it was named.
 */
bool hs_accept_header_openmetrics(const char *accept);

#endif
