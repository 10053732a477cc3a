#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest that has used up the mappings that it may have: nothing of it can be shared, and that is the reason given.
# usage: mappings.sh HS_SHARED HS_SHARE
set -u
shared=$1 share=$2
. "$(dirname "$(readlink -f "$0")")/../lib.sh"

if [ "$(uname -m)" != x86_64 ] || ! command -v perl >/dev/null; then
	echo "SKIPPED service_mappings: no perl for x86-64"
	exit 77
fi
# mmap(NULL, 4096, read, or read and write, private and anonymous): neighbours differ, so that none become one.
start_mapper() { # NUMBER MAPPINGS
	perl -e 'for (1 .. $ARGV[0]) { syscall(9, 0, 4096, $_ % 2 ? 1 : 3, 0x22, -1, 0) } $x = "\1" x (96 << 20); sleep' "$2" &
	pids[$1]=$!
}
mappings() { wc -l <"/proc/${pids[$1]}/maps"; }
budget=$(($(cat /proc/sys/vm/max_map_count) / 100))

{
	conf_service save undo
	conf_quick_scan 60 100
	printf '[merge]\nksmd_cpu_percent = 0\nvma_percent = 1\n'
} >"$dir/conf"
start_mapper 1 $((budget + 200))
start_mapper 2 0
for i in 1 2; do until_true 20 "grep -q '^VmRSS:.*[0-9]\{6\} kB' /proc/${pids[$i]}/status"; done
own=$(mappings 1)
start_daemon
for i in 1 2; do hs opt-in --pid "${pids[$i]}" >/dev/null; done
ok 'the other one shares' 'until_true 60 "[ \$(ksm_pages ${pids[2]}) -gt 20000 ]"'
ok 'it does not' '[ "$(ksm_pages ${pids[1]})" = 0 ] && [ "$(mergeable ${pids[1]})" = 0 ] && [ "$(mappings 1)" -le "$own" ]'
ok 'and the reason is its mappings' 'until_true 20 "[ \"\$(field pid-${pids[1]} reason)\" = no-mappings ]"'
ok 'with the way out' 'hs show "pid-${pids[1]}" | grep -q vma_percent'
ok 'the other one has none' '[ "$(field pid-${pids[2]} reason)" != no-mappings ]'
ok 'the end undoes all' 'stop_daemon && [ "$(mergeable ${pids[2]})" = 0 ]'
finish
