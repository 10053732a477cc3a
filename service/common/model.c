#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const mode_names[HS_NR_MODES] = { "off", "observe", "save", "auto" };

const char *hs_mode_name(enum hs_mode mode)
{
	return (unsigned int)mode < HS_NR_MODES ? mode_names[mode] : "unknown";
}

int hs_mode_parse(const char *name, enum hs_mode *out)
{
	for (int i = 0; i < HS_NR_MODES; i++) {
		if (strcmp(name, mode_names[i]) == 0) {
			*out = (enum hs_mode)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *hs_opt_in_scope_name(uint8_t scope)
{
	return scope < HS_SCOPE_COUNT ? hs_scope_names[scope] : "unknown";
}

int hs_opt_in_scope_parse(const char *name, uint8_t *scope)
{
	return hs_scope_parse(name, scope);
}

void hs_opt_in_apply(struct hs_opt_in *opt_in, const struct hs_opt_in_change *change)
{
	opt_in->on = change->on;
	if (change->has_group)
		memcpy(opt_in->group, change->group, sizeof(opt_in->group));
	if (change->has_max_shared)
		opt_in->max_shared_bytes = change->max_shared_bytes;
	if (change->has_scope)
		opt_in->scope = change->scope;
}

int hs_size_parse(uint64_t *out, const char *text)
{
	static const char units[] = "KMGT";
	unsigned long long v;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		const char *unit = strchr(units, *end);

		if (!unit || end[1] || v > UINT64_MAX >> ((unit - units + 1) * 10))
			return -EINVAL;
		v <<= (unit - units + 1) * 10;
	}
	*out = v;
	return 0;
}

bool hs_group_valid(const char *group)
{
	const size_t len = strlen(group);

	return len && len < HS_GROUP_MAX &&
	       strspn(group, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

const char *hs_guest_state_name(enum hs_guest_state state)
{
	static const char *const names[HS_NR_GUEST_STATES] = {
		[HS_GUEST_NOT_RUNNING] = "not running", [HS_GUEST_NOT_OPTED_IN] = "not opted in",
		[HS_GUEST_WAITING] = "waiting",         [HS_GUEST_OBSERVED] = "observed",
		[HS_GUEST_SHARING] = "sharing",         [HS_GUEST_LEAVING] = "leaving",
		[HS_GUEST_REFUSED] = "refused",
	};

	return (unsigned int)state < HS_NR_GUEST_STATES ? names[state] : "unknown";
}

const char *hs_guest_reason_name(enum hs_reason reason)
{
	static const char *const names[HS_NR_GUEST_REASONS] = {
		[HS_REASON_NONE] = "none",
		[HS_REASON_NOT_RUNNING] = "not-running",
		[HS_REASON_NOT_OPTED_IN] = "not-opted-in",
		[HS_REASON_MODE_OFF] = "mode-off",
		[HS_REASON_OBSERVE_ONLY] = "observe-only",
		[HS_REASON_NOSHAREPAGES] = "nosharepages",
		[HS_REASON_SHARED_MEMORY] = "shared-memory",
		[HS_REASON_HUGETLBFS] = "hugetlbfs",
		[HS_REASON_PASSTHROUGH] = "passthrough",
		[HS_REASON_TOO_SMALL] = "too-small",
		[HS_REASON_NO_PERMISSION] = "no-permission",
		[HS_REASON_NO_DESCRIPTORS] = "no-descriptors",
		[HS_REASON_NO_FEATURE] = "no-feature",
		[HS_REASON_BAD_METADATA] = "bad-metadata",
		[HS_REASON_NO_PROCESS] = "no-process",
		[HS_REASON_FOREIGN] = "foreign-mergeable",
		[HS_REASON_KSM_BUSY] = "ksm-busy",
		[HS_REASON_LEARNING] = "learning",
		[HS_REASON_NO_MAPPINGS] = "no-mappings",
		[HS_REASON_OVERCOMMIT] = "overcommit-limit",
		[HS_REASON_NOTHING_TO_GAIN] = "nothing-to-gain",
		[HS_REASON_UNDO_PENDING] = "undo-pending",
		[HS_REASON_TROUBLE] = "trouble",
	};

	return (unsigned int)reason < HS_NR_GUEST_REASONS ? names[reason] : "unknown";
}

const char *hs_look_state_name(enum hs_look_state state)
{
	static const char *const names[HS_NR_LOOK_STATES] = { "none", "under way", "done", "failed" };

	return (unsigned int)state < HS_NR_LOOK_STATES ? names[state] : "unknown";
}

void hs_model_obstacle_set(struct hs_obstacle *o, enum hs_reason reason, const char *text)
{
	o->error = 0;
	o->reason = reason;
	(void)snprintf(o->text, sizeof(o->text), "%s", text);
}

/* Bytes of the character that begins here; 0: it is none, or it is cut. */
static size_t character(const unsigned char *s)
{
	size_t n = s[0] < 0x80                   ? 1
		   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
		   : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
						 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, and beyond the last character. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

void hs_text_mend(char *text)
{
	unsigned char *s = (unsigned char *)text;

	while (*s) {
		size_t n = character(s);
		const bool control = *s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0);

		if (!n || control)
			*s = '?';
		s += n && !control ? n : 1;
	}
}

const struct hs_guest_report *hs_model_report(const struct hs_model_guest *g)
{
	static const struct hs_guest_report none;

	return g->report ? g->report : &none;
}
