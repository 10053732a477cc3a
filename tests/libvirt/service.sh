# SPDX-License-Identifier: Apache-2.0
# The service beside a libvirt of the test's own (harness.sh), and what its guests share: read from the kernel (page frames),
# never from the service. Source it after harness.sh.
#
# The commands find everything where it is on a host: the test has a mount namespace of its own with folders of ours over
# /run and /etc, so that qemu:///system, /run/hs-share/control.sock and /etc/hs-share/hs-share.conf are the test's. What
# stays the machine's is the lock of KSM's owner: there is one KSM.

KSM=/sys/kernel/mm/ksm
knobs() { (cd $KSM && grep -H . run sleep_millisecs pages_to_scan merge_across_nodes max_page_sharing use_zero_pages smart_scan advisor_mode 2>/dev/null || true); }
SERVICE_LOG=
SERVICE_PID=
SERVICE_MADE=

# service_places HS_SHARED HS_SHARE HS_LAB EXAMPLE_CONF: after hv_prepare
service_places() {
	local real=/run/hs-share
	mkdir -p $real "$HV_DIR"/{bin,run/hs-share,etc-all}
	: >>$real/ksm.lock
	: >"$HV_DIR/run/hs-share/ksm.lock"
	ln -s "$1" "$HV_DIR/bin/hs-shared"
	ln -s "$2" "$HV_DIR/bin/hs-share"
	ln -s "$3" "$HV_DIR/bin/hs-lab"
	PATH=$HV_DIR/bin:$PATH:/usr/sbin
	cp -a /etc/. "$HV_DIR/etc-all"
	mkdir -p "$HV_DIR/etc-all/hs-share"
	cp "$4" "$HV_DIR/etc-all/hs-share/hs-share.conf"
	mount --bind $real/ksm.lock "$HV_DIR/run/hs-share/ksm.lock"
	mount --rbind "$HV_DIR/run" /run
	mount --bind "$HV_DIR/etc-all" /etc
	# What lasts over a reboot. The folder is the machine's, and goes at the end unless it was there.
	[ -d /var/lib/hs-share ] || SERVICE_MADE=/var/lib/hs-share
	mkdir -p /var/lib/hs-share
	mount -t tmpfs -o mode=0700 hs-share /var/lib/hs-share
	SERVICE_LOG=$HV_DIR/hs-shared.log
}

# Sets keys in the configuration as it is installed, where each stands as a remark: service_set SECTION KEY VALUE
service_set() {
	local conf=/etc/hs-share/hs-share.conf
	sed "/^\[$1\]/,/^\[/s|^#*$2 = .*|$2 = $3|" $conf >"$HV_DIR/conf.new"
	grep -q "^$2 = $3\$" "$HV_DIR/conf.new" || hv_fail "the configuration as it is installed has no [$1] $2"
	cat "$HV_DIR/conf.new" >$conf
}

# Starts hs-shared as the unit file has systemd start it: its line, its environment, its privileges and limits.
service_start() { # UNIT [OPTION...]
	local unit=$1 of line capabilities
	of() { sed -n "s/^$1=//p" "$unit"; }
	read -ra line <<<"$(of ExecStart)"
	[ "$(basename "${line[0]}")" = hs-shared ] || hv_fail "the unit starts ${line[0]}"
	capabilities=$(of CapabilityBoundingSet | tr 'A-Z' 'a-z' | sed 's/cap_/+/g; s/ /,/g')
	shift
	(
		umask "$(of UMask)"
		ulimit -n "$(of LimitNOFILE)" 2>/dev/null || ulimit -n "$(ulimit -Hn)" # in a container there may be fewer
		exec setpriv --bounding-set="-all,$capabilities" --inh-caps=-all --no-new-privs \
			env -i LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin "$HV_DIR/bin/hs-shared" "${line[@]:1}" "$@"
	) 2>>"$SERVICE_LOG" >/dev/null </dev/null &
	SERVICE_PID=$!
	hv_until 30 "the service answers" service_answers
}
service_answers() {
	kill -0 "$SERVICE_PID" 2>/dev/null || hv_fail "the service has ended"
	hs-share status >/dev/null 2>&1
}
# Its exit status.
service_stop() { # SIGNAL
	local status=0
	kill "-$1" "$SERVICE_PID"
	wait "$SERVICE_PID" 2>/dev/null || status=$?
	SERVICE_PID=
	return $status
}

# Ends all, and leaves nothing behind. For a trap on EXIT.
service_end() {
	if [ -n "$SERVICE_PID" ]; then
		kill -TERM "$SERVICE_PID" 2>/dev/null || true
		for _ in {1..300}; do
			grep -qs '^State:.[^Z]' "/proc/$SERVICE_PID/status" || break
			sleep 0.1
		done
		kill -KILL "$SERVICE_PID" 2>/dev/null || true
		wait "$SERVICE_PID" || true
	fi
	[ "${failed:-1}" = 0 ] || [ ! -e "$SERVICE_LOG" ] || tail -30 "$SERVICE_LOG" >&2
	umount /var/lib/hs-share 2>/dev/null || true
	[ -z "$SERVICE_MADE" ] || rmdir "$SERVICE_MADE" || true
	umount -R /run 2>/dev/null || true
	umount "${HV_DIR:-/nonexistent}/run/hs-share/ksm.lock" 2>/dev/null || true
	hv_stop
}

status() { hs-share status --json | jq -r "$1"; }
guest() { hs-share show "$1" --json | jq -r "$2"; }
connected() { [ "$(status .libvirt.connected)" = true ]; }

ksm_pages() { "$HV_TOOL" frames "$(hv_pid "$1")" | awk '/^ksm/ {print $3}'; }
common() { "$HV_TOOL" frames "$(hv_pid "$1")" "$(hv_pid "$2")" | awk '/^common/ {print $4}'; }
shares() { [ "$(common "$1" "$2")" -ge "$3" ]; }
shares_nothing() { [ "$(ksm_pages "$1")" = 0 ]; }
mergeable() { grep -q '^VmFlags:.* mg' "/proc/$(hv_pid "$1")/smaps"; }
