#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the service says before it shares, against what the kernel then shares: the range, the look that makes it exact in modes off
# and observe and changes nothing. And one owner of KSM, whatever the state folder: a second one is refused, unshare says what it left.
# usage: truth.sh HS_SHARED HS_SHARE HS_GUEST
set -u
shared=$1 share=$2 guest=$3
. "$(dirname "$(readlink -f "$0")")/../lib.sh"

# Hot bloat is a third of each guest, and cold inside for the most part.
start_bloated() { # SEED
	mkfifo "$dir/in$1"
	"$guest" --seed="$1" --huge=24 --hot=17 --bloat=33 --cold-dup=10 --rate=200000 <"$dir/in$1" >"$dir/out$1" 2>&1 &
	pids[$1]=$!
	exec {ins[$1]}>"$dir/in$1"
}
for i in 1 2; do start_bloated $i; done
{ conf_service off keep; conf_quick_scan 100 90; printf '[merge]\nksmd_cpu_percent = 0\n'; } >"$dir/conf"
for i in 1 2; do guest_is_up $i 24; done
huge() { awk '/^AnonHugePages/ { s += $2 } END { print s / 2048 }' "/proc/${pids[1]}/smaps" "/proc/${pids[2]}/smaps"; }
untouched() { [ "$(mergeable ${pids[1]})" = 0 ] && [ "$(mergeable ${pids[2]})" = 0 ] && [ "$(ksm_pages ${pids[1]})" = 0 ] && ! ls "$dir"/state/split-* 2>/dev/null; }
report() { hs report --json | jq ".$1"; }
huge_before=$(huge)

start_daemon
for i in 1 2; do hs opt-in --pid "${pids[$i]}" >/dev/null; done
status=0
hs report --look --json >"$dir/off.json" || status=$?
looked() { jq ".report.$1" "$dir/$2.json"; } # KEY FILE
ok 'a look in mode off' '[ $status = 0 ] && [ "$(jq -r .state "$dir/off.json")" = done ] && [ "$(looked could_save_bytes off)" -gt 30000000 ]'
ok 'nothing is left of it' 'untouched && until_true 20 "[ \$(field pid-${pids[1]} state) = waiting ]"'

hs mode observe >/dev/null
ok 'observe: a range' 'until_true 60 "[ \$(report could_save_bytes) -gt 10000000 ] && [ \$(report could_save_at_most_bytes) -gt \$(report could_save_bytes) ]"'
sure=$(report could_save_bytes) at_most=$(report could_save_at_most_bytes)
ok 'the table has it' 'hs report | grep -q "report --look" && hs report | grep -q "^not looked at:"'
ok 'a recording beside the service has files of its own' '"$share" record -q --min-memory 32M --rounds 3 --interval 50 --cycles 1 --pid ${pids[1]} --output "$dir/trace" >"$dir/record" 2>&1 && [ -s "$dir/trace" ]'
ok 'a look in mode observe' 'hs report --look --json >"$dir/observe.json"'
exact=$(looked could_save_bytes observe)
ok 'it is in the range, and split by kind' '[ "$exact" -gt "$sure" ] && [ "$exact" -le "$at_most" ] &&
	[ "$(looked "saving | .sure_zero_bytes + .sure_within_bytes + .sure_across_bytes" observe)" = "$exact" ] &&
	[ "$(looked saving.sure_zero_bytes observe)" -gt 1000000 ] && [ "$(looked saving.sure_within_bytes observe)" -gt 1000000 ] && [ "$(looked saving.sure_across_bytes observe)" -gt 1000000 ]'
ok 'nothing is changed by it' 'untouched && until_true 20 "[ \$(huge) = $huge_before ]"'

hs mode save >/dev/null
# (A look while others have the processors may take memory for hot that is not: more is saved then, within the range.)
most=$((exact * 11 / 10 > at_most ? exact * 11 / 10 : at_most))
ok 'what is saved is what the look said, within a tenth or the range' 'until_true 90 "[ \$(( \$(report saved_bytes) * 10 )) -ge \$((exact * 9)) ]" && [ "$(report saved_bytes)" -le $most ]'
echo "sure $sure, at most $at_most, by a look $exact ($(looked could_save_bytes off) in mode off), saved $(report saved_bytes) bytes"

# ---- one owner of KSM
ok 'a second owner is refused, and the first named' '! "$share" run -q --pid ${pids[1]} --cycles 1 >"$dir/second" 2>&1 && grep -q "(pid $daemon) has KSM" "$dir/second"'

# ---- what unshare leaves
hs mode off --keep >/dev/null
ok 'the end keeps it' 'stop_daemon && [ "$(ksm_pages ${pids[1]})" -gt 2000 ]'
ok 'unshare with another state folder says what it left, and fails' '! "$share" unshare --pid ${pids[1]} --state-dir "$dir/elsewhere" >"$dir/un" 2>&1 && grep -q "KiB of it is shared, and was left so.*--state-dir" "$dir/un" && [ "$(ksm_pages ${pids[1]})" -gt 2000 ]'
ok 'with the right one it undoes it' '"$share" unshare --pid ${pids[1]} --pid ${pids[2]} --state-dir "$dir/state" --json >"$dir/un" && [ "$(ksm_pages ${pids[1]})" = 0 ] && [ "$(mergeable ${pids[1]})" = 0 ] && [ "$(jq ".guests[0].left_shared_bytes" "$dir/un")" = 0 ]'
ok 'and then there is nothing to do' '"$share" unshare --pid ${pids[1]} >"$dir/un" 2>&1'
ok 'its memory is as it was' 'verify_guest 1 && verify_guest 2'
finish
