#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a program on a KVM host of its own: a machine under software emulation of a processor with nested paging (AMD's by
# QEMU, Intel's by Bochs), with Debian's kernel and nothing but that program, its libraries and busybox. Needs no
# /dev/kvm and no root.
# usage: host.sh SERIES DIR PROGRAM[@OPTIONS][+PROGRAM[@OPTIONS]...][:FILE...]
#   PROGRAM   several are run one after the other, on one host: to start it takes longer than most. OPTIONS: the module kvm
#             is loaded with these for it
#   DIR       holds kvm-keeper, keeps the kernel (kernel.sh) and this run's files, in DIR/NAME-SERIES-CPU[-RUN]
#   FILE      further files that the program wants to find in /bin (those below /usr: there); programs bring their
#             libraries
# Prints what the programs print. The exit status is the program's, or that of the last one that failed; 77 where all are
# skipped. A program's status 75 is taken as "not our doing, try again", and ends it. The kernel's console is in the file console.
#   HS_KVM_ONLY     a pattern: of several programs, those that match it
#   HS_KVM_RAM      MiB of the host (2048; intel: 1024)
#   HS_KVM_RUN      sets this run's files apart from those of others of the same program
#   HS_KVM_APPEND   to the kernel's command line
#   HS_KVM_ENV      NAME=VALUE for the program
#   HS_KVM_VENDOR_OPTIONS  of the module kvm-amd or kvm-intel
#   HS_KVM_TIMEOUT  seconds (700)
#   HS_KVM_CPU      amd, or intel: one processor, of the Haswell kind, and slow (amd)
#   HS_KVM_THREADS  for amd: single, multi (single)
#   HS_KVM_NODES    for amd: NUMA nodes, 1 or 2, a processor and half of the memory each (1)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
series=$1 dir=$2 files=$3
kernel=$dir/kernel-$series
IFS=+ read -ra programs <<<"${files%%:*}"
name=$(basename "${programs[0]%@*}")
[[ $files != *:* ]] || others=${files#*:}

case ${HS_KVM_CPU:=amd} in
amd) needs=(qemu-system-x86_64) packages=qemu-system-x86 ;;
intel) needs=(bochs grub-mkrescue xorriso mformat unshare) packages="bochs, bochsbios, vgabios, grub-pc-bin, grub-common, xorriso, mtools" ;;
*) echo "host.sh: HS_KVM_CPU is amd or intel, not \"$HS_KVM_CPU\"" >&2; exit 2 ;;
esac
for need in "${needs[@]}" cpio busybox; do
	command -v "$need" >/dev/null || { echo "SKIPPED kvm host $series: no $need (packages $packages, cpio, busybox-static)"; exit 77; }
done
if [ "$HS_KVM_CPU" = intel ]; then
	for need in /usr/share/bochs/BIOS-bochs-latest /usr/share/bochs/VGABIOS-lgpl-latest /usr/lib/grub/i386-pc; do
		[ -e "$need" ] || { echo "SKIPPED kvm host $series: no $need (packages $packages)"; exit 77; }
	done
	unshare -rn true 2>/dev/null || { echo "SKIPPED kvm host $series: no network namespace of its own for Bochs's screen (unshare -rn)"; exit 77; }
fi
if ldd "$(command -v busybox)" >/dev/null 2>&1; then
	echo "SKIPPED kvm host $series: busybox needs libraries; install the package busybox-static"
	exit 77
fi
"$here/kernel.sh" "$series" "$kernel"

run=$dir/$name-$series-$HS_KVM_CPU${HS_KVM_RUN:+-$HS_KVM_RUN}
rm -rf "$run"
mkdir -p "$run/root"/{bin,dev,proc,sys,run,tmp,modules,etc}
cp "$(command -v busybox)" "$run/root/bin/busybox"
cp "$kernel"/*.ko "$run/root/modules/"
IFS=:
for f in "$dir/kvm-keeper" "${programs[@]%@*}" ${others:-}; do
	case $f in
	/usr/*) to=$run/root$f ;; # of a package: where its programs look for it
	*) to=$run/root/bin/$(basename "$f") ;;
	esac
	mkdir -p "$(dirname "$to")"
	cp -L "$f" "$to"
	# Libraries go where the program looks for them.
	{ ldd "$f" 2>/dev/null || true; } | { grep -oE '/[^ ]+' || true; } | while read -r lib; do
		mkdir -p "$run/root$(dirname "$lib")"
		cp -Ln "$lib" "$run/root$lib"
	done
done
unset IFS
for program in "${programs[@]}"; do
	[[ $program =~ ${HS_KVM_ONLY:-.} ]] || continue
	[[ $program != *@* ]] || printf 'load_again %q\n' "${program#*@}"
	printf '%q ' run env ${HS_KVM_ENV:-} "/bin/$(basename "${program%@*}")"
	echo
done >"$run/root/etc/commands"
printf '%s' "${HS_KVM_VENDOR_OPTIONS:-}" >"$run/root/etc/kvm-vendor-options"
cp "$here/init.sh" "$run/root/init"
chmod 755 "$run/root/init"
(cd "$run/root" && find . -print0 | cpio --quiet --null -o -H newc -R 0:0) >"$run/initramfs"
rm -rf "$run/root"

# How the two processors are emulated, HS_KVM_THREADS: neither way is faultless in QEMU 7.2.
#  single  One thread, by turns. Under load a guest may be given an interrupt while it has interrupts off (probably one that
#          KVM has just injected is delivered twice when a turn ends): a kernel as guest locks up while it boots.
#  multi   A thread for each. Under load plain migrations without us broke (2 of 110): a QEMU inside gone, a stream of
#          garbage, a panic while the kernel patched itself.
# So: multi where guests are whole machines with a kernel, single elsewhere.
limit=${HS_KVM_TIMEOUT:-700}
# no_timer_check: at boot the kernel gives a timer 10 ms to tick, which an emulator does not always get on a busy machine.
append="console=ttyS0 panic=-1 nowatchdog no_timer_check mitigations=off cryptomgr.notests transparent_hugepage=madvise ${HS_KVM_APPEND:-}"

nodes=()
[ "${HS_KVM_NODES:-1}" = 1 ] || for node in 0 1; do
	nodes+=(-object "memory-backend-ram,id=node$node,size=$((${HS_KVM_RAM:-2048} / 2))M" -numa "node,nodeid=$node,cpus=$node,memdev=node$node")
done
emulate_amd() {
	timeout "$limit" qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none \
		-machine q35,smm=off,sata=off,hpet=off,vmport=off,mem-merge=off -accel "tcg,thread=${HS_KVM_THREADS:-single}" \
		-cpu EPYC,+svm,+npt -smp 2 -m "${HS_KVM_RAM:-2048}M" "${nodes[@]}" -kernel "$kernel/vmlinuz" -initrd "$run/initramfs" \
		-append "$append" -serial "file:$run/console" -serial "file:$run/output" </dev/null 2>"$run/emulator"
}

# Bochs boots from a medium, has a screen that is on the network (here one of its own, that leads nowhere), and ends with
# a panic of its own when the machine is restarted. Its clock goes by instructions: 50 million are a second.
emulate_intel() {
	rm -rf "$run/medium"
	mkdir -p "$run/medium/boot/grub" && cp "$kernel/vmlinuz" "$run/initramfs" "$run/medium/boot/" || return
	printf 'set timeout=0\nmenuentry host {\nlinux /boot/vmlinuz %s quiet\ninitrd /boot/initramfs\n}\n' "$append" >"$run/medium/boot/grub/grub.cfg" || return
	grub-mkrescue -o "$run/iso" "$run/medium" >"$run/emulator" 2>&1 || return
	rm -rf "$run/medium"
	cat >"$run/bochsrc" <<-END
		config_interface: textconfig
		display_library: rfb, options="timeout=0"
		cpu: model=corei7_haswell_4770, count=1, ips=50000000, reset_on_triple_fault=0
		memory: guest=${HS_KVM_RAM:-1024}, host=${HS_KVM_RAM:-1024}
		romimage: file=/usr/share/bochs/BIOS-bochs-latest
		vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
		pci: enabled=1, chipset=i440fx
		ata0: enabled=1
		ata0-master: type=cdrom, path=$run/iso, status=inserted
		boot: cdrom
		com1: enabled=1, mode=file, dev=$run/console
		com2: enabled=1, mode=file, dev=$run/output
		plugin_ctrl: speaker=false, gameport=false, parallel=false, iodebug=false
		clock: sync=none
		log: $run/bochs.log
		panic: action=fatal
		error: action=ignore
		info: action=ignore
	END
	echo c >"$run/bochs.go" # Debian's has a debugger in it, which waits for this command
	timeout "$limit" unshare -rn bochs -q -f "$run/bochsrc" -rc "$run/bochs.go" </dev/null >"$run/emulator" 2>&1
}

emulate() {
	status=0
	: >"$run/console"
	: >"$run/output"
	"emulate_$HS_KVM_CPU" || status=$?
	result=$(sed -n 's/^kvm-host: exit status \([0-9]*\).*$/\1/p' "$run/output" | tail -1)
}
emulate
# Once more, and reported: where a guest did not come up, which a program says with status 75; and where the host's kernel
# broke under the emulation that is known for it. What breaks twice has failed.
why=
if [ "$result" = 75 ]; then
	why="a guest that did not come up"
elif [ -z "$result" ] && [ "${HS_KVM_THREADS:-single}" = multi ] && grep -q 'Kernel panic' "$run/console"; then
	why="a panic of the host's kernel: $(grep -E 'Oops|int3|BUG|RIP' "$run/console" | head -3 | tr -d '\r' || true)"
fi
if [ -n "$why" ]; then
	echo "host.sh: second attempt; the first, of which $run/console.1 and output.1 are kept, ended with $why"
	mv "$run/console" "$run/console.1"
	mv "$run/output" "$run/output.1"
	limit=$((limit > SECONDS + 30 ? limit - SECONDS : 30))
	emulate
fi
rm -f "$run/initramfs" "$run/iso"
tr -d '\r' <"$run/output" | grep -v '^kvm-host: exit status' || true
if [ -z "$result" ]; then
	echo "host.sh: the host ended without a result (the emulator's status $status, limit $limit s); the end of its console, $run/console:" >&2
	tail -n 40 "$run/console" >&2
	tail -n 3 "$run/emulator" >&2
	exit 1
fi
if [ "$result" != 0 ] && [ "$result" != 77 ]; then
	echo "-- the host's console, last lines ($run/console)"
	tail -25 "$run/console" | tr -d '\r'
fi
exit "$result"
