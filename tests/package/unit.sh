#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The service under systemd, with the unit that the package installs: started by the installation, with the privileges that
# the unit leaves it and no more, sharing, reloaded, killed, purged. Runs in a box (box.sh), as process 1; it makes room for
# a systemd that has nothing but what this needs. usage: unit.sh PACKAGE HS_GUEST
set -u
package=$1 guest=$2
unit=hs-shared.service conf=/etc/hs-share/hs-share.conf
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C SYSTEMD_PAGER=

. ./lib.sh
logs=(/box/dpkg.log /box/libvirtd.log /box/log)
as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
skip() {
	echo "SKIPPED package unit: $1"
	exit 77
}
dpkg_() { dpkg "$@" >>/box/dpkg.log 2>&1 </dev/null || { tail -20 /box/dpkg.log; return 1; }; }
shown() { systemctl show -P "$1" $unit; }

nothing_is_shared() {
	local p
	for p in "${pids[@]}"; do [ "$(ksm_pages "$p")" = 0 ] || return; done
}

# ---- a systemd with a handful of units
prepare() {
	local keep=/box/units dir=/usr/lib/systemd/system u
	mkdir $keep
	for u in exit.target systemd-exit.service shutdown.target umount.target final.target; do cp $dir/$u $keep/; done
	rm -rf /etc/systemd/system /usr/lib/systemd/system /usr/lib/systemd/system-generators /usr/lib/systemd/system-environment-generators
	rm -f /usr/sbin/policy-rc.d # of container images: it would forbid starting anything
	mkdir -p /etc/systemd/system
	mv $keep $dir
	for u in sysinit basic multi-user; do printf '[Unit]\nDescription=%s\n' $u >$dir/$u.target; done
	ln -s multi-user.target $dir/default.target
	# There is no journal: the log goes to a file.
	mkdir -p /etc/systemd/system/$unit.d
	printf '[Service]\nStandardError=append:/box/log\n' >/etc/systemd/system/$unit.d/log.conf
	touch /dev/console
	mount --bind /dev/null /dev/console
	head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >/etc/machine-id
	ip link set lo up
	mount -t bpf bpf /sys/fs/bpf
	mount --make-rshared / # as systemd has it on a host: what is mounted later is seen by services as well
}

# ---- a libvirt session of another user, whose socket is where the unit lets nobody look
linked() { hs-share status --json | jq -r ".libvirt.connections[] | select(.uri | contains(\"session\")) | .$1"; }
session_check() {
	local p=/run/user/4242 dropin=/etc/systemd/system/$unit.d/session.conf socket=libvirt/libvirt-sock qemu
	useradd -m -u 4242 tenant
	mkdir -p /run/user
	mount -t tmpfs tmpfs /run/user
	mkdir -m 700 $p
	mount -t tmpfs -o mode=700,uid=4242 tmpfs $p
	as_tenant() { setpriv --reuid=tenant --regid=tenant --clear-groups env HOME=/home/tenant XDG_RUNTIME_DIR=$p "$@"; }
	virsh_() { as_tenant virsh -q -c qemu:///session "$@" 2>>/box/libvirtd.log; }
	as_tenant libvirtd >/box/libvirtd.log 2>&1 &
	pids+=($!)
	cat >/home/tenant/desk.xml <<-END
		<domain type='qemu'><name>desk</name><memory unit='MiB'>64</memory>
		  <os><type arch='x86_64' machine='q35'>hvm</type></os>
		  <devices><emulator>$(command -v qemu-system-x86_64)</emulator><controller type='usb' model='none'/><memballoon model='none'/></devices>
		</domain>
	END
	ok 'a session of another user runs' 'until_true 30 "virsh_ list >/dev/null" && virsh_ define /home/tenant/desk.xml >/dev/null && virsh_ start desk >/dev/null'
	qemu=$(cat $p/libvirt/qemu/run/desk.pid)
	pids+=("$qemu")
	sed -i "s|^uri = .*|uri = test:///default qemu:///session?socket=$p/$socket\npid_dir = /run/libvirt/qemu $p/libvirt/qemu/run|" $conf
	systemctl restart $unit
	ok 'as installed the unit hides it, and the connection says so' 'until_true 20 "linked text | grep -q \"hides /run/user (ProtectHome)\""'
	# The drop-in of docs/discovery.md, as it stands there.
	sed -n '/^ *# .*session.conf$/,/^ *$/s/^ \{6\}//p' discovery.md | grep -v '^#' >$dropin
	ok 'the documents have a drop-in' 'grep -q "^\[Service\]" $dropin && [ "$(wc -l <$dropin)" = 4 ]'
	systemctl daemon-reload
	systemctl restart $unit
	ok 'which shows it' 'until_true 20 "[ \"\$(linked connected)\" = true ]" && [ "$(hs-share show desk --json | jq .pid)" = "$qemu" ]'
	ok 'opting in is stored there' 'hs-share opt-in desk --group tenant-4242 >/dev/null && virsh_ dumpxml desk | grep -q "<hs:share .*group=.tenant-4242"'
	ok 'nothing of it can be written, and home folders stay hidden' 'nsenter -t "$(shown MainPID)" -m sh -c "! touch /run/user/x $p/x && [ -z \"\$(ls -A /home /root | grep -v :)\" ]" 2>/dev/null'
	mkdir -m 700 /run/user/4243
	mount -t tmpfs -o mode=700,uid=4243 tmpfs /run/user/4243
	ok 'who logs in later is seen' '[ "$(nsenter -t "$(shown MainPID)" -m stat -c %u /run/user/4243)" = 4243 ]'
	umount /run/user/4243
}

drive() {
	until_true 20 '[ -d /run/systemd/system ] && systemctl is-system-running 2>/dev/null | grep -qE "running|degraded"' || { echo 'FAILED: systemd does not run'; systemctl --no-pager --failed; return 1; }
	knobs_before=$(knobs)

	# ---- installed: it is started, with the configuration of the administrator that was there before
	mkdir -p /etc/hs-share
	cat >$conf <<-'CONF'
		[service]
		mode = observe
		socket_group = daemon
		tcp_port = 9177
		on_exit = keep
		[libvirt]
		uri = test:///default
		[scan]
		interval_ms = 60
		cpu_percent = 50
		min_memory = 32M
		rest_min_s = 1
		rest_max_s = 2
		[merge]
		ksmd_cpu_percent = 0
	CONF
	ok 'it can be installed' 'dpkg_ --force-confold -i "$package"'
	ok 'which starts it' '[ "$(systemctl is-active $unit)" = active ] && [ "$(systemctl is-enabled $unit)" = enabled ]'
	ok 'systemd was notified when it was ready, and of what it does' '[ "$(shown Type)" = notify ] && shown StatusText | grep -q "^mode observe"'
	pid=$(shown MainPID)
	ok 'it has the capabilities that the unit names, and none else' 'grep -q "^CapEff:.*0000000000a80003$" /proc/$pid/status && grep -q "^CapBnd:.*0000000000a80003$" /proc/$pid/status'
	ok 'no new privileges; no seccomp filter, which would keep it from those of guests' 'grep -q "^NoNewPrivs:.*1" /proc/$pid/status && grep -q "^Seccomp:.*0" /proc/$pid/status'
	ok 'diagnose agrees' 'hs-share diagnose --json | jq -e ".findings[] | select(.name == \"seccomp\") | .level == \"ok\"" >/dev/null'
	ok 'the disk is read-only for it' 'nsenter -t $pid -m sh -c "! touch /etc/x /usr/x /var/x" 2>/dev/null && nsenter -t $pid -m touch /run/hs-share/x /var/lib/hs-share/x && rm /run/hs-share/x /var/lib/hs-share/x'
	ok 'the watch on KVM can be kept' 'nsenter -t $pid -m sh -c "mkdir /sys/fs/bpf/hs-share-test && rmdir /sys/fs/bpf/hs-share-test"'
	ok 'the group may use the socket, others may not' '[ "$(stat -c "%G %a" /run/hs-share/control.sock)" = "daemon 660" ] && setpriv --reuid=nobody --regid=daemon --clear-groups hs-share status >/dev/null && ! setpriv --reuid=nobody --regid=nogroup --clear-groups hs-share status 2>/dev/null'
	ok 'the loopback port answers' 'curl -s -m 10 http://127.0.0.1:9177/metrics | grep -q "^hs_share_"'
	ok 'it talks to libvirt' 'hs-share guests --json | jq -e ".guests[] | select(.id == \"test\")" >/dev/null'

	file=/var/lib/prometheus/node-exporter/hs-share.prom timer=hs-share-textfile.timer
	mkdir -p "$(dirname $file)"
	ok 'the figures go to node_exporter when that is asked for' '[ "$(systemctl is-enabled $timer)" = disabled ] && systemctl start hs-share-textfile.service && grep -q "^hs_share_build_info" $file && [ "$(stat -c %a $file)" = 644 ]'
	ok 'each minute' 'systemctl enable -q --now $timer && [ "$(systemctl is-active $timer)" = active ]'

	# ---- guests of another user, as libvirt's are
	if [ -f /box/no-sharing ]; then
		echo "SKIPPED package unit sharing: $(cat /box/no-sharing)"
	else
		for i in 1 2; do
			start_guest $i 32
			hs-share opt-in --pid "${pids[$i]}" --group web >/dev/null
		done
		hs-share mode save >/dev/null
		ok 'two guests of another user share' 'until_true 60 "[ \$(ksm_pages ${pids[1]}) -gt 2000 ] && [ \$(ksm_pages ${pids[2]}) -gt 2000 ]"'
		# SCHED_IDLE, or ksmd's nice value where the guests leave nothing.
		ok 'the scan gives way to guests' 'until_true 20 "grep -qsE \"^(policy *: *5|prio *: *125)$\" /proc/$pid/task/*/sched"'
	fi

	# ---- reloaded, killed, restarted
	sed -i 's/^mode = .*/mode = save/; s/^rest_max_s = .*/rest_max_s = 3/' $conf
	ok 'reload' 'systemctl reload $unit && until_true 10 "grep -q \"rest_max_s: 2 -> 3\" /box/log"'
	systemctl kill -s KILL $unit
	ok 'after a crash systemd starts it again' 'until_true 30 "[ \$(shown NRestarts) = 1 ] && [ \$(systemctl is-active $unit) = active ]"'
	[ ${#pids[@]} = 0 ] || ok 'it finds what is shared' 'until_true 30 "[ \$(hs-share show pid-${pids[1]} --json | jq .shared_pages) -gt 2000 ]"'
	ok 'restart' 'systemctl restart $unit && [ "$(systemctl is-active $unit)" = active ]'
	ok 'an upgrade starts the new one' 'before=$(shown MainPID); dpkg_ -i "$package" && [ "$(shown MainPID)" != "$before" ] && [ "$(systemctl is-active $unit)" = active ]'
	[ ${#pids[@]} = 0 ] || ok 'and sharing stays' '[ "$(ksm_pages ${pids[1]})" -gt 2000 ]'

	# ---- off, and gone
	ok 'off undoes it' 'hs-share mode off >/dev/null && nothing_is_shared'
	if command -v libvirtd virsh qemu-system-x86_64 useradd >/dev/null; then session_check; else
		echo 'SKIPPED package unit session: libvirtd, virsh, qemu-system-x86_64 and useradd are needed'
	fi
	ok 'no trouble was logged' '! grep -E "^<[0-3]>|not permitted|Permission denied" /box/log'
	ok 'purge ends it' 'dpkg_ -P hs-share && until_true 10 "! systemctl is-active -q $unit"'
	ok 'and gives all back' '[ "$(knobs)" = "$knobs_before" ] && [ ! -e /run/hs-share ] && [ ! -e /var/lib/hs-share ] && [ ! -e $conf ]'
	ok 'no figures of before are left, nor their timer' '[ ! -e $file ] && [ -z "$(find /etc/systemd/system -name "*hs-share*" ! -path "*.service.d*")" ]'
	ok 'nothing failed on the way' '[ -z "$(systemctl --failed --no-legend --plain)" ]'
	for p in "${pids[@]}"; do kill -KILL $p; done
	finish
}

for program in /lib/systemd/systemd ip setpriv curl jq; do
	command -v $program >/dev/null || skip "$program is not installed"
done
prepare >/box/prepare.log 2>&1
(
	drive 2>&1 && [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
	systemctl exit $?
) &
export container=hs-share-test
exec /lib/systemd/systemd --log-target=null
