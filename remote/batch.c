/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many operations in few calls and short holds.
 *
 * Operations of one advice that follow one another go into one vectored process_madvise on oneself where the guest's
 * kernel has that (6.14 and later; found by trying, as the number for oneself means a closed file before); otherwise
 * each is one madvise. Order is kept. The vectored call stops at the first range that fails and says how far it came;
 * that range is then made alone, to learn why.
 *
 * How long a thread is held: HOLD_US, then it runs on and another session follows. 2 ms is below what a guest's timer
 * tick (4 ms) or a main loop's round shows. The number of ranges in a call follows from what a range took lately; work
 * on pages (unmerging 2 MiB copies up to 512) is cut into pieces on huge-page borders.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "remote_internal.h"

#define HOLD_US       2000U
#define SELF_THREAD   ((uint64_t)-10000)      /* PIDFD_SELF_THREAD */
#define VECTOR_MAX    (REMOTE_DATA_MAX / 16U) /* ranges */
#define VECTOR_LEAST  64U                     /* ranges: less gains nothing, a call costs what ten ranges do */
#define VECTOR_BYTES  (UINT64_C(1) << 30)     /* one vectored call's sum; the kernel cuts it at 2 GiB */
#define PIECE_BYTES   (UINT64_C(8) << 20)     /* of work on pages: about 2 ms when all of it is shared */
#define OP_NS_DEFAULT 10000U

/* Only marks VMAs, whatever the size; all other advice works page by page. */
static bool marks_only(int advice)
{
	switch (advice) {
	case MADV_MERGEABLE:
	case MADV_NOHUGEPAGE:
	case MADV_HUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
		return true;
	default:
		return false;
	}
}

static uint64_t piece_end(const struct hs_remote_op *op, uint64_t at)
{
	uint64_t end = (at & ~(HS_HUGE_SIZE - 1)) + PIECE_BYTES;

	return marks_only(op->advice) || op->end <= end ? op->end : end;
}

/* Answers that need no call. */
static bool trivial(struct hs_remote_op *op)
{
	if (op->start % HS_BASE_SIZE || op->end % HS_BASE_SIZE || op->start > op->end)
		op->result = -EINVAL;
	else if (op->start == op->end)
		op->result = 0;
	else
		return false;
	return true;
}

struct batch {
	struct hs_remote *r;
	struct hs_remote_op *ops;
	size_t nr;
	size_t next; /* first operation not done */
	uint64_t at; /* how far ops[next] is done; 0: from its start */
	bool holes;  /* some of that is not mapped */
};

static void skip_trivial(struct batch *b)
{
	while (b->next < b->nr && trivial(&b->ops[b->next])) {
		b->next++;
		b->r->stats.nr_ops++;
	}
}

static void done(struct batch *b, int result)
{
	b->ops[b->next].result = result ? result : b->holes ? -ENOMEM : 0;
	b->next++;
	b->at = 0;
	b->holes = false;
	b->r->stats.nr_ops++;
}

/* How many operations from the next one fit into one vectored call. */
static size_t run_length(const struct batch *b, size_t limit)
{
	const struct hs_remote_op *op = &b->ops[b->next];
	uint64_t bytes = 0;
	size_t n = 0;

	if (b->at)
		return 1;
	while (n < limit && b->next + n < b->nr && op[n].advice == op->advice && op[n].start < op[n].end &&
	       op[n].start % HS_BASE_SIZE == 0 && op[n].end % HS_BASE_SIZE == 0 &&
	       piece_end(&op[n], op[n].start) == op[n].end && bytes + (op[n].end - op[n].start) <= VECTOR_BYTES) {
		bytes += op[n].end - op[n].start;
		n++;
	}
	return n ? n : 1;
}

static void learn(struct hs_remote *r, uint64_t start_us, size_t n)
{
	uint64_t ns = (hs_remote_now_us() - start_us) * 1000 / n;

	/* Time lost to other work on the processor is in it too: so the quick ones are believed at once. */
	if (ns > r->op_ns + r->op_ns / 4)
		ns = r->op_ns + r->op_ns / 4;
	r->op_ns = ns + 1;
}

/* One madvise, the whole of an operation or a piece. */
static int one(struct batch *b, struct hs_remote_session *s)
{
	struct hs_remote_op *op = &b->ops[b->next];
	uint64_t from = b->at ? b->at : op->start, to = piece_end(op, from), start = hs_remote_now_us();
	uint64_t args[6] = { from, to - from, (uint64_t)op->advice };
	long result;
	int rc = hs_remote_session_call(s, SYS_madvise, args, &result);

	if (rc)
		return rc;
	learn(b->r, start, 1);
	/* As within one madvise: what is not mapped is passed over, and reported at the end. */
	if ((result == 0 || result == -ENOMEM) && to < op->end) {
		b->at = to;
		b->holes |= result != 0;
	} else {
		done(b, (int)result);
	}
	return 0;
}

static bool unsupported(long result)
{
	return result == -EBADF || result == -EINVAL || result == -ENOSYS || result == -EPERM || result == -ESRCH;
}

/* One vectored call of n operations. -EACCES: not allowed in this thread. */
static int many(struct batch *b, struct hs_remote_session *s, size_t n)
{
	struct iovec iov[VECTOR_MAX];
	uint64_t args[6] = { SELF_THREAD, s->room.data, n, (uint64_t)b->ops[b->next].advice, 0, 0 };
	uint64_t start = hs_remote_now_us(), bytes;
	size_t first = b->next;
	long result;
	int rc;

	for (size_t i = 0; i < n; i++) {
		const struct hs_remote_op *op = &b->ops[first + i];

		iov[i] = (struct iovec){ (void *)op->start, op->end - op->start };
	}
	rc = hs_remote_session_write(s, iov, n * sizeof(*iov));
	if (rc)
		return -EACCES;
	rc = hs_remote_session_call(s, SYS_process_madvise, args, &result);
	if (rc)
		return rc;

	bytes = result > 0 ? (uint64_t)result : 0;
	while (b->next < first + n && bytes >= iov[b->next - first].iov_len) {
		bytes -= iov[b->next - first].iov_len;
		done(b, 0);
	}
	if (b->next > first) {
		learn(b->r, start, b->next - first);
		b->r->vectored = HS_YES;
	}
	if (b->next == first + n)
		return 0;

	/* The next one failed: alone it says why. Where it does not fail alone, vectored calls do not work here. */
	struct hs_remote_op *op = &b->ops[b->next];

	rc = one(b, s);
	if (rc == 0 && b->next == first + 1 && op->result == 0 && unsupported(result))
		b->r->vectored = HS_NO;
	return rc;
}

/*
 * As much as a hold allows, and one call in any case: on a slow host what comes before the first takes longer than a
 * hold may, and sessions without one would follow on each other to no end.
 */
static int hold(struct batch *b, struct hs_remote_session *s)
{
	bool vectored = b->r->vectored != HS_NO;

	for (bool first = true;; first = false) {
		uint64_t held = hs_remote_now_us() - s->start_us, left = held < HOLD_US ? HOLD_US - held : 0;
		size_t limit, n;
		int rc;

		skip_trivial(b);
		if (b->next == b->nr || (!left && !first))
			return 0;
		if (b->r->op_advice != b->ops[b->next].advice || !b->r->op_ns) {
			b->r->op_advice = b->ops[b->next].advice;
			b->r->op_ns = OP_NS_DEFAULT;
		}
		limit = (size_t)(left * 1000 / b->r->op_ns);
		if (limit < VECTOR_LEAST)
			limit = VECTOR_LEAST;
		if (limit > VECTOR_MAX)
			limit = VECTOR_MAX;
		if (limit > s->room.data_size / sizeof(struct iovec))
			limit = s->room.data_size / sizeof(struct iovec);
		n = vectored ? run_length(b, limit) : 1;
		rc = n > 1 ? many(b, s, n) : one(b, s);
		if (rc == -EACCES && n > 1) {
			vectored = false;
			continue;
		}
		if (rc)
			return rc;
		vectored = vectored && b->r->vectored != HS_NO;
	}
}

static int gone(const struct hs_remote *r, struct hs_error *err)
{
	return hs_error_set(err, -ESRCH, "the code that process %d was to run for us is gone", r->pid);
}

int hs_remote_batch(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *err)
{
	struct batch b = { .r = r, .ops = ops, .nr = nr };

	for (size_t i = 0; i < nr; i++)
		ops[i].result = -ECANCELED;
	for (skip_trivial(&b); b.next < nr; skip_trivial(&b)) {
		struct hs_remote_op *op = &ops[b.next];
		struct hs_remote_want want = { .nr = SYS_madvise,
					       .args = { op->start, op->end - op->start, (uint64_t)op->advice } };
		struct hs_remote_session s;
		uint64_t held;
		int rc;

		want.data_wanted = run_length(&b, r->vectored == HS_NO ? 1 : VECTOR_MAX) * sizeof(struct iovec);
		rc = hs_remote_pick(&s, r, &want, err);
		if (rc)
			return rc;
		rc = hold(&b, &s);
		held = hs_remote_now_us() - s.start_us;
		hs_remote_session_end(&s);

		if (rc == -EAGAIN || (rc == -ESRCH && !r->abandon)) {
			r->stats.nr_retries++;
			if (!hs_remote_time_left_us(r))
				return hs_remote_no_progress(r, s.tid, err);
			continue; /* a process that is gone is noticed by the next session */
		}
		if (rc == -EFAULT)
			return gone(r, err);
		if (rc == -EACCES)
			return hs_error_set(err, -ENOTSUP,
					    "a seccomp filter of process %d forbids madvise with advice %d", r->pid,
					    op->advice);
		if (rc || r->abandon)
			return hs_remote_no_progress(r, s.tid, err);
		if (b.next < nr && hs_remote_now_us() >= r->end_us) {
			r->late = true;
			return hs_error_set(err, -EAGAIN, "process %d is too slow: %zu of %zu operations done in %u s",
					    r->pid, b.next, nr, HS_REMOTE_LONGEST_MS / 1000);
		}
		/* A thread that has work to do gets as much time as was taken from it. */
		if (b.next < nr && held >= HOLD_US)
			(void)nanosleep(&(struct timespec){ .tv_nsec = (long)(held < 100000 ? held : 100000) * 1000 },
					NULL);
	}
	return 0;
}

int hs_remote_session_calls(struct hs_remote_session *s, struct hs_remote_call *calls, size_t nr, size_t *nr_done)
{
	int rc = 0;

	for (*nr_done = 0; *nr_done < nr; ++*nr_done) {
		struct hs_remote_call *c = &calls[*nr_done];
		bool data = c->data_arg >= 0 && c->data_size > 0;
		uint64_t args[6];

		memcpy(args, c->args, sizeof(args));
		if (c->data_arg >= 0)
			args[c->data_arg] = s->room.data;
		if (data && hs_remote_session_write(s, c->data, c->data_size))
			return -EAGAIN;
		rc = hs_remote_session_call(s, c->nr, args, &c->result);
		if (rc)
			return rc;
		if (data && hs_remote_session_read(s, c->data, c->data_size))
			c->result = -EFAULT;
	}
	return 0;
}

int hs_remote_calls_failed(struct hs_remote *r, int rc, long call_nr, struct hs_error *err)
{
	if (rc == -EFAULT)
		return gone(r, err);
	if (rc == -EACCES)
		return hs_error_set(err, -ENOTSUP, "a seccomp filter of process %d forbids system call %ld", r->pid,
				    call_nr);
	if (rc == -ETIMEDOUT || r->abandon)
		return hs_remote_no_progress(r, r->tid, err);
	return hs_error_set(err, rc == -ESRCH ? -ESRCH : -EAGAIN, "process %d got a signal between two calls", r->pid);
}

int hs_remote_batch_calls(struct hs_remote *r, struct hs_remote_call *calls, size_t nr, struct hs_error *err)
{
	size_t most = 0;

	for (size_t i = 0; i < nr; i++) {
		calls[i].result = -ECANCELED;
		if (calls[i].data_arg < -1 || calls[i].data_arg > 5 || calls[i].data_size > REMOTE_DATA_MAX ||
		    (calls[i].data_arg >= 0 && calls[i].data_size && !calls[i].data))
			return hs_error_set(err, -EINVAL, "call %zu: data_arg or data_size out of range", i);
		if (calls[i].data_arg >= 0 && calls[i].data_size > most)
			most = calls[i].data_size;
	}
	if (nr == 0)
		return 0;

	do {
		struct hs_remote_want want = { .nr = calls[0].nr, .data_wanted = most, .data_least = most };
		struct hs_remote_session s;
		size_t i;
		int rc;

		memcpy(want.args, calls[0].args, sizeof(want.args));
		rc = hs_remote_pick(&s, r, &want, err);
		if (rc)
			return rc;
		rc = hs_remote_session_calls(&s, calls, nr, &i);
		hs_remote_session_end(&s);
		if (rc == 0)
			return 0;
		/* "In one stop" is a promise: what has begun is not gone on with in another. */
		if (i > 0 || (rc != -EAGAIN && rc != -ESRCH) || r->abandon)
			return hs_remote_calls_failed(r, rc, calls[i].nr, err);
		r->stats.nr_retries++;
	} while (hs_remote_time_left_us(r));
	return hs_remote_no_progress(r, r->tid, err);
}
