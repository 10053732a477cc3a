/* SPDX-License-Identifier: Apache-2.0 */
/* The table of settings: complete, and each row sound. */
#include "hs_test.h"

#include <string.h>

#include "hs/settings.h"

static size_t size_of(const struct hs_setting *s)
{
	return s->type == HS_SETTING_SIZE ? 8 : s->type == HS_SETTING_U32 ? 4 : 1;
}

/* What decisions hang on is in every trace: each number of the stages' own settings has a row that says so. */
START_TEST(test_settings_traced_are_all)
{
	const size_t end = offsetof(struct hs_pipeline_config, share);

	for (size_t at = 0; at < end; at += sizeof(uint32_t)) {
		size_t i = 0;

		while (i < hs_nr_settings && !(hs_settings[i].offset == at && hs_settings[i].trace))
			i++;
		ck_assert_msg(i < hs_nr_settings, "the setting at %zu is in no trace", at);
	}
}
END_TEST

START_TEST(test_settings_rows_are_sound)
{
	struct hs_pipeline_config def = hs_pipeline_config_default;

	def.share = hs_share_config_default;
	for (size_t i = 0; i < hs_nr_settings; i++) {
		const struct hs_setting *s = &hs_settings[i];
		const uint64_t v = hs_setting_get(s, &def);

		ck_assert_uint_le(s->offset + size_of(s), sizeof(struct hs_pipeline_config));
		ck_assert_msg(s->key || s->trace, "row %zu is of no use", i);
		ck_assert_msg(!s->key || (s->section && s->what), "row %zu is half a key", i);
		if (s->type == HS_SETTING_U32)
			ck_assert_msg(v >= s->min && v <= s->max, "%s: its default is not allowed", s->key);
		if (s->type == HS_SETTING_NAME)
			ck_assert(s->names && s->allowed && s->names[v]);
		ck_assert(!s->sweep.name || s->sweep.values[HS_SETTING_SWEEP_MAX - 1] == 0);
		for (size_t k = 0; k < i; k++) {
			const struct hs_setting *o = &hs_settings[k];

			ck_assert_uint_ne(s->offset, o->offset);
			ck_assert(!s->key || !o->key || strcmp(s->section, o->section) != 0 ||
				  strcmp(s->key, o->key) != 0);
			ck_assert(!s->trace || !o->trace || strcmp(s->trace, o->trace) != 0);
			ck_assert(!s->option.name || !o->option.name || strcmp(s->option.name, o->option.name) != 0);
			ck_assert(!s->sweep.name || !o->sweep.name || strcmp(s->sweep.name, o->sweep.name) != 0);
		}
	}
}
END_TEST

/* Each member alone, and no other. */
START_TEST(test_settings_put_and_get)
{
	for (size_t i = 0; i < hs_nr_settings; i++) {
		struct hs_pipeline_config cfg;
		const uint64_t v = hs_settings[i].type == HS_SETTING_BOOL ? 1 : 3;

		memset(&cfg, 0, sizeof(cfg));
		hs_setting_put(&hs_settings[i], &cfg, v);
		for (size_t k = 0; k < hs_nr_settings; k++)
			ck_assert_uint_eq(hs_setting_get(&hs_settings[k], &cfg), k == i ? v : 0);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("settings");
	TCase *c = tcase_create("table");

	tcase_add_test(c, test_settings_traced_are_all);
	tcase_add_test(c, test_settings_rows_are_sound);
	tcase_add_test(c, test_settings_put_and_get);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
