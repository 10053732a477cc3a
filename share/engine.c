/*
 * The merge engine. It marks as mergeable only what is known to be identical and cold, lets ksmd run until that is
 * merged, stops it, and reads from the page frames what came of it.
 *
 * What ksmd's work costs. Measured on 6.18 (2 cores, themselves virtual and shared: figures vary by 15%): three
 * processes of 128 MiB in huge pages; 60% of the base pages of each have a copy in the other two, at random positions.
 * CPU seconds for 39,320 base pages saved, two passes each, medians; "marking" is the calls in the guests and our own:
 *
 *                                         ksmd   a page saved   marking    a burst later
 *     exact runs (23,600)                 0.76   19 us          0.45       0.08
 *     gaps of one page filled (9,400)     0.95   24 us          0.21       0.40
 *     gaps of up to two filled (3,800)    1.0 to 1.4            0.13       0.60
 *     everything mergeable                0.85 to 1.1           0          0.4 each pass
 *     two guests first, then the third    1.8    46 us (gaps of one filled; each new page is seen twice all the same)
 *     four slices of guests, one by one   3.4    87 us (the same; each burst walks what is merged already again)
 *
 * - Pass 1 takes checksums (1.2 us a page). Pass 2 merges (11 us a page): two thirds of that are the searches in ksmd's
 *   two trees, a tenth the checksum, 15% the merge itself with the split of the huge page. A page without a copy is
 *   searched for as much as one with, at every pass: for ksmd alone exact runs are best.
 * - But exact runs are expensive for everybody else. A walk of the reverse map of one KSM page (kswapd, compaction,
 * DAMON) passes all VMAs that share its anon_vma, and all pieces of a guest's memory do. With 30,000 of them a DAMON
 * thread on the host took most of a core, and three busy guests of 768 MiB fell to 0.41 to 0.51 of their throughput;
 * with every gap closed that may be, 0.95, for the same CPU time of ksmd (7.8 s) and less of our own (2.8 s, not 4.9
 * s). So gaps are closed over cold pages whose content is known; never over a hot page.
 * - By price: a gap page costs ksmd 17 us in each burst, of which a first cycle has two; a gap that is left open costs
 *   two VMAs, whose marks are two calls of 31 us and their undoing as many. That is as much as a gap of four pages
 *   (max_gap). Longer ones are left open, the longest first, while a guest's marks are no more VMAs than were found to
 *   be felt by nobody (gap_vmas: three busy guests with 3,093 each kept their throughput).
 * - Two passes merge all that is still: both copies are in the trees by the end of the second. A third costs 0.6 us for
 *   each page that is merged already, and finds nothing, unless a page was in use for a moment when its turn came.
 *   Kernels before 6.11 merge a page that has a shared copy already at first sight, later ones at the second.
 * - pages_to_scan matters little to the CPU time, but stopping waits for the end of a batch: 16,384 pages are 20 ms in
 *   pass 1 and 0.2 s in pass 2. ksmd ends a batch early at the end of a pass and then sleeps sleep_millisecs: with 10
 * ms there is time to see the end and stop there, and 5% of the time is lost.
 * - Zero pages: from 6.12 on, splitting a huge page already maps the zero pages in it to the kernel's zero page.
 *   use_zero_pages does the same to those in base pages, and spares older kernels a chain of nodes for one content.
 *
 * Order within a guest, and what each step closes:
 * 1. What is mergeable and not planned (QEMU marks all its memory) is made unmergeable before anything else: ksmd must
 *    never run on it.
 * 2. UNMERGEABLE comes before everything new, because it gives VMAs back; NOHUGEPAGE before MERGEABLE, because
 *    khugepaged would collapse what ksmd has split.
 * 3. ksmd runs only after it has been asked whose memory is mergeable; it is stopped on every way out.
 * 4. Verification comes after ksmd was stopped: what is read then can only lose sharing, never gain.
 *
 * After a crash, what is both on our record and marked in the kernel is ours, and add_guest takes it over. A mark
 * without a record is somebody else's, whatever it looks like.
 */
#include "engine_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "foreign_claim.h"
#include "base/hostfile.h"
#include "runs.h"

#define VERIFY_TURN 4096U /* 8 GiB: some 0.3 s of CPU time */

const struct hs_share_config hs_share_config_default = {
	.vma_percent = 50,          /* the guest's own use of VMAs has the other half */
	.max_gap = 4,               /* see above */
	.gap_vmas = 4096,           /* the same */
	.burst_pages = 16384,       /* at most 0.2 s until ksmd heeds a stop */
	.burst_sleep_ms = 10,       /* long enough to see the end of a pass */
	.burst_deadline_ms = 60000, /* some 4 GiB of shared pages; what is left goes on in the next burst */
	.cpu_percent = 0,
	.max_page_sharing = 0, /* 256 copies a frame: a longer chain saves 0.4% more and makes its reverse map slow */
	.min_free_percent = 5, /* above the kernel's own watermarks on any host */
	.foreign = HS_FOREIGN_REFUSE,
	.use_zero_pages = true,
	.dry_run = false,
};

static int check_config(const struct hs_share_config *cfg, struct hs_error *err)
{
	if (cfg->vma_percent < 1 || cfg->vma_percent > 100)
		return hs_error_set(err, -EINVAL, "vma_percent is %u: it must be 1 to 100", cfg->vma_percent);
	if (cfg->min_free_percent > 100)
		return hs_error_set(err, -EINVAL, "min_free_percent is %u: it must be 0 to 100", cfg->min_free_percent);
	if (cfg->cpu_percent > 100)
		return hs_error_set(err, -EINVAL, "cpu_percent is %u: it must be 0 (no cap) to 100", cfg->cpu_percent);
	if (!cfg->burst_pages || !cfg->burst_deadline_ms)
		return hs_error_set(err, -EINVAL, "burst_pages and burst_deadline_ms must be above 0");
	if (cfg->max_page_sharing == 1)
		return hs_error_set(err, -EINVAL, "max_page_sharing is 1: it must be 0 (as it is) or at least 2");
	if (cfg->foreign > HS_FOREIGN_CLAIM)
		return hs_error_set(err, -EINVAL, "foreign is %u: no such rule", cfg->foreign);
	return 0;
}

int hs_share_create(struct hs_share **out, const struct hs_host *host, const struct hs_share_config *cfg,
		    struct hs_error *err)
{
	struct hs_share *s;
	int rc = check_config(cfg, err);

	*out = NULL;
	if (rc)
		return rc;
	s = calloc(1, sizeof(*s));
	if (!s)
		return hs_error_set(err, -ENOMEM, "out of memory");
	s->host = *host;
	s->cfg = *cfg;
	s->verify_turn = VERIFY_TURN;
	rc = hs_ksm_acquire(&s->ksm, host, cfg->dry_run, err);
	if (rc) {
		hs_share_destroy(s);
		return rc;
	}
	if (!cfg->dry_run)
		hs_mark_record_clean(host);
	/* What a killed one had claimed; it is claimed anew when it stands in the way. */
	if (!cfg->dry_run)
		(void)hs_foreign_claim_give_back(host);
	hs_engine_read_sizes(host, &s->sizes);
	*out = s;
	return 0;
}

void hs_share_on_progress(struct hs_share *s, hs_share_progress *fn, void *ctx)
{
	s->progress = fn;
	s->progress_ctx = ctx;
}

void hs_share_destroy(struct hs_share *s)
{
	bool marked = false;

	if (!s)
		return;
	hs_engine_halt(s);
	for (uint32_t i = 0; i < s->nr_guests; i++)
		marked |= s->guests[i].used && !s->guests[i].gone && hs_engine_marked(&s->guests[i]);
	if (s->ran && !marked && !s->left_marked)
		hs_engine_sweep(s);
	for (uint32_t i = 0; i < s->nr_guests; i++)
		hs_engine_forget(&s->guests[i]);
	free(s->guests);
	/* Also what an earlier life had claimed, and could not have back while we shared it. */
	if (s->ksm && !s->cfg.dry_run)
		(void)hs_foreign_claim_give_back(&s->host);
	hs_ksm_release(s->ksm);
	free(s);
}
