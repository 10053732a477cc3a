#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds a kernel with page_idle, which Debian's kernels lack, from Debian's linux-source package, as a KVM host for tests:
# DIR/vmlinuz and modules, as kernel.sh has them. Takes eleven minutes of processor time, and 3 GiB of disk meanwhile; a
# second run finds it done.
# usage: build_kernel.sh SERIES DIR     SERIES: 6.1-idle or 6.12-idle; the configuration is kernel.config
#   HS_KERNEL_JOBS  compilers at a time (2)
# Exit status 77: something that building takes is not here; which is printed.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
series=$1 dir=$2
case $series in
6.1-idle | 6.12-idle) package=linux-source-${series%-idle} ;;
*) echo "build_kernel.sh: there is no series \"$series\"; there are 6.1-idle and 6.12-idle" >&2; exit 2 ;;
esac
modules=(virt/lib/irqbypass arch/x86/kvm/kvm arch/x86/kvm/kvm-amd arch/x86/kvm/kvm-intel)

mkdir -p "$dir"
dir=$(readlink -f "$dir")
exec 8>"$dir/build-lock"
flock 8
complete() {
	local m
	[ -s "$dir/vmlinuz" ] || return 1
	for m in "${modules[@]}"; do [ -s "$dir/$(basename "$m").ko" ] || return 1; done
}
# Another configuration is another kernel.
complete && cmp -s "$here/kernel.config" "$dir/built" && exit 0

missing=()
for p in gcc make flex bison bc libelf-dev dwarves xz-utils; do
	dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | grep '^ii' >/dev/null || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
	echo "SKIPPED kvm host $series: building it takes the packages ${missing[*]}"
	exit 77
fi
rm -rf "$dir/package" "$dir/source" "$dir/built"
mkdir -p "$dir/package" "$dir/source"
if ! (cd "$dir/package" && apt-get -q -o APT::Sandbox::User=root download "$package") >"$dir/apt.log" 2>&1; then
	echo "SKIPPED kvm host $series: apt could not fetch $package; its words are in $dir/apt.log"
	exit 77
fi
dpkg-deb --fsys-tarfile "$dir/package"/*.deb | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
	tar -xJ -C "$dir/source" --strip-components=1
rm -rf "$dir/package"

# run GOAL...: in the source, as quiet as it goes; its end is shown when it fails.
run() {
	make -s -C "$dir/source" KCONFIG_ALLCONFIG="$here/kernel.config" "$@" >>"$dir/build.log" 2>&1 && return
	tail -30 "$dir/build.log" >&2
	echo "build_kernel.sh: make $* failed; the whole log is $dir/build.log" >&2
	exit 1
}
: >"$dir/build.log"
run allnoconfig
# An option whose conditions are not met goes without a word. (One that this series does not know is not missed.)
lost=()
for line in $(grep '^CONFIG' "$here/kernel.config" | grep -vxFf "$dir/source/.config" || true); do
	option=${line%%=*}
	grep -rqsE --include='Kconfig*' "^(menu)?config ${option#CONFIG_}\$" "$dir/source" && lost+=("$line")
done
if [ ${#lost[@]} -gt 0 ]; then
	echo "build_kernel.sh: $package does not take these lines of kernel.config: ${lost[*]}" >&2
	exit 1
fi
run -j"${HS_KERNEL_JOBS:-2}" bzImage modules
for m in "${modules[@]}"; do
	strip --strip-debug -o "$dir/$(basename "$m").ko" "$dir/source/$m.ko"
done
cp "$dir/source/arch/x86/boot/bzImage" "$dir/vmlinuz"
make -s -C "$dir/source" kernelrelease >"$dir/release"
rm -rf "$dir/source"
cp "$here/kernel.config" "$dir/built"
