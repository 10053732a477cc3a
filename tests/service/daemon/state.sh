#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What was asked for and how long it lasts: of a process, over a restart, and not over a reboot, where the number is somebody
# else's; the mode and guests that are to stay out by name, over a reboot. What cannot be stored is not said to be done: opting
# in is refused, opting out is carried out and said not to last. Mode off: KSM is not touched.
# usage: state.sh HS_SHARED HS_SHARE
set -u
shared=$1 share=$2
keeper_option=--read-only
. "$(dirname "$(readlink -f "$0")")/../lib.sh"

sleep 1000 &
pids[1]=$!
p=${pids[1]}
stored=$dir/state/opt-ins/opt-in-$p
lasting=$dir/lasting
conf_service off keep >"$dir/conf"
start_daemon

mkdir -p "$stored.new" # where it would be written
ok 'opting in is refused, with the reason' '! hs opt-in --pid "$p" >"$dir/out" 2>&1 && grep -q "could not be stored in $dir/state" "$dir/out"'
ok 'and nothing is changed' '[ "$(field pid-$p opted_in)" = false ]'
rmdir "$stored.new"
ok 'opting in' 'hs opt-in --pid "$p" --group web >/dev/null && [ "$(jq -c "[.pid, .group]" "$stored")" = "[$p,\"web\"]" ]'

mkdir "$stored.new"
ok 'a change is refused as well' '! hs opt-in --pid "$p" --group db >/dev/null 2>&1 && [ "$(field pid-$p group)" = web ]'
ok 'opting out is carried out, and not said to last' '! hs opt-out --pid "$p" >"$dir/out" 2>&1 && grep -q "would have it opted in again" "$dir/out" && [ "$(field pid-$p opted_in)" = false ]'
rmdir "$stored.new"
ok 'opting out' 'hs opt-out --pid "$p" >/dev/null && [ "$(jq -c .out "$stored")" = true ]'

# ---- a restart, and another boot
hs opt-in --pid "$p" --group web --max-shared 2M >/dev/null
stop_daemon
start_daemon
ok 'a restart knows it' '[ "$(field pid-$p group)" = web ] && [ "$(field pid-$p max_shared_bytes)" = 2097152 ] && [ "$(field pid-$p opted_in)" = true ]'
stop_daemon
jq -c '.boot = "another"' "$stored" >"$dir/record" && mv "$dir/record" "$stored"
start_daemon
ok 'another boot does not, and the record goes' '[ "$(hs guests --json | jq ".guests | length")" = 0 ] && [ ! -e "$stored" ]'
stop_daemon
echo '{"pid": ' >"$stored"
start_daemon
ok 'of whom a record is torn, stays out, and that is logged' 'grep -q "asked for of process $p cannot be read" "$dir/log" && [ "$(field pid-$p opted_in)" = false ] && [ -e "$stored" ]'
stop_daemon
rm "$stored"

# ---- as an earlier version had it
start=$(sed 's/.*) //' /proc/$p/stat | cut -d' ' -f20)
echo "[{\"pid\": $p, \"started\": $start, \"group\": \"old\", \"max_shared_bytes\": 0}, {\"guest\": \"vm7\", \"out\": true}]" >"$dir/state/wishes.json"
start_daemon
ok 'what an earlier version has left is taken over' '[ "$(field pid-$p group)" = old ] && [ "$(jq -r .group "$stored")" = old ] && [ ! -e "$dir/state/wishes.json" ]'
ok 'who stays out among it' 'until_true 5 "[ \"\$(jq -c . "$dir/state/opt-outs.json")\" = \"[\\\"vm7\\\"]\" ]"'
stop_daemon

# ---- over a reboot: the state folder is empty then
( exec -a hs-state-web1 sleep 1000 ) &
pids[2]=$!
{ conf_service off keep | sed "s|^state_dir = .*|&\npersistent_dir = $lasting|"; printf '[discovery]\ninterval_s = 1\n[discover named]\nexecutable = %s\ncommand_line = hs-state-([a-z0-9]+)\nmin_memory = 4K\nmount_namespace = any\nname = {command_line.1}\ngroup = named\n' "$(readlink -f "$(command -v sleep)")"; } >"$dir/conf"
start_daemon
ok 'a rule finds a guest by name' 'until_true 20 "[ \"\$(field web1 opted_in)\" = true ]"'
hs opt-in --pid "$p" >/dev/null
ok 'it is opted out, and the mode is set' 'hs opt-out web1 >/dev/null && hs mode observe >/dev/null'
ok 'both are stored where they last' '[ "$(jq -c . "$lasting/opt-outs.json")" = "[\"vm7\",\"web1\"]" ] && [ ! -e "$dir/state/opt-outs.json" ] && [ "$(jq -r .mode "$lasting/mode.json")" = observe ] && [ "$(stat -c %a "$lasting")" = 700 ]'
ok 'a second service may not have that folder' 'sed "s|$dir/state|$dir/state2|; s|^socket = .*|socket = $dir/sock2|" "$dir/conf" >"$dir/conf2"; ! timeout 20 "$shared" -c "$dir/conf2" 2>"$dir/out" && grep -q "runs already.*persistent_dir" "$dir/out"'
kill -KILL "$daemon"; wait "$daemon" 2>/dev/null; daemon=
rm -rf "$dir/state"
start_daemon
ok 'after it the mode is still set' '[ "$(request http://x/v1/mode | jq -r .mode)" = observe ]'
ok 'the guest stays out' 'until_true 20 "[ \"\$(field web1 source)\" = process ]" && [ "$(field web1 opted_in)" = false ]'
ok 'and a process is opted in no more' '[ "$(status_of http://x/v1/guests/pid-$p)" = 404 ]'
ok 'until it is opted in again' 'hs opt-in web1 >/dev/null && [ "$(jq -c . "$lasting/opt-outs.json")" = "[\"vm7\"]" ]'
stop_daemon

# ---- a disk that takes nothing
rm -rf "$lasting" && : >"$lasting"
start_daemon
ok 'without the folder it starts, and says what will not last' 'grep -q "will not last over a reboot" "$dir/log" && [ "$(request http://x/v1/mode | jq -r .mode)" = off ]'
ok 'and so do requests' '! hs mode observe >"$dir/out" 2>&1 && grep -q "mode observe holds now, but could not be stored in $lasting/mode.json" "$dir/out" && ! hs opt-out web1 >"$dir/out" 2>&1 && grep -q "could not be stored in $lasting/opt-outs.json" "$dir/out" && [ "$(field web1 opted_in)" = false ]'
stop_daemon
finish
