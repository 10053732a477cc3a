#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Mode auto on a real host: marks that the memory crosses when a process takes a tenth of it, and back when it ends; marks
# that a reload moves; the dwell. Two guests of one group share while it saves, and not before.
# usage: pressure.sh HS_SHARED HS_SHARE HS_GUEST
set -u
shared=$1 share=$2 guest=$3
. "$(dirname "$(readlink -f "$0")")/../lib.sh"

available() { awk '/^MemTotal/ { t = $2 } /^MemAvailable/ { printf "%d\n", 100 * $2 / t }' /proc/meminfo; }
total_mib() { awk '/^MemTotal/ { printf "%d\n", $2 / 1024 }' /proc/meminfo; }
effective() { request http://x/v1/mode | jq -r .effective; }
reason() { request http://x/v1/mode | jq -r .reason; }
metric() { request http://x/metrics | sed -n "s/^$1 //p"; }

write_conf() { # ON OFF DWELL AFTER
	cat >"$dir/conf" <<-END
		[service]
		mode = auto
		socket = $sock
		state_dir = $dir/state
		history_resolution_s = 1
		[libvirt]
		uri =
		[scan]
		interval_ms = 60
		cpu_percent = 50
		min_memory = 32M
		rest_min_s = 1
		rest_max_s = 2
		[merge]
		ksmd_cpu_percent = 0
		[auto]
		on_available_percent = $1
		off_available_percent = $2
		on_psi = 100
		off_psi = 99
		dwell_s = $3
		poll_s = 1
		after = $4
	END
}

if [ "$(available)" -lt 25 ]; then
	echo "SKIPPED service_auto: less than a quarter of this host's memory is available"
	exit 77
fi

start_guest 1
start_guest 2
guest_is_up 1
guest_is_up 2
g1=pid-${pids[1]} g2=pid-${pids[2]}

# ---- a process takes memory: a tenth of it, with the mark in the middle
now=$(available)
write_conf $((now - 5)) $((now - 4)) 0 undo
ok 'it starts' start_daemon
hs opt-in --pid "${pids[1]}" --group web >/dev/null
hs opt-in --pid "${pids[2]}" --group web >/dev/null
ok 'with enough memory it observes' 'until_true 30 "[ \"\$(field $g1 state)\" = observed ]" && [ "$(effective)" = observe ]'
ok 'and says that it has seen no pressure' 'reason | grep -q "no pressure"'
ok 'the figures are the host'"'"'s' '[ "$(request http://x/v1/status | jq ".memory.total_bytes / 1048576 | floor")" = "$(total_mib)" ]'
start_guest 9 $(($(total_mib) / 10 / 2))
ok 'a process takes a tenth of the memory' "guest_is_up 9 $(($(total_mib) / 20))"
ok 'then it saves' 'until_true 20 "[ \"\$(effective)\" = save ]"'
ok 'and says why, with the figures' "reason | grep -qx 'auto: [0-9.]* % of the memory is available, below $((now - 5)) %'"
ok 'status says so too' '[ "$(request http://x/v1/status | jq -r ".mode + \" \" + .effective")" = "auto save" ] && request http://x/v1/status | jq -r .mode_reason | grep -q "^auto: .*below"'
ok 'metrics as well' '[ "$(metric "hs_share_mode{hs_share_mode=\"save\"}") $(metric hs_share_mode_auto) $(metric hs_share_mode_changes_total)" = "1 1 2" ]'
ok 'the guests share' 'until_true 60 "[ \$(ksm_pages ${pids[1]}) -gt 2000 ] && [ \$(ksm_pages ${pids[2]}) -gt 2000 ]"'
ok 'their memory is as it was' 'verify_guest 1 && verify_guest 2'
stop_guest 9
ok 'when the process has ended it observes again' 'until_true 30 "[ \"\$(effective)\" = observe ]"'
ok 'and says why' "reason | grep -q 'is available, above $((now - 4)) %'"
ok 'what was shared is undone, as configured' 'until_true 60 "[ \$(ksm_pages ${pids[1]}) = 0 ] && [ \$(ksm_pages ${pids[2]}) = 0 ]"'
ok 'the history has both' 'until_true 10 "[ \"\$(request http://x/v1/history | jq -r \"[.points[].mode] | unique | join(\\\" \\\")\")\" = \"observe save\" ]"'

# ---- a reload moves the marks
write_conf 99 100 0 keep
ok 'marks above what there is' 'hs reload | grep -q "on_available_percent: .* -> 99"'
ok 'it saves, and says why' 'until_true 20 "[ \"\$(effective)\" = save ]" && reason | grep -q "below 99 %"'
write_conf 1 2 3600 keep
hs reload >/dev/null
nap 3
ok 'within the dwell it stays as it is' '[ "$(effective)" = save ]'
write_conf 1 2 0 keep
hs reload >/dev/null
ok 'without a dwell it goes back' 'until_true 20 "[ \"\$(effective)\" = observe ]" && reason | grep -q "above 2 %"'

# ---- out of auto, and back
hs mode save >/dev/null
ok 'a mode that was asked for holds' 'nap 3; [ "$(effective) $(reason)" = "save mode save was asked for" ]'
hs mode auto >/dev/null
ok 'auto takes up what is done now, and follows the marks' 'until_true 20 "[ \"\$(effective)\" = observe ]"'
ok 'SIGTERM ends it in order' stop_daemon
finish
