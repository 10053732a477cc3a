#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guests come and go, opt in and out, the mode flips, the configuration is read again, all at random. Afterwards: no byte
# of a guest is wrong, the daemon's memory and files are what they were, KSM's knobs are as before.
# usage: churn.sh HS_SHARED HS_SHARE HS_GUEST; HS_CHURN_SECONDS: how long (10), HS_CHURN_SEED: which run
set -u
shared=$1 share=$2 guest=$3
seconds=${HS_CHURN_SECONDS:-10}
RANDOM=${HS_CHURN_SEED:-$$}
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
echo "seed ${HS_CHURN_SEED:-$$}, $seconds s"
seeds=5
knobs_before=$(knobs)

fail() {
	echo "FAILED after $SECONDS s: $*"
	tail -40 "$dir/log"
	hs status --json
	hs guests --json
	knobs
	grep -H . /proc/$daemon/task/*/{stat,schedstat} 2>/dev/null
	exit 1
}
checked=0
check_guest() { # SEED
	verify_guest "$1" || fail "guest $1: $(tail -1 "$dir/out$1")"
	checked=$((checked + 1))
}
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status"; }
files() { ls "/proc/$daemon/fd" | wc -l; }

write_conf() { { conf_service save undo && conf_quick_scan "$1" 40; } >"$dir/conf"; } # INTERVAL
# What may fail while all is in motion: a guest that ends meanwhile. The daemon itself must always answer.
try() {
	"$@" >/dev/null 2>"$dir/err"
	[ $? != 3 ] || fail "the daemon does not answer: $(cat "$dir/err")"
	kill -0 "$daemon" 2>/dev/null || fail "the daemon has ended"
}

write_conf 100
start_daemon || fail "it does not start"
# And three for good with the first burst: the BPF program that looks for mergeable memory, its types, and its one constant
# (share/mergeable.c, base/vma_marks.c).
files_before=$(($(files) + 3))
# Two that share to begin with, so that all that follows meets sharing.
for i in 1 2; do start_guest $i 30 20000; done
nap 2
for i in 1 2; do try hs opt-in --pid "${pids[$i]}" --group g0; done
until_true 60 '[ "$(hs status --json | jq .saving.saved_bytes)" -gt 1000000 ]' || fail "nothing is shared"
SECONDS=0
declare -a memory
most=0 steps=0 next=0
while [ $SECONDS -lt "$seconds" ]; do
	i=$((1 + RANDOM % seeds))
	case $((RANDOM % 20)) in
	0 | 1 | 2) [ -n "${pids[$i]-}" ] || { start_guest $i $((20 + RANDOM % 20)) 20000; nap 1; } ;;
	3 | 4 | 5 | 6 | 7 | 8) [ -z "${pids[$i]-}" ] || try hs opt-in --pid "${pids[$i]}" --group "g$((RANDOM % 5 / 4))" ;;
	9) [ -z "${pids[$i]-}" ] || try hs opt-out --no-wait --pid "${pids[$i]}" ;;
	10) [ -z "${pids[$i]-}" ] || stop_guest $i ;;
	11 | 12) [ -z "${pids[$i]-}" ] || check_guest $i ;;
	13) modes=(off observe save save save auto) && try hs mode "${modes[$((RANDOM % 6))]}" ;;
	14) write_conf $((80 + RANDOM % 60)) && try hs reload ;;
	*) nap 1 ;; # long enough for a cycle
	esac
	steps=$((steps + 1))
	nap "0.$((RANDOM % 10))"
	saved=$(hs status --json | jq .saving.saved_bytes) || fail "no status"
	[ "$saved" -le $most ] || most=$saved
	if [ $SECONDS -ge $next ]; then
		memory+=("$(rss_kib)")
		next=$((SECONDS + 5))
	fi
done
# Flat: what nine of ten samples are below, of the second half against the first, the first tenth left out. Not the highest:
# a sample now and then falls into a reload or an answer, and which is the highest of such is chance.
n=${#memory[@]}
top() { printf '%s\n' "${memory[@]:$1:$2}" | sort -n | tail -1; }
most_are_below() { printf '%s\n' "${memory[@]:$1:$2}" | sort -n | sed -n "$(($2 * 9 / 10))p"; }
if [ "$n" -ge 60 ]; then
	first=$(most_are_below $((n / 10)) $((n * 4 / 10))) second=$(most_are_below $((n / 2)) $((n - n / 2)))
	echo "memory of the daemon, nine of ten samples at most: first half $first KiB, second half $second KiB; highest $(top 0 "$n") KiB"
	[ "$second" -le $((first + first / 10 + 1024)) ] || fail "its memory grows: ${memory[*]}"
	[ "$(top 0 "$n")" -le $((second * 2)) ] || fail "its memory doubles at times: ${memory[*]}"
else
	echo "memory of the daemon: $(top 0 "$n") KiB at most (too short a run to say more)"
fi

for i in "${!pids[@]}"; do
	check_guest "$i"
	try hs opt-out --pid "${pids[$i]}"
	check_guest "$i"
	[ "$(mergeable "${pids[$i]}")" = 0 ] || fail "a guest that opted out is mergeable"
	stop_guest "$i"
done
until_true 30 '[ "$(hs guests --json | jq ".guests | length")" = 0 ]' || fail "guests that have ended are still known"
until_true 10 '[ "$(files)" -le "$files_before" ]' || fail "files stay open: $files_before before, $(files) now: $(ls -l "/proc/$daemon/fd")"
stop_daemon || fail "it ends with status $?"
[ "$(knobs)" = "$knobs_before" ] || fail "KSM's knobs: $(diff <(echo "$knobs_before") <(knobs))"
[ "$(find "$dir/state" -type f ! -name '*.lock' | grep -c 'claim-\|split-')" = 0 ] || fail "state is left behind: $(ls "$dir/state")"
echo "$steps steps, $checked checks of a guest's memory, at most $((most >> 20)) MiB saved"
