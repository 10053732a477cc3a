/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of keys: all that is known of one stands in one place, and reading, comparing, printing and the documents
 * use it. Those of the pipeline's settings are made from the settings' own table.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { T_U32, T_U16, T_OCTAL, T_SIZE, T_BOOL, T_REAL, T_STRING, T_MODE, T_AFTER, T_NAME, T_LEVEL };

#define MAX_STRING 160

#define AT(field)   offsetof(struct hs_config, field)
#define SIZE(field) sizeof(((struct hs_config *)NULL)->field)
#define LIVE        true
#define RESTART     false
#define KEY(its_section, its_name, its_type, its_live, member)                                                         \
	.section = its_section, .name = its_name, .type = its_type, .live = its_live, .offset = AT(member)
#define NUMBER(section, name, live, member, least, most, text)                                                         \
	{                                                                                                              \
		KEY(section, name, T_U32, live, member), .min = least, .max = most, .what = text                       \
	}
#define STRING(section, name, live, member, text)                                                                      \
	{                                                                                                              \
		KEY(section, name, T_STRING, live, member), .size = SIZE(member), .what = text                         \
	}
#define OTHER(section, name, type, live, member, text)                                                                 \
	{                                                                                                              \
		KEY(section, name, type, live, member), .what = text                                                   \
	}
#define REAL(section, name, member, text)                                                                              \
	{                                                                                                              \
		KEY(section, name, T_REAL, LIVE, member), .max = 100, .what = text                                     \
	}

static const char *const allow_names[] = {
	[HS_HTTP_METRICS] = "metrics", [HS_HTTP_READ] = "read", [HS_HTTP_CHANGE] = "change", NULL
};

static const struct hs_config_key own_keys[] = {
	OTHER("service", "mode", T_MODE, LIVE, mode,
	      "what to do from the start: off, observe (look, change nothing), save (share), auto (save under memory "
	      "pressure)"),
	OTHER("service", "remember_mode", T_BOOL, LIVE, remember_mode,
	      "a mode set by request lasts over a restart of the service and a reboot, until mode is changed here"),
	STRING("service", "socket", RESTART, socket,
	       "UNIX socket for requests; who may write to it may control the service"),
	STRING("service", "socket_group", RESTART, socket_group, "group of the socket; empty: root alone may connect"),
	OTHER("service", "socket_mode", T_OCTAL, RESTART, socket_mode, "permissions of the socket, octal"),
	STRING("service", "tcp_address", RESTART, tcp_address,
	       "loopback address of the read-only port: 127.0.0.1 or ::1"),
	{ KEY("service", "tcp_port", T_U16, RESTART, tcp_port), .max = 65535,
	  .what = "read-only port for Prometheus; 0: none, since any local user can read it" },
	OTHER("service", "log_level", T_LEVEL, LIVE, log_level, "error, warning, info or debug"),
	STRING("service", "state_dir", RESTART, state_dir,
	       "what must survive a crash, but not a reboot: KSM's settings, split mappings, opted-in processes"),
	STRING("service", "persistent_dir", RESTART, persistent_dir,
	       "what must survive a reboot: a mode set by request, who is to stay out; empty: /var/lib/hs-share, or a "
	       "state_dir that is set"),
	OTHER("service", "on_exit", T_AFTER, LIVE, on_exit,
	      "keep or undo what is shared when the service ends; keep: an upgrade must not need the memory"),
	OTHER("service", "on_off", T_AFTER, LIVE, on_off,
	      "the same for mode off, when the request does not say, and for a start in mode off or observe"),
	NUMBER("service", "stop_timeout_s", LIVE, stop_timeout_s, 1, 86400,
	       "the end takes no longer: what is not put back by then is left to the next start"),
	NUMBER("service", "history_resolution_s", RESTART, history_resolution_s, 1, 3600,
	       "seconds between two points of the history"),
	NUMBER("service", "history_hours", RESTART, history_hours, 1, 168,
	       "hours that the history goes back; 72 bytes a point, fewer than 100000"),

	STRING("service", "fleet_key_file", RESTART, fleet_key_file,
	       "key of a fleet, 64 hexadecimal digits, root's, 0600: sketches of the guests' contents are made by it, "
	       "for /metrics/sketch, and tell who has much in common; empty: none are"),

	STRING("tls", "address", RESTART, tls.address,
	       "address of the port for other hosts, in numbers; :: is all addresses of both families"),
	{ KEY("tls", "port", T_U16, RESTART, tls.port), .max = 65535,
	  .what = "port for other hosts, over TLS; 0: none. It needs certificate, key, and client_ca or token_file" },
	STRING("tls", "certificate", RESTART, tls.certificate,
	       "the service's certificate in PEM, and those between it and its CA; read again by a reload"),
	STRING("tls", "key", RESTART, tls.key, "its key in PEM, without password; root's, for its owner alone (0600)"),
	STRING("tls", "client_ca", RESTART, tls.client_ca,
	       "CA whose certificate a client has to show; empty: none is asked for"),
	STRING("tls", "token_file", RESTART, tls.token_file,
	       "what a client has to send as bearer token, as well where client_ca is set; root's, 0600; empty: none"),
	{ KEY("tls", "allow", T_NAME, RESTART, tls.allow), .names = allow_names, .allowed = "metrics, read or change",
	  .what = "what may be asked there: metrics (those alone), read, change (all; needs client_ca)" },

	STRING("libvirt", "uri", RESTART, libvirt_uri,
	       "connections to libvirt, with spaces between; empty: only processes"),
	STRING("libvirt", "pid_dir", RESTART, libvirt_pid_dir,
	       "where libvirt keeps its domains' pid files: one folder, or one for each uri"),

	NUMBER("discovery", "interval_s", LIVE, discover_interval_s, 1, 86400,
	       "seconds between two looks for processes that a rule finds; a look takes some 10 us a process"),

	NUMBER("scan", "rest_min_s", LIVE, rest_min_s, 1, 86400, "rest after a cycle that changed something"),
	NUMBER("scan", "rest_max_s", LIVE, rest_max_s, 1, 86400,
	       "longest rest, reached by doubling while nothing changes"),

	REAL("auto", "on_available_percent", pressure.on_available_percent,
	     "save when less of the memory is available"),
	REAL("auto", "off_available_percent", pressure.off_available_percent,
	     "stop when more is, and the pressure is low too"),
	REAL("auto", "on_psi", pressure.on_psi_some_avg10,
	     "save when some task waited for memory for more than this percent of 10 s (PSI some avg10)"),
	REAL("auto", "off_psi", pressure.off_psi_some_avg10, "stop only below this"),
	NUMBER("auto", "dwell_s", LIVE, pressure.dwell_s, 0, 86400, "no switch sooner after the last one"),
	NUMBER("auto", "poll_s", LIVE, pressure.poll_s, 1, 3600, "seconds between two readings"),
	OTHER("auto", "after", T_AFTER, LIVE, pressure.after, "keep or undo what is shared when the pressure is over"),
};
#define NR_OWN_KEYS (sizeof(own_keys) / sizeof(own_keys[0]))

/* As the file has them. */
static const char *const sections[] = { "service", "tls",    "libvirt", "discovery", "scan",
					"fine",    "policy", "merge",   "auto" };

static const char *const bool_names[] = { "no", "yes", NULL };

static struct hs_config_key key_of(const struct hs_setting *s)
{
	static const uint8_t types[] = { [HS_SETTING_U32] = T_U32,
					 [HS_SETTING_SIZE] = T_SIZE,
					 [HS_SETTING_BOOL] = T_BOOL,
					 [HS_SETTING_NAME] = T_NAME };

	return (struct hs_config_key){ .section = s->section,
				       .name = s->key,
				       .type = types[s->type],
				       .live = LIVE,
				       .offset = AT(pipeline) + s->offset,
				       .min = s->min,
				       .max = s->max,
				       .what = s->what,
				       .names = s->names,
				       .allowed = s->allowed };
}

static struct hs_config_key keys[HS_CONFIG_MAX_KEYS];
static size_t nr_keys;

static void add_section(const char *section)
{
	for (size_t i = 0; i < hs_nr_settings; i++)
		if (hs_settings[i].key && strcmp(hs_settings[i].section, section) == 0)
			keys[nr_keys++] = key_of(&hs_settings[i]);
	for (size_t i = 0; i < NR_OWN_KEYS; i++)
		if (strcmp(own_keys[i].section, section) == 0)
			keys[nr_keys++] = own_keys[i];
}

const struct hs_config_key *hs_config_keys(size_t *nr)
{
	if (!nr_keys && NR_OWN_KEYS + hs_nr_settings <= HS_CONFIG_MAX_KEYS)
		for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
			add_section(sections[i]);
	*nr = nr_keys;
	return keys;
}

static const char *const after_names[] = { [HS_AFTER_KEEP] = "keep", [HS_AFTER_UNDO] = "undo", NULL };
static const char *const level_names[] = { "error", "warning", "info", "debug", NULL };

/* Its number; -1: none of these. */
static int one_of(const char *text, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	return -1;
}

/* Digits only, in this base; false: something else, or too large. */
static bool whole(const char *text, int base, uint64_t *out, char **end)
{
	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*out = strtoull(text, end, base);
	return errno == 0;
}

/* Key and value have to fit into a line of the file, which inih holds to 199 characters. */
static size_t string_max(const struct hs_config_key *k)
{
	return k->size - 1 < MAX_STRING ? k->size - 1 : MAX_STRING;
}

static int set_real(double *out, const struct hs_config_key *k, const char *text)
{
	char *end;
	double v;

	if (text[0] < '0' || text[0] > '9' || strspn(text, "0123456789.") != strlen(text))
		return -EINVAL;
	v = strtod(text, &end);
	if (*end || v < k->min || v > k->max)
		return -EINVAL;
	*out = v;
	return 0;
}

int hs_config_key_set(const struct hs_config_key *k, struct hs_config *cfg, const char *text)
{
	char *at = (char *)cfg + k->offset, *end;
	uint64_t v;
	int i;

	switch (k->type) {
	case T_U32:
	case T_U16:
	case T_OCTAL:
		if (!whole(text, k->type == T_OCTAL ? 8 : 10, &v, &end) || *end ||
		    (k->type == T_OCTAL ? v > 0777 : (double)v < k->min || (double)v > k->max))
			return -EINVAL;
		if (k->type == T_U16)
			*(uint16_t *)at = (uint16_t)v;
		else
			*(uint32_t *)at = (uint32_t)v;
		return 0;
	case T_SIZE:
		return hs_size_parse((uint64_t *)at, text);
	case T_REAL:
		return set_real((double *)at, k, text);
	case T_STRING:
		if (strlen(text) > string_max(k))
			return -EINVAL;
		memcpy(at, text, strlen(text) + 1);
		return 0;
	case T_MODE:
		return hs_mode_parse(text, (enum hs_mode *)at);
	case T_BOOL:
		i = one_of(text, bool_names);
		if (i >= 0)
			*(bool *)at = i == 1;
		return i < 0 ? -EINVAL : 0;
	case T_AFTER:
		i = one_of(text, after_names);
		if (i >= 0)
			*(enum hs_after *)at = (enum hs_after)i;
		return i < 0 ? -EINVAL : 0;
	case T_LEVEL:
		i = one_of(text, level_names);
		if (i >= 0)
			*(enum hs_log_level *)at = (enum hs_log_level)i;
		return i < 0 ? -EINVAL : 0;
	case T_NAME:
		i = one_of(text, k->names);
		if (i >= 0)
			*(uint8_t *)at = (uint8_t)i;
		return i < 0 ? -EINVAL : 0;
	default:
		return -EINVAL;
	}
}

void hs_config_key_text(const struct hs_config_key *k, const struct hs_config *cfg, char *out, size_t size)
{
	const char *at = (const char *)cfg + k->offset;

	switch (k->type) {
	case T_U32:
		(void)snprintf(out, size, "%" PRIu32, *(const uint32_t *)at);
		break;
	case T_U16:
		(void)snprintf(out, size, "%u", (unsigned int)*(const uint16_t *)at);
		break;
	case T_OCTAL:
		(void)snprintf(out, size, "%04" PRIo32, *(const uint32_t *)at);
		break;
	case T_SIZE:
		(void)snprintf(out, size, "%" PRIu64, *(const uint64_t *)at);
		break;
	case T_REAL:
		(void)snprintf(out, size, "%g", *(const double *)at);
		break;
	case T_STRING:
		(void)snprintf(out, size, "%s", at);
		break;
	case T_MODE:
		(void)snprintf(out, size, "%s", hs_mode_name(*(const enum hs_mode *)at));
		break;
	case T_BOOL:
		(void)snprintf(out, size, "%s", bool_names[*(const bool *)at]);
		break;
	case T_AFTER:
		(void)snprintf(out, size, "%s", after_names[*(const enum hs_after *)at]);
		break;
	case T_LEVEL:
		(void)snprintf(out, size, "%s", level_names[*(const enum hs_log_level *)at]);
		break;
	case T_NAME:
		(void)snprintf(out, size, "%s", k->names[*(const uint8_t *)at]);
		break;
	default:
		(void)snprintf(out, size, "?");
		break;
	}
}

void hs_config_key_allowed(const struct hs_config_key *k, char *out, size_t size)
{
	switch (k->type) {
	case T_U32:
	case T_U16:
	case T_REAL:
		(void)snprintf(out, size, "a number from %.0f to %.0f", k->min, k->max);
		break;
	case T_OCTAL:
		(void)snprintf(out, size, "octal permissions such as 0660");
		break;
	case T_SIZE:
		(void)snprintf(out, size, "bytes, or a number with K, M, G or T such as 256M");
		break;
	case T_STRING:
		(void)snprintf(out, size, "at most %zu characters", string_max(k));
		break;
	case T_MODE:
		(void)snprintf(out, size, "off, observe, save or auto");
		break;
	case T_BOOL:
		(void)snprintf(out, size, "yes or no");
		break;
	case T_AFTER:
		(void)snprintf(out, size, "keep or undo");
		break;
	case T_LEVEL:
		(void)snprintf(out, size, "error, warning, info or debug");
		break;
	case T_NAME:
		(void)snprintf(out, size, "%s", k->allowed);
		break;
	default:
		(void)snprintf(out, size, "?");
		break;
	}
}
