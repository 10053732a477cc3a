/*
 * What clearing accessed bits costs the guest: each entry that it uses again is walked and marked anew. On bare metal
 * that is a fraction of a microsecond; where the host is itself a guest whose hypervisor keeps shadow page tables, each
 * is a fault of some 20 us (measured: a process that reads its 64 MiB of base pages in 11 ms took 330 ms for the first
 * pass after clear_refs).
 */
#ifndef HS_EPT_HOST_BIT_COST_H
#define HS_EPT_HOST_BIT_COST_H

#include <stdbool.h>
#include <stdint.h>

/* For one entry, on this machine: measured once, on memory of our own. Nanoseconds; 0: not to be seen, or not to be
 * had. */
uint32_t hs_host_bit_cost_ns(void);

/*
 * How often a guest's bits may be cleared, by what it costs the guest: a fiftieth of the time on average, and half a
 * second in advance, for the samples of a fine window. Zeroed: nothing owed.
 */
struct hs_host_bit_debt {
	uint64_t owed_us, as_of_us; /* monotonic */
};
bool hs_host_bit_debt_allows(struct hs_host_bit_debt *d, uint64_t now_us);
void hs_host_bit_debt_add(struct hs_host_bit_debt *d, uint64_t nr_entries, uint32_t cost_ns);

#endif
