/* SPDX-License-Identifier: Apache-2.0 */
#include "steps.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "scene.h"

/* Measured with 3 guests of 320 MiB (QEMU under software emulation) or 512 MiB (processes) on a quiet machine with two
 * processors. What grows with the guests' memory, and shrinks with the processors, is scaled by both. */
static const struct {
	const char *name;
	double qemu_s, process_s;
	bool scales;
} steps_known[NR_STEPS] = {
	[STEP_START] = { "start", 8.0, 1.2, true },     [STEP_SPEED_BEFORE] = { "speed-before", 0, 0, false },
	[STEP_SHARE] = { "share", 23.0, 21.7, false },  [STEP_SPEED_AFTER] = { "speed-after", 0, 0, false },
	[STEP_COMPARE] = { "compare", 1.2, 1.8, true },
};
#define MEASURED_GUESTS      3
#define MEASURED_PROCESSORS  2
#define MEASURED_QEMU_MIB    320
#define MEASURED_PROCESS_MIB 512

static void describe(const struct steps *s, enum step step, char *buf, size_t size)
{
	switch (step) {
	case STEP_START:
		(void)snprintf(buf, size, "start %u %s guests, %u MiB of workload each", s->guests,
			       s->process ? "process" : "QEMU", s->size_mib);
		break;
	case STEP_SPEED_BEFORE:
		(void)snprintf(buf, size, "measure their speed");
		break;
	case STEP_SHARE:
		(void)snprintf(buf, size, "share: hs-share run, two cycles");
		break;
	case STEP_SPEED_AFTER:
		(void)snprintf(buf, size, "measure their speed again");
		break;
	case STEP_COMPARE:
	case NR_STEPS:
		(void)snprintf(buf, size, "let every guest compare all of its memory");
		break;
	}
}

/* The demos that may be compared. */
static void key_of(const struct steps *s, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s guests %u size %u speed %u processors %u", s->process ? "process" : "qemu",
		       s->guests, s->size_mib, s->speed_s, s->processors);
}

static bool from_file(struct steps *s)
{
	json_t *all = s->file ? json_load_file(s->file, 0, NULL) : NULL;
	const json_t *times;
	bool complete = false;
	char key[96];

	key_of(s, key, sizeof(key));
	times = json_object_get(all, key);
	if (times)
		complete = true;
	for (int i = 0; times && i < NR_STEPS; i++) {
		const double t = json_number_value(json_object_get(times, steps_known[i].name));

		complete = complete && t > 0;
		s->expected_s[i] = t;
	}
	json_decref(all);
	return complete;
}

void steps_expect(struct steps *s)
{
	const double size = (double)s->guests * s->size_mib /
			    (MEASURED_GUESTS * (s->process ? MEASURED_PROCESS_MIB : MEASURED_QEMU_MIB));
	/* More processors than guests are of no use to them. */
	const uint32_t used = s->processors < s->guests ? s->processors : s->guests;

	s->own = from_file(s);
	for (int i = 0; !s->own && i < NR_STEPS; i++) {
		s->expected_s[i] = s->process ? steps_known[i].process_s : steps_known[i].qemu_s;
		if (steps_known[i].scales)
			s->expected_s[i] *= size * MEASURED_PROCESSORS / (used ? used : 1);
		if (i == STEP_SPEED_BEFORE || i == STEP_SPEED_AFTER)
			s->expected_s[i] = s->speed_s;
	}
}

/* "about 70 s", "about 4 min" */
static const char *about(char buf[32], double seconds)
{
	if (seconds < 1)
		(void)snprintf(buf, 32, "less than a second");
	else if (seconds < 100)
		(void)snprintf(buf, 32, "about %.0f s", seconds);
	else
		(void)snprintf(buf, 32, "about %.0f min", seconds / 60);
	return buf;
}

void steps_plan(const struct steps *s)
{
	char text[96], time[32];
	double total = 0;

	if (s->quiet)
		return;
	for (int i = 0; i < NR_STEPS; i++)
		total += s->expected_s[i];
	(void)printf("The demo takes %s (%s):\n", about(time, total),
		     s->own ? "as it did here the last time"
			    : "as measured on a quiet machine with two processors; a busy one takes longer");
	for (int i = 0; i < NR_STEPS; i++) {
		describe(s, (enum step)i, text, sizeof(text));
		(void)printf("  %d. %-52s %s\n", i + 1, text, about(time, s->expected_s[i]));
	}
	(void)fflush(stdout);
}

void steps_begin(struct steps *s, enum step step)
{
	char text[96], time[32];

	s->started_us = scene_now_us();
	if (s->quiet)
		return;
	describe(s, step, text, sizeof(text));
	(void)printf("[%d/%d] %s (%s) ...\n", (int)step + 1, NR_STEPS, text, about(time, s->expected_s[step]));
	(void)fflush(stdout);
}

void steps_end(struct steps *s, enum step step)
{
	s->took_s[step] = (double)(scene_now_us() - s->started_us) / 1e6;
	if (!s->quiet)
		(void)printf("[%d/%d] done in %.1f s\n", (int)step + 1, NR_STEPS, s->took_s[step]);
	(void)fflush(stdout);
}

int steps_keep(const struct steps *s)
{
	json_t *all, *times;
	char key[96];
	int rc = 0;

	if (!s->file)
		return 0;
	all = json_load_file(s->file, 0, NULL);
	if (!json_is_object(all)) {
		json_decref(all);
		all = json_object();
	}
	times = json_object();
	for (int i = 0; i < NR_STEPS; i++)
		rc |= json_object_set_new(times, steps_known[i].name, json_real(s->took_s[i]));
	key_of(s, key, sizeof(key));
	rc |= json_object_set_new(all, key, times);
	errno = 0;
	rc = rc                                                                      ? -ENOMEM
	     : json_dump_file(all, s->file, JSON_INDENT(2) | JSON_REAL_PRECISION(4)) ? (errno ? -errno : -EIO)
										     : 0;
	json_decref(all);
	return rc;
}
