/* The configuration: what is accepted, what each error names, what differs. */
#include "hs_test.h"

#include <errno.h>
#include <string.h>

#include "service/daemon/config.h"

static struct hs_config cfg;
static struct hs_error err;

static int parse(const char *text)
{
	err.text[0] = '\0';
	return hs_config_parse(&cfg, text, strlen(text), "file", &err);
}

START_TEST(test_service_config_empty_is_the_default)
{
	struct hs_config def;

	hs_config_defaults(&def);
	ck_assert_msg(parse("") == 0, "%s", err.text);
	ck_assert_uint_eq(hs_config_diff(&def, &cfg, NULL, NULL), 0);
	ck_assert_int_eq(cfg.mode, HS_MODE_OBSERVE); /* nothing is changed until the operator says so */
	ck_assert_int_eq(cfg.pipeline.share.foreign, HS_FOREIGN_REFUSE);
	ck_assert_uint_eq(cfg.tcp_port, 0);
}
END_TEST

START_TEST(test_service_config_values)
{
	ck_assert_msg(parse("\xef\xbb\xbf# comment\r\n[service]\r\nmode = auto\r\nsocket_mode = "
			    "0600\r\n\r\n[scan]\nmin_memory = 2G\n"
			    "cpu_percent=7\n[merge]\nforeign = claim\nuse_zero_pages = no\n[auto]\non_psi = "
			    "12.5\n[policy]\nmax_hot = "
			    "50\n") == 0,
		      "%s", err.text);
	ck_assert_int_eq(cfg.mode, HS_MODE_AUTO);
	ck_assert_uint_eq(cfg.socket_mode, 0600);
	ck_assert_uint_eq(cfg.pipeline.min_bytes, UINT64_C(2) << 30);
	ck_assert_uint_eq(cfg.pipeline.cpu_percent, 7);
	ck_assert_int_eq(cfg.pipeline.share.foreign, HS_FOREIGN_CLAIM);
	ck_assert(!cfg.pipeline.share.use_zero_pages);
	ck_assert(cfg.pressure.on_psi_some_avg10 > 12.4 && cfg.pressure.on_psi_some_avg10 < 12.6);
	ck_assert_uint_eq(cfg.pipeline.fine.give_up_hot, 50); /* follows max_hot */
}
END_TEST

/* Rules are read, printed, compared and live. */
START_TEST(test_service_config_rules)
{
	static const char text[] = "\xef\xbb\xbf[discover vmm]\nexecutable = /x/(.*)\ngroup = "
				   "{executable.1}\n[libvirt]\nuri = qemu:///system, "
				   "test:///default\n";
	struct hs_config old;
	char *printed = NULL, word[100];
	size_t len;
	FILE *f;

	ck_assert_msg(parse(text) == 0, "%s", err.text);
	ck_assert_uint_eq(cfg.rules.nr, 1);
	ck_assert_str_eq(cfg.rules.rule[0].value[HS_RULE_GROUP], "{executable.1}");
	ck_assert(hs_config_word(cfg.libvirt_uri, 1, word, sizeof(word)));
	ck_assert_str_eq(word, "test:///default");
	ck_assert(!hs_config_word(cfg.libvirt_uri, 2, word, sizeof(word)));
	old = cfg;
	f = open_memstream(&printed, &len);
	hs_config_print(f, &cfg, false);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_msg(parse(printed) == 0, "%s", err.text);
	free(printed);
	ck_assert_uint_eq(hs_config_diff(&old, &cfg, NULL, NULL), 0);
	ck_assert_msg(parse("[discover vmm]\nexecutable = /x/(.*)\ngroup = g\n[libvirt]\nuri = qemu:///system, "
			    "test:///default\n") == 0,
		      "%s", err.text);
	ck_assert_uint_eq(hs_config_diff(&old, &cfg, NULL, NULL), 1);
	ck_assert_msg(parse("[libvirt]\nuri = qemu:///system, test:///default\n") == 0, "%s", err.text);
	ck_assert_uint_eq(hs_config_diff(&old, &cfg, NULL, NULL), 1);
	hs_config_keep_static(&cfg, &old);
	ck_assert_uint_eq(cfg.rules.nr, 0);
}
END_TEST

static const struct {
	const char *text, *names;
} bad[] = {
	{ "[discover]\n", "file:1: [discover ]: a rule's name has 1 to 40" },
	{ "[discover a b]\n", "file:1: [discover a b]: a rule's name" },
	{ "[discover a]\nexecutable = /x\n", "file:1: [discover a] group: it is missing" },
	{ "[discover a]\ngroup = g\nexecutable = /x(\n", "file:3: [discover a] executable: at character 3: " },
	{ "[discover a]\ngroup = g\nexecutable = /x\n[discover a]\n", "file:4: [discover a] is there a second time" },
	{ "[discover a]\ncolour = red\n", "file:2: there is no key colour in [discover a]" },
	{ "[discover a]\n[service]\nmode = off\n", "file:1: [discover a] executable: it is missing" },
	{ "[libvirt]\nuri = a b c\npid_dir = /x /y\n", "file:3: [libvirt] pid_dir takes one folder for all" },
	{ "[libvirt]\nuri = a b c d e f g h i\n", "file:2: [libvirt] uri names more than 8" },
	{ "[service]\nmode = sometimes\n", "file:2: [service] mode: \"sometimes\"" },
	{ "[service]\n\nmod = off\n", "file:3: there is no key mod in [service]" },
	{ "[sevice]\nmode = off\n", "file:2: there is no section [sevice]" },
	{ "mode = off\n", "file:1: mode stands before any [section]" },
	{ "[service]\nmode = off\nmode = save\n", "file:3: mode is set a second time" },
	{ "[scan]\nrounds = 65\n", "a number from 1 to 64" },
	{ "[scan]\nrounds = -1\n", "a number from 1 to 64" },
	{ "[scan]\nrounds = 5x\n", "a number from 1 to 64" },
	{ "[scan]\nrounds = 99999999999999999999\n", "a number from 1 to 64" },
	{ "[scan]\nrounds =\n", "a number from 1 to 64" },
	{ "[scan]\nmin_memory = 5Q\n", "bytes, or a number with K, M, G or T" },
	{ "[scan]\nmin_memory = 18446744073709551615T\n", "bytes, or a number with K, M, G or T" },
	{ "[service]\nsocket_mode = 8888\n", "octal" },
	{ "[service]\nnonsense\n", "file:2: neither" },
	{ "[service\n", "file:1: neither" },
	/* What inih would let pass. */
	{ "[service]\nmode = off\n[scan] xyz\n", "file:3: behind [scan] stands something else: \"xyz\"" },
	{ "[scan]# why\n", "file:1: behind [scan] stands something else" },
	{ "[scan];why\n", "file:1: behind [scan] stands something else" },
	{ "[service]\nsocket = /run/a\n  b\n", "file:3: neither" },
	{ "[service]\nsocket = /run/a\n\tmode = save\n  mode = off\n", "file:4: mode is set a second time" },
	{ "[service]\nsocket = /run/a\n\n  = b\n", "file:4: there is no key" },
	{ "[service]\nsocket =;/run/a\n", "file:2: [service] socket: a value cannot begin with ;" },
	/* Keys that are right alone: the line that came last, and where the others stand. */
	{ "[service]\nsocket = control.sock\n", "file:2: [service] socket is no absolute path" },
	{ "[service]\nhistory_resolution_s = 1\nhistory_hours = 28\n",
	  "file:3: [service] history_hours at history_resolution_s would take 100000 points or more: go back less far, "
	  "or "
	  "take points less often; history_hours = 28, line 3; history_resolution_s = 1, line 2" },
	{ "[service]\n\nstate_dir = state\n", "file:3: [service] state_dir is no absolute path" },
	{ "[service]\ntcp_port = 9100\ntcp_address = 0.0.0.0\n",
	  "file:3: [service] tcp_address is no loopback address: 127.0.0.1 or ::1; tcp_address = 0.0.0.0, line 3; "
	  "tcp_port = 9100, line 2" },
	{ "[service]\ntcp_address = 192.168.0.1\ntcp_port = 9100\n", "file:3: [service] tcp_address is no loopback" },
	{ "[tls]\nport = 9178\n",
	  "file:2: [tls] port needs a certificate and its key; port = 9178, line 2; certificate "
	  "= , the default; key = , the default" },
	{ "[tls]\nport = 9178\ncertificate = /a\nkey = /b\n",
	  "file:2: [tls] port needs client_ca, token_file or both: it serves nobody unasked" },
	{ "[tls]\nport = 9178\nkey = /b\nclient_ca = /c\n", "file:3: [tls] port needs a certificate and its key" },
	{ "[tls]\nport = 9178\ncertificate = /a\nkey = /b\ntoken_file = /t\nallow = change\n",
	  "file:6: [tls] allow = change needs client_ca" },
	{ "[tls]\nport = 9178\ncertificate = /a\nkey = /b\ntoken_file = /t\naddress = localhost\n",
	  "file:6: [tls] address is no address in numbers" },
	{ "[tls]\nkey = b\n", "file:2: [tls] a file is no absolute path; key = b, line 2" },
	{ "[tls]\nallow = all\n", "file:2: [tls] allow: \"all\" is not allowed; it takes metrics, read or change" },
	{ "[scan]\nrounds = 5\nhot_rounds = 6\n", "file:3: [scan] hot_rounds is more than rounds: nothing could be "
						  "hot; hot_rounds = 6, line 3; rounds = 5, line 2" },
	{ "[scan]\n\nrounds = 5\n", "file:3: [scan] hot_rounds is more than rounds" },
	{ "[scan]\nhot_rounds = 1\nrounds = 1\n",
	  "file:3: [scan] hash_cold_rounds is more than rounds: nothing cold would ever be read; hash_cold_rounds = 2, "
	  "the default; rounds = 1, line 3" },
	{ "[scan]\nhash_cold_rounds = 11\n", "file:2: [scan] hash_cold_rounds is more than rounds" },
	{ "[scan]\nrounds = 20\n",
	  "file:2: [policy] min_cold_rounds is less than [scan] rounds: cold must be as well founded as hot; "
	  "min_cold_rounds = 10, the default; rounds = 20, line 2" },
	{ "[policy]\nunshare_hot_rounds = 11\n", "file:2: [policy] unshare_hot_rounds is more than [scan] rounds" },
	{ "[policy]\nmax_hot = 200\n", "file:2: [policy] unshare_hot_pages is not above max_hot" },
	{ "[fine]\nsamples = 100\n",
	  "file:2: [fine] samples times interval_ms is not less than max_window_ms: no time is left to bring mappings "
	  "back; samples = 100, line 2; interval_ms = 200, the default; max_window_ms = 3000, the default" },
	{ "[fine]\nsamples = 10\ninterval_ms = 300\n", "file:3: [fine] samples times interval_ms is not less than" },
	{ "[policy]\nhot_count = 6\n", "file:2: [policy] hot_count is more than [fine] samples" },
	{ "[merge]\nmax_page_sharing = 1\n", "file:2: [merge] max_page_sharing takes 0 or at least 2" },
	{ "[auto]\noff_available_percent = 10\n", "file:2: [auto] off_available_percent is not above" },
	{ "[auto]\non_psi = 1\n", "file:2: [auto] off_psi is not below on_psi" },
	{ "[scan]\nrest_min_s = 100\n", "file:2: [scan] rest_max_s is less than rest_min_s" },
};

START_TEST(test_service_config_bad)
{
	struct hs_config before;

	ck_assert_int_eq(parse("[scan]\nrounds = 10\n"), 0);
	before = cfg;
	ck_assert_int_eq(parse(bad[_i].text), -EINVAL);
	ck_assert_msg(strstr(err.text, bad[_i].names) != NULL, "%s", err.text);
	ck_assert_uint_eq(hs_config_diff(&before, &cfg, NULL, NULL), 0); /* as it was */
}
END_TEST

/* Whatever windows are allowed, the fine phase takes: --check-config may not praise what does not start. */
START_TEST(test_service_config_windows_are_taken)
{
	unsigned int nr_allowed = 0;

	for (uint32_t samples = 1; samples <= 255; samples++) {
		const uint32_t interval_ms = 3000 / samples;

		for (uint32_t more = 0; more < 2; more++) {
			struct hs_fine *fine;
			char text[100];

			(void)snprintf(text, sizeof(text),
				       "[fine]\nsamples = %u\ninterval_ms = %u\n[policy]\nhot_count = 1\n", samples,
				       interval_ms + more);
			if (parse(text))
				continue;
			nr_allowed++;
			ck_assert_msg(hs_fine_create(&fine, &cfg.pipeline.fine) == 0, "%s", text);
			hs_fine_destroy(fine);
		}
	}
	ck_assert_uint_gt(nr_allowed, 100);
}
END_TEST

START_TEST(test_service_config_not_text)
{
	char line[2000];

	ck_assert_int_eq(hs_config_parse(&cfg, "[scan]\n\0x", 9, "file", &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "zero byte"));
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	ck_assert_int_eq(parse(line), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "file:1: the line is longer"));
	ck_assert_int_eq(hs_config_load(&cfg, "/", &err), -EINVAL);
	ck_assert_int_eq(hs_config_load(&cfg, "/nonexistent/file", &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/file"));
}
END_TEST

/* As long as a value may be: it fits into a line when it is printed. */
START_TEST(test_service_config_longest_string)
{
	char text[256] = "[service]\nstate_dir = /", back[256];
	const size_t begin = strlen(text) - 1;

	memset(text + begin + 1, 'x', 159);
	ck_assert_msg(parse(text) == 0, "%s", err.text);
	ck_assert_uint_eq(strlen(cfg.state_dir), 160);
	text[begin + 160] = 'x';
	ck_assert_int_eq(parse(text), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "at most 160 characters"));
	(void)snprintf(back, sizeof(back), "history_resolution_s = %.160s", text + begin);
	ck_assert_uint_lt(strlen(back), 200);
}
END_TEST

/* Indented keys are keys; a comment may stand behind a section. */
START_TEST(test_service_config_indented)
{
	ck_assert_msg(parse("  [scan] ; why\n\trounds = 8 ; why\n\thot_rounds = 4\n   # comment\n\t\n") == 0, "%s",
		      err.text);
	ck_assert_uint_eq(cfg.pipeline.coarse.rounds, 8);
	ck_assert_uint_eq(cfg.pipeline.coarse.hot_rounds, 4);
}
END_TEST

/* What is printed reads back as the same; each key alone makes one difference that names it. */
START_TEST(test_service_config_prints_what_it_reads)
{
	char *text = NULL;
	size_t len;
	struct hs_config def;
	FILE *f = open_memstream(&text, &len);

	hs_config_defaults(&def);
	(void)snprintf(def.socket, sizeof(def.socket), "/tmp/s");
	def.pipeline.coarse.interval_ms = 77;
	def.pressure.on_psi_some_avg10 = 33.25;
	hs_config_print(f, &def, false);
	(void)fclose(f);
	ck_assert_msg(hs_config_parse(&cfg, text, len, "file", &err) == 0, "%s", err.text);
	ck_assert_uint_eq(hs_config_diff(&def, &cfg, NULL, NULL), 0);
	free(text);
	f = open_memstream(&text, &len);
	hs_config_print(f, &def, true); /* the example: all of it comments */
	(void)fclose(f);
	ck_assert_msg(hs_config_parse(&cfg, text, len, "file", &err) == 0, "%s", err.text);
	hs_config_defaults(&def);
	ck_assert_uint_eq(hs_config_diff(&def, &cfg, NULL, NULL), 0);
	free(text);
}
END_TEST

START_TEST(test_service_config_keeps_what_needs_a_restart)
{
	struct hs_config old;

	ck_assert_int_eq(parse("[service]\nsocket = /a\n"), 0);
	old = cfg;
	ck_assert_int_eq(parse("[service]\nsocket = /b\nmode = save\n"), 0);
	hs_config_keep_static(&cfg, &old);
	ck_assert_str_eq(cfg.socket, "/a");
	ck_assert_int_eq(cfg.mode, HS_MODE_SAVE);
}
END_TEST

START_TEST(test_service_text_mend)
{
	char whole[] = "gr\xc3\xbc\xc3\x9f", cut[] = "gr\xc3", odd[] = "\xff\xc0\xaf ok", cut3[] = "\xe2\x82";

	hs_text_mend(whole);
	ck_assert_str_eq(whole, "gr\xc3\xbc\xc3\x9f");
	hs_text_mend(cut);
	ck_assert_str_eq(cut, "gr?");
	hs_text_mend(odd);
	ck_assert_str_eq(odd, "??? ok");
	hs_text_mend(cut3);
	ck_assert_str_eq(cut3, "??");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/config");
	TCase *c = tcase_create("all");

	tcase_add_test(c, test_service_config_empty_is_the_default);
	tcase_add_test(c, test_service_config_values);
	tcase_add_test(c, test_service_config_rules);
	tcase_add_loop_test(c, test_service_config_bad, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(c, test_service_config_windows_are_taken);
	tcase_add_test(c, test_service_config_not_text);
	tcase_add_test(c, test_service_config_longest_string);
	tcase_add_test(c, test_service_config_indented);
	tcase_add_test(c, test_service_config_prints_what_it_reads);
	tcase_add_test(c, test_service_config_keeps_what_needs_a_restart);
	tcase_add_test(c, test_service_text_mend);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
