/* `lock` guards the pointer `the_guard` with its count; the table of counts is the kernel's. */
#include <linux/types.h>

#include "kvm_guard.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "kvm_guard.skel.h"

#include "bpf_load.h"
#include "kvm_guard_abi.h"

struct hs_kvm_guard {
	struct kvm_guard_bpf *skel;
	int map_fd;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hs_kvm_guard *the_guard;
static unsigned int nr_refs;

static int load(struct hs_kvm_guard **out, struct hs_error *err)
{
	struct hs_kvm_guard *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return hs_error_set(err, -ENOMEM, "no memory to load the BPF program that watches KVM");
	hs_bpf_listen();
	g->skel = kvm_guard_bpf__open();
	rc = g->skel ? kvm_guard_bpf__load(g->skel) : -errno;
	if (!rc)
		rc = kvm_guard_bpf__attach(g->skel);
	hs_bpf_listen_end();
	if (rc) {
		struct hs_error why = { "" };

		rc = hs_bpf_explain(rc, &why);
		(void)hs_error_set(err, rc, "cannot watch KVM for a migration, which looking into guests needs: %s",
				   why.text);
		kvm_guard_bpf__destroy(g->skel);
		free(g);
		return rc;
	}
	g->map_fd = bpf_map__fd(g->skel->maps.watched);
	*out = g;
	return 0;
}

int hs_kvm_guard_get(struct hs_kvm_guard **out, struct hs_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (!the_guard)
		rc = load(&the_guard, err);
	if (!rc) {
		nr_refs++;
		*out = the_guard;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

void hs_kvm_guard_put(struct hs_kvm_guard *g)
{
	if (!g)
		return;
	pthread_mutex_lock(&lock);
	if (!--nr_refs) {
		kvm_guard_bpf__destroy(the_guard->skel);
		free(the_guard);
		the_guard = NULL;
	}
	pthread_mutex_unlock(&lock);
}

static int look_up(const struct hs_kvm_guard *g, uint64_t kvm, uint32_t slot, struct hs_kvm_guard_count *out)
{
	const struct hs_kvm_guard_key key = { .kvm = kvm, .slot = slot };

	return bpf_map_lookup_elem(g->map_fd, &key, out);
}

int hs_kvm_guard_watch(struct hs_kvm_guard *g, uint64_t kvm, uint32_t slot)
{
	const struct hs_kvm_guard_key key = { .kvm = kvm, .slot = slot };
	const struct hs_kvm_guard_count none = { 0 };

	return bpf_map_update_elem(g->map_fd, &key, &none, BPF_ANY);
}

void hs_kvm_guard_forget(struct hs_kvm_guard *g, uint64_t kvm, uint32_t slot)
{
	const struct hs_kvm_guard_key key = { .kvm = kvm, .slot = slot };

	(void)bpf_map_delete_elem(g->map_fd, &key);
}

int hs_kvm_guard_begin(struct hs_kvm_guard *g, uint64_t kvm, int vm_fd)
{
	struct hs_kvm_guard_count count;
	int rc = hs_kvm_guard_watch(g, kvm, HS_KVM_GUARD_ALL);

	if (rc)
		return rc;
	(void)ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY);
	rc = look_up(g, kvm, HS_KVM_GUARD_ALL, &count);
	if (!rc && !count.calls)
		rc = -ENOTSUP;
	if (rc)
		hs_kvm_guard_end(g, kvm);
	return rc;
}

void hs_kvm_guard_end(struct hs_kvm_guard *g, uint64_t kvm)
{
	hs_kvm_guard_forget(g, kvm, HS_KVM_GUARD_ALL);
}

int hs_kvm_guard_count(struct hs_kvm_guard *g, uint64_t kvm, uint32_t slot, uint64_t *nr)
{
	struct hs_kvm_guard_count one, all;
	int rc = look_up(g, kvm, slot, &one);

	if (!rc)
		rc = look_up(g, kvm, HS_KVM_GUARD_ALL, &all);
	if (!rc)
		*nr = one.logging + all.logging;
	return rc;
}
