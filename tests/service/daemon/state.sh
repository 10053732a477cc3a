#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is asked for and cannot be stored is not said to be done: opting in is refused, opting out is carried out and said not
# to last. Mode off: KSM is not touched.
# usage: state.sh HS_SHARED HS_SHARE
set -u
shared=$1 share=$2
. "$(dirname "$(readlink -f "$0")")/../lib.sh"

sleep 1000 &
pids[1]=$!
p=${pids[1]}
stored=$dir/state/wishes.json
conf_service off keep >"$dir/conf"
start_daemon

mkdir -p "$stored.new" # where it would be written
ok 'opting in is refused, with the reason' '! hs opt-in --pid "$p" >"$dir/out" 2>&1 && grep -q "could not be stored in $dir/state" "$dir/out"'
ok 'and nothing is changed' '[ "$(field pid-$p opted_in)" = false ]'
rmdir "$stored.new"
ok 'opting in' 'hs opt-in --pid "$p" --group web >/dev/null && [ "$(jq -c "map([.pid, .group])" "$stored")" = "[[$p,\"web\"]]" ]'

mkdir "$stored.new"
ok 'a change is refused as well' '! hs opt-in --pid "$p" --group db >/dev/null 2>&1 && [ "$(field pid-$p group)" = web ]'
ok 'opting out is carried out, and not said to last' '! hs opt-out --pid "$p" >"$dir/out" 2>&1 && grep -q "would have it opted in again" "$dir/out" && [ "$(field pid-$p opted_in)" = false ]'
rmdir "$stored.new"
ok 'opting out' 'hs opt-out --pid "$p" >/dev/null && [ "$(jq -c "map(.out)" "$stored")" = "[true]" ]'
stop_daemon
finish
