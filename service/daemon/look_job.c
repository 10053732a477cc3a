/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look into hot huge pages that is asked for: a job of the scan's thread that ends with the cycle which has looked.
 * The report of that moment is kept, since what it found of hot memory is out of date soon, and in mode off the guests
 * leave again.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <time.h>

#include "service/common/log.h"
#include "service/endpoint/api.h"

static void on_looked(void *arg, int rc, const char *text)
{
	struct hs_daemon *d = arg;

	d->look.ended_at_s = (int64_t)time(NULL);
	(void)snprintf(d->look.text, sizeof(d->look.text), "%s", text);
	hs_text_mend(d->look.text);
	d->look.report = rc ? NULL : hs_api_report(hs_daemon_model(d));
	d->look.state = d->look.report ? HS_LOOK_DONE : HS_LOOK_FAILED;
	if (rc)
		hs_log(HS_LOG_WARNING, "the look that was asked for failed: %s", d->look.text);
	hs_daemon_reconcile_soon(d);
}

void hs_daemon_look(void *ctx, struct hs_done done)
{
	struct hs_daemon *d = ctx;
	const struct hs_job job = { .kind = HS_JOB_LOOK, .done = { on_looked, d } };

	if (d->ending) {
		done.fn(done.arg, -ECANCELED, "hs-shared is about to end");
		return;
	}
	if (d->look.state != HS_LOOK_WAITING) {
		const struct hs_model_look before = d->look;

		d->look = (struct hs_model_look){ .state = HS_LOOK_WAITING, .asked_at_s = (int64_t)time(NULL) };
		/* In mode off: their jobs come first. */
		hs_daemon_reconcile(d);
		if (hs_scan_thread_post(d->scan, &job)) {
			d->look = before;
			hs_daemon_reconcile_soon(d);
			done.fn(done.arg, -ENOMEM, "out of memory: nobody looks");
			return;
		}
		json_decref(before.report);
	}
	done.fn(done.arg, HS_DONE_UNDER_WAY,
		"hot huge pages are looked into in the next cycle, which takes some ten seconds; nothing is shared for "
		"it. GET /v1/report/look says what comes of it");
}
