#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# System calls of the daemon fail by chance, it is killed, guests end, come, opt in and out, all at random, for a set time.
# Then, with no faults any more: no byte of a guest is wrong, nothing of ours is left in any, KSM's knobs and the state
# folder are as before. Prints its figures as a table.
# usage: faults.sh HS_SHARED HS_SHARE HS_GUEST RANDOM_FAULTS; HS_FAULTS_SECONDS: how long (60), HS_FAULTS_SEED: which run,
# HS_FAULTS_ONE_IN: one call in so many fails (300)
set -u
shared=$1 share=$2 guest=$3 library=$4
seconds=${HS_FAULTS_SECONDS:-60}
seed=${HS_FAULTS_SEED:-$$}
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
RANDOM=$seed
seeds=4
knobs_before=$(knobs)
kills=0 ends=0 refused=0 started=0 killed_guests=0 checks=0 wrong=0 marks=0 most=0 opts=0

fail() {
	echo "FAILED after $SECONDS s (seed $seed): $*"
	tail -40 "$dir/log"
	ls -l "$dir/state"
	exit 1
}
# The daemon's own program, with the faults in it; its process is the daemon.
head -c 16 /dev/zero >"$dir/counts"
cat >"$dir/faulty" <<-END
	#!/bin/bash
	LD_PRELOAD=$library HS_FAULTS_COUNTS=$dir/counts HS_FAULTS_ONE_IN=${HS_FAULTS_ONE_IN:-300} HS_FAULTS_SEED=\$((RANDOM + $seed)) exec $shared "\$@"
END
chmod 755 "$dir/faulty"
count() { od -An -tu8 -j "$1" -N 8 "$dir/counts" | tr -d ' '; }

sound() { # SEED: a guest's own look at all of its memory
	checks=$((checks + 1))
	verify_guest "$1" || {
		wrong=$((wrong + 1))
		echo "guest $1: $(tail -1 "$dir/out$1")"
	}
}
# KiB of a guest that are mergeable, or kept from being huge beyond what it has of that itself.
declare -a own=()
flagged() { awk -v flag=" $2" '/^Size/ { kib = $2 } /^VmFlags/ && index($0, flag) { sum += kib } END { print sum + 0 }' "/proc/${pids[$1]}/smaps"; }
marks_of() { echo $(($(flagged "$1" mg) + $(flagged "$1" nh) - own[$1])); }

# It may fail to start for the faults; a signal of its own making is never right.
up() {
	local status
	[ -z "$daemon" ] || ! has_ended "$daemon" || {
		wait "$daemon"
		status=$?
		[ $status -lt 128 ] || fail "the daemon ended by signal $((status - 128))"
		ends=$((ends + 1))
		daemon=
	}
	while [ -z "$daemon" ]; do
		"$dir/faulty" -c "$dir/conf" >>"$dir/log" 2>&1 &
		daemon=$!
		until_true 20 'has_ended "$daemon" || hs status >/dev/null 2>&1'
		has_ended "$daemon" || break
		wait "$daemon"
		status=$?
		[ $status -lt 128 ] || fail "the daemon ended by signal $((status - 128)) at its start"
		refused=$((refused + 1))
		daemon=
	done
}

{ conf_service save undo && conf_quick_scan 100 60; } >"$dir/conf"
up
SECONDS=0
while [ $SECONDS -lt "$seconds" ]; do
	i=$((1 + RANDOM % seeds))
	case $((RANDOM % 16)) in
	0 | 1 | 2 | 3) [ -n "${pids[$i]-}" ] || {
		huge=$((20 + RANDOM % 20))
		start_guest $i $huge 20000
		guest_is_up $i $huge || fail "guest $i does not come up"
		own[$i]=$(flagged $i nh)
		started=$((started + 1))
	} ;;
	4 | 5 | 6 | 7 | 8) [ -z "${pids[$i]-}" ] || { hs opt-in --pid "${pids[$i]}" --group "g$((RANDOM % 5 / 4))" >/dev/null 2>&1 && opts=$((opts + 1)); } ;;
	9) [ -z "${pids[$i]-}" ] || hs opt-out --no-wait --pid "${pids[$i]}" >/dev/null 2>&1 ;;
	10) [ -z "${pids[$i]-}" ] || {
		stop_guest $i
		killed_guests=$((killed_guests + 1))
	} ;;
	11) [ -z "${pids[$i]-}" ] || sound $i ;;
	12)
		nap "0.$((RANDOM % 10))"
		[ $((RANDOM % 2)) = 0 ] || ! has_ended "$daemon" || up
		has_ended "$daemon" || {
			kill -KILL "$daemon"
			wait "$daemon" 2>/dev/null
			daemon=
			kills=$((kills + 1))
		}
		;;
	*) nap 1 ;;
	esac
	up
	saved=$(hs status --json 2>/dev/null | jq '.saving.saved_bytes // 0')
	[ "${saved:-0}" -le $most ] || most=$saved
done
took=$SECONDS
# In the end killed once more, and started without faults: it gives back what all of them have left.
[ -z "$daemon" ] || { kill -KILL "$daemon" && wait "$daemon" 2>/dev/null; kills=$((kills + 1)); }
daemon=
start_daemon || fail "it does not start without faults"
for i in "${!pids[@]}"; do
	# Where a fault had it left alone, it is tried again some seconds later.
	until_true 60 'hs opt-out --pid "${pids[$i]}" >/dev/null 2>&1; [ "$(marks_of $i)" = 0 ]' || {
		marks=$((marks + $(marks_of $i)))
		hs show "${pids[$i]}"
	}
	sound "$i"
done
stop_daemon || fail "it ends with status $?"
left=$(find "$dir/state" -type f ! -name '*.lock' ! -name 'opt-in-*' ! -name '*.json')
for i in "${!pids[@]}"; do stop_guest "$i"; done
cat <<-END
	| what | count |
	|---|---|
	| seconds | $took |
	| system calls that could fail | $(count 0) |
	| faults injected | $(count 8) |
	| kills of the service | $kills |
	| starts that a fault prevented | $refused |
	| ends of the service by itself | $ends |
	| guests started | $started |
	| guests ended in the midst | $killed_guests |
	| opt-ins that went through | $opts |
	| most saved at once, MiB | $((most >> 20)) |
	| looks of guests at all their memory | $checks |
	| integrity errors | $wrong |
	| KiB left marked | $marks |
	| records left | $(wc -w <<<"$left") |
END
[ "$(knobs)" = "$knobs_before" ] || fail "KSM's knobs: $(diff <(echo "$knobs_before") <(knobs))"
[ $wrong = 0 ] || fail "guests' memory is wrong"
[ $marks = 0 ] || fail "marks are left"
[ -z "$left" ] || fail "records are left: $left"
[ "$(count 8)" -gt 0 ] && [ $kills -gt 0 ] && [ $checks -gt 0 ] || fail "nothing was tried"
