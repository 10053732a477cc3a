#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guests that the scan loses while they live: one that is stopped just when a reload makes a new pipeline, and one whose
# process becomes another program. They are taken in again; what is shared of one that opts out meanwhile is undone.
# usage: lost.sh HS_SHARED HS_SHARE HS_GUEST
set -u
shared=$1 share=$2 guest=$3
. "$(dirname "$(readlink -f "$0")")/../lib.sh"

write_conf() { # INTERVAL_MS
	conf_service save undo >"$dir/conf"
	cat >>"$dir/conf" <<END
[auto]
poll_s = 1
[scan]
interval_ms = $1
cpu_percent = 50
min_memory = 32M
rest_min_s = 1
rest_max_s = 2
[merge]
ksmd_cpu_percent = 0
END
}
shares() { until_true 60 "[ \$(field pid-${pids[$1]} shared_pages) -gt 2000 ]"; }
# A reload while guest 1 is stopped.
reload_without() { # INTERVAL_MS
	kill -STOP "${pids[1]}"
	write_conf "$1"
	hs reload >/dev/null 2>&1
	until_true 30 'grep -q "guest pid-${pids[1]} could not be taken over" "$dir/log"'
}

for i in 1 2; do start_guest $i; done
for i in 1 2; do guest_is_up $i; done
write_conf 60
start_daemon
for i in 1 2; do hs opt-in --pid "${pids[$i]}" >/dev/null; done
ok 'they share' 'shares 1 && shares 2'

ok 'a stopped guest is not taken over' 'reload_without 70'
kill -CONT "${pids[1]}"
ok 'it is taken in when it goes on' 'shares 1'
ok 'nothing is lost by that' '[ "$(ksm_pages "${pids[1]}")" -gt 2000 ] && verify_guest 1 && verify_guest 2'

: >"$dir/log"
ok 'a stopped guest is not taken over again' 'reload_without 80'
ok 'it is refused, with the reason' 'until_true 20 "[ \$(field pid-${pids[1]} state) = refused ]"'
hs opt-out --pid "${pids[1]}" >/dev/null 2>&1 &
asked=$!
sleep 1
ok 'it is shared still, and the command waits' '[ "$(mergeable "${pids[1]}")" -gt 0 ] && ! has_ended "$asked"'
kill -CONT "${pids[1]}"
ok 'opted out, it is undone when it goes on' 'until_true 40 "[ \$(mergeable ${pids[1]}) = 0 ]" && verify_guest 1'
wait "$asked"

# ---- another program under the same number
if command -v perl >/dev/null; then
	mkfifo "$dir/in3"
	perl -e '$SIG{USR1} = sub { $go = 1 }; $x = "\1" x (96 << 20); until ($go) { sleep 1 } exec @ARGV' \
		"$guest" --seed=3 --huge=48 --rate=200000 <"$dir/in3" >"$dir/out3" 2>&1 &
	pids[3]=$!
	exec {ins[3]}>"$dir/in3"
	until_true 20 "grep -q '^VmRSS:.*[0-9]\{6\} kB' /proc/${pids[3]}/status"
	hs opt-in --pid "${pids[3]}" >/dev/null
	ok 'a program is a guest' "until_true 30 '[ \"\$(field pid-${pids[3]} memory_bytes)\" -gt 60000000 ] 2>/dev/null'"
	kill -USR1 "${pids[3]}"
	# By the page tables: it may be shared before all of its huge pages are there, and the service's figures may still be Perl's.
	ok 'the next one is, too' 'until_true 60 "[ /proc/${pids[3]}/exe -ef \"\$guest\" ] && [ \$(ksm_pages ${pids[3]}) -gt 2000 ]" && verify_guest 3'
else
	echo "SKIPPED service_lost another program: no perl"
fi
ok 'the end undoes all' 'stop_daemon && [ "$(mergeable "${pids[2]}")" = 0 ]'
finish
