#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In which mode a start begins: what was asked for before lasts over a crash and a restart, until the configuration names
# another mode than it did then. No guests: KSM is not touched.
# usage: remember.sh HS_SHARED HS_SHARE
set -u
shared=$1 share=$2
keeper_option=--read-only
. "$(dirname "$(readlink -f "$0")")/../lib.sh"

stored=$dir/state/mode.json
effective() { request http://x/v1/mode | jq -r '.mode + "," + .effective'; }
crash() { kill -KILL "$daemon"; wait "$daemon" 2>/dev/null; daemon=; }
configure() { # MODE [LINE]
	{ conf_service "$1" keep | sed "s/^mode = .*/&\n${2-}/"; } >"$dir/conf"
}

configure observe
start_daemon
ok 'it begins as configured, and stores nothing' '[ "$(effective)" = observe,observe ] && [ ! -e "$stored" ]'
ok 'a request is stored with what was configured then' 'hs mode off --keep >/dev/null && [ "$(jq -c "[.mode, .sharing, .configured]" "$stored")" = "[\"off\",\"keep\",\"observe\"]" ]'
crash
start_daemon
ok 'a crash keeps it' '[ "$(effective)" = off,off ] && [ -e "$stored" ]'
stop_daemon
start_daemon
ok 'a restart keeps it' '[ "$(effective)" = off,off ]'
stop_daemon
start_daemon --mode=auto
ok 'the command line counts more' '[ "$(effective)" = auto,observe ] || [ "$(effective)" = auto,save ]'
stop_daemon
start_daemon
ok 'for that one start' '[ "$(effective)" = off,off ]'
stop_daemon
configure auto
start_daemon
ok 'a configuration that names another mode than it did counts' 'effective | grep -q "^auto," && grep -q "observe then, auto now" "$dir/log"'
stop_daemon
configure observe
start_daemon
ok 'and put back, it is not what was asked for before' '[ "$(effective)" = observe,observe ] && [ ! -e "$stored" ]'

hs mode off >/dev/null
configure auto
ok 'so does one that is read again' 'hs reload | grep -q "mode: observe -> auto" && effective | grep -q "^auto," && [ ! -e "$stored" ]'
mkdir "$stored.new" # where it would be written
ok 'what cannot be stored holds, and is not said to last' '! hs mode observe >"$dir/out" 2>&1 && grep -q "mode observe holds now, but could not be stored in $dir/state" "$dir/out" && [ "$(effective)" = observe,observe ]'
rmdir "$stored.new"
hs mode off >/dev/null
crash
for bad in '' '{' '[]' '{"mode":"off","sharing":"keep"}' '{"mode":"sometimes","sharing":"keep","configured":"auto"}' '{"mode":"off","sharing":"lost","configured":"auto"}'; do
	printf '%s' "$bad" >"$stored"
	start_daemon
	ok "a damaged file is logged, and counts for nothing: $bad" 'effective | grep -q "^auto," && grep -q "mode.json cannot be read" "$dir/log"'
	crash
	: >"$dir/log"
done

configure observe 'remember_mode = no'
start_daemon
hs mode off >/dev/null
ok 'where the configuration forbids it, nothing is stored' '[ "$(effective)" = off,off ] && [ ! -e "$stored" ]'
crash
start_daemon
ok 'and a start begins as configured' '[ "$(effective)" = observe,observe ]'
stop_daemon
finish
