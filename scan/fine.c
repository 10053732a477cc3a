/*
 * The fine phase: which base pages of hot huge pages are hot. Here: what goes into which window.
 *
 * Windows are filled guest by guest and not in turns: ageing goes over the whole guest, so the fewer windows a guest is
 * in, the less it is disturbed. A guest whose ageing leaves a window no time is not split at all, and one that leaves
 * it none beside others begins a window of its own. What is given up early leaves its place empty until the next
 * window: a page that came in later would need samples of its own, each with an ageing of its guest more.
 */
#include "fine_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Before anything was measured: the slowest that an unmodified 6.18 kernel took for a huge page was 1.7 ms. */
#define RESTORE_US_AT_FIRST 2000

/*
 * As many mappings as can be brought back in half of the time that the samples leave, when the ageing before each takes
 * age_us; one, when that half is too short but all of it is not; none, when that is too short as well.
 */
static size_t affordable(const struct hs_fine *f, uint64_t age_us)
{
	const uint64_t window_us = (uint64_t)f->cfg.max_window_ms * 1000;
	const uint64_t samples_us = f->cfg.samples * ((uint64_t)f->cfg.interval_ms * 1000 + age_us);
	const uint64_t restore_us = f->restore_us ? f->restore_us : 1;
	uint64_t nr;

	if (samples_us + restore_us > window_us)
		return 0;
	nr = (window_us - samples_us) / 2 / restore_us;
	return nr < 1 ? 1 : nr < f->cfg.max_split ? (size_t)nr : f->cfg.max_split;
}

/* Fills the window from where the last one ended; false: nothing is left to look at. */
static bool fill(struct fine_window *w, size_t *target, size_t *index)
{
	uint64_t age_us = 0; /* of all guests in the window */

	/* At most max_split slots; w->room is that, or everything. */
	for (w->nr = 0; *target < w->nr_targets;) {
		const struct hs_fine_target *t = &w->targets[*target];
		const bool begins = !w->nr || w->slots[w->nr - 1].target != *target;
		uint64_t with_us = age_us + (begins ? hs_fine_age_us(w->f, t->view) : 0);

		if (t->error || *index >= t->nr) {
			(*target)++;
			*index = 0;
			continue;
		}
		if (w->nr >= affordable(w->f, with_us)) {
			if (w->nr)
				break;
			w->f->stats.nr_no_time += t->nr - *index;
			hs_fine_no_time(w->f, t->view);
			*index = t->nr;
			continue;
		}
		age_us = with_us;
		w->slots[w->nr++] = (struct fine_slot){ .target = *target, .index = (*index)++ };
	}
	return w->nr > 0;
}

int hs_fine_run(struct hs_fine *f, struct hs_fine_target *targets, size_t nr, const struct hs_clock *clock,
		struct hs_error *err)
{
	struct fine_window w = { .f = f, .targets = targets, .nr_targets = nr, .clock = clock };
	size_t target = 0, index = 0, total = 0;
	int rc = 0;

	for (size_t t = 0; t < nr; t++) {
		targets[t].error = 0;
		total += targets[t].nr;
		for (size_t i = 0; i < targets[t].nr; i++)
			targets[t].results[i] = (struct hs_fine_result){ .huge = targets[t].huge[i] };
	}
	if (!total)
		return 0;
	w.room = total < f->cfg.max_split ? total : f->cfg.max_split;
	w.slots = calloc(w.room, sizeof(*w.slots));
	w.huge = calloc(w.room, sizeof(*w.huge));
	w.which = calloc(w.room, sizeof(*w.which));
	w.samples = calloc(w.room, sizeof(*w.samples));
	w.outcome = calloc(w.room, sizeof(*w.outcome));
	w.errors = calloc(w.room, sizeof(*w.errors));
	if (!w.slots || !w.huge || !w.which || !w.samples || !w.outcome || !w.errors)
		rc = -ENOMEM;
	while (!rc && fill(&w, &target, &index))
		rc = hs_fine_window(&w);
	free(w.slots);
	free(w.huge);
	free(w.which);
	free(w.samples);
	free(w.outcome);
	free(w.errors);
	if (rc == -ENOMEM)
		return hs_error_set(err, rc, "no memory for a window of %zu huge pages: nothing of it was split",
				    w.room);
	if (rc)
		return hs_error_set(err, rc, "the fine phase was ended early (%s); its mappings are brought back",
				    strerror(-rc));
	return 0;
}

int hs_fine_create(struct hs_fine **out, const struct hs_fine_config *cfg)
{
	struct hs_fine *f;

	*out = NULL;
	if (!cfg->samples || cfg->samples > UINT8_MAX || !cfg->interval_ms || !cfg->max_split ||
	    (uint64_t)cfg->samples * cfg->interval_ms >= cfg->max_window_ms)
		return -EINVAL;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->cfg = *cfg;
	f->restore_us = RESTORE_US_AT_FIRST;
	*out = f;
	return 0;
}

void hs_fine_destroy(struct hs_fine *f)
{
	if (!f)
		return;
	free(f->pending);
	hs_fine_forget_ages(f);
	free(f);
}

void hs_fine_stats(const struct hs_fine *f, struct hs_fine_stats *out)
{
	*out = f->stats;
	out->split_ms = f->split_us / 1000;
}
