/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads pages of another process's page tables, through the kernel's direct map of physical memory. Started by
 * host_walk.c with bpf_prog_test_run, runs in the context of the caller, changes nothing.
 *
 * There is no lock here: tables can change, be freed and be used for something else while we read. So
 *  - every read is a bpf_probe_read_kernel, which fails instead of faulting, wherever a stale entry may lead;
 *  - the struct mm_struct itself cannot go away: the loader holds the /proc file that pins it;
 *  - after a table has been copied, the entry that pointed to it is read again: a table that was taken out meanwhile is
 *    reported as changed, which the view calls unknown;
 *  - mm_users is read before and after: 0 means that the process has left, and its tables with it.
 * What comes out is a hint all the same: nothing that matters is ever decided from it alone.
 */
#include "kernel_types.h"

#include "host_walk_abi.h"

/* The kernel offers bpf_probe_read_kernel to programs whose licence, as they say here, is compatible with the GPL. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, HS_WALK_MAX_REQS);
	__type(key, __u32);
	__type(value, __u8[HS_WALK_PAGE]);
} pages SEC(".maps");

struct hs_walk_run run;
struct hs_walk_find find;
struct hs_walk_req reqs[HS_WALK_MAX_REQS];

/* x86-64 page-table entries; the loader's side of this knowledge is x86_entry.h, and nested_entry.h for KVM's own. */
#define ENTRY_PRESENT  (run.present)
#define ENTRY_LEAF     (1ULL << 7) /* in a PUD or PMD entry */
#define ENTRY_IDENTITY (run.phys_mask | ENTRY_PRESENT | ENTRY_LEAF)

#define SHIFT_P4D 39 /* of the entry in the table that has 512 GiB an entry; level 4 of 4, 4 of 5 */
#define SHIFT_PUD 30
#define SHIFT_PMD 21
#define SHIFT_PTE 12

static __always_inline int read_entry(__u64 table, __u64 va, int shift, __u64 *entry)
{
	return bpf_probe_read_kernel(entry, sizeof(*entry), (void *)(table + ((va >> shift) & 511) * 8));
}

static __always_inline __u64 table_of(__u64 entry)
{
	return run.base + (entry & run.phys_mask);
}

/* Copies a table, then looks again at the entry that led to it (the accessed bit of that entry may change freely). */
static __always_inline __u32 copy_table(void *page, __u64 parent_table, __u64 va, int shift, __u64 entry)
{
	__u64 again;

	if (bpf_probe_read_kernel(page, HS_WALK_PAGE, (void *)table_of(entry)))
		return HS_WALK_FAULT;
	if (read_entry(parent_table, va, shift, &again))
		return HS_WALK_FAULT;
	return ((again ^ entry) & ENTRY_IDENTITY) ? HS_WALK_CHANGED : HS_WALK_COPIED;
}

static __always_inline __u32 copy_data(void *page, __u64 entry, __u64 va, int shift)
{
	__u64 within = (1ULL << shift) - 1;
	__u64 phys = (entry & run.phys_mask & ~within) | (va & within & ~(__u64)(HS_WALK_PAGE - 1));

	return bpf_probe_read_kernel(page, HS_WALK_PAGE, (void *)(run.base + phys)) ? HS_WALK_FAULT : HS_WALK_COPIED;
}

static __always_inline __u32 walk(struct hs_walk_req *r, void *page)
{
	__u64 table = run.top ? run.top : run.pgd, va = r->va, entry;

	if (run.levels == 5) {
		if (read_entry(table, va, 48, &entry))
			return HS_WALK_FAULT;
		if (!(entry & ENTRY_PRESENT))
			return HS_WALK_NONE;
		table = table_of(entry);
	}
	if (read_entry(table, va, SHIFT_P4D, &entry))
		return HS_WALK_FAULT;
	if (!(entry & ENTRY_PRESENT))
		return HS_WALK_NONE;
	table = table_of(entry);

	if (read_entry(table, va, SHIFT_PUD, &entry))
		return HS_WALK_FAULT;
	r->entry = entry;
	if (!(entry & ENTRY_PRESENT))
		return HS_WALK_NONE;
	if (entry & ENTRY_LEAF)
		return r->kind == HS_WALK_DATA ? copy_data(page, entry, va, SHIFT_PUD) : HS_WALK_LEAF_1G;
	if (r->kind == HS_WALK_PMD_PAGE)
		return copy_table(page, table, va, SHIFT_PUD, entry);
	table = table_of(entry);

	if (read_entry(table, va, SHIFT_PMD, &entry))
		return HS_WALK_FAULT;
	r->entry = entry;
	if (r->kind == HS_WALK_PMD_ENTRY || !(entry & ENTRY_PRESENT))
		return HS_WALK_ENTRY;
	if (entry & ENTRY_LEAF)
		return r->kind == HS_WALK_DATA ? copy_data(page, entry, va, SHIFT_PMD) : HS_WALK_ENTRY;
	if (r->kind == HS_WALK_PTE_PAGE)
		return copy_table(page, table, va, SHIFT_PMD, entry);
	table = table_of(entry);

	if (read_entry(table, va, SHIFT_PTE, &entry))
		return HS_WALK_FAULT;
	if (!(entry & ENTRY_PRESENT))
		return HS_WALK_ENTRY;
	return copy_data(page, entry, va, SHIFT_PTE);
}

static long walk_one(__u32 i, void *ctx)
{
	struct hs_walk_req *r;
	void *page = bpf_map_lookup_elem(&pages, &i);

	(void)ctx;
	if (!page || i >= HS_WALK_MAX_REQS)
		return 1;
	r = &reqs[i];
	r->entry = 0;
	r->status = walk(r, page);
	return 0;
}

SEC("syscall")
int hs_walk_tables(void *ctx)
{
	struct mm_struct *mm = (struct mm_struct *)run.mm;
	__u32 nr = run.nr;

	(void)ctx;
	if (!mm)
		mm = BPF_CORE_READ(bpf_get_current_task_btf(), mm);
	run.users_after = 0;
	run.users_before = BPF_CORE_READ(mm, mm_users.counter);
	run.map_count = BPF_CORE_READ(mm, map_count);
	run.pgd = (__u64)BPF_CORE_READ(mm, pgd);
	if (run.users_before <= 0 || !run.pgd)
		return 0;
	if (nr > HS_WALK_MAX_REQS)
		nr = HS_WALK_MAX_REQS;
	if (nr)
		bpf_loop(nr, walk_one, NULL, 0);
	run.users_after = BPF_CORE_READ(mm, mm_users.counter);
	return 0;
}

/*
 * From a descriptor of ours to the mm_struct it pins: both /proc/PID/pagemap and /proc/PID/mem keep it in private_data
 * (6.1 to 6.18 at least). The loader opens both and believes the answer only when the two agree.
 */
SEC("syscall")
int hs_walk_find_mm(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mm_struct *mm;

	(void)ctx;
	find.mm = 0;
	find.pgd = 0;
	find.own_mm = (__u64)BPF_CORE_READ(task, mm);
	mm = hs_private_of_fd(find.fd);
	if (!mm)
		return 0;
	find.pgd = (__u64)BPF_CORE_READ(mm, pgd);
	find.mm = (__u64)mm;
	return 0;
}
