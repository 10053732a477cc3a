#include "host_bit_cost.h"

#include <pthread.h>
#include <sys/mman.h>

#include "base/times.h"
#include "hs/types.h"

#define NR_PAGES   256
#define NR_TRIES   5
#define PART       50
#define ADVANCE_US UINT64_C(500000)

static uint32_t cost_ns;

/* CPU time, in us: what waits for a processor is not the entries' cost. */
static uint64_t read_all(const volatile unsigned char *pages)
{
	const uint64_t start_us = hs_cpu_thread_us();

	for (unsigned int i = 0; i < NR_PAGES; i++)
		(void)pages[i * HS_BASE_SIZE];
	return hs_cpu_thread_us() - start_us;
}

/* MADV_COLD clears the bits of exactly these pages and flushes. The least of some tries: the rest is others' work. */
static void measure(void)
{
	const size_t size = NR_PAGES * HS_BASE_SIZE;
	unsigned char *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t least_us = UINT64_MAX;

	if (pages == MAP_FAILED)
		return;
	(void)madvise(pages, size, MADV_NOHUGEPAGE);
	for (unsigned int i = 0; i < NR_PAGES; i++)
		pages[i * HS_BASE_SIZE] = 1;
	for (int tries = 0; tries < NR_TRIES; tries++) {
		uint64_t marked_us, plain_us;

		if (madvise(pages, size, MADV_COLD)) {
			least_us = 0;
			break;
		}
		marked_us = read_all(pages);
		plain_us = read_all(pages);
		marked_us = marked_us > plain_us ? marked_us - plain_us : 0;
		least_us = marked_us < least_us ? marked_us : least_us;
	}
	munmap(pages, size);
	cost_ns = (uint32_t)(least_us * 1000 / NR_PAGES);
}

uint32_t hs_host_bit_cost_ns(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, measure);
	return cost_ns;
}

bool hs_host_bit_debt_allows(struct hs_host_bit_debt *d, uint64_t now_us)
{
	const uint64_t paid_us = (now_us - d->as_of_us) / PART;

	if (paid_us) {
		d->owed_us -= paid_us < d->owed_us ? paid_us : d->owed_us;
		d->as_of_us += paid_us * PART;
	}
	return d->owed_us < ADVANCE_US;
}

void hs_host_bit_debt_add(struct hs_host_bit_debt *d, uint64_t nr_entries, uint32_t cost)
{
	d->owed_us += nr_entries * cost / 1000;
}
