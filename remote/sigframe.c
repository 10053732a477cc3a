/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signal frame that brings a thread back to itself, as the kernel would have written it for a handler that is about
 * to return: registers, signal mask, extended state. Only the alternate signal stack is left out on purpose: its flags
 * are ones that the kernel refuses (and goes on), so the thread keeps what it has.
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "remote_internal.h"

#define UC_FP_XSTATE         1U
#define UC_SIGCONTEXT_SS     2U
#define UC_STRICT_RESTORE_SS 4U
#define XSTATE_MAGIC1        0x46505853U
#define XSTATE_MAGIC2        0x46505845U
#define XSTATE_SW_OFFSET     464U /* in the legacy area: bytes for software */
#define XSTATE_HEADER        512U
#define XSTATE_LEAST         576U
#define XFEATURE_FPSSE       3U
#define XFEATURE_TILEDATA    (1ULL << 18) /* given to a process only when it asks, so a frame may be too large for it */
#define SS_FLAGS_REFUSED     0x7f

/* The kernel's layout of the frame on x86-64. */
struct sigframe {
	uint64_t return_address;
	uint64_t uc_flags;
	uint64_t uc_link;
	uint64_t ss_sp;
	uint32_t ss_flags, ss_pad;
	uint64_t ss_size;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip;
	uint64_t eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2;
	uint64_t fpstate;
	uint64_t reserved[8];
	uint64_t sigmask;
	uint8_t siginfo[128]; /* has to be there, is not read */
};
_Static_assert(sizeof(struct sigframe) == 440, "the kernel's rt_sigframe");

/* The software bytes of the extended state. */
struct xstate_sw {
	uint32_t magic1;
	uint32_t extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size;
	uint32_t pad[7];
};

int hs_remote_xstate_prepare(uint8_t *xstate, size_t got, size_t *size)
{
	struct xstate_sw sw = { 0 };
	uint64_t enabled, present;
	uint32_t end = XSTATE_LEAST;

	if (got < XSTATE_LEAST)
		return -ENOTSUP;
	/* Where rt_sigreturn wants its own words, ptrace puts the mask of the features that the system has on. */
	memcpy(&enabled, xstate + XSTATE_SW_OFFSET, sizeof(enabled));
	memcpy(&present, xstate + XSTATE_HEADER, sizeof(present));
	if ((enabled & XFEATURE_FPSSE) != XFEATURE_FPSSE)
		return -ENOTSUP;
	if (!(present & XFEATURE_TILEDATA))
		enabled &= ~XFEATURE_TILEDATA;

	for (unsigned int i = 2; i < 63; i++) {
		unsigned int a, b, c, d;

		if (!(enabled >> i & 1))
			continue;
		if (!__get_cpuid_count(0xd, i, &a, &b, &c, &d) || a == 0)
			return -ENOTSUP;
		if (a + b > end)
			end = a + b;
	}
	if (end > got || end + sizeof(uint32_t) > REMOTE_XSTATE_MAX)
		return -ENOTSUP;

	present |= XFEATURE_FPSSE; /* the legacy area is always filled in */
	present &= enabled;
	memcpy(xstate + XSTATE_HEADER, &present, sizeof(present));
	sw.magic1 = XSTATE_MAGIC1;
	sw.extended_size = end + (uint32_t)sizeof(uint32_t);
	sw.xfeatures = enabled;
	sw.xstate_size = end;
	memcpy(xstate + XSTATE_SW_OFFSET, &sw, sizeof(sw));
	memcpy(xstate + end, &(uint32_t){ XSTATE_MAGIC2 }, sizeof(uint32_t));
	*size = end + sizeof(uint32_t);
	return 0;
}

int hs_remote_layout_below(uint64_t sp, uint64_t low, size_t xstate_size, size_t wanted, size_t least,
			   struct hs_remote_room *out)
{
	size_t fixed = xstate_size + sizeof(struct sigframe) + 64 + 64 + 24; /* and all that is lost to alignment */

	if (sp < REMOTE_RED_ZONE + 64)
		return -ENOSPC;
	/*
	 * Data above the frame, never below: the frame's address becomes rsp, and if we die and a signal comes before
	 * the call was made, the handler's frame goes below it.
	 */
	out->end = (sp - REMOTE_RED_ZONE) & ~63ULL;
	if (out->end < low || out->end - low < fixed + least)
		return -ENOSPC;
	out->data_size = wanted;
	if (out->data_size > out->end - low - fixed)
		out->data_size = (out->end - low - fixed) & ~63ULL;
	if (out->data_size < least)
		out->data_size = least;
	out->data = (out->end - out->data_size) & ~63ULL;
	out->xstate = (out->data - xstate_size) & ~63ULL;
	out->frame = ((out->xstate - sizeof(struct sigframe)) & ~15ULL) - 8;
	return 0;
}

void hs_remote_sigframe_build(uint8_t *image, const struct hs_remote_sigframe *want)
{
	const struct user_regs_struct *regs = want->regs;
	const struct hs_remote_room *room = want->room;
	struct sigframe f = {
		.return_address = want->sigreturn,
		.uc_flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
		.ss_flags = SS_FLAGS_REFUSED,
		.r8 = regs->r8,
		.r9 = regs->r9,
		.r10 = regs->r10,
		.r11 = regs->r11,
		.r12 = regs->r12,
		.r13 = regs->r13,
		.r14 = regs->r14,
		.r15 = regs->r15,
		.rdi = regs->rdi,
		.rsi = regs->rsi,
		.rbp = regs->rbp,
		.rbx = regs->rbx,
		.rdx = regs->rdx,
		.rax = regs->rax,
		.rcx = regs->rcx,
		.rsp = regs->rsp,
		.rip = regs->rip,
		.eflags = regs->eflags,
		.cs = (uint16_t)regs->cs,
		.ss = (uint16_t)regs->ss,
		.oldmask = want->sigmask,
		.fpstate = room->xstate,
		.sigmask = want->sigmask,
	};

	memset(image, 0, room->data - room->frame);
	memcpy(image, &f, sizeof(f));
	memcpy(image + (room->xstate - room->frame), want->xstate, want->xstate_size);
}
