/* SPDX-License-Identifier: Apache-2.0 */
/* Our element in a domain's metadata, obstacles in its XML, and libvirt's thread against libvirt's own test driver. */
#include "hs_test.h"

#include <dlfcn.h>
#include <errno.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "service/virt/virt_internal.h"

static struct hs_error err;

static const struct {
	const char *xml;
	int rc;
	bool on;
	const char *group; /* or what the error names */
	uint64_t max;
} elements[] = {
	{ "<share/>", 0, true, "default", 0 },
	{ "<share mode='on' group='web' max-shared='512M'/>", 0, true, "web", UINT64_C(512) << 20 },
	{ "<hs:share xmlns:hs='" HS_VIRT_NAMESPACE "' mode='off'/>", 0, false, "default", 0 },
	{ "<share><!-- why --></share>", 0, true, "default", 0 },
	{ "<share mode='maybe'/>", -EINVAL, false, "mode=\"maybe\"", 0 },
	{ "<share group=''/>", -EINVAL, false, "group=\"\"", 0 },
	{ "<share group='a b'/>", -EINVAL, false, "group=\"a b\"", 0 },
	{ "<share share='all'/>", -EINVAL, false, "share=\"all\": it takes group, guest or zero", 0 },
	{ "<share max-shared='-5'/>", -EINVAL, false, "max-shared=\"-5\"", 0 },
	{ "<share colour='red'/>", -EINVAL, false, "no attribute colour", 0 },
	{ "<other/>", -EINVAL, false, "<other>", 0 },
	{ "<x:share xmlns:x='http://else'/>", -EINVAL, false, "another namespace", 0 },
	{ "<share>text</share>", -EINVAL, false, "has to be empty", 0 },
	{ "<share", -EINVAL, false, "no well-formed XML", 0 },
	{ "", -EINVAL, false, "no well-formed XML", 0 },
	{ "<!DOCTYPE share [<!ENTITY e 'web'>]><share group='&e;'/>", -EINVAL, false, "document type", 0 },
	{ "<!DOCTYPE share SYSTEM 'file:///etc/passwd'><share/>", -EINVAL, false, "document type", 0 },
};

START_TEST(test_service_virt_parse)
{
	struct hs_opt_in w = { .group = "untouched" };
	int rc = hs_virt_parse_metadata(elements[_i].xml, strlen(elements[_i].xml), &w, &err);

	ck_assert_int_eq(rc, elements[_i].rc);
	if (rc) {
		ck_assert_msg(strstr(err.text, elements[_i].group) != NULL, "%s", err.text);
		ck_assert_str_eq(w.group, "untouched");
		return;
	}
	ck_assert(w.on == elements[_i].on);
	ck_assert_str_eq(w.group, elements[_i].group);
	ck_assert_uint_eq(w.max_shared_bytes, elements[_i].max);
}
END_TEST

START_TEST(test_service_virt_format_reads_back)
{
	const struct hs_opt_in opt_in = {
		.on = true, .group = "db.prod-1_x", .max_shared_bytes = 4097, .scope = (uint8_t)_i
	};
	struct hs_opt_in back;
	char xml[512];

	ck_assert_int_eq(hs_virt_format_metadata(&opt_in, xml, sizeof(xml)), 0);
	ck_assert_int_eq(hs_virt_parse_metadata(xml, strlen(xml), &back, &err), 0);
	ck_assert_int_eq(memcmp(&opt_in.group, &back.group, strlen(opt_in.group) + 1), 0);
	ck_assert(back.on);
	ck_assert_uint_eq(back.max_shared_bytes, 4097);
	ck_assert_uint_eq(back.scope, (uint8_t)_i);
	ck_assert_int_eq(hs_virt_format_metadata(&opt_in, xml, 10), -ENOBUFS);
}
END_TEST

static const struct {
	const char *inside;
	enum hs_reason reason;
} domains[] = {
	{ "", HS_REASON_NONE },
	{ "<memoryBacking><nosharepages/></memoryBacking>", HS_REASON_NOSHAREPAGES },
	{ "<memoryBacking><hugepages/></memoryBacking>", HS_REASON_HUGETLBFS },
	{ "<memoryBacking><source type='memfd'/></memoryBacking>", HS_REASON_SHARED_MEMORY },
	{ "<memoryBacking><source type='anonymous'/></memoryBacking>", HS_REASON_NONE },
	{ "<memoryBacking><access mode='shared'/></memoryBacking>", HS_REASON_SHARED_MEMORY },
	{ "<cpu><numa><cell id='0' memAccess='shared'/></numa></cpu>", HS_REASON_SHARED_MEMORY },
	{ "<devices><hostdev mode='subsystem' type='pci'/></devices>", HS_REASON_PASSTHROUGH },
	{ "<devices><hostdev mode='subsystem' type='usb'/></devices>", HS_REASON_NONE },
	{ "<devices><interface type='hostdev'/></devices>", HS_REASON_PASSTHROUGH },
	{ "<devices><interface type='vdpa'/></devices>", HS_REASON_PASSTHROUGH },
};

START_TEST(test_service_virt_obstacles)
{
	struct hs_obstacle found;
	char xml[512];

	(void)snprintf(xml, sizeof(xml), "<domain type='kvm'><name>x</name>%s</domain>", domains[_i].inside);
	hs_virt_obstacle(xml, &found);
	ck_assert_int_eq(found.reason, domains[_i].reason);
	ck_assert_int_eq(found.text[0] != '\0', domains[_i].reason != HS_REASON_NONE);
}
END_TEST

/* ---- the test driver ---- */

/* libvirt's own, but for so many calls that fail as they do when the connection breaks: for another reason than that
 * there is no element. */
static int nr_metadata_fails;

char *virDomainGetMetadata(virDomainPtr domain, int type, const char *uri, unsigned int flags)
{
	char *(*own)(virDomainPtr, int, const char *, unsigned int) = NULL;
	const int no_type = 99;

	*(void **)&own = dlsym(RTLD_NEXT, "virDomainGetMetadata");
	if (nr_metadata_fails <= 0)
		return own(domain, type, uri, flags);
	nr_metadata_fails--;
	return own(domain, no_type, uri, flags);
}

static struct {
	sd_event *loop;
	struct hs_virt *v;
	struct hs_virt_domain last;
	unsigned int nr_domains, nr_gone, nr_done;
	unsigned int nr_off; /* domains reported that are not opted in */
	bool up;
	int rc;
	char text[512];
} t;

static void on_domain(void *ctx, const struct hs_virt_domain *d)
{
	(void)ctx;
	t.last = *d;
	t.nr_domains++;
	t.nr_off += !d->opt_in.on;
}

static void on_gone(void *ctx, const char *uuid)
{
	(void)ctx;
	(void)uuid;
	t.nr_gone++;
}

static void on_connection(void *ctx, bool up, const char *text)
{
	(void)ctx;
	t.up = up;
	(void)snprintf(t.text, sizeof(t.text), "%s", text);
}

static void on_done(void *arg, int rc, const char *text)
{
	(void)arg;
	t.rc = rc;
	t.nr_done++;
	(void)snprintf(t.text, sizeof(t.text), "%s", text);
}

static void start(const char *uri)
{
	const struct hs_virt_config cfg = {
		.uri = uri, .pid_dir = "/nonexistent", .host = HS_HOST_DEFAULT, .answer_ms = 1000, .reconnect_ms = 100
	};
	const struct hs_virt_callbacks cb = { NULL, on_domain, on_gone, on_connection };

	memset(&t, 0, sizeof(t));
	ck_assert_int_ge(sd_event_new(&t.loop), 0);
	ck_assert_msg(hs_virt_start(&t.v, &cfg, t.loop, &cb, &err) == 0, "%s", err.text);
}

/* Runs the loop until the condition holds; ten seconds are a failure. */
#define UNTIL(condition)                                                                                               \
	do {                                                                                                           \
		int tries_ = 0;                                                                                        \
		while (!(condition)) {                                                                                 \
			ck_assert_msg(tries_++ < 100, "waited too long for: %s (last: %s)", #condition, t.text);       \
			(void)sd_event_run(t.loop, 100000);                                                            \
		}                                                                                                      \
	} while (0)

static void stop(void)
{
	hs_virt_stop(t.v);
	sd_event_unref(t.loop);
}

START_TEST(test_service_virt_test_driver)
{
	const struct hs_opt_in_change on = { .on = true,
					     .has_group = true,
					     .has_max_shared = true,
					     .group = "web",
					     .max_shared_bytes = 1 << 20 },
				      off = { .on = false };

	start("test:///default");
	UNTIL(t.up);
	ck_assert_uint_eq(t.nr_domains, 1); /* the driver's one domain is reported before the connection is */
	ck_assert_str_eq(t.last.name, "test");
	ck_assert(t.last.running && !t.last.opt_in.on);
	ck_assert_int_eq(t.last.obstacle.reason, HS_REASON_NO_PROCESS); /* the driver has none, and none is guessed */
	ck_assert_int_eq(t.last.pid, 0);

	hs_virt_set_opt_in(t.v, "test", &on, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 1);
	ck_assert_msg(t.rc == 0, "%s", t.text);
	UNTIL(t.last.opt_in.on);
	ck_assert_str_eq(t.last.opt_in.group, "web");
	ck_assert_uint_eq(t.last.opt_in.max_shared_bytes, 1 << 20);

	hs_virt_set_opt_in(t.v, t.last.uuid, &off, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 2);
	ck_assert_msg(t.rc == 0, "%s", t.text);
	UNTIL(!t.last.opt_in.on);

	hs_virt_set_opt_in(t.v, "nobody", &on, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 3);
	ck_assert_int_eq(t.rc, -ENOENT);
	ck_assert_ptr_nonnull(strstr(t.text, "nobody"));
	stop();
}
END_TEST

/* A request changes what it names and nothing else, whether the one before was answered or not. */
START_TEST(test_service_virt_changes_what_is_named)
{
	const struct hs_opt_in_change group = { .on = true, .has_group = true, .group = "web" },
				      limit = { .on = true, .has_max_shared = true, .max_shared_bytes = 4096 },
				      none = { .on = true, .has_max_shared = true }, nothing = { .on = true },
				      scope = { .on = true, .has_scope = true, .scope = HS_SCOPE_ZERO },
				      two = { .on = true, .has_group = true, .has_max_shared = true, .group = "db" };

	start("test:///default");
	UNTIL(t.up);
	hs_virt_set_opt_in(t.v, "test", &group, (struct hs_done){ on_done, NULL });
	hs_virt_set_opt_in(t.v, "test", &limit, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 2 && t.last.opt_in.max_shared_bytes == 4096);
	ck_assert_str_eq(t.last.opt_in.group, "web");
	hs_virt_set_opt_in(t.v, "test", &nothing, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 3);
	ck_assert_uint_eq(t.last.opt_in.max_shared_bytes, 4096);
	ck_assert_str_eq(t.last.opt_in.group, "web");
	hs_virt_set_opt_in(t.v, "test", &none, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 4 && !t.last.opt_in.max_shared_bytes);
	ck_assert_str_eq(t.last.opt_in.group, "web");
	hs_virt_set_opt_in(t.v, "test", &scope, (struct hs_done){ on_done, NULL });
	hs_virt_set_opt_in(t.v, "test", &two, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 6 && strcmp(t.last.opt_in.group, "db") == 0);
	ck_assert_uint_eq(t.last.opt_in.scope, HS_SCOPE_ZERO);
	/* What holds cannot be read: then it is not written over. */
	nr_metadata_fails = 1000; /* the look after a change may come between */
	hs_virt_set_opt_in(t.v, "test", &limit, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 7);
	ck_assert_int_eq(t.rc, -EIO);
	ck_assert_ptr_nonnull(strstr(t.text, "nothing was changed"));
	nr_metadata_fails = 0;
	stop();
}
END_TEST

/* A rule opts a domain in, unless its own element says otherwise; a change of the rules is noticed. */
START_TEST(test_service_virt_rules)
{
	const struct hs_opt_in_change out = { .on = false, .stay_off = true }, off = { .on = false };
	static struct hs_rule_texts texts;
	struct hs_rules *rules;
	int line;

	ck_assert_int_eq(hs_rule_begin(&texts, "r", 1, &err), 0);
	ck_assert_int_eq(hs_rule_set(&texts, "r", "source", "libvirt", 2, &err), 0);
	ck_assert_int_eq(hs_rule_set(&texts, "r", "domain", "te(s)t", 3, &err), 0);
	ck_assert_int_eq(hs_rule_set(&texts, "r", "group", "g-{domain.1}", 4, &err), 0);
	ck_assert_msg(hs_rules_compile(&rules, &texts, &line, &err) == 0, "%s", err.text);
	start("test:///default");
	UNTIL(t.up);
	ck_assert(!t.last.rule.found && !t.last.has_element);
	hs_virt_set_rules(t.v, rules);
	hs_rules_unref(rules);
	UNTIL(t.last.rule.found);
	ck_assert_str_eq(t.last.rule.opt_in.group, "g-s");
	ck_assert(t.last.rule.opt_in.on && !t.last.has_element);
	/* To stay out is written down, and is more than to have no element. */
	hs_virt_set_opt_in(t.v, "test", &out, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 1 && t.last.has_element);
	ck_assert(!t.last.opt_in.on);
	hs_virt_set_opt_in(t.v, "test", &off, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 2 && !t.last.has_element);
	hs_virt_set_rules(t.v, NULL);
	UNTIL(!t.last.rule.found);
	stop();
}
END_TEST

/* A domain that is opted in, and cannot be read for a moment, is not reported as opted out. */
START_TEST(test_service_virt_read_fails)
{
	const struct hs_opt_in_change on = { .on = true,
					     .has_group = true,
					     .has_max_shared = true,
					     .has_scope = true,
					     .group = "web",
					     .max_shared_bytes = 0 },
				      other = { .on = true,
						.has_group = true,
						.has_max_shared = true,
						.has_scope = true,
						.group = "db",
						.max_shared_bytes = 0 };

	start("test:///default");
	UNTIL(t.up);
	hs_virt_set_opt_in(t.v, "test", &on, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 1 && t.last.opt_in.on);
	t.nr_off = 0;
	nr_metadata_fails = 5; /* more than libvirt's own event of the change makes up for */
	hs_virt_set_opt_in(t.v, "test", &other, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 2);
	ck_assert_msg(t.rc == 0, "%s", t.text);
	UNTIL(strcmp(t.last.opt_in.group, "db") == 0);
	ck_assert_int_eq(nr_metadata_fails, 0);
	ck_assert_uint_eq(t.nr_off, 0);
	stop();
}
END_TEST

START_TEST(test_service_virt_no_libvirtd)
{
	const struct hs_opt_in_change on = {
		.on = true, .has_group = true, .has_max_shared = true, .group = "web", .max_shared_bytes = 0
	};

	start("qemu:///system?socket=/nonexistent/socket");
	UNTIL(t.text[0]);
	ck_assert(!t.up);
	ck_assert_ptr_nonnull(strstr(t.text, "trying again"));
	hs_virt_set_opt_in(t.v, "test", &on, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 1);
	ck_assert_int_eq(t.rc, -ENOTCONN);
	/* One that is still pending at the end is answered. */
	hs_virt_set_opt_in(t.v, "test", &on, (struct hs_done){ on_done, NULL });
	stop();
	ck_assert_uint_eq(t.nr_done, 2);
}
END_TEST

/* A libvirtd that takes the connection and never says a word: virConnectOpen has no limit of time. */
START_TEST(test_service_virt_hangs)
{
	const struct hs_opt_in_change on = {
		.on = true, .has_group = true, .has_max_shared = true, .group = "web", .max_shared_bytes = 0
	};
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/hs-virt-XXXXXX", uri[256];
	struct timespec begin, end;
	const struct hs_virt_config cfg = {
		.uri = "test:///default", .pid_dir = "", .host = HS_HOST_DEFAULT, .answer_ms = 1000, .reconnect_ms = 100
	};
	const struct hs_virt_callbacks cb = { NULL, on_domain, on_gone, on_connection };
	struct hs_virt *other;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	(void)snprintf(uri, sizeof(uri), "qemu+unix:///system?socket=%s", addr.sun_path);
	start(uri);
	/* Another connection is not held up. */
	ck_assert_msg(hs_virt_start(&other, &cfg, t.loop, &cb, &err) == 0, "%s", err.text);
	UNTIL(t.up && t.nr_domains == 1);
	hs_virt_stop(other);
	hs_virt_set_opt_in(t.v, "test", &on, (struct hs_done){ on_done, NULL });
	UNTIL(t.nr_done == 1);
	ck_assert_int_eq(t.rc, -ETIMEDOUT);
	ck_assert_ptr_nonnull(strstr(t.text, "nothing was changed"));
	nr_metadata_fails = 0;
	/* Two are pending at the end: both are answered, and the end does not wait for the call. */
	hs_virt_set_opt_in(t.v, "test", &on, (struct hs_done){ on_done, NULL });
	hs_virt_set_opt_in(t.v, "test", &on, (struct hs_done){ on_done, NULL });
	(void)clock_gettime(CLOCK_MONOTONIC, &begin);
	stop();
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	ck_assert_uint_eq(t.nr_done, 3);
	ck_assert_int_eq(t.rc, -ECANCELED);
	ck_assert_ptr_nonnull(strstr(t.text, "libvirt does not answer"));
	ck_assert_int_lt(end.tv_sec - begin.tv_sec, 20);
	(void)close(fd);
	(void)unlink(addr.sun_path);
	(void)rmdir(dir);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/virt");
	TCase *c = tcase_create("all");

	tcase_add_loop_test(c, test_service_virt_parse, 0, sizeof(elements) / sizeof(elements[0]));
	tcase_add_loop_test(c, test_service_virt_format_reads_back, 0, HS_SCOPE_COUNT);
	tcase_add_loop_test(c, test_service_virt_obstacles, 0, sizeof(domains) / sizeof(domains[0]));
	tcase_add_test(c, test_service_virt_test_driver);
	tcase_add_test(c, test_service_virt_changes_what_is_named);
	tcase_add_test(c, test_service_virt_rules);
	tcase_add_test(c, test_service_virt_read_fails);
	tcase_add_test(c, test_service_virt_no_libvirtd);
	tcase_add_test(c, test_service_virt_hangs);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
