# SPDX-License-Identifier: Apache-2.0
# What scripts that count checks share, above all those that run a daemon or guests. Source it with those of $shared
# (hs-shared), $share (hs-share) and $guest (hs-guest) set that are used; it makes $dir, where $dir/conf is the daemon's
# configuration, and cleans up at the end. The script goes on below ksm.sh, which looks after the machine's settings; with
# keeper_option=--read-only set before, it cannot change them, and may run beside a suite that does.

if [ -z "${HS_KSM_KEPT-}" ]; then
	keeper=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
	until [ -e "$keeper/ksm.sh" ] || [ "$keeper" = / ]; do keeper=$(dirname "$keeper"); done
	exec "$keeper/ksm.sh" ${keeper_option-} "$0" "$@"
fi

. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/nap.sh"
dir=$(mktemp -d) passed=0 failed=0 daemon=
declare -a pids=() ins=()
sock=$dir/control.sock
logs=("$dir/log") # shown when something failed

# A child that has ended, waited for or not.
has_ended() { grep -qs '^State:.[^Z]' "/proc/$1/status" && return 1 || return 0; }
# The daemon goes first, in order: it stops ksmd, and has the only record of how KSM was. Then the guests, whose memory it
# undoes meanwhile.
cleanup() {
	[ -z "$daemon" ] || {
		kill -TERM "$daemon"
		until_true 30 'has_ended "$daemon"' || { echo "the daemon does not end, and is killed"; kill -KILL "$daemon"; }
		wait "$daemon"
	} 2>/dev/null
	for fd in "${ins[@]}"; do exec {fd}>&-; done
	for p in "${pids[@]}"; do kill -KILL "$p" 2>/dev/null; wait "$p" 2>/dev/null; done
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

ok() { # WHAT CONDITION, which is evaluated here: it may set variables, and `exit` in it would end the script
	if eval "$2"; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: $1"
		echo "  $2"
	fi
}

# until_true SECONDS CONDITION: polled; false when the time is over
until_true() {
	local end=$((SECONDS + $1))
	while ! eval "$2"; do
		[ $SECONDS -lt $end ] || return 1
		nap 0.2
	done
}

knobs() { grep -H . /sys/kernel/mm/ksm/{run,pages_to_scan,sleep_millisecs,use_zero_pages,smart_scan,max_page_sharing} 2>/dev/null; }
hs() { timeout 60 "$share" "$@" --socket "$sock"; }
field() { hs show "$1" --json 2>/dev/null | jq -r ".$2"; }
request() { curl -s -m 20 --unix-socket "$sock" "$@"; }
# status_of_to FILE CURL_OPTION...: the status; the answer goes to the file
status_of_to() { curl -s -m 60 -o "$1" -w '%{http_code}' --unix-socket "$sock" "${@:2}"; }
status_of() { status_of_to /dev/null "$@"; }
# From the page tables: the counter in ksm_stat falls only at ksmd's next pass.
ksm_pages() { awk '/^KSM:/ { kib += $2 } END { print kib / 4 }' "/proc/$1/smaps"; }
mergeable() { grep -c '^VmFlags:.* mg' "/proc/$1/smaps"; }

# Parts of $dir/conf. conf_service MODE ON_EXIT
conf_service() {
	cat <<-END
		[service]
		mode = $1
		socket = $sock
		state_dir = $dir/state
		on_exit = $2
		[libvirt]
		uri =
	END
}
# For a first sharing within seconds. conf_quick_scan INTERVAL_MS CPU_PERCENT
conf_quick_scan() {
	cat <<-END
		[scan]
		rounds = 4
		hot_rounds = 3
		hash_cold_rounds = 3
		interval_ms = $1
		cpu_percent = $2
		min_memory = 32M
		rest_min_s = 1
		rest_max_s = 1
		[policy]
		min_cold_rounds = 4
		unshare_hot_rounds = 4
	END
}

start_daemon() { # [OPTION...]
	"$shared" -c "$dir/conf" "$@" >>"$dir/log" 2>&1 &
	daemon=$!
	until_true 10 'hs status >/dev/null 2>&1'
}
stop_daemon() {
	local status
	kill -TERM "$daemon"
	wait "$daemon"
	status=$?
	daemon=
	return $status
}

as=() # a program and its options that a guest is run by, as another user for instance
start_guest() { # SEED [HUGE_PAGES [RATE]]
	mkfifo "$dir/in$1"
	"${as[@]}" "$guest" --seed="$1" --huge="${2:-48}" --rate="${3:-200000}" <"$dir/in$1" >"$dir/out$1" 2>&1 &
	pids[$1]=$!
	exec {ins[$1]}>"$dir/in$1"
}
stop_guest() { # SEED
	kill -KILL "${pids[$1]}"
	wait "${pids[$1]}" 2>/dev/null
	exec {ins[$1]}>&-
	unset "pids[$1]" "ins[$1]"
	rm -f "$dir/in$1" # it may be started again
}
# The guest's memory is there, as huge pages.
guest_is_up() { # SEED [HUGE_PAGES]
	until_true 60 "[ \"\$(awk '/^AnonHugePages/ { s += \$2 } END { print (s >= ${2:-48} * 2048) }' /proc/${pids[$1]}/smaps)\" = 1 ]"
}
verify_guest() { # SEED: no byte is wrong
	local before
	before=$(grep -c '^verify' "$dir/out$1")
	echo verify >&"${ins[$1]}"
	until_true 20 "[ \$(grep -c '^verify' '$dir/out$1') -gt $before ]" && tail -1 "$dir/out$1" | grep -q '"bad_pages":0,'
}

# The closing line; false when something failed.
finish() {
	local log
	[ "$failed" = 0 ] || for log in "${logs[@]}"; do
		[ ! -e "$log" ] || { echo "-- $(basename "$log"):"; cat "$log"; }
	done
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ]
}
