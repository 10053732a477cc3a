#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One process is one guest: what was opted in by process id before libvirt reported the domain stays opted in, and is the
# domain from then on. libvirt is its test driver, with a pid file of ours. Mode off: KSM is not touched.
# usage: identity.sh HS_SHARED HS_SHARE
set -u
shared=$1 share=$2
keeper_option=--read-only
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
uuid=6695eb01-f6a4-8304-79aa-97f2502e1930 odd=11111111-2222-3333-4444-555555555555

( exec -a "$uuid" sleep 1000 ) &
pids[1]=$!
p=${pids[1]}
mkdir "$dir/pids"
echo "$p" >"$dir/pids/vm1.pid"
domain() { echo "<domain type='test'><name>$1</name><uuid>$2</uuid><memory>8192</memory><os><type>hvm</type></os></domain>"; }
{ echo '<node>'; domain vm1 $uuid; domain pid-1 $odd; echo '</node>'; } >"$dir/node.xml"
conf_service off keep >"$dir/conf"

all() { hs guests --json | jq -c "[.guests[] | select(.pid == $p) | [.id, .source, .opted_in, .group, .max_shared_bytes]]"; }

start_daemon
hs opt-in --pid "$p" --group web >/dev/null
ok 'a process' '[ "$(all)" = "[[\"pid-$p\",\"process\",true,\"web\",0]]" ]'
stop_daemon

sed -i "s|^uri =.*|uri = test://$dir/node.xml\npid_dir = $dir/pids|" "$dir/conf"
start_daemon
ok 'is the domain, once libvirt reports it, and still opted in' 'until_true 20 "[ \"\$(all)\" = \"[[\\\"vm1\\\",\\\"libvirt\\\",true,\\\"web\\\",0]]\" ]"'
ok 'and can be named either way' '[ "$(field vm1 pid) $(field pid-$p pid) $(field $uuid pid)" = "$p $p $p" ]'
ok 'a restart still knows it' 'stop_daemon; start_daemon; until_true 20 "[ \"\$(field vm1 group)\" = web ]" && [ "$(field vm1 opted_in)" = true ]'
hs opt-in vm1 --max-shared 1M >/dev/null
ok 'a request changes what it names, and libvirt keeps it' '[ "$(all)" = "[[\"vm1\",\"libvirt\",true,\"web\",1048576]]" ] && [ -z "$(find "$dir/state/opt-ins" -type f)" ]'
hs opt-in --pid "$p" --group db >/dev/null
ok 'by its process as well' '[ "$(all)" = "[[\"vm1\",\"libvirt\",true,\"db\",1048576]]" ]'
hs opt-out --pid "$p" --no-wait >/dev/null
ok 'opting out' '[ "$(field vm1 opted_in)" = false ]'

# ---- a domain with the name of a process
ok 'is called by its UUID' '[ "$(field $odd id)" = $odd ] && [ "$(status_of http://x/v1/guests/pid-1)" = 404 ]'
ok 'is opted in and out by it' 'hs opt-in $odd >/dev/null && [ "$(field $odd opted_in)" = true ] && hs opt-out $odd --no-wait >/dev/null && [ "$(field $odd opted_in)" = false ]'

# ---- a folder of pid files that is another user's, as a session's is: who may put anything there
no_process() { until_true 20 "[ \"\$(field vm1 reason)\" = no-process ]" && field vm1 reason_text | grep -q "$1"; }
stop_daemon
ln -s "$dir/mine.pid" "$dir/pids/linked"
mv "$dir/pids/vm1.pid" "$dir/mine.pid"
mv "$dir/pids/linked" "$dir/pids/vm1.pid"
start_daemon
ok "root's link is followed" 'until_true 20 "[ \"\$(field vm1 pid)\" = $p ]"'
stop_daemon
chown nobody "$dir/pids"
start_daemon
ok 'names no process of somebody else' "no_process \"is user \$(id -u nobody)'s, and process $p is not\""
stop_daemon
rm "$dir/pids/vm1.pid"
mkfifo "$dir/pids/vm1.pid"
start_daemon
ok 'and cannot keep anybody waiting' 'no_process "vm1.pid: not a regular file"'
stop_daemon

# ---- two connections that have a domain by one UUID: it is that of the one that is named first, whoever is quicker
rm "$dir/pids/vm1.pid"
chown root "$dir/pids"
echo "$p" >"$dir/pids/vm1.pid"
{ echo '<node>'; domain squatter $uuid; echo '</node>'; } >"$dir/later.xml"
sed -i "s|^uri =.*|uri = test://$dir/node.xml test://$dir/later.xml|" "$dir/conf"
start_daemon
ok 'it is the first one' 'until_true 20 "[ \"\$(hs status --json | jq .libvirt.connected)\" = true ]" && [ "$(field $uuid id),$(field vm1 pid)" = "vm1,$p" ]'
hs reload >/dev/null
ok 'and stays so' '[ "$(field $uuid id)" = vm1 ]'

# ---- a process that was opted in as one, and ends
kill -KILL "$p"; wait "$p" 2>/dev/null
ok 'its end is noticed' 'until_true 20 "[ \"\$(field vm1 pid)\" = 0 ]"'
stop_daemon
finish
