/* The table of keys: all that is known of one stands in one place, and reading, comparing, printing and the documents
 * use it. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { T_U32, T_U16, T_OCTAL, T_SIZE, T_BOOL, T_REAL, T_STRING, T_MODE, T_AFTER, T_FOREIGN, T_LEVEL };

#define MAX_STRING 160

#define AT(field)   offsetof(struct hs_config, field)
#define SIZE(field) sizeof(((struct hs_config *)NULL)->field)
#define LIVE        true
#define RESTART     false
#define NUMBER(section, name, live, field, min, max, what)                                                             \
	{                                                                                                              \
		section, name, T_U32, live, AT(field), min, max, 0, what                                               \
	}
#define STRING(section, name, live, field, what)                                                                       \
	{                                                                                                              \
		section, name, T_STRING, live, AT(field), 0, 0, SIZE(field), what                                      \
	}
#define OTHER(section, name, type, live, field, what)                                                                  \
	{                                                                                                              \
		section, name, type, live, AT(field), 0, 0, 0, what                                                    \
	}
#define REAL(section, name, field, what)                                                                               \
	{                                                                                                              \
		section, name, T_REAL, LIVE, AT(field), 0, 100, 0, what                                                \
	}

const struct hs_config_key hs_config_keys[] = {
	OTHER("service", "mode", T_MODE, LIVE, mode,
	      "what to do from the start: off, observe (look, change nothing), save (share), auto (save under memory "
	      "pressure)"),
	STRING("service", "socket", RESTART, socket,
	       "UNIX socket for requests; who may write to it may control the service"),
	STRING("service", "socket_group", RESTART, socket_group, "group of the socket; empty: root alone may connect"),
	OTHER("service", "socket_mode", T_OCTAL, RESTART, socket_mode, "permissions of the socket, octal"),
	STRING("service", "tcp_address", RESTART, tcp_address,
	       "loopback address of the read-only port: 127.0.0.1 or ::1"),
	{ "service", "tcp_port", T_U16, RESTART, AT(tcp_port), 0, 65535, 0,
	  "read-only port for Prometheus; 0: none, since any local user can read it" },
	OTHER("service", "log_level", T_LEVEL, LIVE, log_level, "error, warning, info or debug"),
	STRING("service", "state_dir", RESTART, state_dir,
	       "what must survive a crash, but not a reboot: KSM's settings, split mappings, opted-in processes"),
	OTHER("service", "on_exit", T_AFTER, LIVE, on_exit,
	      "keep or undo what is shared when the service ends; keep: an upgrade must not need the memory"),
	OTHER("service", "on_off", T_AFTER, LIVE, on_off, "the same for mode off, when the request does not say"),
	NUMBER("service", "history_resolution_s", RESTART, history_resolution_s, 1, 3600,
	       "seconds between two points of the history"),
	NUMBER("service", "history_hours", RESTART, history_hours, 1, 168,
	       "hours that the history goes back; 72 bytes a point"),

	STRING("libvirt", "uri", RESTART, libvirt_uri, "connection to libvirt; empty: only processes, by request"),
	STRING("libvirt", "pid_dir", RESTART, libvirt_pid_dir, "where libvirt keeps its domains' pid files"),

	NUMBER("scan", "rounds", LIVE, pipeline.coarse.rounds, 1, 64, "coarse rounds in a cycle (HugeScope's R)"),
	NUMBER("scan", "interval_ms", LIVE, pipeline.coarse.interval_ms, 10, 600000,
	       "length of a round (as in the paper)"),
	NUMBER("scan", "hot_rounds", LIVE, pipeline.coarse.hot_rounds, 1, 64,
	       "a huge page accessed in so many rounds is hot"),
	NUMBER("scan", "cpu_percent", LIVE, pipeline.cpu_percent, 0, 100,
	       "of one core, for looking and digesting; 0: no cap. A tenth reads some 1 GiB/s at most"),
	OTHER("scan", "min_memory", T_SIZE, LIVE, pipeline.min_bytes,
	      "smallest piece of a process's memory that counts as guest memory; 0: 64M, above a VMM's own buffers"),
	NUMBER("scan", "hash_cold_rounds", LIVE, pipeline.hash_cold_rounds, 1, 64,
	       "contents are read once cold for so many rounds"),
	NUMBER("scan", "look_again", LIVE, pipeline.look_again, 1, 1000,
	       "cycles until an evenly hot huge page is looked at finely again"),
	NUMBER("scan", "rest_min_s", LIVE, rest_min_s, 1, 86400, "rest after a cycle that changed something"),
	NUMBER("scan", "rest_max_s", LIVE, rest_max_s, 1, 86400,
	       "longest rest, reached by doubling while nothing changes"),

	NUMBER("fine", "samples", LIVE, pipeline.fine.samples, 1, 255, "base-page samples in a window"),
	NUMBER("fine", "interval_ms", LIVE, pipeline.fine.interval_ms, 1, 60000, "between two samples"),
	NUMBER("fine", "max_split", LIVE, pipeline.fine.max_split, 1, 1000000,
	       "mappings split for a look at one time, over all guests"),
	NUMBER("fine", "max_window_ms", LIVE, pipeline.fine.max_window_ms, 10, 600000,
	       "no mapping is split for a look for longer"),

	NUMBER("policy", "max_hot", LIVE, pipeline.policy.max_hot, 0, 511,
	       "of 512 base pages, in a huge page that may be split (HugeScope's)"),
	NUMBER("policy", "hot_count", LIVE, pipeline.policy.hot_count, 1, 255,
	       "a base page met in so many fine samples is hot"),
	NUMBER("policy", "min_gain_cold", LIVE, pipeline.policy.min_gain_cold, 1, 512,
	       "base pages to free in a cold huge page"),
	NUMBER("policy", "min_gain_hot", LIVE, pipeline.policy.min_gain_hot, 1, 512,
	       "the same where a huge mapping in use is lost"),
	NUMBER("policy", "min_cold_rounds", LIVE, pipeline.policy.min_cold_rounds, 1, 65535,
	       "rounds without access until it counts as cold"),
	NUMBER("policy", "unshare_hot_rounds", LIVE, pipeline.policy.unshare_hot_rounds, 1, 64,
	       "a shared huge page is unshared when it is hot in so many rounds"),
	NUMBER("policy", "unshare_hot_pages", LIVE, pipeline.policy.unshare_hot_pages, 1, 512,
	       "and has more than so many base pages accessed in the last round"),
	NUMBER("policy", "ban_breaks", LIVE, pipeline.policy.ban_breaks, 0, 512,
	       "so many shared base pages written: unshare and ban; 0: never"),
	NUMBER("policy", "ban_cycles", LIVE, pipeline.policy.ban_cycles, 1, 1000, "length of a first ban"),

	OTHER("merge", "foreign", T_FOREIGN, LIVE, pipeline.share.foreign,
	      "mergeable memory of others, which ksmd would merge blindly: refuse (share nothing), claim (take the "
	      "mark away, give it back at the end), allow"),
	NUMBER("merge", "vma_percent", LIVE, pipeline.share.vma_percent, 1, 90,
	       "of vm.max_map_count, that a guest's mappings may reach"),
	NUMBER("merge", "max_gap", LIVE, pipeline.share.max_gap, 0, 511,
	       "cold base pages between two shared ones that are taken along to spare mappings"),
	NUMBER("merge", "burst_deadline_ms", LIVE, pipeline.share.burst_deadline_ms, 100, 3600000,
	       "ksmd is stopped after so long, and goes on in a later cycle"),
	NUMBER("merge", "ksmd_cpu_percent", LIVE, pipeline.share.cpu_percent, 0, 100,
	       "of one core, for ksmd while it runs; 0: no cap"),
	NUMBER("merge", "max_page_sharing", LIVE, pipeline.share.max_page_sharing, 0, 1000000,
	       "KSM's cap of copies a frame; 0: as it is"),
	NUMBER("merge", "min_free_percent", LIVE, pipeline.share.min_free_percent, 0, 100,
	       "unsharing leaves so much of the host's memory available"),
	OTHER("merge", "use_zero_pages", T_BOOL, LIVE, pipeline.share.use_zero_pages,
	      "zero pages go to the kernel's zero page"),

	REAL("auto", "on_available_percent", auto_mode.on_available_percent,
	     "save when less of the memory is available"),
	REAL("auto", "off_available_percent", auto_mode.off_available_percent,
	     "stop when more is, and the pressure is low too"),
	REAL("auto", "on_psi", auto_mode.on_psi_some_avg10,
	     "save when some task waited for memory for more than this percent of 10 s (PSI some avg10)"),
	REAL("auto", "off_psi", auto_mode.off_psi_some_avg10, "stop only below this"),
	NUMBER("auto", "dwell_s", LIVE, auto_mode.dwell_s, 0, 86400, "no switch sooner after the last one"),
	NUMBER("auto", "poll_s", LIVE, auto_mode.poll_s, 1, 3600, "seconds between two readings"),
	OTHER("auto", "after", T_AFTER, LIVE, auto_mode.after, "keep or undo what is shared when the pressure is over"),
};
const size_t hs_config_nr_keys = sizeof(hs_config_keys) / sizeof(hs_config_keys[0]);

static const char *const after_names[] = { [HS_AFTER_KEEP] = "keep", [HS_AFTER_UNDO] = "undo" };
static const char *const level_names[] = { "error", "warning", "info", "debug" };
static const char *const foreign_names[] = {
	[HS_FOREIGN_REFUSE] = "refuse", [HS_FOREIGN_ALLOW] = "allow", [HS_FOREIGN_CLAIM] = "claim"
};
static const char *const bool_names[] = { "no", "yes" };

static int one_of(const char *text, const char *const *names, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (strcmp(text, names[i]) == 0)
			return (int)i;
	return -1;
}
#define ONE_OF(text, names) one_of(text, names, sizeof(names) / sizeof(names[0]))

/* Digits only, in this base; false: something else, or too large. */
static bool whole(const char *text, int base, uint64_t *out, char **end)
{
	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*out = strtoull(text, end, base);
	return errno == 0;
}

static int set_size(uint64_t *out, const char *text)
{
	static const char units[] = "KMGT";
	const char *unit;
	uint64_t v;
	char *end;

	if (!whole(text, 10, &v, &end))
		return -EINVAL;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1] || v > UINT64_MAX >> ((unit - units + 1) * 10))
			return -EINVAL;
		v <<= (unit - units + 1) * 10;
	}
	*out = v;
	return 0;
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
		return set_size((uint64_t *)at, text);
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
		i = ONE_OF(text, bool_names);
		if (i >= 0)
			*(bool *)at = i == 1;
		return i < 0 ? -EINVAL : 0;
	case T_AFTER:
		i = ONE_OF(text, after_names);
		if (i >= 0)
			*(enum hs_after *)at = (enum hs_after)i;
		return i < 0 ? -EINVAL : 0;
	case T_LEVEL:
		i = ONE_OF(text, level_names);
		if (i >= 0)
			*(enum hs_log_level *)at = (enum hs_log_level)i;
		return i < 0 ? -EINVAL : 0;
	case T_FOREIGN:
		i = ONE_OF(text, foreign_names);
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
	case T_FOREIGN:
		(void)snprintf(out, size, "%s", foreign_names[*(const uint8_t *)at]);
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
	case T_FOREIGN:
		(void)snprintf(out, size, "refuse, claim or allow");
		break;
	default:
		(void)snprintf(out, size, "?");
		break;
	}
}
