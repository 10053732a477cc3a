/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many guests one service holds: hs-shared observes so many at a time, and is asked meanwhile. What is measured is
 * how soon it answers, from the connection to the last byte: the status again and again, and beside that what grows
 * with the number of guests (metrics, list, report) once a second, as a monitoring does.
 *
 * Real guests are hs-guest processes of 8 MiB. Simulated ones are processes that do nothing; hs-shared-sim, which is
 * hs-shared but for where it opens a guest's memory, sees a simulated guest of 8 MiB in place of each.
 */
#include "bench.h"

#include <errno.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"
#include "raw_client.h"

#define MAX_GUESTS  10000
#define MAX_SAMPLES 100000
#define HUGE_EACH   4  /* huge pages of a guest */
#define STATUS_MS   10 /* between two looks at the status */
#define LARGE_S     1  /* between two looks at what is large */
#define CHECK_S     2  /* with --check */
#define AFTER_S     15 /* measured so long after all guests were reported */
#define GIVE_UP_S   600

/* ---- what is measured ---- */

enum { STATUS, GUEST, GUESTS, REPORT, METRICS, OPT_IN, NR_KINDS };
static const char *const kind_keys[NR_KINDS] = { "status", "guest", "guests", "report", "metrics", "opt_in" };
static const char *const kind_labels[NR_KINDS] = { "GET /v1/status", "GET /v1/guests/ID", "GET /v1/guests",
						   "GET /v1/report", "GET /metrics",      "PUT .../opt-in" };

struct samples {
	double ms[MAX_SAMPLES];
	size_t nr;
	size_t bytes; /* of the largest answer */
};

struct run {
	uint32_t nr;
	bool simulated;
	char dir[64], sock[128], conf[128];
	pid_t daemon;
	pid_t pids[MAX_GUESTS];
	struct hs_guest *guests[MAX_GUESTS];
	struct samples samples[NR_KINDS];
	_Atomic bool stop;
	_Atomic uint32_t nr_refused; /* requests without the answer that was to come */
	_Atomic uint32_t nr_reported;
	_Atomic uint64_t most_descriptors;
};

static int by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double percentile(const struct samples *s, double part)
{
	return s->nr ? s->ms[(size_t)((double)(s->nr - 1) * part)] : 0;
}

static void fail(const char *what)
{
	(void)fprintf(stderr, "bench guests: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* ---- asking ---- */

/* Reads an answer with a length to its end into a buffer that grows. Its bytes; 0: none. */
static size_t read_answer(int fd, char **buf, size_t *room)
{
	size_t len = 0, want = 0;

	for (;;) {
		char *end;
		ssize_t n;

		if (*room - len < 65536) {
			*room += 1 << 20;
			*buf = realloc(*buf, *room);
			if (!*buf)
				fail("memory");
		}
		n = read(fd, *buf + len, *room - len - 1);
		if (n <= 0)
			return 0;
		len += (size_t)n;
		(*buf)[len] = '\0';
		if (!want && (end = strstr(*buf, "\r\n\r\n"))) {
			const char *at = strcasestr(*buf, "Content-Length:");

			if (!at || at > end)
				return 0;
			want = (size_t)(end + 4 - *buf) + strtoull(at + 15, NULL, 10);
		}
		if (want && len >= want)
			return len;
	}
}

/* One request on a connection of its own. The answer's text in *buf; false: it was refused, or there is nobody. */
static bool ask(struct run *r, int kind, const char *request, char **buf, size_t *room)
{
	struct samples *s = &r->samples[kind];
	const uint64_t begin = bench_now_ns();
	int fd = hs_raw_unix(r->sock);
	size_t len;

	if (fd < 0)
		return false;
	(void)hs_raw_say(fd, request);
	len = read_answer(fd, buf, room);
	(void)close(fd);
	if (!len || strncmp(*buf, "HTTP/1.1 200", 12) != 0)
		return false;
	if (s->nr < MAX_SAMPLES)
		s->ms[s->nr++] = (double)(bench_now_ns() - begin) / 1e6;
	if (len > s->bytes)
		s->bytes = len;
	return true;
}

static bool get(struct run *r, int kind, const char *path, char **buf, size_t *room)
{
	char request[256];

	(void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	return ask(r, kind, request, buf, room);
}

static void nap_ms(unsigned int ms)
{
	(void)usleep(ms * 1000);
}

/* It has to be answered. */
static bool get_surely(struct run *r, int kind, const char *path, char **buf, size_t *room)
{
	const bool answered = get(r, kind, path, buf, room);

	r->nr_refused += !answered;
	return answered;
}

static void *watch_status(void *arg)
{
	struct run *r = arg;
	char *buf = NULL;
	size_t room = 0;

	for (; !r->stop; nap_ms(STATUS_MS))
		(void)get_surely(r, STATUS, "/v1/status", &buf, &room);
	free(buf);
	return NULL;
}

static uint32_t count(const char *text, const char *what)
{
	uint32_t nr = 0;

	while ((text = strstr(text, what))) {
		nr++;
		text += strlen(what);
	}
	return nr;
}

static uint64_t nr_descriptors(pid_t pid)
{
	char path[64];
	uint64_t nr = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && readdir(d))
		nr++;
	if (d)
		(void)closedir(d);
	return nr > 2 ? nr - 2 : 0;
}

/* What a monitoring asks for. */
static void *watch_large(void *arg)
{
	struct run *r = arg;
	char *buf = NULL, path[64];
	size_t room = 0;
	uint32_t turn = 0;

	for (; !r->stop; nap_ms(LARGE_S * 1000)) {
		uint64_t now = nr_descriptors(r->daemon);

		if (now > r->most_descriptors)
			r->most_descriptors = now;
		(void)snprintf(path, sizeof(path), "/v1/guests/pid-%d", (int)r->pids[turn++ % r->nr]);
		(void)get(r, GUEST, path, &buf, &room);
		(void)get_surely(r, GUESTS, "/v1/guests", &buf, &room);
		(void)get_surely(r, REPORT, "/v1/report", &buf, &room);
		if (get_surely(r, METRICS, "/metrics", &buf, &room))
			r->nr_reported = count(buf, "\nhs_share_guest_memory_bytes{");
	}
	free(buf);
	return NULL;
}

/* ---- guests and service ---- */

static void start_guest(struct run *r, uint32_t i)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);
	struct hs_error err = { "" };

	if (r->simulated) {
		r->pids[i] = fork();
		if (r->pids[i] < 0)
			fail("fork");
		if (r->pids[i])
			return;
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)pause();
	}
	cfg.params.seed = i + 1;
	cfg.params.nr_huge = HUGE_EACH;
	cfg.params.rate = 100;
	cfg.params.batch = 100;
	if (hs_guest_start(&r->guests[i], &cfg, &err)) {
		(void)fprintf(stderr, "bench guests: guest %u: %s\n", i, err.text);
		exit(EXIT_FAILURE);
	}
	r->pids[i] = hs_guest_pid(r->guests[i]);
}

static void stop_guest(struct run *r, uint32_t i)
{
	if (r->guests[i]) {
		hs_guest_stop(r->guests[i]);
	} else if (r->pids[i] > 0) {
		(void)kill(r->pids[i], SIGKILL);
		(void)waitpid(r->pids[i], NULL, 0);
	}
	r->guests[i] = NULL;
	r->pids[i] = 0;
}

static void start_guests(struct run *r)
{
	struct hs_error err = { "" };

	for (uint32_t i = 0; i < r->nr; i++)
		start_guest(r, i);
	for (uint32_t i = 0; i < r->nr; i++)
		if (r->guests[i] && hs_guest_wait_ready(r->guests[i], 120000, NULL, &err)) {
			(void)fprintf(stderr, "bench guests: guest %u: %s\n", i, err.text);
			exit(EXIT_FAILURE);
		}
}

static void start_daemon(struct run *r)
{
	const char *program = r->simulated ? HS_SHARED_SIM : HS_SHARED;
	char *buf = NULL;
	size_t room = 0;
	FILE *f;

	(void)snprintf(r->dir, sizeof(r->dir), "/run/hs-bench-XXXXXX");
	if (!mkdtemp(r->dir))
		fail("a folder");
	(void)snprintf(r->sock, sizeof(r->sock), "%s/s", r->dir);
	(void)snprintf(r->conf, sizeof(r->conf), "%s/conf", r->dir);
	f = fopen(r->conf, "we");
	if (!f ||
	    fprintf(f,
		    "[service]\nmode = observe\nsocket = %s\nstate_dir = %s/state\nlog_level = error\n"
		    "[libvirt]\nuri =\n[scan]\nmin_memory = 4M\n",
		    r->sock, r->dir) < 0 ||
	    fclose(f))
		fail(r->conf);
	r->daemon = fork();
	if (r->daemon < 0)
		fail("fork");
	if (!r->daemon) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		(void)execl(program, program, "-c", r->conf, NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000 && !get(r, STATUS, "/v1/status", &buf, &room); i++)
		nap_ms(10);
	free(buf);
	r->samples[STATUS].nr = 0;
}

static void stop_daemon(struct run *r)
{
	char command[128];

	(void)kill(r->daemon, SIGTERM);
	(void)waitpid(r->daemon, NULL, 0);
	(void)snprintf(command, sizeof(command), "rm -rf %s", r->dir);
	if (system(command))
		fail(command);
}

static void opt_in_all(struct run *r)
{
	char *buf = NULL, request[256];
	size_t room = 0;

	for (uint32_t i = 0; i < r->nr; i++) {
		(void)snprintf(request, sizeof(request),
			       "PUT /v1/guests/pid-%d/opt-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
			       "Content-Length: 20\r\n\r\n{\"group\":\"g%07u\"}",
			       (int)r->pids[i], i % 10);
		if (!ask(r, OPT_IN, request, &buf, &room)) {
			(void)fprintf(stderr, "bench guests: guest %u cannot be opted in: %s\n", i, buf ? buf : "");
			exit(EXIT_FAILURE);
		}
	}
	free(buf);
}

/* ---- the report ---- */

static void print(struct bench_report *out, struct run *r, double reported_s, double cpu_s)
{
	char key[64], heading[128], label[128];

	(void)snprintf(key, sizeof(key), "%s_%u", r->simulated ? "simulated" : "real", r->nr);
	(void)snprintf(heading, sizeof(heading), "%u %s guests of %d MiB", r->nr, r->simulated ? "simulated" : "real",
		       HUGE_EACH * 2);
	bench_section(out, key, heading);
	for (int k = 0; k < NR_KINDS; k++) {
		struct samples *s = &r->samples[k];
		static const struct {
			const char *key, *label;
			double part;
		} parts[] = { { "p50", "median", 0.5 }, { "p99", "99th percentile", 0.99 }, { "max", "longest", 1 } };

		qsort(s->ms, s->nr, sizeof(s->ms[0]), by_size);
		for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++) {
			(void)snprintf(key, sizeof(key), "%s_%s_ms", kind_keys[k], parts[p].key);
			(void)snprintf(label, sizeof(label), "%s, %s", kind_labels[k], parts[p].label);
			bench_value(out, key, label, "ms", percentile(s, parts[p].part));
		}
		(void)snprintf(key, sizeof(key), "%s_requests", kind_keys[k]);
		(void)snprintf(label, sizeof(label), "%s, requests", kind_labels[k]);
		bench_value(out, key, label, "", (double)s->nr);
		(void)snprintf(key, sizeof(key), "%s_bytes", kind_keys[k]);
		(void)snprintf(label, sizeof(label), "%s, largest answer", kind_labels[k]);
		bench_value(out, key, label, "bytes", (double)s->bytes);
	}
	bench_value(out, "reported_s", "from the first opt-in until all were reported", "s", reported_s);
	bench_value(out, "cpu_s", "the service's CPU time", "s", cpu_s);
	bench_value(out, "descriptors", "descriptors, at most", "", (double)r->most_descriptors);
	bench_value(out, "rss_mib", "resident memory, at most", "MiB",
		    (double)bench_proc_bytes(r->daemon, "status", "VmHWM") / 1048576);
}

static double cpu_s(pid_t pid)
{
	unsigned long long user = 0, system_time = 0;
	char path[64], text[1024] = "", *at;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	(void)!fread(text, 1, sizeof(text) - 1, f);
	(void)fclose(f);
	at = strrchr(text, ')');
	if (!at || sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system_time) != 2)
		return 0;
	return (double)(user + system_time) / (double)sysconf(_SC_CLK_TCK);
}

/*
 * What holds at any speed: all are reported, everything was answered meanwhile, and descriptors and memory are within
 * what docs/benchmarks.md states. false: it does not, and standard error says what.
 */
static bool check(const struct run *r, bool reported)
{
	const uint64_t most_descriptors = r->nr * 16 + 192, most_mib = 64 + r->nr / 2;
	const uint64_t mib = bench_proc_bytes(r->daemon, "status", "VmHWM") >> 20;
	const bool right = reported && !r->nr_refused && r->most_descriptors &&
			   r->most_descriptors <= most_descriptors && mib && mib <= most_mib;

	if (!right)
		(void)fprintf(
		    stderr,
		    "bench guests: %u of %u guests are reported, %u requests had no answer, %llu descriptors (at most "
		    "%llu), %llu MiB (at most %llu)\n",
		    r->nr_reported, r->nr, r->nr_refused, (unsigned long long)r->most_descriptors,
		    (unsigned long long)most_descriptors, (unsigned long long)mib, (unsigned long long)most_mib);
	return right;
}

static bool measure(struct bench_report *out, uint32_t nr, bool simulated, bool checked)
{
	const uint64_t after_s = checked ? CHECK_S : AFTER_S;
	bool right;

	struct run *r = calloc(1, sizeof(*r)); /* untouched, it costs a fork nothing */
	uint64_t begin, reported = 0;
	pthread_t threads[2];

	if (!r)
		fail("memory");
	r->nr = nr;
	r->simulated = simulated;
	start_guests(r);
	start_daemon(r);
	begin = bench_now_ns();
	if (pthread_create(&threads[0], NULL, watch_status, r) || pthread_create(&threads[1], NULL, watch_large, r))
		fail("a thread");
	opt_in_all(r);
	for (;;) {
		const uint64_t now = bench_now_ns();

		if (!reported && r->nr_reported == nr)
			reported = now;
		if (reported && now - reported > after_s * UINT64_C(1000000000))
			break;
		if (now - begin > GIVE_UP_S * UINT64_C(1000000000)) {
			(void)fprintf(stderr, "bench guests: after %d s %u of %u guests are reported\n", GIVE_UP_S,
				      r->nr_reported, nr);
			break;
		}
		nap_ms(100);
	}
	r->stop = true;
	(void)pthread_join(threads[0], NULL);
	(void)pthread_join(threads[1], NULL);
	right = !checked || check(r, reported != 0);
	print(out, r, reported ? (double)(reported - begin) / 1e9 : -1, cpu_s(r->daemon));
	stop_daemon(r);
	for (uint32_t i = 0; i < nr; i++)
		stop_guest(r, i);
	free(r);
	return right;
}

/* ---- options ---- */

struct options {
	uint32_t real[8], simulated[8];
	size_t nr_real, nr_simulated;
	bool json, check;
};

static const struct argp_option option_list[] = {
	{ "real", 'r', "N", 0,
	  "So many guests, each a process. May be repeated. Default, without --simulated: 50 and 500.", 0 },
	{ "simulated", 's', "N", 0, "So many simulated ones. May be repeated. Default, without --real: 5000.", 0 },
	{ "check", 'c', NULL, 0,
	  "Fail unless all are reported, all is answered, and descriptors and memory are bounded.", 0 },
	{ "json", 'j', NULL, 0, "Print one JSON object.", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'r':
		if (o->nr_real < 8)
			o->real[o->nr_real++] = (uint32_t)bench_number(state, "--real", arg, 1, MAX_GUESTS);
		return 0;
	case 's':
		if (o->nr_simulated < 8)
			o->simulated[o->nr_simulated++] =
			    (uint32_t)bench_number(state, "--simulated", arg, 1, MAX_GUESTS);
		return 0;
	case 'c':
		o->check = true;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = { option_list, parse, NULL, "One service with many guests.", 0, 0, 0 };
	struct options o = { .nr_real = 0 };
	bool right = true;
	struct bench_report *r;
	struct rlimit l;

	if (argp_parse(&argp, argc, argv, 0, NULL, &o))
		return EXIT_FAILURE;
	if (!o.nr_real && !o.nr_simulated) {
		o.real[o.nr_real++] = 50;
		o.real[o.nr_real++] = 500;
		o.simulated[o.nr_simulated++] = 5000;
	}
	if (geteuid() != 0) {
		errno = EPERM;
		fail("hs-shared needs root");
	}
	(void)signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &l);
	}
	r = bench_begin("guests", "One service with many guests, which is asked while it observes them", o.json);
	for (size_t i = 0; i < o.nr_real; i++)
		right &= measure(r, o.real[i], false, o.check);
	for (size_t i = 0; i < o.nr_simulated; i++)
		right &= measure(r, o.simulated[i], true, o.check);
	return bench_end(r) || !right ? EXIT_FAILURE : EXIT_SUCCESS;
}
