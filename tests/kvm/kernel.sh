#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One of Debian's cloud kernels, as a KVM host for tests: DIR/vmlinuz and the modules that KVM needs.
# usage: kernel.sh SERIES DIR     SERIES: 6.1 or 6.12; 6.1-idle or 6.12-idle: built with page_idle by build_kernel.sh
# The installed kernel is taken where it is of that series; otherwise the package is fetched by apt (and not installed).
# Exit status 77: there is no such kernel here.
set -euo pipefail
series=$1 dir=$2
case $series in
6.1) package=linux-image-cloud-amd64 ;;
6.12) package=linux-image-6.12-cloud-amd64 ;;
6.1-idle | 6.12-idle) exec "$(dirname "$(readlink -f "$0")")/build_kernel.sh" "$series" "$dir" ;;
*) echo "kernel.sh: there is no series \"$series\"; there are 6.1, 6.12, 6.1-idle and 6.12-idle" >&2; exit 2 ;;
esac
modules=(irqbypass kvm kvm-amd kvm-intel)

complete() {
	local m
	[ -s "$dir/vmlinuz" ] || return 1
	for m in "${modules[@]}"; do [ -s "$dir/$m.ko" ] || return 1; done
}

# take ROOT: the newest kernel of the series below ROOT.
take() {
	local root=$1 release m at
	release=$(find "$root/boot" -maxdepth 1 -name "vmlinuz-$series.*-cloud-amd64" -printf '%f\n' 2>/dev/null | sort -V | tail -1)
	release=${release#vmlinuz-}
	[ -n "$release" ] && [ -d "$root/lib/modules/$release" ] || return 1
	for m in "${modules[@]}"; do
		at=$(find "$root/lib/modules/$release/kernel" -name "$m.ko*" | head -1)
		case $at in
		*.xz) xz -dc "$at" >"$dir/$m.ko" ;;
		*.zst) zstd -qdc "$at" >"$dir/$m.ko" ;;
		*.ko) cp "$at" "$dir/$m.ko" ;;
		*) return 1 ;;
		esac
	done
	cp "$root/boot/vmlinuz-$release" "$dir/vmlinuz"
	echo "$release" >"$dir/release"
}

mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9
complete && exit 0
take "" && complete && exit 0

real=$(apt-cache depends "$package" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -1)
if [ -z "$real" ]; then
	echo "SKIPPED kvm host $series: apt knows no package $package (apt-get update, or another release of Debian)"
	exit 77
fi
rm -rf "$dir/package"
mkdir -p "$dir/package"
if ! (cd "$dir/package" && apt-get -q -o APT::Sandbox::User=root download "$real") >"$dir/apt.log" 2>&1; then
	echo "SKIPPED kvm host $series: apt could not fetch $real; its words are in $dir/apt.log"
	exit 77
fi
dpkg-deb -x "$dir/package"/*.deb "$dir/package/root"
take "$dir/package/root" || { echo "kernel.sh: $real does not hold what was looked for" >&2; exit 1; }
rm -rf "$dir/package"
