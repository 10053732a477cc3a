/* SPDX-License-Identifier: Apache-2.0 */
/* One domain: its state, whether it is opted in, its process, and what in its XML keeps its memory from being shared.
 */
#include <errno.h>
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virt_internal.h"

/* ---- obstacles ---- */

static const struct {
	const char *path;
	enum hs_reason reason;
	const char *text;
} obstacles[] = {
	{ "/domain/memoryBacking/nosharepages", HS_REASON_NOSHAREPAGES,
	  "its XML says nosharepages, which is a veto: remove that element and restart the domain to allow sharing" },
	{ "/domain/memoryBacking/hugepages", HS_REASON_HUGETLBFS,
	  "its memory is backed by hugetlbfs, which the kernel cannot share page by page: remove <hugepages/>, "
	  "transparent huge "
	  "pages serve as well" },
	{ "/domain/memoryBacking/source[@type='memfd' or @type='file']", HS_REASON_SHARED_MEMORY,
	  "its memory is a memfd or a file, which KSM cannot merge: remove <source type='...'/> from <memoryBacking>" },
	{ "/domain/memoryBacking/access[@mode='shared']", HS_REASON_SHARED_MEMORY,
	  "its memory is shared with another process, which KSM cannot merge: remove <access mode='shared'/>" },
	{ "/domain/cpu/numa/cell[@memAccess='shared']", HS_REASON_SHARED_MEMORY,
	  "the memory of a NUMA cell is shared with another process, which KSM cannot merge: remove "
	  "memAccess='shared'" },
	{ "/domain/devices/hostdev[@mode='subsystem' and (@type='pci' or @type='mdev')]", HS_REASON_PASSTHROUGH,
	  "a device is passed through to it, which pins its memory: KSM cannot merge that; only without the device can "
	  "it share" },
	{ "/domain/devices/interface[@type='hostdev' or @type='vdpa']", HS_REASON_PASSTHROUGH,
	  "a network device is passed through to it, which pins its memory: KSM cannot merge that; only without the "
	  "device can it share" },
};

static bool has(xmlXPathContext *ctx, const char *path)
{
	xmlXPathObject *o = xmlXPathEvalExpression((const xmlChar *)path, ctx);
	bool found = o && o->nodesetval && o->nodesetval->nodeNr > 0;

	xmlXPathFreeObject(o);
	return found;
}

void hs_virt_obstacle(const char *xml, struct hs_obstacle *out)
{
	xmlDoc *doc =
	    xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	xmlXPathContext *ctx = doc ? xmlXPathNewContext(doc) : NULL;

	hs_model_obstacle_set(out, HS_REASON_NONE, "");
	for (size_t i = 0; ctx && !out->reason && i < sizeof(obstacles) / sizeof(obstacles[0]); i++) {
		if (has(ctx, obstacles[i].path))
			hs_model_obstacle_set(out, obstacles[i].reason, obstacles[i].text);
	}
	xmlXPathFreeContext(ctx);
	xmlFreeDoc(doc);
}

/* ---- its process ---- */

static ssize_t read_file(const char *path, char *buf, size_t size, struct stat *st)
{
	/* A session's user may have put a FIFO there, which nobody writes to. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (st && (fstat(fd, st) || !S_ISREG(st->st_mode))) {
		(void)close(fd);
		return -EBADF;
	}
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	(void)close(fd);
	buf[len] = '\0';
	return (ssize_t)len;
}

/* A process that was given this UUID on its command line: a pid file left by a crash may name anybody. */
static bool runs_domain(const struct hs_host *host, pid_t pid, const char *uuid)
{
	char path[4200], *buf = malloc(65536);
	bool found = false;
	ssize_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/%d/cmdline", host->proc_dir, (int)pid);
	if (buf)
		len = read_file(path, buf, 65536, NULL);
	for (ssize_t at = 0; buf && at < len && !found; at += (ssize_t)strlen(buf + at) + 1)
		found = strcmp(buf + at, uuid) == 0;
	free(buf);
	return found;
}

static bool runs_as(const struct hs_host *host, pid_t pid, uid_t uid)
{
	char path[4200], text[2048];
	unsigned int real = UINT32_MAX;
	const char *line;

	(void)snprintf(path, sizeof(path), "%s/%d/status", host->proc_dir, (int)pid);
	line = read_file(path, text, sizeof(text), NULL) > 0 ? strstr(text, "\nUid:") : NULL;
	return line && sscanf(line, " Uid: %u", &real) == 1 && real == uid;
}

/*
 * Who decides what is read at this path: root, or the first other user who owns a folder on the way, and may so put
 * anything behind it, a link to another user's file for example. `file`: whose the opened file is.
 */
static uid_t who_decides(const char *path, uid_t file)
{
	char part[4400];
	struct stat st;

	for (const char *at = path; (at = strchr(at, '/')); at++) {
		(void)snprintf(part, sizeof(part), "%.*s", (int)(at == path ? 1 : at - path), path);
		/* The link, where it is one, and the folder that it leads to. */
		if (lstat(part, &st) || st.st_uid || stat(part, &st) || st.st_uid)
			return st.st_uid;
	}
	return lstat(path, &st) || st.st_uid ? st.st_uid : file;
}

static pid_t pid_of(const struct hs_virt_config *cfg, const struct hs_virt_domain *d, char text[256])
{
	char path[4400], number[32];
	struct stat st = { 0 };
	uid_t owner;
	ssize_t n;
	long pid;

	if (!cfg->pid_dir || !cfg->pid_dir[0] || strchr(d->name, '/'))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s.pid", cfg->pid_dir, d->name);
	n = read_file(path, number, sizeof(number), &st);
	if (n <= 0) {
		(void)snprintf(text, 256, "its process cannot be told: %.120s: %s (see pid_dir in the configuration)",
			       path,
			       n == -EBADF ? "not a regular file"
			       : n < 0     ? strerror((int)-n)
					   : "empty");
		return 0;
	}
	owner = who_decides(path, st.st_uid);
	pid = strtol(number, NULL, 10);
	if (pid <= 0 || pid > 0x3fffffff || !runs_domain(&cfg->host, (pid_t)pid, d->uuid)) {
		(void)snprintf(text, 256,
			       "its process cannot be told: %.120s names %.20s, which does not run this domain", path,
			       number);
		return 0;
	}
	/* A session's folder is its user's, who might name another user's guest there. */
	if (owner != 0 && !runs_as(&cfg->host, (pid_t)pid, owner)) {
		(void)snprintf(text, 256, "its process cannot be told: %.120s is user %u's, and process %ld is not",
			       path, (unsigned int)owner, pid);
		return 0;
	}
	return (pid_t)pid;
}

/* ---- all of it ---- */

static int libvirt_failed(const char *what, struct hs_error *err)
{
	const virError *e = virGetLastError();

	if (e && e->code == VIR_ERR_NO_DOMAIN)
		return -ENOENT;
	return hs_error_set(err, -EIO, "libvirt: %s: %s", what, e && e->message ? e->message : "unknown error");
}

/* Only libvirt's word that there is no element is one: taken for opted out, all its sharing would be undone. */
static int read_opt_in(virDomainPtr dom, struct hs_virt_domain *out, struct hs_error *why)
{
	char *xml = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, HS_VIRT_NAMESPACE, 0);
	struct hs_error err = { "" };

	if (!xml)
		return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_METADATA ? 0 : libvirt_failed(out->name, why);
	out->has_element = true; /* one that cannot be understood may say no */
	if (hs_virt_parse_metadata(xml, strlen(xml), &out->opt_in, &err)) {
		memset(&out->opt_in, 0, sizeof(out->opt_in));
		out->obstacle.reason = HS_REASON_BAD_METADATA;
		(void)snprintf(out->obstacle.text, sizeof(out->obstacle.text),
			       "our element in its metadata cannot be understood: %.120s; `hs-share opt-in` or opt-out "
			       "writes it anew",
			       err.text);
	}
	free(xml);
	return 0;
}

int hs_virt_read_opt_in(virDomainPtr dom, struct hs_opt_in *out, struct hs_error *err)
{
	struct hs_virt_domain d = { .opt_in.group = HS_DEFAULT_GROUP };
	const char *name = virDomainGetName(dom);
	int rc;

	(void)snprintf(d.name, sizeof(d.name), "%s", name ? name : "");
	rc = read_opt_in(dom, &d, err);
	*out = d.opt_in;
	if (!out->group[0])
		(void)snprintf(out->group, sizeof(out->group), "%s", HS_DEFAULT_GROUP);
	return rc;
}

int hs_virt_read_domain(virDomainPtr dom, const struct hs_virt_config *cfg, const struct hs_rules *rules,
			struct hs_virt_domain *out, struct hs_error *err)
{
	const char *name = virDomainGetName(dom);
	char *xml, text[256] = "";
	int active, persistent, rc;

	memset(out, 0, sizeof(*out));
	(void)snprintf(out->opt_in.group, sizeof(out->opt_in.group), "%s", HS_DEFAULT_GROUP);
	if (virDomainGetUUIDString(dom, out->uuid) < 0 || !name)
		return libvirt_failed("cannot read a domain's name", err);
	if (strlen(name) >= sizeof(out->name))
		return hs_error_set(err, -ENAMETOOLONG,
				    "the name of domain %s is longer than %zu characters: it is left alone", out->uuid,
				    sizeof(out->name) - 1);
	(void)snprintf(out->name, sizeof(out->name), "%s", name);
	active = virDomainIsActive(dom);
	persistent = virDomainIsPersistent(dom);
	xml = active < 0 || persistent < 0 ? NULL : virDomainGetXMLDesc(dom, 0);
	if (!xml)
		return libvirt_failed(name, err);
	out->running = active == 1;
	out->persistent = persistent == 1;
	hs_virt_obstacle(xml, &out->obstacle);
	hs_rules_match_domain(rules, name, xml, &out->rule);
	free(xml);
	rc = read_opt_in(dom, out, err);
	if (rc)
		return rc;
	if (out->running) {
		out->pid = pid_of(cfg, out, text);
		if (!out->pid && !out->obstacle.reason)
			hs_model_obstacle_set(&out->obstacle, HS_REASON_NO_PROCESS,
					      text[0] ? text : "libvirt keeps no process for it");
	}
	return 0;
}
