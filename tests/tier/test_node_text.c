/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's files say of nodes, in tables of cases. */
#include "hs_test.h"

#include <errno.h>

#include "tier/node_text.h"

START_TEST(test_tier_node_text_field)
{
	const char *text = "Node 1 MemTotal:       2048 kB\nNode 1 MemFree:  7 kB\nNode 1 HugePages_Free: 3\n";
	uint64_t bytes = 1;

	ck_assert_int_eq(hs_node_field(text, "MemTotal:", &bytes), 0);
	ck_assert_uint_eq(bytes, 2048 * 1024);
	ck_assert_int_eq(hs_node_field(text, "MemFree:", &bytes), 0);
	ck_assert_uint_eq(bytes, 7 * 1024);
	ck_assert_int_eq(hs_node_field(text, "Free:", &bytes), -ENOENT);
	ck_assert_int_eq(hs_node_field(text, "HugePages_Free:", &bytes), -EINVAL);
	ck_assert_int_eq(hs_node_field("", "MemFree:", &bytes), -ENOENT);
}
END_TEST

START_TEST(test_tier_node_text_list)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t nodes;
	} cases[] = {
		{ "\t0\n", 0, 1 },
		{ "0-1,3 x", 0, 11 },
		{ "63", 0, UINT64_C(1) << 63 },
		{ "2,64-70,100\nJunk", 0, 4 },
		{ "", 0, 0 },
		{ "\n", 0, 0 },
		{ "3-1", -EINVAL, 0 },
		{ "x", -EINVAL, 0 },
		{ "1,", -EINVAL, 0 },
		{ "1-", -EINVAL, 0 },
		{ "1x", -EINVAL, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t nodes;

		ck_assert_msg(hs_node_list(cases[i].text, &nodes) == cases[i].rc, "%s", cases[i].text);
		ck_assert_msg(cases[i].rc || nodes == cases[i].nodes, "%s: %llx", cases[i].text,
			      (unsigned long long)nodes);
	}
}
END_TEST

START_TEST(test_tier_node_text_policy)
{
	static const struct {
		const char *line;
		uint32_t node;
		bool bound;
	} cases[] = {
		{ "7f00 default anon=3 N0=3", 1, false },
		{ "7f00 prefer:0 anon=3", 1, false },
		{ "7f00 prefer (many):0", 1, false },
		{ "7f00 local", 1, false },
		{ "7f00 bind:0 anon=3 dirty=3 N0=3", 1, true },
		{ "7f00 bind:0-1 anon=3", 1, false },
		{ "7f00 bind=static:0,2 anon=3", 1, true },
		{ "7f00 interleave:0,1 anon=3", 1, false },
		{ "7f00 interleave:0 anon=3", 1, true },
		{ "7f00 weighted interleave:0-3", 1, false },
		{ "7f00 bind:what", 1, true },
		{ "7f00 something new", 1, true },
	};
	uint64_t start;
	bool bound;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(hs_node_policy(cases[i].line, cases[i].node, &start, &bound), 0);
		ck_assert_uint_eq(start, 0x7f00);
		ck_assert_msg(bound == cases[i].bound, "%s", cases[i].line);
	}
	ck_assert_int_eq(hs_node_policy("default", 1, &start, &bound), -EINVAL);
	ck_assert_int_eq(hs_node_policy("7f00", 1, &start, &bound), -EINVAL);
	ck_assert(bound);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tier/node_text");
	TCase *t = tcase_create("unit");

	tcase_add_test(t, test_tier_node_text_field);
	tcase_add_test(t, test_tier_node_text_list);
	tcase_add_test(t, test_tier_node_text_policy);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
