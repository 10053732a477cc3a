/* hs-share unshare: undoes what an earlier run left shared, and puts back what a killed one had changed. */
#include "commands.h"

#include <errno.h>
#include <stdlib.h>

struct unshare_options {
	struct hs_pid_list pids;
	uint64_t min_bytes;
	bool json;
};

enum { OPT_JSON = 256, OPT_MIN_MEMORY };

static const struct argp_option options[] = {
	{ "pid", 'p', "PID", 0, "A guest. Give it once for each.", 0 },
	{ "min-memory", OPT_MIN_MEMORY, "SIZE", 0, "As given to run. Default: 64M.", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object to standard output.", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct unshare_options *o = state->input;

	switch (key) {
	case 'p':
		hs_parse_pid(state, "--pid", arg, &o->pids);
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_MIN_MEMORY:
		o->min_bytes = hs_parse_bytes(state, "--min-memory", arg);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option; guests are named with --pid PID", arg);
		break;
	case ARGP_KEY_END:
		if (!o->pids.nr)
			argp_error(state, "no guest is named; give --pid PID for each");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* One guest; *adopted: base pages that were found shared or mergeable as ours. */
struct outcome {
	struct hs_share_unshared un;
	uint64_t adopted; /* base pages that were shared or mergeable */
};

static int unshare_one(struct hs_share *share, const struct hs_host *host, pid_t pid, uint64_t min_bytes,
		       struct outcome *out, struct hs_error *err)
{
	struct hs_remote *remote = NULL;
	struct hs_view *view = NULL;
	char name[32];
	uint32_t id;
	int rc;

	(void)snprintf(name, sizeof(name), "%d", pid);
	rc = hs_remote_open(&remote, host, pid, err);
	if (!rc)
		rc = hs_view_open_host(&view, host, pid, remote, min_bytes, err);
	if (!rc)
		rc = hs_share_add_guest(share, &(struct hs_share_guest){ .name = name, .view = view, .remote = remote },
					&id, &out->adopted, err);
	if (!rc) {
		rc = hs_share_unshare(share, id, NULL, 0, &out->un, err);
		hs_share_remove_guest(share, id);
	}
	hs_view_close(view);
	hs_remote_close(remote);
	return rc;
}

int hs_cmd_unshare(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Undo the sharing that an earlier run left in place, in steps that check for free memory first, "
		       "and "
		       "make its huge pages huge again.\vWith a guest's name, or --all, the service does it: `hs-share "
		       "unshare GUEST "
		       "[--socket=PATH] [--json]`.",
	};
	struct unshare_options o = { 0 };
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_error err = { "" };
	struct hs_share *share;
	json_t *list = json_array();
	int rc, status = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
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
			(void)printf("%d: %llu base pages were shared or mergeable; %llu huge pages, %llu huge again\n",
				     o.pids.pids[i], (unsigned long long)out.adopted,
				     (unsigned long long)out.un.nr_huge, (unsigned long long)out.un.nr_collapsed);
		json_array_append_new(
		    list, json_pack("{s:i,s:I,s:I,s:I,s:I,s:I}", "pid", (int)o.pids.pids[i], "adopted_pages",
				    (json_int_t)out.adopted, "huge_pages", (json_int_t)out.un.nr_huge, "huge_again",
				    (json_int_t)out.un.nr_collapsed, "base_as_before", (json_int_t)out.un.nr_base,
				    "failed", (json_int_t)out.un.nr_failed));
	}
	if (o.json && hs_json_print(json_pack("{s:O}", "guests", list)))
		status = HS_EXIT_FAILED;
	json_decref(list);
	hs_share_destroy(share);
	free(o.pids.pids);
	return status;
}
