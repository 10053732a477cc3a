/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where in the guest's process a call can be made from: code that is there already, and memory that is surely free.
 *
 * Code: nothing is written to it. `syscall; ret` makes the call, and `mov $15, %eax; syscall`, the end of every signal
 * handler, brings the thread back. Both are in every C library, and in most programs that are linked without one.
 *
 * Memory: what lies below the red zone of a thread's stack is free by the ABI, as far down as the stack reaches. The
 * hard part is to know that rsp is in a stack that reaches down far enough, as programs may put a small stack anywhere.
 * Two cases are sure:
 *   - the main thread, rsp in the VMA that the kernel calls [stack];
 *   - another thread, rsp in an anonymous VMA that also holds the thread's control block (fs_base) above rsp, as
 *     thread libraries put it at the top of a stack, with a guard VMA right below.
 * A coroutine or a signal handler on a stack of its own is neither: that thread is asked later.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "remote_internal.h"

#define SCAN_CHUNK    (256U << 10) /* bytes read at a time */
#define GUARD_MAX     (1U << 20)   /* bytes; a guard is one page by default, a heap's reserve is megabytes */
#define THREAD_MARGIN (16U << 10)  /* bytes left free at a thread stack's end, for handlers that run after our death */

static const uint8_t call_code[] = { 0x0f, 0x05, 0xc3 };
static const uint8_t sigreturn_long[] = { 0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05 };
static const uint8_t sigreturn_short[] = { 0xb8, 15, 0, 0, 0, 0x0f, 0x05 };

struct scan {
	pid_t tid;
	bool libc_only;
	int error; /* of the last read */
	uint8_t *buf;
	struct hs_remote_gadgets *out;
};

static bool is_libc(const char *path)
{
	const char *base = strrchr(path, '/');

	return base && (strncmp(base, "/libc", 5) == 0 || strncmp(base, "/ld-musl", 8) == 0);
}

static void scan_bytes(struct scan *s, uint64_t addr, size_t len)
{
	struct hs_remote_gadgets *g = s->out;
	const uint8_t *p;

	if (!g->call) {
		p = memmem(s->buf, len, call_code, sizeof(call_code));
		if (p)
			g->call = addr + (uint64_t)(p - s->buf);
	}
	if (g->sigreturn)
		return;
	p = memmem(s->buf, len, sigreturn_long, sizeof(sigreturn_long));
	g->sigreturn_size = sizeof(sigreturn_long);
	if (!p) {
		p = memmem(s->buf, len, sigreturn_short, sizeof(sigreturn_short));
		g->sigreturn_size = sizeof(sigreturn_short);
	}
	if (p) {
		g->sigreturn = addr + (uint64_t)(p - s->buf);
		memcpy(g->sigreturn_bytes, p, g->sigreturn_size);
	}
}

static int scan_vma(const struct hs_remote_vma *vma, void *ctx)
{
	struct scan *s = ctx;
	const size_t overlap = sizeof(sigreturn_long) - 1;

	if (!vma->read || !vma->exec || vma->write || vma->shared || !vma->file)
		return 0;
	if (s->libc_only != is_libc(vma->name))
		return 0;
	for (uint64_t at = vma->start; at < vma->end; at += SCAN_CHUNK - overlap) {
		struct iovec local = { s->buf, SCAN_CHUNK }, remote = { (void *)at, SCAN_CHUNK };
		ssize_t n;

		if (vma->end - at < SCAN_CHUNK)
			remote.iov_len = (size_t)(vma->end - at);
		n = hs_remote_sys->vm_read(s->tid, &local, &remote, 1);
		if (n <= 0) {
			s->error = n < 0 ? errno : EFAULT;
			return 0;
		}
		scan_bytes(s, at, (size_t)n);
		if (s->out->call && s->out->sigreturn)
			return 1;
		if ((size_t)n < SCAN_CHUNK)
			break;
	}
	return 0;
}

int hs_remote_find_gadgets(int maps_fd, pid_t tid, struct hs_remote_gadgets *out, struct hs_error *err)
{
	struct scan s = { .tid = tid, .out = out, .buf = hs_remote_sys->alloc(1, SCAN_CHUNK) };
	int rc = 0;

	*out = (struct hs_remote_gadgets){ .call = 0 };
	if (!s.buf)
		return hs_error_set(err, -ENOMEM, "no memory");
	for (int pass = 0; pass < 2 && rc == 0; pass++) {
		s.libc_only = pass == 0; /* the likely place first: a big program is not read through for nothing */
		rc = hs_remote_each_vma(maps_fd, scan_vma, &s);
	}
	free(s.buf);
	if (rc == 1)
		return 0;
	if (rc == -ESRCH || s.error == ESRCH)
		return hs_error_set(err, -ESRCH, "process %d is gone", tid);
	if (rc == -EPERM || rc == -EACCES || s.error == EPERM)
		return hs_remote_forbidden(tid, err);
	if (rc < 0)
		return hs_error_set(err, rc, "cannot read the mappings of process %d: %s", tid, strerror(-rc));
	return hs_error_set(err, -ENOTSUP,
			    "process %d has no %s in its code to make calls from: it cannot share memory", tid,
			    out->call ? "rt_sigreturn" : "`syscall; ret`");
}

int hs_remote_layout_find(const struct hs_remote_layout_query *q, struct hs_remote_room *out, struct hs_error *err)
{
	const struct user_regs_struct *regs = q->regs;
	struct hs_remote_vma vma, below;
	uint64_t low;
	int rc = hs_remote_find_vma(q->maps_fd, q->no_query, regs->rsp, &vma, &below);

	if (rc == -ESRCH)
		return hs_error_set(err, -ESRCH, "the process is gone, or runs another program");
	if (rc)
		return hs_error_set(err, -EAGAIN, "the thread's stack could not be found: %s", strerror(-rc));
	if (!vma.read || !vma.write || vma.exec || vma.shared || vma.file)
		return hs_error_set(err, -EAGAIN, "the thread's stack is not private anonymous memory");

	if (strcmp(vma.name, "[stack]") == 0) {
		if (!q->is_main)
			return hs_error_set(err, -EAGAIN, "a thread runs on the main thread's stack");
		low = vma.start;
	} else {
		bool guard = below.end == vma.start && !below.read && !below.write && !below.exec && !below.file &&
			     below.end > below.start && below.end - below.start <= GUARD_MAX;

		if (q->is_main || !guard || regs->fs_base <= regs->rsp || regs->fs_base >= vma.end)
			return hs_error_set(err, -EAGAIN, "the thread runs on a stack of its own making");
		low = vma.start + THREAD_MARGIN;
	}
	if (hs_remote_layout_below(regs->rsp, low, q->xstate_size, q->data_wanted, q->data_least, out))
		return hs_error_set(err, -EAGAIN, "too little room is left on the thread's stack");
	return 0;
}
