#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A host whose processors are all busy shares too, within the cap; once they are not, the scan gives way again.
# usage: busy_host.sh HS_SHARED HS_SHARE HS_GUEST
set -u
shared=$1 share=$2 guest=$3
. "$(dirname "$(readlink -f "$0")")/../lib.sh"

busy=()
end_busy() {
	[ ${#busy[@]} -gt 0 ] || return # a wait for nobody would be one for everybody
	kill -KILL "${busy[@]}"
	wait "${busy[@]}" 2>/dev/null
	busy=()
}
trap 'end_busy; cleanup' EXIT
scan_place() { awk '/^policy/ { policy = $3 } /^prio/ { prio = $3 } END { print policy, prio }' "/proc/$daemon/task/$scan/sched"; }

{ conf_service observe undo && conf_quick_scan 100 20; } >"$dir/conf"
start_daemon || { echo 'FAILED: it does not start'; cat "$dir/log"; exit 1; }
scan=$(basename "$(dirname "$(grep -lx hs-scan /proc/$daemon/task/*/comm)")")
for i in 1 2; do start_guest $i 30 20000; done
for i in 1 2; do guest_is_up $i 30 || { echo "FAILED: guest $i"; exit 1; }; done
ok 'with room it gives way' 'until_true 10 "[ \"\$(scan_place)\" = \"5 120\" ]"'

for ((i = 0; i < 2 * $(nproc); i++)); do
	(while :; do :; done) &
	busy+=($!)
done
ran() { awk '{ print $1 }' "/proc/$daemon/task/$scan/schedstat"; }
before=$(ran) start=${EPOCHREALTIME/./}
for i in 1 2; do hs opt-in --pid "${pids[$i]}" --group g >/dev/null; done
hs mode save >/dev/null
ok 'it shares' 'until_true 100 "[ \$(ksm_pages ${pids[1]}) -gt 2000 ] && [ \$(ksm_pages ${pids[2]}) -gt 2000 ]"'
ok 'as an ordinary thread, after the guests' 'until_true 30 "[ \"\$(scan_place)\" = \"0 125\" ]"'
taken=$((($(ran) - before) / 1000)) wall=$((${EPOCHREALTIME/./} - start))
# Jobs and merging are not under the cap: some tenths of a second.
ok 'within its cap' '[ $taken -le $((wall / 5 + 1000000)) ]'
echo "busy host: shared after $((wall / 1000)) ms, the scan's thread ran $((taken / 1000)) ms of them"

end_busy
ok 'with room again it gives way' 'until_true 60 "[ \"\$(scan_place)\" = \"5 120\" ]"'
for i in 1 2; do ok "no byte of guest $i is wrong" "verify_guest $i"; done
ok 'it ends' stop_daemon
finish
