/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest runs in protected mode without paging: every address it uses is guest-physical. Its code and the list of
 * pages are in a small slot of their own, shared with the test; the RAM proper is never touched but on command.
 */
#include "vmm.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define BOX_GPA   0x100000U   /* code, then the box */
#define TABLE_GPA 0xfee0f000U /* for Intel's real mode; never touched */
#define DONE_PORT 0x10
#define SECOND    (1U << 16) /* a slot's number in the second address space */
#define BOX_SLOT  31U

enum op { OP_TOUCH, OP_SPIN, OP_UNSPIN, OP_HOST_TOUCH, OP_FILL, OP_CHECK, OP_LOG, OP_DIRTY, OP_PLUG, OP_COPY };

/* The first words are the guest's: see the code below. */
struct vmm_box {
	uint32_t nr, write, repeat, stop, rounds, pad[3];
	uint32_t address[VMM_MAX_PAGES];
	/* the VMM's */
	uint32_t op, page, arg;
	int32_t answer;
	uint64_t base;
};

/* ebx: the box. Goes through the list once, or until told to stop; then an output to DONE_PORT, and again. */
extern const uint8_t vmm_code[], vmm_code_end[];
__asm__(".pushsection .rodata\n"
	".code32\n"
	"vmm_code:\n"
	"	mov $0x101000, %ebx\n"
	"1:	mov (%ebx), %ecx\n"
	"	mov 4(%ebx), %edx\n"
	"	lea 32(%ebx), %esi\n"
	"	cld\n"
	"2:	test %ecx, %ecx\n"
	"	jz 5f\n"
	"	lodsl\n"
	"	test %edx, %edx\n"
	"	jz 3f\n"
	"	orb $0, (%eax)\n"
	"	jmp 4f\n"
	"3:	mov (%eax), %edi\n"
	"4:	dec %ecx\n"
	"	jmp 2b\n"
	"5:	incl 16(%ebx)\n"
	"	cmpl $0, 8(%ebx)\n"
	"	jz 6f\n"
	"	cmpl $0, 12(%ebx)\n"
	"	jz 1b\n"
	"6:	outb %al, $0x10\n"
	"	jmp 1b\n"
	"vmm_code_end:\n"
	".code64\n"
	".popsection\n");

/* ---- in the child ---- */

struct machine {
	const struct vmm_config *cfg;
	struct vmm_box *box;
	int vm, cpu;
	struct kvm_run *run;
	char *ram;
	pthread_t spinner;
};

static _Noreturn void die(const char *what)
{
	(void)fprintf(stderr, "vmm: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static bool is_display(const struct vmm_config *cfg, uint32_t slot)
{
	return cfg->display && slot == cfg->nr_slots - 1;
}

static int set_slot(struct machine *m, uint32_t i, uint32_t flags, bool present)
{
	const struct vmm_slot *s = &m->cfg->slots[i];
	struct kvm_userspace_memory_region r = {
		.slot = i,
		.flags = flags | (is_display(m->cfg, i) ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = s->gpa,
		.memory_size = present ? s->nr_huge * HS_HUGE_SIZE : 0,
		.userspace_addr = (uintptr_t)m->ram + (s->first_huge + is_display(m->cfg, i)) * HS_HUGE_SIZE,
	};

	if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &r))
		return -errno;
	if (!m->cfg->two_spaces)
		return 0;
	r.slot |= SECOND;
	return ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &r) ? -errno : 0;
}

static void make_ram(struct machine *m)
{
	size_t len = (m->cfg->nr_huge + m->cfg->display) * HS_HUGE_SIZE;
	char *all = mmap(NULL, len + 2 * HS_HUGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *p = (char *)(((uintptr_t)all + HS_HUGE_SIZE) & ~(uintptr_t)(HS_HUGE_SIZE - 1));

	if (all == MAP_FAILED ||
	    mmap(p, len, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < len; i += HS_BASE_SIZE)
		p[i] = 1;
	for (int tries = 0; madvise(p, len, MADV_COLLAPSE); tries++)
		if (tries == 50)
			die("MADV_COLLAPSE");
	/* What parts a display's memory from the rest, as QEMU's guard pages do. */
	if (m->cfg->display &&
	    mprotect(p + m->cfg->slots[m->cfg->nr_slots - 1].first_huge * HS_HUGE_SIZE, HS_HUGE_SIZE, PROT_NONE))
		die("mprotect");
	/* A flag at one base page parts the mapping of its huge page, and leaves the page whole. */
	for (uint32_t i = 0; i < m->cfg->nr_split; i++) {
		char *first = p + m->cfg->split_huge[i] * HS_HUGE_SIZE;

		if (madvise(first, HS_BASE_SIZE, MADV_DONTDUMP) || madvise(first, HS_BASE_SIZE, MADV_DODUMP))
			die("madvise");
		/* The kernel cuts a huge page up when a part of it is to be cold. */
		if (m->cfg->cut_folios && madvise(first, HS_BASE_SIZE, MADV_COLD))
			die("MADV_COLD");
	}
	m->ram = p;
}

static void make_machine(struct machine *m, char *shared)
{
	struct kvm_userspace_memory_region r = { .slot = BOX_SLOT,
						 .guest_phys_addr = BOX_GPA,
						 .memory_size = HS_BASE_SIZE + 70 * HS_BASE_SIZE,
						 .userspace_addr = (uintptr_t)shared };
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { 3 } };
	/* Interrupts on, of which there are none: under Bochs a guest that has them off keeps its host from its own. */
	struct kvm_regs regs = { .rip = BOX_GPA, .rflags = 0x202 };
	struct kvm_sregs sregs;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		die("/dev/kvm");
	m->vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (m->vm < 0)
		die("KVM_CREATE_VM");
	(void)ioctl(m->vm, KVM_SET_TSS_ADDR, (unsigned long)TABLE_GPA - 0x10000);
	if (!m->cfg->no_manual && ioctl(m->vm, KVM_ENABLE_CAP, &cap))
		die("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2");
	if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &r))
		die("the box's slot");
	for (uint32_t i = 0; i < m->cfg->nr_slots; i++)
		if (set_slot(m, i, 0, true))
			die("KVM_SET_USER_MEMORY_REGION");
	m->cpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	if (m->cpu < 0)
		die("KVM_CREATE_VCPU");
	m->run =
	    mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, m->cpu, 0);
	if (m->run == MAP_FAILED || ioctl(m->cpu, KVM_GET_SREGS, &sregs))
		die("the processor");
	sregs.cr0 |= 1;
	sregs.cs.base = sregs.ds.base = sregs.es.base = sregs.ss.base = 0;
	sregs.cs.limit = sregs.ds.limit = sregs.es.limit = sregs.ss.limit = 0xffffffff;
	sregs.cs.g = sregs.ds.g = sregs.es.g = sregs.ss.g = 1;
	sregs.cs.db = sregs.ds.db = sregs.es.db = sregs.ss.db = 1;
	sregs.cs.selector = 8;
	sregs.ds.selector = sregs.es.selector = sregs.ss.selector = 16;
	sregs.cs.type = 11;
	sregs.ds.type = sregs.es.type = sregs.ss.type = 3;
	if (ioctl(m->cpu, KVM_SET_SREGS, &sregs) || ioctl(m->cpu, KVM_SET_REGS, &regs))
		die("the processor's registers");
	close(kvm);
}

/* Until the guest says that it is through the list. */
static void run_guest(struct machine *m)
{
	for (;;) {
		if (ioctl(m->cpu, KVM_RUN, 0)) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			die("KVM_RUN");
		}
		if (m->run->exit_reason == KVM_EXIT_IO && m->run->io.port == DONE_PORT)
			return;
		(void)fprintf(stderr, "vmm: the guest left with reason %u\n", m->run->exit_reason);
		_exit(1);
	}
}

static void *spin(void *ctx)
{
	run_guest(ctx);
	return NULL;
}

static int count_dirty(struct machine *m, uint32_t slot)
{
	size_t nr = (size_t)m->cfg->slots[slot].nr_huge * HS_BASE_PER_HUGE;
	uint64_t *bits = calloc(nr / 64, sizeof(*bits));
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bits };
	int n = 0;

	if (!bits)
		die("calloc");
	if (ioctl(m->vm, KVM_GET_DIRTY_LOG, &log))
		n = -errno;
	for (size_t i = 0; n >= 0 && i < nr / 64; i++)
		n += __builtin_popcountll(bits[i]);
	free(bits);
	return n;
}

/* Writes a page's content, or compares it: 1 when it is another. */
static int contents(struct machine *m, uint32_t page, uint32_t content, bool write)
{
	uint64_t *words = (uint64_t *)(void *)(m->ram + (size_t)page * HS_BASE_SIZE);

	for (uint32_t i = 0; i < HS_BASE_SIZE / 8; i++) {
		uint64_t word = content ? content * UINT64_C(0x9e3779b97f4a7c15) + i : 0;

		if (write)
			words[i] = word;
		else if (words[i] != word)
			return 1;
	}
	return 0;
}

static pid_t copy(const struct machine *m)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t i = 0; i < m->cfg->nr_huge; i++)
		(void)*(volatile char *)(m->ram + i * HS_HUGE_SIZE);
	for (;;)
		(void)pause();
}

static void serve(struct machine *m)
{
	struct vmm_box *box = m->box;
	volatile char *at = m->ram + (size_t)box->page * HS_BASE_SIZE;

	box->answer = 0;
	switch (box->op) {
	case OP_TOUCH:
		run_guest(m);
		break;
	case OP_SPIN:
		if (pthread_create(&m->spinner, NULL, spin, m))
			die("pthread_create");
		break;
	case OP_UNSPIN:
		pthread_join(m->spinner, NULL);
		break;
	case OP_HOST_TOUCH:
		*at = *at;
		break;
	case OP_FILL:
	case OP_CHECK:
		for (uint32_t i = 0; i < m->cfg->nr_huge * HS_BASE_PER_HUGE; i++)
			box->answer += contents(m, i, box->address[i], box->op == OP_FILL);
		break;
	case OP_LOG:
		for (uint32_t i = 0; i < m->cfg->nr_slots && !box->answer; i++)
			box->answer = set_slot(m, i, box->arg ? KVM_MEM_LOG_DIRTY_PAGES : 0, true);
		break;
	case OP_DIRTY:
		box->answer = count_dirty(m, box->arg);
		break;
	case OP_PLUG:
		box->answer = set_slot(m, m->cfg->nr_slots - 1, 0, box->arg);
		break;
	case OP_COPY:
		box->answer = copy(m);
		break;
	default:
		box->answer = -EINVAL;
	}
}

static _Noreturn void child(const struct vmm_config *cfg, char *shared, int in, int out)
{
	struct machine m = { .cfg = cfg, .box = (struct vmm_box *)(void *)(shared + HS_BASE_SIZE) };
	char c;

	memcpy(shared, vmm_code, (size_t)(vmm_code_end - vmm_code));
	make_ram(&m);
	make_machine(&m, shared);
	m.box->base = (uintptr_t)m.ram;
	run_guest(&m); /* once through an empty list: its tables are there */
	if (write(out, "r", 1) != 1)
		_exit(1);
	while (read(in, &c, 1) == 1) {
		serve(&m);
		if (write(out, "r", 1) != 1)
			_exit(1);
	}
	_exit(0);
}

/* ---- in the test ---- */

bool vmm_start(struct vmm *m, const struct vmm_config *cfg)
{
	size_t shared_size = 72 * HS_BASE_SIZE;
	int to[2], from[2];
	char *shared, c;

	_Static_assert(sizeof(struct vmm_box) <= 70 * 4096, "the box fits into its slot");
	if (access("/dev/kvm", R_OK | W_OK))
		return false;
	*m = (struct vmm){ .cfg = *cfg };
	shared = mmap(NULL, shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	m->box = (struct vmm_box *)(void *)(shared + HS_BASE_SIZE);
	ck_assert(!pipe(to) && !pipe(from));
	(void)signal(SIGPIPE, SIG_IGN);
	m->pid = fork();
	ck_assert_int_ge(m->pid, 0);
	if (!m->pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(to[1]);
		close(from[0]);
		child(&m->cfg, shared, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	m->to = to[1];
	m->from = from[0];
	ck_assert_int_eq(read(m->from, &c, 1), 1);
	m->base = m->box->base;
	return true;
}

void vmm_stop(struct vmm *m)
{
	kill(m->pid, SIGKILL);
	waitpid(m->pid, NULL, 0);
	close(m->to);
	close(m->from);
	munmap((char *)m->box - HS_BASE_SIZE, 72 * HS_BASE_SIZE);
}

static int ask(struct vmm *m, enum op op, uint32_t page, uint32_t arg)
{
	char c;

	m->box->op = op;
	m->box->page = page;
	m->box->arg = arg;
	ck_assert_int_eq(write(m->to, "c", 1), 1);
	ck_assert_int_eq(read(m->from, &c, 1), 1);
	return m->box->answer;
}

static uint32_t gpa_of(const struct vmm *m, uint32_t page)
{
	for (uint32_t i = 0; i < m->cfg.nr_slots; i++) {
		const struct vmm_slot *s = &m->cfg.slots[i];
		uint32_t huge = page / HS_BASE_PER_HUGE;

		if (huge >= s->first_huge && huge - s->first_huge < s->nr_huge)
			return s->gpa + (page - s->first_huge * HS_BASE_PER_HUGE) * (uint32_t)HS_BASE_SIZE;
	}
	ck_abort_msg("page %u is in no slot", page);
}

static void put_pages(struct vmm *m, const uint32_t *pages, uint32_t nr, bool write, bool repeat)
{
	ck_assert_uint_le(nr, VMM_MAX_PAGES);
	for (uint32_t i = 0; i < nr; i++)
		m->box->address[i] = gpa_of(m, pages[i]);
	m->box->nr = nr;
	m->box->write = write;
	m->box->repeat = repeat;
	m->box->stop = 0;
}

void vmm_touch(struct vmm *m, const uint32_t *pages, uint32_t nr, bool write)
{
	put_pages(m, pages, nr, write, false);
	(void)ask(m, OP_TOUCH, 0, 0);
}

void vmm_spin(struct vmm *m, const uint32_t *pages, uint32_t nr, bool write)
{
	put_pages(m, pages, nr, write, true);
	m->box->rounds = 0;
	(void)ask(m, OP_SPIN, 0, 0);
}

void vmm_await_rounds(struct vmm *m, uint32_t nr)
{
	volatile uint32_t *rounds = &m->box->rounds;
	uint32_t from = *rounds;

	for (int ms = 0; *rounds - from < nr; ms++) {
		ck_assert_msg(ms < 60000, "the guest stands still");
		(void)usleep(1000);
	}
}

void vmm_unspin(struct vmm *m)
{
	*(volatile uint32_t *)&m->box->stop = 1;
	(void)ask(m, OP_UNSPIN, 0, 0);
}

void vmm_touch_from_host(struct vmm *m, uint32_t page)
{
	(void)ask(m, OP_HOST_TOUCH, page, 0);
}

static int all_pages(struct vmm *m, enum op op, const uint32_t *contents_of)
{
	uint32_t nr = m->cfg.nr_huge * HS_BASE_PER_HUGE;

	ck_assert_uint_le(nr, VMM_MAX_PAGES);
	memcpy(m->box->address, contents_of, nr * sizeof(*contents_of));
	return ask(m, op, 0, 0);
}

void vmm_fill(struct vmm *m, const uint32_t *contents_of)
{
	(void)all_pages(m, OP_FILL, contents_of);
}

uint32_t vmm_bad_pages(struct vmm *m, const uint32_t *contents_of)
{
	return (uint32_t)all_pages(m, OP_CHECK, contents_of);
}

int vmm_log(struct vmm *m, bool on)
{
	return ask(m, OP_LOG, 0, on);
}

int vmm_dirty(struct vmm *m, uint32_t slot)
{
	return ask(m, OP_DIRTY, 0, slot);
}

void vmm_plug(struct vmm *m, bool in)
{
	ck_assert_int_eq(ask(m, OP_PLUG, 0, in), 0);
}

pid_t vmm_copy(struct vmm *m)
{
	return ask(m, OP_COPY, 0, 0);
}
