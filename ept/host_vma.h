/* The VMAs of a guest's process, and which of them are guest memory. */
#ifndef HS_EPT_HOST_VMA_H
#define HS_EPT_HOST_VMA_H

#include "hs/error.h"
#include "hs/types.h"
#include "hs/view.h"

enum {
	HS_VMA_READ = 1U << 0,
	HS_VMA_WRITE = 1U << 1,
	HS_VMA_EXEC = 1U << 2,
	HS_VMA_SHARED = 1U << 3,
	HS_VMA_ANON = 1U << 4,    /* of no file, and none of the process's own ([heap], [stack], ...) */
	HS_VMA_SPECIAL = 1U << 5, /* [heap], [stack], [vdso], ... */
	/* From smaps alone: */
	HS_VMA_DONTDUMP = 1U << 8,
	HS_VMA_NOHUGE = 1U << 9,
	HS_VMA_MERGEABLE = 1U << 10,
	HS_VMA_HUGETLB = 1U << 11,
};

struct hs_vma {
	uint64_t start, end;
	uint32_t flags;
	uint32_t name; /* offset into the list's text, of the name at the line's end; 0: no name */
};

struct hs_vma_list {
	struct hs_vma *vma; /* sorted by address */
	size_t nr;
	char *text;
};

/* Reads the file `name` ("maps" or "smaps") of the /proc/PID folder `dir_fd`. -ESRCH: the process is gone. */
HS_MUST_USE int hs_vma_read(struct hs_vma_list *out, int dir_fd, const char *name);

/* Parses the text of such a file; takes over `text` (malloc'ed, terminated), also when it fails. -ENOMEM. */
HS_MUST_USE int hs_vma_parse(struct hs_vma_list *out, char *text);
void hs_vma_finish(struct hs_vma_list *l);

const char *hs_vma_name(const struct hs_vma_list *l, const struct hs_vma *v);

/* The first VMA that ends above `addr`; l->nr when there is none. */
size_t hs_vma_above(const struct hs_vma_list *l, uint64_t addr);

/*
 * The regions of guest memory, as hs_view_open_host defines them. *out is malloc'ed. -ENODATA with a text that says
 * what was found instead (it names flags that only smaps has, when the list comes from there).
 */
HS_MUST_USE int hs_vma_regions(const struct hs_vma_list *l, uint64_t min_bytes, struct hs_region **out, size_t *nr,
			       uint32_t *nr_huge, struct hs_error *err);

/* One huge page of a region whose memory is not guest memory any more is `gone`. */
typedef void (*hs_vma_gone_fn)(void *ctx, hs_huge_nr huge, bool gone);

/*
 * Compares regions with the VMAs as they are now: tells `gone` of each huge page, and answers whether anything changed:
 * something gone, or new guest memory of at least min_bytes.
 */
bool hs_vma_compare(const struct hs_vma_list *l, uint64_t min_bytes, const struct hs_region *regions, size_t nr,
		    hs_vma_gone_fn gone, void *ctx);

#endif
