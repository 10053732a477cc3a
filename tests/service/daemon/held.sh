#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the answers say while a guest is held by a debugger, so that its sharing cannot be undone: not that it is done. When
# it goes on, it is undone by itself.
# usage: held.sh HS_SHARED HS_SHARE HS_GUEST
set -u
shared=$1 share=$2 guest=$3
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
command -v gdb >/dev/null || { echo 'SKIPPED service_held: there is no gdb'; exit 77; }

start_guest 1; start_guest 2
{ conf_service save keep; conf_quick_scan 60 50; } >"$dir/conf"
guest_is_up 1; guest_is_up 2
start_daemon
g1=pid-${pids[1]}
hs opt-in --pid "${pids[1]}" --group web >/dev/null
hs opt-in --pid "${pids[2]}" --group web >/dev/null
ok 'they share' 'until_true 60 "[ \$(ksm_pages ${pids[1]}) -gt 2000 ]"'

touch "$dir/held"
gdb -p "${pids[1]}" -batch -ex "shell while [ -e '$dir/held' ]; do sleep 0.1; done" >/dev/null 2>&1 &
gdb=$!
until_true 10 "grep -q '^TracerPid:.*[1-9]' /proc/${pids[1]}/status"
hs mode off >"$dir/out" 2>&1
code=$?
ok 'mode off: accepted, not done, and why' '[ "$code" = 4 ] && grep -q "not everything is unshared yet.*$g1" "$dir/out"'
ok 'the same as a request' '[ "$(status_of_to "$dir/answer" -X PUT -H "Content-Type: application/json" -d "{\"mode\":\"off\"}" http://x/v1/mode)" = 202 ] && [ "$(jq .done "$dir/answer")" = false ]'
ok 'the others are undone' '[ "$(ksm_pages ${pids[2]})" = 0 ]'
ok 'it is a state' '[ "$(field $g1 state) $(field $g1 reason)" = "leaving undo-pending" ] && [ -n "$(request http://x/v1/status | jq -r .undo_pending)" ]'
ok 'which the tables show with the reason' 'hs status | grep -q "^pending .*$g1: ." && hs report | grep -q "^pending .*$g1: ." && hs show $g1 | grep -q "^why .*undo-pending: ."'
ok 'and a metric' 'request http://x/metrics | grep -qx "hs_share_undo_pending 1"'
rm "$dir/held"
wait "$gdb"
ok 'it is undone once the guest goes on' 'until_true 30 "[ \$(ksm_pages ${pids[1]}) = 0 ]"'
ok 'which is reported, too' 'until_true 10 "request http://x/metrics | grep -qx \"hs_share_undo_pending 0\""'
ok 'then off is done' 'hs mode off | grep -qx done'

# ---- somebody else drives KSM: a process of root called so
cp "$(command -v sleep)" "$dir/ksmtuned"
"$dir/ksmtuned" 1000 &
tuned=$!
pids[9]=$tuned
ok 'who shares nothing can leave all the same' 'hs mode observe >/dev/null && until_true 30 "[ \$(field pid-${pids[2]} state) = observed ]" && hs opt-out --pid "${pids[2]}" | grep -qx done && [ "$(field pid-${pids[2]} state)" = "not opted in" ]'
ok 'and all of them' 'hs mode off | grep -qx done'
hs opt-in --pid "${pids[2]}" >/dev/null
hs mode save >"$dir/out" 2>&1
code=$?
ok 'mode save: accepted, not done, and why' '[ "$code" = 4 ] && grep -q "nothing is shared yet.*ksmtuned" "$dir/out"'
ok 'the tables say so' 'hs status | grep -q "^trouble .*ksmtuned" && hs report | grep -q "^trouble .*ksmtuned"'
ok 'the reason is a label' 'request http://x/metrics | grep -qx "hs_share_trouble_reason{reason=\"ksm-busy\"} 1"'
kill "$tuned"; wait "$tuned" 2>/dev/null; unset "pids[9]"
ok 'it shares once it can' 'until_true 60 "[ \$(ksm_pages ${pids[1]}) -gt 2000 ]"'
ok 'off undoes it' 'hs mode off | grep -qx done && [ "$(ksm_pages ${pids[1]})" = 0 ]'
ok 'no byte of a guest is wrong' 'verify_guest 1 && verify_guest 2'
stop_daemon
finish
