#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is predicted of living guests from their traces against what the kernel then saves of them, by their page tables, read
# by a program of its own: less than 5% apart. Guests that go on doing the same (the demo's process guests) are recorded
# without merging, hs-lab replays the trace under HS-Share, and then hs-share run merges them. Guests that do not (redis under a
# load, virtual machines under software emulation) are held in one run that is recorded while it merges.
# usage: validate.sh guests|mixes|programs|machines HS_SHARE HS_LAB HS_FRAMES HS_GUEST HS_MACHINES HS_TRACE_CHECK
set -u
[ -n "${HS_KSM_KEPT-}" ] || exec "$(dirname "$(readlink -f "$0")")/../ksm.sh" "$0" "$@"
kind=$1 share=$2 lab=$3 frames=$4 guest=$5 machines=$6 check=$7
dir=$(mktemp -d) passed=0 failed=0
# started: what we end, the last one first; pids: the guests
declare -a started=() pids=() ins=()

end_guests() {
	for fd in "${ins[@]}"; do exec {fd}>&-; done
	for ((i = ${#started[@]} - 1; i >= 0; i--)); do
		kill "${started[i]}" 2>/dev/null
		wait "${started[i]}" 2>/dev/null
	done
	rm -f "$dir"/in* "$dir"/out*
	started=() pids=() ins=()
}
cleanup() {
	end_guests
	rm -rf "$dir"
}
trap cleanup EXIT

. "$(dirname "$(readlink -f "$0")")/../service/nap.sh"
# wait_for FILE PATTERN PID
wait_for() {
	until grep -q "$2" "$1"; do
		kill -0 "$3" 2>/dev/null || { echo "FAILED: it has ended: $(tail -3 "$1")"; exit 1; }
		nap 0.1
	done
}

start_guest() { # SEED OPTION...
	mkfifo "$dir/in$1"
	"$guest" --seed="$1" --huge=48 --rate=200000 "${@:2}" <"$dir/in$1" >"$dir/out$1" 2>&1 &
	started+=($!) pids+=($!)
	exec {fd}>"$dir/in$1"
	ins+=("$fd")
	wait_for "$dir/out$1" ready $!
}
start_guests() { # NUMBER OPTION...
	for ((i = 1; i <= $1; i++)); do start_guest "$i" "${@:2}"; done
}

start_machines() { # NUMBER OPTION...
	mkfifo "$dir/in"
	"$machines" "$@" <"$dir/in" >"$dir/out" 2>"$dir/err" &
	started+=($!)
	exec {fd}>"$dir/in"
	ins+=("$fd")
	until [ -s "$dir/out" ]; do
		if ! kill -0 "${started[-1]}" 2>/dev/null; then
			wait "${started[-1]}"
			[ $? = 77 ] && { echo "SKIPPED trace_validate_machines: $(cat "$dir/err")"; exit 77; }
			echo "FAILED: no machines: $(cat "$dir/err")"
			exit 1
		fi
		nap 0.2
	done
	read -ra pids <"$dir/out"
}

# Servers with the same 64000 values of 900 bytes; the first is read by a zipfian load.
start_redis() { # NUMBER
	local n
	for ((n = 1; n <= $1; n++)); do
		MALLOC_CONF=thp:always redis-server --port 0 --unixsocket "$dir/sock$n" --save '' --appendonly no --disable-thp no \
			--activerehashing no --dir "$dir" --logfile "$dir/out$n" &
		started+=($!) pids+=($!)
		until [ -S "$dir/sock$n" ]; do nap 0.1; done
		awk 'BEGIN {
			for (i = 0; i < 64000; i++) {
				x = i * 7919 % 2147483629; v = ""
				for (k = 0; k < 36; k++) { x = (x * 16807 + 11) % 2147483647; v = v sprintf("%08x-item-%08d-end", x, x % 9973) }
				printf "SET key:%d %s\r\n", i, v
			}
		}' | redis-cli -s "$dir/sock$n" --pipe >/dev/null
	done
	while awk -v seed="$((seed++))" 'BEGIN { srand(seed); for (i = 0; i < 400; i++) printf "GET key:%d\r\n", int(exp(rand() * log(64000))) * 7 % 64000 }' |
		redis-cli -s "$dir/sock1" --pipe >/dev/null 2>&1; do nap 0.02; done &
	started+=($!)
	nap 5 # its memory grows and settles
}

# compare NAME PREDICTED SAVED: less than 5% apart
compare() {
	local off
	off=$(awk -v p="$2" -v k="$3" 'BEGIN { printf "%.2f", (k > 0 ? (p - k) * 100 / k : 100) }')
	echo "$1: predicted $2, saved $3 bytes; off by $off%"
	awk -v off="$off" 'BEGIN { exit !(off > -5 && off < 5) }'
}
hold() {
	if compare "$@"; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: $1"
		cat "$dir/err"
	fi
}
# record OPTION...: a new trace
record() {
	rm -f "$dir/trace"
	timeout 300 "$share" record -q --output "$dir/trace" --cycles 2 "$@" "${pids[@]/#/--pid=}" 2>>"$dir/err"
}
# What the lab predicts from a recording without merging; *predicted*.
predict() {
	predicted=0
	record "$@" && predicted=$("$lab" replay -q --policy hs-share --json - "$dir/trace" 2>>"$dir/err" | jq '.runs[0].saved_bytes')
}
# What a run then saves, by the page tables; *saved*, and by the engine's ledger: *ledger*.
run() {
	ledger=$(timeout 300 "$share" run -q --cycles 2 --rest 0 --keep-shared --json "$@" "${pids[@]/#/--pid=}" 2>>"$dir/err" | jq .saved_bytes)
	saved=$("$frames" "${pids[@]}")
}

# Guests that go on doing the same: two runs, one after the other, are the same. They access so much that a round may be short.
# validate NAME
validate() {
	predict --interval 300
	run --interval 300
	hold "$1" "$predicted" "$saved"
	[ "$ledger" = "$saved" ] || { failed=$((failed + 1)); echo "FAILED: $1: the engine's ledger says $ledger"; }
	end_guests
}

# Guests that do not: what the trace of a merging run holds of contents and desired pages against what the kernel made of them in
# that run. The two runs are printed as well, and judged by nobody: the guests moved on between them. validate_moving NAME OPTION...
validate_moving() {
	local name=$1
	shift
	predict "$@"
	run "$@"
	compare "$name, one run after another" "$predicted" "$saved"
	timeout 100 "$share" unshare "${pids[@]/#/--pid=}" >/dev/null 2>>"$dir/err"
	predict "$@"
	compare "$name, by a recording after that run" "$predicted" "$saved"
	record --merge "$@"
	"$check" "$dir/trace" >"$dir/json" 2>>"$dir/err"
	hold "$name, in one run" "$(jq .wanted_would_save_bytes "$dir/json")" "$(jq .saved_bytes "$dir/json")"
	[ "$(jq .decisions_differ "$dir/json")" = 0 ] || { failed=$((failed + 1)); echo "FAILED: $name: replayed it decides otherwise"; cat "$dir/err"; }
	end_guests
}

case $kind in
guests)
	start_guests 3
	validate 'the demo'"'"'s mix'
	;;
mixes)
	start_guests 2 --scatter=1 --cold-dup=20 --write=20
	validate 'classes mixed, copies inside a guest, many writes'
	start_guests 3 --bloat=0 --shuffle=1
	validate 'no bloat, identical pages elsewhere in each guest'
	start_guests 2 --hot=10 --bloat=60 --bloat-hot=60
	validate 'mostly bloat'
	;;
programs)
	for need in redis-server redis-cli; do
		command -v "$need" >/dev/null && continue
		echo "SKIPPED trace_validate_programs: $need is not installed (Debian packages redis-server redis-tools)"
		exit 77
	done
	seed=1
	start_redis 2
	validate_moving 'two redis servers, one under a zipfian load' --min-memory 4M
	;;
machines)
	start_machines 2 --huge=96 --rate=100000
	validate_moving 'two virtual machines with the demo'"'"'s mix'
	;;
esac
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
