#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/ksm.sh puts the machine's settings back and ends what is left, however a suite ends, and says so.
# usage: keeper.sh TESTS_DIR
set -u
keeper=$1/ksm.sh
[ "$(id -u)" = 0 ] || { echo 'SKIPPED frame_keeper: changing settings of KSM needs root'; exit 77; }
[ -w /sys/kernel/mm/ksm/run ] || { echo 'SKIPPED frame_keeper: this kernel has no KSM'; exit 77; }
. "$keeper"
before=$(settings)
[ "$(cat /sys/kernel/mm/ksm/run)" != 1 ] || { echo 'SKIPPED frame_keeper: KSM runs already, for somebody else'; exit 77; }
dir=$(mktemp -d)
trap 'settings_restore "$before"; rm -rf "$dir"' EXIT
passed=0 failed=0
check() { # WHAT CONDITION
	if eval "$2"; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		printf 'FAILED: %s: %s\n' "$1" "$2"
		cat "$dir/out"
	fi
}
# until_true CONDITION: within 10 s
until_true() {
	local i
	for ((i = 0; i < 200; i++)); do eval "$1" && return; nap 0.05; done
	return 1
}
change='echo 1 >/sys/kernel/mm/ksm/run; echo 33 >/sys/kernel/mm/ksm/sleep_millisecs; echo 333 >/sys/kernel/mm/ksm/pages_to_scan'
as_before='[ "$(settings)" = "$before" ]'

bash "$keeper" sh -c 'exit 7' >"$dir/out" 2>&1
check 'a status is passed on' "[ $? = 7 ] && [ ! -s '$dir/out' ]"
bash "$keeper" sh -c "$change" >"$dir/out" 2>&1
check 'a suite that leaves KSM running has failed' "[ $? = 1 ] && grep -q 'FAILED: sh left settings' '$dir/out' && grep -q 'it is  .*/run 1' '$dir/out'"
check 'and is cleaned up after' "$as_before"
bash "$keeper" sh -c "sleep 987 & echo \$! >'$dir/pid'" >"$dir/out" 2>&1
check 'a suite that leaves a process has failed' "[ $? = 1 ] && grep -q '^sleep 987' '$dir/out' && ! grep -qs '^State:.[^Z]' /proc/$(cat "$dir/pid")/status"

# began SCRIPT: $pid, once it says that it is in the middle. What runs in the background has SIGINT off without env.
began() {
	rm -f "$dir/there"
	env --default-signal=INT bash "$keeper" bash -c "echo \$\$ >'$dir/pid'; $1; : >'$dir/there'; sleep 60; :" >"$dir/out" 2>&1 &
	pid=$!
	until_true '[ -e "$dir/there" ]'
	check 'it is in the middle' '[ "$(settings)" != "$before" ]'
}
for signal in INT:130 TERM:143; do
	began "$change"
	kill -"${signal%:*}" $pid
	wait $pid
	check "SIG$signal ends it and cleans up" "[ $? = ${signal#*:} ] && $as_before && gone $(cat "$dir/pid")"
done
began "$change"
kill -KILL $pid
wait $pid 2>/dev/null
check 'killed, its guard cleans up' "until_true '$as_before' && until_true 'gone $(cat "$dir/pid")'"
# As ctest does when the time is over.
began "$change"
kill -KILL $pid $(session "$(cat "$dir/pid")")
wait $pid 2>/dev/null
check 'killed with all its processes, its guard cleans up' "until_true '$as_before'"
export HS_KSM_GRACE=2
began "trap '' TERM; $change"
kill -KILL "$(cat "$dir/pid")"
wait $pid
check 'the suite alone killed: cleaned up, and reported' "[ $? = 1 ] && $as_before && grep -q 'FAILED: bash left' '$dir/out'"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
