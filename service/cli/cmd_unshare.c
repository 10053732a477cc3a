/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hs-share unshare: undoes what an earlier run left shared, and puts back what a killed one had changed.
 *
 * What is ours stands in a record of the state folder. Of a process without one nothing is touched, since nobody here
 * knows what its memory was before; what the kernel says is shared of it is reported then, and is a failure.
 */
#include "commands.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include "base/hostfile.h"
#include "base/vmas.h"
#include "hs/zero.h"

struct unshare_options {
	struct hs_pid_list pids;
	const char *state_dir;
	uint64_t min_bytes;
	bool json;
};

enum { OPT_JSON = 256, OPT_MIN_MEMORY, OPT_STATE_DIR };

static const struct argp_option options[] = {
	{ "min-memory", OPT_MIN_MEMORY, "SIZE", 0, "As given to run.", 0 },
	{ "state-dir", OPT_STATE_DIR, "PATH", 0,
	  "The state folder of who shared it: state_dir of the service's configuration. Default: /run/hs-share.", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object to standard output.", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct unshare_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->pids;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_MIN_MEMORY:
		o->min_bytes = hs_parse_bytes(state, "--min-memory", arg);
		break;
	case OPT_STATE_DIR:
		if (arg[0] != '/' || strlen(arg) > 1024)
			argp_error(state, "--state-dir: \"%s\" is no absolute path", arg);
		o->state_dir = arg;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* ---- what the kernel says ---- */

struct kernels {
	uint64_t mergeable_bytes;
	uint64_t shared_bytes; /* in KSM's pages */
	bool known;            /* whether shared_bytes is */
};

static int add_mergeable(void *ctx, const struct hs_vma *vma)
{
	struct kernels *k = ctx;

	k->mergeable_bytes += vma->mergeable ? vma->end - vma->start : 0;
	return 0;
}

static int ask_kernel(const struct hs_host *host, pid_t pid, struct kernels *out, struct hs_error *err)
{
	char text[8192];
	uint64_t kib;
	int rc;

	*out = (struct kernels){ 0 };
	rc = hs_vmas_each(host, pid, add_mergeable, out);
	if (rc)
		return hs_error_set(err, rc, "cannot read its memory map: %s", strerror(-rc));
	/* Nothing is merged where nothing is mergeable: the kernel parts it when the mark goes. */
	out->known = !out->mergeable_bytes;
	if (out->known)
		return 0;
	/* By the page tables, from Linux 6.7 on; the counter before falls only when ksmd comes by again. */
	if (hs_hostfile_read_pid(host, pid, "smaps_rollup", text, sizeof(text)) > 0 &&
	    !hs_hostfile_field(text, "KSM:", &kib)) {
		out->shared_bytes = kib << 10;
		out->known = true;
	} else if (hs_hostfile_read_pid(host, pid, "ksm_merging_pages", text, sizeof(text)) > 0) {
		out->shared_bytes = strtoull(text, NULL, 10) * HS_BASE_SIZE;
		out->known = true;
	}
	return 0;
}

/* ---- one guest ---- */

struct outcome {
	struct hs_share_unshared un;
	uint64_t adopted; /* base pages that were shared, mergeable, or in huge pages split for their zeros */
	struct kernels left;
};

static void add(struct hs_share_unshared *sum, const struct hs_share_unshared *un)
{
	sum->nr_huge += un->nr_huge;
	sum->nr_collapsed += un->nr_collapsed;
	sum->nr_failed += un->nr_failed;
	sum->nr_base += un->nr_base;
}

static int undo_shared(struct hs_share *share, const struct hs_share_guest *guest, struct outcome *out,
		       struct hs_error *err)
{
	struct hs_share_unshared un = { 0 };
	uint32_t id;
	int rc = hs_share_add_guest(share, guest, &id, &out->adopted, err);

	if (rc)
		return rc;
	rc = hs_share_unshare(share, id, NULL, 0, &un, err);
	hs_share_remove_guest(share, id);
	add(&out->un, &un);
	return rc;
}

/* What was split for its zeros alone, without KSM. */
static int undo_zeros(const struct hs_host *host, const struct hs_share_guest *guest, struct outcome *out,
		      struct hs_error *err)
{
	struct hs_share_unshared un = { 0 };
	struct hs_zero *zero;
	uint32_t id;
	int rc = hs_zero_create(&zero, host, &hs_share_config_default, err);

	if (rc)
		return rc;
	rc = hs_zero_add_guest(zero, guest, &id, err);
	if (!rc)
		rc = hs_zero_unshare(zero, id, NULL, 0, &un, err);
	hs_zero_destroy(zero);
	add(&out->un, &un);
	return rc;
}

/* What there is to undo, by the records. */
struct to_undo {
	uint64_t marked_bytes, zeros_bytes;
};

static int undo(struct hs_share *share, const struct hs_host *host, pid_t pid, uint64_t min_bytes,
		const struct to_undo *what, struct outcome *out, struct hs_error *err)
{
	struct hs_share_guest guest = { 0 };
	struct hs_remote *remote = NULL;
	struct hs_view *view = NULL;
	char name[32];
	int rc;

	(void)snprintf(name, sizeof(name), "%d", pid);
	rc = hs_remote_open(&remote, host, pid, err);
	if (!rc)
		rc = hs_view_open_host(&view, host, pid, remote, min_bytes, err);
	guest = (struct hs_share_guest){ .name = name, .view = view, .remote = remote };
	if (!rc && what->marked_bytes)
		rc = undo_shared(share, &guest, out, err);
	if (!rc && what->zeros_bytes) {
		out->adopted += what->zeros_bytes / HS_BASE_SIZE;
		rc = undo_zeros(host, &guest, out, err);
	}
	hs_view_close(view);
	hs_remote_close(remote);
	return rc;
}

/* What is left shared, and why. */
static int judge(const struct hs_host *host, const struct outcome *out, bool ours, struct hs_error *err)
{
	char shared[64] = "an unknown part", mergeable[32];

	if (out->left.known && !out->left.shared_bytes)
		return 0;
	if (out->left.known)
		(void)snprintf(shared, sizeof(shared), "%" PRIu64 " KiB", out->left.shared_bytes >> 10);
	(void)hs_human_bytes(mergeable, (int64_t)out->left.mergeable_bytes);
	if (ours)
		return hs_error_set(err, -EAGAIN,
				    "%s of it is shared still: %s are mergeable that are not on record as ours, by its "
				    "VMM or itself, and ksmd has merged them; that is not ours to undo",
				    shared, mergeable);
	return hs_error_set(err, -EAGAIN,
			    "%s of it is shared, and was left so: none of its %s of mergeable memory is on record in "
			    "%s. An hs-share with another state folder shares it (name that with --state-dir), or "
			    "somebody else's ksmd has merged what its VMM made mergeable",
			    shared, mergeable, host->state_dir);
}

static int unshare_one(struct hs_share *share, const struct hs_host *host, pid_t pid, uint64_t min_bytes,
		       struct outcome *out, struct hs_error *err)
{
	struct to_undo what = { 0 };
	int rc = hs_share_find_marked(host, pid, &what.marked_bytes, err);

	if (!rc)
		rc = hs_zero_find_left(host, pid, &what.zeros_bytes, err);
	if (!rc && (what.marked_bytes || what.zeros_bytes))
		rc = undo(share, host, pid, min_bytes, &what, out, err);
	if (!rc)
		rc = ask_kernel(host, pid, &out->left, err);
	return rc ? rc : judge(host, out, what.marked_bytes != 0, err);
}

static void print(pid_t pid, const struct outcome *out)
{
	char bytes[32];

	(void)printf(
	    "%d: %llu base pages were shared, mergeable or split for zeros; %llu huge pages, %llu huge again\n", pid,
	    (unsigned long long)out->adopted, (unsigned long long)out->un.nr_huge,
	    (unsigned long long)out->un.nr_collapsed);
	if (out->left.mergeable_bytes && out->left.known && !out->left.shared_bytes)
		(void)printf("%d: %s of it are mergeable, not by us, and none of that is shared\n", pid,
			     hs_human_bytes(bytes, (int64_t)out->left.mergeable_bytes));
}

static json_t *as_json(pid_t pid, const struct outcome *out)
{
	json_t *shared = out->left.known ? json_integer((json_int_t)out->left.shared_bytes) : json_null();

	return json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "pid", (int)pid, "adopted_pages",
			 (json_int_t)out->adopted, "huge_pages", (json_int_t)out->un.nr_huge, "huge_again",
			 (json_int_t)out->un.nr_collapsed, "base_as_before", (json_int_t)out->un.nr_base, "failed",
			 (json_int_t)out->un.nr_failed, "left_mergeable_bytes", (json_int_t)out->left.mergeable_bytes,
			 "left_shared_bytes", shared);
}

int hs_cmd_unshare(int argc, char **argv)
{
	const struct argp_child children[] = { { .argp = hs_pid_options_argp() }, { 0 } };
	const struct argp argp = {
		.children = children,
		.options = options,
		.parser = parse,
		.doc = "Undo the sharing that an earlier run left in place, in steps that check for free memory first, "
		       "and "
		       "make its huge pages huge again.\vWith a guest's name, or --all, the service does it: `hs-share "
		       "unshare GUEST "
		       "[--socket=PATH] [--json]`.",
	};
	struct unshare_options o = { 0 };
	struct hs_host host = HS_HOST_DEFAULT;
	struct hs_error err = { "" };
	struct hs_share *share;
	json_t *list = json_array();
	int rc, status = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (o.state_dir)
		host.state_dir = o.state_dir;
	rc = hs_share_create(&share, &host, &hs_share_config_default, &err);
	if (rc) {
		hs_complain("%s", err.text);
		json_decref(list);
		free(o.pids.pids);
		return HS_EXIT_FAILED;
	}
	for (size_t i = 0; i < o.pids.nr; i++) {
		struct outcome out = { 0 };

		rc = unshare_one(share, &host, o.pids.pids[i], o.min_bytes, &out, &err);
		if (rc) {
			hs_complain("process %d: %s", o.pids.pids[i], err.text);
			status = HS_EXIT_FAILED;
		}
		if (!o.json)
			print(o.pids.pids[i], &out);
		json_array_append_new(list, as_json(o.pids.pids[i], &out));
	}
	if (o.json && hs_json_print(json_pack("{s:O}", "guests", list)))
		status = HS_EXIT_FAILED;
	json_decref(list);
	hs_share_destroy(share);
	free(o.pids.pids);
	return status;
}
