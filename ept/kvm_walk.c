/* SPDX-License-Identifier: Apache-2.0 */
/* `lock` guards the program's tables, and the pointer `the_walk` with its count. */
#include "kvm_walk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "kvm_walk.skel.h"

#include "base/bpf_load.h"

struct hs_kvm_walk {
	struct kvm_walk_bpf *skel;
	int look_fd;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hs_kvm_walk *the_walk;
static unsigned int nr_refs;

static int load(struct hs_kvm_walk **out, struct hs_error *err)
{
	struct hs_kvm_walk *w = calloc(1, sizeof(*w));
	struct hs_error why = { "" };
	int rc;

	if (!w)
		return hs_error_set(err, -ENOMEM, "no memory to load the BPF program that looks at KVM");
	hs_bpf_load_begin();
	w->skel = kvm_walk_bpf__open();
	rc = w->skel ? kvm_walk_bpf__load(w->skel) : -errno;
	rc = hs_bpf_load_end(rc, "looks at KVM's virtual machines", &why);
	if (rc) {
		(void)hs_error_set(err, rc, "cannot look at KVM's nested page tables: %s", why.text);
		kvm_walk_bpf__destroy(w->skel);
		free(w);
		return rc;
	}
	w->look_fd = bpf_program__fd(w->skel->progs.hs_kvm_look_at);
	*out = w;
	return 0;
}

int hs_kvm_walk_get(struct hs_kvm_walk **out, struct hs_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (!the_walk)
		rc = load(&the_walk, err);
	if (!rc) {
		nr_refs++;
		*out = the_walk;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

void hs_kvm_walk_put(struct hs_kvm_walk *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&lock);
	if (!--nr_refs) {
		kvm_walk_bpf__destroy(the_walk->skel);
		free(the_walk);
		the_walk = NULL;
	}
	pthread_mutex_unlock(&lock);
}

int hs_kvm_walk_look(struct hs_kvm_walk *w, int fd, struct hs_kvm_seen *out, struct hs_kvm_slot *slots)
{
	struct hs_kvm_look *look = &w->skel->bss->look;
	int rc;

	pthread_mutex_lock(&lock);
	look->fd = (uint32_t)fd;
	look->want_slots = slots != NULL;
	rc = hs_bpf_run(w->look_fd);
	if (!rc) {
		out->look = *look;
		memcpy(out->roots, w->skel->bss->roots, sizeof(out->roots));
		if (slots)
			memcpy(slots, w->skel->bss->slots, look->nr_slots * sizeof(*slots));
	}
	pthread_mutex_unlock(&lock);
	return rc;
}
