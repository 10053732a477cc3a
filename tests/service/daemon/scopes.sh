#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# With whom guests share, what of it outlives a mode and a restart, and how much it may be, on process guests that have zeros,
# duplicates within them, and pages in common. What is shared is asked of the kernel.
# usage: scopes.sh HS_SHARED HS_SHARE HS_GUEST
set -u
shared=$1 share=$2 guest=$3
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
knobs_before=$(knobs)
printf '#!/bin/sh\nexec %q --cold-zero=20 --cold-dup=20 --cold-identical=50 "$@"\n' "$guest" >"$dir/guest"
chmod +x "$dir/guest"
guest=$dir/guest

configure() { # MODE SHARE [LINE]
	{
		conf_service "$1" keep | sed "s/^mode = .*/&\n${3-}/"
		conf_quick_scan 30 80
		printf '[merge]\nksmd_cpu_percent = 0\nshare = %s\n' "$2"
	} >"$dir/conf"
}
ksm() { ksm_pages "${pids[$1]}"; }
huge_kib() { awk '/^AnonHugePages/ { s += $2 } END { print s }' "/proc/${pids[$1]}/smaps"; }
rss_kib() { awk '/^Rss/ { print $2 }' "/proc/${pids[$1]}/smaps_rollup"; }
status() { request http://x/v1/status | jq -c "$1"; }
metric() { request http://x/metrics | awk -v name="$1" '$1 == name { print $2 }'; }
newer_than_6_12() { [ "$(printf '6.12\n%s\n' "$(uname -r)" | sort -V | head -1)" = 6.12 ]; }

start_guest 1 32
start_guest 2 32
guest_is_up 1 32
guest_is_up 2 32
g1=pid-${pids[1]} g2=pid-${pids[2]}
rss_before=$(rss_kib 1)
huge_before=$(huge_kib 1)

# ---- zero: no KSM, no mark
configure save zero
start_daemon
hs opt-in --pid "${pids[1]}" >/dev/null
hs opt-in --pid "${pids[2]}" --share guest >/dev/null
ok 'the stricter of the two scopes holds' '[ "$(field $g1 share),$(field $g2 share)" = zero,zero ] && hs status | grep -q "^mode .*zero pages alone"'
if newer_than_6_12; then
	ok 'zero pages are freed' 'until_true 60 "[ \$(field $g1 zero_pages) -gt 1000 ] && [ \$(field $g2 zero_pages) -gt 1000 ]"'
	ok 'the kernel agrees' '[ $((rss_before - $(rss_kib 1))) -ge $(($(field $g1 zero_pages) * 4 - 400)) ]'
else
	ok 'an older kernel cannot, and it says so' 'until_true 60 "[ \$(field $g1 reason) = no-feature ]"'
fi
ok 'nothing is shared, nothing is marked, KSM is as it was' '[ "$(ksm 1),$(ksm 2),$(mergeable "${pids[1]}")" = 0,0,0 ] && [ "$knobs_before" = "$(knobs)" ] && [ "$(status .totals.pages_compared)" = 0 ]'
ok 'no byte is wrong' 'verify_guest 1 && verify_guest 2'
ok 'mode off makes the huge pages whole again' 'hs mode off >/dev/null && [ "$(huge_kib 1)" -ge "$huge_before" ] && [ -z "$(ls "$dir/state" | grep ^zeros)" ]'

# ---- guest: what is in common is left, what a guest has several times is shared
configure save guest
hs reload >/dev/null
hs mode save >/dev/null
ok 'each shares within itself' 'until_true 60 "[ \$(ksm 1) -gt 1000 ] && [ \$(ksm 2) -gt 1000 ]"'
ok 'and no frame was ever in common' '[ "$(status .totals.ledger.group_conflicts)" = 0 ]'
within=$(ksm 1)

# ---- group, and one guest that is stricter
configure save group
hs reload >/dev/null
hs opt-in --pid "${pids[2]}" --share group >/dev/null
ok 'the group shares more' 'until_true 60 "[ \$(ksm 1) -gt $((within + 1000)) ] && [ \$(ksm 2) -gt $((within + 1000)) ]"'
ok 'what that overcommits is reported' '[ "$(status .overcommit.bytes)" -gt 4000000 ] && [ "$(status .overcommit.limit_reached)" = false ] && [ "$(metric hs_share_max_overcommit_bytes)" -gt 0 ] && hs status | grep -q "^overcommit .* at most"'
hs opt-in --pid "${pids[2]}" --share zero >/dev/null
ok 'one that is stricter is unshared' 'until_true 60 "[ \$(ksm 2) = 0 ] && [ \$(mergeable ${pids[2]}) = 0 ]"'
hs opt-in --pid "${pids[2]}" --share group >/dev/null
ok 'and shares again' 'until_true 60 "[ \$(ksm 2) -gt $((within + 1000)) ]"'

# ---- what stays shared outside of mode save
ok 'in mode save it is not kept, but shared' '[ "$(status .kept)" = null ]'
ok 'observe keeps it, and says so' 'hs mode observe >/dev/null && until_true 20 "[ \"\$(status .kept.processes)\" = 2 ]" && [ "$(status .kept.bytes)" -gt 8000000 ] && hs status | grep -q "^kept " && [ "$(metric hs_share_kept_bytes)" -gt 8000000 ]'
kill -KILL "$daemon"; wait "$daemon" 2>/dev/null
start_daemon
ok 'a crash changes nothing' '[ "$(status .mode)" = "\"observe\"" ] && until_true 30 "[ \"\$(status .kept.processes)\" = 2 ]" && [ "$(ksm 1)" -gt 1000 ]'
stop_daemon
configure observe group 'remember_mode = no\non_off = keep'
start_daemon
ok 'a start in the configured mode keeps it where that is configured' 'until_true 30 "[ \"\$(status .kept.processes)\" = 2 ] && [ \"\$(field $g1 state)\" = observed ]" && [ "$(ksm 1)" -gt 1000 ]'
stop_daemon
configure observe group 'remember_mode = no'
start_daemon
ok 'and otherwise undoes it' 'until_true 30 "[ \$(ksm 1) = 0 ] && [ \$(ksm 2) = 0 ] && [ \"\$(status .kept.bytes)\" = 0 ]"'

# ---- how much it may be
configure save group 'remember_mode = no'
echo 'max_overcommit = 8M' >>"$dir/conf"
hs reload >/dev/null
ok 'nothing further is shared at the limit' 'until_true 60 "[ \"\$(status .overcommit.limit_reached)\" = true ] && [ \$(status .overcommit.bytes) -gt 1000000 ]" && [ "$(status .overcommit.bytes)" -le 8388608 ]'
ok 'which is the reason that guests have' '[ "$(field $g1 reason)" = overcommit-limit ] || [ "$(field $g2 reason)" = overcommit-limit ]'

ok 'off undoes the rest' 'hs mode off >/dev/null && [ "$(ksm 1),$(ksm 2)" = 0,0 ] && [ "$knobs_before" = "$(knobs)" ]'
stop_daemon

# ---- by hand
run() { timeout 120 "$share" run -q --pid "${pids[1]}" --pid "${pids[2]}" --interval 100 --rounds 4 --rest 0 --json "$@" >"$dir/run"; }
ran() { jq -e "$1" "$dir/run" >/dev/null; }
ok 'a dry run in scope zero compares nothing' 'run --cycles 1 --share zero --dry-run && ran ".totals.pages_compared == 0 and .could_save_bytes == ([.guests[].saving.sure_zero_bytes] | add) and .could_save_bytes > 8000000"'
ok 'within each alone' 'run --cycles 2 --share guest && ran ".shared_pages > 1000 and ([.guests[].saving.sure_across_bytes] | add) == 0"'
if newer_than_6_12; then
	ok 'zero pages alone' 'run --cycles 2 --share zero --keep-shared && ran ".zero_pages > 1000 and .shared_pages == 0" && [ "$(huge_kib 1)" -lt "$huge_before" ] && [ "$(ksm 1),$(mergeable "${pids[1]}")" = 0,0 ]'
	ok 'which unshare undoes' '"$share" unshare --pid "${pids[1]}" --pid "${pids[2]}" >"$dir/unshared" && [ "$(huge_kib 1)" -ge "$huge_before" ] && [ ! -e "/run/hs-share/zeros-${pids[1]}" ]'
fi
ok 'KSM is as it was' '[ "$knobs_before" = "$(knobs)" ]'
ok 'no byte is wrong' 'verify_guest 1 && verify_guest 2'
finish
