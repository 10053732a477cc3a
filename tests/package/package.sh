#!/bin/bash
# The Debian package in its life: installed, run, upgraded, removed while it shares, removed after a crash, purged. Runs in a
# box (box.sh), as process 1. usage: package.sh PACKAGE HS_GUEST
set -u
package=$1 guest=$2
conf=/etc/hs-share/hs-share.conf
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

. ./lib.sh
logs=(/box/dpkg.log /box/log)
dpkg_() { dpkg "$@" >>/box/dpkg.log 2>&1 </dev/null || { tail -20 /box/dpkg.log; return 1; }; }
start() {
	/usr/sbin/hs-shared >>/box/log 2>&1 </dev/null &
	daemon=$!
	until_true 20 'hs-share status >/dev/null 2>&1'
}
ended() { ! kill -0 "$daemon" 2>/dev/null; }
share_two() {
	for i in 1 2; do hs-share opt-in --pid "${pids[$i]}" --group web >/dev/null; done
	hs-share mode save >/dev/null
	until_true 90 '[ "$(ksm_pages "${pids[1]}")" -gt 2000 ] && [ "$(ksm_pages "${pids[2]}")" -gt 2000 ]'
}

knobs_before=$(knobs)

# ---- installed
ok 'it can be installed' 'dpkg_ -i "$package"'
ok 'no file of it has changed since' 'dpkg_ --verify hs-share'
ok 'the unit is enabled' '[ -e /etc/systemd/system/multi-user.target.wants/hs-shared.service ]'
ok 'the timer for node_exporter is there, and off' '[ -e /usr/lib/systemd/system/hs-share-textfile.timer ] && [ -z "$(find /etc/systemd/system -name "*hs-share-textfile*")" ]'
ok 'the configuration that is installed is the default' '[ "$(hs-shared --check-config)" = "$(hs-shared -c /box/empty.conf --check-config)" ]'
unit_names_what_is_there() {
	local p
	for p in $(sed -n 's/^Exec[A-Za-z]*=\([^ ]*\).*/\1/p' /usr/lib/systemd/system/hs-shared.service /usr/lib/systemd/system/hs-share-textfile.service); do
		[ -x "$p" ] || return
	done
}
ok 'everything that the unit names is there' unit_names_what_is_there
manual_pages_are_there() {
	local f
	for f in man1/hs-share.1 man1/hs-lab.1 man8/hs-shared.8 man5/hs-share.conf.5; do
		gzip -t /usr/share/man/$f.gz || return
	done
}
ok 'manual pages and completion are there' 'manual_pages_are_there && bash -n /usr/share/bash-completion/completions/hs-share'
if command -v systemd-analyze >/dev/null; then
	found=$(systemd-analyze verify --man=no hs-shared.service hs-share-textfile.timer 2>&1)
	ok 'systemd finds no fault with the unit' '[ -z "$found" ] || { echo "$found"; false; }'
else
	echo 'SKIPPED package unit: systemd-analyze is not installed (Debian package systemd)'
fi

# ---- run as installed
ok 'it starts' start
ok 'it observes' '[ "$(hs-share mode --json | jq -r .mode)" = observe ]'
kill -TERM "$daemon"
wait "$daemon"
ok 'SIGTERM ends it in order' '[ $? = 0 ] && [ ! -e /run/hs-share/control.sock ]'

# ---- the administrator's configuration is kept
cat >$conf <<'CONF'
[service]
on_exit = undo
[scan]
interval_ms = 60
cpu_percent = 50
min_memory = 32M
rest_min_s = 1
rest_max_s = 2
[merge]
ksmd_cpu_percent = 0
CONF
rm /etc/systemd/system/multi-user.target.wants/hs-shared.service # as `systemctl disable` does
ok 'it can be installed over itself' 'dpkg_ -i "$package"'
ok 'the configuration and the choice not to start it are kept' 'grep -q "^on_exit = undo" $conf && [ ! -e /etc/systemd/system/multi-user.target.wants/hs-shared.service ]'

# ---- removed while it shares
if [ -f /box/no-sharing ]; then
	echo "SKIPPED package sharing: $(cat /box/no-sharing)"
	ok 'it starts' start
else
	for i in 1 2; do start_guest $i 32; done
	ok 'it starts' start
	ok 'two guests share' share_two
fi
ok 'it can be removed while it runs' 'dpkg_ -r hs-share'
ok 'which ends it' ended
ok 'and has given KSM back' '[ "$(knobs)" = "$knobs_before" ]'
for p in "${pids[@]}"; do ok 'sharing is undone, as configured' '[ "$(ksm_pages $p)" = 0 ] && ! grep -q "^VmFlags:.* mg" /proc/$p/smaps'; done
ok 'nothing starts without its program' '[ "$(readlink /etc/systemd/system/hs-shared.service)" = /dev/null ]'
ok 'the configuration stays' 'grep -q "^on_exit = undo" $conf && ! command -v hs-shared >/dev/null'

# ---- removed after a crash
ok 'it can be installed again' 'dpkg_ -i "$package"'
ok 'and started again' '[ ! -e /etc/systemd/system/hs-shared.service ]'
sed -i 's/^on_exit = .*/on_exit = keep/' $conf
if [ ! -f /box/no-sharing ]; then
	start
	ok 'two guests share again' share_two
	# KSM as a crash in the middle of a burst leaves it.
	until_true 20 '[ -e /run/hs-share/ksm.state ]'
	kill -KILL "$daemon"
	wait "$daemon" 2>/dev/null
	ok 'a crash leaves something pending' '[ -e /run/hs-share/ksm.state ]'
fi
mkdir -p /var/cache/hs-lab && echo '{}' >/var/cache/hs-lab/calibration.json # as hs-lab calibrate leaves it
ok 'it can be purged' 'dpkg_ -P hs-share'
ok 'and has given KSM back' '[ "$(knobs)" = "$knobs_before" ]'
for p in "${pids[@]}"; do ok 'sharing is kept, as configured' '[ "$(ksm_pages $p)" -gt 2000 ]'; done

# ---- nothing is left: of files that were made or changed there are only those of dpkg and its triggers
left=$(cd /box/changes && find . ! -type d | grep -vE '^\./(box/|var/lib/dpkg/|var/log/dpkg\.log$|var/cache/(man|debconf)/|var/log/alternatives\.log$)')
ok 'no file is left behind, none is changed' '[ -z "$left" ] || { echo "$left"; false; }'
ok 'nor a folder' '[ -z "$(cd /box/changes; find etc usr var -name "*hs-*" ! -path "var/lib/dpkg/*"; ls -d /etc/hs-share /run/hs-share /var/lib/hs-share 2>/dev/null)" ]'
finish
