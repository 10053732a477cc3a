#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# hs-lab as a person meets it: help, wrong uses that name what is wrong, files that are written, the same seed twice.
# usage: lab.sh PROGRAM TRACE
set -u
. "$(dirname "$(readlink -f "$0")")/../service/nap.sh"
program=$(readlink -f "$1") trace=$(readlink -f "$2")
dir=$(mktemp -d "${TMPDIR:-/tmp}/hs-lab-test.XXXXXX")
trap 'rm -rf "$dir"' EXIT
export HS_LAB_CALIBRATION=$dir/none.json
passed=0 failed=0

good() { passed=$((passed + 1)); }
bad() {
	failed=$((failed + 1))
	printf 'FAILED %s\n' "$*"
}

# expect STATUS PATTERN ARGUMENT...: exit status and a pattern in what is printed
expect() {
	local status=$1 pattern=$2 out rc
	shift 2
	out=$(timeout 60 "$program" "$@" 2>&1 </dev/null)
	rc=$?
	if [ "$rc" = "$status" ] && grep -qE -- "$pattern" <<<"$out"; then
		good
	else
		bad "hs-lab $*: status $rc (wanted $status), pattern: $pattern, printed: $out"
	fi
}

expect 2 'Usage: hs-lab COMMAND'
expect 0 'claims .*HugeScope' --help
expect 0 '^hs-lab [0-9]' --version
expect 2 'no command "frobnicate"; the commands are: run replay claims sweep calibrate scenarios' frobnicate
for command in run replay claims sweep calibrate scenarios; do
	expect 0 '--help' "$command" --help
	expect 2 "unrecognized option '--nonsense'" "$command" --nonsense
done
expect 2 'no scenario is named; hs-lab scenarios lists' run
expect 2 'no trace is named' replay
expect 2 'no scenario is named' sweep
expect 2 '"b" is one word too many' run a b
expect 2 '--policy: there is no "best"; there are none, ksm' run demo -p best
expect 2 '--policy: ksm is named twice' run demo -p ksm -p ksm
expect 2 '--seconds: "soon" is not a number' run demo --seconds soon
expect 2 '--seed: "-1" is not a whole number' run demo --seed -1
expect 2 '--seed: "9223372036854775808" is not a whole number up to 9223372036854775807' run demo --seed 9223372036854775808
expect 0 '"seed": 9223372036854775807' run demo -p none --seconds 1 -q --json - --seed 9223372036854775807
expect 2 '--set: "even" is not KEY=VALUE' run demo --set even
expect 2 '--jobs: "many" is not a whole number' run demo --jobs many
expect 2 '--param: there is no setting "speed"; there are rounds' sweep demo --param speed=1
expect 2 '--param: "max_hot=900": give at most 16 numbers from 0 to 511' sweep demo --param max_hot=900
# What a command would not honour it does not offer.
for option in set=even=1 seed=1; do
	expect 2 "unrecognized option '--$option'" replay x "--$option"
done
for option in html=x svg=x scan-rate=1 quirks gain-all; do
	expect 2 "unrecognized option '--$option'" sweep demo "--$option"
done
expect 1 'there is no scenario "nothing"; the built-in ones are demo' run nothing
expect 1 'there is no key "frob" in \[guests' run demo --set frob=1
expect 1 'the scenario demo has no \[guests db\]' run demo --set db.even=1
expect 1 'even = 120: give a number from 0 to 100' run demo --set even=120
expect 1 'come to 145 percent' run demo --set web.even=100 --set skewed=45
expect 1 'cannot open the trace /nonexistent' replay /nonexistent
expect 1 "there is no calibration at $dir/mine.json" run demo --calibration "$dir/mine.json"
echo '{"format": "something else"}' >"$dir/other.json"
expect 1 'is no calibration of this version' run demo --calibration "$dir/other.json"
expect 1 "cannot write $dir/no/such/x.csv" run demo -p none --seconds 1 --csv "$dir/no/such/x.csv"
# Where nothing can be written an error says so, whatever it was.
for option in json csv html; do
	expect 1 'cannot write /dev/full: No space left' run demo -p none --seconds 1 -q "--$option=/dev/full"
done
mkdir "$dir/full" && ln -s /dev/full "$dir/full/demo-trade.svg"
expect 1 "cannot write $dir/full/demo-trade.svg: No space left" run demo -p none --seconds 1 -q --svg "$dir/full"
for command in 'run demo -p none --seconds 1 -q' 'run demo -p none --seconds 1 -q --json -' 'sweep demo --seconds 1 -q -P max_hot=1' \
	"replay $trace -p none -q" 'claims --seconds 1 -q --set memory=16M' 'scenarios' 'scenarios demo' '--help'; do
	said=$(timeout 60 "$program" $command 2>&1 >/dev/full)
	[ $? = 1 ] && grep -q 'cannot write all of standard output' <<<"$said" && good || bad "$command to a full disk: $said"
done
expect 0 '^demo +Three guests' scenarios
expect 0 '^\[guests web\]' scenarios demo
expect 1 'there is no scenario "x"' scenarios x

# A file or a folder of a built-in's name does not stand before it; given as a path it is taken; a folder is no file.
mkdir "$dir/here" "$dir/here/skewed"
printf '[guests mine]\nmemory = 4M\n' | tee "$dir/here/demo" >"$dir/here/other"
cd "$dir/here" || exit 1
expect 0 'demo: 2304 MiB of guests' run demo -q -p none --seconds 1
expect 0 'demo: 4 MiB of guests' run ./demo -q -p none --seconds 1
expect 0 'skewed: 4096 MiB of guests' run skewed -q -p none --seconds 1
expect 0 'other: 4 MiB of guests' run other -q -p none --seconds 1
expect 1 'cannot read the scenario ./skewed: Is a directory' run ./skewed
expect 1 "cannot read the scenario $dir/none: No such file" run "$dir/none"
cd - >/dev/null || exit 1
# A small host; the table, and every kind of file.
printf '[host]\nseconds = 12\n[guests a]\ncount = 2\nmemory = 16M\nsame_group = 100\naccesses = 0\n' >"$dir/twins.ini"
expect 0 'not calibrated' run "$dir/twins.ini" -p none
expect 0 'hs-share +16\.0 .* 50\.0%' run "$dir/twins.ini" -p hs-share -p ksm
expect 0 '<svg' run "$dir/twins.ini" -q --json - --html /dev/stdout
"$program" run "$dir/twins.ini" -q --json "$dir/a.json" --csv "$dir/a.csv" --html "$dir/a.html" --svg "$dir/svg" >/dev/null || bad "all files"
[ "$(wc -l <"$dir/a.csv")" = 9 ] && good || bad "a.csv has a line for each policy and a heading"
jq -e '.runs | length == 8 and .[0].policy == "none" and .[6].saved_bytes == 16777216' "$dir/a.json" >/dev/null && good || bad "a.json"
if command -v xmllint >/dev/null; then
	xmllint --noout "$dir"/svg/*.svg && good || bad "the plots are no XML"
fi
[ "$(find "$dir/svg" -name '*.svg' | wc -l)" = 3 ] && good || bad "three plots"
# The name of SVG is an address, but none that is fetched.
abroad=$(sed 's|http://www.w3.org/2000/svg||g' "$dir/a.html" | grep -oE '(https?:)?//[^"<> ]*|(src|href)=[^ >]*|@import|url\([^)]*' | head -3)
[ -s "$dir/a.html" ] && [ -z "$abroad" ] && good || bad "the report needs a network: $abroad"
# The same seed is the same run; another is another.
figures() { "$program" run demo -q -p hs-share --seconds 15 --set memory=64M "$@" --json - | jq -c '.runs[0] | del(.wall_seconds, .resident_bytes)'; }
[ "$(figures --seed 5)" = "$(figures --seed 5)" ] && good || bad "the same seed twice"
[ "$(figures --seed 5)" != "$(figures --seed 6)" ] && good || bad "two seeds"
[ "$(figures --jobs 1)" = "$(figures --jobs 3)" ] && good || bad "runs at a time"
expect 0 'max_hot +100\*' sweep "$dir/twins.ini" -q --param max_hot=10,100
expect 0 'tracking alone' claims -q --seconds 12 --set vm.memory=32M
# Recorded guests: the recorded run decides as it did, and no slowdown is shown.
expect 0 '[0-9]+ decisions, 0 of them other than recorded' replay -q "$trace"
expect 0 '^hs-share .* - ' replay -q "$trace" -p hs-share
head -c 3000 "$trace" >"$dir/cut.hst"
expect 1 'cut.hst' replay -q "$dir/cut.hst"
# An interrupt ends it, and leaves no process behind.
children() { cat "/proc/$1/task/$1/children" 2>/dev/null; }
"$program" run skewed -q --seconds 3000 >"$dir/out" 2>&1 &
pid=$!
for _ in {1..100}; do
	runs=$(children "$pid")
	[ -n "$runs" ] && break
	nap 0.05
done
kill -TERM "$pid"
wait "$pid"
rc=$?
[ -n "$runs" ] && [ "$rc" = 1 ] && grep -q interrupted "$dir/out" && good || bad "interrupt: status $rc, $(cat "$dir/out")"
for run in $runs; do
	[ ! -d "/proc/$run" ] && good || bad "run $run is left behind"
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
