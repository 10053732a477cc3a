/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's endpoint as its clients meet it: what the port refuses, and how soon it answers while others are slow,
 * many and wrong. The daemon is the real one, in mode off, without guests: KSM is not touched.
 */
#include "hs_test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw_client.h"

#define TOO_MANY 100 /* above the daemon's limit of 64 a listener */
#define ASKED    300

static char dir[64], sock[128], conf[128], answer[65536];
static uint16_t port;
static pid_t daemon_pid;
static const char *more_conf = "";
static rlim_t max_descriptors; /* of the daemon; 0: as they are */

/* A port that nobody has now; the address tells the family. */
static uint16_t free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	(void)close(fd);
	return ntohs(a.sin_port);
}

static void write_conf(const char *address, const char *libvirt_uri)
{
	FILE *f = fopen(conf, "we");

	ck_assert_ptr_nonnull(f);
	(void)fprintf(f,
		      "[service]\nmode = off\nsocket = %s\nstate_dir = %s/state\ntcp_address = %s\ntcp_port = %u\n"
		      "log_level = error\n[libvirt]\nuri = %s\n%s",
		      sock, dir, address, port, libvirt_uri, more_conf);
	ck_assert_int_eq(fclose(f), 0);
}

static pid_t launch(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (max_descriptors)
		(void)setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, max_descriptors });
	(void)execl(HS_SHARED, HS_SHARED, "-c", conf, NULL);
	_exit(127);
}

static void make_dir(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/hs-endpoint-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(sock, sizeof(sock), "%s/s", dir);
	(void)snprintf(conf, sizeof(conf), "%s/conf", dir);
	port = free_port();
}

static void start_at(const char *address, const char *libvirt_uri)
{
	write_conf(address, libvirt_uri);
	daemon_pid = launch();
	for (int i = 0; i < 1000; i++) {
		int fd = hs_raw_unix(sock), status = 0;

		if (fd >= 0) {
			/* An answer: its loop runs, so it listens on the port as well. */
			status = hs_raw_status(fd, "GET /v1/mode HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
			(void)close(fd);
		}
		if (status == 200)
			return;
		(void)usleep(10000);
	}
	ck_abort_msg("the daemon does not answer");
}

static void start(void)
{
	make_dir();
	start_at("127.0.0.1", "");
}

static void remove_dir(void)
{
	static const char *const left[] = {
		"state/hs-shared.lock", "state/ksm.lock", "state/opt-ins", "state", "conf", ""
	};
	char path[256];

	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, left[i]);
		(void)remove(path);
	}
	ck_assert_int_eq(access(dir, F_OK), -1); /* and nothing else */
}

static void stop(void)
{
	int status;

	(void)kill(daemon_pid, SIGTERM);
	ck_assert_int_eq(waitpid(daemon_pid, &status, 0), daemon_pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned int)status);
	remove_dir();
}

static int ask(int fd, const char *request)
{
	int status;

	ck_assert_msg(fd >= 0, "%s", strerror(errno));
	status = hs_raw_status(fd, request, answer, sizeof(answer));
	(void)close(fd);
	return status;
}

static int ask_port(const char *method, const char *path, const char *host, const char *body)
{
	char request[1024];

	(void)snprintf(request, sizeof(request),
		       "%s %s HTTP/1.1\r\n%s%s%sContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		       method, path, host ? "Host: " : "", host ? host : "", host ? "\r\n" : "", strlen(body), body);
	return ask(hs_raw_tcp("127.0.0.1", port), request);
}

/* ---- the port ---- */

START_TEST(test_service_endpoint_port_reads_only)
{
	static const char *const changes[][3] = {
		{ "PUT", "/v1/mode", "{\"mode\":\"observe\"}" },
		{ "POST", "/v1/reload", "" },
		{ "POST", "/v1/unshare", "" },
		{ "POST", "/v1/guests/pid-1/unshare", "" },
		{ "PUT", "/v1/guests/pid-1/opt-in", "{}" },
		{ "DELETE", "/v1/guests/pid-1/opt-in", "" },
	};
	static const char *const reads[] = { "/metrics",    "/v1/status", "/v1/guests",  "/v1/history",
					     "/v1/history", "/v1/report", "/v1/diagnose" };

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		ck_assert_msg(ask_port(changes[i][0], changes[i][1], "localhost", changes[i][2]) == 403, "%s", answer);
		ck_assert_ptr_nonnull(strstr(answer, "\"read-only\""));
	}
	for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
		ck_assert_msg(ask_port("GET", reads[i], "localhost", "") == 200, "%s: %s", reads[i], answer);
	ck_assert_int_eq(ask_port("GET", "/v1/mode", "localhost", ""), 200);
	ck_assert_ptr_nonnull(strstr(answer, "\"mode\":\"off\"")); /* still */
}
END_TEST

/* ---- opting in ---- */

/* A process that waits to be a guest. */
static pid_t start_waiting(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		(void)pause();
}

static void opt_in(pid_t pid, const char *body, const char *holds)
{
	char request[512];

	(void)snprintf(request, sizeof(request),
		       "PUT /v1/guests/pid-%d/opt-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
		       "Content-Length: %zu\r\n\r\n%s",
		       (int)pid, strlen(body), body);
	ck_assert_msg(ask(hs_raw_unix(sock), request) == 200, "%s", answer);
	(void)snprintf(request, sizeof(request), "GET /v1/guests/pid-%d HTTP/1.1\r\nHost: x\r\n\r\n", (int)pid);
	ck_assert_msg(ask(hs_raw_unix(sock), request) == 200, "%s", answer);
	ck_assert_msg(strstr(answer, holds) != NULL, "%s: %s", body, answer);
}

/* A request changes what it names, and nothing else: above all not the trust group. */
START_TEST(test_service_endpoint_opt_in_changes_what_is_named)
{
	const pid_t pid = start_waiting();

	opt_in(pid, "{}", "\"group\":\"default\",\"max_shared_bytes\":0");
	opt_in(pid, "{\"group\":\"tenant-a\"}", "\"group\":\"tenant-a\",\"max_shared_bytes\":0");
	opt_in(pid, "{\"max_shared_bytes\":4096}", "\"group\":\"tenant-a\",\"max_shared_bytes\":4096");
	opt_in(pid, "{\"group\":\"tenant-b\"}", "\"group\":\"tenant-b\",\"max_shared_bytes\":4096");
	opt_in(pid, "{}", "\"group\":\"tenant-b\",\"max_shared_bytes\":4096");
	opt_in(pid, "{\"max_shared_bytes\":0}", "\"group\":\"tenant-b\",\"max_shared_bytes\":0,\"share\":\"group\"");
	opt_in(pid, "{\"share\":\"guest\"}", "\"group\":\"tenant-b\",\"max_shared_bytes\":0,\"share\":\"guest\"");
	opt_in(pid, "{\"group\":\"tenant-c\"}", "\"group\":\"tenant-c\",\"max_shared_bytes\":0,\"share\":\"guest\"");
	opt_in(pid, "{\"share\":\"group\"}", "\"group\":\"tenant-c\",\"max_shared_bytes\":0,\"share\":\"group\"");
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}
END_TEST

/* The soft limit is raised; at the hard one guests are refused, and requests are answered all the same, many at once.
 */
START_TEST(test_service_endpoint_descriptors)
{
	pid_t pids[100];
	int fds[60], status = 200;
	size_t nr = 0;
	char request[256];

	max_descriptors = 300;
	start();
	for (; nr < 100 && status == 200; nr++) {
		pids[nr] = start_waiting();
		(void)snprintf(request, sizeof(request),
			       "PUT /v1/guests/pid-%d/opt-in HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
			       (int)pids[nr]);
		status = ask(hs_raw_unix(sock), request);
	}
	ck_assert_msg(status == 507, "%zu: %d %s", nr, status, answer);
	ck_assert_ptr_nonnull(strstr(answer, "LimitNOFILE"));
	ck_assert_uint_gt(nr, 50); /* 300 - 192 - 16, less what the service itself has open */
	for (size_t i = 0; i < 60; i++)
		fds[i] = hs_raw_unix(sock);
	for (size_t i = 0; i < 60; i++) {
		ck_assert_msg(
		    hs_raw_status(fds[i], "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)) == 200,
		    "%zu", i);
	}
	for (size_t i = 0; i < 60; i++)
		(void)close(fds[i]);
	for (size_t i = 0; i < nr; i++) {
		(void)kill(pids[i], SIGKILL);
		(void)waitpid(pids[i], NULL, 0);
	}
	stop();
}
END_TEST

/* A page in a browser may point a name of its own at us: the name stands in Host. */
START_TEST(test_service_endpoint_host)
{
	char own[64];
	const char *const served[] = {
		"localhost", "LOCALHOST", "localhost:9100", "127.0.0.1", "[::1]", "[::1]:80", own
	};
	static const char *const refused[] = { NULL,
					       "",
					       "evil.example",
					       "localhost.evil.example",
					       "127.0.0.1.evil.example",
					       "evil.example:80",
					       "localhost:80@evil.example",
					       "localhost:evil",
					       "127.0.0.2",
					       "::1",
					       "[::1].evil.example" };

	(void)snprintf(own, sizeof(own), "127.0.0.1:%u", port);
	for (size_t i = 0; i < sizeof(served) / sizeof(served[0]); i++)
		ck_assert_msg(ask_port("GET", "/v1/mode", served[i], "") == 200, "%s: %s", served[i], answer);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const int status = ask_port("GET", "/v1/mode", refused[i], "");

		ck_assert_msg(status == 403 || status == 400, "%s: %s", refused[i] ? refused[i] : "none", answer);
		ck_assert_ptr_null(strstr(answer, "\"mode\""));
	}
	/* The socket has its permissions instead. */
	ck_assert_int_eq(ask(hs_raw_unix(sock), "GET /v1/mode HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 200);
}
END_TEST

/* Nothing listens but on the one address; an address that others could reach is a wrong configuration. */
START_TEST(test_service_endpoint_loopback_only)
{
	static const char *const addresses[] = { "0.0.0.0", "::", "192.168.0.1", "example.org" };
	int status;

	ck_assert_int_eq(hs_raw_tcp("127.0.0.2", port), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		pid_t pid;

		write_conf(addresses[i], "");
		pid = launch();
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%s", addresses[i]);
	}
}
END_TEST

START_TEST(test_service_endpoint_ipv6)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };

	make_dir();
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a))) {
		(void)printf("SKIPPED service/endpoint ipv6: this machine has no ::1\n");
		start_at("127.0.0.1", "");
	} else {
		start_at("::1", "");
		ck_assert_int_eq(ask(hs_raw_tcp("::1", port), "GET /v1/mode HTTP/1.1\r\nHost: [::1]\r\n\r\n"), 200);
		ck_assert_int_eq(hs_raw_tcp("127.0.0.1", port), -1);
	}
	if (fd >= 0)
		(void)close(fd);
	stop();
}
END_TEST

/* ---- how soon it answers ---- */

static int by_size(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Asks for the status again and again; prints how long that took. The median, microseconds. */
static uint64_t measure(const char *while_what)
{
	uint64_t us[ASKED];

	for (size_t i = 0; i < ASKED; i++) {
		const uint64_t begin = hs_raw_now_us();

		ck_assert_msg(ask(hs_raw_unix(sock), "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n") == 200, "%s",
			      answer);
		us[i] = hs_raw_now_us() - begin;
	}
	qsort(us, ASKED, sizeof(us[0]), by_size);
	(void)printf("endpoint: status in %.2f ms (median of %d, with the connection), %.2f ms at most, %s\n",
		     (double)us[ASKED / 2] / 1e3, ASKED, (double)us[ASKED - 1] / 1e3, while_what);
	return us[ASKED / 2];
}

/* A process that says something on all of the connections again and again. Ends with us. */
static pid_t nuisance(const int *fds, size_t nr, const char *piece, unsigned int pause_us)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		for (size_t i = 0; i < nr; i++)
			(void)send(fds[i], piece, strlen(piece), MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)usleep(pause_us);
	}
}

/* A process that connects, says a piece of nonsense and leaves, without a pause. */
static pid_t flood(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		int fd = hs_raw_tcp("127.0.0.1", port);

		if (fd < 0)
			continue;
		(void)hs_raw_say(fd, "GET /v1/history HTTP/1.1\r\nHost: localhost\r\n\r\nPUT nonsense");
		(void)close(fd);
	}
}

static void end(pid_t pid)
{
	int status;

	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
}

/* The port is full of slow clients, half of the socket's places too, and somebody floods: the status does not wait. */
START_TEST(test_service_endpoint_answers_meanwhile)
{
	int slow[32], many[TOO_MANY];
	pid_t others[4];

	ck_assert_uint_lt(measure("with nobody else"), 250000);
	for (size_t i = 0; i < 32; i++) {
		slow[i] = hs_raw_unix(sock);
		ck_assert(hs_raw_say(slow[i], "GET /v1/status HTTP/1.1\r\nX: "));
	}
	for (size_t i = 0; i < TOO_MANY; i++) {
		many[i] = hs_raw_tcp("127.0.0.1", port);
		ck_assert(many[i] >= 0);
		(void)hs_raw_say(many[i], "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n");
	}
	others[0] = nuisance(slow, 32, "a", 1000000);
	others[1] = nuisance(many, TOO_MANY / 2, "Name: value of a header without end\r\n", 1000);
	others[2] = nuisance(many + TOO_MANY / 2, TOO_MANY / 2, "b", 1000000);
	others[3] = flood();
	ck_assert_uint_lt(
	    measure("with 32 slow clients on the socket, and 100 slow or endless ones and a flood on the port"),
	    250000);
	for (size_t i = 0; i < 4; i++)
		end(others[i]);
	for (size_t i = 0; i < TOO_MANY; i++)
		(void)close(many[i]);
	for (size_t i = 0; i < 32; i++)
		(void)close(slow[i]);
	/* The port is there again once they have left. */
	for (int i = 0; i < 100 && ask_port("GET", "/v1/mode", "localhost", "") != 200; i++)
		(void)usleep(100000);
	ck_assert_int_eq(ask_port("GET", "/v1/mode", "localhost", ""), 200);
}
END_TEST

/* Diagnose walks all processes, not on the loop's thread; who asks meanwhile shares the answer, or is asked to come
 * back later. */
START_TEST(test_service_endpoint_diagnose)
{
	int fds[24], answered = 0;
	bool closed;

	for (size_t i = 0; i < 24; i++) {
		fds[i] = hs_raw_unix(sock);
		ck_assert(hs_raw_say(fds[i], "GET /v1/diagnose HTTP/1.1\r\nHost: x\r\n\r\n"));
	}
	ck_assert_uint_lt(measure("while the host is diagnosed for 24 clients"), 250000);
	for (size_t i = 0; i < 24; i++) {
		ck_assert_uint_gt(hs_raw_read(fds[i], answer, sizeof(answer), 20000, &closed), 0);
		ck_assert_msg(strstr(answer, "\"findings\":[") || strstr(answer, " 409 "), "%s", answer);
		answered += strstr(answer, "\"findings\":[") != NULL;
		(void)close(fds[i]);
	}
	ck_assert_int_ge(answered, 16);
	/* One that is under way at the end is answered as well. */
	fds[0] = hs_raw_unix(sock);
	ck_assert(hs_raw_say(fds[0], "GET /v1/diagnose HTTP/1.1\r\nHost: x\r\n\r\n"));
	(void)usleep(5000);
	(void)kill(daemon_pid, SIGTERM);
	ck_assert_uint_gt(hs_raw_read(fds[0], answer, sizeof(answer), 20000, &closed), 0);
	(void)close(fds[0]);
}
END_TEST

/* A libvirtd that takes connections and never says a word: nobody else waits for it, and the end answers who does. */
START_TEST(test_service_endpoint_libvirt_hangs)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char uri[256];
	bool closed;
	int hang = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), waiting;

	make_dir();
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/libvirt", dir);
	ck_assert_int_eq(bind(hang, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(hang, 4), 0);
	(void)snprintf(uri, sizeof(uri), "qemu+unix:///system?socket=%s", addr.sun_path);
	start_at("127.0.0.1", uri);
	waiting = hs_raw_unix(sock);
	ck_assert(
	    hs_raw_say(waiting, "PUT /v1/guests/some-domain/opt-in HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
	ck_assert_uint_lt(measure("while libvirt hangs"), 250000);
	ck_assert_int_eq(ask(hs_raw_unix(sock), "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
	ck_assert_ptr_nonnull(strstr(answer, "\"connected\":false"));
	ck_assert_ptr_nonnull(strstr(answer, "connecting to qemu+unix"));
	(void)kill(daemon_pid, SIGTERM);
	ck_assert_uint_gt(hs_raw_read(waiting, answer, sizeof(answer), 20000, &closed), 0);
	ck_assert_msg(strstr(answer, " 503 ") && strstr(answer, "\"ending\"") &&
			  strstr(answer, "libvirt does not answer"),
		      "%s", answer);
	(void)close(waiting);
	(void)close(hang);
	(void)unlink(addr.sun_path);
	stop();
}
END_TEST

/* The daemon's scan thread; 0: there is none yet. */
static pid_t scan_thread(void)
{
	char path[64], name[32];
	struct dirent *e;
	pid_t tid = 0;
	DIR *tasks;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon_pid);
	tasks = opendir(path);
	ck_assert_ptr_nonnull(tasks);
	while (!tid && (e = readdir(tasks))) {
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm", (int)daemon_pid, e->d_name);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof(name), f) && !strcmp(name, "hs-scan\n"))
			tid = atoi(e->d_name);
		if (f)
			(void)fclose(f);
	}
	(void)closedir(tasks);
	return tid;
}

static long silent_ms(void)
{
	const char *at;

	ck_assert_int_eq(ask(hs_raw_unix(sock), "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
	at = strstr(answer, "\"silent_ms\":");
	ck_assert_ptr_nonnull(at);
	return strtol(at + strlen("\"silent_ms\":"), NULL, 10);
}

/* Holds the scan's thread by a tracer, as a lock of the kernel's would. */
static pid_t hold_scan(void)
{
	pid_t tid = scan_thread();
	int status;

	for (int i = 0; i < 100 && !tid; i++, tid = scan_thread()) /* it names itself once it runs */
		(void)usleep(50000);
	ck_assert_int_gt(tid, 0);
	ck_assert_int_eq((int)ptrace(PTRACE_SEIZE, tid, NULL, NULL), 0);
	ck_assert_int_eq((int)ptrace(PTRACE_INTERRUPT, tid, NULL, NULL), 0);
	ck_assert_int_eq(waitpid(tid, &status, __WALL), tid);
	return tid;
}

/* A scan that hangs is reported, by a daemon that does not. */
START_TEST(test_service_endpoint_scan_hangs)
{
	bool reported = false;
	char stage[64];
	const char *at;
	pid_t tid;

	ck_assert_int_lt(silent_ms(), 30000);
	ck_assert_ptr_nonnull(strstr(answer, "\"trouble\":\"\""));
	tid = hold_scan();
	for (int i = 0; i < 80 && !reported; i++) {
		const long silent = silent_ms();

		reported = strstr(answer, "has given no sign of life for") != NULL;
		ck_assert_msg(reported == (silent >= 60000), "%s", answer);
		(void)sleep(1);
	}
	ck_assert(reported);
	/* On a busy machine it may be held before its first rest. */
	at = strstr(answer, "\"stage\":\"");
	ck_assert_ptr_nonnull(at);
	at += strlen("\"stage\":\"");
	(void)snprintf(stage, sizeof(stage), "in stage %.*s:", (int)strcspn(at, "\""), at);
	ck_assert_msg(strstr(answer, stage) != NULL, "%s: %s", stage, answer);
	ck_assert_int_eq((int)ptrace(PTRACE_DETACH, tid, NULL, NULL), 0);
	for (int i = 0; i < 100 && silent_ms() >= 6000; i++)
		(void)usleep(100000);
	ck_assert_ptr_nonnull(strstr(answer, "\"trouble\":\"\""));
	/* An idle thread gives its sign now and then. */
	for (int i = 0; i < 12; i++) {
		ck_assert_int_lt(silent_ms(), 30000);
		(void)sleep(1);
	}
}
END_TEST

/* While the end takes its time, systemd is asked for more of it, however seldom the pressure is read. */
START_TEST(test_service_endpoint_end_takes_long)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct timeval patience = { .tv_sec = 15 };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), nr = 0;
	char name[64], message[512];
	pid_t tid;

	(void)snprintf(name, sizeof(name), "@hs-endpoint-%d", (int)getpid());
	(void)memcpy(addr.sun_path + 1, name + 1, strlen(name) - 1);
	ck_assert_int_eq(
	    bind(fd, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
	more_conf = "[auto]\npoll_s = 3600\n";
	start();
	tid = hold_scan();
	(void)kill(daemon_pid, SIGTERM);
	while (nr < 3) {
		ssize_t n = recv(fd, message, sizeof(message) - 1, 0);

		ck_assert_msg(n > 0, "asked %d times, then no more", nr);
		message[n] = '\0';
		nr += strstr(message, "EXTEND_TIMEOUT_USEC=30000000") != NULL;
	}
	ck_assert_int_eq((int)ptrace(PTRACE_DETACH, tid, NULL, NULL), 0);
	stop();
	(void)close(fd);
}
END_TEST

/* The end has a limit of its own, whatever the scan's thread does. */
START_TEST(test_service_endpoint_end_has_a_limit)
{
	uint64_t began;
	int status = 0;

	more_conf = "[auto]\npoll_s = 3600\n[service]\nstop_timeout_s = 8\n";
	start();
	(void)hold_scan();
	began = hs_raw_now_us();
	(void)kill(daemon_pid, SIGTERM);
	/* Answered meanwhile; an answer takes a second and more on a busy machine. */
	(void)usleep(500000);
	ck_assert_int_eq(ask(hs_raw_unix(sock), "GET /v1/mode HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
	/* Its threads end with it, the one that we hold as well, once we take note of that. */
	while (waitpid(-1, &status, __WALL) > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 1))
		ck_assert_uint_lt(hs_raw_now_us() - began, 60000000);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x", (unsigned int)status);
	ck_assert_uint_ge(hs_raw_now_us() - began, 7500000);
	ck_assert_uint_lt(hs_raw_now_us() - began, 30000000);
	remove_dir();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/endpoint");
	TCase *c = tcase_create("one"), *own = tcase_create("own"), *slow = tcase_create("slow");

	if (geteuid() != 0)
		return hs_test_skip("service/endpoint", "hs-shared needs root");
	(void)signal(SIGPIPE, SIG_IGN);
	tcase_add_checked_fixture(c, start, stop);
	tcase_add_checked_fixture(slow, start, stop);
	tcase_add_test(c, test_service_endpoint_port_reads_only);
	tcase_add_test(c, test_service_endpoint_opt_in_changes_what_is_named);
	tcase_add_test(c, test_service_endpoint_host);
	tcase_add_test(c, test_service_endpoint_loopback_only);
	tcase_add_test(c, test_service_endpoint_answers_meanwhile);
	tcase_add_test(c, test_service_endpoint_diagnose);
	tcase_add_test(slow, test_service_endpoint_scan_hangs);
	tcase_add_test(own, test_service_endpoint_descriptors);
	tcase_add_test(own, test_service_endpoint_ipv6);
	tcase_add_test(own, test_service_endpoint_libvirt_hangs);
	tcase_add_test(own, test_service_endpoint_end_takes_long);
	tcase_add_test(own, test_service_endpoint_end_has_a_limit);
	tcase_set_timeout(c, 120);
	tcase_set_timeout(own, 120);
	tcase_set_timeout(slow, 150);
	suite_add_tcase(s, c);
	suite_add_tcase(s, own);
	suite_add_tcase(s, slow);
	return hs_test_run(s);
}
