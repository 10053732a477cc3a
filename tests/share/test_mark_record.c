/* SPDX-License-Identifier: Apache-2.0 */
/* The record of marks: what is written comes back, what is damaged or about another process does not. */
#include "hs_test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/procstat.h"
#include "share/mark_record.h"

static char dir[64], path[128];
static struct hs_host host;
static struct hs_error err;

static void setup(void)
{
	host = HS_HOST_DEFAULT;
	(void)snprintf(dir, sizeof(dir), "/tmp/hs-marks-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	host.state_dir = dir;
	(void)snprintf(path, sizeof(path), "%s/marks-%d", dir, (int)getpid());
}

static void teardown(void)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static void put(const char *text)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static size_t get(char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	size_t n;

	ck_assert_ptr_nonnull(f);
	n = fread(buf, 1, size - 1, f);
	buf[n] = '\0';
	(void)fclose(f);
	return n;
}

/* Two ranges that are joined, one apart, two of whole huge pages. */
static void write_some(void)
{
	struct hs_mark_record r = { .pid = getpid() };

	ck_assert_int_eq(hs_mark_record_add(&r, 0x200000, 0x201000, HS_MARK_MERGEABLE), 0);
	ck_assert_int_eq(hs_mark_record_add(&r, 0x201000, 0x203000, HS_MARK_MERGEABLE), 0);
	ck_assert_int_eq(hs_mark_record_add(&r, 0x210000, 0x211000, HS_MARK_MERGEABLE), 0);
	ck_assert_int_eq(hs_mark_record_add(&r, 0x200000, 0x400000, HS_MARK_HUGEPAGE | HS_MARK_WHOLE_HUGE), 0);
	ck_assert_int_eq(hs_mark_record_add(&r, 0x400000, 0x600000, HS_MARK_PLAIN), 0);
	ck_assert_msg(hs_mark_record_write(&host, &r, &err) == 0, "%s", err.text);
	hs_mark_record_finish(&r);
}

START_TEST(test_share_mark_record_round_trip)
{
	struct hs_mark_record r;
	uint64_t stop;

	ck_assert_int_eq(hs_mark_record_read(&host, getpid(), &r, &err), 0);
	ck_assert_uint_eq(r.nr, 0);
	write_some();
	ck_assert_msg(hs_mark_record_read(&host, getpid(), &r, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(r.nr, 4);
	ck_assert_uint_eq(r.nr_mergeable, 2);
	ck_assert_uint_eq(r.ranges[0].end, 0x203000);
	ck_assert_uint_eq(r.ranges[2].kind, HS_MARK_HUGEPAGE | HS_MARK_WHOLE_HUGE);
	ck_assert_uint_eq(r.ranges[3].kind, HS_MARK_PLAIN);
	ck_assert(!hs_mark_record_holds(&r, 0x1000, 0x900000, &stop));
	ck_assert_uint_eq(stop, 0x200000);
	ck_assert(hs_mark_record_holds(&r, 0x200000, 0x900000, &stop));
	ck_assert_uint_eq(stop, 0x203000);
	ck_assert(hs_mark_record_holds(&r, 0x201000, 0x202000, &stop));
	ck_assert_uint_eq(stop, 0x202000);
	ck_assert(!hs_mark_record_holds(&r, 0x203000, 0x900000, &stop));
	ck_assert_uint_eq(stop, 0x210000);
	ck_assert(!hs_mark_record_holds(&r, 0x211000, 0x900000, &stop));
	ck_assert_uint_eq(stop, 0x900000);
	r.nr = 0;
	ck_assert_int_eq(hs_mark_record_write(&host, &r, &err), 0);
	ck_assert_int_ne(access(path, F_OK), 0);
	hs_mark_record_finish(&r);
	ck_assert_int_eq(hs_mark_record_read(&host, 4194303, &r, &err), -ESRCH);
	hs_mark_record_finish(&r);
}
END_TEST

/* A piece of a huge page of which the guest has unmapped the rest. */
START_TEST(test_share_mark_record_piece)
{
	struct hs_mark_record r = { .pid = getpid() };

	ck_assert_int_eq(hs_mark_record_add(&r, 0x200000, 0x300000, HS_MARK_PLAIN), 0);
	ck_assert_int_eq(hs_mark_record_add(&r, 0x301000, 0x400000, HS_MARK_HUGEPAGE), 0);
	ck_assert_msg(hs_mark_record_write(&host, &r, &err) == 0, "%s", err.text);
	hs_mark_record_finish(&r);
	ck_assert_msg(hs_mark_record_read(&host, getpid(), &r, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(r.nr, 2);
	ck_assert_uint_eq(r.ranges[0].end, 0x300000);
	hs_mark_record_finish(&r);
}
END_TEST

/* The process is gone, and another one has its number: nothing is written about that one, and nothing removed. */
START_TEST(test_share_mark_record_other_process)
{
	struct hs_mark_record r = { .pid = getpid(), .id.started = 1 }, now;

	ck_assert_int_eq(hs_mark_record_add(&r, 0x200000, 0x201000, HS_MARK_MERGEABLE), 0);
	ck_assert_int_eq(hs_mark_record_write(&host, &r, &err), -ESRCH);
	ck_assert_int_ne(access(path, F_OK), 0);
	write_some();
	ck_assert_int_eq(hs_mark_record_write(&host, &r, &err), -ESRCH);
	r.nr = 0;
	ck_assert_int_eq(hs_mark_record_write(&host, &r, &err), -ESRCH);
	ck_assert_int_eq(hs_mark_record_read(&host, getpid(), &now, &err), 0);
	ck_assert_uint_eq(now.nr, 4);
	hs_mark_record_finish(&now);
	hs_mark_record_finish(&r);
}
END_TEST

/* A process that runs another program by now has neither the marks nor the record of the one before, though it kept pid
 * and start time. */
START_TEST(test_share_mark_record_exec)
{
	struct hs_mark_record r = { 0 }, now;
	struct hs_process_id id;
	int go[2];
	pid_t pid;
	char c;

	ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(go[1]);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)!read(go[0], &c, 1);
		(void)execlp("sleep", "sleep", "1000", NULL);
		_exit(1);
	}
	ck_assert_int_gt(pid, 0);
	r = (struct hs_mark_record){ .pid = pid };
	ck_assert_int_eq(hs_process_id_read(&host, pid, &r.id), 0);
	ck_assert_uint_ne(r.id.program, 0);
	ck_assert_int_eq(hs_mark_record_add(&r, 0x200000, 0x201000, HS_MARK_MERGEABLE), 0);
	ck_assert_msg(hs_mark_record_write(&host, &r, &err) == 0, "%s", err.text);
	ck_assert_int_eq(hs_mark_record_read(&host, pid, &now, &err), 0);
	ck_assert_uint_eq(now.nr, 1);
	hs_mark_record_finish(&now);
	ck_assert_int_eq(close(go[1]), 0);
	do {
		(void)usleep(10000);
		ck_assert_int_eq(hs_process_id_read(&host, pid, &id), 0);
	} while (hs_process_id_same(&id, &r.id));
	ck_assert_int_eq(hs_mark_record_read(&host, pid, &now, &err), 0);
	ck_assert_uint_eq(now.nr, 0);
	hs_mark_record_finish(&now);
	ck_assert_int_eq(hs_mark_record_write(&host, &r, &err), -ESRCH);
	ck_assert_ptr_nonnull(strstr(err.text, "its memory"));
	hs_mark_record_finish(&r);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	(void)close(go[0]);
}
END_TEST

/* Cut at any byte it says nothing, and never less than what was written. */
START_TEST(test_share_mark_record_cut)
{
	char whole[4096], part[4096];
	struct hs_mark_record r;
	size_t n;

	write_some();
	n = get(whole, sizeof(whole));
	for (size_t cut = 0; cut < n; cut++) {
		memcpy(part, whole, cut);
		part[cut] = '\0';
		put(part);
		ck_assert_msg(hs_mark_record_read(&host, getpid(), &r, &err) == -EBADMSG, "cut at %zu", cut);
		ck_assert_uint_eq(r.nr, 0);
		ck_assert_ptr_nonnull(strstr(err.text, path));
		hs_mark_record_finish(&r);
	}
	put(whole);
	ck_assert_int_eq(hs_mark_record_read(&host, getpid(), &r, &err), 0);
	ck_assert_uint_eq(r.nr, 4);
	hs_mark_record_finish(&r);
}
END_TEST

static const struct {
	const char *from, *to; /* replaced in the file */
	int rc;                /* of reading it; 0: it is about another process, so it holds nothing */
} changes[] = {
	{ "hs-share marks 1", "hs-share marks 2", -EBADMSG },
	{ "200000 203000 m", "200000 203000 x", -EBADMSG },
	{ "200000 203000 m", "203000 200000 m", -EBADMSG },
	{ "200000 203000 m", "200000 203001 m", -EBADMSG },
	{ "200000 203000 m", "200000 212000 m", -EBADMSG }, /* over the next one */
	{ "200000 203000 m", "200000 203000 mp", -EBADMSG },
	{ "400000 600000 p", "400000 600000 ph", -EBADMSG },
	{ "200000 400000 hw", "200000 300000 hw", -EBADMSG },
	{ "end 4", "end 3", -EBADMSG },
	{ "end 4", "end 4\nend 4", -EBADMSG },
	{ " started ", " started 1", 0 },
	{ " boot ", " boot 0", 0 },
};

START_TEST(test_share_mark_record_changed)
{
	char text[4096], changed[8192], *at;
	struct hs_mark_record r;

	write_some();
	(void)get(text, sizeof(text));
	at = strstr(text, changes[_i].from);
	ck_assert_ptr_nonnull(at);
	(void)snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, changes[_i].to,
		       at + strlen(changes[_i].from));
	put(changed);
	ck_assert_int_eq(hs_mark_record_read(&host, getpid(), &r, &err), changes[_i].rc);
	ck_assert_uint_eq(r.nr, 0);
	hs_mark_record_finish(&r);
}
END_TEST

/* Records of the dead go, and what was written half; others stay. */
START_TEST(test_share_mark_record_clean)
{
	char other[128];

	write_some();
	(void)snprintf(other, sizeof(other), "%s/marks-4194303", dir);
	ck_assert_int_eq(link(path, other), 0);
	(void)snprintf(other, sizeof(other), "%s/marks-7.new", dir);
	ck_assert_int_eq(link(path, other), 0);
	hs_mark_record_clean(&host);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_ne(access(other, F_OK), 0);
	(void)snprintf(other, sizeof(other), "%s/marks-4194303", dir);
	ck_assert_int_ne(access(other, F_OK), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("share/mark_record");
	TCase *t = tcase_create("record");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_share_mark_record_round_trip);
	tcase_add_test(t, test_share_mark_record_piece);
	tcase_add_test(t, test_share_mark_record_other_process);
	tcase_add_test(t, test_share_mark_record_exec);
	tcase_add_test(t, test_share_mark_record_cut);
	tcase_add_loop_test(t, test_share_mark_record_changed, 0, (int)(sizeof(changes) / sizeof(changes[0])));
	tcase_add_test(t, test_share_mark_record_clean);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
