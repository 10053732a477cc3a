/* SPDX-License-Identifier: Apache-2.0 */
#include "bpf_load.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "host_facts.h"

#define SYS_DIR "/sys" /* libbpf reads the running kernel's types there and nowhere else */

/* `lock` is held from hs_bpf_load_begin to hs_bpf_load_end, and guards the other two. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char last_words[256]; /* libbpf's, which otherwise says nothing */
static libbpf_print_fn_t before;

static int keep_last_words(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[sizeof(last_words)];
	int n;

	if (level == LIBBPF_DEBUG)
		return 0;
	n = vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	if (n > 0 && line[0])
		memcpy(last_words, line, sizeof(last_words));
	return n;
}

void hs_bpf_load_begin(void)
{
	(void)pthread_mutex_lock(&lock);
	last_words[0] = '\0';
	before = libbpf_set_print(keep_last_words);
}

int hs_bpf_load_end(int rc, const char *what, struct hs_error *err)
{
	struct hs_facts facts;

	(void)libbpf_set_print(before);
	if (rc) {
		hs_facts_read(SYS_DIR, &facts);
		rc = hs_facts_explain(&facts, rc, what, last_words, err);
	}
	(void)pthread_mutex_unlock(&lock);
	return rc;
}

int hs_bpf_run(int prog_fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int rc;

	/* The kernel answers EINTR or EAGAIN when a signal is pending. */
	do {
		rc = bpf_prog_test_run_opts(prog_fd, &opts);
	} while (rc == -EINTR || rc == -EAGAIN);
	return rc;
}
