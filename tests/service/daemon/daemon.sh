#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The daemon from its start to its end, on process guests: opting in by request, observe, save, two trust groups with the
# same memory, SIGKILL and what a restart finds, opting out, off, a guest that ends, a second daemon, wrong requests, the
# configuration read again. What is shared is asked of the kernel, not of the daemon.
# usage: daemon.sh HS_SHARED HS_SHARE HS_GUEST
set -u
shared=$1 share=$2 guest=$3
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
knobs_before=$(knobs)

write_conf() { # MODE
	cat >"$dir/conf" <<END
[service]
mode = $1
socket = $sock
state_dir = $dir/state
on_exit = keep
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
END
}

for i in 1 2 3; do start_guest $i; done
write_conf observe
for i in 1 2 3; do guest_is_up $i; done

# ---- wrong use before there is a daemon
ok 'no daemon: exit status 3, and the socket is named' 'hs status 2>"$dir/err"; [ $? = 3 ] && grep -q "$sock" "$dir/err"'
sed 's/^mode = .*/mode = sometimes/' "$dir/conf" >"$dir/bad"
ok 'a bad value names file, line and what is allowed' '"$shared" --check-config -c "$dir/bad" 2>&1 | grep -q "bad:2: .*mode.*off, observe, save or auto"'

start_daemon
ok 'it starts and answers' 'hs status | grep -q "mode      observe"'
ok 'a second one refuses and names the first' '! "$shared" -c "$dir/conf" 2>"$dir/second" && grep -q "process $daemon" "$dir/second"'

# ---- observe: 1 and 2 in one group; 3, with the same contents, in another
hs opt-in --pid "${pids[1]}" --group web >/dev/null
hs opt-in --pid "${pids[2]}" --group web >/dev/null
hs opt-in --pid "${pids[3]}" --group other >/dev/null
g1=pid-${pids[1]} g2=pid-${pids[2]} g3=pid-${pids[3]}
ok 'a report before anything is turned on' 'until_true 30 "[ \$(field $g1 could_save_bytes) -gt 10000000 ]"'
ok 'observe says why' '[ "$(field $g1 reason)" = observe-only ]'
ok 'observe changes nothing' '[ "$(mergeable ${pids[1]})" = 0 ] && [ "$(ksm_pages ${pids[1]})" = 0 ] && [ "$knobs_before" = "$(knobs)" ]'

# ---- save
hs mode save >/dev/null
ok 'two of a group share' 'until_true 60 "[ \$(ksm_pages ${pids[1]}) -gt 2000 ] && [ \$(ksm_pages ${pids[2]}) -gt 2000 ]"'
ok 'the kernel agrees with the daemon' 'until_true 20 "[ \$(field $g1 shared_pages) -gt 2000 ]" && [ "$(field $g1 shared_pages)" -le "$(ksm_pages ${pids[1]})" ]'
ok 'the other group has no part in it' '[ "$(ksm_pages ${pids[3]})" -lt 100 ] && [ "$(hs stats --json | jq .totals.ledger.group_conflicts)" = 0 ]'
ok 'its memory is as it was' 'verify_guest 1 && verify_guest 2 && verify_guest 3'
ok 'ksmd is stopped between bursts' 'until_true 30 "[ \$(cat /sys/kernel/mm/ksm/run) = 0 ]"'
ok 'metrics for Prometheus' 'request http://x/metrics | grep -q "^hs_share_guest_saved_bytes{guest=\"$g1\",group=\"web\"} [1-9]"'
if command -v promtool >/dev/null; then
	ok 'promtool likes them' 'request http://x/metrics | promtool check metrics'
else
	echo "SKIPPED service_daemon promtool: it is not installed (Debian package prometheus)"
fi
ok 'OpenMetrics when asked for' 'request -H "Accept: application/openmetrics-text" http://x/metrics | tail -1 | grep -qx "# EOF"'

# ---- requests that are wrong
head -c 20000 /dev/zero >"$dir/large"
ok 'unknown path, method, guest, key, type, size' '[ "$(status_of http://x/nope) $(status_of -X DELETE http://x/v1/mode) $(status_of http://x/v1/guests/nobody) $(status_of -X PUT -H "Content-Type: application/json" -d "{\"mood\":1}" http://x/v1/mode) $(status_of -X PUT -d mode=save http://x/v1/mode) $(status_of -X PUT -H "Content-Type: application/json" --data-binary "@$dir/large" http://x/v1/mode)" = "404 405 404 400 415 413" ]'
ok 'a body in pieces without end is cut' '[ "$(head -c 200000 /dev/zero | curl -s -m 20 -o /dev/null -w "%{http_code}" --unix-socket "$sock" -X PUT -H "Transfer-Encoding: chunked" -H "Content-Type: application/json" --data-binary @- http://x/v1/mode)" != 200 ]'
ok 'half a request and garbage leave it well' '{ printf "GET / HTTP"; head -c 500 /dev/urandom; } | timeout 5 curl -s -m 2 --unix-socket "$sock" telnet://x >/dev/null 2>&1; hs status >/dev/null'

# ---- SIGKILL, and a restart that finds what is shared and what is pending
kill -KILL "$daemon"; wait "$daemon" 2>/dev/null
before=$(ksm_pages "${pids[1]}")
ok 'sharing outlives the daemon' '[ "$before" -gt 2000 ]'
start_daemon --mode=save # its file still says observe
ok 'a restart reads back what is shared' 'until_true 30 "[ \$(field $g1 shared_pages) -gt 2000 ]"'
ok 'and its guests, with their groups' '[ "$(field $g3 group)" = other ]'

# ---- a reload changes the mode when the file's own has changed, and to observe undoes nothing
effective() { request http://x/v1/mode | jq -r .effective; }
sed -i 's/^interval_ms = .*/interval_ms = 70/' "$dir/conf"
ok 'the mode of the command line outlives a reload of other settings' 'hs reload | grep -q "interval_ms: 60 -> 70" && [ "$(effective)" = save ]'
sed -i 's/^mode = .*/mode = save/' "$dir/conf"
ok 'a mode that the file has now is set' 'hs reload | grep -q "mode: observe -> save" && [ "$(effective)" = save ]'
ok 'sharing goes on' 'until_true 30 "[ \$(field $g1 shared_pages) -gt 2000 ]"'
sed -i 's/^mode = .*/mode = observe/' "$dir/conf"
ok 'back to observe' 'hs reload | grep -q "mode: save -> observe" && until_true 20 "[ \$(request http://x/v1/status | jq .ksm_taken) = false ]"'
ok 'nobody follows what is kept: no figure of it is reported, rather than the last one' '[ "$(request http://x/v1/status | jq -c "[.saving.saved_bytes, .totals.ledger.saved_bytes, .totals.ledger.shared_pages]")" = "[0,0,0]" ] && ! request http://x/metrics | grep -q "^hs_share_saved_bytes" && hs status | grep -q "known in mode save only"'
ok 'keeps what is shared' 'sleep 1; [ "$(ksm_pages ${pids[1]})" -gt 2000 ] && [ "$(ksm_pages ${pids[2]})" -gt 2000 ]'
sed -i 's/^mode = .*/mode = save/' "$dir/conf"
hs reload >/dev/null
ok 'save reads it back' 'until_true 30 "[ \$(field $g1 shared_pages) -gt 2000 ]"'

# ---- opting out undoes it
hs opt-out --pid "${pids[1]}" >/dev/null 2>&1
ok 'opting out undoes the sharing' 'until_true 30 "[ \$(ksm_pages ${pids[1]}) = 0 ] && [ \$(mergeable ${pids[1]}) = 0 ]"'
ok 'its memory is as it was' 'verify_guest 1'

# ---- a reload that is wrong changes nothing, one that is right says what
echo 'nonsense = 1' >>"$dir/conf"
ok 'a wrong configuration is refused with its line' '! hs reload 2>"$dir/err" >/dev/null && grep -q "no key nonsense" "$dir/err"'
sed -i '/nonsense/d; s/^interval_ms = .*/interval_ms = 80/' "$dir/conf"
ok 'a changed one is reported' 'hs reload | grep -q "interval_ms: 70 -> 80"'
ok 'and sharing goes on' 'until_true 30 "[ \$(field $g2 state) = sharing ]"'

# ---- a guest ends; off undoes; the end
stop_guest 3
ok 'a guest that ends is forgotten' 'until_true 20 "[ \$(status_of http://x/v1/guests/$g3) = 404 ]"'
ok 'off undoes the rest' 'hs mode off >/dev/null && [ "$(ksm_pages ${pids[2]})" = 0 ] && [ "$(mergeable ${pids[2]})" = 0 ]'
ok 'and gives the knobs back' '[ "$knobs_before" = "$(knobs)" ]'
commands_answer() {
	local c
	for c in status guests stats report history diagnose mode; do
		hs $c >/dev/null && hs $c --json | jq -e . >/dev/null || return
	done
	hs watch --count 1 | grep -q GUEST
}
ok 'all commands answer' commands_answer

# ---- on a terminal of 80 columns
tty() { # COMMAND: what it writes to a terminal; no keys
	timeout 30 script -qefc "stty cols 80 rows 24; $1" /dev/null </dev/null | tr -d '\r'
}
esc=$(printf '\033')
plain() { sed "s/$esc\[[0-9;?]*[a-zA-Z]//g"; }
ok 'guests fits 80 columns' 'tty "$share guests --socket $sock" | plain | awk "length > 80 { exit 1 } /^pid-/ { n++ } END { exit n < 2 }"'
ok 'colour on a terminal, none elsewhere, none with NO_COLOR' 'tty "$share diagnose --socket $sock" | grep -q "$esc\[3" && ! hs diagnose | grep -q "$esc" && ! NO_COLOR=1 tty "$share diagnose --socket $sock" | grep -q "$esc"'
ok 'watch has a screen of its own, and gives it back' 'tty "$share watch --count 2 --interval 1 --socket $sock" >"$dir/screen"; grep -q "$esc\[?1049h" "$dir/screen" && tail -1 "$dir/screen" | grep -q "$esc\[?1049l" && [ "$(plain <"$dir/screen" | grep -c "^GUEST")" -ge 2 ]'
mkfifo "$dir/keys"
q_ends_it() { # the keyboard stays open
	local keys watch
	timeout 30 script -qefc "$share watch --interval 60 --socket $sock" /dev/null <"$dir/keys" >"$dir/screen" &
	watch=$!
	exec {keys}>"$dir/keys"
	until_true 20 'grep -q "GUEST" "$dir/screen"'
	printf q >&"$keys"
	wait "$watch"
	watch=$?
	exec {keys}>&-
	return $watch
}
ok 'q ends it' q_ends_it
ok 'what goes wrong is said after the screen is given back' 'tty "$share watch --socket $dir/none" | tail -1 | plain | grep -q "$dir/none"'

ok 'SIGTERM ends it in order' 'stop_daemon && [ ! -e "$sock" ]'
ok 'no byte of a guest is wrong' 'verify_guest 2'
finish
