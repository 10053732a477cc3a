/* SPDX-License-Identifier: Apache-2.0 */
/* Sketches as metrics: who has one, that no digit is lost, and how large the answer of thousands of guests is. */
#include "hs_test.h"

#include <inttypes.h>
#include <string.h>

#include "service/endpoint/metrics.h"

#define MANY 4000

static struct hs_model_guest guests[MANY];
static struct hs_guest_report reports[MANY];
static struct hs_sketch sketches[MANY];
static struct hs_model m;

static void make(size_t nr)
{
	memset(guests, 0, sizeof(guests));
	memset(reports, 0, sizeof(reports));
	m = (struct hs_model){ .version = "9", .psi_some_avg10 = -1, .guests = guests, .nr_guests = nr };
	(void)snprintf(m.sketch_key, sizeof(m.sketch_key), "0123456789abcdef");
	for (size_t i = 0; i < nr; i++) {
		(void)snprintf(guests[i].id, sizeof(guests[i].id), "instance-%08zx", i);
		(void)snprintf(guests[i].opt_in.group, sizeof(guests[i].opt_in.group), "tenant-%zu", i % 40);
		guests[i].opt_in.on = true;
		guests[i].report = &reports[i];
		reports[i].sketch = &sketches[i];
		sketches[i].contents = 1234567 + (double)i;
		/* The largest values are the longest. */
		for (size_t k = 0; k < HS_SKETCH_SLOTS; k++)
			sketches[i].slot[k] = (UINT64_C(1) << HS_SKETCH_VALUE_BITS) - 1 - i * HS_SKETCH_SLOTS - k;
	}
}

static char *text(bool open, size_t *len)
{
	char *out = hs_metrics_sketch_text(&m, open, len);

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(strlen(out), *len);
	return out;
}

START_TEST(test_service_metrics_sketch_who)
{
	size_t len;
	char *all;

	make(4);
	sketches[0].slot[7] = HS_SKETCH_EMPTY;
	reports[1].sketch = NULL;
	guests[2].opt_in.on = false;
	guests[3].report = NULL;
	(void)snprintf(guests[0].id, sizeof(guests[0].id), "a\"b");
	all = text(true, &len);
	ck_assert_ptr_nonnull(strstr(all, "\nhs_share_sketch_key_info{key=\"0123456789abcdef\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(all, "\nhs_share_sketch_contents{guest=\"a\\\"b\",group=\"tenant-0\"} 1234567\n"));
	ck_assert_ptr_nonnull(strstr(all, "\nhs_share_sketch_slot{guest=\"a\\\"b\",group=\"tenant-0\",slot=\"8\"} "));
	ck_assert_ptr_null(strstr(all, "slot=\"7\""));
	for (size_t i = 1; i < 4; i++)
		ck_assert_ptr_null(strstr(all, guests[i].id));
	ck_assert_str_eq(all + len - 6, "# EOF\n");
	free(all);
}
END_TEST

START_TEST(test_service_metrics_sketch_many)
{
	static const char name[] = "hs_share_sketch_slot{";
	size_t len, nr = 0;
	char *all;

	make(MANY);
	all = text(false, &len);
	/* By lines: below the address sanitizer strstr and strtod look at all of the text that is left. */
	for (const char *line = all, *end; line < all + len; line = end + 1) {
		char value[32], *rest;
		const char *from;
		uint64_t want;

		end = memchr(line, '\n', (size_t)(all + len - line));
		ck_assert_ptr_nonnull(end);
		if ((size_t)(end - line) < sizeof(name) || memcmp(line, name, sizeof(name) - 1) != 0)
			continue;
		from = memchr(line, '}', (size_t)(end - line));
		ck_assert(from && (size_t)(end - from) < sizeof(value));
		(void)snprintf(value, sizeof(value), "%.*s", (int)(end - from - 2), from + 2);
		/* As a double, which Prometheus keeps, and as the digits that stand there. */
		want = sketches[nr / HS_SKETCH_SLOTS].slot[nr % HS_SKETCH_SLOTS];
		ck_assert_uint_eq((uint64_t)strtod(value, &rest), want);
		ck_assert_int_eq(*rest, '\0');
		ck_assert_uint_eq(strtoull(value, NULL, 10), want);
		nr++;
	}
	ck_assert_uint_eq(nr, MANY * HS_SKETCH_SLOTS);
	/* Prometheus takes that in one scrape; a host with 100 guests has a fortieth of it. */
	ck_assert_msg(len < (size_t)MANY * HS_SKETCH_SLOTS * 100, "%zu bytes", len);
	printf("%d guests: %zu bytes\n", MANY, len);
	free(all);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/metrics_sketch");
	TCase *t = tcase_create("sketch");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_service_metrics_sketch_who);
	tcase_add_test(t, test_service_metrics_sketch_many);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
