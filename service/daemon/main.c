/* SPDX-License-Identifier: Apache-2.0 */
/* hs-shared: reads the command line and the configuration, and runs the daemon in the foreground. */
#include <argp.h>
#include <errno.h>
#include <hs_version.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon_internal.h"
#include "hs/share.h"
#include "service/common/descriptors.h"

#define EXIT_FAILED 1
#define EXIT_USAGE  2

const char *argp_program_version = "hs-shared " HS_VERSION;

struct options {
	const char *config;
	const char *mode;
	bool check, example, recover;
};

enum { OPT_CHECK = 256, OPT_EXAMPLE, OPT_MODE, OPT_RECOVER };

static const struct argp_option option_list[] = {
	{ "config", 'c', "FILE", 0, "Configuration to read instead of " HS_CONFIG_PATH ".", 0 },
	{ "check-config", OPT_CHECK, NULL, 0,
	  "Read the configuration, print it in full, and end: 0 it is right, 1 it is not.", 0 },
	{ "example-config", OPT_EXAMPLE, NULL, 0,
	  "Print a configuration with every key at its default and what it is for, and end.", 0 },
	{ "mode", OPT_MODE, "MODE", 0,
	  "Start in this mode instead of the configured or the remembered one: off, observe, save, auto.", 0 },
	{ "recover", OPT_RECOVER, NULL, 0,
	  "Give back what a killed run left of KSM's settings and of others' marks, and end; what is shared stays. A "
	  "start "
	  "does so, too; this is for hosts where none follows.",
	  0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	enum hs_mode mode;

	switch (key) {
	case 'c':
		o->config = arg;
		break;
	case OPT_CHECK:
		o->check = true;
		break;
	case OPT_EXAMPLE:
		o->example = true;
		break;
	case OPT_MODE:
		if (hs_mode_parse(arg, &mode))
			argp_error(state, "--mode: \"%s\" is no mode; the modes are off, observe, save and auto", arg);
		o->mode = arg;
		break;
	case OPT_RECOVER:
		o->recover = true;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int recover(const struct hs_config *cfg)
{
	struct hs_host host = HS_HOST_DEFAULT;
	struct hs_error err = { "" };
	int rc;

	host.state_dir = cfg->state_dir;
	rc = hs_ksm_recover(&host, &err);
	if (rc < 0) {
		(void)fprintf(stderr, "hs-shared: %s\n", err.text);
		return EXIT_FAILED;
	}
	(void)puts(rc ? "what a killed run had left is given back" : "nothing was left to give back");
	return fflush(stdout) ? EXIT_FAILED : 0;
}

/* With the files that the start would refuse. */
static int check(const struct hs_config *cfg)
{
	const struct hs_tls_files files = hs_config_tls_files(cfg);
	struct hs_tls *tls = NULL;
	struct hs_fleet_key key;
	struct hs_error err = { "" };

	hs_config_print(stdout, cfg, false);
	if (fflush(stdout))
		return EXIT_FAILED;
	if (cfg->tls.port && hs_tls_load(&tls, &files, &err)) {
		(void)fprintf(stderr, "hs-shared: %s\n", err.text);
		return EXIT_FAILED;
	}
	hs_tls_free(tls);
	if (cfg->fleet_key_file[0] && hs_daemon_fleet_key(cfg, &key, &err)) {
		(void)fprintf(stderr, "hs-shared: %s\n", err.text);
		return EXIT_FAILED;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = option_list,
		.parser = parse,
		.doc = "Shares the identical cold memory of virtual machines that opted in; hot huge pages stay whole. "
		       "Runs in "
		       "the foreground and logs to standard error. SIGHUP reads the configuration again, SIGTERM ends "
		       "it in "
		       "order. hs-share is the command to talk to it.\v"
		       "Exit status: 0 ended as asked, 1 failed, 2 wrong use.",
	};
	struct hs_config cfg;
	struct options o = { 0 };
	struct hs_error err = { "" };
	enum hs_mode mode;
	const char *path;
	int rc;

	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (o.example) {
		hs_config_defaults(&cfg);
		hs_config_print(stdout, &cfg, true);
		return fflush(stdout) ? EXIT_FAILED : 0;
	}
	path = o.config ? o.config : HS_CONFIG_PATH;
	rc = hs_config_load(&cfg, path, &err);
	if (rc && (rc != -ENOENT || o.config)) {
		(void)fprintf(stderr, "hs-shared: %s\n", err.text);
		return EXIT_FAILED;
	}
	mode = cfg.mode;
	if (o.mode)
		(void)!hs_mode_parse(o.mode, &mode);
	if (o.check) {
		cfg.mode = mode;
		return check(&cfg);
	}
	if (geteuid() != 0) {
		(void)fprintf(
		    stderr, "hs-shared: it needs root (page tables, ptrace, KSM); as a service systemd starts it so\n");
		return EXIT_FAILED;
	}
	if (o.recover)
		return recover(&cfg);
	hs_descriptors_raise();
	/*
	 * An answer about thousands of guests is made of as many small pieces. What is let go of them is joined at
	 * once: otherwise whoever asks for a large piece next, or lets one go, joins them all, and the loop was kept
	 * for 13 ms. What is large has pages of its own.
	 */
	(void)mallopt(M_MXFAST, 0);
	(void)mallopt(M_MMAP_THRESHOLD, 65536);
	return hs_daemon_run(&cfg, o.mode ? &mode : NULL, path, o.config != NULL);
}
