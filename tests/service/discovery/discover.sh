#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Guests found by rules, live: small processes that run as VMMs do, taken in by the service, each under its name and in its
# group; who imitates one, or allows no call, is not. Mode observe: nothing is merged.
# usage: discover.sh HS_SHARED HS_SHARE VMM_LIKE
set -u
shared=$1 share=$2 vmm=$3
keeper_option=--read-only
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
[ "$(id -u)" = 0 ] || { echo 'SKIPPED service_discover: files of root are made by root alone'; exit 77; }
uuid=6695eb01-f6a4-8304-79aa-97f2502e1930 other=7795eb01-f6a4-8304-79aa-97f2502e1930

chmod 755 "$dir"
mkdir "$dir/bin" "$dir/run" "$dir/pids"
for name in kvm cloud-hypervisor firecracker qemu; do install -m 755 "$vmm" "$dir/bin/$name"; done
vm() { # NAME: a process of this suite's; the rest is its program and arguments
	local name=$1
	shift
	"$@" >"$dir/out-$name" 2>&1 &
	pids[$name]=$!
	until_true 20 "grep -qs ready '$dir/out-$name'" || echo "$name does not start: $(cat "$dir/out-$name")"
}
unset pids
declare -A pids=() # by name, which lib.sh ends as well
end_vm() { kill -KILL "${pids[$1]}"; wait "${pids[$1]}" 2>/dev/null; unset "pids[$1]"; }
proxmox() { # ID
	vm "$1" "$dir/bin/kvm" -id "$1" -name "web$1,debug-threads=on" -daemonize
	echo "${pids[$1]}" >"$dir/run/$1.pid"
}
proxmox 100
vm ch "$dir/bin/cloud-hypervisor" --api-socket "path=$dir/db.sock" --memory size=1G
HS_SECCOMP=1 vm fc "$dir/bin/firecracker" --id fc-1 --api-sock "$dir/fc.sock"
HS_MIB=4 vm small "$dir/bin/cloud-hypervisor" --api-socket "$dir/small.sock"
# The same words, of another user.
vm imitator setpriv --reuid 65534 --clear-groups "$dir/bin/cloud-hypervisor" --api-socket "$dir/db.sock"

conf_rules() {
	cat <<-END
		[discovery]
		interval_s = 1
		[discover proxmox]
		executable = $dir/bin/kvm
		mount_namespace = any
		command_line = (^| )-id ([0-9]+) -name
		pid_file = $dir/run/([0-9]+)\\.pid
		name = vm{pid_file.1}
		group = proxmox
		[discover cloud-hypervisor]
		executable = $dir/bin/cloud-hypervisor
		mount_namespace = any
		command_line = --api-socket (path=)?[^ ]*/([a-z]+)\\.sock
		name = {command_line.2}
		group = ch.{command_line.2}
		max_shared = 512M
		[discover firecracker]
		executable = $dir/bin/firecracker
		mount_namespace = any
		command_line = --id ([^ ]+)
		name = {command_line.1}
		group = fc
	END
}
{ conf_service observe keep; conf_rules; conf_quick_scan 60 50; } >"$dir/conf"
all() { hs guests --json | jq -c "[.guests[] | select($1) | [.id, .rule, .opted_in, .group, .max_shared_bytes]]"; }
is() { [ "$(field "$1" "$2")" = "$3" ]; }

# ---- before the service runs
found() { hs diagnose --config "$dir/conf" --json | jq -c "[.discovery.found[] | select(.pid == ${pids[$1]}) | [.name, .group, .taken]]"; }
why() { hs diagnose --config "$dir/conf" --json | jq -r ".discovery.found[] | select(.pid == ${pids[$1]}) | .reason"; }
ok 'diagnose finds it without the service' '[ "$(found 100)" = "[[\"vm100\",\"proxmox\",true]]" ]'
ok 'and says who imitates' '[[ $(why imitator) == *"user 65534 runs it"* ]]'
ok 'who has no memory of a guest' '[[ $(why small) == *"no mapping of 64 MiB"* ]]'
ok 'who allows no call' '[[ $(why fc) == *"a seccomp filter"*forbids* ]]'
ok 'as text, too' '[[ $(hs diagnose --config "$dir/conf") == *"rule proxmox: vm100 (process ${pids[100]}), group proxmox"* ]]'

# ---- with it
start_daemon
ok 'taken in, with name, group and limit' 'until_true 30 "is db opted_in true" && is vm100 opted_in true &&
	[ "$(all ".pid == ${pids[100]} or .pid == ${pids[ch]}")" = "[[\"db\",\"cloud-hypervisor\",true,\"ch.db\",536870912],[\"vm100\",\"proxmox\",true,\"proxmox\",0]]" ]'
ok 'who imitates, and who has no memory, is no guest' '[ "$(all ".pid == ${pids[imitator]} or .pid == ${pids[small]}")" = "[]" ]'
ok 'who allows no call is refused, and it is said why' 'until_true 60 "is fc-1 state refused" && is fc-1 reason no-feature && [[ $(field fc-1 reason_text) == *"a seccomp filter"*forbids* ]]'
ok 'and goes on unharmed' 'kill -0 ${pids[fc]}'
ok 'the service says the same of the rules' '[[ $(hs diagnose) == *"3 rules find "* ]]'
proxmox 101
ok 'one that starts later' 'until_true 30 "is vm101 opted_in true"'
echo 1 >"$dir/run/100.pid"
ok 'one that its rule finds no more is opted out' 'until_true 30 "is pid-${pids[100]} opted_in false"'
echo "${pids[100]}" >"$dir/run/100.pid"
ok 'and in again' 'until_true 30 "is vm100 opted_in true"'

# ---- requests count before rules, and last
hs opt-in vm100 --max-shared 1M >/dev/null
ok 'a request changes what it names' '[ "$(all ".id == \"vm100\"")" = "[[\"vm100\",\"\",true,\"proxmox\",1048576]]" ]'
hs opt-in --pid "${pids[100]}" --group own >/dev/null
ok 'one process is one guest' '[ "$(all ".pid == ${pids[100]}")" = "[[\"vm100\",\"\",true,\"own\",1048576]]" ]'
hs opt-out vm101 --no-wait >/dev/null
ok 'opted out' 'is vm101 opted_in false'
stop_daemon; start_daemon
ok 'it stays out over a restart of the service' 'until_true 30 "is db opted_in true" && until_true 30 "is vm101 opted_in false"'
ok 'the request too is known' 'until_true 30 "is vm100 group own"'
end_vm 101; proxmox 101
ok 'and over one of its own' 'until_true 30 "is vm101 pid ${pids[101]}" && is vm101 opted_in false'
hs opt-in vm101 >/dev/null
ok 'until it is opted in again, where its rule puts it' 'is vm101 opted_in true && is vm101 group proxmox'

# ---- rules that are wrong, and rules that go
cp "$dir/conf" "$dir/good"
sed -i 's|^group = fc|group = fc{cgroup.1}|' "$dir/conf"
ok 'a rule that is wrong changes nothing, and is named' '[[ $(hs reload 2>&1) == *"[discover firecracker] group: at character 3: the rule has no cgroup"* ]] && is db opted_in true'
ok 'as --check says before' '[[ $("$shared" -c "$dir/conf" --check 2>&1) == *"conf:$(grep -n "fc{" "$dir/conf" | cut -d: -f1): [discover firecracker] group: at character 3"* ]]'
sed '/^\[discover cloud/,/^max_shared/d' "$dir/good" >"$dir/conf"
hs reload >/dev/null
ok 'a rule that is taken away opts out what it found' 'until_true 30 "is pid-${pids[ch]} opted_in false"'
stop_daemon

# ---- libvirt, by what a domain's XML says, over several connections
echo "${pids[ch]}" >"$dir/pids/x.pid"
vm dom "$dir/bin/qemu" -uuid $uuid
echo "${pids[dom]}" >"$dir/pids/instance-1.pid"
domain() { # NAME UUID PROJECT
	echo "<domain type='test'><name>$1</name><uuid>$2</uuid><memory>8192</memory><os><type>hvm</type></os><metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'><nova:owner><nova:project uuid='$3'>x</nova:project></nova:owner></nova:instance></metadata></domain>"
}
{ echo '<node>'; domain instance-1 $uuid blue; domain instance-2 $other red; echo '</node>'; } >"$dir/node.xml"
conf_libvirt() {
	{
		conf_service off keep | sed "s|^uri =.*|uri = qemu:///system?socket=$dir/none test://$dir/node.xml|"
		echo "pid_dir = $dir/pids"
		cat <<-END
			[discovery]
			interval_s = 1
			[discover qemu]
			executable = $dir/bin/qemu
			mount_namespace = any
			name = found
			group = qemu
			[discover openstack]
			source = libvirt
			metadata = /domain/metadata/nova:instance/nova:owner/nova:project/@uuid
			group = project.{metadata}
		END
	} >"$dir/conf"
}
conf_libvirt
start_daemon
ok 'a project is a group' 'until_true 30 "is instance-1 group project.blue" && is instance-2 group project.red && is instance-1 rule openstack'
ok 'a process that a rule finds as well is the domain' 'until_true 30 "[ \"\$(all \".pid == ${pids[dom]}\")\" = \"[[\\\"instance-1\\\",\\\"openstack\\\",true,\\\"project.blue\\\",0]]\" ]"'
ok 'a connection that is down is named, and another works' 'hs status --json | jq -e ".libvirt | .connected == false and (.text | contains(\"$dir/none\")) and (.connections | map(.connected) == [false, true])" >/dev/null'
hs opt-out instance-1 --no-wait >/dev/null
ok 'out by request' 'until_true 20 "is instance-1 opted_in false" && is instance-2 opted_in true'
stop_daemon; start_daemon
ok 'stays out though its XML has lost that' 'until_true 30 "is instance-2 opted_in true" && is instance-1 opted_in false'
hs opt-in instance-1 --group own >/dev/null
ok 'its own element counts before a rule' 'until_true 20 "is instance-1 group own" && is instance-1 rule ""'
stop_daemon
finish
