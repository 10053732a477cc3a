#!/bin/bash
# What the lab predicts of living guests against what the kernel then saves of them: guests are recorded without merging
# and the trace is replayed by hs-lab under HS-Share; then hs-share run merges the same guests, and their page tables are
# read by a program of its own. They differ by less than 5%.
# usage: validate.sh HS_SHARE HS_LAB HS_GUEST HS_FRAMES
set -u
share=$1 lab=$2 guest=$3 frames=$4
dir=$(mktemp -d) passed=0 failed=0
declare -a pids=() ins=()

end_guests() {
	for fd in "${ins[@]}"; do exec {fd}>&-; done
	for p in "${pids[@]}"; do kill -KILL "$p" 2>/dev/null; wait "$p" 2>/dev/null; done
	rm -f "$dir"/in* "$dir"/out*
	pids=() ins=()
}
cleanup() {
	end_guests
	rm -rf "$dir"
}
trap cleanup EXIT

start_guest() { # SEED OPTION...
	mkfifo "$dir/in$1"
	"$guest" --seed="$1" --huge=48 --rate=100000 "${@:2}" <"$dir/in$1" >"$dir/out$1" 2>&1 &
	pids+=($!)
	exec {fd}>"$dir/in$1"
	ins+=("$fd")
	until grep -q ready "$dir/out$1"; do
		kill -0 "${pids[-1]}" || { echo "FAILED: the guest has ended: $(cat "$dir/out$1")"; exit 1; }
		read -rt 0.1 <> <(:) || :
	done
}

# validate NAME GUESTS OPTION...
validate() {
	local name=$1 nr=$2 predicted saved ledger off
	shift 2
	for ((i = 1; i <= nr; i++)); do start_guest "$i" "$@"; done
	local named=("${pids[@]/#/--pid=}")
	rm -f "$dir/trace"
	timeout 100 "$share" record -q --output "$dir/trace" --cycles 1 "${named[@]}" || { echo "FAILED: $name: no trace"; failed=$((failed + 1)); end_guests; return; }
	predicted=$("$lab" replay -q --policy hs-share --json - "$dir/trace" 2>"$dir/err" | jq '.runs[0].saved_bytes')
	ledger=$(timeout 200 "$share" run -q --cycles 2 --rest 0 --keep-shared --json "${named[@]}" 2>>"$dir/err" | jq .saved_bytes)
	saved=$("$frames" "${pids[@]}")
	end_guests
	off=$(awk -v p="$predicted" -v k="$saved" 'BEGIN { printf "%.2f", (k > 0 ? (p - k) * 100 / k : 100) }')
	echo "$name: predicted $predicted, saved $saved (and by the engine's ledger $ledger) bytes; off by $off%"
	if awk -v off="$off" 'BEGIN { exit !(off > -5 && off < 5) }'; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: $name"
		cat "$dir/err"
	fi
}

validate 'the demo'"'"'s mix' 3
validate 'no bloat, identical pages elsewhere in each guest' 3 --bloat=0 --shuffle=1
validate 'classes mixed, copies inside a guest, many writes' 2 --scatter=1 --cold-dup=20 --write=20
validate 'mostly bloat' 2 --hot=10 --bloat=60 --bloat-hot=60
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
