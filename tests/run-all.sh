#!/bin/bash
# All tests: the release build's suites, then the unit suites under the address and undefined-behaviour sanitizers, then
# the fuzz targets for some seconds each, then a build with clang. Prints each suite's closing line and what was skipped, with the reason.
# usage: run-all.sh [--long]
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

select=(-LE 'long|kernelbuild')
for arg in "$@"; do
	case $arg in
	--long) select=() ;;
	*) echo "run test: there is no option \"$arg\"; there is --long" >&2; exit 2 ;;
	esac
done

failed=0 passed=0 skipped=0 bad=0
logs=()

# suites PRESET CTEST_OPTION...
suites() {
	local preset=$1 out=build/$1-tests.log
	shift
	echo "== $preset: $* =="
	if ! { cmake --preset "$preset" && cmake --build --preset "$preset"; } >"build/$preset.log" 2>&1; then
		tail -40 "build/$preset.log"
		echo "the $preset build failed; the whole log is build/$preset.log"
		exit 1
	fi
	ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j2 "$@" | tee "$out" | grep --line-buffered -vE '^ *Start |^Test project|^Internal ctest|^$' || failed=1
	passed=$((passed + $(grep -cE '^ *[0-9]+/[0-9]+ Test .* Passed' "$out")))
	skipped=$((skipped + $(grep -cE '\*\*\*Skipped' "$out")))
	bad=$((bad + $(grep -E '^ *[0-9]+/[0-9]+ Test ' "$out" | grep -cvE ' Passed |\*\*\*Skipped')))
	echo "-- closing lines of each suite ($preset)"
	grep -hE '^[0-9]+%: Checks|^SKIPPED|^fuzz: |^endpoint: ' "build/$preset/Testing/Temporary/LastTest.log" || true
	logs+=("build/$preset/Testing/Temporary/LastTest.log")
}

mkdir -p build
suites release "${select[@]}"
suites sanitize -L unit
suites fuzz -L fuzz
echo "== clang: build only, warnings are errors =="
if ! { cmake --preset clang && cmake --build --preset clang; } >build/clang.log 2>&1; then
	tail -40 build/clang.log
	echo "the clang build failed; the whole log is build/clang.log"
	failed=1
fi
# Single tests that were skipped inside a suite say so themselves, with the reason.
grep -hE '^SKIPPED' "${logs[@]}" | sort -u >build/skipped.txt || true
echo "skipped suites and tests: $(wc -l <build/skipped.txt)"
cat build/skipped.txt
echo "$passed passed, $bad failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$bad" = 0 ]
