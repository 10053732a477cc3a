/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the configuration. inih takes the lines apart; what it leaves open is strict here: a key or section that
 * nobody knows, a key given twice, a value out of its range, keys that contradict one another, a line that goes on with
 * the one before, something behind a [section] and a line that is too long are errors with the line's number.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE (UINT64_C(1) << 20)
#define BOM      "\xef\xbb\xbf" /* a mark that some editors put first; inih passes over it */
#define SPACE    " \t\r\n\v\f"  /* what inih takes for space */

void hs_config_defaults(struct hs_config *out)
{
	memset(out, 0, sizeof(*out));
	out->mode = HS_MODE_OBSERVE;
	(void)snprintf(out->socket, sizeof(out->socket), "/run/hs-share/control.sock");
	out->remember_mode = true;
	out->socket_mode = 0660;
	(void)snprintf(out->tcp_address, sizeof(out->tcp_address), "127.0.0.1");
	out->log_level = HS_LOG_INFO;
	(void)snprintf(out->state_dir, sizeof(out->state_dir), HS_CONFIG_STATE_DIR);
	out->on_exit = HS_AFTER_KEEP;
	out->on_off = HS_AFTER_UNDO;
	out->stop_timeout_s = 600;
	out->history_resolution_s = 60;
	out->history_hours = 24;
	(void)snprintf(out->tls.address, sizeof(out->tls.address), "0.0.0.0");
	out->tls.allow = HS_HTTP_READ;
	(void)snprintf(out->libvirt_uri, sizeof(out->libvirt_uri), "qemu:///system");
	(void)snprintf(out->libvirt_pid_dir, sizeof(out->libvirt_pid_dir), "/run/libvirt/qemu");
	out->discover_interval_s = 30;
	out->pipeline = hs_pipeline_config_default;
	out->pipeline.share = hs_share_config_default;
	out->pipeline.max_overcommit_percent = 100;
	out->pipeline.cpu_percent = 10;
	out->pipeline.share.cpu_percent = 50;
	out->rest_min_s = 5;
	out->rest_max_s = 60;
	out->pressure = (struct hs_pressure_config){ .on_available_percent = 20,
						     .off_available_percent = 35,
						     .on_psi_some_avg10 = 10,
						     .off_psi_some_avg10 = 1,
						     .dwell_s = 300,
						     .poll_s = 5,
						     .after = HS_AFTER_KEEP };
}

void hs_config_persistent_dir(const struct hs_config *cfg, char *out, size_t size)
{
	const char *dir = cfg->persistent_dir;

	if (!dir[0])
		dir = strcmp(cfg->state_dir, HS_CONFIG_STATE_DIR) == 0 ? HS_CONFIG_PERSISTENT_DIR : cfg->state_dir;
	(void)snprintf(out, size, "%s", dir);
}

struct reader {
	const char *text, *end;
	const char *name;
	int line;
	struct hs_config *cfg;
	struct hs_error *err;
	int rc;
	int line_of[HS_CONFIG_MAX_KEYS]; /* of each key of the table, as far as it was set; 0: it has its default */
};

static int complain(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int complain(struct reader *r, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	if (r->rc)
		return 0; /* the first one is reported */
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->rc = hs_error_set(r->err, -EINVAL, "%.80s:%d: %s", r->name, r->line, text);
	return 0;
}

/* inih takes no notice of what stands behind a section, where only a comment may, nor of a section without keys. */
static void check_section(struct reader *r, const char *line)
{
	const char *close = line[0] == '[' ? strchr(line, ']') : NULL;
	const char *rest = close ? close + 1 + strspn(close + 1, SPACE) : "", *rule;
	struct hs_error why = { "" };
	char section[200];

	if (*rest && !(*rest == ';' && rest > close + 1))
		(void)complain(r, "behind %.*s stands something else: \"%.*s\"", (int)(close + 1 - line), line,
			       (int)strcspn(rest, "\r\n"), rest);
	if (!close)
		return;
	(void)snprintf(section, sizeof(section), "%.*s", (int)(close - line - 1), line + 1);
	rule = hs_rule_section(section);
	if (rule && hs_rule_begin(&r->cfg->rules, rule, r->line, &why))
		(void)complain(r, "%s", why.text);
}

/*
 * One line for inih, as fgets would. Without the space at its begin: inih takes an indented line as more of the value
 * before, here it stands for itself, so that keys may be indented and a value that goes on is an error.
 */
static char *next_line(char *buf, int size, void *stream)
{
	struct reader *r = stream;
	const char *nl = memchr(r->text, '\n', (size_t)(r->end - r->text));
	const char *stop = nl ? nl + 1 : r->end;
	size_t len;

	if (r->text == r->end || r->rc)
		return NULL;
	r->line++;
	while (r->text < stop - 1 && strchr(SPACE, *r->text))
		r->text++;
	len = (size_t)(stop - r->text);
	if (len >= (size_t)size) {
		(void)complain(r, "the line is longer than %d characters", size - 1);
		return NULL;
	}
	memcpy(buf, r->text, len);
	buf[len] = '\0';
	r->text = stop;
	check_section(r, r->line == 1 && strncmp(buf, BOM, strlen(BOM)) == 0 ? buf + strlen(BOM) : buf);
	return r->rc ? NULL : buf;
}

static bool known_section(const char *section)
{
	size_t nr;
	const struct hs_config_key *keys = hs_config_keys(&nr);

	for (size_t i = 0; i < nr; i++)
		if (strcmp(keys[i].section, section) == 0)
			return true;
	return false;
}

static int on_rule_key(struct reader *r, const char *rule, const char *name, const char *value)
{
	struct hs_error why = { "" };

	if (value[0] == ';')
		return complain(r, "[discover %.60s] %.60s: a value cannot begin with ; which begins a comment", rule,
				name);
	if (hs_rule_set(&r->cfg->rules, rule, name, value, r->line, &why))
		return complain(r, "%s", why.text);
	return 1;
}

static int on_key(void *user, const char *section, const char *name, const char *value)
{
	struct reader *r = user;
	char allowed[128];
	size_t nr;
	const struct hs_config_key *keys = hs_config_keys(&nr);
	const char *rule = hs_rule_section(section);

	if (rule)
		return on_rule_key(r, rule, name, value);
	for (size_t i = 0; i < nr; i++) {
		const struct hs_config_key *k = &keys[i];

		if (strcmp(k->section, section) != 0 || strcmp(k->name, name) != 0)
			continue;
		if (r->line_of[i])
			return complain(r, "%s is set a second time in [%s]; the first is in line %d", name, section,
					r->line_of[i]);
		r->line_of[i] = r->line;
		if (value[0] == ';')
			return complain(r, "[%s] %s: a value cannot begin with ; which begins a comment", section,
					name);
		if (hs_config_key_set(k, r->cfg, value) == 0)
			return 1;
		hs_config_key_allowed(k, allowed, sizeof(allowed));
		return complain(r, "[%s] %s: \"%.60s\" is not allowed; it takes %s", section, name, value, allowed);
	}
	if (!section[0])
		return complain(r, "%.60s stands before any [section]", name);
	if (!known_section(section))
		return complain(r,
				"there is no section [%.60s]; the sections are service, tls, libvirt, discovery, "
				"discover NAME, scan, fine, policy, merge and auto",
				section);
	return complain(r, "there is no key %.60s in [%s]", name, section);
}

/* Adds "; hot_rounds = 6, line 3" or "; rounds = 5, the default". The key's line; 0: it has its default. */
static int add_value(const struct reader *r, const char *section, const char *name, char *text, size_t size)
{
	size_t len = strlen(text), i = 0, nr;
	const struct hs_config_key *keys = hs_config_keys(&nr);
	char value[100];

	while (strcmp(keys[i].section, section) != 0 || strcmp(keys[i].name, name) != 0)
		i++;
	hs_config_key_text(&keys[i], r->cfg, value, sizeof(value));
	if (r->line_of[i])
		(void)snprintf(text + len, size - len, "; %s = %s, line %d", name, value, r->line_of[i]);
	else
		(void)snprintf(text + len, size - len, "; %s = %s, the default", name, value);
	return r->line_of[i];
}

/* An error of these keys together, "section key" each up to a NULL; it names the line that came last. */
static int complain_of(struct reader *r, const char *why, const char *const *keys)
{
	char text[300];
	int line = 0;

	(void)snprintf(text, sizeof(text), "%s", why);
	for (; *keys; keys++) {
		const char *space = strchr(*keys, ' ');
		char section[32];
		int its;

		(void)snprintf(section, sizeof(section), "%.*s", (int)(space - *keys), *keys);
		its = add_value(r, section, space + 1, text, sizeof(text));
		line = its > line ? its : line;
	}
	r->line = line;
	(void)complain(r, "%s", text);
	return r->rc;
}
#define COMPLAIN_OF(r, why, ...) complain_of(r, why, (const char *const[]){ __VA_ARGS__, NULL })

static size_t nr_words(const char *list)
{
	char word[HS_RULE_VALUE_MAX];
	size_t n = 0;

	while (hs_config_word(list, n, word, sizeof(word)))
		n++;
	return n;
}

static int check_uris(struct reader *r)
{
	const size_t nr_uris = nr_words(r->cfg->libvirt_uri), nr_dirs = nr_words(r->cfg->libvirt_pid_dir);

	if (nr_uris > HS_CONFIG_MAX_URIS)
		return COMPLAIN_OF(r, "[libvirt] uri names more than 8 connections", "libvirt uri");
	if (nr_dirs > 1 && nr_dirs != nr_uris)
		return COMPLAIN_OF(r, "[libvirt] pid_dir takes one folder for all connections, or one for each",
				   "libvirt pid_dir", "libvirt uri");
	return 0;
}

/* What the files hold is looked at when they are read: at the start, and at each reload. */
static int check_tls(struct reader *r)
{
	static const char *const files[] = { "tls certificate", "tls key", "tls client_ca", "tls token_file" };
	const struct hs_config_tls *t = &r->cfg->tls;
	const char *const paths[] = { t->certificate, t->key, t->client_ca, t->token_file };
	struct in6_addr any;

	for (size_t i = 0; i < 4; i++)
		if (paths[i][0] && paths[i][0] != '/')
			return complain_of(r, "[tls] a file is no absolute path",
					   (const char *const[]){ files[i], NULL });
	if (!t->port)
		return 0;
	if (inet_pton(AF_INET, t->address, &any) != 1 && inet_pton(AF_INET6, t->address, &any) != 1)
		return COMPLAIN_OF(r, "[tls] address is no address in numbers, of IPv4 or IPv6", "tls address");
	if (!t->certificate[0] || !t->key[0])
		return COMPLAIN_OF(r, "[tls] port needs a certificate and its key", "tls port", "tls certificate",
				   "tls key");
	if (!t->client_ca[0] && !t->token_file[0])
		return COMPLAIN_OF(r, "[tls] port needs client_ca, token_file or both: it serves nobody unasked",
				   "tls port", "tls client_ca", "tls token_file");
	if (t->allow == HS_HTTP_CHANGE && !t->client_ca[0])
		return COMPLAIN_OF(
		    r,
		    "[tls] allow = change needs client_ca: a token is sent with each request and kept by "
		    "whoever asks, which is not enough to change what is shared",
		    "tls allow", "tls client_ca");
	return 0;
}

static int check_rules(struct reader *r)
{
	struct hs_rules *rules = NULL;
	struct hs_error why = { "" };
	int line = 0;

	if (hs_rules_compile(&rules, &r->cfg->rules, &line, &why)) {
		r->line = line;
		(void)complain(r, "%s", why.text);
	}
	hs_rules_unref(rules);
	return r->rc;
}

/* What several keys say together, and what a key's type does not say. */
static int check_whole(struct reader *r)
{
	const struct hs_config *c = r->cfg;
	const struct hs_pipeline_config *p = &c->pipeline;

	if (p->coarse.hot_rounds > p->coarse.rounds)
		return COMPLAIN_OF(r, "[scan] hot_rounds is more than rounds: nothing could be hot", "scan hot_rounds",
				   "scan rounds");
	if (p->hash_cold_rounds > p->coarse.rounds)
		return COMPLAIN_OF(r, "[scan] hash_cold_rounds is more than rounds: nothing cold would ever be read",
				   "scan hash_cold_rounds", "scan rounds");
	if (p->policy.min_cold_rounds < p->coarse.rounds)
		return COMPLAIN_OF(
		    r, "[policy] min_cold_rounds is less than [scan] rounds: cold must be as well founded as hot",
		    "policy min_cold_rounds", "scan rounds");
	if (p->policy.unshare_hot_rounds > p->coarse.rounds)
		return COMPLAIN_OF(
		    r, "[policy] unshare_hot_rounds is more than [scan] rounds: nothing would ever be unshared",
		    "policy unshare_hot_rounds", "scan rounds");
	if (p->policy.unshare_hot_pages <= p->policy.max_hot)
		return COMPLAIN_OF(
		    r, "[policy] unshare_hot_pages is not above max_hot: huge pages would go back and forth",
		    "policy unshare_hot_pages", "policy max_hot");
	if ((uint64_t)p->fine.samples * p->fine.interval_ms >= p->fine.max_window_ms)
		return COMPLAIN_OF(r,
				   "[fine] samples times interval_ms is not less than max_window_ms: no time is left "
				   "to bring mappings back",
				   "fine samples", "fine interval_ms", "fine max_window_ms");
	if (p->policy.hot_count > p->fine.samples)
		return COMPLAIN_OF(r, "[policy] hot_count is more than [fine] samples: nothing could be hot",
				   "policy hot_count", "fine samples");
	if (p->share.max_page_sharing == 1)
		return COMPLAIN_OF(r, "[merge] max_page_sharing takes 0 or at least 2", "merge max_page_sharing");
	if (c->rest_max_s < c->rest_min_s)
		return COMPLAIN_OF(r, "[scan] rest_max_s is less than rest_min_s", "scan rest_max_s",
				   "scan rest_min_s");
	if (c->pressure.off_available_percent <= c->pressure.on_available_percent)
		return COMPLAIN_OF(r, "[auto] off_available_percent is not above on_available_percent: it would flap",
				   "auto off_available_percent", "auto on_available_percent");
	if (c->pressure.off_psi_some_avg10 >= c->pressure.on_psi_some_avg10)
		return COMPLAIN_OF(r, "[auto] off_psi is not below on_psi: it would flap", "auto off_psi",
				   "auto on_psi");
	if ((uint64_t)c->history_hours * 3600 / c->history_resolution_s >= HS_HISTORY_MAX_POINTS)
		return COMPLAIN_OF(r,
				   "[service] history_hours at history_resolution_s would take 100000 points or more: "
				   "go back less far, or take points less often",
				   "service history_hours", "service history_resolution_s");
	if (check_uris(r) || check_rules(r) || check_tls(r))
		return r->rc;
	if (c->socket[0] != '/')
		return COMPLAIN_OF(r, "[service] socket is no absolute path", "service socket");
	if (c->state_dir[0] != '/')
		return COMPLAIN_OF(r, "[service] state_dir is no absolute path", "service state_dir");
	if (c->fleet_key_file[0] && c->fleet_key_file[0] != '/')
		return COMPLAIN_OF(r, "[service] fleet_key_file is no absolute path", "service fleet_key_file");
	if (c->persistent_dir[0] && c->persistent_dir[0] != '/')
		return COMPLAIN_OF(r, "[service] persistent_dir is no absolute path", "service persistent_dir");
	if (c->tcp_port && strcmp(c->tcp_address, "127.0.0.1") != 0 && strcmp(c->tcp_address, "::1") != 0)
		return COMPLAIN_OF(r, "[service] tcp_address is no loopback address: 127.0.0.1 or ::1",
				   "service tcp_address", "service tcp_port");
	return 0;
}

int hs_config_parse(struct hs_config *out, const char *text, size_t len, const char *name, struct hs_error *err)
{
	struct hs_config cfg;
	struct reader r = { .text = text, .end = text + len, .name = name, .cfg = &cfg, .err = err };
	const char *nul = len ? memchr(text, '\0', len) : NULL;
	int rc;

	if (nul)
		return hs_error_set(err, -EINVAL, "%.80s: it holds a zero byte at %zu: it is no text file", name,
				    (size_t)(nul - text));
	hs_config_defaults(&cfg);
	rc = ini_parse_stream(next_line, &r, on_key, &r);
	if (r.rc)
		return r.rc;
	if (rc)
		return hs_error_set(err, -EINVAL, "%.80s:%d: neither [section], nor key = value, nor a comment", name,
				    rc);
	rc = check_whole(&r);
	if (rc)
		return rc;
	/* What has no key of its own follows. */
	hs_pipeline_config_set_max_hot(&cfg.pipeline, cfg.pipeline.policy.max_hot);
	*out = cfg;
	return 0;
}

int hs_config_load(struct hs_config *out, const char *path, struct hs_error *err)
{
	char *text = NULL;
	struct stat st;
	size_t len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0;

	if (fd < 0) {
		rc = -errno;
		if (rc == -ENOENT)
			hs_config_defaults(out);
		return hs_error_set(err, rc, "cannot read the configuration %.200s: %s", path, strerror(-rc));
	}
	if (fstat(fd, &st))
		rc = hs_error_set(err, -errno, "cannot read the configuration %.200s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		rc = hs_error_set(err, -EINVAL, "the configuration %.200s is no regular file", path);
	else if ((uint64_t)st.st_size > MAX_FILE)
		rc = hs_error_set(err, -EINVAL, "the configuration %.200s is larger than 1 MiB", path);
	if (!rc)
		text = malloc(MAX_FILE + 1);
	if (!rc && !text)
		rc = hs_error_set(err, -ENOMEM, "out of memory");
	while (!rc && len <= MAX_FILE) {
		ssize_t n = read(fd, text + len, MAX_FILE + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = hs_error_set(err, -errno, "cannot read the configuration %.200s: %s", path,
					  strerror(errno));
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (!rc)
		rc = hs_config_parse(out, text, len, path, err);
	free(text);
	(void)close(fd);
	return rc;
}
