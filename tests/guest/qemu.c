/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real machine: QEMU with Debian's cloud kernel. q35 with everything it can do without taken away boots fastest of
 * the machine types tried. The first serial line is the console and goes to the log; the second is the control line.
 *
 * Guest-physical to host addresses: q35 and pc have all RAM below 2 GiB in one piece from 0 on, one block in QEMU's
 * process, aligned to a huge page: host address = start of the block + guest-physical address.
 *
 * The translation buffer of software emulation is private anonymous memory too (1 GiB by default, or an eighth of the
 * RAM): kept at 32 MiB, so that nobody takes it for guest memory.
 */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest_private.h"

#define KERNELS       "/boot/vmlinuz-*-cloud-amd64"
#define ACCEL         "tcg,thread=multi,tb-size=32"
#define MACHINE       "q35,smm=off,sata=off,i8042=off,hpet=off,vmport=off"
#define SANDBOX       "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#define APPEND        "console=ttyS0 quiet panic=-1 nokaslr nowatchdog mitigations=off cryptomgr.notests no_timer_check"
#define KERNEL_MIB    192U /* what the guest's kernel and the search for whole huge pages want beside the workload */
#define MAX_RAM_MIB   2047U
#define MAX_QEMU_ARGS 48

static int newest_kernel(char *buf, size_t size, struct hs_error *err)
{
	glob_t found = { 0 };
	const char *best = NULL;

	(void)glob(KERNELS, 0, NULL, &found);
	for (size_t i = 0; i < found.gl_pathc; i++)
		if (!best || strverscmp(found.gl_pathv[i], best) > 0)
			best = found.gl_pathv[i];
	(void)snprintf(buf, size, "%s", best ? best : "");
	globfree(&found);
	if (!*buf)
		return hs_error_set(err, -ENOENT, "no kernel %s: install the package linux-image-cloud-amd64", KERNELS);
	if (access(buf, R_OK))
		return hs_error_set(err, -errno, "kernel %s: %s", buf, strerror(errno));
	return 0;
}

static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	char buf[4096];

	if (strchr(program, '/'))
		return access(program, X_OK) == 0;
	for (const char *p = path ? path : "/usr/bin:/bin"; *p;) {
		size_t len = strcspn(p, ":");

		(void)snprintf(buf, sizeof(buf), "%.*s/%s", (int)len, p, program);
		if (access(buf, X_OK) == 0)
			return true;
		p += len + (p[len] == ':');
	}
	return false;
}

static const char *qemu_program(const struct hs_guest_config *cfg)
{
	return cfg->qemu ? cfg->qemu : "qemu-system-x86_64";
}

int hs_guest_qemu_available(const struct hs_guest_config *cfg, struct hs_error *err)
{
	char kernel[512];

	if (!in_path(qemu_program(cfg)))
		return hs_error_set(err, -ENOENT, "no %s: install the package qemu-system-x86", qemu_program(cfg));
	return cfg->kernel ? 0 : newest_kernel(kernel, sizeof(kernel), err);
}

/*
 * The kernel's command line; what follows "--" goes to the workload. No self-tests of ciphers and no mitigations: a
 * quarter of the boot time. A fixed place for the kernel: the guests' layouts are alike. No test of the timer's
 * interrupt: it counts ticks in a loop, and on a busy host an emulated machine fails it and panics.
 */
void hs_guest_command_line(const struct hs_guest_params *p, char *buf, size_t size)
{
	size_t len = (size_t)snprintf(buf, size, "%s --", APPEND);
	char arg[64];

	for (unsigned int i = 0; len < size && hs_guest_params_format(p, i, arg, sizeof(arg)); i++)
		len += (size_t)snprintf(buf + len, size - len, " %s", arg);
}

int hs_guest_start_qemu(struct hs_guest *g, const struct hs_guest_config *cfg, struct hs_error *err)
{
	const char *program = cfg->program ? cfg->program : getenv("HS_GUEST_INIT");
	uint64_t ram_mib = cfg->ram_mib ? cfg->ram_mib : cfg->params.nr_huge * 2 + KERNEL_MIB;
	char kernel[512], append[1536], initrd[64], ram[32];
	const char *argv[MAX_QEMU_ARGS];
	size_t nr = 0;
	int initrd_fd = -1;
	int ret = hs_guest_qemu_available(cfg, err);

	if (ret)
		return ret;
	if (ram_mib > MAX_RAM_MIB || ram_mib < cfg->params.nr_huge * 2)
		return hs_error_set(err, -EINVAL, "%" PRIu64 " MiB of RAM: at most %u, and not below the workload's",
				    ram_mib, MAX_RAM_MIB);
	ret = cfg->kernel ? snprintf(kernel, sizeof(kernel), "%s", cfg->kernel) < 0
			  : newest_kernel(kernel, sizeof(kernel), err);
	if (!ret)
		ret = hs_guest_initramfs(&initrd_fd, program ? program : HS_GUEST_INIT, err);
	if (ret)
		return ret;
	g->ram_bytes = ram_mib << 20;
	(void)snprintf(initrd, sizeof(initrd), "/proc/self/fd/%d", initrd_fd);
	(void)snprintf(ram, sizeof(ram), "%" PRIu64 "M", ram_mib);
	hs_guest_command_line(&cfg->params, append, sizeof(append));
#define ARG(a)     (argv[nr++] = (a))
#define PAIR(a, b) (ARG(a), ARG(b))
	ARG(qemu_program(cfg));
	ARG("-nodefaults");
	ARG("-no-user-config");
	ARG("-no-reboot");
	PAIR("-name", g->name);
	PAIR("-display", "none");
	PAIR("-accel", cfg->accel ? cfg->accel : ACCEL);
	PAIR("-machine", cfg->mem_merge_off ? MACHINE ",mem-merge=off" : MACHINE);
	PAIR("-m", ram);
	PAIR("-kernel", kernel);
	PAIR("-initrd", initrd);
	PAIR("-append", append);
	PAIR("-chardev", "file,id=console,path=/proc/self/fd/2,append=on");
	PAIR("-serial", "chardev:console");
	PAIR("-chardev", "stdio,id=control,signal=off");
	PAIR("-serial", "chardev:control");
	if (cfg->sandbox)
		PAIR("-sandbox", SANDBOX);
	ARG(NULL);
#undef PAIR
#undef ARG
	ret = hs_guest_spawn(g, (char *const *)(uintptr_t)argv, initrd_fd, err);
	(void)close(initrd_fd);
	return ret;
}
