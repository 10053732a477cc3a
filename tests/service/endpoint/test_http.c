/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoint's transport against clients that are slow, many, endless, wrong or gone. The server is a process of its
 * own with the real one on a loop; its handler keeps "/pending" unanswered until "/release" is asked.
 */
#include "hs_test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/endpoint/http.h"
#include "raw_client.h"

#define MAX_CONNECTIONS 8
#define IDLE_S          1
#define REQUEST_S       2
#define ANSWER_S        6
#define LOOK_S          3
#define MAX_WAITING     6 /* of MAX_CONNECTIONS */
#define MAX_BODY        4096
#define LARGE           (8U << 20)

static char dir[64], sock[128], answer[65536];
static pid_t server;

/* ---- the server ---- */

#define MAX_PENDING 256
static struct hs_http_exchange *pending[MAX_PENDING];
static size_t nr_pending;

static size_t nr_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t nr = 0;

	while (d && readdir(d))
		nr++;
	if (d)
		(void)closedir(d);
	return nr;
}

static void handle(void *ctx, struct hs_http_exchange *x)
{
	static char *large;
	char number[32];
	size_t len;

	(void)ctx;
	if (strcmp(hs_http_path(x), "/descriptors") == 0) {
		(void)snprintf(number, sizeof(number), "open=%zu", nr_open());
		hs_http_reply(x, 200, "text/plain", number, strlen(number), NULL);
		return;
	}
	if (strcmp(hs_http_path(x), "/pending") == 0) {
		pending[nr_pending++] = x;
		return;
	}
	if (strcmp(hs_http_path(x), "/release") == 0)
		while (nr_pending)
			hs_http_reply(pending[--nr_pending], 200, "text/plain", "released", 8, NULL);
	if (strcmp(hs_http_path(x), "/large") == 0) {
		large = large ? large : calloc(1, LARGE);
		hs_http_reply(x, 200, "text/plain", large ? large : "", large ? LARGE : 0, NULL);
		return;
	}
	(void)hs_http_body(x, &len);
	hs_http_reply(x, 200, "text/plain", hs_http_method(x), strlen(hs_http_method(x)), "X-One: 1\nX-Two: 2");
}

static int on_end(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	(void)si;
	(void)arg;
	return sd_event_exit(sd_event_source_get_event(s), 0);
}

static struct hs_http_config server_config = {
	.socket_path = sock,
	.socket_mode = 0600,
	.tcp_address = "127.0.0.1",
	.max_connections = MAX_CONNECTIONS,
	.timeout_s = IDLE_S,
	.request_s = REQUEST_S,
	.max_body_bytes = MAX_BODY,
	.answer_s = ANSWER_S,
	.look_s = LOOK_S,
	.max_waiting = MAX_WAITING,
};

/* Exit status: 0 ended as asked, 2 it did not start. */
static int serve(void)
{
	struct hs_error err = { "" };
	struct hs_http *h = NULL;
	sd_event *loop = NULL;
	sigset_t set;
	int rc;

	(void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* a test that fails does not come to its end */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	rc = sd_event_new(&loop);
	if (rc >= 0)
		rc = sd_event_add_signal(loop, NULL, SIGTERM, on_end, NULL);
	if (rc < 0 || hs_http_start(&h, &server_config, loop, handle, NULL, &err)) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 2;
	}
	rc = sd_event_loop(loop);
	hs_http_stop(h);
	sd_event_unref(loop);
	if (rmdir(dir)) /* the socket is gone */
		return 1;
	return rc < 0 ? 1 : 0;
}

static int client(void)
{
	int fd = hs_raw_unix(sock);

	ck_assert_msg(fd >= 0, "%s", strerror(errno));
	return fd;
}

static void start(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/hs-http-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(sock, sizeof(sock), "%s/s", dir);
	server = fork();
	ck_assert_int_ge(server, 0);
	if (!server)
		exit(serve());
	for (int i = 0; i < 500; i++) {
		int fd = hs_raw_unix(sock);

		if (fd >= 0) {
			(void)close(fd);
			return;
		}
		(void)usleep(10000);
	}
	ck_abort_msg("the server does not listen");
}

/* The server has to have lived through all of it, and to end without anything left. */
static void stop(void)
{
	int status;

	(void)kill(server, SIGTERM);
	ck_assert_int_eq(waitpid(server, &status, 0), server);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned int)status);
}

static void is_well(void)
{
	int fd = client();

	ck_assert_int_eq(hs_raw_status(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 200);
	(void)close(fd);
}

/* Says `piece` each 200 ms until the server cuts the line: the milliseconds. */
static uint64_t cut_after_ms(int fd, const char *piece)
{
	const uint64_t begin = hs_raw_now_us();
	bool closed = false;

	for (int i = 0; i < 100 && !closed; i++) {
		(void)hs_raw_say(fd, piece);
		(void)hs_raw_read(fd, answer, sizeof(answer), 200, &closed);
	}
	ck_assert_msg(closed, "never cut off");
	return (hs_raw_now_us() - begin) / 1000;
}

/* ---- tests ---- */

static const struct {
	const char *what, *begin, *piece;
} slow[] = {
	{ "a request line", "GET /", "a" },
	{ "a header", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", "a" },
	{ "header after header", "GET / HTTP/1.1\r\nHost: x\r\n", "A: b\r\n" },
	{ "a body", "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n", "a" },
	{ "a body in pieces", "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n" },
	{ "empty lines", "", "\r\n" },
};

/* A byte now and then keeps the idle limit away, not the limit of the whole. */
START_TEST(test_service_http_slow)
{
	int fd = client();
	uint64_t ms;

	ck_assert(hs_raw_say(fd, slow[_i].begin));
	ms = cut_after_ms(fd, slow[_i].piece);
	ck_assert_msg(ms > IDLE_S * 1000, "%s: cut off after %llu ms", slow[_i].what, (unsigned long long)ms);
	ck_assert_msg(ms < 15000, "%s: cut off after %llu ms", slow[_i].what, (unsigned long long)ms);
	(void)close(fd);
	is_well();
}
END_TEST

START_TEST(test_service_http_idle)
{
	bool closed;
	int fd = client();

	(void)hs_raw_read(fd, answer, sizeof(answer), 10000, &closed);
	ck_assert(closed);
	(void)close(fd);
	is_well();
}
END_TEST

/* Who does not take the answer is cut off as well, and gives its place back. */
START_TEST(test_service_http_takes_no_answer)
{
	int fds[MAX_CONNECTIONS];
	const uint64_t begin = hs_raw_now_us();
	int status = 0;

	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		fds[i] = client();
		ck_assert(hs_raw_say(fds[i], "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"));
	}
	while (status != 200 && hs_raw_now_us() - begin < 15000000) {
		int fd = client();

		status = hs_raw_status(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
		(void)close(fd);
		(void)usleep(100000);
	}
	ck_assert_int_eq(status, 200);
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		(void)close(fds[i]);
}
END_TEST

START_TEST(test_service_http_too_many)
{
	int fds[MAX_CONNECTIONS], fd;
	bool closed;

	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		fds[i] = client();
		/* Answered: it is in, and stays for a further request. */
		ck_assert_int_eq(hs_raw_status(fds[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)),
				 200);
	}
	fd = client();
	(void)hs_raw_say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_uint_eq(hs_raw_read(fd, answer, sizeof(answer), 500, &closed), 0);
	(void)close(fd);
	(void)close(fds[0]);
	(void)usleep(100000);
	is_well(); /* in the place that became free */
	for (size_t i = 1; i < MAX_CONNECTIONS; i++)
		(void)close(fds[i]);
}
END_TEST

/* All places are taken, and then all leave at once: who comes later, or waited meanwhile, is served. */
START_TEST(test_service_http_too_many_leave)
{
	int fds[MAX_CONNECTIONS], fd;

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
			fds[i] = client();
			ck_assert_int_eq(
			    hs_raw_status(fds[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 200);
		}
		fd = client();
		for (size_t i = 0; i < MAX_CONNECTIONS; i++)
			(void)close(fds[i]);
		if (round % 2)
			(void)usleep(20000);
		ck_assert_int_eq(hs_raw_status(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 200);
		(void)close(fd);
	}
}
END_TEST

/* Somebody has left before the answer. */
START_TEST(test_service_http_leaves)
{
	int fds[3], fd;
	bool closed;

	for (size_t i = 0; i < 3; i++) {
		fds[i] = client();
		ck_assert(hs_raw_say(fds[i], "GET /pending HTTP/1.1\r\nHost: x\r\n\r\n"));
	}
	/* What is pending outlives the limits: it is our turn. */
	ck_assert_uint_eq(hs_raw_read(fds[2], answer, sizeof(answer), (REQUEST_S + 1) * 1000, &closed), 0);
	ck_assert(!closed);
	(void)close(fds[0]);
	(void)shutdown(fds[1], SHUT_WR);
	(void)usleep(100000);
	is_well();
	fd = client();
	ck_assert_int_eq(hs_raw_status(fd, "GET /release HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 200);
	ck_assert_uint_gt(hs_raw_read(fds[2], answer, sizeof(answer), 5000, &closed), 0);
	ck_assert_ptr_nonnull(strstr(answer, "released"));
	(void)close(fd);
	(void)close(fds[1]);
	(void)close(fds[2]);
	is_well();
}
END_TEST

/* Who waits for an answer and goes away leaves room for others; the handler's answer, which comes later, is nobody's.
 */
START_TEST(test_service_http_waiting_clients_go)
{
	for (int round = 0; round < 4; round++) {
		int fds[MAX_WAITING], fd;

		for (size_t i = 0; i < MAX_WAITING; i++) {
			fds[i] = client();
			ck_assert(hs_raw_say(fds[i], "POST /pending HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
		}
		/* They wait, and others are served. */
		fd = client();
		ck_assert_int_eq(hs_raw_status(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 200);
		(void)close(fd);
		for (size_t i = 0; i < MAX_WAITING; i++)
			(void)close(fds[i]);
		/* Noticed at once: the next ones find all places. */
	}
	/* All that were left behind are answered at once. */
	(void)hs_raw_status(client(), "GET /release HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
	ck_assert_int_eq(hs_raw_status(client(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 200);
}
END_TEST

/* A port that nobody has now. */
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

/* What the server has open, as it says on the socket. */
static long descriptors(void)
{
	int fd = client();
	const char *at;

	ck_assert_int_eq(hs_raw_status(fd, "GET /descriptors HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)),
			 200);
	(void)close(fd);
	at = strstr(answer, "open=");
	ck_assert_ptr_nonnull(at);
	return strtol(at + 5, NULL, 10);
}

static void descriptors_become(long nr)
{
	const uint64_t until = hs_raw_now_us() + 30000000;
	long now;

	while ((now = descriptors()) != nr) {
		ck_assert_msg(hs_raw_now_us() < until, "%ld are open, not %ld", now, nr);
		(void)usleep(10000);
	}
}

/*
 * Whoever hangs up while an answer is waited for is noticed then, and not by any limit of time (there is none here),
 * over TCP as on the socket; also who has sent more, and who has closed the sending side only, over TCP.
 */
START_TEST(test_service_http_hangs_up)
{
	static const char *const more[] = { "", "", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" };
	long before;
	int fds[6];

	server_config.answer_s = server_config.look_s = server_config.request_s = server_config.timeout_s = 3600;
	server_config.tcp_port = free_port();
	start();
	(void)descriptors(); /* whoever saw whether it listens has left by now */
	before = descriptors();
	for (size_t i = 0; i < 6; i++) {
		fds[i] = i < 3 ? hs_raw_tcp("127.0.0.1", server_config.tcp_port) : client();
		ck_assert_int_ge(fds[i], 0);
		ck_assert(hs_raw_say(fds[i], "GET /pending HTTP/1.1\r\nHost: localhost\r\n\r\n"));
		ck_assert(hs_raw_say(fds[i], more[i % 3]));
	}
	descriptors_become(before + 6);
	(void)shutdown(fds[0], SHUT_WR);
	for (size_t i = 1; i < 6; i++)
		(void)close(fds[i]);
	descriptors_become(before);
	(void)close(fds[0]);
	ck_assert_int_eq(hs_raw_status(client(), "GET /release HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)),
			 200);
	stop();
}
END_TEST

/* A question waits less long than a change. */
START_TEST(test_service_http_looks_wait_less)
{
	const uint64_t began = hs_raw_now_us();
	bool closed;
	int fd = client();

	ck_assert(hs_raw_say(fd, "GET /pending HTTP/1.1\r\nHost: x\r\n\r\n"));
	(void)hs_raw_read(fd, answer, sizeof(answer), 30000, &closed);
	ck_assert_msg(strncmp(answer, "HTTP/1.1 503", 12) == 0, "%s", answer);
	ck_assert_uint_ge(hs_raw_now_us() - began, LOOK_S * UINT64_C(1000000));
	(void)close(fd);
}
END_TEST

/*
 * No step of a request waits for the accuracy of a timer (250 ms, unless it is asked for): 100 requests of 12 KiB, in
 * pieces, one after another. With one such wait each they would take 25 s, without it they take milliseconds.
 */
START_TEST(test_service_http_no_timer_waits)
{
	char request[160], piece[1024];
	uint64_t began;
	int fd;

	server_config.max_body_bytes = 16384;
	start();
	began = hs_raw_now_us();
	fd = client();
	(void)snprintf(request, sizeof(request), "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
		       12 * sizeof(piece));
	memset(piece, 'a', sizeof(piece));
	for (int i = 0; i < 100; i++) {
		bool closed;

		ck_assert(hs_raw_say(fd, request));
		for (int k = 0; k < 12; k++)
			ck_assert(hs_raw_send(fd, piece, sizeof(piece)));
		ck_assert_uint_gt(hs_raw_read(fd, answer, sizeof(answer), 10000, &closed), 0);
		ck_assert_msg(strncmp(answer, "HTTP/1.1 200", 12) == 0, "%s", answer);
	}
	(void)printf("http: 100 requests of 12 KiB in %llu ms\n", (unsigned long long)(hs_raw_now_us() - began) / 1000);
	ck_assert_uint_lt(hs_raw_now_us() - began, 10000000);
	(void)close(fd);
	stop();
}
END_TEST

/* A change that waits beyond the limits, of number or of time, is answered as being under way; a question, to be asked
 * later.
 */
START_TEST(test_service_http_waits_no_longer)
{
	static const char post[] = "POST /pending HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
	const uint64_t began = hs_raw_now_us();
	int fds[MAX_WAITING], fd;
	bool closed;

	for (size_t i = 0; i < MAX_WAITING; i++) {
		fds[i] = client();
		ck_assert(hs_raw_say(fds[i], post));
	}
	fd = client();
	ck_assert_int_eq(hs_raw_status(fd, post, answer, sizeof(answer)), 202);
	ck_assert_ptr_nonnull(strstr(answer, "\"done\":false"));
	ck_assert_int_eq(hs_raw_status(fd, "GET /pending HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 503);
	(void)close(fd);
	ck_assert_uint_lt(hs_raw_now_us() - began, ANSWER_S * UINT64_C(1000000));
	for (size_t i = 0; i < MAX_WAITING; i++) {
		(void)hs_raw_read(fds[i], answer, sizeof(answer), (ANSWER_S + 3) * 1000, &closed);
		ck_assert_msg(strncmp(answer, "HTTP/1.1 202", 12) == 0, "%s", answer);
		(void)close(fds[i]);
	}
	ck_assert_uint_ge(hs_raw_now_us() - began, ANSWER_S * UINT64_C(1000000));
	(void)hs_raw_status(client(), "GET /release HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
}
END_TEST

/* What nobody waits for any more does not pile up without end: changes are refused, looking is not. */
START_TEST(test_service_http_unanswered_have_a_limit)
{
	static const char post[] = "POST /pending HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
	int fds[MAX_WAITING], fd, status = 202, nr = 0;

	for (size_t i = 0; i < MAX_WAITING; i++) {
		fds[i] = client();
		ck_assert(hs_raw_say(fds[i], post));
	}
	fd = client();
	while (status == 202 && nr < MAX_PENDING) {
		status = hs_raw_status(fd, post, answer, sizeof(answer));
		nr++;
	}
	(void)close(fd);
	ck_assert_int_eq(status, 503);
	ck_assert_int_ge(nr, 4 * MAX_WAITING);
	fd = client();
	ck_assert_int_eq(hs_raw_status(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 200);
	ck_assert_int_eq(hs_raw_status(fd, "GET /release HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 200);
	ck_assert_int_eq(
	    hs_raw_status(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", answer, sizeof(answer)), 200);
	(void)close(fd);
	for (size_t i = 0; i < MAX_WAITING; i++)
		(void)close(fds[i]);
}
END_TEST

/* The server ends before it has answered: the lines are cut, nothing is left (stop looks). */
START_TEST(test_service_http_ends_pending)
{
	int fds[2];

	for (size_t i = 0; i < 2; i++) {
		fds[i] = client();
		ck_assert(hs_raw_say(fds[i], "GET /pending HTTP/1.1\r\nHost: x\r\n\r\n"));
	}
	(void)close(fds[0]);
	(void)usleep(100000);
	is_well();
}
END_TEST

static const struct {
	const char *what, *begin, *piece;
} endless[] = {
	{ "headers", "GET / HTTP/1.1\r\nHost: x\r\n", "X-Name: some value of some length\r\n" },
	{ "one header", "GET / HTTP/1.1\r\nHost: x\r\nX-Name: ", "value value value value value value " },
	{ "a header's name", "GET / HTTP/1.1\r\nHost: x\r\n", "namenamenamenamenamenamenamename" },
	{ "a path", "GET /", "path/path/path/path/path/path/path" },
	{ "a query", "GET /?", "key=value&key=value&key=value&" },
	{ "a method", "", "GETGETGETGETGETGETGETGETGETGET" },
	{ "empty lines", "", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" },
	{ "pieces of a body", "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	  "20\r\n0123456789abcdef0123456789abcdef\r\n" },
	{ "a piece's length", "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	  "00000000000000000000" },
};

/* However much is sent, the line is cut, or nothing more is taken, before a megabyte; others are served meanwhile. */
START_TEST(test_service_http_endless)
{
	const struct timeval limit = { .tv_usec = 300000 };
	size_t sent = 0;
	bool closed;
	int fd = client();

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
	(void)hs_raw_say(fd, endless[_i].begin);
	while (sent < 1 << 20 && hs_raw_say(fd, endless[_i].piece))
		sent += strlen(endless[_i].piece);
	is_well();
	(void)hs_raw_read(fd, answer, sizeof(answer), 10000, &closed);
	if (answer[0] && !closed)
		(void)hs_raw_read(fd, answer, sizeof(answer), 10000, &closed);
	ck_assert_msg(closed || sent < 1 << 20, "%s: %zu bytes were taken", endless[_i].what, sent);
	(void)close(fd);
	is_well();
}
END_TEST

static const struct {
	const char *request;
	int status; /* 0: no answer, or one that says that it is wrong */
} requests[] = {
	{ "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200 },
	{ "GET / HTTP/1.0\r\n\r\n", 200 },
	{ "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200 },
	{ "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 200 },
	{ "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200 },
	{ "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n", 413 },
	{ "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\nExpect: 100-continue\r\n\r\n", 413 },
	{ "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", 0 },
	{ "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 0 },
	{ "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3x\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\n\r\n", 200 }, /* the host is looked at on the port alone */
	{ "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 0 },
	{ "\r\nGET\r\n\r\n", 0 },
	{ "GET / HTTP/9.9\r\nHost: x\r\n\r\n", 0 },
	{ "\x16\x03\x01\x02\x01\x01\xfc\x03\x03\r\n\r\n", 0 }, /* TLS */
};

START_TEST(test_service_http_requests)
{
	int fd = client();
	const int status = hs_raw_status(fd, requests[_i].request, answer, sizeof(answer));

	ck_assert_msg(requests[_i].status ? status == requests[_i].status : status == 0 || status >= 400,
		      "%s\nwas answered with\n%s", requests[_i].request, answer);
	(void)close(fd);
	is_well();
}
END_TEST

START_TEST(test_service_http_answers)
{
	int fd = client();
	bool closed;

	/* Two requests at once are answered one after the other. */
	ck_assert(hs_raw_say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\nPUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
				 "Connection: close\r\n\r\n"));
	while (!strstr(answer, "PUT")) {
		ck_assert_uint_gt(hs_raw_read(fd, answer, sizeof(answer), 5000, &closed), 0);
		ck_assert_ptr_nonnull(strstr(answer, "X-One: 1\r\nX-Two: 2"));
		ck_assert_ptr_nonnull(strstr(answer, "X-Content-Type-Options: nosniff"));
	}
	(void)close(fd);
}
END_TEST

/* Bytes without a sense, the same ones in each run. */
START_TEST(test_service_http_garbage)
{
	uint32_t x = 1;

	for (int i = 0; i < 200; i++) {
		char noise[300];
		int fd = client();

		for (size_t k = 0; k < sizeof(noise); k++) {
			x = x * 1664525 + 1013904223;
			noise[k] = (char)(x >> 24);
		}
		if (i % 3 == 0)
			memcpy(noise, "GET / HTTP/1.1\r\n", 16);
		(void)hs_raw_send(fd, noise, (size_t)(i + 50));
		(void)close(fd);
	}
	(void)usleep(100000);
	is_well();
}
END_TEST

/* ---- starting ---- */

static int start_with(const struct hs_http_config *cfg, struct hs_error *err)
{
	struct hs_http *h = NULL;
	sd_event *loop = NULL;
	int rc;

	ck_assert_int_ge(sd_event_new(&loop), 0);
	rc = hs_http_start(&h, cfg, loop, handle, NULL, err);
	hs_http_stop(h);
	sd_event_unref(loop);
	return rc;
}

START_TEST(test_service_http_start)
{
	static const char *const open_to_others[] = { "0.0.0.0", "::", "192.168.0.1", "127.0.0.2", "localhost", "" };
	struct hs_http_config cfg = server_config;
	struct hs_error err = { "" };
	char other[160];

	(void)snprintf(other, sizeof(other), "%s/t", dir);
	/* One that somebody listens on is not taken away from it. */
	ck_assert_int_eq(start_with(&cfg, &err), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(err.text, "somebody listens"));
	is_well();
	cfg.socket_path = other;
	cfg.tcp_port = 1;
	for (size_t i = 0; i < sizeof(open_to_others) / sizeof(open_to_others[0]); i++) {
		cfg.tcp_address = open_to_others[i];
		ck_assert_int_eq(start_with(&cfg, &err), -EINVAL);
		ck_assert_ptr_nonnull(strstr(err.text, "no loopback address"));
	}
	cfg.tcp_port = 0;
	cfg.socket_group = "no-such-group";
	ck_assert_int_eq(start_with(&cfg, &err), -ENOENT);
	cfg.socket_group = NULL;
	/* A file that is no socket stays; a socket that nobody listens on is replaced. */
	(void)close(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	ck_assert_int_eq(start_with(&cfg, &err), -EEXIST);
	ck_assert_int_eq(unlink(other), 0);
	ck_assert_int_eq(mknod(other, S_IFSOCK | 0600, 0), 0);
	ck_assert_msg(start_with(&cfg, &err) == 0, "%s", err.text);
	ck_assert_int_eq(access(other, F_OK), -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/http");
	TCase *c = tcase_create("all"), *own = tcase_create("own");

	(void)signal(SIGPIPE, SIG_IGN);
	tcase_add_checked_fixture(c, start, stop);
	tcase_add_loop_test(c, test_service_http_slow, 0, sizeof(slow) / sizeof(slow[0]));
	tcase_add_test(c, test_service_http_idle);
	tcase_add_test(c, test_service_http_takes_no_answer);
	tcase_add_test(c, test_service_http_too_many);
	tcase_add_test(c, test_service_http_too_many_leave);
	tcase_add_test(c, test_service_http_leaves);
	tcase_add_test(c, test_service_http_waiting_clients_go);
	tcase_add_test(c, test_service_http_waits_no_longer);
	tcase_add_test(c, test_service_http_unanswered_have_a_limit);
	tcase_add_test(c, test_service_http_ends_pending);
	tcase_add_loop_test(c, test_service_http_endless, 0, sizeof(endless) / sizeof(endless[0]));
	tcase_add_loop_test(c, test_service_http_requests, 0, sizeof(requests) / sizeof(requests[0]));
	tcase_add_test(c, test_service_http_answers);
	tcase_add_test(c, test_service_http_garbage);
	tcase_add_test(c, test_service_http_start);
	tcase_add_test(c, test_service_http_looks_wait_less);
	tcase_add_test(own, test_service_http_hangs_up);
	tcase_add_test(own, test_service_http_no_timer_waits);
	tcase_set_timeout(c, 120);
	tcase_set_timeout(own, 120);
	suite_add_tcase(s, c);
	suite_add_tcase(s, own);
	return hs_test_run(s);
}
