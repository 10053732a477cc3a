/* What armed_vmas.bpf.c writes, one after the other, for who reads the iterator. */
#ifndef HS_EPT_BPF_ARMED_VMAS_ABI_H
#define HS_EPT_BPF_ARMED_VMAS_ABI_H

/* A VMA that a userfaultfd is registered with; both 0: the last one, all VMAs have been seen. */
struct hs_armed_vma {
	__u64 start, end;
};

#endif
