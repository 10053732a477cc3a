/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time. One guest that makes no progress (frozen in the midst of a call, stuck in a driver, out of its CPU quota,
 * always on a stack of its own making) must not hold up what is done for all others. So:
 *
 *   - a public call ends when the guest has made no progress for the handle's deadline, and in any case LONGEST_US
 *     after that; progress is a system call that is over in the guest;
 *   - what then follows is a rest: calls to this guest are answered at once, so that the many steps that one cycle
 *     takes with it do not add up. Rests grow from HS_REMOTE_REST_MS to HS_REMOTE_REST_MAX_MS while nothing helps.
 *
 * Limits are times, never a number of tries.
 */
#include <errno.h>
#include <string.h>

#include "remote_internal.h"

#define LONGEST_US (HS_REMOTE_LONGEST_MS * UINT64_C(1000))

void hs_remote_set_deadline_ms(struct hs_remote *r, uint32_t deadline_ms)
{
	r->deadline_ms = deadline_ms ? deadline_ms : HS_REMOTE_DEADLINE_MS;
}

void hs_remote_time_begin(struct hs_remote *r)
{
	r->late = false;
	r->end_us = hs_remote_now_us() + r->deadline_ms * UINT64_C(1000) + LONGEST_US;
	hs_remote_time_progress(r);
}

void hs_remote_time_progress(struct hs_remote *r)
{
	r->until_us = hs_remote_now_us() + r->deadline_ms * UINT64_C(1000);
	if (r->until_us > r->end_us)
		r->until_us = r->end_us;
}

uint64_t hs_remote_time_left_us(const struct hs_remote *r)
{
	uint64_t now = hs_remote_now_us();

	return now < r->until_us ? r->until_us - now : 0;
}

/* What the guest, or this thread of it, hangs in. */
static void why(const struct hs_remote *r, pid_t tid, char *out, size_t size)
{
	struct hs_remote_status st;
	char path[64], where[64] = "", cgroup[256];

	if (hs_remote_is_frozen(r, cgroup, sizeof(cgroup))) {
		(void)snprintf(out, size, "its cgroup %s is frozen", cgroup);
		return;
	}
	if (!tid)
		tid = r->pid;
	if (hs_remote_read_status(r->proc_fd, tid, &st)) {
		(void)snprintf(out, size, "its thread %d cannot be looked at", tid);
		return;
	}
	(void)snprintf(path, sizeof(path), "task/%d/wchan", tid);
	if (hs_remote_read_file(r->proc_fd, path, where, sizeof(where)) < 0 || strcmp(where, "0") == 0)
		where[0] = '\0';
	switch (st.state) {
	case 'D':
		(void)snprintf(out, size, "thread %d is in uninterruptible sleep (%s)", tid, where[0] ? where : "?");
		break;
	case 'R':
		(void)snprintf(out, size, "thread %d gets no processor time (a CPU quota, or a busy host)", tid);
		break;
	default:
		(void)snprintf(out, size, "thread %d is in state %c (%s)", tid, st.state, where[0] ? where : "?");
	}
}

int hs_remote_no_progress(struct hs_remote *r, pid_t tid, struct hs_error *err)
{
	char text[384];

	if (hs_remote_time_left_us(r) && !r->kept.attached)
		return hs_error_set(err, -EAGAIN, "thread %d of process %d could not be held to the end", tid, r->pid);
	r->late = true;
	why(r, tid, text, sizeof(text));
	return hs_error_set(err, -EAGAIN, "process %d makes no progress: %s", r->pid, text);
}

/* ---- rests ---- */

void hs_remote_rest_after(struct hs_remote *r, int rc, const struct hs_error *err)
{
	if (rc == 0) {
		r->rest_ms = 0;
		return;
	}
	if (!r->late)
		return;
	r->rest_ms = r->rest_ms ? r->rest_ms * 2 : HS_REMOTE_REST_MS;
	if (r->rest_ms > HS_REMOTE_REST_MAX_MS)
		r->rest_ms = HS_REMOTE_REST_MAX_MS;
	r->rest_until_us = hs_remote_now_us() + r->rest_ms * UINT64_C(1000);
	(void)snprintf(r->rest_why, sizeof(r->rest_why), "%.399s", err->text);
}

int hs_remote_rest_check(const struct hs_remote *r, struct hs_error *err)
{
	uint64_t now = hs_remote_now_us();

	if (now >= r->rest_until_us)
		return 0;
	return hs_error_set(err, -EAGAIN, "%s (it is left alone for another %u s)", r->rest_why,
			    (unsigned int)((r->rest_until_us - now) / 1000000) + 1);
}
