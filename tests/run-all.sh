#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# All tests: the release build's suites, the unit suites under the address and undefined-behaviour sanitizers, and a build with
# clang, of whose product the fuzz targets are made, which run for some seconds each. Prints each suite's closing line and what was
# skipped, with the reason.
#
# In two parts. First what does not mind company, side by side, while the other builds are made of what the processors have to
# spare, and the suites of the sanitizers and the fuzz targets run; then, with nothing else under way, the suites that need the
# machine for themselves (RUN_SERIAL), which measure how hot memory is. What takes longest in the first part is the row of the
# suites that use KSM, one at a time: they are begun first (COST), and the processors are theirs before the others'.
# usage: run-all.sh [--long]
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
. tests/ksm.sh

# Less than half a processor's worth of work each: most suites wait, or have one thread. PROCESSORS of a suite counts such parts.
at_a_time=5
less=4 # nice value of suites; 0 is for those that use KSM, which tests/ksm.sh sees to
export HS_KSM_NICE=0

# build PRESET [TARGET]: shows the end of its log when it fails
build() {
	if ! { cmake --preset "$1" && cmake --build --preset "$1" ${2:+--target "$2"}; } >"build/$1.log" 2>&1; then
		tail -40 "build/$1.log"
		echo "the $1 build failed; the whole log is build/$1.log"
		echo "$1" >>build/failed
		return 1
	fi
}

# suites NAME PRESET CTEST_OPTION...: build/NAME-tests.log has what ctest prints, build/NAME-last.log what the suites do
suites() {
	local name=$1 preset=$2
	shift 2
	echo "== $name =="
	nice -n $less ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j$at_a_time "$@" | tee "build/$name-tests.log" |
		grep --line-buffered -vE '^ *Start |^Test project|^Internal ctest|^$' || echo "$name" >>build/failed
	cp "build/$preset/Testing/Temporary/LastTest.log" "build/$name-last.log"
	echo "-- closing lines of each suite ($name)"
	grep -hE '^[0-9]+%: Checks|^SKIPPED|^fuzz: |^endpoint: ' "build/$name-last.log" || true
}

# Beside the first part, in a session of its own, and after it where both want the processors.
if [ "${1-}" = --beside ]; then
	renice -n 5 -p $$ >/dev/null
	less=0 at_a_time=4
	# Without those that look at files, not at what was built, or at the same of it as others do (one shell's completion is enough).
	build sanitize hs-unit && suites sanitize sanitize -L unit -E '^(frame|docs|package)_|^monitoring_(rules|board)|^service_completion_[zf]'
	echo '== clang: warnings are errors =='
	build fuzz && suites fuzz fuzz -L fuzz
	exit 0
fi

select=(-LE 'long|kernelbuild')
for arg in "$@"; do
	case $arg in
	--long) select=() ;;
	*) echo "run test: there is no option \"$arg\"; there is --long" >&2; exit 2 ;;
	esac
done
mkdir -p build
rm -f build/failed build/*-tests.log build/*-last.log
before=$(settings)
beside=
trap '[ -z "$beside" ] || end_session 0 10 "$beside" >/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

build release || exit 1
setsid "$0" --beside >build/beside.log 2>&1 </dev/null &
beside=$!
alone=$(ctest --test-dir build/release --show-only=json-v1 |
	jq -r '[.tests[] | select(any(.properties[]?; .name == "RUN_SERIAL" and .value)) | .name] | join("|")')
[ -n "$alone" ] || { echo 'run test: no suite that runs alone was found'; exit 1; }
suites release release "${select[@]}" -E "^($alone)\$"
wait "$beside"
beside=
cat build/beside.log
suites alone release "${select[@]}" -R "^($alone)\$"

# Single tests that were skipped inside a suite say so themselves, with the reason.
grep -hE '^SKIPPED' build/*-last.log | sort -u >build/skipped.txt || true
echo "skipped suites and tests: $(wc -l <build/skipped.txt)"
cat build/skipped.txt
# tests/ksm.sh says which suite it was, and puts it back. What else is found changed is left to whoever changed it.
grep -hE '^FAILED: .* left (settings of the machine changed|processes)' build/*-last.log || true
changed=$(settings_differ "$before")
if [ -n "$changed" ]; then
	printf 'settings of the machine are not as they were, by a suite that does not run below tests/ksm.sh or by something else:\n%s\n' "$changed"
	echo settings >>build/failed
fi
results=$(cat build/*-tests.log | grep -E '^ *[0-9]+/[0-9]+ Test ')
bad=$(grep -cvE ' Passed |\*\*\*Skipped' <<<"$results")
echo "$(grep -c ' Passed ' <<<"$results") passed, $bad failed, $(grep -c '\*\*\*Skipped' <<<"$results") skipped"
[ ! -e build/failed ] && [ "$bad" = 0 ]
