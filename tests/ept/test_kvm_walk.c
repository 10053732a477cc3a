/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the look at KVM finds of a virtual machine of our own, which never runs: its slots, on kernels with one address
 * space (without CONFIG_KVM_SMM) as on those with two. How guests are seen: tests/kvm.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hs_test.h"
#include "ept/kvm_walk.h"

#define PAGES 4

static int vm = -1;
static char *memory;
static uint32_t nr_spaces;
static struct hs_kvm_walk *walk;
static struct hs_error err;

static void set_slot(uint32_t number, uint64_t gpa)
{
	const struct kvm_userspace_memory_region r = { .slot = number,
						       .guest_phys_addr = gpa,
						       .memory_size = PAGES * HS_BASE_SIZE,
						       .userspace_addr = (uintptr_t)memory };

	ck_assert_int_eq(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
}

static void look(struct hs_kvm_seen *seen, struct hs_kvm_slot *slots)
{
	ck_assert_int_eq(hs_kvm_walk_look(walk, vm, seen, slots), 0);
	/* Slots come first; whether KVM uses the TDP MMU here is not asked. */
	ck_assert_msg(seen->look.end == HS_KVM_LOOK_OK || seen->look.end == HS_KVM_LOOK_NO_TDP_MMU, "%u",
		      seen->look.end);
	ck_assert_uint_eq(seen->look.nr_spaces, nr_spaces);
}

START_TEST(test_ept_kvm_walk_slots)
{
	static struct hs_kvm_slot slots[HS_KVM_MAX_SLOTS];
	struct hs_kvm_seen first, second;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), spaces;
	bool found[3] = { false };

	vm = ioctl(kvm, KVM_CREATE_VM, 0); /* here: it is of the process that makes it, and Check forks */
	ck_assert_int_ge(vm, 0);
	spaces = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_MULTI_ADDRESS_SPACE);
	nr_spaces = spaces > 1 ? (uint32_t)spaces : 1;
	memory = mmap(NULL, PAGES * HS_BASE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	set_slot(0, 0x100000);
	set_slot(1, 0x40000000);
	look(&first, slots);
	ck_assert_uint_eq(first.look.nr_slots, 2);
	if (nr_spaces == 1)
		ck_assert_uint_eq(first.look.generation[1], 0);
	/* In the last space that there is; then its generation is another. */
	set_slot((nr_spaces - 1) << 16 | 2, 0x50000000);
	look(&second, slots);
	ck_assert_uint_eq(second.look.nr_slots, 3);
	ck_assert_uint_ne(second.look.generation[nr_spaces - 1], first.look.generation[nr_spaces - 1]);
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_msg(slots[i].id >= 0 && slots[i].id < 3, "%d", slots[i].id);
		ck_assert(!found[slots[i].id]);
		found[slots[i].id] = true;
		ck_assert_uint_eq(slots[i].space, slots[i].id == 2 ? nr_spaces - 1 : 0);
		ck_assert_uint_eq(slots[i].nr_pages, PAGES);
		ck_assert_uint_eq(slots[i].hva, (uintptr_t)memory);
		ck_assert_uint_eq(slots[i].flags, 0);
	}
	munmap(memory, PAGES * HS_BASE_SIZE);
	close(vm);
	close(kvm);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept/kvm_walk");
	TCase *t = tcase_create("live");
	int kvm, rc;

	if (geteuid())
		return hs_test_skip("ept/kvm_walk", "looking at KVM needs root");
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	close(vm);
	close(kvm);
	if (vm < 0)
		return hs_test_skip("ept/kvm_walk", "there is no /dev/kvm that makes virtual machines");
	rc = hs_kvm_walk_get(&walk, &err);
	if (rc)
		return hs_test_skip("ept/kvm_walk", err.text);
	tcase_add_test(t, test_ept_kvm_walk_slots);
	suite_add_tcase(s, t);
	rc = hs_test_run(s);
	hs_kvm_walk_put(walk);
	return rc;
}
