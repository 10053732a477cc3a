/* SPDX-License-Identifier: Apache-2.0 */
/* The table of guests: who is found by which name, what is counted, and who is due, with as many as a host may have. */
#include "hs_test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/daemon/daemon_internal.h"

#define NR 5000

static struct hs_daemon d;
static char dir[] = "/tmp/hs-test-guests-XXXXXX";

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	d = (struct hs_daemon){ .host = HS_HOST_DEFAULT };
	d.host.state_dir = dir;
	ck_assert_int_ge(sd_event_new(&d.loop), 0);
	ck_assert_int_ge(sd_event_add_defer(d.loop, &d.reconcile, NULL, NULL), 0);
}

static void teardown(void)
{
	hs_daemon_free_guests(&d);
	ck_assert_ptr_null(d.due);
	ck_assert_uint_eq(d.counts.nr_known + d.counts.nr_opted_in + d.counts.nr_running + d.nr_undo, 0);
	sd_event_source_unref(d.reconcile);
	sd_event_unref(d.loop);
	(void)rmdir(dir);
}

static struct hs_daemon_guest *domain(unsigned int i)
{
	char id[32], uuid[40];
	struct hs_daemon_guest *g;

	(void)snprintf(id, sizeof(id), "vm%u", i);
	(void)snprintf(uuid, sizeof(uuid), "00000000-0000-0000-0000-%012u", i);
	g = hs_daemon_guest_new(&d, HS_SOURCE_LIBVIRT, id);
	ck_assert_ptr_nonnull(g);
	ck_assert_int_eq(hs_daemon_guest_set_uuid(g, uuid), 0);
	return g;
}

static pid_t process(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid)
		for (;;)
			(void)pause();
	return pid;
}

static void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

START_TEST(test_service_guests_are_found)
{
	struct hs_daemon_guest *of[NR];
	char name[64];

	for (unsigned int i = 0; i < NR; i++)
		of[i] = domain(i);
	for (unsigned int i = 0; i < NR; i++) {
		ck_assert_ptr_eq(hs_daemon_find(&d, of[i]->id), of[i]);
		ck_assert_ptr_eq(hs_daemon_find(&d, of[i]->uuid), of[i]);
	}
	ck_assert_ptr_null(hs_daemon_find(&d, "vm5000"));
	ck_assert_uint_eq(d.counts.nr_known, NR);
	/* Another name, the same UUID. */
	hs_daemon_guest_rename(of[7], "other");
	ck_assert_ptr_null(hs_daemon_find(&d, "vm7"));
	ck_assert_ptr_eq(hs_daemon_find_id(&d, "other"), of[7]);
	ck_assert_ptr_eq(hs_daemon_find(&d, of[7]->uuid), of[7]);
	ck_assert_ptr_null(hs_daemon_find_id(&d, of[7]->uuid));
	/* Its name may be another's while it is being forgotten. */
	(void)snprintf(name, sizeof(name), "%s", of[8]->uuid);
	of[8]->jobs = 1;
	hs_daemon_guest_forget(of[8]);
	ck_assert_ptr_null(hs_daemon_find(&d, "vm8"));
	ck_assert_ptr_null(hs_daemon_find(&d, name));
	ck_assert_uint_eq(d.counts.nr_known, NR - 1);
	ck_assert_ptr_ne(domain(8), of[8]);
	ck_assert_ptr_ne(hs_daemon_find(&d, "vm8"), of[8]);
	of[8]->jobs = 0;
}
END_TEST

START_TEST(test_service_guests_by_process)
{
	const pid_t one = process(), two = process();
	struct hs_daemon_guest *g, *same, *vm = domain(1);
	struct hs_error err = { "" };
	char name[32];

	(void)snprintf(name, sizeof(name), "pid-%d", (int)one);
	ck_assert_msg(hs_daemon_guest_pid(&d, one, &g, &err) == 0, "%s", err.text);
	ck_assert_int_eq(hs_daemon_guest_pid(&d, one, &same, &err), 0);
	ck_assert_ptr_eq(g, same);
	ck_assert_ptr_eq(hs_daemon_find(&d, name), g);
	/* A domain's process names the domain, and the next one of it no more. */
	ck_assert_int_eq(hs_daemon_guest_set_pid(vm, two), 0);
	(void)snprintf(name, sizeof(name), "pid-%d", (int)two);
	ck_assert_ptr_eq(hs_daemon_find(&d, name), vm);
	ck_assert_uint_eq(d.counts.nr_running, 2);
	ck_assert_int_eq(hs_daemon_guest_set_pid(vm, 0), 0);
	ck_assert_ptr_null(hs_daemon_find(&d, name));
	ck_assert_uint_eq(d.counts.nr_running, 1);
	end(one);
	end(two);
	ck_assert_int_eq(hs_daemon_guest_set_pid(vm, two), -ESRCH);
	ck_assert_ptr_null(hs_daemon_find_pid(&d, two));
}
END_TEST

START_TEST(test_service_guests_are_counted)
{
	struct hs_daemon_guest *g = domain(1), *other = domain(2);

	g->in_metadata.on = true;
	hs_daemon_settle_opt_in(g);
	ck_assert_uint_eq(d.counts.nr_opted_in, 1);
	(void)snprintf(g->undo_text, sizeof(g->undo_text), "it is held");
	hs_daemon_guest_due(g);
	hs_daemon_guest_due(g);
	hs_daemon_guest_due(other);
	ck_assert_uint_eq(d.nr_undo, 1);
	ck_assert_ptr_eq(d.due, g);
	ck_assert_ptr_eq(g->due_next, other);
	ck_assert_ptr_null(other->due_next);
	hs_daemon_guest_free(g);
	ck_assert_ptr_eq(d.due, other);
	ck_assert_uint_eq(d.counts.nr_opted_in + d.nr_undo, 0);
	ck_assert_uint_eq(d.counts.nr_known, 1);
}
END_TEST

/* What a request for one process stores does not grow with the others, and goes with it. */
START_TEST(test_service_guests_record)
{
	const pid_t pid = process();
	struct hs_daemon_guest *g;
	struct hs_error err = { "" };
	char path[128];

	ck_assert_msg(hs_daemon_guest_pid(&d, pid, &g, &err) == 0, "%s", err.text);
	(void)snprintf(path, sizeof(path), "%s/opt-ins/opt-in-%d", dir, (int)pid);
	g->by_request.on = true;
	ck_assert_int_eq(hs_daemon_record_opt_in(g), 0);
	ck_assert_int_eq(access(path, F_OK), 0);
	hs_daemon_settle_opt_in(g);
	hs_daemon_free_guests(&d);
	/* As the next life finds it. */
	hs_daemon_load_opt_ins(&d);
	g = hs_daemon_find_pid(&d, pid);
	ck_assert(g && g->opt_in.on);
	end(pid);
	ck_assert_int_eq(hs_daemon_guest_set_pid(g, 0), 0);
	ck_assert(!g->opt_in.on && !g->by_request.on);
	ck_assert_int_eq(access(path, F_OK), -1);
	(void)snprintf(path, sizeof(path), "%s/opt-ins", dir);
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* A record that cannot be read, or understood, may say that the process is to stay out: it does, until it has ended. */
START_TEST(test_service_guests_record_unreadable)
{
	static const char *const texts[] = { "{\"pid\": ", "[]", "{\"pid\": 1}" };
	const pid_t pid = process();
	struct hs_daemon_guest *g;
	struct hs_error err = { "" };
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/opt-ins/opt-in-%d", dir, (int)pid);
	ck_assert_msg(hs_daemon_guest_pid(&d, pid, &g, &err) == 0, "%s", err.text);
	g->out_by_request = true;
	ck_assert_int_eq(hs_daemon_record_opt_in(g), 0);
	for (size_t i = 0; i <= sizeof(texts) / sizeof(texts[0]); i++) {
		hs_daemon_free_guests(&d);
		hs_daemon_load_opt_ins(&d);
		g = hs_daemon_find_pid(&d, pid);
		ck_assert_msg(g && g->out_by_request, "before text %zu", i);
		g->of_process.found = g->of_process.opt_in.on = true; /* by a rule */
		hs_daemon_settle_opt_in(g);
		ck_assert(!g->opt_in.on);
		ck_assert_int_eq(access(path, F_OK), 0);
		if (i == sizeof(texts) / sizeof(texts[0]))
			break;
		f = fopen(path, "we");
		ck_assert(f && fputs(texts[i], f) >= 0 && !fclose(f));
	}
	end(pid);
	hs_daemon_free_guests(&d);
	hs_daemon_load_opt_ins(&d);
	ck_assert_ptr_null(hs_daemon_find_pid(&d, pid));
	ck_assert_int_eq(access(path, F_OK), -1);
	(void)snprintf(path, sizeof(path), "%s/opt-ins", dir);
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* No record, or boot, can be looked at: who is to stay out is not known, so everybody does who was not opted in. */
START_TEST(test_service_guests_records_unreachable)
{
	const struct hs_daemon_guest g = { .daemon = &d, .source = HS_SOURCE_PID, .id = "pid 7" };
	char path[128], boot[160];

	hs_daemon_load_opt_ins(&d); /* no folder: nobody was asked */
	ck_assert(!hs_daemon_is_out(&d, &g));
	(void)snprintf(path, sizeof(path), "%s/opt-ins", dir);
	ck_assert_int_eq(mknod(path, S_IFREG | 0600, 0), 0);
	hs_daemon_load_opt_ins(&d);
	ck_assert(hs_daemon_is_out(&d, &g));
	ck_assert_int_eq(unlink(path), 0);
	d.outs_unknown = false;
	d.host.proc_dir = dir;
	(void)snprintf(boot, sizeof(boot), "mkdir -p %s/sys/kernel/random/boot_id", dir);
	ck_assert_int_eq(system(boot), 0);
	hs_daemon_load_opt_ins(&d);
	ck_assert(hs_daemon_is_out(&d, &g));
	(void)snprintf(boot, sizeof(boot), "rm -r %s/sys", dir);
	ck_assert_int_eq(system(boot), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/guests");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_service_guests_are_found);
	tcase_add_test(c, test_service_guests_by_process);
	tcase_add_test(c, test_service_guests_are_counted);
	tcase_add_test(c, test_service_guests_record);
	tcase_add_test(c, test_service_guests_record_unreadable);
	tcase_add_test(c, test_service_guests_records_unreachable);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
