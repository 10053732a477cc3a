#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One guest is frozen by its cgroup (docker pause does the same): everything asked of the service gets through all the
# same, within seconds, and what is to be undone in the frozen guest is undone when it thaws.
# usage: frozen.sh HS_SHARED HS_SHARE HS_GUEST
set -u
shared=$1 share=$2 guest=$3
. "$(dirname "$(readlink -f "$0")")/../lib.sh"

group=
for top in /sys/fs/cgroup /sys/fs/cgroup/unified; do
	mkdir "$top/hs-test-$$" 2>/dev/null || continue
	[ -e "$top/hs-test-$$/cgroup.freeze" ] && group=$top/hs-test-$$ && break
	rmdir "$top/hs-test-$$"
done
[ -n "$group" ] || { echo "SKIPPED service_frozen: this machine has no cgroup that can be frozen"; exit 77; }
thaw() {
	echo 0 >"$group/cgroup.freeze"
	cleanup
	until_true 5 'rmdir "$group" 2>/dev/null'
}
trap thaw EXIT

shares() { until_true 60 "[ \$(field pid-${pids[$1]} shared_pages) -gt 2000 ]"; }
# within SECONDS COMMAND...: it ends by then
within() {
	local start=$SECONDS
	"${@:2}" >/dev/null 2>&1
	[ $((SECONDS - start)) -lt "$1" ]
}

for i in 1 2 3; do start_guest $i; done
for i in 1 2 3; do guest_is_up $i; done
echo "${pids[1]}" >"$group/cgroup.procs"
{ conf_service save undo; conf_quick_scan 60 50; printf '[merge]\nksmd_cpu_percent = 0\n'; } >"$dir/conf"
start_daemon
for i in 1 2 3; do hs opt-in --pid "${pids[$i]}" >/dev/null; done
ok 'they share' 'shares 1 && shares 2 && shares 3'

echo 1 >"$group/cgroup.freeze"
ok 'a guest is frozen' 'until_true 10 "grep -q \"frozen 1\" $group/cgroup.events"'
ok 'opting out another one gets through' 'within 20 hs opt-out --pid "${pids[3]}"'
ok 'and undoes it' 'until_true 20 "[ \$(mergeable ${pids[3]}) = 0 ]" && verify_guest 3'
ok 'so does a mode that leaves nothing shared' 'within 20 hs mode off'
ok 'for all that can be asked' 'until_true 20 "[ \$(mergeable ${pids[2]}) = 0 ]" && verify_guest 2'
ok 'the reason is in the log' 'until_true 20 "grep -q \"is frozen by its cgroup\" $dir/log"'
ok 'nothing was done to the frozen one' '[ "$(mergeable "${pids[1]}")" -gt 0 ]'
echo 0 >"$group/cgroup.freeze"
ok 'which is undone when it thaws' 'until_true 60 "[ \$(mergeable ${pids[1]}) = 0 ]" && verify_guest 1'

hs mode save >/dev/null
ok 'it shares again' 'shares 1 && shares 2'
echo 1 >"$group/cgroup.freeze"
start=$SECONDS
stop_daemon
ok 'the end does not wait for it' '[ $((SECONDS - start)) -lt 20 ]'
ok 'and undoes the others' '[ "$(mergeable "${pids[2]}")" = 0 ] && verify_guest 2'
echo 0 >"$group/cgroup.freeze"
ok 'and the frozen one is whole' 'verify_guest 1'
start_daemon
hs mode off >/dev/null
hs opt-in --pid "${pids[1]}" >/dev/null
ok 'the next start undoes it' 'until_true 60 "[ \$(mergeable ${pids[1]}) = 0 ]" && verify_guest 1'
stop_daemon
finish
