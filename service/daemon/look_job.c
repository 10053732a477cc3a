/*
 * A look into hot huge pages that is asked for: a job of the scan's thread that ends with the cycle which has looked.
 * The report of that moment is kept, since what it found of hot memory is out of date soon, and in mode off the guests
 * leave again.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "service/common/log.h"
#include "service/endpoint/api.h"

static void end_look(struct hs_daemon *d, json_t *report, const char *text)
{
	d->look.ended_at_s = (int64_t)time(NULL);
	(void)snprintf(d->look.text, sizeof(d->look.text), "%s", text);
	hs_text_mend(d->look.text);
	d->look.report = report;
	d->look.state = report ? HS_LOOK_DONE : HS_LOOK_FAILED;
	if (!report)
		hs_log(HS_LOG_WARNING, "the look that was asked for failed: %s", d->look.text);
	hs_daemon_reconcile_soon(d);
}

/* The report of a look grows with the number of guests. Until it is there they stay in. */
struct reporting {
	struct hs_daemon *d;
	json_t *report;
};

static void run(void *arg, const struct hs_model *m)
{
	((struct reporting *)arg)->report = hs_api_report(m);
}

static void on_reported(void *arg, bool was_run)
{
	struct reporting *r = arg;

	end_look(r->d, r->report, r->report ? "" : was_run ? "out of memory" : "hs-shared is about to end");
	free(r);
}

static void on_looked(void *arg, int rc, const char *text)
{
	struct hs_daemon *d = arg;
	struct reporting *r = rc ? NULL : calloc(1, sizeof(*r));

	if (!r) {
		end_look(d, NULL, rc ? text : "out of memory");
		return;
	}
	r->d = d;
	hs_daemon_answer(d, &(struct hs_work){ run, on_reported, r });
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
