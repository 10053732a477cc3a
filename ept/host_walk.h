/*
 * The loaded BPF program that reads page tables: one for the whole process, shared by all views and counted. Calls may
 * come from any thread; one run at a time goes through the program's request table, under a lock.
 */
#ifndef HS_EPT_HOST_WALK_H
#define HS_EPT_HOST_WALK_H

#include <linux/types.h>

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"
#include "host_base.h"
#include "ept/bpf/host_walk_abi.h"

struct hs_walk;

/*
 * Loads the program and finds the direct map, or takes another reference to what is there already. -EPERM, -ENOTSUP,
 * -ENOMEM; the text says what stands in the way.
 */
HS_MUST_USE int hs_walk_get(struct hs_walk **out, const struct hs_host *host, struct hs_error *err);
void hs_walk_put(struct hs_walk *w); /* takes NULL */

const struct hs_base *hs_walk_base(const struct hs_walk *w);

/*
 * The struct mm_struct behind the open file `pagemap_fd` (/proc/PID/pagemap), believed only when `mem_fd`
 * (/proc/PID/mem) has the same. *mm is good for hs_walk_run while either file is open: the file pins it. -ESRCH,
 * without a text: there is none.
 */
HS_MUST_USE int hs_walk_find_mm(struct hs_walk *w, int pagemap_fd, int mem_fd, uint64_t *mm, struct hs_error *err);

/* What is given back for each request, in order; `page` is only good during the call, and only for HS_WALK_COPIED. */
typedef void (*hs_walk_fn)(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page);

/*
 * Answers nr requests (any number; `va` and `kind` filled in) through `fn`. Returns 0, or -ESRCH when the process has
 * left that address space: what `fn` got until then is to be forgotten.
 */
HS_MUST_USE int hs_walk_run(struct hs_walk *w, uint64_t mm, const struct hs_walk_req *reqs, size_t nr, hs_walk_fn fn,
			    void *ctx);

/*
 * Tables of the same form that are not the process's own: KVM's nested ones. `table`: the kernel's address of the top
 * one; `present`: the bit that an entry which leads or maps somewhere has set; `levels`: 4 or 5. Requests name
 * guest-physical addresses then. The walk does not know whether the top table is still in use: its caller asks before
 * and after.
 */
struct hs_walk_top {
	uint64_t mm; /* the process's address space, as above */
	uint64_t table;
	uint64_t present;
	uint32_t levels;
};
HS_MUST_USE int hs_walk_run_from(struct hs_walk *w, const struct hs_walk_top *top, const struct hs_walk_req *reqs,
				 size_t nr, hs_walk_fn fn, void *ctx);

/* 0 while the process is in that address space, else -ESRCH. *nr_vmas (may be NULL): its number of VMAs. */
HS_MUST_USE int hs_walk_alive(struct hs_walk *w, uint64_t mm, int *nr_vmas);

/* How many tasks have that address space, and who looks at it just now (mm_users); 0: it has been left. */
int hs_walk_users(struct hs_walk *w, uint64_t mm);

#endif
