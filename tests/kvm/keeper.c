/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds a virtual machine that does nothing, for as long as the test's host runs. The kernel patches its own scheduler
 * when the first virtual machine comes and when the last one goes; QEMU's emulation of several processors now and then
 * runs the old code once more, and the host dies of it. With one machine always there, that patching happens once.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0 || ioctl(vm, KVM_CREATE_VCPU, 0) < 0) {
		perror("kvm-keeper");
		return 1;
	}
	if (daemon(0, 1)) /* only now: the host's next step finds it there */
		return 1;
	for (;;)
		(void)pause();
}
