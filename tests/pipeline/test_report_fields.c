/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what is reported: nothing twice, nothing half. */
#include "hs_test.h"

#include <string.h>

#include "hs/report_fields.h"

enum { SCOPES = 3 };

static const struct hs_field_metric *metric(const struct hs_report_field *f, int scope)
{
	return scope == 0 ? &f->whole : scope == 1 ? &f->guest : &f->group;
}

START_TEST(test_report_fields_are_sound)
{
	static const size_t sizes[] = { sizeof(struct hs_guest_report), sizeof(struct hs_pipeline_totals),
					sizeof(struct hs_ledger) };

	for (size_t i = 0; i < hs_nr_report_fields; i++) {
		const struct hs_report_field *f = &hs_report_fields[i];
		bool any = f->json != NULL;

		ck_assert_uint_lt(f->offset, sizes[f->record]);
		for (int s = 0; s < SCOPES; s++) {
			const struct hs_field_metric *m = metric(f, s);

			any |= m->name != NULL;
			if (!m->name)
				continue;
			ck_assert_msg(f->kind <= HS_FIELD_S64 && f->scale > 0 && m->help && *m->help, "%s", m->name);
			ck_assert_msg(m->help[strlen(m->help) - 1] == '.', "%s: its help is no sentence", m->name);
			/* A metric's unit is the end of its name. */
			ck_assert_msg(!f->unit || strcmp(m->name + strlen(m->name) - strlen(f->unit), f->unit) == 0,
				      "%s is in %s", m->name, f->unit);
		}
		ck_assert_msg(any, "row %zu is reported nowhere", i);
		/* Of the whole: no guest's; of a guest or group: nothing of the totals. */
		ck_assert(f->record != HS_FIELD_OF_GUEST || !f->whole.name);
		ck_assert(f->record != HS_FIELD_OF_TOTALS || (!f->guest.name && !f->group.name));
	}
}
END_TEST

START_TEST(test_report_fields_are_told_once)
{
	for (size_t i = 0; i < hs_nr_report_fields; i++)
		for (size_t k = 0; k < i; k++) {
			const struct hs_report_field *a = &hs_report_fields[i], *b = &hs_report_fields[k];

			ck_assert(a->record != b->record || a->offset != b->offset || a->kind != b->kind);
			ck_assert(!a->json || !b->json || a->record != b->record || strcmp(a->json, b->json) != 0);
			for (int s = 0; s < SCOPES * SCOPES; s++) {
				const struct hs_field_metric *x = metric(a, s / SCOPES), *y = metric(b, s % SCOPES);

				ck_assert(!x->name || !y->name || strcmp(x->name, y->name) != 0);
				if (s / SCOPES == s % SCOPES)
					ck_assert(!x->place || x->place != y->place);
			}
		}
}
END_TEST

START_TEST(test_report_fields_numbers)
{
	const struct hs_ledger l = { .shared = 3, .net_saved_bytes = -5 };
	size_t nr = 0;

	for (size_t i = 0; i < hs_nr_report_fields; i++) {
		const struct hs_report_field *f = &hs_report_fields[i];

		if (f->record != HS_FIELD_OF_LEDGER)
			continue;
		if (f->offset == offsetof(struct hs_ledger, net_saved_bytes))
			ck_assert_double_eq(hs_report_field_number(f, &l), -5);
		else if (f->offset == offsetof(struct hs_ledger, shared))
			ck_assert_double_eq(hs_report_field_number(f, &l), 3);
		else
			ck_assert_double_eq(hs_report_field_number(f, &l), 0);
		nr++;
	}
	/* Each member of the ledger is reported. */
	ck_assert_uint_eq(nr, sizeof(struct hs_ledger) / sizeof(uint64_t));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("report fields");
	TCase *c = tcase_create("table");

	tcase_add_test(c, test_report_fields_are_sound);
	tcase_add_test(c, test_report_fields_are_told_once);
	tcase_add_test(c, test_report_fields_numbers);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
