#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The service on three guests of a real libvirt: two opted in to one group, one not. What is shared is read from the
# kernel (page frames), never from the service.
# usage: e2e.sh HS_SHARED HS_SHARE HV_TOOL
set -euo pipefail
[ -n "${HS_KSM_KEPT-}" ] || exec "$(dirname "$(readlink -f "$0")")/../ksm.sh" "$0" "$@"
shared=$1 share=$2 HV_TOOL=$3
. "$(dirname "$(readlink -f "$0")")/harness.sh"
if why=$(hv_lacks); then
	echo "SKIPPED libvirt_e2e: $why"
	exit 77
fi

KSM=/sys/kernel/mm/ksm
knobs() { (cd $KSM && grep -H . run sleep_millisecs pages_to_scan merge_across_nodes max_page_sharing use_zero_pages smart_scan advisor_mode 2>/dev/null || true); }
knobs_before=$(knobs)
daemon=

stop_all() {
	if [ -n "$daemon" ]; then
		kill -TERM "$daemon" 2>/dev/null || true
		for _ in {1..300}; do
			grep -qs '^State:.[^Z]' "/proc/$daemon/status" || break
			sleep 0.1
		done
		kill -KILL "$daemon" 2>/dev/null || true
		wait "$daemon" || true
	fi
	[ "${failed:-1}" = 0 ] || tail -30 "${HV_DIR:-/nonexistent}/hs-shared.log" >&2 || true
	hv_stop
}
trap stop_all EXIT

daemon_start() {
	"$shared" --config "$HV_DIR/hs-share.conf" 2>>"$HV_DIR/hs-shared.log" &
	daemon=$!
	hv_until 20 "the service answers" ask status --json
}
ask() { "$share" "$1" --socket "$HV_DIR/control.sock" "${@:2}" >/dev/null 2>>"$HV_DIR/hs-share.log"; }
status() { curl -sS --unix-socket "$HV_DIR/control.sock" http://localhost/v1/status; }
connected() { status | grep -q '"connected":true'; }

ksm_pages() { "$HV_TOOL" frames "$(hv_pid "$1")" | awk '/^ksm/ {print $3}'; }
common() { "$HV_TOOL" frames "$(hv_pid "$1")" "$(hv_pid "$2")" | awk '/^common/ {print $4}'; }
shares() { [ "$(common "$1" "$2")" -ge "$3" ]; }
shares_nothing() { [ "$(ksm_pages "$1")" = 0 ]; }
third_untouched() {
	shares_nothing g3 || hv_fail "g3 has not opted in, and has $(ksm_pages g3) shared pages"
	[ "$(common g1 g3)" = 0 ] && [ "$(common g2 g3)" = 0 ] || hv_fail "g3 has page frames in common with another"
}

hv_prepare
hv_libvirtd_start
for i in 1 2 3; do
	hv_define g$i $i
	hv_start g$i
done
for i in 1 2 3; do hv_ready g$i; done
hv_say "three guests are ready"

# Half of the workload's memory is cold, six tenths of that the same in all guests; a third of it is proof enough.
want=$((HV_GUEST_HUGE * 512 / 2 * 6 / 10 / 3))
# Short rounds: what is tested is that all comes together, not how hot is told from cold.
cat >"$HV_DIR/hs-share.conf" <<END
[service]
mode = save
socket = $HV_DIR/control.sock
state_dir = $HV_DIR/state
on_exit = undo
[libvirt]
uri = $HV_URI
pid_dir = $HV_PID_DIR
[scan]
rounds = 4
hot_rounds = 3
interval_ms = 300
hash_cold_rounds = 3
cpu_percent = 50
rest_min_s = 1
rest_max_s = 1
[policy]
min_cold_rounds = 4
unshare_hot_rounds = 4
[merge]
foreign = claim
ksmd_cpu_percent = 80
END
daemon_start
hv_until 20 "libvirt is connected" connected
ask opt-in g1 --group web
ask opt-in g2 --group web
hv_until 60 "g1 and g2 share" shares g1 g2 $want
third_untouched
hv_say "g1 and g2 share $(common g1 g2) frames, g3 not one page"

hv_libvirtd_kill
hv_until 30 "the loss of libvirtd is noticed" eval '! connected'
hv_libvirtd_start
hv_until 60 "libvirt is connected again" connected
shares g1 g2 $want || hv_fail "the sharing did not survive libvirtd's restart"
third_untouched
hv_say "libvirtd was killed and restarted, the sharing went on"

ask mode off
hv_until 60 "mode off undoes the sharing of g1" shares_nothing g1
hv_until 60 "mode off undoes the sharing of g2" shares_nothing g2
ask mode save
hv_until 60 "mode save shares again" shares g1 g2 $want
hv_say "mode off and on"

ask opt-out g2
hv_until 60 "opting out unshares g2" shares_nothing g2
hv_until 60 "a single guest shares with nobody" eval '[ "$(common g1 g2)" = 0 ]'
ask opt-in g2 --group web
hv_until 60 "g2 shares again" shares g1 g2 $want
hv_say "opted out and in, live"

kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
shares g1 g2 $want || hv_fail "what was shared did not outlive the service"
daemon_start
hv_until 60 "the restarted service knows what is shared" eval 'status | grep -q "\"sharing\":2"'
third_untouched
hv_say "killed and restarted, the service knows what is shared"

# A third guest joins the group and goes in the middle of a scan.
ask opt-in g3 --group web
hv_until 60 "g3 shares" shares g1 g3 $want
# That a third looks at what two share, to compare, must not cost them their sharing.
shares g1 g2 $want || hv_fail "the others lost their sharing when g3 came"
scanning() { status | grep -qE '"stage":"(coarse|fine|hash)'; }
hv_until 20 "a scan is under way" scanning
hv_destroy g3
ask status --json || hv_fail "the service does not answer after a guest went in the middle of a scan"
hv_until 20 "g3 is seen as not running" eval '"$share" guests --socket "$HV_DIR/control.sock" --json | grep -q "not running"'
shares g1 g2 $want || hv_fail "the others lost their sharing"
for i in 1 2; do hv_verify g$i; done
hv_say "a guest went in the middle of a scan, the others are unharmed"

kill -TERM "$daemon"
wait "$daemon" || hv_fail "the service ended with status $?"
daemon=
shares_nothing g1 && shares_nothing g2 || hv_fail "on_exit = undo left something shared"
[ "$(knobs)" = "$knobs_before" ] || hv_fail "KSM's knobs are not as before: $(diff <(echo "$knobs_before") <(knobs))"
for i in 1 2; do hv_verify g$i; done
failed=0
hv_say "all is as it was before"
