#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The operator's guide, gone through on a real libvirt with three real QEMU guests: web1 and web2, which opt in, and db1, which
# does not until late. The commands are taken from the guide: one that it has and this does not know is a failure, and
# so is one that this knows and the guide has no more. What cannot be run here as it stands (there may be no systemd, and
# nothing is installed) is named, with what is done instead. What is shared is read from the kernel (page frames).
# usage: guide.sh BUILD_DIR SOURCE_DIR HS_SHARED HS_SHARE HS_LAB HV_TOOL
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
[ -n "${HS_KSM_KEPT-}" ] || exec "$here/../ksm.sh" "$0" "$@"
build=$1 source=$2 HV_TOOL=$6
. "$here/harness.sh"
if why=$(hv_lacks); then
	echo "SKIPPED libvirt_guide: $why"
	exit 77
fi
# Its own mounts, so that the guide's commands find what they name and nothing of the machine's is touched.
[ -n "${HV_OWN_MOUNTS-}" ] || HV_OWN_MOUNTS=yes exec unshare -m --propagation private "$0" "$@"
. "$here/service.sh"

text=$source/docs/operators-guide.md
# The unit as it is for /usr: in the build folder it is as the last installation, wherever that went, has left it.
stage=$(mktemp -d)
unit=$stage/usr/lib/systemd/system/hs-shared.service
knobs_before=$(knobs)
trap 'service_end; rm -rf "$stage"' EXIT
DESTDIR=$stage cmake --install "$build" --prefix /usr >/dev/null

# ---- the guide's commands

declare -A commands=() # by the guide's own words: what became of it
while read -r line; do commands[$line]=; done < <(awk -f "$here/guide_text.awk" "$text")
[ ${#commands[@]} -gt 30 ] || hv_fail "the guide has ${#commands[@]} commands: they are not found any more"

known() { # COMMAND
	[ -n "${commands[$1]+there}" ] || hv_fail "the guide has no command \"$1\", which is run here"
	commands[$1]=known
}
# Runs a command of the guide, with values in the place of what stands for them; its output is in $out, its exit status in $rc.
guide() { # COMMAND [WORD=VALUE...]
	local text=$1 word
	known "$1"
	shift
	for word; do text=${text//${word%%=*}/${word#*=}}; done
	hv_say "\$ $text"
	rc=0
	out=$(eval "$text" 2>&1) || rc=$?
}
done_() { [ "$rc" = 0 ] || hv_fail "status $rc: $out"; }
says() { grep -qE -- "$1" <<<"$out" || hv_fail "it does not say \"$1\": $out"; }
# A command that cannot be run here: WHAT is done instead, or which test runs it.
instead() { # COMMAND WHAT
	known "$1"
	hv_say "not as it stands: \$ $1: $2"
}
suite() { grep -qF -e "add_test([=[$1]=]" -e "add_test($1 " <<<"$suites" || hv_fail "there is no suite $1"; }
holds() { # WHAT CONDITION...
	local what=$1
	shift
	"$@" || hv_fail "$what"
}
log_has() { grep -qE "$1" "$SERVICE_LOG"; }

# ---- guests

third_untouched() {
	shares_nothing db1 || hv_fail "db1 has not opted in, and has $(ksm_pages db1) shared pages"
	[ "$(common web1 db1)" = 0 ] && [ "$(common web2 db1)" = 0 ] || hv_fail "db1 has page frames in common with another"
}
# Half of the workload's memory is cold, six tenths of that the same in all guests; a third of it is proof enough.
want=$((HV_GUEST_HUGE * 512 / 2 * 6 / 10 / 3))
could_save() { [ "$(hs-share report --json | jq "$1")" -ge "$2" ]; }

hv_prepare
service_places "$3" "$4" "$5" "$build/docs/hs-share.conf"
suites=$(cat "$build"/tests/*/CTestTestfile.cmake "$build"/tests/service/*/CTestTestfile.cmake)
hv_libvirtd_start
n=0
for g in web1 web2 db1; do
	hv_define $g $((n += 1))
	hv_start $g
done
for g in web1 web2 db1; do hv_ready $g; done
hv_say "three guests are ready"

# ---- before the service: one command works by itself

guide 'hs-share run --dry-run --look --pid PID' "PID=$(hv_pid web1) -q --cycles 1 --rounds 4 --interval 300"
done_
says 'dry run: nothing was shared. Sharing would save [1-9]'
holds "a dry run shares nothing" shares_nothing web1
for c in 'hs-share run' 'hs-share record'; do
	known "$c"
	$c --help | grep -- '--share=SCOPE' >/dev/null || hv_fail "$c has no --share"
done

# ---- install

instead './run package' 'the suites package_make and package_in_box_package make it and install it'
suite package_make
suite package_in_box_package
instead 'apt install ./build/package/hs-share_*.deb' "the configuration as it is installed, and hs-shared started as the unit says"
# As it is installed, but for shorter windows and rests: what is tested is that all comes together, not how hot is told from cold.
service_set scan rounds 4
service_set scan hot_rounds 3
service_set scan interval_ms 300
service_set scan cpu_percent 50
service_set scan hash_cold_rounds 3
service_set scan rest_min_s 1
service_set scan rest_max_s 1
service_set policy min_cold_rounds 4
service_set policy unshare_hot_rounds 4
service_set merge ksmd_cpu_percent 80
# The first of its files: the scrape job for the loopback port.
awk -v part=file -f "$here/guide_text.awk" "$text" | sed '2,${/^# /,$d}' >"$HV_DIR/prometheus.yml"
port=$(sed -n 's/.*"127\.0\.0\.1:\([0-9]*\)".*/\1/p' "$HV_DIR/prometheus.yml")
(: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && port=$((port + 1000)) # somebody has it
service_set service tcp_port "$port"
service_start "$unit"
hv_until 20 "libvirt is connected, by the defaults" connected
guide 'hs-share mode'
done_
says '^observe \('
for page in 'man hs-share' 'man hs-shared' 'man hs-share.conf' 'man hs-lab'; do
	instead "$page" 'the page is there'
	[ -s "$(echo "$source"/docs/man/"${page#man }".[18] "$build"/docs/"${page#man }".5 | tr ' ' '\n' | while read -r f; do [ ! -s "$f" ] || echo "$f"; done)" ] || hv_fail "there is no $page"
done
for c in hs-share hs-shared hs-lab; do
	known $c
	$c --version | grep "^$c [0-9]" >/dev/null || hv_fail "$c does not run"
done

guide 'hs-share diagnose'
done_
says '^warning .*mergeable memory, which ksmd would merge blindly'
says '^0 obstacles'
guide 'sysctl vm.max_map_count'
says "$(hs-share diagnose | sed -n 's/.*a process may have \([0-9]*\) mappings/\1/p')"

# ---- opting in; each request changes what it names

for g in web1 web2; do
	guide "hs-share opt-in $g --group web"
	done_
	for state in '' --inactive; do
		hv_virsh dumpxml $state $g | grep '<hs:share .*group=.web' >/dev/null || hv_fail "$g is not opted in ${state:-live}"
	done
done
guide 'hs-share opt-in GUEST --share SCOPE' GUEST=web2 SCOPE=guest
done_
[ "$(guest web2 .share)" = guest ] || hv_fail "web2 has scope $(guest web2 .share)"
guide 'hs-share opt-in GUEST --share SCOPE' GUEST=web2 SCOPE=group
done_
guide 'hs-share opt-in GUEST --max-shared 2G' GUEST=web1
done_
guide 'hs-share opt-in GUEST' GUEST=web1
done_
[ "$(guest web1 '"\(.group) \(.share) \(.max_shared_bytes)"')" = "web group 2147483648" ] || hv_fail "web1: $(guest web1 .)"
hs-share opt-in web1 --max-shared none >/dev/null
guide 'hs-share guests'
done_
says '^db1 .*not opted in'
guide 'hs-share show GUEST' GUEST=db1
done_
says '^why  *not-opted-in: .*hs-share opt-in'

# ---- what would be saved

hv_until 60 "the report says what would be saved" could_save .could_save_bytes $((want * 4096))
guide 'hs-share report'
done_
says '^web1 +web '
says '^by what was looked at, sharing saves [1-9]'
hs-share report --json | jq -e '.could_save_bytes <= .could_save_at_most_bytes and
	all(.guests[]; .saving.sure_bytes == .saving.sure_zero_bytes + .saving.sure_within_bytes + .saving.sure_across_bytes)' >/dev/null ||
	hv_fail "the report is no range: $(hs-share report --json)"
guide 'hs-share report --look'
done_
says '^by what was looked at, sharing saves [1-9]'
promised=$(hs-share report --look --json | jq .report.could_save_bytes)
[ "$promised" -ge $((want * 4096)) ] || hv_fail "the look promises $promised bytes"
for g in web1 web2; do holds "$g is shared before mode save" shares_nothing $g; done
[ "$(cat $KSM/run)" != 1 ] || hv_fail "ksmd runs before mode save"

# ---- sharing

guide 'hs-share mode save'
[ "$rc" = 4 ] || hv_fail "mode save beside db1's mergeable memory: status $rc: $out"
says 'mode save is set, but nothing is shared yet.*ksmd would merge'
hv_until 60 "the status says that db1's memory is mergeable" eval 'hs-share status | grep "^trouble .*ksmd would merge" >/dev/null'
guide 'hs-share status'
says '^trouble .*ksmd would merge'
hs-share report | grep '^trouble .*ksmd would merge' >/dev/null || hv_fail 'the report does not say why nothing is shared'
third_untouched
service_set merge foreign claim
guide 'hs-share reload'
done_
says 'foreign: refuse -> claim'
guide 'hs-shared --check-config'
done_
says '^ *foreign = claim'
hv_until 60 "web1 and web2 share" shares web1 web2 $want
third_untouched
holds "db1's memory is mergeable while web1 and web2 share" eval '! mergeable db1'
hv_until 20 "the saving is reported" eval '[ "$(status .saving.saved_bytes)" -ge $((want * 4096)) ]'
hv_say "web1 and web2 share $(common web1 web2) frames, db1 not one page; $(status .saving.saved_bytes) bytes saved of $promised promised"
known 'hs-share watch'
hs-share watch >"$HV_DIR/watch" &
watch=$!
hv_until 30 "watch shows web1 sharing" grep -qE '^web1 .* sharing ' "$HV_DIR/watch"
kill -INT "$watch"
wait "$watch" || hv_fail "hs-share watch ended with status $?"
[ "$(status '.undo_pending == "" and .overcommit.bytes > 0 and .trouble == ""')" = true ] || hv_fail "the status: $(status .)"

# ---- monitoring

guide 'hs-share metrics'
done_
# What is kept is reported in modes that do not share.
for name in $(grep -oE 'hs_share_[a-z_]+' "$text" | sed 's/_total$//; s/_reason$//' | grep -v hs_share_kept_bytes | sort -u); do
	grep -q "^# TYPE $name" <<<"$out" || hv_fail "there is no metric $name"
done
curl -sS "http://127.0.0.1:$port/metrics" | grep '^hs_share_saved_bytes [1-9]' >/dev/null || hv_fail "the port of prometheus.yml answers nothing"
! command -v promtool >/dev/null || promtool check config "$HV_DIR/prometheus.yml" >/dev/null || hv_fail "prometheus.yml is wrong"
guide 'hs-share metrics --textfile PATH' "PATH=$HV_DIR/hs-share.prom"
done_
grep -q '^hs_share_saved_bytes [1-9]' "$HV_DIR/hs-share.prom" || hv_fail "the textfile has no figures"
instead 'systemctl enable --now hs-share-textfile.timer' 'the suite package_in_box_unit does it under systemd'
suite package_in_box_unit
# Certificates, line by line as they stand there, for a folder of the test's own.
certificates=$(awk -f "$here/guide_text.awk" "$text" | grep -E '^(umask 077|openssl| +openssl)')
while read -r line; do known "$line"; done <<<"$certificates"
hv_say "\$ $(head -1 <<<"$certificates"), and openssl as it follows"
bash -euc "$certificates" >"$HV_DIR/openssl.log" 2>&1 || hv_fail "the certificates: $(tail -5 "$HV_DIR/openssl.log")"
(cd /etc/hs-share/tls && openssl verify -CAfile ca.pem -purpose sslserver host1.pem && openssl verify -CAfile ca.pem -purpose sslclient prometheus.pem) >/dev/null ||
	hv_fail "the certificates do not verify"
suite service_tls # which serves and asks with such
instead 'systemctl reload hs-shared' "$(sed -n 's/^ExecReload=//p' "$unit"), which the unit has for it"
lines=$(grep -c 'configuration read again' "$SERVICE_LOG" || true)
MAINPID=$SERVICE_PID eval "$(sed -n 's/^ExecReload=//p' "$unit")"
hv_until 10 "the configuration is read again" eval '[ "$(grep -c "configuration read again" "$SERVICE_LOG")" -gt '"$lines ]"
instead 'journalctl -u hs-shared' "what it logs, with a level before each line as the journal takes it"
holds "a line of the log has no level" eval '! grep -qvE "^<[3-7]>" "$SERVICE_LOG"'

# ---- what survives what

declare -A events=()
while read -r line; do events[$line]=; done < <(awk -v part=events -f "$here/guide_text.awk" "$text")
event() { # EVENT [SUITE]: it is tried here, or by that suite
	[ -n "${events[$1]+there}" ] || hv_fail "the guide says nothing of the event \"$1\""
	events[$1]=known
	[ -z "${2-}" ] || suite "$2"
}

event 'libvirtd restarts'
hv_libvirtd_kill
hv_until 30 "the loss of libvirtd is noticed" eval '! connected'
hv_libvirtd_start
hv_until 60 "libvirt is connected again" connected
holds "the sharing did not survive libvirtd's restart" shares web1 web2 $want
third_untouched
hv_say "libvirtd was killed and restarted, the sharing went on"

event 'SIGKILL, crash'
service_stop KILL || true
holds "what was shared did not outlive the service" shares web1 web2 $want
service_start "$unit"
hv_until 60 "the restarted service knows what is shared" eval '[ "$(status .guests.sharing)" = 2 ]'
[ "$(status .mode)" = save ] || hv_fail "the mode did not last over the crash: $(status .mode)"
third_untouched
hv_say "killed and restarted, the service knows what is shared"

# db1 joins, by its process, and goes in the midst of a scan.
guide 'hs-share opt-in --pid 1234 --group web' "1234=$(hv_pid db1)"
done_
hv_until 60 "db1 shares" shares web1 db1 $want
# That a third looks at what two share, to compare, must not cost them their sharing.
holds "the others lost their sharing when db1 came" shares web1 web2 $want
event 'a guest ends'
hv_until 20 "a scan is under way" eval 'status .scan.stage | grep -E "coarse|fine|hash" >/dev/null'
hv_destroy db1
hv_until 20 "db1 is seen as not running" eval '[ "$(guest db1 .state)" = "not running" ]'
holds "the others lost their sharing" shares web1 web2 $want
for g in web1 web2; do hv_verify $g; done
hv_say "a guest went in the midst of a scan, the others are unharmed"

event 'the end takes longer than `stop_timeout_s`, or the scan hangs for a minute' test_scan_thread
event 'a guest is stopped, frozen by its cgroup (`docker pause`, `systemctl freeze`), or held by a debugger, while the mode changes or the configuration is read again' service_frozen
instead 'docker pause' 'service_frozen freezes a control group'
instead 'systemctl freeze' 'service_frozen freezes a control group'
event 'a record `marks-PID` in the state folder is damaged or lost' test_share_engine_record
event 'no memory to part what is not wanted any more, on the host or in the guest'"'"'s cgroup' test_share_engine_room
event "a guest's process runs another program (exec)" service_lost
for line in "${!events[@]}"; do
	[ "$line" = 'SIGTERM, stop' ] || [ -n "${events[$line]}" ] || hv_fail "nothing here tries what the guide says of the event \"$line\""
done

# ---- and back

guide 'hs-share opt-out web2'
done_
holds "opting out unshares web2" shares_nothing web2
hv_until 60 "a single guest shares with nobody" eval '[ "$(common web1 web2)" = 0 ]'
[ "$(hv_virsh dumpxml web2 | grep -c '<hs:share .*mode=.on')" = 0 ] || hv_fail "web2's metadata still opt it in"
hs-share opt-in web2 --group web >/dev/null
hv_until 60 "web2 shares again" shares web1 web2 $want
hs-share mode observe >/dev/null
hv_until 20 "the status says what is kept" eval 'hs-share status | grep "^kept  " >/dev/null'
[ "$(status .kept.processes)" = 2 ] || hv_fail "kept: $(status .kept)"
curl -sS --unix-socket /run/hs-share/control.sock http://x/metrics | grep '^hs_share_kept_bytes [1-9]' >/dev/null || hv_fail "no metric has what is kept"
guide 'hs-share mode MODE --undo' MODE=observe
done_
for g in web1 web2; do holds "$g is not unshared by --undo" shares_nothing $g; done
hs-share mode save >/dev/null
hv_until 60 "mode save shares again" shares web1 web2 $want
guide 'hs-share mode off'
done_
for g in web1 web2; do holds "mode off does not undo the sharing of $g" shares_nothing $g; done
[ "$(knobs)" = "$knobs_before" ] || hv_fail "KSM's knobs are not as before in mode off: $(diff <(echo "$knobs_before") <(knobs))"

instead 'hs-shared --mode' 'started once more with it: it counts more than the mode that was asked for, and on_exit = undo at the end'
service_set service on_exit undo
service_stop TERM || hv_fail "the service ended with status $?"
service_start "$unit" --mode=save
hv_until 60 "it shares at once" shares web1 web2 $want
instead 'apt remove hs-share' 'the service is ended as the package does it; package_in_box_package removes the package'
event 'SIGTERM, stop'
service_stop TERM || hv_fail "the service ended with status $?"
for g in web1 web2; do holds "on_exit = undo left something shared" shares_nothing $g; done
[ "$(knobs)" = "$knobs_before" ] || hv_fail "KSM's knobs are not as before: $(diff <(echo "$knobs_before") <(knobs))"
for g in web1 web2; do hv_verify $g; done

instead 'cmake --preset release && cmake --build --preset release && cmake --install build/release --prefix /usr/local' 'the suite package_install does it, into other folders'
suite package_install
instead 'hs-share fleet' 'the suite monitoring_fleet asks a Prometheus and a VictoriaMetrics of two services'
suite monitoring_fleet
instead 'ctest -R package_rpm' 'a suite of the long run'
suite package_rpm
instead 'ctest --test-dir build/release -R package' 'suites of the same run'
instead 'ctest --test-dir build/release -R service_busy_host -V' 'a suite of the same run'
suite service_busy_host

for line in "${!commands[@]}"; do
	[ -n "${commands[$line]}" ] || hv_fail "the guide has a command that is not known here: $line"
done
failed=0
hv_say "all ${#commands[@]} commands of the guide; all is as it was before"
