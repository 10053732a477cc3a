#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# hs-lab calibrate on this machine: every constant is a number, or unknown with a reason; the file is read again; KSM is
# as it was, also when it is interrupted. Figures are not judged. usage: calibrate.sh PROGRAM
set -u
[ -n "${HS_KSM_KEPT-}" ] || exec "$(dirname "$(readlink -f "$0")")/../ksm.sh" "$0" "$@"
# A folder of this script's own stands in the place of /var/cache.
if [ "$(id -u)" = 0 ] && [ -z "${HS_OWN_MOUNTS-}" ] && unshare -m true 2>/dev/null; then
	HS_OWN_MOUNTS=yes exec unshare -m "$0" "$@"
fi
. "$(dirname "$(readlink -f "$0")")/../service/nap.sh"
program=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/hs-lab-test.XXXXXX")
trap 'rm -rf "$dir"' EXIT
knobs() { grep -H . /sys/kernel/mm/ksm/{run,pages_to_scan,sleep_millisecs,use_zero_pages,smart_scan} 2>/dev/null; }
failed=0
fail() {
	failed=1
	echo "FAILED: $*"
}

before=$(knobs)
unset HS_LAB_CALIBRATION
export XDG_CACHE_HOME=$dir/home
place=$dir/home/hs-lab/calibration.json
if [ -n "${HS_OWN_MOUNTS-}" ]; then
	mkdir "$dir/var" && mount --bind "$dir/var" /var/cache || exit 1
	place=/var/cache/hs-lab/calibration.json
fi
(umask 077 && timeout 200 "$program" calibrate -q --json >"$dir/printed.json" 2>"$dir/messages") || fail "calibrate: $(cat "$dir/messages")"
grep -qx "written to $place" "$dir/messages" || fail "it does not say where: $(cat "$dir/messages")"
cp "$place" "$dir/c.json"
[ "$(knobs)" = "$before" ] || fail "KSM is not as it was"
cmp -s <(jq -S . "$dir/c.json") <(jq -S . "$dir/printed.json") || fail "what is printed is not what is written"
jq -e '[to_entries[] | select(.key | endswith("_ns"))] | length == 22' "$dir/c.json" >/dev/null || fail "22 constants"
jq -e '. as $all | [to_entries[] | select(.key | endswith("_ns")) | if .value == null then ($all.unknown[.key] | length > 0)
	else .value >= 0 end] | all' "$dir/c.json" >/dev/null || fail "a constant is neither known nor explained"
# What needs no privileges is always known.
jq -e '.break_ns > 0 and .copy_huge_ns > 0 and .hash_ns > 0 and .compare_ns > 0' "$dir/c.json" >/dev/null || fail "own memory"
[ "$(id -u)" != 0 ] || jq -e '.read_ns > 0 and .age_ns > 0 and .sample_ns > 0' "$dir/c.json" >/dev/null || fail "a process's memory"
timeout 100 "$program" run demo -q -p ksm --seconds 5 --set memory=64M --calibration "$dir/c.json" --json "$dir/r.json" >"$dir/table" ||
	fail "run with the calibration"
grep -q "measured $(jq -r .measured "$dir/c.json") on" "$dir/table" || fail "the table does not name the calibration"
jq -e '.costs.break_ns > 0' "$dir/r.json" >/dev/null || fail "the results do not hold the costs"
# interrupted SIGNAL UNTIL: it is ended by that signal when UNTIL, a condition, has become true; 0: KSM is given back, and
# neither a process nor a file is left.
interrupted() {
	local pid children rc
	"$program" calibrate -o "$dir/none.json" 2>"$dir/messages" >"$dir/printed" &
	pid=$!
	while kill -0 "$pid" 2>/dev/null && ! eval "$2"; do nap 0.02; done
	children=$(cat "/proc/$pid/task/$pid/children")
	kill -"$1" "$pid" || fail "it ended before \"$2\""
	wait "$pid"
	rc=$?
	[ "$rc" = 1 ] && grep -q '^hs-lab: interrupted' "$dir/messages" || fail "SIG$1: status $rc, $(cat "$dir/messages")"
	[ ! -e "$dir/none.json" ] && [ ! -s "$dir/printed" ] || fail "SIG$1: something was written"
	for pid in $children; do [ ! -d "/proc/$pid" ] || fail "SIG$1: process $pid is left"; done
	[ "$(knobs)" = "$before" ] || fail "SIG$1: KSM is not as it was: $(knobs)"
}
interrupted INT 'grep -q "random reads" "$dir/messages"'
[ "$(id -u)" != 0 ] || interrupted TERM '[ "$(knobs)" != "$before" ]'

# Root's is the machine's, which everybody may read and is read first; another user's, where there is none.
measured_of() { "$program" run demo -q -p none --seconds 1 --json - | jq -r '.costs.measured'; }
measured=$(jq -r .measured "$dir/c.json")
[ "$(measured_of)" = "$measured" ] || fail "it is not read"
if [ -n "${HS_OWN_MOUNTS-}" ]; then
	[ "$(stat -c %a "${place%/*}" "$place" | xargs)" = '755 644' ] || fail "not everybody may read it"
	mkdir -p "$dir/home/hs-lab"
	jq '.measured = "by a user"' "$dir/c.json" >"$dir/home/hs-lab/calibration.json"
	[ "$(measured_of)" = "$measured" ] || fail "the machine's is not read first"
	rm "$place"
	[ "$(measured_of)" = 'by a user' ] || fail "the user's is not read"
	umount /var/cache
else
	echo "SKIPPED lab_calibrate: the machine's place, as this user has no mounts of its own"
fi

[ "$failed" = 0 ] && echo "calibration: $(jq -c '[to_entries[] | select(.key | endswith("_ns"))] | from_entries' "$dir/c.json")"
exit "$failed"
