/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules that find guests without a request for each: sections [discover NAME] of the configuration. A rule looks for
 * processes (by executable, command line, cgroup, pid file) or for libvirt's domains (by name, by what their XML says),
 * and says by which name, in which trust group and up to which limit what it finds is opted in.
 *
 * What a process says of itself (its name, its command line) anybody can say. So a rule begins with what only root can
 * make: the executable file that the kernel says it runs, owned by root and writable by nobody else, the user who
 * runs it, and the mount namespace in which that file's path holds. Only of a process that passes these is more read.
 */
#ifndef HS_SERVICE_DISCOVERY_RULES_H
#define HS_SERVICE_DISCOVERY_RULES_H

#include <stdio.h>

#include "hs/error.h"
#include "service/common/model.h"

#define HS_RULES_MAX      16  /* each costs a process that its executable fits some 10 us a walk */
#define HS_RULE_NAME_MAX  41  /* with its end; the reader of the file holds 50 characters of a section's name */
#define HS_RULE_VALUE_MAX 161 /* with its end; key and value have to fit into a line of 199 characters */

enum hs_rule_key {
	HS_RULE_SOURCE = 0,
	HS_RULE_EXECUTABLE,
	HS_RULE_OWNER,
	HS_RULE_MOUNT_NAMESPACE,
	HS_RULE_COMMAND_LINE,
	HS_RULE_CGROUP,
	HS_RULE_PID_FILE,
	HS_RULE_MIN_MEMORY,
	HS_RULE_DOMAIN,
	HS_RULE_METADATA,
	HS_RULE_NAME,
	HS_RULE_GROUP,
	HS_RULE_MAX_SHARED,
	HS_RULE_NR_KEYS
};

/* A key, its default, and what it is for, for the configuration and its documents. */
struct hs_rule_key_doc {
	const char *name, *def, *allowed, *what;
};
extern const struct hs_rule_key_doc hs_rule_key_docs[HS_RULE_NR_KEYS];

/* As the file has them: plain data, copied with the configuration. */
struct hs_rule_text {
	char name[HS_RULE_NAME_MAX];
	int line;                     /* of its section; 0: not from a file */
	int line_of[HS_RULE_NR_KEYS]; /* 0: not set */
	char value[HS_RULE_NR_KEYS][HS_RULE_VALUE_MAX];
};
struct hs_rule_texts {
	size_t nr;
	struct hs_rule_text rule[HS_RULES_MAX];
};

/* The rule's name, when this is the section of one ("discover NAME"); NULL: it is another. */
const char *hs_rule_section(const char *section);

/* A section begins, or a key of it was read. -EINVAL: err says why, without file and line. */
HS_MUST_USE int hs_rule_begin(struct hs_rule_texts *texts, const char *name, int line, struct hs_error *err);
HS_MUST_USE int hs_rule_set(struct hs_rule_texts *texts, const char *name, const char *key, const char *value, int line,
			    struct hs_error *err);

/* Only the rules of a configuration file, for who needs nothing else of it. -ENOENT: no such file; -EINVAL; -errno. */
HS_MUST_USE int hs_rules_load(struct hs_rule_texts *out, const char *path, struct hs_error *err);

/* In the file's own form. */
void hs_rules_print(FILE *f, const struct hs_rule_texts *texts);

/* The ready rules, as they stand in the example configuration: each line a comment. */
extern const char hs_rules_examples[];

/* ---- ready to be used ---- */

struct hs_rules; /* does not change; any thread may use it that holds a reference */

/*
 * -EINVAL: err names section, key and the character where it goes wrong, and the way out; *line is that of the key
 * (0: none). -ENOMEM.
 */
HS_MUST_USE int hs_rules_compile(struct hs_rules **out, const struct hs_rule_texts *texts, int *line,
				 struct hs_error *err);
struct hs_rules *hs_rules_ref(struct hs_rules *rules);    /* takes NULL */
void hs_rules_unref(struct hs_rules *rules);              /* takes NULL */
bool hs_rules_of_processes(const struct hs_rules *rules); /* it has some; takes NULL */
bool hs_rules_of_domains(const struct hs_rules *rules);
size_t hs_rules_nr(const struct hs_rules *rules);
const char *hs_rules_name(const struct hs_rules *rules, size_t rule);
bool hs_rules_is_of_domains(const struct hs_rules *rules, size_t rule);

/* What a rule says of what it has found. */
struct hs_rule_result {
	bool found;                  /* by `rule`, the first that fits */
	char rule[HS_RULE_NAME_MAX]; /* its name */
	char name[HS_NAME_MAX];      /* "": none of its own */
	struct hs_opt_in opt_in;     /* off when refused */
	char refused[256];           /* why it is not taken in all the same; "": it is */
};

/* What is known of a process; NULL: not looked up, or there is none. */
struct hs_rule_process {
	pid_t pid;
	const char *executable, *command_line, *cgroup, *pid_file;
};
/* By one rule: patterns, name, group and limit; safe or not was asked before. out->found says whether it fits. */
void hs_rules_match_process(const struct hs_rules *rules, size_t rule, const struct hs_rule_process *process,
			    struct hs_rule_result *out);

/* A domain by its name and its XML. */
void hs_rules_match_domain(const struct hs_rules *rules, const char *name, const char *xml, struct hs_rule_result *out);

#endif
