/* How fast the pipeline works, and how far it has come: the cap on our thread's CPU time, and progress for who asked.
 */
#include "pipeline_internal.h"

#include "base/times.h"

#define LIMIT_SLACK_US 20000 /* pace in steps that a sleep can keep */

void hs_pipeline_on_progress(struct hs_pipeline *p, hs_pipeline_progress *fn, void *ctx)
{
	p->progress = fn;
	p->progress_ctx = ctx;
}

void hs_pipeline_note_progress(struct hs_pipeline *p, enum hs_stage stage, uint64_t done, uint64_t total)
{
	if (p->progress)
		p->progress(p->progress_ctx, stage, done, total);
}

int hs_pipeline_pace(struct hs_pipeline *p)
{
	uint64_t wall, cpu, allowed;
	int rc = hs_overlap_look(p);

	if (rc || !p->cfg.cpu_percent)
		return rc;
	if (!p->paced) {
		/* Not before: a pipeline may be made by one thread and used by another, whose CPU time is its own. */
		p->paced = true;
		p->paced_wall_us = p->clock->now_us(p->clock->ctx);
		p->paced_cpu_us = hs_cpu_thread_us();
		return 0;
	}
	wall = p->clock->now_us(p->clock->ctx) - p->paced_wall_us;
	cpu = hs_cpu_thread_us() - p->paced_cpu_us;
	allowed = wall * p->cfg.cpu_percent / 100;
	if (cpu <= allowed) {
		/* Idle time is not saved up for a burst of work later: forget all but a second. */
		if (wall > 1000000) {
			p->paced_wall_us += wall;
			p->paced_cpu_us += cpu;
		}
		return 0;
	}
	if (cpu - allowed < LIMIT_SLACK_US * p->cfg.cpu_percent / 100)
		return 0;
	return p->overlap.clock.sleep_us(p->overlap.clock.ctx, (cpu - allowed) * 100 / p->cfg.cpu_percent);
}
