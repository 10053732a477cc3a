#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs one of the scripts here in a box, with the package and the guest program. usage: in-box.sh FOLDER SCRIPT PACKAGE HS_GUEST
set -u
[ -n "${HS_KSM_KEPT-}" ] || exec "$(dirname "$(readlink -f "$0")")/../ksm.sh" "$0" "$@"
here=$(dirname "$(readlink -f "$0")")
folder=$1 script=$2
files=("$here/$script" "$here/../service/lib.sh" "$here/../service/nap.sh" "$here/../../debian/tests/installed" "$here/../../docs/discovery.md" "$3" "$4")
options=()
[ "$script" != unit.sh ] || options=(--systemd)
mkdir -p "$folder"
: >"$folder/empty.conf"
# In the box the processes of this machine are not seen, so their memory could not be spared.
mergeable=$(grep -lE '^VmFlags:.* mg( |$)' /proc/[0-9]*/smaps 2>/dev/null | head -1)
if [ -n "$mergeable" ]; then
	echo "other processes have mergeable memory (${mergeable%/smaps}), which ksmd would merge" >"$folder/no-sharing"
	files+=("$folder/no-sharing")
elif [ "$(cat /sys/kernel/mm/ksm/run)" = 1 ]; then
	echo 'ksmd runs on this machine' >"$folder/no-sharing"
	files+=("$folder/no-sharing")
fi
"$here/box.sh" "${options[@]}" "$folder/box" "${files[@]}" "$folder/empty.conf" -- "./$script" "./$(basename "$3")" "./$(basename "$4")"
status=$?
rm -rf "$folder"
exit $status
