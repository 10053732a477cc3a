/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's configuration: an INI file, all keys optional. The keys, defaults and reasons: docs/configuration.md. */
#ifndef HS_SERVICE_DAEMON_CONFIG_H
#define HS_SERVICE_DAEMON_CONFIG_H

#include "service/common/log.h"
#include "service/common/model.h"
#include "service/discovery/rules.h"
#include "service/endpoint/http.h"

#define HS_CONFIG_PATH           "/etc/hs-share/hs-share.conf"
#define HS_CONFIG_STATE_DIR      "/run/hs-share"
#define HS_CONFIG_PERSISTENT_DIR "/var/lib/hs-share"

struct hs_config {
	/* [service] */
	enum hs_mode mode;     /* at start; default observe: nothing is changed until the operator says so */
	bool remember_mode;    /* one that is set by request lasts over a restart; default yes */
	char socket[108];      /* /run/hs-share/control.sock */
	char socket_group[64]; /* "": root alone */
	uint32_t socket_mode;  /* octal; 0660 */
	char tcp_address[64];  /* 127.0.0.1 */
	uint16_t tcp_port;     /* 0: none */
	enum hs_log_level log_level;
	char state_dir[4096];      /* /run/hs-share */
	char persistent_dir[4096]; /* "": by state_dir */
	enum hs_after on_exit;     /* keep or undo what is shared when the service ends; default keep */
	uint32_t stop_timeout_s;   /* the end takes no longer; what is not put back by then is left to the next start */
	enum hs_after on_off; /* the same for mode off, when the request does not say, and for a start in mode off or
				 observe; default undo */
	uint32_t history_resolution_s, history_hours;
	char fleet_key_file[256]; /* "": no sketches are made */
	/* [tls] */
	struct hs_config_tls {
		char address[64]; /* numeric */
		uint16_t port;    /* 0: none */
		char certificate[256], key[256], client_ca[256], token_file[256];
		uint8_t allow; /* enum hs_http_access */
	} tls;
	/* [libvirt] */
	char libvirt_uri[512];      /* "": no libvirt; several, with spaces between */
	char libvirt_pid_dir[4096]; /* /run/libvirt/qemu; one for all, or one for each uri */
	/* [discovery], [discover NAME] */
	uint32_t discover_interval_s; /* between two walks over all processes */
	struct hs_rule_texts rules;
	/* [scan], [policy], [merge] */
	struct hs_pipeline_config pipeline; /* .share.foreign: refuse, claim, allow */
	uint32_t rest_min_s, rest_max_s;    /* between cycles; doubles while nothing changes */
	/* [auto] */
	struct hs_pressure_config {
		double on_available_percent;  /* save when less of the memory is available */
		double off_available_percent; /* stop when more is, and pressure is low too */
		double on_psi_some_avg10;     /* or when tasks waited for memory for more than this percent of 10 s */
		double off_psi_some_avg10;
		uint32_t dwell_s; /* stay at least so long in a state */
		uint32_t poll_s;
		enum hs_after after; /* what becomes of the shared pages when the pressure is over; default keep */
	} pressure;
};
void hs_config_defaults(struct hs_config *out);

/* Where what is to last over a reboot is kept. Where nothing names it: HS_CONFIG_PERSISTENT_DIR beside the default
 * state_dir; otherwise state_dir, so that a second service has files of its own. */
void hs_config_persistent_dir(const struct hs_config *cfg, char *out, size_t size);

/*
 * Reads the file over the defaults. -ENOENT: no such file (out holds the defaults). -EINVAL: the text names file, line,
 * key and what is allowed; out is as it was.
 */
HS_MUST_USE int hs_config_load(struct hs_config *out, const char *path, struct hs_error *err);
/* The same from memory; `name` stands for the file in errors. */
HS_MUST_USE int hs_config_parse(struct hs_config *out, const char *text, size_t len, const char *name,
				struct hs_error *err);

/*
 * Calls fn for each key whose value differs; live: it can be changed without a restart. The number of differences.
 */
size_t hs_config_diff(const struct hs_config *a, const struct hs_config *b,
		      void (*fn)(void *ctx, const char *key, const char *from, const char *to, bool live), void *ctx);

/*
 * The n-th word of a list of `uri` or `pid_dir`, from 0; of pid_dir the last one when there are fewer. False: there is
 * none.
 */
#define HS_CONFIG_MAX_URIS 8
bool hs_config_word(const char *list, size_t n, char *out, size_t size);

/* Takes over from `old` what only a restart can change. */
void hs_config_keep_static(struct hs_config *fresh, const struct hs_config *old);

/* Writes every key with its value in the file's own form; `example`: as comments, with what each is for. */
void hs_config_print(FILE *f, const struct hs_config *cfg, bool example);

/* ---- the table behind all of this, for the tests of the documents ---- */

struct hs_config_key {
	const char *section, *name;
	uint8_t type; /* enum in config_keys.c */
	bool live;
	size_t offset;            /* into struct hs_config */
	double min, max;          /* of numbers */
	size_t size;              /* of strings, with the end */
	const char *what;         /* one line: what it is, and why the default */
	const char *const *names; /* of one among several; NULL ends them */
	const char *allowed;      /* the same, for people */
};
#define HS_CONFIG_MAX_KEYS 128
/* The service's own keys and those of the pipeline's settings, section by section. For the main thread alone. */
const struct hs_config_key *hs_config_keys(size_t *nr);
/* A value as text, as it would stand in the file. */
void hs_config_key_text(const struct hs_config_key *k, const struct hs_config *cfg, char *out, size_t size);
/* What is allowed, for errors and documents: "a number from 1 to 64". */
void hs_config_key_allowed(const struct hs_config_key *k, char *out, size_t size);
/* -EINVAL: the text is no value of this key. */
HS_MUST_USE int hs_config_key_set(const struct hs_config_key *k, struct hs_config *cfg, const char *text);

#endif
