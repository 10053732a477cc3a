/* SPDX-License-Identifier: Apache-2.0 */
/* The Accept header: which of two texts it asks for. */
#include "hs_test.h"

#include <string.h>

#include "service/endpoint/accept_header.h"

#define OPEN "application/openmetrics-text"

static const struct {
	const char *accept;
	bool open;
} headers[] = {
	{ NULL, false },
	{ "", false },
	{ "  ", false },
	{ "*/*", false },
	{ OPEN, true },
	{ "Application/OpenMetrics-Text", true },
	{ OPEN ", */*", true },
	{ OPEN ";q=0", false },
	{ OPEN ";q=0.000, */*", false },
	{ OPEN "; q=0.4, text/plain;q=0.5", false },
	{ OPEN ";q=0.5, text/plain;q=0.4", true },
	{ OPEN ";q=0.5, text/plain;q=0.5", true },
	{ OPEN ";q=0.5, */*;q=0.9", false },
	{ "text/plain", false },
	{ "text/*", false },
	{ "text/*;q=0.1, */*;q=0.9", true },
	{ "application/*, text/plain;q=0.9", true },
	{ "application/*, */*", false },
	/* What Prometheus sends, 2.42 and 3. */
	{ OPEN ";version=1.0.0," OPEN ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true },
	{ OPEN ";version=1.0.0;escaping=allow-utf-8;q=0.6," OPEN
	       ";version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.2",
	  true },
	/* Versions that are not ours. */
	{ OPEN ";version=0.0.1", false },
	{ OPEN ";version=0.0.1, text/plain;q=0.1", false },
	{ OPEN ";version=\"1.0.0\"", true },
	/* The more precise range decides, whatever the order. */
	{ OPEN ";q=0.9, " OPEN ";version=1.0.0;q=0, text/plain;q=0.5", false },
	{ "*/*;q=1, text/plain;q=0.2, " OPEN ";q=0.3", true },
	/* Not the type, only its name inside of something else. */
	{ "text/plain;x=" OPEN, false },
	{ "text/plain;x=\"," OPEN ",\"", false },
	{ "x" OPEN, false },
	{ OPEN "x", false },
	/* Malformed ranges are left out. */
	{ OPEN ";q=", false },
	{ OPEN ";q=2", false },
	{ OPEN ";q=1.5", false },
	{ OPEN ";q=0.1234", false },
	{ OPEN ";q=.5", false },
	{ OPEN ";q=-1", false },
	{ ",,;;, " OPEN " ,,", true },
	{ "\"", false },
	{ "\"\\", false },
	{ "/", false },
};

START_TEST(test_service_accept_openmetrics)
{
	ck_assert_msg(hs_accept_header_openmetrics(headers[_i].accept) == headers[_i].open, "%s",
		      headers[_i].accept ? headers[_i].accept : "none");
}
END_TEST

START_TEST(test_service_accept_quality)
{
	enum hs_accept_header_how how;

	ck_assert_uint_eq(hs_accept_header_quality("text/plain;q=0.25", "text/plain", "0.0.4", &how), 250);
	ck_assert_int_eq(how, HS_ACCEPT_TYPE);
	ck_assert_uint_eq(hs_accept_header_quality("text/*;q=1.000", "text/plain", "0.0.4", &how), 1000);
	ck_assert_int_eq(how, HS_ACCEPT_FAMILY);
	ck_assert_uint_eq(hs_accept_header_quality("text/html", "text/plain", "0.0.4", &how), 0);
	ck_assert_int_eq(how, HS_ACCEPT_NOT);
	ck_assert_uint_eq(hs_accept_header_quality(NULL, "text/plain", "0.0.4", &how), 1000);
	ck_assert_int_eq(how, HS_ACCEPT_ANY);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/accept");
	TCase *c = tcase_create("all");

	tcase_add_loop_test(c, test_service_accept_openmetrics, 0, sizeof(headers) / sizeof(headers[0]));
	tcase_add_test(c, test_service_accept_quality);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
