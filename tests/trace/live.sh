#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Recording living guests: process guests as the demo has them. The trace is whole, replayed it gives each decision again,
# nothing of the guests was changed; with --merge it has what the kernel shared; cut off or interrupted it is still good.
# usage: live.sh HS_SHARE HS_GUEST HS_TRACE_CHECK HS_LAB
set -u
share=$1 guest=$2 check=$3 lab=$4
. "$(dirname "$(readlink -f "$0")")/../service/lib.sh"

of() { jq -r ".$2" "$dir/$1.json"; }
record() { timeout 120 "$share" record -q --pid "${pids[1]}" --pid "${pids[2]}" --rounds 5 --interval 200 "$@" 2>"$dir/err"; }

for i in 1 2; do start_guest $i; done
for i in 1 2; do until_true 60 "grep -q ready \"\$dir/out$i\"" || exit 1; done

ok 'a recording of two cycles' 'record --output "$dir/a" --cycles 2'
ok 'nobody else may read it' '[ "$(stat -c %a "$dir/a")" = 600 ]'
ok 'it is whole, and replayed it decides the same' '"$check" "$dir/a" >"$dir/a.json"'
ok 'two cycles of two guests' '[ "$(of a cycles)" = 2 ] && [ "$(of a records.guest)" = 2 ]'
ok 'decisions on each huge page' '[ "$(of a decisions)" = $(($(of a huge_pages) * 2)) ] && [ "$(of a huge_pages)" -ge 96 ] && [ "$(of a decisions_differ)" = 0 ]'
ok 'hot and cold are told apart' '[ "$(of a hot)" -gt 20 ] && [ "$(of a cold)" -gt 20 ] && [ "$(of a hot_bloat)" -gt 10 ]'
ok 'something could be saved' '[ "$(of a could_save_bytes)" -gt 30000000 ]'
ok 'small' '[ "$(stat -c %s "$dir/a")" -lt 300000 ]'
ok 'nothing was made mergeable' '[ "$(mergeable "${pids[1]}")" = 0 ]'
ok 'an existing file is left alone' '! record --output "$dir/a" --cycles 1 && grep -q "overwrites nothing" "$dir/err"'

ok 'to a pipe' 'record --output - --cycles 1 --no-fine | "$check" - >"$dir/pipe.json" && [ "$(of pipe cycles)" = 1 ]'

head -c $(($(stat -c %s "$dir/a") - 10)) "$dir/a" >"$dir/cut"
ok 'cut off is reported' '! "$check" "$dir/cut" >/dev/null 2>"$dir/err" && grep -q "cut: at byte [0-9]*: .*cut off" "$dir/err"'

# Ended by a signal in the midst of a cycle: closed in order.
record --output "$dir/i" --duration 3 --rounds 10
ok 'ended in the midst' '"$check" "$dir/i" >"$dir/i.json" && [ "$(of i cycles)" = 1 ]'

ok 'with --merge' 'record --output "$dir/m" --cycles 3 --merge --allow-foreign'
ok 'what was shared is in it' '"$check" "$dir/m" >"$dir/m.json" && [ "$(of m saved_bytes)" -gt 30000000 ]'
ok 'replayed it decides the same, with sharing under way' '[ "$(of m cycles)" = 3 ] && [ "$(of m decisions)" -gt 250 ] && [ "$(of m decisions_differ)" = 0 ]'
ok 'the lab replays the recorded run of it' '"$lab" replay -q "$dir/m" 2>"$dir/err" | grep -qE "[0-9]{3} decisions, 0 of them other" && grep -q "no policy is tried: .*without --merge" "$dir/err"'
for option in json csv html svg; do
	ok "and says that it has nothing for --$option" "! \"\$lab\" replay -q \"\$dir/m\" --$option \"\$dir/x\" >\"\$dir/out\" 2>&1 && grep -q 'no results to write: .*without --$option' \"\$dir/out\" && [ ! -e \"\$dir/x\" ]"
done
ok 'it was undone' '[ "$(mergeable "${pids[1]}")" = 0 ]'
echo "could save $(of a could_save_bytes), saved $(of m saved_bytes) bytes"
finish
