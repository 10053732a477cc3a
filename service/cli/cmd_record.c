/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hs-share record: writes a trace of what the pipeline sees of the named guests, cycle after cycle, and what it
 * decides. Nothing is merged unless that is asked for.
 */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace/pipeline_trace.h"
#include "base/wallclock.h"
#include "service/common/descriptors.h"

struct record_options {
	struct hs_scan_options look;
	const char *output;
	bool merge;
};

/* A recording under way. */
struct recording {
	struct hs_trace_writer *writer;
	struct hs_recorder *recorder;
	struct hs_pipeline *pipeline;
	uint32_t cycles; /* begun and ended */
	bool created;    /* the output is a file that we made */
};

enum { OPT_MERGE = 256, OPT_NO_FINE };

static const struct argp_option options[] = {
	{ "output", 'o', "FILE", 0, "The trace: a new file, or \"-\" for standard output.", 0 },
	{ "cycles", HS_ARGP_CYCLES, "N", 0, "End after N cycles (look, read, decide). Default: run until interrupted.",
	  0 },
	{ "duration", HS_ARGP_DURATION, "SECONDS", 0, "End after so many seconds, in the midst of a cycle if need be.",
	  0 },
	{ "merge", OPT_MERGE, NULL, 0,
	  "Merge what is decided on, as \"run\" does, record what was really shared, and undo it at the end. Default: "
	  "only look. Such a trace replays its own decisions; other policies cannot be tried on it.",
	  0 },
	{ "rest", HS_ARGP_REST, "SECONDS", 0, "Rest between cycles. Default: none.", 0 },
	{ "allow-foreign", HS_ARGP_ALLOW_FOREIGN, NULL, 0,
	  "With --merge: run ksmd although memory of other processes is mergeable.", 0 },
	{ "no-fine", OPT_NO_FINE, NULL, 0,
	  "Do not look inside hot huge pages: for that their mappings are split for about a second.",
	  HS_SCAN_OPTIONS_GROUP },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct record_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->look;
		break;
	case 'o':
		o->output = arg;
		break;
	case OPT_MERGE:
		o->merge = true;
		break;
	case OPT_NO_FINE:
		o->look.cfg.no_fine = true;
		break;
	case ARGP_KEY_END:
		if (!o->output)
			argp_error(state, "give --output FILE for the trace");
		if (o->look.cfg.share.foreign == HS_FOREIGN_ALLOW && !o->merge)
			argp_error(state, "--allow-foreign is of use with --merge alone: without it ksmd does not run");
		break;
	default:
		return hs_parse_loop_option(key, arg, state, &o->look) ? 0 : ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* A new file for its owner alone: it says what the guests' memory does. */
static FILE *open_output(struct recording *rec, const char *path, struct hs_error *err)
{
	int fd =
	    strcmp(path, "-") == 0 ? dup(STDOUT_FILENO) : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (f) {
		rec->created = strcmp(path, "-") != 0;
		return f;
	}
	(void)hs_error_set(err, -errno, "cannot make %s: %s%s", path, strerror(errno),
			   errno == EEXIST ? "; a recording overwrites nothing: remove it, or name another" : "");
	if (fd >= 0)
		(void)close(fd);
	return NULL;
}

/* "redis-server-1234" */
static void guest_name(const struct hs_host *host, pid_t pid, char *out, size_t size)
{
	char path[4096], comm[32] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%d/comm", host->proc_dir, pid);
	f = fopen(path, "re");
	if (f && fgets(comm, sizeof(comm), f))
		comm[strcspn(comm, "\n")] = '\0';
	if (f)
		(void)fclose(f);
	(void)snprintf(out, size, "%s-%d", comm[0] ? comm : "process", pid);
}

static int begin(struct recording *rec, const struct record_options *o, struct hs_error *err)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_trace_header header;
	FILE *f = open_output(rec, o->output, err);
	int rc;

	if (!f)
		return -EINVAL;
	hs_record_header(&header, &host, &o->look.cfg);
	rc = hs_trace_writer_create(&rec->writer, f, o->output, &header, err);
	if (!rc)
		rc = hs_recorder_create(&rec->recorder, rec->writer, &hs_wallclock, err);
	if (!rc)
		hs_recorder_part_contents(rec->recorder, o->look.cfg.scope == HS_SCOPE_ZERO);
	if (!rc)
		rc = hs_pipeline_create(&rec->pipeline, &host, &o->look.cfg, hs_recorder_clock(rec->recorder), err);
	if (!rc)
		hs_record_pipeline(rec->pipeline, rec->recorder);
	for (size_t i = 0; !rc && i < o->look.pids.nr; i++) {
		char name[HS_GUEST_NAME_MAX];

		guest_name(&host, o->look.pids.pids[i], name, sizeof(name));
		rc = hs_pipeline_add(rec->pipeline, o->look.pids.pids[i], &(struct hs_guest_options){ .name = name },
				     err);
	}
	return rc;
}

/* Cycles until there were enough, the time is over, an interrupt, or an error. */
static int loop(struct recording *rec, const struct record_options *o, struct hs_progress *pr, struct hs_error *err)
{
	uint64_t news;
	int rc = 0;

	while (!rc && (!o->look.cycles || rec->cycles < o->look.cycles)) {
		if (rec->cycles && o->look.rest_s) {
			hs_progress_step(pr, HS_STAGE_REST, 0, o->look.rest_s);
			rc = hs_wallclock.sleep_us(NULL, o->look.rest_s * UINT64_C(1000000));
			if (rc)
				return rc;
		}
		rc = hs_pipeline_cycle(rec->pipeline, &news, err);
		rec->cycles += !rc;
		if (!rc)
			rc = hs_recorder_error(rec->recorder, err);
		if (!rc)
			rc = hs_trace_flush(rec->writer, err);
	}
	return rc;
}

/* Puts things back and closes the trace in order. `rc`: how it went so far; the text of the first error stays. */
static int end(struct recording *rec, const struct record_options *o, int rc, struct hs_error *err)
{
	const uint32_t nr_contents = rec->recorder ? hs_recorder_nr_contents(rec->recorder) : 0;
	struct hs_trace_writer_stats st = { 0 };
	struct hs_share_unshared undone;
	struct hs_error own = { "" };
	char bytes[32];
	int one;

	hs_wallclock_reset();
	if (rec->pipeline && o->merge) {
		one = hs_pipeline_unshare_all(rec->pipeline, &undone, &own);
		if (one) {
			hs_complain("not everything could be undone: %s", own.text);
			hs_complain("try again later with: hs-share unshare --pid PID");
		}
		rc = rc ? rc : one ? hs_error_set(err, one, "%s", own.text) : 0;
	}
	hs_pipeline_destroy(rec->pipeline);
	if (rec->recorder) {
		one = hs_recorder_error(rec->recorder, &own);
		rc = rc ? rc : one ? hs_error_set(err, one, "%s", own.text) : 0;
	}
	hs_recorder_destroy(rec->recorder);
	if (rec->writer)
		hs_trace_writer_stats(rec->writer, &st);
	one = hs_trace_writer_close(rec->writer, &own);
	rc = rc ? rc : one ? hs_error_set(err, one, "%s", own.text) : 0;
	if (rec->created && !rec->cycles && rc)
		(void)unlink(o->output);
	else if (!o->look.quiet)
		(void)fprintf(stderr, "%s: %u cycles, %zu guests, %u contents, %llu records, %s\n", o->output,
			      rec->cycles, o->look.pids.nr, nr_contents, (unsigned long long)st.nr_records,
			      hs_human_bytes(bytes, (int64_t)st.file_bytes));
	return rc;
}

int hs_cmd_record(int argc, char **argv)
{
	const struct argp_child children[] = { { .argp = hs_scan_options_argp(HS_SETTING_RECORD_AND_RUN) }, { 0 } };
	const struct argp argp = {
		.children = children,
		.options = options,
		.parser = parse,
		.doc = "Record what is seen of guests: which pages were used when, which hold the same, and what the "
		       "policy decides. The trace has neither their contents nor digests of them "
		       "(docs/trace-format.md). Nothing is merged unless --merge is given.",
	};
	struct record_options o = { .look.cfg = hs_pipeline_config_default };
	struct recording rec = { 0 };
	struct hs_error err = { "" };
	struct hs_progress pr;
	int rc;

	o.look.cfg.share = hs_share_config_default;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	o.look.cfg.observe = !o.merge;
	/* Whoever replays it with another policy wants to know of all hot huge pages; what merges goes on as always. */
	o.look.cfg.fine_all = !o.merge;
	hs_progress_init(&pr, o.look.quiet);
	hs_descriptors_raise();
	hs_wallclock_catch_signals();
	rc = begin(&rec, &o, &err);
	if (!rc) {
		hs_pipeline_on_progress(rec.pipeline, hs_progress_step, &pr);
		if (o.look.duration_s)
			hs_wallclock_deadline_us((uint64_t)o.look.duration_s * 1000000);
		rc = loop(&rec, &o, &pr, &err);
	}
	hs_progress_end(&pr);
	/* An interrupt, the end of its time, or of its guests, is how such a recording ends. */
	if (rc == -ECANCELED || (rc == -ESRCH && rec.cycles))
		rc = 0;
	rc = end(&rec, &o, rc, &err);
	if (rc)
		hs_complain("%s", err.text);
	free(o.look.pids.pids);
	return rc ? HS_EXIT_FAILED : 0;
}
