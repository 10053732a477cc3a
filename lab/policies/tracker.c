/* SPDX-License-Identifier: Apache-2.0 */
#include "tracker.h"

#include <errno.h>
#include <stdlib.h>

int hs_lab_tracker_create(struct hs_lab_tracker **out, struct hs_lab_host *h, struct hs_error *err)
{
	struct hs_lab_tracker *t = calloc(1, sizeof(*t));
	int rc = t ? 0 : -ENOMEM;

	*out = NULL;
	if (t) {
		t->h = h;
		t->coarse = calloc(h->nr_guests, sizeof(struct hs_coarse *));
		rc = t->coarse ? 0 : -ENOMEM;
	}
	for (uint32_t i = 0; !rc && i < h->nr_guests; i++)
		rc = hs_coarse_create(&t->coarse[i], h->guests[i].nr_huge, &HS_COARSE_CONFIG_DEFAULT);
	if (rc) {
		hs_lab_tracker_destroy(t);
		return hs_error_set(err, rc, "out of memory for the records of huge pages");
	}
	*out = t;
	return 0;
}

void hs_lab_tracker_destroy(struct hs_lab_tracker *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; t->coarse && i < t->h->nr_guests; i++)
		hs_coarse_destroy(t->coarse[i]);
	free(t->coarse);
	free(t);
}

int hs_lab_tracker_round(struct hs_lab_tracker *t, const struct hs_clock *clock, struct hs_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; !rc && i < t->h->nr_guests; i++) {
		rc = hs_view_age(t->h->guests[i].view, err);
		t->aged += t->h->guests[i].nr_huge;
	}
	if (!rc)
		rc = clock->sleep_us(clock->ctx, (uint64_t)HS_COARSE_CONFIG_DEFAULT.interval_ms * 1000);
	for (uint32_t i = 0; !rc && i < t->h->nr_guests; i++) {
		rc = hs_coarse_round(t->coarse[i], t->h->guests[i].view, err);
		t->sampled += t->h->guests[i].nr_huge;
	}
	t->rounds += !rc;
	return rc;
}
