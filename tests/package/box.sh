#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command in a copy of this machine: mounts of its own (changes to / go to memory), processes of its own, /dev of its
# own, no network, /proc/sys and /sys read-only. When it ends, or is killed at any moment, all of that is gone. What it has
# in common with this machine is the kernel: KSM's settings are put back as they were, at any end.
#
# usage: box.sh [--systemd] FOLDER FILE... -- COMMAND...
# FOLDER is made, to mount on; each FILE is copied to /box, where COMMAND runs, as process 1. --systemd: with control groups
# that it may change. /box/changes is what has changed against this machine. Exit status 77: a box cannot be made here.
set -u

. "$(dirname "$(readlink -f "$0")")/../ksm.sh"

no_box() {
	echo "SKIPPED package: $1"
	exit 77
}

# ---- inside: process 1 of the box, which mounts and becomes the command
if [ "${1-}" = --inside ]; then
	systemd=$2 dir=$3
	shift 3
	root=$dir/root
	mount -t tmpfs tmpfs "$dir" && mkdir "$dir"/{changes,work,root} &&
		mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/changes,workdir=$dir/work" "$root" || no_box 'no overlay can be mounted here'
	[ -x "$root/usr/bin/dpkg" ] && [ -f "$root/var/lib/dpkg/status" ] || no_box 'this is no Debian machine on one file system'
	for fs in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$fs"; done
	chmod 1777 "$root/tmp"
	for node in null zero full random urandom tty; do
		touch "$root/dev/$node"
		mount --bind "/dev/$node" "$root/dev/$node"
	done
	ln -s /proc/self/fd "$root/dev/fd"
	mkdir "$root/dev/shm"
	# Else man-db makes its index anew at each step of dpkg's, which takes several times as long as the step.
	[ ! -d "$root/var/lib/man-db" ] || mount -t tmpfs tmpfs "$root/var/lib/man-db"
	mount -t proc proc "$root/proc"
	mount --bind "$root/proc/sys" "$root/proc/sys"
	mount -o remount,bind,ro "$root/proc/sys"
	mount -t sysfs -o ro sysfs "$root/sys"
	mount --bind /sys/kernel/mm "$root/sys/kernel/mm"
	[ "$systemd" = no ] || mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || no_box 'there is no cgroup2 here'
	# As a host has it: who makes memory private again asks for the limits of the guest's memory cgroup.
	if grep -q ' - cgroup .*[ ,]memory' /proc/self/mountinfo; then
		mkdir "$root/run/memory-cgroup"
		mount -t cgroup -o memory cgroup "$root/run/memory-cgroup" || no_box 'the memory cgroups cannot be mounted here'
	elif [ "$systemd" = no ]; then
		mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || no_box 'there is no cgroup2 here'
	fi
	mkdir "$root/box" "$root/box/changes" "$root/box/machine"
	mount --bind "$dir/changes" "$root/box/changes"
	while [ "$1" != -- ]; do
		cp "$1" "$root/box/"
		shift
	done
	shift
	cd "$root" && pivot_root . box/machine && cd /box && umount -l machine && exec "$@" <&-
	exit 1
fi

# ---- beside it, in a session of its own: waits for the end, however it comes, and tidies up
if [ "${1-}" = --guard ]; then
	dir=$2 before=$3 group=$4
	trap '' INT TERM HUP
	read -r _
	[ ! -s "$dir.pid" ] || kill -KILL "$(cat "$dir.pid")" 2>/dev/null
	[ "${HS_KSM_KEPT-}" = untouched ] || settings_restore "$before"
	for _ in $(seq 50); do # until the last process in it has gone
		[ -d "$group" ] || break
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
		sleep 0.1
	done
	rm -f "$dir.pid"
	rmdir "$dir"
	exit
fi

# ---- outside
systemd=no
[ "$1" != --systemd ] || { systemd=yes; shift; }
dir=$1
shift
[ "$(id -u)" = 0 ] || no_box 'not root'
namespaces=(--mount --pid --net --ipc --uts --cgroup --fork --kill-child --propagation private)
unshare "${namespaces[@]}" true 2>/dev/null || no_box 'no namespaces can be made here'
mkdir -p "$dir"
rm -f "$dir.pid"
group=
if [ $systemd = yes ]; then
	group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	[ -n "$group" ] && mkdir "$group/hs-share-test-$$" 2>/dev/null || no_box 'no control group can be made here'
	group=$group/hs-share-test-$$
fi
exec {hold}> >(exec setsid "$0" --guard "$dir" "$(settings)" "$group")
guard=$!
(
	[ -z "$group" ] || echo $BASHPID >"$group/cgroup.procs"
	echo $BASHPID >"$dir.pid"
	exec {hold}>&- unshare "${namespaces[@]}" "$0" --inside $systemd "$dir" "$@"
)
status=$?
exec {hold}>&-
wait "$guard"
exit $status
